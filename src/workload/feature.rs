//! The features of a window: their names, their keys in a leaf, and in which unit.
//!
//! Decides: which of them a table or a tree may name. How each is computed stands in [`super::series`].

use crate::unit::Ppm;

crate::record! {
    /// Features of a window; parts per million where nothing else is said.
    #[derive(Default)]
    pub struct Features {
        /// Points of about a second, at most those of the last minute.
        0 => points: u32,
        /// SMs busy.
        1 => sm: Option<Ppm>,
        /// A kernel resident.
        2 => busy: Option<Ppm>,
        /// Any tensor pipe.
        3 => tensor: Option<Ppm>,
        /// Tensor activity for each SM activity.
        4 => tensor_per_sm: Option<Ppm>,
        /// Tensor activity for each DRAM activity.
        5 => tensor_per_dram: Option<Ppm>,
        /// DRAM.
        6 => dram: Option<Ppm>,
        /// FP64, tensor or not.
        7 => fp64: Option<Ppm>,
        /// FP32.
        8 => fp32: Option<Ppm>,
        /// Integer.
        9 => integer: Option<Ppm>,
        /// Points with NVLink traffic.
        10 => link_active: Option<Ppm>,
        /// The lesser direction of NVLink traffic, of the greater.
        11 => link_symmetry: Option<Ppm>,
        /// Standard deviation of power, of its mean.
        12 => power_variation: Option<Ppm>,
        /// Highest peak of the autocorrelation.
        13 => periodicity: Option<Ppm>,
        /// Its lag, in milliseconds.
        14 => period_ms: Option<u32>,
        /// Likeness of movement to the node's other devices; a negative one counts as none.
        15 => synchrony: Option<Ppm>,
        /// DRAM activity for each SM activity; the next three likewise.
        16 => dram_per_sm: Option<Ppm>,
        /// FP64, tensor or not.
        17 => fp64_per_sm: Option<Ppm>,
        /// FP32.
        18 => fp32_per_sm: Option<Ppm>,
        /// Integer.
        19 => integer_per_sm: Option<Ppm>,
        /// SM activity for the time in which a kernel was resident.
        20 => sm_per_busy: Option<Ppm>,
        /// How much tensor activity for each SM activity spreads over the points that worked, of its mean.
        21 => tensor_mix: Option<Ppm>,
        /// The same of DRAM.
        22 => dram_mix: Option<Ppm>,
        /// Standard deviation of SM activity over the points that worked, of its mean.
        23 => sm_variation: Option<Ppm>,
        /// Points that did not work.
        24 => resting: Option<Ppm>,
        /// Tensor activity for each DRAM activity, of a device whose links were used at most points.
        25 => linked_tensor_per_dram: Option<Ppm>,
        /// How much of the movement of links or power repeats itself: by the cumulative mean normalised difference (YIN), or by the normalised periodogram
        /// (Lomb and Scargle) where too much is missing.
        26 => rhythm: Option<Ppm>,
        /// After how long, in milliseconds; absent where nothing does within a third of what was seen.
        27 => rhythm_ms: Option<u32>,
        /// Samples of 200 ms of a burst, else points, in which tensor pipes led; the next three likewise.
        28 => tensor_phase: Option<Ppm>,
        /// Memory led.
        29 => memory_phase: Option<Ppm>,
        /// Neither, though the SMs were busy.
        30 => other_phase: Option<Ppm>,
        /// The SMs rested, or waited.
        31 => rest_phase: Option<Ppm>,
        /// Turns from one of these to another, for each sample.
        32 => turns: Option<Ppm>,
        /// Standard deviation of the lengths between starts of work, of its sum with their mean.
        33 => burstiness: Option<Ppm>,
        /// Falls of activity to less than half that came back within a minute, a million for one an hour.
        34 => dips: Option<Ppm>,
        /// How even they are spaced.
        35 => dip_evenness: Option<Ppm>,
        /// Starts after ten seconds of rest or more, a million for one an hour.
        36 => restarts: Option<Ppm>,
        /// Time of the last ten minutes, or of the last minute where no more is known, in which memory in use was within 1 % of its median.
        37 => plateau: Option<Ppm>,
        /// Points with PCIe traffic.
        38 => pcie_active: Option<Ppm>,
        /// The lesser direction of it, of the greater.
        39 => pcie_symmetry: Option<Ppm>,
        /// Standard deviation of power, in samples as of the phases, from the line through activities that fits it best, of its mean.
        40 => power_residual: Option<Ppm>,
        /// By how much NVLink traffic rises and falls in a fixed rhythm, of its mean; of the latest burst while links are in use.
        41 => link_beat: Option<Ppm>,
        /// Of the same burst, time at full tensor activity in which links rested.
        42 => link_apart: Option<Ppm>,
        /// Of the same burst, bytes sent over NVLink in each beat, of memory in use.
        43 => beat_per_memory: Option<Ppm>,
    }
}

impl Features {
    /// How many a table or a tree may name.
    pub const COUNT: usize = 41;

    /// Their names, in the order of [`Features::values`].
    pub const NAMES: [&'static str; Self::COUNT] = [
        "sm",
        "busy",
        "tensor",
        "tensor_per_sm",
        "tensor_per_dram",
        "dram",
        "fp64",
        "fp32",
        "integer",
        "link_active",
        "link_symmetry",
        "power_variation",
        "periodicity",
        "synchrony",
        "dram_per_sm",
        "fp64_per_sm",
        "fp32_per_sm",
        "integer_per_sm",
        "sm_per_busy",
        "tensor_mix",
        "dram_mix",
        "sm_variation",
        "resting",
        "linked_tensor_per_dram",
        "rhythm",
        "tensor_phase",
        "memory_phase",
        "other_phase",
        "rest_phase",
        "turns",
        "burstiness",
        "dips",
        "dip_evenness",
        "restarts",
        "plateau",
        "pcie_active",
        "pcie_symmetry",
        "power_residual",
        "link_beat",
        "link_apart",
        "beat_per_memory",
    ];

    /// Their values, in parts per million.
    #[must_use]
    pub fn values(&self) -> [Option<i64>; Self::COUNT] {
        [
            self.sm,
            self.busy,
            self.tensor,
            self.tensor_per_sm,
            self.tensor_per_dram,
            self.dram,
            self.fp64,
            self.fp32,
            self.integer,
            self.link_active,
            self.link_symmetry,
            self.power_variation,
            self.periodicity,
            self.synchrony,
            self.dram_per_sm,
            self.fp64_per_sm,
            self.fp32_per_sm,
            self.integer_per_sm,
            self.sm_per_busy,
            self.tensor_mix,
            self.dram_mix,
            self.sm_variation,
            self.resting,
            self.linked_tensor_per_dram,
            self.rhythm,
            self.tensor_phase,
            self.memory_phase,
            self.other_phase,
            self.rest_phase,
            self.turns,
            self.burstiness,
            self.dips,
            self.dip_evenness,
            self.restarts,
            self.plateau,
            self.pcie_active,
            self.pcie_symmetry,
            self.power_residual,
            self.link_beat,
            self.link_apart,
            self.beat_per_memory,
        ]
        .map(|value| value.map(|p| i64::from(p.0)))
    }
}
