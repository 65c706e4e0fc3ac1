//! The meter under synthetic devices.

use super::synthetic::{Act, Players, Site, feed, inventory, rests, second, serves, trains};
use super::{AcceleratorClaims, Delivered, Leaf, LeafError, LeafField, leaf_proof, open_leaf};
use crate::accounting::{ComputeMethod, UpperBound};
use crate::telemetry::{DeviceSample, DeviceState, GapReason, Inventory, Reading, Tick, TickKind};
use crate::time::{BootNanos, SECOND};
use crate::workload::Class;
#[test]
fn synthetic_training_serving_and_rest_are_told_apart_device_by_device() {
    let mut site = Site::new(8, 60);
    let mut acts: Vec<Act> = vec![trains; 4];
    acts.extend([serves as Act, serves, rests, rests]);
    let mut players = Players::new(acts).in_bursts();
    let closed = players.play(&mut site, 0..=300);
    assert_eq!(closed.len(), 5 * 8);
    for w in &closed {
        let class = w.sums.class;
        match w.index {
            0..4 => assert_eq!(class, Some(Class::Training), "{:?}", w.sums),
            4..6 => assert!(
                !matches!(class, Some(Class::Training | Class::Idle)),
                "{:?}",
                w.sums
            ),
            _ => assert_eq!(class, Some(Class::Idle), "{:?}", w.sums),
        }
    }
    let claims = site.finish(second(300)).accelerators;
    let training = |i: usize| claims[i].delivered.training.clone().unwrap();
    let compute = |i: usize| claims[i].delivered.compute.clone().unwrap();
    assert!(training(0).lower.0 > 0 && training(0).lower <= compute(0).lower);
    assert_eq!(training(4).lower.0, 0);
    assert_eq!(
        training(7).upper.0,
        0,
        "rest leaves nothing that may have been training"
    );
    assert_eq!(claims[0].delivered.workload.windows, [0, 5, 0, 0, 0, 0, 0, 0]);
    let bytes: usize = claims.iter().map(|c| crate::cbor::encode(c).len()).sum();
    assert!(bytes < 8 * 500, "eight devices take {bytes} bytes of a report");
}

#[test]
fn compute_of_a_known_activity_lies_between_its_bounds() {
    // Half of the tensor pipes at the tensor clock for 300 s: 0.5 x 15,832 x 300 / 3600 TPP-hours.
    let mut site = Site::new(1, 60);
    let mut players = Players::new(vec![|_, _| (60, 50, 30, 500, [0; 2])]);
    players.play(&mut site, 0..=300);
    let compute = site.finish(second(300)).accelerators[0]
        .delivered
        .compute
        .clone()
        .unwrap();
    let truth = 15_832_000_000u128 * 150 / 3_600;
    assert_eq!(compute.counter.0, truth);
    // The least that the half-precision pipe of this part was seen to do.
    assert!(compute.lower.0.abs_diff(truth * 45 / 100) <= 1);
    assert!(compute.upper.0 >= truth && compute.upper.0 < truth * 107 / 100);
    assert_eq!(compute.bound, UpperBound::Counter);
    assert_eq!(
        compute.upper_unconditional.0,
        (15_832_000_000u128 * 300).div_ceil(3_600)
    );
    assert_eq!(compute.method, ComputeMethod::PipeActivity);
}

#[test]
fn a_device_whose_name_speaks_against_its_identifiers_is_bounded_by_the_larger_peak_alone() {
    let mut site = Site::new(1, 60);
    let mut swapped = inventory(BootNanos(0), 0..1);
    // The identifiers of an H20.
    swapped.devices[0].pci.device = 0x2329;
    site.meter.set_inventory(&swapped);
    let mut players = Players::new(vec![|_, _| (60, 50, 30, 500, [0; 2])]);
    // The first report still holds time of the device as it was listed before.
    players.play(&mut site, 0..=300);
    site.finish(second(300));
    players.play(&mut site, 301..=600);
    let claims = site.finish(second(600)).accelerators;
    let compute = claims[0].delivered.compute.as_ref().unwrap();
    assert_eq!(compute.lower.0, 0);
    assert_eq!(
        compute.upper_unconditional.0,
        (15_832_000_000u128 * 300).div_ceil(3_600)
    );
}

