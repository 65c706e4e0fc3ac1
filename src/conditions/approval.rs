//! Approvals: who agreed to enrolments and to changes of the manifest.

use super::case::Case;
use super::finding::Verdict;

/// PER-02: enrolments and changes of the manifest are approved by two people.
pub(super) fn two_people(case: &Case<'_>) -> Verdict {
    case.unsettled("PER-02")
}
