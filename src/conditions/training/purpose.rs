//! Purpose: who trains what, for whom, and what becomes of it.
//!
//! Decides: by what tenants held and what devices may have done meanwhile; and that a tenant trained, by runs at L3 of devices that it alone held. No
//! report of this version says which devices computed together: a group is what one tenant held, at most all devices of the nodes on which
//! it held any that day. Levels rest on scores whose error was never measured. Trusts the operator, who says who held a device and what a
//! tenant trains. Does not establish what a model is for.

use super::super::case::Case;
use super::super::finding::{Outcome, Quantity, Verdict, count, few, scientific_up};
use super::super::papers::Paper;
use super::super::read::{Slack, apart};
use super::super::site::attestation::{assessor_says, on_paper};
use super::super::supply::parties::confirmed;
use super::super::tenant::attribution::{Attribution, Held, Tally, device_hours, longest_day_ms, tenant};
use super::super::tenant::holders::{KYC_AGE, Known, Standing};
use super::compute::formats;
use super::levels::Reached;
use crate::appraisal::Grade;
use crate::id::TenantPseudonym;
use crate::statement::{Header, Period, TrainingDeclaration, TrainingPurpose, WeightCustody};
use crate::time::{DAY_SECONDS, UnixSeconds, span};
use crate::unit::Ppm;
use crate::workload::Level;
use std::collections::{BTreeMap, BTreeSet};

/// What every verdict that rests on scores says of them.
const SCORES: &str = "scores whose error was never measured tell training from other work";

/// TRN-05: a large group that trains has a tenant's declaration.
pub(in crate::conditions) fn declared(case: &Case<'_>) -> Verdict {
    let held = case.attribution();
    if let Some(verdict) = held.untold(case) {
        return verdict;
    }
    let Some(devices) = case.term(|l| l.declared_group_devices) else {
        return Verdict::no_limit(
            "from how many devices on a group that trains must be declared (`declared_group_devices`)",
        );
    };
    let Some(after) = case.term(|l| l.declared_group_after) else {
        return Verdict::no_limit(
            "from how long on a group that trains must be declared (`declared_group_after`)",
        );
    };
    let seconds = u64::try_from(after.value).unwrap_or(u64::MAX);
    let least_ms = devices.value.saturating_mul(seconds).saturating_mul(1_000);
    let is_large = |h: &Held| h.may_train_ms >= least_ms && h.most() >= devices.value;
    let declarations = declarations(case);
    let (mut tally, mut evidence, mut covered) = (Tally::default(), Vec::new(), 0usize);
    let (mut breaches, mut vouched) = (Vec::new(), 0usize);
    let mut reached = Reached::default();
    for (tenant, time) in &held.tenants {
        reached.join(&time.reached);
        let papers = declarations.get(tenant).map_or(&[][..], Vec::as_slice);
        vouched = vouched.saturating_add(usize::from(is_vouched_for(time, papers)));
    }
    for group in held.tenants.values().chain([&held.nobody]) {
        let ms = apart(group.may_train_ms, least_ms);
        case.stands_for(Slack::until(UnixSeconds(i64::MAX)).within_ms(ms));
    }
    for (tenant, time) in held.tenants.iter().filter(|(_, h)| is_large(h)) {
        let papers = declarations.get(tenant).map_or(&[][..], Vec::as_slice);
        evidence.extend(papers.iter().map(|p| p.digest));
        covered = covered.saturating_add(1);
        breaches.extend(judge_group(
            case,
            &mut tally,
            (tenant, time),
            papers,
            devices.value,
        ));
    }
    if is_large(&held.nobody) {
        let nobody = format!(
            "up to {} were busy for {} for nobody that is known",
            devices_in_words(held.nobody.most()),
            device_hours(held.nobody.may_train_ms)
        );
        tally.open(None, nobody);
    }
    let rule = format!(
        "a group of {} or more that trains for {} must be declared, by {}; {SCORES}{}{}",
        devices_in_words(devices.value),
        span(after.value),
        devices.from,
        reached.in_words(),
        match vouched {
            0 => String::new(),
            n => format!(
                "; what {} surely trained is declared, which makes it L4",
                count(n, "tenant")
            ),
        }
    );
    let level = if vouched > 0 {
        Some(Level::Authenticated)
    } else {
        reached.highest()
    };
    let verdict = tally.not_met("more-than-declared", &rule);
    let verdict = verdict.map(|v| match (breaches.iter().min(), breaches.iter().max()) {
        (Some(first), Some(last)) => v.window(starts(*first), starts(last.saturating_add(1)).min(case.now)),
        _ => v,
    });
    let verdict = verdict.or_else(|| tally.cannot_tell("undeclared", &rule));
    let verdict = verdict.unwrap_or_else(|| {
        let sentence = match covered {
            0 => format!("no tenant can have trained with so many devices for so long; {rule}"),
            n => format!(
                "{} that may have trained so declared as many devices as can have trained for it; {rule}",
                count(n, "tenant")
            ),
        };
        held.hold(case, Verdict::met("declared", sentence))
    });
    Attribution::place(case, verdict)
        .level(level)
        .measured(tally.bounds("groups not declared"))
        .limit(Quantity::at_most(0, "groups not declared"))
        .evidence(evidence)
}

