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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::unit::Ppm;

    /// A device of a job on several, whose links are busy both ways while all move together.
    pub(crate) fn together() -> Features {
        let share = |ppm| Some(Ppm(ppm));
        Features {
            points: 60,
            sm: share(900_000),
            busy: share(1_000_000),
            tensor: share(480_000),
            tensor_per_sm: share(530_000),
            tensor_per_dram: share(1_330_000),
            dram: share(360_000),
            fp64: None,
            fp32: None,
            integer: None,
            link_active: share(900_000),
            link_symmetry: share(970_000),
            power_variation: share(20_000),
            periodicity: share(600_000),
            period_ms: Some(5_000),
            synchrony: share(800_000),
            dram_per_sm: share(400_000),
            fp64_per_sm: None,
            fp32_per_sm: None,
            integer_per_sm: None,
            sm_per_busy: share(900_000),
            tensor_mix: share(20_000),
            dram_mix: share(20_000),
            sm_variation: share(10_000),
            resting: share(0),
            linked_tensor_per_dram: share(1_330_000),
            link_beat: share(600_000),
            link_apart: share(900_000),
            beat_per_memory: share(200_000),
            ..Features::default()
        }
    }

    /// The same, of which no burst has told how it exchanges.
    fn unheard(features: Features) -> Features {
        Features {
            link_beat: None,
            link_apart: None,
            beat_per_memory: None,
            ..features
        }
    }

    /// The same of a device by itself.
    pub(crate) fn alone(features: Features) -> Features {
        Features {
            link_active: None,
            link_symmetry: None,
            synchrony: None,
            linked_tensor_per_dram: None,
            ..unheard(features)
        }
    }

    fn at_rest() -> Features {
        let zero = Some(Ppm(0));
        Features {
            sm: zero,
            busy: zero,
            tensor: zero,
            dram: zero,
            link_active: zero,
            tensor_per_sm: None,
            tensor_per_dram: None,
            dram_per_sm: None,
            sm_per_busy: None,
            tensor_mix: None,
            dram_mix: None,
            sm_variation: None,
            link_symmetry: None,
            periodicity: None,
            synchrony: None,
            linked_tensor_per_dram: None,
            ..unheard(together())
        }
    }

    /// Double precision, and nothing on the tensor pipes.
    fn simulation() -> Features {
        Features {
            tensor: Some(Ppm(0)),
            tensor_per_sm: Some(Ppm(0)),
            tensor_per_dram: Some(Ppm(0)),
            linked_tensor_per_dram: Some(Ppm(0)),
            fp64: Some(Ppm(400_000)),
            ..together()
        }
    }

    /// The same, waiting for memory most of the time: nothing of it looks like training.
    fn stencil() -> Features {
        Features {
            dram: Some(Ppm(700_000)),
            dram_per_sm: Some(Ppm(778_000)),
            link_active: Some(Ppm(0)),
            link_symmetry: None,
            synchrony: None,
            periodicity: Some(Ppm(100_000)),
            tensor_mix: None,
            linked_tensor_per_dram: None,
            fp64_per_sm: Some(Ppm(444_000)),
            ..unheard(simulation())
        }
    }

    fn of(windows: &[Features]) -> Run {
        let model = Model::embedded().unwrap();
        let mut run = Run::default();
        for features in windows {
            run.add(&model, features, &model.score(features));
        }
        run
    }

    fn run(windows: &[Features]) -> Verdict {
        of(windows).verdict(&Model::embedded().unwrap())
    }

    #[test]
    fn two_sources_establish_and_one_makes_a_candidate() {
        let both = run(&[together(), together(), together()]);
        assert_eq!(
            (both.class, both.level),
            (Some(Class::Training), Level::Established)
        );
        assert!(run(&vec![alone(together()); 100]).level <= Level::Candidate);
    }

    #[test]
    fn windows_at_rest_before_work_do_not_hide_it_and_work_that_never_came_is_idle() {
        let mixed = run(&[at_rest(), at_rest(), together(), together()]);
        assert_eq!(mixed.class, Some(Class::Training));
        let idle = run(&[at_rest(), at_rest(), at_rest(), at_rest()]);
        assert_eq!((idle.class, idle.level), (Some(Class::Idle), Level::RuledOut));
    }

    #[test]
    fn a_run_at_rest_is_ruled_out_only_where_no_window_leaves_training_open() {
        let paused: Vec<Features> = (0..25)
            .map(|minute| if minute % 5 == 4 { together() } else { at_rest() })
            .collect();
        let verdict = run(&paused);
        assert_eq!(
            (verdict.class, verdict.level),
            (Some(Class::Idle), Level::Established)
        );
        let rest = vec![at_rest(); 4];
        let others = run(&[rest.clone(), vec![stencil()]].concat());
        assert_eq!((others.class, others.level), (Some(Class::Idle), Level::RuledOut));
        // What the trees take for training stays open, whatever pipes run beside it.
        let filled = run(&[rest, vec![simulation()]].concat());
        assert_eq!((filled.class, filled.level), (Some(Class::Idle), Level::Weak));
    }

    #[test]
    fn double_precision_beside_it_does_not_rule_out_what_looks_like_training() {
        let filled = Features {
            fp64: Some(Ppm(95_000)),
            ..alone(together())
        };
        let verdict = run(&[filled]);
        assert!(verdict.training <= -250, "{verdict:?}");
        assert_eq!((verdict.class, verdict.level), (Some(Class::Hpc), Level::Weak));
    }

    #[test]
    fn moving_alike_without_links_is_no_second_source() {
        for link_active in [None, Some(Ppm(0)), Some(Ppm(10_000))] {
            let replica = Features {
                link_active,
                link_symmetry: link_active,
                synchrony: Some(Ppm::ONE),
                linked_tensor_per_dram: None,
                ..unheard(together())
            };
            let level = run(&vec![replica; 4]).level;
            assert!(level <= Level::Candidate, "{link_active:?}: {level:?}");
        }
    }

    #[test]
    fn links_and_common_movement_without_a_beat_are_no_second_source() {
        for link_beat in [None, Some(Ppm(0)), Some(Ppm(60_000))] {
            let served = Features {
                link_beat,
                ..together()
            };
            let verdict = run(&vec![served; 10]);
            assert!(verdict.level <= Level::Candidate, "{link_beat:?}: {verdict:?}");
        }
    }

    #[test]
    fn a_beat_that_goes_with_the_work_or_is_of_little_is_no_second_source() {
        assert_eq!(run(&vec![together(); 3]).level, Level::Established);
        let share = |ppm| Some(Ppm(ppm));
        // One model over several devices, results that are gathered, and what nobody read.
        let others = [
            Features {
                link_apart: share(50_000),
                ..together()
            },
            Features {
                beat_per_memory: share(10_000),
                ..together()
            },
            Features {
                link_apart: None,
                ..together()
            },
            Features {
                beat_per_memory: None,
                ..together()
            },
        ];
        for other in others {
            let level = run(&vec![other.clone(); 10]).level;
            assert!(level <= Level::Candidate, "{level:?}: {other:?}");
        }
    }

    #[test]
    fn where_links_are_used_and_no_burst_has_told_how_a_lead_must_be_greater() {
        let model = Model::embedded().unwrap();
        let called = |features: &Features| model.score(features).class;
        // As nearly the margin of inference in batches as may be: serving, or what is trained over several devices.
        let near = |unheard: bool| {
            let mut leads = [-300; Class::ALL.len()];
            leads[usize::from(Class::InferenceBatch.code())] = 150;
            leads[usize::from(Class::Training.code())] = -150;
            model.decide(leads, unheard).class
        };
        assert_eq!((near(false), near(true)), (Some(Class::InferenceBatch), None));
        let linked = unheard(together());
        assert!(model.is_unheard(&linked));
        assert_eq!(called(&linked), Some(Class::Training));
        let seldom = Features {
            link_active: Some(Ppm(100_000)),
            ..linked
        };
        assert!(!model.is_unheard(&seldom) && !model.is_unheard(&together()));
    }

    #[test]
    fn what_is_unlike_anything_that_was_taught_is_named_no_machine_learning() {
        let strange = Features {
            tensor_mix: Some(Ppm(3_000_000)),
            dram_mix: Some(Ppm(3_000_000)),
            ..together()
        };
        let model = Model::embedded().unwrap();
        assert!(model.is_strange(&strange));
        assert_eq!(model.score(&strange).class, None);
        let all = run(&vec![strange.clone(); 5]);
        assert_eq!(all.class, None);
        // One of many does not silence the others.
        let one = run(&[vec![together(); 9], vec![strange]].concat());
        assert_eq!(one.class, Some(Class::Training));
    }

    #[test]
    fn a_hundred_windows_of_a_run_weigh_hardly_more_than_one() {
        let one = run(&[together()]).training;
        let hundred = run(&vec![together(); 100]).training;
        assert!(hundred >= one && hundred - one <= one / 20, "{one}, {hundred}");
    }

    #[test]
    fn no_windows_are_no_verdict() {
        let none = run(&[]);
        assert_eq!((none.class, none.level), (None, Level::Candidate));
    }

    #[test]
    fn one_window_accuses_nobody_nor_do_two() {
        for few in [1, 2] {
            let verdict = run(&vec![together(); few]);
            assert_eq!(
                (verdict.class, verdict.level),
                (Some(Class::Training), Level::Candidate),
                "{few}"
            );
        }
        let rested = run(&[together(), at_rest(), at_rest(), together()]);
        assert_eq!(rested.level, Level::Candidate, "windows at rest are no work");
        assert_eq!(run(&vec![together(); 3]).level, Level::Established);
    }

    #[test]
    fn what_could_not_be_read_of_a_run_leaves_training_open() {
        let ruled_out = vec![stencil(); 5];
        assert_eq!(run(&ruled_out).level, Level::RuledOut);
        let few = Features {
            points: 4,
            ..together()
        };
        let without_tensor = Features {
            tensor: None,
            tensor_per_sm: None,
            tensor_per_dram: None,
            linked_tensor_per_dram: None,
            ..stencil()
        };
        let nothing_read = Features {
            sm: None,
            busy: None,
            ..without_tensor
        };
        for unread in [few, without_tensor, nothing_read] {
            let mut windows = ruled_out.clone();
            windows.push(unread.clone());
            let verdict = run(&windows);
            assert!(verdict.level > Level::RuledOut, "{unread:?}: {verdict:?}");
            assert_eq!(verdict.class, Some(Class::Hpc), "the others say what they said");
            let alone = run(&[unread]);
            assert_eq!((alone.class, alone.level), (None, Level::Candidate));
        }
        // The first ticks of a device at rest are too few to be scored, and nothing ran.
        let waking = Features {
            points: 2,
            ..at_rest()
        };
        assert_eq!(run(&[vec![waking], ruled_out].concat()).level, Level::RuledOut);
    }

    #[test]
    fn one_window_of_training_is_not_averaged_away() {
        let mut windows = vec![stencil(); 20];
        windows.insert(7, together());
        let verdict = run(&windows);
        assert!(verdict.training <= -250, "{verdict:?}");
        assert_eq!((verdict.class, verdict.level), (Some(Class::Hpc), Level::Weak));
        // It is forgotten once so many others came that it says nothing of what runs now.
        windows.extend(vec![stencil(); 60]);
        assert_eq!(run(&windows).level, Level::RuledOut);
    }

    #[test]
    fn a_job_that_follows_another_without_rest_is_heard_within_the_hour() {
        let mut windows = vec![stencil(); 24 * 60];
        assert_eq!(run(&windows).level, Level::RuledOut);
        windows.extend(vec![together(); 60]);
        let verdict = run(&windows);
        assert_eq!(
            (verdict.class, verdict.level),
            (Some(Class::Training), Level::Established)
        );
        windows.extend(vec![stencil(); 120]);
        assert!(run(&windows).level < Level::Candidate);
    }

    #[test]
    fn ten_windows_at_rest_end_a_run_and_nine_do_not() {
        let model = Model::embedded().unwrap();
        let mut windows = vec![together(); 3];
        windows.extend(vec![at_rest(); 9]);
        assert!(!of(&windows).has_ended(&model));
        windows.push(at_rest());
        assert!(of(&windows).has_ended(&model));
        windows.push(together());
        assert!(!of(&windows).has_ended(&model), "it would have begun another");
        assert_eq!(of(&windows).worked(), 4);
    }
}
