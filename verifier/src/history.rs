//! `status --history`: when a finding changed, and what had changed between.
//!
//! Decides: nothing. It reads the findings that the ledger holds as leaves and compares each with the one before it. A finding is recorded
//! when its outcome, its limit or its subjects change, so that what lies between two of them is not here. Does not establish
//! why a fact changed: it names the evidence, the limit, the rule set, the catalogue and the licence's serial that differ.

use crate::command::{CommandError, Format, Outcome, Session};
use crate::status::{bounds, minute};
use crate::store::HeldEntry;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use weighbridge::cbor;
use weighbridge::conditions::{Finding, FindingAtSite, Outcome as Verdict, Quantity, REGISTRY};
use weighbridge::crypto;
use weighbridge::id::Digest;
use weighbridge::ledger::LeafKind;
use weighbridge::time::UnixSeconds;
use weighbridge::unit::Grouped;

/// How many items of a list are shown to people.
const SHOWN: usize = 3;

/// What the ledger holds of a condition.
#[derive(Clone, Debug, Serialize)]
pub struct History {
    /// The condition.
    pub condition: String,
    /// Each change, site by site and licence by licence, oldest first.
    pub changes: Vec<FindingChange>,
    /// Leaves of findings, of whatever condition, whose copies are gone or damaged: what they said is not among the changes.
    pub unreadable: Vec<u64>,
}

/// A finding when it was recorded, and how it differs from the one before it.
#[derive(Clone, Debug, Serialize)]
pub struct FindingChange {
    /// The site.
    pub site: String,
    /// The licence's id.
    pub licence: String,
    /// Its serial then.
    pub serial: u64,
    /// When it was found so.
    pub at: UnixSeconds,
    /// Its leaf in the ledger.
    pub leaf: u64,
    /// SHA-256 of what the leaf stands for.
    pub digest: Digest,
    /// The outcome before; absent of the first.
    pub was: Option<Verdict>,
    /// What it came to.
    pub outcome: Verdict,
    /// The finding in words.
    pub sentence: String,
    /// A stable name for this kind of finding.
    pub message_id: String,
    /// What it rests on that differs from the one before.
    pub differences: Vec<Difference>,
    /// Devices and nodes that it concerns and the one before did not.
    pub subjects_added: Vec<String>,
    /// Those that the one before concerned and it does not.
    pub subjects_dropped: Vec<String>,
    /// What it rests on and the one before did not: digests of reports and other evidence.
    pub evidence_added: Vec<Digest>,
    /// How many the one before rested on and it does not.
    pub evidence_dropped: usize,
}

/// Something that a finding rests on, before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What.
    pub what: &'static str,
    /// What it was; absent where there was none.
    pub was: Option<String>,
    /// What it is; absent where there is none.
    pub now: Option<String>,
}

impl Session {
    /// When the findings of a condition changed, at one site or at all.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn history(&self, condition: &str, site: Option<&str>) -> Result<History, CommandError> {
        let held = self.store.entries(LeafKind::Finding).await?;
        let mut history = History {
            condition: condition.to_owned(),
            changes: Vec::new(),
            unreadable: Vec::new(),
        };
        let mut last: BTreeMap<(String, String), FindingAtSite> = BTreeMap::new();
        for entry in &held {
            let Some(found) = read(entry) else {
                history.unreadable.push(entry.leaf);
                continue;
            };
            if found.finding.condition != condition || site.is_some_and(|s| s != found.site) {
                continue;
            }
            let place = (found.site.clone(), found.licence.clone());
            let before = last.get(&place);
            history.changes.push(FindingChange::of(entry, &found, before));
            drop(last.insert(place, found));
        }
        // By site and licence; of each, as the ledger has them.
        history
            .changes
            .sort_by(|a, b| (&a.site, &a.licence, a.leaf).cmp(&(&b.site, &b.licence, b.leaf)));
        Ok(history)
    }

    pub(crate) async fn show_history(
        &self,
        condition: &str,
        site: Option<&str>,
        format: Format,
        out: &mut dyn Write,
    ) -> Outcome {
        let history = self.history(condition, site).await?;
        if let (Some(site), true) = (site, history.changes.is_empty()) {
            return Err(CommandError::Refused {
                why: format!("no finding of {condition} is recorded for site `{site}`"),
            });
        }
        match format {
            Format::Json => writeln!(out, "{}", serde_json::to_string_pretty(&history)?)?,
            Format::Text => history.write(out)?,
        }
        Ok(history.unreadable.is_empty())
    }
}

/// A finding that a leaf stands for; `None` where its copy is gone or is not what was recorded.
fn read(entry: &HeldEntry) -> Option<FindingAtSite> {
    let body = entry.body.as_deref()?;
    if crypto::sha256(body) != entry.digest {
        return None;
    }
    cbor::decode_strict(body).ok()
}

