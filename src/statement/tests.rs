use super::*;
use crate::crypto::{Algorithm, Entropy, SecretKey, Signer};
use std::collections::BTreeSet;

const TRANSFER: &str = r#"
statement = "transfer"
id = "T-1"
issuer = "Harbour Compute Pte. Ltd."
role = "operator"
issued = 2026-11-20T08:00:00Z
valid_to = 2026-12-31
sites = ["harbour-1"]
devices = ["GPU-1653b042-3c11-4d21-9a00-000000000117"]

[claims]
from_site = "harbour-1"
to_site = "harbour-2"
from_country = "SG"
to_country = "SG"
leaves = 2026-12-04
arrives = 2026-12-05
"#;

fn key() -> SecretKey {
    SecretKey::generate(Algorithm::Ed25519, &Entropy::system()).unwrap()
}

fn why(text: &str) -> String {
    match payload(text).unwrap_err() {
        StatementError::Mistakes(mistakes) => mistakes.to_string(),
        other => other.to_string(),
    }
}

/// The payload of [`TRANSFER`], changed by `change`.
fn changed(change: impl Fn(&mut Value)) -> Vec<u8> {
    let (bytes, _) = payload(TRANSFER).unwrap();
    let mut value: Value = serde_json::from_slice(&bytes).unwrap();
    change(&mut value);
    serde_json::to_vec(&value).unwrap()
}

fn refused(bytes: &[u8]) -> String {
    Statement::parse(bytes).unwrap_err().to_string()
}

