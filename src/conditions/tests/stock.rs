//! What was shipped, listed and seen; what left; and what is away for a time.

use super::*;
use crate::appraisal::Grade;
use crate::appraisal::fixture::bus;
use crate::statement::Role;
use crate::telemetry::DeviceState;
use crate::time::DAY_SECONDS;

impl Scene {
    /// Files a list of one shipment with all four devices, and more or less by these changes.
    pub(super) fn ship(&mut self, side: Role, changes: &[(&str, &str)]) -> Digest {
        let key = self.hear(side, "");
        let role = format!("role = \"{side}\"");
        let own = [
            ("role = \"supplier\"", role.as_str()),
            ("licence = \"HX-2026-0042\"", "licence = \"L-1\""),
            (
                "consignee = \"Harbour Compute Pte. Ltd.\"",
                "consignee = \"Consignee\"",
            ),
            ("count = 8", "count = 4"),
        ];
        self.file("shipment-list", key, &[&own, changes].concat())
    }

    /// Files what the conditions of stock and samples ask for.
    pub(super) fn in_stock(&mut self, assessor: Digest) {
        let sample = [
            ("population = 1024", "population = 4"),
            ("drawn = 59", "drawn = 4"),
            ("inspected = 59", "inspected = 4"),
        ];
        self.file("sample-inspection", assessor, &sample);
        self.ship(Role::Supplier, &[]);
        self.tested(&[1, 2, 3, 4], &[]);
    }

    /// Has someone say something of one device.
    fn tell(&mut self, kind: &str, side: Role, n: u8, changes: &[(&str, &str)]) -> Digest {
        let key = self.hear(side, "");
        let device = gpu(n).identity.uuid.nvml();
        let first = format!(
            "role = \"{}\"",
            crate::statement::Kind::named(kind).unwrap().roles[0]
        );
        let role = format!("role = \"{side}\"");
        let own = [
            (first.as_str(), role.as_str()),
            ("GPU-1653b042-3c11-4d21-9a00-000000000117", device.as_str()),
        ];
        self.file(kind, key, &[&own, changes].concat())
    }

    /// Adds someone's signature to the statement filed last.
    fn countersign(&mut self, name: &str, side: Role) {
        let key = self.hear_as(name, side, "");
        Arc::make_mut(self.statements.last_mut().unwrap())
            .signers
            .push(key);
    }
}

/// The fourth device has been silent for so many days, of which each other device reports.
fn silent_for(days: i64) -> Scene {
    let mut scene = Scene::honest();
    for lab in &mut scene.labs {
        lab.sleep(u64::try_from(days * DAY_SECONDS).unwrap());
    }
    scene.labs[0].run(1, &[gpu(1), gpu(2)]);
    scene.labs[1].run(1, &[gpu(3)]);
    scene.now = scene.labs[0].wall().plus(10);
    scene
}

const LEFT_LATER: (&str, &str) = ("left = 2026-11-13", "left = 2026-11-20");

#[test]
fn inv_02_takes_no_signature_for_another_event_than_it_was_given_for() {
    let twice = |left: &'static str| {
        let mut scene = silent_for(40);
        let went = [
            ("left = 2026-11-13", left),
            ("# back = 2026-12-20", "back = 2026-11-15"),
        ];
        scene.tell("rma", Role::Supplier, 4, &went);
        scene.tell("rma", Role::Operator, 4, &[LEFT_LATER, ("RMA-88120", "RMA-2")]);
        scene
    };
    twice("left = 2026-11-10").expect("INV-02", Outcome::CannotTell, "");
    let mut same = silent_for(40);
    same.tell("rma", Role::Supplier, 4, &[LEFT_LATER]);
    same.tell("rma", Role::Operator, 4, &[LEFT_LATER]);
    same.expect("INV-02", Outcome::Met, "it is on record why not");
}

