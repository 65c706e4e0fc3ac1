//! From windows to a run of work on one device.
//!
//! Decides: what the windows of a run say together, and how far that goes towards training: the levels L0 to L4; and when a run has ended by
//! rest. Windows of one run are nearly one observation, so a long run says little more than a short one; what makes a case is another source. A run
//! remembers no more than the windows of half an hour or so, so that a job that follows another without a rest is heard. Does not establish who
//! ran what, and never level L4, which takes a type of work that somebody vouched for.

use super::{Class, Features, Model, Scored};

crate::code! {
    /// How far evidence goes towards training.
    pub enum Level {
        /// Training is ruled out.
        RuledOut = 0 => "L0",
        /// It is not ruled out, but something else is likelier.
        Weak = 1 => "L1",
        /// It may be training: one source says so, or none against it.
        Candidate = 2 => "L2",
        /// Two independent sources say so: what the device did, and that it exchanged with others in a rhythm and apart from that.
        Established = 3 => "L3",
        /// The type of work is vouched for besides. Windows never reach it.
        Authenticated = 4 => "L4",
    }
}

/// The windows of a run so far; of constant size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    windows: i64,
    idle: i64,
    /// Windows in which something ran and that were scored, with the sums of their leads.
    working: i64,
    /// Windows in which something ran and that were not scored, or not by what tensor pipes did.
    unread: i64,
    /// Windows of both kinds that did not rule out training by themselves.
    open: i64,
    /// Windows that were called training by themselves.
    accused: i64,
    /// Working windows that are unlike anything that was taught.
    strange: i64,
    /// Working windows in which it exchanged with others and no burst had told how.
    unheard: i64,
    leads: [i64; Class::ALL.len()],
    /// Sums of what the two sources gave training over inference.
    mixture: i64,
    together: i64,
    /// Windows at rest since the last one that was not, and working windows since the run began: neither is ever halved.
    resting: i64,
    worked: u32,
}

/// What the windows of a run say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The class; `None` is `cannot tell`.
    pub class: Option<Class>,
    /// How far it goes towards training.
    pub level: Level,
    /// Lead of training over the best of the other classes, in hundredths of a nat.
    pub training: i16,
}

/// What a window is to its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Nothing ran.
    Rest,
    /// Something ran, and was scored by what tells work from work.
    Work,
    /// Something ran, or may have, and what it was could not be read.
    Unread,
    /// It could not be scored, and nothing ran as far as it was read.
    Nothing,
}

impl Part {
    fn of(features: &Features, scored: &Scored) -> Self {
        if scored.class == Some(Class::Idle) {
            return Self::Rest;
        }
        if scored.says_something() && features.tensor.is_some() {
            return Self::Work;
        }
        let read = [features.sm, features.busy];
        let some_ran = read.iter().flatten().any(|share| share.0 > 0);
        let none_read = read.iter().all(Option::is_none);
        if some_ran || none_read {
            Self::Unread
        } else {
            Self::Nothing
        }
    }
}

/// Whether a window by itself speaks against training. What could not be read does not.
#[must_use]
pub fn speaks_against_training(features: &Features, scored: &Scored) -> bool {
    match Part::of(features, scored) {
        Part::Rest => true,
        Part::Work => scored.of_training() < 0,
        Part::Unread | Part::Nothing => false,
    }
}

/// Whether a window by itself leads towards training.
#[must_use]
pub fn speaks_for_training(features: &Features, scored: &Scored) -> bool {
    Part::of(features, scored) == Part::Work && scored.of_training() > 0
}

impl Run {
    /// Adds a window, by its features and their score.
    pub fn add(&mut self, model: &Model, features: &Features, scored: &Scored) {
        let part = Part::of(features, scored);
        self.windows = self.windows.saturating_add(1);
        if part == Part::Rest {
            self.idle = self.idle.saturating_add(1);
            self.resting = self.resting.saturating_add(1);
            return;
        }
        self.resting = 0;
        match part {
            Part::Work => self.add_work(model, features, scored),
            Part::Unread => {
                self.unread = self.unread.saturating_add(1);
                self.open = self.open.saturating_add(1);
            }
            Part::Rest | Part::Nothing => {}
        }
        if model.is_full(self.working.saturating_add(self.unread)) {
            self.halve();
        }
    }

