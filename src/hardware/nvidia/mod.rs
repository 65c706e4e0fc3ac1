//! NVIDIA's evidence: reports of GPUs and NVSwitches, their chains, reference manifests and revocation.
//!
//! Decides: each step of an appraisal, see [`appraise`]. Formats and rules were read from NVIDIA's attestation SDK and nvtrust (both Apache-2.0) and
//! held against real reports. Trusts two pinned roots, by key and never by name.

mod appraise;
mod chain;
mod compare;
pub mod consensus;
mod envelope;
pub mod nras;
mod opaque;
mod revocation;
mod rim;
mod spdm;
pub mod topology;
mod ucs;
mod xml;

pub use appraise::{
    Appraisal, Collateral, Compared, File, Kind, Mismatch, Presented, Terms, appraise, known_to_responder,
};
pub use chain::{Arch, ChainError, DEVICE_ROOT, DeviceChain, DeviceIdentity};
pub use compare::rim_id_fits;
pub use envelope::{EnvelopeError, Evidence};
pub use opaque::{Opaque, OpaqueError, Pdi};
pub use revocation::Standing;
pub use rim::{Alternatives, RIM_ROOT, Rim, RimError};
pub use spdm::{Block, MAX_REPORT, Report, SpdmError};
pub use ucs::{UcsError, ucs};
pub use xml::{XmlError, canonical};

#[cfg(test)]
mod evidence_tests;
