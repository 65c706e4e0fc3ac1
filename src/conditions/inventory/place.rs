//! Place: whether a device was in two places at one time.
//!
//! Trusts what [`super::presence`] says of clocks and keys. Does not establish where a place is: it is known by its node.

use super::super::case::{Case, UNDER_REVOKED};
use super::super::finding::{Quantity, Verdict, count, few};
use super::presence::{Stay, Stretch, shared};
use crate::id::{DeviceUuid, Digest, NodeId};
use crate::time::{UnixSeconds, span};
use std::collections::BTreeMap;

/// INV-03: no device is at two nodes, or at two sites, at one time, and none is there twice.
pub(in crate::conditions) fn in_one_place(case: &Case<'_>) -> Verdict {
    let Some(tolerance) = case.term(|l| l.clock_tolerance) else {
        return Verdict::no_limit(
            "how far a node's clock may be off, so that times of two nodes cannot be compared",
        );
    };
    let since = case.since();
    let mut places: BTreeMap<String, Vec<Place>> = BTreeMap::new();
    let mut clashes = Vec::new();
    for s in case.seen_since(since) {
        let (identity, facts, status) = (&s.device.identity, &s.node.record.facts, &s.node.status);
        let stay = |span| Stay::new(case, since, &facts.timed(span), &facts.clock, status.revoked_from);
        let place = Place {
            node: facts.node,
            name: format!("node {}", status.name),
            uuid: identity.uuid,
            stays: s.device.presence.iter().map(stay).collect(),
        };
        for key in keys(&identity.uuid, identity.serial.as_deref()) {
            places.entry(key).or_default().push(place.clone());
        }
        let odd = |sentence, sure| Clash {
            device: s.subject(),
            sentence,
            sure,
            time: s.device.doubled.map(|t| (t, t)),
            reports: vec![s.device.last_report],
        };
        if let Some(at) = s.device.doubled.filter(|t| *t >= since) {
            let sure = status.revoked_from.is_none_or(|from| at < from);
            let why = if sure { "" } else { UNDER_REVOKED };
            clashes.push(odd(
                format!(
                    "{} was named twice in one report of node {}{why}",
                    s.subject(),
                    status.name
                ),
                sure,
            ));
        }
        if s.device.presence_unkept.is_some_and(|t| t >= since) {
            clashes.push(odd(
                format!("{} came and went more often than is kept", s.label()),
                false,
            ));
        }
    }
    for s in case.facts.elsewhere {
        let stay = |span| Stay::new(case, since, span, &s.clock, s.status.revoked_from);
        let place = Place {
            node: s.node,
            name: format!("node {} of site {}", s.status.name, s.site),
            uuid: s.uuid,
            stays: s.presence.iter().map(stay).collect(),
        };
        for key in keys(&s.uuid, s.serial.as_deref()) {
            if let Some(found) = places.get_mut(&key) {
                found.push(place.clone());
            }
        }
    }
    clashes.extend(
        places
            .iter()
            .filter_map(|(device, found)| clash(device, found, since, tolerance.value)),
    );
    let (sure, open): (Vec<Clash>, Vec<Clash>) = clashes.into_iter().partition(|c| c.sure);
    let words = |found: &[Clash]| few(&found.iter().map(|c| c.sentence.clone()).collect::<Vec<_>>());
    let (found, verdict) = if !sure.is_empty() {
        let verdict = Verdict::not_met("two-places", words(&sure))
            .measured(Quantity::at_least(sure.len(), "devices in two places"))
            .limit(Quantity::at_most(0, "devices in two places"));
        (sure, verdict)
    } else if !open.is_empty() {
        let verdict = Verdict::cannot_tell("not-surely-in-one-place", words(&open));
        (open, verdict)
    } else {
        let sentence = format!(
            "none of {} was seen in two places at once for more than {}",
            count(case.unique_since(since).len(), "device"),
            span(tolerance.value)
        );
        return case.settle_devices(
            since,
            Verdict::met("each-in-one-place", sentence).none_of("devices in two places"),
        );
    };
    // What is sure was so in a time of its own.
    let times = || found.iter().filter_map(|c| c.time.filter(|_| c.sure));
    let from = times().map(|(from, _)| from).min().unwrap_or(since);
    let to = times().map(|(_, to)| to).max().unwrap_or(case.now);
    verdict
        .window(from, to)
        .coverage(case.coverage())
        .evidence(found.iter().flat_map(|c| c.reports.iter().copied()))
        .subjects(found.into_iter().map(|c| c.device))
}

