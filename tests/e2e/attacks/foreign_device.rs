//! A device that the driver does not manage, of another maker or handed to a guest, stands in a managed host.

use weighbridge_testbed::licence;
use weighbridge_testbed::process::{Agent, Verifier, wait_for};

#[test]
fn an_ascend_on_the_bus_and_a_device_given_to_a_guest_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut verifier = Verifier::init(dir.path());
    let scenario = r#"
profile = "H100"
gpus = 2
trace = "idle"
start_file = "start"
[[bus]]
vendor = 0x19e5
device = 0xd802
class = 0x120000
[[bus]]
vendor = 0x10de
device = 0x2330
class = 0x030200
driver = "vfio-pci"
"#;
    let mut agent = Agent::new(dir.path(), "node", scenario);
    let devices = nvidia_ml::identities(&nvidia_ml::Scenario::load(&agent.scenario).unwrap());
    let terms = licence::Terms {
        report_seconds: 2,
        ..licence::Terms::at("harbour-1")
    };
    verifier.load_licence(&terms.write(&devices.iter().map(|d| (d, "harbour-1")).collect::<Vec<_>>()));
    verifier.serve();
    agent.enrol(&verifier.token("harbour-1", &[]));
    agent.run();
    wait_for("a report that names the bus", || {
        verifier
            .findings("INV-11")
            .iter()
            .any(|f| f["outcome"] == "not met")
            .then_some(())
    });
    let (outcome, sentence) = verifier.finding("INV-10");
    assert_eq!(outcome, "not met", "{sentence}");
    assert!(sentence.contains("Huawei Ascend (PCI 19e5:d802)"), "{sentence}");
    let (outcome, sentence) = verifier.finding("INV-11");
    assert_eq!(outcome, "not met", "{sentence}");
    for (device, state) in [("10de:2330", "passed through"), ("19e5:d802", "unmanaged")] {
        let named = |part: &str| part.contains(device) && part.contains(state);
        assert!(sentence.split(';').any(named), "{device}, {state}: {sentence}");
    }
    assert_eq!(verifier.finding("INV-01").0, "met");
}
