//! What each fuzz target does with its bytes: everything that a stranger's bytes reach, and what must then hold.
//! The fuzzer calls these with inputs of its own, and an ordinary test with the corpus, so that what was found once
//! is tried for ever, without the fuzzer.

use weighbridge::cbor;
use weighbridge::crypto::dsse;
use weighbridge::report::{Bundle, OpenedReport};

/// A report as intake reads it. What is accepted has one encoding, or one report could stand in the ledger twice.
pub fn report(bytes: &[u8]) {
    let shown = OpenedReport::open_disclosed(bytes);
    assert!(
        shown.is_ok() || OpenedReport::open(bytes).is_err(),
        "the stricter reader took what the other refused"
    );
    if let Ok(opened) = shown {
        let bundle = cbor::decode_strict::<Bundle>(bytes);
        assert_eq!(bundle.as_ref().map(|b| b.token.digest()), Ok(opened.digest()));
        assert_eq!(bundle.map(|b| cbor::encode(&b)), Ok(bytes.to_vec()));
    }
}

/// A signed document. Nothing is authentic to a reader who trusts no key.
pub fn dsse(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok((payload_type, _)) = dsse::peek(text) {
        assert!(dsse::verify(text, &payload_type, &[]).is_err());
    }
}
