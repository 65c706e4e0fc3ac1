//! Devices that change their site, and what was said of it before.

use super::*;
use crate::appraisal::{ClockFacts, Grade};
use crate::id::NodeId;
use crate::statement::Role;

/// The fourth device stood here for half an hour, and from the fortieth minute on at another site of the licence, in this country.
fn moved_to(country: &str) -> Scene {
    let sites = format!("[[site]]\nid = \"harbour-9\"\ncountry = \"{country}\"\n[[models]]");
    let mut scene = Scene::empty().with("[[models]]", &sites);
    scene.licence = scene
        .licence
        .replace("[[device]]\n", "[[device]]\nsite = \"harbour-1\"\n");
    scene.labs[0].run(12, &[gpu(1), gpu(2)]);
    scene.labs[1].run(6, &[gpu(3), gpu(4)]);
    scene.labs[1].run(6, &[gpu(3)]);
    scene.elsewhere.push(seen_at("harbour-9", stretch(2_400, 3_600)));
    scene
}

fn seen_at(site: &str, when: Span) -> Sighting {
    Sighting {
        node: NodeId([5; 17]),
        status: NodeStatus {
            name: "x-5".to_owned(),
            ..status(5)
        },
        clock: ClockFacts::default(),
        site: site.to_owned(),
        uuid: gpu(4).identity.uuid,
        serial: None,
        presence: vec![when],
        proof: None,
    }
}

/// Files a transfer of the fourth device, so many seconds after the start.
fn transfer(scene: &mut Scene, filed: i64, changes: &[(&str, &str)]) -> Digest {
    let key = scene.hear(Role::Operator, "");
    let device = gpu(4).identity.uuid.nvml();
    let own = [
        ("GPU-1653b042-3c11-4d21-9a00-000000000117", device.as_str()),
        ("to_site = \"harbour-2\"", "to_site = \"harbour-9\""),
        ("leaves = 2026-12-04", "leaves = 2026-11-20"),
        ("arrives = 2026-12-05", "arrives = 2026-11-20"),
    ];
    let digest = scene.file("transfer", key, &[&own, changes].concat());
    let last = scene.statements.last_mut().unwrap();
    Arc::make_mut(last).filed = start().plus(filed);
    digest
}

fn with_transfer(country: &str, filed: i64, changes: &[(&str, &str)]) -> Scene {
    let mut scene = moved_to(country);
    transfer(&mut scene, filed, changes);
    scene
}

const ABROAD: (&str, &str) = ("to_country = \"SG\"", "to_country = \"MY\"");
const NUMBERED: (&str, &str) = ("# authorisation = ", "authorisation = ");

#[test]
fn inv_04_is_met_where_nothing_moved() {
    let finding = Scene::honest().expect(
        "INV-04",
        Outcome::Met,
        "none of 4 devices changed its site, as far as the sites of this verifier show",
    );
    assert_eq!(finding.message_id, "INV-04.no-move");
    let mut silent = Scene::empty();
    silent.labs[0].run(12, &[gpu(1), gpu(2)]);
    silent.expect("INV-04", Outcome::CannotTell, "node n-2 has never reported");
}

#[test]
fn inv_04_names_a_move_that_nobody_recorded_and_weighs_a_border() {
    let says = format!(
        "{} went from site harbour-1 to site harbour-9, where it was first seen on 2026-11-20T00:40:00Z, and no transfer of it",
        gpu(4).identity.uuid.nvml()
    );
    let near = moved_to("SG").expect("INV-04", Outcome::NotMet, &says);
    assert_eq!(
        (near.severity, near.grade),
        (Severity::Major, Grade::DriverReported)
    );
    assert_eq!(near.subjects, [gpu(4).identity.uuid.nvml()]);
    assert_eq!(near.evidence.len(), 2);
    let far = moved_to("MY").expect("INV-04", Outcome::NotMet, &says);
    assert_eq!(far.severity, Severity::Critical);
    // A transfer the other way is none.
    let back = [
        ("from_site = \"harbour-1\"", "from_site = \"harbour-9\""),
        ("to_site = \"harbour-9\"", "to_site = \"harbour-1\""),
    ];
    with_transfer("SG", 0, &back).expect("INV-04", Outcome::NotMet, &says);
    let waiver = "[[waivers]]\ncondition = \"INV-04\"\nuntil = 2026-12-31\nreason = \"flood\"\n[[models]]";
    moved_to("SG")
        .with("[[models]]", waiver)
        .expect("INV-04", Outcome::Waived, "flood");
}

#[test]
fn inv_04_takes_a_transfer_from_when_it_was_put_on_file() {
    let mut scene = moved_to("SG");
    let digest = transfer(&mut scene, 2_300, &[]);
    let met = scene.expect("INV-04", Outcome::Met, "each move was recorded before");
    assert_eq!(met.grade, Grade::Declared);
    assert!(met.evidence.contains(&digest));
    // Whatever date it bears.
    let late = with_transfer("SG", 2_500, &[]).expect(
        "INV-04",
        Outcome::NotMet,
        "was recorded only on 2026-11-20T00:41:40Z",
    );
    assert_eq!(
        (late.message_id.as_str(), late.grade),
        ("INV-04.recorded-after", Grade::Declared)
    );
    let early = [("leaves = 2026-11-20", "leaves = 2026-11-21")];
    with_transfer("SG", 0, &early).expect("INV-04", Outcome::NotMet, "lets it leave on 2026-11-21");
    let expired = [("valid_to = 2027-11-30", "valid_to = 2026-11-19")];
    with_transfer("SG", 0, &expired).expect("INV-04", Outcome::NotMet, "held until 2026-11-20");
    // What expired since covered the move all the same.
    let since = [("valid_to = 2027-11-30", "valid_to = 2026-11-20T00:50:00Z")];
    with_transfer("SG", 0, &since).expect("INV-04", Outcome::Met, "");
    let elsewhere = [("to_country = \"SG\"", "to_country = \"JP\"")];
    with_transfer("SG", 0, &elsewhere).expect(
        "INV-04",
        Outcome::NotMet,
        "places site harbour-9 in JP, the licence in SG",
    );
}

