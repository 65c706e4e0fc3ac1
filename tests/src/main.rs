//! The testbed's program: what `make bench` and `make demo` run.

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use weighbridge_testbed::{bench, consistency, demo, signatures};

/// Weighbridge's testbed.
#[derive(Debug, Parser)]
#[command(name = "weighbridge-testbed", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Measures what `docs/performance.md` promises; the exit status is 1 where a limit is missed.
    Bench(bench::Options),
    /// Forges telemetry and says what physics sees of it, as `docs/consistency.md` has it; the exit status is 1 where less is seen than is
    /// promised there.
    Consistency(consistency::Options),
    /// Shows the main job: nodes report, a verifier answers.
    Demo {
        /// Leave everything running until Enter is pressed.
        #[arg(long)]
        keep: bool,
    },
    /// Judges recordings by a model that has not seen them, and says how well, as `docs/model-card.md` has it.
    Evaluate(signatures::Options),
    /// Writes recordings of simulated work, and of training that tries not to be seen.
    Simulate(signatures::SimulateOptions),
    /// Makes the trees of the workload model from recordings.
    Train(signatures::TeachOptions),
}

fn main() -> ExitCode {
    match Cli::parse().verb {
        Verb::Bench(options) => bench::run(&options),
        Verb::Consistency(options) => consistency::run(&options),
        Verb::Demo { keep } => demo::run(keep),
        Verb::Evaluate(options) => signatures::run(&options),
        Verb::Simulate(options) => signatures::simulate(&options),
        Verb::Train(options) => signatures::teach(&options),
    }
}
