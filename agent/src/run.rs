//! `run`: sample, sign and deliver, until told to stop.

use crate::cli::{Outcome, runtime};
use crate::config::Config;
use crate::service::{self, RunError};

/// Runs the service.
///
/// # Errors
/// [`RunError`].
pub fn run(config: &Config) -> Result<Outcome, RunError> {
    runtime()?.block_on(service::run(config))?;
    Ok(Outcome::Holds)
}
