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

/// Has all threads of this process take their memory from one heap.
///
/// The C library gives each thread a heap of its own otherwise, and each keeps what its thread once needed. The threads of this program
/// are few, and seldom want memory at one moment. To be called before there is a second thread.
pub fn share_one_heap() {
    // SAFETY: sets a number in the allocator, which it reads when a thread first asks for memory.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// This program's code and constants, where the kernel maps them as the file has them.
#[derive(Clone, Debug, Default)]
pub struct Program(Vec<Bounds>);

impl Program {
    /// Lets go of the pages of this program, which the kernel maps again where they are used again, and of memory that was given back to
    /// the allocator.
    ///
    /// What is done once a second touches little of the program; what is done now and then, as to seal and to deliver a report, nearly all
    /// of it, and what is left mapped counts as this process's memory for as long as it runs. To be called after such work. Where anything
    /// is in the way, nothing happens.
    pub fn let_go(&self) {
        self.0.iter().for_each(unmap);
        // SAFETY: gives the system pages that the allocator holds free; what is in use stays where it is.
        #[cfg(target_env = "gnu")]
        unsafe {
            libc::malloc_trim(0);
        }
    }
}

/// Lets go of what only the start needed, of libraries too. To be called once, when the start is over, and while no other thread loads a library
/// or lets go of one. Returns what may be let go of again later.
#[must_use]
pub fn let_go_of_start() -> Program {
    #[expect(
        clippy::as_conversions,
        reason = "a function's address can be had in no other way"
    )]
    let here = (let_go_of_start as *const ()).addr();
    let (own, others) = smaps().map(|smaps| unwritten(&smaps, here)).unwrap_or_default();
    others.iter().for_each(unmap);
    let program = Program(own);
    program.let_go();
    program
}

/// Drops the pages of a mapping that [`unwritten`] found.
fn unmap((from, to): &Bounds) {
    // SAFETY: the range is a mapping of a file that nothing may write to, and of which no page differs from the file: dropping one only means
    // that it is read from the file again. This program's own mappings stay for as long as it runs; those of libraries do not change now,
    // as the caller of `let_go_of_start` says.
    unsafe {
        libc::madvise(
            std::ptr::with_exposed_provenance_mut(*from),
            to.saturating_sub(*from),
            libc::MADV_DONTNEED,
        );
    }
}

/// What the kernel tells of this process's mappings; `None` where it does not.
fn smaps() -> Option<String> {
    let file = File::open("/proc/self/smaps").ok()?;
    weighbridge::bounded::read_text(file, weighbridge::bounded::MAX_DOCUMENT).ok()
}

/// A mapping as the kernel tells of it.
struct Mapping<'a> {
    from: usize,
    to: usize,
    rights: &'a str,
    file: &'a str,
    /// Whether each page is as the file has it, as far as was told yet.
    whole: bool,
}

/// From where to where in memory.
type Bounds = (usize, usize);

/// The mappings that are as their files have them and stay so: code and constants of the program that holds `address`, and the code of
/// libraries. What the linker has written to, and locked again, has pages of its own, here or in swap; and a library that is being loaded is
/// mapped as constants at first, as a whole.
fn unwritten(smaps: &str, address: usize) -> (Vec<Bounds>, Vec<Bounds>) {
    let mut mappings: Vec<Mapping<'_>> = Vec::new();
    for line in smaps.lines() {
        if let Some(mapping) = mapping(line) {
            mappings.push(mapping);
        } else if let Some(last) = mappings.last_mut()
            && ["Anonymous:", "Swap:"].iter().any(|key| line.starts_with(key))
        {
            last.whole &= line.split_ascii_whitespace().nth(1) == Some("0");
        }
    }
    let own = mappings.iter().find(|m| (m.from..m.to).contains(&address));
    let own = own.map(|m| m.file).unwrap_or_default();
    let whole = mappings.iter().filter(|m| m.whole && m.file.starts_with('/'));
    let (program, libraries): (Vec<_>, Vec<_>) = whole.partition(|m| m.file == own);
    let of = |found: Vec<&Mapping<'_>>, rights: &[&str]| {
        let found = found.into_iter().filter(|m| rights.contains(&m.rights));
        found.map(|m| (m.from, m.to)).collect()
    };
    (of(program, &["r-xp", "r--p"]), of(libraries, &["r-xp"]))
}

/// The head of a mapping, if the line is one.
fn mapping(line: &str) -> Option<Mapping<'_>> {
    let mut fields = line.split_ascii_whitespace();
    let (from, to) = fields.next()?.split_once('-')?;
    Some(Mapping {
        from: usize::from_str_radix(from, 16).ok()?,
        to: usize::from_str_radix(to, 16).ok()?,
        rights: fields.next()?,
        file: fields.nth(3).unwrap_or_default(),
        whole: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel prints it, with what is not looked at left out.
    fn told(list: &[(&str, &str)]) -> String {
        let entry = |(head, own): &(&str, &str)| format!("{head}\nRss:      16 kB\n{own}\nVmFlags: rd mr\n");
        list.iter().map(entry).collect()
    }

    #[test]
    fn only_what_is_as_its_file_has_it_is_let_go_of() {
        const CLEAN: &str = "Anonymous:      0 kB\nSwap:      0 kB";
        let program = "fe:00 7 /usr/bin/weighbridge-agent";
        let library = "fe:00 9 /lib/libc.so.6";
        let of = |bounds: &str, rights: &str, file: &str| format!("{bounds} {rights} 00000000 {file}");
        let heads = [
            (of("55d00000-55d0a000", "r--p", program), CLEAN),
            (of("55d0a000-55d0c000", "r-xp", program), CLEAN),
            // Relocations were made in it, then it was locked.
            (
                of("55d0c000-55d0d000", "r--p", program),
                "Anonymous:      4 kB\nSwap:      0 kB",
            ),
            (
                of("55d0d000-55d0e000", "r--p", program),
                "Anonymous:      0 kB\nSwap:      4 kB",
            ),
            (of("55d0e000-55d0f000", "rw-p", program), CLEAN),
            (of("55d0f000-55d10000", "rw-p", "00:00 0"), CLEAN),
            // A library that is being loaded looks like this at first, as a whole.
            (of("7f000000-7f002000", "r--p", library), CLEAN),
            (of("7f002000-7f004000", "r-xp", library), CLEAN),
            // Code into which a linker has written addresses.
            (
                of("7f005000-7f006000", "r-xp", "fe:00 3 /lib/old.so"),
                "Anonymous:      4 kB\nSwap:      0 kB",
            ),
            (of("7fff0000-7fff1000", "r-xp", "00:00 0 [vdso]"), CLEAN),
        ];
        let list: Vec<_> = heads.iter().map(|(head, own)| (head.as_str(), *own)).collect();
        let code = 0x55d0_b000;
        let program = vec![(0x55d0_0000, 0x55d0_a000), (0x55d0_a000, 0x55d0_c000)];
        let library = vec![(0x7f00_2000, 0x7f00_4000)];
        assert_eq!(unwritten(&told(&list), code), (program, library));
    }

    #[test]
    fn a_program_runs_on_without_what_it_let_go_of() {
        let here = (let_go_of_start as *const ()).addr();
        let smaps = smaps().unwrap();
        let (own, _) = unwritten(&smaps, here);
        assert!(
            own.iter().any(|(from, to)| (*from..*to).contains(&here)),
            "{smaps}"
        );
        Program(own).let_go();
        assert!(boot_time() > BootNanos(0));
    }
}
