//! What a file is, what it says and who signed it.

use super::{label, unusable};
use crate::command::{CommandError, Format, Outcome};
use crate::fleet::Anchors;
use crate::licence::{is_envelope, read};
use crate::recorder::KeyRole;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use weighbridge::accelerator::{self, Catalogue, CatalogueError, CatalogueVersion};
use weighbridge::crypto::dsse;
use weighbridge::statement::{self, Statement};

/// A document of a kind that is known.
pub(super) struct Paper {
    content: Content,
    signature: Signature,
}

enum Content {
    Catalogue(Box<Catalogue>),
    Statement(Box<Statement>),
}

enum Signature {
    /// It is not signed yet.
    None,
    /// Trusted keys of these names signed it.
    By(Vec<String>),
    /// Anyone may have written it.
    NotChecked,
}

pub(super) fn unknown(file: &Path) -> CommandError {
    CommandError::Refused {
        why: format!(
            "{} is no document of a kind that is known here: a statement begins with `statement = `, as `statement new` prints it, a catalogue with `# weighbridge-catalogue`, and `licence sign` signs licences",
            file.display()
        ),
    }
}

pub(super) fn wrong(file: &Path) -> impl Fn(CatalogueError) -> CommandError + use<'_> {
    move |source| CommandError::Paper {
        path: file.to_owned(),
        source,
    }
}

impl Paper {
    /// Reads it, signed or not. Signatures are checked where a key is trusted with such documents.
    pub(super) fn read(file: &Path, anchors: &Anchors) -> Result<Self, CommandError> {
        let text = read(file)?;
        if !is_envelope(&text) {
            let content = if CatalogueVersion::is_begun(&text) {
                Content::Catalogue(Box::new(Catalogue::parse(&text).map_err(wrong(file))?))
            } else if statement::is_draft(&text) {
                Content::Statement(Box::new(statement::payload(&text).map_err(unusable(file))?.1))
            } else {
                return Err(unknown(file));
            };
            return Ok(Self {
                content,
                signature: Signature::None,
            });
        }
        let (payload_type, payload) = dsse::peek(&text)?;
        let role = match payload_type.as_str() {
            accelerator::PAYLOAD_TYPE => KeyRole::Catalogues,
            statement::PAYLOAD_TYPE => KeyRole::Statements,
            _ => return Err(unknown(file)),
        };
        let keys = anchors.keys_for(role);
        let (content, signers) = match (role, keys.is_empty()) {
            (KeyRole::Statements, true) => {
                let read = Statement::parse(&payload).map_err(unusable(file))?;
                (Content::Statement(Box::new(read)), Vec::new())
            }
            (KeyRole::Statements, false) => {
                let opened = Statement::open(&text, &keys).map_err(unusable(file))?;
                (Content::Statement(Box::new(opened.statement)), opened.signers)
            }
            (_, true) => {
                let bare = String::from_utf8(payload).map_err(|_| wrong(file)(CatalogueError::Text))?;
                let read = Catalogue::parse(&bare).map_err(wrong(file))?;
                (Content::Catalogue(Box::new(read)), Vec::new())
            }
            (_, false) => {
                let opened = Catalogue::open(&text, &keys).map_err(wrong(file))?;
                let signers = opened.signers().to_vec();
                (Content::Catalogue(Box::new(opened)), signers)
            }
        };
        let names = signers.iter().filter_map(|k| anchors.name_for(role, k));
        let signature = match keys.is_empty() {
            true => Signature::NotChecked,
            false => Signature::By(names.map(str::to_owned).collect()),
        };
        Ok(Self { content, signature })
    }

    /// Shows it; a signature that could not be checked counts for nothing.
    pub(super) fn show(&self, format: Format, out: &mut dyn Write) -> Outcome {
        match format {
            Format::Json => writeln!(out, "{:#}", self.value())?,
            Format::Text => self.write(out)?,
        }
        Ok(!matches!(self.signature, Signature::NotChecked))
    }

    fn value(&self) -> Value {
        let mut found = match &self.content {
            Content::Catalogue(catalogue) => {
                let version = catalogue.version();
                json!({
                    "kind": "catalogue",
                    "sha256": catalogue.digest(),
                    "serial": version.serial,
                    "dated": version.day(),
                    "models": catalogue.models().len(),
                })
            }
            Content::Statement(statement) => value(statement),
        };
        let (signature, by) = match &self.signature {
            Signature::None => ("none", None),
            Signature::By(names) => ("checked", Some(names)),
            Signature::NotChecked => ("not checked", None),
        };
        if let Value::Object(members) = &mut found {
            members.insert("signature".to_owned(), json!(signature));
            members.insert("signed_by".to_owned(), json!(by));
        }
        found
    }

    fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        match &self.signature {
            Signature::None => {}
            Signature::By(names) => writeln!(out, "signed by {}", names.join(" and "))?,
            Signature::NotChecked => {
                let kind = match &self.content {
                    Content::Catalogue(_) => KeyRole::Catalogues,
                    Content::Statement(_) => KeyRole::Statements,
                };
                writeln!(
                    out,
                    "signature not checked: no key is trusted to sign {kind}, so that anyone may have written this; `weighbridge-verifier key trust --for {kind}` adds one"
                )?;
            }
        }
        match &self.content {
            Content::Catalogue(catalogue) => {
                writeln!(out, "{}, {} models", catalogue.label(), catalogue.models().len())
            }
            Content::Statement(statement) => {
                writeln!(out, "{}", label(statement))?;
                writeln!(out, "SHA-256 {}", statement.digest)?;
                for line in statement.explain() {
                    writeln!(out, " {line}")?;
                }
                Ok(())
            }
        }
    }
}

/// A statement, for machines.
pub(super) fn value(statement: &Statement) -> Value {
    json!({
        "kind": statement.kind().name,
        "sha256": statement.digest,
        "predicate": statement.predicate(),
    })
}
