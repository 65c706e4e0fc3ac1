use super::*;
use crate::time::DAY_SECONDS;

#[test]
fn ops_01_counts_the_devices_that_report() {
    let finding = Scene::honest().expect(
        "OPS-01",
        Outcome::Met,
        "4 of 4 devices on the manifest reported within 24 hours (100.00 %)",
    );
    assert_eq!(finding.limit.unwrap().lower.unwrap(), "0.99");
    let mut scene = Scene::empty();
    scene.hour(&[gpu(1), gpu(2)], &[gpu(3)]);
    let finding = scene.expect(
        "OPS-01",
        Outcome::NotMet,
        "3 of 4 devices on the manifest reported within 24 hours (75.00 %)",
    );
    assert_eq!(finding.subjects, [gpu(4).identity.uuid.nvml()]);
    scene
        .with("licensed_tpp", "coverage_min = 0.7\nlicensed_tpp")
        .expect("OPS-01", Outcome::Met, "silent: GPU-04040404");
}

#[test]
fn ops_02_takes_time_without_samples_as_unobserved() {
    Scene::honest().expect(
        "OPS-02",
        Outcome::Met,
        "samples cover 100.00 % of the device time",
    );
    let mut half = gpu(1);
    half.delivered.covered_ms = 100_000;
    let mut scene = Scene::empty();
    scene.hour(&[half, gpu(2)], &[gpu(3), gpu(4)]);
    let finding = scene.expect("OPS-02", Outcome::NotMet, "longest unobserved: GPU-01010101");
    // 1,200 s of 3,010 due for one device, all of it for three.
    assert_eq!(finding.measured.unwrap().lower.unwrap(), "0.849667");
}

#[test]
fn ops_02_does_not_take_more_than_a_day_has() {
    let mut scene = Scene::honest();
    scene.now = start().plus(3 * DAY_SECONDS);
    let mut liar = gpu(1);
    liar.delivered.covered_ms = u32::MAX;
    scene.labs[0].run(1, &[liar]);
    let finding = scene.finding("OPS-02");
    assert_eq!(finding.outcome, Outcome::NotMet, "{}", finding.sentence);
}

#[test]
fn ops_02_finds_a_gap_though_two_nodes_name_the_device_on_other_days() {
    let day = |scene: &mut Scene, second: &[AcceleratorClaims]| {
        scene.labs[0].run(288, &[gpu(1), gpu(2), gpu(3), gpu(4)]);
        scene.labs[1].run(288, second);
    };
    let mut scene = Scene::empty();
    day(&mut scene, &[gpu(1), gpu(2), gpu(3), gpu(4)]);
    for lab in &mut scene.labs {
        lab.sleep(86_400);
    }
    day(&mut scene, &[]);
    scene.now = scene.labs[0].wall().plus(10);
    // Two days of three; a report counts on the day in which it ends.
    let finding = scene.expect("OPS-02", Outcome::NotMet, "longest unobserved");
    let share: f64 = finding.measured.unwrap().lower.unwrap().parse().unwrap();
    assert!((0.66..0.68).contains(&share), "{share}");
}

#[test]
fn a_damaged_copy_of_a_report_opens_what_it_may_have_shown_and_nothing_else() {
    let mut scene = Scene::empty();
    let mut foreign = gpu(9);
    foreign.identity.serial = None;
    scene.hour(&[gpu(1), gpu(2), foreign], &[gpu(3)]);
    scene.expect("OPS-01", Outcome::NotMet, "3 of 4 devices");
    let at = scene.now;
    scene.labs[1].record.damage(at);
    let damaged = "damaged in the verifier's database";
    for id in ["OPS-01", "OPS-02", "OPS-03", "SEC-06", "SEC-09"] {
        scene.expect(id, Outcome::CannotTell, damaged);
    }
    scene.expect("INV-01", Outcome::NotMet, "GPU-09090909");
    // Once later reports were received, the newest is known again, and so is who is silent.
    scene.labs[1].run(1, &[gpu(3)]);
    scene.labs[0].run(1, &[gpu(1)]);
    scene.now = scene.now.plus(600);
    scene.expect("OPS-03", Outcome::Met, "the newest report of each of 2 nodes");
    scene.expect("OPS-01", Outcome::CannotTell, damaged);
    scene.now = at.plus(2 * DAY_SECONDS);
    scene.expect("OPS-01", Outcome::NotMet, "0 of 4 devices");
}

