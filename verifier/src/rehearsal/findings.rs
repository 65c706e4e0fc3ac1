//! Findings that change, as leaves of the ledger.

use super::site::{LICENCE, load};
use super::*;
use crate::findings::Findings;
use crate::fleet::Looked;
use crate::recorder::Writer;
use crate::status::Standing;
use crate::store::HeldEntry;
use std::collections::BTreeSet;
use std::time::Duration;
use weighbridge::conditions::{FindingAtSite, Outcome, REGISTRY};
use weighbridge::crypto;
use weighbridge::ledger::LeafKind;

/// One look at the findings, as a verifier that serves takes it.
async fn look(verifier: &Verifier) -> Vec<(HeldEntry, FindingAtSite)> {
    let session = verifier.session().await;
    let writer = Writer::open(
        Arc::clone(&session.store),
        Arc::clone(&session.identity),
        session.entropy.clone(),
        verifier.clock(),
        Duration::ZERO,
        &session.config.state_dir,
        Box::new(|_| {}),
    );
    let stop = CancellationToken::new();
    let (recorder, task) = writer.await.unwrap().start(stop.clone());
    let findings = Findings {
        store: Arc::clone(&session.store),
        recorder,
        clock: verifier.clock(),
        config: session.config.clone(),
        looked: Looked::default(),
    };
    findings.look().await.unwrap();
    stop.cancel();
    task.await.unwrap();
    let held = session.store.entries(LeafKind::Finding).await.unwrap();
    held.into_iter()
        .map(|entry| {
            let body = entry.body.clone().unwrap();
            assert_eq!(entry.digest, crypto::sha256(&body));
            (entry, cbor::decode_strict(&body).unwrap())
        })
        .collect()
}

async fn shown(verifier: &Verifier, condition: &str) -> Standing {
    let status = verifier
        .session()
        .await
        .evaluate(verifier.clock.now())
        .await
        .unwrap();
    let all = &status.sites[0].findings;
    all.iter()
        .find(|f| f.finding.condition == condition)
        .unwrap()
        .clone()
}

#[tokio::test]
async fn a_finding_becomes_a_leaf_when_it_changes_and_status_says_since_when_it_stands() {
    let (mut verifier, mut node) = ready().await;
    load(&verifier, LICENCE).await;
    let (first, one) = node.report(node.enrolled.verifier, 1, None);
    node.receipted(&verifier, first, &one).await;
    verifier.stop().await;

    // Each condition once, whatever the server itself has recorded by now.
    let begun = look(&verifier).await;
    let named: BTreeSet<_> = begun.iter().map(|(_, f)| f.finding.condition.as_str()).collect();
    assert_eq!(named, REGISTRY.iter().map(|c| c.id).collect());
    let fresh = shown(&verifier, "OPS-03").await;
    assert_eq!((fresh.finding.outcome, fresh.since), (Outcome::Met, Some(NOON)));

    // Measures and windows move, and nothing is recorded for that.
    verifier.clock.set(NOON.plus(60));
    assert_eq!(look(&verifier).await.len(), begun.len());

    let late = NOON.plus(3 * 86_400);
    verifier.clock.set(late);
    assert_eq!(shown(&verifier, "OPS-03").await.since, None);
    let changed = look(&verifier).await.split_off(begun.len());
    let (entry, stale) = changed
        .iter()
        .find(|(_, f)| f.finding.condition == "OPS-03")
        .unwrap();
    assert_eq!(
        (stale.finding.outcome, stale.at, entry.at),
        (Outcome::NotMet, late, late)
    );
    assert_eq!(
        (stale.site.as_str(), stale.licence.as_str()),
        ("harbour-1", "WB-1")
    );
    verifier.clock.set(late.plus(3_600));
    let stands = shown(&verifier, "OPS-03").await;
    assert_eq!(
        (stands.finding.outcome, stands.since),
        (Outcome::NotMet, Some(late))
    );
    let json = serde_json::to_value(&stands).unwrap();
    assert_eq!(json["since"], late.to_string());
    assert_eq!(json["condition"], "OPS-03");
}

#[tokio::test]
async fn a_verifier_that_serves_looks_at_the_findings_after_an_act() {
    let mut verifier = Verifier::start().await;
    load(&verifier, LICENCE).await;
    let token = verifier.token(1, false).await;
    let node = enrol(&verifier, &token, new_key()).await.unwrap();
    let store = verifier.session().await.store;
    let recorded = async |count: usize| {
        while store.entries(LeafKind::Finding).await.unwrap().len() < count {
            tokio::task::yield_now().await;
        }
    };
    let patience = Duration::from_secs(60);
    tokio::time::timeout(patience, recorded(REGISTRY.len()))
        .await
        .unwrap();
    verifier
        .session()
        .await
        .approve(node.enrolled.node)
        .await
        .unwrap();
    tokio::time::timeout(patience, recorded(REGISTRY.len() + 1))
        .await
        .unwrap();
    verifier.stop().await;
}
