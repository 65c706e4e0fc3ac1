//! `key`: makes and shows the keys that sign documents.

use crate::command::{CommandError, Format, Outcome};
use crate::config::Config;
use crate::fleet::Anchors;
use crate::identity::{IdentityError, exists, read_pem, write_new};
use serde_json::json;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use weighbridge::crypto::{self, Algorithm, Entropy, PublicKey, SecretKey, Signer};
use zeroize::Zeroizing;

/// What about keys.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum KeyCommand {
    /// Make an Ed25519 key: FILE holds the private key, FILE.pub the public one.
    New {
        /// Where to keep it; an existing file is never overwritten.
        file: PathBuf,
        /// For people, or for machines.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Believe licences that a key signs. Only this verifier's administrator decides that.
    Trust {
        /// The public key, in PEM.
        file: PathBuf,
        /// Whose it is, in your words.
        #[arg(long = "as", value_name = "NAME")]
        name: String,
    },
    /// Show the identity of a key, private or public.
    Show {
        /// The file.
        file: PathBuf,
        /// For people, or for machines.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

pub(crate) fn key(command: KeyCommand, config: &Config, out: &mut dyn Write) -> Outcome {
    match command {
        KeyCommand::New { file, format } => {
            let made = new_key(&file)?;
            match format {
                Format::Json => write_key(&made, out)?,
                Format::Text => writeln!(out, "{}", made.id())?,
            }
        }
        KeyCommand::Trust { file, name } => {
            let public = read_public(&file)?;
            if !exists(&config.state_dir) {
                return Err(IdentityError::Missing {
                    directory: config.state_dir.clone(),
                }
                .into());
            }
            let mut anchors = Anchors::read(&config.state_dir)?;
            anchors.trust(&name, &public);
            anchors.write(&config.state_dir)?;
            writeln!(
                out,
                "licences signed by {name} with key {} are believed",
                public.id()
            )?;
        }
        KeyCommand::Show { file, format } => {
            let found = read_public(&file)
                .or_else(|e| secret(&file).map(|k| k.public_key().clone()).map_err(|_| e))?;
            match format {
                Format::Json => write_key(&found, out)?,
                Format::Text => writeln!(out, "{} {:?}", found.id(), found.algorithm())?,
            }
        }
    }
    Ok(true)
}

fn write_key(key: &PublicKey, out: &mut dyn Write) -> std::io::Result<()> {
    let algorithm = format!("{:?}", key.algorithm());
    writeln!(out, "{:#}", json!({ "id": key.id(), "algorithm": algorithm }))
}

/// Makes a key in `file` and its public half in `file.pub`; returns the public half.
///
/// # Errors
/// [`CommandError`].
pub fn new_key(file: &Path) -> Result<PublicKey, CommandError> {
    let public_file = beside(file);
    // Both before either is made, so that no private key is left without its public half.
    if let Some(path) = [file, &public_file].into_iter().find(|p| p.exists()) {
        return Err(CommandError::KeyExists {
            path: path.to_owned(),
        });
    }
    let made = SecretKey::generate(Algorithm::Ed25519, &Entropy::system())?;
    let private = Zeroizing::new(crypto::pem_encode("PRIVATE KEY", made.pkcs8()));
    write_new(file, private.as_bytes(), 0o600)?;
    let public = crypto::pem_encode("PUBLIC KEY", made.public_key().spki());
    write_new(&public_file, public.as_bytes(), 0o644)?;
    Ok(made.public_key().clone())
}

/// The key that `new_key` made.
///
/// # Errors
/// [`CommandError`].
pub(crate) fn secret(file: &Path) -> Result<SecretKey, CommandError> {
    Ok(SecretKey::from_pkcs8(
        &read_pem(file, "PRIVATE KEY")?,
        &Entropy::system(),
    )?)
}

/// A public key from its file.
///
/// # Errors
/// [`CommandError`].
pub(crate) fn read_public(file: &Path) -> Result<PublicKey, CommandError> {
    Ok(PublicKey::from_spki(&read_pem(file, "PUBLIC KEY")?)?)
}

fn beside(file: &Path) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(".pub");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_overwritten_and_the_error_says_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("supplier.key");
        let made = new_key(&file).unwrap();
        let error = new_key(&file).unwrap_err();
        assert!(error.to_string().contains("name another file"), "{error}");
        // The public half alone is enough to refuse, and nothing is left behind.
        std::fs::remove_file(&file).unwrap();
        new_key(&file).unwrap_err();
        assert!(!file.exists());
        assert_eq!(read_public(&beside(&file)).unwrap().id(), made.id());
    }
}
