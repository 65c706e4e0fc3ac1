//! Synthetic nodes with the noise of sensors, for tests where no recording is at hand.
//!
//! Power is made of activity as the bounds' source has it: a draw at rest, and a part for each pipe. What is seen of forgeries of these
//! nodes shows that the checks work, not how well they do on hardware.

use super::recording::{Channel, Device, Recording, SXM};

/// Length of a recording, in seconds.
const SECONDS: u64 = 330;

/// Devices of a node.
const DEVICES: u64 = 8;

/// A load: shares of SMs, tensor pipe, memory and FP32 in its two phases, the length of each in seconds, and gigabytes a second over links.
struct Load {
    name: &'static str,
    phases: [[f64; 4]; 2],
    length_s: [f64; 2],
    together: bool,
    links: f64,
    bound: bool,
}

const LOADS: [Load; 4] = [
    Load {
        name: "rest",
        phases: [[0.0; 4]; 2],
        length_s: [5.0, 5.0],
        together: true,
        links: 0.0,
        bound: false,
    },
    Load {
        name: "training",
        phases: [[0.88, 0.55, 0.38, 0.05], [0.45, 0.08, 0.30, 0.08]],
        length_s: [4.3, 1.4],
        together: true,
        links: 12.0,
        bound: true,
    },
    Load {
        name: "serving",
        phases: [[0.42, 0.08, 0.55, 0.06], [0.18, 0.03, 0.22, 0.03]],
        length_s: [0.9, 0.7],
        together: false,
        links: 0.0,
        bound: false,
    },
    Load {
        name: "simulation",
        phases: [[0.90, 0.0, 0.62, 0.55], [0.40, 0.0, 0.30, 0.10]],
        length_s: [3.1, 0.8],
        together: true,
        links: 6.0,
        bound: false,
    },
];

/// A draw from 0 to 1 that is the same for the same numbers.
fn draw(seed: u64, a: u64, b: u64, c: u64) -> f64 {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for part in [a, b, c] {
        x = (x ^ part.wrapping_mul(0xbf58_476d_1ce4_e5b9)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 29;
    }
    (x >> 11) as f64 / (1u64 << 53) as f64
}

/// One node for each load.
#[must_use]
pub fn nodes(seed: u64) -> Vec<Recording> {
    (0u64..)
        .zip(&LOADS)
        .map(|(i, load)| node(load, seed * 16 + i))
        .collect()
}

fn node(load: &Load, seed: u64) -> Recording {
    let devices = (0..DEVICES).map(|d| device(load, seed, d)).collect();
    Recording {
        name: load.name.to_owned(),
        part: SXM,
        devices,
    }
}

fn device(load: &Load, seed: u64, index: u64) -> Device {
    let mut device = Device::new();
    let noise = |what: u64, t: u64, size: f64| 1.0 + (draw(seed, index, what, t) - 0.5) * 2.0 * size;
    let board = noise(90, 0, 0.015);
    let rest_w = (112.0 + 14.0 * draw(seed, index, 91, 0)) * board;
    // One chassis has one inlet: at rest the eight of a recorded node lie within 33 and 37 C, at 690 W within 56 and 73 C.
    let inlet_c = 24.0 + 8.0 * draw(seed, 0, 92, 0) + 1.5 * draw(seed, index, 92, 1);
    let warmth = 57.0 * noise(93, 0, 0.19);
    let cycle: f64 = load.length_s.iter().sum();
    let offset = if load.together {
        0.0
    } else {
        draw(seed, index, 94, 0) * cycle
    };
    let mut c = inlet_c + rest_w * warmth / 1e3;
    for second in 0..SECONDS {
        let mut mean = [0.0; 4];
        let (mut energy_mj, mut power_w, mut links, mut clock) = (0.0, 0.0, 0.0, 1_980.0);
        // Tenths of a second, as sensors renew their readings.
        for tenth in second * 10..(second + 1) * 10 {
            let t = tenth as f64 / 10.0 + offset;
            let step = (t / cycle) as u64;
            let who = if load.together { 0 } else { index + 1 };
            let stretch = 1.0 + (draw(seed, who, 80, step) - 0.5) * 0.1;
            let second_phase = (t % cycle) * stretch >= load.length_s[0];
            let phase = &load.phases[usize::from(second_phase)];
            let weight = 1.0 + (draw(seed, who, 81, step) - 0.5) * 0.08;
            let now: Vec<f64> = (0u64..)
                .zip(phase)
                .map(|(k, share)| (share * weight * noise(k, tenth, 0.02)).min(0.999))
                .collect();
            let dynamic = now[0] * 140.0 + now[1] * 780.0 + now[2] * 300.0 + now[3] * 480.0;
            // Beyond the limit the clock is lowered until power fits.
            let room = (690.0 - rest_w) / dynamic.max(1.0);
            clock = if load.bound && room < 1.0 {
                (1_980.0 * room / 15.0).round() * 15.0
            } else {
                1_980.0
            };
            power_w = (rest_w + dynamic * room.min(1.0)) * noise(50, tenth, 0.004);
            energy_mj += power_w * 100.0;
            links += if second_phase { load.links * 1e8 } else { 0.0 };
            for (sum, share) in mean.iter_mut().zip(&now) {
                *sum += share / 10.0;
            }
        }
        let settled = inlet_c + energy_mj / 1e3 * warmth / 1e3;
        c += (settled - c) * 0.4;
        let busy = mean[0] > 0.01;
        let share = |s: f64| (s * 1e6).round();
        let values = [
            (Channel::Power, (power_w * 10.0).round() * 100.0),
            (Channel::Energy, energy_mj.round()),
            (
                Channel::Utilisation,
                if busy {
                    ((mean[0] * 1.1 + 0.15).min(1.0) * noise(60, second, 0.02) * 100.0)
                        .min(100.0)
                        .round()
                        * 1e4
                } else {
                    0.0
                },
            ),
            (Channel::Sm, share(mean[0])),
            (Channel::Tensor, share(mean[1])),
            (Channel::Dram, share(mean[2])),
            (Channel::Hmma, share(mean[1])),
            (Channel::Imma, 0.0),
            (Channel::Dfma, 0.0),
            (Channel::Fp64, 0.0),
            (Channel::Fp32, share(mean[3])),
            (Channel::Fp16, 0.0),
            (Channel::Integer, share(mean[0] * 0.06)),
            (Channel::Clock, clock),
            (Channel::Temperature, (c * noise(61, second, 0.006)).round()),
            (Channel::Events, if clock < 1_980.0 { 4.0 } else { 0.0 }),
            (Channel::Sent, (links * noise(62, second, 0.01)).round()),
            (Channel::Received, (links * noise(63, second, 0.01)).round()),
        ];
        device.push((second + 1) * 1_000_000_000, &values);
    }
    device
}
