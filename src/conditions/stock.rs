//! Stock: what was shipped, what is on the manifest, and what became of what left it.

use super::case::Case;
use super::finding::Verdict;

/// INV-09: a device leaves the manifest only with a record of its disposal, return or loss.
pub(super) fn left_on_record(case: &Case<'_>) -> Verdict {
    case.unsettled("INV-09")
}

/// INV-12: what was shipped, what the manifest lists and what is seen agree.
pub(super) fn reconciled(case: &Case<'_>) -> Verdict {
    case.unsettled("INV-12")
}
