//! From text to rule set.

use super::{
    Base, CapScope, Citation, Confidence, CountryCap, CountryList, Limits, NoLicence, PresumedMaker, Profile,
    Rule, RuleBook, RuleSet, RuleState, Validity,
};
use crate::crypto;
use crate::document::{DayEnd, Field, Section, Zone};
use crate::time::UnixSeconds;
use crate::unit::Tpp;
use std::collections::BTreeSet;
use std::sync::Arc;

pub(super) fn rule_set(root: &mut Section<'_, '_>, text: &str, book: &RuleBook) -> Option<RuleSet> {
    let id = root.required("id", Field::text);
    let version = root.required("version", |f| f.integer(1..=1_000_000));
    let title = root.required("title", Field::text);
    let state = root.required("state", |f| coded(f, RuleState::ALL, RuleState::text));
    let as_of = root.required("as_of", |f| f.moment(Zone::default(), DayEnd::Start));
    let validity = whole_validity(root);
    let superseded_by = root.optional("superseded_by", Field::text);
    if superseded_by.is_some() && validity.to.is_none() {
        root.mistake_at("superseded_by", "`superseded_by` needs `valid_to`: from when on");
    }
    let named = root.has("base");
    let base = root.table("base", |s| base(s, book));
    let profiles = root
        .optional("profiles", |f| f.list(|p| coded(p, Profile::ALL, Profile::text)))
        .unwrap_or_default();
    let limits = root
        .table("limits", |s| Some(Limits::read(s)))
        .unwrap_or_default();
    let stands = state.unwrap_or(RuleState::Proposed);
    let citations: Vec<(String, Citation)> = root
        .tables("citation", |s| cited(s, stands))
        .into_iter()
        .flatten()
        .collect();
    // Of one limit the first source counts.
    let mut sourced = BTreeSet::new();
    let citations: Vec<_> = citations
        .into_iter()
        .filter(|(name, _)| sourced.insert(name.clone()))
        .collect();
    for name in Limits::NAMES {
        if limits.is_set(name) && !citations.iter().any(|(n, _)| n == name) {
            root.mistake_at(
                "limits",
                format!("no [[citation]] says where `{name}` comes from"),
            );
        }
    }
    let countries = root.tables("countries", |s| country_list(s, stands));
    let presumed = root.tables("presumed", |s| presumed_maker(s, stands));
    let rules = root.tables("rule", rule);
    let country_caps = root.tables("country_cap", |s| country_cap(s, stands));
    let no_licence = root.tables("no_licence", |s| no_licence(s, stands));
    let mut read = RuleSet {
        id: id?,
        version: version?,
        title: title?,
        state: state?,
        as_of: as_of?,
        validity,
        superseded_by,
        base: base.as_ref().map(|b| Base {
            id: b.id.clone(),
            version: b.version,
            sha256: b.digest,
        }),
        profiles,
        limits,
        citations,
        countries,
        presumed,
        rules,
        country_caps,
        no_licence,
        signers: Vec::new(),
        digest: crypto::sha256(text.as_bytes()),
        text: Arc::from(text),
        absent: None,
    };
    if let Some(base) = base {
        read.rest_on(&base);
    }
    // Without its base, what it says of that would all be wrong.
    if read.base.is_some() || !named {
        read.check(root);
    }
    Some(read)
}

impl RuleSet {
    /// Takes from a base what is not set here: limits and their sources by name, lists and rules by name, makers by vendor, caps by scope.
    fn rest_on(&mut self, base: &Self) {
        self.limits = std::mem::take(&mut self.limits).or(&base.limits);
        add(&mut self.citations, &base.citations, |(name, _)| name);
        add(&mut self.countries, &base.countries, |l| &l.list);
        add(&mut self.presumed, &base.presumed, |m| &m.vendor);
        add(&mut self.rules, &base.rules, |r| &r.rule);
        add(&mut self.country_caps, &base.country_caps, |c| &c.scope);
    }

    /// What it says of itself that cannot be so.
    fn check(&self, root: &Section<'_, '_>) {
        for (name, _) in self.citations.iter().filter(|(n, _)| !self.limits.is_set(n)) {
            root.mistake_at(
                "citation",
                format!("a [[citation]] speaks of `{name}`, which neither this rule set nor its base sets"),
            );
        }
        let asked = |n: &NoLicence| {
            [&n.place_in, &n.place_not_in, &n.parties_in, &n.parties_not_in].map(Clone::clone)
        };
        for list in self.no_licence.iter().flat_map(asked).flatten() {
            if !self.countries.iter().any(|l| l.list == list) {
                root.mistake_at(
                    "no_licence",
                    format!("a [[no_licence]] names the list `{list}`, and there is none of this name"),
                );
            }
        }
    }
}

/// Adds what stands elsewhere under no name that stands here.
fn add<T: Clone, K: PartialEq>(own: &mut Vec<T>, others: &[T], name: impl Fn(&T) -> &K) {
    let new: Vec<T> = others
        .iter()
        .filter(|o| !own.iter().any(|mine| name(mine) == name(o)))
        .cloned()
        .collect();
    own.extend(new);
}

