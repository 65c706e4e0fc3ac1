//! Contradictions: declarations that measurements refute.

use super::case::Case;
use super::finding::Verdict;

/// EVI-02: no measurement contradicts a declaration.
pub(super) fn none(case: &Case<'_>) -> Verdict {
    case.unsettled("EVI-02")
}
