//! Devices that people looked at, and devices that a laboratory tried.

use super::*;
use crate::appraisal::Grade;
use crate::statement::Role;

const ALL_FOUR: [(&str, &str); 3] = [
    ("population = 1024", "population = 4"),
    ("drawn = 59", "drawn = 4"),
    ("inspected = 59", "inspected = 4"),
];

fn inspected(changes: &[(&str, &str)]) -> Scene {
    let mut scene = Scene::honest();
    let assessor = scene.hear(Role::Assessor, "");
    scene.file("sample-inspection", assessor, changes);
    scene
}

#[test]
fn inv_07_asks_for_a_sample_that_is_large_enough() {
    Scene::honest().expect(
        "INV-07",
        Outcome::CannotTell,
        "no sample inspection about site harbour-1 is on file",
    );
    let met = inspected(&ALL_FOUR).expect(
        "INV-07",
        Outcome::Met,
        "all of 4 devices that were drawn match the inventory",
    );
    assert_eq!((met.grade, met.evidence.len()), (Grade::Declared, 1));
    assert_eq!(met.measured.unwrap().lower.as_deref(), Some("1"));
    assert_eq!(met.limit.unwrap().lower.as_deref(), Some("0.95"));
    let three = [
        ALL_FOUR[0],
        ("drawn = 59", "drawn = 3"),
        ("inspected = 59", "inspected = 3"),
    ];
    let small = inspected(&three).expect(
        "INV-07",
        Outcome::CannotTell,
        "a sample of 4 devices would settle it",
    );
    assert_eq!(small.message_id, "INV-07.sample-too-small");
    assert_eq!(small.measured.unwrap().lower.as_deref(), Some("0.75"));
    // A licence may ask for less.
    inspected(&three)
        .with("licensed_tpp", "sample_confidence = 0.75\nlicensed_tpp")
        .expect("INV-07", Outcome::Met, "75.00 % sure");
}

#[test]
fn inv_07_counts_what_did_not_match_and_leaves_open_what_was_not_seen() {
    let one = [
        &ALL_FOUR[..],
        &[
            ("mismatched = 0", "mismatched = 1"),
            ("# notes = \"All", "notes = \"All"),
        ],
    ]
    .concat();
    inspected(&one).expect(
        "INV-07",
        Outcome::NotMet,
        "1 of 4 devices that were looked at did not match: All plates",
    );
    // However old it is.
    let old = [&one[..], &[("issued = 2026-11-19", "issued = 2024-11-19")]].concat();
    inspected(&old).expect("INV-07", Outcome::NotMet, "");
    let aged = [&ALL_FOUR[..], &[("issued = 2026-11-19", "issued = 2024-11-19")]].concat();
    inspected(&aged).expect("INV-07", Outcome::CannotTell, "may be 365 days old at most");
    let unseen = [ALL_FOUR[0], ALL_FOUR[1], ("inspected = 59", "inspected = 3")];
    inspected(&unseen).expect(
        "INV-07",
        Outcome::CannotTell,
        "3 of 4 devices that were drawn were looked at",
    );
    inspected(&[]).expect(
        "INV-07",
        Outcome::CannotTell,
        "was drawn from 1,024 devices; the manifest lists 4 devices for this site, and 4 devices were seen",
    );
    let more = [
        ALL_FOUR[0],
        ("drawn = 59", "drawn = 5"),
        ("inspected = 59", "inspected = 5"),
    ];
    inspected(&more).expect("INV-07", Outcome::CannotTell, "contradicts itself");
    let waived = inspected(&one).with(
        "[[models]]",
        "[[waivers]]\ncondition = \"INV-07\"\nuntil = 2026-12-31\nreason = \"repainted\"\n[[models]]",
    );
    waived.expect("INV-07", Outcome::Waived, "repainted");
}

#[test]
fn inv_07_hears_every_assessor_and_the_newest_word_of_each() {
    let bad = [&ALL_FOUR[..], &[("mismatched = 0", "mismatched = 2")]].concat();
    let mut scene = inspected(&bad);
    let other = scene.hear_as("Other LLP", Role::Assessor, "");
    let theirs = [
        &ALL_FOUR[..],
        &[
            ("Harbour Compute Pte. Ltd.", "Other LLP"),
            ("08:00:00Z", "09:00:00Z"),
        ],
    ]
    .concat();
    scene.file("sample-inspection", other, &theirs);
    scene.expect("INV-07", Outcome::NotMet, "2 of 4");
    let first = scene.statements[0].signers[0];
    scene.file(
        "sample-inspection",
        first,
        &[&ALL_FOUR[..], &[("08:00:00Z", "10:00:00Z")]].concat(),
    );
    scene.expect("INV-07", Outcome::Met, "");
    let wanting = [
        ("condition = \"PHY-04\"", "condition = \"INV-07\""),
        ("\"satisfied\"", "\"not satisfied\""),
    ];
    scene.file("assessor-finding", first, &wanting);
    scene.expect("INV-07", Outcome::NotMet, "assessor's finding");
}

