//! Real telemetry through the real path: NVML interface, agent, TLS, verifier.
//!
//! The recordings in `../shared/data/traces/h100-dcgm-10hz` are played in real time to agents that run side by side. Where they are absent this
//! says so, and the synthetic twin runs alone.

use std::io::Read;
use std::path::{Path, PathBuf};
use weighbridge::report::OpenedReport;
use weighbridge::time::{BootNanos, SECOND};
use weighbridge::workload::Class;
use weighbridge_testbed::licence;
use weighbridge_testbed::process::{Agent, Verifier, wait_for};
use weighbridge_testbed::stored;

/// Reports have the shortest ordinary length, so that a window has its ordinary 60 s.
const REPORT_SECONDS: u32 = 60;

/// Where recordings lie beside the repository, if they do.
fn recordings() -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/traces/h100-dcgm-10hz");
    dir.is_dir().then_some(dir)
}

/// The recording's own energy counter: (seconds since its start, millijoules) for each GPU.
fn energy(path: &Path) -> Vec<Vec<(f64, f64)>> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap())
        .read_to_string(&mut text)
        .unwrap();
    let mut lines = text.lines();
    let header: Vec<_> = lines.next().unwrap().split(',').collect();
    let column = |name: &str| header.iter().position(|h| *h == name).unwrap();
    let (time, gpu, energy) = (column("timestamp"), column("gpu"), column("energy_mj"));
    let mut out: Vec<Vec<(f64, f64)>> = Vec::new();
    let mut start = None;
    for line in lines {
        let cells: Vec<_> = line.split(',').collect();
        let at: f64 = cells[time].parse().unwrap();
        let at = at - *start.get_or_insert(at);
        let gpu: usize = cells[gpu].parse().unwrap();
        out.resize_with(out.len().max(gpu + 1), Vec::new);
        if let Ok(mj) = cells[energy].parse() {
            out[gpu].push((at, mj));
        }
    }
    out
}

/// The counter at a time, between its readings.
fn at(series: &[(f64, f64)], seconds: f64) -> f64 {
    let after = series
        .partition_point(|(t, _)| *t < seconds)
        .clamp(1, series.len() - 1);
    let ((t0, e0), (t1, e1)) = (series[after - 1], series[after]);
    e0 + (e1 - e0) * ((seconds - t0) / (t1 - t0))
}

/// One recording: its file, where to begin, and what its windows may never be called.
struct Played {
    name: &'static str,
    offset: f64,
    must_be: Option<Class>,
    must_not_be: &'static [Class],
}

const NOT_WORK: &[Class] = &[Class::Idle, Class::InferenceInteractive, Class::InferenceBatch];

const PLAYED: [Played; 6] = [
    Played {
        name: "b1",
        offset: 100.0,
        must_be: Some(Class::Idle),
        must_not_be: &[Class::Training],
    },
    Played {
        name: "i4",
        offset: 100.0,
        must_be: None,
        must_not_be: &[Class::Training, Class::Idle],
    },
    Played {
        name: "t2",
        offset: 100.0,
        must_be: None,
        must_not_be: NOT_WORK,
    },
    Played {
        name: "t3",
        offset: 100.0,
        must_be: None,
        must_not_be: NOT_WORK,
    },
    Played {
        name: "t13_node0",
        offset: 100.0,
        must_be: None,
        must_not_be: NOT_WORK,
    },
    Played {
        name: "t13_node1",
        offset: 100.0,
        must_be: None,
        must_not_be: NOT_WORK,
    },
];

