//! Identity: whether devices prove who they are with a key that only they hold.
//!
//! Trusts what [`super::super::security::proof`] trusts. Does not establish that no second host relayed the question; that one key answers for two devices
//! that are there at one time shows that someone did, or that a device was copied.

use super::super::case::{Case, Term, no_report};
use super::super::finding::{Outcome, Quantity, Verdict, count, few};
use super::super::security::proof::{
    Asked, Fault, Point, Proof, RELAY, Signed, asked, decided, devices, foreign_root, gaps, grade,
};
use super::place::{Clash, Place, clash};
use super::presence::{Stay, Stretch, shared};
use super::sample::visited;
use crate::appraisal::evidence::{AppraisedRound, CheckName, CheckOutcome};
use crate::appraisal::{ClockFacts, DeviceFacts, Grade, NodeAtSite, NodeStatus, Span};
use crate::id::{DeviceUuid, Digest};
use crate::licence::LicensedDevice;
use crate::report::Attester;
use crate::time::span;
use crate::unit::Ppm;
use std::collections::{BTreeMap, BTreeSet};

/// INV-05: every device that reports proved its key in a good round that is not too old, and it is the key that the manifest names.
pub(in crate::conditions) fn proven(case: &Case<'_>) -> Verdict {
    let Some(limit) = case.term(|l| l.proof_max_age) else {
        return Verdict::no_limit("how old a device's proof of its key may be");
    };
    let asked = asked(case, limit);
    let (mut wrong, mut open) = (Vec::new(), Vec::new());
    wrong.extend(asked.iter().filter_map(fault));
    wrong.extend(switches(&asked));
    for (point, sure) in shared_keys(case) {
        if sure { wrong.push(point) } else { open.push(point) }
    }
    wrong.extend(other_keys(case, &asked));
    open.extend(misnamed(&asked));
    open.extend(other_chips(case, &asked));
    open.extend(topologies(&asked));
    open.extend(gaps(&asked, limit));

    let visited = visited(case);
    let unsigned = |p: &Point| p.message == "not-offered";
    let mut by_visit = None;
    let foreign = foreign_root(asked.iter().filter_map(|a| Some(a.signed()?.round)));
    let verdict = if !wrong.is_empty() {
        decided(Outcome::NotMet, &wrong, |words| {
            format!("{}{foreign}", few(words))
        })
    } else if !case.nodes().any(|n| n.record.facts.newest.is_some()) {
        no_report(Verdict::met("", ""))
    } else if asked.is_empty() && open.is_empty() {
        let none = "no device reports at present, so that none can prove its key";
        case.hold_devices(Verdict::cannot_tell("no-device", none))
    } else if let Some(against) = visited.as_ref().filter(|v| v.outcome == Outcome::NotMet) {
        by_visit = Some(Grade::Declared);
        against.clone()
    } else if let Some(found) = visited
        && found.outcome == Outcome::Met
        && !open.is_empty()
        && open.iter().all(unsigned)
    {
        by_visit = Some(Grade::Declared);
        let proved = proved(case, &asked, limit).map_or_else(String::new, |p| format!("; {p}"));
        let devices = open.iter().flat_map(|p| p.subjects.iter().cloned());
        let words: Vec<String> = open.iter().map(|p| p.words.clone()).collect();
        let sentence = format!(
            "{}; an assessor's visit answers for them: {}{proved}{foreign}",
            few(&words),
            found.sentence
        );
        case.hold_devices(Verdict::met("visited", sentence))
            .subjects(devices)
            .evidence(found.evidence)
    } else if !open.is_empty() {
        let visit = if open.iter().any(unsigned) {
            "; their identity is driver-reported, which an assessor's visit (INV-07) would raise"
        } else {
            ""
        };
        let proved = proved(case, &asked, limit).map_or_else(String::new, |p| format!("; {p}"));
        decided(Outcome::CannotTell, &open, |words| {
            format!("{}{visit}{proved}{foreign}", few(words))
        })
    } else {
        let words = proved(case, &asked, limit).unwrap_or_default();
        let evidence = asked.iter().filter_map(Asked::given).flat_map(|s| s.evidence());
        case.hold_devices(Verdict::met("all-proved", format!("{words}{foreign}")))
            .evidence(evidence)
    };
    let ages: Option<Vec<i64>> = asked.iter().map(|a| Some(age(case, a.given()?.round))).collect();
    let verdict = match ages.and_then(|ages| ages.into_iter().max()) {
        Some(oldest) => verdict.measured(Quantity::at_most(oldest, "seconds since the proof")),
        None => verdict,
    };
    let grade = by_visit.unwrap_or_else(|| grade(verdict.outcome, &wrong));
    let from = case.now.plus(limit.value.saturating_neg()).max(case.since());
    verdict
        .grade(grade)
        .limit(Quantity::at_most(limit.value, "seconds since the proof"))
        .window(from, case.now)
        .coverage(case.coverage())
}

