//! Reading whole inputs under a bound.
//!
//! Decides: how many bytes of a file, a pipe or a body may be held at once. Trusts nothing about the source. Does not
//! establish what the bytes mean.

use std::io::Read;

/// The largest signed document (licence, rule set, statement) that is read: 4 MiB, some 20,000 manifest rows.
pub const MAX_DOCUMENT: usize = 4 << 20;

/// The largest report bundle that is read, evidence included: 1 MiB, sixteen devices with raw evidence and chains.
pub const MAX_BUNDLE: usize = 1 << 20;

/// The largest key, certificate or token file: 64 KiB.
pub const MAX_KEY_FILE: usize = 64 << 10;

/// Why an input could not be read under its bound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BoundedReadError {
    /// The source held more than the bound.
    #[error("the input is larger than the {limit} bytes allowed for it")]
    TooLarge {
        /// The bound, in bytes.
        limit: usize,
    },
    /// The source failed.
    #[error("the input could not be read")]
    Io(#[from] std::io::Error),
    /// The bytes are not UTF-8 text.
    #[error("the input is not UTF-8 text (first bad byte at offset {offset})")]
    NotUtf8 {
        /// Offset of the first byte that is not UTF-8.
        offset: usize,
    },
}

/// Reads all of `source`, refusing more than `limit` bytes.
///
/// # Errors
/// [`BoundedReadError::TooLarge`] as soon as one byte more than `limit` was seen, [`BoundedReadError::Io`] if the
/// source fails.
pub fn read(source: impl Read, limit: usize) -> Result<Vec<u8>, BoundedReadError> {
    let mut bytes = Vec::new();
    let cap = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    source.take(cap).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        return Err(BoundedReadError::TooLarge { limit });
    }
    Ok(bytes)
}

/// Reads all of `source` as UTF-8 text, refusing more than `limit` bytes.
///
/// # Errors
/// As [`read`], and [`BoundedReadError::NotUtf8`].
pub fn read_text(source: impl Read, limit: usize) -> Result<String, BoundedReadError> {
    String::from_utf8(read(source, limit)?).map_err(|e| BoundedReadError::NotUtf8 {
        offset: e.utf8_error().valid_up_to(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_at_the_bound_is_read_and_one_byte_more_is_refused() {
        assert_eq!(read(&[7u8; 16][..], 16).unwrap().len(), 16);
        assert!(matches!(
            read(&[7u8; 17][..], 16),
            Err(BoundedReadError::TooLarge { limit: 16 })
        ));
        assert!(matches!(
            read(std::io::repeat(0), 1024),
            Err(BoundedReadError::TooLarge { .. })
        ));
    }

    #[test]
    fn text_names_the_first_bad_byte() {
        assert!(matches!(
            read_text(&b"ab\xffc"[..], 9),
            Err(BoundedReadError::NotUtf8 { offset: 2 })
        ));
    }
}
