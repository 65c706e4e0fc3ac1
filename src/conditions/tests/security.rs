use super::*;
use crate::appraisal::fixture::driver;
use crate::id::{BootId, ChainId, Digest};
use crate::report::{KeyProtection, Successor};
use crate::telemetry::{HostDriver, LibraryOrigin};
use crate::time::SECOND;

fn hour_with(edit: impl Fn(&mut crate::report::TokenClaims)) -> Scene {
    let mut scene = Scene::empty();
    scene.labs[0].run_with(12, &[gpu(1), gpu(2)], edit);
    scene.labs[1].run(12, &[gpu(3), gpu(4)]);
    scene
}

#[test]
fn sec_04_believes_a_tpm_only_as_far_as_enrolment_proved_it() {
    Scene::honest().expect(
        "SEC-04",
        Outcome::Met,
        "an approved key that a TPM holds; the rule set asks for a TPM",
    );
    let mut claimed = Scene::honest();
    claimed.statuses[0].key_certified = false;
    claimed.expect("SEC-04", Outcome::CannotTell, "enrolment did not prove it");
    let in_file =
        |c: &mut crate::report::TokenClaims| c.submods.host.host.key_protection = KeyProtection::File;
    let file = hour_with(in_file);
    file.expect(
        "SEC-04",
        Outcome::NotMet,
        "the key of node n-1 lies in a file and could be copied",
    );
    let accepted = hour_with(in_file).with("licensed_tpp", "key_protection_min = \"file\"\nlicensed_tpp");
    accepted.expect("SEC-04", Outcome::Met, "the licence accepts a file");
}

#[test]
fn sec_04_accuses_nobody_of_what_came_before_a_revocation_was_known() {
    let revoked = |from: i64, at: i64| {
        let mut scene = Scene::honest();
        scene.statuses[0].revoked_from = Some(start().plus(from));
        scene.statuses[0].revoked_at = Some(start().plus(at));
        scene
    };
    // The last report came 3,605 s after the start.
    revoked(3_606, 3_605).expect("SEC-04", Outcome::Met, "the reports of 1 node");
    revoked(600, 3_605).expect(
        "SEC-04",
        Outcome::CannotTell,
        "node n-1 reported until 2026-11-20T01:00:05Z, and its key was revoked afterwards, from 2026-11-20T00:10:00Z on",
    );
    revoked(600, 3_604).expect(
        "SEC-04",
        Outcome::NotMet,
        "a report of node n-1 was taken on 2026-11-20T01:00:05Z, after it was revoked on 2026-11-20T01:00:04Z",
    );
}

#[test]
fn sec_04_leaves_a_pending_node_open() {
    let mut pending = Scene::honest();
    pending.statuses[1].approved = None;
    pending.expect(
        "SEC-04",
        Outcome::CannotTell,
        "node n-2 reports and is not approved",
    );
}

#[test]
fn sec_06_finds_a_hole_until_it_is_filled() {
    let mut scene = Scene::empty();
    scene.labs[1].run(12, &[gpu(3), gpu(4)]);
    scene.labs[0].run(5, &[gpu(1), gpu(2)]);
    let held = scene.labs[0].make(&[gpu(1), gpu(2)], |_| {});
    scene.labs[0].run(6, &[gpu(1), gpu(2)]);
    scene.expect(
        "SEC-06",
        Outcome::NotMet,
        "1 report of node n-1 is missing before the one received 2026-11-20T00:35:05Z",
    );
    let now = scene.now;
    scene.labs[0].receive(&held, now);
    scene.expect(
        "SEC-06",
        Outcome::Met,
        "each of 24 reports follows the one before it",
    );
}

