//! An adversary drops a report on its way. The chain shows that one is missing, and which.

use super::Stage;

#[tokio::test]
async fn a_dropped_report_is_found_as_a_gap() {
    let stage = Stage::new();
    let mut node = stage.node().await;
    node.report().await;
    let _dropped = node.seal();
    node.report().await;
    let (outcome, sentence) = stage.verifier.finding("SEC-06");
    assert_eq!(outcome, "not met", "{sentence}");
    assert!(
        sentence.contains(&format!(
            "1 report of node {} is missing",
            &node.id.to_string()[..10]
        )),
        "{sentence}"
    );
}
