//! NVIDIA devices through the driver's own library.
//!
//! Decides: which devices are listed and in which state, and what a tick holds for each. A device that was once seen
//! stays in the inventory when it is lost or hangs; a driver that cannot be used is a state with a reason, and so is a
//! bus with NVIDIA devices of which the driver lists none. Trusts the driver within bounds. Does not establish that
//! its counters are true.

mod access;
mod evidence;
mod fault;
mod fields;
mod further;
mod identity;
mod jobs;
mod pipes;
mod rings;
mod session;

pub use evidence::{EvidenceSource, NoSource};
pub use fault::Fault;
pub use further::{Further, FurtherReading};
pub use session::OpenError;

use super::dcgm::{HostEngine, HostEngineOptions};
use super::library::{Library, LibraryError};
use super::pci::{self, BusFunction, NVIDIA, PciAddress};
use super::{Call, DeviceSource, HOST_ENGINE, MAX_DEVICES, Survey};
use crate::clock::Clock;
use crate::sentence::Sentence;
use access::{Access, blank, unread};
use identity::Identified;
use pipes::{Extent, Request};
use session::{Handle, Session};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use weighbridge::id::DeviceUuid;
use weighbridge::telemetry::{
    AcceleratorIdentity, Activity, BusDriver, BusSource, ConfidentialCompute, DeviceState, HostDriver,
    Inventory, LossReason, MigDevice, Notice, NoticeKind, Reading, Tick, TickKind,
};
use weighbridge::time::BootNanos;

/// Where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NvmlOptions {
    /// The NVML library; `None` takes the one that the system would load.
    pub library: Option<PathBuf>,
    /// The root of sysfs, `/sys` on a host.
    pub sysfs: PathBuf,
    /// A host engine to ask for the pipes of devices that do not tell of them; `None` asks none.
    pub host_engine: Option<HostEngineOptions>,
}

/// NVIDIA devices, and the bus they stand on.
#[derive(Debug)]
pub struct NvmlSource {
    options: NvmlOptions,
    clock: Arc<dyn Clock>,
    driver: Option<Driver>,
    devices: Vec<Tracked>,
    avoided: BTreeSet<u16>,
    bus: pci::Bus,
    bus_source: BusSource,
    notices: Vec<Notice>,
    request: Request,
    engine: Option<HostEngine>,
    engine_avoided: bool,
}

/// An open driver.
#[derive(Debug)]
struct Driver {
    session: Session,
    library: Library,
    /// Whether a call said that the driver is gone: what is open must be closed and opened anew.
    gone: bool,
}

/// A device of the inventory.
#[derive(Debug)]
struct Tracked {
    identity: AcceleratorIdentity,
    address: Option<PciAddress>,
    state: DeviceState,
    /// What MIG made of it.
    mig_devices: Vec<MigDevice>,
    /// How it is asked; `None` while it cannot be.
    access: Option<Access>,
}

/// Why no driver is in use.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Library(#[from] LibraryError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the driver does not say how many GPUs it has: {0}")]
    NoCount(Fault),
    #[error("the driver claims {0} GPUs; no host has more than {MAX_DEVICES}, so it is not used")]
    TooMany(u32),
    #[error(
        "the driver lists no GPU, but {0} NVIDIA devices stand on the bus: look for device files that this user cannot open"
    )]
    NoneListed(usize),
    #[error("the driver does not identify GPU {index}: {fault}")]
    Unidentified { index: u16, fault: Fault },
}

impl NvmlSource {
    /// A source that has not opened anything yet.
    #[must_use]
    pub fn new(options: NvmlOptions, clock: Arc<dyn Clock>) -> Self {
        Self {
            engine: options.host_engine.clone().map(HostEngine::new),
            engine_avoided: false,
            options,
            clock,
            driver: None,
            devices: Vec::new(),
            avoided: BTreeSet::new(),
            bus: pci::Bus::default(),
            bus_source: BusSource::Unreadable,
            notices: Vec::new(),
            request: Request::new(),
        }
    }

