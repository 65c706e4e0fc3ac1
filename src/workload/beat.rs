//! The beat of exchanges: whether what a device exchanges with others rises and falls in a fixed rhythm, and by how much.
//!
//! Decides: `link_beat`, of NVLink in a burst. Devices of one job that trains exchange once a step, and the traffic between is less or none; one model
//! that is served over several devices exchanges as much both ways and moves them alike as well, but word by word, far faster than a burst
//! reads, and what remains varies little or as requests come. What beats slightly counts little: ten readings a second of a faster rhythm leave a slow
//! one of their own, by a few percent. Does not establish that what beats is training: batches of one size may, and steps shorter than
//! two readings do not show.

#![expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "a rate is kept in single precision, which is exactly rounded and never traps"
)]

use super::rhythm::Timed;
use super::row::variation;
use super::series::MAX_BURST;

/// A rhythm up to here is what noise and requests have, in so many readings as are looked at.
const OF_NOISE: f64 = 0.3;

/// Of fewer readings nothing is told: half a minute, ten a second. In a few seconds noise has rhythms of any height.
const LEAST: usize = 300;

/// Readings further apart than this are of two bursts, in milliseconds.
const APART_MS: u64 = 3_000;

/// For so long a burst speaks for what follows it, in milliseconds: agents burst for a minute somewhere in every ten, so that from one to the next
/// it may be eighteen.
const STANDS_MS: u64 = 20 * 60 * 1_000;

/// What was exchanged between two readings: when the second was, in milliseconds since the burst began, and kibibytes per millisecond.
type Exchanged = (u32, f32);

/// What was exchanged in the latest burst, over the edges of windows, and its beat.
#[derive(Clone, Debug, Default)]
pub(super) struct Beat {
    traffic: Vec<Exchanged>,
    /// Of the latest reading: its place in its window, how long after the one before it came, and when since the burst began, in milliseconds; and the
    /// clock of the series.
    last_ms: Option<u32>,
    step_ms: u32,
    since_ms: u32,
    clock_ms: u64,
    /// Whether the open window has readings.
    fresh: bool,
    /// The beat of the latest burst that had enough of them, and the clock then.
    height: Option<(f64, u64)>,
}

impl Beat {
    /// What a reading takes, in bytes.
    pub(super) const BYTES: usize = size_of::<Exchanged>();

    /// Adds a reading: `at_ms` after the start of its window, `kib` since the reading before.
    pub(super) fn add(&mut self, clock_ms: u64, at_ms: u32, kib: Option<f64>) {
        if clock_ms.saturating_sub(self.clock_ms) > APART_MS {
            self.traffic.clear();
            self.last_ms = None;
            self.since_ms = 0;
        }
        if self.traffic.capacity() == 0 {
            self.traffic.reserve_exact(MAX_BURST);
        }
        self.clock_ms = clock_ms;
        self.fresh = true;
        let Some(last) = self.last_ms.replace(at_ms) else {
            return;
        };
        // Places begin anew with each window; readings go on as evenly as before.
        if let Some(step) = at_ms.checked_sub(last).filter(|step| *step > 0) {
            self.step_ms = step;
        }
        self.since_ms = self.since_ms.saturating_add(self.step_ms);
        // A reading that failed leaves a hole.
        if let Some(kib) = kib.filter(|_| self.step_ms > 0 && self.traffic.len() < MAX_BURST) {
            let rate = kib / f64::from(self.step_ms);
            self.traffic.push((self.since_ms, rate as f32));
        }
    }

    /// What the open window has: the beat of its burst, or else of the latest before, while it stands.
    pub(super) fn told(&self, clock_ms: u64) -> Option<f64> {
        let stands = |(_, told): &(f64, u64)| clock_ms.saturating_sub(*told) <= STANDS_MS;
        let before = || self.height.filter(stands).map(|(height, _)| height);
        self.now().or_else(before)
    }

    /// Closes the window. Where links are out of use, what beat has ended.
    pub(super) fn close(&mut self, clock_ms: u64, linked: bool) {
        if !linked {
            self.forget();
            return;
        }
        if let Some(height) = self.now() {
            self.height = Some((height, clock_ms));
        }
        self.fresh = false;
        // A burst that never ends goes on with its latest half minute.
        let surplus = self.traffic.len().saturating_sub(LEAST);
        self.traffic.drain(..surplus);
    }

