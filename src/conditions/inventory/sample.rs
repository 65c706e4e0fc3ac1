//! Samples: what people saw of devices on site, and what devices showed when they were tried.
//!
//! Decides: whether a sample that an assessor looked at is large enough for what it must find, and whether what a laboratory measured is what the
//! catalogue says of the model. Does not establish that a sample was drawn as it says: its seed lets both sides draw it again.

use super::super::case::{Case, Seen, no_report};
use super::super::finding::{Outcome, Quantity, Verdict, count, decimal, few};
use super::super::papers::Paper;
use super::super::site::attestation::{assessor_says, on_paper, unless_wanting};
use super::plan::SamplePlan;
use crate::accelerator::{Confidence, Model};
use crate::appraisal::Grade;
use crate::id::DeviceUuid;
use crate::statement::{SampleInspection, TestCertificate};
use crate::unit::Ppm;
use std::collections::{BTreeMap, BTreeSet};

/// INV-07: a sample of devices that was looked at on site matches the inventory.
pub(in crate::conditions) fn plates_match(case: &Case<'_>) -> Verdict {
    unless_wanting(case, "INV-07", inspected(case))
}

fn inspected(case: &Case<'_>) -> Verdict {
    let papers = match case.papers_of::<SampleInspection>() {
        Ok(papers) => papers,
        // A finding without numbers does not show that the sample was large enough.
        Err(missing) => return *missing,
    };
    let mut issuers = BTreeSet::new();
    let newest: Vec<_> = papers
        .iter()
        .filter(|p| issuers.insert(p.header.issuer.as_str()))
        .collect();
    // What did not match counts however old it is, and whoever else looked.
    if let Some(bad) = newest.iter().find(|p| p.claims.mismatched > 0) {
        let (said, label) = (bad.claims, bad.label());
        let notes = said
            .notes
            .as_ref()
            .map_or_else(String::new, |n| format!(": {}", n.as_str().replace('\n', " ")));
        let sentence = format!(
            "by the {label}, {} of {} that were looked at did not match{notes}",
            said.mismatched,
            devices(said.inspected)
        );
        return on_paper(case, Verdict::not_met("mismatched", sentence), bad)
            .measured(Quantity::at_least(said.mismatched, "devices that did not match"))
            .limit(Quantity::at_most(0, "devices that did not match"));
    }
    let (Some(confidence), Some(defect)) = (
        case.term(|l| l.sample_confidence),
        case.term(|l| l.sample_defect_max),
    ) else {
        return Verdict::no_limit(
            "how surely a sample must find which share of wrong devices (`sample_confidence`, `sample_defect_max`)",
        );
    };
    let Some(age) = case.term(|l| l.assessment_max_age) else {
        return Verdict::no_limit("how old an assessment may be (`assessment_max_age`)");
    };
    let judged: Vec<Verdict> = newest
        .iter()
        .map(|p| {
            let plan = SamplePlan {
                population: p.claims.population,
                defect: defect.value,
                confidence: confidence.value,
            };
            suffices(case, p, plan, age.value).limit(Quantity::at_least(decimal(confidence.value), SURE))
        })
        .collect();
    let met = judged.iter().find(|v| v.outcome == Outcome::Met);
    met.or_else(|| judged.first())
        .cloned()
        .unwrap_or_else(|| case.unsettled("INV-07"))
}

const SURE: &str = "sureness to find a wrong device";

