//! What `record` writes for a node's owner, that it names nobody, that it can be played again, and the programs that are
//! recorded with it.

use flate2::read::MultiGzDecoder;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use weighbridge_testbed::process::{must, program, replay_library, said};

/// A scenario beside the recordings of a test, and the agent that looks at it.
struct Node {
    dir: tempfile::TempDir,
    scenario: PathBuf,
}

impl Node {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let scenario = dir.path().join("node.toml");
        fs::write(&scenario, text).unwrap();
        Self { dir, scenario }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn record(&self, arguments: &[&str]) -> Command {
        let mut command = program("weighbridge-agent");
        command
            .arg("record")
            .args(arguments)
            .arg("--nvml")
            .arg(replay_library())
            .env("WEIGHBRIDGE_REPLAY_SCENARIO", &self.scenario);
        command
    }
}

fn read(path: &str) -> String {
    let mut text = String::new();
    let file = File::open(path).unwrap();
    match path.ends_with(".gz") {
        true => MultiGzDecoder::new(file).read_to_string(&mut text).unwrap(),
        false => (&file).read_to_string(&mut text).unwrap(),
    };
    text
}

/// The cells of a column, with those that are empty.
fn column<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let mut lines = text.lines().filter(|l| !l.starts_with('#'));
    let place = lines.next().unwrap().split(',').position(|c| c == name).unwrap();
    lines.map(|l| l.split(',').nth(place).unwrap()).collect()
}

fn numbers(text: &str, name: &str) -> Vec<f64> {
    let cells = column(text, name).into_iter().filter(|c| !c.is_empty());
    cells.map(|c| c.parse().unwrap()).collect()
}

#[test]
fn a_recording_holds_every_reading_at_its_rate_and_names_no_device() {
    let node = Node::new("profile = \"H100\"\ngpus = 2\ntrace = \"training\"\n");
    let path = node.path("a.csv.gz");
    let label = "family=dense,class=training";
    must(&mut node.record(&[&path, "--seconds", "2", "--rate", "10", "--label", label]));
    let text = read(&path);
    assert!(text.starts_with("# weighbridge recording 1\n"), "{text}");
    for line in [
        "# rate_hz=10",
        "# gpu.0=NVIDIA H100 80GB HBM3",
        "# label.family=dense",
        "# label.class=training",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is missing in {text}");
    }
    let rows = column(&text, "timestamp").len();
    assert!(
        (30..=40).contains(&rows),
        "{rows} rows of two devices in two seconds at 10 Hz"
    );
    assert_eq!(numbers(&text, "power_w").len(), rows);
    assert_eq!(numbers(&text, "sm_clock_mhz").len(), rows);
    // A pair of samples ends with every second row.
    let pairs = numbers(&text, "hmma_active");
    assert!(
        pairs.len() * 3 > rows && pairs.len() < rows,
        "{} of {rows}",
        pairs.len()
    );
    assert!(pairs.iter().any(|share| *share > 0.1));
    assert!(numbers(&text, "activity_ms").iter().all(|ms| *ms >= 150.0));
    // Rows of the two devices alternate.
    let energy: Vec<_> = numbers(&text, "energy_mj").into_iter().step_by(2).collect();
    assert!(energy.windows(2).all(|w| w[1] >= w[0]) && energy.last() > energy.first());
    let inventory = must(
        program("weighbridge-agent")
            .args(["inventory", "--format", "json", "--nvml"])
            .arg(replay_library())
            .env("WEIGHBRIDGE_REPLAY_SCENARIO", &node.scenario),
    );
    let listed: serde_json::Value = serde_json::from_str(&inventory).unwrap();
    let mut named = 0;
    for device in listed["inventory"]["devices"].as_array().unwrap() {
        for key in ["uuid", "serial"] {
            let name = device[key].as_str().unwrap();
            assert!(
                name.len() > 6 && !text.contains(name),
                "{key} {name} is in the recording"
            );
            named += 1;
        }
    }
    assert_eq!(named, 4);
}

#[test]
fn what_a_device_does_not_offer_is_an_empty_cell() {
    let node = Node::new("profile = \"A100\"\ntrace = \"training\"\n");
    let path = node.path("a.csv");
    must(&mut node.record(&[&path, "--seconds", "1", "--rate", "20"]));
    let text = read(&path);
    assert!(column(&text, "tensor_active").iter().all(|c| c.is_empty()));
    assert!(!numbers(&text, "energy_mj").is_empty());
}

