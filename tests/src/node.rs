//! A simulated node: a key and a chain, without devices. It says to a verifier whatever a test wants said.
//!
//! It speaks the protocol through the same library as the agent, and shares none of the agent's caution: it can repeat, reorder, fork, cut and
//! forge. It does not check the server's certificate: what is under test is the verifier.

use crate::fixture::{self, Place};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use std::sync::Arc;
use weighbridge::cbor::{self, Bytes, Wire};
use weighbridge::crypto::{Algorithm, Entropy, PublicKey, SecretKey};
use weighbridge::id::{ChainId, Challenge, Digest, NodeId, VerifierId};
use weighbridge::ledger::LedgerKey;
use weighbridge::protocol::{
    BUNDLE_MEDIA_TYPE, EnrolAnswer, EnrolRequest, EnrolmentToken, Head, MEDIA_TYPE, PATH_ENROL, PATH_HEAD,
    PATH_RENEW, PATH_REPORT, Receipt, Refusal, RenewAnswer, RenewRequest, SignedRefusal, SignedRequest,
};
use weighbridge::report::{AcceleratorClaims, KeyProtection, TokenClaims};
use weighbridge::time::UnixSeconds;

/// What a verifier answered.
#[derive(Debug)]
pub enum Answer<T> {
    /// It accepted.
    Accepted(T),
    /// It refused, in signed words.
    Refused(Refusal),
    /// It answered something else: a status, without a body that the protocol knows.
    Other(u16),
}

impl<T: std::fmt::Debug> Answer<T> {
    /// What was accepted.
    ///
    /// # Panics
    /// Where it was not.
    pub fn accepted(self) -> T {
        match self {
            Self::Accepted(value) => value,
            other => panic!("expected acceptance, got {other:?}"),
        }
    }

    /// The refusal.
    ///
    /// # Panics
    /// Where there was none.
    pub fn refused(self) -> Refusal {
        match self {
            Self::Refused(refusal) => refusal,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }
}

/// A connection to a verifier, with or without a client certificate.
#[derive(Clone, Debug)]
pub struct Line {
    url: String,
    http: reqwest::Client,
}

impl Line {
    /// A line without a client certificate.
    ///
    /// # Panics
    /// Where TLS cannot be set up.
    #[must_use]
    pub fn anonymous(url: &str) -> Self {
        Self::open(url, None)
    }

    /// A line with a client certificate and its key.
    ///
    /// # Panics
    /// Where TLS cannot be set up.
    #[must_use]
    pub fn identified(url: &str, certificate: &[u8], key: &SecretKey) -> Self {
        Self::open(url, Some((certificate, key)))
    }

    fn open(url: &str, identity: Option<(&[u8], &SecretKey)>) -> Self {
        let config = client_tls(identity);
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(config)
            .no_proxy()
            .build()
            .unwrap();
        Self {
            url: url.trim_end_matches('/').to_owned(),
            http,
        }
    }

    /// Posts `body` and returns status and answer; an error where the connection fails.
    ///
    /// # Errors
    /// What the HTTP client says.
    pub async fn post(
        &self,
        path: &str,
        media: &str,
        body: Vec<u8>,
    ) -> Result<(u16, Vec<u8>), reqwest::Error> {
        let answer = self
            .http
            .post(format!("{}{path}", self.url))
            .header("content-type", media)
            .body(body)
            .send()
            .await?;
        let status = answer.status().as_u16();
        Ok((status, answer.bytes().await?.to_vec()))
    }

