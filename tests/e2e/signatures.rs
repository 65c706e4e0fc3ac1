//! What the model makes of recordings: as much as `docs/model-card.md` says, and nothing of what it cannot read.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use weighbridge::workload::{Class, Explanation, Features, Level, Model, Verdict, explain, explain_run};
use weighbridge_testbed::chance::Chance;
use weighbridge_testbed::signatures::{
    Corpus, Figures, Judges, Row, Split, control_line, controls, corpus, evaluate, file, line, own, parse,
    play, played, read, teachers, traces, verdict,
};

fn shared() -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/traces");
    if !dir.is_dir() {
        println!("skipped: {} is not here", dir.display());
    }
    dir.is_dir().then_some(dir)
}

/// The recordings of others, read once; none where they are not here.
fn others() -> Option<&'static Corpus> {
    static OTHERS: OnceLock<Option<Corpus>> = OnceLock::new();
    let read = || Some(played(&traces(&shared()?).unwrap(), None).unwrap());
    OTHERS.get_or_init(read).as_ref()
}

/// Who judges: the model that ships, and what it would be without those of its teachers that a split holds out. Taught once for all tests.
fn judges() -> MutexGuard<'static, Judges> {
    static JUDGES: LazyLock<Mutex<Judges>> =
        LazyLock::new(|| Mutex::new(Judges::new(teachers(&own()).unwrap(), Model::embedded().unwrap())));
    JUDGES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the model makes of each device of a recording, by its text.
fn verdicts(text: &str) -> Vec<Verdict> {
    let model = Model::embedded().unwrap();
    let windows = play(&parse(text).unwrap());
    windows.iter().map(|w| verdict(&model, w)).collect()
}

#[test]
fn the_committed_trees_are_what_the_projects_recordings_teach() {
    let (text, _) = file(&teachers(&own()).unwrap());
    assert!(
        text == include_str!("../../src/workload/trees.csv"),
        "run `weighbridge-testbed train --out src/workload/trees.csv`, then hold docs/model-card.md to `evaluate`"
    );
}

#[test]
fn the_model_card_holds_what_comes_out() {
    let card = include_str!("../../docs/model-card.md");
    let mut judges = judges();
    let own = played(&corpus(&own()).unwrap(), None).unwrap();
    let mut lines = vec![control_line(&controls(judges.teachers()))];
    lines.extend(of_every_split(&own, "own", &mut judges));
    let figures = evaluate(&own, Split::Family, &mut judges).real.unwrap();
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let published = format!(
        "| family | 71.5 ± 8 % | {}, {} left open |",
        percent(figures.accuracy.unwrap()),
        percent(figures.abstention)
    );
    lines.push(published);
    let together = language_models_together();
    lines.push(line(
        Split::Mechanism,
        "own, serving of language models as one",
        &together,
    ));
    if let Some(others) = others() {
        lines.extend(of_every_split(others, "of others", &mut judges));
    }
    let missing: Vec<String> = lines.into_iter().filter(|line| !card.contains(line)).collect();
    assert!(
        missing.is_empty(),
        "docs/model-card.md should have these lines:\n{}",
        missing.join("\n")
    );
}

/// The lines of the table for a set of recordings; none where a split leaves nobody to teach.
fn of_every_split(corpus: &Corpus, name: &str, judges: &mut Judges) -> Vec<String> {
    let mut one = |split| Some(line(split, name, &evaluate(corpus, split, judges).real?));
    Split::ALL.into_iter().filter_map(&mut one).collect()
}

/// Figures by mechanism where all that serves a language model counts as one mechanism, so that all of it is held out at once.
fn language_models_together() -> Figures {
    let serving = [
        "decode",
        "speculative_decode",
        "completion",
        "prefill",
        "embedding",
    ];
    let join = |row: &mut Row| {
        if serving.contains(&row.mechanism.as_str()) {
            row.mechanism = "serving of language models".to_owned();
        }
    };
    let mut taught = teachers(&own()).unwrap();
    taught.iter_mut().for_each(|t| join(&mut t.row));
    let mut index = corpus(&own()).unwrap();
    index.rows.iter_mut().for_each(|(_, row)| join(row));
    let mut judges = Judges::new(taught, Model::embedded().unwrap());
    let evaluation = evaluate(&played(&index, None).unwrap(), Split::Mechanism, &mut judges);
    evaluation.real.unwrap()
}