#[test]
fn inv_02_excuses_what_is_on_record_and_says_so() {
    silent_for(9).expect(
        "INV-02",
        Outcome::CannotTell,
        "a statement that says so would settle it",
    );
    let mut scene = silent_for(9);
    let rma = scene.tell("rma", Role::Operator, 4, &[LEFT_LATER]);
    let met = scene.expect(
        "INV-02",
        Outcome::Met,
        "each of 3 devices on the manifest was seen within 7 days, which the rule set allows; of 1 more it is on record why not",
    );
    assert!(
        met.sentence
            .contains("it went back to Example Accelerators Inc. on 2026-11-20T00:00:00Z as RMA-88120")
    );
    assert_eq!(
        (met.message_id.as_str(), met.grade),
        ("INV-02.seen-or-excused", Grade::Declared)
    );
    assert!(met.evidence.contains(&rma));
    assert_eq!(met.subjects, [gpu(4).identity.uuid.nvml()]);
    // One that came back counts from then on.
    let mut back = silent_for(9);
    back.tell(
        "rma",
        Role::Operator,
        4,
        &[LEFT_LATER, ("# back = 2026-12-20", "back = 2026-11-24")],
    );
    back.expect("INV-02", Outcome::Met, "within 7 days");
    let mut long_back = silent_for(20);
    long_back.tell(
        "rma",
        Role::Operator,
        4,
        &[LEFT_LATER, ("# back = 2026-12-20", "back = 2026-11-24")],
    );
    long_back.expect("INV-02", Outcome::CannotTell, "has not been seen for 20 days");
    for kind in ["disposal", "transfer"] {
        let mut gone = silent_for(9);
        let date = if kind == "disposal" {
            ("on = 2026-11-18", "on = 2026-11-20")
        } else {
            ("leaves = 2026-12-04", "leaves = 2026-11-20")
        };
        gone.tell(kind, Role::Operator, 4, &[date]);
        gone.expect("INV-02", Outcome::Met, "it is on record why not");
    }
    // It vanished long before the day on which it is said to have left.
    let mut vanished = silent_for(20);
    vanished.tell(
        "rma",
        Role::Operator,
        4,
        &[("left = 2026-11-13", "left = 2026-12-05")],
    );
    vanished.expect("INV-02", Outcome::CannotTell, "");
    // It reported after that day.
    let mut refuted = silent_for(9);
    refuted.tell("rma", Role::Operator, 4, &[]);
    refuted.expect(
        "INV-02",
        Outcome::CannotTell,
        "is refuted, for it reported after that",
    );
}

#[test]
fn inv_02_lets_the_operator_s_word_alone_excuse_no_more_than_the_licence_leaves_open() {
    let mut scene = silent_for(40);
    scene.expect("INV-02", Outcome::NotMet, "has not been seen for 40 days");
    scene.tell("rma", Role::Operator, 4, &[LEFT_LATER]);
    let own = scene.expect(
        "INV-02",
        Outcome::CannotTell,
        "for so long the operator's word alone does not settle it",
    );
    assert_eq!(own.message_id, "INV-02.own-word");
    scene.countersign("Supplier Inc.", Role::Supplier);
    scene.expect("INV-02", Outcome::Met, "it is on record why not");
    // A countersignature of a key that the checker revoked before is nobody's.
    let filed = scene.statements.last().unwrap();
    scene.standing.revoked = vec![crate::licence::RevokedKey {
        key: filed.signers[1],
        name: "Supplier Inc.".to_owned(),
        from: filed.filed,
        replaced_by: None,
    }];
    scene.expect("INV-02", Outcome::CannotTell, "the operator's word alone");
    // Nobody countersigns for itself.
    let mut same = silent_for(40);
    same.tell("rma", Role::Operator, 4, &[LEFT_LATER]);
    same.countersign("Harbour Compute Pte. Ltd.", Role::Supplier);
    same.expect("INV-02", Outcome::CannotTell, "the operator's word alone");
    let mut second = silent_for(40);
    second.tell("rma", Role::Operator, 4, &[LEFT_LATER]);
    second.tell("rma", Role::Supplier, 4, &[LEFT_LATER]);
    second.expect("INV-02", Outcome::Met, "");
}

