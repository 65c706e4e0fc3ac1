//! A track: what one GPU does over time, as rows with running totals, so that any moment costs one binary search.
//!
//! Rows come from a recording or from a [generator](crate::generator). A row's rates hold until the next row. When a
//! track ends it begins again, and its totals go on from where they were.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "floating point over rows checked when they were read; casts of floats to integers saturate"
)]

use crate::noise::{Counted, Noise};
use crate::pipes::{PIPES, Pipes, Told};

/// What a GPU shows at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Level {
    /// Power draw, W.
    pub power_w: f32,
    /// Memory in use, MiB.
    pub memory_mib: u32,
    /// Clock event reasons, as NVML's bits.
    pub clock_events: u16,
    /// SM clock, MHz; zero where the trace does not tell it.
    pub sm_clock_mhz: u16,
    /// Memory clock, MHz; zero where the trace does not tell it.
    pub memory_clock_mhz: u16,
    /// Temperature, degrees Celsius.
    pub temperature_c: u8,
    /// Share of time in which a kernel ran, percent.
    pub utilisation_pct: u8,
    /// Share of time in which memory was read or written, percent.
    pub memory_utilisation_pct: u8,
}

/// What a GPU does per second while a row holds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rates {
    /// Share of multiprocessors that are active, 0 to 1.
    pub sm: f64,
    /// Share of time in which tensor pipes are active, 0 to 1.
    pub tensor: f64,
    /// Share of memory bandwidth, 0 to 1.
    pub dram: f64,
    /// PCIe bytes per second, sent and received by the GPU.
    pub pcie_tx: f64,
    /// PCIe bytes per second received by the GPU.
    pub pcie_rx: f64,
    /// NVLink bytes per second sent.
    pub nvlink_tx: f64,
    /// NVLink bytes per second received.
    pub nvlink_rx: f64,
}

/// Integrals since the beginning of a track.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Totals {
    /// Energy, mJ.
    pub energy_mj: f64,
    /// Seconds of multiprocessor activity.
    pub sm_s: f64,
    /// Seconds of tensor pipe activity.
    pub tensor_s: f64,
    /// Seconds of full memory bandwidth.
    pub dram_s: f64,
    /// PCIe bytes sent.
    pub pcie_tx: f64,
    /// PCIe bytes received.
    pub pcie_rx: f64,
    /// NVLink bytes sent.
    pub nvlink_tx: f64,
    /// NVLink bytes received.
    pub nvlink_rx: f64,
}

impl Totals {
    /// Joins two totals field by field.
    fn join(self, other: Self, rule: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            energy_mj: rule(self.energy_mj, other.energy_mj),
            sm_s: rule(self.sm_s, other.sm_s),
            tensor_s: rule(self.tensor_s, other.tensor_s),
            dram_s: rule(self.dram_s, other.dram_s),
            pcie_tx: rule(self.pcie_tx, other.pcie_tx),
            pcie_rx: rule(self.pcie_rx, other.pcie_rx),
            nvlink_tx: rule(self.nvlink_tx, other.nvlink_tx),
            nvlink_rx: rule(self.nvlink_rx, other.nvlink_rx),
        }
    }

    /// The sum of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.join(other, |one, two| one + two)
    }

    /// What came since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        self.join(earlier, |now, then| now - then)
    }
}

#[derive(Debug, Clone, Copy)]
struct Row {
    totals: Totals,
    at_ms: u32,
    level: Level,
}

/// What one GPU does over time.
#[derive(Debug, Clone)]
pub struct Track {
    rows: Vec<Row>,
    /// Seconds of each pipe up to each row; none where the trace tells of no pipe.
    pipes: Vec<[f64; PIPES]>,
    /// Which pipes it tells of.
    told: [bool; PIPES],
    /// Cycles up to each row, once they were counted.
    cycles: Vec<Pipes>,
    /// The share of the multiprocessors' time that those cycles count as double precision.
    fp64_share: f64,
    /// What makes readings of a synthetic load those of sensors.
    sensors: Option<Sensors>,
}

/// The noise of a GPU, and how warm its die is at each row.
#[derive(Debug, Clone)]
struct Sensors {
    noise: Noise,
    /// Degrees Celsius at the beginning of each row.
    warmth: Vec<f64>,
}

/// The time in which the die makes up two thirds of a difference to what power warms it to, s.
const WARMING_S: f64 = 1.2;

/// Where a moment lies in a track: how often it was played, the row before, and the share of the way to the next.
struct Place {
    rounds: f64,
    row: usize,
    share: f64,
    /// Seconds since this round of it began.
    within_s: f64,
}

/// How warm the die is `seconds` after it was at `from`, where its power warms it to `to`, in degrees Celsius.
fn warmed(from: f64, to: f64, seconds: f64) -> f64 {
    to + (from - to) * (-seconds / WARMING_S).exp()
}

