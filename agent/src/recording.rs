//! The recording format: a table of what the devices showed, with a header that says what was recorded.
//!
//! Decides: which readings a recording holds, and that it names devices by index and model alone: no UUID, serial number,
//! PCI place, host name or address is in it, because it is made to be given away. Trusts the driver for every value. Does
//! not establish what the devices worked on: a label is the word of whoever recorded. `docs/recording.md` is its reference.

use crate::devices::nvml::FurtherReading;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use weighbridge::telemetry::{DeviceSample, Inventory, Reading};
use weighbridge::time::{BootNanos, SECOND, UnixSeconds};
use weighbridge::unit::Ppm;

/// The version of the format, in the first line.
pub const VERSION: u32 = 1;

/// The columns, in their order. Those that the replay library plays have the names that it knows.
pub const COLUMNS: [&str; 28] = [
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
    "hmma_active",
    "imma_active",
    "dfma_active",
    "fp64_active",
    "fp32_active",
    "fp16_active",
    "integer_active",
    "sm_occupancy",
    "sm_clock_mhz",
    "memory_clock_mhz",
    "activity_ms",
    "state",
];

/// How much of a recording is in the hands of the system at the latest: its rows so far, each time as a whole.
const WHOLE_EVERY: u64 = 30 * SECOND;

/// The longest key and value of a label, and the most of them.
const LONGEST_KEY: usize = 32;
const LONGEST_VALUE: usize = 64;
const MOST_LABELS: usize = 16;

/// What the owner says was recorded: `family=dense,mechanism=training`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label(Vec<(String, String)>);

/// Why a text is no label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// A part of it has no equals sign.
    #[error("`{0}` is not of the form key=value")]
    NoValue(String),
    /// A key that is none.
    #[error("`{0}` is no key: use at most {LONGEST_KEY} lower-case letters, digits and underscores")]
    Key(String),
    /// A value that is none.
    #[error("`{0}` is no value: use 1 to {LONGEST_VALUE} letters, digits and `.`, `_`, `+`, `:`, `-`")]
    Value(String),
    /// A key stands there twice.
    #[error("`{0}` is given twice")]
    Twice(String),
    /// There are too many.
    #[error("a label has at most {MOST_LABELS} keys")]
    TooMany,
}

impl Label {
    /// Reads a label.
    ///
    /// # Errors
    /// [`LabelError`].
    pub fn parse(text: &str) -> Result<Self, LabelError> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for part in text.split(',') {
            let (key, value) = part
                .split_once('=')
                .ok_or_else(|| LabelError::NoValue(part.to_owned()))?;
            let of_key = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            if key.is_empty() || key.len() > LONGEST_KEY || !key.chars().all(of_key) {
                return Err(LabelError::Key(key.to_owned()));
            }
            let of_value = |c: char| c.is_ascii_alphanumeric() || "._+:-".contains(c);
            if value.is_empty() || value.len() > LONGEST_VALUE || !value.chars().all(of_value) {
                return Err(LabelError::Value(value.to_owned()));
            }
            if pairs.iter().any(|(known, _)| known == key) {
                return Err(LabelError::Twice(key.to_owned()));
            }
            pairs.push((key.to_owned(), value.to_owned()));
        }
        if pairs.len() > MOST_LABELS {
            return Err(LabelError::TooMany);
        }
        Ok(Self(pairs))
    }
}

/// Where the bytes go.
#[derive(Debug)]
enum Sink {
    Plain(BufWriter<File>),
    Gzip(Option<GzEncoder<BufWriter<File>>>),
}

impl Sink {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.write_all(bytes),
            Self::Gzip(Some(encoder)) => encoder.write_all(bytes),
            Self::Gzip(None) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Hands over what was written so far, so that the file is whole up to here: one member of a gzip file ends, the next
    /// begins.
    fn hand_over(&mut self, more: bool) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.flush(),
            Self::Gzip(encoder) => {
                let Some(done) = encoder.take() else { return Ok(()) };
                let mut file = done.finish()?;
                file.flush()?;
                if more {
                    *encoder = Some(GzEncoder::new(file, Compression::best()));
                }
                Ok(())
            }
        }
    }
}

/// Cumulative counters of one device at one instant, from which rates follow.
#[derive(Clone, Copy, Debug)]
struct Counted {
    at: BootNanos,
    /// NVLink sent and received, PCIe sent and received.
    bytes: [Option<u64>; 4],
}

/// A recording that is being written.
#[derive(Debug)]
pub struct Recording {
    sink: Sink,
    start: BootNanos,
    handed_over: BootNanos,
    before: Vec<Option<Counted>>,
    rows: u64,
    line: String,
}

