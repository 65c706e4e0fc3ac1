//! The node's key, and what is made with it: signatures, certificate requests, the client's half of TLS.
//!
//! Decides: how the key is kept (a file for its owner alone; a TPM comes behind the same trait) and says so in every report. Trusts the
//! file system's permissions. Does not establish that the key was never copied: a key in a file can be.

mod certificate;
mod tls;

pub use certificate::{CertificateError, Lifetime, request, spki_digest};
pub use tls::{TlsError, client_config};

use crate::state::{self, StateError};
use std::path::Path;
use std::sync::Arc;
use weighbridge::crypto::{
    Algorithm, Entropy, KeyError, PemError, SecretKey, Signer, pem_decode, pem_encode,
};
use weighbridge::report::KeyProtection;

const LABEL: &str = "PRIVATE KEY";

/// Why the node's key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeKeyError {
    /// Its file.
    #[error(transparent)]
    State(#[from] StateError),
    /// The file is not PEM.
    #[error("the node's key file is damaged; restore it, or enrol anew with --again")]
    Pem(#[from] PemError),
    /// The file holds no key that is used here.
    #[error("the node's key file holds no key that is used here; enrol anew with --again")]
    Key(#[from] KeyError),
    /// The key is of the wrong kind.
    #[error("the node's key is not on P-256; enrol anew with --again")]
    Kind,
}

/// The node's key and what holds it.
#[derive(Clone, Debug)]
pub struct NodeKey {
    /// Signs.
    pub signer: Arc<dyn Signer>,
    /// What holds it.
    pub protection: KeyProtection,
}

impl NodeKey {
    /// Reads the key; `None` where there is none.
    ///
    /// # Errors
    /// [`NodeKeyError`].
    pub fn load(path: &Path, entropy: &Entropy) -> Result<Option<Self>, NodeKeyError> {
        let Some(bytes) = state::read_private(path)? else {
            return Ok(None);
        };
        let text = zeroize::Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned());
        drop(zeroize::Zeroizing::new(bytes));
        let der = zeroize::Zeroizing::new(pem_decode(LABEL, &text)?);
        let key = SecretKey::from_pkcs8(&der, entropy)?;
        if key.public_key().algorithm() != Algorithm::EcdsaP256 {
            return Err(NodeKeyError::Kind);
        }
        Ok(Some(Self {
            signer: Arc::new(key),
            protection: KeyProtection::File,
        }))
    }

    /// Reads the key, or makes one.
    ///
    /// # Errors
    /// [`NodeKeyError`].
    pub fn load_or_create(path: &Path, entropy: &Entropy) -> Result<Self, NodeKeyError> {
        if let Some(key) = Self::load(path, entropy)? {
            return Ok(key);
        }
        let key = SecretKey::generate(Algorithm::EcdsaP256, entropy)?;
        let pem = zeroize::Zeroizing::new(pem_encode(LABEL, key.pkcs8()));
        state::create_private(path, pem.as_bytes())?;
        // Read back: where another process made one first, that one counts.
        Self::load(path, entropy)?.ok_or(NodeKeyError::Key(KeyError::NotPkcs8))
    }
}

/// The DER form (`SEQUENCE { r INTEGER, s INTEGER }`, RFC 3279) of an ECDSA signature in fixed form, which X.509 and TLS use.
fn der_signature(fixed: &[u8]) -> Vec<u8> {
    fn integer(out: &mut Vec<u8>, bytes: &[u8]) {
        let leading = bytes.iter().take_while(|b| **b == 0).count();
        let bare = bytes
            .get(leading.min(bytes.len().saturating_sub(1))..)
            .unwrap_or(&[]);
        let pad = bare.first().is_some_and(|b| *b >= 0x80);
        let length = bare.len().saturating_add(usize::from(pad));
        out.push(0x02);
        out.push(u8::try_from(length).unwrap_or(0));
        if pad {
            out.push(0);
        }
        out.extend_from_slice(bare);
    }
    let (r, s) = fixed.split_at(fixed.len().checked_div(2).unwrap_or(0));
    let mut body = Vec::with_capacity(72);
    integer(&mut body, r);
    integer(&mut body, s);
    // Two integers of at most 33 bytes and their heads make 70, so one length byte is enough.
    let mut out = vec![0x30, u8::try_from(body.len()).unwrap_or(0)];
    out.extend(body);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_that_was_made_is_the_key_that_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.key");
        let entropy = Entropy::system();
        assert!(NodeKey::load(&path, &entropy).unwrap().is_none());
        let made = NodeKey::load_or_create(&path, &entropy).unwrap();
        let read = NodeKey::load_or_create(&path, &entropy).unwrap();
        assert_eq!(made.signer.public_key(), read.signer.public_key());
        assert_eq!(read.protection, KeyProtection::File);
    }

    #[test]
    fn a_damaged_key_file_is_refused_and_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.key");
        state::create_private(&path, b"-----BEGIN PRIVATE KEY-----\nAAAA").unwrap();
        assert!(NodeKey::load_or_create(&path, &Entropy::system()).is_err());
        assert_eq!(
            state::read_private(&path).unwrap().unwrap(),
            b"-----BEGIN PRIVATE KEY-----\nAAAA"
        );
    }

    #[test]
    fn integers_of_a_signature_are_minimal_and_never_negative() {
        let mut fixed = [0u8; 64];
        fixed[31] = 0x7f;
        fixed[32] = 0x80;
        let der = der_signature(&fixed);
        assert_eq!(der[..6], [0x30, 38, 0x02, 1, 0x7f, 0x02]);
        assert_eq!(der[6..9], [33, 0, 0x80]);
    }
}
