//! A site under a licence, and its facts.

use super::*;
use crate::command::{CommandError, Format};
use crate::fleet::{Anchors, Terms, sites};
use crate::node::NodeCommand;
use crate::recorder::{Act, ActKind};
use crate::status::StatusCommand;
use std::path::Path;
use weighbridge::appraisal::{DAYS, NodeDay};
use weighbridge::conditions::DaysAsked;
use weighbridge::conditions::Outcome;
use weighbridge::crypto::dsse;
use weighbridge::id::Challenge;
use weighbridge::ledger::LeafKind;

pub(super) const LICENCE: &str = r#"licence_id = "WB-1"
serial = 1
issuer = "Example Accelerators Inc."
consignee = "Harbour Compute Pte. Ltd."
valid_from = 2026-01-01
valid_to = 2099-12-31
ruleset_id = "us-ear-enforced-2026-05"
countries_allowed = ["SG"]
report_seconds = 120

[[site]]
id = "harbour-1"
country = "SG"
"#;

pub(super) fn signed(text: &str, key: &SecretKey) -> String {
    dsse::sign(weighbridge::licence::PAYLOAD_TYPE, text.as_bytes(), &[key]).unwrap()
}

/// A new key, trusted under a name.
pub(super) fn trusted(directory: &Path, name: &str) -> SecretKey {
    let key = SecretKey::generate(Algorithm::Ed25519, &Entropy::system()).unwrap();
    Anchors::change(directory, |a| a.trust(name, key.public_key())).unwrap();
    key
}

/// Loads a licence that an issuer signed who is trusted from then on.
pub(super) async fn load(verifier: &Verifier, licence: &str) {
    let key = trusted(&verifier.config().state_dir, "supplier");
    let session = verifier.session().await;
    session.load_licence(&signed(licence, &key)).await.unwrap();
}

#[tokio::test]
async fn a_licence_counts_once_a_trusted_issuer_signed_it_and_the_node_learns_its_terms() {
    let (mut verifier, mut node) = ready().await;
    let key = SecretKey::generate(Algorithm::Ed25519, &Entropy::system()).unwrap();
    let signed = |text: &str| signed(text, &key);
    let session = verifier.session().await;
    assert!(
        session.load_licence(&signed(LICENCE)).await.is_err(),
        "nobody trusts the key yet"
    );
    let directory = verifier.config().state_dir;
    Anchors::change(&directory, |a| a.trust("supplier", key.public_key())).unwrap();
    session.load_licence(&signed(LICENCE)).await.unwrap();
    session.load_licence(&signed(LICENCE)).await.unwrap();
    let unsigned = directory.join("licence.toml");
    std::fs::write(&unsigned, LICENCE).unwrap();
    let error = session.load(&unsigned, &mut Vec::new()).await.unwrap_err();
    assert!(error.to_string().contains("sign it first"), "{error}");
    let raised = LICENCE.replace("120", "180");
    assert!(
        session.load_licence(&signed(&raised)).await.is_err(),
        "the serial must rise"
    );
    session
        .load_licence(&signed(&raised.replace("serial = 1", "serial = 2")))
        .await
        .unwrap();
    verifier.stop().await;
    verifier.serve().await;
    let (first, one) = node.report(node.enrolled.verifier, 1, None);
    let receipt = node.receipted(&verifier, first, &one).await;
    assert_eq!(receipt.instructions.report_seconds, 180);
    verifier.stop().await;

    let session = verifier.session().await;
    let at = |seconds| StatusCommand {
        at: Some(NOON.plus(seconds)),
        format: Format::Json,
        ..StatusCommand::default()
    };
    session.status(at(0), &mut Vec::new()).await.unwrap();
    let early = session.status(at(-1), &mut Vec::new()).await.unwrap_err();
    assert!(
        matches!(&early, CommandError::Refused { why } if why.contains("facts are kept as of the newest report")),
        "{early}"
    );
    let status = session.evaluate(NOON.plus(60)).await.unwrap();
    let [site] = status.sites.as_slice() else {
        panic!("{status:?}");
    };
    assert_eq!((site.site.as_str(), site.serial), ("harbour-1", Some(2)));
    let finding = |id: &str| {
        &site
            .findings
            .iter()
            .find(|f| f.finding.condition == id)
            .unwrap()
            .finding
    };
    assert_eq!(finding("OPS-03").outcome, Outcome::Met, "{:?}", finding("OPS-03"));
    assert_eq!(finding("SEC-06").evidence, [one]);
}

