use super::*;
use crate::statement::Role;

#[test]
fn per_01_needs_an_assessor_beside_the_operator() {
    let mut scene = Scene::honest();
    let (operator, assessor) = (scene.hear(Role::Operator, ""), scene.hear(Role::Assessor, ""));
    scene.file("personnel-declaration", operator, &[]);
    scene.expect(
        "PER-01",
        Outcome::CannotTell,
        "says that all is well, and no security attestation",
    );
    let personnel = [("area = \"physical\"", "area = \"personnel\"")];
    scene.file("security-attestation", assessor, &personnel);
    let met = scene.expect("PER-01", Outcome::Met, "finds personnel security satisfied");
    assert_eq!(met.evidence.len(), 2);
    scene.file(
        "personnel-declaration",
        operator,
        &[("screened = 24", "screened = 20"), ("08:00:00Z", "09:00:00Z")],
    );
    scene.expect(
        "PER-01",
        Outcome::NotMet,
        "20 of 24 people with access were screened",
    );
}

#[test]
fn phy_04_fails_where_a_seal_came_broken() {
    let mut scene = Scene::honest();
    let (supplier, assessor) = (scene.hear(Role::Supplier, ""), scene.hear(Role::Assessor, ""));
    scene.file("assessor-finding", assessor, &[]);
    scene.expect(
        "PHY-04",
        Outcome::Met,
        "Custody records of the last 40 deliveries",
    );
    let broken = [
        ("# seals_whole = true", "seals_whole = false"),
        ("licence = \"HX-2026-0042\"", "licence = \"L-1\""),
    ];
    scene.file("shipment-list", supplier, &broken);
    scene.expect("PHY-04", Outcome::NotMet, "shipment SH-2026-118");
}

#[test]
fn rec_01_holds_years_against_the_limit_and_asks_an_assessor() {
    let mut scene = Scene::honest();
    let (operator, assessor) = (scene.hear(Role::Operator, ""), scene.hear(Role::Assessor, ""));
    scene.file("record-keeping", operator, &[]);
    scene.expect(
        "REC-01",
        Outcome::CannotTell,
        "kept for 5 years; an assessor's finding would settle it",
    );
    scene.file(
        "assessor-finding",
        assessor,
        &[("condition = \"PHY-04\"", "condition = \"REC-01\"")],
    );
    scene.expect("REC-01", Outcome::Met, "assessor's finding");
    scene.file(
        "record-keeping",
        operator,
        &[("years = 5", "years = 4"), ("08:00:00Z", "09:00:00Z")],
    );
    let short = scene.expect(
        "REC-01",
        Outcome::NotMet,
        "kept for 4 years, and the rule set sets 5",
    );
    assert_eq!(short.limit.unwrap().lower.as_deref(), Some("5"));
}

#[test]
fn evi_01_names_what_the_licence_asks_for_and_nobody_gave() {
    Scene::honest().expect(
        "EVI-01",
        Outcome::NotApplicable,
        "the licence asks for no attestation",
    );
    let asked = |more: &str| {
        let table = format!(
            "[[evidence_required]]\ntype = \"nist-800-53\"\n{more}\n[[evidence_required]]\ntype = \"site-declaration\"\n[[models]]"
        );
        let mut scene = Scene::honest().with("[[models]]", &table);
        let (operator, assessor) = (
            scene.hear(Role::Operator, ""),
            scene.hear_as("Example Assessors LLP", Role::Assessor, ""),
        );
        scene.file(
            "security-attestation",
            assessor,
            &[("Harbour Compute Pte. Ltd.", "Example Assessors LLP")],
        );
        (scene, operator)
    };
    let (mut scene, operator) = asked("max_age = \"30 d\"\nissuers = [\"Example Assessors LLP\"]");
    scene.expect("EVI-01", Outcome::CannotTell, "`site-declaration` is not on file");
    scene.file("site-declaration", operator, &[]);
    let met = scene.expect(
        "EVI-01",
        Outcome::Met,
        "every attestation that the licence asks for",
    );
    assert_eq!(met.evidence.len(), 2);
    let (scene, _) = asked("issuers = [\"Another LLP\"]");
    scene.expect(
        "EVI-01",
        Outcome::CannotTell,
        "the licence takes it from Another LLP",
    );
    let (scene, _) = asked("max_age = \"1 h\"");
    scene.expect("EVI-01", Outcome::CannotTell, "`nist-800-53` is ");
}

#[test]
fn evi_03_asks_each_assessor_who_is_heard() {
    Scene::honest().expect(
        "EVI-03",
        Outcome::NotApplicable,
        "no assessor's statement is heard",
    );
    let mut scene = Scene::honest();
    let assessor = scene.hear(Role::Assessor, "");
    scene.file("assessor-finding", assessor, &[]);
    scene.expect(
        "EVI-03",
        Outcome::CannotTell,
        "no declaration of independence is on file of Harbour Compute",
    );
    scene.file("independence", assessor, &[]);
    scene.expect("EVI-03", Outcome::Met, "accredited and independent");
    scene.file(
        "independence",
        assessor,
        &[
            ("independent = true", "independent = false"),
            ("08:00:00Z", "09:00:00Z"),
        ],
    );
    scene.expect("EVI-03", Outcome::NotMet, "have ties");
}
