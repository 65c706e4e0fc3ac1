//! What it costs the agent to account for a window: eight devices, sixty seconds, one sample a second.

use super::figure::Figure;
use super::reference::{NOMINAL_US, Round, each};
use super::{Bench, say};
use crate::fixture;
use std::hint::black_box;
use weighbridge::accelerator::Catalogue;
use weighbridge::accounting::consistency::{Checker, Part, Physics, Summary, check_node};
use weighbridge::accounting::{Account, Peak};
use weighbridge::report::{Meter, MeterSettings};
use weighbridge::telemetry::{
    Activity, BusSource, DeviceSample, DeviceState, Inventory, Reading, Tick, TickKind, Track, Window,
};
use weighbridge::time::{BootNanos, SECOND};
use weighbridge::unit::Ppm;
use weighbridge::workload::Model;

const DEVICES: u16 = 8;
const SECONDS: u64 = 60;
/// What one window may take, in microseconds.
const LIMIT_US: f64 = 50.0;

/// Every reading that a Hopper device offers, as in training.
pub(super) fn sample(device: u16, second: u64) -> DeviceSample {
    let step = u32::try_from(second % 7).unwrap();
    let share = |ppm: u32| Reading::Value(Ppm(ppm));
    DeviceSample {
        device,
        state: DeviceState::Present,
        at: BootNanos(second * SECOND + u64::from(device) * 40_000),
        energy_mj: Reading::Value(77_000_000 + second * 650_000 + u64::from(step) * 3_001),
        power_mw: Reading::Value(640_000 + step * 5_003),
        sm_clock_mhz: Reading::Value(1_700 + step * 15),
        memory_clock_mhz: Reading::Value(2_619),
        utilisation: share(990_000),
        memory_used_mib: Reading::Value(70_000),
        temperature_c: Reading::Value(61),
        clock_events: Reading::Value(4),
        nvlink_tx_bytes: Reading::Value(second * 9_000_000_000),
        nvlink_rx_bytes: Reading::Value(second * 9_000_000_100),
        pcie_tx_bytes: Reading::Value(second * 200_000_000),
        pcie_rx_bytes: Reading::Value(second * 210_000_000),
        activity: Reading::Value(Activity {
            interval_ns: SECOND,
            sm: share(870_000),
            tensor_any: share(540_000 + step * 9_001),
            dfma: share(0),
            hmma: share(540_000 + step * 9_001),
            imma: share(0),
            dram: share(370_000),
            fp64: share(0),
            fp32: share(31_000),
            fp16: share(0),
            integer: share(12_000),
        }),
        pcie_tx_rate: Reading::Value(1_000_000),
        pcie_rx_rate: Reading::Value(1_000_000),
        cycles: Reading::Unsupported,
        power_ring: Reading::Unsupported,
        busy_mean: Reading::Unsupported,
        jobs: None,
        by_host_engine: false,
        clock_looks: Reading::Unsupported,
    }
}

/// Measures the account alone, the account with consistency, and all that the meter does in a window.
pub(super) fn measure(bench: &Bench) -> Vec<Figure> {
    say("accounting: a window of 60 s and 8 devices");
    let catalogue = Catalogue::embedded().unwrap();
    let identities: Vec<_> = fixture::accelerators(DEVICES, 60)
        .into_iter()
        .map(|claims| claims.identity)
        .collect();
    let peaks: Vec<Peak> = identities
        .iter()
        .map(|i| Peak::of(catalogue.find(&i.pci, &i.name).model().unwrap(), i).unwrap())
        .collect();
    let samples: Vec<Vec<DeviceSample>> = (0..=SECONDS)
        .map(|t| (0..DEVICES).map(|d| sample(d, t)).collect())
        .collect();
    let physics = Physics::embedded().unwrap();
    let parts: Vec<Part> = identities
        .iter()
        .map(|i| Part::of(catalogue.find(&i.pci, &i.name).model(), i, &physics))
        .collect();
    let account = |checkers: &mut [Checker]| {
        let mut tracks = vec![Track::new(SECOND); usize::from(DEVICES)];
        let mut sums = vec![(Window::default(), Account::default()); usize::from(DEVICES)];
        for tick in &samples {
            let devices = tick.iter().zip(&mut tracks).zip(sums.iter_mut().zip(&peaks));
            for (place, ((sample, track), ((window, account), peak))) in devices.enumerate() {
                if let Some(step) = track.push(sample) {
                    window.add(&step, sample);
                    account.add(&step, peak);
                    if let Some(checker) = checkers.get_mut(place) {
                        checker.push(&step, sample, &physics);
                    }
                }
            }
        }
        let summaries: Vec<Summary> = checkers.iter_mut().map(|c| c.close_window(&physics)).collect();
        black_box(check_node(&summaries, &physics));
        for checker in checkers {
            checker.end_window();
        }
        for ((window, account), peak) in sums.iter().zip(&peaks) {
            black_box(window.measured());
            black_box(account.compute(peak, SECONDS * SECOND));
            black_box(account.by_pipe(peak));
        }
    };
    let inventory = Inventory {
        at: BootNanos(0),
        driver: None,
        devices: identities,
        bus: Vec::new(),
        bus_source: BusSource::System,
        switches: Vec::new(),
        mig_devices: None,
    };
    let ticks: Vec<Tick> = samples
        .iter()
        .enumerate()
        .map(|(t, devices)| Tick {
            at: BootNanos(u64::try_from(t).unwrap() * SECOND),
            kind: TickKind::Regular,
            devices: devices.clone(),
        })
        .collect();
    let meter = || {
        let settings = MeterSettings {
            nominal_ns: SECOND,
            window_ns: SECONDS * SECOND,
        };
        let model = Model::embedded().unwrap();
        let mut meter = Meter::new(
            &inventory,
            BootNanos(0),
            settings,
            catalogue.clone(),
            model,
            Physics::embedded().unwrap(),
        );
        let begun = super::cpu::thread_ns();
        for tick in &ticks {
            meter.push_tick(tick);
        }
        black_box(meter.close_window(BootNanos(SECONDS * SECOND), &mut || [0x5a; 16]));
        (super::cpu::thread_ns() - begun) as f64
    };
    let mut checkers: Vec<Checker> = parts.into_iter().map(Checker::new).collect();
    let (mut alone, mut checked, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        alone.push(bench.reference.hold(|| each(400, || account(&mut []))));
        checked.push(bench.reference.hold(|| each(400, || account(&mut checkers))));
        whole.push(
            bench
                .reference
                .hold(|| (0..200).map(|_| meter()).sum::<f64>() / 200.0),
        );
    }
    let ratios = |rounds: &[Round]| rounds.iter().map(Round::ratio).collect::<Vec<_>>();
    vec![
        Figure::of(
            "accounting.window",
            "a window of 60 s and 8 GPUs at 1 Hz: counters followed, sums, bounds, compute by pipe",
            "verifications",
            ratios(&alone),
        )
        .at_most(LIMIT_US / NOMINAL_US),
        Figure::of(
            "accounting.consistency",
            "the same, and the readings held against each other",
            "verifications",
            ratios(&checked),
        ),
        Figure::of(
            "accounting.meter",
            "all that the agent does with these samples: that, consistency, features, scores, the leaf",
            "verifications",
            ratios(&whole),
        ),
    ]
}
