//! Evaluation that goes on: after reports or statements, only what they can have changed is judged again.
//!
//! Decides: which conditions are judged again, never what they come to. Three rules. A condition whose judge looked at no node
//! stands, whatever reports come, and one whose judge looked at no statement stands, whatever statements come: what a judge looks at is
//! noted while it judges, not declared. And where reports only go on ([`NodeRecord::goes_on_from`]), a condition of [`STEADY`]
//! stands while it is met or concerns nothing. All else is judged again, and what looks at the other conditions is each time.
//!
//! A finding that stands keeps its outcome, its limit, its subjects and its kind of sentence; what it measured, its words, its window,
//! its coverage and its evidence are as of when it was judged. Does not establish what time alone changes, such as silence or an expiry:
//! that takes a [look](Evaluation::look) at everything, which is due where time has passed or anything else than reports and statements changed.

use super::case::{Case, Read};
use super::finding::{Finding, Outcome};
use super::inventory::presence;
use super::manifest::ManifestIndex;
use super::own::Policies;
use super::registry::Condition;
use super::{Judgement, conclude, decide, first_judged};
use crate::accelerator::Catalogue;
use crate::appraisal::{NodeRecord, SiteFacts};
use crate::licence::{Licence, OpsGroup};
use crate::rules::RuleSet;
use crate::time::UnixSeconds;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Conditions that a report which only goes on cannot take from `met` or `not applicable`: they ask for something that must not have been seen, or
/// for reports that follow each other lately. One that compares sums with a limit is not among them.
const STEADY: &[&str] = &[
    "INV-01", // The devices are those that were judged.
    "INV-02", // What reports was seen lately.
    "INV-03", // No stretch of presence began, nor did one elsewhere.
    "INV-05", // The rounds are those that were judged.
    "INV-06", // The identifiers are those that were judged.
    "INV-10", // The bus is the one that was judged.
    "INV-11", // Likewise.
    "CAP-01", // The devices are those that were judged.
    "CAP-02", // Likewise.
    "CAP-07", // Likewise.
    "CAP-08", // Likewise.
    "TRN-01", // Their peak is.
    "SEC-01", // The rounds are those that were judged.
    "SEC-02", // Likewise.
    "SEC-04", // The key is held as it was.
    "SEC-06", // The chain goes on.
    "SEC-09", // The libraries are those that were judged.
    "OPS-01", // What reports did so lately.
    "OPS-02", // A report adds to what is covered.
    "OPS-03", // What reports is fresh.
    "OPS-05", // Nothing was refused.
];

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
    /// What looks at none of the others, in the order of the registry.
    judged: Vec<Judged>,
    /// All of it.
    judgement: Option<Judgement>,
}

/// A finding, and what its judge looked at.
#[derive(Clone, Debug)]
struct Judged {
    finding: Finding,
    read: Read,
}

impl Judged {
    fn of(case: &Case<'_>, condition: &'static Condition) -> Self {
        let _: Read = case.take_read();
        let finding = decide(case, condition);
        Self {
            finding,
            read: case.take_read(),
        }
    }

