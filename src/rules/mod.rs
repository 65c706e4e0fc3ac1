//! Rule sets: dated data with a state, and the lists that they draw on.
//!
//! Decides: which limit holds where a licence sets none, and which countries and makers stand on a list on a given
//! day. Trusts the file it is given: whether it is signed by a party to the licence is for the caller to check. Does
//! not establish that a rule is the law: each number carries its source and how sure it is.

mod limits;

pub use limits::Limits;

use crate::crypto;
use crate::document::{DayEnd, Document, Field, Mistakes, Section, Zone};
use crate::id::Digest;
use crate::time::UnixSeconds;
use crate::unit::Tpp;

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

/// Where a number or list comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Citation {
    /// The source, as a person would cite it.
    pub source: String,
    /// How sure it is.
    pub confidence: Confidence,
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

/// How much TPP one country may hold from a day on (CAP-06).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountryCap {
    /// The cap.
    pub tpp: Tpp,
    /// Where it comes from.
    pub citation: Citation,
    /// When it holds.
    pub validity: Validity,
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
    /// How much one country may hold, quarter by quarter.
    pub country_caps: Vec<CountryCap>,
    /// SHA-256 of the file.
    pub digest: Digest,
}

/// The rule sets that this build carries, as their files stand.
const CARRIED: &[&str] = &[
    include_str!("data/contract-only.toml"),
    include_str!("data/us-ear-enforced-2026-05.toml"),
    include_str!("data/us-cn-h200-2026.toml"),
];

impl RuleSet {
    /// Reads a rule set.
    ///
    /// # Errors
    /// Every mistake with its line.
    pub fn parse(text: &str) -> Result<Self, Mistakes> {
        let document = Document::open(text);
        let mut root = document.root();
        let rule_set = read(&mut root, crypto::sha256(text.as_bytes()));
        root.finish();
        document.finish(rule_set)
    }

    /// The rule set of this id, if this build carries it.
    #[must_use]
    pub fn carried(id: &str) -> Option<Self> {
        CARRIED
            .iter()
            .filter_map(|text| Self::parse(text).ok())
            .find(|r| r.id == id)
    }

