//! One device in the meter: what is followed from sample to sample, its open window, and the report's sums so far.
//!
//! Decides: what a closed window of a device holds, and what its claims say. See [`super::meter`] for what is trusted.

use super::leaf::{ClosedWindow, Leaf, LeafField, WindowSums};
use super::meter::Salts;
use super::runs::{InRun, Runs, Trained};
use super::tenancy::{Tenancies, Told};
use super::{AcceleratorClaims, Delivered};
use crate::accounting::consistency::{Checker, Part, Physics};
use crate::accounting::{Account, Compute, Peak};
use crate::cbor;
use crate::crypto::merkle;
use crate::id::Digest;
use crate::telemetry::{
    AcceleratorIdentity, Activity, DeviceSample, DeviceState, Gap, GapReason, Reading, Step, Track, Window,
};
use crate::time::BootNanos;
use crate::unit::Ppm;
use crate::workload::{Class, Instant, Model, Scored, Series, WorkloadScores};

/// A stretch that the reporter explained.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noted {
    /// Place of the device, `None` for all.
    pub(super) device: Option<usize>,
    pub(super) reason: GapReason,
    pub(super) from: BootNanos,
    pub(super) to: BootNanos,
}

/// One device: what is followed from sample to sample, the open window, and the sums of the report so far.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) identity: AcceleratorIdentity,
    /// The peak that the report is held against, and the one that the newest inventory gives.
    pub(super) peak: Option<Peak>,
    pub(super) newest_peak: Option<Peak>,
    pub(super) state: DeviceState,
    track: Track,
    /// Follows the ticks of bursts alone.
    instants: Track,
    /// Up to here time is covered or named as a gap.
    pub(super) settled: BootNanos,
    window: Window,
    account: Account,
    pub(super) series: Series,
    pub(super) checker: Checker,
    pub(super) tenancies: Tenancies,
    runs: Runs,
    report: Sums,
}

/// What the closed windows of a report add up to.
#[derive(Debug, Default)]
struct Sums {
    window: Window,
    account: Account,
    centinats: [i64; Class::ALL.len()],
    scored: u32,
    classes: [u16; Class::ALL.len()],
    untold: u16,
    gaps: Vec<Stretch>,
    leaves: Vec<Digest>,
}

impl Device {
    pub(super) fn new(
        identity: AcceleratorIdentity,
        peak: Option<Peak>,
        part: Part,
        nominal_ns: u64,
        start: BootNanos,
    ) -> Self {
        let mut device = Self {
            identity,
            peak,
            newest_peak: peak,
            state: DeviceState::Present,
            track: Track::new(nominal_ns),
            instants: Track::new(nominal_ns),
            settled: start,
            window: Window::default(),
            account: Account::default(),
            series: Series::default(),
            checker: Checker::new(part),
            tenancies: Tenancies::new(start),
            runs: Runs::default(),
            report: Sums::default(),
        };
        device.set_part(part);
        device
    }

    /// Takes what the catalogue and the driver say of the device now.
    pub(super) fn set_part(&mut self, part: Part) {
        self.checker.set_part(part);
        self.track.set_fastest(part.fastest);
        self.instants.set_fastest(part.fastest);
    }

    /// Takes a regular sample into the sums. A burst does not enter them: its ticks read less, and the regular ones go on beside it.
    pub(super) fn push(
        &mut self,
        sample: &DeviceSample,
        place: usize,
        window_start: BootNanos,
        noted: &[Noted],
        physics: &Physics,
    ) {
        let first = self.track.last_at().is_none();
        let Some(step) = self.track.push(sample) else {
            return;
        };
        let from = self.settled;
        if first && step.to.since(from) > self.track.longest_ns() {
            let reason = GapReason::of_state(self.state).unwrap_or(GapReason::SamplerLate);
            self.add_gap(from, step.to, explained(noted, place, reason, from, step.to));
        } else if let Some(reason) = step.gap {
            let from = from.max(step.from);
            let stated = GapReason::of_state(self.state).filter(|_| reason == GapReason::SamplerLate);
            let reason = explained(noted, place, stated.unwrap_or(reason), from, step.to);
            self.add_gap(from, step.to, reason);
        }
        self.settled = step.to;
        self.state = sample.state;
        self.window.add(&step, sample);
        if let Some(peak) = &self.peak {
            // Of a gap, what lay before the window was counted there.
            let within = step.gap.map(|_| Step {
                from: step.from.max(window_start).min(step.to),
                ..step.clone()
            });
            self.account.add(within.as_ref().unwrap_or(&step), peak);
        }
        self.tenancies.add(&step, self.peak.as_ref());
        self.series.add(&step);
        self.checker.push(&step, sample, physics);
    }