    /// Gets a path.
    ///
    /// # Errors
    /// What the HTTP client says.
    pub async fn get(&self, path: &str) -> Result<(u16, Vec<u8>), reqwest::Error> {
        let answer = self.http.get(format!("{}{path}", self.url)).send().await?;
        let status = answer.status().as_u16();
        Ok((status, answer.bytes().await?.to_vec()))
    }
}

/// TLS 1.3 as an agent speaks it, with or without a client certificate; accepts any server.
///
/// # Panics
/// Where the certificate is not one of the key.
#[must_use]
pub fn client_tls(identity: Option<(&[u8], &SecretKey)>) -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer(provider)));
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from(certificate.to_vec())],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.pkcs8().to_vec())),
            )
            .unwrap(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// A node that enrolled. A copy of it stands where it stood, as its verifier's copied state does.
#[derive(Clone, Debug)]
pub struct SimulatedNode {
    /// Its key.
    pub key: Arc<SecretKey>,
    /// Its certificate, in DER.
    pub certificate: Vec<u8>,
    /// Its id.
    pub id: NodeId,
    /// Its verifier.
    pub verifier: VerifierId,
    /// The verifier's ledger.
    pub ledger: LedgerKey,
    /// Its connection.
    pub line: Line,
    /// Its chain.
    pub chain: ChainId,
    /// The number of its last report.
    pub sequence: u64,
    /// The digest of its last report.
    pub previous: Option<Digest>,
    /// The challenge it was given last.
    pub challenge: Option<Challenge>,
    /// Length of its reports.
    pub seconds: u32,
    /// Accelerators that it claims.
    pub gpus: u16,
    /// Its wall clock; each report moves it on.
    pub wall: UnixSeconds,
}

/// What [`SimulatedNode::enrol`] asks with.
#[must_use]
pub fn enrol_request(token: &EnrolmentToken, key: &SecretKey) -> EnrolRequest {
    EnrolRequest {
        secret: token.secret,
        csr: Bytes(csr(key)),
        key_protection: KeyProtection::File,
        profiles: weighbridge::report::PROFILES
            .iter()
            .map(|p| (*p).to_owned())
            .collect(),
        predecessor: None,
        serials: Vec::new(),
    }
}

/// A PKCS#10 request for `key`.
///
/// # Panics
/// Where it cannot be made.
#[must_use]
pub fn csr(key: &SecretKey) -> Vec<u8> {
    let pair = rcgen::KeyPair::try_from(key.pkcs8()).unwrap();
    rcgen::CertificateParams::default()
        .serialize_request(&pair)
        .unwrap()
        .der()
        .to_vec()
}

impl SimulatedNode {
    /// Enrols a new key with a token.
    ///
    /// # Panics
    /// Where the verifier does not admit it.
    pub async fn enrol(token_line: &str, gpus: u16, wall: UnixSeconds) -> Self {
        let token = EnrolmentToken::parse(token_line).unwrap();
        Self::enrol_over(&Line::anonymous(&token.url), &token, gpus, wall).await
    }

    /// Enrols a new key with a token, over a line that is open already.
    ///
    /// # Panics
    /// Where the verifier does not admit it.
    pub async fn enrol_over(line: &Line, token: &EnrolmentToken, gpus: u16, wall: UnixSeconds) -> Self {
        let key = SecretKey::generate(Algorithm::EcdsaP256, &Entropy::system()).unwrap();
        let answer = enrol_over(line, &enrol_request(token, &key)).await.accepted();
        Self::from_answer(token, key, &answer, gpus, wall)
    }

    /// The node that an answer describes.
    ///
    /// # Panics
    /// Where the answer's keys are not keys.
    #[must_use]
    pub fn from_answer(
        token: &EnrolmentToken,
        key: SecretKey,
        answer: &EnrolAnswer,
        gpus: u16,
        wall: UnixSeconds,
    ) -> Self {
        let entropy = Entropy::system();
        Self {
            line: Line::identified(&token.url, &answer.certificate.0, &key),
            key: Arc::new(key),
            certificate: answer.certificate.0.clone(),
            id: answer.node,
            verifier: answer.verifier,
            ledger: LedgerKey {
                origin: answer.ledger_origin.clone(),
                key: PublicKey::from_spki(&answer.ledger_key.0).unwrap(),
            },
            chain: ChainId(entropy.draw().unwrap()),
            sequence: 0,
            previous: None,
            challenge: Some(answer.instructions.challenge),
            seconds: answer.instructions.report_seconds,
            gpus,
            wall,
        }
    }

    /// Where its next report stands.
    #[must_use]
    pub fn next_place(&self) -> Place {
        Place {
            verifier: self.verifier,
            node: self.id,
            chain: self.chain,
            sequence: self.sequence + 1,
            previous: self.previous,
            wall_end: self.wall.plus(i64::from(self.seconds)),
            challenge: self.challenge,
            seconds: self.seconds,
        }
    }

    /// The claims of its next report: an ordinary one.
    ///
    /// # Panics
    /// Where the system gives no random bytes.
    #[must_use]
    pub fn next_claims(&self) -> (TokenClaims, Vec<AcceleratorClaims>) {
        let entropy = Entropy::system();
        let [_, a, b, c, d, ..] = self.id.0;
        let tag = u32::from_be_bytes([a, b, c, d]);
        let accelerators = (0..self.gpus)
            .map(|i| {
                let mut claims = fixture::accelerator(i, self.seconds, entropy.draw().unwrap());
                // Every node has devices of its own.
                claims.identity.uuid.0[..4].copy_from_slice(&tag.to_be_bytes());
                claims.identity.serial = Some(format!("1653{tag:08X}{i:02}"));
                claims
            })
            .collect();
        (fixture::token(&self.next_place(), self.gpus), accelerators)
    }

    /// Signs claims with the node's key.
    ///
    /// # Panics
    /// Where the key cannot sign.
    #[must_use]
    pub fn sign(&self, claims: TokenClaims, accelerators: Vec<AcceleratorClaims>) -> (Vec<u8>, Digest) {
        weighbridge::report::sign(claims, accelerators, Vec::new(), &*self.key).unwrap()
    }

    /// Moves its chain on, as if the report with this digest were its last.
    pub fn advance(&mut self, digest: Digest) {
        self.sequence += 1;
        self.previous = Some(digest);
        self.wall = self.wall.plus(i64::from(self.seconds));
    }

    /// Signs its next report and moves on, without delivering.
    #[must_use]
    pub fn seal(&mut self) -> (Vec<u8>, Digest) {
        let (claims, accelerators) = self.next_claims();
        let (bytes, digest) = self.sign(claims, accelerators);
        self.advance(digest);
        (bytes, digest)
    }

    /// Delivers bytes as a report.
    ///
    /// # Panics
    /// Where the connection fails.
    pub async fn deliver(&mut self, bundle: Vec<u8>) -> Answer<Receipt> {
        let answer = self
            .line
            .post(PATH_REPORT, BUNDLE_MEDIA_TYPE, bundle)
            .await
            .unwrap();
        let answer: Answer<Receipt> = read(answer);
        if let Answer::Accepted(receipt) = &answer {
            self.challenge = Some(receipt.instructions.challenge);
        }
        answer
    }

    /// Seals and delivers an ordinary report.
    ///
    /// # Panics
    /// Where it is not accepted, or the receipt does not hold.
    pub async fn report(&mut self) -> Receipt {
        let (bytes, digest) = self.seal();
        let receipt = self.deliver(bytes).await.accepted();
        receipt.check(&self.id, &digest, &self.ledger, None).unwrap();
        receipt
    }

    /// Asks where the verifier stands.
    ///
    /// # Panics
    /// Where the connection fails or the head is not given.
    pub async fn head(&self) -> Head {
        read(self.line.get(PATH_HEAD).await.unwrap()).accepted()
    }

    /// Asks for a new certificate, over a line without one.
    ///
    /// # Panics
    /// Where the connection fails.
    pub async fn renew(&self, url: &str, at: UnixSeconds) -> Answer<RenewAnswer> {
        let request = RenewRequest {
            verifier: self.verifier,
            node: self.id,
            csr: Bytes(csr(&self.key)),
            at,
        };
        let signed = SignedRequest::sign(&request, &*self.key).unwrap();
        read(
            Line::anonymous(url)
                .post(PATH_RENEW, MEDIA_TYPE, cbor::encode(&signed))
                .await
                .unwrap(),
        )
    }
}

/// Posts an enrolment.
///
/// # Panics
/// Where the connection fails.
pub async fn enrol(token: &EnrolmentToken, request: &EnrolRequest) -> Answer<EnrolAnswer> {
    enrol_over(&Line::anonymous(&token.url), request).await
}

async fn enrol_over(line: &Line, request: &EnrolRequest) -> Answer<EnrolAnswer> {
    read(
        line.post(PATH_ENROL, MEDIA_TYPE, cbor::encode(request))
            .await
            .unwrap(),
    )
}

fn read<T: Wire>((status, body): (u16, Vec<u8>)) -> Answer<T> {
    if status == 200 {
        return cbor::decode_strict(&body).map_or(Answer::Other(status), Answer::Accepted);
    }
    match cbor::decode_strict::<SignedRefusal>(&body).and_then(|signed| signed.peek()) {
        Ok(refusal) => Answer::Refused(refusal),
        Err(_) => Answer::Other(status),
    }
}

/// Accepts any server.
#[derive(Debug)]
struct AnyServer(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
