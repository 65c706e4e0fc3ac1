//! Tenants of a device whose every second is known: what each truly did lies between its bounds.

use super::synthetic::{Site, identity, inventory, sample};
use super::{AcceleratorClaims, Finished, Holding, TenantShare, TenantShares};
use crate::id::TenantPseudonym;
use crate::telemetry::{Activity, DeviceSample, LossReason, Reading, Tick, TickKind};
use crate::time::{BootNanos, SECOND};
use crate::unit::Ppm;
use proptest::prelude::*;

/// The peak of the part in all meter tests, in millionths of a TPP-hour in a second.
const PEAK: f64 = 15_832.0 * 1e6 / 3_600.0;

const A: TenantPseudonym = TenantPseudonym([0xa; 16]);
const B: TenantPseudonym = TenantPseudonym([0xb; 16]);

fn held(tenant: TenantPseudonym, from: f64, to: f64) -> Holding {
    let at = |s: f64| BootNanos((s * 1e9) as u64);
    Holding {
        device: identity(0).uuid,
        tenant,
        part: None,
        from: at(from),
        to: at(to),
    }
}

/// A sample of a device whose tensor pipes were busy for so many percent of the seconds before, one by one.
fn worked(t: u64, percents: &[u32]) -> DeviceSample {
    let seconds = percents.len() as u64;
    let mean = percents.iter().sum::<u32>() * 10_000 / u32::try_from(percents.len()).unwrap();
    let share = |ppm: u32| Reading::Value(Ppm(ppm));
    DeviceSample {
        utilisation: share(if mean > 0 { 1_000_000 } else { 0 }),
        activity: Reading::Value(Activity {
            interval_ns: seconds * SECOND,
            sm: share(mean),
            tensor_any: share(mean),
            dfma: share(0),
            hmma: share(mean),
            imma: share(0),
            dram: share(0),
            fp64: share(0),
            fp32: share(0),
            fp16: share(0),
            integer: share(0),
        }),
        ..sample(0, t * SECOND)
    }
}

/// One that did the same for all of so many seconds.
fn working(t: u64, percent: u32, seconds: usize) -> DeviceSample {
    worked(t, &vec![percent; seconds])
}

fn tick(site: &mut Site, t: u64, device: DeviceSample) {
    let at = BootNanos(t * SECOND);
    site.meter.push_tick(&Tick {
        at,
        kind: TickKind::Regular,
        devices: vec![device],
    });
}

fn shares(finished: &Finished) -> Vec<(TenantPseudonym, TenantShare)> {
    let list = finished.tenants.as_ref();
    let told = finished.accelerators[0]
        .delivered
        .tenants
        .iter()
        .flat_map(TenantShares::iter);
    told.map(|s| (*list.unwrap().get(s.place).unwrap(), s.clone()))
        .collect()
}

/// A minute at half of the peak, told second by second.
fn minute(site: &mut Site) -> Finished {
    for t in 0..=60 {
        tick(site, t, working(t, 50, 1));
    }
    site.finish(BootNanos(60 * SECOND))
}

#[test]
fn who_held_a_device_alone_is_told_by_its_counters_and_edges_count_above_alone() {
    let mut site = Site::new(1, 60);
    site.meter
        .set_holdings(vec![held(A, 10.0, 30.0), held(B, 30.5, 1e9)]);
    let told = minute(&mut site);
    let [(a, first), (b, second)] = &shares(&told)[..] else {
        panic!("{told:?}");
    };
    assert_eq!((*a, *b), (A, B));
    assert_eq!((first.attributed_ms, first.busy_ms), (20_000, 20_000));
    assert_eq!((second.attributed_ms, second.busy_ms), (29_500, 29_500));
    let near = |found: u128, seconds: f64| {
        let expected = seconds * PEAK;
        assert!(
            (found as f64 - expected).abs() < 1e-6 * expected,
            "{found} is not {expected}"
        );
    };
    // Twenty whole seconds; of the other twenty-nine, and half a second in which nobody knows when it came.
    near(first.counter.0, 10.0);
    near(second.counter.0, 14.5);
    near(first.upper_unconditional.0, 20.0);
    near(second.upper_unconditional.0, 29.5);
    assert!(first.lower.0 > 0 && second.upper.0 > second.counter.0 + (0.5 * PEAK) as u128 - 2);
}

