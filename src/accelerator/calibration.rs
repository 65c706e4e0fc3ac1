//! What the counters of a part are worth, held against work that was known.
//!
//! A counter of pipe activity says in which share of the cycles a pipe was busy, not how many operations it did. How many
//! it does while it is busy depends on the instructions: on Hopper, `wgmma` reaches 10/11 of the data sheet's rate at the
//! SM clock, the older `mma.sync` two thirds of that, and the smallest FP64 instruction half of the largest. These shares
//! were measured by running instructions of each kind and counting what was issued; docs/accounting.md has the table.

use serde::Serialize;

/// What is known of one part. Where nothing is, no bound rests on its counters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Calibration {
    /// What busy tensor pipes do in large dense products, in millionths of activity × SM clock × the constant of the part.
    pub typical: Option<u32>,
    /// The least that they were seen to do, in the same unit: what a lower bound may rest on.
    pub least: Option<u32>,
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
