//! The strict CBOR border: one encoding for each value, one way to read it.
//!
//! Decides: whether bytes are the deterministic encoding (RFC 8949 section 4.2.1) of a value of a closed schema.
//! Trusts nothing in the bytes. Does not establish who wrote them.
//!
//! The only decode function is [`decode_strict`]: it decodes, demands the end of the input, encodes again and demands
//! equal bytes. So there is exactly one byte string for each value, and a signature covers one meaning. Records are
//! maps with integer keys; a key that the schema does not know is refused by name, so nobody can be pushed to send
//! more than the schema holds.

mod values;

use minicbor::data::Type;
pub use minicbor::{Decoder, Encoder};
pub use values::Bytes;

/// The most items that one array or map may hold; the largest real one is a proof or a list of devices.
pub const MAX_ITEMS: u64 = 65_536;

/// Why bytes are not the one encoding of the value they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes are not well-formed CBOR of the expected shape.
    #[error("{what} at byte {at} is not {expected}")]
    Shape {
        /// The record and field.
        what: &'static str,
        /// What stands in the schema.
        expected: &'static str,
        /// Offset in the input.
        at: usize,
    },
    /// A record holds a key that its schema does not know, or holds it out of order.
    #[error("{record} has a field {key} that its schema does not know at this place")]
    UnknownField {
        /// The record.
        record: &'static str,
        /// The key found.
        key: i64,
    },
    /// A record lacks a field that its schema demands.
    #[error("{record} lacks its field {key}")]
    MissingField {
        /// The record.
        record: &'static str,
        /// The key expected.
        key: i64,
    },
    /// A coded value is outside its table.
    #[error("{what} has no code {found}")]
    UnknownCode {
        /// The table.
        what: &'static str,
        /// The number found.
        found: u64,
    },
    /// An array or map is longer than any honest one.
    #[error("{what} holds {found} items, more than {limit}")]
    TooMany {
        /// The array or map.
        what: &'static str,
        /// The length found.
        found: u64,
        /// The bound.
        limit: u64,
    },
    /// Bytes follow the value.
    #[error("{count} bytes follow the end of the value")]
    Trailing {
        /// How many.
        count: usize,
    },
    /// The bytes decode, but are not the deterministic encoding of what they say.
    #[error("the bytes are not the deterministic encoding of the value (first difference at byte {at})")]
    NotDeterministic {
        /// Offset of the first difference.
        at: usize,
    },
}

/// A value with exactly one encoding.
pub trait Wire: Sized {
    /// Appends the encoding. Writing to memory cannot fail.
    fn encode(&self, e: &mut Encoder<&mut Vec<u8>>);

    /// Reads the value at the decoder's place.
    ///
    /// # Errors
    /// [`DecodeError`] naming `what` was being read.
    fn decode(d: &mut Decoder<'_>, what: &'static str) -> Result<Self, DecodeError>;

    /// Whether the field is left out of its record.
    fn is_absent(&self) -> bool {
        false
    }

    /// The value that an absent field stands for, if it may be absent.
    fn absent() -> Option<Self> {
        None
    }
}

/// The encoding of `value`.
#[must_use]
pub fn encode<T: Wire>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    value.encode(&mut Encoder::new(&mut out));
    out
}

/// Reads the one value that `bytes` are the deterministic encoding of.
///
/// # Errors
/// Any [`DecodeError`]; the bytes are untrusted.
pub fn decode_strict<T: Wire>(bytes: &[u8]) -> Result<T, DecodeError> {
    let mut d = Decoder::new(bytes);
    let value = T::decode(&mut d, "the value")?;
    let rest = bytes.len().saturating_sub(d.position());
    if rest > 0 {
        return Err(DecodeError::Trailing { count: rest });
    }
    let mut again = Vec::with_capacity(bytes.len());
    value.encode(&mut Encoder::new(&mut again));
    if again != bytes {
        let at = again.iter().zip(bytes).take_while(|(a, b)| a == b).count();
        return Err(DecodeError::NotDeterministic { at });
    }
    Ok(value)
}