/// One tenant's groups, day by day, against what is declared for that day; the days of which more is sure than was declared. That no declaration is on
/// file shows nothing.
fn judge_group(
    case: &Case<'_>,
    tally: &mut Tally,
    (tenant, held): (&TenantPseudonym, &Held),
    papers: &[Paper<'_, TrainingDeclaration>],
    large: u64,
) -> Vec<i64> {
    let declared = |day: i64| {
        let of_day = papers.iter().filter(|p| speaks_of(p.header, day));
        let devices = of_day.map(|p| p.claims.devices_at_most);
        devices.reduce(u64::saturating_add)
    };
    let groups = held.days.iter().filter(|(_, g)| g.most >= large);
    let (mut wrong, mut open, mut breaches) = (None, None, Vec::new());
    for (day, group) in groups {
        if let Some(declared) = declared(*day) {
            // More than so many trained from one millisecond more on than they can for a day.
            let most_ms = declared.saturating_mul(longest_day_ms(case)).saturating_add(1);
            let ms = apart(group.trained_ms, most_ms);
            case.stands_for(Slack::until(UnixSeconds(i64::MAX)).within_ms(ms));
        }
        let at = date(*day);
        let most = devices_in_words(group.most);
        let least = devices_in_words(group.least);
        match declared(*day) {
            Some(declared) if group.least > declared => {
                breaches.push(*day);
                wrong.get_or_insert_with(|| format!(
                    "trained with {least} at one time at least on {at}, and is declared to train with {declared}"
                ));
            }
            Some(declared) if group.most > declared => {
                open.get_or_insert_with(|| {
                    format!(
                        "may have trained with up to {most} on {at}, and is declared to train with {declared}"
                    )
                });
            }
            Some(_) => {}
            None => {
                let sure = match group.least {
                    0 => String::new(),
                    _ => format!(", surely with {least} at one time"),
                };
                open.get_or_insert_with(|| format!(
                    "may have trained with up to {most} on {at}{sure}, and no training declaration that holds speaks of that day; one would settle it"
                ));
            }
        }
    }
    if let Some(words) = wrong {
        tally.wrong(tenant, words);
    } else if let Some(words) = open {
        tally.open(Some(tenant), words);
    }
    breaches
}

/// Whether a declaration speaks of a day on which runs at L3 are surely the tenant's: then the type of its work is vouched for.
fn is_vouched_for(held: &Held, papers: &[Paper<'_, TrainingDeclaration>]) -> bool {
    let sure = held.days.iter().filter(|(_, group)| group.trained_ms > 0);
    let mut days = sure.map(|(day, _)| *day);
    days.any(|day| papers.iter().any(|p| speaks_of(p.header, day)))
}

/// Whether the time that a statement speaks of has a part of a day; one that names none speaks of all.
fn speaks_of(header: &Header, day: i64) -> bool {
    let covers = |p: &Period| p.from.0.day() <= day && day <= p.to.0.plus(-1).day();
    header.period.as_ref().is_none_or(covers)
}

/// A day as people write it.
fn date(day: i64) -> String {
    let start = starts(day).to_string();
    start.split('T').next().unwrap_or_default().to_owned()
}

/// When a day starts.
fn starts(day: i64) -> UnixSeconds {
    UnixSeconds(day.saturating_mul(DAY_SECONDS))
}

fn devices_in_words(devices: u64) -> String {
    count(usize::try_from(devices).unwrap_or(usize::MAX), "device")
}

/// Training declarations that hold, by tenant.
fn declarations<'a>(case: &Case<'a>) -> BTreeMap<TenantPseudonym, Vec<Paper<'a, TrainingDeclaration>>> {
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for paper in case.papers().holding::<TrainingDeclaration>(case.now) {
        if let Some(tenant) = tenant(&paper.claims.tenant) {
            found.entry(tenant).or_default().push(paper);
        }
    }
    found
}

