//! Nodes of which something new is held.
//!
//! Decides: nothing. Whoever made something durable says of which node it was, and goes on at once: a node waits once however much it sends, and no more
//! wait than can be followed from report to report.

use super::MOST_NODES;
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use weighbridge::id::NodeId;

/// Nodes that wait to be looked at.
#[derive(Debug, Default)]
pub(crate) struct Reported {
    waiting: Mutex<BTreeSet<NodeId>>,
    wake: Notify,
}

impl Reported {
    /// Says that something of a node is durable that was not before.
    pub(crate) fn push(&self, node: NodeId) {
        let mut waiting = self.locked();
        // One more than can be followed is enough to tell that all must be looked at.
        let is_new = waiting.len() <= MOST_NODES && waiting.insert(node);
        drop(waiting);
        if is_new {
            self.wake.notify_one();
        }
    }

    /// Takes all that wait.
    pub(super) fn take(&self) -> BTreeSet<NodeId> {
        std::mem::take(&mut *self.locked())
    }

    /// Ends once a node waits.
    pub(super) async fn waited_for(&self) {
        while self.locked().is_empty() {
            self.wake.notified().await;
        }
    }

    fn locked(&self) -> MutexGuard<'_, BTreeSet<NodeId>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_waits_once_and_no_more_wait_than_tell_that_all_must_be_looked_at() {
        let reported = Reported::default();
        for n in 0..2 * MOST_NODES {
            let mut id = [0; 17];
            id[..8].copy_from_slice(&n.to_be_bytes());
            reported.push(NodeId(id));
            reported.push(NodeId(id));
        }
        assert_eq!(reported.take().len(), MOST_NODES + 1);
        assert!(reported.take().is_empty());
        assert_eq!(MOST_NODES, 1_024, "as docs/conditions.md says");
    }
}
