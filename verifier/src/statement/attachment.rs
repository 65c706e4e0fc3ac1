//! Files that belong to a statement.
//!
//! Decides: whether a file is the one that a statement names, by its SHA-256. Does not look into it.

use crate::cause::file_name;
use crate::command::{CommandError, Outcome};
use serde::Serialize;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use weighbridge::bounded::BoundedReadError;
use weighbridge::crypto::Sha256;
use weighbridge::id::Digest;
use weighbridge::statement::{MAX_LINE, Statement};

/// Media types by the end of a name; others are bytes.
const TYPES: &[(&str, &str)] = &[
    ("pdf", "application/pdf"),
    ("json", "application/json"),
    ("csv", "text/csv"),
    ("txt", "text/plain"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("png", "image/png"),
    ("zip", "application/zip"),
];

/// An attachment of a statement, held against the files at hand.
#[derive(Debug, Serialize)]
pub(super) struct Compared {
    name: String,
    sha256: Digest,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// A file at hand is the one.
    Matches,
    /// None is.
    NotChecked,
    /// A file at hand belongs to no attachment.
    Stranger,
}

impl Compared {
    /// Whether nothing about it is left to check.
    pub(super) fn holds(&self) -> bool {
        self.state == State::Matches
    }
}

impl std::fmt::Display for Compared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.state {
            State::Matches => write!(f, "{} is the file that it names", self.name),
            State::NotChecked => write!(
                f,
                "{} was not checked: give it with --attachment (SHA-256 {})",
                self.name, self.sha256
            ),
            State::Stranger => write!(
                f,
                "{} is NONE of the files that it names (SHA-256 {})",
                self.name, self.sha256
            ),
        }
    }
}

/// Prints what a draft says of these files.
pub(super) fn describe(files: &[PathBuf], out: &mut dyn Write) -> Outcome {
    for file in files {
        let (sha256, bytes) = digest(file)?;
        let name: String = file_name(file).chars().take(MAX_LINE.div_euclid(4)).collect();
        let end = file
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or_default()
            .to_ascii_lowercase();
        let known = TYPES.iter().find(|(e, _)| *e == end);
        let media_type = known.map_or("application/octet-stream", |(_, t)| t);
        writeln!(
            out,
            "[[attachments]]\nname = {}\nmedia_type = \"{media_type}\"\nsha256 = \"{sha256}\"\nbytes = {bytes}\n",
            toml::Value::String(name)
        )?;
    }
    Ok(true)
}

/// Holds the attachments of a statement against files.
pub(super) fn compare(statement: &Statement, files: &[PathBuf]) -> Result<Vec<Compared>, CommandError> {
    let at_hand = files
        .iter()
        .map(|f| Ok((file_name(f), digest(f)?)))
        .collect::<Result<Vec<_>, CommandError>>()?;
    let attached = || statement.header.attachments.iter().flatten();
    let named = attached().map(|a| {
        let found = at_hand
            .iter()
            .any(|(_, (sha256, bytes))| *sha256 == a.sha256 && *bytes == a.bytes);
        Compared {
            name: a.name.to_string(),
            sha256: a.sha256,
            state: if found { State::Matches } else { State::NotChecked },
        }
    });
    let strangers = at_hand
        .iter()
        .filter(|(_, (sha256, bytes))| attached().all(|a| a.sha256 != *sha256 || a.bytes != *bytes))
        .map(|(name, (sha256, _))| Compared {
            name: name.clone(),
            sha256: *sha256,
            state: State::Stranger,
        });
    Ok(named.chain(strangers).collect())
}

/// SHA-256 and size of a file of any size, in small pieces.
fn digest(file: &Path) -> Result<(Digest, u64), CommandError> {
    let unread = |source: std::io::Error| CommandError::Read {
        path: file.to_owned(),
        source: BoundedReadError::from(source),
    };
    let mut open = File::open(file).map_err(unread)?;
    let (mut hasher, mut bytes, mut piece) = (Sha256::default(), 0u64, vec![0; 64 << 10]);
    loop {
        let n = open.read(&mut piece).map_err(unread)?;
        if n == 0 {
            return Ok((hasher.finish(), bytes));
        }
        hasher.update(piece.get(..n).unwrap_or_default());
        bytes = bytes.saturating_add(u64::try_from(n).unwrap_or(u64::MAX));
    }
}
