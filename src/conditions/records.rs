//! Records: which attestations are on file, who gave them, and how long records are kept.

use super::attestation::{assessor_says, on_paper, standard};
use super::case::Case;
use super::finding::{Quantity, Verdict, few};
use super::papers::Paper;
use crate::appraisal::Grade;
use crate::id::Digest;
use crate::licence::EvidenceRequired;
use crate::statement::{Independence, RecordKeeping, Role, SecurityAttestation};

/// EVI-01: each attestation that the licence asks for is on file, holds, is young enough and comes from whom the licence takes it.
pub(super) fn required_on_file(case: &Case<'_>) -> Verdict {
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
        areas.any(|a| standard(a) == wanted.kind && a.scope_includes_site)
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
pub(super) fn assessors_independent(case: &Case<'_>) -> Verdict {
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
pub(super) fn records_kept(case: &Case<'_>) -> Verdict {
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

/// REC-02: periodic reports are delivered on time.
pub(super) fn reports_delivered(case: &Case<'_>) -> Verdict {
    case.unsettled("REC-02")
}

/// REC-03: the site admits reviews, and was reviewed.
pub(super) fn review_admitted(case: &Case<'_>) -> Verdict {
    case.unsettled("REC-03")
}
