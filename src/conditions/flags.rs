//! Red flags: what speaks against a customer, and what was done about it.

use super::case::Case;
use super::finding::Verdict;

/// REC-04: red flags are recorded and resolved before more items move.
pub(super) fn resolved(case: &Case<'_>) -> Verdict {
    case.unsettled("REC-04")
}
