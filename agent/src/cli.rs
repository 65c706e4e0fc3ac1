//! The command line: which verb, which settings, which exit status.
//!
//! Exit status 0: done, and everything holds. 1: done, and something does not hold or cannot be told. 2: could not be done, and why, in one
//! line on standard error.

use crate::clock::{Clock, SystemClock};
use crate::config::{Config, ConfigError, Settings};
use crate::devices::system;
use crate::inventory::{self, Format};
use crate::sentence::Sentence;
use crate::{attribute, binding, doctor, enrol, measure, preview, record, release, run, sampler, service};
use clap::error::ErrorKind;
use clap::{Arg, Command, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::error::Error;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::{Layer, layer::SubscriberExt, util::SubscriberInitExt};

/// Measures the compute that this node's accelerators deliver, and reports it to a verifier.
#[derive(Debug, Parser)]
#[command(name = "weighbridge-agent", version)]
struct Cli {
    /// Configuration file [default: /etc/weighbridge/agent.toml, where there is one]
    #[arg(long, global = true, value_name = "FILE", env = "WEIGHBRIDGE_AGENT_CONFIG")]
    config: Option<PathBuf>,
    #[command(
        flatten,
        next_help_heading = "Settings, each also a key of the configuration file"
    )]
    settings: Settings,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Enrol this node with the verifier that the token names
    Enrol(enrol::Arguments),
    /// Sample, sign and deliver, until told to stop
    Run,
    /// Show the accelerators of this node, and the driver
    Inventory {
        /// Form of the output
        #[arg(long, value_name = "FORM", default_value = "text")]
        format: Format,
    },
    /// Say what keeps the agent from its work on this host, and what would mend it
    Doctor {
        /// Form of the output
        #[arg(long, value_name = "FORM", default_value = "text")]
        format: Format,
    },
    /// Measure without a verifier, or show a window that a report commits to
    Measure(measure::Arguments),
    /// Print a report as it leaves this node, in JSON: the one sealed last, one of before (--report) or one measured now (--now); or list what was sent
    /// (--sent)
    Preview(preview::Arguments),
    /// Record what the devices show, ten times a second, into a file of this node's
    Record(record::Arguments),
    /// Say which tenant holds which device, or show who does
    Attribute(attribute::Arguments),
    /// Let the running agent let go of the driver, or take it up again
    Release(release::Arguments),
    /// The process that owns the driver; `run` starts it
    #[command(hide = true)]
    Sampler,
    /// The process that asks the devices for evidence; `run` starts it
    #[command(hide = true)]
    Collector,
}

/// How a verb ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done, and everything holds.
    Holds,
    /// Done, and something does not hold or cannot be told.
    Open,
}

/// Runs the command line of this process.
#[must_use]
pub fn run() -> ExitCode {
    system::share_one_heap();
    let cli = match parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version are no errors. Where not even this can be printed, the status has to do.
            let code = if e.use_stderr() { 2 } else { 0 };
            if code == 0 || e.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
                e.print().ok();
            } else {
                let said = one_line(&e.render().to_string());
                writeln!(std::io::stderr(), "weighbridge-agent: {said}").ok();
            }
            return ExitCode::from(code);
        }
    };
    match perform(cli) {
        Ok(Outcome::Holds) => ExitCode::SUCCESS,
        Ok(Outcome::Open) => ExitCode::from(1),
        Err(e) => {
            writeln!(std::io::stderr(), "weighbridge-agent: {}", Sentence(e.as_ref())).ok();
            ExitCode::from(2)
        }
    }
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let matches = command().try_get_matches_from(arguments)?;
    Cli::from_arg_matches(&matches).map_err(|e| e.format(&mut command()))
}

/// The command line. The settings stand in the help of the program; a verb takes them too, and its short help does not repeat them.
fn command() -> Command {
    let whole = Cli::command();
    let settings: Vec<Arg> = whole
        .get_arguments()
        .filter(|a| a.is_global_set())
        .map(|a| a.clone().hide_short_help(true))
        .collect();
    whole.mut_subcommands(|verb| verb.args(&settings))
}

