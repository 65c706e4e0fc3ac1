//! One value read from a device, or why there is none.

use crate::cbor::{self, DecodeError, Decoder, Encoder, Wire};
use minicbor::data::Type;
use serde::{Serialize, Serializer};

crate::code! {
    /// Why a value was lost.
    pub enum LossReason {
        /// The device is lost.
        DeviceLost = 0 => "device lost",
        /// The call hung.
        Hung = 1 => "hung",
        /// The call was refused for want of permission.
        NoPermission = 2 => "no permission",
        /// The answer was malformed.
        Malformed = 3 => "malformed",
        /// The call failed otherwise.
        Failed = 4 => "failed",
    }
}

/// A value, or why there is none. A failed read never becomes a zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading<T> {
    /// The value.
    Value(T),
    /// This device or driver does not offer it.
    Unsupported,
    /// It should have been there, and was not.
    Lost(LossReason),
}

impl<T> Reading<T> {
    /// The value, if there is one.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Value(v) => Some(v),
            Self::Unsupported | Self::Lost(_) => None,
        }
    }

    /// Applies `f` to the value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Reading<U> {
        match self {
            Self::Value(v) => Reading::Value(f(v)),
            Self::Unsupported => Reading::Unsupported,
            Self::Lost(why) => Reading::Lost(why),
        }
    }
}

/// On the wire a value is itself, `Unsupported` is `null`, and `Lost` is a one-element array with the reason.
impl<T: Wire> Wire for Reading<T> {
    fn encode(&self, e: &mut Encoder<&mut Vec<u8>>) {
        match self {
            Self::Value(v) => v.encode(e),
            Self::Unsupported => cbor::written(e.null()),
            Self::Lost(why) => {
                cbor::written(e.tag(minicbor::data::Tag::new(LOST_TAG)));
                why.encode(e);
            }
        }
    }

    fn decode(d: &mut Decoder<'_>, what: &'static str) -> Result<Self, DecodeError> {
        if cbor::next_is(d, Type::Null, what)? {
            d.null().map_err(|_| cbor::shape(d, what, "null"))?;
            return Ok(Self::Unsupported);
        }
        if cbor::next_is(d, Type::Tag, what)? {
            let tag = d.tag().map_err(|_| cbor::shape(d, what, "a tag"))?;
            if tag.as_u64() != LOST_TAG {
                return Err(cbor::shape(d, what, "the tag of a lost reading"));
            }
            return LossReason::decode(d, what).map(Self::Lost);
        }
        T::decode(d, what).map(Self::Value)
    }
}

/// The tag that marks a lost reading's reason, from the range that RFC 8949 section 9.2 leaves to first come, first
/// served; it is private to the profile and explained in `docs/report.cddl`.
const LOST_TAG: u64 = 65_300;

impl<T: Serialize> Serialize for Reading<T> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Value(v) => v.serialize(s),
            Self::Unsupported => s.serialize_str("unsupported"),
            Self::Lost(why) => s.collect_str(&format_args!("lost: {why}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_cases_stay_apart_on_the_wire() {
        for reading in [
            Reading::Value(0u64),
            Reading::Unsupported,
            Reading::Lost(LossReason::DeviceLost),
            Reading::Lost(LossReason::Hung),
        ] {
            let bytes = cbor::encode(&reading);
            assert_eq!(cbor::decode_strict::<Reading<u64>>(&bytes).unwrap(), reading);
        }
    }
}
