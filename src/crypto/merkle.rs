//! Merkle tree hashing and proofs as in RFC 6962 section 2.1 (RFC 9162 has the same): leaf = SHA-256(0x00 ‖ entry), node = SHA-256(0x01 ‖ left ‖ right).
//!
//! Decides: whether a leaf stands in a tree, and whether one tree continues another. Used for the ledger, and for the windows that stay on
//! a node. Does not establish who signed a root.

use super::primitive::{Sha256, sha256};
use crate::id::Digest;

/// The hash of a leaf.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Digest {
    let mut h = Sha256::default();
    h.update(&[0]).update(entry);
    h.finish()
}

/// The hash of an inner node.
#[must_use]
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let mut h = Sha256::default();
    h.update(&[1]).update(&left.0).update(&right.0);
    h.finish()
}

/// The root of the empty tree: SHA-256 of nothing.
#[must_use]
pub fn empty_root() -> Digest {
    sha256(&[])
}

/// The root over leaf hashes.
#[must_use]
pub fn root(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => empty_root(),
        [one] => *one,
        many => {
            let (left, right) = many.split_at(split_point(many.len()));
            node_hash(&root(left), &root(right))
        }
    }
}

/// The inclusion path of the leaf at `index` (RFC 6962 `PATH`), from the leaf's sibling upwards; empty where the index is outside.
#[must_use]
pub fn inclusion_path(index: usize, leaves: &[Digest]) -> Vec<Digest> {
    if leaves.len() <= 1 || index >= leaves.len() {
        return Vec::new();
    }
    let split = split_point(leaves.len());
    let (left, right) = leaves.split_at(split);
    let mut path;
    if index < split {
        path = inclusion_path(index, left);
        path.push(root(right));
    } else {
        path = inclusion_path(index.saturating_sub(split), right);
        path.push(root(left));
    }
    path
}

/// The largest power of two below `n`, for `n` of two or more.
fn split_point(n: usize) -> usize {
    n.saturating_sub(1)
        .checked_ilog2()
        .map_or(0, |bits| 1usize.checked_shl(bits).unwrap_or(0))
}

/// Why a proof does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The leaf's place is outside the tree.
    #[error("the proof is for a leaf outside the tree")]
    Outside,
    /// The path is too long or too short for the tree's size.
    #[error("the proof has the wrong length for the tree's size")]
    Length,
    /// The hashes do not lead to the root.
    #[error("the proof does not lead to the root")]
    Root,
    /// The older tree is the larger.
    #[error("the tree shrank")]
    Shrank,
}

/// Checks that `leaf` stands at `index` in the tree of `size` leaves with `root` (RFC 9162 section 2.1.3.2).
///
/// # Errors
/// [`ProofError`]. All arguments but the root are untrusted.
pub fn verify_inclusion(
    leaf: &Digest,
    index: u64,
    size: u64,
    path: &[Digest],
    root: &Digest,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::Outside);
    }
    let (mut place, mut last, mut hash) = (index, size.saturating_sub(1), *leaf);
    for sibling in path {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if place & 1 == 1 || place == last {
            hash = node_hash(sibling, &hash);
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        place >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::Length);
    }
    if hash == *root {
        Ok(())
    } else {
        Err(ProofError::Root)
    }
}

/// Checks that the tree (`new_size`, `new_root`) continues the tree (`old_size`, `old_root`) (RFC 9162 section 2.1.4.2).
///
/// # Errors
/// [`ProofError`]. The proof and the new tree are untrusted.
pub fn verify_consistency(
    old_size: u64,
    old_root: &Digest,
    new_size: u64,
    new_root: &Digest,
    path: &[Digest],
) -> Result<(), ProofError> {
    if old_size > new_size {
        return Err(ProofError::Shrank);
    }
    if old_size == new_size {
        if !path.is_empty() {
            return Err(ProofError::Length);
        }
        return if old_root == new_root {
            Ok(())
        } else {
            Err(ProofError::Root)
        };
    }
    if old_size == 0 {
        return if path.is_empty() {
            Ok(())
        } else {
            Err(ProofError::Length)
        };
    }
    let (mut place, mut last) = (old_size.saturating_sub(1), new_size.saturating_sub(1));
    while place & 1 == 1 {
        place >>= 1;
        last >>= 1;
    }
    let mut steps = path.iter();
    let start = if place == 0 {
        *old_root
    } else {
        *steps.next().ok_or(ProofError::Length)?
    };
    let (mut old, mut new) = (start, start);
    for step in steps {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if place & 1 == 1 || place == last {
            old = node_hash(step, &old);
            new = node_hash(step, &new);
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            new = node_hash(&new, step);
        }
        place >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::Length);
    }
    if old == *old_root && new == *new_root {
        Ok(())
    } else {
        Err(ProofError::Root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn leaves(n: usize) -> Vec<Digest> {
        (0..n).map(|i| leaf_hash(&i.to_be_bytes())).collect()
    }

    #[test]
    fn roots_agree_with_an_independent_implementation() {
        for n in 1..40usize {
            let mut oracle = ct_merkle::mem_backed_tree::MemoryBackedTree::<sha2::Sha256, Vec<u8>>::new();
            for i in 0..n {
                oracle.push(i.to_be_bytes().to_vec());
            }
            assert_eq!(
                root(&leaves(n)).0.as_slice(),
                oracle.root().as_bytes().as_slice(),
                "tree of {n}"
            );
        }
    }

    proptest! {
        #[test]
        fn every_leaf_proves_its_place_and_no_other(n in 1usize..70, at in 0usize..70, flip in 0usize..8) {
            let at = at % n;
            let tree = leaves(n);
            let top = root(&tree);
            let mut path = inclusion_path(at, &tree);
            let (index, size) = (at as u64, n as u64);
            prop_assert_eq!(verify_inclusion(&tree[at], index, size, &path, &top), Ok(()));
            prop_assert!(verify_inclusion(&leaf_hash(b"other"), index, size, &path, &top).is_err());
            if let Some(step) = path.get_mut(flip) {
                step.0[0] ^= 1;
                prop_assert!(verify_inclusion(&tree[at], index, size, &path, &top).is_err());
            }
        }
    }
}
