use super::*;
use crate::id::TenantPseudonym;
use crate::report::{TenantList, TenantShare, TenantShares};
use crate::statement::Role;
use crate::time::DAY_SECONDS;

/// A template's device, and the first one of the scene.
fn device_of(n: u8) -> (&'static str, String) {
    (
        "GPU-1653b042-3c11-4d21-9a00-000000000117",
        gpu(n).identity.uuid.nvml(),
    )
}

/// The honest scene with one statement of a kind about device 1.
fn told(kind: &str, role: Role, changes: &[(&str, &str)]) -> Scene {
    let mut scene = Scene::honest();
    let by = scene.hear(role, "");
    let (old, new) = device_of(1);
    scene.file(kind, by, &[&[(old, new.as_str())], changes].concat());
    scene
}

#[test]
fn evi_02_concerns_nothing_where_nothing_is_declared() {
    Scene::honest().expect("EVI-02", Outcome::NotApplicable, "nobody declared anything");
}

#[test]
fn evi_02_names_a_device_that_reports_after_it_was_put_out_of_use() {
    let on = |day: &'static str| [("on = 2026-11-18", day)];
    let finding = told("disposal", Role::Operator, &on("on = 2026-11-18")).expect(
        "EVI-02",
        Outcome::NotMet,
        "the disposal 2026-0001 of Harbour Compute Pte. Ltd. says that a device was put out of use (shredded) on 2026-11-18",
    );
    let label = gpu(1).identity.uuid.nvml();
    assert!(finding.sentence.contains(&label), "{}", finding.sentence);
    assert!(finding.subjects.contains(&label));
    assert_eq!(finding.evidence.len(), 2, "the statement and the report");
    assert_eq!(finding.measured.unwrap().lower.as_deref(), Some("1"));
    // On the day itself it may have reported before.
    told("disposal", Role::Operator, &on("on = 2026-11-20")).expect(
        "EVI-02",
        Outcome::Met,
        "no measurement contradicts the 1 declaration",
    );
    let waiver =
        "[[waivers]]\ncondition = \"EVI-02\"\nuntil = 2026-12-31\nreason = \"a wrong list\"\n[[site]]";
    told("disposal", Role::Operator, &on("on = 2026-11-18"))
        .with("[[site]]", waiver)
        .expect("EVI-02", Outcome::Waived, "a wrong list");
}

#[test]
fn evi_02_looks_for_lost_devices_at_other_sites_too() {
    let lost = |seen: &'static str| told("loss", Role::Operator, &[("# last_seen = 2026-11-09", seen)]);
    lost("last_seen = 2026-11-09").expect("EVI-02", Outcome::NotMet, "is gone (missing)");
    let mut elsewhere = lost("last_seen = 2026-11-20");
    elsewhere.now = start().plus(3 * DAY_SECONDS);
    elsewhere.elsewhere.push(Sighting {
        node: elsewhere.labs[0].record.facts.node,
        status: status(7),
        clock: elsewhere.labs[0].record.facts.clock.clone(),
        site: "hall-9".to_owned(),
        uuid: gpu(1).identity.uuid,
        serial: None,
        presence: vec![stretch(2 * DAY_SECONDS, 2 * DAY_SECONDS + 3_600)],
        proof: None,
    });
    elsewhere.expect("EVI-02", Outcome::NotMet, "reported from site hall-9 until");
}

#[test]
fn evi_02_takes_a_returned_device_for_away_until_it_is_back() {
    told("rma", Role::Operator, &[]).expect("EVI-02", Outcome::NotMet, "under return RMA-88120");
    let back = [("# back = 2026-12-20", "back = 2026-11-20")];
    told("rma", Role::Operator, &back).expect("EVI-02", Outcome::Met, "");
}

#[test]
fn evi_02_looks_at_devices_without_power_only() {
    let off = told("maintenance", Role::Operator, &[]);
    off.expect(
        "EVI-02",
        Outcome::NotMet,
        "and 3 more devices of it report meanwhile too",
    );
    let on = [("powered_off = true", "powered_off = false")];
    told("maintenance", Role::Operator, &on).expect("EVI-02", Outcome::NotApplicable, "");
}