#[test]
fn sec_06_tells_a_fork_a_lost_state_and_a_second_chain_apart() {
    let mut fork = Scene::honest();
    let now = fork.now;
    let other = fork.labs[0].make(&[gpu(1), gpu(2)], |c| {
        c.report.sequence = 12;
        c.report.previous = None;
    });
    fork.labs[0].receive(&other, now);
    let finding = fork.expect(
        "SEC-06",
        Outcome::NotMet,
        "signed two different reports for one place",
    );
    assert_eq!(finding.evidence.len(), 2);

    let restart = |cite: bool| {
        let mut scene = Scene::empty();
        scene.labs[1].run(12, &[gpu(3), gpu(4)]);
        let lab = &mut scene.labs[0];
        lab.run(6, &[gpu(1), gpu(2)]);
        let successor = cite.then(|| Successor {
            chain: lab.chain,
            sequence: lab.sequence,
            digest: lab.previous.unwrap(),
        });
        lab.chain = ChainId([0xaa; 16]);
        (lab.sequence, lab.previous) = (0, None);
        let first = lab.make(&[gpu(1), gpu(2)], |c| c.report.successor = successor);
        let received = lab.wall().plus(5);
        lab.receive(&first, received);
        lab.run(5, &[gpu(1), gpu(2)]);
        scene
    };
    restart(true).expect("SEC-06", Outcome::CannotTell, "lost its state or was set back");
    restart(false).expect("SEC-06", Outcome::NotMet, "does not say what came before");
}

#[test]
fn sec_06_forgets_many_breaks_with_the_window_and_takes_lost_state_for_none() {
    let restarts = |cite: bool| {
        let mut scene = Scene::honest();
        for n in 0..40 {
            let lab = &mut scene.labs[0];
            let successor = cite.then(|| Successor {
                chain: lab.chain,
                sequence: lab.sequence,
                digest: lab.previous.unwrap(),
            });
            lab.chain = ChainId([0x80 + n; 16]);
            (lab.sequence, lab.previous) = (0, None);
            lab.run_with(1, &[gpu(1), gpu(2)], |c| {
                c.report.successor.clone_from(&successor)
            });
        }
        scene.labs[1].run(40, &[gpu(3), gpu(4)]);
        scene.now = scene.labs[0].wall().plus(10);
        scene
    };
    restarts(true).expect("SEC-06", Outcome::CannotTell, "lost its state or was set back");
    let mut broken = restarts(false);
    broken.expect("SEC-06", Outcome::NotMet, "does not say what came before");
    for lab in &mut broken.labs {
        lab.sleep(40 * 86_400);
    }
    broken.hour(&[gpu(1), gpu(2)], &[gpu(3), gpu(4)]);
    broken.now = broken.labs[0].wall().plus(10);
    broken.expect("SEC-06", Outcome::Met, "");
}

#[test]
fn sec_06_finds_time_told_twice_whatever_the_report_says_of_chain_and_boot() {
    let twice = |edit: fn(&mut crate::report::TokenClaims, i64), by: i64| {
        let mut scene = Scene::honest();
        scene.labs[0].run_with(1, &[gpu(1), gpu(2)], |c| edit(c, by));
        scene.labs[1].run(1, &[gpu(3), gpu(4)]);
        scene.now = scene.labs[0].wall().plus(10);
        scene
    };
    let cites = |c: &mut crate::report::TokenClaims, by: i64| {
        c.report.time.start.0 -= u64::try_from(by).unwrap() * SECOND;
        c.report.successor = Some(Successor {
            chain: c.report.chain,
            sequence: c.report.sequence - 1,
            digest: c.report.previous.unwrap(),
        });
    };
    twice(cites, 300).expect(
        "SEC-06",
        Outcome::NotMet,
        "signed two reports that speak of the same 300 s",
    );
    let reboots = |c: &mut crate::report::TokenClaims, by: i64| {
        c.report.boot = BootId([8; 16]);
        c.report.time.wall_end = c.report.time.wall_end.plus(-by);
    };
    let says = "signed reports of different boots that by its clock speak of the same ";
    twice(reboots, 61).expect("SEC-06", Outcome::CannotTell, &format!("{says}61 s"));
    twice(reboots, 60).expect("SEC-06", Outcome::Met, "");
    twice(reboots, 60)
        .with("licensed_tpp", "clock_tolerance = \"30 s\"\nlicensed_tpp")
        .expect("SEC-06", Outcome::CannotTell, &format!("{says}60 s"));
}

