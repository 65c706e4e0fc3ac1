//! `statement`: writes, signs, checks and shows what people say beside licences: statements about sites, and catalogues of accelerators.
//!
//! Decides: what kind of document a file is, and that one with mistakes is not signed. Does not establish that what it says is true.

mod attachment;
mod paper;

use crate::cause::with_causes;
use crate::command::{CommandError, Format, Outcome, Session};
use crate::config::Config;
use crate::fleet::{self, Anchors, Licences, RuleSets, Statements};
use crate::identity::replace;
use crate::key::{Keys, borrowed, read_public};
use crate::licence::{is_envelope, read, signed};
use crate::recorder::{Act, ActKind, KeyRole};
use paper::Paper;
use serde_json::json;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use weighbridge::accelerator::{self, Catalogue, CatalogueVersion};
use weighbridge::appraisal::HeardStatement;
use weighbridge::cbor::Bytes;
use weighbridge::crypto::{PublicKey, dsse};
use weighbridge::document::nearest;
use weighbridge::id::Digest;
use weighbridge::statement::{self, Kind, Statement, StatementError};

/// What about documents.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum StatementCommand {
    /// List the kinds of statement, who gives each, and which conditions each can settle.
    Kinds {
        /// For people, or for machines.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Print a commented draft of a statement, in TOML, to fill in.
    New {
        /// The kind, as `statement kinds` lists it.
        kind: String,
    },
    /// Print the JSON Schema of a kind of statement.
    Schema {
        /// The kind, as `statement kinds` lists it.
        kind: String,
    },
    /// Print what a draft says of files that belong to it: name, type, SHA-256 and size.
    Attach {
        /// The files; they stay where they are and travel beside the statement.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Sign a document: a draft of a statement as in-toto statement, a catalogue as exactly its bytes, into FILE.dsse. A signed statement gets
    /// one more signature.
    Sign {
        /// The document.
        file: PathBuf,
        /// The signer's private key, as `key new` makes it, or the URI of one in a token (`pkcs11:token=…;object=…`); may be given often.
        #[arg(long = "key", value_name = "KEY", required = true)]
        keys: Vec<PathBuf>,
    },
    /// Check a signed statement: its shape, who signed it, and the files that belong to it.
    Verify {
        /// The signed statement.
        file: PathBuf,
        /// A public key that must have signed it, in PEM; may be given often. Without one, the keys that this verifier trusts with statements count, and
        /// one of them must have.
        #[arg(long = "key", value_name = "KEY")]
        keys: Vec<PathBuf>,
        /// A file that belongs to it; may be given often.
        #[arg(long = "attachment", value_name = "FILE")]
        attachments: Vec<PathBuf>,
        /// For people, or for machines.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Put a signed statement on file, where a licence that is loaded here hears its signer.
    Load {
        /// The signed statement.
        file: PathBuf,
    },
    /// Show what a document is, what it says, and who signed it.
    Show {
        /// The document, signed or not.
        file: PathBuf,
        /// For people, or for machines.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

/// Carries a verb out. None needs a verifier; where there is one, signatures are checked against the keys that it trusts.
pub(crate) fn statement(command: StatementCommand, config: &Config, out: &mut dyn Write) -> Outcome {
    match command {
        StatementCommand::Kinds { format } => kinds(format, out),
        StatementCommand::New { kind } => {
            write!(out, "{}", statement::template(named(&kind)?))?;
            Ok(true)
        }
        StatementCommand::Schema { kind } => {
            writeln!(out, "{:#}", named(&kind)?.schema())?;
            Ok(true)
        }
        StatementCommand::Attach { files } => attachment::describe(&files, out),
        StatementCommand::Sign { file, keys } => sign(&file, &keys, config, out),
        StatementCommand::Verify {
            file,
            keys,
            attachments,
            format,
        } => verify(&file, &keys, &attachments, format, config, out),
        // It works on the verifier's state.
        StatementCommand::Load { .. } => Ok(false),
        StatementCommand::Show { file, format } => {
            let anchors = Anchors::read(&config.state_dir)?;
            Paper::read(&file, &anchors)?.show(format, out)
        }
    }
}

fn named(name: &str) -> Result<&'static Kind, CommandError> {
    Kind::named(name).ok_or_else(|| {
        let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
        let hint = match nearest(&shown, Kind::ALL.iter().map(|k| k.name)) {
            Some(right) => format!("did you mean `{right}`?"),
            None => "`weighbridge-verifier statement kinds` lists those that there are".to_owned(),
        };
        CommandError::Refused {
            why: format!("`{shown}` is no kind of statement: {hint}"),
        }
    })
}

fn kinds(format: Format, out: &mut dyn Write) -> Outcome {
    if format == Format::Json {
        let all: Vec<_> = Kind::ALL
            .iter()
            .map(|k| {
                json!({
                    "kind": k.name,
                    "title": k.title,
                    "says": k.says,
                    "roles": k.roles,
                    "bound_to": k.binds,
                    "settles": k.settles,
                    "predicate_type": k.predicate_type(),
                })
            })
            .collect();
        writeln!(out, "{:#}", json!({ "kinds": all }))?;
        return Ok(true);
    }
    for kind in Kind::ALL {
        let roles: Vec<&str> = kind.roles.iter().map(|r| r.text()).collect();
        writeln!(out, "{}   {}", kind.name, kind.says)?;
        write!(out, "   given by {}", roles.join(", "))?;
        match kind.settles {
            [] => writeln!(out)?,
            some => writeln!(out, "; can settle {}", some.join(", "))?,
        }
    }
    Ok(true)
}

fn unusable(file: &Path) -> impl Fn(StatementError) -> CommandError + use<'_> {
    move |source| CommandError::Statement {
        path: file.to_owned(),
        source,
    }
}

/// Signs a document; one with mistakes is not signed.
fn sign(file: &Path, keys: &[PathBuf], config: &Config, out: &mut dyn Write) -> Outcome {
    let text = read(file)?;
    let tokens = Keys::new(config);
    let secrets = || tokens.signers(keys);
    if is_envelope(&text) {
        // Whoever signs what another wrote must be able to see what it is.
        let (payload_type, payload) = dsse::peek(&text)?;
        if payload_type != statement::PAYLOAD_TYPE {
            return Err(paper::unknown(file));
        }
        let statement = Statement::parse(&payload).map_err(unusable(file))?;
        let secrets = secrets()?;
        let envelope = dsse::countersign(&text, statement::PAYLOAD_TYPE, &borrowed(&secrets))?;
        replace(file, envelope.as_bytes())?;
        writeln!(
            out,
            "{}; one more signature in {}",
            label(&statement),
            file.display()
        )?;
        return Ok(true);
    }
    let (label, payload_type, payload) = if CatalogueVersion::is_begun(&text) {
        let catalogue = Catalogue::parse(&text).map_err(paper::wrong(file))?;
        (catalogue.label(), accelerator::PAYLOAD_TYPE, text.into_bytes())
    } else if statement::is_draft(&text) {
        let (payload, statement) = statement::payload(&text).map_err(unusable(file))?;
        (label(&statement), statement::PAYLOAD_TYPE, payload)
    } else {
        return Err(paper::unknown(file));
    };
    let secrets = secrets()?;
    let envelope = dsse::sign(payload_type, &payload, &borrowed(&secrets))?;
    let mut name = OsString::from(file);
    name.push(".dsse");
    let path = PathBuf::from(name);
    replace(&path, envelope.as_bytes())?;
    writeln!(out, "{label}, signed in {}", path.display())?;
    Ok(true)
}

impl Session {
    /// Puts a signed statement on file.
    ///
    /// # Errors
    /// [`CommandError`]: it is no statement, nobody whom a licence hears signed it, or no such licence hears it about any of its sites.
    pub async fn load_statement(&self, envelope: &str) -> Result<Statement, CommandError> {
        let refused = |why: String| CommandError::Refused { why };
        let now = self.clock.now();
        let (anchors, licences) = Licences::anchored(&*self.store, &self.config.state_dir).await?;
        let keys = fleet::signers(licences.counting.iter().map(|l| &l.licence));
        if keys.is_empty() {
            return Err(refused(
                "no licence that is loaded here says whose statements are heard: [[signers]] in a licence does".to_owned(),
            ));
        }
        let signed = Statement::open(envelope, &keys).map_err(|e| refused(with_causes(&e)))?;
        let book = RuleSets::read(&*self.store, &anchors).await?.book;
        let counting = licences.counting.iter().map(|l| &l.licence);
        if let Some(why) = fleet::unheard(counting, (&anchors, &book), &signed, now) {
            return Err(refused(format!("the {} {why}", label(&signed.statement))));
        }
        let held = Statements::read(&*self.store, &licences.counting).await?;
        let same = |h: &&Arc<HeardStatement>| h.statement.digest == signed.statement.digest;
        let known: Vec<Digest> = held
            .heard
            .iter()
            .filter(same)
            .flat_map(|h| h.signers.iter().copied())
            .collect();
        if signed.signers.iter().all(|s| known.contains(s)) {
            return Ok(signed.statement);
        }
        let mut act = Act::new(ActKind::Document, now);
        act.document = Some(Bytes(envelope.as_bytes().to_vec()));
        self.carry_out(&act).await?;
        Ok(signed.statement)
    }

    pub(crate) async fn file_statement(&self, file: &Path, out: &mut dyn Write) -> Outcome {
        let statement = self.load_statement(&signed(file, "statement")?).await?;
        writeln!(
            out,
            "{} is on file, SHA-256 {}",
            label(&statement),
            statement.digest
        )?;
        Ok(true)
    }
}

/// How a sentence names a statement.
fn label(statement: &Statement) -> String {
    let header = &statement.header;
    format!(
        "{} {} of {} ({})",
        statement.kind().title,
        header.id,
        header.issuer,
        header.role
    )
}

/// Every key given must have signed; without one, any that is trusted with statements.
fn verify(
    file: &Path,
    keys: &[PathBuf],
    attachments: &[PathBuf],
    format: Format,
    config: &Config,
    out: &mut dyn Write,
) -> Outcome {
    let text = read(file)?;
    let anchors = Anchors::read(&config.state_dir)?;
    let given = keys
        .iter()
        .map(|k| read_public(k))
        .collect::<Result<Vec<PublicKey>, _>>()?;
    let trusted = if given.is_empty() {
        anchors.keys_for(KeyRole::Statements)
    } else {
        given.clone()
    };
    if trusted.is_empty() {
        return Err(CommandError::Refused {
            why: "no key is given, and none is trusted to sign statements yet: give --key, or `weighbridge-verifier key trust FILE --as NAME --for statements`".to_owned(),
        });
    }
    let signed = Statement::open(&text, &trusted).map_err(unusable(file))?;
    let missing: Vec<Digest> = given
        .iter()
        .map(PublicKey::id)
        .filter(|k| !signed.signers.contains(k))
        .collect();
    let files = attachment::compare(&signed.statement, attachments)?;
    let holds = missing.is_empty() && files.iter().all(attachment::Compared::holds);
    match format {
        Format::Json => {
            let found = json!({
                "statement": paper::value(&signed.statement),
                "signed_by": signed.signers,
                "not_signed_by": missing,
                "attachments": files,
                "holds": holds,
            });
            writeln!(out, "{found:#}")?;
        }
        Format::Text => {
            writeln!(out, "{}", label(&signed.statement))?;
            for key in &signed.signers {
                let name = anchors.name_for(KeyRole::Statements, key);
                writeln!(
                    out,
                    " signed by {}",
                    name.map_or_else(|| key.to_string(), str::to_owned)
                )?;
            }
            for key in &missing {
                writeln!(out, " NOT signed by {key}")?;
            }
            for file in &files {
                writeln!(out, " {file}")?;
            }
        }
    }
    Ok(holds)
}
