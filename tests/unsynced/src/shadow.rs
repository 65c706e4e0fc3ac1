//! What a power cut would leave of a directory.
//!
//! Decides by inode, as file systems do: `bytes/INODE` holds a file as it was last synced, `names/INODE` a directory's entries as they
//! were. A rename is thus durable with the directory and not before, and two names of one file share their bytes. `held/INODE` is a
//! second link to every file known here, so that no number is given to another file while the shadow still means the first.
//!
//! Every change is one rename under a lock: a program that is killed within `fsync` leaves the shadow as before or after it. Permissions
//! are kept as of the directory's sync. Sockets and symbolic links do not outlive a cut.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The durable state of one directory and all below it.
#[derive(Debug)]
pub struct Shadow {
    dir: PathBuf,
    at: PathBuf,
}

impl Shadow {
    /// The shadow of `dir`, kept at `at`.
    ///
    /// # Errors
    /// Where `dir` does not exist or `at` cannot be made.
    pub fn of(dir: &Path, at: &Path) -> io::Result<Self> {
        let shadow = Self {
            dir: dir.canonicalize()?,
            at: at.to_owned(),
        };
        shadow.make_rooms()?;
        Ok(shadow)
    }

    /// Takes all that is there now as durable. No program may be writing.
    ///
    /// # Errors
    /// Where a file cannot be read or the shadow not written.
    pub fn adopt(&self) -> io::Result<()> {
        let _alone = self.lock()?;
        self.adopt_directory(&self.dir)
    }

    /// Cuts the power: the directory becomes what was durable. Every program that worked in it must have been killed.
    ///
    /// # Errors
    /// Where a file cannot be read or written.
    pub fn cut(&self) -> io::Result<()> {
        let _alone = self.lock()?;
        let rebuilt = self.at.join("rebuilt");
        remove_tree(&rebuilt)?;
        fs::create_dir(&rebuilt)?;
        self.rebuild(fs::metadata(&self.dir)?.ino(), &rebuilt)?;
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        for entry in fs::read_dir(&rebuilt)? {
            let entry = entry?;
            fs::rename(entry.path(), self.dir.join(entry.file_name()))?;
        }
        for room in ROOMS {
            remove_tree(&self.at.join(room))?;
        }
        self.make_rooms()?;
        self.adopt_directory(&self.dir)
    }

    /// Notes that `file`, a file or a directory, was synced. Returns whether it is watched.
    ///
    /// # Errors
    /// Where it cannot be read or the shadow not written.
    pub fn synced(&self, file: &File) -> io::Result<bool> {
        let Ok(path) = fs::read_link(open_as(file)) else {
            return Ok(false);
        };
        if !path.starts_with(&self.dir) {
            return Ok(false);
        }
        let _alone = self.lock()?;
        let found = file.metadata()?;
        // What has no name any more is not found after a cut.
        if found.nlink() > 0 {
            if found.is_dir() {
                self.keep_names(&path, found.ino())?;
            } else {
                self.hold(&path, &found)?;
                self.keep_bytes(file, found.ino())?;
            }
        }
        Ok(true)
    }

    fn make_rooms(&self) -> io::Result<()> {
        ROOMS
            .iter()
            .try_for_each(|room| fs::create_dir_all(self.at.join(room)))
    }

    /// One change at a time, over all threads and processes.
    fn lock(&self) -> io::Result<File> {
        let file = File::create(self.at.join("lock"))?;
        file.lock()?;
        Ok(file)
    }

