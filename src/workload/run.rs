//! From windows to a run of work on one device.
//!
//! Decides: what the windows of a run say together, and how far that goes towards training: the levels L0 to L4. Windows of one run are nearly
//! one observation, so a long run says little more than a short one; what makes a case is another source. Does not establish who ran what,
//! and never level L4, which takes a type of work that somebody vouched for.

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
        /// Two independent sources say so: what the device did, and how it worked with others over links in use.
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
    /// Those of them that did not rule out training by themselves.
    open: i64,
    leads: [i64; Class::ALL.len()],
    /// Sums of what the two sources gave training over inference.
    mixture: i64,
    together: i64,
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

impl Run {
    /// Adds a window, by its features and their score.
    pub fn add(&mut self, model: &Model, features: &Features, scored: &Scored) {
        self.windows = self.windows.saturating_add(1);
        if scored.class == Some(Class::Idle) {
            self.idle = self.idle.saturating_add(1);
            return;
        }
        if !scored.says_something() {
            return;
        }
        self.working = self.working.saturating_add(1);
        if !scored.rules_out(Class::Training) {
            self.open = self.open.saturating_add(1);
        }
        for (sum, lead) in self.leads.iter_mut().zip(scored.centinats) {
            *sum = sum.saturating_add(i64::from(lead));
        }
        let spoke = model.sources(features);
        self.mixture = self.mixture.saturating_add(spoke.mixture);
        self.together = self.together.saturating_add(spoke.together);
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
        if self.open > 0 {
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
        let scored = model.decide(leads);
        let [mixture, together] = [self.mixture, self.together].map(|sum| model.of_run(sum, self.working));
        let training = scored
            .centinats
            .get(usize::from(Class::Training.code()))
            .copied()
            .unwrap_or(0);
        // What was learned from training is not ruled out by pipes that anything may use beside it.
        let may_rule_out = self.working > 0 && !model.is_enough(mixture);
        let level = match scored.class {
            Some(Class::Training) if model.is_enough(mixture) && model.is_enough(together) => {
                Level::Established
            }
            Some(Class::Training) => Level::Candidate,
            _ if may_rule_out && model.rules_out(training.into()) => Level::RuledOut,
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
            ..Features::default()
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
            ..together()
        }
    }

    fn run(windows: &[Features]) -> Verdict {
        let model = Model::embedded().unwrap();
        let mut run = Run::default();
        for features in windows {
            run.add(&model, features, &model.score(features));
        }
        run.verdict(&model)
    }

    #[test]
    fn two_sources_establish_and_one_makes_a_candidate() {
        let both = run(&[together(), together()]);
        assert_eq!(
            (both.class, both.level),
            (Some(Class::Training), Level::Established)
        );
        let alone = Features {
            link_active: None,
            link_symmetry: None,
            synchrony: None,
            linked_tensor_per_dram: None,
            ..together()
        };
        assert!(run(&[alone]).level <= Level::Candidate);
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
        let simulation = Features {
            tensor: Some(Ppm(0)),
            tensor_per_sm: Some(Ppm(0)),
            tensor_per_dram: Some(Ppm(0)),
            linked_tensor_per_dram: Some(Ppm(0)),
            fp64: Some(Ppm(400_000)),
            ..together()
        };
        let others = run(&[at_rest(), at_rest(), at_rest(), at_rest(), simulation]);
        assert_eq!((others.class, others.level), (Some(Class::Idle), Level::RuledOut));
    }

    #[test]
    fn double_precision_beside_it_does_not_rule_out_what_looks_like_training() {
        let filled = Features {
            link_active: None,
            link_symmetry: None,
            synchrony: None,
            linked_tensor_per_dram: None,
            fp64: Some(Ppm(95_000)),
            ..together()
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
                ..together()
            };
            let level = run(&[replica.clone(), replica]).level;
            assert!(level <= Level::Candidate, "{link_active:?}: {level:?}");
        }
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
}