/// The honest scene, of whose first node the driver says that confidential computing is off.
fn unsigned() -> Scene {
    let mut scene = evidence::hour_of(evidence::flags(false, false, 0));
    scene.labs[1].prove(vec![answer(3), answer(4)]);
    scene
}

#[test]
fn inv_05_takes_a_visit_for_devices_whose_platform_cannot_sign() {
    unsigned().expect(
        "INV-05",
        Outcome::CannotTell,
        "which an assessor's visit (INV-07) would raise",
    );
    let mut scene = unsigned();
    let assessor = scene.hear(Role::Assessor, "");
    scene.file("sample-inspection", assessor, &ALL_FOUR);
    let met = scene.expect(
        "INV-05",
        Outcome::Met,
        "an assessor's visit answers for them: by the sample inspection",
    );
    assert_eq!(
        (met.grade, met.message_id.as_str()),
        (Grade::Declared, "INV-05.visited")
    );
    assert!(
        met.sentence.contains("2 of 4 devices that report signed"),
        "{}",
        met.sentence
    );
    let mut found = unsigned();
    let assessor = found.hear(Role::Assessor, "");
    let about = ("condition = \"PHY-04\"", "condition = \"INV-05\"");
    found.file("assessor-finding", assessor, &[about]);
    found.expect("INV-05", Outcome::Met, "assessor's finding");
    // It answers for nothing else, and never for what a device showed.
    let mut failing = evidence::fails(crate::appraisal::evidence::CheckName::Nonce, "it answers another");
    let assessor = failing.hear(Role::Assessor, "");
    failing.file("assessor-finding", assessor, &[about]);
    failing.expect("INV-05", Outcome::NotMet, "it answers another");
    let mut wanting = Scene::honest();
    let assessor = wanting.hear(Role::Assessor, "");
    wanting.file(
        "assessor-finding",
        assessor,
        &[about, ("\"satisfied\"", "\"not satisfied\"")],
    );
    let finding = wanting.expect("INV-05", Outcome::NotMet, "assessor's finding");
    assert_eq!(finding.grade, Grade::Declared);
}

impl Scene {
    /// Files a laboratory's certificate of these devices.
    pub(super) fn tested(&mut self, devices: &[u8], changes: &[(&str, &str)]) -> Digest {
        let laboratory = self.hear_as("Laboratory", Role::Laboratory, "");
        let names: Vec<String> = devices
            .iter()
            .map(|n| format!("\"{}\"", gpu(*n).identity.uuid.nvml()))
            .collect();
        let listed = format!("devices = [{}]", names.join(", "));
        let count = format!("count = {}", devices.len());
        let tested = format!("tested = {}", devices.len());
        let own = [
            (
                "devices = [\"GPU-1653b042-3c11-4d21-9a00-000000000117\"]",
                listed.as_str(),
            ),
            ("Harbour Compute Pte. Ltd.", "Laboratory"),
            ("model = \"H200 SXM\"", "model = \"H100 SXM5 80GB\""),
            ("count = 512", count.as_str()),
            ("tested = 59", tested.as_str()),
            ("bandwidth_gbps = 4800", "bandwidth_gbps = 3350"),
        ];
        self.file("test-certificate", laboratory, &[&own, changes].concat())
    }
}

fn certified(changes: &[(&str, &str)]) -> Scene {
    let mut scene = Scene::honest();
    scene.tested(&[1, 2, 3, 4], changes);
    scene
}

