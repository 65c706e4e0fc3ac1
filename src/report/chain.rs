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
    /// Another report is held at its place, or it cites another one as its predecessor.
    Fork {
        /// The digest held.
        held: Digest,
    },
}

/// Judges a report at `link` that cites `previous`, against what is held.
///
/// `at_place` is the digest held at the same (chain, sequence), `before` the one held at the sequence below, `highest` the
/// highest sequence held of the chain.
#[must_use]
pub fn continuity(
    link: &ChainLink,
    previous: Option<Digest>,
    at_place: Option<Digest>,
    before: Option<Digest>,
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
        assert_eq!(continuity(&link(1, 1), None, None, None, None), Continuity::First);
        assert_eq!(
            continuity(&link(2, 2), Some(digest(1)), None, Some(digest(1)), Some(1)),
            Continuity::Follows
        );
        assert_eq!(
            continuity(&link(5, 5), Some(digest(4)), None, None, Some(2)),
            Continuity::Gap { missing: 2 }
        );
        assert_eq!(
            continuity(&link(3, 3), Some(digest(2)), None, Some(digest(2)), Some(5)),
            Continuity::Late
        );
        assert_eq!(
            continuity(
                &link(2, 2),
                Some(digest(1)),
                Some(digest(2)),
                Some(digest(1)),
                Some(5)
            ),
            Continuity::Repeated
        );
        assert_eq!(
            continuity(
                &link(2, 9),
                Some(digest(1)),
                Some(digest(2)),
                Some(digest(1)),
                Some(5)
            ),
            Continuity::Fork { held: digest(2) }
        );
        assert_eq!(
            continuity(&link(6, 6), Some(digest(9)), None, Some(digest(5)), Some(5)),
            Continuity::Fork { held: digest(5) }
        );
    }
}
