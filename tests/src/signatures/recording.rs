//! Reading a recording: of the agent's own format, or of another that has its columns.
//!
//! Decides: which rows make one sample of about a second, as an agent takes them. A file is another's: whatever is wrong with it is said in
//! one line, and a column or cell that is not there is a reading that was not made, never a zero.

use super::instants::instants;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use weighbridge::crypto::sha256;
use weighbridge::id::Digest;
use weighbridge::telemetry::{Activity, DeviceSample, DeviceState, Reading};
use weighbridge::time::{BootNanos, SECOND};
use weighbridge::unit::Ppm;
use weighbridge::workload::Instant;

/// The longest text of a recording; a day of eight devices at 10 Hz is some 1.5 GB, of which nobody has asked a verdict yet.
const MOST_BYTES: u64 = 512 << 20;

/// The most rows, of all devices together: eight devices at 10 Hz for 14 hours, and about as many of the agent's own as the longest text holds. What
/// is laid out by rows takes less than 3 GiB then, whatever columns there are.
const MOST_ROWS: usize = 4_000_000;

/// More columns than any recording has.
const MOST_COLUMNS: usize = 1_000;

/// More devices than any host has.
const MOST_DEVICES: usize = 64;

/// Shares of the pipes above this are no shares. NVIDIA's tools write numbers of 10 and more digits for "not supported", and rounding takes a full
/// pipe a little above one.
const MOST_SHARE: f64 = 1.05;

/// The longest recording, in seconds: 31 days. Whatever is laid out by its length is bounded by this.
const MOST_SECONDS: f64 = 31.0 * 86_400.0;

/// Rows closer than this, in seconds, are no telemetry, and dividing by less gives no number.
const LEAST_STEP: f64 = 1e-4;

/// Fewer rows of a device than these are no recording.
const LEAST_ROWS: usize = 3;

/// Why a recording cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// It cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error("{} is damaged or no recording: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        what: String,
    },
    /// It is a recording, and strategies cannot change it.
    #[error("{} cannot be changed: {what}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// Why, and what to do.
        what: String,
    },
}

/// Mean levels, which tell parts and sizes apart and are in no feature.
#[derive(Debug, Clone, Copy, Default)]
pub struct Levels {
    /// Bytes per second over PCIe and NVLink, both ways.
    pub moved: Option<f64>,
    /// Power, W.
    pub power: Option<f64>,
    /// Memory in use, MiB.
    pub memory: Option<f64>,
}

/// One device of a recording.
#[derive(Debug, Clone)]
pub struct Device {
    /// Its number in the recording.
    pub gpu: usize,
    /// Samples, with the place of their tick.
    pub samples: Vec<(usize, DeviceSample)>,
    /// Every row, where the recording is at 5 to 10 Hz, or as many as make 100 ms, where it is faster: with its time since the beginning, in
    /// milliseconds, which the instant has too.
    pub instants: Vec<(u64, Instant)>,
    /// What the controls have instead of signatures.
    pub levels: Levels,
}

/// A recording.
#[derive(Debug, Clone)]
pub struct Recording {
    /// Its devices.
    pub devices: Vec<Device>,
    /// From sample to sample.
    pub nominal_ns: u64,
    /// How long it is.
    pub seconds: f64,
    /// SHA-256 of its text, by which a copy is known under whatever name.
    pub digest: Digest,
}

/// Shares of the pipes, in the order of [`activity`].
const PIPES: [&str; 10] = [
    "sm_active",
    "tensor_active",
    "dram_active",
    "hmma_active",
    "imma_active",
    "dfma_active",
    "fp64_active",
    "fp32_active",
    "fp16_active",
    "integer_active",
];

/// What else is read, and the most that a device can show: more was not read, as with [`MOST_SHARE`].
const OTHERS: [(&str, f64); 9] = [
    ("power_w", 1e5),
    ("gpu_util_pct", 105.0),
    ("mem_used_mib", 1e9),
    ("nvlink_tx_bytes_s", 1e13),
    ("nvlink_rx_bytes_s", 1e13),
    ("energy_mj", 1e18),
    ("sm_clock_mhz", 1e5),
    ("pcie_tx_bytes_s", 1e13),
    ("pcie_rx_bytes_s", 1e13),
];

/// Every column that is read, with the most that it can hold.
fn read_columns() -> impl Iterator<Item = (&'static str, f64)> {
    PIPES.iter().map(|name| (*name, MOST_SHARE)).chain(OTHERS)
}

