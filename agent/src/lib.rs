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

pub mod attribute;
pub mod binding;
pub mod catalogue;
pub mod cli;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod devices;
pub mod doctor;
pub mod draft;
pub mod enrol;
pub mod enrolment;
pub mod inventory;
pub mod keys;
pub mod measure;
pub mod meters;
pub mod preview;
pub mod record;
pub mod recording;
pub mod release;
pub mod run;
pub mod sampler;
pub mod sentence;
pub mod service;
pub mod spool;
pub mod state;
