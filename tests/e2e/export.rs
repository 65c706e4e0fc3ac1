//! What the conditions of a site come to, in forms that others read.

use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;
use std::collections::BTreeSet;
use weighbridge::crypto::{Entropy, PublicKey, SecretKey, Signer, dsse, pem_decode};
use weighbridge_testbed::licence::{self, now};
use weighbridge_testbed::node::SimulatedNode;
use weighbridge_testbed::process::{Verifier, must, said};

use crate::statements::others;

const OWN: &str = r#"
[[conditions]]
id = "OWN-01"
title = "Few nodes report"
severity = "minor"
policy = '''
package weighbridge
verdict := {"outcome": "met", "sentence": sprintf("%d nodes report", [count(input.nodes)])} if count(input.nodes) < 9
'''
"#;

fn written(verifier: &Verifier, arguments: &[&str]) -> String {
    let output = verifier.command().arg("export").args(arguments).output().unwrap();
    // Not everything holds at this site, and that is what the exit status says.
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn why_of_a_condition_that_no_licence_shown_states_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let verifier = Verifier::init(dir.path());
    verifier.load_licence(&format!("{}{OWN}", licence::for_site("harbour-1", &[])));
    verifier.load_licence(&licence::for_site("harbour-2", &[]));
    let why = |more: &[&str]| {
        let asked = ["status", "--why", "OWN-01"];
        verifier.command().args(asked).args(more).output().unwrap()
    };
    for shown in [why(&[]), why(&["--site", "harbour-1"])] {
        assert!(said(&shown).contains("Few nodes report"), "{}", said(&shown));
    }
    for format in ["text", "json"] {
        let none = why(&["--site", "harbour-2", "--format", format]);
        assert_eq!(none.status.code(), Some(2), "{}", said(&none));
        let says = "no licence that covers what is asked for states condition `OWN-01`";
        assert!(said(&none).contains(says), "{}", said(&none));
        assert!(none.stdout.is_empty(), "{}", said(&none));
    }
}

#[tokio::test]
async fn a_site_is_exported_as_others_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut verifier = Verifier::init(dir.path());
    verifier.load_licence(&format!("{}{OWN}", licence::for_site("harbour-1", &[])));
    verifier.serve();
    let mut node = SimulatedNode::enrol(&verifier.token("harbour-1", &[]), 1, now().plus(-3600)).await;
    node.report().await;
    let path = |name: &str| dir.path().join(name).display().to_string();
    let pen = path("pen.key");
    must(verifier.command().args(["key", "new", &pen]));

    let met: BTreeSet<String> = verifier.status()["sites"][0]["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|f| f["outcome"] == "met")
        .map(|f| {
            let condition = f["condition"].as_str().unwrap().replace('-', "_");
            format!("WEIGHBRIDGE_{condition}_MET")
        })
        .collect();
    assert!(met.contains("WEIGHBRIDGE_OWN_01_MET"), "{met:?}");
    let why = verifier
        .command()
        .args(["status", "--why", "OWN-01"])
        .output()
        .unwrap();
    assert!(
        said(&why).contains("asks       Few nodes report"),
        "{}",
        said(&why)
    );
    assert!(said(&why).contains("1 nodes report"), "{}", said(&why));

    // With a key that is given, and through another's reader of envelopes.
    let envelope = written(&verifier, &["svr", "--site", "harbour-1", "--key", &pen]);
    std::fs::write(path("svr.dsse"), &envelope).unwrap();
    if let Some(read) = others(&["verify", &path("svr.dsse"), &format!("{pen}.pub")]) {
        assert!(read.status.success(), "{}", said(&read));
        let statement: Value = serde_json::from_slice(&read.stdout).unwrap();
        let stated = statement["predicate"]["properties"].as_array().unwrap();
        let stated: BTreeSet<String> = stated.iter().map(|p| p.as_str().unwrap().to_owned()).collect();
        assert_eq!(stated, met);
        assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    }

    // With the verifier's own key.
    let pem = std::fs::read_to_string(verifier.state.join("ledger.key")).unwrap();
    let own = SecretKey::from_pkcs8(&pem_decode("PRIVATE KEY", &pem).unwrap(), &Entropy::system()).unwrap();
    let own: &PublicKey = own.public_key();
    let envelope = written(&verifier, &["svr", "--site", "harbour-1"]);
    let verified = dsse::verify(
        &envelope,
        "application/vnd.in-toto+json",
        std::slice::from_ref(own),
    )
    .unwrap();
    assert_eq!(verified.signers(), [own.id()]);
    let token = written(
        &verifier,
        &["ear", "--site", "harbour-1", "--licence", "WB-harbour-1"],
    );
    let (signed, signature) = token.trim_end().rsplit_once('.').unwrap();
    let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
    own.verify(signed.as_bytes(), &signature).unwrap();
    let plain: Value =
        serde_json::from_str(&written(&verifier, &["ear", "--site", "harbour-1", "--unsigned"])).unwrap();
    let site = &plain["submods"]["harbour-1"];
    assert_eq!(site["ear_trustworthiness_vector"]["sourced-data"], 32);
    let findings = &site["tag:weighbridge.example,2026:verdict/1"]["findings"];
    assert_eq!(
        findings.as_array().unwrap().len(),
        72,
        "71 published conditions and one of the licence's own"
    );
}
