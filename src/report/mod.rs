//! The report: its claims, its envelope, and the chain from report to report.
//!
//! A report is an Entity Attestation Token (RFC 9711): a CWT in `COSE_Sign1`. Each accelerator's claims enter as a
//! salted digest (a detached submodule digest, RFC 9711 section 4.2.18.2) and travel beside the token in a detached
//! EAT bundle (section 5), so that some devices can be shown without others.
//!
//! Decides: which bytes are a report of this profile, and what its digest is. Trusts nothing until
//! [`OpenedReport::verify`] has checked the signature with the key that was enrolled. Does not establish that what the
//! host says is true: that is [`crate::appraisal`]'s part. `docs/report.cddl` is the schema in the standard notation.

mod accelerator;
mod chain;
mod claims;
mod device;
mod envelope;
mod host;
mod leaf;
pub mod meter;
mod round;
mod runs;
mod tenancy;
mod tenant;

pub use accelerator::{AcceleratorClaims, AcceleratorSubmodule, Delivered};
pub use chain::{ChainLink, Continuity, continuity};
pub use claims::{
    CheckpointSeen, PROFILE, PROFILES, ReportClaims, ReportTime, Submodules, Successor, TokenClaims,
};
pub use envelope::{Bundle, Envelope, EnvelopeError, OpenedReport, SubmoduleDigest, VerifiedReport, sign};
pub use host::{ClockSource, HostClaims, HostSubmodule, KeyProtection};
pub use leaf::{ClosedWindow, Leaf, LeafError, LeafField, LeafProof, WindowSums, leaf_proof, open_leaf};
pub use meter::{Finished, Meter, MeterSettings, Salts};
pub use round::{
    Answer, Attester, Cmw, EvidenceClaims, EvidenceSubmodule, NoEvidence, NvidiaEvidence, RoundClaims,
};
pub use tenancy::Holding;
pub use tenant::{TenantList, TenantShare, TenantShares};

#[cfg(test)]
mod meter_tests;
#[cfg(test)]
mod mishap_tests;
#[cfg(test)]
mod presence_tests;
#[cfg(test)]
mod runs_tests;
#[cfg(test)]
mod synthetic;
#[cfg(test)]
mod tenancy_tests;
#[cfg(test)]
mod trace_tests;
#[cfg(test)]
mod truth_tests;
