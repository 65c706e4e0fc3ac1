//! The driver's library, and DCGM's: which file it is, whose it is, and whether it is still the one that was loaded.
//!
//! Decides: the digest and the origin that a report states. The file is opened once; its owner, its place and its
//! digest are taken through that descriptor, and the same descriptor is what the dynamic linker loads, so that nothing
//! can be exchanged between the look and the load. Trusts root: a library that only root could write is the system's.
//! Does not establish that the library is NVIDIA's; the verifier compares the digest with known ones.

use super::host;
use std::fs::{self, File, Metadata};
use std::io::{self, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use weighbridge::bounded;
use weighbridge::id::Digest;
use weighbridge::telemetry::LibraryOrigin;

/// The name under which the driver's packages install the library.
pub const LIBRARY_NAME: &str = "libnvidia-ml.so.1";

/// A library that may be loaded.
#[derive(Debug)]
pub struct Kind {
    /// What people call it.
    name: &'static str,
    /// The names under which its packages install it, the one to be preferred first.
    files: &'static [&'static str],
    /// What to install where it is missing.
    package: &'static str,
}

/// The driver's own library.
pub static NVML: Kind = Kind {
    name: "NVML",
    files: &[LIBRARY_NAME],
    package: "the driver",
};

/// The client library of DCGM.
pub static DCGM: Kind = Kind {
    name: "DCGM",
    files: &["libdcgm.so.4", "libdcgm.so.3"],
    package: "DCGM 3 or 4",
};

/// The largest library that is read: real ones are 2 to 20 MiB.
const MAX_LIBRARY: u64 = 256 << 20;

/// The largest cache of the dynamic linker that is read: real ones are some 100 KiB.
const MAX_LINKER_CACHE: usize = 16 << 20;

/// Directories that belong to the system. A library directly in one of them, or below, is the system's own.
const SYSTEM_DIRECTORIES: &[&str] = &["/usr/lib", "/usr/lib64", "/lib", "/lib64"];

/// Where the library is looked for when the linker's cache does not name it: the places of Debian, of Fedora, of
/// driver containers, of Container-Optimised OS and of NixOS.
const SEARCH: &[&str] = &[
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/lib64",
    "/lib",
    "/run/nvidia/driver/usr/lib/x86_64-linux-gnu",
    "/run/nvidia/driver/usr/lib64",
    "/usr/local/nvidia/lib64",
    "/run/opengl-driver/lib",
];