#[test]
fn serving_of_language_models_is_not_accused_where_none_was_ever_seen() {
    assert_eq!(language_models_together().accused, [0, 12]);
}

#[test]
fn no_family_of_inference_that_was_held_out_is_accused() {
    let own = played(&corpus(&own()).unwrap(), None).unwrap();
    let figures = evaluate(&own, Split::Family, &mut judges()).real.unwrap();
    assert_eq!(figures.accused, [0, 12]);
    assert!(figures.accuracy.unwrap() >= 0.85, "{figures:?}");
}

#[test]
fn recordings_of_eight_h100_are_told_on_every_device() {
    let Some(all) = others() else { return };
    let judged = evaluate(all, Split::Run, &mut judges()).judged;
    assert_eq!(judged.len(), 48);
    for j in &judged {
        let class = j.verdict.class;
        let right = match j.row.family.as_str() {
            "t2" | "t13" => (class, j.verdict.level) == (Some(Class::Training), Level::Candidate),
            "t3" => (class, j.verdict.level) == (Some(Class::Training), Level::Established),
            "b1" => class == Some(Class::Idle),
            _ => class != Some(Class::Training) && j.verdict.level == Level::RuledOut,
        };
        assert!(right, "{} GPU {}: {:?}", j.row.path, j.gpu, j.verdict);
    }
}

#[test]
fn what_an_agents_bursts_leave_of_them_accuses_nobody_and_tells_whose_steps_they_show() {
    let Some(dir) = shared() else { return };
    // The recordings last some 320 s, the first minute or more of each is a warm-up.
    for (first_s, shows_steps) in [(0, false), (95, true), (130, true), (600, false)] {
        let all = played(&traces(&dir).unwrap(), Some(first_s)).unwrap();
        let judged = evaluate(&all, Split::Run, &mut judges()).judged;
        let of = |family: &str| -> Vec<Verdict> {
            let own = judged.iter().filter(|j| j.row.family == family);
            own.map(|j| j.verdict).collect()
        };
        let found = |family: &str| {
            let all = of(family);
            all.iter().filter(|v| v.class == Some(Class::Training)).count()
        };
        assert_eq!(
            [found("b1"), found("i4"), found("t2"), found("t3")],
            [0, 0, 8, 8],
            "{first_s} s"
        );
        // Steps of 400 ms: without a burst nobody can tell.
        match shows_steps {
            true => assert!(found("t13") >= 14, "{first_s} s: {}", found("t13")),
            false => {
                assert!(
                    of("t13")
                        .iter()
                        .all(|v| v.class.is_none() && v.level > Level::RuledOut)
                )
            }
        }
    }
}

/// The lines of a packed recording.
fn lines(path: &Path) -> Vec<String> {
    let mut text = String::new();
    let mut file = flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap());
    std::io::Read::read_to_string(&mut file, &mut text).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Rows in order of time since their recording began, of devices for which `keep` holds.
fn since_beginning(lines: &[String], keep: fn(usize) -> bool) -> Vec<(u64, String)> {
    let cells = |l: &str| -> (f64, usize, String) {
        let parts: Vec<&str> = l.splitn(4, ',').collect();
        let gpu = parts[2].parse().unwrap();
        (parts[0].parse().unwrap(), gpu, format!("{gpu},{}", parts[3]))
    };
    let begun = cells(&lines[1]).0;
    let rows = lines[1..]
        .iter()
        .map(|l| cells(l))
        .filter(|(_, gpu, _)| keep(*gpu));
    rows.map(|(at, _, rest)| (((at - begun) * 1e3) as u64, rest))
        .collect()
}

fn half_and_half(of: &[Verdict]) {
    for (gpu, verdict) in of.iter().enumerate() {
        if gpu < 4 {
            assert_eq!(verdict.class, Some(Class::Training), "GPU {gpu}: {verdict:?}");
        } else {
            assert_ne!(verdict.class, Some(Class::Training), "GPU {gpu}: {verdict:?}");
            assert!(verdict.level <= Level::Weak, "GPU {gpu}: {verdict:?}");
        }
    }
}

