//! Rounds of hardware evidence: how each stands, and that what it comes to is looked for.

use super::*;
use crate::fleet::{Kept, sites};
use weighbridge::appraisal::NodeRecord;
use weighbridge::appraisal::evidence::{CheckName, CheckOutcome, LastRound, NodeEvidence, RoundStanding};
use weighbridge::conditions::DaysAsked;
use weighbridge::id::{Challenge, DeviceUuid};
use weighbridge::time::SECOND;

/// Evidence that no device signed.
fn made_up() -> EvidenceClaims {
    let evidence = NvidiaEvidence {
        report: Bytes(vec![7; 900]),
        chain: Bytes(b"no chain".to_vec()),
    };
    EvidenceClaims {
        salt: [1; 16],
        attester: Attester::Gpu,
        device: Some(DeviceUuid([5; 16])),
        answer: Answer::Evidence(evidence.wrap()),
    }
}

fn none_offered() -> EvidenceClaims {
    EvidenceClaims {
        answer: Answer::None(NoEvidence::NotOffered),
        ..made_up()
    }
}

impl Node {
    /// What was frozen at a report, on the challenge that the node holds, and carried by the next.
    fn round(&self, sequence: u64, digest: Digest) -> RoundClaims {
        let covers_to = BootNanos((sequence + 1) * 300 * SECOND);
        RoundClaims {
            challenge: self.enrolled.instructions.challenge,
            chain: self.chain,
            sequence,
            digest,
            covers_to,
            begun: covers_to.plus(3 * SECOND),
            ended: covers_to.plus(4 * SECOND),
        }
    }

    fn carrying(
        &self,
        sequence: u64,
        previous: Option<Digest>,
        round: RoundClaims,
        answers: Vec<EvidenceClaims>,
    ) -> (Vec<u8>, Digest) {
        let mut claims = self.claims(self.enrolled.verifier, sequence, previous);
        claims.report.round = Some(round);
        sign(claims, Vec::new(), answers, &*self.key).unwrap()
    }

    /// Delivers and follows the instructions that come back.
    async fn follow(&mut self, verifier: &Verifier, (bundle, digest): (Vec<u8>, Digest)) -> Digest {
        let receipt = self.receipted(verifier, bundle, &digest).await;
        self.enrolled.instructions = receipt.instructions;
        digest
    }

    async fn ordinary(&mut self, verifier: &Verifier, sequence: u64, previous: Option<Digest>) -> Digest {
        let report = self.report(self.enrolled.verifier, sequence, previous);
        self.follow(verifier, report).await
    }
}

async fn record_of(verifier: &Verifier, node: &Node) -> NodeRecord {
    let session = verifier.session().await;
    let row = session.store.node(node.enrolled.node).await.unwrap().unwrap();
    let kept = Kept::read(&*session.store, &row).await.unwrap();
    kept.complete(&*session.store, &row, &DaysAsked::all())
        .await
        .unwrap()
}

async fn last_round(verifier: &Verifier, node: &Node) -> LastRound {
    record_of(verifier, node).await.facts.round.unwrap()
}

async fn restart(verifier: &mut Verifier) {
    verifier.stop().await;
    verifier.serve().await;
}

