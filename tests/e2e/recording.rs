//! A recording of GPUs as others made it, read by other means than the replay library's.
//!
//! The recordings belong to others and are not in the repository: without them a test says so, and its synthetic twin remains.

use std::io::Read;
use std::path::{Path, PathBuf};

/// A recording, read a second time and by other means than the replay library's.
pub(crate) struct Recording {
    pub(crate) name: &'static str,
    pub(crate) path: PathBuf,
    rows: Vec<Vec<Row>>,
    /// When the load had settled, in seconds after the beginning.
    pub(crate) steady_from_s: f64,
}

struct Row {
    at_s: f64,
    joules: f64,
    tensor: f64,
}

impl Recording {
    /// `None`, and a word about it, where the recording is not here.
    pub(crate) fn open(name: &'static str) -> Option<Self> {
        let folder = Path::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../shared/data/traces/h100-dcgm-10hz"
        ));
        let path = folder.join(format!("{name}_telemetry.csv.gz"));
        let Ok(file) = std::fs::File::open(&path) else {
            println!("skipped: the recording {} is not here", path.display());
            return None;
        };
        let mut text = String::new();
        flate2::read::GzDecoder::new(file)
            .read_to_string(&mut text)
            .unwrap();
        let mut lines = text.lines();
        let columns: Vec<&str> = lines.next().unwrap().split(',').collect();
        let place = |name: &str| columns.iter().position(|c| *c == name).unwrap();
        let [at, phase, gpu, tensor, energy] =
            ["timestamp", "phase", "gpu", "tensor_active", "energy_mj"].map(place);
        let (mut rows, mut begun, mut steady_from_s): (Vec<Vec<Row>>, Vec<f64>, f64) = (vec![], vec![], 0.0);
        for line in lines {
            let cells: Vec<&str> = line.split(',').collect();
            let gpu: usize = cells[gpu].parse().unwrap();
            let at: f64 = cells[at].parse().unwrap();
            if rows.len() <= gpu {
                rows.push(Vec::new());
                begun.push(at);
            }
            let at_s = at - begun[gpu];
            if cells[phase] != "steady" && cells[phase] != "cooldown" {
                steady_from_s = at_s;
            }
            // An empty cell keeps the value before it.
            let before = rows[gpu]
                .last()
                .map_or((0.0, 0.0), |row: &Row| (row.joules, row.tensor));
            let number = |place: usize| cells[place].parse::<f64>().ok();
            rows[gpu].push(Row {
                at_s,
                joules: number(energy).map_or(before.0, |mj| mj / 1e3),
                tensor: number(tensor).unwrap_or(before.1),
            });
        }
        Some(Self {
            name,
            path,
            rows,
            steady_from_s,
        })
    }

    /// Its length in seconds, as far as it has all GPUs.
    pub(crate) fn length_s(&self) -> f64 {
        let ends = self.rows.iter().map(|gpu| gpu.last().unwrap().at_s);
        ends.fold(f64::MAX, f64::min)
    }

    /// Joules and seconds of tensor activity of one GPU between two moments.
    pub(crate) fn truth(&self, gpu: usize, from_s: f64, to_s: f64) -> (f64, f64) {
        let (mut joules, mut tensor_s) = (0.0, 0.0);
        for pair in self.rows[gpu].windows(2) {
            let overlap = (pair[1].at_s.min(to_s) - pair[0].at_s.max(from_s)).max(0.0);
            joules += (pair[1].joules - pair[0].joules) * overlap / (pair[1].at_s - pair[0].at_s);
            tensor_s += pair[0].tensor * overlap;
        }
        (joules, tensor_s)
    }
}
