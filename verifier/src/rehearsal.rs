//! Tests of the whole verifier on loopback: real TLS, real SQLite, a node made of a key and a few lines.

mod strangers;

use crate::clock::{Clock, SetClock, TlsTime};
use crate::command::Session;
use crate::config::Config;
use crate::fleet::{Anchors, sites};
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
use weighbridge::conditions::Outcome;
use weighbridge::crypto::{Algorithm, Entropy, PublicKey, SecretKey, Signer, dsse};
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
    let ca = verifier.session().await.identity.ca().to_vec();
    let request = EnrolRequest {
        secret: token.secret,
        csr: csr(&key),
        key_protection: KeyProtection::File,
        profiles: vec![PROFILE.into()],
        predecessor: None,
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
        let claims = TokenClaims {
            audience: audience.to_string(),
            issued_at: NOON,
            nonce: Some(self.enrolled.instructions.challenge),
            node: self.enrolled.node,
            profile: PROFILE.into(),
            submods: Submodules {
                host: HostSubmodule { host: host() },
                accelerators: Vec::new(),
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
            },
        };
        sign(claims, Vec::new(), &*self.key).unwrap()
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
    }
}

async fn ready() -> (Verifier, Node) {
    let verifier = Verifier::start().await;
    let token = verifier.token(1, true).await;
    let node = enrol(&verifier, &token, new_key()).await.unwrap();
    (verifier, node)
}

#[tokio::test]
async fn a_report_gets_a_receipt_that_outlives_the_verifier_and_the_same_report_gets_it_again() {
    let (mut verifier, mut node) = ready().await;
    let me = node.enrolled.verifier;
    let (first, one) = node.report(me, 1, None);
    let receipt = node.receipted(&verifier, first.clone(), &one).await;
    assert_eq!((receipt.state, receipt.highest), (ReceiptState::Recorded, 1));

    verifier.stop().await;
    verifier.serve().await;

    let (second, two) = node.report(me, 2, Some(one));
    let next = node.receipted(&verifier, second, &two).await;
    assert_ne!(next.instructions.challenge, receipt.instructions.challenge);
    let again = node.deliver(&verifier, first).await.unwrap();
    assert_eq!(
        (again.state, again.leaf_index, again.highest),
        (ReceiptState::Held, receipt.leaf_index, 2)
    );
    again
        .check(&node.enrolled.node, &one, &node.ledger(), None)
        .unwrap();
    verifier.stop().await;
}

#[tokio::test]
async fn a_gap_and_a_late_report_are_taken_and_the_head_says_what_is_held() {
    let (mut verifier, mut node) = ready().await;
    let me = node.enrolled.verifier;
    let (first, one) = node.report(me, 1, None);
    let (second, two) = node.report(me, 2, Some(one));
    let (third, three) = node.report(me, 3, Some(two));
    node.receipted(&verifier, first, &one).await;
    assert_eq!(node.receipted(&verifier, third, &three).await.highest, 3);
    assert_eq!(node.receipted(&verifier, second, &two).await.highest, 3);
    let url = format!(
        "{}{PATH_HEAD}?seen={}",
        verifier.url(),
        node.seen.as_ref().unwrap().size
    );
    let head: Head = read(node.client(&verifier.clock).get(url).send().await.unwrap())
        .await
        .unwrap();
    head.check(&node.ledger(), node.seen.as_ref()).unwrap();
    let latest = head.latest.unwrap();
    assert_eq!((latest.sequence, latest.digest), (3, three));
    verifier.stop().await;
}

#[tokio::test]
async fn each_refusal_has_its_own_code() {
    let (mut verifier, mut node) = ready().await;
    let me = node.enrolled.verifier;
    let (first, one) = node.report(me, 1, None);
    node.receipted(&verifier, first.clone(), &one).await;

    let mut edited = first.clone();
    let last = edited.len() - 1;
    edited[last - 5] ^= 1;
    assert_eq!(
        node.deliver(&verifier, edited).await.unwrap_err(),
        RefusalCode::Signature
    );
    assert_eq!(
        node.deliver(&verifier, b"hello".to_vec()).await.unwrap_err(),
        RefusalCode::Field
    );
    assert_eq!(
        node.deliver(&verifier, vec![0; 1 << 21]).await.unwrap_err(),
        RefusalCode::Size
    );
    let (elsewhere, _) = node.report(VerifierId([9; 32]), 2, Some(one));
    assert_eq!(
        node.deliver(&verifier, elsewhere).await.unwrap_err(),
        RefusalCode::Audience
    );
    let (other, _) = node.report(me, 1, Some(Digest([5; 32])));
    assert_eq!(
        node.deliver(&verifier, other).await.unwrap_err(),
        RefusalCode::ChainFork
    );

    let mut thief = node.clone();
    thief.enrolled.node = NodeId([1; 17]);
    let (claimed, _) = thief.report(me, 2, Some(one));
    assert_eq!(
        node.deliver(&verifier, claimed).await.unwrap_err(),
        RefusalCode::Node
    );
    let nobody = client(&verifier.clock, &node.enrolled.ca.0, None);
    let url = format!("{}{PATH_REPORT}", verifier.url());
    assert_eq!(
        post::<Receipt>(&nobody, url, first.clone()).await.unwrap_err(),
        RefusalCode::Node
    );

    // Each was counted once; the node still reports.
    let session = verifier.session().await;
    let refusals = session.store.refusals(node.enrolled.node).await.unwrap();
    assert_eq!(refusals.len(), 6, "{refusals:?}");
    let (second, two) = node.report(me, 2, Some(one));
    node.receipted(&verifier, second, &two).await;

    session.revoke(node.enrolled.node, None).await.unwrap();
    let (third, _) = node.report(me, 3, Some(two));
    assert_eq!(
        node.deliver(&verifier, third).await.unwrap_err(),
        RefusalCode::Node
    );
    verifier.stop().await;
}

