//! Ways in which an operator might train so as not to be seen: the twenty families of Rahman and Tajdari (2026) by their letters, and ten more.
//!
//! Decides: what each does to a job and to its trace. A strategy that changes kernels is a change of the job, which is simulated anew; one that
//! moves work about is a change of the trace, so that it can be done to a recording too. Two try many changes, judge each by the model itself and
//! keep the best: they have the model's files. Does not establish what training loses by stale or coarser gradients, which no trace shows.

use super::benign::Round;
use super::disguise::{Beside, Slice, Source, drawn};
use super::machine::{Load, Machine};
use super::serving::Service;
use super::trace::{Trace, sampled};
use super::training::{Parallel, Training};
use crate::chance::Chance;
use Source::{Cover, Own, Rest};

/// What is to be hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// A model of some hundred million to some thousand million parameters, from the beginning, on one device.
    Dense,
    /// A low-rank adaptation on one device.
    LowRank,
    /// As the first, on replicas.
    Replicas,
}

pub(super) type OfJob = fn(&mut Training, &mut Machine, &mut Chance);
pub(super) type OfTrace = fn(&Trace, &Beside, &mut Chance) -> Trace;

/// A strategy.
#[derive(Clone, Copy)]
pub(super) struct Strategy {
    pub(super) name: &'static str,
    pub(super) base: Base,
    /// What it changes of the job.
    pub(super) job: Option<OfJob>,
    /// What it changes of the trace.
    pub(super) trace: Option<OfTrace>,
    /// What runs besides, where something does.
    pub(super) cover: Other,
    /// What it does to the time of a step, to activity, traffic and power.
    pub(super) does: &'static str,
}

/// What runs besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Other {
    Nothing,
    /// A service that people use.
    Service,
    /// Answers in batches.
    Batch,
    /// One of the works that are no machine learning.
    Round(&'static str),
}

impl Other {
    /// Its rows, as long as a trace can be.
    pub(super) fn rows(self, machine: &Machine, chance: &mut Chance) -> Vec<Load> {
        const SECONDS: f64 = 60.0;
        let (done, mib) = match self {
            Self::Nothing => return Vec::new(),
            Self::Service => {
                let service = Service::drawn(chance);
                (service.run(machine, SECONDS, chance), service.held_mib())
            }
            Self::Batch => {
                let service = Service::drawn(chance).in_batch(chance);
                (service.run(machine, SECONDS, chance), service.held_mib())
            }
            Self::Round(name) => {
                let round = Round::drawn(name, machine, chance);
                (round.run(machine, SECONDS, chance), 2_000.0)
            }
        };
        sampled(&done, machine, mib, SECONDS, chance)
            .devices
            .swap_remove(0)
    }
}

const PLAIN: Strategy = Strategy {
    name: "none",
    base: Base::Dense,
    job: None,
    trace: None,
    cover: Other::Nothing,
    does: "",
};

/// A share of a fine mixture of work and rest, finer than a reading.
fn fine(share: f64) -> [Slice; 2] {
    [(Own, 0.05 * share), (Rest, 0.05 * (1.0 - share))]
}

/// As much rest after a group of steps as makes it this share.
fn padded(trace: &Trace, beside: &Beside, idle: f64, chance: &mut Chance) -> Trace {
    let work = chance.magnitude(0.3, 3.0);
    trace.sliced(beside, &[(Own, work), (Rest, work * idle / (1.0 - idle))], 0.0)
}

/// Turns of training and of something else.
fn in_turns(trace: &Trace, beside: &Beside, share: f64, period: f64) -> Trace {
    let slices = [(Own, period * share), (Cover, period * (1.0 - share))];
    trace.sliced(beside, &slices, 0.0)
}

/// A step among so many passes of inference, each of which takes a third of a step.
fn diluted(trace: &Trace, beside: &Beside, times: f64, stagger: f64, chance: &mut Chance) -> Trace {
    let step = chance.magnitude(0.05, 1.0);
    let round = step * (1.0 + times / 3.0);
    trace.sliced(
        beside,
        &[(Own, step), (Cover, step * times / 3.0)],
        stagger * round,
    )
}

