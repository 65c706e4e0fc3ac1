//! Temperature against power.
//!
//! The die warms and cools within seconds of the power that it draws, and not without it.

use super::bounds::Physics;
use super::follow::Follow;
use super::moment::Moment;
use super::{Part, scale};

/// Readings of power that a change of temperature may answer to.
const MEMORY: usize = 8;

/// Readings at each end of them, whose means are compared.
const ENDS: usize = 3;

/// The last readings, and those of the window.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Thermal {
    /// Lowest and highest power of each step.
    powers: [Option<(u64, u64)>; MEMORY],
    warmths: [i32; MEMORY],
    last: Option<i32>,
    smooth_mw: u64,
    follow: Follow,
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
        self.steps = self.steps.saturating_add(1);
        self.mean_c = self.mean_c.saturating_add(i64::from(c));
        self.mean_mw = self.mean_mw.saturating_add(mw);
        let reading = u64::from(m.power_mw.unwrap_or(0));
        let reading = if reading == 0 { mw } else { reading };
        self.powers.rotate_left(1);
        self.warmths.rotate_left(1);
        if let (Some(power), Some(warmth)) = (self.powers.last_mut(), self.warmths.last_mut()) {
            *power = Some((mw.min(reading), mw.max(reading)));
            *warmth = c;
        }
        self.last = Some(c);
        let (low, high) = self.powers.iter().try_fold((u64::MAX, 0), |(low, high), p| {
            let (l, h) = (*p)?;
            Some((low.min(l), high.max(h)))
        })?;
        let sum = |of: &[i32]| of.iter().fold(0i32, |s, c| s.saturating_add(*c));
        let early = sum(self.warmths.get(..ENDS)?);
        let late = sum(self.warmths.get(MEMORY.saturating_sub(ENDS)..)?);
        let jump = u64::from(late.abs_diff(early)).checked_div(3)?;
        let explained = scale(high.saturating_sub(low), physics.temperature_quick);
        (jump > explained.saturating_add(physics.temperature_jump)).then(|| super::ppm(jump, 100))
    }

    /// Closes the window: how far temperature is from following power, or from what power must warm it to.
    pub(super) fn close(&mut self, part: &Part, physics: &Physics) -> Option<u32> {
        let closed = *self;
        self.follow = Follow::default();
        (self.mean_c, self.mean_mw, self.steps) = (0, 0, 0);
        let design = part.design_mw?;
        if closed.follow.pairs() < 20 {
            return None;
        }
        let swing = deciwatts(scale(design, physics.temperature_swing));
        let least = i32::try_from(physics.temperature_follows).unwrap_or(i32::MAX);
        let correlation = closed.follow.correlation();
        let strays = closed.follow.first_moves(swing) && correlation < least;
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
        self.powers = [None; MEMORY];
        self.last = None;
    }
}

fn deciwatts(mw: u64) -> u64 {
    mw.checked_div(100).unwrap_or(0)
}
