//! Operations: whether there is enough evidence at all, and whether it holds only what it may.

use super::super::case::{Case, no_report};
use super::super::finding::{Outcome, Quantity, Verdict, count, decimal, few};
use super::super::inventory::absence::{Absence, Absences, covered};
use super::super::inventory::presence::{Stretch, shared};
use super::super::read::share_apart;
use crate::appraisal::Grade;
use crate::id::{DeviceUuid, Digest};
use crate::licence::LicensedDevice;
use crate::time::{DAY_SECONDS, UnixSeconds, span};
use crate::unit::Ppm;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// OPS-01: the share of manifest devices that reported within the freshness limit.
pub(in crate::conditions) fn coverage(case: &Case<'_>) -> Verdict {
    let Some(least) = case.term(|l| l.coverage_min) else {
        return Verdict::no_limit("the least share of devices that must report");
    };
    let Some(window) = case.term(|l| l.freshness_max) else {
        return Verdict::no_limit("how old a report may be");
    };
    let since = case.due().plus(window.value.saturating_neg());
    let seen = case.seen_by_row(since);
    let rows: Vec<_> = in_service(case).collect();
    let silent: Vec<String> = rows
        .iter()
        .filter(|(i, _)| !seen.contains_key(i))
        .map(|(_, row)| row.label())
        .collect();
    let claimed: BTreeSet<usize> = case
        .seen_since(since)
        .iter()
        .filter(|s| s.last >= since)
        .filter_map(|s| Some(case.row_of(&s.device.identity)?.0))
        .collect();
    let at_most = rows.iter().filter(|(i, _)| claimed.contains(i)).count();
    let most = Ppm::of(number(at_most), number(rows.len()));
    let reporting = rows.len().saturating_sub(silent.len());
    let share = Ppm::of(number(reporting), number(rows.len()));
    let sentence = format!(
        "{reporting} of {} on the manifest reported within {} ({share}); {} asks for {}",
        count(rows.len(), "device"),
        span(window.value),
        least.from,
        least.value
    );
    let verdict = if rows.is_empty() {
        Verdict::cannot_tell("no-manifest", "the licence lists no device for this site")
            .grade(Grade::Declared)
    } else if !case.nodes().any(|n| n.record.facts.newest.is_some()) {
        no_report(Verdict::met("", ""))
    } else if share < least.value && most >= least.value {
        let sentence = format!("{sentence}; the others that did used a key that was revoked by then");
        Verdict::cannot_tell("revoked-key", sentence)
    } else if share < least.value {
        let verdict = Verdict::not_met("too-few-report", format!("{sentence}; silent: {}", few(&silent)));
        let unseen = rows.iter().filter(|(i, _)| !seen.contains_key(i));
        let away = away(case, unseen, since);
        let others = Ppm::of(number(reporting), number(rows.len().saturating_sub(away.len())));
        let enough = !away.is_empty() && others >= least.value;
        excuse(verdict, &away, enough, || {
            let excused = count(away.len(), "device");
            format!(
                "of the silent ones it is on record why {excused} cannot report, and of the others {others} did"
            )
        })
    } else if silent.is_empty() {
        Verdict::met("enough-report", sentence)
    } else {
        Verdict::met("enough-report", format!("{sentence}; silent: {}", few(&silent)))
    };
    case.unless_damaged(verdict, since)
        .measured(Quantity::exactly(decimal(share), "share of manifest devices"))
        .limit(Quantity::at_least(
            decimal(least.value),
            "share of manifest devices",
        ))
        .window(since, case.due())
        .coverage(share)
        .subjects(silent)
        .evidence(seen.values().map(|s| s.device.last_report))
}

/// Of silent rows the records that say why, where they cover all the time since then.
fn away<'r, 'a: 'r>(
    case: &Case<'a>,
    silent: impl Iterator<Item = &'r (usize, &'a LicensedDevice)>,
    since: UnixSeconds,
) -> Vec<Absence> {
    let absences = Absences::of(case);
    let seen = case.seen_by_row(UnixSeconds(i64::MIN));
    let window = (since, case.due());
    let record = |(i, row): &(usize, &LicensedDevice)| {
        let found = seen.get(i);
        let uuid = row.uuid.or_else(|| found.map(|s| s.device.identity.uuid));
        let standing = || absences.standing(uuid.as_ref(), found.map(|s| s.last));
        let whole = covered(standing(), window) >= window.1.since(window.0);
        standing().find(|_| whole).cloned()
    };
    silent.filter_map(record).collect()
}

