//! What looks at the clocks between two regular ticks add up to.
//!
//! Decides: whether the looks of a second may stand for it. They may not where one was refused, or where for longer than three parts of a
//! second nobody looked: one part for each of two neighbours, and one for being late. Trusts the driver for every clock. Does not
//! establish what a clock was between two looks; `docs/accounting.md` says how much can hide there.

use super::schedule::Looks;
use crate::devices::{Call, DeviceSource};
use weighbridge::telemetry::{ClockLooks, LossReason, Reading, Tick};
use weighbridge::time::BootNanos;

/// Looks since the last regular tick.
#[derive(Debug)]
pub(super) struct Clocks {
    /// The longest time without a look or a tick, in nanoseconds; `None` where nobody looks.
    longest_ns: Option<u64>,
    /// The last look or regular tick.
    last: Option<BootNanos>,
    /// Whether no time between two of them was longer.
    whole: bool,
    devices: Vec<Seen>,
    /// Where a source puts its readings.
    readings: Vec<Reading<u32>>,
}

/// What was seen of one device.
#[derive(Clone, Debug)]
struct Seen {
    sum: u64,
    count: u32,
    lowest: u32,
    highest: u32,
    /// Why a look gave no clock.
    refused: Option<Reading<ClockLooks>>,
}

impl Seen {
    const NOTHING: Self = Self {
        sum: 0,
        count: 0,
        lowest: u32::MAX,
        highest: 0,
        refused: None,
    };

    fn add(&mut self, clock: &Reading<u32>) {
        match clock {
            Reading::Value(mhz) => {
                self.sum = self.sum.saturating_add(u64::from(*mhz));
                self.count = self.count.saturating_add(1);
                self.lowest = self.lowest.min(*mhz);
                self.highest = self.highest.max(*mhz);
            }
            Reading::Unsupported => {
                self.refused.get_or_insert(Reading::Unsupported);
            }
            Reading::Lost(why) => self.refused = Some(Reading::Lost(*why)),
        }
    }

    fn told(&self) -> Reading<ClockLooks> {
        const LOST: Reading<ClockLooks> = Reading::Lost(LossReason::Failed);
        let half = u64::from(self.count).div_euclid(2);
        let mean = self.sum.saturating_add(half).checked_div(self.count.into());
        match (mean.and_then(|m| u32::try_from(m).ok()), &self.refused) {
            (Some(mean_mhz), None) => Reading::Value(ClockLooks {
                mean_mhz,
                lowest_mhz: self.lowest,
                highest_mhz: self.highest,
            }),
            // A device that tells it now and then has lost it.
            (Some(_), Some(Reading::Unsupported)) | (None, None) => LOST,
            (_, Some(why)) => why.clone(),
        }
    }
}

impl Clocks {
    pub(super) fn new(looks: Looks) -> Self {
        Self {
            longest_ns: looks.part_ns().map(|ns| ns.saturating_mul(3)),
            last: None,
            whole: false,
            devices: Vec::new(),
            readings: Vec::new(),
        }
    }

    /// Looks once, at `now`.
    pub(super) fn look<S: DeviceSource>(
        &mut self,
        source: &mut S,
        now: BootNanos,
        calling: &mut dyn FnMut(Call),
    ) {
        self.readings.clear();
        source.look_at_clocks(&mut self.readings, calling);
        self.add(now);
    }

    /// Adds what was told at `now`.
    fn add(&mut self, now: BootNanos) {
        self.pass(now);
        if self.devices.len() != self.readings.len() {
            // Devices that came or went in between have no whole second.
            self.whole &= self.devices.is_empty();
            self.devices.resize(self.readings.len(), Seen::NOTHING);
        }
        for (seen, clock) in self.devices.iter_mut().zip(&self.readings) {
            seen.add(clock);
        }
    }

    /// Puts what was seen since the last regular tick into this one, and begins anew.
    pub(super) fn close(&mut self, tick: &mut Tick) {
        if self.longest_ns.is_none() {
            return;
        }
        self.pass(tick.at);
        for (place, sample) in tick.devices.iter_mut().enumerate() {
            sample.clock_looks = self.told(place);
        }
        self.begin();
    }

    /// What was seen of the device at this place.
    fn told(&self, place: usize) -> Reading<ClockLooks> {
        match self.devices.get(place) {
            Some(seen) if self.whole => seen.told(),
            _ => Reading::Lost(LossReason::Failed),
        }
    }

