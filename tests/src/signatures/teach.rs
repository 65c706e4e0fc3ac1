//! The command that makes the model's file.

use super::index::{self, Row, Truth};
use super::recording::{self, Levels, RecordingError};
use super::train::{Example, train};
use super::{play, recording::Recording};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use weighbridge::id::Digest;
use weighbridge::workload::{Class, Trees};

/// From what to teach, and where to write.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Directory with `index.csv` and the recordings that it names
    #[arg(long, value_name = "DIR", default_value_os_t = own())]
    corpus: PathBuf,
    /// The file to write, such as `src/workload/trees.csv`
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Shares of a recording that teach as if each were one: work shows in short recordings as in long ones.
const PARTS: [std::ops::Range<f64>; 4] = [0.0..1.0, 0.0..0.6, 0.2..0.8, 0.4..1.0];

/// A recording that teaches.
#[derive(Debug, Clone)]
pub struct Teacher {
    /// What it is.
    pub row: Row,
    /// SHA-256 of its text.
    pub digest: Digest,
    /// What it teaches.
    pub examples: Vec<Example>,
    /// Levels of its first device, for the controls.
    pub levels: Levels,
}

/// Where the project's own recordings lie.
#[must_use]
pub fn own() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/recordings")
}

/// The recordings of a directory, as teachers. Those whose class is not known teach nothing.
///
/// # Errors
/// Where one cannot be read.
pub fn teachers(dir: &Path) -> Result<Vec<Teacher>, RecordingError> {
    let index = index::corpus(dir)?;
    let mut teachers = Vec::new();
    for (path, row) in index.rows {
        if matches!(row.truth(), Truth::Class(_)) {
            teachers.extend(teacher(row, &recording::read(&path)?));
        }
    }
    Ok(teachers)
}

/// A recording as a teacher; `None` where its class is not known.
pub(super) fn teacher(row: Row, recording: &Recording) -> Option<Teacher> {
    let Truth::Class(class) = row.truth() else {
        return None;
    };
    let first = recording.devices.first();
    Some(Teacher {
        digest: recording.digest,
        examples: examples(recording, &row.family, class),
        levels: first.map_or_else(Levels::default, |d| d.levels),
        row,
    })
}

fn examples(recording: &Recording, family: &str, class: Class) -> Vec<Example> {
    play::parts(recording, &PARTS)
        .iter()
        .flatten()
        .map(|features| Example {
            family: family.to_owned(),
            class,
            values: features.values(),
        })
        .collect()
}

/// The file of trees that these teach, with what it was made of.
#[must_use]
pub fn file(teachers: &[Teacher]) -> (String, Trees) {
    let examples: Vec<Example> = teachers.iter().flat_map(|t| t.examples.clone()).collect();
    let trees = train(&examples);
    let mut families: Vec<&str> = teachers.iter().map(|t| t.row.family.as_str()).collect();
    families.sort_unstable();
    families.dedup();
    let head = format!(
        "# weighbridge-trees/1: what recordings teach; made by `weighbridge-testbed train`, never by hand. docs/model-card.md says what it is worth.\n\
         # Thresholds in parts per million. `taught` is between which values a feature was seen; `scale` makes the sum of leaves a ratio in hundredths\n\
         # of a nat: times a, in thousandths, and b, at most c either way. A window goes to node 2i at or below the threshold, else to 2i + 1; where\n\
         # it lacks the feature, to the latter if b is 1.\n\
         # Teachers: {} recordings of {} families.\n",
        teachers.len(),
        families.len(),
    );
    (head + &trees.written(), trees)
}

/// Teaches, and writes the file.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    let teachers = match teachers(&options.corpus) {
        Ok(teachers) => teachers,
        Err(e) => {
            eprintln!("{e}");
            return ExitCode::from(2);
        }
    };
    let (text, _) = file(&teachers);
    if let Err(e) = std::fs::write(&options.out, text) {
        eprintln!("{} cannot be written: {e}", options.out.display());
        return ExitCode::from(2);
    }
    println!("{} recordings teach {}", teachers.len(), options.out.display());
    ExitCode::SUCCESS
}
