//! Sums over the covered time of a window or a report.

use super::Reading;

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
        #[serde(rename = "tx_bytes")]
        tx: u64,
        /// Received.
        #[serde(rename = "rx_bytes")]
        rx: u64,
    }
}

crate::row! {
    /// Processes that ended on a device, as the driver's accounting mode lists them: how many, never which.
    pub struct Jobs {
        /// How many were found to have ended. One with the number of an earlier process is taken for it.
        ended: u32,
        /// The longest time that one of them lived, in seconds.
        longest_s: u32,
    }
}

impl Jobs {
    /// None ended.
    pub const NONE: Self = Self {
        ended: 0,
        longest_s: 0,
    };

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            ended: self.ended.saturating_add(other.ended),
            longest_s: self.longest_s.max(other.longest_s),
        }
    }
}

crate::code! {
    /// How an amount was come by.
    pub enum Method {
        /// The difference of a cumulative counter: what happened between two readings is in it.
        Counter = 0 => "counter",
        /// The integral of means over the time that samples cover.
        Sampled = 1 => "sampled",
    }
}

crate::code! {
    /// Who tells which pipes were busy.
    pub enum ActivitySource {
        /// Nobody: the architecture does not offer it, or it was not answered.
        None = 0 => "none",
        /// Pairs of GPM samples, whose means hold between the two (Hopper and later).
        Gpm = 1 => "gpm",
        /// GPM counters since the last reboot: a lost sample costs nothing.
        GpmCounters = 2 => "gpm counters",
        /// A DCGM host engine that ran already.
        Dcgm = 3 => "dcgm",
    }
}

crate::record! {
    /// Time for which a pipe was busy, in milliseconds: the integral of its share over the covered time.
    ///
    /// A pipe that the driver does not tell apart is missing, not zero.
    pub struct PipeTimes {
        /// SMs.
        0 => sm: Reading<u64>,
        /// Any tensor pipe.
        1 => tensor: Reading<u64>,
        /// FP64 tensor.
        2 => dfma: Reading<u64>,
        /// Half-precision tensor.
        3 => hmma: Reading<u64>,
        /// Integer tensor.
        4 => imma: Reading<u64>,
        /// DRAM.
        5 => dram: Reading<u64>,
        /// FP64.
        6 => fp64: Reading<u64>,
        /// FP32.
        7 => fp32: Reading<u64>,
        /// FP16.
        8 => fp16: Reading<u64>,
        /// Integer.
        9 => integer: Reading<u64>,
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
        #[serde(rename = "pipes_ms")]
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
        /// How the PCIe bytes were come by.
        12 => pcie_method: Method,
        /// Who told of the pipes.
        13 => activity_source: ActivitySource,
        /// Processes that ended; absent where nobody switched the driver's accounting mode on.
        14 => jobs: Option<Jobs>,
    }
}
