//! GPUs before Hopper tell the driver's interface nothing of their pipes. A DCGM host engine that runs already may: it is asked
//! where the operator names it, for what others have it watch, and what it does costs no other reading.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use weighbridge_testbed::process::{host_engine_library, program, replay_library, said};

const SOCKET: &str = "unix:///run/dcgm/sock";

/// Whose calls an engine that is only read sees.
const READING: [&str; 7] = [
    "dcgmInit",
    "dcgmConnect_v2",
    "dcgmGetAllDevices",
    "dcgmGetDeviceAttributes",
    "dcgmEntitiesGetLatestValues",
    "dcgmDisconnect",
    "dcgmShutdown",
];

/// A node with two GPUs of a profile, and a host engine.
struct Node {
    dir: tempfile::TempDir,
    log: PathBuf,
}

impl Node {
    /// `engine` is the scenario of the engine, before the GPUs that it knows.
    fn new(profile: &str, engine: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let driver = dir.path().join("driver.toml");
        let text = format!("profile = \"{profile}\"\ngpus = 2\ntrace = \"burn\"\n");
        std::fs::write(&driver, text).unwrap();
        let scenario = nvidia_ml::Scenario::load(&driver).unwrap();
        let mut text = engine.to_owned();
        // In another order than the driver's: they are told apart by their UUIDs.
        for (place, gpu) in nvidia_ml::identities(&scenario).iter().enumerate().rev() {
            let tensor = 0.4 + 0.2 * f64::from(u32::try_from(place).unwrap());
            text.push_str(&format!(
                "[[gpu]]\nuuid = \"{}\"\nvalues = {{ \"1002\" = 0.8, \"1004\" = {tensor}, \"1014\" = {tensor}, \"1013\" = 0.0, \
                 \"1015\" = \"blank\" }}\n",
                gpu.uuid
            ));
        }
        std::fs::write(dir.path().join("engine.toml"), text).unwrap();
        let log = dir.path().join("calls");
        Self { dir, log }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let path = |name: &str| self.dir.path().join(name);
        let mut command = program("weighbridge-agent");
        command
            .args(arguments)
            .arg("--state-dir")
            .arg(path("state"))
            .arg("--nvml")
            .arg(replay_library())
            .arg("--dcgm-library")
            .arg(host_engine_library())
            .env("WEIGHBRIDGE_REPLAY_SCENARIO", path("driver.toml"))
            .env("WEIGHBRIDGE_DCGM_SCENARIO", path("engine.toml"))
            .env("WEIGHBRIDGE_DCGM_LOG", &self.log);
        command
    }

    /// One line for each GPU, and what was said beside.
    fn measured(&self, seconds: u32, further: &[&str]) -> (Vec<Value>, String) {
        let window = seconds.to_string();
        let measure = ["measure", "--window", &window, "--format", "json"];
        let output = self.command(&[&measure, further].concat()).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        (lines, String::from_utf8(output.stderr).unwrap())
    }

    fn calls(&self) -> Vec<String> {
        calls(&self.log)
    }
}

