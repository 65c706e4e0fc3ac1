//! Tenants (`TEN`): who held device time, who they are, and whether they were screened.

pub(super) mod attribution;
pub(super) mod holders;
pub(super) mod screening;
