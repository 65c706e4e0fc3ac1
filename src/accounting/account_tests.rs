use super::account::Account;
use super::{ComputeMethod, Peak, UpperBound};
use crate::accelerator::Catalogue;
use crate::id::PciId;
use crate::telemetry::{
    AcceleratorIdentity, Activity, DeviceSample, MigInstance, PipeCycles, Reading, Track, blank, h100,
};
use crate::time::{BootNanos, SECOND};
use crate::unit::{MicroTppHours, Ppm};
use proptest::prelude::*;

pub(super) fn identity(pci: PciId) -> AcceleratorIdentity {
    AcceleratorIdentity {
        pci,
        name: String::new(),
        ..h100()
    }
}

pub(super) fn peak(device: u16) -> Peak {
    let id = PciId {
        vendor: 0x10de,
        device,
        ..PciId::default()
    };
    let catalogue = Catalogue::embedded().unwrap();
    Peak::of(catalogue.find(&id, "").model().unwrap(), &identity(id)).unwrap()
}

#[test]
fn the_devices_of_a_card_share_its_peak_and_slices_share_none() {
    let catalogue = Catalogue::embedded().unwrap();
    let of = |vendor, device, mig: Option<Vec<MigInstance>>| {
        let id = PciId {
            vendor,
            device,
            ..PciId::default()
        };
        let identity = AcceleratorIdentity { mig, ..identity(id) };
        Peak::of(catalogue.find(&id, "").model().unwrap(), &identity).unwrap()
    };
    let hour = |peak: Peak| peak.over(3_600 * SECOND);
    // Two devices of a card, for an hour, make what the card makes.
    let die = of(0x1002, 0x7408, None);
    assert_eq!(hour(die).plus(hour(die)), MicroTppHours(6_128_000_000));
    // Two dies behind one function.
    assert_eq!(hour(of(0x10de, 0x2901, None)), MicroTppHours(36_000_000_000));
    let sliced = vec![MigInstance { slices: 1, count: 7 }];
    assert_eq!(
        hour(of(0x10de, 0x2330, Some(sliced))),
        hour(of(0x10de, 0x2330, None))
    );
}

pub(super) fn activity(hmma: u32, imma: u32, dfma: u32) -> Activity {
    let value = |ppm| Reading::Value(Ppm(ppm));
    Activity {
        interval_ns: SECOND,
        sm: value(900_000),
        tensor_any: value((hmma + imma + dfma).min(1_000_000)),
        dfma: value(dfma),
        hmma: value(hmma),
        imma: value(imma),
        dram: value(0),
        fp64: value(0),
        fp32: value(0),
        fp16: value(0),
        integer: value(0),
    }
}

pub(super) fn sample(second: u64, clock: u32, activity: Reading<Activity>) -> DeviceSample {
    DeviceSample {
        sm_clock_mhz: Reading::Value(clock),
        utilisation: Reading::Value(Ppm(950_000)),
        activity,
        ..blank(BootNanos(second * SECOND))
    }
}

fn account(peak: &Peak, samples: &[DeviceSample]) -> Account {
    let (mut track, mut account) = (Track::new(SECOND), Account::default());
    for step in samples.iter().filter_map(|s| track.push(s)) {
        account.add(&step, peak);
    }
    account
}

#[test]
fn an_hour_at_peak_is_the_tpp_of_the_part_and_the_boost_clock_adds_nothing() {
    let peak = peak(0x2330);
    for clock in [1_830, 1_980] {
        let samples: Vec<_> = (0..=3_600)
            .map(|t| sample(t, clock, Reading::Value(activity(1_000_000, 0, 0))))
            .collect();
        let compute = account(&peak, &samples).compute(&peak, 3_600 * SECOND);
        assert_eq!(compute.counter, MicroTppHours(15_832_000_000));
        assert_eq!(compute.lower, MicroTppHours(7_124_400_000));
        assert_eq!(compute.upper, compute.upper_unconditional);
    }
}

