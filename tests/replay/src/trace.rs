//! A track: what one GPU does over time, as rows with running totals, so that any moment costs one binary search.
//!
//! Rows come from a recording or from a [generator](crate::generator). A row's rates hold until the next row. When a
//! track ends it begins again, and its totals go on from where they were. It decides nothing about the truth of a
//! recording: a cell that is empty keeps the value of the row before.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "floating point over rows checked when they were read; casts of floats to integers saturate"
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::pipes::{self, PIPES, Pipes, Told};

/// The most rows of one recording, all GPUs together: ten days of eight GPUs at 1 Hz, or a day at 10 Hz.
const MOST_ROWS: usize = 8_000_000;

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
    /// Adds what holds from `at_ms`. The first row must be at 0, times must grow. `energy_mj` is the recording's own
    /// counter; without it, energy is the integral of power.
    pub fn push(&mut self, at_ms: u32, level: Level, rates: Rates, energy_mj: Option<f64>) {
        let totals = self.totals_at(at_ms, energy_mj);
        self.rows.push(Row { totals, at_ms, level });
        self.rates = rates;
        self.energy_mj = energy_mj.or(self.energy_mj);
    }

    /// Adds what the pipes do from the row that was pushed last: the share of time in which each is busy, 0 to 1.
    fn push_pipes(&mut self, rates: [f64; PIPES]) {
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

/// Why a recording cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file could not be opened.
    #[error(
        "cannot open the trace `{}`; a trace is a file beside the scenario, or one of idle, training, inference, burn, hpc",
        path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is not a table of comma-separated values.
    #[error("the trace is not a CSV table")]
    NotATable(#[from] csv::Error),
    /// A column is missing.
    #[error("the trace has no column `{0}`")]
    NoColumn(&'static str),
    /// A cell is not a number.
    #[error("line {line} of the trace: `{cell}` in column `{column}` is not a number")]
    NotANumber {
        /// The line of the file.
        line: u64,
        /// The column.
        column: &'static str,
        /// What stands there.
        cell: String,
    },
    /// A row is earlier than the one before it, or too late to be played.
    #[error("line {line} of the trace: its time does not follow the row before")]
    OutOfOrder {
        /// The line of the file.
        line: u64,
    },
    /// There are not two rows of one GPU.
    #[error("the trace has fewer than two rows of gpu {0}")]
    TooShort(u32),
    /// There are more rows than a play can hold.
    #[error("the trace has more than {MOST_ROWS} rows")]
    TooLong,
}

/// The columns that are read, in the order of [`Cells`].
const COLUMNS: [&str; 16] = [
    "timestamp",
    "gpu",
    "power_w",
    "temp_c",
    "mem_used_mib",
    "gpu_util_pct",
    "mem_util_pct",
    "sm_active",
    "tensor_active",
    "dram_active",
    "pcie_tx_bytes_s",
    "pcie_rx_bytes_s",
    "nvlink_tx_bytes_s",
    "nvlink_rx_bytes_s",
    "throttle_reasons",
    "energy_mj",
];

/// Columns that a recording may have beside those: the pipes', then the clocks'.
const CLOCKS: [&str; 2] = ["sm_clock_mhz", "memory_clock_mhz"];
const FURTHER: usize = PIPES + CLOCKS.len();

/// One line of a recording, in the order of [`COLUMNS`].
type Cells = [f64; COLUMNS.len()];

/// Where a table has the columns that are read.
#[derive(Debug, Clone, Copy)]
struct Places {
    needed: [usize; COLUMNS.len()],
    further: [Option<usize>; FURTHER],
}

/// Reads the recording at `path`, plain or gzip: one track for each GPU in it, by index.
///
/// # Errors
/// When the file cannot be read, lacks a column, has a cell that is no number, or has fewer than two rows of a GPU.
pub fn read(path: &Path) -> Result<Vec<Track>, TraceError> {
    let file = File::open(path).map_err(|source| TraceError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    if path.extension().is_some_and(|extension| extension == "gz") {
        parse(MultiGzDecoder::new(BufReader::new(file)))
    } else {
        parse(file)
    }
}

/// Reads a recording from `source`.
///
/// # Errors
/// As [`read`].
pub fn parse(source: impl Read) -> Result<Vec<Track>, TraceError> {
    // The header of a recording of the agent's stands in comments.
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(source);
    let places = places(reader.headers()?)?;
    let mut record = csv::StringRecord::new();
    let mut gpus: BTreeMap<u32, Recording> = BTreeMap::new();
    let mut rows = 0_usize;
    while reader.read_record(&mut record)? {
        rows += 1;
        if rows > MOST_ROWS {
            return Err(TraceError::TooLong);
        }
        let line = record.position().map_or(0, csv::Position::line);
        let [_, gpu, ..] = places.needed;
        let gpu = cell(&record, gpu, "gpu", line)?.unwrap_or_default() as u32;
        gpus.entry(gpu).or_default().add(&record, &places, line)?;
    }
    gpus.into_iter()
        .map(|(gpu, recording)| match recording.builder.rows.len() {
            0 | 1 => Err(TraceError::TooShort(gpu)),
            _ => Ok(recording.builder.finish()),
        })
        .collect::<Result<Vec<_>, _>>()
        .and_then(|tracks| {
            if tracks.is_empty() {
                Err(TraceError::TooShort(0))
            } else {
                Ok(tracks)
            }
        })
}

/// Where each column stands in the table.
fn places(headers: &csv::StringRecord) -> Result<Places, TraceError> {
    let find = |column: &str| headers.iter().position(|header| header == column);
    let mut needed = [0; COLUMNS.len()];
    for (place, column) in needed.iter_mut().zip(COLUMNS) {
        *place = find(column).ok_or(TraceError::NoColumn(column))?;
    }
    let mut further = [None; FURTHER];
    for (place, column) in further.iter_mut().zip(pipes::COLUMNS.into_iter().chain(CLOCKS)) {
        *place = find(column);
    }
    Ok(Places { needed, further })
}

/// The number that stands at `place` in a line; none if the cell is empty.
fn cell(
    record: &csv::StringRecord,
    place: usize,
    column: &'static str,
    line: u64,
) -> Result<Option<f64>, TraceError> {
    let text = record.get(place).unwrap_or_default().trim();
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(Some(number)),
        _ => Err(TraceError::NotANumber {
            line,
            column,
            cell: text.chars().take(40).collect(),
        }),
    }
}

/// Room for the rows of some minutes at 10 Hz. A block of this size is mapped, grown and cut by the system itself, so
/// that reading a recording leaves no holes in the heap of a process that is measured.
const FIRST_ROOM: usize = 2048;

/// The rows of one GPU as they are read.
#[derive(Debug)]
struct Recording {
    builder: TrackBuilder,
    begins_s: Option<f64>,
    cells: Cells,
    further: [f64; FURTHER],
}

impl Default for Recording {
    fn default() -> Self {
        let builder = TrackBuilder {
            rows: Vec::with_capacity(FIRST_ROOM),
            ..TrackBuilder::default()
        };
        Self {
            builder,
            begins_s: None,
            cells: [0.0; COLUMNS.len()],
            further: [0.0; FURTHER],
        }
    }
}

impl Recording {
    fn add(&mut self, record: &csv::StringRecord, places: &Places, line: u64) -> Result<(), TraceError> {
        // An empty cell keeps the value before it: the collector had no answer for that moment.
        for ((held, place), column) in self.cells.iter_mut().zip(places.needed).zip(COLUMNS) {
            if let Some(number) = cell(record, place, column, line)? {
                *held = number;
            }
        }
        let names = pipes::COLUMNS.into_iter().chain(CLOCKS);
        for ((held, place), column) in self.further.iter_mut().zip(places.further).zip(names) {
            let Some(place) = place else { continue };
            if let Some(number) = cell(record, place, column, line)? {
                *held = number;
            }
        }
        let [
            time,
            _,
            power,
            temp,
            mem,
            util,
            mem_util,
            sm,
            tensor,
            dram,
            ptx,
            prx,
            ntx,
            nrx,
            throttle,
            energy,
        ] = self.cells;
        let [
            hmma,
            imma,
            dfma,
            fp64,
            fp32,
            fp16,
            integer,
            sm_clock,
            memory_clock,
        ] = self.further;
        let at_ms = (time - *self.begins_s.get_or_insert(time)) * 1000.0;
        let at_ms = at_ms.round();
        let previous = self.builder.rows.last().map(|row| row.at_ms);
        if !(0.0..f64::from(u32::MAX)).contains(&at_ms)
            || previous.is_some_and(|before| at_ms <= f64::from(before))
        {
            return Err(TraceError::OutOfOrder { line });
        }
        let level = Level {
            power_w: power as f32,
            memory_mib: mem as u32,
            clock_events: throttle as u16,
            temperature_c: temp as u8,
            utilisation_pct: util as u8,
            memory_utilisation_pct: mem_util as u8,
            sm_clock_mhz: sm_clock as u16,
            memory_clock_mhz: memory_clock as u16,
        };
        let rates = Rates {
            sm,
            tensor,
            dram,
            pcie_tx: ptx,
            pcie_rx: prx,
            nvlink_tx: ntx,
            nvlink_rx: nrx,
        };
        self.builder.push(at_ms as u32, level, rates, Some(energy));
        for (told, place) in self.builder.told.iter_mut().zip(places.further) {
            *told = place.is_some();
        }
        if self.builder.told.contains(&true) {
            self.builder
                .push_pipes([hmma, imma, dfma, fp64, fp32, fp16, integer]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "timestamp,phase,gpu,gpu_model,power_w,temp_c,mem_used_mib,mem_total_mib,gpu_util_pct,mem_util_pct,sm_active,tensor_active,dram_active,fp16_active,pcie_tx_bytes_s,pcie_rx_bytes_s,nvlink_tx_bytes_s,nvlink_rx_bytes_s,throttle_reasons,energy_mj\n";

    fn two_gpus() -> Vec<Track> {
        let rows = "\
            100.0,x,0,M,100,30,5,9,10,1,0.5,0.25,0.1,0,10,20,1000,2000,1,5000\n\
            100.0,x,1,M,50,30,5,9,0,0,0,0,0,0,0,0,0,0,1,7\n\
            101.0,x,0,M,300,31,6,9,99,2,1.0,0.5,0.2,0,20,40,3000,4000,0,105000\n\
            101.0,x,1,M,50,30,5,9,0,0,0,0,0,0,0,0,0,0,1,57\n\
            103.0,x,0,M,300,31,6,9,99,2,,0.5,0.2,0,20,40,3000,4000,0,705000\n\
            103.0,x,1,M,50,30,5,9,0,0,0,0,0,0,0,0,0,0,1,157\n";
        parse(format!("{HEADER}{rows}").as_bytes()).unwrap()
    }

    #[test]
    fn energy_is_the_recordings_own_counter_between_its_rows() {
        let tracks = two_gpus();
        assert_eq!(tracks.len(), 2);
        let (level, totals) = tracks[0].at(0.5);
        assert!((totals.energy_mj - 50_000.0).abs() < 1e-6);
        assert!((level.power_w - 100.0).abs() < f32::EPSILON);
        assert!((totals.sm_s - 0.25).abs() < 1e-9);
        assert!((tracks[0].at(2.0).1.energy_mj - 400_000.0).abs() < 1e-6);
    }

    #[test]
    fn a_track_begins_again_and_its_totals_go_on() {
        let tracks = two_gpus();
        assert!((tracks[0].length_s() - 3.0).abs() < 1e-9);
        let (level, totals) = tracks[0].at(6.5);
        assert!((totals.energy_mj - (2.0 * 700_000.0 + 50_000.0)).abs() < 1e-6);
        assert_eq!(level.utilisation_pct, 10);
        let mut before = 0.0;
        for step in 0..200 {
            let energy = tracks[0].at(f64::from(step) * 0.1).1.energy_mj;
            assert!(energy >= before, "the counter fell at step {step}");
            before = energy;
        }
    }

    #[test]
    fn a_broken_recording_is_refused_with_its_line() {
        let missing = parse("timestamp,gpu\n1,0\n".as_bytes()).unwrap_err();
        assert!(missing.to_string().contains("power_w"));
        let line = "100.0,x,0,M,oops,30,5,9,10,1,0.5,0.25,0.1,0,10,20,1000,2000,1,5000\n";
        let wrong = parse(format!("{HEADER}{line}").as_bytes()).unwrap_err();
        assert!(
            wrong.to_string().contains("line 2") && wrong.to_string().contains("power_w"),
            "{wrong}"
        );
        assert!(matches!(parse(HEADER.as_bytes()), Err(TraceError::TooShort(0))));
    }

    #[test]
    fn a_row_of_a_real_trace_is_small() {
        assert!(size_of::<Row>() <= 88, "{} bytes", size_of::<Row>());
    }
}
