//! The library as a program meets it: loaded, its symbols called with the bindings and wrappers that programs use.
#![allow(unsafe_code, reason = "the functions of a C interface are called as such")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "tests, and what they share, stand outside a test module"
)]

/// A loaded copy of the library with a scenario and a time of its own.
#[macro_use]
mod replay;

/// Programs that were written for the real library.
mod clients;
/// What devices sign.
mod evidence;
/// What a caller sees when something goes wrong.
mod faults;
/// What a caller reads when nothing does.
mod readings;
