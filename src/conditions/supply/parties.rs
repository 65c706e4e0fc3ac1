//! Parties: who owns the consignee, what it undertook, and under what the items may be where they are.

use super::super::capacity::allocation::received_in_year;
use super::super::case::Case;
use super::super::finding::{Outcome, Verdict, few};
use super::super::papers::Paper;
use super::super::site::attestation::on_paper;
use crate::appraisal::{Grade, HeardStatement};
use crate::rules::{NoLicence, RuleSet, RuleState};
use crate::statement::{Authorisation, AuthorisationKind, EndUserCertificate, Ownership, Role, Said};
use crate::time::{UnixSeconds, span};
use std::collections::BTreeMap;

/// SUP-01: owners and control of the consignee are disclosed, lately and whole, and none of them is barred.
pub(in crate::conditions) fn owners_disclosed(case: &Case<'_>) -> Verdict {
    let papers = match case.papers_of::<Ownership>() {
        Ok(papers) => papers,
        Err(missing) => return *missing,
    };
    let of = &case.licence.consignee;
    worst_of_each(case, |o: &Ownership| o.party.as_str() == of, by_disclosure)
        .unwrap_or_else(|| of_others(case, "party", &papers, |o| o.party.as_str()))
}

/// Of the newest statement of each issuer the one that breaks the condition, else the newest: what one party leaves out does not unsay what another admits.
fn worst_of_each<'a, T: Said + 'a>(
    case: &Case<'a>,
    about: impl Fn(&T) -> bool,
    judge: impl Fn(&Case<'a>, &Paper<'a, T>) -> Verdict,
) -> Option<Verdict> {
    let papers = case.newest_of_each::<T>().into_iter().filter(|p| about(p.claims));
    let mut verdicts: Vec<Verdict> = papers.map(|p| judge(case, &p)).collect();
    let worst = verdicts
        .iter()
        .position(|v| v.outcome == Outcome::NotMet)
        .unwrap_or(0);
    (!verdicts.is_empty()).then(|| verdicts.swap_remove(worst))
}

fn by_disclosure(case: &Case<'_>, paper: &Paper<'_, Ownership>) -> Verdict {
    let of = &case.licence.consignee;
    let (label, said) = (paper.label(), paper.claims);
    let verdict = |v: Verdict| on_paper(case, v, paper);
    // What it admits counts however old it is.
    let mut barred: Vec<String> = [
        ("its headquarters lie", &said.headquarters),
        (
            "its ultimate parent has its headquarters",
            &said.ultimate_parent_country,
        ),
    ]
    .into_iter()
    .filter_map(|(what, country)| {
        Some(format!(
            "{what} in {country}, which is in {}",
            case.barred(country.as_str())?
        ))
    })
    .collect();
    let listed = said.owners.iter().filter(|o| o.listed);
    barred.extend(listed.map(|o| {
        let name = o
            .name
            .as_ref()
            .map_or("an owner that it does not name", |n| n.as_str());
        format!(
            "{name}, of {}, with a share of {}, stands on a list of barred parties",
            o.country, o.share
        )
    }));
    if !barred.is_empty() {
        return verdict(Verdict::not_met(
            "barred-owner",
            format!("the {label} says of {of}: {}", few(&barred)),
        ));
    }
    let notice = said.changed.and_then(|changed| notice_of(case, paper, changed.0));
    if let Some(v) = notice.as_ref().filter(|v| v.outcome == Outcome::NotMet) {
        return verdict(v.clone());
    }
    let Some(limit) = case.term(|l| l.ownership_max_age) else {
        return Verdict::no_limit("how old a disclosure of ownership may be (`ownership_max_age`)");
    };
    if let Some(old) = case.too_old(paper.header, limit.value) {
        return verdict(Verdict::cannot_tell("too-old", format!("the {label} {old}")));
    }
    if !said.complete {
        let sentence =
            format!("the {label} does not name all owners of a tenth or more; one that does would settle it");
        return verdict(Verdict::cannot_tell("incomplete", sentence));
    }
    if let Some(open) = notice {
        return verdict(open);
    }
    if let Some(verdict) = case.without_list() {
        return verdict;
    }
    verdict(Verdict::met(
        "owners-disclosed",
        format!("the {label} names the owners of {of}, and neither they nor its ultimate parent are barred"),
    ))
}

