//! Operations of a group: whether any devices that computed together passed the limit of operations.
//!
//! Decides: what can be said without knowing which devices computed together, for no report of this version attributes work to a group. A group
//! computed no more than all devices of the site, and no less than one that the licence calls a group. Rests on the peak of the devices where that
//! suffices, which no driver can forge; else on what the drivers report, and then says so.

use super::super::case::{Case, no_report};
use super::super::finding::{Quantity, Verdict, few, scientific_up};
use super::compute::{SitePeak, device_fastest, formats, is_whole, operations_in, row_model, unseen_rows};
use super::sums::Sums;
use crate::accelerator::Catalogue;
use crate::appraisal::{DeviceSums, NodeAtSite};
use crate::id::Digest;
use crate::licence::OpsGroup;
use crate::time::UnixSeconds;
use crate::unit::{Interval, Operations};

/// TRN-02: no group of devices that compute together reaches the operation limit within the window.
pub(in crate::conditions) fn operations_within(case: &Case<'_>) -> Verdict {
    let Some(limit) = case.term(|l| l.ops_limit) else {
        return Verdict::no_limit("how many operations a model may be trained with (`ops_limit`)");
    };
    let Some(window) = case.term(|l| l.ops_window) else {
        return Verdict::no_limit("the time over which operations are summed (`ops_window`)");
    };
    let peak = SitePeak::of(case, window.value);
    let bound = Quantity::at_most(limit.value.0, "operations");
    let rule = format!(
        "the limit, set by {}, is {}",
        limit.from,
        scientific_up(limit.value.0)
    );
    if !case.nodes().any(|n| n.record.facts.newest.is_some()) {
        return no_report(Verdict::met("", ""))
            .limit(bound)
            .window(peak.from, case.now);
    }
    if peak.unknown.is_empty() && peak.most < limit.value.0 {
        let sentence = format!(
            "{}, and no group of them can have made more; {rule}; no workload data was looked at",
            peak.words
        );
        return case
            .hold_devices(
                Verdict::met("out-of-reach", sentence).measured(Quantity::at_most(peak.most, "operations")),
            )
            .limit(bound)
            .window(peak.from, case.now)
            .evidence(peak.evidence);
    }
    // The licence answers for no time before it.
    let from = peak.from.max(case.licence.valid.from);
    let mut verdict = measured(case, &peak, from, window.value, limit.value, &rule);
    verdict.evidence.extend(peak.evidence);
    verdict
        .limit(bound)
        .window(from, case.now)
        .coverage(case.coverage())
}

/// The verdict where the peak of the site does not settle it.
fn measured(
    case: &Case<'_>,
    peak: &SitePeak,
    from: UnixSeconds,
    window: i64,
    limit: Operations,
    rule: &str,
) -> Verdict {
    let sums = Sums::over(case, from, |day| Interval::new(day.lower, day.upper));
    let apart = sums.operations_apart(limit.0);
    case.stands_for(case.slack_of_period(from, Some(window)));
    case.stands_for(sums.slack(case, apart, UnixSeconds(i64::MAX)));
    let (lower, upper) = sums.operations;
    let interval = Quantity::between(lower, upper.max(lower), "operations");
    let source = sums
        .told
        .source()
        .map_or_else(String::new, |s| format!(", from {s}"));
    let site = format!(
        "the devices of the site computed between {} and {} operations since {from}, over the formats that they can run{source}",
        scientific_down(lower),
        scientific_up(upper),
    );
    match case.licence.ops_group {
        Some(OpsGroup::Site) if lower >= limit.0 => {
            return Verdict::not_met(
                "above-limit",
                format!("{site}; the licence takes the site for one group, and {rule}"),
            )
            .measured(Quantity::at_least(lower, "operations"))
            .subjects([case.facts.site.clone()])
            .evidence(sums.evidence);
        }
        Some(OpsGroup::Node) => {
            if let Some(verdict) = of_nodes(case, peak, from, window, limit, rule) {
                return verdict.evidence(sums.evidence);
            }
        }
        Some(OpsGroup::Site) | None => {}
    }
    let mut unknown = peak.unknown.clone();
    unknown.extend(sums.unknown.iter().cloned());
    unknown.sort();
    unknown.dedup();
    if !unknown.is_empty() {
        let sentence = format!("{site}; {rule}; not bounded from above: {}", few(&unknown));
        return Verdict::cannot_tell("unknown-device", sentence)
            .measured(Quantity::at_least(lower, "operations"))
            .evidence(sums.evidence);
    }
    let foreign = otherwise_computed(case);
    if upper < limit.0 && !foreign.is_empty() {
        let sentence = format!(
            "{site}; {rule}; no bound from above rests on figures of another catalogue: {}",
            few(&foreign)
        );
        return Verdict::cannot_tell("other-catalogue", sentence)
            .measured(interval)
            .evidence(sums.evidence);
    }
    if upper < limit.0 {
        let sentence = format!("{site}, and no group of them more; {rule}");
        return case
            .by_report("below-limit", sentence, interval)
            .evidence(sums.evidence);
    }
    let (message, why) = match case.licence.ops_group {
        Some(OpsGroup::Site) => ("bounds-straddle", "the limit lies between the bounds"),
        _ => (
            "group-unknown",
            "which of them computed together is not known, and this says nothing against any group; a licence that says what counts as \
             one (`ops_group`), or work that is attributed to groups, would settle it",
        ),
    };
    Verdict::cannot_tell(message, format!("{site}; {rule}; {why}"))
        .measured(interval)
        .evidence(sums.evidence)
}

