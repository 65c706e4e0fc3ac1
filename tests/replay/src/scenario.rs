//! The scenario file: which machine is played, from which trace, and what goes wrong when.
//!
//! It decides what a scenario may say; an unknown key, profile or fault is refused with the place in the file. It
//! trusts whoever wrote the file, and bounds only its size.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::evidence::EvidenceSource;
use crate::fault::{self, Fault, FaultKind};
use crate::generator::Generator;
use crate::profile::ProfileName;

/// A scenario larger than this is a mistake; a recorded trace is a file of its own.
const LONGEST_SCENARIO: u64 = 1 << 20;

/// The most GPUs of one machine that the library plays.
pub const MOST_GPUS: u32 = 16;

/// The most entries of a series of clocks: an hour at one a second.
const MOST_CLOCKS: usize = 3_600;

/// The most processes that accounting lists.
const MOST_JOBS: usize = 4_000;

/// A scenario as read: paths are resolved and the seed is filled in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The device that every GPU of the machine is.
    pub profile: ProfileName,
    /// How many GPUs, 1 to 16.
    #[serde(default = "one")]
    pub gpus: u32,
    /// What the GPUs do: a recording or a synthetic generator. Idle if absent.
    #[serde(default)]
    pub trace: TraceSource,
    /// Seconds into the trace at which the play begins.
    #[serde(default)]
    pub trace_offset_s: f64,
    /// The SM clock to report, in MHz. If absent, that of `clock_series`, else that of the recording, else the profile's
    /// highest clock while busy and its idle clock otherwise.
    pub sm_clock_mhz: Option<u32>,
    /// SM clocks over time: from so many seconds after the play began, so many MHz. The first holds before it, too.
    #[serde(default)]
    pub clock_series: Vec<(f64, u32)>,
    /// Whether GPM's counters since the last reboot (metrics 248 to 260) are answered; most drivers refuse them.
    #[serde(default)]
    pub gpm_counters: bool,
    /// Whether PCIe bytes (fields 197 and 198) are counted in 64 bits; most drivers have 32, which wrap.
    #[serde(default)]
    pub wide_pcie_counters: bool,
    /// How every serial number begins; it also changes the UUIDs.
    pub serial_prefix: Option<String>,
    /// From which UUIDs and serial numbers follow. If absent, it follows from the name of the scenario file, so that
    /// editing a scenario does not change its devices and two files are two machines.
    pub seed: Option<u64>,
    /// Processes that the driver's accounting lists, on every GPU: from when to when each lived, seconds after the play began.
    /// Accounting mode is on if there are any.
    #[serde(default)]
    pub jobs: Vec<(f64, f64)>,
    /// The driver version to report; the profile's own if absent.
    pub driver_version: Option<String>,
    /// A file that keeps the moment the play began, so that a process started later joins the same play. Without it
    /// each process begins at zero.
    pub start_file: Option<PathBuf>,
    /// What the devices sign, if confidential computing is on; it is off if absent.
    pub evidence: Option<EvidenceSource>,
    /// What goes wrong, and when.
    #[serde(default, rename = "fault")]
    pub faults: Vec<Fault>,
    /// Further devices on the PCI bus that the driver does not show (see [`crate::bus`]).
    #[serde(default)]
    pub bus: Vec<BusDevice>,
}

/// Where the values of a play come from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum TraceSource {
    /// Made up, without storage to speak of.
    Synthetic(Generator),
    /// A CSV file, plain or gzip, with the columns that [`crate::recording`] names.
    Recorded(PathBuf),
}

impl Default for TraceSource {
    fn default() -> Self {
        Self::Synthetic(Generator::Idle)
    }
}

impl From<String> for TraceSource {
    fn from(text: String) -> Self {
        Generator::named(&text).map_or_else(|| Self::Recorded(PathBuf::from(text)), Self::Synthetic)
    }
}

/// Devices that stand on the bus beside the scenario's GPUs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BusDevice {
    /// PCI vendor id, e.g. `0x1002`.
    pub vendor: u16,
    /// PCI device id.
    pub device: u16,
    /// PCI class code, 24 bits; a display controller (`0x030200`) if absent.
    #[serde(default = "display_controller")]
    pub class: u32,
    /// The kernel driver bound to it, e.g. `vfio-pci`; none if absent.
    pub driver: Option<String>,
    /// How many of them.
    #[serde(default = "one")]
    pub count: u32,
}

/// Why a scenario cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file could not be opened or read.
    #[error("cannot read the scenario `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is larger than any scenario needs to be.
    #[error("the scenario `{}` is larger than {LONGEST_SCENARIO} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The file is not TOML, or says something a scenario cannot say.
    #[error("the scenario is not valid")]
    Malformed(#[from] toml::de::Error),
    /// A value is outside what can be played.
    #[error("{key} in the scenario is {found}: give {expected}")]
    OutOfRange {
        /// The key.
        key: &'static str,
        /// What the file says.
        found: String,
        /// What it may say.
        expected: String,
    },
}

