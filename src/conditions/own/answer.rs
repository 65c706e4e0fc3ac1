//! What a policy answers, and what that is worth.

use super::super::case::Case;
use super::super::finding::{Finding, Outcome, Verdict, count};
use crate::appraisal::Grade;
use crate::document::misleads;
use crate::id::Digest;
use crate::licence::OwnCondition;
use crate::time::UnixSeconds;
use std::collections::BTreeSet;

/// What a policy may answer. That something is waived, a licence says.
pub(in crate::conditions) const OUTCOMES: [Outcome; 4] = [
    Outcome::Met,
    Outcome::NotMet,
    Outcome::CannotTell,
    Outcome::NotApplicable,
];
/// The longest sentence of a policy, in characters.
const MAX_SENTENCE: usize = 600;
/// The longest name of a subject.
const MAX_SUBJECT: usize = 120;

/// What a policy answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::conditions) struct Answer {
    /// The outcome; none where the rule has no value.
    pub(in crate::conditions) outcome: Option<Outcome>,
    /// The sentence.
    pub(in crate::conditions) sentence: Option<String>,
    /// What it concerns.
    pub(in crate::conditions) subjects: Vec<String>,
    /// Whether it is a plain yes or no.
    pub(in crate::conditions) is_bare: bool,
    /// The first name that it asked a document for and that the document does not hold.
    pub(in crate::conditions) unseen: Option<String>,
    /// The findings that it looked at, by their conditions; none where it may have looked at all.
    pub(in crate::conditions) looked_at: Option<BTreeSet<String>>,
}

impl Answer {
    pub(in crate::conditions) fn bare(holds: bool) -> Self {
        Self {
            outcome: Some(if holds { Outcome::Met } else { Outcome::NotMet }),
            is_bare: true,
            ..Self::default()
        }
    }
}

/// What a policy was given, as far as a verdict must say it.
pub(super) struct Given {
    /// What it rests on.
    pub(super) grade: Grade,
    pub(super) evidence: Vec<Digest>,
    pub(super) window: (UnixSeconds, UnixSeconds),
    /// Why the answer cannot be more than `cannot tell`, with the message that says so: for any answer, and for `met`.
    pub(super) none: Option<(&'static str, String)>,
    pub(super) partly: Option<(&'static str, String)>,
}

/// The verdict where a policy cannot be read.
pub(super) fn unreadable(what: &str) -> Verdict {
    let sentence = format!("its policy {what}; a licence with one that can be read would settle it");
    Verdict::cannot_tell("policy-unreadable", sentence).grade(Grade::Declared)
}

/// The verdict where a policy came to no answer that can be used.
pub(super) fn stopped(why: &str) -> Verdict {
    let sentence = format!("its policy {why}; a licence with one that comes to an end would settle it");
    Verdict::cannot_tell("policy-stopped", sentence).grade(Grade::Declared)
}

/// What the findings that a policy looked at rest on.
pub(super) fn read_facts(case: &Case<'_>, published: &[Finding], answer: &Answer) -> Given {
    let looked_at = |f: &&Finding| {
        answer
            .looked_at
            .as_ref()
            .is_none_or(|ids| ids.contains(&f.condition))
    };
    let read: Vec<&Finding> = published.iter().filter(looked_at).collect();
    let windows = || read.iter().filter_map(|f| f.window);
    Given {
        grade: read
            .iter()
            .map(|f| f.grade)
            .fold(Grade::DriverReported, Grade::max),
        evidence: read.iter().flat_map(|f| f.evidence.iter().copied()).collect(),
        window: (
            windows().map(|w| w.from).min().unwrap_or_else(|| case.since()),
            case.now,
        ),
        none: None,
        partly: None,
    }
}

/// What an answer comes to.
pub(super) fn weighed(case: &Case<'_>, own: &OwnCondition, answer: Answer, given: Given) -> Verdict {
    let verdict = said(own, &answer);
    let held = |(message, why): (&'static str, String)| {
        let sentence = format!("{why}; as far as was seen, {}", verdict.sentence);
        Verdict {
            outcome: Outcome::CannotTell,
            message,
            sentence,
            ..verdict.clone()
        }
    };
    let verdict = match (verdict.outcome, given.none, given.partly) {
        (_, Some(none), _) => held(none),
        (Outcome::Met, None, Some(partly)) => held(partly),
        (Outcome::Met, None, None) => case.hold_devices(verdict),
        _ => verdict,
    };
    verdict
        .grade(given.grade)
        .evidence(given.evidence)
        .window(given.window.0, given.window.1)
        .coverage(case.coverage())
        .subjects(answer.subjects)
}

/// What an answer says, by itself.
fn said(own: &OwnCondition, answer: &Answer) -> Verdict {
    let title = &own.title;
    let longest = answer.subjects.iter().map(|s| s.chars().count()).max();
    let long = answer.sentence.as_ref().map_or(0, |s| s.chars().count());
    if long > MAX_SENTENCE || longest > Some(MAX_SUBJECT) {
        let why = format!(
            "answered with a sentence of more than {MAX_SENTENCE} characters or a subject of more than {MAX_SUBJECT}"
        );
        return stopped(&why);
    }
    let unseen = answer.unseen.as_deref().map(one_line);
    let asked_for = unseen.map_or_else(String::new, |name| {
        format!("; it asked for `{name}`, which what it was given does not hold")
    });
    let sentence = |plain: &str| match answer.sentence.as_deref().map(one_line) {
        Some(sentence) if !sentence.is_empty() => sentence,
        _ => format!("{plain} the licence's own policy: {title}"),
    };
    match answer.outcome {
        Some(Outcome::Met) => Verdict::met("policy-met", sentence("met by")),
        Some(Outcome::NotMet) if answer.is_bare && !asked_for.is_empty() => Verdict::cannot_tell(
            "policy-asks-for-more",
            format!("the licence's own policy ({title}) answers no{asked_for}, so that its no may be a gap"),
        ),
        Some(Outcome::NotMet) => Verdict::not_met("policy-not-met", sentence("not met by")),
        Some(Outcome::NotApplicable) => {
            Verdict::not_applicable("policy-not-applicable", sentence("it concerns nothing here by"))
        }
        Some(_) => Verdict::cannot_tell("policy-cannot-tell", sentence("it cannot be told by")),
        None => Verdict::cannot_tell(
            "policy-undefined",
            format!(
                "the licence's own policy ({title}) comes to no answer{asked_for}; {} under `{}` would settle it",
                "an outcome", own.rule
            ),
        ),
    }
}

/// A text of a policy for people: one line, and nothing that turns or hides what stands beside it.
fn one_line(text: &str) -> String {
    let hides = |c: char| misleads(c) || matches!(c, '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}');
    let plain: String = text
        .chars()
        .filter(|c| !hides(*c))
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// How a sentence counts devices that have not signed.
pub(super) fn unsigned(silent: usize, all: usize) -> String {
    format!(
        "{silent} of {} seen here signed nothing that holds, so that what they are cannot be told",
        count(all, "device")
    )
}
