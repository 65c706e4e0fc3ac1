//! The benchmarks: each figure that the project promises, beside a reference operation of the same run.
//!
//! Decides: whether the agent, a report and the verifier's intake keep within their limits. CPU time is compared with bare P-256
//! verifications (P-384 for what devices sign) measured between the rounds, the median of five or more; wall time is a figure only where a person
//! waits for the answer. Bytes and memory are absolute. Does not establish what a driver's calls cost: the replay library stands in for the driver.

mod accounting;
mod agent;
mod aggregate;
mod conditions;
mod cpu;
mod evidence;
mod figure;
mod intake;
mod ledger;
mod limit;
mod load;
mod nvidia_verifier;
mod reference;
mod report;
mod workload;

use figure::Figure;
use reference::Reference;
use std::io::Write;
use std::process::ExitCode;

/// What to measure, and how to print it.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Measure only this benchmark; may be given more than once
    #[arg(long, value_name = "NAME")]
    only: Vec<Benchmark>,
    /// Fewer and shorter rounds: whether everything runs, not figures to publish
    #[arg(long)]
    quick: bool,
    /// How to print the figures
    #[arg(long, default_value = "table")]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Benchmark {
    /// Bytes of a report; its signing and checking
    Report,
    /// Append and root of the ledger's tree
    Ledger,
    /// What accounting for a window of eight GPUs takes
    Accounting,
    /// What features and model of eight GPUs take of a node
    Workload,
    /// Facts and conditions of a site of 1,024 devices
    Conditions,
    /// The verifier's intake, against its limit column
    Intake,
    /// Cost of a report from 10 to 10,000 nodes
    Flat,
    /// Compute of twelve months from the verifier's database
    Aggregate,
    /// The agent's CPU time and memory
    Agent,
    /// What devices sign, against the P-384 verifications in it, and against NVIDIA's Python verifier where that is installed
    Evidence,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

/// One benchmark.
type Measure = fn(&Bench) -> Vec<Figure>;

/// What a benchmark is given.
#[derive(Debug)]
struct Bench {
    reference: Reference,
    quick: bool,
}

impl Bench {
    /// Rounds: an odd number, five or more where figures are to be published.
    fn rounds(&self) -> usize {
        if self.quick { 3 } else { 7 }
    }
}

/// Says on standard error what is being done.
fn say(what: &str) {
    writeln!(std::io::stderr(), "bench: {what}").ok();
}

/// Measures and prints. The exit status is 1 where a limit is missed.
///
/// # Panics
/// Where a benchmark cannot be carried out, saying why.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    let bench = Bench {
        reference: Reference::default(),
        quick: options.quick,
    };
    let all: [(Benchmark, Measure); 10] = [
        (Benchmark::Report, report::measure),
        (Benchmark::Ledger, ledger::measure),
        (Benchmark::Accounting, accounting::measure),
        (Benchmark::Workload, workload::measure),
        (Benchmark::Conditions, conditions::measure),
        (Benchmark::Intake, intake::measure),
        (Benchmark::Flat, intake::measure_flat),
        (Benchmark::Aggregate, aggregate::measure),
        (Benchmark::Agent, agent::measure),
        (Benchmark::Evidence, evidence::measure),
    ];
    let mut figures = vec![reference_figure(&bench)];
    for (name, measure) in all {
        if options.only.is_empty() || options.only.contains(&name) {
            figures.extend(measure(&bench));
        }
    }
    match options.format {
        Format::Table => print!("{}", figure::table(&figures)),
        Format::Json => println!(
            "{}",
            serde_json::json!({ "quick": options.quick, "figures": figures })
        ),
    }
    let those = |which: fn(&Figure) -> bool| -> Vec<&str> {
        figures
            .iter()
            .filter(|f| which(f))
            .map(|f| f.name.as_str())
            .collect()
    };
    let (missed, open) = (
        those(|f| f.holds() == Some(false)),
        those(|f| f.not_measured.is_some()),
    );
    if !open.is_empty() {
        say(&format!("not measured, so not passed: {}", open.join(", ")));
    }
    if missed.is_empty() {
        ExitCode::SUCCESS
    } else {
        say(&format!("limits missed: {}", missed.join(", ")));
        ExitCode::FAILURE
    }
}

fn reference_figure(bench: &Bench) -> Figure {
    let rounds = (0..bench.rounds())
        .map(|_| bench.reference.measure() / 1000.0)
        .collect();
    Figure::of(
        "reference",
        "one bare P-256 verification of 2,048 bytes by ring, the unit of all CPU figures (41 µs in the requirements)",
        "µs CPU",
        rounds,
    )
}
