//! The noise of sensors on a synthetic load: no two moments read alike, and no round of a load repeats the one before.
//!
//! It decides how far a reading strays from what the load does, from a seed and from what was counted since the play began. A
//! counter is shown with a small deviation that wanders between bounds, and the reading that belongs to it with the slope of that
//! deviation: so energy remains the exact integral of the power shown, and what is not counted, such as the activity of an idle
//! device, shows no noise at all. Recordings bring their own.
#![expect(
    clippy::as_conversions,
    reason = "floating point over counters of a play; casts of floats to integers saturate"
)]

use crate::identity::mix;

/// What is counted, each with its own noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// Energy, mJ.
    Energy,
    /// Seconds of multiprocessor activity.
    Sm,
    /// Seconds of tensor activity.
    Tensor,
    /// Seconds of full memory bandwidth.
    Dram,
    /// Seconds since the play began, for what drifts by itself.
    Time,
}

/// Noise of one GPU.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Noise {
    seed: u64,
}

/// Between two knots of each layer a reading keeps its deviation: a tenth of a second, a second and ten of an idle device, less
/// of one that works. None divides a second, so that a sampler at whole seconds meets them at ever different places.
const LAYERS: [f64; 3] = [0.103_7, 1.061_3, 9.733_9];

impl Noise {
    /// The noise of the GPU of index `gpu`.
    pub(crate) fn of(seed: u64, gpu: u32) -> Self {
        Self {
            seed: mix(seed, 0x6e6f_6973, gpu),
        }
    }

    /// How far a counter that has reached `total` is shown from it, and the share by which its rate strays there.
    pub(crate) fn stray(self, counted: Counted, total: f64) -> (f64, f64) {
        // What an idle device draws in a second, or what a busy pipe counts in one; and the most by which one layer bends a rate.
        // A busy multiprocessor must not seem busier than all.
        let (second, most) = match counted {
            Counted::Energy => (70_000.0, 0.008),
            Counted::Sm => (0.5, 0.002_2),
            Counted::Tensor | Counted::Dram => (0.3, 0.004),
            Counted::Time => return (0.0, 0.0),
        };
        LAYERS
            .iter()
            .zip(0_u64..)
            .fold((0.0, 0.0), |sum, (length, layer)| {
                let length = length * second;
                let (from, to, share) = self.knots(counted, layer, total / length);
                let bend = (to - from) * most;
                (sum.0 + (from * most + bend * share) * length, sum.1 + bend)
            })
    }

    /// What wanders between minus and plus one, within some twenty seconds.
    pub(crate) fn drift(self, at_s: f64) -> f64 {
        let (from, to, share) = self.knots(Counted::Time, 0, at_s / 17.3);
        2.0 * (from + (to - from) * share)
    }

    /// The values of the knots around `place`, from minus to plus a half, and the share of the way between them.
    fn knots(self, counted: Counted, layer: u64, place: f64) -> (f64, f64, f64) {
        let knot = place.floor();
        let value = |knot: f64| {
            // Nothing counted, nothing strays.
            if knot < 1.0 {
                return 0.0;
            }
            let salt = (counted as u64) << 8 | layer;
            let drawn = mix(self.seed ^ (knot as u64), salt, 0);
            (drawn >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
        };
        (value(knot), value(knot + 1.0), place - knot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_strays_little_and_its_integral_is_what_the_counter_shows() {
        let noise = Noise::of(7, 3);
        let (mut sum, mut before) = (0.0, noise.stray(Counted::Energy, 0.0).0);
        let first = before;
        let mut largest = 0.0_f64;
        for i in 0..200_000_u32 {
            let (_, slope) = noise.stray(Counted::Energy, f64::from(i) * 100.0 + 50.0);
            let shown = noise.stray(Counted::Energy, f64::from(i + 1) * 100.0).0;
            largest = largest.max(slope.abs());
            sum += slope * 100.0;
            // A knot may fall between: then the middle stands for both sides.
            assert!((shown - before - slope * 100.0).abs() < 2.5);
            before = shown;
        }
        assert!((sum - (before - first)).abs() < 200.0, "{sum}");
        assert!((0.005..0.024).contains(&largest), "{largest}");
    }

    #[test]
    fn devices_and_seeds_differ_and_nothing_counted_shows_nothing() {
        let of = |seed, gpu| Noise::of(seed, gpu).stray(Counted::Sm, 5.0);
        assert_eq!(of(1, 0), of(1, 0));
        assert_ne!(of(1, 0), of(1, 1));
        assert_ne!(of(1, 0), of(2, 0));
        assert!(Noise::of(1, 0).stray(Counted::Sm, 0.0).0.abs() < 1e-12);
    }
}
