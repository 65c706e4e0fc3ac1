//! The tree in memory: its right edge, and those older tiles that proofs asked for lately.
//!
//! Decides: nothing; it computes what the core's tree functions ask for. Trusts the store's tiles only after [`Tree::open`] has found that
//! they add up to the root that the store names. A tile is 256 hashes of one level and the hashes between them, computed once.

use crate::store::{LedgerRow, Store, StoreError, TileRow};
use std::collections::{HashMap, VecDeque};
use weighbridge::crypto::merkle::node_hash;
use weighbridge::id::Digest;
use weighbridge::ledger::{self, Nodes, TreeError};

/// Levels of the tree in one tile.
const HEIGHT: u32 = 8;
/// Hashes in a whole tile.
const WIDTH: usize = 256;
/// Tiles kept for proofs, at 16 kB each. Receipts prove against checkpoints one report old: 1,024 tiles hold 262,144 leaves.
const KEPT: usize = 1024;

/// Why the tree cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreeOpenError {
    /// The store failed.
    #[error("the ledger's tiles cannot be read")]
    Store(#[from] StoreError),
    /// A tile is missing or of a wrong length.
    #[error(
        "the ledger's tile {place} on level {level} is missing or damaged; restore the database from a backup"
    )]
    Tile {
        /// Tile level.
        level: u32,
        /// Index on it.
        place: u64,
    },
    /// The tiles do not add up to the root.
    #[error(
        "the ledger's tiles add up to {found}, not to the root {expected} that the database names: it was damaged or \
         altered, and nothing will be signed over it; restore it from a backup"
    )]
    Root {
        /// Root in the database.
        expected: Digest,
        /// Root of the tiles.
        found: Digest,
    },
    /// A part of the tree is missing.
    #[error("the ledger's tree is incomplete")]
    Tree(#[from] TreeError),
}

/// One tile: row 0 holds its hashes, row `r` those over two to the power of `r` of them.
#[derive(Clone, Debug, Default)]
struct Tile {
    rows: [Vec<Digest>; 8],
}

impl Tile {
    /// Adds a hash; returns the hash over the tile when it is whole.
    fn push(&mut self, hash: Digest) -> Option<Digest> {
        let mut up = hash;
        for row in &mut self.rows {
            row.push(up);
            match row.as_slice() {
                [.., left, right] if row.len().is_multiple_of(2) => up = node_hash(left, right),
                _ => return None,
            }
        }
        Some(up)
    }

    fn read(bytes: &[u8], expected: usize) -> Option<Self> {
        let (hashes, rest) = bytes.as_chunks::<32>();
        if !rest.is_empty() || hashes.len() < expected {
            return None;
        }
        let mut tile = Self::default();
        for hash in hashes.iter().take(expected) {
            tile.push(Digest(*hash));
        }
        Some(tile)
    }

    fn bytes(&self) -> Vec<u8> {
        let [hashes, ..] = &self.rows;
        hashes.iter().flat_map(|d| d.0).collect()
    }

    fn len(&self) -> usize {
        let [hashes, ..] = &self.rows;
        hashes.len()
    }
}

/// The tree.
#[derive(Debug)]
pub(super) struct Tree {
    size: u64,
    root: Digest,
    /// The last tile of each level; empty where all tiles of the level are whole.
    edge: Vec<Tile>,
    kept: HashMap<(u32, u64), Tile>,
    order: VecDeque<(u32, u64)>,
    /// Tiles of the edge that changed since they were last taken.
    changed: Vec<TileRow>,
}

impl Nodes for Tree {
    fn node(&self, level: u32, index: u64) -> Option<Digest> {
        let (tile_level, row) = (level / HEIGHT, level % HEIGHT);
        let below = HEIGHT.saturating_sub(row);
        let place = index.checked_shr(below)?;
        let at = usize::try_from(index & 1u64.checked_shl(below)?.saturating_sub(1)).ok()?;
        let tile = if self.whole_tiles(tile_level) == place {
            self.edge.get(usize::try_from(tile_level).ok()?)?
        } else {
            self.kept.get(&(tile_level, place))?
        };
        tile.rows.get(usize::try_from(row).ok()?)?.get(at).copied()
    }
}