    /// The ids of the rule sets that this build carries.
    #[must_use]
    pub fn carried_ids() -> Vec<String> {
        CARRIED
            .iter()
            .filter_map(|text| Self::parse(text).ok())
            .map(|r| r.id)
            .collect()
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

    /// What one country may hold at a time.
    #[must_use]
    pub fn country_cap(&self, at: UnixSeconds) -> Option<&CountryCap> {
        self.country_caps.iter().find(|c| c.validity.holds(at))
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

fn read(root: &mut Section<'_, '_>, digest: Digest) -> Option<RuleSet> {
    let id = root.required("id", Field::text);
    let version = root.required("version", |f| f.integer(1..=1_000_000));
    let title = root.required("title", Field::text);
    let state = root.required("state", |f| coded(f, RuleState::ALL, RuleState::text));
    let as_of = root.required("as_of", |f| f.moment(Zone::default(), DayEnd::Start));
    let profiles = root
        .optional("profiles", |f| f.list(|p| coded(p, Profile::ALL, Profile::text)))
        .unwrap_or_default();
    let limits = root
        .table("limits", |s| Some(Limits::read(s)))
        .unwrap_or_default();
    let citations: Vec<(String, Citation)> = root
        .tables("citation", |s| {
            let names = s.required("limits", |f| f.list(|i| i.word(Limits::NAMES).map(str::to_owned)));
            let citation = citation(s);
            let citation = citation?;
            Some(
                names?
                    .into_iter()
                    .map(|n| (n, citation.clone()))
                    .collect::<Vec<_>>(),
            )
        })
        .into_iter()
        .flatten()
        .collect();
    for name in Limits::NAMES {
        if limits.is_set(name) && !citations.iter().any(|(n, _)| n == name) {
            root.mistake_at(
                "limits",
                format!("no [[citation]] says where `{name}` comes from"),
            );
        }
    }
    let countries = root.tables("countries", country_list);
    let presumed = root.tables("presumed", presumed_maker);
    let rules = root.tables("rule", rule);
    let country_caps = root.tables("country_cap", country_cap);
    Some(RuleSet {
        id: id?,
        version: version?,
        title: title?,
        state: state?,
        as_of: as_of?,
        profiles,
        limits,
        citations,
        countries,
        presumed,
        rules,
        country_caps,
        digest,
    })
}

fn country_list(s: &mut Section<'_, '_>) -> Option<CountryList> {
    let list = s.required("list", Field::text);
    let title = s.required("title", Field::text);
    let citation = citation(s);
    let validity = validity(s);
    let members = s.required("members", |f| f.list(Field::country));
    let mut members = members?;
    members.sort();
    Some(CountryList {
        list: list?,
        title: title?,
        citation: citation?,
        validity: validity?,
        members,
    })
}

fn presumed_maker(s: &mut Section<'_, '_>) -> Option<PresumedMaker> {
    let vendor = s.required("vendor", |f| f.integer(1..=0xffff));
    let name = s.required("name", Field::text);
    let citation = citation(s);
    let validity = validity(s);
    Some(PresumedMaker {
        vendor: u16::try_from(vendor?).ok()?,
        name: name?,
        citation: citation?,
        validity: validity?,
    })
}

fn rule(s: &mut Section<'_, '_>) -> Option<Rule> {
    let rule = s.required("rule", Field::text);
    let title = s.required("title", Field::text);
    let state = s.required("state", |f| coded(f, RuleState::ALL, RuleState::text));
    let citation = citation(s);
    let validity = validity(s);
    Some(Rule {
        rule: rule?,
        title: title?,
        state: state?,
        citation: citation?,
        validity: validity?,
    })
}

fn country_cap(s: &mut Section<'_, '_>) -> Option<CountryCap> {
    let tpp = s.required("tpp", |f| f.integer(1..=u64::MAX));
    let citation = citation(s);
    let validity = validity(s);
    Some(CountryCap {
        tpp: Tpp(tpp?),
        citation: citation?,
        validity: validity?,
    })
}

fn citation(s: &mut Section<'_, '_>) -> Option<Citation> {
    let source = s.required("source", Field::text);
    let confidence = s.required("confidence", |f| coded(f, Confidence::ALL, Confidence::text));
    Some(Citation {
        source: source?,
        confidence: confidence?,
    })
}

fn validity(s: &mut Section<'_, '_>) -> Option<Validity> {
    let from = s.required("valid_from", |f| f.moment(Zone::default(), DayEnd::Start));
    let to = s.optional("valid_to", |f| f.moment(Zone::default(), DayEnd::Included));
    Some(Validity { from: from?, to })
}

/// The value of a coded table whose word stands in the field.
pub(crate) fn coded<T: Copy>(
    field: &Field<'_, '_>,
    all: &[T],
    text: fn(T) -> &'static str,
) -> Result<T, String> {
    let words: Vec<&str> = all.iter().map(|v| text(*v)).collect();
    let word = field.word(&words)?;
    all.iter()
        .copied()
        .find(|v| text(*v) == word)
        .ok_or_else(|| "is not known".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_carried_rule_sets_read_without_a_mistake() {
        for text in CARRIED {
            if let Err(mistakes) = RuleSet::parse(text) {
                panic!("{mistakes}");
            }
        }
        assert_eq!(
            RuleSet::carried_ids(),
            ["contract-only", "us-ear-enforced-2026-05", "us-cn-h200-2026"]
        );
    }

    #[test]
    fn a_list_is_the_one_that_holds_on_the_day() {
        let rules = RuleSet::carried("us-ear-enforced-2026-05").unwrap();
        let on = |day| rules.list("barred", UnixSeconds::parse(day).unwrap()).unwrap();
        assert!(on("2026-01-10").members.iter().any(|m| m == "KH"));
        assert!(!on("2026-11-22").members.iter().any(|m| m == "KH"));
        assert!(on("2026-11-22").members.iter().any(|m| m == "MO"));
        assert!(
            rules
                .list("barred", UnixSeconds::parse("2020-01-01").unwrap())
                .is_none()
        );
    }

    #[test]
    fn a_limit_without_a_source_is_a_mistake() {
        let text = "id = \"x\"\nversion = 1\ntitle = \"x\"\nstate = \"enforced\"\nas_of = 2026-01-01\n[limits]\nfreshness_max = \"24 h\"\n";
        let mistakes = RuleSet::parse(text).unwrap_err().to_string();
        assert_eq!(
            mistakes,
            "line 6: no [[citation]] says where `freshness_max` comes from"
        );
    }

    #[test]
    fn the_operation_limit_is_exact() {
        let rules = RuleSet::carried("us-ear-enforced-2026-05").unwrap();
        assert_eq!(rules.limits.ops_limit.unwrap().0, 10u128.pow(26));
        assert!(
            RuleSet::carried("contract-only")
                .unwrap()
                .limits
                .ops_limit
                .is_none()
        );
    }
}
