//! What each architecture lets an operator measure, through the driver's interface and the agent's own output: pairs of samples or
//! counters by pipe, PCIe bytes of one or the other kind, or neither, said plainly.

use serde_json::Value;
use std::path::Path;
use std::thread;
use weighbridge_testbed::process::{must, program, replay_library};

/// The length of the window that is measured, in seconds.
const WINDOW: f64 = 4.0;

/// The share of time in which the tensor pipes are busy in the trace `burn`.
const BURN: f64 = 0.92;

fn agent(dir: &Path, name: &str, scenario: &str, arguments: &[&str]) -> String {
    let file = dir.join(format!("{name}.toml"));
    std::fs::write(&file, scenario).unwrap();
    must(
        program("weighbridge-agent")
            .args(arguments)
            .arg("--nvml")
            .arg(replay_library())
            .env("WEIGHBRIDGE_REPLAY_SCENARIO", &file),
    )
}

fn measured(dir: &Path, name: &str, scenario: &str) -> Value {
    let window = WINDOW.to_string();
    let line = agent(
        dir,
        name,
        scenario,
        &["measure", "--window", &window, "--format", "json"],
    );
    serde_json::from_str(&line).unwrap_or_else(|e| panic!("{name}: {e}: {line}"))
}

/// The share of the window for which a pipe was busy.
fn share(line: &Value, pipe: &str) -> f64 {
    let covered = line["coverage"].as_f64().unwrap() * WINDOW;
    line["pipes"][pipe].as_f64().unwrap_or_else(|| panic!("{line}")) / covered
}

fn near(found: f64, due: f64) -> bool {
    (found - due).abs() <= due * 0.02
}

#[test]
fn each_architecture_is_measured_by_what_its_driver_offers() {
    let dir = tempfile::tempdir().unwrap();
    let scenarios = [
        ("h100", "profile = \"H100\"\n"),
        ("counters", "profile = \"H100\"\ngpm_counters = true\n"),
        ("a100", "profile = \"A100\"\n"),
        ("l40s", "profile = \"L40S\"\nwide_pcie_counters = true\n"),
        ("mig", "profile = \"MIG\"\n"),
    ];
    let lines = thread::scope(|scope| {
        scenarios
            .map(|(name, scenario)| {
                let dir = dir.path();
                scope.spawn(move || measured(dir, name, &format!("{scenario}trace = \"burn\"\n")))
            })
            .map(|running| running.join().unwrap())
    });
    for line in &lines {
        assert!(line["energy_j"].as_f64().unwrap() > 0.0, "{line}");
        assert!(line["tpp_hours"]["upper"].as_f64().unwrap() > 0.0, "{line}");
    }
    let [h100, counters, a100, l40s, mig] = lines;

    assert_eq!(h100["activity_source"], "gpm");
    assert!(near(share(&h100, "hmma_s"), BURN), "{h100}");
    assert_eq!(h100["links"]["pcie_method"], "sampled");
    let bytes = h100["links"]["pcie_tx_bytes"].as_f64().unwrap();
    assert!(near(bytes, 2e6 * WINDOW), "{h100}");
    assert!(h100["links"]["nvlink_tx_bytes"].is_u64(), "{h100}");

    assert_eq!(counters["activity_source"], "gpm counters");
    assert!(near(share(&counters, "hmma_s"), BURN), "{counters}");
    assert_eq!(counters["links"]["pcie_method"], "counter");
    assert!(counters["links"]["pcie_tx_bytes"].as_f64().unwrap() > 0.0);

    for older in [&a100, &l40s] {
        assert_eq!(older["pipes"], "unsupported", "missing is never zero");
        assert_eq!(older["activity_source"], "none");
        assert_eq!(older["tpp_hours"]["lower"].as_f64(), Some(0.0), "{older}");
        assert_eq!(older["tpp_hours"]["method"], "busy time");
        assert!(near(older["busy_s"].as_f64().unwrap(), WINDOW), "{older}");
    }
    assert_eq!(a100["links"]["pcie_tx_bytes"], "unsupported", "32 bits that wrap");
    assert!(a100["links"]["nvlink_tx_bytes"].is_u64(), "{a100}");
    assert_eq!(l40s["links"]["pcie_method"], "counter");
    assert!(l40s["links"]["pcie_tx_bytes"].as_f64().unwrap() > 0.0, "{l40s}");
    assert_eq!(l40s["links"]["nvlink_tx_bytes"], "unsupported");

    assert_eq!(mig["activity_source"], "gpm");
    assert!(near(share(&mig, "hmma_s"), BURN * 112.0 / 132.0), "{mig}");
    assert_eq!(
        mig["links"]["nvlink_tx_bytes"], "unsupported",
        "zero is no evidence of zero"
    );
    assert_eq!(mig["busy_s"], "unsupported");
}

#[test]
fn an_architecture_without_pipe_activity_says_so_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = "profile = \"A100\"\ntrace = \"burn\"\n";
    let text = agent(dir.path(), "a100", scenario, &["measure", "--window", "1"]);
    assert!(text.contains("no pipe activity on this architecture"), "{text}");
}
