//! `status --compute`: how much was computed in a period, as the reports say.
//!
//! Decides: nothing. It adds up what is kept of each node's days, whatever the length of the period, and rereads no report. What came under a key that
//! was revoked by then counts as unreported, and so do a node's newest reports, fewer than twelve, that are not in its written sums. Does not
//! establish which devices there are: the conditions do, and a device that no report of the period names is not counted here. Nor whose work it was, but by
//! what the operator says. No verdict rests on it.

mod tenants;

use self::tenants::{Attributed, attributed};
use crate::command::{CommandError, Format, Outcome, Session};
use crate::fleet::{Anchors, Licences, name_of};
use crate::store::{PeriodRow, Store, StoreError};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use weighbridge::appraisal::{Aggregate, DeviceSums, DeviceTotal, NodeDay, NodeFacts, Period, TenantTotals};
use weighbridge::cbor;
use weighbridge::id::{DeviceUuid, NodeId};
use weighbridge::licence::Licence;
use weighbridge::time::{DAY_SECONDS, UnixSeconds};
use weighbridge::unit::{Grouped, MicroTppHours};

/// What the compute is added up by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// Device by device; one that stood at several nodes is one.
    Device,
    /// Node by node.
    Node,
    /// Site by site.
    #[default]
    Site,
    /// Licence by licence: the devices on the manifest of each, and those on none.
    Licence,
    /// Tenant by tenant at each site, by pseudonym, as the operator attributes devices to them.
    Tenant,
}

/// Of whom a group is. What it is not by is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The licence.
    pub licence: Option<String>,
    /// The site.
    pub site: Option<String>,
    /// The node.
    pub node: Option<NodeId>,
    /// The device.
    pub device: Option<DeviceUuid>,
}

/// The devices of a group.
#[derive(Debug, Default)]
struct Group {
    /// What each node says of each.
    devices: BTreeMap<DeviceUuid, Vec<DeviceTotal>>,
    /// Nodes of which something could not be counted in.
    lacking: BTreeSet<NodeId>,
}

/// What the reports of a period come to, group by group.
#[derive(Debug)]
pub struct Weighed {
    /// The first second of the period.
    pub from: UnixSeconds,
    /// Its end, or now where that lies before.
    pub until: UnixSeconds,
    /// The end of the newest report that is counted in.
    pub newest: Option<UnixSeconds>,
    /// Group by group: whose, how much, and of how many nodes not all could be counted in.
    pub groups: Vec<(Key, Aggregate, usize)>,
    /// The tenants of each group that is of whole nodes.
    tenants: BTreeMap<Key, Attributed>,
}

/// Adds up the compute of a period.
///
/// # Errors
/// [`StoreError`].
pub async fn weigh(
    store: &dyn Store,
    (from, to): (i64, i64),
    now: UnixSeconds,
    site: Option<&str>,
    by: By,
    licences: &[Licence],
) -> Result<Weighed, StoreError> {
    let manifests = Manifests::of(licences);
    let mut groups: BTreeMap<Key, Group> = BTreeMap::new();
    let mut tenants: BTreeMap<Key, Attributed> = BTreeMap::new();
    for row in store.period(from, to, site.map(str::to_owned)).await? {
        let (totals, held) = match row.revoked_from {
            None => (of_node(&row), tenants::of_node(&row)),
            Some(revoked) => before_revocation(store, &row, (from, to), revoked).await?,
        };
        let lost = row
            .later
            .as_ref()
            .map_or(0, |l| l.lost_after(row.earlier.as_ref()));
        let serials = if by == By::Licence {
            serials_of(store, row.node, licences).await?
        } else {
            BTreeMap::new()
        };
        // A node whose rows are damaged is named even where nothing can be read of it.
        if row.damaged && by != By::Device && by != By::Licence {
            let lacking = &mut groups.entry(key(by, &row, None, None)).or_default().lacking;
            lacking.insert(row.node);
        }
        if by != By::Device && by != By::Licence {
            tenants.entry(key(by, &row, None, None)).or_default().take(&held);
        }
        for total in totals {
            let keys = match by {
                By::Licence => manifests
                    .listing(&row.site, &total.uuid, serials.get(&total.uuid))
                    .into_iter()
                    .map(|licence| key(by, &row, None, licence))
                    .collect(),
                _ => vec![key(by, &row, Some(total.uuid), None)],
            };
            for key in keys {
                let group = groups.entry(key).or_default();
                if lost > 0 || row.damaged {
                    group.lacking.insert(row.node);
                }
                group.devices.entry(total.uuid).or_default().push(total);
            }
        }
    }
    let start = UnixSeconds(from.saturating_mul(DAY_SECONDS));
    let end = UnixSeconds(to.saturating_add(1).saturating_mul(DAY_SECONDS));
    let until = end.min(now).max(start);
    let newest = groups
        .values()
        .flat_map(|g| g.devices.values().flatten())
        .map(|d| d.until)
        .max();
    let groups = groups.into_iter().map(|(key, mut group)| {
        let mut all = Aggregate::default();
        let told = group.devices.values_mut();
        told.for_each(|told| all.add(told, start, until));
        (key, all, group.lacking.len())
    });
    Ok(Weighed {
        from: start,
        until,
        newest,
        groups: groups.collect(),
        tenants,
    })
}

