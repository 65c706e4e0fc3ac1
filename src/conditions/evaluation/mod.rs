//! Evaluation that goes on: after reports or statements, only what they can have changed is judged again.
//!
//! Decides: which conditions are judged again, never what they come to. A condition whose judge looked at no node stands, whatever reports come,
//! and one whose judge looked at no statement stands, whatever statements come: what a judge looks at is noted while it judges, not declared.
//! Where reports only go on ([`NodeRecord::goes_on_from`]), a condition of [`UNMOVED`] stands too, as long as the sums that its judge
//! held against a limit moved by less than the judge said that they lie apart; and one of [`STEADY`] while it is met or concerns nothing. All else
//! is judged again, and what looks at the other conditions is where one of them came to something else.
//!
//! A finding that stands keeps its outcome, its limit, its subjects and its kind of sentence; what it measured, its words, its window,
//! its coverage and its evidence are as of when it was judged. Does not establish what time alone changes, such as silence or an expiry:
//! that takes a [look](Evaluation::look) at everything, which is due where time has passed or anything else than reports and statements changed.

mod ground;
mod grown;

use self::ground::{Ground, bracket};
use super::case::Case;
use super::finding::{Finding, Outcome};
use super::manifest::ManifestIndex;
use super::own::Policies;
use super::read::{Grown, Read};
use super::registry::Condition;
use super::{conclude, decide, first_judged, rank};
use crate::accelerator::Catalogue;
use crate::appraisal::{NodeRecord, SiteFacts};
use crate::licence::Licence;
use crate::rules::RuleSet;
use crate::time::UnixSeconds;
use std::sync::Arc;

/// Conditions that a report which only goes on leaves as they are, whatever they came to: they ask which devices, keys, chains and papers there are,
/// or for reports that were not too old before either. Those that compare sums with a limit say how far the two lie apart. One
/// that holds the end of a stretch against the time of a paper says that it does, and is judged again.
const UNMOVED: &[&str] = &[
    "INV-01", // The devices are those that were judged.
    "INV-02", // What reports was seen lately, and what does not is still not seen.
    "INV-03", // No stretch of presence began, nor did one elsewhere.
    "INV-04", // Likewise.
    "INV-05", // The rounds are those that were judged.
    "INV-06", // The identifiers are those that were judged.
    "INV-07", // The devices are.
    "INV-08", // Likewise.
    "INV-10", // The bus is the one that was judged.
    "INV-11", // Likewise.
    "INV-12", // The devices are those that were judged.
    "CAP-01", // Likewise.
    "CAP-02", // Likewise.
    "CAP-07", // Likewise.
    "CAP-08", // Likewise.
    "CAP-09", // The fabric is the one that was judged.
    "LOC-03", // The nodes are.
    "TRN-01", // The peak of the devices is.
    "TRN-02", // Likewise, or sums of compute.
    "TRN-03", // Sums of days that are over.
    "TRN-04", // Sums of compute.
    "TRN-05", // Sums of tenants.
    "TRN-06", // Likewise.
    "TRN-07", // Sums of days that are over.
    "TEN-01", // Sums of tenants.
    "TEN-02", // Likewise.
    "TEN-03", // Likewise.
    "TEN-05", // Likewise.
    "TEN-06", // Likewise.
    "SEC-01", // The rounds are those that were judged.
    "SEC-02", // Likewise.
    "SEC-04", // The key is held as it was.
    "SEC-05", // The builds are those that were judged.
    "SEC-06", // The chain goes on.
    "SEC-09", // The libraries are those that were judged.
    "PHY-02", // The devices are.
    "PHY-03", // Sums of the days of a reading.
    "PER-02", // The nodes are those that were judged.
    "SUP-02", // The devices are those that were judged.
    "EVI-02", // Sums of days that are over.
    "OPS-01", // What reports did so lately.
    "OPS-03", // What reports is fresh.
    "OPS-04", // Its time is bounded as it was before.
    "OPS-05", // Nothing was refused.
];

/// Conditions that such a report cannot take from `met` or `not applicable`, and may bring there.
const STEADY: &[&str] = &[
    "INV-02", // A device that is seen refutes what has it away.
    "OPS-01", // Likewise.
    "OPS-02", // A report adds to what is covered.
];

