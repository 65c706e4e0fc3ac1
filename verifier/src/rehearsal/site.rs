//! A site under a licence, and its facts.

use super::*;
use crate::command::{CommandError, Format};
use crate::fleet::{Anchors, sites};
use crate::node::NodeCommand;
use crate::status::StatusCommand;
use weighbridge::conditions::Outcome;
use weighbridge::crypto::dsse;

const LICENCE: &str = r#"licence_id = "WB-1"
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

#[tokio::test]
async fn a_licence_counts_once_a_trusted_issuer_signed_it_and_the_node_learns_its_terms() {
    let (mut verifier, mut node) = ready().await;
    let key = SecretKey::generate(Algorithm::Ed25519, &Entropy::system()).unwrap();
    let signed =
        |text: &str| dsse::sign(weighbridge::licence::PAYLOAD_TYPE, text.as_bytes(), &[&key]).unwrap();
    let session = verifier.session().await;
    assert!(
        session.load_licence(&signed(LICENCE)).await.is_err(),
        "nobody trusts the key yet"
    );
    let directory = verifier.config().state_dir;
    let mut anchors = Anchors::read(&directory).unwrap();
    anchors.trust("supplier", key.public_key());
    anchors.write(&directory).unwrap();
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
    let finding = |id: &str| site.findings.iter().find(|f| f.condition == id).unwrap();
    assert_eq!(finding("OPS-03").outcome, Outcome::Met, "{:?}", finding("OPS-03"));
    assert_eq!(finding("SEC-06").evidence, [one]);
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
    let written = sites(&*session.store).await.unwrap();
    let pool = sqlx::SqlitePool::connect(&format!("sqlite://{}", verifier.config().database().display()))
        .await
        .unwrap();
    let before = sqlx::query("DELETE FROM facts")
        .execute(&pool)
        .await
        .unwrap()
        .rows_affected();
    sqlx::query("DELETE FROM day").execute(&pool).await.unwrap();
    pool.close().await;
    assert_eq!(before, 1, "they were written at least once");
    let folded = sites(&*session.store).await.unwrap();
    assert_eq!(written, folded);
    let record = &folded["harbour-1"].nodes[0].record;
    assert_eq!((record.facts.reports, record.facts.chain.gaps.len()), (26, 4));
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