#[test]
fn the_fp64_pipe_counts_a_quarter_and_less_where_the_maker_cut_it() {
    let hour = |device| {
        let peak = peak(device);
        let samples: Vec<_> = (0..=3_600)
            .map(|t| sample(t, 1_830, Reading::Value(activity(0, 0, 1_000_000))))
            .collect();
        account(&peak, &samples).compute(&peak, 3_600 * SECOND).counter
    };
    assert_eq!(hour(0x2330), MicroTppHours(3_958_000_000));
    // H800: one tera-operation of FP64, 64 TPP; a share in parts per million rounds.
    let h800 = hour(0x2324).0;
    assert!((63_900_000..=64_000_000).contains(&h800), "{h800}");
}

#[test]
fn tensor_activity_that_is_not_told_apart_bounds_from_below_as_fp64() {
    let peak = peak(0x2330);
    let any = Activity {
        hmma: Reading::Unsupported,
        imma: Reading::Unsupported,
        dfma: Reading::Unsupported,
        ..activity(400_000, 0, 0)
    };
    let samples: Vec<_> = (0..=3_600)
        .map(|t| sample(t, 1_830, Reading::Value(any.clone())))
        .collect();
    let compute = account(&peak, &samples).compute(&peak, 3_600 * SECOND);
    assert_eq!(compute.counter, MicroTppHours(1_583_200_000));
    assert!(compute.upper >= MicroTppHours(6_332_800_000));
}

/// An hour of one activity and clock, with its energy and no utilisation.
fn hour_of(activity: &Activity, clock: u32, watts: u64) -> Vec<DeviceSample> {
    (0..=3_600)
        .map(|t| DeviceSample {
            energy_mj: Reading::Value(7_000 + t * watts * 1_000),
            utilisation: Reading::Unsupported,
            ..sample(t, clock, Reading::Value(activity.clone()))
        })
        .collect()
}

#[test]
fn vectors_count_by_themselves_and_half_precision_vectors_are_not_taken_for_matrix_products() {
    let peak = peak(0x2335);
    // As an H200 counts packed FP16 vectors: on the tensor pipe, too.
    let vectors = Activity {
        tensor_any: Reading::Value(Ppm(935_000)),
        fp16: Reading::Value(Ppm(935_000)),
        ..activity(935_000, 0, 0)
    };
    let account = account(&peak, &hour_of(&vectors, 1_980, 315));
    let (compute, pipes) = (
        account.compute(&peak, 3_600 * SECOND),
        account.by_pipe(&peak).unwrap(),
    );
    assert_eq!((compute.lower.0, compute.counter.0, pipes.hmma.0), (0, 0, 0));
    // 125.1 tera-operations of 16 bits a second were issued.
    let issued = 125_090_000 * 16;
    assert!(pipes.fp16.0.abs_diff(issued) < issued / 200, "{pipes:?}");
    assert!(compute.upper.0 > issued);
}

#[test]
fn what_an_h200_issued_is_found_within_a_fortieth_and_lies_between_the_bounds() {
    // Label, activity of HMMA, IMMA and DFMA in parts per million, mean SM clock, operations a second in tera, bits. Measured.
    let runs = [
        ("large products, BF16", 935_000, 0, 0, 1_493, 674.9, 16),
        ("large products, FP16", 936_100, 0, 0, 1_430, 649.9, 16),
        ("large products, TF32", 930_400, 0, 0, 1_538, 350.7, 32),
        ("large products, FP8", 912_300, 0, 0, 1_455, 1_279.3, 8),
        ("large products, FP64", 0, 0, 944_800, 1_844, 58.9, 64),
        ("wgmma alone, INT8", 0, 999_000, 0, 1_980, 1_944.3, 8),
        ("wgmma alone, TF32", 998_800, 0, 0, 1_980, 486.0, 32),
    ];
    let peak = peak(0x2335);
    for (label, hmma, imma, dfma, clock, tera, bits) in runs {
        let account = account(&peak, &hour_of(&activity(hmma, imma, dfma), clock, 690));
        let compute = account.compute(&peak, 3_600 * SECOND);
        let issued = tera * f64::from(bits) * 1e6;
        let found = account.by_pipe(&peak).unwrap().on_tensor().0 as f64;
        assert!(
            (found / issued - 1.0).abs() < 0.025,
            "{label}: {found} for {issued}"
        );
        assert!(
            compute.lower.0 as f64 <= issued && issued <= compute.upper.0 as f64,
            "{label}: {compute:?}"
        );
    }
    // The older instruction does two thirds; no counter tells it apart, and the bounds hold it.
    let older = account(&peak, &hour_of(&activity(0, 744_500, 0), 1_828, 693)).compute(&peak, 3_600 * SECOND);
    let issued = 889_200_000 * 8;
    assert!(
        older.lower.0 <= issued && issued <= older.upper.0 && older.counter.0 > issued,
        "{older:?}"
    );
}

