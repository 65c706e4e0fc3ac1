//! An adversary delivers reports out of order. The chain puts them back: the late one is accepted, and nothing is missing in the end.

use super::Stage;

#[tokio::test]
async fn reports_in_the_wrong_order_are_put_back_by_their_chain() {
    let stage = Stage::new();
    let mut node = stage.node().await;
    node.report().await;
    let (second, _) = node.seal();
    let (third, _) = node.seal();
    assert_eq!(node.deliver(third).await.accepted().highest, 3);
    let (outcome, sentence) = stage.verifier.finding("SEC-06");
    assert_eq!(
        outcome, "not met",
        "a gap stands while report 2 is missing: {sentence}"
    );
    assert!(
        sentence.contains("1 report of node") && sentence.contains("is missing"),
        "{sentence}"
    );
    node.deliver(second).await.accepted();
    let (outcome, sentence) = stage.verifier.finding("SEC-06");
    assert_eq!(outcome, "met", "{sentence}");
}
