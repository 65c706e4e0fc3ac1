//! Allocations: how much computing power one party, one country or one region may hold.
//!
//! Decides by what suppliers list as shipped (CAP-03) and by what was seen at the sites that licences name (CAP-04 to CAP-06). Does not establish
//! what others shipped, or what stands where nothing reports to this verifier: each sentence says so.

use super::super::case::Case;
use super::super::finding::{Quantity, Verdict, count, decimal, few};
use super::super::papers::Paper;
use super::super::supply::shipment::{by_shipment, counting, told_by};
use super::estate::{Bounds, Estate};
use super::installed::{controlled, is_open};
use crate::appraisal::Grade;
use crate::licence::AllowancePeriod;
use crate::rules::CapScope;
use crate::statement::{Authorisation, AuthorisationKind, Ownership, Role, ShipmentList, ShippedItem};
use crate::time::UnixSeconds;
use crate::unit::{Grouped, Ppm};
use std::collections::BTreeMap;

/// The country in which an owner with headquarters there keeps a part of its computing power (CAP-05).
const HOME: &str = "US";

/// The unit of shares.
const SHARE: &str = "share of computing power";

/// What limits speak of (CAP-04 to CAP-06), and what not.
const AS_SEEN: &str = "what others supplied, and what reports elsewhere, is not in this";

/// CAP-03: the TPP that one consignee receives in a calendar year stays within the low-power exception.
pub(in crate::conditions) fn received_in_year(case: &Case<'_>) -> Verdict {
    let Some(limit) = case.term(|l| l.consignee_tpp_per_year) else {
        return Verdict::no_limit(
            "how much TPP one consignee may receive in a calendar year (`consignee_tpp_per_year`)",
        );
    };
    let of = &case.licence.consignee;
    let lists = lists(case);
    if lists.is_empty() {
        return match case.papers_of::<ShipmentList>() {
            Err(missing) => *missing,
            Ok(others) => Verdict::cannot_tell(
                "of-others",
                format!("no shipment list names {of} as its consignee; one that does would settle it"),
            )
            .grade(Grade::Declared)
            .evidence(others.iter().map(|p| p.digest)),
        };
    }
    let from = period_start(case);
    let year = Received::of(case, &lists, from);
    let (least, most) = year.tpp;
    let by = from.to_string();
    let sum = format!(
        "by {} of shipments to {of} since {}, devices of class 3A090.a of {} TPP",
        count(lists.len(), "list"),
        by.get(..10).unwrap_or(&by),
        Grouped(least)
    );
    let verdict = |v: Verdict| {
        v.grade(Grade::Declared)
            .limit(Quantity::at_most(limit.value.0, "TPP"))
            .window(from, case.now)
            .evidence(lists.iter().map(|p| p.digest))
    };
    let may = format!("{} allows {}", limit.from, limit.value);
    if least > u128::from(limit.value.0) {
        return verdict(
            Verdict::not_met("received-too-much", format!("{sum} arrived; {may}"))
                .measured(Quantity::at_least(least, "TPP")),
        );
    }
    let measured = Quantity::between(least, most, "TPP");
    if most > u128::from(limit.value.0) {
        let sentence = format!(
            "{sum} arrived, and with what is on its way or went back, or is listed otherwise, {}; {may}",
            Grouped(most)
        );
        return verdict(Verdict::cannot_tell("not-surely-received", sentence).measured(measured));
    }
    let mut open = year.unknown;
    open.extend(unlisted(case, &lists));
    if !open.is_empty() {
        let sentence = format!("{sum} arrived; {may}, and not counted: {}", few(&open));
        return verdict(
            Verdict::cannot_tell("not-all-listed", sentence).measured(Quantity::at_least(least, "TPP")),
        );
    }
    let sentence =
        format!("{sum} arrived, which is within what {may}; what other suppliers shipped is not in this");
    verdict(Verdict::met("received-within", sentence).measured(measured))
}

fn period_start(case: &Case<'_>) -> UnixSeconds {
    super::super::training::compute::period_start(AllowancePeriod::Year, case.licence.zone, case.now)
}

/// The shipment lists that name the licence's consignee, whether they still hold or not: what arrived has arrived.
fn lists<'a>(case: &Case<'a>) -> Vec<Paper<'a, ShipmentList>> {
    let all = case.papers().all::<ShipmentList>();
    let begun = all.filter(|p| p.header.begins() <= case.now);
    begun
        .filter(|p| p.claims.consignee.as_str() == case.licence.consignee)
        .collect()
}

