//! Energy counter against the integral of power.

use super::bounds::Physics;

/// The balance of a window. A sampled integral misses what happens between samples; so the difference must exceed what the scatter of
/// the single steps explains, beside the tolerance.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Balance {
    steps: u32,
    counter_mj: u64,
    integral_mj: u64,
    difference_mj: i64,
    squares: u128,
}

impl Balance {
    pub(super) fn add(&mut self, counter_mj: u64, integral_mj: u64) {
        self.steps = self.steps.saturating_add(1);
        self.counter_mj = self.counter_mj.saturating_add(counter_mj);
        self.integral_mj = self.integral_mj.saturating_add(integral_mj);
        let r = signed(counter_mj).saturating_sub(signed(integral_mj));
        self.difference_mj = self.difference_mj.saturating_add(r);
        let r = u128::from(r.unsigned_abs());
        self.squares = self.squares.saturating_add(r.saturating_mul(r));
    }

    /// By how much they differ, in parts per million of the larger, where that is too much.
    pub(super) fn judge(&self, physics: &Physics) -> Option<u32> {
        if u64::from(self.steps) < physics.energy_steps {
            return None;
        }
        let apart = self.difference_mj.unsigned_abs();
        let size = super::ppm(apart, self.counter_mj.max(self.integral_mj));
        let error = u128::from(physics.energy_scatter);
        let scatter = error.saturating_mul(error).saturating_mul(self.squares);
        let square = u128::from(apart).saturating_mul(u128::from(apart));
        (u64::from(size) > physics.energy_tolerance && square > scatter).then_some(size)
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
