//! What is kept, as entries of an archive: plain tar (POSIX.1-1988 `ustar`), with `collateral/rim/<SHA-256>.xml` and `collateral/ocsp/<SHA-256>.der`, and
//! beside each its note (`.json`), as they stand in the state directory.
//!
//! Decides: which entries of an archive are items. A name is compared with that form and with nothing else, and no file is made by it; what has another name
//! is passed over, so the items may stand in a larger archive. Trusts nothing that it reads: an item is whole by its name, and whether it is
//! authentic the cache looks. A note stands next to its item in the order of names; elsewhere it is not found, and an item needs none.

use super::disk::MAX_NOTE;
use super::{Kind, MAX_REPLIES, MAX_RIMS, Note, plain};
use serde::Serialize;
use std::io::{Read, Write};
use tar::{Builder, EntryType, Header};
use weighbridge::crypto::sha256;
use weighbridge::id::Digest;
use weighbridge::time::UnixSeconds;

/// A header, and what everything is padded to, in bytes.
const BLOCK: usize = 512;
/// The directory of all items.
const DIRECTORY: &str = "collateral";
/// The most items and notes that are read: as many as can be kept.
const MAX_ITEMS: usize = 2 * (MAX_RIMS + MAX_REPLIES);
/// The most entries of an archive, reports of years among them.
const MAX_ENTRIES: usize = 1 << 24;

/// Why an archive is not read to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArchiveError {
    /// The file failed.
    #[error("it cannot be read")]
    Read(#[from] std::io::Error),
    /// It was cut off.
    #[error("it is cut off after {at} bytes: carry it over again")]
    Cut { at: u64 },
    /// It was altered.
    #[error("it is damaged: at byte {at} an entry should begin, and none does; carry it over again")]
    Damaged { at: u64 },
    /// A form that is not read.
    #[error("at byte {at} stands a sparse file, which is not read: pack it as plain tar (ustar)")]
    Sparse { at: u64 },
    /// There is too much in it.
    #[error("it holds more than {most} {what}, which is the most")]
    Many { most: usize, what: &'static str },
}

/// An entry that should be an item.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) content: Result<Packed, String>,
}

/// An item whose bytes are those of its name.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) bytes: Vec<u8>,
    /// What the archive says of it, which nobody signed.
    pub(super) note: Note,
}

/// A note as it leaves the verifier: of a service that an item came from, nothing but that it was one.
#[derive(Serialize)]
struct NoteOut<'a> {
    source: &'static str,
    fetched: Option<UnixSeconds>,
    confirmed: Option<UnixSeconds>,
    ids: &'a [String],
}

/// Writes an item and its note, in the order of their names.
pub(super) fn append<W: Write>(
    archive: &mut Builder<W>,
    kind: Kind,
    digest: &Digest,
    bytes: &[u8],
    note: &Note,
) -> std::io::Result<()> {
    let note = serde_json::to_vec(&NoteOut {
        source: note.source.kind(),
        fetched: note.fetched,
        confirmed: note.confirmed,
        ids: &note.ids,
    })?;
    let mut both = [(kind.extension(), bytes), ("json", note.as_slice())];
    both.sort_unstable();
    for (extension, content) in both {
        let mut header = Header::new_ustar();
        header.set_path(format!("{DIRECTORY}/{}/{digest}.{extension}", kind.text()))?;
        header.set_entry_type(EntryType::Regular);
        header.set_size(u64::try_from(content.len()).unwrap_or(u64::MAX));
        header.set_mode(0o644);
        // Nothing of this machine or hour, so that the same content gives the same bytes.
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        archive.append(&header, content)?;
    }
    Ok(())
}

/// Whether a file begins as an archive does.
pub(super) fn is_archive(start: &[u8]) -> bool {
    let Some(block) = start.first_chunk::<BLOCK>() else {
        return false;
    };
    // One that holds nothing begins with its end.
    is_end(block) || header(block).is_some()
}

fn is_end(block: &[u8; BLOCK]) -> bool {
    block.iter().all(|b| *b == 0)
}

