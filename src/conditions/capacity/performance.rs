//! Performance: what each device can do, by the catalogue and as its driver sets it.
//!
//! Decides: whether any device is above the lines of a rule, or above what its model can do. Rests on the catalogue and on what drivers
//! report. Does not establish that a driver tells the truth of a clock or a power limit; firmware that was altered is SEC-01's part.

use super::super::case::{Case, Seen, UNDER_REVOKED};
use super::super::finding::{Quantity, Verdict, count, few};
use super::installed::Fleet;
use crate::accelerator::{Confidence, Model};
use crate::unit::{Grouped, Ppm, Tpp};

/// CAP-07: each device's TPP, and the bandwidth of its memory, are below the lines that a rule draws.
pub(in crate::conditions) fn below_lines(case: &Case<'_>) -> Verdict {
    let tpp = case.term(|l| l.device_tpp_below);
    let bandwidth = case.term(|l| l.device_bandwidth_below);
    if tpp.is_none() && bandwidth.is_none() {
        return Verdict::not_applicable(
            "no-line",
            "neither the licence nor its rule set draws a line for the performance of one device",
        );
    }
    let since = case.manifest_since();
    let fleet = Fleet::licensed(case, since);
    let mut open: Vec<String> = fleet
        .unknown
        .iter()
        .map(|d| format!("{d} is not in the catalogue"))
        .collect();
    open.extend(fleet.doubtful.iter().cloned());
    let (mut wrong, mut names, mut devices) = (Vec::new(), Vec::new(), 0u64);
    let (mut highest, mut widest) = (Tpp(0), 0u64);
    for (model, number) in fleet.models.values() {
        devices = devices.saturating_add(*number);
        highest = highest.max(model.tpp().unwrap_or(Tpp(0)));
        widest = widest.max(model.dram_bandwidth_gbs.unwrap_or(0));
        let lines = [
            tpp.map(|t| (model.tpp().map(|t| t.0), t.value.0, "TPP", t.from)),
            bandwidth.map(|t| {
                (
                    model.dram_bandwidth_gbs,
                    t.value,
                    "GB/s of memory bandwidth",
                    t.from,
                )
            }),
        ];
        for (found, line, unit, from) in lines.into_iter().flatten() {
            let name = &model.name;
            match found {
                None => open.push(format!(
                    "{number} of {name}, whose {unit} the catalogue does not have"
                )),
                Some(found) if found < line => {}
                Some(found) => {
                    let words = format!(
                        "{number} of {name} with {} {unit}, where {from} asks for less than {}",
                        Grouped(u128::from(found)),
                        Grouped(u128::from(line))
                    );
                    // An entry that is itself unsure cannot convict a device.
                    if model.confidence == Confidence::High {
                        wrong.push(words);
                        names.push(name.as_str());
                    } else {
                        open.push(format!("{words}; the catalogue's entry is not sure"));
                    }
                }
            }
        }
    }
    let subjects = || {
        let seen = case.unique_since(since);
        let named: Vec<String> = seen
            .iter()
            .filter(|s| {
                case.model(s.device)
                    .is_some_and(|m| names.contains(&m.name.as_str()))
            })
            .map(Seen::subject)
            .collect();
        named
    };
    // A finding has one limit: that of bandwidth where TPP is below its own.
    let of_tpp = tpp.filter(|t| highest >= t.value || bandwidth.is_none_or(|b| widest < b.value));
    let place = |verdict: Verdict| {
        let (measured, limit) = match (of_tpp, bandwidth) {
            (Some(t), _) => (
                Quantity::at_most(highest.0, "TPP"),
                Quantity::at_most(t.value.0.saturating_sub(1), "TPP"),
            ),
            (None, Some(b)) => (
                Quantity::at_most(widest, "GB/s"),
                Quantity::at_most(b.value.saturating_sub(1), "GB/s"),
            ),
            (None, None) => return verdict,
        };
        let verdict = verdict.limit(limit);
        if devices > 0 {
            verdict.measured(measured)
        } else {
            verdict
        }
    };
    if !wrong.is_empty() {
        return place(Verdict::not_met("above-line", few(&wrong)))
            .window(since, case.now)
            .coverage(case.coverage())
            .subjects(subjects())
            .evidence(fleet.evidence);
    }
    if !open.is_empty() {
        return place(Verdict::cannot_tell("not-known", few(&open)))
            .window(since, case.now)
            .coverage(case.coverage())
            .evidence(fleet.evidence);
    }
    let lines: Vec<String> = [
        tpp.map(|t| format!("{} TPP", t.value)),
        bandwidth.map(|t| format!("{} GB/s of memory bandwidth", Grouped(u128::from(t.value)))),
    ]
    .into_iter()
    .flatten()
    .collect();
    let sentence = format!(
        "each of {} is of a model with less than {} by the catalogue",
        count(usize::try_from(devices).unwrap_or(usize::MAX), "device"),
        lines.join(" and ")
    );
    place(case.settle_devices(since, Verdict::met("below-lines", sentence))).evidence(fleet.evidence)
}

