//! `record`: a recording of what the devices of this node show, for its owner.
//!
//! Decides: when to read, and when to stop. Everything stays on this node; nothing is signed and nothing is sent. It reads
//! the driver in its own process: a call that hangs hangs the recorder, which its owner then ends. Does not establish
//! anything for anyone else.

use crate::cli::{Outcome, runtime, say};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::devices::DeviceSource;
use crate::devices::nvml::{NvmlOptions, NvmlSource};
use crate::recording::{Label, LabelError, Recording};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior};
use weighbridge::telemetry::TickKind;

/// What `record` is told.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The file to write, whose name ends with `.csv` or `.csv.gz`; it is never overwritten
    #[arg(value_name = "FILE", value_parser = parse_file)]
    file: PathBuf,
    /// For how long, in seconds [default: until Ctrl-C]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: Option<u32>,
    /// How often each device is read, per second
    #[arg(long, value_name = "HZ", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=20))]
    rate: u32,
    /// What is recorded, as `key=value,…`, for the header; say nothing here that names a person or a customer
    #[arg(long, value_name = "LABEL", default_value = "", value_parser = parse_label, hide_default_value = true)]
    label: Label,
}

fn parse_label(text: &str) -> Result<Label, LabelError> {
    if text.is_empty() {
        return Ok(Label::default());
    }
    Label::parse(text)
}

fn parse_file(text: &str) -> Result<PathBuf, NoName> {
    if text.ends_with(".csv") || text.ends_with(".csv.gz") {
        return Ok(text.into());
    }
    Err(NoName)
}

/// The name of the file does not say what it holds.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a recording is a file whose name ends with .csv or .csv.gz")]
struct NoName;

/// Why nothing is recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// No device.
    #[error("no accelerator answers through the driver: {why}; `weighbridge-agent doctor` says more")]
    NoDevice {
        /// What the survey says.
        why: String,
    },
    /// The file.
    #[error("the recording `{}` cannot be written", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The driver.
    #[error("the driver stopped answering; what was recorded until then is in `{}`", path.display())]
    DriverGone {
        /// Where.
        path: PathBuf,
    },
    /// The system.
    #[error("the agent could not set up what it runs on")]
    System(#[from] std::io::Error),
}

/// Records until told to stop.
///
/// # Errors
/// [`RecordError`].
pub fn record(config: &Config, arguments: &Arguments) -> Result<Outcome, RecordError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let options = NvmlOptions {
        library: config.nvml_path.clone(),
        sysfs: config.sysfs_root.clone(),
        // An engine's values come once a second, and would be of another time than the rest of a row.
        host_engine: None,
    };
    let mut source = NvmlSource::new(options, clock.clone());
    let survey = source.survey(&mut |_| {});
    if let Some(trouble) = &survey.trouble {
        tracing::warn!("{trouble}");
    }
    if survey.inventory.devices.is_empty() || !source.usable() {
        let why = survey.trouble.unwrap_or_else(|| "it lists none".to_owned());
        return Err(RecordError::NoDevice { why });
    }
    let file = |source| RecordError::File {
        path: arguments.file.clone(),
        source,
    };
    let began = (clock.boot_now(), clock.wall_now());
    let mut recording = Recording::begin(
        &arguments.file,
        &survey.inventory,
        &arguments.label,
        arguments.rate,
        began,
    )
    .map_err(file)?;
    let mut further = source.further();
    let done = runtime()?.block_on(async {
        let mut stop = Stop::new(arguments.seconds)?;
        let period = Duration::from_secs(1)
            .checked_div(arguments.rate)
            .unwrap_or(Duration::from_secs(1));
        // A read that is due while an earlier one still runs is left out: the times of the rows show the gap.
        let mut due = tokio::time::interval(period);
        due.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while stop.before(&mut due).await {
            let tick = source.sample(TickKind::Regular, &mut |_| {});
            let more = source.read_further(&mut further);
            recording.add(&tick.devices, &more).map_err(file)?;
            for notice in source.notices() {
                tracing::warn!("{}: {}", notice.kind, notice.text);
            }
            if !source.usable() {
                return Err(RecordError::DriverGone {
                    path: arguments.file.clone(),
                });
            }
        }
        Ok(())
    });
    source.return_further(further);
    source.release();
    let rows = recording.end().map_err(file)?;
    done?;
    let devices = survey.inventory.devices.len();
    say(&format!(
        "{}: {rows} rows of {devices} device{}",
        arguments.file.display(),
        if devices == 1 { "" } else { "s" }
    ));
    Ok(Outcome::Holds)
}

/// What ends a recording.
struct Stop {
    at: Option<Instant>,
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn new(seconds: Option<u32>) -> std::io::Result<Self> {
        let length = seconds.map(|s| Duration::from_secs(s.into()));
        Ok(Self {
            at: length.and_then(|l| Instant::now().checked_add(l)),
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next read; false where the recording ends before it.
    async fn before(&mut self, due: &mut tokio::time::Interval) -> bool {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => false,
            _ = self.terminate.recv() => false,
            at = due.tick() => self.at.is_none_or(|end| at < end),
        }
    }
}
