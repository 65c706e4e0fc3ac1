//! `evidence collateral`: fills the cache from files, shows it, and writes it for others.

use super::export::export;
use super::listing::listed;
use super::live::{is_answer, read_answer};
use super::package::{self, is_archive};
use super::{Cache, Kind, MAX_REPLY, MAX_RIM, Refused, Root, Source, Taken};
use crate::cause::{file_name, with_causes};
use crate::command::{CommandError, Format, Outcome};
use crate::config::Config;
use crate::identity::{IdentityError, exists};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use weighbridge::bounded::{self, BoundedReadError};
use weighbridge::hardware::nvidia::RIM_ROOT;
use weighbridge::time::UnixSeconds;

/// The most files of one directory that are looked at.
const MAX_FILES: usize = 1 << 16;
/// The longest answer of the service of manifests that is read.
const MAX_ANSWER: usize = MAX_RIM * 3 / 2;

/// What about what is kept.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum CollateralCommand {
    /// Keep reference manifests and OCSP replies.
    ///
    /// Manifests (*.xml), OCSP replies in DER (*.der), answers of NVIDIA's service of manifests (*.json) and archives of `export` (*.tar) are taken; of a
    /// directory all of them, but not those of directories in it. A manifest must be authentic, a reply readable. A verifier that serves uses them within
    /// seconds. The exit status is 1 where one was refused.
    Add {
        /// Files or directories.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// For people, or for machines.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Write what is kept to one archive (tar), which `add` takes at a site without a network.
    ///
    /// The same content gives the same bytes. A file that exists is not overwritten. The exit status is 1 where something that is kept cannot be used.
    Export {
        /// The archive.
        file: PathBuf,
        /// For people, or for machines.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// List what is kept: from where, how old, and when it holds.
    ///
    /// The exit status is 1 where something that is kept cannot be used. What no longer holds is shown as such, and is kept for reports of its time.
    List {
        /// For people, or for machines.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

/// Carries out the command.
///
/// # Errors
/// [`CommandError`] where the state or a path cannot be read.
pub(crate) fn collateral(
    command: CollateralCommand,
    config: &Config,
    now: UnixSeconds,
    out: &mut dyn Write,
) -> Outcome {
    if !exists(&config.state_dir)? {
        return Err(IdentityError::Missing {
            directory: config.state_dir.clone(),
        }
        .into());
    }
    let root = Root::read(config.rim_root.file(), RIM_ROOT)?;
    match command {
        CollateralCommand::Add { paths, format } => {
            // Before anything is taken, so that a slip of the pen leaves nothing half done.
            let files = files(&paths)?;
            let cache = Cache::open(&config.state_dir, root.key)?;
            let mut all = Offers::default();
            for file in &files {
                if is_packed(file) {
                    all.offer_packed(&cache, file, now);
                } else if let Some(one) = offer(&cache, file, now) {
                    all.offered.push(one);
                } else {
                    all.ignored.push(file_name(&file.path));
                }
            }
            added(&all, &root, format, out)
        }
        CollateralCommand::Export { file, format } => {
            let cache = Cache::open(&config.state_dir, root.key)?;
            export(&cache, &file, &root, format, out)
        }
        CollateralCommand::List { format } => {
            let cache = Cache::open(&config.state_dir, root.key)?;
            listed(&cache.contents(), &root, now, format, out)
        }
    }
}

/// A file that may be taken.
struct Candidate {
    path: PathBuf,
    /// Whether a person named it, and did not find it in a directory.
    named: bool,
}

fn files(paths: &[PathBuf]) -> Result<Vec<Candidate>, CommandError> {
    let mut found = Vec::new();
    for path in paths {
        let unreadable = |source: std::io::Error| CommandError::Read {
            path: path.clone(),
            source: BoundedReadError::Io(source),
        };
        if !std::fs::metadata(path).map_err(unreadable)?.is_dir() {
            found.push(Candidate {
                path: path.clone(),
                named: true,
            });
            continue;
        }
        let mut inside = Vec::new();
        for entry in std::fs::read_dir(path).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if inside.len() >= MAX_FILES {
                return Err(CommandError::Argument {
                    what: "the directory",
                    why: "it holds more files than can be kept",
                });
            }
            inside.push(path);
        }
        inside.sort();
        found.extend(inside.into_iter().map(|path| Candidate { path, named: false }));
    }
    Ok(found)
}

/// What became of what was offered.
#[derive(Default)]
struct Offers {
    offered: Vec<Offered>,
    /// Files of directories that are of another kind.
    ignored: Vec<String>,
    /// Entries of archives that are of another kind.
    ignored_entries: usize,
}

impl Offers {
    /// Offers the items of an archive, as far as it can be read.
    fn offer_packed(&mut self, cache: &Cache, file: &Candidate, now: UnixSeconds) {
        let name = file_name(&file.path);
        let before = self.offered.len();
        let each = |entry: package::Entry| {
            let taken = entry.content.and_then(|packed| {
                let taken = cache.add_packed(entry.kind, &packed.bytes, &packed.note, now);
                taken.map_err(|error| with_causes(&error))
            });
            self.offered.push(Offered {
                file: name.clone(),
                entry: Some(entry.name),
                kind: Some(entry.kind),
                taken,
            });
        };
        let (ignored, end) = match File::open(&file.path) {
            Ok(file) => package::read(BufReader::new(file), each),
            Err(error) => (0, Err(error.into())),
        };
        self.ignored_entries = self.ignored_entries.saturating_add(ignored);
        if let Err(error) = end {
            let here = self.offered.iter().skip(before);
            let whole = here.filter(|o| o.taken.is_ok()).count();
            self.offered.push(Offered {
                file: name,
                entry: None,
                kind: None,
                taken: Err(format!(
                    "{}; of what stands before that, {whole} items were taken or known, as told above",
                    with_causes(&error)
                )),
            });
        }
    }
}

/// Whether a file is an archive: by its content, and in a directory by its name, too.
fn is_packed(file: &Candidate) -> bool {
    let called = file.path.extension().is_some_and(|e| e == "tar");
    // A pipe would be read, and gone.
    let plain = file.path.metadata().is_ok_and(|m| m.is_file());
    let mut start = Vec::new();
    (file.named || called)
        && plain
        && File::open(&file.path).is_ok_and(|f| f.take(512).read_to_end(&mut start).is_ok())
        && is_archive(&start)
}

/// What became of a file, or of an entry of an archive.
struct Offered {
    file: String,
    entry: Option<String>,
    kind: Option<Kind>,
    taken: Result<Taken, String>,
}

/// Offers a file to the cache; `None` where it is of a kind that is not taken.
fn offer(cache: &Cache, file: &Candidate, now: UnixSeconds) -> Option<Offered> {
    let (path, extension) = (&file.path, file.path.extension().and_then(|e| e.to_str()));
    let refused = |error: Refused| with_causes(&error);
    let (kind, taken) = match extension {
        Some("xml") => {
            let taken = read(path, MAX_RIM);
            let taken = taken.and_then(|b| cache.add_rim(&b, None, Source::Directory, now).map_err(refused));
            (Some(Kind::Rim), taken)
        }
        Some("der") => {
            let taken = read(path, MAX_REPLY);
            let taken = taken.and_then(|b| cache.add_reply(&b, Source::Directory, now).map_err(refused));
            (Some(Kind::Ocsp), taken)
        }
        Some("json") => {
            let bytes = read(path, MAX_ANSWER);
            if !file.named && bytes.as_ref().is_ok_and(|b| !is_answer(b)) {
                return None;
            }
            let taken = bytes.and_then(|b| {
                let (id, rim) = read_answer(&b).map_err(str::to_owned)?;
                cache
                    .add_rim(&rim, Some(&id), Source::Directory, now)
                    .map_err(refused)
            });
            (Some(Kind::Rim), taken)
        }
        Some("tar") => (None, Err("it is no tar archive (ustar)".to_owned())),
        _ if file.named => (
            None,
            Err("its name ends in none of .xml, .der and .json, and it is no tar archive".to_owned()),
        ),
        _ => return None,
    };
    Some(Offered {
        file: file_name(path),
        entry: None,
        kind,
        taken,
    })
}

fn read(path: &Path, most: usize) -> Result<Vec<u8>, String> {
    File::open(path)
        .map_err(BoundedReadError::from)
        .and_then(|f| bounded::read(f, most))
        .map_err(|e| with_causes(&e))
}

fn added(all: &Offers, root: &Root, format: Format, out: &mut dyn Write) -> Outcome {
    let Offers {
        offered,
        ignored,
        ignored_entries,
    } = all;
    let word = |o: &Offered| match o.taken {
        Ok(Taken::New(_)) => "taken",
        Ok(Taken::Known(_)) => "known",
        Ok(Taken::Superseded(_)) => "superseded",
        Err(_) => "refused",
    };
    let count = |wanted: &str| offered.iter().filter(|o| word(o) == wanted).count();
    let good = count("refused") == 0;
    match format {
        Format::Json => {
            let files: Vec<Value> = offered
                .iter()
                .map(|o| {
                    json!({
                        "file": o.file,
                        "entry": o.entry,
                        "kind": o.kind,
                        "outcome": word(o),
                        "sha256": o.taken.as_ref().ok().map(Taken::digest),
                        "why": o.taken.as_ref().err(),
                    })
                })
                .collect();
            let all = json!({
                "files": files,
                "taken": count("taken"),
                "known": count("known"),
                "superseded": count("superseded"),
                "refused": count("refused"),
                "ignored": ignored,
                "ignored_entries": ignored_entries,
                "rim_root": root.key,
                "rim_root_from": root.from(),
                "holds": good,
            });
            writeln!(out, "{all:#}")?;
        }
        Format::Text => {
            for one in offered {
                let detail = match &one.taken {
                    Ok(taken) => taken.digest().to_string(),
                    Err(why) => why.clone(),
                };
                let entry = one.entry.as_ref().map(|e| format!(": {e}")).unwrap_or_default();
                writeln!(out, "{:<10}  {}{entry}  {detail}", word(one), one.file)?;
            }
            if !ignored.is_empty() {
                writeln!(out, "of another kind: {}", ignored.join(", "))?;
            }
            if *ignored_entries > 0 {
                writeln!(
                    out,
                    "entries of archives that are of another kind: {ignored_entries}"
                )?;
            }
            writeln!(
                out,
                "{} taken, {} known already, {} superseded, {} refused; manifests are held against root {} ({})",
                count("taken"),
                count("known"),
                count("superseded"),
                count("refused"),
                root.key,
                root.from()
            )?;
        }
    }
    Ok(good)
}
