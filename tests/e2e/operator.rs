//! What an operator sees on the node, without a verifier: measurements, and a report before it leaves.

use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;
use weighbridge_testbed::licence;
use weighbridge_testbed::process::{Agent, Running, Verifier, must, program, replay_library, said, wait_for};
use weighbridge_testbed::stored;

fn names(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, inner)| {
            into.insert(name.clone());
            names(inner, into);
        }),
        Value::Array(items) => items.iter().for_each(|i| names(i, into)),
        _ => {}
    }
}

#[test]
fn a_person_is_told_what_does_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = dir.path().join("node.toml");
    // No H100 has such a clock.
    std::fs::write(
        &scenario,
        "profile = \"H100\"\ntrace = \"training\"\nsm_clock_mhz = 2100\n",
    )
    .unwrap();
    let out = must(
        program("weighbridge-agent")
            .args(["measure", "--window", "2", "--nvml"])
            .arg(replay_library())
            .env("WEIGHBRIDGE_REPLAY_SCENARIO", &scenario),
    );
    assert!(out.contains("does not fit: clock above highest"), "{out}");
}

#[test]
fn measure_needs_neither_verifier_nor_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = dir.path().join("node.toml");
    std::fs::write(
        &scenario,
        "profile = \"H100\"\ngpus = 2\ntrace = \"training\"\nsm_clock_mhz = 1755\n",
    )
    .unwrap();
    let out = must(
        program("weighbridge-agent")
            .args([
                "measure",
                "--windows",
                "2",
                "--window",
                "2",
                "--format",
                "json",
                "--nvml",
            ])
            .arg(replay_library())
            .env("WEIGHBRIDGE_REPLAY_SCENARIO", &scenario),
    );
    let lines: Vec<Value> = out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 4, "one object for each window and device");
    for line in &lines {
        for key in [
            "window_start",
            "window_end",
            "device",
            "model",
            "energy_j",
            "tpp_hours",
            "operations",
            "busy_s",
            "coverage",
            "gaps",
            "pipes",
            "links",
            "observations",
            "workload",
        ] {
            assert!(line.get(key).is_some(), "`{key}` is missing in {line}");
        }
        let hours = |key: &str| line["tpp_hours"][key].as_f64().unwrap();
        assert!(
            hours("lower") <= hours("counter") && hours("counter") <= hours("upper"),
            "{line}"
        );
        assert!(hours("upper") <= hours("upper_unconditional"), "{line}");
        let decimal = |key: &str| line["operations"][key].as_str().unwrap().parse::<u128>().unwrap();
        assert!(decimal("lower") <= decimal("upper"));
        assert_eq!(
            line["workload"]["class"], "cannot tell",
            "two seconds accuse nobody"
        );
        assert!(
            line["workload"]["level"] != "L3",
            "nor does a run of so few windows"
        );
        assert!(line["workload"]["run_windows"].is_u64());
        assert!(
            line["workload"]["explanation"].is_null(),
            "what could not be scored has no reasons"
        );
    }
}

#[test]
fn preview_shows_what_leaves_and_only_fields_that_have_a_written_reason() {
    let dir = tempfile::tempdir().unwrap();
    let mut verifier = Verifier::init(dir.path());
    let terms = licence::Terms {
        report_seconds: 1,
        ..licence::Terms::at("harbour-1")
    };
    verifier.load_licence(&terms.write(&[]));
    verifier.serve();
    let mut agent = Agent::new(
        dir.path(),
        "node",
        "profile = \"H100\"\ngpus = 1\ntrace = \"idle\"\nstart_file = \"start\"\n",
    );
    agent.enrol(&verifier.token("harbour-1", &[]));
    agent.run();
    wait_for("a report", || stored::counts(&verifier.state).first().copied());
    let shown: Value = serde_json::from_str(&must(agent.command().arg("preview"))).unwrap();
    // The lawyer who reads this knows the device from the licence, and needs a name or a unit beside each number.
    let device = &shown["accelerators"][0];
    assert!(
        device["identity"]["uuid"].as_str().unwrap().starts_with("GPU-"),
        "{device}"
    );
    assert_eq!(device["identity"]["pci"]["vendor"], "10de");
    assert_eq!(device["salt"].as_str().unwrap().len(), 32);
    assert!(
        device["delivered"]["workload"]["windows"]["cannot tell"].is_u64(),
        "{device}"
    );
    let compute = device["delivered"]["compute_tpp_hours"]["upper_unconditional"]
        .as_str()
        .unwrap();
    assert!(
        (0.1..100.0).contains(&compute.parse::<f64>().unwrap()),
        "{compute} TPP-hours"
    );
    let reasons = include_str!("../../docs/fields.md");
    let mut found = BTreeSet::new();
    names(&shown, &mut found);
    assert!(
        found.contains("energy_mj") && found.contains("library_digest"),
        "{shown}"
    );
    for name in found {
        let explained = reasons.contains(&format!("| `{name}` |"));
        // The envelope around the claims: what preview itself says of the report.
        let envelope = ["token", "claims", "bytes", "answer", "sealed", "trial"].contains(&name.as_str());
        assert!(
            explained || envelope,
            "preview shows `{name}`, for which docs/fields.md gives no reason"
        );
    }
}

