//! What bursts of exchanges tell.

use super::beat::{Beat, Exchange, STANDS_MS};
use super::exchanges::{Exchanged, Told};

/// A device that holds 1,000 MiB.
const HELD: Option<f64> = Some(1_000.0);

/// Ten readings a second, in windows of a minute; the second of each two ends a pair of samples.
fn follow(
    beat: &mut Beat,
    readings: std::ops::Range<usize>,
    kib: impl Fn(usize) -> f64,
    does: impl Fn(usize) -> [f64; 2],
) {
    for i in readings {
        if i > 0 && i % 600 == 0 {
            beat.close(i as u64 * 100, true, HELD);
        }
        let reading = Exchange {
            at_ms: (i % 600) as u32 * 100,
            kib: Some(kib(i)),
            activity: (i % 2 == 1).then(|| does(i)),
        };
        beat.add(i as u64 * 100, &reading);
    }
}

fn burst(beat: &mut Beat, readings: std::ops::Range<usize>, kib: impl Fn(usize) -> f64) {
    follow(beat, readings, kib, |_| [0.8, 0.4]);
}

/// What the open window tells at a time.
fn beats(beat: &Beat, clock_ms: u64) -> Option<f64> {
    beat.told(clock_ms, HELD).map(|told| told.beat)
}

fn told(readings: usize, kib: impl Fn(usize) -> f64) -> Option<f64> {
    let mut beat = Beat::default();
    burst(&mut beat, 0..readings, kib);
    beats(&beat, readings as u64 * 100)
}

/// A minute of work in which what is exchanged goes with what is done.
fn minute(kib: impl Fn(usize) -> f64, does: impl Fn(usize) -> [f64; 2]) -> Told {
    let mut beat = Beat::default();
    follow(&mut beat, 0..600, kib, does);
    beat.told(60_000, HELD).unwrap()
}

/// Numbers that follow no rule, from nought to one.
fn noise(i: usize) -> f64 {
    let mut x = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^= x >> 29;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (x >> 40) as f64 / f64::from(1u32 << 24)
}

fn steps(i: usize) -> f64 {
    if i % 4 == 3 { 900.0 } else { 100.0 }
}

#[test]
fn exchanges_once_a_step_beat_and_requests_as_they_come_do_not() {
    let train = |i: usize| steps(i) + 20.0 * noise(i);
    assert!(told(600, train).unwrap() > 0.5);
    for readings in [301, 330, 400, 500, 600] {
        for draw in 0..40 {
            let request = |i: usize| {
                if noise(i / 2 + 10_000 * draw) < 0.3 {
                    900.0
                } else {
                    100.0
                }
            };
            let height = told(readings, request).unwrap();
            assert!(height < 0.06, "{readings} readings: {height}");
        }
    }
}

#[test]
fn a_few_seconds_tell_nothing() {
    for readings in [50, 100, 150, 290] {
        assert_eq!(told(readings, steps), None, "{readings}");
    }
}

#[test]
fn replicas_work_without_a_word_and_one_model_over_several_devices_does_not() {
    // Steps of two seconds, of which an exchange takes the last four tenths: 8,000 KiB both ways.
    let exchanges = |i: usize| i % 20 >= 16;
    let replica = minute(
        |i| if exchanges(i) { 2_000.0 } else { 0.0 },
        |i| if exchanges(i) { [0.2, 0.0] } else { [0.9, 0.5] },
    );
    assert!(replica.beat > 0.5 && replica.apart.unwrap() > 0.8, "{replica:?}");
    let sent = replica.per_memory.unwrap() * 1_000.0 * 1_024.0;
    assert!((sent - 4_000.0).abs() < 150.0, "{replica:?}");
    // Layer by layer, in rounds of one size with a pause between.
    let round = |i: usize| i % 20 < 16;
    let served = minute(
        |i| if round(i) { 2_000.0 + 50.0 * noise(i) } else { 0.0 },
        |i| if round(i) { [0.8, 0.45] } else { [0.05, 0.0] },
    );
    assert!(served.beat > 0.3 && served.apart == Some(0.0), "{served:?}");
}

