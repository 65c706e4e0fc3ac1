//! What stands in the node: accelerators behind one trait, the PCI bus, the host.
//!
//! Decides: which devices there are, and how an answer of a driver becomes a reading. Trusts nothing that a driver
//! says beyond its bounds: counts, lengths and numbers are checked, and a refusal is kept apart from a zero. Does not
//! establish that an answer is true; the grade of everything here is `driver-reported` or `host-observed`.

pub mod dcgm;
pub mod host;
pub mod library;
pub mod links;
pub mod nvml;
pub mod pci;
pub mod system;

use weighbridge::telemetry::{Inventory, Notice, Reading, Tick, TickKind};

/// The most devices that one host is believed to have; a driver that claims more is not used.
pub const MAX_DEVICES: u32 = 64;

/// What the thread that owns the driver is doing, told before it does it: a call that hangs can only be named from
/// outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Nothing that could hang.
    None,
    /// What concerns the driver as a whole, such as its start, and a look at the bus or at the library's file.
    Driver,
    /// Finding or identifying the device with this driver index, which may have to wake it.
    Identify(u16),
    /// Reading the device with this driver index.
    Sample(u16),
    /// Asking DCGM's host engine. It is no device, and none hangs with it.
    HostEngine,
}

/// Stands for the host engine where a device's driver index would stand: among what is not called because a call hung. No
/// host has so many devices.
pub const HOST_ENGINE: u16 = u16::MAX;

/// A survey: what was found, and what stood in the way.
#[derive(Debug)]
pub struct Survey {
    /// Devices, driver and bus. Without a usable driver it still holds the bus, and the devices known from before.
    pub inventory: Inventory,
    /// Why the driver, or part of what it said, could not be used: a sentence for the operator.
    pub trouble: Option<String>,
    /// How DCGM's host engine stands, where one is configured and a device needs it: a sentence, and whether all is well.
    pub host_engine: Option<(String, bool)>,
}

/// A driver and the devices behind it. One thread owns it.
pub trait DeviceSource {
    /// Enumerates driver, devices and bus, opening the driver where it is not open.
    fn survey(&mut self, calling: &mut dyn FnMut(Call)) -> Survey;

    /// Reads every device once.
    ///
    /// A [`TickKind::Regular`] tick holds every reading; its activity covers the time since the regular tick before. A
    /// [`TickKind::Burst`] tick holds what short calls give: power and NVLink bytes, and the shares of a pair of samples where one
    /// ends. Readings that it does not ask for are `Unsupported` in it. `DeviceSample::device`, like `Notice::device`, is the position in the last inventory.
    fn sample(&mut self, kind: TickKind, calling: &mut dyn FnMut(Call)) -> Tick;

    /// Reads every device's SM clock, in megahertz, and nothing else; adds one reading for each, in the order of the last inventory.
    fn look_at_clocks(&mut self, clocks: &mut Vec<Reading<u32>>, calling: &mut dyn FnMut(Call));

    /// Looks for what changes seldom: the library on disk, the bus, MIG. True where a new survey is due.
    fn check(&mut self, calling: &mut dyn FnMut(Call)) -> bool;

    /// Takes the notices that have gathered.
    fn notices(&mut self) -> Vec<Notice>;

    /// Devices of an earlier inventory of this boot: one that does not answer is listed as lost, not forgotten.
    fn remember(&mut self, known: &Inventory);

    /// From now on, makes no call to the device with this driver index, or to the host engine ([`HOST_ENGINE`]).
    fn avoid(&mut self, device: u16);

    /// Calls the device again, from the next survey on.
    fn readmit(&mut self, device: u16);

    /// Whether the driver is open and answers.
    fn usable(&self) -> bool;

    /// Lets go of the driver: frees what it holds and closes it. A later survey opens it anew.
    fn release(&mut self);
}
