//! Attestations of a site's security: what an assessor examined, and what it found.

use super::super::case::Case;
use super::super::finding::{Outcome, Quantity, Verdict, few};
use super::super::papers::Paper;
use super::super::training::purpose::custody;
use crate::appraisal::Grade;
use crate::statement::{
    AreaExamined, AssessorFinding, FindingResult, Opinion, PersonnelDeclaration, SecurityArea,
    SecurityAttestation, ShipmentList, Standard,
};
use crate::time::DAY_SECONDS;
use std::collections::BTreeSet;

/// PHY-01: an assessor examined the physical security of the site lately, and it holds.
pub(in crate::conditions) fn physical(case: &Case<'_>) -> Verdict {
    area(case, "PHY-01", SecurityArea::Physical, |_| None)
}

/// SEC-07: an assessor examined the cyber security of the site lately, against a standard that counts, and it holds.
pub(in crate::conditions) fn cyber(case: &Case<'_>) -> Verdict {
    let required: Vec<&str> = case
        .licence
        .evidence_required
        .iter()
        .map(|e| e.kind.as_str())
        .collect();
    let named: Vec<Standard> = Standard::ALL
        .iter()
        .copied()
        .filter(|s| required.contains(&s.text()))
        .collect();
    area(case, "SEC-07", SecurityArea::Cyber, move |examined| {
        // Others than the federal baseline count where the licence takes them.
        let federal = matches!(examined.standard, Standard::FedrampHigh | Standard::Nist80053);
        let counts = if named.is_empty() {
            federal
        } else {
            named.contains(&examined.standard)
        };
        (!counts).then(|| match named.as_slice() {
            [] => format!(
                "examined it against `{}`, which the licence does not name",
                examined.standard
            ),
            some => {
                let names: Vec<&str> = some.iter().map(|s| s.text()).collect();
                format!(
                    "examined it against {}, and the licence asks for {}",
                    examined.standard,
                    names.join(" or ")
                )
            }
        })
    })
}

/// PER-01: people with access were screened and trained and have no barred ties, by the operator's word and an assessor's.
pub(in crate::conditions) fn personnel(case: &Case<'_>) -> Verdict {
    let declared = case.papers_of::<PersonnelDeclaration>();
    if let Some(paper) = declared.as_ref().ok().and_then(|papers| papers.first()) {
        let (label, said) = (paper.label(), paper.claims);
        let short = [("screened", said.screened), ("trained", said.trained)];
        let mut wrong: Vec<String> = short
            .into_iter()
            .filter(|(_, n)| *n < said.people)
            .map(|(what, n)| format!("{n} of {} people with access were {what}", said.people))
            .collect();
        if !said.no_barred_ties {
            wrong.push("ties to barred parties are not ruled out".to_owned());
        }
        if !wrong.is_empty() {
            let verdict = Verdict::not_met("not-screened", format!("by the {label}, {}", few(&wrong)));
            return on_paper(case, verdict, paper);
        }
    }
    let examined = area(case, "PER-01", SecurityArea::Personnel, |_| None);
    match declared {
        // An assessor's word stands for itself; the operator's alone does not.
        Ok(papers) => match papers.first() {
            Some(paper) if examined.outcome == Outcome::CannotTell => {
                let sentence = format!(
                    "the {} says that all is well, and {}",
                    paper.label(),
                    examined.sentence
                );
                Verdict { sentence, ..examined }.evidence([paper.digest])
            }
            Some(paper) => examined.evidence([paper.digest]),
            None => examined,
        },
        Err(_) => examined,
    }
}

/// PHY-04: deliveries and transit are controlled: an assessor found so, and no seal came broken.
pub(in crate::conditions) fn deliveries(case: &Case<'_>) -> Verdict {
    let broken = case.papers().holding::<ShipmentList>(case.now);
    let broken: Vec<_> = broken.filter(|p| p.claims.seals_whole == Some(false)).collect();
    if let Some(first) = broken.first() {
        let names: Vec<String> = broken
            .iter()
            .map(|p| format!("shipment {}", p.claims.shipment))
            .collect();
        let sentence = format!("seals were not whole on arrival: {}", few(&names));
        return on_paper(case, Verdict::not_met("broken-seals", sentence), first)
            .evidence(broken.iter().skip(1).map(|p| p.digest));
    }
    area(case, "PHY-04", SecurityArea::SupplyChain, |_| None)
}

/// What assessors say of a condition itself: of each the newest finding that holds now, and of these the worst, so that no second opinion outweighs a first.
/// A finding that the condition holds is an assessment like any other, and ages like one.
pub(in crate::conditions) fn assessor_says(case: &Case<'_>, condition: &str) -> Option<Verdict> {
    let limit = case.term(|l| l.assessment_max_age);
    assessor_within(case, condition, limit.map(|l| l.value), HOW_OLD)
}

/// The same, with a limit of its own for how old a finding may be.
pub(in crate::conditions) fn assessor_within(
    case: &Case<'_>,
    condition: &str,
    limit: Option<i64>,
    what: &str,
) -> Option<Verdict> {
    let on_it = case.papers().holding::<AssessorFinding>(case.now);
    let mut issuers = BTreeSet::new();
    let newest = on_it
        .filter(|p| p.claims.condition.as_str() == condition && issuers.insert(p.header.issuer.as_str()));
    let found = newest.max_by_key(|p| match p.claims.result {
        FindingResult::Satisfied => 0,
        FindingResult::CannotTell => 1,
        FindingResult::NotSatisfied => 2,
    })?;
    let said = format!(
        "{}: {}",
        found.label(),
        found.claims.observed.as_str().replace('\n', " ")
    );
    let verdict = match found.claims.result {
        FindingResult::Satisfied => Verdict::met("assessor-satisfied", said),
        FindingResult::NotSatisfied => Verdict::not_met("assessor-not-satisfied", said),
        FindingResult::CannotTell => Verdict::cannot_tell("assessor-cannot-tell", said),
    };
    let verdict = on_paper(case, verdict, &found);
    if verdict.outcome == Outcome::NotMet {
        return Some(verdict);
    }
    let Some(limit) = limit else {
        return Some(Verdict::no_limit(what));
    };
    Some(match case.too_old(found.header, limit) {
        Some(old) => {
            let sentence = format!("the {} {old}", found.label());
            on_paper(case, Verdict::cannot_tell("unfit", sentence), &found)
        }
        None => verdict,
    })
}

