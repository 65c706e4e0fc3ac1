//! The meter: takes ticks, makes windows, and sums them to what each accelerator delivered in a report's time.
//!
//! ```text
//! Meter::new(&inventory, start, MeterSettings { nominal_ns, window_ns }, catalogue, model, physics)
//! push_tick(&tick)            each tick, regular or burst
//! push_notice(&notice)        each notice of the sampler
//! push_gap(device, reason, from, to)   what the reporter knows about a stretch (suspended, stopped, hung)
//! mark(device, state)         what the supervisor knows about a device (hung, released)
//! set_inventory(&inventory)   when the sampler sends a new one
//! set_holdings(holdings)      who holds which device, when that changes
//! window_end()                when to call close_window
//! close_window(end, salts) -> Vec<ClosedWindow>
//! finish(end, salts)       -> Finished { accelerators, windows, observations }
//! against_outside(&meters, &accelerators, length_ms)   what meters outside have against them
//! ```
//!
//! Decides: which stretch counts in which window, why time was not covered, and what was training. Trusts boot time
//! alone: wall time, which can be set, plays no part. Does not establish that the driver told the truth. Holds windows,
//! never samples, so its size does not grow with time.

use super::AcceleratorClaims;
use super::device::{Device, Noted};
use super::leaf::ClosedWindow;
use super::tenancy::{Holding, Told};
use super::tenant::{TenantList, TenantShare, TenantShares};
use crate::accelerator::Catalogue;
use crate::accounting::consistency::{Drawn, Part, Physics, Summary, Tally, check_node, check_outside};
use crate::accounting::{Observation, ObservationKind, Peak};
use crate::id::TenantPseudonym;
use crate::report::Submodules;
use crate::telemetry::{
    BusDriver, DeviceState, GapReason, Inventory, Notice, NoticeKind, PowerMeter, Tick, TickKind,
};
use crate::time::BootNanos;
use crate::workload::{Model, synchrony};

/// The most stretches that the reporter may explain within one report; later ones replace the oldest.
const MAX_NOTED: usize = 64;

/// A source of random salts, one for each call.
pub type Salts<'a> = &'a mut dyn FnMut() -> [u8; 16];

/// How the meter is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeterSettings {
    /// Time between regular ticks, in nanoseconds.
    pub nominal_ns: u64,
    /// Length of a window, in nanoseconds.
    pub window_ns: u64,
}

/// What a finished report's time gave.
#[derive(Clone, Debug)]
pub struct Finished {
    /// One entry for each device seen since the meter began, in the order in which they were first seen.
    pub accelerators: Vec<AcceleratorClaims>,
    /// The windows that were still open.
    pub windows: Vec<ClosedWindow>,
    /// What does not fit between devices.
    pub observations: Vec<Observation>,
    /// The tenants that held a device, and whose places the accelerators' claims name.
    pub tenants: Option<TenantList>,
    /// Devices that more tenants held than a report tells of.
    pub crowded: usize,
}

/// Meters the devices of one node.
#[derive(Debug)]
pub struct Meter {
    settings: MeterSettings,
    catalogue: Catalogue,
    model: Model,
    physics: Physics,
    /// What does not fit between devices, in the report's time so far.
    between: Tally,
    start: BootNanos,
    window_start: BootNanos,
    last_point: BootNanos,
    /// Place of each entry of the last inventory in `devices`.
    places: Vec<usize>,
    devices: Vec<Device>,
    noted: Vec<Noted>,
    /// Who holds which device; those of devices that were never seen too.
    holdings: Vec<Holding>,
}

impl Meter {
    /// The most holdings that are followed; later ones are left out.
    pub const MAX_HOLDINGS: usize = 1_024;

