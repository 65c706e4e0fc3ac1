//! Evidence made for one verifier is shown to another.

use super::Stage;
use weighbridge::id::VerifierId;
use weighbridge::protocol::RefusalCode;

#[tokio::test]
async fn a_report_for_another_verifier_is_refused_by_its_audience() {
    let stage = Stage::new();
    let mut node = stage.node().await;
    let honest = node.verifier;
    node.verifier = VerifierId([9; 32]);
    let (bytes, _) = node.seal();
    let refusal = node.deliver(bytes).await.refused();
    assert_eq!(refusal.code, RefusalCode::Audience);
    assert!(refusal.expected.contains(&honest.to_string()), "{refusal:?}");
}

#[tokio::test]
async fn a_node_of_one_verifier_is_a_stranger_to_another() {
    let (one, other) = (Stage::new(), Stage::new());
    let mut node = one.node().await;
    let (bytes, _) = node.seal();
    // The other verifier does not take a certificate of the first: the handshake or the gate refuses.
    node.line =
        weighbridge_testbed::node::Line::identified(&other.verifier.url, &node.certificate, &node.key);
    let answer = node
        .line
        .post(
            weighbridge::protocol::PATH_REPORT,
            weighbridge::protocol::BUNDLE_MEDIA_TYPE,
            bytes,
        )
        .await;
    assert!(answer.is_err() || answer.is_ok_and(|(status, _)| status != 200));
}
