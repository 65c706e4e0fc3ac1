//! Golden bytes: each message has one encoding, and it does not change under a version's feet.
//!
//! Each file in `golden/` holds the bytes of a message; beside it stands the same in diagnostic notation (RFC 8949 section 8) for people.
//! If a test here fails, the wire format changed: that needs a new profile version and a CHANGELOG entry, never new golden bytes for an old one.

use super::{evidence, place, with_tenants};
use std::path::Path;
use weighbridge::cbor::{self, Bytes, Wire};
use weighbridge::id::{ChainId, Challenge, Digest, NodeId, VerifierId};
use weighbridge::ledger::{Leaf, LeafKind};
use weighbridge::protocol::{
    EnrolAnswer, EnrolRequest, EnrolmentState, EnrolmentToken, Head, HeldChain, Instructions, Receipt,
    ReceiptState, Refusal, RefusalCode, RenewAnswer, RenewRequest, SignedRefusal,
};
use weighbridge::report::{
    AcceleratorClaims, Bundle, Envelope, KeyProtection, SubmoduleDigest, Submodules, TokenClaims,
};
use weighbridge::time::UnixSeconds;
use weighbridge_testbed::fixture;

fn instructions() -> Instructions {
    Instructions {
        challenge: Challenge([0x44; 32]),
        report_seconds: 300,
        trial: false,
        windows_kept_days: 30,
        profiles: vec![weighbridge::report::PROFILE.into()],
        round: true,
    }
}

/// A report that carries a round: one GPU gave evidence, the platform of the other offers none.
fn bundle_with_round() -> Bundle {
    let module = |evidence| cbor::encode(&weighbridge::report::EvidenceSubmodule { evidence });
    let answers = [
        module(fixture::answer(0, Some(&evidence()))),
        module(fixture::answer(1, None)),
    ];
    let mut token = fixture::token(&place(), 0);
    token.submods.host.host.agent_version = "0.1.0".into();
    token.report.round = Some(fixture::round(&place()));
    token.submods.evidence = answers
        .iter()
        .map(|a| SubmoduleDigest(weighbridge::crypto::sha256(a)))
        .collect();
    let named = |(i, a): (usize, Vec<u8>)| (Submodules::evidence_name(i), Bytes(a));
    Bundle {
        token: Envelope {
            payload: cbor::encode(&token),
            signature: vec![0x51; 64],
        },
        detached: answers.into_iter().enumerate().map(named).collect(),
    }
}

fn bundle() -> Bundle {
    let mut accelerator = fixture::accelerator(0, 300, [0x5a; 16]);
    forget_runs(&mut accelerator);
    shown(fixture::token(&place(), 1), accelerator)
}

/// A report that tells for how long its device was busy in runs of each level.
fn bundle_with_levels() -> Bundle {
    shown(
        fixture::token(&place(), 1),
        fixture::accelerator(0, 300, [0x5a; 16]),
    )
}

/// As agents wrote it that knew no runs.
fn forget_runs(accelerator: &mut AcceleratorClaims) {
    let scores = &mut accelerator.delivered.workload;
    (scores.levels, scores.run_windows) = (None, None);
}

/// A report of a device that one tenant held alone and another with it for a while.
fn bundle_with_tenants() -> Bundle {
    let (token, accelerators) = with_tenants();
    let [mut accelerator] = <[_; 1]>::try_from(accelerators).unwrap();
    forget_runs(&mut accelerator);
    shown(token, accelerator)
}

/// A report of one device, with a signature that is none.
fn shown(mut token: TokenClaims, accelerator: AcceleratorClaims) -> Bundle {
    let claims = cbor::encode(&weighbridge::report::AcceleratorSubmodule { accelerator });
    // The build's version and the digest would make the bytes change with each release.
    token.submods.host.host.agent_version = "0.1.0".into();
    token.submods.accelerators = vec![SubmoduleDigest(weighbridge::crypto::sha256(&claims))];
    Bundle {
        token: Envelope {
            payload: cbor::encode(&token),
            signature: vec![0x51; 64],
        },
        detached: vec![(Submodules::name(0), Bytes(claims))],
    }
}

