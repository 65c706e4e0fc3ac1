//! Computed: what the devices of a site computed over a period, by the sums of its days.
//!
//! Decides: between which bounds it lies, for all devices that the licence answers for. Time that no report speaks of counts at peak from above, and as
//! nothing from below. Also how far the bounds lie from a limit, so that it is known how long a verdict by them stands. Trusts reports for what they
//! measured and the catalogue for peaks. Does not establish what was computed where nothing reports.

use super::super::case::Case;
use super::super::finding::peak;
use super::super::inventory::bus;
use super::super::read::Slack;
use super::compute::{formats, is_whole, milliseconds, row_model};
use crate::accelerator::Model;
use crate::appraisal::{DeviceSums, DeviceTotal, NodeAtSite, NodeDay};
use crate::id::{DeviceUuid, Digest};
use crate::time::{DAY_SECONDS, UnixSeconds};
use crate::unit::{Interval, MicroTppHours, Tpp};
use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};

/// Sums of compute of one kind over a period, for all devices of the site that the licence answers for.
pub(in crate::conditions) struct Sums {
    pub(in crate::conditions) compute: Interval<MicroTppHours>,
    /// The part of the upper bound that is for unreported time.
    pub(in crate::conditions) unreported: MicroTppHours,
    /// What all devices could have made at their peak.
    pub(in crate::conditions) capacity: MicroTppHours,
    /// Devices whose peak is not known, in words.
    pub(in crate::conditions) unknown: Vec<String>,
    /// Operations that the devices computed: at least, and at most, over the formats that each can run.
    pub(in crate::conditions) operations: (u128, u128),
    /// What the reports say of whole days, all devices together.
    pub(in crate::conditions) told: DeviceSums,
    /// The least of each device that surely computed so.
    by_device: BTreeMap<DeviceUuid, MicroTppHours>,
    pub(in crate::conditions) evidence: Vec<Digest>,
    /// The peak of the fastest device, and of all together.
    fastest: Tpp,
    rate: u128,
    /// The narrowest format that one can run, in bits.
    narrowest: Option<u64>,
    /// How often an amount was rounded.
    rounded: u128,
}

/// Picks the bounds of one kind of compute from a device's day.
pub(in crate::conditions) type Kind = fn(&DeviceSums) -> Interval<MicroTppHours>;

/// What the reports say of one device in the period.
#[derive(Default)]
struct Reported<'a> {
    lower: MicroTppHours,
    upper: MicroTppHours,
    /// What nodes say of whole days.
    days: Vec<OfNode<'a>>,
    /// Time that reports speak of, in milliseconds.
    reported_ms: u64,
    /// Reported time without a bound, because the node did not know the model.
    unbounded_ms: u64,
    /// All sums of whole days.
    told: DeviceSums,
}

/// What one node says of one device on a day, or on several days that stand together.
#[derive(Clone, Copy)]
pub(super) struct OfNode<'a> {
    /// The first of them.
    day: i64,
    /// How long they are, in milliseconds.
    most_ms: u64,
    total: &'a DeviceTotal,
}

impl<'a> OfNode<'a> {
    pub(super) fn new(day: &NodeDay, total: &'a DeviceTotal) -> Self {
        Self {
            day: day.day,
            most_ms: milliseconds(DAY_SECONDS).saturating_mul(u64::from(day.days)),
            total,
        }
    }

    /// What nodes say of one device, day by day, each with the time of which they speak, in milliseconds. A day has no more time than there was, and
    /// what two nodes say of one time counts once from below.
    pub(super) fn by_day(told: &mut [Self]) -> impl Iterator<Item = (DeviceSums, u64)> {
        // One node tells its days in their order, and a device seldom has two.
        told.sort_by_key(|told| told.day);
        told.chunk_by(|a, b| a.day == b.day).filter_map(Self::together)
    }

