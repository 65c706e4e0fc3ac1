//! What a set of verdicts adds up to.
//!
//! Decides: that a family counts once, however many recordings, devices or windows it has, and that what was not decided is counted apart.

use super::index::{Row, Truth};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use weighbridge::workload::{Class, Explanation, Level, Verdict};

/// A verdict about one device of one recording.
#[derive(Debug, Clone)]
pub struct Judged {
    /// What it is.
    pub row: Row,
    /// The device's number.
    pub gpu: usize,
    /// What was found.
    pub verdict: Verdict,
    /// How long it was watched.
    pub seconds: f64,
    /// Minutes until it was called training, at L2 or more and at L3; `None` where it never was.
    pub alerts: [Option<f64>; 2],
    /// Features that lay outside of what was taught, at most in any window.
    pub strange: usize,
    /// How many recordings had taught the trees by which it was judged; with none, the tables judge alone.
    pub taught_by: usize,
    /// Why, where anything could be scored.
    pub why: Option<Explanation>,
}

impl Judged {
    /// Whether it is training, as far as the index says.
    fn truth(&self) -> Option<bool> {
        self.row.truth().training()
    }

    /// Whether it was called training; `None` where that was left open.
    pub(super) fn called(&self) -> Option<bool> {
        match self.verdict.class {
            Some(class) => Some(class == Class::Training),
            None => (self.verdict.level == Level::RuledOut).then_some(false),
        }
    }
}

/// Figures over recordings that are all real or all simulated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// Devices in recordings.
    pub devices: usize,
    /// Families.
    pub families: usize,
    /// Of those that were decided, how many were rightly called training or something else; each family counts once.
    pub accuracy: Option<f64>,
    /// 95 % of it, over families, their standard error times 1.44.
    pub ci: Option<[f64; 2]>,
    /// Of how many it was left open whether they train; each family counts once.
    pub abstention: f64,
    /// Of how many no class was named, though training may be ruled out; likewise.
    pub unnamed: f64,
    /// Devices that did something else and were called training, for 1,000 days of such devices.
    pub false_accusations_per_1000_gpu_days: Option<f64>,
    /// Families of inference with any device that was called training, of all families of inference.
    pub accused: [usize; 2],
    /// Families of training of which most devices were called training, of all families of training.
    pub found: [usize; 2],
    /// Of those that were decided, how many were rightly called one of the seven classes; each family counts once.
    pub class_accuracy: Option<f64>,
    /// Minutes until a training was called that, at L2 or more and at L3: the median of its devices of which it ever was. A window is sixty
    /// samples, a minute where they are a second apart, or as long as the recording where that is shorter.
    pub minutes_to_alert: [Option<f64>; 2],
}

/// Families by how many of their devices, of all of them, were called training, and all families.
fn families<'a>(
    all: impl Iterator<Item = (&'a Judged, bool)>,
    counts: fn(usize, usize) -> bool,
) -> [usize; 2] {
    let mut each: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    for (judged, called) in all {
        let [those, devices] = each.entry(&judged.row.family).or_default();
        *those += usize::from(called);
        *devices += 1;
    }
    let counted = each.values().filter(|[those, devices]| counts(*those, *devices));
    [counted.count(), each.len()]
}

/// The mean over families of the mean within each, and the families' number and standard deviation.
fn mean(all: impl Iterator<Item = (String, bool)>) -> Option<(f64, usize, f64)> {
    let mut each: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for (family, holds) in all {
        let sums = each.entry(family).or_default();
        sums.0 += f64::from(u8::from(holds));
        sums.1 += 1.0;
    }
    let means: Vec<f64> = each.values().map(|(sum, n)| sum / n).collect();
    let count = means.len();
    let mean = (count > 0).then(|| means.iter().sum::<f64>() / count as f64)?;
    let square: f64 = means.iter().map(|m| (m - mean) * (m - mean)).sum();
    let deviation = if count > 1 {
        (square / (count - 1) as f64).sqrt()
    } else {
        0.5
    };
    Some((mean, count, deviation))
}

/// The middle one, rounded.
pub(super) fn median(all: impl Iterator<Item = f64>) -> Option<f64> {
    let mut all: Vec<f64> = all.collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().map(rounded)
}

fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

