//! The watch over the devices: does what is due, and says what changed.
//!
//! Decides: when an inventory is worth telling again, and how long to wait before a driver that could not be used is
//! tried again. Runs the same in the child process and in-process on a clock of its own.

use super::clocks::Clocks;
use super::schedule::{Due, Looks, Schedule};
use crate::clock::Clock;
use crate::devices::{Call, DeviceSource};
use std::sync::Arc;
use weighbridge::telemetry::{Frame, Inventory, Notice, NoticeKind, TickKind};
use weighbridge::time::{BootNanos, SECOND};

/// The longest wait before a driver that could not be used is tried again.
const LONGEST_WAIT: u64 = 30 * SECOND;

/// Where frames go. An error ends the watch: nobody listens any more.
pub(super) type Emit<'a> = &'a mut dyn FnMut(Frame) -> std::io::Result<()>;

/// A source under watch.
#[derive(Debug)]
pub(super) struct Watch<S> {
    source: S,
    clock: Arc<dyn Clock>,
    schedule: Schedule,
    clocks: Clocks,
    told: Option<Inventory>,
    trouble: Option<String>,
    retry_at: BootNanos,
    wait: u64,
}

impl<S: DeviceSource> Watch<S> {
    pub(super) fn new(source: S, clock: Arc<dyn Clock>, schedule: Schedule, looks: Looks) -> Self {
        Self {
            source,
            clock,
            schedule,
            clocks: Clocks::new(looks),
            told: None,
            trouble: None,
            retry_at: BootNanos(0),
            wait: SECOND,
        }
    }

    /// When the next thing is due.
    pub(super) fn next(&self) -> (BootNanos, Due) {
        self.schedule.next()
    }

    /// Does what is due.
    pub(super) fn perform(
        &mut self,
        due: Due,
        calling: &mut dyn FnMut(Call),
        emit: Emit<'_>,
    ) -> std::io::Result<()> {
        match due {
            Due::Regular | Due::Burst => {
                let kind = match due {
                    Due::Burst => TickKind::Burst,
                    _ => TickKind::Regular,
                };
                let mut tick = self.source.sample(kind, calling);
                if kind == TickKind::Regular {
                    self.clocks.close(&mut tick);
                }
                emit(tick.into())?;
                self.pass_on_notices(emit)?;
                let failing = self.trouble.is_some() || (self.told_driver() && !self.source.usable());
                if failing && self.clock.boot_now() >= self.retry_at {
                    self.survey(false, calling, emit)?;
                }
            }
            Due::Look => {
                let now = self.clock.boot_now();
                self.clocks.look(&mut self.source, now, calling);
            }
            Due::Check => {
                let changed = self.source.check(calling);
                self.pass_on_notices(emit)?;
                if changed {
                    self.survey(false, calling, emit)?;
                }
            }
            Due::Survey => self.survey(true, calling, emit)?,
        }
        self.schedule.done(due, self.clock.boot_now());
        Ok(())
    }

    /// Surveys, and tells the inventory if it changed or if `always`.
    pub(super) fn survey(
        &mut self,
        always: bool,
        calling: &mut dyn FnMut(Call),
        emit: Emit<'_>,
    ) -> std::io::Result<()> {
        let survey = self.source.survey(calling);
        if always
            || self
                .told
                .as_ref()
                .is_none_or(|old| differ(old, &survey.inventory))
        {
            self.clocks.forget();
            emit(survey.inventory.clone().into())?;
            self.told = Some(survey.inventory);
        }
        self.pass_on_notices(emit)?;
        let now = self.clock.boot_now();
        if survey.trouble.is_some() {
            self.retry_at = now.plus(self.wait);
            self.wait = self.wait.saturating_mul(2).min(LONGEST_WAIT);
        } else {
            self.wait = SECOND;
        }
        if survey.trouble != self.trouble {
            self.trouble.clone_from(&survey.trouble);
            let (kind, text) = match survey.trouble {
                Some(text) => (NoticeKind::DriverUnavailable, text),
                None => (NoticeKind::Resumed, "the driver is in use again".to_owned()),
            };
            let notice = Notice {
                at: now,
                kind,
                device: None,
                text,
            };
            emit(notice.into())?;
        }
        Ok(())
    }

    pub(super) fn readmit(&mut self, device: u16) {
        self.source.readmit(device);
    }

    /// Lets go of the driver.
    pub(super) fn release(&mut self) {
        self.source.release();
    }

    fn pass_on_notices(&mut self, emit: Emit<'_>) -> std::io::Result<()> {
        self.source.notices().into_iter().try_for_each(|n| emit(n.into()))
    }

    fn told_driver(&self) -> bool {
        self.told.as_ref().is_some_and(|i| i.driver.is_some())
    }
}

/// Whether two inventories differ in more than their time.
fn differ(a: &Inventory, b: &Inventory) -> bool {
    a.driver != b.driver || a.devices != b.devices || a.bus != b.bus || a.switches != b.switches
}
