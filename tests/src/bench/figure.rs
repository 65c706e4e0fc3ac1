//! A figure beside its limit, and the table of them.

use super::reference::median;
use serde::Serialize;

/// One figure of a benchmark.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figure {
    /// Benchmark and figure, as `intake.report`.
    pub(super) name: String,
    /// What was measured, in words.
    pub(super) what: String,
    /// The figure: the median of the rounds; absent where it was not measured.
    pub(super) value: Option<f64>,
    /// Its unit.
    pub(super) unit: &'static str,
    /// What it must not be beyond; absent where it is for information.
    pub(super) limit: Option<f64>,
    /// Whether it must not be below its limit. Otherwise it must not be above it.
    pub(super) at_least: bool,
    /// Why it was not measured, which is no pass.
    pub(super) not_measured: Option<String>,
    /// The rounds that the figure is the median of.
    pub(super) rounds: Vec<f64>,
    /// What it is made of, or what stood beside it.
    pub(super) beside: Vec<(String, String)>,
}

impl Figure {
    /// The median of rounds.
    pub(super) fn of(name: &str, what: &str, unit: &'static str, rounds: Vec<f64>) -> Self {
        Self {
            name: name.to_owned(),
            what: what.to_owned(),
            value: Some(median(&rounds)),
            unit,
            limit: None,
            at_least: false,
            not_measured: None,
            rounds,
            beside: Vec::new(),
        }
    }

    /// One that could not be measured here, and why.
    pub(super) fn not_measured(name: &str, what: &str, unit: &'static str, why: &str) -> Self {
        Self {
            name: name.to_owned(),
            what: what.to_owned(),
            value: None,
            unit,
            limit: None,
            at_least: false,
            not_measured: Some(why.to_owned()),
            rounds: Vec::new(),
            beside: Vec::new(),
        }
    }

    /// With a limit that it must not be above.
    pub(super) fn at_most(mut self, limit: f64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// With a limit that it must not be below.
    pub(super) fn at_least(mut self, limit: f64) -> Self {
        self.at_least = true;
        self.at_most(limit)
    }

    /// With something beside it.
    pub(super) fn beside(mut self, what: &str, value: impl std::fmt::Display) -> Self {
        self.beside.push((what.to_owned(), value.to_string()));
        self
    }

    /// Whether its limit holds; `None` where it has none or was not measured.
    pub(super) fn holds(&self) -> Option<bool> {
        let (value, limit) = (self.value?, self.limit?);
        Some(if self.at_least {
            value >= limit
        } else {
            value <= limit
        })
    }

    fn verdict(&self) -> &'static str {
        match self.holds() {
            Some(true) => "holds",
            Some(false) => "MISSED",
            None if self.not_measured.is_some() => "not measured",
            None => "",
        }
    }
}

/// A number with as many digits as say something.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 1000.0 => format!("{value:.0}"),
        v if v >= 100.0 => format!("{value:.1}"),
        v if v >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// The figures as a table, each with its rounds and what stood beside it.
pub(super) fn table(figures: &[Figure]) -> String {
    let mut rows = vec![["figure", "measured", "limit", "of limit", "unit", ""].map(str::to_owned)];
    for f in figures {
        rows.push([
            f.name.clone(),
            f.value.map(number).unwrap_or_default(),
            f.limit
                .map(|l| format!("{}{}", if f.at_least { "≥ " } else { "" }, number(l)))
                .unwrap_or_default(),
            f.value
                .zip(f.limit)
                .map(|(value, limit)| format!("{:.0} %", 100.0 * value / limit))
                .unwrap_or_default(),
            f.unit.to_owned(),
            f.verdict().to_owned(),
        ]);
    }
    let width = |column: usize| rows.iter().map(|r| r[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut out = String::new();
    for row in &rows {
        let [name, measured, limit, share, unit, verdict] = row;
        let line = format!(
            "{name:<0$}  {measured:>1$}  {limit:>2$}  {share:>3$}  {unit:<4$}  {verdict}",
            widths[0], widths[1], widths[2], widths[3], widths[4]
        );
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out.push('\n');
    for f in figures {
        out.push_str(&format!("{}: {}\n", f.name, f.what));
        if let Some(why) = &f.not_measured {
            out.push_str(&format!("    not measured: {why}\n"));
        }
        if f.rounds.len() > 1 {
            let rounds: Vec<_> = f.rounds.iter().map(|r| number(*r)).collect();
            out.push_str(&format!("    rounds: {}\n", rounds.join("  ")));
        }
        for (what, value) in &f.beside {
            out.push_str(&format!("    {what}: {value}\n"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_the_median_and_is_held_against_its_limit() {
        let figure = Figure::of("a.b", "something", "verifications", vec![9.0, 1.0, 3.0, 2.0, 2.5]);
        assert!((figure.value.unwrap() - 2.5).abs() < 1e-9);
        assert_eq!(figure.holds(), None);
        assert_eq!(figure.clone().at_most(2.5).holds(), Some(true));
        let missed = figure.at_most(2.4);
        assert_eq!(missed.holds(), Some(false));
        assert!(table(&[missed]).contains("MISSED"));
    }

    #[test]
    fn a_figure_that_must_be_reached_is_missed_below_its_limit() {
        let figure = Figure::of("a.b", "something", "times", vec![40.0]);
        assert_eq!(figure.clone().at_least(40.0).holds(), Some(true));
        let missed = figure.at_least(41.0);
        assert_eq!(missed.holds(), Some(false));
        assert!(table(&[missed]).contains("≥ 41.00"));
    }

    #[test]
    fn what_was_not_measured_does_not_hold() {
        let figure = Figure::not_measured("a.b", "something", "times", "nobody is at home").at_least(40.0);
        assert_eq!(figure.holds(), None);
        let table = table(&[figure]);
        assert!(table.contains("not measured: nobody is at home"), "{table}");
        assert!(!table.contains("holds"), "{table}");
    }
}