#[test]
fn time_that_two_share_counts_for_both_from_above_and_for_neither_from_below() {
    let mut site = Site::new(1, 60);
    site.meter
        .set_holdings(vec![held(A, 0.0, 1e9), held(B, 20.0, 1e9)]);
    let told = minute(&mut site);
    let [(_, a), (_, b)] = &shares(&told)[..] else {
        panic!("{told:?}");
    };
    assert_eq!((b.lower.0, b.counter.0), (0, 0));
    assert!(b.upper.0 as f64 > 0.5 * 40.0 * PEAK);
    assert!((a.counter.0 as f64 - 10.0 * PEAK).abs() < 10.0);
    // Busy time is in equal parts, so that together they have no more than the device.
    assert_eq!((a.busy_ms, b.busy_ms), (40_000, 20_000));
}

#[test]
fn an_instance_has_no_more_than_its_slices_from_above_and_nothing_from_below() {
    let mut site = Site::new(1, 60);
    let instance = Holding {
        part: Some(Ppm(142_858)),
        ..held(A, 0.0, 1e9)
    };
    site.meter.set_holdings(vec![instance]);
    let told = minute(&mut site);
    let [(_, a)] = &shares(&told)[..] else {
        panic!("{told:?}");
    };
    assert_eq!((a.lower.0, a.counter.0, a.attributed_ms), (0, 0, 60_000));
    assert!((a.upper.0 as f64 - 60.0 * PEAK / 7.0).abs() < 1e-4 * PEAK * 60.0);
    // That it is an instance is the driver's word, and the catalogue's peak is of the whole card.
    let whole = told.accelerators[0].delivered.compute.as_ref().unwrap();
    assert_eq!(a.upper_unconditional, whole.upper_unconditional);
}

#[test]
fn what_was_sampled_is_not_attributed_afterwards() {
    let mut site = Site::new(1, 60);
    let mute = |t| DeviceSample {
        activity: Reading::Lost(LossReason::Failed),
        ..working(t, 100, 1)
    };
    for t in 0..=30 {
        let told = if t <= 28 { working(t, 50, 1) } else { mute(t) };
        tick(&mut site, t, told);
    }
    site.meter.set_holdings(vec![held(A, 0.0, 1e9)]);
    // Activity of four seconds, two of which lie before anyone was said to hold the device.
    tick(&mut site, 31, mute(31));
    tick(&mut site, 32, working(32, 100, 4));
    let told = site.finish(BootNanos(32 * SECOND));
    let (_, a) = &shares(&told)[0];
    assert_eq!((a.attributed_ms, a.lower.0), (2_000, 0));
}

#[test]
fn activity_that_reaches_back_over_a_gap_is_nobodys_where_the_holder_changed_in_it() {
    let mut site = Site::new(1, 60);
    site.meter.set_holdings(vec![held(A, 30.5, 1e9)]);
    for t in 0..=28 {
        tick(&mut site, t, working(t, 0, 1));
    }
    // No tick at 29; the mean that is told at 31 is of the time since 28, of which A held the device for half a second.
    let mute = DeviceSample {
        activity: Reading::Lost(LossReason::Failed),
        ..working(30, 100, 1)
    };
    tick(&mut site, 30, mute);
    tick(&mut site, 31, worked(31, &[100, 100, 0]));
    let told = site.finish(BootNanos(31 * SECOND));
    let (_, a) = &shares(&told)[0];
    assert_eq!((a.counter.0, a.lower.0), (0, 0));
}

#[test]
fn a_device_that_was_lost_counts_at_peak_for_whoever_holds_it() {
    let mut site = Site::new(1, 60);
    site.meter.set_holdings(vec![held(A, 0.0, 1e9)]);
    for t in 0..=10 {
        tick(&mut site, t, working(t, 0, 1));
    }
    let told = site.finish(BootNanos(60 * SECOND));
    let (_, a) = &shares(&told)[0];
    assert_eq!(a.attributed_ms, 60_000);
    assert!(a.upper.0 as f64 >= 50.0 * PEAK, "{}", a.upper);
}

#[test]
fn without_holdings_nothing_is_told_and_a_ninth_tenant_is_not() {
    let mut site = Site::new(1, 60);
    let told = minute(&mut site);
    assert_eq!((told.tenants, told.crowded), (None, 0));
    assert_eq!(told.accelerators[0].delivered.tenants, None);
    let mut site = Site::new(1, 60);
    let many = (0..9).map(|n| held(TenantPseudonym([n; 16]), f64::from(n), 1e9));
    site.meter.set_holdings(many.collect());
    let told = minute(&mut site);
    assert_eq!((shares(&told).len(), told.crowded), (TenantShares::MOST, 1));
}

/// Seconds of a device, and who held it: activity in percent, and what became of the tick at its end.
#[derive(Clone, Debug)]
struct Second {
    percent: u32,
    tick: u8,
    /// Which part of shared time is the first tenant's, in percent.
    first: u32,
}