    /// Takes a sample of a burst. Its counters are followed from burst tick to burst tick, or the regular ticks in between would
    /// leave a rhythm of once a second that is the sampler's own.
    pub(super) fn push_instant(&mut self, sample: &DeviceSample, window_start: BootNanos) {
        let Some(step) = self.instants.push(sample) else {
            return;
        };
        let longest = self.instants.longest_ns().div_euclid(3);
        if step.gap.is_some() || !(1..=longest).contains(&step.length_ns()) {
            self.series.leave_out_instant();
            return;
        }
        let kib = |bytes: u64| u32::try_from(bytes.div_euclid(1_024)).unwrap_or(u32::MAX);
        let share = |of: fn(&Activity) -> Reading<Ppm>| match &sample.activity {
            Reading::Value(activity) => of(activity).map(|ppm| ppm.0),
            Reading::Unsupported => Reading::Unsupported,
            Reading::Lost(why) => Reading::Lost(*why),
        };
        self.series.add_instant(Instant {
            at_ms: milliseconds(sample.at.since(window_start)),
            power_mw: sample.power_mw,
            tx_kib: step.nvlink.clone().map(|t| kib(t.tx)),
            rx_kib: step.nvlink.map(|t| kib(t.rx)),
            sm_ppm: share(|a| a.sm),
            tensor_ppm: share(|a| a.tensor_any),
            dram_ppm: share(|a| a.dram),
        });
    }

    /// Lists a gap; one that continues the last with the same reason lengthens it, and beyond the most that a report
    /// lists, its length is added to the last.
    pub(super) fn add_gap(&mut self, from: BootNanos, to: BootNanos, reason: GapReason) {
        if to <= from {
            return;
        }
        let full = self.report.gaps.len() >= Delivered::MAX_GAPS;
        match self.report.gaps.last_mut() {
            Some(last) if last.reason == reason && last.to >= from => last.to = last.to.max(to),
            Some(last) if full => last.to = last.to.plus(to.since(from)),
            _ => self.report.gaps.push(Stretch { from, to, reason }),
        }
    }

    /// Gives gaps that were only known to be late samples the reason that the reporter has for them.
    pub(super) fn explain(&mut self, noted: &Noted) {
        for gap in &mut self.report.gaps {
            if gap.reason == GapReason::SamplerLate && noted.explains(gap.from, gap.to) {
                gap.reason = noted.reason;
            }
        }
    }