#[test]
fn inv_02_counts_a_declared_loss_at_once_and_a_rest_while_it_lasts() {
    let mut lost = silent_for(2);
    lost.tell(
        "loss",
        Role::Operator,
        4,
        &[("noticed = 2026-11-18", "noticed = 2026-11-21")],
    );
    let found = lost.expect("INV-02", Outcome::NotMet, "was declared missing on 2026-11-21");
    assert_eq!(
        (found.message_id.as_str(), found.grade),
        ("INV-02.declared-lost", Grade::Declared)
    );
    let mut fire = silent_for(9);
    let burnt = [
        ("noticed = 2026-11-18", "noticed = 2026-11-20"),
        ("kind = \"missing\"", "kind = \"destroyed\""),
    ];
    fire.tell("loss", Role::Operator, 4, &burnt);
    fire.expect("INV-02", Outcome::Met, "was declared destroyed");
    let rest = |to: &str, more: &[(&str, &str)]| {
        let mut scene = silent_for(9);
        let key = scene.hear(Role::Operator, "");
        let period = format!("to = {to}");
        let own = [
            ("from = 2026-11-01", "from = 2026-11-20"),
            ("to = 2026-11-30", period.as_str()),
        ];
        scene.file("maintenance", key, &[&own, more].concat());
        scene
    };
    rest("2026-11-30", &[]).expect("INV-02", Outcome::Met, "is without power from 2026-11-20");
    rest("2026-11-23", &[]).expect("INV-02", Outcome::Met, "");
    rest("2026-11-20", &[("from = 2026-11-20", "from = 2026-11-19")]).expect(
        "INV-02",
        Outcome::CannotTell,
        "has not been seen for 9 days",
    );
    rest("2026-11-30", &[("powered_off = true", "powered_off = false")]).expect(
        "INV-02",
        Outcome::CannotTell,
        "",
    );
    let other = [("# devices = [\"GPU-1653b042", "devices = [\"GPU-1653b042")];
    rest("2026-11-30", &other).expect("INV-02", Outcome::CannotTell, "");
    let mut wanting = Scene::honest();
    let assessor = wanting.hear(Role::Assessor, "");
    let about = [
        ("condition = \"PHY-04\"", "condition = \"INV-02\""),
        ("\"satisfied\"", "\"not satisfied\""),
    ];
    wanting.file("assessor-finding", assessor, &about);
    wanting.expect("INV-02", Outcome::NotMet, "assessor's finding");
}

#[test]
fn what_is_on_record_holds_back_a_want_of_reports_and_makes_nothing_met() {
    let quiet = silent_for(9);
    for id in ["OPS-01", "OPS-02"] {
        quiet.expect(id, Outcome::NotMet, "");
    }
    let mut scene = silent_for(9).with("licensed_tpp", "observation_min = 0.004\nlicensed_tpp");
    let hour = scene.finding("OPS-02");
    assert_eq!(hour.outcome, Outcome::Met, "{}", hour.sentence);
    let rma = scene.tell("rma", Role::Operator, 4, &[LEFT_LATER]);
    let held = scene.expect(
        "OPS-01",
        Outcome::CannotTell,
        "of the silent ones it is on record why 1 device cannot report, and of the others 100.00 % did",
    );
    assert_eq!(
        (held.message_id.as_str(), held.grade),
        ("OPS-01.on-record", Grade::Declared)
    );
    assert!(held.evidence.contains(&rma));
    // A site at rest for most of its time, and seen for the rest.
    let mut rested = silent_for(9);
    let key = rested.hear(Role::Operator, "");
    let period = [
        ("from = 2026-11-01", "from = 2026-11-20T01:00:00Z"),
        ("to = 2026-11-30", "to = 2026-11-29T01:00:00Z"),
    ];
    rested.file("maintenance", key, &period);
    rested.expect(
        "OPS-02",
        Outcome::CannotTell,
        "of device time not covered are on record, and of the rest",
    );
    let short = [
        ("from = 2026-11-01", "from = 2026-11-20T01:00:00Z"),
        ("to = 2026-11-30", "to = 2026-11-24"),
    ];
    rested.statements.clear();
    rested.file("maintenance", key, &short);
    rested.expect("OPS-02", Outcome::NotMet, "longest unobserved");
}

