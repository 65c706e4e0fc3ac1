//! What it costs the agent to tell work apart: the features of eight devices once a second, and the model at the end of each window.

use super::accounting::sample;
use super::cpu::Memory;
use super::figure::Figure;
use super::reference::{NOMINAL_US, each};
use super::{Bench, say};
use std::hint::black_box;
use weighbridge::telemetry::{Reading, Step, Track};
use weighbridge::time::SECOND;
use weighbridge::workload::{Instant, Model, Run, Series, synchrony};

const DEVICES: u16 = 8;
const SECONDS: u32 = 60;
/// 0.05 % of a core, in verifications a second.
const MAX_REGULAR: f64 = 500.0 / NOMINAL_US;
/// 0.3 % of a core, likewise.
const MAX_BURST: f64 = 3000.0 / NOMINAL_US;
/// In megabytes.
const MAX_MB: f64 = 2.0;
/// Nodes in one measurement of memory: one of them alone is lost among what the allocator keeps at hand.
const NODES: usize = 16;

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

    /// A window of the steps of each second, in a burst or not.
    fn window(&mut self, minute: &[Vec<Step>], burst: bool) {
        for (second, steps) in (0u32..).zip(minute) {
            for ((series, _), step) in self.devices.iter_mut().zip(steps) {
                series.add(step);
                series.close_point();
                for tenth in (0..10).filter(|_| burst) {
                    let pair = tenth % 2 == 1;
                    let told = |ppm| {
                        if pair {
                            Reading::Value(ppm)
                        } else {
                            Reading::Unsupported
                        }
                    };
                    series.add_instant(Instant {
                        at_ms: second * 1_000 + tenth * 100,
                        power_mw: Reading::Value(600_000 + tenth * 7_001),
                        tx_kib: Reading::Value(90_000 * tenth),
                        rx_kib: Reading::Value(89_000 * tenth),
                        sm_ppm: told(870_000),
                        tensor_ppm: told(540_000 + tenth),
                        dram_ppm: told(370_000),
                    });
                }
            }
        }
        for place in 0..self.devices.len() {
            let own = &self.devices[place].0;
            let others = self.devices.iter().enumerate().filter(|(i, _)| *i != place);
            let together = synchrony(others.filter_map(|(_, (other, _))| own.likeness(other)));
            let features = own.features(together);
            let scored = self.model.score(&features);
            self.devices[place].1.add(&self.model, &features, &scored);
        }
        for (series, run) in &mut self.devices {
            black_box(run.verdict(&self.model));
            series.next_window();
        }
    }
}

/// The steps of a minute, of all devices at each second.
fn minute() -> Vec<Vec<Step>> {
    let mut tracks: Vec<Track> = (0..DEVICES).map(|_| Track::new(SECOND)).collect();
    let seconds = (0..=u64::from(SECONDS)).map(|second| {
        let tracks = (0..DEVICES).zip(&mut tracks);
        tracks
            .filter_map(|(device, track)| track.push(&sample(device, second)))
            .collect()
    });
    seconds.collect()
}

/// Measures time at one sample a second and in an endless burst, and memory.
pub(super) fn measure(bench: &Bench) -> Vec<Figure> {
    say("workload: features and model of 8 devices");
    let minute = minute();
    let mut node = Node::new();
    let mut second = |burst: bool| {
        let window = bench.reference.hold(|| each(100, || node.window(&minute, burst)));
        window.ratio() / f64::from(SECONDS)
    };
    let (mut regular, mut burst) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        regular.push(second(false));
        burst.push(second(true));
    }
    let mut kept = Vec::new();
    let mut memory = Vec::new();
    for _ in 0..bench.rounds() {
        let before = Memory::of(std::process::id()).anonymous;
        for _ in 0..NODES {
            let mut node = Node::new();
            node.window(&minute, true);
            kept.push(node);
        }
        let grown = Memory::of(std::process::id()).anonymous.saturating_sub(before);
        memory.push(grown as f64 / NODES as f64 / 1e6);
    }
    black_box(kept);
    vec![
        Figure::of(
            "workload.regular",
            "features and model of 8 GPUs at 1 Hz, for each second; a window of 60 s is scored at its end",
            "verifications/s",
            regular,
        )
        .at_most(MAX_REGULAR),
        Figure::of(
            "workload.burst",
            "the same in an endless burst at 10 Hz",
            "verifications/s",
            burst,
        )
        .at_most(MAX_BURST),
        Figure::of(
            "workload.memory",
            "model, series of 8 GPUs and their bursts: by how much a process grows",
            "MB",
            memory,
        )
        .at_most(MAX_MB),
    ]
}
