//! Conditions: facts in, finding out.
//!
//! Decides: for each condition, whether the evidence shows that it holds, that it does not, or neither. Trusts the
//! licence and the rule set it is given, and each fact no further than its grade. Does not establish compliance: a
//! finding is a statement about evidence, within a window, with a coverage.
//!
//! To find the line that decides a finding: look up its condition in [`REGISTRY`]; the function named there is short and
//! stands in the room of its family. Three rules bind all of them. Missing evidence is `cannot tell`, never `met`. A
//! limit is the licence's, else its rule set's, else the condition cannot be told. The same inputs give the same
//! findings, byte for byte.
//!
//! Every published condition is evaluated. Where nothing settles one, the sentence names what would.

mod asked;
mod capacity;
mod case;
mod contradiction;
mod evaluation;
mod finding;
mod flags;
mod inventory;
mod manifest;
mod message;
mod overview;
mod own;
mod papers;
mod read;
mod records;
mod registry;
#[cfg(feature = "rego")]
mod rego;
mod security;
mod site;
mod supply;
mod tenant;
mod training;
mod verdict;
mod waiver;

pub use case::Case;
pub use evaluation::Evaluation;
pub use finding::{Finding, FindingAtSite, LISTED, Outcome, Quantity, Severity, Verdict, Window};
pub use flags::{Flag, FlagStanding, Movement, Resolution, Shipments};
pub use inventory::plan::SamplePlan;
pub use message::{MESSAGES, meaning};
pub use overview::Overview;
pub use own::policy_mistakes;
pub use registry::{Basis, Condition, PUBLISHED, REGISTRY, Stage, catalogue_rows};
pub use verdict::{PROPERTY, SiteVerdict, VERDICT, VERDICT_POLICY};

use self::finding::listed;
use crate::accelerator::Catalogue;
use crate::appraisal::SiteFacts;
use crate::licence::Licence;
use crate::rules::RuleSet;
use crate::time::UnixSeconds;
use std::collections::BTreeSet;

/// Conditions that look at what the others came to: they are judged after them.
const LAST: &[&str] = &["REC-04"];

/// What a site comes to under one licence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The conditions. What needs a person comes first.
    pub findings: Vec<Finding>,
    /// The red flags about the consignee and the site, all of them; what is raised comes first. No sum is made of them.
    pub flags: Vec<Flag>,
    /// Whether shipments move.
    pub shipments: Shipments,
}

/// Evaluates every condition for one site, those that the licence states itself last, by the findings of the others. What needs a person comes first.
///
/// Reads nothing but its arguments: the same inputs give the same findings.
#[must_use]
pub fn evaluate(
    licence: &Licence,
    rules: &RuleSet,
    catalogue: &Catalogue,
    facts: &SiteFacts,
    now: UnixSeconds,
) -> Vec<Finding> {
    judge(licence, rules, catalogue, facts, now).findings
}

/// Evaluates every condition for one site, and looks for the red flags.
///
/// Reads nothing but its arguments, as [`evaluate`].
#[must_use]
pub fn judge(
    licence: &Licence,
    rules: &RuleSet,
    catalogue: &Catalogue,
    facts: &SiteFacts,
    now: UnixSeconds,
) -> Judgement {
    let case = Case::new(licence, rules, catalogue, facts, now);
    let first = first_judged().map(|c| decide(&case, c)).collect();
    let (mut findings, flags, shipments) = conclude(case, &own::Policies::of(licence), first);
    findings.sort_by(|a, b| rank(a).cmp(&rank(b)));
    Judgement {
        findings,
        flags,
        shipments,
    }
}

/// Conditions that look at none of the others.
fn first_judged() -> impl Iterator<Item = &'static Condition> {
    REGISTRY.iter().filter(|c| !LAST.contains(&c.id))
}

/// What a site comes to, once the conditions are judged that look at none of the others: these first, then the rest. `policies` are those of the licence.
fn conclude(
    mut case: Case<'_>,
    policies: &own::Policies,
    first: Vec<Finding>,
) -> (Vec<Finding>, Vec<Flag>, Shipments) {
    case.found = first;
    case.flags = flags::all(&case);
    let last = REGISTRY.iter().filter(|c| LAST.contains(&c.id));
    let later: Vec<_> = last.map(|c| decide(&case, c)).collect();
    let shipments = Shipments::of(&case);
    let mut findings = std::mem::take(&mut case.found);
    findings.extend(later);
    let licence = case.licence;
    if !licence.conditions.is_empty() {
        let own = own::verdicts(&case, policies, &findings).map(|(own, verdict)| {
            let source = format!("licence {}, serial {}", licence.licence_id, licence.serial);
            found(&case, &own.id, own.severity, &source, verdict)
        });
        let own: Vec<_> = own.collect();
        findings.extend(own);
    }
    (findings, case.flags, shipments)
}

/// By what findings are put in order: what needs a person comes first.
fn rank(f: &Finding) -> (bool, Severity, Outcome, &str) {
    let calm = !f.needs_a_person();
    let severity = if calm { Severity::Critical } else { f.severity };
    (calm, severity, f.outcome, &f.condition)
}

