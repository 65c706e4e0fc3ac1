//! The case: everything that a condition may look at, and the questions that many of them ask.
//!
//! `sight` asks what was seen, and whether enough of it; `standing` what the licence lists, and whether it holds.

mod sight;
mod standing;

use super::finding::{Finding, Outcome, Quantity, Verdict};
use super::flags::Flag;
pub(super) use super::inventory::seen::Seen;
use super::manifest::{Manifest, ManifestIndex};
use super::papers::Papers;
use super::read::{Read, Slack};
use super::records::operations::Observed;
use super::tenant::attribution::Attribution;
use crate::accelerator::{Catalogue, Model};
use crate::appraisal::{Estate, HeardStatement, NodeAtSite, Sighting, SiteFacts};
use crate::id::Digest;
use crate::licence::{FormerDevice, Licence, Standing};
use crate::rules::{Limits, RuleSet};
use crate::time::UnixSeconds;
use crate::unit::Ppm;
use std::cell::{Cell, OnceCell};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a sentence adds where no other key speaks.
pub(super) const UNDER_REVOKED: &str = ", and only a key that was revoked by then says so";

/// A limit, and which document sets it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Term<T> {
    pub(super) value: T,
    /// `the licence` or `the rule set`.
    pub(super) from: &'static str,
}

/// What surrounds the nodes. Nodes, all sites together and statements are looked at through [`Case::nodes`], [`Case::estate`] and [`Case::papers`] alone, so that it is known who did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings<'a> {
    /// The site's id.
    pub(super) site: &'a String,
    /// Its devices, as far as they were seen at other sites.
    pub(super) elsewhere: &'a [Sighting],
    /// The licences that name it.
    pub(super) licences: &'a [Arc<Licence>],
    /// How many issuers signed each of these.
    pub(super) issuers: &'a BTreeMap<Digest, u32>,
    /// Devices that older serials of these listed for it and the newest does not.
    pub(super) former: &'a [FormerDevice],
    statements: &'a [Arc<HeardStatement>],
    estate: &'a Estate,
    /// What the checker holds of those who signed statements.
    pub(super) standing: &'a Standing,
}

/// Licence, rules, catalogue, facts and time of one evaluation.
#[derive(Debug)]
pub struct Case<'a> {
    pub(super) licence: &'a Licence,
    /// Absent where the rule set given is not the one that the licence names.
    pub(super) rules: Option<&'a RuleSet>,
    /// The one given.
    given: &'a RuleSet,
    pub(super) catalogue: &'a Catalogue,
    pub(super) facts: Surroundings<'a>,
    pub(super) now: UnixSeconds,
    /// What all conditions came to but those that look at the others, once they are judged.
    pub(super) found: Vec<Finding>,
    /// The red flags, likewise.
    pub(super) flags: Vec<Flag>,
    read: Cell<Read>,
    nodes: Vec<&'a NodeAtSite>,
    manifest: Manifest<'a>,
    /// The other licences that name the site, with their manifests.
    beside: Vec<(&'a Licence, Manifest<'a>)>,
    /// Made once, when it is first asked for.
    coverage: OnceCell<Ppm>,
    /// Likewise.
    papers: OnceCell<Papers<'a>>,
    /// Likewise.
    attribution: OnceCell<(Attribution, Slack)>,
    /// Likewise.
    observation: OnceCell<Observed>,
    /// Likewise.
    trial_reports: OnceCell<bool>,
}

impl<'a> Case<'a> {
    pub(super) fn new(
        licence: &'a Licence,
        rules: &'a RuleSet,
        catalogue: &'a Catalogue,
        facts: &'a SiteFacts,
        now: UnixSeconds,
    ) -> Self {
        let index = Arc::new(ManifestIndex::of(licence));
        Self::with_index(licence, index, rules, catalogue, facts, now)
    }

    /// The same, where the index of the licence's manifest is at hand.
    pub(super) fn with_index(
        licence: &'a Licence,
        index: Arc<ManifestIndex>,
        rules: &'a RuleSet,
        catalogue: &'a Catalogue,
        facts: &'a SiteFacts,
        now: UnixSeconds,
    ) -> Self {
        let pinned = licence.ruleset.is_none_or(|pin| pin.allows(rules));
        let same = rules.absent.is_none() && rules.id == licence.ruleset_id && pinned;
        let mut nodes: Vec<_> = facts.nodes.iter().collect();
        nodes.sort_by_key(|n| n.record.facts.node);
        let beside = facts.licences.iter().map(|l| &**l);
        let beside = beside.filter(|l| l.licence_id != licence.licence_id && l.site(&facts.site).is_some());
        Self {
            coverage: OnceCell::new(),
            papers: OnceCell::new(),
            attribution: OnceCell::new(),
            observation: OnceCell::new(),
            trial_reports: OnceCell::new(),
            read: Cell::default(),
            licence,
            rules: same.then_some(rules),
            given: rules,
            catalogue,
            facts: Surroundings {
                site: &facts.site,
                elsewhere: &facts.elsewhere,
                licences: &facts.licences,
                issuers: &facts.issuers,
                former: &facts.former,
                statements: &facts.statements,
                estate: &facts.estate,
                standing: &facts.standing,
            },
            now,
            found: Vec::new(),
            flags: Vec::new(),
            nodes,
            manifest: Manifest::with_index(licence, index),
            beside: beside.map(|l| (l, Manifest::of(l))).collect(),
        }
    }

