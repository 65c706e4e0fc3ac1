//! What the end-to-end tests, the benchmarks and the demo share.
//!
//! Nothing here is linked into the agent or the verifier: simulation lives in this crate alone, and the replay library that it hands
//! to an agent is found out as not the system's own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::string_slice,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test tool: where it panics, a test fails and says where"
)]

pub mod bench;
pub mod cable;
pub mod chance;
pub mod consistency;
pub mod demo;
pub mod device_pki;
pub mod fixture;
pub mod in_process;
pub mod licence;
pub mod node;
pub mod outage;
pub mod process;
pub mod redfish;
pub mod signatures;
pub mod stored;