/// The header in a block, if it is one: of POSIX or of GNU, with the right checksum.
fn header(block: &[u8; BLOCK]) -> Option<&Header> {
    let found = Header::from_byte_slice(block);
    let mut right = found.clone();
    right.set_cksum();
    let known = found.as_ustar().is_some() || found.as_gnu().is_some();
    (known && found.cksum().ok()? == right.cksum().ok()?).then_some(found)
}

/// Reads the items of an archive, each handed on as soon as it is whole. Says how many entries were none, and why it was not read to its end.
pub(super) fn read(source: impl Read, each: impl FnMut(Entry)) -> (usize, Result<(), ArchiveError>) {
    let mut reading = Reading {
        source,
        at: 0,
        each,
        held: None,
        ignored: 0,
    };
    let end = reading.read_all();
    reading.hand_on();
    (reading.ignored, end)
}

/// What a name stands for.
struct Name {
    text: String,
    kind: Kind,
    is_note: bool,
    /// `None` where it should be a SHA-256, and is not.
    digest: Option<Digest>,
}

impl Name {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (kind, file) = [Kind::Rim, Kind::Ocsp].into_iter().find_map(|kind| {
            let inside = text.strip_prefix(DIRECTORY)?.strip_prefix('/')?;
            Some((kind, inside.strip_prefix(kind.text())?.strip_prefix('/')?))
        })?;
        let (stem, extension) = file.rsplit_once('.')?;
        let is_note = extension == "json";
        if stem.contains('/') || !(is_note || extension == kind.extension()) {
            return None;
        }
        let digest = Digest::parse(stem).ok().filter(|d| d.to_string() == stem);
        Some(Self {
            text: plain(text),
            kind,
            is_note,
            digest,
        })
    }
}

/// An item or its note, until the other was seen or something else came.
struct Half {
    kind: Kind,
    digest: Digest,
    /// The item, and how it was called.
    item: Option<(String, Vec<u8>)>,
    note: Option<Note>,
}

struct Reading<R, F> {
    source: R,
    /// How many bytes were read.
    at: u64,
    each: F,
    held: Option<Half>,
    ignored: usize,
}

impl<R: Read, F: FnMut(Entry)> Reading<R, F> {
    fn read_all(&mut self) -> Result<(), ArchiveError> {
        let mut items = 0usize;
        for _ in 0..MAX_ENTRIES {
            let at = self.at;
            let block = self.take(BLOCK)?;
            let Some(block) = block.first_chunk::<BLOCK>() else {
                return Err(ArchiveError::Cut { at: self.at });
            };
            if is_end(block) {
                return Ok(());
            }
            let damaged = || ArchiveError::Damaged { at };
            let header = header(block).ok_or_else(damaged)?;
            let size = header.entry_size().map_err(|_| damaged())?;
            if header.entry_type() == EntryType::GNUSparse {
                return Err(ArchiveError::Sparse { at });
            }
            if let Some(name) = Name::parse(&header.path_bytes()) {
                items = items.saturating_add(1);
                if items > MAX_ITEMS {
                    return Err(ArchiveError::Many {
                        most: MAX_ITEMS,
                        what: "manifests, OCSP replies and notes",
                    });
                }
                self.entry(name, header.entry_type(), size)?;
            } else {
                self.ignored = self.ignored.saturating_add(1);
                self.skip(size)?;
            }
            self.skip(padding(size))?;
        }
        Err(ArchiveError::Many {
            most: MAX_ENTRIES,
            what: "entries",
        })
    }

