//! Records (`EVI`, `OPS`, `REC`): whether there is enough evidence, whether it is new, and whether what must be kept is on file.
//!
//! Contradictions (`EVI-02`) and red flags (`REC-04`) have rooms of their own.

pub(super) mod age;
pub(super) mod filed;
pub(super) mod operations;
