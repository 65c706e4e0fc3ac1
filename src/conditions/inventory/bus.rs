//! The bus: accelerators that the host itself lists, whether or not a driver reports them.
//!
//! What stands here is `host-observed`: a host that lies about its own bus is not caught by this, except where its
//! drivers answer for devices that its bus does not show.

use super::super::case::{Case, Seen, UNDER_REVOKED};
use super::super::finding::{Quantity, Verdict, count, few};
use super::super::site::attestation::unless_wanting;
use super::super::supply::permission::{Permissions, Permit};
use crate::appraisal::{DeviceFacts, Grade, Newest, NodeAtSite, NodeFacts, Span};
use crate::id::{DeviceUuid, Digest, PciId};
use crate::rules::PresumedMaker;
use crate::telemetry::{BusDevice, BusSource, DeviceState};
use crate::time::UnixSeconds;
use std::collections::BTreeMap;

/// INV-10: no accelerator of a maker that is presumed to break the rules.
pub(in crate::conditions) fn none_presumed(case: &Case<'_>) -> Verdict {
    let makers: Vec<_> = case
        .rules
        .iter()
        .flat_map(|r| &r.presumed)
        .filter(|m| m.validity.holds(case.now))
        .collect();
    if makers.is_empty() {
        return Verdict::not_applicable("no-list", "the rule set presumes no maker to break the rules")
            .grade(Grade::Declared);
    }
    unless_wanting(case, "INV-10", presumed(case, &makers))
}

fn presumed(case: &Case<'_>, makers: &[&PresumedMaker]) -> Verdict {
    let since = case.since();
    let maker = |vendor: u16| {
        makers
            .iter()
            .find(|m| m.vendor == vendor)
            .map(|m| m.name.as_str())
    };
    let (mut words, mut open) = (Vec::new(), Vec::new());
    let (mut subjects, mut evidence) = (Vec::new(), Vec::new());
    let (mut permitted, mut excused) = (Permissions::of(case), Vec::new());
    let seen = case.seen_since(since);
    for node in case.nodes() {
        let facts = &node.record.facts;
        let revoked = |received: UnixSeconds| node.status.revoked_from.is_some_and(|from| received >= from);
        let newest = facts.newest.iter().filter(|n| n.received >= since).flat_map(|n| {
            n.bus
                .iter()
                .map(move |b| (b.id, revoked(n.received), b.count, n.received, n.digest))
        });
        let strangers = facts.strangers.iter().map(|s| {
            (
                s.id,
                is_doubtful(node, &s.span, since),
                s.count,
                s.last_heard(),
                s.span.last_report,
            )
        });
        let devices = seen
            .iter()
            .filter(|s| s.node.record.facts.node == facts.node)
            .map(|s| {
                (
                    s.device.identity.pci,
                    s.is_doubtful(since),
                    1,
                    s.heard,
                    s.device.last_report,
                )
            });
        let mut found: Vec<_> = newest
            .chain(strangers)
            .chain(devices)
            .filter(|f| f.3 >= since)
            .collect();
        let all = found.clone();
        found.sort_by_key(|f| (f.0, f.1, std::cmp::Reverse(f.3)));
        found.dedup_by_key(|f| f.0);
        for (id, doubtful, number, last, report) in found {
            if let Some(name) = maker(id.vendor) {
                let what = format!(
                    "{number} of {name} (PCI {:04x}:{:04x}) on the bus of node {}, last seen {last}",
                    id.vendor, id.device, node.status.name
                );
                let answering: Vec<DeviceUuid> = seen
                    .iter()
                    .filter(|s| s.node.record.facts.node == facts.node && s.device.identity.pci == id)
                    .map(|s| s.device.identity.uuid)
                    .collect();
                let most = all
                    .iter()
                    .filter(|f| f.0 == id)
                    .map(|f| f.2)
                    .max()
                    .unwrap_or(number);
                let most = u64::from(most).max(u64::try_from(answering.len()).unwrap_or(u64::MAX));
                let permit = match doubtful {
                    true => Permit::Lacking,
                    false => permitted.take(case, &id, most, &answering),
                };
                match permit {
                    Permit::Given(label) => excused.push(format!("{what}, under the {label}")),
                    Permit::Unclear(label) => {
                        let why = format!("{what}, and the {label} does not say for which devices it is");
                        open.push(("permission-unclear", why));
                    }
                    Permit::Lacking if doubtful => {
                        open.push(("revoked-key", format!("{what}{UNDER_REVOKED}")))
                    }
                    Permit::Lacking => words.push(what),
                }
                subjects.push(facts.node.to_string());
                evidence.push(report);
            }
        }
    }
    let (unseen, blind, reports) = not_listed(case);
    let verdict = if !words.is_empty() {
        let beside = match excused.as_slice() {
            [] => String::new(),
            some => format!("; permitted are {}", few(some)),
        };
        Verdict::not_met("presumed-maker", format!("{}{beside}", few(&words)))
            .measured(Quantity::at_least(words.len(), "kinds of such devices"))
            .limit(Quantity::at_most(0, "kinds of such devices"))
    } else if let Some((message, _)) = open.first() {
        let words: Vec<String> = open.iter().map(|(_, w)| w.clone()).collect();
        Verdict::cannot_tell(message, few(&words))
    } else if !unseen.is_empty() {
        subjects.extend(blind);
        evidence.extend(reports);
        Verdict::cannot_tell("bus-not-listed", few(&unseen))
    } else if !excused.is_empty() {
        let sentence = format!("each that was seen is permitted: {}", few(&excused));
        let met = Verdict::met("permitted", sentence)
            .measured(Quantity::at_least(excused.len(), "kinds of such devices"))
            .grade(Grade::Declared)
            .subjects(subjects)
            .evidence(evidence.into_iter().chain(permitted.digests()));
        return case.settle(since, met);
    } else {
        let names: Vec<String> = makers.iter().map(|m| m.name.clone()).collect();
        return case.settle(
            since,
            Verdict::met(
                "none-on-the-bus",
                format!("no accelerator of {} was seen on a bus", few(&names)),
            )
            .none_of("kinds of such devices")
            .grade(Grade::HostObserved),
        );
    };
    verdict
        .grade(Grade::HostObserved)
        .window(since, case.now)
        .coverage(case.coverage())
        .subjects(subjects)
        .evidence(evidence)
}

