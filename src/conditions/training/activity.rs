//! Declared activity: whether what the operator declared of a time agrees with what the reports say of it.
//!
//! Decides: by shares of device time and of compute, each between bounds. Time that no report speaks of may have been anything, so that silence
//! neither confirms a declaration nor breaks it. Rests on what drivers report, and for training on scores that may err. Does not establish
//! what the devices did it for.

use super::super::case::{Case, no_report};
use super::super::finding::{Outcome, Quantity, Verdict, decimal, few};
use super::super::read::Slack;
use super::compute::{milliseconds, row_model};
use super::group::otherwise_computed;
use super::levels::{Reached, Times, level_of};
use super::sums::OfNode;
use crate::accelerator::Model;
use crate::appraisal::{DeviceSums, Grade};
use crate::id::DeviceUuid;
use crate::licence::DeclaredActivity;
use crate::time::{DAY_SECONDS, UnixSeconds};
use crate::unit::{MicroTppHours, Ppm};
use std::collections::{BTreeMap, BTreeSet};

/// TRN-07: declared and measured activity agree.
pub(in crate::conditions) fn as_declared(case: &Case<'_>) -> Verdict {
    let here =
        |a: &&DeclaredActivity| a.site.as_deref().is_none_or(|s| s == case.facts.site) && a.from < case.now;
    let declared: Vec<&DeclaredActivity> = case.licence.activity.iter().filter(here).collect();
    if declared.is_empty() {
        return Verdict::not_applicable(
            "nothing-declared",
            "nobody declared what the devices of this site did; an `[[activity]]` of the licence would say it",
        );
    }
    let Some(tolerance) = case.term(|l| l.activity_tolerance) else {
        return Verdict::no_limit(
            "how far declared and measured activity may lie apart (`activity_tolerance`)",
        );
    };
    let Some(idle_power) = case.term(|l| l.idle_power_max) else {
        return Verdict::no_limit("how much power an idle device may draw (`idle_power_max`)");
    };
    let judged: Vec<Judged> = declared
        .iter()
        .map(|a| Judged::of(case, a, tolerance.value, idle_power.value))
        .collect();
    let from = declared.iter().map(|a| a.from).min().unwrap_or(case.now);
    let to = declared
        .iter()
        .map(|a| a.to)
        .max()
        .unwrap_or(case.now)
        .min(case.now);
    let worst = judged
        .iter()
        .map(|j| j.outcome)
        .min()
        .unwrap_or(Outcome::CannotTell);
    let words: Vec<String> = judged
        .iter()
        .filter(|j| j.outcome == worst)
        .map(|j| j.words.clone())
        .collect();
    let rule = format!("{} allows {} between the two", tolerance.from, tolerance.value);
    let mut reached = Reached::default();
    for judged in &judged {
        reached.join(&judged.reached);
    }
    let sentence = format!("{}{}; {rule}", few(&words), reached.in_words());
    let apart = judged.iter().filter_map(|j| j.apart).max();
    let verdict = match worst {
        Outcome::NotMet => {
            Verdict::not_met("otherwise-than-declared", sentence).subjects([case.facts.site.clone()])
        }
        Outcome::Met => case.hold_devices(Verdict::met("as-declared", sentence)),
        _ => Verdict::cannot_tell("not-enough-told", sentence),
    };
    let verdict = verdict.level(reached.highest());
    let verdict = match apart {
        Some(apart) => verdict.measured(Quantity::at_least(decimal(apart), "share apart")),
        None => verdict,
    };
    if !case.nodes().any(|n| n.record.facts.newest.is_some()) {
        return no_report(verdict).window(from, to);
    }
    verdict
        .limit(Quantity::at_most(decimal(tolerance.value), "share apart"))
        .window(from, to)
        .coverage(case.coverage())
        .evidence(case.newest_reports())
}

/// The days that lie wholly between two times: sums are kept by the day.
fn whole_days(from: UnixSeconds, to: UnixSeconds) -> (i64, i64) {
    let first = from.0.saturating_add(DAY_SECONDS).saturating_sub(1);
    (first.div_euclid(DAY_SECONDS), to.day())
}

/// One declaration against the reports.
struct Judged {
    outcome: Outcome,
    words: String,
    /// How far declared and measured surely lie apart.
    apart: Option<Ppm>,
    /// How far devices went towards training, where a share of that was declared.
    reached: Reached,
}

