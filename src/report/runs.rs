//! The runs of work on one device in the meter: they go on over reports, and a report is told what its windows were part of.
//!
//! Decides: which windows are one run, and what the report in the making says of training by the levels of its runs. A run ends by rest, when
//! somebody comes or goes, and when the device was away or unseen for a window. Its level as a report ends is given to that report's
//! windows; what earlier reports said stands. Trusts the features and scores of the windows. Does not establish who ran what.

use crate::accounting::Account;
use crate::workload::{
    Class, Features, Level, LevelTimes, Model, Run, Scored, speaks_against_training, speaks_for_training,
};

/// A closed window, as its run sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct InRun<'a> {
    pub(super) features: &'a Features,
    pub(super) scored: &'a Scored,
    pub(super) account: Account,
    pub(super) covered_ms: u32,
    /// Where it could be read.
    pub(super) busy_ms: Option<u64>,
    /// Whether it is what was left of a report, shorter than half a window: too little to be evidence of its own.
    pub(super) is_remainder: bool,
}

/// The run under way, and what the ended ones left in the report in the making.
#[derive(Debug, Default)]
pub(super) struct Runs {
    run: Run,
    /// The report's windows in it.
    own: Own,
    report: Trained,
    /// Working windows of the last run that ended within the report.
    ended: u32,
}

/// Windows of one run in one report.
#[derive(Debug, Default)]
struct Own {
    all: Account,
    busy_ms: u32,
    /// Those that by themselves lead towards training.
    towards: Account,
    towards_busy_ms: u32,
    /// Those that do not speak against it by themselves, and the covered and the busy time of the others.
    open: Account,
    against_ns: u64,
    against_busy_ms: u32,
}

/// What the windows of a report say of training by the levels of their runs.
#[derive(Debug, Default)]
pub(super) struct Trained {
    /// Windows of runs in which training is established, that by themselves lead towards it.
    pub(super) established: Account,
    /// Windows in which training is not ruled out, and the covered time of the others.
    pub(super) possible: Account,
    pub(super) excluded_ns: u64,
    pub(super) levels: LevelTimes,
    /// Working windows that the last run has had.
    pub(super) run_windows: u32,
}

impl Runs {
    /// Takes a closed window, and gives the level of its run so far. Where somebody came or went in it, it is a run of its own: nobody knows
    /// whose work it was. One of which nothing was seen belongs to none.
    pub(super) fn add(&mut self, model: &Model, window: &InRun<'_>, is_mixed: bool) -> Option<Level> {
        if window.covered_ms == 0 {
            self.end(model);
            // Counters that went on all the same may be of anything.
            self.report.possible = self.report.possible.plus(window.account);
            return None;
        }
        if is_mixed {
            self.end(model);
        }
        self.own.add(window);
        if window.is_remainder && !is_mixed {
            return self.run_level(model);
        }
        self.run.add(model, window.features, window.scored);
        let level = self.run_level(model);
        if is_mixed || self.run.has_ended(model) {
            self.end(model);
        }
        level
    }

    fn run_level(&self, model: &Model) -> Option<Level> {
        Some(self.run.verdict(model).level)
    }

    /// Whether no run is under way: what comes next is another one.
    pub(super) fn are_between(&self) -> bool {
        self.run.is_empty()
    }

    /// Ends the run under way.
    pub(super) fn end(&mut self, model: &Model) {
        // What was left of a report before any run is of nobody's.
        self.settle(model);
        if self.run.is_empty() {
            return;
        }
        self.ended = self.run.worked();
        self.run = Run::default();
    }

    /// What the report says, and the next one begins. The run goes on.
    pub(super) fn finish(&mut self, model: &Model) -> Trained {
        self.settle(model);
        let ended = std::mem::take(&mut self.ended);
        let mut trained = std::mem::take(&mut self.report);
        trained.run_windows = if self.run.is_empty() {
            ended
        } else {
            self.run.worked()
        };
        trained
    }

    /// Gives the report's windows of the run its level.
    fn settle(&mut self, model: &Model) {
        let own = std::mem::take(&mut self.own);
        let level = self.run.verdict(model).level;
        let report = &mut self.report;
        // What a run is found to be is said of those of its windows that bear it out: the others lie a level nearer to the middle.
        let (borne_out_ms, otherwise) = match level {
            Level::Established | Level::Authenticated => (own.towards_busy_ms, Level::Candidate),
            Level::RuledOut => (own.against_busy_ms, Level::Weak),
            Level::Weak | Level::Candidate => (own.busy_ms, level),
        };
        report.levels.add(level, borne_out_ms);
        report
            .levels
            .add(otherwise, own.busy_ms.saturating_sub(borne_out_ms));
        if level >= Level::Established {
            report.established = report.established.plus(own.towards);
        }
        if level == Level::RuledOut {
            report.possible = report.possible.plus(own.open);
            report.excluded_ns = report.excluded_ns.saturating_add(own.against_ns);
        } else {
            report.possible = report.possible.plus(own.all);
        }
    }
}

impl Own {
    fn add(&mut self, window: &InRun<'_>) {
        let account = window.account;
        self.all = self.all.plus(account);
        let busy = window.busy_ms.and_then(|ms| u32::try_from(ms).ok());
        // Where it could not be read it may have been all that was covered, and surely none.
        let at_rest = window.scored.class == Some(Class::Idle);
        let busy_ms = busy.unwrap_or(if at_rest { 0 } else { window.covered_ms });
        self.busy_ms = self.busy_ms.saturating_add(busy_ms);
        if speaks_for_training(window.features, window.scored) {
            self.towards = self.towards.plus(account);
            self.towards_busy_ms = self.towards_busy_ms.saturating_add(busy.unwrap_or(0));
        }
        if speaks_against_training(window.features, window.scored) {
            self.against_ns = self.against_ns.saturating_add(account.covered_ns());
            self.against_busy_ms = self.against_busy_ms.saturating_add(busy_ms);
        } else {
            self.open = self.open.plus(account);
        }
    }
}