/// Whether only a key that was revoked by then speaks of what stood on a bus since a time.
fn is_doubtful(node: &NodeAtSite, span: &Span, since: UnixSeconds) -> bool {
    node.status
        .revoked_from
        .is_some_and(|from| span.first_received >= from || (since >= from && span.last_received >= from))
}

/// INV-11: every accelerator on a bus reports.
pub(in crate::conditions) fn none_unmanaged(case: &Case<'_>) -> Verdict {
    let since = case.since();
    let (mut strange, mut doubtful, mut silent) = (Vec::new(), Vec::new(), Vec::new());
    let (mut subjects, mut evidence) = (Vec::new(), Vec::new());
    for node in case.nodes() {
        let facts = &node.record.facts;
        let before = evidence.len();
        for s in facts.strangers.iter().filter(|s| s.last_heard() >= since) {
            let what = format!(
                "{} (PCI {:04x}:{:04x}) on node {}, {}, last seen {}",
                count(usize::from(s.count), "accelerator"),
                s.id.vendor,
                s.id.device,
                node.status.name,
                s.state,
                s.span.to
            );
            if is_doubtful(node, &s.span, since) {
                doubtful.push(format!("{what}{UNDER_REVOKED}"));
            } else {
                strange.push(what);
            }
            evidence.push(s.span.last_report);
        }
        for newest in facts.newest.iter().filter(|n| n.received >= since) {
            for (bus, unheld) in newest.bus.iter().filter_map(|b| Some((b, failing(b)?))) {
                silent.push(format!(
                    "{} (PCI {:04x}:{:04x}) on node {}: {}",
                    count(usize::from(unheld), "accelerator"),
                    bus.id.vendor,
                    bus.id.device,
                    node.status.name,
                    bus.state
                ));
                evidence.push(newest.digest);
            }
        }
        if before != evidence.len() {
            subjects.push(facts.node.to_string());
        }
    }
    let (unseen, blind, reports) = not_listed(case);
    let verdict = if !strange.is_empty() {
        let sentence = format!(
            "accelerators stand on a bus and no driver that reports holds them: {}",
            few(&strange)
        );
        Verdict::not_met("unmanaged", sentence)
            .measured(Quantity::at_least(
                strange.len(),
                "kinds of unmanaged accelerators",
            ))
            .limit(Quantity::at_most(0, "kinds of unmanaged accelerators"))
    } else if !doubtful.is_empty() {
        Verdict::cannot_tell("revoked-key", few(&doubtful))
    } else if !silent.is_empty() {
        let sentence = format!(
            "accelerators on a bus do not answer, and why is known only from the host: {}",
            few(&silent)
        );
        Verdict::cannot_tell("not-answering", sentence)
    } else if !unseen.is_empty() {
        subjects.extend(blind);
        evidence.extend(reports);
        Verdict::cannot_tell("bus-not-listed", few(&unseen))
    } else {
        let sentence = "every accelerator on the bus of every node reports";
        return case.settle(
            since,
            Verdict::met("all-report", sentence)
                .none_of("kinds of unmanaged accelerators")
                .grade(Grade::HostObserved),
        );
    };
    verdict
        .grade(Grade::HostObserved)
        .window(since, case.now)
        .coverage(case.coverage())
        .subjects(subjects)
        .evidence(evidence)
}

