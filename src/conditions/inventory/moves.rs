//! Moves: devices that change their site, and the transfers that cover them.
//!
//! Decides: whether each change of site that the sites of this verifier show was recorded before the device arrived. A transfer counts from when it
//! was put on file, whatever date it bears. Trusts what [`super::presence`] says of clocks and keys. Does not establish that a device did not move
//! to where no node of this verifier sees it.

use super::super::case::{Case, UNDER_REVOKED};
use super::super::finding::{Quantity, Severity, Verdict, count, few};
use super::super::papers::Paper;
use super::presence::Stay;
use crate::appraisal::{DeviceFacts, Grade, NodeAtSite, SightedProof, Sighting};
use crate::id::{DeviceUuid, Digest};
use crate::rules::Profile;
use crate::statement::{Authorisation, Device, Role, Transfer};
use crate::time::{UnixSeconds, span};
use std::collections::{BTreeMap, BTreeSet};

/// INV-04: a device changes its site only under a transfer that was recorded before.
pub(in crate::conditions) fn recorded_before(case: &Case<'_>) -> Verdict {
    let since = case.since();
    let (mut wrong, mut open, mut fine) = (Vec::new(), Vec::new(), Vec::new());
    for board in boards(case) {
        // A transfer covers one move of a device.
        let mut used = BTreeSet::new();
        for step in board.steps(case, since) {
            match step.ruling(case, &used) {
                Ok(paper) => {
                    used.insert(paper.digest);
                    fine.push((step, paper));
                }
                Err(trouble) if trouble.sure => wrong.push(step.found(case, trouble)),
                Err(trouble) => open.push(step.found(case, trouble)),
            }
        }
        open.extend(board.unkept(since));
    }
    let sure = !wrong.is_empty();
    let found: Vec<Found> = if sure { wrong } else { open };
    let Some(first) = found.first() else {
        return case.settle_devices(since, all_recorded(case, since, &fine));
    };
    let words: Vec<String> = found.iter().map(|f| f.words.clone()).collect();
    let verdict = match sure {
        true => Verdict::not_met(first.message, few(&words)).measured(Quantity::at_least(found.len(), MOVES)),
        false => Verdict::cannot_tell(first.message, few(&words)),
    };
    let verdict = match found.iter().all(|f| f.within_one_country) {
        true => verdict.severity(Severity::Major),
        false => verdict,
    };
    let declared = found.iter().any(|f| f.declared);
    verdict
        .grade(if declared {
            Grade::Declared
        } else {
            Grade::DriverReported
        })
        .limit(Quantity::at_most(0, MOVES))
        .window(since, case.now)
        .coverage(case.coverage())
        .subjects(found.iter().map(|f| f.device.nvml()))
        .evidence(found.iter().flat_map(|f| f.evidence.iter().copied()))
}

/// A move that no transfer covers, or may not.
struct Found {
    message: &'static str,
    words: String,
    device: DeviceUuid,
    within_one_country: bool,
    /// Whether it rests on what someone said.
    declared: bool,
    evidence: Vec<Digest>,
}

const MOVES: &str = "moves that no transfer covers";

fn all_recorded(case: &Case<'_>, since: UnixSeconds, fine: &[(Step<'_>, Paper<'_, Transfer>)]) -> Verdict {
    if fine.is_empty() {
        let sentence = format!(
            "none of {} changed its site, as far as the sites of this verifier show",
            count(case.unique_since(since).len(), "device")
        );
        return Verdict::met("no-move", sentence).none_of(MOVES);
    }
    let words: Vec<String> = fine
        .iter()
        .map(|(step, paper)| format!("{} under the {}", step.label(), paper.label()))
        .collect();
    Verdict::met(
        "recorded-before",
        format!("each move was recorded before: {}", few(&words)),
    )
    .none_of(MOVES)
    .grade(Grade::Declared)
    .subjects(fine.iter().map(|(step, _)| step.to.uuid.nvml()))
    .evidence(
        fine.iter()
            .flat_map(|(step, paper)| step.reports().into_iter().chain([paper.digest])),
    )
}

