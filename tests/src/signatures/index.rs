//! The list of recordings: what each is, and which of them belong together.

use super::recording::RecordingError;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use weighbridge::workload::Class;

/// A row of `index.csv`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Row {
    /// The recording, from the index's directory on.
    pub path: String,
    /// What ran.
    pub class: String,
    /// What several programs have in common.
    pub mechanism: String,
    /// One program.
    pub family: String,
    /// A program with its sizes.
    pub workload: String,
    /// The number of the run.
    pub run: String,
    /// How a training tried not to be seen; `none` otherwise.
    pub strategy: String,
    /// The model of the device.
    pub device: String,
    /// Whether a device was recorded, `1` or `true`, or simulated, `0` or `false`.
    #[serde(deserialize_with = "flag", serialize_with = "digit")]
    pub real: bool,
    /// The share of useful work that the strategy costs, where that is known; the column may be missing.
    #[serde(default)]
    pub tax: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn digit<S: serde::Serializer>(real: &bool, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(if *real { "1" } else { "0" })
}

fn flag<'de, D: serde::Deserializer<'de>>(d: D) -> Result<bool, D::Error> {
    let word = String::deserialize(d)?;
    match word.trim().to_ascii_lowercase().as_str() {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(serde::de::Error::custom(
            "`real` is 1 or true where a device was recorded, 0 or false where it was simulated",
        )),
    }
}

/// What a row's class says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    /// One of the classes.
    Class(Class),
    /// Inference of either kind.
    Inference,
    /// A word that names no class: the recording is judged and counts nowhere.
    Unknown,
}

impl Truth {
    /// Whether it is training; `None` where nobody knows.
    #[must_use]
    pub fn training(self) -> Option<bool> {
        match self {
            Self::Class(class) => Some(class == Class::Training),
            Self::Inference => Some(false),
            Self::Unknown => None,
        }
    }

    /// Whether a class is what it is; `None` where nobody knows.
    #[must_use]
    pub fn is(self, class: Class) -> Option<bool> {
        match self {
            Self::Class(own) => Some(own == class),
            Self::Inference => Some(matches!(
                class,
                Class::InferenceInteractive | Class::InferenceBatch
            )),
            Self::Unknown => None,
        }
    }
}

/// What is held out together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Split {
    /// The recording itself.
    Run,
    /// Every run of its workload.
    Workload,
    /// Every workload of its family.
    Family,
    /// Every family of its mechanism.
    Mechanism,
    /// Every recording that tries in the same way not to be seen; where it does not try, itself.
    Strategy,
    /// Every recording of its model of device.
    Device,
}

impl Split {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Run,
        Self::Workload,
        Self::Family,
        Self::Mechanism,
        Self::Strategy,
        Self::Device,
    ];

    /// Its name.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Workload => "workload",
            Self::Family => "family",
            Self::Mechanism => "mechanism",
            Self::Strategy => "strategy",
            Self::Device => "device",
        }
    }

    /// Whether a teacher is held out when a recording is judged: it is the same run, or of the same group.
    #[must_use]
    pub fn holds_out(self, teacher: &Row, judged: &Row) -> bool {
        if same_run(teacher, judged) {
            return true;
        }
        match self {
            Self::Run => false,
            Self::Workload => teacher.workload == judged.workload,
            Self::Family => teacher.family == judged.family,
            Self::Mechanism => teacher.mechanism == judged.mechanism,
            Self::Strategy => judged.strategy != "none" && teacher.manner() == judged.manner(),
            Self::Device => teacher.device == judged.device,
        }
    }
}

/// The class is no part of it: a run stays what it was under another label.
fn same_run(a: &Row, b: &Row) -> bool {
    let key = |r: &Row| [&r.workload, &r.family, &r.run, &r.strategy, &r.device].map(String::clone);
    key(a) == key(b)
}

impl Row {
    /// What its class says.
    #[must_use]
    pub fn truth(&self) -> Truth {
        match self.class.as_str() {
            "inference" => Truth::Inference,
            "baseline" => Truth::Class(Class::Idle),
            word => {
                let class = Class::ALL.iter().find(|c| c.text() == word);
                class.map_or(Truth::Unknown, |c| Truth::Class(*c))
            }
        }
    }

    /// Its strategy without the numbers that it is done by, which are held out together.
    #[must_use]
    pub fn manner(&self) -> &str {
        self.strategy
            .trim_end_matches(|c: char| c == '_' || c.is_ascii_digit())
    }
}

/// Recordings to be judged, and sentences about what is passed over.
#[derive(Debug, Clone, Default)]
pub struct Index {
    /// Where each lies, and what it is.
    pub rows: Vec<(PathBuf, Row)>,
    /// What is passed over, and why.
    pub skipped: Vec<String>,
}

/// Reads `DIR/index.csv`.
///
/// # Errors
/// Where it cannot be read or a row of it has not the columns.
pub fn corpus(dir: &Path) -> Result<Index, RecordingError> {
    let mut index = Index::default();
    for row in table::<Row>(&dir.join("index.csv"))? {
        let path = dir.join(&row.path);
        if row.path.ends_with(".csv") || row.path.ends_with(".csv.gz") {
            index.rows.push((path, row));
        } else {
            index
                .skipped
                .push(format!("{}: neither .csv nor .csv.gz", row.path));
        }
    }
    Ok(index)
}

/// A row of the list of traces.
#[derive(Debug, Deserialize)]
struct Trace {
    path: String,
    kind: String,
    label: String,
    detail: String,
    gpu: String,
}

/// Makes an index of a directory of traces of others: those of `h100-dcgm-10hz` that are of GPUs.
///
/// # Errors
/// Where its `index.csv` cannot be read.
pub fn traces(dir: &Path) -> Result<Index, RecordingError> {
    let mut index = Index::default();
    let mut others = 0;
    for trace in table::<Trace>(&dir.join("index.csv"))? {
        if trace.kind != "gpu" || !trace.path.starts_with("h100-dcgm-10hz/") {
            others += 1;
            continue;
        }
        let name = trace.path.trim_start_matches("h100-dcgm-10hz/");
        // Two nodes of one job are one family.
        let name = name.split('_').next().unwrap_or(name);
        let row = Row {
            class: trace.label,
            mechanism: name.to_owned(),
            family: name.to_owned(),
            workload: trace.detail,
            run: "1".to_owned(),
            strategy: "none".to_owned(),
            device: trace.gpu,
            real: true,
            tax: String::new(),
            path: trace.path,
        };
        index.rows.push((dir.join(&row.path), row));
    }
    if others > 0 {
        let what = "are of a node, of links, or of power and residency alone, and not judged";
        index
            .skipped
            .push(format!("{others} series of other kinds {what}"));
    }
    Ok(index)
}

fn table<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Vec<T>, RecordingError> {
    let mut reader = csv::Reader::from_path(path).map_err(|e| RecordingError::Read {
        path: path.to_owned(),
        source: std::io::Error::other(e),
    })?;
    let rows: Result<Vec<T>, csv::Error> = reader.deserialize().collect();
    rows.map_err(|e| RecordingError::Damaged {
        path: path.to_owned(),
        what: e.to_string(),
    })
}
