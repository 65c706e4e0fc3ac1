//! Screening: whether tenants and the consignee were held against the lists of barred parties.
//!
//! Decides: by records of it. Of records that name a party the newest of each issuer counts, and of these the worst. A match that such a record tells
//! of counts against each party that it names, for it does not say whose it is. Trusts who kept the record; what the list says it does not look up.

use super::super::case::Case;
use super::super::finding::{Outcome, Quantity, Verdict, count, few};
use super::super::papers::Paper;
use super::attribution::{Attribution, tenant};
use super::holders::CONTROL;
use crate::id::TenantPseudonym;
use crate::statement::{Screening, ScreeningResult, TenantKyc};
use crate::time::{UnixSeconds, span};
use crate::unit::Ppm;
use std::collections::{BTreeMap, BTreeSet};

/// The rule by which parties count as listed of which listed ones own half or more.
const HALF_RULE: &str = "half-ownership";

/// Someone who must be screened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Party {
    Consignee,
    Tenant(TenantPseudonym),
}

impl std::fmt::Display for Party {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Consignee => f.write_str("the consignee"),
            Self::Tenant(tenant) => write!(f, "tenant {tenant}"),
        }
    }
}

impl Party {
    /// How the list of subjects names it.
    fn subject(&self, case: &Case<'_>) -> String {
        match self {
            Self::Consignee => case.licence.consignee.clone(),
            Self::Tenant(tenant) => tenant.to_string(),
        }
    }
}

/// TEN-03: tenants, owners and addresses were screened lately against the lists of barred parties.
pub(in crate::conditions) fn screened(case: &Case<'_>) -> Verdict {
    let papers = match case.papers_of::<Screening>() {
        Ok(papers) => papers,
        Err(missing) => return *missing,
    };
    let Some(limit) = case.term(|l| l.screening_max_age) else {
        return Verdict::no_limit(
            "how old a list may be against which parties were screened (`screening_max_age`)",
        );
    };
    let held = case.attribution();
    let tenants = held.tenants.keys().copied().map(Party::Tenant);
    let parties: Vec<Party> = std::iter::once(Party::Consignee).chain(tenants).collect();
    let records = Records::of(case, &papers);
    let listed = listed_by_owners(case);
    let (mut wrong, mut open) = (Vec::new(), Vec::new());
    // Device time that may lie under another licence, or before this one, accuses no tenant.
    let is_sure = |party: Party| match party {
        Party::Tenant(tenant) => held.tenants.get(&tenant).is_some_and(|t| t.is_sure),
        Party::Consignee => true,
    };
    for party in parties.iter().copied() {
        let says = match (records.say(case, party, limit.value), listed.get(&party)) {
            (Said::Match(label), _) => Said::Match(format!("{party}: the {label} tells of a match")),
            (_, Some(Some(least))) => Said::Match(format!(
                "{party}: listed owners hold {least} of it or more, by what is attested of it"
            )),
            (_, Some(None)) => Said::Open(format!("has listed owners, and {CONTROL}")),
            (other, None) => other,
        };
        match says {
            Said::Match(words) if is_sure(party) => wrong.push((party, words)),
            Said::Match(words) => open.push((
                party,
                format!("{words}; its device time may lie under another licence or before this one"),
            )),
            Said::Open(why) => open.push((party, format!("{party} {why}"))),
            Said::Clear => {}
        }
    }
    let screened = parties
        .len()
        .saturating_sub(wrong.len())
        .saturating_sub(open.len());
    let words = |some: &[(Party, String)]| few(&some.iter().map(|(_, w)| w.clone()).collect::<Vec<_>>());
    let subjects = |some: &[(Party, String)]| some.iter().map(|(p, _)| p.subject(case)).collect::<Vec<_>>();
    let rule = format!("{} allows a list to be {} old", limit.from, span(limit.value));
    let verdict = if !wrong.is_empty() {
        Verdict::not_met("match", words(&wrong)).subjects(subjects(&wrong))
    } else if !open.is_empty() {
        Verdict::cannot_tell("not-screened", format!("{}; {rule}", words(&open))).subjects(subjects(&open))
    } else if let Some(untold) = held.untold(case).filter(|v| v.outcome != Outcome::NotApplicable) {
        let sentence = format!("the consignee was screened; {}", untold.sentence);
        Verdict { sentence, ..untold }
    } else {
        let sentence = format!(
            "the consignee and {} with device time were held, with owners and addresses, against a list, and none is on it; {rule}",
            count(held.tenants.len(), "tenant")
        );
        held.hold(case, Verdict::met("screened", sentence))
    };
    Attribution::place(case, verdict)
        .measured(Quantity::exactly(screened, "parties screened"))
        .limit(Quantity::at_least(parties.len(), "parties screened"))
        .evidence(papers.iter().map(|p| p.digest))
}

