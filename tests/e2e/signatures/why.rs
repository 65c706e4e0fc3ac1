//! Why a recording was judged as it was, in words.

use super::command::told;
use super::nodes::Made;
use weighbridge::workload::{Explanation, Features, Model, explain, explain_run};
use weighbridge_testbed::signatures::{own, play, read};

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
