//! Features of a window: ratios, symmetry, synchrony, periodicity.
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

use super::mixture::Mixture;
use crate::telemetry::{Activity, Reading, Step};
use crate::unit::Ppm;
use std::collections::VecDeque;

/// Points that a series keeps: the last minute, so that periods and likeness can be told where windows are shorter.
const MAX_POINTS: usize = 60;

/// The most instants of bursts that a window holds; sixty seconds at ten a second are six hundred.
const MAX_BURST: usize = 1_024;

/// The most likenesses that are looked at: no host has more devices to be like.
const MAX_LIKENESSES: usize = 128;

/// Traffic at or above this counts as traffic, in bytes per second: links at rest still exchange housekeeping.
const LINK_AT_REST: f64 = 1_048_576.0;

/// A share below this is no work: ratios to it say nothing.
pub(super) const AT_REST: f64 = 0.005;

/// Fewer instants of bursts than these show no period.
const LEAST_BURST: usize = 100;

/// Lags of a period, in points: from two, because neighbouring points are alike in any slow series.
const LEAST_LAG: usize = 2;

/// The means over one point of about a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Point {
    pipes: Shares,
    busy: Option<f64>,
    power: Option<f64>,
    link: Option<[f64; 2]>,
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
}

/// The series of one device, of bounded length: the points of the last minute, and the bursts of the open window. After the first window with
/// a burst it takes no memory anew.
#[derive(Clone, Debug, Default)]
pub struct Series {
    open: Gathering,
    points: VecDeque<Point>,
    /// Points that belong to the open window.
    own: usize,
    burst: Vec<Instant>,
}

impl Series {
    /// The most memory that a series takes beside itself, in bytes.
    pub const MOST_BYTES: usize = MAX_POINTS * size_of::<Point>() + MAX_BURST * size_of::<Instant>();

    /// Adds a covered step to the open point. A gap adds nothing.
    pub fn add(&mut self, step: &Step) {
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
        if let Reading::Value(t) = &step.nvlink {
            let [tx, rx] = open.link.unwrap_or_default();
            open.link = Some([tx + t.tx as f64, rx + t.rx as f64]);
        }
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
        self.points.push_back(Point {
            pipes: open.pipes.map(|(ns, sum)| (ns > 0.0).then(|| sum / ns)),
            busy: mean(open.busy),
            power: mean(open.power),
            link: open
                .link
                .filter(|_| open.ns > 0.0)
                .map(|both| both.map(|bytes| bytes * 1e9 / open.ns)),
        });
    }

    /// Adds an instant of a burst.
    pub fn add_instant(&mut self, instant: Instant) {
        if self.burst.len() < MAX_BURST {
            self.burst.push(instant);
        }
    }

    /// The instants of bursts.
    #[must_use]
    pub fn burst(&self) -> &[Instant] {
        &self.burst
    }

