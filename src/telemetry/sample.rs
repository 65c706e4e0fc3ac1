//! What travels through the pipe from the sampler to the reporter.
//!
//! These records never leave the node. They are encoded like everything else, so that one strict decoder reads them.

use super::{DeviceState, HostLinks, Inventory, Jobs, Reading};
use crate::time::BootNanos;
use crate::unit::Ppm;

crate::record! {
    /// Mean activity of the pipes between two instants, as GPM (Hopper and later) or a DCGM host engine gives it.
    ///
    /// Shares are of the interval: `sm` is the mean share of SMs busy; a pipe's share is the share of cycles in which
    /// it was busy.
    pub struct Activity {
        /// Length of the interval, in nanoseconds.
        0 => interval_ns: u64,
        /// SMs busy (metric 2).
        1 => sm: Reading<Ppm>,
        /// Any tensor pipe (metric 5).
        2 => tensor_any: Reading<Ppm>,
        /// FP64 tensor pipe (metric 6).
        3 => dfma: Reading<Ppm>,
        /// Half-precision tensor pipe: FP16, BF16, TF32, FP8 and narrower (metric 7).
        4 => hmma: Reading<Ppm>,
        /// Integer tensor pipe (metric 9).
        5 => imma: Reading<Ppm>,
        /// DRAM bandwidth (metric 10).
        6 => dram: Reading<Ppm>,
        /// FP64, not tensor (metric 11).
        7 => fp64: Reading<Ppm>,
        /// FP32, not tensor (metric 12).
        8 => fp32: Reading<Ppm>,
        /// FP16, not tensor (metric 13).
        9 => fp16: Reading<Ppm>,
        /// Integer, not tensor (metric 4).
        10 => integer: Reading<Ppm>,
    }
}

crate::record! {
    /// What one part of a device has counted since its last reboot, in cycles of its multiprocessors (GPM metrics 248 to
    /// 260, where the driver has them).
    ///
    /// Only differences mean anything, and only as shares of `elapsed`: whether the driver counts the cycles of one
    /// multiprocessor or of all is not documented.
    pub struct PipeCycles {
        /// The GPU instance, where MIG divides the device; absent for the whole of it.
        0 => instance: Option<u32>,
        /// Its part of the device's multiprocessors, in parts per billion.
        1 => part_ppb: u32,
        /// Cycles that passed.
        2 => elapsed: u64,
        /// Cycles in which multiprocessors were busy.
        3 => sm: Reading<u64>,
        /// Any tensor pipe.
        4 => tensor_any: Reading<u64>,
        /// FP64 tensor pipe.
        5 => dfma: Reading<u64>,
        /// Half-precision tensor pipe.
        6 => hmma: Reading<u64>,
        /// Integer tensor pipe.
        7 => imma: Reading<u64>,
        /// FP64, not tensor.
        8 => fp64: Reading<u64>,
        /// FP32, not tensor.
        9 => fp32: Reading<u64>,
        /// FP16, not tensor.
        10 => fp16: Reading<u64>,
        /// Integer, not tensor.
        11 => integer: Reading<u64>,
    }
}

crate::record! {
    /// What the driver's own ring of power samples held since the sample before: every 20 ms or so, so that what happens
    /// between two ticks is in it.
    pub struct PowerRing {
        /// Mean, in milliwatts.
        0 => mean_mw: u32,
        /// The lowest, in milliwatts.
        1 => lowest_mw: u32,
        /// The highest, in milliwatts.
        2 => highest_mw: u32,
    }
}

crate::record! {
    /// The SM clock between two regular ticks, as looks at instants of chance found it: an operator who may set clocks cannot tell when
    /// to hold them.
    pub struct ClockLooks {
        /// Mean of the looks, each of which stands for an equal part of the time, in megahertz.
        0 => mean_mhz: u32,
        /// The lowest, in megahertz.
        1 => lowest_mhz: u32,
        /// The highest, in megahertz.
        2 => highest_mhz: u32,
    }
}

crate::record! {
    /// One device at one instant.
    pub struct DeviceSample {
        /// Index in the last inventory.
        0 => device: u16,
        /// Its state.
        1 => state: DeviceState,
        /// When the read of this device ended.
        2 => at: BootNanos,
        /// Energy since the driver was loaded, in millijoules (field 83).
        3 => energy_mj: Reading<u64>,
        /// Power now, in milliwatts (field 186).
        4 => power_mw: Reading<u32>,
        /// SM clock, in megahertz.
        5 => sm_clock_mhz: Reading<u32>,
        /// Memory clock, in megahertz.
        6 => memory_clock_mhz: Reading<u32>,
        /// Share of the driver's last period in which a kernel was resident. A time bound, no measure of compute.
        7 => utilisation: Reading<Ppm>,
        /// Memory in use, in mebibytes.
        8 => memory_used_mib: Reading<u32>,
        /// Temperature of the die, in degrees Celsius.
        9 => temperature_c: Reading<i32>,
        /// Reasons why the clock is held back (NVML clock-event bits).
        10 => clock_events: Reading<u64>,
        /// NVLink data sent by all links, in bytes, cumulative.
        11 => nvlink_tx_bytes: Reading<u64>,
        /// NVLink data received by all links, in bytes, cumulative.
        12 => nvlink_rx_bytes: Reading<u64>,
        /// PCIe bytes sent, cumulative; unsupported where the driver's counter has only 32 bits, which wrap unseen.
        13 => pcie_tx_bytes: Reading<u64>,
        /// PCIe bytes received, cumulative.
        14 => pcie_rx_bytes: Reading<u64>,
        /// Activity since the previous regular sample of this device.
        15 => activity: Reading<Activity>,
        /// PCIe bytes sent per second: the mean over the interval of `activity` (metric 20).
        16 => pcie_tx_rate: Reading<u64>,
        /// PCIe bytes received per second, likewise (metric 21).
        17 => pcie_rx_rate: Reading<u64>,
        /// Cycles by pipe since the last reboot, one entry for each part that the driver counts by itself.
        18 => cycles: Reading<Vec<PipeCycles>>,
        /// Power since the sample before, where the device has no activity to tell.
        19 => power_ring: Reading<PowerRing>,
        /// Share of the time since the sample before in which a kernel was resident, likewise.
        20 => busy_mean: Reading<Ppm>,
        /// Processes found to have ended since the sample before; absent where accounting mode is off.
        21 => jobs: Option<Jobs>,
        /// Whether a DCGM host engine told the activity, not GPM.
        22 => by_host_engine: bool,
        /// SM clock since the regular sample before. Lost where a look was refused or left out; unsupported where nobody looks.
        23 => clock_looks: Reading<ClockLooks>,
    }
}