#[test]
fn a_node_of_which_half_serves_and_half_trains_is_told_apart_by_device() {
    let Some(dir) = shared() else { return };
    let dir = dir.join("h100-dcgm-10hz");
    for name in ["t2", "t3", "t13_node1"] {
        let train = lines(&dir.join(format!("{name}_telemetry.csv.gz")));
        let serve = lines(&dir.join("i4_telemetry.csv.gz"));
        let mut rows = since_beginning(&train, |gpu| gpu < 4);
        rows.extend(since_beginning(&serve, |gpu| gpu >= 4));
        rows.sort();
        let head: Vec<&str> = train[0].splitn(3, ',').collect();
        let mut text = format!("timestamp,{}\n", head[2]);
        for (at, rest) in rows {
            writeln!(text, "{}.{:03},{rest}", at / 1_000, at % 1_000).unwrap();
        }
        half_and_half(&verdicts(&text));
    }
}

/// How rows of a made-up node are written.
struct Made {
    rate: f64,
    seconds: f64,
    /// Whether links are written down.
    links: bool,
}

impl Made {
    /// Eight devices: the first so many train together, the next ones serve each for itself, the others rest.
    fn node(&self, train: usize, serve: usize) -> String {
        let mut chance = Chance::of(7);
        let mut text =
            "timestamp,gpu,power_w,gpu_util_pct,sm_active,tensor_active,dram_active,energy_mj".to_owned();
        text += if self.links {
            ",nvlink_tx_bytes_s,nvlink_rx_bytes_s\n"
        } else {
            "\n"
        };
        let mut energy = [4e9; 8];
        let mut beat = 0.0;
        for row in 0..(self.seconds * self.rate) as usize {
            let at = row as f64 / self.rate;
            // A step is a little longer or shorter than the one before, for all devices alike.
            if row % 6 == 0 {
                beat = chance.within(0..1_000) as f64 / 1e3;
            }
            for (gpu, energy) in energy.iter_mut().enumerate() {
                let noise = chance.within(0..1_000) as f64 / 1e5;
                let prompt = chance.within(0..10) < 3;
                let (power, util, sm, tensor, dram, link) = if gpu < train {
                    let link = if row % 6 == 5 { 9e9 } else { 1e9 };
                    (
                        560.0 + 80.0 * beat,
                        100,
                        0.85 + noise,
                        0.46 + noise,
                        0.34 + noise,
                        link,
                    )
                } else if gpu < train + serve {
                    match prompt {
                        true => (420.0 + noise, 90, 0.80, 0.55, 0.20, 0.0),
                        false => (250.0 + 5e3 * noise, 70, 0.35, 0.04, 0.29, 0.0),
                    }
                } else {
                    (70.0 + 10.0 * noise, 0, 0.0, 0.0, 0.0, 0.0)
                };
                *energy += power * 1e3 / self.rate;
                write!(
                    text,
                    "{at:.3},{gpu},{power:.2},{util},{sm:.4},{tensor:.4},{dram:.4},{energy:.0}"
                )
                .unwrap();
                if self.links {
                    write!(text, ",{link:.0},{:.0}", link * 0.97).unwrap();
                }
                text.push('\n');
            }
        }
        text
    }
}

#[test]
fn a_made_up_node_is_told_apart_by_device_at_every_rate_and_length() {
    for (rate, seconds) in [(10.0, 130.0), (10.0, 30.0), (5.0, 70.0), (3.0, 70.0), (1.0, 70.0)] {
        let made = Made {
            rate,
            seconds,
            links: true,
        };
        half_and_half(&verdicts(&made.node(4, 4)));
        for verdict in verdicts(&made.node(0, 0)) {
            assert_eq!(verdict.class, Some(Class::Idle), "{rate} Hz, {seconds} s");
        }
    }
}

#[test]
fn without_links_or_with_seven_seconds_serving_is_not_accused() {
    for (rate, seconds, links) in [(10.0, 60.0, false), (10.0, 7.0, true), (1.0, 7.0, false)] {
        let made = Made { rate, seconds, links };
        for (gpu, verdict) in verdicts(&made.node(4, 4)).iter().enumerate() {
            let accused = verdict.class == Some(Class::Training);
            assert!(gpu < 4 || !accused, "GPU {gpu} at {rate} Hz: {verdict:?}");
        }
    }
}

