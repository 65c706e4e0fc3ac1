//! The model: what trees learned from recordings, and what tables hold of that which no recording of ours shows.
//!
//! Decides: how what both say is added up to a score for each class, and what the digest of the model covers. Does not establish intent,
//! and one window accuses nobody.

use super::trees::{Answers, Trees, TreesError};
use super::{Class, Features, Rules, RulesError, Scored};
use crate::crypto::sha256;
use crate::id::Digest;

/// The tables that ship with this build.
const RULES: &str = include_str!("rules.csv");
/// The trees that ship with this build.
const TREES: &str = include_str!("trees.csv");

/// SHA-256 of the files that ship with this build, tables first: the digest of the model, which every report names.
#[must_use]
pub fn model_digest() -> Digest {
    digest(RULES, TREES)
}

fn digest(rules: &str, trees: &str) -> Digest {
    sha256([rules, trees].concat().as_bytes())
}

/// Why a model could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The tables.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// The trees.
    #[error(transparent)]
    Trees(#[from] TreesError),
}

/// What each of two independent sources gives training over inference, in hundredths of a nat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sources {
    /// What the device itself did, by the trees.
    pub(super) mixture: i64,
    /// What it exchanges with others apart from that, by the tables.
    pub(super) together: i64,
}

/// A model.
#[derive(Clone, Debug)]
pub struct Model {
    rules: Rules,
    trees: Trees,
    digest: Digest,
}

impl Model {
    /// The model that ships with this build.
    ///
    /// # Errors
    /// [`ModelError`]; a test reads it, so this cannot happen in a build that passed its tests.
    pub fn embedded() -> Result<Self, ModelError> {
        Ok(Self {
            rules: Rules::parse(RULES)?,
            trees: Trees::parse(TREES)?,
            digest: model_digest(),
        })
    }

    /// The same tables with other trees.
    #[must_use]
    pub fn with(&self, trees: Trees) -> Self {
        Self {
            rules: self.rules.clone(),
            digest: digest(RULES, &trees.written()),
            trees,
        }
    }

    /// SHA-256 of its files.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Its trees.
    #[must_use]
    pub fn trees(&self) -> &Trees {
        &self.trees
    }

    /// Scores the features of a window. Where the trees are silent, because it is unlike anything that was taught, no kind of machine learning is
    /// named: what the tables say may still rule training out over many windows.
    #[must_use]
    pub fn score(&self, features: &Features) -> Scored {
        let scored = self.rules.score(features, learned(&self.trees.answer(features)));
        if self.is_strange(features) {
            scored.without_machine_learning()
        } else {
            scored
        }
    }

    /// Whether a window is unlike anything that was taught.
    pub(super) fn is_strange(&self, features: &Features) -> bool {
        self.trees.are_silent(&features.values())
    }

    /// Whether a device exchanged with others in a window and no burst had told how.
    pub(super) fn is_unheard(&self, features: &Features) -> bool {
        self.rules.is_unheard(features)
    }

    /// What each of two independent sources gives training over inference, in hundredths of a nat.
    pub(super) fn sources(&self, features: &Features) -> Sources {
        Sources {
            mixture: self.trees.answer(features).training,
            together: self.rules.together(features),
        }
    }

    /// What each feature that is there gave each class, in hundredths of a nat: its rows in the tables, and by how much it moved the trees'
    /// answers. Second, whether the trees were silent.
    pub(super) fn gains(&self, features: &Features) -> ([[i64; Class::ALL.len()]; Features::COUNT], bool) {
        let values = features.values();
        let silent = self.trees.are_silent(&values);
        let answers = self.trees.answer(features);
        let [ml, training, batch] = self.trees.forests.each_ref().map(|f| f.moved(&values));
        let mut gains = [[0; Class::ALL.len()]; Features::COUNT];
        let moved = ml.into_iter().zip(training).zip(batch);
        for (place, (gains, ((ml, training), batch))) in gains.iter_mut().zip(moved).enumerate() {
            let Some(value) = values.get(place).copied().flatten() else {
                continue;
            };
            *gains = self.rules.gains(place, value, features);
            // Only the kind of inference that the answer is for is spared what it takes.
            let to_batch = if answers.batch > 0 { batch } else { 0 };
            let to_other = if answers.batch < 0 { batch } else { 0 };
            if !silent {
                for (gain, given) in gains.iter_mut().zip(dealt(ml, training, to_batch, to_other)) {
                    *gain = gain.saturating_add(given);
                }
            }
        }
        (gains, silent)
    }