#[test]
fn vectors_are_in_the_upper_bound_and_not_in_the_counter() {
    let peak = peak(0x2335);
    let vectors = Activity {
        fp32: Reading::Value(Ppm(954_500)),
        ..activity(0, 0, 0)
    };
    let account = account(&peak, &hour_of(&vectors, 1_980, 260));
    let (compute, pipes) = (
        account.compute(&peak, 3_600 * SECOND),
        account.by_pipe(&peak).unwrap(),
    );
    // 63.86 tera-operations of 32 bits a second were issued.
    let issued = 63_860_000 * 32;
    assert!(pipes.fp32.0.abs_diff(issued) < issued / 200, "{pipes:?}");
    assert_eq!(compute.counter.0, 0);
    assert!(compute.upper.0 >= issued);
}

#[test]
fn where_neither_pipes_nor_busy_time_were_told_the_account_rests_on_energy() {
    let h200 = peak(0x2335);
    let told = |activity: bool, busy: u32, energy: bool| {
        let samples: Vec<_> = (0..=100u32)
            .map(|t| {
                let read = sample(u64::from(t), 1_830, Reading::Unsupported);
                DeviceSample {
                    activity: match activity {
                        true => Reading::Value(self::activity(400_000, 0, 0)),
                        false => Reading::Unsupported,
                    },
                    utilisation: match t < busy {
                        true => read.utilisation,
                        false => Reading::Unsupported,
                    },
                    energy_mj: match energy {
                        true => Reading::Value(u64::from(t) * 400_000),
                        false => Reading::Unsupported,
                    },
                    power_mw: Reading::Value(400_000),
                    ..read
                }
            })
            .collect();
        account(&h200, &samples).method()
    };
    assert_eq!(told(true, 101, true), ComputeMethod::PipeActivity);
    assert_eq!(told(false, 101, true), ComputeMethod::BusyTime);
    assert_eq!(told(false, 40, true), ComputeMethod::Energy);
    assert_eq!(told(false, 40, false), ComputeMethod::ElapsedTime);
}

#[test]
fn each_bound_binds_where_it_is_the_least_and_says_so() {
    let whole = 3_600 * SECOND;
    let h200 = peak(0x2335);
    let bound = |samples: &[DeviceSample], peak: &Peak| account(peak, samples).compute(peak, whole);
    let busy = bound(&hour_of(&activity(400_000, 0, 0), 1_830, 600), &h200);
    assert_eq!((busy.bound, busy.upper.0), (UpperBound::Counter, 6_332_800_000));
    // Without pipes, a low clock bounds; without a clock, nothing but time does.
    let blind = |clock| -> Vec<DeviceSample> {
        let strip = |s: DeviceSample| DeviceSample {
            activity: Reading::Unsupported,
            sm_clock_mhz: clock,
            energy_mj: Reading::Unsupported,
            power_mw: Reading::Value(78_000),
            ..s
        };
        hour_of(&activity(0, 0, 0), 345, 78)
            .into_iter()
            .map(strip)
            .collect()
    };
    let idle = bound(&blind(Reading::Value(345)), &h200);
    assert_eq!((idle.bound, idle.lower.0), (UpperBound::Clock, 0));
    let share = 15_832_000_000u128 * 345 / 1_830;
    assert!(idle.upper.0.abs_diff(share) < 20_000, "{idle:?}");
    let nothing = bound(&blind(Reading::Unsupported), &h200);
    assert_eq!(
        (nothing.bound, nothing.upper),
        (UpperBound::Time, nothing.upper_unconditional)
    );
    // An hour at 60 W, 10 above the least that idling takes, is 36 kJ: 2,500 TPP-hours at four femtojoules a bit-operation. The last tenth
    // of a second may not be in the counter yet: it counts at peak.
    let cold: Vec<_> = hour_of(&activity(0, 0, 0), 1_980, 60)
        .into_iter()
        .map(|s| DeviceSample {
            activity: Reading::Unsupported,
            ..s
        })
        .collect();
    let cold = bound(&cold, &h200);
    assert_eq!(cold.bound, UpperBound::Energy);
    assert!(cold.upper.0.abs_diff(2_500_347_222 + 439_778) < 1_000, "{cold:?}");
}