    /// Opens the driver, unless it is open and answers. Returns how many GPUs it lists.
    fn open(&mut self) -> Result<u32, Trouble> {
        if self.driver.as_ref().is_some_and(|d| d.gone) {
            self.release();
        }
        if self.driver.is_none() {
            let library = Library::open(self.options.library.as_deref())?;
            let session = Session::open(&library.load_path(), library.path())?;
            self.driver = Some(Driver {
                session,
                library,
                gone: false,
            });
        }
        let counted = match &self.driver {
            Some(driver) => driver.session.nvml().device_count().map_err(Fault::from),
            None => Err(Fault::DriverGone),
        };
        let on_bus = self.bus.accelerators.iter().filter(|f| is_ours(f)).count();
        let trouble = match counted {
            Ok(count) if count > MAX_DEVICES => Trouble::TooMany(count),
            Ok(0) if on_bus > 0 => Trouble::NoneListed(on_bus),
            Ok(count) => return Ok(count),
            Err(fault) => Trouble::NoCount(fault),
        };
        self.release();
        Err(trouble)
    }

    /// Identifies the listed devices, and keeps what is held of those that stayed as they were.
    fn identify(&mut self, count: u32, calling: &mut dyn FnMut(Call)) -> Option<Trouble> {
        let mut before = std::mem::take(&mut self.devices);
        let mut trouble = None;
        for index in (0..count).filter_map(|i| u16::try_from(i).ok()) {
            if self.avoided.contains(&index) {
                continue;
            }
            let Some(driver) = &mut self.driver else { break };
            calling(Call::Identify(index));
            let found = driver
                .session
                .handle(u32::from(index))
                .and_then(|h| Ok((h, identity::identify(&driver.session, h, index)?)));
            match found {
                Ok((handle, identified)) => {
                    let old = before
                        .iter()
                        .position(|d| d.identity.uuid == identified.identity.uuid)
                        .map(|place| before.swap_remove(place));
                    let access = old.and_then(|d| d.access);
                    let now = self.clock.as_ref();
                    self.devices
                        .push(driver.track(handle, identified, access, || now.boot_now()));
                }
                Err(fault) => {
                    driver.gone |= fault == Fault::DriverGone;
                    // A lost device that is known from before is kept below, and is no news.
                    if fault != Fault::DeviceLost || before.iter().all(|d| d.identity.index != index) {
                        trouble = Some(Trouble::Unidentified { index, fault });
                    }
                }
            }
        }
        let newly_lost: Vec<_> = before
            .into_iter()
            .filter_map(|device| self.keep(device, calling))
            .collect();
        self.devices.sort_by_key(|d| d.identity.index);
        for uuid in newly_lost {
            if let Some(place) = self.devices.iter().position(|d| d.identity.uuid == uuid) {
                self.tell_lost(place);
            }
        }
        trouble
    }

    /// Keeps a device that the driver did not identify this time, in the state that explains it; one that was handed
    /// to another driver is the bus's to tell. Returns its UUID if it was not known to be lost before.
    fn keep(&mut self, mut device: Tracked, calling: &mut dyn FnMut(Call)) -> Option<DeviceUuid> {
        let state = if self.avoided.contains(&device.identity.index) {
            DeviceState::Hung
        } else if self.driver.as_ref().is_none_or(|d| d.gone) {
            DeviceState::DriverUnavailable
        } else {
            DeviceState::Lost
        };
        let alike = |f: &&BusFunction| f.id == device.identity.pci;
        let held = |f: &BusFunction| f.driver == BusDriver::Vendor;
        let given_away = self.bus.accelerators.iter().filter(alike).any(|f| !held(f))
            && self
                .bus
                .accelerators
                .iter()
                .filter(alike)
                .filter(|f| held(f))
                .all(|f| self.devices.iter().any(|d| d.address == Some(f.address)));
        if let Some(access) = device.access.take()
            && let Some(driver) = &self.driver
        {
            calling(Call::Identify(device.identity.index));
            access.close(&driver.session);
        }
        if state == DeviceState::Lost && given_away {
            return None;
        }
        let newly_lost = state == DeviceState::Lost && device.state != DeviceState::Lost;
        let uuid = device.identity.uuid;
        device.state = state;
        self.devices.push(device);
        newly_lost.then_some(uuid)
    }

