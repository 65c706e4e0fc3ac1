//! Whether a series repeats itself, and how fast.
//!
//! Decides: `rhythm`, by the difference function of de Cheveigné and Kawahara (YIN, 2002) where a series is even, and by the normalised
//! periodogram of Lomb (1976) and Scargle (1982) where too much of it is missing: glued together, a series with holes has rhythms of its own.
//! Beside them the peak of the autocorrelation, on which rows of the tables rest. Does not establish what repeats: a step of training, a loop
//! over files and a poll of a queue are all rhythms, and power at its limit has that of the limiter: about a second on an H200.
//!
//! Noise has some rhythm too, the more the shorter it is: by YIN 0.14 of 600 values and 0.27 of 60, by the periodogram 0.02 and
//! 0.14 (means, which a test holds). A sum of a sine and noise has a rhythm of about the share of the sine in its variance. The periodogram
//! takes the share of the fundamental alone: pulses that are short against their period have little of it.
//!
//! YIN costs a product for each lag and each of two thirds of the values, at most a quarter of a million; the periodogram ten operations for each
//! value and each of at most 512 frequencies, some five million, and it is taken only where a series has holes.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "signal arithmetic on f64, which saturates and never traps; lags and places are below a length that is checked"
)]

use super::row::{Row, mean};

/// Lags of a period, in points: from two, because neighbouring points are alike in any slow series.
const LEAST_LAG: usize = 2;

/// A dip below this is deep enough for YIN not to look at longer lags; 0.1 is what the paper takes.
const DEEP: f64 = 0.1;

/// With a greater share of its values missing a series is not even.
const MOST_MISSING: f64 = 0.05;

/// A step that is off by more than this share of one, whole steps aside, is uneven; with a greater share of such steps than may be missing, a
/// series is.
const MOST_OFF: f64 = 0.25;

/// With a hole longer than so many steps it is not even.
const MOST_STEPS: f64 = 3.0;

/// The most frequencies that are looked at.
const MOST_FREQUENCIES: usize = 512;

/// Frequencies for each that a series of its length tells apart.
const OVERSAMPLED: f64 = 2.0;

/// Into how many parts the step of the grid is cut beside its best frequency.
const FINER: f64 = 8.0;

/// What repeats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rhythm {
    /// How much of the movement does, 0 to 1.
    pub(super) height: f64,
    /// After how long, in milliseconds; `None` where nothing does within a third of the series.
    pub(super) period_ms: Option<f64>,
}

/// Values, and when each was told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timed<const MOST: usize> {
    at_ms: Row<MOST>,
    values: Row<MOST>,
}

impl<const MOST: usize> FromIterator<(f64, f64)> for Timed<MOST> {
    fn from_iter<I: IntoIterator<Item = (f64, f64)>>(told: I) -> Self {
        let mut timed = Self::default();
        for (at_ms, value) in told {
            let later = timed.at_ms.values().last().is_none_or(|last| *last < at_ms);
            if later && at_ms.is_finite() && value.is_finite() {
                timed.at_ms.push(at_ms);
                timed.values.push(value);
            }
        }
        timed
    }
}

impl<const MOST: usize> Timed<MOST> {
    /// What was told, without when.
    pub(super) fn values(&self) -> &[f64] {
        self.values.values()
    }

    /// From value to value, the usual time.
    fn step_ms(&self) -> Option<f64> {
        self.steps().collect::<Row<MOST>>().centile(50)
    }

    fn steps(&self) -> impl Iterator<Item = f64> {
        let at = self.at_ms.values();
        at.iter().zip(at.iter().skip(1)).map(|(a, b)| b - a)
    }

    fn span_ms(&self) -> f64 {
        let at = self.at_ms.values();
        at.last()
            .zip(at.first())
            .map_or(0.0, |(last, first)| last - first)
    }

