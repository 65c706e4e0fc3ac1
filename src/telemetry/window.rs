//! Sums over a window: streaming, of fixed size, and the same whichever order windows are added in.
//!
//! Decides: what a window or a report says was measured. A stretch counts in the window in which it ends, so that over
//! consecutive windows each stretch counts once. Sums of counters and integrals of samples stay apart. Does not
//! extrapolate over gaps.

use super::{
    ActivitySource, DeviceSample, Jobs, LossReason, Measured, Method, PipeTimes, Reading, Spread, Step,
    Traffic,
};
use crate::unit::Ppm;

/// Whether there was a value, or why there was none: missing until the first value, and then the reason for a miss is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen(Reading<()>);

impl Default for Seen {
    fn default() -> Self {
        Self(Reading::Lost(LossReason::Failed))
    }
}

impl Seen {
    #[inline]
    fn add<T>(&mut self, reading: &Reading<T>) {
        match reading {
            Reading::Value(_) => self.0 = Reading::Value(()),
            Reading::Unsupported => self.miss(Reading::Unsupported),
            Reading::Lost(why) => self.miss(Reading::Lost(*why)),
        }
    }

    /// A value once seen stays a value; `Unsupported` outranks the blank that a new window begins with.
    fn miss(&mut self, why: Reading<()>) {
        if self.0.value().is_none() {
            self.0 = self.0.outranked_by(why);
        }
    }
}

/// A sum of readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Total {
    sum: u128,
    seen: Seen,
}

impl Total {
    #[inline]
    fn add(&mut self, amount: Reading<u128>) {
        self.seen.add(&amount);
        if let Reading::Value(v) = amount {
            self.sum = self.sum.saturating_add(v);
        }
    }

    /// Adds a share of some time.
    #[inline]
    fn add_share(&mut self, share: &Reading<Ppm>, ns: u64) {
        self.seen.add(share);
        if let Reading::Value(share) = share {
            self.sum = self.sum.saturating_add(product(share.0, ns));
        }
    }

    fn absorb(&mut self, other: &Self) {
        let amount = other.seen.0.map(|()| other.sum);
        self.add(amount);
    }

    /// The sum divided by `unit`, rounded down.
    fn read(&self, unit: u128) -> Reading<u64> {
        self.seen.0.map(|()| {
            let whole = self.sum.checked_div(unit).unwrap_or(0);
            u64::try_from(whole).unwrap_or(u64::MAX)
        })
    }
}

impl Reading<()> {
    /// Of two reasons for a missing value the one to tell, whichever came first: a device that does not offer a value
    /// never had one to lose, and a named loss says more than a failure.
    fn outranked_by(self, other: Self) -> Self {
        let rank = |r: &Self| match r {
            Self::Value(()) => 7,
            Self::Unsupported => 6,
            Self::Lost(LossReason::Failed) => 0,
            Self::Lost(why) => 5u8.saturating_sub(why.code().min(4)),
        };
        if rank(&other) > rank(&self) { other } else { self }
    }
}

/// Mean and extremes: the mean weighs each covered stretch by its length, the extremes are those of the samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct SpreadSum {
    weighted: u128,
    weight: u128,
    extremes: Option<(u32, u32)>,
    seen: Seen,
}

impl SpreadSum {
    fn add(&mut self, now: Reading<u32>, mean: u32, ns: u64) {
        self.add_range(now.map(|v| (v, v)), mean, ns);
    }

    /// Adds a stretch of which the lowest and the highest value are known.
    fn add_range(&mut self, now: Reading<(u32, u32)>, mean: u32, ns: u64) {
        self.seen.add(&now);
        if let Reading::Value((lowest, highest)) = now {
            let (low, high) = self.extremes.unwrap_or((lowest, highest));
            self.extremes = Some((low.min(lowest), high.max(highest)));
            self.weighted = self.weighted.saturating_add(product(mean, ns));
            self.weight = self.weight.saturating_add(u128::from(ns));
        }
    }

    fn absorb(&mut self, other: &Self) {
        self.seen.add(&other.seen.0);
        self.weighted = self.weighted.saturating_add(other.weighted);
        self.weight = self.weight.saturating_add(other.weight);
        self.extremes = match (self.extremes, other.extremes) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (one, None) => one,
            (None, other) => other,
        };
    }

    fn read(&self) -> Reading<Spread> {
        match (self.seen.0, self.extremes) {
            (Reading::Value(()), Some((min, max))) => {
                let mean = self.weighted.checked_div(self.weight);
                let mean = mean.and_then(|m| u32::try_from(m).ok()).unwrap_or(min);
                Reading::Value(Spread {
                    mean: mean.clamp(min, max),
                    min,
                    max,
                })
            }
            (Reading::Lost(why), _) => Reading::Lost(why),
            _ => Reading::Unsupported,
        }
    }
}