    /// The mean of a sum over so many windows of a run, times the windows' effective number: they are nearly one observation.
    pub(super) fn of_run(&self, sum: i64, windows: i64) -> i64 {
        let others = windows.saturating_sub(1).max(0);
        let per_mille = others
            .saturating_mul(self.rules.dependence())
            .saturating_add(1_000);
        sum.saturating_mul(1_000).checked_div(per_mille).unwrap_or(0)
    }

    /// Whether so many windows at rest of all make a run idle.
    pub(super) fn is_at_rest(&self, idle: i64, windows: i64) -> bool {
        idle.saturating_mul(1_000) >= windows.saturating_mul(self.rules.rest())
    }

    /// Whether a lead, of training over the best of the others, rules it out.
    pub(super) fn rules_out(&self, lead: i64) -> bool {
        lead <= self.rules.rule_out().saturating_neg()
    }

    /// Whether one source's word is enough to count as one.
    pub(super) fn is_enough(&self, ratio: i64) -> bool {
        ratio >= self.rules.source()
    }

    /// Whether so many windows at rest in a row end a run.
    pub(super) fn ends(&self, resting: i64) -> bool {
        resting >= self.rules.ends()
    }

    /// Whether so many working windows are as many as a run remembers.
    pub(super) fn is_full(&self, working: i64) -> bool {
        working >= self.rules.horizon()
    }

    /// Whether so many working windows may establish anything.
    pub(super) fn may_establish(&self, working: i64) -> bool {
        working >= self.rules.least()
    }

    /// What is known of a run from the mean leads of its windows: as [`Scored`] of one window, by the same margins; `unheard` is whether in most of them
    /// it worked with others and no burst had told how.
    #[must_use]
    pub fn decide(&self, leads: [i64; Class::ALL.len()], unheard: bool) -> Scored {
        self.rules.decide(leads, unheard)
    }
}

/// What the trees give each class.
fn learned(answers: &Answers) -> [i64; Class::ALL.len()] {
    let batch = answers.batch;
    dealt(answers.ml, answers.training, batch.max(0), batch.min(0))
}

/// Half of a ratio for what it is for, half against what it is told from. What is for inference in batches or, negative, for the other kind, only takes from the
/// kind that it is against: which of the two it is makes inference as such no likelier.
fn dealt(ml: i64, training: i64, to_batch: i64, to_other: i64) -> [i64; Class::ALL.len()] {
    let (ml, training) = (ml.div_euclid(2), training.div_euclid(2));
    let inference = ml.saturating_sub(training);
    let neither = ml.saturating_neg();
    let waited_for = inference.saturating_sub(to_batch);
    let in_batch = inference.saturating_add(to_other);
    // In the order of `Class`.
    [
        0,
        ml.saturating_add(training),
        waited_for,
        in_batch,
        neither,
        neither,
        neither,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_names_the_files_that_score() {
        let model = Model::embedded().unwrap();
        assert_eq!(model.digest(), model_digest());
        let other = model.with(Trees::default());
        assert_ne!(other.digest(), model_digest());
    }

    #[test]
    fn a_ratio_is_the_lead_of_one_side_over_the_other() {
        let answers = Answers {
            ml: 120,
            training: 80,
            batch: -40,
            strange: 0,
        };
        let l = learned(&answers);
        assert_eq!(l[1] - l[2], 80, "training over those who wait");
        assert_eq!(l[2] - l[3], 40);
        assert_eq!(l[1] + l[2] - 2 * l[4], 240);
    }
}