/// The error for a place that is not what the schema says.
#[must_use]
pub fn shape(d: &Decoder<'_>, what: &'static str, expected: &'static str) -> DecodeError {
    DecodeError::Shape {
        what,
        expected,
        at: d.position(),
    }
}

/// Reads the head of a definite-length array of exactly `len` items.
///
/// # Errors
/// [`DecodeError::Shape`].
pub fn expect_array(
    d: &mut Decoder<'_>,
    len: u64,
    what: &'static str,
    expected: &'static str,
) -> Result<(), DecodeError> {
    match d.array() {
        Ok(Some(n)) if n == len => Ok(()),
        _ => Err(shape(d, what, expected)),
    }
}

/// Walks a record's map in the order of its schema. Used by [`record!`](crate::record).
#[derive(Debug)]
pub struct RecordReader<'a, 'b> {
    d: &'a mut Decoder<'b>,
    record: &'static str,
    left: u64,
    pending: Option<i64>,
}

impl<'a, 'b> RecordReader<'a, 'b> {
    /// Reads the map's head.
    ///
    /// # Errors
    /// [`DecodeError::Shape`] or [`DecodeError::TooMany`].
    pub fn new(d: &'a mut Decoder<'b>, record: &'static str) -> Result<Self, DecodeError> {
        let Ok(Some(left)) = d.map() else {
            return Err(shape(d, record, "a map of definite length"));
        };
        if left > MAX_ITEMS {
            return Err(DecodeError::TooMany {
                what: record,
                found: left,
                limit: MAX_ITEMS,
            });
        }
        Ok(Self {
            d,
            record,
            left,
            pending: None,
        })
    }

    /// Reads the field with `key`, or its absence.
    ///
    /// # Errors
    /// [`DecodeError`]: a missing or unknown field, or the field's own error.
    pub fn field<T: Wire>(&mut self, key: i64, what: &'static str) -> Result<T, DecodeError> {
        if self.pending.is_none() && self.left > 0 {
            self.left = self.left.saturating_sub(1);
            let found = self
                .d
                .i64()
                .map_err(|_| shape(self.d, self.record, "an integer key"))?;
            self.pending = Some(found);
        }
        match self.pending {
            Some(found) if found == key => {
                self.pending = None;
                T::decode(self.d, what)
            }
            Some(found) if sorts_before(found, key) => Err(DecodeError::UnknownField {
                record: self.record,
                key: found,
            }),
            _ => T::absent().ok_or(DecodeError::MissingField {
                record: self.record,
                key,
            }),
        }
    }

    /// Demands that no field is left.
    ///
    /// # Errors
    /// [`DecodeError::UnknownField`].
    pub fn finish(self) -> Result<(), DecodeError> {
        if let Some(key) = self.pending {
            return Err(DecodeError::UnknownField {
                record: self.record,
                key,
            });
        }
        if self.left > 0 {
            let key = self
                .d
                .i64()
                .map_err(|_| shape(self.d, self.record, "an integer key"))?;
            return Err(DecodeError::UnknownField {
                record: self.record,
                key,
            });
        }
        Ok(())
    }
}

/// RFC 8949 section 4.2.1: keys sort by their encoded bytes, so non-negative ones come first, then negative ones from -1 down.
fn sorts_before(a: i64, b: i64) -> bool {
    match (a >= 0, b >= 0) {
        (true, true) => a < b,
        (false, false) => a > b,
        (a_positive, _) => a_positive,
    }
}

