//! A site that is followed from report to report.
//!
//! Decides: whether what is known of a site can go on with the records of the nodes that reported, and which of its findings came to something else since they were
//! told. Where anything but those records changed, it cannot, and the site must be looked at anew. What the conditions come to is the core's part.

use crate::fleet::renew;
use crate::store::{NodeRow, Store, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weighbridge::accelerator::Catalogue;
use weighbridge::appraisal::{NodeRecord, SiteFacts};
use weighbridge::conditions::{DaysAsked, Evaluation, FindingAtSite};
use weighbridge::id::{Digest, NodeId};
use weighbridge::licence::Licence;
use weighbridge::rules::RuleSet;
use weighbridge::time::UnixSeconds;

/// A licence with the rule set that applies under it.
pub(super) type Ruled = (Arc<Licence>, Arc<RuleSet>);

/// The days that these licences ask for.
pub(super) fn days_asked(licences: &[Ruled], catalogue: &Catalogue, now: UnixSeconds) -> DaysAsked {
    let each = licences
        .iter()
        .map(|(licence, rules)| DaysAsked::of(licence, rules, catalogue, now));
    each.reduce(DaysAsked::and).unwrap_or_else(DaysAsked::all)
}

/// A site as it was looked at last, with what reports have changed since.
pub(crate) struct Site {
    asked: DaysAsked,
    catalogue: Arc<Catalogue>,
    licences: Vec<Ruled>,
    facts: SiteFacts,
    evaluations: Vec<Evaluation>,
    /// What each finding came to when it was told last, by licence and condition.
    told: BTreeMap<(String, String), Digest>,
}

impl Site {
    /// Evaluates everything. `facts` hold the days that are `asked` for.
    pub(super) fn look(
        licences: Vec<Ruled>,
        catalogue: Arc<Catalogue>,
        (facts, asked): (SiteFacts, DaysAsked),
        now: UnixSeconds,
    ) -> Self {
        let evaluated = |(licence, rules): &Ruled| {
            let (licence, rules) = (Arc::clone(licence), Arc::clone(rules));
            Evaluation::new(licence, rules, Arc::clone(&catalogue), &facts, now)
        };
        Self {
            evaluations: licences.iter().map(evaluated).collect(),
            asked,
            catalogue,
            licences,
            facts,
            told: BTreeMap::new(),
        }
    }

    /// Reads the records of nodes again, and gives back what they were; `None` where that is not all that changed, and then this site is of no more use.
    ///
    /// # Errors
    /// [`StoreError`]; then likewise.
    pub(super) async fn renew(
        &mut self,
        store: &dyn Store,
        (rows, nodes): (&[NodeRow], &BTreeSet<NodeId>),
        now: UnixSeconds,
    ) -> Result<Option<Vec<NodeRecord>>, StoreError> {
        // Other days count at midnight.
        if days_asked(&self.licences, &self.catalogue, now) != self.asked {
            return Ok(None);
        }
        renew(store, (rows, nodes), &mut self.facts, &self.asked).await
    }

    /// Evaluates what the reports can have changed that made the records of some nodes another than `before`.
    pub(super) fn report(&mut self, before: &[NodeRecord], now: UnixSeconds) {
        for evaluation in &mut self.evaluations {
            let _: usize = evaluation.report(&self.facts, before, now);
        }
    }

    /// The findings that came to something else since they were told last: all at first.
    pub(super) fn news(&mut self, now: UnixSeconds) -> Vec<FindingAtSite> {
        let mut news = Vec::new();
        for ((licence, _), evaluation) in self.licences.iter().zip(&self.evaluations) {
            for finding in evaluation.findings() {
                let place = (licence.licence_id.clone(), finding.condition.clone());
                let gist = finding.gist();
                if self.told.insert(place, gist) != Some(gist) {
                    news.push(FindingAtSite {
                        site: self.facts.site.clone(),
                        licence: licence.licence_id.clone(),
                        serial: licence.serial,
                        at: now,
                        finding: finding.clone(),
                    });
                }
            }
        }
        news
    }
}
