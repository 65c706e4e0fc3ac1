//! Fabric: how many devices are joined into one.

use super::case::Case;
use super::finding::Verdict;

/// CAP-09: no more devices are joined into one scale-up domain than the licence allows.
pub(super) fn domain_within(case: &Case<'_>) -> Verdict {
    case.unsettled("CAP-09")
}
