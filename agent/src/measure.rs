//! `measure`: windows without a verifier, and proof that a window belongs to a report.
//!
//! Decides: nothing that a report would not; the meter is the same. Does not establish anything for anyone else: what is printed is not signed.

use crate::catalogue::{self, CatalogueInUseError};
use crate::cli::{Outcome, runtime, say};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::devices::dcgm::HOST_ENGINE_HUNG;
use crate::inventory::Format;
use crate::sampler::{EnvironmentError, SamplerEvent, Supervisor};
use crate::service::{Ask, ControlError, KeptLeaves, Request, ShowError, ask, now};
use crate::spool::{Spool, SpoolError};
use crate::state::StateDir;
use serde_json::{Map, Number, Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use weighbridge::accelerator::Catalogue;
use weighbridge::accounting::consistency::Physics;
use weighbridge::accounting::{
    Compute, Contradiction, Observation, Peak, PipeCompute, Precision, operations,
};
use weighbridge::appraisal::Grade;
use weighbridge::crypto::{Entropy, KeyError};
use weighbridge::document::Mistakes;
use weighbridge::id::{ChainId, DeviceUuid, ParseIdError};
use weighbridge::report::{
    AcceleratorClaims, ClosedWindow, EnvelopeError, Finished, Meter, MeterSettings, OpenedReport,
};
use weighbridge::telemetry::{DeviceState, Inventory, PipeTimes, Reading, TickKind};
use weighbridge::time::{BootNanos, SECOND, UnixSeconds};
use weighbridge::unit::{MicroTppHours, Millijoules, Ppm};
use weighbridge::workload::{Class, Explanation, Model, ModelError, explain};

/// How long frames may be late before a window ends without them.
const GRACE_NS: u64 = 2 * SECOND;
/// Seconds without a list of devices after which a person is told what is waited for.
const SILENT_S: u32 = 5;
/// A window ends with the tick that lies this near its end.
const TOLERANCE_NS: u64 = SECOND / 4;

/// What `measure` is told.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How many windows
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    windows: u32,
    /// Length of a window, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3600))]
    window: u32,
    /// Form of the output; json is one object a line
    #[arg(long, value_name = "FORM", default_value = "text")]
    format: Format,
    /// The format that is declared to be run, which narrows operations: fp64, tf32, bf16, fp16, fp8, int8 or fp4
    #[arg(long, value_name = "FORMAT", value_parser = parse_precision)]
    precision: Option<Precision>,
    /// Show the windows that the report with this number commits to, each with its path to the root in the report
    #[arg(long, value_name = "SEQUENCE", conflicts_with_all = ["windows", "window", "precision"])]
    proof: Option<u64>,
    /// Of which chain, where it is not the present one
    #[arg(long, value_name = "CHAIN", requires = "proof", value_parser = parse_chain)]
    chain: Option<ChainId>,
    /// Of which device, by its UUID
    #[arg(long, value_name = "UUID", requires = "proof", value_parser = parse_device)]
    device: Option<DeviceUuid>,
}

fn parse_precision(text: &str) -> Result<Precision, String> {
    let known = Precision::ALL.iter().find(|format| format.text() == text);
    let names: Vec<_> = Precision::ALL.iter().map(|format| format.text()).collect();
    known
        .copied()
        .ok_or_else(|| format!("it is none of {}", names.join(", ")))
}

fn parse_chain(text: &str) -> Result<ChainId, ParseIdError> {
    ChainId::parse(text)
}

fn parse_device(text: &str) -> Result<DeviceUuid, ParseIdError> {
    DeviceUuid::parse_nvml(text)
}

