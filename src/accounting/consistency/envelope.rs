//! Power against activity: the most and the least that a part can draw for what its pipes did.
//!
//! The bounds are wide: operands alone change the power of one kernel by a factor of two, so only what no kernel reaches is
//! stated. The most is linear in the clock, which understates how power falls with it, and so errs to the wide side.

use super::bounds::Physics;
use super::moment::{Moment, Shares};
use super::{Part, scale};

/// The open block, and the energy whose activity is still to come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Envelope {
    pending_mj: u64,
    pending_micros: u64,
    pending_link: u64,
    steps: u32,
    drawn_mj: u64,
    most_mj: u64,
    least_mj: u64,
}

impl Envelope {
    /// Takes a moment; at the end of a block, how far the energy drawn lies outside of what activity allows.
    pub(super) fn take(&mut self, m: &Moment, part: &Part, physics: &Physics) -> Option<u32> {
        if !part.measured {
            return None;
        }
        let Some(drawn) = m.drawn_mj() else {
            self.forget();
            return None;
        };
        self.pending_mj = self.pending_mj.saturating_add(drawn);
        self.pending_micros = self.pending_micros.saturating_add(m.micros);
        let bytes = m.link.map_or(0, |[tx, rx]| tx.saturating_add(rx));
        self.pending_link = self.pending_link.saturating_add(bytes);
        let shares = m.shares?;
        let (drawn, micros, link) = (self.pending_mj, self.pending_micros, self.pending_link);
        (self.pending_mj, self.pending_micros, self.pending_link) = (0, 0, 0);
        // The mean must speak for the time in which the energy was drawn.
        if shares.micros.saturating_mul(10) < micros.saturating_mul(9) {
            self.forget();
            return None;
        }
        let clock = clock_ppm(m.clock_mhz, part.highest_mhz);
        let energy = |mw: u64| scale(mw, micros);
        let dynamic = scale(most_mw(&shares, physics), clock);
        let dynamic = dynamic.saturating_add(scale(dynamic, physics.envelope_margin));
        // Milliwatt-seconds per gigabyte are millijoules per gigabyte.
        let links = link
            .saturating_mul(physics.link_most)
            .checked_div(1_000_000_000)
            .unwrap_or(0);
        let most = energy(physics.base_most.saturating_add(dynamic)).saturating_add(links);
        // Only a device that works for most of the time is sure to have its memory and clocks up.
        let works = u64::from(shares.sm) >= physics.work_least;
        let rest = part
            .design_mw
            .map_or(0, |design| scale(design, physics.rest_least));
        let floor = if works { physics.base_least.max(rest) } else { rest };
        let sm_floor = scale(scale(physics.sm_least, u64::from(shares.sm)), clock);
        let least = energy(floor.saturating_add(if works { sm_floor } else { 0 }));
        self.steps = self.steps.saturating_add(1);
        self.drawn_mj = self.drawn_mj.saturating_add(drawn);
        self.most_mj = self.most_mj.saturating_add(most);
        self.least_mj = self.least_mj.saturating_add(least);
        if u64::from(self.steps) < physics.block {
            return None;
        }
        let block = std::mem::take(self);
        let above = block.drawn_mj.saturating_sub(block.most_mj);
        let below = block.least_mj.saturating_sub(block.drawn_mj);
        let size = super::ppm(above, block.drawn_mj).max(super::ppm(below, block.least_mj));
        (size > 0).then_some(size)
    }

    /// Nothing is known of what happened in a gap.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

/// What the pipes take at most at the highest clock, in milliwatts.
fn most_mw(s: &Shares, physics: &Physics) -> u64 {
    let of = |share: u32, most: u64| scale(u64::from(share), most);
    let tensor = match (s.hmma, s.imma, s.dfma) {
        (Some(h), Some(i), Some(d)) => of(h, physics.hmma_most)
            .saturating_add(of(i, physics.imma_most))
            .saturating_add(of(d, physics.dfma_most)),
        // Not told apart: all of it counts as the pipe that takes the most.
        _ => of(s.tensor.unwrap_or(s.sm), physics.hmma_most),
    };
    // Not told at all: vector pipes may be busy wherever an SM is and its tensor pipe is not.
    let idle_pipes = s.sm.saturating_sub(s.tensor.unwrap_or(0));
    let vector = of(s.vector.unwrap_or(idle_pipes), physics.vector_most);
    of(s.sm, physics.sm_most)
        .saturating_add(tensor)
        .saturating_add(vector)
        .saturating_add(of(s.dram.unwrap_or(1_000_000), physics.dram_most))
}

/// The clock as a share of the highest; the whole where either is not known.
fn clock_ppm(clock: Option<u32>, highest: Option<u32>) -> u64 {
    match (clock, highest) {
        (Some(clock), Some(highest)) if highest > 0 => {
            u64::from(super::ppm(u64::from(clock), u64::from(highest))).min(1_000_000)
        }
        _ => 1_000_000,
    }
}