/// A device that was seen here and elsewhere, with all its stays.
struct Board<'a> {
    stays: Vec<Sojourn<'a>>,
    /// When it last came and went here more often than is kept.
    unkept: Option<(UnixSeconds, &'a DeviceFacts)>,
}

/// A stay at a site.
#[derive(Clone, Copy)]
struct Sojourn<'a> {
    site: &'a str,
    uuid: DeviceUuid,
    stay: Stay,
    /// When its first report came.
    received: UnixSeconds,
}

impl Sojourn<'_> {
    /// Between which times it began, as surely as clocks and keys tell: it was there when its first report came.
    fn began(&self) -> (UnixSeconds, UnixSeconds) {
        let latest = self
            .stay
            .sure
            .map_or(self.received, |(from, _)| from.min(self.received));
        (self.stay.possible.0.min(latest), latest)
    }
}

/// The devices of this site that were seen at others: by UUID, by serial number, or by the key that they proved. Another licence's are its own.
fn boards<'a>(case: &Case<'a>) -> Vec<Board<'a>> {
    let elsewhere = &case.facts.elsewhere;
    let mut here: BTreeMap<DeviceUuid, Vec<(&'a NodeAtSite, &'a DeviceFacts)>> = BTreeMap::new();
    for node in case.nodes().filter(|_| !elsewhere.is_empty()) {
        let ours = node.record.facts.devices.iter().filter(|d| !case.is_beside(d));
        for device in ours {
            here.entry(device.identity.uuid).or_default().push((node, device));
        }
    }
    let since = case.since();
    let known = Elsewhere::of(elsewhere);
    let board = |at: &Vec<(&'a NodeAtSite, &'a DeviceFacts)>| {
        let others: BTreeSet<usize> = at.iter().flat_map(|(node, d)| known.same(node, d)).collect();
        let others = others
            .into_iter()
            .filter_map(|i| elsewhere.get(i))
            .flat_map(|s| away(case, since, s));
        let mut others = others.peekable();
        others.peek().is_some().then(|| Board {
            stays: own(case, since, at).chain(others).collect(),
            unkept: at
                .iter()
                .filter_map(|(_, d)| Some((d.presence_unkept?, *d)))
                .max_by_key(|(t, _)| *t),
        })
    };
    here.values().filter_map(board).collect()
}

/// Places of sightings in their list, by what makes them the same device.
struct Elsewhere<'a> {
    by_uuid: BTreeMap<DeviceUuid, Vec<usize>>,
    by_serial: BTreeMap<&'a str, Vec<usize>>,
    by_key: BTreeMap<Digest, Vec<usize>>,
}

impl<'a> Elsewhere<'a> {
    fn of(seen: &'a [Sighting]) -> Self {
        let mut all = Self {
            by_uuid: BTreeMap::new(),
            by_serial: BTreeMap::new(),
            by_key: BTreeMap::new(),
        };
        for (i, s) in seen.iter().enumerate() {
            all.by_uuid.entry(s.uuid).or_default().push(i);
            if let Some(serial) = &s.serial {
                all.by_serial.entry(serial).or_default().push(i);
            }
            if let Some(proof) = &s.proof {
                all.by_key.entry(proof.key).or_default().push(i);
            }
        }
        all
    }

    fn same(&self, node: &NodeAtSite, device: &DeviceFacts) -> Vec<usize> {
        let identity = &device.identity;
        let by_serial = identity.serial.as_deref().and_then(|s| self.by_serial.get(s));
        let proof =
            (!self.by_key.is_empty()).then(|| SightedProof::of(&node.record.evidence, &identity.uuid));
        let by_key = proof.flatten().and_then(|p| self.by_key.get(&p.key));
        let by_uuid = self.by_uuid.get(&identity.uuid);
        by_uuid
            .into_iter()
            .chain(by_serial)
            .chain(by_key)
            .flatten()
            .copied()
            .collect()
    }
}

