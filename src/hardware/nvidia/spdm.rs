//! The signed report of a GPU or switch: an SPDM 1.1 `GET_MEASUREMENTS` request and the `MEASUREMENTS` response to it (DMTF DSP0274).
//!
//! Decides: where each part of a report lies. Every byte belongs to a part, and the parts written one after another are the report
//! again. Trusts nothing; does not establish who signed.

use super::opaque::{Opaque, OpaqueError};

/// The longest report, in bytes: what the driver's interface has room for.
pub const MAX_REPORT: usize = 0x2000;
/// Length of the signature at the end: r and s of ECDSA on P-384, big-endian.
const SIGNATURE: usize = 96;
/// SPDM 1.1, `GET_MEASUREMENTS`, signature requested, all blocks.
const REQUEST: [u8; 4] = [0x11, 0xe0, 0x01, 0xff];
/// SPDM 1.1, `MEASUREMENTS`.
const RESPONSE: [u8; 2] = [0x11, 0x60];
/// Measurement specification: DMTF.
const DMTF: u8 = 1;

/// Why bytes are not a report. Offsets are in bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpdmError {
    /// The length.
    #[error("the report has {found} bytes, more than {most}")]
    TooLong {
        /// As found.
        found: usize,
        /// As allowed.
        most: usize,
    },
    /// It ends within a part.
    #[error("the report ends within its {part}")]
    Truncated {
        /// The part.
        part: &'static str,
    },
    /// It goes on behind the signature.
    #[error("{0} bytes stand behind the signature")]
    Trailing(usize),
    /// The head of request or response.
    #[error("the {part} does not begin as one of SPDM 1.1 with all measurements and a signature")]
    Head {
        /// `request` or `response`.
        part: &'static str,
    },
    /// The measurement record.
    #[error("the measurement record says {said} blocks and holds {found}")]
    Blocks {
        /// As said.
        said: u8,
        /// As found.
        found: usize,
    },
    /// A block.
    #[error("measurement block {index}: {why}")]
    Block {
        /// Its index as it stands in the report, from 1.
        index: u8,
        /// What is wrong.
        why: &'static str,
    },
    /// The opaque data.
    #[error("the opaque data cannot be read")]
    Opaque(#[from] OpaqueError),
}

/// One measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its index, from 1. A reference manifest counts from 0.
    pub index: u8,
    /// DMTF value type; 1 is a digest of mutable firmware.
    pub kind: u8,
    /// The value: SHA-384 where the report is one of confidential computing.
    pub value: Vec<u8>,
}

/// A report, part by part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The nonce of the request: the verifier's.
    pub nonce: [u8; 32],
    /// The slot of the certificate chain that was asked for.
    pub slot: u8,
    /// Both parameters of the response.
    pub parameters: [u8; 2],
    /// The measurements, in their order.
    pub blocks: Vec<Block>,
    /// The nonce of the responder.
    pub responder_nonce: [u8; 32],
    /// What the device says of itself.
    pub opaque: Opaque,
    /// r and s, big-endian.
    pub signature: [u8; SIGNATURE],
}

/// Takes parts off the front.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn take(&mut self, length: usize, part: &'static str) -> Result<&'a [u8], SpdmError> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(SpdmError::Truncated { part })?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, part: &'static str) -> Result<[u8; N], SpdmError> {
        <[u8; N]>::try_from(self.take(N, part)?).map_err(|_| SpdmError::Truncated { part })
    }
}

