//! Findings that change, as leaves of the ledger.

use super::site::{LICENCE, load, signed, trusted};
use super::*;
use crate::command::Format;
use crate::findings::Findings;
use crate::history::FindingChange;
use crate::recorder::{KeyRole, Recorder, Writer};
use crate::status::Standing;
use crate::store::HeldEntry;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::task::JoinHandle;
use weighbridge::conditions::{FindingAtSite, Outcome, REGISTRY};
use weighbridge::crypto::{self, dsse};
use weighbridge::ledger::LeafKind;
use weighbridge::rules::{PAYLOAD_TYPE, RuleSet};

/// A writer of the ledger, as that of a verifier that serves, until it is told to stop.
pub(super) async fn writing(verifier: &Verifier) -> (Recorder, JoinHandle<()>, CancellationToken) {
    let session = verifier.session().await;
    let writer = Writer::open(
        session.store,
        session.identity,
        session.entropy,
        verifier.clock(),
        Duration::ZERO,
        &session.config.state_dir,
        Box::new(|_| {}),
    );
    let stop = CancellationToken::new();
    let (recorder, task) = writer.await.unwrap().start(stop.clone());
    (recorder, task, stop)
}

/// One look at the findings, as a verifier that serves takes it.
async fn look(verifier: &Verifier) -> Vec<(HeldEntry, FindingAtSite)> {
    let store = verifier.session().await.store;
    let (recorder, task, stop) = writing(verifier).await;
    let mut findings = Findings::new(
        Arc::clone(&store),
        recorder,
        verifier.clock(),
        verifier.config(),
        Arc::default(),
    );
    findings.look().await.unwrap();
    stop.cancel();
    task.await.unwrap();
    let held = store.entries(LeafKind::Finding).await.unwrap();
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
async fn findings_under_a_rule_set_whose_signer_lost_a_key_are_recorded_as_open() {
    let mut verifier = Verifier::start().await;
    let session = verifier.session().await;
    let counsel = SecretKey::generate(Algorithm::Ed25519, &Entropy::system()).unwrap();
    session
        .trust_for(KeyRole::Rules, "counsel", counsel.public_key())
        .await
        .unwrap();
    let text = RuleSet::carried("contract-only").unwrap().text;
    let house = text.replacen("contract-only", "house-rules", 1);
    let envelope = dsse::sign(PAYLOAD_TYPE, house.as_bytes(), &[&counsel]).unwrap();
    session.load_rules(&envelope).await.unwrap();
    load(
        &verifier,
        &LICENCE.replace("us-ear-enforced-2026-05", "house-rules"),
    )
    .await;
    verifier.stop().await;
    let begun = look(&verifier).await.len();
    verifier.clock.set(NOON.plus(60));
    session.distrust("counsel", Some(NOON.plus(-60))).await.unwrap();
    let changed = look(&verifier).await.split_off(begun);
    assert!(!changed.is_empty());
    for (_, FindingAtSite { finding, .. }) in &changed {
        let open = finding.outcome == Outcome::CannotTell;
        assert!(
            open && finding.sentence.contains("the key of counsel alone"),
            "{finding:?}"
        );
    }
    let first = shown(&verifier, "EVI-01").await.finding;
    assert_eq!(first.outcome, Outcome::CannotTell, "{}", first.sentence);
}

/// What `status --history` prints, and its exit status.
async fn told(verifier: &Verifier, condition: &str, site: Option<&str>, format: Format) -> (String, bool) {
    let mut out = Vec::new();
    let session = verifier.session().await;
    let fine = session.show_history(condition, site, format, &mut out).await;
    (String::from_utf8(out).unwrap(), fine.unwrap())
}

#[tokio::test]
async fn the_history_of_a_condition_says_when_it_changed_and_what_had_changed_between() {
    let (mut verifier, mut node) = ready().await;
    let key = trusted(&verifier.config().state_dir, "supplier");
    let load = async |verifier: &Verifier, text: &str| {
        let session = verifier.session().await;
        session.load_licence(&signed(text, &key)).await.unwrap();
    };
    load(&verifier, LICENCE).await;
    let (first, one) = node.report(node.enrolled.verifier, 1, None);
    node.receipted(&verifier, first, &one).await;
    verifier.stop().await;
    look(&verifier).await;
    let late = NOON.plus(3 * 86_400);
    verifier.clock.set(late);
    look(&verifier).await;
    // Another limit is another finding, although the outcome is the same.
    let longer = LICENCE
        .replace("serial = 1", "serial = 2")
        .replace("\n[[site]]", "freshness_max = \"30 h\"\n[[site]]");
    assert!(longer.contains("serial = 2") && longer.contains("30 h"));
    load(&verifier, &longer).await;
    look(&verifier).await;

    let history = verifier
        .session()
        .await
        .history("OPS-03", Some("harbour-1"))
        .await
        .unwrap();
    let outcomes: Vec<_> = history
        .changes
        .iter()
        .map(|c| (c.was, c.outcome, c.serial))
        .collect();
    let (met, not_met) = (Outcome::Met, Outcome::NotMet);
    assert_eq!(
        outcomes[outcomes.len() - 3..],
        [
            (outcomes[outcomes.len() - 3].0, met, 1),
            (Some(met), not_met, 1),
            (Some(not_met), not_met, 2)
        ]
    );
    let [.., stale, again] = &history.changes[..] else {
        panic!("{history:?}")
    };
    assert_eq!((stale.at, again.at), (late, late));
    assert!(stale.leaf < again.leaf);
    let differs = |change: &FindingChange, what: &str| change.differences.iter().any(|d| d.what == what);
    assert!(differs(stale, "measured") && !differs(stale, "limit") && !differs(stale, "serial"));
    assert!(differs(again, "limit") && differs(again, "serial"));
    assert_eq!((stale.subjects_added.len(), again.subjects_added.len()), (1, 0));

    let (text, fine) = told(&verifier, "OPS-03", None, Format::Text).await;
    assert!(fine);
    assert!(
        text.contains("met → not met   leaf ") && text.contains("   serial     1 → 2\n"),
        "{text}"
    );
    let (json, _) = told(&verifier, "OPS-03", None, Format::Json).await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["changes"].as_array().unwrap().len(), history.changes.len());
    assert_eq!(json["unreadable"].as_array().unwrap().len(), 0);
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