#[test]
fn consecutive_reports_count_every_joule_once() {
    let mut site = Site::new(1, 10);
    let mut players = Players::new(vec![trains]);
    let mut first = None;
    let mut sum = 0;
    for report in 0..4u64 {
        for t in report * 25..report * 25 + 25 {
            let tick = players.at(t);
            first = first.or_else(|| tick[0].energy_mj.value().copied());
            feed(&mut site, second(t), TickKind::Regular, tick);
        }
        // The report ends between two ticks.
        let end = BootNanos((report * 25 + 24) * SECOND + SECOND / 2);
        let claims = site.finish(end).accelerators;
        sum += claims[0].delivered.measured.energy_mj.value().unwrap();
        assert_eq!(claims[0].delivered.gaps, []);
    }
    assert_eq!(sum, players.energy[0] - first.unwrap());
}

#[test]
fn a_gap_has_the_reason_that_is_known_and_counts_at_peak() {
    let mut site = Site::new(1, 300);
    let mut players = Players::new(vec![rests]);
    players.play(&mut site, 0..=100);
    // Suspended for 50 s: boot time goes on. The reporter says so after the fact.
    players.play(&mut site, 150..=200);
    site.meter
        .push_gap(None, GapReason::HostSuspended, second(100), second(150));
    // Released for 20 s.
    site.meter.mark(None, DeviceState::Released);
    players.play(&mut site, 220..=260);
    // Late by 3 s, nobody knows why; then a sampler that died for 20 s.
    players.play(&mut site, 263..=280);
    site.meter
        .push_gap(Some(0), GapReason::DriverHung, second(280), second(299));
    let claims = site.finish(second(300)).accelerators;
    let delivered = &claims[0].delivered;
    let seen: Vec<_> = delivered
        .gaps
        .iter()
        .map(|g| (g.start_ms, g.length_ms, g.reason))
        .collect();
    assert_eq!(
        seen,
        [
            (100_000, 50_000, GapReason::HostSuspended),
            (200_000, 20_000, GapReason::Released),
            (260_000, 3_000, GapReason::SamplerLate),
            (280_000, 20_000, GapReason::DriverHung),
        ]
    );
    assert_eq!(delivered.covered_ms, 300_000 - 93_000);
    let compute = delivered.compute.as_ref().unwrap();
    assert_eq!(compute.lower.0, 0);
    assert_eq!(compute.upper.0, (15_832_000_000u128 * 93).div_ceil(3_600));
    // The next report begins without that gap, though it goes on.
    players.play(&mut site, 310..=320);
    let next = site.finish(second(330)).accelerators;
    let gaps: Vec<_> = next[0]
        .delivered
        .gaps
        .iter()
        .map(|g| (g.start_ms, g.length_ms))
        .collect();
    assert_eq!(gaps, [(0, 10_000), (20_000, 10_000)]);
}

#[test]
fn a_device_that_is_lost_stays_in_the_list_and_says_so() {
    let mut site = Site::new(2, 60);
    let mut players = Players::new(vec![trains, serves]);
    players.play(&mut site, 0..=30);
    // Device 0 falls off the bus: the driver lists one device, now at place 0.
    site.meter.set_inventory(&inventory(second(31), 1..2));
    for t in 31..=60 {
        let mut tick = players.at(t);
        tick.remove(0);
        tick[0].device = 0;
        feed(&mut site, second(t), TickKind::Regular, tick);
    }
    let claims = site.finish(second(60)).accelerators;
    assert_eq!(claims.len(), 2);
    assert_eq!(
        (claims[0].identity.index, claims[0].state),
        (0, DeviceState::Lost)
    );
    assert_eq!(claims[0].delivered.gaps.len(), 1);
    assert_eq!(claims[0].delivered.gaps[0].reason, GapReason::DeviceLost);
    assert_eq!(
        (claims[1].state, claims[1].delivered.covered_ms),
        (DeviceState::Present, 60_000)
    );
    // The driver cannot be used for a while; that is not the device's fault.
    site.meter.set_inventory(&Inventory {
        driver: None,
        ..inventory(second(61), 0..0)
    });
    let states: Vec<_> = site
        .finish(second(65))
        .accelerators
        .iter()
        .map(|c| c.state)
        .collect();
    assert_eq!(states, [DeviceState::Lost, DeviceState::DriverUnavailable]);
    // Then both come back.
    site.meter.set_inventory(&inventory(second(70), 0..2));
    players.play(&mut site, 71..=120);
    let claims = site.finish(second(120)).accelerators;
    assert_eq!(claims[0].state, DeviceState::Present);
    assert_eq!(claims[0].delivered.gaps[0].length_ms, 6_000);
}

