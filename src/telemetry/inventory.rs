//! The devices of a node, and the driver through which they were asked.
//!
//! Everything here is `driver-reported` or `host-observed`: names, serials and UUIDs are what the host said.

use super::{DeviceState, Reading};
use crate::id::{DeviceUuid, Digest, PciId};
use crate::time::BootNanos;
use crate::unit::Ppm;

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
    /// Where the list of devices on the PCI bus came from.
    pub enum BusSource {
        /// The kernel's own sysfs, at `/sys`.
        System = 0 => "system",
        /// A tree elsewhere, which the operator configured.
        Configured = 1 => "configured",
        /// Nowhere: it could not be read, so an empty list says nothing.
        Unreadable = 2 => "unreadable",
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

crate::row! {
    /// NVSwitches of one kind on the PCI bus. They compute nothing, so they are not among the accelerators.
    pub struct BusSwitch {
        /// Vendor, device and subsystem.
        id: PciId,
        /// What is bound to them.
        driver: BusDriver,
        /// How many.
        count: u16,
    }
}

crate::row! {
    /// Active NVLink links of a device, by what stands at their other end.
    pub struct NvlinkLinks {
        /// Links to another GPU (nvmlDeviceGetNvLinkRemoteDeviceType).
        to_gpus: u8,
        /// Links to an NVSwitch.
        to_switches: u8,
        /// Links to something else, or to what the driver does not name.
        to_others: u8,
        /// How many different devices stand at the other ends (nvmlDeviceGetNvLinkRemotePciInfo).
        ends: Reading<u8>,
    }
}

crate::record! {
    /// NVLink fabric membership (nvmlDeviceGetGpuFabricInfoV).
    pub struct Fabric {
        /// State: 0 not supported, 1 not started, 2 in progress, 3 completed.
        0 => state: u8,
        /// Cluster UUID; all zero on a host without NVSwitch fabric.
        #[serde(serialize_with = "crate::unit::serialize_hex")]
        1 => cluster: [u8; 16],
        /// Clique id.
        2 => clique: u32,
    }
}

crate::row! {
    /// MIG instances of one size.
    pub struct MigInstance {
        /// Compute slices, of seven.
        slices: u8,
        /// How many such instances.
        count: u8,
    }
}

crate::row! {
    /// A MIG device: what a scheduler hands out of a divided GPU. It stays on the node: an [`AcceleratorIdentity`] has sizes alone.
    pub struct MigDevice {
        /// UUID.
        #[serde(serialize_with = "as_mig")]
        uuid: DeviceUuid,
        /// Index of the GPU that it is a part of.
        index: u16,
        /// The part of the GPU's compute that it has at most, by its slices or its multiprocessors, rounded up.
        #[serde(rename = "part_ppm")]
        part: Ppm,
    }
}

/// In the driver's spelling of a MIG device.
fn as_mig<S: serde::Serializer>(uuid: &DeviceUuid, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&uuid.nvml_mig())
}

crate::record! {
    /// Who an accelerator is, as the driver reports it.
    pub struct AcceleratorIdentity {
        /// Index that the driver gives it; it may change at a reboot.
        0 => index: u16,
        /// UUID.
        1 => uuid: DeviceUuid,
        /// Serial number of the board, where the driver tells.
        2 => serial: Option<String>,
        /// PCI identifiers.
        3 => pci: PciId,
        /// Name.
        4 => name: String,
        /// Board part number.
        5 => board_part: Option<String>,
        /// VBIOS version.
        6 => vbios: Option<String>,
        /// GSP firmware version.
        7 => gsp_firmware: Option<String>,
        /// Memory, in mebibytes.
        8 => memory_mib: Reading<u64>,
        /// Cores as NVML counts them (FP32 lanes).
        9 => cores: Reading<u32>,
        /// Highest SM clock, in megahertz.
        10 => max_sm_clock_mhz: Reading<u32>,
        /// Power limit in force, in milliwatts.
        11 => power_limit_mw: Reading<u32>,
        /// Per-device identifier (PDI, 64 bits), where the driver tells.
        12 => pdi: Option<u64>,
        /// Slot on the baseboard.
        13 => module_id: Option<u32>,
        /// Fabric membership.
        14 => fabric: Option<Fabric>,
        /// Active NVLink links; absent where the part has none or the driver does not tell.
        15 => nvlink_links: Option<NvlinkLinks>,
        /// Whether MIG mode is on, and the instances; absent where the part has no MIG.
        16 => mig: Option<Vec<MigInstance>>,
        /// ECC mode, where the part has it.
        17 => ecc: Option<bool>,
        /// Whether per-pipe activity (GPM) is available.
        18 => pipe_activity: bool,
    }
}

crate::record! {
    /// The devices that the sampler found, and the driver through which it found them.
    pub struct Inventory {
        /// When.
        #[serde(rename = "at_boot_ns")]
        0 => at: BootNanos,
        /// The driver and its library.
        1 => driver: Option<HostDriver>,
        /// Devices that answer through the driver, in the order of their index.
        2 => devices: Vec<AcceleratorIdentity>,
        /// Accelerators seen on the PCI bus, managed or not.
        3 => bus: Vec<BusDevice>,
        /// Where the bus was listed from.
        4 => bus_source: BusSource,
        /// NVSwitches seen on the PCI bus.
        5 => switches: Vec<BusSwitch>,
        /// MIG devices, where there are any.
        6 => mig_devices: Option<Vec<MigDevice>>,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An H100 with SXM.
    pub(crate) fn h100() -> AcceleratorIdentity {
        AcceleratorIdentity {
            index: 0,
            uuid: DeviceUuid([1; 16]),
            serial: None,
            pci: PciId {
                vendor: 0x10de,
                device: 0x2330,
                ..PciId::default()
            },
            name: "NVIDIA H100 80GB HBM3".to_owned(),
            board_part: None,
            vbios: None,
            gsp_firmware: None,
            memory_mib: Reading::Value(81_559),
            cores: Reading::Value(16_896),
            max_sm_clock_mhz: Reading::Value(1_980),
            power_limit_mw: Reading::Value(700_000),
            pdi: None,
            module_id: None,
            fabric: None,
            nvlink_links: None,
            mig: None,
            ecc: Some(true),
            pipe_activity: true,
        }
    }
}
