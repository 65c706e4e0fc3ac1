//! The worked site: the guide's commands, run as they stand, with 128 simulated nodes where it says that nodes report.
//!
//! The guide is what is tested. Its blocks of commands run in order in one directory; what it shows must be printed; and the tables of what
//! changes must name all that changes, and nothing else. Devices sign with keys of a synthetic maker.

mod fleet;
mod guide;

use fleet::{Fleet, Maker};
use guide::{Change, Desk, EVERY, Found, Step, steps};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use weighbridge::conditions::{REGISTRY, Stage};
use weighbridge::time::UnixSeconds;
use weighbridge_testbed::licence::now;
use weighbridge_testbed::process::{Running, free_port, wait_within};

const GUIDE: &str = include_str!("../../../docs/worked-site.md");

const RULES: &str = include_str!("../../../src/rules/data/us-ear-enforced-2026-05.toml");

/// How long the verifier may take to appraise what 1,024 devices signed.
const APPRAISAL: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread")]
async fn a_site_meets_all_that_can_be_told_of_it_and_each_change_changes_what_it_should() {
    let dir = tempfile::tempdir().unwrap();
    let mut site = WorkedSite::new(dir.path());
    let steps = steps(GUIDE);
    let mut changes = 0;
    for (i, step) in steps.iter().enumerate() {
        match step {
            Step::Heading(heading) => {
                changes += usize::from(site.ends_change());
                site.heading = heading.clone();
            }
            Step::Run(line, script) => {
                let refused = matches!(
                    steps.get(i + 1),
                    Some(Step::Sees(lines)) if lines.iter().any(|l| l.starts_with("weighbridge-verifier: "))
                );
                let failed = site.desk.run(*line, script, refused);
                site.differs(failed);
            }
            Step::Sees(lines) => site.sees(lines),
            Step::Changes(change) => site.expected.push(change.clone()),
            Step::Cue(cue) => site.cue(cue).await,
        }
    }
    changes += usize::from(site.ends_change());
    assert!(site.wrong.is_empty(), "{}", site.wrong.join("\n\n"));
    assert_eq!(changes, 12, "the guide tells of twelve changes");
}

/// The site, and where in the guide it stands.
struct WorkedSite {
    desk: Desk,
    maker: Arc<Maker>,
    fleet: Option<Fleet>,
    /// What was found once everything was met.
    good: Found,
    /// Whether a change is being told.
    changing: bool,
    expected: Vec<Change>,
    heading: String,
    /// Where guide and programs differ: all of it is told at the end, for a run takes long.
    wrong: Vec<String>,
}

impl WorkedSite {
    /// With what others bring: the maker's manifests and replies, and the operator's list of devices.
    fn new(dir: &Path) -> Self {
        let maker = Maker::publish(&made(&dir.join("maker")), now());
        std::fs::rename(dir.join("maker/collateral"), dir.join("collateral")).unwrap();
        std::fs::write(dir.join("devices.toml"), fleet::manifest()).unwrap();
        std::fs::write(dir.join("us-ear-enforced-2026-05.toml"), RULES).unwrap();
        Self {
            desk: Desk::new(dir.to_owned(), format!("127.0.0.1:{}", free_port())),
            maker: Arc::new(maker),
            fleet: None,
            good: Found::new(),
            changing: false,
            expected: Vec::new(),
            heading: String::new(),
            wrong: Vec::new(),
        }
    }

    fn serve(&self) -> Running {
        let log = self.desk.dir.join("verifier.log");
        let running = Running::start(self.desk.verifier().arg("serve"), &log);
        let _line = running.expect_line("listening on");
        running
    }

    fn token(&self, file: &str) -> String {
        let text = std::fs::read_to_string(self.desk.dir.join(file)).unwrap();
        let token = text.split_whitespace().find(|w| w.starts_with("wb1."));
        token.expect("a token").to_owned()
    }

    /// What others do.
    async fn cue(&mut self, cue: &str) {
        match cue {
            "nodes report" => self.nodes_report().await,
            "all that can be met is met" => self.all_is_met(),
            "from the good state" => self.begins_from("good"),
            "from the silent rack" => self.begins_from("silent"),
            "a GPU moves" => {
                let (token, maker) = (self.token("token-2.txt"), Arc::clone(&self.maker));
                let mut verifier = self.serve();
                self.copy().move_gpu(&maker, &token).await;
                verifier.terminate();
            }
            "a GPU is seen twice" => {
                let mut verifier = self.serve();
                self.copy().see_twice(&self.maker).await;
                verifier.terminate();
            }
            "an Ascend 910B is plugged in" => {
                let mut verifier = self.serve();
                self.copy().plug_in(&self.maker).await;
                verifier.terminate();
            }
            other => panic!("nobody knows what `{other}` means in the guide"),
        }
    }

