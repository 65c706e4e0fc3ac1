//! What devices sign: evidence that a host cannot forge.
//!
//! Decides: whether signed evidence of a GPU or switch is authentic, fresh and as its maker published, step by step, at a given time.
//! Trusts the maker's pinned roots. Does not establish that telemetry is true, nor in which host the device sits.

pub mod binding;
pub mod nvidia;

use serde::{Serialize, Serializer};

/// What one step of an appraisal came to. What was not checked never counts as passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It was checked and holds.
    Pass,
    /// It was checked and does not hold.
    Fail(String),
    /// It was not checked.
    NotChecked(String),
}

impl Step {
    /// The word for it: `pass`, `fail` or `not checked`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail(_) => "fail",
            Self::NotChecked(_) => "not checked",
        }
    }

    /// Why it did not pass.
    #[must_use]
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Pass => None,
            Self::Fail(why) | Self::NotChecked(why) => Some(why),
        }
    }

    /// Whether it passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        *self == Self::Pass
    }

    /// Pass, or fail with the error and what caused it, in one sentence.
    pub(crate) fn of<T, E: std::error::Error>(result: &Result<T, E>) -> Self {
        match result {
            Ok(_) => Self::Pass,
            Err(error) => Self::Fail(told(error)),
        }
    }
}

impl Serialize for Step {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.word())
    }
}

/// An error and what caused it.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
