//! Statements from an empty draft to a checked signature, by the commands that people give, and through others' tools.

use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Command, Output};
use tempfile::TempDir;
use weighbridge::crypto::dsse;
use weighbridge::statement::{self, Kind, PAYLOAD_TYPE};
use weighbridge_testbed::licence;
use weighbridge_testbed::process::{Verifier, binaries, must, said};

/// A desk with a verifier that nobody runs, and two keys.
struct Desk {
    dir: TempDir,
    verifier: Verifier,
}

impl Desk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let verifier = Verifier::init(dir.path());
        let desk = Self { dir, verifier };
        desk.run(&["key", "new", &desk.path("operator.key")]);
        desk.run(&["key", "new", &desk.path("assessor.key")]);
        desk
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    fn run(&self, arguments: &[&str]) -> String {
        must(self.verifier.command().args(arguments))
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        self.verifier.command().args(arguments).output().unwrap()
    }

    /// A template as its kind's first role may sign it.
    fn draft(&self, kind: &str) -> String {
        let role = Kind::named(kind).unwrap().roles[0].text();
        self.run(&["statement", "new", kind])
            .replace("role = \"operator\"", &format!("role = \"{role}\""))
            .replace("# sites = ", "sites = ")
    }

    fn signed(&self, kind: &str) -> String {
        let draft = self.write(&format!("{kind}.toml"), &self.draft(kind));
        self.run(&["statement", "sign", &draft, "--key", &self.path("operator.key")]);
        format!("{draft}.dsse")
    }
}

/// Others' tools, where they are installed.
pub(crate) fn others(script: &[&str]) -> Option<Output> {
    let python = binaries().parent()?.join("python/bin/python3");
    let has = Command::new(&python)
        .args(["-c", "import securesystemslib, jsonschema, cryptography"])
        .output();
    if !has.is_ok_and(|o| o.status.success()) {
        eprintln!(
            "skipped: securesystemslib and jsonschema are not installed; .ci/ensure-test-tools installs them"
        );
        return None;
    }
    let file: PathBuf = [env!("CARGO_MANIFEST_DIR"), "client/statements.py"]
        .iter()
        .collect();
    Some(Command::new(python).arg(file).args(script).output().unwrap())
}

#[test]
fn a_draft_is_filled_in_signed_by_two_and_checked() {
    let desk = Desk::new();
    let photograph = desk.write("seal.jpg", "a seal");
    let tables = desk.run(&["statement", "attach", &photograph]);
    assert!(
        tables.contains("name = \"seal.jpg\"\nmedia_type = \"image/jpeg\""),
        "{tables}"
    );
    let draft = desk.draft("transfer");
    let (head, claims) = draft.split_once("\n[claims]").unwrap();
    let file = desk.write("t.toml", &format!("{head}\n{tables}\n[claims]{claims}"));
    let operator = desk.path("operator.key");
    let told = desk.run(&["statement", "sign", &file, "--key", &operator]);
    assert!(
        told.starts_with("transfer 2026-0001 of Harbour Compute Pte. Ltd. (operator), signed in "),
        "{told}"
    );
    let signed = format!("{file}.dsse");
    let (mine, theirs) = (desk.path("operator.key.pub"), desk.path("assessor.key.pub"));

    // Both must have signed: the second has not yet.
    let verify = |keys: &[&str], files: &[&str]| {
        let mut arguments = vec!["statement", "verify", &signed];
        keys.iter().for_each(|k| arguments.extend(["--key", k]));
        files.iter().for_each(|f| arguments.extend(["--attachment", f]));
        desk.ask(&arguments)
    };
    let one = verify(&[&mine, &theirs], &[&photograph]);
    assert_eq!(one.status.code(), Some(1), "{}", said(&one));
    assert!(said(&one).contains("NOT signed by "), "{}", said(&one));
    desk.run(&["statement", "sign", &signed, "--key", &desk.path("assessor.key")]);
    let both = verify(&[&mine, &theirs], &[&photograph]);
    assert_eq!(both.status.code(), Some(0), "{}", said(&both));
    assert!(
        said(&both).contains("seal.jpg is the file that it names"),
        "{}",
        said(&both)
    );
    // What was not looked at does not count as checked, and what does not belong to it is said.
    let unseen = verify(&[&mine], &[]);
    assert_eq!(unseen.status.code(), Some(1));
    assert!(
        said(&unseen).contains("seal.jpg was not checked"),
        "{}",
        said(&unseen)
    );
    let stranger = desk.write("other.jpg", "another seal");
    let strange = verify(&[&mine], &[&photograph, &stranger]);
    assert_eq!(strange.status.code(), Some(1));
    assert!(
        said(&strange).contains("other.jpg is NONE of the files"),
        "{}",
        said(&strange)
    );

    // A key that signed nothing; then a byte that was changed.
    desk.run(&["key", "new", &desk.path("stranger.key")]);
    let refused = verify(&[&desk.path("stranger.key.pub")], &[&photograph]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        said(&refused).contains("none of the 1 keys that may sign this signed it"),
        "{}",
        said(&refused)
    );
    let mut envelope: Value = serde_json::from_str(&std::fs::read_to_string(&signed).unwrap()).unwrap();
    let other = dsse::sign(PAYLOAD_TYPE, b"{}", &[]).unwrap();
    envelope["payload"] = serde_json::from_str::<Value>(&other).unwrap()["payload"].clone();
    std::fs::write(&signed, envelope.to_string()).unwrap();
    assert_eq!(verify(&[&mine], &[&photograph]).status.code(), Some(2));
}

