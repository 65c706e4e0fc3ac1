//! The sampler: a process of its own that owns the driver, and what stands on either end of its pipe.
//!
//! Decides: when devices are read, and what happens when a read does not return. The child process touches the driver
//! and has neither network nor keys; the parent holds those and never opens a device. The one socket that the child may
//! open is that of a DCGM host engine on this machine, where one is configured. Typed frames pass through the
//! pipe in one direction, a few words in the other. Trusts nothing that comes out of the child beyond its shape. Does
//! not establish that what was read is true.

mod avoided;
pub mod child;
mod clocks;
pub mod in_process;
pub mod pipe;
pub mod schedule;
pub mod supervisor;
mod watch;

pub use in_process::InProcess;
pub use pipe::SamplerOptions;
pub use schedule::{Bursts, Looks};
pub use supervisor::{
    EnvironmentError, SamplerEvent, Supervisor, SupervisorOptions, allowed_environment, inherited_environment,
};
