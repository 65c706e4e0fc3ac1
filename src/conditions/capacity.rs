//! Capacity: how much performance stands at the site.

use super::case::{Case, is_called};
use super::finding::{Quantity, Verdict, count, few};
use crate::accelerator::{ExportClass, Model};
use crate::appraisal::Grade;
use crate::id::Digest;
use crate::unit::Grouped;
use std::collections::BTreeMap;

/// Physical devices of the site, as far as they were seen: those that report, and those that stand on a bus unheld.
pub(super) struct Fleet<'a> {
    /// Number of each model, by its name.
    pub(super) models: BTreeMap<&'a str, (&'a Model, u64)>,
    /// Devices that the catalogue does not know, in words.
    pub(super) unknown: Vec<String>,
    /// Devices off the manifest that may be there or not, or may be another licence's, in words.
    pub(super) doubtful: Vec<String>,
    /// The reports that show them.
    pub(super) evidence: Vec<Digest>,
}

impl<'a> Fleet<'a> {
    /// All of them, whichever licence answers for them.
    pub(super) fn seen(case: &Case<'a>) -> Self {
        Self::gathered(case, false)
    }

    /// Those that no other licence answers for. Devices that nobody manages may be another licence's.
    fn licensed(case: &Case<'a>) -> Self {
        Self::gathered(case, true)
    }

    fn gathered(case: &Case<'a>, licensed: bool) -> Self {
        let other = case.other_licence().filter(|_| licensed);
        let mut fleet = Self {
            models: BTreeMap::new(),
            unknown: Vec::new(),
            doubtful: Vec::new(),
            evidence: Vec::new(),
        };
        let since = case.since();
        for s in case.unique_since(since) {
            if licensed && case.is_beside(&s) {
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
        for node in case.nodes() {
            for s in node
                .record
                .facts
                .strangers
                .iter()
                .filter(|s| s.last_heard() >= since)
            {
                let label = format!(
                    "{} with PCI id {:04x}:{:04x} on node {}",
                    count(usize::from(s.count), "accelerator"),
                    s.id.vendor,
                    s.id.device,
                    node.status.name
                );
                fleet.evidence.push(s.report);
                if let Some(other) = other {
                    fleet
                        .doubtful
                        .push(format!("{label}, which may be those of licence {other}"));
                    continue;
                }
                let model = case.catalogue.find(&s.id, "").model();
                fleet.add(model, u64::from(s.count), || label);
            }
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

    /// All devices whose model is known.
    pub(super) fn known(&self) -> u64 {
        self.models.values().fold(0, |n, (_, c)| n.saturating_add(*c))
    }
}

/// CAP-01: the TPP of class 3A090.a is within the licence.
pub(super) fn tpp_within_licence(case: &Case<'_>) -> Verdict {
    let Some(licensed) = case.licence.licensed_tpp else {
        return Verdict::no_limit("how much TPP may stand at a site (`licensed_tpp`)");
    };
    let fleet = Fleet::licensed(case);
    let mut total = 0u128;
    let mut open = fleet.unknown.clone();
    open.extend(fleet.doubtful.iter().cloned());
    for (model, number) in fleet.models.values() {
        match (model.export_class_now(), model.tpp()) {
            (ExportClass::A, Some(tpp)) => {
                total = total.saturating_add(u128::from(tpp.0).saturating_mul(u128::from(*number)));
            }
            (ExportClass::Undetermined, _) | (ExportClass::A, None) => {
                open.push(format!("{number} of {}, whose class is not known", model.name));
            }
            (ExportClass::B | ExportClass::Neither, _) => {}
        }
    }
    let limit = Quantity::at_most(licensed.0, "TPP");
    let sum = format!(
        "devices of class 3A090.a that were seen add up to {} TPP by the catalogue; the licence allows {licensed}",
        Grouped(total)
    );
    if total > u128::from(licensed.0) {
        return Verdict::not_met("above-licensed-tpp", sum)
            .measured(Quantity::at_least(total, "TPP"))
            .limit(limit)
            .window(case.since(), case.now)
            .coverage(case.fresh_share())
            .evidence(fleet.evidence);
    }
    if !open.is_empty() {
        return Verdict::cannot_tell("unknown-device", format!("{sum}; not counted: {}", few(&open)))
            .measured(Quantity::at_least(total, "TPP"))
            .limit(limit)
            .window(case.since(), case.now)
            .coverage(case.fresh_share())
            .evidence(fleet.evidence);
    }
    case.settle_devices(
        Verdict::met("within-licensed-tpp", sum)
            .measured(Quantity::exactly(total, "TPP"))
            .limit(limit)
            .evidence(fleet.evidence),
    )
}

/// CAP-02: only licensed models, in licensed numbers. A model that the catalogue does not know fails.
pub(super) fn models_within_licence(case: &Case<'_>) -> Verdict {
    if case.licence.models.is_empty() {
        return Verdict::no_limit("which models may stand at a site (`[[models]]`)");
    }
    let fleet = Fleet::licensed(case);
    let mut wrong: Vec<String> = fleet
        .unknown
        .iter()
        .map(|d| format!("{d} is not in the catalogue"))
        .collect();
    for (model, number) in fleet.models.values() {
        let licensed = case
            .licence
            .models
            .iter()
            .filter(|m| is_called(model, &m.catalogue_id))
            .map(|m| m.count)
            .reduce(u64::saturating_add);
        match licensed {
            None => wrong.push(format!(
                "{number} of {}, which is not a licensed model",
                model.name
            )),
            Some(most) if *number > most => {
                wrong.push(format!(
                    "{number} of {}, of which {most} are licensed",
                    model.name
                ));
            }
            Some(_) => {}
        }
    }
    let all: u64 = case
        .licence
        .models
        .iter()
        .fold(0, |n, m| n.saturating_add(m.count));
    let limit = Quantity::at_most(all, "devices");
    if wrong.is_empty() && !fleet.doubtful.is_empty() {
        return Verdict::cannot_tell("doubtful-device", few(&fleet.doubtful))
            .measured(Quantity::at_least(fleet.known(), "devices"))
            .limit(limit)
            .window(case.since(), case.now)
            .coverage(case.fresh_share())
            .evidence(fleet.evidence);
    }
    if wrong.is_empty() {
        let kinds: Vec<String> = fleet
            .models
            .values()
            .map(|(m, n)| format!("{n} of {}", m.name))
            .collect();
        return case.settle_devices(
            Verdict::met(
                "licensed-models",
                format!("{} were seen, as licensed", few(&kinds)),
            )
            .measured(Quantity::exactly(fleet.known(), "devices"))
            .limit(limit)
            .evidence(fleet.evidence),
        );
    }
    Verdict::not_met("unlicensed-models", few(&wrong))
        .grade(Grade::DriverReported)
        .measured(Quantity::at_least(fleet.known(), "devices"))
        .limit(limit)
        .window(case.since(), case.now)
        .coverage(case.fresh_share())
        .evidence(fleet.evidence)
}