#[test]
fn whoever_reads_a_statement_sees_whether_its_signer_is_trusted() {
    let desk = Desk::new();
    let signed = desk.signed("maintenance");
    let shown = desk.ask(&["statement", "show", &signed]);
    assert_eq!(shown.status.code(), Some(1));
    let text = said(&shown);
    assert!(
        text.starts_with("signature not checked: no key is trusted to sign statements"),
        "{text}"
    );
    assert!(
        text.contains(" reason: Replacement of the cooling of hall 2."),
        "{text}"
    );
    assert!(text.contains(" sites: harbour-1"), "{text}");
    let unknown = desk.ask(&["statement", "verify", &signed]);
    assert_eq!(unknown.status.code(), Some(2), "no key is no check");

    desk.run(&[
        "key",
        "trust",
        &desk.path("operator.key.pub"),
        "--as",
        "Harbour",
        "--for",
        "statements",
    ]);
    assert!(
        desk.run(&["statement", "show", &signed])
            .starts_with("signed by Harbour\n")
    );
    assert!(
        desk.run(&["statement", "verify", &signed])
            .contains(" signed by Harbour\n")
    );
    // Whose statements are heard issues no licence by that.
    let licence = desk.ask(&["licence", "load", &signed]);
    assert_eq!(licence.status.code(), Some(2));
    // A draft says what it would say.
    let draft = desk.run(&["statement", "show", &desk.path("maintenance.toml")]);
    assert!(draft.contains("maintenance window 2026-0001"), "{draft}");
}