impl Figures {
    /// Of these; `None` where there is none whose class is known.
    #[must_use]
    pub fn of<'a>(all: impl Iterator<Item = &'a Judged>) -> Option<Self> {
        let all: Vec<&Judged> = all.filter(|j| j.row.truth() != Truth::Unknown).collect();
        let family = |j: &Judged| j.row.family.clone();
        let untold = all.iter().map(|j| (family(j), j.called().is_none()));
        let (abstention, ..) = mean(untold)?;
        let unnamed = mean(all.iter().map(|j| (family(j), j.verdict.class.is_none())));
        let (unnamed, ..) = unnamed?;
        let right = all
            .iter()
            .filter_map(|j| Some((family(j), j.called()? == j.truth()?)));
        let right = mean(right);
        let classes = all
            .iter()
            .filter_map(|j| Some((family(j), j.row.truth().is(j.verdict.class?)?)));
        let innocent = || all.iter().filter(|j| j.truth() == Some(false));
        let days: f64 = innocent().map(|j| j.seconds).sum::<f64>() / 86_400.0;
        let accused = innocent().filter(|j| j.called() == Some(true)).count();
        let inference = |j: &&&Judged| {
            matches!(
                j.row.truth(),
                Truth::Inference | Truth::Class(Class::InferenceInteractive | Class::InferenceBatch)
            )
        };
        let called = |j: &&'a Judged| (*j, j.called() == Some(true));
        let training = |j: &&&Judged| j.truth() == Some(true);
        let names: BTreeSet<&str> = all.iter().map(|j| j.row.family.as_str()).collect();
        Some(Self {
            devices: all.len(),
            families: names.len(),
            accuracy: right.map(|(mean, ..)| rounded(mean)),
            ci: right.map(|(mean, count, deviation)| {
                // With all right or all wrong nothing spreads: then as if one family more were the other way.
                let least = 1.0 / (count as f64 + 1.0);
                let error = (deviation / (count as f64).sqrt()).max(least / 1.96) * 1.44 * 1.96;
                [rounded((mean - error).max(0.0)), rounded((mean + error).min(1.0))]
            }),
            abstention: rounded(abstention),
            unnamed: rounded(unnamed),
            false_accusations_per_1000_gpu_days: (days > 0.0)
                .then(|| (accused as f64 * 1_000.0 / days).round()),
            // Each by its strict side: one device is enough for an accusation, and none for having found what ran on all.
            accused: families(all.iter().filter(inference).map(called), |those, _| those > 0),
            found: families(all.iter().filter(training).map(called), |those, of| {
                2 * those > of
            }),
            class_accuracy: mean(classes).map(|(mean, ..)| rounded(mean)),
            minutes_to_alert: [0, 1].map(|level| {
                let trained = all.iter().filter(training);
                median(trained.filter_map(|j| j.alerts[level]))
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four devices of a family of this class, of which so many were called training.
    fn four(class: &str, called: usize) -> [usize; 4] {
        let judged = |gpu| Judged {
            row: Row {
                path: String::new(),
                class: class.to_owned(),
                mechanism: "m".to_owned(),
                family: "f".to_owned(),
                workload: "w".to_owned(),
                run: "1".to_owned(),
                strategy: "none".to_owned(),
                device: "d".to_owned(),
                real: true,
                tax: String::new(),
            },
            gpu,
            alerts: [None; 2],
            verdict: Verdict {
                class: (gpu < called).then_some(Class::Training),
                level: Level::Candidate,
                training: 0,
            },
            seconds: 10.0,
            strange: 0,
            taught_by: 1,
            why: None,
        };
        let all: Vec<Judged> = (0..4).map(judged).collect();
        let figures = Figures::of(all.iter()).unwrap();
        let ([accused, innocent], [found, trained]) = (figures.accused, figures.found);
        [accused, innocent, found, trained]
    }

    #[test]
    fn one_device_accuses_a_family_and_most_find_it() {
        assert_eq!(four("inference", 0), [0, 1, 0, 0]);
        assert_eq!(four("inference", 1), [1, 1, 0, 0]);
        assert_eq!(four("training", 1), [0, 0, 0, 1]);
        assert_eq!(four("training", 2), [0, 0, 0, 1]);
        assert_eq!(four("training", 3), [0, 0, 1, 1]);
    }
}
