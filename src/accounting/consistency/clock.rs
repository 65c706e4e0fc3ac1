//! The SM clock against what the driver says holds it back, of the same instant.
//!
//! A clock that is held back is below the highest, and one that nothing holds back is at it. Clocks that an operator has locked may be
//! low without a reason, but stand still: only a clock that moves as well is stated.

use super::bounds::Physics;
use super::moment::Moment;
use super::{HELD_BACK, Part, THERMAL};

/// What a window has counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    samples: u32,
    /// Samples at the highest clock though it is held back.
    high: u32,
    /// Samples below the highest though nothing holds it back.
    low: u32,
    /// Changes of the clock from one such sample, or one at the highest, to the next.
    turns: u32,
    free: Option<u32>,
}

impl Held {
    pub(super) fn take(&mut self, m: &Moment, part: &Part) {
        let (Some(events), Some(clock), Some(highest)) = (m.events, m.clock_now_mhz, part.highest_mhz) else {
            self.free = None;
            return;
        };
        let held = events & (HELD_BACK | THERMAL) != 0;
        let free = (events == 0).then_some(clock);
        let turned = free.zip(self.free).is_some_and(|(now, then)| now != then);
        self.samples = self.samples.saturating_add(1);
        self.high = self.high.saturating_add(u32::from(held && clock >= highest));
        self.low = self
            .low
            .saturating_add(u32::from(free.is_some_and(|c| c < highest)));
        self.turns = self.turns.saturating_add(u32::from(turned));
        self.free = free;
    }

    /// The share of samples in which clock and events contradict each other, where they are too many.
    pub(super) fn judge(&self, part: &Part, physics: &Physics) -> Option<u32> {
        let many = |n: u32| u64::from(n) >= physics.clock_samples;
        let wrong = if many(self.low) && many(self.turns) {
            self.high.max(self.low)
        } else {
            self.high
        };
        (part.measured && many(wrong)).then(|| super::ppm(u64::from(wrong), u64::from(self.samples)))
    }

    /// Nothing is known of what happened in a gap.
    pub(super) fn interrupt(&mut self) {
        self.free = None;
    }
}