#[test]
fn inv_12_reconciles_what_was_shipped_with_what_is_there() {
    let shipped = |changes: &[(&str, &str)]| {
        let mut scene = Scene::honest();
        scene.ship(Role::Supplier, changes);
        scene
    };
    Scene::honest().expect(
        "INV-12",
        Outcome::CannotTell,
        "no shipment list about site harbour-1 is on file",
    );
    let met = shipped(&[]).expect("INV-12", Outcome::Met, "agree: 4 of H100 SXM5 80GB");
    assert_eq!(met.grade, Grade::Declared);
    let more = shipped(&[("count = 4", "count = 6")]).expect(
        "INV-12",
        Outcome::NotMet,
        "of H100 SXM5 80GB, 6 were shipped, the manifest lists 4, and 4 are accounted for (4 seen, 0 spare",
    );
    assert_eq!(more.message_id, "INV-12.not-reconciled");
    shipped(&[("count = 4", "count = 3")]).expect("INV-12", Outcome::NotMet, "3 were shipped");
    shipped(&[("model = \"H100 SXM5 80GB\"", "model = \"H200 SXM\"")]).expect(
        "INV-12",
        Outcome::NotMet,
        "of H200 SXM, 4 were shipped",
    );
    // Two of six wait in a store, or are on their way.
    for state in ["spare", "in transit", "returned"] {
        let mut scene = shipped(&[]);
        let more = format!("state = \"{state}\"");
        let second = [
            ("SH-2026-118", "SH-2026-119"),
            ("count = 4", "count = 2"),
            ("state = \"delivered\"", more.as_str()),
        ];
        scene.ship(Role::Supplier, &second);
        scene.expect("INV-12", Outcome::Met, "agree: 6 of");
    }
    // What arrived is no longer on its way.
    let mut arrived = shipped(&[]);
    arrived.ship(
        Role::Supplier,
        &[
            ("state = \"delivered\"", "state = \"in transit\""),
            ("issued = 2026-11-19", "issued = 2026-11-18"),
        ],
    );
    arrived.expect("INV-12", Outcome::Met, "agree: 4 of");
    shipped(&[("consignee = \"Consignee\"", "consignee = \"Other\"")]).expect(
        "INV-12",
        Outcome::CannotTell,
        "names Consignee as its consignee",
    );
    let waiver = "[[waivers]]\ncondition = \"INV-12\"\nuntil = 2026-12-31\nreason = \"count\"\n[[models]]";
    shipped(&[("count = 4", "count = 3")])
        .with("[[models]]", waiver)
        .expect("INV-12", Outcome::Waived, "count");
}

#[test]
fn inv_12_needs_the_supplier_s_list_and_holds_both_against_each_other() {
    let mut own = Scene::honest();
    own.ship(Role::Consignee, &[]);
    own.expect(
        "INV-12",
        Outcome::CannotTell,
        "only the consignee lists shipment SH-2026-118; the supplier's list would settle it",
    );
    own.ship(Role::Supplier, &[]);
    own.expect("INV-12", Outcome::Met, "");
    let mut differ = Scene::honest();
    differ.ship(Role::Consignee, &[]);
    differ.ship(Role::Supplier, &[("count = 4", "count = 8")]);
    let found = differ.expect(
        "INV-12",
        Outcome::NotMet,
        "of shipment SH-2026-118 the shipment list",
    );
    assert!(
        found.sentence.contains("differ: 8 and 4 of H100 SXM5 80GB"),
        "{}",
        found.sentence
    );
    assert_eq!(
        (found.message_id.as_str(), found.evidence.len()),
        ("INV-12.lists-differ", 2)
    );
    let mut two = Scene::honest().with(
        "[[models]]",
        "[[site]]\nid = \"harbour-2\"\ncountry = \"SG\"\n[[models]]",
    );
    two.licence = two
        .licence
        .replace("[[device]]\n", "[[device]]\nsite = \"harbour-1\"\n");
    two.ship(Role::Supplier, &[]);
    two.expect("INV-12", Outcome::Met, "");
    two.statements.clear();
    two.ship(Role::Supplier, &[("sites = [\"harbour-1\"]\n", "")]);
    two.expect(
        "INV-12",
        Outcome::CannotTell,
        "does not say what of it went to this site",
    );
}