    fn add_work(&mut self, model: &Model, features: &Features, scored: &Scored) {
        self.working = self.working.saturating_add(1);
        self.worked = self.worked.saturating_add(1);
        if !scored.rules_out(Class::Training) {
            self.open = self.open.saturating_add(1);
        }
        if scored.class == Some(Class::Training) {
            self.accused = self.accused.saturating_add(1);
        }
        if model.is_strange(features) {
            self.strange = self.strange.saturating_add(1);
        }
        if model.is_unheard(features) {
            self.unheard = self.unheard.saturating_add(1);
        }
        for (sum, lead) in self.leads.iter_mut().zip(scored.centinats) {
            *sum = sum.saturating_add(i64::from(lead));
        }
        let spoke = model.sources(features);
        self.mixture = self.mixture.saturating_add(spoke.mixture);
        self.together = self.together.saturating_add(spoke.together);
    }

    /// Forgets half of what it remembers: what came before counts half as much as what comes now.
    fn halve(&mut self) {
        let counts = [
            &mut self.windows,
            &mut self.idle,
            &mut self.working,
            &mut self.unread,
            &mut self.open,
            &mut self.accused,
            &mut self.strange,
            &mut self.unheard,
            &mut self.mixture,
            &mut self.together,
        ];
        for sum in counts.into_iter().chain(&mut self.leads) {
            // Towards zero, so that nothing is remembered for ever.
            *sum = sum.checked_div(2).unwrap_or(0);
        }
    }

    /// Whether so many windows in a row were at rest that what comes next is another run.
    #[must_use]
    pub fn has_ended(&self, model: &Model) -> bool {
        model.ends(self.resting)
    }

    /// Whether it has no window yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.windows == 0
    }

    /// How many windows it has had in which something ran and was scored.
    #[must_use]
    pub fn worked(&self) -> u32 {
        self.worked
    }

    /// What is known so far. Windows in which nothing ran say nothing of what ran in the others. Where nearly all are such, the run is idle; the
    /// level still comes from the others, unless each of them rules training out.
    #[must_use]
    pub fn verdict(&self, model: &Model) -> Verdict {
        let worked = self.of_work(model);
        if self.windows == 0 || !model.is_at_rest(self.idle, self.windows) {
            return worked;
        }
        let class = Some(Class::Idle);
        let learned = model.is_enough(model.of_run(self.mixture, self.working));
        if self.open > 0 || learned {
            return Verdict { class, ..worked };
        }
        Verdict {
            class,
            level: Level::RuledOut,
            training: 0,
        }
    }

    /// What the windows say in which something ran.
    fn of_work(&self, model: &Model) -> Verdict {
        let leads = self.leads.map(|sum| model.of_run(sum, self.working));
        let mostly = |windows: i64| windows.saturating_mul(2) > self.working;
        let decided = model.decide(leads, mostly(self.unheard));
        let scored = match mostly(self.strange) {
            true => decided.without_machine_learning(),
            false => decided,
        };
        let [mixture, together] = [self.mixture, self.together].map(|sum| model.of_run(sum, self.working));
        let training = scored.of_training();
        let two_sources = model.is_enough(mixture) && model.is_enough(together);
        let level = match scored.class {
            Some(Class::Training) if two_sources && model.may_establish(self.working) => Level::Established,
            Some(Class::Training) => Level::Candidate,
            // What all devices of a job do together may be training though one of them does not look like it, and nobody has heard them. Where it looks so
            // much like something else that this is named, it is that.
            None if mostly(self.unheard) && training < 0 => Level::Weak,
            _ if self.may_rule_out(model, mixture) && model.rules_out(training.into()) => Level::RuledOut,
            Some(_) => Level::Weak,
            None if training < 0 => Level::Weak,
            None => Level::Candidate,
        };
        Verdict {
            class: scored.class,
            level,
            training,
        }
    }

    /// Whether training may be ruled out at all. What was learned from training is not ruled out by pipes that anything may use beside
    /// it, nor a window that was called training by the others, nor one of which nobody knows what it was.
    fn may_rule_out(&self, model: &Model, mixture: i64) -> bool {
        self.working > 0 && self.unread == 0 && self.accused == 0 && !model.is_enough(mixture)
    }
}
