//! From one sample of a device to the next: what the stretch between them is worth.
//!
//! Decides: whether a stretch is covered, what each cumulative counter gained over it, and how much of it a mean of
//! activity speaks for. Trusts the sampler's boot times. Does not fill in anything: a stretch that is too long, or that
//! ends or begins without a reading, is a gap; its counters still count, because they are cumulative. Activity comes from the
//! cycle counters where the driver has them, else from the means of a pair of samples, which end at a gap.

use super::cycles::{Cycles, Told};
use super::{
    Activity, ActivitySource, DeviceSample, DeviceState, GapReason, LossReason, Method, Reading, Traffic,
};
use crate::time::{BootNanos, SECOND};
use crate::unit::Ppm;

/// The lowest and highest of two neighbouring samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends<T> {
    /// The lower.
    pub low: T,
    /// The higher.
    pub high: T,
}

impl<T: Ord + Copy> Ends<T> {
    fn of(a: T, b: T) -> Self {
        Self {
            low: a.min(b),
            high: a.max(b),
        }
    }
}

/// The stretch between two samples of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The earlier sample; the later one itself where it is the first of its device.
    pub from: BootNanos,
    /// The later sample.
    pub to: BootNanos,
    /// Why the stretch is not covered; `None` where it is.
    pub gap: Option<GapReason>,
    /// Energy gained since the counter was last read, in millijoules.
    pub energy_mj: Reading<u64>,
    /// For how many nanoseconds of covered time that speaks; it may reach back over earlier steps. Zero where the counter was not
    /// read before, or started anew.
    pub energy_ns: u64,
    /// NVLink bytes gained.
    pub nvlink: Reading<Traffic>,
    /// PCIe bytes gained.
    pub pcie: Reading<Traffic>,
    /// How they were come by: sampled means count over covered time alone.
    pub pcie_method: Method,
    /// Counters that started anew in the stretch.
    pub resets: u32,
    /// Power at both ends, in milliwatts; the lowest and highest in between are among them where the driver kept them.
    pub power_mw: Reading<Ends<u32>>,
    /// Mean power over the stretch, in milliwatts: of what the driver kept, else the middle of both ends.
    pub power_mean_mw: Reading<u32>,
    /// SM clock at both ends, in megahertz; the lowest and highest that looks in between found are among them.
    pub sm_clock_mhz: Reading<Ends<u32>>,
    /// Its mean over the stretch, in megahertz: of the looks, else the middle of both ends.
    pub clock_mean_mhz: Reading<u32>,
    /// The lowest and highest where both ends and every look were read, and none as zero, which no clock that runs is: what bounds
    /// may rest on.
    pub clock_bounds_mhz: Option<Ends<u32>>,
    /// Utilisation at both ends; its mean over the stretch, twice, where the driver kept what was in between.
    pub utilisation: Reading<Ends<Ppm>>,
    /// The most of both ends, or the mean where the driver kept what was in between; `None` where one was not read, or does not bound what was
    /// in between.
    pub busy_most: Option<Ppm>,
    /// Memory in use at the later sample, in mebibytes.
    pub memory_used_mib: Reading<u32>,
    /// Mean activity up to the later sample.
    pub activity: Reading<Activity>,
    /// For how many nanoseconds of covered time that mean speaks; it may reach back over earlier steps.
    pub activity_ns: u64,
    /// For how many nanoseconds of gaps it speaks beside them, at a clock that nobody read: zero unless counters tell it.
    pub activity_gap_ns: u64,
    /// The lowest and the highest SM clock of the covered time that it speaks for, in megahertz; `None` where one was not read, or where
    /// some of the activity may lie in a gap.
    pub activity_clock_mhz: Option<Ends<u32>>,
    /// The mean SM clock of that time, in megahertz, each stretch by its length; that of this step where some of it is not known.
    pub activity_clock_mean_mhz: Option<u32>,
    /// Who told of the activity.
    pub activity_source: ActivitySource,
}

impl Step {
    /// Length in nanoseconds.
    #[must_use]
    pub fn length_ns(&self) -> u64 {
        self.to.since(self.from)
    }

    /// How far before its end activity is that it tells of, or its own length where that is more, in nanoseconds. A mean that was read after a gap is of
    /// the gap too, though it counts for covered time alone.
    #[must_use]
    pub(crate) fn reach_ns(&self) -> u64 {
        let told = self.activity_ns.saturating_add(self.activity_gap_ns);
        let read = self.activity.value().map_or(0, |a| a.interval_ns);
        self.length_ns().max(told).max(read)
    }