    /// A meter whose first report begins at `start`.
    #[must_use]
    pub fn new(
        inventory: &Inventory,
        start: BootNanos,
        settings: MeterSettings,
        catalogue: Catalogue,
        model: Model,
        physics: Physics,
    ) -> Self {
        let mut meter = Self {
            settings,
            catalogue,
            model,
            physics,
            between: Tally::default(),
            start,
            window_start: start,
            last_point: start,
            places: Vec::new(),
            devices: Vec::new(),
            noted: Vec::new(),
            holdings: Vec::new(),
        };
        meter.set_inventory(inventory);
        meter
    }

    /// Takes a new inventory. Devices keep their place by UUID; one that is no longer there stays in the list, as lost
    /// unless a better reason is known: VFIO holds as many of its kind as are gone. An inventory without a driver says nothing
    /// about the devices themselves.
    pub fn set_inventory(&mut self, inventory: &Inventory) {
        let gone = |device: &Device| !inventory.devices.iter().any(|d| d.uuid == device.identity.uuid);
        // Guests hold what they held already, and the others of the kind where there are enough guests for all of them.
        let handed_over = |device: &Device, devices: &[Device]| {
            let kind = device.identity.pci;
            let wanted = devices
                .iter()
                .filter(|d| d.identity.pci == kind && gone(d))
                .filter(|d| {
                    d.state == DeviceState::PassedThrough || device.state != DeviceState::PassedThrough
                });
            let held = inventory
                .bus
                .iter()
                .filter(|b| b.id == kind && b.driver == BusDriver::Vfio);
            wanted.count() <= held.map(|b| usize::from(b.count)).sum()
        };
        let states: Vec<_> = self
            .devices
            .iter()
            .map(|device| match device.state {
                state if !gone(device) => state,
                _ if handed_over(device, &self.devices) => DeviceState::PassedThrough,
                DeviceState::Present | DeviceState::PassedThrough if inventory.driver.is_some() => {
                    DeviceState::Lost
                }
                DeviceState::Present => DeviceState::DriverUnavailable,
                state => state,
            })
            .collect();
        for (device, state) in self.devices.iter_mut().zip(states) {
            device.state = state;
        }
        let appeared_late = !self.devices.is_empty();
        self.places.clear();
        for identity in &inventory.devices {
            let known = self.devices.iter().position(|d| d.identity.uuid == identity.uuid);
            let place = known.unwrap_or(self.devices.len());
            let found = self.catalogue.find(&identity.pci, &identity.name);
            let peak = Peak::found(&found, identity);
            let part = Part::of(found.model(), identity, &self.physics);
            if let Some(device) = self.devices.get_mut(place) {
                device.identity = identity.clone();
                // A limit that was higher before held for a part of the report's time.
                device.newest_peak = peak;
                device.peak = peak.map(|p| device.peak.map_or(p, |before| p.as_wide_as(&before)));
                device.set_part(part);
                device.state = DeviceState::Present;
            } else if self.devices.len() < Submodules::MAX_ACCELERATORS {
                let settled = self.start.max(inventory.at);
                let nominal_ns = self.settings.nominal_ns;
                let mut device = Device::new(identity.clone(), peak, part, nominal_ns, self.start);
                // One that appears among others was plugged in or reconfigured; the first of all were always awaited.
                if settled > self.start && appeared_late {
                    device.add_gap(self.start, settled, GapReason::Reconfigured);
                    device.settled = settled;
                }
                device.tenancies.set(&self.holdings, &identity.uuid);
                self.devices.push(device);
            }
            self.places.push(place);
        }
    }

    /// Takes a tick.
    pub fn push_tick(&mut self, tick: &Tick) {
        for sample in &tick.devices {
            let Some(place) = self.places.get(usize::from(sample.device)).copied() else {
                continue;
            };
            let Some(device) = self.devices.get_mut(place) else {
                continue;
            };
            match tick.kind {
                TickKind::Regular => {
                    device.push(sample, place, self.window_start, &self.noted, &self.physics);
                }
                TickKind::Burst => device.push_instant(sample, self.window_start),
            }
        }
        if tick.kind == TickKind::Burst {
            return;
        }
        // Points are closed for all devices at once, at three quarters of a tick, so that jitter never joins two.
        let quarter = self.settings.nominal_ns.checked_div(4).unwrap_or(0);
        if tick.at.since(self.last_point) >= self.settings.nominal_ns.saturating_sub(quarter) {
            self.last_point = tick.at;
            for device in &mut self.devices {
                device.series.close_point();
            }
        }
    }