/// A verdict against a site, held back where records explain enough of it: what people say makes nothing met that was measured, and a person must
/// weigh it.
fn excuse(verdict: Verdict, records: &[Absence], enough: bool, why: impl FnOnce() -> String) -> Verdict {
    if !enough {
        return verdict;
    }
    let words: BTreeSet<String> = records.iter().map(|a| format!("it {}", a.words)).collect();
    let words: Vec<String> = words.into_iter().collect();
    let digests: BTreeSet<Digest> = records.iter().map(|a| a.digest).collect();
    let sentence = format!("{}; {}: {}", verdict.sentence, why(), few(&words));
    Verdict {
        outcome: Outcome::CannotTell,
        message: "on-record",
        sentence,
        grade: Grade::Declared,
        ..verdict
    }
    .evidence(digests)
}

/// OPS-02: the share of the manifest's device time that signed samples cover. The two reports under way are left out.
pub(in crate::conditions) fn observation(case: &Case<'_>) -> Verdict {
    let Some(least) = case.term(|l| l.observation_min) else {
        return Verdict::no_limit("the least share of device time that samples must cover");
    };
    let since = case.since();
    let Observed {
        until,
        due,
        covered,
        claimed,
        mut worst,
    } = case.observation().clone();
    worst.sort_by(|a, b| b.ms.cmp(&a.ms).then_with(|| a.label.cmp(&b.label)));
    let gaps: Vec<String> = worst
        .iter()
        .map(|gap| {
            let seconds = i64::try_from(gap.ms.checked_div(1_000).unwrap_or(0)).unwrap_or(i64::MAX);
            format!("{} for {}", gap.label, span(seconds))
        })
        .collect();
    let share = Ppm::of(covered, due);
    let sentence = format!(
        "samples cover {share} of the device time since {since}; {} asks for {}",
        least.from, least.value
    );
    let verdict = if !case.nodes().any(|n| n.record.facts.newest.is_some()) {
        no_report(Verdict::met("", ""))
    } else if due == 0 {
        Verdict::cannot_tell(
            "nothing-due",
            "no device of the manifest was due to be observed yet",
        )
    } else if share < least.value && Ppm::of(claimed, due) >= least.value {
        let sentence = format!("{sentence}; more came only under a key that was revoked by then");
        Verdict::cannot_tell("revoked-key", sentence)
    } else if share < least.value {
        let verdict = Verdict::not_met(
            "too-little-observed",
            format!("{sentence}; longest unobserved: {}", few(&gaps)),
        )
        .subjects(worst.iter().map(|gap| gap.label.clone()));
        let excused = Excused::of(case, &worst);
        let others = Ppm::of(covered, due.saturating_sub(excused.ms));
        let enough = excused.ms > 0 && others >= least.value;
        excuse(verdict, &excused.records, enough, || {
            let seconds = i64::try_from(excused.ms.div_euclid(1_000)).unwrap_or(i64::MAX);
            format!(
                "{} of device time not covered are on record, and of the rest {others} is covered",
                span(seconds)
            )
        })
    } else if gaps.is_empty() {
        Verdict::met("observed", sentence)
    } else {
        Verdict::met(
            "observed",
            format!("{sentence}; longest unobserved: {}", few(&gaps)),
        )
    };
    case.unless_damaged(verdict, since)
        .measured(Quantity::exactly(decimal(share), "share of device time"))
        .limit(Quantity::at_least(decimal(least.value), "share of device time"))
        .window(since, until)
        .coverage(share)
        .evidence(case.newest_reports())
}

/// How much of the manifest's device time samples cover. The two reports under way are left out.
#[derive(Clone, Debug)]
pub(in crate::conditions) struct Observed {
    until: UnixSeconds,
    /// Time, in milliseconds, that should be covered, and that is.
    due: u64,
    covered: u64,
    /// The same, with what came under a key that was revoked by then.
    claimed: u64,
    /// What is not covered, by row of the manifest.
    worst: Vec<Unobserved>,
}

/// What is not covered of the time of a row's device.
#[derive(Clone, Debug)]
struct Unobserved {
    row: usize,
    label: String,
    /// How much, in milliseconds.
    ms: u64,
    /// The time in which it should be covered.
    due: Stretch,
}

