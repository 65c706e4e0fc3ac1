//! The estate: what stands at all sites that some licences name, country by country, as far as this verifier holds reports of it.
//!
//! Decides: how much performance of class 3A090.a was seen in each country at least and at most, and what keeps that from being known. Does not
//! establish that there is no more: what other verifiers hold, or nobody, is not in it.

use super::super::case::Case;
use super::super::finding::count;
use super::installed::{controlled, is_open};
use crate::accelerator::Model;
use crate::appraisal::{EstateDevice, EstateNode};
use crate::id::{DeviceUuid, Digest};
use crate::licence::Licence;
use crate::time::{UnixSeconds, span};
use std::collections::BTreeMap;

/// Least and most.
pub(in crate::conditions) type Bounds = (u128, u128);

/// Performance by country.
#[derive(Debug, Default)]
pub(in crate::conditions) struct Estate<'a> {
    /// TPP of class 3A090.a in each country.
    pub(in crate::conditions) countries: BTreeMap<&'a str, Bounds>,
    /// The sites that count.
    pub(in crate::conditions) sites: Vec<&'a str>,
    /// What keeps more from being known, in words.
    pub(in crate::conditions) open: Vec<String>,
    /// Newest reports of the nodes.
    pub(in crate::conditions) evidence: Vec<Digest>,
}

impl<'a> Estate<'a> {
    /// What stands at the sites of those licences that hold now and are `meant`; the licence that is judged always is.
    pub(in crate::conditions) fn of(case: &Case<'a>, meant: impl Fn(&Licence) -> bool) -> Self {
        let mut estate = Self::default();
        let Some(fresh) = case.term(|l| l.freshness_max) else {
            estate.open.push(
                "neither the licence nor its rule set says how old a report may be (`freshness_max`)"
                    .to_owned(),
            );
            return estate;
        };
        let since = (case.since(), case.now.plus(fresh.value.saturating_neg()));
        let last = last_places(case);
        for (site, country) in estate.places(case, meant) {
            let held = case.estate().sites.iter().find(|s| s.site == site);
            let nodes = held.map_or(&[][..], |s| s.nodes.as_slice());
            estate.open.extend(unseen(case, site, nodes, since));
            estate
                .evidence
                .extend(nodes.iter().filter_map(|n| Some(n.newest?.1)));
            let (least, most) = estate.performance(case, site, nodes, since, &last);
            let sum = estate.countries.entry(country).or_default();
            *sum = (sum.0.saturating_add(least), sum.1.saturating_add(most));
            estate.sites.push(site);
        }
        estate
    }

    /// What stands in countries that `are`, and in all others.
    pub(in crate::conditions) fn split(&self, are: impl Fn(&str) -> bool) -> (Bounds, Bounds) {
        let sum = |wanted: bool| {
            let parts = self.countries.iter().filter(|(c, _)| are(c) == wanted);
            parts.fold((0u128, 0u128), |(a, b), (_, (least, most))| {
                (a.saturating_add(*least), b.saturating_add(*most))
            })
        };
        (sum(true), sum(false))
    }

    /// The sites, each once, with their countries; one without is open.
    fn places(&mut self, case: &Case<'a>, meant: impl Fn(&Licence) -> bool) -> Vec<(&'a str, &'a str)> {
        let others = case.estate().licences.iter().map(|l| &**l);
        let others = others.filter(|l| l.licence_id != case.licence.licence_id);
        let holding = others.filter(|l| l.valid.holds(case.now) && meant(l));
        let mut places: BTreeMap<&str, Option<&str>> = BTreeMap::new();
        for site in std::iter::once(case.licence)
            .chain(holding)
            .flat_map(|l| &l.sites)
        {
            let country = site.country.as_deref();
            let known = places.entry(&site.id).or_insert(country);
            if let (Some(one), Some(other)) = (*known, country)
                && one != other
            {
                self.open.push(format!(
                    "licences name two countries for site {}, {one} and {other}",
                    site.id
                ));
            }
            *known = known.or(country);
        }
        let mut found = Vec::new();
        for (site, country) in places {
            match country {
                Some(country) => found.push((site, country)),
                None => self
                    .open
                    .push(format!("no licence names the country of site {site}")),
            }
        }
        found
    }

