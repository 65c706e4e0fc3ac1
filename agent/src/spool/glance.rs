//! A file that is only looked at: what the library writes while it repairs or checks lies in memory, and the file stays as it is.
//!
//! Decides: nothing. Trusts that whoever writes the file heeds its locks: while it is looked at, no other process changes it.

use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Bytes that are kept together.
const BLOCK: usize = 4096;
/// The same as the number that places are counted in.
const BLOCK_BYTES: u64 = 4096;

/// The file, and over it what was written since.
#[derive(Debug)]
pub(super) struct Glance {
    file: FileBackend,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    len: u64,
    /// How much of the file counts: what was cut off is not seen again.
    from_file: u64,
    blocks: BTreeMap<u64, Vec<u8>>,
}

impl Glance {
    /// Opens the file at `path` to read it.
    pub(super) fn at(path: &Path) -> Result<Self, DatabaseError> {
        let file = FileBackend::new(File::open(path)?)?;
        let len = file.len()?;
        let written = Written {
            len,
            from_file: len,
            blocks: BTreeMap::new(),
        };
        Ok(Self {
            file,
            written: Mutex::new(written),
        })
    }

    fn with<T>(&self, work: impl FnOnce(&FileBackend, &mut Written) -> io::Result<T>) -> io::Result<T> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        work(&self.file, &mut written)
    }
}

impl Written {
    /// A block as it stands: as it was written, else as the file has it, and zeros beyond its end.
    fn block(&self, file: &FileBackend, number: u64) -> io::Result<Vec<u8>> {
        if let Some(block) = self.blocks.get(&number) {
            return Ok(block.clone());
        }
        let mut block = vec![0; BLOCK];
        let start = number.saturating_mul(BLOCK_BYTES);
        let there = self.from_file.saturating_sub(start).min(BLOCK_BYTES);
        let there = usize::try_from(there).unwrap_or(BLOCK);
        if let Some(part) = block.get_mut(..there).filter(|p| !p.is_empty()) {
            file.read(start, part)?;
        }
        Ok(block)
    }
}

/// The blocks that `len` bytes from `offset` on touch: each with its number, where the bytes begin in it, and how many they are.
fn touched(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let mut at = offset;
    let mut left = len;
    std::iter::from_fn(move || {
        let number = at.checked_div(BLOCK_BYTES)?;
        let within = usize::try_from(at.checked_rem(BLOCK_BYTES)?).ok()?;
        let count = BLOCK.saturating_sub(within).min(left);
        if count == 0 {
            return None;
        }
        at = at.checked_add(u64::try_from(count).ok()?)?;
        left = left.saturating_sub(count);
        Some((number, within, count))
    })
}

fn beyond() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "that lies beyond the end of the file",
    )
}

fn is_within(offset: u64, len: usize, end: u64) -> bool {
    let len = u64::try_from(len).ok();
    len.and_then(|l| offset.checked_add(l))
        .is_some_and(|to| to <= end)
}

impl StorageBackend for Glance {
    fn len(&self) -> io::Result<u64> {
        self.with(|_, written| Ok(written.len))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.with(|file, written| {
            if !is_within(offset, out.len(), written.len) {
                return Err(beyond());
            }
            let mut rest = out;
            for (number, within, count) in touched(offset, rest.len()) {
                let block = written.block(file, number)?;
                let (part, after) = rest.split_at_mut_checked(count).ok_or_else(beyond)?;
                let found = block.get(within..).and_then(|b| b.get(..count));
                part.copy_from_slice(found.ok_or_else(beyond)?);
                rest = after;
            }
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(|file, written| {
            // What is cut off must read as zeros where the storage grows again.
            let end = len.checked_div(BLOCK_BYTES).unwrap_or(0);
            if len < written.len {
                let mut last = written.block(file, end)?;
                let kept = usize::try_from(len.checked_rem(BLOCK_BYTES).unwrap_or(0)).unwrap_or(0);
                last.iter_mut().skip(kept).for_each(|b| *b = 0);
                written.blocks.retain(|number, _| *number < end);
                written.blocks.insert(end, last);
                written.from_file = written.from_file.min(len);
            }
            written.len = len;
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with(|file, written| {
            if !is_within(offset, data.len(), written.len) {
                return Err(beyond());
            }
            let mut rest = data;
            for (number, within, count) in touched(offset, data.len()) {
                let mut block = written.block(file, number)?;
                let (part, after) = rest.split_at_checked(count).ok_or_else(beyond)?;
                let place = block.get_mut(within..).and_then(|b| b.get_mut(..count));
                place.ok_or_else(beyond)?.copy_from_slice(part);
                written.blocks.insert(number, block);
                rest = after;
            }
            Ok(())
        })
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    // Who does not write shares the file with others who do not, and only with these.

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
