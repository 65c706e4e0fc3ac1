//! Conditions that a licence states itself.

use super::*;
use crate::document::Mistakes;

/// Adds a condition of its own to a scene's licence.
pub(super) fn asking(scene: Scene, terms: &str, policy: &str) -> Scene {
    scene.with(
        "[[models]]",
        &format!(
            "[[conditions]]\nid = \"OWN-01\"\ntitle = \"All is well\"\nseverity = \"major\"\n{terms}\npolicy = '''\n{policy}'''\n[[models]]"
        ),
    )
}

/// The finding of a policy of which only the rules are given.
#[cfg(feature = "rego")]
fn ruled(scene: Scene, rules: &str) -> Finding {
    asking(scene, "", &format!("package weighbridge\n{rules}\n")).finding("OWN-01")
}

#[track_caller]
fn expect(found: &Finding, outcome: Outcome, message: &str, says: &str) {
    assert_eq!(found.outcome, outcome, "{}", found.sentence);
    assert_eq!(
        found.message_id,
        format!("OWN-01.{message}"),
        "{}",
        found.sentence
    );
    assert!(found.sentence.contains(says), "{}", found.sentence);
}

#[cfg(not(feature = "rego"))]
#[test]
fn a_program_without_rego_leaves_such_conditions_open() {
    let scene = asking(Scene::honest(), "", "package weighbridge\nverdict := true\n");
    let found = scene.finding("OWN-01");
    expect(
        &found,
        Outcome::CannotTell,
        "policy-not-built",
        "built without Rego",
    );
    let mistakes = policy_mistakes(&Licence::parse(&scene.licence).unwrap());
    assert!(mistakes[0].what.contains("cannot be checked"));
}

#[test]
fn a_licence_that_misstates_such_a_condition_is_told_so() {
    let mistakes = |old: &str, new: &str| {
        let scene = asking(Scene::empty(), "", "package weighbridge\nverdict := true\n").with(old, new);
        Licence::parse(&scene.licence)
            .map_err(|m: Mistakes| m.to_string())
            .unwrap_err()
    };
    for id in ["INV-01", "OWN-1", "OWN-001", "OWN-AB", "own-01"] {
        let told = mistakes("OWN-01", id);
        assert!(told.contains("write OWN- and two digits"), "{told}");
    }
    assert!(mistakes("\"major\"", "\"grave\"").contains("severity"));
    assert!(mistakes("[[models]]", "rules = 1\n[[models]]").contains("not a key"));
    let text = asking(Scene::empty(), "rule = \"verdict\"", "package weighbridge\n").licence;
    let told = Licence::parse(&text).unwrap_err().to_string();
    assert!(told.contains("such as data.weighbridge.verdict"), "{told}");
    let twice = asking(asking(Scene::empty(), "", "a\n"), "", "b\n").licence;
    assert!(
        Licence::parse(&twice)
            .unwrap_err()
            .to_string()
            .contains("stated twice")
    );
}

#[cfg(feature = "rego")]
mod asked {
    use super::*;
    use crate::appraisal::Grade;