/// One row: its time, and its cells in the order of [`PIPES`] and [`OTHERS`].
pub(super) struct Row {
    at: f64,
    cells: [Option<f64>; PIPES.len() + OTHERS.len()],
}

impl Row {
    /// At so many seconds, of named cells; those that no recording is read for are left out.
    pub(super) fn of(at: f64, named: &[(&str, f64)]) -> Self {
        let mut row = Self {
            at,
            cells: [None; PIPES.len() + OTHERS.len()],
        };
        for (cell, (name, most)) in row.cells.iter_mut().zip(read_columns()) {
            let value = named.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
            *cell = value.filter(|v| (0.0..=most).contains(v));
        }
        row
    }

    /// Its time, in seconds.
    pub(super) fn at(&self) -> f64 {
        self.at
    }

    /// Seconds since the row before: none at the first, and after a hole no more than three rows are apart.
    pub(super) fn since(&self, before: Option<&Self>, row_s: f64) -> f64 {
        before.map_or(0.0, |b| (self.at - b.at).min(3.0 * row_s))
    }

    /// The cell of a column.
    pub(super) fn cell(&self, name: &str) -> Option<f64> {
        let place = read_columns().position(|(n, _)| n == name)?;
        self.cells[place]
    }

    fn other(&self, name: &str) -> Option<f64> {
        let place = OTHERS.iter().position(|(o, _)| *o == name)?;
        self.cells[PIPES.len() + place]
    }
}

/// Reads a recording, unpacked where its name ends in `.gz`.
///
/// # Errors
/// [`RecordingError`].
pub fn read(path: &Path) -> Result<Recording, RecordingError> {
    parse(&text(path)?).map_err(|what| RecordingError::Damaged {
        path: path.to_owned(),
        what,
    })
}

/// The text of a recording, unpacked where its name ends in `.gz`.
///
/// # Errors
/// [`RecordingError::Read`].
pub(super) fn text(path: &Path) -> Result<String, RecordingError> {
    let fail = |source| RecordingError::Read {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(fail)?;
    let mut text = String::new();
    let packed = path.extension().is_some_and(|e| e == "gz");
    let read = if packed {
        let unpacked = flate2::read::MultiGzDecoder::new(file);
        unpacked.take(MOST_BYTES + 1).read_to_string(&mut text)
    } else {
        file.take(MOST_BYTES + 1).read_to_string(&mut text)
    };
    read.map_err(fail)?;
    Ok(text)
}

/// Reads the text of a recording.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Result<Recording, String> {
    of_rows(&rows(text)?, sha256(text.as_bytes()))
}

/// A recording of the rows of each device, in order of time.
///
/// # Errors
/// What is wrong with them.
pub(super) fn of_rows(rows: &BTreeMap<usize, Vec<Row>>, digest: Digest) -> Result<Recording, String> {
    let nominal = nominal(rows)?;
    let begun = rows.values().filter_map(|r| r.first()).map(|r| r.at);
    let begun = begun.fold(f64::MAX, f64::min);
    let ended = rows.values().filter_map(|r| r.last()).map(|r| r.at);
    let ended = ended.fold(f64::MIN, f64::max);
    if ended - begun > MOST_SECONDS {
        return Err(format!(
            "its clock runs over more than {:.0} days: cut it where the clock jumped, or judge it in parts",
            MOST_SECONDS / 86_400.0
        ));
    }
    let devices = rows
        .iter()
        .map(|(gpu, rows)| device(*gpu, rows, begun, nominal))
        .collect();
    Ok(Recording {
        devices,
        nominal_ns: (nominal.tick * 1e9) as u64,
        seconds: ended - begun,
        digest,
    })
}

/// The rows of each device, in order of time.
///
/// # Errors
/// What is wrong with the text, or that it holds more than may be read at once.
pub(super) fn rows(text: &str) -> Result<BTreeMap<usize, Vec<Row>>, String> {
    if text.len() as u64 > MOST_BYTES {
        return Err(format!(
            "it is longer than {} MiB: judge it in parts",
            MOST_BYTES >> 20
        ));
    }
    at_most(MOST_ROWS, text)
}