#[test]
fn a_damaged_copy_breaks_no_chain() {
    let mut scene = Scene::honest();
    let chain = scene.labs[0].record.facts.chain.clone();
    scene.labs[0].run(1, &[gpu(1), gpu(2)]);
    let whole = scene.labs[0].record.facts.chain.clone();
    let place = whole.head.clone().unwrap();
    scene.labs[0].record.facts.chain = chain;
    scene.labs[0]
        .record
        .pass_over(place, scene.now, crate::report::Continuity::Follows);
    assert_eq!(scene.labs[0].record.facts.chain, whole);
    scene.labs[0].run(1, &[gpu(1), gpu(2)]);
    scene.expect("SEC-06", Outcome::CannotTell, "damaged");
}

#[test]
fn a_node_that_another_reports_in_place_of_may_be_silent_and_its_holes_still_count() {
    let mut scene = Scene::honest();
    scene.labs.push(Lab::new(3, start()));
    scene.statuses.push(status(3));
    scene.labs[0].sleep(2 * 86_400);
    scene.labs[2].sleep(2 * 86_400 + 3_600);
    scene.labs[1].sleep(2 * 86_400);
    scene.labs[1].run(12, &[gpu(3), gpu(4)]);
    scene.labs[2].run(12, &[gpu(1), gpu(2)]);
    scene.now = start().plus(2 * 86_400 + 7_210);
    scene.expect("OPS-03", Outcome::NotMet, "newest report of node n-1 is 2 days");
    scene.expect("INV-01", Outcome::CannotTell, "node n-1 has been silent");
    scene.statuses[0].succeeded_from = Some(start().plus(2 * 86_400 + 3_900));
    scene.expect("OPS-03", Outcome::Met, "each of 2 nodes");
    scene.expect("INV-01", Outcome::Met, "");
    scene.expect("INV-03", Outcome::Met, "");
    let chain = &mut scene.labs[0].record.facts.chain;
    let head = chain.head.clone().unwrap();
    chain.gaps.push(crate::appraisal::ChainGap {
        chain: head.chain,
        after: 1,
        before: 3,
        missing: 1,
        at: start().plus(900),
        report: head.digest,
    });
    scene.expect(
        "INV-01",
        Outcome::CannotTell,
        "node n-1 has not delivered 1 report",
    );
}

#[test]
fn ops_03_judges_the_oldest_node() {
    Scene::honest().expect(
        "OPS-03",
        Outcome::Met,
        "at most 10 seconds old; the rule set allows 24 hours",
    );
    let mut scene = Scene::honest();
    scene.labs[0].sleep(86_400);
    scene.labs[0].run(1, &[gpu(1), gpu(2)]);
    scene.now = scene.labs[0].wall().plus(10);
    scene.expect(
        "OPS-03",
        Outcome::NotMet,
        "the newest report of node n-2 is 24 hours old",
    );
}

#[test]
fn ops_03_cannot_tell_an_age_from_a_clock_that_is_off() {
    let clock = |offset: i64| {
        let mut scene = Scene::empty();
        scene.labs[1].run(12, &[gpu(3), gpu(4)]);
        scene.labs[0].run(6, &[gpu(1), gpu(2)]);
        scene.labs[0].run_with(6, &[gpu(1), gpu(2)], |c| {
            c.report.time.wall_end = c.report.time.wall_end.plus(offset);
            c.issued_at = c.issued_at.plus(offset);
        });
        scene
    };
    clock(3_600).expect("OPS-03", Outcome::CannotTell, "by 3600 s (report received");
    clock(-3_600).expect("OPS-03", Outcome::CannotTell, "by 3600 s (report received");
    clock(30).expect("OPS-03", Outcome::Met, "");
}

#[test]
fn ops_03_leaves_a_node_open_that_never_reported() {
    let mut scene = Scene::empty();
    scene.labs[0].run(12, &[gpu(1), gpu(2)]);
    scene.expect("OPS-03", Outcome::CannotTell, "node n-2 has never reported");
    scene.statuses[1].revoked_from = Some(start());
    scene.expect("OPS-03", Outcome::Met, "each of 1 node");
}

#[test]
fn ops_05_remembers_a_report_that_was_refused_for_its_fields() {
    Scene::honest().expect(
        "OPS-05",
        Outcome::Met,
        "each of 24 reports holds only fields of the published schema",
    );
    let mut scene = Scene::honest();
    scene.labs[0].record.facts.refuse("E-FIELD", start().plus(60));
    scene.labs[0].record.facts.refuse("E-SIZE", start().plus(60));
    scene.expect(
        "OPS-05",
        Outcome::NotMet,
        "1 report of node n-1 refused with E-FIELD",
    );
    let mut damaged = Scene::honest();
    damaged.labs[0].record.facts.refuse("E-FORM", start().plus(60));
    damaged.expect(
        "OPS-05",
        Outcome::CannotTell,
        "1 report of node n-1 refused with E-FORM",
    );
}
