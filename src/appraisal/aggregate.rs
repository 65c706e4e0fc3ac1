//! The compute of a group of devices in a period.
//!
//! Decides: between which bounds it lies. Time of the period that no report speaks of counts at the device's peak in the upper bounds and as nothing
//! in the lower one, from the first report that ever named the device on. A peak is the one that the node's own reports used. Does not establish
//! which devices there are: a device that no report of the period names is not in it, and no verdict rests on it.

use super::{DeviceSums, DeviceTotal};
use crate::time::UnixSeconds;
use crate::unit::{MicroTppHours, Ppm};

/// The compute of a group of devices in a period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Aggregate {
    /// Devices that reports of the period name.
    pub devices: u64,
    /// Those of them whose peak is not known, so that nothing bounds them from above.
    pub unknown: u64,
    /// What the reports say.
    pub sums: DeviceSums,
    /// Device time of the period, in milliseconds.
    pub elapsed_ms: u64,
    /// The part of it that no report speaks of, in milliseconds.
    pub silent_ms: u64,
    /// What may have been computed in that part.
    pub unreported: MicroTppHours,
    /// What could have been computed in the whole period.
    pub capacity: MicroTppHours,
}

impl Aggregate {
    /// Adds one device over a period. It is added once, with all that nodes say of it, one total for each node.
    pub fn add(&mut self, told: &mut [DeviceTotal], from: UnixSeconds, until: UnixSeconds) {
        let Some((device, twice_ms)) = DeviceTotal::of_nodes(told, from, until) else {
            return;
        };
        let sums = &device.sums;
        let elapsed_ms = milliseconds(until.since(from.max(device.since)));
        // However many nodes speak of it, a device has no more time than there is.
        let told_ms = sums.expected_ms.saturating_sub(sums.unbounded_ms);
        let silent_ms = elapsed_ms.saturating_sub(sums.expected_ms.saturating_sub(twice_ms));
        let peak = |ms: u64| {
            let scaled = sums.unconditional.0.saturating_mul(u128::from(ms));
            (told_ms > 0).then(|| MicroTppHours(scaled.div_ceil(u128::from(told_ms.max(1)))))
        };
        self.devices = self.devices.saturating_add(1);
        self.sums.add(sums);
        self.elapsed_ms = self.elapsed_ms.saturating_add(elapsed_ms);
        self.silent_ms = self.silent_ms.saturating_add(silent_ms);
        match (
            peak(silent_ms.saturating_add(sums.unbounded_ms)),
            peak(elapsed_ms),
        ) {
            (Some(silent), Some(all)) if sums.unconditional > MicroTppHours(0) => {
                self.unreported = self.unreported.plus(silent);
                self.capacity = self.capacity.plus(all);
            }
            _ => self.unknown = self.unknown.saturating_add(1),
        }
    }

    /// What the truth is not above, if the drivers tell the truth; `None` where a peak is not known.
    #[must_use]
    pub fn upper(&self) -> Option<MicroTppHours> {
        let upper = self.sums.upper.plus(self.unreported).max(self.sums.lower);
        (self.unknown == 0).then_some(upper)
    }

    /// What the truth is not above, whatever the drivers tell; `None` where a peak is not known.
    #[must_use]
    pub fn unconditional(&self) -> Option<MicroTppHours> {
        (self.unknown == 0).then(|| self.sums.unconditional.plus(self.unreported))
    }

    /// The share of what the devices could have computed, rounded outwards; `None` where that is not known.
    #[must_use]
    pub fn share(&self) -> Option<(Ppm, Ppm)> {
        let upper = self.upper().filter(|_| self.capacity > MicroTppHours(0))?;
        Some(self.capacity.shares(self.sums.lower, upper))
    }

    /// The share of device time that samples cover; `None` where there was none.
    #[must_use]
    pub fn coverage(&self) -> Option<Ppm> {
        (self.elapsed_ms > 0).then(|| Ppm::of(self.sums.covered_ms.min(self.elapsed_ms), self.elapsed_ms))
    }
}