fn key(by: By, row: &PeriodRow, device: Option<DeviceUuid>, licence: Option<String>) -> Key {
    Key {
        licence,
        site: (by != By::Licence).then(|| row.site.clone()),
        node: (by == By::Node).then_some(row.node),
        device: device.filter(|_| by == By::Device),
    }
}

/// What a node's rows say of its devices in the period.
fn of_node(row: &PeriodRow) -> Vec<DeviceTotal> {
    let closed = row.later.as_ref().map(|later| later.after(row.earlier.as_ref()));
    let mut totals: Vec<DeviceTotal> = closed.into_iter().flatten().collect();
    let Some(open) = &row.open else {
        return totals;
    };
    for today in &open.devices {
        match totals.binary_search_by(|d| d.uuid.cmp(&today.uuid)) {
            Ok(at) => {
                if let Some(known) = totals.get_mut(at) {
                    known.join(today);
                }
            }
            Err(at) => totals.insert(
                at,
                DeviceTotal {
                    since: first(row, today),
                    ..*today
                },
            ),
        }
    }
    totals
}

/// The start of the first report that ever named a device.
fn first(row: &PeriodRow, device: &DeviceTotal) -> UnixSeconds {
    let runs = row.earlier.iter().chain(&row.later);
    let known = runs.flat_map(|r| &r.devices).filter(|d| d.uuid == device.uuid);
    known.map(|d| d.since).fold(device.since, UnixSeconds::min)
}

/// The same, of those days whose reports all came before the node's key was revoked: what came later may be anyone's.
async fn before_revocation(
    store: &dyn Store,
    row: &PeriodRow,
    (from, to): (i64, i64),
    revoked: UnixSeconds,
) -> Result<(Vec<DeviceTotal>, TenantTotals), StoreError> {
    let mut totals: BTreeMap<DeviceUuid, DeviceTotal> = BTreeMap::new();
    let mut held = TenantTotals::default();
    for day in store.days_between(row.node, from, to).await? {
        let Ok(day) = cbor::decode_strict::<NodeDay>(&day.body) else {
            continue;
        };
        let sure = day.came_before(Some(revoked));
        if let Some(tenants) = day.tenants.as_ref().filter(|_| sure) {
            held.join(tenants);
        }
        for device in &day.devices {
            let told = DeviceTotal {
                since: first(row, device),
                ..*device
            };
            let entry = totals.entry(device.uuid).or_insert_with(|| DeviceTotal {
                sums: DeviceSums::default(),
                ..told
            });
            if sure {
                entry.join(&told);
            }
        }
    }
    Ok((totals.into_values().collect(), held))
}