#[test]
fn a_step_is_one_mixture_and_prompts_with_their_answers_are_two() {
    let prompts = |i: usize| i % 12 < 4;
    let traffic = |i: usize| if prompts(i) { 2_000.0 } else { 100.0 };
    let step = minute(traffic, |i| if prompts(i) { [0.9, 0.5] } else { [0.6, 0.3] });
    assert!(step.beat > 0.5, "{step:?}");
    // An exchange that all wait for multiplies nothing either, and is no answer.
    let waits = minute(traffic, |i| if prompts(i) { [0.3, 0.0] } else { [0.9, 0.5] });
    assert!(waits.beat > 0.5, "{waits:?}");
    let waves = minute(traffic, |i| if prompts(i) { [0.8, 0.45] } else { [0.5, 0.04] });
    assert!(waves.beat < 0.01, "{waves:?}");
}

#[test]
fn what_is_sent_in_a_beat_is_counted_by_how_often_it_rose() {
    // Every 430 ms for 30 ms, 900 KiB both ways: of ten readings a second 860 and 1,290 ms fit best.
    let pulse = |i: usize| {
        let (from, to) = (i as f64 * 100.0, i as f64 * 100.0 + 100.0);
        let pulses = (0..200).map(|n| f64::from(n) * 430.0);
        let within = |at: f64| (to.min(at + 30.0) - from.max(at)).max(0.0);
        pulses.map(|at| within(at) * 30.0).sum::<f64>()
    };
    let told = minute(pulse, |_| [0.9, 0.5]);
    let sent = told.per_memory.unwrap() * 1_000.0 * 1_024.0;
    assert!(told.beat > 0.3 && (sent - 450.0).abs() < 30.0, "{told:?}");
    // Noise is sent in no beats, and a beat that never rests in none that can be counted.
    let noisy = minute(|i| 900.0 * noise(i), |_| [0.9, 0.5]);
    assert_eq!(noisy.per_memory, None);
    let full = minute(|i| steps(i) + 400.0, |_| [0.9, 0.5]);
    assert_eq!(full.per_memory, None);
    let mut beat = Beat::default();
    burst(&mut beat, 0..600, steps);
    for memory_mib in [None, Some(0.0)] {
        assert_eq!(beat.told(60_000, memory_mib).unwrap().per_memory, None);
    }
}

#[test]
fn the_memory_that_counts_is_that_of_the_burst() {
    let mut beat = Beat::default();
    burst(&mut beat, 0..600, steps);
    let whole = beat.told(60_000, HELD);
    beat.close(60_000, true, HELD);
    assert_eq!(beat.told(120_000, Some(1.0)), whole);
}

#[test]
fn what_is_read_askew_does_not_set_exchanges_apart() {
    // Activity is told up to a pair of samples late, or soon.
    for late in [-2i64, -1, 1, 2] {
        for (period, busy) in [(5, 2), (7, 2), (8, 4), (10, 4)] {
            let round = |i: i64| i.rem_euclid(period) < busy;
            let told = minute(
                |i| if round(i as i64) { 2_000.0 } else { 0.0 },
                |i| {
                    let i = i as i64 - late;
                    let share = f64::from(u8::from(round(i)) + u8::from(round(i - 1))) / 2.0;
                    [0.8 * share, 0.45 * share]
                },
            );
            assert!(told.apart.unwrap() < 0.35, "{late}, {busy} of {period}: {told:?}");
        }
    }
}