impl Scenario {
    /// Reads the scenario file at `path`; paths in it are relative to its folder.
    ///
    /// # Errors
    /// When the file cannot be read, is not a scenario, or asks for something that cannot be played.
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        let unreadable = |source| ScenarioError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let mut text = String::new();
        let file = File::open(path).map_err(unreadable)?;
        let read = file
            .take(LONGEST_SCENARIO)
            .read_to_string(&mut text)
            .map_err(unreadable)?;
        if u64::try_from(read).is_ok_and(|read| read == LONGEST_SCENARIO) {
            return Err(ScenarioError::TooLong {
                path: path.to_owned(),
            });
        }
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        let name = path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
            .unwrap_or_default();
        Self::parse(&text, folder, &name)
    }

    /// Reads a scenario from `text`. Paths are relative to `folder`; `name` gives the seed where the text has none.
    ///
    /// # Errors
    /// As [`Scenario::load`].
    pub fn parse(text: &str, folder: &Path, name: &str) -> Result<Self, ScenarioError> {
        let mut scenario: Self = toml::from_str(text)?;
        scenario.check()?;
        for fault in &mut scenario.faults {
            if fault.kind == FaultKind::MissingSymbol {
                fault.symbol.get_or_insert_with(|| fault::MISSED.to_owned());
            }
        }
        if let TraceSource::Recorded(path) = &mut scenario.trace {
            *path = folder.join(&*path);
        }
        if let Some(path) = &mut scenario.start_file {
            *path = folder.join(&*path);
        }
        if let Some(evidence) = &mut scenario.evidence {
            evidence.devices = folder.join(&evidence.devices);
        }
        scenario
            .seed
            .get_or_insert_with(|| crate::identity::digest(name.as_bytes()));
        Ok(scenario)
    }

    fn check(&self) -> Result<(), ScenarioError> {
        let refuse =
            |key, found: String, expected: String| Err(ScenarioError::OutOfRange { key, found, expected });
        if self.gpus == 0 || self.gpus > MOST_GPUS {
            return refuse("gpus", self.gpus.to_string(), format!("1 to {MOST_GPUS}"));
        }
        if !self.trace_offset_s.is_finite() || self.trace_offset_s < 0.0 {
            return refuse(
                "trace_offset_s",
                self.trace_offset_s.to_string(),
                "seconds, 0 or more".into(),
            );
        }
        if self.jobs.len() > MOST_JOBS || !self.jobs.iter().all(|(from, to)| 0.0 <= *from && from < to) {
            return refuse(
                "jobs",
                format!("{} entries", self.jobs.len()),
                format!("at most {MOST_JOBS} of [seconds, later seconds]"),
            );
        }
        if self.clock_series.len() > MOST_CLOCKS {
            return refuse(
                "clock_series",
                format!("{} entries long", self.clock_series.len()),
                format!("at most {MOST_CLOCKS} entries"),
            );
        }
        if self.sm_clock_mhz.is_some() && !self.clock_series.is_empty() {
            return refuse(
                "clock_series",
                "there beside `sm_clock_mhz`".into(),
                "one of the two".into(),
            );
        }
        let mut before = -1.0;
        for (at_s, mhz) in &self.clock_series {
            if !at_s.is_finite() || *at_s <= before || *at_s < 0.0 || *mhz == 0 {
                return refuse(
                    "clock_series",
                    format!("[{at_s}, {mhz}]"),
                    "[seconds, MHz], later than the entry before, and a clock above 0".into(),
                );
            }
            before = *at_s;
        }
        if self
            .serial_prefix
            .as_ref()
            .is_some_and(|prefix| prefix.len() > 12 || !prefix.is_ascii())
        {
            return refuse(
                "serial_prefix",
                format!("{:?}", self.serial_prefix),
                "at most 12 ASCII letters".into(),
            );
        }
        if self.evidence.is_some() && !self.profile.profile().confidential {
            return refuse(
                "profile",
                format!("{:?}, with `[evidence]`", self.profile),
                "one of Hopper or Blackwell, whose devices sign reports".into(),
            );
        }
        for fault in &self.faults {
            if !fault.at_s.is_finite() || fault.at_s < 0.0 {
                return refuse("fault.at_s", fault.at_s.to_string(), "seconds, 0 or more".into());
            }
            if fault
                .for_s
                .is_some_and(|length| !length.is_finite() || length <= 0.0)
            {
                return refuse(
                    "fault.for_s",
                    format!("{:?}", fault.for_s),
                    "seconds, more than 0".into(),
                );
            }
            if fault.gpu.is_some_and(|gpu| gpu >= self.gpus) {
                return refuse(
                    "fault.gpu",
                    format!("{:?}", fault.gpu),
                    format!("an index below {}", self.gpus),
                );
            }
        }
        if self.bus.iter().map(|device| u64::from(device.count)).sum::<u64>() > 64 {
            return refuse(
                "bus.count",
                "more than 64 devices in all".into(),
                "at most 64".into(),
            );
        }
        Ok(())
    }
}

