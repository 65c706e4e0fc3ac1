//! The ledger's tree: what a leaf costs in hashes of nodes.

use super::figure::Figure;
use super::reference::each;
use super::{Bench, say};
use weighbridge::crypto::merkle::{leaf_hash, node_hash};
use weighbridge::id::Digest;
use weighbridge::ledger::{Leaf, LeafKind, Nodes, root};

/// Appending a leaf of 32 bytes, in hashes of nodes: two of these are the hashes themselves.
const MAX_APPEND: f64 = 2.5;
/// Leaves that become durable together when the verifier is busy.
const BATCH: u64 = 512;

/// A tree whose complete subtrees are kept in memory.
#[derive(Debug, Default)]
pub(super) struct Tree {
    levels: Vec<Vec<Digest>>,
}

impl Nodes for Tree {
    fn node(&self, level: u32, index: u64) -> Option<Digest> {
        self.levels.get(level as usize)?.get(index as usize).copied()
    }
}

impl Tree {
    /// Adds the hash of a leaf, and of every subtree that it completes.
    pub(super) fn push(&mut self, leaf: Digest) {
        let (mut level, mut hash) = (0, leaf);
        loop {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let row = &mut self.levels[level];
            row.push(hash);
            let [.., left, right] = row[..] else { return };
            if row.len() % 2 == 1 {
                return;
            }
            hash = node_hash(&left, &right);
            level += 1;
        }
    }

    /// The root of all leaves.
    pub(super) fn root(&self) -> Digest {
        let size = self.levels.first().map_or(0, Vec::len);
        root(size as u64, self).unwrap()
    }
}

/// Measures appends.
pub(super) fn measure(bench: &Bench) -> Vec<Figure> {
    say("ledger: append and root");
    let (left, right) = (Digest([1; 32]), Digest([2; 32]));
    let (mut bare, mut salted) = (Vec::new(), Vec::new());
    let mut tree = Tree::default();
    let mut next = 0u64;
    for _ in 0..bench.rounds() {
        let node = each(50_000, || node_hash(&left, &right));
        let plain = each(20, || {
            for _ in 0..BATCH {
                next += 1;
                let mut body = [0u8; 32];
                body[..8].copy_from_slice(&next.to_be_bytes());
                tree.push(leaf_hash(&body));
            }
            tree.root()
        });
        let whole = each(20, || {
            for _ in 0..BATCH {
                next += 1;
                let salt = u128::from(next).to_be_bytes();
                tree.push(Leaf::new(LeafKind::Report, &salt, &left).hash());
            }
            tree.root()
        });
        let again = each(50_000, || node_hash(&left, &right));
        let node = f64::midpoint(node, again);
        bare.push(plain / BATCH as f64 / node);
        salted.push(whole / BATCH as f64 / node);
    }
    vec![
        Figure::of(
            "ledger.append",
            "append a leaf of 32 bytes, with its share of a root for every 512",
            "node hashes",
            bare,
        )
        .at_most(MAX_APPEND),
        Figure::of(
            "ledger.leaf",
            "the same for a whole leaf of ours: kind, salted digest, encoding",
            "node hashes",
            salted,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use weighbridge::crypto::merkle;

    #[test]
    fn the_measured_tree_is_the_ledgers_tree() {
        let leaves: Vec<_> = (0..77u8).map(|i| leaf_hash(&[i])).collect();
        let mut tree = Tree::default();
        for leaf in &leaves {
            tree.push(*leaf);
        }
        assert_eq!(tree.root(), merkle::root(&leaves));
    }
}
