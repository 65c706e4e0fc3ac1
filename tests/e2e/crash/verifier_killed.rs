//! The verifier is killed, and its power cut, while nodes report. Every receipt that it handed out stays true.

use super::{Books, KILLS, until};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use weighbridge::cbor;
use weighbridge::id::Digest;
use weighbridge::protocol::{BUNDLE_MEDIA_TYPE, Head, PATH_HEAD, PATH_REPORT, Receipt, ReceiptState};
use weighbridge::report::CheckpointSeen;
use weighbridge::time::UnixSeconds;
use weighbridge_testbed::chance::Chance;
use weighbridge_testbed::node::SimulatedNode;
use weighbridge_testbed::outage::Outage;
use weighbridge_testbed::process::Verifier;

const NODES: usize = 3;

#[test]
fn no_receipt_is_lost_when_the_verifier_is_killed() {
    ordeal("verifier killed", false);
}

#[test]
fn no_receipt_is_lost_when_the_power_of_the_verifier_is_cut() {
    ordeal("verifier's power cut", true);
}

fn ordeal(name: &str, forgetful: bool) {
    let mut chance = Chance::new(name);
    let dir = tempfile::tempdir().unwrap();
    let mut verifier = Verifier::init(dir.path());
    let tokens: Vec<_> = (0..NODES).map(|_| verifier.token("harbour-1", &[])).collect();
    let disk = forgetful.then(|| Outage::over(&verifier.state));
    if let Some(disk) = &disk {
        verifier.put_over(disk);
    }
    verifier.serve();

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let witness = Arc::new(Witness::default());
    let nodes: Vec<_> = tokens
        .into_iter()
        .map(|token| {
            let node = runtime.block_on(SimulatedNode::enrol(&token, 1, UnixSeconds(1_790_000_000)));
            runtime.spawn(report(node, Arc::clone(&witness)))
        })
        .collect();
    for _ in 0..KILLS {
        if chance.within(0..4) == 0 {
            // As it starts, or soon after.
            std::thread::sleep(chance.millis(0..250));
        } else {
            let before = witness.receipts.load(Ordering::Relaxed);
            until("a receipt", || {
                assert!(
                    verifier.process().alive(),
                    "it ended by itself:\n{}",
                    verifier.process().log()
                );
                assert!(
                    nodes.iter().all(|n| !n.is_finished()),
                    "a node was told what does not hold"
                );
                witness.receipts.load(Ordering::Relaxed) > before
            });
            std::thread::sleep(chance.millis(0..60));
        }
        verifier.kill();
        if let Some(disk) = &disk {
            disk.strike();
        }
        verifier.start();
    }
    witness.enough.store(true, Ordering::Relaxed);
    println!("{name}: {} receipts", witness.receipts.load(Ordering::Relaxed));
    for node in nodes {
        let (node, seen) = runtime.block_on(node).unwrap();
        runtime.block_on(check(&node, &seen));
    }
    verifier.kill();
    Books::of(&verifier).assert_no_refusal();
}

#[derive(Default)]
struct Witness {
    receipts: AtomicU64,
    enough: AtomicBool,
}

/// What a node was told of one report.
struct Told {
    bundle: Vec<u8>,
    digest: Digest,
    cited: Option<CheckpointSeen>,
    receipt: Receipt,
    seen: CheckpointSeen,
}

/// Reports without a pause; sends each report until it has its receipt.
async fn report(mut node: SimulatedNode, witness: Arc<Witness>) -> (SimulatedNode, Vec<Told>) {
    let mut all: Vec<Told> = Vec::new();
    while !witness.enough.load(Ordering::Relaxed) {
        let (mut claims, accelerators) = node.next_claims();
        let cited = all.last().map(|t| t.seen.clone());
        claims.report.checkpoint = cited.clone();
        let (bundle, digest) = node.sign(claims, accelerators);
        node.advance(digest);
        let receipt: Receipt = loop {
            match node
                .line
                .post(PATH_REPORT, BUNDLE_MEDIA_TYPE, bundle.clone())
                .await
            {
                Ok((200, body)) => break cbor::decode_strict(&body).unwrap(),
                Ok((status, _)) => assert!(status >= 500, "answered with {status}"),
                Err(_) => {}
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let seen = receipt
            .check(&node.id, &digest, &node.ledger, cited.as_ref())
            .unwrap();
        node.challenge = Some(receipt.instructions.challenge);
        witness.receipts.fetch_add(1, Ordering::Relaxed);
        all.push(Told {
            bundle,
            digest,
            cited,
            receipt,
            seen,
        });
    }
    (node, all)
}

/// Everything that the node was told holds in the ledger as it stands now.
async fn check(node: &SimulatedNode, told: &[Told]) {
    let (mut leaves, mut roots) = (BTreeSet::new(), BTreeMap::new());
    for one in told {
        let (status, body) = node
            .line
            .post(PATH_REPORT, BUNDLE_MEDIA_TYPE, one.bundle.clone())
            .await
            .unwrap();
        assert_eq!(status, 200, "a report that was receipted is not held");
        let now: Receipt = cbor::decode_strict(&body).unwrap();
        assert_eq!(now.state, ReceiptState::Held);
        assert_eq!(
            (now.leaf_index, now.salt),
            (one.receipt.leaf_index, one.receipt.salt)
        );
        assert_eq!(now.highest, node.sequence);
        now.check(&node.id, &one.digest, &node.ledger, one.cited.as_ref())
            .unwrap();
        assert!(leaves.insert(now.leaf_index), "two reports have one leaf");
        roots.insert(one.seen.size, one.seen.clone());
    }
    for seen in roots.values() {
        let (status, body) = node
            .line
            .get(&format!("{PATH_HEAD}?seen={}", seen.size))
            .await
            .unwrap();
        assert_eq!(status, 200);
        let head: Head = cbor::decode_strict(&body).unwrap();
        head.check(&node.ledger, Some(seen)).unwrap();
    }
    let head = node.head().await.latest.unwrap();
    assert_eq!(
        (head.chain, head.sequence, Some(head.digest)),
        (node.chain, node.sequence, node.previous)
    );
}