    fn copy(&self) -> Fleet {
        self.fleet.clone().expect("the nodes have reported")
    }

    /// The hour. Halfway, the state is kept in which a rack says nothing more.
    async fn nodes_report(&mut self) {
        let from = licence_begins(&self.desk.dir);
        let token = self.token("token.txt");
        let mut verifier = self.serve();
        let mut fleet = Fleet::report(&token, &self.maker, from).await;
        wait_within(APPRAISAL, "the rounds to be appraised", || {
            let found = self.desk.found();
            (!found["INV-05"].1.contains("appraised")).then_some(())
        });
        verifier.terminate();
        copy_state(&self.desk.dir, "state", "silent");
        let mut verifier = self.serve();
        fleet.rack_reports(&self.maker).await;
        verifier.terminate();
        copy_state(&self.desk.dir, "state", "good");
        self.fleet = Some(fleet);
    }

    fn sees(&mut self, lines: &[String]) {
        let unseen = self.desk.unseen(lines);
        self.differs(unseen);
    }

    fn differs(&mut self, what: Vec<String>) {
        if !what.is_empty() {
            self.wrong
                .push(format!("{}:\n  {}", self.heading, what.join("\n  ")));
        }
    }

    /// Every condition that belongs to each licence is met, but those that the guide names.
    fn all_is_met(&mut self) {
        self.good = self.desk.found();
        let named = std::mem::take(&mut self.expected);
        let mut wrong = Vec::new();
        for condition in REGISTRY.iter().filter(|c| c.stage == Stage::Core) {
            let (outcome, sentence) = &self.good[condition.id];
            let exception = named.iter().find(|n| n.condition == condition.id);
            if outcome != exception.map_or("met", |n| n.after.as_str()) {
                wrong.push(format!("{} is {outcome}: {sentence}", condition.id));
            }
            wrong.extend(exception.and_then(|e| unnamed(e, sentence)));
        }
        self.differs(wrong);
    }

    fn begins_from(&mut self, state: &str) {
        self.changing = true;
        let changed = self.desk.dir.join("changed");
        if changed.exists() {
            std::fs::remove_dir_all(&changed).unwrap();
        }
        copy_state(&self.desk.dir, state, "changed");
        self.desk.state = "changed".to_owned();
    }

    /// Where a change was told: what changed is what the guide says, and nothing else.
    fn ends_change(&mut self) -> bool {
        let expected = std::mem::take(&mut self.expected);
        if !std::mem::take(&mut self.changing) {
            return false;
        }
        let found = self.desk.found();
        let mut wrong = Vec::new();
        for (id, (after, sentence)) in &found {
            let before = &self.good[id].0;
            let named = |name: &str| expected.iter().find(|c| c.condition == name);
            let told = named(id).or_else(|| named(EVERY));
            let wanted = told.map_or((before, before), |c| {
                let any = c.before == guide::ANY;
                (if any { before } else { &c.before }, &c.after)
            });
            if wanted != (before, after) {
                wrong.push(format!("{id}, {before}, is {after}: {sentence}"));
            }
            wrong.extend(told.and_then(|c| unnamed(c, sentence)));
        }
        self.differs(wrong);
        true
    }
}

/// What the guide says that a sentence names, and it does not.
fn unnamed(change: &Change, sentence: &str) -> Option<String> {
    let name = change.names.iter().find(|n| !sentence.contains(*n))?;
    Some(format!("{} does not name {name}: {sentence}", change.condition))
}

fn made(dir: &Path) -> std::path::PathBuf {
    std::fs::create_dir_all(dir).unwrap();
    dir.to_owned()
}

/// From when the licence holds that the guide wrote.
fn licence_begins(dir: &Path) -> UnixSeconds {
    let text = std::fs::read_to_string(dir.join("licence.toml")).unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix("valid_from = "));
    UnixSeconds::parse(line.unwrap().trim()).unwrap()
}

fn copy_state(dir: &Path, from: &str, to: &str) {
    let (from, to) = (dir.join(from), dir.join(to));
    std::fs::create_dir_all(&to).unwrap();
    for entry in std::fs::read_dir(&from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_state(
                &from,
                &entry.file_name().to_string_lossy(),
                &target.display().to_string(),
            );
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