/// The sums of one device over one window. [`Window::absorb`] makes a report of windows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    covered_ns: u64,
    samples: u32,
    resets: u32,
    energy: Total,
    power_integral: Total,
    busy: Total,
    pipes: [Total; 10],
    activity: Total,
    /// For how long each source told of the pipes, by its code, in nanoseconds.
    sources: [u64; ActivitySource::ALL.len()],
    /// Whether some PCIe bytes were sampled.
    pcie_sampled: bool,
    power: SpreadSum,
    clock: SpreadSum,
    memory: SpreadSum,
    temperature: Option<i32>,
    temperature_seen: Seen,
    clock_events: u64,
    clock_events_seen: Seen,
    nvlink: [Total; 2],
    pcie: [Total; 2],
    jobs: Option<Jobs>,
}

impl Window {
    /// Adds a step and the sample at its end.
    pub fn add(&mut self, step: &Step, sample: &DeviceSample) {
        self.samples = self.samples.saturating_add(1);
        self.resets = self.resets.saturating_add(step.resets);
        self.energy.add(step.energy_mj.map(u128::from));
        add_traffic(&mut self.nvlink, &step.nvlink);
        add_traffic(&mut self.pcie, &step.pcie);

        let ns = step.covered_ns();
        self.covered_ns = self.covered_ns.saturating_add(ns);
        let power = step.power_mean_mw;
        let clock = step.clock_mean_mhz;
        self.power_integral.add(power.map(|p| product(p, ns)));
        let busy = step.utilisation.map(|e| e.low.0.midpoint(e.high.0));
        self.busy.add(busy.map(|b| product(b, ns)));
        let kept = sample.power_ring.value();
        let range = sample.power_mw.map(|now| {
            kept.map_or((now, now), |ring| {
                (now.min(ring.lowest_mw), now.max(ring.highest_mw))
            })
        });
        self.power
            .add_range(range, power.value().copied().unwrap_or(0), ns);
        let looks = sample.clock_looks.value();
        let range = sample.sm_clock_mhz.map(|now| {
            looks.map_or((now, now), |looks| {
                (now.min(looks.lowest_mhz), now.max(looks.highest_mhz))
            })
        });
        self.clock
            .add_range(range, clock.value().copied().unwrap_or(0), ns);
        let memory = sample.memory_used_mib;
        self.memory.add(memory, memory.value().copied().unwrap_or(0), ns);

        self.temperature_seen.add(&sample.temperature_c);
        self.temperature = self.temperature.max(sample.temperature_c.value().copied());
        self.clock_events_seen.add(&sample.clock_events);
        self.clock_events |= sample.clock_events.value().copied().unwrap_or(0);

        self.add_jobs(sample.jobs.as_ref());
        self.pcie_sampled |= step.pcie_method == Method::Sampled;
        // Counters speak for gaps too, as the energy counter does.
        let told_ns = step.activity_ns.saturating_add(step.activity_gap_ns);
        self.activity.add(match &step.activity {
            Reading::Value(_) => Reading::Value(u128::from(told_ns)),
            Reading::Unsupported => Reading::Unsupported,
            Reading::Lost(why) => Reading::Lost(*why),
        });
        if let Reading::Value(activity) = &step.activity {
            let [sm, tensor, dfma, hmma, imma, dram, fp64, fp32, fp16, integer] = &mut self.pipes;
            let a = activity;
            sm.add_share(&a.sm, told_ns);
            tensor.add_share(&a.tensor_any, told_ns);
            dfma.add_share(&a.dfma, told_ns);
            hmma.add_share(&a.hmma, told_ns);
            imma.add_share(&a.imma, told_ns);
            dram.add_share(&a.dram, told_ns);
            fp64.add_share(&a.fp64, told_ns);
            fp32.add_share(&a.fp32, told_ns);
            fp16.add_share(&a.fp16, told_ns);
            integer.add_share(&a.integer, told_ns);
            let source = usize::from(step.activity_source.code());
            if let Some(ns) = self.sources.get_mut(source) {
                *ns = ns.saturating_add(told_ns);
            }
        }
    }

