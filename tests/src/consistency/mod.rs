//! What physics sees of forged telemetry: genuine recordings, forgeries made of them, and the table of `docs/consistency.md`.
//!
//! Decides: which recordings are played, how they are forged, and whether as much is seen as is promised. The recordings lie outside of
//! the repository, as they belong to others; the synthetic nodes of [`synthetic`] stand in for them in the tests.

pub mod forge;
pub mod play;
pub mod recording;
pub mod synthetic;
mod table;

use recording::Recording;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use weighbridge::accounting::consistency::Physics;

pub use table::{Case, Extent, Genuine, Scope, Table, cases, differs, genuine, tables};

/// Which recordings to forge.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Directory that holds `h100-dcgm-10hz` and the other sets of recordings; synthetic nodes alone where it is not given
    #[arg(long, value_name = "DIR")]
    traces: Option<PathBuf>,
    /// Print no tables, but the first that this document, such as `docs/consistency.md`, does not hold; the exit status is 1 where there is
    /// one
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
}

/// The most of genuine windows in which something may be observed.
pub const MOST_FALSE: f64 = 0.001;
/// The least of forged cases that must be observed.
pub const LEAST_SEEN: f64 = 0.95;

/// The recordings under `traces`, each read once a second from row `phase` on: first those with energy and activity, then those of power
/// and residency alone.
///
/// # Errors
/// Where one cannot be read.
pub fn recordings(traces: &Path, phase: usize) -> std::io::Result<(Vec<Recording>, Vec<Recording>)> {
    let dcgm = traces.join("h100-dcgm-10hz");
    let mut whole: Vec<Recording> = ["b1", "i4", "t2", "t3", "t13_node0", "t13_node1"]
        .iter()
        .map(|name| recording::dcgm(&dcgm.join(format!("{name}_telemetry.csv.gz")), name, phase))
        .collect::<Result<_, _>>()?;
    whole.extend(own(phase)?);
    let mut bare = Vec::new();
    for (set, devices) in [("h100-train-nvsmi-100ms", 8), ("titanx-train-nvsmi-100ms", 2)] {
        let mut files: Vec<PathBuf> = std::fs::read_dir(traces.join(set))?
            .map(|entry| entry.map(|e| e.path()))
            .collect::<Result<_, _>>()?;
        files.retain(|f| f.to_string_lossy().ends_with(".csv.gz"));
        files.sort();
        for file in files {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let name = name.trim_end_matches(".csv.gz");
            bare.push(recording::nvsmi(&file, name, devices, phase)?);
        }
    }
    Ok((whole, bare))
}

/// The project's own recordings, of one H200.
///
/// # Errors
/// Where one cannot be read.
pub fn own(phase: usize) -> std::io::Result<Vec<Recording>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings/h200");
    ["products", "instructions", "small-instructions"]
        .iter()
        .map(|name| recording::dcgm(&dir.join(format!("{name}.csv.gz")), name, phase))
        .collect()
}

/// The project's recordings of 34 families of work on one H200, some seconds of each, strung together as they were made: no bound was
/// set on them.
///
/// # Errors
/// Where one cannot be read.
pub fn families(phase: usize) -> std::io::Result<Recording> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/recordings/h200");
    recording::strung(&dir, "34 families of work", phase)
}

/// Plays everything and prints the tables.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    let physics = match Physics::embedded() {
        Ok(physics) => physics,
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return ExitCode::from(2);
        }
    };
    match table::print(options, &physics) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(e) => {
            eprintln!("a recording or the document cannot be read: {e}");
            ExitCode::from(2)
        }
    }
}
