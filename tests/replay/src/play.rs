//! A play: a scenario with its trace loaded, asked for what a GPU shows at a moment.
//!
//! It decides every number that the exported functions hand out, from the scenario and the time alone. It holds
//! nothing that changes, so any thread may ask.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "floating point over tracks checked when they were built; casts of floats to integers saturate"
)]

use crate::evidence::{Evidence, EvidenceError};
use crate::fault;
use crate::generator::{IDLE, POWER_CAP};
use crate::identity::{Identity, identities, mix};
use crate::pipes::Pipes;
use crate::profile::{MIG_INSTANCES, Profile};
use crate::recording::{self, TraceError};
use crate::scenario::{Scenario, TraceSource};
use crate::trace::{Level, Totals, Track};

/// From one SM clock to the next, as drivers set them.
const CLOCK_STEP_MHZ: u32 = 15;

/// Hertz in a megahertz.
const HZ: f64 = 1e6;

/// A scenario, ready to be played.
#[derive(Debug)]
pub struct Play {
    /// What was asked for.
    pub scenario: Scenario,
    /// The device played.
    pub profile: &'static Profile,
    /// The GPUs, by index.
    pub identities: Vec<Identity>,
    /// What the GPUs sign; none where confidential computing is off.
    pub evidence: Option<Evidence>,
    tracks: Vec<Track>,
    fp64_share: f64,
}

/// Why a scenario that can be read cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    /// Its recording.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// Its evidence.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
}

impl Play {
    /// Loads the trace and the evidence of a scenario.
    ///
    /// # Errors
    /// When the recording or a file of evidence that it names cannot be read.
    pub fn open(scenario: Scenario) -> Result<Self, PlayError> {
        let profile = scenario.profile.profile();
        let (tracks, fp64_share) = match &scenario.trace {
            TraceSource::Recorded(path) => (recording::read(path)?, 0.0),
            TraceSource::Synthetic(generator) => {
                let seed = scenario.seed.unwrap_or_default();
                let tracks = (0..scenario.gpus)
                    .map(|gpu| generator.track(profile, seed, gpu))
                    .collect();
                (tracks, generator.fp64_share())
            }
        };
        let evidence = match &scenario.evidence {
            Some(source) => Some(Evidence::open(source, scenario.gpus)?),
            None => None,
        };
        let mut identities = identities(&scenario);
        for (identity, attester) in identities
            .iter_mut()
            .zip(evidence.iter().flat_map(|e| &e.attesters))
        {
            identity.pdi = attester.pdi();
        }
        let mut play = Self {
            profile,
            identities,
            evidence,
            tracks: Vec::new(),
            fp64_share,
            scenario,
        };
        let mut tracks = tracks;
        if play.scenario.gpm_counters && play.scenario.clock_series.is_empty() {
            for track in &mut tracks {
                track.count(|level| f64::from(play.sm_clock_mhz(level, 0.0)) * HZ, fp64_share);
            }
        }
        play.tracks = tracks;
        Ok(play)
    }

    /// What GPU `gpu` shows at `now_s`, and its integrals since the trace began.
    #[must_use]
    pub fn at(&self, gpu: u32, now_s: f64) -> (Level, Totals) {
        self.track(gpu)
            .map(|track| track.at(now_s + self.scenario.trace_offset_s))
            .unwrap_or_default()
    }

    /// A recording of fewer GPUs than the scenario has is shared among them.
    fn track(&self, gpu: u32) -> Option<&Track> {
        let place = usize::try_from(gpu).unwrap_or_default() % self.tracks.len().max(1);
        self.tracks.get(place)
    }

    /// For how many seconds each pipe of GPU `gpu` was busy since the trace began.
    #[must_use]
    pub fn busy(&self, gpu: u32, now_s: f64) -> Pipes {
        self.track(gpu)
            .map(|track| track.busy_at(now_s + self.scenario.trace_offset_s, self.fp64_share))
            .unwrap_or_default()
    }

