//! An adversary shows two statements for one place in a chain. The second is refused and kept as proof.

use super::Stage;
use weighbridge::protocol::RefusalCode;

#[tokio::test]
async fn a_second_statement_for_one_place_is_refused_and_kept_as_proof() {
    let stage = Stage::new();
    let mut node = stage.node().await;
    node.report().await;
    let (claims, mut accelerators) = node.next_claims();
    let (truth, _) = node.sign(claims.clone(), accelerators.clone());
    accelerators[0].delivered.covered_ms = 1;
    let (lie, _) = node.sign(claims, accelerators);
    node.deliver(truth).await.accepted();
    let refusal = node.deliver(lie).await.refused();
    assert_eq!(refusal.code, RefusalCode::ChainFork);
    assert_ne!(refusal.expected, refusal.found);
    let (outcome, sentence) = stage.verifier.finding("SEC-06");
    assert_eq!(outcome, "not met", "{sentence}");
    assert!(sentence.contains("two different reports"), "{sentence}");
}

#[tokio::test]
async fn a_report_that_cites_another_predecessor_is_refused() {
    let stage = Stage::new();
    let mut node = stage.node().await;
    node.report().await;
    node.previous = Some(weighbridge::id::Digest([7; 32]));
    let (bytes, _) = node.seal();
    assert_eq!(node.deliver(bytes).await.refused().code, RefusalCode::ChainFork);
}

#[tokio::test]
async fn a_report_that_was_held_back_cannot_be_rewritten_once_the_next_one_is_held() {
    let stage = Stage::new();
    let mut node = stage.node().await;
    for _ in 0..3 {
        node.report().await;
    }
    let (claims, mut accelerators) = node.next_claims();
    let (truth, digest) = node.sign(claims.clone(), accelerators.clone());
    accelerators[0].delivered.covered_ms = 1;
    let (lie, _) = node.sign(claims, accelerators);
    node.advance(digest);
    node.report().await;
    assert_eq!(node.deliver(lie).await.refused().code, RefusalCode::ChainFork);
    let (outcome, sentence) = stage.verifier.finding("SEC-06");
    assert_eq!(outcome, "not met", "{sentence}");
    assert!(sentence.contains("two different reports"), "{sentence}");
    // The one that was signed first still fills its place.
    node.deliver(truth).await.accepted();
}