impl Judged {
    fn of(case: &Case<'_>, declared: &DeclaredActivity, tolerance: Ppm, idle_power: Ppm) -> Self {
        let (first, end) = whole_days(declared.from, declared.to.min(case.now));
        let name = format!("from {} until just before {}", declared.from, declared.to);
        if first >= end {
            return Self {
                outcome: Outcome::CannotTell,
                words: format!("{name}, no whole day (UTC) is over yet"),
                apart: None,
                reached: Reached::default(),
            };
        }
        let told = Told::of(case, first, end);
        let shares = [
            declared
                .busy_share
                .map(|d| ("device time was declared busy", d, told.busy())),
            declared
                .training_share
                .map(|d| ("compute was declared training", d, told.training())),
        ];
        let (mut wrong, mut open, mut fine) = (Vec::new(), Vec::new(), Vec::new());
        let mut apart: Option<Ppm> = None;
        for (what, share, measured) in shares.into_iter().flatten() {
            let Some((least, most)) = measured else {
                open.push(format!("{share} of {what}, and nothing was measured of it"));
                continue;
            };
            let words = format!("{share} of {what}, and {least} to {most} was measured");
            let off = |a: Ppm, b: Ppm| a.0.saturating_sub(b.0);
            let surely = off(least, share).max(off(share, most));
            let maybe = off(most, share).max(off(share, least));
            apart = apart.max(Some(Ppm(surely)));
            if surely > tolerance.0 {
                wrong.push(words);
            } else if maybe > tolerance.0 {
                open.push(words);
            } else {
                fine.push(words);
            }
        }
        if declared.busy_share == Some(Ppm(0)) {
            told.judge_idle(tolerance, idle_power, &mut wrong, &mut open);
        }
        let (outcome, said) = if !wrong.is_empty() {
            (Outcome::NotMet, wrong)
        } else if !open.is_empty() {
            (Outcome::CannotTell, open)
        } else {
            (Outcome::Met, fine)
        };
        Self {
            outcome,
            words: format!("{name}, {}", said.join(", and ")),
            apart,
            reached: match declared.training_share {
                Some(_) => told.reached,
                None => Reached::default(),
            },
        }
    }
}

/// What the reports say of some whole days.
#[derive(Default)]
pub(in crate::conditions) struct Told {
    sums: DeviceSums,
    /// Device time in milliseconds.
    elapsed_ms: u64,
    /// What could have been computed in the part of it that no report speaks of, and in all.
    silent: MicroTppHours,
    capacity: MicroTppHours,
    /// Energy at the power of the devices' models, in millijoules.
    at_model_power: u128,
    /// Whether a peak, or a power, is not known.
    peak_unknown: bool,
    power_unknown: bool,
    /// Busy time, or what may have been, by its levels.
    times: Times,
    /// How far their runs went towards training.
    reached: Reached,
}

/// What the reports say of one device.
#[derive(Default)]
struct Days {
    sums: DeviceSums,
    times: Times,
    /// Time of which they speak, in milliseconds.
    reported_ms: u64,
}

impl Days {
    fn of(mut told: Vec<OfNode<'_>>) -> Self {
        let mut days = Self::default();
        for (sums, reported_ms) in OfNode::by_day(&mut told) {
            days.sums.add(&sums);
            days.times.add(&Times::of_day(&sums));
            days.reported_ms = days.reported_ms.saturating_add(reported_ms);
        }
        days
    }
}

impl Told {
    /// Of the days from `first` to just before `end`.
    fn of(case: &Case<'_>, first: i64, end: i64) -> Self {
        Self::of_devices(case, first, end, |_| true)
    }

