//! What the work looked like: features of a window, scores per class, abstention.
//!
//! Decides: how much more likely a window is under one class of work than under the others, or that it cannot be told. One window accuses
//! nobody. Does not establish what a tenant meant to do.

mod beat;
#[cfg(test)]
mod beat_tests;
mod events;
mod exchanges;
mod explain;
mod feature;
mod likeness;
#[cfg(test)]
mod memory_tests;
mod mixture;
mod model;
mod phases;
mod residual;
mod rhythm;
mod row;
mod run;
#[cfg(test)]
mod run_tests;
mod score;
mod series;
#[cfg(test)]
mod series_tests;
mod trees;

pub use explain::{Explanation, Reason, explain, explain_run};
pub use feature::Features;
pub use likeness::synchrony;
pub use model::{Model, ModelError, model_digest};
pub use run::{Level, Run, Verdict, speaks_against_training, speaks_for_training};
pub use score::{Rules, RulesError, Scored};
pub use series::{Instant, Series};
pub use trees::{Answers, Forest, MAX_DEPTH, Node, Stage, Trees, TreesError};

crate::record! {
    /// First workload scores of the report's windows.
    pub struct WorkloadScores {
        /// Log-likelihood ratios in hundredths of a nat, one per class in the order of
        /// [`Class`], averaged over the windows that were scored.
        #[serde(serialize_with = "by_class")]
        0 => centinats: Vec<i16>,
        /// Windows found to be of each class, in the same order; the last entry counts `cannot tell`.
        #[serde(serialize_with = "by_class")]
        1 => windows: Vec<u16>,
        /// Busy time of these windows by the level of the run that they belong to; absent in reports of agents that know no runs.
        2 => levels: Option<LevelTimes>,
        /// Working windows that the last run has had, with those of earlier reports; its level remembers the latest thirty or so.
        3 => run_windows: Option<u32>,
    }
}

crate::row! {
    /// For how long a device was busy at each level, in milliseconds: that of the run, for windows that bear it out. Of a window whose busy time could
    /// not be read it is the time that samples cover, at L3 none.
    #[derive(Copy, Default)]
    pub struct LevelTimes {
        /// Training is ruled out (L0).
        ruled_out_ms: u32,
        /// Something else is likelier (L1).
        weak_ms: u32,
        /// It may be training (L2).
        candidate_ms: u32,
        /// Two independent sources say training (L3).
        established_ms: u32,
    }
}

impl LevelTimes {
    /// Adds time at a level. Windows reach no level above L3.
    pub fn add(&mut self, level: Level, ms: u32) {
        let time = match level {
            Level::RuledOut => &mut self.ruled_out_ms,
            Level::Weak => &mut self.weak_ms,
            Level::Candidate => &mut self.candidate_ms,
            Level::Established | Level::Authenticated => &mut self.established_ms,
        };
        *time = time.saturating_add(ms);
    }
}

/// One value for each class, under its name; one more is that of `cannot tell`.
pub(crate) fn by_class<T: serde::Serialize, S: serde::Serializer>(
    values: &[T],
    s: S,
) -> Result<S::Ok, S::Error> {
    s.collect_map(
        Class::ALL
            .iter()
            .map(|c| c.text())
            .chain(["cannot tell"])
            .zip(values),
    )
}

crate::code! {
    /// A class of work.
    pub enum Class {
        /// Nothing runs.
        Idle = 0 => "idle",
        /// A model is trained.
        Training = 1 => "training",
        /// A model answers requests as they come.
        InferenceInteractive = 2 => "inference_interactive",
        /// A model works through a batch.
        InferenceBatch = 3 => "inference_batch",
        /// Numerical simulation in double precision.
        Hpc = 4 => "hpc",
        /// Rendering or video.
        RenderVideo = 5 => "render_video",
        /// Mining, data processing, burn-in.
        Other = 6 => "other",
    }
}

impl Class {
    /// Whether it is what trees are asked about: training, or either kind of inference.
    #[must_use]
    pub fn is_machine_learning(self) -> bool {
        matches!(
            self,
            Self::Training | Self::InferenceInteractive | Self::InferenceBatch
        )
    }
}
