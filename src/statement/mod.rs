//! Statements: what people sign about a site, its devices, its tenants and its papers.
//!
//! Every statement is an in-toto Statement (version 1) in a DSSE envelope, with a predicate type of its own for each kind, and is bound to
//! sites, a time and devices. Its kinds and all their keys are declared once, in `kinds`; the check, the template, the JSON Schema and the
//! manual come from that.
//!
//! Decides: whether a payload is a statement of a known kind, whole and of the declared shape, and who signed it. Trusts the keys that it is given. Does
//! not establish that what a statement says is true, nor that its signer had the right to say it: that is a licence's part.

mod draft;
mod explain;
mod kinds;
mod shape;
mod value;

#[cfg(test)]
mod tests;

pub use draft::{is_draft, payload, template};
pub use kinds::*;
pub use shape::{MAX_ITEMS, MAX_LINE, MAX_PROSE, Member, Shape, Shaped};
pub use value::{At, Country, Device, Large, Line, Prose, Pseudonym, Share, Until};

use crate::crypto::{self, PublicKey, dsse};
use crate::document::Mistakes;
use crate::id::Digest;
use crate::time::UnixSeconds;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The DSSE payload type of an in-toto statement.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// The `_type` of an in-toto Statement, version 1.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// What the predicate types of all kinds begin with.
pub const PREDICATES: &str = "https://weighbridge.example/statement/";

/// Why a text is no statement.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// The envelope, or its signatures.
    #[error(transparent)]
    Envelope(#[from] dsse::DsseError),
    /// A draft with mistakes.
    #[error("the draft has mistakes")]
    Mistakes(#[source] Mistakes),
    /// No in-toto statement.
    #[error("the payload is no in-toto statement: {why}")]
    Json {
        /// What is wrong, and where.
        why: String,
    },
    /// Another predicate.
    #[error("the predicate is of type `{found}`, which is no kind of statement that is known here")]
    UnknownKind {
        /// The type found, cut to 200 characters.
        found: String,
    },
    /// A statement of a known kind that does not hold what it should.
    #[error("the {kind} does not hold what it should: {why}")]
    Content {
        /// The kind.
        kind: &'static str,
        /// Every mistake, on one line.
        why: String,
    },
}

/// A kind of statement.
#[derive(Debug)]
pub struct Kind {
    /// Its name, such as `transfer`.
    pub name: &'static str,
    /// Its title.
    pub title: &'static str,
    /// What it says, in a sentence.
    pub says: &'static str,
    /// Conditions that it can settle, alone or with measurements.
    pub settles: &'static [&'static str],
    /// Who may be the one that says it.
    pub roles: &'static [Role],
    /// Keys of the header that it must have beside those that every statement has.
    pub binds: &'static [&'static str],
    /// Header and claims.
    predicate: Shape,
}

impl Kind {
    /// The kind of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|k| k.name == name)
    }

    /// Its predicate type.
    #[must_use]
    pub fn predicate_type(&self) -> String {
        format!("{PREDICATES}{}/v1", self.name)
    }

    /// The keys of its claims.
    #[must_use]
    pub fn members(&self) -> &'static [Member] {
        let Shape::Table(
            [
                _,
                Member {
                    shape: Shape::Table(claims),
                    ..
                },
            ],
        ) = self.predicate
        else {
            return &[];
        };
        claims
    }

    /// The JSON Schema (draft 2020-12) of the whole statement.
    #[must_use]
    pub fn schema(&self) -> Value {
        let mut predicate = self.predicate.schema();
        let header = predicate
            .pointer_mut("/properties/header/required")
            .and_then(Value::as_array_mut);
        if let Some(required) = header {
            required.extend(self.binds.iter().map(|b| json!(b)));
        }
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": self.predicate_type(),
            "title": self.title,
            "description": self.says,
            "type": "object",
            "properties": {
                "_type": { "const": STATEMENT_TYPE },
                "subject": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "properties": {
                            "name": { "type": "string" },
                            "digest": {
                                "type": "object",
                                "properties": { "sha256": Shape::Digest.schema() },
                                "required": ["sha256"],
                                "additionalProperties": false
                            }
                        },
                        "required": ["name", "digest"],
                        "additionalProperties": false
                    }
                },
                "predicateType": { "const": self.predicate_type() },
                "predicate": predicate
            },
            "required": ["_type", "subject", "predicateType", "predicate"],
            "additionalProperties": false
        })
    }
}

