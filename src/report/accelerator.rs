//! The submodule of one accelerator: who it is, and what it did in the report's time.

use super::tenant::TenantShares;
use crate::accounting::{Compute, Observation, PipeCompute};
use crate::id::Digest;
use crate::telemetry::{AcceleratorIdentity, DeviceState, Gap, Measured};
use crate::workload::WorkloadScores;

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
        #[serde(rename = "compute_tpp_hours")]
        4 => compute: Option<Compute>,
        /// Compute in windows of runs in which training is established, and the most that may have been training.
        #[serde(rename = "training_tpp_hours")]
        5 => training: Option<Compute>,
        /// Scores.
        6 => workload: WorkloadScores,
        /// Root of the salted Merkle tree over windows and bursts that stay on the node (RFC 9162 hashing).
        7 => windows_root: Digest,
        /// Leaves in that tree.
        8 => windows_leaves: u32,
        /// Compute by pipe; absent where no pipe was told of, or the model is not in the catalogue.
        #[serde(rename = "by_pipe_tpp_hours")]
        9 => by_pipe: Option<PipeCompute>,
        /// What does not fit, at most [`Observation::MOST`].
        10 => observations: Vec<Observation>,
        /// What it did while tenants held it; absent where none did.
        11 => tenants: Option<TenantShares>,
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
        #[serde(serialize_with = "crate::unit::serialize_hex")]
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