fn whole_validity(root: &mut Section<'_, '_>) -> Validity {
    let from = root.optional("valid_from", |f| f.moment(Zone::default(), DayEnd::Start));
    let to = root.optional("valid_to", |f| f.moment(Zone::default(), DayEnd::Included));
    if let (Some(from), Some(to)) = (from, to)
        && to <= from
    {
        root.mistake_at("valid_to", "`valid_to` does not lie after `valid_from`");
    }
    Validity {
        from: from.unwrap_or(UnixSeconds(i64::MIN)),
        to,
    }
}

/// The base, by its SHA-256: what bears the same name and differs is another.
fn base(s: &mut Section<'_, '_>, book: &RuleBook) -> Option<Arc<RuleSet>> {
    let id = s.required("id", Field::text);
    let version = s.required("version", |f| f.integer(1..=1_000_000));
    let sha256 = s.required("sha256", Field::digest);
    let (id, version, sha256) = (id?, version?, sha256?);
    let found = book.by_digest(&sha256);
    if let Some(found) = found.filter(|r| r.id == id && r.version == version) {
        return Some(Arc::clone(found));
    }
    s.mistake(match (found, book.of_version(&id, version)) {
        (Some(other), _) => format!(
            "the base with this SHA-256 is {}, version {}",
            other.id, other.version
        ),
        (None, Some(other)) => format!(
            "the base {id}, version {version}, has the SHA-256 {} here, and this names {sha256}",
            other.digest
        ),
        (None, None) => {
            format!("the base {id}, version {version}, SHA-256 {sha256}, is not among the rule sets at hand")
        }
    });
    None
}

fn cited(s: &mut Section<'_, '_>, state: RuleState) -> Option<Vec<(String, Citation)>> {
    let names = s.required("limits", |f| f.list(|i| i.word(Limits::NAMES).map(str::to_owned)));
    let citation = citation(s, state);
    let (mut names, citation) = (names?, citation?);
    // A name that stands twice says no more than once, however long the list.
    names.sort_unstable();
    names.dedup();
    Some(names.into_iter().map(|n| (n, citation.clone())).collect())
}

fn country_list(s: &mut Section<'_, '_>, state: RuleState) -> Option<CountryList> {
    let list = s.required("list", Field::text);
    let title = s.required("title", Field::text);
    let citation = citation(s, state);
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

fn presumed_maker(s: &mut Section<'_, '_>, state: RuleState) -> Option<PresumedMaker> {
    let vendor = s.required("vendor", |f| f.integer(1..=0xffff));
    let name = s.required("name", Field::text);
    let citation = citation(s, state);
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
    let citation = citation(s, state.unwrap_or(RuleState::Proposed));
    let validity = validity(s);
    Some(Rule {
        rule: rule?,
        title: title?,
        state: state?,
        citation: citation?,
        validity: validity?,
    })
}

fn country_cap(s: &mut Section<'_, '_>, state: RuleState) -> Option<CountryCap> {
    let scope = s.required("scope", |f| coded(f, CapScope::ALL, CapScope::text));
    let tpp = s.required("tpp", |f| f.integer(1..=u64::MAX));
    let citation = citation(s, state);
    let validity = validity(s);
    Some(CountryCap {
        scope: scope?,
        tpp: Tpp(tpp?),
        citation: citation?,
        validity: validity?,
    })
}

fn no_licence(s: &mut Section<'_, '_>, state: RuleState) -> Option<NoLicence> {
    let rule = s.required("rule", Field::text);
    let title = s.required("title", Field::text);
    let mut lists = |key| s.optional(key, |f| f.list(Field::text)).unwrap_or_default();
    let [place_in, place_not_in, parties_in, parties_not_in] =
        ["place_in", "place_not_in", "parties_in", "parties_not_in"].map(&mut lists);
    let within_year = s.optional("within_year", Field::flag).unwrap_or(false);
    let citation = citation(s, state);
    let validity = validity(s);
    if (place_in.is_empty() && place_not_in.is_empty())
        || (parties_in.is_empty() && parties_not_in.is_empty())
    {
        s.mistake("a [[no_licence]] asks something of the place (`place_in`, `place_not_in`) and of the parties (`parties_in`, `parties_not_in`)");
    }
    Some(NoLicence {
        rule: rule?,
        title: title?,
        place_in,
        place_not_in,
        parties_in,
        parties_not_in,
        within_year,
        citation: citation?,
        validity: validity?,
    })
}

fn citation(s: &mut Section<'_, '_>, state: RuleState) -> Option<Citation> {
    let source = s.required("source", Field::text);
    let confidence = s.required("confidence", |f| coded(f, Confidence::ALL, Confidence::text));
    let own = s.optional("state", |f| coded(f, RuleState::ALL, RuleState::text));
    Some(Citation {
        source: source?,
        confidence: confidence?,
        state: own.unwrap_or(state),
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
