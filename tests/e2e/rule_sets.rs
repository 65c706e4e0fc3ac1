//! Rule sets: signed, loaded, superseded and pinned; and what a site would come to under another one.

use serde_json::Value;
use weighbridge::rules::RuleSet;
use weighbridge_testbed::licence::{self, Terms, now};
use weighbridge_testbed::node::SimulatedNode;
use weighbridge_testbed::process::{Verifier, must, said};

const CARRIED: &str = include_str!("../../src/rules/data/us-ear-enforced-2026-05.toml");

/// The carried rule set under the next version, with more keys before its base.
fn next(more: &str) -> (String, u64) {
    let version = RuleSet::carried("us-ear-enforced-2026-05").unwrap().version;
    let text = CARRIED
        .replacen(
            &format!("version = {version}\n"),
            &format!("version = {}\n", version + 1),
            1,
        )
        .replacen(
            "valid_from = 2026-05-31\n",
            &format!("valid_from = 2026-05-31\n{more}"),
            1,
        );
    (text, version + 1)
}

/// Signs a rule set with a key and loads it.
fn load(verifier: &Verifier, file: &str, text: &str, key: &str) -> String {
    std::fs::write(file, text).unwrap();
    must(verifier.command().args(["rules", "sign", file, "--key", key]));
    must(
        verifier
            .command()
            .args(["rules", "load", &format!("{file}.dsse")]),
    )
}

fn status(verifier: &Verifier, more: &[&str]) -> Value {
    let mut command = verifier.command();
    let output = command
        .args(["status", "--format", "json"])
        .args(more)
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", said(&output)))
}

fn finding<'v>(status: &'v Value, condition: &str) -> &'v Value {
    let all = status["sites"][0]["findings"].as_array().unwrap();
    all.iter().find(|f| f["condition"] == condition).unwrap()
}

/// A condition that can be told of a site without nodes or statements, as long as the rule set holds.
const PROBE: &str = "EVI-01";

#[test]
fn a_rule_set_is_superseded_without_a_new_release_and_a_pin_outlasts_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let verifier = Verifier::init(dir.path());
    let run = |arguments: &[&str]| must(verifier.command().args(arguments));
    run(&["key", "new", &path("counsel.key")]);
    let public = path("counsel.key.pub");
    run(&["key", "trust", &public, "--as", "counsel", "--for", "rules"]);
    let terms = licence::for_site("harbour-1", &[]);
    verifier.load_licence(&terms);
    assert_eq!(
        finding(&status(&verifier, &[]), PROBE)["outcome"],
        "not applicable"
    );

    // What took its place, and its end.
    let (ended, version) = next("valid_to = 2026-06-30\nsuperseded_by = \"us-ear-enforced-2026-07\"\n");
    let said = load(&verifier, &path("ended.toml"), &ended, &path("counsel.key"));
    assert!(
        said.contains("superseded by us-ear-enforced-2026-07) is loaded"),
        "{said}"
    );
    let after = status(&verifier, &[]);
    let used = &after["sites"][0]["rules"];
    assert_eq!(
        (&used["version"], &used["signed_by"][0]),
        (&version.into(), &"counsel".into())
    );
    let found = finding(&after, PROBE);
    assert_eq!(found["outcome"], "cannot tell", "{found}");
    let sentence = found["sentence"].as_str().unwrap();
    assert!(
        sentence.contains("was superseded by us-ear-enforced-2026-07"),
        "{sentence}"
    );
    let head = verifier.command().arg("status").output().unwrap();
    let head = String::from_utf8_lossy(&head.stdout).into_owned();
    assert!(
        head.contains("(enforced, until just before 2026-07-01T00:00:00Z, superseded by"),
        "{head}"
    );

    // Older versions replace no newer one.
    let old = RuleSet::carried("us-ear-enforced-2026-05").unwrap();
    let list = run(&["rules", "list"]);
    let line = format!(
        "us-ear-enforced-2026-05, version {} (enforced); a newer version is at hand",
        old.version
    );
    assert!(list.contains(&line), "{list}");
    let older = CARRIED.replacen(&format!("version = {}\n", old.version), "version = 1\n", 1);
    let said = load(&verifier, &path("older.toml"), &older, &path("counsel.key"));
    assert!(
        said.contains(&format!("version {version} stays the one to go by")),
        "{said}"
    );
    assert_eq!(status(&verifier, &[])["sites"][0]["rules"]["version"], version);

    // A licence that pins a text goes on by it; one that pins a key goes by what that key signed.
    let renewed = |serial: u64, pin: &str| {
        let pin = format!("{pin}\ncountries_allowed");
        let text = terms.replacen("serial = 1", &format!("serial = {serial}"), 1);
        verifier.load_licence(&text.replacen("countries_allowed", &pin, 1));
        let now = status(&verifier, &[]);
        (
            now["sites"][0]["rules"]["version"].as_u64().unwrap(),
            finding(&now, PROBE)["outcome"].as_str().unwrap().to_owned(),
        )
    };
    let pinned = renewed(2, &format!("ruleset_digest = \"{}\"", old.digest));
    assert_eq!(pinned, (old.version, "not applicable".to_owned()));

    // Whose signer's key was lost before it was loaded, that counts no longer.
    let keys: Value = serde_json::from_str(&run(&["key", "list", "--format", "json"])).unwrap();
    let key = keys["keys"]
        .as_array()
        .unwrap()
        .iter()
        .find(|k| k["role"] == "rules")
        .unwrap();
    let revoke = ["key", "revoke", key["id"].as_str().unwrap()];
    run(&revoke);
    // It was loaded before; had the key been lost by then, it would not count.
    assert_eq!(status(&verifier, &[])["passed_over"].as_array().unwrap().len(), 0);
    run(&[&revoke[..], &["--from", "2026-01-01"]].concat());
    let without = status(&verifier, &[]);
    assert_eq!(without["sites"][0]["rules"]["version"], old.version);
    let why = without["passed_over"].to_string();
    assert!(
        why.contains("signed with the key of counsel alone, which was revoked"),
        "{why}"
    );
}

