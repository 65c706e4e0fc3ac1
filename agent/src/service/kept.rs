//! What stays on the node of a report: the salted leaves over its windows and bursts, device by device.
//!
//! Decides: how they lie in the spool, and how one is shown. A leaf that is shown carries the path to the root in the report, and nothing
//! of the other leaves.

use weighbridge::cbor::{self, Bytes, DecodeError};
use weighbridge::id::{DeviceUuid, Digest};
use weighbridge::report::{ClosedWindow, Leaf, LeafError, LeafProof, OpenedReport, leaf_proof, open_leaf};

weighbridge::record! {
    /// The leaves of one device in one report, in the order of its tree.
    pub struct KeptLeaves {
        /// The device.
        0 => device: DeviceUuid,
        /// Encoded leaves.
        1 => leaves: Vec<Bytes>,
    }
}

/// A leaf, shown.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Shown {
    /// The leaf, readable.
    pub leaf: Leaf,
    /// The leaf's bytes, which the path is over.
    pub encoded: Bytes,
    /// The way to the root.
    pub proof: LeafProof,
    /// The root that the report carries.
    pub root: Digest,
}

/// Why a leaf cannot be shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShowError {
    /// What was kept is damaged.
    #[error("the windows kept for this report are damaged")]
    Damaged(#[from] DecodeError),
    /// What was kept is not what the report says.
    #[error("the windows kept for this report are not those that it was made from")]
    Proof(#[from] LeafError),
}

impl KeptLeaves {
    /// Adds closed windows to what is kept.
    pub fn add(kept: &mut Vec<Self>, closed: Vec<ClosedWindow>) {
        for window in closed {
            let leaves = window.leaves.into_iter().map(Bytes);
            match kept.iter_mut().find(|k| k.device == window.device) {
                Some(found) => found.leaves.extend(leaves),
                None => kept.push(Self {
                    device: window.device,
                    leaves: leaves.collect(),
                }),
            }
        }
    }

    /// As it lies in the spool; nothing where nothing is kept.
    #[must_use]
    pub fn encode(kept: Vec<Self>) -> Vec<u8> {
        if kept.is_empty() {
            Vec::new()
        } else {
            cbor::encode(&kept)
        }
    }

    /// Shows every leaf of `device` (`None`: of every device) that `report` commits to.
    ///
    /// # Errors
    /// [`ShowError`].
    pub fn show(
        stored: &[u8],
        report: &OpenedReport,
        device: Option<DeviceUuid>,
    ) -> Result<Vec<Shown>, ShowError> {
        if stored.is_empty() {
            return Ok(Vec::new());
        }
        let mut shown = Vec::new();
        for kept in cbor::decode_strict::<Vec<Self>>(stored)? {
            let claims = report
                .accelerators
                .iter()
                .flatten()
                .find(|a| a.identity.uuid == kept.device);
            let Some(claims) = claims.filter(|_| device.is_none_or(|d| d == kept.device)) else {
                continue;
            };
            let root = claims.delivered.windows_root;
            let leaves: Vec<Vec<u8>> = kept.leaves.into_iter().map(|b| b.0).collect();
            for (index, bytes) in leaves.iter().enumerate() {
                let Some(proof) = leaf_proof(&leaves, index) else {
                    continue;
                };
                shown.push(Shown {
                    leaf: open_leaf(bytes, &proof, &root)?,
                    encoded: Bytes(bytes.clone()),
                    proof,
                    root,
                });
            }
        }
        Ok(shown)
    }
}
