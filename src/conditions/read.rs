//! What a judge looked at, and for how long its verdict stands while reports add to sums.
//!
//! Decides: nothing of a verdict. Every look at nodes, at papers and at what grows with each report is noted where it is made, so that no judge can
//! forget one. A judge that compares a sum with a limit may say how far the two lie apart ([`Slack`]): until reports have added so much, the
//! comparison comes out as it did. Where it says nothing, its verdict stands for no report that adds to what it looked at.

use crate::time::{DAY_SECONDS, UnixSeconds};
use crate::unit::{MicroTppHours, Ppm};

/// What a judge looked at, beside the licence, its rule set and the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Read {
    /// Nodes: what a report may change.
    pub(super) nodes: bool,
    /// Papers: what a statement may change.
    pub(super) papers: bool,
    /// Sums of days, or ends of stretches held against other times: what every report adds to.
    pub(super) grows: bool,
    /// How far that may go; of several looks the least. Absent where nobody said.
    slack: Option<Slack>,
}

impl Read {
    /// Says how far what was looked at may grow until the verdict may be another.
    pub(super) fn stands_for(&mut self, slack: Slack) {
        self.slack = Some(self.slack.map_or(slack, |known| known.least(slack)));
    }

    /// Whether what reports added since leaves the verdict as it is: `all` of it since it was judged, `last` with the last reports.
    pub(super) fn allows(&self, all: &Grown, last: &Grown, now: UnixSeconds) -> bool {
        !self.grows || self.slack.is_some_and(|slack| slack.allows(all, last, now))
    }
}

/// How far sums may grow until a verdict may be another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slack {
    /// Until just before when: time alone moves the days over which is summed, or a bound.
    until: UnixSeconds,
    /// The first day that does not count.
    before: i64,
    /// How far sums of device time may move, in milliseconds.
    ms: u64,
    /// How far sums of compute may.
    hours: MicroTppHours,
    /// Whether no report may go by a lower peak than its devices have.
    at_peak: bool,
}

impl Slack {
    /// It stands for no report.
    pub(super) const NONE: Self = Self {
        until: UnixSeconds(i64::MIN),
        before: i64::MAX,
        ms: 0,
        hours: MicroTppHours(0),
        at_peak: false,
    };

    /// However much is added until a time, as long as nothing of another kind is.
    pub(super) fn until(until: UnixSeconds) -> Self {
        Self {
            until,
            before: i64::MAX,
            ms: u64::MAX,
            hours: MicroTppHours(u128::MAX),
            at_peak: false,
        }
    }

    /// While the same days lie in a period from `from` on, and whole, once it slides with time from `slides` on. `firsts` are when nodes first reported.
    pub(super) fn of_period(
        from: UnixSeconds,
        slides: UnixSeconds,
        firsts: impl Iterator<Item = UnixSeconds>,
    ) -> Self {
        let next = UnixSeconds(from.day().saturating_add(1).saturating_mul(DAY_SECONDS));
        let midnight = UnixSeconds(from.day().saturating_mul(DAY_SECONDS));
        // A day is whole up to the second in which the period begins with it, or with the node's first report on it.
        let wholes = firsts.chain([midnight]).filter(|t| *t >= from);
        let turns = wholes.map(|t| t.plus(1)).chain([next]);
        let first = turns.fold(next, UnixSeconds::min);
        Self::until(slides.plus(first.since(from)))
    }

    /// As long as no day before this one moves.
    pub(super) fn days_before(end: i64, until: UnixSeconds) -> Self {
        Self::until(until).before(end)
    }

    /// As long as no day before this one moves: how much is added to others is the same.
    pub(super) fn before(self, end: i64) -> Self {
        Self {
            before: end,
            ms: 0,
            hours: MicroTppHours(0),
            ..self
        }
    }

    /// As long as sums of device time move by no more than this either.
    pub(super) fn within_ms(mut self, ms: u64) -> Self {
        self.ms = self.ms.min(ms);
        self
    }

    /// As long as sums of compute move by no more than this either.
    pub(super) fn within_hours(mut self, hours: MicroTppHours) -> Self {
        self.hours = self.hours.min(hours);
        self
    }

    /// As long as no report goes by a lower peak than its devices have.
    pub(super) fn at_peak(mut self) -> Self {
        self.at_peak = true;
        self
    }

    /// Both.
    fn least(self, other: Self) -> Self {
        Self {
            until: self.until.min(other.until),
            before: self.before.max(other.before),
            ms: self.ms.min(other.ms),
            hours: self.hours.min(other.hours),
            at_peak: self.at_peak || other.at_peak,
        }
    }

    fn allows(&self, all: &Grown, last: &Grown, now: UnixSeconds) -> bool {
        let within = all.ms <= self.ms && all.hours <= self.hours;
        let unlike = last.otherwise || (self.at_peak && last.below_peak);
        now < self.until && (self.before <= last.first_day || (within && !unlike))
    }
}

/// By how much reports moved sums.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grown {
    /// The first day that they moved.
    pub(super) first_day: i64,
    /// By how much any sum of device time moved at most, in milliseconds.
    pub(super) ms: u64,
    /// By how much any sum of compute did.
    pub(super) hours: MicroTppHours,
    /// Whether something came of a kind that was not there before, such as a tenant.
    pub(super) otherwise: bool,
    /// Whether a report goes by a lower peak than one of its devices has.
    pub(super) below_peak: bool,
}

impl Default for Grown {
    fn default() -> Self {
        Self {
            first_day: i64::MAX,
            ms: 0,
            hours: MicroTppHours(0),
            otherwise: false,
            below_peak: false,
        }
    }
}

impl Grown {
    /// With what came after.
    pub(super) fn and(&self, later: &Self) -> Self {
        Self {
            first_day: self.first_day.min(later.first_day),
            ms: self.ms.saturating_add(later.ms),
            hours: self.hours.plus(later.hours),
            otherwise: self.otherwise || later.otherwise,
            below_peak: self.below_peak || later.below_peak,
        }
    }

    /// What came after an earlier one of the same row.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        Self {
            // What stands at its largest value may have grown by anything.
            ms: match self.ms {
                u64::MAX => u64::MAX,
                ms => ms.saturating_sub(earlier.ms),
            },
            hours: match self.hours {
                MicroTppHours(u128::MAX) => self.hours,
                hours => hours.minus(earlier.hours),
            },
            ..*self
        }
    }
}

/// How far a number that reports move, and its limit, lie apart: moved by so much together, the number is on the same side of the limit, which it
/// holds where it is no less.
pub(super) fn apart(number: u64, limit: u64) -> u64 {
    match number.checked_sub(limit) {
        Some(over) => over,
        None => limit.saturating_sub(number).saturating_sub(1),
    }
}

/// The same of a part of a whole and the share that it must reach, where both move: moved by so much together, they are on the same side of it.
pub(super) fn share_apart(part: u64, whole: u64, least: Ppm) -> u64 {
    let held = u128::from(part).saturating_mul(u128::from(Ppm::ONE.0));
    let asked = u128::from(whole).saturating_mul(u128::from(least.0));
    let over = match held.checked_sub(asked) {
        Some(over) => over,
        None => asked.saturating_sub(held).saturating_sub(1),
    };
    u64::try_from(over.div_euclid(u128::from(Ppm::ONE.0))).unwrap_or(u64::MAX)
}
