//! The licences that hold here, and the keys that may issue them.
//!
//! Decides: which of the loaded licences count. Trusts `anchors.toml` in the state directory, which this verifier's administrator owns: the
//! issuers' keys, the newest serial seen of each licence and whose it is come from there and never from a licence. A licence whose
//! issuer is no longer trusted, that a newer serial replaces, or whose id belongs to another issuer, does not count.

use crate::cause::with_causes;
use crate::recorder::{Act, KeyRole};
use crate::store::{Store, StoreError};
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use weighbridge::bounded::{self, BoundedReadError, MAX_DOCUMENT};
use weighbridge::cbor;
use weighbridge::crypto::dsse::{self, DsseError};
use weighbridge::crypto::{KeyError, PublicKey};
use weighbridge::id::Digest;
use weighbridge::ledger::LeafKind;
use weighbridge::licence::{Licence, PAYLOAD_TYPE};
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

/// A key that may sign licences, or catalogues of accelerators.
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
        for issuer in anchors.issuers.iter().chain(&anchors.catalogues) {
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
            "# Whose licences and catalogues this verifier believes. `weighbridge-verifier key trust` adds a key, `key revoke` removes one.\n\n{}",
            toml::to_string(self)?
        );
        let (path, draft) = (state_dir.join(FILE), state_dir.join("anchors.toml.new"));
        File::create(&draft)
            .and_then(|mut f| {
                f.write_all(text.as_bytes())?;
                f.sync_all()
            })
            .and_then(|()| std::fs::rename(&draft, &path))
            .and_then(|()| File::open(state_dir)?.sync_all())
            .map_err(|source| AnchorsError::Write { path, source })
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
            KeyRole::Catalogues => {
                self.catalogues.retain(|i| !i.is_key(&key.id()));
                self.catalogues.push(Issuer {
                    name: name.to_owned(),
                    key: BASE64.encode(key.spki()),
                });
            }
        }
    }

    /// Trusts a key under a name to sign licences. The same key again changes its name, and its licences are then those of the new name.
    pub fn trust(&mut self, name: &str, key: &PublicKey) {
        let former = self.name_of(&key.id()).map(str::to_owned);
        self.issuers.retain(|i| !i.is_key(&key.id()));
        self.issuers.push(Issuer {
            name: name.to_owned(),
            key: BASE64.encode(key.spki()),
        });
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
        name
    }

    /// Those whose keys are trusted with documents of one kind.
    #[must_use]
    pub fn trusted_for(&self, role: KeyRole) -> &[Issuer] {
        match role {
            KeyRole::Licences => &self.issuers,
            KeyRole::Catalogues => &self.catalogues,
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
    fn saw(&mut self, seen: &LoadedLicence) {
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

/// Why the licences cannot be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The anchors cannot be used.
    #[error(transparent)]
    Anchors(#[from] AnchorsError),
    /// The store failed.
    #[error("the loaded licences cannot be read")]
    Store(#[from] StoreError),
    /// There is no trusted issuer.
    #[error(
        "no key is trusted to sign licences yet; `weighbridge-verifier key trust FILE --as NAME` adds one"
    )]
    NoIssuer,
    /// It is not a licence of a trusted issuer.
    #[error(
        "the licence is not signed by a trusted issuer; `weighbridge-verifier key trust FILE --as NAME` adds one"
    )]
    Untrusted(#[source] DsseError),
    /// It is not a licence.
    #[error("the licence has mistakes; `weighbridge-verifier licence lint` lists them")]
    Mistakes(#[source] weighbridge::document::Mistakes),
    /// It is not UTF-8.
    #[error("the licence is not UTF-8 text")]
    Text,
}

/// A licence that holds here.
#[derive(Clone, Debug)]
pub struct LoadedLicence {
    /// The licence.
    pub licence: Licence,
    /// Under which names its issuers are trusted.
    pub issuers: Vec<String>,
    /// When it was loaded.
    pub loaded_at: UnixSeconds,
}

/// The loaded licences.
#[derive(Clone, Debug, Default)]
pub struct Licences {
    /// Those that count: of each id the newest serial that its first issuers signed, in the order of their ids.
    pub counting: Vec<LoadedLicence>,
    /// Why others do not, in sentences; those that a newer serial replaced are not among them.
    pub passed_over: Vec<String>,
}

impl LoadedLicence {
    /// Opens a signed licence: a trusted issuer must have signed exactly its bytes.
    ///
    /// # Errors
    /// [`LoadError`]. The text is untrusted.
    pub fn open(envelope: &str, anchors: &Anchors, loaded_at: UnixSeconds) -> Result<Self, LoadError> {
        let (text, issuers) = anchors.verify(envelope)?;
        Ok(Self {
            licence: Licence::parse(&text).map_err(LoadError::Mistakes)?,
            issuers,
            loaded_at,
        })
    }

    /// Whether all of these issuers signed it.
    #[must_use]
    pub fn is_of(&self, issuers: &[String]) -> bool {
        issuers.iter().all(|i| self.issuers.contains(i))
    }
}

impl Licences {
    /// The loaded licences, and the anchors with the serials of those that count in them: what a load that was cut short left out
    /// is made good here.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn anchored(store: &dyn Store, state_dir: &Path) -> Result<(Anchors, Self), LoadError> {
        let mut anchors = Anchors::read(state_dir)?;
        let all = Self::read(store, &anchors).await?;
        let counting = || all.counting.iter();
        if counting().any(|l| anchors.newest(&l.licence.licence_id) != Some(l.licence.serial)) {
            anchors = Anchors::change(state_dir, |a| counting().for_each(|l| a.saw(l)))?;
        }
        Ok((anchors, all))
    }

    /// The loaded licences, under these anchors.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn read(store: &dyn Store, anchors: &Anchors) -> Result<Self, LoadError> {
        let (mut out, mut passed_over): (Vec<LoadedLicence>, _) = (Vec::new(), Vec::new());
        for entry in store.entries(LeafKind::Document).await? {
            let act = entry.body.and_then(|b| cbor::decode_strict::<Act>(&b).ok());
            let Some(envelope) = act
                .and_then(|a| a.document)
                .and_then(|d| String::from_utf8(d.0).ok())
            else {
                continue;
            };
            let loaded = match LoadedLicence::open(&envelope, anchors, entry.at) {
                Ok(loaded) => loaded,
                Err(error) => {
                    let why = with_causes(&error);
                    passed_over.push(format!(
                        "the licence of leaf {} does not count: {why}",
                        entry.leaf
                    ));
                    continue;
                }
            };
            let id = &loaded.licence.licence_id;
            let older = out.iter_mut().find(|l| l.licence.licence_id == *id);
            let owners = anchors
                .owners(id)
                .or_else(|| older.as_ref().map(|l| l.issuers.as_slice()));
            if let Some(owners) = owners.filter(|o| !loaded.is_of(o)) {
                passed_over.push(format!(
                    "licence {id} of leaf {} does not count: {} signed it first, and this one is signed by {}",
                    entry.leaf,
                    owners.join(" and "),
                    loaded.issuers.join(" and ")
                ));
                continue;
            }
            match older {
                Some(older) if older.licence.serial < loaded.licence.serial => *older = loaded,
                Some(_) => {}
                None => out.push(loaded),
            }
        }
        out.retain(|l| {
            let (id, serial) = (&l.licence.licence_id, l.licence.serial);
            let known = anchors.newest(id).unwrap_or(0);
            if serial < known {
                passed_over.push(format!(
                    "licence {id}, serial {serial}, does not count, for serial {known} was seen: load that one"
                ));
            }
            serial >= known
        });
        out.sort_by(|a, b| a.licence.licence_id.cmp(&b.licence.licence_id));
        Ok(Self {
            counting: out,
            passed_over,
        })
    }
}
