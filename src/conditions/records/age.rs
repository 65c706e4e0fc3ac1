//! Age: how old the newest report of each node is, and how surely its time is known.
//!
//! Decides: whether reports are new enough, and whether each was made between two moments that are the verifier's own. Trusts a node's clock as far as
//! its reports came when they should. Does not establish what a node that sends nothing does.

use super::super::case::{Case, Term, no_report};
use super::super::finding::{Quantity, Verdict, count, few};
use crate::appraisal::{Grade, Newest, NodeAtSite};
use crate::id::Digest;
use crate::time::span;

/// What is found of the newest report of each node that is expected to send any.
#[derive(Default)]
struct Ages {
    /// What breaks the limit, in words.
    wrong: Vec<String>,
    /// What cannot be told, likewise.
    open: Vec<String>,
    /// The nodes of either.
    subjects: Vec<String>,
    /// The reports that were judged.
    evidence: Vec<Digest>,
    /// The most that was measured of one of them, in seconds.
    most: i64,
}

impl Ages {
    /// Judges them one by one; one that cannot be read is left open.
    fn of(case: &Case<'_>, mut judge: impl FnMut(&mut Self, &NodeAtSite, &Newest)) -> Self {
        let mut ages = Self::default();
        for node in case.expected() {
            match node.record.facts.readable_newest() {
                Ok(newest) => {
                    ages.evidence.push(newest.digest);
                    judge(&mut ages, node, newest);
                }
                Err(why) => ages.leave_open(node, format!("node {} {why}", node.status.name)),
            }
        }
        ages
    }

    fn find_wrong(&mut self, node: &NodeAtSite, what: String) {
        self.wrong.push(what);
        self.subjects.push(node.record.facts.node.to_string());
    }

    fn leave_open(&mut self, node: &NodeAtSite, why: String) {
        self.open.push(why);
        self.subjects.push(node.record.facts.node.to_string());
    }

    /// How many nodes' reports were judged, in words.
    fn nodes(&self) -> String {
        count(self.evidence.len(), "node")
    }

    /// Whether there is no report at all to judge, and none that cannot be read.
    fn are_none(&self, case: &Case<'_>) -> bool {
        self.evidence.is_empty() && !case.nodes().any(|n| n.record.facts.damaged.is_some())
    }