/// Declares a record: a struct, and its encoding as a map with integer keys.
///
/// Keys stand in the order of their encoded bytes (non-negative ascending, then negative descending), because that is
/// the order in which they are written. A field of type `Option<T>` is left out of the map when it is `None`.
#[macro_export]
macro_rules! record {
    ($(#[$meta:meta])* pub struct $name:ident { $( $(#[$fmeta:meta])* $key:literal => $field:ident : $ty:ty ),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
        pub struct $name { $( $(#[$fmeta])* pub $field: $ty, )* }

        impl $crate::cbor::Wire for $name {
            fn encode(&self, e: &mut $crate::cbor::Encoder<&mut Vec<u8>>) {
                let mut present = 0u64;
                $( if !$crate::cbor::Wire::is_absent(&self.$field) { present = present.saturating_add(1); } )*
                $crate::cbor::written(e.map(present));
                $( if !$crate::cbor::Wire::is_absent(&self.$field) {
                    $crate::cbor::written(e.i64($key));
                    $crate::cbor::Wire::encode(&self.$field, e);
                } )*
            }

            fn decode(d: &mut $crate::cbor::Decoder<'_>, _what: &'static str) -> Result<Self, $crate::cbor::DecodeError> {
                let mut r = $crate::cbor::RecordReader::new(d, stringify!($name))?;
                let value = Self { $( $field: r.field($key, concat!(stringify!($name), ".", stringify!($field)))?, )* };
                r.finish()?;
                Ok(value)
            }
        }
    };
}

/// Declares a row: a struct, and its encoding as an array of fixed length.
#[macro_export]
macro_rules! row {
    ($(#[$meta:meta])* pub struct $name:ident { $( $(#[$fmeta:meta])* $field:ident : $ty:ty ),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
        pub struct $name { $( $(#[$fmeta])* pub $field: $ty, )* }

        impl $crate::cbor::Wire for $name {
            fn encode(&self, e: &mut $crate::cbor::Encoder<&mut Vec<u8>>) {
                const FIELDS: &[&str] = &[$(stringify!($field)),*];
                $crate::cbor::written(e.array(u64::try_from(FIELDS.len()).unwrap_or(u64::MAX)));
                $( $crate::cbor::Wire::encode(&self.$field, e); )*
            }

            fn decode(d: &mut $crate::cbor::Decoder<'_>, what: &'static str) -> Result<Self, $crate::cbor::DecodeError> {
                const FIELDS: &[&str] = &[$(stringify!($field)),*];
                $crate::cbor::expect_array(d, u64::try_from(FIELDS.len()).unwrap_or(u64::MAX), what, concat!("a row ", stringify!($name)))?;
                Ok(Self { $( $field: $crate::cbor::Wire::decode(d, concat!(stringify!($name), ".", stringify!($field)))?, )* })
            }
        }
    };
}

/// Declares a coded value: an enum, and its encoding as a small unsigned integer.
#[macro_export]
macro_rules! code {
    ($(#[$meta:meta])* pub enum $name:ident { $( $(#[$vmeta:meta])* $variant:ident = $code:literal => $text:literal ),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
        pub enum $name { $( $(#[$vmeta])* #[serde(rename = $text)] $variant, )* }

        impl $name {
            /// Every value, in the order of its code.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The number on the wire.
            #[must_use]
            pub const fn code(self) -> u8 {
                match self { $( Self::$variant => $code, )* }
            }

            /// The word that a person reads.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $( Self::$variant => $text, )* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.text())
            }
        }

        impl $crate::cbor::Wire for $name {
            fn encode(&self, e: &mut $crate::cbor::Encoder<&mut Vec<u8>>) {
                $crate::cbor::written(e.u8(self.code()));
            }

            fn decode(d: &mut $crate::cbor::Decoder<'_>, what: &'static str) -> Result<Self, $crate::cbor::DecodeError> {
                let found: u64 = $crate::cbor::Wire::decode(d, what)?;
                match found {
                    $( $code => Ok(Self::$variant), )*
                    _ => Err($crate::cbor::DecodeError::UnknownCode { what: stringify!($name), found }),
                }
            }
        }
    };
}

/// Takes the result of a write to memory, whose error type is uninhabited.
pub fn written<T>(result: Result<T, minicbor::encode::Error<std::convert::Infallible>>) {
    // A write to a Vec fails only by running out of memory, which aborts; there is nothing to report.
    drop(result);
}

/// Whether the next item is `null`.
///
/// # Errors
/// [`DecodeError::Shape`] at the end of the input.
pub fn next_is(d: &Decoder<'_>, wanted: Type, what: &'static str) -> Result<bool, DecodeError> {
    d.datatype()
        .map(|t| t == wanted)
        .map_err(|_| shape(d, what, "a value"))
}

#[cfg(test)]
mod tests {
    use super::*;

    record! {
        /// A record for the tests.
        #[expect(unreachable_pub, reason = "the macro makes public types")]
        pub struct Sheet {
            /// One.
            1 => one: u64,
            /// Two, at will.
            2 => two: Option<String>,
            /// Private, sorts last.
            -70_000 => last: Vec<u8>,
        }
    }

    fn sheet() -> Sheet {
        Sheet {
            one: 300,
            two: Some("x".into()),
            last: vec![1, 2],
        }
    }

    #[test]
    fn what_is_encoded_is_read_back() {
        let bytes = encode(&sheet());
        assert_eq!(decode_strict::<Sheet>(&bytes).unwrap(), sheet());
        let short = Sheet { two: None, ..sheet() };
        assert_eq!(decode_strict::<Sheet>(&encode(&short)).unwrap(), short);
    }

    #[test]
    fn every_other_encoding_of_the_same_value_is_refused() {
        // {1: 5, -70000: []} in its one form is a2 01 05 3a 0001116f 80.
        let good = [0xa2, 1, 5, 0x3a, 0, 1, 0x11, 0x6f, 0x80];
        assert_eq!(decode_strict::<Sheet>(&good).unwrap().one, 5);
        let non_minimal = [0xa2, 1, 0x18, 5, 0x3a, 0, 1, 0x11, 0x6f, 0x80];
        assert!(matches!(
            decode_strict::<Sheet>(&non_minimal),
            Err(DecodeError::NotDeterministic { at: 2 })
        ));
        let trailing = [0xa2, 1, 5, 0x3a, 0, 1, 0x11, 0x6f, 0x80, 0];
        assert!(matches!(
            decode_strict::<Sheet>(&trailing),
            Err(DecodeError::Trailing { count: 1 })
        ));
        let indefinite = [0xbf, 1, 5, 0x3a, 0, 1, 0x11, 0x6f, 0x80, 0xff];
        assert!(matches!(
            decode_strict::<Sheet>(&indefinite),
            Err(DecodeError::Shape { .. })
        ));
        let duplicate = [0xa3, 1, 5, 1, 5, 0x3a, 0, 1, 0x11, 0x6f, 0x80];
        assert_eq!(
            decode_strict::<Sheet>(&duplicate),
            Err(DecodeError::UnknownField {
                record: "Sheet",
                key: 1
            })
        );
        let unordered = [0xa2, 0x3a, 0, 1, 0x11, 0x6f, 0x80, 1, 5];
        assert_eq!(
            decode_strict::<Sheet>(&unordered),
            Err(DecodeError::MissingField {
                record: "Sheet",
                key: 1
            })
        );
        let unknown = [0xa3, 1, 5, 3, 0, 0x3a, 0, 1, 0x11, 0x6f, 0x80];
        assert_eq!(
            decode_strict::<Sheet>(&unknown),
            Err(DecodeError::UnknownField {
                record: "Sheet",
                key: 3
            })
        );
    }

    #[test]
    fn a_length_that_lies_is_refused_before_memory_is_taken() {
        let lie = [
            0xa2, 1, 5, 0x3a, 0, 1, 0x11, 0x6f, 0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        ];
        assert!(matches!(
            decode_strict::<Sheet>(&lie),
            Err(DecodeError::TooMany { .. })
        ));
    }
}
