//! The running account of one device: exact integers until they are read.
//!
//! TPP-hours = (1 / 3.6e15) ∫ n · K · f(t) · a(t) dt, where n · K · f at the tensor clock is the part's TPP, so a share
//! `a` of tensor activity at the share `f / f_tensor` of that clock delivers that share of TPP. The account sums
//! nanoseconds × parts per million of activity × parts per million of clock in 128 bits, and multiplies with TPP and
//! divides once, when it is read: so accounts can be added in any order to the same total.
//!
//! - **counter**: what the counters say: per-pipe activity times the mean of the clocks in its time.
//! - **lower**: the same at the lowest of these clocks, times the least that busy pipes of the part were seen to do. Zero where
//!   only utilisation or energy exist, and where the catalogue has no such measurement of the part.
//! - **upper**: the least of five, each with the whole time: peak × time in which a kernel was resident; peak × clocks;
//!   activity × the highest clock × the most that busy pipes can do; energy above idling, and the power limit, at the least that a
//!   bit-operation takes. In the first three, time without samples counts at peak.
//! - **unconditional**: peak × the whole time, for the whole card, sliced (MIG) or not.

use super::peak::{Peak, WHOLE};
use super::pipes::Shares;
use super::{Compute, ComputeMethod, PipeCompute, UpperBound};
use crate::telemetry::{ENERGY_REFRESH_NS, Reading, Step};
use crate::unit::Millijoules;

/// The account of one device over some time. Shares are nanoseconds × parts per million × parts per million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    covered_ns: u64,
    /// Covered time that per-pipe activity speaks for.
    piped_ns: u64,
    /// Time of steps that are gaps.
    gap_ns: u64,
    /// Time without samples that it speaks for all the same, from counters that went on.
    bridged_ns: u64,
    /// Time with a utilisation.
    busy_ns: u64,
    lower: u128,
    counter: u128,
    /// The estimate by pipe: HMMA, IMMA, DFMA, FP64, FP32, FP16.
    by_pipe: [u128; 6],
    /// Whether some activity came without telling the pipes apart.
    merged: bool,
    /// The upper bounds over covered time.
    time: u128,
    clock: u128,
    /// By activity, over the time that it speaks for.
    active: u128,
    /// By clock, over the rest.
    inactive: u128,
    energy_mj: u64,
    /// Covered time whose energy is all in there.
    energy_ns: u64,
}

