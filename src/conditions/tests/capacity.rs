use super::*;
use crate::appraisal::fixture::bus;
use crate::id::PciId;
use crate::telemetry::{DeviceState, MigInstance};
use crate::unit::Grouped;

#[test]
fn cap_01_adds_up_what_was_seen_managed_or_not() {
    let honest = Scene::honest();
    let finding = honest.expect(
        "CAP-01",
        Outcome::Met,
        "add up to 63,328 TPP by the catalogue; the licence allows 63,328",
    );
    assert_eq!(finding.measured.unwrap().upper.unwrap(), "63328");
    honest
        .with("licensed_tpp = 63_328", "licensed_tpp = 63_327")
        .expect("CAP-01", Outcome::NotMet, "63,328 TPP");
    let mut hidden = Scene::empty();
    hidden.labs[1].run(12, &[gpu(3), gpu(4)]);
    hidden.labs[0].run_with(12, &[gpu(1), gpu(2)], |c| {
        c.submods
            .host
            .host
            .bus
            .push(bus(0x2330, 1, 0, DeviceState::PassedThrough));
    });
    hidden.expect("CAP-01", Outcome::NotMet, "79,160 TPP");
    // Beside a second licence it may be one of that licence's devices, which reports from nowhere.
    let row = hidden.licence.find("[[device]]").unwrap();
    let (terms, _) = hidden.licence.split_at(row);
    let other = terms.replace("L-1", "L-2") + &device(5, "H100 SXM5 80GB");
    hidden.beside = vec![other];
    hidden.expect("CAP-01", Outcome::CannotTell, "which may be those of licence L-2");
    hidden.expect("CAP-02", Outcome::CannotTell, "which may be those of licence L-2");
}

/// The licence counts four, and the first node has no more than two places.
#[test]
fn a_board_that_was_replaced_does_not_count_twice() {
    let mut scene = Scene::empty();
    scene.licence.push_str(&device(5, "H100 SXM5 80GB"));
    scene.labs[0].run(6, &[gpu(1), gpu(2)]);
    scene.labs[0].run(6, &[gpu(1), gpu(5)]);
    scene.labs[1].run(12, &[gpu(3), gpu(4)]);
    scene.expect("INV-01", Outcome::Met, "each of 5 devices");
    scene.expect("CAP-01", Outcome::Met, "add up to 63,328 TPP");
    scene.expect(
        "CAP-02",
        Outcome::Met,
        "4 of H100 SXM5 80GB were seen at one time",
    );
    // Nor where the other one stands on another node.
    let mut moved = Scene::empty();
    moved.licence.push_str(&device(5, "H100 SXM5 80GB"));
    moved.labs[0].run(6, &[gpu(1), gpu(2)]);
    moved.labs[0].run(6, &[gpu(1)]);
    moved.labs[1].run(6, &[gpu(3), gpu(4)]);
    moved.labs[1].run(6, &[gpu(3), gpu(4), gpu(5)]);
    moved.expect("CAP-02", Outcome::Met, "4 of");
    // All five in one report are five.
    let mut five = Scene::empty();
    five.licence.push_str(&device(5, "H100 SXM5 80GB"));
    five.labs[0].run(11, &[gpu(1), gpu(2)]);
    five.labs[0].run(1, &[gpu(1), gpu(2), gpu(5)]);
    five.labs[1].run(12, &[gpu(3), gpu(4)]);
    five.expect("CAP-01", Outcome::NotMet, "79,160 TPP");
    five.expect(
        "CAP-02",
        Outcome::NotMet,
        "5 of H100 SXM5 80GB, of which 4 are licensed",
    );
}

#[test]
fn a_slow_clock_does_not_put_two_boards_into_one_place() {
    let slow = |slot: i64| {
        let mut scene = Scene::empty();
        scene.licence.push_str(&device(5, "H100 SXM5 80GB"));
        scene.labs[0].run(6, &[gpu(1), gpu(2)]);
        scene.labs[0].run(6, &[gpu(1)]);
        scene.labs[1].sleep(1_800);
        scene.labs[1].run_with(6, &[gpu(3), gpu(4), gpu(5)], |c| {
            c.report.time.wall_end = c.report.time.wall_end.plus(-slot);
            c.issued_at = c.issued_at.plus(-slot);
        });
        scene
    };
    slow(0).expect("CAP-02", Outcome::Met, "4 of");
    for id in ["CAP-01", "CAP-02"] {
        slow(900).expect(id, Outcome::CannotTell, "clocks that are off");
    }
}