    /// Length in nanoseconds if it is covered, else zero.
    #[must_use]
    pub fn covered_ns(&self) -> u64 {
        if self.gap.is_none() { self.length_ns() } else { 0 }
    }
}

/// How old a reading of the energy counter may be: drivers refresh it ten times a second. What was drawn in the last tenth of a second
/// before a gap, or before a report ends, is not in it.
pub(crate) const ENERGY_REFRESH_NS: u64 = 100_000_000;

/// The fastest that the cumulative counters of a device can grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fastest {
    /// Energy, in millijoules a second.
    pub energy_mj_s: u64,
    /// Bytes in one direction, over NVLink or PCIe, a second.
    pub bytes_s: u64,
}

impl Fastest {
    /// Any speed.
    pub const ANY: Self = Self {
        energy_mj_s: u64::MAX,
        bytes_s: u64::MAX,
    };
}

impl Default for Fastest {
    fn default() -> Self {
        Self::ANY
    }
}

/// A cumulative counter, its last good value, and when that was read.
#[derive(Clone, Copy, Debug, Default)]
struct Counter {
    last: Option<(u64, BootNanos)>,
}

impl Counter {
    /// What it gained since its last good value. A decrease is a counter that started anew, and so is a gain beyond what `fastest` allows in
    /// that time and a second, for drivers renew their counters a few times a second only: what it lost is not known, so nothing is added,
    /// and `resets` says so. A value that was lost in between costs nothing.
    fn gain(&mut self, now: &Reading<u64>, at: BootNanos, fastest: u64, resets: &mut u32) -> Reading<u64> {
        now.map(|value| {
            let (before, since) = self.last.replace((value, at)).unwrap_or((value, at));
            let possible = |gain: &u64| *gain <= fastest || *gain <= most(fastest, at.since(since));
            value.checked_sub(before).filter(possible).unwrap_or_else(|| {
                *resets = resets.saturating_add(1);
                0
            })
        })
    }
}

/// The most that a counter gains in so many nanoseconds and a second.
fn most(a_second: u64, ns: u64) -> u64 {
    let most = u128::from(a_second).saturating_mul(u128::from(ns).saturating_add(u128::from(SECOND)));
    u64::try_from(most.div_euclid(u128::from(SECOND))).unwrap_or(u64::MAX)
}

/// What is kept of the last sample: what the next stretch begins with.
#[derive(Clone, Copy, Debug)]
struct Last {
    at: BootNanos,
    unreadable: Option<GapReason>,
    power_mw: Option<u32>,
    sm_clock_mhz: Option<u32>,
    utilisation: Option<Ppm>,
}

/// Follows one device through its samples. Holds the end of one, whatever the length of the run.
#[derive(Clone, Debug)]
pub struct Track {
    nominal_ns: u64,
    fastest: Fastest,
    last: Option<Last>,
    without_activity_ns: u64,
    since_pair: Clocks,
    since_cycles: Clocks,
    without_energy_ns: u64,
    /// Whether a gap has broken off what the energy counter is followed over.
    energy_broken: bool,
    energy_begins: bool,
    cycles: Cycles,
    energy: Counter,
    nvlink: [Counter; 2],
    pcie: [Counter; 2],
}

impl Track {
    /// Follows a device that is sampled every `nominal_ns` at least; a stretch longer than one and a half times that is
    /// a gap.
    #[must_use]
    pub fn new(nominal_ns: u64) -> Self {
        Self {
            nominal_ns,
            fastest: Fastest::ANY,
            last: None,
            without_activity_ns: 0,
            since_pair: Clocks::default(),
            since_cycles: Clocks::default(),
            without_energy_ns: 0,
            energy_broken: false,
            energy_begins: false,
            cycles: Cycles::default(),
            energy: Counter::default(),
            nvlink: [Counter::default(); 2],
            pcie: [Counter::default(); 2],
        }
    }

    /// Takes what more than which no counter of the device can gain.
    pub fn set_fastest(&mut self, fastest: Fastest) {
        self.fastest = fastest;
    }

    /// When the last sample was taken.
    #[must_use]
    pub fn last_at(&self) -> Option<BootNanos> {
        self.last.as_ref().map(|s| s.at)
    }

    /// The longest stretch that is no gap, in nanoseconds.
    #[must_use]
    pub fn longest_ns(&self) -> u64 {
        let half = self.nominal_ns.checked_div(2).unwrap_or(0);
        self.nominal_ns.saturating_add(half)
    }

