//! Real work whose operations were counted, through the driver's interface and the account: what an H200 was told to do, against what
//! is reported of it. Recordings of the project's own, so that this always runs.

use serde::Deserialize;
use std::path::Path;
use weighbridge::accelerator::Catalogue;
use weighbridge::accounting::{Account, Peak, PipeCompute};
use weighbridge::telemetry::{Tick, TickKind, Track};
use weighbridge::time::SECOND;
use weighbridge_agent::sampler::Looks;
use weighbridge_testbed::in_process::{LOOKS, Machine, NO_BURSTS};

/// What ran from when to when, in seconds of the recording.
#[derive(Deserialize)]
struct Run {
    label: String,
    bits: u32,
    from_s: f64,
    to_s: f64,
    operations: String,
}

impl Run {
    /// Bit-operations a second, in tera.
    fn rate(&self) -> f64 {
        self.operations.parse::<f64>().unwrap() * f64::from(self.bits) / (self.to_s - self.from_s) / 1e12
    }
}

/// What the account says of a run, in bit-operations a second, in tera.
struct Told {
    lower: f64,
    counter: f64,
    upper: f64,
    pipes: PipeCompute,
    seconds: f64,
}

impl Told {
    fn rate(&self, micro: u128) -> f64 {
        micro as f64 * 3.6e9 / self.seconds / 1e12
    }
}

/// What ran, and the ticks of an agent that looks at the clocks so often.
fn runs(name: &str, looks: Looks) -> (Vec<Run>, Vec<Tick>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings/h200");
    let text = std::fs::read_to_string(folder.join(format!("{name}.jsonl"))).unwrap();
    let runs: Vec<Run> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let recording = folder.join(format!("{name}.csv.gz"));
    let machine = Machine::new(name, &format!("profile = \"H200\"\ntrace = {recording:?}\n"));
    let mut sampler = machine.sampler_looking(NO_BURSTS, looks);
    let end = runs.iter().map(|r| r.to_s).fold(0.0, f64::max);
    let mut ticks = Vec::new();
    while ticks.last().is_none_or(|t: &Tick| (t.at.0 as f64) < end * 1e9) {
        let tick = sampler.next_frame().tick;
        ticks.extend(tick.filter(|t| t.kind == TickKind::Regular));
    }
    (runs, ticks)
}

/// The account of the seconds that lie well within a run; `None` where there are fewer than `least`.
fn told(run: &Run, ticks: &[Tick], peak: &Peak, least: usize) -> Option<Told> {
    // A row tells of the 200 ms before it, and the library plays it from its time on: so much later does a run show whole.
    let within = |t: &&Tick| {
        let at = t.at.0 as f64 / 1e9;
        (run.from_s + 0.45..run.to_s - 0.05).contains(&at)
    };
    let inside: Vec<_> = ticks.iter().filter(within).collect();
    if inside.len() <= least {
        return None;
    }
    let (mut track, mut account) = (Track::new(SECOND), Account::default());
    for tick in &inside {
        if let Some(step) = track.push(&tick.devices[0]) {
            account.add(&step, peak);
        }
    }
    let compute = account.compute(peak, account.covered_ns());
    let told = Told {
        lower: 0.0,
        counter: 0.0,
        upper: 0.0,
        pipes: account.by_pipe(peak).unwrap(),
        seconds: account.covered_ns() as f64 / 1e9,
    };
    Some(Told {
        lower: told.rate(compute.lower.0),
        counter: told.rate(compute.counter.0),
        upper: told.rate(compute.upper.0),
        ..told
    })
}

fn h200() -> Peak {
    let catalogue = Catalogue::embedded().unwrap();
    let model = catalogue.models().iter().find(|m| m.name == "H200 SXM").unwrap();
    let claims = weighbridge_testbed::fixture::accelerator(0, 60, [0; 16]);
    Peak::of(model, &claims.identity).unwrap()
}

