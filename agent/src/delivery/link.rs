//! The line to the verifier: HTTPS requests, answers read under a bound.

use crate::config::Proxy;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Client, NoProxy, RequestBuilder, StatusCode};
use rustls::ClientConfig;
use std::time::Duration;
use weighbridge::cbor::{self, DecodeError, Wire};
use weighbridge::protocol::{
    BUNDLE_MEDIA_TYPE, EnrolAnswer, EnrolRequest, Head, MAX_ANSWER, MEDIA_TYPE, PATH_ENROL, PATH_HEAD,
    PATH_RENEW, PATH_REPORT, Receipt, RenewAnswer, SignedRefusal, SignedRequest,
};

/// Time for a TCP connection and TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Time for a request as a whole. A durable commit of a busy verifier takes a second or two.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// A connection is kept from one report to the next, fifteen minutes at most.
const IDLE_TIMEOUT: Duration = Duration::from_secs(1_000);

/// Why the verifier gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The address cannot be used.
    #[error("`{0}` is not the address of a verifier: it should look like https://weighbridge.example:8443")]
    Address(String),
    /// The client cannot be set up.
    #[error("the connection to the verifier could not be set up; is the proxy's address right?")]
    Setup(#[source] reqwest::Error),
    /// No answer.
    #[error("the verifier could not be reached{through}")]
    Unreachable {
        /// Through which proxy, in words; empty where there is none.
        through: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// An answer that is none of ours.
    #[error("the verifier answered with status {0}")]
    Status(u16),
    /// Too long.
    #[error("the verifier's answer is longer than {MAX_ANSWER} bytes")]
    TooLong,
    /// Malformed.
    #[error("the verifier's answer is malformed")]
    Malformed(#[from] DecodeError),
    /// It refused, and signed that.
    #[error("the verifier refused")]
    Refused(Box<SignedRefusal>),
}

/// What the courier asks of a verifier. The testbed answers in its own process; [`Link`] asks over the network.
#[expect(
    async_fn_in_trait,
    reason = "the agent awaits these on one thread, so no bound on the futures is needed"
)]
pub trait Exchange {
    /// Where the verifier stands; `seen` is the size of the checkpoint that the node last found consistent.
    ///
    /// # Errors
    /// [`LinkError`].
    async fn head(&self, seen: Option<u64>) -> Result<Head, LinkError>;

    /// Delivers a report.
    ///
    /// # Errors
    /// [`LinkError`], among them the refusal.
    async fn deliver(&self, bundle: &[u8]) -> Result<Receipt, LinkError>;

    /// Asks for a new certificate, without showing the old one, which may have expired.
    ///
    /// # Errors
    /// [`LinkError`].
    async fn renew(&self, request: &SignedRequest) -> Result<RenewAnswer, LinkError>;
}

/// HTTPS to one verifier: one connection as the node, and where needed one as a stranger.
#[derive(Debug)]
pub struct Link {
    base: String,
    through: String,
    node: Client,
    stranger: Client,
}

impl Link {
    /// Sets the line up: `node` shows the node's certificate, `stranger` shows none.
    ///
    /// # Errors
    /// [`LinkError::Address`], [`LinkError::Setup`].
    pub fn new(
        url: &str,
        node: ClientConfig,
        stranger: ClientConfig,
        proxy: Option<&Proxy>,
    ) -> Result<Self, LinkError> {
        Ok(Self {
            base: base(url)?,
            through: proxy.map(Proxy::said).unwrap_or_default(),
            node: client(node, proxy)?,
            stranger: client(stranger, proxy)?,
        })
    }

    /// Asks to be enrolled.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn enrol(&self, request: &EnrolRequest) -> Result<EnrolAnswer, LinkError> {
        self.ask(self.post(&self.stranger, PATH_ENROL, MEDIA_TYPE, cbor::encode(request)))
            .await
    }

    fn post(&self, client: &Client, path: &str, media: &'static str, body: Vec<u8>) -> RequestBuilder {
        client
            .post(format!("{}{path}", self.base))
            .header(CONTENT_TYPE, HeaderValue::from_static(media))
            .body(body)
    }

    async fn ask<T: Wire>(&self, request: RequestBuilder) -> Result<T, LinkError> {
        let unreachable = |source| LinkError::Unreachable {
            through: self.through.clone(),
            source,
        };
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        if status != StatusCode::OK && status != StatusCode::UNPROCESSABLE_ENTITY {
            return Err(LinkError::Status(status.as_u16()));
        }
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(unreachable)? {
            if body.len().saturating_add(piece.len()) > MAX_ANSWER {
                return Err(LinkError::TooLong);
            }
            body.extend_from_slice(&piece);
        }
        if status == StatusCode::OK {
            Ok(cbor::decode_strict(&body)?)
        } else {
            Err(LinkError::Refused(Box::new(cbor::decode_strict(&body)?)))
        }
    }
}

impl Exchange for Link {
    async fn head(&self, seen: Option<u64>) -> Result<Head, LinkError> {
        let query = seen.map_or(String::new(), |size| format!("?seen={size}"));
        self.ask(self.node.get(format!("{}{PATH_HEAD}{query}", self.base)))
            .await
    }

    async fn deliver(&self, bundle: &[u8]) -> Result<Receipt, LinkError> {
        self.ask(self.post(&self.node, PATH_REPORT, BUNDLE_MEDIA_TYPE, bundle.to_vec()))
            .await
    }

    async fn renew(&self, request: &SignedRequest) -> Result<RenewAnswer, LinkError> {
        self.ask(self.post(&self.stranger, PATH_RENEW, MEDIA_TYPE, cbor::encode(request)))
            .await
    }
}

/// The address without a slash at its end, if it is one.
pub(super) fn base(url: &str) -> Result<String, LinkError> {
    let wrong = || LinkError::Address(url.chars().take(200).collect());
    let parsed = reqwest::Url::parse(url).map_err(|_| wrong())?;
    if parsed.scheme() != "https" || !parsed.has_host() || parsed.query().is_some() {
        return Err(wrong());
    }
    Ok(parsed.as_str().trim_end_matches('/').to_owned())
}

fn client(tls: ClientConfig, proxy: Option<&Proxy>) -> Result<Client, LinkError> {
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .https_only(true)
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(REQUEST_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(1)
        .user_agent(concat!("weighbridge-agent/", env!("CARGO_PKG_VERSION")))
        // What the environment says was read in config.rs, once.
        .no_proxy();
    if let Some(proxy) = proxy {
        let through = reqwest::Proxy::https(&proxy.url).map_err(LinkError::Setup)?;
        builder = builder.proxy(through.no_proxy(NoProxy::from_string(&proxy.except)));
    }
    builder.build().map_err(LinkError::Setup)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_addresses_are_used() {
        assert_eq!(base("https://v.example:8443/").unwrap(), "https://v.example:8443");
        assert_eq!(base("https://v.example/site/").unwrap(), "https://v.example/site");
        for wrong in [
            "http://v.example",
            "v.example",
            "https://",
            "https://v.example/?x=1",
        ] {
            assert!(matches!(base(wrong), Err(LinkError::Address(_))), "{wrong}");
        }
    }
}
