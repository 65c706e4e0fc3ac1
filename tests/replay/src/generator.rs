//! Synthetic loads: short tables of rows that repeat, made from a profile and a seed, read by sensors with
//! noise that does not repeat.
//!
//! Each stands for one kind of work as its telemetry looks from outside: what matters are the shapes (period,
//! symmetry, synchrony, which pipes), not any one machine. They serve tests and demonstrations; what a classifier is
//! worth is shown on recordings only.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "constants and small indices; casts of floats to integers saturate"
)]

use crate::identity::mix;
use crate::noise::Noise;
use crate::profile::Profile;
use crate::trace::{Level, Rates, Track, TrackBuilder};

/// NVML's clock event bit for an idle device.
pub(crate) const IDLE: u16 = 0x1;
/// NVML's clock event bit for the software power cap.
pub(crate) const POWER_CAP: u16 = 0x4;

/// The synthetic loads by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generator {
    /// Nothing runs.
    Idle,
    /// Data-parallel training: all GPUs step together, tensor pipes busy, then a symmetric burst on NVLink.
    Training,
    /// Serving: each GPU for itself, in irregular bursts, memory-bound, no NVLink.
    Inference,
    /// A constant full load of the tensor pipes.
    Burn,
    /// Double-precision simulation: no tensor pipes, steady exchange of halos.
    Hpc,
}

impl Generator {
    /// The generator of that name, if there is one.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "idle" => Self::Idle,
            "training" => Self::Training,
            "inference" => Self::Inference,
            "burn" => Self::Burn,
            "hpc" => Self::Hpc,
            _ => return None,
        })
    }

    /// What share of its active time a multiprocessor spends in the double-precision pipe.
    #[must_use]
    pub fn fp64_share(self) -> f64 {
        match self {
            Self::Hpc => 0.7,
            _ => 0.0,
        }
    }

    /// The track of the GPU of index `gpu`.
    #[must_use]
    pub fn track(self, profile: &Profile, seed: u64, gpu: u32) -> Track {
        let track = match self {
            Self::Idle => idle(profile, gpu),
            Self::Training => training(profile, seed, gpu),
            Self::Inference => inference(profile, seed, gpu),
            Self::Burn => burn(profile, gpu),
            Self::Hpc => hpc(profile, gpu),
        };
        track.sensed(Noise::of(seed, gpu))
    }
}

/// A phase of work: what is drawn and used while it lasts.
struct Phase {
    /// Power as a share of the limit.
    power: f64,
    /// Memory in use as a share of the whole.
    memory: f64,
    utilisation_pct: u8,
    clock_events: u16,
    rates: Rates,
}

impl Phase {
    fn level(&self, profile: &Profile, gpu: u32) -> Level {
        // Boards differ a little, always in the same way.
        let board = 1.0 + f64::from(gpu % 4) * 0.004;
        let power =
            (f64::from(profile.power_limit_w) * self.power * board).max(f64::from(profile.idle_w) * board);
        let heat = power / f64::from(profile.power_limit_w);
        Level {
            power_w: power as f32,
            memory_mib: (f64::from(profile.memory_mib) * self.memory) as u32,
            clock_events: self.clock_events,
            temperature_c: (28.0 + 36.0 * heat) as u8 + (gpu % 4) as u8,
            utilisation_pct: self.utilisation_pct,
            memory_utilisation_pct: (self.rates.dram * 100.0) as u8,
            ..Level::default()
        }
    }

    fn forever(&self, profile: &Profile, gpu: u32) -> Track {
        let mut track = TrackBuilder::default();
        track.push(0, self.level(profile, gpu), self.rates, None);
        track.end(60_000)
    }
}

fn idle(profile: &Profile, gpu: u32) -> Track {
    let rates = Rates {
        pcie_tx: 360e3,
        pcie_rx: 340e3,
        ..Rates::default()
    };
    Phase {
        power: 0.0,
        memory: 0.0,
        utilisation_pct: 0,
        clock_events: IDLE,
        rates,
    }
    .forever(profile, gpu)
}

