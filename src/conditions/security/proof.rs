//! Proof: what each device that reports signed, in the newest round of its node that stands good.
//!
//! Trusts the appraisal of the round, which names the root of the device's chain. What was not checked proves nothing, and accuses nobody.
//! Does not establish that a device sits in the host that presents it.

use super::super::case::{Case, Seen, Term};
use super::super::finding::{Outcome, Verdict, count};
use crate::appraisal::evidence::{
    AppraisedDevice, AppraisedRound, CheckName, CheckOutcome, IDENTITY, LastRound, RoundStanding,
};
use crate::appraisal::{DeviceFacts, Grade, NodeAtSite};
use crate::hardware::nvidia::{DEVICE_ROOT, RIM_ROOT};
use crate::id::{DeviceUuid, Digest};
use crate::report::{Attester, NoEvidence};
use crate::telemetry::ConfidentialCompute;
use crate::time::{UnixSeconds, span};
use std::collections::BTreeSet;

/// What a sentence adds wherever a device's proof counts.
pub(in crate::conditions) const RELAY: &str = "a willing second host could have relayed the question, so that this does not prove in which host they sit";

/// A device that reports, and what it proved.
#[derive(Debug)]
pub(in crate::conditions) struct Asked<'a> {
    pub(in crate::conditions) seen: Seen<'a>,
    pub(in crate::conditions) proof: Proof<'a>,
}

/// What a device proved.
#[derive(Debug)]
pub(in crate::conditions) enum Proof<'a> {
    /// It signed the round's nonce with a key that its maker certified, lately enough.
    Given(Signed<'a>),
    /// Its answer shows that something is wrong.
    Wrong(Signed<'a>, Fault),
    /// Neither. An answer that proved it, and is too old by now, still shows what it showed then.
    Missing(Gap, Option<Signed<'a>>),
}

/// An answer, and the round that it belongs to.
#[derive(Clone, Copy, Debug)]
pub(in crate::conditions) struct Signed<'a> {
    pub(in crate::conditions) round: &'a AppraisedRound,
    pub(in crate::conditions) device: &'a AppraisedDevice,
}

impl<'a> Asked<'a> {
    /// What it proved, if that counts.
    pub(in crate::conditions) fn given(&self) -> Option<Signed<'a>> {
        match self.proof {
            Proof::Given(signed) => Some(signed),
            _ => None,
        }
    }

    /// What it signed, if anything, whatever that is worth.
    pub(in crate::conditions) fn signed(&self) -> Option<Signed<'a>> {
        match self.proof {
            Proof::Given(signed) | Proof::Wrong(signed, _) | Proof::Missing(_, Some(signed)) => Some(signed),
            Proof::Missing(_, None) => None,
        }
    }
}

impl Signed<'_> {
    /// Digests of the report that carries the round, and of the device's own.
    pub(in crate::conditions) fn evidence(&self) -> impl Iterator<Item = Digest> + use<> {
        std::iter::once(self.round.report).chain(self.device.evidence)
    }
}

/// What is wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::conditions) enum Fault {
    /// A check on which identity rests failed.
    Check(CheckName),
    /// One device was presented with two keys.
    TwoKeys,
}

impl Fault {
    /// The gravest of what an answer shows by itself.
    pub(in crate::conditions) fn of(device: &AppraisedDevice) -> Option<Self> {
        let fails = |name: &CheckName| device.outcome(*name) == CheckOutcome::Fail;
        IDENTITY.into_iter().find(fails).map(Self::Check)
    }

    pub(in crate::conditions) fn message(self) -> &'static str {
        match self {
            Self::TwoKeys => "two-keys",
            Self::Check(CheckName::Chain) => "chain-fails",
            Self::Check(CheckName::Nonce) => "nonce-differs",
            Self::Check(CheckName::Fwid) => "firmware-differs",
            Self::Check(CheckName::Distinct) => "answered-twice",
            Self::Check(CheckName::Certificate) => "certificate-revoked",
            Self::Check(_) => "signature-fails",
        }
    }

    /// Words that follow the device's name.
    pub(in crate::conditions) fn words(self, signed: &Signed<'_>) -> String {
        let at = signed.round.received;
        match self {
            Self::TwoKeys => format!("was presented with two keys in the round received {at}"),
            Self::Check(name) => format!(
                "did not prove its key in the round received {at}: {}",
                signed.device.why(name)
            ),
        }
    }
}