fn seconds() -> impl Strategy<Value = Vec<Second>> {
    let one = (
        prop_oneof![Just(0u32), 0u32..=100, Just(100)],
        0u8..12,
        0u32..=100,
    );
    proptest::collection::vec(
        one.prop_map(|(percent, tick, first)| Second { percent, tick, first }),
        60..150,
    )
}

fn holdings() -> impl Strategy<Value = Vec<Holding>> {
    let edge = 0.0..150f64;
    proptest::collection::vec((0u8..3, edge.clone(), edge), 0..6).prop_map(|all| {
        let one = |(n, a, b): (u8, f64, f64)| held(TenantPseudonym([n; 16]), a.min(b), a.max(b));
        all.into_iter().map(one).collect()
    })
}

fn bounded(device: &AcceleratorClaims) -> Result<(), TestCaseError> {
    let compute = device.delivered.compute.as_ref().unwrap();
    let all: Vec<_> = device
        .delivered
        .tenants
        .iter()
        .flat_map(TenantShares::iter)
        .collect();
    for share in &all {
        prop_assert!(share.lower <= share.counter && share.counter <= share.upper);
        prop_assert!(share.upper <= share.upper_unconditional && share.upper <= compute.upper);
        prop_assert!(share.upper_unconditional <= compute.upper_unconditional);
    }
    prop_assert!(all.iter().map(|s| s.lower.0).sum::<u128>() <= compute.lower.0);
    prop_assert!(all.iter().map(|s| s.counter.0).sum::<u128>() <= compute.counter.0);
    let busy = device.delivered.measured.busy_ms.value().copied().unwrap_or(0);
    prop_assert!(all.iter().map(|s| s.busy_ms).sum::<u64>() <= busy);
    Ok(())
}

/// Adds what a report tells: by counters, and at most.
fn add(finished: &Finished, told: &mut [[u128; 2]; 3]) -> Result<(), TestCaseError> {
    bounded(&finished.accelerators[0])?;
    for (tenant, share) in shares(finished) {
        let [counter, upper] = &mut told[usize::from(tenant.0[0])];
        *counter += share.counter.0;
        *upper += share.upper.0;
    }
    Ok(())
}

proptest! {
    /// The device yields all that its counters say, so that these are the truth of whoever held it alone.
    #[test]
    fn the_truth_of_each_tenant_lies_between_its_bounds(seconds in seconds(), holdings in holdings()) {
        let mut site = Site::new(1, 60);
        site.meter.set_inventory(&inventory(BootNanos(0), 0..1));
        site.meter.set_holdings(holdings.clone());
        let mut truth = [0f64; 3];
        let mut told = [[0u128; 2]; 3];
        let mut since = Vec::new();
        let last = seconds.len() as u64;
        tick(&mut site, 0, working(0, 0, 1));
        for (t, second) in (1u64..).zip(&seconds) {
            let (from, to) = (BootNanos((t - 1) * SECOND), BootNanos(t * SECOND));
            let holds = |n: u8| holdings.iter().filter(move |h| h.tenant.0[0] == n);
            // In hundredths of the second, so that tenants share each as they like.
            for slot in 0..100 {
                let at = from.plus(slot * SECOND / 100 + SECOND / 200);
                let here: Vec<u8> = (0..3).filter(|n| holds(*n).any(|h| h.from <= at && at < h.to)).collect();
                let whole = f64::from(second.percent) / 100.0 * PEAK / 100.0;
                for (place, n) in here.iter().enumerate() {
                    let first = f64::from(second.first) / 100.0;
                    let own = match (here.len(), place) {
                        (1, _) => 1.0,
                        (_, 0) => first,
                        (_, 1) => 1.0 - first,
                        _ => 0.0,
                    };
                    truth[usize::from(*n)] += whole * own;
                }
            }
            since.push(second.percent);
            match second.tick {
                // No tick at all; one that could not read activity.
                0 => {}
                1 => {
                    let mute = DeviceSample { activity: Reading::Lost(LossReason::Failed), ..working(t, second.percent, 1) };
                    tick(&mut site, t, mute);
                }
                _ => {
                    tick(&mut site, t, worked(t, &since));
                    since.clear();
                }
            }
            if t % 60 == 0 {
                add(&site.finish(to), &mut told)?;
            }
        }
        // Long enough that nothing is left for a next report.
        add(&site.finish(BootNanos((last + 10) * SECOND)), &mut told)?;
        // Who shares a hundredth of a second that somebody comes or goes in is not told apart here.
        let slack = 0.02 * PEAK * holdings.len() as f64 + 10.0;
        for (truth, [counter, upper]) in truth.iter().zip(told) {
            prop_assert!(counter as f64 <= truth + slack, "{counter} > {truth}");
            prop_assert!(upper as f64 + slack >= *truth, "{upper} < {truth}");
        }
    }
}
