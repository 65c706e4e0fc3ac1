//! Which nodes have rounds to be appraised, and which of those that were appraised may come to more.
//!
//! Decides: the order of work. A node waits once however many rounds it sent, so what waits is bounded by the nodes that are enrolled. Those
//! whose last round lacked collateral take turns, a few at a time, so that they never take more than a share of a core.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use weighbridge::id::NodeId;
use weighbridge::time::UnixSeconds;

/// Nodes that wait for the appraiser.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    waiting: Mutex<BTreeSet<NodeId>>,
    wake: Notify,
}

impl Rounds {
    /// Says that a node has sent a round.
    pub(crate) fn push(&self, node: NodeId) {
        self.locked().insert(node);
        self.wake.notify_one();
    }

    /// Takes the next node that nobody works on, in the order of ids after `last`, so that no node is passed over for ever.
    pub(super) fn take(&self, is_busy: impl Fn(&NodeId) -> bool, last: Option<NodeId>) -> Option<NodeId> {
        let mut waiting = self.locked();
        let free = |n: &&NodeId| !is_busy(n);
        let after = waiting.iter().filter(|n| Some(**n) > last).find(free);
        let next = after.or_else(|| waiting.iter().find(free)).copied()?;
        waiting.remove(&next);
        Some(next)
    }

    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    fn locked(&self) -> MutexGuard<'_, BTreeSet<NodeId>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a round was last appraised that other collateral may complete.
#[derive(Clone, Copy, Debug)]
struct Tried {
    at: UnixSeconds,
    /// What was held of collateral then; `None` where it was not looked at.
    generation: Option<u64>,
}

/// Nodes whose newest round may come to more.
#[derive(Debug, Default)]
pub(super) struct Open(HashMap<NodeId, Tried>);

impl Open {
    /// Says that a node's round was tried and is open.
    pub(super) fn keep(&mut self, node: NodeId, at: UnixSeconds, generation: Option<u64>) {
        self.0.insert(node, Tried { at, generation });
    }

    /// Says that nothing of a node is open.
    pub(super) fn close(&mut self, node: &NodeId) {
        self.0.remove(node);
    }

    /// Those to be tried again, those first that were tried longest ago: where collateral has changed since, and where `pause` seconds have passed.
    pub(super) fn due(&self, generation: u64, now: UnixSeconds, pause: i64, most: usize) -> Vec<NodeId> {
        // A clock that was set back makes nobody wait longer than the pause.
        let waits = |t: &Tried| t.generation == Some(generation) && (0..pause).contains(&now.since(t.at));
        let mut due: Vec<_> = self.0.iter().filter(|(_, t)| !waits(t)).collect();
        due.sort_unstable_by_key(|(node, t)| (t.at, **node));
        due.into_iter().take(most).map(|(node, _)| *node).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId([n; 17])
    }

    #[test]
    fn nodes_take_turns_and_each_waits_once() {
        let rounds = Rounds::default();
        for n in [3, 1, 2, 1, 1] {
            rounds.push(node(n));
        }
        let busy = |n: &NodeId| *n == node(3);
        let idle = |_: &NodeId| false;
        assert_eq!(rounds.take(idle, None), Some(node(1)));
        rounds.push(node(1));
        assert_eq!(rounds.take(idle, Some(node(1))), Some(node(2)));
        assert_eq!(
            rounds.take(busy, Some(node(2))),
            Some(node(1)),
            "3 is being worked on"
        );
        assert_eq!(rounds.take(busy, Some(node(1))), None);
        assert_eq!(rounds.take(idle, Some(node(1))), Some(node(3)));
    }

    #[test]
    fn an_open_round_is_tried_again_when_collateral_changed_or_time_passed_a_few_at_a_time() {
        let mut open = Open::default();
        let at = |seconds| UnixSeconds(1_000).plus(seconds);
        open.keep(node(1), at(0), Some(7));
        open.keep(node(2), at(1), Some(6));
        open.keep(node(3), at(2), None);
        let due = |open: &Open, seconds, most| open.due(7, at(seconds), 60, most);
        assert_eq!(due(&open, 5, 9), [node(2), node(3)]);
        assert_eq!(due(&open, 60, 2), [node(1), node(2)]);
        assert_eq!(due(&open, -5, 9).len(), 3, "the clock was set back");
        open.close(&node(2));
        open.keep(node(3), at(5), Some(7));
        assert!(due(&open, 6, 9).is_empty());
    }
}
