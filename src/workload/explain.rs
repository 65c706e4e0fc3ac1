//! Why a window or a run scored as it did: the features that spoke, in words.
//!
//! Decides: which features spoke most for what was said and against it, and the sentence for each. What a feature gave is its rows in the tables,
//! and by how much its questions on the way through the trees moved what was ahead, each side of a question weighing the same. Where
//! nothing was named, the question is training. Does not establish why a program behaves so.

use super::{Class, Features, Model, Run, Scored};
use serde::Serialize;

/// The most reasons either way.
const MOST: usize = 3;

/// Less than this is no reason worth a sentence, in hundredths of a nat.
const LEAST: u64 = 10;

/// The fact that each feature is, in the order of [`Features::NAMES`]; `#` stands for the value.
const FACTS: [&str; Features::COUNT] = [
    "The SMs worked # of the time",
    "A kernel was resident # of the time",
    "The tensor pipes worked # of the time",
    "The tensor pipes worked # as long as the SMs",
    "The tensor pipes worked # as long as memory",
    "Memory was read or written # of the time",
    "The FP64 pipes worked # of the time",
    "The FP32 pipes worked # of the time",
    "The integer pipes worked # of the time",
    "NVLink carried traffic # of the time",
    "NVLink carried # as much one way as the other",
    "Power varied by # of its mean",
    "The work repeated itself with a likeness of #",
    "The device moved # like the others of its node",
    "Memory worked # as long as the SMs",
    "The FP64 pipes worked # as long as the SMs",
    "The FP32 pipes worked # as long as the SMs",
    "The integer pipes worked # as long as the SMs",
    "The SMs worked # of the time in which a kernel was resident",
    "The share of tensor work varied from second to second by # of its mean",
    "The share of memory work varied from second to second by # of its mean",
    "The work of the SMs varied from second to second by # of its mean",
    "The device rested # of the time",
    "While its links were in use, the tensor pipes worked # as long as memory",
    "Of the movement of its links or its power, # repeated itself",
    "The tensor pipes led # of the time",
    "Memory led # of the time",
    "Neither tensor pipes nor memory led, though the SMs were busy, # of the time",
    "The SMs rested or waited # of the time",
    "The device turned from one kind of work to another at # of the samples",
    "The lengths between starts of work varied by # of their sum with their mean, which is 50 % where starts come at random",
    "Activity fell by more than half and came back # as often as once an hour",
    "These falls were # as even as a clock",
    "Work started after a rest # as often as once an hour",
    "Memory in use stayed as it was # of the time",
    "PCIe carried traffic # of the time",
    "PCIe carried # as much one way as the other",
    "Power strayed by # of its mean from what activity explains",
    "NVLink traffic rose and fell in a fixed rhythm by # of its mean",
    "NVLink rested # of the time in which the tensor pipes worked fully",
    "The bytes sent over NVLink in one beat were # of memory in use",
];

/// What a feature said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// Its name.
    pub feature: &'static str,
    /// Its value, in parts per million; the mean over the windows of a run.
    pub ppm: i64,
    /// What it gave the one class over the other, in hundredths of a nat; the mean over the windows of a run.
    pub centinats: i64,
    /// The same in words.
    pub sentence: String,
}

/// Why something was said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The class that was named; training where none was.
    pub class: Class,
    /// What it is held against: training, or the strongest of the others.
    pub over: Class,
    /// What spoke most for the first of them, the strongest before.
    #[serde(rename = "for")]
    pub speaks_for: Vec<Reason>,
    /// What spoke most for the second.
    pub against: Vec<Reason>,
    /// Windows that are explained.
    pub windows: i64,
    /// Those of them in which the trees were silent, because too much lay outside of what recordings taught.
    pub silent: i64,
}

impl Explanation {
    /// The sentences, those for it first.
    pub fn sentences(&self) -> impl Iterator<Item = &str> {
        let reasons = self.speaks_for.iter().chain(&self.against);
        reasons.map(|r| r.sentence.as_str())
    }
}

/// Sums over the windows that are explained.
struct Spoken {
    windows: i64,
    silent: i64,
    leads: [i64; Class::ALL.len()],
    gains: [[i64; Class::ALL.len()]; Features::COUNT],
    /// For each feature the sum of its values, and the windows that had it.
    values: [(i64, i64); Features::COUNT],
}

impl Default for Spoken {
    fn default() -> Self {
        Self {
            windows: 0,
            silent: 0,
            leads: [0; Class::ALL.len()],
            gains: [[0; Class::ALL.len()]; Features::COUNT],
            values: [(0, 0); Features::COUNT],
        }
    }
}

