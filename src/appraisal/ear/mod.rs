//! What an appraisal of device evidence comes to, in the forms that others read: an EAT attestation result (EAR) and the claims of RFC 9711.
//!
//! Decides: how the steps of an appraisal are said in the trustworthiness vector of AR4SI ([`Vector`]), and which claims may be made about a device
//! ([`claims()`]). Trusts the appraisal. A step that was not checked never affirms anything, and one that failed never leaves a status
//! affirming. Neither form is signed here: it is a claims-set, and worth what the way by which it came is worth.
//!
//! Sources: RFC 9711; draft-ietf-rats-ear (profile `#03`, 2026) and draft-ietf-rats-ar4si; for Veraison's older profile the reader in
//! veraison/rust-ear (Apache-2.0), whose member names have a dot, and whose appraisals rest on one policy.

mod claims;
mod vector;

pub use claims::{DEVICE_PROFILE, claims, claims_of_host};
pub use vector::{Tier, Vector};

use crate::hardware::nvidia::Appraisal;
use crate::hardware::nvidia::topology::Host;
use crate::time::UnixSeconds;
use claims::{base64url, identity};
use serde_json::{Map, Value, json};

/// The name of the rules by which steps become a vector: the table in `docs/results.md`.
pub const POLICY: &str = "tag:weighbridge.example,2026:ear-policy/1";
/// The name of the claim that carries the steps themselves; a collision-resistant one, as the draft recommends.
pub const STEPS: &str = "tag:weighbridge.example,2026:appraisal/1";

/// For whom an EAR is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Readers of the IETF draft.
    #[default]
    Ietf,
    /// Readers of Project Veraison's own profile.
    Veraison,
}

impl Profile {
    /// The profile's name.
    #[must_use]
    pub fn uri(self) -> &'static str {
        match self {
            Self::Ietf => "tag:ietf.org,2026:rats/ear#03",
            Self::Veraison => "tag:github.com,2023:veraison/ear",
        }
    }

    /// How it writes a member: `ear_status`, `ear.status`.
    #[must_use]
    pub fn name(self, member: &str) -> String {
        match self {
            Self::Ietf => format!("ear_{}", member.replace('-', "_")),
            Self::Veraison => format!("ear.{member}"),
        }
    }

    fn policy(self, policy: &str) -> (String, Value) {
        match self {
            Self::Ietf => (self.name("appraisal-policy-ids"), json!([policy])),
            Self::Veraison => (self.name("appraisal-policy-id"), json!(policy)),
        }
    }
}

/// Who writes an EAR, and when.
#[derive(Clone, Copy, Debug)]
pub struct Issue<'a> {
    /// For whom.
    pub profile: Profile,
    /// The time of writing. At which time the evidence was appraised, each appraisal says itself.
    pub at: UnixSeconds,
    /// Who develops the verifier.
    pub developer: &'a str,
    /// Its build.
    pub build: &'a str,
}

impl Issue<'_> {
    /// The whole result, around its submodules.
    #[must_use]
    pub fn result(&self, submods: Map<String, Value>) -> Value {
        let mut set = Map::new();
        set.insert("eat_profile".to_owned(), json!(self.profile.uri()));
        set.insert("iat".to_owned(), json!(self.at.0));
        set.insert(
            self.profile.name("verifier-id"),
            json!({"developer": self.developer, "build": self.build}),
        );
        set.insert("submods".to_owned(), Value::Object(submods));
        Value::Object(set)
    }

    /// One appraisal: its status, its claims in the values of AR4SI, and the name of the rules by which it came about.
    #[must_use]
    pub fn appraisal(&self, status: Tier, vector: &[(&str, i8)], policy: &str) -> Map<String, Value> {
        let vector: Map<String, Value> = vector.iter().map(|(n, v)| ((*n).to_owned(), json!(v))).collect();
        let mut member = Map::new();
        member.insert(self.profile.name("status"), json!(status.text()));
        member.insert(self.profile.name("trustworthiness-vector"), Value::Object(vector));
        let (name, policy) = self.profile.policy(policy);
        member.insert(name, policy);
        member
    }
}

/// Devices of a host together.
#[derive(Clone, Copy, Debug)]
pub struct Together<'a> {
    /// What they come to as a whole.
    pub host: &'a Host,
    /// Whether everything that was presented could be used.
    pub is_whole: bool,
}

/// The result for devices by their names, and for the host that they make.
#[must_use]
pub fn ear(issue: &Issue<'_>, devices: &[(String, &Appraisal)], together: Option<Together<'_>>) -> Value {
    let mut submods = Map::new();
    let mut statuses = Vec::new();
    for (name, appraisal) in devices {
        let vector = Vector::of_device(appraisal);
        let status = vector.status_of_device(appraisal);
        let mut member = issue.appraisal(status, &vector.claims(), POLICY);
        member.extend(identity(appraisal));
        member.insert(STEPS.to_owned(), steps(appraisal));
        submods.insert(name.clone(), Value::Object(member));
        statuses.push(status);
    }
    if let Some(Together { host, is_whole }) = together {
        let vector = Vector::of_host(host, &statuses);
        let status = vector.status_of_host(host, is_whole, &statuses);
        let mut member = issue.appraisal(status, &vector.claims(), POLICY);
        let said: Map<String, Value> = host
            .steps()
            .into_iter()
            .map(|(name, step)| (name.to_owned(), json!(step)))
            .collect();
        member.insert(STEPS.to_owned(), json!({"steps": said}));
        submods.insert("HOST".to_owned(), Value::Object(member));
    }
    issue.result(submods)
}

/// What the appraisal rests on and what each step came to. Reasons are left out: they name files.
fn steps(appraisal: &Appraisal) -> Value {
    let steps: Map<String, Value> = appraisal
        .steps()
        .into_iter()
        .map(|(name, step)| (name.to_owned(), json!(step)))
        .collect();
    let manifests: Vec<Value> = appraisal
        .compared
        .iter()
        .map(|c| json!({"kind": c.kind, "sha256": base64url(&c.sha256.0), "measurements": c.measurements}))
        .collect();
    json!({
        "steps": steps,
        "at": appraisal.at.0,
        "report": base64url(&appraisal.report.0),
        "root": base64url(&appraisal.root.0),
        "manifests": manifests,
    })
}

/// Names for devices in results for others, who know no file of ours: `GPU-0`, `SWITCH-0` and so on, by kind and in order.
#[must_use]
pub fn labels<'a>(appraisals: impl IntoIterator<Item = &'a Appraisal>) -> Vec<String> {
    let (mut gpus, mut switches) = (0u32, 0u32);
    let mut label = |appraisal: &Appraisal| {
        let (kind, count) = if appraisal.is_switch() {
            ("SWITCH", &mut switches)
        } else {
            ("GPU", &mut gpus)
        };
        let name = format!("{kind}-{count}");
        *count = count.saturating_add(1);
        name
    };
    appraisals.into_iter().map(&mut label).collect()
}

#[cfg(test)]
mod tests;
