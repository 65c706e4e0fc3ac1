//! Approvals: who agreed to enrolments and to changes of the manifest.
//!
//! Decides: how many issuers signed the licence, which carries the manifest, and how many keys signed approvals of the nodes that may report. Trusts the
//! anchors and the licence for which keys are whose. Does not establish that two keys are two people, nor that an approval came before the enrolment: the
//! verifier records that as the act of one administrator.

use super::super::case::{Case, no_report};
use super::super::finding::{Outcome, Quantity, Verdict, count, few};
use super::attestation::assessor_says;
use crate::appraisal::Grade;
use crate::id::{Digest, NodeId};
use crate::statement::EnrolmentApproval;
use std::collections::{BTreeMap, BTreeSet};

/// How many must agree: the condition asks for no fewer, and no more.
const PEOPLE: u32 = 2;

/// PER-02: enrolments and changes of the manifest are approved by two people.
pub(in crate::conditions) fn two_people(case: &Case<'_>) -> Verdict {
    let licence = case.licence;
    let signed = case.facts.issuers.get(&licence.digest).copied();
    let said = assessor_says(case, "PER-02");
    let name = format!("licence {}, serial {}", licence.licence_id, licence.serial);
    let verdict = match (signed, said) {
        (Some(signed), _) if signed < PEOPLE => {
            let sentence = format!(
                "{name}, which carries the manifest, is signed by {}; two must sign it",
                count(usize::try_from(signed).unwrap_or(usize::MAX), "trusted issuer")
            );
            Verdict::not_met("signed-by-one", sentence).grade(Grade::Derived)
        }
        (_, Some(said)) if said.outcome == Outcome::NotMet => said,
        (None, _) => {
            let sentence = format!(
                "who signed {name} is not known here; the signed licence and its trusted issuers would settle it"
            );
            Verdict::cannot_tell("signers-unknown", sentence).grade(Grade::Declared)
        }
        (Some(_), said) => match (enrolments(case, &name), said) {
            // The signatures are what was measured, and the rest is the assessor's word.
            (own, Some(said)) if own.outcome != Outcome::Met => Verdict {
                sentence: format!(
                    "{name} is signed by two trusted issuers; of enrolments, {}",
                    said.sentence
                ),
                ..said
            },
            (own, _) => own,
        },
    };
    let verdict = match signed {
        Some(signed) => verdict.measured(Quantity::exactly(signed, "issuers who signed")),
        None => verdict,
    };
    verdict
        .limit(Quantity::at_least(PEOPLE, "issuers who signed"))
        .window(licence.valid.from, case.now)
        .subjects([case.facts.site.clone()])
        .evidence([licence.digest])
}

/// Whether two keys approved each node that may report, where two issuers signed the licence of this name.
fn enrolments(case: &Case<'_>, name: &str) -> Verdict {
    let Approvals { keys, statements } = Approvals::of(case);
    let nodes = || case.nodes().filter(|n| n.status.is_active(case.now));
    let least = usize::try_from(PEOPLE).unwrap_or(usize::MAX);
    let open: Vec<String> = nodes()
        .map(|n| (n, keys.get(&n.record.facts.node).map_or(0, BTreeSet::len)))
        .filter(|(_, keys)| *keys < least)
        .map(|(n, keys)| format!("node {} by {keys}", n.status.name))
        .collect();
    let verdict = if nodes().next().is_none() {
        no_report(Verdict::met("", ""))
    } else if open.is_empty() {
        let sentence = format!(
            "{name} is signed by two trusted issuers, and two keys that the licence hears approved each of {} that may report; that two keys are \
             two people is their holders' word",
            count(nodes().count(), "node")
        );
        Verdict::met("approved-by-two", sentence)
    } else {
        let sentence = format!(
            "{name} is signed by two trusted issuers; an enrolment is recorded as approved by one administrator, and keys that the licence hears \
             approved {}; an approval of enrolments that two of them signed, or an assessor's finding on PER-02, would settle it",
            few(&open)
        );
        Verdict::cannot_tell("enrolment-by-one", sentence)
    };
    verdict.grade(Grade::Declared).evidence(statements)
}

/// Which keys approved which nodes.
#[derive(Default)]
struct Approvals {
    keys: BTreeMap<NodeId, BTreeSet<Digest>>,
    statements: Vec<Digest>,
}

impl Approvals {
    fn of(case: &Case<'_>) -> Self {
        let mut found = Self::default();
        for paper in case.papers().holding::<EnrolmentApproval>(case.now) {
            let keys = case.papers().keys(&paper.digest);
            found.statements.push(paper.digest);
            let nodes = paper.claims.nodes.iter();
            for node in nodes.filter_map(|n| NodeId::parse(n.as_str()).ok()) {
                found.keys.entry(node).or_default().extend(&keys);
            }
        }
        found
    }
}