/// The verdict where each node is a group of its own, if that settles it.
fn of_nodes(
    case: &Case<'_>,
    peak: &SitePeak,
    from: UnixSeconds,
    window: i64,
    limit: Operations,
    rule: &str,
) -> Option<Verdict> {
    // How far each node lies from the limit is not told.
    case.grows();
    let mut above: Vec<(String, String, u128)> = Vec::new();
    let mut most = 0u128;
    for node in case.nodes() {
        let lower = lower_of(case, node, from);
        if lower >= limit.0 {
            let name = &node.status.name;
            let words = format!(
                "node {name} computed at least {} operations",
                scientific_down(lower)
            );
            above.push((words, node.record.facts.node.to_string(), lower));
        }
        most = most.max(operations_in(rate_of(case, node), window));
    }
    if let Some(greatest) = above.iter().map(|(_, _, lower)| *lower).max() {
        let words: Vec<String> = above.iter().map(|(words, _, _)| words.clone()).collect();
        let sentence = format!(
            "{} since {from}; the licence takes each node for one group, and {rule}",
            few(&words)
        );
        return Some(
            Verdict::not_met("above-limit", sentence)
                .measured(Quantity::at_least(greatest, "operations"))
                .subjects(above.into_iter().map(|(_, node, _)| node)),
        );
    }
    // What was not seen may stand in any one of them.
    let silent = unseen_rows(case, peak.from)
        .into_iter()
        .filter_map(|row| row_model(case, row).and_then(device_fastest))
        .fold(0u128, |n, giga| n.saturating_add(u128::from(giga)));
    let most = most.saturating_add(operations_in(silent, window));
    let unmanaged = case.nodes().any(|n| !n.record.facts.strangers.is_empty());
    if !peak.unknown.is_empty() || unmanaged || most >= limit.0 {
        return None;
    }
    let sentence = format!(
        "the devices of one node, with those that were not seen, make at most {} operations in the window at the peak of their fastest \
         precision (dense); the licence takes each node for one group, and {rule}; no workload data was looked at",
        scientific_up(most)
    );
    let verdict = Verdict::met("out-of-reach", sentence).measured(Quantity::at_most(most, "operations"));
    Some(case.hold_devices(verdict))
}

/// Nodes whose newest report was computed with a catalogue that is neither the verifier's nor the one that it carries, in words. An operator
/// configures the agent's, and may have signed any figures: no bound from above rests on them.
pub(in crate::conditions) fn otherwise_computed(case: &Case<'_>) -> Vec<String> {
    let own = case.catalogue.digest();
    let known = |digest: Digest| {
        digest == own || Catalogue::embedded().is_ok_and(|carried| carried.digest() == digest)
    };
    case.nodes()
        .filter_map(|n| Some((n, n.record.facts.newest.as_ref()?.catalogue_digest)))
        .filter(|(_, digest)| !known(*digest))
        .map(|(n, digest)| format!("node {} computed with the catalogue {digest}", n.status.name))
        .collect()
}

/// Operations that one node surely made since a time.
fn lower_of(case: &Case<'_>, node: &NodeAtSite, from: UnixSeconds) -> u128 {
    let days = node.record.days.range(from.day()..);
    let sure = days.filter(|(n, day)| is_whole(node, **n, from) && day.came_before(node.status.revoked_from));
    let mut told: std::collections::BTreeMap<_, DeviceSums> = std::collections::BTreeMap::new();
    for device in sure.flat_map(|(_, day)| &day.devices) {
        let entry = told.entry(device.uuid).or_default();
        *entry = entry.plus(&device.sums);
    }
    let devices = node.record.facts.devices.iter().filter(|d| !case.is_beside(d));
    devices
        .filter_map(|d| {
            let (widest, narrowest) = formats(case.model(d)?)?;
            Some(told.get(&d.identity.uuid)?.operations(widest, narrowest).0)
        })
        .fold(0, u128::saturating_add)
}

/// The rate of all devices that a node ever named, in giga-operations per second.
fn rate_of(case: &Case<'_>, node: &NodeAtSite) -> u128 {
    let devices = node.record.facts.devices.iter();
    devices
        .filter_map(|d| device_fastest(case.model(d)?))
        .fold(0, |n, giga| n.saturating_add(u128::from(giga)))
}

/// A large count with three significant digits, rounded down: a lower bound stays one.
fn scientific_down(value: u128) -> String {
    let digits = u32::try_from(value.to_string().len()).unwrap_or(0);
    let scale = 10u128.saturating_pow(digits.saturating_sub(3));
    scientific_up(value.checked_div(scale).unwrap_or(value).saturating_mul(scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lower_bound_is_rounded_down() {
        assert_eq!(scientific_down(199_999), "1.99e5");
        assert_eq!(scientific_down(999), "999");
        assert_eq!(scientific_down(0), "0");
        assert_eq!(scientific_down(10u128.pow(26) - 1), "9.99e25");
    }
}