fn one() -> u32 {
    1
}

fn display_controller() -> u32 {
    0x03_02_00
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Scenario, ScenarioError> {
        Scenario::parse(text, Path::new("/scenes"), "node-a")
    }

    #[test]
    fn a_minimal_scenario_is_one_idle_gpu() {
        let scenario = parse("profile = 'H100'").unwrap();
        assert_eq!(scenario.gpus, 1);
        assert_eq!(scenario.trace, TraceSource::Synthetic(Generator::Idle));
        assert!(scenario.seed.is_some());
    }

    #[test]
    fn a_trace_is_found_beside_its_scenario() {
        let scenario = parse("profile = 'H100'\ntrace = 'b1.csv.gz'").unwrap();
        assert_eq!(scenario.trace, TraceSource::Recorded("/scenes/b1.csv.gz".into()));
    }

    #[test]
    fn what_cannot_be_played_is_refused_with_its_place() {
        for (text, word) in [
            ("profile = 'H100'\ngpu = 8", "gpu"),
            ("profile = 'H300'", "H300"),
            ("profile = 'H100'\ngpus = 17", "1 to 16"),
            (
                "profile = 'H100'\n[[fault]]\nat_s = 1\nkind = 'explode'",
                "explode",
            ),
            (
                "profile = 'H100'\n[[fault]]\nat_s = 1\nkind = 'lost'\ngpu = 1",
                "below 1",
            ),
            ("profile = 'H100'\njobs = [[5, 5]]", "later seconds"),
            (
                "profile = 'H100'\nclock_series = [[0, 1000], [0, 1100]]",
                "later than the entry before",
            ),
            (
                "profile = 'H100'\nsm_clock_mhz = 900\nclock_series = [[0, 1000]]",
                "one of the two",
            ),
            (
                "profile = 'H100'\n[evidence]\ndevices = 'here'\nmode = 'on'",
                "devtools",
            ),
            (
                "profile = 'A100'\n[evidence]\ndevices = 'here'",
                "Hopper or Blackwell",
            ),
        ] {
            let refusal = parse(text).unwrap_err();
            let whole = format!(
                "{refusal} {}",
                std::error::Error::source(&refusal)
                    .map(ToString::to_string)
                    .unwrap_or_default()
            );
            let whole = if let ScenarioError::Malformed(source) = &refusal {
                format!("{whole} {source}")
            } else {
                whole
            };
            assert!(whole.contains(word), "{text}: {whole}");
        }
    }

    #[test]
    fn a_kind_of_two_words_may_be_written_in_three_ways() {
        for (kind, words) in [
            (FaultKind::MissingSymbol, ["missing", "symbol"]),
            (FaultKind::VersionMismatch, ["version", "mismatch"]),
            (FaultKind::OversizeAnswer, ["oversize", "answer"]),
            (FaultKind::NotSupported, ["not", "supported"]),
            (FaultKind::EvidenceOversize, ["evidence", "oversize"]),
            (FaultKind::EvidenceHang, ["evidence", "hang"]),
            (FaultKind::EvidenceCrash, ["evidence", "crash"]),
            (FaultKind::EvidenceRefused, ["evidence", "refused"]),
            (FaultKind::EvidenceStale, ["evidence", "stale"]),
        ] {
            for joint in ["_", " ", "-"] {
                let written = words.join(joint);
                let text = format!("profile = 'H100'\n[[fault]]\nat_s = 1\nkind = '{written}'");
                assert_eq!(parse(&text).unwrap().faults[0].kind, kind, "{written}");
            }
        }
    }

    #[test]
    fn a_symbol_is_missing_even_where_none_is_named() {
        let text = "profile = 'H100'\n[[fault]]\nat_s = 1\nkind = 'missing symbol'";
        let named = |text: &str| parse(text).unwrap().faults[0].symbol.clone();
        assert_eq!(named(text).as_deref(), Some("nvmlDeviceGetFieldValues"));
        let other = format!("{text}\nsymbol = 'nvmlDeviceGetPdi'");
        assert_eq!(named(&other).as_deref(), Some("nvmlDeviceGetPdi"));
    }

    #[test]
    fn two_files_are_two_machines_and_an_edit_is_none() {
        let other = Scenario::parse("profile = 'H100'", Path::new("."), "node-b").unwrap();
        assert_ne!(parse("profile = 'H100'").unwrap().seed, other.seed);
        assert_eq!(
            parse("profile = 'H100'").unwrap().seed,
            parse("profile = 'H100'\ngpus = 2").unwrap().seed
        );
    }

    #[test]
    fn every_example_can_be_played() {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios"));
        let mut played = 0;
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            crate::Play::open(Scenario::load(&path).unwrap()).unwrap();
            played += 1;
        }
        assert!(played > 0, "no scenario in {}", folder.display());
    }
}
