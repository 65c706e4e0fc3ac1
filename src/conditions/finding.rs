//! What a condition says: its outcome, and everything that a reader needs to check it.

use crate::appraisal::Grade;
use crate::cbor;
use crate::crypto::Sha256;
use crate::id::Digest;
pub use crate::rules::Severity;
use crate::time::UnixSeconds;
use crate::unit::{Grouped, MicroTppHours, Ppm, Tpp};
use crate::workload::Level;

crate::code! {
    /// What a condition comes to.
    pub enum Outcome {
        /// The evidence shows that it does not hold.
        NotMet = 0 => "not met",
        /// The evidence does not settle it.
        CannotTell = 1 => "cannot tell",
        /// It does not hold or cannot be told, and the licence waives it.
        Waived = 2 => "waived",
        /// The evidence shows that it holds.
        Met = 3 => "met",
        /// There is nothing here that it could concern.
        NotApplicable = 4 => "not applicable",
    }
}

crate::record! {
    /// A quantity with its bounds and unit. Numbers are decimal texts, because 10^26 does not fit a JSON number.
    pub struct Quantity {
        /// The least; of a limit, what must be reached.
        #[serde(skip_serializing_if = "Option::is_none")]
        0 => lower: Option<String>,
        /// The most; of a limit, what must not be passed.
        #[serde(skip_serializing_if = "Option::is_none")]
        1 => upper: Option<String>,
        /// The unit.
        2 => unit: String,
    }
}

impl Quantity {
    /// An exact count.
    #[must_use]
    pub fn exactly(value: impl std::fmt::Display, unit: &'static str) -> Self {
        let text = value.to_string();
        Self {
            lower: Some(text.clone()),
            upper: Some(text),
            unit: unit.to_owned(),
        }
    }

    /// A measured interval.
    #[must_use]
    pub fn between(lower: impl std::fmt::Display, upper: impl std::fmt::Display, unit: &'static str) -> Self {
        Self {
            lower: Some(lower.to_string()),
            upper: Some(upper.to_string()),
            unit: unit.to_owned(),
        }
    }

    /// Something of which only the least is known, or a limit that must be reached.
    #[must_use]
    pub fn at_least(value: impl std::fmt::Display, unit: &'static str) -> Self {
        Self {
            lower: Some(value.to_string()),
            upper: None,
            unit: unit.to_owned(),
        }
    }

    /// Something of which only the most is known, or a limit that must not be passed.
    #[must_use]
    pub fn at_most(value: impl std::fmt::Display, unit: &'static str) -> Self {
        Self {
            lower: None,
            upper: Some(value.to_string()),
            unit: unit.to_owned(),
        }
    }
}

crate::record! {
    /// The time that a finding speaks of.
    #[derive(Copy)]
    pub struct Window {
        /// Its start.
        0 => from: UnixSeconds,
        /// Its end.
        1 => to: UnixSeconds,
    }
}

crate::record! {
    /// What one condition says about one site.
    ///
    /// It serialises to the keys of `status --format json`, and it is encoded whole.
    pub struct Finding {
        /// The condition.
        0 => condition: String,
        /// What it comes to.
        1 => outcome: Outcome,
        /// What the finding rests on: the weakest of its inputs.
        2 => grade: Grade,
        /// What was measured.
        3 => measured: Option<Quantity>,
        /// Against what.
        4 => limit: Option<Quantity>,
        /// Over which time.
        5 => window: Option<Window>,
        /// The share of what should have been seen that was seen, as a decimal text.
        #[serde(serialize_with = "share")]
        6 => coverage: Option<Ppm>,
        /// Devices and nodes that it concerns, sorted; the first [`LISTED`] of them.
        7 => subjects: Vec<String>,
        /// How many more it concerns.
        8 => subjects_left_out: u64,
        /// Digests of the reports that it rests on, sorted; the first [`LISTED`] of them.
        9 => evidence: Vec<Digest>,
        /// How many more it rests on.
        10 => evidence_left_out: u64,
        /// The finding in words.
        11 => sentence: String,
        /// A stable name for this kind of finding.
        12 => message_id: String,
        /// How much depends on it.
        #[serde(skip)]
        13 => severity: Severity,
        /// The source of the condition.
        #[serde(skip)]
        14 => citation: String,
        /// The rule set that was applied: its id, version and SHA-256; its id alone where it was not at hand.
        #[serde(skip)]
        15 => rule_set: String,
        /// Whether the licence is a trial.
        #[serde(skip)]
        16 => trial: bool,
        /// The catalogue of accelerators that was used: its version and SHA-256.
        #[serde(skip)]
        17 => catalogue: String,
        /// How far what was measured goes towards training: the highest level that any device's work reached. Of conditions about training, and
        /// only where reports tell levels.
        18 => level: Option<Level>,
    }
}

crate::record! {
    /// A finding as the ledger keeps it: of which site, under which licence, as of when. A leaf stands for its bytes.
    pub struct FindingAtSite {
        /// The site.
        0 => site: String,
        /// The licence's id.
        1 => licence: String,
        /// Its serial.
        2 => serial: u64,
        /// When it was found.
        3 => at: UnixSeconds,
        /// The finding.
        4 => finding: Finding,
    }
}

