//! What a device exchanges with others in a burst, followed over the edges of windows.
//!
//! Decides: which readings belong to one burst, over which time each counts, and for how long what a burst told stands. What it tells is
//! [`super::exchanges`]'s.

#![expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "rates and shares are kept in single precision, which is exactly rounded and never traps"
)]

use super::exchanges::{Exchanged, Told, told};
use super::series::{LONGEST_MS, MAX_BURST};

/// Of fewer readings nothing is told: nearly half a minute, ten a second. In a few seconds noise has rhythms of any height.
const LEAST: usize = 290;

/// Readings further apart than this are of two bursts, in milliseconds.
const APART_MS: u64 = 3_000;

/// For so long a burst speaks for what follows it, in milliseconds: agents burst for a minute somewhere in every ten, so that from one to the next
/// it may be eighteen.
pub(super) const STANDS_MS: u64 = 20 * 60 * 1_000;

/// One reading.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Exchange {
    /// Milliseconds after the start of its window.
    pub(super) at_ms: u32,
    /// Kibibytes sent and received since the reading before.
    pub(super) kib: Option<f64>,
    /// Shares of SM and tensor activity over the pair of samples that ended with it.
    pub(super) activity: Option<[f64; 2]>,
}

/// What was exchanged in the latest burst, over the edges of windows, and what it told.
#[derive(Clone, Debug, Default)]
pub(super) struct Beat {
    pub(super) traffic: Vec<Exchanged>,
    /// Of the latest reading: its place in its window, how long after the one before it came, and when since the burst began, in milliseconds; and the
    /// clock of the series.
    last_ms: Option<u32>,
    step_ms: u32,
    since_ms: u32,
    clock_ms: u64,
    /// How long ago a reading was told, and whether one was left out since.
    untold_ms: u32,
    broken: bool,
    /// Whether the open window has readings.
    fresh: bool,
    /// What the latest burst told that had enough of them, and the clock then.
    before: Option<(Told, u64)>,
}

impl Beat {
    /// What a reading takes, in bytes.
    pub(super) const BYTES: usize = size_of::<Exchanged>();

    /// Adds a reading.
    pub(super) fn add(&mut self, clock_ms: u64, reading: &Exchange) {
        let at_ms = reading.at_ms;
        if clock_ms.saturating_sub(self.clock_ms) > APART_MS {
            self.begin();
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
        self.untold_ms = self.untold_ms.saturating_add(self.step_ms);
        // A counter that failed once goes on, and its next reading counts over both steps.
        let Some(kib) = reading.kib else { return };
        let over_ms = std::mem::take(&mut self.untold_ms);
        let is_whole = !std::mem::take(&mut self.broken) && (1..=LONGEST_MS).contains(&over_ms);
        if is_whole && self.traffic.len() < MAX_BURST {
            let rate = kib / f64::from(over_ms);
            self.traffic.push(Exchanged {
                since_ms: self.since_ms,
                rate: rate as f32,
                activity: reading
                    .activity
                    .map_or([f32::NAN; 2], |both| both.map(|share| share as f32)),
            });
        }
    }

    /// What comes is another burst.
    fn begin(&mut self) {
        self.traffic.clear();
        self.last_ms = None;
        (self.since_ms, self.untold_ms, self.broken) = (0, 0, false);
    }

    /// A reading was left out, which had counted already: the next counts over less time than has gone by.
    pub(super) fn leave_out(&mut self) {
        self.broken = true;
    }

    /// What the open window has: what its burst tells, or else what the latest before told, while it stands.
    pub(super) fn told(&self, clock_ms: u64, memory_mib: Option<f64>) -> Option<Told> {
        let stands = |(_, at): &(Told, u64)| clock_ms.saturating_sub(*at) <= STANDS_MS;
        let before = || self.before.filter(stands).map(|(told, _)| told);
        self.now(memory_mib).or_else(before)
    }

    /// Closes the window, in which so much memory was in use. Where links are out of use, what beat has ended.
    pub(super) fn close(&mut self, clock_ms: u64, linked: bool, memory_mib: Option<f64>) {
        if !linked {
            self.forget();
            return;
        }
        if let Some(told) = self.now(memory_mib) {
            self.before = Some((told, clock_ms));
        }
        self.fresh = false;
        // A burst that never ends goes on with its latest half minute.
        let surplus = self.traffic.len().saturating_sub(LEAST);
        self.traffic.drain(..surplus);
    }

    /// What beat before is of other work than what comes.
    pub(super) fn forget(&mut self) {
        self.begin();
        self.fresh = false;
        self.before = None;
    }

    /// That of a burst in the open window.
    fn now(&self, memory_mib: Option<f64>) -> Option<Told> {
        (self.fresh && self.traffic.len() >= LEAST).then(|| told(&self.traffic, memory_mib))
    }
}
