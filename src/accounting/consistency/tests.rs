use super::repeat::Repeat;
use super::*;
use crate::telemetry::{Activity, Reading, Track, blank};
use crate::time::{BootNanos, SECOND};
use crate::unit::Ppm;
use proptest::prelude::*;

const PART: Part = Part {
    design_mw: Some(700_000),
    measured: true,
    limit_mw: Some(700_000),
    highest_mhz: Some(1_980),
    fastest: Fastest::ANY,
};

/// A device at half load in second `t`: every reading moves a little.
fn reading(t: u64) -> DeviceSample {
    let noise = |salt: u64, size: u64| (t ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40 & (size - 1);
    let share = |mean: u32, salt: u64| Reading::Value(Ppm(mean + noise(salt, 4_096) as u32));
    DeviceSample {
        energy_mj: Reading::Value(1_000_000 + t * 400_000 + noise(1, 512)),
        power_mw: Reading::Value(398_000 + noise(2, 4_096) as u32),
        sm_clock_mhz: Reading::Value(1_980),
        utilisation: share(700_000, 3),
        temperature_c: Reading::Value(50 + noise(4, 2) as i32),
        clock_events: Reading::Value(0),
        activity: Reading::Value(Activity {
            interval_ns: SECOND,
            sm: share(500_000, 5),
            tensor_any: share(200_000, 6),
            dram: share(300_000, 7),
            dfma: Reading::Value(Ppm(0)),
            hmma: share(200_000, 6),
            imma: Reading::Value(Ppm(0)),
            fp64: Reading::Value(Ppm(0)),
            fp32: share(100_000, 8),
            fp16: Reading::Value(Ppm(0)),
            integer: share(40_000, 9),
        }),
        ..blank(BootNanos((t + 1) * SECOND))
    }
}

/// The observations of three minutes.
fn observed(forge: impl Fn(u64, &mut DeviceSample)) -> Vec<ObservationKind> {
    let physics = Physics::embedded().unwrap();
    let (mut track, mut checker) = (Track::new(SECOND), Checker::new(PART));
    for t in 0..=180 {
        let mut sample = reading(t);
        forge(t, &mut sample);
        if let Some(step) = track.push(&sample) {
            checker.push(&step, &sample, &physics);
        }
        if t > 0 && t % 60 == 0 {
            checker.close_window(&physics);
            checker.end_window();
        }
    }
    checker.finish().iter().map(|o| o.kind).collect()
}

fn activity(sample: &mut DeviceSample) -> &mut Activity {
    match &mut sample.activity {
        Reading::Value(a) => a,
        _ => panic!("the sample has activity"),
    }
}

#[test]
fn genuine_readings_are_believed() {
    assert_eq!(observed(|_, _| {}), []);
}

#[test]
fn each_disagreement_has_its_kind() {
    use ObservationKind as Kind;
    let halved = observed(|_, s| s.power_mw = s.power_mw.map(|p| p / 2));
    assert!(halved.contains(&Kind::EnergyAgainstPower), "{halved:?}");
    let frozen = observed(|t, s| {
        if t > 90 {
            s.energy_mj = Reading::Value(40_000_000);
        }
    });
    assert!(frozen.contains(&Kind::Still), "{frozen:?}");
    let idle = observed(|_, s| s.clock_events = Reading::Value(1));
    assert_eq!(idle, [Kind::IdleWhileActive]);
    let fast = observed(|_, s| s.sm_clock_mhz = Reading::Value(2_100));
    assert_eq!(fast, [Kind::ClockAboveHighest]);
    let pipe = observed(|_, s| activity(s).sm = Reading::Value(Ppm(100_000)));
    assert!(pipe.contains(&Kind::PipeAgainstSm), "{pipe:?}");
    let unused = observed(|_, s| s.utilisation = Reading::Value(Ppm(200_000)));
    assert!(unused.contains(&Kind::UtilisationAgainstActivity), "{unused:?}");
    let less = observed(|_, s| {
        let a = activity(s);
        for share in [
            &mut a.sm,
            &mut a.tensor_any,
            &mut a.hmma,
            &mut a.dram,
            &mut a.fp32,
        ] {
            *share = share.map(|p| Ppm(p.0 / 4));
        }
    });
    assert!(less.contains(&Kind::PowerAgainstActivity), "{less:?}");
    let alone = observed(|t, s| {
        if t > 60 {
            let a = activity(s);
            a.tensor_any = a.tensor_any.map(|p| Ppm(p.0 / 2));
        }
    });
    assert_eq!(alone, [Kind::MovedAlone]);
    let again = observed(|t, s| {
        if t > 90 {
            let then = reading(t - 60);
            (s.power_mw, s.activity) = (then.power_mw, then.activity);
        }
    });
    assert_eq!(again, [Kind::Repeated]);
    let reset = observed(|t, s| {
        if t > 90 {
            s.energy_mj = s.energy_mj.map(|e| e - 1_000_000);
        }
    });
    assert_eq!(reset, [Kind::CounterDecreased]);
    let cold = observed(|t, s| {
        if t > 90 {
            s.temperature_c = s.temperature_c.map(|c| c - 20);
        }
    });
    assert_eq!(cold, [Kind::TemperatureAgainstPower]);
    let above = observed(|t, s| {
        s.power_mw = s.power_mw.map(|p| p * 2);
        s.energy_mj = Reading::Value(1_000_000 + t * 796_000);
    });
    assert!(above.contains(&Kind::PowerAboveLimit), "{above:?}");
    let capped = observed(|t, s| {
        s.clock_events = Reading::Value(POWER_CAP);
        s.power_mw = s.power_mw.map(|p| p / 4);
        s.energy_mj = Reading::Value(1_000_000 + t * 100_000);
    });
    assert!(capped.contains(&Kind::ClockEventAgainstPower), "{capped:?}");
    let hot = observed(|_, s| s.clock_events = Reading::Value(THERMAL));
    assert_eq!(hot, [Kind::ClockEventAgainstPower]);
}

#[test]
fn energy_that_swings_otherwise_than_power_is_seen_though_their_means_agree() {
    // Ten seconds of more and ten of less, against five and five.
    let swing = |t: u64, length: u64| {
        if (t / length).is_multiple_of(2) {
            180_000
        } else {
            0
        }
    };
    let forge = |t: u64, s: &mut DeviceSample, length: u64| {
        s.power_mw = s.power_mw.map(|p| p - 90_000 + swing(t, length) as u32);
        let drawn: u64 = (1..=t).map(|t| 310_000 + swing(t, 10)).sum();
        s.energy_mj = Reading::Value(1_000_000 + drawn);
        let a = activity(s);
        a.sm = a.sm.map(|p| Ppm(p.0 - 100_000 + 2 * swing(t, 10) as u32));
        s.temperature_c = Reading::Value(50 + (swing(t, 10) / 20_000) as i32);
        s.utilisation = s
            .utilisation
            .map(|p| Ppm(p.0 - 100_000 + 2 * swing(t, 10) as u32));
    };
    assert_eq!(observed(|t, s| forge(t, s, 10)), []);
    let seen = observed(|t, s| forge(t, s, 5));
    assert_eq!(seen, [ObservationKind::EnergyAgainstPower]);
}

#[test]
fn a_clock_that_contradicts_what_holds_it_back_is_seen_and_a_locked_one_is_not() {
    use ObservationKind::ClockEventAgainstPower;
    let clock = |s: &mut DeviceSample, mhz: u32| s.sm_clock_mhz = Reading::Value(mhz);
    let capped = |s: &mut DeviceSample| s.clock_events = Reading::Value(POWER_CAP);
    assert_eq!(observed(|_, s| capped(s)), [ClockEventAgainstPower]);
    let held = observed(|t, s| {
        capped(s);
        clock(s, 1_800 - 15 * (t % 3) as u32);
    });
    assert_eq!(held, []);
    assert_eq!(
        observed(|t, s| clock(s, 1_800 - 15 * (t % 3) as u32)),
        [ClockEventAgainstPower]
    );
    assert_eq!(observed(|_, s| clock(s, 1_800)), []);
    // Locked anew now and then.
    assert_eq!(observed(|t, s| clock(s, 1_800 - 15 * (t / 30) as u32)), []);
}

#[test]
fn temperature_must_follow_power_that_swings_fast() {
    // Two seconds of more and two of less; the die's temperature with it, or with half the pace.
    let swing = |t: u64, length: u64| {
        if (t / length).is_multiple_of(2) {
            180_000
        } else {
            0
        }
    };
    let forge = |t: u64, s: &mut DeviceSample, length: u64| {
        s.power_mw = s.power_mw.map(|p| p - 90_000 + swing(t, 2) as u32);
        let drawn: u64 = (1..=t).map(|t| 310_000 + swing(t, 2)).sum();
        s.energy_mj = Reading::Value(1_000_000 + drawn);
        let a = activity(s);
        a.sm = a.sm.map(|p| Ppm(p.0 - 100_000 + swing(t, 2) as u32));
        s.temperature_c = Reading::Value(50 + (swing(t, length) / 30_000) as i32);
    };
    assert_eq!(observed(|t, s| forge(t, s, 2)), []);
    assert_eq!(
        observed(|t, s| forge(t, s, 4)),
        [ObservationKind::TemperatureAgainstPower]
    );
}

#[test]
fn a_kernel_that_is_resident_keeps_some_sm_busy() {
    let resident = |sms: u32| {
        observed(move |_, s| {
            s.utilisation = s.utilisation.map(|u| Ppm(u.0 - 300_000));
            s.power_mw = s.power_mw.map(|p| p - 270_000);
            s.energy_mj = s.energy_mj.map(|e| 1_000_000 + (e - 1_000_000) * 128 / 398);
            let a = activity(s);
            for share in [
                &mut a.tensor_any,
                &mut a.hmma,
                &mut a.dram,
                &mut a.fp32,
                &mut a.integer,
            ] {
                *share = Reading::Value(Ppm(0));
            }
            a.sm = a.sm.map(|p| Ppm(p.0 / 64 * sms / 10_000));
        })
    };
    assert!(!resident(7_600).contains(&ObservationKind::UtilisationAgainstActivity));
    assert!(resident(0).contains(&ObservationKind::UtilisationAgainstActivity));
}

/// What two windows of four devices show, of which the last is warmer by `more`.
fn warmer(watts: u64, more: i32) -> Vec<ObservationKind> {
    let physics = Physics::embedded().unwrap();
    let mut found = Vec::new();
    let mut devices: Vec<_> = (0..4).map(|_| (Track::new(SECOND), Checker::new(PART))).collect();
    for window in 0..2 {
        let summaries: Vec<_> = devices
            .iter_mut()
            .zip(0u64..)
            .map(|((track, checker), i)| {
                for t in window * 60..(window + 1) * 60 {
                    let mut sample = reading(t + 1_000 * i);
                    sample.at = BootNanos((t + 1) * SECOND);
                    sample.energy_mj = Reading::Value(t * watts * 1_000);
                    sample.power_mw = Reading::Value(watts as u32 * 1_000 + (t * 37 + i) as u32 % 97);
                    if i == 3 {
                        sample.temperature_c = sample.temperature_c.map(|c| c + more);
                    }
                    if let Some(step) = track.push(&sample) {
                        checker.push(&step, &sample, &physics);
                    }
                }
                checker.close_window(&physics)
            })
            .collect();
        let shared = check_node(&summaries, &physics);
        found.extend(shared.devices.iter().filter(|d| d.0 == 3).map(|d| d.1));
    }
    found
}

#[test]
fn a_device_that_is_much_warmer_than_its_peers_for_what_it_draws_does_not_fit() {
    assert_eq!(warmer(120, 8), []);
    // Not in the window after a change of power, which may leave it warm; in the one after that.
    assert_eq!(warmer(120, 12), [ObservationKind::TemperatureAgainstPower]);
    assert_eq!(warmer(600, 12), []);
}

#[test]
fn rest_that_is_halved_with_all_else_is_seen_by_its_proportion() {
    let seen = observed(|t, s| {
        if t > 60 {
            let before = 1_000_000 + 60 * 400_000;
            s.energy_mj = s.energy_mj.map(|e| before + (e - before) / 2);
            s.power_mw = s.power_mw.map(|p| p / 2);
            s.utilisation = s.utilisation.map(|u| Ppm(u.0 / 2));
            let a = activity(s);
            for share in [
                &mut a.sm,
                &mut a.tensor_any,
                &mut a.hmma,
                &mut a.dram,
                &mut a.fp32,
                &mut a.integer,
            ] {
                *share = share.map(|p| Ppm(p.0 / 2));
            }
        }
    });
    assert!(seen.contains(&ObservationKind::InProportion), "{seen:?}");
}

#[test]
fn a_kind_is_listed_once_with_the_windows_in_which_it_was_seen() {
    let physics = Physics::embedded().unwrap();
    let mut checker = Checker::new(PART);
    for size in [5, 9, 7] {
        checker.note(ObservationKind::Still, size);
        checker.note(ObservationKind::Still, 1);
        checker.close_window(&physics);
        checker.end_window();
    }
    let found = checker.finish();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].size, found[0].windows), (9, 3));
    assert_eq!(checker.finish(), []);
}