#[test]
fn every_window_is_under_the_root_and_nothing_else_is() {
    let mut site = Site::new(2, 10);
    let mut players = Players::new(vec![trains, serves]);
    let mut closed = players.play(&mut site, 0..=20);
    // A burst of five seconds, of which nothing shows in the next window.
    for tenth in 201..=250u64 {
        let mut tick = players.at(20);
        for sample in &mut tick {
            sample.at = BootNanos(tenth * SECOND / 10);
        }
        feed(&mut site, BootNanos(tenth * SECOND / 10), TickKind::Burst, tick);
    }
    let finished = site.finish(second(25));
    closed.extend(finished.windows);
    for claims in &finished.accelerators {
        let own = closed.iter().filter(|w| w.device == claims.identity.uuid);
        let leaves: Vec<Vec<u8>> = own.clone().flat_map(|w| w.leaves.clone()).collect();
        let root = &claims.delivered.windows_root;
        assert_eq!(
            usize::try_from(claims.delivered.windows_leaves).unwrap(),
            leaves.len()
        );
        assert_eq!(
            leaves.len(),
            3 + 7,
            "three windows, and seven series of the burst"
        );
        for (i, bytes) in leaves.iter().enumerate() {
            let proof = leaf_proof(&leaves, i).unwrap();
            let leaf = open_leaf(bytes, &proof, root).unwrap();
            assert_eq!(leaf.device, claims.identity.uuid);
            assert_eq!(
                leaf.values.as_ref().map(Vec::len),
                leaf.values.as_ref().map(|_| 49),
                "from its second tick on"
            );
            let mut altered = bytes.clone();
            altered[10] ^= 1;
            assert!(matches!(
                open_leaf(&altered, &proof, root),
                Err(LeafError::Proof(_))
            ));
        }
        assert!(leaf_proof(&leaves, leaves.len()).is_none());
        let firsts: Vec<u32> = own.map(|w| w.first_leaf).collect();
        assert_eq!(firsts, [0, 1, 2]);
    }
    // Regular ticks that fall into a burst take nothing from its series.
    let mut site = Site::new(1, 10);
    let mut players = Players::new(vec![|_, _| (80, 40, 30, 500, [1_024_000; 2])]);
    for tenth in 0..=50u64 {
        for kind in [TickKind::Regular, TickKind::Burst] {
            let late = u64::from(kind == TickKind::Burst);
            if late == 1 || tenth % 10 == 0 {
                let mut tick = players.at(tenth);
                tick[0].at = BootNanos(tenth * SECOND / 10 + late);
                feed(&mut site, BootNanos(tenth * SECOND / 10 + late), kind, tick);
            }
        }
    }
    let window = site.finish(second(6)).windows.remove(0);
    let sent: Leaf = crate::cbor::decode_strict(&window.leaves[3]).unwrap();
    assert_eq!(sent.field, LeafField::BurstNvlinkTx);
    let values: u32 = sent
        .values
        .unwrap()
        .iter()
        .filter_map(|v| v.value().copied())
        .sum();
    assert_eq!(
        values,
        1_000 * (51 + 6 - 2),
        "every byte after the burst's first tick"
    );
    // Two windows with the same content have different leaves, by their salt.
    assert_ne!(closed[0].leaves, closed[1].leaves);
}