impl Observed {
    pub(in crate::conditions) fn since(case: &Case<'_>, since: UnixSeconds) -> Self {
        let until = case
            .due()
            .plus(i64::from(case.licence.report_seconds).saturating_mul(-2));
        let mut observed = Self {
            until,
            due: 0,
            covered: 0,
            claimed: 0,
            worst: Vec::new(),
        };
        let mut covering = days_by_row(case, since.day()..=case.due().day());
        for (i, row) in in_service(case) {
            let start = row.in_service.unwrap_or(since).max(since);
            let due = milliseconds(until.since(start));
            let (covered, claimed) = covered_ms(covering.get_mut(&i), start);
            let covered = covered.min(due);
            observed.claimed = observed.claimed.saturating_add(claimed.min(due));
            observed.due = observed.due.saturating_add(due);
            observed.covered = observed.covered.saturating_add(covered);
            let ms = due.saturating_sub(covered);
            if ms > 0 {
                observed.worst.push(Unobserved {
                    row: i,
                    label: row.label(),
                    ms,
                    due: (start, until),
                });
            }
        }
        observed
    }

    /// How far less than a share is covered, in milliseconds: covered by no more, it stays below it, for what is due only grows.
    pub(in crate::conditions) fn lacks(&self, least: Ppm) -> u64 {
        match self.share() {
            Some(share) if share < least => share_apart(self.covered, self.due, least),
            _ => 0,
        }
    }

    /// The share of the time due that samples cover, where any was due.
    pub(in crate::conditions) fn share(&self) -> Option<Ppm> {
        (self.due > 0).then(|| Ppm::of(self.covered, self.due))
    }
}

/// What days say of the device of one row of the manifest.
#[derive(Clone, Copy, Debug)]
struct Covered {
    day: i64,
    /// Time that samples cover, in milliseconds.
    ms: u64,
    /// Whether all of the day came before the node's key was revoked, if it was.
    sure: bool,
}

/// What the days of all nodes say, by row of the manifest.
fn days_by_row(case: &Case<'_>, days: RangeInclusive<i64>) -> BTreeMap<usize, Vec<Covered>> {
    let mut found: BTreeMap<usize, Vec<Covered>> = BTreeMap::new();
    if days.is_empty() {
        return found;
    }
    for node in case.nodes() {
        let devices = node.record.facts.devices.iter();
        // In the order of their UUIDs, as in a day.
        let rows: Vec<_> = devices
            .filter_map(|d| Some((d.identity.uuid, case.row_of(&d.identity)?.0)))
            .collect();
        let mut by_row: Vec<Vec<Covered>> = vec![Vec::new(); rows.len()];
        for (number, day) in node.record.days.range(days.clone()) {
            let sure = day.came_before(node.status.revoked_from);
            for total in &day.devices {
                let at = rows.binary_search_by_key(&total.uuid, |(uuid, _)| *uuid);
                if let Some(covered) = at.ok().and_then(|at| by_row.get_mut(at)) {
                    covered.push(Covered {
                        day: *number,
                        ms: total.sums.covered_ms,
                        sure,
                    });
                }
            }
        }
        for ((_, row), covered) in rows.into_iter().zip(by_row) {
            found.entry(row).or_default().extend(covered);
        }
    }
    found
}

/// Time on the days from `start` on that samples of one device cover, on whatever nodes it stood; and the same with what days
/// hold into which reports came after a node's key was revoked. A day has no more than a day, however many nodes speak of it.
fn covered_ms(days: Option<&mut Vec<Covered>>, start: UnixSeconds) -> (u64, u64) {
    let Some(days) = days else { return (0, 0) };
    days.retain(|d| d.day >= start.day());
    days.sort_by_key(|d| d.day);
    let (mut all, mut all_claimed) = (0u64, 0u64);
    for day in days.chunk_by(|a, b| a.day == b.day) {
        let number = day.first().map_or(0, |d| d.day);
        let day_end = UnixSeconds(number.saturating_add(1).saturating_mul(DAY_SECONDS));
        let most = milliseconds(day_end.since(start).min(DAY_SECONDS));
        let sum =
            |which: fn(&&Covered) -> bool| day.iter().filter(which).fold(0u64, |n, d| n.saturating_add(d.ms));
        all = all.saturating_add(sum(|d| d.sure).min(most));
        all_claimed = all_claimed.saturating_add(sum(|_| true).min(most));
    }
    (all, all_claimed)
}

/// Time in which devices were away or at rest, as people say, and no sample covers them.
#[derive(Default)]
struct Excused {
    ms: u64,
    records: Vec<Absence>,
}

