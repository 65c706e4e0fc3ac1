//! Stock: what was shipped, what is on the manifest, and what became of what left it.
//!
//! Decides: whether what supplier and consignee list as shipped is what the manifest lists and what is seen, model by model, and whether each device
//! that left the manifest did so on record. Does not establish that a list is whole: a shipment that nobody lists is seen only as devices too many.

use super::super::case::{Case, no_report};
use super::super::finding::{Outcome, Quantity, Verdict, count, few};
use super::super::papers::Paper;
use super::super::site::attestation::unless_wanting;
use super::super::supply::parties::of_others;
use super::super::supply::shipment::{MODELS, Sent, Shipped, sort_named};
use super::absence::{Absences, Why};
use super::departure::{Known, former};
use crate::appraisal::Grade;
use crate::id::{DeviceUuid, Digest};
use crate::licence::FormerDevice;
use crate::statement::{Role, ShipmentList, Transfer};
use crate::time::UnixSeconds;
use std::collections::BTreeMap;

/// INV-09: a device leaves the manifest only with a record of its disposal, return or loss.
pub(in crate::conditions) fn left_on_record(case: &Case<'_>) -> Verdict {
    unless_wanting(case, "INV-09", on_record(case))
}

fn on_record(case: &Case<'_>) -> Verdict {
    let former: Vec<&FormerDevice> = former(case).collect();
    if former.is_empty() {
        let sentence = format!(
            "no older serial of the licence that is on file lists a device for this site that serial {} does not list",
            case.licence.serial
        );
        return Verdict::not_applicable("none-left", sentence)
            .grade(Grade::Declared)
            .evidence([case.licence.digest]);
    }
    let (absences, known) = (Absences::of(case), Known::of(case));
    let (mut bare, mut open, mut told) = (Vec::new(), Vec::new(), Vec::new());
    let (mut subjects, mut evidence) = (BTreeMap::<Outcome, Vec<String>>::new(), vec![case.licence.digest]);
    for device in &former {
        let gone = known.departure(&absences, device, case.now);
        evidence.extend(gone.evidence);
        let label = device.row.label();
        let words = format!("{label} {}", gone.words);
        match gone.outcome {
            Outcome::NotMet => bare.push(words),
            Outcome::Met => told.push(words),
            _ => open.push(words),
        }
        subjects.entry(gone.outcome).or_default().push(label);
    }
    let left = count(former.len(), "device");
    let verdict = if !bare.is_empty() {
        let sentence = format!("of {left} that left the manifest, {}", few(&bare));
        Verdict::not_met("left-without-record", sentence).measured(Quantity::at_least(bare.len(), LEFT))
    } else if !open.is_empty() {
        Verdict::cannot_tell(
            "record-open",
            format!("of {left} that left the manifest, {}", few(&open)),
        )
    } else {
        Verdict::met(
            "left-on-record",
            format!("{left} left the manifest on record: {}", few(&told)),
        )
        .none_of(LEFT)
    };
    let concerned = subjects.remove(&verdict.outcome).unwrap_or_default();
    let from = case.licence.manifest_from.unwrap_or(case.licence.valid.from);
    verdict
        .grade(Grade::Declared)
        .limit(Quantity::at_most(0, LEFT))
        .window(from, case.now)
        .subjects(concerned)
        .evidence(evidence)
}

const LEFT: &str = "devices that left without a record";

/// INV-12: what was shipped, what the manifest lists and what is seen agree.
pub(in crate::conditions) fn reconciled(case: &Case<'_>) -> Verdict {
    let papers = match case.papers_of::<ShipmentList>() {
        Ok(papers) => papers,
        Err(missing) => return *missing,
    };
    let ours: Vec<&Paper<'_, ShipmentList>> = papers
        .iter()
        .filter(|p| p.claims.consignee.as_str() == case.licence.consignee)
        .collect();
    if ours.is_empty() {
        return of_others(case, "consignee", &papers, |l| l.consignee.as_str());
    }
    let Some(missing) = case.term(|l| l.missing_after) else {
        return Verdict::no_limit("how long a device may stay unseen (`missing_after`)");
    };
    let lists = || ours.iter().map(|p| p.digest);
    let since = case.due().plus(missing.value.saturating_neg());
    let whole = |v: Verdict| {
        v.grade(Grade::Declared)
            .limit(Quantity::at_most(0, MODELS))
            .window(since, case.now)
            .evidence(lists())
    };
    let shipped = match Shipped::of(case, &ours) {
        Ok(shipped) => shipped,
        Err(verdict) => return whole(*verdict),
    };
    if !case.nodes().any(|n| n.record.facts.newest.is_some()) {
        return whole(no_report(Verdict::met("", "")));
    }
    let stock = Stock::of(case, &shipped, missing.value);
    let (mut wrong, mut open, mut fine) = (Vec::new(), Vec::new(), Vec::new());
    for (model, tally) in &stock.models {
        match tally.agrees() {
            Some(true) => fine.push(format!("{} of {model}", tally.expected())),
            Some(false) => wrong.push(format!("of {model}, {}", tally.words())),
            None => open.push(format!("of {model}, {}", tally.words())),
        }
    }
    let verdict = if !wrong.is_empty() {
        Verdict::not_met("not-reconciled", few(&wrong)).measured(Quantity::at_least(wrong.len(), MODELS))
    } else if !open.is_empty() {
        Verdict::cannot_tell(
            "unseen",
            format!(
                "{}; what became of those not seen lately would settle it",
                few(&open)
            ),
        )
    } else if let Some(own) = &shipped.own_word {
        let sentence =
            format!("only the consignee lists shipment {own}; the supplier's list would settle it");
        Verdict::cannot_tell("own-word", sentence)
    } else {
        let sentence = format!(
            "what was shipped, what the manifest lists and what is seen agree: {}",
            few(&fine)
        );
        let met = Verdict::met("reconciled", sentence).none_of(MODELS);
        return whole(case.settle_devices(since, met)).evidence(stock.evidence);
    };
    whole(verdict).coverage(case.coverage()).evidence(stock.evidence)
}

