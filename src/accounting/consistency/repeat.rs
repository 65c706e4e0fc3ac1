//! Stretches of readings that were seen before, on this device or on another.
//!
//! Real sensors do not repeat: no stretch of five readings of power, of energy or of the pipes that moved at all was seen twice in any
//! recording. What is kept of each stretch is a fingerprint in a table of fixed size, where newer ones write over older ones:
//! a replay is seen for as long as enough of its original is left, some twenty minutes at one sample a second.

use super::bounds::Physics;
use super::moment::Moment;

/// Places in the table.
const PLACES: usize = 1_024;

/// Readings that a stretch may have at most.
const LONGEST: usize = 8;

/// Stretches of a window that are kept to be compared with other devices: those with the smallest fingerprints.
const KEPT: usize = 8;

/// The series that are followed: power, energy gained, pipes.
pub(super) const SERIES: usize = 3;

/// One series: its last readings.
#[derive(Clone, Copy, Debug, Default)]
struct Tail {
    readings: [u64; LONGEST],
    /// How many of the last readings, counted back from the newest, are all different from each other.
    distinct: usize,
}

impl Tail {
    /// Takes a reading; the fingerprint of the last `length` if they are all different from each other.
    fn take(&mut self, reading: Option<u64>, length: usize, salt: u64) -> Option<u64> {
        let Some(reading) = reading else {
            self.distinct = 0;
            return None;
        };
        let reading = mix(reading);
        // How far back the same was read last. Beyond those that count it does not matter.
        let mut back = LONGEST;
        for (held, far) in self.readings.iter().zip((1..=LONGEST).rev()) {
            back = if *held == reading { far } else { back };
        }
        self.distinct = self.distinct.saturating_add(1).min(back);
        let [_, b, c, d, e, f, g, h] = self.readings;
        self.readings = [b, c, d, e, f, g, h, reading];
        let length = length.clamp(2, LONGEST);
        if self.distinct < length {
            return None;
        }
        let stretch = self.readings.get(LONGEST.saturating_sub(length)..)?;
        // A polynomial of spread readings, spread once more.
        let sum = stretch.iter().fold(salt, |h, r| {
            h.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(*r)
        });
        Some(mix(sum))
    }
}

/// The smallest fingerprints of a window, in rising order.
#[derive(Clone, Copy, Debug)]
pub struct Sketch([u32; KEPT]);

impl Default for Sketch {
    fn default() -> Self {
        Self([u32::MAX; KEPT])
    }
}

impl Sketch {
    fn add(&mut self, fingerprint: u32) {
        let [.., largest] = self.0;
        if fingerprint >= largest {
            return;
        }
        let mut carried = fingerprint;
        for kept in &mut self.0 {
            if carried == *kept {
                return;
            }
            if carried < *kept {
                std::mem::swap(kept, &mut carried);
            }
        }
    }

    /// How many fingerprints two windows have in common.
    pub(super) fn common(&self, other: &Self) -> u32 {
        let shared = self
            .0
            .iter()
            .filter(|f| **f != u32::MAX && other.0.contains(f))
            .count();
        u32::try_from(shared).unwrap_or(u32::MAX)
    }
}

/// What was seen.
#[derive(Clone, Debug)]
pub(super) struct Repeat {
    tails: [Tail; SERIES],
    table: Box<[u16; PLACES]>,
    taken: u32,
    matches: u32,
    sketches: [Sketch; SERIES],
}

impl Default for Repeat {
    fn default() -> Self {
        Self {
            tails: [Tail::default(); SERIES],
            table: Box::new([0; PLACES]),
            taken: 0,
            matches: 0,
            sketches: [Sketch::default(); SERIES],
        }
    }
}

impl Repeat {
    /// What lies beside the struct.
    pub(super) const TABLE_BYTES: usize = PLACES.saturating_mul(2);

    /// Takes a moment.
    pub(super) fn take(&mut self, m: &Moment, physics: &Physics) {
        let length = usize::try_from(physics.repeat_readings).unwrap_or(LONGEST);
        let works = |share: u32| u64::from(share) > physics.still_activity;
        let pipes = m.shares.filter(|s| works(s.sm)).map(|s| {
            [s.tensor, s.dram].into_iter().fold(u64::from(s.sm), |h, v| {
                // Shares are below 2^20: three of them keep apart.
                (h << 21).wrapping_add(u64::from(v.unwrap_or(0)))
            })
        });
        let readings = [m.power_mw.map(u64::from), m.energy_mj.filter(|e| *e > 0), pipes];
        let series = self.tails.iter_mut().zip(readings).zip(&mut self.sketches);
        for (salt, ((tail, reading), sketch)) in (1u64..).zip(series) {
            let Some(hash) = tail.take(reading, length, salt) else {
                continue;
            };
            sketch.add(u32::try_from(hash >> 32).unwrap_or(0));
            // Every second stretch, chosen by what it holds, so that a repeat chooses the same. A branch here would be guessed wrong
            // half of the time.
            let chosen = hash & 1 == 0;
            let place = usize::try_from(hash >> 1).unwrap_or(usize::MAX) & (PLACES.saturating_sub(1));
            let tag = u16::try_from((hash >> 16) & 0xffff).unwrap_or(0).max(1);
            if let Some(held) = self.table.get_mut(place) {
                self.taken = self.taken.saturating_add(u32::from(chosen));
                let seen = chosen & (*held == tag);
                self.matches = self.matches.saturating_add(u32::from(seen));
                *held = if chosen { tag } else { *held };
            }
        }
    }

    /// Closes the window: the share of stretches that were seen before, where they are too many; and its sketches.
    pub(super) fn close(&mut self, physics: &Physics) -> (Option<u32>, [Sketch; SERIES]) {
        let (taken, matches) = (std::mem::take(&mut self.taken), std::mem::take(&mut self.matches));
        let seen = u64::from(matches) >= physics.repeat_matches;
        let size = seen.then(|| super::ppm(u64::from(matches), u64::from(taken)));
        (size, std::mem::take(&mut self.sketches))
    }

    /// A gap ends every stretch.
    pub(super) fn interrupt(&mut self) {
        for tail in &mut self.tails {
            tail.distinct = 0;
        }
    }
}

/// A mixing of 64 bits (the finaliser of splitmix64): no secret, only spread.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