    fn note(&self, what: impl FnOnce(&mut Read)) {
        let mut read = self.read.get();
        what(&mut read);
        self.read.set(read);
    }

    /// What was looked at since this was last asked.
    pub(super) fn take_read(&self) -> Read {
        self.read.take()
    }

    /// Notes a look at what grows with each report, and how far it may grow until the verdict may be another.
    pub(super) fn stands_for(&self, slack: Slack) {
        self.note(|read| {
            read.grows = true;
            read.stands_for(slack);
        });
    }

    /// Notes a look at what grows with each report, of which nobody says how far it may.
    pub(super) fn grows(&self) {
        self.stands_for(Slack::NONE);
    }

    /// Statements on file, in any order.
    pub(super) fn on_file(&self) -> impl Iterator<Item = &'a HeardStatement> + '_ {
        self.note(|read| read.papers = true);
        self.facts.statements.iter().map(|s| &**s)
    }

    /// What is held of all sites together, this one among them.
    pub(super) fn estate(&self) -> &'a Estate {
        self.note(|read| read.nodes = true);
        self.facts.estate
    }

    /// Whether a node's newest report says that it is a trial.
    pub(super) fn has_trial_reports(&self) -> bool {
        *self.trial_reports.get_or_init(|| {
            let mut newest = self.nodes.iter().filter_map(|n| n.record.facts.newest.as_ref());
            newest.any(|r| r.trial)
        })
    }

    /// How long the same days lie in a period that begins at `from`: where the licence did, or so many seconds before now, whichever is later.
    pub(super) fn slack_of_period(&self, from: UnixSeconds, window: Option<i64>) -> Slack {
        let ends = window.map_or(UnixSeconds(i64::MAX), |window| from.plus(window));
        let firsts = self.nodes().filter_map(|n| n.record.facts.earliest);
        Slack::of_period(from, ends.max(self.now), firsts)
    }

    /// Notes that the ends of stretches are held against a time: where that may lie after the last report of a node that is not silent, the next one
    /// may reach it.
    pub(super) fn reaches(&self, time: UnixSeconds) {
        let fresh = self.term(|l| l.freshness_max);
        if fresh.is_none_or(|fresh| time.plus(fresh.value) >= self.now) {
            self.grows();
        }
    }

    /// The statements that the licence hears about the site.
    pub(super) fn papers(&self) -> &Papers<'a> {
        self.note(|read| read.papers = true);
        self.papers.get_or_init(|| Papers::of(self))
    }

    /// Which tenants held devices of the site. A judge that holds a number of it against a limit of its own says how far the two lie apart.
    pub(super) fn attribution(&self) -> &Attribution {
        self.note(|read| read.nodes = true);
        let (found, slack) = self.attribution.get_or_init(|| {
            let found = Attribution::of(self);
            let slack = found.slack(self);
            (found, slack)
        });
        self.stands_for(*slack);
        found
    }

    /// The time up to which the licence asks for reports: its last second, once that is past. Silence after it breaks nothing.
    pub(super) fn due(&self) -> UnixSeconds {
        let to = self.licence.valid.to;
        to.map_or(self.now, |to| self.now.min(to.plus(-1)))
    }

    /// Start of the time in which what was seen once still counts: not before the licence.
    pub(super) fn since(&self) -> UnixSeconds {
        let from = self.licence.valid.from;
        match self.term(|l| l.finding_window) {
            Some(window) => from.max(self.now.plus(window.value.saturating_neg())),
            None => from,
        }
    }

    /// The same for what the manifest decides: a device that a newer serial drops was licensed until then.
    pub(super) fn manifest_since(&self) -> UnixSeconds {
        self.since()
            .max(self.licence.manifest_from.unwrap_or(self.licence.valid.from))
    }

    /// A limit: the licence's, else the rule set's.
    pub(super) fn term<T>(&self, pick: impl Fn(&Limits) -> Option<T>) -> Option<Term<T>> {
        if let Some(value) = pick(&self.licence.limits) {
            return Some(Term {
                value,
                from: "the licence",
            });
        }
        let value = pick(&self.rules?.limits)?;
        Some(Term {
            value,
            from: "the rule set",
        })
    }

    /// The verdict where only what drivers report keeps compute below a limit: a host that owns its driver can falsify that, so it is
    /// `cannot tell`, unless the parties agreed in the licence that it suffices.
    pub(super) fn by_report(&self, message: &'static str, what: String, measured: Quantity) -> Verdict {
        if self.licence.reported_bounds_suffice {
            let sentence = format!(
                "{what}; the upper bound is as good as what the drivers report, which the licence takes"
            );
            return self.hold_devices(Verdict::met(message, sentence).measured(measured));
        }
        let sentence = format!(
            "{what}; the upper bound is as good as what the drivers report, which whoever owns the hosts can falsify; a licence that takes \
             their word (`reported_bounds_suffice`) would settle it"
        );
        Verdict::cannot_tell("as-reported", sentence).measured(measured)
    }
}

/// The verdict of any condition while no node has reported.
pub(super) fn no_report(verdict: Verdict) -> Verdict {
    Verdict {
        outcome: Outcome::CannotTell,
        message: "no-report",
        sentence: "no node of this site has reported, so nothing was seen".to_owned(),
        measured: None,
        ..verdict
    }
}

/// Whether a licence calls a model by this name.
pub(super) fn is_called(model: &Model, name: &str) -> bool {
    model.is_called(name)
}
