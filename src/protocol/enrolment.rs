//! Enrolment and renewal.

use super::delivery::Instructions;
use crate::cbor::{self, Bytes, DecodeError, Decoder, Encoder, Wire};
use crate::crypto::{PublicKey, SignError, Signer, VerifyError, cose};
use crate::id::{NodeId, VerifierId};
use crate::report::KeyProtection;
use crate::time::UnixSeconds;

crate::code! {
    /// How far a node's enrolment has come.
    pub enum EnrolmentState {
        /// An administrator has still to approve it.
        Pending = 0 => "pending",
        /// It may report.
        Approved = 1 => "approved",
        /// It may no longer report.
        Revoked = 2 => "revoked",
    }
}

crate::record! {
    /// A node asks to be enrolled.
    pub struct EnrolRequest {
        /// The token's secret.
        0 => secret: [u8; 16],
        /// PKCS#10 request for the report key, in DER; its signature proves that the node holds the key.
        1 => csr: Bytes,
        /// What holds the key.
        2 => key_protection: KeyProtection,
        /// Profiles that the node writes, newest first.
        3 => profiles: Vec<String>,
        /// The node that this one was before a reimage or repair.
        4 => predecessor: Option<NodeId>,
        /// Serial numbers of its accelerators, for a token that is bound to some.
        5 => serials: Vec<String>,
    }
}

crate::record! {
    /// The verifier admits a node, at once or pending approval.
    pub struct EnrolAnswer {
        /// The verifier.
        0 => verifier: VerifierId,
        /// The node.
        1 => node: NodeId,
        /// The node's certificate, in DER.
        2 => certificate: Bytes,
        /// The CA's certificate, in DER.
        3 => ca: Bytes,
        /// The ledger's origin.
        4 => ledger_origin: String,
        /// The ledger's key, as SubjectPublicKeyInfo.
        5 => ledger_key: Bytes,
        /// State.
        6 => state: EnrolmentState,
        /// What to do next.
        7 => instructions: Instructions,
    }
}

crate::record! {
    /// An enrolled node asks for a new certificate, maybe after the old one expired.
    pub struct RenewRequest {
        /// The verifier, so that the request is good nowhere else.
        0 => verifier: VerifierId,
        /// The node.
        1 => node: NodeId,
        /// PKCS#10 request, in DER, for the same key.
        2 => csr: Bytes,
        /// When, by the node's clock; the verifier demands that it grows from request to request.
        3 => at: UnixSeconds,
    }
}

crate::record! {
    /// The new certificate.
    pub struct RenewAnswer {
        /// In DER.
        0 => certificate: Bytes,
    }
}

/// A request in `COSE_Sign1`, signed by the enrolled key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRequest {
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl SignedRequest {
    /// Signs a request.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn sign(request: &RenewRequest, key: &dyn Signer) -> Result<Self, SignError> {
        let payload = cbor::encode(request);
        let signature = key.sign(&cose::to_be_signed(cose::Content::Request, &payload))?;
        Ok(Self { payload, signature })
    }

    /// What is asked, unchecked: for looking up the node's key.
    ///
    /// # Errors
    /// [`DecodeError`]; the bytes are untrusted.
    pub fn claimed(&self) -> Result<RenewRequest, DecodeError> {
        cbor::decode_strict(&self.payload)
    }

    /// Checks the signature with the enrolled key.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub fn verify(&self, key: &PublicKey) -> Result<(), VerifyError> {
        key.verify(
            &cose::to_be_signed(cose::Content::Request, &self.payload),
            &self.signature,
        )
    }
}

impl Wire for SignedRequest {
    fn encode(&self, e: &mut Encoder<&mut Vec<u8>>) {
        cose::encode_sign1(e, cose::Content::Request, &self.payload, &self.signature);
    }

    fn decode(d: &mut Decoder<'_>, what: &'static str) -> Result<Self, DecodeError> {
        let (payload, signature) = cose::decode_sign1(d, cose::Content::Request, what)?;
        Ok(Self { payload, signature })
    }
}