fn milliseconds(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Lab, gpu, hours};
    use super::super::{NodeDay, NodeRun};
    use super::*;
    use crate::id::DeviceUuid;
    use crate::time::DAY_SECONDS;
    use proptest::prelude::*;

    const START: UnixSeconds = UnixSeconds(1_790_035_200);

    #[test]
    fn silence_counts_at_peak_above_and_as_nothing_below() {
        let mut lab = Lab::new(1, START);
        lab.run(12, &[gpu(1), gpu(2)]);
        let mut run = NodeRun::new();
        for day in lab.record.days.values() {
            run.add(day);
        }
        let mut hour = Aggregate::default();
        let mut two = Aggregate::default();
        for device in run.after(None) {
            hour.add(&mut [device], START, START.plus(3_600));
            two.add(&mut [device], START, START.plus(7_200));
        }
        // Each report of each device: 10 to 20 TPP-hours of 1,320.
        assert_eq!((hour.devices, hour.silent_ms), (2, 0));
        assert_eq!((hour.sums.lower, hour.upper()), (hours(240), Some(hours(480))));
        assert_eq!(hour.share(), Some((Ppm(7_575), Ppm(15_152))));
        assert_eq!(hour.coverage(), Some(Ppm::ONE));
        assert_eq!(two.sums.lower, hours(240));
        assert_eq!(two.upper(), Some(hours(480 + 2 * 12 * 1_320)));
        assert_eq!(two.unconditional(), Some(two.capacity));
        assert_eq!(two.coverage(), Some(Ppm(500_000)));
        assert_eq!(two.sums.source().as_deref(), Some("counters"));
    }

    #[test]
    fn a_device_of_an_unknown_model_leaves_no_bound_above() {
        let mut unknown = gpu(2);
        unknown.delivered.compute = None;
        let mut lab = Lab::new(1, START);
        lab.run(1, &[gpu(1), unknown]);
        let mut run = NodeRun::new();
        run.add(lab.record.days.values().next().unwrap());
        let mut both = Aggregate::default();
        for device in run.after(None) {
            both.add(&mut [device], START, START.plus(300));
        }
        assert_eq!((both.unknown, both.upper(), both.share()), (1, None, None));
        assert_eq!(both.sums.lower, hours(10));
    }

    #[test]
    fn what_two_nodes_say_of_one_hour_counts_once_below_and_hides_no_silence_above() {
        let hour = |from: i64, amount: u128| DeviceTotal {
            uuid: DeviceUuid([1; 16]),
            since: START.plus(from),
            until: START.plus(from + 3_600),
            sums: DeviceSums {
                reports: 12,
                expected_ms: 3_600_000,
                covered_ms: 3_600_000,
                lower: hours(amount),
                upper: hours(amount),
                unconditional: hours(1_000),
                ..DeviceSums::default()
            },
        };
        let of = |mut told: Vec<DeviceTotal>| {
            let mut all = Aggregate::default();
            all.add(&mut told, START, START.plus(7_200));
            (all.silent_ms, all.sums.lower, all.upper(), all.capacity)
        };
        // Two agents beside one device for an hour, and none for the next.
        let (silent, lower, upper, capacity) = of(vec![hour(0, 600), hour(0, 500)]);
        assert_eq!((silent, lower), (3_600_000, hours(600)));
        assert_eq!((upper, capacity), (Some(hours(2_100)), hours(2_000)));
        // One that moved from node to node, by clocks that differ by a tenth of a second or not.
        assert_eq!(of(vec![hour(0, 600), hour(3_600, 500)]).0, 0);
        let (silent, lower, ..) = of(vec![hour(3_590, 600), hour(0, 500)]);
        assert_eq!(silent, 10_000);
        assert!(lower < hours(1_100) && lower > hours(1_097), "{lower}");
    }

    fn day_of(number: i64, amounts: &[(u8, u64)]) -> NodeDay {
        let mut day = NodeDay::new(number);
        for (device, amount) in amounts {
            let mut claims = gpu(*device % 5);
            claims.delivered.covered_ms = u32::try_from(*amount % 300_000).unwrap();
            if let Some(compute) = &mut claims.delivered.compute {
                compute.lower = MicroTppHours(u128::from(*amount));
                compute.upper = MicroTppHours(u128::from(*amount) * 2);
            }
            let span = crate::appraisal::Span {
                from: UnixSeconds(number * DAY_SECONDS),
                to: UnixSeconds(number * DAY_SECONDS + 300),
                first_received: UnixSeconds(0),
                last_received: UnixSeconds(0),
                lag: 0,
                first_report: crate::id::Digest([0; 32]),
                last_report: crate::id::Digest([0; 32]),
            };
            day.absorb(&claims, &span, 300_000);
        }
        day
    }

    proptest! {
        #[test]
        fn reports_in_any_order_give_the_same_day(
            amounts in proptest::collection::vec((any::<u8>(), 0u64..1_000_000_000), 0..40),
            seed in any::<u64>(),
        ) {
            let mut shuffled = amounts.clone();
            let mut state = seed | 1;
            for i in (1..shuffled.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                shuffled.swap(i, usize::try_from(state >> 33).unwrap() % (i + 1));
            }
            prop_assert_eq!(day_of(20_000, &amounts), day_of(20_000, &shuffled));
        }

        #[test]
        fn the_difference_of_two_runs_is_the_sum_of_the_days_between(
            days in proptest::collection::vec(
                proptest::collection::vec((any::<u8>(), 0u64..1_000_000_000), 0..8), 1..30),
            from in 0usize..30,
            length in 0usize..30,
        ) {
            let days: Vec<NodeDay> = (20_000..).zip(&days).map(|(n, d)| day_of(n, d)).collect();
            let (from, to) = (from.min(days.len()), (from + length).min(days.len()));
            let upto = |n: usize| {
                let mut run = NodeRun::new();
                days.iter().take(n).for_each(|d| run.add(d));
                run
            };
            let (earlier, later) = (upto(from), upto(to));
            let found: Vec<(DeviceUuid, DeviceSums)> =
                later.after(Some(&earlier)).map(|d| (d.uuid, d.sums)).collect();
            let mut known: std::collections::BTreeMap<DeviceUuid, DeviceSums> = Default::default();
            for device in days.get(from..to).unwrap_or(&[]).iter().flat_map(|d| &d.devices) {
                let entry = known.entry(device.uuid).or_default();
                *entry = entry.plus(&device.sums);
            }
            prop_assert_eq!(found, known.into_iter().collect::<Vec<_>>());
            for (_, sums) in known_bounds(&later) {
                prop_assert!(sums.lower <= sums.upper);
            }
        }
    }

    fn known_bounds(run: &NodeRun) -> impl Iterator<Item = (DeviceUuid, DeviceSums)> + '_ {
        run.devices.iter().map(|d| (d.uuid, d.sums))
    }
}
