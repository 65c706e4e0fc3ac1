//! A revocation counts from when it is carried out, or from an earlier time, and reports that came before accuse nobody.

use super::*;
use crate::command::CommandError;
use crate::recorder::{Act, ActKind, NewLeaf, RecordError, Writer};
use crate::store::NodeRow;
use std::time::Duration;
use weighbridge::ledger::LeafKind;

async fn row(session: &Session, node: &Node) -> NodeRow {
    session.store.node(node.enrolled.node).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_report_of_the_second_in_which_its_node_is_revoked_still_counts() {
    let (mut verifier, mut node) = ready().await;
    let (first, one) = node.report(node.enrolled.verifier, 1, None);
    node.receipted(&verifier, first, &one).await;
    let session = verifier.session().await;
    session.revoke(node.enrolled.node, None).await.unwrap();
    let row = row(&session, &node).await;
    assert_eq!(
        (row.revoked_at, row.revoked_from),
        (Some(NOON), Some(NOON.plus(1)))
    );
    verifier.stop().await;
}

#[tokio::test]
async fn a_revocation_from_a_time_to_come_is_refused_and_one_from_the_past_is_not() {
    let (mut verifier, node) = ready().await;
    let session = verifier.session().await;
    let error = session
        .revoke(node.enrolled.node, Some(NOON.plus(1)))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, CommandError::Refused { why } if why.contains("cannot count from 2026-11-22T12:00:01Z")),
        "{error}"
    );
    assert_eq!(row(&session, &node).await.state, EnrolmentState::Approved);
    session
        .revoke(node.enrolled.node, Some(NOON.plus(-60)))
        .await
        .unwrap();
    assert_eq!(row(&session, &node).await.revoked_from, Some(NOON.plus(-60)));
    verifier.stop().await;
}

#[tokio::test]
async fn a_queued_revocation_counts_from_when_it_is_carried_out_and_no_report_comes_after_it() {
    let (mut verifier, node) = ready().await;
    verifier.stop().await;
    let session = verifier.session().await;
    let mut act = Act::new(ActKind::Revoke, NOON);
    act.node = Some(node.enrolled.node);
    session.store.queue_act(cbor::encode(&act)).await.unwrap();
    verifier.clock.set(NOON.plus(5));
    let mut writer = Writer::open(
        Arc::clone(&session.store),
        Arc::clone(&session.identity),
        Entropy::system(),
        verifier.clock(),
        Duration::ZERO,
        &verifier.config().state_dir,
        Box::new(|_| {}),
    )
    .await
    .unwrap();
    assert_eq!(writer.drain_acts().await.unwrap(), 1);
    let row = row(&session, &node).await;
    assert_eq!(
        (row.revoked_at, row.revoked_from),
        (Some(NOON.plus(5)), Some(NOON.plus(6)))
    );

    // As intake would hand it over that admitted the node just before.
    let stop = CancellationToken::new();
    let (recorder, done) = writer.start(stop.clone());
    let (body, digest) = node.report(node.enrolled.verifier, 1, None);
    let leaf = NewLeaf {
        kind: LeafKind::Report,
        digest,
        node: Some(node.enrolled.node),
        place: Some((node.chain, 1)),
        continuity: Some(Continuity::First),
        round: None,
        given: None,
        at: NOON.plus(7),
        body,
    };
    let error = recorder.append(leaf, Vec::new(), None).await.unwrap_err();
    assert!(matches!(error, RecordError::Revoked { .. }), "{error}");
    stop.cancel();
    done.await.unwrap();
    assert_eq!(session.store.latest(node.enrolled.node).await.unwrap().len(), 0);
}
