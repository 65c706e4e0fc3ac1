//! Power that activity does not explain.
//!
//! Decides: how far power strays from the straight line through its activities that fits it best. The line is the device's own, found anew from its own
//! points, so that no watts, no limit and no power at rest enter; what a model of the device would make of the level of power is told by
//! the checks of consistency. Does not establish what drew the power: other data, a pipe without a counter, heat, or a meter that lags.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "signal arithmetic on f64, which saturates and never traps; counts are below a length that is checked"
)]

use super::row::{Row, mean};
use super::series::MAX_BURST;

/// Activities that are looked at: SMs, tensor pipes, DRAM.
const ACTIVITIES: usize = 3;

/// Fewer points than these leave nothing to stray once a line is drawn through them.
const LEAST: usize = 8;

/// An activity that moves by less than this, as a share, explains nothing: what is fitted to it is noise.
const LEAST_MOVEMENT: f64 = 0.002;

/// Standard deviation of what is left of power, of its mean. Of points that tell power and SM activity; an activity that not all of them tell is
/// left out. `None` where they are too few.
pub(super) fn residual(
    points: impl Iterator<Item = (f64, [Option<f64>; ACTIVITIES])> + Clone,
) -> Option<f64> {
    let power: Row<MAX_BURST> = points.clone().map(|(power, _)| power).collect();
    if power.len() < LEAST {
        return None;
    }
    let level = mean(power.values().iter().copied()).filter(|m| *m > 0.0)?;
    let mut left = centred(power)?;
    let mut fitted: [Row<MAX_BURST>; ACTIVITIES] = [Row::default(); ACTIVITIES];
    let mut used = 0usize;
    for place in 0..ACTIVITIES {
        let told = points
            .clone()
            .filter_map(|(_, shares)| shares.get(place).copied().flatten());
        let told: Row<MAX_BURST> = told.collect();
        if told.len() != left.len() {
            continue;
        }
        let mut own = centred(told)?;
        // What other activities explain of this one was theirs to explain.
        for before in fitted.iter().take(used) {
            take_out(&mut own, before);
        }
        let least = LEAST_MOVEMENT * LEAST_MOVEMENT * own.len() as f64;
        if product(&own, &own) <= least {
            continue;
        }
        take_out(&mut left, &own);
        if let Some(slot) = fitted.get_mut(used) {
            *slot = own;
            used += 1;
        }
    }
    let freedom = left.len().saturating_sub(1).saturating_sub(used).max(1);
    Some((product(&left, &left) / freedom as f64).sqrt() / level)
}

fn centred(mut row: Row<MAX_BURST>) -> Option<Row<MAX_BURST>> {
    let centre = mean(row.values().iter().copied())?;
    for v in row.values_mut() {
        *v -= centre;
    }
    Some(row)
}

fn product(a: &Row<MAX_BURST>, b: &Row<MAX_BURST>) -> f64 {
    a.values().iter().zip(b.values()).map(|(a, b)| a * b).sum()
}

/// Takes out of a row what lies along another, which is not zero.
fn take_out(row: &mut Row<MAX_BURST>, other: &Row<MAX_BURST>) {
    let along = product(row, other) / product(other, other);
    for (v, o) in row.values_mut().iter_mut().zip(other.values()) {
        *v -= along * o;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Told = (f64, [Option<f64>; ACTIVITIES]);

    fn works(i: u32) -> [f64; 3] {
        [
            0.9 - 0.1 * f64::from(i % 3),
            0.2 + 0.1 * f64::from(i % 5),
            0.3 + 0.05 * f64::from(i * i % 7),
        ]
    }

    fn draws([sm, tensor, dram]: [f64; 3]) -> f64 {
        90.0 + 150.0 * sm + 300.0 * tensor + 120.0 * dram
    }

    fn of(told: impl Fn(u32) -> Told) -> Option<f64> {
        residual((0..60).map(&told))
    }

    #[test]
    fn power_that_follows_activity_leaves_nothing_and_what_else_draws_shows() {
        let follows = of(|i| (draws(works(i)), works(i).map(Some)));
        assert!(follows.unwrap() < 1e-9, "{follows:?}");
        // Something without a counter draws 60 W of some 390 every other second.
        let hides = of(|i| (draws(works(i)) + 60.0 * f64::from(i / 2 % 2), works(i).map(Some)));
        assert!((0.06..0.09).contains(&hides.unwrap()), "{hides:?}");
        // What does not move explains nothing, and takes no part in the count.
        let still = of(|i| (500.0 + f64::from(i % 2), [Some(0.9), Some(0.4), None]));
        assert!((still.unwrap() - 0.001).abs() < 0.000_1, "{still:?}");
        assert_eq!(
            residual((0..7).map(|i| (draws(works(i)), works(i).map(Some)))),
            None
        );
        assert_eq!(of(|i| (0.0, works(i).map(Some))), None);
    }

    proptest! {
        #[test]
        fn any_points_leave_a_share_or_none(told in proptest::collection::vec(
            (0.0f64..4.3e9, [proptest::option::of(0.0f64..5_000.0), proptest::option::of(0.0f64..5_000.0), proptest::option::of(0.0f64..5_000.0)]), 0..60)) {
            let found = residual(told.iter().copied());
            prop_assert!(found.is_none_or(|f| f.is_finite() && f >= 0.0), "{found:?}");
        }
    }
}
