//! Temperature against power.
//!
//! The die warms and cools within seconds of the power that it draws, and not without it.

use super::bounds::Physics;
use super::follow::Follow;
use super::moment::Moment;
use super::{Part, scale};

/// Readings of power that a change of temperature may answer to.
const MEMORY: usize = 8;

/// The last readings, and those of the window.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Thermal {
    /// Lowest and highest power of each step, the oldest first; only the last `filled` count.
    lows: [u64; MEMORY],
    highs: [u64; MEMORY],
    warmths: [i32; MEMORY],
    filled: usize,
    last: Option<i32>,
    smooth_mw: u64,
    follow: Follow,
    /// The same with power of the step alone.
    quick: Follow,
    mean_c: i64,
    mean_mw: u64,
    steps: u32,
}

impl Thermal {
    /// Takes a moment; the change where the temperature jumped by more than power explains, as a share of a hundred degrees.
    pub(super) fn take(&mut self, m: &Moment, physics: &Physics) -> Option<u32> {
        let (Some(mw), Some(c)) = (m.mean_mw, m.temperature_c) else {
            self.interrupt();
            return None;
        };
        self.smooth_mw = if self.last.is_none() {
            mw
        } else {
            // A first-order lag of some three samples.
            self.smooth_mw
                .saturating_mul(2)
                .saturating_add(mw)
                .checked_div(3)
                .unwrap_or(mw)
        };
        let warmth = u64::try_from(c.clamp(0, 150)).unwrap_or(0);
        self.follow
            .add(deciwatts(self.smooth_mw), warmth.saturating_mul(100));
        self.quick.add(deciwatts(mw), warmth.saturating_mul(100));
        self.steps = self.steps.saturating_add(1);
        self.mean_c = self.mean_c.saturating_add(i64::from(c));
        self.mean_mw = self.mean_mw.saturating_add(mw);
        let reading = u64::from(m.power_mw.unwrap_or(0));
        let reading = if reading == 0 { mw } else { reading };
        shift(&mut self.lows, mw.min(reading));
        shift(&mut self.highs, mw.max(reading));
        shift(&mut self.warmths, c);
        self.last = Some(c);
        self.filled = self.filled.saturating_add(1).min(MEMORY);
        if self.filled < MEMORY {
            return None;
        }
        let [a, b, c, .., x, y, z] = self.warmths;
        let sum = |one: i32, two: i32, three: i32| one.saturating_add(two).saturating_add(three);
        let jump = u64::from(sum(x, y, z).abs_diff(sum(a, b, c))).div_euclid(3);
        if jump <= physics.temperature_jump {
            return None;
        }
        let low = self.lows.iter().copied().min().unwrap_or(0);
        let high = self.highs.iter().copied().max().unwrap_or(0);
        let explained = scale(high.saturating_sub(low), physics.temperature_quick);
        (jump > explained.saturating_add(physics.temperature_jump)).then(|| super::ppm(jump, 100))
    }

    /// Closes the window: how far temperature is from following power, or from what power must warm it to.
    pub(super) fn close(&mut self, part: &Part, physics: &Physics) -> Option<u32> {
        let closed = *self;
        (self.follow, self.quick) = (Follow::default(), Follow::default());
        (self.mean_c, self.mean_mw, self.steps) = (0, 0, 0);
        let design = part.design_mw?;
        if closed.follow.pairs() < physics.follow_pairs {
            return None;
        }
        let swing = deciwatts(scale(design, physics.temperature_swing));
        let least = i32::try_from(physics.temperature_follows).unwrap_or(i32::MAX);
        let slow = closed.follow.correlation();
        // Where power swings faster than that, temperature may follow the step as well.
        let fast = deciwatts(scale(design, physics.temperature_fast));
        let either = slow.max(closed.quick.correlation());
        let (moves, correlation) = if closed.follow.first_moves(swing) {
            (true, slow)
        } else {
            (part.measured && closed.quick.first_moves(fast), either)
        };
        let strays = moves && correlation < least;
        let strays = strays.then(|| least.abs_diff(correlation).min(1_000_000));
        let n = i64::from(closed.steps);
        let mean_c = closed.mean_c.checked_div(n)?;
        let mean_mw = closed.mean_mw.checked_div(u64::from(closed.steps))?;
        let bound = |at_rest: u64, per_kilowatt: u64| {
            let rise = scale(mean_mw, per_kilowatt);
            i64::try_from(at_rest.saturating_add(rise)).unwrap_or(i64::MAX)
        };
        let least = bound(physics.temperature_coolant, physics.temperature_rise);
        let most = bound(physics.temperature_hot, physics.temperature_most);
        let outside = least.saturating_sub(mean_c).max(mean_c.saturating_sub(most));
        let outside = u64::try_from(outside).ok().filter(|o| *o > 0);
        strays.max(outside.map(|o| super::ppm(o, 100)))
    }

    /// The mean of the open window, in degrees Celsius.
    pub(super) fn mean_c(&self) -> Option<i64> {
        self.mean_c.checked_div(i64::from(self.steps))
    }

    /// Nothing is known of what happened in a gap.
    pub(super) fn interrupt(&mut self) {
        self.filled = 0;
        self.last = None;
    }
}

/// Drops the oldest and appends the newest.
fn shift<T: Copy>(of: &mut [T; MEMORY], newest: T) {
    let [_, b, c, d, e, f, g, h] = *of;
    *of = [b, c, d, e, f, g, h, newest];
}

fn deciwatts(mw: u64) -> u64 {
    mw.checked_div(100).unwrap_or(0)
}
