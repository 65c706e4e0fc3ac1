//! The evaluation of every site, from what is on file.
//!
//! Decides: nothing; it gathers licences, rule sets, statements and facts, and hands them to the core's conditions.

use super::{CatalogueUsed, Documents, SiteStatus, Standing, Status};
use crate::catalogue;
use crate::command::{CommandError, Session};
use crate::fleet::{Anchors, Licences, LoadedLicence, RuleSets, Statements, sites};
use crate::recorder::KeyRole;
use crate::rules::{self, RuleSetUsed};
use crate::store::FindingRow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weighbridge::appraisal::SiteFacts;
use weighbridge::conditions::{DaysAsked, Finding, judge, overview};
use weighbridge::licence::Licence;
use weighbridge::rules::RuleSet;
use weighbridge::time::UnixSeconds;
use weighbridge::unit::Grouped;
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

/// Since when a finding has stood, if what was recorded of it last came to the same.
fn since(recorded: &[FindingRow], site: &str, licence: &str, finding: &Finding) -> Option<UnixSeconds> {
    let row = recorded
        .iter()
        .find(|r| r.site == site && r.licence == licence && r.condition == finding.condition)?;
    (row.outcome == finding.outcome).then_some(row.since)
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

fn wide(n: usize) -> u128 {
    u128::try_from(n).unwrap_or(u128::MAX)
}