/// What was received in a year.
struct Received {
    tpp: Bounds,
    /// What could not be counted, in words.
    unknown: Vec<String>,
}

impl Received {
    /// A shipment that supplier and consignee both list counts once: at least the less, at most the more that one of them says of it.
    fn of(case: &Case<'_>, lists: &[Paper<'_, ShipmentList>], from: UnixSeconds) -> Self {
        let within = lists.iter().filter(|p| {
            let at = p.claims.arrived.as_ref().unwrap_or(&p.claims.shipped).0;
            from <= at && at <= case.now
        });
        let within: Vec<&Paper<'_, ShipmentList>> = within.collect();
        let mut year = Self {
            tpp: (0, 0),
            unknown: within.iter().flat_map(|p| uncounted(case, p.claims)).collect(),
        };
        for sides in by_shipment(within).into_values() {
            let told = || {
                sides
                    .values()
                    .map(|side| told_by(side, |item| weight(case, item).unwrap_or(0)))
            };
            let least = told().map(|(least, _)| least).min().unwrap_or(0);
            let most = told().map(|(_, most)| most).max().unwrap_or(0);
            year.tpp.0 = year.tpp.0.saturating_add(least);
            year.tpp.1 = year.tpp.1.saturating_add(most);
        }
        year
    }
}

/// Items of which the catalogue does not know what they weigh, in words.
fn uncounted<'a>(case: &'a Case<'_>, list: &'a ShipmentList) -> impl Iterator<Item = String> + 'a {
    let strange = list.items.iter().filter(|i| weight(case, i).is_none());
    strange.map(|item| {
        format!(
            "{} x {}, of which the catalogue does not know class or TPP",
            item.count, item.model
        )
    })
}

/// The TPP of class 3A090.a of one device of an item, where that is known.
fn weight(case: &Case<'_>, item: &ShippedItem) -> Option<u128> {
    let model = case.model_named(item.model.as_str()).filter(|m| !is_open(m))?;
    Some(controlled(model))
}

/// What stands on the manifest and in no list that the supplier gives: a list that is held back would make the sum too small.
fn unlisted(case: &Case<'_>, lists: &[Paper<'_, ShipmentList>]) -> Vec<String> {
    let mut rows: BTreeMap<&str, u64> = BTreeMap::new();
    for row in &case.licence.devices {
        let named = row
            .model
            .as_deref()
            .unwrap_or("a model that the manifest does not name");
        let name = case.model_named(named).map_or(named, |m| m.name.as_str());
        let known = rows.entry(name).or_default();
        *known = known.saturating_add(1);
    }
    let mut listed: BTreeMap<&str, u64> = BTreeMap::new();
    let by_supplier = lists.iter().filter(|p| p.header.role == Role::Supplier);
    for sides in by_shipment(by_supplier).into_values() {
        for item in sides.values().flat_map(counting).flat_map(|p| &p.claims.items) {
            let named = item.model.as_str();
            let name = case.model_named(named).map_or(named, |m| m.name.as_str());
            let known = listed.entry(name).or_default();
            *known = known.saturating_add(item.count);
        }
    }
    let listed = |name: &str| listed.get(name).copied().unwrap_or(0);
    rows.into_iter()
        .filter(|(name, on_manifest)| listed(name) < *on_manifest)
        .map(|(name, on_manifest)| {
            format!(
                "{on_manifest} x {name} on the manifest, of which the supplier's lists name {}",
                listed(name)
            )
        })
        .collect()
}