#[test]
fn a_draft_becomes_an_in_toto_statement_that_is_read_back() {
    let (bytes, statement) = payload(TRANSFER).unwrap();
    let value: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(value["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(
        value["predicateType"],
        "https://weighbridge.example/statement/transfer/v1"
    );
    assert_eq!(value["subject"][0]["name"], "site:harbour-1");
    assert_eq!(
        value["subject"][0]["digest"]["sha256"],
        crypto::sha256(b"site:harbour-1").to_string()
    );
    assert_eq!(value["predicate"]["claims"]["leaves"], "2026-12-04T00:00:00Z");
    // The last day is included.
    assert_eq!(value["predicate"]["header"]["valid_to"], "2027-01-01T00:00:00Z");

    let (owner, assessor, stranger) = (key(), key(), key());
    let envelope = dsse::sign(PAYLOAD_TYPE, &bytes, &[&owner, &assessor]).unwrap();
    let trusted = [assessor.public_key().clone()];
    let signed = Statement::open(&envelope, &trusted).unwrap();
    assert_eq!(signed.statement, statement);
    assert_eq!(signed.signers, [assessor.public_key().id()]);
    assert!(Statement::open(&envelope, &[stranger.public_key().clone()]).is_err());
    let Claims::Transfer(transfer) = &signed.statement.claims else {
        panic!()
    };
    assert_eq!(transfer.to_site.as_str(), "harbour-2");
}

#[test]
fn not_each_of_a_hundred_thousand_unknown_keys_is_told() {
    let told = refused(&changed(|value| {
        for n in 0..100_000 {
            value["predicate"]["claims"][format!("k{n}")] = json!(1);
        }
    }));
    assert_eq!(told.matches("is not a key").count(), 100);
}

#[test]
fn it_holds_from_when_it_was_issued_or_begins_until_it_expires() {
    let (_, statement) = payload(TRANSFER).unwrap();
    let at = |text: &str| statement.holds(UnixSeconds::parse(text).unwrap());
    assert!(!at("2026-11-20T07:59:59Z") && at("2026-11-20T08:00:00Z"));
    assert!(at("2026-12-31T23:59:59Z") && !at("2027-01-01T00:00:00Z"));
    let (_, later) = payload(&TRANSFER.replace("valid_to", "valid_from = 2026-12-01\nvalid_to")).unwrap();
    assert!(!later.holds(UnixSeconds::parse("2026-11-30T23:00:00Z").unwrap()));
}

/// Whether it is a key with its value, or the head of a table.
fn is_entry(line: &str) -> bool {
    let key = line.split(" = ").next().unwrap_or_default();
    let is_key = |key: &str| {
        key.chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    line.starts_with('[') || (key.len() < line.len() && is_key(key))
}

#[test]
fn every_template_is_a_draft_without_a_mistake_and_shows_every_key() {
    let names: BTreeSet<&str> = Kind::ALL.iter().map(|k| k.name).collect();
    assert_eq!(names.len(), Kind::ALL.len());
    for kind in Kind::ALL {
        let text = template(kind);
        assert!(is_draft(&text), "{}", kind.name);
        // As the role a template shows is the operator, who may not give every kind.
        let role = kind.roles[0].text();
        let text = text.replace("role = \"operator\"", &format!("role = \"{role}\""));
        let bound = |text: String| match kind.binds.contains(&"licence") {
            true => text,
            false => text.replace("# sites = ", "sites = "),
        };
        let (bytes, statement) =
            payload(&bound(text.clone())).unwrap_or_else(|e| panic!("{}: {e}\n{text}", kind.name));
        assert_eq!(statement.kind().name, kind.name);
        assert_eq!(Statement::parse(&bytes).unwrap(), statement);

        // With everything that is optional.
        let whole: String = text
            .lines()
            .map(|line| {
                line.strip_prefix("# ")
                    .filter(|rest| is_entry(rest))
                    .unwrap_or(line)
            })
            .fold(String::new(), |all, line| all + line + "\n");
        let (bytes, statement) = payload(&whole)
            .unwrap_or_else(|e| panic!("{}: {}\n{whole}", kind.name, why(&whole) + &e.to_string()));
        assert_eq!(Statement::parse(&bytes).unwrap(), statement);
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        let claims = value["predicate"]["claims"].as_object().unwrap();
        let shown: BTreeSet<&str> = claims.keys().map(String::as_str).collect();
        let declared: BTreeSet<&str> = kind.members().iter().map(|m| m.key).collect();
        assert_eq!(shown, declared, "{}", kind.name);
    }
}

#[test]
fn every_mistake_of_a_draft_has_its_line_and_the_nearest_right_word() {
    let said = why(&TRANSFER.replace("to_site = \"harbour-2\"", "to_sit = \"harbour-2\""));
    assert!(
        said.contains("line 13: `claims.to_sit` is not a key: did you mean `to_site`?"),
        "{said}"
    );
    assert!(said.contains("`claims.to_site` is missing"), "{said}");
    let said = why(&TRANSFER.replace("\"transfer\"", "\"tranfser\""));
    assert!(
        said.contains("line 2:") && said.contains("did you mean `transfer`?"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    let said = why(&TRANSFER.replace("\"SG\"", "\"XX\""));
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(
        said.contains("must be a country as two capital letters"),
        "{said}"
    );
    let said = why(&TRANSFER.replace("\"operator\"", "\"tenant\""));
    assert!(said.contains("`role` is `tenant`, which is none of"), "{said}");
    assert!(why("statement = \"transfer\"").contains("`claims` is missing: write [claims]"));
    assert!(why("\u{0}").contains("line 1"));
}

#[test]
fn what_does_not_fit_its_kind_is_refused() {
    for (from, to, expected) in [
        (
            "\"operator\"",
            "\"assessor\"",
            "a transfer is for `operator`, `supplier` to give",
        ),
        (
            "devices = [\"GPU-1653b042-3c11-4d21-9a00-000000000117\"]",
            "",
            "every transfer must name it",
        ),
        ("sites = [\"harbour-1\"]", "", "it is bound to nothing"),
        (
            "valid_to = 2026-12-31",
            "valid_to = 2026-11-01",
            "`valid_to` lies before it begins",
        ),
    ] {
        let said = why(&TRANSFER.replace(from, to));
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

#[test]
fn a_payload_with_anything_else_is_refused() {
    let said = refused(&changed(|v| {
        v["predicate"]["claims"]["tenant_name"] = json!("Acme")
    }));
    assert!(said.contains("`claims.tenant_name` is not a key"), "{said}");
    let said = refused(&changed(|v| {
        v["predicate"]["claims"]["from_country"] = json!("sg")
    }));
    assert!(said.contains("`claims.from_country` must be a country"), "{said}");
    let said = refused(&changed(|v| v["predicate"]["claims"]["notified"] = Value::Null));
    assert!(said.contains("`claims.notified`"), "null is not absence: {said}");
    let said = refused(&changed(|v| v["subject"][0]["name"] = json!("site:harbour-9")));
    assert!(said.contains("`subject` must be"), "{said}");
    let said = refused(&changed(|v| {
        v["predicateType"] = json!("https://weighbridge.example/statement/transfer/v2")
    }));
    assert!(said.contains("no kind of statement that is known here"), "{said}");
    let said = refused(&changed(|v| {
        v["_type"] = json!("https://in-toto.io/Statement/v0.1")
    }));
    assert!(said.contains("`_type` is"), "{said}");
    let said = refused(&changed(|v| v["predicate"]["header"]["devices"] = json!([])));
    assert!(said.contains("`header.devices` must hold 1 to"), "{said}");

    let (bytes, _) = payload(TRANSFER).unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    let twice = text.replace(
        "\"to_site\":\"harbour-2\"",
        "\"to_site\":\"harbour-2\",\"to_site\":\"harbour-3\"",
    );
    assert_ne!(twice, text);
    assert!(refused(twice.as_bytes()).contains("duplicate field"));
    let followed = [&bytes[..], b"{}"].concat();
    assert!(refused(&followed).contains("trailing"));
    assert!(refused(&[0xff, 0xfe]).contains("no in-toto statement"));
    assert!(refused("[".repeat(100_000).as_bytes()).contains("no in-toto statement"));
}

#[test]
fn texts_are_bounded_and_without_control_characters() {
    let long = "x".repeat(MAX_LINE + 1);
    for id in ["", " ", "a\u{1b}[31m", &long] {
        assert!(
            refused(&changed(|v| v["predicate"]["header"]["id"] = json!(id))).contains("`header.id`"),
            "{id}"
        );
    }
    let reason = |text: &str| changed(|v| v["predicate"]["claims"]["reason"] = json!(text));
    assert!(Statement::parse(&reason("one\ntwo")).is_ok());
    assert!(refused(&reason("one\rtwo")).contains("control character"));
}

#[test]
fn no_kind_has_a_key_for_what_must_never_leave_a_site() {
    fn keys(members: &[Member], found: &mut Vec<&'static str>) {
        for member in members {
            found.push(member.key);
            let of = match member.shape {
                Shape::List(of) => *of,
                shape => shape,
            };
            if let Shape::Table(inner) = of {
                keys(inner, found);
            }
        }
    }
    let mut found = Vec::new();
    Kind::ALL.iter().for_each(|k| keys(k.members(), &mut found));
    keys(HEADER, &mut found);
    for never in [
        "tenant_name",
        "user",
        "process",
        "job",
        "container",
        "host",
        "hostname",
        "ip",
        "mac",
        "path",
        "command",
        "model_name",
        "prompt",
    ] {
        assert!(!found.contains(&never), "{never}");
    }
}

/// The part of the manual that lists kinds and keys, as the code has them.
fn manual() -> String {
    fn rows(out: &mut String, members: &[Member], place: &str) {
        for member in members {
            let (of, list) = match member.shape {
                Shape::List(of) => (*of, true),
                shape => (shape, false),
            };
            let holds = match of {
                Shape::Word(words) => format!("`{}`", words.join("`, `")),
                shape => shape.name().to_owned(),
            };
            let holds = if list { format!("list: {holds}") } else { holds };
            let needed = if member.required { "" } else { "optional; " };
            out.push_str(&format!(
                "| `{place}{}` | {} | {needed}{holds} |\n",
                member.key,
                member.sentence()
            ));
            if let Shape::Table(inner) = of {
                rows(out, inner, &format!("{place}{}.", member.key));
            }
        }
    }
    let head = "| key | says | holds |\n|---|---|---|\n";
    let mut out = format!("## The header\n\n{head}");
    rows(&mut out, HEADER, "");
    for kind in Kind::ALL {
        let roles: Vec<&str> = kind.roles.iter().map(|r| r.text()).collect();
        let settles = match kind.settles {
            [] => "It settles no condition by itself.".to_owned(),
            some => format!("It can settle {}.", some.join(", ")),
        };
        let bound = match kind.binds {
            [] => String::new(),
            some => format!(" It must have `{}`.", some.join("`, `")),
        };
        out.push_str(&format!(
            "\n## `{}`\n\n{}. Given by: {}.{bound} {settles}\n\n{head}",
            kind.name,
            kind.says,
            roles.join(", ")
        ));
        rows(&mut out, kind.members(), "");
    }
    out
}

#[test]
fn the_manual_lists_every_kind_and_key() {
    let text = include_str!("../../docs/statements.md");
    let (_, listed) = text.split_once("## The header").unwrap();
    assert_eq!(
        format!("## The header{listed}"),
        manual(),
        "docs/statements.md (left) from its header on should be as the code has it (right)"
    );
}

/// Every table of a kind's payload, as JSON pointers, with a key that nobody knows put in.
fn with_a_key_more(value: &Value, place: &str, found: &mut Vec<(String, Value)>, whole: &Value) {
    match value {
        Value::Object(table) => {
            let mut changed = whole.clone();
            changed.pointer_mut(place).unwrap()["tenant_name"] = json!("Acme\nLtd.");
            found.push((place.to_owned(), changed));
            for (key, inner) in table {
                with_a_key_more(inner, &format!("{place}/{key}"), found, whole);
            }
        }
        Value::Array(items) => {
            for (i, inner) in items.iter().enumerate() {
                with_a_key_more(inner, &format!("{place}/{i}"), found, whole);
            }
        }
        _ => {}
    }
}

#[test]
fn an_envelope_with_a_key_more_is_refused_in_one_line_wherever_it_stands() {
    let (signer, mut looked_at) = (key(), 0);
    let keys = [signer.public_key().clone()];
    for kind in Kind::ALL {
        let role = format!("role = \"{}\"", kind.roles[0]);
        let draft = template(kind).replace("role = \"operator\"", &role);
        let draft = draft.replace("# sites = ", "sites = ");
        let (bytes, _) = payload(&draft).unwrap();
        let whole: Value = serde_json::from_slice(&bytes).unwrap();
        let mut changed = Vec::new();
        with_a_key_more(&whole, "", &mut changed, &whole);
        for (place, value) in changed {
            let bytes = serde_json::to_vec(&value).unwrap();
            let envelope = dsse::sign(PAYLOAD_TYPE, &bytes, &[&signer]).unwrap();
            let said = Statement::open(&envelope, &keys).unwrap_err().to_string();
            assert!(
                said.contains("tenant_name") && said.lines().count() == 1,
                "{} {place}: {said}",
                kind.name
            );
            looked_at += 1;
        }
    }
    assert!(
        looked_at > 4 * Kind::ALL.len(),
        "header, claims, subject and the envelope of each"
    );
}

#[test]
fn no_name_of_a_tenant_s_owner_is_signed_or_read() {
    let draft = |name: &str| {
        let owner = format!("\n[[claims.owners]]\ncountry = \"JP\"\nshare = 0.6\nlisted = false\n{name}");
        template(Kind::named("tenant-kyc").unwrap()).replace("# sites = ", "sites = ") + &owner
    };
    let (bytes, _) = payload(&draft("")).unwrap();
    let said = why(&draft("name = \"Example Holdings K.K.\"\n"));
    assert!(said.contains("`claims.owners.name` is not a key"), "{said}");
    let mut value: Value = serde_json::from_slice(&bytes).unwrap();
    value["predicate"]["claims"]["owners"][0]["name"] = json!("Example Holdings K.K.");
    let said = refused(&serde_json::to_vec(&value).unwrap());
    assert!(said.contains("`claims.owners[0].name` is not a key"), "{said}");
    // Those of the consignee are disclosed with their names.
    assert!(
        Kind::named("ownership")
            .unwrap()
            .schema()
            .to_string()
            .contains("Its name.")
    );
}
