//! A strict reader of DER (ITU-T X.690): definite, shortest lengths; low tag numbers; exact consumption. And its small writer.
//!
//! Decides: where a value ends. It serves the structures for which no library is at hand here: OCSP replies and the extensions of
//! device certificates. Certificates themselves are read by `x509-parser`.

use crate::time::UnixSeconds;

/// Tags as they stand in the first byte.
pub(crate) mod tag {
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const NULL: u8 = 0x05;
    pub(crate) const OID: u8 = 0x06;
    pub(crate) const ENUMERATED: u8 = 0x0a;
    pub(crate) const GENERALIZED_TIME: u8 = 0x18;
    pub(crate) const SEQUENCE: u8 = 0x30;
    /// Context-specific and primitive.
    pub(crate) const fn context(n: u8) -> u8 {
        0x80 | n
    }
    /// Context-specific and constructed.
    pub(crate) const fn constructed(n: u8) -> u8 {
        0xa0 | n
    }
}

/// A value whose content is these pieces, one after another.
pub(crate) fn encode(tag: u8, pieces: &[&[u8]]) -> Vec<u8> {
    let length = pieces.iter().map(|p| p.len()).fold(0, usize::saturating_add);
    let mut out = vec![tag];
    match u8::try_from(length) {
        Ok(short @ 0..=0x7f) => out.push(short),
        _ => {
            let digits = length.to_be_bytes();
            let from = digits.iter().position(|d| *d != 0).unwrap_or_default();
            let digits = digits.get(from..).unwrap_or_default();
            // A length of memory has at most eight digits.
            out.push(0x80 | u8::try_from(digits.len()).unwrap_or(8));
            out.extend(digits);
        }
    }
    out.extend(pieces.concat());
    out
}

/// Bytes that are not the DER they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not DER, or not of the expected structure, at {left} bytes before the end")]
pub struct DerError {
    /// Bytes that were left when it was found.
    pub left: usize,
}

/// One value: its tag, its content, and both with the length between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value<'a> {
    pub(crate) tag: u8,
    pub(crate) body: &'a [u8],
    pub(crate) whole: &'a [u8],
}

/// Reads values one after another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn wrong<T>(&self) -> Result<T, DerError> {
        Err(DerError { left: self.0.len() })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next value, whatever its tag.
    pub(crate) fn any(&mut self) -> Result<Value<'a>, DerError> {
        let [tag, first, rest @ ..] = self.0 else {
            return self.wrong();
        };
        if tag & 0x1f == 0x1f {
            return self.wrong();
        }
        let (length, rest) = match *first {
            short @ 0..=0x7f => (usize::from(short), rest),
            long @ 0x81..=0x84 => {
                let count = usize::from(long & 0x7f);
                let Some((digits, rest)) = rest.split_at_checked(count) else {
                    return self.wrong();
                };
                let length = digits.iter().fold(0u32, |n, d| (n << 8) | u32::from(*d));
                let shortest = digits.first().is_some_and(|d| *d != 0) && length >= 0x80;
                match usize::try_from(length) {
                    Ok(length) if shortest => (length, rest),
                    _ => return self.wrong(),
                }
            }
            _ => return self.wrong(),
        };
        let Some((body, after)) = rest.split_at_checked(length) else {
            return self.wrong();
        };
        let whole = self
            .0
            .get(..self.0.len().saturating_sub(after.len()))
            .unwrap_or_default();
        self.0 = after;
        Ok(Value {
            tag: *tag,
            body,
            whole,
        })
    }

    /// The next value, which must have this tag.
    pub(crate) fn value(&mut self, tag: u8) -> Result<Value<'a>, DerError> {
        let before = *self;
        let value = self.any()?;
        if value.tag == tag {
            Ok(value)
        } else {
            before.wrong()
        }
    }

    /// The content of the next value.
    pub(crate) fn body(&mut self, tag: u8) -> Result<&'a [u8], DerError> {
        Ok(self.value(tag)?.body)
    }

    /// A reader of what is inside the next value.
    pub(crate) fn inside(&mut self, tag: u8) -> Result<Self, DerError> {
        Ok(Self(self.body(tag)?))
    }

    /// The next value if it has this tag.
    pub(crate) fn optional(&mut self, tag: u8) -> Result<Option<Value<'a>>, DerError> {
        if self.0.first() == Some(&tag) {
            self.any().map(Some)
        } else {
            Ok(None)
        }
    }

    /// Demands that nothing is left.
    pub(crate) fn finish(self) -> Result<(), DerError> {
        if self.0.is_empty() { Ok(()) } else { self.wrong() }
    }

    /// A `GeneralizedTime` in the only form that DER allows in certificates: `YYYYMMDDHHMMSSZ` (RFC 5280 §4.1.2.5.2).
    pub(crate) fn time(&mut self) -> Result<UnixSeconds, DerError> {
        let before = *self;
        let body = self.body(tag::GENERALIZED_TIME)?;
        let text = std::str::from_utf8(body)
            .ok()
            .filter(|t| t.len() == 15 && t.ends_with('Z'));
        let part = |from: usize, to: usize| text.and_then(|t| t.get(from..to)).unwrap_or_default();
        let rfc3339 = format!(
            "{}-{}-{}T{}:{}:{}Z",
            part(0, 4),
            part(4, 6),
            part(6, 8),
            part(8, 10),
            part(10, 12),
            part(12, 14)
        );
        UnixSeconds::parse(&rfc3339).or_else(|_| before.wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_at_each_form_of_length() {
        for length in [0, 1, 127, 128, 255, 256, 70_000] {
            let content = vec![7; length];
            let (head, tail) = content.split_at(length / 2);
            let written = encode(tag::OCTET_STRING, &[head, tail]);
            let mut der = Der::new(&written);
            assert_eq!(der.body(tag::OCTET_STRING), Ok(content.as_slice()), "{length}");
            der.finish().unwrap();
        }
    }

    #[test]
    fn only_the_shortest_definite_lengths_are_read() {
        assert_eq!(Der::new(&[4, 1, 7]).body(tag::OCTET_STRING), Ok(&[7u8][..]));
        for wrong in [
            &[][..],
            &[4],
            &[4, 2, 7],
            &[4, 0x80, 0, 0],
            &[4, 0x81, 1, 7],
            &[4, 0x82, 0, 0x80],
            &[0x1f, 1, 7],
            &[4, 0x85, 0, 0, 0, 0, 1, 7],
        ] {
            assert!(Der::new(wrong).any().is_err(), "{wrong:?}");
        }
        let mut long = vec![4, 0x81, 0x80];
        long.extend([9; 0x80]);
        let mut der = Der::new(&long);
        assert_eq!(der.any().unwrap().whole, long);
        assert_eq!(der.finish(), Ok(()));
    }

    #[test]
    fn a_time_is_read_in_its_one_form() {
        let text = b"\x18\x0f20250821064707Z";
        assert_eq!(
            Der::new(text).time().unwrap(),
            UnixSeconds::parse("2025-08-21T06:47:07Z").unwrap()
        );
        assert!(Der::new(b"\x18\x1120250821064707.5Z").time().is_err());
        assert!(Der::new(b"\x18\x0f20251321064707Z").time().is_err());
    }
}
