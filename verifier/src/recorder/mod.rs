//! The ledger's one writer.
//!
//! Decides: the order of leaves, and that nothing is answered before it is durable. Submissions wait a few milliseconds for each other and
//! become durable in one transaction, in which (size, root) advances by compare-and-swap; only then is the checkpoint signed. Ed25519
//! is deterministic, so the same tree has the same signed note after any restart. Trusts its callers for what a leaf means.

mod act;
mod mark;
mod tree;
mod writer;

pub use act::{AccreditationTerms, Act, ActKind, KeyRole, TokenTerms};
pub use mark::MarkError;
pub use tree::TreeOpenError;
pub use writer::{Notice, Writer};

use crate::store::{Change, JudgedRound, StoreError};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use weighbridge::cbor;
use weighbridge::crypto::{self, KeyError};
use weighbridge::id::{ChainId, Digest, NodeId};
use weighbridge::ledger::{CheckpointError, LeafKind};
use weighbridge::report::{CheckpointSeen, Continuity};
use weighbridge::time::UnixSeconds;

/// Why something was not recorded. The submitter may send it again.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The store failed; the cause is shared by all submissions of the batch.
    #[error("the ledger could not be written or read")]
    Store(#[source] Arc<StoreError>),
    /// The tree could not be extended or proven.
    #[error("the ledger's tree could not be used")]
    Tree(#[source] Arc<TreeOpenError>),
    /// The ledger's key failed.
    #[error("the ledger's checkpoint could not be signed")]
    Sign(#[from] CheckpointError),
    /// The ledger was set back, or the mark that would show it cannot be used.
    #[error(transparent)]
    Mark(#[from] MarkError),
    /// Its node was revoked after intake had admitted it.
    #[error("node {node} was revoked")]
    Revoked {
        /// The node.
        node: NodeId,
    },
    /// No random bytes.
    #[error("no salt could be drawn")]
    Entropy(#[from] KeyError),
    /// The recorder has stopped.
    #[error("the verifier is stopping")]
    Stopped,
}

impl From<StoreError> for RecordError {
    fn from(e: StoreError) -> Self {
        Self::Store(Arc::new(e))
    }
}

impl From<TreeOpenError> for RecordError {
    fn from(e: TreeOpenError) -> Self {
        Self::Tree(Arc::new(e))
    }
}

/// A leaf to be added.
#[derive(Clone, Debug)]
pub struct NewLeaf {
    /// Its kind.
    pub kind: LeafKind,
    /// Digest that the leaf salts: of the body, or of the report in it.
    pub digest: Digest,
    /// The node that it is of.
    pub node: Option<NodeId>,
    /// Place in the node's chain.
    pub place: Option<(ChainId, u64)>,
    /// How a report stood to what was held.
    pub continuity: Option<Continuity>,
    /// How the round stands that a report carries, if it carries one.
    pub round: Option<JudgedRound>,
    /// When its node was given the challenge that a report answers: the one of its round, where it carries one. Absent where it answers none that is known.
    pub given: Option<UnixSeconds>,
    /// When it was received.
    pub at: UnixSeconds,
    /// The body.
    pub body: Vec<u8>,
}

impl NewLeaf {
    /// The leaf for an act.
    #[must_use]
    pub fn act(act: &Act) -> Self {
        let body = cbor::encode(act);
        let kind = match act.kind {
            ActKind::Document => LeafKind::Document,
            _ => LeafKind::Act,
        };
        Self {
            kind,
            digest: crypto::sha256(&body),
            node: act.node,
            place: None,
            continuity: None,
            round: None,
            given: None,
            at: act.at,
            body,
        }
    }
}

/// Where a leaf stands, and the proof of it.
#[derive(Clone, Debug)]
pub struct Proof {
    /// Index of the leaf.
    pub leaf: u64,
    /// Its salt.
    pub salt: [u8; 16],
    /// Path from the leaf to the root.
    pub inclusion: Vec<Digest>,
    /// Where the tree stands.
    pub standing: Standing,
}

/// The latest checkpoint, and the proof that it continues one seen before.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The checkpoint as a signed note.
    pub checkpoint: Arc<str>,
    /// The proof; empty where none was asked for, or none is possible.
    pub consistency: Vec<Digest>,
}

#[derive(Debug)]
struct Append {
    leaf: Option<NewLeaf>,
    changes: Vec<Change>,
    seen: Option<CheckpointSeen>,
    answer: oneshot::Sender<Result<Option<Proof>, RecordError>>,
}

#[derive(Debug)]
enum Job {
    Append(Box<Append>),
    Prove {
        leaf: u64,
        salt: [u8; 16],
        seen: Option<CheckpointSeen>,
        answer: oneshot::Sender<Result<Proof, RecordError>>,
    },
    Stand {
        seen: Option<u64>,
        answer: oneshot::Sender<Result<Standing, RecordError>>,
    },
}

/// A handle to the ledger's writer.
#[derive(Clone, Debug)]
pub struct Recorder {
    jobs: mpsc::Sender<Job>,
}

impl Recorder {
    /// Adds a leaf, with the rows that change with it; returns its proof once it is durable.
    ///
    /// # Errors
    /// [`RecordError`]; then nothing was recorded, or it cannot be told.
    pub async fn append(
        &self,
        leaf: NewLeaf,
        changes: Vec<Change>,
        seen: Option<CheckpointSeen>,
    ) -> Result<Proof, RecordError> {
        let done = self
            .ask(|answer| {
                Job::Append(Box::new(Append {
                    leaf: Some(leaf),
                    changes,
                    seen,
                    answer,
                }))
            })
            .await?;
        done.ok_or(RecordError::Stopped)
    }

    /// Changes rows without a leaf, durably.
    ///
    /// # Errors
    /// [`RecordError`].
    pub async fn change(&self, changes: Vec<Change>) -> Result<(), RecordError> {
        self.ask(|answer| {
            Job::Append(Box::new(Append {
                leaf: None,
                changes,
                seen: None,
                answer,
            }))
        })
        .await
        .map(drop)
    }

    /// Proves a leaf that is held, against the latest checkpoint.
    ///
    /// # Errors
    /// [`RecordError`].
    pub async fn prove(
        &self,
        leaf: u64,
        salt: [u8; 16],
        seen: Option<CheckpointSeen>,
    ) -> Result<Proof, RecordError> {
        self.ask(|answer| Job::Prove {
            leaf,
            salt,
            seen,
            answer,
        })
        .await
    }

    /// The latest checkpoint, and the proof that it continues the tree of `seen` leaves.
    ///
    /// # Errors
    /// [`RecordError`].
    pub async fn stand(&self, seen: Option<u64>) -> Result<Standing, RecordError> {
        self.ask(|answer| Job::Stand { seen, answer }).await
    }

    async fn ask<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, RecordError>>) -> Job,
    ) -> Result<T, RecordError> {
        let (answer, done) = oneshot::channel();
        self.jobs
            .send(job(answer))
            .await
            .map_err(|_| RecordError::Stopped)?;
        done.await.map_err(|_| RecordError::Stopped)?
    }
}