fn memory_minimal(job: &mut Training, _: &mut Machine, chance: &mut Chance) {
    job.tokens = chance.between(512.0, 2_048.0);
    job.length = job.length.min(512.0);
    job.accumulate = 1;
    // Plain gradient descent in 16 bits: weight and gradient in, weight out.
    job.optimiser_bytes = 6.0;
}

/// All of them.
pub(super) fn all() -> Vec<Strategy> {
    let mut all = published();
    all.extend(more());
    all
}

fn published() -> Vec<Strategy> {
    let own = Strategy { ..PLAIN };
    let low_rank = Strategy {
        base: Base::LowRank,
        ..PLAIN
    };
    let served = |base: Base| Strategy {
        base,
        cover: Other::Service,
        ..PLAIN
    };
    let mut all = vec![
        Strategy {
            name: "A_utilisation_modulation",
            trace: Some(|t, b, c| {
                let wave = c.magnitude(5.0, 40.0);
                let slices = drawn(180.0, c, |at, _| {
                    fine(0.55 + 0.4 * (at / wave * std::f64::consts::TAU).sin())
                });
                t.sliced(b, &slices, 0.0)
            }),
            does: "pauses within steps swell and shrink, so that activity, traffic and power follow a slow wave; steps take twice as long",
            ..own
        },
        Strategy {
            name: "B_low_utilisation",
            trace: Some(|t, b, c| t.sliced(b, &fine(c.between(0.04, 0.12)), 0.0)),
            does: "nine tenths and more of each tenth of a second are idle: all shares and rates fall alike, power to little above rest",
            ..low_rank
        },
        Strategy {
            name: "D_temporal_disruption",
            trace: Some(|t, b, c| {
                let slices = drawn(180.0, c, |_, c| {
                    [(Own, c.between(0.1, 4.0)), (Rest, c.between(0.0, 1.5))]
                });
                t.sliced(b, &slices, 0.0)
            }),
            does: "pauses of random length at random moments break the period; shares within work stay",
            ..own
        },
        Strategy {
            name: "E_memory_minimal",
            job: Some(memory_minimal),
            does: "tiny batches and plain gradient descent: short steps in which reading weights and launching weigh more, and hardly a tail",
            ..own
        },
        Strategy {
            name: "F_interleave_30",
            trace: Some(|t, b, c| in_turns(t, b, 0.3, c.magnitude(2.0, 30.0))),
            does: "training has three tenths of the time in turns with a service: two mixtures, one after the other",
            ..served(Base::Dense)
        },
        Strategy {
            name: "F_interleave_50",
            trace: Some(|t, b, c| in_turns(t, b, 0.5, c.magnitude(2.0, 30.0))),
            does: "the same, half and half",
            ..served(Base::Dense)
        },
        Strategy {
            name: "G_throttled",
            trace: Some(|t, b, _| t.clocked(0.33, b)),
            does: "clocks at a third: what waits for SMs takes three times as long, memory, traffic and power fall",
            ..own
        },
        Strategy {
            name: "H_mimicry_fourier",
            trace: Some(|t, b, c| in_turns(t, b, 0.5, c.magnitude(0.2, 4.0))),
            cover: Other::Round("fourier_transform"),
            does: "transforms fill half of the time, between steps",
            ..own
        },
        Strategy {
            name: "H_mimicry_mining",
            trace: Some(|t, b, c| in_turns(t, b, 0.5, c.magnitude(0.2, 4.0))),
            cover: Other::Round("hash_miner"),
            does: "integer hashes fill half of the time, between steps",
            ..own
        },
        Strategy {
            name: "I_stochastic",
            trace: Some(|t, b, c| {
                let slices = drawn(180.0, c, |_, c| [(Own, c.wait(0.5)), (Rest, c.wait(0.15))]);
                t.sliced(b, &slices, 0.0)
            }),
            does: "lengths of work and pause are drawn anew each time, so that nothing repeats",
            ..own
        },
        Strategy {
            name: "J_pid_75",
            trace: Some(|t, b, c| {
                let slices = drawn(180.0, c, |_, c| fine((0.75 + 0.02 * c.noise()).clamp(0.5, 0.95)));
                t.sliced(b, &slices, 0.0)
            }),
            does: "a controller pauses so that utilisation and power stay at three quarters: flat, with no dips",
            ..own
        },
        Strategy {
            name: "K_online_learning",
            trace: Some(|t, b, c| in_turns(t, b, c.between(0.1, 0.3), c.magnitude(0.5, 6.0))),
            does: "a service learns a little between answers",
            ..served(Base::LowRank)
        },
        Strategy {
            name: "K_ddp",
            trace: Some(|t, b, c| in_turns(t, b, c.between(0.1, 0.3), c.magnitude(0.5, 6.0))),
            does: "the same on replicas, which exchange gradients while they learn",
            ..served(Base::Replicas)
        },
        Strategy {
            name: "K_ddp_accum",
            job: Some(|job, _, _| job.accumulate = 8),
            trace: Some(|t, b, c| in_turns(t, b, c.between(0.1, 0.3), c.magnitude(0.5, 6.0))),
            does: "the same with an exchange after every eighth micro-batch",
            ..served(Base::Replicas)
        },
    ];
    let dilutions: [(&str, OfTrace, &str); 4] = [
        (
            "L_diluted_2",
            |t, b, c| diluted(t, b, 2.0, 0.0, c),
            "two passes of inference after each step",
        ),
        (
            "L_diluted_5",
            |t, b, c| diluted(t, b, 5.0, 0.0, c),
            "five passes of inference after each step",
        ),
        (
            "L_diluted_10",
            |t, b, c| diluted(t, b, 10.0, 0.0, c),
            "ten passes of inference after each step",
        ),
        (
            "L_diluted_20",
            |t, b, c| diluted(t, b, 20.0, 0.0, c),
            "twenty passes of inference after each step: training has an eighth of the time",
        ),
    ];
    all.extend(dilutions.map(|(name, trace, does)| Strategy {
        name,
        trace: Some(trace),
        does,
        ..served(Base::LowRank)
    }));
    let paddings: [(&str, OfTrace, &str); 5] = [
        (
            "O_idle_padding_25",
            |t, b, c| padded(t, b, 0.25, c),
            "a quarter of the time is idle",
        ),
        (
            "O_idle_padding_50",
            |t, b, c| padded(t, b, 0.5, c),
            "half of the time is idle",
        ),
        (
            "O_idle_padding_75",
            |t, b, c| padded(t, b, 0.75, c),
            "three quarters of the time are idle",
        ),
        (
            "O_idle_padding_90",
            |t, b, c| padded(t, b, 0.9, c),
            "nine tenths of the time are idle",
        ),
        (
            "O_idle_padding_95",
            |t, b, c| padded(t, b, 0.95, c),
            "nineteen parts of twenty are idle",
        ),
    ];
    all.extend(paddings.map(|(name, trace, does)| Strategy {
        name,
        trace: Some(trace),
        does,
        ..own
    }));
    all.extend([
        Strategy {
            name: "L_ddp",
            trace: Some(|t, b, c| diluted(t, b, 5.0, 0.0, c)),
            does: "five passes of inference after each step, on replicas at one time",
            ..served(Base::Replicas)
        },
        Strategy {
            name: "L_ddp_stagger",
            trace: Some(|t, b, c| diluted(t, b, 5.0, 0.27, c)),
            does: "the same, each replica at a time of its own",
            ..served(Base::Replicas)
        },
        Strategy {
            name: "M_composite_memory_minimal",
            job: Some(memory_minimal),
            trace: Some(|t, b, c| {
                let slices = drawn(180.0, c, |_, c| [(Own, c.wait(0.3)), (Rest, c.wait(0.3))]);
                t.sliced(b, &slices, 0.0)
            }),
            does: "E with pauses of random length",
            ..own
        },
        Strategy {
            name: "N_gradient_accumulation_4",
            job: Some(|job, _, _| job.accumulate = 4),
            does: "the optimiser's tail comes after four micro-batches only",
            ..own
        },
        Strategy {
            name: "N_gradient_accumulation_8",
            job: Some(|job, _, _| job.accumulate = 8),
            does: "after eight",
            ..own
        },
        Strategy {
            name: "whitebox_full",
            trace: Some(super::whitebox::best),
            does: "pauses, turns with a service and clocks are tried, and what the model itself sees least is kept",
            ..served(Base::Dense)
        },
        Strategy {
            name: "whitebox_lora",
            trace: Some(super::whitebox::best),
            does: "the same for a low-rank adaptation",
            ..served(Base::LowRank)
        },
    ]);
    all
}

