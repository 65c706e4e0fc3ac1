use super::*;
use crate::telemetry::cycles::tests::counted;
use crate::telemetry::{ClockLooks, Jobs, PowerRing, Window, blank};
use crate::time::SECOND;
use proptest::prelude::*;

fn at(ms: u64, energy: Reading<u64>) -> DeviceSample {
    DeviceSample {
        energy_mj: energy,
        power_mw: Reading::Value(100_000),
        ..blank(BootNanos(ms * 1_000_000))
    }
}

fn sum(samples: &[DeviceSample]) -> (Window, Vec<Option<GapReason>>) {
    let (mut track, mut window, mut gaps) = (Track::new(SECOND), Window::default(), Vec::new());
    for s in samples {
        if let Some(step) = track.push(s) {
            window.add(&step, s);
            gaps.push(step.gap);
        }
    }
    (window, gaps)
}

#[test]
fn a_counter_counts_across_a_gap_and_a_sampled_integral_does_not() {
    let (window, gaps) = sum(&[
        at(0, Reading::Value(5_000)),
        at(1_000, Reading::Value(5_100)),
        at(2_500, Reading::Value(5_250)),
        at(10_000, Reading::Value(6_000)),
    ]);
    assert_eq!(gaps, [None, None, None, Some(GapReason::SamplerLate)]);
    let measured = window.measured();
    assert_eq!(measured.energy_mj, Reading::Value(1_000));
    assert_eq!(measured.power_integral_mj, Reading::Value(250_000));
    assert_eq!(window.covered_ms(), 2_500);
}

#[test]
fn a_value_lost_once_costs_nothing_and_a_counter_started_anew_adds_nothing() {
    let (window, _) = sum(&[
        at(0, Reading::Value(900)),
        at(1_000, Reading::Lost(LossReason::Failed)),
        at(2_000, Reading::Value(1_000)),
        at(3_000, Reading::Value(10)),
        at(4_000, Reading::Value(30)),
    ]);
    let measured = window.measured();
    assert_eq!(
        (measured.energy_mj, measured.counter_resets),
        (Reading::Value(120), 1)
    );
}

#[test]
fn a_gain_that_nothing_can_make_is_a_counter_started_anew() {
    let counters = |ms: u64, energy: u64, sent: u64| DeviceSample {
        pcie_tx_bytes: Reading::Value(sent),
        pcie_rx_bytes: Reading::Value(7),
        ..at(ms, Reading::Value(energy))
    };
    let (mut track, mut window) = (Track::new(SECOND), Window::default());
    track.set_fastest(Fastest {
        energy_mj_s: 2_000_000,
        bytes_s: 1_000_000,
    });
    let mut resets = Vec::new();
    for sample in [
        counters(0, 1_000_000, 0),
        counters(1_000, 1_700_000, 1_000_000),
        // Garbage, and back.
        counters(2_000, u64::MAX - 5, u64::MAX),
        counters(3_000, 3_100_000, 3_000_000),
        counters(4_000, 3_800_000, 4_000_000),
        // An hour later as much as an hour allows.
        counters(3_604_000, 3_800_000 + 3_600 * 2_000_000, 4_000_000),
    ] {
        let step = track.push(&sample).unwrap();
        window.add(&step, &sample);
        resets.push(step.resets);
        assert!(step.resets == 0 || step.energy_ns == 0, "it speaks for no time");
    }
    assert_eq!(resets, [0, 0, 2, 2, 0, 0]);
    let measured = window.measured();
    assert_eq!(measured.energy_mj, Reading::Value(1_400_000 + 7_200_000_000));
    assert_eq!(measured.pcie, Reading::Value(Traffic { tx: 2_000_000, rx: 0 }));
}

/// A sample at this clock, after looks that found these: the mean, the lowest and the highest.
fn looked(ms: u64, clock: u32, [mean_mhz, lowest_mhz, highest_mhz]: [u32; 3]) -> DeviceSample {
    DeviceSample {
        sm_clock_mhz: Reading::Value(clock),
        clock_looks: Reading::Value(ClockLooks {
            mean_mhz,
            lowest_mhz,
            highest_mhz,
        }),
        ..at(ms, Reading::Value(ms))
    }
}

