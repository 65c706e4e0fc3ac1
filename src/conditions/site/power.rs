//! Power: what sites are rated for, what meters read, and what devices draw.
//!
//! Decides: by what parties sign about a site and its meters, held against the devices' models and what their reports tell of energy. Trusts the
//! catalogue for a model's power. Does not establish that a meter measures what is said, nor what else hangs on it: more than the devices draw
//! may be hosts, cooling or devices that do not report, and no figure tells these apart. Of space nothing is judged.

use super::super::case::Case;
use super::super::finding::{Outcome, Quantity, Verdict, count, few};
use super::super::papers::Paper;
use super::super::read::Slack;
use super::super::training::compute::row_model;
use super::attestation::{assessor_says, on_paper};
use crate::accelerator::Model;
use crate::id::DeviceUuid;
use crate::licence::Licence;
use crate::statement::{PowerReading, Role, SiteDeclaration};
use crate::time::UnixSeconds;
use crate::unit::{Grouped, Ppm};
use std::collections::{BTreeMap, BTreeSet};

/// Millijoules in a kilowatt-hour.
const KILOWATT_HOUR: u128 = 3_600_000_000;
/// Parts of a whole.
const WHOLE: u128 = 1_000_000;

/// What the devices of a site may draw together.
#[derive(Default)]
struct Fleet {
    devices: usize,
    /// By the design power of their models, as far as it is known, in watts.
    watts: u128,
    /// Models whose power is not known.
    unknown: BTreeSet<String>,
}

impl Fleet {
    /// Every device on a manifest of the site that holds, and every other that was seen there lately.
    fn of(case: &Case<'_>) -> Self {
        let mut fleet = Self::default();
        let mut listed = BTreeSet::new();
        let beside = case.facts.licences.iter().map(|l| &**l);
        let beside = beside.filter(|l| l.licence_id != case.licence.licence_id && l.valid.holds(case.now));
        let naming = |l: &&Licence| l.site(case.facts.site).is_some();
        for licence in std::iter::once(case.licence).chain(beside).filter(naming) {
            for row in licence.manifest(case.facts.site) {
                if listed.insert(row.label()) {
                    let name = row
                        .model
                        .as_deref()
                        .unwrap_or("a model that the manifest does not name");
                    fleet.add(row_model(case, row), name);
                }
            }
        }
        let fresh = case.term(|l| l.freshness_max);
        let lately = fresh.map_or_else(|| case.since(), |f| case.now.plus(f.value.saturating_neg()));
        for s in case.unique_since(lately) {
            if case.row_of(&s.device.identity).is_none() && !case.is_beside(s.device) {
                fleet.add(case.model(s.device), &s.device.identity.name);
            }
        }
        fleet
    }

    fn add(&mut self, model: Option<&Model>, name: &str) {
        self.devices = self.devices.saturating_add(1);
        match model.and_then(device_watts) {
            Some(watts) => self.watts = self.watts.saturating_add(watts),
            None => drop(self.unknown.insert(name.to_owned())),
        }
    }

    /// So many times what its devices may draw, in watts.
    fn times(&self, multiple: Ppm) -> u128 {
        self.watts.saturating_mul(u128::from(multiple.0)).div_ceil(WHOLE)
    }
}

/// The design power of one device, in watts.
fn device_watts(model: &Model) -> Option<u128> {
    Some(u128::from(model.per_device(u64::from(model.tdp_w?))))
}

/// PHY-02: power and cooling of the site fit its devices: enough for all of them, and not so much that it could hold many more.
pub(in crate::conditions) fn fits_fleet(case: &Case<'_>) -> Verdict {
    let said = assessor_says(case, "PHY-02");
    if let Err(missing) = case.papers_of::<SiteDeclaration>() {
        return said.unwrap_or(*missing);
    }
    let own = declared_fits(case);
    match said {
        Some(found) if own.outcome != Outcome::NotMet && found.message.starts_with("assessor-") => Verdict {
            measured: own.measured,
            limit: own.limit,
            ..found
        }
        .evidence(own.evidence),
        _ => own,
    }
}

