//! Keys that are lost, follow each other or lie in tokens, and assessors who are accredited for less than they say.

use data_encoding::BASE64;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;
use weighbridge::crypto::{Algorithm, Entropy, PublicKey, SecretKey, Signer};
use weighbridge::statement::Kind;
use weighbridge_testbed::licence;
use weighbridge_testbed::process::{Verifier, must, said};

const ISSUER: &str = "Harbour Compute Pte. Ltd.";

/// A verifier that nobody runs, whose licence hears one assessor and the operator.
pub(super) struct Desk {
    dir: TempDir,
    pub(super) verifier: Verifier,
}

impl Desk {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let verifier = Verifier::init(dir.path());
        let desk = Self { dir, verifier };
        for name in ["supplier", "assessor", "operator", "new"] {
            desk.run(&["key", "new", &desk.path(&format!("{name}.key"))]);
        }
        desk.run(&["key", "trust", &desk.path("supplier.key.pub"), "--as", "supplier"]);
        let mut text = licence::for_site("harbour-1", &[]);
        for (name, role) in [("assessor", "assessor"), ("operator", "operator")] {
            let pem = std::fs::read_to_string(desk.path(&format!("{name}.key.pub"))).unwrap();
            let key = pem.lines().nth(1).unwrap();
            text.push_str(&format!(
                "\n[[signers]]\nname = \"{ISSUER}\"\nrole = \"{role}\"\nkey = \"{key}\"\n"
            ));
        }
        let file = desk.write("licence.toml", &text);
        desk.run(&["licence", "sign", &file, "--key", &desk.path("supplier.key")]);
        desk.run(&["licence", "load", &format!("{file}.dsse")]);
        desk
    }

    pub(super) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    pub(super) fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    pub(super) fn run(&self, arguments: &[&str]) -> String {
        must(self.verifier.command().args(arguments))
    }

    /// What a command that could not be done says, in its one line.
    pub(super) fn refused(&self, arguments: &[&str]) -> String {
        let told = self.verifier.command().args(arguments).output().unwrap();
        one_line(&told)
    }

    fn id(&self, key: &str) -> String {
        let shown = self.run(&["key", "show", &self.path(key)]);
        shown.split_whitespace().next().unwrap().to_owned()
    }

    /// An attestation of the assessor, signed and put on file.
    fn attest(&self, number: &str) -> Output {
        let kind = Kind::named("security-attestation").unwrap();
        let draft = self
            .run(&["statement", "new", kind.name])
            .replace("role = \"operator\"", "role = \"assessor\"")
            .replace("# sites = ", "sites = ")
            .replace("id = \"2026-0001\"", &format!("id = \"{number}\""));
        let file = self.write(&format!("{number}.toml"), &draft);
        self.run(&["statement", "sign", &file, "--key", &self.path("assessor.key")]);
        let load = ["statement", "load", &format!("{file}.dsse")];
        self.verifier.command().args(load).output().unwrap()
    }

    fn accredit(&self, more: &[&str]) -> String {
        let key = self.path("assessor.key.pub");
        let mut arguments = vec!["accreditation", "add", "A-1234", "--holder", ISSUER];
        arguments.extend(["--key", &key, "--valid-from", "2026-01-01"]);
        arguments.extend(more);
        self.run(&arguments)
    }
}