/// What every statement says beside its claims.
pub const HEADER: &[Member] = match <Header as Shaped>::SHAPE {
    Shape::Table(members) => members,
    _ => &[],
};

/// A statement whose shape was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// What every statement says.
    pub header: Header,
    /// What this one says.
    pub claims: Claims,
    /// SHA-256 of the payload: the statement's identity.
    pub digest: Digest,
}

/// A statement with the keys that signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// What it says.
    pub statement: Statement,
    /// Those of the checker's keys that signed it.
    pub signers: Vec<Digest>,
}

/// The in-toto statement around a predicate.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct InToto<P> {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: P,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Predicate<C> {
    header: Header,
    claims: C,
}

/// What a statement is about, by the SHA-256 of its name: in-toto finds statements by the digests of their subjects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject {
    name: String,
    digest: SubjectDigest,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SubjectDigest {
    sha256: Digest,
}

impl Header {
    /// From when it holds: from when it was issued, or from `valid_from` where that is later.
    #[must_use]
    pub fn begins(&self) -> UnixSeconds {
        self.valid_from
            .map_or(self.issued.0, |from| from.0.max(self.issued.0))
    }

    /// Whether it is valid at this time: issued, begun and not expired.
    #[must_use]
    pub fn holds(&self, at: UnixSeconds) -> bool {
        self.begins() <= at && at < self.valid_to.0
    }

    /// When what it says was last looked into: the end of the time that it speaks of, or when it was issued where that is earlier. To sign anew
    /// what was examined long ago makes it no younger.
    #[must_use]
    pub fn examined(&self) -> UnixSeconds {
        let issued = self.issued.0;
        self.period.as_ref().map_or(issued, |p| p.to.0.min(issued))
    }

    /// Whether it may concern a site: it names it, or names none but a licence.
    #[must_use]
    pub fn concerns(&self, site: &str) -> bool {
        let sites = self.sites.as_ref();
        sites.is_none_or(|sites| sites.iter().any(|s| s.as_str() == site))
    }

    /// Whether it may concern a licence: it names it, or none.
    #[must_use]
    pub fn concerns_licence(&self, id: &str) -> bool {
        self.licence.as_ref().is_none_or(|named| named.as_str() == id)
    }

    /// Sites, then devices, then the licence.
    fn subjects(&self) -> Vec<Subject> {
        let sites = self.sites.iter().flatten().map(|s| format!("site:{s}"));
        let devices = self.devices.iter().flatten().map(|d| format!("device:{d}"));
        let licence = self.licence.iter().map(|l| format!("licence:{l}"));
        let names = sites.chain(devices).chain(licence);
        names
            .map(|name| Subject {
                digest: SubjectDigest {
                    sha256: crypto::sha256(name.as_bytes()),
                },
                name,
            })
            .collect()
    }

    /// What it lacks, or says against itself.
    fn mistakes(&self, kind: &Kind) -> Vec<String> {
        let mut found = Vec::new();
        let stands = |key: &str| match key {
            "sites" => self.sites.is_some(),
            "period" => self.period.is_some(),
            "devices" => self.devices.is_some(),
            "licence" => self.licence.is_some(),
            "accreditation" => self.accreditation.is_some(),
            _ => true,
        };
        let missing = kind.binds.iter().filter(|key| !stands(key));
        found.extend(missing.map(|key| format!("`{key}` is missing: every {} must name it", kind.title)));
        if self.sites.is_none() && self.licence.is_none() {
            found.push("it is bound to nothing: name `sites`, or the `licence`".to_owned());
        }
        if !kind.roles.contains(&self.role) {
            let roles: Vec<&str> = kind.roles.iter().map(|r| r.text()).collect();
            found.push(format!(
                "`role` is `{}`, and a {} is for `{}` to give",
                self.role,
                kind.title,
                roles.join("`, `")
            ));
        }
        if self.valid_to.0 <= self.begins() {
            found.push("`valid_to` lies before it begins".to_owned());
        }
        if self.period.as_ref().is_some_and(|p| p.to.0 <= p.from.0) {
            found.push("`period.to` lies before `period.from`".to_owned());
        }
        found
    }
}