impl Excused {
    /// Of gaps, what records of their devices cover.
    fn of(case: &Case<'_>, gaps: &[Unobserved]) -> Self {
        let absences = Absences::of(case);
        let mut excused = Self::default();
        if absences.is_empty() {
            return excused;
        }
        let last = last_by_row(case);
        for gap in gaps {
            let (uuid, seen) = last.get(&gap.row).copied().unzip();
            let named = case.licence.devices.get(gap.row).and_then(|row| row.uuid);
            excused.take(&absences, (named.or(uuid), seen.flatten()), gap.ms, gap.due);
        }
        excused
    }

    /// Takes from a row's gap what records of its device cover.
    fn take(
        &mut self,
        absences: &Absences,
        device: (Option<DeviceUuid>, Option<UnixSeconds>),
        gap: u64,
        due: Stretch,
    ) {
        let standing = || absences.standing(device.0.as_ref(), device.1);
        let ms = milliseconds(covered(standing(), due)).min(gap);
        if ms > 0 {
            self.ms = self.ms.saturating_add(ms);
            self.records
                .extend(standing().filter(|a| shared(a.stretch(), due).is_some()).cloned());
        }
    }
}

/// The UUID of the device of each row, and when it was last seen.
fn last_by_row(case: &Case<'_>) -> BTreeMap<usize, (DeviceUuid, Option<UnixSeconds>)> {
    let mut found: BTreeMap<usize, (DeviceUuid, Option<UnixSeconds>)> = BTreeMap::new();
    for device in case.nodes().flat_map(|n| &n.record.facts.devices) {
        if let Some((i, _)) = case.row_of(&device.identity) {
            let (_, last) = found.entry(i).or_insert((device.identity.uuid, None));
            *last = (*last).max(device.last_seen);
        }
    }
    found
}

/// OPS-05: no report was refused for a field that the schema does not know.
pub(in crate::conditions) fn allowed_fields(case: &Case<'_>) -> Verdict {
    const CODES: [&str; 2] = ["E-FIELD", "E-FORM"];
    let since = case.since();
    let (mut refused, mut subjects, mut number_refused) = (Vec::new(), Vec::new(), 0u64);
    let mut open = Vec::new();
    for node in case.nodes() {
        let facts = &node.record.facts;
        for r in facts.refusals.iter().filter(|r| {
            CODES.contains(&r.code.as_str())
                && r.last >= since
                && node.status.approved.is_some_and(|t| t <= r.last)
        }) {
            let code = &r.code;
            // Whoever holds a revoked key may send what they like; whether any came before is not kept.
            if !node.status.is_active(r.last) {
                open.push(format!(
                    "reports of node {} were refused with {code}, the last after its key was revoked, on {}",
                    node.status.name, r.last
                ));
                continue;
            }
            let words = format!(
                "{} of node {} refused with {code}, the last on {}",
                count(usize::try_from(r.count).unwrap_or(usize::MAX), "report"),
                node.status.name,
                r.last
            );
            // Damaged bytes may have held anything.
            if code == "E-FORM" {
                open.push(format!("{words}, could not be read"));
                continue;
            }
            refused.push(words);
            number_refused = number_refused.saturating_add(r.count);
            subjects.push(facts.node.to_string());
        }
    }
    let reports = case
        .nodes()
        .fold(0u64, |n, a| n.saturating_add(a.record.facts.reports));
    let verdict = if !refused.is_empty() {
        Verdict::not_met(
            "unknown-field",
            format!("{}; nothing of them was kept", few(&refused)),
        )
    } else if !open.is_empty() {
        let sentence = format!("{}; whether they held other fields cannot be told", few(&open));
        Verdict::cannot_tell("not-read", sentence)
    } else if reports == 0 {
        no_report(Verdict::met("", ""))
    } else {
        let sentence = format!(
            "each of {} holds only fields of the published schema, which intake checks",
            count(usize::try_from(reports).unwrap_or(usize::MAX), "report")
        );
        Verdict::met("allowed-fields", sentence)
    };
    verdict
        .grade(Grade::Derived)
        .measured(Quantity::exactly(number_refused, "reports refused"))
        .limit(Quantity::at_most(0, "reports refused"))
        .window(since, case.now)
        .subjects(subjects)
        .evidence(case.newest_reports())
}

/// Rows of the manifest that are due to report by now.
pub(in crate::conditions) fn in_service<'a>(
    case: &Case<'a>,
) -> impl Iterator<Item = (usize, &'a LicensedDevice)> {
    let (from, due) = (case.licence.valid.from, case.due());
    case.rows()
        .filter(move |(_, row)| row.in_service.unwrap_or(from).max(from) <= due)
}

fn milliseconds(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000)
}

fn number(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
