//! The rule sets at hand: those that this program carries, and signed ones that were loaded.
//!
//! Decides: which loaded rule sets count. Trusts the keys that this verifier's administrator trusts to sign rule sets, as far as they
//! were not revoked before a rule set was filed. Where a licence names one that is not at hand, it says why, and by it nothing can be met. Does not establish that
//! a rule is the law: each number names its source.

use super::anchors::Anchors;
use crate::cause::with_causes;
use crate::recorder::{Act, KeyRole};
use crate::store::{Store, StoreError};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use weighbridge::cbor;
use weighbridge::crypto::dsse;
use weighbridge::ledger::LeafKind;
use weighbridge::licence::Licence;
use weighbridge::rules::{PAYLOAD_TYPE, RuleBook, RuleSet, RuleSetError};

/// The rule sets at hand.
#[derive(Clone, Debug, Default)]
pub struct RuleSets {
    /// Those that count.
    pub book: RuleBook,
    /// Why loaded ones do not, in sentences.
    pub passed_over: Vec<String>,
    /// The same by their ids, as far as they name one, in words that follow `does not count`.
    lost: BTreeMap<String, String>,
}

/// What is read of a rule set that does not count.
#[derive(Deserialize)]
struct Named {
    id: String,
}

/// Why a loaded rule set does not count; where a revoked key signed it, that is why.
fn why_not(error: &RuleSetError, envelope: &str, anchors: &Anchors) -> String {
    let untrusted = matches!(error, RuleSetError::Untrusted(_));
    let revoked = || anchors.revoked_signer(KeyRole::Rules, PAYLOAD_TYPE, envelope);
    match revoked().filter(|_| untrusted) {
        Some(key) => format!(
            "it is signed with the key of {} alone, which was revoked: what was filed from {} on does not count",
            key.name, key.from
        ),
        None => with_causes(error),
    }
}

/// Whether an envelope holds a rule set rather than another document.
pub(crate) fn is_rule_set(envelope: &str) -> bool {
    dsse::peek(envelope).is_ok_and(|(payload_type, _)| payload_type == PAYLOAD_TYPE)
}

impl RuleSets {
    /// Those that this program carries, and no others.
    #[must_use]
    pub fn carried() -> Self {
        Self {
            book: RuleBook::carried(),
            ..Self::default()
        }
    }

    /// Reads them, in the order in which they were loaded: each after the one on which it rests.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn read(store: &dyn Store, anchors: &Anchors) -> Result<Self, StoreError> {
        let mut found = Self::carried();
        for entry in store.entries(LeafKind::Document).await? {
            let act = entry.body.and_then(|b| cbor::decode_strict::<Act>(&b).ok());
            let envelope = act
                .and_then(|a| a.document)
                .and_then(|d| String::from_utf8(d.0).ok());
            let Some(envelope) = envelope.filter(|e| is_rule_set(e)) else {
                continue;
            };
            let keys = anchors.keys_filed(KeyRole::Rules, entry.at);
            let opened = found.book.open(&envelope, &keys);
            if let Err(error) = opened.and_then(|read| found.book.add(read)) {
                found.pass_over(entry.leaf, &envelope, why_not(&error, &envelope, anchors));
            }
        }
        Ok(found)
    }

    fn pass_over(&mut self, leaf: u64, envelope: &str, why: String) {
        self.passed_over
            .push(format!("the rule set of leaf {leaf} does not count: {why}"));
        let payload = dsse::peek(envelope).ok().map(|(_, payload)| payload);
        let text = payload.and_then(|p| String::from_utf8(p).ok());
        if let Some(named) = text.and_then(|t| toml::from_str::<Named>(&t).ok()) {
            self.lost.insert(named.id, why);
        }
    }

    /// The rule set to judge a licence by, or what stands in for it where none of its id is at hand.
    #[must_use]
    pub fn of(&self, licence: &Licence) -> Arc<RuleSet> {
        let absent = || RuleSet::absent(&licence.ruleset_id, self.lacking(&licence.ruleset_id));
        licence.rules_in(&self.book).unwrap_or_else(|| Arc::new(absent()))
    }

    /// Why no rule set of an id is at hand, and what would settle it.
    fn lacking(&self, id: &str) -> String {
        match self.lost.get(id) {
            Some(why) => format!(
                "the rule set {id}, which the licence names, does not count: {why}; one that a trusted key signs would settle it"
            ),
            None => format!(
                "the rule set {id}, which the licence names, is neither carried here nor loaded; loading it would settle it"
            ),
        }
    }
}