/// What is wrong, or not known, with the notice of a change of ownership. A change before the licence was no matter of it.
///
/// The first statement that tells of the change counts, replaced or not: one that is renewed names the same change again. Its own date is its issuer's word,
/// and when it was put on file is not.
fn notice_of(case: &Case<'_>, paper: &Paper<'_, Ownership>, changed: UnixSeconds) -> Option<Verdict> {
    if changed < case.licence.valid.from || changed > case.now {
        return None;
    }
    let Some(limit) = case.term(|l| l.ownership_notice) else {
        return Some(Verdict::no_limit(
            "within which time a change of ownership must be disclosed (`ownership_notice`)",
        ));
    };
    let tells = |s: &&HeardStatement| {
        let said = Ownership::of(&s.statement.claims);
        said.is_some_and(|o| o.party == paper.claims.party && o.changed.is_some_and(|c| c.0 == changed))
            && case.hears(s).is_ok()
    };
    let told: Vec<_> = case
        .on_file()
        .filter(tells)
        .filter(|s| s.filed <= case.now)
        .collect();
    let issued = told.iter().map(|s| s.statement.header.issued.0).min()?;
    let filed = told.iter().map(|s| s.filed).min()?;
    let due = changed.plus(limit.value);
    let rule = format!("{} asks for notice within {}", limit.from, span(limit.value));
    let label = paper.label();
    if filed <= due {
        return None;
    }
    Some(match issued > due {
        true => Verdict::not_met(
            "late-notice",
            format!(
                "by the {label}, ownership or control changed on {changed}, and this was first disclosed on {issued}; {rule}"
            ),
        ),
        false => Verdict::cannot_tell(
            "notice-not-shown",
            format!(
                "by the {label}, ownership or control changed on {changed}; the first disclosure is dated {issued} and was put on file on {filed}, so that \
                 notice in time rests on its own date; {rule}; the record of its delivery would settle it, for a person to weigh"
            ),
        ),
    })
}

/// TEN-04: the consignee undertook to what an end-user certificate asks for.
pub(in crate::conditions) fn end_use_certified(case: &Case<'_>) -> Verdict {
    let papers = match case.papers_of::<EndUserCertificate>() {
        Ok(papers) => papers,
        Err(missing) => return *missing,
    };
    let of = &case.licence.consignee;
    worst_of_each(
        case,
        |c: &EndUserCertificate| c.consignee.as_str() == of,
        by_certificate,
    )
    .unwrap_or_else(|| of_others(case, "consignee", &papers, |c| c.consignee.as_str()))
}

fn by_certificate(case: &Case<'_>, paper: &Paper<'_, EndUserCertificate>) -> Verdict {
    let of = &case.licence.consignee;
    let (label, said) = (paper.label(), paper.claims);
    let undertakings = [
        (
            said.no_transfer_to_barred,
            "to transfer nothing to country group D:5 or Macau",
        ),
        (
            said.no_military_use,
            "to serve no military or military-intelligence end",
        ),
        (said.no_wmd_use, "to serve no weapon of mass destruction"),
    ];
    let left_out: Vec<String> = undertakings
        .into_iter()
        .filter(|(undertaken, _)| !undertaken)
        .map(|(_, what)| what.to_owned())
        .collect();
    let verdict = |v: Verdict| on_paper(case, v, paper);
    if let Some(list) = case.barred(said.country.as_str()) {
        let sentence = format!(
            "the {label} says that {of} is established in {}, which is in {list}",
            said.country
        );
        return verdict(Verdict::not_met("barred-consignee", sentence));
    }
    if !left_out.is_empty() {
        return verdict(Verdict::not_met(
            "not-undertaken",
            format!("the {label} does not undertake {}", few(&left_out)),
        ));
    }
    if let Some(verdict) = case.without_list() {
        return verdict;
    }
    verdict(Verdict::met(
        "certified",
        format!("the {label} undertakes what is asked for, for {of}"),
    ))
}