    fn is_even(&self, step_ms: f64) -> bool {
        let expected = self.span_ms() / step_ms + 1.0;
        let missing = 1.0 - self.values.len() as f64 / expected;
        let off = |step: &f64| (step / step_ms - (step / step_ms).round()).abs() > MOST_OFF;
        let uneven = self.steps().filter(off).count() as f64 / expected;
        let holed = self.steps().any(|step| step > MOST_STEPS * step_ms);
        missing <= MOST_MISSING && uneven <= MOST_MISSING && !holed
    }

    /// On a grid of even steps, not a number where nothing was told.
    fn on_grid(&self, step_ms: f64) -> Row<MOST> {
        let mut grid = Row::default();
        let steps = std::iter::once(step_ms).chain(self.steps());
        for (value, step) in self.values.values().iter().zip(steps) {
            // Counted from value to value, so that a clock that runs a little otherwise adds up to nothing.
            for _ in 1..((step / step_ms).round() as usize).min(MOST) {
                grid.push(f64::NAN);
            }
            grid.push(*value);
        }
        grid
    }

    /// What repeats in it; `None` where it is too short, or stands still.
    pub(super) fn rhythm(&self) -> Option<Rhythm> {
        let step_ms = self.step_ms().filter(|step| *step > 0.0)?;
        if self.values.len() / 3 <= LEAST_LAG {
            return None;
        }
        if !self.is_even(step_ms) {
            return self.periodogram(step_ms);
        }
        let grid = self.on_grid(step_ms);
        let each_ms = self.span_ms() / (grid.len().saturating_sub(1) as f64);
        yin(&grid).map(|(height, lag)| Rhythm {
            height,
            period_ms: lag.map(|lag| lag * each_ms),
        })
    }

    /// The highest of the normalised periodogram, of the most that it can be, (N − 1)/2; from a third of the series to two steps.
    fn periodogram(&self, step_ms: f64) -> Option<Rhythm> {
        let centre = mean(self.values.values().iter().copied())?;
        let energy: f64 = self
            .values
            .values()
            .iter()
            .map(|v| (v - centre) * (v - centre))
            .sum();
        let span = self.span_ms();
        let (lowest, highest) = (3.0 / span, 0.5 / step_ms);
        if !(energy > 0.0 && highest > lowest) {
            return None;
        }
        let begun = self.at_ms.get(0)?;
        let at = |first: f64, by: f64, count: usize| {
            let mut sums = [[0.0; 4]; MOST_FREQUENCIES];
            for (at, value) in self.at_ms.values().iter().zip(self.values.values()) {
                add_turns(&mut sums, at - begun, value - centre, first, by, count);
            }
            let powers = sums
                .iter()
                .take(count)
                .map(|s| power(s, self.values.len() as f64) / energy);
            let numbered = powers.enumerate().map(|(i, p)| (p, first + by * i as f64));
            numbered.fold((0.0, first), |best, one| if one.0 > best.0 { one } else { best })
        };
        let wanted = (highest - lowest) * span * OVERSAMPLED;
        let count = (wanted.ceil().clamp(2.0, MOST_FREQUENCIES as f64)) as usize;
        let by = (highest - lowest) / (count.saturating_sub(1) as f64);
        let coarse = at(lowest, by, count);
        let from = (coarse.1 - by).max(lowest);
        let fine = at(from, by / FINER, 2 * FINER as usize + 1);
        let (height, frequency) = if fine.0 > coarse.0 { fine } else { coarse };
        Some(Rhythm {
            height: height.clamp(0.0, 1.0),
            period_ms: Some(1.0 / frequency),
        })
    }
}

/// Adds a value to the sums of each frequency: with its cosine and sine, and those of the double angle.
fn add_turns(sums: &mut [[f64; 4]], at: f64, value: f64, first: f64, by: f64, count: usize) {
    let ((mut c, mut s), (turn_c, turn_s)) = (turned(first * at), turned(by * at));
    for [with_c, with_s, double_c, double_s] in sums.iter_mut().take(count) {
        *with_c += value * c;
        *with_s += value * s;
        *double_c += c * c - s * s;
        *double_s += 2.0 * s * c;
        (c, s) = (c * turn_c - s * turn_s, s * turn_c + c * turn_s);
    }
}

