//! `status`: the conditions of each site, what needs a person first.
//!
//! Decides: nothing; the core's conditions do. It reads the same database as a verifier that serves, and changes nothing. With `--at` the
//! answer depends on files alone.

use crate::catalogue;
use crate::command::{CommandError, Format, Outcome, Session};
use crate::compute::By;
use crate::fleet::{Anchors, Licences, LoadedLicence, RuleSets, Statements, sites};
use crate::recorder::KeyRole;
use crate::rules::{self, RuleSetUsed};
use crate::store::FindingRow;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::Arc;
use weighbridge::appraisal::{Period, SiteFacts};
use weighbridge::conditions::{
    DaysAsked, Finding, Flag, FlagStanding, Outcome as Verdict, Overview, REGISTRY, Shipments, judge,
    meaning, overview,
};
use weighbridge::id::Digest;
use weighbridge::licence::Licence;
use weighbridge::rules::RuleSet;
use weighbridge::time::UnixSeconds;
use weighbridge::unit::Grouped;

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
    /// Evaluates the conditions of every site, as of `now`.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn evaluate(&self, now: UnixSeconds) -> Result<Status, CommandError> {
        self.evaluate_as_if(now, None).await
    }

    /// The same as if the rule set of this id were the one that each licence names.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn evaluate_as_if(
        &self,
        now: UnixSeconds,
        what_if: Option<&str>,
    ) -> Result<Status, CommandError> {
        let anchors = Anchors::read(&self.config.state_dir)?;
        let catalogue = catalogue::in_use(&self.config)?;
        let recorded = self.store.findings().await?;
        let mut out = Vec::new();
        let mut covered: BTreeMap<String, SiteFacts> = BTreeMap::new();
        let loaded = Licences::read(&*self.store, &anchors).await?;
        let statements = Statements::read(&*self.store, &loaded.counting).await?;
        let former = loaded.former();
        let Licences {
            counting,
            mut passed_over,
        } = loaded;
        passed_over.extend(statements.passed_over.iter().cloned());
        let issuers: BTreeMap<_, _> = counting.iter().map(LoadedLicence::signed_by).collect();
        let rule_sets = RuleSets::read(&*self.store, &anchors).await?;
        passed_over.extend(rule_sets.passed_over.iter().cloned());
        let supposed = match what_if {
            Some(id) => Some(rule_sets.book.newest(id).ok_or_else(|| CommandError::Refused {
                why: rules::unknown(id, &rule_sets.book),
            })?),
            None => None,
        };
        let standing = Arc::new(anchors.standing());
        let licences: Vec<Arc<Licence>> = counting
            .into_iter()
            .map(|loaded| Arc::new(as_if(loaded.licence, supposed)))
            .collect();
        let ruled: Vec<_> = licences.iter().map(|l| (l, rule_sets.of(l))).collect();
        let days = ruled
            .iter()
            .map(|(licence, rules)| DaysAsked::of(licence, rules, &catalogue, now));
        let days = days.reduce(DaysAsked::and).unwrap_or_else(DaysAsked::all);
        let mut facts = sites(&*self.store, &days).await?;
        // That of any site is that of all; a site without nodes has it too.
        let estate = facts.values().next().map(|f| Arc::clone(&f.estate.sites));
        let estate = estate.unwrap_or_default();
        // What is supposed was never recorded.
        let recorded_since = |site: &str, licence: &str, finding: &Finding| {
            let told = supposed
                .is_none()
                .then(|| since(&recorded, site, licence, finding));
            told.flatten()
        };
        for (licence, rules) in ruled {
            for site in &licence.sites {
                // A site that no node reports from has facts too: none.
                let known = covered.entry(site.id.clone()).or_insert_with(|| {
                    let naming = licences.iter().filter(|l| l.site(&site.id).is_some());
                    let mut known = SiteFacts {
                        site: site.id.clone(),
                        licences: naming.cloned().collect(),
                        former: former.iter().filter(|f| f.site == site.id).cloned().collect(),
                        statements: statements.about(&site.id),
                        issuers: issuers.clone(),
                        standing: Arc::clone(&standing),
                        ..facts.remove(&site.id).unwrap_or_default()
                    };
                    known.estate.sites = Arc::clone(&estate);
                    known.estate.licences.clone_from(&licences);
                    known
                });
                let overview = overview(licence, &rules, &catalogue, known, now);
                let judged = judge(licence, &rules, &catalogue, known, now);
                let there = Some(&*rules).filter(|r| r.absent.is_none());
                out.push(SiteStatus {
                    site: site.id.clone(),
                    licence: Some(licence.licence_id.clone()),
                    serial: Some(licence.serial),
                    rule_sets: there.map(|r| r.id.clone()).into_iter().collect(),
                    rules: there.map(|r| RuleSetUsed::of(r, &anchors)),
                    standing: rules::standing(&rules),
                    findings: judged
                        .findings
                        .into_iter()
                        .map(|finding| Standing {
                            since: recorded_since(&site.id, &licence.licence_id, &finding),
                            finding,
                        })
                        .collect(),
                    flags: judged.flags,
                    shipments: Some(judged.shipments),
                    summary: summary(known, overview.lines.clone()),
                    overview: Some(overview),
                    newest: newest(known),
                    documents: Some(Documents {
                        licence: licence.digest,
                        rule_set: rules.id.clone(),
                        rule_set_digest: there.map(|r| r.digest),
                    }),
                    titles: licence
                        .conditions
                        .iter()
                        .map(|c| (c.id.clone(), c.title.clone()))
                        .collect(),
                });
            }
        }
        for (site, unlicensed) in facts {
            out.push(SiteStatus {
                licence: None,
                serial: None,
                rule_sets: Vec::new(),
                rules: None,
                standing: String::new(),
                findings: Vec::new(),
                flags: Vec::new(),
                shipments: None,
                summary: summary(&unlicensed, vec![plain(&unlicensed, now)]),
                overview: None,
                newest: newest(&unlicensed),
                documents: None,
                titles: BTreeMap::new(),
                site,
            });
        }
        out.sort_by(|a, b| (&a.site, &a.licence).cmp(&(&b.site, &b.licence)));
        let signers = catalogue.signers().iter();
        let names = signers.filter_map(|k| anchors.name_for(KeyRole::Catalogues, k));
        Ok(Status {
            sites: out,
            catalogue: CatalogueUsed {
                serial: catalogue.version().serial,
                dated: catalogue.version().day(),
                sha256: catalogue.digest(),
                signed_by: names.map(str::to_owned).collect(),
            },
            what_if: supposed.map(|r| RuleSetUsed::of(r, &anchors)),
            passed_over,
        })
    }

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

    fn write(&self, now: UnixSeconds, why: bool, out: &mut dyn Write) -> std::io::Result<()> {
        match (&self.licence, self.serial) {
            (Some(licence), Some(serial)) => writeln!(
                out,
                "{} · licence {licence}, serial {serial} · rules {} · {}",
                self.site,
                self.standing,
                minute(now)
            )?,
            _ => writeln!(
                out,
                "{} · no licence covers this site, so nothing can be told · {}",
                self.site,
                minute(now)
            )?,
        }
        writeln!(out, "{}\n", self.summary.join("\n"))?;
        for Standing { finding, since } in &self.findings {
            let since = since.map_or_else(String::new, |t| format!(", since {}", minute(t)));
            writeln!(
                out,
                " {:<15} {:<7} {}   {}{since}",
                finding.outcome.text(),
                finding.condition,
                finding.sentence,
                finding.grade.text()
            )?;
            if why {
                explain(
                    finding,
                    self.titles.get(&finding.condition).map(String::as_str),
                    out,
                )?;
            }
        }
        if !why && let Some(first) = self.findings.first() {
            let tally: Vec<String> = Verdict::ALL
                .iter()
                .map(|o| {
                    (
                        self.findings.iter().filter(|f| f.finding.outcome == *o).count(),
                        o,
                    )
                })
                .filter(|(n, _)| *n > 0)
                .map(|(n, o)| format!("{n} {o}"))
                .collect();
            writeln!(
                out,
                "\n {}        `status --why {}` shows the evidence",
                tally.join(" · "),
                first.finding.condition
            )?;
        }
        if !why {
            self.write_flags(out)?;
        }
        Ok(())
    }

    /// The red flags that someone must look at, how many are not raised, and whether shipments move.
    fn write_flags(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let Some(shipments) = &self.shipments else {
            return Ok(());
        };
        writeln!(out)?;
        let (calm, shown): (Vec<&Flag>, Vec<&Flag>) = self
            .flags
            .iter()
            .partition(|f| f.state == FlagStanding::NotRaised);
        for flag in shown {
            let state = if flag.open { flag.state.text() } else { "resolved" };
            writeln!(
                out,
                " {state:<15} {:<7} {}: {}   {}",
                flag.flag.text(),
                flag.title,
                flag.sentence,
                flag.grade.text()
            )?;
        }
        writeln!(
            out,
            " {} of {} red flags are not raised; shipments are {}: {}",
            calm.len(),
            self.flags.len(),
            shipments.state.text(),
            shipments.sentence
        )
    }
}

