//! `status`: the conditions of each site, what needs a person first.
//!
//! Decides: nothing; the core's conditions do. It reads the same database as a verifier that serves, and changes nothing. With `--at` the
//! answer depends on files alone.

mod evaluation;
mod text;

pub(crate) use text::{bounds, minute};

use crate::command::{CommandError, Format, Outcome, Session};
use crate::compute::By;
use crate::rules::RuleSetUsed;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use weighbridge::appraisal::Period;
use weighbridge::conditions::{Finding, Flag, Outcome as Verdict, Overview, REGISTRY, Shipments};
use weighbridge::id::Digest;
use weighbridge::time::UnixSeconds;

/// What is shown.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct StatusCommand {
    /// Only this site.
    #[arg(long)]
    pub site: Option<String>,
    /// Show all there is to this condition, such as INV-03.
    #[arg(long, value_name = "CONDITION")]
    pub why: Option<String>,
    /// Show when the findings of this condition changed, such as INV-03, and what had changed between.
    #[arg(long, value_name = "CONDITION", conflicts_with_all = ["why", "at", "compute", "what_if"])]
    pub history: Option<String>,
    /// Judge what is held as of this time, in UTC, and not as of now: the windows end there, and licences and waivers hold as they do then.
    /// Facts are kept as of the newest report, so it must not be earlier than that.
    #[arg(long, value_name = "TIME", value_parser = UnixSeconds::parse)]
    pub at: Option<UnixSeconds>,
    /// Judge as if this rule set applied and not the one that each licence names, such as us-ifr-2025. Nothing is recorded.
    #[arg(long, value_name = "RULE SET")]
    pub what_if: Option<String>,
    /// Show how much was computed in a period instead, as the reports say.
    #[arg(long, conflicts_with_all = ["why", "what_if"])]
    pub compute: bool,
    /// What the compute is added up by.
    #[arg(long, value_enum, default_value_t, requires = "compute")]
    pub by: By,
    /// The period: the day, the quarter (three months) or the year (twelve) that end with the day in UTC, or two days, both included, such as
    /// 2026-01-01/2026-03-31. Without it, the year.
    #[arg(long, requires = "compute")]
    pub period: Option<Period>,
    /// For people, or for machines.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// The status of one site under one licence.
#[derive(Clone, Debug, Serialize)]
pub struct SiteStatus {
    /// The site.
    pub site: String,
    /// The licence's id; absent where none covers the site.
    pub licence: Option<String>,
    /// Its serial.
    pub serial: Option<u64>,
    /// The rule sets that were applied; none where the one that the licence names is not at hand.
    pub rule_sets: Vec<String>,
    /// The one that was applied, and how it stands; absent where no licence covers the site, or where it is not at hand.
    pub rules: Option<RuleSetUsed>,
    /// The same for people.
    #[serde(skip)]
    standing: String,
    /// The site at a glance; absent where no licence covers it.
    pub overview: Option<Overview>,
    /// What the conditions came to.
    pub findings: Vec<Standing>,
    /// The red flags, what is raised first; none where no licence covers the site.
    pub flags: Vec<Flag>,
    /// Whether shipments move; absent where no licence covers the site.
    pub shipments: Option<Shipments>,
    /// The same overview for people.
    #[serde(skip)]
    summary: Vec<String>,
    /// When the newest report was received.
    #[serde(skip)]
    newest: Option<UnixSeconds>,
    /// What the findings rest on; absent where no licence covers the site.
    #[serde(skip)]
    pub(crate) documents: Option<Documents>,
    /// What conditions ask that the licence states itself, by their ids.
    #[serde(skip)]
    titles: BTreeMap<String, String>,
}

/// A licence and the rule set that it names, as documents.
#[derive(Clone, Debug)]
pub(crate) struct Documents {
    /// SHA-256 of the licence's text.
    pub(crate) licence: Digest,
    /// The rule set's id.
    pub(crate) rule_set: String,
    /// SHA-256 of its text; absent where it is not at hand.
    pub(crate) rule_set_digest: Option<Digest>,
}

/// A finding, and since when it has stood.
#[derive(Clone, Debug, Serialize)]
pub struct Standing {
    /// The finding.
    #[serde(flatten)]
    pub finding: Finding,
    /// When a verifier that serves first recorded that the condition came to this outcome; absent where it has not yet.
    pub since: Option<UnixSeconds>,
}

/// A catalogue of accelerators, as far as it must be named.
#[derive(Clone, Debug, Serialize)]
pub struct CatalogueUsed {
    /// Its serial.
    pub serial: u64,
    /// The day on which its facts were last looked at.
    pub dated: String,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
    /// Who signed it, by the names under which their keys are trusted; none signed the one that the program carries.
    pub signed_by: Vec<String>,
}

