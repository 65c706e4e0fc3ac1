//! Tenants: who holds device time, who they are, and from where they come in.

use super::case::Case;
use super::finding::Verdict;

/// TEN-01: every tenant with device time has a current attestation of who it is.
pub(super) fn attested(case: &Case<'_>) -> Verdict {
    case.unsettled("TEN-01")
}

/// TEN-02: no tenant has its headquarters or ultimate parent in country group D:5 or Macau without a licence.
pub(super) fn outside_barred(case: &Case<'_>) -> Verdict {
    case.unsettled("TEN-02")
}

/// TEN-03: tenants, owners and addresses were screened lately against the lists of barred parties.
pub(super) fn screened(case: &Case<'_>) -> Verdict {
    case.unsettled("TEN-03")
}

/// TEN-05: devices are reached from allowed places only.
pub(super) fn reached_from_allowed(case: &Case<'_>) -> Verdict {
    case.unsettled("TEN-05")
}

/// TEN-06: device time is attributed to tenants.
pub(super) fn time_attributed(case: &Case<'_>) -> Verdict {
    case.unsettled("TEN-06")
}

/// TEN-07: resellers are bound to the same checks.
pub(super) fn resellers_bound(case: &Case<'_>) -> Verdict {
    case.unsettled("TEN-07")
}