/// A licence as if it named this rule set, if any, and pinned none.
fn as_if(licence: Licence, supposed: Option<&Arc<RuleSet>>) -> Licence {
    match supposed {
        Some(rules) => Licence {
            ruleset_id: rules.id.clone(),
            ruleset: None,
            ..licence
        },
        None => licence,
    }
}

fn is_condition(name: &str) -> bool {
    REGISTRY.iter().any(|c| c.id == name)
}

/// Since when a finding has stood, if what was recorded of it last came to the same.
fn since(recorded: &[FindingRow], site: &str, licence: &str, finding: &Finding) -> Option<UnixSeconds> {
    let row = recorded
        .iter()
        .find(|r| r.site == site && r.licence == licence && r.condition == finding.condition)?;
    (row.outcome == finding.outcome).then_some(row.since)
}

/// Everything that a reader needs to check a finding.
fn explain(finding: &Finding, own: Option<&str>, out: &mut dyn Write) -> std::io::Result<()> {
    let condition = REGISTRY.iter().find(|c| c.id == finding.condition);
    let mut line = |name: &str, value: String| writeln!(out, "   {name:<10} {value}");
    if let Some(title) = own.or_else(|| condition.map(|c| c.title)) {
        line("asks", title.to_owned())?;
    }
    for (name, quantity) in [("measured", &finding.measured), ("limit", &finding.limit)] {
        if let Some(q) = quantity {
            line(name, bounds(q.lower.as_deref(), q.upper.as_deref(), &q.unit))?;
        }
    }
    if let Some(window) = finding.window {
        line("window", format!("{} to {}", window.from, window.to))?;
    }
    if let Some(coverage) = finding.coverage {
        line("coverage", percent(coverage.0))?;
    }
    let evidence = finding.evidence.iter().map(ToString::to_string).collect();
    for (name, items, left_out) in [
        ("subjects", finding.subjects.clone(), finding.subjects_left_out),
        ("evidence", evidence, finding.evidence_left_out),
    ] {
        for item in items {
            line(name, item)?;
        }
        if left_out > 0 {
            line(
                name,
                format!("and {} more, which are not listed", Grouped(left_out.into())),
            )?;
        }
    }
    let says = meaning(&finding.message_id).map_or_else(String::new, |s| format!(" ({s})"));
    line("message", format!("{}{says}", finding.message_id))?;
    line("rests on", finding.rule_set.clone())?;
    line("", finding.catalogue.clone())?;
    line("severity", finding.severity.to_string())?;
    line("source", finding.citation.clone())
}

