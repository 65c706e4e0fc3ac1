//! One device and two places.

use super::*;
use crate::appraisal::ClockFacts;
use crate::id::NodeId;

#[test]
fn inv_03_finds_one_device_on_two_hosts() {
    let mut scene = Scene::empty();
    scene.hour(&[gpu(1), gpu(2)], &[gpu(3), gpu(4), gpu(2)]);
    let finding = scene.expect(
        "INV-03",
        Outcome::NotMet,
        "was seen on node n-1 and node n-2, from 2026-11-20T00:00:00Z",
    );
    assert!(finding.subjects.contains(&gpu(2).identity.uuid.nvml()));
    let mut serial = gpu(8);
    serial.identity.serial = Some("S1".to_owned());
    let mut scene = Scene::empty();
    scene.hour(&[gpu(1), gpu(2)], &[gpu(3), gpu(4), serial]);
    scene.expect(
        "INV-03",
        Outcome::NotMet,
        "serial S1 was seen on node n-1 and node n-2",
    );
}

#[test]
fn inv_03_lets_a_repaired_board_move() {
    let mut scene = Scene::empty();
    scene.labs[0].run(6, &[gpu(1), gpu(2)]);
    scene.labs[0].run(6, &[gpu(1)]);
    scene.labs[1].run(6, &[gpu(3), gpu(4)]);
    scene.labs[1].run(6, &[gpu(2), gpu(3), gpu(4)]);
    scene.expect("INV-03", Outcome::Met, "none of 4 devices");
}

/// Another site's node saw the third device.
fn sighting() -> Sighting {
    Sighting {
        node: NodeId([5; 17]),
        status: NodeStatus {
            name: "x-5".to_owned(),
            ..status(5)
        },
        clock: ClockFacts::default(),
        site: "harbour-9".to_owned(),
        uuid: gpu(3).identity.uuid,
        serial: None,
        presence: vec![stretch(600, 1_200)],
        proof: None,
    }
}

#[test]
fn inv_03_sees_the_other_site_and_the_double() {
    let mut scene = Scene::honest();
    scene.elsewhere.push(sighting());
    let finding = scene.expect(
        "INV-03",
        Outcome::NotMet,
        "node x-5 of site harbour-9, from 2026-11-20T00:10:00Z to 2026-11-20T00:20:00Z",
    );
    assert!(
        finding.evidence.contains(&Digest([5; 32])),
        "{:?}",
        finding.evidence
    );
    let mut twice = Scene::empty();
    twice.hour(&[gpu(1), gpu(1), gpu(2)], &[gpu(3), gpu(4)]);
    twice.expect("INV-03", Outcome::NotMet, "was named twice in one report");
}

/// Turns a node's clock in a report that it makes.
fn turned(by: i64) -> impl Fn(&mut crate::report::TokenClaims) {
    move |claims| {
        claims.report.time.wall_end = claims.report.time.wall_end.plus(by);
        claims.issued_at = claims.issued_at.plus(by);
    }
}

/// A board that stood half an hour on the first node, and then on the second one, whose clock is off by this.
fn moved_to_a_clock_off_by(seconds: i64) -> Scene {
    let mut scene = Scene::empty();
    scene.labs[0].run(6, &[gpu(1), gpu(2)]);
    scene.labs[0].run(6, &[gpu(1)]);
    scene.labs[1].sleep(1_800);
    scene.labs[1].run_with(6, &[gpu(2), gpu(3), gpu(4)], turned(seconds));
    scene
}

