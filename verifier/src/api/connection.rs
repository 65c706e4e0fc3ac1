//! Connections: TCP, TLS 1.3, and the peer that a client certificate names.
//!
//! Decides: which connections are served. Trusts certificates of this verifier's CA only. A certificate is not demanded by TLS, for a node
//! that enrols or renews has none that is valid; each handler demands what it needs. Connections are bounded in number, so each is bounded
//! in time too: the handshake, the wait for a first byte, and, for a caller without a certificate, all of it. Only a node that this
//! verifier certified may stand idle. Handshakes under way and callers without a certificate have a quarter of the connections each, so
//! half of them are for certified nodes alone, and a handshake waits for other handshakes only. HTTP/1.1 alone is spoken, as agents do.

use super::Caller;
use crate::clock::{Clock, TlsTime};
use crate::config::Config;
use crate::identity::{Identity, IdentityError, SERVER_DAYS};
use crate::intake::Peer;
use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::CertificateDer;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use weighbridge::crypto::PublicKey;
use weighbridge::id::NodeId;
use weighbridge::time::{DAY_SECONDS, UnixSeconds};
use x509_parser::prelude::{FromDer, X509Certificate};

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
    /// Connections whose handshake is under way: a part of the slots.
    handshakes: Arc<Semaphore>,
    /// Callers without a certificate: another part.
    strangers: Arc<Semaphore>,
    times: Times,
}

/// A place among all connections, and one among the handshakes.
type Places = (OwnedSemaphorePermit, OwnedSemaphorePermit);

/// How long the parts of a connection may take.
#[derive(Clone, Copy)]
struct Times {
    handshake: Duration,
    /// From the handshake to the first byte.
    first: Duration,
    /// All that a caller without a certificate may take: its question, and the answer.
    stranger: Duration,
    /// Between the requests of a node that was certified.
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
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        tls.ticketer = rustls::crypto::ring::Ticketer::new()?;
        let connections = usize::try_from(config.max_connections)
            .unwrap_or(usize::MAX)
            .min(Semaphore::MAX_PERMITS);
        let quarter = || Arc::new(Semaphore::new((connections / 4).max(1)));
        Ok(Self {
            listener,
            tls: TlsAcceptor::from(Arc::new(tls)),
            router,
            slots: Arc::new(Semaphore::new(connections)),
            handshakes: quarter(),
            strangers: quarter(),
            times: Times {
                handshake: Duration::from_secs(config.handshake_timeout_s),
                first: Duration::from_secs(config.request_timeout_s),
                stranger: Duration::from_secs(config.request_timeout_s.saturating_mul(2)),
                idle: Duration::from_secs(config.idle_timeout_s),
            },
        })
    }

    /// Serves until `stop`, then lets requests in hand finish.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let graceful = GracefulShutdown::new();
        // Also while every connection is taken: otherwise whoever holds them all could keep the verifier from stopping.
        while let Some(accepted) = stop.run_until_cancelled(self.accept()).await {
            match accepted {
                Ok((stream, places)) => self.serve(stream, places, &graceful, stop.clone()),
                Err(error) => {
                    // Out of descriptors, or a peer that went away between: neither is a reason to spin.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        drop(self.listener);
        if tokio::time::timeout(FAREWELL, graceful.shutdown()).await.is_err() {
            tracing::warn!("some connections did not end in time and are cut");
        }
    }

    /// The next connection, once there is room for one.
    async fn accept(&self) -> std::io::Result<(TcpStream, Places)> {
        let place = async |among: &Arc<Semaphore>| {
            let permit = Arc::clone(among).acquire_owned().await;
            permit.map_err(std::io::Error::other)
        };
        let places = (place(&self.slots).await?, place(&self.handshakes).await?);
        let (stream, _) = self.listener.accept().await?;
        Ok((stream, places))
    }

    fn serve(
        &self,
        stream: TcpStream,
        (slot, handshake): Places,
        graceful: &GracefulShutdown,
        stop: CancellationToken,
    ) {
        let (tls, router, times) = (self.tls.clone(), self.router.clone(), self.times);
        let strangers = Arc::clone(&self.strangers);
        let watcher = graceful.watcher();
        tokio::spawn(async move {
            let _slot = slot;
            // A connection that has asked nothing yet is dropped when the verifier stops.
            let opened = stop
                .run_until_cancelled(open(stream, &tls, times.handshake))
                .await;
            let Some(Some(stream)) = opened else {
                return;
            };
            let (_, session) = stream.get_ref();
            let caller = Caller(session.peer_certificates().and_then(<[_]>::first).and_then(peer));
            let (patience, limit, _place) = match caller.0 {
                Some(_) => (times.idle, None, None),
                None => match strangers.try_acquire_owned() {
                    Ok(place) => (times.first, Some(times.stranger), Some(place)),
                    Err(_) => {
                        tracing::debug!("a caller without a certificate is cut, for there are too many");
                        return;
                    }
                },
            };
            drop(handshake);
            let Some(Some(stream)) = stop.run_until_cancelled(asking(stream, times.first)).await else {
                return;
            };
            let inner = TowerToHyperService::new(router);
            let service = service_fn(move |mut request: hyper::Request<Incoming>| {
                request.extensions_mut().insert(caller.clone());
                inner.call(request)
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(patience)
                .serve_connection(TokioIo::new(stream), service);
            let served = watcher.watch(connection);
            let ended = match limit {
                Some(limit) => tokio::time::timeout(limit, served).await,
                None => Ok(served.await),
            };
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "a connection ended"),
                Err(_) => tracing::debug!("a caller without a certificate took too long and is cut"),
            }
        });
    }
}

/// Makes TLS of a connection; `None` if that fails or takes too long.
async fn open(stream: TcpStream, tls: &TlsAcceptor, patience: Duration) -> Option<TlsStream<TcpStream>> {
    let opened = async {
        stream.set_nodelay(true)?;
        tokio::time::timeout(patience, tls.accept(stream)).await?
    };
    opened
        .await
        .inspect_err(|error| tracing::debug!(%error, "a handshake failed"))
        .ok()
}

/// Waits for a connection's first byte; `None` if none comes in time. The buffer holds that one byte: what follows passes it by.
async fn asking(stream: TlsStream<TcpStream>, patience: Duration) -> Option<BufReader<TlsStream<TcpStream>>> {
    let mut stream = BufReader::with_capacity(1, stream);
    let first = async { tokio::time::timeout(patience, stream.fill_buf()).await? };
    match first.await.map(<[u8]>::is_empty) {
        Ok(false) => Some(stream),
        Ok(true) => None,
        Err(error) => {
            tracing::debug!(%error, "a connection asked nothing");
            None
        }
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
