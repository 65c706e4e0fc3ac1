//! `docs/json.md` against what the verifier prints: a member that is printed is explained, and one that is explained is printed.

use crate::agent_json::explained;
use serde_json::Value;
use std::collections::BTreeSet;
use weighbridge_testbed::device_pki::DevicePki;
use weighbridge_testbed::licence::{self, now};
use weighbridge_testbed::node::SimulatedNode;
use weighbridge_testbed::process::{Verifier, must};

fn members(value: &Value) -> BTreeSet<String> {
    value
        .as_object()
        .unwrap_or_else(|| panic!("{value} is not an object"))
        .keys()
        .cloned()
        .collect()
}

/// What a verb prints as JSON, whether all holds or not.
fn printed_anyhow(verifier: &Verifier, arguments: &[&str]) -> Value {
    let mut command = verifier.command();
    let output = command
        .args(arguments)
        .args(["--format", "json"])
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{arguments:?}: {e}"))
}

#[tokio::test]
async fn the_members_that_the_verifier_prints_are_the_ones_that_the_document_explains() {
    let dir = tempfile::tempdir().unwrap();
    let mut verifier = Verifier::init(dir.path());
    verifier.load_licence(&licence::for_site("harbour-1", &[]));
    verifier.serve();
    let mut node = SimulatedNode::enrol(&verifier.token("harbour-1", &[]), 1, now().plus(-3600)).await;
    // Sums are written after twelve.
    for _ in 0..13 {
        node.report().await;
    }
    let printed = |arguments: &[&str]| -> Value {
        let text = must(verifier.command().args(arguments).args(["--format", "json"]));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {text}"))
    };
    let beside = |name: &str| dir.path().join(name).display().to_string();
    let (other, key, id) = (beside("other"), beside("new.key"), node.id.to_string());

    let list = printed(&["node", "list"])["nodes"][0].clone();
    let shown = printed(&["node", "show", &id]);
    let evidence = members(&shown["hardware_evidence"]);
    assert_eq!(
        evidence,
        explained("hardware_evidence"),
        "`node show` (left) and docs/json.md (right)"
    );
    let mut shown = members(&shown);
    for both in explained("weighbridge-verifier node list --format json") {
        assert_eq!(
            shown.remove(&both),
            !["reports", "last_received"].contains(&both.as_str()),
            "{both}"
        );
    }
    let status = verifier.status();
    let used = members(&status["catalogue"]);
    assert_eq!(
        used,
        explained("catalogue"),
        "`status` (left) and docs/json.md (right)"
    );
    let site = status["sites"][0].clone();
    let in_short = explained("rules");
    let supposed = printed_anyhow(&verifier, &["status", "--what-if", "eu-ai-act"]);
    for used in [&site["rules"], &supposed["what_if"]] {
        assert_eq!(
            members(used),
            in_short,
            "`status` (left) and docs/json.md (right)"
        );
    }
    assert_eq!(status["what_if"], Value::Null);
    let beyond = |all: &Value| members(all).difference(&in_short).cloned().collect();
    for (member, found) in [("flags", &site["flags"][0]), ("shipments", &site["shipments"])] {
        assert_eq!(
            members(found),
            explained(member),
            "`status` (left) and docs/json.md (right)"
        );
    }
    let compute = printed(&["status", "--compute", "--by", "device"]);
    assert!(compute["groups"][0]["device"].is_string(), "{compute}");
    // The findings are recorded beside the intake, at their own pace.
    let mut histories = (0..1_000).map(|_| printed(&["status", "--history", "OPS-03"]));
    let history = histories.find(|h| h["changes"][0].is_object()).unwrap();
    let pki = DevicePki::new();
    std::fs::write(beside("rim-root.pem"), pki.rim_root()).unwrap();
    std::fs::write(beside("driver.xml"), pki.rim("GH100", "580.65.06", 0..20)).unwrap();
    let (root, rim) = (beside("rim-root.pem"), beside("driver.xml"));
    let collateral =
        |verb: &[&str]| printed(&[&["evidence", "collateral", "--rim-root", &root], verb].concat());
    let added = members(&collateral(&["add", &rim]));
    let items = collateral(&["list"]);
    let exported = members(&collateral(&["export", &beside("carried.tar")]));
    let catalogue = concat!(env!("CARGO_MANIFEST_DIR"), "/../src/accelerator/catalogue.csv");
    let (draft, pen) = (beside("maintenance.toml"), beside("pen.key"));
    let text = must(verifier.command().args(["statement", "new", "maintenance"]));
    std::fs::write(&draft, text.replace("# sites", "sites")).unwrap();
    must(verifier.command().args(["key", "new", &pen]));
    must(
        verifier
            .command()
            .args(["statement", "sign", &draft, "--key", &pen]),
    );
    let (signed, pen) = (format!("{draft}.dsse"), format!("{pen}.pub"));
    let accredit = [
        "accreditation",
        "add",
        "A-1",
        "--holder",
        "One LLP",
        "--key",
        &pen,
    ];
    must(
        verifier
            .command()
            .args(accredit)
            .args(["--valid-from", "2026-01-01"]),
    );
    let checked = printed(&["statement", "verify", &signed, "--key", &pen]);
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../src/rules/data/us-ifr-2025.toml");
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples/licence.toml");
    for (verb, found) in [
        ("init", members(&printed(&["init", "--state-dir", &other]))),
        ("key new", members(&printed(&["key", "new", &key]))),
        ("key new", members(&printed(&["key", "show", &key]))),
        ("key list", members(&printed(&["key", "list"])["keys"][0])),
        (
            "accreditation list",
            members(&printed(&["accreditation", "list"])["accreditations"][0]),
        ),
        (
            "token new",
            members(&printed(&["token", "new", "--site", "harbour-1"])),
        ),
        ("node list", members(&list)),
        ("node show", shown),
        (
            "statement show",
            members(&printed(&["statement", "show", catalogue]))
                .union(&members(&printed(&["statement", "show", &draft])))
                .cloned()
                .collect(),
        ),
        ("statement verify", members(&checked)),
        (
            "statement kinds",
            members(&printed(&["statement", "kinds"])["kinds"][0]),
        ),
        ("rules list", beyond(&printed(&["rules", "list"])["rule_sets"][0])),
        ("rules show", beyond(&printed(&["rules", "show", "us-ifr-2025"]))),
        ("rules lint", members(&printed(&["rules", "lint", rules]))),
        ("licence lint", members(&printed(&["licence", "lint", example]))),
        ("evidence collateral add", added),
        ("evidence collateral export", exported),
        (
            "evidence collateral list",
            members(&items)
                .union(&members(&items["items"][0]))
                .cloned()
                .collect(),
        ),
        ("status --compute", members(&compute["groups"][0])),
        ("status --history CONDITION", members(&history["changes"][0])),
        (
            "status",
            members(&site["overview"])
                .union(&members(&site["findings"][0]))
                .cloned()
                .collect(),
        ),
    ] {
        let heading = format!("weighbridge-verifier {verb} --format json");
        assert_eq!(
            found,
            explained(&heading),
            "`{verb}` (left) and docs/json.md (right)"
        );
    }
}