    /// Has the host engine find the devices that need it: those that have no GPM, and
    /// that MIG does not divide.
    fn survey_engine(&mut self, calling: &mut dyn FnMut(Call)) {
        let (Some(engine), Some(driver)) = (&mut self.engine, &self.driver) else {
            return;
        };
        let whole = |d: &Tracked| d.access.as_ref().is_some_and(|a| a.extent == Extent::Whole);
        let needs = |d: &&Tracked| !d.identity.pipe_activity && whole(d);
        let wanted = self
            .devices
            .iter()
            .filter(needs)
            .map(|d| d.identity.uuid)
            .collect();
        engine.want(wanted);
        if self.engine_avoided {
            return;
        }
        calling(Call::HostEngine);
        engine.survey(driver.library.origin(), self.clock.boot_now());
        self.notices.extend(engine.notices());
    }

    /// What the host engine tells of the pipes of the devices that need it.
    fn ask_engine(&mut self, calling: &mut dyn FnMut(Call)) -> BTreeMap<DeviceUuid, Reading<Activity>> {
        let (Some(engine), Some(_)) = (&mut self.engine, &self.driver) else {
            return BTreeMap::new();
        };
        if self.engine_avoided {
            return engine.hung();
        }
        calling(Call::HostEngine);
        let told = engine.read(self.clock.boot_now());
        self.notices.extend(engine.notices());
        told
    }

    fn tell_lost(&mut self, place: usize) {
        let Some(device) = self.devices.get(place) else {
            return;
        };
        self.notices.push(Notice {
            at: self.clock.boot_now(),
            kind: NoticeKind::DeviceLost,
            device: u16::try_from(place).ok(),
            text: format!(
                "GPU {} ({}) is lost: the driver says that it does not answer any more",
                device.identity.index,
                device.identity.uuid.nvml()
            ),
        });
    }

    fn inventory(&self) -> Inventory {
        let mig = self
            .devices
            .iter()
            .flat_map(|d| d.mig_devices.iter().cloned())
            .collect();
        Inventory {
            at: self.clock.boot_now(),
            driver: self.driver.as_ref().map(Driver::facts),
            devices: self.devices.iter().map(|d| d.identity.clone()).collect(),
            bus: pci::group(&self.bus.accelerators, |function| self.state_on_bus(function)),
            bus_source: self.bus_source,
            switches: pci::group_switches(&self.bus.switches),
            mig_devices: Some(mig).filter(|found: &Vec<_>| !found.is_empty()),
        }
    }

    /// The state of a device at a place on the bus, where it is one of those the driver should hold.
    fn state_on_bus(&self, function: &BusFunction) -> Option<DeviceState> {
        if function.id.vendor != NVIDIA {
            return None;
        }
        let here = self.devices.iter().find(|d| d.address == Some(function.address));
        if let Some(device) = here {
            return Some(device.state);
        }
        if function.driver != BusDriver::Vendor {
            return None;
        }
        // Devices remembered from an earlier process have no address; a lost one explains a function of its kind.
        self.devices
            .iter()
            .find(|d| d.address.is_none() && d.identity.pci == function.id && d.state != DeviceState::Present)
            .map(|d| d.state)
            .or_else(|| self.driver.is_none().then_some(DeviceState::DriverUnavailable))
            .or_else(|| (!self.avoided.is_empty()).then_some(DeviceState::Hung))
    }
}

/// Whether NVIDIA's driver should list the function: it is NVIDIA's, and not handed to a guest.
fn is_ours(function: &BusFunction) -> bool {
    function.id.vendor == NVIDIA && function.driver != BusDriver::Vfio
}

