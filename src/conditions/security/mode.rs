//! Mode: whether developer mode is off, and confidential computing as the licence says.
//!
//! Trusts the driver for developer mode, of which no device signs anything, and devices for their mode as far as they proved their keys. A device
//! signs only while confidential computing or protected PCIe is on, and says which.

use super::super::case::{Case, no_report};
use super::super::finding::{Outcome, Quantity, Verdict, count, few};
use super::proof::{Asked, Point, asked, decided, driver_says, foreign_root, is_on};
use crate::appraisal::{Grade, NodeAtSite};
use crate::id::NodeId;
use crate::licence::ConfidentialTerm;
use std::collections::BTreeMap;

/// The modes that a device can sign.
const MODES: [&str; 3] = ["spt", "mpt", "ppcie"];

/// SEC-02: developer mode is off on every node, and confidential computing is on or off as the licence says.
pub(in crate::conditions) fn as_licensed(case: &Case<'_>) -> Verdict {
    let limit = case.term(|l| l.proof_max_age);
    let asked = limit.map_or_else(Vec::new, |limit| asked(case, limit));
    let mut by_node: BTreeMap<NodeId, Vec<&Asked<'_>>> = BTreeMap::new();
    for asked in &asked {
        by_node
            .entry(asked.seen.node.record.facts.node)
            .or_default()
            .push(asked);
    }
    let (mut wrong, mut open) = (Vec::new(), Vec::new());
    let (mut judged, mut signing) = (0usize, Vec::new());
    for node in case.nodes() {
        let facts = &node.record.facts;
        if !is_judged(case, node, &mut open) {
            continue;
        }
        judged = judged.saturating_add(1);
        let devices = by_node.get(&facts.node).map_or(&[][..], Vec::as_slice);
        let signed: Vec<_> = devices.iter().filter(|a| mode(a).is_some()).copied().collect();
        developer_mode(node, &mut wrong, &mut open);
        if let Some(term) = case.licence.confidential_compute {
            confidential(term, node, (&signed, devices.len()), &mut wrong, &mut open);
        }
        signing.extend(signed);
    }
    let foreign = foreign_root(signing.iter().filter_map(|a| Some(a.given()?.round)));
    let verdict = if !wrong.is_empty() {
        decided(Outcome::NotMet, &wrong, |words| {
            format!("{}{foreign}", few(words))
        })
        .measured(Quantity::at_least(wrong.len(), "deviations"))
    } else if !case.nodes().any(|n| n.record.facts.newest.is_some()) {
        no_report(Verdict::met("", ""))
    } else if !open.is_empty() {
        decided(Outcome::CannotTell, &open, |words| {
            format!("{}{foreign}", few(words))
        })
    } else if judged == 0 {
        Verdict::cannot_tell(
            "no-node",
            "every node that reported has left, so that no driver is in use",
        )
    } else {
        let mut sentence = format!(
            "developer mode is off on {}, as drivers say",
            count(judged, "node")
        );
        if let Some(term) = case.licence.confidential_compute {
            let signed = match signing.len() {
                0 => "as they say too".to_owned(),
                n => format!("as {} signed and the drivers say", count(n, "device")),
            };
            sentence.push_str(&format!(
                "; confidential computing is {term}, {signed}, and the licence asks for that"
            ));
        }
        let evidence = signing
            .iter()
            .filter_map(|a| a.given())
            .flat_map(|s| s.evidence());
        case.settle(
            case.since(),
            Verdict::met("mode-as-licensed", format!("{sentence}{foreign}")),
        )
        .evidence(evidence.collect::<Vec<_>>())
    };
    // Of developer mode only the driver speaks, so that nothing that is met rests on devices alone.
    let grade = match verdict.outcome {
        Outcome::NotMet if wrong.iter().all(|p| p.signed) => Grade::DeviceSigned,
        _ => Grade::DriverReported,
    };
    verdict
        .grade(grade)
        .limit(Quantity::at_most(0, "deviations"))
        .window(case.since(), case.now)
        .coverage(case.coverage())
}

