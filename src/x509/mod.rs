//! Certificates and paths (RFC 5280): the border to `x509-parser`.
//!
//! Decides: whether one certificate was issued by the holder of another, and whether a path leads to a key that is pinned.
//! Trusts only that key. Does not establish that a certificate was not revoked: [`ocsp`] reads what its issuer says of it. Only ECDSA on
//! P-384 with SHA-384 is accepted, since that is what devices and their vendor use.

pub(crate) mod der;
pub mod ocsp;
mod path;

pub use der::DerError;
pub use path::{Links, PathError};

use crate::crypto::{Algorithm, PublicKey, pem_decode};
use crate::time::UnixSeconds;
use std::collections::BTreeSet;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;

/// The longest certificate that is read, in bytes; device certificates have some 900.
const MAX_CERTIFICATE: usize = 16 << 10;
/// ecdsa-with-SHA384 (RFC 5758 §3.2).
const ECDSA_SHA384: &str = "1.2.840.10045.4.3.3";
/// Critical extensions that are understood here: key usage, basic constraints, extended key usage, subject alternative name.
const UNDERSTOOD: [&str; 4] = ["2.5.29.15", "2.5.29.19", "2.5.29.37", "2.5.29.17"];

/// Why bytes are not a certificate that can be used here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The structure.
    #[error("not one X.509 certificate in DER")]
    Form,
    /// The text around it.
    #[error("not a text of PEM certificates")]
    Pem,
    /// The key.
    #[error("the key of `{subject}` is not one of P-384")]
    Key {
        /// Whose.
        subject: String,
    },
    /// The algorithm of its signature.
    #[error("`{subject}` is signed with {found}, not with ECDSA and SHA-384")]
    Algorithm {
        /// Whose.
        subject: String,
        /// The object identifier found.
        found: String,
    },
    /// A critical extension.
    #[error("`{subject}` has the critical extension {found}, which is not understood here")]
    Critical {
        /// Whose.
        subject: String,
        /// The object identifier found.
        found: String,
    },
}

/// An extension as it stands in a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Extension {
    oid: String,
    value: Vec<u8>,
}

/// A certificate that was read. Whose it is, its issuer's signature tells: [`Links::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    signed: Vec<u8>,
    signature: Vec<u8>,
    subject: Vec<u8>,
    issuer: Vec<u8>,
    common_name: String,
    serial: Vec<u8>,
    key: PublicKey,
    valid: (UnixSeconds, UnixSeconds),
    is_ca: bool,
    path_length: Option<u32>,
    signs_certificates: bool,
    signs_data: bool,
    signs_ocsp: bool,
    extensions: Vec<Extension>,
}

