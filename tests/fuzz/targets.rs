//! What each fuzz target does with its bytes: everything that a stranger's bytes reach, and what must then hold.
//! The fuzzer calls these with inputs of its own, and an ordinary test with the corpus, so that what was found once
//! is tried for ever, without the fuzzer.
//!
//! That a decoded value has exactly the bytes it was decoded from is [`cbor::decode_strict`]'s own last step, so a
//! target only has to reach it.

use weighbridge::accelerator::{Catalogue, Match};
use weighbridge::cbor::{self, Wire};
use weighbridge::crypto::jws::JwkSet;
use weighbridge::crypto::{PublicKey, dsse};
use weighbridge::hardware::nvidia::nras::NrasResult;
use weighbridge::hardware::nvidia::{
    DEVICE_ROOT, DeviceChain, Evidence, Opaque, RIM_ROOT, Report, Rim, canonical,
};
use weighbridge::ledger::{Checkpoint, LedgerKey};
use weighbridge::licence::Licence;
use weighbridge::protocol::{
    EnrolAnswer, EnrolRequest, EnrolmentToken, Head, Receipt, RenewAnswer, RenewRequest, SignedRefusal,
    SignedRequest,
};
use weighbridge::report::{AcceleratorSubmodule, Bundle, OpenedReport, TokenClaims};
use weighbridge::rules::RuleSet;
use weighbridge::time::UnixSeconds;
use weighbridge::x509::ocsp::Reply;
use weighbridge::x509::{Certificate, Links};

/// What a target does with its bytes.
pub type Target = fn(&[u8]);

/// Every target by its name, which is also that of its corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("bundle", bundle),
    ("report", report),
    ("message", message),
    ("licence", licence),
    ("catalogue", catalogue),
    ("dsse", dsse),
    ("checkpoint", checkpoint),
    ("spdm", spdm),
    ("opaque", opaque),
    ("chain", chain),
    ("manifest", manifest),
    ("ocsp", ocsp),
    ("envelope", envelope),
    ("nras", nras),
];

/// A delivery as intake reads it.
pub fn bundle(bytes: &[u8]) {
    let shown = OpenedReport::open_disclosed(bytes);
    assert!(
        shown.is_ok() || OpenedReport::open(bytes).is_err(),
        "the stricter reader took what the other refused"
    );
    let Ok(opened) = shown else { return };
    let bundle = cbor::decode_strict::<Bundle>(bytes);
    assert_eq!(bundle.map(|b| b.token.digest()), Ok(opened.digest()));
}

/// The claims within a token, which the fuzzer could not reach through their digests.
pub fn report(bytes: &[u8]) {
    decode::<TokenClaims>(bytes);
    decode::<AcceleratorSubmodule>(bytes);
}

/// What agent and verifier say to each other besides reports.
pub fn message(bytes: &[u8]) {
    decode::<EnrolRequest>(bytes);
    decode::<EnrolAnswer>(bytes);
    decode::<RenewAnswer>(bytes);
    decode::<RenewRequest>(bytes);
    decode::<Head>(bytes);
    decode::<Receipt>(bytes);
    if let Ok(request) = cbor::decode_strict::<SignedRequest>(bytes) {
        let _claimed = request.claimed();
    }
    if let Ok(refusal) = cbor::decode_strict::<SignedRefusal>(bytes) {
        let _said = refusal.peek();
    }
    if let Ok(line) = std::str::from_utf8(bytes)
        && let Ok(token) = EnrolmentToken::parse(line)
    {
        assert_eq!(EnrolmentToken::parse(&token.to_line()), Ok(token));
    }
}

/// A licence or a rule set as `licence lint` reads them. Whatever was read can be explained, and so can what was not.
pub fn licence(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let said = match Licence::parse(text) {
        Ok(licence) => licence.explain(),
        Err(mistakes) => mistakes.to_string(),
    };
    assert!(!said.is_empty());
    if let Err(mistakes) = RuleSet::parse(text) {
        assert!(!mistakes.to_string().is_empty());
    }
}

