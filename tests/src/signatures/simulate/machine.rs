//! A device that is no device: rates drawn anew for each run, and what a kernel does to it.
//!
//! Decides: how long a kernel takes and how busy it keeps each pipe, by its roofline: the slowest of its pipes and of memory sets the time, and
//! every share follows from that. Whether a share is high is never said of a class of work.

use crate::chance::Chance;

/// What is written of a device at a moment.
pub(super) const CHANNELS: usize = 17;
/// A kernel was resident, 0 to 1.
pub(super) const BUSY: usize = 0;
/// SMs busy, 0 to 1; the next seven likewise.
pub(super) const SM: usize = 1;
/// Any tensor pipe.
pub(super) const TENSOR: usize = 2;
/// Of it, integers.
pub(super) const IMMA: usize = 3;
/// Of it, double precision.
pub(super) const DMMA: usize = 4;
/// Memory.
pub(super) const DRAM: usize = 5;
/// FP64 without tensor pipes.
pub(super) const FP64: usize = 6;
/// FP32.
pub(super) const FP32: usize = 7;
/// Integers.
pub(super) const INTEGER: usize = 8;
/// Bytes per second sent to other devices; the next three likewise.
pub(super) const TX: usize = 9;
/// Received from other devices.
pub(super) const RX: usize = 10;
/// Sent to the host.
pub(super) const PCIE_TX: usize = 11;
/// Received from the host.
pub(super) const PCIE_RX: usize = 12;
/// Useful work of training per second, in a unit of the run's own.
pub(super) const USEFUL: usize = 13;
/// Power, W.
pub(super) const POWER: usize = 14;
/// Clock, MHz.
pub(super) const CLOCK: usize = 15;
/// Memory in use, MiB.
pub(super) const MEMORY: usize = 16;

/// What a device does at a moment, by channel. Not a number where nobody read it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Load(pub(super) [f64; CHANNELS]);

impl Load {
    /// Nothing.
    pub(super) const REST: Self = Self([0.0; CHANNELS]);

    /// This, with another value in a channel.
    pub(super) fn with(mut self, channel: usize, value: f64) -> Self {
        self.0[channel] = value;
        self
    }

    /// Leaves unread what was not read of another.
    pub(super) fn unread_as(&mut self, other: &Self) {
        for (value, other) in self.0.iter_mut().zip(other.0) {
            if other.is_nan() {
                *value = f64::NAN;
            }
        }
    }

    /// Adds a share of another.
    pub(super) fn add(&mut self, other: &Self, share: f64) {
        for (sum, value) in self.0.iter_mut().zip(other.0) {
            *sum += value * share;
        }
    }
}

/// Something done for some seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    pub(super) seconds: f64,
    pub(super) load: Load,
}

impl Stretch {
    /// Nothing, for so long.
    pub(super) fn rest(seconds: f64) -> Self {
        Self {
            seconds,
            load: Load::REST,
        }
    }

    /// This with traffic, which takes longer than the work where links are slow: then the work waits. `hidden` is the share that can go on
    /// beside the work; the rest stops it.
    pub(super) fn with_traffic(self, sent: f64, received: f64, hidden: f64, machine: &Machine) -> Self {
        let wire = sent.max(received) / machine.link;
        let seconds = (self.seconds.max(wire * hidden) + wire * (1.0 - hidden)).max(1e-9);
        let mut load = Load::REST;
        load.add(&self.load, self.seconds / seconds);
        load.0[TX] = sent / seconds;
        load.0[RX] = received / seconds;
        // Collectives are kernels too: a few SMs copy, and a kernel is resident throughout.
        load.0[BUSY] = 1.0;
        let copying = machine.copying * (wire / seconds).min(1.0);
        load.0[SM] = (load.0[SM] + copying * (1.0 - load.0[SM])).min(1.0);
        load.0[DRAM] = (load.0[DRAM] + (sent + received) / seconds / machine.memory).min(1.0);
        Self { seconds, load }
    }