/// Why a device proved nothing that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::conditions) enum Gap {
    /// The platform offers no evidence; whether the driver says that confidential computing is off.
    NotOffered { off: bool },
    /// The node has sent no round.
    NoRound,
    /// Its round was not appraised.
    NotAppraised(UnixSeconds),
    /// Its round does not stand good.
    NotGood(UnixSeconds, RoundStanding),
    /// Its newest good round is this old, in seconds.
    TooOld(i64),
    /// Only a key that was revoked by then carries its round.
    Revoked(UnixSeconds),
    /// The device was not among those that the round asked.
    NotAsked(UnixSeconds),
    /// It signed nothing.
    NoAnswer(NoEvidence),
    /// What it signed was not checked.
    NotChecked(String),
}

impl Gap {
    pub(in crate::conditions) fn message(&self) -> &'static str {
        match self {
            Self::NotOffered { .. } => "not-offered",
            Self::NoRound => "no-round",
            Self::NotAppraised(_) => "round-not-appraised",
            Self::NotGood(..) => "round-not-good",
            Self::TooOld(_) => "round-too-old",
            Self::Revoked(_) => "revoked-key",
            Self::NotAsked(_) => "not-asked",
            Self::NoAnswer(_) => "no-answer",
            Self::NotChecked(_) => "proof-not-checked",
        }
    }

    fn words(&self, devices: usize, node: &str, limit: Term<i64>) -> String {
        let gpus = count(devices, "GPU");
        match self {
            Self::NotOffered { off: true } => {
                format!("confidential computing is off on {gpus} of node {node}, so that they sign nothing")
            }
            Self::NotOffered { off: false } => {
                format!("the platform offers no evidence of {gpus} of node {node}")
            }
            Self::NoRound => format!("node {node} has sent no round of hardware evidence"),
            Self::NotAppraised(at) => {
                format!("the round of node {node} received {at} has not been appraised")
            }
            Self::NotGood(at, standing) => {
                format!("the round of node {node} received {at} {standing}")
            }
            Self::TooOld(age) => format!(
                "the newest good round of node {node} is {} old, and {} allows {}",
                span(*age),
                limit.from,
                span(limit.value)
            ),
            Self::Revoked(at) => {
                format!("the round of node {node} received {at} came under a key that was revoked by then")
            }
            Self::NotAsked(at) => {
                format!("{gpus} of node {node} had no part in its round received {at}")
            }
            Self::NoAnswer(why) => format!("{gpus} of node {node} signed nothing: {why}"),
            Self::NotChecked(why) => {
                format!("what {gpus} of node {node} signed was not checked: {why}")
            }
        }
    }
}

/// One reason of a verdict.
#[derive(Debug)]
pub(in crate::conditions) struct Point {
    pub(in crate::conditions) message: &'static str,
    pub(in crate::conditions) words: String,
    pub(in crate::conditions) subjects: Vec<String>,
    pub(in crate::conditions) evidence: Vec<Digest>,
    /// Whether a device signed what it rests on.
    pub(in crate::conditions) signed: bool,
}

/// The devices that report now and for which no other licence answers, with what they proved, in the order of their UUIDs.
///
/// One that two nodes report stands here for each: what it proved on one tells nothing of what answers on the other. What only a revoked key says counts
/// where nothing else tells of the device.
pub(in crate::conditions) fn asked<'a>(case: &Case<'a>, limit: Term<i64>) -> Vec<Asked<'a>> {
    let fresh = case.term(|l| l.freshness_max);
    let since = fresh.map_or_else(|| case.since(), |t| case.now.plus(t.value.saturating_neg()));
    let since = since.max(case.since());
    let uuid = |s: &Seen<'_>| s.device.identity.uuid;
    let mut reporting = case.seen_since(since);
    let told: BTreeSet<DeviceUuid> = reporting
        .iter()
        .filter(|s| !s.is_doubtful(since))
        .map(uuid)
        .collect();
    reporting.retain(|s| !s.is_doubtful(since) || !told.contains(&uuid(s)));
    reporting.sort_by_key(|s| (uuid(s), std::cmp::Reverse((s.heard, s.last))));
    let ours = reporting.into_iter().filter(|s| !case.is_beside(s.device));
    ours.map(|seen| Asked {
        proof: proof(case, seen.node, seen.device, limit.value),
        seen,
    })
    .collect()
}

/// How many devices these are.
pub(in crate::conditions) fn devices<'a, 's: 'a>(asked: impl IntoIterator<Item = &'a Asked<'s>>) -> usize {
    let uuids: BTreeSet<DeviceUuid> = asked.into_iter().map(|a| a.seen.device.identity.uuid).collect();
    uuids.len()
}

/// A node's newest good round, if its key was not revoked when it came.
pub(in crate::conditions) fn good_round(node: &NodeAtSite) -> Option<&AppraisedRound> {
    let newest = node.record.evidence.newest.as_ref();
    newest.filter(|r| r.standing == RoundStanding::Good && !node.status.is_doubtful(r.received))
}

