//! The devices that can be played: names, PCI ids, memory, clocks, limits and what their driver supports.
//!
//! The figures are those that `nvidia-smi` and vendor data sheets give for these parts. What an architecture does not
//! offer (GPM before Hopper, average power on A100, NVLink on L40S) is answered as not supported, as its driver does.

use nvml_wrapper_sys::bindings::{
    NVML_DEVICE_ARCH_ADA, NVML_DEVICE_ARCH_AMPERE, NVML_DEVICE_ARCH_BLACKWELL, NVML_DEVICE_ARCH_HOPPER,
};
use serde::Deserialize;

/// The name of a profile in a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum ProfileName {
    /// H100 SXM5 80 GB.
    H100,
    /// H200 SXM5 141 GB.
    H200,
    /// B200 SXM6 180 GB.
    B200,
    /// A100 SXM4 80 GB.
    A100,
    /// L40S, a PCIe card without NVLink.
    L40S,
    /// H100 SXM5 80 GB in MIG mode, cut into seven instances.
    MIG,
}

/// What a driver says of a device and never changes.
#[derive(Debug)]
pub struct Profile {
    /// The name that the driver reports.
    pub name: &'static str,
    /// PCI device id; the vendor is NVIDIA.
    pub device_id: u16,
    /// PCI subsystem device id.
    pub subsystem_id: u16,
    /// `NVML_DEVICE_ARCH_*`.
    pub architecture: u32,
    /// CUDA compute capability, major and minor.
    pub compute_capability: (i32, i32),
    /// CUDA cores.
    pub cores: u32,
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Width of the memory bus in bits.
    pub memory_bus_bits: u32,
    /// Device memory in MiB, and the part of it that the driver reserves.
    pub memory_mib: u32,
    /// Memory that the driver keeps for itself, in MiB.
    pub reserved_mib: u32,
    /// Default and enforced power limit, W.
    pub power_limit_w: u32,
    /// Lowest power limit that can be set, W.
    pub power_min_w: u32,
    /// What an idle device draws, W.
    pub idle_w: u32,
    /// Highest SM clock, MHz.
    pub sm_max_mhz: u32,
    /// SM clock when idle, MHz.
    pub sm_idle_mhz: u32,
    /// Memory clock, MHz.
    pub memory_mhz: u32,
    /// Highest video clock, MHz.
    pub video_mhz: u32,
    /// PCIe generation of the link.
    pub pcie_generation: u32,
    /// NVLink links; 0 where the part has none.
    pub nvlinks: u32,
    /// Speed of one link, MB/s.
    pub nvlink_mbps: u32,
    /// `NVML_NVLINK_VERSION_*`.
    pub nvlink_version: u32,
    /// NVSwitches on an eight-GPU board, and their PCI device id.
    pub nvswitches: (u16, u16),
    /// Whether GPU performance monitoring is there (Hopper and later).
    pub gpm: bool,
    /// Whether its devices sign reports when confidential computing is on (Hopper and later).
    pub confidential: bool,
    /// Whether `nvmlDeviceGetPowerUsage` and field 185 give an average over 1 s; A100 gives the instant only.
    pub average_power: bool,
    /// Whether NVLink bytes are counted in KiB by fields 138 to 141; Blackwell counts bytes in 202 and 204 instead.
    pub nvlink_kib_fields: bool,
    /// Whether the part can be cut into instances.
    pub mig_capable: bool,
    /// Whether it is.
    pub mig_enabled: bool,
    /// Whether the driver knows chassis, slot and tray (Blackwell and later).
    pub platform_info: bool,
    /// VBIOS version.
    pub vbios: &'static str,
    /// Board part number.
    pub board_part: &'static str,
    /// InfoROM image version.
    pub inforom: &'static str,
    /// Driver version, if the scenario gives none.
    pub driver_version: &'static str,
}

const H100: Profile = Profile {
    name: "NVIDIA H100 80GB HBM3",
    device_id: 0x2330,
    subsystem_id: 0x16c1,
    architecture: NVML_DEVICE_ARCH_HOPPER,
    compute_capability: (9, 0),
    cores: 16_896,
    multiprocessors: 132,
    memory_bus_bits: 5120,
    memory_mib: 81_559,
    reserved_mib: 479,
    power_limit_w: 700,
    power_min_w: 200,
    idle_w: 70,
    sm_max_mhz: 1980,
    sm_idle_mhz: 345,
    memory_mhz: 2619,
    video_mhz: 1545,
    pcie_generation: 5,
    nvlinks: 18,
    nvlink_mbps: 26_562,
    nvlink_version: 6,
    nvswitches: (4, 0x22a3),
    gpm: true,
    confidential: true,
    average_power: true,
    nvlink_kib_fields: true,
    mig_capable: true,
    mig_enabled: false,
    platform_info: false,
    vbios: "96.00.A5.00.01",
    board_part: "692-2G520-0200-000",
    inforom: "G520.0200.00.05",
    driver_version: "590.48.01",
};

