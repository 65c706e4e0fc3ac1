//! Security: who signed, whether anything is missing in between, and through what the driver was asked.

use super::super::case::{Case, no_report};
use super::super::finding::{Quantity, Verdict, count, few};
use crate::appraisal::{ChainOpening, ClockOddity, Grade, NodeAtSite, OpeningKind};
use crate::report::KeyProtection;
use crate::telemetry::LibraryOrigin;
use crate::time::{UnixSeconds, span};

/// NVIDIA's number among PCI vendors; NVML is the library that its driver is asked through.
const NVIDIA: u16 = 0x10de;

/// SEC-04: every node's key is held as the licence demands, and is not revoked.
///
/// A key in a file can be copied, so it does not meet the condition unless the licence accepts files. A node that says
/// "TPM" is believed only as far as enrolment proved it.
pub(in crate::conditions) fn key_protected(case: &Case<'_>) -> Verdict {
    let Some(least) = case.term(|l| l.key_protection_min) else {
        return Verdict::no_limit("what must hold a node's key");
    };
    let (mut wrong, mut open, mut subjects, mut evidence) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut judged = 0usize;
    let mut weakest: Option<KeyProtection> = None;
    for node in case.nodes() {
        let facts = &node.record.facts;
        let name = &node.status.name;
        let newest = match facts.readable_newest() {
            Ok(newest) => newest,
            Err(why) => {
                if node.status.is_expected(case.now) {
                    open.push(format!("node {name} {why}"));
                    subjects.push(facts.node.to_string());
                }
                continue;
            }
        };
        // A node that left is judged by what it sent in the window; one whose key is revoked, by whether it went on. What came
        // before anyone could know of the revocation accuses nobody.
        let revoked = node.status.revoked_from.filter(|t| *t <= case.now);
        let gone = !node.status.is_expected(case.now) && newest.received < case.since();
        if gone || revoked.is_some_and(|t| newest.received < t) {
            continue;
        }
        judged = judged.saturating_add(1);
        weakest = Some(weakest.map_or(newest.key_protection, |w| w.min(newest.key_protection)));
        if let Some(from) = revoked {
            let received = newest.received;
            match node.status.revoked_at {
                Some(at) if at < received => {
                    wrong.push(format!("a report of node {name} was taken on {received}, after it was revoked on {at}"));
                }
                _ => open.push(format!(
                    "node {name} reported until {received}, and its key was revoked afterwards, from {from} on; who signed since then \
                     cannot be told"
                )),
            }
        } else if node.status.approved.is_none() {
            open.push(format!("node {name} reports and is not approved"));
        } else if least.value == KeyProtection::File {
            continue;
        } else if newest.key_protection == KeyProtection::File {
            wrong.push(format!(
                "the key of node {name} lies in a file and could be copied"
            ));
        } else if !node.status.key_certified {
            open.push(format!(
                "node {name} says that a TPM holds its key, and enrolment did not prove it"
            ));
        } else {
            continue;
        }
        subjects.push(facts.node.to_string());
        evidence.push(newest.digest);
    }
    let demand = match least.value {
        KeyProtection::Tpm => format!("{} asks for a TPM", least.from),
        KeyProtection::File => format!("{} accepts a file", least.from),
    };
    let verdict = if !case.nodes().any(|n| n.record.facts.newest.is_some()) {
        no_report(Verdict::met("", ""))
    } else if judged == 0 && open.is_empty() {
        Verdict::cannot_tell(
            "no-key-in-use",
            "every node that reported has left or its key is revoked, so that no key is in use",
        )
    } else if !wrong.is_empty() {
        Verdict::not_met("key-not-protected", format!("{}; {demand}", few(&wrong)))
    } else if !open.is_empty() {
        Verdict::cannot_tell("key-not-proven", format!("{}; {demand}", few(&open)))
    } else {
        let accepted = match least.value {
            KeyProtection::File => "",
            KeyProtection::Tpm => " that a TPM holds",
        };
        let sentence = format!(
            "the reports of {} are signed by an approved key{accepted}; {demand}",
            count(judged, "node")
        );
        Verdict::met("key-protected", sentence).evidence(case.newest_reports())
    };
    let verdict = match weakest {
        Some(weakest) => verdict.measured(Quantity::at_least(weakest, "holder of the key, as nodes say")),
        None => verdict,
    };
    verdict
        .grade(Grade::HostObserved)
        .limit(Quantity::at_least(least.value, "holder of the key"))
        .window(case.since(), case.now)
        .subjects(subjects)
        .evidence(evidence)
}

