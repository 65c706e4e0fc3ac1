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
use crate::time::BootNanos;
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
    /// SM clock at both ends, in megahertz.
    pub sm_clock_mhz: Reading<Ends<u32>>,
    /// Utilisation at both ends; its mean over the stretch, twice, where the driver kept what was in between.
    pub utilisation: Reading<Ends<Ppm>>,
    /// Mean activity up to the later sample.
    pub activity: Reading<Activity>,
    /// For how many nanoseconds of covered time that mean speaks; it may reach back over earlier steps.
    pub activity_ns: u64,
    /// For how many nanoseconds of gaps it speaks beside them, at a clock that nobody read: zero unless counters tell it.
    pub activity_gap_ns: u64,
    /// Who told of the activity.
    pub activity_source: ActivitySource,
}

impl Step {
    /// Length in nanoseconds.
    #[must_use]
    pub fn length_ns(&self) -> u64 {
        self.to.since(self.from)
    }

    /// Length in nanoseconds if it is covered, else zero.
    #[must_use]
    pub fn covered_ns(&self) -> u64 {
        if self.gap.is_none() { self.length_ns() } else { 0 }
    }
}

/// A cumulative counter and its last good value.
#[derive(Clone, Copy, Debug, Default)]
struct Counter {
    last: Option<u64>,
}

impl Counter {
    /// What it gained since its last good value. A decrease is a counter that started anew: what it lost is not known,
    /// so nothing is added, and `resets` says so. A value that was lost in between costs nothing.
    fn gain(&mut self, now: &Reading<u64>, resets: &mut u32) -> Reading<u64> {
        now.map(|value| {
            let before = self.last.replace(value).unwrap_or(value);
            value.checked_sub(before).unwrap_or_else(|| {
                *resets = resets.saturating_add(1);
                0
            })
        })
    }
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
    last: Option<Last>,
    without_activity_ns: u64,
    without_energy_ns: u64,
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
            last: None,
            without_activity_ns: 0,
            without_energy_ns: 0,
            cycles: Cycles::default(),
            energy: Counter::default(),
            nvlink: [Counter::default(); 2],
            pcie: [Counter::default(); 2],
        }
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
        let sm_clock_mhz = ends(sample.sm_clock_mhz, before.and_then(|b| b.sm_clock_mhz));
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
        let utilisation = match sample.busy_mean {
            Reading::Value(mean) => Reading::Value(Ends::of(mean, mean)),
            _ => sample.utilisation.map(|n| Ends::of(busy_before.unwrap_or(n), n)),
        };

        let mut resets = 0;
        let metered = self.energy.last.is_some();
        let energy_mj = self.energy.gain(&sample.energy_mj, &mut resets);
        let energy_ns = self.energy_time(length, gap, sample, metered && resets == 0);
        let mut pair = |counters: &mut [Counter; 2], tx: &Reading<u64>, rx: &Reading<u64>| {
            let [sent, received] = counters;
            both(sent.gain(tx, &mut resets), received.gain(rx, &mut resets))
        };
        let nvlink = pair(&mut self.nvlink, &sample.nvlink_tx_bytes, &sample.nvlink_rx_bytes);
        let mut pcie = pair(&mut self.pcie, &sample.pcie_tx_bytes, &sample.pcie_rx_bytes);

        let covered_ns = if gap.is_none() { length } else { 0 };
        let mut pair_ns = 0;
        if gap.is_some() {
            self.without_activity_ns = 0;
        } else {
            self.without_activity_ns = self.without_activity_ns.saturating_add(length);
            if let Reading::Value(a) = &sample.activity {
                pair_ns = a.interval_ns.min(self.without_activity_ns);
                self.without_activity_ns = 0;
            }
        }
        let mut pcie_method = Method::Counter;
        if let (Reading::Unsupported, Some(sampled)) = (&pcie, sampled_bytes(sample, pair_ns)) {
            pcie = sampled;
            pcie_method = Method::Sampled;
        }
        let gap_ns = length.saturating_sub(covered_ns);
        let told = self.cycles.push(sample.at, covered_ns, gap_ns, &sample.cycles);
        resets = resets.saturating_add(u32::from(told == Told::Reset));
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
            utilisation,
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
            activity_source,
        })
    }
}