/// Whether a node is in use, and its newest report can be read and speaks for it.
fn is_judged(case: &Case<'_>, node: &NodeAtSite, open: &mut Vec<Point>) -> bool {
    let facts = &node.record.facts;
    let name = &node.status.name;
    let expected = node.status.is_expected(case.now);
    let since = case.term(|l| l.freshness_max).map_or_else(
        || case.since(),
        |fresh| case.now.plus(fresh.value.saturating_neg()),
    );
    let (message, words) = match facts.readable_newest() {
        Err(_) if !expected => return false,
        Ok(newest) if !expected && newest.received < since => return false,
        Err(why) => ("node-not-heard", format!("node {name} {why}")),
        Ok(newest) if node.status.is_doubtful(newest.received) => (
            "revoked-key",
            format!("the newest report of node {name} came under a key that was revoked by then"),
        ),
        Ok(_) => return true,
    };
    open.push(point(message, words, node, false));
    false
}

fn point(message: &'static str, words: String, node: &NodeAtSite, signed: bool) -> Point {
    let facts = &node.record.facts;
    Point {
        message,
        words,
        subjects: vec![facts.node.to_string()],
        evidence: facts.newest.iter().map(|n| n.digest).collect(),
        signed,
    }
}

fn developer_mode(node: &NodeAtSite, wrong: &mut Vec<Point>, open: &mut Vec<Point>) {
    let name = &node.status.name;
    match driver_says(node) {
        Some(driver) if driver.developer_mode => {
            let words = format!(
                "developer mode is on on node {name}, as its driver says, which voids what its devices protect"
            );
            wrong.push(point("developer-mode", words, node, false));
        }
        Some(_) => {}
        None => {
            let words = format!("the driver of node {name} says nothing of developer mode");
            open.push(point("mode-not-told", words, node, false));
        }
    }
}

/// Judges a node whose reporting devices are `devices`, of which `signed` proved that they are used with confidential computing.
fn confidential(
    term: ConfidentialTerm,
    node: &NodeAtSite,
    (signed, devices): (&[&Asked<'_>], usize),
    wrong: &mut Vec<Point>,
    open: &mut Vec<Point>,
) {
    let name = &node.status.name;
    let by_devices = |n: usize| {
        format!(
            "confidential computing is on on node {name}, as {} signed",
            count(n, "device")
        )
    };
    let by_driver =
        |word: &str| format!("confidential computing is {word} on node {name}, as its driver says");
    let asks = format!("the licence asks for {term}");
    let says = driver_says(node).map(is_on);
    match (term, signed.len(), says) {
        (ConfidentialTerm::On, n, _) if n > 0 && n == devices => {}
        (ConfidentialTerm::Off, n, _) if n > 0 => {
            let mut point = point(
                "confidential-on",
                format!("{}, and {asks}", by_devices(n)),
                node,
                true,
            );
            point
                .evidence
                .extend(signed.iter().filter_map(|a| a.given()).flat_map(|s| s.evidence()));
            wrong.push(point);
        }
        (ConfidentialTerm::On, _, Some(false)) => {
            let words = format!("{}, and {asks}", by_driver("off"));
            wrong.push(point("confidential-off", words, node, false));
        }
        (ConfidentialTerm::Off, _, Some(true)) => {
            let words = format!("{}, and {asks}", by_driver("on"));
            wrong.push(point("confidential-on", words, node, false));
        }
        (ConfidentialTerm::On, _, Some(true)) | (ConfidentialTerm::Off, _, Some(false)) => {}
        (_, _, None) => {
            let words =
                format!("the driver of node {name} says nothing of confidential computing, and {asks}");
            open.push(point("mode-not-told", words, node, false));
        }
    }
}

/// The mode that a device proved to be used in, if it is one that a device can only be in with confidential computing.
fn mode<'a>(asked: &Asked<'a>) -> Option<&'a str> {
    let mode = asked.given()?.device.mode.as_deref();
    mode.filter(|m| MODES.contains(m))
}