impl Track {
    /// The same track as sensors show it: with noise, which no round of it repeats, and with a die that warms with a lag.
    pub(crate) fn sensed(mut self, noise: Noise) -> Self {
        let target = |row: &Row| f64::from(row.level.temperature_c);
        let mut warmth = Vec::with_capacity(self.rows.len());
        let mut now = self.rows.first().map_or(0.0, target);
        // Twice, so that a round begins as warm as the one before ended.
        for _ in 0..2 {
            warmth.clear();
            let mut before: Option<&Row> = None;
            for row in &self.rows {
                if let Some(earlier) = before {
                    let seconds = f64::from(row.at_ms - earlier.at_ms) / 1000.0;
                    now = warmed(now, target(earlier), seconds);
                }
                warmth.push(now);
                before = Some(row);
            }
        }
        self.sensors = Some(Sensors { noise, warmth });
        self
    }

    /// What the GPU shows `at_s` seconds into the track, and its totals by then. The track repeats for ever.
    #[must_use]
    pub fn at(&self, at_s: f64) -> (Level, Totals) {
        let (mut level, mut totals) = self.done(at_s);
        let Some(Sensors { noise, warmth }) = &self.sensors else {
            return (level, totals);
        };
        let (energy_mj, power) = noise.stray(Counted::Energy, totals.energy_mj);
        totals.energy_mj += energy_mj;
        level.power_w = (f64::from(level.power_w) * (1.0 + power)) as f32;
        totals.sm_s += noise.stray(Counted::Sm, totals.sm_s).0;
        totals.tensor_s += noise.stray(Counted::Tensor, totals.tensor_s).0;
        totals.dram_s += noise.stray(Counted::Dram, totals.dram_s).0;
        let place = self.place(at_s);
        if let (Some(row), Some(then)) = (self.rows.get(place.row), warmth.get(place.row)) {
            let seconds = place.within_s - f64::from(row.at_ms) / 1000.0;
            let now = warmed(*then, f64::from(level.temperature_c), seconds);
            level.temperature_c = (now + noise.drift(at_s)).round() as u8;
        }
        (level, totals)
    }

    /// What the load does, whatever sensors show of it.
    fn done(&self, at_s: f64) -> (Level, Totals) {
        let Some(last) = self.rows.last() else {
            return (Level::default(), Totals::default());
        };
        let place = self.place(at_s);
        let Some(row) = self.rows.get(place.row) else {
            return (Level::default(), Totals::default());
        };
        let reached = match self.rows.get(place.row + 1) {
            Some(following) => row
                .totals
                .join(following.totals, |from, to| from + (to - from) * place.share),
            None => row.totals,
        };
        (
            row.level,
            reached.join(last.totals, |part, whole| part + place.rounds * whole),
        )
    }

    /// For how many seconds each pipe was busy by `at_s`. Where the trace does not tell of double precision, its share of
    /// the multiprocessors' time is `fp64_share`.
    #[must_use]
    pub fn busy_at(&self, at_s: f64, fp64_share: f64) -> Pipes {
        self.busy_of(self.at(at_s).1, at_s, fp64_share)
    }

    fn busy_of(&self, totals: Totals, at_s: f64, fp64_share: f64) -> Pipes {
        let place = self.place(at_s);
        let told: Told = match (self.pipes.get(place.row), self.pipes.last()) {
            (Some(row), Some(last)) => {
                let next = self.pipes.get(place.row + 1).unwrap_or(row);
                let mut reached = [None; PIPES];
                for ((((to, from), next), whole), told) in
                    reached.iter_mut().zip(row).zip(next).zip(last).zip(self.told)
                {
                    *to = told.then_some(from + (next - from) * place.share + place.rounds * whole);
                }
                reached
            }
            _ => [None; PIPES],
        };
        Pipes::busy(at_s.max(0.0), totals.sm_s, totals.tensor_s, told, fp64_share)
    }

    /// Counts cycles of each pipe, the clock being `hz` while a level holds.
    pub fn count(&mut self, hz: impl Fn(Level) -> f64, fp64_share: f64) {
        let mut cycles = Vec::with_capacity(self.rows.len());
        let mut sum = Pipes::default();
        let mut before: Option<(Level, Pipes)> = None;
        // The last row's moment is that of the first of the next round: it is looked at a hair before.
        let end = self.length_s() * (1.0 - 1e-12);
        for row in &self.rows {
            let at_s = (f64::from(row.at_ms) / 1000.0).min(end);
            let busy = self.busy_of(self.done(at_s).1, at_s, fp64_share);
            if let Some((level, earlier)) = before {
                sum = sum.plus(busy.since(earlier).times(hz(level)));
            }
            cycles.push(sum);
            before = Some((row.level, busy));
        }
        self.cycles = cycles;
        self.fp64_share = fp64_share;
    }

    /// Cycles of each pipe by `at_s`, if they were counted.
    #[must_use]
    pub fn cycles_at(&self, at_s: f64) -> Pipes {
        let place = self.place(at_s);
        let (Some(row), Some(last)) = (self.cycles.get(place.row), self.cycles.last()) else {
            return Pipes::default();
        };
        let next = self.cycles.get(place.row + 1).unwrap_or(row);
        let counted = row
            .join(*next, |from, to| from + (to - from) * place.share)
            .join(*last, |part, whole| part + place.rounds * whole);
        match &self.sensors {
            Some(Sensors { noise, .. }) if at_s > 0.0 => {
                let (_, totals) = self.done(at_s);
                let sm_s = noise.stray(Counted::Sm, totals.sm_s).0;
                let tensor_s = noise.stray(Counted::Tensor, totals.tensor_s).0;
                let strayed = Pipes::busy(0.0, sm_s, tensor_s, [None; PIPES], self.fp64_share);
                counted.plus(strayed.times(counted.elapsed / at_s))
            }
            _ => counted,
        }
    }

