//! The facts of a site, as one document for policies: `docs/policies.schema.json` says what it holds.
//!
//! Decides: what a policy may see. Findings, strings and small whole numbers; larger numbers are decimal texts, for no policy language compares them
//! exactly. Of tenants it sees nothing but what findings name.

use super::super::case::Case;
use super::super::finding::{Finding, decimal};
use super::hardware::Signed;
use crate::telemetry::AcceleratorIdentity;
use crate::time::UnixSeconds;
use serde_json::{Map, Value, json};

/// The name and version of the document's form.
const FORM: &str = "weighbridge/facts/1";

pub(in crate::conditions) fn document(case: &Case<'_>, published: &[Finding]) -> Value {
    let licence = case.licence;
    let site = licence.site(case.facts.site);
    let findings: Map<String, Value> = published
        .iter()
        .map(|f| (f.condition.clone(), finding(f)))
        .collect();
    let nodes: Vec<Value> = case
        .nodes()
        .map(|n| {
            let newest = n.record.facts.newest.as_ref().map(|r| r.end);
            json!({
                "id": n.record.facts.node.to_string(),
                "name": n.status.name,
                "expected": n.status.is_expected(case.now),
                "last_report": newest.map(|t| t.to_string()),
                "silent_seconds": newest.map(|t| case.now.since(t)),
            })
        })
        .collect();
    json!({
        "form": FORM,
        "site": case.facts.site,
        "country": site.and_then(|s| s.country.as_deref()),
        "now": case.now.to_string(),
        "now_seconds": case.now.0,
        "licence": {
            "id": licence.licence_id,
            "serial": licence.serial,
            "issuer": licence.issuer,
            "consignee": licence.consignee,
            "valid_from": licence.valid.from.to_string(),
            "valid_to": licence.valid.to.map(|t| t.to_string()),
            "trial": licence.trial,
        },
        "rule_set": licence.ruleset_id,
        "findings": findings,
        "nodes": nodes,
        "devices": devices(case),
        "hardware": Signed::of(case).claims(),
    })
}

fn finding(finding: &Finding) -> Value {
    json!({
        "condition": finding.condition,
        "outcome": finding.outcome,
        "message_id": finding.message_id,
        "severity": finding.severity,
        "grade": finding.grade,
        "sentence": finding.sentence,
        "measured": finding.measured,
        "limit": finding.limit,
        "window": finding.window,
        "coverage": finding.coverage.map(decimal),
        "subjects": finding.subjects,
        "subjects_left_out": finding.subjects_left_out,
    })
}

/// Each device that answered within the window of findings, where it answered last.
fn devices(case: &Case<'_>) -> Vec<Value> {
    let seen = case.unique_since(case.since());
    let device = |s: &super::super::case::Seen<'_>| {
        let identity: &AcceleratorIdentity = &s.device.identity;
        let model = case.model(s.device);
        json!({
            "uuid": identity.uuid.nvml(),
            "serial": identity.serial,
            "node": s.node.record.facts.node.to_string(),
            "name": identity.name,
            "model": model.map(|m| m.name.as_str()),
            "tpp": model.and_then(|m| m.tpp()).map(|t| t.0),
            "vbios": identity.vbios,
            "licensed": case.row_of(identity).is_some(),
            "last_seen": s.last.to_string(),
            "silent_seconds": age(case.now, s.last),
        })
    };
    seen.iter().map(device).collect()
}

fn age(now: UnixSeconds, then: UnixSeconds) -> i64 {
    now.since(then)
}