    fn begin(&mut self) {
        self.devices.clear();
        self.whole = true;
    }

    /// Forgets what was seen: devices may have changed places.
    pub(super) fn forget(&mut self) {
        self.devices.clear();
        self.last = None;
        self.whole = false;
    }

    fn pass(&mut self, now: BootNanos) {
        let since = self.last.replace(now).map(|last| now.since(last));
        self.whole &= since.zip(self.longest_ns).is_some_and(|(ns, most)| ns <= most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weighbridge::time::SECOND;

    const PART: u64 = SECOND / 8;
    const LOST: Reading<ClockLooks> = Reading::Lost(LossReason::Failed);

    /// What a tick at `at` tells of each device.
    fn close(clocks: &mut Clocks, at: u64, devices: usize) -> Vec<Reading<ClockLooks>> {
        clocks.pass(BootNanos(at));
        let told = (0..devices).map(|place| clocks.told(place)).collect();
        clocks.begin();
        told
    }

    /// Looks in each part of the second that begins at `from`, but for those parts that are left out.
    fn second(clocks: &mut Clocks, from: u64, left_out: &[u64], told: impl Fn(u64) -> Vec<Reading<u32>>) {
        for part in (0..8).filter(|part| !left_out.contains(part)) {
            clocks.readings = told(part);
            clocks.add(BootNanos(from + part * PART + PART / 2));
        }
    }

    fn steady(_: u64) -> Vec<Reading<u32>> {
        vec![Reading::Value(1_980)]
    }

    #[test]
    fn looks_tell_their_mean_and_extremes_from_the_second_tick_on() {
        let mut clocks = Clocks::new(Looks { parts: 8, seed: 0 });
        let swinging = |part: u64| vec![Reading::Value(if part == 3 { 345 } else { 1_980 })];
        second(&mut clocks, 0, &[], swinging);
        assert_eq!(
            close(&mut clocks, SECOND, 1),
            [LOST],
            "the second began without a tick"
        );
        second(&mut clocks, SECOND, &[], swinging);
        let told = ClockLooks {
            mean_mhz: 1_776,
            lowest_mhz: 345,
            highest_mhz: 1_980,
        };
        assert_eq!(close(&mut clocks, 2 * SECOND, 1), [Reading::Value(told)]);
    }

    #[test]
    fn a_second_without_a_look_for_three_parts_is_lost_and_one_that_is_late_is_not() {
        let mut clocks = Clocks::new(Looks { parts: 8, seed: 0 });
        close(&mut clocks, SECOND, 1);
        let kept = |clocks: &mut Clocks, nth: u64, left_out: &[u64]| {
            second(clocks, nth * SECOND, left_out, steady);
            close(clocks, (nth + 1) * SECOND, 1)[0].value().is_some()
        };
        assert!(kept(&mut clocks, 1, &[]));
        assert!(kept(&mut clocks, 2, &[4, 5]));
        assert!(!kept(&mut clocks, 3, &[3, 4, 5]));
        assert!(!kept(&mut clocks, 4, &[5, 6, 7]));
        assert!(!kept(&mut clocks, 5, &[0, 1, 2, 3, 4, 5, 6, 7]));
        assert!(kept(&mut clocks, 6, &[]), "one second is no other's");
    }

    #[test]
    fn a_look_that_was_refused_is_not_silently_one_less() {
        let mut clocks = Clocks::new(Looks { parts: 8, seed: 0 });
        close(&mut clocks, SECOND, 3);
        let gone = Reading::Lost(LossReason::DeviceLost);
        second(&mut clocks, SECOND, &[], |part| {
            let refused = if part == 2 { gone } else { Reading::Value(1_980) };
            let now_and_then = if part == 2 {
                Reading::Unsupported
            } else {
                Reading::Value(1_980)
            };
            vec![refused, Reading::Unsupported, now_and_then]
        });
        assert_eq!(
            close(&mut clocks, 2 * SECOND, 3),
            [Reading::Lost(LossReason::DeviceLost), Reading::Unsupported, LOST]
        );
    }

    #[test]
    fn devices_that_may_have_changed_places_have_no_second() {
        let mut clocks = Clocks::new(Looks { parts: 8, seed: 0 });
        close(&mut clocks, SECOND, 1);
        second(&mut clocks, SECOND, &[], steady);
        clocks.forget();
        assert_eq!(close(&mut clocks, 2 * SECOND, 1), [LOST]);
    }
}
