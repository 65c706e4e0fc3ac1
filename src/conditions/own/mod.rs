//! Conditions that the licence states itself: their policies are asked, and what they answer becomes a verdict.
//!
//! Decides: what an answer is worth. A policy says what its author meant, and no more is made of it than was seen: `met` is held back where the site is, a `no`
//! in one word is none where something that the policy asked for is not there, and a policy that comes to no end leaves its condition open.
//! Trusts that the licence is signed. Does not establish that a policy asks what its title says.

#[cfg(feature = "rego")]
mod answer;
#[cfg(feature = "rego")]
mod facts;
#[cfg(feature = "rego")]
mod hardware;

#[cfg(feature = "rego")]
pub(super) use answer::{Answer, OUTCOMES};

use super::case::Case;
use super::finding::{Finding, Verdict};
use crate::document::Mistake;
use crate::licence::{Licence, OwnCondition};

#[cfg(all(test, feature = "rego"))]
pub(super) use facts::document as facts;

#[cfg(feature = "rego")]
pub(super) use super::rego::Policies;

/// The policies of a licence, where none can be read.
#[cfg(not(feature = "rego"))]
#[derive(Debug)]
pub(super) struct Policies;

#[cfg(not(feature = "rego"))]
impl Policies {
    pub(super) fn of(_: &Licence) -> Self {
        Self
    }
}

/// The verdict of each condition of the licence's own. `policies` are those of the licence, and `published` the findings of all others.
pub(super) fn verdicts<'c>(
    case: &Case<'c>,
    policies: &Policies,
    published: &[Finding],
) -> impl Iterator<Item = (&'c OwnCondition, Verdict)> {
    let licence: &Licence = case.licence;
    let verdicts: Vec<Verdict> = asked(case, policies, published);
    licence.conditions.iter().zip(verdicts)
}

#[cfg(not(feature = "rego"))]
fn asked(case: &Case<'_>, _: &Policies, _: &[Finding]) -> Vec<Verdict> {
    let own = case.licence.conditions.iter();
    let open = || {
        Verdict::cannot_tell(
            "policy-not-built",
            format!("its policy was not asked: {NOT_BUILT}"),
        )
    };
    own.map(|_| open().grade(crate::appraisal::Grade::Declared))
        .collect()
}

#[cfg(feature = "rego")]
fn asked(case: &Case<'_>, policies: &Policies, published: &[Finding]) -> Vec<Verdict> {
    use super::rego::{Fault, Policy};
    use crate::licence::PolicyInput;
    use answer::{read_facts, stopped, unreadable, weighed};
    use std::cell::OnceCell;

    let (facts, claims) = (OnceCell::new(), OnceCell::new());
    let ask = |(own, policy): (&OwnCondition, Result<&Policy, &Fault>)| {
        let policy = match policy {
            Ok(policy) => policy,
            Err(fault) => return unreadable(&fault.what),
        };
        let (input, signed) = match own.input {
            PolicyInput::Facts => (
                facts.get_or_init(|| facts::document(case, published, policies.names())),
                None,
            ),
            PolicyInput::HardwareClaims => {
                let (input, signed) = claims.get_or_init(|| {
                    let signed = hardware::Signed::of(case);
                    (signed.claims(), signed)
                });
                (input, Some(signed))
            }
        };
        match policy.ask(input) {
            Ok(answer) => {
                let given = match signed {
                    None => read_facts(case, published, &answer),
                    Some(signed) => signed.given(case),
                };
                weighed(case, own, answer, given)
            }
            Err(why) => stopped(&why),
        }
    };
    case.licence
        .conditions
        .iter()
        .zip(policies.each())
        .map(ask)
        .collect()
}

/// The mistakes in the policies of a licence, each with its line in the licence.
#[must_use]
pub fn policy_mistakes(licence: &Licence) -> Vec<Mistake> {
    licence.conditions.iter().filter_map(mistake).collect()
}

#[cfg(feature = "rego")]
fn mistake(own: &OwnCondition) -> Option<Mistake> {
    let fault = super::rego::Policy::read(own).err()?;
    let line = fault
        .line
        .map_or(own.line, |l| own.line.saturating_add(l).saturating_sub(1));
    Some(Mistake {
        line,
        what: format!("the policy of {} {}", own.id, fault.what),
    })
}

#[cfg(not(feature = "rego"))]
fn mistake(own: &OwnCondition) -> Option<Mistake> {
    Some(Mistake {
        line: own.line,
        what: format!("the policy of {} cannot be checked: {NOT_BUILT}", own.id),
    })
}

/// How a sentence says that no policy can be asked here.
#[cfg(not(feature = "rego"))]
const NOT_BUILT: &str = "this program was built without Rego; `weighbridge-verifier` asks policies";
