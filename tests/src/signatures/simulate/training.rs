//! Training: the structure of a step, and what devices tell each other.
//!
//! Decides: a step is a forward pass (2 operations for each parameter and token), a backward pass (4), and the tail of an optimiser that reads
//! and writes its state without multiplying; every so often a checkpoint goes out by way of the host. Traffic for each device and step: with
//! replicas 2 (N-1)/N bytes of gradients sent and as many received; with shards half as much again, in forward and backward; with tensors cut,
//! 4 of 2 (T-1)/T activations for each layer; in a pipeline activations one way, with a bubble; with experts 2 (N-1)/N of what is routed.

use super::machine::{Kernel, Machine, Stretch, USEFUL};
use crate::chance::Chance;

/// How devices share a job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Parallel {
    /// There is one.
    Alone,
    /// Each has all parameters, and gradients are added up.
    Replicas,
    /// Each has a part of the parameters and fetches the others'.
    Shards,
    /// Each has a part of every layer.
    Tensors,
    /// Each has some of the layers.
    Pipeline,
    /// Each has some of the experts.
    Experts,
}

/// A job of training. Sizes are of one device's batch.
#[derive(Clone, Debug)]
pub(super) struct Training {
    pub(super) devices: usize,
    pub(super) parallel: Parallel,
    pub(super) parameters: f64,
    pub(super) layers: f64,
    /// Tokens of a micro-batch, and of a sequence.
    pub(super) tokens: f64,
    pub(super) length: f64,
    /// Micro-batches in a step.
    pub(super) accumulate: usize,
    /// Share of parameters that learn.
    pub(super) learning: f64,
    /// Bytes that the optimiser moves for each of them.
    pub(super) optimiser_bytes: f64,
    /// Whether the optimiser works beside the backward pass, and has no tail of its own.
    pub(super) fused: bool,
    /// Bytes of activations that a layer's small kernels move for each token and unit of width.
    pub(super) small_bytes: f64,
    /// Share of activations that go to the host and back.
    pub(super) offload: f64,
    /// Steps between exchanges, where replicas do not exchange after each.
    pub(super) exchange_every: usize,
    /// Bytes of a gradient.
    pub(super) gradient_bytes: f64,
    /// Whether gradients go one way at a time, as caches of keys and values do.
    pub(super) one_way: bool,
    /// Share of traffic that can go on beside the work.
    pub(super) hidden: f64,
    /// Share of a step that waits for data.
    pub(super) starved: f64,
    /// Spread of a step's time.
    pub(super) jitter: f64,
    /// Seconds between checkpoints, bytes for each parameter, and bytes per second of storage.
    pub(super) checkpoint: [f64; 3],
    /// By how much of a step each device lags behind the one before.
    pub(super) stagger: f64,
}

impl Training {
    /// Draws a job; `parameters` between these.
    pub(super) fn drawn(parallel: Parallel, parameters: [f64; 2], chance: &mut Chance) -> Self {
        let [low, high] = parameters;
        let alone = parallel == Parallel::Alone;
        Self {
            devices: if alone {
                1
            } else {
                [2, 4][chance.within(0..2) as usize]
            },
            parallel,
            parameters: chance.magnitude(low, high),
            layers: chance.between(12.0, 40.0).round(),
            tokens: chance.magnitude(4_096.0, 32_768.0),
            length: chance.magnitude(512.0, 4_096.0),
            accumulate: chance.within(1..4) as usize,
            learning: 1.0,
            optimiser_bytes: chance.between(16.0, 34.0),
            fused: false,
            small_bytes: chance.between(40.0, 160.0),
            offload: 0.0,
            exchange_every: 1,
            gradient_bytes: [2.0, 4.0][chance.within(0..2) as usize],
            one_way: false,
            hidden: chance.between(0.3, 0.95),
            starved: chance.between(0.0, 0.06),
            jitter: chance.between(0.003, 0.02),
            checkpoint: [
                chance.between(40.0, 400.0),
                chance.between(2.0, 16.0),
                chance.magnitude(1e9, 6e9),
            ],
            stagger: 0.0,
        }
    }

    /// The same with few parameters that learn beside those that stand.
    pub(super) fn low_rank(mut self, chance: &mut Chance) -> Self {
        self.learning = chance.magnitude(0.001, 0.02);
        self.accumulate = chance.within(1..3) as usize;
        self
    }

    pub(super) fn width(&self) -> f64 {
        (self.parameters / (12.0 * self.layers)).sqrt()
    }

    /// Parameters, gradients, the optimiser's state and activations, MiB.
    pub(super) fn held_mib(&self, chance: &mut Chance) -> f64 {
        let state = 2.0 + self.learning * chance.between(8.0, 16.0);
        let kept =
            self.tokens * self.width() * self.layers * chance.between(4.0, 16.0) * (1.0 - self.offload);
        let parts = match self.parallel {
            Parallel::Alone | Parallel::Replicas => 1.0,
            _ => self.devices as f64,
        };
        (self.parameters * state / parts + kept) / 1_048_576.0 + 1_500.0
    }

