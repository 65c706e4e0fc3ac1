//! Consistency, as physics: quantities that cannot all be true at once.
//!
//! Decides: which readings of a window do not fit each other, and by how much. A disagreement is stated as an [`Observation`] with its
//! size; nothing is corrected, and by itself it fails nobody. The bounds are data ([`Physics`]), each with what was measured.
//!
//! Trusts nothing: every reading may be forged. Does not establish which of two readings is wrong, nor that readings which fit are true:
//! telemetry that was forged as a whole, by someone who models the device well, fits. `docs/consistency.md` says what was seen of which
//! forgery.
//!
//! ```text
//! Checker::new(part)                  one for each device
//! push(&step, &sample, &physics)      each step that Track gives
//! close_window(&physics) -> Summary   at the end of a window
//! node::check(&summaries, &physics)   over all devices of the window
//! note(kind, size), finish()          what the node check found; the report's observations
//! check_outside(&meters, &devices, ..)  meters outside the devices, over a report
//! ```

mod bounds;
mod clock;
mod energy;
mod envelope;
mod follow;
mod level;
mod moment;
mod node;
mod outside;
mod repeat;
mod still;
mod tally;
#[cfg(test)]
mod tests;
mod thermal;

pub use bounds::{Physics, digest};
pub use level::Level;
pub use node::{Shared, check as check_node};
pub use outside::{Drawn, check as check_outside};
pub use repeat::Sketch;
pub use tally::Tally;

use super::{Observation, ObservationKind};
use crate::accelerator::Model;
use crate::telemetry::{AcceleratorIdentity, DeviceSample, Fastest, Step};
use clock::Held;
use energy::Balance;
use envelope::Envelope;
use follow::Follow;
use level::Gathering;
use moment::{Before, Moment};
use repeat::{Repeat, SERIES};
use still::Still;
use thermal::Thermal;

/// NVML clock-event bits.
const IDLE: u64 = 0x1;
const POWER_CAP: u64 = 0x4;
/// Hardware slowdown and the power brake, which hold power back as well.
const HELD_BACK: u64 = POWER_CAP | 0x8 | 0x80;
/// Thermal slowdown by software and by hardware.
const THERMAL: u64 = 0x20 | 0x40;

/// What of a part the checks rest on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Design power, in milliwatts; absent where the catalogue does not know the model.
    pub design_mw: Option<u64>,
    /// Whether power and activity of its architecture were measured together.
    pub measured: bool,
    /// The power limit in force, in milliwatts.
    pub limit_mw: Option<u32>,
    /// The highest SM clock that the driver states, in megahertz.
    pub highest_mhz: Option<u32>,
    /// The fastest that its counters can grow.
    pub fastest: Fastest,
}

impl Part {
    /// What the catalogue and the driver say of a device.
    #[must_use]
    pub fn of(model: Option<&Model>, identity: &AcceleratorIdentity, physics: &Physics) -> Self {
        let design_mw = model
            .and_then(|m| m.tdp_w)
            .map(|w| u64::from(w).saturating_mul(1_000));
        // What the driver states to be its limit may be raised above the design power.
        let limit_mw = identity.power_limit_mw.value().copied().map(u64::from);
        Self {
            design_mw,
            measured: model.is_some_and(|m| physics.architectures.contains(&m.architecture)),
            limit_mw: identity.power_limit_mw.value().copied(),
            highest_mhz: identity.max_sm_clock_mhz.value().copied(),
            fastest: Fastest {
                energy_mj_s: design_mw.map_or(physics.energy_most_unknown, |design| {
                    scale(design.max(limit_mw.unwrap_or(0)), physics.energy_most)
                }),
                bytes_s: physics.bytes_most.saturating_mul(1_000_000_000),
            },
        }
    }
}

/// What a device's window gives to the check over all devices.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// What the device is.
    pub part: Part,
    /// Means of the window.
    pub level: Level,
    /// Covered time, in microseconds.
    pub micros: u64,
    /// Mean power of the window before, in milliwatts.
    before_mw: Option<u64>,
    /// Mean temperature, in degrees Celsius.
    temperature_c: Option<i64>,
    sketches: [Sketch; SERIES],
}