/// The same of so many rows at most.
fn at_most(most: usize, text: &str) -> Result<BTreeMap<usize, Vec<Row>>, String> {
    let mut lines = text.lines().enumerate().filter(|(_, l)| !l.starts_with('#'));
    let header: Vec<&str> = match lines.next() {
        Some((_, line)) => line.split(',').map(str::trim).take(MOST_COLUMNS + 1).collect(),
        None => return Err("it is empty".to_owned()),
    };
    if header.len() > MOST_COLUMNS {
        return Err(format!("it has more than {MOST_COLUMNS} columns"));
    }
    let column = |name: &str| header.iter().position(|h| *h == name);
    let (Some(time), Some(gpu)) = (column("timestamp"), column("gpu")) else {
        return Err("it has no columns `timestamp` and `gpu`".to_owned());
    };
    let columns: Vec<(Option<usize>, f64)> = read_columns().map(|(n, most)| (column(n), most)).collect();
    let mut rows: BTreeMap<usize, Vec<Row>> = BTreeMap::new();
    let mut kept = 0;
    for (number, line) in lines {
        if line.trim().is_empty() {
            continue;
        }
        let number = number + 1;
        let count = line.split(',').count();
        if count != header.len() {
            return Err(format!(
                "line {number} has {count} cells and the header {}",
                header.len()
            ));
        }
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        let at = cells[time].parse::<f64>().ok().filter(|t| t.is_finite());
        let gpu = cells[gpu].parse::<usize>().ok().filter(|g| *g < MOST_DEVICES);
        let (Some(at), Some(gpu)) = (at, gpu) else {
            return Err(format!("line {number} has no time or no number of a device"));
        };
        let mut row = Row {
            at,
            cells: [None; PIPES.len() + OTHERS.len()],
        };
        for (cell, (column, most)) in row.cells.iter_mut().zip(&columns) {
            let value = column.and_then(|c| cells[c].parse::<f64>().ok());
            *cell = value.filter(|v| (0.0..=*most).contains(v));
        }
        let device = rows.entry(gpu).or_default();
        // A clock that was set back would make time run twice: such a row says nothing new.
        if device.last().is_none_or(|before| before.at < at) {
            device.push(row);
            kept += 1;
        }
        if kept > most {
            return Err(format!("it has more than {most} rows: judge it in parts"));
        }
    }
    rows.retain(|_, rows| rows.len() >= LEAST_ROWS);
    if rows.is_empty() {
        return Err(format!("no device has {LEAST_ROWS} rows"));
    }
    Ok(rows)
}

/// How far apart rows are, and how far samples are made.
#[derive(Clone, Copy)]
struct Nominal {
    row: f64,
    tick: f64,
}

/// Samples are made of as many rows as make about a second.
fn nominal(rows: &BTreeMap<usize, Vec<Row>>) -> Result<Nominal, String> {
    let mut steps: Vec<f64> = rows
        .values()
        .flat_map(|r| r.windows(2).map(|w| w[1].at - w[0].at))
        .collect();
    steps.sort_by(f64::total_cmp);
    let row = steps[steps.len() / 2];
    if row < LEAST_STEP {
        return Err(format!(
            "its rows are less than {LEAST_STEP} s apart: `timestamp` is in seconds"
        ));
    }
    if row > 5.0 {
        return Err(format!(
            "its rows are {row:.0} s apart, and 5 s are the most that tell work apart"
        ));
    }
    let tick = row * (1.0 / row).round().max(1.0);
    Ok(Nominal { row, tick })
}

