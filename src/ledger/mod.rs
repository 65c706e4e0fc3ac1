//! The ledger: an append-only Merkle tree (RFC 6962, RFC 9162) whose checkpoints are signed notes (C2SP `tlog-checkpoint`).
//!
//! Decides: what a leaf is, what the root of so many leaves is, and whether a receipt proves that a leaf stands in the tree that a checkpoint
//! signs. Trusts the ledger's public key, which comes from enrolment or from the checker's anchors. Does not establish that no other
//! tree was shown to someone else: that takes witnesses.

mod checkpoint;
mod leaf;
mod tree;

pub use checkpoint::{Checkpoint, CheckpointError, LedgerKey};
pub use leaf::{Leaf, LeafKind, salted};
pub use tree::{Nodes, TreeError, consistency_path, inclusion_path, root};
