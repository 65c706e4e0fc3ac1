//! A mark of how far the ledger was signed, kept beside the database.
//!
//! Decides: whether the database was set back. A verifier that was restored behind a checkpoint it has signed would sign a second history
//! under the same name, so it does not start. The mark is the checkpoint's note itself, written every few seconds and at the end; it is
//! never ahead of what is durable. Does not notice where the whole state directory is set back: agents do, for they keep the
//! checkpoints that they have seen.

use super::tree::{Tree, TreeOpenError};
use crate::store::Store;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use weighbridge::bounded::{self, BoundedReadError, MAX_KEY_FILE};
use weighbridge::ledger::{Checkpoint, CheckpointError, LedgerKey};

/// Looks at the mark between two writings.
const PERIOD: u32 = 40;

/// Why the ledger is not continued.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MarkError {
    /// The database is behind.
    #[error(
        "the database holds {held} leaves, but this verifier has signed a checkpoint over {signed}: it was restored from \
         an older copy, and to go on under the same name would contradict that signature; restore the newest copy"
    )]
    SetBack {
        /// Leaves held.
        held: u64,
        /// Leaves signed.
        signed: u64,
    },
    /// The database holds another history.
    #[error(
        "the first {signed} leaves of the database are not those over which this verifier has signed a checkpoint: the \
         database is another one, or was altered; restore the right copy"
    )]
    Other {
        /// Leaves signed.
        signed: u64,
    },
    /// The mark cannot be read.
    #[error("{path} cannot be read: {cause}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: Arc<BoundedReadError>,
    },
    /// The mark is not a checkpoint of this ledger.
    #[error("{path} is not a checkpoint that this verifier has signed; restore it from a backup, or remove it if the disk lost it", path = path.display())]
    Note {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: CheckpointError,
    },
}

/// The mark.
#[derive(Debug)]
pub(super) struct Mark {
    path: PathBuf,
    kept: Option<Arc<str>>,
    looks: u32,
}

impl Mark {
    pub(super) fn in_directory(state_dir: &Path) -> Self {
        Self {
            path: state_dir.join("checkpoint"),
            kept: None,
            looks: 0,
        }
    }

    /// The checkpoint last marked, if any.
    pub(super) fn read(&self, ledger: &LedgerKey) -> Result<Option<Checkpoint>, MarkError> {
        if !self.path.exists() {
            return Ok(None);
        }
        let note = File::open(&self.path)
            .map_err(BoundedReadError::from)
            .and_then(|f| bounded::read_text(f, MAX_KEY_FILE))
            .map_err(|e| MarkError::Read {
                path: self.path.clone(),
                cause: Arc::new(e),
            })?;
        Checkpoint::open(&note, ledger)
            .map(Some)
            .map_err(|source| MarkError::Note {
                path: self.path.clone(),
                source,
            })
    }

    /// Writes the mark if it is old and the ledger has moved, or if `now`.
    pub(super) fn keep(&mut self, checkpoint: &Arc<str>, now: bool) {
        self.looks = self.looks.saturating_add(1);
        let moved = self.kept.as_ref() != Some(checkpoint);
        if !moved || (!now && self.looks < PERIOD) {
            return;
        }
        self.looks = 0;
        let draft = self.path.with_extension("new");
        let written = File::create(&draft)
            .and_then(|mut f| {
                f.write_all(checkpoint.as_bytes())?;
                f.sync_all()
            })
            .and_then(|()| std::fs::rename(&draft, &self.path));
        match written {
            Ok(()) => self.kept = Some(Arc::clone(checkpoint)),
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "the mark of the ledger could not be written")
            }
        }
    }
}

/// Demands that the tree continues a checkpoint that was signed.
pub(super) async fn demand_continued(
    tree: &mut Tree,
    store: &dyn Store,
    signed: &Checkpoint,
) -> Result<(), super::RecordError> {
    let (held, _) = tree.state();
    if held < signed.size {
        return Err(MarkError::SetBack {
            held,
            signed: signed.size,
        }
        .into());
    }
    let root: Result<_, TreeOpenError> = tree.root_of(signed.size, store).await;
    if root? == signed.root {
        Ok(())
    } else {
        Err(MarkError::Other { signed: signed.size }.into())
    }
}
