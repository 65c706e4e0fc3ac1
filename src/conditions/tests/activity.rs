use super::purpose::levels_of;
use super::*;
use crate::appraisal::fixture::compute;
use crate::telemetry::Reading;
use crate::time::DAY_SECONDS;
use crate::workload::{Level, LevelTimes};

/// Two days of reports in which each device was busy for a third of the time and trained with a part of what it computed.
fn two_days(activity: &str, edit: fn(&mut AcceleratorClaims)) -> Scene {
    let mut scene = Scene::empty();
    let devices = [1, 2, 3, 4].map(|n| {
        let mut device = gpu(n);
        edit(&mut device);
        device
    });
    scene.hour_of(576, &devices);
    scene.now = start().plus(2 * DAY_SECONDS + 10);
    scene.licence.push_str(activity);
    scene
}

const BUSY: &str = "\n[[activity]]\nfrom = 2026-11-20\nto = 2026-11-21\nbusy_share = 0.33\n";
const IDLE: &str = "\n[[activity]]\nfrom = 2026-11-20\nto = 2026-11-21\nbusy_share = 0\n";
const TRAINING: &str = "\n[[activity]]\nfrom = 2026-11-20\nto = 2026-11-21\ntraining_share = 0.5\n";

fn idle(device: &mut AcceleratorClaims) {
    device.delivered.measured.busy_ms = Reading::Value(0);
    device.delivered.measured.energy_mj = Reading::Value(77_000 * 300);
    device.delivered.compute = Some(compute(0, 0));
}

#[test]
fn trn_07_does_not_apply_where_nothing_was_declared() {
    Scene::honest().expect("TRN-07", Outcome::NotApplicable, "`[[activity]]`");
}

#[test]
fn trn_07_compares_declared_and_measured_shares() {
    let scene = two_days(BUSY, |_| {});
    scene.expect(
        "TRN-07",
        Outcome::Met,
        "33.00 % of device time was declared busy, and 33.27 % to 33.44 % was measured",
    );
    let apart = two_days(&BUSY.replace("0.33", "0.60"), |_| {});
    let finding = apart.expect(
        "TRN-07",
        Outcome::NotMet,
        "60.00 % of device time was declared busy",
    );
    assert_eq!(finding.subjects, ["harbour-1"]);
    let training = two_days(TRAINING, |d| {
        d.delivered.compute = Some(compute(1_000, 1_010));
        d.delivered.training = Some(compute(500, 510));
    });
    let met = training.expect("TRN-07", Outcome::Met, "50.00 % of compute was declared training");
    assert_eq!(met.level, None, "no report tells a level");
    let levelled = two_days(TRAINING, |d| {
        d.delivered.compute = Some(compute(1_000, 1_010));
        d.delivered.training = Some(compute(0, 1_010));
        d.delivered.workload.levels = Some(levels_of(100_000, 0, 1_010));
    });
    let open = levelled.expect(
        "TRN-07",
        Outcome::CannotTell,
        "the highest level is L2, on 4 devices",
    );
    assert_eq!(open.level, Some(Level::Candidate));
    let none = two_days(TRAINING, |d| {
        d.delivered.compute = Some(compute(1_000, 1_010));
        d.delivered.training = Some(compute(0, 0));
    });
    none.expect(
        "TRN-07",
        Outcome::NotMet,
        "50.00 % of compute was declared training",
    );
    let unscored = two_days(TRAINING, |d| {
        d.delivered.compute = Some(compute(1_000, 1_010));
        d.delivered.training = None;
    });
    unscored.expect("TRN-07", Outcome::CannotTell, "0.00 % to 100.00 % was measured");
}

#[test]
fn trn_07_finds_that_declared_idle_devices_draw_power_or_compute() {
    two_days(IDLE, idle).expect("TRN-07", Outcome::Met, "0.00 % of device time was declared busy");
    let hot = two_days(IDLE, |d| {
        idle(d);
        d.delivered.measured.energy_mj = Reading::Value(350_000 * 300);
    });
    hot.expect(
        "TRN-07",
        Outcome::NotMet,
        "of their models' power while they were declared idle, where 25.00 % is allowed",
    );
    let computing = two_days(IDLE, |d| {
        idle(d);
        d.delivered.compute = Some(compute(500, 600));
    });
    computing.expect(
        "TRN-07",
        Outcome::NotMet,
        "was computed while they were declared idle",
    );
    let silent = two_days(IDLE, |d| {
        idle(d);
        d.delivered.measured.energy_mj = Reading::Unsupported;
    });
    silent.expect("TRN-07", Outcome::CannotTell, "do not tell their energy");
}