/// CAP-04: no one Tier 2 country holds more than its share of the owner's computing power.
pub(in crate::conditions) fn share_of_country(case: &Case<'_>) -> Verdict {
    if let Some(verdict) = not_bound(
        case,
        AuthorisationKind::UniversalVeu,
        case.licence.limits.country_share_max.is_some(),
    ) {
        return verdict;
    }
    let Some(limit) = case.term(|l| l.country_share_max) else {
        return Verdict::no_limit("the share of computing power in one country (`country_share_max`)");
    };
    let (Some(allies), Some(barred)) = (list(case, "tier-1"), list(case, "barred")) else {
        return no_tiers();
    };
    let estate = of_consignee(case);
    let shares = estate
        .countries
        .keys()
        .filter(|c| !allies.contains(c) && !barred.contains(c))
        .map(|c| {
            let (here, rest) = estate.split(|other| other == *c);
            (*c, share(here, rest))
        });
    let shares: Vec<_> = shares.collect();
    if let Some(verdict) = unknown(case, &estate) {
        return verdict.limit(Quantity::at_most(decimal(limit.value), SHARE));
    }
    let Some((country, (least, most))) = shares
        .iter()
        .max_by_key(|(_, (least, most))| (*least, *most))
        .copied()
    else {
        let sentence = format!(
            "{} of {} lie in no Tier 2 country; {AS_SEEN}",
            count(estate.sites.len(), "site"),
            case.licence.consignee
        );
        return seen(case, &estate, Verdict::met("no-such-country", sentence));
    };
    let greatest = shares.iter().map(|(_, (_, most))| *most).max().unwrap_or(most);
    let sentence = |p: Ppm| {
        format!(
            "{country} holds {p} of the computing power that was seen at {} of {}; {} allows {} in one Tier 2 country; {AS_SEEN}",
            count(estate.sites.len(), "site"),
            case.licence.consignee,
            limit.from,
            limit.value
        )
    };
    let verdict = if least > limit.value {
        Verdict::not_met("share-of-country", sentence(least))
    } else if greatest > limit.value {
        let what = "; devices that were not seen lately leave open whether it is more";
        Verdict::cannot_tell("share-of-country-open", format!("{}{what}", sentence(least)))
    } else {
        Verdict::met("share-of-country-within", sentence(greatest))
    };
    let measured = Quantity::between(decimal(least), decimal(greatest), SHARE);
    seen(
        case,
        &estate,
        verdict
            .measured(measured)
            .limit(Quantity::at_most(decimal(limit.value), SHARE)),
    )
}

/// CAP-05: enough of the owner's computing power stands in Tier 1, and at home.
pub(in crate::conditions) fn share_outside(case: &Case<'_>) -> Verdict {
    let own = &case.licence.limits;
    let set = own.outside_tier_1_max.is_some() || own.home_share_min.is_some();
    if let Some(verdict) = not_bound(case, AuthorisationKind::UniversalVeu, set) {
        return verdict;
    }
    let (Some(outside_max), Some(home_min)) = (
        case.term(|l| l.outside_tier_1_max),
        case.term(|l| l.home_share_min),
    ) else {
        return Verdict::no_limit("the shares of computing power (`outside_tier_1_max`, `home_share_min`)");
    };
    let Some(allies) = list(case, "tier-1") else {
        return no_tiers();
    };
    let estate = of_consignee(case);
    if let Some(verdict) = unknown(case, &estate) {
        return verdict.limit(Quantity::at_most(decimal(outside_max.value), SHARE));
    }
    let (inside, outside) = estate.split(|c| allies.contains(&c));
    let (least, most) = share(outside, inside);
    let (here, abroad) = estate.split(|c| c == HOME);
    let (home_least, home_most) = share(here, abroad);
    let from = format!(
        "{} of {}",
        count(estate.sites.len(), "site"),
        case.licence.consignee
    );
    let outside = |p: Ppm| {
        format!(
            "{p} of the computing power that was seen at {from} stands outside Tier 1, where {} allows {}",
            outside_max.from, outside_max.value
        )
    };
    let home = format!(
        "{home_least} in {HOME}, where headquarters there ask for {}",
        home_min.value
    );
    let of_outside = |v: Verdict| {
        seen(case, &estate, v)
            .measured(Quantity::between(decimal(least), decimal(most), SHARE))
            .limit(Quantity::at_most(decimal(outside_max.value), SHARE))
    };
    if least > outside_max.value {
        return of_outside(Verdict::not_met(
            "outside-tier-1",
            format!("{}; {AS_SEEN}", outside(least)),
        ));
    }
    let headquarters = headquarters(case);
    let at_home = headquarters
        .as_ref()
        .map(|p| p.claims.headquarters.as_str() == HOME);
    let evidence = headquarters.map(|p| p.digest);
    let of_home = |v: Verdict| {
        seen(case, &estate, v)
            .measured(Quantity::between(decimal(home_least), decimal(home_most), SHARE))
            .limit(Quantity::at_least(decimal(home_min.value), SHARE))
            .evidence(evidence)
    };
    if at_home == Some(true) && home_most < home_min.value {
        return of_home(Verdict::not_met("home-share", format!("{home}; {AS_SEEN}")));
    }
    if most > outside_max.value {
        let what = "; devices that were not seen lately leave open whether it is more";
        return of_outside(Verdict::cannot_tell(
            "outside-tier-1-open",
            format!("{}{what}", outside(least)),
        ));
    }
    match at_home {
        None if home_least < home_min.value => of_home(Verdict::cannot_tell(
            "headquarters-unknown",
            format!(
                "{}, and {home}; a statement on ownership and control that says where {} has its headquarters would settle it",
                outside(most),
                case.licence.consignee
            ),
        )),
        Some(true) if home_least < home_min.value => of_home(Verdict::cannot_tell(
            "home-share-open",
            format!("{home}; devices that were not seen lately leave it open"),
        )),
        _ => of_outside(Verdict::met(
            "inside-tier-1",
            format!("{}; {AS_SEEN}", outside(most)),
        ))
        .evidence(evidence),
    }
}

