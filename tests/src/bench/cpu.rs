//! CPU time and memory of threads and processes, from the kernel.
//!
//! Wall time is no measure of work: on a shared machine the same work takes twice as long from one minute to the next, while its CPU time
//! differs by a percent. The kernel brings a running task's count up to date at its ticks and when it sleeps, so other
//! processes are read once they are at rest.

use rustix::time::{ClockId, clock_gettime};
use std::collections::BTreeMap;
use std::path::Path;

/// CPU time of the calling thread, in nanoseconds.
pub(super) fn thread_ns() -> u64 {
    let t = clock_gettime(ClockId::ThreadCPUTime);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// CPU time of all threads of this process, in nanoseconds.
pub(super) fn process_ns() -> u64 {
    let t = clock_gettime(ClockId::ProcessCPUTime);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// Time on the clock, in nanoseconds since some moment.
pub(super) fn wall_ns() -> u64 {
    let t = clock_gettime(ClockId::Monotonic);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// The kernel's number of the calling thread.
pub(super) fn thread_id() -> u32 {
    rustix::thread::gettid().as_raw_pid() as u32
}

/// What is counted.
#[derive(Clone, Debug)]
enum Whom {
    /// One thread of a process.
    Thread(u32, u32),
    /// All threads of a process, and of the processes that it started.
    Family(u32),
}

/// Adds up the CPU time of threads or processes. A thread that has ended keeps the time it had when it was last read.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    whom: Whom,
    seen: BTreeMap<(u32, u32), u64>,
}

impl Meter {
    /// Of a thread of this process.
    pub(super) fn of_thread(thread: u32) -> Self {
        Self::new(Whom::Thread(std::process::id(), thread))
    }

    /// Of a process and all that it started.
    pub(super) fn of_family(process: u32) -> Self {
        Self::new(Whom::Family(process))
    }

    fn new(whom: Whom) -> Self {
        Self {
            whom,
            seen: BTreeMap::new(),
        }
    }

    /// CPU time up to now, in nanoseconds.
    pub(super) fn read(&mut self) -> u64 {
        let tasks = match self.whom {
            Whom::Thread(process, thread) => vec![(process, thread)],
            Whom::Family(root) => family(root)
                .into_iter()
                .flat_map(|p| {
                    numbers(format!("/proc/{p}/task"))
                        .into_iter()
                        .map(move |t| (p, t))
                })
                .collect(),
        };
        for (process, thread) in tasks {
            let text = std::fs::read_to_string(format!("/proc/{process}/task/{thread}/schedstat"));
            let ns = text
                .ok()
                .and_then(|t| t.split_whitespace().next()?.parse::<u64>().ok());
            if let Some(ns) = ns {
                self.seen.insert((process, thread), ns);
            }
        }
        self.seen.values().sum()
    }

    /// CPU time of one process among those counted, as last read.
    pub(super) fn of_process(&self, process: u32) -> u64 {
        self.seen
            .iter()
            .filter(|((p, _), _)| *p == process)
            .map(|(_, ns)| ns)
            .sum()
    }
}

/// A process and all that descend from it.
pub(super) fn family(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = numbers("/proc")
        .into_iter()
        .filter_map(|p| {
            let stat = std::fs::read_to_string(format!("/proc/{p}/stat")).ok()?;
            // The program's name stands in brackets and may hold anything.
            let (_, rest) = stat.rsplit_once(')')?;
            Some((p, rest.split_whitespace().nth(1)?.parse().ok()?))
        })
        .collect();
    let mut found = vec![root];
    let mut at = 0;
    while at < found.len() {
        let parent = found[at];
        found.extend(parents.iter().filter(|(_, p)| *p == parent).map(|(c, _)| *c));
        at += 1;
    }
    found
}

/// The entries of a directory that are numbers.
fn numbers(dir: impl AsRef<Path>) -> Vec<u32> {
    std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub(super) struct Memory {
    /// Resident: anonymous, file-backed and shared pages.
    pub(super) resident: u64,
    /// Resident, each shared page divided among those who share it.
    pub(super) proportional: u64,
    /// Resident pages that are no file's.
    pub(super) anonymous: u64,
}

impl Memory {
    /// Of a process now; zero where it is gone.
    pub(super) fn of(process: u32) -> Self {
        let field = |file: &str, key: &str| {
            let text = std::fs::read_to_string(format!("/proc/{process}/{file}")).unwrap_or_default();
            let kib: u64 = text
                .lines()
                .find_map(|l| l.strip_prefix(key)?.split_whitespace().next()?.parse().ok())
                .unwrap_or(0);
            kib * 1024
        };
        let anonymous = field("status", "RssAnon:");
        Self {
            resident: anonymous + field("status", "RssFile:") + field("status", "RssShmem:"),
            proportional: field("smaps_rollup", "Pss:"),
            anonymous,
        }
    }
}