    /// What they come to: `wrong` and `open` are kinds of sentences, `settles` what would close what is open, `met` the sentence that says that
    /// all is well, with its kind.
    fn verdict(
        self,
        limit: &Term<i64>,
        (wrong, open): (&'static str, &'static str),
        settles: &str,
        (kind, met): (&'static str, String),
    ) -> Verdict {
        let rule = format!("{} allows {}", limit.from, span(limit.value));
        let verdict = if !self.wrong.is_empty() {
            Verdict::not_met(wrong, format!("{}; {rule}", few(&self.wrong)))
        } else if !self.open.is_empty() {
            Verdict::cannot_tell(open, format!("{}{settles}; {rule}", few(&self.open)))
        } else {
            Verdict::met(kind, format!("{met}; {rule}"))
        };
        verdict
            .measured(Quantity::at_most(self.most, "seconds"))
            .limit(Quantity::at_most(limit.value, "seconds"))
            .subjects(self.subjects)
            .evidence(self.evidence)
    }
}

/// OPS-03: the age of each node's newest report, unless its clock is too odd to tell, or may be.
pub(in crate::conditions) fn freshness(case: &Case<'_>) -> Verdict {
    let Some(limit) = case.term(|l| l.freshness_max) else {
        return Verdict::no_limit("how old a node's newest report may be");
    };
    let Some(tolerance) = case.term(|l| l.clock_tolerance) else {
        return Verdict::no_limit("how far a node's clock may be off");
    };
    let ages = Ages::of(case, |ages, node, newest| {
        let age = case.due().since(newest.end);
        ages.most = ages.most.max(age);
        let odd = odd_clock(case, node, tolerance.value);
        if age > limit.value && case.due() >= case.licence.valid.from {
            // An odd clock does not excuse an old report, or turning it back would; it is named beside the age.
            let oddity = odd.map_or_else(String::new, |o| format!(" ({o})"));
            let name = &node.status.name;
            let old = format!("the newest report of node {name} is {} old{oddity}", span(age));
            ages.find_wrong(node, old);
        } else if let Some(why) = odd.or_else(|| withheld(case, node)) {
            ages.leave_open(node, why);
        }
    });
    let verdict = if ages.are_none(case) {
        no_report(Verdict::met("", "")).subjects(ages.subjects)
    } else {
        let met = format!(
            "the newest report of each of {} is at most {} old",
            ages.nodes(),
            span(ages.most)
        );
        ages.verdict(&limit, ("stale", "age-unknown"), "", ("fresh", met))
    };
    verdict
        .grade(Grade::HostObserved)
        .window(case.due().plus(limit.value.saturating_neg()), case.due())
        .coverage(case.fresh_share())
}

/// OPS-04: the newest report of each node was made between a challenge of the verifier's and its receipt, and these lie close together.
///
/// Both moments are the verifier's own. A report that was held back carries an old challenge: its time is known no better than that.
pub(in crate::conditions) fn time_bounded(case: &Case<'_>) -> Verdict {
    let Some(limit) = case.term(|l| l.time_bracket_max) else {
        return Verdict::no_limit(
            "how wide the time may be into which a report is bracketed (`time_bracket_max`)",
        );
    };
    let mut from = case.now;
    let ages = Ages::of(case, |ages, node, newest| {
        let name = &node.status.name;
        from = from.min(newest.given.unwrap_or(newest.received));
        let Some(given) = newest.given else {
            let why = format!(
                "the newest report of node {name} answers no challenge that the verifier knows to have given it"
            );
            return ages.leave_open(node, why);
        };
        let width = newest.received.since(given);
        ages.most = ages.most.max(width);
        if width > limit.value {
            let wide = format!(
                "the newest report of node {name} was made some time between {given} and {}, which is {}",
                newest.received,
                span(width)
            );
            ages.find_wrong(node, wide);
        }
    });
    if ages.are_none(case) {
        return no_report(Verdict::met("", "")).grade(Grade::Derived);
    }
    let met = format!(
        "the newest report of each of {} was made between a challenge of the verifier and its receipt, at most {} apart",
        ages.nodes(),
        span(ages.most)
    );
    let settles = "; a report that answers a challenge would settle it";
    let kinds = ("bracket-too-wide", "not-bracketed");
    ages.verdict(&limit, kinds, settles, ("bracketed", met))
        .grade(Grade::Derived)
        .window(from, case.now)
        .coverage(case.fresh_share())
}

/// Why it cannot be told whether a node's clock was odd, if so: a report that did not come may be the one that shows it.
fn withheld(case: &Case<'_>, node: &NodeAtSite) -> Option<String> {
    let missing = node.record.facts.chain.missing_since(case.since());
    (missing > 0).then(|| {
        format!(
            "node {} has not delivered {}, which may show that its clock was odd, so the age of its reports cannot be told",
            node.status.name,
            count(usize::try_from(missing).unwrap_or(usize::MAX), "report")
        )
    })
}

/// Why the age of a node's reports cannot be told from its clock, if so.
fn odd_clock(case: &Case<'_>, node: &NodeAtSite, tolerance: i64) -> Option<String> {
    let tolerance = tolerance.unsigned_abs();
    let since = case.since();
    let events = &node.record.facts.clock.events;
    let unkept = events.unkept.filter(|t| *t >= since).map(|_| {
        format!(
            "the clock of node {} was odd more often than is kept, so the age of its reports cannot be told",
            node.status.name
        )
    });
    events
        .kept
        .iter()
        .rev()
        .filter(|e| e.at >= since && e.seconds > tolerance)
        .map(|e| {
            format!(
                "the clock of node {} {} by {} s (report received {}), so the age of its reports cannot be told",
                node.status.name, e.kind, e.seconds, e.at
            )
        })
        .next()
        .or(unkept)
}
