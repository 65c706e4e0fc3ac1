//! The service: the loop that samples, seals and delivers, and what it is asked while it runs.

mod kept;
mod reporter;

pub use kept::{KeptLeaves, ShowError, Shown};
pub use reporter::{Identity, Now, Reporter, ReporterError};
