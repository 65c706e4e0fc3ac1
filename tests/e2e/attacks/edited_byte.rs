//! An adversary changes a byte on the way.

use super::Stage;
use weighbridge::protocol::RefusalCode;

#[tokio::test]
async fn an_edited_byte_is_refused_in_every_part_of_a_report() {
    let stage = Stage::new();
    let mut node = stage.node().await;
    let (bytes, _) = node.seal();
    let mut seen = std::collections::BTreeSet::new();
    // Every part: tags, header, audience, claims, signature, a device's claims. That no byte at all can be changed is shown without a
    // network, in `wire::strictness`; here a step that shares no factor with the layout goes over the wire.
    for at in (0..bytes.len()).step_by(17) {
        let mut edited = bytes.clone();
        edited[at] ^= 0x04;
        seen.insert(node.deliver(edited).await.refused().code);
    }
    assert!(
        seen.contains(&RefusalCode::Signature) && seen.contains(&RefusalCode::Form),
        "{seen:?}"
    );
    // Damage is not held against the node as if it had sent what it must not.
    assert!(!seen.contains(&RefusalCode::Field), "{seen:?}");
    let (outcome, sentence) = stage.verifier.finding("OPS-05");
    assert_eq!(outcome, "cannot tell", "{sentence}");
    node.deliver(bytes).await.accepted();
}