/// CAP-08: no device's highest clock, power limit or cores are above what its model has.
pub(in crate::conditions) fn not_altered(case: &Case<'_>) -> Verdict {
    let Some(tolerance) = case.term(|l| l.performance_tolerance) else {
        return Verdict::no_limit("by how much a device may be above its model (`performance_tolerance`)");
    };
    let since = case.since();
    let seen = case.unique_since(since);
    let (mut wrong, mut open, mut concerned) = (Vec::new(), Vec::new(), Vec::new());
    let mut untold: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
    for s in &seen {
        let Some(model) = case.model(s.device) else {
            open.push(format!(
                "{} is of a model that the catalogue does not know",
                s.label()
            ));
            continue;
        };
        let (above, missing) = compare(s, model, tolerance.value);
        for what in missing {
            let entry = untold.entry(what).or_default();
            *entry = entry.saturating_add(1);
        }
        if above.is_empty() {
            continue;
        }
        let words = format!("{} {}", s.label(), above.join(" and "));
        if s.is_told_late() {
            open.push(format!("{words}{UNDER_REVOKED}"));
        } else if model.confidence == Confidence::High {
            wrong.push(words);
            concerned.push(s);
        } else {
            open.push(format!("{words}; the catalogue's entry is not sure"));
        }
    }
    open.extend(
        untold
            .iter()
            .map(|(what, n)| format!("{what} of {}", count(*n, "device"))),
    );
    let rule = format!(
        "{} allows {} more than the model has",
        tolerance.from, tolerance.value
    );
    let limit = Quantity::at_most(0, "devices");
    if wrong.is_empty() && open.is_empty() {
        let sentence = format!(
            "the highest SM clock, the power limit and the cores of each of {} are within what its model allows, as the drivers report; {rule}",
            count(seen.len(), "device")
        );
        return case.settle_devices(since, Verdict::met("as-made", sentence).none_of("devices"));
    }
    let verdict = if wrong.is_empty() {
        Verdict::cannot_tell("not-compared", format!("{}; {rule}", few(&open)))
    } else {
        Verdict::not_met("above-model", format!("{}; {rule}", few(&wrong)))
            .measured(Quantity::at_least(concerned.len(), "devices"))
    };
    verdict
        .limit(limit)
        .window(since, case.now)
        .coverage(case.coverage())
        .subjects(concerned.iter().map(|s| s.subject()))
        .evidence(seen.iter().map(|s| s.device.last_report))
}

/// What of a device is above its model, and what could not be compared, in words.
fn compare(s: &Seen<'_>, model: &Model, tolerance: Ppm) -> (Vec<String>, Vec<String>) {
    let identity = &s.device.identity;
    let cores = model.cores().map(|cores| model.per_device(cores));
    let watts = model
        .tdp_w
        .map(|w| model.per_device(u64::from(w).saturating_mul(1_000)));
    let (mut above, mut missing) = (Vec::new(), Vec::new());
    let rows = [
        (
            "highest SM clock",
            "MHz",
            1,
            identity.max_sm_clock_mhz.value(),
            model.max_sm_clock_mhz.map(u64::from),
            tolerance,
        ),
        (
            "power limit",
            "W",
            1_000,
            identity.power_limit_mw.value(),
            watts,
            tolerance,
        ),
        // Nobody rounds a number of cores.
        (
            "number of cores",
            "cores",
            1,
            identity.cores.value(),
            cores,
            Ppm(0),
        ),
    ];
    for (what, unit, scale, found, most, tolerance) in rows {
        match (found, most) {
            (_, None) => missing.push(format!(
                "the catalogue has no {what} for {}, with which to compare that",
                model.name
            )),
            (None, _) => missing.push(format!("the driver does not tell the {what}")),
            (Some(found), Some(most)) => {
                let share = u128::from(Ppm::ONE.0.saturating_add(tolerance.0));
                let allowed = u128::from(most).saturating_mul(share);
                if u128::from(*found).saturating_mul(u128::from(Ppm::ONE.0)) > allowed {
                    let shown = |n: u64| Grouped(u128::from(n.checked_div(scale).unwrap_or(n)));
                    above.push(format!(
                        "has a {what} of {} {unit}, where {} has {}",
                        shown(u64::from(*found)),
                        model.name,
                        shown(most)
                    ));
                }
            }
        }
    }
    (above, missing)
}
