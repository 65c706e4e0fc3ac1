//! What a device did from sample to sample: how its time falls into four states, and how often it turned from one to another.
//!
//! Decides: the state of each sample, by ratios alone. Tensor pipes or memory lead where they work three tenths as long as the SMs, and longer than
//! the other; else something else kept the SMs busy; and where the SMs worked less than a quarter of what they do in the busiest samples, the
//! device rested or waited for others. How even the starts of work are. Does not establish what the states are for: a rest may be a wait for data, for other devices or
//! for anybody to ask.
#![expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "signal arithmetic on f64, which saturates and never traps; counts are below a length that is checked"
)]

use super::row::{Row, mean, variation};
use super::series::{AT_REST, MAX_BURST};

/// Fewer samples than these have no composition.
const LEAST: usize = 5;

/// Fewer starts than these have no lengths between them to speak of.
const LEAST_STARTS: usize = 5;

/// Below the activity of the busiest samples lie so many in a hundred: a device may work now and then only.
const BUSIEST: usize = 98;

/// Of the SMs' activity in the busiest samples: less is a rest.
const LOW: f64 = 0.25;

/// Of the SMs' time: what leads works at least so long.
const LEADS: f64 = 0.3;

/// Samples farther apart than so many usual steps are no neighbours.
const MOST_STEPS: f64 = 3.0;

/// One sample: its time in milliseconds, and shares of SMs, tensor pipes and DRAM.
pub(super) type Sample = (f64, [f64; 3]);

/// What a sample shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Tensor,
    Memory,
    Other,
    Rest,
}

impl State {
    fn of([sm, tensor, dram]: [f64; 3], low: f64) -> Self {
        let least = sm * LEADS;
        if sm < low {
            Self::Rest
        } else if tensor >= least && tensor > dram {
            Self::Tensor
        } else if dram >= least {
            Self::Memory
        } else {
            Self::Other
        }
    }
}

/// How the samples of a window fall into states.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Phases {
    /// Share of the time in which tensor pipes led; the next three likewise.
    pub(super) tensor: Option<f64>,
    /// Memory.
    pub(super) memory: Option<f64>,
    /// Neither, though the SMs were busy.
    pub(super) other: Option<f64>,
    /// Nothing: a rest or a wait.
    pub(super) rest: Option<f64>,
    /// Turns from one state to another, for each sample that has one before it.
    pub(super) turns: Option<f64>,
    /// Standard deviation of the lengths between starts of work, of its sum with their mean: none where they are even, a half where they
    /// come at random, towards one where they come in crowds. `None` below five starts.
    pub(super) burstiness: Option<f64>,
}

impl Phases {
    /// Of the samples in order of time, each as long as the others.
    pub(super) fn of(samples: impl Iterator<Item = Sample> + Clone) -> Self {
        let samples = samples.take(MAX_BURST);
        let busy: Row<MAX_BURST> = samples.clone().map(|(_, [sm, ..])| sm).collect();
        let count = busy.len();
        let Some(upper) = busy.centile(BUSIEST).filter(|_| count >= LEAST) else {
            return Self::default();
        };
        let low = (upper * LOW).max(AT_REST);
        let states = || samples.clone().map(|(at, shares)| (at, State::of(shares, low)));
        let step = usual_step(samples.clone().map(|(at, _)| at));
        let share = |state| Some(states().filter(|(_, s)| *s == state).count() as f64 / count as f64);
        let pairs = || {
            states()
                .zip(states().skip(1))
                .filter(|((a, _), (b, _))| b - a <= step * MOST_STEPS)
        };
        let turns = mean(pairs().map(|((_, a), (_, b))| if a == b { 0.0 } else { 1.0 }));
        let starts = pairs().filter(|((_, a), (_, b))| *a == State::Rest && *b != State::Rest);
        let starts: Row<MAX_BURST> = starts.map(|(_, (at, _))| at).collect();
        Self {
            tensor: share(State::Tensor),
            memory: share(State::Memory),
            other: share(State::Other),
            rest: share(State::Rest),
            turns,
            burstiness: burstiness(starts.values()),
        }
    }
}

/// From sample to sample, the mean time.
fn usual_step(at: impl Iterator<Item = f64> + Clone) -> f64 {
    let steps = at.clone().skip(1).zip(at).map(|(b, a)| b - a);
    mean(steps).unwrap_or(0.0)
}

