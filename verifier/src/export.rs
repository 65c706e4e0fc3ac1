//! `export`: what the conditions of a site come to, in forms that others read.
//!
//! Decides: nothing; `status` shows the same. The verifier's own key signs, or one that is given: a result is worth what its reader makes of that key.

use crate::command::{CommandError, Outcome, Session};
use crate::key::{Keys, borrowed};
use crate::status::SiteStatus;
use std::io::Write;
use std::path::PathBuf;
use weighbridge::appraisal::ear::{Issue, Profile};
use weighbridge::conditions::SiteVerdict;
use weighbridge::crypto::{dsse, jws};
use weighbridge::id::Digest;
use weighbridge::statement::PAYLOAD_TYPE;
use weighbridge::time::UnixSeconds;

/// In which form.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum ExportCommand {
    /// An EAT attestation result (EAR) with the trustworthiness vector of AR4SI and all findings, as a signed token (JWT).
    Ear {
        /// Of what.
        #[command(flatten)]
        of: ExportArguments,
        /// The claims alone, as JSON, signed by nobody.
        #[arg(long, conflicts_with = "key")]
        unsigned: bool,
    },
    /// An in-toto Simple Verification Result: which conditions are met, in a signed envelope (DSSE).
    Svr {
        /// Of what.
        #[command(flatten)]
        of: ExportArguments,
    },
}

/// Of what, as of when, and signed by whom.
#[derive(Clone, Debug, clap::Args)]
pub struct ExportArguments {
    /// The site.
    #[arg(long)]
    site: String,
    /// The licence, by its id, where several cover the site.
    #[arg(long, value_name = "ID")]
    licence: Option<String>,
    /// Judge what is held as of this time, in UTC, as `status --at` does.
    #[arg(long, value_name = "TIME", value_parser = UnixSeconds::parse)]
    at: Option<UnixSeconds>,
    /// A private key to sign with in place of the verifier's own, as `key new` makes it, or the URI of one in a token (`pkcs11:token=…;object=…`).
    #[arg(long, value_name = "KEY")]
    key: Option<PathBuf>,
}

impl Session {
    pub(crate) async fn export(&self, command: ExportCommand, out: &mut dyn Write) -> Outcome {
        let (ExportCommand::Ear { of, .. } | ExportCommand::Svr { of }) = &command;
        let given = Keys::new(&self.config).signers(of.key.as_slice())?;
        let own = self.identity.ledger_signer();
        let key = borrowed(&given).first().copied().unwrap_or(own);
        let at = of.at.unwrap_or_else(|| self.clock.now());
        let mut status = self.evaluate(at).await?;
        status.keep(&of.site)?;
        if of.at.is_some() {
            status.may_be_judged(at)?;
        }
        let site = one(&status.sites, of)?;
        let verdict = verdict(site, status.catalogue.sha256, at, &of.site)?;
        match command {
            ExportCommand::Ear { unsigned, .. } => {
                let ear = verdict.ear(&Issue {
                    profile: Profile::Ietf,
                    at: self.clock.now(),
                    developer: env!("CARGO_PKG_AUTHORS"),
                    build: env!("CARGO_PKG_VERSION"),
                });
                match unsigned {
                    true => writeln!(out, "{ear:#}")?,
                    false => writeln!(out, "{}", jws::sign(&ear, key)?)?,
                }
            }
            ExportCommand::Svr { .. } => {
                let statement = verdict.svr(&self.identity.id().to_string());
                writeln!(
                    out,
                    "{}",
                    dsse::sign(PAYLOAD_TYPE, &statement, &[key])?.trim_end()
                )?;
            }
        }
        Ok(site.holds())
    }
}

/// The one licence that is meant.
fn one<'s>(sites: &'s [SiteStatus], of: &ExportArguments) -> Result<&'s SiteStatus, CommandError> {
    let refused = |why: String| Err(CommandError::Refused { why });
    let covering = sites.iter().filter_map(|s| Some((s, s.licence.as_deref()?)));
    let all: Vec<(&SiteStatus, &str)> = covering.collect();
    let ids: Vec<&str> = all.iter().map(|(_, id)| *id).collect();
    match (&of.licence, all.as_slice()) {
        (_, []) => refused(format!(
            "no licence covers site `{}`, so that there is nothing to write: `weighbridge-verifier licence load` loads one",
            of.site
        )),
        (Some(wanted), _) => match all.iter().find(|(_, id)| id == wanted) {
            Some((site, _)) => Ok(site),
            None => refused(format!(
                "licence `{wanted}` does not cover site `{}`: {} does",
                of.site,
                ids.join(" and ")
            )),
        },
        (None, [(site, _)]) => Ok(site),
        (None, _) => refused(format!(
            "several licences cover site `{}`: give --licence {}",
            of.site,
            ids.join(" or ")
        )),
    }
}

fn verdict<'s>(
    site: &'s SiteStatus,
    catalogue_digest: Digest,
    at: UnixSeconds,
    name: &'s str,
) -> Result<SiteVerdict<'s>, CommandError> {
    let (Some(licence), Some(serial), Some(documents)) =
        (site.licence.as_deref(), site.serial, &site.documents)
    else {
        return Err(CommandError::Refused {
            why: format!("no licence covers site `{name}`"),
        });
    };
    Ok(SiteVerdict {
        site: name,
        licence,
        serial,
        licence_digest: documents.licence,
        rule_set: &documents.rule_set,
        rule_set_digest: documents.rule_set_digest,
        catalogue_digest,
        at,
        findings: site.findings.iter().map(|f| &f.finding).collect(),
    })
}
