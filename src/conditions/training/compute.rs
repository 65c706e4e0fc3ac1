//! Training: what the site could compute at most, and what it computed in training.

use super::super::capacity::installed::Fleet;
use super::super::case::{Case, no_report};
use super::super::finding::{Quantity, Verdict, count, few, peak, plain_hours, scientific_up};
use super::super::inventory::bus;
use super::group::otherwise_computed;
use crate::accelerator::Model;
use crate::appraisal::{DeviceSums, DeviceTotal, NodeAtSite};
use crate::document::Zone;
use crate::id::{DeviceUuid, Digest, PciId};
use crate::licence::{AllowancePeriod, LicensedDevice};
use crate::time::{DAY_SECONDS, UnixSeconds, span};
use crate::unit::{Interval, MicroTppHours};
use std::collections::{BTreeMap, BTreeSet};
use time::{Month, OffsetDateTime};

/// TRN-01: at the peak of their fastest precision, all devices together stay below the operation limit over the window.
///
/// Clears a site without looking at what it computes. That it fails means nothing.
pub(in crate::conditions) fn capacity_bound(case: &Case<'_>) -> Verdict {
    let Some(limit) = case.term(|l| l.ops_limit) else {
        return Verdict::no_limit("how many operations a model may be trained with (`ops_limit`)");
    };
    let Some(window) = case.term(|l| l.ops_window) else {
        return Verdict::no_limit("the time over which operations are summed (`ops_window`)");
    };
    let SitePeak {
        from,
        most,
        unknown,
        evidence,
        words,
    } = SitePeak::of(case, window.value);
    let sum = format!(
        "{words}; the limit, set by {}, is {}",
        limit.from,
        scientific_up(limit.value.0),
    );
    let bound = Quantity::at_most(limit.value.0, "operations");
    let verdict = if !unknown.is_empty() {
        Verdict::cannot_tell("unknown-device", format!("{sum}; not counted: {}", few(&unknown)))
    } else if most >= limit.value.0 {
        Verdict::cannot_tell(
            "capacity-suffices",
            format!("{sum}; capacity alone does not settle it, and this says nothing against the site"),
        )
        .measured(Quantity::at_most(most, "operations"))
    } else {
        let verdict = Verdict::met(
            "out-of-reach",
            format!("{sum}, which is out of reach; no workload data was looked at"),
        );
        case.hold_devices(verdict.measured(Quantity::at_most(most, "operations")))
    };
    if !case.nodes().any(|n| n.record.facts.newest.is_some()) {
        return no_report(verdict).limit(bound).window(from, case.now);
    }
    verdict.limit(bound).window(from, case.now).evidence(evidence)
}

/// What all devices of a site can do at most in a window, whatever they did.
pub(in crate::conditions) struct SitePeak {
    /// The window's start.
    pub(in crate::conditions) from: UnixSeconds,
    /// The most operations.
    pub(in crate::conditions) most: u128,
    /// Devices that are not counted, in words.
    pub(in crate::conditions) unknown: Vec<String>,
    /// The reports that show the devices.
    pub(in crate::conditions) evidence: Vec<Digest>,
    /// All of it in words.
    pub(in crate::conditions) words: String,
}

impl SitePeak {
    pub(in crate::conditions) fn of(case: &Case<'_>, window: i64) -> Self {
        let from = case.now.plus(window.saturating_neg());
        // What was seen at any time of the window may have computed in all of it.
        let since = case.since().min(from);
        let (mut rate, mut devices, mut unknown, evidence) = fleet_rate(case, since);
        for row in unseen_rows(case, since) {
            // A row stands for a device, as its driver lists it.
            match row_model(case, row).and_then(device_fastest) {
                Some(fastest) => {
                    rate = rate.saturating_add(u128::from(fastest));
                    devices = devices.saturating_add(1);
                }
                None => unknown.push(format!(
                    "{}, which was not seen and has no known model",
                    row.label()
                )),
            }
        }
        let most = operations_in(rate, window);
        let words = format!(
            "{} at the peak of their fastest precision (dense) make at most {} operations in {}",
            count(usize::try_from(devices).unwrap_or(usize::MAX), "device"),
            scientific_up(most),
            span(window),
        );
        Self {
            from,
            most,
            unknown,
            evidence,
            words,
        }
    }
}

/// Operations at a rate in giga-operations per second, in so many seconds.
pub(in crate::conditions) fn operations_in(giga: u128, seconds: i64) -> u128 {
    let seconds = u128::try_from(seconds).unwrap_or(u128::MAX);
    giga.saturating_mul(1_000_000_000).saturating_mul(seconds)
}

