//! The licence: what the supplier has allowed, to whom, where, and what must be shown.
//!
//! Decides: what a licence text says. Trusts the text it is given: that it is signed by an issuer whom the checker
//! trusts, and is the newest serial, is checked before, over exactly these bytes (DSSE payload type
//! [`PAYLOAD_TYPE`]). Does not establish that a limit is the law; a limit that is left out comes from the rule set.
//!
//! `docs/examples/licence.toml` shows every key.

mod explain;
mod manifest;
mod own;
mod read;
mod signer;
mod standing;

pub use manifest::{FormerDevice, LicensedDevice, LicensedModel, PciPair, RowMatch, Site};
pub use own::{OwnCondition, PolicyInput, RegoVersion};
pub use signer::{HeardAs, LicensedSigner};
pub use standing::{Accreditation, RevokedKey, Standing};

use crate::accelerator::Catalogue;
use crate::document::{Document, Mistakes, Zone};
use crate::id::Digest;
use crate::rules::{Limits, Profile, RuleBook, RuleSet, Validity};
use crate::time::UnixSeconds;
use crate::unit::{MicroTppHours, Ppm, Tpp};
use std::sync::Arc;

/// The DSSE payload type of a licence.
pub const PAYLOAD_TYPE: &str = "application/vnd.weighbridge.licence+toml";

/// The shortest report that an ordinary licence may ask for, in seconds.
pub const REPORT_SECONDS_MIN: u64 = 60;
/// The longest report that a licence may ask for, in seconds.
pub const REPORT_SECONDS_MAX: u64 = 900;
/// Length of a report where the licence sets none, in seconds.
pub const REPORT_SECONDS: u32 = 300;
/// Days for which nodes keep their windows where the licence sets none.
pub const WINDOWS_KEPT_DAYS: u32 = 30;

crate::code! {
    /// The time over which an allowance is counted.
    pub enum AllowancePeriod {
        /// A calendar day.
        Day = 0 => "day",
        /// A calendar month.
        Month = 1 => "month",
        /// A calendar quarter.
        Quarter = 2 => "quarter",
        /// A calendar year.
        Year = 3 => "year",
        /// The whole term of the licence.
        Term = 4 => "term",
    }
}

crate::code! {
    /// Whether confidential computing must be on.
    pub enum ConfidentialTerm {
        /// It must be on.
        On = 0 => "on",
        /// It must be off.
        Off = 1 => "off",
    }
}

crate::code! {
    /// What the licence takes for one group of devices that compute together (TRN-02).
    pub enum OpsGroup {
        /// Each node is a group of its own: what computes on one computes on no other.
        Node = 0 => "node",
        /// All devices of a site are one group.
        Site = 1 => "site",
    }
}

/// What the operator declared that the devices of a site did for a time (TRN-07).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredActivity {
    /// The site; absent where the licence names one only.
    pub site: Option<String>,
    /// The first second of that time.
    pub from: UnixSeconds,
    /// The first second after it.
    pub to: UnixSeconds,
    /// The share of device time in which a kernel was resident; none where the devices were idle.
    pub busy_share: Option<Ppm>,
    /// The share of compute that went into training.
    pub training_share: Option<Ppm>,
}

/// Compute that may go into training within a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainingAllowance {
    /// At most this much.
    pub most: MicroTppHours,
    /// Within this time.
    pub period: AllowancePeriod,
}

/// A condition that the issuer waives for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiver {
    /// The condition, such as `INV-11`.
    pub condition: String,
    /// The first second after it ends.
    pub until: UnixSeconds,
    /// Why.
    pub reason: String,
}

/// An attestation that must be on file (EVI-01).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidenceRequired {
    /// Its kind, such as `iso-27001`.
    pub kind: String,
    /// How old it may be, in seconds.
    pub max_age: Option<i64>,
    /// Who may issue it.
    pub issuers: Vec<String>,
}

/// Which catalogue of accelerators a licence's findings must rest on (`[catalogue]`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CataloguePin {
    /// Exactly the one with this SHA-256.
    Digest(Digest),
    /// One that this key signed, of this serial or a newer one.
    Signed {
        /// SHA-256 of the key, as `key show` prints it.
        key: Digest,
        /// The least serial.
        least_serial: u64,
    },
}

impl CataloguePin {
    /// Whether a catalogue is one that it means.
    #[must_use]
    pub fn allows(&self, catalogue: &Catalogue) -> bool {
        match self {
            Self::Digest(digest) => catalogue.digest() == *digest,
            Self::Signed { key, least_serial } => {
                catalogue.signers().contains(key) && catalogue.version().serial >= *least_serial
            }
        }
    }
}

/// Which version of its rule set a licence's findings must rest on (`[ruleset]`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleSetPin {
    /// Exactly the one with this SHA-256.
    Digest(Digest),
    /// One that this key signed, of this version or a newer one.
    Signed {
        /// SHA-256 of the key, as `key show` prints it.
        key: Digest,
        /// The least version.
        least_version: u64,
    },
}

impl RuleSetPin {
    /// Whether a rule set is one that it means.
    #[must_use]
    pub fn allows(&self, rules: &RuleSet) -> bool {
        match self {
            Self::Digest(digest) => rules.digest == *digest,
            Self::Signed { key, least_version } => {
                rules.signers.contains(key) && rules.version >= *least_version
            }
        }
    }
}