#[test]
fn inv_08_holds_what_a_laboratory_measured_against_the_catalogue() {
    let none = Scene::honest().expect(
        "INV-08",
        Outcome::CannotTell,
        "is named by no test certificate that is heard",
    );
    assert_eq!(none.subjects.len(), 4);
    let met = certified(&[]).expect("INV-08", Outcome::Met, "tested each of 4 devices");
    assert_eq!(met.grade, Grade::Declared);
    certified(&[("tpp = 15832", "tpp = 15700")]).expect("INV-08", Outcome::Met, "");
    let dummy = certified(&[("tpp = 15832", "tpp = 900")]).expect(
        "INV-08",
        Outcome::NotMet,
        "showed a TPP of 900 at most",
    );
    assert_eq!(dummy.severity, Severity::Major);
    certified(&[("= 3350", "= 2000")]).expect(
        "INV-08",
        Outcome::NotMet,
        "a bandwidth of memory of 2000 GB/s",
    );
    certified(&[("tpp = 15832", "tpp = 19000")]).expect("INV-08", Outcome::NotMet, "19000");
    let other = [("model = \"H100 SXM5 80GB\"", "model = \"H200 SXM\"")];
    certified(&other).expect("INV-08", Outcome::NotMet, "reports as a H100 SXM5 80GB");
    certified(&[("tested = 4", "tested = 3")]).expect("INV-08", Outcome::CannotTell, "which tested 3");
    certified(&[("independent = true", "independent = false")]).expect(
        "INV-08",
        Outcome::CannotTell,
        "not independent",
    );
    let mut two = Scene::honest();
    two.tested(&[1, 2], &[]);
    assert_eq!(two.expect("INV-08", Outcome::CannotTell, "").subjects.len(), 2);
    let empty = Scene::empty().finding("INV-08");
    assert_eq!(empty.message_id, "INV-08.no-report");
    let waiver =
        "[[waivers]]\ncondition = \"INV-08\"\nuntil = 2026-12-31\nreason = \"no laboratory\"\n[[models]]";
    Scene::honest()
        .with("[[models]]", waiver)
        .expect("INV-08", Outcome::Waived, "no laboratory");
}

/// The site under the rules of January 2026, with certificates of these devices.
fn lots(devices: &[u8], changes: &[(&str, &str)]) -> Scene {
    let mut scene = Scene::honest().with("us-ear-enforced-2026-05", "us-cn-h200-2026");
    scene.tested(devices, changes);
    scene
}

#[test]
fn sup_03_asks_for_an_independent_laboratory_of_the_right_country() {
    Scene::honest().expect(
        "SUP-03",
        Outcome::NotApplicable,
        "belongs to the profile cn-h200-2026",
    );
    let met = lots(&[1, 2, 3, 4], &[]).expect("SUP-03", Outcome::Met, "LOT-2026-07");
    assert_eq!(met.grade, Grade::Declared);
    let elsewhere = [("country = \"US\"", "country = \"SG\"")];
    lots(&[1, 2, 3, 4], &elsewhere).expect("SUP-03", Outcome::NotMet, "was tested in SG, which is not among");
    let tied = [("independent = true", "independent = false")];
    lots(&[1, 2, 3, 4], &tied).expect("SUP-03", Outcome::NotMet, "not independent");
    let three =
        lots(&[1, 2, 3], &[]).expect("SUP-03", Outcome::CannotTell, "is named by no test certificate");
    assert_eq!(three.subjects, [gpu(4).identity.uuid.nvml()]);
    lots(&[1, 2, 3, 4], &[("tested = 4", "tested = 0")]).expect(
        "SUP-03",
        Outcome::CannotTell,
        "tried none of its devices",
    );
    // Another laboratory's good certificate makes up for it.
    let mut both = lots(&[1, 2, 3, 4], &elsewhere);
    both.tested(&[1, 2, 3, 4], &[]);
    both.expect("SUP-03", Outcome::Met, "");
    let mut shipped = lots(&[1, 2, 3, 4], &[]);
    shipped.ship(Role::Supplier, &[("count = 4", "count = 6")]);
    shipped.expect(
        "SUP-03",
        Outcome::CannotTell,
        "6 of H100 SXM5 80GB were shipped, of which 4 stand in lots",
    );
    // A shipment may name its lot, and then that lot must be certified, whatever others are.
    let of_lot = |certified: &[(&str, &str)], lot: &str| {
        let mut scene = lots(&[1, 2, 3, 4], certified);
        let lot = format!("lot = \"{lot}\"");
        scene.ship(Role::Supplier, &[("# lot = \"LOT-2026-07\"", lot.as_str())]);
        scene
    };
    of_lot(&[], "LOT-2026-07").expect("SUP-03", Outcome::Met, "LOT-2026-07");
    of_lot(&[], "LOT-8").expect(
        "SUP-03",
        Outcome::CannotTell,
        "4 of H100 SXM5 80GB were shipped of lot LOT-8, of which no certificate that counts tells",
    );
    of_lot(&[("count = 4", "count = 3")], "LOT-2026-07").expect(
        "SUP-03",
        Outcome::CannotTell,
        "shipped of lot LOT-2026-07, of which 3 were certified",
    );
    let other = Scene::honest().with("licensed_tpp", "profiles = [\"cn-h200-2026\"]\nlicensed_tpp");
    other.expect(
        "SUP-03",
        Outcome::CannotTell,
        "no test certificate about site harbour-1 is on file",
    );
    let mut unlisted = Scene::honest().with("licensed_tpp", "profiles = [\"cn-h200-2026\"]\nlicensed_tpp");
    unlisted.tested(&[1, 2, 3, 4], &[]);
    unlisted.expect(
        "SUP-03",
        Outcome::CannotTell,
        "does not say in which countries laboratories count",
    );
}
