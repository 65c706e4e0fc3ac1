//! What a lost reading may hide: each case is one in which a bound once let it.

use super::Peak;
use super::account::Account;
use super::account_tests::{activity, peak, sample as at};
use crate::telemetry::{Activity, ClockLooks, DeviceSample, LossReason, PipeCycles, Reading, Track};
use crate::time::SECOND;
use crate::unit::Ppm;

const LOST: Reading<u32> = Reading::Lost(LossReason::Failed);
const H100: u16 = 0x2330;

fn account(peak: &Peak, samples: &[DeviceSample]) -> Account {
    let (mut track, mut account) = (Track::new(SECOND), Account::default());
    for step in samples.iter().filter_map(|s| track.push(s)) {
        account.add(&step, peak);
    }
    account
}

/// The share of the peak over the whole of some seconds, in parts per million: at least, and at most.
fn shares(samples: &[DeviceSample]) -> (u128, u128) {
    let peak = peak(H100);
    let whole = samples.last().unwrap().at.since(samples[0].at);
    let compute = account(&peak, samples).compute(&peak, whole);
    let of = |micro: u128| micro * 1_000_000 / compute.upper_unconditional.0;
    (of(compute.lower.0), of(compute.upper.0))
}

/// Activity over so many seconds.
fn over(seconds: u64, hmma: u32) -> Reading<Activity> {
    Reading::Value(Activity {
        interval_ns: seconds * SECOND,
        ..activity(hmma, 0, 0)
    })
}

fn counted(elapsed: u64, hmma: u64) -> Reading<Vec<PipeCycles>> {
    Reading::Value(vec![crate::telemetry::counted(elapsed, hmma)])
}

#[test]
fn activity_that_reaches_back_counts_at_the_lowest_clock_of_its_time() {
    let lost = || Reading::Lost(LossReason::Failed);
    // Busy at 345 MHz for eight seconds whose activity was lost, and at 1,830 MHz for one.
    let mut samples: Vec<_> = (0..8).map(|t| at(t, 345, lost())).collect();
    samples[0].activity = over(1, 0);
    samples.push(at(8, 1_830, lost()));
    samples.push(at(9, 1_830, over(9, 1_000_000)));
    let (lower, upper) = shares(&samples);
    assert!(lower <= 450_000 * 345 / 1_830, "{lower}");
    assert_eq!(upper, (7 * 1_000_000 * 345 / 1_830 + 2_000_000) / 9);
    // Where one of these clocks was lost, nothing is sure.
    samples[4].sm_clock_mhz = LOST;
    assert_eq!(shares(&samples).0, 0);
}

#[test]
fn time_that_counters_told_of_is_not_told_of_again_by_a_pair() {
    // The counters tell of the first three seconds, and go; the pair that was lost meanwhile reaches back over all four.
    let lost = || Reading::Lost(LossReason::Failed);
    let mut samples: Vec<_> = (0..4)
        .map(|t| DeviceSample {
            cycles: counted(1_000 * (t + 1), 1_000 * t),
            ..at(t, 1_830, lost())
        })
        .collect();
    samples.push(at(4, 1_830, over(4, 750_000)));
    let (lower, _) = shares(&samples);
    // Three seconds in full, and the last one at the pair's mean.
    assert!(lower <= (3 * 450_000 + 337_500) / 4, "{lower}");
}

#[test]
fn a_clock_that_was_lost_or_reads_zero_may_have_been_any() {
    let busy = || over(1, 1_000_000);
    let mut samples = vec![at(0, 345, busy()), at(1, 345, busy()), at(2, 345, busy())];
    assert!(shares(&samples).1 < 200_000);
    samples[1].sm_clock_mhz = LOST;
    assert_eq!(shares(&samples).1, 1_000_000);
    let still: Vec<_> = (0..3).map(|t| at(t, 0, busy())).collect();
    assert_eq!(shares(&still), (0, 1_000_000));
}

#[test]
fn a_clock_that_was_set_between_two_ticks_hides_nothing() {
    let between = |tick, mean_mhz, lowest_mhz, highest_mhz| -> Vec<_> {
        let looks = ClockLooks {
            mean_mhz,
            lowest_mhz,
            highest_mhz,
        };
        (0..4)
            .map(|t| DeviceSample {
                clock_looks: Reading::Value(looks.clone()),
                ..at(t, tick, over(1, 1_000_000))
            })
            .collect()
    };
    // Low at each tick, and high in between: the time at the tick itself is nothing.
    let (_, upper) = shares(&between(345, 1_800, 345, 1_980));
    assert_eq!(upper, 1_000_000);
    let (lower, _) = shares(&between(1_830, 400, 345, 1_830));
    assert!(lower <= 450_000 * 345 / 1_830, "{lower}");
    // A look that was lost may have been the one that mattered.
    let mut lost = between(345, 345, 345, 345);
    assert!(shares(&lost).1 < 200_000);
    lost[2].clock_looks = Reading::Lost(LossReason::Failed);
    let (lower, upper) = shares(&lost);
    let second = 450_000 * 345 / 1_830;
    assert!(
        lower <= second * 2 / 3 + 1 && upper > 333_333,
        "{lower} to {upper}"
    );
}