/// CAP-06: the TPP installed in the country is within the cap of the quarter.
pub(in crate::conditions) fn cap_of_quarter(case: &Case<'_>) -> Verdict {
    let site = &case.facts.site;
    let Some(country) = case.licence.site(site).and_then(|s| s.country.as_deref()) else {
        let sentence =
            format!("no country is declared for site {site}: a [[site]] with `country` would say it");
        return Verdict::cannot_tell("no-country", sentence).grade(Grade::Declared);
    };
    let issuer = &case.licence.issuer;
    if let Some(share) = case.licence.limits.country_tpp_max {
        // The supplier's own share: whatever it supplied to whomever.
        let estate = Estate::of(case, |l| l.issuer == *issuer);
        let within = format!("{issuer}'s own share is {share}");
        return against(case, &estate, country, u128::from(share.0), &within, true);
    }
    let tier = |name| list(case, name).map(|l| l.contains(&country));
    let (Some(ally), Some(barred)) = (tier("tier-1"), tier("barred")) else {
        return no_tiers();
    };
    if ally || barred {
        let sentence =
            format!("site {site} lies in {country}, which is no Tier 2 country and has no allocation");
        return Verdict::not_applicable("no-allocation", sentence)
            .grade(Grade::Declared)
            .evidence([case.licence.digest]);
    }
    let national = kinds(case).contains(&AuthorisationKind::NationalVeu);
    let cap = |scope| case.rules.and_then(|r| r.country_cap(scope, case.now));
    let consignee = &case.licence.consignee;
    let (scope, whose) = match national {
        true => (
            CapScope::NationalVeu,
            format!("{consignee}, a national validated end user, may hold"),
        ),
        false => (
            CapScope::CountryWithAgreement,
            "all parties together may hold, with an agreement of governments,".to_owned(),
        ),
    };
    let Some(cap) = cap(scope) else {
        return Verdict::no_limit(
            "a cap for the country at this time (`country_tpp_max`, or [[country_cap]] of the rule set)",
        );
    };
    let estate = Estate::of(case, |l| !national || l.consignee == *consignee);
    let within = format!(
        "{whose} {} there, by {} ({} confidence)",
        cap.tpp, cap.citation.source, cap.citation.confidence
    );
    against(case, &estate, country, u128::from(cap.tpp.0), &within, false)
}

/// Holds what was seen in a country against a cap. One that is not the supplier's own is never met by what one verifier sees.
fn against(
    case: &Case<'_>,
    estate: &Estate<'_>,
    country: &str,
    cap: u128,
    within: &str,
    own: bool,
) -> Verdict {
    let (least, most) = estate.countries.get(country).copied().unwrap_or_default();
    let sum = |tpp: u128| {
        format!(
            "devices of class 3A090.a of {} TPP were seen in {country}; {within}",
            Grouped(tpp)
        )
    };
    let judged = |v: Verdict| seen(case, estate, v).limit(Quantity::at_most(cap, "TPP"));
    if least > cap {
        let verdict = Verdict::not_met("above-cap", sum(least)).measured(Quantity::at_least(least, "TPP"));
        return judged(verdict);
    }
    if let Some(verdict) = unknown(case, estate) {
        return verdict.limit(Quantity::at_most(cap, "TPP"));
    }
    let measured = Quantity::between(least, most, "TPP");
    let verdict = if !own {
        let what = "what others hold there is not known here; the supplier's own share in the licence (`country_tpp_max`) would settle it";
        Verdict::cannot_tell("not-the-supplier-s-share", format!("{}; {what}", sum(most)))
    } else if most > cap {
        let what = "devices that were not seen lately leave open whether it is more";
        Verdict::cannot_tell("cap-open", format!("{}; {what}", sum(least)))
    } else {
        Verdict::met(
            "within-cap",
            format!("{}; what reports elsewhere is not in this", sum(most)),
        )
    };
    judged(verdict.measured(measured))
}