/// The age of a round: since the node was given its challenge, by the verifier's clock. No device signed before, whatever the node says.
fn age(case: &Case<'_>, round: &AppraisedRound) -> i64 {
    case.now.since(round.given)
}

/// How many devices proved their keys and when, what part of their time lies between such proofs, and what that does not show.
fn proved(case: &Case<'_>, asked: &[Asked<'_>], limit: Term<i64>) -> Option<String> {
    let given: Vec<_> = asked.iter().filter_map(|a| Some((a, a.given()?))).collect();
    let oldest = given.iter().map(|(_, s)| age(case, s.round)).max()?;
    let (proved, all) = (
        devices(given.iter().map(|(a, _)| *a)),
        count(devices(asked), "device"),
    );
    let who = match given.len() == asked.len() {
        true => format!("each of {all} that report"),
        false => format!("{proved} of {all} that report"),
    };
    let named = given
        .iter()
        .filter(|(_, s)| s.device.outcome(CheckName::Pdi) == CheckOutcome::Pass)
        .count();
    let since = case.since();
    let (mut between, mut all) = (0u64, 0u64);
    for (asked, _) in &given {
        let (part, whole) = bracketed(asked, (since, case.now));
        between = between.saturating_add(part);
        all = all.saturating_add(whole);
    }
    Some(format!(
        "{who} signed a fresh nonce with a key that its maker certified, the oldest {} ago, and {} allows {}; the driver names {named} of \
         them as their certificates do; {} of the time in which they answered since {since} lies between two such rounds; {RELAY}",
        span(oldest),
        limit.from,
        span(limit.value),
        Ppm::of(between, all.max(1)),
    ))
}

/// Seconds within a window in which a device answered between two rounds that it proved its key in, and in which it answered at all.
fn bracketed(asked: &Asked<'_>, window: Stretch) -> (u64, u64) {
    let device = asked.seen.device;
    let rounds = asked.seen.node.record.evidence.bracketed(&device.identity.uuid);
    let (mut between, mut all) = (0u64, 0u64);
    let seconds = |s: Stretch| u64::try_from(s.1.since(s.0)).unwrap_or(0);
    let answered = device.presence.iter().map(|s| (s.from, s.to));
    for stay in answered.filter_map(|s| shared(s, window)) {
        all = all.saturating_add(seconds(stay));
        for part in rounds.iter().filter_map(|r| shared(*r, stay)) {
            between = between.saturating_add(seconds(part));
        }
    }
    (between, all)
}

/// What is wrong with a device's own answer.
fn fault(asked: &Asked<'_>) -> Option<Point> {
    let Proof::Wrong(signed, fault) = asked.proof else {
        return None;
    };
    Some(Point {
        message: fault.message(),
        words: format!("{} {}", asked.seen.label(), fault.words(&signed)),
        subjects: vec![asked.seen.subject()],
        evidence: signed.evidence().collect(),
        // Where chain or signature fail, no device speaks.
        signed: signed.device.identity.is_some(),
    })
}

