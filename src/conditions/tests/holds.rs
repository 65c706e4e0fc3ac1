//! Shipments that are held while something is open (REC-04).

use super::flags::PARTY;
use super::papers::LICENCE_ID;
use super::*;
use crate::statement::Role;

/// A scene in which nothing is open: what no paper here settles is waived, and what flags rest on it is resolved.
fn calm() -> (Scene, Digest) {
    let mut scene = Scene::honest().attested();
    let supplier = scene.hear_as("Consignee", Role::Supplier, "");
    let open = scene.findings();
    let open = open
        .iter()
        .filter(|f| matches!(f.outcome, Outcome::CannotTell | Outcome::NotMet));
    for finding in open.filter(|f| f.condition != "REC-04") {
        scene.licence.push_str(&format!(
            "\n[[waivers]]\ncondition = \"{}\"\nuntil = 2027-11-19\nreason = \"not here\"\n",
            finding.condition
        ));
    }
    for flag in scene.judgement().flags.into_iter().filter(|f| f.open) {
        let about = flag.flag.to_string();
        let changes = [
            PARTY,
            LICENCE_ID,
            ("FLG-02", about.as_str()),
            ("19T08:00:00Z", "19T09:00:00Z"),
        ];
        scene.file("flag-resolution", supplier, &changes);
    }
    (scene, supplier)
}

fn hold(scene: &mut Scene, by: Digest, action: &str, changes: &[(&str, &str)]) -> Digest {
    let action = format!("action = \"{action}\"");
    let about = [PARTY, LICENCE_ID, ("action = \"hold\"", action.as_str())];
    scene.file("shipment-hold", by, &[&about[..], changes].concat())
}

#[test]
fn rec_04_holds_while_nothing_is_open() {
    let (scene, _) = calm();
    let found = scene.expect("REC-04", Outcome::Met, "no critical condition is open");
    assert_eq!(found.limit.unwrap().upper.as_deref(), Some("30"));
    assert_eq!(scene.judgement().shipments.state, Movement::Free);
}

#[test]
fn rec_04_asks_to_hold_shipments_while_something_critical_is_open() {
    let open = Scene::honest().expect("REC-04", Outcome::CannotTell, "hold shipments until that is told");
    assert_eq!(open.severity, Severity::Critical);
    let (mut scene, supplier) = calm();
    scene = scene.with("licensed_tpp = 63_328", "licensed_tpp = 1");
    let found = scene.expect(
        "REC-04",
        Outcome::NotMet,
        "critical and not met: CAP-01; hold shipments",
    );
    assert_eq!(found.message_id, "REC-04.hold-shipments");
    let held = hold(&mut scene, supplier, "hold", &[]);
    let found = scene.expect(
        "REC-04",
        Outcome::Met,
        "holds all shipments since 2026-11-19T08:00:00Z",
    );
    assert!(found.sentence.contains("CAP-01") && found.evidence.contains(&held));
    let shipments = scene.judgement().shipments;
    assert_eq!(
        (shipments.state, shipments.statement),
        (Movement::Held, Some(held))
    );
    // A release while it is open.
    hold(
        &mut scene,
        supplier,
        "release",
        &[("19T08:00:00Z", "19T09:00:00Z")],
    );
    let found = scene.expect("REC-04", Outcome::NotMet, "there is open what stops them");
    assert_eq!(found.message_id, "REC-04.released");
    assert_eq!(scene.judgement().shipments.state, Movement::Released);
    // A hold of all of them stops them again.
    hold(&mut scene, supplier, "hold", &[("19T08:00:00Z", "19T10:00:00Z")]);
    scene.expect("REC-04", Outcome::Met, "holds all shipments");
    scene.now = UnixSeconds::parse("2027-12-01").unwrap();
    assert_eq!(scene.judgement().shipments.state, Movement::Free, "it expired");
}

#[test]
fn a_hold_of_single_shipments_holds_no_others() {
    let (mut scene, supplier) = calm();
    scene = scene.with("licensed_tpp = 63_328", "licensed_tpp = 1");
    let single = ("# shipments = ", "shipments = ");
    hold(&mut scene, supplier, "hold", &[single]);
    scene.expect("REC-04", Outcome::NotMet, "hold shipments");
    let shipments = scene.judgement().shipments;
    assert_eq!(
        (shipments.state, shipments.only),
        (Movement::Free, vec!["SH-2026-131".to_owned()])
    );
    hold(&mut scene, supplier, "hold", &[("19T08:00:00Z", "19T09:00:00Z")]);
    scene.expect("REC-04", Outcome::Met, "");
    hold(
        &mut scene,
        supplier,
        "release",
        &[single, ("19T08:00:00Z", "19T10:00:00Z")],
    );
    scene.expect("REC-04", Outcome::NotMet, "releases shipments SH-2026-131");
}

#[test]
fn nobody_but_a_supplier_holds_shipments() {
    let (mut scene, _) = calm();
    scene = scene.with("licensed_tpp = 63_328", "licensed_tpp = 1");
    let operator = scene.hear_as("Consignee", Role::Operator, "");
    hold(&mut scene, operator, "hold", &[]);
    scene.expect("REC-04", Outcome::NotMet, "hold shipments");
}

#[test]
fn rec_04_gives_time_to_resolve_a_flag_and_no_more() {
    let raised = |issued: &'static str| {
        let (mut scene, _) = calm();
        let changes = [
            PARTY,
            LICENCE_ID,
            ("\"data centre\"", "\"residential\""),
            ("issued = 2026-11-19T08:00:00Z", issued),
            ("# ultimate_parent = \"SG\"", "ultimate_parent = \"SG\""),
        ];
        // The assessor's word beside the supplier's, so that neither replaces the other.
        let assessor = scene.hear_as("Consignee", Role::Assessor, "");
        let as_assessor = [("role = \"supplier\"", "role = \"assessor\"")];
        scene.file("due-diligence", assessor, &[&changes[..], &as_assessor].concat());
        scene
    };
    let young = raised("issued = 2026-11-19T08:30:00Z");
    let found = young.expect(
        "REC-04",
        Outcome::Met,
        "red flags raised and not resolved: FLG-05",
    );
    assert_eq!(found.message_id, "REC-04.in-time");
    let mut old = raised("issued = 2026-11-19T08:30:00Z");
    old.licence = old
        .licence
        .replace("[[site]]", "flag_max_age = \"12 h\"\n[[site]]");
    let found = old.expect("REC-04", Outcome::NotMet, "FLG-05 has been raised for 16 hours");
    assert_eq!(found.message_id, "REC-04.hold-shipments");
}

#[test]
fn rec_04_can_be_waived_and_needs_its_limit() {
    let (scene, _) = calm();
    let mut scene = scene.with("licensed_tpp = 63_328", "licensed_tpp = 1");
    scene
        .licence
        .push_str("\n[[waivers]]\ncondition = \"REC-04\"\nuntil = 2026-12-31\nreason = \"spare parts\"\n");
    scene.expect("REC-04", Outcome::Waived, "spare parts");
}
