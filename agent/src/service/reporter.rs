//! The reporter: from frames and the time to sealed reports in the spool.
//!
//! Decides: which stretch a report speaks of, and what the host says of itself in it. It reads no clock, opens no device and
//! sends nothing: frames and the time come in as arguments, so that long traces run in-process on a clock of their own. Trusts the
//! frames for their shape only. Does not establish that they are true.

mod outside;
mod round;
mod sealing;
mod tenants;

use super::kept::KeptLeaves;
use super::salts::Salts;
use crate::devices::host::HostFacts;
use crate::draft::{Draft, HeldRound};
use crate::keys::NodeKey;
use crate::meters::Tally;
use crate::spool::{Life, Spool, SpoolError, Standing};
use std::collections::VecDeque;
use std::sync::Arc;
use tracing::{info, warn};
use weighbridge::accelerator::Catalogue;
use weighbridge::accounting::consistency::Physics;
use weighbridge::crypto::{Entropy, KeyError};
use weighbridge::document::Mistakes;
use weighbridge::id::{Digest, NodeId, VerifierId};
use weighbridge::report::{ChainLink, ClockSource, HostClaims, Meter, MeterSettings};
use weighbridge::telemetry::{
    BusSource, DeviceState, Frame, GapReason, HostDriver, Inventory, LinkTrack, NoticeKind, Tick, TickKind,
};
use weighbridge::time::{BootNanos, SECOND, UnixSeconds};
use weighbridge::workload::{Model, ModelError};

/// Time between regular ticks.
const NOMINAL_NS: u64 = SECOND;
/// Longest window, in seconds.
const WINDOW_SECONDS: u32 = 60;
/// A tick this close to the end of a window or report is punctual: the end keeps its place, so that lengths stay whole.
const PUNCTUAL_NS: u64 = SECOND / 20;
/// How long frames may be on their way before a window is closed without them.
const GRACE_NS: u64 = 2 * SECOND;
/// A wall clock that moves this much against boot time has stepped.
const STEP_SECONDS: i64 = 2;
/// A stop of at most this length, that of the longest report, belongs to the next report as a gap with its reason; a longer one is a hole
/// between two reports, which the verifier sees.
const BRIDGED_NS: u64 = 900 * SECOND;
/// How long the first look at the devices is awaited before a report may fall due: a driver takes up to a minute to open, and a device that
/// hangs is found out after that.
const FIRST_LOOK_NS: u64 = 90 * SECOND;

