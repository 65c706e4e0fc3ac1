//! Shipments: what was sent to the site, model by model, as supplier and consignee list it.
//!
//! Decides: which lists of a shipment count, and whether the two sides agree. Does not establish that every shipment is listed.

use super::super::capacity::estate::Bounds;
use super::super::case::Case;
use super::super::finding::{Quantity, Verdict, few};
use super::super::papers::Paper;
use crate::statement::{Role, ShipmentList, ShipmentState, ShippedItem};
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
        let mut found = Self {
            models: BySort::new(),
            own_word: None,
        };
        for (number, sides) in by_shipment(lists.iter().copied()) {
            let counting: BTreeMap<Role, Side<'_, '_>> =
                sides.iter().map(|(role, all)| (*role, counting(all))).collect();
            let by = |role| counting.get(&role).map(|papers| (sums(case, papers), papers));
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

/// Lists of one shipment that one side gave, the newest first.
pub(in crate::conditions) type Side<'p, 'a> = Vec<&'p Paper<'a, ShipmentList>>;

/// Lists by the number of the shipment and by who gave them. They come the newest first.
pub(in crate::conditions) fn by_shipment<'p, 'a>(
    lists: impl IntoIterator<Item = &'p Paper<'a, ShipmentList>>,
) -> BTreeMap<&'a str, BTreeMap<Role, Side<'p, 'a>>> {
    let mut shipments: BTreeMap<&str, BTreeMap<Role, Side<'_, '_>>> = BTreeMap::new();
    for paper in lists {
        let sides = shipments.entry(paper.claims.shipment.as_str()).or_default();
        sides.entry(paper.header.role).or_default().push(paper);
    }
    shipments
}

/// Those of one side's lists that count: of each state the newest, and none that says that it is on its way where a newer one says where it is.
pub(in crate::conditions) fn counting<'p, 'a>(side: &Side<'p, 'a>) -> Side<'p, 'a> {
    let mut kept = Side::new();
    for paper in side {
        let state = paper.claims.state;
        let known = kept.iter().any(|p| p.claims.state == state);
        if !known && (state != ShipmentState::InTransit || kept.is_empty()) {
            kept.push(paper);
        }
    }
    kept
}

/// What one side's lists of a shipment tell of a weight of each of its devices, the newest list first.
///
/// At least what the newest of each state says is there, less what may have gone back. At most all of it: what a list does not name by serial number
/// may be other devices than those of the next. One that says that they are on their way tells of the same as the newer one that says where they are.
pub(in crate::conditions) fn told_by(side: &Side<'_, '_>, weigh: impl Fn(&ShippedItem) -> u128) -> Bounds {
    let counts = counting(side);
    let (mut there, mut back, mut most) = (0u128, 0u128, 0u128);
    let (mut known, mut all_named) = (BTreeSet::new(), true);
    for paper in side {
        let list = paper.claims;
        let (mut whole, mut others) = (0u128, 0u128);
        let mut serials = BTreeSet::new();
        for item in &list.items {
            let each = weigh(item);
            let named: BTreeSet<&str> = item.serials.iter().flatten().map(|s| s.as_str()).collect();
            let size = |set: usize| u64::try_from(set).unwrap_or(u64::MAX);
            let again = size(named.intersection(&known).count());
            all_named &= size(named.len()) == item.count;
            let of = |number: u64| each.saturating_mul(u128::from(number));
            whole = whole.saturating_add(of(item.count));
            others = others.saturating_add(of(item.count.saturating_sub(again)));
            serials.extend(named);
        }
        known.extend(serials);
        let counted = counts.iter().any(|p| p.digest == paper.digest);
        let superseded = list.state == ShipmentState::InTransit && !counted;
        most = match superseded && !all_named {
            true => most.max(whole),
            false => most.saturating_add(others),
        };
        match list.state {
            ShipmentState::Delivered | ShipmentState::Spare if counted => {
                there = there.saturating_add(others);
            }
            ShipmentState::Returned => back = back.saturating_add(others),
            _ => {}
        }
    }
    let back = if all_named { 0 } else { back };
    (there.saturating_sub(back), most)
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

type Told<'s, 'a> = (&'s BySort, &'s Side<'s, 'a>);

/// What supplier and consignee say differently of one shipment.
fn disagreement(number: &str, theirs: Told<'_, '_>, own: Told<'_, '_>) -> Option<Verdict> {
    let models: BTreeSet<&String> = theirs.0.keys().chain(own.0.keys()).collect();
    let of = |side: &BySort, model: &String| side.get(model).map_or(0, |s| s.all);
    let differ: Vec<String> = models
        .into_iter()
        .map(|m| (m, of(theirs.0, m), of(own.0, m)))
        .filter(|(_, a, b)| a != b)
        .map(|(m, a, b)| format!("{a} and {b} of {m}"))
        .collect();
    let label = |side: Told<'_, '_>| side.1.first().map_or_else(String::new, |p| p.label());
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
