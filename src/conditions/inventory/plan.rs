//! Sampling plans: how many devices must be looked at to be sure enough that not too many are wrong.
//!
//! Decides: whether a sample that is drawn without replacement, and in which nothing is wrong, suffices. Trusts that every device was as likely
//! to be drawn as any other: how a sample was drawn is for whoever draws it again from its seed. All is decided in integers, exactly.

use crate::unit::Ppm;

/// Certainty, as the fixed point in which chances are counted.
const ONE: u128 = 1 << 64;

/// What a sample must find, and how surely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SamplePlan {
    /// How many devices there are.
    pub population: u64,
    /// The share of wrong devices that it must not miss.
    pub defect: Ppm,
    /// How sure it must be to find one of them.
    pub confidence: Ppm,
}

impl SamplePlan {
    /// How many devices are wrong where the share is just reached: a part of a device is a device, and where no share is allowed, one is too many.
    #[must_use]
    pub fn wrong(&self) -> u64 {
        let wrong = u128::from(self.population)
            .saturating_mul(self.defect.0.into())
            .div_ceil(1_000_000);
        u64::try_from(wrong).unwrap_or(u64::MAX).max(1)
    }

    /// Whether a sample of this size suffices in which nothing was found wrong: the chance that all wrong devices escape it is at most what the
    /// confidence leaves.
    #[must_use]
    pub fn suffices(&self, drawn: u64) -> bool {
        let mut chances = self.chances().take_while(|(n, _)| *n <= drawn);
        chances.any(|(n, escape)| self.is_enough(n, escape))
    }

    /// The least sample that suffices; `None` where no sample does.
    #[must_use]
    pub fn least(&self) -> Option<u64> {
        let mut chances = self.chances();
        chances
            .find(|(n, escape)| self.is_enough(*n, *escape))
            .map(|(n, _)| n)
    }

    /// How sure a sample of this size is to find one of the wrong devices, rounded down.
    #[must_use]
    pub fn sureness(&self, drawn: u64) -> Ppm {
        let last = self.chances().take_while(|(n, _)| *n <= drawn).last();
        let escape = last.map_or(ONE, |(_, chance)| chance);
        let found = ONE.saturating_sub(escape).saturating_mul(1_000_000) >> 64;
        Ppm(u32::try_from(found).unwrap_or(0))
    }

    /// Whether a chance is small enough by which all wrong devices escape a sample of `n`. It is rounded up by less than `n` parts; where these decide,
    /// it is counted again to the last digit.
    fn is_enough(&self, n: u64, escape: u128) -> bool {
        let left = u128::from(self.left()).saturating_mul(ONE);
        let most = escape.saturating_mul(1_000_000);
        let least = escape.saturating_sub(n.into()).saturating_mul(1_000_000);
        most <= left || (least <= left && self.is_exactly_enough(n))
    }

    /// What the confidence leaves, in millionths.
    fn left(&self) -> u32 {
        1_000_000u32.saturating_sub(self.confidence.0)
    }

    /// The same in whole numbers of any length: of `n` and the wrong devices the fewer are the factors, for the two may change places.
    fn is_exactly_enough(&self, n: u64) -> bool {
        let (few, many) = (n.min(self.wrong()), n.max(self.wrong()));
        let (mut escapes, mut all) = (Whole::from(1_000_000), Whole::from(u64::from(self.left())));
        for i in 0..few {
            let left = self.population.saturating_sub(i);
            escapes.multiply(left.saturating_sub(many));
            all.multiply(left);
        }
        escapes.is_at_most(&all)
    }

    /// Samples of one device, two and so on up to all, each with the chance that all wrong devices escape it, rounded up.
    ///
    /// The next device is a right one with a chance of `(population - wrong - n) / (population - n)`.
    fn chances(&self) -> impl Iterator<Item = (u64, u128)> {
        let (all, right) = (self.population, self.population.saturating_sub(self.wrong()));
        let mut chance = ONE;
        (0..all).map(move |n| {
            let (left, of) = (
                u128::from(right.saturating_sub(n)),
                u128::from(all.saturating_sub(n)),
            );
            // At most 2^64 times less than 2^64.
            chance = chance.saturating_mul(left).div_ceil(of.max(1));
            (n.saturating_add(1), chance)
        })
    }
}

/// A whole number of any length: digits of 64 bits, the lowest first, without zeros at its end.
struct Whole(Vec<u64>);

impl From<u64> for Whole {
    fn from(value: u64) -> Self {
        let mut one = Self(vec![1]);
        one.multiply(value);
        one
    }
}

impl Whole {
    fn multiply(&mut self, by: u64) {
        let mut carry = 0u128;
        for digit in &mut self.0 {
            // Two factors below 2^64 and a carry below 2^64 stay below 2^128.
            let sum = u128::from(*digit).saturating_mul(by.into()).saturating_add(carry);
            *digit = u64::try_from(sum & u128::from(u64::MAX)).unwrap_or(u64::MAX);
            carry = sum >> 64;
        }
        self.0.push(u64::try_from(carry).unwrap_or(u64::MAX));
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    fn is_at_most(&self, other: &Self) -> bool {
        let digits = |w: &Self| (w.0.len(), w.0.iter().rev().copied().collect::<Vec<_>>());
        digits(self) <= digits(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Population, share, confidence, size.
    const SIZES: &[(u64, u32, u32, u64)] = &[
        (4, 50_000, 950_000, 4),
        (20, 50_000, 950_000, 19),
        (100, 50_000, 950_000, 45),
        (128, 50_000, 950_000, 44),
        (1_024, 50_000, 950_000, 56),
        (2_048, 50_000, 950_000, 58),
        (1_024, 10_000, 990_000, 349),
        (1_024, 1_000, 950_000, 795),
        (5_000, 20_000, 900_000, 113),
        (1_024, 50_000, 999_000, 125),
    ];

    fn plan(population: u64, defect: u32, confidence: u32) -> SamplePlan {
        SamplePlan {
            population,
            defect: Ppm(defect),
            confidence: Ppm(confidence),
        }
    }

    /// Sizes that were computed elsewhere with fractions of any length: C(N - D, n) / C(N, n) <= 1 - confidence.
    #[test]
    fn the_least_sample_is_that_of_the_hypergeometric_distribution() {
        for (population, defect, confidence, least) in SIZES {
            let plan = plan(*population, *defect, *confidence);
            assert_eq!(plan.least(), Some(*least), "{plan:?}");
            assert!(plan.suffices(*least) && !plan.suffices(least - 1), "{plan:?}");
        }
    }

    #[test]
    fn a_sample_of_many_is_that_of_the_geometric_distribution() {
        // 0.95^58 is 0.0510, and 0.95^59 is 0.0485.
        let many = plan(100_000_000, 50_000, 950_000);
        assert_eq!(many.least(), Some(59));
        assert_eq!(
            (many.sureness(58), many.sureness(59)),
            (Ppm(948_953), Ppm(951_505))
        );
    }

    #[test]
    fn to_be_certain_takes_all_right_devices_and_one_more() {
        let certain = plan(100, 50_000, 1_000_000);
        assert_eq!(certain.least(), Some(96));
        assert_eq!(
            (certain.sureness(95) < Ppm::ONE, certain.sureness(96)),
            (true, Ppm::ONE)
        );
        // Where no wrong device is allowed, each must be looked at.
        assert_eq!(plan(100, 0, 1_000_000).least(), Some(100));
        assert_eq!(plan(4, 50_000, 950_000).least(), Some(4));
        assert_eq!(plan(0, 50_000, 950_000).least(), None);
    }
}
