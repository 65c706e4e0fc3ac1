//! The command line: one verb per thing a person does.
//!
//! Decides: which exit status an outcome has. 0: done and everything holds; 1: done, and something does not hold or cannot be told; 2: could
//! not be done, and why, in one line on standard error.

mod error;
mod session;

pub use error::CommandError;
pub(crate) use session::PATIENCE;
pub use session::Session;

use crate::accreditation::AccreditationCommand;
use crate::cause::with_causes;
use crate::clock::{Clock, HostClock};
use crate::config::{Config, Flags};
use crate::evidence::{EvidenceCommand, evidence};
use crate::export::ExportCommand;
use crate::init::init;
use crate::key::{self, KeyCommand};
use crate::licence::{LicenceCommand, on_paper};
use crate::node::NodeCommand;
use crate::owner;
use crate::rules::{self, RulesCommand};
use crate::serve::{notify, serve};
use crate::statement::{StatementCommand, statement};
use crate::status::StatusCommand;
use crate::token::TokenCommand;
use clap::error::ErrorKind;
use clap::{Arg, Command, CommandFactory, FromArgMatches, Parser};
use comfy_table::{Table, presets};
use serde_json::json;
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::{Layer, layer::SubscriberExt};

/// Checks reports of compute against the licence under which accelerators were supplied, and keeps the ledger.
#[derive(Debug, Parser)]
#[command(name = "weighbridge-verifier", version)]
struct CommandLine {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a verifier: its keys, its database and its ledger.
    Init {
        /// For people, or for machines.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Take reports from agents, until stopped.
    Serve,
    /// Make, list and revoke enrolment tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// List, show, approve and revoke nodes.
    #[command(subcommand)]
    Node(NodeCommand),
    /// Make and show keys that sign documents; list, trust and revoke those that are believed.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Keep the list of who is accredited to assess what, where and until when.
    #[command(subcommand)]
    Accreditation(AccreditationCommand),
    /// Check, sign, explain and load licences.
    #[command(subcommand)]
    Licence(LicenceCommand),
    /// Write, sign, check and show statements about sites, and catalogues of accelerators.
    #[command(subcommand)]
    Statement(StatementCommand),
    /// List, show, check, sign and load rule sets.
    #[command(subcommand)]
    Rules(RulesCommand),
    /// Appraise what devices sign, from files: reports of GPUs and switches, their chains and manifests. Keep the manifests.
    #[command(subcommand)]
    Evidence(EvidenceCommand),
    /// Show the conditions of each site.
    Status(StatusCommand),
    /// Write what the conditions of a site come to, in forms that others read, signed.
    #[command(subcommand)]
    Export(ExportCommand),
}

impl Verb {
    /// Whether it works on the verifier's state, not only on the files that it is given.
    fn needs_state(&self) -> bool {
        match self {
            Self::Evidence(command) => matches!(command, EvidenceCommand::Collateral(_)),
            Self::Licence(command) => matches!(command, LicenceCommand::Load { .. }),
            Self::Statement(command) => matches!(command, StatementCommand::Load { .. }),
            Self::Rules(command) => matches!(command, RulesCommand::Load { .. }),
            Self::Key(command) => matches!(
                command,
                KeyCommand::Trust { .. } | KeyCommand::Revoke { .. } | KeyCommand::Rotate { .. }
            ),
            Self::Init { .. }
            | Self::Serve
            | Self::Token(_)
            | Self::Node(_)
            | Self::Accreditation(_)
            | Self::Status(_)
            | Self::Export(_) => true,
        }
    }
}

/// For whom something is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

/// Whether everything holds.
pub(crate) type Outcome = Result<bool, CommandError>;

/// Runs the command line; standard output and error are the process's own.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let parsed = match parse(arguments) {
        Ok(parsed) => parsed,
        Err(usage) => {
            if matches!(
                usage.kind(),
                ErrorKind::DisplayHelp
                    | ErrorKind::DisplayVersion
                    | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            ) {
                // A reader who has seen enough of the help has been helped.
                return match usage.print() {
                    Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
                        failed(&with_causes(&CommandError::Io(e)))
                    }
                    _ => ExitCode::from(if usage.use_stderr() { 2 } else { 0 }),
                };
            }
            return failed(&in_one_line(&usage.to_string()));
        }
    };
    match act(parsed) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => failed(&with_causes(&error)),
    }
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<CommandLine, clap::Error> {
    let matches = command_line().try_get_matches_from(arguments)?;
    CommandLine::from_arg_matches(&matches).map_err(|e| e.format(&mut command_line()))
}

/// The command line. The configuration stands in the help of the program; a verb takes it too, and its short help does not repeat it.
fn command_line() -> Command {
    let whole = CommandLine::command();
    let settings: Vec<Arg> = whole
        .get_arguments()
        .filter(|a| a.is_global_set())
        .map(|a| a.clone().hide_short_help(true))
        .collect();
    whole.mut_subcommands(|verb| quietly(verb, &settings))
}

fn quietly(verb: Command, settings: &[Arg]) -> Command {
    verb.args(settings)
        .mut_subcommands(|inner| quietly(inner, settings))
}

fn failed(why: &str) -> ExitCode {
    // Nothing is left to say where even standard error is gone.
    drop(writeln!(std::io::stderr(), "weighbridge-verifier: {why}"));
    ExitCode::from(2)
}