fn burn(profile: &Profile, gpu: u32) -> Track {
    let rates = Rates {
        sm: 0.99,
        tensor: 0.92,
        dram: 0.3,
        pcie_tx: 2e6,
        pcie_rx: 2e6,
        ..Rates::default()
    };
    Phase {
        power: 0.985,
        memory: 0.9,
        utilisation_pct: 100,
        clock_events: POWER_CAP,
        rates,
    }
    .forever(profile, gpu)
}

/// Steps of 5 to 6 s, the same for all GPUs: compute, a burst of gradients, a pause for data.
fn training(profile: &Profile, seed: u64, gpu: u32) -> Track {
    let links = if profile.nvlinks > 0 { 1.0 } else { 0.0 };
    // What does not fit NVLink goes over PCIe.
    let burst = 60e9;
    let phases = [
        (
            4_300,
            Phase {
                power: 0.97,
                memory: 0.88,
                utilisation_pct: 100,
                clock_events: POWER_CAP,
                rates: Rates {
                    sm: 0.93,
                    tensor: 0.66,
                    dram: 0.42,
                    pcie_tx: 3e6,
                    pcie_rx: 9e6,
                    ..Rates::default()
                },
            },
        ),
        (
            1_000,
            Phase {
                power: 0.72,
                memory: 0.88,
                utilisation_pct: 100,
                clock_events: 0,
                rates: Rates {
                    sm: 0.62,
                    tensor: 0.05,
                    dram: 0.35,
                    pcie_tx: 3e6 + (1.0 - links) * 18e9,
                    pcie_rx: 4e6 + (1.0 - links) * 18e9,
                    nvlink_tx: links * burst * 1.01,
                    nvlink_rx: links * burst,
                },
            },
        ),
        (
            400,
            Phase {
                power: 0.5,
                memory: 0.88,
                utilisation_pct: 97,
                clock_events: 0,
                rates: Rates {
                    sm: 0.45,
                    tensor: 0.02,
                    dram: 0.5,
                    pcie_tx: 3e6,
                    pcie_rx: 60e6,
                    ..Rates::default()
                },
            },
        ),
    ];
    let mut track = TrackBuilder::default();
    let mut now = 0_u32;
    for step in 0..48_u64 {
        for (length, phase) in &phases {
            track.push(now, phase.level(profile, gpu), phase.rates, None);
            // Steps vary by up to 1 %, alike on every GPU: a collective waits for the slowest.
            now += length + (mix(seed, step, *length) % (u64::from(*length) / 100)) as u32;
        }
    }
    track.end(now)
}

/// Requests come when they come: bursts of 0.2 to 1.6 s of differing weight, each GPU its own.
fn inference(profile: &Profile, seed: u64, gpu: u32) -> Track {
    let mut track = TrackBuilder::default();
    let mut now = 0_u32;
    for burst in 0..240_u64 {
        let draw = mix(seed, u64::from(gpu) + 1, burst as u32);
        let weight = (draw % 1000) as f64 / 1000.0;
        let waits = draw.is_multiple_of(5);
        let phase = if waits {
            Phase {
                power: 0.19,
                memory: 0.82,
                utilisation_pct: 4,
                clock_events: 0,
                rates: Rates {
                    sm: 0.01,
                    pcie_tx: 1e6,
                    pcie_rx: 1e6,
                    ..Rates::default()
                },
            }
        } else {
            Phase {
                power: 0.32 + 0.26 * weight,
                memory: 0.82,
                utilisation_pct: 60 + (weight * 38.0) as u8,
                clock_events: 0,
                rates: Rates {
                    sm: 0.14 + 0.28 * weight,
                    tensor: 0.02 + 0.06 * weight,
                    dram: 0.30 + 0.40 * weight,
                    pcie_tx: 4e6 + 20e6 * weight,
                    pcie_rx: 6e6 + 10e6 * weight,
                    ..Rates::default()
                },
            }
        };
        track.push(now, phase.level(profile, gpu), phase.rates, None);
        now += 200 + ((draw >> 20) % if waits { 600 } else { 1400 }) as u32;
    }
    track.end(now)
}