#[test]
fn a_gap_counts_at_peak_whatever_its_energy_and_a_counter_that_restarted_bounds_nothing() {
    let peak = peak(0x2335);
    let at = |t: u64, mj: u64| DeviceSample {
        energy_mj: Reading::Value(mj),
        ..sample(t, 1_980, Reading::Unsupported)
    };
    let upper =
        |samples: &[DeviceSample], whole: u64| account(&peak, samples).compute(&peak, whole * SECOND).upper.0;
    let second = 15_832_000_000u128 / 3_600;
    // 55 J in each second covered, of which the counter surely shows nine tenths: 10 above idling, 2.5e15 bit-operations, 0.69 TPP-hours.
    let gap = [at(0, 0), at(1, 55_000), at(11, 605_000), at(12, 660_000)];
    assert!(
        upper(&gap, 12).abs_diff(102 * second / 10 + 1_388_889) < 2_000,
        "{}",
        upper(&gap, 12)
    );
    let reset = [at(0, 1_000_000), at(1, 1_055_000), at(2, 500), at(3, 55_500)];
    assert!(
        upper(&reset, 3).abs_diff(12 * second / 10 + 1_388_889) < 2_000,
        "{}",
        upper(&reset, 3)
    );
    // Energy that was lost once is read with the next value.
    let mut lost = [at(0, 0), at(1, 0), at(2, 110_000)];
    lost[1].energy_mj = Reading::Lost(crate::telemetry::LossReason::Failed);
    assert!(
        upper(&lost, 2).abs_diff(second / 10 + 1_041_667) < 2_000,
        "{}",
        upper(&lost, 2)
    );
}

#[test]
fn counters_that_went_on_bound_a_gap_from_above_and_never_from_below() {
    let peak = peak(0x2335);
    let at = |t: u64, elapsed: u64, hmma: u64| DeviceSample {
        cycles: Reading::Value(vec![PipeCycles {
            instance: None,
            part_ppb: 1_000_000_000,
            elapsed,
            sm: Reading::Value(hmma),
            tensor_any: Reading::Value(hmma),
            dfma: Reading::Value(0),
            hmma: Reading::Value(hmma),
            imma: Reading::Value(0),
            fp64: Reading::Value(0),
            fp32: Reading::Value(0),
            fp16: Reading::Value(0),
            integer: Reading::Value(0),
        }]),
        ..sample(t, 1_830, Reading::Unsupported)
    };
    // Half busy for a second, then for ten that nobody saw.
    let samples = [at(0, 1_000, 0), at(1, 2_000, 500), at(11, 12_000, 5_500)];
    let compute = account(&peak, &samples).compute(&peak, 11 * SECOND);
    let second = 15_832_000_000u128 / 3_600;
    assert_eq!(compute.bound, UpperBound::Counter);
    assert!(compute.upper.0.abs_diff(11 * second / 2) < 10, "{compute:?}");
    assert!(compute.counter.0.abs_diff(second / 2) < 10, "{compute:?}");
}

#[test]
fn a_part_whose_counters_were_never_held_against_work_has_no_lower_bound() {
    let catalogue = Catalogue::embedded().unwrap();
    let mi300 = catalogue
        .models()
        .iter()
        .find(|m| m.name == "Instinct MI300X")
        .unwrap();
    let peak = Peak::of(mi300, &identity(PciId::default())).unwrap();
    let compute =
        account(&peak, &hour_of(&activity(900_000, 0, 0), 2_100, 700)).compute(&peak, 3_600 * SECOND);
    assert_eq!(compute.lower, MicroTppHours(0));
    assert!(compute.counter > MicroTppHours(0));
    assert_ne!(compute.bound, UpperBound::Counter);
}

