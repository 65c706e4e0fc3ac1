//! The state directory: what lies where, and how a file there is replaced.
//!
//! Decides: that a file of the agent's is there whole or not at all, whatever is killed when, and that others cannot read it. Trusts the
//! file system to keep what `fsync` returned for. Does not establish that nobody restored an older copy: delivery finds that out
//! from the verifier.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use weighbridge::bounded::{self, BoundedReadError, MAX_KEY_FILE};

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The directory cannot be made.
    #[error("the state directory {path} cannot be made; make it, owned by the agent's user, mode 0700")]
    Make {
        /// It.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Root would leave files in it that its owner cannot read.
    #[error(
        "the state directory {path} belongs to user {owner}, who could not read what root writes there: run this as \
         `runuser -u {owner} -- weighbridge-agent ...`"
    )]
    Foreign {
        /// It.
        path: PathBuf,
        /// Whose it is.
        owner: String,
    },
    /// A file cannot be written.
    #[error("{path} cannot be written")]
    Write {
        /// It.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// It.
        path: PathBuf,
        /// Why.
        #[source]
        source: BoundedReadError,
    },
    /// A private file is open to others.
    #[error(
        "{path} may be read by others (mode {mode:03o}): run `chmod 600 {path}`, and treat what it held as known"
    )]
    Open {
        /// It.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

/// The state directory and the names in it.
#[derive(Clone, Debug)]
pub struct StateDir(PathBuf);

impl StateDir {
    /// The directory as it stands, to look at: it may not be there.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Makes the directory if it is not there, for its owner alone.
    ///
    /// # Errors
    /// [`StateError::Make`]; [`StateError::Foreign`] for root in the directory of another user.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|source| StateError::Make {
                path: path.to_owned(),
                source,
            })?;
        let owner = std::fs::metadata(path).map_or(0, |m| m.uid());
        if owner != 0 && user() == Some(0) {
            return Err(StateError::Foreign {
                path: path.to_owned(),
                owner: named(Path::new("/etc/passwd"), owner).unwrap_or_else(|| owner.to_string()),
            });
        }
        Ok(Self::at(path))
    }

    /// The node's key.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.0.join("node.key")
    }

    /// What the verifier answered at enrolment.
    #[must_use]
    pub fn enrolment(&self) -> PathBuf {
        self.0.join("enrolment.cbor")
    }

    /// The chain and its reports.
    #[must_use]
    pub fn spool(&self) -> PathBuf {
        self.0.join("spool.redb")
    }

    /// The key of this node's own under which tenants' names become pseudonyms, where the operator gave none.
    #[must_use]
    pub fn tenant_key(&self) -> PathBuf {
        self.0.join("tenant.key")
    }

    /// Which tenant holds which device.
    #[must_use]
    pub fn tenants(&self) -> PathBuf {
        self.0.join("tenants.cbor")
    }

    /// The socket through which the running agent is asked.
    #[must_use]
    pub fn control(&self) -> PathBuf {
        self.0.join("control.sock")
    }
}

/// The number of the user whose rights this process has, where the kernel tells.
pub(crate) fn user() -> Option<u32> {
    let text = bounded::read_text(File::open("/proc/self/status").ok()?, 64 << 10).ok()?;
    let users = text.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    // The real one, then the effective one.
    users.split_whitespace().nth(1)?.parse().ok()
}

/// The name of a user or group, from a file whose lines are `name:…:number:…`.
pub(crate) fn named(file: &Path, number: u32) -> Option<String> {
    let text = bounded::read_text(File::open(file).ok()?, 4 << 20).ok()?;
    let wanted = number.to_string();
    text.lines()
        .find(|line| line.split(':').nth(2) == Some(wanted.as_str()))
        .and_then(|line| line.split(':').next())
        .map(str::to_owned)
}

/// Where the successor of a file is made ready.
#[must_use]
pub fn next(path: &Path) -> PathBuf {
    beside(path, ".next")
}

/// Puts the successor of a file in its place, where there is one; what was there is kept as `….former`. Interrupted anywhere, it may be
/// repeated.
///
/// # Errors
/// [`StateError::Write`].
pub fn succeed(path: &Path) -> Result<(), StateError> {
    let next = next(path);
    if !next.exists() {
        return Ok(());
    }
    match std::fs::rename(path, beside(path, ".former")) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(write_error(path, e)),
        _ => {}
    }
    std::fs::rename(&next, path).map_err(|e| write_error(path, e))?;
    sync_parent(path)
}