    /// Takes the next sample. `None` where it is not later than the last one: such a sample says nothing new.
    pub fn push(&mut self, sample: &DeviceSample) -> Option<Step> {
        let before = self.last;
        if before.is_some_and(|b| sample.at <= b.at) {
            return None;
        }
        let from = before.map_or(sample.at, |b| b.at);
        let length = sample.at.since(from);
        let unreadable = unreadable(sample);
        let gap = before
            .and_then(|b| b.unreadable)
            .or(unreadable)
            .or_else(|| (length > self.longest_ns()).then_some(GapReason::SamplerLate));
        let ends = |now: Reading<u32>, then: Option<u32>| now.map(|n| Ends::of(then.unwrap_or(n), n));
        let mut sm_clock_mhz = ends(sample.sm_clock_mhz, before.and_then(|b| b.sm_clock_mhz));
        let mut clock_mean_mhz = sm_clock_mhz.map(|e| e.low.midpoint(e.high));
        let read = before
            .and_then(|b| b.sm_clock_mhz)
            .zip(sample.sm_clock_mhz.value().copied())
            .map(|(then, now)| Ends::of(then, now));
        let mut clock_bounds_mhz = read;
        match &sample.clock_looks {
            Reading::Value(looks) => {
                let with = |e: Ends<u32>| Ends {
                    low: e.low.min(looks.lowest_mhz),
                    high: e.high.max(looks.highest_mhz),
                };
                clock_bounds_mhz = read.map(with);
                sm_clock_mhz = sm_clock_mhz.map(with);
                clock_mean_mhz = Reading::Value(looks.mean_mhz);
            }
            // Whoever lost a look may have lost the one that mattered.
            Reading::Lost(_) => clock_bounds_mhz = None,
            Reading::Unsupported => {}
        }
        let clock_bounds_mhz = clock_bounds_mhz.filter(|e| e.low > 0);
        let mut power_mw = ends(sample.power_mw, before.and_then(|b| b.power_mw));
        let mut power_mean_mw = power_mw.map(|e| e.low.midpoint(e.high));
        if let Reading::Value(ring) = &sample.power_ring {
            let at_ends = power_mw.value().copied();
            power_mw = Reading::Value(Ends {
                low: at_ends.map_or(ring.lowest_mw, |e| e.low.min(ring.lowest_mw)),
                high: at_ends.map_or(ring.highest_mw, |e| e.high.max(ring.highest_mw)),
            });
            power_mean_mw = Reading::Value(ring.mean_mw);
        }
        let busy_before = before.and_then(|b| b.utilisation);
        let (utilisation, busy_most) = match sample.busy_mean {
            Reading::Value(mean) => (Reading::Value(Ends::of(mean, mean)), Some(mean)),
            _ => {
                let now = sample.utilisation.value();
                let most = busy_before.zip(now).map(|(then, now)| then.max(*now));
                // Where pipes should have been told of and were lost, a busy one between two readings escapes utilisation all the same.
                let most = most.filter(|_| !matches!(sample.activity, Reading::Lost(_)));
                let ends = sample.utilisation.map(|n| Ends::of(busy_before.unwrap_or(n), n));
                (ends, most)
            }
        };

        let mut resets = 0;
        let metered = self.energy.last.is_some();
        let energy_mj = self.energy.gain(
            &sample.energy_mj,
            sample.at,
            self.fastest.energy_mj_s,
            &mut resets,
        );
        let energy_ns = self.energy_time(length, gap, sample, metered, resets == 0);
        let mut pair = |counters: &mut [Counter; 2], tx: &Reading<u64>, rx: &Reading<u64>| {
            let [sent, received] = counters;
            let (at, fastest) = (sample.at, self.fastest.bytes_s);
            both(
                sent.gain(tx, at, fastest, &mut resets),
                received.gain(rx, at, fastest, &mut resets),
            )
        };
        let nvlink = pair(&mut self.nvlink, &sample.nvlink_tx_bytes, &sample.nvlink_rx_bytes);
        let mut pcie = pair(&mut self.pcie, &sample.pcie_tx_bytes, &sample.pcie_rx_bytes);

        let covered_ns = if gap.is_none() { length } else { 0 };
        let mut pair_ns = 0;
        let mut pair_clock = None;
        let mean_mhz = clock_mean_mhz.value().copied();
        self.since_pair.take_in(covered_ns, clock_bounds_mhz, mean_mhz);
        self.since_cycles.take_in(covered_ns, clock_bounds_mhz, mean_mhz);
        if gap.is_some() {
            self.without_activity_ns = 0;
        } else {
            self.without_activity_ns = self.without_activity_ns.saturating_add(length);
            if let Reading::Value(a) = &sample.activity {
                pair_ns = a.interval_ns.min(self.without_activity_ns);
                self.without_activity_ns = 0;
            }
        }
        if sample.activity.value().is_some() {
            pair_clock = std::mem::take(&mut self.since_pair).known();
        }
        let mut pcie_method = Method::Counter;
        if let (Reading::Unsupported, Some(sampled)) = (&pcie, sampled_bytes(sample, pair_ns)) {
            pcie = sampled;
            pcie_method = Method::Sampled;
        }
        let gap_ns = length.saturating_sub(covered_ns);
        let told = self.cycles.push(sample.at, covered_ns, gap_ns, &sample.cycles);
        resets = resets.saturating_add(u32::from(told == Told::Reset));
        let mut activity_clock = None;
        match told {
            Told::Since(..) => {
                // A later pair may reach back over this time, which is told of by now.
                self.without_activity_ns = 0;
                activity_clock = std::mem::take(&mut self.since_cycles).known();
            }
            Told::Later(_) => {}
            Told::Nothing | Told::Reset => {
                self.since_cycles = Clocks::default();
                activity_clock = pair_clock;
            }
        }
        let by_pairs = if sample.by_host_engine {
            ActivitySource::Dcgm
        } else {
            ActivitySource::Gpm
        };
        let (activity_ns, activity_gap_ns, activity_source) = match (&told, &sample.activity) {
            (Told::Since(_, covered_ns, gap_ns), _) => (*covered_ns, *gap_ns, ActivitySource::GpmCounters),
            (Told::Later(_), _) => (0, 0, ActivitySource::None),
            (Told::Nothing | Told::Reset, Reading::Value(_)) => (pair_ns, 0, by_pairs),
            (Told::Nothing | Told::Reset, _) => (pair_ns, 0, ActivitySource::None),
        };
        self.last = Some(Last {
            at: sample.at,
            unreadable,
            power_mw: sample.power_mw.value().copied(),
            sm_clock_mhz: sample.sm_clock_mhz.value().copied(),
            utilisation: sample.utilisation.value().copied(),
        });
        Some(Step {
            from,
            to: sample.at,
            gap,
            energy_mj,
            energy_ns,
            nvlink,
            pcie,
            pcie_method,
            resets,
            power_mw,
            power_mean_mw,
            sm_clock_mhz,
            clock_mean_mhz,
            clock_bounds_mhz,
            utilisation,
            busy_most,
            memory_used_mib: sample.memory_used_mib,
            // Made in its place: it is the largest part of a step.
            activity: match told {
                Told::Since(activity, ..) => {
                    let dram = dram_of(sample, activity.interval_ns);
                    Reading::Value(Activity { dram, ..*activity })
                }
                Told::Later(why) => Reading::Lost(why),
                Told::Nothing | Told::Reset => sample.activity.clone(),
            },
            activity_ns,
            activity_gap_ns,
            activity_clock_mhz: activity_clock.map(|known| known.ends),
            activity_clock_mean_mhz: activity_clock.map(|known| known.mean_mhz).or(mean_mhz),
            activity_source,
        })
    }
}