#[test]
fn inv_12_waits_for_a_device_as_long_as_inv_02_does() {
    let at = |days: i64, told: bool| {
        let mut scene = silent_for(days);
        scene.ship(Role::Supplier, &[]);
        if told {
            scene.tell("rma", Role::Operator, 4, &[LEFT_LATER]);
        }
        scene
    };
    at(6, false).expect("INV-12", Outcome::Met, "");
    at(9, false).expect("INV-12", Outcome::CannotTell, "1 were not seen lately, or only");
    at(40, false).expect("INV-12", Outcome::NotMet, "3 are accounted for");
    // The operator's own word opens the question, and the supplier's answers it.
    at(40, true).expect(
        "INV-12",
        Outcome::CannotTell,
        "or only the operator says where they went",
    );
    let mut confirmed = at(40, true);
    confirmed.countersign("Maker Inc.", Role::Supplier);
    confirmed.expect("INV-12", Outcome::Met, "");
    // A device that stands on no row was not shipped.
    let mut foreign = Scene::empty();
    foreign.hour(&[gpu(1), gpu(2), gpu(9)], &[gpu(3), gpu(4)]);
    foreign.ship(Role::Supplier, &[]);
    foreign.expect("INV-12", Outcome::NotMet, "5 are accounted for");
}

/// The manifest of the second serial leaves out the fourth device.
fn dropped() -> Scene {
    let mut scene = Scene::honest();
    let older = scene.licence.clone();
    scene = scene
        .with(&device(4, "H100 SXM5 80GB"), "")
        .with("serial = 1", "serial = 2");
    scene.older.push(older);
    scene
}

#[test]
fn inv_09_asks_what_became_of_a_device_that_left_the_manifest() {
    Scene::honest().expect(
        "INV-09",
        Outcome::NotApplicable,
        "no older serial of the licence that is on file",
    );
    let bare = dropped().expect(
        "INV-09",
        Outcome::NotMet,
        "was listed by serial 1 and seen here until 2026-11-20T01:00:00Z",
    );
    assert_eq!((bare.subjects.len(), bare.severity), (1, Severity::Major));
    let waiver = "[[waivers]]\ncondition = \"INV-09\"\nuntil = 2026-12-31\nreason = \"sold\"\n[[models]]";
    dropped()
        .with("[[models]]", waiver)
        .expect("INV-09", Outcome::Waived, "sold");
    let records = [
        ("rma", LEFT_LATER),
        ("disposal", ("on = 2026-11-18", "on = 2026-11-20")),
        ("loss", ("noticed = 2026-11-18", "noticed = 2026-11-20")),
        ("transfer", ("leaves = 2026-12-04", "leaves = 2026-11-20")),
    ];
    for (kind, when) in records {
        let mut scene = dropped();
        scene.tell(kind, Role::Operator, 4, &[when]);
        scene.expect("INV-09", Outcome::CannotTell, "and only its operator says so");
        scene.countersign("Assessor LLP", Role::Assessor);
        scene.expect("INV-09", Outcome::Met, "1 device left the manifest on record");
    }
    let mut two = dropped();
    two.tell("rma", Role::Supplier, 4, &[LEFT_LATER]);
    two.expect("INV-09", Outcome::CannotTell, "no operator says so");
    two.tell("rma", Role::Operator, 4, &[LEFT_LATER]);
    two.expect("INV-09", Outcome::Met, "");
}

#[test]
fn inv_09_takes_no_return_of_a_device_that_came_back_for_its_leaving() {
    let returned = |back: &str| {
        let mut scene = dropped();
        let back = ("# back = 2026-12-20", back);
        scene.tell("rma", Role::Operator, 4, &[LEFT_LATER, back]);
        scene.countersign("Assessor LLP", Role::Assessor);
        scene
    };
    returned("# back").expect("INV-09", Outcome::Met, "went back to");
    returned("back = 2026-11-21").expect("INV-09", Outcome::Met, "went back to");
    returned("back = 2026-11-20T00:30:00Z").expect(
        "INV-09",
        Outcome::NotMet,
        "no disposal, return, loss or transfer of it is heard",
    );
}

