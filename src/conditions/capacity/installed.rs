//! Capacity: how much performance stands at the site.

use super::super::case::{Case, is_called};
use super::super::finding::{Quantity, Verdict, few};
use super::super::inventory::bus;
use super::super::inventory::presence::Standings;
use crate::accelerator::{ExportClass, Model};
use crate::appraisal::Grade;
use crate::id::Digest;
use crate::time::UnixSeconds;
use crate::unit::Grouped;
use std::collections::BTreeMap;

/// Physical cards of the site, as far as they were seen: those that report, and those that stand on a bus unheld.
pub(in crate::conditions) struct Fleet<'a> {
    /// Number of cards of each model, by its name. A card that shows itself as several devices is one, and so is a sliced one.
    pub(in crate::conditions) models: BTreeMap<&'a str, (&'a Model, u64)>,
    /// Devices that the catalogue does not know, in words.
    pub(in crate::conditions) unknown: Vec<String>,
    /// Devices off the manifest that may be there or not, or may be another licence's, in words.
    pub(in crate::conditions) doubtful: Vec<String>,
    /// The reports that show them.
    pub(in crate::conditions) evidence: Vec<Digest>,
}

impl<'a> Fleet<'a> {
    /// All that was seen since a time, there at once or not, whichever licence answers for it.
    pub(in crate::conditions) fn seen(case: &Case<'a>, since: UnixSeconds) -> Self {
        Self::gathered(case, since, false)
    }

    /// What no other licence answers for. Devices that nobody manages may be another licence's.
    pub(in crate::conditions) fn licensed(case: &Case<'a>, since: UnixSeconds) -> Self {
        Self::gathered(case, since, true)
    }

    fn gathered(case: &Case<'a>, since: UnixSeconds, licensed: bool) -> Self {
        let other = case.other_licence().filter(|_| licensed);
        let mut fleet = Self {
            models: BTreeMap::new(),
            unknown: Vec::new(),
            doubtful: Vec::new(),
            evidence: Vec::new(),
        };
        let seen = case.unique_since(since);
        for s in &seen {
            if licensed && case.is_beside(s.device) {
                continue;
            }
            if s.is_doubtful(since) && case.row_of(&s.device.identity).is_none() {
                let label = s.label();
                fleet
                    .doubtful
                    .push(format!("{label}, of which only a revoked key speaks"));
                continue;
            }
            fleet.add(case.model(s.device), 1, || s.label());
            fleet.evidence.push(s.device.last_report);
        }
        for (node, unheld, number) in bus::beyond(case, since, &seen) {
            fleet.evidence.push(unheld.span.last_report);
            let label = unheld.label(number, node);
            if unheld.doubtful {
                fleet
                    .doubtful
                    .push(format!("{label}, of which only a revoked key speaks"));
                continue;
            }
            if let Some(other) = other {
                fleet
                    .doubtful
                    .push(format!("{label}, which may be those of licence {other}"));
                continue;
            }
            let model = case.catalogue.find(&unheld.id, "").model();
            fleet.add(model, number, || label);
        }
        for (model, number) in fleet.models.values_mut() {
            *number = model.cards(*number);
        }
        fleet
    }

    fn add(&mut self, model: Option<&'a Model>, number: u64, label: impl FnOnce() -> String) {
        match model {
            Some(model) => {
                let entry = self.models.entry(model.name.as_str()).or_insert((model, 0));
                entry.1 = entry.1.saturating_add(number);
            }
            None => self.unknown.push(label()),
        }
    }
}

