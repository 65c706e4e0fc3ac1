//! The anchors: whose keys this verifier's administrator trusts, and with what.
//!
//! Decides: which keys may sign documents of which kind and until when, whose a licence id is, and which accreditations are on the checker's list.
//! `anchors.toml` in the state directory belongs to the administrator; nothing in it ever comes from a document. Does not establish that a signer tells
//! the truth.

use super::licences::{LoadError, LoadedLicence};
use crate::identity::replace;
use crate::recorder::KeyRole;
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::{Path, PathBuf};
use weighbridge::bounded::{self, BoundedReadError, MAX_DOCUMENT};
use weighbridge::crypto::dsse::{self, DsseError};
use weighbridge::crypto::{KeyError, PublicKey};
use weighbridge::id::Digest;
use weighbridge::licence::{Accreditation, PAYLOAD_TYPE, RevokedKey, Standing};
use weighbridge::time::UnixSeconds;

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
    /// Keys that were revoked, with what they were trusted with or named by a licence alone: what was filed before stands.
    #[serde(default)]
    revoked: Vec<RevokedKey>,
    /// The list of accreditations. Where it is empty, each licence says who is accredited.
    #[serde(default, rename = "accreditation")]
    accreditations: Vec<Accreditation>,
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
            "# Whose licences, catalogues, statements and rule sets this verifier believes: `weighbridge-verifier key trust` adds a key, `key revoke` says from when one\n\
             # no longer counts, and `accreditation` keeps the list of accreditations.\n\n{}",
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

    /// Revokes a key, whatever it was trusted with; of two revocations the earlier counts.
    pub fn revoke(&mut self, revoked: RevokedKey) {
        match self.revoked.iter_mut().find(|r| r.key == revoked.key) {
            Some(known) => known.from = known.from.min(revoked.from),
            None => self.revoked.push(revoked),
        }
    }

    /// What the conditions hear of it: which keys were revoked, and the list of accreditations.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing {
            revoked: self.revoked.clone(),
            accreditations: self.accreditations.clone(),
        }
    }

    /// The revocation of a key.
    #[must_use]
    pub fn revocation(&self, key: &Digest) -> Option<&RevokedKey> {
        self.revoked.iter().find(|r| r.key == *key)
    }

    /// The list of accreditations.
    #[must_use]
    pub fn accreditations(&self) -> &[Accreditation] {
        &self.accreditations
    }

    /// Puts an accreditation on the list, in the place of the one of this number and key, if any. One that was withdrawn stays beside it: under it
    /// stands what was filed before.
    pub fn accredit(&mut self, accreditation: Accreditation) {
        let same = |a: &Accreditation| a.number == accreditation.number && a.key == accreditation.key;
        self.accreditations.retain(|a| !same(a) || a.withdrawn.is_some());
        self.accreditations.push(accreditation);
    }

    /// From when the accreditations of a number were withdrawn, the latest of these times; absent where none was.
    #[must_use]
    pub fn withdrawal(&self, number: &str) -> Option<UnixSeconds> {
        let all = self.accreditations.iter().filter(|a| a.number == number);
        all.filter_map(|a| a.withdrawn).max()
    }

    /// Withdraws the accreditations of a number. They stay on the list: were it empty, each licence would say again who is accredited.
    pub fn withdraw(&mut self, number: &str, from: UnixSeconds) {
        for listed in self.accreditations.iter_mut().filter(|a| a.number == number) {
            listed.withdrawn = Some(listed.withdrawn.map_or(from, |earlier| earlier.min(from)));
        }
    }

    /// Forgets the newest serial of a licence that a key signed which may have been anyone's.
    pub(crate) fn unlearn(&mut self, licence: &str) {
        for known in self.newest.iter_mut().filter(|n| n.licence == licence) {
            known.serial = 0;
        }
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

    /// Those of their keys that were not revoked.
    #[must_use]
    pub fn keys_for(&self, role: KeyRole) -> Vec<PublicKey> {
        self.keys_where(role, |revoked| revoked.is_none())
    }

    /// Those of their keys that were not revoked before something was filed at this time.
    #[must_use]
    pub fn keys_filed(&self, role: KeyRole, filed: UnixSeconds) -> Vec<PublicKey> {
        self.keys_where(role, |revoked| revoked.is_none_or(|r| filed < r.from))
    }

    fn keys_where(&self, role: KeyRole, counts: impl Fn(Option<&RevokedKey>) -> bool) -> Vec<PublicKey> {
        let trusted = self.trusted_for(role).iter();
        let keys = trusted.filter_map(|i| i.public_key().ok());
        keys.filter(|k| counts(self.revocation(&k.id()))).collect()
    }

    /// The name under which a key is trusted with documents of one kind.
    #[must_use]
    pub fn name_for(&self, role: KeyRole, key: &Digest) -> Option<&str> {
        let found = self.trusted_for(role).iter().find(|i| i.is_key(key));
        found.map(|i| i.name.as_str())
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

    /// The text of a signed licence, and the names of the trusted issuers who signed exactly it.
    ///
    /// # Errors
    /// [`LoadError`]. The envelope is untrusted.
    pub fn verify(&self, envelope: &str) -> Result<(String, Vec<String>), LoadError> {
        let (text, keys) = self.opened(envelope, &self.keys_for(KeyRole::Licences))?;
        let names = keys.iter().filter_map(|k| self.name_of(k));
        Ok((text, names.map(str::to_owned).collect()))
    }

    /// The text of a licence that was filed at this time, and the identities of the trusted keys that signed exactly it: one that was revoked later counts.
    ///
    /// # Errors
    /// [`LoadError`]. The envelope is untrusted.
    pub fn verify_filed(
        &self,
        envelope: &str,
        filed: UnixSeconds,
    ) -> Result<(String, Vec<Digest>), LoadError> {
        self.opened(envelope, &self.keys_filed(KeyRole::Licences, filed))
    }

    fn opened(&self, envelope: &str, keys: &[PublicKey]) -> Result<(String, Vec<Digest>), LoadError> {
        let verified = match dsse::verify(envelope, PAYLOAD_TYPE, keys) {
            Ok(verified) => verified,
            Err(error) => return Err(self.unopened(envelope, error)),
        };
        let text = std::str::from_utf8(verified.payload()).map_err(|_| LoadError::Text)?;
        Ok((text.to_owned(), verified.signers().to_vec()))
    }

    /// Why a licence is nobody's; where a revoked key signed it, that is why.
    fn unopened(&self, envelope: &str, error: DsseError) -> LoadError {
        match self.revoked_signer(KeyRole::Licences, PAYLOAD_TYPE, envelope) {
            Some(key) => LoadError::Revoked {
                name: key.name.clone(),
                from: key.from,
            },
            None if self.keys_for(KeyRole::Licences).is_empty() => LoadError::NoIssuer,
            None => LoadError::Untrusted(error),
        }
    }

    /// The revoked key that signed a document of one kind, if one did.
    pub(super) fn revoked_signer(
        &self,
        role: KeyRole,
        payload_type: &str,
        envelope: &str,
    ) -> Option<&RevokedKey> {
        let revoked = self.keys_where(role, |revoked| revoked.is_some());
        let verified = dsse::verify(envelope, payload_type, &revoked).ok()?;
        self.revocation(verified.signers().first()?)
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
