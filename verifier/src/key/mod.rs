//! `key`: makes and shows the keys that sign documents, and says which of them this verifier believes.

mod pkcs11;
mod revoke;
mod source;
mod uri;

pub use pkcs11::TokenError;
pub(crate) use source::{Keys, borrowed};

use crate::command::{CommandError, Format, Outcome, PATIENCE, Session};
use crate::config::Config;
use crate::fleet::Anchors;
use crate::identity::{PRIVATE, PUBLIC, read_pem, write_new};
use crate::recorder::{Act, ActKind, KeyRole};
use serde_json::json;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use weighbridge::crypto::{self, Algorithm, Entropy, PublicKey, SecretKey, Signer};
use weighbridge::time::UnixSeconds;
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
    /// Believe licences, catalogues of accelerators, statements or rule sets that a key signs. Only this verifier's administrator decides that.
    Trust {
        /// The public key, in PEM.
        file: PathBuf,
        /// Whose it is, in your words.
        #[arg(long = "as", value_name = "NAME")]
        name: String,
        /// What it may sign.
        #[arg(long = "for", value_enum, value_name = "KIND", default_value_t = KeyRole::Licences)]
        role: KeyRole,
    },
    /// Say from when a key no longer counts, whoever named it: what was filed from then on by it alone is not believed, what was filed before stands.
    Revoke {
        /// The key's identity, as `key list` shows it, or the name under which it is trusted or a licence hears it.
        #[arg(value_name = "NAME|ID")]
        key: String,
        /// From when, as a date or a time in UTC; from now on by default.
        #[arg(long, value_name = "TIME", value_parser = UnixSeconds::parse)]
        from: Option<UnixSeconds>,
    },
    /// Put a new key in the place of one that is trusted, with its name and all that it may sign; what was filed before by the old one stands.
    Rotate {
        /// The old key's identity, as `key list` shows it, or the name under which it is trusted.
        #[arg(value_name = "NAME|ID")]
        old: String,
        /// The new public key, in PEM.
        #[arg(value_name = "FILE")]
        new: PathBuf,
    },
    /// List the keys whose licences, catalogues, statements and rule sets are believed.
    List {
        /// For people, or for machines.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Show the identity of a key: private, public or in a token.
    Show {
        /// The file, or the URI of a key in a token (`pkcs11:token=…;object=…`).
        #[arg(value_name = "FILE|URI")]
        file: PathBuf,
        /// For people, or for machines.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

/// The verbs that need no verifier.
pub(crate) fn on_paper(command: KeyCommand, config: &Config, out: &mut dyn Write) -> Outcome {
    match command {
        KeyCommand::New { file, format } => {
            let made = new_key(&file)?;
            match format {
                Format::Json => write_key(&made, out)?,
                Format::Text => writeln!(out, "{}", made.id())?,
            }
        }
        KeyCommand::Show { file, format } => {
            let found = Keys::new(config).public(&file)?;
            match format {
                Format::Json => write_key(&found, out)?,
                Format::Text => writeln!(out, "{} {:?}", found.id(), found.algorithm())?,
            }
        }
        KeyCommand::Trust { .. }
        | KeyCommand::Revoke { .. }
        | KeyCommand::Rotate { .. }
        | KeyCommand::List { .. } => return Ok(false),
    }
    Ok(true)
}

impl Session {
    /// Believes licences that a key signs. The ledger says so before the anchors do.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn trust(&self, name: &str, key: &PublicKey) -> Result<(), CommandError> {
        self.trust_for(KeyRole::Licences, name, key).await
    }

    /// Believes documents of one kind that a key signs. The ledger says so before the anchors do.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn trust_for(&self, role: KeyRole, name: &str, key: &PublicKey) -> Result<(), CommandError> {
        if let Some(revoked) = Anchors::read(&self.config.state_dir)?.revocation(&key.id()) {
            return Err(CommandError::Refused {
                why: format!(
                    "key {} of {} was revoked from {} on, which is final: trust another key",
                    revoked.key, revoked.name, revoked.from
                ),
            });
        }
        self.anchor(&trust(role, name, key, self.clock.now())).await?;
        Anchors::change(&self.config.state_dir, |a| a.trust_for(role, name, key))?;
        Ok(())
    }

    /// Writes an act about the anchors to the ledger, before they change. Where that fails the ledger never holds it: it would speak of a change
    /// that was not made.
    pub(crate) async fn anchor(&self, act: &Act) -> Result<(), CommandError> {
        self.carry_out_or_withdraw(act, PATIENCE).await
    }

    pub(crate) async fn key(&self, command: KeyCommand, out: &mut dyn Write) -> Outcome {
        match command {
            KeyCommand::Trust { file, name, role } => {
                let public = read_public(&file)?;
                self.trust_for(role, &name, &public).await?;
                let id = public.id();
                writeln!(out, "{role} signed by {name} with key {id} are believed")?;
            }
            KeyCommand::Revoke { key, from } => self.revoke_key(&key, from, out).await?,
            KeyCommand::Rotate { old, new } => self.rotate_key(&old, &read_public(&new)?, out).await?,
            KeyCommand::List { format } => self.list_keys(format, out)?,
            KeyCommand::New { .. } | KeyCommand::Show { .. } => {
                return on_paper(command, &self.config, out);
            }
        }
        Ok(true)
    }

    fn list_keys(&self, format: Format, out: &mut dyn Write) -> Result<(), CommandError> {
        let anchors = Anchors::read(&self.config.state_dir)?;
        let revoked = anchors.standing().revoked;
        let in_role = |role: KeyRole| {
            let trusted = anchors.trusted_for(role).iter();
            trusted.filter_map(move |i| Some((i.public_key().ok()?.id(), i.name.as_str(), Some(role))))
        };
        let trusted: Vec<_> = KeyRole::ALL.iter().flat_map(|role| in_role(*role)).collect();
        // Those that a licence alone names are here only once they were revoked.
        let others = revoked.iter().map(|r| (r.key, r.name.as_str(), None));
        let others = others.filter(|(key, ..)| trusted.iter().all(|(id, ..)| id != key));
        let keys: Vec<_> = trusted.iter().copied().chain(others).collect();
        match format {
            Format::Json => {
                let keys: Vec<_> = keys
                    .iter()
                    .map(|(id, name, role)| {
                        let revoked = anchors.revocation(id);
                        json!({
                            "id": id,
                            "name": name,
                            "role": role,
                            "revoked_from": revoked.map(|r| r.from),
                            "replaced_by": revoked.and_then(|r| r.replaced_by),
                        })
                    })
                    .collect();
                writeln!(out, "{:#}", json!({ "keys": keys }))?;
            }
            Format::Text if keys.is_empty() => writeln!(
                out,
                "no key is trusted yet: `weighbridge-verifier key trust FILE --as NAME` adds one"
            )?,
            Format::Text => {
                for (id, name, role) in keys {
                    let role = role.map_or("-", KeyRole::text);
                    write!(out, "{id} {role:<10} {name}")?;
                    if let Some(revoked) = anchors.revocation(&id) {
                        write!(out, ", revoked from {} on", revoked.from)?;
                    }
                    writeln!(out)?;
                }
            }
        }
        Ok(())
    }
}

