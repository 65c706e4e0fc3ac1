//! The driver's own samples of power and utilisation, for devices that do not tell of their pipes (Volta to Ada).
//!
//! Decides: what of the rings belongs to the time since the tick before. Trusts the driver to take its samples evenly, some
//! fifty of power and five of utilisation a second. Does not establish anything for a stretch that is longer than a ring,
//! which holds about two seconds of power: such a stretch is a gap anyway.

use super::fault::{Answer, Fault};
use super::session::{Handle, Ring as Kind, Sample, Session, blank_sample, sampled};
use weighbridge::telemetry::PowerRing;
use weighbridge::unit::Ppm;

/// The most samples that are taken at once; the largest ring that was seen holds 119.
const MOST: u32 = 1_024;

/// The rings of one device.
#[derive(Debug)]
pub(super) struct Rings {
    power: Option<Ring>,
    busy: Option<Ring>,
}

/// What a kernel's residence was since the tick before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Busy {
    pub(super) mean: Ppm,
    pub(super) last: Ppm,
}

impl Rings {
    /// Finds out which rings the device has, and up to where they are filled.
    pub(super) fn open(session: &Session, device: Handle) -> Self {
        let open = |kind| Ring::open(session, device, kind);
        Self {
            power: open(Kind::Power),
            busy: open(Kind::Utilisation),
        }
    }

    /// Power since the last call; `None` where nothing new is told.
    pub(super) fn power(&mut self, session: &Session, device: Handle) -> Option<PowerRing> {
        let told = self.power.as_mut()?.drain(session, device)?;
        let milliwatts = |value: u64| u32::try_from(value).ok();
        Some(PowerRing {
            mean_mw: milliwatts(told.mean()?)?,
            lowest_mw: milliwatts(told.lowest)?,
            highest_mw: milliwatts(told.highest)?,
        })
    }

    /// Utilisation since the last call; `None` where nothing new is told.
    pub(super) fn busy(&mut self, session: &Session, device: Handle) -> Option<Busy> {
        let told = self.busy.as_mut()?.drain(session, device)?;
        if told.highest > 100 {
            return None;
        }
        Some(Busy {
            mean: Ppm::of(told.sum, told.count.checked_mul(100)?),
            last: Ppm::of(told.last, 100),
        })
    }
}

/// A ring that the driver fills.
struct Ring {
    kind: Kind,
    /// The time stamp of the newest sample that was taken; `None` where the next samples are of unknown age.
    since_us: Option<u64>,
    room: Vec<Sample>,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring")
            .field("kind", &self.kind)
            .field("since_us", &self.since_us)
            .finish_non_exhaustive()
    }
}

/// What new samples add up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    sum: u64,
    count: u64,
    lowest: u64,
    highest: u64,
    last: u64,
    newest_us: u64,
}

impl Told {
    fn mean(&self) -> Option<u64> {
        self.sum.checked_div(self.count)
    }
}

impl Ring {
    fn open(session: &Session, device: Handle, kind: Kind) -> Option<Self> {
        let held = session.samples_held(device, kind).ok()?.min(MOST);
        let mut ring = Self {
            kind,
            since_us: None,
            room: vec![blank_sample(); usize::try_from(held).ok()?],
        };
        // What is in it is of before.
        ring.take(session, device).ok()?;
        Some(ring)
    }

    /// What came since the last call. Samples whose age is not known are passed over.
    fn drain(&mut self, session: &Session, device: Handle) -> Option<Told> {
        let known = self.since_us.is_some();
        match self.take(session, device) {
            Ok(told) => told.filter(|_| known),
            Err(_) => {
                self.since_us = None;
                None
            }
        }
    }

    fn take(&mut self, session: &Session, device: Handle) -> Answer<Option<Told>> {
        let since = self.since_us.unwrap_or(0);
        let told = match session.samples(device, self.kind, since, &mut self.room) {
            Ok((count, value_type)) => {
                let new = self.room.iter().take(count).filter(|s| s.timeStamp > since);
                new.map(|s| sampled(s, value_type).map(|value| (s.timeStamp, value)))
                    .try_fold(None, |told, next| next.map(|next| Some(add(told, next))))?
            }
            // Nothing new.
            Err(Fault::Failed(NOT_FOUND)) => None,
            Err(fault) => return Err(fault),
        };
        // Where nothing is newer, the host's clock may have been set back: what comes next is of unknown age.
        self.since_us = told.map(|t| t.newest_us);
        Ok(told)
    }
}

/// `NVML_ERROR_NOT_FOUND`.
const NOT_FOUND: u32 = 6;

fn add(told: Option<Told>, (at_us, value): (u64, u64)) -> Told {
    let Some(told) = told else {
        return Told {
            sum: value,
            count: 1,
            lowest: value,
            highest: value,
            last: value,
            newest_us: at_us,
        };
    };
    Told {
        sum: told.sum.saturating_add(value),
        count: told.count.saturating_add(1),
        lowest: told.lowest.min(value),
        highest: told.highest.max(value),
        last: if at_us >= told.newest_us { value } else { told.last },
        newest_us: told.newest_us.max(at_us),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_add_up_whatever_their_order() {
        let all = [(30, 300), (10, 100), (20, 500)];
        let told = all.into_iter().fold(None, |t, s| Some(add(t, s))).unwrap();
        assert_eq!((told.mean(), told.lowest, told.highest), (Some(300), 100, 500));
        assert_eq!((told.last, told.newest_us), (300, 30));
    }
}