#[test]
fn what_one_device_sends_another_must_receive() {
    let physics = Physics::embedded().unwrap();
    let mut checkers = [Checker::new(PART), Checker::new(PART)];
    let summaries: Vec<_> = checkers
        .iter_mut()
        .enumerate()
        .map(|(i, checker)| {
            let mut track = Track::new(SECOND);
            for t in 0..60 {
                let mut sample = reading(t + 1_000 * i as u64);
                sample.at = BootNanos((t + 1) * SECOND);
                sample.nvlink_tx_bytes = Reading::Value(t * 1_000_000_000);
                sample.nvlink_rx_bytes = Reading::Value(t * if i == 0 { 1_000_000_000 } else { 500_000_000 });
                if let Some(step) = track.push(&sample) {
                    checker.push(&step, &sample, &physics);
                }
            }
            checker.close_window(&physics)
        })
        .collect();
    let found = check_node(&summaries, &physics);
    assert_eq!(found.host, [(ObservationKind::LinkAgainstLink, 250_000)]);
    let twice = [summaries[0].clone(), summaries[0].clone()];
    let found = check_node(&twice, &physics);
    assert_eq!(found.host[0].0, ObservationKind::Repeated);
}

#[test]
fn a_checker_takes_less_than_four_kilobytes() {
    const { assert!(Checker::MOST_BYTES < 4_096) }
    const { assert!(Repeat::TABLE_BYTES < Checker::MOST_BYTES) }
}

