//! What is no machine learning: numerical simulation, data, collectives under test, burn-in, video, mining.
//!
//! Decides: each is a round of kernels whose operations for each byte are those of the algorithm, repeated with pauses and traffic of its own.

use super::machine::{Kernel, Machine, Stretch};
use crate::chance::Chance;

/// A round of work.
#[derive(Clone, Debug, Default)]
pub(super) struct Round {
    pub(super) devices: usize,
    pub(super) kernels: Vec<Kernel>,
    /// How often the kernels run before the pause.
    pub(super) times: f64,
    /// Bytes to the neighbours and back.
    pub(super) halo: f64,
    /// Bytes from the host before a round, and to it after.
    pub(super) host: [f64; 2],
    /// Mean seconds of a pause; by chance.
    pub(super) pause: f64,
}

/// What there is, by name.
pub(super) const NAMES: [&str; 12] = [
    "fourier_transform",
    "n_body",
    "halo_stencil",
    "fp64_products",
    "etl_queries",
    "collectives_test",
    "burn_in",
    "video_transcode",
    "hash_miner",
    "memory_miner",
    "product_miner",
    "checkpoint_copy",
];

impl Round {
    /// Draws one of [`NAMES`].
    pub(super) fn drawn(name: &str, machine: &Machine, chance: &mut Chance) -> Self {
        let gib = chance.magnitude(1e8, 2e10);
        let stream = Kernel {
            bytes: gib,
            launches: 4.0,
            ..Kernel::default()
        };
        let one = |kernel: Kernel| Self {
            devices: 1,
            kernels: vec![kernel],
            times: 1.0,
            ..Self::default()
        };
        match name {
            // 5 n log n operations, and a read and a write of 8 bytes for each of n numbers.
            "fourier_transform" => one(Kernel {
                fp32: gib * chance.between(1.5, 4.0),
                ..stream
            }),
            // Twenty operations for each pair; bodies fit into caches.
            "n_body" => one(Kernel {
                fp32: gib * 500.0,
                bytes: gib * chance.between(0.001, 1.0),
                ..stream
            }),
            "halo_stencil" => Self {
                devices: [1, 2, 4][chance.within(0..3) as usize],
                halo: gib * chance.between(0.005, 0.05),
                kernels: vec![Kernel {
                    fp64: gib * chance.between(0.3, 1.2),
                    ..stream
                }],
                times: 1.0,
                pause: chance.magnitude(1e-5, 0.02),
                ..Self::default()
            },
            "fp64_products" => one(Kernel {
                double_tensor: gib * chance.between(100.0, 600.0),
                ..stream
            }),
            "etl_queries" => Self {
                kernels: vec![
                    stream,
                    Kernel {
                        integer: gib * chance.between(1.0, 12.0),
                        bytes: gib * chance.between(0.5, 3.0),
                        fill: chance.between(0.5, 0.9),
                        ..stream
                    },
                ],
                times: chance.between(1.0, 12.0).round(),
                host: [gib * chance.between(0.2, 1.0), gib * 0.05],
                pause: chance.magnitude(0.01, 3.0),
                ..one(stream)
            },
            "collectives_test" => Self {
                devices: [2, 4][chance.within(0..2) as usize],
                kernels: vec![Kernel {
                    bytes: gib * 0.01,
                    fill: 0.1,
                    ..stream
                }],
                times: 1.0,
                halo: chance.magnitude(1e7, 1.6e10),
                pause: chance.magnitude(1e-4, 0.2),
                ..Self::default()
            },
            "burn_in" => Self {
                times: 50.0,
                devices: [1, 4][chance.within(0..2) as usize],
                ..one(Kernel {
                    tensor: gib * chance.between(500.0, 4_000.0),
                    ..stream
                })
            },
            "video_transcode" => Self {
                // What comes in and goes out is compressed; engines of their own decode and code.
                host: [gib * 1e-3, gib * 1e-3],
                pause: gib * 0.1 / machine.memory * chance.magnitude(0.3, 10.0),
                ..one(Kernel {
                    bytes: gib * 0.1,
                    fp32: gib * chance.between(0.1, 1.5),
                    fill: chance.between(0.1, 0.6),
                    ..stream
                })
            },
            "hash_miner" => one(Kernel {
                integer: gib * 800.0,
                bytes: gib * 0.01,
                ..stream
            }),
            "memory_miner" => one(Kernel {
                integer: gib * chance.between(1.0, 4.0),
                ..stream
            }),
            // Proof by products of small integers: as busy on tensor pipes as anything.
            "product_miner" => one(Kernel {
                integer_tensor: gib * chance.between(800.0, 3_000.0),
                integer: gib * chance.between(1.0, 10.0),
                ..stream
            }),
            _ => Self {
                host: [0.0, machine.bus * chance.between(0.5, 4.0)],
                pause: chance.between(0.5, 10.0),
                kernels: Vec::new(),
                ..one(stream)
            },
        }
    }

    /// What it does for so many seconds.
    pub(super) fn run(&self, machine: &Machine, seconds: f64, chance: &mut Chance) -> Vec<Vec<Stretch>> {
        let mut work = machine.run(&self.kernels);
        work.seconds *= self.times;
        if self.halo > 0.0 && self.devices > 1 {
            work = work.with_traffic(self.halo, self.halo, 0.0, machine);
        }
        let [received, sent] = self.host;
        let load = Stretch::rest(0.0).with_host(0.0, received, machine);
        let store = Stretch::rest(0.0).with_host(sent, 0.0, machine);
        // Rounds too short for a reading to tell apart are done many at a time.
        let round = work.seconds + load.seconds + store.seconds + self.pause;
        let many = (0.02 / round.max(1e-6)).ceil().max(1.0);
        let (mut done, mut at) = (Vec::new(), 0.0);
        while at < seconds {
            let pause = if self.pause > 0.0 {
                chance.wait(self.pause)
            } else {
                0.0
            };
            let mut all = [load, work, store, Stretch::rest(pause)];
            all.iter_mut().for_each(|s| s.seconds *= many);
            at += all.iter().map(|s| s.seconds).sum::<f64>();
            done.extend(all);
        }
        vec![done; self.devices.max(1)]
    }
}
