//! Lots: which of what was shipped was tested, and by whom.
//!
//! Decides: whether each device of the manifest, and as much as the supplier ships, stands in a lot that an independent laboratory of a country that
//! counts tested. Trusts the laboratory for which devices are in a lot. Does not establish what became of the lot on its way.

use super::super::case::Case;
use super::super::finding::{Quantity, Verdict, count, few};
use super::super::papers::Paper;
use super::shipment::{by_shipment, told_by};
use crate::appraisal::Grade;
use crate::id::DeviceUuid;
use crate::rules::CountryList;
use crate::statement::{Role, ShipmentList, ShippedItem, TestCertificate};
use std::collections::{BTreeMap, BTreeSet};

/// SUP-03: each lot that was shipped has a certificate of an independent laboratory.
pub(in crate::conditions) fn lots_tested(case: &Case<'_>) -> Verdict {
    let papers = match case.papers_of::<TestCertificate>() {
        Ok(papers) => papers,
        Err(missing) => return *missing,
    };
    let Some(list) = case.rules.and_then(|r| r.list("laboratories", case.now)) else {
        let sentence =
            "the rule set does not say in which countries laboratories count (list `laboratories`)";
        return Verdict::cannot_tell("no-list", sentence).grade(Grade::Declared);
    };
    let lots = Lots::of(&papers, list);
    let (mut wrong, mut open) = (Vec::new(), Vec::new());
    let (mut wrong_ones, mut open_ones) = (Vec::new(), Vec::new());
    for (_, row) in case.rows() {
        let label = row.label();
        match row.uuid.map_or(Lot::Unnamed, |uuid| lots.lot(&uuid)) {
            Lot::Tested => {}
            Lot::Amiss(why) => {
                wrong.push(format!("{label}, {why}"));
                wrong_ones.push(label);
            }
            Lot::Untested(why) => {
                open.push(format!("{label}, {why}"));
                open_ones.push(label);
            }
            Lot::Unnamed => {
                open.push(format!("{label} is named by no test certificate that is heard"));
                open_ones.push(label);
            }
        }
    }
    let missing = open.len();
    open.extend(uncertified(case, &lots.good));
    let all = papers.iter().map(|p| p.digest);
    let verdict = if !wrong.is_empty() {
        Verdict::not_met("tested-elsewhere", few(&wrong))
            .measured(Quantity::at_least(wrong.len(), UNTESTED))
            .subjects(wrong_ones)
    } else if case.rows().next().is_none() {
        Verdict::cannot_tell("no-manifest", "the licence lists no device for this site")
    } else if !open.is_empty() {
        let sentence = format!(
            "{}; a certificate of a laboratory among {} would settle it",
            few(&open),
            list.title
        );
        Verdict::cannot_tell("not-tested", sentence)
            .measured(Quantity::exactly(missing, UNTESTED))
            .subjects(open_ones)
    } else {
        let numbers: BTreeSet<&str> = lots.good.iter().map(|p| p.claims.lot.as_str()).collect();
        let numbers: Vec<String> = numbers.into_iter().map(str::to_owned).collect();
        let sentence = format!(
            "each of {} on the manifest is of a lot that an independent laboratory among {} tested: {}",
            count(case.rows().count(), "device"),
            list.title,
            few(&numbers)
        );
        Verdict::met("lots-tested", sentence).measured(Quantity::exactly(0, UNTESTED))
    };
    verdict
        .grade(Grade::Declared)
        .limit(Quantity::at_most(0, UNTESTED))
        .window(case.licence.valid.from, case.now)
        .evidence(all)
}

const UNTESTED: &str = "devices of lots without a certificate";

/// How the lot of a device stands.
enum Lot {
    Tested,
    /// It was tested by whom it must not be.
    Amiss(String),
    /// Its certificate tells of no test.
    Untested(String),
    /// No certificate names it.
    Unnamed,
}

/// The lots of all certificates that hold.
struct Lots<'a> {
    /// Certificates that count.
    good: Vec<&'a Paper<'a, TestCertificate>>,
    tested: BTreeSet<DeviceUuid>,
    /// Devices of others, why these do not count, and whether that is a breach.
    others: BTreeMap<DeviceUuid, (bool, String)>,
}