#[test]
fn a_recording_is_played_again_as_it_was_seen() {
    let node = Node::new("profile = \"H100\"\ngpus = 2\ntrace = \"training\"\n");
    let first = node.path("first.csv.gz");
    must(&mut node.record(&[&first, "--seconds", "2"]));
    fs::write(
        node.dir.path().join("again.toml"),
        "profile = \"H100\"\ngpus = 2\ntrace = \"first.csv.gz\"\n",
    )
    .unwrap();
    let scenario = node.dir.path().join("again.toml");
    let second = node.path("second.csv.gz");
    must(
        node.record(&[&second, "--seconds", "2"])
            .env("WEIGHBRIDGE_REPLAY_SCENARIO", &scenario),
    );
    let mean = |path: &str, name: &str| {
        let all = numbers(&read(path), name);
        all.iter().sum::<f64>() / all.len() as f64
    };
    for name in ["power_w", "mem_used_mib"] {
        let (was, is) = (mean(&first, name), mean(&second, name));
        assert!(
            (was - is).abs() <= 0.25 * was,
            "{name}: {was} recorded, {is} played"
        );
    }
}

#[test]
fn record_says_in_one_line_why_a_wrong_input_could_not_be_used() {
    let node = Node::new("profile = \"H100\"\n");
    let there = node.path("there.csv");
    fs::write(&there, "kept").unwrap();
    let new = node.path("new.csv");
    let rows: [(&[&str], &str); 8] = [
        (&[], "required arguments were not provided"),
        (&["trace.txt"], "ends with .csv or .csv.gz"),
        (&[&there], "cannot be written"),
        (&[&new, "--rate", "21"], "21 is not in 1..=20"),
        (&[&new, "--rate", "0"], "0 is not in 1..=20"),
        (&[&new, "--seconds", "0"], "0 is not in 1..=86400"),
        (&[&new, "--label", "training"], "not of the form key=value"),
        (&[&new, "--label", "family=a b"], "is no value"),
    ];
    for (arguments, why) in rows {
        let output = node.record(arguments).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", said(&output));
        assert_eq!(errors.lines().count(), 1, "{arguments:?}: {errors}");
        assert!(
            errors.starts_with("weighbridge-agent: ") && errors.contains(why),
            "{arguments:?}: {errors}"
        );
    }
    let nobody = program("weighbridge-agent")
        .args(["record", &new, "--nvml", "/nonexistent/libnvidia-ml.so.1"])
        .output()
        .unwrap();
    assert_eq!(nobody.status.code(), Some(2), "{}", said(&nobody));
    assert!(
        said(&nobody).contains("no accelerator answers"),
        "{}",
        said(&nobody)
    );
    assert!(
        !Path::new(&new).exists(),
        "a recording that did not begin leaves no file"
    );
    assert_eq!(read(&there), "kept");
}

#[test]
fn the_document_explains_the_columns_of_a_recording() {
    let node = Node::new("profile = \"H100\"\n");
    let path = node.path("a.csv");
    must(&mut node.record(&[&path, "--seconds", "1"]));
    let text = read(&path);
    let written: BTreeSet<&str> = text
        .lines()
        .find(|l| !l.starts_with('#'))
        .unwrap()
        .split(',')
        .collect();
    let document = include_str!("../../docs/recording.md");
    let (_, table) = document.split_once("## The table").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let explained: BTreeSet<&str> = table
        .lines()
        .filter_map(|l| l.strip_prefix("| `"))
        .flat_map(|row| row.split(" | ").next().unwrap().split('`'))
        .filter(|word| word.chars().any(char::is_alphanumeric))
        .collect();
    assert_eq!(written, explained);
}

#[test]
fn the_programs_of_the_corpus_run_where_pytorch_is() {
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/corpus.py");
    let dir = tempfile::tempdir().unwrap();
    let python = || {
        let mut command = Command::new("python3");
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    };
    let there = python()
        .args([
            "-c",
            "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)",
        ])
        .status();
    match there {
        Err(_) => println!("skipped: there is no python3 to run the programs of the corpus with"),
        Ok(found) => {
            let output = python()
                .arg(&suite)
                .args(["--device", "cpu", "--tiny", "--patience", "300", "--out"])
                .arg(dir.path())
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", said(&output));
            if !found.success() {
                assert!(
                    said(&output).contains("skipped: PyTorch is not installed"),
                    "{}",
                    said(&output)
                );
                println!("{}", said(&output).trim());
            }
        }
    }
}
