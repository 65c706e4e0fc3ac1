//! The encodings of the values that records are made of: integers, texts, byte strings, arrays, identities and quantities.

use super::{DecodeError, Decoder, Encoder, MAX_ITEMS, Wire, expect_array, shape, written};

macro_rules! wire_uint {
    ($($ty:ty => $method:ident, $text:literal);* $(;)?) => { $(
        impl Wire for $ty {
            fn encode(&self, e: &mut Encoder<&mut Vec<u8>>) {
                written(e.$method(*self));
            }
            fn decode(d: &mut Decoder<'_>, what: &'static str) -> Result<Self, DecodeError> {
                let at = d.position();
                d.$method().map_err(|_| DecodeError::Shape { what, expected: $text, at })
            }
        }
    )* };
}

wire_uint! {
    u8 => u8, "an unsigned integer of 8 bits";
    u16 => u16, "an unsigned integer of 16 bits";
    u32 => u32, "an unsigned integer of 32 bits";
    u64 => u64, "an unsigned integer of 64 bits";
    i16 => i16, "an integer of 16 bits";
    i32 => i32, "an integer of 32 bits";
    i64 => i64, "an integer of 64 bits";
    bool => bool, "true or false";
}

impl Wire for u128 {
    /// An unsigned integer where it fits 64 bits; the schema holds nothing larger on the wire.
    fn encode(&self, e: &mut Encoder<&mut Vec<u8>>) {
        written(e.u64(u64::try_from(*self).unwrap_or(u64::MAX)));
    }
    fn decode(d: &mut Decoder<'_>, what: &'static str) -> Result<Self, DecodeError> {
        u64::decode(d, what).map(Self::from)
    }
}

impl Wire for String {
    fn encode(&self, e: &mut Encoder<&mut Vec<u8>>) {
        written(e.str(self));
    }
    fn decode(d: &mut Decoder<'_>, what: &'static str) -> Result<Self, DecodeError> {
        let at = d.position();
        d.str().map(str::to_owned).map_err(|_| DecodeError::Shape {
            what,
            expected: "a text string",
            at,
        })
    }
}

/// A byte string of any length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl serde::Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        crate::unit::serialize_hex(&self.0, s)
    }
}

impl Wire for Bytes {
    fn encode(&self, e: &mut Encoder<&mut Vec<u8>>) {
        written(e.bytes(&self.0));
    }
    fn decode(d: &mut Decoder<'_>, what: &'static str) -> Result<Self, DecodeError> {
        let at = d.position();
        d.bytes()
            .map(|b| Self(b.to_vec()))
            .map_err(|_| DecodeError::Shape {
                what,
                expected: "a byte string",
                at,
            })
    }
}

impl<const N: usize> Wire for [u8; N] {
    fn encode(&self, e: &mut Encoder<&mut Vec<u8>>) {
        written(e.bytes(self));
    }
    fn decode(d: &mut Decoder<'_>, what: &'static str) -> Result<Self, DecodeError> {
        let at = d.position();
        d.bytes()
            .ok()
            .and_then(|b| Self::try_from(b).ok())
            .ok_or(DecodeError::Shape {
                what,
                expected: "a byte string of its fixed length",
                at,
            })
    }
}

impl<T: Wire> Wire for Option<T> {
    fn encode(&self, e: &mut Encoder<&mut Vec<u8>>) {
        if let Some(value) = self {
            value.encode(e);
        }
    }
    fn decode(d: &mut Decoder<'_>, what: &'static str) -> Result<Self, DecodeError> {
        T::decode(d, what).map(Some)
    }
    fn is_absent(&self) -> bool {
        self.is_none()
    }
    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn encode(&self, e: &mut Encoder<&mut Vec<u8>>) {
        written(e.array(u64::try_from(self.len()).unwrap_or(u64::MAX)));
        for item in self {
            item.encode(e);
        }
    }
    fn decode(d: &mut Decoder<'_>, what: &'static str) -> Result<Self, DecodeError> {
        let Ok(Some(count)) = d.array() else {
            return Err(shape(d, what, "an array of definite length"));
        };
        // Each item takes a byte at least, so a count beyond what is left is a lie told before any allocation.
        let left = u64::try_from(d.input().len().saturating_sub(d.position())).unwrap_or(u64::MAX);
        let limit = MAX_ITEMS.min(left);
        if count > limit {
            return Err(DecodeError::TooMany {
                what,
                found: count,
                limit,
            });
        }
        (0..count).map(|_| T::decode(d, what)).collect()
    }
}

impl<T: Wire> Wire for Box<T> {
    fn encode(&self, e: &mut Encoder<&mut Vec<u8>>) {
        T::encode(self, e);
    }
    fn decode(d: &mut Decoder<'_>, what: &'static str) -> Result<Self, DecodeError> {
        T::decode(d, what).map(Self::new)
    }
}

macro_rules! wire_newtype {
    ($($ty:ty),* $(,)?) => { $(
        impl Wire for $ty {
            fn encode(&self, e: &mut Encoder<&mut Vec<u8>>) {
                self.0.encode(e);
            }
            fn decode(d: &mut Decoder<'_>, what: &'static str) -> Result<Self, DecodeError> {
                Wire::decode(d, what).map(Self)
            }
        }
    )* };
}

wire_newtype!(
    crate::id::Digest,
    crate::id::VerifierId,
    crate::id::NodeId,
    crate::id::ChainId,
    crate::id::BootId,
    crate::id::Challenge,
    crate::id::DeviceUuid,
    crate::id::TenantPseudonym,
    crate::time::UnixSeconds,
    crate::time::BootNanos,
    crate::unit::Milliwatts,
    crate::unit::Millijoules,
    crate::unit::Tpp,
    crate::unit::MicroTppHours,
    crate::unit::Operations,
    crate::unit::Ppm,
);

impl Wire for crate::id::PciId {
    fn encode(&self, e: &mut Encoder<&mut Vec<u8>>) {
        written(e.array(4));
        self.vendor.encode(e);
        self.device.encode(e);
        self.subsystem_vendor.encode(e);
        self.subsystem_device.encode(e);
    }
    fn decode(d: &mut Decoder<'_>, what: &'static str) -> Result<Self, DecodeError> {
        expect_array(d, 4, what, "four PCI identifiers")?;
        Ok(Self {
            vendor: u16::decode(d, what)?,
            device: u16::decode(d, what)?,
            subsystem_vendor: u16::decode(d, what)?,
            subsystem_device: u16::decode(d, what)?,
        })
    }
}