fn declared_fits(case: &Case<'_>) -> Verdict {
    let declared = case.newest_of_each::<SiteDeclaration>();
    let (Some(reserve), Some(surplus)) = (
        case.term(|l| l.power_reserve_min),
        case.term(|l| l.power_surplus_max),
    ) else {
        return Verdict::no_limit(
            "how many times the power of its devices a site must and may be rated for (`power_reserve_min`, `power_surplus_max`)",
        );
    };
    let fleet = Fleet::of(case);
    let (need, most) = (fleet.times(reserve.value), fleet.times(surplus.value));
    let watts = |kw: u64| u128::from(kw).saturating_mul(1_000);
    let Some(least) = declared.iter().min_by_key(|p| p.claims.rated_kw) else {
        return case.unsettled("PHY-02");
    };
    let readings: Vec<Paper<'_, PowerReading>> = case.papers().holding(case.now).collect();
    let by_meter = readings
        .iter()
        .filter_map(|p| Some((p.claims.rated_kw?, p.label(), p.digest)));
    let by_site = declared.iter().map(|p| (p.claims.rated_kw, p.label(), p.digest));
    let largest = by_site.chain(by_meter).max_by_key(|(kw, ..)| *kw);
    let verdict = |v: Verdict| {
        on_paper(case, v, least)
            .measured(Quantity::between(
                least.claims.rated_kw,
                largest.as_ref().map_or(least.claims.rated_kw, |(kw, ..)| *kw),
                "kW",
            ))
            .limit(Quantity::between(kilowatts(need), kilowatts(most), "kW"))
            .evidence(declared.iter().map(|p| p.digest))
            .evidence(largest.iter().map(|(.., digest)| *digest))
            .evidence([case.licence.digest])
    };
    let devices = format!(
        "the {} of this site may draw {} kW together",
        count(fleet.devices, "device"),
        kilowatts(fleet.watts)
    );
    let ask = |what: &str| {
        format!(
            "{devices}, and {} asks for {what} of {} kW or more",
            reserve.from,
            kilowatts(need)
        )
    };
    if watts(least.claims.rated_kw) < need {
        let sentence = format!(
            "by the {}, the site is rated for {} kW; {}",
            least.label(),
            Grouped(least.claims.rated_kw.into()),
            ask("a rating")
        );
        return verdict(Verdict::not_met("too-little-power", sentence));
    }
    let cooling = declared.iter().filter_map(|p| Some((p.claims.cooling_kw?, p)));
    let cooling = cooling.min_by_key(|(kw, _)| *kw);
    if let Some((kw, paper)) = cooling.filter(|(kw, _)| watts(*kw) < need) {
        let sentence = format!(
            "by the {}, its cooling takes away {} kW; {}",
            paper.label(),
            Grouped(kw.into()),
            ask("cooling")
        );
        return verdict(Verdict::not_met("too-little-cooling", sentence));
    }
    if fleet.devices == 0 {
        let sentence = "the licence lists no device for this site, and none was seen, so that there is nothing to hold its power against";
        return verdict(Verdict::cannot_tell("no-fleet", sentence));
    }
    if !fleet.unknown.is_empty() {
        let models: Vec<String> = fleet.unknown.into_iter().collect();
        let sentence = format!(
            "the power of {} is not in the catalogue, so that it cannot be told what the devices of this site may draw; a catalogue that has it \
             would settle it",
            few(&models)
        );
        return verdict(Verdict::cannot_tell("power-unknown", sentence));
    }
    if cooling.is_none() {
        let sentence = format!(
            "the {} says nothing of cooling; one with `cooling_kw` would settle it; {}",
            least.label(),
            ask("cooling")
        );
        return verdict(Verdict::cannot_tell("no-cooling", sentence));
    }
    if let Some((kw, label, _)) = largest.as_ref().filter(|(kw, ..)| watts(*kw) > most) {
        let sentence = format!(
            "the {label} tells of a rating of {} kW; {devices}, and {} takes {} kW for the most that fits them; there is room for devices that are \
             not listed, so that a person must look; an assessor's finding on PHY-02 would settle it",
            Grouped((*kw).into()),
            surplus.from,
            kilowatts(most)
        );
        return verdict(Verdict::cannot_tell("implausible", sentence));
    }
    let sentence = format!(
        "by the {}, the site is rated for {} kW; {devices}, and that is between {} and {} kW, as {} asks",
        least.label(),
        Grouped(least.claims.rated_kw.into()),
        kilowatts(need),
        kilowatts(most),
        reserve.from
    );
    verdict(Verdict::met("fits", sentence))
}

