//! A simulator of work, and of what is done so that training is not seen.
//!
//! Decides: what a recording would hold of work whose structure is stated here, by arithmetic alone. What is stated:
//!
//! * **Devices**: rates of pipes, memory, links and bus, the share of each that software reaches, the gap of a launch and what each pipe adds to power are
//!   drawn for each run between those of accelerators of the last years, for all work alike (`machine`). A kernel takes as long as its slowest
//!   resource; every share of activity follows from that. None is said of a class of work.
//! * **Training** (`training`): forward, backward, the optimiser's tail, gradients exchanged beside the backward pass as far as links let it, steps that
//!   differ a little, checkpoints now and then.
//! * **Serving** (`serving`): requests by a Poisson process, prompts multiplied through, answers read out word by word in a batch that changes.
//! * **Other work** (`benign`): rounds with the operations for each byte of their algorithms.
//! * **Readings** (`trace`): ten a second, with noise that drifts, power that lags and clocks that a limit holds back.
//! * **Strategies** (`evasion`, `disguise`, `whitebox`), with the useful work that each costs.
//!
//! Does not establish how accurate a model is: sizes are drawn, not surveyed, and what the arithmetic leaves out (kernels that differ, software
//! that stalls, hosts that are busy) is what is hard about real recordings. Nothing of it teaches the model that ships.

mod benign;
mod disguise;
mod evasion;
mod machine;
mod serving;
mod trace;
mod training;
mod whitebox;

use super::evaluate::Corpus;
use super::index::{self, Row};
use super::recording::{self, RecordingError};
use super::teach::{Teacher, teacher};
use crate::chance::Chance;
use benign::Round;
use disguise::Beside;
use evasion::{Base, Other, Strategy};
use machine::{Machine, Stretch};
use serving::{Batch, Service, Shared};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use trace::{Trace, sampled};
use training::{Parallel, Training};

/// What to simulate, and where to write it.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Directory for the recordings and their `index.csv`; made where it is not there
    #[arg(long, value_name = "DIR", required_unless_present = "list")]
    out: Option<PathBuf>,
    /// From which all random numbers follow
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Runs of each family and strategy, each with sizes of its own
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    runs: u64,
    /// Change trainings recorded in this directory ten times a second instead, by those strategies that are changes of a trace
    #[arg(long, value_name = "DIR")]
    recorded: Option<PathBuf>,
    /// Say what each strategy does, and write nothing
    #[arg(long)]
    list: bool,
}

/// How long a simulated recording is.
const SECONDS: f64 = 180.0;

/// A recording that was never made.
#[derive(Debug)]
struct Made {
    row: Row,
    trace: Trace,
}

/// Families that try nothing, besides [`benign::NAMES`]: what makes each, its class and its mechanism.
const FAMILIES: [(&str, &str, &str); 26] = [
    ("dense_pretraining", "training", "pretraining"),
    ("replicated_pretraining", "training", "data_parallel"),
    ("sharded_pretraining", "training", "sharded"),
    ("tensor_parallel_pretraining", "training", "tensor_parallel"),
    ("pipeline_pretraining", "training", "pipeline"),
    ("expert_pretraining", "training", "mixture_of_experts"),
    ("low_rank_tuning", "training", "low_rank_adaptation"),
    ("full_tuning", "training", "full_finetuning"),
    ("many_users", "inference_interactive", "decode"),
    (
        "many_users_shared_model",
        "inference_interactive",
        "tensor_parallel_serving",
    ),
    ("prefix_cache", "inference_interactive", "completion"),
    ("speculative", "inference_interactive", "speculative_decode"),
    ("disaggregated", "inference_interactive", "disaggregated_serving"),
    ("generation_in_batches", "inference_batch", "decode"),
    (
        "shared_generation_in_batches",
        "inference_batch",
        "tensor_parallel_serving",
    ),
    ("prompts_in_batches", "inference_batch", "prefill"),
    ("embedding_in_batches", "inference_batch", "embedding"),
    ("diffusion_sampling", "inference_batch", "diffusion_sampling"),
    ("images_in_batches", "inference_batch", "vision"),
    ("speech", "inference_batch", "speech"),
    ("held", "idle", "memory_held"),
    (
        "shared_prompts_in_batches",
        "inference_batch",
        "tensor_parallel_serving",
    ),
    (
        "shared_prompts_in_rounds",
        "inference_batch",
        "tensor_parallel_serving",
    ),
    (
        "shared_generation_in_rounds",
        "inference_batch",
        "tensor_parallel_serving",
    ),
    ("prompts_in_stages", "inference_batch", "pipeline_serving"),
    ("gathered_embedding", "inference_batch", "embedding"),
];