/// The scene with these devices under a licence beside its own.
fn with_beside(mut scene: Scene, numbers: &[u8]) -> Scene {
    let mut other = Scene::empty().licence.replace("\"L-1\"", "\"L-2\"");
    for n in 1..=4 {
        let row = device(n, "H100 SXM5 80GB");
        if numbers.contains(&n) {
            scene = scene.with(&row, "");
        } else {
            other = other.replace(&row, "");
        }
    }
    scene.beside.push(other);
    scene
}

#[test]
fn evi_02_takes_no_device_of_another_licence_for_one_that_names_none() {
    let off = || told("maintenance", Role::Operator, &[]);
    with_beside(off(), &[3, 4]).expect(
        "EVI-02",
        Outcome::NotMet,
        "and 1 more devices of it report meanwhile too",
    );
    let others = with_beside(off(), &[1, 2, 3, 4]).finding("EVI-02");
    assert_eq!(others.outcome, Outcome::Met, "{}", others.sentence);
    // One that is named is meant, whoever licenses it.
    let named = told("maintenance", Role::Operator, &[("# devices = [", "devices = [")]);
    with_beside(named, &[1]).expect("EVI-02", Outcome::NotMet, "is without power");
}

#[test]
fn evi_02_counts_nothing_for_a_tenant_where_another_licence_s_devices_stand() {
    let declared = |beside: &[u8]| {
        let mut scene = held_by_a_tenant(300_000);
        let by = scene.hear(Role::Operator, "");
        let most = ("devices_at_most = 256", "devices_at_most = 1");
        scene.file("training-declaration", by, &[most]);
        with_beside(scene, beside)
    };
    declared(&[4]).expect("EVI-02", Outcome::NotMet, "at least 2 did");
    let open = declared(&[2, 4]).finding("EVI-02");
    assert_ne!(open.outcome, Outcome::NotMet, "{}", open.sentence);
}

#[test]
fn evi_02_holds_the_declared_country_against_the_licence() {
    told("site-declaration", Role::Operator, &[]).expect("EVI-02", Outcome::Met, "");
    let moved = [("country = \"SG\"", "country = \"MY\"")];
    let finding = told("site-declaration", Role::Operator, &moved).expect(
        "EVI-02",
        Outcome::NotMet,
        "says that the site lies in MY, and licence L-1 has it in SG",
    );
    assert_eq!(finding.evidence.len(), 2);
}

#[test]
fn evi_02_holds_an_inventory_against_what_reports_at_one_time() {
    let held = |n: &'static str| told("sample-inspection", Role::Assessor, &[("population = 1024", n)]);
    held("population = 4").expect("EVI-02", Outcome::Met, "");
    held("population = 3").expect(
        "EVI-02",
        Outcome::NotMet,
        "an inventory of 3 devices, and 4 reported at one time",
    );
}

#[test]
fn evi_02_finds_a_device_that_is_still_on_its_way() {
    let list = |state: &'static str, serial: &str| {
        let mut scene = Scene::honest();
        let by = scene.hear(Role::Supplier, "");
        scene.now = start().plus(2 * DAY_SECONDS);
        let changes = [
            ("2026-11-19T08:00:00Z", "2026-11-21T08:00:00Z"),
            ("state = \"delivered\"", state),
            ("# serials = [\"1650123000117\"]", serial),
            papers::LICENCE_ID,
        ];
        scene.file("shipment-list", by, &changes);
        scene
    };
    let on_its_way = "state = \"in transit\"";
    list(on_its_way, "serials = [\"S1\"]").expect(
        "EVI-02",
        Outcome::NotMet,
        "of shipment SH-2026-118 is on its way",
    );
    // Both nodes have been silent since: nothing bad seen is not enough.
    let other = list(on_its_way, "serials = [\"S77\"]");
    other.expect(
        "EVI-02",
        Outcome::CannotTell,
        "as far as was seen, no measurement contradicts",
    );
    list("state = \"delivered\"", "serials = [\"S1\"]").expect("EVI-02", Outcome::NotApplicable, "");
}

/// Two days in which each of four devices was busy for a third of the time.
fn two_days() -> Scene {
    let mut scene = Scene::empty();
    scene.hour_of(576, &[1, 2, 3, 4].map(gpu));
    scene.now = start().plus(2 * DAY_SECONDS + 10);
    scene
}

