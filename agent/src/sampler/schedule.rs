//! When to do what: the loops of the sampler.
//!
//! Decides: the instant of every tick. Regular ticks fall on whole seconds of boot time; a burst falls somewhere in
//! each period, and a look at the clocks somewhere in each equal part of a second, at places that only this process
//! knows, so that a workload cannot hide from them. A tick that is due while an earlier one still runs is left out,
//! never made up for: the times of the ticks show the gap. Reads no clock. Does not establish that nobody reads the
//! places out of this process's memory.

use weighbridge::time::{BootNanos, SECOND};

/// Bursts of faster ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bursts {
    /// One burst in each period of this length, in nanoseconds. Zero means none.
    pub period: u64,
    /// Length of a burst, in nanoseconds.
    pub length: u64,
    /// From tick to tick in a burst, in nanoseconds.
    pub interval: u64,
    /// From which the place of each burst in its period follows.
    pub seed: u64,
}

/// Looks at the clocks between two regular ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looks {
    /// Into how many equal parts a second is divided, with one look in each. Zero means none.
    pub parts: u32,
    /// From which the place of each look in its part follows.
    pub seed: u64,
}

impl Looks {
    /// Length of a part, in nanoseconds; `None` where nobody looks.
    #[must_use]
    pub fn part_ns(&self) -> Option<u64> {
        SECOND.checked_div(self.parts.into()).filter(|ns| *ns > 0)
    }

    /// The first look after `now`.
    fn after(&self, now: u64) -> Option<u64> {
        let length = self.part_ns()?;
        let here = now.checked_div(length)?;
        let look = |part: u64| {
            let place = mix(self.seed ^ part).checked_rem(length)?;
            Some(part.saturating_mul(length).saturating_add(place))
        };
        look(here)
            .filter(|at| *at > now)
            .or_else(|| look(here.saturating_add(1)))
    }
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// A regular tick.
    Regular,
    /// A tick of a burst.
    Burst,
    /// A look at the clocks.
    Look,
    /// A look at what changes seldom.
    Check,
    /// A survey of all devices.
    Survey,
}

/// The loops, and where each stands.
#[derive(Clone, Debug)]
pub struct Schedule {
    bursts: Bursts,
    looks: Looks,
    check_every: u64,
    survey_every: u64,
    regular: u64,
    look: Option<u64>,
    check: u64,
    survey: u64,
    burst: Option<Burst>,
}

/// A burst to come or in progress.
#[derive(Clone, Copy, Debug)]
struct Burst {
    period: u64,
    next: u64,
    end: u64,
}

impl Schedule {
    /// A schedule that begins after `now`.
    #[must_use]
    pub fn new(now: BootNanos, bursts: Bursts, looks: Looks, check_every: u64, survey_every: u64) -> Self {
        let mut schedule = Self {
            bursts,
            looks,
            check_every,
            survey_every,
            regular: after(now.0, SECOND),
            look: looks.after(now.0),
            check: after(now.0, check_every),
            survey: now.0.saturating_add(survey_every.max(SECOND)),
            burst: None,
        };
        let period = now.0.checked_div(bursts.period).unwrap_or(0);
        schedule.burst = schedule
            .burst_of(period)
            .filter(|b| b.next > now.0)
            .or_else(|| schedule.burst_of(period.saturating_add(1)));
        schedule
    }

    /// What is due next, and when.
    #[must_use]
    pub fn next(&self) -> (BootNanos, Due) {
        let mut first = (self.regular, Due::Regular);
        let others = [
            (self.burst.map_or(u64::MAX, |b| b.next), Due::Burst),
            (self.look.unwrap_or(u64::MAX), Due::Look),
            (self.check, Due::Check),
            (self.survey, Due::Survey),
        ];
        for other in others {
            if other.0 < first.0 {
                first = other;
            }
        }
        (BootNanos(first.0), first.1)
    }

    /// Notes that `due` was done at `now`, and passes over what fell due meanwhile.
    pub fn done(&mut self, due: Due, now: BootNanos) {
        match due {
            Due::Regular => self.regular = after(now.0.max(self.regular), SECOND),
            Due::Look => self.look = self.look.and_then(|due| self.looks.after(now.0.max(due))),
            Due::Check => self.check = after(now.0.max(self.check), self.check_every),
            Due::Survey => self.survey = now.0.saturating_add(self.survey_every.max(SECOND)),
            Due::Burst => {
                let Some(burst) = self.burst else { return };
                let next = after(now.0.max(burst.next), self.bursts.interval);
                self.burst = if next < burst.end {
                    Some(Burst { next, ..burst })
                } else {
                    self.burst_of(burst.period.saturating_add(1))
                };
            }
        }
    }

    /// The burst of the period with this number.
    fn burst_of(&self, period: u64) -> Option<Burst> {
        let Bursts {
            period: every,
            length,
            interval,
            seed,
        } = self.bursts;
        if every == 0 || length == 0 || interval == 0 {
            return None;
        }
        let room = every.saturating_sub(length);
        // As many places as whole intervals fit before the last moment at which a burst still fits the period.
        let places = room.checked_div(interval)?.saturating_add(1);
        let place = mix(seed ^ period).checked_rem(places)?;
        let next = period
            .saturating_mul(every)
            .saturating_add(place.saturating_mul(interval));
        Some(Burst {
            period,
            next,
            end: next.saturating_add(length.min(every)),
        })
    }
}

