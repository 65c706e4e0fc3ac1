//! The gates of a verifier: TLS, certificates, approval, revocation, renewal, size.

use std::io::{Read, Write};
use weighbridge::protocol::{BUNDLE_MEDIA_TYPE, PATH_HEAD, PATH_REPORT, RefusalCode};
use weighbridge_testbed::licence::{self, now};
use weighbridge_testbed::node::{Line, SimulatedNode};
use weighbridge_testbed::process::{Verifier, must};

fn verifier(dir: &std::path::Path) -> Verifier {
    let mut verifier = Verifier::init(dir);
    verifier.load_licence(&licence::for_site("harbour-1", &[]));
    verifier.serve();
    verifier
}

#[tokio::test]
async fn a_report_without_a_client_certificate_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let verifier = verifier(dir.path());
    let mut node = SimulatedNode::enrol(&verifier.token("harbour-1", &[]), 1, now()).await;
    let (bytes, _) = node.seal();
    let stranger = Line::anonymous(&verifier.url);
    let (status, _) = stranger
        .post(PATH_REPORT, BUNDLE_MEDIA_TYPE, bytes.clone())
        .await
        .unwrap();
    assert_ne!(status, 200);
    let (status, _) = stranger.get(PATH_HEAD).await.unwrap();
    assert_ne!(status, 200);
    node.deliver(bytes).await.accepted();
}

#[tokio::test]
async fn a_node_that_nobody_approved_waits_and_then_reports() {
    let dir = tempfile::tempdir().unwrap();
    let verifier = verifier(dir.path());
    let out = must(verifier.command().args(["token", "new", "--site", "harbour-1"]));
    let token = out.split_whitespace().find(|w| w.starts_with("wb1.")).unwrap();
    let mut node = SimulatedNode::enrol(token, 1, now()).await;
    let (bytes, _) = node.seal();
    assert_eq!(
        node.deliver(bytes.clone()).await.refused().code,
        RefusalCode::Node
    );
    must(verifier.command().args(["node", "approve", &node.id.to_string()]));
    node.deliver(bytes).await.accepted();
}

#[tokio::test]
async fn a_revoked_node_is_refused_and_cannot_renew() {
    let dir = tempfile::tempdir().unwrap();
    let verifier = verifier(dir.path());
    let mut node = SimulatedNode::enrol(&verifier.token("harbour-1", &[]), 1, now()).await;
    node.report().await;
    node.renew(&verifier.url, now()).await.accepted();
    must(verifier.command().args([
        "node",
        "revoke",
        &node.id.to_string(),
        "--from",
        &now().to_string(),
    ]));
    let (bytes, _) = node.seal();
    assert_eq!(node.deliver(bytes).await.refused().code, RefusalCode::Node);
    assert_eq!(
        node.renew(&verifier.url, now().plus(5)).await.refused().code,
        RefusalCode::Node
    );
}

#[tokio::test]
async fn a_report_just_before_an_ordinary_revocation_accuses_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let verifier = verifier(dir.path());
    let mut stays = SimulatedNode::enrol(&verifier.token("harbour-1", &[]), 1, now()).await;
    let mut leaves = SimulatedNode::enrol(&verifier.token("harbour-1", &[]), 1, now()).await;
    stays.report().await;
    leaves.report().await;
    let before = verifier.finding("SEC-04");
    must(
        verifier
            .command()
            .args(["node", "revoke", &leaves.id.to_string()]),
    );
    let (outcome, sentence) = verifier.finding("SEC-04");
    assert_eq!(outcome, before.0, "{sentence}");
    assert!(!sentence.contains("revoked"), "{sentence}");
}

#[tokio::test]
async fn renewal_works_by_the_enrolled_key_alone_and_not_by_another() {
    let dir = tempfile::tempdir().unwrap();
    let verifier = verifier(dir.path());
    let mut node = SimulatedNode::enrol(&verifier.token("harbour-1", &[]), 1, now()).await;
    let other = SimulatedNode::enrol(&verifier.token("harbour-1", &[]), 1, now()).await;
    // No client certificate is shown: an expired one would not be of use.
    let renewed = node.renew(&verifier.url, now()).await.accepted();
    node.line = Line::identified(&verifier.url, &renewed.certificate.0, &node.key);
    node.report().await;
    let forged = SimulatedNode { id: node.id, ..other };
    assert_eq!(
        forged.renew(&verifier.url, now().plus(9)).await.refused().code,
        RefusalCode::Signature
    );
}

#[tokio::test]
async fn a_body_without_end_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let verifier = verifier(dir.path());
    let mut node = SimulatedNode::enrol(&verifier.token("harbour-1", &[]), 1, now()).await;
    let huge = vec![0u8; weighbridge::bounded::MAX_BUNDLE + 1];
    match node.line.post(PATH_REPORT, BUNDLE_MEDIA_TYPE, huge).await {
        Ok((status, _)) => assert_ne!(status, 200),
        Err(e) => assert!(!e.is_builder(), "{e}"),
    }
    node.report().await;
}

#[test]
fn a_client_that_offers_only_tls_1_2_is_turned_away() {
    let dir = tempfile::tempdir().unwrap();
    let verifier = verifier(dir.path());
    let address = verifier.url.trim_start_matches("https://").to_owned();
    let mut socket = std::net::TcpStream::connect(address).unwrap();
    // A minimal TLS 1.2 ClientHello: no supported_versions extension, one cipher suite (0xc02b).
    let mut hello = vec![0x03, 0x03];
    hello.extend([7u8; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x2b, 1, 0, 0, 0]);
    let mut message = vec![1, 0, 0, u8::try_from(hello.len()).unwrap()];
    message.extend(hello);
    let mut record = vec![0x16, 0x03, 0x01, 0, u8::try_from(message.len()).unwrap()];
    record.extend(message);
    socket.write_all(&record).unwrap();
    let mut answer = [0u8; 7];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(answer[0], 0x15, "an alert and no ServerHello: {answer:?}");
}
