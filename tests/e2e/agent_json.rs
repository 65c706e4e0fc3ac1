//! `docs/json.md` against what the agent prints: a member that is printed is explained, and one that is explained is printed.

use serde_json::Value;
use std::collections::BTreeSet;
use weighbridge_testbed::licence;
use weighbridge_testbed::process::{Agent, Verifier, wait_for};
use weighbridge_testbed::stored;

/// The members that the tables under this command explain.
pub(crate) fn explained(command: &str) -> BTreeSet<String> {
    let document = include_str!("../../docs/json.md");
    let heading = format!("## `{command}`\n");
    let (_, section) = document
        .split_once(&heading)
        .unwrap_or_else(|| panic!("docs/json.md has no section for `{command}`"));
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|l| l.strip_prefix("| `"));
    rows.flat_map(|row| row.split(" | ").next().unwrap().split('`'))
        .filter(|word| word.chars().any(char::is_alphanumeric))
        .map(str::to_owned)
        .collect()
}

/// Members of a window's objects stand in its table, or in `docs/fields.md`.
fn explained_below(window: &Value) {
    let document = include_str!("../../docs/json.md");
    let (_, section) = document
        .split_once("## `weighbridge-agent measure --format json`\n")
        .unwrap();
    let section = section.split("\n## ").next().unwrap();
    let fields = include_str!("../../docs/fields.md");
    for (member, value) in window.as_object().unwrap() {
        for below in value.as_object().into_iter().flat_map(|v| v.keys()) {
            let named = format!("`{below}`");
            let known = section.contains(&named) || fields.contains(&named);
            assert!(
                known,
                "`{member}.{below}` is printed and not explained in docs/json.md"
            );
        }
    }
}

#[test]
fn the_members_that_the_agent_prints_are_the_ones_that_the_document_explains() {
    let dir = tempfile::tempdir().unwrap();
    let mut verifier = Verifier::init(dir.path());
    let terms = licence::Terms {
        report_seconds: 1,
        ..licence::Terms::at("harbour-1")
    };
    verifier.load_licence(&terms.write(&[]));
    verifier.serve();
    let mut agent = Agent::new(
        dir.path(),
        "node",
        "profile = \"H100\"\ngpus = 1\ntrace = \"idle\"\n",
    );
    let printed = |agent: &Agent, verb: &str, more: &[&str]| {
        let output = agent.command().args(verb.split(' ')).args(more).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        // One object, a list of them, or one a line.
        let value: Value = serde_json::from_str(&text)
            .or_else(|_| serde_json::from_str(text.lines().next().unwrap_or_default()))
            .unwrap_or_else(|e| panic!("{verb}: {e}: {text}"));
        let object = value.get(0).unwrap_or(&value);
        let members: BTreeSet<String> = object.as_object().unwrap().keys().cloned().collect();
        assert_eq!(
            members,
            explained(&format!("weighbridge-agent {verb}")),
            "`{verb}` (left) and docs/json.md (right)"
        );
        value
    };
    let token = verifier.token("harbour-1", &[]);
    let enrolled = printed(&agent, "enrol --format json", &[&token]);
    assert_eq!(enrolled["state"], "approved");
    let again = printed(&agent, "enrol --format json", &[&token]);
    assert_eq!(
        (&again["node"], &again["state"]),
        (&enrolled["node"], &Value::Null)
    );
    printed(&agent, "inventory --format json", &[]);
    printed(&agent, "doctor --format json", &[]);
    let window = printed(
        &agent,
        "measure --format json",
        &["--window", "1", "--precision", "bf16"],
    );
    explained_below(&window);
    agent.run();
    wait_for("a report", || stored::counts(&verifier.state).first().copied());
    let shown = printed(&agent, "preview", &[]);
    assert_eq!(shown["answer"], Value::Null);
    let sent = wait_for("a receipt", || {
        let sent = printed(&agent, "preview --sent", &[]);
        (sent["state"] == "receipted").then_some(sent)
    });
    let number = sent["sequence"].to_string();
    let output = agent
        .command()
        .args(["preview", "--report", &number])
        .output()
        .unwrap();
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["digest"], sent["report"]);
    assert!(
        shown["answer"].as_str().is_some_and(|hex| hex.len() > 100),
        "{shown}"
    );
    printed(&agent, "measure --proof", &["1"]);
}
