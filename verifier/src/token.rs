//! `token`: makes, lists and revokes enrolment tokens. A secret is shown once and never kept; after that a token goes by its id.

use crate::command::{CommandError, Format, Outcome, Session, table};
use crate::fleet::{Anchors, Licences};
use crate::identity::host_of;
use crate::recorder::{Act, ActKind, TokenTerms};
use crate::store::token_id;
use serde_json::{Value, json};
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
    /// List all tokens by their ids, never their secrets.
    List {
        /// For people, or for machines.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Let a token admit no node more. Nodes that it admitted stay: `node revoke` takes their right to report.
    Revoke {
        /// The token's id, as `token list` shows it.
        token: String,
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

    /// Revokes a token, by its id.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn revoke_token(&self, id: &str) -> Result<(), CommandError> {
        let known = self.store.tokens().await?;
        let found = known.iter().find(|t| token_id(&t.digest) == id);
        let token = found.ok_or_else(|| CommandError::Refused {
            why: format!("token `{id}` is not known; `weighbridge-verifier token list` shows all"),
        })?;
        let mut act = Act::new(ActKind::RevokeToken, self.clock.now());
        act.token_digest = Some(token.digest);
        self.carry_out(&act).await
    }

    pub(crate) async fn token(&self, command: TokenCommand, out: &mut dyn Write) -> Outcome {
        match command {
            TokenCommand::New { wanted, format } => {
                let token = self.new_token(wanted).await?;
                let line = token.to_line();
                let id = token_id(&crypto::sha256(&token.secret));
                match format {
                    Format::Json => writeln!(
                        out,
                        "{:#}",
                        json!({ "token": line, "id": id, "verifier": token.verifier, "url": token.url })
                    )?,
                    Format::Text => writeln!(out, "{line}")?,
                }
            }
            TokenCommand::List { format } => self.list_tokens(format, out).await?,
            TokenCommand::Revoke { token } => {
                self.revoke_token(&token).await?;
                writeln!(
                    out,
                    "token {token} is revoked; `node list --format json` names the token that admitted each node"
                )?;
            }
        }
        Ok(true)
    }

    async fn list_tokens(&self, format: Format, out: &mut dyn Write) -> Result<(), CommandError> {
        let tokens = self.store.tokens().await?;
        if format == Format::Json {
            let all: Vec<Value> = tokens
                .iter()
                .map(|t| {
                    json!({ "id": token_id(&t.digest), "site": t.site, "count": t.count, "used": t.used,
                            "approve": t.approve, "serials": t.serials, "made": t.made_at, "expires": t.expires,
                            "revoked": t.revoked_at })
                })
                .collect();
            writeln!(out, "{:#}", json!({ "tokens": all }))?;
            return Ok(());
        }
        let mut rows = table(["token", "site", "used", "approves", "made", "expires", "revoked"]);
        for t in tokens {
            rows.add_row([
                token_id(&t.digest),
                t.site,
                format!("{} of {}", t.used, t.count),
                if t.approve { "yes" } else { "no" }.to_owned(),
                t.made_at.to_string(),
                t.expires.to_string(),
                t.revoked_at.map_or_else(|| "no".to_owned(), |at| at.to_string()),
            ]);
        }
        writeln!(out, "{rows}")?;
        Ok(())
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