    /// Whether reports that only go on leave the finding as it is, under a licence.
    fn is_steady(&self, licence: &Licence) -> bool {
        let fine = matches!(self.finding.outcome, Outcome::Met | Outcome::NotApplicable);
        // What all devices could compute at their peak does not depend on sums; node by node, these are asked first.
        let out_of_reach =
            self.finding.message_id == "TRN-02.out-of-reach" && licence.ops_group != Some(OpsGroup::Node);
        let steady = out_of_reach || STEADY.contains(&self.finding.condition.as_str());
        fine && steady
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
            judged: Vec::new(),
            judgement: None,
        };
        new.look(facts, now);
        new
    }

    /// Evaluates every condition again, as [`evaluate`](super::evaluate) does.
    pub fn look(&mut self, facts: &SiteFacts, now: UnixSeconds) {
        self.ground = self.with(facts, now, |case| Ground::of(&case));
        let _: usize = self.judge_again(facts, now, |_| true);
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
        let (goes_on, trial) = self.with(facts, now, |case| {
            let goes_on = before.into_iter().all(|b| self.ground.lies_under(&case, b));
            (goes_on, case.has_trial_reports())
        });
        if trial != self.ground.trial {
            self.look(facts, now);
            return self.judged.len();
        }
        let licence = Arc::clone(&self.licence);
        let stands = |judged: &Judged| goes_on && judged.is_steady(&licence);
        let number = self.judge_again(facts, now, |j| j.read.nodes && !stands(j));
        if !goes_on {
            self.ground = self.with(facts, now, |case| Ground::of(&case));
        }
        number
    }

    /// Evaluates what statements can have changed, and returns how many conditions that were. Since the evaluation before, nothing in the facts
    /// changed but the statements on file.
    pub fn statement(&mut self, facts: &SiteFacts, now: UnixSeconds) -> usize {
        self.judge_again(facts, now, |j| j.read.papers)
    }

    /// The findings, in the order that [`evaluate`](super::evaluate) gives them.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        self.judgement.as_ref().map_or(&[], |j| &j.findings)
    }

    fn judge_again(&mut self, facts: &SiteFacts, now: UnixSeconds, which: impl Fn(&Judged) -> bool) -> usize {
        let (judged, judgement, number) = self.with(facts, now, |case| {
            let mut number = 0usize;
            let judge = |(i, condition)| {
                let stands = self.judged.get(i).filter(|j| !which(j)).cloned();
                stands.unwrap_or_else(|| {
                    number = number.saturating_add(1);
                    Judged::of(&case, condition)
                })
            };
            let judged: Vec<Judged> = first_judged().enumerate().map(judge).collect();
            let first = judged.iter().map(|j| j.finding.clone()).collect();
            (judged, conclude(case, &self.policies, first), number)
        });
        self.judged = judged;
        self.judgement = Some(judgement);
        number
    }

    fn with<T>(&self, facts: &SiteFacts, now: UnixSeconds, look: impl FnOnce(Case<'_>) -> T) -> T {
        let index = Arc::clone(&self.index);
        let case = Case::with_index(&self.licence, index, &self.rules, &self.catalogue, facts, now);
        look(case)
    }
}

/// What must hold of a site for its reports to go on without anything new: it changes with the first report that does not.
#[derive(Clone, Copy, Debug, Default)]
struct Ground {
    /// Whether it rested on trial reports: every sentence says so.
    trial: bool,
    /// When the last stretch of presence began, as late as clocks and delays leave possible; `None` where a device or its key may stand in two
    /// places. Whatever goes on after it was there together before.
    begun: Option<UnixSeconds>,
}

impl Ground {
    fn of(case: &Case<'_>) -> Self {
        Self {
            trial: case.has_trial_reports(),
            begun: last_begun(case),
        }
    }

    /// Whether a node's record only goes on from what it was, and nothing else than time depends on how far.
    fn lies_under(&self, case: &Case<'_>, before: &NodeRecord) -> bool {
        let Some(node) = case.node(&before.facts.node) else {
            return false;
        };
        let since = case.since();
        let former = before.facts.newest.as_ref().map(|n| n.end);
        let spoke_last = |begun: UnixSeconds| {
            let off = presence::moved(&before.facts.clock, since);
            former.is_some_and(|end| begun <= end.plus(off.saturating_neg()))
        };
        node.status.revoked_from.is_none()
            && case.silence(&before.facts).is_none()
            && former.is_some_and(|end| case.same_licences_since(end))
            && self.begun.is_some_and(spoke_last)
            && node.record.goes_on_from(before)
    }
}

fn last_begun(case: &Case<'_>) -> Option<UnixSeconds> {
    if !case.facts.elsewhere.is_empty() {
        return None;
    }
    let since = case.since();
    let (mut uuids, mut serials, mut keys) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut last = UnixSeconds(i64::MIN);
    for node in case.nodes() {
        let facts = &node.record.facts;
        let off = presence::moved(&facts.clock, since);
        for device in &facts.devices {
            let identity = &device.identity;
            let serial = identity.serial.as_deref();
            if !uuids.insert(identity.uuid) || serial.is_some_and(|s| !serials.insert(s)) {
                return None;
            }
        }
        let answers = node.record.evidence.newest.iter().flat_map(|r| &r.devices);
        if !answers.filter_map(|a| a.identity).all(|key| keys.insert(key)) {
            return None;
        }
        let spans = facts.devices.iter().flat_map(|d| &d.presence);
        let spans = spans.chain(facts.strangers.iter().map(|s| &s.span));
        let starts = spans.map(|s| s.from.plus(off.saturating_add(s.lag.max(0))));
        last = starts.fold(last, UnixSeconds::max);
    }
    Some(last)
}
