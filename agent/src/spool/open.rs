//! Opening the spool's file: whole, or set aside; or only to look at it, and then it stays as it is.

use super::glance::Glance;
use crate::state::{StateError, sync_parent};
use redb::backends::FileBackend;
use redb::{
    Builder, Database, DatabaseError, Durability, ReadTransaction, ReadableDatabase, StorageBackend,
    StorageError, WriteTransaction,
};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
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
        source: io::Error,
    },
    /// It is damaged, and was only looked at.
    #[error(
        "the spool {path} is damaged and was left as it is; `weighbridge-agent run` sets it aside as {path}.damaged and begins a new chain",
        path = path.display()
    )]
    Unreadable {
        /// It.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<redb::Error>,
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

/// The database, opened anew after a failure: once a write failed, the library serves nothing until that is done.
pub(super) struct Handle {
    held: Mutex<Option<Database>>,
    open: Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handle(..)")
    }
}

impl Handle {
    /// Opens the file at `path`. A damaged one is renamed to `….damaged` and a new one made: reports that were never receipted are then
    /// lost, and the chain begins anew, which the verifier is told.
    pub(super) fn open_or_replace(path: &Path) -> Result<(Self, Opened), SpoolError> {
        let was_there = std::fs::metadata(path).is_ok_and(|m| m.len() > 0);
        // Every page is checked at the start, so that later reads meet no page that was altered.
        let (db, opened) = match open_file(path, true) {
            Ok(db) if was_there => (db, Opened::Existing),
            Ok(db) => (db, Opened::New),
            Err(DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch) => {
                return Err(SpoolError::InUse);
            }
            Err(DatabaseError::Storage(StorageError::Io(e))) if !of_damage(&e) => {
                return Err(file_error(path, e));
            }
            Err(_) => {
                let mut name = path.as_os_str().to_owned();
                name.push(".damaged");
                let aside = PathBuf::from(name);
                std::fs::rename(path, &aside).map_err(|e| file_error(path, e))?;
                let db = open_file(path, true).map_err(|e| SpoolError::Database(Box::new(e.into())))?;
                (db, Opened::Replaced { aside })
            }
        };
        if opened != Opened::Existing {
            sync_parent(path)?;
        }
        let path = path.to_owned();
        let handle = Self {
            held: Mutex::new(Some(db)),
            open: Box::new(move || open_file(&path, false)),
        };
        Ok((handle, opened))
    }

    /// The file at `path`, to look at: a damaged one is an error, one that was not closed is repaired in memory, and the file stays as it is.
    pub(super) fn glance(path: &Path) -> Result<Self, SpoolError> {
        let db = match look_at(path) {
            Ok(db) => db,
            Err(DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch) => {
                return Err(SpoolError::InUse);
            }
            Err(DatabaseError::Storage(StorageError::Io(e))) if !of_damage(&e) => {
                return Err(file_error(path, e));
            }
            Err(e) => {
                return Err(SpoolError::Unreadable {
                    path: path.to_owned(),
                    source: Box::new(e.into()),
                });
            }
        };
        let path = path.to_owned();
        Ok(Self {
            held: Mutex::new(Some(db)),
            open: Box::new(move || look_at(&path)),
        })
    }

    /// A database on another store.
    pub(super) fn on<B: StorageBackend>(
        backend: impl Fn() -> B + Send + Sync + 'static,
    ) -> Result<Self, SpoolError> {
        let open = move || {
            Builder::new()
                .set_cache_size(CACHE_BYTES)
                .create_with_backend(backend())
        };
        let db = open().map_err(|e| SpoolError::Database(Box::new(e.into())))?;
        Ok(Self {
            held: Mutex::new(Some(db)),
            open: Box::new(open),
        })
    }

    /// Reads.
    pub(super) fn look<T>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, SpoolError>,
    ) -> Result<T, SpoolError> {
        self.with(|db| work(&db.begin_read()?))
    }

    /// Runs `work` in one durable transaction; on an error nothing of it stays.
    pub(super) fn change<T>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<T, SpoolError>,
    ) -> Result<T, SpoolError> {
        self.with(|db| {
            let mut txn = db.begin_write()?;
            txn.set_durability(Durability::Immediate)?;
            let value = work(&txn)?;
            txn.commit()?;
            Ok(value)
        })
    }

    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, SpoolError>) -> Result<T, SpoolError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let db = match held.take() {
            Some(db) => db,
            None => (self.open)().map_err(|e| SpoolError::Database(Box::new(e.into())))?,
        };
        let done = work(&db);
        if !matches!(done, Err(SpoolError::Database(_))) {
            *held = Some(db);
        }
        done
    }
}

/// Whether an error of the system's speaks of the file's content rather than of the disk.
fn of_damage(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
    )
}

fn file_error(path: &Path, source: io::Error) -> SpoolError {
    SpoolError::File {
        path: path.to_owned(),
        source,
    }
}

/// Opens or makes the database.
fn open_file(path: &Path, check: bool) -> Result<Database, DatabaseError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    opened(FileBackend::new(file)?, check)
}

/// Opens the database, and keeps in memory what that writes.
fn look_at(path: &Path) -> Result<Database, DatabaseError> {
    opened(Glance::at(path)?, true)
}

fn opened(backend: impl StorageBackend, check: bool) -> Result<Database, DatabaseError> {
    let damaged = |what: &str| DatabaseError::Storage(StorageError::Corrupted(what.to_owned()));
    // The library says of itself that it may panic on a file that it did not write.
    catch_unwind(AssertUnwindSafe(|| {
        Builder::new()
            .set_cache_size(CACHE_BYTES)
            .set_check_integrity_on_open(check)
            .create_with_backend(backend)
    }))
    .unwrap_or_else(|_| Err(damaged("the file is not one that this library wrote")))
}
