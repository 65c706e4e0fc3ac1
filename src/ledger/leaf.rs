//! What a leaf holds: a kind, and the salted digest of a body that lies elsewhere.

use crate::cbor;
use crate::crypto::{Sha256, merkle};
use crate::id::Digest;

crate::code! {
    /// What a leaf stands for.
    pub enum LeafKind {
        /// A report.
        Report = 0 => "report",
        /// A refusal: the first of its code for a node.
        Refusal = 1 => "refusal",
        /// Proof of a fork: a second statement for one place in a chain.
        Fork = 2 => "fork",
        /// A document: a licence, a rule set, a statement.
        Document = 3 => "document",
        /// An act of an administrator: a token, an approval, a revocation.
        Act = 4 => "act",
        /// A finding that changed.
        Finding = 5 => "finding",
        /// The first leaf of a ledger.
        Genesis = 6 => "genesis",
    }
}

crate::record! {
    /// One leaf.
    pub struct Leaf {
        /// Its kind.
        0 => kind: LeafKind,
        /// SHA-256 over the salt and the body's digest, so that a leaf gives nothing away.
        1 => salted: Digest,
    }
}

impl Leaf {
    /// The leaf for a body with `digest`.
    #[must_use]
    pub fn new(kind: LeafKind, salt: &[u8; 16], digest: &Digest) -> Self {
        Self {
            kind,
            salted: salted(salt, digest),
        }
    }

    /// Its hash in the tree.
    #[must_use]
    pub fn hash(&self) -> Digest {
        merkle::leaf_hash(&cbor::encode(self))
    }
}

/// SHA-256 of `salt ‖ digest`.
#[must_use]
pub fn salted(salt: &[u8; 16], digest: &Digest) -> Digest {
    let mut h = Sha256::default();
    h.update(salt).update(&digest.0);
    h.finish()
}