fn more() -> Vec<Strategy> {
    let replicas = Strategy {
        base: Base::Replicas,
        ..PLAIN
    };
    vec![
        Strategy {
            name: "diloco_50",
            job: Some(|job, _, _| job.exchange_every = 50),
            does: "replicas exchange after fifty steps only: links are at rest between",
            ..replicas
        },
        Strategy {
            name: "diloco_500",
            job: Some(|job, _, _| job.exchange_every = 500),
            does: "after five hundred",
            ..replicas
        },
        Strategy {
            name: "kv_shaped_chunks",
            job: Some(|job, _, _| job.one_way = true),
            does: "gradients go one way at a time, as caches of keys and values do; nothing of it is hidden beside the backward pass",
            ..replicas
        },
        Strategy {
            name: "power_filler",
            trace: Some(|t, _, c| t.filled(c.between(0.02, 0.08))),
            does: "FP32 filler wherever power is low: flat power, SMs full, steps a few percent longer",
            ..replicas
        },
        Strategy {
            name: "clock_locked",
            trace: Some(|t, b, c| t.clocked(c.between(0.55, 0.8), b)),
            does: "clocks held at two thirds or so: no swings of power, memory less busy for each product",
            ..PLAIN
        },
        Strategy {
            name: "fused_update",
            job: Some(|job, _, _| job.fused = true),
            does: "parameters are updated within the backward pass: no tail",
            ..PLAIN
        },
        Strategy {
            name: "activation_offload",
            job: Some(|job, _, c| job.offload = c.between(0.3, 1.0)),
            does: "activations go to the host and back: the bus is busy, and steps wait for it",
            ..PLAIN
        },
        Strategy {
            name: "fp8_training",
            job: Some(|_, machine, _| machine.narrow = 2.0),
            does: "products in 8 bits take half the time, so that memory weighs more; work is gained, not lost",
            ..PLAIN
        },
        Strategy {
            name: "int8_training",
            job: Some(|_, machine, _| machine.narrow = 2.0),
            trace: Some(|t, _, _| t.in_integers()),
            does: "the same on the pipes for integers",
            ..PLAIN
        },
        Strategy {
            name: "rollout_update",
            trace: Some(|t, b, c| in_turns(t, b, c.between(0.15, 0.5), c.magnitude(10.0, 120.0))),
            cover: Other::Batch,
            does: "long stretches of answering, then updates: what a policy does that learns from its own answers",
            ..replicas
        },
        Strategy {
            name: "mig_split",
            job: Some(|job, machine, c| {
                let parts = [2, 3][c.within(0..2) as usize];
                *machine = machine.slice(1.0 / parts as f64);
                job.parallel = Parallel::Replicas;
                job.devices = parts;
            }),
            does: "a device is cut into parts that train as replicas and exchange by way of the host",
            ..PLAIN
        },
        Strategy {
            name: "pipeline_staggered",
            job: Some(|job, _, c| {
                job.parallel = Parallel::Pipeline;
                job.stagger = c.between(0.2, 0.8);
            }),
            does: "each device has some of the layers and lags behind: traffic one way at a time, and no movement in common",
            ..replicas
        },
    ]
}