    /// Takes a notice.
    pub fn push_notice(&mut self, notice: &Notice) {
        match notice.kind {
            NoticeKind::DriverUnavailable => self.mark(None, DeviceState::DriverUnavailable),
            NoticeKind::Released => self.mark(None, DeviceState::Released),
            NoticeKind::Resumed => self.mark(None, DeviceState::Present),
            NoticeKind::DeviceLost => self.mark(notice.device, DeviceState::Lost),
            NoticeKind::LibraryChanged
            | NoticeKind::HostEngine
            | NoticeKind::HostEngineAway
            | NoticeKind::Calling => {}
        }
    }

    /// Notes the state of a device (`None`: of all), by its index in the last inventory. It explains the gap that
    /// follows; a sample that says otherwise overrules it. A device that is lost, hung or passed through stays so when all are
    /// marked.
    pub fn mark(&mut self, device: Option<u16>, state: DeviceState) {
        match device {
            Some(index) => {
                if let Some(device) = self.place(index).and_then(|p| self.devices.get_mut(p)) {
                    device.state = state;
                }
            }
            None => {
                for device in &mut self.devices {
                    if !matches!(
                        device.state,
                        DeviceState::Lost | DeviceState::Hung | DeviceState::PassedThrough
                    ) {
                        device.state = state;
                    }
                }
            }
        }
    }

    /// The state of each device that was seen since the meter began, by the driver's index.
    pub fn states(&self) -> impl Iterator<Item = (u16, DeviceState)> {
        self.devices.iter().map(|d| (d.identity.index, d.state))
    }

    /// Explains a stretch for a device (`None`: for all), by its index in the last inventory. Only time that no sample
    /// covers becomes a gap; where samples cover it, the explanation is not needed.
    pub fn push_gap(&mut self, device: Option<u16>, reason: GapReason, from: BootNanos, to: BootNanos) {
        let device = match device {
            Some(index) => match self.place(index) {
                Some(place) => Some(place),
                None => return,
            },
            None => None,
        };
        let noted = Noted {
            device,
            reason,
            from,
            to,
        };
        if self.noted.len() >= MAX_NOTED {
            self.noted.remove(0);
        }
        self.noted.push(noted);
        for (place, known) in self.devices.iter_mut().enumerate() {
            if device.is_none_or(|d| d == place) {
                known.explain(&noted);
            }
        }
    }

    /// Says who holds which device, all of it: what is not in the list any more ends with the last sample. What was sampled is not
    /// attributed afterwards.
    pub fn set_holdings(&mut self, mut holdings: Vec<Holding>) {
        holdings.truncate(Self::MAX_HOLDINGS);
        for device in &mut self.devices {
            device.tenancies.set(&holdings, &device.identity.uuid);
        }
        self.holdings = holdings;
    }

    /// Sets the length of windows from now on, the open one included.
    pub fn set_window(&mut self, window_ns: u64) {
        self.settings.window_ns = window_ns;
    }

    /// The time that the open window began.
    #[must_use]
    pub fn window_start(&self) -> BootNanos {
        self.window_start
    }

    /// When the open window ends.
    #[must_use]
    pub fn window_end(&self) -> BootNanos {
        self.window_start.plus(self.settings.window_ns)
    }

    /// The time that the report in the making began.
    #[must_use]
    pub fn start(&self) -> BootNanos {
        self.start
    }