/// A verdict, unless an assessor found the condition itself wanting: that outweighs all that does not refute it already.
pub(in crate::conditions) fn unless_wanting(case: &Case<'_>, condition: &str, verdict: Verdict) -> Verdict {
    match assessor_says(case, condition) {
        Some(found) if found.outcome == Outcome::NotMet && verdict.outcome != Outcome::NotMet => found,
        _ => verdict,
    }
}

/// What neither licence nor rule set may leave open.
const HOW_OLD: &str = "how old an assessment may be (`assessment_max_age`)";

/// A verdict that rests on a statement alone.
pub(in crate::conditions) fn on_paper<T>(case: &Case<'_>, verdict: Verdict, paper: &Paper<'_, T>) -> Verdict {
    verdict
        .grade(Grade::Declared)
        .window(paper.header.issued.0, case.now)
        .subjects([case.facts.site.clone()])
        .evidence([paper.digest])
}

fn area(
    case: &Case<'_>,
    condition: &str,
    area: SecurityArea,
    unfit: impl Fn(&AreaExamined) -> Option<String>,
) -> Verdict {
    // An assessor who looked at the condition itself and found it wanting outweighs what an attestation says in general.
    let special = assessor_says(case, condition);
    if let Some(verdict) = special.as_ref().filter(|v| v.outcome == Outcome::NotMet) {
        return verdict.clone();
    }
    let attestations = match case.papers_of::<SecurityAttestation>() {
        Ok(some) => some,
        Err(missing) if special.is_none() => return *missing,
        Err(_) => Vec::new(),
    };
    let Some(limit) = case.term(|l| l.assessment_max_age) else {
        return Verdict::no_limit(HOW_OLD);
    };
    let examined = attestations.iter().flat_map(|p| {
        // Of several opinions in one attestation the worst counts, wherever it stands.
        let mut areas: Vec<_> = p.claims.areas.iter().filter(|a| a.area == area).collect();
        areas.sort_by_key(|a| std::cmp::Reverse(a.opinion));
        areas.into_iter().map(move |a| (p, a))
    });
    let mut wanting = Vec::new();
    for (paper, examined) in examined {
        let days = Quantity::exactly(
            case.now.since(paper.header.examined()).div_euclid(DAY_SECONDS),
            "d",
        );
        let verdict = |v: Verdict| {
            on_paper(case, v, paper)
                .measured(days.clone())
                .limit(Quantity::at_most(limit.value.div_euclid(DAY_SECONDS), "d"))
        };
        let label = paper.label();
        let because = examined
            .exceptions
            .as_ref()
            .map_or_else(String::new, |e| format!(": {}", e.as_str().replace('\n', " ")));
        let why = if let Some(beyond) = paper.beyond(examined) {
            beyond
        } else if let Some(old) = case.too_old(paper.header, limit.value) {
            old
        } else if !examined.scope_includes_site {
            "is of a scope that does not include the site".to_owned()
        } else if let Some(why) = unfit(examined) {
            why
        } else {
            return verdict(match examined.opinion {
                Opinion::Satisfied => Verdict::met(
                    "attested",
                    format!(
                        "the {label} finds {area} security satisfied against {}{because}",
                        standard(examined)
                    ),
                ),
                Opinion::Qualified => Verdict::cannot_tell(
                    "qualified",
                    format!(
                        "the {label} finds {area} security satisfied against {} with exceptions, which a person must weigh{because}",
                        standard(examined)
                    ),
                ),
                Opinion::NotSatisfied => Verdict::not_met(
                    "attested-against",
                    format!(
                        "the {label} finds {area} security not satisfied against {}{because}",
                        standard(examined)
                    ),
                ),
            });
        };
        wanting.push(verdict(Verdict::cannot_tell(
            "unfit",
            format!("the {label} {why}"),
        )));
    }
    if let Some(verdict) = special {
        return verdict;
    }
    wanting.into_iter().next().unwrap_or_else(|| {
        let names = format!(
            "no security attestation about site {} speaks of {area} security",
            case.facts.site
        );
        Verdict::cannot_tell("no-area", names).grade(Grade::Declared)
    })
}

pub(in crate::conditions) fn standard(examined: &AreaExamined) -> String {
    match &examined.standard_named {
        Some(name) if examined.standard == Standard::Other => name.to_string(),
        _ => examined.standard.to_string(),
    }
}

/// SEC-08: model weights and the interfaces to them are protected.
pub(in crate::conditions) fn weights_protected(case: &Case<'_>) -> Verdict {
    custody(case, "SEC-08", |said| {
        let short = [
            (said.dedicated, "the systems that hold them serve others too"),
            (said.rate_limited, "access to them is not limited in rate"),
        ];
        let short = short.into_iter().filter(|(holds, _)| !holds);
        let words: Vec<&str> = short.map(|(_, words)| words).collect();
        (!words.is_empty()).then(|| words.join(", and "))
    })
}