/// A solver's sweeps of 1.5 s with an exchange of 0.2 s; double precision throughout.
fn hpc(profile: &Profile, gpu: u32) -> Track {
    let halo = if profile.nvlinks > 0 { 8e9 } else { 0.0 };
    let sweep = Phase {
        power: 0.82,
        memory: 0.6,
        utilisation_pct: 100,
        clock_events: 0,
        rates: Rates {
            sm: 0.88,
            dram: 0.62,
            pcie_tx: 2e6,
            pcie_rx: 2e6,
            ..Rates::default()
        },
    };
    let exchange = Phase {
        power: 0.55,
        memory: 0.6,
        utilisation_pct: 100,
        clock_events: 0,
        rates: Rates {
            sm: 0.3,
            dram: 0.3,
            nvlink_tx: halo,
            nvlink_rx: halo,
            pcie_tx: 5e6,
            pcie_rx: 5e6,
            ..Rates::default()
        },
    };
    let mut track = TrackBuilder::default();
    track.push(0, sweep.level(profile, gpu), sweep.rates, None);
    track.push(1_500, exchange.level(profile, gpu), exchange.rates, None);
    track.end(1_700)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::ProfileName;

    fn mean_over(track: &Track, from: f64, to: f64) -> (f64, f64, f64) {
        let span = track.at(to).1.since(track.at(from).1);
        let seconds = to - from;
        (
            span.energy_mj / 1000.0 / seconds,
            span.tensor_s / seconds,
            span.nvlink_tx / seconds,
        )
    }

    #[test]
    fn each_load_has_its_shape() {
        let h100 = ProfileName::H100.profile();
        let of = |generator: Generator, gpu| generator.track(h100, 7, gpu);
        let (watts, tensor, nvlink) = mean_over(&of(Generator::Idle, 0), 0.0, 600.0);
        assert!((watts - 70.0).abs() < 1.0 && tensor == 0.0 && nvlink == 0.0);
        let (watts, tensor, nvlink) = mean_over(&of(Generator::Training, 0), 0.0, 600.0);
        assert!(
            watts > 560.0 && tensor > 0.4 && nvlink > 5e9,
            "{watts} {tensor} {nvlink}"
        );
        let (watts, tensor, nvlink) = mean_over(&of(Generator::Inference, 0), 0.0, 600.0);
        assert!(
            (200.0..450.0).contains(&watts) && tensor < 0.1 && nvlink == 0.0,
            "{watts} {tensor} {nvlink}"
        );
        let (watts, tensor, _) = mean_over(&of(Generator::Burn, 0), 0.0, 600.0);
        assert!(watts > 680.0 && tensor > 0.9);
        let (_, tensor, _) = mean_over(&of(Generator::Hpc, 0), 0.0, 600.0);
        assert!(tensor == 0.0 && Generator::Hpc.fp64_share() > 0.5);
    }

    #[test]
    fn training_steps_together_and_serving_does_not() {
        let h100 = ProfileName::H100.profile();
        let busy = |track: &Track, step: u32| track.at(f64::from(step) * 0.25).0.power_w > 300.0;
        let alike = |generator: Generator| {
            let (one, two) = (generator.track(h100, 7, 0), generator.track(h100, 7, 1));
            (0..800)
                .filter(|step| busy(&one, *step) == busy(&two, *step))
                .count()
        };
        assert_eq!(alike(Generator::Training), 800);
        assert!(
            alike(Generator::Inference) < 720,
            "{}",
            alike(Generator::Inference)
        );
    }
}