impl Track {
    /// For how much covered time the energy gained with this sample speaks; none where the counter was not `metered` before, or
    /// did not grow.
    fn energy_time(
        &mut self,
        length: u64,
        gap: Option<GapReason>,
        sample: &DeviceSample,
        metered: bool,
        grew: bool,
    ) -> u64 {
        self.without_energy_ns = match gap {
            Some(_) => 0,
            None => self.without_energy_ns.saturating_add(length),
        };
        self.energy_broken |= gap.is_some();
        if sample.energy_mj.value().is_none() {
            return 0;
        }
        let spoken_for = std::mem::take(&mut self.without_energy_ns);
        // What the counter gained from before a gap to after it may be short by what a reset in the gap took away.
        if std::mem::take(&mut self.energy_broken) || !metered || !grew {
            self.energy_begins |= metered;
            return 0;
        }
        let unseen = if spoken_for > 0 && std::mem::take(&mut self.energy_begins) {
            ENERGY_REFRESH_NS
        } else {
            0
        };
        spoken_for.saturating_sub(unseen)
    }
}

/// The SM clocks since activity was last told of.
#[derive(Clone, Copy, Debug, Default)]
struct Clocks {
    ends: Option<Ends<u32>>,
    /// Means times the time that each speaks for, in megahertz × nanoseconds, and that time.
    weighted: u128,
    ns: u64,
    /// A clock that was not read, or a gap, whose clock nobody read.
    unknown: bool,
}