/// TRN-06: nobody trains here for a party with headquarters in country group D:5 or Macau.
pub(in crate::conditions) fn for_no_barred_party(case: &Case<'_>) -> Verdict {
    let held = case.attribution();
    if let Some(verdict) = held.untold(case) {
        return verdict;
    }
    let Some(limit) = case.term(|l| l.kyc_max_age) else {
        return Verdict::no_limit(KYC_AGE);
    };
    let known = Known::of(case, limit.value);
    let (mut tally, mut at_rest) = (Tally::default(), 0usize);
    let mut reached = Reached::default();
    for (tenant, time) in &held.tenants {
        reached.join(&time.reached);
        let standing = match &known {
            Ok(known) => known.standing(case, tenant),
            Err(_) => Standing::Open("has no attestation that the licence hears and that holds".to_owned()),
        };
        let open = |why: String| format!("{why}, and that it trained is not ruled out");
        match standing {
            Standing::Clear => {}
            _ if time.may_train_ms == 0 => at_rest = at_rest.saturating_add(1),
            Standing::Barred(how) if time.trains => tally.wrong(tenant, format!("{how}, and trained")),
            Standing::Barred(how) => tally.open(Some(tenant), open(how)),
            Standing::Open(why) => tally.open(Some(tenant), open(why)),
        }
    }
    let settle = format!("a whole and current attestation of who it is would settle it; {SCORES}");
    let none = tally.bounds("tenants");
    let verdict = if let Some(verdict) = tally.not_met("trained-for-barred", SCORES) {
        verdict
    } else if let Some(verdict) = tally.cannot_tell("not-ruled-out", &settle) {
        verdict
    } else if let Some(verdict) = case.without_list() {
        return verdict;
    } else if at_rest > 0 {
        let sentence = format!(
            "{} not known to stand outside the barred countries can have trained nothing, by what the scores rule out; {SCORES}",
            count(at_rest, "tenant")
        );
        held.hold(case, case.by_report("none-trained", sentence, none.clone()))
    } else {
        let sentence = format!(
            "{} held device time, and whoever of them may have trained has neither headquarters nor ultimate parent in a barred country without \
             an authorisation, by what is attested of them",
            count(held.tenants.len(), "tenant")
        );
        held.hold(case, Verdict::met("for-none-barred", sentence))
    };
    let papers = known.iter().flat_map(|k| k.digests(held));
    Attribution::place(case, verdict)
        .level(reached.highest())
        .measured(none)
        .limit(Quantity::at_most(0, "tenants"))
        .evidence(papers)
}

