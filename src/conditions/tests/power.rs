//! Power that sites are rated for, and that meters read.

use super::papers::READING;
use super::places::{declared, found, told, waived};
use super::*;
use crate::appraisal::Grade;
use crate::statement::Role;
use crate::telemetry::Reading;

fn read(changes: &[(&str, &str)]) -> Scene {
    told("power-reading", &[READING, changes].concat())
}

fn read_while(mut scene: Scene, changes: &[(&str, &str)]) -> Scene {
    let operator = scene.hear(Role::Operator, "");
    scene.file("power-reading", operator, &[READING, changes].concat());
    scene
}

#[test]
fn phy_02_holds_ratings_against_the_devices_of_the_site() {
    Scene::honest().expect("PHY-02", Outcome::CannotTell, "no site declaration about site");
    let met = declared(&[]).expect(
        "PHY-02",
        Outcome::Met,
        "is rated for 5 kW; the 4 devices of this site may draw 2.8 kW together, and that is between 3.7 and 11.2 kW",
    );
    assert_eq!(met.grade, Grade::Declared);
    let limit = met.limit.unwrap();
    assert_eq!(
        (limit.lower.as_deref(), limit.upper.as_deref()),
        (Some("3.7"), Some("11.2"))
    );
    // Four kilowatts are just enough, three are not.
    let rated = |kw: &str| declared(&[("rated_kw = 5", kw)]);
    rated("rated_kw = 4").expect("PHY-02", Outcome::Met, "");
    let below = rated("rated_kw = 3");
    below.expect("PHY-02", Outcome::NotMet, "is rated for 3 kW");
    waived(below, "PHY-02");
    rated("rated_kw = 12").expect(
        "PHY-02",
        Outcome::CannotTell,
        "room for devices that are not listed",
    );
    declared(&[("cooling_kw = 5", "cooling_kw = 3")]).expect(
        "PHY-02",
        Outcome::NotMet,
        "its cooling takes away 3 kW",
    );
    declared(&[("cooling_kw = 5", "# cooling_kw = 5")]).expect(
        "PHY-02",
        Outcome::CannotTell,
        "says nothing of cooling",
    );
    // Where the meters of a site are made for more, so is the site.
    let meter = [("# rated_kw = 2400", "rated_kw = 2400")];
    let mut made_for_more = declared(&[]);
    let operator = made_for_more.hear(Role::Operator, "");
    made_for_more.file("power-reading", operator, &[READING, &meter].concat());
    made_for_more.expect("PHY-02", Outcome::CannotTell, "tells of a rating of 2,400 kW");
}

#[test]
fn phy_02_counts_every_device_and_takes_no_model_for_nothing() {
    // A device that no manifest lists draws power too.
    let mut scene = declared(&[("rated_kw = 5", "rated_kw = 4")]);
    scene.labs[0].run(1, &[gpu(1), gpu(2), gpu(9)]);
    scene.now = start().plus(3_910);
    scene.expect(
        "PHY-02",
        Outcome::NotMet,
        "the 5 devices of this site may draw 3.5 kW",
    );
    // So do the rows of another licence that holds.
    let mut beside = declared(&[("rated_kw = 5", "rated_kw = 4")]);
    let other = beside.licence.replace("L-1", "L-2");
    beside
        .beside
        .push(other.split("[[device]]").next().unwrap().to_owned() + &device(7, "H100 SXM5 80GB"));
    beside.expect("PHY-02", Outcome::NotMet, "the 5 devices");
    // What is known already needs more; else the power of a model that nobody knows leaves it open.
    let unknown = |kw: &str| {
        let mut scene = declared(&[("rated_kw = 5", kw)]);
        scene.licence = scene.licence.replace(&device(4, "H100 SXM5 80GB"), "");
        scene
            .licence
            .push_str("\n[[device]]\nserial = \"X1\"\nmodel = \"Nobody's\"\n");
        scene
    };
    unknown("rated_kw = 5").expect(
        "PHY-02",
        Outcome::CannotTell,
        "the power of Nobody's is not in the catalogue",
    );
    unknown("rated_kw = 2").expect("PHY-02", Outcome::NotMet, "rated for 2 kW");
}