    /// An entry with the name of an item or of a note.
    fn entry(&mut self, name: Name, of: EntryType, size: u64) -> Result<(), ArchiveError> {
        let (most, is_file) = (name.kind.most(), of == EntryType::Regular);
        let most = if name.is_note { MAX_NOTE } else { most };
        let fits = usize::try_from(size).ok().filter(|size| *size <= most);
        let (Some(digest), true, Some(size)) = (name.digest, is_file, fits) else {
            if name.is_note {
                self.ignored = self.ignored.saturating_add(1);
            } else {
                let why = match name.digest {
                    _ if !is_file => "it is a link, or something else that is no plain file".to_owned(),
                    None => "its name is not the SHA-256 of its content".to_owned(),
                    Some(_) => format!("it is larger than the {most} bytes allowed for it"),
                };
                self.hand_on();
                (self.each)(Entry {
                    name: name.text,
                    kind: name.kind,
                    content: Err(why),
                });
            }
            return self.skip(size);
        };
        let bytes = self.take(size)?;
        let again = |held: &Half| !name.is_note && held.item.is_some();
        let other = |held: &Half| again(held) || (held.kind, held.digest) != (name.kind, digest);
        if self.held.as_ref().is_some_and(other) {
            self.hand_on();
        }
        let half = self.held.get_or_insert(Half {
            kind: name.kind,
            digest,
            item: None,
            note: None,
        });
        if !name.is_note {
            half.item = Some((name.text, bytes));
        } else if let Ok(note) = serde_json::from_slice(&bytes) {
            half.note = Some(note);
        } else {
            self.ignored = self.ignored.saturating_add(1);
        }
        Ok(())
    }

    /// What is held is as whole as it gets.
    fn hand_on(&mut self) {
        let Some(half) = self.held.take() else {
            return;
        };
        let Some((name, bytes)) = half.item else {
            self.ignored = self.ignored.saturating_add(usize::from(half.note.is_some()));
            return;
        };
        let content = if sha256(&bytes) == half.digest {
            Ok(Packed {
                bytes,
                note: half.note.unwrap_or_default(),
            })
        } else {
            Err("its name is not the SHA-256 of its content: it was damaged or renamed".to_owned())
        };
        (self.each)(Entry {
            name,
            kind: half.kind,
            content,
        });
    }

    /// The next bytes, all of them; the caller bounds how many.
    fn take(&mut self, size: usize) -> Result<Vec<u8>, ArchiveError> {
        let mut bytes = Vec::new();
        let most = u64::try_from(size).unwrap_or(u64::MAX);
        let read = self.source.by_ref().take(most).read_to_end(&mut bytes)?;
        self.reached(most, u64::try_from(read).unwrap_or(u64::MAX))?;
        Ok(bytes)
    }

    fn skip(&mut self, size: u64) -> Result<(), ArchiveError> {
        let read = std::io::copy(&mut self.source.by_ref().take(size), &mut std::io::sink())?;
        self.reached(size, read)
    }

    fn reached(&mut self, wanted: u64, read: u64) -> Result<(), ArchiveError> {
        self.at = self.at.saturating_add(read);
        if read < wanted {
            return Err(ArchiveError::Cut { at: self.at });
        }
        Ok(())
    }
}

