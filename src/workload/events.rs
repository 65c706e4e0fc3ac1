//! What happened over a longer time than a window: dips of activity, starts after a rest, memory that stays as it is.
//!
//! Decides: what counts as a dip, and over which time. What is kept is bounded: means of ten seconds over the last ten minutes, by whose median the level is
//! told from which activity falls, and the times of at most 64 events of the last hour. Does not establish why activity fell: a checkpoint, an evaluation
//! and a slow disk look alike, and what is shorter than a point is not seen.
#![expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "signal arithmetic on f64, which saturates and never traps; times are in milliseconds since the device was first seen"
)]

use super::row::{Ring, Row, mean, variation};
use super::series::AT_REST;

/// Means that are kept.
const KEPT: usize = 60;

/// How long one of them speaks for, in milliseconds.
const COARSE_MS: u64 = 10_000;

/// Fewer means than these give no level.
const LEAST_KEPT: usize = 3;

/// Fewer means than these are no longer time than the points of the last minute.
const LEAST_FLAT: usize = 6;

/// Fewer points than these say nothing of memory.
const LEAST_POINTS: usize = 5;

/// The most events of a kind that are kept.
const EVENTS: usize = 64;

/// For how long, in milliseconds.
const HOUR_MS: u64 = 3_600_000;

/// Who was watched for less has no rate, in milliseconds.
const LEAST_WATCHED_MS: u64 = 60_000;

/// A level below this is none to fall from.
const LEAST_LEVEL: f64 = 0.02;

/// A dip goes below this share of the level before.
const FALLEN: f64 = 0.5;

/// It ends above this share of it.
const BACK: f64 = 0.8;

/// Whoever stays down for longer has stopped, in milliseconds.
const LONGEST_DIP_MS: u64 = 60_000;

/// A rest before a start that counts, in milliseconds.
const LEAST_REST_MS: u64 = 10_000;

/// Memory within this share of its median stays as it is.
const FLAT: f64 = 0.01;

/// Fewer dips than these have no spacing.
const LEAST_DIPS: usize = 3;

/// Means over ten seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Coarse {
    activity: Option<f64>,
    memory: Option<f64>,
}

/// Sums, and of how many.
#[derive(Clone, Copy, Debug, Default)]
struct Open {
    since_ms: u64,
    activity: (f64, f64),
    memory: (f64, f64),
}

/// Where activity stands to its level.
#[derive(Clone, Copy, Debug, Default)]
enum Fall {
    /// Not below it by much, as far as is known.
    #[default]
    Up,
    /// Below it since then.
    Down { since_ms: u64, level: f64 },
    /// For longer than a dip.
    Stopped,
}

/// The memory of one device.
#[derive(Clone, Debug, Default)]
pub(super) struct Events {
    open: Open,
    kept: Ring<Coarse, KEPT>,
    level: Option<f64>,
    fall: Fall,
    rests_since_ms: Option<u64>,
    dips: Ring<u64, EVENTS>,
    restarts: Ring<u64, EVENTS>,
    /// For how long activity was told, and for how long there was a level to fall from.
    told_ms: u64,
    watched_ms: u64,
    now_ms: u64,
}

/// What is told of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Told {
    /// Dips for each hour.
    pub(super) dips: Option<f64>,
    /// How even they are spaced: one less the standard deviation of the lengths between them, of their mean.
    pub(super) dip_evenness: Option<f64>,
    /// Starts after a rest for each hour.
    pub(super) restarts: Option<f64>,
    /// Share of the time in which memory in use stayed as it was.
    pub(super) plateau: Option<f64>,
}

impl Events {
    /// Adds a point of so many milliseconds that ended at `at_ms`; activity is a share, memory in any unit.
    pub(super) fn add(&mut self, at_ms: u64, length_ms: u64, activity: Option<f64>, memory: Option<f64>) {
        self.now_ms = at_ms;
        let began_ms = at_ms.saturating_sub(length_ms);
        for (sum, value) in [
            (&mut self.open.activity, activity),
            (&mut self.open.memory, memory),
        ] {
            if let Some(value) = value {
                *sum = (sum.0 + value, sum.1 + 1.0);
            }
        }
        if at_ms.saturating_sub(self.open.since_ms) >= COARSE_MS {
            self.close(at_ms);
        }
        let Some(activity) = activity else {
            // Nobody saw whether it rested, or came back.
            self.fall = Fall::Up;
            self.rests_since_ms = None;
            return;
        };
        self.told_ms = self.told_ms.saturating_add(length_ms);
        self.note_dip(activity, began_ms, at_ms);
        if self.level.is_some() {
            self.watched_ms = self.watched_ms.saturating_add(length_ms);
        }
        if activity < AT_REST {
            self.rests_since_ms.get_or_insert(began_ms);
        } else if let Some(since) = self.rests_since_ms.take()
            && began_ms.saturating_sub(since) >= LEAST_REST_MS
        {
            self.restarts.push(began_ms);
        }
    }

