//! Runs over windows and reports: what they establish, what they rule out, and what ends them.

use super::synthetic::{Act, Players, Site, feed, identity, rests, second, serves, trains};
use super::{Delivered, Holding};
use crate::id::TenantPseudonym;
use crate::telemetry::{Activity, DeviceSample, DeviceState, Reading, TickKind};
use crate::unit::{MicroTppHours, Ppm};
use crate::workload::{Level, LevelTimes};

const NONE: MicroTppHours = MicroTppHours(0);

/// Four devices of one job.
fn job(act: Act) -> (Site, Players) {
    (Site::new(4, 60), Players::new(vec![act; 4]).in_bursts())
}

/// What the report that ends then says of the first device.
fn report(site: &mut Site, end: u64) -> Delivered {
    site.finish(second(end)).accelerators.remove(0).delivered
}

fn levels(delivered: &Delivered) -> LevelTimes {
    delivered.workload.levels.unwrap()
}

/// Bounds of training, with those of all compute.
fn bounds(delivered: &Delivered) -> [MicroTppHours; 4] {
    let (training, all) = (
        delivered.training.as_ref().unwrap(),
        delivered.compute.as_ref().unwrap(),
    );
    [training.lower, training.upper, all.lower, all.upper]
}

/// That a tenant held the first device.
fn held(tenant: u8, from: u64, to: u64) -> Holding {
    Holding {
        device: identity(0).uuid,
        tenant: TenantPseudonym([tenant; 16]),
        part: None,
        from: second(from),
        to: second(to),
    }
}

/// Double precision that waits for memory most of the time.
fn simulates(sample: DeviceSample) -> DeviceSample {
    let activity = sample.activity.map(|a| Activity {
        sm: Reading::Value(Ppm(900_000)),
        tensor_any: Reading::Value(Ppm(0)),
        hmma: Reading::Value(Ppm(0)),
        dram: Reading::Value(Ppm(700_000)),
        fp64: Reading::Value(Ppm(400_000)),
        ..a
    });
    DeviceSample { activity, ..sample }
}

fn full(_: u16, _: u64) -> (u32, u32, u32, u32, [u64; 2]) {
    (90, 0, 70, 500, [0; 2])
}

/// Plays one device that simulates; `otherwise` changes what it shows in a second.
fn simulate(
    site: &mut Site,
    seconds: std::ops::RangeInclusive<u64>,
    otherwise: impl Fn(u64, DeviceSample) -> DeviceSample,
) {
    let mut players = Players::new(vec![full]);
    for t in seconds {
        let sample = simulates(players.at(t).remove(0));
        feed(site, second(t), TickKind::Regular, vec![otherwise(t, sample)]);
    }
}

#[test]
fn a_run_goes_on_over_reports_and_what_earlier_ones_said_stands() {
    let (mut site, mut players) = job(trains);
    let closed = players.play(&mut site, 0..=120);
    assert!(closed.iter().all(|w| w.level == Some(Level::Candidate)));
    let first = report(&mut site, 120);
    assert_eq!(
        first.workload.windows[1], 2,
        "each of both windows was called training"
    );
    let [lower, upper, _, all] = bounds(&first);
    assert_eq!(
        (lower, upper),
        (NONE, all),
        "two windows accuse nobody, and nothing is ruled out"
    );
    assert_eq!(levels(&first).established_ms, 0);
    assert_eq!(levels(&first).candidate_ms, 96_000, "80 % of two minutes");
    assert_eq!(first.workload.run_windows, Some(2));

    let closed = players.play(&mut site, 121..=180);
    assert_eq!(closed[0].level, Some(Level::Established));
    let second = report(&mut site, 180);
    let [lower, upper, least, most] = bounds(&second);
    assert_eq!((lower, upper), (least, most));
    assert!(lower > NONE);
    assert_eq!(levels(&second).established_ms, 48_000);
    assert_eq!(second.workload.run_windows, Some(3));
}

#[test]
fn one_window_that_looks_like_training_establishes_nothing_and_rules_nothing_out() {
    // Training for a minute, then requests.
    let act: Act = |device, t| {
        if t <= 60 {
            trains(device, t)
        } else {
            serves(device, t)
        }
    };
    let (mut site, mut players) = job(act);
    players.play(&mut site, 0..=300);
    let told = report(&mut site, 300);
    assert_eq!(told.workload.windows[1], 1, "{:?}", told.workload);
    let [lower, upper, _, all] = bounds(&told);
    assert_eq!((lower, upper), (NONE, all));
    assert_eq!((levels(&told).established_ms, levels(&told).ruled_out_ms), (0, 0));
}

#[test]
fn a_window_that_speaks_against_an_established_run_is_no_part_of_what_is_sure() {
    // Ten minutes of training, of which the eighth answers requests.
    let act: Act = |device, t| {
        if (421..=480).contains(&t) {
            serves(device, t)
        } else {
            trains(device, t)
        }
    };
    let (mut site, mut players) = job(act);
    players.play(&mut site, 0..=600);
    let told = report(&mut site, 600);
    let minutes = |ms: u32| ms.div_ceil(48_000);
    assert_eq!(minutes(levels(&told).established_ms), 9, "{:?}", levels(&told));
    assert!((1..60_000).contains(&levels(&told).candidate_ms));
    let [lower, upper, least, most] = bounds(&told);
    assert!(lower < least && upper == most);
}

#[test]
fn what_beat_for_one_holder_says_nothing_of_the_next() {
    // The burst lies in the first minute.
    let (mut site, mut players) = job(trains);
    site.meter.set_holdings(vec![held(1, 0, 150), held(2, 150, 480)]);
    let closed = players.play(&mut site, 0..=480);
    let first = |minute: usize| &closed[minute * 4].sums.features;
    assert!(
        first(1).link_beat >= Some(Ppm(150_000)),
        "{:?}",
        first(1).link_beat
    );
    assert_eq!(first(3).link_beat, None);
    assert_eq!(levels(&report(&mut site, 480)).established_ms, 0);
}