#[test]
fn a_clock_that_looks_found_between_two_ticks_is_in_bounds_and_mean() {
    let mut track = Track::new(SECOND);
    track.push(&looked(0, 1_980, [1_980; 3])).unwrap();
    let step = track.push(&looked(1_000, 1_980, [700, 345, 1_980])).unwrap();
    let wide = Ends {
        low: 345,
        high: 1_980,
    };
    assert_eq!(step.clock_bounds_mhz, Some(wide));
    assert_eq!(step.clock_mean_mhz, Reading::Value(700));
    // A look that was lost, or read nothing, leaves no bound; what both ticks read is still told.
    let lost = DeviceSample {
        clock_looks: Reading::Lost(LossReason::Failed),
        ..looked(2_000, 1_980, [1_980; 3])
    };
    let step = track.push(&lost).unwrap();
    assert_eq!((step.clock_bounds_mhz, step.gap), (None, None));
    assert_eq!(step.clock_mean_mhz, Reading::Value(1_980));
    let still = track.push(&looked(3_000, 1_980, [1_700, 0, 1_980])).unwrap();
    assert_eq!(still.clock_bounds_mhz, None);
    // The extremes of a report hold the looks, and its mean theirs.
    let (window, _) = sum(&[
        looked(0, 1_500, [1_500; 3]),
        looked(1_000, 1_500, [1_000, 900, 1_600]),
    ]);
    let clock = window.measured().sm_clock_mhz.value().unwrap().clone();
    assert_eq!((clock.min, clock.mean, clock.max), (900, 1_000, 1_600));
}

#[test]
fn activity_that_reaches_back_counts_at_the_mean_clock_of_its_time() {
    let mut track = Track::new(SECOND);
    let told = |sample| DeviceSample {
        activity: Reading::Value(Activity {
            interval_ns: 2 * SECOND,
            ..activity()
        }),
        ..sample
    };
    track.push(&told(looked(0, 1_000, [1_000; 3]))).unwrap();
    track.push(&looked(1_000, 1_000, [1_200, 900, 1_900])).unwrap();
    let step = track
        .push(&told(looked(1_500, 1_000, [1_800, 1_000, 1_980])))
        .unwrap();
    assert_eq!(step.activity_clock_mean_mhz, Some(1_400));
    let ends = step.activity_clock_mhz.unwrap();
    assert_eq!((ends.low, ends.high), (900, 1_980));
}

#[test]
fn what_a_device_does_not_offer_is_missing_and_not_zero() {
    let (window, _) = sum(&[at(0, Reading::Unsupported), at(1_000, Reading::Unsupported)]);
    let measured = window.measured();
    assert_eq!(measured.energy_mj, Reading::Unsupported);
    assert_eq!(measured.pipes, Reading::Unsupported);
    assert_eq!(measured.temperature_max_c, Reading::Unsupported);
    assert_eq!(
        Window::default().measured().energy_mj,
        Reading::Lost(LossReason::Failed)
    );
}

#[test]
fn a_sample_without_any_value_or_of_a_lost_device_covers_nothing() {
    let lost = DeviceSample {
        state: DeviceState::Lost,
        ..at(1_000, Reading::Value(1))
    };
    let (window, gaps) = sum(&[
        at(0, Reading::Value(1)),
        lost,
        blank(BootNanos(2 * SECOND)),
        at(3_000, Reading::Value(1)),
    ]);
    let (lost, failed) = (Some(GapReason::DeviceLost), Some(GapReason::ReadFailed));
    assert_eq!(gaps, [None, lost, lost, failed]);
    assert_eq!(window.covered_ms(), 0);
}

