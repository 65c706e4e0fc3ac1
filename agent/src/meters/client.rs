//! One question to one meter: HTTPS, an answer read under a bound, and what went wrong by its name.

use super::config::{MeterConfig, MeterTrust};
use super::redfish::{self, ShapeError};
use crate::state::{StateError, read_private};
use reqwest::header::{ACCEPT, HeaderValue};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use weighbridge::bounded::{self, BoundedReadError, MAX_KEY_FILE};
use weighbridge::crypto::sha256;
use weighbridge::id::Digest;
use zeroize::Zeroizing;

/// The longest answer that is read. The largest Power resource, of a chassis with many supplies, has some 20 KiB.
const MAX_ANSWER: usize = 64 << 10;
/// The longest time for a question as a whole, in seconds; a shorter interval between readings shortens it.
const LONGEST_S: u32 = 10;

/// Why a meter gave no reading.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeterError {
    /// The certificates that it is known by.
    #[error("the certificates in {path}, by which it is known, cannot be read as PEM")]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The connection cannot be set up.
    #[error("the connection could not be set up")]
    Setup(#[source] Box<dyn Error + Send + Sync>),
    /// The credentials cannot be read.
    #[error(transparent)]
    Credentials(#[from] StateError),
    /// There are none, or they are none.
    #[error("{0} must hold one line, `user:password` or a bearer token, and be readable by the agent alone")]
    NoCredentials(PathBuf),
    /// It cannot be reached.
    #[error("it cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    /// It shows another certificate.
    #[error("its certificate is not trusted: {0}; compare it with what is configured")]
    Untrusted(String),
    /// It takes too long.
    #[error("it did not answer within {0} s")]
    Hangs(u64),
    /// It refuses the credentials.
    #[error("it refuses the credentials (status {0})")]
    Refused(u16),
    /// It points elsewhere.
    #[error(
        "it redirects elsewhere (status {0}), where no credentials are carried: configure the address that it names"
    )]
    Redirects(u16),
    /// It answers something else.
    #[error("it answered with status {0}")]
    Status(u16),
    /// Its answer has no end.
    #[error("its answer is longer than {MAX_ANSWER} bytes")]
    TooLong,
    /// Its answer holds no reading.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}

/// The line to one meter.
#[derive(Debug)]
pub struct MeterClient {
    url: Url,
    credentials: Option<PathBuf>,
    patience: Duration,
    client: Client,
}

impl MeterClient {
    /// Sets the line up.
    ///
    /// # Errors
    /// [`MeterError::Authority`], [`MeterError::Setup`].
    pub fn new(config: &MeterConfig) -> Result<Self, MeterError> {
        let patience = Duration::from_secs(config.every_s.min(LONGEST_S).into());
        let client = Client::builder()
            .tls_backend_preconfigured(tls(&config.trust)?)
            .https_only(true)
            // Credentials go where the operator sends them, and nowhere else.
            .redirect(reqwest::redirect::Policy::none())
            .timeout(patience)
            .pool_max_idle_per_host(1)
            .user_agent(concat!("weighbridge-agent/", env!("CARGO_PKG_VERSION")))
            // A meter stands in the management network; the proxy leads out of the site.
            .no_proxy()
            .build()
            .map_err(|e| MeterError::Setup(e.into()))?;
        Ok(Self {
            url: config.url.clone(),
            credentials: config.credentials.clone(),
            patience,
            client,
        })
    }

    /// The power now, in milliwatts.
    ///
    /// # Errors
    /// [`MeterError`].
    pub async fn read(&self) -> Result<u64, MeterError> {
        let request = self
            .client
            .get(self.url.clone())
            .header(ACCEPT, HeaderValue::from_static("application/json"));
        let mut response = self.open(request)?.send().await.map_err(|e| self.failed(e))?;
        let status = response.status();
        match status {
            StatusCode::OK => Ok(redfish::milliwatts(&self.body(&mut response).await?)?),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(MeterError::Refused(status.as_u16())),
            _ if status.is_redirection() => Err(MeterError::Redirects(status.as_u16())),
            _ => Err(MeterError::Status(status.as_u16())),
        }
    }

    /// Adds what opens the meter. The file is read each time: a password that was changed needs no restart, and none stays in
    /// memory.
    fn open(&self, request: RequestBuilder) -> Result<RequestBuilder, MeterError> {
        let Some(path) = &self.credentials else {
            return Ok(request);
        };
        let wrong = || MeterError::NoCredentials(path.clone());
        let bytes = Zeroizing::new(read_private(path)?.ok_or_else(wrong)?);
        let line = std::str::from_utf8(&bytes).map_err(|_| wrong())?;
        let line = line.trim_end_matches(['\r', '\n']);
        if line.is_empty() || line.chars().any(char::is_control) {
            return Err(wrong());
        }
        // No bearer token holds a colon (RFC 6750, section 2.1).
        Ok(match line.split_once(':') {
            Some((user, password)) => request.basic_auth(user, Some(password)),
            None => request.bearer_auth(line),
        })
    }