/// Follows one device. Its size is fixed.
#[derive(Clone, Debug, Default)]
pub struct Checker {
    part: Part,
    before: Before,
    balance: Balance,
    envelope: Envelope,
    still: Still,
    thermal: Thermal,
    repeat: Repeat,
    window: Window,
    idle_run: u32,
    event_run: u32,
    levels: [Option<Level>; 2],
    tally: Tally,
}

/// Sums of the open window.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    gathering: Gathering,
    /// Power and SMs.
    drawn: Follow,
    /// Power at the samples, and energy gained.
    metered: Follow,
    /// SMs and residency.
    resident: Follow,
    /// Clock-event bits seen, where they were read.
    events: Option<u64>,
    held: Held,
    drawn_mj: u64,
    drawn_micros: u64,
}

impl Checker {
    /// The most memory that one takes, in bytes.
    pub const MOST_BYTES: usize = size_of::<Self>().saturating_add(Repeat::TABLE_BYTES);

    /// A checker of one device.
    #[must_use]
    pub fn new(part: Part) -> Self {
        Self {
            part,
            ..Self::default()
        }
    }

    /// Takes what the catalogue and the driver say of the device now.
    pub fn set_part(&mut self, part: Part) {
        self.part = part;
    }

    /// Takes a step. One that is not covered only ends what was followed.
    pub fn push(&mut self, step: &Step, sample: &DeviceSample, physics: &Physics) {
        if step.resets > 0 {
            self.tally.note(ObservationKind::CounterDecreased, 1_000_000);
        }
        let Some(m) = self.before.moment(step, sample) else {
            self.interrupt();
            return;
        };
        if let (Some(counter), Some(integral)) = (m.energy_mj, m.integral_mj) {
            self.balance.add(counter, integral);
        }
        let found = [
            (
                ObservationKind::PowerAgainstActivity,
                self.envelope.take(&m, &self.part, physics),
            ),
            (
                ObservationKind::TemperatureAgainstPower,
                self.thermal.take(&m, physics),
            ),
            (
                ObservationKind::Still,
                self.still.take(&m, &self.part, physics).map(|_| 1_000_000),
            ),
            (ObservationKind::IdleWhileActive, self.idle(&m, physics)),
            (ObservationKind::ClockEventAgainstPower, self.event(&m, physics)),
            (ObservationKind::PowerAboveLimit, self.sample_above(&m, physics)),
            (ObservationKind::ClockAboveHighest, self.clock_above(&m)),
        ];
        for (kind, size) in found {
            if let Some(size) = size {
                self.tally.note(kind, size);
            }
        }
        self.repeat.take(&m, physics);
        self.gather(&m);
    }

    /// Closes the window: judges its sums, and gives what is compared between devices.
    pub fn close_window(&mut self, physics: &Physics) -> Summary {
        let window = std::mem::take(&mut self.window);
        let balance = std::mem::take(&mut self.balance);
        let micros = window.gathering.micros();
        let mut gathering = window.gathering;
        let level = gathering.close();
        let (seen, sketches) = self.repeat.close(physics);
        let temperature_c = self.thermal.mean_c();
        let found = [
            (
                ObservationKind::EnergyAgainstPower,
                balance.judge(physics).max(self.meter_strays(&window, physics)),
            ),
            (
                ObservationKind::TemperatureAgainstPower,
                self.thermal.close(&self.part, physics),
            ),
            (ObservationKind::Repeated, seen),
            (
                ObservationKind::PowerAboveLimit,
                self.mean_above(&window, physics),
            ),
            (
                ObservationKind::ClockEventAgainstPower,
                self.uncapped(&window, physics)
                    .max(window.held.judge(&self.part, physics)),
            ),
            (
                ObservationKind::PowerAgainstActivity,
                self.strays(&window, physics),
            ),
            (
                ObservationKind::UtilisationAgainstActivity,
                level
                    .resident_too_little(physics)
                    .max(self.resident_strays(&window, physics)),
            ),
            (ObservationKind::PipeAgainstSm, level.pipe_above_sm(physics)),
        ];
        for (kind, size) in found {
            if let Some(size) = size {
                self.tally.note(kind, size);
            }
        }
        let before_mw = self.levels.last().copied().flatten().and_then(|l| l.power());
        // A window that is mostly a gap has no level.
        if micros >= physics.window_least.saturating_mul(1_000_000) {
            let moved = self
                .levels
                .iter()
                .flatten()
                .filter_map(|then| level.against(then, physics));
            for (kind, size) in moved {
                self.tally.note(kind, size);
            }
            let [_, newer] = self.levels;
            self.levels = [newer, Some(level)];
        }
        Summary {
            part: self.part,
            level,
            micros,
            before_mw,
            temperature_c,
            sketches,
        }
    }