impl Account {
    /// Adds a step. A gap adds nothing but the activity of counters that went on in it, at a clock that nobody read; else it counts at
    /// peak when the account is read.
    pub fn add(&mut self, step: &Step, peak: &Peak) {
        // Energy of a gap bounds nothing: nothing else was seen of that time.
        if let Reading::Value(energy) = step.energy_mj
            && step.energy_ns > 0
        {
            self.energy_mj = self.energy_mj.saturating_add(energy);
            self.energy_ns = self.energy_ns.saturating_add(step.energy_ns);
        }
        let ns = step.covered_ns();
        self.covered_ns = self.covered_ns.saturating_add(ns);
        self.gap_ns = self.gap_ns.saturating_add(step.length_ns().saturating_sub(ns));
        // A reading that reaches back into time before this account speaks for none of this account's.
        self.energy_ns = self.energy_ns.min(self.covered_ns);
        let high = step
            .clock_bounds_mhz
            .and_then(|c| peak.share_of_tensor_clock(c.high))
            .unwrap_or(1_000_000);
        if step.utilisation.value().is_some() {
            self.busy_ns = self.busy_ns.saturating_add(ns);
        }
        let busy = step
            .busy_most
            .map_or(1_000_000, |b| u64::from(b.0.min(1_000_000)));
        self.time = self.time.saturating_add(shares(ns, busy, 1_000_000));
        self.clock = self.clock.saturating_add(shares(ns, 1_000_000, high));

        let told = step.activity.value().and_then(|a| Shares::of(a, peak));
        let active_ns = if told.is_some() { step.activity_ns } else { 0 };
        // Activity may reach back over steps that had none of their own: these were added as inactive, and stay so. That is the safe
        // side of an upper bound.
        let rest = ns.saturating_sub(active_ns);
        self.inactive = self.inactive.saturating_add(shares(rest, 1_000_000, high));
        let Some(told) = told else { return };
        let ns = active_ns;
        self.piped_ns = self.piped_ns.saturating_add(ns);
        let most = peak
            .most
            .map_or(1_000_000, |most| scale(told.upper, most).min(1_000_000));
        let most = most.saturating_add(told.vectors).min(1_000_000);
        self.active = self.active.saturating_add(shares(ns, most, high));
        self.bridged_ns = self
            .bridged_ns
            .saturating_add(step.activity_gap_ns)
            .min(self.gap_ns);
        self.active = self
            .active
            .saturating_add(shares(step.activity_gap_ns, most, 1_000_000));
        self.merged |= told.merged;
        let Some(mean) = step.activity_clock_mean_mhz else {
            return;
        };
        let mean = peak.share_of_clock(mean);
        let capped = |clock: u64| clock.min(1_000_000);
        let at = |clock: u64, tensor: u64, fp64: u64| {
            let tensor = shares(ns, tensor, capped(clock));
            tensor.saturating_add(shares(ns, fp64, clock))
        };
        // From below, only where every clock was read of the time in which the pipes may have been busy.
        if let Some(ends) = step.activity_clock_mhz {
            let [least, least_fp64] = told.least;
            self.lower = self
                .lower
                .saturating_add(at(peak.share_of_clock(ends.low), least, least_fp64));
        }
        self.counter = self
            .counter
            .saturating_add(at(mean, told.tensor, told.fp64_tensor));
        for (place, (sum, share)) in self.by_pipe.iter_mut().zip(told.by_pipe).enumerate() {
            if share == 0 {
                continue;
            }
            // The half-precision and integer tensor pipes stand first. What was measured of them holds at every clock; the data sheet has
            // them gain nothing above the tensor clock.
            let (share, free) = match (place, peak.typical) {
                (0 | 1, Some(typical)) => (scale(share, typical), true),
                (0 | 1, None) => (share, false),
                _ => (share, true),
            };
            let clock = if free { mean } else { capped(mean) };
            *sum = sum.saturating_add(shares(ns, share, clock));
        }
    }

