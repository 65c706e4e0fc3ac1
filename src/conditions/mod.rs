//! Conditions: facts in, finding out.
//!
//! Decides: for each condition, whether the evidence shows that it holds, that it does not, or neither. Trusts the
//! licence and the rule set it is given, and each fact no further than its grade. Does not establish compliance: a
//! finding is a statement about evidence, within a window, with a coverage.
//!
//! To find the line that decides a finding: look up its condition in [`REGISTRY`]; the function named there is short and
//! stands in the file of its family. Three rules bind all of them. Missing evidence is `cannot tell`, never `met`. A
//! limit is the licence's, else its rule set's, else the condition cannot be told. The same inputs give the same
//! findings, byte for byte.
//!
//! Conditions of the catalogue that stand in no family here are not evaluated in this version and not listed.

mod activity;
mod attestation;
mod bus;
mod capacity;
mod case;
mod finding;
mod firmware;
mod group;
mod identity;
mod inventory;
mod location;
mod mode;
mod operations;
mod overview;
mod papers;
mod performance;
mod place;
mod presence;
mod proof;
mod records;
mod security;
mod supply;
mod training;

pub use case::Case;
pub use finding::{Finding, FindingAtSite, LISTED, Outcome, Quantity, Severity, Verdict, Window};
pub use overview::Overview;

use self::finding::listed;
use crate::accelerator::Catalogue;
use crate::appraisal::SiteFacts;
use crate::licence::Licence;
use crate::rules::RuleSet;
use crate::time::UnixSeconds;
use std::collections::BTreeSet;

