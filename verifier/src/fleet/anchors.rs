//! The anchors: whose keys this verifier's administrator trusts, and with what.
//!
//! Decides: which keys may sign documents of which kind, and whose a licence id is. `anchors.toml` in the state directory belongs to the
//! administrator; nothing in it ever comes from a document. Does not establish that a signer tells the truth.

use super::licences::{LoadError, LoadedLicence};
use crate::identity::replace;
use crate::recorder::KeyRole;
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::{Path, PathBuf};
use weighbridge::bounded::{self, BoundedReadError, MAX_DOCUMENT};
use weighbridge::crypto::dsse;
use weighbridge::crypto::{KeyError, PublicKey};
use weighbridge::id::Digest;
use weighbridge::licence::PAYLOAD_TYPE;

const FILE: &str = "anchors.toml";

/// Why the anchors cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnchorsError {
    /// The file cannot be read.
    #[error("{path} cannot be read", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: BoundedReadError,
    },
    /// The file is not what it should be.
    #[error("{path} is not a file of anchors", path = path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A key in it is not one.
    #[error("{path} holds a key of `{name}` that is not one", path = path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Whose.
        name: String,
        /// Why not.
        #[source]
        source: KeyError,
    },
    /// The file cannot be written.
    #[error("{path} cannot be written", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The anchors cannot be written as TOML.
    #[error("the anchors cannot be written as TOML")]
    Encode(#[from] toml::ser::Error),
}

/// A key that may sign documents of some kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// Whose it is, in this administrator's words.
    pub name: String,
    /// `SubjectPublicKeyInfo`, in base64.
    pub key: String,
}

/// The newest serial seen of a licence, and whose licence it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Newest {
    licence: String,
    serial: u64,
    /// The issuers who signed what was first loaded under this id: none but they may replace it.
    issuers: Vec<String>,
}

/// What this verifier's administrator trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchors {
    #[serde(default, rename = "issuer")]
    issuers: Vec<Issuer>,
    /// Who may sign catalogues of accelerators. Whose licences are believed may not do so for that.
    #[serde(default, rename = "catalogue")]
    catalogues: Vec<Issuer>,
    /// Whose statements `statement verify` and `statement show` take for signed. Whom conditions hear, a licence alone says.
    #[serde(default, rename = "statement")]
    statements: Vec<Issuer>,
    /// Who may sign rule sets.
    #[serde(default, rename = "rules")]
    rules: Vec<Issuer>,
    #[serde(default)]
    newest: Vec<Newest>,
}

impl Anchors {
    /// Reads the anchors of a state directory; none are there before the first key is trusted.
    ///
    /// # Errors
    /// [`AnchorsError`].
    pub fn read(state_dir: &Path) -> Result<Self, AnchorsError> {
        let path = state_dir.join(FILE);
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = File::open(&path)
            .map_err(BoundedReadError::from)
            .and_then(|f| bounded::read_text(f, MAX_DOCUMENT))
            .map_err(|source| AnchorsError::Read {
                path: path.clone(),
                source,
            })?;
        let anchors: Self = toml::from_str(&text).map_err(|source| AnchorsError::Form {
            path: path.clone(),
            source: Box::new(source),
        })?;
        let roles = KeyRole::ALL.iter();
        for issuer in roles.flat_map(|role| anchors.trusted_for(*role)) {
            issuer.public_key().map_err(|source| AnchorsError::Key {
                path: path.clone(),
                name: issuer.name.clone(),
                source,
            })?;
        }
        Ok(anchors)
    }

    /// Writes them back, whole or not at all.
    ///
    /// # Errors
    /// [`AnchorsError`].
    pub fn write(&self, state_dir: &Path) -> Result<(), AnchorsError> {
        let text = format!(
            "# Whose licences, catalogues, statements and rule sets this verifier believes. `weighbridge-verifier key trust` adds a key, `key revoke` removes one.\n\n{}",
            toml::to_string(self)?
        );
        let path = state_dir.join(FILE);
        replace(&path, text.as_bytes()).map_err(|source| AnchorsError::Write { path, source })
    }

    /// Changes the anchors of a state directory, while no other process does.
    ///
    /// # Errors
    /// [`AnchorsError`]; then they stay as they were.
    pub fn change(state_dir: &Path, with: impl FnOnce(&mut Self)) -> Result<Self, AnchorsError> {
        let path = state_dir.join("anchors.lock");
        let lock = File::create(&path).and_then(|f| f.lock().map(|()| f));
        let _lock = lock.map_err(|source| AnchorsError::Write { path, source })?;
        let mut anchors = Self::read(state_dir)?;
        with(&mut anchors);
        anchors.write(state_dir)?;
        Ok(anchors)
    }

    /// Trusts a key, under a name, to sign documents of one kind.
    pub fn trust_for(&mut self, role: KeyRole, name: &str, key: &PublicKey) {
        match role {
            KeyRole::Licences => self.trust(name, key),
            KeyRole::Catalogues => believe(&mut self.catalogues, name, key),
            KeyRole::Statements => believe(&mut self.statements, name, key),
            KeyRole::Rules => believe(&mut self.rules, name, key),
        }
    }

