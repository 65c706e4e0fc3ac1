//! Activity by pipe from a DCGM host engine that runs already, for devices before Hopper, which tell NVML nothing of their pipes.
//!
//! Decides: which engine is asked, when it is asked again after it went away, and which of its values count. It is asked only
//! where the operator names it, and only for what others have it watch: no watch is added and no profiling is
//! started, so that whoever uses the performance monitor keeps it. An engine that is away, watches nothing or is of another version is a state
//! with a sentence; it costs activity, and no other reading.
//!
//! This is the one thing that the sampler's process asks of a socket, which is why none but a unix socket or a loopback
//! address is taken. Trusts the engine as it trusts the driver: within bounds. Does not establish that the engine's values are the
//! devices' own; they are marked as the engine's.

mod endpoint;
mod fault;
mod library;
mod stream;

pub use endpoint::{Endpoint, NotHere};

use super::library::{DCGM, Library};
use crate::sentence::Sentence;
use fault::EngineFault;
use library::{Client, Connection};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use stream::{Stream, Value, newest};
use weighbridge::id::DeviceUuid;
use weighbridge::telemetry::{Activity, LibraryOrigin, LossReason, Notice, NoticeKind, Reading};
use weighbridge::time::{BootNanos, SECOND};

/// What is said of an engine that did not return from a call.
pub const HOST_ENGINE_HUNG: &str = "a call to DCGM's host engine did not return: another sampler is started, and the engine is left alone for a while";

/// The fields, in the order of the shares of [`Activity`]: SMs, any tensor pipe, DFMA, HMMA, IMMA, memory, FP64, FP32, FP16,
/// integer.
const FIELDS: [u16; 10] = [1002, 1004, 1015, 1014, 1013, 1005, 1006, 1007, 1008, 1016];

/// What lies between the two readings by which an engine's pace is seen. With the tick that it delays it stays below what is taken
/// for a gap.
const PACE_WAIT: Duration = Duration::from_millis(400);

/// Time until an engine that was away is asked again, from the first time to the last.
const FIRST_WAIT: u64 = SECOND;
const LAST_WAIT: u64 = 60 * SECOND;

/// Which engine to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostEngineOptions {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// DCGM's client library; `None` takes the one that the system would load.
    pub library: Option<PathBuf>,
}

/// What the engine was last found to do.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// It was not asked yet.
    Unknown,
    /// It tells of the pipes of a device, with a new value each so many milliseconds where that is too often to be read.
    Tells(Option<u64>),
    /// It answers, and watches no field that is wanted.
    Silent,
    /// It does not answer; why.
    Away(String),
}

/// A host engine, asked for the latest of what others watch.
#[derive(Debug)]
pub struct HostEngine {
    options: HostEngineOptions,
    /// Whose the driver's library is: no library of lesser standing is loaded beside it.
    beside: LibraryOrigin,
    client: Option<Client>,
    connected: Option<Connected>,
    /// The devices that are asked for.
    wanted: Vec<DeviceUuid>,
    streams: BTreeMap<DeviceUuid, Stream>,
    retry_at: BootNanos,
    wait: u64,
    standing: Standing,
    /// The pace of an engine that updates oftener than it is read, in milliseconds.
    pace_ms: Option<u64>,
    notices: Vec<Notice>,
}

/// A connection, and the engine's numbers of the devices that are asked for.
#[derive(Debug)]
struct Connected {
    connection: Connection,
    gpus: Vec<(u32, DeviceUuid)>,
}

impl HostEngine {
    /// An engine that was not asked yet. Nothing is loaded before a device wants it.
    #[must_use]
    pub fn new(options: HostEngineOptions) -> Self {
        Self {
            options,
            beside: LibraryOrigin::System,
            client: None,
            connected: None,
            wanted: Vec::new(),
            streams: BTreeMap::new(),
            retry_at: BootNanos(0),
            wait: FIRST_WAIT,
            standing: Standing::Unknown,
            pace_ms: None,
            notices: Vec::new(),
        }
    }

    /// From now on asks for these devices, where it asks at all.
    pub fn want(&mut self, wanted: Vec<DeviceUuid>) {
        self.streams.retain(|uuid, _| wanted.contains(uuid));
        self.wanted = wanted;
    }