/// SEC-06: no hole, no fork, no unexplained beginning, and no time told twice.
pub(in crate::conditions) fn chain_unbroken(case: &Case<'_>) -> Verdict {
    let since = case.since();
    let (mut broken, mut open, mut subjects, mut evidence) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut missing = 0u64;
    for node in case.nodes() {
        let (before, open_before) = (broken.len(), open.len());
        let lacks = breaks(case, node, &mut broken, &mut open, &mut evidence);
        missing = missing.saturating_add(lacks);
        if (before, open_before) != (broken.len(), open.len()) {
            subjects.push(node.record.facts.node.to_string());
        }
    }
    let verdict = if !broken.is_empty() {
        Verdict::not_met("chain-broken", few(&broken))
    } else if !open.is_empty() {
        Verdict::cannot_tell("state-lost", few(&open))
    } else {
        let reports = case
            .nodes()
            .fold(0u64, |n, a| n.saturating_add(a.record.facts.reports));
        let reports = count(usize::try_from(reports).unwrap_or(usize::MAX), "report");
        let sentence = match time_between(case) {
            None => format!(
                "each of {reports} follows the one before it, without a hole, a fork or a new beginning"
            ),
            Some(time) => format!(
                "each of {reports} follows the one before it, without a fork or a new beginning; {time} lie between reports, and \
                 none speaks of it"
            ),
        };
        return case.settle(
            since,
            Verdict::met("chain-unbroken", sentence)
                .none_of("reports missing")
                .grade(Grade::HostObserved),
        );
    };
    verdict
        .grade(Grade::HostObserved)
        .measured(Quantity::at_least(missing, "reports missing"))
        .limit(Quantity::at_most(0, "reports missing"))
        .window(since, case.now)
        .coverage(case.coverage())
        .subjects(subjects)
        .evidence(evidence)
}

/// How much time lies between reports that follow each other, of all nodes, in words, if any does.
fn time_between(case: &Case<'_>) -> Option<String> {
    let since = case.since();
    let logs = || case.nodes().map(|n| &n.record.facts.clock.holes);
    let seconds = logs()
        .flat_map(|log| &log.kept)
        .filter(|hole| hole.at >= since)
        .fold(0u64, |all, hole| all.saturating_add(hole.seconds));
    let more = logs().any(|log| log.unkept.is_some_and(|t| t >= since));
    let at_least = if more { "at least " } else { "" };
    (seconds > 0).then(|| {
        let time = span(i64::try_from(seconds).unwrap_or(i64::MAX));
        format!("{at_least}{time}")
    })
}

/// What breaks a node's chain, and what leaves open whether it is whole; returns how many reports are surely missing. What came
/// under a revoked key breaks nothing.
fn breaks(
    case: &Case<'_>,
    node: &NodeAtSite,
    broken: &mut Vec<String>,
    open: &mut Vec<String>,
    evidence: &mut Vec<crate::id::Digest>,
) -> u64 {
    let since = case.since();
    let name = &node.status.name;
    let chain = &node.record.facts.chain;
    let mut missing = 0u64;
    let mut accuse = |at: UnixSeconds, words: String| {
        if node.status.is_doubtful(at) {
            open.push(format!("{words}, under a key that was revoked by then"));
        } else {
            broken.push(words);
        }
    };
    for fork in chain.forks.iter().filter(|f| f.at >= since) {
        let words = format!(
            "node {name} signed two different reports for one place in its chain (received {})",
            fork.at
        );
        accuse(fork.at, words);
        evidence.extend([fork.held, fork.offered]);
    }
    let lost = |o: &ChainOpening| o.kind == OpeningKind::Successor;
    for opening in chain.openings.iter().filter(|o| o.at >= since && !lost(o)) {
        let words = format!(
            "node {name} reported on a {} (received {})",
            opening.kind, opening.at
        );
        accuse(opening.at, words);
        evidence.push(opening.report);
    }
    for gap in chain.gaps.iter().filter(|g| g.at >= since) {
        let words = format!(
            "{} of node {name} {} missing before the one received {}",
            count(usize::try_from(gap.missing).unwrap_or(usize::MAX), "report"),
            if gap.missing == 1 { "is" } else { "are" },
            gap.at
        );
        accuse(gap.at, words);
        let sure = if node.status.is_doubtful(gap.at) {
            0
        } else {
            gap.missing
        };
        missing = missing.saturating_add(sure);
        evidence.push(gap.report);
    }
    if let Some(at) = chain.unkept.filter(|t| *t >= since) {
        accuse(at, format!("node {name} broke its chain more often than is kept"));
    }
    let overlaps = &node.record.facts.clock.overlaps;
    let (told_twice, over_boots): (Vec<_>, Vec<_>) = overlaps
        .kept
        .iter()
        .filter(|e| e.at >= since)
        .partition(|e| e.kind == ClockOddity::Overlap);
    for event in told_twice {
        let seconds = event.seconds;
        let words = format!("node {name} signed two reports that speak of the same {seconds} s");
        accuse(event.at, words);
        evidence.push(event.report);
    }
    for opening in chain.openings.iter().filter(|o| o.at >= since && lost(o)) {
        open.push(format!(
            "node {name} lost its state or was set back before {}, and began a new chain that cites the old one; whether \
             reports were made and lost cannot be told",
            opening.at
        ));
        evidence.push(opening.report);
    }
    let tolerance = case.term(|l| l.clock_tolerance).map(|t| t.value.unsigned_abs());
    for event in over_boots
        .iter()
        .filter(|e| tolerance.is_none_or(|t| e.seconds > t))
    {
        open.push(format!(
            "node {name} signed reports of different boots that by its clock speak of the same {} s; whether it told time twice or \
             its clock was turned back cannot be told",
            event.seconds
        ));
        evidence.push(event.report);
    }
    if overlaps.unkept.is_some_and(|t| t >= since) {
        open.push(format!("node {name} let reports overlap more often than is kept"));
    }
    missing
}

