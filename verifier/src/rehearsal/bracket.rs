//! What the verifier knows of a report and of a licence beside what they say: when they were made, and who agreed.

use super::site::{LICENCE, load, trusted};
use super::*;
use crate::fleet::sites;
use weighbridge::conditions::{DaysAsked, Finding, Outcome};
use weighbridge::crypto::dsse;
use weighbridge::id::Challenge;
use weighbridge::licence::PAYLOAD_TYPE;

const DAY: i64 = 86_400;

/// What a condition comes to at the site, now.
async fn finding(verifier: &Verifier, condition: &str) -> Finding {
    let session = verifier.session().await;
    let status = session.evaluate(verifier.clock.now()).await.unwrap();
    let mut findings = status.sites[0].findings.iter().map(|f| &f.finding);
    findings.find(|f| f.condition == condition).unwrap().clone()
}

impl Node {
    /// Delivers the next report, which answers `nonce`, at a time; returns its digest and the challenge that came back.
    async fn answering(
        &mut self,
        verifier: &Verifier,
        (sequence, previous): (u64, Option<Digest>),
        nonce: Challenge,
        at: i64,
    ) -> (Digest, Challenge) {
        verifier.clock.set(NOON.plus(at));
        let mut claims = self.claims(self.enrolled.verifier, sequence, previous);
        claims.nonce = Some(nonce);
        let (bundle, digest) = sign(claims, Vec::new(), Vec::new(), &*self.key).unwrap();
        let receipt = self.receipted(verifier, bundle, &digest).await;
        (digest, receipt.instructions.challenge)
    }
}

#[tokio::test]
async fn a_report_was_made_after_the_challenge_that_it_answers_however_late_it_comes() {
    let (mut verifier, mut node) = ready().await;
    load(&verifier, LICENCE).await;
    let first = node.enrolled.instructions.challenge;
    let (one, second) = node.answering(&verifier, (1, None), first, 100).await;
    let bracketed = finding(&verifier, "OPS-04").await;
    assert_eq!(bracketed.outcome, Outcome::Met, "{}", bracketed.sentence);
    let measured = bracketed.measured.unwrap();
    assert_eq!(
        (measured.upper.as_deref(), measured.unit.as_str()),
        (Some("100"), "seconds")
    );

    // The node was cut off for two days: what it made meanwhile answers the last challenge that it had heard.
    let (mut last, _) = node.answering(&verifier, (2, Some(one)), second, 2 * DAY).await;
    for sequence in 3..=4 {
        (last, _) = node
            .answering(&verifier, (sequence, Some(last)), second, 2 * DAY)
            .await;
    }
    verifier.stop().await;
    verifier.serve().await;
    (last, _) = node
        .answering(&verifier, (5, Some(last)), second, 2 * DAY + 1)
        .await;
    let wide = finding(&verifier, "OPS-04").await;
    assert_eq!(wide.outcome, Outcome::NotMet, "{}", wide.sentence);
    let between = format!(
        "some time between {} and {}",
        NOON.plus(100),
        NOON.plus(2 * DAY + 1)
    );
    assert!(wide.sentence.contains(&between), "{}", wide.sentence);

    // What the verifier never gave says nothing.
    node.answering(&verifier, (6, Some(last)), Challenge([9; 32]), 2 * DAY + 2)
        .await;
    let open = finding(&verifier, "OPS-04").await;
    assert_eq!(open.message_id, "OPS-04.not-bracketed", "{}", open.sentence);

    // Folded anew, the facts are the same.
    verifier.stop().await;
    let session = verifier.session().await;
    let before = sites(&*session.store, &DaysAsked::all()).await.unwrap();
    let database = format!("sqlite://{}", verifier.config().database().display());
    let pool = sqlx::SqlitePool::connect(&database).await.unwrap();
    sqlx::query("DELETE FROM facts").execute(&pool).await.unwrap();
    pool.close().await;
    assert_eq!(sites(&*session.store, &DaysAsked::all()).await.unwrap(), before);
}

#[tokio::test]
async fn a_licence_of_one_issuer_was_agreed_to_by_one() {
    let (verifier, _) = ready().await;
    let directory = verifier.config().state_dir;
    let one = trusted(&directory, "supplier");
    let same = trusted(&directory, "supplier");
    let other = trusted(&directory, "counsel");
    let (one, same, other): (&dyn Signer, &dyn Signer, &dyn Signer) = (&one, &same, &other);
    let load = async |serial: u32, keys: &[&dyn Signer]| {
        let text = LICENCE.replace("serial = 1", &format!("serial = {serial}"));
        let envelope = dsse::sign(PAYLOAD_TYPE, text.as_bytes(), keys).unwrap();
        verifier.session().await.load_licence(&envelope).await.unwrap();
        finding(&verifier, "PER-02").await
    };
    // Two keys of one name are one.
    for (serial, keys) in [(1, vec![one]), (2, vec![one, same])] {
        let alone = load(serial, &keys).await;
        assert_eq!(alone.outcome, Outcome::NotMet, "{}", alone.sentence);
        assert!(
            alone.sentence.contains("signed by 1 trusted issuer"),
            "{}",
            alone.sentence
        );
    }
    let both = load(3, &[one, other]).await;
    assert_eq!(both.message_id, "PER-02.enrolment-by-one", "{}", both.sentence);
}
