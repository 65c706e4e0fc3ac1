use super::*;
use crate::appraisal::fixture::bus;
use crate::id::DeviceUuid;
use crate::telemetry::{DeviceState, Reading};
use crate::time::DAY_SECONDS;

#[test]
fn inv_01_names_the_device_that_is_not_on_the_manifest() {
    let mut scene = Scene::empty();
    scene.hour(&[gpu(1), gpu(2), gpu(9)], &[gpu(3), gpu(4)]);
    let finding = scene.expect(
        "INV-01",
        Outcome::NotMet,
        "1 device reported that is not on the manifest of this site",
    );
    assert!(
        finding
            .sentence
            .contains("(serial S9, NVIDIA H100 80GB HBM3) at n-1 stands nowhere on the manifest")
    );
    assert_eq!(finding.subjects, [gpu(9).identity.uuid.nvml()]);
    assert_eq!(finding.evidence.len(), 1);
}

#[test]
fn inv_01_tells_a_swapped_serial_and_another_site_apart() {
    let mut swapped = gpu(2);
    swapped.identity.serial = Some("S77".to_owned());
    let mut scene = Scene::empty();
    scene.hour(&[gpu(1), swapped], &[gpu(3), gpu(4)]);
    scene.expect("INV-01", Outcome::NotMet, "but not in its serial number");
    let mut moved = Scene::honest().with("serial = \"S4\"", "serial = \"S4\"\nsite = \"harbour-2\"");
    for n in 1..=3 {
        let serial = format!("serial = \"S{n}\"");
        moved = moved.with(&serial, &format!("{serial}\nsite = \"harbour-1\""));
    }
    moved
        .licence
        .push_str("[[site]]\nid = \"harbour-2\"\ncountry = \"SG\"\n");
    moved.expect("INV-01", Outcome::NotMet, "is licensed for site harbour-2");
}

#[test]
fn inv_01_cannot_be_told_without_a_manifest() {
    let mut scene = Scene::honest();
    scene.licence.truncate(scene.licence.find("[[device]]").unwrap());
    scene.expect("INV-01", Outcome::CannotTell, "the licence lists no device");
}

#[test]
fn a_newer_serial_does_not_accuse_of_what_the_older_one_allowed() {
    let mut scene = Scene::empty().with(&device(4, "H100 SXM5 80GB"), "");
    scene.licence = scene
        .licence
        .replace("count = 4", "count = 3")
        .replace("63_328", "47_496");
    scene.labs[0].run(12, &[gpu(1), gpu(2)]);
    scene.labs[1].run(6, &[gpu(3), gpu(4)]);
    scene.labs[1].run(6, &[gpu(3)]);
    let of_the_manifest = ["INV-01", "CAP-01", "CAP-02"];
    for id in of_the_manifest {
        scene.expect(id, Outcome::NotMet, "");
    }
    let at = |time: &str| format!("manifest_from = 2026-11-20T{time}Z\nlicensed_tpp");
    let mut newer = scene.with("licensed_tpp", &at("00:31:00"));
    for id in of_the_manifest {
        let finding = newer.expect(id, Outcome::Met, "");
        assert_eq!(finding.window.unwrap().from, start().plus(31 * 60));
    }
    newer = newer.with(&at("00:31:00"), &at("00:29:00"));
    newer.expect("INV-01", Outcome::NotMet, "(serial S4");
    newer = newer.with(&at("00:29:00"), &at("09:00:00"));
    newer.expect(
        "INV-01",
        Outcome::CannotTell,
        "the manifest holds only from 2026-11-20T09:00:00Z",
    );
}

#[test]
fn inv_01_forgets_what_was_seen_before_the_window() {
    let mut scene = Scene::empty();
    scene.labs[0].run(12, &[gpu(1), gpu(2), gpu(9)]);
    scene.labs[1].run(12, &[gpu(3), gpu(4)]);
    for lab in &mut scene.labs {
        lab.sleep(40 * 86_400);
    }
    scene.labs[0].run(1, &[gpu(1), gpu(2)]);
    scene.labs[1].run(1, &[gpu(3), gpu(4)]);
    scene.now = scene.labs[0].wall().plus(10);
    scene.expect("INV-01", Outcome::Met, "each of 4 devices");
}

