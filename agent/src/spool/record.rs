//! What the spool remembers beside the reports themselves.

use weighbridge::id::{BootId, ChainId, Challenge, Digest};
use weighbridge::protocol::Instructions;
use weighbridge::report::{CheckpointSeen, PROFILE, Successor};
use weighbridge::time::{BootNanos, UnixSeconds};

weighbridge::record! {
    /// The chain that is written now, and its last report.
    pub struct ChainHead {
        /// The chain.
        0 => chain: ChainId,
        /// Number of the last report; 0 where there is none yet.
        1 => sequence: u64,
        /// Its digest.
        2 => digest: Option<Digest>,
        /// What the first report will name as the chain that came before.
        3 => successor: Option<Successor>,
    }
}

weighbridge::record! {
    /// What the verifier last said, as far as it was accepted.
    pub struct Standing {
        /// Its checkpoint that was found consistent.
        0 => seen: Option<CheckpointSeen>,
        /// The challenge that the next report answers; used once.
        1 => challenge: Option<Challenge>,
        /// Length of a report in force, in seconds.
        2 => report_seconds: u32,
        /// Whether a trial is in force.
        3 => trial: bool,
        /// Days for which windows are kept.
        4 => windows_kept_days: u32,
        /// Whether the verifier reads the profile that is written here.
        5 => profile_read: bool,
        /// The challenge with which it last drew a round of evidence.
        6 => drawn: Option<Challenge>,
    }
}

/// Days for which a receipted report is kept where no witness is configured.
pub(super) const REPORTS_KEPT_DAYS: u32 = 30;
/// Length of a report before a verifier has said otherwise, in seconds.
const DEFAULT_REPORT_SECONDS: u32 = 300;

impl Default for Standing {
    fn default() -> Self {
        Self {
            seen: None,
            challenge: None,
            report_seconds: DEFAULT_REPORT_SECONDS,
            trial: false,
            windows_kept_days: REPORTS_KEPT_DAYS,
            profile_read: true,
            drawn: None,
        }
    }
}

/// What the operator lets a verifier ask for.
#[derive(Clone, Copy, Debug)]
pub struct Acceptance {
    /// Shortest report, in seconds.
    pub shortest: u32,
    /// Longest report, in seconds.
    pub longest: u32,
    /// Whether a trial, with reports of 1 to 59 seconds.
    pub trial: bool,
}

impl Standing {
    /// Takes over what `told` asks for. Returns what is not done, and why, in one sentence.
    pub fn follow(&mut self, told: &Instructions, accepts: &Acceptance) -> Option<String> {
        self.challenge = Some(told.challenge);
        if told.round {
            self.drawn = Some(told.challenge);
        }
        // Windows of ten years fill any disk; the operator's bound on the spool cuts in long before.
        self.windows_kept_days = told.windows_kept_days.min(3_660);
        self.profile_read = told.profiles.iter().any(|p| p == PROFILE);
        let seconds = told.report_seconds;
        let wanted = if told.trial && seconds < 60 {
            accepts.trial && seconds >= 1
        } else {
            (accepts.shortest..=accepts.longest).contains(&seconds) && (accepts.trial || !told.trial)
        };
        if wanted {
            (self.report_seconds, self.trial) = (seconds, told.trial);
        }
        if !self.profile_read {
            return Some(format!(
                "the verifier does not read `{PROFILE}`: update the agent or the verifier"
            ));
        }
        (!wanted).then(|| {
            let kind = if told.trial {
                "a trial with reports"
            } else {
                "reports"
            };
            format!(
                "the verifier asks for {kind} of {seconds} s, which the configuration does not allow \
                 (report_seconds_min, report_seconds_max, allow_trial); {} s stay in force",
                self.report_seconds
            )
        })
    }
}

weighbridge::code! {
    /// What became of a report.
    pub enum Fate {
        /// It waits for its receipt.
        Waiting = 0 => "waiting",
        /// The verifier holds it.
        Receipted = 1 => "receipted",
        /// The verifier refused it.
        Refused = 2 => "refused",
    }
}

