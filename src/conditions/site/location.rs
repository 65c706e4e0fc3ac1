//! Location: where the site is said to lie, what shows it, and which countries are barred.
//!
//! Decides: whether what parties sign and assessors saw places the site in a licensed country. Nothing here measures where a site is: no delay
//! is measured in this version, and no host is anchored to its place.

use super::super::case::Case;
use super::super::finding::{Outcome, Quantity, Verdict, few};
use super::super::papers::Paper;
use super::attestation::{assessor_says, assessor_within};
use crate::appraisal::Grade;
use crate::id::Digest;
use crate::statement::{SecurityArea, SecurityAttestation, SiteDeclaration, VisitLog};
use crate::time::span;

/// LOC-01: the site lies in a licensed country that is not barred, by a deed or lease, or by the word of someone who was there. Nothing here measures
/// where it is.
pub(in crate::conditions) fn licensed_country(case: &Case<'_>) -> Verdict {
    let declared = case.newest_of_each::<SiteDeclaration>();
    judge(case, &declared)
        .grade(Grade::Declared)
        .window(case.licence.valid.from, case.now)
        .subjects([case.facts.site.clone()])
        .evidence([case.licence.digest])
        .evidence(declared.iter().map(|p| p.digest))
}

fn judge(case: &Case<'_>, declared: &[Paper<'_, SiteDeclaration>]) -> Verdict {
    let site = &case.facts.site;
    let said = assessor_says(case, "LOC-01");
    let Some(country) = case.licence.site(site).and_then(|s| s.country.as_deref()) else {
        return Verdict::cannot_tell(
            "no-country",
            format!("no country is declared for site {site}: a [[site]] with `country` would say it"),
        );
    };
    if let Some(list) = case.barred(country) {
        return Verdict::not_met(
            "barred-country",
            format!(
                "site {site} is declared to lie in {country}, which is in {list} on {}",
                case.now
            ),
        );
    }
    if let Some(verdict) = declared_elsewhere(case, country, declared) {
        return verdict;
    }
    if let Some(verdict) = said.as_ref().filter(|v| v.outcome == Outcome::NotMet) {
        return verdict.clone();
    }
    let allowed = &case.licence.countries_allowed;
    if allowed.is_empty() {
        return Verdict::no_limit("in which countries a site may lie (`countries_allowed`)");
    }
    if !allowed.iter().any(|a| a == country) {
        return Verdict::not_met(
            "unlicensed-country",
            format!(
                "site {site} is declared to lie in {country}; the licence allows {}",
                allowed.join(", ")
            ),
        );
    }
    if let Some(verdict) = case.without_list() {
        return verdict;
    }
    let place = format!(
        "site {site} is declared to lie in {country}, which the licence allows{}",
        remark(case, country)
    );
    match shown(case, declared, said) {
        Ok((shown, digest)) => Verdict::met(
            "licensed-country",
            format!("{place}; {shown}; nothing has measured it"),
        )
        .evidence([digest]),
        Err(why) => Verdict::cannot_tell(
            "no-statement",
            format!(
                "{place}, and {why}; a site declaration with the digest of a deed or lease, a log of a visit, or an assessor's finding on LOC-01 \
                 would settle it"
            ),
        ),
    }
}