/// Class and mechanism of a family of [`benign::NAMES`].
fn kind(name: &str) -> (&'static str, &'static str) {
    match name {
        "fourier_transform" => ("hpc", "fourier"),
        "n_body" => ("hpc", "n_body"),
        "halo_stencil" => ("hpc", "stencil"),
        "fp64_products" => ("hpc", "dense_algebra"),
        "video_transcode" => ("render_video", "video"),
        "etl_queries" => ("other", "data"),
        "checkpoint_copy" => ("other", "copy"),
        "collectives_test" => ("other", "collectives"),
        "burn_in" => ("other", "burn_in"),
        _ => ("other", "mining"),
    }
}

/// What devices of a family do, and what memory they hold.
fn family(name: &str, machine: &Machine, chance: &mut Chance) -> (Vec<Vec<Stretch>>, f64) {
    let training = |parallel, chance: &mut Chance| Training::drawn(parallel, [2e8, 4e9], chance);
    let job = |job: Training, chance: &mut Chance| {
        let done = job.run(machine, SECONDS, chance);
        (done, job.held_mib(chance))
    };
    let serve = |service: Service, chance: &mut Chance| {
        let done = service.run(machine, SECONDS, chance);
        (done, service.held_mib())
    };
    let batch = |batch: Batch, chance: &mut Chance| {
        let mib = batch.parameters * 2.0 / 1_048_576.0 + 3_000.0;
        (batch.run(machine, SECONDS, chance), mib)
    };
    match name {
        "dense_pretraining" => job(training(Parallel::Alone, chance), chance),
        "replicated_pretraining" => job(training(Parallel::Replicas, chance), chance),
        "sharded_pretraining" => job(training(Parallel::Shards, chance), chance),
        "tensor_parallel_pretraining" => job(training(Parallel::Tensors, chance), chance),
        "pipeline_pretraining" => job(training(Parallel::Pipeline, chance), chance),
        "expert_pretraining" => job(training(Parallel::Experts, chance), chance),
        "low_rank_tuning" => job(training(Parallel::Alone, chance).low_rank(chance), chance),
        "full_tuning" => {
            let mut tuned = training(Parallel::Alone, chance);
            tuned.tokens = chance.magnitude(1_024.0, 8_192.0);
            tuned.starved = chance.between(0.0, 0.3);
            job(tuned, chance)
        }
        "many_users" => serve(Service::drawn(chance), chance),
        "many_users_shared_model" => {
            let mut service = Service::drawn(chance);
            service.devices = [2, 4][chance.within(0..2) as usize];
            serve(service, chance)
        }
        "prefix_cache" => {
            let mut service = Service::drawn(chance);
            service.known = chance.between(0.5, 0.95);
            service.answer = chance.magnitude(10.0, 100.0);
            serve(service, chance)
        }
        "speculative" => {
            let mut service = Service::drawn(chance);
            service.guessed = chance.within(2..7) as usize;
            serve(service, chance)
        }
        "disaggregated" => {
            let service = Service::drawn(chance);
            let done = service.apart(machine, SECONDS, chance);
            (done, service.held_mib())
        }
        "generation_in_batches" => serve(Service::drawn(chance).in_batch(chance), chance),
        "shared_generation_in_batches" => {
            let mut service = Service::drawn(chance).in_batch(chance);
            service.devices = [2, 4][chance.within(0..2) as usize];
            serve(service, chance)
        }
        "prompts_in_batches" => {
            let mut service = Service::drawn(chance).in_batch(chance);
            service.answer = 1.0;
            service.prompt = chance.magnitude(1_000.0, 6_000.0);
            serve(service, chance)
        }
        "embedding_in_batches" | "images_in_batches" => batch(Batch::drawn(1, chance), chance),
        "diffusion_sampling" => {
            let steps = chance.within(20..60) as usize;
            let mut sampler = Batch::drawn(steps, chance);
            sampler.host = chance.between(0.1, 1.5);
            batch(sampler, chance)
        }
        "speech" => {
            let mut heard = Batch::drawn(1, chance);
            heard.host = chance.magnitude(0.005, 0.3);
            batch(heard, chance)
        }
        "shared_prompts_in_batches" => {
            let mut service = Service::drawn(chance).in_batch(chance);
            service.devices = [2, 4][chance.within(0..2) as usize];
            service.answer = 1.0;
            service.prompt = chance.magnitude(1_000.0, 6_000.0);
            serve(service, chance)
        }
        "shared_prompts_in_rounds" => {
            let mut rounds = Batch::drawn(1, chance);
            rounds.devices = [2, 4][chance.within(0..2) as usize];
            (rounds.shared, rounds.spread) = (Shared::Layers, 0.02);
            rounds.parameters = chance.magnitude(4e9, 6e10);
            rounds.words = chance.magnitude(16_384.0, 131_072.0);
            rounds.host = chance.magnitude(0.02, 0.3);
            batch(rounds, chance)
        }
        "shared_generation_in_rounds" => {
            let mut service = Service::drawn(chance).in_batch(chance);
            service.devices = [2, 4][chance.within(0..2) as usize];
            service.parameters = chance.magnitude(4e9, 6e10);
            service.prompt = chance.magnitude(500.0, 4_000.0);
            service.answer = chance.magnitude(8.0, 128.0);
            (service.in_rounds(machine, SECONDS, chance), service.held_mib())
        }
        "prompts_in_stages" => {
            let mut service = Service::drawn(chance).in_batch(chance);
            service.devices = [2, 4][chance.within(0..2) as usize];
            service.prompt = chance.magnitude(1_000.0, 6_000.0);
            (service.in_stages(machine, SECONDS, chance), service.held_mib())
        }
        "gathered_embedding" => {
            let mut replicas = Batch::drawn(1, chance);
            replicas.devices = [2, 4][chance.within(0..2) as usize];
            (replicas.shared, replicas.spread) = (Shared::Results, 0.02);
            replicas.words = chance.magnitude(32_768.0, 524_288.0);
            // One vector a text, or one of 128 half-precision numbers for each word.
            replicas.for_each_word = [0.0, 256.0][chance.within(0..2) as usize];
            batch(replicas, chance)
        }
        "held" => (
            vec![vec![Stretch::rest(SECONDS)]],
            machine.mib * chance.between(0.1, 0.95),
        ),
        _ => {
            let round = Round::drawn(name, machine, chance);
            (round.run(machine, SECONDS, chance), 2_000.0)
        }
    }
}