    /// Notes what the check over all devices found of this one, in the window that was closed last.
    pub fn note(&mut self, kind: ObservationKind, size: u32) {
        self.tally.note(kind, size);
    }

    /// Ends the window's count, after the check over all devices.
    pub fn end_window(&mut self) {
        self.tally.end_window();
    }

    /// The observations since the last call.
    pub fn finish(&mut self) -> Vec<Observation> {
        self.tally.finish()
    }

    fn interrupt(&mut self) {
        self.envelope.forget();
        self.still.forget();
        self.thermal.interrupt();
        self.repeat.interrupt();
        self.window.held.interrupt();
        (self.idle_run, self.event_run) = (0, 0);
    }

    fn gather(&mut self, m: &Moment) {
        let window = &mut self.window;
        window.gathering.add(m);
        if let Some(events) = m.events {
            window.events = Some(window.events.unwrap_or(0) | events);
        }
        if let Some(mj) = m.energy_mj {
            window.drawn_mj = window.drawn_mj.saturating_add(mj);
            window.drawn_micros = window.drawn_micros.saturating_add(m.micros);
            if let (Some(at_samples), Some(counted)) = (m.middle_mw, m.mean_mw) {
                let at_samples = u64::from(at_samples).checked_div(100).unwrap_or(0);
                window
                    .metered
                    .add(at_samples, counted.checked_div(100).unwrap_or(0));
            }
        }
        window.held.take(m, &self.part);
        let Some(shares) = m.shares else { return };
        if let Some(mw) = m.mean_mw {
            let deciwatts = mw.checked_div(100).unwrap_or(0);
            window.drawn.add(deciwatts, u64::from(shares.sm));
        }
        if let Some(busy) = m.utilisation {
            window.resident.add(u64::from(shares.sm), u64::from(busy));
        }
    }

    /// The driver's idle bit on end while SMs are busy.
    fn idle(&mut self, m: &Moment, physics: &Physics) -> Option<u32> {
        let (events, shares) = (m.events?, m.shares?);
        let wrong = events & IDLE != 0 && u64::from(shares.sm) > physics.idle_activity;
        self.idle_run = if wrong { self.idle_run.saturating_add(1) } else { 0 };
        (u64::from(self.idle_run) >= physics.event_samples).then_some(shares.sm)
    }

    /// A power cap that binds a device at rest, or a thermal slowdown of a cool one.
    fn event(&mut self, m: &Moment, physics: &Physics) -> Option<u32> {
        let events = m.events?;
        let capped = events & POWER_CAP != 0 && {
            let ceiling = self.ceiling_mw()?;
            m.mean_mw? < scale(ceiling, physics.cap_least)
        };
        let cool = |c: i32| u64::try_from(c).unwrap_or(0) < physics.thermal_event_least;
        let slowed = events & THERMAL != 0 && m.temperature_c.is_some_and(cool);
        self.event_run = if capped || slowed {
            self.event_run.saturating_add(1)
        } else {
            0
        };
        (u64::from(self.event_run) >= physics.event_run).then_some(1_000_000)
    }

    /// Power at its limit all through a window without the cap having bound once.
    fn uncapped(&self, window: &Window, physics: &Physics) -> Option<u32> {
        let events = window.events.filter(|e| e & HELD_BACK == 0)?;
        let mean = mean_mw(window)?;
        let limit = u64::from(self.part.limit_mw?);
        let share = ppm(mean, limit);
        (events & HELD_BACK == 0 && u64::from(share) >= physics.cap_most).then_some(share)
    }

    fn sample_above(&self, m: &Moment, physics: &Physics) -> Option<u32> {
        let (power, limit) = (u64::from(m.power_mw?), u64::from(self.part.limit_mw?));
        let most = limit.saturating_add(scale(limit, physics.limit_sample));
        (power > most).then(|| ppm(power.saturating_sub(limit), power))
    }