/// Operations per nanosecond of all devices seen, their number, those that are unknown, and the reports that show them.
fn fleet_rate(case: &Case<'_>, since: UnixSeconds) -> (u128, u64, Vec<String>, Vec<Digest>) {
    let fleet = Fleet::seen(case, since);
    let mut unknown = fleet.unknown.clone();
    unknown.extend(fleet.doubtful.iter().cloned());
    let (mut rate, mut devices) = (0u128, 0u64);
    for (model, number) in fleet.models.values() {
        match fastest(model) {
            Some(giga) => {
                rate = rate.saturating_add(u128::from(giga).saturating_mul(u128::from(*number)));
                devices = devices.saturating_add(*number);
            }
            None => unknown.push(format!("{number} of {}, whose rates are not public", model.name)),
        }
    }
    (rate, devices, unknown, fleet.evidence)
}

/// The rate of a card's fastest precision, in giga-operations per second.
fn fastest(model: &Model) -> Option<u64> {
    model.rates.formats().map(|(_, rate)| rate).max()
}

/// The same of one device, as its driver lists it.
pub(in crate::conditions) fn device_fastest(model: &Model) -> Option<u64> {
    fastest(model).map(|card| model.per_device(card))
}

/// Rows of the manifest that no device seen since a time answers to. They count: they may stand there unheard.
pub(in crate::conditions) fn unseen_rows<'a>(case: &Case<'a>, since: UnixSeconds) -> Vec<&'a LicensedDevice> {
    let seen: BTreeSet<usize> = case
        .seen_since(since)
        .iter()
        .filter_map(|s| Some(case.row_of(&s.device.identity)?.0))
        .collect();
    case.rows()
        .filter(|(i, _)| !seen.contains(i))
        .map(|(_, row)| row)
        .collect()
}

pub(in crate::conditions) fn row_model<'a>(case: &Case<'a>, row: &LicensedDevice) -> Option<&'a Model> {
    let named = row.model.as_deref().and_then(|name| case.model_named(name));
    named.or_else(|| {
        let pci = row.pci?;
        let id = PciId {
            vendor: pci.vendor,
            device: pci.device,
            ..PciId::default()
        };
        case.catalogue.find(&id, "").model()
    })
}

/// TRN-04: training in the period stays within the allowance.
///
/// The upper bound takes unreported time at the peak rate, so that silence never lowers it.
pub(in crate::conditions) fn allowance(case: &Case<'_>) -> Verdict {
    let Some(allowance) = case.licence.training else {
        return Verdict::no_limit("an allowance of training (`tpp_hours_max`)");
    };
    let from = period_start(allowance.period, case.licence.zone, case.now).max(case.licence.valid.from);
    // What was not scored may all have been training: `training_upper` holds it.
    let sums = Sums::over(case, from, |day| {
        Interval::new(day.training_lower, day.training_upper)
    });
    let limit = Quantity::at_most(plain_hours(allowance.most), "TPP-hours");
    let period = match allowance.period {
        AllowancePeriod::Term => "its term".to_owned(),
        calendar => format!("one {calendar}"),
    };
    let place = |verdict: Verdict| {
        verdict
            .limit(limit.clone())
            .window(from, case.now)
            .coverage(case.coverage())
            .evidence(sums.evidence.iter().copied())
    };
    if !case.nodes().any(|n| n.record.facts.newest.is_some()) {
        return place(no_report(Verdict::met("", "")));
    }
    let what = format!(
        "training came to between {} and {} TPP-hours since {from}, of which {} are for time that no report speaks of, taken at \
         peak; the licence allows {} within {}",
        sums.compute.lower(),
        sums.compute.upper(),
        sums.unreported,
        allowance.most,
        period
    );
    let measured = Quantity::between(
        plain_hours(sums.compute.lower()),
        plain_hours(sums.compute.upper()),
        "TPP-hours",
    );
    if sums.compute.lower() > allowance.most {
        return place(
            Verdict::not_met(
                "above-allowance",
                format!("{what}; even the lower bound is above it"),
            )
            .measured(measured)
            .subjects(sums.trainers()),
        );
    }
    if !sums.unknown.is_empty() {
        return place(
            Verdict::cannot_tell(
                "unknown-device",
                format!("{what}; not bounded from above: {}", few(&sums.unknown)),
            )
            .measured(Quantity::at_least(plain_hours(sums.compute.lower()), "TPP-hours")),
        );
    }
    if sums.capacity <= allowance.most {
        let sentence = format!(
            "all devices together could have made at most {} TPP-hours since {from}, and the licence allows {} within {}; no \
             workload data was needed",
            sums.capacity, allowance.most, period
        );
        return place(
            case.hold_devices(
                Verdict::met("out-of-reach", sentence)
                    .measured(Quantity::at_most(plain_hours(sums.capacity), "TPP-hours")),
            ),
        );
    }
    let foreign = otherwise_computed(case);
    if sums.compute.upper() <= allowance.most && !foreign.is_empty() {
        let sentence = format!(
            "{what}; no bound from above rests on figures of another catalogue: {}",
            few(&foreign)
        );
        return place(Verdict::cannot_tell("other-catalogue", sentence).measured(measured));
    }
    if sums.compute.upper() <= allowance.most {
        return place(case.by_report("within-allowance", what, measured));
    }
    place(
        Verdict::cannot_tell(
            "bounds-straddle",
            format!("{what}; the allowance lies between the bounds"),
        )
        .measured(measured)
        .subjects(sums.trainers()),
    )
}