/// The payload of a statement.
fn payload_of(
    kind: &Kind,
    header: Map<String, Value>,
    claims: Map<String, Value>,
) -> Result<Vec<u8>, StatementError> {
    let json = |e: serde_json::Error| StatementError::Json { why: e.to_string() };
    let read: Header = serde_json::from_value(Value::Object(header.clone())).map_err(json)?;
    let statement = InToto {
        kind: STATEMENT_TYPE.to_owned(),
        subject: read.subjects(),
        predicate_type: kind.predicate_type(),
        predicate: json!({ "header": header, "claims": claims }),
    };
    serde_json::to_vec(&statement).map_err(json)
}

impl Statement {
    /// Opens an envelope that at least one of `keys` signed.
    ///
    /// # Errors
    /// [`StatementError`]. The text is untrusted; the keys must come from the checker's own anchors or from a licence.
    pub fn open(envelope: &str, keys: &[PublicKey]) -> Result<Signed, StatementError> {
        let verified = dsse::verify(envelope, PAYLOAD_TYPE, keys)?;
        Ok(Signed {
            statement: Self::parse(verified.payload())?,
            signers: verified.signers().to_vec(),
        })
    }

    /// Reads a payload. Nothing is established about who wrote it.
    ///
    /// # Errors
    /// [`StatementError`]: unknown kinds, unknown or repeated keys, values out of bounds, and subjects that are not those of the header.
    pub fn parse(payload: &[u8]) -> Result<Self, StatementError> {
        let json = |e: serde_json::Error| StatementError::Json { why: e.to_string() };
        let shell: InToto<serde::de::IgnoredAny> = serde_json::from_slice(payload).map_err(json)?;
        if shell.kind != STATEMENT_TYPE {
            let found: String = shell.kind.chars().take(200).collect();
            return Err(StatementError::Json {
                why: format!("`_type` is `{found}`, and must be `{STATEMENT_TYPE}`"),
            });
        }
        let known = Kind::ALL
            .iter()
            .find(|k| k.predicate_type() == shell.predicate_type);
        let Some(kind) = known else {
            return Err(StatementError::UnknownKind {
                found: shell.predicate_type.chars().take(200).collect(),
            });
        };
        let content = |why: String| StatementError::Content {
            kind: kind.title,
            why,
        };
        // The shape first, for it names every mistake; then the types, which refuse a key that stands there twice.
        let whole: InToto<Value> = serde_json::from_slice(payload).map_err(json)?;
        let mut mistakes = kind.predicate.mistakes(&whole.predicate, "");
        if mistakes.is_empty() {
            let (header, claims) = kind.read(payload).map_err(|e| content(e.to_string()))?;
            mistakes = header.mistakes(kind);
            if whole.subject != header.subjects() {
                mistakes.push(
                    "`subject` must be the sites, the devices and the licence of the header, in this order"
                        .to_owned(),
                );
            }
            if mistakes.is_empty() {
                return Ok(Self {
                    header,
                    claims,
                    digest: crypto::sha256(payload),
                });
            }
        }
        Err(content(mistakes.join("; ")))
    }

    /// Header and claims, as the payload has them.
    #[must_use]
    pub fn predicate(&self) -> Value {
        json!({ "header": self.header, "claims": self.claims })
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> &'static Kind {
        self.claims.kind()
    }

    /// Whether it is valid at this time: issued, begun and not expired.
    #[must_use]
    pub fn holds(&self, at: UnixSeconds) -> bool {
        self.header.holds(at)
    }
}
