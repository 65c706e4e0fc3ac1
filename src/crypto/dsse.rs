//! DSSE envelopes (Dead Simple Signing Envelope, version 1.0.2) for documents that people sign.
//!
//! The payload is signed as exactly the bytes that a person wrote; nothing that is signed is ever serialised again. Decides: which of the
//! caller's keys signed a payload. Does not establish that a key's holder had the right to sign.

use super::primitive::{PublicKey, SignError, Signer};
use crate::bounded::MAX_DOCUMENT;
use crate::id::Digest;
use data_encoding::{BASE64, BASE64URL};
use serde::{Deserialize, Serialize};

/// The most signatures that an envelope may carry.
pub const MAX_SIGNATURES: usize = 16;

/// Why an envelope cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DsseError {
    /// Larger than any honest document.
    #[error("the envelope is larger than the {limit} bytes allowed for a document")]
    TooLarge {
        /// The bound.
        limit: usize,
    },
    /// Not a DSSE envelope.
    #[error("not a DSSE envelope in JSON")]
    Json(#[source] serde_json::Error),
    /// A part is not base64.
    #[error("the {part} is not base64")]
    Base64 {
        /// Payload or signature.
        part: &'static str,
    },
    /// Of another type than expected.
    #[error("the envelope holds `{found}`, not `{expected}`")]
    Type {
        /// Expected payload type.
        expected: String,
        /// Payload type found, cut to 100 characters.
        found: String,
    },
    /// No trusted key signed it.
    #[error("none of the {tried} keys that may sign this signed it")]
    NoTrustedSignature {
        /// Keys that were tried.
        tried: usize,
    },
    /// Too many signatures.
    #[error("the envelope carries more than {MAX_SIGNATURES} signatures")]
    TooManySignatures,
    /// The key could not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// One signature of an envelope.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    /// A hint, never trusted: SHA-256 of the key's SubjectPublicKeyInfo.
    #[serde(default)]
    keyid: String,
    sig: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Json {
    payload_type: String,
    payload: String,
    signatures: Vec<Signature>,
}

/// A payload whose signature was checked, with the keys that signed it.
#[derive(Clone, Debug)]
pub struct Verified {
    payload: Vec<u8>,
    signers: Vec<Digest>,
}

impl Verified {
    /// The bytes that were signed.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The identities of those of the caller's keys that signed.
    #[must_use]
    pub fn signers(&self) -> &[Digest] {
        &self.signers
    }
}

/// The pre-authentication encoding: what is signed.
fn pre_authentication(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!(
        "DSSEv1 {} {} {} ",
        payload_type.len(),
        payload_type,
        payload.len()
    )
    .into_bytes();
    out.extend_from_slice(payload);
    out
}

/// Signs `payload` with each key and writes the envelope.
///
/// # Errors
/// [`DsseError::Sign`].
pub fn sign(payload_type: &str, payload: &[u8], keys: &[&dyn Signer]) -> Result<String, DsseError> {
    let message = pre_authentication(payload_type, payload);
    write(&Json {
        payload_type: payload_type.to_owned(),
        payload: BASE64.encode(payload),
        signatures: signatures(&message, keys)?,
    })
}

/// Adds signatures to an envelope: its payload and the signatures that stand there stay as they are. A key whose signature stands there already
/// replaces it.
///
/// # Errors
/// [`DsseError`]. The text is untrusted: whoever signs must have looked at the payload.
pub fn countersign(text: &str, payload_type: &str, keys: &[&dyn Signer]) -> Result<String, DsseError> {
    let mut json = parse(text)?;
    of_type(&json, payload_type)?;
    let message = pre_authentication(payload_type, &decode("payload", &json.payload)?);
    let more = signatures(&message, keys)?;
    json.signatures
        .retain(|s| more.iter().all(|m| m.keyid != s.keyid));
    json.signatures.extend(more);
    if json.signatures.len() > MAX_SIGNATURES {
        return Err(DsseError::TooManySignatures);
    }
    write(&json)
}

fn signatures(message: &[u8], keys: &[&dyn Signer]) -> Result<Vec<Signature>, SignError> {
    let sign = |key: &&dyn Signer| {
        Ok(Signature {
            keyid: key.public_key().id().to_string(),
            sig: BASE64.encode(&key.sign(message)?),
        })
    };
    keys.iter().map(sign).collect()
}

fn write(json: &Json) -> Result<String, DsseError> {
    let mut text = serde_json::to_string_pretty(json).map_err(DsseError::Json)?;
    text.push('\n');
    Ok(text)
}

fn of_type(json: &Json, expected: &str) -> Result<(), DsseError> {
    if json.payload_type == expected {
        return Ok(());
    }
    Err(DsseError::Type {
        expected: expected.to_owned(),
        found: json.payload_type.chars().take(100).collect(),
    })
}

/// Opens an envelope: at least one of `keys` must have signed.
///
/// # Errors
/// [`DsseError`]. The text is untrusted; the keys must come from the checker's own anchors.
pub fn verify(text: &str, payload_type: &str, keys: &[PublicKey]) -> Result<Verified, DsseError> {
    let json = parse(text)?;
    of_type(&json, payload_type)?;
    let payload = decode("payload", &json.payload)?;
    let message = pre_authentication(payload_type, &payload);
    let signatures = json
        .signatures
        .iter()
        .map(|s| decode("signature", &s.sig))
        .collect::<Result<Vec<_>, _>>()?;
    let signers: Vec<Digest> = keys
        .iter()
        .filter(|key| signatures.iter().any(|s| key.verify(&message, s).is_ok()))
        .map(PublicKey::id)
        .collect();
    if signers.is_empty() {
        return Err(DsseError::NoTrustedSignature { tried: keys.len() });
    }
    Ok(Verified { payload, signers })
}

/// The payload of an envelope whose signature is not checked: for showing, never for deciding.
///
/// # Errors
/// [`DsseError`]. The text is untrusted.
pub fn peek(text: &str) -> Result<(String, Vec<u8>), DsseError> {
    let json = parse(text)?;
    let payload = decode("payload", &json.payload)?;
    Ok((json.payload_type, payload))
}

fn parse(text: &str) -> Result<Json, DsseError> {
    if text.len() > MAX_DOCUMENT {
        return Err(DsseError::TooLarge { limit: MAX_DOCUMENT });
    }
    let json: Json = serde_json::from_str(text).map_err(DsseError::Json)?;
    if json.signatures.len() > MAX_SIGNATURES {
        return Err(DsseError::TooManySignatures);
    }
    Ok(json)
}

/// The specification lets a writer choose standard or URL-safe base64.
fn decode(part: &'static str, text: &str) -> Result<Vec<u8>, DsseError> {
    BASE64
        .decode(text.as_bytes())
        .or_else(|_| BASE64URL.decode(text.as_bytes()))
        .map_err(|_| DsseError::Base64 { part })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Algorithm, Entropy, SecretKey};

    const TYPE: &str = "application/vnd.weighbridge.licence+toml";

    fn key() -> SecretKey {
        SecretKey::generate(Algorithm::Ed25519, &Entropy::system()).unwrap()
    }

    #[test]
    fn the_signed_bytes_come_back_exactly() {
        let (a, b) = (key(), key());
        let text = sign(TYPE, b"limit = 5 # five\n", &[&a, &b]).unwrap();
        let open = verify(&text, TYPE, &[b.public_key().clone()]).unwrap();
        assert_eq!(open.payload(), b"limit = 5 # five\n");
        assert_eq!(open.signers(), [b.public_key().id()]);
    }

    #[test]
    fn a_second_signature_joins_the_first_on_the_same_bytes() {
        let (owner, assessor) = (key(), key());
        let keys = [owner.public_key().clone(), assessor.public_key().clone()];
        let first = sign(TYPE, b"limit = 5", &[&owner]).unwrap();
        let both = countersign(&first, TYPE, &[&assessor]).unwrap();
        let open = verify(&both, TYPE, &keys).unwrap();
        assert_eq!(open.payload(), b"limit = 5");
        assert_eq!(open.signers().len(), 2);
        let again = countersign(&both, TYPE, &[&assessor]).unwrap();
        assert_eq!(again.matches("keyid").count(), 2);
        assert!(matches!(
            countersign(&first, "text/plain", &[&assessor]),
            Err(DsseError::Type { .. })
        ));
        let many: Vec<SecretKey> = (0..MAX_SIGNATURES).map(|_| key()).collect();
        let many: Vec<&dyn Signer> = many.iter().map(|k| -> &dyn Signer { k }).collect();
        assert!(matches!(
            countersign(&first, TYPE, &many),
            Err(DsseError::TooManySignatures)
        ));
    }

    #[test]
    fn another_key_another_type_or_another_byte_is_refused() {
        let (a, stranger) = (key(), key());
        let text = sign(TYPE, b"limit = 5", &[&a]).unwrap();
        let trusted = [a.public_key().clone()];
        assert!(matches!(
            verify(&text, TYPE, &[stranger.public_key().clone()]),
            Err(DsseError::NoTrustedSignature { tried: 1 })
        ));
        assert!(matches!(
            verify(&text, "text/plain", &trusted),
            Err(DsseError::Type { .. })
        ));
        let altered = text.replace(&BASE64.encode(b"limit = 5"), &BASE64.encode(b"limit = 9"));
        assert!(matches!(
            verify(&altered, TYPE, &trusted),
            Err(DsseError::NoTrustedSignature { .. })
        ));
        assert!(matches!(verify("{", TYPE, &trusted), Err(DsseError::Json(_))));
    }

    #[test]
    fn the_encoding_is_that_of_the_specification() {
        assert_eq!(
            pre_authentication("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }
}