/// Eight devices with one model cut over them, of the mixture of training and serving alike: steps of 400 ms, or requests as they come. Each
/// tenth of a second has so many rows.
fn cut_over_eight(trains: bool, rows: usize) -> String {
    let mut chance = Chance::of(11);
    let mut text = "timestamp,gpu,power_w,gpu_util_pct,sm_active,tensor_active,dram_active,nvlink_tx_bytes_s,nvlink_rx_bytes_s\n".to_owned();
    let mut busy = 1.0;
    for row in 0..1_800 {
        busy = match (trains, row % 2) {
            (true, _) => [1.0, 1.2, 1.2, 0.6][row % 4],
            (false, 0) => [1.0, 1.3, 0.5][chance.within(0..3) as usize],
            (false, _) => busy,
        };
        for gpu in 0..8 {
            let noise = 1.0 + chance.noise() / 50.0;
            let [sm, tensor, dram, link] = [0.45, 0.11, 0.32, 4e10].map(|mean| mean * busy * noise);
            let power = 250.0 + 200.0 * busy * noise;
            for part in 0..rows {
                writeln!(
                    text,
                    "{:.3},{gpu},{power:.1},99,{sm:.4},{tensor:.4},{dram:.4},{link:.0},{:.0}",
                    row as f64 / 10.0 + part as f64 / 10.0 / rows as f64,
                    link * 0.99
                )
                .unwrap();
            }
        }
    }
    text
}

#[test]
fn one_model_over_eight_devices_is_told_by_the_beat_of_its_exchanges() {
    // At 10 Hz, and twice and ten times as fast.
    for rows in [1, 2, 10] {
        for verdict in verdicts(&cut_over_eight(true, rows)) {
            assert_eq!(
                (verdict.class, verdict.level),
                (Some(Class::Training), Level::Candidate),
                "what each device did speaks against it: {verdict:?}, {rows} rows"
            );
        }
        for verdict in verdicts(&cut_over_eight(false, rows)) {
            assert!(
                verdict.class != Some(Class::Training) && verdict.level < Level::Candidate,
                "{verdict:?}, {rows} rows"
            );
        }
    }
}

#[test]
fn without_bursts_steps_too_fast_to_be_seen_cannot_be_told() {
    let mut recording = parse(&cut_over_eight(true, 1)).unwrap();
    for device in &mut recording.devices {
        device.instants.clear();
    }
    let model = Model::embedded().unwrap();
    for windows in play(&recording) {
        let verdict = verdict(&model, &windows);
        assert!(
            verdict.class.is_none() && verdict.level > Level::RuledOut,
            "{verdict:?}"
        );
    }
}

#[test]
fn activity_that_nobody_read_tells_nothing() {
    let text: String = "timestamp,gpu,power_w\n".to_owned()
        + &(0..60)
            .map(|i| format!("{i},0,{}\n", 500 + i % 7))
            .collect::<String>();
    assert_eq!(verdicts(&text)[0].class, None);
}

/// A directory with an index of one recording of this name and content, and what the command says of it.
fn told(name: &str, content: &[u8], more: &[&str]) -> Output {
    told_of("hpc,m,f,w,1,none,NVIDIA A100,0", name, content, "family", more)
}

/// The same of a recording of which the index has these words, judged by a split.
fn told_of(words: &str, name: &str, content: &[u8], split: &str, more: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(name), content).unwrap();
    let index = format!("path,class,mechanism,family,workload,run,strategy,device,real\n{name},{words}\n");
    std::fs::write(dir.path().join("index.csv"), index).unwrap();
    Command::new(env!("CARGO_BIN_EXE_weighbridge-testbed"))
        .args(["evaluate", "--split", split, "--corpus"])
        .arg(dir.path())
        .args(more)
        .output()
        .unwrap()
}

