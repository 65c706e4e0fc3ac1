//! Callers without a certificate: what they may occupy, and for how long.

use super::{Verifier, client_tls, ready};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Longer than any bound of these tests, and shorter than any that holds for a certified node.
const PATIENCE: Duration = Duration::from_secs(15);

/// A verifier that gives a request one second, and the CA's certificate.
async fn hasty() -> (Verifier, Vec<u8>) {
    let (mut verifier, node) = ready().await;
    verifier.stop().await;
    verifier.request_timeout_s = 1;
    verifier.serve().await;
    (verifier, node.enrolled.ca.0)
}

async fn stranger(verifier: &Verifier, ca: &[u8], alpn: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
    let mut tls = client_tls(&verifier.clock, ca, None);
    tls.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    let address = verifier.server.as_ref().unwrap().0.address;
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(std::sync::Arc::new(tls))
        .connect("127.0.0.1".try_into().unwrap(), stream)
        .await
}

/// Whether the verifier ends the connection, by itself.
async fn is_cut(stream: &mut TlsStream<TcpStream>) -> bool {
    let mut said = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said))
        .await
        .is_ok()
}

#[tokio::test]
async fn a_stranger_who_asks_nothing_or_never_ends_its_question_is_dropped() {
    let (mut verifier, ca) = hasty().await;
    for question in [
        "",
        "G",
        "POST /v1/enrol HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf",
    ] {
        let mut stream = stranger(&verifier, &ca, &["http/1.1"]).await.unwrap();
        stream.write_all(question.as_bytes()).await.unwrap();
        assert!(is_cut(&mut stream).await, "{question:?}");
    }
    verifier.stop().await;
}

#[tokio::test]
async fn a_stranger_who_asks_without_end_is_dropped() {
    let (mut verifier, ca) = hasty().await;
    let stream = stranger(&verifier, &ca, &["http/1.1"]).await.unwrap();
    let (mut answers, mut questions) = tokio::io::split(stream);
    let asking = async {
        let question = b"GET /v1/head HTTP/1.1\r\nhost: a\r\n\r\n";
        while questions.write_all(question).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let mut said = Vec::new();
    let cut = async { answers.read_to_end(&mut said).await };
    let cut = async {
        tokio::select! { _ = cut => (), () = asking => () }
    };
    tokio::time::timeout(PATIENCE, cut).await.unwrap();
    verifier.stop().await;
}

#[tokio::test]
async fn a_node_delivers_while_strangers_hold_all_connections_that_they_can() {
    let (mut verifier, mut node) = ready().await;
    verifier.stop().await;
    verifier.max_connections = 4;
    verifier.request_timeout_s = 3_600;
    verifier.serve().await;
    let mut held = Vec::new();
    for _ in 0..6 {
        let silent = stranger(&verifier, &node.enrolled.ca.0, &["http/1.1"]);
        held.extend(tokio::time::timeout(PATIENCE, silent).await.unwrap());
    }
    let (bundle, digest) = node.report(node.enrolled.verifier, 1, None);
    let delivered = node.receipted(&verifier, bundle, &digest);
    tokio::time::timeout(PATIENCE, delivered).await.unwrap();
    // One stranger is still there; the others were cut.
    for silent in &mut held[1..] {
        assert!(is_cut(silent).await);
    }
    drop(held);
    verifier.stop().await;
}

#[tokio::test]
async fn http_2_is_not_spoken() {
    let (mut verifier, node) = ready().await;
    let refused = stranger(&verifier, &node.enrolled.ca.0, &["h2"]).await;
    assert!(refused.is_err(), "{refused:?}");
    verifier.stop().await;
}

#[tokio::test]
async fn the_verifier_stops_while_strangers_hold_every_connection() {
    let (mut verifier, node) = ready().await;
    verifier.stop().await;
    verifier.max_connections = 2;
    verifier.request_timeout_s = 3_600;
    verifier.serve().await;
    let silent = stranger(&verifier, &node.enrolled.ca.0, &["http/1.1"])
        .await
        .unwrap();
    let address = verifier.server.as_ref().unwrap().0.address;
    let wordless = TcpStream::connect(address).await.unwrap();
    let waiting = TcpStream::connect(address).await.unwrap();
    tokio::time::timeout(PATIENCE, verifier.stop()).await.unwrap();
    drop((silent, wordless, waiting));
}
