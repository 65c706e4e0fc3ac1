//! The case: everything that a condition may look at, and the questions that many of them ask.

use super::finding::{Finding, Outcome, Quantity, Verdict, count, few};
use super::flags::Flag;
use super::inventory::bus::unanswered;
pub(super) use super::inventory::seen::Seen;
use super::manifest::{Manifest, ManifestIndex};
use super::papers::Papers;
use super::read::{Read, Slack};
use super::records::operations::Observed;
use super::tenant::attribution::Attribution;
use crate::accelerator::{Catalogue, Match, Model};
use crate::appraisal::{DeviceFacts, Estate, HeardStatement, NodeAtSite, NodeFacts, Sighting, SiteFacts};
use crate::id::{Digest, NodeId};
use crate::licence::{CataloguePin, FormerDevice, Licence, LicensedDevice, RowMatch, RuleSetPin, Standing};
use crate::rules::{Limits, RuleSet};
use crate::telemetry::AcceleratorIdentity;
use crate::time::{UnixSeconds, span};
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

    /// Rows of the manifest that name this UUID or this serial number, whatever their site, with their place in it.
    pub(super) fn candidates(
        &self,
        identity: &AcceleratorIdentity,
    ) -> impl Iterator<Item = (usize, &'a LicensedDevice)> {
        self.manifest.candidates(identity)
    }

    /// The row of this site's manifest that a device answers to.
    pub(super) fn row_of(&self, identity: &AcceleratorIdentity) -> Option<(usize, &'a LicensedDevice)> {
        self.candidates(identity)
            .find(|(_, row)| row.compare(identity) == RowMatch::Same && self.is_here(row))
    }

    /// Whether another licence answers for a device: it lists the device for this site, this one does not, and it held when
    /// the device was last heard.
    pub(super) fn is_beside(&self, device: &DeviceFacts) -> bool {
        let identity = &device.identity;
        let held = |licence: &Licence| device.last_heard().is_some_and(|t| licence.valid.holds(t));
        let lists = |manifest: &Manifest<'_>| {
            let mut rows = manifest.candidates(identity);
            rows.any(|(_, row)| row.compare(identity) == RowMatch::Same && self.is_here(row))
        };
        let mut beside = self.beside.iter();
        beside.any(|(licence, manifest)| held(licence) && lists(manifest)) && !lists(&self.manifest)
    }

    /// Another licence that names the site and holds now, by its id.
    pub(super) fn other_licence(&self) -> Option<&'a str> {
        let holding = self.beside.iter().find(|(l, _)| l.valid.holds(self.now));
        holding.map(|(l, _)| l.licence_id.as_str())
    }

    /// Whether the other licences that name the site hold now as they did at an earlier time, and all the time since.
    pub(super) fn same_licences_since(&self, earlier: UnixSeconds) -> bool {
        let passed = |t: UnixSeconds| earlier < t && t <= self.now;
        let mut terms = self.beside.iter().map(|(licence, _)| licence.valid);
        !terms.any(|valid| passed(valid.from) || valid.to.is_some_and(passed))
    }

    /// Whether a row allows its device to stand at this site.
    pub(super) fn is_here(&self, row: &LicensedDevice) -> bool {
        row.site.as_deref().is_none_or(|s| s == self.facts.site)
    }

    /// This site's rows, with their place in the manifest.
    pub(super) fn rows(&self) -> impl Iterator<Item = (usize, &'a LicensedDevice)> + '_ {
        let devices = &self.licence.devices;
        devices.iter().enumerate().filter(|(_, row)| self.is_here(row))
    }

    /// The device that answered last for each row of the manifest, since a time, under a key that was not revoked.
    pub(super) fn seen_by_row(&self, since: UnixSeconds) -> BTreeMap<usize, Seen<'a>> {
        let mut found: BTreeMap<usize, Seen<'a>> = BTreeMap::new();
        let sure = self.seen_since(since).into_iter().filter_map(|s| {
            let last = s.last_sure().filter(|t| *t >= since)?;
            Some(Seen { last, ..s })
        });
        for seen in sure {
            if let Some((i, _)) = self.row_of(&seen.device.identity) {
                let entry = found.entry(i).or_insert(seen);
                if entry.last < seen.last {
                    *entry = seen;
                }
            }
        }
        found
    }

    /// Why no condition can be met at all under this licence, if so.
    pub(super) fn void(&self) -> Option<String> {
        if self.now < self.licence.valid.from {
            return Some(format!("the licence holds only from {}", self.licence.valid.from));
        }
        if let Some(from) = self.licence.manifest_from.filter(|t| self.now < *t) {
            return Some(format!("the manifest holds only from {from}"));
        }
        if !self.licence.valid.holds(self.now) {
            let to = self.licence.valid.to.unwrap_or(self.licence.valid.from);
            return Some(format!("the licence ended before {to}"));
        }
        if self.licence.site(self.facts.site).is_none() {
            return Some(format!("the licence does not name site {}", self.facts.site));
        }
        if let Some(why) = self.other_catalogue() {
            return Some(why);
        }
        match self.rules {
            Some(rules) => rules.over(self.now),
            None => Some(self.other_rules()),
        }
    }

    /// How the rule set given is not the one that the licence names, or why there is none.
    fn other_rules(&self) -> String {
        let (given, id) = (self.given, &self.licence.ruleset_id);
        if let Some(why) = &given.absent {
            return why.clone();
        }
        match self.licence.ruleset.filter(|_| given.id == *id) {
            None => format!("the rule set given is not {id}, which the licence names"),
            Some(RuleSetPin::Digest(digest)) => format!(
                "the rule set given is {}, and the licence pins the one with SHA-256 {digest}",
                given.label()
            ),
            Some(RuleSetPin::Signed { key, least_version }) => format!(
                "the rule set given is {}, and the licence pins one that key {key} signed, of version {least_version} or newer",
                given.label()
            ),
        }
    }

    /// What a finding names as its rule set.
    pub(super) fn rules_label(&self) -> String {
        self.rules
            .map_or_else(|| self.licence.ruleset_id.clone(), RuleSet::label)
    }

    /// Why nothing at all can be told with the catalogue given, if so: it is not the one that the licence pins.
    pub(super) fn other_catalogue(&self) -> Option<String> {
        let pin = self.licence.catalogue.filter(|pin| !pin.allows(self.catalogue))?;
        let pinned = match pin {
            CataloguePin::Digest(digest) => format!("the licence pins the one with SHA-256 {digest}"),
            CataloguePin::Signed { key, least_serial } => {
                format!("the licence pins one that key {key} signed, of serial {least_serial} or newer")
            }
        };
        Some(format!(
            "the figures are those of {}, and {pinned}",
            self.catalogue.label()
        ))
    }

    /// The time up to which the licence asks for reports: its last second, once that is past. Silence after it breaks nothing.
    pub(super) fn due(&self) -> UnixSeconds {
        let to = self.licence.valid.to;
        to.map_or(self.now, |to| self.now.min(to.plus(-1)))
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

    /// The nodes, in the order of their ids.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &'a NodeAtSite> + '_ {
        self.note(|read| read.nodes = true);
        self.nodes.iter().copied()
    }

    /// A node of the site.
    pub(super) fn node(&self, id: &NodeId) -> Option<&'a NodeAtSite> {
        self.nodes().find(|n| n.record.facts.node == *id)
    }

    /// Nodes that are expected to report.
    pub(super) fn expected(&self) -> impl Iterator<Item = &'a NodeAtSite> + '_ {
        self.nodes().filter(|n| n.status.is_expected(self.now))
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

    /// Devices that answered since a time, by the node's clock or by the verifier's, in the order of node and UUID.
    pub(super) fn seen_since(&self, since: UnixSeconds) -> Vec<Seen<'a>> {
        self.nodes()
            .flat_map(|node| {
                node.record.facts.devices.iter().filter_map(move |device| {
                    let (last, heard) = (device.last_seen?, device.last_heard()?);
                    (heard >= since).then_some(Seen {
                        node,
                        device,
                        last,
                        heard,
                    })
                })
            })
            .collect()
    }

    /// The same, each UUID once, as it was seen last; what only a revoked key says hides nothing.
    pub(super) fn unique_since(&self, since: UnixSeconds) -> Vec<Seen<'a>> {
        let mut seen = self.seen_since(since);
        seen.sort_by_cached_key(|s| {
            let latest = std::cmp::Reverse((s.heard, s.last));
            (s.device.identity.uuid, s.is_doubtful(since), latest)
        });
        seen.dedup_by_key(|s| s.device.identity.uuid);
        seen
    }

    /// What the catalogue says of a device.
    pub(super) fn matched(&self, device: &DeviceFacts) -> Match<'a> {
        self.catalogue.find(&device.identity.pci, &device.identity.name)
    }

    /// The model of a device that was seen.
    pub(super) fn model(&self, device: &DeviceFacts) -> Option<&'a Model> {
        self.matched(device).model()
    }

    /// The model that a licence calls by this name.
    pub(super) fn model_named(&self, name: &str) -> Option<&'a Model> {
        self.catalogue.models().iter().find(|m| is_called(m, name))
    }

    /// Digests of the newest reports.
    pub(super) fn newest_reports(&self) -> Vec<Digest> {
        self.nodes()
            .filter_map(|n| n.record.facts.newest.as_ref())
            .map(|n| n.digest)
            .collect()
    }

    /// The share of nodes expected to report whose newest report is fresh.
    pub(super) fn fresh_share(&self) -> Ppm {
        let all = self.expected().count();
        let fresh = self.expected().filter(|n| self.blindness(n).is_none()).count();
        Ppm::of(
            u64::try_from(fresh).unwrap_or(0),
            u64::try_from(all).unwrap_or(u64::MAX),
        )
    }

    /// The share of device time that samples cover, from the first report in the window of findings on; where none was due yet, the
    /// share of nodes that are fresh. It is told with a verdict; where it decides one, [`Self::uncovered`] says how far it is off.
    pub(super) fn coverage(&self) -> Ppm {
        self.note(|read| read.nodes = true);
        *self.coverage.get_or_init(|| {
            let (since, from) = (self.since(), self.observed_since(self.since()));
            let share = match from == since {
                true => self.observed_time().share(),
                false => Observed::since(self, from).share(),
            };
            share.unwrap_or_else(|| self.fresh_share())
        })
    }

    /// How far the share of [`Self::coverage`] lies below another, as far as that is device time, in milliseconds.
    pub(super) fn uncovered(&self, least: Ppm) -> u64 {
        match self.observed_since(self.since()) {
            from if from == self.since() => self.observed_time().lacks(least),
            from => Observed::since(self, from).lacks(least),
        }
    }

    /// How much of the device time in the window of findings samples cover.
    pub(super) fn observation(&self) -> &Observed {
        self.grows();
        self.observed_time()
    }

    fn observed_time(&self) -> &Observed {
        self.note(|read| read.nodes = true);
        self.observation
            .get_or_init(|| Observed::since(self, self.since()))
    }

    /// Why what a node holds cannot be told, if so: evidence that is missing must not improve a result.
    fn blindness(&self, node: &NodeAtSite) -> Option<String> {
        let facts = &node.record.facts;
        if facts.damaged >= Some(self.since()) {
            return Some("has reports whose copy is damaged in the verifier's database".to_owned());
        }
        // One that another reports in place of may be silent.
        if node.status.is_expected(self.now)
            && let Some(silence) = self.silence(facts)
        {
            return Some(silence);
        }
        let missing = facts.chain.missing_since(self.since());
        (missing > 0).then(|| {
            let reports = count(usize::try_from(missing).unwrap_or(usize::MAX), "report");
            format!("has not delivered {reports}")
        })
    }

    /// How a node is silent, if it is.
    pub(super) fn silence(&self, facts: &NodeFacts) -> Option<String> {
        let Some(newest) = &facts.newest else {
            return Some("has never reported".to_owned());
        };
        let Some(limit) = self.term(|l| l.freshness_max) else {
            return Some("may be silent for a time that neither licence nor rule set limits".to_owned());
        };
        let age = self.now.since(newest.end);
        (age > limit.value).then(|| format!("has been silent for {}", span(age)))
    }

    /// Why the devices of a node cannot be told although it reports, if so.
    fn unreadable(&self, node: &NodeAtSite) -> Option<String> {
        let facts = &node.record.facts;
        if !node.status.is_expected(self.now) {
            return None;
        }
        let silent = unanswered(facts, facts.newest.as_ref()?, self.since());
        (silent > 0).then(|| {
            let verb = if silent == 1 { "does" } else { "do" };
            format!(
                "has {} on its bus that {verb} not answer",
                count(silent, "accelerator")
            )
        })
    }

    /// A verdict that something was not seen since a time, held back to `cannot tell` where a report of then is damaged: it may show it.
    pub(super) fn unless_damaged(&self, verdict: Verdict, since: UnixSeconds) -> Verdict {
        let names: Vec<String> = self
            .nodes()
            .filter(|n| n.record.facts.damaged >= Some(since))
            .map(|n| n.status.name.clone())
            .collect();
        if names.is_empty() || verdict.outcome != Outcome::NotMet {
            return verdict;
        }
        let sentence = format!(
            "copies of reports of node {} are damaged in the verifier's database and may show more; as far as can be read, {}",
            few(&names),
            verdict.sentence
        );
        Verdict {
            outcome: Outcome::CannotTell,
            message: "damaged-evidence",
            sentence,
            ..verdict
        }
    }

    /// [`Self::settle`] for what rests on which devices there are: an accelerator that does not answer may be any.
    pub(super) fn settle_devices(&self, since: UnixSeconds, verdict: Verdict) -> Verdict {
        self.hold_devices(self.observed(since, verdict))
    }

    /// A verdict that nothing bad was seen since a time, held back to `cannot tell` unless everything was seen that should have been.
    pub(super) fn settle(&self, since: UnixSeconds, verdict: Verdict) -> Verdict {
        self.hold_unless(self.observed(since, verdict), |node| self.blindness(node))
    }

    /// [`Self::settle_devices`] for what is computed for a time of its own, observed or not.
    pub(super) fn hold_devices(&self, verdict: Verdict) -> Verdict {
        self.hold_unless(verdict, |node| {
            self.blindness(node).or_else(|| self.unreadable(node))
        })
    }

    /// Limits what a verdict says of a time to the part that a report speaks of, and says so where more than a report's time is
    /// left out: nobody saw what was before.
    fn observed(&self, since: UnixSeconds, mut verdict: Verdict) -> Verdict {
        let from = self.observed_since(since);
        if from.since(since) > i64::from(self.licence.report_seconds) {
            verdict
                .sentence
                .push_str(&format!("; what was before {from} no report shows"));
        }
        verdict.window(from, self.now)
    }

    /// The start of the first time since `since` that any report of the site speaks of.
    fn observed_since(&self, since: UnixSeconds) -> UnixSeconds {
        let first = self.nodes().filter_map(|n| n.record.facts.earliest).min();
        first.map_or(since, |t| t.clamp(since, self.now.max(since)))
    }

    fn hold_unless(&self, verdict: Verdict, why: impl Fn(&NodeAtSite) -> Option<String>) -> Verdict {
        let verdict = verdict.coverage(self.coverage()).evidence(self.newest_reports());
        if !self.nodes().any(|n| n.record.facts.newest.is_some()) {
            return no_report(verdict);
        }
        let blind: Vec<_> = self
            .nodes()
            .filter(|n| n.status.is_active(self.now))
            .filter_map(|n| Some((n, why(n)?)))
            .collect();
        if self.expected().next().is_none() {
            let sentence = format!(
                "no node is expected to report any more; as far as was seen, {}",
                verdict.sentence
            );
            return Verdict {
                outcome: Outcome::CannotTell,
                message: "not-all-seen",
                sentence,
                ..verdict
            };
        }
        let unkept = self.nodes().any(|n| {
            let facts = &n.record.facts;
            facts.devices_unkept > 0 || facts.strangers_unkept > 0
        });
        if blind.is_empty() && !unkept {
            return verdict;
        }
        let mut reasons: Vec<String> = blind
            .iter()
            .map(|(n, why)| format!("node {} {why}", n.status.name))
            .collect();
        if unkept {
            reasons.push("a node named more accelerators than are kept".to_owned());
        }
        let sentence = format!(
            "{}, so that what is there cannot be told; as far as was seen, {}",
            few(&reasons),
            verdict.sentence
        );
        // What is not seen may add to what was: no most is known.
        let measured = verdict
            .measured
            .filter(|m| m.lower.is_some())
            .map(|m| Quantity { upper: None, ..m });
        let names = blind.iter().map(|(n, _)| n.record.facts.node.to_string());
        Verdict {
            outcome: Outcome::CannotTell,
            message: "not-all-seen",
            sentence,
            measured,
            ..verdict
        }
        .subjects(names)
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
