//! `licence`: finds mistakes in a licence, signs it, says what it says, and loads it.

use crate::catalogue;
use crate::command::{CommandError, Format, Outcome, Session};
use crate::config::Config;
use crate::fleet::{Anchors, Licences, LoadError, LoadedLicence, RuleSets};
use crate::key::{Keys, borrowed};
use crate::recorder::{Act, ActKind};
use crate::rules;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use weighbridge::accelerator::Catalogue;
use weighbridge::bounded::{self, BoundedReadError, MAX_DOCUMENT};
use weighbridge::cbor::Bytes;
use weighbridge::conditions::{PUBLISHED, policy_mistakes};
use weighbridge::crypto::dsse;
use weighbridge::document::Mistakes;
use weighbridge::licence::{Licence, Names, PAYLOAD_TYPE};
use weighbridge::rules::{RuleBook, RuleSet};

/// What about licences.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum LicenceCommand {
    /// List the mistakes in a licence, each with its line.
    Lint {
        /// The licence, in TOML or signed; of a signed one the signature is checked first.
        file: PathBuf,
        /// For people, or for machines.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Sign a licence: exactly its bytes go into FILE.dsse.
    Sign {
        /// The licence, in TOML.
        file: PathBuf,
        /// The issuer's private key, as `key new` makes it, or the URI of one in a token (`pkcs11:token=…;object=…`); may be given often.
        #[arg(long = "key", value_name = "KEY", required = true)]
        keys: Vec<PathBuf>,
    },
    /// Say in sentences what a licence says.
    Explain {
        /// The licence, in TOML or signed; of a signed one the signature is checked first.
        file: PathBuf,
    },
    /// Load a signed licence into this verifier; a newer serial replaces the older.
    Load {
        /// The signed licence, as `licence sign` makes it.
        file: PathBuf,
    },
}

/// The verbs that need no verifier. Where there is one, a signature is checked against the keys that it trusts.
pub(crate) fn on_paper(
    command: LicenceCommand,
    config: &Config,
    book: &RuleBook,
    out: &mut dyn Write,
) -> Outcome {
    let state_dir = &config.state_dir;
    match command {
        LicenceCommand::Lint { file, format } => {
            let catalogue = catalogue::in_use(config)?;
            lint(&Paper::read(&file, state_dir)?, &catalogue, book, format, out)
        }
        LicenceCommand::Explain { file } => explain(&Paper::read(&file, state_dir)?, out),
        LicenceCommand::Sign { file, keys } => {
            sign(&file, &keys, config, out)?;
            Ok(true)
        }
        LicenceCommand::Load { .. } => Ok(false),
    }
}

/// A licence in a file, and how it is signed.
struct Paper {
    text: String,
    signature: Signature,
}

enum Signature {
    /// It is TOML, which its author has not signed yet.
    None,
    /// These trusted issuers signed exactly this text.
    By(Vec<String>),
    /// Anyone may have written it; this is why nobody can tell.
    NotChecked(String),
}

impl Paper {
    /// Reads either form. A signature that does not hold under the keys at hand is an error.
    fn read(file: &Path, state_dir: &Path) -> Result<Self, CommandError> {
        let text = read(file)?;
        if !is_envelope(&text) {
            return Ok(Self {
                text,
                signature: Signature::None,
            });
        }
        let anchors = Anchors::read(state_dir)?;
        if !anchors.issuers().is_empty() {
            let (text, names) = anchors.verify(&text)?;
            return Ok(Self {
                text,
                signature: Signature::By(names),
            });
        }
        let (_, payload) = dsse::peek(&text).map_err(LoadError::Untrusted)?;
        Ok(Self {
            text: String::from_utf8(payload).map_err(|_| LoadError::Text)?,
            signature: Signature::NotChecked(format!(
                "{} names no trusted key, so that anyone may have written this; `weighbridge-verifier key trust` adds one",
                state_dir.display()
            )),
        })
    }

    /// Whether nothing is left to check about who wrote it.
    fn is_sure(&self) -> bool {
        !matches!(self.signature, Signature::NotChecked(_))
    }

    /// Says how it is signed, before anything that it says itself.
    fn head(&self, out: &mut dyn Write) -> std::io::Result<()> {
        match &self.signature {
            Signature::None => Ok(()),
            Signature::By(names) => writeln!(out, "signed by {}", names.join(" and ")),
            Signature::NotChecked(why) => writeln!(out, "signature not checked: {why}"),
        }
    }
}

