//! The command that judges recordings and says how well.

use super::control::{Controls, controls};
use super::figures::{Figures, Judged};
use super::index::{Index, Row, Split, corpus, traces};
use super::play::in_bursts;
use super::recording::{RecordingError, read};
use super::runs::Runs;
use super::strategy::{self, Strategies, alerts};
use super::teach::{Teacher, own, teachers};
use super::train::{Example, train};
use super::{play, recording::Recording};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use weighbridge::id::Digest;
use weighbridge::workload::{Explanation, Features, Model, Trees};

/// What to judge, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Directory with `index.csv` and the recordings that it names
    #[arg(long, value_name = "DIR", required_unless_present = "traces")]
    corpus: Option<PathBuf>,
    /// Directory of traces of others with their own `index.csv`, of which those with the columns of `h100-dcgm-10hz` are judged
    #[arg(long, value_name = "DIR")]
    traces: Option<PathBuf>,
    /// What is held out of the teaching together with a recording that is judged
    #[arg(long, value_enum)]
    split: Split,
    /// Directory of the recordings that teach; the project's own where it is not given
    #[arg(long, value_name = "DIR", default_value_os_t = own())]
    teachers: PathBuf,
    /// Say why of a recording, by its path in the index: the features that spoke most, in words
    #[arg(long, value_name = "PATH")]
    explain: Option<String>,
    /// Take readings faster than once a second as an agent does, in bursts of a minute in every ten, the first so many seconds after a recording
    /// began; all that a recording has where this is not given
    #[arg(long, value_name = "SECONDS")]
    burst_at: Option<u64>,
    /// Print the features of a recording, by its path in the index, instead of judging: a line for each device, window and feature
    #[arg(long, value_name = "PATH", conflicts_with_all = ["explain", "controls", "format"])]
    features: Option<String>,
    /// Run the controls too: labels dealt out anew, and volume alone
    #[arg(long)]
    controls: bool,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// Each device of each recording.
    pub judged: Vec<Judged>,
    /// What was passed over, and why.
    pub skipped: Vec<String>,
    /// Over recordings of devices.
    pub real: Option<Figures>,
    /// Over simulated ones.
    pub simulated: Option<Figures>,
    /// Of trainings that try not to be seen: real ones, and simulated ones.
    pub strategies: [Strategies; 2],
}

/// A recording as it is judged.
#[derive(Debug, Clone)]
struct Played {
    row: Row,
    digest: Digest,
    /// From sample to sample.
    nominal_ns: u64,
    seconds: f64,
    devices: Vec<(usize, Vec<Option<Features>>)>,
}

/// Who judges: the model, its teachers, and what they teach without some of them.
#[derive(Debug)]
pub struct Judges {
    teachers: Vec<Teacher>,
    model: Model,
    /// By who of the teachers is held out: who judges then, and how many taught it.
    without: HashMap<Vec<bool>, (Model, usize)>,
}

impl Judges {
    /// Of a model and those who taught it.
    #[must_use]
    pub fn new(teachers: Vec<Teacher>, model: Model) -> Self {
        Self {
            teachers,
            model,
            without: HashMap::new(),
        }
    }

    /// Those who teach.
    #[must_use]
    pub fn teachers(&self) -> &[Teacher] {
        &self.teachers
    }

    /// Who judges a recording by a split, and how many taught it: the model itself where nothing is held out; the tables alone where nobody is
    /// left to teach.
    fn of(&mut self, split: Split, judged: &Played) -> &(Model, usize) {
        let held = self.held_out(split, judged);
        let (teachers, model) = (&self.teachers, &self.model);
        let fold = self.without.entry(held);
        fold.or_insert_with_key(|held| without(held, teachers, model))
    }

    /// Which teachers are held out: those that the split names, and where what is judged is a copy of a teacher under other words, that teacher
    /// and those that the split names for it.
    fn held_out(&self, split: Split, judged: &Played) -> Vec<bool> {
        let copied = self.teachers.iter().filter(|t| t.digest == judged.digest);
        let rows: Vec<&Row> = copied.map(|t| &t.row).chain([&judged.row]).collect();
        let held = |t: &Teacher| rows.iter().any(|row| split.holds_out(&t.row, row));
        self.teachers.iter().map(held).collect()
    }
}

/// Recordings with the features of their windows.
#[derive(Debug, Clone, Default)]
pub struct Corpus {
    recordings: Vec<Played>,
    skipped: Vec<String>,
}

