//! Where each node stands: what is remembered of it between two reports.
//!
//! Decides: nothing; it holds, for each node in use, its row and the head of its chain, so that an ordinary report costs no query. All of
//! it can be read again from the store, and is after anything that may have made it stale.

use crate::fleet::Kept;
use crate::store::{NodeRow, Store, StoreError};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use weighbridge::crypto;
use weighbridge::id::{Challenge, NodeId};
use weighbridge::protocol::{HeldChain, RefusalCode};
use weighbridge::report::OpenedReport;
use weighbridge::time::UnixSeconds;
use zeroize::Zeroizing;

/// Nodes remembered at most; others are read again when they report.
const REMEMBERED: usize = 20_000;

/// What is remembered of a node.
#[derive(Debug)]
pub(crate) struct Standing {
    /// Its row.
    pub(crate) node: NodeRow,
    /// The chain reported to last.
    pub(crate) head: Option<HeldChain>,
    /// The challenge that was given last.
    pub(crate) answered: Answered,
    /// The one before it.
    pub(crate) answered_before: Option<Answered>,
    /// The challenge that the last report answered.
    pub(crate) nonce: Option<Challenge>,
    /// When that was given, as far as it is known.
    pub(crate) nonce_given: Option<UnixSeconds>,
    /// What its reports add up to.
    pub(crate) kept: Kept,
    /// Refusals so far, by code.
    pub(crate) refused: HashMap<RefusalCode, Repeats>,
}

/// What a challenge was given in answer to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    /// The number of leaves up to and including the report's; 0 before the first report.
    upto: u64,
    /// When.
    at: UnixSeconds,
}

impl Answered {
    /// The report at a leaf, received then.
    pub(crate) fn report(leaf: u64, at: UnixSeconds) -> Self {
        Self {
            upto: leaf.saturating_add(1),
            at,
        }
    }

    /// The enrolment.
    fn enrolment(node: &NodeRow) -> Self {
        Self {
            upto: 0,
            at: node.enrolled_at,
        }
    }
}

/// How often a node was refused with one code.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Repeats {
    pub(crate) count: u64,
    /// When the count was last written.
    pub(crate) written: UnixSeconds,
}

/// How a report stands to the challenges that its node was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonceStanding {
    /// It answers the outstanding challenge, or the one before.
    Fresh,
    /// It carries the challenge of the report before it: both were made before the next challenge was heard.
    Repeated,
    /// It answers none.
    Absent,
    /// It carries a value that this verifier did not give this node lately.
    Unknown,
}

impl Standing {
    async fn read(store: &dyn Store, node: NodeRow) -> Result<Self, StoreError> {
        let last = store.latest(node.id).await?;
        let answered = |back: usize| {
            last.get(back)
                .map_or_else(|| Answered::enrolment(&node), |r| Answered::report(r.leaf, r.at))
        };
        let mut out = Self {
            head: None,
            answered: answered(0),
            answered_before: last.first().map(|_| answered(1)),
            nonce: None,
            nonce_given: None,
            kept: Kept::read(store, &node).await?,
            refused: HashMap::new(),
            node,
        };
        if let Some(newest) = last.first() {
            let top = store.highest(out.node.id, newest.chain).await?;
            out.head = top.map(|r| HeldChain {
                chain: r.chain,
                sequence: r.sequence,
                digest: r.digest,
            });
            out.nonce = newest
                .body
                .as_deref()
                .and_then(|b| OpenedReport::open(b).ok())
                .and_then(|r| r.claims.nonce);
            // Of one with a round this is when the round's was given, which is no later.
            out.nonce_given = newest.given;
        }
        for row in store.refusals(out.node.id).await? {
            let (count, written) = (row.count, row.last_at);
            out.refused.insert(row.code, Repeats { count, written });
        }
        Ok(out)
    }

    /// The outstanding challenge. It is a pseudo-random function of a secret, the node and the last leaf recorded for it, so it
    /// needs no row, survives a restart, and changes with every report.
    pub(crate) fn challenge(&self, secret: &[u8; 32]) -> Challenge {
        challenge(secret, &self.node.id, self.answered.upto)
    }

