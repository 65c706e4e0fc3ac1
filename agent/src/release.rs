//! `release`: the running agent lets go of the driver, so that a GPU can be reset, unbound or repartitioned.

use crate::cli::{Outcome, say};
use crate::config::Config;
use crate::service::{Ask, ControlError, Request, ask};

/// What `release` is told.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Take the driver up again
    #[arg(long)]
    resume: bool,
}

/// Asks the running agent, and waits until it is done. The time without measurement stands in the reports as released.
///
/// # Errors
/// [`ControlError`].
pub fn release(config: &Config, arguments: &Arguments) -> Result<Outcome, ControlError> {
    let what = if arguments.resume {
        Ask::Resume
    } else {
        Ask::Release
    };
    let answer = ask(&config.state_dir.join("control.sock"), &Request::plain(what))?;
    say(&answer.text.unwrap_or_default());
    Ok(Outcome::Holds)
}