#[test]
fn trn_07_takes_silence_for_anything() {
    let mut scene = two_days(&BUSY.replace("2026-11-21", "2026-11-23"), |_| {});
    scene.now = start().plus(4 * DAY_SECONDS + 10);
    scene.expect(
        "TRN-07",
        Outcome::CannotTell,
        "33.00 % of device time was declared busy, and 16.",
    );
    let early = two_days(
        &BUSY
            .replace("2026-11-20", "2026-11-22")
            .replace("2026-11-21", "2026-11-23"),
        |_| {},
    );
    early.expect("TRN-07", Outcome::CannotTell, "no whole day (UTC) is over yet");
    let mut waived = two_days(&BUSY.replace("0.33", "0.60"), |_| {});
    waived.licence.push_str(
        "\n[[waivers]]\ncondition = \"TRN-07\"\nuntil = 2026-12-31\nreason = \"a known mistake\"\n",
    );
    waived.expect("TRN-07", Outcome::Waived, "a known mistake");
}

/// A day in which each device was busy for a third of the time, and for these parts in 1,320 in training, in compute at peak and in time of runs at
/// L3, under a licence that sets a share.
fn trained(least: u128, most: u128, share: &str) -> Scene {
    trained_at(least, most, share, Some)
}

/// The same, where the reports tell other levels.
fn trained_at(least: u128, most: u128, share: &str, told: fn(LevelTimes) -> Option<LevelTimes>) -> Scene {
    day_of(share, |device| {
        device.delivered.compute = Some(compute(400, 410));
        device.delivered.training = Some(compute(least, most));
        device.delivered.workload.levels = told(levels_of(100_000, least, most));
    })
}

/// A day of devices that are busy for a third of the time, but for what is changed, under a licence that sets a share.
fn day_of(share: &str, edit: impl Fn(&mut AcceleratorClaims)) -> Scene {
    let mut scene = Scene::empty().with(
        "serial = 1\n",
        &format!("serial = 1\ntraining_share_max = {share}\n"),
    );
    let devices = [1, 2, 3, 4].map(|n| {
        let mut device = gpu(n);
        edit(&mut device);
        device
    });
    scene.hour_of(289, &devices);
    scene.now = start().plus(DAY_SECONDS + 310);
    scene
}

#[test]
fn trn_03_holds_training_against_its_share_of_busy_time() {
    Scene::honest().expect("TRN-03", Outcome::NotApplicable, "`training_share_max`");
    let met = trained(0, 0, "0.5").expect("TRN-03", Outcome::Met, "0.00 % to ");
    assert!(met.sentence.contains("was never measured"), "{}", met.sentence);
    assert_eq!(met.limit.unwrap().upper.as_deref(), Some("0.5"));
    // 220 of 1,320 are a sixth of the time, half of that in which the devices were busy.
    let scene = trained(220, 410, "0.4");
    let above = scene.expect("TRN-03", Outcome::NotMet, "even the lower bound is above it");
    assert_eq!(above.subjects, ["harbour-1"]);
    let measured = above.measured.unwrap();
    assert!(
        measured.lower.as_deref().unwrap().starts_with("0.49"),
        "{measured:?}"
    );
    let mut scene = scene.with("training_share_max = 0.4", "training_share_max = 0.6");
    let open = scene.expect("TRN-03", Outcome::CannotTell, "the share lies between the bounds");
    let words = "15.9 device-hours are established as training (L3), 15.9 may be training (L2), 0.3 have no level told; the highest level is \
                 L3, on 4 devices";
    assert!(open.sentence.contains(words), "{}", open.sentence);
    assert!(
        open.sentence.contains("whoever looks at the jobs can"),
        "{}",
        open.sentence
    );
    assert_eq!(open.level, Some(Level::Established));
    let waiver = "[[waivers]]\ncondition = \"TRN-03\"\nuntil = 2026-12-31\nreason = \"a trial\"\n";
    scene.licence.push_str(waiver);
    scene.expect("TRN-03", Outcome::Waived, "a trial");
    let all = trained(0, 410, "1");
    all.expect("TRN-03", Outcome::Met, "the licence allows 100.00 %");
    let reported = all.with("reported_bounds_suffice = true\n", "");
    reported.expect("TRN-03", Outcome::CannotTell, "`reported_bounds_suffice`");
    let mut early = Scene::honest().with("serial = 1\n", "serial = 1\ntraining_share_max = 0.5\n");
    early.now = start().plus(3_610);
    early.expect("TRN-03", Outcome::CannotTell, "no whole day (UTC) is over yet");
}

