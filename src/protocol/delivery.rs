//! Delivery: the answer to a report, and what a receipt proves.

use crate::crypto::merkle::{self, ProofError};
use crate::id::{ChainId, Challenge, Digest, NodeId};
use crate::ledger::{Checkpoint, CheckpointError, Leaf, LeafKind, LedgerKey};
use crate::report::CheckpointSeen;

crate::record! {
    /// What the verifier wants of the node until the next answer. The agent pulls it; it may refuse what its own configuration forbids.
    pub struct Instructions {
        /// The next challenge.
        0 => challenge: Challenge,
        /// Length of a report, in seconds.
        1 => report_seconds: u32,
        /// Whether this is a trial, in which short reports are allowed and everything says so.
        2 => trial: bool,
        /// Days for which the node keeps its windows.
        3 => windows_kept_days: u32,
        /// Profiles that the verifier reads, newest first.
        4 => profiles: Vec<String>,
        /// Whether the node is to hold a round of evidence on this challenge: rounds are drawn at random, so that nobody knows when.
        5 => round: bool,
    }
}

crate::record! {
    /// A chain as the verifier holds it.
    pub struct HeldChain {
        /// The chain.
        0 => chain: ChainId,
        /// Highest sequence held.
        1 => sequence: u64,
        /// Digest of the report there.
        2 => digest: Digest,
    }
}

crate::record! {
    /// Where the verifier stands with a node. The agent asks before it delivers for the first time after a start, so that a restored state
    /// directory opens a new chain instead of a fork.
    pub struct Head {
        /// The chain reported to last.
        0 => latest: Option<HeldChain>,
        /// What to do next.
        1 => instructions: Instructions,
        /// The ledger's latest checkpoint, as a signed note.
        2 => checkpoint: String,
        /// Proof that it continues the checkpoint that the node names in the query, if it names one.
        3 => consistency: Vec<Digest>,
    }
}

crate::code! {
    /// Whether the report was new.
    pub enum ReceiptState {
        /// It was recorded now.
        Recorded = 0 => "recorded",
        /// It was held already.
        Held = 1 => "held",
    }
}

crate::record! {
    /// The verifier holds a report, durably: a proof that its leaf stands in the ledger.
    pub struct Receipt {
        /// The node.
        0 => node: NodeId,
        /// The chain.
        1 => chain: ChainId,
        /// The sequence number.
        2 => sequence: u64,
        /// The report's digest.
        3 => report: Digest,
        /// Whether it was new.
        4 => state: ReceiptState,
        /// Salt of its leaf.
        5 => salt: [u8; 16],
        /// Index of its leaf.
        6 => leaf_index: u64,
        /// Inclusion path, from the leaf's sibling upwards.
        7 => inclusion: Vec<Digest>,
        /// Checkpoint that the proofs lead to, as a signed note.
        8 => checkpoint: String,
        /// Proof that it continues the checkpoint that the report cites.
        9 => consistency: Vec<Digest>,
        /// Highest sequence held of this chain; the agent resends what is above it.
        10 => highest: u64,
        /// What to do next.
        11 => instructions: Instructions,
    }
}

/// Why an answer is not a receipt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// It is for another report.
    #[error("the receipt is for another report")]
    Other,
    /// Its checkpoint does not hold.
    #[error("the receipt's checkpoint does not hold")]
    Checkpoint(#[from] CheckpointError),
    /// The report's leaf does not stand in the tree.
    #[error("the receipt does not prove that the report stands in the ledger")]
    Inclusion(#[source] ProofError),
    /// The tree is not a continuation of the one seen before: the ledger was rewritten.
    #[error(
        "the ledger no longer contains what it contained before; keep this receipt and tell the supplier"
    )]
    Rewritten(#[source] ProofError),
}

impl Receipt {
    /// Checks that this is a receipt for `report`, in a tree that continues `seen`; returns what to remember as seen.
    ///
    /// # Errors
    /// [`ReceiptError`]. The answer is untrusted; `ledger` was pinned at enrolment.
    pub fn check(
        &self,
        node: &NodeId,
        report: &Digest,
        ledger: &LedgerKey,
        seen: Option<&CheckpointSeen>,
    ) -> Result<CheckpointSeen, ReceiptError> {
        if self.report != *report || self.node != *node {
            return Err(ReceiptError::Other);
        }
        let now = continued(&self.checkpoint, &self.consistency, ledger, seen)?;
        let leaf = Leaf::new(LeafKind::Report, &self.salt, report).hash();
        merkle::verify_inclusion(&leaf, self.leaf_index, now.size, &self.inclusion, &now.root)
            .map_err(ReceiptError::Inclusion)?;
        Ok(now)
    }
}

impl Head {
    /// Checks that the checkpoint continues `seen`; returns what to remember as seen.
    ///
    /// # Errors
    /// [`ReceiptError`]. The answer is untrusted.
    pub fn check(
        &self,
        ledger: &LedgerKey,
        seen: Option<&CheckpointSeen>,
    ) -> Result<CheckpointSeen, ReceiptError> {
        continued(&self.checkpoint, &self.consistency, ledger, seen)
    }
}

fn continued(
    note: &str,
    path: &[Digest],
    ledger: &LedgerKey,
    seen: Option<&CheckpointSeen>,
) -> Result<CheckpointSeen, ReceiptError> {
    let checkpoint = Checkpoint::open(note, ledger)?;
    if let Some(old) = seen {
        merkle::verify_consistency(old.size, &old.root, checkpoint.size, &checkpoint.root, path)
            .map_err(ReceiptError::Rewritten)?;
    }
    Ok(CheckpointSeen {
        size: checkpoint.size,
        root: checkpoint.root,
    })
}