/// What the parser says of a command line, without the usage that follows: its first paragraph, and its tips.
fn one_line(rendered: &str) -> String {
    let mut paragraphs = rendered.split("\n\n");
    let first = paragraphs.next().unwrap_or_default();
    let first = first.strip_prefix("error: ").unwrap_or(first);
    // The parser's own list holds hidden verbs too.
    let first = match first.split_once("[subcommands: ") {
        Some((said, _)) => &format!("{}; `--help` lists them", said.trim_end()),
        None => first,
    };
    let tips = paragraphs.filter(|p| p.trim_start().starts_with("tip: "));
    let told: Vec<_> = std::iter::once(first)
        .chain(tips)
        .map(|p| p.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    told.join("; ")
}

fn perform(cli: Cli) -> Result<Outcome, Box<dyn Error>> {
    if matches!(cli.verb, Verb::Sampler) {
        sampler::child::run()?;
        return Ok(Outcome::Holds);
    }
    if matches!(cli.verb, Verb::Collector) {
        binding::collector::run()?;
        return Ok(Outcome::Holds);
    }
    let config = Config::load(cli.config.as_deref(), cli.settings)?;
    log_to_stderr(&config)?;
    match cli.verb {
        Verb::Enrol(arguments) => Ok(enrol::enrol(&config, &arguments)?),
        Verb::Run => Ok(run::run(&config)?),
        Verb::Inventory { format } => {
            let survey = runtime()?.block_on(service::look(config.supervisor()?))?;
            let whole = inventory::run(survey, format, &mut Readable(std::io::stdout().lock()))?;
            Ok(outcome(whole))
        }
        Verb::Doctor { format } => {
            let survey = runtime()?.block_on(service::look(config.supervisor()?))?;
            let signing = runtime()?.block_on(service::signing(config.supervisor()?, &survey.inventory))?;
            let clock: Arc<dyn Clock> = Arc::new(SystemClock);
            let further = runtime()?.block_on(service::checkup(&config, &clock));
            let further = signing.into_iter().chain(further).collect();
            let well = doctor::run(&survey, further, format, &mut Readable(std::io::stdout().lock()))?;
            Ok(outcome(well))
        }
        Verb::Measure(arguments) => Ok(measure::measure(&config, &arguments)?),
        Verb::Preview(arguments) => Ok(preview::preview(&config, &arguments)?),
        Verb::Record(arguments) => Ok(record::record(&config, &arguments)?),
        Verb::Attribute(arguments) => Ok(attribute::attribute(&config, &arguments)?),
        Verb::Release(arguments) => Ok(release::release(&config, &arguments)?),
        Verb::Sampler | Verb::Collector => Ok(Outcome::Holds),
    }
}

fn outcome(holds: bool) -> Outcome {
    if holds { Outcome::Holds } else { Outcome::Open }
}

fn log_to_stderr(config: &Config) -> Result<(), ConfigError> {
    let filter: Targets = config.log.parse().map_err(|e: ParseError| ConfigError::Log {
        reason: e.to_string(),
    })?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false);
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .init();
    Ok(())
}

/// Standard output, for readers such as `head`: what comes after they closed it is not written, and that is no error.
struct Readable<W>(W);

impl<W: Write> Write for Readable<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.0.write(bytes) {
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(bytes.len()),
            other => other,
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self.0.flush() {
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }
}

/// Writes a line to standard output. A reader that went away is no error of this program's.
pub(crate) fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").ok();
}

/// A runtime of one thread: this program waits far more than it works.
pub(crate) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(arguments: &[&str]) -> clap::Error {
        let whole = ["weighbridge-agent"].iter().chain(arguments);
        parse(whole.map(OsString::from)).unwrap_err()
    }

    #[test]
    fn the_command_line_is_consistent_and_knows_every_verb() {
        command().debug_assert();
        for verb in [
            "enrol",
            "run",
            "inventory",
            "measure",
            "preview",
            "record",
            "attribute",
            "release",
            "doctor",
        ] {
            assert!(command().find_subcommand(verb).is_some(), "{verb}");
        }
        // The word of earlier versions.
        assert!(parse(["weighbridge-agent", "inventory", "--format", "table"].map(OsString::from)).is_ok());
        for line in [
            "--state-dir /x --allow-trial run",
            "run --state-dir /x --allow-trial",
        ] {
            let words = std::iter::once("weighbridge-agent").chain(line.split(' '));
            let settings = parse(words.map(OsString::from)).unwrap().settings;
            assert_eq!(settings.allow_trial, Some(true));
            assert_eq!(settings.state_dir.as_deref(), Some(std::path::Path::new("/x")));
        }
    }

    #[test]
    fn what_is_wrong_with_a_command_line_is_said_in_one_line() {
        let said = |arguments: &[&str]| one_line(&refused(arguments).render().to_string());
        assert_eq!(
            said(&["inventory", "--formt", "json"]),
            "unexpected argument '--formt' found; tip: a similar argument exists: '--format'"
        );
        assert_eq!(
            said(&["inventory", "--format", "xml"]),
            "invalid value 'xml' for '--format <FORM>' [possible values: text, json]"
        );
        assert_eq!(
            said(&["--state-dir", "/x"]),
            "'weighbridge-agent' requires a subcommand but one was not provided; `--help` lists them"
        );
        assert!(said(&["enrol"]).starts_with("the following required arguments were not provided: <"));
        assert!(said(&["measure", "--windows", "0"]).contains("0 is not in 1.."));
        assert!(said(&["preview", "--report", "0"]).contains("0 is not in 1.."));
        assert!(said(&["preview", "--sent", "--now"]).contains("cannot be used with"));
        assert!(said(&["preview", "--chain", &"00".repeat(16)]).contains("--report"));
    }

    #[test]
    fn settings_stand_in_the_help_of_the_program_and_in_a_verbs_long_help_alone() {
        for (arguments, shown) in [
            (&["-h"][..], true),
            (&["--help"], true),
            (&["enrol", "-h"], false),
            (&["enrol", "--help"], true),
        ] {
            let help = refused(arguments).render().to_string();
            assert_eq!(help.contains("--spool-max-mib"), shown, "{arguments:?}: {help}");
        }
    }
}