impl Corpus {
    /// Adds a recording.
    pub(super) fn add(&mut self, row: Row, recording: &Recording) {
        let devices = recording.devices.iter().map(|d| d.gpu);
        self.recordings.push(Played {
            row,
            digest: recording.digest,
            nominal_ns: recording.nominal_ns,
            seconds: recording.seconds,
            devices: devices.zip(play(recording)).collect(),
        });
    }
}

/// Reads every recording of an index: whole, or what of it lies in bursts of which the first begins after so many seconds.
///
/// # Errors
/// Where one cannot be read, or is none.
pub fn played(index: &Index, burst_at: Option<u64>) -> Result<Corpus, RecordingError> {
    let mut corpus = Corpus {
        skipped: index.skipped.clone(),
        ..Corpus::default()
    };
    for (path, row) in &index.rows {
        corpus.add(row.clone(), &seen(path, burst_at)?);
    }
    Ok(corpus)
}

/// A recording, or what of it lies in bursts.
fn seen(path: &Path, burst_at: Option<u64>) -> Result<Recording, RecordingError> {
    let mut recording = read(path)?;
    if let Some(first) = burst_at {
        in_bursts(&mut recording, first);
    }
    Ok(recording)
}

/// Judges every recording by a model that was not taught by what the split holds out with it.
#[must_use]
pub fn evaluate(corpus: &Corpus, split: Split, judges: &mut Judges) -> Evaluation {
    let mut judged = Vec::new();
    for one in &corpus.recordings {
        let (model, taught_by) = judges.of(split, one);
        for (gpu, windows) in &one.devices {
            let runs = Runs::of(model, windows);
            judged.push(Judged {
                row: one.row.clone(),
                gpu: *gpu,
                verdict: runs.verdict(),
                alerts: alerts(&runs, one.nominal_ns, one.seconds),
                seconds: one.seconds,
                strange: runs.strange(),
                taught_by: *taught_by,
                why: runs.explanation(),
            });
        }
    }
    let figures = |real: bool| Figures::of(judged.iter().filter(|j| j.row.real == real));
    Evaluation {
        real: figures(true),
        simulated: figures(false),
        strategies: [true, false].map(|real| Strategies::of(judged.iter().filter(|j| j.row.real == real))),
        judged,
        skipped: corpus.skipped.clone(),
    }
}

/// The model without some of its teachers, and how many are left; its trees are silent where nobody is.
fn without(held: &[bool], teachers: &[Teacher], model: &Model) -> (Model, usize) {
    if !held.contains(&true) {
        return (model.clone(), teachers.len());
    }
    let left = || teachers.iter().zip(held).filter(|(_, held)| !**held);
    let examples: Vec<Example> = left().flat_map(|(t, _)| t.examples.clone()).collect();
    if examples.is_empty() {
        return (model.with(Trees::default()), 0);
    }
    (model.with(train(&examples)), left().count())
}

/// Judges and prints; 2 where something could not be read.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    match tried(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("{what}");
            ExitCode::from(2)
        }
    }
}

fn tried(options: &Options) -> Result<(), String> {
    let line = |e: RecordingError| e.to_string().replace('\n', " ");
    let mut index = Index::default();
    let indexed = [
        options.corpus.as_deref().map(corpus),
        options.traces.as_deref().map(traces),
    ];
    for one in indexed.into_iter().flatten() {
        let one = one.map_err(line)?;
        index.rows.extend(one.rows);
        index.skipped.extend(one.skipped);
    }
    if index.rows.is_empty() {
        return Err("the index names no recording".to_owned());
    }
    if let Some(path) = &options.features {
        let of_path = index.rows.iter().find(|(_, row)| row.path == *path);
        let (file, _) = of_path.ok_or_else(|| {
            format!("the index has no path {path}: `--features` takes one as the index has it")
        })?;
        print_features(&seen(file, options.burst_at).map_err(line)?);
        return Ok(());
    }
    let model = Model::embedded().map_err(|e| e.to_string())?;
    let teachers = teachers(&options.teachers).map_err(line)?;
    let mut judges = Judges::new(teachers, model.clone());
    let evaluation = evaluate(
        &played(&index, options.burst_at).map_err(line)?,
        options.split,
        &mut judges,
    );
    let explain = options.explain.as_deref();
    if let Some(path) = explain.filter(|p| evaluation.judged.iter().all(|j| j.row.path != *p)) {
        return Err(format!(
            "no recording that was judged has the path {path}: `--explain` takes one as the index has it"
        ));
    }
    let controls = options.controls.then(|| controls(judges.teachers()));
    match options.format {
        Format::Json => println!("{:#}", as_json(&evaluation, options.split, &model, controls)),
        Format::Text => print(&evaluation, options.split, explain, controls),
    }
    Ok(())
}

