//! Moves: devices that change their site, and the transfers that cover them.

use super::case::Case;
use super::finding::Verdict;

/// INV-04: a device changes its site only under a transfer that was recorded before.
pub(super) fn recorded_before(case: &Case<'_>) -> Verdict {
    case.unsettled("INV-04")
}
