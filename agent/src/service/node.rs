//! The running agent: one thread that hears the sampler, seals reports, has them delivered, and answers at its socket.
//!
//! Decides: in which order it starts and stops. Trusts the state directory to be this node's. A fault of the driver, the disk or the network
//! is a state with a name, seen in the log and where it concerns the measurement in the report, never an exit.

use super::attribution::{Attributions, AttributionsError};
use super::condition::{Condition, Delivering, condition};
use super::control::{Answer, Ask, Asked, Control};
use super::courier_task::CourierTask;
use super::devices::Devices;
use super::reporter::{Identity, Now, Reporter, ReporterError};
use super::rounds::Evidence;
use crate::binding::{Collection, CollectorOptions, Rounds};
use crate::catalogue::{self, CatalogueInUseError};
use crate::clock::{Clock, SleepWatch, SystemClock};
use crate::config::Config;
use crate::delivery::{Backoff, Courier};
use crate::devices::dcgm::HOST_ENGINE_HUNG;
use crate::devices::host::{self, HostError};
use crate::devices::system::let_go_of_start;
use crate::enrolment::{Enrolment, EnrolmentError};
use crate::meters::Meters;
use crate::sampler::EnvironmentError;
use crate::sampler::{SamplerEvent, Supervisor};
use crate::sentence::Sentence;
use crate::spool::{Opened, Spool, SpoolError};
use crate::state::{StateDir, StateError};
use sd_notify::NotifyState;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use weighbridge::cbor::Bytes;
use weighbridge::crypto::Entropy;
use weighbridge::report::ChainLink;
use weighbridge::telemetry::{DeviceState, GapReason};
use weighbridge::time::SECOND;

/// Nanoseconds in an hour.
const HOUR: u64 = 3_600 * SECOND;
/// Reports that one answer tells of; whoever asks goes on from there.
const SENT_AT_ONCE: usize = 4_096;

/// How often the enrolment is looked for while there is none.
const ENROLMENT_POLL: Duration = Duration::from_secs(2);

