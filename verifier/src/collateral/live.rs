//! The services that are asked: one that publishes manifests, and one that answers OCSP.
//!
//! Decides: how a question looks, and how much of an answer is read. Trusts neither: what they give is signed, so plain HTTP will do. Redirects are
//! not followed and no proxy is used, so that only the configured addresses learn what a site asks.

use super::{MAX_REPLY, MAX_RIM};
use data_encoding::BASE64;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use weighbridge::crypto::sha256;

/// Time for a TCP connection and TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for a question as a whole.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The longest answer with a manifest: base64 takes a third more, and names stand around it.
const MAX_RIM_ANSWER: usize = MAX_RIM * 3 / 2;
/// The longest name that is asked for.
const MAX_ID: usize = 128;

/// Why a service cannot be asked at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LiveError {
    /// The address.
    #[error(
        "`{key}` is not the address of a service: it should look like https://rim.example or http://cache.example:8080, without user, query or fragment"
    )]
    Address {
        /// The key of the configuration.
        key: &'static str,
    },
    /// TLS.
    #[error(
        "TLS to the services of manifests and OCSP cannot be set up; is the package ca-certificates installed?"
    )]
    Tls(#[from] rustls::Error),
    /// The client.
    #[error("the services of manifests and OCSP cannot be asked")]
    Client(#[from] reqwest::Error),
}

/// Why a question has no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// No connection, or none that lasted.
    #[error("{origin} could not be reached")]
    Unreachable {
        origin: String,
        #[source]
        source: reqwest::Error,
    },
    /// It is there, and cannot answer now.
    #[error("{origin} answers with status {status}")]
    Busy { origin: String, status: u16 },
    /// It will not answer this.
    #[error("{origin} answers with status {status}, so it has none")]
    None { origin: String, status: u16 },
    /// The answer is too long.
    #[error("the answer of {origin} is longer than {most} bytes")]
    TooLong { origin: String, most: usize },
    /// The answer is something else.
    #[error("the answer of {origin} cannot be used: {why}")]
    Malformed { origin: String, why: &'static str },
    /// The name is not one.
    #[error("its name cannot be asked for")]
    Id,
}

impl FetchError {
    /// Whether the service itself is in trouble, and not only this question.
    pub(super) fn is_of_source(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Busy { .. })
    }

    /// Whether the service was understood, and has none.
    pub(super) fn is_negative(&self) -> bool {
        matches!(self, Self::None { .. } | Self::Id)
    }
}

/// The address of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    base: String,
    origin: String,
}

impl Address {
    /// Reads an address; `None` where it is empty. `key` is that of the configuration.
    ///
    /// # Errors
    /// [`LiveError::Address`].
    pub fn read(key: &'static str, text: &str) -> Result<Option<Self>, LiveError> {
        if text.is_empty() {
            return Ok(None);
        }
        let url = Url::parse(text).map_err(|_| LiveError::Address { key })?;
        let bare = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() || !bare {
            return Err(LiveError::Address { key });
        }
        Ok(Some(Self {
            base: url.as_str().trim_end_matches('/').to_owned(),
            origin: url.origin().ascii_serialization(),
        }))
    }

    /// Scheme, host and port.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    fn is_encrypted(&self) -> bool {
        self.base.starts_with("https:")
    }
}

/// A service, and what asks it.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) address: Address,
    client: Client,
}

/// The services that are configured.
#[derive(Debug, Default)]
pub(super) struct Live {
    pub(super) rim: Option<Service>,
    pub(super) ocsp: Option<Service>,
}

impl Live {
    pub(super) fn new(rim_url: &str, ocsp_url: &str) -> Result<Self, LiveError> {
        let rim = Address::read("rim_url", rim_url)?;
        let ocsp = Address::read("ocsp_url", ocsp_url)?;
        let all = || rim.iter().chain(&ocsp);
        if all().next().is_none() {
            return Ok(Self::default());
        }
        let client = client(all().any(Address::is_encrypted))?;
        let service = |address: Option<Address>| {
            address.map(|address| Service {
                address,
                client: client.clone(),
            })
        };
        Ok(Self {
            rim: service(rim),
            ocsp: service(ocsp),
        })
    }
}

