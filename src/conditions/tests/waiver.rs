use super::papers::LICENCE_ID;
use super::*;
use crate::statement::Role;

/// A site with a device that is on no manifest, and a waiver of INV-01 by someone in a role.
fn waived(role: Role, changes: &[(&str, &str)]) -> Scene {
    let mut scene = Scene::empty();
    scene.hour(&[gpu(1), gpu(2), gpu(9)], &[gpu(3), gpu(4)]);
    let by = scene.hear(role, "");
    let about = [
        ("condition = \"INV-11\"", "condition = \"INV-01\""),
        ("until = 2026-12-31", "until = 2026-11-30"),
        LICENCE_ID,
    ];
    scene.file("waiver", by, &[&about[..], changes].concat());
    scene
}

#[test]
fn a_waiver_that_the_licence_hears_waives_until_its_day_and_is_evidence() {
    let mut scene = waived(Role::Supplier, &[]);
    let statement = scene.statements[0].statement.digest;
    let found = scene.expect(
        "INV-01",
        Outcome::Waived,
        "(not met); waived by the waiver 2026-0001 of Harbour Compute Pte. Ltd. until just before 2026-12-01T00:00:00Z: Four boards",
    );
    assert!(found.evidence.contains(&statement));
    scene.now = UnixSeconds::parse("2026-12-01").unwrap();
    assert_eq!(scene.finding("INV-01").outcome, Outcome::NotMet);
    waived(
        Role::Authority,
        &[("role = \"supplier\"", "role = \"authority\"")],
    )
    .expect("INV-01", Outcome::Waived, "waived by the waiver");
    // The licence's own comes first.
    let own = "[[waivers]]\ncondition = \"INV-01\"\nuntil = 2026-12-31\nreason = \"a loan\"\n[[site]]";
    waived(Role::Supplier, &[]).with("[[site]]", own).expect(
        "INV-01",
        Outcome::Waived,
        "waived until just before 2027-01-01T00:00:00Z: a loan",
    );
}

#[test]
fn a_waiver_waives_no_longer_than_it_holds() {
    let mut scene = waived(
        Role::Supplier,
        &[("valid_to = 2027-11-30", "valid_to = 2026-11-21")],
    );
    scene.expect(
        "INV-01",
        Outcome::Waived,
        "until just before 2026-11-22T00:00:00Z",
    );
    scene.now = UnixSeconds::parse("2026-11-22").unwrap();
    assert_eq!(scene.finding("INV-01").outcome, Outcome::NotMet);
}

#[test]
fn nobody_waives_for_another_licence_or_without_being_heard() {
    let other = waived(Role::Supplier, &[("licence = \"L-1\"", "licence = \"L-2\"")]);
    other.expect("INV-01", Outcome::NotMet, "not on the manifest");
    // A key that is heard as an assessor's or an operator's cannot sign as a supplier's.
    for role in [Role::Assessor, Role::Operator] {
        waived(role, &[]).expect("INV-01", Outcome::NotMet, "not on the manifest");
    }
    // Nor can the kind be given in their role.
    let text = crate::statement::template(crate::statement::Kind::named("waiver").unwrap());
    for role in ["assessor", "operator"] {
        let draft = text.replace("role = \"operator\"", &format!("role = \"{role}\""));
        let said = crate::statement::payload(&draft).unwrap_err().to_string();
        assert!(said.contains("is for `supplier`, `authority` to give"), "{said}");
    }
}