fn explain(paper: &Paper, out: &mut dyn Write) -> Outcome {
    let licence = Licence::parse(&paper.text)?;
    paper.head(out)?;
    writeln!(out, "{}", licence.explain().trim_end())?;
    Ok(paper.is_sure())
}

fn lint(
    paper: &Paper,
    catalogue: &Catalogue,
    book: &RuleBook,
    format: Format,
    out: &mut dyn Write,
) -> Outcome {
    let parsed = careful(&paper.text, catalogue);
    let rules = parsed.as_ref().ok().map(|l| rules_of(l, book));
    let unknown = rules.as_ref().and_then(|r| r.as_ref().err());
    if format == Format::Text {
        paper.head(out)?;
    }
    match (format, &parsed, &unknown) {
        (Format::Json, _, _) => {
            let licence = parsed.as_ref().ok();
            let in_lines = parsed.as_ref().err().into_iter().flat_map(|m| &m.0);
            let mistakes: Vec<Value> = in_lines
                .map(|m| json!({ "line": m.line, "what": m.what }))
                // No line of the licence is wrong in itself: the rule set may be at hand elsewhere.
                .chain(unknown.iter().map(|what| json!({ "line": null, "what": what })))
                .collect();
            let (signature, signers) = match &paper.signature {
                Signature::None => ("none", None),
                Signature::By(names) => ("checked", Some(names)),
                Signature::NotChecked(_) => ("not checked", None),
            };
            let found = json!({
                "licence": licence.map(|l| &l.licence_id),
                "serial": licence.map(|l| l.serial),
                "signature": signature,
                "signed_by": signers,
                "rules": rules.as_ref().and_then(|r| r.as_ref().ok()).map(|r| {
                    json!({ "id": r.id, "version": r.version, "state": r.state, "sha256": r.digest })
                }),
                "mistakes": mistakes,
            });
            writeln!(out, "{found:#}")?;
        }
        (Format::Text, Err(mistakes), _) => writeln!(out, "{mistakes}")?,
        (Format::Text, Ok(_), Some(what)) => writeln!(out, "{what}")?,
        (Format::Text, Ok(licence), None) => writeln!(
            out,
            "licence {}, serial {}: no mistakes",
            licence.licence_id, licence.serial
        )?,
    }
    if let (Format::Text, Some(Ok(rules))) = (format, &rules) {
        writeln!(out, "rules {}", rules::standing(rules))?;
    }
    Ok(parsed.is_ok() && unknown.is_none() && paper.is_sure())
}

/// The rule set that a licence goes by, or in words how it is not at hand.
fn rules_of(licence: &Licence, book: &RuleBook) -> Result<Arc<RuleSet>, String> {
    let found = licence.rules_in(book);
    let found = found.ok_or_else(|| rules::unknown(&licence.ruleset_id, book))?;
    match licence.ruleset.filter(|pin| !pin.allows(&found)) {
        None => Ok(found),
        Some(_) => Err(format!(
            "the licence pins another text of rule set `{}` than is at hand: {}",
            found.id,
            found.label()
        )),
    }
}

/// Reads a licence whose names must be those of this version and of the catalogue in use: one misspelt would bind nothing, or convict the innocent. Policies
/// that it states must be such as can be asked.
fn careful(text: &str, catalogue: &Catalogue) -> Result<Licence, Mistakes> {
    let names = Names::Known {
        catalogue,
        conditions: PUBLISHED,
    };
    let licence = Licence::parse_with(text, names)?;
    match policy_mistakes(&licence) {
        none if none.is_empty() => Ok(licence),
        mistakes => Err(Mistakes(mistakes)),
    }
}

/// Signs the file's exact bytes; a licence with mistakes is not signed.
fn sign(file: &Path, keys: &[PathBuf], config: &Config, out: &mut dyn Write) -> Result<(), CommandError> {
    let text = read(file)?;
    let licence = careful(&text, &catalogue::in_use(config)?)?;
    let signers = Keys::new(config).signers(keys)?;
    let envelope = dsse::sign(PAYLOAD_TYPE, text.as_bytes(), &borrowed(&signers))?;
    let mut name = OsString::from(file);
    name.push(".dsse");
    let path = PathBuf::from(name);
    std::fs::write(&path, envelope)?;
    writeln!(
        out,
        "licence {}, serial {}, signed in {}",
        licence.licence_id,
        licence.serial,
        path.display()
    )?;
    Ok(())
}

