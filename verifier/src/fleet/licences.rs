//! The licences that hold here.
//!
//! Decides: which of the loaded licences count. Trusts the anchors: the issuers' keys, the newest serial seen of each licence and whose it is come
//! from there and never from a licence. What other issuers sign under the same text joins their signatures to it. A licence whose issuer's key was revoked before it was filed, that a newer serial replaces, or whose id belongs
//! to another issuer, does not count; of one that was replaced only the devices are kept that the newest no longer lists.

use super::anchors::{Anchors, AnchorsError};
use super::rules::is_rule_set;
use super::statements::is_statement;
use crate::cause::with_causes;
use crate::recorder::Act;
use crate::store::{Store, StoreError};
use std::collections::BTreeSet;
use std::path::Path;
use weighbridge::cbor;
use weighbridge::crypto::dsse::DsseError;
use weighbridge::id::Digest;
use weighbridge::ledger::LeafKind;
use weighbridge::licence::{FormerDevice, Licence};
use weighbridge::time::UnixSeconds;

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
    /// Its issuer's key was revoked.
    #[error(
        "the licence is signed with the key of {name} alone, which was revoked: what was filed from {from} on does not count; have it signed with a key that is trusted"
    )]
    Revoked {
        /// Whose key.
        name: String,
        /// From when.
        from: UnixSeconds,
    },
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
    /// The identities of the keys with which they signed it.
    pub keys: Vec<Digest>,
    /// When it was loaded.
    pub loaded_at: UnixSeconds,
    /// Devices that older serials on file listed and it does not; none until these are read too ([`Licences::read`]).
    pub former: Vec<FormerDevice>,
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
    /// Opens a signed licence that was filed at a time: an issuer who was trusted then must have signed exactly its bytes.
    ///
    /// # Errors
    /// [`LoadError`]. The text is untrusted.
    pub fn open(envelope: &str, anchors: &Anchors, loaded_at: UnixSeconds) -> Result<Self, LoadError> {
        let (text, keys) = anchors.verify_filed(envelope, loaded_at)?;
        let issuers = keys.iter().filter_map(|k| anchors.name_of(k));
        Ok(Self {
            licence: Licence::parse(&text).map_err(LoadError::Mistakes)?,
            issuers: issuers.map(str::to_owned).collect(),
            keys,
            loaded_at,
            former: Vec::new(),
        })
    }

    /// How many issuers signed it: one is counted once, whatever keys it has.
    #[must_use]
    pub fn signed_by(&self) -> (Digest, u32) {
        let names: BTreeSet<&String> = self.issuers.iter().collect();
        (
            self.licence.digest,
            u32::try_from(names.len()).unwrap_or(u32::MAX),
        )
    }

    /// Whether it is the same text, and another signature of this one is new to it.
    #[must_use]
    pub fn gains_from(&self, other: &Self) -> bool {
        self.is_text_of(other) && other.keys.iter().any(|k| !self.keys.contains(k))
    }

    fn is_text_of(&self, other: &Self) -> bool {
        self.licence.digest == other.licence.digest
    }

    /// Takes over the signatures under the same text.
    fn join(&mut self, other: &Self) {
        let new = |k: &&Digest| !self.keys.contains(k);
        let keys: Vec<Digest> = other.keys.iter().filter(new).copied().collect();
        self.keys.extend(keys);
        let new = |i: &&String| !self.issuers.contains(i);
        let issuers: Vec<String> = other.issuers.iter().filter(new).cloned().collect();
        self.issuers.extend(issuers);
    }

    /// Whether all of these issuers signed it.
    #[must_use]
    pub fn is_of(&self, issuers: &[String]) -> bool {
        issuers.iter().all(|i| self.issuers.contains(i))
    }
}

impl Licences {
    /// Devices that older serials of those that count listed, and the newest do not list.
    #[must_use]
    pub fn former(&self) -> Vec<FormerDevice> {
        self.counting.iter().flat_map(|l| &l.former).cloned().collect()
    }

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
        let mut replaced: Vec<Licence> = Vec::new();
        for entry in store.entries(LeafKind::Document).await? {
            let act = entry.body.and_then(|b| cbor::decode_strict::<Act>(&b).ok());
            let Some(envelope) = act
                .and_then(|a| a.document)
                .and_then(|d| String::from_utf8(d.0).ok())
            else {
                continue;
            };
            if is_statement(&envelope) || is_rule_set(&envelope) {
                continue;
            }
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
            // Whoever signs the text that counts replaces nothing.
            if let Some(same) = older.filter(|l| l.is_text_of(&loaded)) {
                same.join(&loaded);
                continue;
            }
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
                Some(older) if older.licence.serial < loaded.licence.serial => {
                    replaced.push(std::mem::replace(older, loaded).licence);
                }
                Some(_) => replaced.push(loaded.licence),
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
        for loaded in &mut out {
            loaded.former = loaded.licence.former(&replaced);
        }
        out.sort_by(|a, b| a.licence.licence_id.cmp(&b.licence.licence_id));
        Ok(Self {
            counting: out,
            passed_over,
        })
    }
}
