//! Inventory (`INV`): which devices stand at the site, whether they are the ones that were supplied, and what became of the others.
//!
//! Where one was, and when, is told by `presence` and `seen`; how sure a sample makes, by `plan`. All else judges.

pub(super) mod absence;
pub(super) mod bus;
pub(super) mod departure;
pub(super) mod identity;
pub(super) mod moves;
pub(super) mod place;
pub(super) mod plan;
pub(super) mod presence;
pub(super) mod sample;
pub(super) mod seen;
pub(super) mod stock;
pub(super) mod supplied;
