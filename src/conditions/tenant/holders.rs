//! Tenants: who holds device time, who they are, and from where they come in.
//!
//! Decides: by pseudonym, for every tenant with device time in the window of findings. Of statements about one tenant the newest of each issuer
//! counts, and of these the worst: who says less later clears nobody whom another named. Trusts the operator, who says who held a device and who
//! stands behind a pseudonym. Does not establish either. No sentence says more of a tenant than its pseudonym.

use super::super::case::{Case, Term};
use super::super::finding::{Outcome, Quantity, Verdict, count, decimal, few};
use super::super::papers::Paper;
use super::super::site::attestation::on_paper;
use super::super::supply::parties::confirmed;
use super::attribution::{Attribution, Tally, tenant};
use crate::appraisal::Grade;
use crate::id::TenantPseudonym;
use crate::statement::{AccessAgreement, AccessKind, Authorisation, AuthorisationKind, Country, TenantKyc};
use crate::time::span;
use crate::unit::Ppm;
use std::collections::{BTreeMap, BTreeSet};

/// What neither licence nor rule set says, where it matters.
pub(super) const CONTROL: &str =
    "neither the licence nor its rule set says from which share on an owner decides (`control_share_min`)";

/// TEN-01: every tenant with device time has a current attestation of who it is.
pub(in crate::conditions) fn attested(case: &Case<'_>) -> Verdict {
    let (held, known, limit) = match held_and_known(case) {
        Ok(all) => all,
        Err(verdict) => return *verdict,
    };
    let mut tally = Tally::default();
    for tenant in held.tenants.keys() {
        if let Some(why) = known.lacks(case, tenant) {
            tally.open(Some(tenant), why);
        }
    }
    let rule = format!("{} allows {}", limit.from, span(limit.value));
    let verdict = tally.cannot_tell("not-attested", &rule).unwrap_or_else(|| {
        let sentence = format!(
            "{} held device time, and of each an attestation that was looked into within {} says headquarters, ultimate parent and owners",
            count(held.tenants.len(), "tenant"),
            span(limit.value)
        );
        held.hold(case, Verdict::met("attested", sentence))
    });
    let attested = held.tenants.len().saturating_sub(tally.count());
    Attribution::place(case, verdict)
        .measured(Quantity::exactly(attested, "tenants attested"))
        .limit(Quantity::at_least(held.tenants.len(), "tenants attested"))
        .evidence(known.digests(held))
}

/// What neither licence nor rule set may leave open.
pub(in crate::conditions) const KYC_AGE: &str =
    "how long ago a tenant may last have been looked into (`kyc_max_age`)";

/// What is attested of tenants.
pub(in crate::conditions) struct Known<'a> {
    /// Of each tenant the newest attestation of each issuer that holds, the newest first.
    papers: BTreeMap<TenantPseudonym, Vec<Paper<'a, TenantKyc>>>,
    /// Tenants that an authorisation covers which an agency or the supplier confirms, each with it.
    authorised: BTreeMap<TenantPseudonym, Paper<'a, Authorisation>>,
    /// How long ago a tenant may last have been looked into, in seconds.
    max_age: i64,
}

/// How a tenant stands to the list of barred countries.
pub(in crate::conditions) enum Standing {
    /// It is outside it, or covered by an authorisation.
    Clear,
    /// It is in it, and how.
    Barred(String),
    /// It cannot be told, and why.
    Open(String),
}

/// Who held device time, what is known of them, and how old that may be; a verdict where that cannot be told.
fn held_and_known<'c, 'a>(
    case: &'c Case<'a>,
) -> Result<(&'c Attribution, Known<'a>, Term<i64>), Box<Verdict>> {
    let held = case.attribution();
    if let Some(verdict) = held.untold(case) {
        return Err(Box::new(verdict));
    }
    let limit = case.term(|l| l.kyc_max_age);
    let limit = limit.ok_or_else(|| Box::new(Verdict::no_limit(KYC_AGE)))?;
    let known = Known::of(case, limit.value)
        .map_err(|missing| Box::new(Attribution::place(case, missing.subjects(held.subjects()))))?;
    Ok((held, known, limit))
}

impl<'a> Known<'a> {
    /// Where no attestation of any tenant holds, why not.
    pub(in crate::conditions) fn of(case: &Case<'a>, max_age: i64) -> Result<Self, Box<Verdict>> {
        let papers = newest(case.papers_of::<TenantKyc>()?, |kyc| tenant(&kyc.tenant));
        let mut authorised = BTreeMap::new();
        for paper in confirmed(case) {
            let said = paper.claims;
            let counts = said.kind != AuthorisationKind::ListedDevice
                && said.consignee.as_str() == case.licence.consignee;
            for named in said.tenants.iter().flatten().filter(|_| counts) {
                if let Some(tenant) = tenant(named) {
                    authorised.entry(tenant).or_insert(paper);
                }
            }
        }
        Ok(Self {
            papers,
            authorised,
            max_age,
        })
    }