    /// Adds the sums of another window of the same device.
    pub fn absorb(&mut self, other: &Self) {
        self.covered_ns = self.covered_ns.saturating_add(other.covered_ns);
        self.samples = self.samples.saturating_add(other.samples);
        self.resets = self.resets.saturating_add(other.resets);
        self.energy.absorb(&other.energy);
        self.power_integral.absorb(&other.power_integral);
        self.busy.absorb(&other.busy);
        self.activity.absorb(&other.activity);
        for (mine, theirs) in self.sources.iter_mut().zip(other.sources) {
            *mine = mine.saturating_add(theirs);
        }
        self.pcie_sampled |= other.pcie_sampled;
        self.add_jobs(other.jobs.as_ref());
        self.power.absorb(&other.power);
        self.clock.absorb(&other.clock);
        self.memory.absorb(&other.memory);
        self.temperature = self.temperature.max(other.temperature);
        self.temperature_seen.add(&other.temperature_seen.0);
        self.clock_events |= other.clock_events;
        self.clock_events_seen.add(&other.clock_events_seen.0);
        let mine = self
            .pipes
            .iter_mut()
            .chain(&mut self.nvlink)
            .chain(&mut self.pcie);
        let theirs = other.pipes.iter().chain(&other.nvlink).chain(&other.pcie);
        for (a, b) in mine.zip(theirs) {
            a.absorb(b);
        }
    }

    /// Covered time in milliseconds.
    #[must_use]
    pub fn covered_ms(&self) -> u32 {
        let ms = self.covered_ns.checked_div(NS_PER_MS).unwrap_or(0);
        u32::try_from(ms).unwrap_or(u32::MAX)
    }

    /// Samples taken.
    #[must_use]
    pub fn samples(&self) -> u32 {
        self.samples
    }

    /// The sums as a report carries them.
    #[must_use]
    pub fn measured(&self) -> Measured {
        // Millionths of a nanosecond to milliseconds.
        const SHARE: u128 = 1_000_000_000_000;
        let [sm, tensor, dfma, hmma, imma, dram, fp64, fp32, fp16, integer] =
            self.pipes.map(|p| p.read(SHARE));
        Measured {
            energy_mj: self.energy.read(1),
            power_integral_mj: self.power_integral.read(1_000_000_000),
            busy_ms: self.busy.read(SHARE),
            pipes: self.activity.seen.0.map(|()| PipeTimes {
                sm,
                tensor,
                dfma,
                hmma,
                imma,
                dram,
                fp64,
                fp32,
                fp16,
                integer,
            }),
            power_mw: self.power.read(),
            sm_clock_mhz: self.clock.read(),
            memory_used_mib: self.memory.read(),
            temperature_max_c: self.temperature_seen.0.map(|()| self.temperature.unwrap_or(0)),
            clock_events: self.clock_events_seen.0.map(|()| self.clock_events),
            nvlink: read_traffic(&self.nvlink),
            pcie: read_traffic(&self.pcie),
            counter_resets: self.resets,
            pcie_method: if self.pcie_sampled {
                Method::Sampled
            } else {
                Method::Counter
            },
            activity_source: self.activity_source(),
            jobs: self.jobs.clone(),
        }
    }

    fn add_jobs(&mut self, more: Option<&Jobs>) {
        if let Some(more) = more {
            self.jobs = Some(self.jobs.as_ref().unwrap_or(&Jobs::NONE).plus(more));
        }
    }

    /// Who told of the pipes for most of the time, and of two alike the one that a gap costs more.
    fn activity_source(&self) -> ActivitySource {
        let told = ActivitySource::ALL.iter().zip(self.sources);
        told.filter(|(_, ns)| *ns > 0)
            .rev()
            .max_by_key(|(_, ns)| *ns)
            .map_or(ActivitySource::None, |(source, _)| *source)
    }
}

/// Nanoseconds in a millisecond.
const NS_PER_MS: u64 = 1_000_000;

fn product(value: u32, ns: u64) -> u128 {
    // 32 and 64 bits never make more than 96.
    u128::from(value).wrapping_mul(u128::from(ns))
}

fn add_traffic(totals: &mut [Total; 2], gained: &Reading<Traffic>) {
    let [tx, rx] = totals;
    let bytes = |get: fn(&Traffic) -> u64| match gained {
        Reading::Value(t) => Reading::Value(u128::from(get(t))),
        Reading::Unsupported => Reading::Unsupported,
        Reading::Lost(why) => Reading::Lost(*why),
    };
    tx.add(bytes(|t| t.tx));
    rx.add(bytes(|t| t.rx));
}

fn read_traffic(totals: &[Total; 2]) -> Reading<Traffic> {
    let [tx, rx] = totals.map(|t| t.read(1));
    match (tx, rx) {
        (Reading::Value(tx), Reading::Value(rx)) => Reading::Value(Traffic { tx, rx }),
        (Reading::Lost(why), _) => Reading::Lost(why),
        (_, Reading::Lost(why)) => Reading::Lost(why),
        _ => Reading::Unsupported,
    }
}
