//! A report of eight GPUs and 300 seconds: its bytes, its signing, its checking.

use super::figure::{Figure, number};
use super::reference::{each, median_ratio};
use super::{Bench, say};
use crate::fixture::{self, Place};
use weighbridge::crypto::{Algorithm, Entropy, SecretKey, Signer};
use weighbridge::id::{ChainId, Challenge, Digest, NodeId, VerifierId};
use weighbridge::report::{self, AcceleratorClaims, CheckpointSeen, OpenedReport, TokenClaims};
use weighbridge::time::UnixSeconds;

/// The most that a report of eight GPUs and 300 s may take without evidence, in bytes.
pub(super) const MAX_BYTES: f64 = 6144.0;

/// The claims of such a report, with every field present that may be absent.
pub(super) fn claims() -> (TokenClaims, Vec<AcceleratorClaims>) {
    let place = Place {
        verifier: VerifierId([0xfe; 32]),
        node: NodeId([0x01; 17]),
        chain: ChainId([0xc4; 16]),
        sequence: 123_456,
        previous: Some(Digest([0x9e; 32])),
        wall_end: UnixSeconds(1_795_000_000),
        challenge: Some(Challenge([0x4e; 32])),
        seconds: 300,
    };
    let mut token = fixture::token(&place, 8);
    token.report.checkpoint = Some(CheckpointSeen {
        size: 48_123_456,
        root: Digest([0x70; 32]),
    });
    (token, fixture::accelerators(8, 300))
}

/// Measures bytes, signing and checking.
pub(super) fn measure(bench: &Bench) -> Vec<Figure> {
    say("report: bytes, signing, checking");
    let key = SecretKey::generate(Algorithm::EcdsaP256, &Entropy::system()).unwrap();
    let (token, accelerators) = claims();
    let (bytes, _) = report::sign(token.clone(), accelerators.clone(), Vec::new(), &key).unwrap();
    let (mut signing, mut checking) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        signing.push(bench.reference.hold(|| {
            each(500, || {
                report::sign(token.clone(), accelerators.clone(), Vec::new(), &key).unwrap()
            })
        }));
        checking.push(bench.reference.hold(|| {
            each(200, || {
                OpenedReport::open(&bytes)
                    .unwrap()
                    .verify(key.public_key())
                    .unwrap()
            })
        }));
    }
    let ratios =
        |rounds: &[super::reference::Round]| rounds.iter().map(super::reference::Round::ratio).collect();
    vec![
        Figure::of(
            "report.bytes",
            "a signed report of 8 GPUs and 300 s, every optional field present, without evidence",
            "bytes",
            vec![bytes.len() as f64],
        )
        .at_most(MAX_BYTES),
        Figure::of(
            "report.sign",
            "encode and sign it (the claims are copied for each)",
            "verifications",
            ratios(&signing),
        ),
        Figure::of(
            "report.check",
            "decode it strictly, check every digest and its signature",
            "verifications",
            ratios(&checking),
        )
        .beside(
            "above the bare verification",
            number(median_ratio(&checking) - 1.0),
        ),
    ]
}