    /// Finds out what the engine knows of the devices that are wanted, beside a driver's library of this origin.
    pub fn survey(&mut self, beside: LibraryOrigin, now: BootNanos) {
        self.beside = beside;
        if let Some(connected) = self.connected.take()
            && let Some(client) = &self.client
        {
            match know(client, connected.connection, &self.wanted) {
                Ok(connected) => {
                    self.connected = Some(connected);
                    self.look_at_pace();
                }
                Err(fault) => {
                    client.disconnect(connected.connection);
                    self.away(&fault, now);
                }
            }
        }
        // A value that is read here would be missing in the tick that is due.
        if self.connected.is_none() || self.standing == Standing::Unknown {
            self.read(now);
        }
    }

    /// Activity of each device that is wanted, since it was last read.
    pub fn read(&mut self, now: BootNanos) -> BTreeMap<DeviceUuid, Reading<Activity>> {
        if self.wanted.is_empty() {
            return BTreeMap::new();
        }
        if self.connected.is_none() && now >= self.retry_at {
            match self.connect() {
                Ok(connected) => {
                    self.connected = Some(connected);
                    self.look_at_pace();
                }
                Err(fault) => self.away(&fault, now),
            }
        }
        let mut told = match self.ask(now) {
            Some(Ok(told)) => told,
            Some(Err(fault)) => {
                self.disconnect();
                self.away(&fault, now);
                BTreeMap::new()
            }
            None => BTreeMap::new(),
        };
        let missing = match self.connected {
            // The engine does not know the device.
            Some(_) => Reading::Unsupported,
            None => Reading::Lost(LossReason::Failed),
        };
        for uuid in &self.wanted {
            told.entry(*uuid).or_insert_with(|| missing.clone());
        }
        told
    }

    /// What its devices are told while it must not be called, because a call to it hung.
    #[must_use]
    pub fn hung(&self) -> BTreeMap<DeviceUuid, Reading<Activity>> {
        let lost = |uuid: &DeviceUuid| (*uuid, Reading::Lost(LossReason::Hung));
        self.wanted.iter().map(lost).collect()
    }

    /// Takes the notices that have gathered.
    pub fn notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Ends the connection and stops the library.
    pub fn release(&mut self) {
        self.disconnect();
        if let Some(client) = self.client.take() {
            client.stop();
        }
        self.streams.clear();
        self.standing = Standing::Unknown;
        self.retry_at = BootNanos(0);
        self.wait = FIRST_WAIT;
    }

    fn connect(&mut self) -> Result<Connected, EngineFault> {
        let client = match self.client.take() {
            Some(client) => client,
            None => {
                let library = Library::open_as(&DCGM, self.options.library.as_deref())?;
                if library.origin().code() > self.beside.code() {
                    return Err(EngineFault::Beside {
                        path: library.path().to_owned(),
                        origin: library.origin(),
                    });
                }
                Client::start(&library.load_path(), library.path())?
            }
        };
        let client = self.client.insert(client);
        let connection = client.connect(&self.options.endpoint)?;
        know(client, connection, &self.wanted).inspect_err(|_| client.disconnect(connection))
    }

    /// The latest values of each device, by the engine's number; `None` where there is no connection.
    fn latest(&mut self) -> Option<Result<BTreeMap<u32, [Value; 10]>, EngineFault>> {
        let (Some(client), Some(connected)) = (&mut self.client, &self.connected) else {
            return None;
        };
        let ids: Vec<u32> = connected.gpus.iter().map(|(id, _)| *id).collect();
        let mut latest: BTreeMap<u32, [Value; 10]> = ids.iter().map(|id| (*id, [Value::NONE; 10])).collect();
        if ids.is_empty() {
            return Some(Ok(latest));
        }
        let values = match client.latest(connected.connection, &ids, &FIELDS) {
            Ok(values) => values,
            Err(fault) => return Some(Err(fault)),
        };
        for (id, field, value) in values {
            let place = FIELDS.iter().position(|f| *f == field);
            if let (Some(place), Some(of_gpu)) = (place, latest.get_mut(&id))
                && let Some(slot) = of_gpu.get_mut(place)
            {
                *slot = value;
            }
        }
        Some(Ok(latest))
    }

