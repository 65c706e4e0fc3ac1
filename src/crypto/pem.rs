//! PEM (RFC 7468) for keys and certificates.

use data_encoding::BASE64;

/// Why a text is not the PEM block it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no PEM block `-----BEGIN {label}-----` with valid base64 was found")]
pub struct PemError {
    /// The label expected.
    pub label: String,
}

/// Writes one PEM block.
#[must_use]
pub fn pem_encode(label: &str, der: &[u8]) -> String {
    let mut out = format!("-----BEGIN {label}-----\n");
    for (i, c) in BASE64.encode(der).chars().enumerate() {
        if i > 0 && i.checked_rem(64) == Some(0) {
            out.push('\n');
        }
        out.push(c);
    }
    out.push_str(&format!("\n-----END {label}-----\n"));
    out
}

/// Reads the first PEM block with `label`.
///
/// # Errors
/// [`PemError`].
pub fn pem_decode(label: &str, text: &str) -> Result<Vec<u8>, PemError> {
    let wrong = || PemError {
        label: label.to_owned(),
    };
    let (_, after) = text
        .split_once(&format!("-----BEGIN {label}-----"))
        .ok_or_else(wrong)?;
    let (body, _) = after
        .split_once(&format!("-----END {label}-----"))
        .ok_or_else(wrong)?;
    let compact: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    BASE64.decode(compact.as_bytes()).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_survives_the_round_trip_and_another_label_is_refused() {
        let der: Vec<u8> = (0..200).collect();
        let text = pem_encode("PUBLIC KEY", &der);
        assert_eq!(pem_decode("PUBLIC KEY", &text).unwrap(), der);
        assert!(pem_decode("PRIVATE KEY", &text).is_err());
    }
}
