//! A state directory is restored from an older copy (a snapshot, a reimaged disk). The agent learns from the verifier that its memory is
//! behind, and opens a new chain that cites the old one: a finding, not a fork.

use std::path::Path;
use weighbridge_testbed::licence;
use weighbridge_testbed::process::{Agent, Verifier, must, wait_for};
use weighbridge_testbed::stored;

fn copy(from: &Path, to: &Path) {
    must(std::process::Command::new("cp").arg("-a").arg(from).arg(to));
}

fn reports(verifier: &Verifier) -> u64 {
    stored::counts(&verifier.state).iter().sum()
}

#[test]
fn a_restored_state_directory_opens_a_new_chain_and_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut verifier = Verifier::init(dir.path());
    let mut agent = Agent::new(
        dir.path(),
        "node",
        "profile = \"H100\"\ngpus = 1\ntrace = \"idle\"\nstart_file = \"start\"\n",
    );
    let terms = licence::Terms {
        report_seconds: 1,
        ..licence::Terms::at("harbour-1")
    };
    verifier.load_licence(&terms.write(&[]));
    verifier.serve();
    agent.enrol(&verifier.token("harbour-1", &[]));
    agent.run();
    wait_for("two reports", || (reports(&verifier) >= 2).then_some(()));
    agent.stop();
    let backup = dir.path().join("backup");
    copy(&agent.state, &backup);
    agent.run();
    let before = reports(&verifier);
    wait_for("more reports", || {
        (reports(&verifier) >= before + 3).then_some(())
    });
    agent.stop();
    std::fs::remove_dir_all(&agent.state).unwrap();
    copy(&backup, &agent.state);
    let before = reports(&verifier);
    agent.run();
    wait_for("reports after the restoration", || {
        (reports(&verifier) >= before + 2).then_some(())
    });
    let (outcome, sentence) = verifier.finding("SEC-06");
    // Whether reports were made and lost between the copy and the restoration cannot be told; that there was one is said.
    assert_eq!(outcome, "cannot tell", "{sentence}");
    assert!(
        sentence.contains("new chain that cites the old one"),
        "{sentence}"
    );
    assert!(!sentence.contains("fork"), "a restoration is no fork: {sentence}");
}