    /// Parameters that one device works with in a pass.
    fn own(&self) -> f64 {
        match self.parallel {
            Parallel::Tensors | Parallel::Pipeline => self.parameters / self.devices as f64,
            // A token sees two of many experts.
            Parallel::Experts => self.parameters * 0.3,
            _ => self.parameters,
        }
    }

    /// A pass over a micro-batch; forward once, backward twice as much.
    fn pass(&self, times: f64, machine: &Machine) -> Stretch {
        let (own, tokens, width) = (self.own(), self.tokens, self.width());
        let share = own / self.parameters;
        let units = tokens * width * self.layers * share;
        let narrow = 2.0 / machine.narrow;
        let products = Kernel {
            tensor: times * 2.0 * own * tokens,
            bytes: times * (own * narrow + units * 14.0 * narrow),
            launches: times * self.layers * share * 8.0,
            ..Kernel::default()
        };
        let attention = Kernel {
            tensor: times * 4.0 * self.length * units,
            fp32: times * self.length * units * 0.5,
            bytes: times * units * 10.0,
            launches: times * self.layers * share * 2.0,
            ..Kernel::default()
        };
        let small = Kernel {
            fp32: times * units * self.small_bytes * 0.4,
            bytes: times * units * self.small_bytes,
            launches: times * self.layers * share * 10.0,
            ..Kernel::default()
        };
        let mut all = machine.run(&[products, attention, small]);
        if self.offload > 0.0 {
            let bytes = units * self.offload * 16.0;
            let (out, back) = if times > 1.0 { (0.0, bytes) } else { (bytes, 0.0) };
            all = all.with_host(out, back, machine);
        }
        let wire = self.pass_traffic(times, units);
        match self.parallel {
            Parallel::Shards => all.with_traffic(wire, wire, self.hidden, machine),
            Parallel::Tensors | Parallel::Experts => all.with_traffic(wire, wire, self.hidden * 0.3, machine),
            // Activations go forward, their gradients back.
            Parallel::Pipeline if times > 1.0 => all.with_traffic(0.0, wire, self.hidden, machine),
            Parallel::Pipeline => all.with_traffic(wire, 0.0, self.hidden, machine),
            Parallel::Alone | Parallel::Replicas => all,
        }
    }

    /// Bytes sent in a pass.
    fn pass_traffic(&self, times: f64, units: f64) -> f64 {
        let n = self.devices as f64;
        let others = (n - 1.0) / n;
        match self.parallel {
            // One of three exchanges in the forward pass, two in the backward.
            Parallel::Shards => times * others * self.parameters * self.gradient_bytes,
            Parallel::Tensors => 2.0 * self.layers * 2.0 * others * self.tokens * self.width() * 2.0,
            Parallel::Pipeline => self.tokens * self.width() * 2.0,
            Parallel::Experts => others * units * 2.0 * 2.0,
            Parallel::Alone | Parallel::Replicas => 0.0,
        }
    }

    /// The tail of a step.
    fn optimiser(&self) -> Kernel {
        let parts = match self.parallel {
            Parallel::Alone | Parallel::Replicas => 1.0,
            _ => self.devices as f64,
        };
        let learning = self.parameters * self.learning / parts;
        Kernel {
            fp32: learning * 12.0,
            bytes: learning * self.optimiser_bytes,
            launches: self.layers * 0.5,
            ..Kernel::default()
        }
    }

    /// One step of a device; the `number`-th of the job.
    pub(super) fn step(&self, number: usize, machine: &Machine) -> Vec<Stretch> {
        let mut step = Vec::new();
        let n = self.devices as f64;
        for i in 0..self.accumulate {
            step.push(self.pass(1.0, machine));
            let mut backward = self.pass(if self.learning < 0.5 { 1.0 } else { 2.0 }, machine);
            let last = i + 1 == self.accumulate;
            if last && self.fused {
                let tail = machine.run(&[self.optimiser()]);
                let seconds = backward.seconds + tail.seconds * 0.6;
                let mut load = super::machine::Load::REST;
                load.add(&backward.load, backward.seconds / seconds);
                load.add(&tail.load, tail.seconds / seconds);
                load.0
                    .iter_mut()
                    .take(9)
                    .for_each(|share| *share = share.min(1.0));
                backward = Stretch { seconds, load };
            }
            step.push(backward);
            let exchange = last && number % self.exchange_every == self.exchange_every - 1;
            if exchange && self.parallel == Parallel::Replicas {
                self.exchange(&mut step, machine);
            }
        }
        if self.parallel == Parallel::Pipeline {
            let own: f64 = step.iter().map(|s| s.seconds).sum();
            step.push(Stretch::rest(own * (n - 1.0) / (self.accumulate as f64 * 4.0)));
        }
        if !self.fused {
            step.push(machine.run(&[self.optimiser()]));
        }
        let seconds: f64 = step.iter().map(|s| s.seconds).sum();
        step.push(Stretch::rest(seconds * self.starved));
        step
    }