/// A licence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Licence {
    /// Its id.
    pub licence_id: String,
    /// Its serial; a newer one replaces all older ones of the same id.
    pub serial: u64,
    /// Who issued it.
    pub issuer: String,
    /// To whom.
    pub consignee: String,
    /// When it holds.
    pub valid: Validity,
    /// The zone in which its calendar days are counted.
    pub zone: Zone,
    /// The rule set that applies.
    pub ruleset_id: String,
    /// Which version of it, where it pins one.
    pub ruleset: Option<RuleSetPin>,
    /// Which catalogue of accelerators its findings must rest on, where it pins one.
    pub catalogue: Option<CataloguePin>,
    /// Profiles of conditions beyond `all`.
    pub profiles: Vec<Profile>,
    /// Sites.
    pub sites: Vec<Site>,
    /// Countries in which its sites may lie.
    pub countries_allowed: Vec<String>,
    /// Most TPP of class 3A090.a at one site (CAP-01).
    pub licensed_tpp: Option<Tpp>,
    /// From when the manifest, the TPP and the numbers of models hold (INV-01, CAP-01, CAP-02); absent where from the
    /// licence's start. What was seen before is not judged by them.
    pub manifest_from: Option<UnixSeconds>,
    /// Models and their numbers (CAP-02).
    pub models: Vec<LicensedModel>,
    /// The manifest (INV-01, INV-02).
    pub devices: Vec<LicensedDevice>,
    /// SHA-256 of a manifest that is delivered apart. This version reads only the one in the licence.
    pub manifest_digest: Option<Digest>,
    /// Limits that it sets itself.
    pub limits: Limits,
    /// Training allowance (TRN-04).
    pub training: Option<TrainingAllowance>,
    /// Most share of training in device time (TRN-03).
    pub training_share_max: Option<Ppm>,
    /// What counts as one group that computes together (TRN-02); absent where the licence leaves it open.
    pub ops_group: Option<OpsGroup>,
    /// Whether the parties take the drivers' word for an upper bound on compute (TRN-02, TRN-04). Otherwise only the peak rules a limit out.
    pub reported_bounds_suffice: bool,
    /// What the operator declared of its activity (TRN-07).
    pub activity: Vec<DeclaredActivity>,
    /// Length of a report, in seconds.
    pub report_seconds: u32,
    /// Whether this is a trial.
    pub trial: bool,
    /// Days for which nodes keep their windows.
    pub windows_kept_days: u32,
    /// NVML libraries that are approved beside the system's own (SEC-09).
    pub approved_nvml: Vec<Digest>,
    /// Builds of the agent that are approved (SEC-05), by the SHA-256 of the binary.
    pub approved_agents: Vec<Digest>,
    /// Driver versions that are allowed (SEC-01); any, where it lists none.
    pub driver_versions: Vec<String>,
    /// VBIOS versions that are allowed (SEC-01); any, where it lists none.
    pub vbios_versions: Vec<String>,
    /// Whether confidential computing must be on or off (SEC-02); absent where the licence leaves it open.
    pub confidential_compute: Option<ConfidentialTerm>,
    /// Whose statements are heard about its sites, and as what.
    pub signers: Vec<LicensedSigner>,
    /// Attestations that must be on file.
    pub evidence_required: Vec<EvidenceRequired>,
    /// Countries from which remote users may come (TEN-05).
    pub remote_access_countries: Vec<String>,
    /// Conditions that it states itself, beside the published ones.
    pub conditions: Vec<OwnCondition>,
    /// Waivers.
    pub waivers: Vec<Waiver>,
    /// SHA-256 of the text.
    pub digest: Digest,
}

/// Which names of models, conditions and countries a licence may use.
#[derive(Clone, Copy, Debug)]
pub enum Names<'a> {
    /// Any: a licence that holds stays what it is, whatever the version that reads it knows.
    Any,
    /// These: what its author misspelt would bind nothing, or convict the innocent.
    Known {
        /// The models.
        catalogue: &'a Catalogue,
        /// The ids of all published conditions.
        conditions: &'a [&'a str],
    },
}

impl Licence {
    /// Reads a licence, with any names of models and conditions.
    ///
    /// # Errors
    /// Every mistake, with its line, its cause and the nearest right word.
    pub fn parse(text: &str) -> Result<Self, Mistakes> {
        Self::parse_with(text, Names::Any)
    }

    /// Reads a licence whose names must be these.
    ///
    /// # Errors
    /// As [`Licence::parse`].
    pub fn parse_with(text: &str, names: Names<'_>) -> Result<Self, Mistakes> {
        let document = Document::open(text);
        let mut root = document.root();
        let licence = read::licence(&mut root, crate::crypto::sha256(text.as_bytes()), names);
        root.finish();
        document.finish(licence)
    }

    /// The rule set to judge it by: the newest of its id, or of those that it pins; where none of these is at hand, the newest, by which nothing
    /// can be told then. None where no rule set has the id.
    #[must_use]
    pub fn rules_in(&self, book: &RuleBook) -> Option<Arc<RuleSet>> {
        let all = book.of(&self.ruleset_id);
        let pinned = |r: &&&Arc<RuleSet>| self.ruleset.is_none_or(|pin| pin.allows(r));
        all.iter()
            .find(pinned)
            .or_else(|| all.first())
            .map(|r| Arc::clone(r))
    }

    /// The site of this id.
    #[must_use]
    pub fn site(&self, id: &str) -> Option<&Site> {
        self.sites.iter().find(|s| s.id == id)
    }

    /// The manifest's rows for a site.
    pub fn manifest<'a>(&'a self, site: &'a str) -> impl Iterator<Item = &'a LicensedDevice> {
        self.devices
            .iter()
            .filter(move |d| d.site.as_deref().is_none_or(|s| s == site))
    }

    /// The waiver of a condition that holds at a time.
    #[must_use]
    pub fn waiver(&self, condition: &str, at: UnixSeconds) -> Option<&Waiver> {
        self.waivers
            .iter()
            .find(|w| w.condition == condition && at < w.until)
    }
}

#[cfg(test)]
mod tests;