impl Fate {
    /// The same for a person.
    #[must_use]
    pub fn said(self) -> &'static str {
        match self {
            Self::Waiting => "not receipted yet",
            Self::Receipted => "receipted",
            Self::Refused => "refused by the verifier",
        }
    }
}

weighbridge::record! {
    /// A report in the spool.
    pub struct Entry {
        /// Its chain.
        0 => chain: ChainId,
        /// Its number there.
        1 => sequence: u64,
        /// Its digest.
        2 => digest: Digest,
        /// What became of it.
        3 => fate: Fate,
        /// How far [`Counters::spanned`] had come when it was sealed.
        4 => spanned: u64,
        /// Bytes that it takes, its windows included.
        5 => bytes: u64,
    }
}

weighbridge::record! {
    /// A report that the spool holds, and what became of it.
    pub struct Sent {
        /// Its ordinal in the spool.
        #[serde(skip)]
        0 => ordinal: u64,
        /// Its chain.
        1 => chain: ChainId,
        /// Its number there.
        2 => sequence: u64,
        /// Its digest.
        3 => report: Digest,
        /// What became of it.
        4 => state: Fate,
    }
}

weighbridge::record! {
    /// Where the agent last was, so that a start can tell what happened in between.
    pub struct Life {
        /// The boot.
        0 => boot: BootId,
        /// Boot time.
        1 => at: BootNanos,
        /// Wall time.
        2 => wall: UnixSeconds,
        /// Starts since the last report.
        3 => starts: u32,
        /// Boot time at the end of the last report of this boot.
        4 => reported_to: Option<BootNanos>,
    }
}

weighbridge::record! {
    /// Running numbers.
    pub struct Counters {
        /// The ordinal that the next report gets.
        0 => next: u64,
        /// Bytes that reports, windows and answers take.
        1 => bytes: u64,
        /// Reports dropped without a receipt, because the bound was reached.
        2 => lost: u64,
        /// Reports refused.
        3 => refused: u64,
        /// Nanoseconds of boot time from report to report, over all boots: what reports age by. A wall clock can be set, and would then take
        /// what is to be kept with it; time in which the host was off ages nothing.
        4 => spanned: u64,
        /// Reports that went with their windows, because the bound was reached, before the days were over for which they are kept.
        5 => cut_short: u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(report_seconds: u32, trial: bool) -> Instructions {
        Instructions {
            challenge: Challenge([1; 32]),
            report_seconds,
            trial,
            windows_kept_days: 30,
            profiles: vec![PROFILE.to_owned()],
            round: false,
        }
    }

    #[test]
    fn a_draw_is_remembered_until_the_next() {
        let accepts = Acceptance {
            shortest: 60,
            longest: 900,
            trial: false,
        };
        let mut standing = Standing::default();
        standing.follow(&told(300, false), &accepts);
        assert_eq!(standing.drawn, None);
        let drawn = Instructions {
            challenge: Challenge([2; 32]),
            round: true,
            ..told(300, false)
        };
        standing.follow(&drawn, &accepts);
        standing.follow(&told(300, false), &accepts);
        assert_eq!(standing.drawn, Some(Challenge([2; 32])));
    }

    #[test]
    fn the_operator_s_bounds_hold_against_the_verifier() {
        let plain = Acceptance {
            shortest: 60,
            longest: 900,
            trial: false,
        };
        let open = Acceptance { trial: true, ..plain };
        for (seconds, trial, accepts, followed) in [
            (60, false, plain, true),
            (900, false, plain, true),
            (901, false, plain, false),
            (10, false, open, false),
            (10, true, plain, false),
            (10, true, open, true),
            (0, true, open, false),
        ] {
            let mut standing = Standing::default();
            let complaint = standing.follow(&told(seconds, trial), &accepts);
            assert_eq!(complaint.is_none(), followed, "{seconds} s, trial {trial}");
            assert_eq!(standing.report_seconds, if followed { seconds } else { 300 });
            assert_eq!(standing.challenge, Some(Challenge([1; 32])));
        }
    }
}
