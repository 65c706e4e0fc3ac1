//! Firmware: what devices measure of themselves, and which versions they run.
//!
//! Trusts what [`super::proof`] trusts, and the maker's reference manifests. Does not establish what differs where a measurement does.

use super::super::case::{Case, UNDER_REVOKED, no_report};
use super::super::finding::{Outcome, Quantity, Verdict, count, few};
use super::proof::{
    Asked, Point, Proof, Signed, asked, decided, devices, foreign_rim_root, foreign_root, gaps, grade,
};
use crate::appraisal::evidence::{AppraisedDevice, AppraisedRound, CheckName, CheckOutcome};
use crate::appraisal::{LibraryFacts, NodeAtSite};
use crate::hardware::nvidia::consensus::LEAST_PEERS;
use crate::id::{Digest, NodeId};
use crate::report::Attester;
use std::collections::{BTreeMap, BTreeSet};

/// SEC-01: every device that reports measures what its maker published, and runs versions that the licence allows.
pub(in crate::conditions) fn as_published(case: &Case<'_>) -> Verdict {
    let Some(limit) = case.term(|l| l.proof_max_age) else {
        return Verdict::no_limit("how old a device's proof of its firmware may be");
    };
    let asked = asked(case, limit);
    let mut found = Found::default();
    for asked in &asked {
        if let Some(signed) = asked.signed().filter(|s| s.device.answered()) {
            let fresh = asked.given().is_some();
            found.judge(case, &asked.seen.label(), &asked.seen.subject(), &signed, fresh);
        }
    }
    for (node, round) in rounds(&asked) {
        for device in round
            .devices
            .iter()
            .filter(|d| d.attester == Attester::Switch && d.answered())
        {
            let pdi = device.pdi.as_deref().unwrap_or("unknown");
            let name = format!("switch {pdi} of node {}", node.status.name);
            let subject = node.record.facts.node.to_string();
            found.judge(case, &name, &subject, &Signed { round, device }, true);
        }
    }
    let unsigned: Vec<_> = asked.iter().filter(|a| a.given().is_none()).collect();
    let said = found.as_the_driver_says(case, &unsigned);
    found.open.splice(..0, unlike_peers(&asked));
    found.open.extend(unproved(&asked));
    found.open.extend(gaps(&asked, limit));

    let rounds = || asked.iter().filter_map(|a| Some(a.signed()?.round));
    let foreign = format!("{}{}", foreign_root(rounds()), foreign_rim_root(rounds()));
    let Found { wrong, open } = found;
    let verdict = if !wrong.is_empty() {
        decided(Outcome::NotMet, &wrong, |words| {
            format!("{}{foreign}", few(words))
        })
        .measured(Quantity::at_least(wrong.len(), "deviations"))
        .limit(Quantity::at_most(0, "deviations"))
    } else if !case.nodes().any(|n| n.record.facts.newest.is_some()) {
        no_report(Verdict::met("", ""))
    } else if asked.is_empty() {
        let none = "no device reports at present, so that none can show its firmware";
        case.hold_devices(Verdict::cannot_tell("no-device", none))
    } else if !open.is_empty() {
        decided(Outcome::CannotTell, &open, |words| {
            format!("{}{said}{foreign}", few(words))
        })
    } else {
        let sentence = format!(
            "each of {} that report signed measurements that are what its maker published for {}, and no certificate was revoked{foreign}",
            count(devices(&asked), "device"),
            versions(asked.iter().filter_map(Asked::given).map(|s| s.device)),
        );
        let evidence = asked.iter().filter_map(Asked::given).flat_map(|s| s.evidence());
        case.hold_devices(Verdict::met("as-published", sentence).none_of("deviations"))
            .evidence(evidence)
    };
    let grade = grade(verdict.outcome, &wrong);
    verdict
        .grade(grade)
        .window(
            case.now.plus(limit.value.saturating_neg()).max(case.since()),
            case.now,
        )
        .coverage(case.coverage())
}

/// The rounds that speak for devices, each once, with its node.
fn rounds<'a>(asked: &[Asked<'a>]) -> Vec<(&'a NodeAtSite, &'a AppraisedRound)> {
    let given = asked.iter().filter_map(|a| {
        let node = a.seen.node;
        Some((node.record.facts.node, (node, a.given()?.round)))
    });
    let each: BTreeMap<NodeId, _> = given.collect();
    each.into_values().collect()
}