impl<'a> Lots<'a> {
    fn of(papers: &'a [Paper<'a, TestCertificate>], countries: &CountryList) -> Self {
        let mut lots = Self {
            good: Vec::new(),
            tested: BTreeSet::new(),
            others: BTreeMap::new(),
        };
        for paper in papers {
            let devices = paper.header.devices.iter().flatten().map(|d| d.0);
            let Some((breach, why)) = unfit(paper.claims, countries) else {
                lots.tested.extend(devices);
                lots.good.push(paper);
                continue;
            };
            let words = format!(
                "of lot {}, was tested {why}, by the {}",
                paper.claims.lot,
                paper.label()
            );
            for uuid in devices {
                let known = lots.others.entry(uuid).or_insert_with(|| (breach, words.clone()));
                if breach && !known.0 {
                    *known = (true, words.clone());
                }
            }
        }
        lots
    }

    /// A certificate that counts makes up for others.
    fn lot(&self, uuid: &DeviceUuid) -> Lot {
        match self.others.get(uuid) {
            _ if self.tested.contains(uuid) => Lot::Tested,
            Some((true, why)) => Lot::Amiss(why.clone()),
            Some((false, why)) => Lot::Untested(why.clone()),
            None => Lot::Unnamed,
        }
    }
}

/// Why a certificate does not count, and whether that is a breach.
fn unfit(said: &TestCertificate, countries: &CountryList) -> Option<(bool, String)> {
    let country = said.country.as_str();
    if !countries.members.iter().any(|m| m == country) {
        return Some((
            true,
            format!("in {country}, which is not among {}", countries.title),
        ));
    }
    if !said.independent {
        return Some((true, "by a laboratory that is not independent".to_owned()));
    }
    (said.tested == 0).then(|| (false, "by a laboratory that tried none of its devices".to_owned()))
}

/// What was shipped here and does not stand in lots that were tested, in words: of a lot that a list names, and of a model in all.
fn uncertified(case: &Case<'_>, certificates: &[&Paper<'_, TestCertificate>]) -> Vec<String> {
    let mut tested: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for paper in certificates {
        let said = paper.claims;
        tested
            .entry((said.model.as_str(), said.lot.as_str()))
            .or_insert(said.count);
    }
    let lists = case.papers().holding::<ShipmentList>(case.now);
    let theirs: Vec<Paper<'_, ShipmentList>> = lists
        .filter(|l| l.header.role == Role::Supplier && l.claims.consignee.as_str() == case.licence.consignee)
        .collect();
    let sides: Vec<_> = by_shipment(&theirs)
        .into_values()
        .flat_map(BTreeMap::into_values)
        .collect();
    let shipped = |which: &dyn Fn(&ShippedItem) -> bool| {
        let most = sides
            .iter()
            .map(|side| told_by(side, |item| u128::from(which(item))).1);
        most.fold(0u128, u128::saturating_add)
    };
    let items = || theirs.iter().flat_map(|l| &l.claims.items);
    let named: BTreeSet<(&str, &str)> = items()
        .filter_map(|i| Some((i.model.as_str(), i.lot.as_ref()?.as_str())))
        .collect();
    let of_lots = named.into_iter().filter_map(|(model, lot)| {
        let is_of =
            |i: &ShippedItem| i.model.as_str() == model && i.lot.as_ref().is_some_and(|l| l.as_str() == lot);
        let (shipped, lots) = (shipped(&is_of), tested.get(&(model, lot)).copied().unwrap_or(0));
        (u128::from(lots) < shipped).then(|| match lots {
            0 => format!(
                "{shipped} of {model} were shipped of lot {lot}, of which no certificate that counts tells"
            ),
            n => format!("{shipped} of {model} were shipped of lot {lot}, of which {n} were certified"),
        })
    });
    let models: BTreeSet<&str> = items().map(|i| i.model.as_str()).collect();
    let of_models = models.into_iter().filter_map(|model| {
        let of = tested.iter().filter(|((name, _), _)| *name == model);
        let lots = of.map(|(_, n)| u128::from(*n)).fold(0, u128::saturating_add);
        let shipped = shipped(&|i| i.model.as_str() == model);
        (lots < shipped).then(|| {
            format!("{shipped} of {model} were shipped, of which {lots} stand in lots that were tested")
        })
    });
    of_lots.chain(of_models).collect()
}
