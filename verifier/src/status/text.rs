//! A site's status for people.

use super::{SiteStatus, Standing};
use std::io::Write;
use weighbridge::conditions::{Finding, Flag, FlagStanding, Outcome as Verdict, REGISTRY, meaning};
use weighbridge::time::UnixSeconds;
use weighbridge::unit::Grouped;
use weighbridge::workload::Level;

impl SiteStatus {
    pub(super) fn write(&self, now: UnixSeconds, why: bool, out: &mut dyn Write) -> std::io::Result<()> {
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
    if let Some(level) = finding.level {
        line("level", format!("{level} ({})", says(level)))?;
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

/// What a level says of training.
fn says(level: Level) -> &'static str {
    match level {
        Level::RuledOut => "training is ruled out",
        Level::Weak => "something else is likelier than training",
        Level::Candidate => "it may be training",
        Level::Established => "training is established by two independent sources",
        Level::Authenticated => "training is established, and declared",
    }
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

/// Parts per million as a percentage.
fn percent(ppm: u32) -> String {
    let hundredths = ppm.checked_div(100).unwrap_or(0);
    let (whole, rest) = (hundredths / 100, hundredths % 100);
    format!("{whole}.{rest:02} %")
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
            level: Some(Level::Candidate),
        };
        let mut out = Vec::new();
        explain(&finding, None, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lists = "subjects   serial S1\n   subjects   and 1,234 more, which are not listed\n   message";
        assert!(text.contains(lists), "{text}");
        assert!(text.contains("   level      L2 (it may be training)\n"), "{text}");
    }
}