/// In kilowatts with one decimal, rounded up.
fn kilowatts(watts: u128) -> String {
    let tenths = watts.div_ceil(100);
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// Readings by the number on the meter.
type Meters<'a> = BTreeMap<&'a str, Paper<'a, PowerReading>>;
/// From when, until when, and of which devices meters were read.
type Time = (UnixSeconds, UnixSeconds, BTreeSet<DeviceUuid>);

/// Meters that were read over the same time, of the same devices.
struct Readings<'a> {
    from: UnixSeconds,
    to: UnixSeconds,
    /// Those that they feed; where none is named, the site's.
    devices: BTreeSet<DeviceUuid>,
    /// Of each meter one reading.
    meters: Meters<'a>,
}

/// PHY-03: meters outside the devices read no less than the devices took, and not many times as much.
///
/// Less is against physics. More may be anything that hangs on the meter. By how much a meter may be off is its reader's word, so that all of what it
/// may have read must fit: a great error clears nothing.
pub(in crate::conditions) fn meters_agree(case: &Case<'_>) -> Verdict {
    let said = assessor_says(case, "PHY-03");
    if let Some(verdict) = said.as_ref().filter(|v| v.outcome == Outcome::NotMet) {
        return verdict.clone();
    }
    let papers = match case.papers_of::<PowerReading>() {
        Ok(papers) => papers,
        Err(missing) => return said.unwrap_or(*missing),
    };
    let Some(surplus) = case.term(|l| l.power_surplus_max) else {
        return Verdict::no_limit(
            "how many times the energy of the devices a meter may read (`power_surplus_max`)",
        );
    };
    let readings = Readings::of(papers);
    let judged = readings
        .iter()
        .map(|r| (r, r.judge(case, surplus.value, surplus.from)));
    let mut judged: Vec<(&Readings<'_>, Verdict)> = judged.collect();
    judged.sort_by_key(|(r, v)| (v.outcome != Outcome::NotMet, std::cmp::Reverse(r.to), v.outcome));
    let newest = judged.first().map(|(newest, _)| *newest);
    // What an assessor read and left open, no word of the operator's about the same time closes.
    let open = newest.filter(|newest| !newest.is_assessed()).and_then(|newest| {
        let mut assessed = judged
            .iter()
            .filter(|(r, _)| r.is_assessed() && r.overlaps(newest));
        assessed.find(|(_, v)| v.outcome == Outcome::CannotTell)
    });
    let own = judged.first().map(|(_, v)| match open {
        Some((_, open)) if v.outcome == Outcome::Met => open.clone(),
        _ => v.clone(),
    });
    match (own, said) {
        (Some(own), Some(said)) if own.outcome == Outcome::CannotTell && said.outcome == Outcome::Met => {
            Verdict {
                measured: own.measured,
                limit: own.limit,
                ..said
            }
            .evidence(own.evidence)
        }
        (Some(own), _) => own,
        (None, said) => said.unwrap_or_else(|| case.unsettled("PHY-03")),
    }
}

impl<'a> Readings<'a> {
    /// Takes them together. Of one meter an assessor's reading counts before an operator's, and the newer before the older.
    fn of(papers: Vec<Paper<'a, PowerReading>>) -> Vec<Self> {
        let mut groups: BTreeMap<Time, Meters<'a>> = BTreeMap::new();
        for paper in papers {
            let Some(period) = &paper.header.period else {
                continue;
            };
            let devices = paper.header.devices.iter().flatten().map(|d| d.0).collect();
            let meters = groups.entry((period.from.0, period.to.0, devices)).or_default();
            let kept = meters.entry(paper.claims.meter.as_str()).or_insert(paper);
            if kept.header.role != Role::Assessor && paper.header.role == Role::Assessor {
                *kept = paper;
            }
        }
        let group = |((from, to, devices), meters)| Self {
            from,
            to,
            devices,
            meters,
        };
        groups.into_iter().map(group).collect()
    }

    /// Whether an assessor read one of the meters.
    fn is_assessed(&self) -> bool {
        self.meters.values().any(|p| p.header.role == Role::Assessor)
    }

    /// Whether both speak of some time.
    fn overlaps(&self, other: &Self) -> bool {
        self.from < other.to && other.from < self.to
    }

    fn judge(&self, case: &Case<'_>, surplus: Ppm, set_by: &str) -> Verdict {
        let papers = || self.meters.values();
        let names: Vec<String> = papers().map(Paper::label).collect();
        let by = format!("by the {}", few(&names));
        let verdict = |v: Verdict| {
            papers()
                .fold(v, |v, paper| on_paper(case, v, paper))
                .window(self.from, self.to)
                .coverage(case.coverage())
                .evidence(case.newest_reports())
        };
        let cannot = |message, why: &str| verdict(Verdict::cannot_tell(message, format!("{by}, {why}")));
        if self.to > case.now {
            return cannot("not-over", "the time that they speak of is not over yet");
        }
        if papers().any(|p| p.header.sites.as_ref().is_some_and(|s| s.len() > 1)) {
            return cannot(
                "other-sites",
                "meters feed other sites too, so that they cannot be held against the devices of this one; a reading for each site would settle it",
            );
        }
        let Some((lower, upper)) = self.read() else {
            return cannot(
                "error-untold",
                "it is not said how far a meter may be off; a reading with `error` would settle it",
            );
        };
        let least = self.drawn(case);
        let most = least.saturating_mul(u128::from(surplus.0)).div_euclid(WHOLE);
        let verdict = |v: Verdict| {
            verdict(v)
                .measured(Quantity::between(hours(lower), hours(upper), "kWh"))
                .limit(Quantity::between(hours(least), hours(most), "kWh"))
        };
        let read = format!(
            "{by}, meters read {} to {} kWh from {} until just before {}",
            hours(lower),
            hours(upper),
            self.from,
            self.to
        );
        let took = format!(
            "by their own reports the devices took at least {} kWh",
            hours(least)
        );
        if least == 0 {
            return verdict(Verdict::cannot_tell(
                "nothing-told",
                format!("{read}, and no report tells what the devices took in that time"),
            ));
        }
        if upper < least {
            let sentence = format!(
                "{read}, and {took}: either counters are false, or meters leave out what feeds some of the devices"
            );
            return verdict(Verdict::not_met("less-than-devices", sentence));
        }
        if upper > most {
            let sentence = format!(
                "{read}, and {took}; {set_by} takes {} kWh for the most that fits them; hosts, cooling and devices that do not report cannot be told \
                 apart; a reading of meters that feed these devices alone, or an assessor's finding on PHY-03, would settle it",
                hours(most)
            );
            return verdict(Verdict::cannot_tell("more-than-devices", sentence));
        }
        // Whoever reads a meter says by how much it may be off: what lies within that clears nothing.
        if lower < least {
            let sentence = format!(
                "{read}, and {took}, so that the meters may have read less than that; a reading with a smaller `error`, or over a longer time, would \
                 settle it"
            );
            return verdict(Verdict::cannot_tell("perhaps-less-than-devices", sentence));
        }
        // What was not seen drew power too, and would make more of a deficit.
        case.hold_devices(verdict(Verdict::met(
            "meters-agree",
            format!(
                "{read}, and {took}; {set_by} takes up to {} kWh for what fits them",
                hours(most)
            ),
        )))
    }

    /// What the meters read together, at least and at most, in millijoules: a reading is in whole kilowatt-hours.
    fn read(&self) -> Option<(u128, u128)> {
        self.meters
            .values()
            .try_fold((0u128, 0u128), |(lower, upper), paper| {
                let (kwh, error) = (
                    u128::from(paper.claims.energy_kwh),
                    u128::from(paper.claims.error?.0.0),
                );
                let share = |kwh: u128, of: u128| {
                    kwh.saturating_mul(KILOWATT_HOUR)
                        .saturating_mul(of)
                        .div_euclid(WHOLE)
                };
                Some((
                    lower.saturating_add(share(kwh.saturating_sub(1), WHOLE.saturating_sub(error))),
                    upper.saturating_add(share(kwh.saturating_add(1), WHOLE.saturating_add(error))),
                ))
            })
    }

    /// What the devices took in this time at least, in millijoules.
    ///
    /// Sums are kept by the day. Of one that reaches beyond the time, what lies outside counts at the device's highest power and is left out. Of several
    /// nodes that tell of one device on one day, the one that tells most counts.
    fn drawn(&self, case: &Case<'_>) -> u128 {
        // No report of a day begins a whole day before it.
        let end = self.to.day().saturating_add(2);
        case.stands_for(Slack::days_before(end, UnixSeconds(i64::MAX)));
        let tolerance = case.term(|l| l.clock_tolerance).map_or(0, |t| t.value);
        let (from, to) = (
            self.from.plus(tolerance),
            self.to.plus(tolerance.saturating_neg()),
        );
        let highest: BTreeMap<DeviceUuid, u128> = case
            .unique_since(UnixSeconds(i64::MIN))
            .into_iter()
            .filter_map(|s| {
                Some((
                    s.device.identity.uuid,
                    highest_mw(case.model(s.device), &s.device.identity)?,
                ))
            })
            .collect();
        let mut least: BTreeMap<(DeviceUuid, i64), u128> = BTreeMap::new();
        for node in case.nodes() {
            let days = node.record.days.iter();
            for (number, day) in days.filter(|(_, d)| d.came_before(node.status.revoked_from)) {
                for total in &day.devices {
                    let named = self.devices.is_empty() || self.devices.contains(&total.uuid);
                    if !named || total.until <= from || to <= total.since {
                        continue;
                    }
                    let outside =
                        seconds(from.since(total.since)).saturating_add(seconds(total.until.since(to)));
                    let energy = u128::from(total.sums.energy.0);
                    let inside = match highest.get(&total.uuid) {
                        _ if outside == 0 => energy,
                        // A milliwatt for a second is a millijoule.
                        Some(mw) => energy.saturating_sub(mw.saturating_mul(outside)),
                        None => 0,
                    };
                    let kept = least.entry((total.uuid, *number)).or_default();
                    *kept = inside.max(*kept);
                }
            }
        }
        least.values().fold(0, |sum, mj| sum.saturating_add(*mj))
    }
}

/// The highest power of a device, in milliwatts: its limit in force, or its model's where that is more.
fn highest_mw(model: Option<&Model>, identity: &crate::telemetry::AcceleratorIdentity) -> Option<u128> {
    let limit = identity.power_limit_mw.value().map(|mw| u128::from(*mw));
    let design = model.and_then(device_watts).map(|w| w.saturating_mul(1_000));
    limit.max(design)
}

fn seconds(span: i64) -> u128 {
    u128::try_from(span).unwrap_or(0)
}

/// In kilowatt-hours with one decimal.
fn hours(millijoules: u128) -> String {
    let tenths = millijoules.saturating_mul(10).div_euclid(KILOWATT_HOUR);
    format!("{}.{}", tenths / 10, tenths % 10)
}
