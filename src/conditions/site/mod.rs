//! The site itself (`LOC`, `PHY`, `PER`): where it lies, what it draws, how it is guarded, and who agreed to changes.
//!
//! `attestation` reads what assessors examined; conditions of other families rest on it too (SEC-07, SEC-08).

pub(super) mod approval;
pub(super) mod attestation;
pub(super) mod location;
pub(super) mod power;
