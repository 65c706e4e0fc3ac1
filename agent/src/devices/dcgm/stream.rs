//! From the values that a host engine keeps of a device to activity.
//!
//! Decides: for which time a value speaks, and which of them is too old to speak for any. The engine stamps its values with a wall
//! clock of which nothing else is known, so only differences of its own stamps count, and never more than the time that
//! passed here between two readings: a clock that is set invents nothing. A value counts once. Where an engine was seen to update
//! oftener than it is read, a value speaks for one update alone, and the rest of the time is not known. Trusts that a value is the mean since
//! the one before. Does not establish it, nor how often an engine updates between two looks at its pace.

use weighbridge::telemetry::{Activity, LossReason, Reading};
use weighbridge::time::{BootNanos, SECOND};
use weighbridge::unit::Ppm;

/// A value is stale when it is older than this, in nanoseconds, and than [`STALE_INTERVALS`] of its own intervals.
const STALE_NS: u64 = 5 * SECOND;
const STALE_INTERVALS: u64 = 3;

/// An engine that updates no oftener than this can be read once a second, in nanoseconds.
const SLOW_NS: u64 = 900_000_000;

/// What a field gives.
pub(super) type Answer = Reading<Ppm>;

/// One field's latest value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Value {
    /// When the engine took it, in microseconds of its clock.
    pub(super) stamp_us: i64,
    /// A share of the time since the value before.
    pub(super) share: Answer,
}

impl Value {
    /// Nobody watches the field.
    pub(super) const NONE: Self = Self {
        stamp_us: 0,
        share: Reading::Unsupported,
    };
}

/// A ratio as the engine gives it. Rounding puts it a little above one at times; far above is no share.
#[expect(
    clippy::as_conversions,
    reason = "the value was checked to lie between 0 and 1.1, so the product fits and its sign is known"
)]
pub(super) fn share(ratio: f64) -> Answer {
    if !(0.0..=1.1).contains(&ratio) {
        return Reading::Lost(LossReason::Malformed);
    }
    Reading::Value(Ppm((ratio.min(1.0) * 1_000_000.0).round() as u32))
}

/// The last value of one device that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    stamp_us: i64,
    /// When it was seen first, by the clock here.
    at: BootNanos,
    /// For how long it speaks; `None` where the value before it is not known, or was stale.
    interval_ns: Option<u64>,
}

impl Seen {
    fn first(stamp_us: i64, at: BootNanos) -> Self {
        Self {
            stamp_us,
            at,
            interval_ns: None,
        }
    }

    fn stale(&self, now: BootNanos) -> bool {
        let interval = self.interval_ns.unwrap_or(0);
        now.since(self.at) > STALE_NS.max(interval.saturating_mul(STALE_INTERVALS))
    }
}

/// The values of one device, one after another.
#[derive(Clone, Debug, Default)]
pub(super) struct Stream {
    seen: Option<Seen>,
    /// From one value to the next, where the engine was seen to update oftener than it is read.
    pace_ns: Option<u64>,
}

/// When the engine took the newest of the values that are shares.
pub(super) fn newest(values: &[Value; 10]) -> Option<i64> {
    let shares = values.iter().filter(|v| v.share.value().is_some());
    shares.map(|v| v.stamp_us).max()
}

impl Stream {
    /// Notes what lay between two values that were read shortly after one another, in microseconds of the engine's clock; where they
    /// were the same value, nothing. Returns the pace where it is too fast to be read.
    pub(super) fn pace(&mut self, before_us: i64, after_us: i64) -> Option<u64> {
        let passed = after_us
            .checked_sub(before_us)
            .and_then(|us| u64::try_from(us).ok());
        let passed_ns = passed.unwrap_or(0).saturating_mul(1_000);
        self.pace_ns = (1..SLOW_NS).contains(&passed_ns).then_some(passed_ns);
        self.pace_ns
    }

