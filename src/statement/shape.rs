//! What a statement may hold, as data: from it come the check of a value, the template that people fill in, the JSON Schema and the manual.
//!
//! Decides: whether a value has the shape that is declared. Does not establish that what it says is true.

use crate::document::{DayEnd, exact, is_country, nearest, plain};
use crate::id::{DeviceUuid, Digest};
use crate::time::UnixSeconds;
use serde_json::{Map, Value, json};

/// The longest text of one line, in bytes.
pub const MAX_LINE: usize = 1_000;
/// The longest text of several lines, in bytes.
pub const MAX_PROSE: usize = 8_000;
/// The most items of a list.
pub const MAX_ITEMS: usize = 20_000;
/// The most mistakes that are told of one value.
const MAX_MISTAKES: usize = 100;

/// The shape of one value.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// A text of one line.
    Line,
    /// A text of any number of lines.
    Prose,
    /// One of these words.
    Word(&'static [&'static str]),
    /// True or false.
    Flag,
    /// A whole number of at most 53 bits, which JSON carries exactly everywhere.
    Count,
    /// A share from 0 to 1 with at most six decimals, in JSON as a text.
    Share,
    /// A whole number that may exceed 64 bits, in JSON as a text of digits.
    Large,
    /// A moment, in JSON in RFC 3339 and UTC; a person may write a day, of which this end is meant.
    Moment(DayEnd),
    /// A country, as ISO 3166-1 has it in two letters.
    Country,
    /// A SHA-256 digest in hexadecimal.
    Digest,
    /// A tenant's pseudonym: 32 hexadecimal digits.
    Pseudonym,
    /// A device by its UUID, as its driver writes it.
    Device,
    /// A list of at least one such value.
    List(&'static Shape),
    /// A table.
    Table(&'static [Member]),
}

/// One key of a table.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Its name.
    pub key: &'static str,
    /// What it says, a line each.
    pub doc: &'static [&'static str],
    /// Whether it must stand there.
    pub required: bool,
    /// What it holds.
    pub shape: Shape,
    /// What a template shows, in TOML; empty for tables.
    pub example: &'static str,
}

/// A type that has a shape.
pub trait Shaped {
    /// Its shape.
    const SHAPE: Shape;
    /// Whether it must stand where it is a member.
    const REQUIRED: bool = true;

    /// Whether it is left out where it is a member.
    fn is_absent(&self) -> bool {
        false
    }
}

impl<T: Shaped> Shaped for Option<T> {
    const SHAPE: Shape = T::SHAPE;
    const REQUIRED: bool = false;

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl<T: Shaped + 'static> Shaped for Vec<T> {
    const SHAPE: Shape = Shape::List(&T::SHAPE);
}