/// A site at a glance, under one licence. Reads nothing but its arguments.
#[must_use]
pub fn overview(
    licence: &Licence,
    rules: &RuleSet,
    catalogue: &Catalogue,
    facts: &SiteFacts,
    now: UnixSeconds,
) -> Overview {
    Overview::of(&Case::new(licence, rules, catalogue, facts, now))
}

/// The days that the conditions of a licence look at one by one, with those of other licences.
///
/// All others may stand together, as [`NodeDay::between`](crate::appraisal::NodeDay::between) makes them: a year of a thousand nodes need not lie in
/// memory day by day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaysAsked {
    /// From this day on, each by itself.
    recent: i64,
    /// Days at which a period may begin or end.
    edges: BTreeSet<i64>,
}

impl DaysAsked {
    /// Every day by itself.
    #[must_use]
    pub fn all() -> Self {
        Self {
            recent: i64::MIN,
            edges: BTreeSet::new(),
        }
    }

    /// Those of one licence.
    #[must_use]
    pub fn of(licence: &Licence, rules: &RuleSet, catalogue: &Catalogue, now: UnixSeconds) -> Self {
        let facts = SiteFacts::default();
        let case = Case::new(licence, rules, catalogue, &facts, now);
        let mut edges = BTreeSet::new();
        // Midnight may pass before the conditions are evaluated.
        let mut edge = |day: i64| edges.extend([day, day.saturating_add(1), day.saturating_add(2)]);
        edge(licence.valid.from.day());
        for period in training::compute::period_starts(&case) {
            edge(period.day());
        }
        for declared in &licence.activity {
            edge(declared.from.day());
            edge(declared.to.day());
        }
        let recent = case.since().day().min(now.day().saturating_sub(2));
        Self { recent, edges }
    }

    /// Those of either.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.recent = self.recent.min(other.recent);
        self.edges.extend(other.edges);
        self
    }

    /// Whether every day is looked at by itself.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.recent == i64::MIN
    }

    /// From which day on each stands by itself.
    #[must_use]
    pub fn recent(&self) -> i64 {
        self.recent
    }

    /// The stretches before that, each as its first day and how many days it has. What lies before all of them nobody asks for.
    pub fn stretches(&self) -> impl Iterator<Item = (i64, u32)> + '_ {
        let before = self.edges.range(..self.recent);
        let ends = before.clone().skip(1).copied().chain([self.recent]);
        before
            .copied()
            .zip(ends)
            .filter_map(|(first, end)| Some((first, u32::try_from(end.checked_sub(first)?).ok()?)))
    }
}

fn decide(case: &Case<'_>, condition: &'static Condition) -> Finding {
    let verdict = match case.is_asked(condition) {
        true => (condition.judge)(case),
        false => case.not_asked(condition),
    };
    found(case, condition.id, condition.severity, condition.source, verdict)
}

/// What a verdict comes to under the licence.
fn found(case: &Case<'_>, id: &str, severity: Severity, source: &str, mut verdict: Verdict) -> Finding {
    let void = case.void();
    if verdict.outcome == Outcome::NotMet
        && let Some(why) = case.other_catalogue()
    {
        // It may rest on figures that are not those agreed on. What was found is kept in the sentence.
        verdict.outcome = Outcome::CannotTell;
        verdict.message = "other-catalogue";
        verdict.sentence = format!(
            "{why}, so that it cannot be told whether this condition holds; by that catalogue, {}",
            verdict.sentence
        );
    } else if let Some(void) = &void
        && verdict.outcome != Outcome::NotMet
    {
        verdict.outcome = Outcome::CannotTell;
        verdict.message = "licence-does-not-hold";
        verdict.sentence = format!("{void}, so that it cannot be told whether this condition holds");
    }
    if void.is_none() && matches!(verdict.outcome, Outcome::NotMet | Outcome::CannotTell) {
        verdict = case.waived(id, verdict);
    }
    let trial_reports = case.has_trial_reports();
    if case.licence.trial {
        verdict.sentence.push_str(" (trial licence)");
    } else if trial_reports {
        verdict.sentence.push_str(" (rests on trial reports)");
    }
    let (subjects, subjects_left_out) = listed(verdict.subjects);
    let (evidence, evidence_left_out) = listed(verdict.evidence);
    Finding {
        condition: id.to_owned(),
        outcome: verdict.outcome,
        grade: verdict.grade,
        measured: verdict.measured,
        limit: verdict.limit,
        window: verdict.window,
        coverage: verdict.coverage,
        subjects,
        subjects_left_out,
        evidence,
        evidence_left_out,
        sentence: verdict.sentence,
        message_id: format!("{id}.{}", verdict.message),
        severity: verdict.severity.unwrap_or(severity),
        citation: source.to_owned(),
        rule_set: case.rules_label(),
        catalogue: case.catalogue.label(),
        trial: case.licence.trial || trial_reports,
        level: verdict.level,
    }
}

#[cfg(test)]
mod tests;