#[test]
fn phy_02_hears_an_assessor_against_a_declaration_and_not_against_arithmetic() {
    let mut wanting = declared(&[]);
    found(&mut wanting, "PHY-02", "not satisfied");
    wanting.expect("PHY-02", Outcome::NotMet, "assessor's finding");
    let mut open = declared(&[]);
    found(&mut open, "PHY-02", "cannot tell");
    open.expect("PHY-02", Outcome::CannotTell, "assessor's finding");
    let mut looked = declared(&[("rated_kw = 5", "rated_kw = 12000")]);
    found(&mut looked, "PHY-02", "satisfied");
    looked.expect("PHY-02", Outcome::Met, "assessor's finding");
    let mut below = declared(&[("rated_kw = 5", "rated_kw = 3")]);
    found(&mut below, "PHY-02", "satisfied");
    below.expect("PHY-02", Outcome::NotMet, "is rated for 3 kW");
}

#[test]
fn phy_03_calls_less_than_the_devices_took_a_breach_and_much_more_an_open_question() {
    Scene::honest().expect("PHY-03", Outcome::CannotTell, "no power reading about site");
    let met = read_while(drawing(), &[("energy_kwh = 1", "energy_kwh = 22")]).expect(
        "PHY-03",
        Outcome::Met,
        "meters read 20.7 to 23.2 kWh from 2026-11-20T00:00:00Z until just before 2026-11-20T01:00:00Z",
    );
    assert_eq!(
        (met.grade, met.measured.unwrap().unit),
        (Grade::Declared, "kWh".to_owned())
    );
    // Of the hour, a minute at each end is left to the clocks.
    assert_eq!(met.limit.unwrap().lower.as_deref(), Some("19.9"));
    read(&[("energy_kwh = 1", "energy_kwh = 3")]).expect(
        "PHY-03",
        Outcome::CannotTell,
        "devices that do not report cannot be told apart",
    );
    // The meters of four devices that took 5 kWh each.
    let deficit = read_while(drawing(), &[("energy_kwh = 1", "energy_kwh = 15")]);
    let finding = deficit.expect("PHY-03", Outcome::NotMet, "either counters are false");
    let (measured, limit) = (finding.measured.unwrap(), finding.limit.unwrap());
    assert_eq!(
        (measured.upper.as_deref(), limit.lower.as_deref()),
        (Some("16.1"), Some("19.9"))
    );
    waived(deficit, "PHY-03");
}

#[test]
fn phy_03_takes_no_meter_s_word_for_how_far_it_may_be_off() {
    let off = |kwh: &str, error: &str| {
        let changes = [("energy_kwh = 1", kwh), ("error = 0.01", error)];
        read_while(drawing(), &changes)
    };
    off("energy_kwh = 22", "error = 0.01").expect("PHY-03", Outcome::Met, "");
    // The same deficit breaks it or leaves it open, and clears nothing.
    off("energy_kwh = 15", "error = 0.01").expect("PHY-03", Outcome::NotMet, "");
    for error in ["error = 0.3", "error = 0.9", "error = 1"] {
        let found = off("energy_kwh = 15", error).expect(
            "PHY-03",
            Outcome::CannotTell,
            "the meters may have read less than that",
        );
        assert_eq!(found.message_id, "PHY-03.perhaps-less-than-devices");
        off("energy_kwh = 22", error).expect("PHY-03", Outcome::CannotTell, "");
    }
    // Whole kilowatt-hours show nothing of a site that took less than one.
    read(&[]).expect("PHY-03", Outcome::CannotTell, "or over a longer time");
}

/// An hour in which four devices took 5 kWh each.
pub(super) fn drawing() -> Scene {
    let drawing = |n| {
        let mut claims = gpu(n);
        claims.delivered.measured.energy_mj = Reading::Value(1_500_000_000);
        claims
    };
    let mut scene = Scene::empty();
    scene.hour_of(12, &[1, 2, 3, 4].map(drawing));
    scene
}

