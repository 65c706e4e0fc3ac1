//! The one file of the agent that reads a clock.
//!
//! Decides: where an instant comes from. Intervals use boot time, which is monotonic and counts suspend; wall time is
//! a label. Trusts the kernel for both. Does not establish that the wall clock is right: the report says whether the
//! kernel believes it to be disciplined, and the verifier holds it against its own.

use crate::devices::system;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};
use weighbridge::time::{BootNanos, SECOND, UnixSeconds};

/// A source of time, handed down as a value so that long traces run on a clock of their own.
pub trait Clock: std::fmt::Debug + Send + Sync {
    /// Time since boot, suspend included (`CLOCK_BOOTTIME`).
    fn boot_now(&self) -> BootNanos;

    /// Wall-clock time in UTC.
    fn wall_now(&self) -> UnixSeconds;
}

/// The kernel's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn boot_now(&self) -> BootNanos {
        system::boot_time()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one clock file")]
    fn wall_now(&self) -> UnixSeconds {
        // A clock set before 1970 reads as 1970, which the verifier sees as a clock out of bounds.
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        UnixSeconds(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
    }
}

/// Finds out that the host slept: boot time goes on in suspend, monotonic time does not.
#[derive(Clone, Copy, Debug)]
pub struct SleepWatch {
    boot: BootNanos,
    awake: Instant,
}

/// What two readings in a row may differ by without a sleep.
const WAKEFUL_NS: u64 = 2 * SECOND;

impl SleepWatch {
    /// A watch that begins now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one clock file")]
    pub fn begin() -> Self {
        Self {
            boot: system::boot_time(),
            awake: Instant::now(),
        }
    }

    /// The stretch since the last look, if the host slept in it.
    pub fn slept(&mut self) -> Option<(BootNanos, BootNanos)> {
        let before = std::mem::replace(self, Self::begin());
        let awake = u64::try_from(self.awake.duration_since(before.awake).as_nanos()).unwrap_or(u64::MAX);
        (self.boot.since(before.boot) > awake.saturating_add(WAKEFUL_NS)).then_some((before.boot, self.boot))
    }
}

/// A clock that stands still until it is moved. It never runs backwards in boot time.
#[derive(Debug)]
pub struct VirtualClock {
    boot: AtomicU64,
    wall_at_boot: UnixSeconds,
}

impl VirtualClock {
    /// A clock at boot time zero, where the wall clock shows `wall_at_boot`.
    #[must_use]
    pub fn new(wall_at_boot: UnixSeconds) -> Self {
        Self {
            boot: AtomicU64::new(0),
            wall_at_boot,
        }
    }

    /// Moves the clock to `instant`, unless it already stands later.
    pub fn move_to(&self, instant: BootNanos) {
        self.boot.fetch_max(instant.0, Ordering::Relaxed);
    }
}

impl Clock for VirtualClock {
    fn boot_now(&self) -> BootNanos {
        BootNanos(self.boot.load(Ordering::Relaxed))
    }

    fn wall_now(&self) -> UnixSeconds {
        let seconds = self.boot_now().0.checked_div(SECOND).unwrap_or(0);
        self.wall_at_boot.plus(i64::try_from(seconds).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_time_advances_and_wall_time_is_of_this_century() {
        let clock = SystemClock;
        let first = clock.boot_now();
        assert!(first.0 > 0);
        assert!(clock.boot_now() >= first);
        assert!(clock.wall_now() > UnixSeconds(1_700_000_000));
    }

    #[test]
    fn a_sleep_is_where_boot_time_ran_ahead() {
        let mut watch = SleepWatch::begin();
        assert_eq!(watch.slept(), None);
        let before = BootNanos(watch.boot.0.saturating_sub(60 * SECOND));
        watch.boot = before;
        let (from, to) = watch.slept().unwrap();
        assert!(from == before && to.since(from) >= 60 * SECOND);
        assert_eq!(watch.slept(), None);
    }

    #[test]
    fn a_virtual_clock_moves_only_forwards_and_takes_the_wall_along() {
        let clock = VirtualClock::new(UnixSeconds(1_000));
        clock.move_to(BootNanos(5 * SECOND));
        clock.move_to(BootNanos(3 * SECOND));
        assert_eq!(clock.boot_now(), BootNanos(5 * SECOND));
        assert_eq!(clock.wall_now(), UnixSeconds(1_005));
    }
}