fn own<'a>(
    case: &Case<'a>,
    since: UnixSeconds,
    at: &[(&'a NodeAtSite, &'a DeviceFacts)],
) -> impl Iterator<Item = Sojourn<'a>> {
    let stays = at.iter().flat_map(|(node, device)| {
        let (facts, revoked) = (&node.record.facts, node.status.revoked_from);
        device.presence.iter().map(move |s| Sojourn {
            site: case.facts.site,
            uuid: device.identity.uuid,
            stay: Stay::new(case, since, &facts.timed(s), &facts.clock, revoked),
            received: s.first_received,
        })
    });
    stays.collect::<Vec<_>>().into_iter()
}

fn away<'a>(case: &Case<'_>, since: UnixSeconds, seen: &'a Sighting) -> Vec<Sojourn<'a>> {
    let stays = seen.presence.iter().map(|s| Sojourn {
        site: &seen.site,
        uuid: seen.uuid,
        stay: Stay::new(case, since, s, &seen.clock, seen.status.revoked_from),
        received: s.first_received,
    });
    stays.collect()
}

impl<'a> Board<'a> {
    /// Its changes of site to or from this one that ended since a time.
    fn steps(&self, case: &Case<'_>, since: UnixSeconds) -> Vec<Step<'a>> {
        let mut stays: Vec<&Sojourn<'a>> = self.stays.iter().collect();
        stays.sort_by_key(|s| (s.stay.said, s.site));
        let mut steps = Vec::new();
        for (from, to) in stays.iter().zip(stays.iter().skip(1)) {
            let ours = [from.site, to.site].contains(&case.facts.site.as_str());
            if from.site != to.site && ours && to.began().1.max(to.stay.said.0) >= since {
                steps.push(Step {
                    from: **from,
                    to: **to,
                });
            }
        }
        steps
    }

    /// That it may have moved more often than is kept.
    fn unkept(&self, since: UnixSeconds) -> Option<Found> {
        let (_, device) = self.unkept.filter(|(t, _)| *t >= since)?;
        let device_id = device.identity.uuid;
        Some(Found {
            message: "moves-unkept",
            words: format!(
                "{} came and went more often than is kept, so that its moves cannot be told",
                device_id.nvml()
            ),
            device: device_id,
            within_one_country: false,
            declared: false,
            evidence: vec![device.last_report],
        })
    }
}

/// One change of site.
struct Step<'a> {
    from: Sojourn<'a>,
    to: Sojourn<'a>,
}

/// Why a change of site is not covered.
struct Trouble {
    /// Whether the evidence shows it.
    sure: bool,
    message: &'static str,
    /// What follows the move's label.
    words: String,
    /// The statement that it rests on.
    paper: Option<Digest>,
}

impl Trouble {
    fn new(sure: bool, message: &'static str, words: impl Into<String>, paper: Option<Digest>) -> Self {
        Self {
            sure,
            message,
            words: words.into(),
            paper,
        }
    }
}