/// The condition that looks at what a report says of its own time.
const TIME_BOUNDED: &str = "OPS-04";

/// The findings of one site under one licence, kept from one report to the next.
#[derive(Debug)]
pub struct Evaluation {
    licence: Arc<Licence>,
    rules: Arc<RuleSet>,
    catalogue: Arc<Catalogue>,
    /// Of the licence: made once.
    index: Arc<ManifestIndex>,
    /// Likewise.
    policies: Policies,
    /// What held of the site when all was judged.
    ground: Ground,
    /// What reports have added to sums since.
    grown: Grown,
    /// All findings: in the order of the registry those that look at none of the others, then the rest.
    findings: Vec<Finding>,
    /// Of those that look at none of the others, what their judges looked at.
    marks: Vec<Mark>,
    /// The findings' places, what needs a person first.
    order: Vec<usize>,
}

/// What a judge looked at, and what reports had added by then.
#[derive(Clone, Copy, Debug)]
struct Mark {
    read: Read,
    at: Grown,
}

/// What reports did.
struct Step {
    /// Whether they only go on.
    goes_on: bool,
    /// Whether their time is bounded as that of those before.
    bounded_alike: bool,
    /// What they added to sums.
    grown: Grown,
}

impl Step {
    fn of(case: &Case<'_>, ground: &Ground, before: &NodeRecord) -> Self {
        let node = case.node(&before.facts.node);
        let kept = node.filter(|_| ground.lies_under(case, before));
        kept.map_or_else(Self::new, |node| Self {
            goes_on: true,
            bounded_alike: bracket(case, node.record.facts.newest.as_ref())
                == bracket(case, before.facts.newest.as_ref()),
            grown: Grown::between(case, before, &node.record),
        })
    }

    /// Something new.
    fn new() -> Self {
        Self {
            goes_on: false,
            bounded_alike: false,
            grown: Grown::default(),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            goes_on: self.goes_on && other.goes_on,
            bounded_alike: self.bounded_alike && other.bounded_alike,
            grown: self.grown.and(&other.grown),
        }
    }
}

impl Evaluation {
    /// Evaluates every condition.
    #[must_use]
    pub fn new(
        licence: Arc<Licence>,
        rules: Arc<RuleSet>,
        catalogue: Arc<Catalogue>,
        facts: &SiteFacts,
        now: UnixSeconds,
    ) -> Self {
        let mut new = Self {
            index: Arc::new(ManifestIndex::of(&licence)),
            policies: Policies::of(&licence),
            licence,
            rules,
            catalogue,
            ground: Ground::default(),
            grown: Grown::default(),
            findings: Vec::new(),
            marks: Vec::new(),
            order: Vec::new(),
        };
        new.look(facts, now);
        new
    }

    /// Evaluates every condition again, as [`evaluate`](super::evaluate) does.
    pub fn look(&mut self, facts: &SiteFacts, now: UnixSeconds) {
        self.grown = Grown::default();
        self.ground = self.with(facts, now, |case| Ground::of(&case));
        let _: Again = self.judge_again(facts, now, |_, _| true);
        self.conclude(facts, now);
    }