fn calls(log: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn pipes_of_an_older_gpu_come_from_a_host_engine_that_runs_already() {
    let node = Node::new("A100", "every_ms = 1000\naddress = \"/run/dcgm/sock\"\n");
    let (lines, _) = node.measured(8, &["--dcgm", SOCKET]);
    assert_eq!(lines.len(), 2);
    for (line, tensor) in lines.iter().zip([0.4, 0.6]) {
        assert_eq!(line["activity_source"], "dcgm", "{line}");
        let seconds = |pipe: &str| line["pipes"][pipe].as_f64().unwrap_or_else(|| panic!("{line}"));
        // What came before two values were seen is of unknown age, and no more is told than passed.
        let told = seconds("sm_s") / 0.8;
        assert!((3.0..=8.1).contains(&told), "{told}: {line}");
        assert!((seconds("hmma_s") / told - tensor).abs() < 0.01, "{line}");
        assert_eq!(line["pipes"]["imma_s"].as_f64(), Some(0.0));
        assert_eq!(line["pipes"]["dfma_s"], "unsupported", "a blank is no zero");
        assert_eq!(line["pipes"]["fp32_s"], "unsupported", "nobody watches it");
        assert!(line["tpp_hours"]["counter"].as_f64().unwrap() > 0.0, "{line}");
        assert!(line["energy_j"].as_f64().unwrap() > 0.0, "{line}");
    }
    let calls = node.calls();
    let strange: Vec<_> = calls
        .iter()
        .filter(|call| !READING.contains(&call.as_str()))
        .collect();
    assert!(strange.is_empty(), "{strange:?}");
    assert_eq!(
        calls.last().map(String::as_str),
        Some("dcgmShutdown"),
        "it is let go of"
    );
}

#[test]
fn a_value_of_an_engine_that_hurries_counts_for_its_own_time_alone() {
    let node = Node::new("A100", "every_ms = 100\n");
    let (lines, log) = node.measured(6, &["--dcgm", SOCKET]);
    assert!(
        log.contains("updates every ") && log.contains("let it update once a second"),
        "{log}"
    );
    for line in &lines {
        assert_eq!(line["activity_source"], "dcgm", "{line}");
        let told = line["pipes"]["sm_s"].as_f64().unwrap() / 0.8;
        assert!((0.1..3.0).contains(&told), "{told}: {line}");
        // A tick that a busy machine took late may end a window a little before or after its sixth second.
        let covered = line["coverage"].as_f64().unwrap();
        assert!(covered > 0.95, "{line}");
        assert_eq!(line["gaps"], serde_json::json!([]), "{line}");
    }
}

#[test]
fn no_engine_is_asked_that_was_not_named_or_is_not_needed() {
    let older = Node::new("A100", "every_ms = 1000\n");
    let newer = Node::new("H100", "every_ms = 1000\n");
    thread::scope(|scope| {
        scope.spawn(|| {
            let (lines, _) = older.measured(2, &[]);
            assert_eq!(lines[0]["activity_source"], "none");
            assert_eq!(lines[0]["pipes"], "unsupported");
        });
        let (lines, _) = newer.measured(2, &["--dcgm", SOCKET]);
        assert_eq!(lines[0]["activity_source"], "gpm");
    });
    assert_eq!((older.calls(), newer.calls()), (vec![], vec![]));
}

#[test]
fn an_engine_that_is_away_old_or_hangs_costs_activity_alone() {
    let away = "no activity from the DCGM host engine at 127.0.0.1:5555: nothing answers there";
    let states = [
        ("away", away),
        ("old", "versions that do not go together"),
        ("hang", "a call to DCGM's host engine did not return"),
    ];
    thread::scope(|scope| {
        for (state, why) in states {
            scope.spawn(move || {
                let node = Node::new("A100", &format!("state = \"{state}\"\n"));
                let (lines, log) = node.measured(6, &["--dcgm", "127.0.0.1:5555"]);
                assert_eq!(lines.len(), 2);
                for line in &lines {
                    assert_eq!(line["activity_source"], "none", "{state}: {line}");
                    assert!(
                        line["pipes"].as_str().unwrap().contains("lost"),
                        "{state}: {line}"
                    );
                    assert_eq!(line["state"], "present", "{state}: no device hangs with it");
                    assert!(line["energy_j"].as_f64().unwrap() > 0.0, "{state}: {line}");
                    assert!(line["coverage"].as_f64().unwrap() > 0.9, "{state}: {line}");
                }
                assert_eq!(log.matches(why).count(), 1, "{state}: {log}");
            });
        }
    });
}

#[test]
fn the_doctor_says_who_tells_of_the_pipes_and_why_nobody_does() {
    let named = ["doctor", "--dcgm", SOCKET];
    let well = Node::new("A100", "every_ms = 1000\n");
    let shown = text(&well.command(&named).output().unwrap());
    let line = " pipes       per-pipe activity from DCGM (host engine at unix:///run/dcgm/sock)";
    assert!(
        shown.lines().any(|l| l.starts_with(line) && l.ends_with("ok")),
        "{shown}"
    );
    let away = Node::new("A100", "state = \"away\"\n");
    let shown = text(&away.command(&named).output().unwrap());
    assert!(
        shown.contains("no pipe activity on this architecture (Ampere)")
            && shown.contains("nothing answers there"),
        "{shown}"
    );
    // Whoever hung is named, and every GPU is listed.
    let hung = Node::new("A100", "state = \"hang\"\n");
    let shown = text(&hung.command(&named).output().unwrap());
    assert!(shown.contains("host engine did not return"), "{shown}");
    assert!(!shown.contains("GPU 65535"), "{shown}");
}

#[test]
fn an_engine_on_another_machine_is_refused() {
    let node = Node::new("A100", "every_ms = 1000\n");
    for address in ["10.0.0.7:5555", "gpu-7:5555", "unix://sock"] {
        let output = node.command(&["measure", "--dcgm", address]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let why = String::from_utf8(output.stderr).unwrap();
        assert_eq!(why.lines().count(), 1, "{why}");
        assert!(why.contains(address) && why.contains("loopback"), "{why}");
    }
    assert!(node.calls().is_empty());
}
