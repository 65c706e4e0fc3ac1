//! Making refusals: a code, what was expected, what was found, and a sentence that says what to do.

use crate::clock::Clock;
use crate::identity::Identity;
use std::sync::Arc;
use weighbridge::crypto::SignError;
use weighbridge::id::Digest;
use weighbridge::protocol::{Refusal, RefusalCode, SignedRefusal};
use weighbridge::report::EnvelopeError;

/// Why something is refused, before it is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The code.
    pub code: RefusalCode,
    /// What was expected.
    pub expected: String,
    /// What was found.
    pub found: String,
    /// What the submitter should do.
    pub sentence: String,
}

impl Reason {
    /// A reason from its parts.
    #[must_use]
    pub fn new(
        code: RefusalCode,
        expected: impl Into<String>,
        found: impl Into<String>,
        sentence: impl Into<String>,
    ) -> Self {
        Self {
            code,
            expected: expected.into(),
            found: found.into(),
            sentence: sentence.into(),
        }
    }

    /// For bytes that are not a report, or not by the enrolled key.
    #[must_use]
    pub fn envelope(error: &EnvelopeError) -> Self {
        let (code, expected, found) = Refusal::for_envelope(error);
        let sentence = match code {
            RefusalCode::Size => "the report is larger than any honest one; it was not read",
            RefusalCode::Profile => {
                "the report is of a profile that this verifier does not read; update the agent or the verifier"
            }
            RefusalCode::Signature => {
                "the report is not signed by the key that was enrolled for its node; if the key was replaced, enrol the node again"
            }
            RefusalCode::Field => {
                "the report holds a field that the closed schema does not know; the agent that signed it is altered or of another version"
            }
            _ => {
                "the bytes are not a whole report; they were damaged, or the agent that made them is altered or of another version"
            }
        };
        Self::new(code, expected, found, sentence)
    }

    /// For bytes that are not the message they should be.
    #[must_use]
    pub fn malformed(message: &str, error: impl ToString) -> Self {
        Self::new(
            RefusalCode::Form,
            format!("the deterministic encoding of {message}"),
            error.to_string(),
            "the message is malformed; the agent that sent it is damaged, altered or of another version",
        )
    }
}

/// Signs refusals for one verifier.
#[derive(Clone, Debug)]
pub struct Refuser {
    identity: Arc<Identity>,
    clock: Arc<dyn Clock>,
}

impl Refuser {
    /// A signer of refusals.
    #[must_use]
    pub fn new(identity: Arc<Identity>, clock: Arc<dyn Clock>) -> Self {
        Self { identity, clock }
    }

    /// Signs a refusal of the bytes with digest `submission`.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn sign(&self, reason: Reason, submission: Digest) -> Result<SignedRefusal, SignError> {
        tracing::debug!(code = %reason.code, expected = %reason.expected, found = %reason.found, "refused");
        Refusal {
            verifier: self.identity.id(),
            code: reason.code,
            expected: reason.expected,
            found: reason.found,
            sentence: reason.sentence,
            submission,
            at: self.clock.now(),
        }
        .sign(self.identity.ledger_signer())
    }
}