    /// Begins the next window: bursts are forgotten, points of the last minute stay.
    pub fn next_window(&mut self) {
        self.own = 0;
        self.burst.clear();
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

    /// The features. Activity and power are means over the window's own points; links, period and `synchrony` (from
    /// [`synchrony`]) are told from the last minute.
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
        let busy_points = link().filter(|[tx, rx]| tx + rx >= LINK_AT_REST).count();
        let link_points = link().count();
        let link_active = (link_points > 0).then(|| busy_points as f64 / link_points as f64);
        let linked = link_active.is_some_and(|share| share > 0.0);
        let (sent, received) = link().fold((0.0, 0.0), |(a, b), [tx, rx]| (a + tx, b + rx));
        let link_symmetry = linked.then(|| sent.min(received) / sent.max(received));
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
            (autocorrelation_peak(burst), 100u32)
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
}

crate::record! {
    /// Features of a window; parts per million where nothing else is said.
    pub struct Features {
        /// Points of about a second, at most those of the last minute.
        0 => points: u32,
        /// SMs busy.
        1 => sm: Option<Ppm>,
        /// A kernel resident.
        2 => busy: Option<Ppm>,
        /// Any tensor pipe.
        3 => tensor: Option<Ppm>,
        /// Tensor activity for each SM activity.
        4 => tensor_per_sm: Option<Ppm>,
        /// Tensor activity for each DRAM activity.
        5 => tensor_per_dram: Option<Ppm>,
        /// DRAM.
        6 => dram: Option<Ppm>,
        /// FP64, tensor or not.
        7 => fp64: Option<Ppm>,
        /// FP32.
        8 => fp32: Option<Ppm>,
        /// Integer.
        9 => integer: Option<Ppm>,
        /// Points with NVLink traffic.
        10 => link_active: Option<Ppm>,
        /// The lesser direction of NVLink traffic, of the greater.
        11 => link_symmetry: Option<Ppm>,
        /// Standard deviation of power, of its mean.
        12 => power_variation: Option<Ppm>,
        /// Highest peak of the autocorrelation.
        13 => periodicity: Option<Ppm>,
        /// Its lag, in milliseconds.
        14 => period_ms: Option<u32>,
        /// Likeness of movement to the node's other devices; a negative one counts as none.
        15 => synchrony: Option<Ppm>,
        /// DRAM activity for each SM activity; the next three likewise.
        16 => dram_per_sm: Option<Ppm>,
        /// FP64, tensor or not.
        17 => fp64_per_sm: Option<Ppm>,
        /// FP32.
        18 => fp32_per_sm: Option<Ppm>,
        /// Integer.
        19 => integer_per_sm: Option<Ppm>,
        /// SM activity for the time in which a kernel was resident.
        20 => sm_per_busy: Option<Ppm>,
        /// How much tensor activity for each SM activity spreads over the points that worked, of its mean.
        21 => tensor_mix: Option<Ppm>,
        /// The same of DRAM.
        22 => dram_mix: Option<Ppm>,
        /// Standard deviation of SM activity over the points that worked, of its mean.
        23 => sm_variation: Option<Ppm>,
        /// Points that did not work.
        24 => resting: Option<Ppm>,
        /// Tensor activity for each DRAM activity, of a device whose links were used at most points.
        25 => linked_tensor_per_dram: Option<Ppm>,
    }
}

impl Features {
    /// How many a table or a tree may name.
    pub const COUNT: usize = 24;

    /// Their names, in the order of [`Features::values`].
    pub const NAMES: [&'static str; Self::COUNT] = [
        "sm",
        "busy",
        "tensor",
        "tensor_per_sm",
        "tensor_per_dram",
        "dram",
        "fp64",
        "fp32",
        "integer",
        "link_active",
        "link_symmetry",
        "power_variation",
        "periodicity",
        "synchrony",
        "dram_per_sm",
        "fp64_per_sm",
        "fp32_per_sm",
        "integer_per_sm",
        "sm_per_busy",
        "tensor_mix",
        "dram_mix",
        "sm_variation",
        "resting",
        "linked_tensor_per_dram",
    ];

    /// Their values, in parts per million.
    #[must_use]
    pub fn values(&self) -> [Option<i64>; Self::COUNT] {
        [
            self.sm,
            self.busy,
            self.tensor,
            self.tensor_per_sm,
            self.tensor_per_dram,
            self.dram,
            self.fp64,
            self.fp32,
            self.integer,
            self.link_active,
            self.link_symmetry,
            self.power_variation,
            self.periodicity,
            self.synchrony,
            self.dram_per_sm,
            self.fp64_per_sm,
            self.fp32_per_sm,
            self.integer_per_sm,
            self.sm_per_busy,
            self.tensor_mix,
            self.dram_mix,
            self.sm_variation,
            self.resting,
            self.linked_tensor_per_dram,
        ]
        .map(|value| value.map(|p| i64::from(p.0)))
    }
}

const PPM: f64 = 1_000_000.0;

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

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0u32), |(s, n), v| (s + v, n.saturating_add(1)));
    (count > 0).then(|| sum / f64::from(count))
}