#[test]
fn inv_09_takes_a_new_row_for_the_same_device_and_another_licence_for_its_place() {
    // Written anew under the same serial number.
    let uuid = format!("uuid = \"{}\"\n", gpu(4).identity.uuid.nvml());
    let mut renamed = Scene::honest();
    renamed.older.push(renamed.licence.clone());
    renamed
        .with(&uuid, "")
        .with("serial = 1\n", "serial = 2\n")
        .expect("INV-09", Outcome::NotApplicable, "");
    let mut beside = dropped();
    let (terms, _) = beside.licence.split_once("[[device]]").unwrap();
    beside.beside.push(format!(
        "{}{}",
        terms.replace("L-1", "L-2"),
        device(4, "H100 SXM5 80GB")
    ));
    beside.expect("INV-09", Outcome::Met, "is listed by licence L-2 now");
    // Never seen: it may never have come.
    let mut unseen = Scene::empty();
    unseen.hour(&[gpu(1), gpu(2)], &[gpu(3)]);
    let older = unseen.licence.clone();
    unseen = unseen
        .with(&device(4, "H100 SXM5 80GB"), "")
        .with("serial = 1", "serial = 2");
    unseen.older.push(older);
    unseen.expect(
        "INV-09",
        Outcome::CannotTell,
        "and never seen here; a record of its disposal",
    );
    // It reports on: what was said of it is worth nothing.
    let mut refuted = dropped();
    refuted.tell("rma", Role::Operator, 4, &[]);
    refuted.countersign("Assessor LLP", Role::Assessor);
    refuted.expect(
        "INV-09",
        Outcome::NotMet,
        "no disposal, return, loss or transfer of it is heard",
    );
}

/// An Ascend 910B on the bus of the first node, with this on file.
fn ascend(changes: &[(&str, &str)]) -> Scene {
    let mut scene = Scene::empty();
    scene.labs[1].run(12, &[gpu(3), gpu(4)]);
    scene.labs[0].run_with(12, &[gpu(1), gpu(2)], |c| {
        let mut ascend = bus(0xd802, 2, 0, DeviceState::Unmanaged);
        ascend.id.vendor = 0x19e5;
        c.submods.host.host.bus.push(ascend);
    });
    let agency = scene.hear_as("Agency", Role::Authority, "");
    let own = [
        (
            "consignee = \"Harbour Compute Pte. Ltd.\"",
            "consignee = \"Consignee\"",
        ),
        ("issuer = \"Harbour Compute Pte. Ltd.\"", "issuer = \"Agency\""),
        ("kind = \"licence\"", "kind = \"listed-device\""),
    ];
    scene.file("authorisation", agency, &[&own, changes].concat());
    scene
}

#[test]
fn inv_10_shows_what_is_permitted_and_fails_what_is_not() {
    let items = |count: &'static str| {
        [
            ("# [[claims.items]]", "[[claims.items]]"),
            ("# model = \"H100 SXM5 80GB\"", "model = \"Ascend 910B\""),
            ("# count = 1024", count),
        ]
    };
    let met = ascend(&items("count = 2")).expect(
        "INV-10",
        Outcome::Met,
        "each that was seen is permitted: 2 of Huawei Ascend",
    );
    assert_eq!(
        (met.grade, met.message_id.as_str()),
        (Grade::Declared, "INV-10.permitted")
    );
    ascend(&items("count = 1")).expect("INV-10", Outcome::NotMet, "2 of Huawei Ascend");
    ascend(&[]).expect(
        "INV-10",
        Outcome::CannotTell,
        "does not say for which devices it is",
    );
    let licence = [
        &items("count = 2")[..],
        &[("kind = \"listed-device\"", "kind = \"licence\"")],
    ]
    .concat();
    ascend(&licence).expect("INV-10", Outcome::NotMet, "2 of Huawei Ascend");
    let named = [("# devices = [\"GPU-1653b042", "devices = [\"GPU-1653b042")];
    ascend(&named).expect("INV-10", Outcome::NotMet, "");
}