    fn of_tenant(&self, tenant: &TenantPseudonym) -> &[Paper<'a, TenantKyc>] {
        self.papers.get(tenant).map_or(&[], Vec::as_slice)
    }

    /// Why it is not known who a tenant is, if so: no attestation of it is whole and young enough.
    fn lacks(&self, case: &Case<'_>, of: &TenantPseudonym) -> Option<String> {
        let mut wanting = None;
        for paper in self.of_tenant(of) {
            match self.unfit(case, paper) {
                None => return None,
                Some(why) => wanting = wanting.or(Some(why)),
            }
        }
        Some(wanting.unwrap_or_else(|| {
            let mut past = case.papers().all::<TenantKyc>();
            match past.find(|p| tenant(&p.claims.tenant).as_ref() == Some(of)) {
                Some(last) if last.header.valid_to.0 <= case.now => {
                    format!(
                        "has only an attestation that expired on {}",
                        last.header.valid_to.0
                    )
                }
                _ => "has no attestation that the licence hears and that holds".to_owned(),
            }
        }))
    }

    fn unfit(&self, case: &Case<'_>, paper: &Paper<'_, TenantKyc>) -> Option<String> {
        let said = paper.claims;
        // Nobody looked into it after the statement was written.
        let age = case.now.since(said.verified.0.min(paper.header.issued.0));
        if age > self.max_age {
            return Some(format!("was last looked into {} ago", span(age)));
        }
        if said.ultimate_parent.is_none() {
            return Some(
                "has an attestation that does not say where its ultimate parent has its headquarters"
                    .to_owned(),
            );
        }
        said.owners
            .is_none()
            .then(|| "has an attestation that does not say who owns it".to_owned())
    }

    /// How a tenant stands to the list of barred countries. What an attestation admits counts however old it is.
    pub(in crate::conditions) fn standing(&self, case: &Case<'_>, tenant: &TenantPseudonym) -> Standing {
        let admitted = self
            .of_tenant(tenant)
            .iter()
            .filter_map(|p| admits(case, p.claims));
        let worst = admitted.reduce(|a, b| if matches!(a, Standing::Barred(_)) { a } else { b });
        if let Some(admitted) = worst {
            return match self.authorised.contains_key(tenant) {
                true => Standing::Clear,
                false => admitted,
            };
        }
        match self.lacks(case, tenant) {
            Some(why) => Standing::Open(why),
            None => Standing::Clear,
        }
    }

    /// Statements that say something of these tenants.
    pub(in crate::conditions) fn digests<'k>(
        &'k self,
        held: &'k Attribution,
    ) -> impl Iterator<Item = crate::id::Digest> + 'k {
        held.tenants.keys().flat_map(|t| {
            let attested = self.of_tenant(t).iter().map(|p| p.digest);
            attested.chain(self.authorised.get(t).map(|p| p.digest))
        })
    }
}

/// Of each tenant the newest statement of each issuer, the newest first.
pub(in crate::conditions) fn newest<'a, T>(
    papers: impl IntoIterator<Item = Paper<'a, T>>,
    of: impl Fn(&T) -> Option<TenantPseudonym>,
) -> BTreeMap<TenantPseudonym, Vec<Paper<'a, T>>> {
    let (mut seen, mut found) = (BTreeSet::new(), BTreeMap::<_, Vec<_>>::new());
    for paper in papers {
        if let Some(tenant) = of(paper.claims)
            && seen.insert((tenant, paper.header.issuer.as_str()))
        {
            found.entry(tenant).or_default().push(paper);
        }
    }
    found
}

/// What ties a tenant to a barred country, or may, by what is attested of it. Which country is not said.
fn admits(case: &Case<'_>, said: &TenantKyc) -> Option<Standing> {
    let barred = |country: &Country| case.barred(country.as_str());
    if let Some(list) = barred(&said.headquarters) {
        return Some(Standing::Barred(format!("has its headquarters in {list}")));
    }
    if let Some(list) = said.ultimate_parent.as_ref().and_then(barred) {
        return Some(Standing::Barred(format!(
            "has an ultimate parent with headquarters in {list}"
        )));
    }
    let owner = |least: Ppm| {
        let mut owners = said.owners.iter().flatten().filter(|o| o.share.0 >= least);
        owners.find_map(|o| barred(&o.country))
    };
    match case.term(|l| l.control_share_min) {
        Some(least) => owner(least.value)
            .map(|list| Standing::Barred(format!("has an owner of {} or more in {list}", least.value))),
        None => owner(Ppm(0)).map(|list| Standing::Open(format!("has an owner in {list}, and {CONTROL}"))),
    }
}

