//! Quantities with their units, and intervals.
//!
//! Decides: how a quantity is held, added and written. Everything is an integer in a fixed unit, so that agent,
//! verifier and assessor compute the same bits. Does not establish where a value came from: that is a grade's part.

use serde::{Serialize, Serializer};

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// The sum, kept at the largest value instead of wrapping.
            #[must_use]
            pub fn plus(self, other: Self) -> Self {
                Self(self.0.saturating_add(other.0))
            }

            /// The difference, zero if `other` is larger.
            #[must_use]
            pub fn minus(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }
        }
    };
}

quantity! {
    /// Power in milliwatts.
    Milliwatts(u64)
}
quantity! {
    /// Energy in millijoules.
    Millijoules(u64)
}
quantity! {
    /// Total Processing Performance: operations per second in tera, times bit length (ECCN 3A090, technical note).
    Tpp(u64)
}
quantity! {
    /// Compute delivered, in millionths of a TPP-hour (one TPP-hour = 3.6e15 bit-operations).
    MicroTppHours(u128)
}
quantity! {
    /// A count of operations.
    Operations(u128)
}
quantity! {
    /// A share, in parts per million; 1,000,000 is the whole.
    Ppm(u32)
}

impl MicroTppHours {
    /// As bit-operations: one TPP-hour is 3.6e15 of them.
    #[must_use]
    pub fn bit_operations(self) -> u128 {
        self.0.saturating_mul(3_600_000_000)
    }

    /// Two bounds as shares of this, rounded outwards; any share where this is zero.
    #[must_use]
    pub fn shares(self, lower: Self, upper: Self) -> (Ppm, Ppm) {
        if self.0 == 0 {
            return (Ppm(0), Ppm::ONE);
        }
        let down = |part: Self| {
            let scaled = part.0.saturating_mul(1_000_000).checked_div(self.0);
            let scaled = scaled.and_then(|n| u32::try_from(n).ok());
            scaled.map_or(Ppm::ONE.0, |n| n.min(Ppm::ONE.0))
        };
        let rest = down(self.minus(upper));
        (Ppm(down(lower)), Ppm(Ppm::ONE.0.saturating_sub(rest)))
    }

    /// The operations on inputs of so many bits that these can be, rounded up; all that there can be where there are no bits.
    #[must_use]
    pub fn operations_at_most(self, bits: u64) -> u128 {
        match bits {
            0 => u128::MAX,
            bits => self.bit_operations().div_ceil(u128::from(bits)),
        }
    }
}

impl Ppm {
    /// The whole.
    pub const ONE: Self = Self(1_000_000);

    /// `part` of `whole` in parts per million, at most the whole; zero where `whole` is zero.
    #[must_use]
    pub fn of(part: u64, whole: u64) -> Self {
        // Division of 64 bits costs a fifth of that of 128.
        let scaled = match part.checked_mul(1_000_000) {
            Some(scaled) => scaled.checked_div(whole).unwrap_or(0).min(1_000_000),
            None => {
                let wide = u128::from(part).saturating_mul(1_000_000);
                let scaled = wide.checked_div(u128::from(whole)).unwrap_or(0);
                u64::try_from(scaled).unwrap_or(u64::MAX).min(1_000_000)
            }
        };
        Self(u32::try_from(scaled).unwrap_or(1_000_000))
    }
}

impl std::fmt::Display for Ppm {
    /// As a percentage with two decimals.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let whole = self.0.checked_div(10_000).unwrap_or(0);
        let rest = self
            .0
            .checked_rem(10_000)
            .unwrap_or(0)
            .checked_div(100)
            .unwrap_or(0);
        write!(f, "{whole}.{rest:02} %")
    }
}

impl std::fmt::Display for MicroTppHours {
    /// In TPP-hours with three decimals.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let whole = self.0.checked_div(1_000_000).unwrap_or(0);
        let rest = self
            .0
            .checked_rem(1_000_000)
            .unwrap_or(0)
            .checked_div(1_000)
            .unwrap_or(0);
        write!(f, "{}.{rest:03}", Grouped(whole))
    }
}

impl std::fmt::Display for Tpp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Grouped(u128::from(self.0)).fmt(f)
    }
}

/// An integer written with thousands separated by commas.
#[derive(Clone, Copy, Debug)]
pub struct Grouped(pub u128);

impl std::fmt::Display for Grouped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = self.0.to_string();
        for (i, c) in digits.chars().enumerate() {
            let left = digits.len().saturating_sub(i);
            if i > 0 && left.checked_rem(3) == Some(0) {
                f.write_str(",")?;
            }
            write!(f, "{c}")?;
        }
        Ok(())
    }
}

/// A lower and an upper bound; the truth lies between them, both included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Interval<T> {
    lower: T,
    upper: T,
}

impl<T: Copy + Ord> Interval<T> {
    /// The interval from the smaller to the larger of the two, so that it can never stand inverted.
    #[must_use]
    pub fn new(a: T, b: T) -> Self {
        Self {
            lower: a.min(b),
            upper: a.max(b),
        }
    }

    /// An interval of one point.
    #[must_use]
    pub fn exactly(value: T) -> Self {
        Self {
            lower: value,
            upper: value,
        }
    }

    /// The least the truth can be.
    #[must_use]
    pub fn lower(&self) -> T {
        self.lower
    }

    /// The most the truth can be.
    #[must_use]
    pub fn upper(&self) -> T {
        self.upper
    }
}

impl Interval<MicroTppHours> {
    /// Linear sum, as limits require: lower with lower, upper with upper.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            lower: self.lower.plus(other.lower),
            upper: self.upper.plus(other.upper),
        }
    }
}

/// A digest, identity or salt written in hexadecimal.
pub(crate) fn serialize_hex<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&data_encoding::HEXLOWER.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_bounded_and_written_as_percent() {
        assert_eq!(Ppm::of(1, 3).to_string(), "33.33 %");
        assert_eq!(Ppm::of(5, 3), Ppm::ONE);
        assert_eq!(Ppm::of(5, 0), Ppm(0));
    }

    #[test]
    fn an_interval_never_stands_inverted() {
        let i = Interval::new(9u32, 3);
        assert_eq!((i.lower(), i.upper()), (3, 9));
    }

    #[test]
    fn large_numbers_are_grouped() {
        assert_eq!(Grouped(26_900_000).to_string(), "26,900,000");
        assert_eq!(Grouped(100).to_string(), "100");
        assert_eq!(MicroTppHours(1_234_567_890).to_string(), "1,234.567");
    }
}
