//! Meters outside, and the energy of all devices.
//!
//! A host draws what its devices draw, and more. So meters that read less than the devices say they took do not fit; how much more they
//! read says nothing. Takes nothing for sure that is not: readings of a meter and of a device begin and end at other instants, a meter is
//! read seldom, and devices that were not followed all the time count for nothing.

use super::bounds::Physics;
use super::{ppm, scale};
use crate::telemetry::{MeterKind, PowerMeter};

/// What a device took in a report's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// By its own counter, in millijoules.
    pub energy_mj: u64,
    /// For how long it was followed, in milliseconds.
    pub covered_ms: u64,
    /// Its highest power, in milliwatts.
    pub highest_mw: u64,
}

/// By how much the devices of a report of `length_ms` milliseconds took more than any kind of meter read, as a share of what they took.
///
/// Meters of one kind are taken together: outlets may feed one host side by side. Where they overlap, that is to the host's favour.
#[must_use]
pub fn check(meters: &[PowerMeter], devices: &[Drawn], length_ms: u64, physics: &Physics) -> Option<u32> {
    let whole = |covered: u64| covered >= scale(length_ms, physics.meter_covered);
    let devices: Vec<&Drawn> = devices.iter().filter(|d| whole(d.covered_ms)).collect();
    let sum = |of: fn(&Drawn) -> u64| devices.iter().fold(0u64, |sum, d| sum.saturating_add(of(d)));
    let (energy, highest) = (sum(|d| d.energy_mj), sum(|d| d.highest_mw));
    let unfollowed = |covered: u64| length_ms.saturating_sub(covered);
    let loose = devices.iter().fold(0u64, |sum, d| {
        sum.saturating_add(millijoules(d.highest_mw, unfollowed(d.covered_ms)))
    });
    let below = |kind: &MeterKind| {
        let of_kind: Vec<&PowerMeter> = meters.iter().filter(|m| m.kind == *kind).collect();
        let told = !of_kind.is_empty() && of_kind.iter().all(|m| whole(m.covered_ms.into()));
        if !told {
            return None;
        }
        let most = of_kind.iter().fold(loose, |sum, meter| {
            let covered = u64::from(meter.covered_ms);
            // Readings that are far between scatter by the root of their number; and the first stretch reaches back over the beginning,
            // as the last ends before the end.
            let range = meter.highest_mw.saturating_sub(meter.lowest_mw);
            let root = u64::from(meter.readings.isqrt().max(1));
            let scatter = millijoules(range, covered).checked_div(root).unwrap_or(0);
            let stretch = covered.checked_div(meter.readings.into()).unwrap_or(length_ms);
            let apart = unfollowed(covered).saturating_add(stretch);
            sum.saturating_add(meter.energy_mj)
                .saturating_add(scatter)
                .saturating_add(millijoules(highest, apart))
        });
        let short = energy.saturating_sub(most);
        (most < scale(energy, physics.meter_least)).then(|| ppm(short, energy))
    };
    MeterKind::ALL.iter().filter_map(below).max()
}

fn millijoules(mw: u64, ms: u64) -> u64 {
    mw.saturating_mul(ms).checked_div(1_000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH_MS: u64 = 300_000;

    /// A meter that read this many watts every ten seconds.
    fn meter(kind: MeterKind, watts: u64) -> PowerMeter {
        PowerMeter {
            kind,
            energy_mj: watts * 290_000,
            covered_ms: 290_000,
            readings: 30,
            lowest_mw: watts * 1_000,
            highest_mw: watts * 1_000,
        }
    }

    /// Eight devices of 500 watts each.
    fn devices() -> Vec<Drawn> {
        let device = Drawn {
            energy_mj: 500 * LENGTH_MS,
            covered_ms: LENGTH_MS,
            highest_mw: 510_000,
        };
        vec![device; 8]
    }

    fn held(meters: &[PowerMeter], devices: &[Drawn]) -> Option<u32> {
        check(meters, devices, LENGTH_MS, &Physics::embedded().unwrap())
    }

    #[test]
    fn a_host_draws_no_less_than_its_devices_and_may_draw_any_more() {
        use MeterKind::{Bmc, Pdu};
        assert_eq!(held(&[], &devices()), None);
        for watts in [4_000, 6_000, 40_000] {
            assert_eq!(held(&[meter(Bmc, watts)], &devices()), None);
        }
        let half = held(&[meter(Bmc, 2_000)], &devices()).unwrap();
        assert!((440_000..=500_000).contains(&half), "{half}");
        // Two outlets feed it side by side; a BMC that agrees does not mend an outlet that does not.
        let outlets = [meter(Pdu, 2_100), meter(Pdu, 2_100)];
        assert_eq!(held(&outlets, &devices()), None);
        assert!(held(&[meter(Bmc, 5_000), meter(Pdu, 2_100)], &devices()).is_some());
    }

    #[test]
    fn what_was_not_followed_is_held_against_nobody() {
        let low = meter(MeterKind::Bmc, 2_000);
        let seldom = PowerMeter { readings: 1, ..low };
        let late = PowerMeter {
            covered_ms: 200_000,
            ..low
        };
        let swings = PowerMeter {
            highest_mw: 12_500_000,
            ..low
        };
        let silent = PowerMeter {
            readings: 0,
            covered_ms: 0,
            energy_mj: 0,
            ..low
        };
        for meter in [seldom, late, swings, silent] {
            assert_eq!(held(std::slice::from_ref(&meter), &devices()), None, "{meter:?}");
        }
        let mut few = devices();
        for device in &mut few[4..] {
            device.covered_ms = 100_000;
        }
        assert_eq!(held(&[low], &few), None);
        assert_eq!(held(&[meter(MeterKind::Bmc, 0)], &[]), None);
    }

    #[test]
    fn figures_of_any_size_are_held_against_each_other_without_a_fault() {
        let most = PowerMeter {
            kind: MeterKind::Bmc,
            energy_mj: u64::MAX,
            covered_ms: u32::MAX,
            readings: u32::MAX,
            lowest_mw: u64::MAX,
            highest_mw: u64::MAX,
        };
        let device = Drawn {
            energy_mj: u64::MAX,
            covered_ms: u64::MAX,
            highest_mw: u64::MAX,
        };
        let physics = Physics::embedded().unwrap();
        for length in [0, 1, u64::MAX] {
            let size = check(&[most.clone(), most.clone()], &[device, device], length, &physics);
            assert!(size.is_none_or(|s| s <= 1_000_000), "{size:?}");
        }
    }
}