    /// This with bytes to and from the host, which the work waits for where the bus is slow.
    pub(super) fn with_host(self, sent: f64, received: f64, machine: &Machine) -> Self {
        let seconds = self.seconds.max(sent.max(received) / machine.bus).max(1e-9);
        let mut load = Load::REST;
        load.add(&self.load, self.seconds / seconds);
        load.0[PCIE_TX] = sent / seconds;
        load.0[PCIE_RX] = received / seconds;
        Self { seconds, load }
    }
}

/// Work of a kernel, or of many alike: operations by pipe, bytes of memory, and how often something is launched.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kernel {
    /// In 16-bit or 8-bit floats.
    pub(super) tensor: f64,
    /// In integers, on tensor pipes.
    pub(super) integer_tensor: f64,
    /// In doubles, on tensor pipes.
    pub(super) double_tensor: f64,
    pub(super) fp64: f64,
    pub(super) fp32: f64,
    pub(super) integer: f64,
    pub(super) bytes: f64,
    pub(super) launches: f64,
    /// Share of SMs that it occupies while it runs; 0 stands for nearly all.
    pub(super) fill: f64,
}

/// The rates of a device and of the software on it.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    /// Operations per second of tensor pipes, in 16 bits.
    pub(super) tensor: f64,
    double_tensor: f64,
    fp64: f64,
    fp32: f64,
    integer: f64,
    /// Bytes per second of memory.
    pub(super) memory: f64,
    /// Bytes per second to other devices, one way.
    pub(super) link: f64,
    /// Bytes per second to the host, one way.
    pub(super) bus: f64,
    /// Share of a pipe's rate that products reach.
    products: f64,
    /// Share of memory's rate that streams reach.
    streams: f64,
    /// SMs that nearly everything occupies.
    fill: f64,
    /// SMs that collectives occupy.
    copying: f64,
    /// Seconds between kernels that nothing hides.
    launch: f64,
    /// Integer operations beside others: addresses, for each SM activity.
    addresses: f64,
    /// Speed of tensor pipes against 16 bits.
    pub(super) narrow: f64,
    /// Power at rest and at most, W.
    pub(super) power: [f64; 2],
    /// What each of SM, tensor, DRAM, FP64, FP32 and integer adds, of the range of power.
    weights: [f64; 6],
    /// Highest clock, MHz.
    clock: f64,
    /// Memory, MiB.
    pub(super) mib: f64,
    /// Spread of power and shares from reading to reading.
    pub(super) noise: f64,
    /// Seconds that power lags behind.
    pub(super) lag: f64,
}

impl Machine {
    /// Draws one: somewhere between the accelerators of the last years.
    pub(super) fn drawn(chance: &mut Chance) -> Self {
        let tensor = chance.magnitude(2.5e14, 1.2e15);
        let fp32 = chance.between(1.5e13, 7e13);
        Self {
            tensor,
            double_tensor: chance.between(1.5e13, 7e13),
            fp64: fp32 * chance.between(0.3, 0.5),
            fp32,
            integer: fp32 * chance.between(0.4, 0.6),
            memory: tensor / chance.between(180.0, 420.0),
            link: chance.magnitude(4e10, 4e11),
            bus: chance.between(1.5e10, 5.5e10),
            products: chance.between(0.5, 0.88),
            streams: chance.between(0.6, 0.92),
            fill: chance.between(0.9, 0.99),
            copying: chance.between(0.04, 0.18),
            launch: chance.magnitude(3e-7, 6e-6),
            addresses: chance.between(0.02, 0.3),
            narrow: 1.0,
            power: [chance.between(50.0, 130.0), chance.between(300.0, 1_000.0)],
            weights: std::array::from_fn(|i| {
                let [low, high] = [
                    [0.2, 0.35],
                    [0.4, 0.8],
                    [0.25, 0.5],
                    [0.4, 0.8],
                    [0.3, 0.6],
                    [0.2, 0.5],
                ][i];
                chance.between(low, high)
            }),
            clock: chance.between(1_400.0, 2_000.0),
            mib: chance.between(40_000.0, 190_000.0),
            noise: chance.between(0.004, 0.03),
            lag: chance.between(0.05, 0.4),
        }
    }

