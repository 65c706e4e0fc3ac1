//! What is loaded now, and the gate that every exported function passes.
//!
//! The gate decides in this order: is the library initialised, does the script of faults refuse or hold the call, is
//! the handle one of ours. Handles are numbers in disguise and are never followed. The play stays loaded when the last
//! user shuts the library down, so that counters go on when it is initialised again.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use nvml_wrapper_sys::bindings::{self as nvml, nvmlDevice_t, nvmlReturn_t};

use crate::clock::{self, Beginning};
use crate::evidence::Attester;
use crate::fault::{self, Verdict};
use crate::identity::Identity;
use crate::play::Play;
use crate::pointer::{Answer, Out};
use crate::profile::{MIG_FIRST_INSTANCE, Profile};
use crate::scenario::Scenario;
use crate::trace::{Level, Totals};

/// Names the scenario file.
const SCENARIO_VARIABLE: &str = "WEIGHBRIDGE_REPLAY_SCENARIO";

/// How long a held call sleeps before it looks again whether it is still held.
const HOLD: Duration = Duration::from_millis(50);

/// Where handles begin; any number that is not an address of the process would do.
const FIRST_HANDLE: usize = 0x5742_0000;
/// Handles of one GPU: itself, then its MIG instances.
const HANDLES_PER_GPU: usize = 0x10;

/// A play that has begun.
#[derive(Debug)]
struct Running {
    path: PathBuf,
    play: Play,
    beginning: Beginning,
}

#[derive(Debug, Default)]
struct Session {
    users: u32,
    chosen: Option<PathBuf>,
    running: Option<Arc<Running>>,
}

static SESSION: RwLock<Session> = RwLock::new(Session {
    users: 0,
    chosen: None,
    running: None,
});

/// Names the scenario for this copy of the library, instead of the environment.
pub(crate) fn choose(path: &Path) {
    SESSION.write().unwrap_or_else(PoisonError::into_inner).chosen = Some(path.to_owned());
}

/// `nvmlInit`: loads the scenario if it is not the one that is loaded.
pub(crate) fn init(symbol: &'static str) -> Answer {
    let mut session = SESSION.write().unwrap_or_else(PoisonError::into_inner);
    if session.users == 0 {
        let path = session
            .chosen
            .clone()
            .or_else(|| std::env::var_os(SCENARIO_VARIABLE).map(PathBuf::from));
        let Some(path) = path else {
            eprintln!("weighbridge replay: {SCENARIO_VARIABLE} names no scenario file");
            return Err(nvml::nvmlReturn_enum_NVML_ERROR_UNKNOWN);
        };
        if session
            .running
            .as_ref()
            .is_none_or(|running| running.path != path)
        {
            session.running = Some(Arc::new(Running::begin(path).map_err(|error| {
                complain(error.as_ref());
                nvml::nvmlReturn_enum_NVML_ERROR_UNKNOWN
            })?));
        }
    }
    let running = session
        .running
        .clone()
        .ok_or(nvml::nvmlReturn_enum_NVML_ERROR_UNKNOWN)?;
    let now = Moment::of(&running);
    match fault::system_verdict(&running.play.scenario.faults, symbol, now.seconds) {
        Verdict::Refuse(code) => return Err(code),
        Verdict::Hang => {
            // The lock is given back first: other threads of a caller must not hang with this one.
            drop(session);
            hold(&running, |seconds| {
                fault::system_verdict(&running.play.scenario.faults, symbol, seconds)
            });
            return init(symbol);
        }
        Verdict::Crash => std::process::abort(),
        Verdict::Answer => {}
    }
    session.users = session.users.saturating_add(1);
    Ok(())
}

/// `nvmlShutdown`.
pub(crate) fn shutdown() -> Answer {
    let answer = system_call("nvmlShutdown", |_| Ok(()));
    let mut session = SESSION.write().unwrap_or_else(PoisonError::into_inner);
    // Also when the script refuses the call: its caller is gone for good.
    session.users = session.users.saturating_sub(1);
    answer
}

impl Running {
    fn begin(path: PathBuf) -> Result<Self, Box<dyn std::error::Error>> {
        let scenario = Scenario::load(&path)?;
        let play = Play::open(scenario)?;
        let beginning = Beginning::at(play.scenario.start_file.as_deref());
        Ok(Self {
            path,
            play,
            beginning,
        })
    }
}

/// A moment of a play.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// Nanoseconds since the play began.
    pub(crate) ns: u64,
    /// The same in seconds.
    pub(crate) seconds: f64,
}

