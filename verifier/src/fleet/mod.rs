//! What holds for the nodes of a site: the licences that cover it, their terms, and the facts that its nodes' reports add up to.

mod anchors;
mod around;
mod draws;
mod facts;
mod licences;
mod rules;
mod site;
mod statements;

pub use anchors::{Anchors, AnchorsError, Issuer};
pub(crate) use around::Around;
pub(crate) use facts::{Copy, Kept, rounds_of};
pub use licences::{Licences, LoadError, LoadedLicence};
pub use rules::RuleSets;
pub use site::sites;
pub(crate) use site::{Fleet, name_of, renew};
pub use statements::Statements;
pub(crate) use statements::{Looked, signers, unheard};

use crate::store::Store;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError, RwLock};
use weighbridge::id::Challenge;
use weighbridge::licence::Licence;
use weighbridge::protocol::Instructions;
use weighbridge::report::PROFILES;
use weighbridge::time::UnixSeconds;

/// The terms of reporting at one site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiteTerms {
    /// Length of a report, in seconds.
    pub report_seconds: u32,
    /// Whether this is a trial.
    pub trial: bool,
    /// Days for which nodes keep their windows.
    pub windows_kept_days: u32,
}

impl Default for SiteTerms {
    /// What holds where no licence does: reports of 300 s, windows kept for 30 days.
    fn default() -> Self {
        Self {
            report_seconds: 300,
            trial: false,
            windows_kept_days: 30,
        }
    }
}

impl SiteTerms {
    fn of(licence: &Licence) -> Self {
        Self {
            report_seconds: licence.report_seconds,
            trial: licence.trial,
            windows_kept_days: licence.windows_kept_days,
        }
    }

    /// Of two licences the stricter terms: the shorter reports, and windows kept for longer. An ordinary licence is never
    /// turned into a trial by one beside it, so that a trial counts only where no ordinary licence does.
    fn stricter(self, other: Self) -> Self {
        match (self.trial, other.trial) {
            (false, true) => self,
            (true, false) => other,
            _ => Self {
                report_seconds: self.report_seconds.min(other.report_seconds),
                trial: self.trial,
                windows_kept_days: self.windows_kept_days.max(other.windows_kept_days),
            },
        }
    }
}

/// The terms of every site with a licence that holds.
#[derive(Debug, Default)]
pub struct Terms {
    sites: RwLock<HashMap<String, SiteTerms>>,
    /// What was last said of licences that do not count.
    passed_over: Mutex<Vec<String>>,
    /// Rounds of hardware evidence that each node is asked for in a day, on average.
    round_draws_per_day: u32,
}

impl Terms {
    /// Terms of no site, under which each node is asked for so many rounds of hardware evidence a day, on average, at times that it cannot
    /// tell in advance.
    #[must_use]
    pub fn drawing(round_draws_per_day: u32) -> Self {
        Self {
            round_draws_per_day,
            ..Self::default()
        }
    }

    /// Puts the terms of all sites in place.
    pub fn set(&self, sites: HashMap<String, SiteTerms>) {
        *self.sites.write().unwrap_or_else(PoisonError::into_inner) = sites;
    }

    /// Reads the terms of the licences that hold at this time; of several for one site, the strictest.
    ///
    /// # Errors
    /// [`LoadError`]; then the terms stay as they were.
    pub async fn refresh(
        &self,
        store: &dyn Store,
        state_dir: &Path,
        now: UnixSeconds,
    ) -> Result<(), LoadError> {
        let (_, licences) = Licences::anchored(store, state_dir).await?;
        let mut said = self.passed_over.lock().unwrap_or_else(PoisonError::into_inner);
        if *said != licences.passed_over {
            for why in &licences.passed_over {
                tracing::warn!("{why}");
            }
            *said = licences.passed_over;
        }
        drop(said);
        let mut sites: HashMap<String, SiteTerms> = HashMap::new();
        for loaded in licences.counting {
            let licence = &loaded.licence;
            for site in licence.sites.iter().filter(|_| licence.valid.holds(now)) {
                let terms = SiteTerms::of(licence);
                sites
                    .entry(site.id.clone())
                    .and_modify(|t| *t = t.stricter(terms))
                    .or_insert(terms);
            }
        }
        self.set(sites);
        Ok(())
    }

    /// What a node of `site` is asked to do next.
    #[must_use]
    pub fn instructions(&self, site: &str, challenge: Challenge) -> Instructions {
        let terms = self
            .sites
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(site)
            .copied()
            .unwrap_or_default();
        Instructions {
            challenge,
            report_seconds: terms.report_seconds,
            trial: terms.trial,
            windows_kept_days: terms.windows_kept_days,
            profiles: PROFILES.iter().map(|p| (*p).to_owned()).collect(),
            round: draws::is_drawn(&challenge, terms.report_seconds, self.round_draws_per_day),
        }
    }
}
