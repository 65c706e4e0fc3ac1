//! Tests of the whole verifier on loopback: real TLS, real SQLite, a node made of a key and a few lines.

mod bracket;
mod chain;
mod enrolment;
mod evidence;
mod findings;
mod keys;
mod ledger;
mod misconduct;
mod reports;
mod revocation;
mod site;
mod strangers;

use crate::clock::{Clock, SetClock, TlsTime};
use crate::command::Session;
use crate::config::Config;
use crate::init::init;
use crate::serve::{BoundServer, serve};
use crate::token::NewToken;
use rcgen::{CertificateParams, KeyPair};
use reqwest::Client;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use weighbridge::cbor::{self, Bytes, Wire};
use weighbridge::crypto::{Algorithm, Entropy, PublicKey, SecretKey, Signer};
use weighbridge::id::{BootId, ChainId, Digest, NodeId, VerifierId};
use weighbridge::ledger::LedgerKey;
use weighbridge::protocol::*;
use weighbridge::report::*;
use weighbridge::time::{BootNanos, UnixSeconds};

const NOON: UnixSeconds = UnixSeconds(1_795_348_800);

struct Verifier {
    directory: tempfile::TempDir,
    clock: SetClock,
    max_connections: u32,
    request_timeout_s: u64,
    round_draws_per_day: u32,
    server: Option<(BoundServer, CancellationToken)>,
}

impl Verifier {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = SetClock::new(NOON);
        let mut verifier = Self {
            directory,
            clock,
            max_connections: 100,
            request_timeout_s: 60,
            round_draws_per_day: 1,
            server: None,
        };
        init(&verifier.config(), verifier.clock()).await.unwrap();
        verifier.serve().await;
        verifier
    }

    fn config(&self) -> Config {
        Config {
            state_dir: self.directory.path().to_owned(),
            listen: "127.0.0.1:0".parse().unwrap(),
            linger_ms: 0,
            max_connections: self.max_connections,
            request_timeout_s: self.request_timeout_s,
            round_draws_per_day: self.round_draws_per_day,
            // What is found without an act or a report in between is not looked for while a test runs.
            findings_period_s: 86_400,
            ..Config::default()
        }
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(self.clock.clone())
    }

    async fn serve(&mut self) {
        let stop = CancellationToken::new();
        let server = serve(self.config(), self.clock(), stop.clone()).await.unwrap();
        self.server = Some((server, stop));
    }

    async fn stop(&mut self) {
        let (server, stop) = self.server.take().unwrap();
        stop.cancel();
        server.stopped().await;
    }

    fn url(&self) -> String {
        format!("https://{}", self.server.as_ref().unwrap().0.address)
    }

    async fn session(&self) -> Session {
        Session::open(self.config(), self.clock()).await.unwrap()
    }

    async fn token(&self, count: u32, approve: bool) -> EnrolmentToken {
        let wanted = NewToken {
            site: "harbour-1".into(),
            count,
            expires: None,
            serials: Vec::new(),
            approve,
        };
        self.session().await.new_token(wanted).await.unwrap()
    }
}

#[derive(Clone)]
struct Node {
    key: Arc<SecretKey>,
    chain: ChainId,
    enrolled: EnrolAnswer,
    seen: Option<CheckpointSeen>,
}

/// A client that trusts the CA, with the node's certificate or without any.
fn client(clock: &SetClock, ca: &[u8], node: Option<&Node>) -> Client {
    Client::builder()
        .tls_backend_preconfigured(client_tls(clock, ca, node))
        .no_proxy()
        .build()
        .unwrap()
}

fn client_tls(clock: &SetClock, ca: &[u8], node: Option<&Node>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(ca.to_vec())).unwrap();
    let builder = ClientConfig::builder_with_details(
        Arc::new(rustls::crypto::ring::default_provider()),
        Arc::new(TlsTime(Arc::new(clock.clone()))),
    )
    .with_protocol_versions(&[&rustls::version::TLS13])
    .unwrap()
    .with_root_certificates(roots);
    match node {
        Some(node) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from(node.enrolled.certificate.0.clone())],
                PrivatePkcs8KeyDer::from(node.key.pkcs8().to_vec()).into(),
            )
            .unwrap(),
        None => builder.with_no_client_auth(),
    }
}

async fn post<T: Wire>(client: &Client, url: String, body: Vec<u8>) -> Result<T, RefusalCode> {
    let response = client.post(url).body(body).send().await.unwrap();
    read(response).await
}

async fn read<T: Wire>(response: reqwest::Response) -> Result<T, RefusalCode> {
    let status = response.status().as_u16();
    let bytes = response.bytes().await.unwrap();
    match status {
        200 => Ok(cbor::decode_strict(&bytes).unwrap()),
        422 => Err(cbor::decode_strict::<SignedRefusal>(&bytes)
            .unwrap()
            .peek()
            .unwrap()
            .code),
        other => panic!("status {other}: {}", String::from_utf8_lossy(&bytes)),
    }
}

