//! The whole way: what replayed devices sign goes through the real agent and the real verifier into the findings.

use nvidia_ml::profile::ProfileName;
use serde_json::Value;
use weighbridge_agent::clock::{Clock, SystemClock};
use weighbridge_testbed::device_pki::{DevicePki, Flaw, Host, HostSpec, Slot};
use weighbridge_testbed::licence::Terms;
use weighbridge_testbed::process::{Agent, Verifier, wait_for};

/// GPUs of the node.
const GPUS: u16 = 3;

/// A verifier that trusts the synthetic maker, and a node that reports to it every second.
struct Site {
    verifier: Verifier,
    agent: Agent,
    _dir: tempfile::TempDir,
}

impl Site {
    /// With devices that sign, each as its slot says; none where confidential computing is off.
    fn new(slots: Option<&[Slot]>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut verifier = Verifier::init(dir.path());
        let host = slots.map(|slots| Self::devices(dir.path(), slots));
        if let Some(host) = &host {
            verifier.trust_devices(host);
        }
        let terms = Terms {
            report_seconds: 1,
            ..Terms::at("harbour-1")
        };
        verifier.load_licence(&terms.write(&[]));
        verifier.serve();
        let evidence = host.as_ref().map_or_else(String::new, Host::section);
        let scenario = format!("profile = \"H100\"\ngpus = {GPUS}\ntrace = \"training\"\n{evidence}");
        let mut agent = Agent::new(dir.path(), "node", &scenario);
        agent.enrol(&verifier.token("harbour-1", &[]));
        agent.run();
        Self {
            verifier,
            agent,
            _dir: dir,
        }
    }

    fn devices(dir: &std::path::Path, slots: &[Slot]) -> Host {
        let dir = dir.join("devices");
        std::fs::create_dir(&dir).unwrap();
        let now = SystemClock.wall_now();
        DevicePki::at(now).write_host(&dir, slots, &HostSpec::of(ProfileName::H100, now))
    }

    /// Waits until a condition comes to this outcome; returns its finding.
    fn comes_to(&mut self, condition: &str, outcome: &str) -> Value {
        let mut last = Value::Null;
        wait_for(&format!("{condition} `{outcome}`"), || {
            assert!(self.agent.process().alive(), "{}", self.agent.process().log());
            last = self.verifier.findings(condition).first()?.clone();
            (last["outcome"] == outcome).then(|| last.clone())
        })
    }
}

fn sentence(finding: &Value) -> &str {
    finding["sentence"].as_str().unwrap()
}

/// GPUs without a flaw, but for the last.
fn but_the_last(flaw: Flaw) -> Vec<Slot> {
    let mut slots = Slot::row(1, GPUS);
    slots.last_mut().unwrap().flaw = Some(flaw);
    slots
}

#[test]
fn what_devices_sign_is_device_signed_and_telemetry_stays_driver_reported() {
    let mut site = Site::new(Some(&Slot::row(1, GPUS)));
    let identity = site.comes_to("INV-05", "met");
    assert_eq!(identity["grade"], "device-signed", "{identity}");
    assert!(
        sentence(&identity).contains("each of 3 devices that report"),
        "{identity}"
    );
    // Whoever reads it knows that the maker is not NVIDIA, and that a question can be relayed.
    assert!(sentence(&identity).contains("is not the maker's"), "{identity}");
    assert!(sentence(&identity).contains("relayed"), "{identity}");
    let firmware = site.comes_to("SEC-01", "met");
    assert_eq!(firmware["grade"], "device-signed", "{firmware}");
    site.comes_to("SEC-02", "met");
    let telemetry = site.verifier.findings("OPS-02");
    assert_eq!(telemetry[0]["grade"], "driver-reported", "{telemetry:?}");
}

#[test]
fn where_the_platform_offers_none_identity_is_what_the_driver_says_and_why_is_told() {
    let mut site = Site::new(None);
    let identity = site.comes_to("INV-05", "cannot tell");
    assert_eq!(identity["grade"], "driver-reported", "{identity}");
    // Before the first round the driver alone tells; after it, the round does.
    wait_for("a round", || {
        let shown = site.verifier.hardware_evidence();
        shown["last_round"].is_object().then_some(())
    });
    let identity = site.comes_to("INV-05", "cannot tell");
    assert_eq!(identity["message_id"], "INV-05.not-offered", "{identity}");
    assert!(
        sentence(&identity).contains("confidential computing is off on 3 GPUs"),
        "{identity}"
    );
    let firmware = site.verifier.findings("SEC-01");
    assert_eq!(firmware[0]["outcome"], "cannot tell", "{firmware:?}");
    assert_eq!(firmware[0]["grade"], "driver-reported", "{firmware:?}");
}

#[test]
fn firmware_that_measures_otherwise_is_named_by_device_and_index() {
    let mut site = Site::new(Some(&but_the_last(Flaw::Altered(7))));
    let firmware = site.comes_to("SEC-01", "not met");
    assert_eq!(firmware["grade"], "device-signed", "{firmware}");
    assert!(sentence(&firmware).contains('7'), "{firmware}");
    assert_eq!(
        firmware["subjects"].as_array().map(Vec::len),
        Some(1),
        "{firmware}"
    );
    // Who it is, it proved all the same.
    site.comes_to("INV-05", "met");
}

#[test]
fn a_device_whose_certificate_was_revoked_does_not_pass_and_one_on_hold_neither() {
    for flaw in [Flaw::Revoked, Flaw::OnHold] {
        let mut site = Site::new(Some(&but_the_last(flaw)));
        let firmware = site.comes_to("SEC-01", "not met");
        let word = if flaw == Flaw::Revoked {
            "revoked"
        } else {
            "on hold"
        };
        assert!(sentence(&firmware).contains(word), "{firmware}");
        // A key that its maker takes back names nobody.
        let identity = site.comes_to("INV-05", "not met");
        assert_eq!(identity["message_id"], "INV-05.certificate-revoked", "{identity}");
        assert_eq!(
            identity["subjects"].as_array().map(Vec::len),
            Some(1),
            "{identity}"
        );
        assert_eq!(site.verifier.hardware_evidence()["grade"], "driver-reported");
    }
}

#[test]
fn a_responder_that_does_not_know_a_device_and_firmware_that_is_not_its_own_are_told_apart() {
    let mut site = Site::new(Some(&but_the_last(Flaw::Unknown)));
    let firmware = site.comes_to("SEC-01", "not met");
    assert!(sentence(&firmware).contains("does not know"), "{firmware}");
    let mut site = Site::new(Some(&but_the_last(Flaw::Firmware)));
    let identity = site.comes_to("INV-05", "not met");
    assert_eq!(identity["message_id"], "INV-05.firmware-differs", "{identity}");
}