/// TEN-02: no tenant has its headquarters or ultimate parent in country group D:5 or Macau without a licence.
pub(in crate::conditions) fn outside_barred(case: &Case<'_>) -> Verdict {
    let (held, known, _) = match held_and_known(case) {
        Ok(all) => all,
        Err(verdict) => return *verdict,
    };
    let mut tally = Tally::default();
    for (tenant, time) in &held.tenants {
        match known.standing(case, tenant) {
            Standing::Clear => {}
            Standing::Barred(how) if time.is_sure => tally.wrong(tenant, how),
            Standing::Barred(how) => {
                let how = format!("{how}, and may have held devices of another licence or time only");
                tally.open(Some(tenant), how);
            }
            Standing::Open(why) => tally.open(Some(tenant), why),
        }
    }
    let unlicensed =
        "so it is attested, and no authorisation that an agency or the supplier confirms covers it";
    let settle = "a whole and current attestation would settle it";
    let verdict = if let Some(verdict) = tally.not_met("barred-tenant", unlicensed) {
        verdict
    } else if let Some(verdict) = tally.cannot_tell("not-attested", settle) {
        verdict
    } else if let Some(verdict) = case.without_list() {
        return verdict;
    } else {
        let control = case.term(|l| l.control_share_min);
        let sentence = format!(
            "{} held device time, and of none do headquarters, ultimate parent or an owner{} lie in a barred country without an authorisation, by \
             what is attested of them",
            count(held.tenants.len(), "tenant"),
            control.map_or_else(String::new, |least| format!(" of {} or more", least.value))
        );
        held.hold(case, Verdict::met("outside-barred", sentence))
    };
    Attribution::place(case, verdict)
        .measured(tally.bounds("tenants"))
        .limit(Quantity::at_most(0, "tenants"))
        .evidence(known.digests(held))
}

/// TEN-05: devices are reached from allowed places only.
pub(in crate::conditions) fn reached_from_allowed(case: &Case<'_>) -> Verdict {
    let allowed = &case.licence.remote_access_countries;
    if allowed.is_empty() {
        return Verdict::no_limit("from which countries devices may be reached (`remote_access_countries`)");
    }
    let papers = match case.papers_of::<AccessAgreement>() {
        Ok(papers) => papers,
        Err(missing) => return *missing,
    };
    let papers: Vec<_> = papers
        .into_iter()
        .filter(|p| p.claims.reaches == AccessKind::Remote)
        .collect();
    let Some(first) = papers.first() else {
        let sentence = "no access agreement on file is about devices; one that is would settle it";
        return Verdict::cannot_tell("no-agreement", sentence).grade(Grade::Declared);
    };
    let (mut wrong, mut open, mut sessions) = (Vec::new(), Vec::new(), 0u64);
    for paper in &papers {
        let (label, said) = (paper.label(), paper.claims);
        let mut beyond: Vec<&str> = said.countries.iter().map(Country::as_str).collect();
        beyond.retain(|c| !allowed.iter().any(|a| a == c));
        if !beyond.is_empty() {
            wrong.push(format!(
                "the {label} lets devices be reached from {}",
                beyond.join(", ")
            ));
        }
        match said.sessions_elsewhere {
            Some(0) if said.log_digest.is_some() => {}
            Some(0) => open.push(format!("the {label} names no log of the gateway")),
            Some(n) => {
                sessions = sessions.saturating_add(n);
                let n = count(usize::try_from(n).unwrap_or(usize::MAX), "session");
                wrong.push(format!("the {label} tells of {n} from other countries"));
            }
            None => open.push(format!(
                "the {label} does not say how many sessions came from elsewhere"
            )),
        }
    }
    open.extend(outside_agreements(case, &papers));
    let rule = format!("the licence allows {}", allowed.join(", "));
    let verdict = if !wrong.is_empty() {
        Verdict::not_met("reached-from-elsewhere", format!("{}; {rule}", few(&wrong)))
    } else if !open.is_empty() {
        Verdict::cannot_tell(
            "not-told",
            format!("{}; an agreement that does would settle it", few(&open)),
        )
    } else {
        let sentence = format!(
            "by {}, no session came from elsewhere; {rule}; the gateway's log is the operator's word",
            count(papers.len(), "access agreement")
        );
        Verdict::met("reached-from-allowed", sentence)
    };
    on_paper(case, verdict, first)
        .measured(Quantity::exactly(sessions, "sessions from elsewhere"))
        .limit(Quantity::at_most(0, "sessions from elsewhere"))
        .evidence(papers.iter().skip(1).map(|p| p.digest))
}