/// How many of one model there are, by all that is known.
#[derive(Clone, Copy, Default)]
struct Tally {
    sent: Sent,
    /// Came from another site.
    came: u64,
    /// Those of which only the operator says that they came.
    may_have_come: u64,
    listed: u64,
    seen: u64,
    /// Not seen lately, and not for so long that they are missing; and those of which only the operator says where they went.
    unseen: u64,
    returned: u64,
    gone: u64,
    /// Those that left the manifest on record.
    left: u64,
}

impl Tally {
    fn expected(&self) -> u64 {
        self.sent.all.saturating_add(self.came)
    }

    /// A return that both a shipment list and a record tell of is one.
    fn returned(&self) -> u64 {
        self.returned.max(self.sent.returned)
    }

    fn accounted(&self) -> u64 {
        [
            self.seen,
            self.sent.spare,
            self.returned(),
            self.sent.in_transit,
            self.gone,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }

    /// Whether all agrees; `None` where that depends on devices that were not seen lately, or on the operator's own word.
    fn agrees(&self) -> Option<bool> {
        let all_came = Self {
            came: self.came.saturating_add(self.may_have_come),
            ..*self
        };
        match (self.agrees_as_it_stands(), all_came.agrees_as_it_stands()) {
            (Some(false), Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        }
    }

    fn agrees_as_it_stands(&self) -> Option<bool> {
        let listed_most = self.expected().saturating_sub(self.left);
        let afield = [self.sent.spare, self.sent.returned, self.sent.in_transit];
        let listed_least = afield.into_iter().fold(listed_most, u64::saturating_sub);
        let (least, most) = (self.accounted(), self.accounted().saturating_add(self.unseen));
        if !(listed_least..=listed_most).contains(&self.listed) || !(least..=most).contains(&self.expected())
        {
            return Some(false);
        }
        (least == self.expected()).then_some(true)
    }

    fn words(&self) -> String {
        let came = match self.came {
            0 => String::new(),
            n => format!(" and {n} came from other sites"),
        };
        let unseen = match self.unseen {
            0 => String::new(),
            n => format!("; {n} were not seen lately, or only the operator says where they went"),
        };
        let may_have_come = match self.may_have_come {
            0 => String::new(),
            n => format!("; of {n} more only the operator says that they came from another site"),
        };
        format!(
            "{} were shipped{came}, the manifest lists {}, and {} are accounted for ({} seen, {} spare, {} returned, {} in transit, {} gone){unseen}{may_have_come}",
            self.sent.all,
            self.listed,
            self.accounted(),
            self.seen,
            self.sent.spare,
            self.returned(),
            self.sent.in_transit,
            self.gone
        )
    }
}

/// All models.
struct Stock {
    models: BTreeMap<String, Tally>,
    evidence: Vec<Digest>,
}

impl Stock {
    fn of(case: &Case<'_>, shipped: &Shipped, missing_after: i64) -> Self {
        let tally = |sent: &Sent| Tally {
            sent: *sent,
            ..Tally::default()
        };
        let mut stock = Self {
            models: shipped
                .models
                .iter()
                .map(|(m, s)| (m.clone(), tally(s)))
                .collect(),
            evidence: Vec::new(),
        };
        let absences = Absences::of(case);
        stock.manifest(case, &absences, missing_after);
        stock.left(case, &absences);
        // What stands here and on no row.
        let since = case.due().plus(missing_after.saturating_neg());
        for s in case.unique_since(since) {
            if case.row_of(&s.device.identity).is_none() && !case.is_beside(s.device) {
                let name = case.model(s.device).map_or(&s.device.identity.name, |m| &m.name);
                let tally = stock.at(name.clone());
                tally.seen = tally.seen.saturating_add(1);
                stock.evidence.push(s.device.last_report);
            }
        }
        stock.count_cards(case);
        stock
    }

    fn at(&mut self, model: String) -> &mut Tally {
        self.models.entry(model).or_default()
    }

    /// The rows of this site's manifest, and where their devices are.
    fn manifest(&mut self, case: &Case<'_>, absences: &Absences, missing_after: i64) {
        let escalates = case
            .term(|l| l.missing_escalates_after)
            .map_or(i64::MAX, |t| t.value);
        let arrivals = arrivals(case);
        let seen = case.seen_by_row(UnixSeconds(i64::MIN));
        for (i, row) in case.rows() {
            let found = seen.get(&i);
            let model = match (&row.model, found) {
                (Some(name), _) => sort_named(case, name),
                (None, Some(s)) => case
                    .model(s.device)
                    .map_or(&s.device.identity.name, |m| &m.name)
                    .clone(),
                (None, None) => "a model that the manifest does not name".to_owned(),
            };
            let uuid = row.uuid.or_else(|| found.map(|s| s.device.identity.uuid));
            let last = found.map(|s| s.last);
            let gone = absences
                .standing(uuid.as_ref(), last)
                .find(|a| a.is_gone(case.due()));
            let start = row
                .in_service
                .unwrap_or(case.licence.valid.from)
                .max(case.licence.valid.from);
            let silence = case.due().since(last.map_or(start, |t| t.max(start)));
            self.evidence.extend(found.map(|s| s.device.last_report));
            self.evidence.extend(gone.map(|a| a.digest));
            let tally = self.at(model);
            tally.listed = tally.listed.saturating_add(1);
            match uuid.and_then(|u| arrivals.get(&u)) {
                Some(true) => tally.came = tally.came.saturating_add(1),
                Some(false) => tally.may_have_come = tally.may_have_come.saturating_add(1),
                None => {}
            }
            let part = match gone.map(|a| (a.why, a.is_confirmed())) {
                Some((_, false)) => &mut tally.unseen,
                Some((Why::Returned, true)) => &mut tally.returned,
                Some((_, true)) => &mut tally.gone,
                None if found.is_some() && silence <= missing_after => &mut tally.seen,
                None if silence <= escalates => &mut tally.unseen,
                None => continue,
            };
            *part = part.saturating_add(1);
        }
    }

    /// Devices that are no longer on the manifest, as far as it is on record what became of them.
    fn left(&mut self, case: &Case<'_>, absences: &Absences) {
        let known = Known::of(case);
        for device in former(case) {
            let record = known.records(absences, &device.row, case.now).next();
            if record.is_none() && known.beside(&device.row).is_none() {
                continue;
            }
            self.evidence.extend(record.map(|r| r.digest));
            let model = device
                .row
                .model
                .as_deref()
                .unwrap_or("a model that the manifest does not name");
            let tally = self.at(sort_named(case, model));
            tally.left = tally.left.saturating_add(1);
            let part = match record.map(|r| (r.why, r.is_confirmed())) {
                Some((_, false)) => &mut tally.unseen,
                Some((Why::Returned, true)) => &mut tally.returned,
                _ => &mut tally.gone,
            };
            *part = part.saturating_add(1);
        }
    }

    /// Cards are shipped; one that a driver lists as several devices is one.
    fn count_cards(&mut self, case: &Case<'_>) {
        for (name, tally) in &mut self.models {
            if let Some(model) = case.model_named(name) {
                for number in [
                    &mut tally.came,
                    &mut tally.may_have_come,
                    &mut tally.listed,
                    &mut tally.seen,
                    &mut tally.unseen,
                    &mut tally.returned,
                    &mut tally.gone,
                    &mut tally.left,
                ] {
                    *number = model.cards(*number);
                }
            }
        }
    }
}

/// Devices that came from another site under a transfer, and whether anyone beside the operator says so.
fn arrivals(case: &Case<'_>) -> BTreeMap<DeviceUuid, bool> {
    let site = case.facts.site.as_str();
    let here = case.papers().holding::<Transfer>(case.now);
    let here = here
        .filter(|p| p.claims.to_site.as_str() == site && p.claims.from_site.as_str() != site)
        .filter(|p| p.claims.arrives.0 <= case.now);
    let mut came = BTreeMap::new();
    for paper in here {
        let voices = case.voices(&paper);
        let confirmed = [Role::Supplier, Role::Assessor]
            .iter()
            .any(|r| voices.contains(r));
        for device in paper.header.devices.iter().flatten() {
            *came.entry(device.0).or_insert(false) |= confirmed;
        }
    }
    came
}