/// Whether one inspection in which nothing was wrong suffices.
fn suffices(case: &Case<'_>, paper: &Paper<'_, SampleInspection>, plan: SamplePlan, age: i64) -> Verdict {
    let (said, label) = (paper.claims, paper.label());
    let open = |message, sentence: String| on_paper(case, Verdict::cannot_tell(message, sentence), paper);
    if let Some(old) = case.too_old(paper.header, age) {
        return open("too-old", format!("the {label} {old}"));
    }
    let listed = u64::try_from(case.rows().count()).unwrap_or(u64::MAX);
    let seen = u64::try_from(case.unique_since(case.since()).len()).unwrap_or(u64::MAX);
    if said.population != listed && said.population != seen {
        let sentence = format!(
            "the {label} was drawn from {}; the manifest lists {} for this site, and {} were seen",
            devices(said.population),
            devices(listed),
            devices(seen)
        );
        return open("other-population", sentence);
    }
    if said.drawn > said.population || said.inspected > said.drawn {
        let sentence = format!(
            "the {label} contradicts itself: {} were looked at, of {} that were drawn from {}",
            said.inspected, said.drawn, said.population
        );
        return open("contradicts-itself", sentence);
    }
    if said.inspected < said.drawn {
        let sentence = format!(
            "by the {label}, {} of {} that were drawn were looked at, and those that were not may be those that are wrong",
            said.inspected,
            devices(said.drawn)
        );
        return open("not-all-inspected", sentence);
    }
    let sureness = plan.sureness(said.drawn);
    let what = format!(
        "a share of {} wrong devices among {}",
        plan.defect,
        devices(said.population)
    );
    let measured = Quantity::at_least(decimal(sureness), SURE);
    if !plan.suffices(said.drawn) {
        let least = plan.least().map_or_else(String::new, |n| {
            format!("; a sample of {} would settle it", devices(n))
        });
        let sentence = format!(
            "the {label} looked at {}, which is {sureness} sure to find {what}, and must be {}{least}",
            devices(said.drawn),
            plan.confidence
        );
        return open("sample-too-small", sentence).measured(measured);
    }
    let sentence = format!(
        "by the {label}, all of {} that were drawn match the inventory; so many are {sureness} sure to find {what}",
        devices(said.drawn)
    );
    on_paper(case, Verdict::met("sample-matches", sentence), paper).measured(measured)
}

/// What an assessor's visit says of devices that cannot prove who they are (INV-05): its finding on that condition, else a sample that suffices.
pub(in crate::conditions) fn visited(case: &Case<'_>) -> Option<Verdict> {
    assessor_says(case, "INV-05").or_else(|| Some(plates_match(case)).filter(|v| v.outcome == Outcome::Met))
}

/// INV-08: a device performs like the model that it claims to be.
pub(in crate::conditions) fn performs(case: &Case<'_>) -> Verdict {
    let Some(tolerance) = case.term(|l| l.performance_tolerance) else {
        return Verdict::no_limit(
            "how far what a device showed may be from its model's figures (`performance_tolerance`)",
        );
    };
    let since = case.since();
    if !case.nodes().any(|n| n.record.facts.newest.is_some()) {
        return no_report(Verdict::met("", "")).grade(Grade::Declared);
    }
    let certificates = certificates(case);
    let seen: Vec<Seen<'_>> = case
        .unique_since(since)
        .into_iter()
        .filter(|s| !case.is_beside(s.device))
        .collect();
    let (mut wrong, mut open, mut evidence) = (Vec::new(), Vec::new(), Vec::new());
    let (mut wrong_ones, mut open_ones) = (Vec::new(), Vec::new());
    for s in &seen {
        let papers = certificates
            .get(&s.device.identity.uuid)
            .map_or(&[][..], Vec::as_slice);
        evidence.push(s.device.last_report);
        evidence.extend(papers.iter().map(|p| p.digest));
        match tried(case, s, papers, tolerance.value) {
            Ok(()) => {}
            Err(Tried::Fails(why)) => {
                wrong.push(format!("{} {why}", s.label()));
                wrong_ones.push(s.subject());
            }
            Err(Tried::Open(why)) => {
                open.push(format!("{} {why}", s.label()));
                open_ones.push(s.subject());
            }
        }
    }
    let verdict = if !wrong.is_empty() {
        Verdict::not_met("performs-otherwise", few(&wrong)).measured(Quantity::at_least(wrong.len(), DEVICES))
    } else if seen.is_empty() {
        let none = "no device reports, so that none can be held against its model";
        return case.hold_devices(Verdict::cannot_tell("no-device", none));
    } else if !open.is_empty() {
        Verdict::cannot_tell("not-tested", few(&open))
    } else {
        let sentence = format!(
            "an independent laboratory tested each of {}, and what it measured is within {} of the catalogue's figures",
            count(seen.len(), "device"),
            tolerance.value
        );
        let met = Verdict::met("performs", sentence)
            .none_of(DEVICES)
            .grade(Grade::Declared);
        return case.settle_devices(since, met).evidence(evidence);
    };
    verdict
        .grade(Grade::Declared)
        .limit(Quantity::at_most(0, DEVICES))
        .window(since, case.now)
        .coverage(case.coverage())
        .subjects(if wrong_ones.is_empty() {
            open_ones
        } else {
            wrong_ones
        })
        .evidence(evidence)
}