/// Explains what was said of a window; `None` where it could not be scored.
#[must_use]
pub fn explain(model: &Model, features: &Features, scored: &Scored) -> Option<Explanation> {
    let mut spoken = Spoken::default();
    spoken.add(model, features, scored);
    spoken.explain(scored.class)
}

/// Explains what was said of a run, by the features of its windows; `None` where none could be scored.
#[must_use]
pub fn explain_run(model: &Model, windows: &[Features]) -> Option<Explanation> {
    let scored: Vec<Scored> = windows.iter().map(|f| model.score(f)).collect();
    let mut run = Run::default();
    for (features, scored) in windows.iter().zip(&scored) {
        run.add(model, features, scored);
    }
    let class = run.verdict(model).class;
    let mut spoken = Spoken::default();
    for (features, scored) in windows.iter().zip(&scored) {
        // Windows at rest say nothing of what ran in the others.
        if (scored.class == Some(Class::Idle)) == (class == Some(Class::Idle)) {
            spoken.add(model, features, scored);
        }
    }
    spoken.explain(class)
}

impl Spoken {
    fn add(&mut self, model: &Model, features: &Features, scored: &Scored) {
        if !scored.says_something() {
            return;
        }
        let (gains, silent) = model.gains(features);
        self.windows = self.windows.saturating_add(1);
        self.silent = self.silent.saturating_add(i64::from(silent));
        for (sum, lead) in self.leads.iter_mut().zip(scored.centinats) {
            *sum = sum.saturating_add(lead.into());
        }
        for (sums, gains) in self.gains.iter_mut().zip(gains) {
            for (sum, gain) in sums.iter_mut().zip(gains) {
                *sum = sum.saturating_add(gain);
            }
        }
        for ((sum, windows), value) in self.values.iter_mut().zip(features.values()) {
            if let Some(value) = value {
                *sum = sum.saturating_add(value);
                *windows = windows.saturating_add(1);
            }
        }
    }

    fn explain(&self, named: Option<Class>) -> Option<Explanation> {
        let class = named.unwrap_or(Class::Training);
        let others = Class::ALL.iter().copied().zip(self.leads);
        let strongest = others
            .filter(|(other, _)| *other != class)
            .max_by_key(|(_, lead)| *lead)?;
        let over = match class {
            Class::Training => strongest.0,
            _ => Class::Training,
        };
        let mut reasons: Vec<Reason> = (0..Features::COUNT)
            .filter_map(|feature| self.reason(feature, class, over))
            .filter(|r| r.centinats.unsigned_abs() >= LEAST)
            .collect();
        reasons.sort_by_key(|r| std::cmp::Reverse(r.centinats.unsigned_abs()));
        let (mut speaks_for, mut against): (Vec<Reason>, Vec<Reason>) =
            reasons.into_iter().partition(|r| r.centinats > 0);
        speaks_for.truncate(MOST);
        against.truncate(MOST);
        (self.windows > 0).then_some(Explanation {
            class,
            over,
            speaks_for,
            against,
            windows: self.windows,
            silent: self.silent,
        })
    }

    /// What a feature gave one class over another.
    fn reason(&self, feature: usize, class: Class, over: Class) -> Option<Reason> {
        let gains = self.gains.get(feature)?;
        let of = |class: Class| gains.get(usize::from(class.code())).copied();
        let centinats = of(class)?.saturating_sub(of(over)?).checked_div(self.windows)?;
        let (sum, windows) = self.values.get(feature)?;
        let ppm = sum.checked_div(*windows)?;
        let fact = FACTS.get(feature)?.replace('#', &percent(ppm));
        let (first, second) = if centinats < 0 {
            (over, class)
        } else {
            (class, over)
        };
        Some(Reason {
            feature: Features::NAMES.get(feature)?,
            ppm,
            centinats,
            sentence: format!(
                "{fact}: {} nat for {} over {}.",
                nats(centinats),
                words(first),
                words(second)
            ),
        })
    }
}

/// A class as a person says it.
fn words(class: Class) -> &'static str {
    match class {
        Class::Idle => "nothing running",
        Class::Training => "training",
        Class::InferenceInteractive => "interactive inference",
        Class::InferenceBatch => "inference in batches",
        Class::Hpc => "simulation in double precision",
        Class::RenderVideo => "rendering or video",
        Class::Other => "mining, data or burn-in",
    }
}

/// Parts per million, which are never negative here, as percent.
fn percent(ppm: i64) -> String {
    let tenths = ppm.saturating_add(500).div_euclid(1_000);
    format!("{}.{} %", tenths.div_euclid(10), tenths.rem_euclid(10))
}