#[test]
fn bad_input_gets_one_line_and_signs_nothing() {
    let desk = Desk::new();
    let key = desk.path("operator.key");
    let good = desk.draft("transfer");
    for (name, text, expected) in [
        ("misspelt", good.replace("to_site", "to_sight"), "is not a key"),
        (
            "kindless",
            good.replace("\"transfer\"", "\"tarnsfer\""),
            "did you mean `transfer`?",
        ),
        (
            "early",
            good.replace("valid_to = 2027-11-30", "valid_to = 2020-01-01"),
            "`valid_to` lies before it begins",
        ),
        (
            "wrong-role",
            good.replace("role = \"operator\"", "role = \"assessor\""),
            "a transfer is for `operator`, `supplier` to give",
        ),
        ("binary", "\u{0}\u{1}".to_owned(), "is no document of a kind"),
        (
            "bomb",
            format!("statement = {}", "[".repeat(100_000)),
            "max recursion depth met",
        ),
        ("huge", " ".repeat(5 << 20), "cannot be read"),
    ] {
        let file = desk.write(&format!("{name}.toml"), &text);
        let told = desk.ask(&["statement", "sign", &file, "--key", &key]);
        assert_eq!(told.status.code(), Some(2), "{name}: {}", said(&told));
        let error = String::from_utf8(told.stderr).unwrap();
        assert_eq!(error.lines().count(), 1, "{name}: {error}");
        assert!(error.contains(expected), "{name}: {error}");
        assert!(!std::fs::exists(format!("{file}.dsse")).unwrap(), "{name}");
    }
    // What a stranger wrote does not act on the reader's terminal.
    let claims = json!({ "_type": statement::STATEMENT_TYPE, "\u{1b}[2J": 1 });
    let strange = dsse::sign(PAYLOAD_TYPE, claims.to_string().as_bytes(), &[]).unwrap();
    let told = desk.ask(&["statement", "show", &desk.write("strange.dsse", &strange)]);
    assert_eq!(told.status.code(), Some(2));
    let error = String::from_utf8(told.stderr).unwrap();
    assert!(error.contains("[2J") && !error.contains('\u{1b}'), "{error:?}");
    let told = desk.ask(&["statement", "new", "tranfer"]);
    assert!(
        said(&told).contains("did you mean `transfer`?"),
        "{}",
        said(&told)
    );
}

#[test]
fn others_tools_read_our_statements_and_we_read_theirs() {
    let desk = Desk::new();
    let public = desk.path("operator.key.pub");
    let papers = desk.path("papers");
    std::fs::create_dir(&papers).unwrap();
    for kind in Kind::ALL {
        let schema = desk.run(&["statement", "schema", kind.name]);
        desk.write(&format!("papers/{}.json", kind.name), &schema);
        let (payload, _) = statement::payload(&desk.draft(kind.name)).unwrap();
        let mut value: Value = serde_json::from_slice(&payload).unwrap();
        value["predicate"]["claims"]["surprise"] = json!(1);
        // A schema that lets anything pass would prove nothing.
        let wrong = dsse::sign(PAYLOAD_TYPE, value.to_string().as_bytes(), &[]).unwrap();
        desk.write(&format!("papers/{}.wrong.dsse", kind.name), &wrong);
        std::fs::rename(
            desk.signed(kind.name),
            format!("{papers}/{}.toml.dsse", kind.name),
        )
        .unwrap();
    }
    let Some(told) = others(&["check", &papers, &public]) else {
        return;
    };
    assert!(told.status.success(), "{}", said(&told));
    assert_eq!(said(&told).trim(), Kind::ALL.len().to_string());
    let (payload, _) = statement::payload(&desk.draft("transfer")).unwrap();
    std::fs::write(desk.path("payload"), payload).unwrap();
    let (theirs, their_key) = (desk.path("theirs.dsse"), desk.path("theirs.pub"));
    let told = others(&["sign", &desk.path("payload"), &theirs, &their_key]).unwrap();
    assert!(told.status.success(), "{}", said(&told));
    desk.run(&["statement", "verify", &theirs, "--key", &their_key]);
}

