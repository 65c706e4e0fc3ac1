//! Attribution: which tenants held devices of the site, and what is known of what they did with them.
//!
//! Decides: whose device time counts. That is what the reports of the window of findings tell, by node and by day: no report says which of a node's
//! devices a tenant held, so that from above it may be all of them, and from below what they cannot have done otherwise. Rests on the operator,
//! who says who held a device. Does not establish that the holder was the one who computed, nor who a pseudonym is.

use super::super::case::{Case, no_report};
use super::super::finding::{Outcome, Quantity, Verdict, count, few};
use super::super::read::{Slack, share_apart};
use super::super::training::levels::{Reached, level_of};
use crate::appraisal::{DeviceSums, DeviceTotal, Grade, NodeAtSite, NodeDay, TenantSums};
use crate::id::{DeviceUuid, TenantPseudonym};
use crate::statement::Pseudonym;
use crate::time::DAY_SECONDS;
use crate::unit::{MicroTppHours, Ppm};
use crate::workload::Level;
use std::collections::{BTreeMap, BTreeSet};

/// How a sentence names what says who holds a device.
const SOURCE: &str = "`weighbridge-agent attribute` on the nodes would say who holds a device";

/// What the reports of the window of findings say of the site's tenants.
#[derive(Debug, Default)]
pub(in crate::conditions) struct Attribution {
    /// Tenants with device time, each with what it held.
    pub(in crate::conditions) tenants: BTreeMap<TenantPseudonym, Held>,
    /// Busy time that nobody answers for, as if one tenant held it.
    pub(in crate::conditions) nobody: Held,
    /// Whether a node had more tenants than are kept one by one.
    crowded: bool,
    /// Device time in which a kernel was resident, the part of it that is attributed, and time of which that could not be read, in milliseconds.
    busy_ms: u64,
    attributed_ms: u64,
    unknown_ms: u64,
}

/// What one tenant held.
#[derive(Debug, Default)]
pub(in crate::conditions) struct Held {
    /// What the reports say of it.
    pub(in crate::conditions) sums: TenantSums,
    /// Whether some of its time surely lies within the window, on devices of this licence.
    pub(in crate::conditions) is_sure: bool,
    /// Its device time in which it may have trained, in milliseconds: no more than it held, nor than the devices of its nodes were not ruled out.
    pub(in crate::conditions) may_train_ms: u64,
    /// These days, each with the devices with which it may have trained.
    pub(in crate::conditions) days: BTreeMap<i64, Group>,
    /// Whether it surely trained: in runs at L3 of devices that it alone held.
    pub(in crate::conditions) trains: bool,
    /// How far what these devices did goes towards training; no further than L2 where others held some too.
    pub(in crate::conditions) reached: Reached,
}

/// The devices with which a tenant may have trained on one day.
#[derive(Debug, Default)]
pub(in crate::conditions) struct Group {
    /// The most that it can have held.
    pub(in crate::conditions) most: u64,
    /// The fewest with which it trained at one time; zero where none surely did.
    pub(in crate::conditions) least: u64,
    /// The least time for which they trained, in milliseconds.
    pub(in crate::conditions) trained_ms: u64,
}

impl Held {
    /// The most devices with which it may have trained on one day.
    pub(in crate::conditions) fn most(&self) -> u64 {
        self.days.values().map(|g| g.most).max().unwrap_or(0)
    }
}

/// What a tenant held on one day, over all nodes.
#[derive(Default)]
struct HeldOnDay {
    devices: u64,
    /// The least time for which each device trained, in milliseconds. What two nodes say of one device counts once.
    trained_ms: BTreeMap<DeviceUuid, u64>,
}

type ByDay = BTreeMap<(Option<TenantPseudonym>, i64), HeldOnDay>;

impl Attribution {
    pub(in crate::conditions) fn of(case: &Case<'_>) -> Self {
        let (mut found, mut days) = (Self::default(), ByDay::new());
        for node in case.nodes() {
            let others: BTreeSet<DeviceUuid> = node
                .record
                .facts
                .devices
                .iter()
                .filter(|d| case.is_beside(d))
                .map(|d| d.identity.uuid)
                .collect();
            // Of a node first, which has few devices: its days are many.
            let mut reached: BTreeMap<TenantPseudonym, Reached> = BTreeMap::new();
            for (_, day) in node.record.days.range(case.since().day()..) {
                // What came after the key was revoked may be anyone's.
                if day.came_before(node.status.revoked_from) {
                    found.take(case, node, day, &others, &mut days, &mut reached);
                }
            }
            for (tenant, reached) in reached {
                found.tenants.entry(tenant).or_default().reached.join(&reached);
            }
        }
        let day_ms = longest_day_ms(case);
        for ((tenant, day), on_day) in days {
            let held = match tenant {
                Some(tenant) => found.tenants.entry(tenant).or_default(),
                None => &mut found.nobody,
            };
            // No device trained for longer than the day, whatever its reports say: what is more is no other device.
            let trained = on_day.trained_ms.into_values().map(|ms| ms.min(day_ms));
            let trained_ms = trained.fold(0, u64::saturating_add);
            let group = Group {
                most: on_day.devices,
                least: trained_ms.div_ceil(day_ms),
                trained_ms,
            };
            held.days.insert(day, group);
        }
        found
    }

