//! What GPUs and switches signed, in the claims that NVIDIA's own policies read.
//!
//! Decides: which claims may be made. Each rests on a check of the device's last answer ([`AppraisedDevice`]), and what was not checked is not
//! claimed: a policy that asks for it is told that it is not there, and never that it is false. So `secboot` and `dbgstat`, which no report says,
//! are missing, and whether a responder answered a nonce of ours is too, for replies are fetched ahead.
//!
//! Names and values are those of version 3 of NVIDIA's claims, as `hardware::nvidia::nras` reads them.

use super::super::case::Case;
use super::super::rego::Fact;
use super::answer::{Given, unsigned};
use crate::appraisal::Grade;
use crate::appraisal::evidence::{AppraisedDevice, AppraisedRound, CheckName, CheckOutcome};
use crate::id::DeviceUuid;
use crate::report::Attester;
use crate::time::UnixSeconds;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// The last answer of each GPU and switch of a site.
pub(super) struct Signed<'a> {
    answers: Vec<(&'a str, &'a AppraisedRound, &'a AppraisedDevice)>,
    /// GPUs that were seen, and those of them that signed.
    seen: usize,
    signing: usize,
}

impl<'a> Signed<'a> {
    pub(super) fn of(case: &Case<'a>) -> Self {
        let mut answers = Vec::new();
        for node in case.nodes() {
            let evidence = &node.record.evidence;
            let rounds = evidence.newest.iter().chain(evidence.earlier.iter().rev());
            for round in rounds {
                let told = round.devices.iter().filter(|d| d.evidence.is_some());
                answers.extend(told.map(|d| (node.status.name.as_str(), round, d)));
            }
        }
        let seen = case.unique_since(case.since());
        let told = answers.iter().filter(|(.., d)| d.answered());
        let signing: BTreeSet<DeviceUuid> = told.filter_map(|(.., d)| d.device).collect();
        let signs = |s: &&super::super::case::Seen<'_>| signing.contains(&s.device.identity.uuid);
        Self {
            signing: seen.iter().filter(signs).count(),
            seen: seen.len(),
            answers,
        }
    }

    /// The claims, a list.
    pub(super) fn claims(&self) -> Fact {
        let claims = self.answers.iter().map(|(node, round, device)| {
            let mut set = claims(device);
            set.insert(
                "weighbridge".to_owned(),
                json!({
                    "node": node,
                    "uuid": device.device.map(|d| d.nvml()),
                    "device_id": device.identity,
                    "mode": device.mode,
                    "asked": round.given.to_string(),
                }),
            );
            Fact::json(Value::Object(set))
        });
        claims.collect()
    }

    /// What a verdict by these claims must say.
    pub(super) fn given(&self, case: &Case<'_>) -> Given {
        let signed = self
            .answers
            .iter()
            .all(|(.., d)| passed(d, CheckName::Signature) == Some(true));
        let first: Option<UnixSeconds> = self.answers.iter().map(|(_, round, _)| round.given).min();
        let silent = self.seen.saturating_sub(self.signing);
        Given {
            grade: if signed { Grade::DeviceSigned } else { Grade::DriverReported },
            evidence: self.answers.iter().map(|(_, round, _)| round.report).collect(),
            window: (first.unwrap_or_else(|| case.since()), case.now),
            none: self.answers.is_empty().then(|| {
                let why = "no device of the site has signed anything, and a round of hardware evidence would settle it";
                ("no-evidence", why.to_owned())
            }),
            partly: (silent > 0).then(|| ("not-all-signed", unsigned(silent, self.seen))),
        }
    }
}

/// What a check came to; none where it was not made.
fn passed(device: &AppraisedDevice, name: CheckName) -> Option<bool> {
    match device.outcome(name) {
        CheckOutcome::Pass => Some(true),
        CheckOutcome::Fail => Some(false),
        CheckOutcome::NotChecked => None,
    }
}

/// The claims about one device.
fn claims(device: &AppraisedDevice) -> Map<String, Value> {
    let (kind, prefix, parts): (_, _, &[&str]) = match device.attester {
        Attester::Gpu => ("gpu", "x-nvidia-gpu", &["driver", "vbios"]),
        Attester::Switch => ("nvswitch", "x-nvidia-switch", &["bios"]),
    };
    let mut set = Map::new();
    let mut put = |name: String, value: Option<Value>| {
        if let Some(value) = value {
            set.insert(name, value);
        }
    };
    let check = |name| passed(device, name).map(Value::Bool);
    put("x-nvidia-device-type".to_owned(), Some(json!(kind)));
    put("hwmodel".to_owned(), device.arch.as_ref().map(|a| json!(a)));
    put(
        format!("{prefix}-attestation-report-parsed"),
        Some(json!(
            device.outcome(CheckName::Signature) != CheckOutcome::NotChecked
        )),
    );
    put(
        format!("{prefix}-attestation-report-signature-verified"),
        check(CheckName::Signature),
    );
    put(
        format!("{prefix}-attestation-report-cert-chain-fwid-match"),
        check(CheckName::Fwid),
    );
    put(
        format!("{prefix}-attestation-report-nonce-match"),
        check(CheckName::Nonce),
    );
    put(
        format!("{prefix}-arch-check"),
        check(CheckName::Chain).filter(|v| *v == json!(true)),
    );
    put(
        format!("{prefix}-attestation-report-cert-chain"),
        chain(
            passed(device, CheckName::Chain),
            passed(device, CheckName::Certificate),
        ),
    );
    // Manifests are compared as one: what holds for both parts holds for each, and what fails names neither.
    let rim = passed(device, CheckName::Rim);
    let sure = rim.filter(|holds| !holds || device.whole);
    for part in parts {
        for name in [
            "fetched",
            "schema-validated",
            "signature-verified",
            "version-match",
            "measurements-available",
        ] {
            put(
                format!("{prefix}-{part}-rim-{name}"),
                sure.filter(|holds| *holds).map(Value::Bool),
            );
        }
        put(
            format!("{prefix}-{part}-rim-cert-chain"),
            chain(sure, passed(device, CheckName::Revocation).filter(|good| *good)),
        );
    }
    let version = |part: &str| match part {
        "driver" => device.driver.as_ref(),
        _ => device.vbios.as_ref(),
    };
    for part in parts {
        put(
            format!("{prefix}-{part}-version"),
            version(part).map(|v| json!(v)),
        );
    }
    let measured = passed(device, CheckName::Measurements).filter(|holds| !holds || device.whole);
    put(
        "measres".to_owned(),
        measured.map(|holds| json!(if holds { "success" } else { "fail" })),
    );
    let differ: Vec<Value> = device.mismatches.iter().map(|i| json!({ "index": i })).collect();
    put(
        "x-nvidia-mismatch-measurement-records".to_owned(),
        measured.map(|_| {
            if differ.is_empty() {
                Value::Null
            } else {
                json!(differ)
            }
        }),
    );
    set
}

/// The claims about a chain of certificates.
fn chain(holds: Option<bool>, good: Option<bool>) -> Option<Value> {
    let mut set = Map::new();
    set.insert(
        "x-nvidia-cert-status".to_owned(),
        json!(if holds? { "valid" } else { "invalid" }),
    );
    if let Some(good) = good {
        let said = if good { "good" } else { "revoked" };
        set.insert("x-nvidia-cert-ocsp-status".to_owned(), json!(said));
    }
    Some(Value::Object(set))
}
