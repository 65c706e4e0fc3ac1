//! Facts about the host: kernel, processors, memory, boot id, the agent's own binary.
//!
//! Decides nothing. Trusts the kernel: everything here is `host-observed`. Does not establish that the binary that
//! runs is the one whose digest it reports; only a measured boot could.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};
use weighbridge::bounded::{self, BoundedReadError};
use weighbridge::crypto::Sha256;
use weighbridge::id::{BootId, Digest, ParseIdError};
use weighbridge::report::ClockSource;

/// What a report says about the host, read once at start: none of it changes while the kernel runs, save the clock.
#[derive(Clone, Debug)]
pub struct HostFacts {
    /// The numbers of the kernel release, without what the site appended.
    pub kernel: String,
    /// Logical processors.
    pub cpus: u32,
    /// Memory, in mebibytes.
    pub memory_mib: u64,
    /// The kernel's boot id.
    pub boot_id: BootId,
    /// SHA-256 of the agent's own binary.
    pub agent_digest: Digest,
}

/// Why a fact about the host could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// Processors or memory could not be read.
    #[error("the host's processors and memory could not be read from /proc")]
    System(#[source] sysinfo::Error),
    /// The boot id could not be read.
    #[error("the kernel's boot id could not be read from {path}; is /proc mounted?")]
    BootIdUnread {
        /// Where it was looked for.
        path: PathBuf,
        /// What the read said.
        #[source]
        source: BoundedReadError,
    },
    /// The file held something else.
    #[error("the kernel's boot id in {path} is not a UUID")]
    BootIdMalformed {
        /// Where it was looked for.
        path: PathBuf,
        /// What the parser said.
        #[source]
        source: ParseIdError,
    },
    /// The binary could not be read.
    #[error("the agent's own binary could not be read through {path}")]
    Binary {
        /// Where it was looked for.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Reads the facts.
///
/// # Errors
/// [`HostError`] where `/proc` lacks processors, memory, the boot id or the agent's binary.
pub fn facts() -> Result<HostFacts, HostError> {
    let system = System::new_with_specifics(
        RefreshKind::nothing()
            .with_cpu(CpuRefreshKind::nothing())
            .with_memory(MemoryRefreshKind::nothing().with_ram()),
    )
    .map_err(HostError::System)?;
    let kernel = System::kernel_version().unwrap_or_default();
    Ok(HostFacts {
        kernel: numeric_release(&kernel),
        cpus: u32::try_from(system.cpus().len()).unwrap_or(u32::MAX),
        memory_mib: system.total_memory() >> 20,
        boot_id: boot_id()?,
        agent_digest: agent_digest()?,
    })
}

/// The kernel's release without what follows its numbers: whoever builds a kernel writes there what he likes, a site's name for one.
fn numeric_release(release: &str) -> String {
    let numbers = release.split(|c: char| !c.is_ascii_digit() && c != '.').next();
    numbers
        .unwrap_or_default()
        .trim_end_matches('.')
        .chars()
        .take(64)
        .collect()
}

/// Where the wall clock takes its time from, as the kernel says.
#[must_use]
pub fn clock_source() -> ClockSource {
    super::system::clock_source()
}

/// The kernel's boot id.
///
/// # Errors
/// [`HostError::BootIdUnread`], [`HostError::BootIdMalformed`].
pub fn boot_id() -> Result<BootId, HostError> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let text = File::open(path)
        .map_err(BoundedReadError::from)
        .and_then(|file| bounded::read_text(file, 64))
        .map_err(|source| HostError::BootIdUnread {
            path: path.to_owned(),
            source,
        })?;
    let hex: String = text.trim().chars().filter(|c| *c != '-').collect();
    BootId::parse(&hex).map_err(|source| HostError::BootIdMalformed {
        path: path.to_owned(),
        source,
    })
}

fn agent_digest() -> Result<Digest, HostError> {
    let path = Path::new("/proc/self/exe");
    File::open(path)
        .and_then(|file| digest(file, MAX_BINARY))
        .map_err(|source| HostError::Binary {
            path: path.to_owned(),
            source,
        })
}

/// The largest binary that is read to its end: the agent is some ten megabytes, with debug information a few hundred.
const MAX_BINARY: u64 = 2 << 30;

/// SHA-256 of all of `source`, in pieces, refusing more than `limit` bytes.
///
/// # Errors
/// The system's, and [`io::ErrorKind::FileTooLarge`].
pub(crate) fn digest(source: impl Read, limit: u64) -> io::Result<Digest> {
    let mut source = source.take(limit.saturating_add(1));
    let mut hash = Sha256::default();
    let mut piece = vec![0u8; 64 << 10];
    let mut total = 0u64;
    loop {
        let count = source.read(&mut piece)?;
        if count == 0 {
            return Ok(hash.finish());
        }
        total = total.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        if total > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        hash.update(piece.get(..count).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_states_its_facts() {
        let facts = facts().unwrap();
        assert!(facts.cpus > 0);
        assert!(facts.memory_mib > 0);
        assert!(!facts.kernel.is_empty());
        for (release, left) in [
            ("6.12.0-acme-harbour1", "6.12.0"),
            ("6.8.0-1021-aws", "6.8.0"),
            ("6.1.+", "6.1"),
            ("acme", ""),
        ] {
            assert_eq!(numeric_release(release), left);
        }
        assert_ne!(facts.boot_id, BootId([0; 16]));
    }

    #[test]
    fn a_digest_is_that_of_the_whole_and_of_no_more_than_allowed() {
        let long = vec![7u8; 100_000];
        assert_eq!(
            digest(&long[..], 100_000).unwrap(),
            weighbridge::crypto::sha256(&long)
        );
        assert_eq!(
            digest(&long[..], 99_999).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
    }
}
