//! Load on a verifier: kept-alive mutual TLS connections that post requests prepared beforehand.
//!
//! The client is made by hand, so that it takes little of the machine that the server is measured on. It knows only what the two servers
//! measured here answer: HTTP/1.1 with a length.

use rustls::pki_types::ServerName;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use weighbridge::protocol::{BUNDLE_MEDIA_TYPE, PATH_REPORT};

/// The bytes of a request that posts `body` as a report.
pub(super) fn request(body: &[u8]) -> Vec<u8> {
    let mut out = format!(
        "POST {PATH_REPORT} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: {BUNDLE_MEDIA_TYPE}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    out.extend_from_slice(body);
    out
}

/// One connection, and what it has still to send.
pub(super) struct Peer {
    address: SocketAddr,
    tls: Arc<rustls::ClientConfig>,
    stream: Option<TlsStream<TcpStream>>,
    /// Requests to be sent, first one first.
    pub(super) requests: VecDeque<Vec<u8>>,
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Peer with {} requests", self.requests.len())
    }
}

impl Peer {
    /// A peer that connects when it first sends.
    pub(super) fn new(address: SocketAddr, mut tls: rustls::ClientConfig) -> Self {
        // Every connection is kept, so none is ever resumed.
        tls.resumption = rustls::client::Resumption::disabled();
        Self {
            address,
            tls: Arc::new(tls),
            stream: None,
            requests: VecDeque::new(),
        }
    }

    /// Sends the next request and returns the body of the answer; `None` where nothing is left to send.
    async fn send(&mut self) -> Option<Vec<u8>> {
        let request = self.requests.pop_front()?;
        if self.stream.is_none() {
            let tcp = TcpStream::connect(self.address).await.unwrap();
            tcp.set_nodelay(true).unwrap();
            let name = ServerName::try_from("127.0.0.1").unwrap();
            let connector = TlsConnector::from(Arc::clone(&self.tls));
            self.stream = Some(connector.connect(name, tcp).await.unwrap());
        }
        let stream = self.stream.as_mut().unwrap();
        stream.write_all(&request).await.unwrap();
        stream.flush().await.unwrap();
        Some(answer(stream).await)
    }
}

/// Reads one answer and demands that it is an acceptance.
async fn answer(stream: &mut TlsStream<TcpStream>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4096);
    loop {
        if let Some((head, length)) = message(&bytes)
            && bytes.len() >= head + length
        {
            let line = String::from_utf8_lossy(&bytes[..head]);
            assert!(line.starts_with("HTTP/1.1 200"), "the server answered {line}");
            return bytes.split_off(head);
        }
        let read = stream.read_buf(&mut bytes).await.unwrap();
        assert!(read > 0, "the server closed the connection");
    }
}

/// Length of a message's head and of its body, once the head is whole.
pub(super) fn message(bytes: &[u8]) -> Option<(usize, usize)> {
    let head = bytes.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let length = std::str::from_utf8(&bytes[..head])
        .unwrap_or_default()
        .lines()
        .filter_map(|l| l.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .expect("a message with a content-length");
    Some((head, length))
}

/// Sends the requests of every peer until `leave` are left of each, `in_flight` at a time, a peer's own in order and the peers of a lane in turn;
/// returns the answers' bodies. Demands that every request is accepted.
pub(super) async fn drive(peers: &mut Vec<Peer>, in_flight: usize, leave: usize) -> Vec<Vec<u8>> {
    let mut lanes: Vec<Vec<Peer>> = (0..in_flight).map(|_| Vec::new()).collect();
    for (i, peer) in peers.drain(..).enumerate() {
        lanes[i % in_flight].push(peer);
    }
    let tasks: Vec<_> = lanes
        .into_iter()
        .map(|mut lane| {
            tokio::task::spawn_local(async move {
                let mut answers = Vec::new();
                while lane.iter().any(|p| p.requests.len() > leave) {
                    for peer in lane.iter_mut().filter(|p| p.requests.len() > leave) {
                        answers.extend(peer.send().await);
                    }
                }
                (lane, answers)
            })
        })
        .collect();
    let (mut lanes, mut answers) = (Vec::new(), Vec::new());
    for task in tasks {
        let (lane, mut own) = task.await.unwrap();
        lanes.push(lane.into_iter());
        answers.append(&mut own);
    }
    // Back in their old order.
    while let Some(peer) = {
        let lane = peers.len() % in_flight;
        lanes[lane].next()
    } {
        peers.push(peer);
    }
    answers
}

/// Runs `work` on a runtime of one thread.
pub(super) fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_measured_once_its_head_is_whole() {
        let request = request(b"body");
        let (head, length) = message(&request).unwrap();
        assert_eq!((&request[head..], length), (&b"body"[..], 4));
        assert_eq!(message(&request[..head - 1]), None);
    }
}