pub(super) fn one_line(told: &Output) -> String {
    assert_eq!(told.status.code(), Some(2), "{}", said(told));
    let error = String::from_utf8(told.stderr.clone()).unwrap();
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

#[test]
fn a_revoked_assessor_is_silent_from_then_on_and_the_finding_says_who_silenced_it() {
    let desk = Desk::new();
    assert!(desk.attest("first").status.success());
    assert_eq!(desk.verifier.finding("PHY-01").0, "met");
    // By its name it is one of two keys, so that somebody must say which.
    let told = desk.refused(&["key", "revoke", ISSUER]);
    assert!(
        told.contains("has several keys, so say which by its id"),
        "{told}"
    );
    let assessor = desk.id("assessor.key");
    let told = desk.refused(&["key", "rotate", &assessor, &desk.path("new.key.pub")]);
    assert!(
        told.contains("only its issuer can put another in its place"),
        "{told}"
    );
    let told = desk.refused(&["key", "revoke", &assessor, "--from", "2099-01-01"]);
    assert!(
        told.contains("a revocation cannot count from 2099-01-01"),
        "{told}"
    );

    desk.run(&["key", "revoke", &assessor]);
    assert_eq!(desk.verifier.finding("PHY-01").0, "met", "it was filed before");
    let told = one_line(&desk.attest("second"));
    assert!(told.contains("was revoked by the checker from"), "{told}");
    let listed = desk.run(&["key", "list"]);
    assert!(
        listed.contains(&format!("{assessor} -")) && listed.contains("revoked from"),
        "{listed}"
    );
    // It was lost earlier than was known at first.
    desk.run(&["key", "revoke", &assessor, "--from", "2026-01-01"]);
    let (outcome, sentence) = desk.verifier.finding("PHY-01");
    assert_eq!(outcome, "cannot tell");
    assert!(
        sentence.contains("was revoked by the checker from 2026-01-01T00:00:00Z on"),
        "{sentence}"
    );
}

#[test]
fn an_issuer_s_new_key_takes_the_old_one_s_place() {
    let desk = Desk::new();
    let (old, new) = (desk.id("supplier.key"), desk.path("new.key.pub"));
    let told = desk.run(&["key", "rotate", "supplier", &new]);
    assert!(
        told.contains(&format!("takes the place of key {old} of supplier")),
        "{told}"
    );
    let status = desk.verifier.status();
    assert_eq!(status["sites"].as_array().unwrap().len(), 1, "{status}");
    assert_eq!(status["passed_over"].as_array().unwrap().len(), 0, "{status}");
    let text = std::fs::read_to_string(desk.path("licence.toml")).unwrap();
    let file = desk.write("next.toml", &text.replacen("serial = 1", "serial = 2", 1));
    desk.run(&["licence", "sign", &file, "--key", &desk.path("supplier.key")]);
    let told = desk.refused(&["licence", "load", &format!("{file}.dsse")]);
    assert!(
        told.contains("signed with the key of supplier alone, which was revoked"),
        "{told}"
    );
    desk.run(&["licence", "sign", &file, "--key", &desk.path("new.key")]);
    desk.run(&["licence", "load", &format!("{file}.dsse")]);
    assert_eq!(desk.verifier.status()["sites"][0]["serial"], 2);
}

#[test]
fn an_assessor_counts_as_far_as_the_checker_s_list_says() {
    let desk = Desk::new();
    assert!(desk.attest("first").status.success());
    assert_eq!(desk.verifier.finding("PHY-01").0, "met", "the list is empty");
    for (scope, why) in [
        (&["--sites", "harbour-9"][..], "covers site harbour-9 only"),
        (&["--areas", "cyber,personnel"], "covers cyber, personnel only"),
        (&["--valid-to", "2026-01-02"], "ended on 2026-01-03T00:00:00Z"),
    ] {
        desk.accredit(scope);
        let (outcome, sentence) = desk.verifier.finding("PHY-01");
        assert_eq!(outcome, "cannot tell", "{sentence}");
        assert!(sentence.contains(why), "{why}: {sentence}");
        let told = one_line(&desk.attest("later"));
        assert!(told.contains(why), "{told}");
    }
    desk.accredit(&["--sites", "harbour-1", "--areas", "physical"]);
    assert_eq!(desk.verifier.finding("PHY-01").0, "met");
    let told = desk.refused(&["accreditation", "withdraw", "A-9"]);
    assert!(told.contains("the list holds no accreditation `A-9`"), "{told}");
    // Withdrawn, it stays on the list: an empty one would let every assessor speak again.
    desk.run(&["accreditation", "withdraw", "A-1234"]);
    assert_eq!(desk.verifier.finding("PHY-01").0, "met", "it was filed before");
    desk.run(&["accreditation", "withdraw", "A-1234", "--from", "2026-02-01"]);
    let (outcome, sentence) = desk.verifier.finding("PHY-01");
    assert_eq!(outcome, "cannot tell");
    assert!(
        sentence.contains("ended on 2026-02-01T00:00:00Z, before it was on file"),
        "{sentence}"
    );

    // Neither a second withdrawal nor another entry changes that.
    let told = desk.refused(&["accreditation", "withdraw", "A-1234"]);
    assert!(
        told.contains("was withdrawn from 2026-02-01T00:00:00Z on already"),
        "{told}"
    );
    let key = desk.path("assessor.key.pub");
    let add = [
        "accreditation",
        "add",
        "A-1234",
        "--holder",
        ISSUER,
        "--key",
        &key,
    ];
    let told = desk.refused(&[&add[..], &["--valid-from", "2026-01-01"]].concat());
    assert!(
        told.contains("give --valid-from 2026-02-01T00:00:00Z or later"),
        "{told}"
    );
    let (_, still) = desk.verifier.finding("PHY-01");
    assert_eq!(still, sentence);
    // Accredited anew from a later day, what is issued from then on is heard; the old entry stays.
    desk.run(&[&add[..], &["--valid-from", "2026-02-01"]].concat());
    assert_eq!(desk.verifier.finding("PHY-01").0, "met");
    let listed = desk.run(&["accreditation", "list", "--format", "json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let withdrawn: Vec<_> = listed["accreditations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["withdrawn"].is_null())
        .collect();
    assert_eq!(withdrawn, [false, true], "{listed}");
}

#[test]
fn a_statement_that_is_dated_in_the_future_is_not_filed() {
    let desk = Desk::new();
    let draft = desk
        .run(&["statement", "new", "maintenance"])
        .replace("issued = 2026-11-20T08:00:00Z", "issued = 2090-01-01")
        .replace("valid_to = 2027-11-30", "valid_to = 2091-01-01");
    let file = desk.write("future.toml", &draft);
    desk.run(&["statement", "sign", &file, "--key", &desk.path("operator.key")]);
    let told = desk.refused(&["statement", "load", &format!("{file}.dsse")]);
    assert!(
        told.contains("is dated in the future: issued on 2090-01-01"),
        "{told}"
    );
}

/// A token in software, if one is installed.
struct Token {
    module: PathBuf,
    settings: PathBuf,
}

impl Token {
    const PIN: &'static str = "12-desk-34";

    fn new(dir: &Path) -> Option<Self> {
        let places = [
            "/usr/lib/softhsm",
            "/usr/lib64/softhsm",
            "/usr/lib64/pkcs11",
            "/usr/local/lib/softhsm",
        ];
        let module = places
            .iter()
            .map(|p| Path::new(p).join("libsofthsm2.so"))
            .find(|p| p.exists());
        let tool = Command::new("softhsm2-util").arg("--version").output();
        let (Some(module), Ok(_)) = (module, tool) else {
            eprintln!("skipped: softhsm2 is not installed; .ci/ensure-test-tools installs it");
            return None;
        };
        let (settings, tokens) = (dir.join("softhsm2.conf"), dir.join("tokens"));
        std::fs::create_dir(&tokens).unwrap();
        std::fs::write(
            &settings,
            format!("directories.tokendir = {}\n", tokens.display()),
        )
        .unwrap();
        let token = Self { module, settings };
        let init = [
            "--init-token",
            "--free",
            "--label",
            "The desk",
            "--so-pin",
            "1234567890",
        ];
        must(token.tool().args(init).args(["--pin", Self::PIN]));
        Some(token)
    }

    fn tool(&self) -> Command {
        let mut command = Command::new("softhsm2-util");
        command.env("SOFTHSM2_CONF", &self.settings);
        command
    }

    /// Puts a key into it.
    fn import(&self, dir: &Path, label: &str, id: &str, key: &SecretKey) {
        let pkcs8 = match key.public_key().algorithm() {
            // The first version of PKCS#8, without the public key, which OpenSSL reads.
            Algorithm::Ed25519 => {
                let head = [
                    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22,
                ];
                [&head[..], &key.pkcs8()[14..48]].concat()
            }
            _ => key.pkcs8().to_vec(),
        };
        let file = dir.join(format!("{label}.pem"));
        std::fs::write(&file, weighbridge::crypto::pem_encode("PRIVATE KEY", &pkcs8)).unwrap();
        let import = [
            "--token",
            "The desk",
            "--label",
            label,
            "--id",
            id,
            "--pin",
            Self::PIN,
        ];
        must(self.tool().arg("--import").arg(&file).args(import));
    }
}

#[test]
fn a_document_is_signed_with_a_key_that_never_leaves_its_token() {
    let desk = Desk::new();
    let Some(token) = Token::new(desk.dir.path()) else {
        return;
    };
    let text = std::fs::read_to_string(desk.path("licence.toml")).unwrap();
    let licence = desk.write("token.toml", &text);
    let statement = desk.write("window.toml", &desk.run(&["statement", "new", "maintenance"]));
    let pin = desk.write("pin", &format!("{}\n", Token::PIN));
    let ask = |arguments: &[&str]| {
        let mut command = desk.verifier.command();
        command.env("SOFTHSM2_CONF", &token.settings);
        command.arg("--pkcs11-module").arg(&token.module).args(arguments);
        command
    };
    for (label, id, algorithm) in [
        ("edwards", "01", Algorithm::Ed25519),
        ("nist", "02", Algorithm::EcdsaP256),
    ] {
        let key = SecretKey::generate(algorithm, &Entropy::system()).unwrap();
        token.import(desk.dir.path(), label, id, &key);
        let uri = format!("pkcs11:token=The%20desk;object={label}");
        // Its public half is shown without a PIN.
        let shown = must(&mut ask(&["key", "show", &uri]));
        assert!(shown.starts_with(&key.public_key().id().to_string()), "{shown}");
        let public = PublicKey::from_spki(key.public_key().spki()).unwrap();
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            BASE64.encode(public.spki())
        );
        let public = desk.write(&format!("{label}.pub"), &pem);

        must(
            ask(&[
                "statement",
                "sign",
                &statement,
                "--key",
                &uri,
                "--pkcs11-pin-file",
                &pin,
            ])
            .env_remove("HOME"),
        );
        desk.run(&[
            "statement",
            "verify",
            &format!("{statement}.dsse"),
            "--key",
            &public,
        ]);
        let by_id = format!("pkcs11:token=The%20desk;id=%{id};type=private");
        must(
            ask(&["licence", "sign", &licence, "--key", &by_id])
                .env("WEIGHBRIDGE_VERIFIER_PKCS11_PIN", Token::PIN),
        );
        desk.run(&["key", "trust", &public, "--as", label]);
        let told = desk.run(&["licence", "explain", &format!("{licence}.dsse")]);
        assert!(told.starts_with(&format!("signed by {label}\n")), "{told}");
    }
    // Both keys of one token on one document.
    let both = [
        "--key",
        "pkcs11:object=edwards?pin-source=file:PIN",
        "--key",
        "pkcs11:object=nist?pin-source=PIN",
    ]
    .map(|a| a.replace("PIN", &pin));
    must(ask(&["statement", "sign", &statement]).args(both));
    let keys = ["edwards.pub", "nist.pub"].map(|n| desk.path(n));
    desk.run(&[
        "statement",
        "verify",
        &format!("{statement}.dsse"),
        "--key",
        &keys[0],
        "--key",
        &keys[1],
    ]);

    std::fs::remove_file(format!("{statement}.dsse")).unwrap();
    let module = token.module.display().to_string();
    let sign = |uri: &str, module: &str, pin: &str| {
        let mut command = desk.verifier.command();
        command.args([
            "--pkcs11-module",
            module,
            "statement",
            "sign",
            &statement,
            "--key",
            uri,
        ]);
        let command = command.env("SOFTHSM2_CONF", &token.settings);
        one_line(
            &command
                .env("WEIGHBRIDGE_VERIFIER_PKCS11_PIN", pin)
                .output()
                .unwrap(),
        )
    };
    for (uri, module, pin, why) in [
        (
            "pkcs11:object=edwards",
            module.as_str(),
            "wrong-pin",
            "does not take the PIN",
        ),
        (
            "pkcs11:object=nobody",
            &module,
            Token::PIN,
            "0 public keys of token `The desk` answer",
        ),
        (
            "pkcs11:token=Other;object=edwards",
            &module,
            Token::PIN,
            "0 tokens answer to the URI, and one must: there are",
        ),
        (
            "pkcs11:object=edwards?pin-value=1234",
            &module,
            Token::PIN,
            "a PIN does not belong there",
        ),
        (
            "pkcs11:objet=edwards",
            &module,
            Token::PIN,
            "did you mean `object`?",
        ),
        (
            "pkcs11:object=edwards",
            "",
            Token::PIN,
            "no module is named that speaks to the token",
        ),
        (
            "pkcs11:object=edwards",
            &statement,
            Token::PIN,
            "is no PKCS#11 module that can be used",
        ),
    ] {
        let told = sign(uri, module, pin);
        assert!(told.contains(why), "{why}: {told}");
        assert!(!told.contains(pin), "{told}");
        assert!(!std::fs::exists(format!("{statement}.dsse")).unwrap());
    }
}
