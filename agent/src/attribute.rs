//! `attribute`: the operator says which tenant holds which device.
//!
//! Decides: nothing; the running agent takes it or says why not. The tenant's name goes no further than to that agent, on this machine.

use crate::cli::{Outcome, say};
use crate::config::Config;
use crate::inventory::Format;
use crate::service::{Ask, Attributed, Attribution, ControlError, Request, ask};
use crate::state::StateDir;
use weighbridge::time::UnixSeconds;

/// What `attribute` is told.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["tenant", "end", "list"]).multiple(true))]
pub struct Arguments {
    /// The device: its UUID (GPU-…), that of a MIG device (MIG-…), or the driver's index of a GPU
    #[arg(long, value_name = "DEVICE", required_unless_present = "list")]
    device: Option<String>,
    /// The tenant's name. It stays on this node: reports call the tenant by a pseudonym
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// From when, in RFC 3339 [default: now]
    #[arg(long, value_name = "TIME", value_parser = UnixSeconds::parse, conflicts_with = "end")]
    from: Option<UnixSeconds>,
    /// Until when [default: until it is ended]
    #[arg(long, value_name = "TIME", value_parser = UnixSeconds::parse, conflicts_with = "end")]
    to: Option<UnixSeconds>,
    /// End what is attributed of the device now; with --tenant, to that tenant alone
    #[arg(long)]
    end: bool,
    /// Show who holds which device, by name and by pseudonym
    #[arg(long, conflicts_with_all = ["device", "tenant", "from", "to", "end"])]
    list: bool,
    /// Form of the list
    #[arg(long, value_name = "FORM", default_value = "text", conflicts_with = "device")]
    format: Format,
}

/// Why nothing was attributed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttributeError {
    /// The running agent.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The output.
    #[error("the list could not be written as JSON")]
    Json(#[from] serde_json::Error),
}

/// Tells the running agent, or asks it.
///
/// # Errors
/// [`AttributeError`].
pub fn attribute(config: &Config, arguments: &Arguments) -> Result<Outcome, AttributeError> {
    let what = match arguments {
        Arguments { list: true, .. } => Ask::Attributions,
        Arguments { end: true, .. } => Ask::EndAttribution,
        _ => Ask::Attribute,
    };
    let request = Request {
        attribution: arguments.device.clone().map(|device| Attribution {
            device,
            tenant: arguments.tenant.clone(),
            from: arguments.from,
            to: arguments.to,
        }),
        ..Request::plain(what)
    };
    let answer = ask(&StateDir::at(&config.state_dir).control(), &request)?;
    match (answer.attributions, arguments.format) {
        (Some(held), Format::Json) => {
            let shown = serde_json::json!({ "attributions": held });
            say(&serde_json::to_string_pretty(&shown)?);
        }
        (Some(held), _) if held.is_empty() => say("no device is attributed"),
        (Some(held), _) => held.iter().for_each(|held| say(&line(held))),
        (None, _) => say(&answer.text.unwrap_or_default()),
    }
    Ok(Outcome::Holds)
}

fn line(held: &Attributed) -> String {
    let until = held.to.map_or_else(String::new, |to| format!(" to {to}"));
    format!(
        "{}   {}   {}   from {}{until}",
        held.device, held.tenant, held.pseudonym, held.from
    )
}
