//! Levels: how far what devices did goes towards training, over days and devices.
//!
//! Decides: which is the highest level that the busy time of some devices reached, on how many of them, which share of that time was training, and how
//! that is said. Rests on what the reports tell of runs. Does not establish whose work it was; and time of which no level is told reaches none.

use super::super::finding::count;
use super::super::tenant::attribution::may_train;
use crate::appraisal::DeviceSums;
use crate::id::DeviceUuid;
use crate::unit::{Grouped, Ppm};
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

/// Busy device time, or what may have been, by what is known of it, in milliseconds. Each part of it counts once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    /// At L3.
    established: u64,
    /// At L2, and at L1, where compute does not rule training out.
    candidate: u64,
    weak: u64,
    /// At L0.
    ruled_out: u64,
    /// Ruled out by compute alone, whatever level was told of it.
    by_compute: u64,
    /// Of which no level is told, nor compute rules it out: agents that knew no runs, what nobody saw, and silence.
    untold: u64,
    /// The part of what is ruled out in which devices were surely busy.
    otherwise_busy: u64,
}

impl Times {
    /// Those of one device and day.
    pub(super) fn of_day(day: &DeviceSums) -> Self {
        let mut times = Self {
            established: day.established_ms,
            candidate: day.candidate_ms,
            weak: day.weak_ms,
            ruled_out: day.ruled_out_ms,
            by_compute: 0,
            untold: day.unlevelled_ms(),
            otherwise_busy: day.ruled_out_ms.saturating_sub(day.busy_unknown_ms),
        };
        if !may_train(day) {
            times.rule_out_by_compute(day);
        }
        times.untold = times.untold.saturating_add(day.unseen_ms());
        times
    }

    /// On a day on which it computed nothing that may have been training, no busy time was, at whatever level.
    fn rule_out_by_compute(&mut self, day: &DeviceSums) {
        self.otherwise_busy = day.busy_ms.saturating_sub(day.established_ms);
        let mut left = self.otherwise_busy.saturating_sub(day.ruled_out_ms);
        for ms in [&mut self.candidate, &mut self.weak, &mut self.untold] {
            let part = left.min(*ms);
            *ms = ms.saturating_sub(part);
            left = left.saturating_sub(part);
            self.by_compute = self.by_compute.saturating_add(part);
        }
    }

    /// Adds others.
    pub(super) fn add(&mut self, other: &Self) {
        let Self {
            established,
            candidate,
            weak,
            ruled_out,
            by_compute,
            untold,
            otherwise_busy,
        } = self;
        for (sum, ms) in [
            (established, other.established),
            (candidate, other.candidate),
            (weak, other.weak),
            (ruled_out, other.ruled_out),
            (by_compute, other.by_compute),
            (untold, other.untold),
            (otherwise_busy, other.otherwise_busy),
        ] {
            *sum = sum.saturating_add(ms);
        }
    }

    /// Adds time of which no report speaks.
    pub(super) fn add_silence(&mut self, ms: u64) {
        self.untold = self.untold.saturating_add(ms);
    }

    /// All of it.
    pub(super) fn all(&self) -> u64 {
        let ruled_out = self.ruled_out.saturating_add(self.by_compute);
        self.levelled()
            .saturating_add(self.untold)
            .saturating_add(ruled_out)
    }

    /// What has a level and is not ruled out.
    fn levelled(&self) -> u64 {
        self.established
            .saturating_add(self.candidate)
            .saturating_add(self.weak)
    }

    /// The share of busy time in which devices trained: runs at L3 did, and all may have but what is ruled out. What is not surely busy makes the
    /// lower bound less, and the upper one no less.
    pub(super) fn share_of_training(&self) -> (Ppm, Ppm) {
        let may_train = self.levelled().saturating_add(self.untold);
        if may_train == 0 {
            return (Ppm(0), Ppm(0));
        }
        let other = Ppm::of(self.otherwise_busy, may_train.saturating_add(self.otherwise_busy));
        (
            Ppm::of(self.established, self.all()),
            Ppm(Ppm::ONE.0.saturating_sub(other.0)),
        )
    }

    /// What would tell whether the share is kept, where the bounds do not.
    pub(super) fn settled_by(&self, limit: Ppm) -> &'static str {
        match Ppm::of(self.levelled(), self.all()) > limit {
            true => {
                "what the devices at L1 and L2 did would settle it, and telemetry does not tell that: whoever looks at the jobs can"
            }
            false => "reports of the time that has no level told would settle it",
        }
    }

    /// In words: `3.0 device-hours are established as training (L3), …`.
    pub(super) fn in_words(&self) -> String {
        let times = [
            (self.established, "are established as training (L3)"),
            (self.candidate, "may be training (L2)"),
            (self.weak, "are likelier something else (L1)"),
            (self.ruled_out, "are ruled out as training (L0)"),
            (self.by_compute, "are ruled out by what was computed"),
            (self.untold, "have no level told"),
        ];
        let mut words = times.iter().filter(|(ms, _)| *ms > 0);
        let Some((ms, what)) = words.next() else {
            return "no device was busy".to_owned();
        };
        let first = format!("{} device-hours {what}", hours(*ms));
        words.fold(first, |all, (ms, what)| format!("{all}, {} {what}", hours(*ms)))
    }
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
        let times = Times {
            established: 10_800_000,
            candidate: 60_000,
            ruled_out: 3_600_000_000,
            by_compute: 7_200_000,
            untold: 1_800_000,
            ..Times::default()
        };
        assert_eq!(
            times.in_words(),
            "3.0 device-hours are established as training (L3), less than 0.1 may be training (L2), 1,000.0 are ruled out as \
             training (L0), 2.0 are ruled out by what was computed, 0.5 have no level told"
        );
        assert_eq!(Times::default().in_words(), "no device was busy");
    }

    #[test]
    fn what_may_not_have_been_busy_makes_no_share_smaller() {
        // An hour at L0 of which nobody read whether it was busy, and one that may have been training.
        let mut times = Times::of_day(&DeviceSums {
            expected_ms: 3_600_000,
            covered_ms: 3_600_000,
            busy_unknown_ms: 3_600_000,
            ruled_out_ms: 3_600_000,
            training_upper: crate::unit::MicroTppHours(1),
            ..DeviceSums::default()
        });
        assert_eq!(times.share_of_training(), (Ppm(0), Ppm(0)));
        times.add_silence(3_600_000);
        assert_eq!(times.share_of_training(), (Ppm(0), Ppm::ONE));
    }
}