fn check<T: Wire + PartialEq + std::fmt::Debug>(name: &str, message: &T) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/wire/golden");
    let bytes = cbor::encode(message);
    let path = dir.join(format!("{name}.cbor"));
    let held = weighbridge::bounded::read(
        std::fs::File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())),
        1 << 20,
    )
    .unwrap();
    assert!(
        held == bytes,
        "{name}: the encoding changed; see the head of this file"
    );
    let diagnostic = weighbridge::bounded::read_text(
        std::fs::File::open(dir.join(format!("{name}.diag"))).unwrap(),
        1 << 20,
    )
    .unwrap();
    assert_eq!(
        diagnostic.trim(),
        format!("{}", minicbor::display(&bytes)),
        "{name}: the diagnostic text differs"
    );
    assert_eq!(&cbor::decode_strict::<T>(&held).unwrap(), message, "{name}");
}

#[test]
fn every_message_keeps_its_bytes() {
    check("bundle", &bundle());
    check("bundle-with-levels", &bundle_with_levels());
    check("bundle-with-round", &bundle_with_round());
    check("bundle-with-tenants", &bundle_with_tenants());
    check(
        "enrolment-token",
        &EnrolmentToken {
            url: "https://weighbridge.example:8443".into(),
            verifier: VerifierId([0xee; 32]),
            secret: [0x5e; 16],
        },
    );
    check(
        "enrol-request",
        &EnrolRequest {
            secret: [0x5e; 16],
            csr: Bytes(vec![0x30, 0x00]),
            key_protection: KeyProtection::File,
            profiles: vec![weighbridge::report::PROFILE.into()],
            predecessor: Some(NodeId([1; 17])),
            serials: vec!["1653042300000".into()],
        },
    );
    check(
        "enrol-answer",
        &EnrolAnswer {
            verifier: VerifierId([0xee; 32]),
            node: NodeId([1; 17]),
            certificate: Bytes(vec![0x30, 0x01]),
            ca: Bytes(vec![0x30, 0x02]),
            ledger_origin: "weighbridge/eeeeeeeeeeeeeeee".into(),
            ledger_key: Bytes(vec![0x30, 0x2a]),
            state: EnrolmentState::Pending,
            instructions: instructions(),
        },
    );
    check(
        "renew-request",
        &RenewRequest {
            verifier: VerifierId([0xee; 32]),
            node: NodeId([1; 17]),
            csr: Bytes(vec![0x30, 0x00]),
            at: UnixSeconds(1_795_320_600),
        },
    );
    check(
        "renew-answer",
        &RenewAnswer {
            certificate: Bytes(vec![0x30, 0x01]),
        },
    );
    check(
        "head",
        &Head {
            latest: Some(HeldChain {
                chain: ChainId([0xc4; 16]),
                sequence: 41,
                digest: Digest([0x9d; 32]),
            }),
            instructions: instructions(),
            checkpoint: "weighbridge/eeeeeeeeeeeeeeee\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
                .into(),
            consistency: vec![Digest([6; 32])],
        },
    );
    check(
        "receipt",
        &Receipt {
            node: NodeId([1; 17]),
            chain: ChainId([0xc4; 16]),
            sequence: 42,
            report: Digest([0x9e; 32]),
            state: ReceiptState::Recorded,
            salt: [0x5a; 16],
            leaf_index: 5,
            inclusion: vec![Digest([7; 32]), Digest([8; 32])],
            checkpoint: "a signed note".into(),
            consistency: vec![],
            highest: 42,
            instructions: instructions(),
        },
    );
    check(
        "refusal",
        &Refusal {
            verifier: VerifierId([0xee; 32]),
            code: RefusalCode::ChainFork,
            expected: "the report that is held".into(),
            found: "another".into(),
            sentence: "a second statement for one place in a chain".into(),
            submission: Digest([0x9f; 32]),
            at: UnixSeconds(1_795_320_600),
        },
    );
    check(
        "signed-refusal",
        &SignedRefusal {
            refusal: Bytes(vec![0xa0]),
            signature: Bytes(vec![0x51; 64]),
        },
    );
    check(
        "leaf",
        &Leaf::new(LeafKind::Report, &[0x5a; 16], &Digest([0x9e; 32])),
    );
}
