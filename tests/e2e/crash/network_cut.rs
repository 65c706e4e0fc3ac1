//! The cable between agent and verifier is cut, and wears out in the middle of what is said. Nothing is lost; it arrives later.

use super::chain::{assert_spool_agrees, assert_true_chain};
use super::{Books, until};
use weighbridge_testbed::cable::Cable;
use weighbridge_testbed::chance::Chance;
use weighbridge_testbed::licence::Terms;
use weighbridge_testbed::process::{Agent, Verifier};

/// How often the cable wears out and is cut. After each the agent waits a few seconds, as it should.
const CUTS: u32 = 8;

#[test]
fn reports_arrive_once_the_cable_is_whole_again() {
    let mut chance = Chance::new("cable");
    let dir = tempfile::tempdir().unwrap();
    let mut verifier = Verifier::init(dir.path());
    let cable = Cable::to(&verifier.listen);
    verifier.url = format!("https://{}", cable.near());
    let terms = Terms {
        report_seconds: 1,
        ..Terms::at("harbour-1")
    };
    verifier.load_licence(&terms.write(&[]));
    verifier.serve();
    let books = Books::of(&verifier);
    let scenario = "profile = \"H100\"\ngpus = 2\ntrace = \"training\"\n";
    let mut agent = Agent::new(dir.path(), "node", scenario);
    agent.enrol(&verifier.token("harbour-1", &[]));
    agent.run();
    for _ in 0..CUTS {
        let before = books.count(0, "harbour-1");
        until("reports through a whole cable", || {
            books.count(0, "harbour-1") >= before + 2
        });
        let broken = cable.broken();
        cable.wear(&chance, 9_000);
        until("a connection to break", || cable.broken() > broken);
        std::thread::sleep(chance.millis(0..1_000));
        let broken = cable.broken();
        cable.cut();
        until("an attempt over the cut cable", || cable.broken() > broken);
        cable.mend();
    }
    let before = books.count(0, "harbour-1");
    until("reports after the last cut", || {
        books.count(0, "harbour-1") >= before + 3
    });
    agent.kill();
    let reports = books.reports("harbour-1");
    assert_true_chain(&reports, 1);
    assert_spool_agrees(&agent.state, &reports);
    books.assert_no_refusal();
}