/// Every simulated recording, in order: families first, then strategies.
fn made(seed: u64, runs: u64) -> impl Iterator<Item = Made> {
    let families = FAMILIES
        .into_iter()
        .chain(benign::NAMES.map(|name| (name, kind(name).0, kind(name).1)));
    let tried = evasion::all();
    let plain = families.flat_map(move |(name, class, mechanism)| {
        (1..=runs).map(move |run| {
            let mut chance = numbers(seed, run, name);
            let machine = Machine::drawn(&mut chance);
            let (done, mib) = family(name, &machine, &mut chance);
            Made {
                row: row(class, mechanism, name, run, "none"),
                trace: sampled(&done, &machine, mib, SECONDS, &mut chance),
            }
        })
    });
    plain.chain(
        tried
            .into_iter()
            .flat_map(move |strategy| (1..=runs).map(move |run| hidden(&strategy, seed, run))),
    )
}

/// The numbers of a run.
fn numbers(seed: u64, run: u64, name: &str) -> Chance {
    let named = name
        .bytes()
        .fold(seed, |sum, b| sum.wrapping_mul(0x100_0000_01b3) ^ u64::from(b));
    Chance::of(named.wrapping_add(run.wrapping_mul(0x9e37_79b9)))
}

fn row(class: &str, mechanism: &str, family: &str, run: u64, strategy: &str) -> Row {
    let name = if strategy == "none" { family } else { strategy };
    Row {
        path: format!("{name}-{run}.csv.gz"),
        class: class.to_owned(),
        mechanism: mechanism.to_owned(),
        family: family.to_owned(),
        // Every run has sizes of its own.
        workload: format!("{name}_{run}"),
        run: run.to_string(),
        strategy: strategy.to_owned(),
        device: "simulated".to_owned(),
        real: false,
        tax: String::new(),
    }
}

