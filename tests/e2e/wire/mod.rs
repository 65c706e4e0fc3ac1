//! What goes over the wire.

mod fields;
mod golden;
mod schema;
mod strictness;

use weighbridge::cbor::Bytes;
use weighbridge::crypto::{Algorithm, Entropy, SecretKey};
use weighbridge::id::{ChainId, Challenge, Digest, NodeId, VerifierId};
use weighbridge::report::{AcceleratorClaims, EvidenceClaims, NvidiaEvidence, TokenClaims};
use weighbridge::time::UnixSeconds;
use weighbridge_testbed::fixture::{self, Place};

/// A place in the middle of a chain.
fn place() -> Place {
    Place {
        verifier: VerifierId([0xee; 32]),
        node: NodeId([1; 17]),
        chain: ChainId([0xc4; 16]),
        sequence: 42,
        previous: Some(Digest([0x9d; 32])),
        wall_end: UnixSeconds(1_795_320_600),
        challenge: Some(Challenge([0x44; 32])),
        seconds: 300,
    }
}

fn key() -> SecretKey {
    SecretKey::generate(Algorithm::EcdsaP256, &Entropy::system()).unwrap()
}

/// A signed bundle of `gpus` accelerators, and the key that signed it.
fn bundle(gpus: u16) -> (Vec<u8>, SecretKey) {
    signed(fixture::token(&place(), gpus), gpus, Vec::new())
}

/// The same with a round in which the first GPU gave evidence, and the others none.
fn bundle_with_round(gpus: u16) -> (Vec<u8>, SecretKey) {
    let mut token = fixture::token(&place(), gpus);
    token.report.round = Some(fixture::round(&place()));
    let evidence = evidence();
    let answers = (0..gpus)
        .map(|i| fixture::answer(i, (i == 0).then_some(&evidence)))
        .collect();
    signed(token, gpus, answers)
}

/// The claims of one GPU that two tenants held, with those of its report.
fn with_tenants() -> (TokenClaims, Vec<AcceleratorClaims>) {
    let mut accelerator = fixture::accelerator(0, 300, [0x5a; 16]);
    let mut token = fixture::token(&place(), 1);
    token.submods.host.host.tenants = fixture::tenants(&mut accelerator);
    (token, vec![accelerator])
}

fn signed(token: TokenClaims, gpus: u16, answers: Vec<EvidenceClaims>) -> (Vec<u8>, SecretKey) {
    let key = key();
    let accelerators = fixture::accelerators(gpus, 300);
    let (bytes, _) = weighbridge::report::sign(token, accelerators, answers, &key).unwrap();
    (bytes, key)
}

/// What stands for evidence where nobody looks into it.
fn evidence() -> NvidiaEvidence {
    NvidiaEvidence {
        report: Bytes(vec![0x11, 0xe0]),
        chain: Bytes(b"-----BEGIN CERTIFICATE-----".to_vec()),
    }
}