/// A quantity between bounds, in words.
pub(crate) fn bounds(lower: Option<&str>, upper: Option<&str>, unit: &str) -> String {
    match (lower, upper) {
        (Some(a), Some(b)) if a == b => format!("{a} {unit}"),
        (Some(a), Some(b)) => format!("{a} to {b} {unit}"),
        (Some(a), None) => format!("at least {a} {unit}"),
        (None, Some(b)) => format!("at most {b} {unit}"),
        (None, None) => format!("unknown, in {unit}"),
    }
}

fn wide(n: usize) -> u128 {
    u128::try_from(n).unwrap_or(u128::MAX)
}

/// Parts per million as a percentage.
fn percent(ppm: u32) -> String {
    let hundredths = ppm.checked_div(100).unwrap_or(0);
    let (whole, rest) = (hundredths / 100, hundredths % 100);
    format!("{whole}.{rest:02} %")
}

/// When the newest report of the site was received.
fn newest(facts: &SiteFacts) -> Option<UnixSeconds> {
    let reports = facts.nodes.iter().filter_map(|n| n.record.facts.newest.as_ref());
    reports.map(|r| r.received).max()
}

/// An overview, and who waits for the administrator.
fn summary(facts: &SiteFacts, mut lines: Vec<String>) -> Vec<String> {
    let pending = facts.nodes.iter().filter(|n| n.status.approved.is_none()).count();
    if facts.nodes.is_empty() {
        lines.push(format!(
            "no node is enrolled here: `weighbridge-verifier token new --site {}` makes a token for one",
            facts.site
        ));
    }
    let damaged = facts
        .nodes
        .iter()
        .filter(|n| n.record.facts.damaged.is_some())
        .count();
    if damaged > 0 {
        lines.push(format!(
            "what is kept of {} of the nodes is damaged in the database, see the log",
            Grouped(wide(damaged))
        ));
    }
    if pending > 0 {
        lines.push(format!(
            "{} of the nodes enrolled here must still be approved: `weighbridge-verifier node approve`",
            Grouped(wide(pending))
        ));
    }
    lines
}

