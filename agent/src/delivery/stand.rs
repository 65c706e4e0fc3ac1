//! How this node's chain stands to what the verifier holds.
//!
//! Decides: whether to go on or to begin a new chain. State that was lost or restored from an older copy must not write a second report
//! into a place that is taken: that would be a fork, and it would stay on record as one. A new chain that names the old one is a finding, and true.

use crate::spool::ChainHead;
use weighbridge::id::Digest;
use weighbridge::protocol::HeldChain;
use weighbridge::report::Successor;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stand {
    /// Go on; the verifier holds the chain up to this number.
    Continue {
        /// The number; 0 where it holds nothing of it.
        above: u64,
    },
    /// Begin a new chain that follows this one.
    Anew(Successor),
}

/// Judges. `known` is the digest that this node has at the place that the verifier names, `waiting` the number of its first report
/// without a receipt.
#[must_use]
pub fn judge(
    ours: &ChainHead,
    held: Option<&HeldChain>,
    known: Option<Digest>,
    waiting: Option<u64>,
) -> Stand {
    let Some(held) = held else {
        return Stand::Continue { above: 0 };
    };
    let successor = Successor {
        chain: held.chain,
        sequence: held.sequence,
        digest: held.digest,
    };
    if held.chain != ours.chain {
        return if ours.successor.as_ref() == Some(&successor) {
            Stand::Continue { above: 0 }
        } else {
            Stand::Anew(successor)
        };
    }
    let agrees = match known {
        Some(digest) => digest == held.digest,
        // Receipted and dropped since: what was receipted is what the verifier holds.
        None => held.sequence <= ours.sequence && waiting.is_none_or(|first| first > held.sequence),
    };
    if agrees {
        Stand::Continue { above: held.sequence }
    } else {
        Stand::Anew(successor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weighbridge::id::ChainId;

    fn digest(n: u8) -> Digest {
        Digest([n; 32])
    }

    fn ours(chain: u8, sequence: u64, successor: Option<Successor>) -> ChainHead {
        ChainHead {
            chain: ChainId([chain; 16]),
            sequence,
            digest: None,
            successor,
        }
    }

    fn held(chain: u8, sequence: u64, n: u8) -> HeldChain {
        HeldChain {
            chain: ChainId([chain; 16]),
            sequence,
            digest: digest(n),
        }
    }

    fn anew(chain: u8, sequence: u64, n: u8) -> Successor {
        Successor {
            chain: ChainId([chain; 16]),
            sequence,
            digest: digest(n),
        }
    }

    #[test]
    fn a_verifier_that_holds_what_was_sent_is_continued() {
        let go_on = |above| Stand::Continue { above };
        assert_eq!(judge(&ours(1, 5, None), None, None, Some(1)), go_on(0));
        assert_eq!(
            judge(&ours(1, 5, None), Some(&held(1, 3, 3)), Some(digest(3)), Some(4)),
            go_on(3)
        );
        // The receipt was lost on its way: the verifier holds what still waits here.
        assert_eq!(
            judge(&ours(1, 5, None), Some(&held(1, 5, 5)), Some(digest(5)), Some(5)),
            go_on(5)
        );
        // Receipted long ago and no longer kept here.
        assert_eq!(
            judge(&ours(1, 5, None), Some(&held(1, 5, 5)), None, None),
            go_on(5)
        );
        // The new chain was opened before, and nothing of it arrived yet.
        assert_eq!(
            judge(
                &ours(2, 1, Some(anew(1, 3, 3))),
                Some(&held(1, 3, 3)),
                None,
                Some(1)
            ),
            go_on(0)
        );
    }

    #[test]
    fn restored_or_lost_state_begins_a_new_chain_and_never_a_fork() {
        // The verifier is ahead: the state is older than what was sent.
        assert_eq!(
            judge(&ours(1, 5, None), Some(&held(1, 9, 9)), None, None),
            Stand::Anew(anew(1, 9, 9))
        );
        // The state was restored and wrote another report since.
        assert_eq!(
            judge(&ours(1, 5, None), Some(&held(1, 5, 5)), Some(digest(6)), Some(5)),
            Stand::Anew(anew(1, 5, 5))
        );
        assert_eq!(
            judge(&ours(1, 5, None), Some(&held(1, 4, 4)), None, Some(3)),
            Stand::Anew(anew(1, 4, 4))
        );
        // The state was lost, or is that of another copy of this node.
        assert_eq!(
            judge(&ours(2, 0, None), Some(&held(1, 9, 9)), None, None),
            Stand::Anew(anew(1, 9, 9))
        );
        assert_eq!(
            judge(
                &ours(2, 1, Some(anew(1, 3, 3))),
                Some(&held(1, 4, 4)),
                None,
                Some(1)
            ),
            Stand::Anew(anew(1, 4, 4))
        );
    }
}
