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

/// Lets go of the pages of this program's code and constants. The kernel maps those again that are used again.
///
/// Starting touches most of the program, the work of every second little of it; what is left mapped counts as this process's memory for
/// as long as it runs. To be called once, when the start is over. Where anything is in the way, nothing happens.
pub fn let_go_of_start() {
    #[expect(
        clippy::as_conversions,
        reason = "a function's address can be had in no other way"
    )]
    let here = (let_go_of_start as *const ()).addr();
    let Ok(maps) = File::open("/proc/self/maps")
        .map_err(drop)
        .and_then(|f| weighbridge::bounded::read_text(f, weighbridge::bounded::MAX_DOCUMENT).map_err(drop))
    else {
        return;
    };
    let Some((from, to)) = program_around(&maps, here) else {
        return;
    };
    // SAFETY: the range is whole mappings of this program's file that nothing may write to: its code, and what lies before the code from the
    // file's first byte on. Relocations are made in a segment of its own behind the code, so no page here differs from the file, and
    // dropping one only means that it is read from the file again.
    unsafe {
        libc::madvise(
            std::ptr::with_exposed_provenance_mut(from),
            to.saturating_sub(from),
            libc::MADV_DONTNEED,
        );
    }
}

/// The bounds of the code that holds `address`, and of the constants before it where they adjoin it and begin the file.
fn program_around(maps: &str, address: usize) -> Option<(usize, usize)> {
    let mut before = None;
    for line in maps.lines() {
        let mut fields = line.split_ascii_whitespace();
        let (from, to) = fields.next()?.split_once('-')?;
        let from = usize::from_str_radix(from, 16).ok()?;
        let to = usize::from_str_radix(to, 16).ok()?;
        let (rights, offset) = (fields.next()?, fields.next()?);
        if (from..to).contains(&address) {
            let begin = before
                .filter(|(_, end)| *end == from)
                .map_or(from, |(begin, _)| begin);
            return (rights == "r-xp").then_some((begin, to));
        }
        before = (rights == "r--p" && offset == "00000000").then_some((from, to));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
55d00000-55d0a000 r--p 00000000 fe:00 7 /usr/bin/weighbridge-agent
55d0a000-55d0c000 r-xp 0000a000 fe:00 7 /usr/bin/weighbridge-agent
55d0c000-55d0d000 r--p 0000c000 fe:00 7 /usr/bin/weighbridge-agent
55d0d000-55d0e000 rw-p 0000d000 fe:00 7 /usr/bin/weighbridge-agent
";

    #[test]
    fn only_what_nothing_writes_to_is_let_go_of() {
        let code = 0x55d0_b000;
        assert_eq!(program_around(MAPS, code), Some((0x55d0_0000, 0x55d0_c000)));
        // Constants that do not begin the file may hold relocations.
        let moved = MAPS.replace("r--p 00000000", "r--p 00001000");
        assert_eq!(program_around(&moved, code), Some((0x55d0_a000, 0x55d0_c000)));
        assert_eq!(program_around(&MAPS.replace("r-xp", "rwxp"), code), None);
        assert_eq!(program_around(MAPS, 0x55d0_c000), None);
        assert_eq!(program_around(MAPS, 0x66d0_c000), None);
    }

    #[test]
    fn a_program_runs_on_without_what_it_let_go_of() {
        let_go_of_start();
        assert!(boot_time() > BootNanos(0));
    }
}
