//! Teaching the trees: a small trainer of boosted trees, whose result is the same on every machine.
//!
//! Decides: which examples teach which question, how they are weighed, how trees grow, and how their sum becomes a likelihood ratio. Families
//! count, not windows: each family weighs the same, a leaf needs several, and ratios are set on families that the trees had not seen. The loss
//! is squared, so that additions, products and quotients are all there is.

use crate::chance::Chance;
use std::collections::BTreeMap;
use weighbridge::workload::{Class, Features, Forest, Node, Stage, Trees};

/// Values of a window, in the order of [`Features::NAMES`].
pub(super) type Values = [Option<i64>; Features::COUNT];

/// A window that teaches.
#[derive(Debug, Clone)]
pub struct Example {
    /// Its family.
    pub family: String,
    /// What it is.
    pub class: Class,
    /// Its features.
    pub values: Values,
}

/// Trees for each question.
const TREES: usize = 40;
/// Questions from root to leaf.
const DEPTH: u32 = 2;
/// What share of its error a tree takes away.
const RATE: f64 = 0.12;
/// Weight of a made-up family in each leaf that says nothing.
const DRAG: f64 = 1.0;
/// A leaf needs this many families.
const LEAST_FAMILIES: u32 = 3;
/// Units of a leaf.
const UNIT: f64 = 1_000.0;
/// Into how many parts families fall when ratios are set.
const PARTS: usize = 6;
/// By what share of their span the taught ranges are widened.
const WIDER: i64 = 10;

/// Every tree sees each example with the activity of every pipe a little more or less, by this share at most: a threshold between two recordings
/// of one size each is no boundary between two kinds of work.
const SPREAD: f64 = 0.12;

/// What each question asks of, and the most that its answer may weigh, in hundredths of a nat.
fn asked(stage: Stage) -> (&'static [&'static str], i64) {
    match stage {
        Stage::Ml => (
            &[
                "tensor_per_sm",
                "tensor_per_dram",
                "dram_per_sm",
                "fp64_per_sm",
                "fp32_per_sm",
                "integer_per_sm",
            ],
            250,
        ),
        Stage::Training => (
            &[
                "tensor_per_sm",
                "tensor_per_dram",
                "dram_per_sm",
                "tensor_mix",
                "dram_mix",
            ],
            250,
        ),
        Stage::Batch => (&["sm", "busy", "sm_per_busy", "sm_variation"], 150),
    }
}

/// Features that devices without per-pipe counters of every kind do not have: each example is taught a second time without them.
const OFTEN_MISSING: [&str; 3] = ["fp64_per_sm", "fp32_per_sm", "integer_per_sm"];

/// Features of which more must never speak for yes: a mixture that changes is no sign of training, though trainings that hide may show one.
const AGAINST: [&str; 2] = ["tensor_mix", "dram_mix"];

/// Whether a class answers a question with yes; `None` where it is no example of it.
fn answer(stage: Stage, class: Class) -> Option<bool> {
    use Class::{Hpc, Idle, InferenceBatch, InferenceInteractive, Other, RenderVideo, Training};
    match (stage, class) {
        (_, Idle) => None,
        (Stage::Ml, class) => Some(!matches!(class, Hpc | RenderVideo | Other)),
        (Stage::Training, Training) | (Stage::Batch, InferenceBatch) => Some(true),
        (Stage::Training, InferenceInteractive | InferenceBatch) => Some(false),
        (Stage::Batch, InferenceInteractive) => Some(false),
        (Stage::Training | Stage::Batch, _) => None,
    }
}

/// An example as one question sees it.
#[derive(Clone)]
struct Point<'a> {
    family: u32,
    values: &'a Values,
    target: f64,
    weight: f64,
}