/// What was seen at the sites that licences name for the consignee.
fn of_consignee<'a>(case: &Case<'a>) -> Estate<'a> {
    Estate::of(case, |l| l.consignee == case.licence.consignee)
}

/// Where it was seen and declared: countries are the licences' word.
fn seen(case: &Case<'_>, estate: &Estate<'_>, verdict: Verdict) -> Verdict {
    verdict
        .grade(Grade::Declared)
        .window(case.since(), case.now)
        .subjects(estate.sites.iter().map(|s| (*s).to_owned()))
        .evidence(estate.evidence.iter().copied())
}

/// The verdict where part of the estate is not known: shares need the whole.
fn unknown(case: &Case<'_>, estate: &Estate<'_>) -> Option<Verdict> {
    if estate.evidence.is_empty() {
        return Some(super::super::case::no_report(seen(
            case,
            estate,
            Verdict::cannot_tell("", ""),
        )));
    }
    let nothing = estate.countries.values().all(|(_, most)| *most == 0);
    let mut open = estate.open.clone();
    if nothing && open.is_empty() {
        open.push("no device of class 3A090.a was seen at any of them".to_owned());
    }
    let sentence = || {
        format!(
            "what stands at {} is not known as a whole: {}",
            count(estate.sites.len(), "site"),
            few(&open)
        )
    };
    (!open.is_empty()).then(|| seen(case, estate, Verdict::cannot_tell("estate-unknown", sentence())))
}

fn no_tiers() -> Verdict {
    let sentence = "the rule set lists no Tier 1 and no barred countries that hold now, so that no country's tier can be told";
    Verdict::cannot_tell("no-tiers", sentence).grade(Grade::Declared)
}

/// The countries of a list that holds now.
fn list<'a>(case: &Case<'a>, name: &str) -> Option<Vec<&'a str>> {
    let list = case.rules?.list(name, case.now)?;
    Some(list.members.iter().map(String::as_str).collect())
}

/// A part of a whole, at least and at most, rounded outwards.
fn share(part: Bounds, rest: Bounds) -> (Ppm, Ppm) {
    let of = |part: u128, rest: u128| (part.saturating_mul(1_000_000), part.saturating_add(rest));
    let ppm = |n: u128| Ppm(u32::try_from(n).unwrap_or(Ppm::ONE.0).min(Ppm::ONE.0));
    let (least, whole) = of(part.0, rest.1);
    let (most, least_whole) = of(part.1, rest.0);
    let up = match least_whole {
        0 => 0,
        whole => most.div_ceil(whole),
    };
    (ppm(least.checked_div(whole).unwrap_or(0)), ppm(up))
}

/// The kinds of the authorisations of the consignee that an agency or the supplier confirms.
fn kinds(case: &Case<'_>) -> Vec<AuthorisationKind> {
    let papers = case.papers().holding::<Authorisation>(case.now);
    papers
        .filter(|p| p.claims.consignee.as_str() == case.licence.consignee)
        .filter(|p| matches!(p.header.role, Role::Authority | Role::Supplier))
        .map(|p| p.claims.kind)
        .collect()
}

/// Why a condition for one kind of validated end user does not bind the consignee, if so; a licence that sets its limit binds anyone.
fn not_bound(case: &Case<'_>, kind: AuthorisationKind, set: bool) -> Option<Verdict> {
    if set || kinds(case).contains(&kind) {
        return None;
    }
    let papers = match case.papers_of::<Authorisation>() {
        Ok(papers) => papers,
        Err(missing) => return Some(*missing),
    };
    let sentence = format!(
        "{} is no universal validated end user by what is on file",
        case.licence.consignee
    );
    Some(
        Verdict::not_applicable("not-universal", sentence)
            .grade(Grade::Declared)
            .evidence(papers.iter().map(|p| p.digest)),
    )
}

/// What the consignee said last of its headquarters.
fn headquarters<'a>(case: &Case<'a>) -> Option<Paper<'a, Ownership>> {
    let mut papers = case.papers().holding::<Ownership>(case.now);
    papers.find(|p| p.claims.party.as_str() == case.licence.consignee)
}