impl Tree {
    /// Reads the right edge, and demands that it adds up to the root that the store names.
    pub(super) async fn open(store: &dyn Store, row: &LedgerRow) -> Result<Self, TreeOpenError> {
        let mut tree = Self {
            size: row.size,
            root: row.root,
            edge: Vec::new(),
            kept: HashMap::new(),
            order: VecDeque::new(),
            changed: Vec::new(),
        };
        let mut level = 0u32;
        while let Some(hashes) = row
            .size
            .checked_shr(level.saturating_mul(HEIGHT))
            .filter(|n| *n > 0)
        {
            let place = hashes / 256;
            let expected = usize::try_from(hashes % 256).unwrap_or(0);
            let tile = if expected == 0 {
                Tile::default()
            } else {
                let bytes = store.tile(level, place).await?;
                bytes
                    .and_then(|b| Tile::read(&b, expected))
                    .ok_or(TreeOpenError::Tile { level, place })?
            };
            tree.edge.push(tile);
            level = level.saturating_add(1);
        }
        let found = tree.root_of(row.size, store).await?;
        if found != row.root {
            return Err(TreeOpenError::Root {
                expected: row.root,
                found,
            });
        }
        Ok(tree)
    }

    /// Leaves, and the root over them as of the last [`Tree::seal`].
    pub(super) fn state(&self) -> (u64, Digest) {
        (self.size, self.root)
    }

    /// Adds a leaf; returns its index.
    pub(super) fn push(&mut self, leaf: Digest) -> u64 {
        let index = self.size;
        let mut up = Some(leaf);
        let mut level = 0u32;
        while let Some(hash) = up {
            let at = usize::try_from(level).unwrap_or(usize::MAX);
            if self.edge.len() <= at {
                self.edge.push(Tile::default());
            }
            let place = self.whole_tiles(level);
            up = None;
            if let Some(tile) = self.edge.get_mut(at) {
                up = tile.push(hash);
                if up.is_some() {
                    let whole = std::mem::take(tile);
                    self.changed.push(TileRow {
                        level,
                        place,
                        hashes: whole.bytes(),
                    });
                    self.keep((level, place), whole);
                }
            }
            level = level.saturating_add(1);
        }
        self.size = self.size.saturating_add(1);
        index
    }

    /// Computes the root over what was pushed, and hands out the tiles that changed.
    pub(super) async fn seal(&mut self, store: &dyn Store) -> Result<Vec<TileRow>, TreeOpenError> {
        self.root = self.root_of(self.size, store).await?;
        let mut out = std::mem::take(&mut self.changed);
        for (level, tile) in (0u32..).zip(&self.edge) {
            if tile.len() > 0 {
                out.push(TileRow {
                    level,
                    place: self.whole_tiles(level),
                    hashes: tile.bytes(),
                });
            }
        }
        Ok(out)
    }

    /// The root over the first `size` leaves.
    pub(super) async fn root_of(&mut self, size: u64, store: &dyn Store) -> Result<Digest, TreeOpenError> {
        loop {
            match ledger::root(size, self) {
                Ok(root) => return Ok(root),
                Err(missing) => self.fetch(store, missing).await?,
            }
        }
    }

    /// The path from leaf `index` to the root.
    pub(super) async fn inclusion(
        &mut self,
        index: u64,
        store: &dyn Store,
    ) -> Result<Vec<Digest>, TreeOpenError> {
        loop {
            match ledger::inclusion_path(index, self.size, self) {
                Ok(path) => return Ok(path),
                Err(missing) => self.fetch(store, missing).await?,
            }
        }
    }

    /// The proof that the tree continues that of `old` leaves.
    pub(super) async fn consistency(
        &mut self,
        old: u64,
        store: &dyn Store,
    ) -> Result<Vec<Digest>, TreeOpenError> {
        loop {
            match ledger::consistency_path(old, self.size, self) {
                Ok(path) => return Ok(path),
                Err(missing) => self.fetch(store, missing).await?,
            }
        }
    }

    /// Whole tiles on a level, which is the index of the one being filled.
    fn whole_tiles(&self, level: u32) -> u64 {
        let up = level.saturating_add(1).saturating_mul(HEIGHT);
        self.size.checked_shr(up).unwrap_or(0)
    }

