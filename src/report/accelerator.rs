//! The submodule of one accelerator: who it is, and what it did in the report's time.

use crate::id::{DeviceUuid, Digest, PciId};
use crate::telemetry::{DeviceState, Gap, Reading};
use crate::unit::MicroTppHours;

crate::record! {
    /// NVLink fabric membership (nvmlDeviceGetGpuFabricInfoV).
    pub struct Fabric {
        /// State: 0 not supported, 1 not started, 2 in progress, 3 completed.
        0 => state: u8,
        /// Cluster UUID; all zero on a host without NVSwitch fabric.
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
        /// Active NVLink links.
        15 => nvlink_links: Option<u8>,
        /// Whether MIG mode is on, and the instances; absent where the part has no MIG.
        16 => mig: Option<Vec<MigInstance>>,
        /// ECC mode, where the part has it.
        17 => ecc: Option<bool>,
        /// Whether per-pipe activity (GPM) is available.
        18 => pipe_activity: bool,
    }
}

crate::row! {
    /// Mean and extremes over the covered time.
    pub struct Spread {
        /// Time-weighted mean.
        mean: u32,
        /// Smallest sample.
        min: u32,
        /// Largest sample.
        max: u32,
    }
}

crate::row! {
    /// Bytes over a link in the covered time, from cumulative counters.
    pub struct Traffic {
        /// Sent.
        tx: u64,
        /// Received.
        rx: u64,
    }
}

crate::record! {
    /// Time for which a pipe was busy, in milliseconds: the integral of its share over the covered time.
    pub struct PipeTimes {
        /// SMs.
        0 => sm: u64,
        /// Any tensor pipe.
        1 => tensor: u64,
        /// FP64 tensor.
        2 => dfma: u64,
        /// Half-precision tensor.
        3 => hmma: u64,
        /// Integer tensor.
        4 => imma: u64,
        /// DRAM.
        5 => dram: u64,
        /// FP64.
        6 => fp64: u64,
        /// FP32.
        7 => fp32: u64,
        /// FP16.
        8 => fp16: u64,
        /// Integer.
        9 => integer: u64,
    }
}

crate::code! {
    /// What the lower bound and the point of a compute figure rest on.
    pub enum ComputeMethod {
        /// Per-pipe activity times the SM clock.
        PipeActivity = 0 => "pipe activity",
        /// Only the time in which a kernel was resident.
        BusyTime = 1 => "busy time",
        /// Only the energy counter.
        Energy = 2 => "energy",
        /// Nothing but the length of the report's time.
        ElapsedTime = 3 => "elapsed time",
    }
}

crate::record! {
    /// Compute delivered, in millionths of a TPP-hour, as bounds.
    pub struct Compute {
        /// What the truth is not below. Zero where only utilisation or power exist.
        0 => lower: MicroTppHours,
        /// What the counters say, between the bounds.
        1 => counter: MicroTppHours,
        /// What the truth is not above, if the driver's inputs are true. Gaps count at the peak rate.
        2 => upper: MicroTppHours,
        /// What the truth is not above whatever the driver says: the catalogue's peak for the whole of the time.
        3 => upper_unconditional: MicroTppHours,
        /// What it rests on.
        4 => method: ComputeMethod,
    }
}

crate::record! {
    /// What was measured, each sum over the covered time.
    pub struct Measured {
        /// Energy, in millijoules, from the counter.
        0 => energy_mj: Reading<u64>,
        /// Energy, in millijoules, as the integral of sampled power: a check on the counter.
        1 => power_integral_mj: Reading<u64>,
        /// Time in which a kernel was resident, in milliseconds (sampled).
        2 => busy_ms: Reading<u64>,
        /// Time for which the pipes were busy (sampled, GPM means).
        3 => pipes: Reading<PipeTimes>,
        /// Power, in milliwatts.
        4 => power_mw: Reading<Spread>,
        /// SM clock, in megahertz.
        5 => sm_clock_mhz: Reading<Spread>,
        /// Memory in use, in mebibytes.
        6 => memory_used_mib: Reading<Spread>,
        /// Highest temperature, in degrees Celsius.
        7 => temperature_max_c: Reading<i32>,
        /// Clock-event bits that were set at some sample.
        8 => clock_events: Reading<u64>,
        /// NVLink bytes.
        9 => nvlink: Reading<Traffic>,
        /// PCIe bytes.
        10 => pcie: Reading<Traffic>,
        /// How often a cumulative counter was seen to start anew.
        11 => counter_resets: u32,
    }
}

crate::record! {
    /// First workload scores of the report's windows.
    pub struct WorkloadScores {
        /// Log-likelihood ratios in hundredths of a nat, one per class in the order of
        /// [`crate::workload::Class`], averaged over the windows that were scored.
        0 => centinats: Vec<i16>,
        /// Windows found to be of each class, in the same order; the last entry counts `cannot tell`.
        1 => windows: Vec<u16>,
    }
}

crate::record! {
    /// What the accelerator delivered in the report's time.
    pub struct Delivered {
        /// Time covered by samples, in milliseconds.
        0 => covered_ms: u32,
        /// Samples taken.
        1 => samples: u32,
        /// Stretches without samples; at most [`Delivered::MAX_GAPS`], the rest is summed into the last.
        2 => gaps: Vec<Gap>,
        /// Sums.
        3 => measured: Measured,
        /// Compute; absent where the model is not in the catalogue.
        4 => compute: Option<Compute>,
        /// Compute in windows that were scored as training, and the most that may have been training.
        5 => training: Option<Compute>,
        /// Scores.
        6 => workload: WorkloadScores,
        /// Root of the salted Merkle tree over windows and bursts that stay on the node (RFC 9162 hashing).
        7 => windows_root: Digest,
        /// Leaves in that tree.
        8 => windows_leaves: u32,
    }
}

impl Delivered {
    /// The most gaps that one report lists for a device.
    pub const MAX_GAPS: usize = 32;
}

crate::record! {
    /// The claims of one accelerator: a submodule of the report, entered by digest.
    pub struct AcceleratorClaims {
        /// Random salt, so that the digest in the token gives nothing away.
        0 => salt: [u8; 16],
        /// Who it is.
        1 => identity: AcceleratorIdentity,
        /// The state it was in at the end.
        2 => state: DeviceState,
        /// What it did.
        3 => delivered: Delivered,
    }
}

crate::record! {
    /// The detached claims-set of the submodules `gpu-0`, `gpu-1`, ….
    pub struct AcceleratorSubmodule {
        /// Ours.
        -70_002 => accelerator: AcceleratorClaims,
    }
}
