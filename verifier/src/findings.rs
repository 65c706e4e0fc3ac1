//! The findings of each site, as leaves of the ledger.
//!
//! Decides: when a finding has changed: when its outcome, its limit or its subjects have. Each change is one leaf, whose body is the
//! finding's encoding, and how the condition stood becomes durable with it. Works beside the intake: one site at a time, at its own
//! pace, so that no report waits for it or costs more. Does not establish when something happened between two looks: a finding stands
//! since it was first found.

use crate::catalogue::{self, CatalogueInUseError};
use crate::cause::with_causes;
use crate::clock::Clock;
use crate::config::Config;
use crate::fleet::{
    Anchors, AnchorsError, Fleet, Licences, LoadError, LoadedLicence, Looked, RuleSets, Statements,
};
use crate::recorder::{NewLeaf, RecordError, Recorder};
use crate::store::{Change, FindingRow, Store, StoreError};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use weighbridge::cbor;
use weighbridge::conditions::{DaysAsked, FindingAtSite, evaluate};
use weighbridge::crypto;
use weighbridge::ledger::LeafKind;

/// How long further acts are waited for before their effect is looked at. A revocation counts from the next second on.
const ACTS: Duration = Duration::from_secs(2);

/// Why the findings were not looked at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FindingsError {
    /// The anchors cannot be used.
    #[error(transparent)]
    Anchors(#[from] AnchorsError),
    /// The licences cannot be read.
    #[error(transparent)]
    Licence(#[from] LoadError),
    /// The store failed.
    #[error("the facts of a site cannot be read")]
    Store(#[from] StoreError),
    /// The ledger did not take a finding.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// There is no catalogue to go by.
    #[error(transparent)]
    Catalogue(#[from] CatalogueInUseError),
    /// The evaluation did not end.
    #[error("an evaluation ended in an odd way")]
    Evaluation(#[from] tokio::task::JoinError),
}

/// What looks at the findings of each site and records those that changed.
pub(crate) struct Findings {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) recorder: Recorder,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) config: Config,
    /// What became of the statements at the last look.
    pub(crate) looked: Looked,
}

impl Findings {
    /// Looks at every site now, whenever `wake` is told, and after each `period`, until `stop`. What was found and not yet recorded is
    /// found again after the next start.
    pub(crate) async fn run(self, period: Duration, wake: Arc<Notify>, stop: CancellationToken) {
        let keeping = async {
            loop {
                if let Err(error) = self.look().await {
                    tracing::error!(error = %with_causes(&error), "the findings of the sites were not recorded");
                }
                // An act in between is looked at when this pause begins; else the pause is its whole length.
                if tokio::time::timeout(period, wake.notified()).await.is_ok() {
                    tokio::time::sleep(ACTS).await;
                }
            }
        };
        let _: Option<()> = stop.run_until_cancelled(keeping).await;
    }

    /// Evaluates each licence at each of its sites, and records what changed.
    ///
    /// # Errors
    /// [`FindingsError`].
    pub(crate) async fn look(&self) -> Result<(), FindingsError> {
        let catalogue = Arc::new(catalogue::in_use(&self.config)?);
        let anchors = Anchors::read(&self.config.state_dir)?;
        let mut asked: BTreeMap<String, Vec<_>> = BTreeMap::new();
        let all = Licences::read(&*self.store, &anchors).await?;
        let statements = Statements::read_again(&*self.store, &all.counting, &self.looked).await?;
        let standing = Arc::new(anchors.standing());
        let former = all.former();
        let issuers: BTreeMap<_, _> = all.counting.iter().map(LoadedLicence::signed_by).collect();
        let rule_sets = RuleSets::read(&*self.store, &anchors).await?;
        let mut counting = Vec::new();
        for loaded in all.counting {
            let licence = Arc::new(loaded.licence);
            counting.push(Arc::clone(&licence));
            let rules = rule_sets.of(&licence);
            for site in &licence.sites {
                let both = (Arc::clone(&licence), Arc::clone(&rules));
                asked.entry(site.id.clone()).or_default().push(both);
            }
        }
        if asked.is_empty() {
            return Ok(());
        }
        let fleet = Fleet::read(&*self.store).await?;
        for (site, licences) in asked {
            let soon = self.clock.now();
            let days = licences
                .iter()
                .map(|(licence, rules)| DaysAsked::of(licence, rules, &catalogue, soon));
            let days = days.reduce(DaysAsked::and).unwrap_or_else(DaysAsked::all);
            let mut facts = fleet.facts(&*self.store, &site, &days).await?;
            let now = self.clock.now();
            facts.licences = licences.iter().map(|(licence, _)| Arc::clone(licence)).collect();
            facts.former = former.iter().filter(|f| f.site == site).cloned().collect();
            facts.statements = statements.about(&site);
            facts.issuers = issuers.clone();
            facts.estate.licences.clone_from(&counting);
            facts.standing = Arc::clone(&standing);
            let catalogue = Arc::clone(&catalogue);
            // A large site takes long enough to be felt by whoever waits for a receipt on this thread.
            let found = tokio::task::spawn_blocking(move || {
                let mut found = Vec::new();
                for (licence, rules) in licences {
                    for finding in evaluate(&licence, &rules, &catalogue, &facts, now) {
                        found.push(FindingAtSite {
                            site: site.clone(),
                            licence: licence.licence_id.clone(),
                            serial: licence.serial,
                            at: now,
                            finding,
                        });
                    }
                }
                found
            });
            self.record(found.await?).await?;
        }
        Ok(())
    }

    async fn record(&self, found: Vec<FindingAtSite>) -> Result<(), FindingsError> {
        let rows = self.store.findings().await?;
        let stood: HashMap<_, _> = rows
            .iter()
            .map(|r| ((r.site.as_str(), r.licence.as_str(), r.condition.as_str()), r))
            .collect();
        for new in found {
            let place = (
                new.site.as_str(),
                new.licence.as_str(),
                new.finding.condition.as_str(),
            );
            let (before, outcome, gist) = (stood.get(&place), new.finding.outcome, new.finding.gist());
            if before.is_some_and(|b| b.gist == gist) {
                continue;
            }
            let body = cbor::encode(&new);
            let digest = crypto::sha256(&body);
            let row = FindingRow {
                outcome,
                gist,
                digest,
                since: before
                    .filter(|b| b.outcome == outcome)
                    .map_or(new.at, |b| b.since),
                site: new.site,
                licence: new.licence,
                condition: new.finding.condition,
            };
            let leaf = NewLeaf {
                kind: LeafKind::Finding,
                digest,
                node: None,
                place: None,
                continuity: None,
                round: None,
                given: None,
                at: new.at,
                body,
            };
            self.recorder
                .append(leaf, vec![Change::Finding(row)], None)
                .await?;
        }
        Ok(())
    }
}