/// Why nothing is measured or shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// No device.
    #[error("no accelerator answers through the driver: {why}; `weighbridge-agent doctor` says more")]
    NoDevice {
        /// What the sampler says.
        why: String,
    },
    /// The report is not here.
    #[error("this node holds no report with number {0} of that chain")]
    NoReport(u64),
    /// There is no catalogue to go by.
    #[error(transparent)]
    Catalogue(#[from] CatalogueInUseError),
    /// The model that was built in.
    #[error("the workload model that was built in is damaged; reinstall the agent")]
    Model(#[from] ModelError),
    /// The bounds of physics that were built in.
    #[error("the bounds of physics that were built in are damaged; reinstall the agent")]
    Physics(#[from] Mistakes),
    /// The running agent.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The report.
    #[error(transparent)]
    Report(#[from] EnvelopeError),
    /// The windows.
    #[error(transparent)]
    Show(#[from] ShowError),
    /// No random bytes.
    #[error(transparent)]
    Entropy(#[from] KeyError),
    /// The sampler's environment.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// The output.
    #[error("what was measured could not be written as JSON")]
    Json(#[from] serde_json::Error),
    /// The system.
    #[error("the agent could not set up what it runs on")]
    System(#[from] std::io::Error),
}

/// Measures, or shows what was measured.
///
/// # Errors
/// [`MeasureError`].
pub fn measure(config: &Config, arguments: &Arguments) -> Result<Outcome, MeasureError> {
    match arguments.proof {
        Some(sequence) => show(config, arguments, sequence)?,
        None => runtime()?.block_on(windows(config, arguments))?,
    }
    Ok(Outcome::Holds)
}

fn show(config: &Config, arguments: &Arguments, sequence: u64) -> Result<(), MeasureError> {
    let state = StateDir::at(&config.state_dir);
    let request = Request {
        ask: Ask::Report,
        chain: arguments.chain,
        sequence: Some(sequence),
        attribution: None,
    };
    let (bundle, windows) = match ask(&state.control(), &request) {
        Ok(answer) => {
            let bundle = answer.bundle.ok_or(MeasureError::NoReport(sequence))?;
            (bundle.0, answer.windows.unwrap_or_default().0)
        }
        Err(ControlError::NotRunning) if state.spool().exists() => {
            let spool = Spool::look_at(&state.spool(), &Entropy::system())?;
            let (_, bundle, windows) = spool
                .report_at(arguments.chain, sequence)?
                .ok_or(MeasureError::NoReport(sequence))?;
            (bundle, windows)
        }
        Err(e) => return Err(e.into()),
    };
    let report = OpenedReport::open(&bundle)?;
    for shown in KeptLeaves::show(&windows, &report, arguments.device)? {
        let mut line = serde_json::to_value(&shown)?;
        if let Some(fields) = line.as_object_mut() {
            fields.insert("report".to_owned(), json!(report.digest()));
            fields.insert("sequence".to_owned(), json!(sequence));
        }
        say(&line.to_string());
    }
    Ok(())
}

async fn windows(config: &Config, arguments: &Arguments) -> Result<(), MeasureError> {
    let clock = Arc::new(SystemClock);
    let catalogue = catalogue::in_use(config)?;
    let (supervisor, mut events) = Supervisor::start(config.supervisor()?, clock);
    let done = print_windows(&mut events, arguments, &catalogue).await;
    drop(events);
    supervisor.shutdown().await;
    done
}

async fn print_windows(
    events: &mut Receiver<SamplerEvent>,
    arguments: &Arguments,
    catalogue: &Catalogue,
) -> Result<(), MeasureError> {
    let clock = SystemClock;
    let entropy = Entropy::system();
    let length = u64::from(arguments.window).saturating_mul(SECOND);
    let mut bench: Option<Bench> = None;
    let mut inventory: Option<Inventory> = None;
    let mut why = "the sampler found none".to_owned();
    let mut left = arguments.windows;
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let mut waited_s = 0u32;
    while left > 0 {
        tokio::select! {
            event = events.recv() => match event {
                Some(SamplerEvent::Frame(frame)) => {
                    if let Some(notice) = frame.notice {
                        tracing::info!("{}: {}", notice.kind, notice.text);
                        why = notice.text.clone();
                        if let Some(bench) = &mut bench {
                            bench.meter.push_notice(&notice);
                        }
                    }
                    if let Some(found) = frame.inventory {
                        match &mut bench {
                            Some(bench) => bench.meter.set_inventory(&found),
                            None => inventory = Some(found),
                        }
                    }
                    let Some(tick) = frame.tick else { continue };
                    if let Some(bench) = &mut bench {
                        bench.meter.push_tick(&tick);
                        let near = tick.at.0.saturating_add(TOLERANCE_NS) >= bench.meter.start().0.saturating_add(length);
                        if near && tick.kind == TickKind::Regular {
                            bench.print(tick.at, arguments.format)?;
                            left = left.saturating_sub(1);
                        }
                    } else if let Some(found) = inventory.as_ref().filter(|_| tick.kind == TickKind::Regular) {
                        if found.devices.is_empty() {
                            return Err(MeasureError::NoDevice { why });
                        }
                        let mut begun = Bench::new(found, catalogue.clone(), tick.at, length, now(&clock).wall, entropy.clone())?;
                        begun.declared = arguments.precision;
                        begun.meter.push_tick(&tick);
                        bench = Some(begun);
                    }
                }
                Some(SamplerEvent::Hung { index, device, .. }) => {
                    why = hung(index);
                    tracing::warn!("{why}");
                    if let Some(bench) = &mut bench {
                        bench.meter.mark(device, DeviceState::Hung);
                    }
                }
                Some(SamplerEvent::HostEngineHung { .. }) => {
                    why = HOST_ENGINE_HUNG.to_owned();
                    tracing::warn!("{why}");
                }
                Some(SamplerEvent::Crowded { left_behind, .. }) => {
                    why = format!("{left_behind} processes wait in calls to the driver and cannot be ended; reset the devices, or reboot");
                    tracing::warn!("{why}");
                }
                Some(SamplerEvent::Died { reason, .. }) => {
                    tracing::warn!("the sampler died: {reason}");
                    why = reason;
                }
                Some(_) => {}
                None => return Err(MeasureError::NoDevice { why }),
            },
            _ = second.tick() => {
                if inventory.is_none() && bench.is_none() {
                    waited_s = waited_s.saturating_add(1);
                    if waited_s == SILENT_S {
                        tracing::warn!("the driver has not listed its devices yet; a call that does not return is given up after a minute");
                    }
                }
                // Devices that fell silent still end their window.
                let late = BootNanos(clock.boot_now().0.saturating_sub(GRACE_NS));
                match &mut bench {
                    Some(bench) if late.since(bench.meter.start()) >= length => {
                        let end = bench.meter.start().plus(length);
                        bench.print(end, arguments.format)?;
                        left = left.saturating_sub(1);
                    }
                    None if inventory.as_ref().is_some_and(|i| i.devices.is_empty()) => {
                        return Err(MeasureError::NoDevice { why });
                    }
                    _ => {}
                }
            }
        }
    }
    Ok(())
}

/// What a person is told of a call that did not return.
fn hung(index: Option<u16>) -> String {
    match index {
        Some(index) => {
            format!("GPU {index} hangs: a call to it did not return, and it is left out until one does")
        }
        None => "the driver hangs: a call to it did not return, and it is tried again".to_owned(),
    }
}

/// A meter, and what its windows are printed with.
struct Bench {
    meter: Meter,
    catalogue: Catalogue,
    model: Model,
    /// The format that is declared to be run.
    declared: Option<Precision>,
    /// Wall time at boot.
    wall_at_boot: i64,
    entropy: Entropy,
}

impl Bench {
    fn new(
        inventory: &Inventory,
        catalogue: Catalogue,
        start: BootNanos,
        window_ns: u64,
        wall: UnixSeconds,
        entropy: Entropy,
    ) -> Result<Self, MeasureError> {
        let model = Model::embedded()?;
        let up = i64::try_from(start.0.checked_div(SECOND).unwrap_or(0)).unwrap_or(0);
        let settings = MeterSettings {
            nominal_ns: SECOND,
            // The meter is finished at the end of each window, by the tick that lies there.
            window_ns: window_ns.saturating_mul(2),
        };
        Ok(Self {
            model: model.clone(),
            meter: Meter::new(
                inventory,
                start,
                settings,
                catalogue.clone(),
                model,
                Physics::embedded()?,
            ),
            catalogue,
            declared: None,
            wall_at_boot: wall.0.saturating_sub(up),
            entropy,
        })
    }

    fn wall(&self, at: BootNanos) -> UnixSeconds {
        let up = i64::try_from(at.0.checked_div(SECOND).unwrap_or(0)).unwrap_or(0);
        UnixSeconds(self.wall_at_boot.saturating_add(up))
    }

    fn print(&mut self, end: BootNanos, format: Format) -> Result<(), MeasureError> {
        let start = self.meter.start();
        let entropy = self.entropy.clone();
        // These leaves are not kept, so their salts protect nothing.
        let Finished {
            accelerators,
            windows,
            observations,
            ..
        } = self.meter.finish(end, &mut || entropy.draw().unwrap_or_default());
        for claims in &accelerators {
            let window = windows.iter().find(|w| w.device == claims.identity.uuid);
            let line = if format == Format::Json {
                self.json(claims, window, &observations, start, end).to_string()
            } else {
                self.text(claims, window, end)
            };
            say(&line);
        }
        Ok(())
    }

    fn text(&self, claims: &AcceleratorClaims, window: Option<&ClosedWindow>, end: BootNanos) -> String {
        let delivered = &claims.delivered;
        let class = window
            .and_then(|w| w.sums.class)
            .map_or("cannot tell", Class::text);
        let level = window.and_then(|w| w.level);
        let level = level.map_or_else(String::new, |level| format!(" (run {level})"));
        let compute = delivered.compute.as_ref().map_or_else(
            || "compute cannot be told: the catalogue does not know this model".to_owned(),
            |c| format!("{} to {} TPP-hours (at most by {})", c.lower, c.upper, c.bound),
        );
        let energy = match delivered.measured.energy_mj {
            Reading::Value(mj) => format!("{} J", joules(Millijoules(mj))),
            Reading::Unsupported => "energy not offered".to_owned(),
            Reading::Lost(why) => format!("energy lost ({why})"),
        };
        // A lower bound of nothing has a reason, which a person would look for elsewhere.
        let pipes = match delivered.measured.pipes {
            Reading::Unsupported => "  no pipe activity on this architecture",
            Reading::Value(_) | Reading::Lost(_) => "",
        };
        let odd: Vec<&str> = delivered.observations.iter().map(|o| o.kind.text()).collect();
        let odd = match odd.is_empty() {
            true => String::new(),
            false => format!("  does not fit: {}", odd.join(", ")),
        };
        let mut text = format!(
            "{}  {}  {}  {energy}  {compute}{pipes}  {class}{level}{odd}",
            self.wall(end),
            claims.identity.uuid.nvml(),
            claims.identity.name
        );
        for sentence in self.why(window).iter().flat_map(Explanation::sentences) {
            text.push_str("\n    ");
            text.push_str(sentence);
        }
        text
    }

    /// Why a window scored as it did.
    fn why(&self, window: Option<&ClosedWindow>) -> Option<Explanation> {
        let features = &window?.sums.features;
        explain(&self.model, features, &self.model.score(features))
    }

    fn json(
        &self,
        claims: &AcceleratorClaims,
        window: Option<&ClosedWindow>,
        between: &[Observation],
        start: BootNanos,
        end: BootNanos,
    ) -> Value {
        let delivered = &claims.delivered;
        let measured = &delivered.measured;
        let whole_ms = end.since(start).checked_div(1_000_000).unwrap_or(0);
        let coverage = Ppm::of(delivered.covered_ms.into(), whole_ms);
        let scores: Map<String, Value> = window
            .into_iter()
            .flat_map(|w| Class::ALL.iter().zip(&w.sums.centinats))
            .map(|(class, centinats)| (class.text().to_owned(), number(f64::from(*centinats) / 100.0)))
            .collect();
        json!({
            "window_start": self.wall(start),
            "window_end": self.wall(end),
            "device": claims.identity.uuid.nvml(),
            "model": claims.identity.name,
            "state": claims.state,
            "energy_j": reading(measured.energy_mj, thousandths),
            "tpp_hours": delivered.compute.as_ref().map(tpp_hours),
            "tpp_hours_by_pipe": delivered.by_pipe.as_ref().map(by_pipe),
            "operations": delivered.compute.as_ref().and_then(|c| self.operations(c, claims)),
            "busy_s": reading(measured.busy_ms, thousandths),
            "coverage": number(f64::from(coverage.0) / 1e6),
            "gaps": delivered.gaps,
            "pipes": reading(measured.pipes.clone(), pipes),
            "activity_source": measured.activity_source,
            "links": {
                "nvlink_tx_bytes": reading(measured.nvlink.clone(), |t| t.tx.into()),
                "nvlink_rx_bytes": reading(measured.nvlink.clone(), |t| t.rx.into()),
                "pcie_tx_bytes": reading(measured.pcie.clone(), |t| t.tx.into()),
                "pcie_rx_bytes": reading(measured.pcie.clone(), |t| t.rx.into()),
                "pcie_method": measured.pcie_method,
            },
            "observations": {
                "samples": delivered.samples,
                "power_integral_j": reading(measured.power_integral_mj, thousandths),
                "power_mw": measured.power_mw,
                "sm_clock_mhz": measured.sm_clock_mhz,
                "memory_used_mib": measured.memory_used_mib,
                "temperature_max_c": measured.temperature_max_c,
                "clock_events": measured.clock_events,
                "counter_resets": measured.counter_resets,
                "jobs": measured.jobs,
                "features": window.map(|w| &w.sums.features),
                "inconsistencies": delivered.observations,
                "inconsistencies_between_devices": between,
            },
            "workload": {
                "scores": scores,
                "class": window.and_then(|w| w.sums.class).map_or("cannot tell", Class::text),
                "level": window.and_then(|w| w.level),
                "run_windows": delivered.workload.run_windows,
                "model_hash": self.model.digest().to_string(),
                "explanation": self.why(window),
            },
        })
    }

    /// Operations as an interval, as decimal texts.
    fn operations(&self, compute: &Compute, claims: &AcceleratorClaims) -> Option<Value> {
        let identity = &claims.identity;
        let known = self.catalogue.find(&identity.pci, &identity.name);
        let model = known.model()?;
        let pipes = claims.delivered.by_pipe.as_ref();
        let found = operations(compute, pipes, model, self.declared)?;
        let mut shown = json!({
            "lower": found.lower().0.to_string(),
            "upper": found.upper().0.to_string(),
        });
        if let Some((format, fields)) = self.declared.zip(shown.as_object_mut()) {
            fields.insert("declared".to_owned(), json!(format));
            let energy = claims
                .delivered
                .measured
                .energy_mj
                .value()
                .copied()
                .map(Millijoules);
            let covered_ns = u64::from(claims.delivered.covered_ms).saturating_mul(1_000_000);
            let odd = Peak::found(&known, identity).and_then(|peak| {
                format.contradicted(compute, pipes, model, &peak, energy.map(|e| (e, covered_ns)))
            });
            fields.insert("contradicted_by".to_owned(), json!(odd.map(contradiction)));
        }
        Some(shown)
    }
}

/// What contradicts a declared format.
fn contradiction(odd: Contradiction) -> &'static str {
    match odd {
        Contradiction::Model => "model",
        Contradiction::OtherPipe => "pipes",
        Contradiction::Energy => "energy",
    }
}

fn tpp_hours(compute: &Compute) -> Value {
    let hours = |micro: u128| number(decimal(micro, 1_000_000));
    json!({
        "lower": hours(compute.lower.0),
        "counter": hours(compute.counter.0),
        "upper": hours(compute.upper.0),
        "upper_unconditional": hours(compute.upper_unconditional.0),
        "method": compute.method,
        "bound": compute.bound,
        // What the driver says bounds all but the last, which needs the catalogue and the clock on the wall alone.
        "grade": Grade::DriverReported,
        "grade_unconditional": Grade::Derived,
    })
}

/// TPP-hours by pipe, as the counters say.
fn by_pipe(pipes: &PipeCompute) -> Value {
    let hours = |micro: MicroTppHours| number(decimal(micro.0, 1_000_000));
    json!({
        "hmma": hours(pipes.hmma),
        "imma": hours(pipes.imma),
        "dfma": hours(pipes.dfma),
        "fp64": hours(pipes.fp64),
        "fp32": hours(pipes.fp32),
        "fp16": hours(pipes.fp16),
    })
}

/// Seconds in which each pipe was busy.
fn pipes(times: PipeTimes) -> Value {
    let mut shown = Map::new();
    if let Ok(Value::Object(fields)) = serde_json::to_value(&times) {
        for (name, ms) in fields {
            let seconds = ms.as_u64().map_or(ms, thousandths);
            shown.insert(format!("{name}_s"), seconds);
        }
    }
    Value::Object(shown)
}

/// A value, or the word that says why there is none.
fn reading<T>(reading: Reading<T>, value: impl FnOnce(T) -> Value) -> Value {
    match reading {
        Reading::Value(v) => value(v),
        Reading::Unsupported => Value::String("unsupported".to_owned()),
        Reading::Lost(why) => Value::String(format!("lost: {why}")),
    }
}

fn thousandths(value: u64) -> Value {
    number(decimal(value.into(), 1_000))
}

fn joules(energy: Millijoules) -> f64 {
    decimal(energy.0.into(), 1_000)
}

/// `value / unit` for display; the claims themselves hold no floating point.
#[expect(
    clippy::as_conversions,
    reason = "a figure for display, rounded to the nearest that 53 bits hold"
)]
fn decimal(value: u128, unit: u32) -> f64 {
    value as f64 / f64::from(unit)
}

fn number(value: f64) -> Value {
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}
