//! # Weighbridge
//!
//! A signed scale for AI compute: what the agent on a data-centre host, the remote verifier and an offline assessor
//! must compute alike.
//!
//! The crate is pure. It performs no I/O, reads no clock, starts no thread and holds no `unsafe`: bytes, times and
//! random bytes come in as arguments, and results go out. That is what lets an assessor redo a verdict years later
//! from files alone.
//!
//! Modules stand in the order of dependence: a module may use those above it, never those below. A test in the
//! testbed reads this tree and guards the direction.
//!
//! To find the line that decides a finding: look its condition up in [`conditions::REGISTRY`], then open the function named there.
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        reason = "a test that overflows fails, as it should"
    )
)]

pub mod unit;
pub mod id;
pub mod time;
pub mod bounded;

pub mod cbor;
pub mod crypto;
pub mod x509;
pub mod document;

pub mod accelerator;
pub mod telemetry;
pub mod accounting;
pub mod workload;
pub mod report;
pub mod hardware;

pub mod rules;
pub mod statement;
pub mod licence;
pub mod appraisal;
pub mod conditions;

pub mod ledger;
pub mod protocol;
