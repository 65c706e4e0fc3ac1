//! The agent: measures what the accelerators of a host compute, and signs a report of it.
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::print_stdout,
        reason = "a test that overflows fails, as it should, and one that is skipped says so"
    )
)]

pub mod clock;
pub mod devices;
pub mod sampler;
