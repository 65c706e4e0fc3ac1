//! Allocations: how much computing power one party, one country or one region may hold.

use super::case::Case;
use super::finding::Verdict;

/// CAP-03: the TPP that one consignee receives in a calendar year stays within the low-power exception.
pub(super) fn received_in_year(case: &Case<'_>) -> Verdict {
    case.unsettled("CAP-03")
}

/// CAP-04: no one Tier 2 country holds more than its share of the owner's computing power.
pub(super) fn share_of_country(case: &Case<'_>) -> Verdict {
    case.unsettled("CAP-04")
}

/// CAP-05: enough of the owner's computing power stands in Tier 1, and at home.
pub(super) fn share_outside(case: &Case<'_>) -> Verdict {
    case.unsettled("CAP-05")
}

/// CAP-06: the TPP installed in the country is within the cap of the quarter.
pub(super) fn cap_of_quarter(case: &Case<'_>) -> Verdict {
    case.unsettled("CAP-06")
}