fn variation(series: &[f64]) -> Option<f64> {
    let centre = mean(series.iter().copied()).filter(|m| *m > 0.0)?;
    let square = mean(series.iter().map(|v| (v - centre) * (v - centre)))?;
    Some(square.sqrt() / centre)
}

/// At most so many values, in place: what is computed every second takes no memory anew.
struct Row<const MOST: usize> {
    values: [f64; MOST],
    count: usize,
}

impl<const MOST: usize> Default for Row<MOST> {
    fn default() -> Self {
        Self {
            values: [0.0; MOST],
            count: 0,
        }
    }
}

impl<const MOST: usize> FromIterator<f64> for Row<MOST> {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut row = Self::default();
        values.into_iter().for_each(|v| row.push(v));
        row
    }
}

impl<const MOST: usize> Row<MOST> {
    /// Adds a value; one too many is left out.
    fn push(&mut self, value: f64) {
        if let Some(slot) = self.values.get_mut(self.count) {
            *slot = value;
            self.count += 1;
        }
    }

    fn values(&self) -> &[f64] {
        self.values.get(..self.count).unwrap_or_default()
    }

    fn values_mut(&mut self) -> &mut [f64] {
        self.values.get_mut(..self.count).unwrap_or_default()
    }
}

/// Differences from value to value, cut to their ninth decile.
fn movements<const MOST: usize>(series: &Row<MOST>) -> Row<MOST> {
    let values = series.values();
    let pairs = values.iter().zip(values.iter().skip(1));
    let mut moves: Row<MOST> = pairs.map(|(a, b)| b - a).collect();
    let mut sizes: Row<MOST> = moves.values().iter().map(|m| m.abs()).collect();
    sizes.values_mut().sort_unstable_by(f64::total_cmp);
    let most = sizes.values().get(sizes.count * 9 / 10).copied().unwrap_or(0.0);
    for m in moves.values_mut() {
        *m = m.clamp(-most, most);
    }
    moves
}

/// Pearson correlation; `None` for fewer than eight pairs, or where one side does not move.
fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.len() < 8 {
        return None;
    }
    let (ma, mb) = (mean(a.iter().copied())?, mean(b.iter().copied())?);
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a - ma, b - mb);
        ab += a * b;
        aa += a * a;
        bb += b * b;
    }
    (aa > 0.0 && bb > 0.0).then(|| ab / (aa.sqrt() * bb.sqrt()))
}

/// The mean of the upper third of likenesses, three of seven: a job on half of the devices still shows, and a single
/// chance likeness does not.
#[must_use]
pub fn synchrony(likenesses: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut all: Row<MAX_LIKENESSES> = likenesses.into_iter().collect();
    all.values_mut().sort_unstable_by(|a, b| b.total_cmp(a));
    let upper = all.count.div_ceil(3);
    mean(all.values().iter().copied().take(upper))
}

/// The highest local peak of the normalised autocorrelation up to a third of the series, and its lag in points.
fn autocorrelation_peak<const MOST: usize>(mut series: Row<MOST>) -> Option<(f64, usize)> {
    let longest = series.count / 3;
    if longest <= LEAST_LAG {
        return None;
    }
    let centre = mean(series.values().iter().copied())?;
    for v in series.values_mut() {
        *v -= centre;
    }
    let centred = series.values();
    let energy: f64 = centred.iter().map(|v| v * v).sum();
    if energy <= 0.0 {
        return None;
    }
    let at = |lag: usize| -> f64 {
        let product: f64 = centred
            .iter()
            .zip(centred.iter().skip(lag))
            .map(|(a, b)| a * b)
            .sum();
        product / energy
    };
    let (mut before, mut here) = (at(LEAST_LAG - 1), at(LEAST_LAG));
    let mut highest: Option<(f64, usize)> = None;
    for lag in LEAST_LAG..=longest {
        let after = at(lag + 1);
        // Of peaks of one height the last counts.
        let peak = here >= before && here >= after;
        if peak && highest.is_none_or(|(h, _)| here.total_cmp(&h).is_ge()) {
            highest = Some((here, lag));
        }
        (before, here) = (here, after);
    }
    highest
}