impl Recording {
    /// Begins a recording in a file that must not exist: gzip where its name ends with `.gz`, else plain.
    ///
    /// # Errors
    /// When the file exists already or cannot be written.
    pub fn begin(
        path: &Path,
        inventory: &Inventory,
        label: &Label,
        rate_hz: u32,
        (start, wall): (BootNanos, UnixSeconds),
    ) -> io::Result<Self> {
        let file = BufWriter::with_capacity(1 << 20, File::create_new(path)?);
        let sink = if path.extension().is_some_and(|e| e == "gz") {
            Sink::Gzip(Some(GzEncoder::new(file, Compression::best())))
        } else {
            Sink::Plain(file)
        };
        let mut recording = Self {
            sink,
            start,
            handed_over: start,
            before: vec![None; inventory.devices.len()],
            rows: 0,
            line: String::with_capacity(512),
        };
        recording
            .sink
            .put(header(inventory, label, rate_hz, wall).as_bytes())?;
        Ok(recording)
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Adds a row for each device.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add(&mut self, samples: &[DeviceSample], further: &[FurtherReading]) -> io::Result<()> {
        let none = FurtherReading::default();
        for (place, sample) in samples.iter().enumerate() {
            let further = further.get(place).unwrap_or(&none);
            let rates = self.rates(place, sample);
            self.line.clear();
            row(&mut self.line, self.start, sample, further, rates).map_err(|_| io::ErrorKind::Other)?;
            self.sink.put(self.line.as_bytes())?;
            self.rows = self.rows.saturating_add(1);
            if sample.at.since(self.handed_over) >= WHOLE_EVERY {
                self.sink.hand_over(true)?;
                self.handed_over = sample.at;
            }
        }
        Ok(())
    }

    /// Ends the recording: the file is whole.
    ///
    /// # Errors
    /// When the rest cannot be written.
    pub fn end(mut self) -> io::Result<u64> {
        self.sink.hand_over(false)?;
        Ok(self.rows)
    }

    /// Bytes per second since the device's row before; none where a counter is missing or fell.
    fn rates(&mut self, place: usize, sample: &DeviceSample) -> [Option<u64>; 4] {
        let now = Counted {
            at: sample.at,
            bytes: [
                &sample.nvlink_tx_bytes,
                &sample.nvlink_rx_bytes,
                &sample.pcie_tx_bytes,
                &sample.pcie_rx_bytes,
            ]
            .map(|reading| reading.value().copied()),
        };
        let Some(before) = self.before.get_mut(place).and_then(|b| b.replace(now)) else {
            return [None; 4];
        };
        let length = u128::from(now.at.since(before.at));
        let mut rates = [None; 4];
        for (rate, (to, from)) in rates.iter_mut().zip(now.bytes.into_iter().zip(before.bytes)) {
            *rate = to.zip(from).and_then(|(to, from)| {
                let moved = u128::from(to.checked_sub(from)?).saturating_mul(u128::from(SECOND));
                u64::try_from(moved.checked_div(length)?).ok()
            });
        }
        rates
    }
}

fn header(inventory: &Inventory, label: &Label, rate_hz: u32, wall: UnixSeconds) -> String {
    let mut lines = vec![
        format!("weighbridge recording {VERSION}"),
        format!("begun={wall}"),
        format!("agent={}", env!("CARGO_PKG_VERSION")),
        format!("rate_hz={rate_hz}"),
    ];
    if let Some(driver) = &inventory.driver {
        lines.push(format!("driver={}", driver.driver_version));
        if let Some(cuda) = driver.cuda_version {
            lines.push(format!("cuda={cuda}"));
        }
    }
    for (place, device) in inventory.devices.iter().enumerate() {
        lines.push(format!("gpu.{place}={}", device.name));
        let facts = [
            ("memory_mib", device.memory_mib.value().copied()),
            (
                "max_sm_clock_mhz",
                device.max_sm_clock_mhz.value().map(|v| u64::from(*v)),
            ),
            (
                "power_limit_mw",
                device.power_limit_mw.value().map(|v| u64::from(*v)),
            ),
        ];
        for (name, value) in facts {
            lines.extend(value.map(|v| format!("gpu.{place}.{name}={v}")));
        }
    }
    lines.extend(label.0.iter().map(|(key, value)| format!("label.{key}={value}")));
    let mut text = String::new();
    for line in lines {
        // Texts of the driver hold printable characters alone, so each is one line.
        text.push_str("# ");
        text.push_str(&line);
        text.push('\n');
    }
    text.push_str(&COLUMNS.join(","));
    text.push('\n');
    text
}

/// Writes one row, in the order of [`COLUMNS`]. What was not read is an empty cell.
fn row(
    to: &mut String,
    start: BootNanos,
    sample: &DeviceSample,
    further: &FurtherReading,
    [nvlink_tx, nvlink_rx, pcie_tx, pcie_rx]: [Option<u64>; 4],
) -> fmt::Result {
    let share = |reading: &Reading<Ppm>| Some(u64::from(reading.value()?.0));
    let whole = |reading: &Reading<u32>| Some(u64::from(*reading.value()?));
    // The shares of a pair of GPM samples, where this tick ended one.
    let pair = sample.activity.value();
    let of_pair = |field: fn(&weighbridge::telemetry::Activity) -> &Reading<Ppm>| share(field(pair?));
    let micros = sample.at.since(later(start, sample.at)).checked_div(1_000);
    fixed(to, micros, 6)?;
    write!(to, ",{}", sample.device)?;
    next(to, whole(&sample.power_mw), 3)?;
    to.push(',');
    if let Reading::Value(degrees) = sample.temperature_c {
        write!(to, "{degrees}")?;
    }
    next(to, whole(&sample.memory_used_mib), 0)?;
    // A share of one in a million parts, written in percent.
    next(to, share(&sample.utilisation), 4)?;
    next(to, further.memory_busy.map(|p| u64::from(p.0)), 4)?;
    next(to, of_pair(|a| &a.sm), 6)?;
    next(to, of_pair(|a| &a.tensor_any), 6)?;
    next(to, of_pair(|a| &a.dram), 6)?;
    next(to, pcie_tx.or(further.pcie_tx_bytes_s), 0)?;
    next(to, pcie_rx.or(further.pcie_rx_bytes_s), 0)?;
    next(to, nvlink_tx, 0)?;
    next(to, nvlink_rx, 0)?;
    next(to, sample.clock_events.value().copied(), 0)?;
    next(to, sample.energy_mj.value().copied(), 0)?;
    next(to, of_pair(|a| &a.hmma), 6)?;
    next(to, of_pair(|a| &a.imma), 6)?;
    next(to, of_pair(|a| &a.dfma), 6)?;
    next(to, of_pair(|a| &a.fp64), 6)?;
    next(to, of_pair(|a| &a.fp32), 6)?;
    next(to, of_pair(|a| &a.fp16), 6)?;
    next(to, of_pair(|a| &a.integer), 6)?;
    next(to, further.occupancy.map(|p| u64::from(p.0)), 6)?;
    next(to, whole(&sample.sm_clock_mhz), 0)?;
    next(to, whole(&sample.memory_clock_mhz), 0)?;
    next(to, pair.and_then(|a| a.interval_ns.checked_div(1_000)), 3)?;
    writeln!(to, ",{}", sample.state)
}

/// The start, or `at` where that is earlier.
fn later(start: BootNanos, at: BootNanos) -> BootNanos {
    BootNanos(start.0.min(at.0))
}

/// A comma and a cell.
fn next(to: &mut String, value: Option<u64>, places: usize) -> fmt::Result {
    to.push(',');
    fixed(to, value, places)
}

/// Writes a number that counts units of the last of `places` decimals, without zeros at its end.
fn fixed(to: &mut String, value: Option<u64>, places: usize) -> fmt::Result {
    let Some(value) = value else { return Ok(()) };
    let unit = u32::try_from(places).ok().and_then(|p| 10u64.checked_pow(p));
    let unit = unit.unwrap_or(1);
    let (before, after) = (value.checked_div(unit), value.checked_rem(unit));
    write!(to, "{}", before.unwrap_or(value))?;
    let Some(after) = after.filter(|a| *a > 0) else {
        return Ok(());
    };
    let digits = format!("{after:0places$}");
    write!(to, ".{}", digits.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(value: u64, places: usize) -> String {
        let mut text = String::new();
        fixed(&mut text, Some(value), places).unwrap();
        text
    }

    #[test]
    fn a_number_has_the_decimals_that_it_needs() {
        assert_eq!(written(582_500, 6), "0.5825");
        assert_eq!(written(1_000_000, 6), "1");
        assert_eq!(written(0, 6), "0");
        assert_eq!(written(690_070, 3), "690.07");
        assert_eq!(written(7, 0), "7");
    }

    proptest! {
        #[test]
        fn a_number_is_read_back_as_it_was(value in 0u64..1 << 50, places in 0usize..7) {
            let read: f64 = written(value, places).parse().unwrap();
            let unit = 10f64.powi(i32::try_from(places).unwrap());
            prop_assert!((read * unit).round() as u64 == value);
        }
    }

    #[test]
    fn a_label_is_pairs_of_plain_words() {
        let label = Label::parse("family=dense,class=training").unwrap();
        assert_eq!(label.0[1], ("class".to_owned(), "training".to_owned()));
        assert_eq!(
            Label::parse("dense"),
            Err(LabelError::NoValue("dense".to_owned()))
        );
        assert_eq!(
            Label::parse("Family=x"),
            Err(LabelError::Key("Family".to_owned()))
        );
        assert_eq!(
            Label::parse("family=a\nb"),
            Err(LabelError::Value("a\nb".to_owned()))
        );
        assert_eq!(
            Label::parse("family=a,family=b"),
            Err(LabelError::Twice("family".to_owned()))
        );
        let many: Vec<_> = (0..=MOST_LABELS).map(|i| format!("k{i}=v")).collect();
        assert_eq!(Label::parse(&many.join(",")), Err(LabelError::TooMany));
    }
}