#[tokio::test]
async fn a_device_that_a_newer_serial_drops_is_asked_after() {
    let verifier = Verifier::start().await;
    let session = verifier.session().await;
    let key = trusted(&verifier.config().state_dir, "supplier");
    let listed = |serials: &[&str]| {
        let rows = serials.iter().map(|s| format!("[[device]]\nserial = \"{s}\"\n"));
        format!("{LICENCE}{}", rows.collect::<String>())
    };
    let first = listed(&["S1", "S2"]);
    let second = listed(&["S1"]).replace("serial = 1\n", "serial = 2\n");
    session.load_licence(&signed(&first, &key)).await.unwrap();
    session.load_licence(&signed(&second, &key)).await.unwrap();
    let status = session.evaluate(NOON).await.unwrap();
    let mut findings = status.sites.iter().flat_map(|s| &s.findings);
    let found = findings.find(|f| f.finding.condition == "INV-09").unwrap();
    assert_eq!(found.finding.outcome, Outcome::CannotTell);
    let says = "serial S2 was listed by serial 1 and never seen here";
    assert!(
        found.finding.sentence.contains(says),
        "{}",
        found.finding.sentence
    );
}

#[tokio::test]
async fn whom_the_administrator_believes_is_in_the_ledger() {
    let verifier = Verifier::start().await;
    let session = verifier.session().await;
    let key = SecretKey::generate(Algorithm::Ed25519, &Entropy::system()).unwrap();
    let id = key.public_key().id();
    let which = id.to_string();
    let error = session.distrust(&which, None).await.unwrap_err();
    let says = "is neither the name nor the id of a key that is trusted";
    assert!(error.to_string().contains(says), "{error}");
    session.trust("supplier", key.public_key()).await.unwrap();
    session.load_licence(&signed(LICENCE, &key)).await.unwrap();
    assert_eq!(session.evaluate(NOON).await.unwrap().sites.len(), 1);
    assert_eq!(session.distrust(&which, None).await.unwrap().name, "supplier");
    let status = session.evaluate(NOON).await.unwrap();
    assert_eq!(status.sites.len(), 1, "its licence was filed before: {status:?}");
    let error = session.distrust("supplier", None).await.unwrap_err();
    assert!(error.to_string().contains(says), "{error}");
    let error = session.distrust(&which, Some(NOON.plus(1))).await.unwrap_err();
    assert!(error.to_string().contains("cannot count from"), "{error}");
    session.distrust(&which, Some(NOON)).await.unwrap();
    let status = session.evaluate(NOON).await.unwrap();
    assert!(
        status.sites.is_empty(),
        "its licence counts no longer: {status:?}"
    );
    let acts: Vec<Act> = session
        .store
        .entries(LeafKind::Act)
        .await
        .unwrap()
        .iter()
        .map(|e| cbor::decode_strict(e.body.as_ref().unwrap()).unwrap())
        .collect();
    let told: Vec<_> = acts
        .iter()
        .filter(|a| a.issuer.is_some())
        .map(|a| (a.kind, a.key, a.issuer.as_deref()))
        .collect();
    let supplier = Some("supplier");
    assert_eq!(
        told,
        [
            (ActKind::Trust, Some(id), supplier),
            (ActKind::Distrust, Some(id), supplier),
            (ActKind::Distrust, Some(id), supplier)
        ]
    );
}

