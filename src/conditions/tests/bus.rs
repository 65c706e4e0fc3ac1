//! What a bus shows and its devices do not, and the other way round.

use super::*;
use crate::appraisal::fixture::bus;
use crate::telemetry::{BusSource, DeviceState};
use crate::time::DAY_SECONDS;

/// An hour in which the first node has this on its bus beside its devices.
fn beside(count: u16, state: DeviceState) -> Scene {
    let mut scene = Scene::empty();
    scene.labs[1].run(12, &[gpu(3), gpu(4)]);
    scene.labs[0].run_with(12, &[gpu(1), gpu(2)], |c| {
        c.submods.host.host.bus.push(bus(0x2330, count, 0, state));
    });
    scene
}

/// Conditions that rest on which devices there are.
const OF_DEVICES: [&str; 7] = [
    "INV-01", "INV-03", "INV-06", "CAP-01", "CAP-02", "TRN-01", "TRN-04",
];

#[test]
fn accelerators_that_do_not_answer_leave_open_what_devices_there_are() {
    for (count, state, says) in [
        (
            1,
            DeviceState::DriverUnavailable,
            "has 1 accelerator on its bus that does not answer",
        ),
        (
            3,
            DeviceState::Lost,
            "has 3 accelerators on its bus that do not answer",
        ),
        (
            2,
            DeviceState::Hung,
            "has 2 accelerators on its bus that do not answer",
        ),
        (
            2,
            DeviceState::Released,
            "has 2 accelerators on its bus that do not answer",
        ),
    ] {
        let scene = beside(count, state).with("50_000", "64_000");
        for id in OF_DEVICES {
            scene.expect(id, Outcome::CannotTell, says);
        }
        // The chain of reports does not depend on the driver.
        scene.expect("SEC-06", Outcome::Met, "");
    }
}

#[test]
fn a_lost_device_that_is_known_explains_one_of_its_kind_and_no_more() {
    let lost_beside = |count: u16| {
        let mut scene = Scene::honest();
        let mut lost = gpu(2);
        lost.state = DeviceState::Lost;
        lost.delivered.covered_ms = 0;
        scene.labs[0].run_with(1, &[gpu(1), lost], |c| {
            c.submods.host.host.bus = vec![bus(0x2330, 1 + count, 1, DeviceState::Lost)];
        });
        scene.labs[1].run(1, &[gpu(3), gpu(4)]);
        scene.now = scene.labs[0].wall().plus(10);
        scene
    };
    for id in OF_DEVICES {
        lost_beside(1).expect(id, Outcome::Met, "");
        lost_beside(2).expect(id, Outcome::CannotTell, "has 1 accelerator on its bus");
    }
}

#[test]
fn a_bus_that_does_not_show_the_devices_that_answer_is_not_the_host_s() {
    for listed in [0u16, 1] {
        let mut scene = Scene::empty();
        scene.labs[1].run(12, &[gpu(3), gpu(4)]);
        scene.labs[0].run_with(12, &[gpu(1), gpu(2)], |c| {
            c.submods.host.host.bus = vec![bus(0x2330, listed, listed, DeviceState::Present)];
        });
        for id in ["INV-10", "INV-11"] {
            let says = format!(
                "the bus listing of node n-1 does not show {} of the devices",
                2 - listed
            );
            scene.expect(id, Outcome::CannotTell, &says);
        }
    }
}

#[test]
fn a_node_with_devices_and_no_library_leaves_sec_09_open() {
    let mut scene = Scene::empty();
    scene.labs[1].run(12, &[gpu(3), gpu(4)]);
    scene.labs[0].run_with(12, &[], |c| {
        c.submods.host.host.driver = None;
        c.submods.host.host.bus = vec![bus(0x2330, 2, 0, DeviceState::DriverUnavailable)];
    });
    scene.expect(
        "SEC-09",
        Outcome::CannotTell,
        "node n-1 has NVIDIA devices on its bus and names no library",
    );
}

#[test]
fn a_clock_turned_back_hides_neither_a_device_nor_what_stands_on_the_bus() {
    let mut scene = Scene::honest();
    let back = -60 * DAY_SECONDS;
    for lab in &mut scene.labs {
        lab.sleep(40 * 86_400);
    }
    scene.labs[1].run(1, &[gpu(3), gpu(4)]);
    scene.labs[0].run_with(1, &[gpu(1), gpu(2), gpu(9)], |c| {
        c.report.time.wall_end = c.report.time.wall_end.plus(back);
        c.issued_at = c.issued_at.plus(back);
        let guest = bus(0x2331, 1, 0, DeviceState::PassedThrough);
        c.submods.host.host.bus.push(guest);
    });
    scene.labs[0].run(1, &[gpu(1), gpu(2)]);
    scene.now = scene.labs[0].wall().plus(10);
    scene.expect("INV-01", Outcome::NotMet, "(serial S9");
    scene.expect("INV-11", Outcome::NotMet, "passed through");
    // For the site, the earlier of the two clocks counts.
    let mut unseen = Scene::honest();
    unseen.now = start().plus(2 * DAY_SECONDS);
    unseen.expect("OPS-01", Outcome::NotMet, "0 of 4 devices");
}

#[test]
fn a_bus_that_is_not_the_kernels_own_shows_that_nothing_is_missing_to_nobody() {
    for (source, says) in [
        (
            BusSource::Configured,
            "listed from a tree that its operator configured",
        ),
        (BusSource::Unreadable, "could not be listed"),
    ] {
        let mut scene = Scene::empty();
        scene.labs[1].run(12, &[gpu(3), gpu(4)]);
        scene.labs[0].run_with(12, &[gpu(1), gpu(2)], |c| c.submods.host.host.bus_source = source);
        for id in ["INV-10", "INV-11"] {
            scene.expect(id, Outcome::CannotTell, says);
        }
        scene.expect("INV-01", Outcome::Met, "");
    }
}
