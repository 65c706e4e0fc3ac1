//! The round of evidence that a report carries: what each device signed when the node asked it with a bound nonce.
//!
//! A round freezes the chain at a report and gives every device one nonce, see [`crate::hardware::binding`]. Its answers ride in the first
//! report signed after they arrived, each as a submodule of its own (`evidence-0`, `evidence-1`, …) that the token names by digest, so that raw
//! evidence can be left out of what is shown. It covers the reports up to the frozen one, never the report that carries it.

use super::ReportTime;
use crate::cbor::{self, Bytes, DecodeError, Decoder, Encoder, Wire};
use crate::id::{ChainId, Challenge, DeviceUuid, Digest};
use crate::time::BootNanos;
use minicbor::data::Type;

crate::record! {
    /// A round: where it froze the chain, and on which challenge. With the verifier's id and the node's key this is what the nonce was made of.
    pub struct RoundClaims {
        /// The verifier's challenge.
        0 => challenge: Challenge,
        /// The chain of the frozen report.
        1 => chain: ChainId,
        /// Its sequence number.
        2 => sequence: u64,
        /// Its digest.
        3 => digest: Digest,
        /// The end of its time, boot time: up to here the round covers.
        #[serde(rename = "covers_to_boot_ns")]
        4 => covers_to: BootNanos,
        /// Boot time before the first device was asked.
        #[serde(rename = "begun_boot_ns")]
        5 => begun: BootNanos,
        /// Boot time after the last answer.
        #[serde(rename = "ended_boot_ns")]
        6 => ended: BootNanos,
    }
}

impl RoundClaims {
    /// Whether it was held after the report that it froze, and before the end of the one that carries it: it covers nothing of the latter.
    #[must_use]
    pub fn is_in_order(&self, carrier: &ReportTime) -> bool {
        let of_earlier = self.covers_to <= carrier.start && self.covers_to <= self.begun;
        of_earlier && self.begun <= self.ended && self.ended <= carrier.end
    }
}

crate::code! {
    /// Who was asked.
    pub enum Attester {
        /// An accelerator.
        Gpu = 0 => "gpu",
        /// An NVSwitch.
        Switch = 1 => "switch",
    }
}

crate::code! {
    /// Why a device gave no evidence.
    pub enum NoEvidence {
        /// The platform offers none: confidential computing is off, or the device cannot sign.
        NotOffered = 0 => "the platform offers none",
        /// The agent may not ask.
        NoPermission = 1 => "the agent may not ask for it",
        /// The driver answered with an error.
        Failed = 2 => "the driver failed",
        /// The answer was larger than the interface allows.
        Oversized = 3 => "the answer was larger than the interface allows",
        /// The driver did not answer in time.
        Hung = 4 => "the driver did not answer",
        /// The process that asked died in the driver.
        Crashed = 5 => "the process that asked died in the driver",
        /// The device was lost.
        Lost = 6 => "the device is lost",
    }
}

/// Evidence as a CMW record in CBOR (draft-ietf-rats-msg-wrap): media type, value, and the indicator that it is evidence.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Cmw {
    /// Media type of the value.
    #[serde(rename = "type")]
    pub media_type: String,
    /// The value.
    pub value: Bytes,
}

impl Cmw {
    /// The indicator's bit for evidence.
    const EVIDENCE: u64 = 1 << 2;
}

impl Wire for Cmw {
    fn encode(&self, e: &mut Encoder<&mut Vec<u8>>) {
        cbor::written(e.array(3));
        self.media_type.encode(e);
        self.value.encode(e);
        Self::EVIDENCE.encode(e);
    }

    fn decode(d: &mut Decoder<'_>, what: &'static str) -> Result<Self, DecodeError> {
        cbor::expect_array(d, 3, what, "a CMW record")?;
        let (media_type, value) = (String::decode(d, what)?, Bytes::decode(d, what)?);
        if u64::decode(d, what)? != Self::EVIDENCE {
            return Err(cbor::shape(d, what, "a CMW record of evidence"));
        }
        Ok(Self { media_type, value })
    }
}

crate::record! {
    /// What NVIDIA's devices answer: the value of a [`Cmw`] of type [`NvidiaEvidence::MEDIA_TYPE`].
    pub struct NvidiaEvidence {
        /// The SPDM request and response, as the driver returns them.
        0 => report: Bytes,
        /// The attestation chain in PEM, the firmware's certificate first, as the driver returns it.
        1 => chain: Bytes,
    }
}

impl NvidiaEvidence {
    /// Its media type.
    pub const MEDIA_TYPE: &str = "application/vnd.weighbridge.nvidia-evidence+cbor";
    /// The largest chain that NVML returns (`NVML_GPU_ATTESTATION_CERT_CHAIN_SIZE`), in bytes.
    pub const MAX_CHAIN: usize = 0x1400;

    /// As a record to be carried.
    #[must_use]
    pub fn wrap(&self) -> Cmw {
        Cmw {
            media_type: Self::MEDIA_TYPE.to_owned(),
            value: Bytes(cbor::encode(self)),
        }
    }

    /// Out of a record; `None` where that is of another type.
    ///
    /// # Errors
    /// [`DecodeError`] where its value is not the encoding of this.
    #[must_use]
    pub fn open(record: &Cmw) -> Option<Result<Self, DecodeError>> {
        (record.media_type == Self::MEDIA_TYPE).then(|| cbor::decode_strict(&record.value.0))
    }
}

/// What a device answered: a CMW record, or a code for why there is none.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// What it signed.
    Evidence(Cmw),
    /// Why it signed nothing.
    None(NoEvidence),
}

impl Wire for Answer {
    fn encode(&self, e: &mut Encoder<&mut Vec<u8>>) {
        match self {
            Self::Evidence(record) => record.encode(e),
            Self::None(why) => why.encode(e),
        }
    }

    fn decode(d: &mut Decoder<'_>, what: &'static str) -> Result<Self, DecodeError> {
        match d.datatype() {
            Ok(Type::Array) => Cmw::decode(d, what).map(Self::Evidence),
            _ => NoEvidence::decode(d, what).map(Self::None),
        }
    }
}

crate::record! {
    /// One device's answer in a round.
    pub struct EvidenceClaims {
        /// Random salt, so that the digest in the token gives nothing away.
        #[serde(serialize_with = "crate::unit::serialize_hex")]
        0 => salt: [u8; 16],
        /// Who was asked.
        1 => attester: Attester,
        /// The accelerator, as the driver names it; absent for a switch.
        2 => device: Option<DeviceUuid>,
        /// What it answered.
        3 => answer: Answer,
    }
}

impl EvidenceClaims {
    /// Whether the device signed something, whatever that is worth.
    #[must_use]
    pub fn is_evidence(&self) -> bool {
        matches!(self.answer, Answer::Evidence(_))
    }
}

crate::record! {
    /// The detached claims-set of the submodules `evidence-0`, `evidence-1`, ….
    pub struct EvidenceSubmodule {
        /// Ours.
        -70_003 => evidence: EvidenceClaims,
    }
}