    fn together(told: &[Self]) -> Option<(DeviceSums, u64)> {
        let most_ms = told.iter().map(|t| t.most_ms).max()?;
        let (sums, twice_ms) = match told {
            [one] => (one.total.sums, 0),
            several => {
                let mut several: Vec<DeviceTotal> = several.iter().map(|told| *told.total).collect();
                let (ever, end) = (UnixSeconds(i64::MIN), UnixSeconds(i64::MAX));
                let (all, twice_ms) = DeviceTotal::of_nodes(&mut several, ever, end)?;
                (all.sums, twice_ms)
            }
        };
        Some((sums, sums.expected_ms.saturating_sub(twice_ms).min(most_ms)))
    }
}

impl<'a> Reported<'a> {
    /// Adds another node's word.
    fn join(&mut self, other: Self) {
        self.upper = self.upper.plus(other.upper);
        self.days.extend(other.days);
    }

    /// Adds up what nodes say of whole days.
    fn add_up(&mut self, kind: Kind) {
        let mut days = std::mem::take(&mut self.days);
        for (sums, reported_ms) in OfNode::by_day(&mut days) {
            self.lower = self.lower.plus(kind(&sums).lower());
            self.reported_ms = self.reported_ms.saturating_add(reported_ms);
            self.unbounded_ms = self.unbounded_ms.saturating_add(sums.unbounded_ms);
            self.told.add(&sums);
        }
    }
}

impl Sums {
    /// `kind` picks the bounds of one device's day.
    pub(in crate::conditions) fn over(case: &Case<'_>, from: UnixSeconds, kind: Kind) -> Self {
        let mut sums = Self {
            compute: Interval::default(),
            unreported: MicroTppHours(0),
            capacity: MicroTppHours(0),
            unknown: Vec::new(),
            operations: (0, 0),
            told: DeviceSums::default(),
            by_device: BTreeMap::new(),
            evidence: Vec::new(),
            fastest: Tpp(0),
            rate: 0,
            narrowest: None,
            rounded: 0,
        };
        let seen = case.unique_since(from);
        let mut reported = reported(case, from, kind);
        let mut rows_met = BTreeSet::new();
        for s in &seen {
            let uuid = s.device.identity.uuid;
            // An allowance is for the devices of its licence, and for those that no licence lists.
            if case.is_beside(s.device) {
                reported.remove(&uuid);
                continue;
            }
            let due = case.row_of(&s.device.identity).map(|(i, row)| {
                rows_met.insert(i);
                row.in_service.unwrap_or(from)
            });
            // A device counts from when it was due, or from when it was first seen if that is earlier or it was never due.
            // It may have stood on the bus unheld before that.
            let kind = bus::kind(&s.device.identity.pci);
            let unheld = bus::unheld(s.node, from).into_iter().filter(|u| u.kind == kind);
            let first = s.device.first_seen.unwrap_or(from);
            let first = unheld.map(|u| u.span.from).fold(first, UnixSeconds::min);
            let start = due.map_or(first, |due| due.min(first)).max(from);
            let found = reported.remove(&uuid).unwrap_or_default();
            sums.evidence.push(s.device.last_report);
            sums.add(case, uuid, &|| s.label(), case.model(s.device), start, &found);
        }
        // Days of devices whose facts were dropped for want of room.
        for (uuid, found) in reported.iter().filter(|(_, f)| f.lower > MicroTppHours(0)) {
            sums.add(case, *uuid, &|| uuid.nvml(), None, case.now, found);
        }
        for (i, row) in case.rows() {
            let start = row.in_service.unwrap_or(from).max(from);
            if !rows_met.contains(&i) && start <= case.now {
                sums.add_silent(case, &row.label(), row_model(case, row), start, 1);
            }
        }
        for (node, unheld, number) in bus::beyond(case, from, &seen) {
            let model = case.catalogue.find(&unheld.id, "").model();
            let start = unheld.span.from.max(from);
            sums.add_silent(case, &unheld.label(number, node), model, start, number);
            sums.evidence.push(unheld.span.last_report);
        }
        sums
    }