/// TRN-08: fine-tuning outside Tier 1 stays below its share of the original operations.
pub(in crate::conditions) fn fine_tuning_within(case: &Case<'_>) -> Verdict {
    if let Some(verdict) = inside_tier_1(case) {
        return verdict.grade(Grade::Declared).evidence([case.licence.digest]);
    }
    let Some(share) = case.term(|l| l.fine_tuning_share_max) else {
        return Verdict::no_limit(
            "which share of a model's original operations fine-tuning may add (`fine_tuning_share_max`)",
        );
    };
    let Some(most) = case.term(|l| l.fine_tuning_ops_max) else {
        return Verdict::no_limit("how many operations fine-tuning may add (`fine_tuning_ops_max`)");
    };
    // How far what tenants computed lies from what they may is not told.
    case.grows();
    let tuning = Tuning {
        share: share.value,
        most: most.value.0,
        declared: fine_tuning(case),
    };
    let held = case.attribution();
    let (mut tally, mut greatest) = (Tally::default(), 0u128);
    tuning.judge_declared(&mut tally, &mut greatest);
    tuning.judge_measured(case, &mut tally, &mut greatest);
    let rule = format!(
        "{} allows {} of a model's original operations, or {} where that is more",
        most.from,
        share.value,
        scientific_up(most.value.0)
    );
    let untold = held.untold(case).filter(|v| v.outcome != Outcome::NotApplicable);
    let verdict = if let Some(verdict) = tally.not_met("above-share", &rule) {
        verdict
    } else if let Some(untold) = untold {
        untold
    } else if let Some(verdict) = tally.cannot_tell("not-within", &rule) {
        verdict
    } else {
        let sentence = format!(
            "neither what is declared as fine-tuning nor what any tenant can have computed is above what is allowed; {rule}"
        );
        held.hold(case, Verdict::met("within-share", sentence))
    };
    let papers = tuning.declared.values().flatten().map(|p| p.digest);
    Attribution::place(case, verdict)
        .measured(Quantity::at_most(greatest, "operations"))
        .limit(Quantity::at_most(most.value.0, "operations"))
        .evidence(papers)
}

/// The verdict where fine-tuning is free, or where that cannot be told: by the country that is declared for the site.
fn inside_tier_1(case: &Case<'_>) -> Option<Verdict> {
    let site = &case.facts.site;
    let Some(country) = case.licence.site(site).and_then(|s| s.country.as_deref()) else {
        let sentence =
            format!("no country is declared for site {site}: a [[site]] with `country` would say it");
        return Some(Verdict::cannot_tell("no-country", sentence));
    };
    let Some(list) = case.rules.and_then(|r| r.list("tier-1", case.now)) else {
        let sentence = format!(
            "the rule set has no list of Tier 1 (`tier-1`) that holds on {}",
            case.now
        );
        return Some(Verdict::cannot_tell("no-list", sentence));
    };
    list.members.iter().any(|m| m == country).then(|| {
        let sentence = format!(
            "site {site} is declared to lie in {country}, which is in {}",
            list.title
        );
        Verdict::not_applicable("tier-1", sentence)
    })
}

/// What may be added to models outside Tier 1, and what is declared of it.
struct Tuning<'a> {
    share: Ppm,
    most: u128,
    declared: BTreeMap<TenantPseudonym, Vec<Paper<'a, TrainingDeclaration>>>,
}

/// Declarations of fine-tuning that hold, by tenant.
fn fine_tuning<'a>(case: &Case<'a>) -> BTreeMap<TenantPseudonym, Vec<Paper<'a, TrainingDeclaration>>> {
    let mut found = declarations(case);
    found.retain(|_, papers| {
        papers.retain(|p| p.claims.purpose == TrainingPurpose::FineTuning);
        !papers.is_empty()
    });
    found
}

