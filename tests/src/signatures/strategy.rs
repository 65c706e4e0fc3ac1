//! How trainings that try not to be seen fare: for each strategy how many are found, how soon, and what it costs whoever uses it.

use super::figures::{Figures, Judged, median};
use super::play::WINDOW;
use super::runs::Runs;
use serde::Serialize;
use std::collections::BTreeMap;
use weighbridge::workload::Level;

/// Of one strategy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Strategy {
    /// Its name, with its numbers.
    pub strategy: String,
    /// Recordings.
    pub recordings: usize,
    /// Those with a device that was called training.
    pub found: usize,
    /// Those without, of which it was left open whether a device trains.
    pub left_open: usize,
    /// Share of useful work that it costs, the mean where it is known; below nought where it gains.
    pub tax: Option<f64>,
    /// Minutes until a device was called training, at L2 or more and at L3; the median of those that were.
    pub minutes_to_alert: [Option<f64>; 2],
}

/// Of all strategies, by name.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Strategies(pub Vec<Strategy>);

/// Minutes until the windows of a run together called it training, at L2 or more and at L3, where samples are so far apart.
pub(super) fn alerts(runs: &Runs<'_>, nominal_ns: u64, seconds: f64) -> [Option<f64>; 2] {
    let window_s = WINDOW as f64 * nominal_ns as f64 / 1e9;
    [Level::Candidate, Level::Established].map(|level| {
        let windows = runs.first_called(level)? + 1;
        Some((windows as f64 * window_s).min(seconds) / 60.0)
    })
}

impl Strategies {
    /// Of these.
    #[must_use]
    pub fn of<'a>(all: impl Iterator<Item = &'a Judged>) -> Self {
        let mut each: BTreeMap<&str, BTreeMap<&str, Vec<&Judged>>> = BTreeMap::new();
        for judged in all.filter(|j| j.row.strategy != "none" && j.row.truth().training() == Some(true)) {
            let recordings = each.entry(&judged.row.strategy).or_default();
            recordings.entry(&judged.row.path).or_default().push(judged);
        }
        Self(each.into_iter().map(|(name, of)| one(name, &of)).collect())
    }

    /// Lines of the table of strategies.
    #[must_use]
    pub fn lines(&self, of: &str) -> Vec<String> {
        self.0.iter().map(|s| s.line(of)).collect()
    }
}

fn one(name: &str, recordings: &BTreeMap<&str, Vec<&Judged>>) -> Strategy {
    let found = |devices: &&Vec<&Judged>| devices.iter().any(|j| j.called() == Some(true));
    let open = |devices: &&Vec<&Judged>| !found(devices) && devices.iter().any(|j| j.called().is_none());
    let taxes = recordings
        .values()
        .filter_map(|d| d.first()?.row.tax.parse().ok());
    let taxes: Vec<f64> = taxes.collect();
    let soonest = |level: usize| {
        let each = recordings.values().filter_map(move |devices| {
            let all = devices.iter().filter_map(|j| j.alerts[level]);
            all.min_by(f64::total_cmp)
        });
        median(each)
    };
    Strategy {
        strategy: name.to_owned(),
        recordings: recordings.len(),
        found: recordings.values().filter(found).count(),
        left_open: recordings.values().filter(open).count(),
        tax: (!taxes.is_empty()).then(|| taxes.iter().sum::<f64>() / taxes.len() as f64),
        minutes_to_alert: [soonest(0), soonest(1)],
    }
}

/// The heads of the table of strategies.
#[must_use]
pub fn heading() -> String {
    "| strategy | recordings | found | left open | useful work lost | minutes to L2 | to L3 |\n|---|---|---|---|---|---|---|".to_owned()
}

fn minutes(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |m| format!("{m:.1}"))
}

impl Strategy {
    /// A line of the table of strategies.
    #[must_use]
    pub fn line(&self, of: &str) -> String {
        let tax = self
            .tax
            .map_or_else(|| "-".to_owned(), |t| format!("{:.0} %", t * 100.0));
        let [second, third] = self.minutes_to_alert.map(minutes);
        format!(
            "| {} | {} {of} | {} | {} | {tax} | {second} | {third} |",
            self.strategy, self.recordings, self.found, self.left_open
        )
    }
}

/// How soon trainings were called that.
#[must_use]
pub fn time_line(figures: &Figures) -> String {
    let [second, third] = figures.minutes_to_alert.map(minutes);
    format!("minutes until a training that is found is called that (median): L2 {second}, L3 {third}")
}

#[cfg(test)]
mod tests {
    use super::super::{own, play, read};
    use super::*;
    use weighbridge::time::SECOND;
    use weighbridge::workload::{Features, Model};

    /// The window of an own recording, which has one.
    fn window(name: &str) -> Option<Features> {
        let recording = read(&own().join(format!("h200/{name}-1.csv.gz"))).unwrap();
        play(&recording).remove(0).remove(0)
    }

    #[test]
    fn an_alert_comes_with_the_window_that_makes_the_run_training_and_a_month_is_looked_at_once() {
        const MONTH: usize = 31 * 24 * 60;
        let model = Model::embedded().unwrap();
        let mut windows = vec![window("idle_memory_held"); 3];
        windows.resize(MONTH, window("dense_transformer"));
        let after =
            |windows: &[Option<Features>], seconds| alerts(&Runs::of(&model, windows), SECOND, seconds);
        assert_eq!(after(&windows, MONTH as f64 * 60.0), [Some(4.0), None]);
        assert_eq!(after(&windows[..4], 200.0), [Some(200.0 / 60.0), None]);
    }

    #[test]
    fn a_window_of_sixty_samples_is_five_minutes_where_they_are_five_seconds_apart() {
        let model = Model::embedded().unwrap();
        let mut windows = vec![window("idle_memory_held"); 3];
        windows.resize(6, window("dense_transformer"));
        let runs = Runs::of(&model, &windows);
        assert_eq!(alerts(&runs, 5 * SECOND, 1_800.0), [Some(20.0), None]);
    }
}