    fn adopt_directory(&self, dir: &Path) -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let found = fs::symlink_metadata(&path)?;
            if found.is_dir() {
                self.adopt_directory(&path)?;
            } else if found.is_file() {
                self.hold(&path, &found)?;
                self.keep_bytes(&File::open(&path)?, found.ino())?;
            }
        }
        self.keep_names(dir, fs::metadata(dir)?.ino())
    }

    fn keep_bytes(&self, file: &File, inode: u64) -> io::Result<()> {
        self.replace("bytes", inode, |draft| copy(file, draft))
    }

    fn keep_names(&self, dir: &Path, inode: u64) -> io::Result<()> {
        let mut list = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let found = match fs::symlink_metadata(entry.path()) {
                Ok(found) => found,
                // Gone meanwhile: then it is not in the directory.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            let kind = if found.is_dir() {
                'd'
            } else if found.is_file() {
                self.hold(&entry.path(), &found)?;
                'f'
            } else {
                continue;
            };
            write!(
                list,
                "{kind} {} {} ",
                found.ino(),
                found.permissions().mode() & 0o7777
            )?;
            list.extend_from_slice(entry.file_name().as_bytes());
            list.push(0);
        }
        self.replace("names", inode, |draft| draft.write_all(&list))
    }

    fn hold(&self, path: &Path, found: &Metadata) -> io::Result<()> {
        match fs::hard_link(path, self.at.join("held").join(found.ino().to_string())) {
            Err(e) if e.kind() == io::ErrorKind::NotFound || e.kind() == io::ErrorKind::AlreadyExists => {
                Ok(())
            }
            done => done,
        }
    }

    /// Only the holder of the lock writes the draft, so one that a killed program left is simply written over.
    fn replace(
        &self,
        room: &str,
        inode: u64,
        fill: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<()> {
        let draft = self.at.join("draft");
        fill(&mut File::create(&draft)?)?;
        fs::rename(&draft, self.at.join(room).join(inode.to_string()))
    }

    fn rebuild(&self, inode: u64, into: &Path) -> io::Result<()> {
        let Some(list) = read(&self.at.join("names").join(inode.to_string()))? else {
            return Ok(());
        };
        for line in list.split(|b| *b == 0).filter(|line| !line.is_empty()) {
            let entry = Entry::read(line).ok_or(io::ErrorKind::InvalidData)?;
            let path = into.join(&entry.name);
            if entry.directory {
                DirBuilder::new().mode(0o700).create(&path)?;
                self.rebuild(entry.inode, &path)?;
            } else {
                // A name without bytes is a file that was never synced: empty.
                let bytes = read(&self.at.join("bytes").join(entry.inode.to_string()))?;
                OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&path)?
                    .write_all(&bytes.unwrap_or_default())?;
            }
            fs::set_permissions(&path, Permissions::from_mode(entry.mode))?;
        }
        Ok(())
    }
}

const ROOMS: [&str; 3] = ["bytes", "names", "held"];

/// A name that is durable.
struct Entry {
    directory: bool,
    inode: u64,
    mode: u32,
    name: OsString,
}

impl Entry {
    fn read(line: &[u8]) -> Option<Self> {
        let mut parts = line.splitn(4, |b| *b == b' ');
        let mut text = || std::str::from_utf8(parts.next()?).ok();
        Some(Self {
            directory: text()? == "d",
            inode: text()?.parse().ok()?,
            mode: text()?.parse().ok()?,
            name: OsString::from_vec(parts.next()?.to_vec()),
        })
    }
}

fn open_as(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Copies all of `file`, through the descriptor given where it can be read: opening and closing the file once more would drop the POSIX
/// locks that a database in this process holds on it.
fn copy(file: &File, to: &mut File) -> io::Result<()> {
    let mut block = vec![0; 256 << 10];
    let mut offset = 0u64;
    loop {
        match file.read_at(&mut block, offset) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                to.write_all(block.get(..count).unwrap_or_default())?;
                offset = offset.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            // Opened for writing alone; a database never is.
            Err(e) if e.raw_os_error() == Some(libc::EBADF) && offset == 0 => {
                return io::copy(&mut File::open(open_as(file))?, to).map(drop);
            }
            Err(e) => return Err(e),
        }
    }
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(mut file) => file.read_to_end(&mut bytes).map(|_| Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