/// A training that is hidden, and what that costs: the same job on the same device is simulated plain too.
fn hidden(strategy: &Strategy, seed: u64, run: u64) -> Made {
    let mut chance = numbers(seed, run, strategy.name);
    let mut machine = Machine::drawn(&mut chance);
    let parallel = match strategy.base {
        Base::Replicas => Parallel::Replicas,
        Base::Dense | Base::LowRank => Parallel::Alone,
    };
    let mut job = Training::drawn(parallel, [2e8, 4e9], &mut chance);
    if strategy.base == Base::LowRank {
        job = job.low_rank(&mut chance);
    }
    let simulate = |job: &Training, machine: &Machine, mut chance: Chance| {
        let done = job.run(machine, SECONDS, &mut chance);
        let mib = job.held_mib(&mut chance);
        sampled(&done, machine, mib, SECONDS, &mut chance)
    };
    let plain = simulate(&job, &machine, chance.clone());
    let mut trace = plain.clone();
    if let Some(change) = strategy.job {
        change(&mut job, &mut machine, &mut chance);
        trace = simulate(&job, &machine, chance.clone());
    }
    if let Some(change) = strategy.trace {
        let beside = Beside {
            cover: strategy.cover.rows(&machine, &mut chance),
            rest_w: machine.power[0],
        };
        trace = change(&trace, &beside, &mut chance);
    }
    let mechanism = match strategy.base {
        Base::Dense => "pretraining",
        Base::LowRank => "low_rank_adaptation",
        Base::Replicas => "data_parallel",
    };
    Made {
        row: Row {
            tax: format!("{:.3}", trace.tax(&plain)),
            ..row("training", mechanism, strategy.name, run, strategy.name)
        },
        trace,
    }
}

/// Recordings of training on one device that tried nothing, changed by every strategy that is a change of a trace of such.
///
/// # Errors
/// Where one cannot be read, or has not ten rows a second throughout.
fn changed(dir: &Path, seed: u64) -> Result<Vec<Made>, RecordingError> {
    let mut all = Vec::new();
    for (path, row) in index::corpus(dir)?.rows {
        if row.truth().training() != Some(true) || row.strategy != "none" {
            continue;
        }
        let rows = recording::rows(&recording::text(&path)?);
        let rows = rows.map_err(|what| RecordingError::Damaged {
            path: path.clone(),
            what,
        })?;
        let plain = Trace::recorded(rows).map_err(|what| RecordingError::Unfit { path, what })?;
        for strategy in evasion::all() {
            // A service that learns on several devices is none where one was recorded.
            let alone = strategy.base == Base::Replicas && strategy.cover == Other::Service;
            let of_trace = strategy.trace.filter(|_| strategy.job.is_none() && !alone);
            if let Some(change) = of_trace {
                all.push(change_of(&plain, &row, &strategy, change, seed));
            }
        }
    }
    Ok(all)
}