/// Why there is no reporter.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReporterError {
    /// The model that was built in.
    #[error("the workload model that was built in is damaged; reinstall the agent")]
    Model(#[from] ModelError),
    /// The bounds of physics that were built in.
    #[error("the bounds of physics that were built in are damaged; reinstall the agent")]
    Physics(#[from] Mistakes),
    /// No random bytes.
    #[error(transparent)]
    Entropy(#[from] KeyError),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// The time, as an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Boot time.
    pub boot: BootNanos,
    /// Wall time.
    pub wall: UnixSeconds,
    /// What disciplines the wall clock.
    pub source: ClockSource,
}

/// Who reports to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The verifier.
    pub verifier: VerifierId,
    /// The node.
    pub node: NodeId,
}

/// What happened since the last report, beside what the meter sums.
#[derive(Clone, Debug, Default)]
struct Incidents {
    starts: u32,
    sampler_restarts: u32,
    released: bool,
    wall_steps: u32,
    wall_step_seconds: u64,
    /// Drivers and libraries that were in use, other than the last.
    former_drivers: Vec<HostDriver>,
}

/// Makes reports of frames.
#[derive(Debug)]
pub struct Reporter {
    spool: Arc<Spool>,
    key: NodeKey,
    identity: Identity,
    facts: HostFacts,
    catalogue: Digest,
    salts: Salts,
    meter: Meter,
    links: LinkTrack,
    meters: Vec<Tally>,
    inventory: Inventory,
    surveyed: bool,
    /// Until when no report falls due before the devices were looked at.
    look_until: BootNanos,
    kept: Vec<KeptLeaves>,
    standing: Standing,
    incidents: Incidents,
    released_now: bool,
    wall_offset: i64,
    /// The last regular tick.
    last_tick: BootNanos,
    unstored: VecDeque<(Draft, Vec<u8>, Life)>,
    retry_at: BootNanos,
    /// A round that was held, until a report carries it.
    round: Option<HeldRound>,
}

impl Reporter {
    /// A reporter whose first report begins where the last one of this boot ended, if that is not long ago, else at `now`. The start is
    /// noted in the spool: the report after it says how often the agent was started, and whether the wall clock moved in between.
    ///
    /// # Errors
    /// [`ReporterError`].
    pub fn new(
        spool: Arc<Spool>,
        key: NodeKey,
        identity: Identity,
        facts: HostFacts,
        catalogue: Catalogue,
        entropy: &Entropy,
        now: Now,
    ) -> Result<Self, ReporterError> {
        let standing = spool.standing()?;
        let (before, starts) = spool.started(facts.boot_id, now.boot, now.wall)?;
        let before = before.filter(|life| life.boot == facts.boot_id);
        let start = before
            .as_ref()
            .and_then(|life| life.reported_to)
            .filter(|end| *end <= now.boot && now.boot.since(*end) <= BRIDGED_NS)
            .unwrap_or(now.boot);
        let inventory = Inventory {
            at: now.boot,
            driver: None,
            devices: Vec::new(),
            bus: Vec::new(),
            // Until the sampler has looked, an empty list says nothing.
            bus_source: BusSource::Unreadable,
            switches: Vec::new(),
            mig_devices: None,
        };
        let mut reporter = Self {
            catalogue: catalogue.digest(),
            meter: Meter::new(
                &inventory,
                start,
                settings(&standing),
                catalogue,
                Model::embedded()?,
                Physics::embedded()?,
            ),
            spool,
            key,
            identity,
            salts: Salts::new(entropy)?,
            links: LinkTrack::default(),
            meters: Vec::new(),
            inventory,
            surveyed: false,
            look_until: now.boot.plus(FIRST_LOOK_NS),
            kept: Vec::new(),
            standing,
            incidents: Incidents {
                starts,
                ..Incidents::default()
            },
            released_now: false,
            wall_offset: offset(now),
            last_tick: start,
            unstored: VecDeque::new(),
            retry_at: now.boot,
            round: None,
            facts,
        };
        reporter
            .meter
            .push_gap(None, GapReason::AgentStopped, start, now.boot);
        if let Some(life) = before {
            let then = Now {
                boot: life.at,
                wall: life.wall,
                source: now.source,
            };
            reporter.note_step(offset(now).saturating_sub(offset(then)));
        }
        Ok(reporter)
    }

    /// Takes a frame of the sampler's. A window or report that ends before it is closed first.
    ///
    /// # Errors
    /// [`SpoolError`] where a report that fell due could not be stored; it is kept and stored later.
    pub fn frame(&mut self, frame: &Frame, now: Now) -> Result<Option<ChainLink>, SpoolError> {
        let mut sealed = None;
        if let Some(inventory) = &frame.inventory {
            self.take_inventory(inventory);
        }
        if let Some(tick) = &frame.tick {
            sealed = self.take_tick(tick, now)?;
        }
        if let Some(links) = &frame.links {
            self.links.push(links);
        }
        if let Some(notice) = &frame.notice {
            if notice.kind != NoticeKind::Calling {
                info!(device = notice.device, "{}: {}", notice.kind, notice.text);
            }
            match notice.kind {
                NoticeKind::Released => self.set_released(true),
                NoticeKind::Resumed => self.set_released(false),
                // It concerns the library that is loaded: one that is loaded later has its own file.
                NoticeKind::LibraryChanged => {
                    if let Some(driver) = &mut self.inventory.driver {
                        driver.library_changed = true;
                    }
                }
                NoticeKind::DriverUnavailable
                | NoticeKind::DeviceLost
                | NoticeKind::HostEngine
                | NoticeKind::HostEngineAway
                | NoticeKind::Calling => {}
            }
            self.meter.push_notice(notice);
        }
        Ok(sealed)
    }

    /// Closes what has ended by `now`, with some grace for frames that are still on their way.
    ///
    /// # Errors
    /// As [`Reporter::frame`].
    pub fn advance(&mut self, now: Now) -> Result<Option<ChainLink>, SpoolError> {
        let moved = offset(now).saturating_sub(self.wall_offset);
        self.wall_offset = offset(now);
        self.note_step(moved);
        if now.boot >= self.retry_at {
            self.store_unstored(now)?;
        }
        self.roll(now.boot.before(GRACE_NS), now)
    }

    /// Ends the report in the making early, at `now`: it covers the shorter time. Nothing is sealed where no time has passed.
    ///
    /// # Errors
    /// As [`Reporter::frame`].
    pub fn finish(&mut self, now: Now) -> Result<Option<ChainLink>, SpoolError> {
        let sealed = self.roll(now.boot, now)?;
        if now.boot.since(self.meter.start()) < SECOND {
            return Ok(sealed);
        }
        self.close_report(now.boot, now).map(Some)
    }

    /// The sampler's process was abandoned or died. A device whose call did not return is named.
    pub fn sampler_restarted(&mut self, hung: Option<u16>) {
        self.incidents.sampler_restarts = self.incidents.sampler_restarts.saturating_add(1);
        if let Some(device) = hung {
            self.meter.mark(Some(device), DeviceState::Hung);
        }
    }

    /// A device (`None`: all) entered a state that the supervisor knows of.
    pub fn mark(&mut self, device: Option<u16>, state: DeviceState) {
        self.meter.mark(device, state);
    }

    /// The driver was let go of on request, or taken up again.
    pub fn set_released(&mut self, released: bool) {
        self.released_now = released;
        self.incidents.released |= released;
        let state = if released {
            DeviceState::Released
        } else {
            DeviceState::Present
        };
        self.meter.mark(None, state);
    }

    /// Explains a stretch without samples.
    pub fn gap(&mut self, device: Option<u16>, reason: GapReason, from: BootNanos, to: BootNanos) {
        self.meter.push_gap(device, reason, from, to);
    }

    /// Takes over what the verifier said since: a length that changed holds from now on, for the report in the making too.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn follow_standing(&mut self) -> Result<(), SpoolError> {
        self.standing = self.spool.standing()?;
        self.meter.set_window(settings(&self.standing).window_ns);
        Ok(())
    }

    /// What the sampler found last.
    #[must_use]
    pub fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// Whether the sampler has said at all what it found.
    #[must_use]
    pub fn surveyed(&self) -> bool {
        self.surveyed
    }

    /// The devices that do not answer, each with its state, until they answer again.
    pub fn silent(&self) -> impl Iterator<Item = (u16, DeviceState)> {
        let silent = |state| matches!(state, DeviceState::Lost | DeviceState::Hung);
        self.meter.states().filter(move |(_, state)| silent(*state))
    }

    /// When the report in the making ends.
    #[must_use]
    pub fn report_end(&self) -> BootNanos {
        let length = u64::from(self.standing.report_seconds.max(1)).saturating_mul(SECOND);
        self.meter.start().plus(length)
    }

    /// Reports that could not be stored yet.
    #[must_use]
    pub fn unstored(&self) -> usize {
        self.unstored.len()
    }

    /// What the verifier last said, as it was followed.
    #[must_use]
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    fn take_inventory(&mut self, inventory: &Inventory) {
        let before = std::mem::replace(&mut self.inventory, inventory.clone());
        if before.driver != inventory.driver {
            if let Some(driver) = &inventory.driver {
                info!(version = driver.driver_version, library = %driver.library_digest, "a driver is in use");
            }
            // Whoever puts a library back before the report ends does not hide that another was asked. One more is kept than a
            // report lists, since the last one may be among them.
            let former = &mut self.incidents.former_drivers;
            if former.len() <= HostClaims::MAX_FORMER_DRIVERS {
                former.extend(before.driver.filter(|driver| !former.contains(driver)));
            }
        }
        self.surveyed = true;
        self.meter.set_inventory(inventory);
        if self.released_now {
            self.meter.mark(None, DeviceState::Released);
        }
        if inventory.driver.is_none() && !inventory.devices.is_empty() {
            self.meter.mark(None, DeviceState::DriverUnavailable);
        }
    }

    /// Takes a tick. A window or report ends with the regular tick that falls on its end or comes at most [`GRACE_NS`] after it, and at the
    /// time of that tick: so its sums are of exactly the time that it speaks of, and no second of energy is counted on the wrong side
    /// of an edge.
    fn take_tick(&mut self, tick: &Tick, now: Now) -> Result<Option<ChainLink>, SpoolError> {
        // A tick cannot be of the future; one that claims to be would close windows before their time.
        let at = tick.at.min(now.boot);
        let sealed = self.roll(at.before(GRACE_NS), now)?;
        self.meter.push_tick(tick);
        if tick.kind != TickKind::Regular {
            return Ok(sealed);
        }
        self.last_tick = at;
        let reached = at.plus(NOMINAL_NS.div_euclid(2));
        let end_by = |due: BootNanos| {
            if at.0.abs_diff(due.0) <= PUNCTUAL_NS {
                due
            } else {
                at
            }
        };
        let (report_end, window_due) = (self.report_end(), self.window_due());
        if reached >= report_end && at > self.meter.start() {
            return self.close_report(end_by(report_end), now).map(Some);
        }
        if reached >= window_due && at > self.meter.window_start() {
            self.close_window(end_by(window_due));
        }
        Ok(sealed)
    }

    /// When the open window is due: with the report where little of it would be left.
    fn window_due(&self) -> BootNanos {
        let (window, report) = (self.meter.window_end(), self.report_end());
        if window.plus(GRACE_NS) > report {
            report
        } else {
            window
        }
    }

    /// Where what is due ends if no tick falls on it: with the last tick before, if that is not long ago, for the same reason as in
    /// [`Reporter::take_tick`].
    fn edge(&self, due: BootNanos) -> BootNanos {
        let (last, since) = (self.last_tick.min(due), self.meter.window_start());
        if last > since && due.since(last) <= GRACE_NS {
            last
        } else {
            due
        }
    }

    fn close_window(&mut self, end: BootNanos) {
        let salts = &mut self.salts;
        let closed = self.meter.close_window(end, &mut || salts.next());
        KeptLeaves::add(&mut self.kept, closed);
    }

    /// Closes every window and report that ends at or before `until`.
    fn roll(&mut self, until: BootNanos, now: Now) -> Result<Option<ChainLink>, SpoolError> {
        let mut sealed = None;
        // A report of a stop that ended just now would name no device and no reason, if it did not wait until they are known.
        if !self.surveyed && now.boot < self.look_until {
            return Ok(sealed);
        }
        loop {
            let (window_due, report_end) = (self.window_due(), self.report_end());
            if until < window_due {
                return Ok(sealed);
            }
            if window_due < report_end {
                self.close_window(self.edge(window_due));
                continue;
            }
            // Where a whole report was slept through, one report speaks of all of that time, with the gap in it.
            let slept = until.since(report_end) >= report_end.since(self.meter.start());
            let end = if slept { until } else { self.edge(report_end) };
            sealed = Some(self.close_report(end, now)?);
        }
    }

    fn note_step(&mut self, moved: i64) {
        if moved.saturating_abs() > STEP_SECONDS {
            warn!(seconds = moved, "the wall clock stepped against boot time");
            self.incidents.wall_steps = self.incidents.wall_steps.saturating_add(1);
            self.incidents.wall_step_seconds = self
                .incidents
                .wall_step_seconds
                .saturating_add(moved.unsigned_abs());
        }
    }
}

/// Wall time at boot, in seconds: it stays where it is unless the wall clock steps.
fn offset(now: Now) -> i64 {
    let up = now.boot.0.checked_div(SECOND).unwrap_or(0);
    now.wall.0.saturating_sub(i64::try_from(up).unwrap_or(i64::MAX))
}

fn settings(standing: &Standing) -> MeterSettings {
    let seconds = standing.report_seconds.clamp(1, WINDOW_SECONDS);
    MeterSettings {
        nominal_ns: NOMINAL_NS,
        window_ns: u64::from(seconds).saturating_mul(SECOND),
    }
}

#[cfg(test)]
#[path = "reporter_tests.rs"]
mod tests;