/// Teaches all questions.
#[must_use]
pub fn train(examples: &[Example]) -> Trees {
    let poorer = examples.iter().map(|e| {
        let mut e = e.clone();
        for name in OFTEN_MISSING {
            e.values[place(name)] = None;
        }
        e
    });
    let all: Vec<Example> = examples.iter().cloned().chain(poorer).collect();
    let mut trees = Trees::default();
    for (forest, stage) in trees.forests.iter_mut().zip(Stage::ALL) {
        *forest = taught(*stage, &all);
        for name in asked(*stage).0 {
            let values = || all.iter().filter(|e| answer(*stage, e.class).is_some());
            let values = || values().filter_map(|e| e.values[place(name)]);
            if let (Some(low), Some(high)) = (values().min(), values().max()) {
                let wider = (high - low) / WIDER;
                let range = trees.taught[place(name)].get_or_insert((low - wider, high + wider));
                *range = (range.0.min(low - wider), range.1.max(high + wider));
            }
        }
    }
    trees
}

/// What moves where the activity of pipes does: SMs, tensor pipes and memory, and then each by its own.
const MOVES: [&str; 8] = [
    "tensor_per_sm",
    "dram_per_sm",
    "tensor_per_dram",
    "fp64_per_sm",
    "fp32_per_sm",
    "integer_per_sm",
    "tensor_mix",
    "dram_mix",
];

/// The same work as another size of batch or another library would have mixed it. `places` are those of [`MOVES`].
fn moved(values: &Values, places: &[usize; MOVES.len()], chance: &mut Chance) -> Values {
    let mut share = || 1.0 + SPREAD * chance.between(-1.0, 1.0);
    let (sm, tensor, dram) = (share(), share(), share());
    let by = [
        tensor / sm,
        dram / sm,
        tensor / dram,
        share() / sm,
        share() / sm,
        share() / sm,
        share(),
        share(),
    ];
    let mut values = *values;
    for (place, by) in places.iter().zip(by) {
        let value = &mut values[*place];
        *value = value.map(|v| (v as f64 * by).round() as i64);
    }
    values
}

fn place(name: &str) -> usize {
    Features::NAMES.iter().position(|n| *n == name).unwrap()
}

/// A forest for one question, with its ratios set on families that each forest had not seen.
fn taught(stage: Stage, examples: &[Example]) -> Forest {
    let families: BTreeMap<&str, bool> = examples
        .iter()
        .filter_map(|e| Some((e.family.as_str(), answer(stage, e.class)?)))
        .collect();
    // Both answers spread over the parts.
    let mut part: BTreeMap<&str, usize> = BTreeMap::new();
    for side in [false, true] {
        let own = families.iter().filter(|(_, yes)| **yes == side);
        part.extend(own.enumerate().map(|(i, (family, _))| (*family, i % PARTS)));
    }
    let mut sums: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    for held in 0..PARTS {
        let seen: Vec<Example> = examples
            .iter()
            .filter(|e| part.get(e.family.as_str()).is_some_and(|p| *p != held))
            .cloned()
            .collect();
        let forest = grown(stage, &seen);
        for (family, yes) in families.iter().filter(|(f, _)| part[*f] == held) {
            let own = examples.iter().filter(|e| e.family == *family);
            let own: Vec<f64> = own.map(|e| forest.sum(&e.values) as f64).collect();
            sums[usize::from(*yes)].push(own.iter().sum::<f64>() / own.len() as f64);
        }
    }
    let mut forest = grown(stage, examples);
    (forest.scale, forest.offset) = calibrated(&sums);
    forest.most = asked(stage).1;
    forest
}