#[test]
fn a_damaged_recording_is_one_line_and_nothing_is_judged() {
    let good = Made {
        rate: 10.0,
        seconds: 10.0,
        links: true,
    }
    .node(0, 0);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(good.as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    let damaged: [(&str, Vec<u8>, &str); 6] = [
        ("a.csv.gz", packed[..packed.len() / 2].to_vec(), "cannot be read"),
        ("a.csv.gz", b"timestamp,gpu\n1,0\n".to_vec(), "cannot be read"),
        ("a.csv", Vec::new(), "it is empty"),
        (
            "a.csv",
            b"time,watts\n1,2\n".to_vec(),
            "no columns `timestamp` and `gpu`",
        ),
        (
            "a.csv",
            b"timestamp,gpu,power_w\n1,0,2\n2,0\n".to_vec(),
            "line 3 has 2 cells",
        ),
        (
            "a.csv",
            b"timestamp,gpu,power_w\n1,-4,2\n".to_vec(),
            "line 2 has no time",
        ),
    ];
    for (name, content, word) in damaged {
        let output = told(name, &content, &[]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(word) && said.lines().count() == 1, "{said}");
        assert!(output.stdout.is_empty());
    }
    let missing = Command::new(env!("CARGO_BIN_EXE_weighbridge-testbed"))
        .args(["evaluate", "--split", "run", "--corpus", "/nowhere"])
        .output()
        .unwrap();
    assert_eq!(missing.status.code(), Some(2));
}

#[test]
fn a_program_finds_each_feature_of_a_recording_and_a_path_that_is_not_there_is_one_line() {
    let made = Made {
        rate: 10.0,
        seconds: 90.0,
        links: true,
    };
    let text = made.node(0, 2);
    let output = told("new.csv", text.as_bytes(), &["--features", "new.csv"]);
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stdout).unwrap();
    // Of eight devices two windows each, and beside the features two periods.
    assert_eq!(said.lines().count(), 8 * 2 * (Features::COUNT + 2), "{said}");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let mut lines = said.lines().map(words);
    assert!(lines.all(|w| w.len() == 6 && (w[5] == "-" || w[5].parse::<u32>().is_ok())));
    assert!(said.contains("GPU 1  window 1   rhythm_ms "), "{said}");
    // Without a burst the same of points of a second.
    let without = told(
        "new.csv",
        text.as_bytes(),
        &["--features", "new.csv", "--burst-at", "600"],
    );
    let without = String::from_utf8(without.stdout).unwrap();
    assert_eq!(without.lines().count(), said.lines().count());
    assert_ne!(without, said);
    let refused = [
        (vec!["--features", "old.csv"], "no path old.csv"),
        (vec!["--features", "new.csv", "--controls"], "cannot be used with"),
        (
            vec!["--features", "new.csv", "--explain", "new.csv"],
            "cannot be used with",
        ),
    ];
    for (more, word) in refused {
        let output = told("new.csv", text.as_bytes(), &more);
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(line.contains(word) && output.stdout.is_empty(), "{line}");
    }
}

#[test]
fn a_program_finds_each_device_and_simulated_figures_apart() {
    let made = Made {
        rate: 4.0,
        seconds: 20.0,
        links: false,
    };
    let output = told("new.csv", made.node(0, 8).as_bytes(), &["--format", "json"]);
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["split"], "family");
    assert_eq!((&said["of"], said["real"].is_null()), (&"simulated".into(), true));
    assert_eq!(said["simulated"]["devices"], 8);
    for key in [
        "accuracy",
        "abstention",
        "false_accusations_per_1000_gpu_days",
        "ci",
    ] {
        assert!(said.get(key).is_some(), "{key}");
    }
    let lines = said["recordings"].as_array().unwrap();
    assert_eq!(lines.len(), 8);
    for line in lines {
        assert_eq!(line["path"], "new.csv");
        assert!(line["gpu"].is_u64() && line["class"].is_string());
        assert!(line["level"].as_str().unwrap().starts_with('L'));
    }
}