    pub(super) fn close_window(
        &mut self,
        [start, end]: [BootNanos; 2],
        is_remainder: bool,
        synchrony: Option<f64>,
        model: &Model,
        salts: Salts<'_>,
    ) -> ClosedWindow {
        let window = std::mem::take(&mut self.window);
        let account = std::mem::take(&mut self.account);
        let features = self.series.features(synchrony);
        let scored = model.score(&features);
        let sums = WindowSums {
            covered_ms: window.covered_ms(),
            measured: window.measured(),
            compute: self.peak.map(|p| account.compute(&p, end.since(start))),
            features,
            centinats: scored.centinats.to_vec(),
            class: scored.class,
        };
        self.report.add(&window, &account, &scored);
        let in_run = InRun {
            features: &sums.features,
            scored: &scored,
            account,
            covered_ms: sums.covered_ms,
            busy_ms: sums.measured.busy_ms.value().copied(),
            is_remainder,
        };
        let level = self.runs.add(model, &in_run, self.tenancies.have_changed());
        if self.state != DeviceState::Present {
            self.runs.end(model);
        }

        let first_leaf = count(self.report.leaves.len());
        let mut leaves = Vec::new();
        let mut leaf = |field, count, sums, values| {
            let leaf = Leaf {
                salt: salts(),
                device: self.identity.uuid,
                start,
                end,
                field,
                count,
                sums,
                values,
            };
            leaves.push(cbor::encode(&leaf));
        };
        leaf(LeafField::Sums, window.samples(), Some(sums.clone()), None);
        let burst = self.series.burst();
        if !burst.is_empty() {
            let mut values = |field, get: fn(&Instant) -> Reading<u32>| {
                leaf(
                    field,
                    count(burst.len()),
                    None,
                    Some(burst.iter().map(get).collect()),
                );
            };
            values(LeafField::BurstTimes, |i| Reading::Value(i.at_ms));
            values(LeafField::BurstPower, |i| i.power_mw);
            values(LeafField::BurstNvlinkTx, |i| i.tx_kib);
            values(LeafField::BurstNvlinkRx, |i| i.rx_kib);
            // A device that never tells of activity has none to show.
            if burst.iter().any(|i| i.sm_ppm != Reading::Unsupported) {
                values(LeafField::BurstSm, |i| i.sm_ppm);
                values(LeafField::BurstTensor, |i| i.tensor_ppm);
                values(LeafField::BurstDram, |i| i.dram_ppm);
            }
        }
        self.series.next_window();
        if self.runs.are_between() {
            self.series.forget_beat();
        }
        self.report
            .leaves
            .extend(leaves.iter().map(|l| merkle::leaf_hash(l)));
        ClosedWindow {
            index: self.identity.index,
            device: self.identity.uuid,
            start,
            end,
            samples: window.samples(),
            sums,
            level,
            first_leaf,
            leaves,
        }
    }

    /// The claims for the report's time, after its last window was closed.
    pub(super) fn finish(
        &mut self,
        start: BootNanos,
        end: BootNanos,
        place: usize,
        noted: &[Noted],
        model: &Model,
        salts: Salts<'_>,
    ) -> (AcceleratorClaims, Told) {
        // A last stretch no longer than a late tick belongs to the next report, in which it ends.
        if end.since(self.settled) > self.track.longest_ns() {
            let reason = GapReason::of_state(self.state).unwrap_or(GapReason::SamplerLate);
            let from = self.settled;
            self.add_gap(from, end, explained(noted, place, reason, from, end));
            self.settled = end;
            self.tenancies.pass(end);
        }
        let sums = std::mem::take(&mut self.report);
        let trained = self.runs.finish(model);
        let whole_ns = end.since(start);
        let peak = std::mem::replace(&mut self.peak, self.newest_peak);
        let claims = AcceleratorClaims {
            salt: salts(),
            identity: self.identity.clone(),
            state: self.state,
            delivered: Delivered {
                // A stretch that began before the report's time ends in it, and counts in it whole.
                covered_ms: sums.window.covered_ms().min(milliseconds(whole_ns)),
                samples: sums.window.samples(),
                gaps: sums.gaps.iter().map(|g| g.since(start)).collect(),
                measured: sums.window.measured(),
                compute: peak.map(|p| sums.account.compute(&p, whole_ns)),
                training: peak.map(|p| sums.training(&trained, &p, whole_ns)),
                workload: sums.scores(&trained),
                windows_root: merkle::root(&sums.leaves),
                windows_leaves: count(sums.leaves.len()),
                by_pipe: peak.and_then(|p| sums.account.by_pipe(&p)),
                observations: self.checker.finish(),
                tenants: None,
            },
        };
        let told = self.tenancies.finish(
            peak.as_ref(),
            &sums.account,
            &claims.delivered,
            milliseconds(whole_ns),
        );
        (claims, told)
    }
}