impl DeviceSource for NvmlSource {
    fn survey(&mut self, calling: &mut dyn FnMut(Call)) -> Survey {
        // Whatever a survey waits for is announced, sysfs and the library's file too: a hang has a name then.
        calling(Call::Driver);
        let (bus, bus_trouble) = match pci::scan(&self.options.sysfs) {
            Ok(bus) => (bus, None),
            Err(error) => (pci::Bus::default(), Some(Sentence(&error).to_string())),
        };
        self.bus_source = match &bus_trouble {
            Some(_) => BusSource::Unreadable,
            None if self.options.sysfs == Path::new("/sys") => BusSource::System,
            None => BusSource::Configured,
        };
        self.bus = bus;
        let trouble = match self.open() {
            Ok(count) => self.identify(count, calling).map(|t| Sentence(&t).to_string()),
            Err(trouble) => {
                for device in &mut self.devices {
                    device.state = DeviceState::DriverUnavailable;
                }
                // A host without NVIDIA devices needs no NVIDIA driver, unless someone configured one.
                let needed = self.options.library.is_some()
                    || !self.devices.is_empty()
                    || self.bus.accelerators.iter().any(is_ours);
                needed.then(|| Sentence(&trouble).to_string())
            }
        };
        self.survey_engine(calling);
        calling(Call::Driver);
        let inventory = self.inventory();
        calling(Call::None);
        Survey {
            inventory,
            trouble: trouble.or(bus_trouble),
            host_engine: None,
        }
    }

    fn sample(&mut self, kind: TickKind, calling: &mut dyn FnMut(Call)) -> Tick {
        let at = self.clock.boot_now();
        let mut by_engine = match kind {
            TickKind::Regular => self.ask_engine(calling),
            TickKind::Burst => BTreeMap::new(),
        };
        let mut samples = Vec::with_capacity(self.devices.len());
        let mut newly_lost = Vec::new();
        for (position, device) in self.devices.iter_mut().enumerate() {
            let place = u16::try_from(position).unwrap_or(u16::MAX);
            let index = device.identity.index;
            let readable = match (&mut self.driver, &mut device.access) {
                (Some(driver), Some(access)) if !self.avoided.contains(&index) => Some((driver, access)),
                _ => None,
            };
            let Some((driver, access)) = readable else {
                samples.push(unread(place, device.state, self.clock.boot_now()));
                continue;
            };
            calling(Call::Sample(index));
            let read = access.read(&driver.session, kind, &mut self.request, &self.clock);
            let state = match &read {
                Err(Fault::DeviceLost) => DeviceState::Lost,
                Err(Fault::DriverGone) => DeviceState::DriverUnavailable,
                Ok(_) | Err(_) => DeviceState::Present,
            };
            driver.gone |= read.as_ref().err() == Some(&Fault::DriverGone);
            if state == DeviceState::Lost && device.state != DeviceState::Lost {
                newly_lost.push(position);
            }
            device.state = state;
            let at = self.clock.boot_now();
            samples.push(match read {
                Ok(mut sample) => {
                    sample.device = place;
                    sample.at = at;
                    if let Some(activity) = by_engine.remove(&device.identity.uuid) {
                        sample.activity = activity;
                        sample.by_host_engine = true;
                    }
                    sample
                }
                Err(fault) => blank(place, state, at, fault),
            });
        }
        calling(Call::None);
        for place in newly_lost {
            self.tell_lost(place);
        }
        Tick {
            at,
            kind,
            devices: samples,
        }
    }

    fn look_at_clocks(&mut self, clocks: &mut Vec<Reading<u32>>, calling: &mut dyn FnMut(Call)) {
        for device in &self.devices {
            let index = device.identity.index;
            clocks.push(match (&self.driver, &device.access) {
                (Some(driver), Some(access)) if !self.avoided.contains(&index) => {
                    calling(Call::Sample(index));
                    access.sm_clock(&driver.session)
                }
                // What became of it is the next tick's to say.
                _ => Reading::Lost(LossReason::Failed),
            });
        }
        calling(Call::None);
    }

