//! Training (`TRN`): what could be computed, what was, by which groups, and for whom.

pub(super) mod activity;
pub(super) mod compute;
pub(super) mod group;
pub(super) mod levels;
pub(super) mod purpose;
pub(super) mod sums;
