//! Controls: what comes out where nothing can be learned. If they are far from chance, the other figures mean nothing.

use super::recording::Levels;
use super::teach::Teacher;
use super::train::{Example, grown};
use crate::chance::Chance;
use serde::Serialize;
use weighbridge::workload::{Class, Features, Stage};

/// Shares of families, each held out, that came out right, the mean of those that train and those that do not; chance is one half.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Controls {
    /// With the classes of families dealt out anew; the mean of several deals.
    pub shuffled_labels: f64,
    /// With the bytes that links and the bus moved alone.
    pub volume_only: f64,
    /// With mean power and memory in use alone. No feature has them; this says how much sizes give away in these recordings.
    pub levels_only: f64,
}

/// How often labels are dealt out.
const DEALS: u64 = 8;

/// Runs the controls: training or inference, with each family held out.
#[must_use]
pub fn controls(teachers: &[Teacher]) -> Controls {
    let ml: Vec<&Teacher> = teachers
        .iter()
        .filter(|t| {
            let class = t.examples.first().map(|e| e.class);
            class.is_some_and(|c| c == Class::Training || is_inference(c))
        })
        .collect();
    let deals: Vec<f64> = (1..=DEALS).map(|seed| held_out(&shuffled(&ml, seed))).collect();
    Controls {
        shuffled_labels: rounded(deals.iter().sum::<f64>() / deals.len() as f64),
        volume_only: rounded(held_out(&levels(&ml, |l| [l.moved, None]))),
        levels_only: rounded(held_out(&levels(&ml, |l| [l.power, l.memory]))),
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

fn is_inference(class: Class) -> bool {
    matches!(class, Class::InferenceInteractive | Class::InferenceBatch)
}

/// The same windows, with the classes of other families.
fn shuffled(teachers: &[&Teacher], seed: u64) -> Vec<Example> {
    let mut classes: Vec<Class> = teachers.iter().map(|t| t.examples[0].class).collect();
    let mut chance = Chance::of(seed);
    for i in (1..classes.len()).rev() {
        classes.swap(i, chance.within(0..i as u64 + 1) as usize);
    }
    let dealt = teachers.iter().zip(classes);
    dealt
        .flat_map(|(t, class)| t.examples.iter().map(move |e| Example { class, ..e.clone() }))
        .collect()
}

/// Windows that have levels alone, in the places of two features that the trees ask for.
fn levels(teachers: &[&Teacher], of: fn(&Levels) -> [Option<f64>; 2]) -> Vec<Example> {
    let place = |name: &str| Features::NAMES.iter().position(|n| *n == name).unwrap();
    let places = [place("tensor_per_sm"), place("dram_per_sm")];
    teachers
        .iter()
        .flat_map(|t| {
            t.examples.iter().map(|e| {
                let mut values = [None; Features::COUNT];
                for (place, level) in places.iter().zip(of(&t.levels)) {
                    values[*place] = level.map(|v| (v * 1e3) as i64);
                }
                Example { values, ..e.clone() }
            })
        })
        .collect()
}

/// The balanced share that comes out right with each family held out, by the sign of the trees' sum.
fn held_out(examples: &[Example]) -> f64 {
    let mut families: Vec<&str> = examples.iter().map(|e| e.family.as_str()).collect();
    families.sort_unstable();
    families.dedup();
    let (mut right, mut all) = ([0.0; 2], [0.0; 2]);
    for family in families {
        let (own, others): (Vec<Example>, Vec<Example>) =
            examples.iter().cloned().partition(|e| e.family == family);
        let forest = grown(Stage::Training, &others);
        let sum: i64 = own.iter().map(|e| forest.sum(&e.values)).sum();
        let side = usize::from(own[0].class == Class::Training);
        all[side] += 1.0;
        right[side] += f64::from(u8::from((sum > 0) == (side == 1)));
    }
    f64::midpoint(right[0] / all[0], right[1] / all[1])
}
