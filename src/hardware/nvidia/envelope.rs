//! The JSON in which NVIDIA's `nvattest` writes evidence: a list of reports with their chains, bare, under `evidences`, or in the document that
//! Veraison takes.
//!
//! Decides: what bytes an envelope holds. Trusts nothing in it: architecture and nonce are said again by the report, which is signed.

use super::ucs::unwrapped;
use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::Value;

/// The most devices in one envelope; a host has twelve.
const MAX_DEVICES: usize = 256;

/// Why a text is not such an envelope.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Something else.
    #[error("JSON that holds no evidence")]
    Other,
    /// The structure.
    #[error("not a list of evidence as nvattest writes it")]
    Form(#[from] serde_json::Error),
    /// The collection in Veraison's document.
    #[error("a document as Veraison takes it, and its collection holds no GPU's evidence")]
    Collection,
    /// The number.
    #[error("{0} devices, more than are read")]
    TooMany(usize),
    /// A value.
    #[error("device {index}: its {part} is not base64 of what it should be")]
    Value {
        /// Place in the list, from 0.
        index: usize,
        /// `evidence` or `certificate`.
        part: &'static str,
    },
}

/// A report with its chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The report's bytes.
    pub report: Vec<u8>,
    /// The chain in PEM.
    pub chain: String,
}

#[derive(Deserialize)]
struct Item {
    evidence: String,
    certificate: String,
}

impl Evidence {
    /// Reads an envelope.
    ///
    /// # Errors
    /// [`EnvelopeError`].
    pub fn read(json: &[u8]) -> Result<Vec<Self>, EnvelopeError> {
        let items = match serde_json::from_slice(json)? {
            Value::Array(items) => items,
            Value::Object(mut wrapped) => match wrapped.remove("evidences") {
                Some(Value::Array(items)) => items,
                _ => match unwrapped(&wrapped)? {
                    Value::Array(items) => items,
                    _ => return Err(EnvelopeError::Collection),
                },
            },
            _ => return Err(EnvelopeError::Other),
        };
        if items.iter().all(|i| i.get("evidence").is_none()) {
            return Err(EnvelopeError::Other);
        }
        if items.len() > MAX_DEVICES {
            return Err(EnvelopeError::TooMany(items.len()));
        }
        let one = |(index, item): (usize, Value)| {
            let item: Item = serde_json::from_value(item)?;
            let wrong = |part| EnvelopeError::Value { index, part };
            let decode = |text: &str, part| BASE64.decode(text.as_bytes()).map_err(|_| wrong(part));
            Ok(Self {
                report: decode(&item.evidence, "evidence")?,
                chain: String::from_utf8(decode(&item.certificate, "certificate")?)
                    .map_err(|_| wrong("certificate"))?,
            })
        };
        items.into_iter().enumerate().map(one).collect()
    }
}