fn device(gpu: usize, rows: &[Row], begun: f64, nominal: Nominal) -> Device {
    let mut samples = Vec::new();
    let mut bytes = [0.0; 2];
    let mut open: Vec<&Row> = Vec::new();
    let mut before: Option<&Row> = None;
    // PCIe, which every second row tells where it is told by pairs of samples: its rate is of the time since the row that told before.
    let mut on_bus = [(0.0, None); 2];
    let mut tick = 0;
    for row in rows {
        // Half a row early, so that jitter takes no row into the next sample.
        let place = ((row.at - begun + nominal.row / 2.0) / nominal.tick).max(0.0) as usize;
        if place != tick && !open.is_empty() {
            samples.push((
                tick,
                sample(gpu, tick, nominal, &open, bytes, on_bus.map(|(sum, _)| sum)),
            ));
            open.clear();
        }
        tick = place;
        let span = row.since(before, nominal.row);
        for (sum, name) in bytes.iter_mut().zip(["nvlink_tx_bytes_s", "nvlink_rx_bytes_s"]) {
            if let Some(rate) = row.other(name) {
                *sum += rate * span;
            }
        }
        for ((sum, told), name) in on_bus.iter_mut().zip(["pcie_tx_bytes_s", "pcie_rx_bytes_s"]) {
            if let Some(rate) = row.other(name) {
                let since = told.replace(row.at).unwrap_or(row.at);
                *sum += rate * (row.at - since).min(3.0 * nominal.row);
            }
        }
        open.push(row);
        before = Some(row);
    }
    // What is left at the end is a sample where it is most of one.
    if open.len() as f64 * nominal.row >= nominal.tick * 0.6 {
        samples.push((
            tick,
            sample(gpu, tick, nominal, &open, bytes, on_bus.map(|(sum, _)| sum)),
        ));
    }
    let mean_of = |name: &str| mean(rows.iter().filter_map(|r| r.other(name)));
    Device {
        gpu,
        samples,
        instants: instants(rows, begun, nominal.row),
        levels: Levels {
            moved: [
                "pcie_tx_bytes_s",
                "pcie_rx_bytes_s",
                "nvlink_tx_bytes_s",
                "nvlink_rx_bytes_s",
            ]
            .iter()
            .filter_map(|name| mean_of(name))
            .reduce(|a, b| a + b),
            power: mean_of("power_w"),
            memory: mean_of("mem_used_mib"),
        },
    }
}

/// The mean of what is there.
pub(super) fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0u32), |(s, n), v| (s + v, n + 1));
    (n > 0).then(|| sum / f64::from(n))
}

/// The sample that an agent would have taken at the end of these rows.
fn sample(
    gpu: usize,
    tick: usize,
    nominal: Nominal,
    rows: &[&Row],
    bytes: [f64; 2],
    on_bus: [f64; 2],
) -> DeviceSample {
    let mean_of = |name: &str| mean(rows.iter().filter_map(|r| r.other(name)));
    let last = |name: &str| rows.iter().rev().find_map(|r| r.other(name));
    let whole = |value: Option<f64>| value.map_or(Reading::Unsupported, |v| Reading::Value(v as u32));
    let share = |value: Option<f64>| {
        value.map_or(Reading::Unsupported, |v| {
            Reading::Value(Ppm((v.min(1.0) * 1e6) as u32))
        })
    };
    let counter = |name: &str, sum: f64| match last(name) {
        Some(_) => Reading::Value(4_000_000_000u64.saturating_add(sum as u64)),
        None => Reading::Unsupported,
    };
    let pipes: [Option<f64>; PIPES.len()] =
        std::array::from_fn(|i| mean(rows.iter().filter_map(|r| r.cells[i])));
    let interval_ns = (nominal.tick * 1e9) as u64;
    let activity = match pipes[0] {
        Some(_) => Reading::Value(activity(interval_ns, pipes.map(share))),
        None => Reading::Unsupported,
    };
    DeviceSample {
        device: u16::try_from(gpu).unwrap_or(u16::MAX),
        state: DeviceState::Present,
        at: BootNanos(interval_ns.saturating_mul(tick as u64 + 1).saturating_add(SECOND)),
        energy_mj: last("energy_mj").map_or(Reading::Unsupported, |e| Reading::Value(e as u64)),
        power_mw: whole(last("power_w").map(|w| w * 1e3)),
        sm_clock_mhz: whole(last("sm_clock_mhz")),
        memory_clock_mhz: Reading::Unsupported,
        utilisation: share(mean_of("gpu_util_pct").map(|p| p / 100.0)),
        memory_used_mib: whole(last("mem_used_mib")),
        temperature_c: Reading::Unsupported,
        clock_events: Reading::Unsupported,
        nvlink_tx_bytes: counter("nvlink_tx_bytes_s", bytes[0]),
        nvlink_rx_bytes: counter("nvlink_rx_bytes_s", bytes[1]),
        pcie_tx_bytes: counter("pcie_tx_bytes_s", on_bus[0]),
        pcie_rx_bytes: counter("pcie_rx_bytes_s", on_bus[1]),
        activity,
        pcie_tx_rate: Reading::Unsupported,
        pcie_rx_rate: Reading::Unsupported,
        cycles: Reading::Unsupported,
        power_ring: Reading::Unsupported,
        busy_mean: Reading::Unsupported,
        jobs: None,
        by_host_engine: false,
        clock_looks: Reading::Unsupported,
    }
}

