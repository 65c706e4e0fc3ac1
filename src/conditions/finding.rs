//! What a condition says: its outcome, and everything that a reader needs to check it.

use crate::appraisal::Grade;
use crate::id::Digest;
use crate::time::UnixSeconds;
use crate::unit::{Grouped, MicroTppHours, Ppm, Tpp};
use serde::Serialize;

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

crate::code! {
    /// How much depends on a condition.
    pub enum Severity {
        /// Shipments stop, and a person is told within a day.
        Critical = 0 => "critical",
        /// A plan is due within fifteen days.
        Major = 1 => "major",
        /// Noted.
        Minor = 2 => "minor",
        /// It can clear a site, and its failure means nothing.
        PassOnly = 3 => "pass-only",
    }
}

/// A quantity with its bounds and unit. Numbers are decimal texts, because 10^26 does not fit a JSON number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Quantity {
    /// The least; of a limit, what must be reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lower: Option<String>,
    /// The most; of a limit, what must not be passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upper: Option<String>,
    /// The unit.
    pub unit: &'static str,
}

impl Quantity {
    /// An exact count.
    #[must_use]
    pub fn exactly(value: impl std::fmt::Display, unit: &'static str) -> Self {
        let text = value.to_string();
        Self {
            lower: Some(text.clone()),
            upper: Some(text),
            unit,
        }
    }

    /// A measured interval.
    #[must_use]
    pub fn between(lower: impl std::fmt::Display, upper: impl std::fmt::Display, unit: &'static str) -> Self {
        Self {
            lower: Some(lower.to_string()),
            upper: Some(upper.to_string()),
            unit,
        }
    }

    /// Something of which only the least is known, or a limit that must be reached.
    #[must_use]
    pub fn at_least(value: impl std::fmt::Display, unit: &'static str) -> Self {
        Self {
            lower: Some(value.to_string()),
            upper: None,
            unit,
        }
    }

    /// Something of which only the most is known, or a limit that must not be passed.
    #[must_use]
    pub fn at_most(value: impl std::fmt::Display, unit: &'static str) -> Self {
        Self {
            lower: None,
            upper: Some(value.to_string()),
            unit,
        }
    }
}

/// The time that a finding speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Window {
    /// Its start.
    pub from: UnixSeconds,
    /// Its end.
    pub to: UnixSeconds,
}

/// What one condition says about one site.
///
/// It serialises to the keys of `status --format json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The condition.
    pub condition: &'static str,
    /// What it comes to.
    pub outcome: Outcome,
    /// What the finding rests on: the weakest of its inputs.
    pub grade: Grade,
    /// What was measured.
    pub measured: Option<Quantity>,
    /// Against what.
    pub limit: Option<Quantity>,
    /// Over which time.
    pub window: Option<Window>,
    /// The share of what should have been seen that was seen, as a decimal text.
    #[serde(serialize_with = "share")]
    pub coverage: Option<Ppm>,
    /// Devices and nodes that it concerns, sorted; the first [`LISTED`] of them.
    pub subjects: Vec<String>,
    /// How many more it concerns.
    pub subjects_left_out: usize,
    /// Digests of the reports that it rests on, sorted; the first [`LISTED`] of them.
    pub evidence: Vec<Digest>,
    /// How many more it rests on.
    pub evidence_left_out: usize,
    /// The finding in words.
    pub sentence: String,
    /// A stable name for this kind of finding.
    pub message_id: String,
    /// How much depends on it.
    #[serde(skip)]
    pub severity: Severity,
    /// The source of the condition.
    #[serde(skip)]
    pub citation: &'static str,
    /// The rule set that was applied.
    #[serde(skip)]
    pub rule_set: String,
    /// Whether the licence is a trial.
    #[serde(skip)]
    pub trial: bool,
}

impl Finding {
    /// Whether a person has to act.
    #[must_use]
    pub fn needs_a_person(&self) -> bool {
        matches!(self.outcome, Outcome::NotMet | Outcome::CannotTell) && self.severity != Severity::PassOnly
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
pub(super) fn listed<T: Ord>(mut items: Vec<T>) -> (Vec<T>, usize) {
    items.sort();
    items.dedup();
    let left_out = items.len().saturating_sub(LISTED);
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
