//! Records: which attestations are on file, who gave them, and how long records are kept.

use super::super::case::{Case, Term};
use super::super::finding::{Outcome, Quantity, Verdict, few};
use super::super::papers::Paper;
use super::super::site::attestation::{assessor_says, on_paper, standard};
use crate::appraisal::Grade;
use crate::id::Digest;
use crate::licence::EvidenceRequired;
use crate::statement::{Independence, RecordKeeping, Role, SecurityAttestation, VisitLog};
use crate::time::{DAY_SECONDS, UnixSeconds, span};
use std::collections::BTreeSet;

/// EVI-01: each attestation that the licence asks for is on file, holds, is young enough and comes from whom the licence takes it.
pub(in crate::conditions) fn required_on_file(case: &Case<'_>) -> Verdict {
    let required = &case.licence.evidence_required;
    if required.is_empty() {
        return Verdict::not_applicable(
            "nothing-required",
            "the licence asks for no attestation (`[[evidence_required]]`)",
        )
        .grade(Grade::Declared)
        .evidence([case.licence.digest]);
    }
    let (mut lacking, mut evidence) = (Vec::new(), Vec::new());
    for wanted in required {
        match on_file(case, wanted) {
            Ok(digest) => evidence.push(digest),
            Err(why) => lacking.push(format!("`{}` {why}", wanted.kind)),
        }
    }
    let all = Quantity::at_least(required.len(), "attestations");
    let found = Quantity::exactly(evidence.len(), "attestations");
    let verdict = if lacking.is_empty() {
        Verdict::met(
            "on-file",
            format!(
                "every attestation that the licence asks for is on file: {}",
                required.len()
            ),
        )
    } else {
        Verdict::cannot_tell(
            "lacking",
            format!("of what the licence asks for, {}", few(&lacking)),
        )
    };
    verdict
        .grade(Grade::Declared)
        .measured(found)
        .limit(all)
        .subjects([case.facts.site.clone()])
        .evidence(evidence)
}

/// The attestation that the licence asks for, or why none will do.
fn on_file(case: &Case<'_>, wanted: &EvidenceRequired) -> Result<Digest, String> {
    let attested = case.papers().holding::<SecurityAttestation>(case.now);
    let of_standard = attested.filter(|p| {
        let mut areas = p.claims.areas.iter();
        areas.any(|a| standard(a) == wanted.kind && a.scope_includes_site && p.beyond(a).is_none())
    });
    let of_standard = of_standard.map(|p| (p.header, p.digest));
    let of_kind = case.papers().of_kind(&wanted.kind, case.now);
    let candidates: Vec<_> = of_standard.chain(of_kind).collect();
    if candidates.is_empty() {
        return Err("is not on file, or expired".to_owned());
    }
    let mut why = String::new();
    for (header, digest) in candidates {
        let issuer = header.issuer.as_str();
        if !wanted.issuers.is_empty() && wanted.issuers.iter().all(|i| i != issuer) {
            why = format!(
                "is issued by {issuer}, and the licence takes it from {}",
                wanted.issuers.join(" or ")
            );
        } else if let Some(old) = wanted.max_age.and_then(|limit| case.too_old(header, limit)) {
            why = old;
        } else {
            return Ok(digest);
        }
    }
    Err(why)
}

/// EVI-03: every assessor whose statements are heard declared itself accredited and independent.
pub(in crate::conditions) fn assessors_independent(case: &Case<'_>) -> Verdict {
    let issuers = case.papers().issuers_in(Role::Assessor, case.now);
    if issuers.is_empty() {
        return Verdict::not_applicable("no-assessor", "no assessor's statement is heard")
            .grade(Grade::Declared);
    }
    let declared: Vec<Paper<'_, Independence>> = case.papers().holding(case.now).collect();
    let (mut silent, mut tied, mut evidence) = (Vec::new(), Vec::new(), Vec::new());
    for issuer in issuers {
        match declared.iter().find(|p| p.header.issuer.as_str() == issuer) {
            None => silent.push(issuer.to_owned()),
            Some(paper) => {
                evidence.push(paper.digest);
                if !paper.claims.independent {
                    let ties = paper
                        .claims
                        .ties
                        .as_ref()
                        .map_or("it does not say which", |t| t.as_str());
                    tied.push(format!("{issuer} ({})", ties.replace('\n', " ")));
                }
            }
        }
    }
    let verdict = if !tied.is_empty() {
        Verdict::not_met(
            "ties",
            format!("assessors have ties to those whom they assess: {}", few(&tied)),
        )
    } else if !silent.is_empty() {
        let sentence = format!(
            "no declaration of independence is on file of {}; theirs would settle it",
            few(&silent)
        );
        Verdict::cannot_tell("no-declaration", sentence)
    } else {
        Verdict::met(
            "independent",
            "every assessor who is heard declared itself accredited and independent",
        )
    };
    verdict
        .grade(Grade::Declared)
        .subjects([case.facts.site.clone()])
        .evidence(evidence)
}