#[test]
fn sec_09_accepts_the_system_s_library_and_approved_ones() {
    Scene::honest().expect("SEC-09", Outcome::Met, "is the system's own or approved");
    let origin = |origin: LibraryOrigin, changed: bool| {
        hour_with(move |c| {
            let mut driver = driver();
            driver.library_origin = origin;
            driver.library_changed = changed;
            c.submods.host.host.driver = Some(driver);
        })
    };
    let configured = origin(LibraryOrigin::Configured, false);
    let finding = configured.expect(
        "SEC-09",
        Outcome::NotMet,
        "is not the system's own, and the licence does not approve it",
    );
    assert!(finding.sentence.contains(&Digest([7; 32]).to_string()));
    let approved = format!("approved_nvml = [\"{}\"]\nlicensed_tpp", Digest([7; 32]));
    configured
        .with("licensed_tpp", &approved)
        .expect("SEC-09", Outcome::Met, "");
    origin(LibraryOrigin::Writable, false).expect(
        "SEC-09",
        Outcome::NotMet,
        "where others than root may write",
    );
    let swapped = origin(LibraryOrigin::System, true).with("licensed_tpp", &approved);
    swapped.expect(
        "SEC-09",
        Outcome::NotMet,
        "was replaced or altered on disk while it was loaded",
    );
}

#[test]
fn sec_09_judges_every_library_that_was_in_use_in_a_report_s_time() {
    let former = |origin: LibraryOrigin, many: u8| {
        hour_with(move |c| {
            let other = |n| HostDriver {
                library_digest: Digest([n; 32]),
                library_origin: origin,
                ..driver()
            };
            c.submods.host.host.former_drivers = (100..100 + many).map(other).collect();
        })
    };
    former(LibraryOrigin::System, 1).expect("SEC-09", Outcome::Met, "each of 3 NVML libraries");
    let hidden = former(LibraryOrigin::Writable, 1).expect(
        "SEC-09",
        Outcome::NotMet,
        "where others than root may write",
    );
    assert!(hidden.sentence.contains(&Digest([100; 32]).to_string()));
    former(LibraryOrigin::System, 8).expect(
        "SEC-09",
        Outcome::CannotTell,
        "loaded more libraries than are kept",
    );
}

#[test]
fn sec_09_cannot_tell_where_no_driver_was_asked() {
    let mut scene = Scene::empty();
    for lab in &mut scene.labs {
        lab.run_with(12, &[], |c| c.submods.host.host.driver = None);
    }
    scene.expect(
        "SEC-09",
        Outcome::CannotTell,
        "no report of this site that counts names a library",
    );
}

#[test]
fn sec_06_says_how_much_time_no_report_speaks_of() {
    Scene::honest().expect(
        "SEC-06",
        Outcome::Met,
        "without a hole, a fork or a new beginning",
    );
    let mut scene = Scene::honest();
    scene.labs[0].sleep(600);
    scene.labs[0].run(1, &[gpu(1), gpu(2)]);
    scene.labs[1].sleep(120);
    scene.labs[1].run(1, &[gpu(3), gpu(4)]);
    scene.now = scene.labs[0].wall().plus(10);
    let finding = scene.expect(
        "SEC-06",
        Outcome::Met,
        "12 minutes lie between reports, and none speaks of it",
    );
    assert!(
        !finding.sentence.contains("without a hole"),
        "{}",
        finding.sentence
    );
    assert!(finding.coverage.unwrap().0 < 1_000_000);
}

#[test]
fn what_is_no_longer_kept_is_left_open_while_it_may_count() {
    let mut scene = Scene::honest();
    let lately = Some(scene.now);
    let facts = &mut scene.labs[0].record.facts;
    facts.libraries_unkept = lately;
    facts.clock.events.unkept = lately;
    facts.clock.overlaps.unkept = lately;
    facts.devices[0].presence_unkept = lately;
    scene.expect(
        "SEC-09",
        Outcome::CannotTell,
        "node n-1 loaded more libraries than are kept",
    );
    scene.expect("OPS-03", Outcome::CannotTell, "was odd more often than is kept");
    scene.expect(
        "SEC-06",
        Outcome::CannotTell,
        "let reports overlap more often than is kept",
    );
    scene.expect(
        "INV-03",
        Outcome::CannotTell,
        "came and went more often than is kept",
    );
    for lab in &mut scene.labs {
        lab.sleep(40 * 86_400);
    }
    scene.hour(&[gpu(1), gpu(2)], &[gpu(3), gpu(4)]);
    scene.now = scene.labs[0].wall().plus(10);
    for id in ["SEC-09", "OPS-03", "SEC-06", "INV-03"] {
        scene.expect(id, Outcome::Met, "");
    }
}