fn proof<'a>(case: &Case<'_>, node: &'a NodeAtSite, device: &DeviceFacts, limit: i64) -> Proof<'a> {
    let found = good_round(node)
        .filter(|r| r.received >= case.since())
        .map(|round| answer(round, device));
    if let Some(Ok((signed, Some(fault)))) = found {
        return Proof::Wrong(signed, fault);
    }
    let signed = found.as_ref().and_then(|f| f.as_ref().ok()).map(|(s, _)| *s);
    // A device that the newest round says nothing of still showed what it showed before.
    let before = match signed {
        Some(_) => None,
        None => last_answer(case, node, device),
    };
    if let Some((signed, Some(fault))) = before {
        return Proof::Wrong(signed, fault);
    }
    let before = before.map(|(signed, _)| signed);
    if let Some(gap) = gap(case, node, limit) {
        return Proof::Missing(gap, signed.or(before));
    }
    match (signed, found) {
        (Some(signed), _) => Proof::Given(signed),
        (None, Some(Err(Gap::NotOffered { .. }))) => Proof::Missing(not_offered(node), before),
        (None, Some(Err(gap))) => Proof::Missing(gap, before),
        (None, _) => Proof::Missing(Gap::NoRound, None),
    }
}

/// The last answer of a device in rounds before the newest, and what is wrong with it.
fn last_answer<'a>(
    case: &Case<'_>,
    node: &'a NodeAtSite,
    device: &DeviceFacts,
) -> Option<(Signed<'a>, Option<Fault>)> {
    let earlier = node.record.evidence.earlier.iter().rev();
    let mut counts = earlier.filter(|r| r.received >= case.since() && !node.status.is_doubtful(r.received));
    counts.find_map(|round| answer(round, device).ok())
}

/// Why a node's newest round speaks for none of its devices, if so.
fn gap(case: &Case<'_>, node: &NodeAtSite, limit: i64) -> Option<Gap> {
    let newest = node.record.evidence.newest.as_ref();
    let last = node.record.facts.round.as_ref();
    let good = good_round(node).filter(|r| r.received >= case.since());
    let age = good.map(|r| case.now.since(r.given));
    if age.is_some_and(|age| age <= limit) {
        return None;
    }
    let appraised = |l: &LastRound| node.record.evidence.rounds.iter().any(|r| r.report == l.report);
    let later = last
        .filter(|l| !appraised(l) && newest.is_none_or(|n| n.report != l.report && n.received <= l.received));
    Some(match (later, newest, age) {
        (Some(later), ..) if node.status.is_doubtful(later.received) => Gap::Revoked(later.received),
        (Some(later), ..) if later.standing == RoundStanding::Good => unanswered(node, later),
        (Some(later), ..) => Gap::NotGood(later.received, later.standing),
        (None, _, Some(age)) => Gap::TooOld(age),
        (None, Some(newest), None) if node.status.is_doubtful(newest.received) => {
            Gap::Revoked(newest.received)
        }
        (None, Some(newest), None) if newest.standing != RoundStanding::Good => {
            Gap::NotGood(newest.received, newest.standing)
        }
        (None, Some(newest), None) => Gap::TooOld(case.now.since(newest.given)),
        (None, None, None) if driver_says(node).is_some_and(|c| !is_on(c)) => not_offered(node),
        (None, None, None) => Gap::NoRound,
    })
}

/// Why a good round that was not appraised speaks for no device: in most cases, because no device signed and there was nothing to appraise.
fn unanswered(node: &NodeAtSite, round: &LastRound) -> Gap {
    match round.none.first() {
        Some(none) if round.signed == 0 && none.why == NoEvidence::NotOffered => not_offered(node),
        Some(none) if round.signed == 0 => Gap::NoAnswer(none.why),
        _ => Gap::NotAppraised(round.received),
    }
}

/// The platform of a node offers no evidence.
fn not_offered(node: &NodeAtSite) -> Gap {
    Gap::NotOffered {
        off: driver_says(node).is_some_and(|c| !is_on(c)),
    }
}

