//! `token new`: makes an enrolment token, whose secret is shown once and never kept.

use crate::command::{CommandError, Format, Outcome, Session};
use crate::fleet::{Anchors, Licences};
use crate::identity::host_of;
use crate::recorder::{Act, ActKind, TokenTerms};
use serde_json::json;
use std::io::Write;
use weighbridge::crypto;
use weighbridge::protocol::EnrolmentToken;
use weighbridge::time::{DAY_SECONDS, UnixSeconds};

/// How long a token admits, if nothing else is said.
const DAYS: i64 = 7;

/// What about tokens.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it. It admits one node unless --count says more.
    New {
        /// What it admits.
        #[command(flatten)]
        wanted: NewToken,
        /// For people, or for machines.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

/// What a new token admits.
#[derive(Clone, Debug, clap::Args)]
pub struct NewToken {
    /// The site that its nodes belong to, as the licence names it.
    #[arg(long)]
    pub site: String,
    /// How many nodes it admits.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub count: u32,
    /// Until when, as a date or a time in UTC; seven days from now by default.
    #[arg(long, value_name = "TIME", value_parser = UnixSeconds::parse)]
    pub expires: Option<UnixSeconds>,
    /// A serial number of an accelerator that it admits; may be given often. Without any, all are admitted.
    #[arg(long = "serial", value_name = "SERIAL")]
    pub serials: Vec<String>,
    /// Approve its nodes at once, instead of one by one.
    #[arg(long)]
    pub approve: bool,
}

impl Session {
    /// Makes a token.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn new_token(&self, wanted: NewToken) -> Result<EnrolmentToken, CommandError> {
        plain("--site", &wanted.site)?;
        for serial in &wanted.serials {
            plain("--serial", serial)?;
        }
        if host_of(&self.config.url).is_none() {
            return Err(CommandError::Argument {
                what: "the verifier's url",
                why: "agents accept only one that begins with https:// and names a host",
            });
        }
        let now = self.clock.now();
        if wanted.expires.is_some_and(|end| end <= now) {
            return Err(CommandError::Argument {
                what: "--expires",
                why: "that time is over, so the token would admit nobody",
            });
        }
        // A licence may follow; a site that is misspelt would be seen only when nothing can be told of its nodes.
        let anchors = Anchors::read(&self.config.state_dir)?;
        let licences = Licences::read(&*self.store, &anchors).await?;
        if !licences
            .counting
            .iter()
            .any(|l| l.licence.site(&wanted.site).is_some())
        {
            tracing::warn!(site = %wanted.site, "no loaded licence names this site: until one does, nothing can be told of its nodes");
        }
        let secret: [u8; 16] = self.entropy.draw()?;
        let mut act = Act::new(ActKind::Token, now);
        act.token = Some(TokenTerms {
            digest: crypto::sha256(&secret),
            site: wanted.site,
            count: wanted.count,
            expires: wanted
                .expires
                .unwrap_or_else(|| now.plus(DAYS.saturating_mul(DAY_SECONDS))),
            serials: wanted.serials,
            approve: wanted.approve,
        });
        self.carry_out(&act).await?;
        Ok(EnrolmentToken {
            url: self.config.url.clone(),
            verifier: self.identity.id(),
            secret,
        })
    }

    pub(crate) async fn token(&self, command: TokenCommand, out: &mut dyn Write) -> Outcome {
        let TokenCommand::New { wanted, format } = command;
        let token = self.new_token(wanted).await?;
        let line = token.to_line();
        match format {
            Format::Json => writeln!(
                out,
                "{:#}",
                json!({ "token": line.as_str(), "verifier": token.verifier, "url": token.url })
            )?,
            Format::Text => writeln!(out, "{line}")?,
        }
        Ok(true)
    }
}

/// Names are printable and hold no space: they stand in tables, files and sentences.
fn plain(what: &'static str, text: &str) -> Result<(), CommandError> {
    if !text.is_empty() && text.len() <= 64 && text.chars().all(|c| c.is_ascii_graphic()) {
        return Ok(());
    }
    Err(CommandError::Argument {
        what,
        why: "it must be 1 to 64 printable ASCII characters without a space",
    })
}
