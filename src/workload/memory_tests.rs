//! What features and model take of a node's memory.

use super::{Instant, Model, Run, Series, synchrony};
use crate::telemetry::{Activity, DeviceSample, Reading, Step, Track, blank};
use crate::time::{BootNanos, SECOND};
use crate::unit::Ppm;
use allocation_counter::measure;

const DEVICES: u32 = 8;

/// What a device that trains reads a second later.
fn sample(device: u32, second: u64) -> DeviceSample {
    let move_by = u32::try_from(second * second % 11).unwrap() * 1_000 + device;
    let share = |ppm: u32| Reading::Value(Ppm(ppm));
    DeviceSample {
        device: u16::try_from(device).unwrap(),
        power_mw: Reading::Value(600_000 + 3 * move_by),
        utilisation: share(990_000),
        nvlink_tx_bytes: Reading::Value(second * 9_000_000_000),
        nvlink_rx_bytes: Reading::Value(second * 9_000_000_000),
        activity: Reading::Value(Activity {
            interval_ns: SECOND,
            sm: share(870_000),
            tensor_any: share(540_000 + move_by),
            dfma: share(0),
            hmma: share(540_000 + move_by),
            imma: share(0),
            dram: share(370_000),
            fp64: share(0),
            fp32: share(31_000),
            fp16: share(0),
            integer: share(12_000),
        }),
        ..blank(BootNanos(second * SECOND))
    }
}

/// The steps of a minute, of all devices at each second.
fn minute() -> Vec<Vec<Step>> {
    let mut tracks: Vec<Track> = (0..DEVICES).map(|_| Track::new(SECOND)).collect();
    let seconds = (0..=60).map(|second| {
        let tracks = (0..DEVICES).zip(&mut tracks);
        tracks.filter_map(|(d, t)| t.push(&sample(d, second))).collect()
    });
    seconds.collect()
}

/// Eight devices as the agent follows and scores them.
struct Node {
    model: Model,
    devices: Vec<(Series, Run)>,
}

impl Node {
    fn new() -> Self {
        Self {
            model: Model::embedded().unwrap(),
            devices: (0..DEVICES).map(|_| Default::default()).collect(),
        }
    }

    /// A window with a burst from its beginning to its end.
    fn window(&mut self, minute: &[Vec<Step>]) {
        for (second, steps) in (0u32..).zip(minute) {
            for ((series, _), step) in self.devices.iter_mut().zip(steps) {
                series.add(step);
                series.close_point();
                for tenth in 0..10 {
                    series.add_instant(Instant {
                        at_ms: second * 1_000 + tenth * 100,
                        power_mw: Reading::Value(600_000 + tenth),
                        tx_kib: Reading::Value(1_000 * tenth),
                        rx_kib: Reading::Value(900 * tenth),
                        sm_ppm: Reading::Value(870_000),
                        tensor_ppm: Reading::Value(540_000 + tenth),
                        dram_ppm: Reading::Value(370_000),
                    });
                }
            }
        }
        for place in 0..self.devices.len() {
            let own = &self.devices[place].0;
            let others = self.devices.iter().enumerate().filter(|(i, _)| *i != place);
            let together = synchrony(others.filter_map(|(_, (series, _))| own.likeness(series)));
            let features = own.features(together);
            assert!(together.is_some() && features.period_ms.is_some(), "{features:?}");
            let scored = self.model.score(&features);
            self.devices[place].1.add(&self.model, &features, &scored);
        }
        self.devices
            .iter_mut()
            .for_each(|(series, _)| series.next_window());
    }
}

#[test]
fn after_the_first_window_nothing_is_allocated() {
    let minute = minute();
    let mut node = Node::new();
    node.window(&minute);
    let taken = measure(|| node.window(&minute));
    assert_eq!((taken.count_total, taken.bytes_total), (0, 0));
}

#[test]
fn eight_devices_and_the_model_take_less_than_two_megabytes() {
    let minute = minute();
    let mut node = None;
    let taken = measure(|| {
        let node = node.insert(Node::new());
        node.window(&minute);
        node.window(&minute);
    });
    assert!(
        taken.bytes_max < 2_000_000,
        "at most {} bytes at once",
        taken.bytes_max
    );
    assert!(
        taken.bytes_current < 800_000,
        "{} bytes are kept",
        taken.bytes_current
    );
}
