//! `evidence collateral`: fills the cache from files, and shows it.

use super::live::{is_answer, read_answer};
use super::{
    Cache, Contents, Item, KeptReply, KeptRim, Kind, MAX_REPLY, MAX_RIM, Note, Refused, Root, Source, Taken,
    plain,
};
use crate::cause::{file_name, with_causes};
use crate::command::{CommandError, Format, Outcome, table};
use crate::config::Config;
use crate::identity::{IdentityError, exists};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use weighbridge::bounded::{self, BoundedReadError};
use weighbridge::hardware::nvidia::RIM_ROOT;
use weighbridge::id::Digest;
use weighbridge::time::{UnixSeconds, span};
use weighbridge::x509::ocsp::Status;

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

/// One item, as it is listed.
struct Row {
    kind: Kind,
    /// What it is of, for people.
    of: String,
    ids: Vec<String>,
    product: Option<String>,
    version: Option<String>,
    certificates: Vec<Value>,
    sha256: Digest,
    note: Note,
    age: Option<i64>,
    from: Option<UnixSeconds>,
    to: Option<UnixSeconds>,
}

impl Row {
    fn rim(kept: &KeptRim, now: UnixSeconds) -> Option<Self> {
        let rim = kept.rim()?;
        let (from, to) = rim.valid();
        let called = match kept.note.ids.first() {
            Some(id) => plain(id),
            None => plain(&format!("{} {}", rim.product(), rim.version())),
        };
        Some(Self {
            of: called,
            product: Some(plain(rim.product())),
            version: Some(plain(rim.version())),
            age: kept.age(now),
            ..Self::new(Kind::Rim, kept, from, to)
        })
    }

    fn reply(kept: &KeptReply, now: UnixSeconds) -> Option<Self> {
        let reply = kept.reply()?;
        let hex = |serial: &[u8]| data_encoding::HEXLOWER.encode(serial);
        let claims = || reply.claims();
        let from = claims().map(|c| c.from).max()?;
        // Of a reply that names no end, nothing is said of later times.
        let to = claims().map(|c| c.to.unwrap_or(c.from)).min()?;
        let of: Vec<String> = claims()
            .map(|c| format!("{} {}", hex(c.serial), status(c.status)))
            .collect();
        let certificates = claims().map(|c| json!({ "serial": hex(c.serial), "status": status(c.status) }));
        Some(Self {
            of: of.join(", "),
            certificates: certificates.collect(),
            age: kept.age(now),
            ..Self::new(Kind::Ocsp, kept, from, to)
        })
    }

    fn new<T, E>(kind: Kind, kept: &Item<T, E>, from: UnixSeconds, to: UnixSeconds) -> Self {
        Self {
            kind,
            of: String::new(),
            ids: kept.note.ids.iter().map(|id| plain(id)).collect(),
            product: None,
            version: None,
            certificates: Vec::new(),
            sha256: kept.presented.digest,
            note: kept.note.clone(),
            age: None,
            from: Some(from),
            to: Some(to),
        }
    }

    fn holds(&self, now: UnixSeconds) -> bool {
        self.from.is_some_and(|from| from <= now) && self.to.is_some_and(|to| now <= to)
    }
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Good => "good",
        Status::Revoked { .. } if status.is_hold() => "on hold",
        Status::Revoked { .. } => "revoked",
        Status::Unknown => "unknown",
    }
}

fn listed(
    contents: &Contents,
    root: &Root,
    now: UnixSeconds,
    format: Format,
    out: &mut dyn Write,
) -> Outcome {
    let rims = contents.rims.iter().filter_map(|kept| Row::rim(kept, now));
    let replies = contents.replies.iter().filter_map(|kept| Row::reply(kept, now));
    let mut rows: Vec<Row> = rims.chain(replies).collect();
    rows.sort_by(|a, b| (a.kind, &a.of, a.from).cmp(&(b.kind, &b.of, b.from)));
    let good = contents.unusable.is_empty() && contents.left_out == 0;
    match format {
        Format::Json => {
            let items: Vec<Value> = rows
                .iter()
                .map(|row| {
                    json!({
                        "kind": row.kind,
                        "ids": row.ids,
                        "product": row.product,
                        "version": row.version,
                        "certificates": row.certificates,
                        "sha256": row.sha256,
                        "source": row.note.source,
                        "fetched": row.note.fetched,
                        "confirmed": row.note.confirmed,
                        "age_s": row.age,
                        "from": row.from,
                        "to": row.to,
                        "in_time": row.holds(now),
                    })
                })
                .collect();
            let all = json!({
                "items": items,
                "unusable": contents.unusable,
                "left_out": contents.left_out,
                "rim_root": root.key,
                "rim_root_from": root.from(),
                "at": now,
                "holds": good,
            });
            writeln!(out, "{all:#}")?;
        }
        Format::Text => {
            let mut shown = table(["KIND", "OF", "SHA-256", "SOURCE", "FETCHED", "AGE", "HOLDS"]);
            let or_unknown = |text: Option<String>| text.unwrap_or_else(|| "unknown".to_owned());
            for row in &rows {
                let ends = |time: Option<UnixSeconds>| time.map(|t| t.to_string()).unwrap_or_default();
                let in_time = if row.holds(now) { "" } else { ", not now" };
                shown.add_row([
                    row.kind.text().to_owned(),
                    row.of.clone(),
                    super::short(&row.sha256),
                    row.note.source.to_string(),
                    or_unknown(row.note.fetched.map(|t| t.to_string())),
                    or_unknown(row.age.map(span)),
                    format!("{} to {}{in_time}", ends(row.from), ends(row.to)),
                ]);
            }
            writeln!(out, "{shown}")?;
            for one in &contents.unusable {
                writeln!(
                    out,
                    "cannot be used: {}/{}.{}: {}",
                    one.kind.text(),
                    one.sha256,
                    one.kind.extension(),
                    one.why
                )?;
            }
            if contents.left_out > 0 {
                writeln!(
                    out,
                    "{} files more than can be kept were not read",
                    contents.left_out
                )?;
            }
            writeln!(out, "at {now}; root of manifests {} ({})", root.key, root.from())?;
        }
    }
    Ok(good)
}
