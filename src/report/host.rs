//! The host submodule: what the node says about itself.

use super::tenant::TenantList;
use crate::accounting::Observation;
use crate::id::Digest;
use crate::telemetry::{BusDevice, BusSource, BusSwitch, HostDriver, HostTraffic, PowerMeter};

crate::code! {
    /// What holds the node's key.
    pub enum KeyProtection {
        /// A file with mode 0600.
        File = 0 => "file",
        /// A TPM 2.0.
        Tpm = 1 => "tpm",
    }
}

crate::code! {
    /// Where the wall clock takes its time from.
    pub enum ClockSource {
        /// The kernel's clock is not disciplined, or it could not be told.
        Unsynchronised = 0 => "unsynchronised",
        /// The kernel says that its clock is disciplined (adjtimex without STA_UNSYNC).
        Synchronised = 1 => "synchronised",
    }
}

crate::record! {
    /// Claims about the host (EAT submodule `host`).
    pub struct HostClaims {
        /// Version of the agent.
        0 => agent_version: String,
        /// SHA-256 of the agent's own binary.
        1 => agent_digest: Digest,
        /// What holds the key that signs.
        2 => key_protection: KeyProtection,
        /// The numbers of the kernel release, without what the site appended.
        3 => kernel: String,
        /// Logical processors.
        4 => cpus: u32,
        /// Memory, in mebibytes.
        5 => memory_mib: u64,
        /// The driver; absent where none is in use.
        6 => driver: Option<HostDriver>,
        /// Every accelerator on the PCI bus, of every vendor, sorted.
        7 => bus: Vec<BusDevice>,
        /// Where wall time came from.
        8 => clock_source: ClockSource,
        /// SHA-256 of the workload model that scored the windows.
        9 => model_digest: Digest,
        /// SHA-256 of the catalogue of accelerators that the agent computed with.
        10 => catalogue_digest: Digest,
        /// Whether the sampler was released on request at some time in the report.
        11 => released: bool,
        /// How often the sampler's process was abandoned or died in the report's time.
        12 => sampler_restarts: u32,
        /// Where the list of devices on the bus came from.
        13 => bus_source: BusSource,
        /// Other drivers and libraries that were in use earlier in the report's time, each as it was last seen; at most
        /// [`HostClaims::MAX_FORMER_DRIVERS`]. A list of that length may have left some out.
        14 => former_drivers: Vec<HostDriver>,
        /// Every NVSwitch on the PCI bus, sorted.
        15 => switches: Vec<BusSwitch>,
        /// Bytes over the host's network links.
        16 => traffic: HostTraffic,
        /// Meters outside the devices, at most [`PowerMeter::MOST`].
        17 => meters: Vec<PowerMeter>,
        /// What does not fit between devices, or between them and a meter, at most [`Observation::MOST`].
        18 => observations: Vec<Observation>,
        /// The tenants that held a device in the report's time, by pseudonym; absent where none did.
        19 => tenants: Option<TenantList>,
    }
}

impl HostClaims {
    /// The most former drivers that one report lists.
    pub const MAX_FORMER_DRIVERS: usize = 8;
}

crate::record! {
    /// The claims-set of the submodule `host`.
    pub struct HostSubmodule {
        /// Ours.
        -70_001 => host: HostClaims,
    }
}
