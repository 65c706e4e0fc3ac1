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

/// The honest scene whose licence asks for periodic reports and reviews, with a record-keeping declaration on file.
fn kept(role: Role, changes: &[(&str, &str)]) -> Scene {
    let mut scene = Scene::honest().with(
        "[[site]]",
        "periodic_report_every = \"184 d\"\nreview_max_age = \"366 d\"\n[[site]]",
    );
    scene.licence = scene.licence.replace("2026-11-20\n", "2024-11-20\n");
    let by = scene.hear(role, "");
    let role = format!("role = \"{role}\"");
    let as_role = [("role = \"operator\"", role.as_str())];
    scene.file("record-keeping", by, &[&as_role, changes].concat());
    scene
}

#[test]
fn rec_02_takes_the_supplier_s_word_and_the_operator_s_against_itself() {
    Scene::honest().expect("REC-02", Outcome::NotApplicable, "belongs to the profile");
    let told = |role, at| kept(role, &[("# last_report = 2026-10-31", at)]);
    let met =
        told(Role::Supplier, "last_report = 2026-10-31").expect("REC-02", Outcome::Met, "on 2026-10-31");
    assert_eq!(met.measured.unwrap().upper.as_deref(), Some("20"));
    told(Role::Operator, "last_report = 2026-10-31").expect(
        "REC-02",
        Outcome::CannotTell,
        "the supplier's word would settle it",
    );
    let late =
        told(Role::Operator, "last_report = 2026-04-01").expect("REC-02", Outcome::NotMet, "allows 184 days");
    assert_eq!(late.limit.unwrap().upper.as_deref(), Some("184"));
    told(Role::Supplier, "# last_report = 2026-10-31").expect(
        "REC-02",
        Outcome::CannotTell,
        "says when a periodic report was delivered",
    );
    // A report of after the statement that tells of it.
    told(Role::Supplier, "last_report = 2026-12-31").expect("REC-02", Outcome::CannotTell, "");
    // Written when it was in time: that nothing is on file since then shows nothing.
    let mut old = told(Role::Supplier, "last_report = 2026-10-31");
    old.now = UnixSeconds::parse("2027-09-01").unwrap();
    old.expect(
        "REC-02",
        Outcome::CannotTell,
        "a statement of one since then would settle it",
    );
    let mut young = told(Role::Supplier, "# last_report = 2026-10-31");
    young.licence = young.licence.replace("2024-11-20\n", "2026-11-20\n");
    young.expect("REC-02", Outcome::NotApplicable, "is due by 2027-05-23");
    let waived = told(Role::Operator, "last_report = 2026-04-01").with(
        "[[site]]",
        "[[waivers]]\ncondition = \"REC-02\"\nuntil = 2026-12-31\nreason = \"a holiday\"\n[[site]]",
    );
    waived.expect("REC-02", Outcome::Waived, "a holiday");
}

#[test]
fn rec_03_asks_who_was_there() {
    Scene::honest().expect("REC-03", Outcome::NotApplicable, "belongs to the profile");
    let kept = |changes: &[(&str, &str)]| kept(Role::Operator, changes);
    kept(&[]).expect(
        "REC-03",
        Outcome::CannotTell,
        "no statement says when the site was reviewed",
    );
    let own = [("# last_review", "last_review")];
    kept(&own).expect(
        "REC-03",
        Outcome::CannotTell,
        "a visit log or an assessor's finding would settle it",
    );
    kept(&[("review_admitted = true", "review_admitted = false")]).expect(
        "REC-03",
        Outcome::NotMet,
        "no agreement admits reviews",
    );
    let visited = |changes: &[(&str, &str)]| {
        let mut scene = kept(&[]);
        let by = scene.hear(Role::Assessor, "");
        scene.file("visit-log", by, changes);
        scene
    };
    let met = visited(&[]).expect("REC-03", Outcome::Met, "was visited by");
    assert_eq!(met.evidence.len(), 2);
    visited(&[("all_opened = true", "all_opened = false")]).expect(
        "REC-03",
        Outcome::NotMet,
        "not every place",
    );
    let old = [
        ("from = 2026-11-01", "from = 2025-09-01"),
        ("to = 2026-11-30", "to = 2025-09-30"),
    ];
    visited(&old).expect("REC-03", Outcome::CannotTell, "");
    let assessed = |result: &str| {
        let mut scene = kept(&[]);
        let by = scene.hear(Role::Assessor, "");
        let about = [
            ("condition = \"PHY-04\"", "condition = \"REC-03\""),
            ("\"satisfied\"", result),
        ];
        scene.file("assessor-finding", by, &about);
        scene
    };
    assessed("\"satisfied\"").expect("REC-03", Outcome::Met, "assessor's finding");
    assessed("\"not satisfied\"").expect("REC-03", Outcome::NotMet, "assessor's finding");
}
