//! What a node's reports add up to, kept up to date report by report.
//!
//! Decides: when the sums are written. They are written every few reports, in the same transaction as a leaf, and name the leaf they reach up
//! to; whoever reads them folds in the reports after it. So a report costs no row beside its leaf, and nothing is lost in a crash:
//! the entries hold everything. Folding is the core's part.

use super::Around;
use crate::store::{Change, DayRow, EvidenceRow, FactsRow, NodeRow, RefusalRow, Store, StoreError};
use std::collections::BTreeSet;
use weighbridge::appraisal::evidence::{NodeEvidence, RoundStanding};
use weighbridge::appraisal::{ChainHead, DAYS, NodeDay, NodeRecord, RefusalCount, day_of};
use weighbridge::cbor;
use weighbridge::conditions::DaysAsked;
use weighbridge::id::Digest;
use weighbridge::ledger::LeafKind;
use weighbridge::report::{ChainLink, Continuity, OpenedReport, VerifiedReport};
use weighbridge::time::{DAY_SECONDS, UnixSeconds};

/// Reports between two writings of a node's sums: an hour of ordinary reports.
const UNSAVED: u32 = 12;
/// Days kept in memory for a node; older ones are read when a late report needs them.
const AT_HAND: usize = 2;
/// Reports read at a time.
const PAGE: u32 = 256;
/// How often a node's sums are read again because they were written meanwhile. That happens once in an hour of ordinary reports.
const LOOKS: u32 = 8;

/// A node's sums, with what is known of them on disk.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) record: NodeRecord,
    /// The last report counted in, and the one before it.
    upto: Option<u64>,
    before: Option<u64>,
    unsaved: u32,
    changed: BTreeSet<i64>,
    /// Whether what is on disk can be built upon; not where it is of another version, for then all is folded anew.
    on_disk: bool,
    /// The leaf that the sums on disk reached up to when they were read.
    written: Option<u64>,
}

impl Kept {
    /// Reads a node's sums and folds in the reports after them.
    ///
    /// These are several questions to the store. Where the sums are written anew in between, the answers do not belong together: reports
    /// would be missing or be counted twice. Then all is read again.
    pub(crate) async fn read(store: &dyn Store, node: &NodeRow) -> Result<Self, StoreError> {
        for _ in 0..LOOKS {
            let mut kept = Self::begin(store, node).await?;
            if kept.finish(store, node).await? {
                return Ok(kept);
            }
        }
        Err(StoreError::Busy {
            what: "a node's sums",
        })
    }

    /// Reads a node's sums.
    pub(crate) async fn begin(store: &dyn Store, node: &NodeRow) -> Result<Self, StoreError> {
        let mut kept = Self {
            record: NodeRecord::new(node.id),
            upto: None,
            before: None,
            unsaved: 0,
            changed: BTreeSet::new(),
            on_disk: true,
            written: None,
        };
        if let Some(row) = store.facts(node.id).await? {
            kept.written = Some(row.upto);
            match cbor::decode_strict(&row.body) {
                Ok(facts) => {
                    kept.record.facts = facts;
                    (kept.upto, kept.before) = (Some(row.upto), row.before);
                }
                Err(error) => {
                    tracing::warn!(node = %node.id, %error, "a node's sums are of another version and are made anew");
                    kept.on_disk = false;
                }
            }
        }
        Ok(kept)
    }

    /// Folds in the reports after the sums. Whether the sums are still those that were read.
    pub(crate) async fn finish(&mut self, store: &dyn Store, node: &NodeRow) -> Result<bool, StoreError> {
        let anew = self.upto.is_none();
        loop {
            let page = match self.upto {
                Some(upto) if !anew => store.unsummed(node.id, upto, PAGE).await?,
                upto => store.reports_after(node.id, upto, PAGE).await?,
            };
            if page.is_empty() {
                break;
            }
            for held in page {
                match Copy::of(held.body.as_deref(), &held.digest, node) {
                    Copy::Whole(report) => {
                        self.load_day(store, day_of(&report, held.at)).await?;
                        let (how, round) = (held.continuity, held.round);
                        self.fold(&report, held.at, how, round, held.given, held.leaf);
                    }
                    Copy::Damaged => {
                        let place = ChainHead {
                            chain: held.chain,
                            sequence: held.sequence,
                            digest: held.digest,
                        };
                        self.record.pass_over(place, held.at, held.continuity);
                        self.counted(held.leaf);
                    }
                    Copy::Gone => self.counted(held.leaf),
                }
            }
        }
        if anew {
            self.refold_forks(store, node).await?;
        }
        Ok(store.facts(node.id).await?.map(|row| row.upto) == self.written)
    }