const DEVICES: &str = "devices that perform otherwise";

enum Tried {
    Fails(String),
    Open(String),
}

type Certificates<'a> = BTreeMap<DeviceUuid, Vec<Paper<'a, TestCertificate>>>;

/// The certificates that hold, by the devices that they name, the newest first.
fn certificates<'a>(case: &Case<'a>) -> Certificates<'a> {
    let mut found = Certificates::new();
    for paper in case.papers().holding::<TestCertificate>(case.now) {
        for device in paper.header.devices.iter().flatten() {
            found.entry(device.0).or_default().push(paper);
        }
    }
    found
}

/// What laboratories say of one device. Of several certificates the worst counts.
fn tried(
    case: &Case<'_>,
    seen: &Seen<'_>,
    papers: &[Paper<'_, TestCertificate>],
    tolerance: Ppm,
) -> Result<(), Tried> {
    let (mut open, mut passed) = (None, false);
    for paper in papers {
        match certified(case, seen, paper, tolerance) {
            Err(Tried::Fails(why)) => return Err(Tried::Fails(why)),
            Err(Tried::Open(why)) => open = open.or(Some(why)),
            Ok(()) => passed = true,
        }
    }
    match open {
        _ if passed => Ok(()),
        Some(why) => Err(Tried::Open(why)),
        None => Err(Tried::Open(
            "is named by no test certificate that is heard, and no agent of this version times devices"
                .to_owned(),
        )),
    }
}

fn certified(
    case: &Case<'_>,
    seen: &Seen<'_>,
    paper: &Paper<'_, TestCertificate>,
    tolerance: Ppm,
) -> Result<(), Tried> {
    let (said, label) = (paper.claims, paper.label());
    let open = |why: String| Err(Tried::Open(why));
    let Some(model) = case.model(seen.device) else {
        return open("is of a model that the catalogue does not know".to_owned());
    };
    match case.model_named(said.model.as_str()) {
        None => {
            return open(format!(
                "is a {} by the {label}, which the catalogue does not know",
                said.model
            ));
        }
        Some(named) if named.name != model.name => {
            let why = format!(
                "reports as a {}, and the {label} tested it as a {}",
                model.name, named.name
            );
            return Err(Tried::Fails(why));
        }
        Some(_) => {}
    }
    let (Some(tpp), Some(bandwidth)) = (model.tpp(), model.dram_bandwidth_gbs) else {
        return open(format!(
            "is a {}, of which the catalogue lacks a figure",
            model.name
        ));
    };
    let figures = [
        ("a TPP of", said.tpp, tpp.0, ""),
        (
            "a bandwidth of memory of",
            said.bandwidth_gbps,
            bandwidth,
            " GB/s",
        ),
    ];
    for (what, measured, nominal, unit) in figures {
        if !is_near(measured, nominal, tolerance) {
            let why = format!(
                "showed {what} {measured}{unit} at most by the {label}, and a {} has {nominal}{unit}",
                model.name
            );
            return Err(doubted(model, why));
        }
    }
    let named = paper.header.devices.as_ref().map_or(0, Vec::len);
    if said.tested < u64::try_from(named).unwrap_or(u64::MAX) {
        return open(format!(
            "is one of {named} of lot {} by the {label}, which tested {}",
            said.lot, said.tested
        ));
    }
    match said.independent {
        true => Ok(()),
        false => open(format!(
            "was tested by a laboratory that is not independent, by the {label}"
        )),
    }
}

/// An entry of the catalogue that is itself unsure cannot convict a device.
fn doubted(model: &Model, why: String) -> Tried {
    match model.confidence {
        Confidence::High => Tried::Fails(why),
        Confidence::Medium | Confidence::Low => {
            Tried::Open(format!("{why}; the catalogue's entry is not sure"))
        }
    }
}

fn is_near(measured: u64, nominal: u64, tolerance: Ppm) -> bool {
    let apart = u128::from(measured.abs_diff(nominal)).saturating_mul(1_000_000);
    apart <= u128::from(nominal).saturating_mul(tolerance.0.into())
}

/// `1 device`, `2 devices`.
fn devices(number: u64) -> String {
    count(usize::try_from(number).unwrap_or(usize::MAX), "device")
}