/// Devices that no manifest decides and that measure otherwise than most at the site of their chip, mode, driver and VBIOS. A hint and never proof:
/// it accuses nobody, and a site that was altered as a whole agrees with itself.
fn unlike_peers(asked: &[Asked<'_>]) -> Vec<Point> {
    let mut groups: BTreeMap<_, Vec<(&Asked<'_>, Signed<'_>, Digest)>> = BTreeMap::new();
    for asked in asked {
        if let Some((signed, measured)) = asked.given().and_then(|s| Some((s, s.device.measured?))) {
            let device = signed.device;
            let kind = (&device.arch, &device.mode, &device.driver, &device.vbios);
            groups.entry(kind).or_default().push((asked, signed, measured));
        }
    }
    let mut found = Vec::new();
    for group in groups.values().filter(|g| g.len() >= LEAST_PEERS) {
        for (asked, signed, measured) in group.iter().filter(|(_, s, _)| !s.device.whole) {
            let same = group.iter().filter(|(.., m)| m == measured).count();
            if same.saturating_mul(2) > group.len() {
                continue;
            }
            let words = format!(
                "{} measures otherwise than most of the {} at the site with its chip, mode, driver and VBIOS, which is a hint and no proof",
                asked.seen.label(),
                count(group.len(), "device")
            );
            found.push(Point {
                message: "unlike-peers",
                words,
                subjects: vec![asked.seen.subject()],
                evidence: signed.evidence().collect(),
                signed: true,
            });
        }
    }
    found
}

/// Devices whose own answer is wrong: what they say of their firmware is nobody's word.
fn unproved(asked: &[Asked<'_>]) -> Option<Point> {
    let wrong: Vec<_> = asked
        .iter()
        .filter(|a| matches!(a.proof, Proof::Wrong(..)))
        .collect();
    let first = wrong.first()?;
    Some(Point {
        message: "not-proved",
        words: format!(
            "{} did not prove {} (INV-05), among them {}",
            count(wrong.len(), "device"),
            if wrong.len() == 1 { "its key" } else { "their keys" },
            first.seen.label()
        ),
        subjects: wrong.iter().map(|a| a.seen.subject()).collect(),
        evidence: wrong
            .iter()
            .filter_map(|a| a.signed())
            .flat_map(|s| s.evidence())
            .collect(),
        signed: false,
    })
}

/// The versions that devices sign, in words.
fn versions<'a>(devices: impl Iterator<Item = &'a AppraisedDevice> + Clone) -> String {
    let listed = |what: &str, all: BTreeSet<&str>| {
        let all: Vec<String> = all.into_iter().map(str::to_owned).collect();
        (!all.is_empty()).then(|| format!("{what} {}", few(&all)))
    };
    let driver = listed(
        "driver",
        devices.clone().filter_map(|d| d.driver.as_deref()).collect(),
    );
    let vbios = listed("VBIOS", devices.filter_map(|d| d.vbios.as_deref()).collect());
    let both: Vec<String> = driver.into_iter().chain(vbios).collect();
    match both.is_empty() {
        true => "its firmware".to_owned(),
        false => both.join(" and "),
    }
}

/// What was found wrong, and what stays open.
#[derive(Default)]
struct Found {
    wrong: Vec<Point>,
    open: Vec<Point>,
}

impl Found {
    /// Judges what a device signed. Where that is too old to speak for the site, it still speaks against it.
    fn judge(&mut self, case: &Case<'_>, name: &str, subject: &str, signed: &Signed<'_>, fresh: bool) {
        let device = signed.device;
        let point = |message, words: String| Point {
            message,
            words: format!("{name} {words}"),
            subjects: vec![subject.to_owned()],
            evidence: signed
                .evidence()
                .chain(device.collateral.iter().copied())
                .collect(),
            signed: true,
        };
        let fails = |check| device.outcome(check) == CheckOutcome::Fail;
        let mut open = None;
        if fails(CheckName::Measurements) && !device.mismatches.is_empty() {
            let indices: Vec<String> = device.mismatches.iter().map(ToString::to_string).collect();
            let is = if indices.len() == 1 {
                "measurement"
            } else {
                "measurements"
            };
            let words = format!(
                "measures otherwise than its maker published, at {is} {}; what differs the measurements do not say",
                indices.join(", ")
            );
            self.wrong.push(point("measurements-differ", words));
        }
        if fails(CheckName::Revocation) {
            let words = format!(
                "rests on certificates that do not hold: {}",
                device.why(CheckName::Revocation)
            );
            self.wrong.push(point("revoked-certificate", words));
        }
        // Manifests that are out of time or contradict each other are their maker's, and accuse no device.
        for check in [CheckName::Rim, CheckName::Measurements, CheckName::Revocation] {
            if open.is_none() && device.outcome(check) != CheckOutcome::Pass {
                open = Some(point(
                    "not-compared",
                    format!("could not be compared in full: {check}: {}", device.why(check)),
                ));
            }
        }
        if open.is_none() && !device.whole {
            let words = "could not be compared in full: manifests for a part of it are missing";
            open = Some(point("not-compared", words.to_owned()));
        }
        let licence = case.licence;
        let lists = [
            ("driver", &licence.driver_versions, &device.driver),
            ("VBIOS", &licence.vbios_versions, &device.vbios),
        ];
        let gpu = device.attester == Attester::Gpu;
        for (what, allowed, version) in lists
            .into_iter()
            .filter(|(_, allowed, _)| gpu && !allowed.is_empty())
        {
            match version {
                Some(version) if lists_version(allowed, version) => {}
                Some(version) => {
                    let words =
                        format!("runs {what} {version}, as it signed, which the licence does not list");
                    self.wrong.push(point("version-not-allowed", words));
                }
                None => {
                    let words =
                        format!("does not sign its version of {what}, and the licence lists those allowed");
                    open = open.or_else(|| Some(point("version-not-told", words)));
                }
            }
        }
        self.open.extend(open.filter(|_| fresh));
    }

    /// Judges the versions that drivers report of devices that proved nothing, and says which these are.
    fn as_the_driver_says(&mut self, case: &Case<'_>, unsigned: &[&Asked<'_>]) -> String {
        let mut said = BTreeSet::new();
        let mut nodes = BTreeSet::new();
        let licence = case.licence;
        for asked in unsigned {
            let seen = &asked.seen;
            let node = seen.node;
            let library = newest_library(node);
            if let Some(library) = library {
                said.insert(format!("driver {}", library.driver_version));
            }
            let vbios = seen.device.identity.vbios.as_ref();
            said.extend(vbios.map(|v| format!("VBIOS {v}")));
            let first = nodes.insert(node.record.facts.node);
            let driver =
                library.filter(|l| first && !lists_version(&licence.driver_versions, &l.driver_version));
            if let Some(library) = driver {
                let words = format!("node {} runs driver {}", node.status.name, library.driver_version);
                let late = node.status.is_doubtful(library.first_received);
                self.reported(words, node.record.facts.node.to_string(), library.report, late);
            }
            if let Some(version) = vbios.filter(|v| !lists_version(&licence.vbios_versions, v)) {
                let words = format!("{} runs VBIOS {version}", seen.label());
                self.reported(
                    words,
                    seen.subject(),
                    seen.device.last_report,
                    seen.is_told_late(),
                );
            }
        }
        let said: Vec<String> = said.into_iter().collect();
        match said.is_empty() {
            true => String::new(),
            false => format!("; of these only the driver tells versions: {}", few(&said)),
        }
    }

    /// A version that the driver reports and the licence does not list.
    fn reported(&mut self, words: String, subject: String, report: Digest, late: bool) {
        let revoked = if late { UNDER_REVOKED } else { "" };
        let point = Point {
            message: "version-not-allowed",
            words: format!("{words}, as its driver reports, which the licence does not list{revoked}"),
            subjects: vec![subject],
            evidence: vec![report],
            signed: false,
        };
        if late {
            self.open.push(point)
        } else {
            self.wrong.push(point)
        }
    }
}

/// Whether a list of allowed versions holds one; an empty list holds any.
fn lists_version(allowed: &[String], version: &str) -> bool {
    allowed.is_empty() || allowed.iter().any(|a| a.eq_ignore_ascii_case(version))
}

/// The library through which the driver of a node was asked last.
fn newest_library(node: &NodeAtSite) -> Option<&LibraryFacts> {
    node.record.facts.libraries.iter().max_by_key(|l| l.last_seen)
}