impl Shape {
    /// What such a value is called.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Line => "a text of one line",
            Self::Prose => "a text",
            Self::Word(_) => "a word",
            Self::Flag => "true or false",
            Self::Count => "a whole number",
            Self::Share => "a share",
            Self::Large => "a large whole number",
            Self::Moment(DayEnd::Start) => "a day or a time",
            Self::Moment(DayEnd::Included) => "a day, itself included, or a time",
            Self::Country => "a country",
            Self::Digest => "a SHA-256 digest",
            Self::Pseudonym => "a tenant's pseudonym",
            Self::Device => "a device",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }

    /// Everything about `value` that is not of this shape, each with its place.
    #[must_use]
    pub fn mistakes(&self, value: &Value, place: &str) -> Vec<String> {
        let mut found = Vec::new();
        self.check(value, place, &mut found);
        found
    }

    fn check(&self, value: &Value, place: &str, found: &mut Vec<String>) {
        if found.len() >= MAX_MISTAKES {
            return;
        }
        match (self, value) {
            (Self::List(of), Value::Array(items)) => {
                if items.is_empty() || items.len() > MAX_ITEMS {
                    found.push(format!("`{place}` must hold 1 to {MAX_ITEMS} items"));
                }
                for (i, item) in items.iter().enumerate().take(MAX_ITEMS) {
                    of.check(item, &format!("{place}[{i}]"), found);
                }
            }
            (Self::Table(members), Value::Object(table)) => check_table(members, table, place, found),
            (Self::List(_) | Self::Table(_), _) => found.push(format!("`{place}` must be {}", self.name())),
            _ => {
                if let Err(why) = self.leaf(value) {
                    found.push(format!("`{place}` {why}"));
                }
            }
        }
    }

    /// Checks a value that holds no other.
    pub(super) fn leaf(&self, value: &Value) -> Result<(), String> {
        let text = value.as_str();
        let good = match (self, text) {
            (Self::Line, Some(text)) => return is_text(text, MAX_LINE, false),
            (Self::Prose, Some(text)) => return is_text(text, MAX_PROSE, true),
            (Self::Word(words), Some(text)) => words.contains(&text),
            (Self::Share, Some(text)) => exact(text, 6).is_some_and(|ppm| ppm <= 1_000_000),
            (Self::Large, Some(text)) => {
                !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u128>().is_ok()
            }
            (Self::Moment(_), Some(text)) => UnixSeconds::parse(text).is_ok_and(|at| at.to_string() == text),
            (Self::Country, Some(text)) => is_country(text),
            (Self::Digest, Some(text)) => is_lower_hexadecimal(text, Digest::LEN),
            (Self::Pseudonym, Some(text)) => is_lower_hexadecimal(text, 16),
            (Self::Device, Some(text)) => DeviceUuid::parse_nvml(text).is_ok_and(|d| d.nvml() == text),
            (Self::Flag, None) => value.is_boolean(),
            (Self::Count, None) => value.as_u64().is_some_and(|n| n <= MOST_COUNT),
            _ => false,
        };
        if good {
            return Ok(());
        }
        Err(match self {
            Self::Word(words) => format!("must be one of `{}`", words.join("`, `")),
            Self::Share => "must be a share between 0 and 1 with at most six decimals, as a text".to_owned(),
            Self::Large => "must be a whole number in digits, as a text".to_owned(),
            Self::Moment(_) => "must be a time in UTC such as 2026-11-22T08:00:00Z".to_owned(),
            Self::Country => "must be a country as two capital letters, such as SG".to_owned(),
            Self::Digest => "must be a SHA-256 digest of 64 hexadecimal digits".to_owned(),
            Self::Pseudonym => "must be a pseudonym of 32 hexadecimal digits".to_owned(),
            Self::Device => "must be a UUID such as GPU-1653b042-3c11-4d21-9a00-000000000117".to_owned(),
            other => format!("must be {}", other.name()),
        })
    }

    /// The shape as JSON Schema (draft 2020-12). It refuses what [`Self::mistakes`] refuses, but for what a pattern cannot tell: whether a
    /// country exists, and whether a date does.
    #[must_use]
    pub fn schema(&self) -> Value {
        match self {
            Self::Line => {
                json!({"type": "string", "minLength": 1, "maxLength": MAX_LINE, "pattern": r"^[^\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]*\S[^\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]*$"})
            }
            Self::Prose => {
                json!({"type": "string", "minLength": 1, "maxLength": MAX_PROSE, "pattern": r"^[^\u0000-\u0009\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]*$"})
            }
            Self::Word(words) => json!({"enum": words}),
            Self::Flag => json!({"type": "boolean"}),
            Self::Count => json!({"type": "integer", "minimum": 0, "maximum": MOST_COUNT}),
            Self::Share => json!({"type": "string", "pattern": r"^(0(\.[0-9]{1,6})?|1(\.0{1,6})?)$"}),
            Self::Large => json!({"type": "string", "pattern": "^[0-9]{1,39}$"}),
            Self::Moment(_) => {
                json!({"type": "string", "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"})
            }
            Self::Country => json!({"type": "string", "pattern": "^[A-Z]{2}$"}),
            Self::Digest => json!({"type": "string", "pattern": "^[0-9a-f]{64}$"}),
            Self::Pseudonym => json!({"type": "string", "pattern": "^[0-9a-f]{32}$"}),
            Self::Device => {
                json!({"type": "string", "pattern": "^GPU-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"})
            }
            Self::List(of) => {
                json!({"type": "array", "minItems": 1, "maxItems": MAX_ITEMS, "items": of.schema()})
            }
            Self::Table(members) => {
                let properties: Map<String, Value> =
                    members.iter().map(|m| (m.key.to_owned(), m.schema())).collect();
                let required: Vec<&str> = members.iter().filter(|m| m.required).map(|m| m.key).collect();
                json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
            }
        }
    }
}

impl Member {
    /// What it says, in one line.
    #[must_use]
    pub fn sentence(&self) -> String {
        self.doc.iter().map(|l| l.trim()).collect::<Vec<_>>().join(" ")
    }

    fn schema(&self) -> Value {
        let mut schema = self.shape.schema();
        if let Value::Object(fields) = &mut schema {
            fields.insert("description".to_owned(), Value::String(self.sentence()));
        }
        schema
    }
}

/// The largest whole number that every reader of JSON holds exactly.
pub(super) const MOST_COUNT: u64 = (1 << 53) - 1;

fn check_table(members: &[Member], table: &Map<String, Value>, place: &str, found: &mut Vec<String>) {
    let at = |key: &str| {
        if place.is_empty() {
            key.to_owned()
        } else {
            format!("{place}.{key}")
        }
    };
    for member in members {
        match table.get(member.key) {
            Some(value) => member.shape.check(value, &at(member.key), found),
            None if member.required => found.push(format!("`{}` is missing", at(member.key))),
            None => {}
        }
    }
    for key in table.keys() {
        // Each costs a search for what was meant, and whoever wrote it may have written a million.
        if found.len() >= MAX_MISTAKES {
            return;
        }
        if members.iter().all(|m| m.key != key) {
            let shown: String = key.chars().take(64).collect();
            found.push(match nearest(&shown, members.iter().map(|m| m.key)) {
                Some(right) => format!("`{}` is not a key: did you mean `{right}`?", at(&shown)),
                None => format!("`{}` is not a key: no key of this name is known here", at(&shown)),
            });
        }
    }
}

/// Checks a text for its length and for characters that it may not hold; a prose may have line feeds.
fn is_text(text: &str, most: usize, lines: bool) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    if text.len() > most {
        return Err(format!("is longer than {most} bytes"));
    }
    plain(text, lines)
}

fn is_lower_hexadecimal(text: &str, bytes: usize) -> bool {
    text.len() == bytes.saturating_mul(2) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
