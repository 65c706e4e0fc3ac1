//! Shipments: what was sent to the site, model by model, as supplier and consignee list it.
//!
//! Decides: which lists of a shipment count, and whether the two sides agree. Does not establish that every shipment is listed.

use super::super::case::Case;
use super::super::finding::{Quantity, Verdict, few};
use super::super::papers::Paper;
use crate::statement::{Role, ShipmentList, ShipmentState};
use std::collections::{BTreeMap, BTreeSet};

/// What must be none.
pub(in crate::conditions) const MODELS: &str = "models that do not reconcile";

/// How many of one model were shipped, and where they are, as the lists have it.
#[derive(Clone, Copy, Default)]
pub(in crate::conditions) struct Sent {
    pub(in crate::conditions) all: u64,
    pub(in crate::conditions) spare: u64,
    pub(in crate::conditions) returned: u64,
    pub(in crate::conditions) in_transit: u64,
}

impl Sent {
    fn add(&mut self, state: ShipmentState, number: u64) {
        let part = match state {
            ShipmentState::Delivered => None,
            ShipmentState::Spare => Some(&mut self.spare),
            ShipmentState::Returned => Some(&mut self.returned),
            ShipmentState::InTransit => Some(&mut self.in_transit),
        };
        if let Some(part) = part {
            *part = part.saturating_add(number);
        }
        self.all = self.all.saturating_add(number);
    }

    fn join(&mut self, other: &Self) {
        self.all = self.all.saturating_add(other.all);
        self.spare = self.spare.saturating_add(other.spare);
        self.returned = self.returned.saturating_add(other.returned);
        self.in_transit = self.in_transit.saturating_add(other.in_transit);
    }
}

pub(in crate::conditions) type BySort = BTreeMap<String, Sent>;

/// What was shipped, by model.
pub(in crate::conditions) struct Shipped {
    pub(in crate::conditions) models: BySort,
    /// A shipment that only the consignee lists.
    pub(in crate::conditions) own_word: Option<String>,
}

impl Shipped {
    /// Adds up the lists, or says why they cannot be.
    pub(in crate::conditions) fn of(
        case: &Case<'_>,
        lists: &[&Paper<'_, ShipmentList>],
    ) -> Result<Self, Box<Verdict>> {
        let several = case.licence.sites.len() > 1;
        let unsplit = lists
            .iter()
            .find(|p| p.header.sites.as_ref().map_or(several, |s| s.len() > 1));
        if let Some(paper) = unsplit {
            let sentence = format!(
                "the {} does not say what of it went to this site; a list for each site would settle it",
                paper.label()
            );
            return Err(Box::new(Verdict::cannot_tell("not-split", sentence)));
        }
        let mut shipments: BTreeMap<&str, BTreeMap<Role, Vec<&Paper<'_, ShipmentList>>>> = BTreeMap::new();
        for paper in lists {
            let sides = shipments.entry(paper.claims.shipment.as_str()).or_default();
            let known = sides.entry(paper.header.role).or_default();
            if counts(known, paper) {
                known.push(paper);
            }
        }
        let mut found = Self {
            models: BySort::new(),
            own_word: None,
        };
        for (number, sides) in shipments {
            let by = |role| sides.get(&role).map(|papers| (sums(case, papers), papers));
            match (by(Role::Supplier), by(Role::Consignee)) {
                (Some((theirs, papers)), own) => {
                    if let Some(verdict) =
                        own.and_then(|o| disagreement(number, (&theirs, papers), (&o.0, o.1)))
                    {
                        return Err(Box::new(verdict));
                    }
                    found.take(&theirs);
                }
                (None, Some((own, _))) => {
                    found.take(&own);
                    found.own_word = Some(number.to_owned());
                }
                (None, None) => {}
            }
        }
        Ok(found)
    }

    fn take(&mut self, sums: &BySort) {
        for (model, sent) in sums {
            self.models.entry(model.clone()).or_default().join(sent);
        }
    }
}

/// Whether a list of a shipment counts beside newer ones of the same side: of each state the newest, and none that says that it is on its way
/// where a newer one says where it is.
fn counts(newer: &[&Paper<'_, ShipmentList>], paper: &Paper<'_, ShipmentList>) -> bool {
    let state = paper.claims.state;
    !newer.iter().any(|p| p.claims.state == state) && (state != ShipmentState::InTransit || newer.is_empty())
}

fn sums(case: &Case<'_>, papers: &[&Paper<'_, ShipmentList>]) -> BySort {
    let mut found = BySort::new();
    for paper in papers {
        for item in &paper.claims.items {
            let sent = found.entry(sort_named(case, item.model.as_str())).or_default();
            sent.add(paper.claims.state, item.count);
        }
    }
    found
}

type Side<'s, 'a> = (&'s BySort, &'s Vec<&'s Paper<'a, ShipmentList>>);

/// What supplier and consignee say differently of one shipment.
fn disagreement(number: &str, theirs: Side<'_, '_>, own: Side<'_, '_>) -> Option<Verdict> {
    let models: BTreeSet<&String> = theirs.0.keys().chain(own.0.keys()).collect();
    let of = |side: &BySort, model: &String| side.get(model).map_or(0, |s| s.all);
    let differ: Vec<String> = models
        .into_iter()
        .map(|m| (m, of(theirs.0, m), of(own.0, m)))
        .filter(|(_, a, b)| a != b)
        .map(|(m, a, b)| format!("{a} and {b} of {m}"))
        .collect();
    let label = |side: Side<'_, '_>| side.1.first().map_or_else(String::new, |p| p.label());
    (!differ.is_empty()).then(|| {
        let sentence = format!(
            "of shipment {number} the {} and the {} differ: {}",
            label(theirs),
            label(own),
            few(&differ)
        );
        Verdict::not_met("lists-differ", sentence).measured(Quantity::at_least(differ.len(), MODELS))
    })
}

/// What the catalogue calls a model, else the name itself.
pub(in crate::conditions) fn sort_named(case: &Case<'_>, name: &str) -> String {
    case.model_named(name)
        .map_or_else(|| name.to_owned(), |m| m.name.clone())
}