    fn mean_above(&self, window: &Window, physics: &Physics) -> Option<u32> {
        let (mean, limit) = (mean_mw(window)?, u64::from(self.part.limit_mw?));
        let most = limit.saturating_add(scale(limit, physics.limit_mean));
        (mean > most).then(|| ppm(mean.saturating_sub(limit), mean))
    }

    fn clock_above(&self, m: &Moment) -> Option<u32> {
        let (clock, highest) = (m.clock_mhz?, self.part.highest_mhz?);
        (clock > highest).then(|| ppm(u64::from(clock.abs_diff(highest)), u64::from(clock)))
    }

    /// Power that swings while SMs do not, or the other way about.
    fn strays(&self, window: &Window, physics: &Physics) -> Option<u32> {
        let design = self.part.design_mw?;
        let swing = scale(design, physics.follow_power).checked_div(100).unwrap_or(0);
        let power = window.drawn.first_moves(swing);
        let sms = window.drawn.second_moves(physics.follow_activity);
        astray(&window.drawn, power || sms, physics)
    }

    /// Power at the samples that swings while the energy gained does not, or the other way about. Sensors of other architectures
    /// average for longer.
    fn meter_strays(&self, window: &Window, physics: &Physics) -> Option<u32> {
        let design = self.part.design_mw.filter(|_| self.part.measured)?;
        let swing = scale(design, physics.follow_power).checked_div(100).unwrap_or(0);
        let moves = window.metered.first_moves(swing) || window.metered.second_moves(swing);
        astray(&window.metered, moves, physics)
    }

    /// SMs that swing while residency does not follow.
    fn resident_strays(&self, window: &Window, physics: &Physics) -> Option<u32> {
        let swings = window.resident.first_moves(physics.follow_activity);
        astray(&window.resident, swings, physics)
    }

    fn ceiling_mw(&self) -> Option<u64> {
        let limit = self.part.limit_mw.map(u64::from);
        match (self.part.design_mw, limit) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (one, other) => one.or(other),
        }
    }
}

/// How far two quantities are from following each other, where one of them moves.
fn astray(follow: &Follow, moves: bool, physics: &Physics) -> Option<u32> {
    let least = i32::try_from(physics.follow_least).unwrap_or(i32::MAX);
    let correlation = follow.correlation();
    let strays = moves && follow.pairs() >= physics.follow_pairs && correlation < least;
    strays.then(|| least.abs_diff(correlation).min(1_000_000))
}

fn mean_mw(window: &Window) -> Option<u64> {
    let weighed = window.drawn_mj.saturating_mul(1_000_000);
    weighed.checked_div(window.drawn_micros)
}

impl Level {
    /// SMs busier than a kernel was resident, or a kernel resident that kept no SM busy.
    fn resident_too_little(&self, physics: &Physics) -> Option<u32> {
        let (sm, busy) = (self.sm()?, self.utilisation()?);
        let above = sm > busy.saturating_add(physics.utilisation_margin);
        let one = scale(busy, physics.utilisation_least);
        let nothing = busy > physics.utilisation_high && sm < one;
        (above || nothing).then(|| ppm(sm.abs_diff(busy), sm.max(busy)))
    }

    /// A tensor pipe busier than the SMs that it lies in.
    fn pipe_above_sm(&self, physics: &Physics) -> Option<u32> {
        let (sm, tensor) = (self.sm()?, self.tensor()?);
        (tensor > sm.saturating_add(physics.pipe_margin)).then(|| ppm(tensor.saturating_sub(sm), tensor))
    }
}

/// `part` of `whole` in parts per million, cut where it does not fit.
fn ppm(part: u64, whole: u64) -> u32 {
    let scaled = match part.checked_mul(1_000_000) {
        // Division of 64 bits costs a fifth of that of 128.
        Some(scaled) => scaled.checked_div(whole).unwrap_or(0),
        None => part.checked_div(whole.div_euclid(1_000_000).max(1)).unwrap_or(0),
    };
    u32::try_from(scaled).unwrap_or(u32::MAX)
}

/// `value` times a millionth of `share`.
fn scale(value: u64, share: u64) -> u64 {
    value.saturating_mul(share).checked_div(1_000_000).unwrap_or(0)
}