#[test]
fn a_demo_that_is_interrupted_leaves_nothing_behind_and_the_operators_own_state_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (tmp, own) = (dir.path().join("tmp"), dir.path().join("own"));
    std::fs::create_dir(&tmp).unwrap();
    let mut demo = Running::start(
        program("weighbridge-testbed")
            .arg("demo")
            .env("TMPDIR", &tmp)
            .env("WEIGHBRIDGE_AGENT_STATE_DIR", &own)
            .env("WEIGHBRIDGE_AGENT_SPOOL_MAX_MIB", "64")
            .env("WEIGHBRIDGE_VERIFIER_STATE_DIR", &own)
            .env("WEIGHBRIDGE_VERIFIER_CONFIG", dir.path().join("absent.toml")),
        &dir.path().join("demo.log"),
    );
    // The second of its two nodes runs: it is about to wait for reports.
    let _line = demo.expect_line("harbour-2 enrolled");
    assert!(std::fs::read_dir(&tmp).unwrap().count() > 0);
    let left = demo.terminate();
    assert_eq!(left.code(), Some(130), "{}", demo.log());
    let remains: Vec<_> = std::fs::read_dir(&tmp).unwrap().collect();
    assert!(remains.is_empty(), "the demo left {remains:?}");
    assert!(!own.exists(), "the demo wrote into the operator's own state");
}

#[test]
fn a_demo_comes_out_as_its_story_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let output = program("weighbridge-testbed")
        .arg("demo")
        .env("TMPDIR", dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{wrong}");
    assert!(
        said.contains("every finding came out as the story has it"),
        "{said}"
    );
}

#[test]
fn doctor_is_content_with_a_node_that_can_report_and_with_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let mut verifier = Verifier::init(dir.path());
    verifier.load_licence(&licence::for_site("harbour-1", &[]));
    verifier.serve();
    let agent = Agent::new(
        dir.path(),
        "node",
        "profile = \"H100\"\ngpus = 1\ntrace = \"idle\"\n",
    );
    let doctor = || {
        let output = agent.command().arg("doctor").output().unwrap();
        (output.status.code(), said(&output))
    };
    let (code, text) = doctor();
    assert!(
        code == Some(1) && text.contains("weighbridge-agent enrol TOKEN"),
        "{text}"
    );
    agent.enrol(&verifier.token("harbour-1", &[]));
    let (code, text) = doctor();
    assert_eq!(code, Some(0), "{text}");
    let nodes = must(verifier.command().args(["node", "list", "--format", "json"]));
    let nodes: Value = serde_json::from_str(&nodes).unwrap();
    let node = nodes["nodes"][0]["node"].as_str().unwrap();
    must(
        verifier
            .command()
            .args(["node", "revoke", node, "--from", &licence::now().to_string()]),
    );
    let (code, text) = doctor();
    assert!(
        code == Some(1) && text.contains("a revocation is final"),
        "{text}"
    );
}

#[test]
fn what_is_wrong_with_the_setting_up_is_said_in_words_that_find_it() {
    let dir = tempfile::tempdir().unwrap();
    let library = dir.path().join("libnvidia-ml.so.1");
    std::fs::write(&library, "no library").unwrap();
    let inventory = || {
        let mut command = program("weighbridge-agent");
        command
            .args(["inventory", "--format", "json", "--nvml"])
            .arg(&library);
        command
    };
    let output = inventory().output().unwrap();
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    let trouble = shown["trouble"].as_str().unwrap();
    assert!(
        trouble.contains(library.to_str().unwrap()) && !trouble.contains("/proc/"),
        "{trouble}"
    );
    for (name, variable, meant) in [
        (
            "weighbridge-agent",
            "WEIGHBRIDGE_AGENT_SPOOL_MAX_MB",
            "WEIGHBRIDGE_AGENT_SPOOL_MAX_MIB",
        ),
        (
            "weighbridge-verifier",
            "WEIGHBRIDGE_VERIFIER_LISTN",
            "WEIGHBRIDGE_VERIFIER_LISTEN",
        ),
    ] {
        let verb = if name.ends_with("agent") {
            "inventory"
        } else {
            "status"
        };
        let output = program(name).arg(verb).env(variable, "1").output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(
            said(&output).contains(&format!("did you mean `{meant}`?")),
            "{}",
            said(&output)
        );
    }
    // A reader that has seen enough, such as `head -1`, is no error.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = inventory().stdout(writer).output().unwrap();
    assert!(
        output.status.code() == Some(1) && output.stderr.is_empty(),
        "{}",
        said(&output)
    );
}

