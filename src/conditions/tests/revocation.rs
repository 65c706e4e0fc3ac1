//! A revocation says from when: what a key says after that speaks neither for a site nor against it.

use super::*;
use crate::appraisal::fixture::bus;
use crate::telemetry::DeviceState;
use crate::time::{DAY_SECONDS, SECOND};

/// An hour, then a day later another one, before which the first node's key was revoked.
fn revoked_between(first: &[AcceleratorClaims]) -> Scene {
    let mut scene = Scene::honest();
    for lab in &mut scene.labs {
        lab.sleep(2 * 86_400);
    }
    scene.statuses[0].revoked_from = Some(scene.labs[0].wall());
    scene.hour(first, &[gpu(3), gpu(4)]);
    scene.now = scene.labs[0].wall().plus(10);
    scene.statuses[0].revoked_at = Some(scene.now);
    scene
}

#[test]
fn sightings_and_time_under_a_revoked_key_do_not_count() {
    let scene = revoked_between(&[gpu(1), gpu(2)]);
    let says = "the others that did used a key that was revoked by then";
    scene.expect("OPS-01", Outcome::CannotTell, says);
    let mut later = revoked_between(&[gpu(1), gpu(2)]);
    for lab in &mut later.labs {
        lab.sleep(8 * 86_400);
    }
    later.labs[0].run(1, &[gpu(1), gpu(2)]);
    later.labs[1].run(1, &[gpu(3), gpu(4)]);
    later.now = later.labs[0].wall().plus(10);
    let finding = later.expect("INV-02", Outcome::CannotTell, "has not been seen for 10 days");
    assert_eq!(finding.subjects.len(), 2);
    // Two devices for two hours under a good key, two for one, of 49 hours less two reports.
    let share = scene.finding("OPS-02").measured.unwrap().lower.unwrap();
    let mut good = revoked_between(&[gpu(1), gpu(2)]);
    good.statuses[0].revoked_from = None;
    let more = good.finding("OPS-02").measured.unwrap().lower.unwrap();
    assert!(share < more, "{share} {more}");
    let silent = |s: &Scene| {
        s.finding("TRN-04")
            .measured
            .unwrap()
            .upper
            .unwrap()
            .parse::<f64>()
            .unwrap()
    };
    assert!(silent(&scene) > silent(&good), "such time counts at peak");
}

#[test]
fn what_only_a_revoked_key_says_does_not_convict() {
    let scene = revoked_between(&[gpu(1), gpu(2), gpu(9)]);
    let finding = scene.expect(
        "INV-01",
        Outcome::CannotTell,
        "only a key that was revoked by then speaks of 1 device off the manifest",
    );
    assert_eq!(finding.subjects, [gpu(9).identity.uuid.nvml()]);
    for id in ["CAP-01", "CAP-02", "TRN-01"] {
        scene.expect(id, Outcome::CannotTell, "of which only a revoked key speaks");
    }
    let mut before = revoked_between(&[gpu(1), gpu(2), gpu(9)]);
    before.statuses[0].revoked_from = Some(before.now.plus(-600));
    before.expect("INV-01", Outcome::NotMet, "(serial S9");
}

#[test]
fn what_only_a_revoked_key_shows_breaks_no_chain_and_condemns_no_library() {
    let scene = |revoked: i64| {
        let mut scene = Scene::honest();
        let lab = &mut scene.labs[0];
        drop(lab.make(&[gpu(1), gpu(2)], |_| {}));
        lab.run_with(1, &[gpu(1), gpu(2)], |c| {
            c.report.time.start.0 -= 600 * SECOND;
            c.submods.host.host.driver.as_mut().unwrap().library_changed = true;
        });
        lab.chain.0[0] ^= 1;
        (lab.sequence, lab.previous) = (0, None);
        lab.run(1, &[gpu(1), gpu(2)]);
        scene.labs[1].run(3, &[gpu(3), gpu(4)]);
        scene.now = scene.labs[0].wall().plus(10);
        scene.statuses[0].revoked_from = Some(start().plus(revoked));
        scene.statuses[0].revoked_at = Some(scene.now);
        scene
    };
    let before = scene(3_606);
    for says in [
        "1 report of node n-1 is missing",
        "does not say what came before",
        "the same 300 s",
    ] {
        let finding = before.expect("SEC-06", Outcome::CannotTell, says);
        assert!(finding.sentence.contains("under a key that was revoked by then"));
    }
    assert_eq!(before.finding("SEC-06").measured.unwrap().lower.unwrap(), "0");
    before.expect(
        "SEC-09",
        Outcome::CannotTell,
        "as only a key says that was revoked by then",
    );
    let after = scene(4_506);
    after.expect("SEC-06", Outcome::NotMet, "1 report of node n-1 is missing");
    after.expect("SEC-09", Outcome::NotMet, "was replaced or altered on disk");
}

#[test]
fn what_a_revoked_key_backdates_does_not_convict() {
    // It stood there long before the window; a report that came after the revocation puts it into the window.
    let mut scene = Scene::empty();
    scene.hour(&[gpu(1), gpu(2), gpu(9)], &[gpu(3), gpu(4)]);
    for lab in &mut scene.labs {
        lab.sleep(40 * 86_400);
    }
    scene.hour(&[gpu(1), gpu(2)], &[gpu(3), gpu(4)]);
    scene.statuses[0].revoked_from = Some(scene.labs[0].wall().plus(60));
    scene.labs[0].run_with(1, &[gpu(9)], |c| {
        c.report.time.wall_end = c.report.time.wall_end.plus(-DAY_SECONDS);
        c.issued_at = c.issued_at.plus(-DAY_SECONDS);
    });
    scene.now = scene.labs[0].wall().plus(10);
    scene.expect("INV-01", Outcome::CannotTell, "1 device off the manifest");
}