/// Sums of compute of one kind over a period, for all devices of the site that the licence answers for.
pub(in crate::conditions) struct Sums {
    pub(in crate::conditions) compute: Interval<MicroTppHours>,
    /// The part of the upper bound that is for unreported time.
    unreported: MicroTppHours,
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
}

/// Picks the bounds of one kind of compute from a device's day.
type Kind = fn(&DeviceSums) -> Interval<MicroTppHours>;

/// What the reports say of one device in the period.
#[derive(Default)]
struct Reported<'a> {
    lower: MicroTppHours,
    upper: MicroTppHours,
    /// What nodes say by day, or by the first of several days that stand together, and how long that was, in milliseconds.
    days: BTreeMap<i64, (Vec<&'a DeviceTotal>, u64)>,
    /// Time that reports speak of, in milliseconds.
    reported_ms: u64,
    /// Reported time without a bound, because the node did not know the model.
    unbounded_ms: u64,
    /// All sums of whole days.
    told: DeviceSums,
}

impl Reported<'_> {
    /// Adds what nodes say of whole days. These have no more time than there was, and what two nodes say of one time counts once from below.
    fn take_in(&mut self, told: &[&DeviceTotal], most_ms: u64, kind: Kind) {
        match told {
            [] => {}
            [one] => self.add(&one.sums, 0, most_ms, kind),
            several => {
                let mut several: Vec<DeviceTotal> = several.iter().map(|told| **told).collect();
                let (ever, end) = (UnixSeconds(i64::MIN), UnixSeconds(i64::MAX));
                if let Some((all, twice_ms)) = DeviceTotal::of_nodes(&mut several, ever, end) {
                    self.add(&all.sums, twice_ms, most_ms, kind);
                }
            }
        }
    }

    fn add(&mut self, sums: &DeviceSums, twice_ms: u64, most_ms: u64, kind: Kind) {
        self.lower = self.lower.plus(kind(sums).lower());
        let ms = sums.expected_ms.saturating_sub(twice_ms).min(most_ms);
        self.reported_ms = self.reported_ms.saturating_add(ms);
        self.unbounded_ms = self.unbounded_ms.saturating_add(sums.unbounded_ms);
        self.told.add(sums);
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

    fn trainers(&self) -> impl Iterator<Item = String> + '_ {
        self.by_device.keys().map(DeviceUuid::nvml)
    }
}

/// Compute by device, over the days of the period.
fn reported<'a>(case: &Case<'a>, from: UnixSeconds, kind: Kind) -> BTreeMap<DeviceUuid, Reported<'a>> {
    let mut found: BTreeMap<DeviceUuid, Reported<'a>> = BTreeMap::new();
    for node in case.nodes() {
        for (number, day) in node.record.days.range(from.day()..) {
            // What came after the key was revoked may be anyone's: it speaks neither for the site nor against it.
            let whole = is_whole(node, *number, from) && day.came_before(node.status.revoked_from);
            for device in &day.devices {
                let entry = found.entry(device.uuid).or_default();
                entry.upper = entry.upper.plus(kind(&device.sums).upper());
                // A day that began before the period may hold compute from before it: no lower bound, and no report
                // of the period for sure.
                if whole {
                    let most = milliseconds(DAY_SECONDS).saturating_mul(u64::from(day.days));
                    let (told, longest) = entry.days.entry(*number).or_default();
                    told.push(device);
                    *longest = (*longest).max(most);
                }
            }
        }
    }
    for entry in found.values_mut() {
        for (told, most) in std::mem::take(&mut entry.days).into_values() {
            entry.take_in(&told, most, kind);
        }
    }
    found
}

