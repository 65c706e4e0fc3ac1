//! What windows of a run say together: what establishes, what rules out, what ends one.

use super::{Class, Features, Level, Model, Run, Verdict};
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
            beat_per_memory: share(40_000),
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