#[test]
fn what_a_revoked_key_says_hides_nothing_that_another_key_says() {
    // An honest node shows a device off the manifest, and later a revoked key claims it for another node.
    let mut scene = Scene::empty();
    scene.labs[1].run(12, &[gpu(3), gpu(4), gpu(9)]);
    scene.labs[0].sleep(3_600);
    scene.labs[0].run(1, &[gpu(1), gpu(2), gpu(9)]);
    scene.statuses[0].revoked_from = Some(start().plus(60));
    scene.now = scene.labs[0].wall().plus(10);
    let finding = scene.expect("INV-01", Outcome::NotMet, "at n-2 stands nowhere on the manifest");
    assert_eq!(finding.subjects, [gpu(9).identity.uuid.nvml()]);
}

#[test]
fn a_revoked_key_changes_no_device() {
    let mut other = gpu(2);
    other.identity.serial = Some("S77".to_owned());
    let mut scene = revoked_between(&[gpu(1), other]);
    scene.expect("INV-01", Outcome::CannotTell, "but not in its serial number");
    let says = "serial number under one UUID";
    let finding = scene.expect("INV-06", Outcome::CannotTell, says);
    assert!(
        finding
            .sentence
            .contains("only a key that was revoked by then says so")
    );
    scene.statuses[0].revoked_from = None;
    scene.expect("INV-06", Outcome::NotMet, says);
    scene.expect("INV-01", Outcome::NotMet, "but not in its serial number");
}

#[test]
fn a_revoked_key_puts_nothing_on_a_bus() {
    let mut scene = Scene::honest();
    for lab in &mut scene.labs {
        lab.sleep(2 * 86_400);
    }
    scene.statuses[0].revoked_from = Some(scene.labs[0].wall());
    scene.labs[1].run(12, &[gpu(3), gpu(4)]);
    scene.labs[0].run_with(12, &[gpu(1), gpu(2)], |c| {
        let mut ascend = bus(0xd802, 1, 0, DeviceState::Unmanaged);
        ascend.id.vendor = 0x19e5;
        let guest = bus(0x2330, 1, 0, DeviceState::PassedThrough);
        c.submods.host.host.bus.extend([ascend, guest]);
    });
    scene.now = scene.labs[0].wall().plus(10);
    for (ids, says) in [
        (
            ["INV-10", "INV-11"].as_slice(),
            "only a key that was revoked by then says so",
        ),
        (
            &["CAP-01", "CAP-02", "TRN-01"],
            "of which only a revoked key speaks",
        ),
    ] {
        for id in ids {
            scene.expect(id, Outcome::CannotTell, says);
        }
    }
    scene.statuses[0].revoked_from = None;
    for id in ["INV-10", "INV-11", "CAP-01", "CAP-02"] {
        scene.expect(id, Outcome::NotMet, "");
    }
}

#[test]
fn sec_04_does_not_accuse_for_ever() {
    let mut scene = revoked_between(&[gpu(1), gpu(2)]);
    scene.expect(
        "SEC-04",
        Outcome::CannotTell,
        "who signed since then cannot be told",
    );
    scene.labs[1].sleep(40 * 86_400);
    scene.labs[1].run(1, &[gpu(3), gpu(4)]);
    scene.now = scene.labs[1].wall().plus(10);
    scene.expect("SEC-04", Outcome::Met, "the reports of 1 node are signed");
    let mut pending = Scene::honest();
    pending.statuses[0].approved = None;
    pending.labs[1].sleep(40 * 86_400);
    pending.labs[1].run(1, &[gpu(3), gpu(4)]);
    pending.now = pending.labs[1].wall().plus(10);
    pending.expect("SEC-04", Outcome::Met, "");
    let mut stopped = Scene::honest();
    stopped.statuses[0].revoked_from = Some(stopped.now);
    stopped.expect("SEC-04", Outcome::Met, "1 node");
    stopped.statuses[1].revoked_from = Some(stopped.now);
    stopped.expect("SEC-04", Outcome::CannotTell, "no key is in use");
}

#[test]
fn ops_05_counts_what_was_refused_while_the_node_was_approved() {
    let refused_at = |at: i64, approved: Option<i64>, revoked: Option<i64>| {
        let mut scene = Scene::honest();
        scene.statuses[0].approved = approved.map(|t| start().plus(t));
        scene.statuses[0].revoked_from = revoked.map(|t| start().plus(t));
        scene.labs[0].record.facts.refuse("E-FIELD", start().plus(at));
        scene
    };
    refused_at(60, Some(0), None).expect("OPS-05", Outcome::NotMet, "1 report of node n-1");
    refused_at(60, None, None).expect("OPS-05", Outcome::Met, "");
    refused_at(60, Some(120), None).expect("OPS-05", Outcome::Met, "");
    refused_at(60, Some(0), Some(30)).expect("OPS-05", Outcome::CannotTell, "after its key was revoked");
    refused_at(60, Some(0), Some(DAY_SECONDS)).expect("OPS-05", Outcome::NotMet, "");
}