/// The serial numbers of a node's devices, where a manifest names any by it alone.
async fn serials_of(
    store: &dyn Store,
    node: NodeId,
    licences: &[Licence],
) -> Result<BTreeMap<DeviceUuid, String>, StoreError> {
    let mut rows = licences.iter().flat_map(|l| &l.devices);
    if rows.all(|row| row.uuid.is_some()) {
        return Ok(BTreeMap::new());
    }
    let facts = store
        .facts(node)
        .await?
        .and_then(|row| cbor::decode_strict::<NodeFacts>(&row.body).ok());
    let devices = facts.into_iter().flat_map(|f| f.devices);
    Ok(devices
        .filter_map(|d| Some((d.identity.uuid, d.identity.serial?)))
        .collect())
}

/// Where devices stand on the manifests of licences.
struct Manifests<'a> {
    by_uuid: BTreeMap<DeviceUuid, Vec<Listed<'a>>>,
    by_serial: BTreeMap<&'a str, Vec<Listed<'a>>>,
}

/// A licence that lists a device, for one site or for all of its sites.
type Listed<'a> = (&'a Licence, Option<&'a str>);

impl<'a> Manifests<'a> {
    fn of(licences: &'a [Licence]) -> Self {
        let mut all = Self {
            by_uuid: BTreeMap::new(),
            by_serial: BTreeMap::new(),
        };
        for licence in licences {
            for row in &licence.devices {
                let listed = (licence, row.site.as_deref());
                match (row.uuid, &row.serial) {
                    (Some(uuid), _) => all.by_uuid.entry(uuid).or_default().push(listed),
                    (None, Some(serial)) => all.by_serial.entry(serial).or_default().push(listed),
                    (None, None) => {}
                }
            }
        }
        all
    }

    /// The licences on whose manifest a device of a site stands; `None` alone where it stands on none.
    fn listing(&self, site: &str, uuid: &DeviceUuid, serial: Option<&String>) -> Vec<Option<String>> {
        let by_serial = serial.and_then(|s| self.by_serial.get(s.as_str()));
        let rows = self.by_uuid.get(uuid).into_iter().chain(by_serial).flatten();
        let here =
            rows.filter(|(licence, only)| licence.site(site).is_some() && only.is_none_or(|s| s == site));
        let listed: BTreeSet<&str> = here.map(|(licence, _)| licence.licence_id.as_str()).collect();
        match listed.is_empty() {
            true => vec![None],
            false => listed.into_iter().map(|id| Some(id.to_owned())).collect(),
        }
    }
}

impl Session {
    /// Answers `status --compute`.
    pub(crate) async fn compute(
        &self,
        (site, by, period): (Option<&str>, By, Period),
        now: UnixSeconds,
        format: Format,
        out: &mut dyn Write,
    ) -> Outcome {
        let anchors = Anchors::read(&self.config.state_dir)?;
        let licences: Vec<Licence> = match by {
            By::Licence => Licences::read(&*self.store, &anchors).await?.counting,
            _ => Vec::new(),
        }
        .into_iter()
        .map(|loaded| loaded.licence)
        .collect();
        if let Some(site) = site
            && !self.store.nodes().await?.iter().any(|n| n.site == site)
        {
            return Err(CommandError::Refused {
                why: format!("no node reports from site `{site}`"),
            });
        }
        let days = period.days(now);
        let weighed = weigh(&*self.store, days, now, site, by, &licences).await?;
        // Sums of a day cannot be taken apart.
        if let Some(newest) = weighed.newest.filter(|t| *t > weighed.until) {
            return Err(CommandError::Refused {
                why: format!(
                    "sums are kept by the day, and a report of that day ends at {newest}: give --at that time or a later one"
                ),
            });
        }
        match format {
            Format::Json => writeln!(out, "{}", serde_json::to_string_pretty(&weighed.value(by))?)?,
            Format::Text => weighed.write(by, days.1, out)?,
        }
        Ok(weighed
            .groups
            .iter()
            .all(|(_, all, lacking)| *lacking == 0 && all.unknown == 0)
            && (by != By::Tenant || weighed.tenants.values().all(Attributed::whole)))
    }
}

