//! The cache on disk: a file for each item, named by its SHA-256, and beside it what is known of where it came from.
//!
//! Decides: what a file is, by its name and its content together; one that was damaged is never taken for what it was. An item's note is written
//! before the item, and each replaces its file in one step, so a power cut leaves an item whole or absent. Writers of several processes take turns.
//! Trusts nothing that it reads.

use super::{CollateralError, Kind, Note};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use weighbridge::bounded::{self, BoundedReadError};
use weighbridge::id::Digest;

/// The longest note that is read, in bytes.
pub(super) const MAX_NOTE: usize = 16 << 10;
/// What is being written, until it is whole.
const UNFINISHED: &str = "new.tmp";

/// The directory of the cache.
#[derive(Debug)]
pub(super) struct Disk {
    dir: PathBuf,
}

/// What stands under an item's name.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) bytes: Vec<u8>,
    pub(super) note: Note,
}

impl Disk {
    /// Makes the directories if need be, for this user alone.
    pub(super) fn open(state_dir: &Path) -> Result<Self, CollateralError> {
        let disk = Self {
            dir: state_dir.join("collateral"),
        };
        for kind in [Kind::Rim, Kind::Ocsp] {
            let dir = disk.dir(kind);
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&dir)
                .map_err(|source| CollateralError::Write { path: dir, source })?;
        }
        Ok(disk)
    }

    fn dir(&self, kind: Kind) -> PathBuf {
        self.dir.join(kind.text())
    }

    fn path(&self, kind: Kind, digest: &Digest) -> PathBuf {
        self.dir(kind).join(format!("{digest}.{}", kind.extension()))
    }

    /// The names of all items of a kind, at most `most`, and how many more there are.
    pub(super) fn list(&self, kind: Kind, most: usize) -> Result<(Vec<Digest>, usize), CollateralError> {
        let dir = self.dir(kind);
        let failed = |source| CollateralError::Read {
            path: dir.clone(),
            source: BoundedReadError::Io(source),
        };
        let (mut found, mut more) = (Vec::new(), 0usize);
        for entry in std::fs::read_dir(&dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let stem = name
                .to_str()
                .and_then(|n| n.strip_suffix(kind.extension())?.strip_suffix('.'));
            let Some(digest) = stem.and_then(|s| Digest::parse(s).ok()) else {
                continue;
            };
            if found.len() < most {
                found.push(digest);
            } else {
                more = more.saturating_add(1);
            }
        }
        found.sort();
        Ok((found, more))
    }

    /// Reads an item. Whether its bytes are those of its name, the caller looks.
    pub(super) fn read(&self, kind: Kind, digest: &Digest) -> Result<Stored, BoundedReadError> {
        let bytes = bounded::read(File::open(self.path(kind, digest))?, kind.most())?;
        Ok(Stored {
            bytes,
            note: self.note(kind, digest),
        })
    }

    /// What is known of an item. A note that is absent or damaged says nothing; the item itself is signed, and needs none.
    pub(super) fn note(&self, kind: Kind, digest: &Digest) -> Note {
        let path = self.path(kind, digest).with_extension("json");
        File::open(path)
            .map_err(BoundedReadError::from)
            .and_then(|f| bounded::read(f, MAX_NOTE))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    /// Keeps an item with its note.
    pub(super) fn write(
        &self,
        kind: Kind,
        digest: &Digest,
        bytes: &[u8],
        note: &Note,
    ) -> Result<(), CollateralError> {
        let _turn = self.turn()?;
        self.replace_note(kind, digest, note)?;
        self.replace(kind, &self.path(kind, digest), bytes)
    }

    /// Keeps the note of an item that stands already.
    pub(super) fn write_note(&self, kind: Kind, digest: &Digest, note: &Note) -> Result<(), CollateralError> {
        let _turn = self.turn()?;
        self.replace_note(kind, digest, note)
    }

    /// Takes an item away.
    pub(super) fn remove(&self, kind: Kind, digest: &Digest) -> Result<(), CollateralError> {
        let _turn = self.turn()?;
        let path = self.path(kind, digest);
        for path in [path.with_extension("json"), path] {
            match std::fs::remove_file(&path) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(CollateralError::Write { path, source });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn replace_note(&self, kind: Kind, digest: &Digest, note: &Note) -> Result<(), CollateralError> {
        let text = serde_json::to_vec(note)?;
        self.replace(kind, &self.path(kind, digest).with_extension("json"), &text)
    }

    fn replace(&self, kind: Kind, path: &Path, bytes: &[u8]) -> Result<(), CollateralError> {
        let new = self.dir(kind).join(UNFINISHED);
        let failed = |source| CollateralError::Write {
            path: path.to_owned(),
            source,
        };
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&new)
            .map_err(failed)?;
        file.write_all(bytes)
            .and_then(|()| file.sync_all())
            .and_then(|()| std::fs::rename(&new, path))
            .map_err(failed)
    }

    /// The right to write, until it is dropped. The kernel takes it back if the process dies.
    fn turn(&self) -> Result<File, CollateralError> {
        let path = self.dir.join("lock");
        let locked = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .and_then(|file| file.lock().map(|()| file));
        locked.map_err(|source| CollateralError::Write { path, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collateral::Source;
    use std::os::unix::fs::PermissionsExt;
    use weighbridge::crypto::sha256;
    use weighbridge::time::UnixSeconds;

    #[test]
    fn an_item_and_its_note_are_kept_for_their_owner_alone_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::open(dir.path()).unwrap();
        let (digest, other) = (sha256(b"item"), sha256(b"other"));
        let note = Note {
            source: Source::Service("http://cache.example:8080".to_owned()),
            fetched: Some(UnixSeconds(1_700_000_000)),
            confirmed: None,
            ids: vec!["NV_GPU_DRIVER_GH100_1".to_owned()],
        };
        disk.write(Kind::Rim, &digest, b"item", &note).unwrap();
        disk.write(Kind::Rim, &other, b"other", &Note::default()).unwrap();
        for (path, mode) in [
            (disk.dir(Kind::Rim), 0o700),
            (disk.path(Kind::Rim, &digest), 0o600),
            (disk.path(Kind::Rim, &digest).with_extension("json"), 0o600),
        ] {
            let found = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(found & 0o777, mode, "{}", path.display());
        }
        let stored = disk.read(Kind::Rim, &digest).unwrap();
        assert_eq!((stored.bytes.as_slice(), stored.note), (&b"item"[..], note));
        let mut all = vec![digest, other];
        all.sort();
        // What a power cut left half written, and what is no item, is no item.
        std::fs::write(disk.dir(Kind::Rim).join(UNFINISHED), "it").unwrap();
        std::fs::write(disk.dir(Kind::Rim).join("notes.xml"), "").unwrap();
        assert_eq!(disk.list(Kind::Rim, 9).unwrap(), (all, 0));
        assert_eq!(disk.list(Kind::Rim, 1).unwrap().1, 1);
        std::fs::write(disk.path(Kind::Rim, &digest).with_extension("json"), "{").unwrap();
        assert_eq!(disk.note(Kind::Rim, &digest), Note::default());
        disk.remove(Kind::Rim, &digest).unwrap();
        disk.remove(Kind::Rim, &digest).unwrap();
        assert_eq!(disk.list(Kind::Rim, 9).unwrap(), (vec![other], 0));
    }
}