    fn note_dip(&mut self, activity: f64, began_ms: u64, at_ms: u64) {
        let is_back = |level: f64| activity >= level * BACK;
        self.fall = match self.fall {
            Fall::Up => match self.level {
                Some(level) if activity < level * FALLEN => Fall::Down {
                    since_ms: began_ms,
                    level,
                },
                _ => Fall::Up,
            },
            Fall::Down { since_ms, level } if is_back(level) => {
                if began_ms.saturating_sub(since_ms) <= LONGEST_DIP_MS {
                    self.dips.push(since_ms);
                }
                Fall::Up
            }
            Fall::Down { since_ms, .. } if at_ms.saturating_sub(since_ms) > LONGEST_DIP_MS => Fall::Stopped,
            // It may have found another level meanwhile.
            Fall::Stopped if self.level.is_none_or(is_back) => Fall::Up,
            same => same,
        };
    }

    /// Closes ten seconds, and finds the level anew.
    fn close(&mut self, at_ms: u64) {
        let of = |(sum, count): (f64, f64)| (count > 0.0).then(|| sum / count);
        self.kept.push(Coarse {
            activity: of(self.open.activity),
            memory: of(self.open.memory),
        });
        self.open = Open {
            since_ms: at_ms,
            ..Open::default()
        };
        let told: Row<KEPT> = self.kept.iter().filter_map(|c| c.activity).collect();
        let enough = told.len() >= LEAST_KEPT;
        self.level = told.centile(50).filter(|level| enough && *level >= LEAST_LEVEL);
    }

    /// What is told by now; `minute` is memory in use at the points of the last minute.
    pub(super) fn told(&self, minute: impl Iterator<Item = f64>) -> Told {
        let since = |hours: &&u64| **hours >= self.now_ms.saturating_sub(HOUR_MS);
        let dips: Row<EVENTS> = self.dips.iter().filter(|t| since(&t)).map(|t| t as f64).collect();
        let spaces = dips
            .values()
            .iter()
            .zip(dips.values().iter().skip(1))
            .map(|(a, b)| b - a);
        let spaces: Row<EVENTS> = spaces.collect();
        let uneven = variation(spaces.values()).filter(|_| dips.len() >= LEAST_DIPS);
        let kept: Row<KEPT> = self.kept.iter().filter_map(|c| c.memory).collect();
        Told {
            dips: self.rate(&self.dips, self.watched_ms),
            dip_evenness: uneven.map(|cv| (1.0 - cv).max(0.0)),
            restarts: self.rate(&self.restarts, self.told_ms),
            plateau: if kept.len() >= LEAST_FLAT {
                flat(kept)
            } else {
                let minute: Row<KEPT> = minute.collect();
                Some(minute).filter(|m| m.len() >= LEAST_POINTS).and_then(flat)
            },
        }
    }

    /// Events for each hour, of those that are kept and the time that they are of.
    fn rate(&self, events: &Ring<u64, EVENTS>, watched_ms: u64) -> Option<f64> {
        if watched_ms < LEAST_WATCHED_MS {
            return None;
        }
        let from = self.now_ms.saturating_sub(HOUR_MS);
        let within = events.iter().filter(|t| *t >= from).count();
        let oldest = events
            .iter()
            .next()
            .filter(|_| events.is_full() && within == EVENTS);
        // Where more were seen than are kept, those that are speak for the time since the oldest.
        let since_oldest = oldest.map_or(HOUR_MS, |t| self.now_ms.saturating_sub(t));
        let time = watched_ms.min(HOUR_MS).min(since_oldest).max(1);
        Some(within as f64 * HOUR_MS as f64 / time as f64)
    }
}