    /// Reads the latest values twice within less than a second, to see whether the engine updates oftener than it is read.
    fn look_at_pace(&mut self) {
        self.pace_ms = None;
        // What is wrong with an answer, the reading that follows finds out.
        let Some(Ok(first)) = self.latest() else { return };
        std::thread::sleep(PACE_WAIT);
        let Some(Ok(second)) = self.latest() else { return };
        for (id, uuid) in self.connected.iter().flat_map(|c| &c.gpus) {
            let stamps = [&first, &second].map(|values| values.get(id).and_then(newest));
            let stream = self.streams.entry(*uuid).or_default();
            if let [Some(before), Some(after)] = stamps
                && let Some(pace_ns) = stream.pace(before, after)
            {
                self.pace_ms = Some(pace_ns.div_ceil(1_000_000));
            }
        }
    }

    /// Reads the latest values; `None` where there is no connection.
    fn ask(
        &mut self,
        now: BootNanos,
    ) -> Option<Result<BTreeMap<DeviceUuid, Reading<Activity>>, EngineFault>> {
        let latest = match self.latest()? {
            Ok(latest) => latest,
            Err(fault) => return Some(Err(fault)),
        };
        let mut told = BTreeMap::new();
        let mut offered = false;
        for (id, uuid) in self.connected.iter().flat_map(|c| &c.gpus) {
            let Some(values) = latest.get(id) else { continue };
            let stream = self.streams.entry(*uuid).or_default();
            let activity = stream.push(values, now);
            offered |= activity != Reading::Unsupported;
            told.insert(*uuid, activity);
        }
        self.wait = FIRST_WAIT;
        let standing = if offered {
            Standing::Tells(self.pace_ms)
        } else {
            Standing::Silent
        };
        self.stand(standing, now);
        Some(Ok(told))
    }

    fn disconnect(&mut self) {
        if let (Some(connected), Some(client)) = (self.connected.take(), &self.client) {
            client.disconnect(connected.connection);
        }
    }

    /// Notes that the engine does not answer, and when it is asked again.
    fn away(&mut self, fault: &EngineFault, now: BootNanos) {
        self.streams.clear();
        self.retry_at = now.plus(self.wait);
        self.wait = self.wait.saturating_mul(2).min(LAST_WAIT);
        self.stand(Standing::Away(Sentence(fault).to_string()), now);
    }

    /// Tells how the engine stands, where that is news.
    fn stand(&mut self, standing: Standing, now: BootNanos) {
        if self.standing == standing {
            return;
        }
        let endpoint = &self.options.endpoint;
        let (kind, text) = match &standing {
            Standing::Tells(None) => (
                NoticeKind::HostEngine,
                format!("per-pipe activity from DCGM (host engine at {endpoint})"),
            ),
            Standing::Tells(Some(pace_ms)) => (
                NoticeKind::HostEngine,
                format!(
                    "per-pipe activity from DCGM (host engine at {endpoint}), which updates every {pace_ms} ms: one value a second is read and counts for \
                     that time alone, so let it update once a second"
                ),
            ),
            Standing::Silent => (
                NoticeKind::HostEngineAway,
                format!(
                    "the DCGM host engine at {endpoint} watches no pipes of these GPUs, and the agent adds no watch of its own: let whoever uses it \
                     collect fields 1002 to 1008 and 1013 to 1016 once a second"
                ),
            ),
            Standing::Away(why) => (
                NoticeKind::HostEngineAway,
                format!("no activity from the DCGM host engine at {endpoint}: {why}"),
            ),
            Standing::Unknown => return,
        };
        self.standing = standing;
        self.notices.push(Notice {
            at: now,
            kind,
            device: None,
            text,
        });
    }
}

impl Drop for HostEngine {
    fn drop(&mut self) {
        self.release();
    }
}

/// Finds the devices that are wanted among the engine's, by their UUID.
fn know(client: &Client, connection: Connection, wanted: &[DeviceUuid]) -> Result<Connected, EngineFault> {
    let mut gpus = Vec::new();
    for id in client.devices(connection)? {
        // A blank instead of a UUID is of a device that the engine itself cannot name.
        let uuid = DeviceUuid::parse_nvml(&client.uuid(connection, id)?);
        if let Ok(uuid) = uuid
            && wanted.contains(&uuid)
            && gpus.iter().all(|(_, known)| *known != uuid)
        {
            gpus.push((id, uuid));
        }
    }
    Ok(Connected { connection, gpus })
}

#[cfg(test)]
mod tests;