impl FindingChange {
    fn of(entry: &HeldEntry, found: &FindingAtSite, before: Option<&FindingAtSite>) -> Self {
        let finding = &found.finding;
        let was = before.map(|b| &b.finding);
        let subjects =
            |f: Option<&Finding>| f.map_or_else(BTreeSet::new, |f| f.subjects.iter().cloned().collect());
        let evidence =
            |f: Option<&Finding>| f.map_or_else(BTreeSet::new, |f| f.evidence.iter().copied().collect());
        let (new_subjects, old_subjects) = (subjects(Some(finding)), subjects(was));
        let (new_evidence, old_evidence): (BTreeSet<Digest>, BTreeSet<Digest>) =
            (evidence(Some(finding)), evidence(was));
        Self {
            site: found.site.clone(),
            licence: found.licence.clone(),
            serial: found.serial,
            at: found.at,
            leaf: entry.leaf,
            digest: entry.digest,
            was: was.map(|f| f.outcome),
            outcome: finding.outcome,
            sentence: finding.sentence.clone(),
            message_id: finding.message_id.clone(),
            differences: before.map_or_else(Vec::new, |b| differences(b, found)),
            subjects_added: new_subjects.difference(&old_subjects).cloned().collect(),
            subjects_dropped: old_subjects.difference(&new_subjects).cloned().collect(),
            evidence_added: new_evidence.difference(&old_evidence).copied().collect(),
            evidence_dropped: old_evidence.difference(&new_evidence).count(),
        }
    }

    fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let was = self
            .was
            .map_or_else(|| "first recorded".to_owned(), |w| w.to_string());
        writeln!(
            out,
            " {}   {was} → {}   leaf {}",
            minute(self.at),
            self.outcome,
            Grouped(u128::from(self.leaf))
        )?;
        writeln!(out, "   {}", self.sentence)?;
        let mut line = |name: &str, value: String| writeln!(out, "   {name:<10} {value}");
        for difference in &self.differences {
            let side = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".to_owned());
            let change = format!("{} → {}", side(&difference.was), side(&difference.now));
            line(difference.what, change)?;
        }
        if self.was.is_none() {
            return Ok(());
        }
        for (name, items) in [
            ("added", &self.subjects_added),
            ("dropped", &self.subjects_dropped),
        ] {
            if !items.is_empty() {
                line(name, shown(items))?;
            }
        }
        let new: Vec<String> = self.evidence_added.iter().map(ToString::to_string).collect();
        if !new.is_empty() {
            line("evidence", shown(&new))?;
        }
        Ok(())
    }
}

/// What two findings of one condition rest on that differs.
fn differences(before: &FindingAtSite, found: &FindingAtSite) -> Vec<Difference> {
    let (a, b) = (&before.finding, &found.finding);
    let quantity = |q: &Option<Quantity>| {
        let words = |q: &Quantity| bounds(q.lower.as_deref(), q.upper.as_deref(), &q.unit);
        q.as_ref().map(words)
    };
    let share = |f: &Finding| f.coverage.map(|c| c.to_string());
    let text = |t: &str| Some(t.to_owned());
    let level = |f: &Finding| f.level.map(|l| l.text().to_owned());
    let rows = [
        ("measured", quantity(&a.measured), quantity(&b.measured)),
        ("limit", quantity(&a.limit), quantity(&b.limit)),
        ("coverage", share(a), share(b)),
        ("grade", text(a.grade.text()), text(b.grade.text())),
        (
            "serial",
            Some(before.serial.to_string()),
            Some(found.serial.to_string()),
        ),
        ("rule set", text(&a.rule_set), text(&b.rule_set)),
        ("catalogue", text(&a.catalogue), text(&b.catalogue)),
        ("severity", text(a.severity.text()), text(b.severity.text())),
        ("level", level(a), level(b)),
    ];
    let differ = rows.into_iter().filter(|(_, was, now)| was != now);
    differ
        .map(|(what, was, now)| Difference { what, was, now })
        .collect()
}

/// The first few of a list, and how many more there are.
fn shown(items: &[String]) -> String {
    let first = items.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match items.len().saturating_sub(SHOWN) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

impl History {
    fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let title = REGISTRY
            .iter()
            .find(|c| c.id == self.condition)
            .map_or("", |c| c.title);
        writeln!(out, "{}   {title}", self.condition)?;
        let mut place = None;
        for change in &self.changes {
            let here = (&change.site, &change.licence);
            if place.replace(here) != Some(here) {
                writeln!(out, "\n{} · licence {}", change.site, change.licence)?;
            }
            change.write(out)?;
        }
        if self.changes.is_empty() {
            writeln!(
                out,
                "\nnothing is recorded: a verifier that serves records each finding that changes"
            )?;
        }
        if !self.unreadable.is_empty() {
            let leaves: Vec<String> = self.unreadable.iter().map(u64::to_string).collect();
            writeln!(
                out,
                "\ncopies of findings are gone or damaged in the database, and what they said is not shown: leaf {}",
                shown(&leaves)
            )?;
        }
        Ok(())
    }
}
