//! Reports, their receipts and refusals.

use super::*;
use crate::fleet::Kept;

#[tokio::test]
async fn a_report_gets_a_receipt_that_outlives_the_verifier_and_the_same_report_gets_it_again() {
    let (mut verifier, mut node) = ready().await;
    let me = node.enrolled.verifier;
    let (first, one) = node.report(me, 1, None);
    let receipt = node.receipted(&verifier, first.clone(), &one).await;
    assert_eq!((receipt.state, receipt.highest), (ReceiptState::Recorded, 1));

    verifier.stop().await;
    verifier.serve().await;

    let (second, two) = node.report(me, 2, Some(one));
    let next = node.receipted(&verifier, second, &two).await;
    assert_ne!(next.instructions.challenge, receipt.instructions.challenge);
    let again = node.deliver(&verifier, first).await.unwrap();
    assert_eq!(
        (again.state, again.leaf_index, again.highest),
        (ReceiptState::Held, receipt.leaf_index, 2)
    );
    again
        .check(&node.enrolled.node, &one, &node.ledger(), None)
        .unwrap();
    verifier.stop().await;
}

#[tokio::test]
async fn a_gap_and_a_late_report_are_taken_and_the_head_says_what_is_held() {
    let (mut verifier, mut node) = ready().await;
    let me = node.enrolled.verifier;
    let (first, one) = node.report(me, 1, None);
    let (second, two) = node.report(me, 2, Some(one));
    let (third, three) = node.report(me, 3, Some(two));
    node.receipted(&verifier, first, &one).await;
    assert_eq!(node.receipted(&verifier, third, &three).await.highest, 3);
    assert_eq!(node.receipted(&verifier, second, &two).await.highest, 3);
    let url = format!(
        "{}{PATH_HEAD}?seen={}",
        verifier.url(),
        node.seen.as_ref().unwrap().size
    );
    let head: Head = read(node.client(&verifier.clock).get(url).send().await.unwrap())
        .await
        .unwrap();
    head.check(&node.ledger(), node.seen.as_ref()).unwrap();
    let latest = head.latest.unwrap();
    assert_eq!((latest.sequence, latest.digest), (3, three));
    verifier.stop().await;
}

#[tokio::test]
async fn each_refusal_has_its_own_code() {
    let (mut verifier, mut node) = ready().await;
    let me = node.enrolled.verifier;
    let (first, one) = node.report(me, 1, None);
    node.receipted(&verifier, first.clone(), &one).await;

    let mut edited = first.clone();
    let last = edited.len() - 1;
    edited[last - 5] ^= 1;
    assert_eq!(
        node.deliver(&verifier, edited).await.unwrap_err(),
        RefusalCode::Signature
    );
    assert_eq!(
        node.deliver(&verifier, b"hello".to_vec()).await.unwrap_err(),
        RefusalCode::Form
    );
    assert_eq!(
        node.deliver(&verifier, vec![0; 1 << 21]).await.unwrap_err(),
        RefusalCode::Size
    );
    let (elsewhere, _) = node.report(VerifierId([9; 32]), 2, Some(one));
    assert_eq!(
        node.deliver(&verifier, elsewhere).await.unwrap_err(),
        RefusalCode::Audience
    );
    let (other, _) = node.report(me, 1, Some(Digest([5; 32])));
    assert_eq!(
        node.deliver(&verifier, other).await.unwrap_err(),
        RefusalCode::ChainFork
    );

    let mut thief = node.clone();
    thief.enrolled.node = NodeId([1; 17]);
    let (claimed, _) = thief.report(me, 2, Some(one));
    assert_eq!(
        node.deliver(&verifier, claimed).await.unwrap_err(),
        RefusalCode::Node
    );
    let nobody = client(&verifier.clock, &node.enrolled.ca.0, None);
    let url = format!("{}{PATH_REPORT}", verifier.url());
    assert_eq!(
        post::<Receipt>(&nobody, url, first.clone()).await.unwrap_err(),
        RefusalCode::Node
    );

    // Each was counted once; the node still reports.
    let session = verifier.session().await;
    let refusals = session.store.refusals(node.enrolled.node).await.unwrap();
    assert_eq!(refusals.len(), 6, "{refusals:?}");
    let (second, two) = node.report(me, 2, Some(one));
    node.receipted(&verifier, second, &two).await;

    session.revoke(node.enrolled.node, None).await.unwrap();
    let (third, _) = node.report(me, 3, Some(two));
    assert_eq!(
        node.deliver(&verifier, third).await.unwrap_err(),
        RefusalCode::Node
    );
    verifier.stop().await;
}

#[tokio::test]
async fn whoever_reads_while_sums_are_written_misses_no_report() {
    let (mut verifier, mut node) = ready().await;
    let me = node.enrolled.verifier;
    let mut last = None;
    let mut send = async |node: &mut Node, verifier: &Verifier, sequence| {
        let (bundle, digest) = node.report(me, sequence, last);
        node.receipted(verifier, bundle, &digest).await;
        last = Some(digest);
    };
    // Sums are written with every twelfth report: the first time where there were none, then in place of others.
    for (first, begun, end) in [(1, 5, 16), (17, 18, 30)] {
        for sequence in first..=begun {
            send(&mut node, &verifier, sequence).await;
        }
        let session = verifier.session().await;
        let row = session.store.node(node.enrolled.node).await.unwrap().unwrap();
        let mut kept = Kept::begin(&*session.store, &row).await.unwrap();
        for sequence in begun + 1..=end {
            send(&mut node, &verifier, sequence).await;
        }
        assert!(
            !kept.finish(&*session.store, &row).await.unwrap(),
            "after {begun}"
        );
        let whole = Kept::read(&*session.store, &row).await.unwrap();
        assert_eq!(whole.record.facts.reports, end, "after {begun}");
    }
    verifier.stop().await;
}
