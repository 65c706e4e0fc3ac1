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
    /// The figure: the median of the rounds.
    pub(super) value: f64,
    /// Its unit.
    pub(super) unit: &'static str,
    /// What it must not be above; absent where it is for information.
    pub(super) limit: Option<f64>,
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
            value: median(&rounds),
            unit,
            limit: None,
            rounds,
            beside: Vec::new(),
        }
    }

    /// With a limit.
    pub(super) fn at_most(mut self, limit: f64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// With something beside it.
    pub(super) fn beside(mut self, what: &str, value: impl std::fmt::Display) -> Self {
        self.beside.push((what.to_owned(), value.to_string()));
        self
    }

    /// Whether its limit holds; `None` where it has none.
    pub(super) fn holds(&self) -> Option<bool> {
        self.limit.map(|limit| self.value <= limit)
    }

    fn verdict(&self) -> &'static str {
        match self.holds() {
            Some(true) => "holds",
            Some(false) => "MISSED",
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
            number(f.value),
            f.limit.map(number).unwrap_or_default(),
            f.limit
                .map(|l| format!("{:.0} %", 100.0 * f.value / l))
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
        assert!((figure.value - 2.5).abs() < 1e-9);
        assert_eq!(figure.holds(), None);
        assert_eq!(figure.clone().at_most(2.5).holds(), Some(true));
        let missed = figure.at_most(2.4);
        assert_eq!(missed.holds(), Some(false));
        assert!(table(&[missed]).contains("MISSED"));
    }
}
