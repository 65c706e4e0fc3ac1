//! Connections: TCP, TLS 1.3, and the peer that a client certificate names.
//!
//! Decides: which connections are served. Trusts certificates of this verifier's CA only. A certificate is not demanded by TLS, for a node
//! that enrols or renews has none that is valid; each handler demands what it needs. A slow handshake occupies its own task and, for
//! a bounded time, one of a bounded number of connections.

use super::Caller;
use crate::clock::{Clock, TlsTime};
use crate::config::Config;
use crate::identity::{Identity, IdentityError, SERVER_DAYS};
use crate::intake::Peer;
use axum::Router;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::CertificateDer;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use weighbridge::crypto::PublicKey;
use weighbridge::id::NodeId;
use weighbridge::time::{DAY_SECONDS, UnixSeconds};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Streams that one HTTP/2 connection may have open; an agent needs one or two.
const STREAMS: u32 = 8;
/// How long connections may take to finish when the verifier stops.
const FAREWELL: Duration = Duration::from_secs(20);

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The server's certificate could not be made.
    #[error("the server's certificate could not be made")]
    Identity(#[from] IdentityError),
    /// TLS refused the settings.
    #[error("TLS could not be set up")]
    Rustls(#[from] rustls::Error),
    /// The verifier of client certificates could not be made.
    #[error("the CA's certificate cannot be used to check nodes' certificates")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// The address that agents are told is not one.
    #[error(
        "`url` is {url}, which is not an address agents can use: it should look like https://weighbridge.example:8443"
    )]
    Url {
        /// What it is.
        url: String,
    },
}

/// The server's certificate, made anew when half its life is over.
#[derive(Debug)]
pub(crate) struct ServerCertificate {
    identity: Arc<Identity>,
    clock: Arc<dyn Clock>,
    hosts: Vec<String>,
    current: RwLock<(UnixSeconds, Arc<CertifiedKey>)>,
}

impl ServerCertificate {
    pub(crate) fn new(
        identity: Arc<Identity>,
        clock: Arc<dyn Clock>,
        config: &Config,
    ) -> Result<Self, TlsError> {
        let named = crate::identity::host_of(&config.url).ok_or_else(|| TlsError::Url {
            url: config.url.clone(),
        })?;
        let mut hosts = vec![named];
        for local in ["localhost", "127.0.0.1", "::1"] {
            if !hosts.iter().any(|h| h == local) {
                hosts.push(local.to_owned());
            }
        }
        let address = config.listen.ip();
        if !address.is_unspecified() && !hosts.contains(&address.to_string()) {
            hosts.push(address.to_string());
        }
        let made = make(&identity, &*clock, &hosts)?;
        Ok(Self {
            current: RwLock::new((clock.now(), made)),
            identity,
            clock,
            hosts,
        })
    }

    /// Makes a new certificate if half the life of the old one is over.
    pub(crate) fn refresh(&self) -> Result<(), TlsError> {
        let (made_at, _) = *self.current.read().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        if now.since(made_at) < SERVER_DAYS.saturating_mul(DAY_SECONDS) / 2 {
            return Ok(());
        }
        let made = make(&self.identity, &*self.clock, &self.hosts)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = (now, made);
        Ok(())
    }
}

fn make(identity: &Identity, clock: &dyn Clock, hosts: &[String]) -> Result<Arc<CertifiedKey>, TlsError> {
    let (certificate, key) = identity.certify_server(hosts, clock)?;
    // With the CA's certificate, so that a node that holds only the token can check its digest.
    let chain = vec![certificate, identity.ca().clone()];
    let provider = rustls::crypto::ring::default_provider();
    Ok(Arc::new(CertifiedKey::from_der(chain, key, &provider)?))
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&current.1))
    }
}

/// Accepts connections and serves them.
pub(crate) struct Acceptor {
    listener: TcpListener,
    tls: TlsAcceptor,
    router: Router,
    slots: Arc<Semaphore>,
    handshake: Duration,
    idle: Duration,
}

impl Acceptor {
    pub(crate) fn new(
        listener: TcpListener,
        certificate: Arc<ServerCertificate>,
        router: Router,
        config: &Config,
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(certificate.identity.ca().clone())?;
        let peers = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()?;
        let time = Arc::new(TlsTime(Arc::clone(&certificate.clock)));
        let mut tls = ServerConfig::builder_with_details(provider, time)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(peers)
            .with_cert_resolver(certificate);
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        tls.ticketer = rustls::crypto::ring::Ticketer::new()?;
        let connections = usize::try_from(config.max_connections).unwrap_or(usize::MAX);
        Ok(Self {
            listener,
            tls: TlsAcceptor::from(Arc::new(tls)),
            router,
            slots: Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS))),
            handshake: Duration::from_secs(config.handshake_timeout_s),
            idle: Duration::from_secs(config.idle_timeout_s),
        })
    }

    /// Serves until `stop`, then lets requests in hand finish.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let graceful = GracefulShutdown::new();
        loop {
            let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else {
                break;
            };
            let stream = tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        // Out of descriptors, or a peer that went away between: neither is a reason to spin.
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
                () = stop.cancelled() => break,
            };
            self.serve(stream, slot, &graceful);
        }
        drop(self.listener);
        if tokio::time::timeout(FAREWELL, graceful.shutdown()).await.is_err() {
            tracing::warn!("some connections did not end in time and are cut");
        }
    }

    fn serve(&self, stream: TcpStream, slot: OwnedSemaphorePermit, graceful: &GracefulShutdown) {
        let (tls, router, idle) = (self.tls.clone(), self.router.clone(), self.idle);
        let (handshake, watcher) = (self.handshake, graceful.watcher());
        tokio::spawn(async move {
            let _slot = slot;
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "a connection ended at once");
                return;
            }
            let stream = match tokio::time::timeout(handshake, tls.accept(stream)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a handshake failed");
                    return;
                }
                Err(_) => {
                    tracing::debug!("a handshake took too long");
                    return;
                }
            };
            let (_, session) = stream.get_ref();
            let caller = Caller(session.peer_certificates().and_then(<[_]>::first).and_then(peer));
            let inner = TowerToHyperService::new(router);
            let service = service_fn(move |mut request: hyper::Request<Incoming>| {
                request.extensions_mut().insert(caller.clone());
                inner.call(request)
            });
            let mut builder = auto::Builder::new(TokioExecutor::new());
            builder
                .http1()
                .timer(TokioTimer::new())
                .header_read_timeout(idle)
                .http2()
                .timer(TokioTimer::new())
                .keep_alive_interval(Some(idle))
                .max_concurrent_streams(STREAMS);
            let connection = builder
                .serve_connection(TokioIo::new(stream), service)
                .into_owned();
            if let Err(error) = watcher.watch(connection).await {
                tracing::debug!(%error, "a connection ended");
            }
        });
    }
}

/// The node that a certificate names. TLS has checked that our CA signed it.
fn peer(certificate: &CertificateDer<'static>) -> Option<Peer> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let name = parsed.subject().iter_common_name().next()?.as_str().ok()?;
    Some(Peer {
        node: NodeId::parse(name).ok()?,
        key: PublicKey::from_spki(parsed.public_key().raw).ok()?.id(),
        until: UnixSeconds(parsed.validity().not_after.timestamp()),
    })
}