#[test]
fn a_slow_clock_convicts_nobody_and_hides_no_more_than_it_is_slow() {
    moved_to_a_clock_off_by(0).expect("INV-03", Outcome::Met, "");
    moved_to_a_clock_off_by(-40).expect("INV-03", Outcome::Met, "");
    let says = "may have been on node n-1 and node n-2 at one time, as far as their clocks";
    let finding = moved_to_a_clock_off_by(-900).expect("INV-03", Outcome::CannotTell, says);
    assert!(finding.subjects.contains(&gpu(2).identity.uuid.nvml()));
    let mut both = Scene::empty();
    both.labs[0].run(12, &[gpu(1), gpu(2)]);
    both.labs[1].run_with(12, &[gpu(2), gpu(3), gpu(4)], turned(-900));
    both.expect(
        "INV-03",
        Outcome::NotMet,
        "from 2026-11-20T00:00:05Z to 2026-11-20T00:45:00Z",
    );
    // A clock that lets two stretches seem apart which may have been one time shows nothing either.
    let mut apart = Scene::empty();
    apart.labs[1].sleep(3_000);
    apart.labs[1].run_with(2, &[gpu(2), gpu(3), gpu(4)], turned(-2_000));
    apart.labs[0].sleep(1_800);
    apart.labs[0].run(6, &[gpu(1), gpu(2)]);
    apart.expect(
        "INV-03",
        Outcome::CannotTell,
        "at one time, as far as their clocks",
    );
}

#[test]
fn a_clock_that_runs_ahead_of_reports_that_wait_convicts_nobody() {
    let mut scene = Scene::empty();
    let ahead = turned(900);
    let waiting: Vec<_> = (0..6)
        .map(|_| scene.labs[1].make(&[gpu(2), gpu(3), gpu(4)], &ahead))
        .collect();
    let lab = &mut scene.labs[1];
    for report in &waiting {
        lab.receive(report, lab.wall().plus(1_000));
    }
    lab.run_with(6, &[gpu(3), gpu(4)], &ahead);
    scene.labs[0].run(6, &[gpu(1)]);
    scene.labs[0].run(6, &[gpu(1), gpu(2)]);
    scene.expect("INV-03", Outcome::CannotTell, "as far as their clocks");
}

#[test]
fn reports_that_waited_for_a_network_say_no_less() {
    let mut scene = Scene::empty();
    scene.labs[0].run(12, &[gpu(1), gpu(2)]);
    let lab = &mut scene.labs[1];
    let mut waiting: Vec<_> = (0..6)
        .map(|_| lab.make(&[gpu(2), gpu(3), gpu(4)], |_| {}))
        .collect();
    waiting.extend((0..6).map(|_| lab.make(&[gpu(3), gpu(4)], |_| {})));
    for report in &waiting {
        lab.receive(report, lab.wall().plus(5));
    }
    let finding = scene.expect(
        "INV-03",
        Outcome::NotMet,
        "from 2026-11-20T00:00:00Z to 2026-11-20T00:30:00Z",
    );
    // The reports of the start and of the end, on either node.
    for report in [&waiting[0], &waiting[5]] {
        assert!(finding.evidence.contains(&report.digest()));
    }
    assert!(!finding.evidence.contains(&waiting[11].digest()));
    assert_eq!(finding.evidence.len(), 4);
}

#[test]
fn a_revoked_key_puts_no_device_into_a_second_place() {
    let mut scene = Scene::empty();
    scene.hour(&[gpu(1), gpu(2)], &[gpu(2), gpu(3), gpu(4)]);
    scene.statuses[1].revoked_from = Some(start());
    let says = "and only a key that was revoked by then says so";
    scene.expect("INV-03", Outcome::CannotTell, says);
    scene.statuses[1].revoked_from = Some(start().plus(1_800));
    scene.expect("INV-03", Outcome::NotMet, "to 2026-11-20T00:30:00Z");
    let mut elsewhere = Scene::honest();
    elsewhere.elsewhere.push(sighting());
    elsewhere.elsewhere[0].status.revoked_from = Some(start());
    elsewhere.expect("INV-03", Outcome::CannotTell, says);
    let mut twice = Scene::empty();
    twice.hour(&[gpu(1), gpu(1), gpu(2)], &[gpu(3), gpu(4)]);
    twice.statuses[0].revoked_from = Some(start());
    twice.expect("INV-03", Outcome::CannotTell, says);
}
