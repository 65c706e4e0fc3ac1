//! Inventory: which devices stand at the site, and whether they are the ones that were supplied.

use super::super::case::{Case, Seen, UNDER_REVOKED, is_called, no_report};
use super::super::finding::{Quantity, Verdict, count, few};
use super::super::records::operations::in_service;
use super::super::site::attestation::unless_wanting;
use super::absence::{Absence, Absences, Why, covered};
use super::presence::shared;
use crate::accelerator::{Confidence, Match, Model};
use crate::appraisal::{Grade, IdentityChange, IdentityField};
use crate::id::Digest;
use crate::licence::{LicensedDevice, RowMatch};
use crate::time::{UnixSeconds, span};

/// INV-01: every device that was seen is on the manifest.
pub(in crate::conditions) fn on_the_manifest(case: &Case<'_>) -> Verdict {
    if case.rows().next().is_none() {
        return Verdict::cannot_tell(
            "no-manifest",
            "the licence lists no device for this site, so a device can be neither on the manifest nor off it",
        )
        .grade(Grade::Declared);
    }
    let since = case.manifest_since();
    let mut seen = case.unique_since(since);
    let all = seen.len();
    seen.retain(|s| !case.is_beside(s.device));
    let (doubtful, offenders): (Vec<(&Seen<'_>, String)>, Vec<_>) = seen
        .iter()
        .filter_map(|s| Some((s, off_the_manifest(case, s)?)))
        .partition(|(s, _)| s.is_doubtful(since));
    if offenders.is_empty() && !doubtful.is_empty() {
        let words: Vec<String> = doubtful
            .iter()
            .map(|(s, why)| format!("{} {why}", s.label()))
            .collect();
        return Verdict::cannot_tell(
            "revoked-key",
            format!(
                "only a key that was revoked by then speaks of {} off the manifest: {}",
                count(doubtful.len(), "device"),
                few(&words)
            ),
        )
        .window(since, case.now)
        .coverage(case.coverage())
        .subjects(doubtful.iter().map(|(s, _)| s.subject()))
        .evidence(doubtful.iter().map(|(s, _)| s.device.last_report));
    }
    if offenders.is_empty() {
        let mut sentence = format!(
            "each of {} that reported is on the manifest",
            count(seen.len(), "device")
        );
        let beside = all.saturating_sub(seen.len());
        if beside > 0 {
            sentence.push_str(&format!(
                "; another licence answers for {} more",
                count(beside, "device")
            ));
        }
        return case.settle_devices(
            since,
            Verdict::met("all-on-manifest", sentence).none_of("devices off the manifest"),
        );
    }
    let words: Vec<String> = offenders
        .iter()
        .map(|(s, why)| format!("{} {why}, last seen {}", s.label(), s.last))
        .collect();
    Verdict::not_met(
        "off-the-manifest",
        format!(
            "{} reported that {} not on the manifest of this site: {}",
            count(offenders.len(), "device"),
            if offenders.len() == 1 { "is" } else { "are" },
            few(&words)
        ),
    )
    .measured(Quantity::at_least(offenders.len(), "devices off the manifest"))
    .limit(Quantity::at_most(0, "devices off the manifest"))
    .window(since, case.now)
    .coverage(case.coverage())
    .subjects(offenders.iter().map(|(s, _)| s.subject()))
    .evidence(offenders.iter().map(|(s, _)| s.device.last_report))
}

/// Why a device is not on the manifest of its site, in words that follow its name.
fn off_the_manifest(case: &Case<'_>, seen: &Seen<'_>) -> Option<String> {
    let identity = &seen.device.identity;
    let mut why = "stands nowhere on the manifest".to_owned();
    for (_, row) in case.candidates(identity) {
        match row.compare(identity) {
            RowMatch::Same if case.is_here(row) => return None,
            RowMatch::Same => {
                why = format!(
                    "is licensed for site {}",
                    row.site.as_deref().unwrap_or("another")
                );
            }
            RowMatch::Differs(what) => {
                why = format!(
                    "agrees with {} on the manifest, but not in its {what}",
                    row.label()
                );
            }
            RowMatch::Other => {}
        }
    }
    Some(why)
}

/// INV-02: every device of the manifest was seen within the allowed silence, as far as nobody who is heard says why it was not.
pub(in crate::conditions) fn seen_in_time(case: &Case<'_>) -> Verdict {
    let Some(allowed) = case.term(|l| l.missing_after) else {
        return Verdict::no_limit("how long a device may stay unseen");
    };
    let escalates = case.term(|l| l.missing_escalates_after);
    let silences = silences(case, allowed.value, escalates.map_or(i64::MAX, |e| e.value));
    let of = |state: Silence| -> Vec<String> {
        let those = silences.iter().filter(|s| s.state == state);
        those.map(|s| s.words.clone()).collect()
    };
    let excused = of(Silence::Excused);
    let (gone, lost) = (of(Silence::DeclaredLost), of(Silence::TooLong));
    let (own_word, missing) = (of(Silence::OwnWord), of(Silence::Missing));
    let longest = silences.iter().map(|s| s.unexcused).max().unwrap_or(0);
    let limit = Quantity::at_most(allowed.value, "seconds unseen");
    let verdict = if silences.is_empty() {
        Verdict::cannot_tell("no-manifest", "the licence lists no device for this site")
            .grade(Grade::Declared)
    } else if !case.nodes().any(|n| n.record.facts.newest.is_some()) {
        no_report(Verdict::met("", ""))
    } else if !lost.is_empty() {
        Verdict::not_met(
            "missing-too-long",
            format!(
                "{}; after {} {} no longer leaves it open",
                few(&lost),
                escalates.map_or_else(String::new, |e| span(e.value)),
                allowed.from
            ),
        )
    } else if !gone.is_empty() {
        Verdict::not_met("declared-lost", few(&gone)).grade(Grade::Declared)
    } else if !missing.is_empty() {
        Verdict::cannot_tell(
            "missing",
            format!(
                "{}; {} allows {}; no report tells whether it was returned, is in repair, or was removed, and a statement that says so would settle it",
                few(&missing),
                allowed.from,
                span(allowed.value)
            ),
        )
    } else if !own_word.is_empty() {
        let sentence = format!(
            "{}; for so long the operator's word alone does not settle it, and the supplier's or an assessor's beside it would",
            few(&own_word)
        );
        Verdict::cannot_tell("own-word", sentence).grade(Grade::Declared)
    } else {
        let seen = silences.len().saturating_sub(excused.len());
        let rest = match excused.as_slice() {
            [] => String::new(),
            some => format!("; of {} more it is on record why not: {}", some.len(), few(some)),
        };
        let sentence = format!(
            "each of {} on the manifest was seen within {}, which {} allows{rest}",
            count(seen, "device"),
            span(allowed.value),
            allowed.from
        );
        match excused.as_slice() {
            [] => Verdict::met("all-seen", sentence),
            _ => Verdict::met("seen-or-excused", sentence).grade(Grade::Declared),
        }
    };
    let silent_since = case.due().plus(escalates.map_or(0, |e| e.value).saturating_neg());
    let odd = silences.iter().filter(|s| s.state != Silence::Seen);
    let verdict = case
        .unless_damaged(verdict, silent_since)
        .measured(Quantity::at_most(longest, "seconds unseen"))
        .limit(limit)
        .window(case.due().plus(allowed.value.saturating_neg()), case.due())
        .coverage(case.coverage())
        .subjects(odd.map(|s| s.label.clone()))
        .evidence(silences.iter().flat_map(|s| s.evidence.iter().copied()));
    unless_wanting(case, "INV-02", verdict)
}

/// How a row of the manifest stands to the allowed silence.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Silence {
    /// Its device was seen in time.
    Seen,
    /// It was not, and it is on record why.
    Excused,
    /// So long that the operator's word alone, which is on record, does not settle it.
    OwnWord,
    Missing,
    TooLong,
    /// Whoever runs the site says that it is gone, and not where.
    DeclaredLost,
}

struct Silent {
    state: Silence,
    label: String,
    words: String,
    /// For how long it was unseen and nobody says why, in seconds.
    unexcused: i64,
    evidence: Vec<Digest>,
}

/// The rows that are due to be seen.
fn silences(case: &Case<'_>, allowed: i64, escalates: i64) -> Vec<Silent> {
    let seen = case.seen_by_row(UnixSeconds(i64::MIN));
    let absences = Absences::of(case);
    let due = in_service(case);
    due.map(|(i, row)| silence(case, row, seen.get(&i), &absences, (allowed, escalates)))
        .collect()
}

fn silence(
    case: &Case<'_>,
    row: &LicensedDevice,
    found: Option<&Seen<'_>>,
    absences: &Absences,
    (allowed, escalates): (i64, i64),
) -> Silent {
    let start = row
        .in_service
        .unwrap_or(case.licence.valid.from)
        .max(case.licence.valid.from);
    let (uuid, last) = (
        row.uuid.or_else(|| found.map(|s| s.device.identity.uuid)),
        found.map(|s| s.last),
    );
    let unseen = (last.map_or(start, |t| t.max(start)), case.due());
    let silence = unseen.1.since(unseen.0);
    let standing = || absences.standing(uuid.as_ref(), last);
    let lost = standing().find(|a| a.why == Why::Lost && a.is_gone(case.due()));
    let told = || standing().filter(|a| a.why != Why::Lost);
    let unexcused = silence.saturating_sub(covered(told(), unseen));
    let unconfirmed = silence.saturating_sub(covered(told().filter(|a| a.is_confirmed()), unseen));
    let away_now = told().any(|a| a.is_in_force(case.due()));
    let state = match lost {
        Some(_) => Silence::DeclaredLost,
        None if unexcused > escalates => Silence::TooLong,
        None if unconfirmed > escalates => Silence::OwnWord,
        None if unexcused > allowed || (found.is_none() && !away_now) => Silence::Missing,
        None if silence > allowed || found.is_none() => Silence::Excused,
        None => Silence::Seen,
    };
    let label = row.label();
    let mut words = match found {
        Some(_) => format!("{label} has not been seen for {}", span(silence)),
        None => format!("{label} has never been seen, {} after it was due", span(silence)),
    };
    let records: Vec<&Absence> = match state {
        Silence::Seen => Vec::new(),
        Silence::DeclaredLost => lost.into_iter().collect(),
        _ => told().filter(|a| shared(a.stretch(), unseen).is_some()).collect(),
    };
    for record in &records {
        words.push_str(&format!("; it {}", record.words));
    }
    let refuted: Vec<&Absence> = match (state, last) {
        (Silence::Seen, _) | (_, None) => Vec::new(),
        (_, Some(last)) => absences.refuted(uuid.as_ref(), last).collect(),
    };
    for record in &refuted {
        words.push_str(&format!(
            "; that it {} is refuted, for it reported after that",
            record.words
        ));
    }
    let papers = records.iter().chain(&refuted).map(|a| a.digest);
    Silent {
        state,
        label,
        words,
        unexcused,
        evidence: found
            .map(|s| s.device.last_report)
            .into_iter()
            .chain(papers)
            .collect(),
    }
}

/// INV-06: name, PCI id, memory and cores are those of one model, the manifest's, and do not change.
pub(in crate::conditions) fn identifiers_agree(case: &Case<'_>) -> Verdict {
    let Some(tolerance) = case.term(|l| l.memory_tolerance) else {
        return Verdict::no_limit("how far a device's memory may be from its model's");
    };
    let since = case.since();
    let (mut wrong, mut unsure) = (Vec::new(), Vec::new());
    let mut compared = Compared::default();
    let mut concerned = Vec::new();
    let seen = case.unique_since(since);
    for s in &seen {
        match agreement(case, s, tolerance.value.0, since) {
            Agreement::Holds(model) => {
                compared.add(model, &s.device.identity.name);
                continue;
            }
            Agreement::Fails(why) if s.is_told_late() => {
                unsure.push(format!("{} {why}{UNDER_REVOKED}", s.label()));
            }
            Agreement::Fails(why) => wrong.push(format!("{} {why}", s.label())),
            Agreement::Open(why) => unsure.push(format!("{} {why}", s.label())),
        }
        concerned.push(s);
    }
    let verdict = if !wrong.is_empty() {
        Verdict::not_met("identifiers-disagree", few(&wrong))
    } else if !unsure.is_empty() {
        Verdict::cannot_tell("identifiers-open", few(&unsure))
    } else {
        let sentence = compared.sentence(seen.len());
        return case.settle_devices(
            since,
            Verdict::met("identifiers-agree", sentence).none_of("devices"),
        );
    };
    verdict
        .measured(Quantity::at_least(concerned.len(), "devices"))
        .limit(Quantity::at_most(0, "devices"))
        .window(since, case.now)
        .coverage(case.coverage())
        .subjects(concerned.iter().map(|s| s.subject()))
        .evidence(concerned.iter().map(|s| s.device.last_report))
}

/// Of how many devices each identifier beside the PCI id was compared.
#[derive(Default)]
struct Compared {
    names: usize,
    memory: usize,
    cores: usize,
}

impl Compared {
    fn add(&mut self, model: &Model, name: &str) {
        self.names = self.names.saturating_add(usize::from(is_called(model, name)));
        let memory = !model.memory_gb.is_empty();
        self.memory = self.memory.saturating_add(usize::from(memory));
        self.cores = self.cores.saturating_add(usize::from(model.cores().is_some()));
    }

    fn sentence(&self, devices: usize) -> String {
        let all = count(devices, "device");
        if [self.names, self.memory, self.cores] == [devices; 3] {
            return format!(
                "name, PCI id, memory and cores of each of {all} are those of one model of the catalogue"
            );
        }
        format!(
            "the PCI id of each of {all} is that of a model of the catalogue, and so are the names of {}, the memory of {} and \
             the cores of {}; for the others the catalogue has nothing to compare with",
            self.names, self.memory, self.cores
        )
    }
}

enum Agreement<'a> {
    Holds(&'a Model),
    Fails(String),
    Open(String),
}

fn agreement<'a>(
    case: &Case<'a>,
    seen: &Seen<'_>,
    memory_tolerance: u32,
    since: UnixSeconds,
) -> Agreement<'a> {
    let identity = &seen.device.identity;
    // Another driver may call the same model by another name.
    let renamed = |c: &IdentityChange| {
        c.field == IdentityField::Name
            && case.catalogue.find(&identity.pci, &c.was) == case.matched(seen.device)
    };
    let mut lately = seen.device.changes.iter().rev().filter(|c| c.at >= since);
    if let Some(change) = lately.find(|c| !renamed(c)) {
        return Agreement::Fails(format!(
            "changed its {} under one UUID on {}; before, it was {}",
            change.field, change.at, change.was
        ));
    }
    let model = match case.matched(seen.device) {
        Match::Pci(model) => model,
        Match::Disagree { pci, name } => {
            return Agreement::Fails(format!(
                "is a {} by its PCI id and a {} by its name",
                pci.name, name.name
            ));
        }
        Match::Name(_) | Match::Unknown => {
            return Agreement::Open(format!(
                "has PCI id {}, which the catalogue does not know",
                identity.pci
            ));
        }
    };
    // An entry that is itself unsure cannot convict a device.
    let doubt = |why: String| match model.confidence {
        Confidence::High => Agreement::Fails(why),
        Confidence::Medium | Confidence::Low => {
            Agreement::Open(format!("{why}; the catalogue's entry is not sure"))
        }
    };
    let licensed = case.row_of(identity).and_then(|(_, row)| row.model.as_deref());
    if let Some(name) = licensed
        && !is_called(model, name)
    {
        return Agreement::Fails(format!("is a {}, and the manifest calls it {name}", model.name));
    }
    if let Some(mib) = identity.memory_mib.value()
        && !memory_agrees(model, *mib, memory_tolerance)
    {
        return doubt(format!("shows {mib} MiB of memory, which no {} has", model.name));
    }
    if let (Some(cores), Some(sms), Some(known)) = (identity.cores.value(), model.sm_count, model.cores())
        && u64::from(*cores) != known
    {
        return doubt(format!(
            "shows {cores} cores, which no {} with {sms} SMs has",
            model.name
        ));
    }
    // What the catalogue knows and the device does not tell was not compared.
    let mut untold = Vec::new();
    if !model.memory_gb.is_empty() && identity.memory_mib.value().is_none() {
        untold.push("memory");
    }
    if model.sm_count.is_some() && identity.cores.value().is_none() {
        untold.push("cores");
    }
    if !untold.is_empty() {
        return Agreement::Open(format!(
            "does not tell its {}, which the catalogue has for a {}",
            untold.join(" and "),
            model.name
        ));
    }
    Agreement::Holds(model)
}

/// Makers count memory in round numbers of gigabytes, of which some are kept for error correction.
fn memory_agrees(model: &Model, mib: u64, tolerance_ppm: u32) -> bool {
    model.memory_gb.is_empty()
        || model.memory_gb.iter().any(|gb| {
            let nominal = gb.saturating_mul(1_024);
            let allowed = u128::from(nominal)
                .saturating_mul(u128::from(tolerance_ppm))
                .div_ceil(1_000_000);
            u128::from(nominal.abs_diff(mib)) <= allowed
        })
}
