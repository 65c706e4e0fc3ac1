//! The rule sets at hand: those that this program carries, and signed ones that were loaded.
//!
//! Decides: which loaded rule sets count. Trusts the keys that this verifier's administrator trusts to sign rule sets, as far as they
//! were not revoked before a rule set was filed. Does not establish that
//! a rule is the law: each number names its source.

use super::anchors::Anchors;
use crate::cause::with_causes;
use crate::recorder::{Act, KeyRole};
use crate::store::{Store, StoreError};
use weighbridge::cbor;
use weighbridge::crypto::dsse;
use weighbridge::ledger::LeafKind;
use weighbridge::rules::{PAYLOAD_TYPE, RuleBook};

/// The rule sets at hand.
#[derive(Clone, Debug, Default)]
pub struct RuleSets {
    /// Those that count.
    pub book: RuleBook,
    /// Why loaded ones do not, in sentences.
    pub passed_over: Vec<String>,
}

/// Whether an envelope holds a rule set rather than another document.
pub(crate) fn is_rule_set(envelope: &str) -> bool {
    dsse::peek(envelope).is_ok_and(|(payload_type, _)| payload_type == PAYLOAD_TYPE)
}

impl RuleSets {
    /// Reads them, in the order in which they were loaded: each after the one on which it rests.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn read(store: &dyn Store, anchors: &Anchors) -> Result<Self, StoreError> {
        let mut found = Self {
            book: RuleBook::carried(),
            passed_over: Vec::new(),
        };
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
                found.passed_over.push(format!(
                    "the rule set of leaf {} does not count: {}",
                    entry.leaf,
                    with_causes(&error)
                ));
            }
        }
        Ok(found)
    }
}