    /// Evaluates what reports can have changed, and returns how many conditions that were. `facts` are those of now; since the evaluation
    /// before, nothing in them changed but the records of some nodes, of which `before` holds what they were.
    ///
    /// The findings are those that [`evaluate`](super::evaluate) gives, but for what time alone changed, and for the measure, words, window,
    /// coverage and evidence of those that stand.
    pub fn report<'a>(
        &mut self,
        facts: &SiteFacts,
        before: impl IntoIterator<Item = &'a NodeRecord>,
        now: UnixSeconds,
    ) -> usize {
        let (step, trial) = self.with(facts, now, |case| {
            let steps = before.into_iter().map(|b| Step::of(&case, &self.ground, b));
            (steps.reduce(Step::and), case.has_trial_reports())
        });
        if trial != self.ground.trial {
            self.look(facts, now);
            return self.marks.len();
        }
        let Some(step) = step else { return 0 };
        let grown = self.grown.and(&step.grown);
        self.grown = grown;
        let again = self.judge_again(facts, now, |finding, mark| {
            mark.read.nodes && !(step.goes_on && stands(finding, mark, &step, &grown, now))
        });
        // Policies see what moves with every report.
        if again.differs || !step.goes_on || !self.licence.conditions.is_empty() {
            self.conclude(facts, now);
        }
        if !step.goes_on {
            self.ground = self.with(facts, now, |case| Ground::of(&case));
        }
        again.number
    }

    /// Evaluates what statements can have changed, and returns how many conditions that were. Since the evaluation before, nothing in the facts
    /// changed but the statements on file.
    pub fn statement(&mut self, facts: &SiteFacts, now: UnixSeconds) -> usize {
        let again = self.judge_again(facts, now, |_, mark| mark.read.papers);
        self.conclude(facts, now);
        again.number
    }

    /// The findings, in the order that [`evaluate`](super::evaluate) gives them.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.order.iter().filter_map(|at| self.findings.get(*at))
    }

    fn judge_again(
        &mut self,
        facts: &SiteFacts,
        now: UnixSeconds,
        which: impl Fn(&Finding, &Mark) -> bool,
    ) -> Again {
        let judged: Vec<(usize, Finding, Mark)> = self.with(facts, now, |case| {
            let judge = |(at, condition)| {
                let known = self.findings.get(at).zip(self.marks.get(at));
                let stands = known.is_some_and(|(finding, mark)| !which(finding, mark));
                (!stands).then(|| {
                    let (finding, read) = judged(&case, condition);
                    let at_now = Mark { read, at: self.grown };
                    (at, finding, at_now)
                })
            };
            first_judged().enumerate().filter_map(judge).collect()
        });
        let mut again = Again {
            number: judged.len(),
            differs: false,
        };
        for (at, finding, mark) in judged {
            match (self.findings.get_mut(at), self.marks.get_mut(at)) {
                (Some(known), Some(known_mark)) => {
                    again.differs |= gist(known) != gist(&finding);
                    (*known, *known_mark) = (finding, mark);
                }
                _ => {
                    again.differs = true;
                    self.findings.push(finding);
                    self.marks.push(mark);
                }
            }
        }
        again
    }

    /// Judges what looks at the findings of others, and puts all in order.
    fn conclude(&mut self, facts: &SiteFacts, now: UnixSeconds) {
        let mut first = std::mem::take(&mut self.findings);
        first.truncate(self.marks.len());
        let (findings, _, _) = self.with(facts, now, |case| conclude(case, &self.policies, first));
        let mut order: Vec<usize> = (0..findings.len()).collect();
        order.sort_by_key(|at| findings.get(*at).map(rank));
        (self.findings, self.order) = (findings, order);
    }

    fn with<T>(&self, facts: &SiteFacts, now: UnixSeconds, look: impl FnOnce(Case<'_>) -> T) -> T {
        let index = Arc::clone(&self.index);
        let case = Case::with_index(&self.licence, index, &self.rules, &self.catalogue, facts, now);
        look(case)
    }
}

/// How much was judged again.
struct Again {
    number: usize,
    /// Whether anything came to something else, so that what looks at it may.
    differs: bool,
}

fn judged(case: &Case<'_>, condition: &'static Condition) -> (Finding, Read) {
    let _: Read = case.take_read();
    let finding = decide(case, condition);
    (finding, case.take_read())
}

/// Whether reports that only go on leave a finding as it is.
fn stands(finding: &Finding, mark: &Mark, step: &Step, all: &Grown, now: UnixSeconds) -> bool {
    let id = finding.condition.as_str();
    let fine = matches!(finding.outcome, Outcome::Met | Outcome::NotApplicable);
    let unmoved = UNMOVED.contains(&id) && (step.bounded_alike || id != TIME_BOUNDED);
    (fine && STEADY.contains(&id)) || (unmoved && mark.read.allows(&all.since(&mark.at), &step.grown, now))
}

/// What of a finding other conditions look at, beside its words and evidence. Flags are dated by the time in which a condition was broken.
fn gist(f: &Finding) -> impl PartialEq + '_ {
    let broken = f.window.filter(|_| f.outcome == Outcome::NotMet);
    (
        (f.outcome, f.grade, f.severity, f.trial, broken),
        (&f.message_id, &f.limit, &f.subjects, f.subjects_left_out),
    )
}