#[test]
fn inv_02_grows_from_open_to_failed_as_a_device_stays_unseen() {
    let mut scene = Scene::honest();
    let after = |scene: &mut Scene, days: i64| {
        let sleep = start().plus(days * DAY_SECONDS).since(scene.labs[0].wall());
        for lab in &mut scene.labs {
            lab.sleep(u64::try_from(sleep).unwrap());
        }
        scene.labs[0].run(1, &[gpu(1), gpu(2)]);
        scene.labs[1].run(1, &[gpu(3)]);
        scene.now = scene.labs[0].wall().plus(10);
    };
    after(&mut scene, 6);
    scene.expect("INV-02", Outcome::Met, "within 7 days, which the rule set allows");
    after(&mut scene, 9);
    let finding = scene.expect(
        "INV-02",
        Outcome::CannotTell,
        "has not been seen for 8 days; the rule set allows 7 days; no report tells whether",
    );
    assert_eq!(finding.subjects, [gpu(4).identity.uuid.nvml()]);
    after(&mut scene, 32);
    scene.expect("INV-02", Outcome::NotMet, "has not been seen for 31 days");
}

#[test]
fn inv_02_waits_for_a_device_until_it_is_due() {
    let mut scene = Scene::empty().with("serial = \"S4\"", "serial = \"S4\"\nin_service = 2026-12-24");
    scene.hour(&[gpu(1), gpu(2)], &[gpu(3)]);
    scene.expect("INV-02", Outcome::Met, "each of 3 devices");
    let mut never = Scene::empty();
    never.hour(&[gpu(1), gpu(2)], &[gpu(3)]);
    never.expect("INV-02", Outcome::CannotTell, "has never been seen");
}

#[test]
fn inv_06_compares_name_pci_id_memory_cores_and_manifest() {
    let with = |edit: fn(&mut AcceleratorClaims)| {
        let mut odd = gpu(2);
        edit(&mut odd);
        let mut scene = Scene::empty();
        scene.hour(&[gpu(1), odd], &[gpu(3), gpu(4)]);
        scene
    };
    with(|d| d.identity.name = "NVIDIA H200".to_owned()).expect(
        "INV-06",
        Outcome::NotMet,
        "is a H100 SXM5 80GB by its PCI id and a H200 SXM by its name",
    );
    with(|d| d.identity.memory_mib = Reading::Value(24_576)).expect("INV-06", Outcome::NotMet, "24576 MiB");
    with(|d| d.identity.cores = Reading::Value(10_000)).expect("INV-06", Outcome::NotMet, "10000 cores");
    with(|d| d.identity.pci.device = 0xfff0).expect(
        "INV-06",
        Outcome::CannotTell,
        "the catalogue does not know",
    );
    with(|d| d.identity.memory_mib = Reading::Unsupported).expect(
        "INV-06",
        Outcome::CannotTell,
        "does not tell its memory, which the catalogue has for a H100 SXM5 80GB",
    );
    with(|d| d.identity.cores = Reading::Unsupported).expect("INV-06", Outcome::CannotTell, "its cores");
    with(|d| d.identity.name = "Graphics Device".to_owned()).expect(
        "INV-06",
        Outcome::Met,
        "the names of 3, the memory of 4 and the cores of 4",
    );
    let relabelled = Scene::honest().with(&device(4, "H100 SXM5 80GB"), &device(4, "H200 SXM"));
    relabelled.expect("INV-06", Outcome::NotMet, "the manifest calls it H200 SXM");
    let mut scene = Scene::empty();
    scene.labs[0].run(6, &[gpu(1), gpu(2)]);
    let mut renamed = gpu(2);
    renamed.identity.serial = Some("S5".to_owned());
    scene.labs[0].run(6, &[gpu(1), renamed]);
    scene.labs[1].run(12, &[gpu(3), gpu(4)]);
    scene.expect(
        "INV-06",
        Outcome::NotMet,
        "changed its serial number under one UUID",
    );
}

#[test]
fn a_driver_may_call_a_model_by_another_name() {
    let renamed = |was: &str, is: &str| {
        let named = |name: &str| {
            let mut device = gpu(2);
            device.identity.name = name.to_owned();
            device
        };
        let mut scene = Scene::empty();
        scene.labs[0].run(6, &[gpu(1), named(was)]);
        scene.labs[0].run(6, &[gpu(1), named(is)]);
        scene.labs[1].run(12, &[gpu(3), gpu(4)]);
        scene
    };
    let name = "NVIDIA H100 80GB HBM3";
    renamed("Graphics Device", name).expect("INV-06", Outcome::Met, "");
    renamed(name, "NVIDIA H100 HBM3").expect("INV-06", Outcome::Met, "");
    for other in ["NVIDIA H200", "NVIDIA A100-SXM4-80GB"] {
        let says = format!("changed its name under one UUID on 2026-11-20T00:35:05Z; before, it was {other}");
        renamed(other, name).expect("INV-06", Outcome::NotMet, &says);
    }
}

