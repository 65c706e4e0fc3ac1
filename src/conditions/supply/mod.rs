//! Supply (`SUP`): what was sent, who owns and undertook what, and what is permitted all the same.

pub(super) mod lots;
pub(super) mod parties;
pub(super) mod permission;
pub(super) mod shipment;
