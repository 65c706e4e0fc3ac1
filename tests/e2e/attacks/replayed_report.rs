//! An adversary captures a report and sends it again, at once or after others. It changes nothing, and a second node cannot send it as its own.

use super::Stage;
use weighbridge::protocol::{ReceiptState, RefusalCode};

#[tokio::test]
async fn a_replayed_report_gets_its_old_receipt_and_changes_nothing() {
    let stage = Stage::new();
    let mut node = stage.node().await;
    let (first, digest) = node.seal();
    let receipt = node.deliver(first.clone()).await.accepted();
    assert_eq!(receipt.state, ReceiptState::Recorded);
    node.report().await;
    let again = node.deliver(first.clone()).await.accepted();
    assert_eq!(again.state, ReceiptState::Held);
    assert_eq!(
        (again.leaf_index, again.sequence, again.highest),
        (receipt.leaf_index, 1, 2)
    );
    again.check(&node.id, &digest, &node.ledger, None).unwrap();
}

#[tokio::test]
async fn a_report_replayed_by_another_node_is_refused() {
    let stage = Stage::new();
    let (mut node, mut thief) = (stage.node().await, stage.node().await);
    let (report, _) = node.seal();
    let refusal = thief.deliver(report).await.refused();
    assert_eq!(refusal.code, RefusalCode::Node);
}
