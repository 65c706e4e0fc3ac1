//! From the TOML that a person fills in to the JSON that is signed, and the template that they begin with.
//!
//! Decides: whether a draft has the shape of its kind; every mistake has its line. Does not establish that what it says is true.

use super::shape::{MAX_PROSE, MOST_COUNT, Member, Shape};
use super::{HEADER, Kind, Statement, StatementError};
use crate::document::{Document, Field, Mistakes, Section, Zone};
use serde_json::{Map, Value};

/// The key that says which kind a draft is of.
const KIND: &str = "statement";

/// Whether a text looks like a draft rather than like another document.
#[must_use]
pub fn is_draft(text: &str) -> bool {
    let first = text
        .lines()
        .map(str::trim)
        .find(|l| !l.is_empty() && !l.starts_with('#'));
    first.is_some_and(|l| l.split('=').next().is_some_and(|key| key.trim() == KIND))
}

/// Reads a draft and gives the payload to be signed, with what it says.
///
/// # Errors
/// [`StatementError::Mistakes`] with every mistake and its line, or [`StatementError::Content`] where the parts do not fit each other.
pub fn payload(text: &str) -> Result<(Vec<u8>, Statement), StatementError> {
    let (kind, header, claims) = read(text).map_err(StatementError::Mistakes)?;
    let bytes = super::payload_of(kind, header, claims)?;
    let statement = Statement::parse(&bytes)?;
    Ok((bytes, statement))
}

type Tables = (&'static Kind, Map<String, Value>, Map<String, Value>);

fn read(text: &str) -> Result<Tables, Mistakes> {
    let document = Document::open(text);
    let mut root = document.root();
    let names: Vec<&str> = Kind::ALL.iter().map(|k| k.name).collect();
    let name = root.required(KIND, |f| f.word(&names).map(str::to_owned));
    let kind = name.and_then(|name| Kind::named(&name));
    let header = table(&mut root, HEADER);
    let claims = kind.and_then(|kind| {
        if !root.has("claims") {
            root.mistake(format!(
                "`claims` is missing: write [claims], as `statement new {}` shows",
                kind.name
            ));
        }
        root.table("claims", |s| Some(table(s, kind.members())))
    });
    // Without a kind nobody knows its keys: naming each would bury the one mistake.
    if kind.is_some() {
        root.finish();
    }
    document.finish(kind.zip(claims).map(|(kind, claims)| (kind, header, claims)))
}

fn table(section: &mut Section<'_, '_>, members: &'static [Member]) -> Map<String, Value> {
    let mut found = Map::new();
    for member in members {
        let key = member.key;
        let value = match member.shape {
            Shape::Table(inner) => section.table(key, |s| Some(Value::Object(table(s, inner)))),
            Shape::List(Shape::Table(inner)) => {
                let rows = section.tables(key, |s| Some(Value::Object(table(s, inner))));
                (!rows.is_empty()).then_some(Value::Array(rows))
            }
            shape => section.optional(key, |f| value(f, shape)),
        };
        if member.required && !section.has(key) {
            section.missing(key);
        }
        found.extend(value.map(|v| (key.to_owned(), v)));
    }
    found
}

/// One value that is no table.
fn value(field: &Field<'_, '_>, shape: Shape) -> Result<Value, String> {
    Ok(match shape {
        Shape::Line => Value::String(field.text()?),
        Shape::Prose => Value::String(field.prose(MAX_PROSE)?),
        Shape::Word(words) => Value::String(field.word(words)?.to_owned()),
        Shape::Flag => Value::Bool(field.flag()?),
        Shape::Count => Value::from(field.integer(0..=MOST_COUNT)?),
        Shape::Share => Value::String(super::value::Share(field.share()?).to_string()),
        Shape::Large => Value::String(field.large()?.to_string()),
        Shape::Moment(end) => Value::String(field.moment(Zone::default(), end)?.to_string()),
        Shape::Digest => Value::String(field.digest()?.to_string()),
        Shape::List(of) => Value::Array(field.list(|f| value(f, *of))?),
        Shape::Country | Shape::Pseudonym | Shape::Device | Shape::Table(_) => {
            let written = Value::String(field.text()?);
            shape.leaf(&written)?;
            written
        }
    })
}

/// A commented draft of this kind, for a person to fill in: it is read without a mistake as it stands.
#[must_use]
pub fn template(kind: &Kind) -> String {
    let mut out = format!(
        "# {}.\n#\n# {}\n#\n# Fill in what stands here, and take the `#` off what is optional and said. `weighbridge-verifier statement sign FILE --key KEY`\n\
         # checks it and signs it. Days are days in UTC; a full time such as 2026-11-22T08:00:00Z may stand instead.\n\n{KIND} = \"{}\"\n",
        kind.title, kind.says, kind.name
    );
    write_table(&mut out, HEADER, "", kind);
    out.push_str("\n[claims]\n");
    write_table(&mut out, kind.members(), "claims.", kind);
    out
}

/// Keys first: what follows a table's head belongs to that table.
fn write_table(out: &mut String, members: &'static [Member], place: &str, kind: &Kind) {
    let is_table = |m: &&Member| matches!(m.shape, Shape::Table(_) | Shape::List(Shape::Table(_)));
    for member in members.iter().filter(|m| !is_table(m)) {
        let needed = member.required || (place.is_empty() && kind.binds.contains(&member.key));
        comment(out, member, needed);
        let off = if needed { "" } else { "# " };
        out.push_str(&format!("{off}{} = {}\n", member.key, member.example));
    }
    for member in members.iter().filter(is_table) {
        let needed = member.required || (place.is_empty() && kind.binds.contains(&member.key));
        let (open, close, inner) = match member.shape {
            Shape::Table(inner) => ("[", "]", inner),
            Shape::List(Shape::Table(inner)) => ("[[", "]]", *inner),
            _ => continue,
        };
        out.push('\n');
        comment(out, member, needed);
        let mut text = format!("{open}{place}{}{close}\n", member.key);
        write_table(&mut text, inner, &format!("{place}{}.", member.key), kind);
        if needed {
            out.push_str(&text);
        } else {
            for line in text.lines() {
                out.push_str(if line.starts_with('#') || line.is_empty() {
                    ""
                } else {
                    "# "
                });
                out.push_str(line);
                out.push('\n');
            }
        }
    }
}

fn comment(out: &mut String, member: &Member, needed: bool) {
    let of = match member.shape {
        Shape::List(of) => *of,
        shape => shape,
    };
    let words = match of {
        Shape::Word(words) => format!(" One of: {}.", words.join(", ")),
        _ => String::new(),
    };
    let optional = if needed { "" } else { " Optional." };
    out.push_str(&format!("# {}{words}{optional}\n", member.sentence()));
}
