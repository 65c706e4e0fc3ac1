//! Security (`SEC`) of the evidence: what devices and hosts prove of themselves, and whether the chain of reports holds.

pub(super) mod chain;
pub(super) mod firmware;
pub(super) mod mode;
pub(super) mod platform;
pub(super) mod proof;