/// Tenants with device time whom no agreement concerns, in words. One that names no tenants concerns all.
fn outside_agreements(case: &Case<'_>, papers: &[Paper<'_, AccessAgreement>]) -> Option<String> {
    if papers.iter().any(|p| p.claims.tenants.is_none()) {
        return None;
    }
    let held = case.attribution();
    let unknown = |v: Verdict| v.outcome != Outcome::NotApplicable;
    if held.untold(case).is_some_and(unknown) {
        return Some("each agreement is for some tenants, and who held devices is not known".to_owned());
    }
    if let Some((_, why)) = held.gap(case).filter(|_| !held.tenants.is_empty()) {
        return Some(format!("each agreement is for some tenants, and {why}"));
    }
    let named: BTreeSet<TenantPseudonym> = papers
        .iter()
        .flat_map(|p| p.claims.tenants.iter().flatten().filter_map(tenant))
        .collect();
    let outside: Vec<String> = held
        .tenants
        .keys()
        .filter(|t| !named.contains(t))
        .map(|t| format!("tenant {t}"))
        .collect();
    (!outside.is_empty()).then(|| format!("no agreement is for {}", few(&outside)))
}

/// TEN-06: device time is attributed to tenants.
pub(in crate::conditions) fn time_attributed(case: &Case<'_>) -> Verdict {
    let held = case.attribution();
    if let Some(verdict) = held.untold(case) {
        return verdict;
    }
    let Some(limit) = case.term(|l| l.attribution_min) else {
        return Verdict::no_limit(
            "how much of busy device time must be attributed to tenants (`attribution_min`)",
        );
    };
    let (least, most) = held.share();
    let sentence = format!(
        "{} to {} of busy device time is attributed to {}; {} asks for {}",
        least,
        most,
        count(held.tenants.len(), "tenant"),
        limit.from,
        limit.value
    );
    let verdict = if held.is_idle() {
        let sentence = "no device was busy, so that there is no time to attribute";
        held.hold(case, Verdict::not_applicable("not-busy", sentence))
    } else if most < limit.value {
        Verdict::not_met("too-little-attributed", sentence).subjects([case.facts.site.clone()])
    } else if least < limit.value {
        let sentence = format!("{sentence}; how long some devices were busy could not be read");
        Verdict::cannot_tell("bounds-straddle", sentence)
    } else {
        let sentence = format!("{sentence}; who held a device is the operator's word");
        case.settle_devices(case.since(), Verdict::met("attributed", sentence))
    };
    let unit = "share of busy device time";
    Attribution::place(case, verdict)
        .measured(Quantity::between(decimal(least), decimal(most), unit))
        .limit(Quantity::at_least(decimal(limit.value), unit))
}

/// TEN-07: resellers are bound to the same checks.
pub(in crate::conditions) fn resellers_bound(case: &Case<'_>) -> Verdict {
    let papers = match case.papers_of::<AccessAgreement>() {
        Ok(papers) => papers,
        Err(missing) => return *missing,
    };
    let loose: Vec<&Paper<'_, AccessAgreement>> = papers.iter().filter(|p| !p.claims.flow_down).collect();
    let reseller = loose.iter().find(|p| p.claims.reaches == AccessKind::Reseller);
    let others = papers.iter().map(|p| p.digest);
    let verdict = if let Some(paper) = reseller {
        let sentence = format!(
            "the {} lets a reseller sell on without the same checks",
            paper.label()
        );
        on_paper(case, Verdict::not_met("not-bound", sentence), paper)
    } else if let Some(paper) = loose.first() {
        let sentence = format!(
            "the {} does not bind whoever sells on to the same checks, and does not say that nobody does; one that binds them would settle it",
            paper.label()
        );
        on_paper(case, Verdict::cannot_tell("not-told", sentence), paper)
    } else if let Some(paper) = papers.first() {
        let sentence = format!(
            "{} bind whoever sells on to the same checks",
            count(papers.len(), "access agreement")
        );
        on_paper(case, Verdict::met("bound", sentence), paper)
    } else {
        return Verdict::cannot_tell("no-agreement", "no access agreement is on file").grade(Grade::Declared);
    };
    verdict.evidence(others)
}
