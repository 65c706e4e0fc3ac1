//! TLS 1.3 to the verifier: the server proves the key that the enrolment token pins, the node proves its own.
//!
//! Public certificate authorities are not asked: the only root is the CA whose key's SHA-256 the operator carried here in the token.

use super::{der_signature, spki_digest};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureAlgorithm,
    SignatureScheme,
};
use std::sync::Arc;
use weighbridge::crypto::Signer;
use weighbridge::id::VerifierId;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("TLS could not be set up with the node's certificate; enrol anew")]
pub struct TlsError(#[from] Error);

/// The client's half of TLS: pins the CA key `verifier`; shows `certificate` with `key` where one is given. `known_ca` is the CA's
/// certificate as it came at enrolment, for a server that does not send it along.
///
/// # Errors
/// [`TlsError`] where the certificate and the key cannot be used.
pub fn client_config(
    verifier: VerifierId,
    known_ca: Option<&[u8]>,
    identity: Option<(&[u8], Arc<dyn Signer>)>,
) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let pinned = PinnedServer {
        verifier,
        known_ca: known_ca.map(|der| CertificateDer::from(der.to_vec())),
        provider: Arc::clone(&provider),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(pinned));
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from(certificate.to_vec())];
            let certified = CertifiedKey::new(chain, Arc::new(NodeTlsKey(key)));
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
        }
    };
    // A client whose TLS is set up beforehand does not set this itself, and the server would have to guess.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Accepts a server whose chain leads to a CA with the pinned key, and checks name and validity as usual.
#[derive(Debug)]
struct PinnedServer {
    verifier: VerifierId,
    known_ca: Option<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let ca = intermediates
            .iter()
            .chain(&self.known_ca)
            .find(|der| spki_digest(der).is_ok_and(|found| found.0 == self.verifier.0))
            .ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(|e| Error::General(e.to_string()))?
            .verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("only TLS 1.3 is spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// The node's key as TLS wants it, wherever it is held.
#[derive(Clone, Debug)]
struct NodeTlsKey(Arc<dyn Signer>);

impl rustls::sign::SigningKey for NodeTlsKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn rustls::sign::Signer>> {
        if !offered.contains(&SignatureScheme::ECDSA_NISTP256_SHA256) {
            return None;
        }
        Some(Box::new(self.clone()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl rustls::sign::Signer for NodeTlsKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.0
            .sign(message)
            .map(|fixed| der_signature(&fixed))
            .map_err(|e| Error::General(e.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

    fn site(name: &str) -> (CertificateDer<'static>, CertificateDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&key).unwrap();
        let leaf_key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .signed_by(&leaf_key, &Issuer::new(params, key))
            .unwrap();
        (leaf.der().clone(), ca.der().clone())
    }

    fn judge(pin: &CertificateDer<'_>, sent: &[CertificateDer<'_>], known: bool, name: &str) -> bool {
        let (leaf, chain) = sent.split_first().unwrap();
        let verifier = PinnedServer {
            verifier: VerifierId(spki_digest(pin).unwrap().0),
            known_ca: known.then(|| pin.clone().into_owned()),
            provider: Arc::new(rustls::crypto::ring::default_provider()),
        };
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_790_000_000));
        verifier
            .verify_server_cert(
                leaf,
                chain,
                &ServerName::try_from(name.to_owned()).unwrap(),
                &[],
                now,
            )
            .is_ok()
    }

    #[test]
    fn only_the_pinned_authority_speaks_for_the_verifier() {
        let (leaf, ca) = site("verifier.example");
        let (other_leaf, other_ca) = site("verifier.example");
        assert!(judge(&ca, &[leaf.clone(), ca.clone()], false, "verifier.example"));
        assert!(judge(&ca, std::slice::from_ref(&leaf), true, "verifier.example"));
        assert!(!judge(
            &ca,
            std::slice::from_ref(&leaf),
            false,
            "verifier.example"
        ));
        assert!(!judge(&ca, &[leaf.clone(), ca.clone()], false, "other.example"));
        assert!(!judge(
            &ca,
            &[other_leaf.clone(), other_ca],
            false,
            "verifier.example"
        ));
        // The pinned certificate alongside a leaf that it did not issue does not help.
        assert!(!judge(&ca, &[other_leaf, ca.clone()], false, "verifier.example"));
    }
}