    /// Takes the latest values, in the order of the shares of [`Activity`], and gives the activity that they tell of; lost
    /// where they tell of none that is new.
    pub(super) fn push(&mut self, values: &[Value; 10], now: BootNanos) -> Reading<Activity> {
        let Some(stamp_us) = newest(values) else {
            self.seen = None;
            return nothing(values);
        };
        let Some(before) = self.seen else {
            self.seen = Some(Seen::first(stamp_us, now));
            return LATER;
        };
        if stamp_us == before.stamp_us {
            if before.stale(now) {
                self.seen = Some(Seen {
                    interval_ns: None,
                    ..before
                });
            }
            return LATER;
        }
        let passed_us = stamp_us
            .checked_sub(before.stamp_us)
            .and_then(|us| u64::try_from(us).ok());
        let Some(passed_us) = passed_us else {
            // The engine's clock was set back.
            self.seen = Some(Seen::first(stamp_us, now));
            return LATER;
        };
        let interval_ns = passed_us.saturating_mul(1_000).min(now.since(before.at));
        // After values of unknown or too great an age, one more is waited for: how often they come is not known.
        let steady = before.interval_ns.is_some() && !before.stale(now);
        self.seen = Some(Seen {
            stamp_us,
            at: now,
            interval_ns: Some(interval_ns),
        });
        if !steady || interval_ns == 0 {
            return LATER;
        }
        let [sm, tensor_any, dfma, hmma, imma, dram, fp64, fp32, fp16, integer] = values.map(|value| {
            let old = value.share.value().is_some() && value.stamp_us <= before.stamp_us;
            if old {
                Reading::Lost(LossReason::Failed)
            } else {
                value.share
            }
        });
        Reading::Value(Activity {
            interval_ns: self.pace_ns.map_or(interval_ns, |pace| interval_ns.min(pace)),
            sm,
            tensor_any,
            dfma,
            hmma,
            imma,
            dram,
            fp64,
            fp32,
            fp16,
            integer,
        })
    }
}

/// There is a value, but no new one whose interval is known.
const LATER: Reading<Activity> = Reading::Lost(LossReason::Failed);

