//! Refusals: results with a stable code, what was expected and what was found, signed.
//!
//! A refusal is not an error. It is kept, counted and shown, and the submitter can hold the verifier to it.

use crate::cbor::{self, Bytes, DecodeError};
use crate::crypto::{PublicKey, SignError, Signer, VerifyError};
use crate::id::{Digest, VerifierId};
use crate::report::EnvelopeError;
use crate::time::UnixSeconds;

crate::code! {
    /// Why a submission is refused. The codes are stable and documented in `docs/refusals.md`.
    pub enum RefusalCode {
        /// The node is unknown, pending or revoked.
        Node = 0 => "E-NODE",
        /// The signature is not by the enrolled key.
        Signature = 1 => "E-SIGNATURE",
        /// The report is for another verifier.
        Audience = 2 => "E-AUDIENCE",
        /// Too large.
        Size = 3 => "E-SIZE",
        /// A field that the schema does not know, in a report that the enrolled key signed.
        Field = 4 => "E-FIELD",
        /// A profile that is not read here.
        Profile = 5 => "E-PROFILE",
        /// A second statement for one place in a chain.
        ChainFork = 6 => "E-CHAIN-FORK",
        /// The enrolment token is unknown, used up or expired.
        Token = 7 => "E-TOKEN",
        /// Bytes that are not the one encoding of what they should be, or a value out of its bounds.
        Form = 8 => "E-FORM",
    }
}

crate::record! {
    /// A refusal.
    pub struct Refusal {
        /// The verifier.
        0 => verifier: VerifierId,
        /// Why.
        1 => code: RefusalCode,
        /// What was expected.
        2 => expected: String,
        /// What was found.
        3 => found: String,
        /// One sentence for the submitter.
        4 => sentence: String,
        /// SHA-256 of the bytes that were refused.
        5 => submission: Digest,
        /// When.
        6 => at: UnixSeconds,
    }
}

crate::record! {
    /// A refusal, signed by the ledger's key.
    pub struct SignedRefusal {
        /// The encoded [`Refusal`].
        0 => refusal: Bytes,
        /// Ed25519 over the domain and the encoded refusal.
        1 => signature: Bytes,
    }
}

const DOMAIN: &[u8] = b"weighbridge/refusal/v1\0";

impl Refusal {
    /// The code and words for an envelope that could not be opened or verified.
    #[must_use]
    pub fn for_envelope(error: &EnvelopeError) -> (RefusalCode, String, String) {
        let found = error.to_string();
        match error {
            EnvelopeError::TooLarge { limit, .. } => {
                (RefusalCode::Size, format!("at most {limit} bytes"), found)
            }
            EnvelopeError::Profile { .. } => {
                (RefusalCode::Profile, crate::report::PROFILES.join(", "), found)
            }
            EnvelopeError::Signature => (
                RefusalCode::Signature,
                "a signature by the key that was enrolled".to_owned(),
                found,
            ),
            EnvelopeError::Field(e) => (
                RefusalCode::Field,
                "only fields of docs/report.cddl".to_owned(),
                e.to_string(),
            ),
            EnvelopeError::Malformed(e) => (
                RefusalCode::Form,
                "the deterministic encoding of docs/report.cddl".to_owned(),
                e.to_string(),
            ),
            EnvelopeError::Submodule { .. } => (
                RefusalCode::Form,
                "the claims whose digests the token carries".to_owned(),
                found,
            ),
            EnvelopeError::Tenant { .. } => (
                RefusalCode::Form,
                "places in the host's list of tenants".to_owned(),
                found,
            ),
        }
    }

    /// Signs the refusal.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn sign(&self, key: &dyn Signer) -> Result<SignedRefusal, SignError> {
        let bytes = cbor::encode(self);
        let signature = key.sign(&[DOMAIN, &bytes].concat())?;
        Ok(SignedRefusal {
            refusal: Bytes(bytes),
            signature: Bytes(signature),
        })
    }
}

impl SignedRefusal {
    /// The refusal, if `key` signed it.
    ///
    /// # Errors
    /// [`VerifyError`] where the signature does not hold or the bytes are not a refusal.
    pub fn open(&self, key: &PublicKey) -> Result<Refusal, VerifyError> {
        key.verify(&[DOMAIN, &self.refusal.0].concat(), &self.signature.0)?;
        self.peek().map_err(|_| VerifyError)
    }

    /// The refusal, unchecked.
    ///
    /// # Errors
    /// [`DecodeError`]; the bytes are untrusted.
    pub fn peek(&self) -> Result<Refusal, DecodeError> {
        cbor::decode_strict(&self.refusal.0)
    }
}