impl Moment {
    fn of(running: &Running) -> Self {
        let ns = running.beginning.elapsed_ns();
        Self {
            ns,
            seconds: Duration::from_nanos(ns).as_secs_f64(),
        }
    }
}

/// A call that is not about a device, past the gate.
#[derive(Debug)]
pub(crate) struct System {
    running: Arc<Running>,
    symbol: &'static str,
    pub(crate) now: Moment,
}

impl System {
    pub(crate) fn play(&self) -> &Play {
        &self.running.play
    }

    /// Whether the script asks for an answer that is too large.
    pub(crate) fn oversized(&self) -> bool {
        fault::oversized(&self.play().scenario.faults, self.symbol, None, self.now.seconds)
    }

    /// Writes a string as the script would have it.
    pub(crate) fn text(&self, out: Out<std::ffi::c_char>, length: u32, text: &str) -> Answer {
        if self.oversized() {
            out.endless(length)
        } else {
            out.text(length, text)
        }
    }

    /// The handle of the GPU of index `gpu`; a lost GPU gives none.
    pub(crate) fn handle(&self, gpu: u32) -> Answer<nvmlDevice_t> {
        if gpu >= self.play().scenario.gpus {
            return Err(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
        }
        match fault::handle_verdict(&self.play().scenario.faults, self.symbol, gpu, self.now.seconds) {
            Verdict::Refuse(code) => Err(code),
            _ => Ok(handle_of(gpu, None)),
        }
    }
}

/// A call on a device, past the gate.
#[derive(Debug)]
pub(crate) struct Gpu {
    running: Arc<Running>,
    symbol: &'static str,
    /// The index of the GPU.
    pub(crate) index: u32,
    /// Which of its MIG instances is meant, if the handle is of one.
    pub(crate) instance: Option<u32>,
    /// When the call is answered.
    pub(crate) now: Moment,
}

impl Gpu {
    pub(crate) fn play(&self) -> &Play {
        &self.running.play
    }

    pub(crate) fn profile(&self) -> &'static Profile {
        self.play().profile
    }

    pub(crate) fn identity(&self) -> Answer<&Identity> {
        let place = usize::try_from(self.index).unwrap_or_default();
        self.play()
            .identities
            .get(place)
            .ok_or(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)
    }

    /// What signs for the GPU, if confidential computing is on.
    pub(crate) fn attester(&self) -> Answer<&Attester> {
        let place = usize::try_from(self.index).unwrap_or_default();
        let evidence = self.play().evidence.as_ref();
        evidence
            .and_then(|evidence| evidence.attesters.get(place))
            .ok_or_else(|| {
                // Drivers of 580 say this, not that it is not supported, of a device that could sign.
                if self.profile().confidential {
                    nvml::nvmlReturn_enum_NVML_ERROR_UNKNOWN
                } else {
                    nvml::nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED
                }
            })
    }

    /// What the GPU shows now.
    pub(crate) fn level(&self) -> Level {
        self.play().at(self.index, self.now.seconds).0
    }

    /// Its cumulative counters now.
    pub(crate) fn counters(&self) -> Totals {
        self.play().counters(self.index, self.now.seconds)
    }

    /// Power in mW as `nvmlDeviceGetPowerUsage` gives it.
    pub(crate) fn power_mw(&self) -> u32 {
        if self.profile().average_power {
            self.play().average_power_mw(self.index, self.now.seconds)
        } else {
            crate::play::milliwatts(self.level())
        }
    }

    /// Microseconds of wall time of a moment of the play.
    pub(crate) fn wall_us(&self, ns: u64) -> u64 {
        self.running.beginning.wall_us(ns)
    }

    pub(crate) fn oversized(&self) -> bool {
        fault::oversized(
            &self.play().scenario.faults,
            self.symbol,
            Some(self.index),
            self.now.seconds,
        )
    }

    /// Whether the script asks for a report that was made before.
    pub(crate) fn stale(&self) -> bool {
        fault::stale(
            &self.play().scenario.faults,
            self.symbol,
            self.index,
            self.now.seconds,
        )
    }

    pub(crate) fn text(&self, out: Out<std::ffi::c_char>, length: u32, text: &str) -> Answer {
        if self.oversized() {
            out.endless(length)
        } else {
            out.text(length, text)
        }
    }

    /// Goes on only if `supported`.
    pub(crate) fn require(&self, supported: bool) -> Answer {
        if supported {
            Ok(())
        } else {
            Err(nvml::nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED)
        }
    }
}