/// CAP-01: the TPP of class 3A090.a is within the licence.
pub(in crate::conditions) fn tpp_within_licence(case: &Case<'_>) -> Verdict {
    let Some(licensed) = case.licence.licensed_tpp else {
        return Verdict::no_limit("how much TPP may stand at a site (`licensed_tpp`)");
    };
    let since = case.manifest_since();
    let fleet = Fleet::licensed(case, since);
    let mut open = fleet.unknown.clone();
    open.extend(fleet.doubtful.iter().cloned());
    for (model, number) in fleet.models.values() {
        if is_open(model) {
            open.push(format!("{number} of {}, whose class is not known", model.name));
        }
    }
    let (least, most) = Standings::of(case, since).at_once(controlled);
    let limit = Quantity::at_most(licensed.0, "TPP");
    let sum = |total: u128| {
        format!(
            "devices of class 3A090.a that were seen at one time add up to {} TPP by the catalogue; the licence allows {licensed}",
            Grouped(total)
        )
    };
    let seen = |verdict: Verdict| {
        verdict
            .measured(Quantity::at_least(least, "TPP"))
            .limit(limit.clone())
            .window(since, case.now)
            .coverage(case.coverage())
            .evidence(fleet.evidence.iter().copied())
    };
    if least > u128::from(licensed.0) {
        return seen(Verdict::not_met("above-licensed-tpp", sum(least)));
    }
    if !open.is_empty() {
        let sentence = format!("{}; not counted: {}", sum(least), few(&open));
        return seen(Verdict::cannot_tell("unknown-device", sentence));
    }
    if most > u128::from(licensed.0) {
        let sentence = format!(
            "{}; with those that {NOT_SURE}, {} TPP",
            sum(least),
            Grouped(most)
        );
        return seen(Verdict::cannot_tell("not-surely-at-one-time", sentence));
    }
    case.settle_devices(
        since,
        Verdict::met("within-licensed-tpp", sum(most))
            .measured(Quantity::between(least, most, "TPP"))
            .limit(limit)
            .evidence(fleet.evidence),
    )
}

/// Whether the catalogue leaves open how much of a model counts.
pub(in crate::conditions) fn is_open(model: &Model) -> bool {
    matches!(
        (model.export_class_now(), model.tpp()),
        (ExportClass::Undetermined, _) | (ExportClass::A, None)
    )
}

/// What one card of a model counts: its TPP where it is of class 3A090.a.
pub(in crate::conditions) fn controlled(model: &Model) -> u128 {
    match (model.export_class_now(), model.tpp()) {
        (ExportClass::A, Some(tpp)) => u128::from(tpp.0),
        _ => 0,
    }
}

/// Of devices that clocks or keys do not show to have been there with the others, in words.
const NOT_SURE: &str =
    "may have stood there at that time, which clocks that are off or a revoked key leave open";

/// CAP-02: only licensed models, in licensed numbers. A model that the catalogue does not know fails.
pub(in crate::conditions) fn models_within_licence(case: &Case<'_>) -> Verdict {
    if case.licence.models.is_empty() {
        return Verdict::no_limit("which models may stand at a site (`[[models]]`)");
    }
    let since = case.manifest_since();
    let fleet = Fleet::licensed(case, since);
    let there = Standings::of(case, since);
    let mut wrong: Vec<String> = fleet
        .unknown
        .iter()
        .map(|d| format!("{d} is not in the catalogue"))
        .collect();
    let mut open = fleet.doubtful.clone();
    let mut kinds = Vec::new();
    for (model, _) in fleet.models.values() {
        let licensed = case
            .licence
            .models
            .iter()
            .filter(|m| is_called(model, &m.catalogue_id))
            .map(|m| m.count)
            .reduce(u64::saturating_add);
        let (least, most) = there.at_once(|m| u128::from(m.name == model.name));
        let name = &model.name;
        match licensed.map(u128::from) {
            None if least > 0 => wrong.push(format!("{least} of {name}, which is not a licensed model")),
            Some(allowed) if least > allowed => {
                wrong.push(format!("{least} of {name}, of which {allowed} are licensed"));
            }
            Some(allowed) if most <= allowed => kinds.push(format!("{most} of {name}")),
            _ => open.push(format!(
                "{least} of {name}, and with those that {NOT_SURE}, {most}"
            )),
        }
    }
    let (least, most) = there.at_once(|_| 1);
    let all: u64 = case
        .licence
        .models
        .iter()
        .fold(0, |n, m| n.saturating_add(m.count));
    let limit = Quantity::at_most(all, "devices");
    if wrong.is_empty() && open.is_empty() {
        return case.settle_devices(
            since,
            Verdict::met(
                "licensed-models",
                format!("{} were seen at one time, as licensed", few(&kinds)),
            )
            .measured(Quantity::between(least, most, "devices"))
            .limit(limit)
            .evidence(fleet.evidence),
        );
    }
    let verdict = if wrong.is_empty() {
        Verdict::cannot_tell("not-surely-at-one-time", few(&open))
    } else {
        Verdict::not_met("unlicensed-models", few(&wrong))
    };
    verdict
        .grade(Grade::DriverReported)
        .measured(Quantity::at_least(least, "devices"))
        .limit(limit)
        .window(since, case.now)
        .coverage(case.coverage())
        .evidence(fleet.evidence)
}