proptest! {
    #[test]
    fn no_reading_makes_a_checker_fail_or_list_too_much(
        values in prop::collection::vec((any::<u64>(), any::<u32>(), any::<i32>(), 1u64..3_000), 1..200),
    ) {
        let physics = Physics::embedded().unwrap();
        let (mut track, mut checker) = (Track::new(SECOND), Checker::new(PART));
        let mut ms = 0;
        for (large, small, signed, dt) in values {
            ms += dt;
            let mut sample = reading(ms);
            sample.at = BootNanos(ms * 1_000_000);
            sample.energy_mj = Reading::Value(large);
            sample.nvlink_tx_bytes = Reading::Value(large);
            sample.nvlink_rx_bytes = Reading::Value(large.rotate_left(32));
            sample.power_mw = Reading::Value(small);
            sample.sm_clock_mhz = Reading::Value(small);
            sample.temperature_c = Reading::Value(signed);
            sample.clock_events = Reading::Value(large);
            let a = activity(&mut sample);
            (a.interval_ns, a.sm, a.tensor_any) = (large, Reading::Value(Ppm(small)), Reading::Value(Ppm(!small)));
            if let Some(step) = track.push(&sample) {
                checker.push(&step, &sample, &physics);
            }
        }
        let summary = checker.close_window(&physics);
        let found = check_node(&[summary.clone(), summary], &physics);
        prop_assert!(found.devices.is_empty());
        checker.end_window();
        prop_assert!(checker.finish().len() <= Observation::MOST);
    }
}
