//! Findings in the forms that others read.

use super::*;
use crate::appraisal::ear::{Issue, Profile, Tier};
use crate::crypto::{Algorithm, Entropy, SecretKey, Signer, jws};
use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

fn of<T>(scene: &Scene, look: impl Fn(&SiteVerdict<'_>) -> T) -> T {
    let findings = scene.findings();
    look(&SiteVerdict {
        site: "harbour-1",
        licence: "L-1",
        serial: 1,
        licence_digest: Digest([1; 32]),
        rule_set: "us-ear-enforced-2026-05",
        rule_set_digest: Some(Digest([2; 32])),
        catalogue_digest: Digest([3; 32]),
        at: scene.now,
        findings: findings.iter().collect(),
    })
}

fn claim(scene: &Scene, name: &str) -> i8 {
    let vector = of(scene, |v| v.vector());
    vector.iter().find(|(n, _)| *n == name).unwrap().1
}

fn ear(scene: &Scene) -> Value {
    let issue = Issue {
        profile: Profile::Ietf,
        at: UnixSeconds(7),
        developer: "d",
        build: "b",
    };
    of(scene, |v| v.ear(&issue))
}

fn misplaced() -> Scene {
    let mut scene = Scene::empty();
    scene.hour(&[gpu(1), gpu(9)], &[gpu(3), gpu(4)]);
    scene
}

#[test]
fn a_property_is_stated_for_what_is_met_and_for_nothing_else() {
    for scene in [Scene::honest().attested(), misplaced(), Scene::empty()] {
        let properties = of(&scene, |v| v.properties());
        for finding in scene.findings() {
            let name = format!("WEIGHBRIDGE_{}_MET", finding.condition.replace('-', "_"));
            assert_eq!(
                properties.contains(&name),
                finding.outcome == Outcome::Met,
                "{}: {}",
                finding.condition,
                finding.outcome
            );
        }
    }
    let trial = Scene::honest().with("serial = 1", "serial = 1\ntrial = true");
    let properties = of(&trial, |v| v.properties());
    assert!(properties.contains(&"WEIGHBRIDGE_TRIAL_INV_01_MET".to_owned()));
    assert!(
        properties.iter().all(|p| p.starts_with("WEIGHBRIDGE_TRIAL_")),
        "{properties:?}"
    );
    let waived = misplaced().with(
        "[[models]]",
        "[[waivers]]\ncondition = \"INV-01\"\nuntil = 2026-12-31\nreason = \"a loan\"\n[[models]]",
    );
    assert!(!of(&waived, |v| v.properties()).contains(&"WEIGHBRIDGE_INV_01_MET".to_owned()));
}

#[test]
fn findings_become_the_claims_of_the_table() {
    let honest = Scene::honest().attested();
    for (name, value) in [
        ("instance-identity", 2),
        (
            "executables",
            if honest.finding("SEC-05").outcome == Outcome::CannotTell {
                0
            } else {
                3
            },
        ),
        ("hardware", 2),
        ("sourced-data", 32),
    ] {
        assert_eq!(claim(&honest, name), value, "{name}");
    }
    // Telemetry that nobody attests is a warning, whatever it says.
    assert!(of(&honest, |v| v.status()) >= Tier::Warning);
    assert_eq!(of(&misplaced(), |v| v.status()), Tier::Contraindicated);
    let mut nowhere = Scene::empty();
    nowhere.licence = nowhere.licence.replace("countries_allowed = [\"SG\"]\n", "");
    for name in ["instance-identity", "configuration", "executables", "hardware"] {
        assert_eq!(claim(&nowhere, name), 0, "{name}");
    }
    assert_ne!(of(&nowhere, |v| v.status()), Tier::Affirming);
}

#[test]
fn a_result_holds_the_findings_and_names_what_they_rest_on() {
    let scene = misplaced();
    let result = ear(&scene);
    assert_eq!(result["eat_profile"], "tag:ietf.org,2026:rats/ear#03");
    let site = &result["submods"]["harbour-1"];
    assert_eq!(site["ear_status"], "contraindicated");
    assert_eq!(site["ear_appraisal_policy_ids"][0], VERDICT_POLICY);
    let verdict = &site[VERDICT];
    assert_eq!(verdict["licence"]["sha256"], Digest([1; 32]).to_string());
    assert_eq!(verdict["rule_set"]["sha256"], Digest([2; 32]).to_string());
    assert_eq!(verdict["catalogue"]["sha256"], Digest([3; 32]).to_string());
    let findings = serde_json::to_value(scene.findings()).unwrap();
    assert_eq!(verdict["findings"], findings);
    let statement: Value = serde_json::from_slice(&of(&scene, |v| v.svr("v"))).unwrap();
    assert_eq!(
        statement["predicateType"],
        "https://in-toto.io/attestation/svr/v0.2"
    );
    let predicate = &statement["predicate"];
    assert_eq!(
        predicate["verifier"]["policies"][0]["digest"]["sha256"],
        Digest([1; 32]).to_string()
    );
    assert_eq!(predicate["timeCreated"], scene.now.to_string());
    assert_eq!(statement["subject"][0]["digest"]["sha256"], verdict["sha256"]);
    for text in [result.to_string(), statement.to_string()] {
        assert!(!text.to_lowercase().contains("compliant"));
    }
    let later = of(&Scene::honest(), |v| v.digest());
    assert_ne!(later, of(&scene, |v| v.digest()));
}

#[test]
fn a_token_is_signed_with_the_algorithm_of_its_key() {
    for (algorithm, name) in [(Algorithm::Ed25519, "EdDSA"), (Algorithm::EcdsaP256, "ES256")] {
        let key = SecretKey::generate(algorithm, &Entropy::system()).unwrap();
        let claims = ear(&Scene::honest());
        let token = jws::sign(&claims, &key).unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
        key.public_key().verify(signed.as_bytes(), &signature).unwrap();
        let part = |text: &str| -> Value {
            serde_json::from_slice(&BASE64URL_NOPAD.decode(text.as_bytes()).unwrap()).unwrap()
        };
        let (header, payload) = signed.split_once('.').unwrap();
        assert_eq!(part(header)["alg"], name);
        assert_eq!(part(header)["kid"], key.public_key().id().to_string());
        assert_eq!(part(payload), claims);
    }
}
