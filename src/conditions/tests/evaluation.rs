//! Evaluation from report to report against evaluation of everything.

use super::tenants::TENANT;
use super::*;
use crate::appraisal::NodeRecord;
use crate::appraisal::fixture::{bus, compute, driver, hours};
use crate::id::{BootId, ChainId, TenantPseudonym};
use crate::report::{TenantList, TenantShare, TenantShares, TokenClaims, VerifiedReport};
use crate::statement::{Kind, Role};
use crate::telemetry::{DeviceState, LibraryOrigin, Reading};
use crate::time::DAY_SECONDS;
use crate::workload::LevelTimes;
use std::collections::BTreeMap;

/// A scene that goes on, and what it is judged by.
struct Course {
    scene: Scene,
    /// What each node's devices are by now.
    devices: Vec<Vec<AcceleratorClaims>>,
    /// Whom each node's devices are let to.
    tenants: Vec<Vec<TenantPseudonym>>,
    /// Reports that were not delivered yet, by node.
    held_back: Vec<(usize, VerifiedReport)>,
    signer: Digest,
    by: (Arc<Licence>, Arc<RuleSet>, Arc<Catalogue>),
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
        let by = (licence, rules, catalogue);
        let (licence, rules, catalogue) = by.clone();
        let evaluation = Evaluation::new(licence, rules, catalogue, &scene.facts(), scene.now);
        Self {
            scene,
            devices: vec![vec![gpu(1), gpu(2)], vec![gpu(3), gpu(4)]],
            tenants: vec![Vec::new(), Vec::new()],
            held_back: Vec::new(),
            signer,
            by,
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
            let report = course.make(at, edit);
            let lab = &mut course.scene.labs[at];
            let received = lab.wall().plus(5);
            lab.receive(&report, received);
        })
    }

    fn make(&mut self, at: usize, edit: impl FnOnce(&mut TokenClaims)) -> VerifiedReport {
        let listed = self.tenants[at].clone();
        self.scene.labs[at].make(&self.devices[at], |claims| {
            if !listed.is_empty() {
                claims.submods.host.host.tenants = TenantList::of(listed);
            }
            edit(claims);
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
        let (licence, rules, catalogue) = &self.by;
        let all =
            |facts: &SiteFacts| by_condition(evaluate(licence, rules, catalogue, facts, self.scene.now));
        let after = all(&self.scene.facts());
        let before = std::cell::LazyCell::new(|| all(facts_before));
        let ranks: Vec<_> = self.evaluation.findings().map(rank).collect();
        assert!(ranks.is_sorted(), "what needs a person comes first");
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
        let found: Vec<Finding> = self.evaluation.findings().cloned().collect();
        assert_eq!(found, self.scene.findings());
    }

    fn outcome(&self, condition: &str) -> Outcome {
        let mut findings = self.evaluation.findings();
        findings.find(|f| f.condition == condition).unwrap().outcome
    }

    /// Lets the devices of a node to these tenants, each for an equal part of their busy time.
    fn let_to(&mut self, at: usize, tenants: &[TenantPseudonym]) {
        self.tenants[at] = tenants.to_vec();
        let several = tenants.len().max(1) as u64;
        for device in &mut self.devices[at] {
            let shares = (0..tenants.len()).map(|place| TenantShare {
                place: place as u16,
                attributed_ms: 300_000 / several,
                busy_ms: 100_000 / several,
                lower: hours(0),
                counter: hours(0),
                upper: hours(20),
                upper_unconditional: hours(1_320),
            });
            device.delivered.tenants = TenantShares::of(shares.collect());
        }
    }

    /// Has the first device of a node do something else from now on.
    fn work(&mut self, at: usize, number: u8) {
        let other_tenant = TenantPseudonym([7; 16]);
        let Some(device) = self.devices[at].first_mut() else {
            return;
        };
        let delivered = &mut device.delivered;
        let amount = u128::from(number) * 11;
        match number % 10 {
            0 | 1 => {
                delivered.compute = Some(compute(amount, amount + 5));
                delivered.training.clone_from(&delivered.compute);
            }
            2 => delivered.measured.busy_ms = Reading::Value(u64::from(number) * 2_500),
            3 => delivered.measured.busy_ms = Reading::Unsupported,
            4 => delivered.covered_ms = u32::from(number) * 2_500,
            5 => delivered.training = None,
            6 => self.let_to(at, &[TENANT]),
            7 => self.let_to(
                at,
                [&[TENANT, other_tenant][..], &[other_tenant], &[]][usize::from(number) % 3],
            ),
            8 => {
                let part = |of: u32| u32::from(number) * 1_000 / of;
                delivered.workload.levels = (number < 200).then(|| LevelTimes {
                    ruled_out_ms: part(3),
                    candidate_ms: if number.is_multiple_of(3) { 0 } else { 20_000 },
                    established_ms: part(2),
                    ..LevelTimes::default()
                });
            }
            _ => {
                if let Some(compute) = &mut delivered.compute {
                    compute.upper_unconditional = hours(amount + 50);
                }
            }
        }
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
                let mut moved = self.devices[at].pop();
                // Whom it was let to is the other node's to say.
                moved.iter_mut().for_each(|d| d.delivered.tenants = None);
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
                let kept = self.make(at, |_| {});
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
            17 => {
                self.work(at, number);
                self.report(at, |_| {});
            }
            18 => {
                for _ in 0..number % 4 {
                    self.report(at, |_| {});
                    self.report(1 - at, |_| {});
                }
            }
            19 => {
                let now = self.scene.labs[at].wall();
                let left = DAY_SECONDS - now.0.rem_euclid(DAY_SECONDS);
                self.scene.labs.iter_mut().for_each(|lab| lab.sleep(left as u64));
                self.report(at, |_| {});
            }
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
fn an_ordinary_report_has_judged_again_only_what_it_may_change() {
    let far = Scene::honest().with("licensed_tpp", "attribution_min = 0.2\nlicensed_tpp");
    let mut course = Course::begin(far.attested());
    course.let_to(0, &[TENANT]);
    course.let_to(1, &[TENANT]);
    course.report(0, |_| {});
    course.report(1, |_| {});
    let again = course.report(0, |_| {});
    // A meter was read on this very day (PHY-03), a shipment is on its way (EVI-02), and the peak comes near to the allowance (TRN-04).
    assert!(again <= 3, "{again} conditions were judged again");
    // One that shows something new has everything judged that looked at a node.
    let new = course.report(0, |c| c.report.agent_starts = 1);
    assert!(new > 20, "{new}");
    let filed = course.statement(Kind::named("maintenance").unwrap());
    assert!(filed < REGISTRY.len(), "{filed} conditions were judged again");
    course.look();
}

/// A course in which a report after the other moves a sum towards its limit: when the condition comes to something else, and how often it was judged.
fn until(
    scene: Scene,
    condition: &str,
    prepare: fn(&mut Course),
    most: usize,
) -> (Vec<(usize, Outcome)>, usize) {
    let mut course = Course::begin(scene);
    prepare(&mut course);
    let (mut came_to, mut judged) = (Vec::new(), 0);
    for number in 0..most {
        judged += course.report(number % 2, |_| {});
        let outcome = course.outcome(condition);
        if came_to.last().is_none_or(|(_, last)| *last != outcome) {
            came_to.push((number, outcome));
        }
    }
    (came_to, judged)
}

#[test]
fn a_sum_that_reaches_its_limit_is_found_by_the_report_that_takes_it_there() {
    use Outcome::{CannotTell, Met, NotMet};
    let outcomes =
        |found: &(Vec<(usize, Outcome)>, usize)| found.0.iter().map(|(_, o)| *o).collect::<Vec<_>>();
    // Training of one device: two hours of 1,320 at most in each report, of which a part is sure.
    let scene = Scene::honest().with("tpp_hours_max = 50_000", "tpp_hours_max = 14_000");
    let trains = |course: &mut Course| {
        course.devices[0][0].delivered.compute = Some(compute(900, 1_300));
        course.devices[0][0].delivered.training = Some(compute(900, 1_300));
    };
    let found = until(scene, "TRN-04", trains, 40);
    // The node that reports next is silent meanwhile, so that the upper bound goes up and down.
    assert_eq!(
        (outcomes(&found).first(), outcomes(&found).last()),
        (Some(&Met), Some(&NotMet))
    );
    // A tenant holds the devices of one node only.
    let scene = Scene::honest().with("licensed_tpp", "attribution_min = 0.2\nlicensed_tpp");
    let found = until(scene, "TEN-06", |course| course.let_to(0, &[TENANT]), 60);
    assert_eq!(outcomes(&found), [NotMet, Met]);
    let scene = Scene::honest()
        .attested()
        .with("licensed_tpp", "attribution_min = 0.8\nlicensed_tpp");
    let found = until(scene, "TEN-01", |_| {}, 60);
    assert_eq!(outcomes(&found), [Met, CannotTell]);
    // What all devices could have made grows by time alone.
    let scene = Scene::honest().with("tpp_hours_max = 50_000", "tpp_hours_max = 90_000");
    assert_eq!(outcomes(&until(scene, "TRN-04", |_| {}, 60)), [Met]);
}

#[test]
fn a_day_that_the_window_leaves_within_the_day_no_longer_counts() {
    let mut scene = Scene::empty().with(
        "serial = 1\n",
        "serial = 1\ntraining_share_max = 0.5\nfinding_window = \"36 h\"\n",
    );
    let devices = [gpu(1), gpu(2), gpu(3), gpu(4)];
    scene.hour_of(719, &devices);
    scene.now = scene.labs[0].wall().plus(6);
    let mut course = Course::begin(scene);
    assert_eq!(course.outcome("TRN-03"), Outcome::Met);
    // At noon the window no longer has the whole of yesterday.
    course.report(0, |_| {});
    course.report(1, |_| {});
    assert_eq!(course.outcome("TRN-03"), course.scene.finding("TRN-03").outcome);
    assert_eq!(course.outcome("TRN-03"), Outcome::CannotTell);
}

#[test]
fn a_report_that_leaves_a_device_without_a_tenant_is_no_ordinary_one_where_all_must_have_one() {
    let scene = Scene::honest().with("licensed_tpp", "attribution_min = 1\nlicensed_tpp");
    let mut course = Course::begin(scene);
    course.let_to(0, &[TENANT]);
    course.let_to(1, &[TENANT]);
    let unread = course.devices.iter_mut().flatten();
    unread.for_each(|d| d.delivered.measured.busy_ms = Reading::Unsupported);
    for at in [0, 1, 0, 1] {
        course.report(at, |_| {});
    }
    course.devices[0][0].delivered.measured.busy_ms = Reading::Value(300_000);
    for at in [0, 1, 0, 1] {
        course.report(at, |_| {});
    }
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
    assert_ne!(course.outcome("INV-03"), Outcome::NotMet);
    course.report(0, |_| {});
    assert_eq!(course.outcome("INV-03"), Outcome::NotMet);
}

#[test]
fn what_time_alone_changes_is_found_by_the_next_look() {
    let mut course = Course::begin(Scene::honest().attested());
    course.scene.now = course.scene.now.plus(3 * 86_400);
    course.look();
    assert_eq!(course.outcome("OPS-03"), Outcome::NotMet);
    // A node that speaks again is heard without one.
    course.scene.labs.iter_mut().for_each(|lab| lab.sleep(3 * 86_400));
    course.report(0, |_| {});
    course.report(1, |_| {});
    assert_eq!(course.outcome("OPS-03"), Outcome::Met);
}

/// Licences with limits that sums come close to.
const CLOSE: &[(&str, &str)] = &[
    ("licensed_tpp", "licensed_tpp"),
    ("tpp_hours_max = 50_000", "tpp_hours_max = 2_500"),
    ("tpp_hours_max = 50_000", "tpp_hours_max = 9_000"),
    ("licensed_tpp", "attribution_min = 0.4\nlicensed_tpp"),
    (
        "licensed_tpp",
        "attribution_min = 0.7\nobservation_min = 0.8\nlicensed_tpp",
    ),
    (
        "licensed_tpp",
        "declared_group_devices = 2\ndeclared_group_after = \"2 h\"\nlicensed_tpp",
    ),
    (
        "licensed_tpp",
        "ops_limit = \"2e18\"\nops_group = \"site\"\nlicensed_tpp",
    ),
    ("licensed_tpp", "ops_limit = \"2e19\"\nlicensed_tpp"),
    (
        "licensed_tpp",
        "training_share_max = 0.2\ntime_bracket_max = \"10 min\"\nlicensed_tpp",
    ),
    (
        "licensed_tpp",
        "missing_after = \"1 h\"\nfinding_window = \"1 d\"\nlicensed_tpp",
    ),
    (
        "[[models]]",
        "[[activity]]\nfrom = 2026-11-20\nto = 2026-11-24\nbusy_share = 0.3\ntraining_share = 0.1\n[[models]]",
    ),
];

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]

    /// Whatever reports, statements and clocks do, and however close a limit is.
    #[test]
    fn what_is_judged_again_is_all_that_changed(
        steps in proptest::collection::vec((0usize..21, 0usize..2, 1u8..120), 1..20),
        close in 0..CLOSE.len(),
        attested: bool,
    ) {
        let (old, new) = CLOSE[close];
        let scene = Scene::honest();
        let scene = if attested { scene.attested() } else { scene };
        let mut course = Course::begin(scene.with(old, new));
        for (what, at, number) in steps {
            course.step(what, at, number);
        }
        course.look();
    }

    /// The same of reports that only add to sums.
    #[test]
    fn sums_are_judged_again_before_they_pass_a_limit(
        steps in proptest::collection::vec((0usize..24, 0usize..2, 1u8..120), 1..20),
        close in 0..CLOSE.len(),
        attested: bool,
    ) {
        let (old, new) = CLOSE[close];
        let scene = Scene::honest();
        let scene = if attested { scene.attested() } else { scene };
        let mut course = Course::begin(scene.with(old, new));
        for (what, at, number) in steps {
            course.step([0, 18, 17][what % 3], at, number);
        }
        course.look();
    }
}