    /// When a challenge was given to this node, if that was lately: the outstanding one, or the one before, since a report may be made before
    /// the answer to the last one was heard.
    pub(crate) fn gave(&self, secret: &[u8; 32], given: Challenge) -> Option<UnixSeconds> {
        let is = |answered: &Answered| challenge(secret, &self.node.id, answered.upto) == given;
        let lately = [Some(self.answered), self.answered_before];
        lately.into_iter().flatten().find(is).map(|answered| answered.at)
    }

    /// When the challenge was given that a report answers: lately, or it is that of the report before, made before the next one was heard.
    pub(crate) fn asked(&self, secret: &[u8; 32], nonce: Option<Challenge>) -> Option<UnixSeconds> {
        let nonce = nonce?;
        let again = || self.nonce_given.filter(|_| self.nonce == Some(nonce));
        self.gave(secret, nonce).or_else(again)
    }

    /// Whether a challenge was given in answer to the report at a leaf.
    pub(crate) fn gave_after(&self, secret: &[u8; 32], leaf: u64, given: Challenge) -> bool {
        challenge(secret, &self.node.id, leaf.saturating_add(1)) == given
    }

    /// How a report that carries `nonce` stands.
    pub(crate) fn judge_nonce(&self, secret: &[u8; 32], nonce: Option<Challenge>) -> NonceStanding {
        let Some(nonce) = nonce else {
            return NonceStanding::Absent;
        };
        if self.gave(secret, nonce).is_some() {
            NonceStanding::Fresh
        } else if self.nonce == Some(nonce) {
            NonceStanding::Repeated
        } else {
            NonceStanding::Unknown
        }
    }
}

fn challenge(secret: &[u8; 32], node: &NodeId, answered: u64) -> Challenge {
    let message = [node.0.as_slice(), &answered.to_be_bytes()].concat();
    Challenge(crypto::hmac_sha256(secret, &message).0)
}

/// A node's place in memory. Whoever holds its lock works on that node alone.
#[derive(Debug)]
pub(crate) struct Slot {
    id: NodeId,
    stale: AtomicBool,
    state: tokio::sync::Mutex<Option<Standing>>,
}

impl Slot {
    /// Takes the node for oneself, with its standing read if need be; `None` if there is no such node.
    pub(crate) async fn take(
        &self,
        store: &dyn Store,
    ) -> Result<Option<tokio::sync::MappedMutexGuard<'_, Standing>>, StoreError> {
        let mut state = self.state.lock().await;
        if self.stale.swap(false, Ordering::SeqCst) || state.is_none() {
            *state = None;
            if let Some(row) = store.node(self.id).await? {
                *state = Some(Standing::read(store, row).await?);
            }
        }
        Ok(tokio::sync::MutexGuard::try_map(state, Option::as_mut).ok())
    }

    /// Says that the store may hold something newer.
    pub(crate) fn forget(&self) {
        self.stale.store(true, Ordering::SeqCst);
    }
}

/// All nodes in use.
#[derive(Debug)]
pub(crate) struct Standings {
    slots: Mutex<HashMap<NodeId, Arc<Slot>>>,
    pub(crate) secret: Zeroizing<[u8; 32]>,
}

impl Standings {
    pub(crate) fn new(secret: Zeroizing<[u8; 32]>) -> Self {
        Self {
            slots: Mutex::new(HashMap::new()),
            secret,
        }
    }

    /// The slot of a node that a stranger names: none is made for a node that is not known.
    pub(crate) async fn slot_if_known(
        &self,
        id: NodeId,
        store: &dyn Store,
    ) -> Result<Option<Arc<Slot>>, StoreError> {
        Ok(store.node(id).await?.map(|_| self.slot(id)))
    }

    /// The slot of a node. Callers ask only for nodes that hold a certificate of ours.
    pub(crate) fn slot(&self, id: NodeId) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= REMEMBERED && !slots.contains_key(&id) {
            // One that nobody works on; what it knew is in the store.
            let idle = slots
                .iter()
                .find(|(_, s)| Arc::strong_count(s) == 1)
                .map(|(k, _)| *k);
            if let Some(idle) = idle {
                slots.remove(&idle);
            }
        }
        Arc::clone(slots.entry(id).or_insert_with(|| {
            Arc::new(Slot {
                id,
                stale: AtomicBool::new(false),
                state: tokio::sync::Mutex::new(None),
            })
        }))
    }

    /// Says that a node's row has changed.
    pub(crate) fn forget(&self, id: NodeId) {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(&id) {
            slot.forget();
        }
    }
}
