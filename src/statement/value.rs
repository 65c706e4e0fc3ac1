//! The values of a statement: one type for each shape, so that what was checked once stays checked.

use super::shape::{Shape, Shaped};
use crate::document::{DayEnd, exact};
use crate::id::{DeviceUuid, Digest};
use crate::time::UnixSeconds;
use crate::unit::Ppm;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

impl Shaped for bool {
    const SHAPE: Shape = Shape::Flag;
}

impl Shaped for u64 {
    const SHAPE: Shape = Shape::Count;
}

impl Shaped for Digest {
    const SHAPE: Shape = Shape::Digest;
}

/// Declares a text of some shape.
macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident = $shape:expr;)*) => { $(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// As it is written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Shaped for $name {
            const SHAPE: Shape = $shape;
        }
    )* };
}
texts! {
    /// A text of one line, at most [`MAX_LINE`](super::shape::MAX_LINE) bytes.
    Line = Shape::Line;
    /// A text, at most [`MAX_PROSE`](super::shape::MAX_PROSE) bytes.
    Prose = Shape::Prose;
    /// A country: two letters of ISO 3166-1.
    Country = Shape::Country;
    /// A tenant's pseudonym, as the agents of a site report it: 16 bytes in hexadecimal.
    Pseudonym = Shape::Pseudonym;
}

/// Declares a moment.
macro_rules! moments {
    ($($(#[$doc:meta])* $name:ident = $end:expr;)*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub UnixSeconds);

        impl Shaped for $name {
            const SHAPE: Shape = Shape::Moment($end);
        }
    )* };
}
moments! {
    /// A moment; of a bare day its first second, in UTC.
    At = DayEnd::Start;
    /// The first second after something ended; of a bare day the first after it, so that the day is included.
    Until = DayEnd::Included;
}

/// A share from 0 to 1, in JSON as a text, because JSON's numbers are floats to most readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(pub Ppm);

/// `0.25`, without zeros at its end.
impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, rest) = (self.0.0.div_euclid(1_000_000), self.0.0.rem_euclid(1_000_000));
        let digits = format!("{whole}.{rest:06}");
        f.write_str(digits.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl Share {
    fn parse(text: &str) -> Option<Self> {
        let ppm = exact(text, 6).and_then(|ppm| u32::try_from(ppm).ok());
        ppm.filter(|ppm| *ppm <= Ppm::ONE.0).map(|ppm| Self(Ppm(ppm)))
    }
}

impl Shaped for Share {
    const SHAPE: Shape = Shape::Share;
}

/// A whole number that may exceed 64 bits, such as operations; in JSON as a text of digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Large(pub u128);

impl std::fmt::Display for Large {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Large {
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }
}

impl Shaped for Large {
    const SHAPE: Shape = Shape::Large;
}

/// A device, by the UUID that its driver tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Device(pub DeviceUuid);

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.nvml())
    }
}

impl Device {
    fn parse(text: &str) -> Option<Self> {
        DeviceUuid::parse_nvml(text).ok().map(Self)
    }
}

impl Shaped for Device {
    const SHAPE: Shape = Shape::Device;
}

/// As texts in JSON.
macro_rules! written {
    ($($name:ident),*) => { $(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("must be {}", Self::SHAPE.name())))
            }
        }
    )* };
}
written!(Share, Large, Device);

/// Declares one of some words.
macro_rules! words {
    ($($(#[$doc:meta])* pub enum $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* })*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant,)* }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word that stands for it.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.text())
            }
        }

        impl $crate::statement::shape::Shaped for $name {
            const SHAPE: $crate::statement::shape::Shape = $crate::statement::shape::Shape::Word(&[$($text),*]);
        }
    )* };
}
pub(super) use words;

/// Declares a table: a struct, its JSON form, and its shape with what the manual and the template say of each key.
macro_rules! tables {
    ($($(#[doc = $doc:literal])* pub struct $name:ident { $($(#[doc = $fdoc:literal])* $field:ident : $ty:ty = $example:literal,)* })*) => { $(
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[doc = $fdoc])* #[serde(skip_serializing_if = "crate::statement::shape::Shaped::is_absent")] pub $field: $ty,)*
        }

        impl $crate::statement::shape::Shaped for $name {
            const SHAPE: $crate::statement::shape::Shape = $crate::statement::shape::Shape::Table(&[$(
                $crate::statement::shape::Member {
                    key: stringify!($field),
                    doc: &[$($fdoc),*],
                    required: <$ty as $crate::statement::shape::Shaped>::REQUIRED,
                    shape: <$ty as $crate::statement::shape::Shaped>::SHAPE,
                    example: $example,
                },
            )*]);
        }
    )* };
}
pub(super) use tables;
