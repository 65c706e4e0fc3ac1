//! Samples: what people saw of devices on site, and what devices showed when they were tried.

use super::case::Case;
use super::finding::Verdict;

/// INV-07: a sample of devices that was looked at on site matches the inventory.
pub(super) fn plates_match(case: &Case<'_>) -> Verdict {
    case.unsettled("INV-07")
}

/// INV-08: a device performs like the model that it claims to be.
pub(super) fn performs(case: &Case<'_>) -> Verdict {
    case.unsettled("INV-08")
}