/// Switches whose answers show that something is wrong, in the rounds that speak of these devices.
fn switches(asked: &[Asked<'_>]) -> Vec<Point> {
    let mut done = BTreeSet::new();
    let mut wrong = Vec::new();
    for asked in asked {
        let node = asked.seen.node;
        let (Some(signed), true) = (asked.signed(), done.insert(node.record.facts.node)) else {
            continue;
        };
        let round = signed.round;
        let switches = round.devices.iter().filter(|d| d.attester == Attester::Switch);
        wrong.extend(switches.filter_map(|device| {
            let (signed, fault) = (Signed { round, device }, Fault::of(device)?);
            Some(Point {
                message: fault.message(),
                words: format!("a switch of node {} {}", node.status.name, fault.words(&signed)),
                subjects: vec![node.record.facts.node.to_string()],
                evidence: signed.evidence().collect(),
                signed: device.identity.is_some(),
            })
        }));
    }
    wrong
}

/// Devices that proved another key than the manifest names for them, or one that it names for another.
fn other_keys(case: &Case<'_>, asked: &[Asked<'_>]) -> Vec<Point> {
    let rows = case
        .rows()
        .filter_map(|(i, row)| Some((row.device_id?, (i, row))));
    let by_key: BTreeMap<Digest, (usize, &LicensedDevice)> = rows.collect();
    let mut wrong = Vec::new();
    for asked in asked {
        let Some((signed, key)) = asked.signed().and_then(|s| Some((s, s.device.identity?))) else {
            continue;
        };
        let own = case.row_of(&asked.seen.device.identity);
        let expected = own.and_then(|(_, row)| row.device_id);
        let listed = by_key
            .get(&key)
            .filter(|(i, _)| own.is_none_or(|(own, _)| own != *i));
        let why = match (expected, listed) {
            (_, Some((_, row))) => format!("which the manifest names for {}", row.label()),
            (Some(expected), None) if expected != key => format!("and the manifest names {expected}"),
            _ => continue,
        };
        wrong.push(Point {
            message: "other-device",
            words: format!("{} proved the key {key}, {why}", asked.seen.label()),
            subjects: vec![asked.seen.subject()],
            evidence: signed.evidence().collect(),
            signed: true,
        });
    }
    wrong
}

