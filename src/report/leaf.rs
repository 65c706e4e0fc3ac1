//! Windows and bursts as they stay on the node, and the salted leaves by which a report is bound to them.
//!
//! Decides: the bytes of a leaf, and whether a leaf shown later is one that a report committed to. A leaf names its
//! device, window, field and count, so that nothing can be shown as something else; its salt keeps the root from
//! giving values away. Does not establish that what the driver said was true.

use crate::accounting::Compute;
use crate::cbor;
use crate::crypto::merkle;
use crate::id::{DeviceUuid, Digest};
use crate::telemetry::{Measured, Reading};
use crate::time::BootNanos;
use crate::workload::{Class, Features, Level};
use serde::Serialize;

crate::code! {
    /// What a leaf holds of its window.
    pub enum LeafField {
        /// Sums, features and scores.
        Sums = 0 => "sums",
        /// The times of the instants of bursts, in milliseconds after the start of the window.
        BurstTimes = 1 => "burst times",
        /// Power at those instants, in milliwatts.
        BurstPower = 2 => "burst power",
        /// NVLink kibibytes sent between those instants.
        BurstNvlinkTx = 3 => "burst nvlink sent",
        /// NVLink kibibytes received between those instants.
        BurstNvlinkRx = 4 => "burst nvlink received",
        /// SM activity at those instants at which a pair of samples ended, in parts per million; the next two likewise. A device that tells of none
        /// has no such leaves.
        BurstSm = 5 => "burst sm",
        /// Any tensor pipe.
        BurstTensor = 6 => "burst tensor",
        /// DRAM.
        BurstDram = 7 => "burst dram",
    }
}

crate::record! {
    /// What a window holds about one device.
    pub struct WindowSums {
        /// Time covered by samples, in milliseconds.
        0 => covered_ms: u32,
        /// Sums.
        1 => measured: Measured,
        /// Compute; absent where the model is not in the catalogue.
        #[serde(rename = "compute_tpp_hours")]
        2 => compute: Option<Compute>,
        /// Features.
        3 => features: Features,
        /// Lead of each class over the best of the others, in hundredths of a nat.
        #[serde(serialize_with = "crate::workload::by_class")]
        4 => centinats: Vec<i16>,
        /// The class that leads by enough; absent is `cannot tell`.
        5 => class: Option<Class>,
    }
}

crate::record! {
    /// A leaf of the tree whose root the device's claims carry.
    pub struct Leaf {
        /// Random.
        #[serde(serialize_with = "crate::unit::serialize_hex")]
        0 => salt: [u8; 16],
        /// The device.
        1 => device: DeviceUuid,
        /// Start of the window.
        #[serde(rename = "start_boot_ns")]
        2 => start: BootNanos,
        /// End of the window.
        #[serde(rename = "end_boot_ns")]
        3 => end: BootNanos,
        /// What it holds.
        4 => field: LeafField,
        /// How many: samples for sums, values for a series.
        5 => count: u32,
        /// For [`LeafField::Sums`].
        6 => sums: Option<WindowSums>,
        /// For a series.
        7 => values: Option<Vec<Reading<u32>>>,
    }
}

/// One closed window of one device: what the node keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClosedWindow {
    /// Index that the driver gives the device.
    pub index: u16,
    /// The device.
    pub device: DeviceUuid,
    /// Start.
    pub start: BootNanos,
    /// End.
    pub end: BootNanos,
    /// Samples taken.
    pub samples: u32,
    /// Sums, features and scores.
    pub sums: WindowSums,
    /// How far the run that it belongs to goes towards training so far; none where nothing of it was seen.
    pub level: Option<Level>,
    /// Place of the first of its leaves in the device's tree for this report.
    pub first_leaf: u32,
    /// Its leaves, encoded, in the order of the tree.
    #[serde(skip)]
    pub leaves: Vec<Vec<u8>>,
}

/// That one leaf stands in the tree of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeafProof {
    /// Place in the tree.
    pub index: u64,
    /// Leaves in the tree.
    pub size: u64,
    /// Hashes from the leaf's sibling upwards.
    pub path: Vec<Digest>,
}

/// The proof for the encoded leaf at `index` of all the leaves of a device in a report, in order.
#[must_use]
pub fn leaf_proof(leaves: &[Vec<u8>], index: usize) -> Option<LeafProof> {
    leaves.get(index)?;
    let hashes: Vec<Digest> = leaves.iter().map(|l| merkle::leaf_hash(l)).collect();
    Some(LeafProof {
        index: u64::try_from(index).ok()?,
        size: u64::try_from(leaves.len()).ok()?,
        path: merkle::inclusion_path(index, &hashes),
    })
}

/// Why a leaf that was shown is not one that a report committed to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeafError {
    /// It is not under the report's root.
    #[error("the window that was shown is not under the root in the report")]
    Proof(#[source] merkle::ProofError),
    /// It is, but it is not a leaf of this profile.
    #[error("the window that was shown is not a leaf of this profile")]
    Decode(#[source] cbor::DecodeError),
}

/// Reads a leaf that was shown, after checking that it stands under `root`, from the device's claims in a report.
///
/// # Errors
/// [`LeafError`]. Leaf and proof are untrusted.
pub fn open_leaf(leaf: &[u8], proof: &LeafProof, root: &Digest) -> Result<Leaf, LeafError> {
    merkle::verify_inclusion(
        &merkle::leaf_hash(leaf),
        proof.index,
        proof.size,
        &proof.path,
        root,
    )
    .map_err(LeafError::Proof)?;
    cbor::decode_strict(leaf).map_err(LeafError::Decode)
}