    /// Adds up gradients over replicas, beside the backward pass as far as that hides it.
    fn exchange(&self, step: &mut Vec<Stretch>, machine: &Machine) {
        let n = self.devices as f64;
        let learning = self.parameters * self.learning;
        let bytes = 2.0 * (n - 1.0) / n * learning * self.gradient_bytes;
        if self.one_way {
            let idle = Stretch::rest(0.0);
            step.push(idle.with_traffic(bytes, 0.0, 0.0, machine));
            step.push(idle.with_traffic(0.0, bytes, 0.0, machine));
        } else if self.exchange_every > 1 {
            step.push(Stretch::rest(0.0).with_traffic(bytes, bytes, 0.0, machine));
        } else if let Some(backward) = step.pop() {
            step.push(backward.with_traffic(bytes, bytes, self.hidden, machine));
        }
    }

    /// What each device does for so many seconds. Devices of a job wait for each other, so that all keep one time.
    pub(super) fn run(&self, machine: &Machine, seconds: f64, chance: &mut Chance) -> Vec<Vec<Stretch>> {
        let mut job = Vec::new();
        let (mut at, mut number, mut saved) = (0.0, 0, chance.between(0.0, self.checkpoint[0]));
        let useful = 6.0 * self.own() * self.tokens * self.accumulate as f64;
        while at < seconds * 1.2 {
            let pace = (1.0 + self.jitter * chance.noise()).max(0.5);
            let mut step = self.step(number, machine);
            let took: f64 = step.iter().map(|s| s.seconds).sum::<f64>() * pace;
            for stretch in &mut step {
                stretch.seconds *= pace;
                stretch.load.0[USEFUL] = useful / took;
            }
            job.extend(step);
            at += took;
            number += 1;
            if at - saved > self.checkpoint[0] {
                saved = at;
                let [_, bytes, storage] = self.checkpoint;
                let bytes = bytes * self.parameters * self.learning / self.devices as f64;
                let pause = Stretch::rest(bytes / storage).with_host(bytes, 0.0, machine);
                at += pause.seconds;
                job.push(pause);
            }
        }
        let step: f64 = at / number.max(1) as f64;
        (0..self.devices)
            .map(|i| {
                let mut own = vec![Stretch::rest(i as f64 * self.stagger * step)];
                own.extend(job.iter().copied());
                own
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signatures::simulate::machine::{DRAM, RX, TENSOR, TX};

    fn sent(job: &Training, machine: &Machine) -> [f64; 2] {
        let step = job.step(0, machine);
        [TX, RX].map(|c| step.iter().map(|s| s.load.0[c] * s.seconds).sum())
    }

    #[test]
    fn bytes_of_a_step_are_those_of_the_arithmetic() {
        let mut chance = Chance::of(3);
        let machine = Machine::drawn(&mut chance);
        let mut job = Training::drawn(Parallel::Replicas, [7e9, 7.1e9], &mut chance);
        job.devices = 4;
        job.gradient_bytes = 2.0;
        job.accumulate = 1;
        let replicas = 2.0 * 0.75 * job.parameters * 2.0;
        for bytes in sent(&job, &machine) {
            assert!(
                (bytes / replicas - 1.0).abs() < 1e-9,
                "{bytes} and not {replicas}"
            );
        }
        job.parallel = Parallel::Shards;
        for bytes in sent(&job, &machine) {
            assert!((bytes / replicas - 1.5).abs() < 1e-9, "{bytes}");
        }
        job.parallel = Parallel::Alone;
        assert!(sent(&job, &machine).iter().all(|bytes| *bytes < 1.0));
    }

    #[test]
    fn the_tail_of_a_step_reads_and_does_not_multiply() {
        let mut chance = Chance::of(5);
        let machine = Machine::drawn(&mut chance);
        let mut job = Training::drawn(Parallel::Alone, [1e9, 1.1e9], &mut chance);
        job.starved = 0.0;
        let step = job.step(0, &machine);
        let [.., tail, pause] = step.as_slice() else {
            panic!("a step has parts");
        };
        assert!(tail.load.0[TENSOR] < 1e-9 && tail.load.0[DRAM] > 0.3, "{tail:?}");
        assert!(pause.seconds < 1e-9);
        job.fused = true;
        assert!(
            job.step(0, &machine)
                .iter()
                .all(|s| s.seconds < 1e-9 || s.load.0[TENSOR] > 0.01)
        );
    }
}
