//! The chain from report to report.
//!
//! Decides: whether a report continues what is held, leaves a gap, repeats it or contradicts it. A gap is accepted and
//! becomes a finding; a contradiction is a fork and is kept as proof. Does not establish why.

use crate::id::{ChainId, Digest};

/// A place in a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainLink {
    /// The chain.
    pub chain: ChainId,
    /// The number.
    pub sequence: u64,
    /// The digest of the report there.
    pub digest: Digest,
}

/// How a report stands to what is held of its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuity {
    /// It is the first of its chain.
    First,
    /// It follows the highest one held.
    Follows,
    /// Reports between the highest one held and this one are missing.
    Gap {
        /// How many.
        missing: u64,
    },
    /// It fills a place below the highest one held (a resent or late report).
    Late,
    /// It is the very report that is held at its place.
    Repeated,
    /// Another report is held at its place, or it cites another one as its predecessor, or the one held after it does not cite it.
    Fork {
        /// The digest held; in the last case, the one that the report after it cites.
        held: Digest,
    },
}

/// Judges a report at `link` that cites `previous`, against what is held.
///
/// `at_place` is the digest held at the same (chain, sequence), `before` the one held at the sequence below, `highest` the
/// highest sequence held of the chain. `cited_by_next` is the predecessor that the report held at the sequence above cites: that report
/// is older than this one's delivery, so it settles which statement belongs here.
#[must_use]
pub fn continuity(
    link: &ChainLink,
    previous: Option<Digest>,
    at_place: Option<Digest>,
    before: Option<Digest>,
    cited_by_next: Option<Digest>,
    highest: Option<u64>,
) -> Continuity {
    match at_place {
        Some(held) if held == link.digest => return Continuity::Repeated,
        Some(held) => return Continuity::Fork { held },
        None => {}
    }
    if let Some(held) = before
        && previous != Some(held)
    {
        return Continuity::Fork { held };
    }
    if let Some(held) = cited_by_next
        && held != link.digest
    {
        return Continuity::Fork { held };
    }
    match highest {
        None if link.sequence == 1 => Continuity::First,
        None => Continuity::Gap {
            missing: link.sequence.saturating_sub(1),
        },
        Some(top) if link.sequence < top => Continuity::Late,
        Some(top) => match link.sequence.saturating_sub(top) {
            0 | 1 => Continuity::Follows,
            apart => Continuity::Gap {
                missing: apart.saturating_sub(1),
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: u8) -> Digest {
        Digest([n; 32])
    }

    fn link(sequence: u64, n: u8) -> ChainLink {
        ChainLink {
            chain: ChainId([1; 16]),
            sequence,
            digest: digest(n),
        }
    }

    #[test]
    fn each_way_to_stand_in_a_chain_is_told_apart() {
        let judge = |link,
                     previous: Option<u8>,
                     at_place: Option<u8>,
                     before: Option<u8>,
                     next: Option<u8>,
                     highest| {
            let [previous, at_place, before, next] =
                [previous, at_place, before, next].map(|n| n.map(digest));
            continuity(&link, previous, at_place, before, next, highest)
        };
        let fork = |held| Continuity::Fork { held: digest(held) };
        let one = Some(1);
        assert_eq!(judge(link(1, 1), None, None, None, None, None), Continuity::First);
        assert_eq!(
            judge(link(2, 2), one, None, one, None, one.map(u64::from)),
            Continuity::Follows
        );
        assert_eq!(
            judge(link(5, 5), Some(4), None, None, None, Some(2)),
            Continuity::Gap { missing: 2 }
        );
        assert_eq!(
            judge(link(3, 3), Some(2), None, Some(2), Some(3), Some(5)),
            Continuity::Late
        );
        assert_eq!(
            judge(link(3, 3), Some(2), None, Some(2), None, Some(5)),
            Continuity::Late
        );
        assert_eq!(
            judge(link(2, 2), one, Some(2), one, Some(2), Some(5)),
            Continuity::Repeated
        );
        assert_eq!(judge(link(2, 9), one, Some(2), one, Some(2), Some(5)), fork(2));
        assert_eq!(judge(link(6, 6), Some(9), None, Some(5), None, Some(5)), fork(5));
        // A rewritten report in a gap: what came after it was signed over another one.
        assert_eq!(
            judge(link(3, 9), Some(2), None, Some(2), Some(3), Some(5)),
            fork(3)
        );
    }
}