/// REC-01: records are kept long enough, and none is destroyed while an agency asks for it.
pub(in crate::conditions) fn records_kept(case: &Case<'_>) -> Verdict {
    let papers = match case.papers_of::<RecordKeeping>() {
        Ok(papers) => papers,
        Err(missing) => return assessor_says(case, "REC-01").unwrap_or(*missing),
    };
    let Some(paper) = papers.first() else {
        return Verdict::cannot_tell("no-statement", "no record-keeping declaration is on file");
    };
    let Some(limit) = case.term(|l| l.records_kept_years) else {
        return Verdict::no_limit("for how many years records are kept (`records_kept_years`)");
    };
    let (label, said) = (paper.label(), paper.claims);
    let verdict = |v: Verdict| {
        on_paper(case, v, paper)
            .measured(Quantity::exactly(said.years, "a"))
            .limit(Quantity::at_least(limit.value, "a"))
    };
    if said.years < limit.value {
        let sentence = format!(
            "by the {label}, records are kept for {} years, and {} sets {}",
            said.years, limit.from, limit.value
        );
        return verdict(Verdict::not_met("too-short", sentence));
    }
    if !said.kept_while_requested {
        let sentence = format!("by the {label}, records may be destroyed while a request is open");
        return verdict(Verdict::not_met("destroyed", sentence));
    }
    match assessor_says(case, "REC-01") {
        Some(found) => verdict(found),
        None => verdict(Verdict::cannot_tell(
            "own-word",
            format!(
                "the {label} says that records are kept for {} years; an assessor's finding would settle it",
                said.years
            ),
        )),
    }
}

/// REC-02: periodic reports are delivered on time, by the word of who received them or of the supplier.
pub(in crate::conditions) fn reports_delivered(case: &Case<'_>) -> Verdict {
    let Some(limit) = case.term(|l| l.periodic_report_every) else {
        return Verdict::no_limit("how often a periodic report is due (`periodic_report_every`)");
    };
    let papers = match case.papers_of::<RecordKeeping>() {
        Ok(papers) => papers,
        Err(_) if case.now.since(case.licence.valid.from) <= limit.value => return not_due(case, limit),
        Err(missing) => return *missing,
    };
    let deed = Deed {
        done: |said| said.last_report.map(|at| at.0),
        what: "the last periodic report was delivered",
        settle: "the supplier's word would settle it",
    };
    match deed.of(case, limit, &papers) {
        Some(verdict) => verdict,
        None if case.now.since(case.licence.valid.from) <= limit.value => not_due(case, limit),
        None => {
            let sentence = "no record-keeping declaration says when a periodic report was delivered; one of the supplier that does would settle it";
            Verdict::cannot_tell("no-report-told", sentence)
                .grade(Grade::Declared)
                .evidence(papers.iter().map(|p| p.digest))
        }
    }
}

/// The verdict before the first periodic report is due.
fn not_due(case: &Case<'_>, limit: Term<i64>) -> Verdict {
    let due = case.licence.valid.from.plus(limit.value);
    let sentence = format!("the first periodic report under the licence is due by {due}");
    Verdict::not_applicable("not-due", sentence)
        .grade(Grade::Declared)
        .limit(Quantity::at_most(limit.value.div_euclid(DAY_SECONDS), "d"))
        .evidence([case.licence.digest])
}

/// A statement, and when something was done by its word.
type Told<'p, 'a> = (&'p Paper<'a, RecordKeeping>, UnixSeconds);

/// Something that must be done again within a time, and that statements say was done.
struct Deed {
    done: fn(&RecordKeeping) -> Option<UnixSeconds>,
    what: &'static str,
    settle: &'static str,
}