/// The first multiple of `step` after `now`.
fn after(now: u64, step: u64) -> u64 {
    let step = step.max(1);
    now.checked_div(step)
        .unwrap_or(0)
        .saturating_add(1)
        .saturating_mul(step)
}

/// SplitMix64 (Steele, Lea and Flood 2014): spreads a counter over all 64-bit numbers.
fn mix(counter: u64) -> u64 {
    let mut z = counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BURSTS: Bursts = Bursts {
        period: 600 * SECOND,
        length: 60 * SECOND,
        interval: SECOND / 10,
        seed: 7,
    };

    const NONE: Looks = Looks { parts: 0, seed: 0 };

    fn run(mut schedule: Schedule, seconds: u64) -> Vec<(u64, Due)> {
        let mut done = Vec::new();
        loop {
            let (at, due) = schedule.next();
            if at.0 > seconds * SECOND {
                return done;
            }
            done.push((at.0, due));
            schedule.done(due, at);
        }
    }

    #[test]
    fn regular_ticks_fall_on_every_second() {
        let schedule = Schedule::new(BootNanos(2_500_000_000), BURSTS, NONE, 60 * SECOND, 3600 * SECOND);
        let regular: Vec<_> = run(schedule, 100)
            .into_iter()
            .filter(|(_, due)| *due == Due::Regular)
            .map(|(at, _)| at)
            .collect();
        assert_eq!(regular, (3..=100).map(|s| s * SECOND).collect::<Vec<_>>());
    }

    #[test]
    fn each_period_holds_one_burst_of_its_length_at_a_place_of_its_own() {
        let schedule = Schedule::new(BootNanos(0), BURSTS, NONE, 60 * SECOND, 3600 * SECOND);
        let all = run(schedule, 6000);
        let mut starts = Vec::new();
        for period in 0..10u64 {
            let range = period * BURSTS.period..(period + 1) * BURSTS.period;
            let burst: Vec<_> = all
                .iter()
                .filter(|(at, due)| *due == Due::Burst && range.contains(at))
                .map(|(at, _)| at - range.start)
                .collect();
            if period > 0 {
                assert_eq!(burst.len(), 600);
            }
            assert!(burst.windows(2).all(|w| w[1] - w[0] == SECOND / 10));
            starts.extend(burst.first().copied());
        }
        starts.sort_unstable();
        starts.dedup();
        assert!(starts.len() >= 9, "bursts stand at the same place: {starts:?}");
    }

    #[test]
    fn each_part_of_a_second_holds_one_look_at_a_place_of_its_own() {
        let looks = Looks { parts: 8, seed: 7 };
        let schedule = Schedule::new(BootNanos(0), BURSTS, looks, 60 * SECOND, 3600 * SECOND);
        let all = run(schedule, 100);
        let part = SECOND / 8;
        let at: Vec<_> = all
            .iter()
            .filter(|(_, due)| *due == Due::Look)
            .map(|(at, _)| *at)
            .collect();
        assert_eq!(
            at.iter().map(|at| at / part).collect::<Vec<_>>(),
            (0..800).collect::<Vec<_>>()
        );
        let early = at.iter().filter(|at| *at % part < part / 2).count();
        assert!((300..500).contains(&early), "{early} of 800 in the first half");
        let other = Looks { seed: 8, ..looks };
        let elsewhere = Schedule::new(BootNanos(0), BURSTS, other, 60 * SECOND, 3600 * SECOND);
        assert!(
            run(elsewhere, 100)
                .iter()
                .all(|(t, due)| *due != Due::Look || !at.contains(t))
        );
    }

    #[test]
    fn a_look_that_falls_due_in_a_tick_comes_after_it_and_others_are_left_out() {
        let looks = Looks { parts: 8, seed: 7 };
        let mut schedule = Schedule::new(BootNanos(0), BURSTS, looks, 60 * SECOND, 3600 * SECOND);
        while schedule.next().1 != Due::Regular {
            let (at, due) = schedule.next();
            schedule.done(due, at);
        }
        let late = BootNanos(SECOND + SECOND / 2);
        schedule.done(Due::Regular, late);
        let (at, due) = schedule.next();
        assert_eq!(due, Due::Look);
        assert!(at < late);
        schedule.done(Due::Look, late);
        assert!(schedule.next().0 > late);
    }

    #[test]
    fn what_is_late_is_left_out() {
        let mut schedule = Schedule::new(BootNanos(0), BURSTS, NONE, 60 * SECOND, 3600 * SECOND);
        assert_eq!(schedule.next().0, BootNanos(SECOND));
        schedule.done(Due::Regular, BootNanos(5 * SECOND + 1));
        let regular = run(schedule, 6)
            .into_iter()
            .filter(|(_, due)| *due == Due::Regular)
            .count();
        assert_eq!(regular, 1);
    }

    #[test]
    fn a_check_and_a_survey_come_in_their_turn() {
        let none = Bursts { period: 0, ..BURSTS };
        let all = run(
            Schedule::new(BootNanos(0), none, NONE, 60 * SECOND, 3600 * SECOND),
            3600,
        );
        assert_eq!(all.iter().filter(|(_, d)| *d == Due::Check).count(), 60);
        assert_eq!(all.iter().filter(|(_, d)| *d == Due::Survey).count(), 1);
        assert_eq!(all.iter().filter(|(_, d)| *d == Due::Burst).count(), 0);
    }
}