/// Why the library cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LibraryError {
    /// No such file anywhere.
    #[error("{file} is in none of the system's library directories: install {package}, or set its path")]
    NotFound {
        /// Its name.
        file: &'static str,
        /// What brings it.
        package: &'static str,
    },
    /// The file could not be opened or read.
    #[error("the {name} library {path} could not be read")]
    Unreadable {
        /// Which library.
        name: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is not a plain file.
    #[error("the {name} library {path} is not a plain file")]
    NotAFile {
        /// Which library.
        name: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// It changed while it was read.
    #[error("the {name} library {path} was written to while it was read")]
    Unsteady {
        /// Which library.
        name: &'static str,
        /// The file.
        path: PathBuf,
    },
}

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    place: (u64, u64),
    size: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        Self {
            place: (meta.dev(), meta.ino()),
            size: meta.len(),
            written: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// The library, opened, and what was found out about it.
#[derive(Debug)]
pub struct Library {
    file: File,
    path: PathBuf,
    /// Of the file that now has the path, and of the file that was loaded: one file at first.
    at_path: Stamp,
    loaded: Stamp,
    digest: Digest,
    origin: LibraryOrigin,
    replaced: bool,
}

impl Library {
    /// Opens and reads the driver's library at `configured`, or the one that the system would load.
    ///
    /// # Errors
    /// [`LibraryError`].
    pub fn open(configured: Option<&Path>) -> Result<Self, LibraryError> {
        Self::open_as(&NVML, configured)
    }

    /// Opens and reads a library of this kind at `configured`, or the one that the system would load.
    ///
    /// # Errors
    /// [`LibraryError`].
    pub fn open_as(kind: &'static Kind, configured: Option<&Path>) -> Result<Self, LibraryError> {
        let name = kind.name;
        let path = match configured {
            Some(path) => path.to_owned(),
            None => find(kind).ok_or_else(|| LibraryError::NotFound {
                file: kind.files.first().copied().unwrap_or_default(),
                package: kind.package,
            })?,
        };
        let unreadable = |source| LibraryError::Unreadable {
            name,
            path: path.clone(),
            source,
        };
        let real = fs::canonicalize(&path).map_err(unreadable)?;
        let file = open(&real).map_err(unreadable)?;
        let meta = file.metadata().map_err(unreadable)?;
        if !meta.is_file() {
            return Err(LibraryError::NotAFile { name, path });
        }
        let digest = host::digest(&file, MAX_LIBRARY).map_err(unreadable)?;
        let stamp = Stamp::of(&file.metadata().map_err(unreadable)?);
        if stamp != Stamp::of(&meta) {
            return Err(LibraryError::Unsteady { name, path });
        }
        Ok(Self {
            origin: origin(&real, &meta),
            file,
            path,
            at_path: stamp,
            loaded: stamp,
            digest,
            replaced: false,
        })
    }

    /// A path by which the dynamic linker loads exactly the file that was read.
    ///
    /// The linker takes a path that it has seen before for the library it loaded then, and numbers of descriptors come
    /// back. So no two paths are alike: a count is written into each, a bit as `./` or `/`.
    #[must_use]
    pub fn load_path(&self) -> PathBuf {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut path = String::from("/proc/self/fd/");
        for bit in 0..u32::BITS {
            let set = count.checked_shr(bit).unwrap_or(0) & 1 == 1;
            path.push_str(if set { "./" } else { "/" });
        }
        path.push_str(&self.file.as_raw_fd().to_string());
        PathBuf::from(path)
    }

    /// Where it was found.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// SHA-256 of its bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Whose it is.
    #[must_use]
    pub fn origin(&self) -> LibraryOrigin {
        self.origin
    }

    /// Whether the file at the path was found to be another than the one loaded. Once found, it stays so until the
    /// library is opened anew.
    #[must_use]
    pub fn replaced(&self) -> bool {
        self.replaced
    }

    /// Compares the file at the path, and the file that was loaded, with what was read at the start. The file is read
    /// again only where its stamp differs.
    ///
    /// Returns a sentence for the operator where a difference was found that was not known before.
    pub fn check(&mut self) -> Option<String> {
        if self.replaced {
            return None;
        }
        let found = self.difference()?;
        self.replaced = true;
        Some(found)
    }

    fn difference(&mut self) -> Option<String> {
        let path = self.path.display();
        let Ok(there) = fs::metadata(&self.path).map(|m| Stamp::of(&m)) else {
            return Some(format!("the NVML library {path} was removed after it was loaded"));
        };
        let loaded = self.file.metadata().map(|m| Stamp::of(&m)).ok()?;
        if there == self.at_path && loaded == self.loaded {
            return None;
        }
        // A new file with the same bytes is a reinstallation; new bytes in the old file may already run.
        let again = open(&self.path)
            .and_then(|file| host::digest(file, MAX_LIBRARY))
            .and_then(|at_path| {
                self.file.seek(SeekFrom::Start(0))?;
                Ok([at_path, host::digest(&self.file, MAX_LIBRARY)?])
            });
        match again {
            Ok(found) => match found.iter().find(|digest| **digest != self.digest) {
                Some(other) => Some(format!(
                    "the NVML library {path} was replaced after it was loaded: its SHA-256 was {}, now it is {other}",
                    self.digest
                )),
                None => {
                    self.at_path = there;
                    self.loaded = loaded;
                    None
                }
            },
            Err(source) => Some(format!(
                "the NVML library {path} changed after it was loaded and cannot be read any more: {source}"
            )),
        }
    }
}

/// Opens without waiting: the path may name a pipe, whose opening would wait for a writer.
fn open(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
}

/// Whose the file is: anyone's who may write to it or put another in its place.
fn origin(real: &Path, meta: &Metadata) -> LibraryOrigin {
    let above = real
        .ancestors()
        .skip(1)
        .map(fs::metadata)
        .all(|m| m.is_ok_and(|m| only_root_writes(&m)));
    if !above || !only_root_writes(meta) {
        return LibraryOrigin::Writable;
    }
    if SYSTEM_DIRECTORIES.iter().any(|dir| real.starts_with(dir)) {
        LibraryOrigin::System
    } else {
        LibraryOrigin::Configured
    }
}

fn only_root_writes(meta: &Metadata) -> bool {
    const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
    meta.uid() == 0 && meta.mode() & GROUP_OR_OTHERS_WRITE == 0
}

/// The file that the dynamic linker would take: first what its cache says, then the usual directories.
fn find(kind: &Kind) -> Option<PathBuf> {
    let cache = File::open("/etc/ld.so.cache")
        .ok()
        .and_then(|file| bounded::read(file, MAX_LINKER_CACHE).ok())
        .unwrap_or_default();
    let places = |name: &'static str| {
        let cached = cached_path(&cache, name);
        cached
            .into_iter()
            .chain(SEARCH.iter().map(move |dir| Path::new(dir).join(name)))
    };
    kind.files
        .iter()
        .flat_map(|name| places(name))
        .find(|path| path.is_file())
}

/// Looks `name` up in a linker cache of the form that glibc has written since 2.32 (`cache_file_new` in its
/// `dl-cache.h`): 48 bytes of head with the count of entries at 20, then entries of 24 bytes with flags, name and path
/// as offsets into the whole file.
fn cached_path(cache: &[u8], name: &str) -> Option<PathBuf> {
    const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
    const HEAD: usize = 48;
    const ENTRY: usize = 24;
    /// `FLAG_ELF_LIBC6` with the flag of the machine's 64-bit interface.
    const FLAGS: u32 = if cfg!(target_arch = "aarch64") {
        0x0a03
    } else {
        0x0303
    };
    if !cache.starts_with(MAGIC) {
        return None;
    }
    let word = |bytes: &[u8], at: usize| -> Option<u32> {
        let end = at.checked_add(4)?;
        Some(u32::from_ne_bytes(bytes.get(at..end)?.try_into().ok()?))
    };
    let text = |offset: u32| -> Option<&str> {
        let rest = cache.get(usize::try_from(offset).ok()?..)?;
        let end = rest.iter().take(4096).position(|b| *b == 0)?;
        std::str::from_utf8(rest.get(..end)?).ok()
    };
    let count = usize::try_from(word(cache, MAGIC.len())?).ok()?;
    cache
        .get(HEAD..)?
        .chunks_exact(ENTRY)
        .take(count)
        .filter(|entry| word(entry, 0) == Some(FLAGS))
        .find(|entry| word(entry, 4).and_then(text) == Some(name))
        .and_then(|entry| word(entry, 8).and_then(text))
        .map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn sample() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LIBRARY_NAME);
        fs::write(&path, b"first").unwrap();
        (dir, path)
    }

    #[test]
    fn the_digest_is_of_the_file_and_the_descriptor_leads_back_to_it() {
        let (_dir, path) = sample();
        let library = Library::open(Some(&path)).unwrap();
        assert_eq!(library.digest(), weighbridge::crypto::sha256(b"first"));
        let paths = [library.load_path(), library.load_path()];
        assert_ne!(
            paths[0].as_os_str(),
            paths[1].as_os_str(),
            "the linker would take one for the other"
        );
        for path in paths {
            assert_eq!(bounded::read(File::open(path).unwrap(), 9).unwrap(), b"first");
        }
    }

    #[test]
    fn a_file_that_others_may_write_or_whose_directory_they_may_write_is_writable() {
        let (_dir, path) = sample();
        // A temporary directory stands below `/tmp`, which anyone may write.
        assert_eq!(
            Library::open(Some(&path)).unwrap().origin(),
            LibraryOrigin::Writable
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(
            origin(&path, &fs::metadata(&path).unwrap()),
            LibraryOrigin::Writable
        );
    }

    #[test]
    fn a_file_of_the_system_is_the_systems() {
        let Some(dir) = [
            "/usr/lib/x86_64-linux-gnu",
            "/usr/lib64",
            "/usr/lib/aarch64-linux-gnu",
        ]
        .iter()
        .find(|d| Path::new(d).join("libc.so.6").exists()) else {
            println!("skipped: no C library in a usual place");
            return;
        };
        let library = Library::open(Some(&Path::new(dir).join("libc.so.6"))).unwrap();
        assert_eq!(library.origin(), LibraryOrigin::System);
    }

    #[test]
    fn a_library_swapped_under_the_agent_is_found() {
        let (dir, path) = sample();
        let mut library = Library::open(Some(&path)).unwrap();
        assert_eq!(library.check(), None);
        let other = dir.path().join("other");
        fs::write(&other, b"second").unwrap();
        fs::rename(&other, &path).unwrap();
        assert!(library.check().unwrap().contains("was replaced"));
        assert!(library.replaced());
        assert_eq!(library.check(), None, "told once");
    }

    #[test]
    fn a_library_written_over_in_place_is_found() {
        let (_dir, path) = sample();
        let mut library = Library::open(Some(&path)).unwrap();
        fs::write(&path, b"fir5t").unwrap();
        assert!(library.check().is_some());
    }

    #[test]
    fn a_library_removed_is_found_and_one_reinstalled_unchanged_is_not() {
        let (dir, path) = sample();
        let mut library = Library::open(Some(&path)).unwrap();
        let again = dir.path().join("again");
        fs::write(&again, b"first").unwrap();
        fs::rename(&again, &path).unwrap();
        assert_eq!(library.check(), None);
        assert_eq!(library.check(), None);
        fs::remove_file(&path).unwrap();
        assert!(library.check().unwrap().contains("removed"));
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(
            Library::open(Some(dir.path())),
            Err(LibraryError::NotAFile { .. })
        ));
        assert!(matches!(
            Library::open(Some(&dir.path().join("absent"))),
            Err(LibraryError::Unreadable { .. })
        ));
    }

    #[test]
    fn the_linkers_cache_is_read_and_a_broken_one_is_not_followed() {
        let mut cache = b"glibc-ld.so.cache1.1".to_vec();
        cache.extend(1u32.to_ne_bytes());
        cache.resize(48, 0);
        let flags = if cfg!(target_arch = "aarch64") {
            0x0a03u32
        } else {
            0x0303
        };
        let name_at = 48 + 24;
        let path_at = name_at + 18;
        for word in [flags, name_at, path_at, 0, 0, 0] {
            cache.extend(word.to_ne_bytes());
        }
        cache.extend(b"libnvidia-ml.so.1\0/opt/lib/libnvidia-ml.so.1\0");
        assert_eq!(
            cached_path(&cache, LIBRARY_NAME),
            Some(PathBuf::from("/opt/lib/libnvidia-ml.so.1"))
        );
        assert_eq!(cached_path(&cache, "libother.so.1"), None);
        for cut in 0..cache.len() {
            assert_eq!(cached_path(&cache[..cut], LIBRARY_NAME), None);
        }
        let mut wild = cache.clone();
        wild[52..56].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(cached_path(&wild, LIBRARY_NAME), None);
        if let Ok(file) = File::open("/etc/ld.so.cache") {
            let real = bounded::read(file, MAX_LINKER_CACHE).unwrap();
            assert!(cached_path(&real, "libc.so.6").is_some());
        }
    }
}