/// What a command that must fail says.
fn fails(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{command:?}: {}", said(&output));
    said(&output)
}

#[test]
fn what_only_looks_at_a_damaged_spool_leaves_it_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::new(dir.path(), "node", "profile = \"H100\"\ngpus = 1\n");
    std::fs::create_dir_all(&agent.state).unwrap();
    let damaged = "no database, and long enough to be looked at";
    std::fs::write(agent.state.join("spool.redb"), damaged).unwrap();
    for looks in [
        &["preview"][..],
        &["preview", "--sent"],
        &["preview", "--report", "1"],
        &["measure", "--proof", "1"],
    ] {
        let told = fails(agent.command().args(looks));
        assert!(
            told.contains("is damaged and was left as it is"),
            "{looks:?}: {told}"
        );
        assert_eq!(told.lines().count(), 1, "{looks:?}: {told}");
        assert_eq!(std::fs::read_dir(&agent.state).unwrap().count(), 1, "{looks:?}");
        let kept = std::fs::read_to_string(agent.state.join("spool.redb")).unwrap();
        assert_eq!(kept, damaged, "{looks:?}");
    }
}

#[test]
fn a_node_is_enrolled_anew_with_a_new_key_once_its_agent_is_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let mut verifier = Verifier::init(dir.path());
    let terms = licence::Terms {
        report_seconds: 1,
        ..licence::Terms::at("harbour-1")
    };
    verifier.load_licence(&terms.write(&[]));
    verifier.serve();
    let mut agent = Agent::new(
        dir.path(),
        "node",
        "profile = \"H100\"\ngpus = 1\ntrace = \"idle\"\n",
    );
    agent.enrol(&verifier.token("harbour-1", &[]));
    agent.run();
    wait_for("a report", || stored::counts(&verifier.state).first().copied());
    let path = agent.state.join("node.key");
    let key = || std::fs::read_to_string(&path).unwrap();
    let (first, token) = (key(), verifier.token("harbour-1", &[]));
    let enrol = |agent: &Agent, arguments: &[&str]| {
        let mut command = agent.command();
        command.arg("enrol").args(arguments);
        command
    };
    // While the agent runs, and where the verifier refuses, all stays as it is.
    let refused = fails(&mut enrol(&agent, &["--again", &token]));
    assert!(refused.contains("is the agent running"), "{refused}");
    agent.stop();
    let spent = verifier.token("harbour-1", &[]);
    Agent::new(dir.path(), "other", "profile = \"H100\"\ngpus = 1\n").enrol(&spent);
    let refused = fails(&mut enrol(&agent, &["--again", &spent]));
    assert!(refused.contains("E-TOKEN"), "{refused}");
    assert_eq!(key(), first);
    must(&mut enrol(&agent, &["--again", &token]));
    assert_ne!(key(), first);
    let former = std::fs::read_to_string(path.with_extension("key.former")).unwrap();
    assert_eq!(former, first);
    assert!(agent.state.join("spool.redb.former").exists());
    agent.run();
    wait_for("reports of two nodes", || {
        (stored::counts(&verifier.state).len() == 2).then_some(())
    });
    agent.stop();

    // A key that was lost is neither made up for nor taken for another.
    std::fs::remove_file(&path).unwrap();
    for command in [&mut enrol(&agent, &[&token]), agent.command().arg("run")] {
        let lost = fails(command);
        assert!(lost.contains("its key is not in the state directory"), "{lost}");
    }
    assert!(!path.exists());
    std::fs::write(&path, first).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let other = fails(agent.command().arg("run"));
    assert!(
        other.contains("not the one that this node enrolled with"),
        "{other}"
    );
    must(&mut enrol(
        &agent,
        &["--again", &verifier.token("harbour-1", &[])],
    ));
}
