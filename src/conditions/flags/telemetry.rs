//! Flags that rest on the findings of other conditions, and on what devices report.
//!
//! Trusts the findings that stand in the case. Does not establish what agents observed within one report, nor whether the path through the network
//! changed: neither is among the facts.

use super::super::case::Case;
use super::super::finding::{Finding, Outcome, few};
use super::customer::diligence;
use super::{Fact, Look};
use crate::appraisal::{Grade, HeardStatement, IdentityField};
use crate::statement::TrainingDeclaration;
use crate::time::{UnixSeconds, span};
use crate::unit::Grouped;

/// What the dates of a finding are those of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dates {
    /// The statements that it rests on.
    Papers,
    /// The time in which it was so, which is its window, and the statements that it was held against.
    Time,
    /// The end of its window alone: how much of that time it took to be so is not told.
    End,
}

/// What the finding of a condition says of a flag. A waiver of the condition resolves no flag: its issuer may say so in a resolution.
fn by_condition(case: &Case<'_>, id: &str, dates: Dates) -> Look {
    let mut look = Look::default();
    let Some(finding) = case.found.iter().find(|f| f.condition == id) else {
        return look;
    };
    let (pile, message) = match finding.outcome {
        Outcome::NotMet => (&mut look.raised, "condition-not-met"),
        Outcome::CannotTell | Outcome::Waived => (&mut look.open, "condition-open"),
        Outcome::Met | Outcome::NotApplicable => (&mut look.clear, "condition-met"),
    };
    pile.push(fact(case, finding, message, dates));
    look
}

fn fact(case: &Case<'_>, finding: &Finding, message: &'static str, dates: Dates) -> Fact {
    let rests_on = |s: &&HeardStatement| finding.evidence.binary_search(&s.statement.digest).is_ok();
    let issued = || {
        case.on_file()
            .filter(rests_on)
            .map(|s| s.statement.header.issued.0)
    };
    let (first, last) = (issued().min(), issued().max());
    // What is open has no time in which it was so.
    let timed = dates != Dates::Papers && finding.outcome == Outcome::NotMet;
    let window = finding.window.filter(|_| timed);
    Fact {
        grade: finding.grade,
        // What a paper says began with the paper, and nothing was found before there was something to find it by.
        since: match dates {
            Dates::Papers => finding.window.map(|w| w.from),
            Dates::Time => window.map(|w| w.from).max(first),
            Dates::End => None,
        },
        newest: window.map(|w| w.to).max(last),
        evidence: finding.evidence.clone(),
        ..Fact::new(
            message,
            format!(
                "{} is {}: {}",
                finding.condition, finding.outcome, finding.sentence
            ),
        )
    }
}

/// FLG-09.
pub(super) fn capacity_not_affirmed(case: &Case<'_>) -> Look {
    let found = diligence(case, |said| match said.affirms_capacity {
        true => (
            false,
            "capacity",
            "it affirms that it has power, cooling and space for the items".to_owned(),
        ),
        false => (
            true,
            "capacity",
            "it does not affirm that it has power, cooling and space for the items".to_owned(),
        ),
    });
    found.and(by_condition(case, "PHY-02", Dates::Papers))
}

/// FLG-10.
pub(super) fn security_lacking(case: &Case<'_>) -> Look {
    let areas = ["PHY-01", "SEC-07", "PHY-04"];
    areas.into_iter().fold(Look::default(), |look, id| {
        look.and(by_condition(case, id, Dates::Papers))
    })
}

/// FLG-13.
pub(super) fn helps_to_train(case: &Case<'_>) -> Look {
    let found = diligence(case, |said| match said.trains_controlled_model {
        true => (
            true,
            "controlled-model",
            "it would train a model of ECCN 4E091 for a party from elsewhere".to_owned(),
        ),
        false => (
            false,
            "controlled-model",
            "it would train no model of ECCN 4E091 for a party from elsewhere".to_owned(),
        ),
    });
    found
        .and(by_condition(case, "TRN-05", Dates::Time))
        .and(large_models(case))
}