#[test]
fn inv_04_leaves_open_what_clocks_and_revoked_keys_leave_open() {
    // Reports of that node came a quarter of an hour late: its clock may have been slow.
    let mut scene = moved_to("SG");
    scene.elsewhere[0].presence[0].lag = 900;
    transfer(&mut scene, 2_600, &[]);
    scene.expect("INV-04", Outcome::CannotTell, "do not show which was first");
    let mut revoked = moved_to("SG");
    revoked.elsewhere[0].status.revoked_from = Some(start());
    revoked.expect(
        "INV-04",
        Outcome::CannotTell,
        "only a key that was revoked by then says so",
    );
}

#[test]
fn inv_04_lets_a_transfer_cover_one_move() {
    let mut scene = moved_to("SG");
    // It came back for five minutes, and went again.
    scene.labs[1].run(1, &[gpu(3), gpu(4)]);
    scene.labs[0].run(1, &[gpu(1), gpu(2)]);
    scene.elsewhere.push(seen_at("harbour-9", stretch(4_200, 4_500)));
    scene.labs[1].run(3, &[gpu(3)]);
    scene.labs[0].run(3, &[gpu(1), gpu(2)]);
    scene.now = scene.labs[0].wall().plus(10);
    transfer(&mut scene, 0, &[]);
    let back = [
        ("from_site = \"harbour-1\"", "from_site = \"harbour-9\""),
        ("to_site = \"harbour-9\"", "to_site = \"harbour-1\""),
    ];
    transfer(&mut scene, 0, &back);
    scene.expect("INV-04", Outcome::NotMet, "first seen on 2026-11-20T01:10:00Z");
    transfer(&mut scene, 0, &[("08:00:00Z", "09:00:00Z")]);
    scene.expect("INV-04", Outcome::Met, "");
}

#[test]
fn inv_04_asks_for_an_authorisation_at_a_border() {
    with_transfer("MY", 0, &[ABROAD]).expect(
        "INV-04",
        Outcome::NotMet,
        "names no authorisation to cross the border from SG to MY",
    );
    let mut scene = with_transfer("MY", 0, &[ABROAD, NUMBERED]);
    scene.expect("INV-04", Outcome::CannotTell, "word on authorisation D1234567");
    let agency = scene.hear_as("Agency", Role::Authority, "");
    let party = [
        (
            "consignee = \"Harbour Compute Pte. Ltd.\"",
            "consignee = \"Consignee\"",
        ),
        ("issuer = \"Harbour Compute Pte. Ltd.\"", "issuer = \"Agency\""),
    ];
    scene.file("authorisation", agency, &party);
    scene.expect(
        "INV-04",
        Outcome::CannotTell,
        "does not say between which countries",
    );
    let countries = |list| [&party[..], &[("# countries = [\"SG\"]", list)]].concat();
    scene.statements.pop();
    scene.file("authorisation", agency, &countries("countries = [\"SG\"]"));
    let short = scene.expect("INV-04", Outcome::NotMet, "does not cover the way from SG to MY");
    assert_eq!(short.severity, Severity::Critical);
    scene.statements.pop();
    scene.file(
        "authorisation",
        agency,
        &countries("countries = [\"MY\", \"SG\"]"),
    );
    scene.expect("INV-04", Outcome::Met, "");
    // The holder's own word is none.
    let own = scene.hear_as("Consignee", Role::Consignee, "");
    scene.statements.pop();
    let said = [
        ("role = \"authority\"", "role = \"consignee\""),
        ("Harbour Compute Pte. Ltd.", "Consignee"),
        ("# countries = [\"SG\"]", "countries = [\"MY\", \"SG\"]"),
    ];
    scene.file("authorisation", own, &said);
    scene.expect("INV-04", Outcome::CannotTell, "word on authorisation D1234567");
}

#[test]
fn inv_04_asks_for_notice_where_licence_or_rules_do() {
    let told = |date: &str| {
        let notified = format!("notified = {date}");
        let changes = [ABROAD, NUMBERED, ("# notified = 2026-10-01", notified.as_str())];
        let mut scene = with_transfer("MY", 0, if date.is_empty() { &changes[..2] } else { &changes });
        let agency = scene.hear_as("Agency", Role::Authority, "");
        let said = [
            (
                "consignee = \"Harbour Compute Pte. Ltd.\"",
                "consignee = \"Consignee\"",
            ),
            ("issuer = \"Harbour Compute Pte. Ltd.\"", "issuer = \"Agency\""),
            ("# countries = [\"SG\"]", "countries = [\"MY\", \"SG\"]"),
        ];
        scene.file("authorisation", agency, &said);
        scene
    };
    let asked = |date| told(date).with("licensed_tpp", "transfer_notice = \"60 d\"\nlicensed_tpp");
    told("").expect("INV-04", Outcome::Met, "");
    asked("").expect("INV-04", Outcome::CannotTell, "does not say when it was told");
    asked("2026-10-01").expect(
        "INV-04",
        Outcome::NotMet,
        "50 days before; the licence asks for 60 days",
    );
    asked("2026-09-20").expect("INV-04", Outcome::Met, "");
    let profile = told("2026-10-01").with("licensed_tpp", "profiles = [\"ifr-2025\"]\nlicensed_tpp");
    profile.expect("INV-04", Outcome::NotMet, "the rule set asks for 60 days");
}
