//! From devices to `node show`: the real agent has replayed devices sign, and the real verifier says what they proved.

use serde_json::Value;
use weighbridge_testbed::device_pki::{DevicePki, Flaw, HostSpec, Slot};
use weighbridge_testbed::licence::{self, now};
use weighbridge_testbed::process::{Agent, Verifier, wait_for};

use nvidia_ml::profile::ProfileName;

/// A host of these devices reports until its round was appraised.
fn appraised(slots: &[Slot]) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let pki = DevicePki::at(now());
    let files = dir.path().join("devices");
    std::fs::create_dir(&files).unwrap();
    let spec = HostSpec::of(ProfileName::H100, now());
    let host = pki.write_host(&files, slots, &spec);
    let mut verifier = Verifier::init(dir.path());
    let terms = licence::Terms {
        report_seconds: 2,
        ..licence::Terms::at("harbour-1")
    };
    verifier.load_licence(&terms.write(&[]));
    verifier.trust_devices(&host);
    verifier.serve();
    let scenario = format!(
        "profile = \"H100\"\ngpus = {}\ntrace = \"training\"\n{}",
        slots.len(),
        host.section()
    );
    let mut agent = Agent::new(dir.path(), "node", &scenario);
    agent.enrol(&verifier.token("harbour-1", &[]));
    agent.run();
    wait_for("a round that was appraised", || {
        let shown = verifier.hardware_evidence();
        (!shown["appraised"].is_null()).then_some(shown)
    })
}

/// The outcomes of a device's checks, those that passed left out.
fn wrong(device: &Value) -> Vec<(&str, &str)> {
    let checks = device["checks"].as_array().unwrap();
    let pairs = checks
        .iter()
        .map(|c| (c["name"].as_str().unwrap(), c["outcome"].as_str().unwrap()));
    pairs.filter(|(_, outcome)| *outcome != "pass").collect()
}

#[test]
fn devices_that_the_agent_asks_prove_who_they_are() {
    let shown = appraised(&Slot::row(1, 2));
    assert_eq!(shown["grade"], "device-signed", "{shown:#}");
    for device in shown["appraised"]["devices"].as_array().unwrap() {
        assert_eq!((wrong(device), &device["proved"]), (vec![], &Value::Bool(true)));
    }
}

#[test]
fn a_device_that_was_revoked_or_measures_something_else_is_named() {
    let mut slots = Slot::row(1, 3);
    slots[1].flaw = Some(Flaw::Altered(3));
    slots[2].flaw = Some(Flaw::Revoked);
    let shown = appraised(&slots);
    let devices = shown["appraised"]["devices"].as_array().unwrap();
    assert_eq!(wrong(&devices[0]), []);
    assert_eq!(wrong(&devices[1]), [("measurements", "fail")]);
    assert_eq!(devices[1]["mismatches"], serde_json::json!([3]));
    assert_eq!(
        wrong(&devices[2]),
        [("revocation", "fail"), ("certificate", "fail")]
    );
    let proved = [0, 1, 2].map(|i| devices[i]["proved"].as_bool());
    assert_eq!(proved, [Some(true), Some(true), Some(false)]);
}
