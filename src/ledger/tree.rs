//! Roots and proofs from the hashes of complete subtrees, wherever these are kept.

use crate::crypto::merkle::{empty_root, node_hash};
use crate::id::Digest;

/// Where the hashes of complete subtrees are kept.
pub trait Nodes {
    /// The hash over leaves `index << level` up to, not including, `(index + 1) << level`; `None` if it is not held.
    fn node(&self, level: u32, index: u64) -> Option<Digest>;
}

/// Why a root or proof cannot be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// The store lacks a subtree that the tree's size says it holds.
    #[error("the ledger's store lacks the subtree at level {level}, index {index}; restore it from a backup")]
    Missing {
        /// Level, 0 for leaves.
        level: u32,
        /// Index on that level.
        index: u64,
    },
    /// The place is outside the tree.
    #[error("leaf {index} is outside a tree of {size}")]
    Outside {
        /// The place.
        index: u64,
        /// The tree's size.
        size: u64,
    },
}

/// The root of the first `size` leaves.
///
/// # Errors
/// [`TreeError::Missing`].
pub fn root(size: u64, nodes: &dyn Nodes) -> Result<Digest, TreeError> {
    if size == 0 {
        Ok(empty_root())
    } else {
        subtree(0, size, nodes)
    }
}

/// The inclusion path of leaf `index` in the tree of `size` leaves, from the sibling upwards.
///
/// # Errors
/// [`TreeError`].
pub fn inclusion_path(index: u64, size: u64, nodes: &dyn Nodes) -> Result<Vec<Digest>, TreeError> {
    if index >= size {
        return Err(TreeError::Outside { index, size });
    }
    let (mut start, mut len, mut path) = (0u64, size, Vec::new());
    while len > 1 {
        let left = split_point(len);
        let middle = start.saturating_add(left);
        let right = len.saturating_sub(left);
        if index < middle {
            path.push(subtree(middle, right, nodes)?);
            len = left;
        } else {
            path.push(subtree(start, left, nodes)?);
            (start, len) = (middle, right);
        }
    }
    path.reverse();
    Ok(path)
}

/// The proof that the tree of `new` leaves continues that of `old` leaves (RFC 9162 section 2.1.4.1).
///
/// # Errors
/// [`TreeError`].
pub fn consistency_path(old: u64, new: u64, nodes: &dyn Nodes) -> Result<Vec<Digest>, TreeError> {
    if old > new {
        return Err(TreeError::Outside {
            index: old,
            size: new,
        });
    }
    if old == 0 || old == new {
        return Ok(Vec::new());
    }
    let (mut start, mut len, mut old_left, mut whole, mut path) = (0u64, new, old, true, Vec::new());
    while old_left != len {
        let left = split_point(len);
        let middle = start.saturating_add(left);
        let right = len.saturating_sub(left);
        if old_left <= left {
            path.push(subtree(middle, right, nodes)?);
            len = left;
        } else {
            path.push(subtree(start, left, nodes)?);
            old_left = old_left.saturating_sub(left);
            (start, len) = (middle, right);
            whole = false;
        }
    }
    if !whole {
        path.push(subtree(start, len, nodes)?);
    }
    path.reverse();
    Ok(path)
}

/// The hash over `len` leaves from `start`, where `start` is a multiple of the power of two at or above `len`.
fn subtree(start: u64, len: u64, nodes: &dyn Nodes) -> Result<Digest, TreeError> {
    if len.is_power_of_two() {
        let level = len.trailing_zeros();
        let index = start.checked_shr(level).unwrap_or(0);
        return nodes
            .node(level, index)
            .ok_or(TreeError::Missing { level, index });
    }
    let left = split_point(len);
    let right = len.saturating_sub(left);
    Ok(node_hash(
        &subtree(start, left, nodes)?,
        &subtree(start.saturating_add(left), right, nodes)?,
    ))
}

/// The largest power of two below `len`, for `len` of two or more.
fn split_point(len: u64) -> u64 {
    len.saturating_sub(1)
        .checked_ilog2()
        .and_then(|bits| 1u64.checked_shl(bits))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::merkle::{leaf_hash, verify_consistency, verify_inclusion};
    use proptest::prelude::*;

    struct Leaves(Vec<Digest>);

    impl Nodes for Leaves {
        fn node(&self, level: u32, index: u64) -> Option<Digest> {
            let (from, to) = ((index << level) as usize, ((index + 1) << level) as usize);
            self.0.get(from..to).map(crate::crypto::merkle::root)
        }
    }

    fn leaves(n: u64) -> Leaves {
        Leaves((0..n).map(|i| leaf_hash(&i.to_be_bytes())).collect())
    }

    proptest! {
        #[test]
        fn proofs_hold_for_every_place_and_every_older_tree(n in 1u64..130, at in 0u64..130, old in 0u64..130) {
            let (at, old) = (at % n, old % (n + 1));
            let tree = leaves(n);
            let top = root(n, &tree).unwrap();
            prop_assert_eq!(top, crate::crypto::merkle::root(&tree.0));
            let path = inclusion_path(at, n, &tree).unwrap();
            prop_assert_eq!(&path, &crate::crypto::merkle::inclusion_path(at as usize, &tree.0));
            prop_assert_eq!(verify_inclusion(&tree.0[at as usize], at, n, &path, &top), Ok(()));
            let older = root(old, &tree).unwrap();
            let proof = consistency_path(old, n, &tree).unwrap();
            prop_assert_eq!(verify_consistency(old, &older, n, &top, &proof), Ok(()));
            if old > 0 && old < n {
                prop_assert!(verify_consistency(old, &leaf_hash(b"forged"), n, &top, &proof).is_err());
            }
        }
    }
}
