//! What holds for the nodes of a site: the licences that cover it, their terms, and the facts that its nodes' reports add up to.

mod around;
mod facts;
mod licences;
mod site;

pub(crate) use around::Around;
pub(crate) use facts::Kept;
pub use licences::{Anchors, AnchorsError, Issuer, LoadError, LoadedLicence};
pub use site::sites;

use crate::store::Store;
use std::path::Path;

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

    /// Reads the terms of the licences that hold.
    ///
    /// # Errors
    /// [`LoadError`]; then the terms stay as they were.
    pub async fn refresh(&self, store: &dyn Store, state_dir: &Path) -> Result<(), LoadError> {
        let anchors = Anchors::read(state_dir)?;
        let mut sites = HashMap::new();
        for loaded in LoadedLicence::all(store, &anchors).await? {
            for site in &loaded.licence.sites {
                let terms = SiteTerms {
                    report_seconds: loaded.licence.report_seconds,
                    trial: loaded.licence.trial,
                    windows_kept_days: loaded.licence.windows_kept_days,
                };
                sites.insert(site.id.clone(), terms);
            }
        }
        self.set(sites);
        Ok(())
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