async fn evidence_of(
    verifier: &Verifier,
    node: &Node,
    known: impl Fn(&NodeEvidence) -> bool,
) -> NodeEvidence {
    for _ in 0..600 {
        let found = record_of(verifier, node).await.evidence;
        if known(&found) {
            return found;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    panic!("nobody appraised the round")
}

async fn pool(verifier: &Verifier) -> sqlx::SqlitePool {
    let database = format!("sqlite://{}", verifier.config().database().display());
    sqlx::SqlitePool::connect(&database).await.unwrap()
}

#[tokio::test]
async fn a_round_on_the_challenge_given_stands_good_once_and_is_known_after_a_restart() {
    let (mut verifier, mut node) = ready().await;
    let one = node.ordinary(&verifier, 1, None).await;
    let round = node.round(1, one);
    // A report was made before the answers had arrived.
    let two = node.ordinary(&verifier, 2, Some(one)).await;
    restart(&mut verifier).await;
    let carrier = node.carrying(3, Some(two), round.clone(), vec![made_up(), none_offered()]);
    let three = node.follow(&verifier, carrier).await;
    let found = last_round(&verifier, &node).await;
    assert_eq!((found.report, found.standing), (three, RoundStanding::Good));
    assert_eq!((found.signed, found.none.len(), found.none[0].count), (1, 1, 1));

    // The same evidence again, in the next report and in one after a restart.
    let again = node.carrying(4, Some(three), round.clone(), vec![made_up()]);
    let four = node.follow(&verifier, again).await;
    assert_eq!(
        last_round(&verifier, &node).await.standing,
        RoundStanding::ChallengeUsed
    );
    restart(&mut verifier).await;
    let again = node.carrying(5, Some(four), round, vec![made_up()]);
    let five = node.follow(&verifier, again).await;
    let found = last_round(&verifier, &node).await;
    assert_eq!(
        (found.report, found.standing),
        (five, RoundStanding::ChallengeUsed)
    );

    // Folded anew, the facts are the same.
    verifier.stop().await;
    let session = verifier.session().await;
    let before = sites(&*session.store, &DaysAsked::all()).await.unwrap();
    sqlx::query("DELETE FROM facts")
        .execute(&pool(&verifier).await)
        .await
        .unwrap();
    assert_eq!(sites(&*session.store, &DaysAsked::all()).await.unwrap(), before);
}

#[tokio::test]
async fn a_report_is_accepted_whatever_its_round_is_worth_and_the_round_is_refused_with_its_reason() {
    let (mut verifier, mut node) = ready().await;
    let token = verifier.token(1, true).await;
    let mut other = enrol(&verifier, &token, new_key()).await.unwrap();
    other.ordinary(&verifier, 1, None).await;
    let one = node.ordinary(&verifier, 1, None).await;
    let early = node.enrolled.instructions.challenge;
    let mut last = node.ordinary(&verifier, 2, Some(one)).await;
    last = node.ordinary(&verifier, 3, Some(last)).await;
    let mut sequence = 3;
    let theirs = other.enrolled.instructions.challenge;
    type Spoil = Box<dyn Fn(&mut RoundClaims)>;
    let cases: Vec<(RoundStanding, Spoil)> = vec![
        (
            RoundStanding::ChallengeUnknown,
            Box::new(move |r| r.challenge = theirs),
        ),
        (
            RoundStanding::ChallengeUnknown,
            Box::new(move |r| r.challenge = early),
        ),
        (
            RoundStanding::ChallengeUnknown,
            Box::new(|r| r.challenge = Challenge([9; 32])),
        ),
        (
            RoundStanding::PlaceUnknown,
            Box::new(|r| r.digest = Digest([9; 32])),
        ),
        (RoundStanding::PlaceUnknown, Box::new(|r| r.sequence += 1)),
        (
            RoundStanding::PlaceUnknown,
            Box::new(|r| r.chain = ChainId([9; 16])),
        ),
        (RoundStanding::TimesWrong, Box::new(|r| r.begun = r.ended.plus(1))),
        (
            RoundStanding::TimesWrong,
            Box::new(|r| r.begun = r.covers_to.before(1)),
        ),
        (
            RoundStanding::TimesWrong,
            Box::new(|r| r.ended = r.ended.plus(301 * SECOND)),
        ),
        // It would cover more than it froze.
        (
            RoundStanding::TimesWrong,
            Box::new(|r| r.covers_to = r.covers_to.plus(SECOND)),
        ),
        (RoundStanding::Good, Box::new(|_| ())),
    ];
    for (expected, spoil) in cases {
        let mut round = node.round(sequence, last);
        spoil(&mut round);
        sequence += 1;
        let carrier = node.carrying(sequence, Some(last), round, vec![made_up()]);
        last = node.follow(&verifier, carrier).await;
        let found = last_round(&verifier, &node).await;
        assert_eq!(
            (found.report, found.standing),
            (last, expected),
            "report {sequence}"
        );
    }
    verifier.stop().await;
}

#[tokio::test]
async fn a_round_that_took_long_counts_and_one_that_was_held_back_does_not() {
    let (mut verifier, mut node) = ready().await;
    let mut last = node.ordinary(&verifier, 1, None).await;
    for (first, carrier, expected) in [
        (1, 17, RoundStanding::Good),
        (17, 34, RoundStanding::ChallengeUnknown),
    ] {
        let round = node.round(first, last);
        for sequence in first + 1..carrier {
            last = node.ordinary(&verifier, sequence, Some(last)).await;
        }
        restart(&mut verifier).await;
        let report = node.carrying(carrier, Some(last), round, vec![made_up()]);
        last = node.follow(&verifier, report).await;
        assert_eq!(last_round(&verifier, &node).await.standing, expected);
    }
    verifier.stop().await;
}

#[tokio::test]
async fn a_round_counts_after_a_gap_and_in_a_report_that_comes_late() {
    let (verifier, mut node) = ready().await;
    let one = node.ordinary(&verifier, 1, None).await;
    let round = node.round(1, one);
    // Reports 2 and 3 were lost.
    let carrier = node.carrying(4, Some(Digest([8; 32])), round, vec![made_up()]);
    let four = node.follow(&verifier, carrier).await;
    assert_eq!(last_round(&verifier, &node).await.standing, RoundStanding::Good);

    let round = node.round(4, four);
    let (bundle, five) = node.carrying(5, Some(four), round, vec![made_up()]);
    node.ordinary(&verifier, 6, Some(five)).await;
    node.follow(&verifier, (bundle, five)).await;
    let found = last_round(&verifier, &node).await;
    assert_eq!((found.report, found.standing), (five, RoundStanding::Good));
    let evidence = evidence_of(&verifier, &node, |e| e.rounds.len() == 2).await;
    assert_eq!(evidence.newest.unwrap().report, five);
}

#[tokio::test]
async fn what_a_round_proves_is_as_old_as_its_challenge_however_long_it_was_held_back() {
    const FIVE_DAYS: i64 = 5 * 86_400;
    let (mut verifier, mut node) = ready().await;
    let one = node.ordinary(&verifier, 1, None).await;
    let held_back = node.round(1, one);
    verifier.clock.set(NOON.plus(600));
    let four = node.ordinary(&verifier, 4, Some(Digest([8; 32]))).await;
    let carrier = node.carrying(5, Some(four), node.round(4, four), vec![made_up()]);
    let five = node.follow(&verifier, carrier).await;
    let known = |n: usize| move |e: &NodeEvidence| e.rounds.len() == n;
    let newest = evidence_of(&verifier, &node, known(1)).await.newest.unwrap();
    assert_eq!((newest.report, newest.given), (five, NOON.plus(600)));

    // It comes after five days, and says that its devices have just answered.
    verifier.clock.set(NOON.plus(FIVE_DAYS));
    restart(&mut verifier).await;
    let mut claims = node.claims(node.enrolled.verifier, 2, Some(one));
    claims.report.time.wall_end = NOON.plus(FIVE_DAYS);
    claims.report.round = Some(held_back);
    let carrier = sign(claims, Vec::new(), vec![made_up()], &*node.key).unwrap();
    let two = node.follow(&verifier, carrier).await;
    assert_eq!(last_round(&verifier, &node).await.standing, RoundStanding::Good);
    let evidence = evidence_of(&verifier, &node, known(2)).await;
    assert_eq!(
        evidence.newest,
        Some(newest),
        "it hides nothing that came after its challenge"
    );
    let brief = evidence.rounds.first().unwrap();
    assert_eq!((brief.report, brief.given), (two, NOON));
    assert_eq!(brief.received, NOON.plus(FIVE_DAYS));
    verifier.stop().await;
}

#[tokio::test]
async fn a_round_that_stands_good_is_appraised_now_or_after_the_next_start() {
    let (mut verifier, mut node) = ready().await;
    let one = node.ordinary(&verifier, 1, None).await;
    let asked = node.round(1, one);
    let carrier = node.carrying(2, Some(one), asked.clone(), vec![made_up(), none_offered()]);
    let two = node.follow(&verifier, carrier).await;
    let evidence = evidence_of(&verifier, &node, |e| e.newest.is_some()).await;
    let round = evidence.newest.as_ref().unwrap();
    assert_eq!((round.report, round.standing), (two, RoundStanding::Good));
    assert_eq!(round.at, NOON);
    let [made_up_one, none] = round.devices.as_slice() else {
        panic!("{round:?}")
    };
    assert_eq!(made_up_one.outcome(CheckName::Chain), CheckOutcome::Fail);
    assert_eq!(none.none, Some(NoEvidence::NotOffered));
    assert!(round.devices.iter().all(|d| !d.is_proved()));

    // Rounds that do not stand good, and rounds in which nobody signed, are not appraised.
    let replayed = node.carrying(3, Some(two), asked, vec![made_up()]);
    let three = node.follow(&verifier, replayed).await;
    let silent = node.carrying(4, Some(three), node.round(3, three), vec![none_offered()]);
    node.follow(&verifier, silent).await;
    assert_eq!(last_round(&verifier, &node).await.standing, RoundStanding::Good);

    // What was lost is found again.
    verifier.stop().await;
    let pool = pool(&verifier).await;
    sqlx::query("DELETE FROM evidence").execute(&pool).await.unwrap();
    assert_eq!(
        record_of(&verifier, &node).await.evidence,
        NodeEvidence::default()
    );
    verifier.serve().await;
    let again = evidence_of(&verifier, &node, |e| e.newest.is_some()).await;
    assert_eq!(again, evidence);

    // What is damaged is as if it were not there, and the next round mends it.
    sqlx::query("UPDATE evidence SET body = x'ff'")
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(
        record_of(&verifier, &node).await.evidence,
        NodeEvidence::default()
    );
    let four = last_round(&verifier, &node).await.report;
    let carrier = node.carrying(5, Some(four), node.round(4, four), vec![made_up()]);
    node.follow(&verifier, carrier).await;
    let mended = evidence_of(&verifier, &node, |e| e.newest.is_some()).await;
    assert_eq!(mended.rounds.len(), 2);
    verifier.stop().await;
}

#[tokio::test]
async fn what_a_node_sent_that_was_revoked_since_is_not_appraised() {
    let (mut verifier, mut node) = ready().await;
    let one = node.ordinary(&verifier, 1, None).await;
    let carrier = node.carrying(2, Some(one), node.round(1, one), vec![made_up()]);
    node.follow(&verifier, carrier).await;
    evidence_of(&verifier, &node, |e| e.newest.is_some()).await;
    verifier
        .session()
        .await
        .revoke(node.enrolled.node, None)
        .await
        .unwrap();
    verifier.stop().await;
    sqlx::query("DELETE FROM evidence")
        .execute(&pool(&verifier).await)
        .await
        .unwrap();
    let token = verifier_with_another(&mut verifier).await;
    // Whoever waits behind it is served.
    let mut other = enrol(&verifier, &token, new_key()).await.unwrap();
    let one = other.ordinary(&verifier, 1, None).await;
    let carrier = other.carrying(2, Some(one), other.round(1, one), vec![made_up()]);
    other.follow(&verifier, carrier).await;
    evidence_of(&verifier, &other, |e| e.newest.is_some()).await;
    assert_eq!(
        record_of(&verifier, &node).await.evidence,
        NodeEvidence::default()
    );
    verifier.stop().await;
}

async fn verifier_with_another(verifier: &mut Verifier) -> EnrolmentToken {
    verifier.serve().await;
    verifier.token(1, true).await
}

#[tokio::test]
async fn a_node_is_asked_for_rounds_as_often_as_is_wanted_and_the_head_asks_as_the_receipt_did() {
    let (mut verifier, mut node) = ready().await;
    verifier.stop().await;
    let asked = async |verifier: &mut Verifier, node: &mut Node, sequence, previous| {
        verifier.serve().await;
        let digest = node.ordinary(verifier, sequence, previous).await;
        let url = format!("{}{PATH_HEAD}", verifier.url());
        let answer = node.client(&verifier.clock).get(url).send().await.unwrap();
        let head: Head = read(answer).await.unwrap();
        assert_eq!(head.instructions, node.enrolled.instructions);
        verifier.stop().await;
        (digest, head.instructions.round)
    };
    verifier.round_draws_per_day = 288;
    let (one, round) = asked(&mut verifier, &mut node, 1, None).await;
    assert!(round, "each report asks");
    verifier.round_draws_per_day = 0;
    let (_, round) = asked(&mut verifier, &mut node, 2, Some(one)).await;
    assert!(!round, "none asks");
}
