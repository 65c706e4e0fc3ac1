//! `statement`: signs what people write for verifiers beside licences, and shows what such a document says.
//!
//! Decides: what kind of document a file is, and that one with mistakes is not signed. The one kind of this version is the catalogue of
//! accelerators.

use crate::command::{CommandError, Format, Outcome};
use crate::config::Config;
use crate::fleet::Anchors;
use crate::key::secret;
use crate::licence::{is_envelope, read};
use crate::recorder::KeyRole;
use serde_json::json;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use weighbridge::accelerator::{Catalogue, CatalogueError, CatalogueVersion, PAYLOAD_TYPE};
use weighbridge::crypto::{Signer, dsse};

/// What about documents.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum StatementCommand {
    /// Sign a document, such as a catalogue of accelerators: exactly its bytes go into FILE.dsse.
    Sign {
        /// The document.
        file: PathBuf,
        /// The signer's private key, as `key new` makes it; may be given often.
        #[arg(long = "key", value_name = "KEY", required = true)]
        keys: Vec<PathBuf>,
    },
    /// Show what a document is and who signed it.
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
        StatementCommand::Sign { file, keys } => sign(&file, &keys, out),
        StatementCommand::Show { file, format } => show(&file, format, config, out),
    }
}

fn unknown(file: &Path) -> CommandError {
    CommandError::Refused {
        why: format!(
            "{} is no document of a kind that is known here: a catalogue begins with `# weighbridge-catalogue`, and `licence sign` signs licences",
            file.display()
        ),
    }
}

fn wrong(file: &Path) -> impl Fn(CatalogueError) -> CommandError + use<'_> {
    move |source| CommandError::Statement {
        path: file.to_owned(),
        source,
    }
}

/// Signs the file's exact bytes; a document with mistakes is not signed.
fn sign(file: &Path, keys: &[PathBuf], out: &mut dyn Write) -> Outcome {
    let text = read(file)?;
    if !CatalogueVersion::is_begun(&text) {
        return Err(unknown(file));
    }
    let catalogue = Catalogue::parse(&text).map_err(wrong(file))?;
    let keys = keys.iter().map(|k| secret(k)).collect::<Result<Vec<_>, _>>()?;
    let signers: Vec<&dyn Signer> = keys.iter().map(|k| -> &dyn Signer { k }).collect();
    let envelope = dsse::sign(PAYLOAD_TYPE, text.as_bytes(), &signers)?;
    let mut name = OsString::from(file);
    name.push(".dsse");
    let path = PathBuf::from(name);
    std::fs::write(&path, envelope)?;
    writeln!(out, "{}, signed in {}", catalogue.label(), path.display())?;
    Ok(true)
}

fn show(file: &Path, format: Format, config: &Config, out: &mut dyn Write) -> Outcome {
    let text = read(file)?;
    let anchors = Anchors::read(&config.state_dir)?;
    let (catalogue, signature, signers) = if is_envelope(&text) {
        let (payload_type, payload) =
            dsse::peek(&text).map_err(|e| wrong(file)(CatalogueError::Untrusted(e)))?;
        if payload_type != PAYLOAD_TYPE {
            return Err(unknown(file));
        }
        let keys = anchors.keys_for(KeyRole::Catalogues);
        if keys.is_empty() {
            let bare = String::from_utf8(payload).map_err(|_| wrong(file)(CatalogueError::Text))?;
            (
                Catalogue::parse(&bare).map_err(wrong(file))?,
                "not checked",
                Vec::new(),
            )
        } else {
            let opened = Catalogue::open(&text, &keys).map_err(wrong(file))?;
            let names = opened
                .signers()
                .iter()
                .filter_map(|k| anchors.name_for(KeyRole::Catalogues, k));
            let names: Vec<String> = names.map(str::to_owned).collect();
            (opened, "checked", names)
        }
    } else if CatalogueVersion::is_begun(&text) {
        (Catalogue::parse(&text).map_err(wrong(file))?, "none", Vec::new())
    } else {
        return Err(unknown(file));
    };
    let version = catalogue.version();
    match format {
        Format::Json => {
            let found = json!({
                "kind": "catalogue",
                "serial": version.serial,
                "dated": version.day(),
                "sha256": catalogue.digest(),
                "models": catalogue.models().len(),
                "signature": signature,
                "signed_by": (signature == "checked").then_some(&signers),
            });
            writeln!(out, "{found:#}")?;
        }
        Format::Text => {
            match signature {
                "checked" => writeln!(out, "signed by {}", signers.join(" and "))?,
                "not checked" => writeln!(
                    out,
                    "signature not checked: no key is trusted to sign catalogues, so that anyone may have written this; `weighbridge-verifier key trust --for catalogues` adds one"
                )?,
                _ => {}
            }
            writeln!(out, "{}, {} models", catalogue.label(), catalogue.models().len())?;
        }
    }
    Ok(signature != "not checked")
}