/// The size of hundredths of a nat.
fn nats(centinats: i64) -> String {
    let size = centinats.saturating_abs();
    format!("{}.{:02}", size.div_euclid(100), size.rem_euclid(100))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::Ppm;
    use crate::workload::Trees;
    use crate::workload::run_tests::{alone, together};

    /// The tables alone.
    fn tables() -> Model {
        Model::embedded().unwrap().with(Trees::default())
    }

    /// A device that works in step with others beside it, in double precision.
    fn in_step(fp64: u32) -> Features {
        Features {
            fp64: Some(Ppm(fp64)),
            link_apart: None,
            ..together()
        }
    }

    fn fact(name: &str) -> &'static str {
        FACTS[Features::NAMES.iter().position(|n| *n == name).unwrap()]
    }

    #[test]
    fn every_feature_has_one_fact_with_one_place_for_its_value() {
        for (name, fact) in Features::NAMES.iter().zip(FACTS) {
            assert_eq!(fact.matches('#').count(), 1, "{name}: {fact}");
        }
        assert_eq!(
            fact("synchrony"),
            "The device moved # like the others of its node"
        );
        assert_eq!(fact("resting"), "The device rested # of the time");
        assert_eq!(fact("fp64_per_sm"), "The FP64 pipes worked # as long as the SMs");
    }

    #[test]
    fn what_a_feature_gives_is_said_with_its_value_and_training_is_the_question() {
        let (model, features) = (tables(), in_step(90_000));
        let scored = model.score(&features);
        assert_eq!(scored.class, None);
        let why = explain(&model, &features, &scored).unwrap();
        let said: Vec<&str> = why.sentences().collect();
        assert_eq!((why.class, why.over), (Class::Training, Class::Hpc), "{said:?}");
        let step = "NVLink traffic rose and fell in a fixed rhythm by 60.0 % of its mean: 3.50 nat for training over simulation in double precision.";
        assert_eq!(said.first(), Some(&step));
        let pipes = "The FP64 pipes worked 9.0 % of the time: 8.62 nat for simulation in double precision over training.";
        assert_eq!(said.last(), Some(&pipes));
    }

    #[test]
    fn by_how_much_a_question_moves_what_is_ahead_is_its_features_word() {
        let rows = |most: i64| {
            format!(
                "kind,stage,tree,node,feature,a,b,c\nscale,training,0,0,,500,0,{most}\n\
                    split,training,0,1,tensor_per_sm,300000,0,0\nleaf,training,0,2,,-100,0,0\nleaf,training,0,3,,300,0,0\n"
            )
        };
        let with = |most| tables().with(Trees::parse(&rows(most)).unwrap());
        let of = |model: &Model| {
            // By itself, so that little else speaks.
            let features = alone(together());
            let why = explain(model, &features, &model.score(&features)).unwrap();
            why.speaks_for.into_iter().find(|r| r.feature == "tensor_per_sm")
        };
        assert_eq!(of(&tables()), None);
        // From 100 ahead to 300, and half of that by the scale.
        assert_eq!(of(&with(1_000)).unwrap().centinats, 100);
        // No more than 75 of 150 counts.
        assert_eq!(of(&with(75)).unwrap().centinats, 50);
    }

    #[test]
    fn a_window_that_could_not_be_scored_has_no_reasons() {
        let model = tables();
        let features = Features {
            points: 2,
            ..together()
        };
        assert_eq!(explain(&model, &features, &model.score(&features)), None);
        assert_eq!(explain_run(&model, &[]), None);
    }

    #[test]
    fn the_windows_of_a_run_speak_by_their_mean_and_those_at_rest_do_not() {
        let zero = Some(Ppm(0));
        let rest = Features {
            sm: zero,
            busy: zero,
            tensor: zero,
            link_active: zero,
            link_symmetry: None,
            synchrony: None,
            linked_tensor_per_dram: None,
            link_beat: None,
            ..in_step(0)
        };
        let windows = [rest.clone(), in_step(90_000), in_step(110_000)];
        let why = explain_run(&tables(), &windows).unwrap();
        let fp64 = why.against.iter().find(|r| r.feature == "fp64").unwrap();
        assert_eq!((why.windows, fp64.ppm), (2, 100_000));
        let idle = explain_run(&tables(), &[rest]).unwrap();
        assert_eq!((idle.class, idle.over), (Class::Idle, Class::Training));
        let first = "The SMs worked 0.0 % of the time: 13.00 nat for nothing running over training.";
        assert_eq!(idle.sentences().next(), Some(first));
    }
}
