//! GPU evidence as Veraison's endpoint takes it: `application/eat-ucs+json; eat_profile="tag:github.com,2024:veraison/ratsd"`.
//!
//! Decides: what bytes such a document holds. Trusts nothing in it. The document is the unsigned token that Veraison's attester `ratsd` sends: a
//! profile, one nonce, and a collection of conceptual messages (draft-ietf-rats-msg-wrap) in which `nv-gpu-evidence` is the list that
//! `nvattest` writes. Read from `scheme/nvidia` of veraison/services, and from `ratsd-token` and `docs/*.cddl` of veraison/ratsd (both
//! Apache-2.0, mid 2026). Unlike RFC 9711 it has nonce and collection in plain base64 with padding; the message within is in base64url.

use super::chain::{Arch, DeviceChain};
use super::envelope::EnvelopeError;
use super::spdm::Report;
use crate::crypto::pem_encode;
use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// The profile of the token.
const PROFILE: &str = "tag:github.com,2024:veraison/ratsd";
/// The type of the collection in it.
const COLLECTION: &str = "tag:github.com,2025:veraison/ratsd/cmw";
const KEY: &str = "nv-gpu-evidence";
const MEDIA_TYPE: &str = "application/vnd.veraison.nvidia-gpu-evidence+json";

/// Why evidence cannot be written so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UcsError {
    /// A report or chain that cannot be read.
    #[error("{0}: a report or chain that cannot be read; Veraison takes whole evidence only")]
    Unreadable(String),
    /// A switch.
    #[error("{0} is not of a Hopper or Blackwell GPU, and Veraison takes no other")]
    NoGpu(String),
    /// More than one nonce.
    #[error("{0} answers another nonce than the first; Veraison's document has one for all")]
    OtherNonce(String),
    /// None.
    #[error("no GPU's evidence is among it")]
    Nothing,
}

/// A device as `nvattest` writes it, in the order of its members.
#[derive(Serialize)]
struct Item {
    arch: &'static str,
    certificate: String,
    evidence: String,
    nonce: String,
}

/// Writes the evidence of GPUs, each with its name for a person.
///
/// # Errors
/// [`UcsError`] where one is not of a GPU, cannot be read, or answers another nonce.
pub fn ucs<'a>(
    devices: impl IntoIterator<Item = (&'a str, &'a [u8], Option<&'a DeviceChain>)>,
) -> Result<Value, UcsError> {
    let (mut items, mut first) = (Vec::new(), None);
    for (name, bytes, chain) in devices {
        let (Ok(report), Some(chain)) = (Report::parse(bytes), chain) else {
            return Err(UcsError::Unreadable(name.to_owned()));
        };
        let arch = match chain.arch() {
            Some(Arch::Hopper) if !report.opaque.is_switch() => "HOPPER",
            Some(Arch::Blackwell) if !report.opaque.is_switch() => "BLACKWELL",
            _ => return Err(UcsError::NoGpu(name.to_owned())),
        };
        if *first.get_or_insert(report.nonce) != report.nonce {
            return Err(UcsError::OtherNonce(name.to_owned()));
        }
        let pem: String = chain
            .certificates()
            .iter()
            .map(|c| pem_encode("CERTIFICATE", c.der()))
            .collect();
        items.push(Item {
            arch,
            certificate: BASE64.encode(pem.as_bytes()),
            evidence: BASE64.encode(bytes),
            nonce: HEXLOWER.encode(&report.nonce),
        });
    }
    let nonce = first.ok_or(UcsError::Nothing)?;
    let list = json!(items).to_string();
    let collection = json!({
        "__cmwc_t": COLLECTION,
        KEY: [MEDIA_TYPE, BASE64URL_NOPAD.encode(list.as_bytes())],
    });
    Ok(json!({
        "eat_profile": PROFILE,
        "eat_nonce": BASE64.encode(&nonce),
        "cmw": BASE64.encode(collection.to_string().as_bytes()),
    }))
}

/// The list of evidence within such a document.
pub(super) fn unwrapped(document: &Map<String, Value>) -> Result<Value, EnvelopeError> {
    let text = |name: &str| document.get(name).and_then(Value::as_str);
    if text("eat_profile") != Some(PROFILE) {
        return Err(EnvelopeError::Other);
    }
    let collection = text("cmw").and_then(|c| BASE64.decode(c.as_bytes()).ok());
    let collection: Value = serde_json::from_slice(&collection.ok_or(EnvelopeError::Collection)?)?;
    let record = collection.get(KEY).and_then(Value::as_array);
    let list = match record.map(Vec::as_slice) {
        Some([Value::String(kind), Value::String(value), ..]) if kind == MEDIA_TYPE => {
            BASE64URL_NOPAD.decode(value.as_bytes()).ok()
        }
        _ => None,
    };
    Ok(serde_json::from_slice(&list.ok_or(EnvelopeError::Collection)?)?)
}

#[cfg(test)]
mod tests {
    use super::super::envelope::Evidence;
    use super::*;

    #[test]
    fn a_document_of_another_profile_or_without_evidence_is_not_taken() {
        let read = |value: &Value| Evidence::read(value.to_string().as_bytes());
        let other = json!({"eat_profile": "tag:example,2026:x", "cmw": ""});
        assert!(matches!(read(&other), Err(EnvelopeError::Other)));
        let wrapped =
            |collection: &str| json!({"eat_profile": PROFILE, "cmw": BASE64.encode(collection.as_bytes())});
        for collection in [
            "{}",
            r#"{"nv-gpu-evidence": ["text/plain", "W10"]}"#,
            r#"{"nv-gpu-evidence": ["application/vnd.veraison.nvidia-gpu-evidence+json", "*"]}"#,
        ] {
            let error = read(&wrapped(collection)).unwrap_err();
            assert!(matches!(error, EnvelopeError::Collection), "{error}");
        }
        assert!(read(&json!({"eat_profile": PROFILE})).is_err());
        assert_eq!(ucs([]), Err(UcsError::Nothing));
        let unreadable = ucs([("a.bin", &b"none"[..], None)]);
        assert_eq!(unreadable, Err(UcsError::Unreadable("a.bin".to_owned())));
    }
}