static PLAIN_H100: Profile = H100;
static MIG: Profile = Profile {
    mig_enabled: true,
    ..H100
};
static H200: Profile = Profile {
    name: "NVIDIA H200",
    device_id: 0x2335,
    subsystem_id: 0x18be,
    memory_bus_bits: 6144,
    memory_mib: 143_771,
    reserved_mib: 614,
    idle_w: 78,
    memory_mhz: 3201,
    vbios: "96.00.A5.00.03",
    board_part: "695-2G520-0280-001",
    inforom: "G520.0280.02.02",
    ..H100
};
static B200: Profile = Profile {
    name: "NVIDIA B200",
    device_id: 0x2901,
    subsystem_id: 0x1999,
    architecture: NVML_DEVICE_ARCH_BLACKWELL,
    compute_capability: (10, 0),
    cores: 18_944,
    multiprocessors: 148,
    memory_bus_bits: 8192,
    memory_mib: 183_359,
    reserved_mib: 716,
    power_limit_w: 1000,
    idle_w: 140,
    sm_max_mhz: 1965,
    sm_idle_mhz: 120,
    memory_mhz: 3996,
    video_mhz: 1830,
    nvlink_mbps: 53_125,
    nvlink_version: 7,
    nvswitches: (0, 0),
    nvlink_kib_fields: false,
    platform_info: true,
    vbios: "97.00.9A.00.0F",
    board_part: "692-2G525-0220-000",
    inforom: "G525.0220.00.03",
    ..H100
};
static A100: Profile = Profile {
    name: "NVIDIA A100-SXM4-80GB",
    device_id: 0x20b2,
    subsystem_id: 0x1463,
    architecture: NVML_DEVICE_ARCH_AMPERE,
    compute_capability: (8, 0),
    cores: 6912,
    multiprocessors: 108,
    memory_mib: 81_920,
    reserved_mib: 631,
    power_limit_w: 400,
    power_min_w: 100,
    idle_w: 60,
    sm_max_mhz: 1410,
    sm_idle_mhz: 210,
    memory_mhz: 1593,
    video_mhz: 1290,
    pcie_generation: 4,
    nvlinks: 12,
    nvlink_mbps: 25_781,
    nvlink_version: 4,
    nvswitches: (6, 0x1af1),
    gpm: false,
    confidential: false,
    average_power: false,
    vbios: "92.00.45.00.03",
    board_part: "692-2G506-0212-002",
    inforom: "G506.0212.00.02",
    ..H100
};
static L40S: Profile = Profile {
    name: "NVIDIA L40S",
    device_id: 0x26b9,
    subsystem_id: 0x1851,
    architecture: NVML_DEVICE_ARCH_ADA,
    compute_capability: (8, 9),
    cores: 18_176,
    multiprocessors: 142,
    memory_bus_bits: 384,
    memory_mib: 46_068,
    reserved_mib: 609,
    power_limit_w: 350,
    power_min_w: 100,
    idle_w: 36,
    sm_max_mhz: 2520,
    sm_idle_mhz: 210,
    memory_mhz: 9001,
    video_mhz: 1965,
    pcie_generation: 4,
    nvlinks: 0,
    nvlink_mbps: 0,
    nvlink_version: 0,
    nvswitches: (0, 0),
    gpm: false,
    confidential: false,
    mig_capable: false,
    vbios: "95.02.66.00.02",
    board_part: "900-2G133-0080-000",
    inforom: "G133.0242.00.03",
    driver_version: "595.80",
    ..H100
};

/// MIG instances that a GPU of the MIG profile is cut into.
pub const MIG_INSTANCES: u32 = 7;
/// Multiprocessors of one instance.
pub const MIG_MULTIPROCESSORS: u32 = 16;
/// Memory of one instance, MiB.
pub const MIG_MEMORY_MIB: u32 = 9_984;
/// The GPU instance id of the first instance; the others follow.
pub const MIG_FIRST_INSTANCE: u32 = 7;

impl ProfileName {
    /// The profile of this name.
    #[must_use]
    pub fn profile(self) -> &'static Profile {
        match self {
            Self::H100 => &PLAIN_H100,
            Self::H200 => &H200,
            Self::B200 => &B200,
            Self::A100 => &A100,
            Self::L40S => &L40S,
            Self::MIG => &MIG,
        }
    }
}
