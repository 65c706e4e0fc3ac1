//! What the counters of a part are worth, held against work that was known.
//!
//! A counter of pipe activity says in which share of the cycles a pipe was busy, not how many operations it did. That
//! depends on the instructions: on Hopper, `wgmma` of every shape and format does what the data sheet gives for the cycles
//! it takes, the older `mma.sync` a quarter to two thirds of that. And the cycles are fewer than the driver's SM clock has
//! it: while the tensor pipes work, the clock was found at 10/11 to 11/12 of what the driver says. docs/accounting.md
//! has the measurements.

use serde::Serialize;

/// The least that busy tensor pipes were seen to do, pipe by pipe, in millionths of activity × SM clock × what the pipe is
/// said to do in a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LeastYield {
    /// The half-precision pipe.
    pub hmma: u32,
    /// The integer pipe.
    pub imma: u32,
    /// The FP64 pipe.
    pub dfma: u32,
}

/// What is known of one part. Where nothing is, no bound rests on its counters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Calibration {
    /// What busy tensor pipes do in large dense products, in millionths of activity × SM clock × the constant of the part.
    pub typical: Option<u32>,
    /// The least that they were seen to do: what a lower bound may rest on.
    pub least: Option<LeastYield>,
    /// What they cannot exceed, in the same unit: what an upper bound may rest on.
    pub most: Option<u32>,
    /// Whether FP16 vector instructions count as activity of the half-precision tensor pipe.
    pub fp16_on_tensor: bool,
    /// Power below which the part was never seen to fall, in watts.
    pub idle_least_w: Option<u64>,
    /// Energy that one bit-operation takes at the least, in attojoules: on operands of zero, at the lowest voltage.
    pub energy_floor_aj: Option<u64>,
    /// Where these are from.
    pub source: String,
}

impl Calibration {
    /// No pipe does more than this for its counted activity, in millionths; a catalogue that says so is mistaken.
    pub const MOST_YIELD: u32 = 2_000_000;
}