/// The widest format of a part beside FP64, and its narrowest, in bits.
pub(in crate::conditions) fn formats(model: &Model) -> Option<(u64, u64)> {
    let beside = model
        .rates
        .formats()
        .map(|(bits, _)| bits)
        .filter(|bits| *bits < 64);
    Some((beside.max().unwrap_or(64), model.rates.narrowest_bits()?))
}

/// Whether all that a node reported on a day lies within a period that starts at `from`.
pub(in crate::conditions) fn is_whole(node: &NodeAtSite, day: i64, from: UnixSeconds) -> bool {
    let start = UnixSeconds(day.saturating_mul(DAY_SECONDS));
    start >= from || node.record.facts.earliest.is_some_and(|t| t >= from)
}

pub(in crate::conditions) fn milliseconds(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000)
}

/// When the periods begin over which compute is added up: that of the allowance, and the window of the operation limit.
pub(in crate::conditions) fn period_starts(case: &Case<'_>) -> Vec<UnixSeconds> {
    let licence = case.licence;
    let allowance = licence
        .training
        .map(|a| period_start(a.period, licence.zone, case.now));
    let window = case
        .term(|l| l.ops_window)
        .map(|w| case.now.plus(w.value.saturating_neg()));
    let starts = allowance.into_iter().chain(window);
    starts.map(|t| t.max(licence.valid.from)).collect()
}

/// The start of the calendar period that holds `now`, in the licence's zone.
pub(in crate::conditions) fn period_start(
    period: AllowancePeriod,
    zone: Zone,
    now: UnixSeconds,
) -> UnixSeconds {
    let first = |month: fn(Month) -> Month| -> Option<UnixSeconds> {
        let local = OffsetDateTime::from_unix_timestamp(now.plus(zone.offset).0).ok()?;
        let date = local
            .date()
            .replace_day(1)
            .ok()?
            .replace_month(month(local.month()))
            .ok()?;
        let start = UnixSeconds(date.midnight().assume_utc().unix_timestamp());
        Some(start.plus(zone.offset.saturating_neg()))
    };
    let start = match period {
        AllowancePeriod::Day => {
            let day = now.plus(zone.offset).day().saturating_mul(DAY_SECONDS);
            Some(UnixSeconds(day).plus(zone.offset.saturating_neg()))
        }
        AllowancePeriod::Month => first(|m| m),
        AllowancePeriod::Quarter => first(|m| match m {
            Month::January | Month::February | Month::March => Month::January,
            Month::April | Month::May | Month::June => Month::April,
            Month::July | Month::August | Month::September => Month::July,
            Month::October | Month::November | Month::December => Month::October,
        }),
        AllowancePeriod::Year => first(|_| Month::January),
        AllowancePeriod::Term => None,
    };
    // The term starts with the licence, which the caller applies.
    start.unwrap_or(UnixSeconds(i64::MIN))
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
        let mut found = Reported::default();
        found.take_in(&[&half, &half], 86_400_000, |sums| {
            Interval::new(sums.training_lower, sums.training_upper)
        });
        assert_eq!((found.lower, found.reported_ms), (MicroTppHours(500), 43_200_000));
    }

    #[test]
    fn periods_start_with_the_calendar_of_the_zone() {
        let now = UnixSeconds::parse("2026-11-30T20:00:00Z").unwrap();
        let start = |period, hours: i64| {
            period_start(
                period,
                Zone {
                    offset: hours * 3_600,
                },
                now,
            )
            .to_string()
        };
        assert_eq!(start(AllowancePeriod::Day, 0), "2026-11-30T00:00:00Z");
        assert_eq!(start(AllowancePeriod::Month, 0), "2026-11-01T00:00:00Z");
        assert_eq!(start(AllowancePeriod::Quarter, 0), "2026-10-01T00:00:00Z");
        assert_eq!(start(AllowancePeriod::Year, 0), "2026-01-01T00:00:00Z");
        // In Singapore it is already December.
        assert_eq!(start(AllowancePeriod::Day, 8), "2026-11-30T16:00:00Z");
        assert_eq!(start(AllowancePeriod::Month, 8), "2026-11-30T16:00:00Z");
    }
}