fn change_of(plain: &Trace, row: &Row, strategy: &Strategy, change: evasion::OfTrace, seed: u64) -> Made {
    let mut chance = numbers(seed, 1, &format!("{} {}", row.path, strategy.name));
    let mut machine = Machine::drawn(&mut chance);
    let power = plain.devices.iter().flatten().map(|r| r.0[machine::POWER]);
    let most = power.fold(100.0, f64::max);
    // At rest with its clocks up, a device draws about a sixth of what it does at most.
    machine.power = [most / 6.0, most];
    let beside = Beside {
        cover: strategy.cover.rows(&machine, &mut chance),
        rest_w: machine.power[0],
    };
    let trace = change(plain, &beside, &mut chance);
    Made {
        row: Row {
            path: format!("{}-{}-{}.csv.gz", row.family, row.run, strategy.name),
            strategy: strategy.name.to_owned(),
            real: false,
            tax: format!("{:.3}", trace.tax(plain)),
            ..row.clone()
        },
        trace,
    }
}

/// Simulated recordings as they are judged, without files.
///
/// # Panics
/// Where a simulated recording is none, which a test would find.
#[must_use]
pub fn simulated(seed: u64, runs: u64) -> Corpus {
    judged(made(seed, runs))
}

/// Recordings of a directory as strategies change them, as they are judged.
///
/// # Errors
/// Where one cannot be read, or has not ten rows a second throughout.
pub fn simulated_on(dir: &Path, seed: u64) -> Result<Corpus, RecordingError> {
    Ok(judged(changed(dir, seed)?.into_iter()))
}

/// Simulated recordings that try nothing as teachers, for the controls alone.
///
/// # Panics
/// As [`simulated`].
#[must_use]
pub fn simulated_teachers(seed: u64, runs: u64) -> Vec<Teacher> {
    let plain = made(seed, runs).take_while(|made| made.row.strategy == "none");
    plain
        .filter_map(|made| {
            let recording = made.trace.recording();
            teacher(made.row, &recording.expect("a simulated recording has rows"))
        })
        .collect()
}

fn judged(all: impl Iterator<Item = Made>) -> Corpus {
    let mut corpus = Corpus::default();
    for made in all {
        let recording = made.trace.recording();
        corpus.add(made.row, &recording.expect("a simulated recording has rows"));
    }
    corpus
}

/// Simulates, and writes; 2 where something cannot be read or written.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    if options.list {
        for s in evasion::all() {
            let how = match (s.job, s.trace) {
                (Some(_), _) => "job, simulated anew",
                _ => "change of a trace",
            };
            println!("{:28} {how:20} {}", s.name, s.does);
        }
        return ExitCode::SUCCESS;
    }
    match tried(options) {
        Ok(count) => {
            println!("{count} simulated recordings");
            ExitCode::SUCCESS
        }
        Err(what) => {
            eprintln!("{what}");
            ExitCode::from(2)
        }
    }
}

fn tried(options: &Options) -> Result<usize, String> {
    let out = options.out.clone().unwrap_or_default();
    let fail = |e: std::io::Error| format!("{} cannot be written: {e}", out.display());
    std::fs::create_dir_all(&out).map_err(fail)?;
    let all: Box<dyn Iterator<Item = Made>> = match &options.recorded {
        Some(dir) => {
            let line = |e: RecordingError| e.to_string().replace('\n', " ");
            Box::new(changed(dir, options.seed).map_err(line)?.into_iter())
        }
        None => Box::new(made(options.seed, options.runs)),
    };
    let mut index = csv::Writer::from_path(out.join("index.csv")).map_err(|e| fail(e.into()))?;
    let mut count = 0;
    for made in all {
        write(&out, &made).map_err(fail)?;
        index.serialize(&made.row).map_err(|e| fail(e.into()))?;
        count += 1;
    }
    index.flush().map_err(fail)?;
    Ok(count)
}

fn write(out: &Path, made: &Made) -> std::io::Result<()> {
    let labels = [
        ("class", made.row.class.clone()),
        ("family", made.row.family.clone()),
        ("strategy", made.row.strategy.clone()),
    ];
    let file = std::fs::File::create(out.join(&made.row.path))?;
    let mut packed = flate2::write::GzEncoder::new(file, flate2::Compression::default());
    packed.write_all(made.trace.text(&labels).as_bytes())?;
    packed.finish().map(|_| ())
}
