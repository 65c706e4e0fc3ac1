//! The enrolment token: a line that an operator carries from the verifier to a node.

use crate::cbor::{self, DecodeError};
use crate::id::VerifierId;
use data_encoding::BASE64URL_NOPAD;

const PREFIX: &str = "wb1.";

crate::record! {
    /// Where to enrol, whom to trust there, and the secret that admits.
    pub struct EnrolmentToken {
        /// Base URL, such as `https://weighbridge.example:8443`.
        0 => url: String,
        /// SHA-256 of the SubjectPublicKeyInfo of the verifier's CA: pins the server, and is the verifier's id.
        1 => verifier: VerifierId,
        /// The secret; the verifier keeps only its digest.
        2 => secret: [u8; 16],
    }
}

/// Why a text is not an enrolment token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It does not begin as one, or is not base64url.
    #[error("not an enrolment token: it should begin with `wb1.` and hold base64url without spaces")]
    Form,
    /// It was cut or altered.
    #[error("the enrolment token is damaged")]
    Damaged(#[from] DecodeError),
}

impl EnrolmentToken {
    /// Writes the token as one line.
    #[must_use]
    pub fn to_line(&self) -> String {
        format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&cbor::encode(self)))
    }

    /// Reads the line.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn parse(line: &str) -> Result<Self, TokenError> {
        let body = line.trim().strip_prefix(PREFIX).ok_or(TokenError::Form)?;
        let bytes = BASE64URL_NOPAD
            .decode(body.as_bytes())
            .map_err(|_| TokenError::Form)?;
        Ok(cbor::decode_strict(&bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_being_carried_and_a_cut_one_says_so() {
        let token = EnrolmentToken {
            url: "https://127.0.0.1:8443".into(),
            verifier: VerifierId([3; 32]),
            secret: [4; 16],
        };
        let line = token.to_line();
        assert_eq!(EnrolmentToken::parse(&format!(" {line}\n")), Ok(token));
        assert!(matches!(
            EnrolmentToken::parse(line.get(..line.len() - 8).unwrap()),
            Err(TokenError::Damaged(_))
        ));
        assert_eq!(EnrolmentToken::parse("hello"), Err(TokenError::Form));
    }
}