impl Finding {
    /// Whether a person has to act.
    #[must_use]
    pub fn needs_a_person(&self) -> bool {
        matches!(self.outcome, Outcome::NotMet | Outcome::CannotTell) && self.severity != Severity::PassOnly
    }

    /// What makes it another finding than before, as a digest: its outcome, its limit and its subjects. Times, measures, evidence and
    /// words move with every report.
    #[must_use]
    pub fn gist(&self) -> Digest {
        let mut gist = Sha256::default();
        gist.update(&cbor::encode(&self.outcome));
        if let Some(limit) = &self.limit {
            gist.update(&cbor::encode(limit));
        }
        gist.update(&cbor::encode(&self.subjects));
        gist.update(&cbor::encode(&self.subjects_left_out));
        gist.finish()
    }
}

#[expect(clippy::ref_option, reason = "the signature that serde asks for")]
pub(super) fn share<S: serde::Serializer>(share: &Option<Ppm>, s: S) -> Result<S::Ok, S::Error> {
    match share {
        Some(ppm) => s.serialize_str(&decimal(*ppm)),
        None => s.serialize_none(),
    }
}

/// A share as a decimal text: `0.9993`.
pub(super) fn decimal(share: Ppm) -> String {
    let whole = share.0.checked_div(1_000_000).unwrap_or(0);
    let rest = share.0.checked_rem(1_000_000).unwrap_or(0);
    let text = format!("{whole}.{rest:06}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The most subjects, and the most digests, that one finding lists.
pub const LISTED: usize = 1_000;

/// Sorts a list, each item once, cuts it to what a finding lists, and says how many are left out.
pub(super) fn listed<T: Ord>(mut items: Vec<T>) -> (Vec<T>, u64) {
    items.sort();
    items.dedup();
    let left_out = u64::try_from(items.len().saturating_sub(LISTED)).unwrap_or(u64::MAX);
    items.truncate(LISTED);
    (items, left_out)
}

/// What a condition's function returns: a finding without its condition's own facts.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub(super) outcome: Outcome,
    pub(super) message: &'static str,
    pub(super) sentence: String,
    pub(super) grade: Grade,
    pub(super) measured: Option<Quantity>,
    pub(super) limit: Option<Quantity>,
    pub(super) window: Option<Window>,
    pub(super) coverage: Option<Ppm>,
    pub(super) subjects: Vec<String>,
    pub(super) evidence: Vec<Digest>,
    /// Where less or more depends on it than on its condition in general.
    pub(super) severity: Option<Severity>,
    /// How far it goes towards training.
    pub(super) level: Option<Level>,
}

impl Verdict {
    pub(super) fn new(outcome: Outcome, message: &'static str, sentence: impl Into<String>) -> Self {
        Self {
            outcome,
            message,
            sentence: sentence.into(),
            grade: Grade::DriverReported,
            measured: None,
            limit: None,
            window: None,
            coverage: None,
            subjects: Vec::new(),
            evidence: Vec::new(),
            severity: None,
            level: None,
        }
    }

    pub(super) fn met(message: &'static str, sentence: impl Into<String>) -> Self {
        Self::new(Outcome::Met, message, sentence)
    }

    pub(super) fn not_met(message: &'static str, sentence: impl Into<String>) -> Self {
        Self::new(Outcome::NotMet, message, sentence)
    }

    pub(super) fn cannot_tell(message: &'static str, sentence: impl Into<String>) -> Self {
        Self::new(Outcome::CannotTell, message, sentence)
    }

    pub(super) fn not_applicable(message: &'static str, sentence: impl Into<String>) -> Self {
        Self::new(Outcome::NotApplicable, message, sentence)
    }

    /// The outcome for want of a limit.
    pub(super) fn no_limit(what: &str) -> Self {
        Self::cannot_tell(
            "no-limit",
            format!("neither the licence nor its rule set sets {what}"),
        )
        .grade(Grade::Declared)
    }

    pub(super) fn grade(mut self, grade: Grade) -> Self {
        self.grade = grade;
        self
    }

    pub(super) fn severity(mut self, severity: Severity) -> Self {
        self.severity = Some(severity);
        self
    }

    pub(super) fn level(mut self, level: Option<Level>) -> Self {
        self.level = level;
        self
    }

    pub(super) fn measured(mut self, measured: Quantity) -> Self {
        self.measured = Some(measured);
        self
    }

    pub(super) fn limit(mut self, limit: Quantity) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Nothing was found of what must not be there.
    pub(super) fn none_of(self, unit: &'static str) -> Self {
        self.measured(Quantity::exactly(0, unit))
            .limit(Quantity::at_most(0, unit))
    }

    pub(super) fn window(mut self, from: UnixSeconds, to: UnixSeconds) -> Self {
        self.window = Some(Window { from, to });
        self
    }

    pub(super) fn coverage(mut self, coverage: Ppm) -> Self {
        self.coverage = Some(coverage);
        self
    }

    pub(super) fn subjects(mut self, subjects: impl IntoIterator<Item = String>) -> Self {
        self.subjects.extend(subjects);
        self
    }

    pub(super) fn evidence(mut self, digests: impl IntoIterator<Item = Digest>) -> Self {
        self.evidence.extend(digests);
        self
    }
}

/// The first few of many, in words: `a; b; c; and 3 more`.
pub(super) fn few(items: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown = items.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ");
    match items.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown}; and {more} more"),
    }
}