#[test]
fn evi_02_compares_a_declared_share_with_that_of_the_devices_it_names() {
    let declared = |share: &'static str, devices: bool| {
        let mut scene = two_days();
        let by = scene.hear(Role::Operator, "");
        let (old, uuid) = device_of(1);
        let named = if devices { "devices = [" } else { "# devices = [" };
        let changes = [
            ("# busy_share = 0.9", share),
            ("# devices = [", named),
            (old, uuid.as_str()),
        ];
        scene.file("training-declaration", by, &changes);
        scene
    };
    declared("busy_share = 0.33", true).expect("EVI-02", Outcome::Met, "");
    declared("busy_share = 0.9", true).expect(
        "EVI-02",
        Outcome::NotMet,
        "says that 90.00 % of device time was busy, and from 2026-11-20T00:00:00Z until just before 2026-11-22T00:00:00Z 33.",
    );
    // Whose time it is nobody can tell where it names no device and nothing is attributed.
    declared("busy_share = 0.9", false).expect("EVI-02", Outcome::NotApplicable, "");
}

/// The scene in which a tenant held all four devices for two days, and each was busy for so much of each report.
fn held_by_a_tenant(busy_ms: u64) -> Scene {
    let mut scene = Scene::empty();
    let none = crate::unit::MicroTppHours(0);
    for (lab, numbers) in scene.labs.iter_mut().zip([[1u8, 2], [3, 4]]) {
        let devices = numbers.map(|n| {
            let mut claims = gpu(n);
            claims.delivered.measured.busy_ms = crate::telemetry::Reading::Value(busy_ms);
            claims.delivered.tenants = TenantShares::of(vec![TenantShare {
                place: 0,
                attributed_ms: 300_000,
                busy_ms,
                lower: none,
                counter: none,
                upper: none,
                upper_unconditional: none,
            }]);
            claims
        });
        lab.run_with(576, &devices, |claims| {
            claims.submods.host.host.tenants = TenantList::of(vec![TenantPseudonym([0; 16])]);
        });
    }
    scene.now = start().plus(2 * DAY_SECONDS + 10);
    scene
}

#[test]
fn evi_02_counts_devices_that_surely_computed_for_one_tenant_together() {
    let declared = |busy_ms: u64, most: &'static str| {
        let mut scene = held_by_a_tenant(busy_ms);
        let by = scene.hear(Role::Operator, "");
        scene.file("training-declaration", by, &[("devices_at_most = 256", most)]);
        scene
    };
    let finding = declared(300_000, "devices_at_most = 3").expect(
        "EVI-02",
        Outcome::NotMet,
        "says that at most 3 devices compute for tenant 00000000000000000000000000000000 together",
    );
    assert!(
        finding.sentence.contains("at least 4 did"),
        "{}",
        finding.sentence
    );
    declared(300_000, "devices_at_most = 4").expect("EVI-02", Outcome::Met, "");
    // A third of the time of each: two at a time would do.
    declared(100_000, "devices_at_most = 2").expect("EVI-02", Outcome::Met, "");
}

#[test]
fn evi_02_bounds_a_tenant_s_busy_share_from_below_alone() {
    let declared = |busy_ms: u64, share: &'static str| {
        let mut scene = held_by_a_tenant(busy_ms);
        let by = scene.hear(Role::Operator, "");
        scene.file("training-declaration", by, &[("# busy_share = 0.9", share)]);
        scene
    };
    declared(270_000, "busy_share = 0.1").expect(
        "EVI-02",
        Outcome::NotMet,
        "90.00 % to 100.00 % was measured",
    );
    declared(30_000, "busy_share = 0.9").expect("EVI-02", Outcome::Met, "");
}

#[test]
fn evi_02_names_the_operator_s_response_and_stays_as_it_is() {
    for (condition, disputed, says) in [
        (
            "INV-09",
            "disputed = true",
            "Harbour Compute Pte. Ltd. disputes a finding of INV-09",
        ),
        (
            "EVI-02",
            "disputed = false",
            "does not dispute a finding of EVI-02",
        ),
    ] {
        let mut scene = told("disposal", Role::Operator, &[]);
        let by = scene.hear(Role::Operator, "");
        let about = format!("condition = \"{condition}\"");
        let changes = [
            ("condition = \"INV-03\"", about.as_str()),
            ("disputed = false", disputed),
        ];
        let answer = scene.file("finding-response", by, &changes);
        let finding = scene.expect("EVI-02", Outcome::NotMet, says);
        assert!(finding.evidence.contains(&answer));
    }
}