/// SUP-02: an authorisation that an agency or the supplier confirms covers consignee, site, items and date; or none is needed.
pub(in crate::conditions) fn authorised(case: &Case<'_>) -> Verdict {
    let verdict = by_authorisation(case);
    match verdict.outcome {
        Outcome::Met => verdict,
        _ => not_needed(case).unwrap_or(verdict),
    }
}

/// Why no licence is needed by the rule set, as far as the place of the site and who owns the consignee tell.
fn not_needed(case: &Case<'_>) -> Option<Verdict> {
    let rules = case.rules?;
    let place = case.licence.site(case.facts.site)?.country.as_deref()?;
    // Owners that are barred, not named or disclosed long ago clear nobody.
    if owners_disclosed(case).outcome != Outcome::Met {
        return None;
    }
    let papers = case.papers_of::<Ownership>().ok()?;
    let owner = papers
        .iter()
        .find(|p| p.claims.party.as_str() == case.licence.consignee)?;
    let said = owner.claims;
    let parties = [said.headquarters.as_str(), said.ultimate_parent_country.as_str()];
    let why = rules
        .no_licence
        .iter()
        .find(|n| clears(case, rules, n, place, parties))?;
    let state = match why.citation.state {
        RuleState::Enforced => String::new(),
        state => format!(" ({state})"),
    };
    let sentence = format!(
        "no licence is needed by {}{state}, {}: site {} is declared to lie in {place}, and the {} names {} and {} as headquarters and \
         ultimate parent of {}; {}",
        why.citation.source,
        why.title,
        case.facts.site,
        owner.label(),
        said.headquarters,
        said.ultimate_parent_country,
        case.licence.consignee,
        rules.label()
    );
    Some(on_paper(case, Verdict::met("no-licence-needed", sentence), owner).evidence([case.licence.digest]))
}

/// Whether all that an entry asks holds. A list that does not hold now has nobody on it, and clears nobody.
fn clears(case: &Case<'_>, rules: &RuleSet, entry: &NoLicence, place: &str, parties: [&str; 2]) -> bool {
    let on = |list: &String, country: &str| {
        let found = rules.list(list, case.now);
        found.map(|l| l.members.iter().any(|m| m == country))
    };
    let within = |lists: &[String], country: &str| {
        lists.is_empty() || lists.iter().any(|l| on(l, country) == Some(true))
    };
    let outside = |lists: &[String], country: &str| lists.iter().all(|l| on(l, country) == Some(false));
    entry.validity.holds(case.now)
        && within(&entry.place_in, place)
        && outside(&entry.place_not_in, place)
        && parties
            .iter()
            .all(|p| within(&entry.parties_in, p) && outside(&entry.parties_not_in, p))
        && (!entry.within_year || received_in_year(case).outcome == Outcome::Met)
}

