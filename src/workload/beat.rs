//! The beat of exchanges: whether what a device exchanges with others rises and falls in a fixed rhythm, and by how much.
//!
//! Decides: `link_beat`, of NVLink in a burst. Devices of one job that trains exchange once a step, and the traffic between is less or none; one model
//! that is served over several devices exchanges as much both ways and moves them alike as well, but word by word, far faster than a burst
//! reads, and what remains varies little or as requests come. What beats slightly counts little: ten readings a second of a faster rhythm leave a slow
//! one of their own, by a few percent. Does not establish that what beats is training: batches of one size may, and steps shorter than
//! two readings do not show.

use super::feature::MAX_BURST;
use super::rhythm::Timed;
use super::row::variation;

/// A rhythm up to here is what noise and requests have.
const OF_NOISE: f64 = 0.3;

/// For so many windows a burst speaks for those that follow it: agents take one in ten.
const WINDOWS: u32 = 12;

/// The beat of the latest burst, and how many windows ago that was.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Beat {
    height: Option<f64>,
    windows: u32,
}

impl Beat {
    /// By how much traffic rises and falls in its rhythm, of its mean: at most one. `None` where a series is too short or nothing moves.
    pub(super) fn of(traffic: &Timed<MAX_BURST>) -> Option<f64> {
        let rhythm = traffic.rhythm()?;
        let depth = variation(traffic.values())?;
        let sure = (rhythm.height - OF_NOISE).max(0.0) / (1.0 - OF_NOISE);
        Some(sure * depth.min(1.0))
    }

    /// What the open window has of it: that of its burst, `now`, or else of the latest before.
    pub(super) fn told(self, now: Option<f64>) -> Option<f64> {
        now.or(self.height)
    }

    /// What the next window has of it. Where links went out of use, what beat has ended.
    pub(super) fn next(self, now: Option<f64>, linked: bool) -> Self {
        let fresh = now.map(|height| Self {
            height: Some(height),
            windows: 0,
        });
        let kept = Self {
            windows: self.windows.saturating_add(1),
            ..self
        };
        let stays = linked && kept.windows < WINDOWS;
        fresh.unwrap_or_else(|| if stays { kept } else { Self::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::row::Row;

    fn traffic(of: impl Fn(usize) -> f64) -> Timed<MAX_BURST> {
        (0..600).map(|i| (i as f64 * 100.0, of(i))).collect()
    }

    /// Numbers that follow no rule, from nought to one.
    fn noise(i: usize) -> f64 {
        let mut x = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x ^= x >> 29;
        x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (x >> 40) as f64 / f64::from(1u32 << 24)
    }

    #[test]
    fn exchanges_once_a_step_beat_and_requests_as_they_come_do_not() {
        let steps = traffic(|i| if i % 4 == 3 { 9.0 } else { 1.0 } + noise(i) / 5.0);
        assert!(Beat::of(&steps).unwrap() > 0.5);
        let requests = traffic(|i| if noise(i / 2) < 0.3 { 9.0 } else { 1.0 });
        assert!(Beat::of(&requests).unwrap() < 0.06, "{:?}", Beat::of(&requests));
    }

    #[test]
    fn what_reading_too_slowly_leaves_of_a_faster_rhythm_counts_little() {
        // Three words and a third in each reading.
        let words = traffic(|i| ((i + 1) * 10 / 3 - i * 10 / 3) as f64);
        assert!(words.rhythm().unwrap().height > 0.9);
        assert!(Beat::of(&words).unwrap() < 0.15, "{:?}", Beat::of(&words));
    }

    #[test]
    fn a_burst_speaks_for_the_windows_until_the_next_and_not_beyond_the_use_of_links() {
        let seen = Beat::default().next(Some(0.4), true);
        assert_eq!(seen.told(None), Some(0.4));
        assert_eq!(seen.told(Some(0.1)), Some(0.1));
        assert_eq!(seen.next(None, false).told(None), None);
        let last = (1..WINDOWS).fold(seen, |beat, _| beat.next(None, true));
        assert_eq!(last.told(None), Some(0.4));
        assert_eq!(last.next(None, true).told(None), None);
    }

    #[test]
    fn nothing_that_moves_has_no_beat() {
        assert_eq!(Beat::of(&traffic(|_| 0.0)), None);
        assert_eq!(
            Beat::of(
                &Row::<MAX_BURST>::default()
                    .values()
                    .iter()
                    .map(|v| (0.0, *v))
                    .collect()
            ),
            None
        );
    }
}