/// Makes a private file that must not be there yet; atomically, so that a crash leaves all of it or nothing. Returns whether this
/// call made it.
///
/// # Errors
/// [`StateError::Write`].
pub fn create_private(path: &Path, bytes: &[u8]) -> Result<bool, StateError> {
    let staged = stage(path, bytes)?;
    let made = match std::fs::hard_link(&staged, path) {
        Ok(()) => true,
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => false,
        Err(source) => return Err(write_error(path, source)),
    };
    std::fs::remove_file(&staged).map_err(|e| write_error(&staged, e))?;
    sync_parent(path)?;
    Ok(made)
}

/// Replaces a private file atomically.
///
/// # Errors
/// [`StateError::Write`].
pub fn replace_private(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    let staged = stage(path, bytes)?;
    std::fs::rename(&staged, path).map_err(|e| write_error(path, e))?;
    sync_parent(path)
}

/// Reads a private file; `None` where there is none.
///
/// # Errors
/// [`StateError::Open`] where others may read it, [`StateError::Read`].
pub fn read_private(path: &Path) -> Result<Option<Vec<u8>>, StateError> {
    read_private_within(path, MAX_KEY_FILE)
}

/// The same of a file that may be larger than a key.
///
/// # Errors
/// As [`read_private`].
pub fn read_private_within(path: &Path, limit: usize) -> Result<Option<Vec<u8>>, StateError> {
    let wrong = |source| StateError::Read {
        path: path.to_owned(),
        source,
    };
    let file = match OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
    {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(wrong(e.into())),
    };
    let mode = file.metadata().map_err(|e| wrong(e.into()))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(StateError::Open {
            path: path.to_owned(),
            mode,
        });
    }
    bounded::read(file, limit).map(Some).map_err(wrong)
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Writes the bytes beside `path`, durably.
fn stage(path: &Path, bytes: &[u8]) -> Result<PathBuf, StateError> {
    let staged = beside(path, ".new");
    // A crash may have left one; only this user can write here.
    match std::fs::remove_file(&staged) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(write_error(&staged, e)),
        _ => {}
    }
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&staged)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|e| write_error(&staged, e))?;
    Ok(staged)
}

/// Makes the name of a file durable, not only its content.
pub(crate) fn sync_parent(path: &Path) -> Result<(), StateError> {
    let parent = path.parent().unwrap_or_else(|| Path::new("."));
    File::open(parent)
        .and_then(|dir| dir.sync_all())
        .map_err(|e| write_error(parent, e))
}

fn write_error(path: &Path, source: std::io::Error) -> StateError {
    StateError::Write {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_file_is_made_once_and_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.key");
        std::fs::write(dir.path().join("node.key.new"), "left by a crash").unwrap();
        assert!(create_private(&path, b"one").unwrap());
        assert!(!create_private(&path, b"two").unwrap());
        assert_eq!(read_private(&path).unwrap().unwrap(), b"one");
        replace_private(&path, b"three").unwrap();
        assert_eq!(read_private(&path).unwrap().unwrap(), b"three");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_others_may_read_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.key");
        create_private(&path, b"one").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        let said = read_private(&path).unwrap_err().to_string();
        assert!(said.contains("chmod 600"), "{said}");
        assert!(read_private(&dir.path().join("absent")).unwrap().is_none());
    }

    #[test]
    fn root_leaves_no_files_in_the_directory_of_another_user() {
        let dir = tempfile::tempdir().unwrap();
        if user() != Some(0) {
            println!("skipped: only root can give a directory to another user");
            return;
        }
        assert!(StateDir::open(dir.path()).is_ok());
        std::os::unix::fs::chown(dir.path(), Some(1), Some(1)).unwrap();
        let said = StateDir::open(dir.path()).unwrap_err().to_string();
        let owner = named(Path::new("/etc/passwd"), 1).unwrap();
        assert!(
            said.contains(&format!("`runuser -u {owner} -- weighbridge-agent ...`")),
            "{said}"
        );
    }
}
