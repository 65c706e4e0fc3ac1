//! The agent: the real program with its sampler's process, on replayed nodes of eight H100.
//!
//! What the replay library itself takes is counted too, where a driver's library would stand. Start-up is left out; samples, windows,
//! reports and their delivery are in. Reports are five times as frequent as by default, so each round holds one.

use super::cpu::{Memory, Meter, family};
use super::figure::{Figure, number};
use super::load::block_on;
use super::reference::{NOMINAL_US, median};
use super::report::MAX_BYTES;
use super::{Bench, say};
use crate::licence::Terms;
use crate::process::{Agent, Verifier};
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};
use weighbridge::report::OpenedReport;

/// 0.2 % of a core, in verifications a second.
const MAX_CPU: f64 = 2000.0 / NOMINAL_US;
/// Both processes together, in megabytes.
const MAX_MB: f64 = 16.0;
/// A recording of a real training job, where it is at hand.
const TRACE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../shared/data/traces/h100-dcgm-10hz/t3_telemetry.csv.gz"
);

/// One agent under measurement.
struct Subject {
    name: &'static str,
    what: &'static str,
    agent: Agent,
    meter: Meter,
    rounds: Vec<f64>,
    percent: Vec<f64>,
    split: Vec<(f64, f64)>,
}

/// Measures agents side by side: their CPU time is their own, whoever else runs.
pub(super) fn measure(bench: &Bench) -> Vec<Figure> {
    let (rounds, seconds, report_seconds) = if bench.quick { (3, 12, 12) } else { (5, 60, 60) };
    let dir = tempfile::tempdir().unwrap();
    let mut verifier = Verifier::init(dir.path());
    verifier.serve();
    let terms = Terms {
        report_seconds,
        ..Terms::at("harbour-1")
    };
    verifier.load_licence(&terms.write(&[]));

    let burst = u32::try_from(seconds).unwrap();
    let mut subjects = vec![
        subject(
            &verifier,
            dir.path(),
            "training",
            "1 Hz, a synthetic training job",
            "training",
            0,
        ),
        subject(
            &verifier,
            dir.path(),
            "bursts",
            "1 Hz and an endless burst at 10 Hz",
            "training",
            burst,
        ),
    ];
    if Path::new(TRACE).exists() {
        subjects.push(subject(
            &verifier,
            dir.path(),
            "recording",
            "1 Hz, a recorded training job",
            TRACE,
            0,
        ));
    } else {
        say("agent: skipped: the recorded training job is not at hand");
    }

    say(&format!(
        "agent: {rounds} rounds of {seconds} s, after {seconds} s at rest"
    ));
    std::thread::sleep(Duration::from_secs(seconds));
    for round in 0..rounds {
        say(&format!("agent: round {} of {rounds}", round + 1));
        one_round(bench, &mut subjects, seconds);
    }
    let mut figures = vec![bytes_of_reports(&verifier, rounds * subjects.len())];
    for subject in &mut subjects {
        figures.extend(figures_of(subject));
    }
    let [plain, bursting] = [0, 1].map(|i| median(&subjects[i].rounds));
    let default = Figure::of(
        "agent.default",
        "CPU time as configured by default: 1 Hz, and one minute in ten at 10 Hz; computed from the two",
        "verifications/s",
        vec![0.9 * plain + 0.1 * bursting],
    );
    figures.push(default);
    figures
}

/// The largest report that the verifier has recorded of these agents and that carries no round of evidence, and the proof that they reported at all.
fn bytes_of_reports(verifier: &Verifier, least: usize) -> Figure {
    let options = SqliteConnectOptions::new()
        .filename(verifier.state.join("verifier.db"))
        .read_only(true);
    let bodies: Vec<(Vec<u8>,)> = block_on(async {
        let mut database = SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::query_as("SELECT body FROM entry WHERE kind = 0")
            .fetch_all(&mut database)
            .await
            .unwrap()
    });
    let count = bodies.len();
    assert!(
        count >= least,
        "only {count} reports were recorded, fewer than the {least} rounds"
    );
    let plain = bodies.iter().filter(|(body,)| {
        let report = OpenedReport::open(body).unwrap();
        report.evidence.is_empty()
    });
    let most = plain.map(|(body,)| body.len()).max().unwrap_or(0);
    Figure::of(
        "agent.report",
        "the largest report of these agents without a round of evidence, as recorded",
        "bytes",
        vec![most as f64],
    )
    .at_most(MAX_BYTES)
    .beside("reports recorded", count)
}

