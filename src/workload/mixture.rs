//! How steady the mixture of work is: whether a device does the same thing at every point, or turns from one to another.
//!
//! Decides: the spread of the ratios of pipes over the points of a series, weighed by how much was done at each. A step of training is
//! the same from step to step, and diluted or paused it is still the same mixture; serving turns between prompts, which multiply, and
//! answers, which read memory. Does not establish what the work is: a batch of one size is as steady, and training that takes turns with
//! something else is not.

use super::series::{AT_REST, Shares};

/// Fewer points that worked than these have no spread.
const LEAST: f64 = 5.0;

/// A mean ratio below this has no spread to speak of: it is added to the mean, so that noise over nothing is none.
const FLOOR: f64 = 0.02;

/// Spreads over the points of a series.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Mixture {
    /// Of tensor activity for each SM activity.
    pub(super) tensor: Option<f64>,
    /// Of DRAM activity for each SM activity.
    pub(super) dram: Option<f64>,
    /// Of SM activity.
    pub(super) sm: Option<f64>,
    /// Share of points that did not work.
    pub(super) resting: Option<f64>,
}

/// Sums for one weighted spread.
#[derive(Clone, Copy, Debug, Default)]
struct Spread {
    count: f64,
    weight: f64,
    first: f64,
    second: f64,
}

impl Spread {
    fn add(&mut self, value: f64, weight: f64) {
        self.count += 1.0;
        self.weight += weight;
        self.first += value * weight;
        self.second += value * value * weight;
    }

    /// Standard deviation, of the mean.
    fn of_mean(&self) -> Option<f64> {
        if self.count < LEAST || self.weight <= 0.0 {
            return None;
        }
        let mean = self.first / self.weight;
        let variance = (self.second / self.weight - mean * mean).max(0.0);
        Some(variance.sqrt() / (mean + FLOOR))
    }
}

impl Mixture {
    /// Of the shares at each point; points without SM activity say nothing.
    pub(super) fn of(points: impl Iterator<Item = Shares>) -> Self {
        let (mut tensor, mut dram, mut busy) = (Spread::default(), Spread::default(), Spread::default());
        let (mut told, mut rested) = (0.0, 0.0);
        for [sm, on_tensor, on_dram, ..] in points {
            let Some(sm) = sm else { continue };
            told += 1.0;
            if sm < AT_REST {
                rested += 1.0;
                continue;
            }
            busy.add(sm, 1.0);
            for (spread, share) in [(&mut tensor, on_tensor), (&mut dram, on_dram)] {
                if let Some(share) = share {
                    spread.add(share / sm, sm);
                }
            }
        }
        Self {
            tensor: tensor.of_mean(),
            dram: dram.of_mean(),
            sm: busy.of_mean(),
            resting: (told > 0.0).then(|| rested / told),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(sm: f64, tensor: f64) -> Shares {
        [Some(sm), Some(tensor), Some(sm * 0.4), None, None, None]
    }

    #[test]
    fn one_thing_diluted_is_steady_and_two_in_turn_are_not() {
        let diluted =
            Mixture::of((0..20).map(|i| point([0.9, 0.2, 0.0, 0.5][i % 4], [0.45, 0.1, 0.0, 0.25][i % 4])));
        assert!(diluted.tensor.unwrap() < 0.001, "{diluted:?}");
        assert!(diluted.sm.unwrap() > 0.4);
        assert_eq!(diluted.resting, Some(0.25));
        let turns = Mixture::of((0..20).map(|i| point(0.8, if i % 2 == 0 { 0.6 } else { 0.05 })));
        assert!(turns.tensor.unwrap() > 0.5, "{turns:?}");
        assert!(turns.dram.unwrap() < 0.001);
    }

    #[test]
    fn what_is_not_told_is_missing_and_no_zero() {
        let nothing = Mixture::of((0..20).map(|_| [None; 6]));
        assert_eq!(nothing, Mixture::default());
        let few = Mixture::of((0..4).map(|_| point(0.8, 0.4)));
        assert_eq!((few.tensor, few.resting), (None, Some(0.0)));
    }
}