fn busy(ms: u64, elapsed: u64, hmma: u64) -> DeviceSample {
    DeviceSample {
        cycles: Reading::Value(vec![counted(elapsed, hmma)]),
        ..at(ms, Reading::Value(ms))
    }
}

#[test]
fn cycle_counters_speak_for_a_gap_and_begin_anew_without_inventing_any() {
    let mut track = Track::new(SECOND);
    let mut step = |sample| track.push(&sample).unwrap();
    assert_eq!(step(busy(0, 1_000, 0)).activity_source, ActivitySource::None);
    let one = step(busy(1_000, 2_000, 400));
    assert_eq!((one.activity_ns, one.activity_gap_ns), (SECOND, 0));
    assert_eq!(one.activity_source, ActivitySource::GpmCounters);
    let after = step(busy(11_000, 12_000, 5_400));
    assert_eq!(after.gap, Some(GapReason::SamplerLate));
    assert_eq!((after.activity_ns, after.activity_gap_ns), (0, 10 * SECOND));
    let hmma = |step: &Step| step.activity.value().unwrap().hmma;
    assert_eq!(hmma(&after), Reading::Value(Ppm(500_000)));
    let anew = step(busy(12_000, 100, 10));
    assert_eq!((anew.resets, anew.activity), (1, Reading::Unsupported));
    let again = step(busy(13_000, 1_100, 260));
    assert_eq!((again.resets, hmma(&again)), (0, Reading::Value(Ppm(250_000))));
    let (window, _) = sum(&[
        busy(0, 1_000, 0),
        busy(10_000, 2_000, 250),
        busy(11_000, 2_100, 350),
    ]);
    let measured = window.measured();
    assert_eq!(measured.activity_source, ActivitySource::GpmCounters);
    let pipes = measured.pipes.value().unwrap();
    assert_eq!(
        pipes.hmma,
        Reading::Value(2_500 + 1_000),
        "of which 2.5 s in the gap"
    );
}

#[test]
fn pcie_bytes_of_means_count_for_covered_time_and_say_that_they_are_sampled() {
    let sampled = |ms: u64| DeviceSample {
        activity: Reading::Value(Activity {
            interval_ns: SECOND,
            ..activity()
        }),
        pcie_tx_rate: Reading::Value(1_000),
        pcie_rx_rate: Reading::Value(3_000),
        ..at(ms, Reading::Value(1))
    };
    let (window, _) = sum(&[sampled(0), sampled(1_000), sampled(20_000), sampled(20_500)]);
    let measured = window.measured();
    assert_eq!(measured.pcie, Reading::Value(Traffic { tx: 1_500, rx: 4_500 }));
    assert_eq!(measured.pcie_method, Method::Sampled);
    let counted = |ms: u64| DeviceSample {
        pcie_tx_bytes: Reading::Value(ms),
        pcie_rx_bytes: Reading::Value(ms),
        ..sampled(ms)
    };
    let (window, _) = sum(&[counted(0), counted(1_000)]);
    let measured = window.measured();
    assert_eq!(measured.pcie, Reading::Value(Traffic { tx: 1_000, rx: 1_000 }));
    assert_eq!(measured.pcie_method, Method::Counter);
    assert_eq!(measured.activity_source, ActivitySource::Gpm);
    let elsewhere = |ms: u64| DeviceSample {
        by_host_engine: true,
        ..sampled(ms)
    };
    let (window, _) = sum(&[elsewhere(0), elsewhere(1_000)]);
    assert_eq!(window.measured().activity_source, ActivitySource::Dcgm);
}

#[test]
fn what_the_driver_kept_between_two_ticks_is_in_the_sums() {
    let kept = |ms: u64| DeviceSample {
        utilisation: Reading::Value(Ppm(1_000_000)),
        busy_mean: Reading::Value(Ppm(300_000)),
        power_ring: Reading::Value(PowerRing {
            mean_mw: 250_000,
            lowest_mw: 80_000,
            highest_mw: 400_000,
        }),
        ..at(ms, Reading::Unsupported)
    };
    let (window, _) = sum(&[kept(0), kept(1_000), kept(2_000)]);
    let measured = window.measured();
    assert_eq!(measured.busy_ms, Reading::Value(600));
    assert_eq!(measured.power_integral_mj, Reading::Value(500_000));
    assert_eq!(
        measured.energy_mj,
        Reading::Unsupported,
        "an integral is no counter"
    );
    let power = measured.power_mw.value().unwrap().clone();
    assert_eq!((power.min, power.mean, power.max), (80_000, 250_000, 400_000));
}

