//! Contradictions: declarations that measurements refute.
//!
//! Decides: by a table of cross-checks, each a kind of declaration and what is measured of the same thing. Only what no reading of either record
//! reconciles is a contradiction: bounds that lie apart, and times that lie apart by more than clocks may be off. Trusts reports for what they
//! measure and the licence for whom it hears. Does not establish which of two records is false, nor why. What a licence itself declares
//! (`[[activity]]`) is TRN-07's, meters outside the devices are PHY-03's, and the sums of shipments are INV-12's.

mod away;

use super::case::{Case, Term};
use super::finding::{Verdict, count, few};
use super::papers::Paper;
use super::read::Slack;
use super::tenant::attribution::longest_day_ms;
use super::training::activity::Told;
use crate::appraisal::{Grade, NodeAtSite};
use crate::id::{DeviceUuid, Digest};
use crate::statement::{
    FindingResponse, Header, Period, SampleInspection, SiteDeclaration, TrainingDeclaration,
};
use crate::time::{DAY_SECONDS, UnixSeconds};
use crate::unit::Ppm;
use std::collections::{BTreeMap, BTreeSet};

/// A kind of declaration, and what is held against it.
struct Check {
    /// The condition that the same records concern.
    condition: &'static str,
    look: fn(&Case<'_>) -> Looks,
}

/// Every cross-check: what is declared, what is measured.
const CHECKS: &[Check] = &[
    // Training declaration: the shares of busy time and of training that it names, and those of its devices or its tenant.
    Check {
        condition: "TRN-07",
        look: shares,
    },
    // Training declaration: the most devices that compute for a tenant together, and the busy time that is attributed to it.
    Check {
        condition: "TRN-05",
        look: devices_together,
    },
    // Site declaration: the country, and that of the site in the licence.
    Check {
        condition: "LOC-01",
        look: country,
    },
    // Disposal, loss, return, maintenance without power: devices that are away, and reports that show them.
    Check {
        condition: "INV-09",
        look: away::disposed,
    },
    Check {
        condition: "INV-09",
        look: away::lost,
    },
    Check {
        condition: "INV-09",
        look: away::returned,
    },
    Check {
        condition: "OPS-02",
        look: away::powered_off,
    },
    // Sample inspection: how many devices the inventory holds, and how many report at one time.
    Check {
        condition: "INV-07",
        look: population,
    },
    // Shipment list: devices that are not at the site yet, or no longer, and reports that show them.
    Check {
        condition: "INV-12",
        look: away::shipped,
    },
];

/// What came of one cross-check.
#[derive(Default)]
struct Looks {
    /// How many declarations were held against something.
    held: usize,
    /// Those that cannot both be true with what was measured.
    apart: Vec<Apart>,
    /// A limit that nobody sets.
    no_limit: Option<&'static str>,
}

/// A declaration and measurements that contradict each other.
struct Apart {
    words: String,
    subjects: Vec<String>,
    /// The declaration, then what speaks against it.
    evidence: Vec<Digest>,
}

/// What tells whether declared and measured shares lie apart.
const TOLERANCE: &str = "how far declared and measured activity may lie apart (`activity_tolerance`)";
/// What tells whether two times lie apart.
const CLOCK: &str = "how far a node's clock may be off (`clock_tolerance`)";

/// EVI-02: no measurement contradicts a declaration.
pub(super) fn none(case: &Case<'_>) -> Verdict {
    let looks: Vec<(&Check, Looks)> = CHECKS.iter().map(|c| (c, (c.look)(case))).collect();
    let held = looks.iter().map(|(_, l)| l.held).fold(0, usize::saturating_add);
    if held == 0 {
        let sentence = "nobody declared anything about this site that could be held against what is measured";
        return Verdict::not_applicable("nothing-declared", sentence).grade(Grade::Declared);
    }
    let apart: Vec<&Apart> = looks.iter().flat_map(|(_, l)| &l.apart).collect();
    let declared = count(held, "declaration");
    if apart.is_empty() {
        if let Some(what) = looks.iter().find_map(|(_, l)| l.no_limit) {
            return Verdict::no_limit(what);
        }
        let sentence = format!("no measurement contradicts the {declared} that can be held against one");
        let met = Verdict::met("none-contradicts", sentence).none_of("contradictions");
        return case.settle(case.since(), met).grade(Grade::Declared);
    }
    let about = looks.iter().filter(|(_, l)| !l.apart.is_empty());
    let about: BTreeSet<&str> = about.map(|(c, _)| c.condition).chain(["EVI-02"]).collect();
    let words: Vec<String> = apart.iter().map(|a| a.words.clone()).collect();
    let (responses, answers) = responses(case, &about);
    let sentence = format!("{}{responses}", few(&words));
    Verdict::not_met("contradicted", sentence)
        .none_of("contradictions")
        .measured(super::finding::Quantity::at_least(apart.len(), "contradictions"))
        .grade(Grade::Declared)
        .window(case.since(), case.now)
        .coverage(case.coverage())
        .subjects([case.facts.site.clone()])
        .subjects(apart.iter().flat_map(|a| a.subjects.clone()))
        .evidence(apart.iter().flat_map(|a| a.evidence.clone()))
        .evidence(answers)
}

/// What the operator said to a finding of these conditions. It is named, and changes nothing.
fn responses(case: &Case<'_>, about: &BTreeSet<&str>) -> (String, Vec<Digest>) {
    let heard = case.papers().holding::<FindingResponse>(case.now);
    let on_it: Vec<_> = heard
        .filter(|p| about.contains(p.claims.condition.as_str()))
        .collect();
    let words: Vec<String> = on_it
        .iter()
        .map(|p| {
            let does = if p.claims.disputed {
                "disputes"
            } else {
                "does not dispute"
            };
            format!(
                "{} {does} a finding of {} in the {}",
                p.header.issuer,
                p.claims.condition,
                p.label()
            )
        })
        .collect();
    let words = match words.as_slice() {
        [] => String::new(),
        some => format!("; {}", few(some)),
    };
    (words, on_it.iter().map(|p| p.digest).collect())
}

/// Whole days (UTC) of a period that are over, and of which each stands by itself: from the first to just before the second.
fn whole_days(case: &Case<'_>, period: &Period) -> Option<(i64, i64)> {
    let from = period.from.0.max(case.since());
    let first = from.plus(DAY_SECONDS.saturating_sub(1)).day();
    let end = period.to.0.min(case.now).day();
    (first < end).then_some((first, end))
}

/// Shares that a training declaration names. They are held against the devices that it names, else against what is attributed to its tenant: no
/// other time is its own.
fn shares(case: &Case<'_>) -> Looks {
    let mut looks = Looks::default();
    for paper in case.papers().all::<TrainingDeclaration>() {
        let said = paper.claims;
        let Some(days) = paper.header.period.as_ref().and_then(|p| whole_days(case, p)) else {
            continue;
        };
        let measured = match devices(paper.header) {
            Some(named) => {
                let told = Told::of_devices(case, days.0, days.1, |uuid| named.contains(uuid));
                [
                    (said.busy_share, told.busy()),
                    (said.training_share, told.training()),
                ]
            }
            None => [(said.busy_share, busy_of(case, said, days)), (None, None)],
        };
        for (what, (share, bounds)) in ["device time was busy", "compute was training"]
            .iter()
            .zip(measured)
        {
            let (Some(share), Some((least, most))) = (share, bounds) else {
                continue;
            };
            let Some(tolerance) = case.term(|l| l.activity_tolerance) else {
                looks.no_limit = Some(TOLERANCE);
                continue;
            };
            looks.held = looks.held.saturating_add(1);
            let off = |a: Ppm, b: Ppm| a.0.saturating_sub(b.0);
            if off(least, share.0).max(off(share.0, most)) > tolerance.value.0 {
                let (from, to) = (midnight(days.0), midnight(days.1));
                looks.apart.push(Apart {
                    words: format!(
                        "the {} says that {} of {what}, and from {from} until just before {to} {least} to {most} was measured",
                        paper.label(),
                        share.0
                    ),
                    subjects: Vec::new(),
                    evidence: std::iter::once(paper.digest).chain(case.newest_reports()).collect(),
                });
            }
        }
    }
    looks
}

fn midnight(day: i64) -> UnixSeconds {
    UnixSeconds(day.saturating_mul(DAY_SECONDS))
}

/// The share of its devices' time for which a tenant was surely busy; how much more it was nothing bounds.
fn busy_of(case: &Case<'_>, said: &TrainingDeclaration, days: (i64, i64)) -> Option<(Ppm, Ppm)> {
    let sums = attributed(case, said.tenant.as_str(), days);
    let (busy, all) = sums.values().fold((0u64, 0u64), |(busy, all), day| {
        (
            busy.saturating_add(day.busy_ms),
            all.saturating_add(day.attributed_ms),
        )
    });
    (all > 0).then(|| (Ppm::of(busy, all), Ppm::ONE))
}

/// What nodes attribute to a tenant on a day.
#[derive(Default)]
struct Attributed {
    attributed_ms: u64,
    busy_ms: u64,
    /// The newest reports of these nodes.
    reports: Vec<Digest>,
}

/// What is attributed to a tenant, day by day, as far as no key was revoked by then.
fn attributed(case: &Case<'_>, tenant: &str, days: (i64, i64)) -> BTreeMap<i64, Attributed> {
    let mut found: BTreeMap<i64, Attributed> = BTreeMap::new();
    case.stands_for(Slack::days_before(
        days.1,
        midnight(case.now.day().saturating_add(1)),
    ));
    // Where another licence's devices stand, it cannot be told which of them the tenant held.
    let own = |n: &&NodeAtSite| !n.record.facts.devices.iter().any(|d| case.is_beside(d));
    for node in case.nodes().filter(own) {
        let revoked = node.status.revoked_from;
        let told = node.record.days.range(days.0..days.1);
        for (number, day) in told.filter(|(_, d)| d.came_before(revoked)) {
            let totals = day.tenants.iter().flat_map(|t| &t.kept);
            for total in totals.filter(|t| t.tenant.to_string() == tenant) {
                let sums = found.entry(*number).or_default();
                sums.attributed_ms = sums.attributed_ms.saturating_add(total.sums.attributed_ms);
                sums.busy_ms = sums.busy_ms.saturating_add(total.sums.busy_ms);
                sums.reports
                    .extend(node.record.facts.newest.as_ref().map(|n| n.digest));
            }
        }
    }
    found
}

/// The most devices that a tenant's declarations allow to compute for it together, and the least that did on some day: no device is busy for longer
/// than a day, and the report under way when it begins.
fn devices_together(case: &Case<'_>) -> Looks {
    let mut looks = Looks::default();
    let mut by_tenant: BTreeMap<&str, Vec<Paper<'_, TrainingDeclaration>>> = BTreeMap::new();
    for paper in case.papers().all::<TrainingDeclaration>() {
        by_tenant
            .entry(paper.claims.tenant.as_str())
            .or_default()
            .push(paper);
    }
    let longest = longest_day_ms(case).max(1);
    for (tenant, papers) in by_tenant {
        let spans = |p: &Paper<'_, TrainingDeclaration>| whole_days(case, p.header.period.as_ref()?);
        let first = papers.iter().filter_map(spans).map(|(first, _)| first).min();
        let end = papers.iter().filter_map(spans).map(|(_, end)| end).max();
        let (Some(first), Some(end)) = (first, end) else {
            continue;
        };
        let mut worst: Option<(u64, Apart)> = None;
        for (day, sums) in attributed(case, tenant, (first, end)) {
            let covers =
                |p: &&Paper<'_, TrainingDeclaration>| spans(p).is_some_and(|(a, b)| a <= day && day < b);
            let holding: Vec<_> = papers.iter().filter(covers).collect();
            if holding.is_empty() {
                continue;
            }
            looks.held = looks.held.saturating_add(1);
            let most = holding
                .iter()
                .fold(0u64, |sum, p| sum.saturating_add(p.claims.devices_at_most));
            let least = sums.busy_ms.div_ceil(longest);
            if least <= most || worst.as_ref().is_some_and(|(n, _)| *n >= least) {
                continue;
            }
            let labels: Vec<String> = holding.iter().map(|p| p.label()).collect();
            let words = format!(
                "the {} says that at most {most} devices compute for tenant {tenant} together, and by the busy time attributed to it on the day of {} at least {least} did",
                few(&labels),
                midnight(day)
            );
            let digests = holding.iter().map(|p| p.digest);
            let apart = Apart {
                words,
                subjects: Vec::new(),
                evidence: digests.chain(sums.reports).collect(),
            };
            worst = Some((least, apart));
        }
        looks.apart.extend(worst.map(|(_, apart)| apart));
    }
    looks
}

/// The country of a site declaration, and that of the licence.
fn country(case: &Case<'_>) -> Looks {
    let mut looks = Looks::default();
    let licensed = case
        .licence
        .site(case.facts.site)
        .and_then(|s| s.country.as_deref());
    for paper in case.papers().holding::<SiteDeclaration>(case.now) {
        let Some(licensed) = licensed else {
            continue;
        };
        looks.held = looks.held.saturating_add(1);
        let said = paper.claims.country.as_str();
        if said != licensed {
            looks.apart.push(Apart {
                words: format!(
                    "the {} says that the site lies in {said}, and licence {} has it in {licensed}",
                    paper.label(),
                    case.licence.licence_id
                ),
                subjects: Vec::new(),
                evidence: vec![paper.digest, case.licence.digest],
            });
        }
    }
    looks
}

/// The devices that a statement names.
fn devices(header: &Header) -> Option<BTreeSet<DeviceUuid>> {
    let named = header.devices.as_ref()?;
    Some(named.iter().map(|d| d.0).collect())
}

/// How many devices an inventory held from which a sample was drawn, and how many reported at one time.
fn population(case: &Case<'_>) -> Looks {
    let mut looks = Looks::default();
    for paper in case.papers().all::<SampleInspection>() {
        let Some(period) = &paper.header.period else {
            continue;
        };
        let Some(tolerance) = case.term(|l| l.clock_tolerance) else {
            looks.no_limit = Some(CLOCK);
            continue;
        };
        looks.held = looks.held.saturating_add(1);
        let (most, at, reports) = at_once(case, period, tolerance);
        let said = paper.claims.population;
        if u64::try_from(most).is_ok_and(|n| n > said) {
            looks.apart.push(Apart {
                words: format!(
                    "the {} was drawn from an inventory of {said} devices, and {most} reported at one time, on {at}",
                    paper.label()
                ),
                subjects: Vec::new(),
                evidence: std::iter::once(paper.digest).chain(reports).collect(),
            });
        }
    }
    looks
}

/// The most devices that surely reported at one time within a period, when, and the newest reports that show it. Devices of other licences are left
/// out: their inventory is another.
fn at_once(case: &Case<'_>, period: &Period, tolerance: Term<i64>) -> (usize, UnixSeconds, Vec<Digest>) {
    let mut changes: Vec<(UnixSeconds, i8, DeviceUuid)> = Vec::new();
    let mut reports = Vec::new();
    case.reaches(period.to.0);
    for seen in case.seen_since(case.since()) {
        if case.is_beside(seen.device) {
            continue;
        }
        for (span, revoked) in seen.sure_spans() {
            let from = span
                .from
                .plus(tolerance.value)
                .max(period.from.0)
                .max(case.since());
            let to = span
                .to
                .min(revoked)
                .plus(tolerance.value.saturating_neg())
                .min(period.to.0);
            if from < to {
                let uuid = seen.device.identity.uuid;
                changes.extend([(from, 1, uuid), (to, -1, uuid)]);
                reports.push(span.last_report);
            }
        }
    }
    // What ends in a moment is gone before what begins in it.
    changes.sort_unstable();
    let mut there: BTreeMap<DeviceUuid, usize> = BTreeMap::new();
    let (mut most, mut at) = (0, period.from.0);
    for (time, change, uuid) in changes {
        let stays = there.entry(uuid).or_default();
        if change > 0 {
            *stays = stays.saturating_add(1);
        } else {
            *stays = stays.saturating_sub(1);
        }
        if *stays == 0 {
            there.remove(&uuid);
        }
        if there.len() > most {
            (most, at) = (there.len(), time);
        }
    }
    (most, at, reports)
}
