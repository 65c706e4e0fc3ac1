//! One file for each thing an adversary does. Each is refused or found, with its own reason.

mod clock_turned;
mod dropped_report;
mod edited_byte;
mod foreign_device;
mod forked_chain;
mod library_swapped;
mod malleable_signature;
mod other_verifier;
mod reordered_report;
mod replayed_report;
mod restored_state;
mod stolen_key;
mod token_twice;
mod unknown_field;

use weighbridge::time::UnixSeconds;
use weighbridge_testbed::licence;
use weighbridge_testbed::node::SimulatedNode;
use weighbridge_testbed::process::Verifier;

/// A verifier that serves, and a simulated node that it approved, with a licence for the site.
struct Stage {
    verifier: Verifier,
    _dir: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut verifier = Verifier::init(dir.path());
        verifier.load_licence(&licence::for_site("harbour-1", &[]));
        verifier.serve();
        Self { verifier, _dir: dir }
    }

    async fn node(&self) -> SimulatedNode {
        SimulatedNode::enrol(&self.verifier.token("harbour-1", &[]), 2, now()).await
    }
}

/// Simulated reports are laid end to end from some time ago, so that their times stay near the verifier's own.
fn now() -> UnixSeconds {
    licence::now().plus(-3600)
}
