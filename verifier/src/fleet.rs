//! What holds for the nodes of a site: the terms of its licence, and the facts that only many nodes together show.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use weighbridge::id::Challenge;
use weighbridge::protocol::Instructions;
use weighbridge::report::PROFILES;

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
    /// What holds until a licence is loaded: reports of 300 s, windows kept for 30 days.
    fn default() -> Self {
        Self {
            report_seconds: 300,
            trial: false,
            windows_kept_days: 30,
        }
    }
}

/// The terms of every site with a licence.
#[derive(Debug, Default)]
pub struct Terms(RwLock<HashMap<String, SiteTerms>>);

impl Terms {
    /// Puts the terms of all sites in place.
    pub fn set(&self, sites: HashMap<String, SiteTerms>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = sites;
    }

    /// What a node of `site` is asked to do next.
    #[must_use]
    pub fn instructions(&self, site: &str, challenge: Challenge) -> Instructions {
        let terms = self
            .0
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
        }
    }
}