    /// Takes in a day of a node. `others` are devices that another licence answers for.
    fn take(
        &mut self,
        case: &Case<'_>,
        node: &NodeAtSite,
        day: &NodeDay,
        others: &BTreeSet<DeviceUuid>,
        days: &mut ByDay,
        reached: &mut BTreeMap<TenantPseudonym, Reached>,
    ) {
        let own = || day.devices.iter().filter(|d| !others.contains(&d.uuid));
        let mut loose = HeldOnDay::default();
        for sums in own().map(|d| &d.sums) {
            self.busy_ms = self.busy_ms.saturating_add(sums.busy_ms);
            self.attributed_ms = self.attributed_ms.saturating_add(sums.attributed_busy_ms);
            self.unknown_ms = self.unknown_ms.saturating_add(sums.busy_unknown_ms);
            let ms = unattributed_ms(sums);
            if ms > 0 && may_train(sums) {
                let ms = ms.min(may_train_ms(sums));
                self.nobody.may_train_ms = self.nobody.may_train_ms.saturating_add(ms);
                loose.devices = loose.devices.saturating_add(1);
            }
        }
        if loose.devices > 0 {
            let entry = days.entry((None, day.day)).or_default();
            entry.devices = entry.devices.saturating_add(loose.devices);
        }
        // Of a node on which only devices of another licence stand, the tenants are that one's.
        let Some(tenants) = day.tenants.as_deref().filter(|_| own().next().is_some()) else {
            return;
        };
        self.crowded |= tenants.others.is_some();
        let is_sure = super::super::training::compute::is_whole(node, day.day, case.since())
            && own().count() == day.devices.len();
        let trainers = u64::try_from(own().filter(|d| may_train(&d.sums)).count()).unwrap_or(u64::MAX);
        let may_ms = own().map(|d| may_train_ms(&d.sums)).fold(0, u64::saturating_add);
        // What a device did is surely a tenant's where no other held any that day, and it was busy for nobody else.
        let alone = is_sure && tenants.kept.len() == 1 && tenants.others.is_none();
        let is_its = |d: &DeviceTotal| alone && unattributed_ms(&d.sums) == 0;
        let trained: Vec<&DeviceTotal> = own().filter(|d| d.sums.established_ms > 0 && is_its(d)).collect();
        let levels = reached_by(own(), is_its);
        for total in &tenants.kept {
            let held = self.tenants.entry(total.tenant).or_default();
            held.sums.add(&total.sums);
            held.is_sure |= is_sure;
            held.trains |= !trained.is_empty();
            let computed = total.sums.upper > MicroTppHours(0) || total.sums.unbounded_ms > 0;
            if computed {
                reached.entry(total.tenant).or_default().join(&levels);
            }
            if trainers == 0 || !computed {
                continue;
            }
            let ms = total.sums.attributed_ms.min(may_ms);
            held.may_train_ms = held.may_train_ms.saturating_add(ms);
            let on_day = days.entry((Some(total.tenant), day.day)).or_default();
            on_day.devices = on_day.devices.saturating_add(trainers);
            for device in &trained {
                let ms = on_day.trained_ms.entry(device.uuid).or_default();
                *ms = device.sums.established_ms.max(*ms);
            }
        }
    }

    /// How far the sums may move until a verdict may be another that asks nothing of them but [`Self::untold`], [`Self::share`],
    /// [`Self::gap`], which tenants there are, and whether each may have trained.
    ///
    /// A tenant, a device that may train or one that is busy where none was is of another kind, whatever the sums are.
    pub(in crate::conditions) fn slack(&self, case: &Case<'_>) -> Slack {
        let window = case.term(|l| l.finding_window).map(|t| t.value);
        let mut slack = case.slack_of_period(case.since(), window);
        // Where all is told of and attributed, what is not is of another kind.
        let is_all = self.unknown_ms == 0 && self.attributed_ms == self.busy_ms;
        let asked = case.term(|l| l.attribution_min);
        if let Some(enough) = asked.filter(|t| t.value < Ppm::ONE || !is_all) {
            let most_busy = self.busy_ms.saturating_add(self.unknown_ms);
            let most = self.attributed_ms.saturating_add(self.unknown_ms);
            for part in [self.attributed_ms, most] {
                slack = slack.within_ms(share_apart(part, most_busy, enough.value));
            }
        }
        let enough = case.term(|l| l.observation_min).map_or(Ppm::ONE, |t| t.value);
        match case.coverage() < enough {
            true => slack.within_ms(case.uncovered(enough)),
            // A report adds to what is covered.
            false => slack,
        }
    }