fn activity(interval_ns: u64, shares: [Reading<Ppm>; PIPES.len()]) -> Activity {
    let [sm, tensor_any, dram, hmma, imma, dfma, fp64, fp32, fp16, integer] = shares;
    Activity {
        interval_ns,
        sm,
        tensor_any,
        dfma,
        hmma,
        imma,
        dram,
        fp64,
        fp32,
        fp16,
        integer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_driver_writes_for_not_supported_is_missing() {
        const HEAD: &str = "timestamp,gpu,power_w,sm_active,tensor_active,nvlink_tx_bytes_s\n";
        let mut text = HEAD.to_owned();
        for row in 0..10 {
            text += &format!("{row},0,140737488355328.0,1.02,140737488355328.0,9223372036854775794\n");
        }
        let recording = parse(&text).unwrap();
        for (_, sample) in &recording.devices[0].samples {
            let Reading::Value(activity) = &sample.activity else {
                panic!("{sample:?}")
            };
            assert_eq!(activity.sm, Reading::Value(Ppm(1_000_000)));
            assert_eq!(activity.tensor_any, Reading::Unsupported);
            assert_eq!(sample.nvlink_tx_bytes, Reading::Unsupported);
            assert_eq!(sample.power_mw, Reading::Unsupported);
        }
        assert_eq!(recording.devices[0].levels.power, None);
    }

    #[test]
    fn what_pairs_of_samples_tell_is_of_both_rows_and_of_an_instant_where_one_ends() {
        let mut text =
            "timestamp,gpu,power_w,sm_active,tensor_active,dram_active,pcie_tx_bytes_s,pcie_rx_bytes_s\n"
                .to_owned();
        for row in 0..40 {
            let pair = if row % 2 == 1 {
                "0.8,0.5,0.25,1000000,9000000"
            } else {
                ",,,,"
            };
            text += &format!("{:.1},0,500,{pair}\n", f64::from(row) / 10.0);
        }
        let recording = parse(&text).unwrap();
        let device = &recording.devices[0];
        let bytes: Vec<u64> = device
            .samples
            .iter()
            .filter_map(|(_, s)| s.pcie_rx_bytes.value().copied())
            .collect();
        assert!(
            bytes.windows(2).all(|w| (w[1] - w[0]).abs_diff(9_000_000) < 10),
            "{bytes:?}"
        );
        let told: Vec<_> = device.instants.iter().map(|(_, i)| i.sm_ppm).collect();
        assert_eq!(told.len(), 40);
        assert_eq!(told[..2], [Reading::Unsupported, Reading::Value(800_000)]);
        assert_eq!(device.instants[7].1.dram_ppm, Reading::Value(250_000));
    }

    #[test]
    fn more_than_can_be_held_is_one_line_whatever_its_form() {
        let rows: String = (0..20)
            .map(|row| format!("{},{},0.9\n", row / 2, row % 2))
            .collect();
        let text = "timestamp,gpu,sm_active\n".to_owned() + &rows;
        assert!(at_most(20, &text).is_ok());
        let what = at_most(19, &text).err().unwrap();
        assert!(
            what.contains("more than 19 rows") && what.contains("in parts"),
            "{what}"
        );
        let wide = "timestamp,gpu".to_owned() + &",".repeat(MOST_COLUMNS) + "\n";
        let what = parse(&wide).unwrap_err();
        assert!(what.contains("1000 columns"), "{what}");
        let long = text + &",".repeat(5_000);
        assert!(parse(&long).unwrap_err().contains("line 22 has 5001 cells"));
    }

    #[test]
    fn a_clock_that_jumped_is_said_before_anything_is_laid_out_by_it() {
        let said = |times: &[&str]| {
            let rows = times.iter().map(|at| format!("{at},0,0.9\n"));
            parse(&("timestamp,gpu,sm_active\n".to_owned() + &rows.collect::<String>()))
        };
        for far in ["1800000000", "1e17", "1e308"] {
            let what = said(&["0", "1", "2", "3", far]).unwrap_err();
            assert!(what.contains("more than 31 days"), "{what}");
        }
        let both = said(&["-1.7e308", "1", "2", "3", "1.7e308"]).unwrap_err();
        assert!(both.contains("31 days") || both.contains("apart"), "{both}");
        let close = said(&["1e-320", "2e-320", "3e-320", "4e-320"]).unwrap_err();
        assert!(close.contains("in seconds"), "{close}");
        assert!(said(&["0", "1", "2", "3", "2600000"]).is_ok());
    }
}