impl Tuning<'_> {
    /// What the model of a declaration may be given.
    fn allowed(&self, paper: &Paper<'_, TrainingDeclaration>) -> u128 {
        let base = paper.claims.base_operations.map_or(0, |b| b.0);
        let part = |n: u128| n.saturating_mul(u128::from(self.share.0));
        let share = part(base.div_euclid(1_000_000))
            .saturating_add(part(base.rem_euclid(1_000_000)).div_euclid(1_000_000));
        share.max(self.most)
    }

    fn judge_declared(&self, tally: &mut Tally, greatest: &mut u128) {
        for (tenant, papers) in &self.declared {
            for paper in papers {
                let (declared, allowed) = (paper.claims.operations.0, self.allowed(paper));
                *greatest = declared.max(*greatest);
                let what = format!("is declared to add {} operations", scientific_up(declared));
                match paper.claims.base_operations {
                    _ if declared <= allowed => {}
                    None => tally.open(
                        Some(tenant),
                        format!(
                            "{what} to a model whose own are not told; one that tells them would settle it"
                        ),
                    ),
                    Some(_) => tally.wrong(
                        tenant,
                        format!("{what}, where {} are allowed", scientific_up(allowed)),
                    ),
                }
            }
        }
    }

    /// What tenants can have computed at most, over the narrowest format: it may all have been for one model.
    fn judge_measured(&self, case: &Case<'_>, tally: &mut Tally, greatest: &mut u128) {
        let narrowest = narrowest(case);
        let held = case.attribution();
        for (tenant, time) in held.tenants.iter().filter(|(_, h)| h.may_train_ms > 0) {
            let papers = self.declared.get(tenant).into_iter().flatten();
            let declared = papers.map(|p| self.allowed(p)).min();
            let allowed = declared.unwrap_or(self.most);
            let bits = narrowest.filter(|_| time.sums.unbounded_ms == 0);
            let measured = bits.map(|bits| time.sums.upper.operations_at_most(bits));
            *greatest = measured.unwrap_or(u128::MAX).max(*greatest);
            if measured.is_some_and(|ops| ops <= allowed) {
                continue;
            }
            let computed = measured.map_or_else(
                || "computed what nothing bounds from above".to_owned(),
                |ops| format!("can have computed {} operations", scientific_up(ops)),
            );
            let settle = match declared {
                Some(_) => "",
                None => "; a declaration of its fine-tuning, with the operations of the model, may settle it",
            };
            let words = format!("{computed}, where {} are allowed{settle}", scientific_up(allowed));
            tally.open(Some(tenant), words);
        }
    }
}

/// The narrowest format of any device seen in the window, in bits; none where a model is not known.
fn narrowest(case: &Case<'_>) -> Option<u64> {
    let seen = case.unique_since(case.since());
    let bits: Option<Vec<u64>> = seen
        .iter()
        .map(|s| Some(formats(case.model(s.device)?)?.1))
        .collect();
    bits?.into_iter().min()
}

/// TRN-09: weights that ECCN 4E091 covers are held on approved systems only.
pub(in crate::conditions) fn weights_held(case: &Case<'_>) -> Verdict {
    custody(case, "TRN-09", |said| {
        let away = said.transferred_to.as_ref();
        let number = said.authorisation.as_ref();
        let licensed = || confirmed(case).any(|p| Some(&p.claims.number) == number);
        if let Some(list) = away.and_then(|c| case.barred(c.as_str()))
            && !licensed()
        {
            return Some(format!(
                "they went to a country of {list}, and no authorisation of the number that it names is confirmed"
            ));
        }
        let shared = "the systems that hold them serve others too".to_owned();
        (!said.dedicated).then_some(shared)
    })
}

/// The verdict of a condition about weights: what their keepers admit of those that are controlled counts against it, and only an assessor's finding
/// meets it, for no list shows that it names all weights.
pub(in crate::conditions) fn custody(
    case: &Case<'_>,
    condition: &str,
    wrong: impl Fn(&WeightCustody) -> Option<String>,
) -> Verdict {
    let mut seen = BTreeSet::new();
    let papers = case.papers().holding::<WeightCustody>(case.now);
    let papers: Vec<_> = papers
        .filter(|p| seen.insert((p.claims.weights, p.header.issuer.as_str())))
        .collect();
    let digests = || papers.iter().map(|p| p.digest);
    let admitted: Vec<(&Paper<'_, WeightCustody>, String)> = papers
        .iter()
        .filter(|p| p.claims.controlled)
        .filter_map(|p| Some((p, format!("the {} says that {}", p.label(), wrong(p.claims)?))))
        .collect();
    if let Some((first, _)) = admitted.first() {
        let words: Vec<String> = admitted.iter().map(|(_, words)| words.clone()).collect();
        let verdict = Verdict::not_met("not-protected", few(&words));
        return on_paper(case, verdict, first).evidence(digests());
    }
    if let Some(found) = assessor_says(case, condition) {
        return found.evidence(digests());
    }
    let Some(first) = papers.first() else {
        return match case.papers_of::<WeightCustody>() {
            Err(missing) => *missing,
            Ok(_) => Verdict::cannot_tell("no-statement", "no custody of model weights is on file"),
        };
    };
    let sentence = format!(
        "the {} tells of nothing against it; an assessor's finding would settle it",
        first.label()
    );
    on_paper(case, Verdict::cannot_tell("own-word", sentence), first).evidence(digests())
}