#[tokio::test]
async fn a_verifier_that_is_half_set_up_says_what_is_missing() {
    let verifier = Verifier::start().await;
    let session = verifier.session().await;
    let directory = verifier.config().state_dir;
    let envelope = |key: &SecretKey| signed(LICENCE, key);
    let stranger = SecretKey::generate(Algorithm::Ed25519, &Entropy::system()).unwrap();
    let error = session.load_licence(&envelope(&stranger)).await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("no key is trusted to sign licences yet"),
        "{error}"
    );
    let said = async || {
        let mut out = Vec::new();
        let list = NodeCommand::List {
            site: None,
            format: Format::Text,
        };
        session.status(StatusCommand::default(), &mut out).await.unwrap();
        session.node(list, &mut out).await.unwrap();
        String::from_utf8(out).unwrap()
    };
    let text = said().await;
    assert!(
        text.starts_with("no licence counts here, and no node is enrolled: "),
        "{text}"
    );
    assert!(
        text.contains("no node is enrolled: `weighbridge-verifier token new`"),
        "{text}"
    );

    let key = trusted(&directory, "supplier");
    session.load_licence(&envelope(&key)).await.unwrap();
    let text = said().await;
    assert!(
        text.contains("no node is expected to report · 0 of 0 GPUs"),
        "{text}"
    );
    assert!(
        text.contains("token new --site harbour-1` makes a token for one"),
        "{text}"
    );

    let token = verifier.token(1, false).await;
    enrol(&verifier, &token, new_key()).await.unwrap();
    let text = said().await;
    assert!(
        text.contains("1 of the nodes enrolled here must still be approved"),
        "{text}"
    );
}

#[tokio::test]
async fn only_the_issuer_of_a_licence_replaces_it_and_a_load_cut_short_is_made_good() {
    let verifier = Verifier::start().await;
    let session = verifier.session().await;
    let directory = verifier.config().state_dir;
    let (supplier, other) = (trusted(&directory, "supplier"), trusted(&directory, "other"));
    let serial = |n: u64| LICENCE.replace("serial = 1", &format!("serial = {n}"));
    session.load_licence(&signed(LICENCE, &supplier)).await.unwrap();
    let error = session
        .load_licence(&signed(&serial(2), &other))
        .await
        .unwrap_err();
    let says = "licence WB-1 is one of supplier, who signed it first, and this one is signed by other";
    assert!(error.to_string().starts_with(says), "{error}");
    // The issuer may change its key.
    let renewed = trusted(&directory, "supplier");
    session.load_licence(&signed(&serial(2), &renewed)).await.unwrap();

    // As after a crash between the leaf and the anchors.
    let whole = Anchors::read(&directory).unwrap();
    let text = crate::licence::read(&directory.join("anchors.toml")).unwrap();
    std::fs::write(
        directory.join("anchors.toml"),
        text.replace("serial = 2", "serial = 1"),
    )
    .unwrap();
    session.load_licence(&signed(&serial(2), &renewed)).await.unwrap();
    assert_eq!(Anchors::read(&directory).unwrap(), whole);
    std::fs::write(
        directory.join("anchors.toml"),
        text.replace("serial = 2", "serial = 1"),
    )
    .unwrap();
    let terms = Terms::default();
    terms.refresh(&*session.store, &directory, NOON).await.unwrap();
    assert_eq!(Anchors::read(&directory).unwrap(), whole);
}

#[tokio::test]
async fn nodes_follow_the_strictest_licence_that_holds_and_a_trial_only_where_none_does() {
    let verifier = Verifier::start().await;
    let session = verifier.session().await;
    let directory = verifier.config().state_dir;
    let key = trusted(&directory, "supplier");
    let trial = |id: &str, to: &str| {
        LICENCE
            .replace("WB-1", id)
            .replace("2099-12-31", to)
            .replace("report_seconds = 120", "report_seconds = 5\ntrial = true")
    };
    let long = LICENCE
        .replace("WB-1", "WB-2")
        .replace("120", "600\nwindows_kept_days = 90");
    let texts = [
        LICENCE.replace("2099-12-31", "2027-12-31"),
        long.replace("2099-12-31", "2027-12-31"),
        trial("ZZ-1", "2028-12-31"),
        trial("ZZ-2", "2026-02-01"),
    ];
    for text in &texts {
        session.load_licence(&signed(text, &key)).await.unwrap();
    }
    let terms = Terms::default();
    for (at, expected) in [
        (NOON, (120, false, 90)),
        (UnixSeconds::parse("2028-06-01").unwrap(), (5, true, 30)),
        (UnixSeconds::parse("2029-06-01").unwrap(), (300, false, 30)),
    ] {
        terms.refresh(&*session.store, &directory, at).await.unwrap();
        let told = terms.instructions("harbour-1", Challenge([0; 32]));
        let told = (told.report_seconds, told.trial, told.windows_kept_days);
        assert_eq!(told, expected, "at {at}");
    }
}