#[test]
fn what_is_judged_by_the_tables_alone_or_counts_nowhere_is_said() {
    let made = Made {
        rate: 4.0,
        seconds: 20.0,
        links: false,
    };
    let text = made.node(0, 8);
    let said = |words: &str| -> serde_json::Value {
        let output = told_of(words, "new.csv", text.as_bytes(), "device", &["--format", "json"]);
        serde_json::from_slice(&output.stdout).unwrap()
    };
    // Every teacher is of this model of device.
    let alone = said("inference,m,f,w,1,none,NVIDIA H200,True");
    assert_eq!(
        (&alone["of"], alone["real"]["devices"].as_u64()),
        (&"real".into(), Some(8))
    );
    assert_eq!(alone["recordings"][0]["taught_by"], 0);
    let unknown = said("unheard,m,f,w,1,none,NVIDIA A100,FALSE");
    assert!(unknown["of"].is_null() && unknown["accuracy"].is_null());
    assert!(unknown["recordings"][0]["taught_by"].as_u64().unwrap() > 30);
    let refused = told_of(
        "hpc,m,f,w,1,none,NVIDIA A100,yes",
        "new.csv",
        text.as_bytes(),
        "run",
        &[],
    );
    let line = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{line}");
    assert!(
        line.contains("`real` is 1 or true") && line.lines().count() == 1,
        "{line}"
    );
}

/// What is said of the first window of an own recording, and of its run.
fn explained(path: &str) -> [Vec<String>; 2] {
    let model = Model::embedded().unwrap();
    let windows = play(&read(&own().join(path)).unwrap()).remove(0);
    let windows: Vec<Features> = windows.into_iter().flatten().collect();
    let window = explain(&model, &windows[0], &model.score(&windows[0]));
    let sentences = |e: Option<Explanation>| {
        e.iter()
            .flat_map(Explanation::sentences)
            .map(str::to_owned)
            .collect()
    };
    [window, explain_run(&model, &windows)].map(sentences)
}

#[test]
fn why_a_window_of_a_recording_scored_as_it_did_stands_in_sentences() {
    let paths = ["dense_transformer", "chat_decode", "idle_memory_held"];
    let said = paths.map(|name| {
        let [window, run] = explained(&format!("h200/{name}-1.csv.gz"));
        assert_eq!(run, window, "{name}: the recording has one window");
        window
    });
    let [train, serve, rest] = SENTENCES;
    assert_eq!(said, [train.to_vec(), serve.to_vec(), rest.to_vec()]);
}

/// Of a training, a service and a device at rest.
const SENTENCES: [&[&str]; 3] = [
    &[
        "Memory worked 39.9 % as long as the SMs: 3.32 nat for training over inference in batches.",
        "The share of memory work varied from second to second by 0.5 % of its mean: 0.18 nat for training over inference in batches.",
        "The share of tensor work varied from second to second by 0.4 % of its mean: 0.12 nat for training over inference in batches.",
        "The tensor pipes worked 54.8 % as long as the SMs: 0.14 nat for inference in batches over training.",
    ],
    &[
        "The tensor pipes worked 20.7 % as long as memory: 3.18 nat for interactive inference over training.",
        "Memory worked 84.4 % as long as the SMs: 1.96 nat for interactive inference over training.",
        "The share of tensor work varied from second to second by 37.8 % of its mean: 0.20 nat for interactive inference over training.",
        "The tensor pipes worked 17.4 % as long as the SMs: 0.12 nat for training over interactive inference.",
    ],
    &[
        "The SMs worked 0.0 % of the time: 13.00 nat for nothing running over training.",
        "A kernel was resident 0.7 % of the time: 3.10 nat for nothing running over training.",
        "The tensor pipes worked 0.0 % of the time: 3.00 nat for nothing running over training.",
    ],
];

#[test]
fn the_command_says_why_of_the_recording_that_it_is_asked_for() {
    let made = Made {
        rate: 4.0,
        seconds: 20.0,
        links: false,
    };
    let node = made.node(0, 8);
    let output = told("new.csv", node.as_bytes(), &["--explain", "new.csv"]);
    let said = String::from_utf8(output.stdout).unwrap();
    let reasons = said.lines().filter(|l| l.starts_with("    ") && l.ends_with('.'));
    assert!(reasons.count() >= 8, "at least one for each device: {said}");
    let output = told("new.csv", node.as_bytes(), &["--explain", "old.csv"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("old.csv") && said.lines().count() == 1, "{said}");
}
