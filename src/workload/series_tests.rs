//! What a series makes of steps and instants.

use super::{Features, Instant, Series};
use crate::telemetry::{Activity, DeviceSample, Reading, Track, blank};
use crate::time::{BootNanos, SECOND};
use crate::unit::Ppm;
use proptest::prelude::*;

fn activity(shares: [u32; 3]) -> Reading<Activity> {
    let [sm, tensor_any, dram] = shares.map(|ppm| Reading::Value(Ppm(ppm)));
    let none = Reading::Unsupported;
    Reading::Value(Activity {
        interval_ns: SECOND,
        sm,
        tensor_any,
        dfma: none,
        hmma: none,
        imma: none,
        dram,
        fp64: none,
        fp32: none,
        fp16: none,
        integer: none,
    })
}

/// A device at a second: what it draws, what its pipes do, what it has sent and received over PCIe, and its memory in use.
fn sample(second: u64, power_w: u32, shares: [u32; 3], pcie: [u64; 2], used_mib: u32) -> DeviceSample {
    DeviceSample {
        power_mw: Reading::Value(power_w * 1_000),
        activity: activity(shares),
        pcie_tx_bytes: Reading::Value(pcie[0]),
        pcie_rx_bytes: Reading::Value(pcie[1]),
        memory_used_mib: Reading::Value(used_mib),
        ..blank(BootNanos((second + 1) * SECOND))
    }
}

/// A series that was fed samples, a point for each.
fn fed(samples: impl IntoIterator<Item = DeviceSample>) -> Series {
    let (mut track, mut series) = (Track::new(SECOND), Series::default());
    for sample in samples {
        if let Some(step) = track.push(&sample) {
            series.add(&step);
        }
        series.close_point();
    }
    series
}

fn instant(at_ms: u32, power_mw: u32) -> Instant {
    let none = Reading::Unsupported;
    Instant {
        at_ms,
        power_mw: Reading::Value(power_mw),
        tx_kib: none,
        rx_kib: none,
        sm_ppm: none,
        tensor_ppm: none,
        dram_ppm: none,
    }
}

#[test]
fn a_bus_that_serves_receives_and_one_that_trains_exchanges() {
    let on_bus = |rate: [u64; 2]| {
        let samples = (0..60).map(move |s| sample(s, 400, [800_000; 3], rate.map(|r| r * s), 5));
        fed(samples).features(None)
    };
    let rest = on_bus([2_000_000, 1_000_000]);
    assert_eq!((rest.pcie_active, rest.pcie_symmetry), (Some(Ppm(0)), None));
    let serves = on_bus([10_000_000, 100_000_000]);
    assert_eq!(serves.pcie_active, Some(Ppm::ONE));
    assert_eq!(serves.pcie_symmetry, Some(Ppm(100_000)));
    let trains = on_bus([900_000_000, 950_000_000]);
    assert!(trains.pcie_symmetry.unwrap().0 > 940_000);
    let without = fed((0..60).map(|s| DeviceSample {
        pcie_tx_bytes: Reading::Unsupported,
        memory_used_mib: Reading::Unsupported,
        ..sample(s, 400, [800_000; 3], [0; 2], 5)
    }));
    let features = without.features(None);
    assert_eq!((features.pcie_active, features.plateau), (None, None));
}

#[test]
fn seconds_that_nobody_saw_keep_their_place() {
    // Steps of seven seconds; a fifth of the samples are missing, in two holes.
    let works = |s: u64| {
        if s % 7 < 3 {
            [900_000, 600_000, 300_000]
        } else {
            [800_000, 60_000, 600_000]
        }
    };
    let draws = |s: u64| if s % 7 < 3 { 650 } else { 500 };
    let seen = (0..60).filter(|s| !(20..27).contains(s) && !(40..45).contains(s));
    let features = fed(seen.map(|s| sample(s, draws(s), works(s), [0; 2], 70_000))).features(None);
    assert!(features.rhythm_ms.unwrap().abs_diff(7_000) < 200, "{features:?}");
    assert!(features.rhythm.unwrap().0 > 600_000, "{features:?}");
    let all = fed((0..60).map(|s| sample(s, draws(s), works(s), [0; 2], 70_000))).features(None);
    assert!(all.rhythm_ms.unwrap().abs_diff(7_000) < 50, "{all:?}");
    assert!(all.rhythm.unwrap().0 > 950_000, "{all:?}");
    assert!(all.tensor_phase.unwrap().0.abs_diff(430_000) < 15_000, "{all:?}");
    assert!(all.memory_phase.unwrap().0.abs_diff(570_000) < 15_000, "{all:?}");
    assert_eq!((all.plateau, all.rest_phase), (Some(Ppm::ONE), Some(Ppm(0))));
    // Power is the middle of both ends of a second, and so lags behind activity.
    assert!(all.power_residual.unwrap().0 < 100_000, "{all:?}");
}