#[test]
fn a_licence_may_pin_whose_rule_set_it_goes_by() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let verifier = Verifier::init(dir.path());
    let run = |arguments: &[&str]| must(verifier.command().args(arguments));
    let id = run(&["key", "new", &path("counsel.key")]).trim().to_owned();
    let (text, version) = next("");
    let terms = licence::for_site("harbour-1", &[]).replacen(
        "ruleset_id = \"us-ear-enforced-2026-05\"",
        &format!("ruleset_id = \"us-ear-enforced-2026-05\"\nruleset = {{ key = \"{id}\", least_version = {version} }}"),
        1,
    );
    std::fs::write(path("licence.toml"), &terms).unwrap();
    let lint = |file: &str| {
        verifier
            .command()
            .args(["licence", "lint", file])
            .output()
            .unwrap()
    };
    let before = lint(&path("licence.toml"));
    assert_eq!(before.status.code(), Some(1), "{}", said(&before));
    assert!(
        said(&before).contains("pins another text of rule set"),
        "{}",
        said(&before)
    );

    let public = path("counsel.key.pub");
    run(&["key", "trust", &public, "--as", "counsel", "--for", "rules"]);
    let loaded = load(&verifier, &path("next.toml"), &text, &path("counsel.key"));
    assert!(
        loaded.contains(&format!("version {version} (enforced) is loaded")),
        "{loaded}"
    );
    let after = lint(&path("licence.toml"));
    let says = format!("rules us-ear-enforced-2026-05, version {version} (enforced)");
    assert!(
        after.status.success() && said(&after).contains(&says),
        "{}",
        said(&after)
    );
    verifier.load_licence(&terms);
    assert_eq!(
        finding(&status(&verifier, &[]), PROBE)["outcome"],
        "not applicable"
    );
    let explained = run(&["licence", "explain", &path("licence.toml")]);
    assert!(
        explained.contains(&format!("signed, of version {version} or newer")),
        "{explained}"
    );
}

