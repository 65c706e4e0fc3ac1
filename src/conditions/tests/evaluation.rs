//! Evaluation from report to report against evaluation of everything.

use super::*;
use crate::appraisal::NodeRecord;
use crate::appraisal::fixture::{bus, driver};
use crate::id::{BootId, ChainId};
use crate::report::{TokenClaims, VerifiedReport};
use crate::statement::{Kind, Role};
use crate::telemetry::{DeviceState, LibraryOrigin};
use std::collections::BTreeMap;

/// A scene that goes on, and what it is judged by.
struct Course {
    scene: Scene,
    /// What each node's devices are by now.
    devices: Vec<Vec<AcceleratorClaims>>,
    /// Reports that were not delivered yet, by node.
    held_back: Vec<(usize, VerifiedReport)>,
    signer: Digest,
    evaluation: Evaluation,
}

/// A report that says something else than the one before it.
type Edit = fn(&mut TokenClaims);

impl Course {
    fn begin(mut scene: Scene) -> Self {
        let signer = scene.hear(Role::Operator, "");
        let licence = Arc::new(Licence::parse(&scene.licence).unwrap());
        let rules = Arc::new(RuleSet::carried(&licence.ruleset_id).unwrap());
        let catalogue = Arc::new(Catalogue::embedded().unwrap());
        let evaluation = Evaluation::new(licence, rules, catalogue, &scene.facts(), scene.now);
        Self {
            scene,
            devices: vec![vec![gpu(1), gpu(2)], vec![gpu(3), gpu(4)]],
            held_back: Vec::new(),
            signer,
            evaluation,
        }
    }

    /// Changes the record of a node, and has that evaluated. Returns how many conditions were judged again.
    fn node(&mut self, at: usize, change: impl FnOnce(&mut Self)) -> usize {
        let (before, facts_before) = (self.scene.labs[at].record.clone(), self.scene.facts());
        change(self);
        let wall = self.scene.labs.iter().map(Lab::wall).max().unwrap();
        self.scene.now = self.scene.now.max(wall.plus(6));
        self.evaluated(before, &facts_before)
    }

    fn evaluated(&mut self, before: NodeRecord, facts_before: &SiteFacts) -> usize {
        let facts = self.scene.facts();
        let number = self.evaluation.report(&facts, [&before], self.scene.now);
        self.check(facts_before);
        number
    }

    /// A report of a node is made, with these changes, and delivered.
    fn report(&mut self, at: usize, edit: impl FnOnce(&mut TokenClaims)) -> usize {
        self.node(at, |course| {
            let lab = &mut course.scene.labs[at];
            let report = lab.make(&course.devices[at], edit);
            let received = lab.wall().plus(5);
            lab.receive(&report, received);
        })
    }

    fn statement(&mut self, kind: &Kind) -> usize {
        let facts_before = self.scene.facts();
        self.scene.file(kind.name, self.signer, &[]);
        let number = self.evaluation.statement(&self.scene.facts(), self.scene.now);
        self.check(&facts_before);
        number
    }

    /// What is promised: what just came leaves no finding that held until then and does not hold now.
    #[track_caller]
    fn check(&self, facts_before: &SiteFacts) {
        let licence = Licence::parse(&self.scene.licence).unwrap();
        let rules = RuleSet::carried(&licence.ruleset_id).unwrap();
        let catalogue = Catalogue::embedded().unwrap();
        let all = |facts| by_condition(evaluate(&licence, &rules, &catalogue, facts, self.scene.now));
        let (before, after) = (all(facts_before), all(&self.scene.facts()));
        for finding in self.evaluation.findings() {
            let id = &finding.condition;
            // Where it stands otherwise than without what just came, time alone had changed it before.
            assert!(
                promised(finding) == promised(&after[id]) || promised(finding) != promised(&before[id]),
                "{id} stands as {}, and is {}",
                finding.sentence,
                after[id].sentence
            );
        }
    }

    /// Everything is looked at: then nothing differs in anything.
    fn look(&mut self) {
        self.evaluation.look(&self.scene.facts(), self.scene.now);
        let found: Vec<Finding> = self.evaluation.findings().to_vec();
        assert_eq!(found, self.scene.findings());
    }