/// What the authorisations on file come to.
fn by_authorisation(case: &Case<'_>) -> Verdict {
    let papers = match case.papers_of::<Authorisation>() {
        Ok(papers) => papers,
        Err(missing) => return *missing,
    };
    let of = &case.licence.consignee;
    let theirs: Vec<_> = papers
        .iter()
        .filter(|p| p.claims.consignee.as_str() == of)
        .collect();
    if theirs.is_empty() {
        return of_others(case, "consignee", &papers, |a| a.consignee.as_str());
    }
    let own = theirs.iter().find(|p| !confirms(p));
    let for_site: Vec<&Paper<'_, Authorisation>> = theirs
        .iter()
        .copied()
        .filter(|p| confirms(p) && p.claims.kind != AuthorisationKind::ListedDevice)
        .collect();
    let Some(first) = for_site.first() else {
        let sentence = own.map_or_else(
            || format!("what is on file for {of} permits single devices only; an authorisation for the site would settle it"),
            |p| format!("the {} is the holder's own word; an agency or the supplier would settle it", p.label()),
        );
        let digests = own.map(|p| p.digest);
        return Verdict::cannot_tell("not-confirmed", sentence)
            .grade(Grade::Declared)
            .evidence(digests);
    };
    let (label, said) = (first.label(), first.claims);
    let others = for_site.iter().skip(1).map(|p| p.digest);
    let verdict = |v: Verdict| on_paper(case, v, first).evidence(others.clone());
    let short = uncovered(case, &for_site);
    if !short.is_empty() {
        // Another authorisation may cover the rest: that none is on file shows nothing.
        let sentence = format!(
            "what is authorised does not cover what the manifest lists here: {}; an authorisation for the rest would settle it",
            few(&short)
        );
        return verdict(Verdict::cannot_tell("not-covered", sentence));
    }
    let until = first.header.valid_to.0;
    verdict(match said.kind {
        AuthorisationKind::NotNeeded => {
            let terms = said.terms.as_ref().map_or("it does not say why", |t| t.as_str());
            let sentence = format!(
                "no licence is needed, by the {label}: {}",
                terms.replace('\n', " ")
            );
            Verdict::met("no-licence-needed", sentence)
        }
        kind => Verdict::met(
            "authorised",
            format!(
                "{} {} ({kind}) covers {of} at this site until just before {until}, by the {label}",
                said.authority, said.number
            ),
        ),
    })
}

/// Authorisations that hold and that an agency or the supplier confirms, the newest first.
pub(in crate::conditions) fn confirmed<'a>(
    case: &Case<'a>,
) -> impl Iterator<Item = Paper<'a, Authorisation>> {
    case.papers().holding::<Authorisation>(case.now).filter(confirms)
}

/// Whether an authorisation is told of by someone who can confirm it. Whoever holds it cannot.
fn confirms(paper: &Paper<'_, Authorisation>) -> bool {
    matches!(paper.header.role, Role::Authority | Role::Supplier)
}

/// What stands on the manifest of this site and in no item of these authorisations together, in words. One that lists no items covers all.
fn uncovered(case: &Case<'_>, papers: &[&Paper<'_, Authorisation>]) -> Vec<String> {
    if papers.iter().any(|p| p.claims.items.is_none()) {
        return Vec::new();
    }
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for (_, row) in case.rows() {
        let model = row
            .model
            .as_deref()
            .unwrap_or("a model that the manifest does not name");
        let count = counts.entry(model).or_default();
        *count = count.saturating_add(1);
    }
    // One authorisation of which several statements tell covers once, and what is least said of it.
    let mut by_number: BTreeMap<(&str, &str), Vec<&Authorisation>> = BTreeMap::new();
    for said in papers.iter().map(|p| p.claims) {
        let number = (said.authority.as_str(), said.number.as_str());
        by_number.entry(number).or_default().push(said);
    }
    let covers = |said: &Authorisation, model: &str| {
        let items = said.items.iter().flatten().filter(|i| i.model.as_str() == model);
        items.fold(0, |sum: u64, i| sum.saturating_add(i.count))
    };
    counts
        .into_iter()
        .filter_map(|(model, count)| {
            let least = |told: &Vec<&Authorisation>| told.iter().map(|a| covers(a, model)).min().unwrap_or(0);
            let covered = by_number.values().map(least).fold(0, u64::saturating_add);
            (covered < count).then(|| format!("{count} x {model}, of which {covered} are covered"))
        })
        .collect()
}

/// The verdict where statements are on file, but none is about the licence's consignee.
pub(in crate::conditions) fn of_others<T: Said>(
    case: &Case<'_>,
    what: &str,
    papers: &[Paper<'_, T>],
    named: impl Fn(&T) -> &str,
) -> Verdict {
    let names: Vec<String> = papers
        .iter()
        .map(|p| format!("{} names {}", p.label(), named(p.claims)))
        .collect();
    let sentence = format!(
        "no {} names {} as its {what}: {}",
        T::KIND.title,
        case.licence.consignee,
        few(&names)
    );
    Verdict::cannot_tell("of-others", sentence)
        .grade(Grade::Declared)
        .evidence(papers.iter().map(|p| p.digest))
}