/// The act by which a key is trusted.
fn trust(role: KeyRole, name: &str, key: &PublicKey, at: UnixSeconds) -> Act {
    let mut act = Act::new(ActKind::Trust, at);
    act.role = Some(role);
    act.key = Some(key.id());
    act.issuer = Some(name.to_owned());
    act
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
    let private = Zeroizing::new(crypto::pem_encode(PRIVATE, made.pkcs8()));
    write_new(file, private.as_bytes(), 0o600)?;
    let public = crypto::pem_encode(PUBLIC, made.public_key().spki());
    write_new(&public_file, public.as_bytes(), 0o644)?;
    Ok(made.public_key().clone())
}

/// The key that `new_key` made.
///
/// # Errors
/// [`CommandError`].
pub(crate) fn secret(file: &Path) -> Result<SecretKey, CommandError> {
    Ok(SecretKey::from_pkcs8(
        &read_pem(file, PRIVATE)?,
        &Entropy::system(),
    )?)
}

/// A public key from its file.
///
/// # Errors
/// [`CommandError`].
pub(crate) fn read_public(file: &Path) -> Result<PublicKey, CommandError> {
    Ok(PublicKey::from_spki(&read_pem(file, PUBLIC)?)?)
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

    #[test]
    fn the_wrong_half_of_a_key_is_told_from_a_damaged_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("supplier.key");
        new_key(&file).unwrap();
        let error = read_public(&file).unwrap_err().to_string();
        assert!(
            error.contains("the private half") && error.contains("FILE.pub"),
            "{error}"
        );
        let error = secret(&beside(&file)).unwrap_err().to_string();
        assert!(
            error.contains("the public half") && error.contains("FILE.pub"),
            "{error}"
        );
        std::fs::write(&file, "nothing").unwrap();
        let error = secret(&file).unwrap_err().to_string();
        assert!(error.contains("does not hold what it should"), "{error}");
    }
}
