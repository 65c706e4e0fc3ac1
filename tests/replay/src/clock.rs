//! The time of a play: since boot by default, handed in by whoever runs it in process otherwise.
//!
//! It trusts the kernel's `CLOCK_BOOTTIME`, which also counts while the machine sleeps. Once a virtual time was set,
//! the real one is not read again by this copy of the library.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Stands for "no virtual time was set".
const UNSET: u64 = u64::MAX;

static VIRTUAL_NS: AtomicU64 = AtomicU64::new(UNSET);

/// Sets the virtual time: nanoseconds since the play began. From then on only this time counts.
pub fn set_virtual_ns(now: u64) {
    VIRTUAL_NS.store(now.min(UNSET.saturating_sub(1)), Ordering::SeqCst);
}

/// Whether a virtual time was set.
#[must_use]
pub fn is_virtual() -> bool {
    VIRTUAL_NS.load(Ordering::SeqCst) != UNSET
}

/// The moment a play began, by the clocks of the machine.
#[derive(Debug, Clone, Copy)]
pub struct Beginning {
    boot_ns: u64,
    wall_us: u64,
}

impl Beginning {
    /// Now, or the moment that `start_file` keeps. A file that does not exist yet is written; one that cannot be
    /// used (from before a reboot, or not writable) is as good as none.
    #[must_use]
    pub fn at(start_file: Option<&Path>) -> Self {
        let boot_ns = read(libc::CLOCK_BOOTTIME);
        let wall_us = read(libc::CLOCK_REALTIME) / 1000;
        let kept = start_file.map_or(boot_ns, |path| kept_ns(path, boot_ns));
        Self {
            boot_ns: kept,
            wall_us: wall_us.saturating_sub(boot_ns.saturating_sub(kept) / 1000),
        }
    }

    /// Nanoseconds since the play began.
    #[must_use]
    pub fn elapsed_ns(&self) -> u64 {
        match VIRTUAL_NS.load(Ordering::SeqCst) {
            UNSET => read(libc::CLOCK_BOOTTIME).saturating_sub(self.boot_ns),
            now => now,
        }
    }

    /// Microseconds of wall time when `elapsed_ns` had passed, as the driver stamps its samples.
    #[must_use]
    pub fn wall_us(&self, elapsed_ns: u64) -> u64 {
        self.wall_us.saturating_add(elapsed_ns / 1000)
    }
}

/// Waits for a while of real time, or for a moment if time is virtual and stands still.
pub fn pause(length: Duration) {
    std::thread::sleep(if is_virtual() {
        length.min(Duration::from_millis(5))
    } else {
        length
    });
}

/// The beginning that the file keeps, if it is a moment of this boot; else `now`, which the file then keeps.
fn kept_ns(path: &Path, now: u64) -> u64 {
    use std::io::{Read, Write};
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(32).read_to_string(&mut text));
    if let Some(kept) = read
        .ok()
        .and_then(|_| text.trim().parse().ok())
        .filter(|kept| *kept <= now)
    {
        return kept;
    }
    let written = std::fs::File::create(path).and_then(|mut file| writeln!(file, "{now}"));
    if let Err(error) = written {
        eprintln!(
            "weighbridge replay: cannot keep the beginning in `{}`: {error}",
            path.display()
        );
    }
    now
}

/// Reads a clock of the kernel, in nanoseconds.
fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid timespec that lives through the call; a clock id the kernel does not know leaves it at zero.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_process_finds_the_beginning_that_the_first_one_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("begin");
        let first = Beginning::at(Some(&file));
        assert_eq!(Beginning::at(Some(&file)).boot_ns, first.boot_ns);
        // From before a reboot, or not a number: the play begins anew.
        for text in [u64::MAX.to_string(), "yesterday".into()] {
            std::fs::write(&file, text).unwrap();
            let anew = Beginning::at(Some(&file));
            assert!(anew.boot_ns >= first.boot_ns && anew.boot_ns < u64::MAX);
        }
    }
}
