//! The NVML library is replaced under a running agent.

use std::path::PathBuf;
use std::time::Duration;
use weighbridge::crypto::sha256;
use weighbridge::id::Digest;
use weighbridge_testbed::licence;
use weighbridge_testbed::process::{Agent, Verifier, must, wait_for, wait_within};

/// A library that works and is not the one that was there.
fn forged(agent: &Agent) -> Vec<u8> {
    let mut bytes = std::fs::read(&agent.library).unwrap();
    bytes.extend_from_slice(b"forged");
    bytes
}

/// Puts a library in place, as a package upgrade does: a new file renamed over the old one.
fn put(agent: &Agent, bytes: &[u8]) {
    let new: PathBuf = agent.library.with_extension("new");
    std::fs::write(&new, bytes).unwrap();
    std::fs::rename(&new, &agent.library).unwrap();
}

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
    put(&agent, &forged(&agent));
    // The sampler looks for it once a minute, and a report follows.
    wait_within(Duration::from_secs(120), "the swap to be found", || {
        verifier.finding("SEC-09").1.contains("replaced").then_some(())
    });
    assert_eq!(verifier.finding("SEC-09").0, "not met");
}

/// The driver is let go of, asked through another library for a while, and let go of again before the first library is put back: all
/// within the time of one report.
#[test]
fn a_library_that_was_in_use_only_between_two_releases_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut verifier = Verifier::init(dir.path());
    let mut agent = Agent::new(
        dir.path(),
        "node",
        "profile = \"H100\"\ngpus = 1\ntrace = \"idle\"\n",
    );
    let (genuine, forged) = (std::fs::read(&agent.library).unwrap(), forged(&agent));
    let (approved, other) = (sha256(&genuine), sha256(&forged));
    let terms = licence::Terms {
        report_seconds: 20,
        more: format!("approved_nvml = [\"{approved}\"]\n"),
        ..licence::Terms::at("harbour-1")
    };
    verifier.load_licence(&terms.write(&[]));
    verifier.serve();
    agent.enrol(&verifier.token("harbour-1", &[]));
    agent.run();
    wait_for("the first report", || {
        (verifier.finding("SEC-09").0 == "met").then_some(())
    });
    let mut exchange = |library: &[u8], digest: &Digest| {
        let loaded = |agent: &mut Agent| agent.process().log().matches(&digest.to_string()).count();
        let before = loaded(&mut agent);
        must(agent.command().arg("release"));
        put(&agent, library);
        must(agent.command().args(["release", "--resume"]));
        wait_for("the library to be loaded", || {
            (loaded(&mut agent) > before).then_some(())
        });
    };
    exchange(&forged, &other);
    exchange(&genuine, &approved);
    wait_for("the library to be found", || {
        let (outcome, sentence) = verifier.finding("SEC-09");
        (outcome == "not met" && sentence.contains(&other.to_string())).then_some(())
    });
    let sealed = must(agent.command().arg("preview"));
    let report: serde_json::Value = serde_json::from_str(&sealed).unwrap();
    let host = &report["token"]["submods"]["host"]["host"];
    assert_eq!(
        (
            &host["driver"]["library_digest"],
            &host["former_drivers"][0]["library_digest"]
        ),
        (&approved.to_string().into(), &other.to_string().into()),
        "one report names both: {sealed}"
    );
}
