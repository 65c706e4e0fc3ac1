//! Red flags: what speaks against a customer, and what was done about it.
//!
//! Decides: of each of the fifteen published flags, whether it is raised, and whether someone resolved it; and whether the open ones, with the
//! open critical conditions, let shipments move (REC-04). Trusts the statements that the licence hears, and the findings of the other conditions.
//! Does not establish that a customer diverts anything: a flag asks a question, and no number of flags that are not raised passes a site.

mod customer;
mod shipments;
mod telemetry;

pub use shipments::{Movement, Shipments};

use super::case::{Case, no_report};
use super::finding::{Finding, Outcome, Quantity, Severity, Verdict, few, listed};
use super::papers::Paper;
use crate::appraisal::Grade;
use crate::id::Digest;
use crate::statement::{FlagResolution, FlagState, RedFlag};
use crate::time::{DAY_SECONDS, UnixSeconds, span};
use serde::Serialize;
use std::collections::BTreeSet;

crate::code! {
    /// How a red flag stands.
    pub enum FlagStanding {
        /// Something speaks for it.
        Raised = 0 => "raised",
        /// It cannot be told.
        CannotTell = 1 => "cannot tell",
        /// What was looked at does not speak for it.
        NotRaised = 2 => "not raised",
    }
}

/// A red flag about the consignee and the site.
///
/// It serialises to an item of `flags` in `status --format json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flag {
    /// Which.
    pub flag: RedFlag,
    /// What it is, in a sentence.
    pub title: &'static str,
    /// How it stands.
    pub state: FlagStanding,
    /// Whether it is raised or cannot be told, and nobody resolved it.
    pub open: bool,
    /// Since when it has been raised, as far as that is known.
    pub since: Option<UnixSeconds>,
    /// What it rests on: the weakest of its inputs.
    pub grade: Grade,
    /// Why, for people.
    pub sentence: String,
    /// A stable name for this kind of sentence.
    pub message_id: String,
    /// Digests of what it rests on, sorted; the first [`LISTED`](super::LISTED) of them.
    pub evidence: Vec<Digest>,
    /// On how many more it rests.
    pub evidence_left_out: u64,
    /// What became of it.
    pub resolution: Option<Resolution>,
}

/// What a supplier or an assessor made of a red flag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Resolution {
    /// Whether it was explained, stands, or waits for someone else.
    pub state: FlagState,
    /// Who says so.
    pub by: String,
    /// When.
    pub at: UnixSeconds,
    /// The statement.
    pub statement: Digest,
    /// Why it does not resolve the flag although it says so; absent where it does, or does not say so.
    pub outdated: Option<String>,
}