#[test]
fn trn_03_accuses_nobody_of_less_than_what_runs_establish() {
    let at = |share: &str, told| trained_at(220, 410, share, told);
    // Windows that were called training one by one, in runs that may be training: by compute at peak they would be a half.
    let possible = at("0.4", |_| {
        Some(LevelTimes {
            candidate_ms: 100_000,
            ..LevelTimes::default()
        })
    });
    let open = possible.expect(
        "TRN-03",
        Outcome::CannotTell,
        "0.00 % to 100.00 % of busy device time",
    );
    assert_eq!(open.level, Some(Level::Candidate));
    // An older agent told nothing of runs.
    let untold = at("0.4", |_| None).expect("TRN-03", Outcome::CannotTell, "0.00 % to 100.00 %");
    assert_eq!(untold.level, None);
    assert!(
        untold
            .sentence
            .ends_with("reports of the time that has no level told would settle it"),
        "{}",
        untold.sentence
    );
    // What is ruled out leaves a share that is kept, and what is likelier something else does not.
    at("0.4", |_| {
        Some(LevelTimes {
            ruled_out_ms: 90_000,
            established_ms: 10_000,
            ..LevelTimes::default()
        })
    })
    .expect("TRN-03", Outcome::Met, "9.89 % to 10.93 %");
    at("0.4", |_| {
        Some(LevelTimes {
            ruled_out_ms: 50_000,
            weak_ms: 40_000,
            established_ms: 10_000,
            ..LevelTimes::default()
        })
    })
    .expect("TRN-03", Outcome::CannotTell, "are likelier something else (L1)");
}

/// Samples that cover a fifth of the time, in which the device was busy with what is ruled out as training.
fn mostly_unseen(device: &mut AcceleratorClaims) {
    device.delivered.covered_ms = 60_000;
    device.delivered.measured.busy_ms = Reading::Value(60_000);
    device.delivered.training = Some(compute(0, 1_100));
    device.delivered.workload.levels = Some(levels_of(60_000, 0, 0));
}

#[test]
fn what_samples_do_not_cover_may_have_been_anything() {
    let open = day_of("0.4", mostly_unseen).expect("TRN-03", Outcome::CannotTell, "0.00 % to 80.");
    let words = "19.1 device-hours are ruled out as training (L0), 76.9 have no level told";
    assert!(open.sentence.contains(words), "{}", open.sentence);
    two_days(&BUSY.replace("0.33", "0.20"), mostly_unseen).expect(
        "TRN-07",
        Outcome::CannotTell,
        "20.00 % of device time was declared busy, and 19.",
    );
    // Where nobody could read whether it was busy, that is told once.
    let unread = day_of("0.4", |device| {
        mostly_unseen(device);
        device.delivered.measured.busy_ms = Reading::Unsupported;
    });
    let open = unread.expect("TRN-03", Outcome::CannotTell, "0.00 % to 100.00 %");
    assert!(open.sentence.contains(words), "{}", open.sentence);
}

#[test]
fn what_two_nodes_say_of_one_device_counts_once() {
    let twice = |mut scene: Scene| {
        scene.labs[1].record.days = scene.labs[0].record.days.clone();
        scene
    };
    // Two of the four devices are told of, by both nodes.
    twice(trained(220, 410, "0.4")).expect(
        "TRN-03",
        Outcome::CannotTell,
        "8.0 device-hours are established as training (L3)",
    );
    twice(two_days(BUSY, |_| {})).expect(
        "TRN-07",
        Outcome::CannotTell,
        "33.00 % of device time was declared busy, and 16.",
    );
}

#[test]
fn trn_03_says_what_compute_rules_out_and_counts_it_once() {
    // Reports that knew no runs, and computed no training.
    let old = trained_at(0, 0, "0.4", |_| None).expect("TRN-03", Outcome::Met, "0.00 % to ");
    let words = "31.9 device-hours are ruled out by what was computed, 0.3 have no level told";
    assert!(old.sentence.contains(words), "{}", old.sentence);
    // One of four devices has runs that may be training, which is more than what is allowed.
    let mixed = day_of("0.2", |device| {
        if device.identity.index == 4 {
            device.delivered.training = Some(compute(0, 20));
            device.delivered.workload.levels = Some(levels_of(100_000, 0, 20));
        }
    });
    let open = mixed.expect("TRN-03", Outcome::CannotTell, "whoever looks at the jobs can");
    let words = "8.0 may be training (L2), 23.9 are ruled out by what was computed, 0.3 have no level told";
    assert!(
        open.sentence.contains(&words.replace("8.0", "8.0 device-hours")),
        "{}",
        open.sentence
    );
}

#[test]
fn trn_03_takes_silence_for_anything() {
    let mut silent = trained(0, 0, "0.5");
    silent.now = start().plus(4 * DAY_SECONDS + 10);
    silent.expect("TRN-03", Outcome::CannotTell, "the share lies between the bounds");
    let mut never = Scene::empty().with("serial = 1\n", "serial = 1\ntraining_share_max = 0.5\n");
    never.now = start().plus(4 * DAY_SECONDS + 10);
    let none = never.expect("TRN-03", Outcome::CannotTell, "no node of this site has reported");
    assert_eq!(none.message_id, "TRN-03.no-report");
}