    /// Adds devices of one model of which no report of the period speaks, from a time on.
    fn add_silent(
        &mut self,
        case: &Case<'_>,
        label: &str,
        model: Option<&Model>,
        start: UnixSeconds,
        number: u64,
    ) {
        let Some(tpp) = model.and_then(Model::device_tpp) else {
            self.unknown.push(format!("{label}, whose peak is not known"));
            return;
        };
        let most = peak(tpp, milliseconds(case.now.since(start)).saturating_mul(number));
        self.unreported = self.unreported.plus(most);
        self.capacity = self.capacity.plus(most);
        self.note_rate(tpp, number, model);
        let narrowest = model.and_then(formats).map_or(0, |(_, narrowest)| narrowest);
        self.operations.1 = self
            .operations
            .1
            .saturating_add(most.operations_at_most(narrowest));
        self.compute = self.compute.plus(Interval::new(MicroTppHours(0), most));
    }

    fn add(
        &mut self,
        case: &Case<'_>,
        uuid: DeviceUuid,
        label: &dyn Fn() -> String,
        model: Option<&Model>,
        start: UnixSeconds,
        found: &Reported<'_>,
    ) {
        let elapsed_ms = milliseconds(case.now.since(start));
        let silent_ms = elapsed_ms.saturating_sub(found.reported_ms);
        let unbounded_ms = silent_ms.saturating_add(found.unbounded_ms);
        let tpp = model.and_then(Model::device_tpp);
        let (silent, capacity) = match tpp {
            Some(tpp) => {
                let told = &found.told;
                let told_ms = told.expected_ms.saturating_sub(told.unbounded_ms);
                // What an operator's catalogue makes smaller bounds nothing.
                if told.unconditional < peak(tpp, told_ms) {
                    self.unknown.push(format!(
                        "{}, whose reports go by a lower peak than {}",
                        label(),
                        tpp.0
                    ));
                }
                self.note_rate(tpp, 1, model);
                (peak(tpp, unbounded_ms), peak(tpp, elapsed_ms))
            }
            None => {
                self.unknown.push(format!("{}, whose peak is not known", label()));
                (MicroTppHours(0), MicroTppHours(0))
            }
        };
        self.unreported = self.unreported.plus(silent);
        self.capacity = self.capacity.plus(capacity);
        let upper = found.upper.plus(silent).max(found.lower);
        self.compute = self.compute.plus(Interval::new(found.lower, upper));
        self.told.add(&found.told);
        if let Some((widest, narrowest)) = model.and_then(formats) {
            let (least, most) = &mut self.operations;
            *least = least.saturating_add(found.told.operations(widest, narrowest).0);
            *most = most.saturating_add(upper.operations_at_most(narrowest));
        }
        if found.lower > MicroTppHours(0) {
            let entry = self.by_device.entry(uuid).or_default();
            *entry = entry.plus(found.lower);
        }
    }

    fn note_rate(&mut self, tpp: Tpp, number: u64, model: Option<&Model>) {
        self.fastest = self.fastest.max(tpp);
        let all = u128::from(tpp.0).saturating_mul(u128::from(number));
        self.rate = self.rate.saturating_add(all);
        let bits = model.and_then(formats).map(|(_, narrowest)| narrowest);
        self.narrowest = self.narrowest.into_iter().chain(bits).min();
        self.rounded = self.rounded.saturating_add(u128::from(number));
    }

    /// How long a verdict stands whose limit lies so far from a bound of compute that the bound, moved by that, is on the same side of it.
    ///
    /// Three things move a bound, and each may take a third: what a report says of compute, the time for which it takes the place of silence at
    /// peak, and time alone, which adds silence.
    pub(in crate::conditions) fn slack(
        &self,
        case: &Case<'_>,
        apart: MicroTppHours,
        until: UnixSeconds,
    ) -> Slack {
        if !self.unknown.is_empty() {
            return Slack::NONE;
        }
        // An amount is rounded once for each of the three, and once more where they come together.
        let third = apart
            .0
            .saturating_sub(self.rounded.saturating_mul(4))
            .div_euclid(3);
        let scaled = third.saturating_mul(36);
        let ms = scaled.div_euclid(u128::from(self.fastest.0).saturating_mul(10).max(1));
        let seconds = scaled.div_euclid(self.rate.saturating_mul(10_000).max(1));
        let until = until.min(case.now.plus(i64::try_from(seconds).unwrap_or(i64::MAX)));
        Slack::until(until)
            .within_ms(u64::try_from(ms).unwrap_or(u64::MAX))
            .within_hours(MicroTppHours(third))
            .at_peak()
    }