impl Step<'_> {
    fn label(&self) -> String {
        let (from, to) = (self.from.site, self.to.site);
        format!(
            "{} went from site {from} to site {to}, where it was first seen on {},",
            self.to.uuid.nvml(),
            self.to.stay.said.0
        )
    }

    /// The report of the end before it, and of the beginning after it.
    fn reports(&self) -> [Digest; 2] {
        let ([_, last], [first, _]) = (self.from.stay.reports, self.to.stay.reports);
        [last, first]
    }

    /// Whether it crosses a border, as far as licences tell.
    fn crosses(&self, case: &Case<'_>) -> Option<bool> {
        Some(country(case, self.from.site)? != country(case, self.to.site)?)
    }

    /// Whether it is sure which of the two stays came first.
    fn is_ordered(&self) -> bool {
        self.from.began().1 <= self.to.began().0
    }

    fn is_doubtful(&self) -> bool {
        self.from.stay.told.is_none() || self.to.stay.told.is_none()
    }

    /// The transfer that covers it, or why none does.
    fn ruling<'p>(&self, case: &Case<'p>, used: &BTreeSet<Digest>) -> Result<Paper<'p, Transfer>, Trouble> {
        let [here, there] = [Device(self.from.uuid), Device(self.to.uuid)];
        let names = |p: &Paper<'p, Transfer>| {
            p.header
                .devices
                .iter()
                .flatten()
                .any(|d| *d == here || *d == there)
        };
        let all: Vec<_> = case
            .papers()
            .all::<Transfer>()
            .filter(|p| names(p) && !used.contains(&p.digest))
            .collect();
        let leads = |p: &&Paper<'p, Transfer>, from: &str, to: &str| {
            p.claims.from_site.as_str() == from && p.claims.to_site.as_str() == to
        };
        let back = || all.iter().find(|p| leads(p, self.to.site, self.from.site));
        let mut worst: Option<Trouble> = None;
        // The oldest first, so that what was meant for a later move is left for it.
        for paper in all
            .iter()
            .rev()
            .filter(|p| leads(p, self.from.site, self.to.site))
        {
            match self.fits(case, paper) {
                Ok(()) if self.is_doubtful() => {}
                Ok(()) => return Ok(*paper),
                Err(trouble) if worst.as_ref().is_none_or(|w| w.sure) => worst = Some(trouble),
                Err(_) => {}
            }
        }
        Err(match worst {
            _ if self.is_doubtful() => Self::revoked(),
            Some(trouble) => trouble,
            None => match back().filter(|_| !self.is_ordered()) {
                Some(paper) => {
                    Trouble::new(false, "order-unsure", format!("and {UNSURE}"), Some(paper.digest))
                }
                None => Trouble::new(
                    true,
                    "not-recorded",
                    "and no transfer of it between them is heard",
                    None,
                ),
            },
        })
    }

    fn revoked() -> Trouble {
        Trouble::new(
            false,
            "revoked-key",
            UNDER_REVOKED.trim_start_matches([',', ' ']),
            None,
        )
    }

    fn found(&self, case: &Case<'_>, trouble: Trouble) -> Found {
        Found {
            message: trouble.message,
            words: format!("{} {}", self.label(), trouble.words),
            device: self.to.uuid,
            within_one_country: self.crosses(case) == Some(false),
            declared: trouble.paper.is_some(),
            evidence: self.reports().into_iter().chain(trouble.paper).collect(),
        }
    }

    /// Whether a transfer between these sites covers it.
    fn fits(&self, case: &Case<'_>, paper: &Paper<'_, Transfer>) -> Result<(), Trouble> {
        let (said, header, label) = (paper.claims, paper.header, paper.label());
        let trouble =
            |sure, message, words: String| Err(Trouble::new(sure, message, words, Some(paper.digest)));
        let (earliest, latest) = self.to.began();
        let recorded = paper.filed.max(header.begins());
        if recorded > latest {
            return trouble(
                true,
                "recorded-after",
                format!("and the {label} was recorded only on {recorded}"),
            );
        }
        if recorded > earliest || !self.is_ordered() {
            return trouble(
                false,
                "order-unsure",
                format!("and whether the {label}, recorded on {recorded}, came before is open: {UNSURE}"),
            );
        }
        if header.valid_to.0 <= earliest {
            return trouble(
                true,
                "transfer-expired",
                format!("and the {label} held until {}", header.valid_to.0),
            );
        }
        if said.leaves.0 > latest {
            return trouble(
                true,
                "too-early",
                format!("and the {label} lets it leave on {}", said.leaves.0),
            );
        }
        for (site, named) in [
            (self.from.site, &said.from_country),
            (self.to.site, &said.to_country),
        ] {
            if let Some(known) = country(case, site).filter(|c| *c != named.as_str()) {
                let words = format!("and the {label} places site {site} in {named}, the licence in {known}");
                return trouble(true, "other-country", words);
            }
        }
        if said.from_country == said.to_country {
            return Ok(());
        }
        authorised(case, paper, latest)?;
        notified(case, paper, earliest.min(said.leaves.0))
    }
}