/// What can be said without a licence.
fn plain(facts: &SiteFacts, now: UnixSeconds) -> String {
    let active = facts.nodes.iter().filter(|n| n.status.is_expected(now));
    let reported = active.clone().filter(|n| n.record.facts.newest.is_some());
    let devices = facts.nodes.iter().flat_map(|n| &n.record.facts.devices);
    let uuids: BTreeSet<_> = devices.map(|d| d.identity.uuid).collect();
    format!(
        "{} of {} nodes have reported at some time, and {} GPUs were ever seen",
        Grouped(wide(reported.count())),
        Grouped(wide(active.count())),
        Grouped(wide(uuids.len()))
    )
}

/// A time to the minute: `2026-11-22 04:10 UTC`.
pub(crate) fn minute(at: UnixSeconds) -> String {
    let text = at.to_string();
    match (text.get(..10), text.get(11..16)) {
        (Some(day), Some(time)) => format!("{day} {time} UTC"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weighbridge::appraisal::Grade;
    use weighbridge::conditions::Severity;

    #[test]
    fn what_a_finding_does_not_list_is_counted() {
        let finding = Finding {
            condition: "INV-02".into(),
            outcome: Verdict::CannotTell,
            grade: Grade::DriverReported,
            measured: None,
            limit: None,
            window: None,
            coverage: None,
            subjects: vec!["serial S1".to_owned()],
            subjects_left_out: 1_234,
            evidence: Vec::new(),
            evidence_left_out: 0,
            sentence: String::new(),
            message_id: String::new(),
            severity: Severity::Critical,
            citation: String::new(),
            rule_set: String::new(),
            trial: false,
            catalogue: String::new(),
        };
        let mut out = Vec::new();
        explain(&finding, None, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lists = "subjects   serial S1\n   subjects   and 1,234 more, which are not listed\n   message";
        assert!(text.contains(lists), "{text}");
    }
}