#[test]
fn what_is_left_at_the_end_of_a_report_is_no_window_of_evidence() {
    let (mut site, mut players) = job(trains);
    for end in [61, 122] {
        players.play(&mut site, end - 60..=end);
        let told = report(&mut site, end);
        assert_eq!(levels(&told).established_ms, 0, "{end} s");
        assert!(levels(&told).candidate_ms >= 48_000, "{:?}", levels(&told));
    }
    players.play(&mut site, 123..=183);
    let third = report(&mut site, 183);
    assert_eq!(third.workload.run_windows, Some(3));
    assert!(levels(&third).established_ms > 0);
}

#[test]
fn rest_without_a_reading_of_busy_time_is_not_training() {
    let (mut site, mut players) = job(|device, t| {
        if t <= 240 {
            trains(device, t)
        } else {
            rests(device, t)
        }
    });
    for t in 0..=480 {
        let unread = |sample: DeviceSample| DeviceSample {
            utilisation: Reading::Unsupported,
            ..sample
        };
        players.tick(&mut site, t, unread);
    }
    let told = report(&mut site, 480);
    assert_eq!(levels(&told).established_ms, 0, "none of it was surely busy");
    assert!(
        (230_000..=250_000).contains(&levels(&told).candidate_ms),
        "{:?}",
        levels(&told)
    );
}

#[test]
fn a_run_that_rules_training_out_leaves_nothing_that_may_have_been() {
    let mut site = Site::new(1, 60);
    simulate(&mut site, 0..=300, |_, s| s);
    let told = report(&mut site, 300);
    assert_eq!(levels(&told).ruled_out_ms, 270_000);
    assert_eq!(bounds(&told)[1], NONE);
}

#[test]
fn a_window_that_could_not_be_read_keeps_its_run_from_being_ruled_out() {
    let blind: fn(u64, DeviceSample) -> DeviceSample = |t, sample| DeviceSample {
        activity: if (121..=180).contains(&t) {
            Reading::Unsupported
        } else {
            sample.activity.clone()
        },
        ..sample
    };
    let mut site = Site::new(1, 60);
    simulate(&mut site, 0..=300, blind);
    let told = report(&mut site, 300);
    let [_, upper, _, all] = bounds(&told);
    assert_eq!(
        (levels(&told).ruled_out_ms, upper),
        (0, all),
        "{:?}",
        told.workload
    );
}

#[test]
fn rest_within_a_run_belongs_to_it_and_long_rest_ends_it() {
    // Three minutes of training, then rest.
    let act: Act = |device, t| {
        if t <= 180 {
            trains(device, t)
        } else {
            rests(device, t)
        }
    };
    let (mut site, mut players) = job(act);
    players.play(&mut site, 0..=420);
    let first = report(&mut site, 420);
    assert!(levels(&first).established_ms.abs_diff(144_000) < 1_000);
    let [lower, upper, least, most] = bounds(&first);
    assert_eq!(
        (lower, upper),
        (least, most),
        "four minutes of rest are no other work"
    );
    // The tenth minute of rest ends it; what follows is another run, at rest.
    players.play(&mut site, 421..=780);
    report(&mut site, 780);
    players.play(&mut site, 781..=1_080);
    let third = report(&mut site, 1_080);
    assert_eq!(bounds(&third)[1], NONE);
    assert_eq!(third.workload.run_windows, Some(0));
}

#[test]
fn who_comes_begins_another_run_and_the_window_between_is_a_run_of_its_own() {
    // Two and a half minutes each: neither has three windows alone.
    let (mut site, mut players) = job(trains);
    site.meter.set_holdings(vec![held(1, 0, 150), held(2, 150, 300)]);
    players.play(&mut site, 0..=300);
    let told = report(&mut site, 300);
    assert_eq!(told.workload.windows[1], 5);
    assert_eq!((levels(&told).established_ms, bounds(&told)[0]), (0, NONE));
    assert_eq!(told.workload.run_windows, Some(2));
    // The same in one hand.
    let (mut site, mut players) = job(trains);
    site.meter.set_holdings(vec![held(1, 0, 300)]);
    players.play(&mut site, 0..=300);
    let told = report(&mut site, 300);
    assert!(levels(&told).established_ms > 0 && bounds(&told)[0] > NONE);
}

#[test]
fn a_device_that_was_unseen_for_a_window_begins_another_run() {
    let (mut site, mut players) = job(trains);
    players.play(&mut site, 0..=120);
    assert_eq!(site.close(second(180))[0].level, None);
    players.play(&mut site, 181..=300);
    let told = report(&mut site, 300);
    assert_eq!(levels(&told).established_ms, 0, "{:?}", told.workload);
    assert_eq!(told.workload.run_windows, Some(2));
    let minute_at_peak = MicroTppHours(15_832_000_000 / 60);
    assert!(
        bounds(&told)[1] >= minute_at_peak,
        "what nobody saw may have been training"
    );
}

#[test]
fn a_device_that_was_handed_over_begins_another_run_when_it_is_back() {
    let (mut site, mut players) = job(trains);
    players.play(&mut site, 0..=90);
    site.meter.mark(Some(0), DeviceState::PassedThrough);
    site.close(second(120));
    players.play(&mut site, 121..=240);
    let finished = site.finish(second(240));
    let windows = |i: usize| finished.accelerators[i].delivered.workload.run_windows;
    assert_eq!((windows(0), windows(1)), (Some(2), Some(4)));
}