    /// Reads the whole tile that holds a missing hash.
    async fn fetch(&mut self, store: &dyn Store, missing: TreeError) -> Result<(), TreeOpenError> {
        let TreeError::Missing { level, index } = missing else {
            return Err(missing.into());
        };
        let (tile_level, row) = (level / HEIGHT, level % HEIGHT);
        let place = index.checked_shr(HEIGHT.saturating_sub(row)).unwrap_or(0);
        let at = (tile_level, place);
        let damaged = || TreeOpenError::Tile {
            level: tile_level,
            place,
        };
        // A tile that is here and still lacks the hash would be read for ever.
        if place >= self.whole_tiles(tile_level) || self.kept.contains_key(&at) {
            return Err(damaged());
        }
        let bytes = store.tile(tile_level, place).await?;
        let tile = bytes.and_then(|b| Tile::read(&b, WIDTH)).ok_or_else(damaged)?;
        self.keep(at, tile);
        Ok(())
    }

    fn keep(&mut self, at: (u32, u64), tile: Tile) {
        if self.kept.insert(at, tile).is_none() {
            self.order.push_back(at);
        }
        while self.order.len() > KEPT {
            if let Some(oldest) = self.order.pop_front() {
                self.kept.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Batch, SqliteStore};
    use weighbridge::crypto::merkle::{self, leaf_hash, verify_consistency, verify_inclusion};

    async fn store(directory: &tempfile::TempDir) -> SqliteStore {
        let path = directory.path().join("tree.db");
        SqliteStore::create(&path, "weighbridge/test", merkle::empty_root())
            .await
            .unwrap()
    }

    /// Adds leaves and makes them durable.
    async fn grow(tree: &mut Tree, store: &SqliteStore, leaves: &[Digest]) {
        let before = tree.state();
        for leaf in leaves {
            tree.push(*leaf);
        }
        let tiles = tree.seal(store).await.unwrap();
        let batch = Batch {
            before,
            after: tree.state(),
            entries: Vec::new(),
            tiles,
            changes: Vec::new(),
        };
        store.commit(batch).await.unwrap();
    }

    #[tokio::test]
    async fn the_tree_agrees_with_the_plain_one_across_tiles_and_restarts() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        let leaves: Vec<Digest> = (0u32..66_000).map(|i| leaf_hash(&i.to_be_bytes())).collect();
        let mut tree = Tree::open(&store, &store.ledger().await.unwrap()).await.unwrap();
        let mut seen: Vec<(u64, Digest)> = vec![tree.state()];
        let mut at = 0usize;
        for upto in [
            1, 2, 255, 256, 257, 511, 600, 1024, 65_535, 65_536, 65_537, 66_000,
        ] {
            grow(&mut tree, &store, &leaves[at..upto]).await;
            at = upto;
            // As after a restart: nothing but what the store holds.
            tree = Tree::open(&store, &store.ledger().await.unwrap()).await.unwrap();
            let (size, root) = tree.state();
            assert_eq!(root, merkle::root(&leaves[..upto]), "tree of {upto}");
            for index in [0, upto / 3, upto - 1] {
                let path = tree.inclusion(index as u64, &store).await.unwrap();
                assert_eq!(
                    verify_inclusion(&leaves[index], index as u64, size, &path, &root),
                    Ok(())
                );
            }
            for (old, old_root) in &seen {
                let path = tree.consistency(*old, &store).await.unwrap();
                assert_eq!(
                    verify_consistency(*old, old_root, size, &root, &path),
                    Ok(()),
                    "{old} to {size}"
                );
            }
            seen.push((size, root));
        }
    }

    #[tokio::test]
    async fn a_batch_that_finds_the_ledger_moved_is_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        let row = store.ledger().await.unwrap();
        let mut one = Tree::open(&store, &row).await.unwrap();
        let mut other = Tree::open(&store, &row).await.unwrap();
        grow(&mut one, &store, &[leaf_hash(b"one")]).await;
        let before = other.state();
        other.push(leaf_hash(b"other"));
        let tiles = other.seal(&store).await.unwrap();
        let batch = Batch {
            before,
            after: other.state(),
            entries: Vec::new(),
            tiles,
            changes: Vec::new(),
        };
        assert!(matches!(store.commit(batch).await, Err(StoreError::Moved)));
        assert_eq!(store.ledger().await.unwrap().root, one.state().1);
    }
}