#[test]
fn a_rule_set_with_mistakes_another_s_signature_or_no_base_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let verifier = Verifier::init(dir.path());
    let run = |arguments: &[&str]| must(verifier.command().args(arguments));
    for name in ["counsel.key", "stranger.key"] {
        run(&["key", "new", &path(name)]);
    }
    let public = path("counsel.key.pub");
    run(&["key", "trust", &public, "--as", "counsel", "--for", "rules"]);
    let before = run(&["rules", "list", "--format", "json"]);
    let (text, _) = next("");
    std::fs::write(path("next.toml"), &text).unwrap();
    run(&[
        "rules",
        "sign",
        &path("next.toml"),
        "--key",
        &path("stranger.key"),
    ]);
    let on_it = text
        .replacen("id = \"us-ear-enforced-2026-05\"", "id = \"ours\"", 1)
        .replacen("id = \"contract-only\"", "id = \"theirs\"", 1);
    std::fs::write(path("on-it.toml"), &on_it).unwrap();
    for (arguments, code, says) in [
        (
            vec!["rules", "load", &*path("next.toml.dsse")],
            2,
            "not signed by a key that is trusted to sign rule sets",
        ),
        (
            vec!["rules", "lint", &*path("on-it.toml")],
            1,
            "the base with this SHA-256 is contract-only",
        ),
        (
            vec!["rules", "lint", &*path("next.toml.dsse")],
            2,
            "trusted to sign rule sets",
        ),
        (vec!["rules", "lint", &*path("next.toml")], 0, "no mistakes"),
        (
            vec!["rules", "load", &*path("next.toml")],
            2,
            "sign it first with `weighbridge-verifier rules sign`",
        ),
    ] {
        let output = verifier.command().args(&arguments).output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {}",
            said(&output)
        );
        assert!(said(&output).contains(says), "{arguments:?}: {}", said(&output));
    }
    assert_eq!(run(&["rules", "list", "--format", "json"]), before);
    // A base of one's own, which nobody signed, is told by its digest.
    let base = include_str!("../../src/rules/data/contract-only.toml").replacen("contract-only", "theirs", 1);
    std::fs::write(path("theirs.toml"), &base).unwrap();
    let digest = |text: &str| weighbridge::crypto::sha256(text.as_bytes()).to_string();
    let carried = digest(include_str!("../../src/rules/data/contract-only.toml"));
    std::fs::write(path("on-it.toml"), on_it.replace(&carried, &digest(&base))).unwrap();
    let (file, theirs) = (path("on-it.toml"), path("theirs.toml"));
    assert!(run(&["rules", "lint", &file, "--base", &theirs]).contains("no mistakes"));
}

#[test]
fn a_rule_set_is_written_out_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let verifier = Verifier::init(dir.path());
    let run = |arguments: &[&str]| must(verifier.command().args(arguments));
    let show = |more: &[&str]| run(&[&["rules", "show", "us-ear-enforced-2026-05", "--toml"], more].concat());
    assert_eq!(show(&[]), CARRIED);
    run(&["key", "new", &path("counsel.key")]);
    let public = path("counsel.key.pub");
    run(&["key", "trust", &public, "--as", "counsel", "--for", "rules"]);
    // Of a loaded one it is what was signed; others sign the same.
    let (newer, version) = next("");
    load(&verifier, &path("newer.toml"), &newer, &path("counsel.key"));
    assert_eq!(show(&[]), newer);
    assert_eq!(show(&["--revision", &(version - 1).to_string()]), CARRIED);
    let again = load(&verifier, &path("again.toml"), &show(&[]), &path("counsel.key"));
    assert!(again.contains("is loaded"), "{again}");
}

#[test]
fn a_rule_set_whose_signer_lost_a_key_leaves_open_the_sites_of_its_licences_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let verifier = Verifier::init(dir.path());
    let run = |arguments: &[&str]| must(verifier.command().args(arguments));
    let id = run(&["key", "new", &path("counsel.key")]).trim().to_owned();
    let public = path("counsel.key.pub");
    run(&["key", "trust", &public, "--as", "counsel", "--for", "rules"]);
    let version = RuleSet::carried("us-ear-enforced-2026-05").unwrap().version;
    let house = CARRIED
        .replacen("id = \"us-ear-enforced-2026-05\"", "id = \"house-rules\"", 1)
        .replacen(&format!("version = {version}\n"), "version = 1\n", 1);
    load(&verifier, &path("house.toml"), &house, &path("counsel.key"));
    let ours = licence::for_site("harbour-1", &[]);
    verifier.load_licence(&ours.replace("\"us-ear-enforced-2026-05\"", "\"house-rules\""));
    verifier.load_licence(&licence::for_site("harbour-2", &[]));
    let outcomes = |site: &Value| -> Vec<(String, String)> {
        let all = site["findings"].as_array().unwrap().iter();
        let text = |v: &Value| v.as_str().unwrap().to_owned();
        all.map(|f| (text(&f["condition"]), text(&f["outcome"])))
            .collect()
    };
    let then = ["--at", "2099-01-01"];
    let before = status(&verifier, &then);
    assert_eq!(before["sites"][0]["rules"]["id"], "house-rules");

    run(&["key", "revoke", &id, "--from", "2026-01-01"]);
    let after = status(&verifier, &then);
    let (lost, other) = (&after["sites"][0], &after["sites"][1]);
    assert_eq!(outcomes(other), outcomes(&before["sites"][1]));
    assert_eq!(lost["rules"], Value::Null);
    let why = "the rule set house-rules, which the licence names, does not count: it is signed with the key of counsel alone, \
               which was revoked: what was filed from 2026-01-01T00:00:00Z on does not count";
    for found in lost["findings"].as_array().unwrap() {
        // How many issuers signed the licence no rule set decides: what is not met without it stays so.
        if found["condition"] == "PER-02" {
            assert_eq!(found["outcome"], "not met", "{found}");
            continue;
        }
        assert_eq!(found["outcome"], "cannot tell", "{found}");
        assert!(found["sentence"].as_str().unwrap().starts_with(why), "{found}");
    }
    let head = verifier.command().arg("status").output().unwrap();
    assert_eq!(head.status.code(), Some(1), "{}", said(&head));
    assert!(
        said(&head).contains("rules house-rules, not at hand"),
        "{}",
        said(&head)
    );
    for (site, known) in [("harbour-1", false), ("harbour-2", true)] {
        let export = ["export", "ear", "--unsigned", "--site", site];
        let output = verifier.command().args(export).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        let ear: Value = serde_json::from_slice(&output.stdout).unwrap();
        let verdict = &ear["submods"][site]["tag:weighbridge.example,2026:verdict/1"];
        assert_eq!(verdict["rule_set"]["sha256"].is_string(), known, "{verdict}");
        let svr = ["export", "svr", "--site", site];
        let output = verifier.command().args(svr).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    }
}

