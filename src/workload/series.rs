//! The series of a device, and the features of its windows: ratios, symmetry, synchrony, rhythm, phases, events.
//!
//! Decides: which numbers a window is scored by. Every feature is a ratio or a correlation, so that it means the same on
//! every part; rates of watts or bytes enter only relative to themselves. A feature that cannot be computed is missing.
//! Arithmetic is IEEE 754 with additions, products, quotients and square roots only, which are exactly rounded: every
//! machine computes the same bits.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "signal arithmetic on f64, which saturates and never traps; results are clamped before they become integers"
)]

use super::beat::{Beat, Exchange};
use super::events::Events;
use super::feature::Features;
use super::likeness::{movements, pearson};
use super::mixture::Mixture;
use super::phases::{Phases, Sample};
use super::residual::residual;
use super::rhythm::{Rhythm, Timed, autocorrelation_peak};
use super::row::{Row, mean, variation};
use crate::telemetry::{Activity, Reading, Step};
use crate::unit::Ppm;
use std::collections::VecDeque;

/// Points that a series keeps: the last minute, so that periods and likeness can be told where windows are shorter.
pub(super) const MAX_POINTS: usize = 60;

/// The most instants of bursts that a window holds; sixty seconds at ten a second are six hundred.
pub(super) const MAX_BURST: usize = 1_024;

/// Traffic at or above this counts as traffic, in bytes per second: links at rest still exchange housekeeping.
const LINK_AT_REST: f64 = 1_048_576.0;

/// The same of PCIe: devices at rest were seen to exchange 0.5 to 2 MB a second, and those that load data 10 MB and more.
const PCIE_AT_REST: f64 = 16_777_216.0;

/// A share below this is no work: ratios to it say nothing.
pub(super) const AT_REST: f64 = 0.005;

/// Fewer instants of bursts than these show no period.
const LEAST_BURST: usize = 100;

/// Nor do fewer than these, where it is looked for with what corrects for few.
const LEAST_EVEN: usize = 50;

/// After longer than this without a reading of a counter nobody knows over which time the next one counts, in milliseconds: three steps of a burst.
pub(super) const LONGEST_MS: u32 = 300;

/// Of fewer instants that tell of activity than these, the points are looked at instead.
const LEAST_TOLD: usize = 25;

/// The means over one point of about a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Point {
    /// When it ended, in milliseconds since the device was first seen.
    at_ms: u64,
    pipes: Shares,
    busy: Option<f64>,
    power: Option<f64>,
    link: Option<[f64; 2]>,
    pcie: Option<[f64; 2]>,
    /// Memory in use.
    memory: Option<f64>,
}

/// SM, tensor, DRAM, FP64, FP32, integer.
pub(super) const PIPES: usize = 6;

/// A share for each pipe; none where the device or the driver does not tell it.
pub(super) type Shares = [Option<f64>; PIPES];

/// What the open point has gathered.
#[derive(Clone, Copy, Debug, Default)]
struct Gathering {
    ns: f64,
    /// For each pipe, for how long it was told, and the sum of its shares over that.
    pipes: [(f64, f64); PIPES],
    busy: Option<f64>,
    power: Option<f64>,
    link: Option<[f64; 2]>,
    pcie: Option<[f64; 2]>,
    memory: Option<f64>,
}

/// One instant of a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instant {
    /// Milliseconds after the start of the window.
    pub at_ms: u32,
    /// Power, in milliwatts.
    pub power_mw: Reading<u32>,
    /// NVLink kibibytes sent since the instant before.
    pub tx_kib: Reading<u32>,
    /// NVLink kibibytes received since the instant before.
    pub rx_kib: Reading<u32>,
    /// SM activity, in parts per million, and the next two: the mean over a pair of samples that ended with this instant, every second one at
    /// ten a second. Unsupported where none ended.
    pub sm_ppm: Reading<u32>,
    /// Any tensor pipe.
    pub tensor_ppm: Reading<u32>,
    /// DRAM.
    pub dram_ppm: Reading<u32>,
}

/// The series of one device, of bounded length: the points of the last minute, the bursts of the open window, and the events of the last hour.
/// From the first instant of a burst on it takes no memory anew.
#[derive(Clone, Debug, Default)]
pub struct Series {
    open: Gathering,
    points: VecDeque<Point>,
    /// Points that belong to the open window.
    own: usize,
    burst: Vec<Instant>,
    events: Events,
    beat: Beat,
    /// Time since the device was first seen, in nanoseconds, gaps included.
    clock_ns: u64,
}

