//! What the verifier answered at enrolment: who it is, who this node is, and which keys to expect from it.
//!
//! Decides: what is pinned from then on. Trusts the answer because TLS proved the key that the operator's token named. Does not
//! establish that the verifier has approved the node.

use crate::keys::{self, CertificateError, NodeKey, NodeKeyError};
use crate::state::{self, StateDir, StateError};
use std::path::Path;
use weighbridge::cbor::{self, Bytes, DecodeError};
use weighbridge::crypto::{Entropy, KeyError, PublicKey};
use weighbridge::id::{NodeId, VerifierId};
use weighbridge::ledger::LedgerKey;
use weighbridge::time::UnixSeconds;

weighbridge::record! {
    /// The enrolment, as it lies in the state directory.
    pub struct Enrolment {
        /// Base URL of the verifier, without a slash at its end.
        0 => url: String,
        /// The verifier.
        1 => verifier: VerifierId,
        /// This node.
        2 => node: NodeId,
        /// Its certificate, in DER.
        3 => certificate: Bytes,
        /// The CA's certificate, in DER.
        4 => ca: Bytes,
        /// The ledger's origin.
        5 => ledger_origin: String,
        /// The ledger's key, as SubjectPublicKeyInfo.
        6 => ledger_key: Bytes,
        /// When a renewal was last asked for, by the node's clock; the verifier demands that it grows.
        7 => renewal_asked_at: UnixSeconds,
    }
}

/// Why the enrolment cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnrolmentError {
    /// Its file.
    #[error(transparent)]
    State(#[from] StateError),
    /// The file is damaged.
    #[error("the enrolment in the state directory is damaged; enrol anew with --again")]
    Damaged(#[from] DecodeError),
    /// The ledger's key is none.
    #[error("the enrolment names a ledger key that cannot be used; enrol anew with --again")]
    LedgerKey(#[from] KeyError),
    /// The node's key cannot be read.
    #[error(transparent)]
    NodeKey(#[from] NodeKeyError),
    /// The certificate cannot be read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The node's key is gone.
    #[error(
        "this node is enrolled, but its key is not in the state directory; restore it, or enrol anew with --again"
    )]
    KeyGone,
    /// The node's key is another.
    #[error(
        "the key in the state directory is not the one that this node enrolled with; restore that one, or enrol anew with --again"
    )]
    OtherKey,
}

impl Enrolment {
    /// Reads it; `None` where the node is not enrolled.
    ///
    /// # Errors
    /// [`EnrolmentError`].
    pub fn load(path: &Path) -> Result<Option<Self>, EnrolmentError> {
        match state::read_private(path)? {
            None => Ok(None),
            Some(bytes) => Ok(Some(cbor::decode_strict(&bytes)?)),
        }
    }

    /// Writes it, durably.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn store(&self, path: &Path) -> Result<(), StateError> {
        state::replace_private(path, &cbor::encode(self))
    }

    /// The node's key at `path`: the one that was enrolled, and no other.
    ///
    /// # Errors
    /// [`EnrolmentError`].
    pub fn node_key(&self, path: &Path, entropy: &Entropy) -> Result<NodeKey, EnrolmentError> {
        let key = NodeKey::load(path, entropy)?.ok_or(EnrolmentError::KeyGone)?;
        if !self.is_of(&key)? {
            return Err(EnrolmentError::OtherKey);
        }
        Ok(key)
    }

    /// Completes an enrolment with a new key: puts that key and its spool in the place of the former ones. The key goes last, because the
    /// one that still waits shows that there is something to complete. Where there is nothing, nothing happens.
    ///
    /// # Errors
    /// [`EnrolmentError`].
    pub fn settle(&self, state: &StateDir, entropy: &Entropy) -> Result<(), EnrolmentError> {
        let waiting = NodeKey::load(&state::next(&state.key()), entropy)?;
        if waiting.is_some_and(|key| self.is_of(&key).unwrap_or(false)) {
            state::succeed(&state.spool())?;
            state::succeed(&state.key())?;
        }
        Ok(())
    }

    fn is_of(&self, key: &NodeKey) -> Result<bool, CertificateError> {
        Ok(keys::spki_digest(&self.certificate.0)? == key.signer.public_key().id())
    }

    /// The key that signs checkpoints and refusals.
    ///
    /// # Errors
    /// [`EnrolmentError::LedgerKey`].
    pub fn ledger(&self) -> Result<LedgerKey, EnrolmentError> {
        Ok(LedgerKey {
            origin: self.ledger_origin.clone(),
            key: PublicKey::from_spki(&self.ledger_key.0)?,
        })
    }
}