#[tokio::test]
async fn a_token_admits_as_many_as_it_says_and_a_repeat_is_the_same_node() {
    let mut verifier = Verifier::start().await;
    let token = verifier.token(1, false).await;
    let key = new_key();
    let node = enrol(&verifier, &token, Arc::clone(&key)).await.unwrap();
    assert_eq!(node.enrolled.state, EnrolmentState::Pending);
    let again = enrol(&verifier, &token, key).await.unwrap();
    assert_eq!(again.enrolled.node, node.enrolled.node);
    assert_eq!(
        enrol(&verifier, &token, new_key()).await.err(),
        Some(RefusalCode::Token)
    );
    let late = verifier.token(1, true).await;
    verifier.clock.set(NOON.plus(8 * 86_400));
    assert_eq!(
        enrol(&verifier, &late, new_key()).await.err(),
        Some(RefusalCode::Token)
    );

    let (first, one) = node.report(token.verifier, 1, None);
    assert_eq!(
        node.deliver(&verifier, first.clone()).await.unwrap_err(),
        RefusalCode::Node
    );
    verifier
        .session()
        .await
        .approve(node.enrolled.node)
        .await
        .unwrap();
    node.clone().receipted(&verifier, first, &one).await;
    verifier.stop().await;
}

#[tokio::test]
async fn a_certificate_is_renewed_after_it_expired_but_not_by_a_repeated_request() {
    let (mut verifier, mut node) = ready().await;
    let later = NOON.plus(31 * 86_400);
    verifier.clock.set(later);
    let renew = RenewRequest {
        verifier: node.enrolled.verifier,
        node: node.enrolled.node,
        csr: csr(&node.key),
        at: later,
    };
    let signed = cbor::encode(&SignedRequest::sign(&renew, &*node.key).unwrap());
    let url = format!("{}{PATH_RENEW}", verifier.url());
    let nobody = client(&verifier.clock, &node.enrolled.ca.0, None);
    let renewed: RenewAnswer = post(&nobody, url.clone(), signed.clone()).await.unwrap();
    assert_eq!(
        post::<RenewAnswer>(&nobody, url, signed).await.unwrap_err(),
        RefusalCode::Field
    );
    node.enrolled.certificate = renewed.certificate;
    let (first, one) = node.report(node.enrolled.verifier, 1, None);
    node.receipted(&verifier, first, &one).await;
    verifier.stop().await;
}

#[tokio::test]
async fn a_damaged_ledger_is_not_signed_again() {
    let (mut verifier, mut node) = ready().await;
    let (first, one) = node.report(node.enrolled.verifier, 1, None);
    node.receipted(&verifier, first, &one).await;
    verifier.stop().await;
    let database = format!("sqlite://{}", verifier.config().database().display());
    let pool = sqlx::SqlitePool::connect(&database).await.unwrap();
    sqlx::query("UPDATE tile SET hashes = zeroblob(length(hashes))")
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    let error = serve(verifier.config(), verifier.clock(), CancellationToken::new())
        .await
        .unwrap_err();
    assert!(
        crate::cause::with_causes(&error).contains("restore it from a backup"),
        "{error:?}"
    );
}

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

    let status = verifier.session().await.evaluate(NOON.plus(60)).await.unwrap();
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
async fn a_database_that_was_set_back_is_not_signed_again() {
    let (mut verifier, mut node) = ready().await;
    verifier.stop().await;
    let database = verifier.config().database();
    let older = verifier.directory.path().join("older.db");
    let pool = sqlx::SqlitePool::connect(&format!("sqlite://{}", database.display()))
        .await
        .unwrap();
    sqlx::query("VACUUM INTO ?")
        .bind(older.display().to_string())
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    verifier.serve().await;
    let (first, one) = node.report(node.enrolled.verifier, 1, None);
    node.receipted(&verifier, first, &one).await;
    verifier.stop().await;
    // The older copy, beside the keys and the mark as they are now.
    let restored = tempfile::tempdir().unwrap();
    for file in ["ca.key", "ca.pem", "ledger.key", "checkpoint"] {
        std::fs::copy(verifier.directory.path().join(file), restored.path().join(file)).unwrap();
    }
    std::fs::copy(older, restored.path().join("verifier.db")).unwrap();
    verifier.directory = restored;
    let error = serve(verifier.config(), verifier.clock(), CancellationToken::new())
        .await
        .unwrap_err();
    let line = crate::cause::with_causes(&error);
    assert!(
        line.contains("holds 3 leaves") && line.contains("over 4"),
        "{line}"
    );
}

#[tokio::test]
async fn a_connection_of_tls_1_2_is_refused() {
    let (mut verifier, node) = ready().await;
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from(node.enrolled.ca.0.clone()))
        .unwrap();
    let old = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = Client::builder()
        .tls_backend_preconfigured(old)
        .no_proxy()
        .build()
        .unwrap();
    let error = client
        .get(format!("{}{PATH_HEAD}", verifier.url()))
        .send()
        .await
        .unwrap_err();
    assert!(
        crate::cause::with_causes(&error).contains("ProtocolVersion"),
        "{error:?}"
    );
    verifier.stop().await;
}
