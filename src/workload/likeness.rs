//! How alike devices move.
//!
//! Decides: the correlation of two series of movements, and what the correlations with all others come to. Does not establish why
//! devices move alike: one job on several, or many that are fed alike.

use super::row::{Row, mean};

/// The most likenesses that are looked at: no host has more devices to be like.
const MAX_LIKENESSES: usize = 128;

/// Differences from value to value, cut to their ninth decile.
pub(super) fn movements<const MOST: usize>(series: &Row<MOST>) -> Row<MOST> {
    let values = series.values();
    let pairs = values.iter().zip(values.iter().skip(1));
    let mut moves: Row<MOST> = pairs.map(|(a, b)| b - a).collect();
    let sizes: Row<MOST> = moves.values().iter().map(|m| m.abs()).collect();
    let most = sizes.centile(90).unwrap_or(0.0);
    for m in moves.values_mut() {
        *m = m.clamp(-most, most);
    }
    moves
}

/// Pearson correlation; `None` for fewer than eight pairs, or where one side does not move.
pub(super) fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.len() < 8 {
        return None;
    }
    let (ma, mb) = (mean(a.iter().copied())?, mean(b.iter().copied())?);
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a - ma, b - mb);
        ab += a * b;
        aa += a * a;
        bb += b * b;
    }
    (aa > 0.0 && bb > 0.0).then(|| ab / (aa.sqrt() * bb.sqrt()))
}

/// The mean of the upper third of likenesses, three of seven: a job on half of the devices still shows, and a single
/// chance likeness does not.
#[must_use]
pub fn synchrony(likenesses: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut all: Row<MAX_LIKENESSES> = likenesses.into_iter().collect();
    all.values_mut().sort_unstable_by(|a, b| b.total_cmp(a));
    let upper = all.len().div_ceil(3);
    mean(all.values().iter().copied().take(upper))
}