/// Devices that the driver names otherwise than their certificates do.
fn misnamed<'a>(asked: &'a [Asked<'_>]) -> impl Iterator<Item = Point> + 'a {
    asked.iter().filter_map(|asked| {
        let signed = asked.given()?;
        (signed.device.outcome(CheckName::Pdi) == CheckOutcome::Fail).then(|| Point {
            message: "named-otherwise",
            words: format!(
                "of {}, {}; how the two names are related is not confirmed, so that which device signed cannot be told",
                asked.seen.label(),
                signed.device.why(CheckName::Pdi)
            ),
            subjects: vec![asked.seen.subject()],
            evidence: signed.evidence().collect(),
            signed: true,
        })
    })
}

/// Devices whose chain is of another family of chips than the catalogue knows their model to be.
fn other_chips<'a>(case: &'a Case<'_>, asked: &'a [Asked<'_>]) -> impl Iterator<Item = Point> + 'a {
    asked.iter().filter_map(|asked| {
        let signed = asked.given()?;
        let (arch, model) = (signed.device.arch.as_ref()?, case.model(asked.seen.device)?);
        // `Hopper (Grace)` and `Blackwell Ultra` are of one family with what stands first.
        let family = model.architecture.split_whitespace().next()?;
        (!family.eq_ignore_ascii_case(arch)).then(|| Point {
            message: "other-chip",
            words: format!(
                "{} is of the family {family} as its driver reports it, and a device of the family {arch} signed for it, so that which device \
                 signed cannot be told",
                asked.seen.label()
            ),
            subjects: vec![asked.seen.subject()],
            evidence: signed.evidence().collect(),
            signed: true,
        })
    })
}

/// Hosts whose GPUs and switches name others than those that answered.
fn topologies(asked: &[Asked<'_>]) -> Vec<Point> {
    let mut done = BTreeSet::new();
    let mut open = Vec::new();
    for asked in asked {
        let node = asked.seen.node;
        let (Some(signed), true) = (asked.given(), done.insert(node.record.facts.node)) else {
            continue;
        };
        let checks = signed.round.host.iter();
        let mut fails = checks.filter(|c| c.name == CheckName::Topology && c.outcome == CheckOutcome::Fail);
        open.extend(fails.next().map(|check| Point {
            message: "topology-differs",
            words: format!(
                "the devices of node {} name others than those that answered: {}",
                node.status.name, check.why
            ),
            subjects: vec![node.record.facts.node.to_string()],
            evidence: vec![signed.round.report],
            signed: true,
        }));
    }
    open
}

/// Keys that answered in the newest rounds of two nodes, for devices that were there at one time; whether that is sure.
///
/// A device that moved answers for both too, and was not at both at one time.
fn shared_keys(case: &Case<'_>) -> Vec<(Point, bool)> {
    let since = case.since();
    let mut places: BTreeMap<Digest, Vec<(Place, Digest)>> = BTreeMap::new();
    for node in case.nodes() {
        let newest = node.record.evidence.newest.as_ref();
        let Some(round) = newest.filter(|r| r.received >= since) else {
            continue;
        };
        for answer in round
            .devices
            .iter()
            .filter(|d| d.attester == Attester::Gpu && d.is_proved())
        {
            if let (Some(key), Some(uuid)) = (answer.identity, answer.device)
                && let Some(place) = place(case, node, round, uuid)
            {
                places.entry(key).or_default().push((place, round.report));
            }
        }
    }
    for s in case.facts.elsewhere {
        let proof = s.proof.filter(|p| p.received >= since);
        if let Some((proof, found)) = proof.and_then(|p| Some((p, places.get_mut(&p.key)?))) {
            let meanwhile = (proof.covers_to, proof.received);
            let place = Place {
                node: s.node,
                name: format!("node {} of site {} as {}", s.status.name, s.site, s.uuid.nvml()),
                uuid: s.uuid,
                stays: stays(case, &s.presence, &s.clock, &s.status, meanwhile),
            };
            found.push((place, proof.report));
        }
    }
    let tolerance = case.term(|l| l.clock_tolerance).map_or(0, |t| t.value);
    let mut found = Vec::new();
    for (key, at) in places.iter().filter(|(_, at)| at.len() > 1) {
        let (at, rounds): (Vec<Place>, Vec<Digest>) = at.iter().cloned().unzip();
        let name = format!("the device of key {key}, which answered for both,");
        let Some(Clash {
            sentence,
            sure,
            reports,
            ..
        }) = clash(&name, &at, since, tolerance)
        else {
            continue;
        };
        let point = Point {
            message: "one-key-two-nodes",
            words: format!("{sentence}; one of them relayed the question, or the device was copied"),
            subjects: at.iter().map(|p| p.uuid.nvml()).collect(),
            evidence: rounds.into_iter().chain(reports).collect(),
            signed: true,
        };
        found.push((point, sure));
    }
    found
}

/// Where a device stood at the time of a round that it answered.
fn place(case: &Case<'_>, node: &NodeAtSite, round: &AppraisedRound, uuid: DeviceUuid) -> Option<Place> {
    let facts = &node.record.facts;
    let device: &DeviceFacts = facts.devices.iter().find(|d| d.identity.uuid == uuid)?;
    let presence: Vec<Span> = device.presence.iter().map(|s| facts.timed(s)).collect();
    let meanwhile = (round.covers_to, round.received);
    Some(Place {
        node: facts.node,
        name: format!("node {} as {}", node.status.name, uuid.nvml()),
        uuid,
        stays: stays(case, &presence, &facts.clock, &node.status, meanwhile),
    })
}

/// The stretches of a device's presence that touch a round, from what it covers to when it was received.
fn stays(
    case: &Case<'_>,
    presence: &[Span],
    clock: &ClockFacts,
    status: &NodeStatus,
    (covers_to, received): Stretch,
) -> Vec<Stay> {
    let meanwhile = presence
        .iter()
        .filter(|s| s.from <= received && covers_to <= s.to);
    let stay = |s| {
        let stay = Stay::new(case, case.since(), s, clock, status.revoked_from);
        // Whatever a key said before it was revoked, this round came after.
        match status.is_doubtful(received) {
            true => Stay {
                told: None,
                sure: None,
                ..stay
            },
            false => stay,
        }
    };
    meanwhile.map(stay).collect()
}
