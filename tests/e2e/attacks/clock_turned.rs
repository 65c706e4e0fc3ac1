//! The node's wall clock is turned back or forward, to make a report speak of another time.

use super::Stage;
use weighbridge::id::BootId;

/// Seconds of forty days.
const TURN: i64 = 40 * 86_400;

/// OPS-03 of a node whose clock is turned by so many seconds between two reports, in one boot or with a new one in between.
async fn turned(seconds: i64, rebooted: bool) -> (String, String) {
    let stage = Stage::new();
    let mut node = stage.node().await;
    node.report().await;
    node.wall = node.wall.plus(seconds);
    let (mut claims, accelerators) = node.next_claims();
    if rebooted {
        claims.report.boot = BootId([0xbb; 16]);
    }
    let (bytes, digest) = node.sign(claims, accelerators);
    node.deliver(bytes).await.accepted();
    node.advance(digest);
    stage.verifier.finding("OPS-03")
}

/// The seconds after `what`, which the sentence must hold.
fn seconds_after(what: &str, sentence: &str) -> i64 {
    let (_, rest) = sentence
        .split_once(what)
        .unwrap_or_else(|| panic!("no `{what}` in: {sentence}"));
    rest.split_once(" s ").unwrap().0.parse().unwrap()
}

#[tokio::test]
async fn a_clock_turned_forward_leaves_the_age_of_reports_open() {
    let (outcome, sentence) = turned(TURN, false).await;
    assert_eq!(outcome, "cannot tell", "{sentence}");
    let slip = seconds_after(
        "moved against boot time without the node saying so by ",
        &sentence,
    );
    assert_eq!(slip, TURN, "{sentence}");
    // A reboot hides the step, and not that the report speaks of a time to come.
    let (outcome, sentence) = turned(TURN, true).await;
    assert_eq!(outcome, "cannot tell", "{sentence}");
    let ahead = seconds_after("ran ahead of the verifier's clock by ", &sentence);
    assert!((TURN - 3600..TURN).contains(&ahead), "{sentence}");
}

#[tokio::test]
async fn a_clock_turned_back_makes_reports_old_and_is_named_beside_their_age() {
    let (outcome, sentence) = turned(-TURN, false).await;
    assert_eq!(outcome, "not met", "{sentence}");
    assert!(sentence.contains("is 40 days old"), "{sentence}");
    let slip = seconds_after(
        "moved against boot time without the node saying so by ",
        &sentence,
    );
    assert_eq!(slip, TURN, "{sentence}");
    // After a reboot the reports themselves still show it: the later one was signed before the one that it follows.
    let (outcome, sentence) = turned(-TURN, true).await;
    assert_eq!(outcome, "not met", "{sentence}");
    let back = seconds_after("went back between two reports by ", &sentence);
    assert_eq!(back, TURN - 300, "{sentence}");
}

#[tokio::test]
async fn a_step_that_the_node_itself_saw_is_found() {
    let stage = Stage::new();
    let mut node = stage.node().await;
    node.report().await;
    let (mut claims, accelerators) = node.next_claims();
    claims.report.time.wall_steps = 1;
    claims.report.time.wall_step_seconds = 7200;
    let (bytes, digest) = node.sign(claims, accelerators);
    node.deliver(bytes).await.accepted();
    node.advance(digest);
    let (outcome, sentence) = stage.verifier.finding("OPS-03");
    assert_eq!(outcome, "cannot tell", "{sentence}");
    assert!(
        sentence.contains("was stepped, as the node itself says by 7200 s"),
        "{sentence}"
    );
}