fn csr(key: &SecretKey) -> Bytes {
    let pair = KeyPair::try_from(key.pkcs8()).unwrap();
    Bytes(
        CertificateParams::default()
            .serialize_request(&pair)
            .unwrap()
            .der()
            .to_vec(),
    )
}

async fn enrol(
    verifier: &Verifier,
    token: &EnrolmentToken,
    key: Arc<SecretKey>,
) -> Result<Node, RefusalCode> {
    enrol_after(verifier, token, key, None).await
}

async fn enrol_after(
    verifier: &Verifier,
    token: &EnrolmentToken,
    key: Arc<SecretKey>,
    predecessor: Option<NodeId>,
) -> Result<Node, RefusalCode> {
    let ca = verifier.session().await.identity.ca().to_vec();
    let request = EnrolRequest {
        secret: token.secret,
        csr: csr(&key),
        key_protection: KeyProtection::File,
        profiles: vec![PROFILE.into()],
        predecessor,
        serials: Vec::new(),
    };
    let enrolled: EnrolAnswer = post(
        &client(&verifier.clock, &ca, None),
        format!("{}{PATH_ENROL}", verifier.url()),
        cbor::encode(&request),
    )
    .await?;
    assert_eq!(enrolled.verifier, token.verifier);
    Ok(Node {
        key,
        chain: ChainId([7; 16]),
        enrolled,
        seen: None,
    })
}

fn new_key() -> Arc<SecretKey> {
    Arc::new(SecretKey::generate(Algorithm::EcdsaP256, &Entropy::system()).unwrap())
}

impl Node {
    fn client(&self, clock: &SetClock) -> Client {
        client(clock, &self.enrolled.ca.0, Some(self))
    }

    fn ledger(&self) -> LedgerKey {
        LedgerKey {
            origin: self.enrolled.ledger_origin.clone(),
            key: PublicKey::from_spki(&self.enrolled.ledger_key.0).unwrap(),
        }
    }

    fn report(&self, audience: VerifierId, sequence: u64, previous: Option<Digest>) -> (Vec<u8>, Digest) {
        let claims = self.claims(audience, sequence, previous);
        sign(claims, Vec::new(), Vec::new(), &*self.key).unwrap()
    }

    fn claims(&self, audience: VerifierId, sequence: u64, previous: Option<Digest>) -> TokenClaims {
        TokenClaims {
            audience: audience.to_string(),
            issued_at: NOON,
            nonce: Some(self.enrolled.instructions.challenge),
            node: self.enrolled.node,
            profile: PROFILE.into(),
            submods: Submodules {
                host: HostSubmodule { host: host() },
                accelerators: Vec::new(),
                evidence: Vec::new(),
            },
            report: ReportClaims {
                chain: self.chain,
                sequence,
                previous,
                successor: None,
                boot: BootId([3; 16]),
                time: ReportTime {
                    start: BootNanos(sequence * 300_000_000_000),
                    end: BootNanos((sequence + 1) * 300_000_000_000),
                    wall_end: NOON,
                    wall_steps: 0,
                    wall_step_seconds: 0,
                },
                checkpoint: self.seen.clone(),
                report_seconds: 300,
                trial: false,
                agent_starts: 0,
                round: None,
            },
        }
    }

    async fn deliver(&self, verifier: &Verifier, bundle: Vec<u8>) -> Result<Receipt, RefusalCode> {
        post(
            &self.client(&verifier.clock),
            format!("{}{PATH_REPORT}", verifier.url()),
            bundle,
        )
        .await
    }

    /// Delivers, checks the receipt as an agent does, and remembers the checkpoint.
    async fn receipted(&mut self, verifier: &Verifier, bundle: Vec<u8>, digest: &Digest) -> Receipt {
        let cited = OpenedReport::open(&bundle).unwrap().claims.report.checkpoint;
        let receipt = self.deliver(verifier, bundle).await.unwrap();
        let seen = receipt
            .check(&self.enrolled.node, digest, &self.ledger(), cited.as_ref())
            .unwrap();
        self.seen = Some(seen);
        receipt
    }
}

fn host() -> HostClaims {
    HostClaims {
        agent_version: "0".into(),
        agent_digest: Digest([0; 32]),
        key_protection: KeyProtection::File,
        kernel: "6".into(),
        cpus: 2,
        memory_mib: 1,
        driver: None,
        bus: Vec::new(),
        clock_source: ClockSource::Synchronised,
        model_digest: Digest([0; 32]),
        catalogue_digest: Digest([0; 32]),
        released: false,
        sampler_restarts: 0,
        bus_source: weighbridge::telemetry::BusSource::System,
        former_drivers: Vec::new(),
        switches: Vec::new(),
        traffic: weighbridge::telemetry::HostTraffic::UNTOLD,
        meters: Vec::new(),
        observations: Vec::new(),
        tenants: None,
    }
}

async fn ready() -> (Verifier, Node) {
    let verifier = Verifier::start().await;
    let token = verifier.token(1, true).await;
    let node = enrol(&verifier, &token, new_key()).await.unwrap();
    (verifier, node)
}
