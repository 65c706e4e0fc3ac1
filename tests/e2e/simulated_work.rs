//! Simulated work, and training that tries not to be seen: the same from the same seed, labelled as simulated, and as much of it found as
//! `docs/model-card.md` says.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use weighbridge::workload::Model;
use weighbridge_testbed::signatures::{
    Corpus, Figures, Judges, Row, Split, control_line, controls, corpus, evaluate, line, own, played,
    simulated, simulated_on, simulated_teachers, teachers, time_line,
};

/// The seed and the runs that the command has where nothing is said.
const SEED: u64 = 1;
const RUNS: u64 = 2;

fn work() -> &'static Corpus {
    static WORK: OnceLock<Corpus> = OnceLock::new();
    WORK.get_or_init(|| simulated(SEED, RUNS))
}

fn judges() -> Judges {
    Judges::new(teachers(&own()).unwrap(), Model::embedded().unwrap())
}

/// Holds the model card to lines.
fn holds(lines: &[String]) {
    let card = include_str!("../../docs/model-card.md");
    let missing: Vec<&str> = lines
        .iter()
        .map(String::as_str)
        .filter(|l| !card.contains(l))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/model-card.md should have these lines:\n{}",
        missing.join("\n")
    );
}

#[test]
fn the_model_card_holds_what_comes_out_of_simulated_work() {
    let mut judges = judges();
    let mut lines = Vec::new();
    // Nothing simulated teaches: by run, workload and device nothing is held out, and by family nothing that is not held out by mechanism.
    for split in [Split::Family, Split::Mechanism, Split::Strategy] {
        let evaluation = evaluate(work(), split, &mut judges);
        assert!(evaluation.real.is_none() && evaluation.strategies[0].0.is_empty());
        let figures = evaluation.simulated.unwrap();
        lines.push(line(split, "simulated", &figures));
        if split == Split::Family {
            lines.push(time_line(&figures));
            let plain = evaluation.judged.iter().filter(|j| j.row.strategy == "none");
            lines.push(line(
                split,
                "simulated, nothing hidden",
                &Figures::of(plain).unwrap(),
            ));
        }
        if split == Split::Strategy {
            lines.extend(evaluation.strategies[1].lines("simulated"));
        }
    }
    lines.push(control_line(&controls(&simulated_teachers(SEED, 1))));
    holds(&lines);
}

#[test]
fn the_model_card_holds_what_comes_out_of_recordings_that_were_changed() {
    let changed = simulated_on(&own(), SEED).unwrap();
    let evaluation = evaluate(&changed, Split::Family, &mut judges());
    holds(&evaluation.strategies[1].lines("changed"));
}

#[test]
fn the_model_card_holds_what_is_found_of_own_recordings_that_hide() {
    let mut index = corpus(&own()).unwrap();
    index.rows.retain(|(_, row)| row.strategy != "none");
    let evaluation = evaluate(&played(&index, None).unwrap(), Split::Strategy, &mut judges());
    assert!(evaluation.strategies[1].0.is_empty());
    holds(&evaluation.strategies[0].lines("real"));
}

#[test]
fn every_strategy_of_the_literature_and_ten_more_are_there() {
    let evaluation = evaluate(work(), Split::Run, &mut judges());
    let names: Vec<&str> = evaluation.strategies[1]
        .0
        .iter()
        .map(|s| s.strategy.as_str())
        .collect();
    for letter in [
        "A_",
        "B_",
        "D_",
        "E_",
        "F_",
        "G_",
        "H_",
        "I_",
        "J_",
        "K_",
        "L_",
        "M_",
        "N_",
        "O_",
        "K_ddp",
        "K_ddp_accum",
        "L_ddp",
        "L_ddp_stagger",
        "whitebox_full",
        "whitebox_lora",
    ] {
        assert!(names.iter().any(|n| n.starts_with(letter)), "{letter}");
    }
    for more in [
        "diloco_50",
        "diloco_500",
        "kv_shaped_chunks",
        "power_filler",
        "clock_locked",
        "fused_update",
        "activation_offload",
        "fp8_training",
        "int8_training",
        "rollout_update",
        "mig_split",
        "pipeline_staggered",
    ] {
        assert!(names.contains(&more), "{more}");
    }
    for strategy in &evaluation.strategies[1].0 {
        let tax = strategy.tax.unwrap();
        assert!((-1.0..1.0).contains(&tax), "{strategy:?}");
    }
}

