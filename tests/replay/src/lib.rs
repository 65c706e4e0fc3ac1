//! The replay library: NVML's C interface over a scenario file instead of a driver.
//!
//! It decides what a machine with GPUs would have answered: a device [`profile`], a recorded [`trace`] or a
//! [`generator`], and a script of [`fault`]s, read from the TOML file that `WEIGHBRIDGE_REPLAY_SCENARIO` names.
//! Built as a `cdylib` it is given to a program as any `libnvidia-ml.so.1` is; built as an `rlib` its pure parts can
//! be used and tested without loading anything.
//!
//! It trusts the scenario, which belongs to whoever runs the test, and the caller's pointers, as the real library
//! does. It plays in real time: counters are never sped up.
//!
//! It establishes nothing about a GPU. That a program cannot tell it from a driver is the point, and the reason why
//! a report carries the digest of the library that was loaded.
#![allow(
    unsafe_code,
    reason = "a C interface takes and fills raw pointers; they are confined to `pointer` and `clock`"
)]

pub mod bus;
pub mod clock;
pub mod evidence;
mod exports;
pub mod fault;
pub mod generator;
pub mod identity;
mod noise;
pub mod pipes;
pub mod play;
mod pointer;
pub mod profile;
pub mod recording;
pub mod scenario;
mod session;
pub mod trace;

pub use bus::write_sysfs;
pub use identity::{Identity, identities};
pub use play::Play;
pub use scenario::Scenario;
