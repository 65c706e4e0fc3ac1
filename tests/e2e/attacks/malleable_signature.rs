//! Anyone can turn a valid ECDSA signature into another valid one over the same statement. It must not count as a second statement.

use super::Stage;
use weighbridge::cbor;
use weighbridge::protocol::ReceiptState;
use weighbridge::report::Bundle;
use weighbridge_testbed::fixture;

#[tokio::test]
async fn the_other_form_of_a_signature_is_the_same_statement() {
    let stage = Stage::new();
    let mut node = stage.node().await;
    let (bytes, digest) = node.seal();
    let first = node.deliver(bytes.clone()).await.accepted();
    let mut parts: Bundle = cbor::decode_strict(&bytes).unwrap();
    parts.token.signature = fixture::other_signature(&parts.token.signature);
    let twin = cbor::encode(&parts);
    assert_ne!(twin, bytes);
    let second = node.deliver(twin).await.accepted();
    assert_eq!((second.state, second.report), (ReceiptState::Held, digest));
    assert_eq!(second.leaf_index, first.leaf_index);
}