fn client(encrypted: bool) -> Result<Client, LiveError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let tls = if encrypted {
        tls.with_platform_verifier()?.with_no_client_auth()
    } else {
        // No connection of this client is to be encrypted, so that a host without authorities will do.
        tls.with_root_certificates(RootCertStore::empty())
            .with_no_client_auth()
    };
    Ok(Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TIMEOUT)
        .pool_max_idle_per_host(1)
        .user_agent(concat!("weighbridge-verifier/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .build()?)
}

impl Service {
    /// Asks for a manifest.
    pub(super) async fn rim(&self, id: &str) -> Result<Vec<u8>, FetchError> {
        // Devices name themselves: what is no plain name must not become another path of the service.
        if !is_id(id) {
            return Err(FetchError::Id);
        }
        let question = self
            .client
            .get(format!("{}/v1/rim/{id}", self.address.base))
            .header(ACCEPT, "application/json");
        let answer = self.ask(question, MAX_RIM_ANSWER).await?;
        let (_, rim) = read_answer(&answer)
            .and_then(|(said, rim)| {
                if said == id {
                    Ok((said, rim))
                } else {
                    Err("it names another manifest")
                }
            })
            .map_err(|why| FetchError::Malformed {
                origin: self.address.origin.clone(),
                why,
            })?;
        Ok(rim)
    }

    /// Asks for an OCSP reply.
    pub(super) async fn reply(&self, request: Vec<u8>) -> Result<Vec<u8>, FetchError> {
        let question = self
            .client
            .post(&self.address.base)
            .header(CONTENT_TYPE, "application/ocsp-request")
            .header(ACCEPT, "application/ocsp-response")
            .body(request);
        self.ask(question, MAX_REPLY).await
    }

    async fn ask(&self, question: RequestBuilder, most: usize) -> Result<Vec<u8>, FetchError> {
        let origin = || self.address.origin.clone();
        // The address of a question names a device; it has no place in a log.
        let unreachable = |source: reqwest::Error| FetchError::Unreachable {
            origin: origin(),
            source: source.without_url(),
        };
        let mut answer = question.send().await.map_err(unreachable)?;
        let status = answer.status();
        if status != StatusCode::OK {
            let (origin, number) = (origin(), status.as_u16());
            return Err(match status {
                StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::BAD_REQUEST => FetchError::None {
                    origin,
                    status: number,
                },
                _ => FetchError::Busy {
                    origin,
                    status: number,
                },
            });
        }
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(unreachable)? {
            if body.len().saturating_add(piece.len()) > most {
                return Err(FetchError::TooLong {
                    origin: origin(),
                    most,
                });
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }
}

fn is_id(id: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    id.len() <= MAX_ID && id.starts_with(|c: char| c.is_ascii_alphanumeric()) && id.bytes().all(plain)
}

/// What the service of manifests answers.
#[derive(Deserialize)]
struct Answer {
    id: Option<String>,
    rim: Option<String>,
    sha256: Option<String>,
    rim_format: Option<String>,
}

/// Whether JSON may be meant as an answer of the service of manifests.
pub(super) fn is_answer(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Answer>(bytes).is_ok_and(|a| a.rim.is_some())
}

/// Name and manifest in an answer of the service of manifests.
pub(super) fn read_answer(bytes: &[u8]) -> Result<(String, Vec<u8>), &'static str> {
    let answer: Answer =
        serde_json::from_slice(bytes).map_err(|_| "it is not JSON as the service of manifests writes it")?;
    if answer.rim_format.is_some_and(|f| !f.eq_ignore_ascii_case("TCG")) {
        return Err("its manifest is not of the TCG form, the only one that is read here");
    }
    let (Some(id), Some(text)) = (answer.id, answer.rim) else {
        return Err("it lacks id or rim");
    };
    if !is_id(&id) {
        return Err("its id is not the name of a manifest");
    }
    let compact: String = text.split_ascii_whitespace().collect();
    let rim = BASE64
        .decode(compact.as_bytes())
        .map_err(|_| "its rim is not base64")?;
    // Whether the digest is over the manifest or over its base64, NVIDIA does not write down. The manifest's signature holds or fails without it; it
    // finds an answer that was cut or mixed up.
    let is = |bytes: &[u8]| {
        answer
            .sha256
            .as_deref()
            .is_none_or(|d| d.eq_ignore_ascii_case(&sha256(bytes).to_string()))
    };
    if !is(&rim) && !is(text.as_bytes()) {
        return Err("its sha256 is not that of its rim");
    }
    Ok((id, rim))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_that_of_a_service_and_its_origin_alone_is_kept() {
        let read = |text: &str| Address::read("rim_url", text);
        assert_eq!(read("").unwrap(), None);
        let address = read("http://cache.example:8080/nvidia/").unwrap().unwrap();
        assert_eq!(address.base, "http://cache.example:8080/nvidia");
        assert_eq!(address.origin(), "http://cache.example:8080");
        for wrong in [
            "rim.example",
            "ftp://rim.example",
            "https://user:secret@rim.example",
            "https://rim.example/?x=1",
            "file:///etc/passwd",
        ] {
            assert!(
                matches!(read(wrong), Err(LiveError::Address { key: "rim_url" })),
                "{wrong}"
            );
        }
    }

    #[test]
    fn what_a_device_calls_itself_is_no_path() {
        assert!(is_id("NV_GPU_DRIVER_GH100_550.90.07"));
        for wrong in [
            "",
            "../ids",
            "a/b",
            "a?b",
            "a b",
            "a%2fb",
            &"a".repeat(MAX_ID + 1),
        ] {
            assert!(!is_id(wrong), "{wrong}");
        }
    }

    #[test]
    fn an_answer_is_read_whole_or_refused_with_the_reason() {
        let text = BASE64.encode(b"<a/>");
        let of_bytes = sha256(b"<a/>");
        let whole = format!(
            "{{\"id\":\"N_1\",\"rim\":\"{text}\",\"sha256\":\"{of_bytes}\",\"rim_format\":\"TCG\",\"request_id\":\"x\"}}"
        );
        assert_eq!(
            read_answer(whole.as_bytes()),
            Ok(("N_1".to_owned(), b"<a/>".to_vec()))
        );
        let over_text = whole.replace(&of_bytes.to_string(), &sha256(text.as_bytes()).to_string());
        assert!(read_answer(over_text.as_bytes()).is_ok());
        for (wrong, why) in [
            (
                whole.replace(&of_bytes.to_string(), &sha256(b"").to_string()),
                "sha256",
            ),
            (whole.replace("TCG", "CORIM"), "TCG form"),
            (whole.replace("N_1", "../x"), "not the name"),
            (whole.replace(&text, "?"), "base64"),
            ("{\"rim\":\"\"}".to_owned(), "lacks id"),
            ("[]".to_owned(), "not JSON as"),
        ] {
            let said = read_answer(wrong.as_bytes()).unwrap_err();
            assert!(said.contains(why), "{wrong}: {said}");
        }
    }
}
