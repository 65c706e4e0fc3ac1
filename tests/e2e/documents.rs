//! Licences and statements that are damaged, hostile or nobody's: one clear line, exit status 2, and nothing that is stored changes.

use crate::keys::{Desk, one_line};
use serde_json::Value;
use weighbridge::crypto::dsse;
use weighbridge::statement::PAYLOAD_TYPE;
use weighbridge_testbed::process::said;

impl Desk {
    /// What is stored: the anchors, and all that status tells.
    fn stored(&self) -> (String, Value) {
        let anchors = std::fs::read_to_string(self.verifier.state.join("anchors.toml")).unwrap();
        (anchors, self.verifier.status()["passed_over"].clone())
    }

    fn bytes(&self, name: &str, bytes: &[u8]) -> String {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }
}

/// Texts that no document may be, with what is said of each.
fn hostile(good: &str) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let keys: String = (0..300_000).map(|n| format!("k{n} = 1\n")).collect();
    vec![
        (
            "truncated",
            good.as_bytes()[..good.len() / 2].to_vec(),
            "is missing",
        ),
        (
            "nested",
            format!("{good}\nbomb = {}", "[".repeat(100_000)).into_bytes(),
            "max recursion depth met",
        ),
        (
            "many-keys",
            format!("{good}\n{keys}").into_bytes(),
            "is not a key",
        ),
        ("huge", vec![b'#'; (4 << 20) + 1], "larger than the 4194304 bytes"),
        (
            "not-utf-8",
            [good.as_bytes(), b"\n# \xff\xfe"].concat(),
            "is not UTF-8 text",
        ),
        (
            "turned",
            format!("# \u{202e}evil\n{good}")
                .replace("# \u{202e}", "# note \u{202e}")
                .into_bytes(),
            "holds U+202E",
        ),
        (
            "turned-value",
            good.replacen("= \"", "= \"\\u2066", 1).into_bytes(),
            "U+2066",
        ),
    ]
}

#[test]
fn a_licence_that_is_damaged_or_hostile_is_refused_in_one_line() {
    let desk = Desk::new();
    let before = desk.stored();
    let key = desk.path("supplier.key");
    let good = std::fs::read_to_string(desk.path("licence.toml")).unwrap();
    let mut all = hostile(&good);
    let unknown = good.replacen("serial =", "seriel =", 1);
    all.push(("unknown", unknown.into_bytes(), "did you mean `serial`?"));
    for (name, bytes, why) in all {
        let file = desk.bytes(&format!("{name}.toml"), &bytes);
        for verb in [
            &["licence", "sign", &file, "--key", &key][..],
            &["licence", "explain", &file],
        ] {
            let told = desk.refused(verb);
            assert!(told.contains(why), "{name}, which should say `{why}`: {told}");
        }
        assert!(!std::fs::exists(format!("{file}.dsse")).unwrap(), "{name}");
    }
    let sparse = std::fs::File::create(desk.path("sparse.dsse")).unwrap();
    sparse.set_len(100 << 20).unwrap();
    let told = desk.refused(&["licence", "load", &desk.path("sparse.dsse")]);
    assert!(told.contains("larger than the 4194304 bytes"), "{told}");

    let next = desk.write("next.toml", &good.replacen("serial = 1", "serial = 2", 1));
    desk.run(&["licence", "sign", &next, "--key", &desk.path("new.key")]);
    let stranger = std::fs::read_to_string(format!("{next}.dsse")).unwrap();
    for (name, text, why) in [
        ("stranger", stranger.as_str(), "is not signed by a trusted issuer"),
        ("cut", &stranger[..stranger.len() / 2], "not a DSSE envelope"),
        (
            "more",
            &stranger.replacen('{', "{\"more\": 1, ", 1),
            "unknown field `more`",
        ),
    ] {
        let file = desk.write(&format!("{name}.dsse"), text);
        let told = desk.refused(&["licence", "load", &file]);
        assert!(told.contains(why), "{name}, which should say `{why}`: {told}");
    }
    assert_eq!(desk.stored(), before);
    assert_eq!(desk.verifier.status()["sites"][0]["serial"], 1);
}

#[test]
fn a_statement_that_is_damaged_or_hostile_is_refused_in_one_line() {
    let desk = Desk::new();
    let before = desk.stored();
    let key = desk.path("operator.key");
    let good = desk.run(&["statement", "new", "maintenance"]);
    for (name, bytes, why) in hostile(&good) {
        let file = desk.bytes(&format!("{name}.toml"), &bytes);
        let told = desk.refused(&["statement", "sign", &file, "--key", &key]);
        // Nothing but blanks and comments begins no draft.
        let why = if name == "huge" { "larger than" } else { why };
        assert!(told.contains(why), "{name}, which should say `{why}`: {told}");
        assert!(!std::fs::exists(format!("{file}.dsse")).unwrap(), "{name}");
    }
    let draft = desk.write("good.toml", &good);
    desk.run(&["statement", "sign", &draft, "--key", &key]);
    let signed = std::fs::read_to_string(format!("{draft}.dsse")).unwrap();
    let (_, payload) = dsse::peek(&signed).unwrap();
    let turned = String::from_utf8(payload)
        .unwrap()
        .replacen("Replacement", "Replace\u{202e}ment", 1);
    let turned = dsse::sign(PAYLOAD_TYPE, turned.as_bytes(), &[]).unwrap();
    let stranger = desk.write("stranger.toml", &good);
    desk.run(&["statement", "sign", &stranger, "--key", &desk.path("new.key")]);
    let stranger = std::fs::read_to_string(format!("{stranger}.dsse")).unwrap();
    let sparse = std::fs::File::create(desk.path("sparse.dsse")).unwrap();
    sparse.set_len(100 << 20).unwrap();
    let told = desk.refused(&["statement", "load", &desk.path("sparse.dsse")]);
    assert!(told.contains("larger than the 4194304 bytes"), "{told}");
    for (name, text, why) in [
        ("stranger", stranger.as_str(), "keys that may sign this signed it"),
        ("cut", &signed[..signed.len() / 2], "not a DSSE envelope"),
        (
            "more",
            &signed.replacen('{', "{\"more\": 1, ", 1),
            "unknown field `more`",
        ),
    ] {
        let file = desk.write(&format!("{name}.dsse"), text);
        let told = desk.refused(&["statement", "load", &file]);
        assert!(told.contains(why), "{name}, which should say `{why}`: {told}");
    }
    let shown = desk
        .verifier
        .command()
        .args(["statement", "show", &desk.write("turned.dsse", &turned)])
        .output()
        .unwrap();
    assert!(one_line(&shown).contains("holds U+202E"), "{}", said(&shown));
    assert_eq!(desk.stored(), before);
}
