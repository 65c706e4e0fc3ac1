//! `evidence collateral list`: what is kept, from where, how old, and when it holds.

use super::{Contents, Item, KeptReply, KeptRim, Kind, Note, Root, plain, short};
use crate::command::{Format, Outcome, table};
use serde_json::{Value, json};
use std::io::Write;
use weighbridge::id::Digest;
use weighbridge::time::{UnixSeconds, span};
use weighbridge::x509::ocsp::Status;

/// Carries out the command.
pub(super) fn listed(
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
                    short(&row.sha256),
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