    /// The same of some devices.
    pub(in crate::conditions) fn of_devices(
        case: &Case<'_>,
        first: i64,
        end: i64,
        is_meant: impl Fn(&DeviceUuid) -> bool,
    ) -> Self {
        // Which days are over is the same until midnight.
        let midnight = UnixSeconds(case.now.day().saturating_add(1).saturating_mul(DAY_SECONDS));
        case.stands_for(Slack::days_before(end, midnight));
        let mut by_device: BTreeMap<DeviceUuid, Vec<OfNode<'_>>> = BTreeMap::new();
        for node in case.nodes() {
            for (_, day) in node.record.days.range(first..end) {
                if !day.came_before(node.status.revoked_from) {
                    continue;
                }
                for device in &day.devices {
                    let told = by_device.entry(device.uuid).or_default();
                    told.push(OfNode::new(day, device));
                }
            }
        }
        let (start, stop) = (
            UnixSeconds(first.saturating_mul(DAY_SECONDS)),
            UnixSeconds(end.saturating_mul(DAY_SECONDS)),
        );
        let mut told = Self::default();
        let mut rows_met = BTreeSet::new();
        for s in case.unique_since(UnixSeconds(i64::MIN)) {
            let days = Days::of(by_device.remove(&s.device.identity.uuid).unwrap_or_default());
            if case.is_beside(s.device) || !is_meant(&s.device.identity.uuid) {
                continue;
            }
            let row = case.row_of(&s.device.identity);
            if let Some((i, _)) = row {
                rows_met.insert(i);
            } else if days.sums.reports == 0 {
                // On no manifest, and nowhere in these days.
                continue;
            }
            let due = row.and_then(|(_, row)| row.in_service).unwrap_or(start);
            let first_seen = s.device.first_seen.unwrap_or(stop);
            let from = if row.is_some() {
                due.min(first_seen)
            } else {
                first_seen
            };
            let uuid = s.device.identity.uuid;
            told.reached.take(uuid, level_of(&days.sums));
            told.add(
                &days,
                case.model(s.device),
                milliseconds(stop.since(from.max(start))),
            );
        }
        for (i, row) in case.rows() {
            let from = row.in_service.unwrap_or(start).max(start);
            let meant = row.uuid.is_none_or(|uuid| is_meant(&uuid));
            if !rows_met.contains(&i) && meant && from < stop {
                told.add(
                    &Days::default(),
                    row_model(case, row),
                    milliseconds(stop.since(from)),
                );
            }
        }
        told
    }

    fn add(&mut self, days: &Days, model: Option<&Model>, elapsed_ms: u64) {
        let sums = &days.sums;
        let silent_ms = elapsed_ms.saturating_sub(days.reported_ms);
        self.sums.add(sums);
        self.times.add(&days.times);
        self.times.add_silence(silent_ms);
        self.elapsed_ms = self.elapsed_ms.saturating_add(elapsed_ms.max(days.reported_ms));
        match model.and_then(Model::device_tpp) {
            Some(tpp) => {
                let unbounded = silent_ms.saturating_add(sums.unbounded_ms);
                self.silent = self.silent.plus(super::super::finding::peak(tpp, unbounded));
                self.capacity = self.capacity.plus(super::super::finding::peak(tpp, elapsed_ms));
            }
            None => self.peak_unknown = true,
        }
        match model.and_then(|m| Some(m.per_device(u64::from(m.tdp_w?)))) {
            // A watt for a millisecond is a millijoule.
            Some(watts) => {
                let energy = u128::from(watts).saturating_mul(u128::from(elapsed_ms));
                self.at_model_power = self.at_model_power.saturating_add(energy);
            }
            None => self.power_unknown = true,
        }
    }

    /// The share of device time in which a kernel was resident. What nobody saw may have been such time.
    pub(in crate::conditions) fn busy(&self) -> Option<(Ppm, Ppm)> {
        (self.elapsed_ms > 0).then(|| {
            let idle = Ppm::of(self.elapsed_ms.saturating_sub(self.times.all()), self.elapsed_ms);
            (
                Ppm::of(self.sums.busy_ms, self.elapsed_ms),
                Ppm(Ppm::ONE.0.saturating_sub(idle.0)),
            )
        })
    }

    /// The share of compute that went into training.
    pub(in crate::conditions) fn training(&self) -> Option<(Ppm, Ppm)> {
        let all = self.sums.upper.plus(self.silent);
        if self.peak_unknown || all == MicroTppHours(0) {
            return None;
        }
        let training = self.sums.training_upper.plus(self.silent);
        // All that is surely not training, beside all that may be.
        let other = self.sums.lower.minus(self.sums.training_upper);
        let (least, _) = all.shares(self.sums.training_lower, all);
        let (_, most) = training.plus(other).shares(MicroTppHours(0), training);
        Some((least, most))
    }