    /// Whether nothing was busy, as far as reports say.
    pub(in crate::conditions) fn is_idle(&self) -> bool {
        self.busy_ms == 0 && self.unknown_ms == 0
    }

    /// The share of busy device time that is attributed: at least, and at most.
    pub(in crate::conditions) fn share(&self) -> (Ppm, Ppm) {
        let most_busy = self.busy_ms.saturating_add(self.unknown_ms);
        let most = self.attributed_ms.saturating_add(self.unknown_ms);
        (Ppm::of(self.attributed_ms, most_busy), Ppm::of(most, most_busy))
    }

    /// The pseudonyms, as findings list them.
    pub(in crate::conditions) fn subjects(&self) -> impl Iterator<Item = String> + '_ {
        self.tenants.keys().map(TenantPseudonym::to_string)
    }

    /// The verdict where no tenant is known of, if so: there was none, or nobody says who it was.
    pub(in crate::conditions) fn untold(&self, case: &Case<'_>) -> Option<Verdict> {
        if !case.nodes().any(|n| n.record.facts.newest.is_some()) {
            return Some(Self::place(case, no_report(Verdict::met("", ""))));
        }
        if !self.tenants.is_empty() {
            return None;
        }
        if self.is_idle() {
            let sentence = "no device was busy, and nobody held one";
            return Some(self.hold(case, Verdict::not_applicable("no-tenant", sentence)));
        }
        let sentence = format!(
            "devices were busy for {}, and none of that time is attributed to a tenant; {SOURCE}",
            device_hours(self.busy_ms.saturating_add(self.unknown_ms))
        );
        Some(Self::place(case, Verdict::cannot_tell("unattributed", sentence)))
    }

    /// Says of a verdict about tenants which time it is of and what it rests on.
    pub(in crate::conditions) fn place(case: &Case<'_>, verdict: Verdict) -> Verdict {
        let window = verdict
            .window
            .map_or_else(|| (case.since(), case.now), |w| (w.from, w.to));
        verdict
            .grade(Grade::Declared)
            .window(window.0, window.1)
            .coverage(case.coverage())
            .evidence(case.newest_reports())
    }

    /// A verdict that nothing bad is known of the tenants, held back to `cannot tell` unless all of them are known.
    pub(in crate::conditions) fn hold(&self, case: &Case<'_>, verdict: Verdict) -> Verdict {
        let seen = case.settle_devices(case.since(), verdict).grade(Grade::Declared);
        if !matches!(seen.outcome, Outcome::Met | Outcome::NotApplicable) {
            return seen;
        }
        let Some((message, why)) = self.gap(case) else {
            return seen;
        };
        Verdict {
            outcome: Outcome::CannotTell,
            message,
            sentence: format!("{why}; as far as is known, {}", seen.sentence),
            ..seen
        }
    }

    /// Why not all tenants are known, if so. Where neither licence nor rule set says how much is enough, only all is.
    pub(in crate::conditions) fn gap(&self, case: &Case<'_>) -> Option<(&'static str, String)> {
        if self.crowded {
            let why = "a node had more tenants than are kept one by one, so that not all of them are known";
            return Some(("not-all-kept", why.to_owned()));
        }
        let enough = case.term(|l| l.attribution_min).map_or(Ppm::ONE, |t| t.value);
        let (least, _) = self.share();
        if !self.is_idle() && least < enough {
            let why = format!(
                "only {least} of busy device time is surely attributed to tenants, where {enough} must be, so that others may have held devices"
            );
            return Some(("partly-attributed", why));
        }
        let enough = case.term(|l| l.observation_min).map_or(Ppm::ONE, |t| t.value);
        let coverage = case.coverage();
        (coverage < enough).then(|| {
            let why = format!(
                "samples cover only {coverage} of device time, where {enough} must be covered, and who held devices in the rest is not known"
            );
            ("not-observed", why)
        })
    }
}