/// Scale (thousandths) and offset of the ratio of two normal distributions of one width, in hundredths of a nat. Where families that were
/// not seen do not come out apart, nothing is said.
fn calibrated([no, yes]: &[Vec<f64>; 2]) -> (i64, i64) {
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    if no.len() < 3 || yes.len() < 3 {
        return (0, 0);
    }
    let (low, high) = (mean(no), mean(yes));
    let square = |v: &[f64], centre: f64| v.iter().map(|x| (x - centre) * (x - centre)).sum::<f64>();
    let freedom = (no.len() + yes.len() - 2) as f64;
    let variance = (square(no, low) + square(yes, high)) / freedom;
    if high <= low || variance <= 0.0 {
        return (0, 0);
    }
    let scale = 100.0 * (high - low) / variance;
    let middle = (high + low) / 2.0;
    ((scale * 1_000.0).round() as i64, (-scale * middle).round() as i64)
}

/// The trees of one question, without a scale: their sum says which answer, not how likely.
pub(super) fn grown(stage: Stage, examples: &[Example]) -> Forest {
    let mut names: Vec<&str> = examples
        .iter()
        .filter(|e| answer(stage, e.class).is_some())
        .map(|e| e.family.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    let number = |family: &str| names.binary_search(&family).unwrap_or(0);
    let mut points: Vec<Point<'_>> = examples
        .iter()
        .filter_map(|e| {
            let yes = answer(stage, e.class)?;
            Some(Point {
                family: u32::try_from(number(&e.family)).unwrap_or(0),
                values: &e.values,
                target: if yes { 1.0 } else { -1.0 },
                weight: 1.0,
            })
        })
        .collect();
    weigh(&mut points, names.len());
    let mut forest = Forest {
        scale: 1_000,
        most: i64::MAX,
        ..Forest::default()
    };
    let places = MOVES.map(place);
    let mut chance = Chance::of(1);
    for _ in 0..TREES {
        let here: Vec<Values> = points
            .iter()
            .map(|p| moved(p.values, &places, &mut chance))
            .collect();
        let points: Vec<Point<'_>> = points
            .iter()
            .zip(&here)
            .map(|(p, values)| Point { values, ..p.clone() })
            .collect();
        let left: Vec<f64> = points
            .iter()
            .map(|p| p.target - forest.sum(p.values) as f64 / UNIT)
            .collect();
        let ground = Ground {
            features: asked(stage).0.iter().map(|n| Feature::of(n, &points)).collect(),
            points: &points,
        };
        let mut tree = vec![None; (1 << (DEPTH + 1)) - 1];
        ground.grow(&mut tree, 1, DEPTH, &vec![true; points.len()], &left);
        forest.trees.push(tree);
    }
    forest
}

/// Every family weighs the same, and both answers together.
fn weigh(points: &mut [Point<'_>], families: usize) {
    let mut counts = vec![0.0; families];
    for p in points.iter() {
        counts[p.family as usize] += 1.0;
    }
    let mut sides = [0.0; 2];
    for p in points.iter_mut() {
        p.weight = 1.0 / counts[p.family as usize];
        sides[usize::from(p.target > 0.0)] += p.weight;
    }
    let half = (sides[0] + sides[1]) / 2.0;
    for p in points.iter_mut() {
        p.weight *= half / sides[usize::from(p.target > 0.0)];
    }
}

/// What a set of points adds up to.
#[derive(Clone, Copy, Default)]
struct Sum {
    weight: f64,
    error: f64,
    families: u128,
}

impl Sum {
    fn add(&mut self, point: &Point<'_>, error: f64) {
        self.weight += point.weight;
        self.error += point.weight * error;
        self.families |= 1 << point.family.min(127);
    }

    fn plus(self, other: Self) -> Self {
        Self {
            weight: self.weight + other.weight,
            error: self.error + other.error,
            families: self.families | other.families,
        }
    }

    fn gain(self) -> f64 {
        self.error * self.error / (self.weight + DRAG)
    }

    fn mean(self) -> f64 {
        self.error / (self.weight + DRAG)
    }

    fn is_enough(self) -> bool {
        self.families.count_ones() >= LEAST_FAMILIES
    }
}

/// What grows trees: the points, what is left of their errors, and for each feature that may be asked for its points in order.
struct Ground<'a> {
    points: &'a [Point<'a>],
    features: Vec<Feature>,
}