/// The gate for calls that are not about a device.
pub(crate) fn system_call<T>(symbol: &'static str, answer: impl FnOnce(&System) -> Answer<T>) -> Answer<T> {
    let running = running()?;
    let faults = &running.play.scenario.faults;
    let now = pass(&running, |seconds| fault::system_verdict(faults, symbol, seconds))?;
    answer(&System { running, symbol, now })
}

/// The gate for calls on a GPU or on one of its MIG instances.
pub(crate) fn any_device_call<T>(
    symbol: &'static str,
    device: nvmlDevice_t,
    answer: impl FnOnce(&Gpu) -> Answer<T>,
) -> Answer<T> {
    let running = running()?;
    let (index, instance) = device_of(&running.play, device)?;
    let faults = &running.play.scenario.faults;
    let now = pass(&running, |seconds| {
        fault::device_verdict(faults, symbol, index, seconds)
    })?;
    answer(&Gpu {
        running,
        symbol,
        index,
        instance,
        now,
    })
}

/// The gate for calls on a GPU; a MIG instance does not support them.
pub(crate) fn device_call<T>(
    symbol: &'static str,
    device: nvmlDevice_t,
    answer: impl FnOnce(&Gpu) -> Answer<T>,
) -> Answer<T> {
    any_device_call(symbol, device, |gpu| {
        gpu.require(gpu.instance.is_none())?;
        answer(gpu)
    })
}

/// The number that NVML gives for an answer.
pub(crate) fn code(answer: Answer) -> nvmlReturn_t {
    answer.err().unwrap_or(nvml::nvmlReturn_enum_NVML_SUCCESS)
}

/// The handle of a GPU or of one of its MIG instances.
pub(crate) fn handle_of(gpu: u32, instance: Option<u32>) -> nvmlDevice_t {
    let gpu = usize::try_from(gpu).unwrap_or_default();
    let instance = instance.map_or(0, |place| {
        usize::try_from(place).unwrap_or_default().saturating_add(1)
    });
    let number = FIRST_HANDLE
        .saturating_add(gpu.saturating_mul(HANDLES_PER_GPU))
        .saturating_add(instance);
    std::ptr::without_provenance_mut(number)
}

/// The GPU instance id of a MIG instance.
pub(crate) fn instance_id(instance: u32) -> u32 {
    MIG_FIRST_INSTANCE.saturating_add(instance)
}

fn device_of(play: &Play, device: nvmlDevice_t) -> Answer<(u32, Option<u32>)> {
    let invalid = nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT;
    let number = device.addr().checked_sub(FIRST_HANDLE).ok_or(invalid)?;
    let gpu = u32::try_from(number.checked_div(HANDLES_PER_GPU).ok_or(invalid)?).map_err(|_| invalid)?;
    let part = u32::try_from(number.checked_rem(HANDLES_PER_GPU).ok_or(invalid)?).map_err(|_| invalid)?;
    if gpu >= play.scenario.gpus || part > play.mig_instances() {
        return Err(invalid);
    }
    Ok((gpu, part.checked_sub(1)))
}

fn running() -> Answer<Arc<Running>> {
    let session = SESSION.read().unwrap_or_else(PoisonError::into_inner);
    match &session.running {
        Some(running) if session.users > 0 => Ok(Arc::clone(running)),
        _ => Err(nvml::nvmlReturn_enum_NVML_ERROR_UNINITIALIZED),
    }
}

/// Lets a call pass when the script of faults lets it.
fn pass(running: &Running, verdict: impl Fn(f64) -> Verdict) -> Answer<Moment> {
    let now = Moment::of(running);
    match verdict(now.seconds) {
        Verdict::Answer => Ok(now),
        Verdict::Refuse(code) => Err(code),
        Verdict::Hang => {
            hold(running, verdict);
            Ok(Moment::of(running))
        }
        Verdict::Crash => std::process::abort(),
    }
}

/// Does not come back while the verdict is to hang.
fn hold(running: &Running, verdict: impl Fn(f64) -> Verdict) {
    while verdict(Moment::of(running).seconds) == Verdict::Hang {
        clock::pause(HOLD);
    }
}

fn complain(error: &dyn std::error::Error) {
    eprintln!("weighbridge replay: {error}");
    let mut cause = error.source();
    while let Some(source) = cause {
        eprintln!("  because: {source}");
        cause = source.source();
    }
}