/// What is wrong with the arguments, and the parser's tip where it has one, without its usage.
fn in_one_line(usage: &str) -> String {
    let joined = |lines: &str| lines.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut paragraphs = usage.split("\n\n").map(joined);
    let mut line = paragraphs.next().unwrap_or_default();
    if let Some(what) = line.strip_prefix("error: ") {
        line = what.to_owned();
    }
    for tip in paragraphs.filter(|p| p.starts_with("tip: ")) {
        line.push_str("; ");
        line.push_str(&tip);
    }
    line
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

fn act(parsed: CommandLine) -> Outcome {
    let config = Config::load(parsed.flags)?;
    if parsed.verb.needs_state() {
        owner::check(&config.state_dir)?;
    }
    let filter: Targets = config.log.parse()?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let log = tracing_subscriber::registry().with(lines.with_filter(filter));
    // A second logger in one process is a test's doing; the first one stays.
    drop(tracing::subscriber::set_global_default(log));
    let runtime = match (&parsed.verb, config.threads) {
        (Verb::Serve, threads) if threads > 1 => tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads.into())
            .enable_all()
            .build()?,
        _ => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?,
    };
    runtime.block_on(perform(parsed.verb, config, &mut Readable(std::io::stdout())))
}

async fn perform(verb: Verb, config: Config, out: &mut dyn Write) -> Outcome {
    let clock: Arc<dyn Clock> = Arc::new(HostClock);
    match verb {
        Verb::Init { format } => {
            let made = init(&config, clock).await?;
            match format {
                Format::Json => writeln!(
                    out,
                    "{:#}",
                    json!({ "verifier": made.verifier, "origin": made.origin, "url": config.url })
                )?,
                Format::Text => writeln!(out, "verifier {}\nledger   {}", made.verifier, made.origin)?,
            }
            Ok(true)
        }
        Verb::Serve => serve_until_told(config, clock, out).await,
        Verb::Token(command) => Session::open(config, clock).await?.token(command, out).await,
        Verb::Node(command) => Session::open(config, clock).await?.node(command, out).await,
        Verb::Key(command @ (KeyCommand::New { .. } | KeyCommand::Show { .. })) => {
            key::on_paper(command, &config, out)
        }
        Verb::Accreditation(command) => {
            let session = Session::open(config, clock).await?;
            session.accreditation(command, out).await
        }
        Verb::Key(command) => Session::open(config, clock).await?.key(command, out).await,
        Verb::Licence(LicenceCommand::Load { file }) => {
            Session::open(config, clock).await?.load(&file, out).await
        }
        Verb::Licence(command) => {
            let (_, sets) = rules::at_hand(&config).await?;
            on_paper(command, &config, &sets.book, out)
        }
        Verb::Rules(RulesCommand::Load { file }) => {
            let session = Session::open(config, clock).await?;
            session.load_rules_from(&file, out).await
        }
        Verb::Rules(command) => rules::rules(command, &config, out).await,
        Verb::Statement(StatementCommand::Load { file }) => {
            let session = Session::open(config, clock).await?;
            session.file_statement(&file, out).await
        }
        Verb::Statement(command) => statement(command, &config, out),
        Verb::Evidence(command) => evidence(command, &config, clock.now(), out),
        Verb::Export(command) => Session::open(config, clock).await?.export(command, out).await,
        Verb::Status(command) => Session::open(config, clock).await?.status(command, out).await,
    }
}

async fn serve_until_told(config: Config, clock: Arc<dyn Clock>, out: &mut dyn Write) -> Outcome {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let server = serve(config, clock, stop.clone()).await?;
    writeln!(
        out,
        "listening on https://{}\nverifier {}",
        server.address, server.verifier
    )?;
    out.flush()?;
    notify(sd_notify::NotifyState::Ready);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    notify(sd_notify::NotifyState::Stopping);
    stop.cancel();
    server.stopped().await;
    Ok(true)
}

/// A table for people.
pub(crate) fn table<const N: usize>(head: [&str; N]) -> Table {
    let mut out = Table::new();
    out.load_style(presets::NOTHING).set_header(head);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(arguments: &[&str]) -> clap::Error {
        let all = std::iter::once("weighbridge-verifier").chain(arguments.iter().copied());
        parse(all.map(OsString::from)).unwrap_err()
    }

    fn usage(arguments: &[&str]) -> String {
        in_one_line(&refused(arguments).to_string())
    }

    #[test]
    fn what_is_wrong_with_arguments_is_said_in_one_line() {
        assert_eq!(
            usage(&["token", "new"]),
            "the following required arguments were not provided: --site <SITE>"
        );
        assert_eq!(
            usage(&["status", "--formatt", "json"]),
            "unexpected argument '--formatt' found; tip: a similar argument exists: '--format'"
        );
        assert_eq!(
            usage(&["status", "--at", "noon"]),
            "invalid value 'noon' for '--at <TIME>': `noon` is not a time: write 2026-11-22 or 2026-11-22T04:10:00Z"
        );
    }

    #[test]
    fn a_reader_that_closes_early_is_no_error() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut out = Readable(writer);
        writeln!(out, "no one reads this").unwrap();
        out.flush().unwrap();
    }

    #[test]
    fn the_configuration_stands_in_the_help_of_the_program_and_in_a_verbs_long_help_alone() {
        command_line().debug_assert();
        for (arguments, shown) in [
            (&["-h"][..], true),
            (&["status", "-h"], false),
            (&["token", "new", "-h"], false),
            (&["token", "new", "--help"], true),
        ] {
            let help = refused(arguments).to_string();
            assert_eq!(help.contains("--linger-ms"), shown, "{arguments:?}: {help}");
        }
    }
}