impl Weighed {
    fn value(&self, by: By) -> Value {
        json!({
            "by": by,
            "from": self.from,
            "until": self.until,
            "groups": self.groups.iter().flat_map(|(key, all, lacking)| match by {
                By::Tenant => self.held(key).groups(key, all, *lacking),
                _ => vec![group(key, all, self.tenants.get(key), *lacking)],
            }).collect::<Vec<_>>(),
        })
    }

    /// The tenants of a group.
    fn held(&self, key: &Key) -> Attributed {
        self.tenants.get(key).cloned().unwrap_or_default()
    }

    fn write(&self, by: By, last: i64, out: &mut dyn Write) -> std::io::Result<()> {
        let to = UnixSeconds(last.saturating_mul(DAY_SECONDS));
        writeln!(
            out,
            "compute by {} · {} to {}, days in UTC · silence until {} counts at peak",
            serde_json::to_value(by)
                .ok()
                .as_ref()
                .and_then(Value::as_str)
                .unwrap_or_default(),
            date(self.from),
            date(to),
            self.until
        )?;
        if self.groups.is_empty() {
            return writeln!(
                out,
                "\nno written sums speak of these days: they are written after every twelve reports of a node"
            );
        }
        for (key, all, lacking) in &self.groups {
            writeln!(out, "\n {}   {}", label(key), sentence(all))?;
            writeln!(out, "   {}", beside(all, self.tenants.get(key)))?;
            if by == By::Tenant {
                self.held(key).write(all, out)?;
            }
            if *lacking > 0 {
                writeln!(
                    out,
                    "   not all is counted in: what is kept of {} of the nodes is damaged in the database, or more than is kept",
                    Grouped(wide(*lacking))
                )?;
            }
        }
        Ok(())
    }
}

/// A group, for machines.
fn group(key: &Key, all: &Aggregate, held: Option<&Attributed>, lacking: usize) -> Value {
    let sums = &all.sums;
    json!({
        "licence": key.licence,
        "site": key.site,
        "node": key.node,
        "device": key.device.map(|d| d.nvml()),
        "devices": all.devices,
        "tpp_hours": {
            "lower": plain(sums.lower),
            "counter": plain(sums.counter),
            "upper": all.upper().map(plain),
            "upper_unconditional": all.unconditional().map(plain),
        },
        "share": all.share().map(|(lower, upper)| json!({ "lower": ppm(lower.0), "upper": ppm(upper.0) })),
        "source": sums.source(),
        "coverage": all.coverage().map(|c| ppm(c.0)),
        "training_tpp_hours": {
            "lower": plain(sums.training_lower),
            "upper": all.upper().map(|_| plain(sums.training_upper.plus(all.unreported))),
        },
        "by_pipe_tpp_hours": {
            "hmma": plain(sums.hmma), "imma": plain(sums.imma), "dfma": plain(sums.dfma),
            "fp64": plain(sums.fp64), "fp32": plain(sums.fp32), "fp16": plain(sums.fp16),
        },
        "energy_j": whole_seconds(sums.energy.0),
        "busy_s": whole_seconds(sums.busy_ms),
        "unattributed_busy_s": whole_seconds(unattributed_ms(sums)),
        "tenants": held.map(Attributed::count),
        "time_s": {
            "elapsed": whole_seconds(all.elapsed_ms),
            "reported": whole_seconds(sums.expected_ms),
            "covered": whole_seconds(sums.covered_ms),
            "silent": whole_seconds(all.silent_ms),
            "energy_unknown": whole_seconds(sums.energy_unknown_ms),
            "busy_unknown": whole_seconds(sums.busy_unknown_ms),
        },
        "method_s": {
            "pipe activity": whole_seconds(sums.from_pipes_ms),
            "busy time": whole_seconds(sums.from_busy_ms),
            "energy": whole_seconds(sums.from_energy_ms),
            "elapsed time": whole_seconds(sums.from_elapsed_ms),
        },
        "bound_s": {
            "time": whole_seconds(sums.bound_time_ms),
            "clock": whole_seconds(sums.bound_clock_ms),
            "counter": whole_seconds(sums.bound_counter_ms),
            "energy": whole_seconds(sums.bound_energy_ms),
            "power cap": whole_seconds(sums.bound_power_ms),
        },
        "unknown_peak": all.unknown,
        "nodes_lacking": lacking,
    })
}