#[test]
fn numbers_of_a_strategy_are_held_out_together() {
    let row = |strategy: &str| Row {
        strategy: strategy.to_owned(),
        ..Row::default()
    };
    assert_eq!(row("L_diluted_20").manner(), row("L_diluted_2").manner());
    assert_eq!(
        row("F_interleave_30_50").manner(),
        row("F_interleave_50").manner()
    );
    assert_ne!(row("L_ddp").manner(), row("L_diluted_5").manner());
    assert_eq!(row("none").manner(), "none");
}

/// A directory with one recording of training.
fn one_training() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let index = std::fs::read_to_string(own().join("index.csv")).unwrap();
    let row = index.lines().find(|l| l.contains(",dense_transformer,")).unwrap();
    let path = row.split(',').next().unwrap();
    std::fs::copy(own().join(path), dir.path().join("one.csv.gz")).unwrap();
    let head = index.lines().next().unwrap();
    std::fs::write(
        dir.path().join("index.csv"),
        format!("{head}\n{}\n", row.replace(path, "one.csv.gz")),
    )
    .unwrap();
    dir
}

fn simulate(recorded: &Path, out: &Path) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_weighbridge-testbed"))
        .args(["simulate", "--seed", "7", "--recorded"])
        .arg(recorded)
        .arg("--out")
        .arg(out)
        .output()
        .unwrap()
}

#[test]
fn a_directory_of_changed_recordings_is_labelled_and_the_same_from_the_same_seed() {
    let training = one_training();
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for dir in &dirs {
        let output = simulate(training.path(), dir.path());
        assert!(output.status.success(), "{output:?}");
    }
    let [first, second] = dirs.each_ref().map(|d| {
        let rows = corpus(d.path()).unwrap().rows;
        let read = rows
            .into_iter()
            .map(|(path, row)| (row, std::fs::read(path).unwrap()));
        read.collect::<Vec<_>>()
    });
    assert!(first == second, "the same seed makes the same bytes");
    assert!(first.len() > 20);
    let mut text = String::new();
    let mut packed = flate2::read::GzDecoder::new(first[0].1.as_slice());
    std::io::Read::read_to_string(&mut packed, &mut text).unwrap();
    assert!(text.starts_with("# weighbridge recording 1\n# simulated=1\n"));
    for (row, _) in &first {
        assert!(
            !row.real && row.strategy != "none" && !row.tax.is_empty(),
            "{row:?}"
        );
    }
}

#[test]
fn a_directory_that_cannot_be_read_or_written_is_one_line() {
    let nowhere = Command::new(env!("CARGO_BIN_EXE_weighbridge-testbed"))
        .args(["simulate", "--out", "/proc/nowhere"])
        .output()
        .unwrap();
    let said = String::from_utf8(nowhere.stderr).unwrap();
    assert_eq!(
        (nowhere.status.code(), said.lines().count()),
        (Some(2), 1),
        "{said}"
    );
    let dir = tempfile::tempdir().unwrap();
    let unread = simulate(Path::new("/nowhere"), dir.path());
    assert_eq!(unread.status.code(), Some(2));
}

#[test]
fn a_recording_of_another_rate_is_not_changed_and_one_line_says_what_to_do() {
    let training = one_training();
    let index = training.path().join("index.csv");
    let slow = std::fs::read_to_string(&index).unwrap();
    std::fs::write(&index, slow.replace("one.csv.gz", "slow.csv")).unwrap();
    let rows: String = (0..60).map(|second| format!("{second},0,0.9\n")).collect();
    let text = format!("timestamp,gpu,sm_active\n{rows}");
    std::fs::write(training.path().join("slow.csv"), text).unwrap();
    let out = tempfile::tempdir().unwrap();
    let refused = simulate(training.path(), out.path());
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(
        (refused.status.code(), said.lines().count()),
        (Some(2), 1),
        "{said}"
    );
    assert!(
        said.contains("slow.csv cannot be changed") && said.contains("`--rate 10`"),
        "{said}"
    );
    assert!(!out.path().join("index.csv").exists());
}
