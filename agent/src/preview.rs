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
use crate::spool::{Sent, Spool, SpoolError};
use crate::state::StateDir;
use std::sync::Arc;
use std::time::Duration;
use weighbridge::cbor::Bytes;
use weighbridge::crypto::{Algorithm, Entropy, KeyError, SecretKey};
use weighbridge::id::{ChainId, NodeId, VerifierId};
use weighbridge::report::{EnvelopeError, KeyProtection, OpenedReport};

/// What `preview` is told.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Measure now, without sending, instead of showing the report that was sealed last
    #[arg(long)]
    now: bool,
    /// List every report that this node still holds, and what became of each, one a line
    #[arg(long, conflicts_with_all = ["now", "report"])]
    sent: bool,
    /// Show the report with this number, and what the verifier answered, instead of the one that was sealed last
    #[arg(long, value_name = "NUMBER", conflicts_with = "now", value_parser = clap::value_parser!(u64).range(1..))]
    report: Option<u64>,
    /// Of which chain, where it is not the present one
    #[arg(long, value_name = "CHAIN", requires = "report", value_parser = ChainId::parse)]
    chain: Option<ChainId>,
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
    /// No such report.
    #[error("this node holds no report with number {0} of that chain; `preview --sent` lists those it holds")]
    NoReport(u64),
    /// The output.
    #[error("the report could not be written as JSON")]
    Json(#[from] serde_json::Error),
    /// The system.
    #[error("the agent could not set up what it runs on")]
    System(#[from] std::io::Error),
}

/// Prints a report, or a list of those that this node holds.
///
/// # Errors
/// [`PreviewError`].
pub fn preview(config: &Config, arguments: &Arguments) -> Result<Outcome, PreviewError> {
    if arguments.sent {
        return sent(config);
    }
    if let Some(number) = arguments.report {
        let found = numbered(config, arguments.chain, number)?;
        let (bundle, what, answer) = found.ok_or(PreviewError::NoReport(number))?;
        return show(&bundle, &what, answer.as_ref());
    }
    let sealed = if arguments.now { None } else { latest(config)? };
    let (bundle, what) = match sealed {
        Some((bundle, fate)) => (bundle, format!("sealed last; {fate}")),
        None => (
            runtime()?.block_on(measured(config, Duration::from_secs(arguments.seconds)))?,
            "measured now, not sent".to_owned(),
        ),
    };
    show(&bundle, &what, None)
}

fn show(bundle: &[u8], what: &str, answer: Option<&Bytes>) -> Result<Outcome, PreviewError> {
    let report = OpenedReport::open(bundle)?;
    let shown = serde_json::json!({
        "report": what,
        "bytes": bundle.len(),
        "digest": report.digest(),
        "answer": answer,
        "token": report.claims,
        "accelerators": report.accelerators,
        "evidence": report.evidence,
    });
    say(&serde_json::to_string_pretty(&shown)?);
    Ok(Outcome::Holds)
}

/// Prints what became of every report that this node holds, in the order in which they were sealed.
fn sent(config: &Config) -> Result<Outcome, PreviewError> {
    let mut from = 0u64;
    loop {
        let page = sent_from(config, from)?;
        for sent in &page {
            say(&serde_json::to_string(sent)?);
        }
        match page.last() {
            Some(last) => from = last.ordinal.saturating_add(1),
            None => return Ok(Outcome::Holds),
        }
    }
}

/// Those from an ordinal on, as many as one answer holds; none where there are no more.
fn sent_from(config: &Config, from: u64) -> Result<Vec<Sent>, PreviewError> {
    let request = Request {
        sequence: Some(from),
        ..Request::plain(Ask::Sent)
    };
    match ask(&StateDir::at(&config.state_dir).control(), &request) {
        Ok(answer) => Ok(answer.sent.unwrap_or_default()),
        Err(ControlError::NotRunning) => match spool(config)? {
            Some(spool) => Ok(spool.sent(from, usize::MAX)?),
            None => Ok(Vec::new()),
        },
        Err(e) => Err(e.into()),
    }
}

/// The spool, where no agent runs and there is one; nothing of it is changed.
fn spool(config: &Config) -> Result<Option<Spool>, PreviewError> {
    let file = StateDir::at(&config.state_dir).spool();
    match file.exists() {
        true => Ok(Some(Spool::look_at(&file, &Entropy::system())?)),
        false => Ok(None),
    }
}

/// A report by its number, what became of it, and what the verifier answered.
type Numbered = (Vec<u8>, String, Option<Bytes>);

fn numbered(config: &Config, chain: Option<ChainId>, number: u64) -> Result<Option<Numbered>, PreviewError> {
    let request = Request {
        chain,
        sequence: Some(number),
        ..Request::plain(Ask::Report)
    };
    match ask(&StateDir::at(&config.state_dir).control(), &request) {
        Ok(answer) => {
            let fate = answer.text.unwrap_or_else(|| "receipt unknown".to_owned());
            Ok(answer.bundle.map(|b| (b.0, fate, answer.answered)))
        }
        Err(ControlError::NotRunning) => {
            let Some(spool) = spool(config)? else {
                return Ok(None);
            };
            let answer = spool.answer_at(chain, number)?.map(Bytes);
            let found = spool.report_at(chain, number)?;
            Ok(found.map(|(entry, bundle, _)| (bundle, entry.fate.said().to_owned(), answer)))
        }
        Err(e) => Err(e.into()),
    }
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
    let Some(spool) = spool(config)? else {
        return Ok(None);
    };
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