/// Between how many values a question may cut, spread over those that points have.
const CUTS: usize = 48;

/// A feature that may be asked for: where it may be cut, and between which cuts each point lies.
struct Feature {
    place: usize,
    /// Ascending.
    cuts: Vec<i64>,
    /// For each point how many cuts lie below its value; none where it lacks the feature.
    below: Vec<Option<usize>>,
    /// More of it must never speak for yes.
    against: bool,
}

impl Feature {
    fn of(name: &str, points: &[Point<'_>]) -> Self {
        let place = place(name);
        let mut values: Vec<i64> = points.iter().filter_map(|p| p.values[place]).collect();
        values.sort_unstable();
        values.dedup();
        let between: Vec<i64> = values.windows(2).map(|pair| pair[0].midpoint(pair[1])).collect();
        let every = between.len().div_ceil(CUTS).max(1);
        let cuts: Vec<i64> = between.into_iter().skip(every / 2).step_by(every).collect();
        let below = |p: &Point<'_>| p.values[place].map(|v| cuts.partition_point(|c| *c < v));
        Self {
            place,
            below: points.iter().map(below).collect(),
            cuts,
            against: AGAINST.contains(&name),
        }
    }
}

impl Ground<'_> {
    /// Grows what lies at a place of a tree, of the points that came there.
    fn grow(&self, tree: &mut [Option<Node>], at: usize, depth: u32, here: &[bool], errors: &[f64]) {
        let mut sum = Sum::default();
        for i in (0..here.len()).filter(|i| here[*i]) {
            sum.add(&self.points[i], errors[i]);
        }
        let split = (depth > 0).then(|| self.best(here, errors, sum)).flatten();
        let Some((feature, threshold, missing_right)) = split else {
            let value = RATE * sum.error / (sum.weight + DRAG);
            tree[at - 1] = Some(Node::Leaf((value * UNIT).round() as i64));
            return;
        };
        tree[at - 1] = Some(Node::Split {
            feature,
            threshold,
            missing_right,
        });
        for side in [false, true] {
            let goes = |i: usize| {
                let value = self.points[i].values[feature];
                value.map_or(missing_right, |v| v > threshold) == side
            };
            let there: Vec<bool> = (0..here.len()).map(|i| here[i] && goes(i)).collect();
            self.grow(tree, at * 2 + usize::from(side), depth - 1, &there, errors);
        }
    }

    /// The question that takes most of the error away; the first of several.
    fn best(&self, here: &[bool], errors: &[f64], all: Sum) -> Option<(usize, i64, bool)> {
        let mut found = None;
        let mut most = all.gain() + 1e-9;
        for feature in &self.features {
            let mut missing = Sum::default();
            let mut between = vec![Sum::default(); feature.cuts.len() + 1];
            for i in (0..here.len()).filter(|i| here[*i]) {
                let sum = feature.below[i].map_or(&mut missing, |k| &mut between[k]);
                sum.add(&self.points[i], errors[i]);
            }
            // From each place on, what lies above it.
            let mut above = between.clone();
            for k in (1..above.len()).rev() {
                above[k - 1] = above[k - 1].plus(above[k]);
            }
            let mut below = Sum::default();
            for (k, cut) in feature.cuts.iter().enumerate() {
                below = below.plus(between[k]);
                for missing_right in [false, true] {
                    let (left, right) = if missing_right {
                        (below, above[k + 1].plus(missing))
                    } else {
                        (below.plus(missing), above[k + 1])
                    };
                    if feature.against && right.mean() > left.mean() {
                        continue;
                    }
                    let gain = left.gain() + right.gain();
                    if gain > most && left.is_enough() && right.is_enough() {
                        most = gain + 1e-9;
                        found = Some((feature.place, *cut, missing_right));
                    }
                }
            }
        }
        found
    }
}
