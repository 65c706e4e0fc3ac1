//! Sight: which nodes and devices were seen, how much of the time, and what a verdict comes to where that is not enough.

use super::super::finding::{Outcome, Quantity, Verdict, count, few};
use super::super::inventory::bus::unanswered;
use super::super::records::operations::Observed;
use super::{Case, Seen, is_called, no_report};
use crate::accelerator::{Match, Model};
use crate::appraisal::{DeviceFacts, NodeAtSite, NodeFacts};
use crate::id::{Digest, NodeId};
use crate::time::{UnixSeconds, span};
use crate::unit::Ppm;
use std::collections::BTreeMap;

impl<'a> Case<'a> {
    /// The nodes, in the order of their ids.
    pub(in crate::conditions) fn nodes(&self) -> impl Iterator<Item = &'a NodeAtSite> + '_ {
        self.note(|read| read.nodes = true);
        self.nodes.iter().copied()
    }

    /// A node of the site.
    pub(in crate::conditions) fn node(&self, id: &NodeId) -> Option<&'a NodeAtSite> {
        self.nodes().find(|n| n.record.facts.node == *id)
    }

    /// Nodes that are expected to report.
    pub(in crate::conditions) fn expected(&self) -> impl Iterator<Item = &'a NodeAtSite> + '_ {
        self.nodes().filter(|n| n.status.is_expected(self.now))
    }

    /// Devices that answered since a time, by the node's clock or by the verifier's, in the order of node and UUID.
    pub(in crate::conditions) fn seen_since(&self, since: UnixSeconds) -> Vec<Seen<'a>> {
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
    pub(in crate::conditions) fn unique_since(&self, since: UnixSeconds) -> Vec<Seen<'a>> {
        let mut seen = self.seen_since(since);
        seen.sort_by_cached_key(|s| {
            let latest = std::cmp::Reverse((s.heard, s.last));
            (s.device.identity.uuid, s.is_doubtful(since), latest)
        });
        seen.dedup_by_key(|s| s.device.identity.uuid);
        seen
    }

    /// What the catalogue says of a device.
    pub(in crate::conditions) fn matched(&self, device: &DeviceFacts) -> Match<'a> {
        self.catalogue.find(&device.identity.pci, &device.identity.name)
    }

    /// The model of a device that was seen.
    pub(in crate::conditions) fn model(&self, device: &DeviceFacts) -> Option<&'a Model> {
        self.matched(device).model()
    }

    /// The model that a licence calls by this name.
    pub(in crate::conditions) fn model_named(&self, name: &str) -> Option<&'a Model> {
        self.catalogue.models().iter().find(|m| is_called(m, name))
    }

    /// Digests of the newest reports.
    pub(in crate::conditions) fn newest_reports(&self) -> Vec<Digest> {
        self.nodes()
            .filter_map(|n| n.record.facts.newest.as_ref())
            .map(|n| n.digest)
            .collect()
    }

    /// The share of nodes expected to report whose newest report is fresh.
    pub(in crate::conditions) fn fresh_share(&self) -> Ppm {
        let all = self.expected().count();
        let fresh = self.expected().filter(|n| self.blindness(n).is_none()).count();
        Ppm::of(
            u64::try_from(fresh).unwrap_or(0),
            u64::try_from(all).unwrap_or(u64::MAX),
        )
    }

    /// The share of device time that samples cover, from the first report in the window of findings on; where none was due yet, the
    /// share of nodes that are fresh. It is told with a verdict; where it decides one, [`Self::uncovered`] says how far it is off.
    pub(in crate::conditions) fn coverage(&self) -> Ppm {
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
    pub(in crate::conditions) fn uncovered(&self, least: Ppm) -> u64 {
        match self.observed_since(self.since()) {
            from if from == self.since() => self.observed_time().lacks(least),
            from => Observed::since(self, from).lacks(least),
        }
    }

    /// How much of the device time in the window of findings samples cover.
    pub(in crate::conditions) fn observation(&self) -> &Observed {
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
    pub(in crate::conditions) fn silence(&self, facts: &NodeFacts) -> Option<String> {
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
    pub(in crate::conditions) fn unless_damaged(&self, verdict: Verdict, since: UnixSeconds) -> Verdict {
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
    pub(in crate::conditions) fn settle_devices(&self, since: UnixSeconds, verdict: Verdict) -> Verdict {
        self.hold_devices(self.observed(since, verdict))
    }

    /// A verdict that nothing bad was seen since a time, held back to `cannot tell` unless everything was seen that should have been.
    pub(in crate::conditions) fn settle(&self, since: UnixSeconds, verdict: Verdict) -> Verdict {
        self.hold_unless(self.observed(since, verdict), |node| self.blindness(node))
    }

    /// [`Self::settle_devices`] for what is computed for a time of its own, observed or not.
    pub(in crate::conditions) fn hold_devices(&self, verdict: Verdict) -> Verdict {
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

    /// The device that answered last for each row of the manifest, since a time, under a key that was not revoked.
    pub(in crate::conditions) fn seen_by_row(&self, since: UnixSeconds) -> BTreeMap<usize, Seen<'a>> {
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
}