    /// Cycles of one multiprocessor of GPU `gpu` since its last reboot: those that passed, and those in which each pipe was
    /// busy. They begin from zero when a fault resets the GPU.
    #[must_use]
    pub fn cycles(&self, gpu: u32, now_s: f64) -> Pipes {
        let reached = self.counted(gpu, now_s);
        match fault::last_reset(&self.scenario.faults, gpu, now_s) {
            Some(reset_s) => reached.since(self.counted(gpu, reset_s)),
            None => {
                let seed = self.scenario.seed.unwrap_or_default();
                let elapsed = 1e13 + (mix(seed, 6, gpu) % 100_000_000_000_000) as f64;
                let since = reached.since(self.counted(gpu, 0.0));
                since.plus(Pipes::busy(elapsed, elapsed * 0.5, elapsed * 0.2, [None; 7], 0.1))
            }
        }
    }

    /// Cycles since the trace began.
    fn counted(&self, gpu: u32, now_s: f64) -> Pipes {
        if self.scenario.clock_series.is_empty() {
            let at_s = now_s + self.scenario.trace_offset_s;
            return self
                .track(gpu)
                .map(|track| track.cycles_at(at_s))
                .unwrap_or_default();
        }
        let series = &self.scenario.clock_series;
        let ends = series
            .iter()
            .skip(1)
            .map(|(at_s, _)| *at_s)
            .chain([f64::INFINITY]);
        let mut sum = Pipes::default();
        let mut before = self.busy(gpu, 0.0);
        for ((_, mhz), end) in series.iter().zip(ends) {
            let reached = self.busy(gpu, end.min(now_s));
            sum = sum.plus(reached.since(before).times(f64::from(*mhz) * HZ));
            before = reached;
            if end >= now_s {
                break;
            }
        }
        sum
    }

    /// The cumulative counters of GPU `gpu` as its driver would give them: they begin somewhere, grow, and begin from
    /// zero when a fault resets the GPU.
    #[must_use]
    pub fn counters(&self, gpu: u32, now_s: f64) -> Totals {
        let reached = self.at(gpu, now_s).1;
        match fault::last_reset(&self.scenario.faults, gpu, now_s) {
            Some(reset_s) => reached.since(self.at(gpu, reset_s).1),
            None => reached.since(self.at(gpu, 0.0).1).plus(self.before(gpu)),
        }
    }

    /// Power in mW: the mean of the second before `now_s`.
    #[must_use]
    pub fn average_power_mw(&self, gpu: u32, now_s: f64) -> u32 {
        let (level, reached) = self.at(gpu, now_s);
        if now_s + self.scenario.trace_offset_s < 1.0 {
            return milliwatts(level);
        }
        (reached.energy_mj - self.at(gpu, now_s - 1.0).1.energy_mj) as u32
    }

    /// The SM clock in MHz at `now_s`, while `level` holds: the scenario's, else the trace's own, else the profile's.
    #[must_use]
    pub fn sm_clock_mhz(&self, level: Level, now_s: f64) -> u32 {
        if let Some(fixed) = self.scenario.sm_clock_mhz {
            return fixed;
        }
        let series = &self.scenario.clock_series;
        let begun = series.partition_point(|(at_s, _)| *at_s <= now_s);
        if let Some((_, mhz)) = series.get(begun.saturating_sub(1)) {
            return *mhz;
        }
        match level.sm_clock_mhz {
            0 if level.clock_events & IDLE != 0 => self.profile.sm_idle_mhz,
            // Whose power is capped runs below its highest clock, by one of the driver's steps at least.
            0 if level.clock_events & POWER_CAP != 0 => {
                self.profile.sm_max_mhz.saturating_sub(CLOCK_STEP_MHZ)
            }
            0 => self.profile.sm_max_mhz,
            recorded => u32::from(recorded),
        }
    }

    /// The memory clock in MHz while `level` holds.
    #[must_use]
    pub fn memory_clock_mhz(&self, level: Level) -> u32 {
        match level.memory_clock_mhz {
            0 => self.profile.memory_mhz,
            recorded => u32::from(recorded),
        }
    }

    /// The driver version that is reported.
    #[must_use]
    pub fn driver_version(&self) -> &str {
        self.scenario
            .driver_version
            .as_deref()
            .unwrap_or(self.profile.driver_version)
    }

    /// MIG instances of each GPU.
    #[must_use]
    pub fn mig_instances(&self) -> u32 {
        if self.profile.mig_enabled {
            MIG_INSTANCES
        } else {
            0
        }
    }