#[test]
fn phy_03_adds_up_the_meters_of_one_time_and_holds_each_against_what_it_feeds() {
    let mut scene = drawing();
    let operator = scene.hear(Role::Operator, "");
    let half = ("energy_kwh = 1", "energy_kwh = 12");
    let other = ("meter = \"MTR-77120\"", "meter = \"MTR-2\"");
    scene.file("power-reading", operator, &[READING, &[half]].concat());
    scene.expect(
        "PHY-03",
        Outcome::NotMet,
        "meters leave out what feeds some of the devices",
    );
    // The same meter told twice is one.
    let later = ("issued = 2026-11-19T08:00:00Z", "issued = 2026-11-20T01:00:01Z");
    scene.file(
        "power-reading",
        operator,
        &[&READING[1..], &[half, later]].concat(),
    );
    scene.expect("PHY-03", Outcome::NotMet, "");
    scene.file("power-reading", operator, &[READING, &[half, other]].concat());
    let both = scene.expect("PHY-03", Outcome::Met, "took at least 19.9 kWh");
    assert!(both.evidence.len() >= 2);
    // A meter that feeds two devices is held against these two.
    let two = format!(
        "devices = [\"{}\", \"{}\"]",
        gpu(1).identity.uuid.nvml(),
        gpu(2).identity.uuid.nvml()
    );
    let named = (
        "# devices = [\"GPU-1653b042-3c11-4d21-9a00-000000000117\"]",
        two.as_str(),
    );
    scene.statements.clear();
    scene.file("power-reading", operator, &[READING, &[half, named]].concat());
    scene.expect("PHY-03", Outcome::Met, "took at least 9.9 kWh");
    scene.statements.clear();
    scene.file(
        "power-reading",
        operator,
        &[READING, &[("energy_kwh = 1", "energy_kwh = 8"), named]].concat(),
    );
    scene.expect("PHY-03", Outcome::NotMet, "took at least 9.9 kWh");
}

#[test]
fn phy_03_has_no_operator_close_what_an_assessor_left_open() {
    let mut scene = drawing();
    let (operator, assessor) = (scene.hear(Role::Operator, ""), scene.hear(Role::Assessor, ""));
    let by_assessor = ("role = \"operator\"", "role = \"assessor\"");
    let fitting = ("energy_kwh = 1", "energy_kwh = 22");
    let blurred = [fitting, ("error = 0.01", "error = 0.5"), by_assessor];
    scene.file("power-reading", assessor, &[READING, &blurred].concat());
    scene.expect("PHY-03", Outcome::CannotTell, "may have read less than that");
    // Newer, and of nearly the same time.
    let newer = [
        fitting,
        ("from = 2026-11-20T00:00:00Z", "from = 2026-11-20T00:00:01Z"),
        ("meter = \"MTR-77120\"", "meter = \"MTR-2\""),
    ];
    scene.file("power-reading", operator, &[READING, &newer].concat());
    scene.expect("PHY-03", Outcome::CannotTell, "may have read less than that");
}

#[test]
fn phy_03_is_open_where_a_reading_does_not_say_enough() {
    for (changes, says) in [
        (("error = 0.01", "# error = 0.01"), "how far a meter may be off"),
        (("to = 2026-11-20T01:00:00Z", "to = 2026-11-30"), "not over yet"),
        (
            ("sites = [\"harbour-1\"]", "sites = [\"harbour-1\", \"x\"]"),
            "feed other sites too",
        ),
    ] {
        read(&[changes]).expect("PHY-03", Outcome::CannotTell, says);
    }
    let longer = [
        ("from = 2026-11-20T00:00:00Z", "from = 2026-11-19T23:00:00Z"),
        ("energy_kwh = 1", "energy_kwh = 22"),
    ];
    read_while(drawing(), &longer).expect("PHY-03", Outcome::Met, "");
    // Nobody reported in that time.
    let before = [
        ("from = 2026-11-20T00:00:00Z", "from = 2026-11-10"),
        ("to = 2026-11-20T01:00:00Z", "to = 2026-11-11"),
    ];
    read(&before).expect(
        "PHY-03",
        Outcome::CannotTell,
        "no report tells what the devices took",
    );
    let mut looked = read(&before);
    found(&mut looked, "PHY-03", "satisfied");
    looked.expect("PHY-03", Outcome::Met, "assessor's finding");
    let mut wanting = read(&[]);
    found(&mut wanting, "PHY-03", "not satisfied");
    wanting.expect("PHY-03", Outcome::NotMet, "assessor's finding");
}