impl Session {
    /// Loads a signed licence, or joins more signatures to the one that counts.
    ///
    /// # Errors
    /// [`CommandError`]: no trusted issuer signed it, it has mistakes, its id belongs to another issuer, or its serial is not newer.
    pub async fn load_licence(&self, envelope: &str) -> Result<(LoadedLicence, Loaded), CommandError> {
        let state_dir = &self.config.state_dir;
        let (anchors, held) = Licences::anchored(&*self.store, state_dir).await?;
        let now = self.clock.now();
        let (text, _) = anchors.verify(envelope)?;
        careful(&text, &catalogue::in_use(&self.config)?).map_err(LoadError::Mistakes)?;
        let loaded = LoadedLicence::open(envelope, &anchors, now)?;
        let licence = &loaded.licence;
        let book = RuleSets::read(&*self.store, &anchors).await?.book;
        rules_of(licence, &book).map_err(|why| CommandError::Refused { why })?;
        let same = held.counting.iter().find(|h| h.licence.digest == licence.digest);
        if let Some(same) = same {
            if !same.gains_from(&loaded) {
                return Ok((same.clone(), Loaded::Before));
            }
            let joined = self.file_licence(envelope, &loaded).await?;
            return Ok((joined, Loaded::Signatures));
        }
        let id = &licence.licence_id;
        if let Some(owners) = anchors.owners(id)
            && !loaded.is_of(owners)
        {
            let owners = owners.join(" and ");
            return Err(CommandError::Refused {
                why: format!(
                    "licence {id} is one of {owners}, who signed it first, and this one is signed by {}: it takes {owners} to replace it",
                    loaded.issuers.join(" and ")
                ),
            });
        }
        if let Some(newest) = anchors.newest(id)
            && licence.serial <= newest
        {
            return Err(CommandError::Refused {
                why: format!(
                    "licence {id} has serial {}, and serial {newest} was loaded before: an issuer raises the serial with every change",
                    licence.serial
                ),
            });
        }
        let filed = self.file_licence(envelope, &loaded).await?;
        Ok((filed, Loaded::New))
    }

    /// Puts a licence on file; returns it as it counts then.
    async fn file_licence(
        &self,
        envelope: &str,
        loaded: &LoadedLicence,
    ) -> Result<LoadedLicence, CommandError> {
        let mut act = Act::new(ActKind::Document, self.clock.now());
        act.document = Some(Bytes(envelope.as_bytes().to_vec()));
        self.carry_out(&act).await?;
        let (_, held) = Licences::anchored(&*self.store, &self.config.state_dir).await?;
        let mut counting = held.counting.into_iter();
        let filed = counting.find(|h| h.licence.digest == loaded.licence.digest);
        filed.ok_or_else(|| CommandError::Refused {
            why: format!(
                "licence {}, serial {}, is on file and does not count: another serial of it was loaded meanwhile, which `status` names",
                loaded.licence.licence_id, loaded.licence.serial
            ),
        })
    }

    pub(crate) async fn load(&self, file: &Path, out: &mut dyn Write) -> Outcome {
        let (loaded, how) = self.load_licence(&signed(file, "licence")?).await?;
        let (id, serial) = (&loaded.licence.licence_id, loaded.licence.serial);
        let by = loaded.issuers.join(" and ");
        match how {
            Loaded::New => writeln!(out, "licence {id}, serial {serial}, issued by {by}, is loaded")?,
            Loaded::Signatures => writeln!(
                out,
                "licence {id}, serial {serial}, was loaded before and is signed by {by} now"
            )?,
            Loaded::Before => writeln!(
                out,
                "licence {id}, serial {serial}, issued by {by}, was loaded before with all these signatures, so nothing was recorded"
            )?,
        }
        Ok(true)
    }
}

/// What loading a licence did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// It is on file.
    New,
    /// It was, and more signatures under it are now.
    Signatures,
    /// It was, and nothing was new.
    Before,
}

/// A signed document of a kind, as it stands in its file.
pub(crate) fn signed(file: &Path, kind: &'static str) -> Result<String, CommandError> {
    let envelope = read(file)?;
    match is_envelope(&envelope) {
        true => Ok(envelope),
        false => Err(CommandError::Unsigned {
            path: file.to_owned(),
            kind,
        }),
    }
}

