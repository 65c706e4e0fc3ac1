//! The verifier: checks reports against a licence and keeps everything in a tamper-evident ledger.
//!
//! The way of a report: `api` takes the connection, `intake` judges who sent it and where it stands in its chain, `recorder` makes it
//! durable as a leaf, and `store` keeps it. `appraiser` says what rounds of hardware evidence come to. `enrolment` admits nodes, and `findings` records what conditions come to. Each subcommand has a file of its own.

#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::print_stdout,
        reason = "a test that overflows fails, as it should, and one that is skipped says so"
    )
)]

mod cause;
pub mod clock;
pub mod config;
pub mod identity;
pub mod owner;
pub mod store;
pub mod recorder;
pub mod fleet;
pub mod catalogue;
mod appraiser;
pub mod intake;
pub mod enrolment;
mod findings;
pub mod collateral;
mod api;

pub mod command;
pub mod init;
pub mod serve;
pub mod token;
pub mod node;
pub mod key;
pub mod accreditation;
pub mod licence;
pub mod statement;
pub mod rules;
pub mod status;
pub mod history;
pub mod compute;
pub mod export;
pub mod evidence;

#[cfg(test)]
mod rehearsal;