/// The status of all sites.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Site by site.
    pub sites: Vec<SiteStatus>,
    /// The catalogue of accelerators that the findings rest on.
    pub catalogue: CatalogueUsed,
    /// The rule set that was taken for that of each licence, where one was.
    pub what_if: Option<RuleSetUsed>,
    /// Why loaded licences, statements and rule sets do not count, in sentences.
    pub passed_over: Vec<String>,
}

impl Session {
    pub(crate) async fn status(&self, command: StatusCommand, out: &mut dyn Write) -> Outcome {
        let now = command.at.unwrap_or_else(|| self.clock.now());
        if command.compute {
            let asked = (
                command.site.as_deref(),
                command.by,
                command.period.unwrap_or(Period::Year),
            );
            return self.compute(asked, now, command.format, out).await;
        }
        if let Some(condition) = &command.history {
            // A licence may state conditions of its own.
            if !is_condition(condition) {
                self.evaluate(now).await?.knows(condition)?;
            }
            let site = command.site.as_deref();
            return self.show_history(condition, site, command.format, out).await;
        }
        let mut status = self.evaluate_as_if(now, command.what_if.as_deref()).await?;
        if let Some(wanted) = &command.why {
            status.knows(wanted)?;
        }
        if let Some(only) = &command.site {
            status.keep(only)?;
        }
        if command.at.is_some() {
            status.may_be_judged(now)?;
        }
        if let Some(wanted) = &command.why {
            for site in &mut status.sites {
                site.findings.retain(|f| f.finding.condition == *wanted);
            }
            let mut licensed = status.sites.iter().filter(|s| s.licence.is_some()).peekable();
            if licensed.peek().is_some() && licensed.all(|s| s.findings.is_empty()) {
                return Err(CommandError::Refused {
                    why: format!("no licence that covers what is asked for states condition `{wanted}`"),
                });
            }
        }
        match command.format {
            Format::Json => writeln!(out, "{}", serde_json::to_string_pretty(&status)?)?,
            Format::Text if status.sites.is_empty() => {
                writeln!(
                    out,
                    "no licence counts here, and no node is enrolled: `weighbridge-verifier key trust`, then `licence load`, then `token new`"
                )?;
            }
            Format::Text => {
                if let Some(supposed) = &status.what_if {
                    let day = now.to_string();
                    writeln!(
                        out,
                        "as if {} ({}) applied on {}; nothing of this is recorded\n",
                        supposed.id,
                        supposed.state,
                        day.get(..10).unwrap_or(&day)
                    )?;
                }
                for (i, site) in status.sites.iter().enumerate() {
                    if i > 0 {
                        writeln!(out)?;
                    }
                    site.write(now, command.why.is_some(), out)?;
                }
            }
        }
        if command.format == Format::Text && !status.passed_over.is_empty() {
            writeln!(out, "\n{}", status.passed_over.join("\n"))?;
        }
        Ok(!status.sites.is_empty() && status.sites.iter().all(SiteStatus::holds))
    }
}

impl Status {
    /// Keeps one site.
    pub(crate) fn keep(&mut self, only: &str) -> Result<(), CommandError> {
        self.sites.retain(|s| s.site == *only);
        if self.sites.is_empty() {
            return Err(CommandError::Refused {
                why: format!("no licence covers site `{only}`, and no node reports from it"),
            });
        }
        Ok(())
    }

    /// Demands that its sites can be judged as of a time.
    pub(crate) fn may_be_judged(&self, at: UnixSeconds) -> Result<(), CommandError> {
        let mut newest = self.sites.iter().filter_map(|s| Some((&s.site, s.newest?)));
        match newest.find(|(_, newest)| at < *newest) {
            None => Ok(()),
            Some((site, newest)) => Err(CommandError::Refused {
                why: format!(
                    "facts are kept as of the newest report, and that of site `{site}` came at {newest}: give --at that time or a later one"
                ),
            }),
        }
    }

    /// Whether a condition is a published one, or one that a licence here states itself.
    fn knows(&self, wanted: &str) -> Result<(), CommandError> {
        let mut known: Vec<&str> = REGISTRY.iter().map(|c| c.id).collect();
        let own = self.sites.iter().flat_map(|s| s.titles.keys());
        known.extend(own.map(String::as_str).collect::<BTreeSet<_>>());
        if known.contains(&wanted) {
            return Ok(());
        }
        Err(CommandError::Refused {
            why: format!("condition `{wanted}` is not one of {}", known.join(", ")),
        })
    }
}

impl SiteStatus {
    /// Whether everything holds. A site that no licence covers cannot be told.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.licence.is_some()
            && self.findings.iter().all(|f| {
                matches!(
                    f.finding.outcome,
                    Verdict::Met | Verdict::NotApplicable | Verdict::Waived
                )
            })
    }
}

fn is_condition(name: &str) -> bool {
    REGISTRY.iter().any(|c| c.id == name)
}