    fn check(&mut self, calling: &mut dyn FnMut(Call)) -> bool {
        calling(Call::Driver);
        // A bus that cannot be read now is told by the next survey.
        let bus_changed = pci::scan(&self.options.sysfs).is_ok_and(|bus| bus != self.bus);
        let Some(driver) = &mut self.driver else {
            calling(Call::None);
            return bus_changed;
        };
        let swapped = driver.library.check();
        if let Some(text) = &swapped {
            self.notices.push(Notice {
                at: self.clock.boot_now(),
                kind: NoticeKind::LibraryChanged,
                device: None,
                text: text.clone(),
            });
        }
        let mut redivided = false;
        for device in &mut self.devices {
            let index = device.identity.index;
            if let Some(access) = &mut device.access
                && !self.avoided.contains(&index)
            {
                calling(Call::Sample(index));
                access.look_at_jobs(&driver.session);
            }
            match &device.access {
                Some(access) if device.identity.mig.is_some() && !self.avoided.contains(&index) => {
                    calling(Call::Sample(index));
                    redivided |= access.redivided(&driver.session);
                }
                // A device that is lost may have come back.
                None => redivided |= !self.avoided.contains(&index),
                Some(_) => redivided |= device.state == DeviceState::Lost,
            }
        }
        calling(Call::None);
        bus_changed || swapped.is_some() || redivided
    }

    fn notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    fn remember(&mut self, known: &Inventory) {
        let limit = usize::try_from(MAX_DEVICES).unwrap_or(0);
        self.devices = known
            .devices
            .iter()
            .take(limit)
            .map(|identity| Tracked {
                identity: identity.clone(),
                address: None,
                state: DeviceState::DriverUnavailable,
                mig_devices: Vec::new(),
                access: None,
            })
            .collect();
    }

    fn avoid(&mut self, device: u16) {
        match device {
            HOST_ENGINE => self.engine_avoided = true,
            device => {
                self.avoided.insert(device);
            }
        }
    }

    fn readmit(&mut self, device: u16) {
        match device {
            HOST_ENGINE => self.engine_avoided = false,
            device => {
                self.avoided.remove(&device);
            }
        }
    }

    fn usable(&self) -> bool {
        self.driver.as_ref().is_some_and(|d| !d.gone)
    }

    fn release(&mut self) {
        if let Some(engine) = &mut self.engine {
            engine.release();
        }
        let Some(driver) = self.driver.take() else { return };
        for device in &mut self.devices {
            device.state = DeviceState::DriverUnavailable;
            if let Some(access) = device.access.take() {
                access.close(&driver.session);
            }
        }
        // A driver that will not be shut down is unloaded by the end of this process.
        driver.session.close().ok();
    }
}

impl Drop for NvmlSource {
    fn drop(&mut self) {
        self.release();
    }
}

impl Driver {
    fn facts(&self) -> HostDriver {
        let session = &self.session;
        HostDriver {
            driver_version: session.driver_version().unwrap_or_default(),
            nvml_version: session.nvml_version().unwrap_or_default(),
            cuda_version: session.nvml().sys_cuda_driver_version().ok(),
            library_digest: self.library.digest(),
            library_origin: self.library.origin(),
            library_changed: self.library.replaced(),
            confidential_compute: session.confidential_compute().ok().map(|(feature, tools, mode)| {
                ConfidentialCompute {
                    enabled: feature != 0,
                    developer_mode: tools != 0,
                    multi_gpu_mode: u8::try_from(mode).unwrap_or(u8::MAX),
                }
            }),
        }
    }

    /// Makes a device's entry, taking over what is held of it already if it did not change.
    fn track(
        &self,
        handle: Handle,
        found: Identified,
        held: Option<Access>,
        now: impl Fn() -> BootNanos,
    ) -> Tracked {
        let access = match held {
            Some(mut held) if held.handle == handle && held.extent == found.extent => {
                held.survey(&self.session);
                held
            }
            other => {
                if let Some(stale) = other {
                    stale.close(&self.session);
                }
                Access::open(
                    &self.session,
                    handle,
                    found.extent,
                    found.identity.pipe_activity,
                    now,
                )
            }
        };
        Tracked {
            identity: found.identity,
            address: Some(found.address),
            state: DeviceState::Present,
            mig_devices: found.mig_devices,
            access: Some(access),
        }
    }
}

#[cfg(test)]
mod source_tests;
#[cfg(test)]
mod tests;
