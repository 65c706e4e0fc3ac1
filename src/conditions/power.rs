//! Power: what sites are rated for, what meters read, and what devices draw.

use super::case::Case;
use super::finding::Verdict;

/// PHY-02: power, cooling and space fit the fleet.
pub(super) fn fits_fleet(case: &Case<'_>) -> Verdict {
    case.unsettled("PHY-02")
}

/// PHY-03: meters outside the devices and the devices themselves agree on power.
pub(super) fn meters_agree(case: &Case<'_>) -> Verdict {
    case.unsettled("PHY-03")
}