    /// Idle devices neither compute nor draw much power.
    fn judge_idle(&self, tolerance: Ppm, idle_power: Ppm, wrong: &mut Vec<String>, open: &mut Vec<String>) {
        if self.capacity > MicroTppHours(0) && !self.peak_unknown {
            let (least, _) = self.capacity.shares(self.sums.lower, self.sums.lower);
            if least > tolerance {
                wrong.push(format!(
                    "{least} of what the devices could have done was computed while they were declared idle"
                ));
            }
        }
        let allowed = self.at_model_power.saturating_mul(u128::from(idle_power.0));
        let drawn = u128::from(self.sums.energy.0).saturating_mul(u128::from(Ppm::ONE.0));
        if self.power_unknown {
            open.push(
                "the power of a model is not in the catalogue, so that what idle devices draw cannot be told"
                    .to_owned(),
            );
        } else if drawn > allowed {
            let share = drawn
                .checked_div(self.at_model_power)
                .and_then(|n| u32::try_from(n).ok());
            wrong.push(format!(
                "the devices drew {} of their models' power while they were declared idle, where {idle_power} is allowed",
                share.map_or_else(|| "more than all".to_owned(), |n| Ppm(n).to_string())
            ));
        } else if self.sums.energy_unknown_ms > 0 {
            open.push("some devices do not tell their energy, so that what they drew while declared idle cannot be told".to_owned());
        }
    }
}

/// TRN-03: training keeps to its share of device time.
///
/// Runs of work tell training from other work, and one window accuses nobody: from below counts busy time of runs at L3, from above all but that of runs at L0
/// and what compute rules out, with what nobody saw.
pub(in crate::conditions) fn share_of_training(case: &Case<'_>) -> Verdict {
    let Some(limit) = case.licence.training_share_max else {
        return Verdict::not_applicable(
            "no-share",
            "the licence sets no most share of training in busy device time (`training_share_max`)",
        )
        .grade(Grade::Declared)
        .evidence([case.licence.digest]);
    };
    let (first, end) = whole_days(case.since(), case.now);
    // The first of them goes when the window leaves it, which may be at any hour.
    let window = case.term(|l| l.finding_window).map(|t| t.value);
    case.stands_for(case.slack_of_period(case.since(), window).before(end));
    let day = |number: i64| UnixSeconds(number.saturating_mul(DAY_SECONDS));
    let unit = "share of busy device time";
    let place = |verdict: Verdict| {
        verdict
            .limit(Quantity::at_most(decimal(limit), unit))
            .window(day(first), day(end.max(first)))
            .coverage(case.coverage())
            .evidence(case.newest_reports())
    };
    if !case.nodes().any(|n| n.record.facts.newest.is_some()) {
        return place(no_report(Verdict::met("", "")));
    }
    if first >= end {
        let sentence = format!("since {}, no whole day (UTC) is over yet", case.since());
        return place(Verdict::cannot_tell("no-day", sentence));
    }
    let told = Told::of(case, first, end);
    let (least, most) = told.times.share_of_training();
    let measured = Quantity::between(decimal(least), decimal(most), unit);
    let what = format!(
        "{least} to {most} of busy device time went into training, on the days from {} until just before {}: {}{}; the licence allows \
         {limit}; the error of the scores that tell training from other work was never measured, and what they leave open is in the upper \
         bound alone",
        day(first),
        day(end),
        told.times.in_words(),
        told.reached.in_words()
    );
    let place = |verdict: Verdict| place(verdict.level(told.reached.highest()));
    let foreign = otherwise_computed(case);
    place(if least > limit {
        Verdict::not_met("above-share", format!("{what}; even the lower bound is above it"))
            .measured(measured)
            .subjects([case.facts.site.clone()])
    } else if most > limit {
        Verdict::cannot_tell(
            "bounds-straddle",
            format!(
                "{what}; the share lies between the bounds; {}",
                told.times.settled_by(limit)
            ),
        )
        .measured(measured)
    } else if !foreign.is_empty() {
        let sentence = format!(
            "{what}; no bound from above rests on figures of another catalogue: {}",
            few(&foreign)
        );
        Verdict::cannot_tell("other-catalogue", sentence).measured(measured)
    } else {
        case.by_report("within-share", what, measured)
    })
}