/// Share of values that lie near their median.
fn flat(values: Row<KEPT>) -> Option<f64> {
    let median = values.centile(50)?;
    mean(values.values().iter().map(|v| {
        if (v - median).abs() <= median * FLAT {
            1.0
        } else {
            0.0
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// After so many seconds of an activity and of memory in use at each.
    fn after(seconds: u64, activity: impl Fn(u64) -> Option<f64>, memory: impl Fn(u64) -> f64) -> Told {
        let mut events = Events::default();
        for second in 0..seconds {
            events.add(
                (second + 1) * 1_000,
                1_000,
                activity(second),
                Some(memory(second)),
            );
        }
        events.told(std::iter::empty())
    }

    fn near(found: Option<f64>, value: f64) -> bool {
        found.is_some_and(|f| (f - value).abs() < 0.02 * value.max(0.05))
    }

    #[test]
    fn a_job_that_saves_itself_every_two_minutes_dips_thirty_times_an_hour() {
        let saves = |s: u64| {
            Some(if s % 120 < 8 {
                0.05
            } else {
                0.9 - 0.01 * (s % 3) as f64
            })
        };
        let told = after(3_600, saves, |_| 70_000.0);
        assert!(near(told.dips, 29.0 * 3_600.0 / 3_570.0), "{told:?}");
        assert!(
            near(told.dip_evenness, 1.0) && near(told.plateau, 1.0),
            "{told:?}"
        );
        assert_eq!(told.restarts, Some(0.0));
        // The first of them came before there was a level. Two hours later the rate is of the last hour.
        assert!(near(after(10_800, saves, |_| 1.0).dips, 30.0));
    }

    #[test]
    fn what_comes_at_random_is_uneven_and_what_stays_down_is_no_dip() {
        let mut state = 1u32;
        let mut drawn = Vec::new();
        while drawn.len() < 3_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let length = if state >> 30 == 0 { 7 } else { 150 } + (state >> 24 & 63) as usize;
            drawn.resize(drawn.len() + length, 0.8);
            drawn.resize(drawn.len() + 3, 0.1);
        }
        let told = after(3_000, |s| Some(drawn[s as usize]), |s| s as f64);
        assert!(told.dip_evenness.unwrap() < 0.75, "{told:?}");
        assert!(told.plateau.unwrap() < 0.2, "{told:?}");
        // Two minutes of rest: a stop and a start.
        let stops = after(1_200, |s| Some(if s % 600 < 480 { 0.8 } else { 0.0 }), |_| 5.0);
        assert_eq!(stops.dips, Some(0.0));
        assert!(near(stops.restarts, 3.0), "{stops:?}");
        // A lower level is one to fall from, once it is the median.
        let lowers = |s: u64| {
            Some(if s < 300 {
                0.9
            } else if s.is_multiple_of(60) {
                0.0
            } else {
                0.3
            })
        };
        assert!(after(3_600, lowers, |_| 5.0).dips.unwrap() > 40.0);
    }

    #[test]
    fn a_steady_device_has_no_dips_one_at_rest_none_to_tell_and_noise_of_a_third_none() {
        assert_eq!(after(600, |_| Some(0.7), |_| 5.0).dips, Some(0.0));
        let rests = after(600, |_| Some(0.0), |_| 5.0);
        assert_eq!(
            (rests.dips, rests.restarts, rests.plateau),
            (None, Some(0.0), Some(1.0))
        );
        let noisy = |s: u64| Some(0.6 + 0.1 * ((s * s * 7 % 13) as f64 / 6.0 - 1.0) * 2.0);
        assert_eq!(after(600, noisy, |_| 5.0).dips, Some(0.0));
        let short = after(40, |_| Some(0.7), |_| 5.0);
        assert_eq!((short.dips, short.restarts, short.plateau), (None, None, None));
        assert_eq!(after(600, |_| None, |_| 0.0).restarts, None);
    }

    #[test]
    fn more_events_than_are_kept_speak_for_their_own_time_and_a_hole_for_none() {
        // Six seconds up and four down: sixty in ten minutes.
        let often = |s: u64| Some(if s % 10 < 6 { 0.9 } else { 0.1 });
        assert!(near(after(3_600, often, |_| 5.0).dips, 360.0));
        let unseen = |s: u64| (s % 200 < 150).then_some(0.9);
        assert_eq!(after(3_600, unseen, |_| 5.0).dips, Some(0.0));
        let minute = Events::default().told([5.0, 5.0, 5.02, 9.0, 5.0].into_iter());
        assert_eq!(minute.plateau, Some(0.8));
    }

    proptest! {
        #[test]
        fn any_points_have_rates_in_range(
            points in proptest::collection::vec((any::<u32>(), any::<u16>(), proptest::option::of(0.0f64..5_000.0), proptest::option::of(0.0f64..1e10)), 0..300)
        ) {
            let mut events = Events::default();
            for (at, length, activity, memory) in points {
                events.add(at.into(), length.into(), activity, memory);
            }
            let told = events.told(std::iter::empty());
            for share in [told.dip_evenness, told.plateau].into_iter().flatten() {
                prop_assert!((0.0..=1.0).contains(&share), "{told:?}");
            }
            for rate in [told.dips, told.restarts].into_iter().flatten() {
                prop_assert!(rate.is_finite() && rate >= 0.0, "{told:?}");
            }
        }
    }
}