/// SEC-09: the library through which the driver was asked is the system's own, or an approved one.
pub(in crate::conditions) fn library_genuine(case: &Case<'_>) -> Verdict {
    let since = case.since();
    let (mut wrong, mut subjects, mut evidence) = (Vec::new(), Vec::new(), Vec::new());
    let (mut open, mut unasked) = (Vec::new(), Vec::new());
    let mut good = 0usize;
    for node in case.nodes() {
        let facts = &node.record.facts;
        let loaded: Vec<_> = facts
            .libraries
            .iter()
            .filter(|l| l.last_heard() >= since)
            .collect();
        if facts.libraries_unkept.is_some_and(|t| t >= since) {
            let name = &node.status.name;
            open.push(format!("node {name} loaded more libraries than are kept"));
            unasked.push(facts.node.to_string());
        }
        if let Some(newest) = facts.newest.as_ref().filter(|n| n.received >= since)
            && loaded.is_empty()
            && newest.bus.iter().any(|b| b.id.vendor == NVIDIA && b.count > 0)
        {
            open.push(format!(
                "node {} has NVIDIA devices on its bus and names no library through which their driver was asked",
                node.status.name
            ));
            unasked.push(facts.node.to_string());
        }
        for library in loaded {
            let approved = case.licence.approved_nvml.contains(&library.digest);
            let name = &node.status.name;
            let version = &library.driver_version;
            let why = match library.origin {
                _ if library.changed => "was replaced or altered on disk while it was loaded",
                LibraryOrigin::System => "",
                _ if approved => "",
                LibraryOrigin::Configured => "is not the system's own, and the licence does not approve it",
                LibraryOrigin::Writable => {
                    "lies where others than root may write, and the licence does not approve it"
                }
            };
            // What only a revoked key says speaks neither for the site nor against it.
            let doubtful = node.status.is_doubtful(library.first_received);
            if why.is_empty() {
                good = good.saturating_add(usize::from(!doubtful));
                continue;
            }
            let words = format!(
                "the NVML library of node {name} (driver {version}, SHA-256 {}) {why}",
                library.digest
            );
            if doubtful {
                open.push(format!("{words}, as only a key says that was revoked by then"));
                unasked.push(facts.node.to_string());
                continue;
            }
            wrong.push(words);
            subjects.push(facts.node.to_string());
            evidence.push(library.report);
        }
    }
    let verdict = if !wrong.is_empty() {
        Verdict::not_met("library-not-genuine", few(&wrong))
            .measured(Quantity::at_least(wrong.len(), "libraries"))
            .limit(Quantity::at_most(0, "libraries"))
            .window(since, case.now)
            .coverage(case.coverage())
    } else if !open.is_empty() {
        Verdict::cannot_tell("library-not-told", few(&open))
            .window(since, case.now)
            .coverage(case.coverage())
            .subjects(unasked)
            .evidence(case.newest_reports())
    } else if good == 0 && case.nodes().any(|n| n.record.facts.newest.is_some()) {
        Verdict::cannot_tell(
            "no-library",
            "no report of this site that counts names a library through which a driver was asked",
        )
        .window(since, case.now)
    } else {
        let sentence = format!(
            "each of {} that were loaded is the system's own or approved",
            count(good, "NVML library")
        );
        case.settle(
            since,
            Verdict::met("library-genuine", sentence).none_of("libraries"),
        )
    };
    verdict
        .grade(Grade::HostObserved)
        .subjects(subjects)
        .evidence(evidence)
}
