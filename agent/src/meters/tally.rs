//! Energy from readings of power.
//!
//! Decides: which stretch between two readings is covered, and what it is worth. A stretch counts in the report in which
//! it ends, so that a chain of reports counts each once; a gap is not filled in. Reads no clock.

use weighbridge::telemetry::{MeterKind, PowerMeter};
use weighbridge::time::{BootNanos, SECOND};

/// Nanoseconds in a millisecond.
const MILLISECOND: u64 = 1_000_000;
/// Twice a millijoule, in milliwatts times nanoseconds: a trapezoid is held doubled, so that halves are exact.
const DOUBLE_MILLIJOULE: u128 = 2_000_000_000;

/// Sums the readings of one meter. Holds one reading, whatever the length of the run.
#[derive(Clone, Debug)]
pub struct Tally {
    kind: MeterKind,
    longest_ns: u64,
    last: Option<(BootNanos, u64)>,
    doubled: u128,
    covered_ns: u64,
    readings: u32,
    lowest_mw: Option<u64>,
    highest_mw: u64,
}

impl Tally {
    /// Sums what a meter says that is read every `every_s` seconds; a stretch longer than one and a half times that is a gap.
    #[must_use]
    pub fn new(kind: MeterKind, every_s: u32) -> Self {
        let every = u64::from(every_s).saturating_mul(SECOND);
        Self {
            kind,
            longest_ns: every.saturating_add(every.div_euclid(2)),
            last: None,
            doubled: 0,
            covered_ns: 0,
            readings: 0,
            lowest_mw: None,
            highest_mw: 0,
        }
    }

    /// Takes a reading of `mw` milliwatts at `at`. One that is not later than the last says nothing new.
    pub fn push(&mut self, at: BootNanos, mw: u64) {
        if let Some((then, before)) = self.last {
            if at <= then {
                return;
            }
            let length = at.since(then);
            if length <= self.longest_ns {
                let both = u128::from(before).saturating_add(mw.into());
                self.doubled = self.doubled.saturating_add(both.saturating_mul(length.into()));
                self.covered_ns = self.covered_ns.saturating_add(length);
            }
        }
        self.last = Some((at, mw));
        self.readings = self.readings.saturating_add(1);
        self.lowest_mw = Some(self.lowest_mw.map_or(mw, |lowest| lowest.min(mw)));
        self.highest_mw = self.highest_mw.max(mw);
    }

    /// What was read since the last report. What is less than a unit is left to the next.
    pub fn finish(&mut self) -> PowerMeter {
        let energy = self.doubled.checked_div(DOUBLE_MILLIJOULE).unwrap_or(0);
        let told = PowerMeter {
            kind: self.kind,
            energy_mj: u64::try_from(energy).unwrap_or(u64::MAX),
            covered_ms: u32::try_from(self.covered_ns.div_euclid(MILLISECOND)).unwrap_or(u32::MAX),
            readings: self.readings,
            lowest_mw: self.lowest_mw.unwrap_or(0),
            highest_mw: self.highest_mw,
        };
        self.doubled = self.doubled.checked_rem(DOUBLE_MILLIJOULE).unwrap_or(0);
        self.covered_ns = self.covered_ns.rem_euclid(MILLISECOND);
        self.readings = 0;
        self.lowest_mw = None;
        self.highest_mw = 0;
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: u64) -> BootNanos {
        BootNanos(ms * MILLISECOND)
    }

    #[test]
    fn energy_is_the_integral_of_the_readings_and_a_gap_is_not_filled() {
        let mut tally = Tally::new(MeterKind::Bmc, 10);
        for (ms, watts) in [
            (0, 1_000),
            (10_000, 2_000),
            (20_500, 2_000),
            (60_000, 9_000),
            (65_000, 9_000),
        ] {
            tally.push(at(ms), watts * 1_000);
        }
        // Again at the same time, and of the past.
        tally.push(at(65_000), 1);
        tally.push(at(3), 1);
        let told = tally.finish();
        assert_eq!(told.energy_mj, 15_000_000 + 21_000_000 + 45_000_000);
        assert_eq!((told.covered_ms, told.readings), (25_500, 5));
        assert_eq!((told.lowest_mw, told.highest_mw), (1_000_000, 9_000_000));
        let silent = tally.finish();
        assert_eq!((silent.readings, silent.covered_ms, silent.energy_mj), (0, 0, 0));
        tally.push(at(70_000), 0);
        assert_eq!(tally.finish().energy_mj, 22_500_000);
    }

    proptest! {
        #[test]
        fn however_reports_are_cut_the_sum_is_the_same(
            readings in prop::collection::vec((1u64..20_000, 0u64..12_000_000, any::<bool>()), 1..100),
        ) {
            let mut whole = Tally::new(MeterKind::Pdu, 10);
            let mut cut = whole.clone();
            let (mut ms, mut energy, mut covered) = (0, 0, 0);
            for (dt, mw, ends) in readings {
                ms += dt;
                whole.push(at(ms), mw);
                cut.push(at(ms), mw);
                if ends {
                    let told = cut.finish();
                    energy += told.energy_mj;
                    covered += told.covered_ms;
                }
            }
            let (rest, all) = (cut.finish(), whole.finish());
            prop_assert_eq!(energy + rest.energy_mj, all.energy_mj);
            prop_assert_eq!(covered + rest.covered_ms, all.covered_ms);
        }
    }
}
