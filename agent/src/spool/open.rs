//! Opening the spool's file: whole, or set aside.

use crate::state::{StateError, sync_parent};
use redb::backends::{FileBackend, InMemoryBackend};
use redb::{Builder, Database, DatabaseError, StorageError};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use weighbridge::cbor::DecodeError;
use weighbridge::crypto::{KeyError, SignError};
use weighbridge::report::EnvelopeError;

/// Memory for cached pages. The whole agent is to stay within a few megabytes, and reads are rare.
const CACHE_BYTES: usize = 512 << 10;

/// Why the spool cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// Another process holds it.
    #[error("the spool is in use by another process: is the agent running already?")]
    InUse,
    /// The file cannot be opened or set aside.
    #[error("the spool {path} cannot be opened")]
    File {
        /// It.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its directory cannot be made durable.
    #[error(transparent)]
    State(#[from] StateError),
    /// The database failed, most often because the disk is full.
    #[error("the spool could not be read or written; is the disk full?")]
    Database(#[source] Box<redb::Error>),
    /// Something that must be there is not.
    #[error("the spool lacks its {0}")]
    Incomplete(&'static str),
    /// A record cannot be read.
    #[error("a record of the spool is damaged")]
    Damaged(#[from] DecodeError),
    /// A report cannot be read.
    #[error("a report in the spool is damaged")]
    Report(#[from] EnvelopeError),
    /// A report cannot be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// No random bytes.
    #[error(transparent)]
    Entropy(#[from] KeyError),
}

macro_rules! from_database {
    ($($error:ty),* $(,)?) => { $(
        impl From<$error> for SpoolError {
            fn from(e: $error) -> Self {
                Self::Database(Box::new(e.into()))
            }
        }
    )* };
}

from_database!(
    redb::TransactionError,
    redb::TableError,
    StorageError,
    redb::CommitError,
    redb::SetDurabilityError,
);

/// How the spool was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// It was there.
    Existing,
    /// There was none.
    New,
    /// It was damaged and set aside.
    Replaced {
        /// Where it lies now.
        aside: PathBuf,
    },
}

/// Opens the file at `path`. A damaged one is renamed to `….damaged` and a new one made: reports that were never receipted are then
/// lost, and the chain begins anew, which the verifier is told.
pub(super) fn open_or_replace(path: &Path) -> Result<(Database, Opened), SpoolError> {
    let file_error = |source| SpoolError::File {
        path: path.to_owned(),
        source,
    };
    let was_there = std::fs::metadata(path).is_ok_and(|m| m.len() > 0);
    match open_file(path) {
        Ok(db) if was_there => Ok((db, Opened::Existing)),
        Ok(db) => {
            sync_parent(path)?;
            Ok((db, Opened::New))
        }
        Err(DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch) => {
            Err(SpoolError::InUse)
        }
        Err(DatabaseError::Storage(StorageError::Io(source)))
            if source.kind() != std::io::ErrorKind::InvalidData
                && source.kind() != std::io::ErrorKind::UnexpectedEof =>
        {
            Err(file_error(source))
        }
        Err(_) => {
            let mut name = path.as_os_str().to_owned();
            name.push(".damaged");
            let aside = PathBuf::from(name);
            std::fs::rename(path, &aside).map_err(file_error)?;
            match open_file(path) {
                Ok(db) => {
                    sync_parent(path)?;
                    Ok((db, Opened::Replaced { aside }))
                }
                Err(e) => Err(SpoolError::Database(Box::new(e.into()))),
            }
        }
    }
}

/// A database in memory.
pub(super) fn in_memory() -> Result<Database, SpoolError> {
    Builder::new()
        .set_cache_size(CACHE_BYTES)
        .create_with_backend(InMemoryBackend::new())
        .map_err(|e| SpoolError::Database(Box::new(e.into())))
}

/// Opens or makes the database, checking every page, so that later reads meet no page that was altered.
fn open_file(path: &Path) -> Result<Database, DatabaseError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    let backend = FileBackend::new(file)?;
    let damaged = |what: &str| DatabaseError::Storage(StorageError::Corrupted(what.to_owned()));
    // The library says of itself that it may panic on a file that it did not write.
    catch_unwind(AssertUnwindSafe(|| {
        Builder::new()
            .set_cache_size(CACHE_BYTES)
            .set_check_integrity_on_open(true)
            .create_with_backend(backend)
    }))
    .unwrap_or_else(|_| Err(damaged("the file is not one that this library wrote")))
}