    /// A part of it, that shares nothing with the rest but power and the bus.
    pub(super) fn slice(&self, share: f64) -> Self {
        Self {
            tensor: self.tensor * share,
            double_tensor: self.double_tensor * share,
            fp64: self.fp64 * share,
            fp32: self.fp32 * share,
            integer: self.integer * share,
            memory: self.memory * share,
            // What slices tell each other goes by way of the host.
            link: self.bus * 0.5,
            mib: self.mib * share,
            power: [
                self.power[0],
                self.power[0] + (self.power[1] - self.power[0]) * share,
            ],
            ..self.clone()
        }
    }

    /// How long kernels take one after the other, and what they keep busy meanwhile, on the average.
    pub(super) fn run(&self, kernels: &[Kernel]) -> Stretch {
        let (mut seconds, mut sums) = (0.0, Load::REST);
        for kernel in kernels {
            let (took, load) = self.one(kernel);
            let gaps = kernel.launches * self.launch;
            sums.add(&load, took);
            // A launch is short: no sample ever finds the device without a kernel.
            sums.0[BUSY] += gaps * 0.5;
            seconds += took + gaps;
        }
        let mut load = Load::REST;
        load.add(&sums, 1.0 / seconds.max(1e-9));
        Stretch { seconds, load }
    }

    fn one(&self, k: &Kernel) -> (f64, Load) {
        let product = self.tensor * self.narrow;
        let fill = if k.fill > 0.0 { k.fill } else { self.fill };
        let times = [
            (TENSOR, k.tensor / product, self.products),
            (IMMA, k.integer_tensor / (self.tensor * 2.0), self.products),
            (DMMA, k.double_tensor / self.double_tensor, self.products.max(0.8)),
            (FP64, k.fp64 / self.fp64, 0.85),
            (FP32, k.fp32 / self.fp32, 0.85),
            (INTEGER, k.integer / self.integer, 0.85),
            (DRAM, k.bytes / self.memory, self.streams),
        ];
        // Few SMs draw less from memory and reach less of their pipes.
        let slowest = times.iter().map(|(_, t, reach)| t / reach).fold(1e-9, f64::max);
        let seconds = slowest / (fill / self.fill).min(1.0);
        let mut load = Load::REST.with(BUSY, 1.0).with(SM, fill);
        for (channel, time, _) in times {
            load.0[channel] = (time / seconds).min(1.0);
        }
        load.0[TENSOR] += load.0[IMMA] + load.0[DMMA];
        load.0[INTEGER] = (load.0[INTEGER] + self.addresses * fill).min(0.95);
        (seconds, load)
    }

    /// Power without noise, and the clock that keeps it below its limit. How much slower that makes the work is drawn already, in how much of
    /// a rate products reach.
    pub(super) fn power_and_clock(&self, load: &Load) -> [f64; 2] {
        let at = [SM, TENSOR, DRAM, FP64, FP32, INTEGER].map(|c| load.0[c]);
        let share: f64 = at.iter().zip(self.weights).map(|(s, w)| s * w).sum();
        let [rest, most] = self.power;
        let traffic = (load.0[TX] + load.0[RX]) / self.link.max(1.0) * 0.02;
        let awake = if load.0[BUSY] > 0.0 { 0.04 } else { 0.0 };
        let wanted = rest + (most - rest) * (share + traffic + awake);
        let held = (most / wanted).min(1.0).powf(0.4);
        [wanted.min(most), self.clock * held]
    }
}