#[tokio::test]
async fn facts_are_the_same_whether_they_were_written_or_are_folded_anew() {
    let (mut verifier, mut node) = ready().await;
    let mut previous = None;
    for sequence in (1..=30).filter(|n| n % 7 != 0) {
        let (bundle, digest) = node.report(node.enrolled.verifier, sequence, previous);
        node.receipted(&verifier, bundle, &digest).await;
        previous = Some(digest);
    }
    verifier.stop().await;
    let session = verifier.session().await;
    let written = sites(&*session.store, &DaysAsked::all()).await.unwrap();
    let pool = sqlx::SqlitePool::connect(&format!("sqlite://{}", verifier.config().database().display()))
        .await
        .unwrap();
    let (tail, summed): (i64, i64) =
        sqlx::query_as("SELECT count(*), sum(tail.leaf <= upto) FROM tail JOIN facts USING (node)")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert!(
        tail < 5,
        "an ordinary report needs no row of its own, and there are {tail}"
    );
    assert_eq!(summed, 0, "what the sums reach up to is not kept");
    let before = sqlx::query("DELETE FROM facts")
        .execute(&pool)
        .await
        .unwrap()
        .rows_affected();
    sqlx::query("DELETE FROM day").execute(&pool).await.unwrap();
    pool.close().await;
    assert_eq!(before, 1, "they were written at least once");
    let folded = sites(&*session.store, &DaysAsked::all()).await.unwrap();
    assert_eq!(written, folded);
    let record = &folded["harbour-1"].nodes[0].record;
    assert_eq!((record.facts.reports, record.facts.chain.gaps.len()), (26, 4));
}

#[tokio::test]
async fn a_clock_that_named_many_past_days_makes_nobody_read_them_all() {
    let (mut verifier, mut node) = ready().await;
    let mut previous = None;
    for sequence in 1..=13 {
        let (bundle, digest) = node.report(node.enrolled.verifier, sequence, previous);
        node.receipted(&verifier, bundle, &digest).await;
        previous = Some(digest);
    }
    verifier.stop().await;
    let database = format!("sqlite://{}", verifier.config().database().display());
    let pool = sqlx::SqlitePool::connect(&database).await.unwrap();
    for day in 0..450 {
        sqlx::query("INSERT INTO day (node, day, body) VALUES (?, ?, ?)")
            .bind(node.enrolled.node.0.to_vec())
            .bind(day)
            .bind(cbor::encode(&NodeDay::new(day)))
            .execute(&pool)
            .await
            .unwrap();
    }
    pool.close().await;
    let store = verifier.session().await.store;
    let days = sites(&*store, &DaysAsked::all()).await.unwrap()["harbour-1"].nodes[0]
        .record
        .days
        .clone();
    assert_eq!(days.len(), usize::from(DAYS));
    assert_eq!(days.keys().next_back(), Some(&NOON.day()), "the newest are kept");
}