/// How many of a row do not answer although a reporting driver should hold them.
fn failing(bus: &BusDevice) -> Option<u16> {
    let unheld = bus.count.saturating_sub(bus.reporting);
    let strange = matches!(bus.state, DeviceState::Unmanaged | DeviceState::PassedThrough);
    (unheld > 0 && !strange).then_some(unheld)
}

/// How many accelerators on the bus do not answer, by the newest report, and are not devices that the node knows.
///
/// A device that answered in the window and is lost, hung or let go of now is known, and explains one of its kind.
pub(in crate::conditions) fn unanswered(facts: &NodeFacts, newest: &Newest, since: UnixSeconds) -> usize {
    let mut silent: BTreeMap<Kind, usize> = BTreeMap::new();
    for (bus, unheld) in newest.bus.iter().filter_map(|b| Some((b, failing(b)?))) {
        let number = silent.entry(kind(&bus.id)).or_default();
        *number = number.saturating_add(usize::from(unheld));
    }
    silent.iter().fold(0usize, |all, (kind_of, number)| {
        let known = facts.devices.iter().filter(|d| {
            kind(&d.identity.pci) == *kind_of
                && d.state != DeviceState::Present
                && d.last_heard().is_some_and(|t| t >= since)
        });
        all.saturating_add(number.saturating_sub(known.count()))
    })
}

/// How many devices answer in the newest report although the bus of that report shows no place for them.
fn beside_the_bus(facts: &NodeFacts, newest: &Newest) -> usize {
    let mut answering: BTreeMap<Kind, usize> = BTreeMap::new();
    let here = |d: &&DeviceFacts| d.state == DeviceState::Present && d.last_received == Some(newest.received);
    for device in facts.devices.iter().filter(here) {
        let number = answering.entry(kind(&device.identity.pci)).or_default();
        *number = number.saturating_add(1);
    }
    answering.iter().fold(0usize, |all, (kind_of, number)| {
        let rows = newest.bus.iter().filter(|b| kind(&b.id) == *kind_of);
        let places = rows.fold(0usize, |n, b| n.saturating_add(usize::from(b.count)));
        all.saturating_add(number.saturating_sub(places))
    })
}

