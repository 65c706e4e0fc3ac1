//! The node's wall clock is turned back or forward, to make a report speak of another time.

use super::Stage;

#[tokio::test]
async fn a_clock_far_from_the_verifiers_is_found() {
    for (name, shift) in [("back", -40 * 86_400), ("forward", 40 * 86_400)] {
        let stage = Stage::new();
        let mut node = stage.node().await;
        node.report().await;
        node.wall = node.wall.plus(shift);
        node.report().await;
        let (outcome, sentence) = stage.verifier.finding("OPS-03");
        let (chain, chain_sentence) = stage.verifier.finding("SEC-06");
        assert!(
            outcome != "met" || chain != "met",
            "a clock turned {name} left no mark: {sentence} / {chain_sentence}"
        );
        assert!(
            sentence.contains("clock") || chain_sentence.contains("clock"),
            "{name}: {sentence} / {chain_sentence}"
        );
    }
}

#[tokio::test]
async fn a_step_that_the_node_itself_saw_is_found() {
    let stage = Stage::new();
    let mut node = stage.node().await;
    node.report().await;
    let (mut claims, accelerators) = node.next_claims();
    claims.report.time.wall_steps = 1;
    claims.report.time.wall_step_seconds = 7200;
    let (bytes, digest) = node.sign(claims, accelerators);
    node.deliver(bytes).await.accepted();
    node.advance(digest);
    let (_, sentence) = stage.verifier.finding("OPS-03");
    let (_, chain) = stage.verifier.finding("SEC-06");
    assert!(
        sentence.contains("clock") || chain.contains("clock"),
        "{sentence} / {chain}"
    );
}
