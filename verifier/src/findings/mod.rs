//! The findings of each site, as leaves of the ledger.
//!
//! Decides: when a finding has changed: when its outcome, its limit or its subjects have. Each change is one leaf, whose body is the
//! finding's encoding, and how the condition stood becomes durable with it. Works beside the intake: one site at a time, at its own
//! pace, so that no report waits for it. It looks at everything once in a while, and after reports at what they can have changed, as long as
//! what it knows of a site is whole; all in one task, of the one process that holds the ledger, so that no finding is recorded over a newer one. Does not establish
//! when something happened between two looks: a finding stands since it was first found.

mod reported;
mod site;

pub(crate) use reported::Reported;

use self::site::{Ruled, Site, days_asked};
use crate::catalogue::{self, CatalogueInUseError};
use crate::cause::with_causes;
use crate::clock::Clock;
use crate::config::Config;
use crate::fleet::{
    Anchors, AnchorsError, Fleet, Licences, LoadError, LoadedLicence, Looked, RuleSets, Statements,
};
use crate::recorder::{NewLeaf, RecordError, Recorder};
use crate::store::{Change, FindingRow, NodeRow, Store, StoreError};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weighbridge::cbor;
use weighbridge::conditions::FindingAtSite;
use weighbridge::crypto;
use weighbridge::ledger::LeafKind;

/// How long further acts are waited for before their effect is looked at. A revocation counts from the next second on.
const ACTS: Duration = Duration::from_secs(2);
/// How long further reports are waited for before what they can have changed is looked at.
const REPORTS: Duration = Duration::from_secs(1);
/// Nodes of which reports are looked at before the next look at everything. What is known of a followed site lies in memory, as in a look at everything: for a
/// node of eight devices 3 kB for each day that findings go back.
const MOST_NODES: usize = 1_024;
/// How long nothing is done about reports after something was, in times that it took: so it takes a twentieth of the time at most.
const REST: u32 = 19;

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
    store: Arc<dyn Store>,
    pub(crate) recorder: Recorder,
    clock: Arc<dyn Clock>,
    config: Config,
    reported: Arc<Reported>,
    /// What became of the statements at the last look.
    looked: Looked,
    /// Whether reports are looked at before the next look at everything: not where there are too many nodes.
    follows: bool,
    /// What goes on from report to report: a site whose nodes are all there are, as it was left. Absent, all is looked at.
    pub(crate) followed: Option<(Vec<NodeRow>, Site)>,
}

impl Findings {
    /// Has looked at nothing yet.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        recorder: Recorder,
        clock: Arc<dyn Clock>,
        config: Config,
        reported: Arc<Reported>,
    ) -> Self {
        Self {
            store,
            recorder,
            clock,
            config,
            reported,
            looked: Looked::default(),
            follows: false,
            followed: None,
        }
    }

    /// Looks at every site now, whenever `wake` is told, and after each `period`, and in between at what reports can have changed, until `stop`. What was
    /// found and not yet recorded is found again after the next start.
    pub(crate) async fn run(mut self, period: Duration, wake: Arc<Notify>, stop: CancellationToken) {
        let keeping = async {
            let mut rest = Duration::ZERO;
            loop {
                say(self.look().await);
                // An act in between is looked at when this pause begins; else the pause is its whole length.
                let mut pause = std::pin::pin!(tokio::time::sleep(period));
                loop {
                    tokio::select! {
                        biased;
                        () = wake.notified() => {
                            tokio::time::sleep(ACTS).await;
                            break;
                        }
                        () = &mut pause => break,
                        () = self.reports(rest), if self.follows => {
                            let begun = Instant::now();
                            say(self.follow().await);
                            rest = begun.elapsed().saturating_mul(REST);
                        }
                    }
                }
            }
        };
        let _: Option<()> = stop.run_until_cancelled(keeping).await;
    }

    /// Waits for reports, and for others that come with them.
    async fn reports(&self, rest: Duration) {
        self.reported.waited_for().await;
        tokio::time::sleep(rest.max(REPORTS)).await;
    }

    /// Evaluates what the reports since the last look can have changed, and records what did; everything, where that cannot be told apart.
    ///
    /// # Errors
    /// [`FindingsError`].
    pub(crate) async fn follow(&mut self) -> Result<(), FindingsError> {
        let Some((rows, mut site)) = self.followed.take() else {
            return self.look().await;
        };
        let (nodes, now) = (self.reported.take(), self.clock.now());
        let Some(before) = site.renew(&*self.store, (&rows, &nodes), now).await? else {
            // In its turn: a node that makes this needed with each report delays nothing else.
            nodes.into_iter().for_each(|node| self.reported.push(node));
            return Ok(());
        };
        let now = self.clock.now();
        let evaluated = tokio::task::spawn_blocking(move || {
            site.report(&before, now);
            (site.news(now), site)
        });
        let (news, site) = evaluated.await?;
        self.record(news).await?;
        self.followed = Some((rows, site));
        Ok(())
    }

    /// Evaluates each licence at each of its sites, and records what changed.
    ///
    /// # Errors
    /// [`FindingsError`].
    pub(crate) async fn look(&mut self) -> Result<(), FindingsError> {
        (self.followed, self.follows) = (None, false);
        // What they sent is seen now.
        drop(self.reported.take());
        let catalogue = Arc::new(catalogue::in_use(&self.config)?);
        let anchors = Anchors::read(&self.config.state_dir)?;
        let mut asked: BTreeMap<String, Vec<Ruled>> = BTreeMap::new();
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
        let (is_one, mut followed) = (asked.len() == 1, None);
        for (site, licences) in asked {
            let days = days_asked(&licences, &catalogue, self.clock.now());
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
            let evaluated = tokio::task::spawn_blocking(move || {
                let mut site = Site::look(licences, catalogue, (facts, days), now);
                (site.news(now), site)
            });
            let (found, evaluated) = evaluated.await?;
            self.record(found).await?;
            let rows = fleet.alone(&site).filter(|_| is_one);
            followed = rows.map(|rows| (rows.to_vec(), evaluated));
        }
        self.follows = fleet.count() <= MOST_NODES;
        self.followed = followed.filter(|_| self.follows);
        Ok(())
    }

    async fn record(&self, found: Vec<FindingAtSite>) -> Result<(), FindingsError> {
        if found.is_empty() {
            return Ok(());
        }
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

fn say(looked: Result<(), FindingsError>) {
    if let Err(error) = looked {
        tracing::error!(error = %with_causes(&error), "the findings of the sites were not recorded");
    }
}