impl Report {
    /// Reads a report, and nothing after it.
    ///
    /// # Errors
    /// [`SpdmError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, SpdmError> {
        if bytes.len() > MAX_REPORT {
            return Err(SpdmError::TooLong {
                found: bytes.len(),
                most: MAX_REPORT,
            });
        }
        let mut parts = Parts(bytes);
        if parts.array("request")? != REQUEST {
            return Err(SpdmError::Head { part: "request" });
        }
        let nonce = parts.array("request")?;
        let [slot] = parts.array("request")?;
        if parts.array("response")? != RESPONSE {
            return Err(SpdmError::Head { part: "response" });
        }
        let parameters = parts.array("response")?;
        let [said] = parts.array("response")?;
        let [low, middle, high] = parts.array("response")?;
        let length = usize::try_from(u32::from_le_bytes([low, middle, high, 0])).unwrap_or(usize::MAX);
        let blocks = blocks(said, parts.take(length, "measurement record")?)?;
        let responder_nonce = parts.array("responder's nonce")?;
        let length = u16::from_le_bytes(parts.array("opaque length")?);
        let opaque = Opaque::parse(parts.take(length.into(), "opaque data")?)?;
        let signature = parts.array("signature")?;
        if !parts.0.is_empty() {
            return Err(SpdmError::Trailing(parts.0.len()));
        }
        Ok(Self {
            nonce,
            slot,
            parameters,
            blocks,
            responder_nonce,
            opaque,
            signature,
        })
    }

    /// What of a report's bytes is signed: request and response, up to the signature (SPDM 1.1: no prefix).
    #[must_use]
    pub fn signed(bytes: &[u8]) -> &[u8] {
        bytes
            .get(..bytes.len().saturating_sub(SIGNATURE))
            .unwrap_or_default()
    }

    /// The report as it was read, byte for byte.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let mut record = Vec::new();
        for block in &self.blocks {
            let size = u16::try_from(block.value.len()).unwrap_or(u16::MAX);
            record.extend([block.index, DMTF]);
            record.extend(size.saturating_add(3).to_le_bytes());
            record.push(block.kind);
            record.extend(size.to_le_bytes());
            record.extend(&block.value);
        }
        let opaque = self.opaque.emit();
        let mut out = REQUEST.to_vec();
        out.extend(self.nonce);
        out.push(self.slot);
        out.extend(RESPONSE);
        out.extend(self.parameters);
        out.push(u8::try_from(self.blocks.len()).unwrap_or(u8::MAX));
        let length = u32::try_from(record.len()).unwrap_or(u32::MAX).to_le_bytes();
        out.extend(length.iter().take(3));
        out.extend(record);
        out.extend(self.responder_nonce);
        out.extend(u16::try_from(opaque.len()).unwrap_or(u16::MAX).to_le_bytes());
        out.extend(opaque);
        out.extend(self.signature);
        out
    }

    /// The value of the measurement that a reference manifest calls `index`, counted from 0.
    #[must_use]
    pub fn measurement(&self, index: u8) -> Option<&Block> {
        let wanted = index.checked_add(1)?;
        self.blocks.iter().find(|b| b.index == wanted)
    }
}

fn blocks(said: u8, record: &[u8]) -> Result<Vec<Block>, SpdmError> {
    let mut parts = Parts(record);
    let mut found: Vec<Block> = Vec::new();
    let mut seen = [false; 256];
    while !parts.0.is_empty() {
        let [index, specification, size_low, size_high] = parts.array("measurement block")?;
        let wrong = |why| Err(SpdmError::Block { index, why });
        let size = usize::from(u16::from_le_bytes([size_low, size_high]));
        let [kind, low, high] = parts.array("measurement block")?;
        let length = usize::from(u16::from_le_bytes([low, high]));
        if index == 0 || index > said {
            return wrong("its index is not from 1 to the number of blocks");
        }
        if specification != DMTF {
            return wrong("its specification is not that of DMTF");
        }
        if size != length.saturating_add(3) {
            return wrong("its two sizes contradict each other");
        }
        let value = parts.take(length, "measurement block")?.to_vec();
        let Some(seen) = seen.get_mut(usize::from(index)) else {
            return wrong("its index is out of range");
        };
        if std::mem::replace(seen, true) {
            return wrong("it stands there twice");
        }
        found.push(Block { index, kind, value });
    }
    if found.len() != usize::from(said) {
        return Err(SpdmError::Blocks {
            said,
            found: found.len(),
        });
    }
    Ok(found)
}
