//! What the findings of a site under a licence come to, in the forms that others read: an EAT attestation result (EAR) and an in-toto Simple
//! Verification Result (SVR).
//!
//! Decides: which findings make which claim of AR4SI's trustworthiness vector, and which properties are stated. `docs/results.md` has the table. Trusts the
//! findings. A property is stated for what is met and for nothing else; neither form says more than the findings, and both name the documents that they
//! rest on by their digests. Neither says that a site follows any law.

use super::finding::{Finding, FindingAtSite, Outcome};
use crate::appraisal::Grade;
use crate::appraisal::ear::{Issue, Tier};
use crate::cbor;
use crate::crypto;
use crate::id::Digest;
use crate::rules::Severity;
use crate::time::UnixSeconds;
use serde_json::{Map, Value, json};

/// The name of the rules by which findings become a vector: the table in `docs/results.md`.
pub const VERDICT_POLICY: &str = "tag:weighbridge.example,2026:verdict-policy/1";
/// The name of the claim that carries the findings themselves.
pub const VERDICT: &str = "tag:weighbridge.example,2026:verdict/1";
/// What the name of each property begins with.
pub const PROPERTY: &str = "WEIGHBRIDGE";
/// What the name of a verifier begins with in a Simple Verification Result; its number changes with what is verified.
const VERIFIER: &str = "tag:weighbridge.example,2026:verifier/1";
/// The predicate type of a Simple Verification Result.
const SVR: &str = "https://in-toto.io/attestation/svr/v0.2";

/// Conditions that make a claim: its name, they, and its value where all are met and where one is not (AR4SI, §2.3).
const CLAIMS: [(&str, &[&str], i8, i8); 4] = [
    ("instance-identity", &["INV-03", "INV-05"], 2, 97),
    ("configuration", &["SEC-02", "SEC-03"], 2, 96),
    ("executables", &["SEC-01", "SEC-05", "SEC-09"], 3, 33),
    ("hardware", &["CAP-08", "INV-06"], 2, 97),
];
/// Data whose source nothing attests.
const UNATTESTED: i8 = 32;

/// The findings of a site under a licence, and what they rest on.
#[derive(Clone, Debug)]
pub struct SiteVerdict<'a> {
    /// The site.
    pub site: &'a str,
    /// The licence's id.
    pub licence: &'a str,
    /// Its serial.
    pub serial: u64,
    /// SHA-256 of its text.
    pub licence_digest: Digest,
    /// The rule set's id.
    pub rule_set: &'a str,
    /// SHA-256 of its text; absent where it was not at hand.
    pub rule_set_digest: Option<Digest>,
    /// SHA-256 of the catalogue of accelerators.
    pub catalogue_digest: Digest,
    /// As of when the site was judged.
    pub at: UnixSeconds,
    /// The findings.
    pub findings: Vec<&'a Finding>,
}