impl Deed {
    /// What statements, the newest first, come to. The supplier's word settles it, the site's own only against itself: where a statement was late
    /// by its own words when it was written. That nothing is on file of a later time shows nothing.
    fn of(&self, case: &Case<'_>, limit: Term<i64>, papers: &[Paper<'_, RecordKeeping>]) -> Option<Verdict> {
        // Of what lies after the statement that tells of it nobody can know.
        let told = papers.iter().filter_map(|p| Some((p, (self.done)(p.claims)?)));
        let told: Vec<_> = told.filter(|(p, at)| *at <= p.header.issued.0).collect();
        let in_time = |told: &&Told<'_, '_>| case.now.since(told.1) <= limit.value;
        let by_supplier = |told: &&Told<'_, '_>| told.0.header.role == Role::Supplier;
        let verdict = |(paper, at): &Told<'_, '_>, outcome, message, more: &str| {
            let sentence = format!("by the {}, {} on {at}{more}", paper.label(), self.what);
            let age = case.now.since(*at).div_euclid(DAY_SECONDS);
            on_paper(case, Verdict::new(outcome, message, sentence), paper)
                .measured(Quantity::exactly(age, "d"))
                .limit(Quantity::at_most(limit.value.div_euclid(DAY_SECONDS), "d"))
        };
        if let Some(found) = told.iter().find(|t| by_supplier(t) && in_time(t)) {
            return Some(verdict(found, Outcome::Met, "on-time", ""));
        }
        if let Some(found) = told.iter().find(in_time) {
            let more = format!("; {}", self.settle);
            return Some(verdict(found, Outcome::CannotTell, "own-word", &more));
        }
        let newest = told.iter().max_by_key(|(_, at)| *at)?;
        let (paper, at) = newest;
        let allowed = format!("and {} allows {} in between", limit.from, span(limit.value));
        Some(if paper.header.issued.0.since(*at) > limit.value {
            verdict(newest, Outcome::NotMet, "late", &format!(", {allowed}"))
        } else {
            let more = format!(", {allowed}; a statement of one since then would settle it");
            verdict(newest, Outcome::CannotTell, "none-since", &more)
        })
    }
}

/// REC-03: the site admits reviews, and was reviewed lately, by the word of who was there.
pub(in crate::conditions) fn review_admitted(case: &Case<'_>) -> Verdict {
    let special = assessor_says(case, "REC-03");
    if let Some(verdict) = special.as_ref().filter(|v| v.outcome == Outcome::NotMet) {
        return verdict.clone();
    }
    let visits: Vec<Paper<'_, VisitLog>> = case.papers().holding(case.now).collect();
    if let Some(paper) = visits.iter().find(|p| !p.claims.all_opened) {
        let sentence = format!(
            "by the {}, not every place that the visitors asked for was opened to them",
            paper.label()
        );
        return on_paper(case, Verdict::not_met("not-opened", sentence), paper);
    }
    let papers = match case.papers_of::<RecordKeeping>() {
        Ok(papers) => papers,
        Err(missing) => return special.unwrap_or(*missing),
    };
    let mut issuers = BTreeSet::new();
    let mut newest = papers.iter().filter(|p| issuers.insert(p.header.issuer.as_str()));
    if let Some(paper) = newest.find(|p| !p.claims.review_admitted) {
        let sentence = format!(
            "by the {}, no agreement admits reviews of the site",
            paper.label()
        );
        return on_paper(case, Verdict::not_met("not-admitted", sentence), paper);
    }
    if let Some(verdict) = special {
        return verdict;
    }
    let Some(limit) = case.term(|l| l.review_max_age) else {
        return Verdict::no_limit("how long ago a site may last have been reviewed (`review_max_age`)");
    };
    let lately = |p: &&Paper<'_, VisitLog>| case.now.since(p.header.examined()) <= limit.value;
    if let Some(visit) = visits.iter().find(lately) {
        let at = visit.header.examined();
        let sentence = format!(
            "the site admits reviews, and was visited by {at}, by the {}",
            visit.label()
        );
        return on_paper(case, Verdict::met("reviewed", sentence), visit)
            .measured(Quantity::exactly(case.now.since(at).div_euclid(DAY_SECONDS), "d"))
            .limit(Quantity::at_most(limit.value.div_euclid(DAY_SECONDS), "d"))
            .evidence(papers.first().map(|p| p.digest));
    }
    let deed = Deed {
        done: |said| said.last_review.map(|at| at.0),
        what: "the site was last reviewed",
        settle: "a visit log or an assessor's finding would settle it",
    };
    deed.of(case, limit, &papers).unwrap_or_else(|| {
        let sentence = "no statement says when the site was reviewed; a visit log or an assessor's finding would settle it";
        Verdict::cannot_tell("no-review", sentence)
            .grade(Grade::Declared)
            .evidence(papers.iter().map(|p| p.digest).chain(visits.iter().map(|p| p.digest)))
    })
}