fn burstiness(starts: &[f64]) -> Option<f64> {
    if starts.len() < LEAST_STARTS {
        return None;
    }
    let lengths: Row<MAX_BURST> = starts
        .iter()
        .zip(starts.iter().skip(1))
        .map(|(a, b)| b - a)
        .collect();
    let spread = variation(lengths.values())?;
    Some(spread / (spread + 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MULTIPLIES: [f64; 3] = [0.9, 0.6, 0.3];
    const READS: [f64; 3] = [0.8, 0.05, 0.7];
    const RESTS: [f64; 3] = [0.01, 0.0, 0.0];

    fn of(shares: impl Fn(u32) -> [f64; 3] + Clone) -> Phases {
        Phases::of((0..300u32).map(move |i| (f64::from(i) * 200.0, shares(i))))
    }

    #[test]
    fn two_states_in_turn_share_the_time_and_turn_every_time() {
        let turns = of(|i| if i % 2 == 0 { MULTIPLIES } else { READS });
        assert_eq!(
            (turns.tensor, turns.memory, turns.turns),
            (Some(0.5), Some(0.5), Some(1.0))
        );
        assert_eq!(
            (turns.other, turns.rest, turns.burstiness),
            (Some(0.0), Some(0.0), None)
        );
        // A prompt of a second, then four seconds of answer.
        let serves = of(|i| if i % 25 < 5 { MULTIPLIES } else { READS });
        assert_eq!((serves.tensor, serves.memory), (Some(0.2), Some(0.8)));
        assert!((serves.turns.unwrap() - 23.0 / 299.0).abs() < 1e-9, "{serves:?}");
        let steady = of(|_| [0.5, 0.02, 0.03]);
        assert_eq!((steady.other, steady.turns), (Some(1.0), Some(0.0)));
    }

    #[test]
    fn dilution_changes_nothing_and_what_rests_is_at_rest() {
        let tenth = |shares: [f64; 3]| shares.map(|s| s / 10.0);
        let full = of(|i| if i % 3 == 0 { RESTS } else { MULTIPLIES });
        let diluted = of(move |i| tenth(if i % 3 == 0 { RESTS } else { MULTIPLIES }));
        assert_eq!(full, diluted);
        assert_eq!(of(|_| [0.0; 3]).rest, Some(1.0));
    }

    #[test]
    fn starts_at_even_times_random_ones_and_crowds_come_apart() {
        let even = of(|i| if i % 10 < 4 { MULTIPLIES } else { RESTS });
        assert_eq!(even.burstiness, Some(0.0));
        let mut state = 3u32;
        let drawn: Vec<bool> = (0..300)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state >> 24 < 40
            })
            .collect();
        let random = of(|i| if drawn[i as usize] { READS } else { RESTS });
        assert!((0.35..0.6).contains(&random.burstiness.unwrap()), "{random:?}");
        let crowds = of(|i| if i % 100 < 12 && i % 2 == 1 { READS } else { RESTS });
        assert!(crowds.burstiness.unwrap() > 0.65, "{crowds:?}");
    }

    #[test]
    fn what_lies_on_two_sides_of_a_hole_is_no_turn() {
        let told = (0..20u32).map(|i| {
            let late = if i < 10 { 0.0 } else { 60_000.0 };
            (
                f64::from(i) * 200.0 + late,
                if i < 10 { MULTIPLIES } else { READS },
            )
        });
        assert_eq!(Phases::of(told).turns, Some(0.0));
        assert_eq!(
            Phases::of((0..4u32).map(|i| (f64::from(i), READS))),
            Phases::default()
        );
    }

    proptest! {
        #[test]
        fn any_samples_have_shares_in_range(told in proptest::collection::vec((0u32.., [0.0f64..5_000.0, 0.0..5_000.0, 0.0..5_000.0]), 0..100)) {
            let phases = Phases::of(told.iter().map(|(at, shares)| (f64::from(*at), *shares)));
            let all = [phases.tensor, phases.memory, phases.other, phases.rest, phases.turns, phases.burstiness];
            for share in all.into_iter().flatten() {
                prop_assert!((0.0..=1.0).contains(&share), "{phases:?}");
            }
            let sum: f64 = all.iter().take(4).flatten().sum();
            prop_assert!(told.len() < LEAST || (sum - 1.0).abs() < 1e-9, "{phases:?}");
        }
    }
}