/// An envelope is a JSON object, and no TOML starts like one.
pub(crate) fn is_envelope(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

/// A text that people wrote.
pub(crate) fn read(file: &Path) -> Result<String, CommandError> {
    File::open(file)
        .map_err(BoundedReadError::from)
        .and_then(|f| bounded::read_text(f, MAX_DOCUMENT))
        .map_err(|source| CommandError::Read {
            path: file.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::BASE64;
    use weighbridge::crypto::{Algorithm, Entropy, SecretKey, Signer};

    fn toml(text: &str) -> Paper {
        Paper {
            text: text.to_owned(),
            signature: Signature::None,
        }
    }

    fn lint_of(text: &str) -> (bool, Value) {
        let mut out = Vec::new();
        let clean = lint(
            &toml(text),
            &Catalogue::embedded().unwrap(),
            &RuleBook::carried(),
            Format::Json,
            &mut out,
        )
        .unwrap();
        (clean, serde_json::from_slice(&out).unwrap())
    }

    #[test]
    fn a_machine_reads_the_same_mistakes_as_a_person() {
        let example = include_str!("../../docs/examples/licence.toml");
        let (clean, found) = lint_of(example);
        assert!(clean, "{found}");
        assert!(
            found["licence"].is_string() && found["serial"].is_u64(),
            "{found}"
        );
        assert_eq!(found["mistakes"], json!([]));

        let (clean, found) = lint_of(&example.replace("\"INV-11\"", "\"ZZZ-99\""));
        let what = found["mistakes"][0]["what"].as_str().unwrap();
        assert!(!clean && what.contains("no condition has this id"), "{found}");

        // A policy's mistake is told by its line in the licence.
        let broken = example.replace(
            "[[waivers]]",
            "[[conditions]]\nid = \"OWN-01\"\ntitle = \"t\"\nseverity = \"minor\"\npolicy = '''\npackage weighbridge\nverdict := http.send({})\n'''\n[[waivers]]",
        );
        let (clean, found) = lint_of(&broken);
        let line = broken.lines().position(|l| l.contains("http.send")).unwrap() + 1;
        assert!(!clean && found["mistakes"][0]["line"] == line, "{found}");

        let (clean, found) = lint_of("licence_id = 7\n");
        assert!(!clean);
        assert_eq!(found["licence"], Value::Null);
        let mut text = Vec::new();
        assert!(
            !lint(
                &toml("licence_id = 7\n"),
                &Catalogue::embedded().unwrap(),
                &RuleBook::carried(),
                Format::Text,
                &mut text
            )
            .unwrap()
        );
        let text = String::from_utf8(text).unwrap();
        assert_eq!(found["mistakes"].as_array().unwrap().len(), text.lines().count());
        let first = &found["mistakes"][0];
        let line = format!("line {}: {}", first["line"], first["what"].as_str().unwrap());
        assert_eq!(text.lines().next(), Some(line.as_str()));
    }

    #[test]
    fn what_a_signed_licence_says_is_believed_only_under_its_signature() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path();
        let key = SecretKey::generate(Algorithm::Ed25519, &Entropy::system()).unwrap();
        let example = include_str!("../../docs/examples/licence.toml");
        let envelope = dsse::sign(PAYLOAD_TYPE, example.as_bytes(), &[&key]).unwrap();
        let mallory = example.replace("Harbour Compute Pte. Ltd.", "Mallory Compute");
        let payload = |text: &str| BASE64.encode(text.as_bytes());
        let altered = envelope.replace(&payload(example), &payload(&mallory));
        assert_ne!(envelope, altered);
        let file = state.join("licence.toml.dsse");
        let config = Config {
            state_dir: state.to_owned(),
            ..Config::default()
        };
        let said = |text: &str, lint: bool| {
            std::fs::write(&file, text).unwrap();
            let (file, format) = (file.clone(), Format::Text);
            let command = if lint {
                LicenceCommand::Lint { file, format }
            } else {
                LicenceCommand::Explain { file }
            };
            let mut out = Vec::new();
            on_paper(command, &config, &RuleBook::carried(), &mut out)
                .map(|holds| (holds, String::from_utf8(out).unwrap()))
        };

        for lint in [true, false] {
            let (holds, text) = said(&altered, lint).unwrap();
            assert!(!holds && text.starts_with("signature not checked: "), "{text}");
            assert!(said(example, lint).unwrap().0, "nobody signs a draft");
        }
        let mut anchors = Anchors::default();
        anchors.trust("supplier", key.public_key());
        anchors.write(state).unwrap();
        for lint in [true, false] {
            let (holds, text) = said(&envelope, lint).unwrap();
            assert!(holds && text.starts_with("signed by supplier\n"), "{text}");
            let error = said(&altered, lint).unwrap_err();
            assert!(
                error.to_string().contains("not signed by a trusted issuer"),
                "{error}"
            );
        }
    }
}