#[test]
fn inv_10_finds_a_presumed_maker_on_the_bus() {
    let mut scene = Scene::empty();
    scene.labs[1].run(12, &[gpu(3), gpu(4)]);
    scene.labs[0].run_with(12, &[gpu(1), gpu(2)], |c| {
        let mut ascend = bus(0xd802, 1, 0, DeviceState::Unmanaged);
        ascend.id.vendor = 0x19e5;
        c.submods.host.host.bus.push(ascend);
    });
    let finding = scene.expect(
        "INV-10",
        Outcome::NotMet,
        "1 of Huawei Ascend (PCI 19e5:d802) on the bus of node n-1",
    );
    assert_eq!(finding.grade.text(), "host-observed");
    scene.expect(
        "INV-11",
        Outcome::NotMet,
        "1 accelerator (PCI 19e5:d802) on node n-1, unmanaged",
    );
}

#[test]
fn inv_11_tells_unmanaged_from_not_answering() {
    let with = |state: DeviceState| {
        let mut scene = Scene::empty();
        scene.labs[1].run(12, &[gpu(3), gpu(4)]);
        scene.labs[0].run_with(12, &[gpu(1), gpu(2)], |c| {
            c.submods.host.host.bus.push(bus(0x2330, 1, 0, state));
        });
        scene
    };
    with(DeviceState::PassedThrough).expect("INV-11", Outcome::NotMet, "passed through");
    with(DeviceState::Lost).expect("INV-11", Outcome::CannotTell, "lost");
    // One that stood there for one report only is still a finding.
    let mut scene = Scene::empty();
    scene.labs[1].run(12, &[gpu(3), gpu(4)]);
    scene.labs[0].run_with(1, &[gpu(1), gpu(2)], |c| {
        c.submods
            .host
            .host
            .bus
            .push(bus(0x2330, 1, 0, DeviceState::Unmanaged));
    });
    scene.labs[0].run(11, &[gpu(1), gpu(2)]);
    scene.expect("INV-11", Outcome::NotMet, "last seen 2026-11-20T00:05:00Z");
}

#[test]
fn a_device_without_a_uuid_on_the_manifest_is_known_by_its_serial() {
    let bare = DeviceUuid([4; 16]).nvml();
    let scene = Scene::honest().with(&format!("uuid = \"{bare}\"\n"), "");
    scene.expect("INV-01", Outcome::Met, "");
    scene.expect("OPS-01", Outcome::Met, "4 of 4 devices");
}

#[test]
fn each_of_two_licences_answers_for_its_own_devices() {
    let mut scene = Scene::honest();
    let (terms, _) = scene.licence.split_once("[[device]]").unwrap();
    let terms = terms
        .replace("count = 4", "count = 2")
        .replace("63_328", "31_664");
    let of = |id: &str, devices: [u8; 2]| {
        let rows: String = devices.map(|n| device(n, "H100 SXM5 80GB")).concat();
        format!("{}{rows}", terms.replace("L-1", id))
    };
    scene.licence = of("L-1", [1, 2]);
    for condition in ["INV-01", "CAP-01", "CAP-02"] {
        scene.expect(condition, Outcome::NotMet, "");
    }
    scene.beside = vec![of("L-2", [3, 4])];
    let says =
        "each of 2 devices that reported is on the manifest; another licence answers for 2 devices more";
    scene.expect("INV-01", Outcome::Met, says);
    scene.expect("CAP-01", Outcome::Met, "add up to 31,664 TPP");
    scene.expect("CAP-02", Outcome::Met, "2 of H100 SXM5 80GB");
    scene.expect("TRN-01", Outcome::Met, "4 devices at the peak");
    scene.beside = vec![
        of("L-2", [3, 4])
            .replace("2027-11-19", "2026-11-19")
            .replace("2026-11-20", "2025-11-20"),
    ];
    scene.expect(
        "INV-01",
        Outcome::NotMet,
        "2 devices reported that are not on the manifest",
    );
}
