//! Approvals: who agreed to enrolments and to changes of the manifest.
//!
//! Decides: how many issuers signed the licence, which carries the manifest. Trusts the anchors for which keys are whose. Does not establish
//! that two names are two people, nor who agreed to an enrolment: the verifier records an approval as the act of one administrator.

use super::super::case::Case;
use super::super::finding::{Outcome, Quantity, Verdict, count};
use super::attestation::assessor_says;
use crate::appraisal::Grade;

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
        // The signatures are what was measured, and the rest is the assessor's word.
        (Some(_), Some(said)) => Verdict {
            sentence: format!(
                "{name} is signed by two trusted issuers; of enrolments, {}",
                said.sentence
            ),
            ..said
        },
        (Some(_), None) => {
            let sentence = format!(
                "{name} is signed by two trusted issuers; an enrolment is recorded as approved by one administrator, so that whether a second \
                 person agreed cannot be told; an assessor's finding on PER-02 would settle it"
            );
            Verdict::cannot_tell("enrolment-by-one", sentence).grade(Grade::Declared)
        }
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
