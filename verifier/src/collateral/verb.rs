//! `evidence collateral`: fills the cache from files, and shows it.

use super::listing::listed;
use super::live::{is_answer, read_answer};
use super::{Cache, Kind, MAX_REPLY, MAX_RIM, Refused, Root, Source, Taken};
use crate::cause::{file_name, with_causes};
use crate::command::{CommandError, Format, Outcome};
use crate::config::Config;
use crate::identity::{IdentityError, exists};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
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
    /// Manifests (*.xml), OCSP replies in DER (*.der) and answers of NVIDIA's service of manifests (*.json) are taken; of a directory all of them,
    /// but not those of directories in it. A manifest must be authentic, a reply readable. A verifier that serves uses them within seconds. The
    /// exit status is 1 where one was refused.
    Add {
        /// Files or directories.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
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
            let (mut offered, mut ignored) = (Vec::new(), Vec::new());
            for file in &files {
                match offer(&cache, file, now) {
                    Some(one) => offered.push(one),
                    None => ignored.push(file_name(&file.path)),
                }
            }
            added(&offered, &ignored, &root, format, out)
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

/// What became of a file.
struct Offered {
    file: String,
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
        _ if file.named => (
            None,
            Err("its name ends in none of .xml, .der and .json".to_owned()),
        ),
        _ => return None,
    };
    Some(Offered {
        file: file_name(path),
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

fn added(
    offered: &[Offered],
    ignored: &[String],
    root: &Root,
    format: Format,
    out: &mut dyn Write,
) -> Outcome {
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
                writeln!(out, "{:<10}  {}  {detail}", word(one), one.file)?;
            }
            if !ignored.is_empty() {
                writeln!(out, "of another kind: {}", ignored.join(", "))?;
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