#[test]
fn a_reading_that_failed_counts_with_the_next_and_after_a_hole_none_does() {
    let traffic = |skipped: fn(usize) -> bool, lost: fn(usize) -> bool| {
        let mut beat = Beat::default();
        let mut owed = 0.0;
        for i in (0..400).filter(|i| !skipped(*i)) {
            owed += 100.0;
            let reading = Exchange {
                at_ms: i as u32 * 100,
                kib: (!lost(i)).then(|| std::mem::take(&mut owed)),
                activity: None,
            };
            beat.add(i as u64 * 100, &reading);
        }
        beat.traffic
    };
    let even = |all: &[Exchanged]| all.iter().all(|e| (e.rate - 1.0).abs() < 1e-6);
    assert!(even(&traffic(|_| false, |i| i % 7 == 3)));
    // Late by seven tenths of a step, and back in its place.
    let mut beat = Beat::default();
    let mut before = 0;
    for i in 0..400u32 {
        let at_ms = i * 100 + if i == 10 { 70 } else { 0 };
        let kib = Some(f64::from(at_ms - before));
        before = at_ms;
        let reading = Exchange {
            at_ms,
            kib,
            activity: None,
        };
        beat.add(at_ms.into(), &reading);
    }
    assert!(even(&beat.traffic) && beat.traffic.len() == 399);
    // One that was left out had counted.
    beat.leave_out();
    let next = |at_ms| Exchange {
        at_ms,
        kib: Some(100.0),
        activity: None,
    };
    beat.add(40_100, &next(40_100));
    beat.add(40_200, &next(40_200));
    assert!(even(&beat.traffic) && beat.traffic.len() == 400);
    // What was counted over a hole of eight tenths of a second is of nobody knows which time.
    let holed = traffic(|i| i % 50 > 42, |_| false);
    assert!(even(&holed) && holed.len() > 300, "{}", holed.len());
}

#[test]
fn where_nobody_reads_activity_nothing_is_told_of_how_it_goes_with_exchanges() {
    let blind = minute(steps, |_| [f64::NAN; 2]);
    assert!(blind.beat > 0.5 && blind.apart.is_none(), "{blind:?}");
    let rests = minute(steps, |_| [0.0, 0.0]);
    assert!(rests.beat > 0.5 && rests.apart.is_none(), "{rests:?}");
    let still = minute(|_| 0.0, |_| [0.8, 0.4]);
    assert_eq!((still.beat, still.apart, still.per_memory), (0.0, None, None));
}

#[test]
fn a_burst_over_the_edge_of_a_window_is_one() {
    let mut beat = Beat::default();
    burst(&mut beat, 200..650, steps);
    assert!(beats(&beat, 65_000).unwrap() > 0.5);
    let mut late = Beat::default();
    burst(&mut late, 550..1_150, steps);
    let whole = late.told(115_000, HELD).unwrap();
    late.close(120_000, true, HELD);
    assert_eq!(late.told(180_000, None), Some(whole));
}

#[test]
fn what_reading_too_slowly_leaves_of_a_faster_rhythm_counts_little() {
    // Three words and a third in each reading.
    let words = |i: usize| ((i + 1) * 10 / 3 - i * 10 / 3) as f64;
    assert!(told(600, words).unwrap() < 0.15);
}

#[test]
fn a_burst_speaks_until_the_next_but_for_no_other_work() {
    let mut beat = Beat::default();
    burst(&mut beat, 0..600, steps);
    beat.close(60_000, true, HELD);
    let whole = beat.told(60_000, HELD);
    assert!(whole.unwrap().beat > 0.5);
    assert_eq!(beat.told(60_000 + STANDS_MS, HELD), whole);
    assert_eq!(beat.told(60_001 + STANDS_MS, HELD), None);
    let mut ended = beat.clone();
    ended.close(120_000, false, HELD);
    assert_eq!(ended.told(120_000, HELD), None);
    // Traffic that stands still is the latest that is known.
    burst(&mut beat, 3_000..3_600, |_| 500.0);
    assert_eq!(beats(&beat, 360_000), Some(0.0));
    beat.forget();
    assert_eq!(beat.told(360_000, HELD), None);
}