/// `1 device`, `2 devices`, `3 libraries`.
pub(super) fn count(n: usize, noun: &str) -> String {
    let number = Grouped(u128::try_from(n).unwrap_or(u128::MAX));
    match noun.strip_suffix('y') {
        _ if n == 1 => format!("1 {noun}"),
        Some(stem) => format!("{number} {stem}ies"),
        None => format!("{number} {noun}s"),
    }
}

/// A large count with three significant digits, rounded up: an upper bound stays one.
pub(super) fn scientific_up(value: u128) -> String {
    let mut mantissa = value;
    let mut exponent = 0u32;
    while mantissa >= 1_000 {
        mantissa = mantissa.div_ceil(10);
        exponent = exponent.saturating_add(1);
    }
    if exponent == 0 {
        return Grouped(value).to_string();
    }
    let whole = mantissa.checked_div(100).unwrap_or(0);
    let rest = mantissa.checked_rem(100).unwrap_or(0);
    format!("{whole}.{rest:02}e{}", exponent.saturating_add(2))
}

/// TPP-hours as a decimal text that a machine reads.
pub(super) fn plain_hours(hours: MicroTppHours) -> String {
    hours.to_string().replace(',', "")
}

/// Compute at the peak of `tpp` for `ms` milliseconds, rounded up.
pub(super) fn peak(tpp: Tpp, ms: u64) -> MicroTppHours {
    // One TPP for 3,600,000 ms is 1,000,000 millionths of a TPP-hour.
    let scaled = u128::from(tpp.0)
        .saturating_mul(u128::from(ms))
        .saturating_mul(10);
    MicroTppHours(scaled.div_ceil(36))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_rounded_outwards() {
        assert_eq!(scientific_up(10u128.pow(26)), "1.00e26");
        assert_eq!(scientific_up(10u128.pow(26) + 1), "1.01e26");
        assert_eq!(scientific_up(999), "999");
        assert_eq!(peak(Tpp(15_832), 3_600_000), MicroTppHours(15_832_000_000));
        assert_eq!(peak(Tpp(1), 1), MicroTppHours(1));
    }

    #[test]
    fn a_long_list_says_how_much_it_leaves_out() {
        let (listed, left_out) = listed((0..LISTED + 7).rev().chain(0..9).collect());
        assert_eq!((listed.len(), listed.first(), left_out), (LISTED, Some(&0), 7));
    }

    #[test]
    fn another_outcome_limit_or_subject_makes_another_finding_and_nothing_else_does() {
        let finding = Finding {
            condition: "OPS-03".into(),
            outcome: Outcome::Met,
            grade: Grade::HostObserved,
            measured: Some(Quantity::at_most(5, "seconds")),
            limit: Some(Quantity::at_most(900, "seconds")),
            window: None,
            coverage: Some(Ppm::ONE),
            subjects: vec!["a".into()],
            subjects_left_out: 0,
            evidence: Vec::new(),
            evidence_left_out: 0,
            sentence: "fresh".into(),
            message_id: "OPS-03.fresh".into(),
            severity: Severity::Major,
            citation: "NIST".into(),
            rule_set: "r".into(),
            trial: false,
            catalogue: "c".into(),
            level: Some(Level::Candidate),
        };
        let gist = finding.gist();
        let changed = |change: fn(&mut Finding)| {
            let mut other = finding.clone();
            change(&mut other);
            let bytes = cbor::encode(&other);
            assert_eq!(cbor::decode_strict::<Finding>(&bytes).as_ref(), Ok(&other));
            other.gist() != gist
        };
        assert!(changed(|f| f.outcome = Outcome::NotMet));
        assert!(changed(|f| f.limit = None));
        assert!(changed(|f| f.subjects.push("b".into())));
        assert!(!changed(|f| f.measured = None));
        assert!(!changed(|f| f.evidence.push(Digest([1; 32]))));
        assert!(!changed(|f| f.sentence = "still fresh".into()));
    }

    #[test]
    fn shares_and_lists_are_written_for_people() {
        assert_eq!(decimal(Ppm(999_300)), "0.9993");
        assert_eq!(decimal(Ppm::ONE), "1");
        assert_eq!(decimal(Ppm(0)), "0");
        let items: Vec<String> = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
        assert_eq!(few(&items), "a; b; c; and 2 more");
        assert_eq!(few(&items[..2]), "a; b");
        assert_eq!(count(2, "library"), "2 libraries");
    }
}
