//! Compute by tenant: schedulers' scripts tell the agent, reports carry pseudonyms, and the verifier adds up. Names stay on the node.

use crate::agent_json::explained;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use weighbridge::id::TenantPseudonym;
use weighbridge::report::{OpenedReport, TenantShare, TenantShares};
use weighbridge_testbed::licence;
use weighbridge_testbed::process::{Agent, Verifier, binary, must, said, wait_for};
use weighbridge_testbed::stored;

/// A name that is found wherever it leaks.
const ACCOUNT: &str = "zq-physics-7741";

fn script(agent: &Agent, name: &str, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../packaging/attribution")
        .join(name);
    let output = Command::new(path)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("WEIGHBRIDGE_AGENT", binary("weighbridge-agent"))
        .env("WEIGHBRIDGE_AGENT_CONFIG", &agent.config)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success(), "{name}: {}", said(&output));
    output
}

/// A verifier that wants a report each second, and an agent that reports to it.
fn site(dir: &Path, scenario: &str, key: Option<&Path>) -> (Verifier, Agent) {
    let mut verifier = Verifier::init(dir);
    let terms = licence::Terms {
        report_seconds: 2,
        ..licence::Terms::at("harbour-1")
    };
    verifier.load_licence(&terms.write(&[]));
    verifier.serve();
    let mut agent = Agent::new(dir, "node", scenario);
    if let Some(key) = key {
        let mut text = std::fs::read_to_string(&agent.config).unwrap();
        text.push_str(&format!("tenant_key = {key:?}\n"));
        std::fs::write(&agent.config, text).unwrap();
    }
    agent.enrol(&verifier.token("harbour-1", &[]));
    agent.run();
    wait_for("a report", || stored::counts(&verifier.state).first().copied());
    (verifier, agent)
}

fn shared_key(dir: &Path) -> PathBuf {
    let path = dir.join("tenant.key");
    weighbridge_agent::state::create_private(&path, "2a".repeat(32).as_bytes()).unwrap();
    path
}

/// What the reports say of a device and a tenant, report by report.
fn told(reports: &[OpenedReport], gpu: usize, tenant: TenantPseudonym) -> Vec<TenantShare> {
    let of = |report: &OpenedReport| {
        let list = report.claims.submods.host.host.tenants.clone()?;
        let device = report.accelerators.get(gpu)?.as_ref()?;
        let mut shares = device.delivered.tenants.iter().flat_map(TenantShares::iter);
        shares.find(|s| list.get(s.place) == Some(&tenant)).cloned()
    };
    reports.iter().filter_map(of).collect()
}

fn list(agent: &Agent) -> Vec<Value> {
    let text = must(agent.command().args(["attribute", "--list", "--format", "json"]));
    let value: Value = serde_json::from_str(&text).unwrap();
    value["attributions"].as_array().unwrap().clone()
}

/// The files under a directory that hold the text.
fn holding(dir: &Path, text: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            holding(&path, text, found);
        } else if kind.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            if bytes.windows(text.len()).any(|w| w == text.as_bytes()) {
                found.push(path);
            }
        }
    }
}

#[test]
fn a_slurm_job_is_attributed_from_its_prolog_to_its_epilog_and_its_account_never_leaves_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = "profile = \"H100\"\ngpus = 2\ntrace = \"burn\"\n";
    let key = shared_key(dir.path());
    let (verifier, mut agent) = site(dir.path(), scenario, Some(&key));
    let tenant = TenantPseudonym::of(&[0x2a; 32], ACCOUNT);
    let job = [
        ("SLURM_JOB_ID", "17"),
        ("SLURM_JOB_ACCOUNT", ACCOUNT),
        ("SLURM_JOB_GPUS", "0"),
    ];
    script(&agent, "slurm-prolog", &job, &[]);
    let held = list(&agent);
    assert_eq!(held.len(), 1, "{held:?}");
    assert_eq!(
        (held[0]["tenant"].as_str(), held[0]["pseudonym"].as_str()),
        (Some(ACCOUNT), Some(&*tenant.to_string()))
    );
    let members: BTreeSet<String> = held[0].as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        members,
        explained("weighbridge-agent attribute --list --format json")
    );
    // It survives the agent.
    agent.kill();
    agent.run();
    let mut reports = Vec::new();
    wait_for("a whole report of the tenant's", || {
        reports = stored::reports(&verifier.state);
        told(&reports, 0, tenant)
            .iter()
            .find(|s| s.attributed_ms >= 1_900 && s.lower.0 > 0)
            .cloned()
    });
    assert_eq!(list(&agent), held);
    assert!(told(&reports, 1, tenant).is_empty(), "the other GPU is nobody's");
    script(&agent, "slurm-epilog", &job, &[]);
    assert!(list(&agent).is_empty());
    let ended = stored::reports(&verifier.state).len();
    wait_for("a report without tenants", || {
        let reports = stored::reports(&verifier.state);
        let last = reports.last()?;
        (reports.len() > ended + 1 && last.claims.submods.host.host.tenants.is_none()).then_some(())
    });
    // Sums are written after every twelve reports.
    wait_for("the tenant's sums", || {
        let output = verifier
            .command()
            .args([
                "status",
                "--compute",
                "--by",
                "tenant",
                "--period",
                "day",
                "--format",
                "json",
            ])
            .output()
            .unwrap();
        let status: Value = serde_json::from_slice(&output.stdout).unwrap();
        let mine = |g: &&Value| g["tenant"] == tenant.to_string().as_str();
        let group = status["groups"].as_array().unwrap().iter().find(mine)?.clone();
        let members: BTreeSet<String> = group.as_object()?.keys().cloned().collect();
        assert_eq!(
            members,
            explained("weighbridge-verifier status --compute --by tenant --format json")
        );
        (group["attributed_s"].as_u64()? >= 1 && group["nodes"] == 1).then_some(())
    });
    let text = must_or_open(
        verifier
            .command()
            .args(["status", "--compute", "--period", "day"]),
    );
    assert!(text.contains("attributed to 1 tenant"), "{text}");

    agent.stop();
    let mut found = Vec::new();
    holding(dir.path(), ACCOUNT, &mut found);
    assert_eq!(found, Vec::<PathBuf>::new(), "and what was ended is forgotten");
    let mut found = Vec::new();
    holding(dir.path(), &tenant.to_string(), &mut found);
    assert!(
        found.iter().any(|p| p.ends_with("agent.log")),
        "the log names the pseudonym: {found:?}"
    );
}

