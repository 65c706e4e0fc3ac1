//! The statements on file.
//!
//! Decides: which of them some licence may hear, by the keys that signed them. Trusts the licences that count here for whose keys those are. A
//! statement that nobody hears stays in the ledger and says nothing; conditions name it where they miss one.

use super::{Anchors, LoadedLicence};
use crate::cause::with_causes;
use crate::recorder::Act;
use crate::store::{HeldEntry, Store, StoreError};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use weighbridge::appraisal::HeardStatement;
use weighbridge::cbor;
use weighbridge::crypto::{self, PublicKey, Sha256, dsse};
use weighbridge::id::Digest;
use weighbridge::ledger::LeafKind;
use weighbridge::licence::Licence;
use weighbridge::rules::RuleBook;
use weighbridge::statement::{PAYLOAD_TYPE, Signed, Statement, StatementError};
use weighbridge::time::UnixSeconds;

/// How many bytes of documents the outcomes that are kept may stand for. Those beyond are looked at anew each time.
const MOST_KEPT: usize = 64 << 20;

/// The statements on file.
#[derive(Clone, Debug, Default)]
pub struct Statements {
    /// Those that some licence may hear, in the order in which they were filed, and those that nobody signed whom one names.
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

/// Why none of these licences would hear a statement about any of its sites if it were filed now, if so; this follows the statement's name in a sentence.
pub(crate) fn unheard<'a>(
    licences: impl Iterator<Item = &'a Licence>,
    (anchors, book): (&Anchors, &RuleBook),
    signed: &Signed,
    now: UnixSeconds,
) -> Option<String> {
    let (statement, standing) = (&signed.statement, anchors.standing());
    // A revocation counts from the second after it: nothing more is taken at once.
    let (revoked, live): (Vec<Digest>, Vec<Digest>) = signed
        .signers
        .iter()
        .partition(|k| standing.revocation(k).is_some());
    if let (Some(key), true) = (revoked.first(), live.is_empty()) {
        let from = standing.revocation(key).map_or(now, |r| r.from);
        return standing.silenced(key, now.max(from));
    }
    let mut why = None;
    for licence in licences.filter(|l| statement.header.concerns_licence(&l.licence_id)) {
        let filed = (now, clock_tolerance(licence, book));
        for site in licence.sites.iter().filter(|s| statement.header.concerns(&s.id)) {
            match licence.hears((statement, &live), filed, &site.id, &standing) {
                Ok(_) => return None,
                Err(reason) => why = why.or(Some(reason)),
            }
        }
    }
    Some(why.unwrap_or_else(|| "concerns no site of a licence that is loaded here".to_owned()))
}

/// By how many seconds clocks may differ under a licence; by none, where neither it nor its rule set says.
fn clock_tolerance(licence: &Licence, book: &RuleBook) -> i64 {
    let own = licence.limits.clock_tolerance;
    let of_rules = || licence.rules_in(book)?.limits.clock_tolerance;
    own.or_else(of_rules).unwrap_or(0)
}

/// Whether an envelope holds a statement rather than another document.
pub(crate) fn is_statement(envelope: &str) -> bool {
    dsse::peek(envelope).is_ok_and(|(payload_type, _)| payload_type == PAYLOAD_TYPE)
}

/// What became of a document of the ledger.
#[derive(Clone, Debug)]
enum Opened {
    /// It is no statement.
    Other,
    /// Somebody signed it whom a licence names.
    Signed(Arc<HeardStatement>),
    /// Nobody did, or it is none that can be used, and why.
    Unheard(Option<Arc<HeardStatement>>, String),
}

/// What became of the documents at the last look, so that a signature is verified once while the verifier serves. It holds what the last look saw and no
/// more, within bounds.
#[derive(Debug, Default)]
pub(crate) struct Looked(Mutex<HashMap<(Digest, Digest), Opened>>);

impl Looked {
    fn take(&self) -> HashMap<(Digest, Digest), Opened> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn keep(&self, seen: HashMap<(Digest, Digest), Opened>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }
}

impl Opened {
    fn of(entry: &HeldEntry, body: &[u8], keys: &[PublicKey]) -> Self {
        let act = cbor::decode_strict::<Act>(body).ok();
        let envelope = act
            .and_then(|a| a.document)
            .and_then(|d| String::from_utf8(d.0).ok());
        let Some(envelope) = envelope.filter(|e| is_statement(e)) else {
            return Self::Other;
        };
        let heard = |statement, signers| {
            Arc::new(HeardStatement {
                statement,
                signers,
                filed: entry.at,
            })
        };
        match Statement::open(&envelope, keys) {
            Ok(signed) => Self::Signed(heard(signed.statement, signed.signers)),
            Err(error) => {
                let nobody = matches!(
                    error,
                    StatementError::Envelope(dsse::DsseError::NoTrustedSignature { .. })
                );
                let said = dsse::peek(&envelope).ok().filter(|_| nobody);
                let said = said.and_then(|(_, payload)| Statement::parse(&payload).ok());
                Self::Unheard(said.map(|s| heard(s, Vec::new())), with_causes(&error))
            }
        }
    }
}

impl Statements {
    /// Reads them, as far as these licences hear them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn read(store: &dyn Store, licences: &[LoadedLicence]) -> Result<Self, StoreError> {
        Self::read_again(store, licences, &Looked::default()).await
    }

    /// The same, by one who looks often: what was opened before under the same keys is not opened again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn read_again(
        store: &dyn Store,
        licences: &[LoadedLicence],
        looked: &Looked,
    ) -> Result<Self, StoreError> {
        let keys = signers(licences.iter().map(|l| &l.licence));
        let under = set_of(&keys);
        let (mut found, mut before) = (Self::default(), looked.take());
        let (mut seen, mut kept) = (HashMap::new(), 0usize);
        for entry in store.entries(LeafKind::Document).await? {
            let Some(body) = &entry.body else {
                continue;
            };
            let place = (crypto::sha256(body), under);
            let opened = before
                .remove(&place)
                .unwrap_or_else(|| Opened::of(&entry, body, &keys));
            match &opened {
                Opened::Other => {}
                Opened::Signed(heard) => found.heard.push(Arc::clone(heard)),
                Opened::Unheard(said, why) => {
                    found.heard.extend(said.iter().map(Arc::clone));
                    found.passed_over.push(format!(
                        "the statement of leaf {} is not heard: {why}",
                        entry.leaf
                    ));
                }
            }
            kept = kept.saturating_add(body.len());
            if kept <= MOST_KEPT {
                seen.insert(place, opened);
            }
        }
        looked.keep(seen);
        Ok(found)
    }

    /// Those that may concern a site.
    #[must_use]
    pub fn about(&self, site: &str) -> Vec<Arc<HeardStatement>> {
        self.heard.iter().filter(|s| s.concerns(site)).cloned().collect()
    }
}

/// A digest of a set of keys.
fn set_of(keys: &[PublicKey]) -> Digest {
    let mut hasher = Sha256::default();
    for key in keys {
        hasher.update(&key.id().0);
    }
    hasher.finish()
}