#[tokio::test]
async fn a_damaged_copy_of_a_report_is_one_nodes_matter() {
    let (mut verifier, mut node) = ready().await;
    load(&verifier, LICENCE).await;
    let token = verifier.token(1, true).await;
    let mut other = enrol(&verifier, &token, new_key()).await.unwrap();
    let (bundle, digest) = other.report(token.verifier, 1, None);
    other.receipted(&verifier, bundle, &digest).await;
    let mut previous = None;
    for sequence in 1..=3 {
        verifier.clock.set(NOON.plus(i64::try_from(sequence).unwrap()));
        let (bundle, digest) = node.report(node.enrolled.verifier, sequence, previous);
        node.receipted(&verifier, bundle, &digest).await;
        previous = Some(digest);
    }
    verifier.stop().await;
    let database = format!("sqlite://{}", verifier.config().database().display());
    let pool = sqlx::SqlitePool::connect(&database).await.unwrap();
    sqlx::query("UPDATE entry SET body = x'00' WHERE kind = 0 AND node = ? AND sequence >= 2")
        .bind(node.enrolled.node.0.to_vec())
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;

    let shown = async |verifier: &Verifier| {
        let session = verifier.session().await;
        let facts = sites(&*session.store, &DaysAsked::all()).await.unwrap();
        let damaged = |id: NodeId| {
            let nodes = &facts["harbour-1"].nodes;
            let found = nodes.iter().find(|n| n.record.facts.node == id).unwrap();
            found.record.facts.damaged
        };
        let status = session.evaluate(NOON.plus(60)).await.unwrap();
        let all = status.sites[0].findings.iter().map(|f| &f.finding);
        let fresh = all.clone().find(|f| f.condition == "OPS-03").unwrap();
        (
            damaged(node.enrolled.node),
            damaged(other.enrolled.node),
            fresh.outcome,
            fresh.subjects.clone(),
        )
    };
    let subject = vec![node.enrolled.node.to_string()];
    assert_eq!(
        shown(&verifier).await,
        (Some(NOON.plus(3)), None, Outcome::CannotTell, subject)
    );

    // The node goes on where it was, and is not asked to send again what it has a receipt for.
    verifier.serve().await;
    verifier.clock.set(NOON.plus(60));
    let (bundle, digest) = node.report(node.enrolled.verifier, 4, previous);
    let receipt = node.clone().receipted(&verifier, bundle, &digest).await;
    assert_eq!((receipt.state, receipt.highest), (ReceiptState::Recorded, 4));
    verifier.stop().await;
    let store = verifier.session().await.store;
    let facts = sites(&*store, &DaysAsked::all()).await.unwrap();
    let found = facts["harbour-1"]
        .nodes
        .iter()
        .map(|n| &n.record.facts)
        .find(|f| f.node == node.enrolled.node)
        .unwrap();
    assert_eq!(found.damaged, Some(NOON.plus(3)));
    assert_eq!(found.readable_newest().unwrap().received, NOON.plus(60));
    assert!(found.chain.gaps.is_empty() && found.chain.openings.is_empty());
}

#[tokio::test]
async fn a_node_is_no_longer_expected_once_its_approved_successor_reports() {
    let (mut verifier, mut old) = ready().await;
    let me = old.enrolled.verifier;
    let (bundle, one) = old.report(me, 1, None);
    old.receipted(&verifier, bundle, &one).await;
    let store = verifier.session().await.store;
    let succeeded = async || {
        let facts = sites(&*store, &DaysAsked::all()).await.unwrap();
        let nodes = &facts["harbour-1"].nodes;
        let found = nodes.iter().find(|n| n.record.facts.node == old.enrolled.node);
        found.unwrap().status.succeeded_from
    };
    let token = verifier.token(1, false).await;
    let mut new = enrol_after(&verifier, &token, new_key(), Some(old.enrolled.node))
        .await
        .unwrap();
    let approval = NOON.plus(10);
    verifier.clock.set(approval);
    let session = verifier.session().await;
    session.approve(new.enrolled.node).await.unwrap();
    assert_eq!(succeeded().await, None, "it has not reported");
    let first = NOON.plus(20);
    verifier.clock.set(first);
    let (bundle, digest) = new.report(me, 1, None);
    new.receipted(&verifier, bundle, &digest).await;
    assert_eq!(succeeded().await, Some(first));

    // It reports all the same: then it is not gone.
    verifier.clock.set(NOON.plus(30));
    let (bundle, two) = old.report(me, 2, Some(one));
    old.clone().receipted(&verifier, bundle, &two).await;
    assert_eq!(succeeded().await, None);
    verifier.stop().await;
}