#[test]
fn a_statement_on_file_settles_a_condition_and_nobody_else_s_does() {
    let desk = Desk::new();
    let supplier = desk.path("supplier.key");
    desk.run(&["key", "new", &supplier]);
    desk.run(&["key", "trust", &format!("{supplier}.pub"), "--as", "supplier"]);
    let pem = std::fs::read_to_string(desk.path("assessor.key.pub")).unwrap();
    let key = pem.lines().nth(1).unwrap();
    let licence = licence::for_site("harbour-1", &[]);
    let signers = format!(
        "{licence}\n[[signers]]\nname = \"Harbour Compute Pte. Ltd.\"\nrole = \"assessor\"\nkey = \"{key}\"\naccreditation = \"A-1234\"\n"
    );
    let load = |name: &str, text: &str| {
        let file = desk.write(name, text);
        desk.run(&["licence", "sign", &file, "--key", &supplier]);
        desk.run(&["licence", "load", &format!("{file}.dsse")]);
    };
    let draft = desk
        .draft("security-attestation")
        .replace("2026-11-20T08:00:00Z", "2026-11-24T08:00:00Z");
    let file = desk.write("attestation.toml", &draft);
    desk.run(&["statement", "sign", &file, "--key", &desk.path("assessor.key")]);
    let signed = format!("{file}.dsse");
    let forged = desk.write("forged.toml", &draft);
    desk.run(&["statement", "sign", &forged, "--key", &desk.path("operator.key")]);
    let forged = format!("{forged}.dsse");

    // A licence that names nobody hears nobody.
    load("first.toml", &licence);
    let deaf = desk.ask(&["statement", "load", &signed]);
    assert_eq!(deaf.status.code(), Some(2), "{}", said(&deaf));
    assert!(
        said(&deaf).contains("no licence that is loaded here says whose statements are heard"),
        "{}",
        said(&deaf)
    );
    load("second.toml", &signers.replacen("serial = 1", "serial = 2", 1));
    assert_eq!(desk.verifier.finding("PHY-01").0, "cannot tell");
    let refused = desk.ask(&["statement", "load", &forged]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        said(&refused).contains("none of the 1 keys that may sign this signed it"),
        "{}",
        said(&refused)
    );
    assert_eq!(desk.verifier.finding("PHY-01").0, "cannot tell");

    // Nor is one filed that the licence does not hear about any of its sites.
    for (name, from, to, why) in [
        ("other", "A-1234", "A-9", "does not name A-1234"),
        (
            "elsewhere",
            "harbour-1",
            "harbour-9",
            "concerns no site of a licence",
        ),
    ] {
        let file = desk.write(&format!("{name}.toml"), &draft.replace(from, to));
        desk.run(&["statement", "sign", &file, "--key", &desk.path("assessor.key")]);
        let deaf = desk.ask(&["statement", "load", &format!("{file}.dsse")]);
        assert_eq!(deaf.status.code(), Some(2), "{}", said(&deaf));
        assert!(said(&deaf).contains(why), "{}", said(&deaf));
    }

    let filed = desk.run(&["statement", "load", &signed]);
    assert!(filed.contains(" is on file, SHA-256 "), "{filed}");
    let (outcome, sentence) = desk.verifier.finding("PHY-01");
    assert_eq!(outcome, "met", "{sentence}");
    assert!(
        sentence.contains("finds physical security satisfied against nist-800-53"),
        "{sentence}"
    );
    // Filed again it is the same. The same bytes that another signed are filed for the other too, so that it may be heard where the first is not.
    desk.run(&["statement", "load", &signed]);
    let pem = std::fs::read_to_string(desk.path("operator.key.pub")).unwrap();
    let both = |name: &str| {
        format!(
            "{signers}\n[[signers]]\nname = \"{name}\"\nrole = \"assessor\"\nkey = \"{}\"\n",
            pem.lines().nth(1).unwrap()
        )
    };
    // Another party's key does not speak in the issuer's name; a second key of the issuer's does.
    load(
        "other.toml",
        &both("Second Assessors").replacen("serial = 1", "serial = 3", 1),
    );
    let refused = desk.ask(&["statement", "load", &forged]);
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    assert!(
        said(&refused).contains("the licence knows its key as that of Second Assessors"),
        "{}",
        said(&refused)
    );
    load(
        "both.toml",
        &both("Harbour Compute Pte. Ltd.").replacen("serial = 1", "serial = 4", 1),
    );
    desk.run(&["statement", "load", &forged]);
    let second = signers.replace(key, pem.lines().nth(1).unwrap());
    load("one.toml", &second.replacen("serial = 1", "serial = 5", 1));
    assert_eq!(desk.verifier.finding("PHY-01").0, "met");
    // A licence that no longer names a signer hears it no more, and the ledger keeps what it said.
    load("third.toml", &licence.replacen("serial = 1", "serial = 6", 1));
    assert_eq!(desk.verifier.finding("PHY-01").0, "cannot tell");
    let status = desk.verifier.status();
    assert!(
        status["passed_over"].to_string().contains("is not heard"),
        "{status}"
    );
}