/// What is known of the SM clock over some time.
#[derive(Clone, Copy, Debug)]
struct Known {
    ends: Ends<u32>,
    mean_mhz: u32,
}

impl Clocks {
    /// Takes in so much covered time, none of a gap.
    fn take_in(&mut self, ns: u64, clock: Option<Ends<u32>>, mean_mhz: Option<u32>) {
        let Some((clock, mean)) = clock.zip(mean_mhz).filter(|_| ns > 0) else {
            self.unknown = true;
            return;
        };
        self.weighted = self
            .weighted
            .saturating_add(u128::from(mean).saturating_mul(u128::from(ns)));
        self.ns = self.ns.saturating_add(ns);
        self.ends = Some(self.ends.map_or(clock, |known| Ends {
            low: known.low.min(clock.low),
            high: known.high.max(clock.high),
        }));
    }

    fn known(self) -> Option<Known> {
        let ends = self.ends.filter(|_| !self.unknown)?;
        let mean = self.weighted.checked_div(u128::from(self.ns))?;
        let mean_mhz = u32::try_from(mean).ok()?;
        Some(Known { ends, mean_mhz })
    }
}

/// Both directions, or why one is missing.
fn both(tx: Reading<u64>, rx: Reading<u64>) -> Reading<Traffic> {
    match (tx, rx) {
        (Reading::Value(tx), Reading::Value(rx)) => Reading::Value(Traffic { tx, rx }),
        (Reading::Lost(why), _) | (_, Reading::Lost(why)) => Reading::Lost(why),
        _ => Reading::Unsupported,
    }
}

/// Bytes over PCIe in `ns` of covered time, by the means that the sample tells; `None` where it tells none.
fn sampled_bytes(sample: &DeviceSample, ns: u64) -> Option<Reading<Traffic>> {
    let bytes = |rate: &Reading<u64>| {
        rate.map(|rate| {
            let bytes = u128::from(rate)
                .saturating_mul(u128::from(ns))
                .div_euclid(1_000_000_000);
            u64::try_from(bytes).unwrap_or(u64::MAX)
        })
    };
    match both(bytes(&sample.pcie_tx_rate), bytes(&sample.pcie_rx_rate)) {
        Reading::Unsupported => None,
        told => Some(told),
    }
}

/// The share of memory bandwidth, which no counter tells: that of the pair of samples, if it spans what the counters do.
fn dram_of(sample: &DeviceSample, interval_ns: u64) -> Reading<Ppm> {
    match &sample.activity {
        Reading::Value(pair)
            if pair.interval_ns >= interval_ns.saturating_sub(interval_ns.div_euclid(10)) =>
        {
            pair.dram
        }
        Reading::Value(_) => Reading::Lost(LossReason::Failed),
        Reading::Unsupported => Reading::Unsupported,
        Reading::Lost(why) => Reading::Lost(*why),
    }
}

/// Why a sample cannot stand at the end of a covered stretch, if it cannot.
fn unreadable(sample: &DeviceSample) -> Option<GapReason> {
    let nothing = sample.energy_mj.value().is_none()
        && sample.power_mw.value().is_none()
        && sample.utilisation.value().is_none()
        && sample.activity.value().is_none();
    GapReason::of_state(sample.state).or_else(|| nothing.then_some(GapReason::ReadFailed))
}

impl GapReason {
    /// The reason that a device's state gives for a stretch without samples; `None` where the device answers.
    #[must_use]
    pub fn of_state(state: DeviceState) -> Option<Self> {
        match state {
            DeviceState::Present => None,
            DeviceState::Lost => Some(Self::DeviceLost),
            DeviceState::Hung => Some(Self::DriverHung),
            DeviceState::Released => Some(Self::Released),
            DeviceState::Unmanaged | DeviceState::PassedThrough => Some(Self::Reconfigured),
            DeviceState::DriverUnavailable => Some(Self::DriverUnavailable),
        }
    }
}

#[cfg(test)]
#[path = "track_tests.rs"]
mod tests;