#[test]
fn a_pipe_that_was_lost_may_have_been_busy() {
    let upper = |edit: fn(&mut Activity)| {
        let mut told = activity(0, 0, 0);
        edit(&mut told);
        let samples: Vec<_> = (0..3)
            .map(|t| at(t, 1_830, Reading::Value(told.clone())))
            .collect();
        shares(&samples).1
    };
    const NONE: Reading<Ppm> = Reading::Lost(LossReason::Failed);
    assert_eq!(upper(|_| {}), 0);
    // Both that of FP64 and the sum of all: a quarter of the peak, as far as multiprocessors were busy (nine tenths).
    let fp64_tensor = upper(|a| (a.dfma, a.tensor_any) = (NONE, NONE));
    assert!(fp64_tensor >= 225_000, "{fp64_tensor}");
    assert_eq!(upper(|a| a.dfma = NONE), 0);
    let vectors = upper(|a| a.fp32 = NONE);
    assert!((112_000..300_000).contains(&vectors), "{vectors}");
    // Of multiprocessors that were idle no pipe was busy.
    assert_eq!(
        upper(|a| (a.fp32, a.fp64, a.sm) = (NONE, NONE, Reading::Value(Ppm(0)))),
        0
    );
}

#[test]
fn half_precision_that_may_have_been_vectors_counts_as_these() {
    let told = |fp16| Activity {
        fp16,
        ..activity(800_000, 0, 0)
    };
    let lower = |fp16: Reading<Ppm>| {
        let told = Reading::Value(told(fp16));
        let samples: Vec<_> = (0..3).map(|t| at(t, 1_830, told.clone())).collect();
        shares(&samples).0
    };
    assert!(lower(Reading::Value(Ppm(0))).abs_diff(360_000) < 2);
    assert_eq!(lower(Reading::Value(Ppm(800_000))), 0);
    assert!(lower(Reading::Lost(LossReason::Failed)) <= 100_000);
}

#[test]
fn utilisation_bounds_nothing_where_it_or_the_pipes_were_lost() {
    let idle = |t, activity| DeviceSample {
        utilisation: Reading::Value(Ppm(0)),
        ..at(t, 1_830, activity)
    };
    let mut samples: Vec<_> = (0..4).map(|t| idle(t, Reading::Unsupported)).collect();
    assert_eq!(shares(&samples).1, 0);
    samples[1].utilisation = Reading::Lost(LossReason::Failed);
    assert!(shares(&samples).1 >= 666_666);
    let lost = || Reading::Lost(LossReason::Failed);
    let samples: Vec<_> = (0..4).map(|t| idle(t, lost())).collect();
    assert_eq!(shares(&samples).1, 1_000_000);
}

/// A minute at 50 W and nothing above it, by the energy counter.
fn cold(t: u64) -> DeviceSample {
    DeviceSample {
        energy_mj: Reading::Value(1_000_000 + t * 50_000),
        ..at(t, 1_830, Reading::Unsupported)
    }
}

#[test]
fn energy_that_reaches_back_over_an_edge_does_not_speak_for_time_that_it_does_not_hold() {
    // A report of twenty seconds; in the ten before it and in its own last ten the counter could not be read.
    let peak = peak(H100);
    let (mut track, mut report) = (Track::new(SECOND), Account::default());
    for t in 0..=30u64 {
        let mut sample = cold(t);
        if (1..11).contains(&t) || t > 20 {
            sample.energy_mj = Reading::Lost(LossReason::Failed);
        }
        let step = track.push(&sample).unwrap();
        if t > 10 {
            report.add(&step, &peak);
        }
    }
    let compute = report.compute(&peak, 20 * SECOND);
    assert!(compute.upper >= peak.over(10 * SECOND), "{compute:?}");
}

#[test]
fn energy_across_a_gap_speaks_for_nothing_after_it() {
    // In the gap the driver was loaded anew and the counter caught up; the first value after it was lost.
    let mut samples: Vec<_> = (0..3).map(cold).collect();
    samples.push(DeviceSample {
        energy_mj: Reading::Lost(LossReason::Failed),
        ..cold(100)
    });
    samples.push(DeviceSample {
        energy_mj: Reading::Value(1_100_001),
        ..cold(101)
    });
    let peak = peak(H100);
    let compute = account(&peak, &samples).compute(&peak, 101 * SECOND);
    assert!(compute.upper >= peak.over(99 * SECOND), "{compute:?}");
}

#[test]
fn counters_that_went_on_bridge_no_gap_but_their_own() {
    // A gap of ten seconds before the account, which counters bridge in it, and one of ten seconds in which they began anew.
    let peak = peak(H100);
    let (mut track, mut report) = (Track::new(SECOND), Account::default());
    let read = |t, cycles| DeviceSample {
        cycles,
        ..at(t, 1_830, Reading::Unsupported)
    };
    let lost = || Reading::Lost(LossReason::Failed);
    for (t, cycles, counts) in [
        (0, counted(1_000, 0), false),
        (10, lost(), false),
        (11, counted(12_000, 0), true),
        (21, counted(10, 0), true),
    ] {
        let step = track.push(&read(t, cycles)).unwrap();
        if counts {
            report.add(&step, &peak);
        }
    }
    let compute = report.compute(&peak, 11 * SECOND);
    assert!(compute.upper >= peak.over(10 * SECOND), "{compute:?}");
}