    /// How far the compute of a limit of operations lies from the bounds of these at least.
    pub(in crate::conditions) fn operations_apart(&self, limit: u128) -> MicroTppHours {
        let (lower, upper) = self.operations;
        // A limit of operations holds where it is reached.
        let most = limit.saturating_sub(1);
        let apart = beyond(lower, most).min(beyond(upper, most));
        // Once for each bound of each device.
        let apart = apart.saturating_sub(self.rounded.saturating_mul(4));
        let each = self
            .narrowest
            .map(|bits| MicroTppHours(1).operations_at_most(bits));
        MicroTppHours(each.and_then(|each| apart.checked_div(each)).unwrap_or(0))
    }

    /// The devices that surely computed so.
    pub(in crate::conditions) fn trainers(&self) -> impl Iterator<Item = String> + '_ {
        self.by_device.keys().map(DeviceUuid::nvml)
    }
}

/// How far a bound lies from the most that is allowed: moved by so much, it is on the same side.
pub(in crate::conditions) fn beyond(bound: u128, most: u128) -> u128 {
    match bound.checked_sub(most) {
        None | Some(0) => most.saturating_sub(bound),
        Some(over) => over.saturating_sub(1),
    }
}

/// Compute by device, over the days of the period.
fn reported<'a>(case: &Case<'a>, from: UnixSeconds, kind: Kind) -> BTreeMap<DeviceUuid, Reported<'a>> {
    let mut found: BTreeMap<DeviceUuid, Reported<'a>> = BTreeMap::new();
    for node in case.nodes() {
        for (uuid, own) in of_node(node, from, kind) {
            match found.entry(uuid) {
                Entry::Vacant(place) => {
                    place.insert(own);
                }
                Entry::Occupied(mut other) => other.get_mut().join(own),
            }
        }
    }
    for entry in found.values_mut() {
        entry.add_up(kind);
    }
    found
}

/// The same of one node, in the order of UUIDs: a node has few devices, and the same ones day after day.
fn of_node(node: &NodeAtSite, from: UnixSeconds, kind: Kind) -> Vec<(DeviceUuid, Reported<'_>)> {
    let mut found: Vec<(DeviceUuid, Reported<'_>)> = Vec::new();
    for (number, day) in node.record.days.range(from.day()..) {
        // What came after the key was revoked may be anyone's: it speaks neither for the site nor against it.
        let whole = is_whole(node, *number, from) && day.came_before(node.status.revoked_from);
        for (nth, device) in day.devices.iter().enumerate() {
            let at = match found.get(nth) {
                Some((uuid, _)) if *uuid == device.uuid => nth,
                _ => found
                    .binary_search_by_key(&device.uuid, |(uuid, _)| *uuid)
                    .unwrap_or_else(|at| {
                        found.insert(at, (device.uuid, Reported::default()));
                        at
                    }),
            };
            let Some((_, entry)) = found.get_mut(at) else {
                continue;
            };
            entry.upper = entry.upper.plus(kind(&device.sums).upper());
            // A day that began before the period may hold compute from before it: no lower bound, and no report
            // of the period for sure.
            if whole {
                entry.days.push(OfNode::new(day, device));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_that_two_nodes_tell_of_accuses_once_and_hides_no_silence() {
        let half = DeviceTotal {
            uuid: DeviceUuid([1; 16]),
            since: UnixSeconds(0),
            until: UnixSeconds(43_200),
            sums: DeviceSums {
                expected_ms: 43_200_000,
                training_lower: MicroTppHours(500),
                training_upper: MicroTppHours(500),
                unconditional: MicroTppHours(1_000),
                ..DeviceSums::default()
            },
        };
        let told = OfNode::new(&NodeDay::new(0), &half);
        let mut found = Reported {
            days: vec![told, told],
            ..Reported::default()
        };
        found.add_up(|sums| Interval::new(sums.training_lower, sums.training_upper));
        assert_eq!((found.lower, found.reported_ms), (MicroTppHours(500), 43_200_000));
    }
}
