//! The statements on file.
//!
//! Decides: which of them some licence hears, by the keys that signed them. Trusts the licences that count here for whose keys those are. A
//! statement that nobody hears stays in the ledger and says nothing.

use super::LoadedLicence;
use crate::cause::with_causes;
use crate::recorder::Act;
use crate::store::{Store, StoreError};
use std::collections::BTreeMap;
use std::sync::Arc;
use weighbridge::appraisal::HeardStatement;
use weighbridge::cbor;
use weighbridge::crypto::PublicKey;
use weighbridge::crypto::dsse;
use weighbridge::id::Digest;
use weighbridge::ledger::LeafKind;
use weighbridge::licence::Licence;
use weighbridge::statement::{PAYLOAD_TYPE, Signed, Statement};

/// The statements on file.
#[derive(Clone, Debug, Default)]
pub struct Statements {
    /// Those that some licence hears, in the order in which they were filed.
    pub heard: Vec<Arc<HeardStatement>>,
    /// Why others are not, in sentences.
    pub passed_over: Vec<String>,
}

/// The keys of all whom these licences hear, each once.
pub(crate) fn signers<'a>(licences: impl Iterator<Item = &'a Licence>) -> Vec<PublicKey> {
    let keys = licences.flat_map(|l| &l.signers).map(|s| (s.key.id(), &s.key));
    let once: BTreeMap<Digest, &PublicKey> = keys.collect();
    once.into_values().cloned().collect()
}

/// Why none of these licences hears a statement about any of its sites, if so; this follows the statement's name in a sentence.
pub(crate) fn unheard<'a>(licences: impl Iterator<Item = &'a Licence>, signed: &Signed) -> Option<String> {
    let header = &signed.statement.header;
    let mut why = None;
    for licence in licences.filter(|l| header.concerns_licence(&l.licence_id)) {
        for site in licence.sites.iter().filter(|s| header.concerns(&s.id)) {
            match licence.hears(header, &signed.signers, &site.id) {
                Ok(_) => return None,
                Err(reason) => why = why.or(Some(reason)),
            }
        }
    }
    Some(why.unwrap_or_else(|| "concerns no site of a licence that is loaded here".to_owned()))
}

/// Whether an envelope holds a statement rather than another document.
pub(crate) fn is_statement(envelope: &str) -> bool {
    dsse::peek(envelope).is_ok_and(|(payload_type, _)| payload_type == PAYLOAD_TYPE)
}

impl Statements {
    /// Reads them, as far as these licences hear them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn read(store: &dyn Store, licences: &[LoadedLicence]) -> Result<Self, StoreError> {
        let keys = signers(licences.iter().map(|l| &l.licence));
        let mut found = Self::default();
        for entry in store.entries(LeafKind::Document).await? {
            let act = entry.body.and_then(|b| cbor::decode_strict::<Act>(&b).ok());
            let envelope = act
                .and_then(|a| a.document)
                .and_then(|d| String::from_utf8(d.0).ok());
            let Some(envelope) = envelope.filter(|e| is_statement(e)) else {
                continue;
            };
            match Statement::open(&envelope, &keys) {
                Ok(signed) => found.heard.push(Arc::new(HeardStatement {
                    statement: signed.statement,
                    signers: signed.signers,
                    filed: entry.at,
                })),
                Err(error) => found.passed_over.push(format!(
                    "the statement of leaf {} is not heard: {}",
                    entry.leaf,
                    with_causes(&error)
                )),
            }
        }
        Ok(found)
    }

    /// Those that may concern a site.
    #[must_use]
    pub fn about(&self, site: &str) -> Vec<Arc<HeardStatement>> {
        self.heard.iter().filter(|s| s.concerns(site)).cloned().collect()
    }
}