/// Nodes whose bus does not show the devices that answer: in words, their ids, and their reports.
fn not_listed(case: &Case<'_>) -> (Vec<String>, Vec<String>, Vec<Digest>) {
    let (mut words, mut subjects, mut evidence) = (Vec::new(), Vec::new(), Vec::new());
    for node in case.nodes() {
        let facts = &node.record.facts;
        let name = &node.status.name;
        for newest in facts.newest.iter().filter(|n| n.received >= case.since()) {
            words.push(match (newest.bus_source, beside_the_bus(facts, newest)) {
                (BusSource::Configured, _) => {
                    format!("the bus of node {name} was listed from a tree that its operator configured, not from the kernel's own")
                }
                (BusSource::Unreadable, _) => format!("the bus of node {name} could not be listed"),
                (BusSource::System, 0) => continue,
                (BusSource::System, number) => format!(
                    "the bus listing of node {name} does not show {number} of the devices that answer, so it is not the host's own"
                ),
            });
            subjects.push(facts.node.to_string());
            evidence.push(newest.digest);
        }
    }
    (words, subjects, evidence)
}

/// Accelerators of one kind that no reporting driver of a node held in the window.
pub(in crate::conditions) struct Unheld {
    pub(in crate::conditions) kind: Kind,
    pub(in crate::conditions) id: PciId,
    /// How many of the kind stood there at most at one time, with those that reported.
    pub(in crate::conditions) at_once: u64,
    /// From when they were first seen to when they were seen last.
    pub(in crate::conditions) span: Span,
    /// Whether only a key that was revoked by then speaks of them.
    pub(in crate::conditions) doubtful: bool,
}

/// What stood on the bus of a node since a time and no reporting driver held, by kind.
pub(in crate::conditions) fn unheld(node: &NodeAtSite, since: UnixSeconds) -> Vec<Unheld> {
    let mut out: Vec<Unheld> = Vec::new();
    let lately = node
        .record
        .facts
        .strangers
        .iter()
        .filter(|s| s.last_heard() >= since);
    for s in lately {
        let doubtful = is_doubtful(node, &s.span, since);
        let at_once = u64::from(s.most_since(since));
        match out.iter_mut().find(|u| u.kind == kind(&s.id)) {
            Some(known) => {
                known.at_once = known.at_once.max(at_once);
                known.span.join(&s.span);
                known.doubtful &= doubtful;
            }
            None => out.push(Unheld {
                kind: kind(&s.id),
                id: s.id,
                at_once,
                span: s.span.clone(),
                doubtful,
            }),
        }
    }
    out
}

/// What stood on a bus since a time beyond the devices that were seen at its node, and how many at most.
///
/// As many as the node's own devices explain are taken for these, whether they answered or not: they count already.
pub(in crate::conditions) fn beyond<'a>(
    case: &Case<'a>,
    since: UnixSeconds,
    seen: &[Seen<'_>],
) -> Vec<(&'a NodeAtSite, Unheld, u64)> {
    let mut out = Vec::new();
    for node in case.nodes() {
        for unheld in unheld(node, since) {
            let own = seen.iter().filter(|s| {
                s.node.record.facts.node == node.record.facts.node
                    && kind(&s.device.identity.pci) == unheld.kind
            });
            let number = unheld
                .at_once
                .saturating_sub(u64::try_from(own.count()).unwrap_or(u64::MAX));
            if number > 0 {
                out.push((node, unheld, number));
            }
        }
    }
    out
}

impl Unheld {
    /// How a sentence names so many of them.
    pub(in crate::conditions) fn label(&self, number: u64, node: &NodeAtSite) -> String {
        format!(
            "{} with PCI id {:04x}:{:04x} on node {}",
            count(usize::try_from(number).unwrap_or(usize::MAX), "accelerator"),
            self.id.vendor,
            self.id.device,
            node.status.name
        )
    }
}

/// Maker and kind of a device: drivers and buses may differ in how they write the subsystem.
pub(in crate::conditions) type Kind = (u16, u16);

pub(in crate::conditions) fn kind(id: &PciId) -> Kind {
    (id.vendor, id.device)
}