#[test]
fn a_site_is_shown_as_if_another_rule_set_applied_and_nothing_is_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let verifier = Verifier::init(dir.path());
    verifier.load_licence(&licence::for_site("harbour-1", &[]));
    let then = ["--at", "2099-01-01"];
    let real = status(&verifier, &then);
    assert_eq!(finding(&real, "CAP-06")["outcome"], "not applicable");
    let supposed = status(&verifier, &["--what-if", "us-ifr-2025", "--at", "2099-01-01"]);
    assert_eq!(supposed["what_if"]["state"], "in force, not enforced");
    assert_eq!(supposed["sites"][0]["rule_sets"][0], "us-ifr-2025");
    assert_eq!(finding(&supposed, "CAP-06")["outcome"], "cannot tell");
    let text = verifier
        .command()
        .args(["status", "--what-if", "us-ifr-2025", "--at", "2099-01-01"])
        .output()
        .unwrap();
    assert_eq!(text.status.code(), Some(1), "{}", said(&text));
    let head = String::from_utf8_lossy(&text.stdout).into_owned();
    let first =
        "as if us-ifr-2025 (in force, not enforced) applied on 2099-01-01; nothing of this is recorded\n";
    assert!(head.starts_with(first), "{head}");
    assert_eq!(status(&verifier, &then), real);
    let why = ["status", "--what-if", "us-ifr-2025", "--why", "LOC-01"];
    let shown = verifier.command().args(why).output().unwrap();
    assert!(
        said(&shown).contains("us-ifr-2025, version 2, SHA-256 "),
        "{}",
        said(&shown)
    );
}

#[tokio::test]
async fn what_stands_in_a_country_is_counted_over_all_sites_and_a_silent_one_leaves_it_open() {
    let dir = tempfile::tempdir().unwrap();
    let mut verifier = Verifier::init(dir.path());
    let sites = ["harbour-1", "harbour-2"];
    let terms = Terms {
        sites: sites.map(str::to_owned).to_vec(),
        valid_from: now().plus(-7_200),
        // One H100 is 15,832, two are more.
        more: "country_tpp_max = 20_000\n".to_owned(),
        ..Terms::at("harbour")
    };
    verifier.load_licence(&terms.write(&[]));
    verifier.serve();
    let share = |verifier: &Verifier, at: usize| {
        let status = verifier.status();
        let all = status["sites"][at]["findings"].as_array().unwrap();
        all.iter().find(|f| f["condition"] == "CAP-06").unwrap().clone()
    };
    for (at, site) in sites.iter().enumerate() {
        let mut node = SimulatedNode::enrol(&verifier.token(site, &[]), 1, now().plus(-3_600)).await;
        for _ in 0..2 {
            node.report().await;
        }
        for of in 0..sites.len() {
            let found = share(&verifier, of);
            let (outcome, says) = match at {
                0 => ("cannot tell", "no node of site harbour-2 reports here"),
                _ => ("not met", "31,664 TPP were seen in SG"),
            };
            assert_eq!(found["outcome"], outcome, "{found}");
            assert!(found["sentence"].as_str().unwrap().contains(says), "{found}");
        }
    }
}
