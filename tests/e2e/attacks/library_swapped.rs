//! The NVML library is replaced under a running agent.

use std::io::Write;
use weighbridge_testbed::licence;
use weighbridge_testbed::process::{Agent, Verifier, wait_for};

#[test]
fn a_library_that_was_swapped_while_loaded_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut verifier = Verifier::init(dir.path());
    let mut agent = Agent::new(
        dir.path(),
        "node",
        "profile = \"H100\"\ngpus = 1\ntrace = \"idle\"\nstart_file = \"start\"\n",
    );
    let terms = licence::Terms {
        report_seconds: 2,
        ..licence::Terms::at("harbour-1")
    };
    verifier.load_licence(&terms.write(&[]));
    verifier.serve();
    agent.enrol(&verifier.token("harbour-1", &[]));
    agent.run();
    wait_for("the first report", || {
        verifier
            .findings("SEC-09")
            .iter()
            .any(|f| f["outcome"] == "not met")
            .then_some(())
    });
    assert!(
        !verifier.finding("SEC-09").1.contains("replaced"),
        "{}",
        verifier.finding("SEC-09").1
    );
    // As a package upgrade or an adversary does it: a new file renamed over the old one.
    let forged = agent.library.with_extension("new");
    let mut bytes = std::fs::read(&agent.library).unwrap();
    bytes.extend_from_slice(b"forged");
    std::fs::File::create(&forged).unwrap().write_all(&bytes).unwrap();
    std::fs::rename(&forged, &agent.library).unwrap();
    wait_for("the swap to be found", || {
        verifier.finding("SEC-09").1.contains("replaced").then_some(())
    });
}