#[test]
fn a_device_that_was_handed_to_a_guest_and_back_does_not_count_twice() {
    let guest = |scene: &mut Scene, devices: &[AcceleratorClaims], strangers: u16| {
        let count = u16::try_from(devices.len()).unwrap();
        scene.labs[0].run_with(4, devices, |c| {
            let row = bus(0x2330, strangers, 0, DeviceState::PassedThrough);
            c.submods.host.host.bus = vec![bus(0x2330, count, count, DeviceState::Present), row];
        });
    };
    let mut scene = Scene::empty();
    scene.labs[1].run(12, &[gpu(3), gpu(4)]);
    // The agent came up without the driver, then one device went to a guest and came back.
    guest(&mut scene, &[], 2);
    scene.labs[0].run(1, &[gpu(1), gpu(2)]);
    guest(&mut scene, &[gpu(1)], 1);
    scene.labs[0].run(3, &[gpu(1), gpu(2)]);
    scene.now = scene.labs[0].wall().plus(10);
    scene.expect("CAP-01", Outcome::Met, "add up to 63,328 TPP");
    scene.expect("CAP-02", Outcome::Met, "4 of");
    scene.expect("INV-11", Outcome::NotMet, "passed through");
    // One that stands beside both is one more.
    guest(&mut scene, &[gpu(1), gpu(2)], 1);
    scene.now = scene.labs[0].wall().plus(10);
    scene.expect(
        "CAP-02",
        Outcome::NotMet,
        "5 of H100 SXM5 80GB, of which 4 are licensed",
    );
}

#[test]
fn cap_01_leaves_an_unknown_device_open_and_cap_02_fails_it() {
    let mut unknown = gpu(2);
    unknown.identity.pci.device = 0xfff0;
    unknown.identity.name = "NVIDIA X1".to_owned();
    let mut scene = Scene::empty();
    scene.hour(&[gpu(1), unknown], &[gpu(3), gpu(4)]);
    scene.expect("CAP-01", Outcome::CannotTell, "not counted: GPU-02020202");
    scene.expect("CAP-02", Outcome::NotMet, "is not in the catalogue");
    scene.expect("TRN-01", Outcome::CannotTell, "not counted");
}

#[test]
fn cap_02_counts_models() {
    Scene::honest().expect(
        "CAP-02",
        Outcome::Met,
        "4 of H100 SXM5 80GB were seen at one time, as licensed",
    );
    Scene::honest().with("count = 4", "count = 3").expect(
        "CAP-02",
        Outcome::NotMet,
        "4 of H100 SXM5 80GB, of which 3 are licensed",
    );
    Scene::honest()
        .with(
            "catalogue_id = \"H100 SXM5 80GB\"",
            "catalogue_id = \"NVIDIA H200 SXM\"",
        )
        .expect("CAP-02", Outcome::NotMet, "which is not a licensed model");
    Scene::honest()
        .with(
            "catalogue_id = \"H100 SXM5 80GB\"",
            "catalogue_id = \"NVIDIA H100 SXM5 80GB\"",
        )
        .expect("CAP-02", Outcome::Met, "");
}

#[test]
fn loc_01_asks_whether_the_declared_country_is_licensed_and_not_barred() {
    let at = |country: &str| Scene::honest().with("country = \"SG\"", &format!("country = \"{country}\""));
    at("NL").expect("LOC-01", Outcome::NotMet, "the licence allows SG");
    let barred = at("HK").with("[\"SG\"]", "[\"SG\", \"HK\"]");
    barred.expect(
        "LOC-01",
        Outcome::NotMet,
        "which is in country group D:5 and Macau",
    );
    let mut listed = at("SA").with("[\"SG\"]", "[\"SG\", \"SA\"]");
    let operator = listed.hear(crate::statement::Role::Operator, "");
    let there = [("country = \"SG\"", "country = \"SA\""), ("# deed", "deed")];
    listed.file("site-declaration", operator, &there);
    listed.expect("LOC-01", Outcome::Met, "need an export licence");
    let unnamed = Scene::honest()
        .with("[[site]]\nid = \"harbour-1\"\ncountry = \"SG\"\n", "")
        .with("serial = 1\n", "serial = 1\nsite_ids = [\"harbour-1\"]\n");
    unnamed.expect("LOC-01", Outcome::CannotTell, "no country is declared");
}

/// The identity of a device as a driver lists it, in place of that of [`gpu`].
fn as_model(n: u8, pci: (u16, u16), name: &str) -> AcceleratorClaims {
    let mut claims = gpu(n);
    claims.identity.pci = PciId {
        vendor: pci.0,
        device: pci.1,
        ..PciId::default()
    };
    claims.identity.name = name.to_owned();
    claims
}

