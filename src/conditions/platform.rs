//! Platforms: how hosts boot, and which agent runs on them.

use super::case::Case;
use super::finding::Verdict;

/// SEC-03: hosts boot as the policy says.
pub(super) fn boot_state(case: &Case<'_>) -> Verdict {
    case.unsettled("SEC-03")
}

/// SEC-05: the agents run approved builds.
pub(super) fn agent_build(case: &Case<'_>) -> Verdict {
    case.unsettled("SEC-05")
}