/// How many bytes follow content of this size, up to the next block.
fn padding(size: u64) -> u64 {
    let block = u64::try_from(BLOCK).unwrap_or(1);
    size.checked_next_multiple_of(block)
        .map_or(0, |whole| whole.saturating_sub(size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collateral::Source;

    fn packed(items: &[(Kind, &[u8])]) -> Vec<u8> {
        let mut archive = Builder::new(Vec::new());
        let note = Note {
            source: Source::Service("http://cache.example:8080".to_owned()),
            fetched: Some(UnixSeconds(1_700_000_000)),
            confirmed: Some(UnixSeconds(1_700_000_600)),
            ids: vec!["NV_GPU_DRIVER_GH100_1".to_owned()],
        };
        for (kind, bytes) in items {
            append(&mut archive, *kind, &sha256(bytes), bytes, &note).unwrap();
        }
        archive.into_inner().unwrap()
    }

    type Seen = (Vec<(String, Result<Vec<u8>, String>)>, Vec<Note>);

    fn seen(archive: &[u8]) -> (Seen, usize, Option<String>) {
        let (mut entries, mut notes) = (Vec::new(), Vec::new());
        let (ignored, end) = read(archive, |entry| {
            notes.extend(entry.content.as_ref().ok().map(|p| p.note.clone()));
            entries.push((entry.name, entry.content.map(|p| p.bytes)));
        });
        ((entries, notes), ignored, end.err().map(|e| e.to_string()))
    }

    #[test]
    fn what_is_written_is_read_again_with_its_notes_and_no_address() {
        let items: [(Kind, &[u8]); 2] = [(Kind::Ocsp, b"reply"), (Kind::Rim, b"manifest")];
        let archive = packed(&items);
        assert!(is_archive(&archive));
        assert!(!archive.windows(13).any(|w| w == b"cache.example"));
        let ((entries, notes), ignored, end) = seen(&archive);
        let found: Vec<_> = entries.iter().map(|(_, c)| c.clone().unwrap()).collect();
        assert_eq!(found, [b"reply".to_vec(), b"manifest".to_vec()]);
        assert_eq!((ignored, end), (0, None));
        for note in notes {
            assert_eq!(
                note.source,
                Source::Unknown,
                "who wrote an archive, it cannot say"
            );
            assert_eq!(note.confirmed, Some(UnixSeconds(1_700_000_600)));
            assert_eq!(note.ids, ["NV_GPU_DRIVER_GH100_1"]);
        }
        assert_eq!(archive, packed(&items));
        assert!(is_archive(&packed(&[])));
        assert_eq!(seen(&packed(&[])), ((vec![], vec![]), 0, None));
    }

    #[test]
    fn wherever_an_archive_ends_too_early_what_is_whole_is_read_and_the_rest_is_told() {
        let archive = packed(&[(Kind::Ocsp, b"reply"), (Kind::Rim, b"manifest")]);
        // Four entries of two blocks each, and two blocks for the end, of which one is enough.
        assert_eq!(archive.len(), 10 * BLOCK);
        for length in 0..9 * BLOCK {
            let ((entries, _), _, end) = seen(&archive[..length]);
            let whole = [BLOCK + 5, 7 * BLOCK + 8]
                .iter()
                .filter(|l| **l <= length)
                .count();
            assert_eq!(entries.len(), whole, "{length}");
            assert!(end.unwrap().contains(&format!("cut off after {length} bytes")));
        }
        assert_eq!(seen(&archive[..9 * BLOCK]).2, None);
    }

    #[test]
    fn no_altered_byte_changes_an_item_unnoticed() {
        let archive = packed(&[(Kind::Ocsp, b"reply")]);
        for place in 0..archive.len() {
            let mut altered = archive.clone();
            altered[place] ^= 0x10;
            for (_, content) in seen(&altered).0.0 {
                assert!(content.is_err() || content == Ok(b"reply".to_vec()), "{place}");
            }
        }
    }

    #[test]
    fn only_the_exact_form_of_a_name_is_an_item() {
        let digest = sha256(b"reply");
        let parsed = |name: &str| Name::parse(name.as_bytes()).map(|n| (n.kind, n.is_note, n.digest));
        let good = format!("collateral/ocsp/{digest}.der");
        assert_eq!(parsed(&good), Some((Kind::Ocsp, false, Some(digest))));
        assert_eq!(
            parsed(&good.replace("der", "json")),
            Some((Kind::Ocsp, true, Some(digest)))
        );
        assert_eq!(
            parsed("collateral/rim/driver.xml"),
            Some((Kind::Rim, false, None))
        );
        let upper = format!("collateral/ocsp/{}.der", digest.to_string().to_uppercase());
        assert_eq!(parsed(&upper), Some((Kind::Ocsp, false, None)));
        for other in [
            format!("/{good}"),
            format!("./{good}"),
            format!("../{good}"),
            format!("collateral/rim/../ocsp/{digest}.der"),
            format!("collateral/rim/{digest}.der"),
            format!("collateral/ocsp/x/{digest}.der"),
            format!("collateral/{digest}.der"),
            "collateral/ocsp".to_owned(),
            "collateral/ocsp/".to_owned(),
        ] {
            assert_eq!(parsed(&other), None, "{other}");
        }
    }
}