impl SiteVerdict<'_> {
    /// The claims in the values of AR4SI; 0 is no claim.
    #[must_use]
    pub fn vector(&self) -> Vec<(&'static str, i8)> {
        let claim = |conditions: &[&str], met, not_met| {
            let of = |f: &&&Finding| conditions.contains(&f.condition.as_str());
            let outcomes = || self.findings.iter().filter(of).map(|f| f.outcome);
            match () {
                () if outcomes().any(|o| o == Outcome::NotMet) => not_met,
                () if outcomes().all(|o| matches!(o, Outcome::Met | Outcome::NotApplicable))
                    && outcomes().any(|o| o == Outcome::Met) =>
                {
                    met
                }
                () => 0,
            }
        };
        let mut vector: Vec<_> = CLAIMS
            .iter()
            .map(|(name, conditions, met, not_met)| (*name, claim(conditions, *met, *not_met)))
            .collect();
        let unattested = |f: &&Finding| {
            matches!(f.outcome, Outcome::Met | Outcome::NotMet) && f.grade != Grade::DeviceSigned
        };
        let sourced = if self.findings.iter().any(unattested) {
            UNATTESTED
        } else {
            0
        };
        vector.push(("sourced-data", sourced));
        vector
    }

    /// The worst of the claims and of the findings.
    #[must_use]
    pub fn status(&self) -> Tier {
        let claims = self.vector().into_iter().map(|(_, v)| Tier::of(v));
        let claims = claims.filter(|t| *t > Tier::None);
        let finding = |f: &&Finding| match (f.outcome, f.severity) {
            _ if !f.needs_a_person() => Tier::Affirming,
            (Outcome::NotMet, Severity::Critical) => Tier::Contraindicated,
            (Outcome::NotMet, _) => Tier::Warning,
            _ => Tier::None,
        };
        let met = self.findings.iter().any(|f| f.outcome == Outcome::Met);
        let least = if met { Tier::Affirming } else { Tier::None };
        claims
            .chain(self.findings.iter().map(finding))
            .fold(least, Tier::max)
    }

    /// The EAR: one submodule, by the name of the site.
    #[must_use]
    pub fn ear(&self, issue: &Issue<'_>) -> Value {
        let mut member = issue.appraisal(self.status(), &self.vector(), VERDICT_POLICY);
        member.insert(
            VERDICT.to_owned(),
            json!({
                "site": self.site,
                "at": self.at.to_string(),
                "licence": { "id": self.licence, "serial": self.serial, "sha256": self.licence_digest },
                "rule_set": { "id": self.rule_set, "sha256": self.rule_set_digest },
                "catalogue": { "sha256": self.catalogue_digest },
                "sha256": self.digest(),
                "findings": self.findings,
            }),
        );
        issue.result(Map::from_iter([(self.site.to_owned(), Value::Object(member))]))
    }

    /// The SVR of a verifier of this name: an in-toto statement, as the bytes to be signed.
    #[must_use]
    pub fn svr(&self, verifier: &str) -> Vec<u8> {
        let document = |name: String, digest: Digest| json!({ "name": name, "digest": { "sha256": digest } });
        let rule_set = format!("rule set {}", self.rule_set);
        let rule_set = match self.rule_set_digest {
            Some(digest) => document(rule_set, digest),
            None => json!({ "name": rule_set }),
        };
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [document(format!("findings of site {}", self.site), self.digest())],
            "predicateType": SVR,
            "predicate": {
                "verifier": {
                    "id": format!("{VERIFIER}#{verifier}"),
                    "policies": [
                        document(format!("licence {}, serial {}", self.licence, self.serial), self.licence_digest),
                        rule_set,
                        document("catalogue of accelerators".to_owned(), self.catalogue_digest),
                    ],
                },
                "timeCreated": self.at.to_string(),
                "properties": self.properties(),
            },
        });
        statement.to_string().into_bytes()
    }

    /// What is met, by the names of its conditions: `WEIGHBRIDGE_INV_01_MET`; `WEIGHBRIDGE_TRIAL_INV_01_MET` where licence or reports are trials.
    #[must_use]
    pub fn properties(&self) -> Vec<String> {
        let met = self.findings.iter().filter(|f| f.outcome == Outcome::Met);
        let mut properties: Vec<String> = met
            .map(|f| {
                let trial = if f.trial { "_TRIAL" } else { "" };
                format!("{PROPERTY}{trial}_{}_MET", f.condition.replace('-', "_"))
            })
            .collect();
        properties.sort();
        properties
    }

    /// SHA-256 over the findings, in the order of their conditions, each as the ledger's leaves encode it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut findings = self.findings.clone();
        findings.sort_by(|a, b| a.condition.cmp(&b.condition));
        let mut all = crypto::Sha256::default();
        for finding in findings {
            all.update(&cbor::encode(&FindingAtSite {
                site: self.site.to_owned(),
                licence: self.licence.to_owned(),
                serial: self.serial,
                at: self.at,
                finding: finding.clone(),
            }));
        }
        all.finish()
    }
}