impl Sums {
    fn add(&mut self, window: &Window, account: &Account, scored: &Scored) {
        self.window.absorb(window);
        self.account = self.account.plus(*account);
        match scored.class {
            Some(class) => {
                if let Some(n) = self.classes.get_mut(usize::from(class.code())) {
                    *n = n.saturating_add(1);
                }
            }
            None => self.untold = self.untold.saturating_add(1),
        }
        if scored.centinats.iter().any(|c| *c != 0) {
            self.scored = self.scored.saturating_add(1);
            for (sum, c) in self.centinats.iter_mut().zip(scored.centinats) {
                *sum = sum.saturating_add(i64::from(c));
            }
        }
    }

    /// From below, what windows of runs delivered in which training is established; from above, what windows may have delivered that are not
    /// ruled out as training, and every gap at peak, whatever window it lies in.
    fn training(&self, trained: &Trained, peak: &Peak, whole_ns: u64) -> Compute {
        let established = &trained.established;
        let least = established.compute(peak, established.covered_ns());
        let most = trained
            .possible
            .compute(peak, whole_ns.saturating_sub(trained.excluded_ns));
        let upper_unconditional = peak.over(whole_ns).max(most.upper_unconditional);
        Compute {
            lower: least.lower.min(most.upper),
            counter: least.counter.min(most.upper),
            upper: most.upper,
            upper_unconditional,
            method: self.account.method(),
            bound: most.bound,
        }
    }

    fn scores(&self, trained: &Trained) -> WorkloadScores {
        let mean = |sum: &i64| {
            let mean = sum.checked_div(i64::from(self.scored)).unwrap_or(0);
            i16::try_from(mean).unwrap_or(if mean < 0 { i16::MIN } else { i16::MAX })
        };
        WorkloadScores {
            centinats: self.centinats.iter().map(mean).collect(),
            windows: self.classes.iter().copied().chain([self.untold]).collect(),
            levels: Some(trained.levels),
            run_windows: Some(trained.run_windows),
        }
    }
}

/// A stretch without samples.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    from: BootNanos,
    to: BootNanos,
    reason: GapReason,
}

impl Stretch {
    fn since(&self, start: BootNanos) -> Gap {
        Gap {
            start_ms: milliseconds(self.from.since(start)),
            length_ms: milliseconds(self.to.since(self.from.max(start))),
            reason: self.reason,
        }
    }
}

impl Noted {
    /// Whether it covers at least half of a stretch.
    fn explains(&self, from: BootNanos, to: BootNanos) -> bool {
        let common = self.to.min(to).since(self.from.max(from));
        common > 0 && common >= to.since(from).div_ceil(2)
    }
}

/// The reason for a stretch: the reporter's latest explanation if it has one, else `reason`.
fn explained(noted: &[Noted], place: usize, reason: GapReason, from: BootNanos, to: BootNanos) -> GapReason {
    noted
        .iter()
        .rev()
        .find(|n| n.device.is_none_or(|d| d == place) && n.explains(from, to))
        .map_or(reason, |n| n.reason)
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Whole milliseconds.
fn milliseconds(ns: u64) -> u32 {
    u32::try_from(ns.checked_div(1_000_000).unwrap_or(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::TenantShares;
    use crate::report::tenancy::Tenancy;

    #[test]
    fn eight_devices_in_the_middle_of_a_burst_take_little_more_than_a_megabyte() {
        let device = size_of::<Device>() + Series::MOST_BYTES + Checker::MOST_BYTES;
        // A thousand leaves are more than a report of 900 s has.
        let leaves = 1_000 * size_of::<Digest>();
        let gaps = Delivered::MAX_GAPS * size_of::<Stretch>();
        let tenants = TenantShares::MOST * size_of::<Tenancy>();
        assert!(8 * (device + leaves + gaps + tenants) < 1_200_000);
    }
}