#[test]
fn a_burst_enters_no_sum_and_shows_in_no_later_window() {
    let run = |bursts: bool| {
        let mut site = Site::new(1, 10);
        let mut players = Players::new(vec![trains]);
        let mut closed = Vec::new();
        for t in 0..=30 {
            let regular = players.at(t);
            // A tick of a burst reads neither clock nor utilisation.
            let burst = |tenth: u64| DeviceSample {
                at: BootNanos(t * SECOND + tenth * SECOND / 10),
                sm_clock_mhz: Reading::Unsupported,
                utilisation: Reading::Unsupported,
                ..regular[0].clone()
            };
            let ticks: Vec<_> = (1..10)
                .map(burst)
                .filter(|_| bursts && (3..8).contains(&t))
                .collect();
            closed.extend(
                feed(&mut site, second(t), TickKind::Regular, regular.clone())
                    .into_iter()
                    .flatten(),
            );
            for sample in ticks {
                assert_eq!(feed(&mut site, sample.at, TickKind::Burst, vec![sample]), None);
            }
        }
        let leaves: Vec<usize> = closed.iter().map(|w| w.leaves.len()).collect();
        let delivered = site.finish(second(30)).accelerators.remove(0).delivered;
        (leaves, delivered)
    };
    let ((one, plain), (five, with_burst)) = (run(false), run(true));
    assert_eq!((one, five), (vec![1, 1, 1], vec![8, 1, 1]));
    assert_eq!(plain.measured, with_burst.measured);
    assert_eq!(plain.compute, with_burst.compute);
    assert_eq!(
        (plain.covered_ms, plain.samples),
        (with_burst.covered_ms, with_burst.samples)
    );
}

#[test]
fn ticks_that_make_no_sense_are_harmless() {
    let mut site = Site::new(1, 60);
    let mut players = Players::new(vec![trains]);
    players.play(&mut site, 0..=10);
    let mut stray = players.at(11);
    stray[0].device = 9;
    site.meter.push_tick(&Tick {
        at: second(11),
        kind: TickKind::Regular,
        devices: stray,
    });
    // Time that runs backwards.
    players.play(&mut site, 3..=5);
    assert!(site.close(BootNanos(0)).is_empty());
    players.play(&mut site, 12..=20);
    let claims = site.finish(second(20)).accelerators;
    assert_eq!(claims[0].delivered.measured.counter_resets, 0);
    assert_eq!(claims[0].delivered.gaps.len(), 1, "second 11 was not sampled");
}

#[test]
fn a_card_without_per_pipe_activity_has_a_lower_bound_of_zero_and_a_time_bound() {
    // Busy for a fifth of the time, as utilisation says; that bounds compute from above only.
    let mut site = Site::new(1, 60);
    let mut players = Players::new(vec![|_, _| (20, 0, 0, 300, [0; 2])]);
    for t in 0..=60 {
        let mut tick = players.at(t);
        tick[0].activity = Reading::Unsupported;
        feed(&mut site, second(t), TickKind::Regular, tick);
    }
    let delivered = &site.finish(second(60)).accelerators[0].delivered;
    let compute = delivered.compute.as_ref().unwrap();
    assert_eq!((compute.lower.0, compute.method), (0, ComputeMethod::BusyTime));
    assert_eq!(compute.upper.0, (15_832_000_000u128 * 12).div_ceil(3_600));
    assert_eq!(
        delivered.workload.windows,
        [0, 0, 0, 0, 0, 0, 0, 1],
        "cannot tell"
    );
    assert_eq!(delivered.measured.pipes, Reading::Unsupported);
}

#[test]
fn a_model_that_the_catalogue_does_not_know_has_no_compute() {
    let mut site = Site::new(1, 60);
    let mut foreign = inventory(BootNanos(0), 0..1);
    foreign.devices[0].pci.device = 0xffff;
    foreign.devices[0].name = "NVIDIA Something".into();
    site.meter.set_inventory(&foreign);
    let mut players = Players::new(vec![trains]);
    players.play(&mut site, 0..=60);
    let delivered = &site.finish(second(60)).accelerators[0].delivered;
    assert_eq!((&delivered.compute, &delivered.training), (&None, &None));
    assert!(delivered.measured.energy_mj.value().is_some());
}

#[test]
fn claims_with_every_gap_that_fits_are_read_back_and_the_rest_is_not_lost() {
    let mut site = Site::new(1, 1_000);
    let mut players = Players::new(vec![rests]);
    for t in (0..500u64).filter(|t| t % 10 < 7) {
        feed(&mut site, second(t), TickKind::Regular, players.at(t));
    }
    let claims = site.finish(second(497)).accelerators.remove(0);
    let gaps = &claims.delivered.gaps;
    assert_eq!(gaps.len(), Delivered::MAX_GAPS);
    assert_eq!(gaps.iter().map(|g| g.length_ms).sum::<u32>(), 49 * 4_000);
    let bytes = crate::cbor::encode(&claims);
    assert_eq!(
        crate::cbor::decode_strict::<AcceleratorClaims>(&bytes).unwrap(),
        claims
    );
    assert!(bytes.len() < 1_000, "{} bytes", bytes.len());
}