/// Why the agent cannot run. Each needs a person; what does not is waited for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The catalogue.
    #[error(transparent)]
    Catalogue(#[from] CatalogueInUseError),
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// The enrolment.
    #[error(transparent)]
    Enrolment(#[from] EnrolmentError),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The reporter.
    #[error(transparent)]
    Reporter(#[from] ReporterError),
    /// Who holds which device.
    #[error(transparent)]
    Attributions(#[from] AttributionsError),
    /// The sampler's environment.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// The system.
    #[error("the agent could not set up what it runs on")]
    System(#[from] std::io::Error),
}

/// Runs until told to stop (`SIGTERM` or `SIGINT`).
///
/// # Errors
/// [`RunError`] where it cannot begin.
pub async fn run(config: &Config) -> Result<(), RunError> {
    let mut stop = Stop::new()?;
    let catalogue = catalogue::in_use(config)?;
    let state = StateDir::open(&config.state_dir)?;
    let entropy = Entropy::system();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    // The unit counts as started once it waits: neither an enrolment nor a full disk is a reason to be started anew.
    notify(&[NotifyState::Ready]);

    let Some(enrolment) = enrolled(&state, &mut stop).await? else {
        return Ok(());
    };
    enrolment.settle(&state, &entropy)?;
    let key = enrolment.node_key(&state.key(), &entropy)?;
    let Some(spool) = open_spool(config, &state, &entropy, &mut stop).await? else {
        return Ok(());
    };
    let mut control = Control::bind(&state.control())?;
    let identity = Identity {
        verifier: enrolment.verifier,
        node: enrolment.node,
    };
    let facts = host::facts()?;
    let boot = facts.boot_id;
    let mut reporter = Reporter::new(
        Arc::clone(&spool),
        key.clone(),
        identity,
        facts,
        catalogue,
        &entropy,
        now(clock.as_ref()),
    )?;
    reporter.set_meters(&config.meters);
    let attributions = Attributions::open(
        &state,
        config.tenant_key.as_deref(),
        boot,
        entropy.clone(),
        now(clock.as_ref()),
    )?;
    reporter.set_holdings(attributions.holdings());
    let meters = Meters::start(&config.meters, &clock, &entropy);
    info!(node = %identity.node, verifier = %enrolment.url, "started");

    let wake = Arc::new(Notify::new());
    let (told, delivering) = watch::channel(Delivering::Unknown);
    let delivery_stop = CancellationToken::new();
    let task = CourierTask {
        courier: Courier::new(
            Arc::clone(&spool),
            (enrolment, state.enrolment()),
            key.clone(),
            config.acceptance(),
            entropy.clone(),
        )?,
        key,
        proxy: config.proxy.clone(),
        clock: Arc::clone(&clock),
        entropy,
        wake: Arc::clone(&wake),
        told,
        stop: delivery_stop.clone(),
    };
    let delivery = tokio::spawn(task.run());
    let sampler = config.supervisor()?;
    let evidence = Evidence::new(
        Rounds::new(
            u64::from(config.evidence_period_h).saturating_mul(HOUR),
            spool.round_challenge()?,
        ),
        Collection::new(CollectorOptions::beside(&sampler), Arc::clone(&clock)),
        Arc::clone(&spool),
    );
    let (supervisor, events) = Supervisor::start(sampler, Arc::clone(&clock));
    let mut node = Node {
        reporter,
        attributions,
        evidence,
        meters,
        spool,
        clock,
        supervisor,
        delivering,
        wake,
        condition: Condition::Reporting,
        disk: None,
        devices: Devices::default(),
        hold: Hold::InUse,
        waiting: Vec::new(),
        watchdog: Watchdog::default(),
        sleep: SleepWatch::begin(),
    };
    node.work(events, &mut control, &mut stop).await;

    notify(&[NotifyState::Stopping]);
    node.end().await;
    delivery_stop.cancel();
    // A panic in it was printed; there is nothing to add.
    delivery.await.ok();
    std::fs::remove_file(state.control()).ok();
    info!("stopped");
    Ok(())
}

/// How this agent's processes hold the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    /// They use it.
    InUse,
    /// It is to be let go of: first by the collector, if one is at work.
    Collector,
    /// Then by the sampler.
    Sampler,
    /// None holds it.
    Released,
}

/// What the loop holds.
#[derive(Debug)]
struct Node {
    reporter: Reporter,
    attributions: Attributions,
    evidence: Evidence,
    meters: Meters,
    spool: Arc<Spool>,
    clock: Arc<dyn Clock>,
    supervisor: Supervisor,
    delivering: watch::Receiver<Delivering>,
    wake: Arc<Notify>,
    condition: Condition,
    disk: Option<String>,
    devices: Devices,
    hold: Hold,
    /// Askers who wait until the driver was let go of or taken up again.
    waiting: Vec<Asked>,
    watchdog: Watchdog,
    sleep: SleepWatch,
}

impl Node {
    async fn work(
        &mut self,
        mut events: mpsc::Receiver<SamplerEvent>,
        control: &mut Control,
        stop: &mut Stop,
    ) {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let program = let_go_of_start();
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.hear(event),
                    // The supervision ends only with this loop; should it, reports go on and say that nothing is covered.
                    None => std::future::pending().await,
                },
                _ = second.tick() => {
                    if let Some((from, to)) = self.sleep.slept() {
                        warn!(seconds = to.since(from).div_euclid(SECOND), "the host was suspended");
                        self.reporter.gap(None, GapReason::HostSuspended, from, to);
                    }
                    let sealed = self.reporter.advance(now(self.clock.as_ref()));
                    self.sealed(sealed);
                    self.watchdog.pat();
                }
                changed = self.delivering.changed() => {
                    if changed.is_ok() {
                        let followed = self.reporter.follow_standing().map(|()| None);
                        self.sealed(followed);
                        if matches!(*self.delivering.borrow(), Delivering::Works { .. }) {
                            self.evidence.answered();
                        }
                    }
                    // A report was sealed and sent, which took most of the program; for a while no other is.
                    program.let_go();
                }
                told = self.meters.next() => self.reporter.meter(&told),
                collected = self.evidence.end() => self.evidence.ended(collected, &mut self.reporter),
                asked = control.next() => self.asked(asked).await,
                () = stop.wait() => return,
            }
            self.follow_release().await;
            if self.hold == Hold::InUse {
                self.evidence.consider(&self.reporter, self.clock.boot_now());
            }
            self.name_condition();
        }
    }

    fn hear(&mut self, event: SamplerEvent) {
        match event {
            SamplerEvent::Frame(frame) => {
                self.devices.hear(&frame);
                let sealed = self.reporter.frame(&frame, now(self.clock.as_ref()));
                self.sealed(sealed);
            }
            SamplerEvent::Died { reason, .. } => {
                warn!("the sampler died: {reason}");
                self.devices.restarted("the sampler died and is started anew");
                self.reporter.sampler_restarted(None);
            }
            SamplerEvent::Hung { index, device, .. } => {
                if let Some(index) = index {
                    warn!(
                        gpu = index,
                        "a call to a device did not return; its process was abandoned"
                    );
                } else {
                    warn!("a call to the driver did not return; its process was abandoned");
                    self.reporter.mark(None, DeviceState::DriverUnavailable);
                }
                self.devices
                    .restarted("a call to the driver did not return, and another sampler is started");
                if let (Some(index), None) = (index, device) {
                    self.devices.hung(index);
                }
                self.reporter.sampler_restarted(device);
            }
            SamplerEvent::HostEngineHung { .. } => {
                warn!("{HOST_ENGINE_HUNG}");
                self.devices.restarted(HOST_ENGINE_HUNG);
                self.reporter.sampler_restarted(None);
            }
            SamplerEvent::Crowded { left_behind, .. } => {
                warn!(
                    "{left_behind} processes hang in calls to the driver, and none is started before one of them ends"
                );
                self.devices.restarted(
                    "processes hang in calls to the driver and cannot be ended, and no device is measured before one ends: reset the devices, or reboot",
                );
                self.reporter.mark(None, DeviceState::DriverUnavailable);
            }
            SamplerEvent::Restarted { .. } => info!("another sampler was started"),
            SamplerEvent::Released { left_behind, .. } => {
                let left_behind = left_behind.saturating_add(self.evidence.left_behind());
                self.hold = Hold::Released;
                self.devices = Devices::default();
                self.reporter.set_released(true);
                let held = match left_behind {
                    0 => String::new(),
                    n => format!(
                        ", but processes that wait in calls to it and cannot be ended still hold it ({n})"
                    ),
                };
                self.answer_waiting(&format!(
                    "the driver was let go of{held}; `weighbridge-agent release --resume` takes it up again"
                ));
            }
            SamplerEvent::Resumed { .. } => {
                self.hold = Hold::InUse;
                self.reporter.set_released(false);
                self.answer_waiting("the driver is taken up again");
            }
        }
    }

    fn sealed(&mut self, sealed: Result<Option<ChainLink>, SpoolError>) {
        match sealed {
            Ok(Some(link)) => {
                info!(sequence = link.sequence, digest = %link.digest, "sealed a report");
                self.disk = None;
                self.evidence.sealed();
                self.attributions.forget(self.reporter.begun());
                self.wake.notify_one();
            }
            Ok(None) if self.reporter.unstored() == 0 => self.disk = None,
            Ok(None) => {}
            Err(e) => self.disk = Some(Sentence(&e).to_string()),
        }
    }

    async fn asked(&mut self, asked: Asked) {
        match asked.request.ask {
            Ask::Release if self.hold == Hold::Released => {
                asked.answer(&Answer::text("the driver is let go of already"))
            }
            Ask::Resume if self.hold != Hold::Released => asked.answer(&Answer::text("the driver is in use")),
            Ask::Release => {
                self.waiting.push(asked);
                if self.hold == Hold::InUse {
                    self.evidence.stop();
                    self.hold = Hold::Collector;
                }
            }
            Ask::Resume => {
                self.waiting.push(asked);
                self.supervisor.resume().await;
            }
            Ask::Status => asked.answer(&Answer::text(self.condition.to_string())),
            Ask::Attribute | Ask::EndAttribution | Ask::Attributions => {
                let now = now(self.clock.as_ref());
                let answer = self
                    .attributions
                    .answer(&asked.request, now, self.reporter.inventory());
                self.reporter.set_holdings(self.attributions.holdings());
                asked.answer(&answer.unwrap_or_else(|e| Answer::error(Sentence(&e).to_string())));
            }
            Ask::Latest | Ask::Report | Ask::Sent => {
                let answer = self
                    .show(&asked)
                    .unwrap_or_else(|e| Answer::error(Sentence(&e).to_string()));
                asked.answer(&answer);
            }
        }
    }

    /// Has the sampler let go of the driver once the collector has, where that was asked for. Sampling goes on until then.
    async fn follow_release(&mut self) {
        if self.hold == Hold::Collector && !self.evidence.asking() {
            self.hold = Hold::Sampler;
            self.supervisor.release().await;
        }
    }

    fn show(&self, asked: &Asked) -> Result<Answer, SpoolError> {
        if asked.request.ask == Ask::Sent {
            let from = asked.request.sequence.unwrap_or(0);
            return Ok(Answer {
                sent: Some(self.spool.sent(from, SENT_AT_ONCE)?),
                ..Answer::default()
            });
        }
        let found = match asked.request.sequence {
            None => self
                .spool
                .latest()?
                .map(|(entry, bundle)| (entry.fate, bundle, Vec::new())),
            Some(sequence) => self
                .spool
                .report_at(asked.request.chain, sequence)?
                .map(|(entry, bundle, windows)| (entry.fate, bundle, windows)),
        };
        let answered = match asked.request.sequence {
            None => None,
            Some(sequence) => self.spool.answer_at(asked.request.chain, sequence)?,
        };
        Ok(Answer {
            text: found.as_ref().map(|(fate, ..)| fate.said().to_owned()),
            windows: found.as_ref().map(|(_, _, windows)| Bytes(windows.clone())),
            bundle: found.map(|(_, bundle, _)| Bytes(bundle)),
            answered: answered.map(Bytes),
            ..Answer::default()
        })
    }

    fn answer_waiting(&mut self, text: &str) {
        for asked in self.waiting.drain(..) {
            asked.answer(&Answer::text(text));
        }
    }

    /// Names a condition that changed.
    fn name_condition(&mut self) {
        let now = condition(
            &self.delivering.borrow(),
            self.disk.as_deref(),
            [
                self.devices.wrong(self.reporter.silent()),
                self.meters.wrong().collect(),
            ]
            .concat(),
        );
        if now != self.condition {
            match &now {
                Condition::Reporting => info!("{now}"),
                _ => warn!("{now}"),
            }
            notify(&[NotifyState::Status(&now.to_string())]);
            self.condition = now;
        }
    }

    /// Lets go of the driver and seals what there is.
    async fn end(mut self) {
        self.evidence.stop();
        let collected = async {
            if self.evidence.asking() {
                let collected = self.evidence.end().await;
                self.evidence.ended(collected, &mut self.reporter);
            }
        };
        tokio::join!(collected, self.supervisor.shutdown());
        match self.reporter.finish(now(self.clock.as_ref())) {
            Ok(Some(link)) => info!(sequence = link.sequence, "sealed the last report"),
            Ok(None) => {}
            Err(e) => warn!("the last report could not be stored: {}", Sentence(&e)),
        }
    }
}

