//! Location: where the site is said to lie, and which countries are barred.

use super::case::Case;
use super::finding::Verdict;
use crate::appraisal::Grade;

/// LOC-01: the declared country is licensed and not barred. Nothing here measures where the site is.
pub(super) fn licensed_country(case: &Case<'_>) -> Verdict {
    judge(case)
        .grade(Grade::Declared)
        .window(case.licence.valid.from, case.now)
        .subjects([case.facts.site.clone()])
        .evidence([case.licence.digest])
}

fn judge(case: &Case<'_>) -> Verdict {
    let site = &case.facts.site;
    let Some(country) = case.licence.site(site).and_then(|s| s.country.as_deref()) else {
        return Verdict::cannot_tell(
            "no-country",
            format!("no country is declared for site {site}: a [[site]] with `country` would say it"),
        );
    };
    let barred = case.rules.and_then(|r| r.list("barred", case.now));
    if let Some(list) = case.barred(country) {
        return Verdict::not_met(
            "barred-country",
            format!(
                "site {site} is declared to lie in {country}, which is in {list} on {}",
                case.now
            ),
        );
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
    let needs_licence = case
        .rules
        .and_then(|r| r.list("licence-required", case.now))
        .is_some_and(|l| l.members.iter().any(|m| m == country));
    let remark = match (barred, needs_licence) {
        (Some(list), true) => format!(
            " and outside {}; devices of class 3A090.a need an export licence for it",
            list.title
        ),
        (Some(list), false) => format!(" and outside {}", list.title),
        (None, _) => String::new(),
    };
    Verdict::met(
        "licensed-country",
        format!(
            "site {site} is declared to lie in {country}, which the licence allows{remark}; nothing has measured it"
        ),
    )
}

impl<'a> Case<'a> {
    /// The title of the list of barred countries that a country stands on now.
    pub(super) fn barred(&self, country: &str) -> Option<&'a str> {
        let list = self.rules?.list("barred", self.now)?;
        list.members
            .iter()
            .any(|m| m == country)
            .then_some(list.title.as_str())
    }

    /// The verdict where the rule set bars countries, and none of its lists holds now: nobody is cleared by a list that is not there.
    pub(super) fn without_list(&self) -> Option<Verdict> {
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

/// LOC-02: delay measurements do not contradict the declared place.
pub(super) fn delays_agree(case: &Case<'_>) -> Verdict {
    case.unsettled("LOC-02")
}

/// LOC-03: what anchors the hosts in their place is as it was at enrolment.
pub(super) fn anchors_answer(case: &Case<'_>) -> Verdict {
    case.unsettled("LOC-03")
}

/// LOC-04: the place of every covered device was checked lately.
pub(super) fn checked_lately(case: &Case<'_>) -> Verdict {
    case.unsettled("LOC-04")
}