/// Where a device was, and when.
#[derive(Clone)]
pub(in crate::conditions) struct Place {
    pub(in crate::conditions) node: NodeId,
    pub(in crate::conditions) name: String,
    pub(in crate::conditions) uuid: DeviceUuid,
    pub(in crate::conditions) stays: Vec<Stay>,
}

/// A device that was in two places, or may have been.
pub(in crate::conditions) struct Clash {
    pub(in crate::conditions) device: String,
    pub(in crate::conditions) sentence: String,
    pub(in crate::conditions) sure: bool,
    /// From when it first was so, until when it last was, where that is told.
    pub(in crate::conditions) time: Option<Stretch>,
    pub(in crate::conditions) reports: Vec<Digest>,
}

/// How a board is named that is known by its serial number.
const SERIAL: &str = "serial ";

/// What makes two sightings the same device: the UUID, or the serial number of the board.
fn keys(uuid: &DeviceUuid, serial: Option<&str>) -> impl Iterator<Item = String> {
    [Some(uuid.nvml()), serial.map(|s| format!("{SERIAL}{s}"))]
        .into_iter()
        .flatten()
}

/// The first pair of places that surely share more time than clocks may be off, with the time from then until any last did; else the first that may.
pub(in crate::conditions) fn clash(
    device: &str,
    places: &[Place],
    since: UnixSeconds,
    tolerance: i64,
) -> Option<Clash> {
    // A board that is known by its UUID already is not named a second time by its serial number.
    let by_serial = device.starts_with(SERIAL);
    let long = |a: Stretch, b: Stretch| {
        shared(a, b).filter(|(from, to)| to.since(*from) > tolerance && *to >= since)
    };
    let (mut open, mut found) = (None, None::<Clash>);
    for (i, a) in places.iter().enumerate() {
        let rest = places.iter().skip(i.saturating_add(1));
        for b in rest.filter(|b| !by_serial || a.uuid != b.uuid) {
            // Two boards of one node may not share a serial number either; there, one clock tells of both.
            let one_clock = a.node == b.node;
            let second = if one_clock { "again there" } else { &b.name };
            let sure = |s: &Stay| if one_clock { s.told } else { s.sure };
            let possible = |s: &Stay| if one_clock { s.said } else { s.possible };
            for (x, y) in a.stays.iter().flat_map(|x| b.stays.iter().map(move |y| (x, y))) {
                let reports = || [x.reports, y.reports].concat();
                let both = sure(x).zip(sure(y));
                if let Some((from, to)) = both.and_then(|(x, y)| long(x, y)) {
                    let clash = found.get_or_insert_with(|| Clash {
                        device: device.to_owned(),
                        sentence: format!(
                            "{device} was seen on {} and {second}, from {from} to {to}",
                            a.name
                        ),
                        sure: true,
                        time: Some((from, to)),
                        reports: reports(),
                    });
                    clash.time = clash.time.map(|(first, last)| (first.min(from), last.max(to)));
                    continue;
                }
                if found.is_none() && open.is_none() && long(possible(x), possible(y)).is_some() {
                    let told = x.told.zip(y.told).is_some_and(|(x, y)| long(x, y).is_some());
                    let why = if !told && long(x.said, y.said).is_some() {
                        UNDER_REVOKED
                    } else {
                        ", as far as their clocks and the delay of their reports show"
                    };
                    open = Some(Clash {
                        device: device.to_owned(),
                        sentence: format!(
                            "{device} may have been on {} and {second} at one time{why}",
                            a.name
                        ),
                        sure: false,
                        time: None,
                        reports: reports(),
                    });
                }
            }
        }
    }
    found.or(open)
}