impl Series {
    /// The most memory that a series takes beside itself, in bytes.
    pub const MOST_BYTES: usize =
        MAX_POINTS * size_of::<Point>() + MAX_BURST * (size_of::<Instant>() + Beat::BYTES);

    /// Adds a covered step to the open point. A gap adds nothing but its length.
    pub fn add(&mut self, step: &Step) {
        self.clock_ns = self.clock_ns.saturating_add(step.length_ns());
        let ns = step.covered_ns() as f64;
        if ns <= 0.0 {
            return;
        }
        let open = &mut self.open;
        open.ns += ns;
        if let Reading::Value(a) = &step.activity {
            let span = step.activity_ns as f64;
            for ((ns, sum), share) in open.pipes.iter_mut().zip(shares(a)) {
                if let Some(share) = share {
                    *ns += span;
                    *sum += share * span;
                }
            }
        }
        let weigh = |sum: &mut Option<f64>, value: Option<f64>| {
            if let Some(v) = value {
                *sum = Some(sum.unwrap_or(0.0) + v * ns);
            }
        };
        let busy = step
            .utilisation
            .value()
            .map(|e| f64::from(e.low.0.midpoint(e.high.0)) / PPM);
        weigh(&mut open.busy, busy);
        let power = step.power_mean_mw.value().map(|mean| f64::from(*mean));
        weigh(&mut open.power, power);
        for (sum, gained) in [(&mut open.link, &step.nvlink), (&mut open.pcie, &step.pcie)] {
            if let Reading::Value(t) = gained {
                let [tx, rx] = sum.unwrap_or_default();
                *sum = Some([tx + t.tx as f64, rx + t.rx as f64]);
            }
        }
        open.memory = step
            .memory_used_mib
            .value()
            .copied()
            .map(f64::from)
            .or(open.memory);
    }

    /// Closes the open point. All devices of a node close theirs together, so that points at one place are of one time.
    pub fn close_point(&mut self) {
        let open = std::mem::take(&mut self.open);
        if self.points.len() >= MAX_POINTS {
            self.points.pop_front();
        } else if self.points.is_empty() {
            self.points.reserve_exact(MAX_POINTS);
        }
        self.own = self.own.saturating_add(1).min(MAX_POINTS);
        let mean = |sum: Option<f64>| sum.filter(|_| open.ns > 0.0).map(|s| s / open.ns);
        let rates = |sums: Option<[f64; 2]>| {
            let sums = sums.filter(|_| open.ns > 0.0);
            sums.map(|both| both.map(|bytes| bytes * 1e9 / open.ns))
        };
        let point = Point {
            at_ms: self.clock_ms(),
            pipes: open.pipes.map(|(ns, sum)| (ns > 0.0).then(|| sum / ns)),
            busy: mean(open.busy),
            power: mean(open.power),
            link: rates(open.link),
            pcie: rates(open.pcie),
            memory: open.memory,
        };
        let [sm, ..] = point.pipes;
        let length_ms = (open.ns / 1e6) as u64;
        self.events
            .add(point.at_ms, length_ms, sm.or(point.busy), point.memory);
        self.points.push_back(point);
    }

    /// Adds an instant of a burst.
    pub fn add_instant(&mut self, instant: Instant) {
        let kib = |r: Reading<u32>| r.value().copied().map(f64::from);
        let moved = kib(instant.tx_kib).zip(kib(instant.rx_kib));
        let [sm, tensor, _] = instant.shares();
        let exchange = Exchange {
            at_ms: instant.at_ms,
            kib: moved.map(|(tx, rx)| tx + rx),
            activity: sm.zip(tensor).map(|(sm, tensor)| [sm, tensor]),
        };
        self.beat.add(self.clock_ms(), &exchange);
        if self.burst.capacity() == 0 {
            self.burst.reserve_exact(MAX_BURST);
        }
        if self.burst.len() < MAX_BURST {
            self.burst.push(instant);
        }
    }

    /// An instant of a burst was left out, whose counters had moved on.
    pub(crate) fn leave_out_instant(&mut self) {
        self.beat.leave_out();
    }

    /// The instants of bursts.
    #[must_use]
    pub fn burst(&self) -> &[Instant] {
        &self.burst
    }

