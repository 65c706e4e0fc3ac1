//! `preview`: a report as it leaves this node, in JSON: every field, and no other.

use crate::catalogue::{self, CatalogueInUseError};
use crate::cli::{Outcome, runtime, say};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::devices::host::{self, HostError};
use crate::enrolment::{Enrolment, EnrolmentError};
use crate::keys::{NodeKey, NodeKeyError};
use crate::meters::Meters;
use crate::sampler::EnvironmentError;
use crate::sampler::{SamplerEvent, Supervisor};
use crate::service::{Ask, ControlError, Identity, Reporter, ReporterError, Request, ask, now};
use crate::spool::{Spool, SpoolError};
use crate::state::{StateDir, StateError};
use std::sync::Arc;
use std::time::Duration;
use weighbridge::crypto::{Algorithm, Entropy, KeyError, SecretKey};
use weighbridge::id::{NodeId, VerifierId};
use weighbridge::report::{EnvelopeError, KeyProtection, OpenedReport};

/// What `preview` is told.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Measure now, without sending, instead of showing the report that was sealed last
    #[arg(long)]
    now: bool,
    /// How long to measure, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=900))]
    seconds: u64,
    /// Form of the output
    #[arg(long, value_name = "FORM", default_value = "json", value_parser = ["json"])]
    format: String,
}

/// Why there is no preview.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PreviewError {
    /// The catalogue.
    #[error(transparent)]
    Catalogue(#[from] CatalogueInUseError),
    /// The running agent.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// The enrolment.
    #[error(transparent)]
    Enrolment(#[from] EnrolmentError),
    /// The key.
    #[error(transparent)]
    NodeKey(#[from] NodeKeyError),
    /// A key for the time being.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The reporter.
    #[error(transparent)]
    Reporter(#[from] ReporterError),
    /// The sampler's environment.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// The report.
    #[error(transparent)]
    Report(#[from] EnvelopeError),
    /// The output.
    #[error("the report could not be written as JSON")]
    Json(#[from] serde_json::Error),
    /// The system.
    #[error("the agent could not set up what it runs on")]
    System(#[from] std::io::Error),
}

/// Prints a report.
///
/// # Errors
/// [`PreviewError`].
pub fn preview(config: &Config, arguments: &Arguments) -> Result<Outcome, PreviewError> {
    let sealed = if arguments.now { None } else { latest(config)? };
    let (bundle, what) = match sealed {
        Some((bundle, fate)) => (bundle, format!("sealed last; {fate}")),
        None => (
            runtime()?.block_on(measured(config, Duration::from_secs(arguments.seconds)))?,
            "measured now, not sent".to_owned(),
        ),
    };
    let report = OpenedReport::open(&bundle)?;
    let shown = serde_json::json!({
        "report": what,
        "bytes": bundle.len(),
        "token": report.claims,
        "accelerators": report.accelerators,
        "evidence": report.evidence,
    });
    say(&serde_json::to_string_pretty(&shown)?);
    Ok(Outcome::Holds)
}

/// The report sealed last, and what became of it: from the running agent, or from the spool where none runs.
fn latest(config: &Config) -> Result<Option<(Vec<u8>, String)>, PreviewError> {
    let state = StateDir::at(&config.state_dir);
    match ask(&state.control(), &Request::plain(Ask::Latest)) {
        Ok(answer) => {
            // An agent of an older version does not say.
            let fate = answer.text.unwrap_or_else(|| "receipt unknown".to_owned());
            return Ok(answer.bundle.map(|b| (b.0, fate)));
        }
        Err(ControlError::NotRunning) => {}
        Err(e) => return Err(e.into()),
    }
    if !state.spool().exists() {
        return Ok(None);
    }
    let state = StateDir::open(&config.state_dir)?;
    let (spool, _) = Spool::open(&state.spool(), config.spool_max_bytes, &Entropy::system())?;
    Ok(spool
        .latest()?
        .map(|(entry, bundle)| (bundle, entry.fate.said().to_owned())))
}

/// A report of what is measured in `time`, sealed in memory with the same code, and kept nowhere.
async fn measured(config: &Config, time: Duration) -> Result<Vec<u8>, PreviewError> {
    let state = StateDir::at(&config.state_dir);
    let entropy = Entropy::system();
    let identity = match Enrolment::load(&state.enrolment())? {
        Some(enrolment) => Identity {
            verifier: enrolment.verifier,
            node: enrolment.node,
        },
        None => Identity {
            verifier: VerifierId([0; 32]),
            node: NodeId([0; 17]),
        },
    };
    let key = match NodeKey::load(&state.key(), &entropy)? {
        Some(key) => key,
        None => NodeKey {
            signer: Arc::new(SecretKey::generate(Algorithm::EcdsaP256, &entropy)?),
            protection: KeyProtection::File,
        },
    };
    let clock = SystemClock;
    let spool = Arc::new(Spool::in_memory(&entropy)?);
    let facts = host::facts()?;
    let catalogue = catalogue::in_use(config)?;
    let spool_too = Arc::clone(&spool);
    let mut reporter = Reporter::new(spool_too, key, identity, facts, catalogue, &entropy, now(&clock))?;
    reporter.set_meters(&config.meters);
    let shared: Arc<dyn Clock> = Arc::new(clock);
    let mut meters = Meters::start(&config.meters, &shared, &entropy);
    let (supervisor, mut events) = Supervisor::start(config.supervisor()?, shared);
    let mut over = std::pin::pin!(tokio::time::sleep(time));
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(SamplerEvent::Frame(frame)) => drop(reporter.frame(&frame, now(&clock))?),
                Some(_) => {}
                None => break,
            },
            told = meters.next() => reporter.meter(&told),
            () = &mut over => break,
        }
    }
    drop(events);
    supervisor.shutdown().await;
    reporter.finish(now(&clock))?;
    let (_, bundle) = spool.latest()?.ok_or(SpoolError::Incomplete("report"))?;
    Ok(bundle)
}