/// What a sentence says where clocks leave an order open.
const UNSURE: &str = "the clocks and the delay of reports do not show which was first";

/// Where a site lies, by the licences that name it.
fn country<'a>(case: &Case<'a>, site: &str) -> Option<&'a str> {
    let beside = case.facts.licences.iter().map(|l| &**l);
    let mut licences = std::iter::once(case.licence).chain(beside);
    licences.find_map(|l| l.site(site)?.country.as_deref())
}

/// That an agency or the supplier confirms the authorisation under which a transfer crosses a border, for both countries, at that time.
fn authorised(case: &Case<'_>, paper: &Paper<'_, Transfer>, at: UnixSeconds) -> Result<(), Trouble> {
    let (said, label) = (paper.claims, paper.label());
    let trouble =
        |sure, message, words: String, digest| Err(Trouble::new(sure, message, words, Some(digest)));
    let border = format!("from {} to {}", said.from_country, said.to_country);
    let Some(number) = &said.authorisation else {
        let words = format!("and the {label} names no authorisation to cross the border {border}");
        return trouble(true, "no-authorisation", words, paper.digest);
    };
    let named: Vec<Paper<'_, Authorisation>> = case
        .papers()
        .all::<Authorisation>()
        .filter(|a| a.claims.number == *number && a.claims.consignee.as_str() == case.licence.consignee)
        .filter(|a| matches!(a.header.role, Role::Authority | Role::Supplier))
        .collect();
    let covers = |a: &Paper<'_, Authorisation>| {
        let countries = a.claims.countries.as_ref()?;
        Some(countries.contains(&said.from_country) && countries.contains(&said.to_country))
    };
    if named
        .iter()
        .any(|a| a.header.holds(at) && covers(a) == Some(true))
    {
        return Ok(());
    }
    match named.first() {
        None => {
            let words = format!(
                "and no agency's or supplier's word on authorisation {number}, under which it crosses the border {border}, is on file; it would settle it"
            );
            trouble(false, "authorisation-missing", words, paper.digest)
        }
        Some(a) if covers(a).is_none() => {
            let words = format!(
                "and the {} does not say between which countries items may move",
                a.label()
            );
            trouble(false, "authorisation-open", words, a.digest)
        }
        Some(a) => {
            let words = format!(
                "and the {} does not cover the way {border} on that day",
                a.label()
            );
            trouble(true, "not-authorised", words, a.digest)
        }
    }
}

/// That a move across a border was told long enough before it, where the licence or its rules ask for that.
fn notified(case: &Case<'_>, paper: &Paper<'_, Transfer>, moved: UnixSeconds) -> Result<(), Trouble> {
    let profiles = || {
        case.licence
            .profiles
            .iter()
            .chain(case.rules.iter().flat_map(|r| &r.profiles))
    };
    if case.licence.limits.transfer_notice.is_none() && !profiles().any(|p| *p == Profile::Ifr2025) {
        return Ok(());
    }
    let label = paper.label();
    let trouble = |sure, message, words| Err(Trouble::new(sure, message, words, Some(paper.digest)));
    let Some(limit) = case.term(|l| l.transfer_notice) else {
        let words = "and neither the licence nor its rule set sets how long before this must be told (`transfer_notice`)";
        return trouble(false, "no-limit", words.to_owned());
    };
    let Some(told) = &paper.claims.notified else {
        return trouble(
            false,
            "notice-unknown",
            format!("and the {label} does not say when it was told"),
        );
    };
    if moved.since(told.0) < limit.value {
        let words = format!(
            "and by the {label} it was told on {}, {} before; {} asks for {}",
            told.0,
            span(moved.since(told.0).max(0)),
            limit.from,
            span(limit.value)
        );
        return trouble(true, "notice-too-short", words);
    }
    Ok(())
}