    fn mistakes(scene: &Scene) -> Vec<String> {
        let licence = Licence::parse(&scene.licence).unwrap();
        policy_mistakes(&licence)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_policy_answers_by_the_findings_of_the_others() {
        const RULES: &str = "open := {f.condition | some f in input.findings; f.outcome == \"not met\"}
verdict := {\"outcome\": \"met\", \"sentence\": \"nothing is broken\"} if count(open) == 0
verdict := {\"outcome\": \"not met\", \"sentence\": sprintf(\"%d broken: %s\", [count(open), concat(\", \", sort(open))]), \"subjects\": open} if count(open) > 0";
        let met = ruled(Scene::honest(), RULES);
        expect(&met, Outcome::Met, "policy-met", "nothing is broken");
        assert_eq!(met.citation, "licence L-1, serial 1");
        assert_eq!(met.severity, Severity::Major);
        assert_eq!(
            met.grade,
            Grade::Declared,
            "some finding that it looked at is declared"
        );
        let mut scene = Scene::empty();
        scene.hour(&[gpu(1), gpu(9)], &[gpu(3), gpu(4)]);
        let found = ruled(scene, RULES);
        expect(&found, Outcome::NotMet, "policy-not-met", "INV-01");
        assert!(found.subjects.contains(&"INV-01".to_owned()));
        assert!(!found.evidence.is_empty() && found.window.is_some() && found.coverage.is_some());
    }

    #[test]
    fn a_finding_rests_on_what_the_policy_looked_at() {
        let rules = "verdict if input.findings[\"INV-01\"].outcome == \"met\"";
        let scene = Scene::honest();
        let rests_on = scene.finding("INV-01");
        let found = ruled(scene, rules);
        expect(
            &found,
            Outcome::Met,
            "policy-met",
            "met by the licence's own policy: All is well",
        );
        assert_eq!((found.grade, found.evidence), (rests_on.grade, rests_on.evidence));
        let declared = ruled(
            Scene::honest(),
            "verdict if input.findings[\"LOC-01\"].outcome == \"met\"",
        );
        assert_eq!(declared.grade, Scene::honest().finding("LOC-01").grade);
    }

    #[test]
    fn every_outcome_and_yes_and_no_are_heard_and_nothing_else() {
        let answers = |value: &str| ruled(Scene::honest(), &format!("verdict := {value}"));
        for (value, outcome, message) in [
            ("true", Outcome::Met, "policy-met"),
            ("false", Outcome::NotMet, "policy-not-met"),
            ("{\"outcome\": \"met\"}", Outcome::Met, "policy-met"),
            ("{\"outcome\": \"not met\"}", Outcome::NotMet, "policy-not-met"),
            (
                "{\"outcome\": \"cannot tell\"}",
                Outcome::CannotTell,
                "policy-cannot-tell",
            ),
            (
                "{\"outcome\": \"not applicable\"}",
                Outcome::NotApplicable,
                "policy-not-applicable",
            ),
        ] {
            expect(&answers(value), outcome, message, "All is well");
        }
        for (value, says) in [
            ("1", "neither a boolean nor an object"),
            ("{\"outcome\": \"waived\"}", "none of met, not met"),
            ("{\"sentence\": \"fine\"}", "no `outcome`"),
            (
                "{\"outcome\": \"met\", \"grade\": \"device-signed\"}",
                "holds more than",
            ),
            ("{\"outcome\": \"met\", \"subjects\": [1]}", "not all texts"),
        ] {
            expect(&answers(value), Outcome::CannotTell, "policy-stopped", says);
        }
        let undefined = ruled(Scene::honest(), "verdict if input.site == \"elsewhere\"");
        expect(
            &undefined,
            Outcome::CannotTell,
            "policy-undefined",
            "comes to no answer",
        );
        let line = answers("{\"outcome\": \"met\", \"sentence\": \"a\\nb\\u202e\\tc\"}");
        expect(&line, Outcome::Met, "policy-met", "a b c");
    }

    #[test]
    fn a_no_that_may_be_a_gap_is_none() {
        let rules = "default verdict := false\nverdict if input.devices[0].secboot";
        let found = ruled(Scene::honest(), rules);
        expect(
            &found,
            Outcome::CannotTell,
            "policy-asks-for-more",
            "asked for `secboot`",
        );
    }

    #[test]
    fn what_was_not_seen_is_never_met() {
        let yes = "verdict := true";
        expect(&ruled(Scene::empty(), yes), Outcome::CannotTell, "no-report", "");
        let mut silent = Scene::empty();
        silent.labs[0].run(12, &[gpu(1), gpu(2)]);
        expect(
            &ruled(silent, yes),
            Outcome::CannotTell,
            "not-all-seen",
            "has never reported",
        );
        let ended = Scene::honest().with("valid_to = 2027-11-19", "valid_to = 2026-11-20T00:30:00Z");
        expect(
            &ruled(ended, yes),
            Outcome::CannotTell,
            "licence-does-not-hold",
            "",
        );
    }

    #[test]
    fn a_waiver_may_name_such_a_condition() {
        let waived = Scene::honest().with(
            "[[site]]",
            "[[waivers]]\ncondition = \"OWN-01\"\nuntil = 2026-12-31\nreason = \"new rule\"\n[[site]]",
        );
        let found = ruled(waived, "verdict := false");
        expect(&found, Outcome::Waived, "policy-not-met", "new rule");
    }

    #[test]
    fn a_policy_that_comes_to_no_end_leaves_its_condition_open() {
        // Each list holds the one before twice: the last would have 2^30 parts.
        let doubling = |first: &str, twice: &str| {
            let mut rules = format!("r0 := {first}\n");
            for n in 1..40 {
                let before = n - 1;
                rules += &format!("r{n} := {}\n", twice.replace('#', &format!("r{before}")));
            }
            rules + "verdict if r39 == r38"
        };
        for (rules, says) in [
            (doubling("[1]", "[#, #]"), "parts of values"),
            (doubling("{1}", "{[#, 1], [#, 2]}"), "parts of values"),
            (doubling("[1]", "array.concat(#, #)"), "parts of values"),
            (doubling("\"ab\"", "concat(\"\", [#, #])"), "`concat` for a text of more than"),
            (doubling("\"ab\"", "sprintf(\"%s%s\", [#, #])"), "`sprintf` for a text of more than"),
            (doubling("9007199254740991", "# * #"), "whole number"),
            (
                "verdict if count([1 | some a in input.findings; some b in input.findings; some c in input.findings; some d in input.findings; a == d; b == c]) > 0".to_owned(),
                "parts of values",
            ),
            (
                "n := array.concat(input.devices, array.concat(input.devices, input.devices))
verdict if { some a in n; some b in n; some c in n; some d in n; some e in n; some f in n; some g in n; a.uuid == \"none\"; b == c; d == e; f == g }".to_owned(),
                "steps",
            ),
            ("verdict := {\"outcome\": \"met\", \"sentence\": concat(\"\", [s | some f in input.findings; s := f.sentence])}".to_owned(), "a sentence of more than"),
            ("verdict := {\"outcome\": \"met\", \"sentence\": sprintf(\"%x\", [1])}".to_owned(), "another verb"),
        ] {
            expect(&ruled(Scene::honest(), &rules), Outcome::CannotTell, "policy-stopped", says);
        }
        let deep: String = (1..80).map(|n| format!("r{n} := [r{}]\n", n - 1)).collect();
        let deep = ruled(
            Scene::honest(),
            &format!("r0 := 1\n{deep}verdict := count(r79) == 1"),
        );
        expect(&deep, Outcome::CannotTell, "policy-stopped", "nested deeper");
    }

    #[test]
    fn a_short_text_is_no_endless_number() {
        let found = ruled(
            Scene::honest(),
            "verdict := false if { to_number(\"1e2147483647\") > 1 }",
        );
        expect(&found, Outcome::CannotTell, "policy-undefined", "");
    }

    #[test]
    fn a_policy_sees_its_input_alone() {
        for call in [
            "http.send({\"method\": \"get\", \"url\": \"http://example.com\"})",
            "time.now_ns()",
            "rand.intn(\"seed\", 6)",
            "opa.runtime()",
            "uuid.rfc4122(\"seed\")",
            "trace(\"here\")",
            "numbers.range(1, 1000000000)",
            "regex.match(\"(a+)+\", \"a\")",
            "product([2, 3])",
            "json.marshal(input)",
            "__builtin_host_await(1, \"concat\")",
        ] {
            let scene = asking(
                Scene::honest(),
                "",
                &format!("package weighbridge\n\nverdict if {call}\n"),
            );
            let told = mistakes(&scene);
            assert_eq!(told.len(), 1, "{call}: {told:?}");
            assert!(told[0].contains("no policy here may call"), "{told:?}");
            let line = scene.licence.lines().position(|l| l.contains(call)).unwrap() + 1;
            assert!(told[0].starts_with(&format!("line {line}: ")), "{line}: {told:?}");
            expect(
                &scene.finding("OWN-01"),
                Outcome::CannotTell,
                "policy-unreadable",
                "no policy here may call",
            );
        }
        for rules in ["verdict := data.secrets.key", "verdict := data[input.site]"] {
            let scene = asking(Scene::honest(), "", &format!("package weighbridge\n{rules}\n"));
            let told = mistakes(&scene).concat();
            assert!(told.contains("OWN-01"), "{told}");
        }
    }

    #[test]
    fn a_text_that_is_no_policy_is_told_by_its_line() {
        for (policy, says) in [
            ("package weighbridge\nverdict := \n", "cannot be read as Rego"),
            (
                "package weighbridge\nverdict { true }\n",
                "`if` keyword is required",
            ),
            (
                "package weighbridge\nallow := true\n",
                "holds no rule data.weighbridge.verdict",
            ),
            ("package weighbridge\nverdict := x\n", "x"),
            (
                "package weighbridge\ndefault verdict := [n | some n in numbers.range(1, 1000000000000)]\n",
                "must be worked out",
            ),
            (
                &format!(
                    "package weighbridge\nverdict := [{}]\n",
                    "[[[[[[[1]]]]]]],\n".repeat(900)
                ),
                "nests too much in brackets",
            ),
            (
                &format!(
                    "package weighbridge\nverdict := {}1{}\n",
                    "[".repeat(60),
                    "]".repeat(60)
                ),
                "nests brackets deeper",
            ),
            (
                &format!(
                    "package weighbridge\nverdict := {}1{}\n",
                    "{".repeat(60),
                    "}".repeat(60)
                ),
                "nests brackets deeper",
            ),
        ] {
            let scene = asking(Scene::honest(), "", policy);
            let told = mistakes(&scene).concat();
            assert!(told.contains(says), "{policy}: {told}");
            assert!(told.contains("the policy of OWN-01 "), "{told}");
        }
        let sound = asking(Scene::honest(), "", "package weighbridge\nverdict := true\n");
        assert_eq!(mistakes(&sound), [""; 0]);
    }

    /// A policy in the language and shape of NVIDIA's own: version 0, a list of claims, a boolean `nv_match`.
    const NVIDIA: &str = r#"package policy
import future.keywords.every
default nv_match := false
nv_match {
    count(input) > 0
    every claim in input {
        known(claim)
        measured(claim)
    }
}
known(claim) {
    claim["x-nvidia-device-type"] == "gpu"
    chain := claim["x-nvidia-gpu-attestation-report-cert-chain"]
    chain["x-nvidia-cert-status"] == "valid"
    claim["x-nvidia-gpu-driver-rim-cert-chain"]["x-nvidia-cert-ocsp-status"] in {"good", "revoked"}
}
measured(claim) {
    object.get(claim, "x-nvidia-mismatch-measurement-records", null) == null
}
measured(claim) {
    records := claim["x-nvidia-mismatch-measurement-records"]
    records != null
    every record in records {
        record.index == 7
    }
}
"#;
    const LIKE_NVIDIA: &str = "rule = \"data.policy.nv_match\"\ninput = \"hardware-claims\"\nrego = \"v0\"";

    fn proved(change: impl Fn(&mut crate::appraisal::evidence::AppraisedDevice)) -> Scene {
        let mut scene = Scene::empty();
        for (node, devices) in [(0, [1, 2]), (1, [3, 4])] {
            scene.labs[node].run(12, &devices.map(gpu));
            let mut answers = devices.map(answer);
            answers.iter_mut().for_each(&change);
            scene.labs[node].prove(answers.to_vec());
        }
        scene
    }

    #[test]
    fn a_policy_as_nvidia_writes_them_runs_on_what_devices_signed() {
        let judged = |scene: Scene, policy: &str| asking(scene, LIKE_NVIDIA, policy).finding("OWN-01");
        let met = judged(Scene::honest(), NVIDIA);
        expect(&met, Outcome::Met, "policy-met", "All is well");
        assert_eq!(met.grade, Grade::DeviceSigned);
        assert!(!met.evidence.is_empty());
        let differs = |index: u8| {
            proved(move |d| {
                d.mismatches = vec![index];
                d.checks
                    .retain(|c| c.name != crate::appraisal::evidence::CheckName::Measurements);
                let fails = crate::appraisal::evidence::CheckOutcome::Fail;
                let name = crate::appraisal::evidence::CheckName::Measurements;
                d.checks.push(crate::appraisal::evidence::Check {
                    name,
                    outcome: fails,
                    why: String::new(),
                });
            })
        };
        expect(&judged(differs(7), NVIDIA), Outcome::Met, "policy-met", "");
        expect(&judged(differs(8), NVIDIA), Outcome::NotMet, "policy-not-met", "");
        // What no report says is not false.
        let debug = "package policy\nimport future.keywords.every\ndefault nv_match := false\nnv_match {\n  every result in input {\n    result.secboot\n    result.dbgstat == \"disabled\"\n  }\n}\n";
        let open = judged(Scene::honest(), debug);
        expect(
            &open,
            Outcome::CannotTell,
            "policy-asks-for-more",
            "asked for `secboot`",
        );
    }

    #[test]
    fn a_device_that_signed_nothing_is_left_out_of_no_answer() {
        let all = "package policy\nimport future.keywords.every\ndefault nv_match := false\nnv_match { every c in input { c.measres == \"success\" } }\n";
        let mut none = Scene::empty();
        none.hour(&[gpu(1), gpu(2)], &[gpu(3), gpu(4)]);
        let found = asking(none, LIKE_NVIDIA, all).finding("OWN-01");
        expect(&found, Outcome::CannotTell, "no-evidence", "has signed anything");
        let mut half = Scene::empty();
        half.hour(&[gpu(1), gpu(2)], &[gpu(3), gpu(4)]);
        half.labs[0].prove(vec![answer(1), answer(2)]);
        let found = asking(half, LIKE_NVIDIA, all).finding("OWN-01");
        expect(
            &found,
            Outcome::CannotTell,
            "not-all-signed",
            "2 of 4 devices seen here signed nothing",
        );
    }

    #[test]
    fn the_example_of_the_guide_is_a_policy() {
        let guide = include_str!("../../../docs/policies.md");
        let examples: Vec<&str> = guide
            .split("```toml\n")
            .skip(1)
            .filter_map(|rest| rest.split("```").next())
            .collect();
        assert!(examples.len() >= 2, "docs/policies.md holds examples");
        for example in examples {
            let scene = Scene::honest().with("[[models]]", &format!("{example}\n[[models]]"));
            assert_eq!(mistakes(&scene), [""; 0], "{example}");
            let found = scene
                .findings()
                .into_iter()
                .find(|f| f.condition.starts_with("OWN-"))
                .unwrap();
            assert_eq!(found.outcome, Outcome::Met, "{}", found.sentence);
        }
    }
}