    /// What the counters held before the play began: a driver was loaded long before.
    fn before(&self, gpu: u32) -> Totals {
        let seed = self.scenario.seed.unwrap_or_default();
        let part = |salt: u64, most: u64| (mix(seed, salt, gpu) % most) as f64;
        Totals {
            energy_mj: 1e8 + part(1, 1_000_000_000),
            pcie_tx: part(2, 1 << 40),
            pcie_rx: part(3, 1 << 40),
            nvlink_tx: part(4, 1 << 44),
            nvlink_rx: part(5, 1 << 44),
            ..Totals::default()
        }
    }
}

/// The power of a level, in mW.
#[must_use]
pub fn milliwatts(level: Level) -> u32 {
    (level.power_w * 1000.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn play(text: &str) -> Play {
        Play::open(Scenario::parse(text, Path::new("."), "node").unwrap()).unwrap()
    }

    #[test]
    fn counters_grow_until_a_reset_and_begin_from_zero() {
        let play =
            play("profile = 'H100'\ngpus = 2\ntrace = 'burn'\n[[fault]]\nat_s = 10\ngpu = 1\nkind = 'reset'");
        let before = play.counters(1, 9.9).energy_mj;
        let after = play.counters(1, 11.0).energy_mj;
        assert!(
            before > 1e8 && (after - 689_500.0 * 1.004).abs() < 7_000.0,
            "{before} {after}"
        );
        assert!(play.counters(0, 11.0).energy_mj > play.counters(0, 9.9).energy_mj);
    }

    #[test]
    fn an_offset_moves_the_play_and_not_the_counter() {
        let moved = play("profile = 'H100'\ntrace = 'training'\nseed = 1\ntrace_offset_s = 4.5");
        let plain = play("profile = 'H100'\ntrace = 'training'\nseed = 1");
        assert!((moved.counters(0, 0.0).energy_mj - plain.counters(0, 0.0).energy_mj).abs() < 1.0);
        assert_eq!(moved.at(0, 0.0).0, plain.at(0, 4.5).0);
    }

    #[test]
    fn a_series_of_clocks_holds_from_entry_to_entry_and_its_cycles_are_the_integral() {
        let play = play(
            "profile = 'H100'\ntrace = 'burn'\ngpm_counters = true\nclock_series = [[0, 1000], [10, 1500]]",
        );
        let clock = |now_s| play.sm_clock_mhz(play.at(0, now_s).0, now_s);
        assert_eq!((clock(0.0), clock(9.9), clock(10.0)), (1_000, 1_000, 1_500));
        let passed = play.cycles(0, 14.0).since(play.cycles(0, 2.0));
        assert!((passed.elapsed - 14e9).abs() < 1e3, "{passed:?}");
        assert!((passed.hmma - 0.92 * 14e9).abs() < 14e7, "{passed:?}");
    }

    #[test]
    fn no_round_of_a_load_repeats_the_one_before_and_energy_is_the_integral_of_the_power_shown() {
        for load in ["idle", "training", "inference", "burn", "hpc"] {
            let play = play(&format!("profile = 'H100'\ngpus = 2\ntrace = '{load}'\nseed = 3"));
            let round_s = play.tracks[0].length_s();
            let shown = |gpu, second| milliwatts(play.at(gpu, second).0);
            let repeated = (0..100).filter(|i| {
                let at = f64::from(*i) * 0.97;
                shown(0, at) == shown(0, at + round_s) || shown(0, at) == shown(1, at)
            });
            assert!(repeated.count() < 3, "{load}");
            let (from, steps) = (20.0, 40_000_u32);
            let sum: f64 = (0..steps)
                .map(|i| f64::from(play.at(0, from + (f64::from(i) + 0.5) / 1_000.0).0.power_w))
                .sum();
            let to = from + f64::from(steps) / 1_000.0;
            let counted = play.at(0, to).1.energy_mj - play.at(0, from).1.energy_mj;
            assert!(
                (sum - counted).abs() < counted * 1e-4,
                "{load}: {sum} and {counted}"
            );
            let busy = play.at(0, 50.0).1.sm_s;
            assert_eq!(busy == 0.0, load == "idle");
        }
    }

    #[test]
    fn power_is_the_mean_of_the_last_second() {
        let play = play("profile = 'H100'\ntrace = 'training'");
        let mean = play.average_power_mw(0, 4.85);
        assert!((503_000..679_000).contains(&mean), "{mean}");
        assert!(play.average_power_mw(0, 3.0).abs_diff(679_000) < 7_000);
    }
}
