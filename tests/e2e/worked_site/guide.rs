//! The guide, read as a reader does: its commands in order, what they print, and what changes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output};
use weighbridge_testbed::process::{binaries, program, said};

/// One thing after another in the guide.
#[derive(Debug)]
pub(super) enum Step {
    /// A heading.
    Heading(String),
    /// Commands, with the line on which they begin.
    Run(usize, String),
    /// Lines that the commands before it print.
    Sees(Vec<String>),
    /// What others do meanwhile, by the words of a comment.
    Cue(String),
    /// A condition that changes: its outcome before and after, and what its sentence names.
    Changes(Change),
}

/// A row of a table of changes.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) condition: String,
    pub(super) before: String,
    pub(super) after: String,
    pub(super) names: Vec<String>,
}

/// Reads the guide.
pub(super) fn steps(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut lines = text.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        let comment = line.strip_prefix("<!-- ").and_then(|l| l.strip_suffix(" -->"));
        if let Some(words) = comment {
            steps.push(Step::Cue(words.to_owned()));
        } else if let Some(words) = line.strip_prefix("#") {
            steps.push(Step::Heading(words.trim_start_matches('#').trim().to_owned()));
        } else if line == "```sh" || line == "```text" {
            let block: Vec<&str> = lines
                .by_ref()
                .map(|(l, _)| l)
                .take_while(|l| *l != "```")
                .collect();
            steps.push(match line {
                "```sh" => Step::Run(number, block.join("\n")),
                _ => Step::Sees(block.into_iter().map(str::to_owned).collect()),
            });
        } else {
            steps.extend(changes(line).into_iter().map(Step::Changes));
        }
    }
    steps
}

/// What stands for all conditions that no other row names.
pub(super) const EVERY: &str = "every condition";
/// What stands for whatever a condition came to before.
pub(super) const ANY: &str = "any";

/// `| INV-01, INV-02 | met | not met | "a word", "another" |`.
fn changes(line: &str) -> Vec<Change> {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [conditions, before, after, names] = cells.as_slice() else {
        return Vec::new();
    };
    let is_one = |c: &&str| *c == EVERY || (c.len() == 6 && c.get(3..4) == Some("-"));
    let conditions = conditions.split(", ").filter(is_one);
    let change = |condition: &str| Change {
        condition: condition.to_owned(),
        before: (*before).to_owned(),
        after: (*after).to_owned(),
        names: names.split('"').skip(1).step_by(2).map(str::to_owned).collect(),
    };
    conditions.filter(|_| line.starts_with('|')).map(change).collect()
}

/// What is found: outcome and sentence by condition.
pub(super) type Found = BTreeMap<String, (String, String)>;

/// A directory in which the guide is followed.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) dir: PathBuf,
    /// The verifier's state, in the directory.
    pub(super) state: String,
    /// Where it listens.
    pub(super) listen: String,
    printed: String,
}

impl Desk {
    pub(super) fn new(dir: PathBuf, listen: String) -> Self {
        Self {
            dir,
            state: "state".to_owned(),
            listen,
            printed: String::new(),
        }
    }

    /// Tells a program where the verifier is, and whose roots stand for the maker's.
    pub(super) fn at_home<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        let mut path = binaries().into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let prefix = "WEIGHBRIDGE_VERIFIER";
        command
            .current_dir(&self.dir)
            .env("PATH", path)
            .env(format!("{prefix}_STATE_DIR"), &self.state)
            .env(format!("{prefix}_LISTEN"), &self.listen)
            .env(format!("{prefix}_URL"), format!("https://{}", self.listen))
            .env(format!("{prefix}_DEVICE_ROOT"), self.dir.join("maker/root.pem"))
            .env(format!("{prefix}_RIM_ROOT"), self.dir.join("maker/rim-root.pem"))
    }

    pub(super) fn verifier(&self) -> Command {
        let mut command = program("weighbridge-verifier");
        self.at_home(&mut command);
        command
    }

    /// Runs a block of commands; says how it failed. One that ends with `status` may say that something does not hold; one that is refused says so in the block that follows.
    pub(super) fn run(&mut self, line: usize, script: &str, refused: bool) -> Vec<String> {
        let mut bash = Command::new("bash");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("WEIGHBRIDGE_") {
                bash.env_remove(name);
            }
        }
        let output = self
            .at_home(bash.args(["-eu", "-c", script]))
            .output()
            .unwrap_or_else(|e| panic!("bash is needed to follow the guide: {e}"));
        let last = script.lines().last().unwrap_or_default();
        let expected: &[i32] = match (refused, last.contains("weighbridge-verifier status")) {
            (true, _) => &[2],
            (_, true) => &[0, 1],
            _ => &[0],
        };
        let code = output.status.code().unwrap_or(-1);
        self.printed = said(&output);
        if expected.contains(&code) {
            return Vec::new();
        }
        vec![format!(
            "the block on line {line} ended with {code}:\n{}",
            self.printed
        )]
    }

    /// Which of these lines were not printed by the last block; `…` stands for anything.
    pub(super) fn unseen(&self, lines: &[String]) -> Vec<String> {
        let printed = |wanted: &str| self.printed.lines().any(|l| is_like(l, wanted));
        let wanted = lines.iter().filter(|l| !l.trim().is_empty() && !printed(l));
        let mut unseen: Vec<_> = wanted.map(|l| format!("not printed: {l}")).collect();
        if !unseen.is_empty() {
            unseen.push(format!("but:\n{}", self.printed));
        }
        unseen
    }

    /// What `status` finds at the site.
    pub(super) fn found(&self) -> Found {
        let output = self
            .verifier()
            .args(["status", "--site", "harbour-1", "--format", "json"])
            .output()
            .unwrap();
        findings(&output)
    }
}

fn findings(output: &Output) -> Found {
    let status: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", said(output)));
    let all = status["sites"][0]["findings"].as_array().unwrap();
    let text = |f: &serde_json::Value, key: &str| f[key].as_str().unwrap_or_default().to_owned();
    all.iter()
        .map(|f| (text(f, "condition"), (text(f, "outcome"), text(f, "sentence"))))
        .collect()
}

/// Whether a line reads like a pattern, in which `…` stands for anything. Spaces in a row count as one.
fn is_like(line: &str, pattern: &str) -> bool {
    let one = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = one(line);
    let mut rest = line.as_str();
    one(pattern).split('…').map(str::trim).all(|piece| {
        let found = rest.find(piece);
        rest = found.map_or("", |at| &rest[at + piece.len()..]);
        found.is_some()
    })
}
