//! The few calls into the C library that the standard library does not offer.
//!
//! Decides nothing. Trusts the kernel. Each function is a safe face over one call; together with the driver's calls in
//! [`super::nvml`] they are all of the agent's `unsafe`.
#![expect(
    unsafe_code,
    reason = "system calls without a safe binding, each behind one checked function"
)]

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use weighbridge::report::ClockSource;
use weighbridge::time::{BootNanos, SECOND};

/// `CLOCK_BOOTTIME` now.
#[must_use]
pub fn boot_time() -> BootNanos {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes one `timespec` through a pointer to one that lives on this stack.
    let code = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    if code != 0 {
        // Fails only on kernels before 2.6.39, which no supported driver runs on.
        return BootNanos(0);
    }
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    BootNanos(seconds.saturating_mul(SECOND).saturating_add(nanos))
}

/// Whether the kernel says that its wall clock is disciplined (`adjtimex`, read only, needs no right).
#[must_use]
pub fn clock_source() -> ClockSource {
    // SAFETY: `timex` is a plain C structure for which all zero bits are a valid value; `modes` zero asks for a read.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel reads and writes one `timex` through a pointer to one that lives on this stack.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    if state < 0 || state == libc::TIME_ERROR || timex.status & libc::STA_UNSYNC != 0 {
        return ClockSource::Unsynchronised;
    }
    ClockSource::Synchronised
}

/// Leaves `SIGTERM`, `SIGINT` and `SIGHUP` to the parent process.
///
/// A service manager signals every process of the unit at once. The sampler stops when its parent says so or is gone
/// (end of input), so that it always lets go of the driver in order.
pub fn ignore_stop_signals() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        // SAFETY: `SIG_IGN` installs no handler, so no code of ours ever runs in signal context.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Takes standard output for frames, and points descriptor 1 at standard error, so that a library that prints cannot
/// write into the frames.
///
/// # Errors
/// The system's, where a descriptor cannot be duplicated.
pub fn take_stdout() -> io::Result<File> {
    let frames = io::stdout().as_fd().try_clone_to_owned()?;
    // SAFETY: both descriptors are open for the life of the process; `dup2` replaces number 1 as a whole.
    if unsafe { libc::dup2(libc::STDERR_FILENO, libc::STDOUT_FILENO) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(File::from(frames))
}
