//! What physics sees of forged telemetry: as much as `docs/consistency.md` promises, and nothing where nothing was forged.

use std::path::Path;
use weighbridge::accounting::ObservationKind;
use weighbridge::accounting::consistency::Physics;
use weighbridge_testbed::consistency::forge::{Forgery, Kind};
use weighbridge_testbed::consistency::recording::Recording;
use weighbridge_testbed::consistency::{Case, Extent, Scope, cases, differs, genuine, synthetic, tables};

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
fn the_tables_of_the_documentation_are_what_comes_out_and_hold_what_is_promised() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let traces = root.join("../shared/data/traces");
    let present = traces.join("h100-dcgm-10hz").is_dir();
    if !present {
        println!("skipped: ../shared/data/traces is absent; the tables of recordings are not compared");
    }
    let physics = Physics::embedded().unwrap();
    let tables = tables(present.then_some(traces.as_path()), Extent::Short, &physics).unwrap();
    for table in &tables {
        assert!(table.held, "less is held than is promised:\n{}", table.text);
    }
    let document = std::fs::read_to_string(root.join("docs/consistency.md")).unwrap();
    if let Some(what) = differs(&tables, &document) {
        panic!("{what}\n`weighbridge-testbed consistency --traces DIR` prints all of them");
    }
    // And a figure that is not what came out is found.
    let forged = document.replace(
        "| synthetic nodes, 12 seeds | ",
        "| synthetic nodes, 12 seeds | 9",
    );
    let what = differs(&tables, &forged).unwrap();
    assert!(what.contains("no line `| synthetic nodes, 12 seeds | "), "{what}");
}
