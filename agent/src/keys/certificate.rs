//! Certificates: requesting one, reading how long one holds, naming the key in one. The one file that names X.509 libraries here.

use super::der_signature;
use weighbridge::crypto::{self, Signer};
use weighbridge::id::Digest;
use weighbridge::time::UnixSeconds;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Why a certificate or a request for one cannot be handled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// A request cannot be made.
    #[error("the certificate request could not be made")]
    Request(#[source] rcgen::Error),
    /// The bytes are no certificate.
    #[error("the verifier's answer holds something that is not a certificate")]
    Malformed,
}

struct RequestKey<'a>(&'a dyn Signer);

impl rcgen::PublicKeyData for RequestKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().raw()
    }
    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for RequestKey<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0
            .sign(message)
            .map(|fixed| der_signature(&fixed))
            .map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

/// A PKCS#10 request for the node's key, in DER. It names nobody: the verifier decides what the certificate says.
///
/// # Errors
/// [`CertificateError::Request`].
pub fn request(key: &dyn Signer) -> Result<Vec<u8>, CertificateError> {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .serialize_request(&RequestKey(key))
        .map(|csr| csr.der().to_vec())
        .map_err(CertificateError::Request)
}

/// How long a certificate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// From.
    pub not_before: UnixSeconds,
    /// Until.
    pub not_after: UnixSeconds,
}

impl Lifetime {
    /// Reads it from a certificate in DER.
    ///
    /// # Errors
    /// [`CertificateError::Malformed`]; the bytes are untrusted.
    pub fn of(certificate: &[u8]) -> Result<Self, CertificateError> {
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::Malformed)?;
        let validity = parsed.validity();
        Ok(Self {
            not_before: UnixSeconds(validity.not_before.timestamp()),
            not_after: UnixSeconds(validity.not_after.timestamp()),
        })
    }

    /// Whether less than a third of it remains at `now`, or none.
    #[must_use]
    pub fn wants_renewal(&self, now: UnixSeconds) -> bool {
        let whole = self.not_after.since(self.not_before);
        self.not_after.since(now).saturating_mul(3) < whole
    }
}

/// SHA-256 of the SubjectPublicKeyInfo of a certificate in DER.
///
/// # Errors
/// [`CertificateError::Malformed`]; the bytes are untrusted.
pub fn spki_digest(certificate: &[u8]) -> Result<Digest, CertificateError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::Malformed)?;
    Ok(crypto::sha256(parsed.public_key().raw))
}

#[cfg(test)]
mod tests {
    use super::*;
    use weighbridge::crypto::{Algorithm, Entropy, SecretKey};

    #[test]
    fn a_request_is_signed_by_the_key_it_names() {
        let key = SecretKey::generate(Algorithm::EcdsaP256, &Entropy::system()).unwrap();
        let der = request(&key).unwrap();
        let parsed =
            rcgen::CertificateSigningRequestParams::from_der(&der.into()).expect("a request that verifies");
        assert_eq!(
            rcgen::PublicKeyData::subject_public_key_info(&parsed.public_key),
            key.public_key().spki()
        );
    }

    #[test]
    fn renewal_is_due_in_the_last_third_and_after_the_end() {
        let life = Lifetime {
            not_before: UnixSeconds(0),
            not_after: UnixSeconds(300),
        };
        for (now, due) in [(100, false), (200, false), (201, true), (400, true)] {
            assert_eq!(life.wants_renewal(UnixSeconds(now)), due, "at {now}");
        }
    }

    #[test]
    fn noise_is_no_certificate() {
        assert!(Lifetime::of(b"noise").is_err());
        assert!(spki_digest(&[]).is_err());
    }
}