#[tokio::test]
async fn the_list_of_nodes_says_what_each_has_delivered() {
    let (mut verifier, mut node) = ready().await;
    let silent = verifier.token(1, true).await;
    enrol(&verifier, &silent, new_key()).await.unwrap();
    let mut previous = None;
    for sequence in 1..=3 {
        let (bundle, digest) = node.report(node.enrolled.verifier, sequence, previous);
        verifier.clock.set(NOON.plus(i64::try_from(sequence).unwrap()));
        node.receipted(&verifier, bundle, &digest).await;
        previous = Some(digest);
    }
    let mut out = Vec::new();
    let list = NodeCommand::List {
        site: None,
        format: Format::Json,
    };
    verifier.session().await.node(list, &mut out).await.unwrap();
    let listed: serde_json::Value = serde_json::from_slice(&out).unwrap();
    let nodes = listed["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 2);
    for n in nodes {
        let expected = if n["node"] == node.enrolled.node.to_string() {
            serde_json::json!([3, NOON.plus(3)])
        } else {
            serde_json::json!([0, null])
        };
        assert_eq!(
            serde_json::json!([n["reports"], n["last_received"]]),
            expected,
            "{n}"
        );
    }
    verifier.stop().await;
}

#[tokio::test]
async fn a_node_is_found_by_the_name_that_findings_give_it() {
    let (mut verifier, first) = ready().await;
    let token = verifier.token(1, false).await;
    let second = enrol(&verifier, &token, new_key()).await.unwrap();
    let session = verifier.session().await;
    for node in &sites(&*session.store, &DaysAsked::all()).await.unwrap()["harbour-1"].nodes {
        let mut out = Vec::new();
        let show = NodeCommand::Show {
            node: node.status.name.to_uppercase(),
            format: Format::Json,
        };
        session.node(show, &mut out).await.unwrap();
        let shown: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(shown["node"], node.record.facts.node.to_string());
    }
    let refused = async |node: &str| {
        let approve = NodeCommand::Approve {
            node: node.to_owned(),
        };
        session
            .node(approve, &mut Vec::new())
            .await
            .unwrap_err()
            .to_string()
    };
    let error = refused("01").await;
    for node in [&first, &second] {
        assert!(error.contains(&node.enrolled.node.to_string()), "{error}");
    }
    let error = refused("node-7").await;
    assert!(
        error.contains("`node-7`") && error.contains("node list"),
        "{error}"
    );
    verifier.stop().await;
}

#[tokio::test]
async fn a_node_is_shown_in_words() {
    let (mut verifier, mut node) = ready().await;
    let id = node.enrolled.node;
    let (bundle, digest) = node.report(node.enrolled.verifier, 1, None);
    node.receipted(&verifier, bundle, &digest).await;
    assert_eq!(
        node.deliver(&verifier, b"junk".to_vec()).await.unwrap_err(),
        RefusalCode::Form
    );
    let session = verifier.session().await;
    session.revoke(id, Some(NOON.plus(-60))).await.unwrap();
    let mut out = Vec::new();
    let show = NodeCommand::Show {
        node: id.to_string(),
        format: Format::Text,
    };
    session.node(show, &mut out).await.unwrap();
    let shown = String::from_utf8(out).unwrap();
    for line in [
        format!("node         {id}"),
        "state        revoked".to_owned(),
        format!(
            "revoked      {NOON}; its reports do not count from {} on",
            NOON.plus(-60)
        ),
        format!("last report  number 1 of chain {}", node.chain),
        format!("refused      E-FORM, 1 or more times, {NOON} to {NOON}"),
    ] {
        assert!(shown.lines().any(|l| l == line), "no `{line}` in\n{shown}");
    }
    assert!(!shown.contains(['{', '[']) && !shown.contains("null"), "{shown}");
    verifier.stop().await;
}