#[test]
fn a_burst_tells_of_rhythm_and_phases_and_the_points_where_there_is_none() {
    let mut series = fed((0..60).map(|s| sample(s, 500, [800_000, 60_000, 600_000], [0; 2], 70_000)));
    let points = series.features(None);
    assert_eq!((points.rhythm, points.memory_phase), (None, Some(Ppm::ONE)));
    for tenth in 0..600u32 {
        let tells = |ppm: u32| {
            if tenth % 2 == 0 {
                Reading::Unsupported
            } else {
                Reading::Value(ppm)
            }
        };
        let multiplies = tenth % 14 < 6;
        series.add_instant(Instant {
            sm_ppm: tells(900_000),
            tensor_ppm: tells(if multiplies { 700_000 } else { 50_000 }),
            dram_ppm: tells(if multiplies { 200_000 } else { 700_000 }),
            ..instant(tenth * 100, if multiplies { 690_000 } else { 480_000 })
        });
    }
    let burst = series.features(None);
    assert!(burst.rhythm_ms.unwrap().abs_diff(1_400) < 20, "{burst:?}");
    assert!(burst.rhythm.unwrap().0 > 950_000, "{burst:?}");
    assert!(
        burst.tensor_phase.unwrap().0.abs_diff(430_000) < 10_000,
        "{burst:?}"
    );
    assert!(burst.turns.unwrap().0.abs_diff(285_000) < 10_000, "{burst:?}");
    // Gone with its window.
    series.next_window();
    assert_eq!(series.features(None).rhythm, None);
}

#[test]
fn what_links_carried_is_a_rhythm_by_the_time_it_took() {
    let linked = (0..60).map(|s| DeviceSample {
        nvlink_tx_bytes: Reading::Value(s * 9_000_000_000),
        nvlink_rx_bytes: Reading::Value(s * 9_000_000_000),
        ..sample(s, 500, [800_000, 500_000, 300_000], [0; 2], 70_000)
    });
    let mut series = fed(linked);
    // Every ninth instant is late and has counted for longer: of an even flow that is no rhythm.
    let mut at = 0;
    for tenth in 0..600u32 {
        let late = tenth % 9 == 0;
        let ms = if late { 180 } else { 90 };
        at += ms;
        let flow = if tenth / 8 % 2 == 0 { 2_000 } else { 1_990 };
        series.add_instant(Instant {
            tx_kib: Reading::Value(flow * ms),
            rx_kib: Reading::Value(flow * ms),
            ..instant(at, 500_000)
        });
    }
    let features = series.features(None);
    assert!(features.rhythm_ms.unwrap().abs_diff(1_600) < 60, "{features:?}");
}

#[test]
fn nothing_that_was_not_told_is_zero() {
    let nothing = Series::default().features(None);
    assert_eq!(nothing, Features::default());
    let blind = fed((0..60).map(|s| blank(BootNanos((s + 1) * SECOND)))).features(None);
    assert_eq!(
        blind,
        Features {
            points: 60,
            ..Features::default()
        }
    );
}

/// Any reading, and values that cards show more often than others.
fn reading() -> impl Strategy<Value = Reading<u32>> {
    prop_oneof![
        4 => (0u32..1_000_000).prop_map(Reading::Value),
        1 => any::<u32>().prop_map(Reading::Value),
        1 => Just(Reading::Unsupported),
    ]
}

proptest! {
    #[test]
    fn any_readings_make_features_in_range(
        samples in proptest::collection::vec((1u64..6_000, reading(), [reading(), reading(), reading()], [any::<u64>(), any::<u64>()], reading()), 0..80),
        instants in proptest::collection::vec((0u32..300, [reading(), reading(), reading()], [reading(), reading(), reading()]), 0..300),
    ) {
        let mut at = SECOND;
        let samples: Vec<DeviceSample> = samples.into_iter().map(|(ms, power_mw, shares, bytes, memory_used_mib)| {
            at += ms * 1_000_000;
            let shares = shares.map(|s| s.value().copied().unwrap_or(0));
            DeviceSample {
                power_mw,
                memory_used_mib,
                nvlink_tx_bytes: Reading::Value(bytes[0]),
                nvlink_rx_bytes: Reading::Value(bytes[1]),
                ..DeviceSample { at: BootNanos(at), ..sample(0, 0, shares, bytes, 0) }
            }
        }).collect();
        let mut series = fed(samples);
        let mut at_ms = 0;
        for (ms, [power_mw, tx_kib, rx_kib], [sm_ppm, tensor_ppm, dram_ppm]) in instants {
            at_ms += ms;
            series.add_instant(Instant { at_ms, power_mw, tx_kib, rx_kib, sm_ppm, tensor_ppm, dram_ppm });
        }
        let f = series.features(None);
        let shares = [f.rhythm, f.tensor_phase, f.memory_phase, f.other_phase, f.rest_phase, f.turns, f.burstiness,
            f.dip_evenness, f.plateau, f.pcie_active, f.pcie_symmetry];
        prop_assert!(shares.into_iter().flatten().all(|p| p <= Ppm::ONE), "{f:?}");
        let repeated = series.features(None);
        prop_assert_eq!(f, repeated);
    }
}