    /// Trusts a key under a name to sign licences. The same key again changes its name, and its licences are then those of the new name.
    pub fn trust(&mut self, name: &str, key: &PublicKey) {
        let former = self.name_of(&key.id()).map(str::to_owned);
        believe(&mut self.issuers, name, key);
        if let Some(former) = former.filter(|f| self.issuers.iter().all(|i| i.name != *f)) {
            let owners = self.newest.iter_mut().flat_map(|n| &mut n.issuers);
            owners.filter(|o| **o == former).for_each(|o| name.clone_into(o));
        }
    }

    /// Trusts a key no longer, whatever it was trusted with; returns the name under which it was trusted.
    pub fn distrust(&mut self, key: &Digest) -> Option<String> {
        let name = self.name_in_any_role(key).map(str::to_owned);
        self.issuers.retain(|i| !i.is_key(key));
        self.catalogues.retain(|i| !i.is_key(key));
        self.statements.retain(|i| !i.is_key(key));
        self.rules.retain(|i| !i.is_key(key));
        name
    }

    /// Those whose keys are trusted with documents of one kind.
    #[must_use]
    pub fn trusted_for(&self, role: KeyRole) -> &[Issuer] {
        match role {
            KeyRole::Licences => &self.issuers,
            KeyRole::Catalogues => &self.catalogues,
            KeyRole::Statements => &self.statements,
            KeyRole::Rules => &self.rules,
        }
    }

    /// Their keys.
    #[must_use]
    pub fn keys_for(&self, role: KeyRole) -> Vec<PublicKey> {
        let trusted = self.trusted_for(role).iter();
        trusted.filter_map(|i| i.public_key().ok()).collect()
    }

    /// The name under which a key is trusted with documents of one kind.
    #[must_use]
    pub fn name_for(&self, role: KeyRole, key: &Digest) -> Option<&str> {
        let found = self.trusted_for(role).iter().find(|i| i.is_key(key));
        found.map(|i| i.name.as_str())
    }

    /// The name under which a key is trusted with anything.
    #[must_use]
    pub fn name_in_any_role(&self, key: &Digest) -> Option<&str> {
        KeyRole::ALL.iter().find_map(|role| self.name_for(*role, key))
    }

    /// Remembers the serial of a licence, and whose it is.
    pub(super) fn saw(&mut self, seen: &LoadedLicence) {
        let (id, serial) = (&seen.licence.licence_id, seen.licence.serial);
        match self.newest.iter_mut().find(|n| n.licence == *id) {
            Some(known) => known.serial = known.serial.max(serial),
            None => self.newest.push(Newest {
                licence: id.clone(),
                serial,
                issuers: seen.issuers.clone(),
            }),
        }
    }

    fn of(&self, licence: &str) -> Option<&Newest> {
        self.newest.iter().find(|n| n.licence == licence)
    }

    /// The newest serial seen of a licence.
    #[must_use]
    pub fn newest(&self, licence: &str) -> Option<u64> {
        self.of(licence).map(|n| n.serial)
    }

    /// The issuers to whom a licence id belongs; absent where none was loaded under it.
    #[must_use]
    pub fn owners(&self, licence: &str) -> Option<&[String]> {
        self.of(licence).map(|n| n.issuers.as_slice())
    }

    /// The issuers.
    #[must_use]
    pub fn issuers(&self) -> &[Issuer] {
        &self.issuers
    }

    /// The keys of all issuers.
    #[must_use]
    pub fn keys(&self) -> Vec<PublicKey> {
        self.keys_for(KeyRole::Licences)
    }

    /// The text of a signed licence, and the names of the trusted issuers who signed exactly it.
    ///
    /// # Errors
    /// [`LoadError`]. The envelope is untrusted.
    pub fn verify(&self, envelope: &str) -> Result<(String, Vec<String>), LoadError> {
        if self.issuers.is_empty() {
            return Err(LoadError::NoIssuer);
        }
        let verified = dsse::verify(envelope, PAYLOAD_TYPE, &self.keys()).map_err(LoadError::Untrusted)?;
        let text = std::str::from_utf8(verified.payload()).map_err(|_| LoadError::Text)?;
        let names = verified.signers().iter().filter_map(|k| self.name_of(k));
        Ok((text.to_owned(), names.map(str::to_owned).collect()))
    }

    /// The name under which a key is trusted to sign licences.
    #[must_use]
    pub fn name_of(&self, key: &Digest) -> Option<&str> {
        self.name_for(KeyRole::Licences, key)
    }
}

impl Issuer {
    fn is_key(&self, id: &Digest) -> bool {
        self.public_key().is_ok_and(|k| k.id() == *id)
    }

    /// Its key.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn public_key(&self) -> Result<PublicKey, KeyError> {
        let spki = BASE64
            .decode(self.key.as_bytes())
            .map_err(|_| KeyError::NotSpki)?;
        PublicKey::from_spki(&spki)
    }
}

/// Adds a key, or changes the name under which it stands there.
fn believe(keys: &mut Vec<Issuer>, name: &str, key: &PublicKey) {
    keys.retain(|i| !i.is_key(&key.id()));
    keys.push(Issuer {
        name: name.to_owned(),
        key: BASE64.encode(key.spki()),
    });
}