#[test]
fn a_device_whose_name_speaks_against_its_identifiers_has_no_lower_bound_and_the_larger_peak() {
    let catalogue = Catalogue::embedded().unwrap();
    // The identifiers of an H20 under the name of an H200.
    let pci = PciId {
        vendor: 0x10de,
        device: 0x2329,
        ..PciId::default()
    };
    let peak = Peak::found(&catalogue.find(&pci, "NVIDIA H200"), &identity(pci)).unwrap();
    assert_eq!(peak.tpp().0, 15_832);
    let compute =
        account(&peak, &hour_of(&activity(900_000, 0, 0), 1_830, 700)).compute(&peak, 3_600 * SECOND);
    assert_eq!((compute.lower.0, compute.bound), (0, UpperBound::Time));
    assert_eq!(compute.upper, compute.upper_unconditional);
}

proptest! {
    /// What a device really did lies between the bounds: whatever samples are lost, however the clock moved between
    /// them, and however activity reads within its error.
    #[test]
    fn the_truth_lies_between_the_bounds(
        seconds in prop::collection::vec(
            (0u32..=500_000, 0u32..=300_000, 0u32..=200_000, 345u32..=1_980, 0u32..=1_000, any::<bool>()),
            2..60,
        ),
        lost in prop::collection::vec(any::<bool>(), 60),
        offset in 0u64..1_000,
    ) {
        let peak = peak(0x2330);
        let mut truth = 0u128;
        let mut samples = Vec::new();
        let mut before = None;
        for (t, (hmma, imma, dfma, clock, error, reads)) in seconds.iter().enumerate() {
            // The clock ran somewhere between its values at both ends; the very first second is not sampled.
            if let Some(earlier) = before {
                let f = u64::from((*clock).min(earlier)) + offset * u64::from(clock.abs_diff(earlier)) / 1_000;
                let share = (u64::from(*hmma) + u64::from(*imma)).min(1_000_000);
                // FP64 gains above the tensor clock, the others do not.
                let delivered = share * f.min(1_830) / 1_830 + u64::from(*dfma) / 4 * f / 1_830;
                // Busy pipes do between half of what is counted and all of it; the least that the bounds allow for lies below.
                let factor = 500 + u64::from(*error) / 2;
                let delivered = (delivered * factor / 1_000).min(1_000_000);
                truth += u128::from(delivered) * 15_832_000_000 / 3_600 / 1_000_000;
            }
            before = Some(*clock);
            if t == 0 || !lost[t] {
                let reading = if *reads {
                    Reading::Value(activity(*hmma, *imma, *dfma))
                } else {
                    Reading::Lost(crate::telemetry::LossReason::Failed)
                };
                samples.push(sample(u64::try_from(t).unwrap(), *clock, reading));
            }
        }
        let whole = u64::try_from(seconds.len() - 1).unwrap() * SECOND;
        let compute = account(&peak, &samples).compute(&peak, whole);
        let slack = 2 * u128::from(whole / SECOND);
        prop_assert!(compute.lower.0 <= truth + slack, "{compute:?} against {truth}");
        prop_assert!(truth <= compute.upper.0 + slack, "{compute:?} against {truth}");
        prop_assert!(compute.lower <= compute.counter && compute.counter <= compute.upper);
        prop_assert!(compute.upper <= compute.upper_unconditional);
    }

    #[test]
    fn accounts_add_up_to_the_same_in_any_order(
        parts in prop::collection::vec((0u32..=1_000_000, 300u32..2_000), 2..30),
        turn in 0usize..30,
    ) {
        let peak = peak(0x2330);
        let mut track = Track::new(SECOND);
        let mut accounts: Vec<Account> = parts.iter().enumerate().filter_map(|(t, (share, clock))| {
            let s = sample(u64::try_from(t).unwrap(), *clock, Reading::Value(activity(*share, 0, 0)));
            let mut account = Account::default();
            account.add(&track.push(&s)?, &peak);
            Some(account)
        }).collect();
        let total = |accounts: &[Account]| {
            accounts.iter().fold(Account::default(), |sum, a| sum.plus(*a)).compute(&peak, 60 * SECOND)
        };
        let before = total(&accounts);
        let turn = turn % accounts.len();
        accounts.rotate_left(turn);
        prop_assert_eq!(before, total(&accounts));
    }
}