#[test]
fn real_recordings_come_through_with_their_energy_and_without_false_names() {
    let Some(recordings) = recordings() else {
        println!(
            "skipped: ../shared/data/traces/h100-dcgm-10hz is absent; the synthetic twin below runs alone"
        );
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let mut verifier = Verifier::init(dir.path());
    let terms = licence::Terms {
        report_seconds: REPORT_SECONDS,
        ..licence::Terms::at("harbour-1")
    };
    let mut agents = Vec::new();
    let mut devices = Vec::new();
    for played in &PLAYED {
        let trace = recordings.join(format!("{}_telemetry.csv.gz", played.name));
        let agent = Agent::new(
            dir.path(),
            played.name,
            &format!(
                "profile = \"H100\"\ngpus = 8\ntrace = {trace:?}\ntrace_offset_s = {}\nsm_clock_mhz = 1755\nstart_file = \"start\"\n",
                played.offset
            ),
        );
        devices.extend(nvidia_ml::identities(
            &nvidia_ml::Scenario::load(&agent.scenario).unwrap(),
        ));
        agents.push((played, trace, agent));
    }
    verifier.load_licence(&terms.write(&devices.iter().map(|d| (d, "harbour-1")).collect::<Vec<_>>()));
    verifier.serve();
    for (_, _, agent) in &mut agents {
        agent.enrol(&verifier.token("harbour-1", &[]));
        agent.run();
    }
    stored::wait_for_reports(&verifier.state, u64::try_from(agents.len()).unwrap() * 3, 300);
    for (_, _, agent) in &mut agents {
        agent.stop();
    }
    let reports = stored::reports(&verifier.state);
    for (played, trace, agent) in &agents {
        let own = nvidia_ml::identities(&nvidia_ml::Scenario::load(&agent.scenario).unwrap());
        let begun = stored::play_began(&agent.scenario.with_file_name("start"));
        check(played, &energy(trace), &own, begun, &reports);
    }
    let (outcome, sentence) = verifier.finding("INV-11");
    assert_eq!(
        outcome, "cannot tell",
        "a replayed bus is not the kernel's own: {sentence}"
    );
    for condition in ["INV-01", "INV-06", "OPS-01", "SEC-06"] {
        let (outcome, sentence) = verifier.finding(condition);
        assert_eq!(outcome, "met", "{condition}: {sentence}");
    }
    assert_eq!(
        verifier.finding("SEC-09").0,
        "not met",
        "a replay is never the system's own library"
    );
    assert_eq!(
        verifier.finding("TRN-01").0,
        "met",
        "48 H100 cannot reach 1e26 operations in a year"
    );
}

/// Holds each full report of one recording's GPUs against the recording.
fn check(
    played: &Played,
    truth: &[Vec<(f64, f64)>],
    own: &[nvidia_ml::Identity],
    begun: BootNanos,
    reports: &[OpenedReport],
) {
    let mut compared = 0;
    for report in reports {
        let time = &report.claims.report.time;
        // The first report begins before the first sample, and the one that an agent closes when it is stopped may be of seconds only.
        if report.claims.report.sequence == 1 || time.end.since(time.start) < 30 * SECOND {
            continue;
        }
        for device in report.accelerators.iter().flatten() {
            let Some(gpu) = own.iter().position(|d| d.uuid == device.identity.uuid.nvml()) else {
                continue;
            };
            let seconds = |t: BootNanos| t.since(begun) as f64 / SECOND as f64 + played.offset;
            let (from, to) = (seconds(time.start), seconds(time.end));
            if to > truth[gpu].last().unwrap().0 {
                continue;
            }
            let expected = at(&truth[gpu], to) - at(&truth[gpu], from);
            let measured = *device
                .delivered
                .measured
                .energy_mj
                .value()
                .expect("an energy counter") as f64;
            let error = (measured - expected).abs() / expected;
            assert!(
                error < 0.005,
                "{} GPU {gpu}: {measured} mJ reported, {expected:.0} mJ in the recording from {from:.1} s to {to:.1} s",
                played.name
            );
            classes(played, gpu, &device.delivered.workload.windows);
            compared += 1;
        }
    }
    assert!(
        compared >= 8,
        "{}: only {compared} device reports could be compared",
        played.name
    );
}

fn classes(played: &Played, gpu: usize, windows: &[u16]) {
    let named: Vec<_> = Class::ALL
        .iter()
        .zip(windows)
        .filter(|(_, n)| **n > 0)
        .map(|(c, _)| *c)
        .collect();
    for class in &named {
        assert!(
            !played.must_not_be.contains(class),
            "{} GPU {gpu} was called {class}",
            played.name
        );
    }
    if let Some(class) = played.must_be {
        assert_eq!(named, [class], "{} GPU {gpu}", played.name);
    }
}

#[test]
fn a_synthetic_job_comes_through_with_the_energy_that_its_counters_gained() {
    let dir = tempfile::tempdir().unwrap();
    let mut verifier = Verifier::init(dir.path());
    let mut agent = Agent::new(
        dir.path(),
        "node",
        "profile = \"H100\"\ngpus = 4\ntrace = \"training\"\nsm_clock_mhz = 1755\nstart_file = \"start\"\n",
    );
    let scenario = nvidia_ml::Scenario::load(&agent.scenario).unwrap();
    let devices = nvidia_ml::identities(&scenario);
    let terms = licence::Terms {
        report_seconds: 10,
        ..licence::Terms::at("harbour-1")
    };
    verifier.load_licence(&terms.write(&devices.iter().map(|d| (d, "harbour-1")).collect::<Vec<_>>()));
    verifier.serve();
    agent.enrol(&verifier.token("harbour-1", &[]));
    agent.run();
    wait_for("two reports", || {
        (stored::reports(&verifier.state).len() >= 2).then_some(())
    });
    agent.stop();
    let play = nvidia_ml::Play::open(scenario).unwrap();
    let begun = stored::play_began(&agent.scenario.with_file_name("start"));
    for report in stored::reports(&verifier.state).iter().skip(1).take(2) {
        let time = &report.claims.report.time;
        let seconds = |t: BootNanos| t.since(begun) as f64 / SECOND as f64;
        for device in report.accelerators.iter().flatten() {
            let gpu = devices
                .iter()
                .position(|d| d.uuid == device.identity.uuid.nvml())
                .unwrap();
            let expected = play
                .counters(u32::try_from(gpu).unwrap(), seconds(time.end))
                .energy_mj as f64
                - play
                    .counters(u32::try_from(gpu).unwrap(), seconds(time.start))
                    .energy_mj as f64;
            let measured = *device.delivered.measured.energy_mj.value().unwrap() as f64;
            assert!(
                (measured - expected).abs() / expected < 0.005,
                "GPU {gpu}: {measured} against {expected}"
            );
            assert_eq!(
                device.delivered.workload.windows[0], 0,
                "a job at full load is not idle"
            );
        }
    }
}