/// Both are results: what holds, and what cannot be told.
fn must_or_open(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", said(&output));
    said(&output)
}

#[test]
fn a_container_is_attributed_to_its_namespace_and_an_instance_of_mig_counts_above_alone() {
    let dir = tempfile::tempdir().unwrap();
    let scenario = "profile = \"MIG\"\ngpus = 1\ntrace = \"burn\"\n";
    let (verifier, agent) = site(dir.path(), scenario, None);
    let inventory = agent.inventory();
    let mig = inventory["inventory"]["mig_devices"][2]["uuid"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(mig.starts_with("MIG-"), "{inventory}");
    let container = [
        ("NVIDIA_VISIBLE_DEVICES", mig.as_str()),
        ("POD_NAMESPACE", ACCOUNT),
    ];
    script(&agent, "container-hook", &container, &["start"]);
    let held = list(&agent);
    assert_eq!((held.len(), held[0]["device"].as_str()), (1, Some(mig.as_str())));
    let tenant = TenantPseudonym::parse(held[0]["pseudonym"].as_str().unwrap()).unwrap();
    let share = wait_for("a whole report of the tenant's", || {
        let reports = stored::reports(&verifier.state);
        told(&reports, 0, tenant)
            .into_iter()
            .find(|s| s.attributed_ms >= 1_900)
    });
    assert_eq!((share.lower.0, share.counter.0), (0, 0));
    let reports = stored::reports(&verifier.state);
    let device = reports.last().unwrap().accelerators[0].as_ref().unwrap();
    let whole = device.delivered.compute.as_ref().unwrap();
    assert!(
        share.upper.0 > 0 && share.upper.0 * 6 < whole.upper_unconditional.0,
        "{share:?} of {whole:?}"
    );
    script(&agent, "container-hook", &container, &["stop"]);
    assert!(list(&agent).is_empty());
    // While it is held, the name stands in the file of the attributions, and nowhere else.
    script(&agent, "container-hook", &container, &["start"]);
    let mut found = Vec::new();
    holding(dir.path(), ACCOUNT, &mut found);
    assert_eq!(found, [agent.state.join("tenants.cbor")]);
    let log = std::fs::read_to_string(dir.path().join("node/agent.log")).unwrap();
    assert!(
        log.contains("pseudonyms of this node's own, which differ by node"),
        "{log}"
    );
    let devices = [("NVIDIA_VISIBLE_DEVICES", "all"), ("POD_NAMESPACE", ACCOUNT)];
    assert!(said(&script(&agent, "container-hook", &devices, &["start"])).contains("nothing is attributed"));
}

#[test]
fn what_cannot_be_attributed_is_said_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let (_verifier, agent) = site(
        dir.path(),
        "profile = \"H100\"\ngpus = 1\ntrace = \"idle\"\n",
        None,
    );
    for (arguments, why) in [
        (
            &["--device", "0", "--tenant", ACCOUNT, "--from", "2026-01-01"][..],
            "not attributed afterwards",
        ),
        (
            &["--device", "9", "--tenant", ACCOUNT],
            "this node has no device `9`",
        ),
        (&["--device", "0", "--tenant", ""], "1 to 256 bytes"),
        (
            &["--device", "0", "--tenant", ACCOUNT, "--to", "2020-01-01"],
            "--to lies before the start",
        ),
        (
            &["--device", "0", "--tenant", ACCOUNT, "--from", "soon"],
            "is not a time",
        ),
        (&["--device", "0"], "required arguments were not provided"),
        (&["--tenant", ACCOUNT], "required arguments were not provided"),
        (&["--list", "--end"], "cannot be used with"),
        (
            &["--end", "--device", "0", "--to", "2030-01-01"],
            "cannot be used with",
        ),
        (
            &["--device", "0", "--tenant", ACCOUNT, "--format", "json"],
            "cannot be used with",
        ),
    ] {
        let output = agent.command().arg("attribute").args(arguments).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", said(&output));
        assert!(
            errors.lines().count() == 1 && errors.contains(why),
            "{arguments:?}: {errors}"
        );
    }
    assert_eq!(
        must(agent.command().args(["attribute", "--list"])),
        "no device is attributed\n"
    );
}
