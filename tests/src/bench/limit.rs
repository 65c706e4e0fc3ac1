//! The limit column: what each stage of intake costs with the best primitive and nothing around it.
//!
//! It is rebuilt in every run, over the very bytes that the verifier is sent: a bare server under the same TLS, a walk over the CBOR,
//! a hash, a tree in memory, a file written in place. A bare verification is the reference operation itself. Appraisal is left out.

use super::cpu::{self, Meter};
use super::ledger::Tree;
use super::load::{Peer, message};
use super::reference::each;
use crate::node::client_tls;
use minicbor::Decoder;
use minicbor::data::Type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use weighbridge::crypto::merkle::leaf_hash;
use weighbridge::crypto::{Algorithm, Entropy, SecretKey, sha256};

/// A server that reads a request and answers with bytes made beforehand: TLS, and hardly any HTTP.
#[derive(Debug)]
pub(super) struct BareServer {
    address: SocketAddr,
    meter: Meter,
    ca: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl BareServer {
    /// Starts it on a thread of its own, which ends with the process. It answers with `answer` bytes.
    pub(super) fn start(answer: usize) -> Self {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()])
            .unwrap()
            .signed_by(&key, &ca)
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ca.der().clone()).unwrap();
        let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::clone(&provider),
        )
        .build()
        .unwrap();
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(
                vec![CertificateDer::from(certificate.der().to_vec())],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            super::load::block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send((cpu::thread_id(), listener.local_addr().unwrap()))
                    .unwrap();
                loop {
                    let (tcp, _) = listener.accept().await.unwrap();
                    tokio::task::spawn_local(serve(acceptor.clone(), tcp, answer));
                }
            });
        });
        let (thread, address) = told.recv().unwrap();
        Self {
            address,
            meter: Meter::of_thread(thread),
            ca,
        }
    }

    /// A peer with a certificate that the server accepts.
    pub(super) fn peer(&self) -> Peer {
        let key = SecretKey::generate(Algorithm::EcdsaP256, &Entropy::system()).unwrap();
        let pair = rcgen::KeyPair::try_from(key.pkcs8()).unwrap();
        let certificate = rcgen::CertificateParams::default()
            .signed_by(&pair, &self.ca)
            .unwrap();
        Peer::new(self.address, client_tls(Some((certificate.der(), &key))))
    }

    /// CPU time of the server's thread up to now, in nanoseconds.
    pub(super) fn cpu_ns(&mut self) -> u64 {
        self.meter.read()
    }
}

/// Answers one connection until it ends.
async fn serve(acceptor: TlsAcceptor, tcp: TcpStream, answer: usize) {
    tcp.set_nodelay(true).unwrap();
    let Ok(mut stream) = acceptor.accept(tcp).await else {
        return;
    };
    let mut reply = format!("HTTP/1.1 200 OK\r\ncontent-length: {answer}\r\n\r\n").into_bytes();
    reply.resize(reply.len() + answer, 0);
    let mut bytes = Vec::with_capacity(16 << 10);
    loop {
        if let Some((head, length)) = message(&bytes)
            && bytes.len() >= head + length
        {
            bytes.drain(..head + length);
            if stream.write_all(&reply).await.is_err() || stream.flush().await.is_err() {
                return;
            }
        }
        match stream.read_buf(&mut bytes).await {
            Ok(read) if read > 0 => {}
            _ => return,
        }
    }
}

/// CPU time of each stage for one report, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    /// TLS and HTTP of a bare server.
    pub(super) transport: f64,
    /// One bare verification.
    pub(super) signature: f64,
    /// A walk over the CBOR, that inside byte strings too.
    pub(super) walk: f64,
    /// SHA-256 of the body.
    pub(super) leaf: f64,
    /// Append to the tree, and a share of a root.
    pub(super) merkle: f64,
    /// Durable in a file written in place, so many reports at a time.
    pub(super) store: f64,
}

impl Column {
    /// The sum, in nanoseconds.
    pub(super) fn sum(&self) -> f64 {
        self.transport + self.signature + self.walk + self.leaf + self.merkle + self.store
    }
}

/// Measures the stages other than transport and signature.
pub(super) fn stages(body: &[u8], batch: usize, dir: &Path, tree: &mut Tree) -> Column {
    let batch = batch.max(1);
    let leaves = u32::try_from(batch).unwrap();
    let digest = sha256(body);
    Column {
        transport: 0.0,
        signature: 0.0,
        walk: each(1000, || walk(body)),
        leaf: each(1000, || sha256(body)),
        merkle: each(50, || {
            for _ in 0..batch {
                tree.push(leaf_hash(&digest.0));
            }
            tree.root()
        }) / f64::from(leaves),
        store: write(body, batch, dir) / f64::from(leaves),
    }
}

/// Walks over every item of a bundle: its own, and those of the token and the claims inside it.
fn walk(body: &[u8]) -> usize {
    let mut d = Decoder::new(body);
    let mut items = 0;
    // Items of the outer layer that are still to come; the layers inside are skipped whole.
    let mut left = 1u64;
    while left > 0 {
        left -= 1;
        items += 1;
        match d.datatype().unwrap() {
            Type::Tag => {
                d.tag().unwrap();
                left += 1;
            }
            Type::Array => left += d.array().unwrap().unwrap(),
            Type::Map => left += 2 * d.map().unwrap().unwrap(),
            // The token's payload and the claims beside it are maps; a signature and a header are too short to hold one.
            Type::Bytes => match d.bytes().unwrap() {
                inner if inner.len() > 64 => Decoder::new(inner).skip().unwrap(),
                _ => {}
            },
            _ => d.skip().unwrap(),
        }
    }
    items
}

/// CPU time of one group of reports, written in place to a file and made durable.
fn write(body: &[u8], batch: usize, dir: &Path) -> f64 {
    const GROUPS: u32 = 32;
    let group = body.repeat(batch);
    let path = dir.join("preallocated");
    let file = std::fs::File::create(&path).unwrap();
    for i in 0..u64::from(GROUPS) {
        file.write_all_at(&vec![0; group.len()], i * group.len() as u64)
            .unwrap();
    }
    file.sync_all().unwrap();
    let mut at = 0;
    let ns = each(GROUPS, || {
        file.write_all_at(&group, at).unwrap();
        file.sync_data().unwrap();
        at += group.len() as u64;
    });
    std::fs::remove_file(&path).unwrap();
    ns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::load::{block_on, drive, request};

    #[test]
    fn the_walk_reaches_into_the_token_and_refuses_what_is_cut() {
        let key = SecretKey::generate(Algorithm::EcdsaP256, &Entropy::system()).unwrap();
        let (token, accelerators) = crate::bench::report::claims();
        let (bytes, _) = weighbridge::report::sign(token, accelerators, Vec::new(), &key).unwrap();
        assert!(
            walk(&bytes) > 16,
            "a bundle holds a token and the claims of eight accelerators"
        );
        assert!(std::panic::catch_unwind(|| walk(&bytes[..bytes.len() - 1])).is_err());
    }

    #[test]
    fn the_bare_server_answers_every_request_of_a_kept_connection() {
        let mut server = BareServer::start(700);
        let mut peers = vec![server.peer(), server.peer()];
        for peer in &mut peers {
            peer.requests = (0..3).map(|_| request(&[7; 5000])).collect();
        }
        let answers = block_on(async { drive(&mut peers, 2, 0).await });
        assert_eq!(answers.iter().map(Vec::len).collect::<Vec<_>>(), vec![700; 6]);
        assert!(server.cpu_ns() > 0);
    }
}
