//! What the sampler saw: readings, samples, gaps.
//!
//! Decides: how a value that could not be read differs from a value of zero. Trusts the driver for the values: every
//! reading here is `driver-reported` or `host-observed`. Does not establish that a reading is true.

mod cycles;
mod host;
mod inventory;
mod link;
mod measured;
mod reading;
mod sample;
mod track;
mod window;

#[cfg(test)]
pub(crate) use cycles::tests::counted;
pub use host::{HostTraffic, MeterKind, PowerMeter};
#[cfg(test)]
pub(crate) use inventory::tests::h100;
pub use inventory::{
    AcceleratorIdentity, BusDevice, BusDriver, BusSource, BusSwitch, ConfidentialCompute, Fabric, HostDriver,
    Inventory, LibraryOrigin, MigDevice, MigInstance, NvlinkLinks,
};
pub use link::{HostLinks, LinkCounters, LinkKind, LinkTrack};
pub use measured::{ActivitySource, Jobs, Measured, Method, PipeTimes, Spread, Traffic};
pub use reading::{LossReason, Reading};
#[cfg(test)]
pub(crate) use sample::tests::blank;
pub use sample::{
    Activity, ClockLooks, DeviceSample, Frame, Notice, NoticeKind, PipeCycles, PowerRing, Tick, TickKind,
};
pub(crate) use track::ENERGY_REFRESH_NS;
pub use track::{Ends, Fastest, Step, Track};
pub use window::Window;

crate::code! {
    /// The state of one device, as the node last knew it.
    pub enum DeviceState {
        /// It answers.
        Present = 0 => "present",
        /// The driver says that it is lost (NVML_ERROR_GPU_IS_LOST), as after Xid 79.
        Lost = 1 => "lost",
        /// A call to it did not return; its process was abandoned.
        Hung = 2 => "hung",
        /// It stands on the bus, and no driver that reports telemetry holds it.
        Unmanaged = 3 => "unmanaged",
        /// It is bound to VFIO for a guest.
        PassedThrough = 4 => "passed through",
        /// The agent let go of the driver on request.
        Released = 5 => "released",
        /// The driver could not be used (a library mismatch, no permission).
        DriverUnavailable = 6 => "driver unavailable",
    }
}

crate::code! {
    /// Why some time is not covered by samples.
    pub enum GapReason {
        /// The agent was not running.
        AgentStopped = 0 => "agent stopped",
        /// The host was suspended.
        HostSuspended = 1 => "host suspended",
        /// The device was lost.
        DeviceLost = 2 => "device lost",
        /// A driver call hung.
        DriverHung = 3 => "driver hung",
        /// The driver was released on the operator's request.
        Released = 4 => "released",
        /// The driver could not be used.
        DriverUnavailable = 5 => "driver unavailable",
        /// The sampler was late by more than half an interval, or died and was started anew.
        SamplerLate = 6 => "sampler late",
        /// The read failed for another reason.
        ReadFailed = 7 => "read failed",
        /// The device appeared or vanished (MIG, hot plug) within the window.
        Reconfigured = 8 => "reconfigured",
    }
}

crate::row! {
    /// A stretch of a report's time without samples.
    pub struct Gap {
        /// Start, milliseconds after the start of the report's time.
        start_ms: u32,
        /// Length in milliseconds.
        length_ms: u32,
        /// Why.
        reason: GapReason,
    }
}
