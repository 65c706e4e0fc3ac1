//! Training: what the site could compute at most, and what it computed in training.

use super::super::capacity::installed::Fleet;
use super::super::case::{Case, no_report};
use super::super::finding::{Quantity, Verdict, count, few, plain_hours, scientific_up};
use super::group::otherwise_computed;
use super::sums::{Kind, Sums, beyond};
use crate::accelerator::Model;
use crate::appraisal::NodeAtSite;
use crate::document::Zone;
use crate::id::{Digest, PciId};
use crate::licence::{AllowancePeriod, LicensedDevice};
use crate::time::{DAY_SECONDS, UnixSeconds, span};
use crate::unit::{Interval, MicroTppHours};
use std::collections::BTreeSet;
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
    let kind: Kind = |day| Interval::new(day.training_lower, day.training_upper);
    let sums = Sums::over(case, from, kind);
    let (lower, upper) = (sums.compute.lower().0, sums.compute.upper().0);
    let bounds = [lower, upper, sums.capacity.0].map(|bound| beyond(bound, allowance.most.0));
    let apart = bounds.into_iter().min().unwrap_or(0);
    case.stands_for(sums.slack(case, MicroTppHours(apart), day_end(case)));
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

/// The end of the day in the zone of the licence: no period of an allowance ends within it.
fn day_end(case: &Case<'_>) -> UnixSeconds {
    let offset = case.licence.zone.offset;
    let next = case.now.plus(offset).day().saturating_add(1);
    UnixSeconds(next.saturating_mul(DAY_SECONDS)).plus(offset.saturating_neg())
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
