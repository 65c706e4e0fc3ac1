//! The binding: what ties the evidence of a device to a node's key and to its chain of reports.
//!
//! Decides: which 32 bytes every device of a round is asked to sign. A device that signed them did so after the verifier drew the challenge, for
//! whoever holds the node's key, and after the frozen report was sealed. It proves neither that telemetry is true nor that the device sits in this
//! host: a willing second host can relay the question.

use crate::crypto::sha256;
use crate::id::{ChainId, Challenge, Digest, VerifierId};

/// What a nonce is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The verifier that drew the challenge.
    pub verifier: VerifierId,
    /// The challenge.
    pub challenge: Challenge,
    /// SHA-256 of the SubjectPublicKeyInfo of the node's report key.
    pub key: Digest,
    /// The chain that the round freezes.
    pub chain: ChainId,
    /// The sequence number of the frozen report.
    pub sequence: u64,
    /// Its digest.
    pub report: Digest,
}

impl Binding {
    /// Separates these bytes from everything else that is hashed, in this version and in later ones.
    const CONTEXT: &[u8] = b"weighbridge/binding/v1\0";

    /// The nonce: SHA-256 over context, verifier, challenge, key, chain, sequence (big-endian) and report, in this order. All are of fixed
    /// length, so no two bindings have one encoding.
    #[must_use]
    pub fn nonce(&self) -> [u8; 32] {
        let message = [
            Self::CONTEXT,
            &self.verifier.0,
            &self.challenge.0,
            &self.key.0,
            &self.chain.0,
            &self.sequence.to_be_bytes(),
            &self.report.0,
        ]
        .concat();
        sha256(&message).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding() -> Binding {
        Binding {
            verifier: VerifierId([1; 32]),
            challenge: Challenge([2; 32]),
            key: Digest([3; 32]),
            chain: ChainId([4; 16]),
            sequence: 5,
            report: Digest([6; 32]),
        }
    }

    #[test]
    fn the_nonce_is_the_published_hash() {
        // Computed with sha256sum over the same bytes.
        assert_eq!(
            Digest(binding().nonce()).to_string(),
            "4ba1dbd359a0c08b48744623aeb13e67d7cb29dbde822465b6676382c370a27f"
        );
    }

    #[test]
    fn everything_that_it_is_made_of_changes_it() {
        let others = [
            Binding {
                verifier: VerifierId([9; 32]),
                ..binding()
            },
            Binding {
                challenge: Challenge([9; 32]),
                ..binding()
            },
            Binding {
                key: Digest([9; 32]),
                ..binding()
            },
            Binding {
                chain: ChainId([9; 16]),
                ..binding()
            },
            Binding {
                sequence: 6,
                ..binding()
            },
            Binding {
                report: Digest([9; 32]),
                ..binding()
            },
        ];
        for other in others {
            assert_ne!(other.nonce(), binding().nonce(), "{other:?}");
        }
    }
}