    /// Folds in the forks that are held as proof. What each contradicts is looked up again.
    async fn refold_forks(&mut self, store: &dyn Store, node: &NodeRow) -> Result<(), StoreError> {
        for held in store.entries_of(node.id, LeafKind::Fork).await? {
            let report = match Copy::of(held.body.as_deref(), &held.digest, node) {
                Copy::Whole(report) => report,
                Copy::Damaged => {
                    self.record.damage(held.at);
                    continue;
                }
                Copy::Gone => continue,
            };
            let link = ChainLink {
                chain: report.claims().report.chain,
                sequence: report.claims().report.sequence,
                digest: held.digest,
            };
            let around = Around::read(store, node, &link).await?;
            let how = match around.judge(&link, report.claims().report.previous) {
                how @ Continuity::Fork { .. } => how,
                // Intake saw the contradiction; what shows it has lost its body since.
                _ => Continuity::Fork { held: held.digest },
            };
            self.fork(&report, held.at, how);
        }
        Ok(())
    }

    /// Reads the days, for conditions that look at long periods, what the rounds of hardware evidence came to, and the refusals.
    pub(crate) async fn complete(
        mut self,
        store: &dyn Store,
        node: &NodeRow,
        asked: &DaysAsked,
    ) -> Result<NodeRecord, StoreError> {
        if self.on_disk && asked.is_all() {
            let days = store.days(node.id, DAYS).await?;
            self.keep(days);
        } else if self.on_disk {
            for (first, days) in asked.stretches() {
                self.stretch(store, first, days).await?;
            }
            let days = store.days_between(node.id, asked.recent(), i64::MAX).await?;
            self.keep(days);
        }
        while self.record.days.len() > usize::from(DAYS) {
            drop(self.record.days.pop_first());
        }
        if let Some(row) = store.evidence(node.id).await? {
            self.record.evidence = rounds_of(&row).unwrap_or_default();
        }
        let refusals = store.refusals(node.id).await?;
        self.record.facts.refusals = refusals.iter().map(count).collect();
        Ok(self.record)
    }

    fn keep(&mut self, rows: Vec<DayRow>) {
        for row in rows {
            match decoded(&row) {
                // What was folded since is newer than what is on disk.
                Some(day) => drop(self.record.days.entry(row.day).or_insert(day)),
                None => self.record.damage(end_of(row.day)),
            }
        }
    }

    /// Reads days that nobody looks at one by one, as one; a day alone, and those into which a report was folded since, each by itself.
    async fn stretch(&mut self, store: &dyn Store, first: i64, days: u32) -> Result<(), StoreError> {
        let node = self.record.facts.node;
        let last = first.saturating_add(i64::from(days)).saturating_sub(1);
        if days == 1 || self.record.days.range(first..=last).next().is_some() {
            let days = store.days_between(node, first, last).await?;
            self.keep(days);
            return Ok(());
        }
        let Some(row) = store.period_of(node, first, last).await? else {
            return Ok(());
        };
        let lost = row
            .later
            .as_ref()
            .map_or(0, |l| l.lost_after(row.earlier.as_ref()));
        if row.damaged || lost > 0 {
            self.record.damage(end_of(last));
        }
        let mut together = match &row.later {
            Some(later) => NodeDay::between(first, days, later, row.earlier.as_ref()),
            None => NodeDay {
                days,
                ..NodeDay::new(first)
            },
        };
        if let Some(open) = &row.open {
            together.join(open);
        }
        if !together.devices.is_empty() {
            drop(self.record.days.insert(first, together));
        }
        Ok(())
    }

