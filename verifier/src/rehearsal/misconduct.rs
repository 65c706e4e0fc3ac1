//! What an enrolled node does wrong: what is counted, what is kept as proof, and what says nothing about its site.

use super::{Node, Verifier, enrol, new_key, ready};
use crate::fleet::sites;
use crate::store::RefusalRow;
use weighbridge::appraisal::{ChainFork, NodeRecord};
use weighbridge::conditions::DaysAsked;
use weighbridge::id::Digest;
use weighbridge::ledger::LeafKind;
use weighbridge::protocol::RefusalCode;

async fn refusals(verifier: &Verifier, node: &Node) -> Vec<RefusalRow> {
    let store = verifier.session().await.store;
    store.refusals(node.enrolled.node).await.unwrap()
}

async fn record(verifier: &Verifier) -> NodeRecord {
    let store = verifier.session().await.store;
    sites(&*store, &DaysAsked::all()).await.unwrap()["harbour-1"].nodes[0]
        .record
        .clone()
}

async fn refused(verifier: &Verifier, node: &Node, bundle: &[u8], code: RefusalCode) {
    assert_eq!(node.deliver(verifier, bundle.to_vec()).await.unwrap_err(), code);
}

#[tokio::test]
async fn what_a_node_that_is_not_approved_sends_is_not_judged() {
    let mut verifier = Verifier::start().await;
    let token = verifier.token(1, false).await;
    let node = enrol(&verifier, &token, new_key()).await.unwrap();
    let huge = vec![0; 1 << 21];
    for bundle in [b"hello".as_slice(), &huge] {
        refused(&verifier, &node, bundle, RefusalCode::Node).await;
    }
    let session = verifier.session().await;
    session.approve(node.enrolled.node).await.unwrap();
    session.revoke(node.enrolled.node, None).await.unwrap();
    for bundle in [b"hello".as_slice(), &huge] {
        refused(&verifier, &node, bundle, RefusalCode::Node).await;
    }
    let counted = refusals(&verifier, &node).await;
    assert!(counted.iter().all(|r| r.code == RefusalCode::Node), "{counted:?}");
    verifier.stop().await;
}

#[tokio::test]
async fn repeated_junk_is_counted_but_not_written_each_time() {
    let (mut verifier, node) = ready().await;
    for _ in 0..7 {
        refused(&verifier, &node, b"junk", RefusalCode::Form).await;
    }
    assert_eq!(refusals(&verifier, &node).await[0].count, 4);
    // A later one is written, whatever the count: conditions ask when the last one came.
    verifier.clock.set(super::NOON.plus(600));
    refused(&verifier, &node, b"junk", RefusalCode::Form).await;
    refused(&verifier, &node, b"junk", RefusalCode::Form).await;
    let [row] = refusals(&verifier, &node).await.try_into().unwrap();
    assert_eq!((row.count, row.last_at), (8, super::NOON.plus(600)));
    assert_eq!(row.first_at, super::NOON);
    verifier.stop().await;
}

#[tokio::test]
async fn every_fork_is_known_also_when_the_sums_are_made_anew() {
    let (mut verifier, mut node) = ready().await;
    let me = node.enrolled.verifier;
    let (first, one) = node.report(me, 1, None);
    node.receipted(&verifier, first, &one).await;
    let lies: Vec<_> = (0..20)
        .map(|n| node.report(me, 1, Some(Digest([n; 32]))))
        .collect();
    // The first is offered often; that takes no room from the others.
    for (lie, _) in std::iter::repeat_n(&lies[0], 20).chain(&lies) {
        refused(&verifier, &node, lie, RefusalCode::ChainFork).await;
    }
    let chain = record(&verifier).await.facts.chain;
    let offered = |forks: &[ChainFork]| forks.iter().map(|f| f.offered).collect::<Vec<_>>();
    assert_eq!(
        offered(&chain.forks),
        lies.iter().map(|l| l.1).collect::<Vec<_>>()
    );
    assert!(chain.forks.iter().all(|f| f.held == one));
    let store = verifier.session().await.store;
    assert_eq!(store.entries(LeafKind::Fork).await.unwrap().len(), 20);
    verifier.stop().await;

    // As if another version of the program had written them.
    let database = format!("sqlite://{}", verifier.config().database().display());
    let pool = sqlx::SqlitePool::connect(&database).await.unwrap();
    sqlx::query("UPDATE facts SET body = x'ff'")
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    let facts = record(&verifier).await.facts;
    assert_eq!(facts.chain.forks, chain.forks);
    assert_eq!(facts.reports, 1);
    assert_eq!(facts.refusals.len(), 1);
    assert!(facts.refusals[0].count >= 32, "{:?}", facts.refusals);
}

#[tokio::test]
async fn forks_without_end_are_known_again_and_rewrite_nothing() {
    let (mut verifier, mut node) = ready().await;
    let me = node.enrolled.verifier;
    let (first, one) = node.report(me, 1, None);
    node.receipted(&verifier, first, &one).await;
    let lies: Vec<_> = (0..70)
        .map(|n| node.report(me, 1, Some(Digest([n; 32]))).0)
        .collect();
    for lie in &lies {
        refused(&verifier, &node, lie, RefusalCode::ChainFork).await;
    }
    let store = verifier.session().await.store;
    assert_eq!(store.entries(LeafKind::Fork).await.unwrap().len(), 64);
    let written = store.facts(node.enrolled.node).await.unwrap();
    // Those whose row in the sums has made room for others too.
    for lie in &lies {
        refused(&verifier, &node, lie, RefusalCode::ChainFork).await;
    }
    assert_eq!(store.facts(node.enrolled.node).await.unwrap(), written);
    // That they go on is not forgotten.
    let later = super::NOON.plus(600);
    verifier.clock.set(later);
    for lie in &lies[64..] {
        refused(&verifier, &node, lie, RefusalCode::ChainFork).await;
    }
    assert_eq!(store.entries(LeafKind::Fork).await.unwrap().len(), 64);
    let forks = record(&verifier).await.facts.chain.forks;
    assert_eq!(forks.iter().filter(|f| f.at == later).count(), 1);
    verifier.stop().await;
}
