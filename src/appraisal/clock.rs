//! What is kept of a node's clock: how it stood to the verifier's, to boot time and to itself.
//!
//! Magnitudes are kept, no limit is applied: how far off is too far stands in the licence.

use crate::id::{BootId, ChainId, Digest};
use crate::report::{Continuity, TokenClaims};
use crate::time::{BootNanos, SECOND, UnixSeconds};

/// The most events that are kept.
const KEPT: usize = 32;
/// Differences up to this many seconds are rounding: wall time is written in whole seconds.
const ROUNDING: i64 = 2;

crate::code! {
    /// How a clock was odd.
    pub enum ClockOddity {
        /// A report speaks of a time after the verifier received it.
        Ahead = 0 => "ran ahead of the verifier's clock",
        /// A report was signed, by the node's clock, before the one that it follows.
        Back = 1 => "went back between two reports",
        /// The node itself saw its wall clock step against boot time.
        Stepped = 2 => "was stepped, as the node itself says",
        /// Wall time moved against boot time, and the node did not say so.
        Slipped = 3 => "moved against boot time without the node saying so",
        /// A report speaks of time that the report before it has spoken of.
        Overlap = 4 => "let two reports speak of the same time",
        /// Time lies between two reports that follow each other, and neither speaks of it.
        Hole = 5 => "left time between two reports that neither speaks of",
        /// By wall time, a report speaks of time that the report before it, of another boot, has spoken of. Nothing tells whether
        /// the time was told twice or the clock was turned back between the boots.
        BootOverlap = 6 => "let two reports of different boots speak of the same time",
    }
}

crate::row! {
    /// Something odd about the clock.
    pub struct ClockEvent {
        /// What.
        kind: ClockOddity,
        /// By how many seconds, at most; of holes and of overlaps between boots, in all.
        seconds: u64,
        /// When it was last seen, by the verifier's clock.
        at: UnixSeconds,
        /// How many reports show it; those of one kind and day are counted together.
        count: u32,
        /// The last of these.
        report: Digest,
    }
}

crate::record! {
    /// What was odd, as far as it is kept.
    #[derive(Default)]
    pub struct ClockLog {
        /// The newest, oldest first.
        0 => kept: Vec<ClockEvent>,
        /// When the last of those was seen that were dropped for want of room.
        1 => unkept: Option<UnixSeconds>,
    }
}

crate::record! {
    /// Where the clocks stood in the newest report.
    pub struct BootMark {
        /// The boot.
        0 => boot: BootId,
        /// Boot time at the report's end.
        1 => end: BootNanos,
        /// Wall time at the report's end.
        2 => wall: UnixSeconds,
        /// Wall time of signing.
        3 => issued: UnixSeconds,
        /// Its chain.
        4 => chain: ChainId,
    }
}

crate::record! {
    /// A node's clock.
    #[derive(Default)]
    pub struct ClockFacts {
        /// The newest report's clocks.
        0 => mark: Option<BootMark>,
        /// How the clock was odd, overlaps and holes apart: these are kept by themselves, so that many small oddities push
        /// none of them out.
        1 => events: ClockLog,
        /// Overlaps.
        2 => overlaps: ClockLog,
        /// Holes.
        3 => holes: ClockLog,
    }
}

impl ClockFacts {
    pub(super) fn absorb(
        &mut self,
        claims: &TokenClaims,
        digest: Digest,
        received: UnixSeconds,
        continuity: Continuity,
    ) {
        let time = &claims.report.time;
        let mut seen = |kind, seconds: i64| {
            if seconds > ROUNDING {
                self.event(kind, seconds.unsigned_abs(), received, digest);
            }
        };
        seen(ClockOddity::Ahead, time.wall_end.since(received));
        if time.wall_steps > 0 {
            seen(
                ClockOddity::Stepped,
                i64::try_from(time.wall_step_seconds).unwrap_or(i64::MAX),
            );
        }
        if let Some(mark) = self.mark.clone() {
            let mut seen = |kind, seconds: i64| {
                if seconds > ROUNDING {
                    self.event(kind, seconds.unsigned_abs(), received, digest);
                }
            };
            // A chain that begins anew and cites the old one says itself that its memory was set back; that finding stands alone.
            let set_back = claims.report.successor.is_some() && mark.chain != claims.report.chain;
            if !set_back {
                seen(ClockOddity::Back, mark.issued.since(claims.issued_at));
            }
            let (hole, overlap) = if mark.boot == claims.report.boot {
                let hole = seconds(time.start).saturating_sub(seconds(mark.end));
                (hole, ClockOddity::Overlap)
            } else {
                let length = seconds(time.end).saturating_sub(seconds(time.start));
                let hole = time.wall_end.since(mark.wall).saturating_sub(length);
                (hole, ClockOddity::BootOverlap)
            };
            // Where reports are missing, the chain says so already.
            if !matches!(continuity, Continuity::Gap { .. }) {
                seen(ClockOddity::Hole, hole);
            }
            if !set_back {
                seen(overlap, hole.saturating_neg());
            }
            if mark.boot == claims.report.boot {
                let boot = seconds(time.end).saturating_sub(seconds(mark.end));
                let slip = time.wall_end.since(mark.wall).saturating_sub(boot);
                if time.wall_steps == 0 {
                    seen(ClockOddity::Slipped, slip.saturating_abs());
                }
            }
        }
        self.mark = Some(BootMark {
            boot: claims.report.boot,
            end: time.end,
            wall: time.wall_end,
            issued: claims.issued_at,
            chain: claims.report.chain,
        });
    }

    fn event(&mut self, kind: ClockOddity, seconds: u64, at: UnixSeconds, report: Digest) {
        let log = match kind {
            ClockOddity::Overlap | ClockOddity::BootOverlap => &mut self.overlaps,
            ClockOddity::Hole => &mut self.holes,
            _ => &mut self.events,
        };
        let same = log
            .kept
            .iter_mut()
            .rev()
            .find(|e| e.kind == kind && e.at.day() == at.day());
        if let Some(event) = same {
            event.seconds = match kind {
                ClockOddity::Hole | ClockOddity::BootOverlap => event.seconds.saturating_add(seconds),
                _ => event.seconds.max(seconds),
            };
            event.at = event.at.max(at);
            event.count = event.count.saturating_add(1);
            event.report = report;
            return;
        }
        if log.kept.len() >= KEPT {
            let dropped = log.kept.remove(0);
            log.unkept = log.unkept.max(Some(dropped.at));
        }
        log.kept.push(ClockEvent {
            kind,
            seconds,
            at,
            count: 1,
            report,
        });
    }
}

fn seconds(at: BootNanos) -> i64 {
    at.0.checked_div(SECOND)
        .and_then(|s| i64::try_from(s).ok())
        .unwrap_or(i64::MAX)
}
