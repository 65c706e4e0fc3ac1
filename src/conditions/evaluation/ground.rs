//! Ground: what must hold of a site for its reports to go on without anything new.
//!
//! Decides: whether nothing but time, sums and the ends of stretches moved. What an age of a report is held against was within every such limit
//! before, so that a newer report changes no verdict by its age.

use crate::appraisal::{Newest, NodeRecord};
use crate::conditions::case::Case;
use crate::conditions::inventory::presence;
use crate::time::UnixSeconds;
use std::collections::BTreeSet;

/// What must hold of a site: it changes with the first report that does not go on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ground {
    /// Whether it rested on trial reports: every sentence says so.
    pub(super) trial: bool,
    /// When the last stretch of presence began, as late as clocks and delays leave possible; `None` where a device or its key may stand in two
    /// places. Whatever goes on after it was there together before.
    begun: Option<UnixSeconds>,
}

impl Ground {
    pub(super) fn of(case: &Case<'_>) -> Self {
        Self {
            trial: case.has_trial_reports(),
            begun: last_begun(case),
        }
    }

    /// Whether a node's record only goes on from what it was, and nothing else than time depends on how far.
    pub(super) fn lies_under(&self, case: &Case<'_>, before: &NodeRecord) -> bool {
        let Some(node) = case.node(&before.facts.node) else {
            return false;
        };
        let Ok(former) = before.facts.readable_newest() else {
            return false;
        };
        let since = case.since();
        let off = presence::moved(&before.facts.clock, since);
        let spoke_last = |begun: UnixSeconds| begun <= former.end.plus(off.saturating_neg());
        node.status.revoked_from.is_none()
            && case.silence(&before.facts).is_none()
            && recent(case) <= former.end
            && case.same_licences_since(former.end)
            && self.begun.is_some_and(spoke_last)
            && node.record.goes_on_from(before)
    }
}

/// Since when a device counts as seen by every limit of age: in the window of findings, and not missing.
fn recent(case: &Case<'_>) -> UnixSeconds {
    let missing = case.term(|l| l.missing_after).map_or(i64::MAX, |t| t.value);
    case.since().max(case.due().plus(missing.saturating_neg()))
}

/// How the time of a newest report is bounded: `None` where nothing bounds it from before, else whether more widely than is allowed.
pub(super) fn bracket(case: &Case<'_>, newest: Option<&Newest>) -> Option<bool> {
    let newest = newest?;
    let widest = case.term(|l| l.time_bracket_max)?.value;
    Some(newest.received.since(newest.given?) > widest)
}

fn last_begun(case: &Case<'_>) -> Option<UnixSeconds> {
    if !case.facts.elsewhere.is_empty() {
        return None;
    }
    let since = case.since();
    let (mut uuids, mut serials, mut keys) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut last = UnixSeconds(i64::MIN);
    for node in case.nodes() {
        let facts = &node.record.facts;
        let off = presence::moved(&facts.clock, since);
        for device in &facts.devices {
            let identity = &device.identity;
            let serial = identity.serial.as_deref();
            if !uuids.insert(identity.uuid) || serial.is_some_and(|s| !serials.insert(s)) {
                return None;
            }
        }
        let answers = node.record.evidence.newest.iter().flat_map(|r| &r.devices);
        if !answers.filter_map(|a| a.identity).all(|key| keys.insert(key)) {
            return None;
        }
        let spans = facts.devices.iter().flat_map(|d| &d.presence);
        let spans = spans.chain(facts.strangers.iter().map(|s| &s.span));
        let starts = spans.map(|s| s.from.plus(off.saturating_add(s.lag.max(0))));
        last = starts.fold(last, UnixSeconds::max);
    }
    Some(last)
}