    /// Makes sure that the day on which a report counts is here.
    pub(crate) async fn load_day(&mut self, store: &dyn Store, day: i64) -> Result<(), StoreError> {
        if !self.on_disk || self.record.days.contains_key(&day) {
            return Ok(());
        }
        if let Some(row) = store.day(self.record.facts.node, day).await? {
            match decoded(&row) {
                Some(sums) => drop(self.record.days.insert(day, sums)),
                None => self.record.damage(end_of(day)),
            }
        }
        Ok(())
    }

    /// Folds a report in.
    pub(crate) fn fold(
        &mut self,
        report: &VerifiedReport,
        at: UnixSeconds,
        how: Continuity,
        round: Option<RoundStanding>,
        given: Option<UnixSeconds>,
        leaf: u64,
    ) {
        self.changed
            .extend(self.record.absorb(report, at, how, round, given));
        self.counted(leaf);
        self.unsaved = self.unsaved.saturating_add(1);
    }

    /// Says that the report at a leaf is counted in, as far as it can be.
    fn counted(&mut self, leaf: u64) {
        self.before = self.upto.replace(leaf);
    }

    /// Keeps a fork; its sums do not count. It is not among the entries that are folded in after the sums, so they are due.
    pub(crate) fn fork(&mut self, report: &VerifiedReport, at: UnixSeconds, how: Continuity) {
        self.changed
            .extend(self.record.absorb(report, at, how, None, None));
        self.unsaved = UNSAVED;
    }

    /// The rows to be written with the next leaf, if they are due.
    pub(crate) fn due(&mut self) -> Vec<Change> {
        let (UNSAVED.., Some(upto)) = (self.unsaved, self.upto) else {
            return Vec::new();
        };
        let node = self.record.facts.node;
        let days = &self.record.days;
        let mut rows: Vec<Change> = std::mem::take(&mut self.changed)
            .into_iter()
            .filter_map(|day| days.get(&day).map(|sums| (day, cbor::encode(sums))))
            .map(|(day, body)| Change::Day(DayRow { node, day, body }))
            .collect();
        rows.push(Change::Facts(FactsRow {
            node,
            upto,
            before: self.before,
            body: cbor::encode(&self.record.facts),
        }));
        self.unsaved = 0;
        self.on_disk = true;
        while self.record.days.len() > AT_HAND {
            drop(self.record.days.pop_first());
        }
        rows
    }
}

/// What is left of a report that was held.
pub(crate) enum Copy {
    /// All of it, verified again with the node's key: the store is not trusted either.
    Whole(Box<VerifiedReport>),
    /// Its time was over, and its body was deleted; what it added was written before.
    Gone,
    /// Other bytes than were received.
    Damaged,
}

impl Copy {
    pub(crate) fn of(body: Option<&[u8]>, digest: &Digest, node: &NodeRow) -> Self {
        let Some(body) = body else {
            return Self::Gone;
        };
        let report = OpenedReport::open(body).and_then(|r| r.verify(&node.key)).ok();
        match report.filter(|r| r.digest() == *digest) {
            Some(report) => Self::Whole(Box::new(report)),
            None => {
                tracing::error!(node = %node.id, report = %digest, "the copy of a report is damaged: what it said is lost, unless the database is restored from a backup");
                Self::Damaged
            }
        }
    }
}

/// The last second of a day.
fn end_of(day: i64) -> UnixSeconds {
    UnixSeconds(
        day.saturating_add(1)
            .saturating_mul(DAY_SECONDS)
            .saturating_sub(1),
    )
}

fn decoded(row: &DayRow) -> Option<NodeDay> {
    cbor::decode_strict(&row.body)
        .inspect_err(|error| tracing::warn!(node = %row.node, day = row.day, %error, "a node's day cannot be read: its sums are lost, unless the database is restored from a backup"))
        .ok()
}

/// What a node's rounds come to, as it was written; `None` where that cannot be read, which is as if there were none.
pub(crate) fn rounds_of(row: &EvidenceRow) -> Option<NodeEvidence> {
    cbor::decode_strict(&row.body)
        .inspect_err(|error| tracing::warn!(node = %row.node, %error, "what a node's rounds of hardware evidence came to cannot be read: they are appraised anew when it sends the next"))
        .ok()
}

fn count(row: &RefusalRow) -> RefusalCount {
    RefusalCount {
        code: row.code.to_string(),
        count: row.count,
        last: row.last_at,
    }
}
