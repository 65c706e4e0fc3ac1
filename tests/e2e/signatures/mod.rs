//! What the model makes of recordings: as much as `docs/model-card.md` says, and nothing of what it cannot read.

mod command;
mod exchanges;
mod nodes;
mod why;

use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use weighbridge::workload::{Class, Level, Model, Verdict};
use weighbridge_testbed::signatures::{
    Corpus, Figures, Judges, Row, Split, control_line, controls, corpus, evaluate, file, line, own, parse,
    play, played, teachers, traces, verdict,
};

/// The recordings of others, where they are here.
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
        text == include_str!("../../../src/workload/trees.csv"),
        "run `weighbridge-testbed train --out src/workload/trees.csv`, then hold docs/model-card.md to `evaluate`"
    );
}

#[test]
fn the_model_card_holds_what_comes_out() {
    let card = include_str!("../../../docs/model-card.md");
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
