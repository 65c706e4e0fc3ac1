//! The book: the rule sets at hand, those that this build carries and signed ones that come to them.

use super::{RuleSet, read};
use crate::crypto::PublicKey;
use crate::crypto::dsse::{self, DsseError};
use crate::document::{Document, Mistakes};
use crate::id::Digest;
use std::sync::Arc;

/// The DSSE payload type of a rule set.
pub const PAYLOAD_TYPE: &str = "application/vnd.weighbridge.rule-set+toml";

/// The rule sets that this build carries, as their files stand, each after the one on which it rests.
pub(super) const CARRIED: &[&str] = &[
    include_str!("data/contract-only.toml"),
    include_str!("data/us-ear-enforced-2026-05.toml"),
    include_str!("data/us-cn-h200-2026.toml"),
    include_str!("data/us-ifr-2025.toml"),
    include_str!("data/us-dcveu-2024.toml"),
    include_str!("data/iaas-kyc-proposed.toml"),
    include_str!("data/chip-security-bill.toml"),
    include_str!("data/remote-access-bill.toml"),
    include_str!("data/eu-ai-act.toml"),
];

/// Why a rule set is not gone by.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuleSetError {
    /// No key that may sign it signed it.
    #[error("it is not signed by a key that is trusted to sign rule sets")]
    Untrusted(#[source] DsseError),
    /// It is not text.
    #[error("it is not UTF-8 text")]
    Text,
    /// It has mistakes.
    #[error("it has mistakes")]
    Mistakes(#[source] Mistakes),
    /// The version of another one, with other content.
    #[error(
        "it says that it is {id}, version {version}, and differs from the one at hand: a change needs a new version"
    )]
    Ambiguous {
        /// Its id.
        id: String,
        /// Its version.
        version: u64,
    },
}

/// The rule sets at hand. Of each id the newest version is the one to go by; older ones are found by their digest alone.
#[derive(Clone, Debug, Default)]
pub struct RuleBook(Vec<Arc<RuleSet>>);

impl RuleBook {
    /// Those that this build carries.
    #[must_use]
    pub fn carried() -> Self {
        let mut book = Self::default();
        for text in CARRIED {
            // A test reads each, so that none is left out of a build that passed its tests.
            if let Ok(read) = book.parse(text) {
                book.0.push(Arc::new(read));
            }
        }
        book
    }

    /// Reads a rule set, whose base must be at hand.
    ///
    /// # Errors
    /// Every mistake with its line. The text is untrusted.
    pub fn parse(&self, text: &str) -> Result<RuleSet, Mistakes> {
        let document = Document::open(text);
        let mut root = document.root();
        let rule_set = read::rule_set(&mut root, text, self);
        root.finish();
        document.finish(rule_set)
    }

    /// Opens a signed rule set: one of `keys` must have signed exactly its bytes.
    ///
    /// # Errors
    /// [`RuleSetError`]. The envelope is untrusted; the keys must come from whoever answers for this program.
    pub fn open(&self, envelope: &str, keys: &[PublicKey]) -> Result<RuleSet, RuleSetError> {
        let verified = dsse::verify(envelope, PAYLOAD_TYPE, keys).map_err(RuleSetError::Untrusted)?;
        let text = std::str::from_utf8(verified.payload()).map_err(|_| RuleSetError::Text)?;
        let read = self.parse(text).map_err(RuleSetError::Mistakes)?;
        Ok(RuleSet {
            signers: verified.signers().to_vec(),
            ..read
        })
    }

    /// Puts a rule set beside the others. One that stands there already gets its signers.
    ///
    /// # Errors
    /// [`RuleSetError::Ambiguous`]; then the book stays as it was.
    pub fn add(&mut self, new: RuleSet) -> Result<(), RuleSetError> {
        let (id, version) = (&new.id, new.version);
        let same = |r: &&mut Arc<RuleSet>| r.id == *id && r.version == version;
        match self.0.iter_mut().find(same) {
            None => self.0.push(Arc::new(new)),
            Some(known) if known.digest == new.digest => {
                let known = Arc::make_mut(known);
                known.signers.extend(new.signers);
                known.signers.sort();
                known.signers.dedup();
            }
            Some(_) => {
                return Err(RuleSetError::Ambiguous { id: new.id, version });
            }
        }
        Ok(())
    }

    /// All, in the order in which they came.
    pub fn all(&self) -> impl Iterator<Item = &Arc<RuleSet>> {
        self.0.iter()
    }

    /// Those of an id, the newest first.
    pub fn of(&self, id: &str) -> Vec<&Arc<RuleSet>> {
        let mut found: Vec<_> = self.0.iter().filter(|r| r.id == id).collect();
        found.sort_by_key(|r| std::cmp::Reverse(r.version));
        found
    }

    /// The one to go by of an id.
    #[must_use]
    pub fn newest(&self, id: &str) -> Option<&Arc<RuleSet>> {
        self.of(id).into_iter().next()
    }

    /// One version of an id.
    #[must_use]
    pub fn of_version(&self, id: &str, version: u64) -> Option<&Arc<RuleSet>> {
        self.0.iter().find(|r| r.id == id && r.version == version)
    }

    /// The one with this SHA-256.
    #[must_use]
    pub fn by_digest(&self, digest: &Digest) -> Option<&Arc<RuleSet>> {
        self.0.iter().find(|r| r.digest == *digest)
    }

    /// The ids, each once, in the order in which they came.
    #[must_use]
    pub fn ids(&self) -> Vec<&str> {
        let mut ids: Vec<&str> = Vec::new();
        for set in &self.0 {
            if !ids.contains(&set.id.as_str()) {
                ids.push(&set.id);
            }
        }
        ids
    }
}