/// Twice the periodogram, by sums over a frequency, times the variance: tau is where cosine and sine are orthogonal over the times of the series.
fn power([with_c, with_s, double_c, double_s]: &[f64; 4], count: f64) -> f64 {
    let radius = (double_c * double_c + double_s * double_s).sqrt();
    let (c2, s2) = if radius > 0.0 {
        (double_c / radius, double_s / radius)
    } else {
        (1.0, 0.0)
    };
    let c = ((1.0 + c2) / 2.0).max(0.0).sqrt();
    let s = ((1.0 - c2) / 2.0).max(0.0).sqrt() * if s2 < 0.0 { -1.0 } else { 1.0 };
    let part = |sum: f64, norm: f64| {
        if norm > 1e-9 * count {
            sum * sum / norm
        } else {
            0.0
        }
    };
    part(with_c * c + with_s * s, (count + radius) / 2.0)
        + part(with_s * c - with_c * s, (count - radius) / 2.0)
}

/// Cosine and sine of so many turns, by polynomials over an eighth of a turn either way: within 1e-13 where there are less than a hundred
/// turns, and of the same bits on every machine.
fn turned(turns: f64) -> (f64, f64) {
    let quarters = (turns * 4.0).round();
    let x = (turns - quarters / 4.0) * std::f64::consts::TAU;
    let y = x * x;
    let sine = x
        * (1.0
            + y / -6.0
                * (1.0
                    + y / -20.0
                        * (1.0 + y / -42.0 * (1.0 + y / -72.0 * (1.0 + y / -110.0 * (1.0 + y / -156.0))))));
    let cosine = 1.0
        + y / -2.0
            * (1.0
                + y / -12.0
                    * (1.0
                        + y / -30.0
                            * (1.0
                                + y / -56.0 * (1.0 + y / -90.0 * (1.0 + y / -132.0 * (1.0 + y / -182.0))))));
    // A number of quarters that a whole cannot hold is cut, and what follows is in range all the same.
    match (quarters as i64).rem_euclid(4) {
        0 => (cosine, sine),
        1 => (-sine, cosine),
        2 => (-cosine, -sine),
        _ => (sine, -cosine),
    }
}

/// By YIN, how much of the movement repeats, and after how many points, up to a third of them.
fn yin<const MOST: usize>(grid: &Row<MOST>) -> Option<(f64, Option<f64>)> {
    let longest = grid.len() / 3;
    let values = grid.values();
    // Of every lag the same values, so that the ends of the series weigh alike.
    let first = values.get(..values.len() - longest)?;
    let difference = |lag: usize| {
        let pairs = first.iter().zip(values.iter().skip(lag)).map(|(a, b)| a - b);
        // Where one of the two was not told, nothing can be.
        mean(pairs.filter(|d| !d.is_nan()).map(|d| d * d))
    };
    let mut differences: Row<MOST> = std::iter::once(0.0).collect();
    // What a difference is multiplied by to be that of the mean of those up to its lag.
    let mut norms: Row<MOST> = std::iter::once(0.0).collect();
    let mut sum = 0.0;
    for lag in 1..=longest {
        let here = difference(lag)?;
        sum += here;
        differences.push(here);
        norms.push(if sum > 0.0 { lag as f64 / sum } else { 0.0 });
    }
    if sum <= 0.0 {
        return None;
    }
    let mut deepest: Option<(f64, f64)> = None;
    for lag in LEAST_LAG..longest {
        let around = [
            differences.get(lag - 1)?,
            differences.get(lag)?,
            differences.get(lag + 1)?,
        ];
        let [before, here, after] = around;
        if here > before || here > after {
            continue;
        }
        // Of the differences themselves, as the paper has it: their norm tilts the parabola.
        let (depth, at) = bottom(around, lag as f64);
        let dip = (depth * norms.get(lag)?, at);
        if deepest.is_none_or(|(depth, _)| dip.0 < depth) {
            deepest = Some(dip);
        }
        if dip.0 < DEEP {
            break;
        }
    }
    Some(match deepest {
        Some((depth, lag)) => ((1.0 - depth).clamp(0.0, 1.0), Some(lag)),
        None => (0.0, None),
    })
}