/// A line for each device, window of which something was seen, and feature: parts per million, milliseconds where the name says so, `-` where it is missing.
fn print_features(recording: &Recording) {
    for (device, windows) in recording.devices.iter().zip(play(recording)) {
        let seen = windows.iter().enumerate();
        for (window, features) in seen.filter_map(|(i, f)| Some((i, f.as_ref()?))) {
            let periods = [
                ("period_ms", features.period_ms),
                ("rhythm_ms", features.rhythm_ms),
            ];
            let periods = periods.map(|(name, ms)| (name, ms.map(i64::from)));
            let named = Features::NAMES.into_iter().zip(features.values());
            for (name, value) in named.chain(periods) {
                let value = value.map_or_else(|| "-".to_owned(), |v| v.to_string());
                println!("GPU {:<2} window {window:<3} {name:24} {value}", device.gpu);
            }
        }
    }
}

/// As JSON. The figures stand on top for real recordings, for simulated ones only where there is none; each has a place of its own besides.
fn as_json(e: &Evaluation, split: Split, model: &Model, controls: Option<Controls>) -> Value {
    let first = e.real.as_ref().or(e.simulated.as_ref());
    let of = |get: fn(&Figures) -> Value| first.map_or(Value::Null, get);
    let recordings: Vec<Value> = e.judged.iter().map(recording_json).collect();
    json!({
        "split": split.text(),
        "of": e.real.as_ref().map(|_| "real").or_else(|| e.simulated.as_ref().map(|_| "simulated")),
        "accuracy": of(|f| json!(f.accuracy)),
        "abstention": of(|f| json!(f.abstention)),
        "false_accusations_per_1000_gpu_days": of(|f| json!(f.false_accusations_per_1000_gpu_days)),
        "ci": of(|f| json!(f.ci)),
        "real": e.real,
        "simulated": e.simulated,
        "strategies": json!({ "real": e.strategies[0], "simulated": e.strategies[1] }),
        "controls": controls,
        "model_digest": model.digest().to_string(),
        "recordings": recordings,
        "skipped": e.skipped,
    })
}

fn recording_json(j: &Judged) -> Value {
    #[derive(Serialize)]
    struct Line<'a> {
        path: &'a str,
        gpu: usize,
        class: &'a str,
        level: &'a str,
        training_centinats: i16,
        strange_features: usize,
        taught_by: usize,
        truth: &'a str,
        explanation: Option<&'a Explanation>,
    }
    json!(Line {
        path: &j.row.path,
        gpu: j.gpu,
        class: j.verdict.class.map_or("cannot tell", |c| c.text()),
        level: j.verdict.level.text(),
        training_centinats: j.verdict.training,
        strange_features: j.strange,
        taught_by: j.taught_by,
        truth: &j.row.class,
        explanation: j.why.as_ref(),
    })
}

fn print(e: &Evaluation, split: Split, explain: Option<&str>, controls: Option<Controls>) {
    for j in &e.judged {
        let class = j.verdict.class.map_or("cannot tell", |c| c.text());
        println!(
            "{:44} GPU {:<2} {:22} {} {:+.2} nat{}",
            j.row.path,
            j.gpu,
            class,
            j.verdict.level.text(),
            f64::from(j.verdict.training) / 100.0,
            match j.verdict.class.and_then(|c| j.row.truth().is(c)) {
                Some(true) => String::new(),
                _ => format!("   ({})", j.row.class),
            }
        );
        let why = j.why.iter().filter(|_| explain == Some(j.row.path.as_str()));
        for sentence in why.flat_map(Explanation::sentences) {
            println!("    {sentence}");
        }
    }
    for what in &e.skipped {
        println!("skipped: {what}");
    }
    let untaught = e.judged.iter().filter(|j| j.taught_by == 0).count();
    if untaught > 0 {
        println!(
            "{untaught} devices are judged by the tables alone: held out by {}, they leave nobody who teaches",
            split.text()
        );
    }
    println!("\n{}", heading());
    for (name, figures) in [("real", &e.real), ("simulated", &e.simulated)] {
        if let Some(figures) = figures {
            println!("{}", line(split, name, figures));
        }
    }
    for (name, strategies) in ["real", "simulated"].iter().zip(&e.strategies) {
        let lines = strategies.lines(name);
        if !lines.is_empty() {
            println!("\n{}\n{}", strategy::heading(), lines.join("\n"));
        }
    }
    for (name, figures) in [("real", &e.real), ("simulated", &e.simulated)] {
        if let Some(figures) = figures {
            println!("{name}: {}", strategy::time_line(figures));
        }
    }
    if let Some(controls) = controls {
        println!("\n{}", control_line(&controls));
    }
}