    /// What beat before is of other work than what comes.
    pub(super) fn forget(&mut self) {
        self.traffic.clear();
        self.last_ms = None;
        self.since_ms = 0;
        self.fresh = false;
        self.height = None;
    }

    /// That of a burst in the open window; traffic that stands still has none.
    fn now(&self) -> Option<f64> {
        (self.fresh && self.traffic.len() >= LEAST).then(|| height(&self.traffic).unwrap_or(0.0))
    }
}

/// By how much traffic rises and falls in its rhythm, of its mean: at most one. `None` where nothing moves.
fn height(traffic: &[Exchanged]) -> Option<f64> {
    let wide = |(at, rate): &Exchanged| (f64::from(*at), f64::from(*rate));
    let timed: Timed<MAX_BURST> = traffic.iter().map(wide).collect();
    let rhythm = timed.rhythm()?;
    let depth = variation(timed.values())?;
    let sure = (rhythm.height - OF_NOISE).max(0.0) / (1.0 - OF_NOISE);
    Some(sure * depth.min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten readings a second, in windows of a minute.
    fn burst(beat: &mut Beat, readings: std::ops::Range<usize>, kib: impl Fn(usize) -> f64) {
        for i in readings {
            if i > 0 && i % 600 == 0 {
                beat.close(i as u64 * 100, true);
            }
            beat.add(i as u64 * 100, (i % 600) as u32 * 100, Some(kib(i)));
        }
    }

    fn told(readings: usize, kib: impl Fn(usize) -> f64) -> Option<f64> {
        let mut beat = Beat::default();
        burst(&mut beat, 0..readings, kib);
        beat.told(readings as u64 * 100)
    }

    /// Numbers that follow no rule, from nought to one.
    fn noise(i: usize) -> f64 {
        let mut x = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x ^= x >> 29;
        x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (x >> 40) as f64 / f64::from(1u32 << 24)
    }

    fn steps(i: usize) -> f64 {
        if i % 4 == 3 { 900.0 } else { 100.0 }
    }

    #[test]
    fn exchanges_once_a_step_beat_and_requests_as_they_come_do_not() {
        let train = |i: usize| steps(i) + 20.0 * noise(i);
        assert!(told(600, train).unwrap() > 0.5);
        for readings in [301, 330, 400, 500, 600] {
            for draw in 0..40 {
                let request = |i: usize| {
                    if noise(i / 2 + 10_000 * draw) < 0.3 {
                        900.0
                    } else {
                        100.0
                    }
                };
                let height = told(readings, request).unwrap();
                assert!(height < 0.06, "{readings} readings: {height}");
            }
        }
    }

    #[test]
    fn a_few_seconds_tell_nothing() {
        for readings in [50, 100, 150, 300] {
            assert_eq!(told(readings, steps), None, "{readings}");
        }
    }

    #[test]
    fn a_burst_over_the_edge_of_a_window_is_one() {
        let mut beat = Beat::default();
        burst(&mut beat, 200..650, steps);
        assert!(beat.told(65_000).unwrap() > 0.5);
        let mut late = Beat::default();
        burst(&mut late, 550..1_150, steps);
        let whole = late.told(115_000).unwrap();
        late.close(120_000, true);
        assert_eq!(late.told(180_000), Some(whole));
    }

    #[test]
    fn what_reading_too_slowly_leaves_of_a_faster_rhythm_counts_little() {
        // Three words and a third in each reading.
        let words = |i: usize| ((i + 1) * 10 / 3 - i * 10 / 3) as f64;
        assert!(told(600, words).unwrap() < 0.15);
    }

    #[test]
    fn a_burst_speaks_until_the_next_but_for_no_other_work() {
        let mut beat = Beat::default();
        burst(&mut beat, 0..600, steps);
        beat.close(60_000, true);
        let whole = beat.told(60_000);
        assert!(whole.unwrap() > 0.5);
        assert_eq!(beat.told(60_000 + STANDS_MS), whole);
        assert_eq!(beat.told(60_001 + STANDS_MS), None);
        let mut ended = beat.clone();
        ended.close(120_000, false);
        assert_eq!(ended.told(120_000), None);
        // Traffic that stands still is the latest that is known.
        burst(&mut beat, 3_000..3_600, |_| 500.0);
        assert_eq!(beat.told(360_000), Some(0.0));
        beat.forget();
        assert_eq!(beat.told(360_000), None);
    }
}
