//! The meters while the agent runs: each read in its turn, slowed by failures, its state kept by name.

use super::client::{MeterClient, MeterError};
use super::config::MeterConfig;
use crate::clock::Clock;
use crate::delivery::Backoff;
use crate::doctor::{Check, Health};
use crate::sentence::Sentence;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};
use weighbridge::crypto::Entropy;
use weighbridge::time::BootNanos;

/// What came of a question to a meter.
#[derive(Debug)]
pub struct Told {
    /// Its place in the configuration.
    pub meter: usize,
    /// When the answer had come.
    pub at: BootNanos,
    /// Its reading, in milliwatts.
    pub read: Result<u64, MeterError>,
}

/// The meters that are read. They are let go of when this is dropped.
#[derive(Debug)]
pub struct Meters {
    told: mpsc::Receiver<Told>,
    /// By place: what it is called, and what is wrong with it.
    states: Vec<(String, Option<String>)>,
    _tasks: JoinSet<()>,
}

impl Meters {
    /// Begins to read them.
    #[must_use]
    pub fn start(configs: &[MeterConfig], clock: &Arc<dyn Clock>, entropy: &Entropy) -> Self {
        let (tell, told) = mpsc::channel(configs.len().max(1));
        let mut tasks = JoinSet::new();
        for (meter, config) in configs.iter().enumerate() {
            let task = Task {
                meter,
                config: config.clone(),
                clock: Arc::clone(clock),
                entropy: entropy.clone(),
                tell: tell.clone(),
            };
            tasks.spawn(task.run());
        }
        let states = configs
            .iter()
            .enumerate()
            .map(|(n, config)| (called(n, config), None));
        Self {
            told,
            states: states.collect(),
            _tasks: tasks,
        }
    }

    /// What came of the next question; never, where no meter is configured.
    pub async fn next(&mut self) -> Told {
        match self.told.recv().await {
            Some(told) => {
                self.note(&told);
                told
            }
            None => std::future::pending().await,
        }
    }

    /// The meters that give no reading, each with why, in the order of the configuration.
    pub fn wrong(&self) -> impl Iterator<Item = String> {
        let failing = self
            .states
            .iter()
            .filter_map(|(name, why)| Some((name, why.as_ref()?)));
        failing.map(|(name, why)| format!("{name} gives no reading: {why}"))
    }

    /// Keeps the state, and logs it where it changed.
    fn note(&mut self, told: &Told) {
        let Some((name, why)) = self.states.get_mut(told.meter) else {
            return;
        };
        let now = told.read.as_ref().err().map(|e| Sentence(e).to_string());
        match &now {
            Some(now) if why.as_ref() != Some(now) => warn!("{name} gives no reading: {now}"),
            None if why.is_some() => info!("{name} gives readings again"),
            _ => {}
        }
        *why = now;
    }
}

/// What a meter is called to its operator, who finds it by its place in the configuration.
fn called(place: usize, config: &MeterConfig) -> String {
    let kind = match config.kind {
        weighbridge::telemetry::MeterKind::Bmc => "BMC",
        weighbridge::telemetry::MeterKind::Pdu => "PDU",
    };
    format!("meter {} ({kind})", place.saturating_add(1))
}

struct Task {
    meter: usize,
    config: MeterConfig,
    clock: Arc<dyn Clock>,
    entropy: Entropy,
    tell: mpsc::Sender<Told>,
}

impl Task {
    /// Reads until nobody listens.
    async fn run(self) {
        let every = Duration::from_secs(self.config.every_s.into());
        let mut backoff = Backoff::default();
        let mut client = None;
        loop {
            let begun = Instant::now();
            let read = ask(&mut client, &self.config).await;
            let pause = match read {
                Ok(_) => {
                    backoff.reset();
                    every
                }
                Err(_) => every.max(backoff.next(self.entropy.draw().unwrap_or_default())),
            };
            let told = Told {
                meter: self.meter,
                at: self.clock.boot_now(),
                read,
            };
            if self.tell.send(told).await.is_err() {
                return;
            }
            sleep_until(begun.checked_add(pause).unwrap_or(begun)).await;
        }
    }
}

/// Asks once, setting the line up where there is none: what kept it from that may be mended meanwhile.
async fn ask(client: &mut Option<MeterClient>, config: &MeterConfig) -> Result<u64, MeterError> {
    let line = match client.take() {
        Some(line) => line,
        None => MeterClient::new(config)?,
    };
    client.insert(line).read().await
}

/// Asks every meter once, for the doctor.
pub async fn look(configs: &[MeterConfig], clock: &Arc<dyn Clock>) -> Vec<Check> {
    let mut asked = JoinSet::new();
    for (place, config) in configs.iter().enumerate() {
        let (config, clock) = (config.clone(), Arc::clone(clock));
        asked.spawn(async move {
            let before = clock.boot_now();
            let read = ask(&mut None, &config).await;
            let ms = clock.boot_now().since(before).div_euclid(1_000_000);
            let (name, url) = (called(place, &config), &config.url);
            let check = match read {
                Ok(mw) => {
                    let watts = format!("{}.{:03}", mw.div_euclid(1_000), mw.rem_euclid(1_000));
                    let text = format!("{name} at {url} reads {watts} W, answered in {ms} ms");
                    Check::new("meter", Health::Ok, text)
                }
                Err(e) => {
                    let text = format!("{name} at {url} gives no reading: {}", Sentence(&e));
                    Check::new("meter", Health::Wrong, text)
                }
            };
            (place, check)
        });
    }
    let mut checks = asked.join_all().await;
    checks.sort_by_key(|(place, _)| *place);
    checks.into_iter().map(|(_, check)| check).collect()
}
