//! A catalogue of accelerators that is newer than the programs: signed, trusted, used and named by both.

use serde_json::Value;
use weighbridge::accelerator::Catalogue;
use weighbridge_testbed::licence;
use weighbridge_testbed::process::{Agent, Verifier, must, said};

const CARRIED: &str = include_str!("../../src/accelerator/catalogue.csv");

/// The carried catalogue under the next serial, with one more model.
fn newer() -> (String, u64) {
    let serial = Catalogue::embedded().unwrap().version().serial;
    let row = CARRIED
        .lines()
        .find(|l| l.starts_with("NVIDIA,H200 SXM,"))
        .unwrap();
    let row = row
        .replace("H200 SXM", "H300 SXM")
        .replace("NVIDIA H200", "NVIDIA H300")
        .replace("10de:2335:10de:18be;10de:2335:10de:18bf", "")
        .replace("10de:2335", "10de:f335");
    let text = CARRIED.replacen(
        &format!("serial {serial} "),
        &format!("serial {} ", serial + 1),
        1,
    );
    (format!("{text}{row}\n"), serial + 1)
}

#[test]
fn a_new_model_needs_a_signed_catalogue_and_no_new_release() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (text, serial) = newer();
    let digest = Catalogue::parse(&text).unwrap().digest().to_string();
    std::fs::write(path("catalogue.csv"), text).unwrap();
    let mut verifier = Verifier::init(dir.path());
    let run = |verifier: &Verifier, arguments: &[&str]| must(verifier.command().args(arguments));

    run(&verifier, &["key", "new", &path("maker.key")]);
    let signed = run(
        &verifier,
        &[
            "statement",
            "sign",
            &path("catalogue.csv"),
            "--key",
            &path("maker.key"),
        ],
    );
    assert!(
        signed.contains(&format!("serial {serial} of ")) && signed.contains(&digest),
        "{signed}"
    );
    let file = path("catalogue.csv.dsse");

    // Whoever gets it may look at it; nobody is asked to believe it.
    let shown = verifier
        .command()
        .args(["statement", "show", &file])
        .output()
        .unwrap();
    assert_eq!(shown.status.code(), Some(1), "{}", said(&shown));
    assert!(said(&shown).contains("signature not checked"), "{}", said(&shown));
    run(
        &verifier,
        &[
            "key",
            "trust",
            &path("maker.key.pub"),
            "--as",
            "the maker",
            "--for",
            "catalogues",
        ],
    );
    let listed: Value = serde_json::from_str(&run(&verifier, &["key", "list", "--format", "json"])).unwrap();
    let roles: Vec<&str> = listed["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|k| k["role"].as_str().unwrap())
        .collect();
    assert!(roles.contains(&"catalogues"), "{listed}");
    assert!(run(&verifier, &["statement", "show", &file]).starts_with("signed by the maker\n"));

    // A licence may name the new model as soon as the verifier goes by the new catalogue, and not before.
    let terms = licence::for_site("harbour-1", &[]);
    let draft = format!("{terms}\n[[models]]\ncatalogue_id = \"H300 SXM\"\ncount = 8\n");
    std::fs::write(path("licence.toml"), draft).unwrap();
    let lint = |more: &[&str]| {
        let draft = path("licence.toml");
        verifier
            .command()
            .args(["licence", "lint", &draft])
            .args(more)
            .output()
            .unwrap()
    };
    let old = lint(&[]);
    assert!(
        said(&old).contains("`H300 SXM`, which the catalogue does not hold"),
        "{}",
        said(&old)
    );
    assert!(said(&lint(&["--catalogue", &file])).contains("no mistakes"));

    verifier.set("WEIGHBRIDGE_VERIFIER_CATALOGUE", &file);
    verifier.load_licence(&terms);
    verifier.serve();
    let status = ["status", "--format", "json", "--catalogue", &file];
    let status = verifier.command().args(status).output().unwrap();
    let used = serde_json::from_slice::<Value>(&status.stdout).unwrap()["catalogue"].clone();
    assert_eq!(used["serial"], serial, "{used}");
    assert_eq!(used["sha256"], digest.as_str(), "{used}");
    assert_eq!(used["signed_by"][0], "the maker", "{used}");
    let log = verifier.process().log();
    assert!(
        log.contains(&digest),
        "the one that serves says which it goes by: {log}"
    );

    // The same on a node, which trusts the one key that its operator named.
    let agent = Agent::new(
        dir.path(),
        "node",
        "profile = \"H100\"\ngpus = 1\ntrace = \"idle\"\n",
    );
    let preview = |more: &[&str]| {
        agent
            .command()
            .args(["preview", "--now", "--seconds", "1"])
            .args(more)
            .output()
            .unwrap()
    };
    let key = path("maker.key.pub");
    let plain = preview(&[]);
    let ours = Catalogue::embedded().unwrap().digest().to_string();
    assert!(said(&plain).contains(&ours), "{}", said(&plain));
    let with = preview(&["--catalogue", &file, "--catalogue-key", &key]);
    assert!(
        with.status.success() && said(&with).contains(&digest),
        "{}",
        said(&with)
    );
    for (verb, arguments, why) in [
        (
            "preview",
            vec!["--now", "--seconds", "1", "--catalogue", &file],
            "`catalogue_key` is missing",
        ),
        (
            "measure",
            vec!["--catalogue", &file, "--catalogue-key", &file],
            "holds no public key",
        ),
        (
            "run",
            vec!["--catalogue", &key, "--catalogue-key", &key],
            "it is not signed by a key",
        ),
    ] {
        let output = agent.command().arg(verb).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{verb}: {}", said(&output));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            errors.contains(why) && errors.lines().count() == 1,
            "{verb}: {errors}"
        );
    }

    // Trust that is taken back counts at once: nothing is told by a catalogue that nobody answers for.
    let id = listed["keys"]
        .as_array()
        .unwrap()
        .iter()
        .find(|k| k["role"] == "catalogues")
        .unwrap()["id"]
        .clone();
    run(&verifier, &["key", "revoke", id.as_str().unwrap()]);
    let status = verifier
        .command()
        .args(["status", "--catalogue", &file])
        .output()
        .unwrap();
    assert_eq!(status.status.code(), Some(2), "{}", said(&status));
    assert!(
        said(&status).contains("no key is trusted to sign catalogues yet"),
        "{}",
        said(&status)
    );
}
