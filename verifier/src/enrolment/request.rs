//! The certificate request of a node.
//!
//! Decides: whether it proves that the sender holds the key in it. Only the key is taken from it.

use weighbridge::crypto::{Algorithm, PublicKey};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

/// Why a certificate request is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Not PKCS#10.
    #[error("it is not a PKCS#10 request in DER")]
    Form,
    /// Bytes follow it.
    #[error("bytes follow the PKCS#10 request")]
    Trailing,
    /// Of another algorithm.
    #[error("its key is not on the curve P-256")]
    Algorithm,
    /// Not signed by the key in it.
    #[error("it is not signed by the key in it")]
    Signature,
}

/// The key of a request that proves possession of it.
///
/// # Errors
/// [`RequestError`]. The bytes are untrusted.
pub fn proven_key(der: &[u8]) -> Result<PublicKey, RequestError> {
    let (rest, csr) = X509CertificationRequest::from_der(der).map_err(|_| RequestError::Form)?;
    if !rest.is_empty() {
        return Err(RequestError::Trailing);
    }
    let key = PublicKey::from_spki(csr.certification_request_info.subject_pki.raw)
        .ok()
        .filter(|k| k.algorithm() == Algorithm::EcdsaP256)
        .ok_or(RequestError::Algorithm)?;
    csr.verify_signature().map_err(|_| RequestError::Signature)?;
    Ok(key)
}