/// What a round says of a device. Where it was presented more than once, the worst counts.
fn answer<'a>(round: &'a AppraisedRound, device: &DeviceFacts) -> Result<(Signed<'a>, Option<Fault>), Gap> {
    let uuid = Some(device.identity.uuid);
    let answers = || {
        let all = round.devices.iter();
        all.filter(move |d| d.attester == Attester::Gpu && d.device == uuid)
            .map(move |device| Signed { round, device })
    };
    for signed in answers() {
        if let Some(fault) = Fault::of(signed.device) {
            return Ok((signed, Some(fault)));
        }
    }
    let mut proved = answers().filter(|s| s.device.is_proved());
    if let Some(signed) = proved.next() {
        let other = proved.any(|s| s.device.identity != signed.device.identity);
        return Ok((signed, other.then_some(Fault::TwoKeys)));
    }
    let Some(first) = answers().next() else {
        return Err(Gap::NotAsked(round.received));
    };
    Err(match first.device.none {
        Some(NoEvidence::NotOffered) => Gap::NotOffered { off: false },
        Some(why) => Gap::NoAnswer(why),
        None => {
            let open = |name: &CheckName| first.device.outcome(*name) != CheckOutcome::Pass;
            let name = IDENTITY.into_iter().find(open).unwrap_or(CheckName::Signature);
            Gap::NotChecked(first.device.why(name).to_owned())
        }
    })
}

/// Devices that proved nothing that counts, node by node and reason by reason.
pub(in crate::conditions) fn gaps(asked: &[Asked<'_>], limit: Term<i64>) -> Vec<Point> {
    let mut groups: Vec<(&Gap, &NodeAtSite, Vec<&Asked<'_>>)> = Vec::new();
    for asked in asked {
        let Proof::Missing(gap, _) = &asked.proof else {
            continue;
        };
        let node = asked.seen.node;
        let same = groups
            .iter_mut()
            .find(|(g, n, _)| *g == gap && n.record.facts.node == node.record.facts.node);
        match same {
            Some((.., devices)) => devices.push(asked),
            None => groups.push((gap, node, vec![asked])),
        }
    }
    let point = |(gap, node, devices): (&Gap, &NodeAtSite, Vec<&Asked<'_>>)| {
        let round = node.record.evidence.newest.as_ref().map(|r| r.report);
        let last = node.record.facts.round.as_ref().map(|r| r.report);
        Point {
            message: gap.message(),
            words: gap.words(devices.len(), &node.status.name, limit),
            subjects: devices.iter().map(|a| a.seen.subject()).collect(),
            evidence: round.into_iter().chain(last).collect(),
            signed: false,
        }
    };
    groups.into_iter().map(point).collect()
}

/// What the driver of a node says of confidential computing, in its newest report.
pub(in crate::conditions) fn driver_says(node: &NodeAtSite) -> Option<&ConfidentialCompute> {
    node.record.facts.newest.as_ref()?.confidential.as_ref()
}

/// Whether confidential computing is on, as a driver says it: with protected PCIe it calls the feature itself off.
pub(in crate::conditions) fn is_on(driver: &ConfidentialCompute) -> bool {
    driver.enabled || driver.multi_gpu_mode != 0
}

/// What a sentence adds where the verifier's operator configured the root of devices in place of the maker's.
pub(in crate::conditions) fn foreign_root<'a>(
    mut rounds: impl Iterator<Item = &'a AppraisedRound>,
) -> String {
    let other = rounds.find(|r| r.root != DEVICE_ROOT);
    other.map_or_else(String::new, |r| configured("devices", r.root))
}

/// The same of the root of manifests.
pub(in crate::conditions) fn foreign_rim_root<'a>(
    mut rounds: impl Iterator<Item = &'a AppraisedRound>,
) -> String {
    let other = rounds.find(|r| r.rim_root != RIM_ROOT);
    other.map_or_else(String::new, |r| configured("manifests", r.rim_root))
}

fn configured(what: &str, root: Digest) -> String {
    format!(
        "; the root of {what} is not the maker's: the verifier's operator configured one whose key has SHA-256 {root}"
    )
}

/// A verdict for the points that decide it, under the name of the first.
pub(in crate::conditions) fn decided(
    outcome: Outcome,
    points: &[Point],
    sentence: impl FnOnce(&[String]) -> String,
) -> Verdict {
    let words: Vec<String> = points.iter().map(|p| p.words.clone()).collect();
    let message = points.first().map_or("", |p| p.message);
    Verdict::new(outcome, message, sentence(&words))
        .subjects(points.iter().flat_map(|p| p.subjects.iter().cloned()))
        .evidence(points.iter().flat_map(|p| p.evidence.iter().copied()))
}

/// The grade of a verdict that met rests on what devices signed, and not met on these points.
pub(in crate::conditions) fn grade(outcome: Outcome, wrong: &[Point]) -> Grade {
    match outcome {
        Outcome::Met => Grade::DeviceSigned,
        Outcome::NotMet if wrong.iter().all(|p| p.signed) => Grade::DeviceSigned,
        _ => Grade::DriverReported,
    }
}
