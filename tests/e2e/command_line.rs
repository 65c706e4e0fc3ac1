//! What the verifier's command line answers to a wrong input: exit status 2, and one line on standard error that says why.

use std::collections::BTreeSet;
use std::process::Command;
use weighbridge_testbed::licence;
use weighbridge_testbed::process::{Verifier, binary, must, said};

/// The verbs that `--help` lists under the verbs so far, each with the ones under it.
fn verbs(under: &[&str]) -> BTreeSet<String> {
    let help = must(
        Command::new(binary("weighbridge-verifier"))
            .args(under)
            .arg("--help"),
    );
    let Some((_, listed)) = help.split_once("Commands:\n") else {
        return BTreeSet::from([under.join(" ")]);
    };
    listed
        .lines()
        .map_while(|line| line.strip_prefix("  "))
        // What a verb does may take a second line, which is indented further.
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|verb| *verb != "help")
        .flat_map(|verb| verbs(&[under, &[verb]].concat()))
        .collect()
}

#[test]
fn every_verb_says_in_one_line_why_a_wrong_input_could_not_be_used() {
    let dir = tempfile::tempdir().unwrap();
    let verifier = Verifier::init(dir.path());
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let nowhere = dir.path().join("nowhere").display().to_string();
    let nonce = "07".repeat(32);
    let key = dir.path().join("supplier.key").display().to_string();
    must(verifier.command().args(["key", "new", &key]));
    let public = format!("{key}.pub");
    let good = file("good.toml", &licence::for_site("harbour-1", &[]));
    let policy = format!(
        "{}\n[[conditions]]\nid = \"OWN-01\"\ntitle = \"t\"\nseverity = \"minor\"\npolicy = '''\npackage weighbridge\nverdict := http.send({{}})\n'''\n",
        licence::for_site("harbour-1", &[])
    );
    let policy = file("policy.toml", &policy);
    let bad = file("bad.toml", "licence_id = 7\nserial = \"x\"\n");
    let table = include_str!("../../src/accelerator/catalogue.csv");
    let catalogue = file("catalogue.csv", table);
    let formula = file("formula.csv", &table.replacen("names unverified", "=1+1", 1));
    let huge = file("huge.csv", &" ".repeat((4 << 20) + 1));
    let rules = include_str!("../../src/rules/data/contract-only.toml");
    let own_rules = file("own.toml", &rules.replace("contract-only", "house-rules"));
    let forged = file(
        "forged.toml",
        &rules.replace("coverage_min = 0.99", "coverage_min = 0.1"),
    );
    must(
        verifier
            .command()
            .args(["rules", "sign", &own_rules, "--key", &key]),
    );
    let envelope = format!("{own_rules}.dsse");
    let here = verifier.state.display().to_string();
    let elsewhere = ["--state-dir", nowhere.as_str()];
    let accreditation = [
        "A-1",
        "--holder",
        "One LLP",
        "--key",
        &public,
        "--valid-from",
        "2026-01-01",
    ];
    let rows: Vec<(&str, Vec<&str>, &str)> = vec![
        ("init", vec![], "holds a verifier already"),
        ("serve", elsewhere.to_vec(), "holds no verifier"),
        (
            "serve",
            vec!["--round-draws-per-day", "often"],
            "invalid value 'often'",
        ),
        (
            "token new",
            vec!["--site", "harbour-1", "--expires", "2020-01-01"],
            "that time is over",
        ),
        ("token list", elsewhere.to_vec(), "holds no verifier"),
        ("token revoke", vec!["zz"], ""),
        ("node list", elsewhere.to_vec(), "holds no verifier"),
        ("node show", vec!["abcd"], "no node's id begins with `abcd`"),
        ("node approve", vec!["abcd"], "no node's id begins with `abcd`"),
        ("node revoke", vec![""], "a value is required"),
        ("key new", vec![&key], "never overwritten"),
        ("key trust", vec![&key, "--as", "supplier"], "the private half"),
        (
            "key revoke",
            vec!["abcd"],
            "is neither the name nor the id of a key that is trusted",
        ),
        (
            "key revoke",
            vec!["abcd", "--from", "soon"],
            "`soon` is not a time",
        ),
        ("key rotate", vec!["supplier", &key], "the private half"),
        (
            "key show",
            vec!["pkcs11:object=signer"],
            "no module is named that speaks to the token",
        ),
        (
            "key show",
            vec!["pkcs11:object=signer", "--pkcs11-module", &bad],
            "is no PKCS#11 module that can be used",
        ),
        (
            "licence sign",
            vec![&good, "--key", "pkcs11:token=desk"],
            "it names no key",
        ),
        (
            "statement sign",
            vec![&catalogue, "--key", "pkcs11:object=a?pin-value=1234"],
            "a PIN does not belong there",
        ),
        (
            "accreditation add",
            [&accreditation[..], &["--areas", "fysical"]].concat(),
            "did you mean `physical`?",
        ),
        (
            "accreditation add",
            [&accreditation[..], &["--valid-to", "2025-01-01"]].concat(),
            "--valid-to lies before --valid-from",
        ),
        (
            "accreditation add",
            [&accreditation[..], &["--standards", "iso"]].concat(),
            "did you mean `iso-27001`?",
        ),
        (
            "accreditation add",
            [&accreditation[..], &["--sites", " "]].concat(),
            "--sites must have 1 to 256 bytes",
        ),
        ("accreditation list", elsewhere.to_vec(), "holds no verifier"),
        (
            "accreditation withdraw",
            vec!["A-1"],
            "the list holds no accreditation",
        ),
        ("key list", elsewhere.to_vec(), "holds no verifier"),
        ("key show", vec![&nowhere], "cannot be read"),
        ("licence lint", vec![&nowhere], "cannot be read"),
        ("licence sign", vec![&good, "--key", &public], "the public half"),
        ("licence explain", vec![&bad], "line 1"),
        ("licence load", vec![&good], "is not signed"),
        (
            "licence lint",
            vec![&good, "--catalogue", &catalogue],
            "no key is trusted to sign catalogues yet",
        ),
        (
            "statement sign",
            vec![&good, "--key", &key],
            "is no document of a kind",
        ),
        (
            "statement sign",
            vec![&formula, "--key", &key],
            "begins like a formula",
        ),
        (
            "statement sign",
            vec![&catalogue, "--key", &public],
            "the public half",
        ),
        ("statement new", vec!["tranfer"], "did you mean `transfer`?"),
        ("statement schema", vec!["papers"], "is no kind of statement"),
        ("statement kinds", vec!["rma"], "unexpected argument 'rma'"),
        ("statement attach", vec![&nowhere], "cannot be read"),
        (
            "statement verify",
            vec![&good],
            "none is trusted to sign statements",
        ),
        (
            "statement verify",
            vec![&good, "--key", &public],
            "is no statement that can be used",
        ),
        ("statement load", vec![&good], "is not signed"),
        ("statement show", vec![&nowhere], "cannot be read"),
        ("statement show", vec![&huge], "cannot be read"),
        (
            "serve",
            vec!["--catalogue", &catalogue],
            "no key is trusted to sign catalogues yet",
        ),
        (
            "status",
            vec!["--catalogue", &nowhere],
            "no key is trusted to sign catalogues yet",
        ),
        ("rules list", vec!["--format", "xml"], "invalid value 'xml'"),
        (
            "rules show",
            vec!["us-ifr-2052"],
            "`us-ifr-2052` is not at hand: did you mean `us-ifr-2025`?",
        ),
        (
            "rules show",
            vec!["us-ifr-2025", "--revision", "99"],
            "in version 2, not in that one",
        ),
        (
            "rules show",
            vec!["us-ifr-2025", "--toml", "--format", "json"],
            "cannot be used with '--format <FORMAT>'",
        ),
        ("rules lint", vec![&nowhere], "cannot be read"),
        ("rules lint", vec![&good, "--base", &nowhere], "cannot be read"),
        (
            "rules sign",
            vec![&bad, "--key", &key],
            "is no rule set that can be used",
        ),
        (
            "rules sign",
            vec![&own_rules, "--key", &public],
            "the public half",
        ),
        (
            "rules sign",
            vec![&forged, "--key", &key],
            "a change needs a new version",
        ),
        ("rules load", vec![&own_rules], "is not signed"),
        ("rules load", vec![&catalogue], "is not signed"),
        (
            "rules load",
            vec![&envelope],
            "no key is trusted to sign rules yet",
        ),
        (
            "rules load",
            [&[envelope.as_str()][..], &elsewhere[..]].concat(),
            "holds no verifier",
        ),
        (
            "status",
            vec!["--what-if", "us-ifr"],
            "rule set `us-ifr` is not at hand",
        ),
        (
            "status",
            vec!["--what-if", "us-ifr-2025", "--compute"],
            "cannot be used with",
        ),
        (
            "status",
            vec!["--what-if", "us-ifr-2025", "--at", "soon"],
            "invalid value 'soon'",
        ),
        (
            "key trust",
            vec![&public, "--as", "maker", "--for", "everything"],
            "invalid value 'everything'",
        ),
        ("evidence gpu", vec![&nowhere, "--chain", &good], "cannot be read"),
        ("evidence host", vec![&nowhere], "cannot be read"),
        (
            "evidence rim",
            vec![&good, "--at", "yesterday"],
            "--at cannot be used",
        ),
        ("evidence chain", vec![&nowhere], "cannot be read"),
        // Neither answers a nonce, so none is taken to be checked.
        (
            "evidence rim",
            vec![&good, "--nonce", &nonce],
            "unexpected argument '--nonce'",
        ),
        (
            "evidence chain",
            vec![&good, "--nonce", &nonce],
            "unexpected argument '--nonce'",
        ),
        (
            "evidence gpu",
            vec![&nowhere, "--chain", &good, "--format", "swid"],
            "invalid value 'swid'",
        ),
        ("evidence nras", vec![&good], "is no result of NRAS"),
        (
            "evidence nras",
            vec![&good, "--report", &good],
            "each report needs its --chain",
        ),
        ("evidence collateral add", vec![&nowhere], "cannot be read"),
        ("evidence collateral export", vec![&good], "is not overwritten"),
        (
            "evidence collateral list",
            elsewhere.to_vec(),
            "holds no verifier",
        ),
        ("status", vec!["--why", "INV-99"], "`INV-99` is not one of"),
        ("status", vec!["--history", "INV-99"], "`INV-99` is not one of"),
        (
            "status",
            vec!["--history", "INV-01", "--why", "INV-01"],
            "cannot be used with",
        ),
        (
            "status",
            vec!["--history", "INV-01", "--site", "nowhere"],
            "no finding of INV-01 is recorded for site `nowhere`",
        ),
        (
            "status",
            vec!["--compute", "--period", "2026-03-31/2026-01-01"],
            "ends before it starts",
        ),
        (
            "status",
            vec!["--compute", "--period", "week"],
            "must be day, quarter, year, or two days",
        ),
        (
            "status",
            vec!["--compute", "--by", "person"],
            "invalid value 'person'",
        ),
        (
            "status",
            vec!["--by", "node"],
            "required arguments were not provided",
        ),
        (
            "status",
            vec!["--compute", "--why", "INV-01"],
            "cannot be used with",
        ),
        (
            "status",
            vec!["--compute", "--site", "nowhere"],
            "no node reports from site `nowhere`",
        ),
        (
            "export ear",
            vec!["--site", "nowhere"],
            "no licence covers site `nowhere`",
        ),
        (
            "export ear",
            vec!["--site", "harbour-1", "--unsigned", "--key", &key],
            "cannot be used with",
        ),
        (
            "export svr",
            vec!["--site", "harbour-1", "--key", &public],
            "the public half",
        ),
        (
            "export svr",
            vec!["--licence", "L-1"],
            "required arguments were not provided",
        ),
        ("licence lint", vec![&policy, "--key", "x"], "unexpected argument"),
        (
            "licence sign",
            vec![&policy, "--key", &key],
            "calls `http.send`, which no policy here may call",
        ),
        ("weigh", vec![], "unrecognized subcommand"),
    ];
    for (verb, arguments, why) in &rows {
        let mut command = Command::new(binary("weighbridge-verifier"));
        // A row that names a directory of its own stands in none of the others'.
        if !arguments.contains(&"--state-dir") {
            command.args(["--state-dir", &here]);
        }
        let output = command
            .args(verb.split(' '))
            .args(arguments)
            .env_remove("RUST_LOG")
            .output()
            .unwrap();
        let (code, errors) = (output.status.code(), String::from_utf8_lossy(&output.stderr));
        assert_eq!(code, Some(2), "{verb}: {}", said(&output));
        assert!(output.stdout.is_empty(), "{verb}: {}", said(&output));
        assert_eq!(errors.lines().count(), 1, "{verb}: {errors}");
        assert!(
            errors.starts_with("weighbridge-verifier: ") && errors.contains(why),
            "{verb}, which should say `{why}`: {errors}"
        );
    }
    let tried: BTreeSet<String> = rows.iter().map(|(verb, ..)| (*verb).to_owned()).collect();
    let all = verbs(&[]);
    assert!(all.contains("node show") && all.contains("status"), "{all:?}");
    let untried: Vec<_> = all.difference(&tried).collect();
    assert!(untried.is_empty(), "give each a row above: {untried:?}");
}

#[test]
fn a_token_for_a_site_that_no_licence_names_is_made_with_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let verifier = Verifier::init(dir.path());
    verifier.load_licence(&licence::for_site("harbour-1", &[]));
    for (site, warned) in [("harbour-1", false), ("harbuor-1", true)] {
        let mut command = verifier.command();
        let output = command.args(["token", "new", "--site", site]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        assert!(output.stdout.starts_with(b"wb1."), "{}", said(&output));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            errors.contains("no loaded licence names this site"),
            warned,
            "{errors}"
        );
    }
}
