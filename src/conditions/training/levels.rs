//! Levels: how far what devices did goes towards training, over days and devices.
//!
//! Decides: which is the highest level that the busy time of some devices reached, on how many of them, and how that is said. Rests on what the
//! reports tell of runs. Does not establish whose work it was; and time of which no level is told reaches none.

use super::super::finding::count;
use crate::appraisal::DeviceSums;
use crate::id::DeviceUuid;
use crate::unit::Grouped;
use crate::workload::Level;
use std::collections::BTreeMap;

/// The highest level of a device's busy time; none where no level was told.
pub(in crate::conditions) fn level_of(sums: &DeviceSums) -> Option<Level> {
    let times = [
        (sums.established_ms, Level::Established),
        (sums.candidate_ms, Level::Candidate),
        (sums.weak_ms, Level::Weak),
        (sums.ruled_out_ms, Level::RuledOut),
    ];
    times.iter().find(|(ms, _)| *ms > 0).map(|(_, level)| *level)
}

/// Devices, each with the highest level that it reached.
#[derive(Clone, Debug, Default)]
pub(in crate::conditions) struct Reached(BTreeMap<DeviceUuid, Level>);

impl Reached {
    /// Takes in what a device reached on a day.
    pub(in crate::conditions) fn take(&mut self, device: DeviceUuid, level: Option<Level>) {
        if let Some(level) = level {
            let known = self.0.entry(device).or_insert(level);
            *known = level.max(*known);
        }
    }

    /// Takes in other devices.
    pub(in crate::conditions) fn join(&mut self, other: &Self) {
        for (device, level) in &other.0 {
            self.take(*device, Some(*level));
        }
    }

    /// The highest level of any.
    pub(in crate::conditions) fn highest(&self) -> Option<Level> {
        self.0.values().max().copied()
    }

    /// How many reached it, as the end of a sentence; nothing where no level was told.
    pub(in crate::conditions) fn in_words(&self) -> String {
        let Some(highest) = self.highest() else {
            return String::new();
        };
        let at_it = self.0.values().filter(|level| **level == highest).count();
        format!("; the highest level is {highest}, on {}", count(at_it, "device"))
    }
}

/// Busy device time by its levels, in words, with the time of which no level is told: `3.0 device-hours are established as training (L3), …`.
pub(super) fn times_in_words(sums: &DeviceSums, untold_ms: u64) -> String {
    let times = [
        (sums.established_ms, "are established as training (L3)"),
        (sums.candidate_ms, "may be training (L2)"),
        (sums.weak_ms, "are likelier something else (L1)"),
        (sums.ruled_out_ms, "are ruled out as training (L0)"),
        (untold_ms, "have no level told"),
    ];
    let mut words = times.iter().filter(|(ms, _)| *ms > 0);
    let Some((ms, what)) = words.next() else {
        return "no device was busy".to_owned();
    };
    let first = format!("{} device-hours {what}", hours(*ms));
    words.fold(first, |all, (ms, what)| format!("{all}, {} {what}", hours(*ms)))
}

/// Hours with one decimal, to the nearest tenth.
fn hours(ms: u64) -> String {
    let tenths = ms.saturating_add(180_000).div_euclid(360_000);
    if tenths == 0 {
        return "less than 0.1".to_owned();
    }
    let (whole, tenth) = (tenths.div_euclid(10), tenths.rem_euclid(10));
    format!("{}.{tenth}", Grouped(whole.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_level_counts_the_devices_that_reached_it() {
        let mut reached = Reached::default();
        assert_eq!((reached.highest(), reached.in_words()), (None, String::new()));
        let device = |n| DeviceUuid([n; 16]);
        reached.take(device(1), Some(Level::RuledOut));
        reached.take(device(1), Some(Level::Candidate));
        reached.take(device(2), Some(Level::Weak));
        reached.take(device(3), None);
        let mut other = Reached::default();
        other.take(device(2), Some(Level::Candidate));
        reached.join(&other);
        assert_eq!(reached.in_words(), "; the highest level is L2, on 2 devices");
    }

    #[test]
    fn hours_are_told_by_level() {
        let sums = DeviceSums {
            busy_ms: 40_000_000,
            established_ms: 10_800_000,
            candidate_ms: 60_000,
            ruled_out_ms: 3_600_000_000,
            ..DeviceSums::default()
        };
        assert_eq!(
            times_in_words(&sums, 1_800_000),
            "3.0 device-hours are established as training (L3), less than 0.1 may be training (L2), 1,000.0 are ruled out as \
             training (L0), 0.5 have no level told"
        );
        assert_eq!(times_in_words(&DeviceSums::default(), 0), "no device was busy");
    }
}