    /// Begins the next window: bursts are forgotten but for their beat, points of the last minute stay.
    pub fn next_window(&mut self) {
        let (linked, memory_mib) = (self.is_linked(), self.memory_mib());
        self.beat.close(self.clock_ms(), linked, memory_mib);
        self.own = 0;
        self.burst.clear();
    }

    /// What beat before is of other work than what comes.
    pub(crate) fn forget_beat(&mut self) {
        self.beat.forget();
    }

    /// How alike the movements of two devices are: Pearson correlation of the differences from point to point, of power
    /// or of NVLink traffic, whichever is higher. Large movements are cut to the ninth decile, so that one common start
    /// or stop does not pass for a common rhythm. `None` where either stands still.
    #[must_use]
    pub fn likeness(&self, other: &Self) -> Option<f64> {
        let pairs = |get: fn(&Point) -> Option<f64>| -> Option<f64> {
            // From the latest backwards: the latest points are of one time, whenever a device was first seen.
            let both = self.points.iter().rev().zip(other.points.iter().rev());
            let (mut a, mut b) = (Row::<MAX_POINTS>::default(), Row::<MAX_POINTS>::default());
            for (own, others) in both.filter_map(|(a, b)| Some((get(a)?, get(b)?))) {
                a.push(own);
                b.push(others);
            }
            pearson(movements(&a).values(), movements(&b).values())
        };
        let power = pairs(|p| p.power);
        let link = pairs(|p| p.link.map(|[tx, rx]| tx + rx));
        match (power, link) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (one, None) => one,
            (None, other) => other,
        }
    }

    /// The features. Activity and power are means over the window's own points; links, rhythm and `synchrony` (from
    /// [`synchrony`](super::synchrony)) are told from the last minute, events from the last hour.
    #[must_use]
    pub fn features(&self, synchrony: Option<f64>) -> Features {
        let own = || self.points.iter().rev().take(self.own);
        let pipe = |i: usize| mean(own().filter_map(|p| p.pipes.get(i).copied().flatten()));
        let (sm, tensor, dram) = (pipe(0), pipe(1), pipe(2));
        let per_sm = |share: Option<f64>| {
            let sm = sm.filter(|sm| *sm > AT_REST)?;
            share.map(|share| share / sm)
        };
        let per_dram = dram.zip(tensor).filter(|(d, _)| *d > AT_REST).map(|(d, t)| t / d);
        let busy = mean(own().filter_map(|p| p.busy));
        // The steadiness of a mixture needs points; a short window borrows those of the minute before.
        let mixture = Mixture::of(self.points.iter().map(|p| p.pipes));
        let power: Row<MAX_POINTS> = self.points.iter().filter_map(|p| p.power).collect();
        let link = || self.points.iter().filter_map(|p| p.link);
        let [link_active, link_symmetry] = traffic(link(), LINK_AT_REST, true);
        let linked = link_active.is_some_and(|share| share > 0.0);
        let pcie = self.points.iter().filter_map(|p| p.pcie);
        let [pcie_active, pcie_symmetry] = traffic(pcie, PCIE_AT_REST, false);
        let beat = linked
            .then(|| self.beat.told(self.clock_ms(), self.memory_mib()))
            .flatten();
        let rhythm = self.rhythm(linked);
        let phases = self.phases();
        let events = self.events.told(self.points.iter().filter_map(|p| p.memory));
        let (periodicity, period_ms) = self.period(linked);
        Features {
            points: u32::try_from(self.points.len()).unwrap_or(u32::MAX),
            sm: ppm(sm),
            busy: ppm(busy),
            tensor: ppm(tensor),
            tensor_per_sm: ppm(per_sm(tensor)),
            tensor_per_dram: ppm(per_dram),
            dram: ppm(dram),
            fp64: ppm(pipe(3)),
            fp32: ppm(pipe(4)),
            integer: ppm(pipe(5)),
            link_active: ppm(link_active),
            link_symmetry: ppm(link_symmetry),
            power_variation: ppm(variation(power.values())),
            periodicity: ppm(periodicity),
            period_ms,
            synchrony: ppm(synchrony.map(|s| s.max(0.0))),
            dram_per_sm: ppm(per_sm(dram)),
            fp64_per_sm: ppm(per_sm(pipe(3))),
            fp32_per_sm: ppm(per_sm(pipe(4))),
            integer_per_sm: ppm(per_sm(pipe(5))),
            sm_per_busy: ppm(sm.zip(busy).filter(|(_, b)| *b > AT_REST).map(|(sm, b)| sm / b)),
            tensor_mix: ppm(mixture.tensor),
            dram_mix: ppm(mixture.dram),
            sm_variation: ppm(mixture.sm),
            resting: ppm(mixture.resting),
            linked_tensor_per_dram: ppm(per_dram.filter(|_| link_active.is_some_and(|share| share > 0.5))),
            rhythm: ppm(rhythm.map(|r| r.height)),
            rhythm_ms: rhythm.and_then(|r| r.period_ms).map(|ms| ms.round() as u32),
            tensor_phase: ppm(phases.tensor),
            memory_phase: ppm(phases.memory),
            other_phase: ppm(phases.other),
            rest_phase: ppm(phases.rest),
            turns: ppm(phases.turns),
            burstiness: ppm(phases.burstiness),
            dips: ppm(events.dips),
            dip_evenness: ppm(events.dip_evenness),
            restarts: ppm(events.restarts),
            plateau: ppm(events.plateau),
            pcie_active: ppm(pcie_active),
            pcie_symmetry: ppm(pcie_symmetry),
            power_residual: ppm(self.power_residual()),
            link_beat: ppm(beat.map(|told| told.beat)),
            link_apart: ppm(beat.and_then(|told| told.apart)),
            beat_per_memory: ppm(beat.and_then(|told| told.per_memory)),
        }
    }

    /// Height and lag of the highest peak of the autocorrelation, of a burst where there is one, of NVLink where it is
    /// used, else of power.
    fn period(&self, linked: bool) -> (Option<f64>, Option<u32>) {
        let moved = |i: &Instant| Some(f64::from(*i.tx_kib.value()?) + f64::from(*i.rx_kib.value()?));
        let drawn = |i: &Instant| i.power_mw.value().copied().map(f64::from);
        let instants = self.burst.iter();
        let burst: Row<MAX_BURST> = instants
            .filter_map(|i| if linked { moved(i) } else { drawn(i) })
            .collect();
        let (peak, step_ms) = if burst.values().len() >= LEAST_BURST {
            // Ten a second on a node; a recording may have five.
            let at = |i: Option<&Instant>| i.map_or(0, |i| i.at_ms);
            let span = at(self.burst.last()).saturating_sub(at(self.burst.first()));
            let hundreds = f64::from(span) / (self.burst.len() as f64 * 100.0);
            (
                autocorrelation_peak(burst),
                100 * hundreds.round().max(1.0) as u32,
            )
        } else {
            let sum = |p: &Point| p.link.map(|[tx, rx]| tx + rx);
            let points = self.points.iter();
            let values = points.filter_map(|p| if linked { sum(p) } else { p.power });
            (autocorrelation_peak(values.collect::<Row<MAX_POINTS>>()), 1_000)
        };
        match peak {
            Some((height, lag)) => {
                let lag = u32::try_from(lag).unwrap_or(u32::MAX);
                (Some(height), Some(lag.saturating_mul(step_ms)))
            }
            None => (None, None),
        }
    }

    /// Time since the device was first seen, in milliseconds.
    fn clock_ms(&self) -> u64 {
        self.clock_ns.div_euclid(1_000_000)
    }

    /// The latest that is known of memory in use.
    fn memory_mib(&self) -> Option<f64> {
        self.points.iter().rev().find_map(|p| p.memory)
    }

    /// Whether links are in use.
    fn is_linked(&self) -> bool {
        let rates = self.points.iter().filter_map(|p| p.link);
        rates.into_iter().any(|[tx, rx]| tx + rx >= LINK_AT_REST)
    }

    /// NVLink traffic over a burst, if there is one: what was counted since the last instant that told, by how long ago that was.
    fn burst_of_links(&self) -> Option<Timed<MAX_BURST>> {
        let told = || {
            self.burst.iter().filter_map(|i| -> Option<(u32, f64)> {
                let kib = f64::from(*i.tx_kib.value()?) + f64::from(*i.rx_kib.value()?);
                Some((i.at_ms, kib))
            })
        };
        let moved = |((before, _), (at, kib)): ((u32, f64), (u32, f64))| {
            let ms = at
                .checked_sub(before)
                .filter(|ms| (1..=LONGEST_MS).contains(ms))?;
            Some((f64::from(at), kib / f64::from(ms)))
        };
        let pairs = told().zip(told().skip(1));
        (self.burst.len() >= LEAST_EVEN).then(|| pairs.filter_map(moved).collect())
    }

    /// What repeats, in a burst where there is one, of NVLink where it is used, else of power.
    fn rhythm(&self, linked: bool) -> Option<Rhythm> {
        if let Some(links) = self.burst_of_links() {
            let drawn = |i: &Instant| Some((f64::from(i.at_ms), f64::from(*i.power_mw.value()?)));
            return if linked {
                links.rhythm()
            } else {
                let power = self.burst.iter().filter_map(drawn);
                power.collect::<Timed<MAX_BURST>>().rhythm()
            };
        }
        let value = |p: &Point| {
            let value = if linked {
                p.link.map(|[tx, rx]| tx + rx)
            } else {
                p.power
            };
            Some((p.at_ms as f64, value?))
        };
        self.points
            .iter()
            .filter_map(value)
            .collect::<Timed<MAX_POINTS>>()
            .rhythm()
    }

    /// Of the instants of a burst that tell of activity, where there are enough; else of the points.
    fn phases(&self) -> Phases {
        let instants = self.burst.iter().filter_map(|i| -> Option<Sample> {
            let [sm, tensor, dram] = i.shares();
            Some((f64::from(i.at_ms), [sm?, tensor?, dram?]))
        });
        if instants.clone().count() >= LEAST_TOLD {
            return Phases::of(instants);
        }
        Phases::of(self.points.iter().filter_map(|p| -> Option<Sample> {
            let [sm, tensor, dram, ..] = p.pipes;
            Some((p.at_ms as f64, [sm?, tensor?, dram?]))
        }))
    }

    /// Likewise. The power of a pair of samples is the mean of both instants in it.
    fn power_residual(&self) -> Option<f64> {
        let power = |i: &Instant| i.power_mw.value().copied().map(f64::from);
        let pairs = self.burst.iter().zip(self.burst.iter().skip(1));
        let instants = pairs.filter_map(|(before, i)| {
            let [sm, tensor, dram] = i.shares();
            Some((power(before)?.midpoint(power(i)?), [Some(sm?), tensor, dram]))
        });
        if instants.clone().count() >= LEAST_TOLD {
            return residual(instants);
        }
        residual(self.points.iter().filter_map(|p| {
            let [sm, tensor, dram, ..] = p.pipes;
            Some((p.power?, [Some(sm?), tensor, dram]))
        }))
    }
}