/// A catalogue of accelerators. Whatever is read finds the same model twice, and no card is more than its devices.
pub fn catalogue(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(catalogue) = Catalogue::open(text, &[]) {
        unreachable!("nobody signed {}", catalogue.label());
    }
    let Ok(catalogue) = Catalogue::parse(text) else {
        return;
    };
    assert_eq!(catalogue.digest(), weighbridge::crypto::sha256(bytes));
    for model in catalogue.models() {
        assert!(model.cards(u64::MAX) > 0 && model.device_tpp() <= model.tpp());
        let _figures = (
            model.density(),
            model.export_class_now(),
            model.bit_operations_per_clock(),
        );
        for id in &model.boards {
            assert_ne!(catalogue.find(id, &model.name), Match::Unknown);
        }
    }
}

/// A signed document. Nothing in it is authentic to a reader who trusts no key.
pub fn dsse(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok((payload_type, _)) = dsse::peek(text) {
        let trusted = dsse::verify(text, &payload_type, &[]);
        assert_eq!(trusted.ok().map(|document| document.signers().len()), None);
    }
}

/// A ledger's checkpoint, to a reader who trusts [`LEDGER_KEY`].
pub fn checkpoint(bytes: &[u8]) {
    let (Ok(note), Ok(key)) = (std::str::from_utf8(bytes), PublicKey::from_spki(&LEDGER_KEY)) else {
        return;
    };
    let ledger = LedgerKey {
        origin: "weighbridge/fuzz".to_owned(),
        key,
    };
    let _checkpoint = Checkpoint::open(note, &ledger);
}

/// A device's report. What was read and written again is the same, byte for byte.
pub fn spdm(bytes: &[u8]) {
    let Ok(report) = Report::parse(bytes) else { return };
    assert_eq!(report.emit(), bytes);
}

/// What a device says of itself, which stands in a report behind measurements that the fuzzer would have to get right first.
pub fn opaque(bytes: &[u8]) {
    let Ok(opaque) = Opaque::parse(bytes) else { return };
    assert_eq!(opaque.emit(), bytes);
    let _driver = (opaque.driver(), opaque.vbios(), opaque.board(), opaque.mode());
    let _peers = (opaque.links(), opaque.switch(), opaque.gpus());
}

/// A device's chain in PEM, or one certificate in DER.
pub fn chain(bytes: &[u8]) {
    let _one = Certificate::parse(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(chain) = DeviceChain::parse(text) else {
        return;
    };
    let _named = (chain.arch(), chain.key(), chain.fwid());
    let _verified = chain.verify(&DEVICE_ROOT, UnixSeconds(1_795_000_000), &mut Links::default());
}

/// A reference manifest. The canonical form of what is taken is its own canonical form.
pub fn manifest(bytes: &[u8]) {
    if let Ok(form) = canonical(bytes) {
        assert_eq!(canonical(&form).as_ref(), Ok(&form));
    }
    let _verified = Rim::verify(bytes, &RIM_ROOT, &mut Links::default());
}

/// An OCSP reply.
pub fn ocsp(bytes: &[u8]) {
    let _reply = Reply::parse(bytes);
}

/// Evidence as nvattest writes it.
pub fn envelope(bytes: &[u8]) {
    for evidence in Evidence::read(bytes).unwrap_or_default() {
        let _report = Report::parse(&evidence.report);
        let _chain = DeviceChain::parse(&evidence.chain);
    }
}

/// A result of NVIDIA's service, or a set of keys. Nothing is signed to a reader who has no keys, and what is read is compared with nothing.
pub fn nras(bytes: &[u8]) {
    let _keys = JwkSet::parse(bytes);
    let Ok(result) = NrasResult::read(bytes) else {
        return;
    };
    let checked = result.check(None, None, UnixSeconds(1_793_534_400));
    assert!(!checked.signature.passed() && !checked.nonce.passed());
    let _said = (result.issuer(), result.devices());
}

/// An Ed25519 key as RFC 8410 wraps it: the public key of RFC 8032, section 7.1, test 1.
pub const LEDGER_KEY: [u8; 44] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00, 0xd7, 0x5a, 0x98, 0x01, 0x82,
    0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a, 0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6,
    0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a,
];

fn decode<T: Wire>(bytes: &[u8]) {
    let _value = cbor::decode_strict::<T>(bytes);
}