/// Tenants of which something is wrong or open, each with why; none is named where it is nobody's.
#[derive(Debug, Default)]
pub(in crate::conditions) struct Tally {
    wrong: Vec<(Option<TenantPseudonym>, String)>,
    open: Vec<(Option<TenantPseudonym>, String)>,
}

impl Tally {
    pub(in crate::conditions) fn wrong(&mut self, tenant: &TenantPseudonym, why: impl Into<String>) {
        self.wrong.push((Some(*tenant), why.into()));
    }

    pub(in crate::conditions) fn open(&mut self, tenant: Option<&TenantPseudonym>, why: impl Into<String>) {
        self.open.push((tenant.copied(), why.into()));
    }

    /// How many are open or wrong.
    pub(in crate::conditions) fn count(&self) -> usize {
        self.wrong.len().saturating_add(self.open.len())
    }

    /// Of how many it holds: surely, and possibly.
    pub(in crate::conditions) fn bounds(&self, unit: &'static str) -> Quantity {
        Quantity::between(self.wrong.len(), self.count(), unit)
    }

    /// The verdict where something is wrong.
    pub(in crate::conditions) fn not_met(&self, message: &'static str, rule: &str) -> Option<Verdict> {
        Self::verdict(Outcome::NotMet, message, &self.wrong, rule)
    }

    /// The verdict where something is open.
    pub(in crate::conditions) fn cannot_tell(&self, message: &'static str, rule: &str) -> Option<Verdict> {
        Self::verdict(Outcome::CannotTell, message, &self.open, rule)
    }

    fn verdict(
        outcome: Outcome,
        message: &'static str,
        some: &[(Option<TenantPseudonym>, String)],
        rule: &str,
    ) -> Option<Verdict> {
        let words: Vec<String> = some
            .iter()
            .map(|(tenant, why)| match tenant {
                Some(tenant) => format!("tenant {tenant} {why}"),
                None => why.clone(),
            })
            .collect();
        let subjects = some.iter().filter_map(|(t, _)| Some(t.as_ref()?.to_string()));
        let verdict = Verdict::new(outcome, message, format!("{}; {rule}", few(&words)));
        (!some.is_empty()).then(|| verdict.subjects(subjects))
    }
}

/// How far devices of a tenant's node went on a day. What others may have done is no case against one of them: then it is L2 at most.
fn reached_by<'a>(
    devices: impl Iterator<Item = &'a DeviceTotal>,
    is_its: impl Fn(&DeviceTotal) -> bool,
) -> Reached {
    let mut reached = Reached::default();
    for device in devices {
        let most = match is_its(device) {
            true => Level::Established,
            false => Level::Candidate,
        };
        reached.take(device.uuid, level_of(&device.sums).map(|level| level.min(most)));
    }
    reached
}

/// Whether a device may have trained. What no one scored may all have been training.
pub(in crate::conditions) fn may_train(sums: &DeviceSums) -> bool {
    sums.training_upper > MicroTppHours(0) || sums.unbounded_ms > 0
}

/// The longest for which a device can be told to have been busy on a day: the day, and the report under way when it begins. In milliseconds.
pub(in crate::conditions) fn longest_day_ms(case: &Case<'_>) -> u64 {
    let seconds = DAY_SECONDS.saturating_add(i64::from(case.licence.report_seconds));
    u64::try_from(seconds).unwrap_or(u64::MAX).saturating_mul(1_000)
}

/// Time in which it was busy, or may have been, and for nobody.
pub(in crate::conditions) fn unattributed_ms(sums: &DeviceSums) -> u64 {
    let busy = sums.busy_ms.saturating_sub(sums.attributed_busy_ms);
    busy.saturating_add(sums.busy_unknown_ms)
}

/// Time in which a device may have trained: it was busy and that is not ruled out, or nobody saw it. Where something that may have been training
/// was computed, it is some, however little was told to be busy.
fn may_train_ms(sums: &DeviceSums) -> u64 {
    if !may_train(sums) {
        return 0;
    }
    let busy = sums.most_busy_ms().saturating_sub(sums.ruled_out_ms);
    busy.saturating_add(sums.unseen_ms()).min(sums.expected_ms).max(1)
}

/// Device time in words, in whole hours rounded up.
pub(in crate::conditions) fn device_hours(ms: u64) -> String {
    let hours = usize::try_from(ms.div_ceil(3_600_000)).unwrap_or(usize::MAX);
    count(hours, "device-hour")
}

/// The pseudonym of a statement, as reports have it.
pub(in crate::conditions) fn tenant(named: &Pseudonym) -> Option<TenantPseudonym> {
    TenantPseudonym::parse(named.as_str()).ok()
}
