//! What is kept of a node's chains: holes, new beginnings, forks.

use crate::id::{ChainId, Digest};
use crate::report::{Continuity, ReportClaims};
use crate::time::UnixSeconds;

/// The most holes, openings and forks that are kept one by one.
const KEPT: usize = 32;

crate::record! {
    /// The newest place of the chain in use.
    pub struct ChainHead {
        /// The chain.
        0 => chain: ChainId,
        /// Highest number.
        1 => sequence: u64,
        /// The report there.
        2 => digest: Digest,
    }
}

crate::row! {
    /// Reports that are missing between two that are held.
    pub struct ChainGap {
        /// The chain.
        chain: ChainId,
        /// The number before the hole; equal to `before` where several holes were summed.
        after: u64,
        /// The number after the hole.
        before: u64,
        /// How many are still missing.
        missing: u64,
        /// When the hole was seen, by the verifier's clock.
        at: UnixSeconds,
        /// The report after it.
        report: Digest,
    }
}

crate::code! {
    /// How a chain began beside or after another one.
    pub enum OpeningKind {
        /// It cites the head that the verifier held of the chain before: state was lost or set back.
        Successor = 0 => "new chain that cites the head of the old one",
        /// It cites another place than that head.
        Astray = 1 => "new chain that cites a place which is not the head of the old one",
        /// It cites nothing.
        Unexplained = 2 => "new chain that does not say what came before",
        /// A chain that was left goes on beside the new one.
        Interleaved = 3 => "chain that was left and goes on beside the new one",
    }
}

crate::row! {
    /// A beginning that was not the first.
    pub struct ChainOpening {
        /// When it was seen, by the verifier's clock.
        at: UnixSeconds,
        /// How it began.
        kind: OpeningKind,
        /// The report.
        report: Digest,
    }
}

crate::row! {
    /// Two statements for one place.
    pub struct ChainFork {
        /// When the second one came, by the verifier's clock.
        at: UnixSeconds,
        /// The one held.
        held: Digest,
        /// The one offered.
        offered: Digest,
    }
}

crate::record! {
    /// A node's chains.
    #[derive(Default)]
    pub struct ChainFacts {
        /// The chain in use.
        0 => head: Option<ChainHead>,
        /// Holes that are still open, oldest first.
        1 => gaps: Vec<ChainGap>,
        /// Beginnings after the first, oldest first.
        2 => openings: Vec<ChainOpening>,
        /// Forks, oldest first.
        3 => forks: Vec<ChainFork>,
        /// When the last fork or opening was seen that was dropped for want of room. One that cites the head is not counted: those kept
        /// are newer and say no less.
        4 => unkept: Option<UnixSeconds>,
    }
}

impl ChainFacts {
    /// Reports that are missing since a time.
    #[must_use]
    pub fn missing_since(&self, since: UnixSeconds) -> u64 {
        self.gaps
            .iter()
            .filter(|g| g.at >= since)
            .fold(0, |n, g| n.saturating_add(g.missing))
    }

    pub(super) fn absorb(
        &mut self,
        claims: &ReportClaims,
        digest: Digest,
        received: UnixSeconds,
        continuity: Continuity,
    ) {
        if let Continuity::Fork { held } = continuity {
            self.unkept = self.unkept.max(room(&mut self.forks).map(|f| f.at));
            self.forks.push(ChainFork {
                at: received,
                held,
                offered: digest,
            });
            return;
        }
        let same_chain = self.head.as_ref().is_some_and(|h| h.chain == claims.chain);
        let fresh_chain = match continuity {
            Continuity::First => true,
            Continuity::Gap { missing } => missing.saturating_add(1) == claims.sequence,
            _ => false,
        };
        if let Some(kind) = self
            .head
            .as_ref()
            .filter(|_| !same_chain && continuity != Continuity::Late)
            .map(|head| opening(head, claims, fresh_chain))
        {
            let dropped = room(&mut self.openings).filter(|o| o.kind != OpeningKind::Successor);
            self.unkept = self.unkept.max(dropped.map(|o| o.at));
            self.openings.push(ChainOpening {
                at: received,
                kind,
                report: digest,
            });
            if kind == OpeningKind::Interleaved {
                return;
            }
        }
        let place = ChainHead {
            chain: claims.chain,
            sequence: claims.sequence,
            digest,
        };
        self.take(place, received, continuity);
    }

    /// Takes a place of a chain as held, whatever the report there says.
    pub(super) fn take(&mut self, place: ChainHead, received: UnixSeconds, continuity: Continuity) {
        if continuity == Continuity::Late {
            self.fill(&place);
            return;
        }
        if let Continuity::Gap { missing } = continuity {
            self.hole(&place, received, missing);
        }
        self.head = Some(place);
    }

    fn hole(&mut self, place: &ChainHead, received: UnixSeconds, missing: u64) {
        if self.gaps.len() >= KEPT && self.gaps.len() >= 2 {
            // The two oldest become one, which can no longer be filled but still counts.
            let oldest = self.gaps.remove(0);
            if let Some(next) = self.gaps.first_mut() {
                next.missing = next.missing.saturating_add(oldest.missing);
                next.after = next.before;
            }
        }
        self.gaps.push(ChainGap {
            chain: place.chain,
            after: place.sequence.saturating_sub(missing).saturating_sub(1),
            before: place.sequence,
            missing,
            at: received,
            report: place.digest,
        });
    }

    fn fill(&mut self, place: &ChainHead) {
        if let Some(gap) = self
            .gaps
            .iter_mut()
            .find(|g| g.chain == place.chain && g.after < place.sequence && place.sequence < g.before)
        {
            gap.missing = gap.missing.saturating_sub(1);
        }
        self.gaps.retain(|g| g.missing > 0);
    }
}

fn opening(head: &ChainHead, claims: &ReportClaims, fresh_chain: bool) -> OpeningKind {
    match &claims.successor {
        _ if !fresh_chain => OpeningKind::Interleaved,
        Some(s) if s.chain == head.chain && s.sequence == head.sequence && s.digest == head.digest => {
            OpeningKind::Successor
        }
        Some(_) => OpeningKind::Astray,
        None => OpeningKind::Unexplained,
    }
}

/// Makes room for one more; returns the oldest, if it had to go.
fn room<T>(kept: &mut Vec<T>) -> Option<T> {
    (kept.len() >= KEPT).then(|| kept.remove(0))
}