/// A party that is heard places the site in a barred country, or in another than the licence does.
fn declared_elsewhere(
    case: &Case<'_>,
    country: &str,
    declared: &[Paper<'_, SiteDeclaration>],
) -> Option<Verdict> {
    let site = &case.facts.site;
    let found =
        |message, words: Vec<String>| (!words.is_empty()).then(|| Verdict::not_met(message, few(&words)));
    let barred = declared.iter().filter_map(|p| {
        let said = p.claims.country.as_str();
        let list = case.barred(said)?;
        Some(format!(
            "the {} places site {site} in {said}, which is in {list} on {}",
            p.label(),
            case.now
        ))
    });
    let other = declared.iter().filter(|p| p.claims.country.as_str() != country);
    let other = other.map(|p| {
        format!(
            "the {} places site {site} in {}, and licence {} places it in {country}",
            p.label(),
            p.claims.country,
            case.licence.licence_id
        )
    });
    found("barred-country", barred.collect()).or_else(|| found("another-country", other.collect()))
}

/// What shows that the site lies where it is declared to, and the statement that says so; else why nothing does.
fn shown(
    case: &Case<'_>,
    declared: &[Paper<'_, SiteDeclaration>],
    said: Option<Verdict>,
) -> Result<(String, Digest), String> {
    if let Some(paper) = declared.iter().find(|p| p.claims.deed.is_some()) {
        let words = format!(
            "the {} names the deed or lease (site {})",
            paper.label(),
            paper.claims.title
        );
        return Ok((words, paper.digest));
    }
    let met = said.filter(|v| v.outcome == Outcome::Met);
    if let Some((sentence, digest)) = met.and_then(|v| Some((v.sentence, *v.evidence.first()?))) {
        return Ok((sentence, digest));
    }
    let Some(limit) = case.term(|l| l.assessment_max_age) else {
        return Err(
            "neither the licence nor its rule set sets how old a visit may be (`assessment_max_age`)"
                .to_owned(),
        );
    };
    let papers = case.papers();
    let visits = papers
        .holding::<VisitLog>(case.now)
        .map(|p| (p.header, p.digest, p.label()));
    let examined = papers.holding::<SecurityAttestation>(case.now).filter(|p| {
        let mut areas = p.claims.areas.iter();
        areas.any(|a| a.area == SecurityArea::Physical && a.scope_includes_site)
    });
    let examined = examined.map(|p| (p.header, p.digest, p.label()));
    let mut old = None;
    for (header, digest, label) in visits.chain(examined) {
        match case.too_old(header, limit.value) {
            None => return Ok((format!("by the {label}, someone was there"), digest)),
            Some(why) => old = old.or_else(|| Some(format!("the {label} {why}"))),
        }
    }
    let own = declared
        .first()
        .map(|p| format!("the {} names no deed or lease", p.label()));
    Err(old
        .or(own)
        .unwrap_or_else(|| "nothing on file but the licence says so".to_owned()))
}

/// What else the rule set's lists say of a country.
fn remark(case: &Case<'_>, country: &str) -> String {
    let list = |name| case.rules.and_then(|r| r.list(name, case.now));
    let needs_licence = list("licence-required").is_some_and(|l| l.members.iter().any(|m| m == country));
    match (list("barred"), needs_licence) {
        (Some(barred), true) => format!(
            " and outside {}; devices of class 3A090.a need an export licence for it",
            barred.title
        ),
        (Some(barred), false) => format!(" and outside {}", barred.title),
        (None, _) => String::new(),
    }
}

impl<'a> Case<'a> {
    /// The title of the list of barred countries that a country stands on now.
    pub(in crate::conditions) fn barred(&self, country: &str) -> Option<&'a str> {
        let list = self.rules?.list("barred", self.now)?;
        list.members
            .iter()
            .any(|m| m == country)
            .then_some(list.title.as_str())
    }

    /// The verdict where the rule set bars countries, and none of its lists holds now: nobody is cleared by a list that is not there.
    pub(in crate::conditions) fn without_list(&self) -> Option<Verdict> {
        let rules = self.rules?;
        let missing = !rules.countries.is_empty() && rules.list("barred", self.now).is_none();
        missing.then(|| {
            let sentence = format!(
                "the rule set has no list of barred countries that holds on {}",
                self.now
            );
            Verdict::cannot_tell("no-list", sentence).grade(Grade::Declared)
        })
    }
}

/// LOC-02: delay measurements do not contradict the declared place. None is measured in this version.
pub(in crate::conditions) fn delays_agree(case: &Case<'_>) -> Verdict {
    let Some(least) = case.term(|l| l.landmarks_min) else {
        return Verdict::no_limit("to how many landmarks delays must be measured (`landmarks_min`)");
    };
    let verdict = assessor_says(case, "LOC-02").unwrap_or_else(|| {
        let sentence = format!(
            "no delay to a landmark is measured in this version, so that nothing shows whether site {} lies where it is declared to; delays to {} \
             landmarks or more, which {} asks for, or an assessor's finding on LOC-02, would settle it",
            case.facts.site, least.value, least.from
        );
        not_measured(case, sentence)
    });
    verdict
        .measured(Quantity::exactly(0, "landmarks"))
        .limit(Quantity::at_least(least.value, "landmarks"))
}

/// LOC-03: what anchors the hosts in their place is as it was at enrolment.
///
/// No report names a TPM's endorsement key, a host's controller or a beacon of its rack. What is known is where a node was enrolled anew, with another key.
pub(in crate::conditions) fn anchors_answer(case: &Case<'_>) -> Verdict {
    let anew: Vec<&str> = case
        .nodes()
        .filter(|n| n.status.succeeded_from.is_some())
        .map(|n| n.status.name.as_str())
        .collect();
    let replaced = match anew.as_slice() {
        [] => String::new(),
        some => format!(
            "; another node with a key of its own reports in place of {}",
            few(&some.iter().map(|n| format!("node {n}")).collect::<Vec<_>>())
        ),
    };
    assessor_says(case, "LOC-03").unwrap_or_else(|| {
        let sentence = format!(
            "nothing that anchors the hosts of site {} in their place is recorded at enrolment (no TPM's endorsement key, no controller of the host, no \
             beacon of the rack){replaced}; an assessor's finding on LOC-03 would settle it",
            case.facts.site
        );
        not_measured(case, sentence)
    })
}

/// LOC-04: the place of every covered device was checked lately. This version checks none itself.
pub(in crate::conditions) fn checked_lately(case: &Case<'_>) -> Verdict {
    const WHAT: &str = "how long ago the place of a device may last have been checked (`location_max_age`)";
    let Some(limit) = case.term(|l| l.location_max_age) else {
        return Verdict::no_limit(WHAT);
    };
    assessor_within(case, "LOC-04", Some(limit.value), WHAT)
        .unwrap_or_else(|| {
            let sentence = format!(
                "the place of no device is measured in this version; {} allows {} between two checks; an assessor's finding on LOC-04 would settle it",
                limit.from,
                span(limit.value)
            );
            not_measured(case, sentence)
        })
        .limit(Quantity::at_most(limit.value, "seconds"))
}

fn not_measured(case: &Case<'_>, sentence: String) -> Verdict {
    Verdict::cannot_tell("not-measured", sentence)
        .grade(Grade::Declared)
        .subjects([case.facts.site.clone()])
}