    /// TPP of class 3A090.a at a site: at least that of devices that reported lately here and nowhere later, at most that of all that were seen in the
    /// window of findings.
    fn performance(
        &mut self,
        case: &Case<'a>,
        site: &str,
        nodes: &'a [EstateNode],
        (since, lately): (UnixSeconds, UnixSeconds),
        last: &BTreeMap<DeviceUuid, (UnixSeconds, &str)>,
    ) -> Bounds {
        let mut devices: BTreeMap<DeviceUuid, (&EstateDevice, bool)> = BTreeMap::new();
        for (node, device) in nodes.iter().flat_map(|n| n.devices.iter().map(move |d| (n, d))) {
            if device.heard < since {
                continue;
            }
            let here = last.get(&device.uuid).is_some_and(|(_, at)| *at == site);
            let sure = node.status.is_active(case.now) && device.heard >= lately && here;
            let entry = devices.entry(device.uuid).or_insert((device, sure));
            entry.1 |= sure;
        }
        let mut models: BTreeMap<&str, (&Model, u64, u64)> = BTreeMap::new();
        let mut unknown = 0usize;
        for (device, sure) in devices.into_values() {
            match case.catalogue.find(&device.pci, &device.name).model() {
                Some(model) if !is_open(model) => {
                    let entry = models.entry(&model.name).or_insert((model, 0, 0));
                    entry.1 = entry.1.saturating_add(u64::from(sure));
                    entry.2 = entry.2.saturating_add(1);
                }
                _ => unknown = unknown.saturating_add(1),
            }
        }
        if unknown > 0 {
            self.open.push(format!(
                "the catalogue does not know class or TPP of {} at site {site}",
                count(unknown, "device")
            ));
        }
        models.into_values().fold((0, 0), |(a, b), (model, least, most)| {
            let tpp = |n: u64| controlled(model).saturating_mul(u128::from(model.cards(n)));
            (
                u128::saturating_add(a, tpp(least)),
                u128::saturating_add(b, tpp(most)),
            )
        })
    }
}

/// Where each device was heard last, and when.
fn last_places<'a>(case: &Case<'a>) -> BTreeMap<DeviceUuid, (UnixSeconds, &'a str)> {
    let mut last: BTreeMap<DeviceUuid, (UnixSeconds, &str)> = BTreeMap::new();
    for site in case.estate().sites.iter() {
        for device in site.nodes.iter().flat_map(|n| &n.devices) {
            let new = (device.heard, site.site.as_str());
            let known = last.entry(device.uuid).or_insert(new);
            *known = (*known).max(new);
        }
    }
    last
}

/// What of a site was not seen, in words.
fn unseen(
    case: &Case<'_>,
    site: &str,
    nodes: &[EstateNode],
    (since, lately): (UnixSeconds, UnixSeconds),
) -> Option<String> {
    let expected: Vec<_> = nodes.iter().filter(|n| n.status.is_expected(case.now)).collect();
    let is_silent = |n: &&&EstateNode| n.newest.is_none_or(|(end, _)| end < lately);
    let silent = expected.iter().filter(is_silent).count();
    if expected.is_empty() {
        return Some(format!("no node of site {site} reports here"));
    }
    if silent > 0 {
        let age = span(case.now.since(lately));
        return Some(format!(
            "{} of site {site} did not report within {age}",
            count(silent, "node")
        ));
    }
    let part = nodes.iter().any(|n| n.uncounted >= Some(since));
    part.then(|| format!("not all that stood at site {site} reported and is kept"))
}
