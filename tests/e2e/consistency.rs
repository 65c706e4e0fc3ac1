//! What physics sees of forged telemetry: as much as `docs/consistency.md` promises, and nothing where nothing was forged.

use std::path::Path;
use weighbridge::accounting::ObservationKind;
use weighbridge::accounting::consistency::Physics;
use weighbridge_testbed::consistency::forge::{Forgery, Kind};
use weighbridge_testbed::consistency::recording::{Channel, Recording};
use weighbridge_testbed::consistency::{
    Case, LEAST_SEEN, MOST_FALSE, Scope, cases, genuine, recordings, synthetic,
};

/// The share of cases that were seen, and which were not.
fn seen(cases: &[Case]) -> (f64, Vec<String>) {
    let missed: Vec<String> = cases
        .iter()
        .filter(|c| c.seen.is_empty())
        .map(|c| format!("{} ({}, {:?})", c.forgery.name(), c.recording, c.scope))
        .collect();
    (1.0 - missed.len() as f64 / cases.len().max(1) as f64, missed)
}

/// Cases in which one device is forged, from the middle and throughout.
fn of_one_device(recordings: &[Recording], kinds: &[Kind]) -> Vec<Case> {
    let physics = Physics::embedded().unwrap();
    [Scope::OneMidway, Scope::OneThroughout]
        .iter()
        .flat_map(|scope| cases(recordings, kinds, *scope, &physics))
        .collect()
}

#[test]
fn nothing_is_observed_of_synthetic_nodes_that_tell_the_truth() {
    let physics = Physics::embedded().unwrap();
    let made: Vec<_> = (1..=4).flat_map(synthetic::nodes).collect();
    let sum = genuine(&made, &physics);
    assert!(sum.windows > 500);
    assert_eq!(
        sum.false_windows, 0,
        "the lines above say what was observed of genuine readings"
    );
}

#[test]
fn forged_synthetic_nodes_are_seen() {
    let made = synthetic::nodes(1);
    for kind in [Kind::Frozen, Kind::Replayed, Kind::Halved] {
        let (share, missed) = seen(&of_one_device(&made, &[kind]));
        assert!(share >= LEAST_SEEN, "{kind:?}: {share:.3} seen, not {missed:?}");
    }
    // Quantities that others are tied to; temperature, clock and clock events hang more loosely on power.
    let tied = [
        Channel::Energy,
        Channel::Sm,
        Channel::Tensor,
        Channel::Sent,
        Channel::Received,
    ];
    let edited: Vec<Case> = of_one_device(&made, &[Kind::Edited])
        .into_iter()
        .filter(|c| matches!(&c.forgery, Forgery::Edited(channel, _) if tied.contains(channel)))
        .collect();
    let (share, missed) = seen(&edited);
    assert!(share >= LEAST_SEEN, "edited: {share:.3} seen, not {missed:?}");
}

#[test]
fn an_observation_names_what_was_forged() {
    let made = synthetic::nodes(3);
    let all = of_one_device(&made, &[Kind::Halved, Kind::Replayed]);
    for case in &all {
        match &case.forgery {
            Forgery::Halved("power" | "energy", _) => {
                assert!(
                    case.seen.contains(&ObservationKind::EnergyAgainstPower),
                    "{case:?}"
                );
            }
            Forgery::Replayed(_) => {
                assert!(case.seen.contains(&ObservationKind::Repeated), "{case:?}");
            }
            _ => {}
        }
    }
}

#[test]
fn real_recordings_are_believed_and_forgeries_of_them_are_seen() {
    let traces = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/traces");
    if !traces.join("h100-dcgm-10hz").is_dir() {
        println!("skipped: ../shared/data/traces is absent; the synthetic nodes above stand in for it");
        return;
    }
    let physics = Physics::embedded().unwrap();
    let (whole, bare) = recordings(&traces, 0).unwrap();
    for set in [&whole, &bare] {
        let sum = genuine(set, &physics);
        assert!(
            f64::from(sum.false_windows) <= f64::from(sum.windows) * MOST_FALSE,
            "{sum:?}; the lines above say what was observed of genuine readings"
        );
    }
    for kind in Kind::ALL {
        let (share, missed) = seen(&of_one_device(&whole, &[*kind]));
        assert!(share >= LEAST_SEEN, "{kind:?}: {share:.3} seen, not {missed:?}");
    }
}