#[test]
fn processes_that_ended_are_counted_and_the_longest_is_told() {
    let ended = |ms: u64, ended, longest_s| DeviceSample {
        jobs: Some(Jobs { ended, longest_s }),
        ..at(ms, Reading::Value(1))
    };
    let (window, _) = sum(&[ended(0, 0, 0), ended(1_000, 2, 30), ended(2_000, 1, 7)]);
    let three = Jobs {
        ended: 3,
        longest_s: 30,
    };
    assert_eq!(window.measured().jobs, Some(three));
    let (window, _) = sum(&[at(0, Reading::Value(1))]);
    assert_eq!(window.measured().jobs, None, "accounting mode is off");
}

fn activity() -> Activity {
    Activity {
        interval_ns: 0,
        sm: Reading::Unsupported,
        tensor_any: Reading::Unsupported,
        dfma: Reading::Unsupported,
        hmma: Reading::Unsupported,
        imma: Reading::Unsupported,
        dram: Reading::Unsupported,
        fp64: Reading::Unsupported,
        fp32: Reading::Unsupported,
        fp16: Reading::Unsupported,
        integer: Reading::Unsupported,
    }
}

proptest! {
    /// Whatever samples are lost on the way, the pipes were busy for as long as the counters say.
    #[test]
    fn cycle_counters_lose_nothing_to_lost_samples(
        seconds in prop::collection::vec((0u64..=1_000, prop::sample::select(vec![0, 0, 1, 2])), 2..60),
    ) {
        let (mut hmma, mut samples) = (0, vec![busy(0, 0, 0)]);
        for (i, (busy_ms, kind)) in (1u64..).zip(&seconds) {
            hmma += busy_ms;
            let mut sample = busy(i * 1_000, i * 1_000, hmma);
            let last = usize::try_from(i).unwrap() == seconds.len();
            match kind {
                1 if !last => continue,
                2 if !last => sample.cycles = Reading::Lost(LossReason::Failed),
                _ => {}
            }
            samples.push(sample);
        }
        let (window, _) = sum(&samples);
        let told = *window.measured().pipes.value().unwrap().hmma.value().unwrap();
        prop_assert!(told <= hmma && told + 1 >= hmma, "{} of {}", told, hmma);
    }

    #[test]
    fn windows_add_up_to_the_same_in_any_order(
        values in prop::collection::vec((1u64..4_000, 0u64..1_000_000, 0u32..4), 1..60),
        cut in 1usize..20,
        turn in 0usize..20,
    ) {
        let mut ms = 0;
        let samples: Vec<DeviceSample> = values.iter().map(|(dt, energy, kind)| {
            ms += dt;
            let reading = match kind {
                0 => Reading::Lost(LossReason::Hung),
                1 => Reading::Unsupported,
                _ => Reading::Value(*energy),
            };
            at(ms, reading)
        }).collect();
        let (whole, _) = sum(&samples);
        let mut track = Track::new(SECOND);
        let mut parts: Vec<Window> = samples.chunks(cut).map(|chunk| {
            let mut window = Window::default();
            for s in chunk {
                if let Some(step) = track.push(s) {
                    window.add(&step, s);
                }
            }
            window
        }).collect();
        let turn = turn % parts.len();
        parts.rotate_left(turn);
        let mut total = Window::default();
        for part in &parts {
            total.absorb(part);
        }
        prop_assert_eq!(total.measured(), whole.measured());
        prop_assert_eq!(total.covered_ms(), whole.covered_ms());
    }
}
