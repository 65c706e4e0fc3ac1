//! A track: what one GPU does over time, as rows with running totals, so that any moment costs one binary search.
//!
//! Rows come from a recording or from a [generator](crate::generator). A row's rates hold until the next row. When a
//! track ends it begins again, and its totals go on from where they were.
#![expect(
    clippy::arithmetic_side_effects,
    reason = "floating point over rows checked when they were read"
)]

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
}

/// Where a moment lies in a track: how often it was played, the row before, and the share of the way to the next.
struct Place {
    rounds: f64,
    row: usize,
    share: f64,
}

impl Track {
    /// What the GPU shows `at_s` seconds into the track, and its totals by then. The track repeats for ever.
    #[must_use]
    pub fn at(&self, at_s: f64) -> (Level, Totals) {
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
        let (_, totals) = self.at(at_s);
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
            let busy = self.busy_at((f64::from(row.at_ms) / 1000.0).min(end), fp64_share);
            if let Some((level, earlier)) = before {
                sum = sum.plus(busy.since(earlier).times(hz(level)));
            }
            cycles.push(sum);
            before = Some((row.level, busy));
        }
        self.cycles = cycles;
    }

    /// Cycles of each pipe by `at_s`, if they were counted.
    #[must_use]
    pub fn cycles_at(&self, at_s: f64) -> Pipes {
        let place = self.place(at_s);
        let (Some(row), Some(last)) = (self.cycles.get(place.row), self.cycles.last()) else {
            return Pipes::default();
        };
        let next = self.cycles.get(place.row + 1).unwrap_or(row);
        row.join(*next, |from, to| from + (to - from) * place.share)
            .join(*last, |part, whole| part + place.rounds * whole)
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
        Place { rounds, row, share }
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