/// Why no field has a value: that one was lost, else that none is offered.
fn nothing(values: &[Value; 10]) -> Reading<Activity> {
    let lost = values.iter().find_map(|value| match value.share {
        Reading::Lost(why) => Some(Reading::Lost(why)),
        Reading::Value(_) | Reading::Unsupported => None,
    });
    lost.unwrap_or(Reading::Unsupported)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    fn values(stamp_ms: i64, ratio: f64) -> [Value; 10] {
        let mut all = [Value {
            stamp_us: stamp_ms * 1_000,
            share: share(ratio),
        }; 10];
        all[9] = Value::NONE;
        all
    }

    fn push(stream: &mut Stream, stamp_ms: i64, at_ms: u64) -> Option<u64> {
        let told = stream.push(&values(stamp_ms, 0.5), BootNanos(at_ms * MS));
        told.value().map(|a| {
            assert_eq!(
                (a.hmma, a.integer),
                (Reading::Value(Ppm(500_000)), Reading::Unsupported)
            );
            a.interval_ns / MS
        })
    }

    #[test]
    fn a_value_speaks_for_the_time_since_the_one_before_and_once() {
        let mut stream = Stream::default();
        assert_eq!(push(&mut stream, 50_000, 100), None, "of unknown age");
        assert_eq!(
            push(&mut stream, 51_000, 1_100),
            None,
            "how often they come is known now"
        );
        assert_eq!(push(&mut stream, 52_000, 2_100), Some(1_000));
        assert_eq!(push(&mut stream, 52_000, 3_100), None, "the same again");
        assert_eq!(push(&mut stream, 54_000, 4_100), Some(2_000));
    }

    #[test]
    fn a_value_of_an_engine_that_hurries_speaks_for_one_update() {
        let mut stream = Stream::default();
        assert_eq!(stream.pace(5_000, 105_000), Some(100 * MS));
        for (stamp, at) in [(0, 0), (1_000, 1_000)] {
            push(&mut stream, stamp, at);
        }
        assert_eq!(push(&mut stream, 2_000, 2_000), Some(100));
        // One that is read in time, the same value twice, a clock that was set back.
        for (before, after) in [(0, 1_000_000), (7, 7), (9, 7)] {
            assert_eq!(stream.pace(before, after), None);
        }
        assert_eq!(push(&mut stream, 3_000, 3_000), Some(1_000));
    }

    #[test]
    fn a_clock_that_is_set_invents_no_time() {
        let mut stream = Stream::default();
        for (stamp, at) in [(0, 0), (1_000, 1_000)] {
            push(&mut stream, stamp, at);
        }
        assert_eq!(push(&mut stream, 3_602_000, 2_000), Some(1_000), "set forward");
        assert_eq!(push(&mut stream, 2_000, 3_000), None, "set back");
        assert_eq!(push(&mut stream, 3_000, 4_000), None);
        assert_eq!(push(&mut stream, 4_000, 5_000), Some(1_000));
    }

    #[test]
    fn after_a_stale_value_the_next_does_not_speak_for_the_time_in_between() {
        let mut stream = Stream::default();
        for (stamp, at) in [(0, 0), (1_000, 1_000), (2_000, 2_000)] {
            push(&mut stream, stamp, at);
        }
        assert_eq!(push(&mut stream, 2_000, 8_000), None);
        assert_eq!(push(&mut stream, 9_000, 9_000), None);
        assert_eq!(push(&mut stream, 10_000, 10_000), Some(1_000));
        // Nor where nobody looked meanwhile.
        assert_eq!(push(&mut stream, 16_000, 16_000), None);
    }

    #[test]
    fn an_engine_that_updates_twice_a_minute_is_not_stale_in_between() {
        let mut stream = Stream::default();
        let mut told = Vec::new();
        for second in 0..200u64 {
            let stamp = i64::try_from(second / 30 * 30_000).unwrap();
            told.extend(push(&mut stream, stamp, second * 1_000));
        }
        assert_eq!(told, [30_000; 5]);
    }

    #[test]
    fn what_nobody_watches_is_unsupported_and_what_was_refused_is_lost() {
        let mut stream = Stream::default();
        let mut none = [Value::NONE; 10];
        assert_eq!(stream.push(&none, BootNanos(0)), Reading::Unsupported);
        none[3].share = Reading::Lost(LossReason::NoPermission);
        assert_eq!(
            stream.push(&none, BootNanos(1)),
            Reading::Lost(LossReason::NoPermission)
        );
    }

    #[test]
    fn a_field_that_stands_still_beside_others_is_lost() {
        let mut stream = Stream::default();
        for at in 0..3u64 {
            stream.push(
                &values(i64::try_from(at).unwrap() * 1_000, 0.5),
                BootNanos(at * SECOND),
            );
        }
        let mut mixed = values(3_000, 0.5);
        mixed[0].stamp_us = 2_000_000;
        let told = stream.push(&mixed, BootNanos(3 * SECOND));
        let told = told.value().unwrap();
        assert_eq!(told.sm, Reading::Lost(LossReason::Failed));
        assert_eq!(told.tensor_any, Reading::Value(Ppm(500_000)));
    }

    #[test]
    fn only_a_ratio_is_a_share() {
        assert_eq!(share(0.0), Reading::Value(Ppm(0)));
        assert_eq!(share(0.582_5), Reading::Value(Ppm(582_500)));
        assert_eq!(share(1.004), Reading::Value(Ppm::ONE));
        for wrong in [f64::NAN, f64::INFINITY, -0.1, 7.5] {
            assert_eq!(share(wrong), Reading::Lost(LossReason::Malformed));
        }
    }

    proptest! {
        #[test]
        fn no_more_time_is_told_than_passed(
            steps in prop::collection::vec((0u64..9_000, any::<i64>()), 1..60),
        ) {
            let mut stream = Stream::default();
            let (mut now, mut told) = (0, 0u64);
            for (passed, stamp) in steps {
                now += passed;
                let all = [Value { stamp_us: stamp, share: share(0.5) }; 10];
                if let Reading::Value(a) = stream.push(&all, BootNanos(now * MS)) {
                    told += a.interval_ns;
                }
            }
            prop_assert!(told <= now * MS);
        }
    }
}