impl Instant {
    /// Of SMs, tensor pipes and DRAM.
    fn shares(&self) -> [Option<f64>; 3] {
        let told = [&self.sm_ppm, &self.tensor_ppm, &self.dram_ppm];
        told.map(|reading| reading.value().map(|ppm| f64::from(*ppm) / PPM))
    }
}

const PPM: f64 = 1_000_000.0;

pub(super) const KIB_PER_MIB: f64 = 1_024.0;

/// SM, tensor, DRAM, FP64 (tensor or not), FP32, integer.
fn shares(a: &Activity) -> Shares {
    let share = |r: &Reading<Ppm>| r.value().map(|p| f64::from(p.0) / PPM);
    let most = |readings: &[&Reading<Ppm>]| readings.iter().filter_map(|r| share(r)).reduce(f64::max);
    [
        share(&a.sm),
        most(&[&a.tensor_any, &a.hmma, &a.imma]),
        share(&a.dram),
        most(&[&a.fp64, &a.dfma]),
        share(&a.fp32),
        share(&a.integer),
    ]
}

fn ppm(share: Option<f64>) -> Option<Ppm> {
    let scaled = (share? * PPM).round();
    scaled
        .is_finite()
        .then(|| Ppm(scaled.clamp(0.0, f64::from(u32::MAX)) as u32))
}

/// The share of points with traffic, and the lesser direction of it of the greater, of all points or of those with traffic alone.
fn traffic(points: impl Iterator<Item = [f64; 2]>, at_rest: f64, all: bool) -> [Option<f64>; 2] {
    let (mut told, mut active, mut sums) = (0.0, 0.0, [0.0; 2]);
    for [tx, rx] in points {
        let is_active = tx + rx >= at_rest;
        told += 1.0;
        active += f64::from(u8::from(is_active));
        if is_active || all {
            let [sent, received] = sums;
            sums = [sent + tx, received + rx];
        }
    }
    let [sent, received] = sums;
    [
        (told > 0.0).then(|| active / told),
        (active > 0.0).then(|| f64::min(sent, received) / f64::max(sent, received)),
    ]
}