    /// Closes the open window of every device at `end`. What comes back stays on the node.
    pub fn close_window(&mut self, end: BootNanos, salts: Salts<'_>) -> Vec<ClosedWindow> {
        let start = self.window_start;
        if end <= start {
            return Vec::new();
        }
        let is_remainder = end.since(start).saturating_mul(2) < self.settings.window_ns;
        self.window_start = end;
        self.check();
        let synchrony: Vec<Option<f64>> = (0..self.devices.len()).map(|i| self.synchrony(i)).collect();
        self.devices
            .iter_mut()
            .zip(synchrony)
            .map(|(device, synchrony)| {
                device.close_window([start, end], is_remainder, synchrony, &self.model, salts)
            })
            .collect()
    }

    /// Ends the report's time at `end`: closes the open windows, and gives the claims of every device. The next
    /// report's time begins at `end`.
    pub fn finish(&mut self, end: BootNanos, salts: Salts<'_>) -> Finished {
        let windows = self.close_window(end, salts);
        let start = self.start;
        let (mut accelerators, told): (Vec<_>, Vec<_>) = self
            .devices
            .iter_mut()
            .enumerate()
            .map(|(place, device)| device.finish(start, end, place, &self.noted, &self.model, salts))
            .unzip();
        let crowded = told.iter().filter(|t| t.crowded).count();
        let tenants = name_tenants(&mut accelerators, told);
        self.holdings.retain(|h| h.to > end);
        self.start = end;
        self.window_start = end;
        self.noted.retain(|n| n.to > end);
        Finished {
            accelerators,
            windows,
            observations: self.between.finish(),
            tenants,
            crowded,
        }
    }

    /// Holds the meters outside against what [`Meter::finish`] gave, over the `length_ms` milliseconds of that report.
    #[must_use]
    pub fn against_outside(
        &self,
        meters: &[PowerMeter],
        accelerators: &[AcceleratorClaims],
        length_ms: u64,
    ) -> Option<Observation> {
        let drawn = accelerators.iter().filter_map(|a| {
            let measured = &a.delivered.measured;
            Some(Drawn {
                energy_mj: *measured.energy_mj.value()?,
                covered_ms: a.delivered.covered_ms.into(),
                highest_mw: measured.power_mw.value()?.max.into(),
            })
        });
        let drawn: Vec<Drawn> = drawn.collect();
        check_outside(meters, &drawn, length_ms, &self.physics).map(|size| Observation {
            kind: ObservationKind::MeterAgainstDevices,
            size,
            windows: 1,
        })
    }

    /// Holds the readings of the open window against each other.
    fn check(&mut self) {
        let physics = &self.physics;
        let checkers = self.devices.iter_mut().map(|d| &mut d.checker);
        let summaries: Vec<Summary> = checkers.map(|c| c.close_window(physics)).collect();
        let found = check_node(&summaries, physics);
        for (place, kind, size) in found.devices {
            if let Some(device) = self.devices.get_mut(place) {
                device.checker.note(kind, size);
            }
        }
        for (kind, size) in found.host {
            self.between.note(kind, size);
        }
        for device in &mut self.devices {
            device.checker.end_window();
        }
        self.between.end_window();
    }

    fn place(&self, index: u16) -> Option<usize> {
        self.places.get(usize::from(index)).copied()
    }

    fn synchrony(&self, place: usize) -> Option<f64> {
        let own = self.devices.get(place)?;
        let others = self.devices.iter().enumerate().filter(|(i, _)| *i != place);
        synchrony(others.filter_map(|(_, other)| own.series.likeness(&other.series)))
    }
}

/// Makes one list of the tenants of all devices, and writes into each device's claims what its own did, by their places in it.
fn name_tenants(accelerators: &mut [AcceleratorClaims], told: Vec<Told>) -> Option<TenantList> {
    let all = told.iter().flat_map(|t| &t.shares).map(|(tenant, _)| *tenant);
    let list = TenantList::of(all.collect::<Vec<TenantPseudonym>>())?;
    for (claims, told) in accelerators.iter_mut().zip(told) {
        let placed = told.shares.into_iter().filter_map(|(tenant, share)| {
            let place = list.place(&tenant)?;
            Some(TenantShare { place, ..share })
        });
        claims.delivered.tenants = TenantShares::of(placed.collect());
    }
    Some(list)
}
