//! Recordings: what GPUs did, as tables of comma-separated values.
//!
//! It decides which columns a table must have and which it may have. It decides nothing about the truth of a recording: a
//! cell that is empty keeps the value of the row before.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "floating point over cells that were checked to be numbers; casts of floats to integers saturate"
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::pipes::{self, PIPES};
use crate::trace::{Level, Rates, Track, TrackBuilder};

/// The most rows of one recording, all GPUs together: ten days of eight GPUs at 1 Hz, or a day at 10 Hz.
const MOST_ROWS: usize = 8_000_000;

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

impl Places {
    /// Which pipes the table tells of.
    fn pipes_told(&self) -> [bool; PIPES] {
        let mut told = [false; PIPES];
        for (told, place) in told.iter_mut().zip(self.further) {
            *told = place.is_some();
        }
        told
    }
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
        .map(|(gpu, recording)| match recording.builder.len() {
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
        *place = match find(column) {
            Some(place) => place,
            // A machine without links records none. No line has a cell there, which reads as nothing sent.
            None if column.starts_with("nvlink_") => usize::MAX,
            None => return Err(TraceError::NoColumn(column)),
        };
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
        let builder = TrackBuilder::with_room(FIRST_ROOM);
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
        let previous = self.builder.last_at_ms();
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
        let told = places.pipes_told();
        if told.contains(&true) {
            self.builder
                .push_pipes(told, [hmma, imma, dfma, fp64, fp32, fp16, integer]);
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
    fn the_projects_own_recordings_can_be_played_pipe_by_pipe() {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../recordings/h200"));
        let mut played = 0;
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "gz") {
                continue;
            }
            let tracks = read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            let end = tracks[0].length_s() * 0.999;
            let busy = tracks[0].busy_at(end, 0.0);
            assert!(busy.any > 1.0 && busy.hmma > 1.0, "{}: {busy:?}", path.display());
            // Any tensor pipe is their sum, as far as the driver's percentages are rounded.
            let sum = busy.hmma + busy.imma + busy.dfma;
            assert!(
                (busy.any - sum).abs() < busy.any * 0.02,
                "{}: {busy:?}",
                path.display()
            );
            assert!(tracks[0].at(end * 0.5).0.sm_clock_mhz > 300);
            played += 1;
        }
        assert!(played > 0, "no recording in {}", folder.display());
    }

    #[test]
    fn a_machine_without_links_records_none() {
        let rows = "timestamp,gpu,power_w,temp_c,mem_used_mib,gpu_util_pct,mem_util_pct,sm_active,tensor_active,\
            dram_active,pcie_tx_bytes_s,pcie_rx_bytes_s,throttle_reasons,energy_mj\n\
            0,0,100,30,5,10,1,,,,10,20,1,5000\n1,0,100,30,5,10,1,0.5,0.2,0.1,10,20,1,105000\n";
        let (_, totals) = parse(rows.as_bytes()).unwrap()[0].at(0.5);
        assert!(totals.nvlink_tx.abs() < f64::EPSILON && (totals.pcie_tx - 5.0).abs() < 1e-9);
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
}
