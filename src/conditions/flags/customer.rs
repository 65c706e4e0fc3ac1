//! Flags that rest on what a supplier or an assessor found out about the customer, and on what it discloses.
//!
//! Of each issuer the newest statement that holds counts, and of these the worst: no second opinion outweighs a first. Since when a flag has been
//! raised is told by all that its issuer ever said, replaced or expired too: to write the same anew makes a flag no younger.

use super::super::case::Case;
use super::super::papers::Paper;
use super::super::supply::shipment::{Side, by_shipment, counting};
use super::{Fact, Look};
use crate::statement::{
    AddressKind, DueDiligence, Fit, Ownership, Said, Screening, ScreeningResult, ShipmentList, ShipmentState,
    SupplyChainRole, WebPresence,
};
use crate::time::UnixSeconds;
use std::collections::BTreeSet;

/// The list of the rule set that a customer incorporated lately must stand on.
const GROUP_A1: &str = "A:1";
/// The rule of the rule set whose first day makes a customer new.
const CONTROLS: &str = "advanced-computing-controls";

/// What one statement says of a flag, as a kind of sentence and its words.
enum Told {
    Raised(&'static str, String),
    Open(&'static str, String),
    Clear(&'static str, String),
}

/// What statements of one kind about the consignee say of a flag; `None` where none does.
fn heard<T: Said + 'static>(
    case: &Case<'_>,
    about: fn(&T, &str) -> bool,
    judge: impl Fn(&T) -> Told,
) -> Option<Look> {
    let of = case.licence.consignee.as_str();
    let mut issuers = BTreeSet::new();
    let newest: Vec<Paper<'_, T>> = case
        .papers()
        .holding::<T>(case.now)
        .filter(|p| about(p.claims, of) && issuers.insert(p.header.issuer.as_str()))
        .collect();
    let mut look = Look::default();
    for paper in &newest {
        let (pile, message, words) = match judge(paper.claims) {
            Told::Raised(message, words) => (&mut look.raised, message, words),
            Told::Open(message, words) => (&mut look.open, message, words),
            Told::Clear(message, words) => (&mut look.clear, message, words),
        };
        pile.push(Fact {
            since: raised_since(case, paper, about, &judge),
            newest: Some(paper.header.issued.0),
            evidence: vec![paper.digest],
            ..Fact::new(message, format!("by the {}, {words}", paper.label()))
        });
    }
    (!newest.is_empty()).then_some(look)
}

/// Since when the issuer of a statement has said what raises the flag, without a word to the contrary in between.
fn raised_since<T: Said + 'static>(
    case: &Case<'_>,
    paper: &Paper<'_, T>,
    about: fn(&T, &str) -> bool,
    judge: &impl Fn(&T) -> Told,
) -> Option<UnixSeconds> {
    let ever = case.papers().ever::<T>();
    let theirs = ever.filter(|p| p.header.issuer == paper.header.issuer);
    let theirs = theirs.filter(|p| about(p.claims, &case.licence.consignee));
    let before = theirs.skip_while(|p| p.digest != paper.digest);
    let raising = before.take_while(|p| matches!(judge(p.claims), Told::Raised(..)));
    raising.map(|p| p.header.issued.0).min()
}

/// What due diligence says of a flag, or that there is none.
pub(super) fn diligence(
    case: &Case<'_>,
    judge: impl Fn(&DueDiligence) -> (bool, &'static str, String),
) -> Look {
    told_by_diligence(case, |said| match judge(said) {
        (true, message, words) => Told::Raised(message, words),
        (false, message, words) => Told::Clear(message, words),
    })
}

fn told_by_diligence(case: &Case<'_>, judge: impl Fn(&DueDiligence) -> Told) -> Look {
    let about = |d: &DueDiligence, of: &str| d.customer.as_str() == of;
    heard(case, about, judge).unwrap_or_else(|| missing::<DueDiligence>(case))
}

/// That no statement of a kind about the consignee is heard.
fn missing<T: Said + 'static>(case: &Case<'_>) -> Look {
    let fact = match case.papers_of::<T>() {
        Err(verdict) => Fact {
            evidence: verdict.evidence.clone(),
            ..Fact::new(verdict.message, verdict.sentence.clone())
        },
        Ok(papers) => Fact {
            evidence: papers.iter().map(|p| p.digest).collect(),
            ..Fact::new(
                "of-others",
                format!("no {} is about {}", T::KIND.title, case.licence.consignee),
            )
        },
    };
    Look {
        open: vec![fact],
        ..Look::default()
    }
}

/// FLG-01.
pub(super) fn bought_none_before(case: &Case<'_>) -> Look {
    diligence(case, |said| {
        let words = format!("it bought {} before October 2022", said.bought_before);
        (said.bought_before == 0, "bought-before", words)
    })
}

/// FLG-02. Shipment lists count where they tell of more than the due diligence does.
pub(super) fn orders_rose(case: &Case<'_>) -> Look {
    let Some(most) = case.term(|l| l.order_rise_max) else {
        let words =
            "neither the licence nor its rule set sets what rise of orders is a flag (`order_rise_max`)";
        return Look {
            open: vec![Fact::new("no-limit", words)],
            ..Look::default()
        };
    };
    let shipped = shipped(case);
    diligence(case, |said| {
        let (before, since) = (said.bought_before, said.bought_since.max(shipped));
        let allowed = u128::from(before).saturating_mul(u128::from(most.value.0));
        let rose = u128::from(since).saturating_mul(1_000_000) > allowed;
        let words = format!(
            "it bought {before} before October 2022 and {since} since, and {} allows {} times as many",
            most.from,
            most.value.0.div_euclid(1_000_000)
        );
        (rose, "orders", words)
    })
}

/// How many devices shipment lists name for the consignee since the controls began, without those that went back: of a shipment as many as the side that
/// names more.
fn shipped(case: &Case<'_>) -> u64 {
    let begun = controls(case);
    let lists = case.papers().all::<ShipmentList>();
    let counted = lists.filter(|p| {
        p.claims.consignee.as_str() == case.licence.consignee
            && p.claims.state != ShipmentState::Returned
            && begun.is_some_and(|t| t <= p.claims.shipped.0)
    });
    let counted: Vec<Paper<'_, ShipmentList>> = counted.collect();
    let items = |side: &Side<'_, '_>| {
        let items = counting(side).into_iter().flat_map(|p| &p.claims.items);
        items.fold(0, |sum: u64, item| sum.saturating_add(item.count))
    };
    let shipments = by_shipment(&counted);
    let most = shipments
        .values()
        .filter_map(|sides| sides.values().map(items).max());
    most.fold(0, u64::saturating_add)
}

/// When the controls of advanced computing items began, by the rule set.
fn controls(case: &Case<'_>) -> Option<UnixSeconds> {
    Some(case.rules?.rule(CONTROLS, case.now)?.validity.from)
}

/// FLG-03.
pub(super) fn newly_incorporated(case: &Case<'_>) -> Look {
    told_by_diligence(case, |said| {
        let (at, place) = (said.incorporated.0, said.headquarters.as_str());
        let words = format!("it was incorporated on {at} and has its headquarters in {place}");
        let Some(rules) = case.rules else {
            return Told::Open(
                "no-rules",
                format!("{words}; the rule set that the licence names is not at hand"),
            );
        };
        let Some(begun) = controls(case) else {
            return Told::Clear(
                "no-date",
                format!("{words}; the rule set sets no day from which on a customer is new"),
            );
        };
        let listed = rules.list(GROUP_A1, case.now);
        let member = listed.is_some_and(|l| l.members.iter().any(|m| m == place));
        if at < begun {
            Told::Clear("incorporated", words)
        } else if let Some(list) = case.barred(place) {
            Told::Raised("incorporated", format!("{words}, which is in {list}"))
        } else if listed.is_none() {
            Told::Open(
                "no-list",
                format!("{words}; the rule set has no list of country group A:1"),
            )
        } else if member {
            Told::Clear("incorporated", format!("{words}, which is in country group A:1"))
        } else {
            Told::Raised(
                "incorporated",
                format!("{words}, which is not in country group A:1"),
            )
        }
    })
}

/// FLG-04.
pub(super) fn of_barred_places(case: &Case<'_>) -> Look {
    let judge = |headquarters: &str, parent: Option<&str>| {
        let Some(parent) = parent else {
            return Told::Raised(
                "parent-unknown",
                "its ultimate parent could not be found out".to_owned(),
            );
        };
        let barred = [headquarters, parent].into_iter().find_map(|c| case.barred(c));
        let words =
            format!("its headquarters lie in {headquarters} and those of its ultimate parent in {parent}");
        match (barred, case.without_list()) {
            (Some(list), _) => Told::Raised("barred-place", format!("{words}, and one of them is in {list}")),
            (None, Some(none)) => Told::Open("no-list", format!("{words}; {}", none.sentence)),
            (None, None) => Told::Clear("places", words),
        }
    };
    let found = told_by_diligence(case, |said| {
        let parent = said.ultimate_parent.as_ref().map(|c| c.as_str());
        judge(said.headquarters.as_str(), parent)
    });
    let disclosed = ownership(case, |said| {
        judge(
            said.headquarters.as_str(),
            Some(said.ultimate_parent_country.as_str()),
        )
    });
    found.and(disclosed.unwrap_or_default())
}

fn ownership(case: &Case<'_>, judge: impl Fn(&Ownership) -> Told) -> Option<Look> {
    heard(case, |o: &Ownership, of| o.party.as_str() == of, judge)
}

/// FLG-05.
pub(super) fn odd_address(case: &Case<'_>) -> Look {
    diligence(case, |said| {
        let odd = matches!(said.address, AddressKind::Residential | AddressKind::Vague);
        (odd, "address", format!("its address is {}", said.address))
    })
}

/// FLG-06.
pub(super) fn hardly_known(case: &Case<'_>) -> Look {
    diligence(case, |said| {
        let presence = said.web_presence;
        let words = format!("its presence in public is: {presence}");
        (presence != WebPresence::Established, "presence", words)
    })
}

/// FLG-07.
pub(super) fn shares_contacts(case: &Case<'_>) -> Look {
    let found = diligence(case, |said| match said.contact_of_listed {
        true => (
            true,
            "contacts",
            "its address, telephone or mail are those of a listed party too".to_owned(),
        ),
        false => (
            false,
            "contacts",
            "its contacts are those of no listed party".to_owned(),
        ),
    });
    found.and(screened(case))
}

/// What screening of the consignee with its owners and addresses came to; nothing where none is heard.
fn screened(case: &Case<'_>) -> Look {
    let about = |s: &Screening, of: &str| {
        s.owners_screened && s.parties.iter().flatten().any(|party| party.as_str() == of)
    };
    let judge = |said: &Screening| {
        let words = format!(
            "of it, its owners and its addresses the list {} says: {}",
            said.list, said.result
        );
        match (said.result, &said.resolution) {
            (ScreeningResult::Clear, _) => Told::Clear("screened", words),
            (ScreeningResult::PossibleMatch, Some(why)) => {
                let why = why.as_str().replace('\n', " ");
                Told::Clear("screened", format!("{words}, which came to: {why}"))
            }
            _ => Told::Raised("match", words),
        }
    };
    heard(case, about, judge).unwrap_or_default()
}

/// FLG-08.
pub(super) fn hides_use(case: &Case<'_>) -> Look {
    diligence(case, |said| match said.discloses_use {
        true => (
            false,
            "use",
            "it says where the items will stand and what they are for".to_owned(),
        ),
        false => (
            true,
            "use",
            "it does not say where the items will stand or what they are for".to_owned(),
        ),
    })
}

/// FLG-11.
pub(super) fn does_not_fit(case: &Case<'_>) -> Look {
    diligence(case, |said| {
        let words = format!("whether the order fits its business: {}", said.fit);
        (said.fit != Fit::Fits, "fit", words)
    })
}

/// FLG-12.
pub(super) fn passes_on(case: &Case<'_>) -> Look {
    diligence(case, |said| {
        let role = said.supply_chain_role;
        let passes = matches!(role, SupplyChainRole::Forwarder | SupplyChainRole::Reseller);
        let route = if said.usual_route { "usual" } else { "odd" };
        let words = format!("its place between maker and user is {role}, and the route is {route}");
        (passes || !said.usual_route, "role-and-route", words)
    })
}

/// FLG-14.
pub(super) fn listed_owner(case: &Case<'_>) -> Look {
    let disclosed = ownership(case, |said| {
        let listed = said.owners.iter().filter(|o| o.listed).count();
        if listed > 0 {
            let words = format!("{listed} of its owners stand on a list of barred parties");
            Told::Raised("listed-owner", words)
        } else if said.complete {
            Told::Clear(
                "owners",
                "its owners of a tenth or more are named, and none is listed".to_owned(),
            )
        } else {
            let words = "not all of its owners of a tenth or more are named; a disclosure that names them would settle it";
            Told::Open("incomplete", words.to_owned())
        }
    });
    let disclosed = disclosed.unwrap_or_else(|| missing::<Ownership>(case));
    disclosed.and(screened(case))
}