/// Models that are declared to take as many operations as a limit allows none to take.
fn large_models(case: &Case<'_>) -> Look {
    let mut look = Look::default();
    let Some(limit) = case.term(|l| l.ops_limit) else {
        return look;
    };
    for paper in case.papers().holding::<TrainingDeclaration>(case.now) {
        let said = paper.claims;
        let base = said.base_operations.map_or(0, |o| o.0);
        let operations = said.operations.0.saturating_add(base);
        if operations >= limit.value.0 {
            let words = format!(
                "by the {}, a model takes {} operations, and {} sets {}",
                paper.label(),
                Grouped(operations),
                limit.from,
                Grouped(limit.value.0)
            );
            look.raised.push(Fact {
                since: Some(paper.header.issued.0),
                newest: Some(paper.header.issued.0),
                evidence: vec![paper.digest],
                ..Fact::new("large-model", words)
            });
        }
    }
    look
}

/// FLG-15.
pub(super) fn shows_itself(case: &Case<'_>) -> Look {
    if !case.nodes().any(|n| n.record.facts.newest.is_some()) {
        let words = "no node of this site has reported, so nothing was seen";
        return Look {
            open: vec![Fact::new("no-report", words)],
            ..Look::default()
        };
    }
    let mut look = by_condition(case, "INV-03", Dates::Time);
    for (id, dates) in [("TRN-07", Dates::End), ("PHY-03", Dates::Time)] {
        look.raised.extend(by_condition(case, id, dates).raised);
    }
    look.raised.extend(fell_silent(case));
    look.raised.extend(renamed(case));
    let words = "no device shows another serial number than before, and the fleet did not fall silent soon after it began to report";
    look.clear.push(Fact {
        grade: Grade::DriverReported,
        evidence: case.newest_reports(),
        ..Fact::new("nothing-odd", words)
    });
    look
}

/// That no node has reported for longer than a device may be unseen, after the fleet reported for less than the window of findings.
fn fell_silent(case: &Case<'_>) -> Option<Fact> {
    let soon = case.term(|l| l.finding_window)?.value;
    let silence = case.term(|l| l.missing_after)?.value;
    let facts = || case.expected().map(|n| &n.record.facts);
    let first = facts().filter_map(|f| f.earliest).min()?;
    let last = facts().filter_map(|f| Some(f.newest.as_ref()?.received)).max()?;
    let (reported, silent) = (last.since(first), case.due().since(last));
    (silent > silence && reported < soon).then(|| Fact {
        grade: Grade::HostObserved,
        since: Some(last),
        newest: Some(last),
        evidence: case.newest_reports(),
        ..Fact::new(
            "silent-soon",
            format!(
                "the fleet reported for {} in all and has been silent for {}, since {last}",
                span(reported),
                span(silent)
            ),
        )
    })
}

/// Devices that show another serial number than before under the same UUID.
fn renamed(case: &Case<'_>) -> Option<Fact> {
    let since = case.since();
    let mut changes: Vec<(UnixSeconds, String, crate::id::Digest)> = Vec::new();
    for seen in case.seen_since(since) {
        let revoked = seen.node.status.revoked_from;
        let sure = seen.device.changes.iter().filter(|c| {
            c.field == IdentityField::Serial && c.at >= since && revoked.is_none_or(|from| c.at < from)
        });
        changes.extend(sure.map(|c| {
            let words = format!("{} had the serial number {} until {}", seen.label(), c.was, c.at);
            (c.at, words, c.report)
        }));
    }
    let first = changes.iter().map(|(at, ..)| *at).min()?;
    let words: Vec<String> = changes.iter().map(|(_, words, _)| words.clone()).collect();
    Some(Fact {
        grade: Grade::DriverReported,
        since: Some(first),
        newest: changes.iter().map(|(at, ..)| *at).max(),
        evidence: changes.iter().map(|(.., report)| *report).collect(),
        ..Fact::new("serial-changed", few(&words))
    })
}
