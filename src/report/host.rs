//! The host submodule: what the node says about itself.

use crate::id::{Digest, PciId};
use crate::telemetry::DeviceState;

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

crate::code! {
    /// Where the NVML library that was loaded lies.
    pub enum LibraryOrigin {
        /// In a directory of the system's, owned by root, and no one else may write to it or to the directories above.
        System = 0 => "system",
        /// At a path that the operator configured.
        Configured = 1 => "configured",
        /// In a place that someone other than root may write to.
        Writable = 2 => "writable",
    }
}

crate::code! {
    /// What is bound to a device on the PCI bus.
    pub enum BusDriver {
        /// Nothing.
        None = 0 => "none",
        /// The vendor's own driver.
        Vendor = 1 => "vendor",
        /// VFIO, for a guest.
        Vfio = 2 => "vfio",
        /// Another driver.
        Other = 3 => "other",
    }
}

crate::record! {
    /// Confidential-computing state, as the driver reports it (nvmlSystemGetConfComputeState).
    pub struct ConfidentialCompute {
        /// Whether the feature is on.
        0 => enabled: bool,
        /// Whether developer tools are on, which voids the protection.
        1 => developer_mode: bool,
        /// Multi-GPU mode: 0 none, 1 protected PCIe, 2 NVLink encryption.
        2 => multi_gpu_mode: u8,
    }
}

crate::record! {
    /// The driver, and the library through which it was asked.
    pub struct HostDriver {
        /// Driver version, such as `590.48.01`.
        0 => driver_version: String,
        /// NVML version.
        1 => nvml_version: String,
        /// CUDA driver version, as NVML writes it (12040 for 12.4).
        2 => cuda_version: Option<i32>,
        /// SHA-256 of the bytes of the library, taken through the descriptor that was loaded.
        3 => library_digest: Digest,
        /// Where it lies.
        4 => library_origin: LibraryOrigin,
        /// Whether the file on disk was replaced or altered since it was loaded.
        5 => library_changed: bool,
        /// Confidential-computing state, where the driver tells.
        6 => confidential_compute: Option<ConfidentialCompute>,
    }
}

crate::row! {
    /// Accelerators of one kind on the PCI bus.
    pub struct BusDevice {
        /// Vendor, device and subsystem.
        id: PciId,
        /// What is bound to them.
        driver: BusDriver,
        /// How many.
        count: u16,
        /// How many of them report through a driver to this agent.
        reporting: u16,
        /// Their state, for those that do not report.
        state: DeviceState,
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
        /// Kernel release.
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
    }
}

crate::record! {
    /// The claims-set of the submodule `host`.
    pub struct HostSubmodule {
        /// Ours.
        -70_001 => host: HostClaims,
    }
}
