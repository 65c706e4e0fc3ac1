//! Rule sets: dated data with a state, and the lists that they draw on.
//!
//! Decides: which limit holds where a licence sets none, which countries and makers stand on a list on a given day, and which of several
//! versions of a rule set is the one to go by. Trusts the file it is given, and the keys that may sign another. Does not establish that a
//! rule is the law: each number carries its source, how it stands and how sure it is.
//!
//! A rule set may rest on another, its base, which it names by SHA-256: its own SHA-256 thereby stands for both.

mod book;
mod limits;
mod read;

pub use book::{PAYLOAD_TYPE, RuleBook, RuleSetError};
pub use limits::Limits;
pub(crate) use read::coded;

use crate::document::Mistakes;
use crate::id::Digest;
use crate::time::UnixSeconds;
use crate::unit::Tpp;
use serde::Serialize;
use std::sync::Arc;

crate::code! {
    /// How a rule stands in the world.
    pub enum RuleState {
        /// In force, and enforced.
        Enforced = 0 => "enforced",
        /// In the books, and not enforced.
        InForceNotEnforced = 1 => "in force, not enforced",
        /// Proposed.
        Proposed = 2 => "proposed",
    }
}

crate::code! {
    /// How sure a number or list is.
    pub enum Confidence {
        /// Read in a public source.
        High = 0 => "high",
        /// Read in part, or this rule set's own choice.
        Medium = 1 => "medium",
        /// From memory or a secondary source.
        Low = 2 => "low",
    }
}

crate::code! {
    /// A group of conditions that belong to one rule, and are asked where a licence or a rule set names it.
    pub enum Profile {
        /// The AI Diffusion Rule of January 2025 (90 FR 4544).
        Ifr2025 = 0 => "ifr-2025",
        /// Validated end users of data centres (89 FR 80080).
        Dcveu2024 = 1 => "dcveu-2024",
        /// China and Macau, case by case (91 FR 1684).
        CnH2002026 = 2 => "cn-h200-2026",
        /// Customers of infrastructure providers (89 FR 5698, proposed).
        IaasKyc = 3 => "iaas-kyc",
        /// The Chip Security Act (bill).
        ChipSecurityAct = 4 => "chip-security-act",
        /// The Remote Access Security Act (bill).
        RemoteAccess = 5 => "remote-access",
    }
}

crate::code! {
    /// How much depends on a condition.
    pub enum Severity {
        /// Shipments stop, and a person is told within a day.
        Critical = 0 => "critical",
        /// A plan is due within fifteen days.
        Major = 1 => "major",
        /// Noted.
        Minor = 2 => "minor",
        /// It can clear a site, and its failure means nothing.
        PassOnly = 3 => "pass-only",
    }
}

/// Where a number or list comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Citation {
    /// The source, as a person would cite it.
    pub source: String,
    /// How sure it is.
    pub confidence: Confidence,
    /// How it stands; as its rule set does, where it says nothing else.
    pub state: RuleState,
}

/// The days on which something holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub from: UnixSeconds,
    /// The first second after it; absent where no end is known.
    pub to: Option<UnixSeconds>,
}

impl Validity {
    /// Whether it holds at this time.
    #[must_use]
    pub fn holds(&self, at: UnixSeconds) -> bool {
        self.from <= at && self.to.is_none_or(|to| at < to)
    }
}

/// A list of countries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountryList {
    /// Its name in the rule set, such as `barred`.
    pub list: String,
    /// Its name in words.
    pub title: String,
    /// Where it comes from.
    pub citation: Citation,
    /// When it holds.
    pub validity: Validity,
    /// Countries, as ISO 3166-1 alpha-2, sorted.
    pub members: Vec<String>,
}

/// A maker whose accelerators are presumed to break the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresumedMaker {
    /// PCI vendor.
    pub vendor: u16,
    /// Name.
    pub name: String,
    /// Where the presumption comes from.
    pub citation: Citation,
    /// When it holds.
    pub validity: Validity,
}

/// A rule that holds or does not, whatever its numbers are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name in the rule set, such as `half-ownership`.
    pub rule: String,
    /// Its name in words.
    pub title: String,
    /// How it stands.
    pub state: RuleState,
    /// Where it comes from.
    pub citation: Citation,
    /// When it holds.
    pub validity: Validity,
}

crate::code! {
    /// Whose TPP in a country a cap bounds.
    pub enum CapScope {
        /// That of one national validated end user.
        NationalVeu = 0 => "national-veu",
        /// That of all parties together.
        Country = 1 => "country",
        /// That of all parties together, where the country's government has an agreement.
        CountryWithAgreement = 2 => "country-with-agreement",
    }
}

/// How much TPP one country, or one party in it, may hold for a time (CAP-06).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountryCap {
    /// Whose.
    pub scope: CapScope,
    /// The cap.
    pub tpp: Tpp,
    /// Where it comes from.
    pub citation: Citation,
    /// When it holds.
    pub validity: Validity,
}

/// Under what no export licence is needed (SUP-02). All that it asks must hold; where it asks nothing of a kind, anything will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoLicence {
    /// Its name in the rule set, such as `allied-destination`.
    pub rule: String,
    /// Its name in words.
    pub title: String,
    /// The site must lie in a country on one of these lists.
    pub place_in: Vec<String>,
    /// It must lie in no country on any of these.
    pub place_not_in: Vec<String>,
    /// Headquarters and ultimate parent of the consignee must lie in countries on one of these.
    pub parties_in: Vec<String>,
    /// They must lie in no country on any of these.
    pub parties_not_in: Vec<String>,
    /// What the consignee received in the calendar year must be within `consignee_tpp_per_year` (CAP-03).
    pub within_year: bool,
    /// Where it comes from.
    pub citation: Citation,
    /// When it holds.
    pub validity: Validity,
}