/// Starts an agent that plays `trace`; `burst` is the time from burst to burst, and the length of each.
fn subject(
    verifier: &Verifier,
    dir: &Path,
    name: &'static str,
    what: &'static str,
    trace: &str,
    burst: u32,
) -> Subject {
    let scenario = format!("profile = \"H100\"\ngpus = 8\ntrace = {trace:?}\nsm_clock_mhz = 1755\n");
    let mut agent = Agent::new(dir, name, &scenario);
    let mut config = std::fs::OpenOptions::new()
        .append(true)
        .open(&agent.config)
        .unwrap();
    writeln!(config, "burst_every_seconds = {burst}").unwrap();
    if burst > 0 {
        writeln!(config, "burst_seconds = {burst}").unwrap();
    }
    agent.enrol(&verifier.token("harbour-1", &[]));
    agent.run();
    let meter = Meter::of_family(agent.process().pid());
    Subject {
        name,
        what,
        agent,
        meter,
        rounds: Vec::new(),
        percent: Vec::new(),
        split: Vec::new(),
    }
}

/// Waits for a round, measuring the reference operation now and then.
fn one_round(bench: &Bench, subjects: &mut [Subject], seconds: u64) {
    let processes: Vec<Vec<u32>> = subjects
        .iter_mut()
        .map(|s| family(s.agent.process().pid()))
        .collect();
    let before: Vec<_> = subjects
        .iter_mut()
        .map(|s| (s.meter.read(), Instant::now()))
        .collect();
    let shares: Vec<Vec<u64>> = subjects
        .iter()
        .zip(&processes)
        .map(|(s, all)| all.iter().map(|p| s.meter.of_process(*p)).collect())
        .collect();
    let mut reference = Vec::new();
    for _ in 0..6 {
        reference.push(bench.reference.measure());
        std::thread::sleep(Duration::from_millis(seconds * 1000 / 6));
    }
    let reference_ns = median(&reference);
    for (i, subject) in subjects.iter_mut().enumerate() {
        assert!(
            subject.agent.process().alive() && processes[i].len() > 1,
            "the agent does not run, or runs without a sampler:\n{}",
            subject.agent.process().log()
        );
        let (ns, since) = before[i];
        let spent = (subject.meter.read() - ns) as f64;
        let wall = since.elapsed().as_secs_f64();
        subject.rounds.push(spent / wall / reference_ns);
        subject.percent.push(spent / wall / 1e7);
        let own = (subject.meter.of_process(processes[i][0]) - shares[i][0]) as f64;
        subject
            .split
            .push((own / wall / 1000.0, (spent - own) / wall / 1000.0));
    }
}

fn figures_of(subject: &mut Subject) -> Vec<Figure> {
    let root = subject.agent.process().pid();
    let memory: Vec<_> = family(root).into_iter().map(Memory::of).collect();
    let mb = |of: fn(&Memory) -> u64| memory.iter().map(of).sum::<u64>() as f64 / 1e6;
    let of_each = |of: fn(&Memory) -> u64| {
        let each: Vec<_> = memory.iter().map(|m| number(of(m) as f64 / 1e6)).collect();
        each.join(" + ")
    };
    let part = |of: fn(&(f64, f64)) -> f64| {
        let us = median(&subject.split.iter().map(of).collect::<Vec<_>>());
        format!("{} µs a second", number(us))
    };
    let cpu = Figure::of(
        &format!("agent.{}.cpu", subject.name),
        &format!("CPU time of agent and sampler: 8 GPUs, {}", subject.what),
        "verifications/s",
        subject.rounds.clone(),
    )
    .beside("of one core", format!("{} %", number(median(&subject.percent))))
    .beside("reporter", part(|s| s.0))
    .beside("sampler, replay library included", part(|s| s.1));
    let resident = Figure::of(
        &format!("agent.{}.memory", subject.name),
        "resident memory of agent and sampler, pages that they share counted twice",
        "MB",
        vec![mb(|m| m.resident)],
    )
    .beside("agent + sampler", of_each(|m| m.resident))
    .beside(
        "shared pages divided",
        format!("{} MB", number(mb(|m| m.proportional))),
    )
    .beside("of it anonymous", of_each(|m| m.anonymous));
    match subject.name {
        "training" => vec![cpu.at_most(MAX_CPU), resident.at_most(MAX_MB)],
        // The replay library keeps the whole recording in memory, which no driver does.
        "recording" => vec![cpu.at_most(MAX_CPU), resident],
        _ => vec![cpu, resident],
    }
}
