//! Purpose: who trains what, for whom, and what becomes of it.

use super::case::Case;
use super::finding::Verdict;

/// TRN-05: a large group that trains has a tenant's declaration.
pub(super) fn declared(case: &Case<'_>) -> Verdict {
    case.unsettled("TRN-05")
}

/// TRN-06: nobody trains here for a party with headquarters in country group D:5 or Macau.
pub(super) fn for_no_barred_party(case: &Case<'_>) -> Verdict {
    case.unsettled("TRN-06")
}

/// TRN-08: fine-tuning outside Tier 1 stays below its share of the original operations.
pub(super) fn fine_tuning_within(case: &Case<'_>) -> Verdict {
    case.unsettled("TRN-08")
}

/// TRN-09: weights that ECCN 4E091 covers are held on approved systems only.
pub(super) fn weights_held(case: &Case<'_>) -> Verdict {
    case.unsettled("TRN-09")
}