/// The rule set on which another rests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Base {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: u64,
    /// SHA-256 of its file.
    pub sha256: Digest,
}

/// A rule set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSet {
    /// Its id, which licences cite.
    pub id: String,
    /// Its version.
    pub version: u64,
    /// Its name in words.
    pub title: String,
    /// How its rules stand.
    pub state: RuleState,
    /// The day on which the law was read.
    pub as_of: UnixSeconds,
    /// When it holds as a whole.
    pub validity: Validity,
    /// The id of the rule set that took its place.
    pub superseded_by: Option<String>,
    /// The rule set from which it takes what it does not set itself.
    pub base: Option<Base>,
    /// The profiles of conditions that it asks for.
    pub profiles: Vec<Profile>,
    /// Limits where the licence sets none.
    pub limits: Limits,
    /// Where each limit comes from, by name.
    pub citations: Vec<(String, Citation)>,
    /// Country lists.
    pub countries: Vec<CountryList>,
    /// Makers that are presumed to break the rules.
    pub presumed: Vec<PresumedMaker>,
    /// Rules that hold or do not.
    pub rules: Vec<Rule>,
    /// How much one country, or one party in it, may hold.
    pub country_caps: Vec<CountryCap>,
    /// Under what no licence is needed. A base's are not taken over: each rule set says that itself.
    pub no_licence: Vec<NoLicence>,
    /// The identities of the trusted keys that signed it. None signed what this build carries.
    pub signers: Vec<Digest>,
    /// SHA-256 of the file.
    pub digest: Digest,
    /// The file, exactly.
    pub text: Arc<str>,
    /// Why there is none, where this only stands in for one that is not at hand ([`RuleSet::absent()`]).
    pub absent: Option<String>,
}

impl RuleSet {
    /// What stands in for a rule set that is not at hand, and why it is not, in words that begin a sentence: it sets nothing, and a licence that names it
    /// is judged by its own terms, under which nothing is met.
    #[must_use]
    pub fn absent(id: &str, why: String) -> Self {
        Self {
            id: id.to_owned(),
            version: 0,
            title: String::new(),
            state: RuleState::Proposed,
            as_of: UnixSeconds(0),
            validity: Validity {
                from: UnixSeconds(i64::MIN),
                to: None,
            },
            superseded_by: None,
            base: None,
            profiles: Vec::new(),
            limits: Limits::default(),
            citations: Vec::new(),
            countries: Vec::new(),
            presumed: Vec::new(),
            rules: Vec::new(),
            country_caps: Vec::new(),
            no_licence: Vec::new(),
            signers: Vec::new(),
            digest: Digest([0; 32]),
            text: Arc::from(""),
            absent: Some(why),
        }
    }

    /// Reads a rule set that rests on no other.
    ///
    /// # Errors
    /// Every mistake with its line; a base is one, for none is at hand here.
    pub fn parse(text: &str) -> Result<Self, Mistakes> {
        RuleBook::default().parse(text)
    }

    /// The newest rule set of this id that this build carries.
    #[must_use]
    pub fn carried(id: &str) -> Option<Self> {
        RuleBook::carried().newest(id).map(|r| (**r).clone())
    }

    /// What it is called in a sentence: its id, its version and its digest.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}, version {}, SHA-256 {}", self.id, self.version, self.digest)
    }

    /// Why nothing can be told by it at a time, if so: it does not hold yet, or another took its place.
    #[must_use]
    pub fn over(&self, at: UnixSeconds) -> Option<String> {
        let Self { id, version, .. } = self;
        if at < self.validity.from {
            return Some(format!(
                "the rule set {id}, version {version}, holds only from {}",
                self.validity.from
            ));
        }
        let to = self.validity.to.filter(|to| *to <= at)?;
        let next = self
            .superseded_by
            .as_ref()
            .map_or_else(String::new, |next| format!(" and was superseded by {next}"));
        Some(format!(
            "the rule set {id}, version {version}, ended just before {to}{next}: a licence that names one that holds would settle it"
        ))
    }

    /// The list of this name that holds at a time.
    #[must_use]
    pub fn list(&self, name: &str, at: UnixSeconds) -> Option<&CountryList> {
        self.countries
            .iter()
            .find(|l| l.list == name && l.validity.holds(at))
    }

    /// The rule of this name that holds at a time.
    #[must_use]
    pub fn rule(&self, name: &str, at: UnixSeconds) -> Option<&Rule> {
        self.rules.iter().find(|r| r.rule == name && r.validity.holds(at))
    }

    /// What one country, or one party in it, may hold at a time.
    #[must_use]
    pub fn country_cap(&self, scope: CapScope, at: UnixSeconds) -> Option<&CountryCap> {
        self.country_caps
            .iter()
            .find(|c| c.scope == scope && c.validity.holds(at))
    }

    /// Where the limit of this name comes from.
    #[must_use]
    pub fn citation(&self, limit: &str) -> Option<&Citation> {
        self.citations
            .iter()
            .find(|(name, _)| name == limit)
            .map(|(_, c)| c)
    }
}

#[cfg(test)]
mod tests;