/// The time, by the kernel's clocks.
pub(crate) fn now(clock: &dyn Clock) -> Now {
    Now {
        boot: clock.boot_now(),
        wall: clock.wall_now(),
        source: host::clock_source(),
    }
}

/// Waits until the node is enrolled; `None` where it is told to stop before.
async fn enrolled(state: &StateDir, stop: &mut Stop) -> Result<Option<Enrolment>, RunError> {
    let mut said = false;
    loop {
        if let Some(enrolment) = Enrolment::load(&state.enrolment())? {
            return Ok(Some(enrolment));
        }
        if !said {
            warn!("{}", Condition::Unenrolled);
            notify(&[NotifyState::Status(&Condition::Unenrolled.to_string())]);
            said = true;
        }
        tokio::select! {
            () = tokio::time::sleep(ENROLMENT_POLL) => {}
            () = stop.wait() => return Ok(None),
        }
        notify(&[NotifyState::Watchdog]);
    }
}

/// Opens the spool, waiting for a disk that takes nothing; `None` where it is told to stop before.
async fn open_spool(
    config: &Config,
    state: &StateDir,
    entropy: &Entropy,
    stop: &mut Stop,
) -> Result<Option<Arc<Spool>>, RunError> {
    let mut backoff = Backoff::default();
    loop {
        match Spool::open(&state.spool(), config.spool_max_bytes, entropy) {
            Ok((spool, opened)) => {
                if let Opened::Replaced { aside } = opened {
                    warn!(
                        "the spool was damaged and is set aside as {}; a new chain begins",
                        aside.display()
                    );
                }
                return Ok(Some(Arc::new(spool)));
            }
            Err(e @ (SpoolError::File { .. } | SpoolError::State(_) | SpoolError::Database(_))) => {
                let halted = Condition::Halted {
                    why: Sentence(&e).to_string(),
                };
                warn!("{halted}");
                notify(&[NotifyState::Status(&halted.to_string()), NotifyState::Watchdog]);
                // Below the watchdog's two minutes, whatever the back-off says.
                let pause = backoff
                    .next(entropy.draw().unwrap_or_default())
                    .min(Duration::from_secs(30));
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stop.wait() => return Ok(None),
                }
            }
            Err(e) => return Err(e.into()),
        }
    }
}

/// Told to stop.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The service manager's watchdog: patted at half its time.
#[derive(Debug, Default)]
struct Watchdog {
    every: Option<u64>,
    seconds: u64,
}

impl Watchdog {
    fn pat(&mut self) {
        let every = *self.every.get_or_insert_with(|| {
            sd_notify::watchdog_enabled().map_or(u64::MAX, |time| time.as_secs().div_euclid(2).max(1))
        });
        self.seconds = self.seconds.saturating_add(1);
        if self.seconds >= every {
            self.seconds = 0;
            notify(&[NotifyState::Watchdog]);
        }
    }
}

/// Tells the service manager, where there is one.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(state) {
        warn!("the service manager could not be told: {e}");
    }
}
