//! `serve`: takes reports until it is told to stop.

use crate::api::{self, Acceptor, ServerCertificate};
use crate::appraiser::{Appraiser, Rounds};
use crate::catalogue::{self, CatalogueInUseError};
use crate::cause::with_causes;
use crate::clock::Clock;
use crate::collateral::{Cache, CollateralError, RootError, Roots};
use crate::config::Config;
use crate::enrolment::Enrolment;
use crate::findings::{Findings, Reported};
use crate::fleet::{LoadError, Terms};
use crate::identity::{Identity, IdentityError};
use crate::intake::{Intake, Refuser, Standings};
use crate::recorder::{Act, ActKind, RecordError, Writer};
use crate::store::{SqliteStore, Store, StoreError};
use std::fs::{File, OpenOptions, TryLockError};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weighbridge::crypto::Entropy;
use weighbridge::id::VerifierId;

pub use crate::api::TlsError;

/// How often the server looks after itself.
const HOUSEKEEPING: Duration = Duration::from_secs(15);

/// Why the verifier does not serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Its keys cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The store cannot be used.
    #[error("the verifier's database cannot be used")]
    Store(#[from] StoreError),
    /// The ledger cannot be used.
    #[error("the ledger cannot be opened")]
    Ledger(#[from] RecordError),
    /// The loaded licences cannot be read.
    #[error(transparent)]
    Licence(#[from] LoadError),
    /// A root cannot be used.
    #[error(transparent)]
    Root(#[from] RootError),
    /// What is kept to appraise devices with cannot be used.
    #[error(transparent)]
    Collateral(#[from] CollateralError),
    /// There is no catalogue to go by.
    #[error(transparent)]
    Catalogue(#[from] CatalogueInUseError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address cannot be listened on.
    #[error("{address} cannot be listened on; is another verifier running?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Another process writes to the ledger.
    #[error("another weighbridge-verifier works in {directory}; stop it first", directory = directory.display())]
    Locked {
        /// The state directory.
        directory: PathBuf,
    },
    /// The lock file cannot be used.
    #[error("{path} cannot be locked", path = path.display())]
    Lock {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

/// A verifier that serves.
#[derive(Debug)]
pub struct BoundServer {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its id.
    pub verifier: VerifierId,
    task: JoinHandle<()>,
}

impl BoundServer {
    /// Waits until it has stopped: what was accepted before is durable then.
    pub async fn stopped(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the server ended in an odd way");
        }
    }
}

/// The right to write to the ledger, for as long as it is held. The kernel takes it back if the process dies.
#[derive(Debug)]
pub(crate) struct LedgerLock(#[expect(dead_code, reason = "held, never read")] File);

impl LedgerLock {
    /// Takes the lock, waiting for a command that holds it for a moment.
    async fn wait(directory: &Path) -> Result<Self, ServeError> {
        for _ in 0..50 {
            if let Some(lock) = Self::take(directory)? {
                return Ok(lock);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(ServeError::Locked {
            directory: directory.to_owned(),
        })
    }

    /// Takes the lock; `None` if another process holds it.
    pub(crate) fn take(directory: &Path) -> Result<Option<Self>, ServeError> {
        let path = directory.join("ledger.lock");
        let failed = |source| ServeError::Lock {
            path: path.clone(),
            source,
        };
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

/// Opens the state that `init` made and serves it, until `stop` is cancelled. Returns as soon as agents can connect.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(
    config: Config,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) -> Result<BoundServer, ServeError> {
    let entropy = Entropy::system();
    let identity = Arc::new(Identity::open(&config.state_dir, &entropy)?);
    let roots = Roots::read(&config)?;
    // Better not to begin than to be found later to have recorded no findings.
    let catalogue = catalogue::in_use(&config)?;
    tracing::info!(serial = catalogue.version().serial, sha256 = %catalogue.digest(), signed = !catalogue.signers().is_empty(), "the catalogue of accelerators");
    let collateral = Arc::new(collateral(&config, &roots)?);
    let lock = LedgerLock::wait(&config.state_dir).await?;
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&config.database()).await?);
    let standings = Arc::new(Standings::new(identity.secret("challenge")));
    let terms = Arc::new(Terms::drawing(config.round_draws_per_day));
    terms.refresh(&*store, &config.state_dir, clock.now()).await?;
    let house = Arc::new(House {
        store: Arc::clone(&store),
        clock: Arc::clone(&clock),
        terms: Arc::clone(&terms),
        collateral: Arc::clone(&collateral),
        state_dir: config.state_dir.clone(),
    });
    let wake = Arc::new(Notify::new());
    let notice = {
        let wake = Arc::clone(&wake);
        let (standings, house) = (Arc::clone(&standings), Arc::clone(&house));
        Box::new(move |act: &Act| {
            wake.notify_one();
            if let Some(node) = act.node {
                standings.forget(node);
            }
            if act.kind == ActKind::Document {
                let house = Arc::clone(&house);
                tokio::spawn(async move { house.refresh().await });
            }
        })
    };
    let writer = Writer::open(
        Arc::clone(&store),
        Arc::clone(&identity),
        entropy.clone(),
        Arc::clone(&clock),
        Duration::from_millis(config.linger_ms),
        &config.state_dir,
        notice,
    )
    .await?;
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|source| ServeError::Listen {
            address: config.listen,
            source,
        })?;
    let address = listener.local_addr().map_err(|source| ServeError::Listen {
        address: config.listen,
        source,
    })?;
    // The writer outlives the connections, so that requests in hand are recorded.
    let last = CancellationToken::new();
    let (recorder, writing) = writer.start(last.clone());
    let refuser = Refuser::new(Arc::clone(&identity), Arc::clone(&clock));
    let rounds = Arc::new(Rounds::default());
    let reported = Arc::new(Reported::default());
    let appraiser = Appraiser {
        store: Arc::clone(&store),
        recorder: recorder.clone(),
        clock: Arc::clone(&clock),
        verifier: identity.id(),
        roots,
        collateral,
        rounds: Arc::clone(&rounds),
        reported: Arc::clone(&reported),
        links: Arc::default(),
    };
    let intake = Arc::new(Intake {
        store: Arc::clone(&store),
        recorder: recorder.clone(),
        identity: Arc::clone(&identity),
        clock: Arc::clone(&clock),
        refuser: refuser.clone(),
        standings: Arc::clone(&standings),
        terms: Arc::clone(&terms),
        rounds,
        reported: Arc::clone(&reported),
    });
    let findings = Findings::new(
        Arc::clone(&store),
        recorder.clone(),
        Arc::clone(&clock),
        config.clone(),
        reported,
    );
    let finding_period = Duration::from_secs(config.findings_period_s.max(1));
    let enrolment = Arc::new(Enrolment {
        store,
        recorder,
        identity: Arc::clone(&identity),
        clock: Arc::clone(&clock),
        entropy,
        refuser,
        standings,
        terms,
        certificate_days: config.certificate_days,
        renewal_ahead_s: config.renewal_ahead_s,
        turn: tokio::sync::Mutex::new(()),
    });
    let service = Arc::new(api::Service {
        intake,
        enrolment,
        request_timeout: Duration::from_secs(config.request_timeout_s),
    });
    let certificate = Arc::new(ServerCertificate::new(Arc::clone(&identity), clock, &config)?);
    let acceptor = Acceptor::new(listener, Arc::clone(&certificate), api::routes(service), &config)?;
    let task = tokio::spawn(async move {
        let _lock = lock;
        let keeping = tokio::spawn(keep_house(house, certificate, stop.clone()));
        let finding = tokio::spawn(findings.run(finding_period, wake, stop.clone()));
        let appraising = tokio::spawn(appraiser.run(stop.clone()));
        acceptor.run(stop).await;
        last.cancel();
        for ended in [keeping.await, finding.await, appraising.await, writing.await] {
            if let Err(error) = ended {
                tracing::error!(%error, "a part of the server ended in an odd way");
            }
        }
    });
    Ok(BoundServer {
        address,
        verifier: identity.id(),
        task,
    })
}

/// Opens what devices are appraised with, and says where it is not held against NVIDIA's roots.
fn collateral(config: &Config, roots: &Roots) -> Result<Cache, ServeError> {
    for warning in roots.warnings() {
        tracing::warn!("{warning}");
    }
    let (rims, replies) = (config.rim_url.text(), config.ocsp_url.text());
    let cache = Cache::live(&config.state_dir, roots.rim.key, rims, replies)?;
    for unusable in cache.contents().unusable {
        tracing::warn!(kind = unusable.kind.text(), sha256 = %unusable.sha256, why = %unusable.why, "something that is kept to appraise devices with cannot be used");
    }
    Ok(cache)
}

/// What the terms of the sites are read from, and what devices are appraised with.
struct House {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    terms: Arc<Terms>,
    collateral: Arc<Cache>,
    state_dir: PathBuf,
}

impl House {
    async fn refresh(&self) {
        let now = self.clock.now();
        if let Err(error) = self.terms.refresh(&*self.store, &self.state_dir, now).await {
            tracing::error!(error = %with_causes(&error), "the terms of the licences could not be read");
        }
    }

    /// Takes up what `evidence collateral add` left.
    async fn reread(&self) {
        let cache = Arc::clone(&self.collateral);
        match tokio::task::spawn_blocking(move || cache.reread()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(error = %with_causes(&error), "what devices are appraised with could not be read");
            }
            Err(error) => {
                tracing::error!(%error, "reading what devices are appraised with ended in an odd way")
            }
        }
    }
}

/// Renews the server's certificate in time, follows licences that begin, end or lose their issuer's trust, takes up new manifests and OCSP
/// replies, and tells systemd that the server lives.
async fn keep_house(house: Arc<House>, certificate: Arc<ServerCertificate>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(HOUSEKEEPING);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = stop.cancelled() => return,
        }
        if let Err(error) = certificate.refresh() {
            tracing::error!(%error, "the server's certificate could not be renewed");
        }
        house.refresh().await;
        house.reread().await;
        notify(sd_notify::NotifyState::Watchdog);
    }
}

/// Tells systemd something, where there is one.
pub(crate) fn notify(state: sd_notify::NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "systemd could not be told");
    }
}