/// A condition: what it asks, what depends on it, where it comes from, and the function that decides it.
#[derive(Clone, Copy, Debug)]
pub struct Condition {
    /// Its id, stable for ever.
    pub id: &'static str,
    /// What it asks, in a sentence.
    pub title: &'static str,
    /// What depends on it.
    pub severity: Severity,
    /// Where it comes from.
    pub source: &'static str,
    /// The function that decides it.
    pub judge: fn(&Case<'_>) -> Verdict,
}

/// Every condition that this version evaluates.
pub const REGISTRY: &[Condition] = &[
    Condition {
        id: "INV-01",
        title: "Every accelerator reporting at the site is on the licensed manifest",
        severity: Severity::Critical,
        source: "BIS diversion guidance of May 2025; Supp. 10 to 15 CFR part 748, paragraphs 4 and 10",
        judge: inventory::on_the_manifest,
    },
    Condition {
        id: "INV-02",
        title: "Every device on the manifest is seen within the allowed silence",
        severity: Severity::Critical,
        source: "BIS diversion guidance of May 2025; reporting duty of the Chip Security Act bill",
        judge: inventory::seen_in_time,
    },
    Condition {
        id: "INV-03",
        title: "No device is seen at two sites or on two hosts at once",
        severity: Severity::Critical,
        source: "BIS diversion guidance of May 2025; cases of swapped serial numbers, 2024 to 2026",
        judge: place::in_one_place,
    },
    Condition {
        id: "INV-05",
        title: "Identity is proven by a device-held key, not by strings",
        severity: Severity::Critical,
        source: "BIS diversion guidance of May 2025; cases of dummy servers and moved serial labels, 2026",
        judge: identity::proven,
    },
    Condition {
        id: "INV-06",
        title: "A device's identifiers agree with each other and with the catalogue",
        severity: Severity::Major,
        source: "NIST SP 800-53 CM-8, SR-11",
        judge: inventory::identifiers_agree,
    },
    Condition {
        id: "INV-10",
        title: "No accelerator is present that is presumed to break the rules",
        severity: Severity::Critical,
        source: "BIS guidance on General Prohibition 10, May 2025",
        judge: bus::none_presumed,
    },
    Condition {
        id: "INV-11",
        title: "No accelerator on a managed host stays unmanaged",
        severity: Severity::Major,
        source: "NIST SP 800-53 CM-8(3)",
        judge: bus::none_unmanaged,
    },
    Condition {
        id: "CAP-01",
        title: "The TPP of class 3A090.a at the site is within the licence",
        severity: Severity::Critical,
        source: "licence term; Supp. 10 to 15 CFR part 748, paragraphs 6 and 10",
        judge: capacity::tpp_within_licence,
    },
    Condition {
        id: "CAP-02",
        title: "Only licensed models stand at the site, in licensed numbers",
        severity: Severity::Critical,
        source: "licence term; 15 CFR 748.15",
        judge: capacity::models_within_licence,
    },
    Condition {
        id: "CAP-07",
        title: "Each device stays below the lines for its TPP and its memory bandwidth",
        severity: Severity::Critical,
        source: "15 CFR 742.6(b)(10)(iii)(A)(1); 91 FR 1684",
        judge: performance::below_lines,
    },
    Condition {
        id: "CAP-08",
        title: "No device is altered to do more than its model",
        severity: Severity::Major,
        source: "NIST SP 800-53 SI-7; 3A090 Note 2 on the theoretical peak",
        judge: performance::not_altered,
    },
    Condition {
        id: "LOC-01",
        title: "The site lies in a licensed country, and not in country group D:5 or Macau",
        severity: Severity::Critical,
        source: "15 CFR 742.6(a)(6)(iii)",
        judge: location::licensed_country,
    },
    Condition {
        id: "TRN-01",
        title: "The site cannot reach the operation limit within the window at all",
        severity: Severity::PassOnly,
        source: "ECCN 4E091; arithmetic",
        judge: training::capacity_bound,
    },
    Condition {
        id: "TRN-02",
        title: "No group of devices that compute together reaches the operation limit within the window",
        severity: Severity::Critical,
        source: "ECCN 4E091, Note 2; Supp. 10 to 15 CFR part 748, paragraph 7",
        judge: group::operations_within,
    },
    Condition {
        id: "TRN-04",
        title: "Training stays within its allowance of TPP-hours",
        severity: Severity::Major,
        source: "licence term",
        judge: training::allowance,
    },
    Condition {
        id: "TRN-07",
        title: "Declared and measured activity agree",
        severity: Severity::Major,
        source: "NIST SP 800-53 CA-7; trust between operator and supplier",
        judge: activity::as_declared,
    },
    Condition {
        id: "TEN-04",
        title: "The consignee undertook to transfer nothing to barred places and to serve no military end",
        severity: Severity::Critical,
        source: "BIS diversion guidance of May 2025; 15 CFR 744.21, 744.22",
        judge: supply::end_use_certified,
    },
    Condition {
        id: "SEC-01",
        title: "GPU firmware, VBIOS and driver measurements match the maker's reference values",
        severity: Severity::Critical,
        source: "NIST SP 800-53 SI-7, SI-7(1), SR-4",
        judge: firmware::as_published,
    },
    Condition {
        id: "SEC-02",
        title: "Debug and developer modes are off, and confidential mode is as the licence says",
        severity: Severity::Critical,
        source: "NIST SP 800-53 SC-3, SI-7",
        judge: mode::as_licensed,
    },
    Condition {
        id: "SEC-04",
        title: "Reports are signed by an unrevoked key that hardware holds",
        severity: Severity::Critical,
        source: "NIST SP 800-53 IA-3, SC-12, AU-10",
        judge: security::key_protected,
    },
    Condition {
        id: "SEC-06",
        title: "The chain of reports is unbroken",
        severity: Severity::Critical,
        source: "NIST SP 800-53 AU-9(3), AU-10",
        judge: security::chain_unbroken,
    },
    Condition {
        id: "SEC-07",
        title: "Evidence of the site's cyber security is current, against a standard that counts",
        severity: Severity::Major,
        source: "Supp. 10 to 15 CFR part 748, paragraph 14; NIST SP 800-53 CA-2",
        judge: attestation::cyber,
    },
    Condition {
        id: "SEC-09",
        title: "The NVML library loaded is the system's own or an approved one",
        severity: Severity::Major,
        source: "NIST SP 800-53 SI-7",
        judge: security::library_genuine,
    },
    Condition {
        id: "PHY-01",
        title: "The site's physical security was examined by an assessor whom the licence hears, lately",
        severity: Severity::Critical,
        source: "BIS diversion guidance of May 2025; Supp. 10 to 15 CFR part 748, paragraph 14; NIST SP 800-53 PE",
        judge: attestation::physical,
    },
    Condition {
        id: "PHY-04",
        title: "Deliveries and transit are controlled",
        severity: Severity::Major,
        source: "Supp. 10 to 15 CFR part 748, paragraph 16; NIST SP 800-53 PE-16",
        judge: attestation::deliveries,
    },
    Condition {
        id: "PER-01",
        title: "People with access are screened, trained and free of barred ties",
        severity: Severity::Major,
        source: "Supp. 10 to 15 CFR part 748, paragraphs 2 and 18; NIST SP 800-53 PS-3, PS-7",
        judge: attestation::personnel,
    },
    Condition {
        id: "SUP-01",
        title: "Ownership and control are disclosed, with no barred owner",
        severity: Severity::Critical,
        source: "Supp. 10 to 15 CFR part 748, paragraph 13; BIS diversion guidance of May 2025",
        judge: supply::owners_disclosed,
    },
    Condition {
        id: "SUP-02",
        title: "An authorisation is valid and covers consignee, site, items and date",
        severity: Severity::Critical,
        source: "15 CFR 748.15; General Prohibition 10",
        judge: supply::authorised,
    },
    Condition {
        id: "EVI-01",
        title: "The attestations that the licence asks for are on file and hold",
        severity: Severity::Major,
        source: "BIS guidance of May 2025; NIST SP 800-53 CA-2",
        judge: records::required_on_file,
    },
    Condition {
        id: "EVI-03",
        title: "Assessors are accredited and independent",
        severity: Severity::Major,
        source: "NIST SP 800-53 CA-2(1), CA-7(1)",
        judge: records::assessors_independent,
    },
    Condition {
        id: "OPS-01",
        title: "The devices on the manifest report",
        severity: Severity::Major,
        source: "NIST SP 800-53 CA-7",
        judge: operations::coverage,
    },
    Condition {
        id: "OPS-02",
        title: "Device time is covered by signed samples",
        severity: Severity::Major,
        source: "NIST SP 800-53 CA-7, AU-12",
        judge: operations::observation,
    },
    Condition {
        id: "OPS-03",
        title: "The newest report of each node is fresh",
        severity: Severity::Major,
        source: "NIST SP 800-53 SI-4, AU-8",
        judge: operations::freshness,
    },
    Condition {
        id: "OPS-05",
        title: "Reports carry only allowed fields",
        severity: Severity::Major,
        source: "data minimisation; protection of the operator",
        judge: operations::allowed_fields,
    },
    Condition {
        id: "REC-01",
        title: "Records are kept long enough",
        severity: Severity::Major,
        source: "15 CFR 762.6",
        judge: records::records_kept,
    },
];

/// The ids of all published conditions, whether this version evaluates them or not: a licence may waive any of them.
#[rustfmt::skip]
pub const PUBLISHED: &[&str] = &[
    "INV-01", "INV-02", "INV-03", "INV-04", "INV-05", "INV-06", "INV-07", "INV-08", "INV-09", "INV-10", "INV-11", "INV-12",
    "CAP-01", "CAP-02", "CAP-03", "CAP-04", "CAP-05", "CAP-06", "CAP-07", "CAP-08", "CAP-09",
    "LOC-01", "LOC-02", "LOC-03", "LOC-04",
    "TRN-01", "TRN-02", "TRN-03", "TRN-04", "TRN-05", "TRN-06", "TRN-07", "TRN-08", "TRN-09",
    "TEN-01", "TEN-02", "TEN-03", "TEN-04", "TEN-05", "TEN-06", "TEN-07",
    "SEC-01", "SEC-02", "SEC-03", "SEC-04", "SEC-05", "SEC-06", "SEC-07", "SEC-08", "SEC-09",
    "PHY-01", "PHY-02", "PHY-03", "PHY-04",
    "PER-01", "PER-02",
    "SUP-01", "SUP-02", "SUP-03",
    "EVI-01", "EVI-02", "EVI-03",
    "OPS-01", "OPS-02", "OPS-03", "OPS-04", "OPS-05",
    "REC-01", "REC-02", "REC-03", "REC-04",
];

/// Evaluates every condition for one site. What needs a person comes first.
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
    let case = Case::new(licence, rules, catalogue, facts, now);
    let mut findings: Vec<_> = REGISTRY.iter().map(|c| decide(&case, c)).collect();
    findings.sort_by_cached_key(|f| {
        let calm = !f.needs_a_person();
        (
            calm,
            if calm { Severity::Critical } else { f.severity },
            f.outcome,
            f.condition.clone(),
        )
    });
    findings
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
        for period in training::period_starts(&case) {
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
    let mut verdict = (condition.judge)(case);
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
    if void.is_none()
        && matches!(verdict.outcome, Outcome::NotMet | Outcome::CannotTell)
        && let Some(waiver) = case.licence.waiver(condition.id, case.now)
    {
        verdict.sentence = format!(
            "{} ({}); waived until just before {}: {}",
            verdict.sentence, verdict.outcome, waiver.until, waiver.reason
        );
        verdict.outcome = Outcome::Waived;
    }
    let trial_reports = case
        .nodes()
        .any(|n| n.record.facts.newest.as_ref().is_some_and(|r| r.trial));
    if case.licence.trial {
        verdict.sentence.push_str(" (trial licence)");
    } else if trial_reports {
        verdict.sentence.push_str(" (rests on trial reports)");
    }
    let (subjects, subjects_left_out) = listed(verdict.subjects);
    let (evidence, evidence_left_out) = listed(verdict.evidence);
    Finding {
        condition: condition.id.to_owned(),
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
        message_id: format!("{}.{}", condition.id, verdict.message),
        severity: condition.severity,
        citation: condition.source.to_owned(),
        rule_set: case.licence.ruleset_id.clone(),
        catalogue: case.catalogue.label(),
        trial: case.licence.trial || trial_reports,
    }
}

#[cfg(test)]
mod tests;