fn label(key: &Key) -> String {
    let parts = [
        key.site.clone(),
        key.node.as_ref().map(|n| format!("node {}", name_of(n))),
        key.device.as_ref().map(DeviceUuid::nvml),
    ];
    let named: Vec<String> = parts.into_iter().flatten().collect();
    match (&key.licence, named.is_empty()) {
        (Some(licence), _) => format!("licence {licence}"),
        (None, true) => "on no manifest".to_owned(),
        (None, false) => named.join(" · "),
    }
}

/// Whole hours.
fn hours(ms: u64) -> Grouped {
    Grouped(u128::from(ms.checked_div(3_600_000).unwrap_or(0)))
}

/// A group, for people.
fn sentence(all: &Aggregate) -> String {
    let gpus = match all.devices {
        1 => "1 GPU".to_owned(),
        n => format!("{} GPUs", Grouped(u128::from(n))),
    };
    let bounds = match (all.upper(), all.share()) {
        (Some(upper), Some((least, most))) => format!(
            "between {} and {} TPP-hours, {least} to {most} of what {gpus} could have done",
            down(all.sums.lower),
            up(upper)
        ),
        (Some(upper), None) => {
            format!(
                "between {} and {} TPP-hours on {gpus}",
                down(all.sums.lower),
                up(upper)
            )
        }
        (None, _) => format!(
            "at least {} TPP-hours on {gpus}; no more is certain, for the peak of {} of them is not known",
            down(all.sums.lower),
            Grouped(u128::from(all.unknown))
        ),
    };
    let source = all
        .sums
        .source()
        .map_or_else(String::new, |s| format!(", from {s}"));
    let coverage = all
        .coverage()
        .map_or_else(String::new, |c| format!(", coverage {c}"));
    format!("{bounds}{source}{coverage}")
}

/// Busy time of nobody that reports name, in milliseconds.
fn unattributed_ms(sums: &DeviceSums) -> u64 {
    sums.busy_ms.saturating_sub(sums.attributed_busy_ms)
}

fn beside(all: &Aggregate, held: Option<&Attributed>) -> String {
    let mut parts = vec![format!(
        "busy for {} GPU-hours, {}",
        hours(all.sums.busy_ms),
        attributed(&all.sums, held)
    )];
    parts.push(format!(
        "at least {} kWh",
        Grouped(u128::from(
            all.sums.energy.0.checked_div(3_600_000_000).unwrap_or(0)
        ))
    ));
    parts.extend(
        all.unconditional()
            .map(|most| format!("at most {} TPP-hours if no driver is believed", up(most))),
    );
    parts.join(" · ")
}

fn down(hours: MicroTppHours) -> Grouped {
    Grouped(hours.0.checked_div(1_000_000).unwrap_or(0))
}

fn up(hours: MicroTppHours) -> Grouped {
    Grouped(hours.0.div_ceil(1_000_000))
}

/// TPP-hours as a decimal text, to the last digit.
fn plain(hours: MicroTppHours) -> String {
    let (whole, rest) = (hours.0.div_euclid(1_000_000), hours.0.rem_euclid(1_000_000));
    format!("{whole}.{rest:06}")
}

/// A share as a decimal text.
fn ppm(share: u32) -> String {
    format!(
        "{}.{:06}",
        share.div_euclid(1_000_000),
        share.rem_euclid(1_000_000)
    )
}

fn whole_seconds(thousandths: u64) -> u64 {
    thousandths.checked_div(1_000).unwrap_or(0)
}

fn date(at: UnixSeconds) -> String {
    at.to_string().chars().take(10).collect()
}

fn wide(n: usize) -> u128 {
    u128::try_from(n).unwrap_or(u128::MAX)
}

#[cfg(test)]
mod tests;
