//! `evidence collateral export`: what is kept, as one archive for a site without a network.
//!
//! Decides: what is written of what is kept: everything that can be used, in the order of names, and nothing of this machine. The archive is there whole
//! or not at all, and takes no file's place. Does not establish who made an archive: all that is in it is signed already, so it needs no signature.

use super::package::append;
use super::{Cache, Contents, Kind, Note, Root};
use crate::cause::{file_name, with_causes};
use crate::command::{Format, Outcome};
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tar::Builder;
use weighbridge::bounded::BoundedReadError;
use weighbridge::crypto::{Sha256, sha256};
use weighbridge::id::Digest;

/// Why an archive was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// It would overwrite a file.
    #[error("{path} exists, and is not overwritten: name another file, or move that one away", path = path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("{path} cannot be written", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

/// What was written.
struct Written {
    rims: usize,
    replies: usize,
    bytes: u64,
    sha256: Digest,
    /// What was found damaged as it was read again, each in a line.
    unusable: Vec<String>,
}

/// Carries out the command.
pub(super) fn export(
    cache: &Cache,
    path: &Path,
    root: &Root,
    format: Format,
    out: &mut dyn Write,
) -> Outcome {
    let contents = cache.contents();
    let written = write(cache, &contents, path)?;
    let named = |kind: Kind, digest: &Digest| format!("{}/{digest}.{}", kind.text(), kind.extension());
    let mut unusable: Vec<String> = contents
        .unusable
        .iter()
        .map(|one| format!("{}: {}", named(one.kind, &one.sha256), one.why))
        .collect();
    unusable.extend(written.unusable);
    let good = unusable.is_empty() && contents.left_out == 0;
    match format {
        Format::Json => {
            let all = json!({
                "file": file_name(path),
                "rims": written.rims,
                "replies": written.replies,
                "bytes": written.bytes,
                "sha256": written.sha256,
                "unusable": unusable,
                "left_out": contents.left_out,
                "rim_root": root.key,
                "rim_root_from": root.from(),
                "holds": good,
            });
            writeln!(out, "{all:#}")?;
        }
        Format::Text => {
            for one in &unusable {
                writeln!(out, "not written, for it cannot be used: {one}")?;
            }
            if contents.left_out > 0 {
                let more = contents.left_out;
                writeln!(out, "{more} files more than can be kept were not read")?;
            }
            writeln!(
                out,
                "{}: {} manifests and {} OCSP replies, {} bytes, SHA-256 {}",
                file_name(path),
                written.rims,
                written.replies,
                written.bytes,
                written.sha256
            )?;
        }
    }
    Ok(good)
}

/// Counts and hashes what passes.
struct Measured<W> {
    inner: W,
    bytes: u64,
    digest: Sha256,
}

impl<W: Write> Write for Measured<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let taken = self.inner.write(bytes)?;
        self.digest.update(bytes.get(..taken).unwrap_or_default());
        let more = u64::try_from(taken).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(more);
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

/// A file that is not whole yet; what is left of it goes when this is dropped.
struct Draft {
    path: PathBuf,
}

impl Drop for Draft {
    fn drop(&mut self) {
        // It may have its right name by now. That it cannot be removed harms nobody.
        drop(std::fs::remove_file(&self.path));
    }
}

fn write(cache: &Cache, contents: &Contents, path: &Path) -> Result<Written, ExportError> {
    let failed = |source| ExportError::Write {
        path: path.to_owned(),
        source,
    };
    let exists = || ExportError::Exists {
        path: path.to_owned(),
    };
    let stands = || path.symlink_metadata().is_ok();
    if stands() {
        return Err(exists());
    }
    let name = path
        .file_name()
        .ok_or_else(|| failed(ErrorKind::InvalidInput.into()))?;
    let mut unfinished = name.to_owned();
    unfinished.push(format!(".{}.tmp", std::process::id()));
    let draft = path.with_file_name(unfinished);
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(&draft)
        .map_err(failed)?;
    let draft = Draft { path: draft };
    let written = pack(cache, contents, file).map_err(failed)?;
    match std::fs::hard_link(&draft.path, path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(exists()),
        // The file system of a memory stick often has no second names.
        Err(_) if stands() => return Err(exists()),
        Err(_) => std::fs::rename(&draft.path, path).map_err(failed)?,
    }
    Ok(written)
}

fn pack(cache: &Cache, contents: &Contents, file: File) -> std::io::Result<Written> {
    let mut archive = Builder::new(Measured {
        inner: BufWriter::new(file),
        bytes: 0,
        digest: Sha256::default(),
    });
    let replies = contents.replies.iter();
    let replies = replies.map(|kept| (Kind::Ocsp, kept.presented.digest, &kept.note));
    let rims = contents.rims.iter();
    let rims = rims.map(|kept| (Kind::Rim, kept.presented.digest, &kept.note));
    let mut all: Vec<(Kind, Digest, &Note)> = replies.chain(rims).collect();
    all.sort_by_key(|(kind, digest, _)| (kind.text(), *digest));
    let (mut rims, mut replies, mut unusable) = (0usize, 0usize, Vec::new());
    for (kind, digest, note) in all {
        let name = || format!("{}/{digest}.{}", kind.text(), kind.extension());
        let bytes = match cache.shared.disk.read(kind, &digest) {
            Ok(stored) if sha256(&stored.bytes) == digest => stored.bytes,
            Ok(_) => {
                unusable.push(format!("{}: it is damaged", name()));
                continue;
            }
            // A verifier that serves took it away meanwhile, for newer ones came.
            Err(BoundedReadError::Io(e)) if e.kind() == ErrorKind::NotFound => continue,
            Err(error) => {
                unusable.push(format!("{}: {}", name(), with_causes(&error)));
                continue;
            }
        };
        append(&mut archive, kind, &digest, &bytes, note)?;
        let count = match kind {
            Kind::Rim => &mut rims,
            Kind::Ocsp => &mut replies,
        };
        *count = count.saturating_add(1);
    }
    let measured = archive.into_inner()?;
    let file = measured.inner.into_inner()?;
    file.sync_all()?;
    Ok(Written {
        rims,
        replies,
        bytes: measured.bytes,
        sha256: measured.digest.finish(),
        unusable,
    })
}