/// What the records say of a party.
enum Said {
    Clear,
    /// Someone is on the list, by the record of this label.
    Match(String),
    /// It cannot be told, and why.
    Open(String),
}

/// Of each party the newest record of each issuer that names it, the newest first.
struct Records<'a>(BTreeMap<Party, Vec<Paper<'a, Screening>>>);

impl<'a> Records<'a> {
    fn of(case: &Case<'_>, papers: &[Paper<'a, Screening>]) -> Self {
        let (mut seen, mut found) = (BTreeSet::new(), BTreeMap::<_, Vec<_>>::new());
        for paper in papers {
            let said = paper.claims;
            let names = |name: &str| said.parties.iter().flatten().any(|p| p.as_str() == name);
            let consignee = names(&case.licence.consignee).then_some(Party::Consignee);
            let tenants = said
                .tenants
                .iter()
                .flatten()
                .filter_map(tenant)
                .map(Party::Tenant);
            for party in tenants.chain(consignee) {
                if seen.insert((party, paper.header.issuer.as_str())) {
                    found.entry(party).or_default().push(*paper);
                }
            }
        }
        Self(found)
    }

    fn say(&self, case: &Case<'_>, party: Party, max_age: i64) -> Said {
        let records = self.0.get(&party).map_or(&[][..], Vec::as_slice);
        let of = |result: ScreeningResult| records.iter().filter(move |p| p.claims.result == result);
        if let Some(found) = of(ScreeningResult::Match).next() {
            return Said::Match(found.label());
        }
        let mut possible = of(ScreeningResult::PossibleMatch);
        if let Some(found) = possible.find(|p| p.claims.resolution.is_none()) {
            return Said::Open(format!(
                "is named by the {}, which tells of a possible match and not what it came to",
                found.label()
            ));
        }
        let mut wanting = None;
        for record in records {
            match unfit(case, record, max_age) {
                None => return Said::Clear,
                Some(why) => wanting = wanting.or(Some(why)),
            }
        }
        Said::Open(wanting.unwrap_or_else(|| "is in no screening record that holds".to_owned()))
    }
}

/// Why a record shows too little, if so.
fn unfit(case: &Case<'_>, record: &Paper<'_, Screening>, max_age: i64) -> Option<String> {
    let said = record.claims;
    let listed = list_date(record);
    let age = case.now.since(listed);
    if age > max_age {
        return Some(format!("was last held against a list that is {} old", span(age)));
    }
    if !said.owners_screened {
        return Some(format!(
            "was screened without its owners and addresses, by the {}",
            record.label()
        ));
    }
    (!said.half_ownership_counted && half_counts(case, listed)).then(|| {
        format!(
            "was screened without counting what listed parties own half of or more, by the {}",
            record.label()
        )
    })
}

/// Of which day the list of a record is. No list is younger than the record.
fn list_date(record: &Paper<'_, Screening>) -> UnixSeconds {
    record.claims.list_date.0.min(record.header.issued.0)
}

/// Whether parties of which listed ones own half or more count as listed at a time.
fn half_counts(case: &Case<'_>, at: UnixSeconds) -> bool {
    case.rules.is_some_and(|r| r.rule(HALF_RULE, at).is_some())
}

/// Tenants of which listed owners together hold the share from which on an owner decides, by what is attested of them, each with that share, while that
/// counts; where no share is set, those with any listed owner.
fn listed_by_owners(case: &Case<'_>) -> BTreeMap<Party, Option<Ppm>> {
    if !half_counts(case, case.now) {
        return BTreeMap::new();
    }
    let least = case.term(|l| l.control_share_min).map(|t| t.value);
    let owned = |kyc: &TenantKyc| {
        let listed = || kyc.owners.iter().flatten().filter(|o| o.listed);
        let share = listed().fold(0u32, |sum, o| sum.saturating_add(o.share.0.0));
        listed().next().is_some() && least.is_none_or(|least| share >= least.0)
    };
    let attested = super::holders::newest(case.papers().holding::<TenantKyc>(case.now), |kyc| {
        tenant(&kyc.tenant)
    });
    let listed = attested
        .into_iter()
        .filter(|(_, papers)| papers.iter().any(|p| owned(p.claims)));
    listed.map(|(tenant, _)| (Party::Tenant(tenant), least)).collect()
}