fn licensed(model: &str, cards: u64, tpp: u64) -> Scene {
    Scene::empty()
        .with("count = 4", &format!("count = {cards}"))
        .with(
            "catalogue_id = \"H100 SXM5 80GB\"",
            &format!("catalogue_id = \"{model}\""),
        )
        .with("licensed_tpp = 63_328", &format!("licensed_tpp = {tpp}"))
}

#[test]
fn a_card_that_its_driver_lists_as_two_devices_counts_once() {
    let dies = |n: u8| as_model(n, (0x1002, 0x7408), "AMD Instinct MI250X");
    let scene = |cards, tpp| {
        let mut scene = licensed("Instinct MI250X", cards, tpp);
        // Two cards on one node, and one card that two guests share, one die each.
        scene.hour(&[dies(1), dies(2), dies(3), dies(4), dies(5)], &[dies(6)]);
        scene
    };
    scene(3, 3 * 6_128).expect("CAP-01", Outcome::Met, "add up to 18,384 TPP");
    scene(3, 3 * 6_128).expect(
        "CAP-02",
        Outcome::Met,
        "3 of Instinct MI250X were seen at one time",
    );
    scene(2, 3 * 6_128 - 1).expect("CAP-01", Outcome::NotMet, "18,384 TPP");
    scene(2, 3 * 6_128).expect(
        "CAP-02",
        Outcome::NotMet,
        "3 of Instinct MI250X, of which 2 are licensed",
    );
    // Half a card is a card.
    let mut odd = licensed("Instinct MI250X", 2, 4 * 3_064);
    odd.hour(&[dies(1), dies(2)], &[dies(3)]);
    odd.expect("CAP-02", Outcome::Met, "2 of Instinct MI250X");
    odd.expect("CAP-01", Outcome::Met, "add up to 9,192 TPP");
}

#[test]
fn a_card_that_only_the_bus_shows_counts_once_however_many_functions_it_has() {
    let on_the_bus = |vendor: u16, device: u16, functions: u16, model: &str, cards: u64, tpp: u64| {
        let mut scene = licensed(model, cards, tpp);
        let mut row = bus(device, functions, 0, DeviceState::Unmanaged);
        row.id = PciId {
            vendor,
            device,
            ..PciId::default()
        };
        scene.labs[0].run_with(12, &[], |c| c.submods.host.host.bus = vec![row.clone()]);
        scene.labs[1].run(12, &[]);
        scene
    };
    for (vendor, device, functions, model, cards, tpp) in [
        // A function for each die.
        (0x1002, 0x7408, 8, "Instinct MI250X", 4, 4 * 6_128),
        // Two models share the number, and no name tells them apart: the larger counts.
        (0x1002, 0x740c, 8, "Instinct MI250X", 4, 4 * 6_128),
        // Two dies behind one function.
        (0x10de, 0x2901, 8, "B200 SXM (HGX)", 8, 8 * 36_000),
        (0x1da3, 0x1060, 8, "Gaudi 3", 8, 8 * 29_360),
    ] {
        let scene = |cards, tpp| on_the_bus(vendor, device, functions, model, cards, tpp);
        scene(cards, tpp).expect("CAP-02", Outcome::Met, &format!("{cards} of {model}"));
        scene(cards, tpp).expect(
            "CAP-01",
            Outcome::Met,
            &format!("add up to {} TPP", Grouped(tpp.into())),
        );
        scene(cards - 1, tpp).expect(
            "CAP-02",
            Outcome::NotMet,
            &format!("{cards} of {model}, of which"),
        );
        scene(cards, tpp - 1).expect("CAP-01", Outcome::NotMet, "TPP by the catalogue");
    }
}

#[test]
fn a_sliced_card_is_one_card_whatever_instances_it_lists() {
    let sliced = |n: u8, instances: u8| {
        let mut claims = gpu(n);
        claims.identity.mig = Some(vec![MigInstance {
            slices: 1,
            count: instances,
        }]);
        claims
    };
    let mut scene = Scene::empty();
    scene.hour(&[sliced(1, 7), sliced(2, 0)], &[gpu(3), sliced(4, 3)]);
    scene.expect("CAP-01", Outcome::Met, "add up to 63,328 TPP");
    scene.expect("CAP-02", Outcome::Met, "4 of H100 SXM5 80GB");
    let whole = Scene::honest().finding("TRN-01");
    assert_eq!(
        scene.finding("TRN-01").measured,
        whole.measured,
        "a slice adds no capacity"
    );
}
