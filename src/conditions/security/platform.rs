//! Platforms: how hosts boot, and which agent runs on them.

use super::super::case::{Case, no_report};
use super::super::finding::{Quantity, Verdict, count, few};
use super::super::site::attestation::assessor_says;
use crate::appraisal::Grade;

/// SEC-03: hosts boot as the policy says.
///
/// No report holds a quote of a TPM over what was measured at boot. An assessor who looked at it is all that can tell.
pub(in crate::conditions) fn boot_state(case: &Case<'_>) -> Verdict {
    assessor_says(case, "SEC-03").unwrap_or_else(|| {
        let sentence = format!(
            "nothing that was measured shows how the hosts of site {} boot: this version reads no TPM's quote over it and no state of secure boot; \
             an assessor's finding on SEC-03 would settle it",
            case.facts.site
        );
        Verdict::cannot_tell("not-measured", sentence)
            .grade(Grade::Declared)
            .subjects([case.facts.site.clone()])
    })
}

/// SEC-05: the agents run approved builds, as far as they say of themselves: an agent takes the digest of its own binary.
pub(in crate::conditions) fn agent_build(case: &Case<'_>) -> Verdict {
    let approved = &case.licence.approved_agents;
    if approved.is_empty() {
        return Verdict::no_limit("which builds of the agent are approved (`approved_agents`)");
    }
    let (mut wrong, mut open, mut subjects, mut evidence) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut judged, mut from) = (0usize, case.now);
    for node in case.expected() {
        let (name, facts) = (&node.status.name, &node.record.facts);
        match facts.readable_newest() {
            Err(why) => open.push(format!("node {name} {why}")),
            Ok(newest) => {
                judged = judged.saturating_add(1);
                evidence.push(newest.digest);
                from = from.min(newest.end);
                if approved.contains(&newest.agent_digest) {
                    continue;
                }
                wrong.push(format!(
                    "node {name} runs version {} of the agent, SHA-256 {}",
                    newest.agent_version, newest.agent_digest
                ));
            }
        }
        subjects.push(facts.node.to_string());
    }
    let lists = format!("the licence approves {}", count(approved.len(), "build"));
    let strangers = wrong.len();
    let verdict = if judged == 0 && !case.nodes().any(|n| n.record.facts.damaged.is_some()) {
        return no_report(Verdict::met("", "").grade(Grade::HostObserved));
    } else if !wrong.is_empty() {
        Verdict::not_met(
            "build-not-approved",
            format!("{}; {lists}, and this is none of them", few(&wrong)),
        )
    } else if !open.is_empty() {
        Verdict::cannot_tell("build-unknown", format!("{}; {lists}", few(&open)))
    } else {
        let sentence = format!(
            "the agents of {} are approved builds, as they say of themselves in their newest reports; {lists}",
            count(judged, "node")
        );
        Verdict::met("build-approved", sentence)
    };
    verdict
        .grade(Grade::HostObserved)
        .measured(Quantity::exactly(strangers, "nodes with another build"))
        .limit(Quantity::at_most(0, "nodes with another build"))
        .window(from, case.now)
        .coverage(case.fresh_share())
        .subjects(subjects)
        .evidence(evidence)
}
