//! A node's key is used on a second machine. Both speak for one node, so their chains collide or run side by side; either is found.

use super::Stage;
use weighbridge::id::{BootId, ChainId};
use weighbridge::protocol::RefusalCode;

#[tokio::test]
async fn a_thief_who_continues_the_chain_forks_it() {
    let stage = Stage::new();
    let mut node = stage.node().await;
    node.report().await;
    let (claims, accelerators) = node.next_claims();
    let mut stolen = claims.clone();
    stolen.report.boot = BootId([0xdd; 16]);
    let (thief, _) = node.sign(stolen, accelerators.clone());
    node.deliver(thief).await.accepted();
    let (honest, _) = node.sign(claims, accelerators);
    assert_eq!(node.deliver(honest).await.refused().code, RefusalCode::ChainFork);
    let (outcome, sentence) = stage.verifier.finding("SEC-06");
    assert_eq!(outcome, "not met", "{sentence}");
    assert!(sentence.contains("two different reports"), "{sentence}");
}

#[tokio::test]
async fn a_thief_who_opens_a_chain_of_his_own_is_found() {
    let stage = Stage::new();
    let mut node = stage.node().await;
    node.report().await;
    let (mut claims, accelerators) = node.next_claims();
    claims.report.chain = ChainId([0xdd; 16]);
    claims.report.boot = BootId([0xdd; 16]);
    claims.report.sequence = 1;
    claims.report.previous = None;
    let (thief, _) = node.sign(claims, accelerators);
    node.deliver(thief).await.accepted();
    node.report().await;
    let (outcome, sentence) = stage.verifier.finding("SEC-06");
    assert_eq!(outcome, "not met", "{sentence}");
    for reason in [
        "a new chain that does not say what came before",
        "a chain that was left and goes on beside the new one",
    ] {
        assert!(sentence.contains(reason), "no `{reason}` in: {sentence}");
    }
}