crate::code! {
    /// The loop that a tick belongs to.
    pub enum TickKind {
        /// Once a second.
        Regular = 0 => "regular",
        /// Ten times a second, in a burst.
        Burst = 1 => "burst",
    }
}

crate::record! {
    /// One pass over all devices.
    pub struct Tick {
        /// Boot time when the pass began.
        0 => at: BootNanos,
        /// Which loop.
        1 => kind: TickKind,
        /// One entry per device, in the order of the inventory.
        2 => devices: Vec<DeviceSample>,
    }
}

crate::code! {
    /// What the sampler has to say beside samples.
    pub enum NoticeKind {
        /// The driver could not be used; the text says why.
        DriverUnavailable = 0 => "driver unavailable",
        /// The driver was released on request.
        Released = 1 => "released",
        /// The driver is in use again.
        Resumed = 2 => "resumed",
        /// A device was lost.
        DeviceLost = 3 => "device lost",
        /// The NVML library on disk is no longer the one that was loaded.
        LibraryChanged = 4 => "library changed",
        /// A DCGM host engine tells of pipes; the text says where it listens.
        HostEngine = 6 => "host engine",
        /// It does not, though one is configured; the text says why.
        HostEngineAway = 7 => "host engine away",
        /// The answer to the question where the sampler stands: in a call to this device, since the time of the notice where it is
        /// overdue, else at that time. It goes no further than the supervisor.
        Calling = 5 => "calling",
    }
}

crate::record! {
    /// A state with a name.
    pub struct Notice {
        /// When.
        0 => at: BootNanos,
        /// What.
        1 => kind: NoticeKind,
        /// The device concerned, if one.
        2 => device: Option<u16>,
        /// A sentence for the operator's log; it never enters a report.
        3 => text: String,
    }
}

crate::record! {
    /// One message through the pipe: exactly one of its fields is present.
    pub struct Frame {
        /// Devices and driver, at start and whenever they change.
        0 => inventory: Option<Inventory>,
        /// Samples.
        1 => tick: Option<Tick>,
        /// A state.
        2 => notice: Option<Notice>,
        /// The counters of the host's network links.
        3 => links: Option<HostLinks>,
    }
}

/// A frame with nothing in it, which is never sent.
const NOTHING: Frame = Frame {
    inventory: None,
    tick: None,
    notice: None,
    links: None,
};

impl From<Inventory> for Frame {
    fn from(inventory: Inventory) -> Self {
        Self {
            inventory: Some(inventory),
            ..NOTHING
        }
    }
}

impl From<Tick> for Frame {
    fn from(tick: Tick) -> Self {
        Self {
            tick: Some(tick),
            ..NOTHING
        }
    }
}

impl From<Notice> for Frame {
    fn from(notice: Notice) -> Self {
        Self {
            notice: Some(notice),
            ..NOTHING
        }
    }
}

impl From<HostLinks> for Frame {
    fn from(links: HostLinks) -> Self {
        Self {
            links: Some(links),
            ..NOTHING
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A sample of a device that answers and offers nothing.
    pub(crate) fn blank(at: BootNanos) -> DeviceSample {
        DeviceSample {
            device: 0,
            state: DeviceState::Present,
            at,
            energy_mj: Reading::Unsupported,
            power_mw: Reading::Unsupported,
            sm_clock_mhz: Reading::Unsupported,
            memory_clock_mhz: Reading::Unsupported,
            utilisation: Reading::Unsupported,
            memory_used_mib: Reading::Unsupported,
            temperature_c: Reading::Unsupported,
            clock_events: Reading::Unsupported,
            nvlink_tx_bytes: Reading::Unsupported,
            nvlink_rx_bytes: Reading::Unsupported,
            pcie_tx_bytes: Reading::Unsupported,
            pcie_rx_bytes: Reading::Unsupported,
            activity: Reading::Unsupported,
            pcie_tx_rate: Reading::Unsupported,
            pcie_rx_rate: Reading::Unsupported,
            cycles: Reading::Unsupported,
            power_ring: Reading::Unsupported,
            busy_mean: Reading::Unsupported,
            jobs: None,
            by_host_engine: false,
            clock_looks: Reading::Unsupported,
        }
    }
}