/// The heads of the table of figures.
#[must_use]
pub fn heading() -> String {
    "| split | recordings | devices | families | accuracy (95 %) | left open | no class | inference accused | training found | seven classes |\n\
     |---|---|---|---|---|---|---|---|---|---|"
        .to_owned()
}

/// One line of the table of figures.
#[must_use]
pub fn line(split: Split, name: &str, f: &Figures) -> String {
    let percent = |v: Option<f64>| v.map_or_else(|| "-".to_owned(), |v| format!("{:.1} %", v * 100.0));
    let ci = f.ci.map_or_else(String::new, |[low, high]| {
        format!(" ({:.0} to {:.0})", low * 100.0, high * 100.0)
    });
    let [accused, of] = f.accused;
    let [found, trained] = f.found;
    format!(
        "| {} | {name} | {} | {} | {}{ci} | {} | {} | {accused} of {of} | {found} of {trained} | {} |",
        split.text(),
        f.devices,
        f.families,
        percent(f.accuracy),
        percent(Some(f.abstention)),
        percent(Some(f.unnamed)),
        percent(f.class_accuracy),
    )
}

/// What the controls came to, as a line of a table.
#[must_use]
pub fn control_line(c: &Controls) -> String {
    format!(
        "| controls, by family, chance is 50 % | labels dealt out anew: {:.1} % | bytes moved alone: {:.1} % | power and memory alone: {:.1} % |",
        c.shuffled_labels * 100.0,
        c.volume_only * 100.0,
        c.levels_only * 100.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(words: &str) -> Row {
        let text = format!("path,class,mechanism,family,workload,run,strategy,device,real\n{words}\n");
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        reader.deserialize().next().unwrap().unwrap()
    }

    fn judges(rows: &[&str]) -> Judges {
        let teachers = rows.iter().enumerate().map(|(i, words)| Teacher {
            row: row(words),
            digest: Digest([i as u8; 32]),
            examples: Vec::new(),
            levels: super::super::recording::Levels::default(),
        });
        Judges::new(teachers.collect(), Model::embedded().unwrap())
    }

    fn judged(words: &str, digest: u8) -> Played {
        Played {
            row: row(words),
            digest: Digest([digest; 32]),
            nominal_ns: 1_000_000_000,
            seconds: 10.0,
            devices: Vec::new(),
        }
    }

    #[test]
    fn a_copy_under_other_words_holds_out_its_teacher_and_the_teachers_group() {
        let judges = judges(&[
            "a.csv,training,m1,f1,w1,1,none,d1,1",
            "b.csv,training,m1,f1,w2,1,none,d1,1",
            "c.csv,hpc,m2,f2,w3,1,none,d1,1",
        ]);
        let copy = judged("x.csv,unheard,mx,fx,wx,9,none,dx,1", 0);
        assert_eq!(judges.held_out(Split::Run, &copy), [true, false, false]);
        assert_eq!(judges.held_out(Split::Family, &copy), [true, true, false]);
        let own = judged("x.csv,unheard,mx,fx,wx,9,none,dx,1", 9);
        assert_eq!(judges.held_out(Split::Family, &own), [false; 3]);
    }

    #[test]
    fn where_nobody_is_left_to_teach_the_tables_judge_alone() {
        let mut judges = judges(&["a.csv,training,m1,f1,w1,1,none,d1,1"]);
        let (model, taught_by) = judges.of(Split::Device, &judged("x.csv,inference,m,f,w,1,none,d1,1", 9));
        assert_eq!((model.trees(), *taught_by), (&Trees::default(), 0));
    }

    #[test]
    fn a_run_under_another_class_is_the_same_run() {
        let judges = judges(&["a.csv,training,m1,f1,w1,1,none,d1,1"]);
        let again = judged("x.csv,inference,m1,f1,w1,1,none,d1,1", 9);
        assert_eq!(judges.held_out(Split::Run, &again), [true]);
    }
}