    /// One thing that may happen to a site.
    fn step(&mut self, what: usize, at: usize, number: u8) {
        const EDITS: &[Edit] = &[
            |c| c.report.trial = true,
            |c| c.report.agent_starts = 1,
            |c| c.report.boot = BootId([7; 16]),
            |c| c.submods.host.host.sampler_restarts = 2,
            |c| {
                c.submods
                    .host
                    .host
                    .bus
                    .push(bus(0x2331, 1, 0, DeviceState::Unmanaged))
            },
            |c| c.submods.host.host.bus[0].reporting = 1,
            |c| c.submods.host.host.driver = None,
            |c| {
                let mut other = driver();
                other.library_origin = LibraryOrigin::ALL[2];
                c.submods.host.host.driver = Some(other);
            },
            |c| c.report.time.wall_end = c.report.time.wall_end.plus(-900),
            |c| c.issued_at = c.issued_at.plus(4_000),
        ];
        match what {
            0..=3 => drop(self.report(at, |_| {})),
            4 => drop(self.report(at, EDITS[usize::from(number) % EDITS.len()])),
            5 => {
                self.devices[at].push(gpu(number));
                self.report(at, |_| {});
            }
            6 => {
                let moved = self.devices[at].pop();
                self.devices[1 - at].extend(moved);
                self.report(1 - at, |_| {});
            }
            7 => {
                self.devices[at].truncate(1);
                self.report(at, |_| {});
            }
            8 => {
                if let Some(device) = self.devices[at].first_mut() {
                    device.state = [DeviceState::Lost, DeviceState::Present][usize::from(number) % 2];
                }
                self.report(at, |_| {});
            }
            9 => {
                let lab = &mut self.scene.labs[at];
                let kept = lab.make(&self.devices[at], |_| {});
                self.held_back.push((at, kept));
            }
            10 => {
                if let Some((at, late)) = self.held_back.pop() {
                    self.node(at, |course| {
                        let lab = &mut course.scene.labs[at];
                        let received = lab.wall().plus(5);
                        lab.receive(&late, received);
                    });
                }
            }
            11 => {
                self.scene.labs[at].sequence -= 1;
                self.report(at, |c| c.report.agent_starts = 3);
            }
            12 => {
                let lab = &mut self.scene.labs[at];
                (lab.chain, lab.sequence, lab.previous) = (ChainId([number; 16]), 0, None);
                self.report(at, |_| {});
            }
            13 => drop(self.statement(&Kind::ALL[usize::from(number) % Kind::ALL.len()])),
            14 => self.scene.labs[at].sleep(u64::from(number) * 700),
            15 => {
                self.scene.now = self.scene.now.plus(i64::from(number) * 900);
                self.look();
            }
            16 => self.look(),
            _ => drop(self.node(at, |course| {
                let answers = course.devices[at].iter().map(|d| answer(d.identity.uuid.0[0]));
                let answers = answers.collect();
                course.scene.labs[at].prove(answers);
            })),
        }
    }
}

/// What of a finding holds as if all had been judged again.
fn promised(f: &Finding) -> (Outcome, &str, &Option<Quantity>, &[String], u64, Severity, bool) {
    (
        f.outcome,
        &f.message_id,
        &f.limit,
        &f.subjects,
        f.subjects_left_out,
        f.severity,
        f.trial,
    )
}

fn by_condition(findings: Vec<Finding>) -> BTreeMap<String, Finding> {
    findings.into_iter().map(|f| (f.condition.clone(), f)).collect()
}

#[test]
fn an_ordinary_report_judges_again_only_what_sums_decide() {
    let mut course = Course::begin(Scene::honest().attested());
    let again = course.report(0, |_| {});
    assert!((1..20).contains(&again), "{again} conditions were judged again");
    // One that shows something new has everything judged that looked at a node.
    let new = course.report(0, |c| c.report.agent_starts = 1);
    assert!(new > again, "{new} and {again}");
    let filed = course.statement(Kind::named("maintenance").unwrap());
    assert!(filed < REGISTRY.len(), "{filed} conditions were judged again");
    course.look();
}

#[test]
fn a_device_that_an_ordinary_report_shows_in_two_places_is_found() {
    // It was at the second node until just now, and the first, whose reports wait, tells of the same time.
    let mut scene = Scene::empty();
    scene.labs[0].run(6, &[gpu(1), gpu(2)]);
    scene.labs[1].sleep(1_750);
    scene.labs[1].run(6, &[gpu(1), gpu(3)]);
    scene.now = scene.labs[1].wall().plus(6);
    let mut course = Course::begin(scene);
    let outcome = |course: &Course| {
        let findings = course.evaluation.findings();
        findings.iter().find(|f| f.condition == "INV-03").unwrap().outcome
    };
    assert_ne!(outcome(&course), Outcome::NotMet);
    course.report(0, |_| {});
    assert_eq!(outcome(&course), Outcome::NotMet);
}

#[test]
fn what_time_alone_changes_is_found_by_the_next_look() {
    let mut course = Course::begin(Scene::honest().attested());
    course.scene.now = course.scene.now.plus(3 * 86_400);
    course.look();
    let stale = course
        .evaluation
        .findings()
        .iter()
        .find(|f| f.condition == "OPS-03");
    assert_eq!(stale.unwrap().outcome, Outcome::NotMet);
    // A node that speaks again is heard without one.
    course.scene.labs.iter_mut().for_each(|lab| lab.sleep(3 * 86_400));
    course.report(0, |_| {});
    course.report(1, |_| {});
    let fresh = course
        .evaluation
        .findings()
        .iter()
        .find(|f| f.condition == "OPS-03");
    assert_eq!(fresh.unwrap().outcome, Outcome::Met);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(16))]

    /// Whatever reports, statements and clocks do.
    #[test]
    fn what_is_judged_again_is_all_that_changed(
        steps in proptest::collection::vec((0usize..18, 0usize..2, 1u8..120), 1..16),
        attested: bool,
    ) {
        let scene = Scene::honest();
        let mut course = Course::begin(if attested { scene.attested() } else { scene });
        for (what, at, number) in steps {
            course.step(what, at, number);
        }
        course.look();
    }
}