    /// The account of both times.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let mut by_pipe = self.by_pipe;
        for (sum, more) in by_pipe.iter_mut().zip(other.by_pipe) {
            *sum = sum.saturating_add(more);
        }
        Self {
            covered_ns: self.covered_ns.saturating_add(other.covered_ns),
            piped_ns: self.piped_ns.saturating_add(other.piped_ns),
            gap_ns: self.gap_ns.saturating_add(other.gap_ns),
            bridged_ns: self.bridged_ns.saturating_add(other.bridged_ns),
            busy_ns: self.busy_ns.saturating_add(other.busy_ns),
            lower: self.lower.saturating_add(other.lower),
            counter: self.counter.saturating_add(other.counter),
            by_pipe,
            merged: self.merged || other.merged,
            time: self.time.saturating_add(other.time),
            clock: self.clock.saturating_add(other.clock),
            active: self.active.saturating_add(other.active),
            inactive: self.inactive.saturating_add(other.inactive),
            energy_mj: self.energy_mj.saturating_add(other.energy_mj),
            energy_ns: self.energy_ns.saturating_add(other.energy_ns),
        }
    }

    /// This account, of a part of the time of `whole`, without what bounds a whole alone: energy, whose counter shows at each edge of the
    /// part what was drawn on its other side; and utilisation, where pipes were told of in the whole.
    #[must_use]
    pub(crate) fn as_part_of(self, whole: &Self) -> Self {
        let covered = u128::from(self.covered_ns).saturating_mul(WHOLE);
        Self {
            energy_ns: 0,
            time: if whole.piped_ns > 0 { covered } else { self.time },
            ..self
        }
    }

    /// Time covered by samples, in nanoseconds.
    #[must_use]
    pub fn covered_ns(&self) -> u64 {
        self.covered_ns
    }

    /// What it rests on: per-pipe activity, busy time or energy, the first that speaks for at least half of the covered time.
    #[must_use]
    pub fn method(&self) -> ComputeMethod {
        let most = |ns: u64| ns > 0 && ns >= self.covered_ns.div_ceil(2);
        if most(self.piped_ns) {
            ComputeMethod::PipeActivity
        } else if most(self.busy_ns) {
            ComputeMethod::BusyTime
        } else if most(self.energy_ns) {
            ComputeMethod::Energy
        } else {
            ComputeMethod::ElapsedTime
        }
    }

    /// Compute by pipe; `None` where no pipe was told of, or not which one.
    #[must_use]
    pub fn by_pipe(&self, peak: &Peak) -> Option<PipeCompute> {
        let [hmma, imma, dfma, fp64, fp32, fp16] = self.by_pipe.map(|shares| peak.read_down(shares));
        (self.piped_ns > 0 && !self.merged).then_some(PipeCompute {
            hmma,
            imma,
            dfma,
            fp64,
            fp32,
            fp16,
        })
    }

    /// The bounds, for a device with `peak` over `whole_ns`, of which this account covers a part.
    #[must_use]
    pub fn compute(&self, peak: &Peak, whole_ns: u64) -> Compute {
        let whole_ns = whole_ns.max(self.covered_ns);
        let gap_ns = whole_ns.saturating_sub(self.covered_ns);
        let at_peak = |ns: u64| u128::from(ns).saturating_mul(WHOLE);
        let gaps = at_peak(gap_ns);
        let upper_unconditional = peak.over(whole_ns);
        let sampled = |sum: u128| peak.read_up(sum.saturating_add(gaps));
        // Utilisation is of the driver's last moments, and a busy pipe between two readings escapes it: where pipes are told of, it
        // bounds nothing.
        let covered = at_peak(self.covered_ns);
        let busy = if self.piped_ns == 0 { self.time } else { covered };
        let unseen = at_peak(gap_ns.saturating_sub(self.bridged_ns));
        let activity = peak.most.map(|_| {
            let sum = self.active.saturating_add(self.inactive);
            peak.read_up(sum.saturating_add(unseen))
        });
        let metered_ns = self
            .energy_ns
            .min(self.covered_ns)
            .saturating_sub(ENERGY_REFRESH_NS);
        let energy = peak
            .within_energy(Millijoules(self.energy_mj), metered_ns)
            .map(|most| most.plus(peak.over(whole_ns.saturating_sub(metered_ns))));
        let bounds = [
            (UpperBound::Time, Some(sampled(busy))),
            (UpperBound::Clock, Some(sampled(self.clock))),
            (UpperBound::Counter, activity.filter(|_| self.piped_ns > 0)),
            (UpperBound::Energy, energy.filter(|_| metered_ns > 0)),
            (UpperBound::PowerCap, peak.within_limit(whole_ns)),
        ];
        let (bound, upper) = bounds
            .into_iter()
            .filter_map(|(bound, value)| Some((bound, value?)))
            .min_by_key(|(_, value)| *value)
            .unwrap_or((UpperBound::Time, upper_unconditional));
        let upper = upper.min(upper_unconditional);
        let counter = peak.read_down(self.counter).min(upper);
        Compute {
            lower: peak.read_down(self.lower).min(counter),
            counter,
            upper,
            upper_unconditional,
            method: self.method(),
            bound,
        }
    }
}

/// Nanoseconds times two shares in parts per million.
fn shares(ns: u64, activity: u64, clock: u64) -> u128 {
    match activity.checked_mul(clock) {
        // Shares are some twenty bits each: one multiplication, which cannot exceed 128.
        Some(share) => u128::from(ns).wrapping_mul(u128::from(share)),
        None => u128::from(ns)
            .saturating_mul(u128::from(activity))
            .saturating_mul(u128::from(clock)),
    }
}

/// A share times parts per million.
fn scale(share: u64, ppm: u64) -> u64 {
    share.saturating_mul(ppm).div_ceil(1_000_000)
}