impl Track {
    /// For how much covered time the energy gained with this sample speaks; none where the gain is not `sound`.
    fn energy_time(
        &mut self,
        length: u64,
        gap: Option<GapReason>,
        sample: &DeviceSample,
        sound: bool,
    ) -> u64 {
        self.without_energy_ns = match gap {
            Some(_) => 0,
            None => self.without_energy_ns.saturating_add(length),
        };
        if sample.energy_mj.value().is_none() {
            return 0;
        }
        let spoken_for = std::mem::take(&mut self.without_energy_ns);
        if sound { spoken_for } else { 0 }
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
mod tests {
    use super::*;
    use crate::telemetry::cycles::tests::counted;
    use crate::telemetry::{Jobs, PowerRing, Window, blank};
    use crate::time::SECOND;
    use proptest::prelude::*;

    fn at(ms: u64, energy: Reading<u64>) -> DeviceSample {
        DeviceSample {
            energy_mj: energy,
            power_mw: Reading::Value(100_000),
            ..blank(BootNanos(ms * 1_000_000))
        }
    }

    fn sum(samples: &[DeviceSample]) -> (Window, Vec<Option<GapReason>>) {
        let (mut track, mut window, mut gaps) = (Track::new(SECOND), Window::default(), Vec::new());
        for s in samples {
            if let Some(step) = track.push(s) {
                window.add(&step, s);
                gaps.push(step.gap);
            }
        }
        (window, gaps)
    }

    #[test]
    fn a_counter_counts_across_a_gap_and_a_sampled_integral_does_not() {
        let (window, gaps) = sum(&[
            at(0, Reading::Value(5_000)),
            at(1_000, Reading::Value(5_100)),
            at(2_500, Reading::Value(5_250)),
            at(10_000, Reading::Value(6_000)),
        ]);
        assert_eq!(gaps, [None, None, None, Some(GapReason::SamplerLate)]);
        let measured = window.measured();
        assert_eq!(measured.energy_mj, Reading::Value(1_000));
        assert_eq!(measured.power_integral_mj, Reading::Value(250_000));
        assert_eq!(window.covered_ms(), 2_500);
    }

    #[test]
    fn a_value_lost_once_costs_nothing_and_a_counter_started_anew_adds_nothing() {
        let (window, _) = sum(&[
            at(0, Reading::Value(900)),
            at(1_000, Reading::Lost(LossReason::Failed)),
            at(2_000, Reading::Value(1_000)),
            at(3_000, Reading::Value(10)),
            at(4_000, Reading::Value(30)),
        ]);
        let measured = window.measured();
        assert_eq!(
            (measured.energy_mj, measured.counter_resets),
            (Reading::Value(120), 1)
        );
    }

    #[test]
    fn what_a_device_does_not_offer_is_missing_and_not_zero() {
        let (window, _) = sum(&[at(0, Reading::Unsupported), at(1_000, Reading::Unsupported)]);
        let measured = window.measured();
        assert_eq!(measured.energy_mj, Reading::Unsupported);
        assert_eq!(measured.pipes, Reading::Unsupported);
        assert_eq!(measured.temperature_max_c, Reading::Unsupported);
        assert_eq!(
            Window::default().measured().energy_mj,
            Reading::Lost(LossReason::Failed)
        );
    }

    #[test]
    fn a_sample_without_any_value_or_of_a_lost_device_covers_nothing() {
        let lost = DeviceSample {
            state: DeviceState::Lost,
            ..at(1_000, Reading::Value(1))
        };
        let (window, gaps) = sum(&[
            at(0, Reading::Value(1)),
            lost,
            blank(BootNanos(2 * SECOND)),
            at(3_000, Reading::Value(1)),
        ]);
        let (lost, failed) = (Some(GapReason::DeviceLost), Some(GapReason::ReadFailed));
        assert_eq!(gaps, [None, lost, lost, failed]);
        assert_eq!(window.covered_ms(), 0);
    }

    fn busy(ms: u64, elapsed: u64, hmma: u64) -> DeviceSample {
        DeviceSample {
            cycles: Reading::Value(vec![counted(elapsed, hmma)]),
            ..at(ms, Reading::Value(ms))
        }
    }

    #[test]
    fn cycle_counters_speak_for_a_gap_and_begin_anew_without_inventing_any() {
        let mut track = Track::new(SECOND);
        let mut step = |sample| track.push(&sample).unwrap();
        assert_eq!(step(busy(0, 1_000, 0)).activity_source, ActivitySource::None);
        let one = step(busy(1_000, 2_000, 400));
        assert_eq!((one.activity_ns, one.activity_gap_ns), (SECOND, 0));
        assert_eq!(one.activity_source, ActivitySource::GpmCounters);
        let after = step(busy(11_000, 12_000, 5_400));
        assert_eq!(after.gap, Some(GapReason::SamplerLate));
        assert_eq!((after.activity_ns, after.activity_gap_ns), (0, 10 * SECOND));
        let hmma = |step: &Step| step.activity.value().unwrap().hmma;
        assert_eq!(hmma(&after), Reading::Value(Ppm(500_000)));
        let anew = step(busy(12_000, 100, 10));
        assert_eq!((anew.resets, anew.activity), (1, Reading::Unsupported));
        let again = step(busy(13_000, 1_100, 260));
        assert_eq!((again.resets, hmma(&again)), (0, Reading::Value(Ppm(250_000))));
        let (window, _) = sum(&[
            busy(0, 1_000, 0),
            busy(10_000, 2_000, 250),
            busy(11_000, 2_100, 350),
        ]);
        let measured = window.measured();
        assert_eq!(measured.activity_source, ActivitySource::GpmCounters);
        let pipes = measured.pipes.value().unwrap();
        assert_eq!(
            pipes.hmma,
            Reading::Value(2_500 + 1_000),
            "of which 2.5 s in the gap"
        );
    }

    #[test]
    fn pcie_bytes_of_means_count_for_covered_time_and_say_that_they_are_sampled() {
        let sampled = |ms: u64| DeviceSample {
            activity: Reading::Value(Activity {
                interval_ns: SECOND,
                ..activity()
            }),
            pcie_tx_rate: Reading::Value(1_000),
            pcie_rx_rate: Reading::Value(3_000),
            ..at(ms, Reading::Value(1))
        };
        let (window, _) = sum(&[sampled(0), sampled(1_000), sampled(20_000), sampled(20_500)]);
        let measured = window.measured();
        assert_eq!(measured.pcie, Reading::Value(Traffic { tx: 1_500, rx: 4_500 }));
        assert_eq!(measured.pcie_method, Method::Sampled);
        let counted = |ms: u64| DeviceSample {
            pcie_tx_bytes: Reading::Value(ms),
            pcie_rx_bytes: Reading::Value(ms),
            ..sampled(ms)
        };
        let (window, _) = sum(&[counted(0), counted(1_000)]);
        let measured = window.measured();
        assert_eq!(measured.pcie, Reading::Value(Traffic { tx: 1_000, rx: 1_000 }));
        assert_eq!(measured.pcie_method, Method::Counter);
        assert_eq!(measured.activity_source, ActivitySource::Gpm);
        let elsewhere = |ms: u64| DeviceSample {
            by_host_engine: true,
            ..sampled(ms)
        };
        let (window, _) = sum(&[elsewhere(0), elsewhere(1_000)]);
        assert_eq!(window.measured().activity_source, ActivitySource::Dcgm);
    }

    #[test]
    fn what_the_driver_kept_between_two_ticks_is_in_the_sums() {
        let kept = |ms: u64| DeviceSample {
            utilisation: Reading::Value(Ppm(1_000_000)),
            busy_mean: Reading::Value(Ppm(300_000)),
            power_ring: Reading::Value(PowerRing {
                mean_mw: 250_000,
                lowest_mw: 80_000,
                highest_mw: 400_000,
            }),
            ..at(ms, Reading::Unsupported)
        };
        let (window, _) = sum(&[kept(0), kept(1_000), kept(2_000)]);
        let measured = window.measured();
        assert_eq!(measured.busy_ms, Reading::Value(600));
        assert_eq!(measured.power_integral_mj, Reading::Value(500_000));
        assert_eq!(
            measured.energy_mj,
            Reading::Unsupported,
            "an integral is no counter"
        );
        let power = measured.power_mw.value().unwrap().clone();
        assert_eq!((power.min, power.mean, power.max), (80_000, 250_000, 400_000));
    }

    #[test]
    fn processes_that_ended_are_counted_and_the_longest_is_told() {
        let ended = |ms: u64, ended, longest_s| DeviceSample {
            jobs: Some(Jobs { ended, longest_s }),
            ..at(ms, Reading::Value(1))
        };
        let (window, _) = sum(&[ended(0, 0, 0), ended(1_000, 2, 30), ended(2_000, 1, 7)]);
        let three = Jobs {
            ended: 3,
            longest_s: 30,
        };
        assert_eq!(window.measured().jobs, Some(three));
        let (window, _) = sum(&[at(0, Reading::Value(1))]);
        assert_eq!(window.measured().jobs, None, "accounting mode is off");
    }

    fn activity() -> Activity {
        Activity {
            interval_ns: 0,
            sm: Reading::Unsupported,
            tensor_any: Reading::Unsupported,
            dfma: Reading::Unsupported,
            hmma: Reading::Unsupported,
            imma: Reading::Unsupported,
            dram: Reading::Unsupported,
            fp64: Reading::Unsupported,
            fp32: Reading::Unsupported,
            fp16: Reading::Unsupported,
            integer: Reading::Unsupported,
        }
    }

    proptest! {
        /// Whatever samples are lost on the way, the pipes were busy for as long as the counters say.
        #[test]
        fn cycle_counters_lose_nothing_to_lost_samples(
            seconds in prop::collection::vec((0u64..=1_000, prop::sample::select(vec![0, 0, 1, 2])), 2..60),
        ) {
            let (mut hmma, mut samples) = (0, vec![busy(0, 0, 0)]);
            for (i, (busy_ms, kind)) in (1u64..).zip(&seconds) {
                hmma += busy_ms;
                let mut sample = busy(i * 1_000, i * 1_000, hmma);
                let last = usize::try_from(i).unwrap() == seconds.len();
                match kind {
                    1 if !last => continue,
                    2 if !last => sample.cycles = Reading::Lost(LossReason::Failed),
                    _ => {}
                }
                samples.push(sample);
            }
            let (window, _) = sum(&samples);
            let told = *window.measured().pipes.value().unwrap().hmma.value().unwrap();
            prop_assert!(told <= hmma && told + 1 >= hmma, "{} of {}", told, hmma);
        }

        #[test]
        fn windows_add_up_to_the_same_in_any_order(
            values in prop::collection::vec((1u64..4_000, 0u64..1_000_000, 0u32..4), 1..60),
            cut in 1usize..20,
            turn in 0usize..20,
        ) {
            let mut ms = 0;
            let samples: Vec<DeviceSample> = values.iter().map(|(dt, energy, kind)| {
                ms += dt;
                let reading = match kind {
                    0 => Reading::Lost(LossReason::Hung),
                    1 => Reading::Unsupported,
                    _ => Reading::Value(*energy),
                };
                at(ms, reading)
            }).collect();
            let (whole, _) = sum(&samples);
            let mut track = Track::new(SECOND);
            let mut parts: Vec<Window> = samples.chunks(cut).map(|chunk| {
                let mut window = Window::default();
                for s in chunk {
                    if let Some(step) = track.push(s) {
                        window.add(&step, s);
                    }
                }
                window
            }).collect();
            let turn = turn % parts.len();
            parts.rotate_left(turn);
            let mut total = Window::default();
            for part in &parts {
                total.absorb(part);
            }
            prop_assert_eq!(total.measured(), whole.measured());
            prop_assert_eq!(total.covered_ms(), whole.covered_ms());
        }
    }
}