impl Certificate {
    /// Reads one certificate, and nothing after it.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn parse(der: &[u8]) -> Result<Self, CertificateError> {
        if der.len() > MAX_CERTIFICATE {
            return Err(CertificateError::Form);
        }
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|_| CertificateError::Form)?;
        if !rest.is_empty() {
            return Err(CertificateError::Form);
        }
        let common_name = parsed
            .subject()
            .iter_common_name()
            .next()
            .and_then(|n| n.as_str().ok())
            // It is shown to people: nothing in it may act on their terminal, or look like a line of ours.
            .filter(|n| n.bytes().all(|b| b == b' ' || b.is_ascii_graphic()))
            .unwrap_or("a certificate without a plain common name")
            .to_owned();
        let subject = || common_name.clone();
        let algorithm = parsed.signature_algorithm.algorithm.to_id_string();
        if algorithm != ECDSA_SHA384 || parsed.signature_algorithm != parsed.tbs_certificate.signature {
            return Err(CertificateError::Algorithm {
                subject: subject(),
                found: algorithm,
            });
        }
        let key = PublicKey::from_spki(parsed.public_key().raw)
            .ok()
            .filter(|k| k.algorithm() == Algorithm::EcdsaP384)
            .ok_or_else(|| CertificateError::Key { subject: subject() })?;
        let mut certificate = Self {
            der: der.to_vec(),
            signed: parsed.tbs_certificate.as_ref().to_vec(),
            signature: parsed.signature_value.data.to_vec(),
            subject: parsed.subject().as_raw().to_vec(),
            issuer: parsed.issuer().as_raw().to_vec(),
            serial: parsed.raw_serial().to_vec(),
            key,
            valid: (
                UnixSeconds(parsed.validity().not_before.timestamp()),
                UnixSeconds(parsed.validity().not_after.timestamp()),
            ),
            is_ca: false,
            path_length: None,
            signs_certificates: false,
            signs_data: false,
            signs_ocsp: false,
            extensions: Vec::new(),
            common_name,
        };
        let mut seen = BTreeSet::new();
        let mut restricted = false;
        for extension in parsed.extensions() {
            let oid = extension.oid.to_id_string();
            if !seen.insert(oid.clone()) {
                return Err(CertificateError::Form);
            }
            if extension.critical && !UNDERSTOOD.contains(&oid.as_str()) {
                return Err(CertificateError::Critical {
                    subject: certificate.common_name,
                    found: oid,
                });
            }
            match extension.parsed_extension() {
                ParsedExtension::BasicConstraints(basic) => {
                    certificate.is_ca = basic.ca;
                    certificate.path_length = basic.path_len_constraint;
                }
                ParsedExtension::KeyUsage(usage) => {
                    certificate.signs_certificates = usage.key_cert_sign();
                    certificate.signs_data = usage.digital_signature();
                }
                ParsedExtension::ExtendedKeyUsage(usage) => {
                    certificate.signs_ocsp = usage.ocsp_signing;
                    restricted = !usage.any;
                }
                ParsedExtension::ParseError { .. } => return Err(CertificateError::Form),
                _ => {}
            }
            certificate.extensions.push(Extension {
                oid,
                value: extension.value.to_vec(),
            });
        }
        // A responder's key signs replies and nothing else (RFC 5280 §4.2.1.12): no report and no manifest.
        certificate.signs_ocsp &= certificate.signs_data;
        certificate.signs_data &= !restricted;
        Ok(certificate)
    }

    /// Reads a text of PEM certificates, in their order, at most `most`.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn parse_pem_chain(text: &str, most: usize) -> Result<Vec<Self>, CertificateError> {
        const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
        let mut parts = text.split(BEGIN);
        if parts.next().is_none_or(|before| !before.trim().is_empty()) {
            return Err(CertificateError::Pem);
        }
        let mut found = Vec::new();
        for part in parts {
            let after = part
                .split_once("-----END CERTIFICATE-----")
                .map(|(_, after)| after);
            // Evidence as it is published may end its text with a zero byte.
            if found.len() >= most || after.is_none_or(|a| !a.trim().trim_matches('\0').is_empty()) {
                return Err(CertificateError::Pem);
            }
            let der =
                pem_decode("CERTIFICATE", &format!("{BEGIN}{part}")).map_err(|_| CertificateError::Pem)?;
            found.push(Self::parse(&der)?);
        }
        if found.is_empty() {
            return Err(CertificateError::Pem);
        }
        Ok(found)
    }

    /// The bytes that were read.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The first common name of its subject.
    #[must_use]
    pub fn common_name(&self) -> &str {
        &self.common_name
    }

    /// The subject's name in DER.
    #[must_use]
    pub fn subject(&self) -> &[u8] {
        &self.subject
    }

    /// The serial number, most significant byte first, as it is encoded.
    #[must_use]
    pub fn serial(&self) -> &[u8] {
        &self.serial
    }

    /// The public key.
    #[must_use]
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// First and last second of its validity.
    #[must_use]
    pub fn valid(&self) -> (UnixSeconds, UnixSeconds) {
        self.valid
    }

    /// Whether its key may sign data: key usage `digitalSignature`, and no extended key usage that restricts it to other purposes.
    #[must_use]
    pub fn signs_data(&self) -> bool {
        self.signs_data
    }

    /// Whether its key may sign OCSP replies for its issuer (RFC 6960 §4.2.2.2).
    #[must_use]
    pub fn signs_ocsp(&self) -> bool {
        self.signs_ocsp
    }

    /// The value of an extension, by its object identifier in dots.
    #[must_use]
    pub fn extension(&self, oid: &str) -> Option<&[u8]> {
        let found = self.extensions.iter().find(|e| e.oid == oid)?;
        Some(&found.value)
    }

    /// Whether it holds at a time.
    ///
    /// # Errors
    /// [`PathError::Time`].
    pub fn holds_at(&self, at: UnixSeconds) -> Result<(), PathError> {
        let (from, to) = self.valid;
        if (from..=to).contains(&at) {
            return Ok(());
        }
        Err(PathError::Time {
            subject: self.common_name.clone(),
            from,
            to,
            at,
        })
    }
}