/// The lowest of the parabola through three neighbours, of which the middle one is lowest, and where it is.
fn bottom([before, here, after]: [f64; 3], lag: f64) -> (f64, f64) {
    let bend = before - 2.0 * here + after;
    if bend <= 0.0 {
        return (here, lag);
    }
    let tilt = before - after;
    (
        here - tilt * tilt / (8.0 * bend),
        lag + (tilt / (2.0 * bend)).clamp(-0.5, 0.5),
    )
}

/// The highest local peak of the normalised autocorrelation up to a third of the series, and its lag in points.
pub(super) fn autocorrelation_peak<const MOST: usize>(mut series: Row<MOST>) -> Option<(f64, usize)> {
    let longest = series.len() / 3;
    if longest <= LEAST_LAG {
        return None;
    }
    let centre = mean(series.values().iter().copied())?;
    for v in series.values_mut() {
        *v -= centre;
    }
    let centred = series.values();
    let energy: f64 = centred.iter().map(|v| v * v).sum();
    if energy <= 0.0 {
        return None;
    }
    let at = |lag: usize| -> f64 {
        let product: f64 = centred
            .iter()
            .zip(centred.iter().skip(lag))
            .map(|(a, b)| a * b)
            .sum();
        product / energy
    };
    let (mut before, mut here) = (at(LEAST_LAG - 1), at(LEAST_LAG));
    let mut highest: Option<(f64, usize)> = None;
    for lag in LEAST_LAG..=longest {
        let after = at(lag + 1);
        // Of peaks of one height the last counts.
        let peak = here >= before && here >= after;
        if peak && highest.is_none_or(|(h, _)| here.total_cmp(&h).is_ge()) {
            highest = Some((here, lag));
        }
        (before, here) = (here, after);
    }
    highest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Noise of a variance of one, the same at every run.
    struct Noise(u64);

    impl Noise {
        fn next(&mut self) -> f64 {
            let mut uniform = || {
                self.0 = self
                    .0
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (self.0 >> 11) as f64 / (1u64 << 53) as f64
            };
            (0..12).map(|_| uniform()).sum::<f64>() - 6.0
        }
    }

    fn sine(period: f64) -> impl Fn(f64) -> f64 {
        move |at| (at / period * std::f64::consts::TAU).sin()
    }

    /// A second of every four seconds is work.
    fn pulses(at: f64) -> f64 {
        if at.rem_euclid(4_000.0) < 1_000.0 {
            1.0
        } else {
            0.0
        }
    }

    fn burst(count: u32, of: impl Fn(f64) -> f64, noise: f64, kept: impl Fn(u32) -> bool) -> Rhythm {
        let mut chance = Noise(7);
        let told = (0..count).map(|i| {
            let at = f64::from(i) * 100.0;
            (i, at, of(at) + noise * chance.next())
        });
        let told = told.filter(|(i, ..)| kept(*i)).map(|(_, at, v)| (at, v));
        told.collect::<Timed<1_024>>().rhythm().unwrap()
    }

    #[test]
    fn a_sine_has_the_rhythm_that_its_share_of_the_variance_is() {
        for period in [730.0, 2_500.0, 9_910.0] {
            let clean = burst(600, sine(period), 0.0, |_| true);
            assert!(clean.height > 0.98, "{period}: {clean:?}");
            assert!(
                (clean.period_ms.unwrap() / period - 1.0).abs() < 0.01,
                "{period}: {clean:?}"
            );
            // Half as much noise as signal.
            let noisy = burst(600, sine(period), 0.5, |_| true);
            assert!((0.55..0.85).contains(&noisy.height), "{period}: {noisy:?}");
        }
        let train = burst(600, pulses, 0.05, |_| true);
        assert!(train.height > 0.9, "{train:?}");
        assert!((train.period_ms.unwrap() - 4_000.0).abs() < 50.0, "{train:?}");
    }

    #[test]
    fn a_series_with_holes_keeps_its_rhythm() {
        // Two holes of four and of seven seconds, which glued together would shift what follows.
        let holes = |i: u32| !(i.abs_diff(200) < 20 || i.abs_diff(415) < 35);
        let holed = burst(600, sine(2_310.0), 0.5, holes);
        assert!((0.55..0.8).contains(&holed.height), "{holed:?}");
        assert!((holed.period_ms.unwrap() - 2_310.0).abs() < 25.0, "{holed:?}");
        let drawn = burst(600, pulses, 0.1, |i| (i * 7 + i / 11) % 3 == 0);
        // Of the variance of such pulses 54 % is in their fundamental.
        assert!((0.45..0.6).contains(&drawn.height), "{drawn:?}");
        assert!((drawn.period_ms.unwrap() - 4_000.0).abs() < 60.0, "{drawn:?}");
        // One value in fifty is no hole: it is left out of every lag.
        let few = burst(600, sine(2_310.0), 0.0, |i| i % 50 != 3);
        assert!(
            few.height > 0.99 && (few.period_ms.unwrap() - 2_310.0).abs() < 10.0,
            "{few:?}"
        );
    }

    #[test]
    fn noise_has_little_rhythm_and_a_slope_has_none() {
        let mean_of = |count: usize, kept: fn(usize) -> bool| {
            let heights = (0..40).map(|seed| {
                let mut chance = Noise(seed * 977 + 1);
                let told = (0..count).map(|i| (i as f64, chance.next()));
                let told: Timed<1_024> = told.filter(|(at, _)| kept(*at as usize)).collect();
                told.rhythm().unwrap().height
            });
            heights.sum::<f64>() / 40.0
        };
        let every = |_| true;
        let two_of_three = |i: usize| i % 3 != 1;
        let found = [
            mean_of(600, every),
            mean_of(60, every),
            mean_of(900, two_of_three),
            mean_of(90, two_of_three),
        ];
        let about = [0.14, 0.27, 0.02, 0.14];
        for (found, about) in found.iter().zip(about) {
            assert!((found - about).abs() < 0.01, "{found} is not about {about}");
        }
        let slope = (0..60).map(|i| (f64::from(i) * 1e3, f64::from(i)));
        let none = Rhythm {
            height: 0.0,
            period_ms: None,
        };
        assert_eq!(slope.collect::<Timed<60>>().rhythm(), Some(none));
        let still = (0..60).map(|i| (f64::from(i) * 1e3, 5.0));
        assert_eq!(still.collect::<Timed<60>>().rhythm(), None);
        let still = (0..60).map(|i| (f64::from(i * i) * 1e3, 5.0));
        assert_eq!(still.collect::<Timed<60>>().rhythm(), None);
    }

    #[test]
    fn turns_are_cosines_and_sines() {
        for i in -4_000..4_000 {
            let turns = f64::from(i) * 0.013_7;
            let (c, s) = turned(turns);
            let angle = turns * std::f64::consts::TAU;
            assert!(
                (c - angle.cos()).abs() < 1e-12 && (s - angle.sin()).abs() < 1e-12,
                "{turns}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_series_has_a_rhythm_in_range_or_none(
            told in proptest::collection::vec((0u64..1 << 40, proptest::num::f64::ANY), 0..200),
            ordered: bool,
            steps in proptest::collection::vec(0u32..400, 0..200),
        ) {
            let mut told = told;
            if ordered {
                told.sort_by_key(|(at, _)| *at);
            }
            let any: Timed<128> = told.iter().map(|(at, v)| (*at as f64, v.clamp(-1e19, 1e19))).collect();
            let mut at = 0u64;
            let near: Timed<128> = told.iter().zip(steps).map(|((_, v), step)| {
                at += u64::from(step);
                (at as f64, v % 1e6)
            }).collect();
            for found in [any, near].iter().filter_map(Timed::rhythm) {
                prop_assert!((0.0..=1.0).contains(&found.height), "{found:?}");
                prop_assert!(found.period_ms.is_none_or(|p| p.is_finite() && p > 0.0), "{found:?}");
            }
        }
    }
}
