//! The sampler in one's own process, on a clock that stands still between ticks.
//!
//! Decides: nothing of its own; it runs the same watch as the child process does. It serves tests
//! and the replay of long traces, where hours pass in seconds. A driver call that hangs hangs its caller, which is why
//! neither the service nor `measure` works this way.

use super::schedule::{Bursts, Looks, Schedule};
use super::watch::Watch;
use crate::clock::{Clock, VirtualClock};
use crate::devices::DeviceSource;
use std::collections::VecDeque;
use std::sync::Arc;
use weighbridge::telemetry::Frame;
use weighbridge::time::{BootNanos, SECOND};

/// A sampler that is driven frame by frame.
pub struct InProcess<S> {
    watch: Watch<S>,
    clock: Arc<VirtualClock>,
    moved: Box<dyn FnMut(BootNanos)>,
    ready: VecDeque<Frame>,
}

impl<S: std::fmt::Debug> std::fmt::Debug for InProcess<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InProcess")
            .field("watch", &self.watch)
            .finish_non_exhaustive()
    }
}

impl<S: DeviceSource> InProcess<S> {
    /// A sampler over `source`, which must read the same `clock`. `moved` is told each instant to which the clock was
    /// moved, before anything is read there: a replay library is set to the same time by it.
    pub fn new(
        source: S,
        clock: Arc<VirtualClock>,
        bursts: Bursts,
        looks: Looks,
        moved: impl FnMut(BootNanos) + 'static,
    ) -> Self {
        let mut moved: Box<dyn FnMut(BootNanos)> = Box::new(moved);
        let now = clock.boot_now();
        moved(now);
        let schedule = Schedule::new(now, bursts, looks, 60 * SECOND, 3_600 * SECOND);
        let mut sampler = Self {
            watch: Watch::new(source, clock.clone(), schedule, looks),
            clock,
            moved,
            ready: VecDeque::new(),
        };
        let ready = &mut sampler.ready;
        let surveyed = sampler
            .watch
            .survey(true, &mut |_| {}, &mut |frame| keep(ready, frame));
        debug_assert!(surveyed.is_ok(), "keeping a frame cannot fail");
        sampler
    }

    /// The next frame; the clock moves on to its time.
    pub fn next_frame(&mut self) -> Frame {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return frame;
            }
            let (at, due) = self.watch.next();
            self.clock.move_to(at);
            (self.moved)(at);
            let ready = &mut self.ready;
            let done = self
                .watch
                .perform(due, &mut |_| {}, &mut |frame| keep(ready, frame));
            debug_assert!(done.is_ok(), "keeping a frame cannot fail");
        }
    }

    /// The clock that the sampler moves.
    #[must_use]
    pub fn clock(&self) -> &Arc<VirtualClock> {
        &self.clock
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the shape of a sink that may fail, as a pipe may"
)]
fn keep(ready: &mut VecDeque<Frame>, frame: Frame) -> std::io::Result<()> {
    ready.push_back(frame);
    Ok(())
}