    fn place(&self, at_s: f64) -> Place {
        let length_s = self.length_s();
        let rounds = (at_s.max(0.0) / length_s).floor();
        let within_ms = (at_s.max(0.0) - rounds * length_s) * 1000.0;
        let next = self.rows.partition_point(|row| f64::from(row.at_ms) <= within_ms);
        let row = next.saturating_sub(1);
        let share = match (self.rows.get(row), self.rows.get(row + 1)) {
            (Some(row), Some(following)) => {
                ((within_ms - f64::from(row.at_ms)) / f64::from(following.at_ms - row.at_ms)).max(0.0)
            }
            _ => 0.0,
        };
        Place {
            rounds,
            row,
            share,
            within_s: within_ms / 1000.0,
        }
    }

    /// The length after which the track repeats, s.
    #[must_use]
    pub fn length_s(&self) -> f64 {
        self.rows
            .last()
            .map_or(0.0, |last| f64::from(last.at_ms) / 1000.0)
    }
}

/// Builds a track row by row.
#[derive(Debug, Default)]
pub struct TrackBuilder {
    rows: Vec<Row>,
    rates: Rates,
    energy_mj: Option<f64>,
    pipes: Vec<[f64; PIPES]>,
    pipe_rates: [f64; PIPES],
    told: [bool; PIPES],
}

impl TrackBuilder {
    /// One with room for so many rows.
    pub(crate) fn with_room(rows: usize) -> Self {
        Self {
            rows: Vec::with_capacity(rows),
            ..Self::default()
        }
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The time of the last row.
    pub(crate) fn last_at_ms(&self) -> Option<u32> {
        self.rows.last().map(|row| row.at_ms)
    }

    /// Adds what holds from `at_ms`. The first row must be at 0, times must grow. `energy_mj` is the recording's own
    /// counter; without it, energy is the integral of power.
    pub fn push(&mut self, at_ms: u32, level: Level, rates: Rates, energy_mj: Option<f64>) {
        let totals = self.totals_at(at_ms, energy_mj);
        self.rows.push(Row { totals, at_ms, level });
        self.rates = rates;
        self.energy_mj = energy_mj.or(self.energy_mj);
    }

    /// Adds what the pipes do from the row that was pushed last: the share of time in which each is busy, 0 to 1.
    pub(crate) fn push_pipes(&mut self, told: [bool; PIPES], rates: [f64; PIPES]) {
        self.told = told;
        let seconds = match self.rows.as_slice() {
            [.., before, last] => f64::from(last.at_ms.saturating_sub(before.at_ms)) / 1000.0,
            _ => 0.0,
        };
        let mut sums = self.pipes.last().copied().unwrap_or_default();
        for (sum, rate) in sums.iter_mut().zip(self.pipe_rates) {
            *sum += rate * seconds;
        }
        self.pipes.push(sums);
        self.pipe_rates = rates;
    }

    /// Ends the track at `at_ms` with what held last.
    #[must_use]
    pub fn end(mut self, at_ms: u32) -> Track {
        let level = self.rows.last().map(|row| row.level).unwrap_or_default();
        self.push(at_ms, level, Rates::default(), None);
        self.finish()
    }

    /// Ends the track at its last row.
    #[must_use]
    pub fn finish(mut self) -> Track {
        self.rows.shrink_to_fit();
        Track {
            rows: self.rows,
            pipes: self.pipes,
            told: self.told,
            cycles: Vec::new(),
            fp64_share: 0.0,
            sensors: None,
        }
    }

    fn totals_at(&self, at_ms: u32, energy_mj: Option<f64>) -> Totals {
        let Some(last) = self.rows.last() else {
            return Totals::default();
        };
        let seconds = f64::from(at_ms.saturating_sub(last.at_ms)) / 1000.0;
        let energy = match (energy_mj, self.energy_mj) {
            (Some(now), Some(then)) => (now - then).max(0.0),
            _ => f64::from(last.level.power_w) * 1000.0 * seconds,
        };
        last.totals.plus(Totals {
            energy_mj: energy,
            sm_s: self.rates.sm * seconds,
            tensor_s: self.rates.tensor * seconds,
            dram_s: self.rates.dram * seconds,
            pcie_tx: self.rates.pcie_tx * seconds,
            pcie_rx: self.rates.pcie_rx * seconds,
            nvlink_tx: self.rates.nvlink_tx * seconds,
            nvlink_rx: self.rates.nvlink_rx * seconds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_a_real_trace_is_small() {
        assert!(size_of::<Row>() <= 88, "{} bytes", size_of::<Row>());
    }
}
