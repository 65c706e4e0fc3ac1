//! Chance that can be repeated: a run prints its seed, and `WEIGHBRIDGE_TEST_SEED` gives it back.

use std::ops::Range;
use std::time::Duration;
use weighbridge::crypto::Entropy;

/// A sequence of random numbers (SplitMix64): for choosing moments, not for keys.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// A new sequence for a test called `what`.
    ///
    /// # Panics
    /// Where the system has no random bytes, or the seed given is not a number.
    #[must_use]
    pub fn new(what: &str) -> Self {
        let seed = std::env::var("WEIGHBRIDGE_TEST_SEED").map_or_else(
            |_| u64::from_be_bytes(Entropy::system().draw().unwrap()),
            |text| text.parse().expect("WEIGHBRIDGE_TEST_SEED is a number"),
        );
        println!("{what}: WEIGHBRIDGE_TEST_SEED={seed}");
        Self(seed)
    }

    /// The sequence of a seed that is always the same.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// A number within `range`.
    pub fn within(&mut self, range: Range<u64>) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        range.start + (z ^ (z >> 31)) % (range.end - range.start)
    }

    /// A number of at least `low` and less than `high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.within(0..1 << 53) as f64 / (1u64 << 53) as f64
    }

    /// The same, with as many between one and two as between two and four.
    pub fn magnitude(&mut self, low: f64, high: f64) -> f64 {
        self.between(low.ln(), high.ln()).exp()
    }

    /// How long until something that comes by chance, every `mean` on the average.
    pub fn wait(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.between(0.0, 1.0)).ln()
    }

    /// A number around nought with standard deviation one, nearly normal: the sum of twelve, less six.
    pub fn noise(&mut self) -> f64 {
        (0..12).map(|_| self.between(0.0, 1.0)).sum::<f64>() - 6.0
    }

    /// A time within `range`, in milliseconds.
    pub fn millis(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.within(range))
    }
}