/// A flag of the table.
struct Definition {
    flag: RedFlag,
    title: &'static str,
    look: fn(&Case<'_>) -> Look,
}

macro_rules! flags {
    ($($flag:ident => $look:path: $title:literal,)*) => {
        /// Every published flag and the function that looks for it.
        const FLAGS: &[Definition] = &[$(Definition { flag: RedFlag::$flag, title: $title, look: $look },)*];
    };
}

flags! {
    Flg01 => customer::bought_none_before: "The customer bought no advanced accelerators before October 2022",
    Flg02 => customer::orders_rose: "The customer's orders rose sharply since",
    Flg03 => customer::newly_incorporated: "The customer was incorporated after October 2022, outside country group A:1 or in D:5",
    Flg04 => customer::of_barred_places: "Headquarters or ultimate parent lie in country group D:5 or Macau, or are unknown",
    Flg05 => customer::odd_address: "The customer's address is residential or vague",
    Flg06 => customer::hardly_known: "There is little or nothing of the customer in public",
    Flg07 => customer::shares_contacts: "The customer shares its contacts with a listed party",
    Flg08 => customer::hides_use: "The customer does not say where the items will stand, or what for",
    Flg09 => telemetry::capacity_not_affirmed: "Power, cooling and space for the items are not affirmed",
    Flg10 => telemetry::security_lacking: "The data centre lacks cyber, physical or supply-chain security",
    Flg11 => customer::does_not_fit: "The product does not fit the customer's business",
    Flg12 => customer::passes_on: "A forwarder or reseller is the final consignee, or the route is odd",
    Flg13 => telemetry::helps_to_train: "Someone is helped to train a model that ECCN 4E091 covers",
    Flg14 => customer::listed_owner: "A listed party owns an unknown share of the customer",
    Flg15 => telemetry::shows_itself: "What devices report speaks of diversion",
}

/// Something that was looked at for a flag.
struct Fact {
    message: &'static str,
    words: String,
    grade: Grade,
    /// Since when it has been so, as far as that is known.
    since: Option<UnixSeconds>,
    /// When it was so last, where that is known: a resolution before it resolves something else.
    newest: Option<UnixSeconds>,
    evidence: Vec<Digest>,
}

impl Fact {
    fn new(message: &'static str, words: impl Into<String>) -> Self {
        Self {
            message,
            words: words.into(),
            grade: Grade::Declared,
            since: None,
            newest: None,
            evidence: Vec::new(),
        }
    }
}

/// What was found of one flag.
#[derive(Default)]
struct Look {
    /// What speaks for it.
    raised: Vec<Fact>,
    /// What leaves it open.
    open: Vec<Fact>,
    /// What speaks against it.
    clear: Vec<Fact>,
}

impl Look {
    fn and(mut self, other: Self) -> Self {
        self.raised.extend(other.raised);
        self.open.extend(other.open);
        self.clear.extend(other.clear);
        self
    }
}

/// All fifteen flags, what is raised first. The findings of the other conditions stand in the case.
pub(super) fn all(case: &Case<'_>) -> Vec<Flag> {
    let mut flags: Vec<Flag> = FLAGS.iter().map(|d| Flag::of(case, d)).collect();
    flags.sort_by_key(|f| (f.state, !f.open, f.flag));
    flags
}

impl Flag {
    fn of(case: &Case<'_>, definition: &Definition) -> Self {
        let look = (definition.look)(case);
        let (state, facts) = if !look.raised.is_empty() {
            (FlagStanding::Raised, look.raised)
        } else if !look.open.is_empty() {
            (FlagStanding::CannotTell, look.open)
        } else {
            (FlagStanding::NotRaised, look.clear)
        };
        let words: Vec<String> = facts.iter().map(|f| f.words.clone()).collect();
        let mut sentence = few(&words);
        let newest = facts.iter().filter_map(|f| f.newest).max();
        let resolution = match state {
            FlagStanding::NotRaised => None,
            _ => Resolution::of(case, definition.flag, newest),
        };
        let mut evidence: Vec<Digest> = facts.iter().flat_map(|f| f.evidence.clone()).collect();
        if let Some((resolution, words)) = &resolution {
            sentence.push_str(&format!("; {words}"));
            evidence.push(resolution.statement);
        }
        let (evidence, evidence_left_out) = listed(evidence);
        let resolution = resolution.map(|(r, _)| r);
        let message = facts.first().map_or("nothing-told", |f| f.message);
        Self {
            flag: definition.flag,
            title: definition.title,
            state,
            open: state != FlagStanding::NotRaised && !resolution.as_ref().is_some_and(Resolution::resolves),
            since: match state {
                FlagStanding::Raised => facts.iter().filter_map(|f| f.since).min(),
                _ => None,
            },
            grade: facts.iter().map(|f| f.grade).max().unwrap_or(Grade::Declared),
            sentence,
            message_id: format!("{}.{message}", definition.flag),
            evidence,
            evidence_left_out,
            resolution,
        }
    }
}

impl Resolution {
    /// Of each issuer its newest word that holds now; of these one that the flag stands outweighs one that it was resolved.
    fn of(case: &Case<'_>, flag: RedFlag, newest: Option<UnixSeconds>) -> Option<(Self, String)> {
        let mut issuers = BTreeSet::new();
        let on_it = case.papers().holding::<FlagResolution>(case.now);
        let words: Vec<Paper<'_, FlagResolution>> = on_it
            .filter(|p| p.claims.flag == flag && issuers.insert(p.header.issuer.as_str()))
            .collect();
        let stands = words.iter().find(|p| p.claims.state != FlagState::Resolved);
        let paper = stands.or_else(|| words.first())?;
        let at = paper.header.issued.0;
        let resolved = paper.claims.state == FlagState::Resolved;
        let outdated = newest.filter(|t| resolved && at < *t);
        let outdated = outdated.map(|t| format!("it is older than what speaks for the flag, of {t}"));
        let label = paper.label();
        let grounds = paper.claims.grounds.as_str().replace('\n', " ");
        let sentence = match &outdated {
            Some(why) => format!("the {label} does not resolve it, for {why}"),
            None => format!("{} by the {label} of {at}: {grounds}", paper.claims.state),
        };
        let resolution = Self {
            state: paper.claims.state,
            by: paper.header.issuer.to_string(),
            at,
            statement: paper.digest,
            outdated,
        };
        Some((resolution, sentence))
    }

    fn resolves(&self) -> bool {
        self.state == FlagState::Resolved && self.outdated.is_none()
    }
}

/// What is open at a site: critical conditions and flags.
struct Open<'c> {
    /// Critical conditions that do not hold.
    broken: Vec<&'c Finding>,
    /// Critical conditions that cannot be told.
    untold: Vec<&'c Finding>,
    /// Flags that are raised.
    raised: Vec<&'c Flag>,
    /// Flags that cannot be told.
    unclear: Vec<&'c Flag>,
}

impl<'c> Open<'c> {
    fn of(case: &'c Case<'_>) -> Self {
        let critical = |outcome| {
            let those = case.found.iter();
            let those = those.filter(move |f| f.severity == Severity::Critical && f.outcome == outcome);
            those.collect::<Vec<_>>()
        };
        let flags = |state| case.flags.iter().filter(move |f| f.open && f.state == state);
        Self {
            broken: critical(Outcome::NotMet),
            untold: critical(Outcome::CannotTell),
            raised: flags(FlagStanding::Raised).collect(),
            unclear: flags(FlagStanding::CannotTell).collect(),
        }
    }