    async fn body(&self, response: &mut Response) -> Result<Vec<u8>, MeterError> {
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|e| self.failed(e))? {
            if body.len().saturating_add(piece.len()) > MAX_ANSWER {
                return Err(MeterError::TooLong);
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    /// Tells apart why no answer came.
    fn failed(&self, error: reqwest::Error) -> MeterError {
        if let Some(rustls::Error::InvalidCertificate(why)) = tls_error(&error) {
            return MeterError::Untrusted(match why {
                CertificateError::ApplicationVerificationFailure => "it is not the pinned one".to_owned(),
                why => why.to_string(),
            });
        }
        if error.is_timeout() {
            return MeterError::Hangs(self.patience.as_secs());
        }
        MeterError::Unreachable(error.without_url())
    }
}

/// What TLS says of a failure, if it was TLS that failed. It stands within errors of input and output, which do not give
/// what they hold as their source.
fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = match error.downcast_ref::<std::io::Error>().and_then(|e| e.get_ref()) {
            Some(within) => Some(within),
            None => error.source(),
        };
    }
    None
}

fn tls(trust: &MeterTrust) -> Result<ClientConfig, MeterError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let setup = |e: rustls::Error| MeterError::Setup(e.into());
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        MeterTrust::Authority(path) => {
            let wrong = |source| MeterError::Authority {
                path: path.clone(),
                source,
            };
            let roots = authorities(path).map_err(wrong)?;
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(|e| wrong(e.into()))?
        }
        MeterTrust::Pinned(digest) => Arc::new(PinnedMeter {
            digest: *digest,
            provider: Arc::clone(&provider),
        }),
    };
    // Management controllers outlive what they were built with: many speak TLS 1.2 at most.
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(setup)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn authorities(path: &Path) -> Result<RootCertStore, Box<dyn Error + Send + Sync>> {
    let file = File::open(path).map_err(BoundedReadError::from)?;
    let pem = bounded::read(file, MAX_KEY_FILE)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate?)?;
    }
    Ok(roots)
}

/// Accepts the one certificate, whatever it says of its name and its time: a controller that signs for itself rarely has
/// either right. That the other end holds its key is proven as always.
#[derive(Debug)]
struct PinnedMeter {
    digest: Digest,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedMeter {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if sha256(end_entity) == self.digest {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::create_private;
    use std::os::unix::fs::PermissionsExt;
    use weighbridge::telemetry::MeterKind;

    fn config(trust: MeterTrust, credentials: Option<PathBuf>) -> MeterConfig {
        MeterConfig {
            kind: MeterKind::Bmc,
            url: Url::parse("https://127.0.0.1:1/redfish/v1/Chassis/1/Power").unwrap(),
            trust,
            credentials,
            every_s: 2,
        }
    }

    #[test]
    fn an_authority_that_is_none_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        for text in [
            None,
            Some("no PEM"),
            Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ] {
            if let Some(text) = text {
                std::fs::write(&path, text).unwrap();
            }
            let error = MeterClient::new(&config(MeterTrust::Authority(path.clone()), None)).unwrap_err();
            assert!(matches!(error, MeterError::Authority { .. }), "{error}");
        }
    }

    #[tokio::test]
    async fn credentials_that_others_may_read_are_not_used_and_none_is_ever_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bmc");
        let client =
            MeterClient::new(&config(MeterTrust::Pinned(Digest([0; 32])), Some(path.clone()))).unwrap();
        assert!(matches!(client.read().await, Err(MeterError::NoCredentials(_))));
        create_private(&path, b"root:calvin\n").unwrap();
        let request = |client: &MeterClient| {
            let request = client.open(client.client.get(client.url.clone())).unwrap();
            let request = request.build().unwrap();
            let said = format!("{request:?}");
            assert!(
                !said.contains("calvin") && !said.contains("cm9v") && !said.contains("t0k"),
                "{said}"
            );
            request.headers()["authorization"].clone()
        };
        assert_eq!(request(&client).as_bytes(), b"Basic cm9vdDpjYWx2aW4=");
        std::fs::write(&path, "t0ken").unwrap();
        assert_eq!(request(&client).as_bytes(), b"Bearer t0ken");
        for wrong in ["", "\n", "a:b\nc:d\n"] {
            std::fs::write(&path, wrong).unwrap();
            assert!(
                matches!(client.read().await, Err(MeterError::NoCredentials(_))),
                "{wrong:?}"
            );
        }
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        let said = client.read().await.unwrap_err().to_string();
        assert!(said.contains("chmod 600"), "{said}");
    }
}