#[test]
fn whatever_an_h200_was_told_to_do_lies_between_the_bounds() {
    let peak = h200();
    let mut judged = 0;
    for name in ["products", "instructions", "small-instructions"] {
        let (runs, ticks) = runs(name, LOOKS);
        for run in &runs {
            // Half of the operations of the sparse one were never done; INT4 runs on other pipes than the tensor ones; a part of these last
            // runs was without its load at the beginning.
            if ["fp16-sparse", "sync_int4"].contains(&&*run.label) || run.label.starts_with("clk-") {
                continue;
            }
            let Some(told) = told(run, &ticks, &peak, 1) else {
                continue;
            };
            let (issued, label) = (run.rate(), &run.label);
            let vector = label.starts_with("vec_") || label == "fp32";
            assert!(
                told.lower <= issued * 1.001,
                "{label}: at least {}, truly {issued}",
                told.lower
            );
            assert!(
                issued <= told.upper * 1.001,
                "{label}: at most {}, truly {issued}",
                told.upper
            );
            assert!(
                vector || told.counter * 1.001 >= issued || label.contains("fp64"),
                "{label}: {}",
                told.counter
            );
            judged += 1;
        }
    }
    assert!(judged >= 30, "only {judged} runs are long enough");
}

#[test]
fn the_estimate_by_pipe_is_what_was_issued_within_what_the_document_says() {
    let peak = h200();
    // Large products, and their names in the table.
    let large = [
        ("bf16", "BF16"),
        ("fp16", "FP16"),
        ("tf32", "TF32"),
        ("fp8", "FP8"),
        ("fp64", "FP64"),
        ("bf16-zeros", "BF16 on zeros"),
        ("fp8-zeros", "FP8 on zeros"),
        ("tf32-zeros", "TF32 on zeros"),
        ("fp64-zeros", "FP64 on zeros"),
    ];
    // Errors in percent.
    let errors = |looks| {
        let (runs, ticks) = runs("products", looks);
        large.map(|(label, _)| {
            let run = runs.iter().find(|r| r.label == label).unwrap();
            let told = told(run, &ticks, &peak, 3).unwrap();
            (told.rate(told.pipes.on_tensor().0) / run.rate() - 1.0) * 100.0
        })
    };
    let document = include_str!("../../docs/accounting.md");
    let alone = errors(Looks { parts: 0, seed: 0 });
    let both = large.iter().zip(alone.iter().zip(errors(LOOKS)));
    let rows: Vec<String> = both
        .map(|((_, name), (alone, with))| format!("| {name} | {alone:+.1} % | {with:+.1} % |"))
        .collect();
    assert!(
        rows.iter().all(|row| document.contains(row)),
        "docs/accounting.md should have these rows:\n{}",
        rows.join("\n")
    );
    // Wherever the looks fall.
    for seed in 2..=5 {
        for ((label, _), off) in large.iter().zip(errors(Looks { seed, ..LOOKS })) {
            let most = match label.split('-').next() {
                Some("fp64") => 1.0,
                _ if label.ends_with("zeros") => 2.0,
                _ => 1.5,
            };
            assert!(off.abs() < most, "{label}, seed {seed}: {off:+.1} %");
        }
    }
    // Vectors, and half-precision vectors that the tensor pipe counts as its own.
    let (runs, ticks) = runs("instructions", LOOKS);
    type Pick = fn(&PipeCompute) -> u128;
    let vectors: [(&str, Pick); 3] = [
        ("vec_fp32", |p| p.fp32.0),
        ("vec_fp64", |p| p.fp64.0),
        ("vec_fp16", |p| p.fp16.0),
    ];
    for (label, pick) in vectors {
        let run = runs.iter().find(|r| r.label == label).unwrap();
        let told = told(run, &ticks, &peak, 1).unwrap();
        let found = told.rate(pick(&told.pipes));
        assert!(
            (found / run.rate() - 1.0).abs() < 0.01,
            "{label}: {found} for {}",
            run.rate()
        );
        assert!(
            told.rate(told.pipes.on_tensor().0) < run.rate() / 100.0,
            "{label}"
        );
    }
}