    fn is_empty(&self) -> bool {
        self.broken.is_empty() && self.untold.is_empty() && self.raised.is_empty() && self.unclear.is_empty()
    }

    /// All of it in words.
    fn words(&self) -> String {
        let ids = |found: &[&Finding]| few(&found.iter().map(|f| f.condition.clone()).collect::<Vec<_>>());
        let flags = |some: &[&Flag]| few(&some.iter().map(|f| f.flag.to_string()).collect::<Vec<_>>());
        let parts = [
            ("critical and not met", ids(&self.broken)),
            ("critical and cannot be told", ids(&self.untold)),
            ("red flags raised and not resolved", flags(&self.raised)),
            ("red flags that cannot be told", flags(&self.unclear)),
        ];
        let said: Vec<String> = parts
            .iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(what, names)| format!("{what}: {names}"))
            .collect();
        said.join("; ")
    }

    fn evidence(&self) -> Vec<Digest> {
        let findings = self.broken.iter().chain(&self.untold).flat_map(|f| &f.evidence);
        let flags = self.raised.iter().chain(&self.unclear).flat_map(|f| &f.evidence);
        findings.chain(flags).copied().collect()
    }
}

/// REC-04: red flags are recorded and resolved, and nothing critical is open, before more items move. Judged after all other conditions, whose
/// findings and flags stand in the case.
pub(super) fn resolved(case: &Case<'_>) -> Verdict {
    let (open, shipments) = (Open::of(case), Shipments::of(case));
    let oldest = open.raised.iter().filter_map(|f| f.since).min();
    let verdict = |message, outcome, sentence: String| {
        let verdict = Verdict::new(outcome, message, sentence)
            .grade(Grade::Declared)
            .window(case.since(), case.now)
            .subjects([case.facts.site.clone()])
            .evidence(open.evidence())
            .evidence(shipments.statement);
        match (oldest, open.raised.is_empty()) {
            (Some(at), _) => verdict.measured(days(case.now.since(at))),
            (None, true) => verdict.measured(Quantity::exactly(0, "d")),
            (None, false) => verdict,
        }
    };
    let (what, held) = (open.words(), &shipments.sentence);
    if shipments.state == Movement::Held {
        let beside = if open.is_empty() {
            "nothing critical and no red flag is open".to_owned()
        } else {
            what
        };
        return verdict("held", Outcome::Met, format!("{held}; {beside}"));
    }
    let Some(limit) = case.term(|l| l.flag_max_age) else {
        return Verdict::no_limit("how long a red flag may stay unresolved (`flag_max_age`)");
    };
    let verdict = |message, outcome, sentence| {
        let most = limit.value.div_euclid(DAY_SECONDS);
        verdict(message, outcome, sentence).limit(Quantity::at_most(most, "d"))
    };
    let is_old = |f: &&&Flag| f.since.is_some_and(|t| case.now.since(t) > limit.value);
    let overdue: Vec<&&Flag> = open.raised.iter().filter(is_old).collect();
    let certain = !open.broken.is_empty() || !open.untold.is_empty() || !open.raised.is_empty();
    // Where nothing at all can be told under the licence, a release from before shows nothing.
    if shipments.state == Movement::Released && certain && case.void().is_none() {
        let sentence = format!("{held}, and there is open what stops them: {what}; hold shipments");
        return verdict("released", Outcome::NotMet, sentence);
    }
    if !open.broken.is_empty() || !overdue.is_empty() {
        let ages: Vec<String> = overdue
            .iter()
            .map(|f| {
                let age = f.since.map_or(0, |t| case.now.since(t));
                format!(
                    "{} has been raised for {}, and {} allows {}",
                    f.flag,
                    span(age),
                    limit.from,
                    span(limit.value)
                )
            })
            .collect();
        let ages = match ages.as_slice() {
            [] => String::new(),
            some => format!("; {}", few(some)),
        };
        let sentence = format!("{what}{ages}; hold shipments until that is resolved");
        return verdict("hold-shipments", Outcome::NotMet, sentence);
    }
    let undated = open.raised.iter().any(|f| f.since.is_none());
    if !open.untold.is_empty() || !open.unclear.is_empty() || undated {
        let sentence = format!("{what}; hold shipments until that is told or resolved");
        let open = verdict("hold-until-told", Outcome::CannotTell, sentence);
        let seen = case.nodes().any(|n| n.record.facts.newest.is_some());
        return if seen { open } else { no_report(open) };
    }
    if let Some(since) = oldest {
        let due = since.plus(limit.value);
        let sentence = format!("{what}; {} gives until {due} to resolve that", limit.from);
        return verdict("in-time", Outcome::Met, sentence);
    }
    let sentence = "no critical condition is open, and no red flag that nobody resolved";
    verdict("none-open", Outcome::Met, sentence.to_owned())
}

fn days(seconds: i64) -> Quantity {
    Quantity::exactly(seconds.div_euclid(DAY_SECONDS), "d")
}
