//! What passes between the two processes: frames one way, a few words the other.
//!
//! Decides: how a message is delimited (its length in four bytes, big end first, then its one CBOR encoding) and how
//! large one may be. Trusts neither end: a length beyond the bound, or bytes that are not the encoding of a message,
//! end the conversation.

use super::{Bursts, Looks};
use crate::devices::dcgm::{Endpoint, HostEngineOptions};
use crate::devices::nvml::NvmlOptions;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use weighbridge::cbor::{self, DecodeError, Wire};
use weighbridge::telemetry::Inventory;
use weighbridge::time::SECOND;

/// The largest message: an inventory of 64 devices takes some 20 KiB.
pub const MAX_MESSAGE: usize = 1 << 20;

weighbridge::record! {
    /// How a sampler works. The parent sends it first, so that nothing of it stands on a command line.
    pub struct SamplerOptions {
        /// The NVML library; absent, the one that the system would load.
        0 => nvml: Option<String>,
        /// The root of sysfs, `/sys` on a host.
        1 => sysfs: String,
        /// One burst in each period of this many seconds; zero for none.
        2 => burst_period_s: u32,
        /// Length of a burst, in seconds.
        3 => burst_length_s: u32,
        /// From tick to tick in a burst, in milliseconds.
        4 => burst_interval_ms: u32,
        /// Seconds from one look at the library on disk, the bus and MIG to the next.
        5 => check_s: u32,
        /// Seconds from one survey to the next.
        6 => survey_s: u32,
        /// A read of one device that takes longer hangs, in milliseconds.
        7 => call_deadline_ms: u32,
        /// Opening the driver or waking a device may take this long, in milliseconds: without persistence mode a
        /// driver starts its devices first.
        8 => open_deadline_ms: u32,
        /// From which the places of bursts follow; absent, drawn at start.
        9 => burst_seed: Option<u64>,
        /// Where a DCGM host engine listens; absent, none is asked.
        10 => dcgm: Option<String>,
        /// DCGM's client library; absent, the one that the system would load.
        11 => dcgm_library: Option<String>,
        /// Looks at the clocks in each second, between its regular ticks; zero for none.
        12 => clock_looks: u32,
    }
}

impl Default for SamplerOptions {
    fn default() -> Self {
        Self {
            nvml: None,
            sysfs: "/sys".into(),
            burst_period_s: 600,
            burst_length_s: 60,
            burst_interval_ms: 100,
            check_s: 60,
            survey_s: 3_600,
            call_deadline_ms: 2_000,
            open_deadline_ms: 60_000,
            burst_seed: None,
            dcgm: None,
            dcgm_library: None,
            clock_looks: 8,
        }
    }
}

impl SamplerOptions {
    /// Where to look for devices.
    #[must_use]
    pub fn devices(&self) -> NvmlOptions {
        NvmlOptions {
            library: self.nvml.as_ref().map(PathBuf::from),
            sysfs: PathBuf::from(&self.sysfs),
            // An address that is not on this machine was refused with the configuration, and is not asked here either.
            host_engine: self
                .dcgm
                .as_deref()
                .and_then(|address| Endpoint::parse(address).ok())
                .map(|endpoint| HostEngineOptions {
                    endpoint,
                    library: self.dcgm_library.as_ref().map(PathBuf::from),
                }),
        }
    }

    /// The looks at the clocks, at places that follow from `drawn`.
    #[must_use]
    pub fn looks(&self, drawn: u64) -> Looks {
        Looks {
            parts: self.clock_looks,
            seed: drawn,
        }
    }

    /// The bursts, at places that follow from `drawn` where the options name no seed.
    #[must_use]
    pub fn bursts(&self, drawn: u64) -> Bursts {
        Bursts {
            period: u64::from(self.burst_period_s).saturating_mul(SECOND),
            length: u64::from(self.burst_length_s).saturating_mul(SECOND),
            interval: u64::from(self.burst_interval_ms).saturating_mul(1_000_000),
            seed: self.burst_seed.unwrap_or(drawn),
        }
    }
}

weighbridge::record! {
    /// What the child needs to begin.
    pub struct Start {
        /// How to work.
        0 => options: SamplerOptions,
        /// The last inventory of a child before, so that a device that does not answer now is not forgotten.
        1 => known: Option<Inventory>,
        /// Driver indices of devices that must not be called, because a call to them hung.
        2 => avoid: Vec<u16>,
    }
}

weighbridge::code! {
    /// A word to the child.
    pub enum Word {
        /// Tell which call is in progress.
        WhereAreYou = 0 => "where are you",
        /// Survey all devices now.
        Survey = 1 => "survey",
        /// Let go of the driver and end.
        Quit = 2 => "quit",
    }
}

weighbridge::record! {
    /// One message to the child: exactly one of its fields is present.
    pub struct Command {
        /// Begin; the first message, and only the first.
        0 => start: Option<Start>,
        /// Call this device again.
        1 => readmit: Option<u16>,
        /// A word.
        2 => word: Option<Word>,
    }
}

impl Command {
    /// The message that begins the conversation.
    #[must_use]
    pub fn start(start: Start) -> Self {
        Self {
            start: Some(start),
            readmit: None,
            word: None,
        }
    }

    /// The message that calls a device again.
    #[must_use]
    pub fn readmit(device: u16) -> Self {
        Self {
            start: None,
            readmit: Some(device),
            word: None,
        }
    }

    /// A word.
    #[must_use]
    pub fn word(word: Word) -> Self {
        Self {
            start: None,
            readmit: None,
            word: Some(word),
        }
    }
}

/// Why a message could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipeError {
    /// The other end closed the pipe.
    #[error("the other end of the pipe was closed")]
    Closed,
    /// The pipe failed.
    #[error("the pipe failed")]
    Io(#[from] io::Error),
    /// The message claims to be larger than any is.
    #[error("a message of {found} bytes came through the pipe, more than {most}")]
    TooLarge {
        /// The length claimed.
        found: usize,
        /// The bound.
        most: usize,
    },
    /// The bytes are not a message.
    #[error("what came through the pipe is not a message")]
    Malformed(#[from] DecodeError),
}

/// Appends `message` to `out`, delimited.
pub fn put<T: Wire>(message: &T, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend([0; 4]);
    message.encode(&mut cbor::Encoder::new(&mut *out));
    let length = out.len().saturating_sub(start).saturating_sub(4);
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    if let Some(head) = out.get_mut(start..).and_then(|m| m.first_chunk_mut()) {
        *head = length;
    }
}

/// Writes one message.
///
/// # Errors
/// The pipe's.
pub fn write<T: Wire>(pipe: &mut impl Write, message: &T) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(512);
    put(message, &mut bytes);
    pipe.write_all(&bytes)
}

/// Reads one message, waiting for it.
///
/// # Errors
/// [`PipeError`]; the other end is not trusted.
pub fn read<T: Wire>(pipe: &mut impl Read) -> Result<T, PipeError> {
    let mut head = [0u8; 4];
    match pipe.read_exact(&mut head) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Err(PipeError::Closed),
        Err(e) => return Err(e.into()),
    }
    let length = length(head, MAX_MESSAGE)?;
    let mut body = vec![0u8; length];
    pipe.read_exact(&mut body)?;
    Ok(cbor::decode_strict(&body)?)
}

/// Takes one message from the front of `buffer`, if it is there in full.
///
/// # Errors
/// [`PipeError::TooLarge`], [`PipeError::Malformed`].
pub fn take<T: Wire>(buffer: &mut Vec<u8>) -> Result<Option<T>, PipeError> {
    take_up_to(buffer, MAX_MESSAGE)
}

/// The same where messages are of at most `most` bytes. What the buffer must hold for one is known from its first four bytes, so it
/// need never grow beyond that.
///
/// # Errors
/// As [`take`].
pub fn take_up_to<T: Wire>(buffer: &mut Vec<u8>, most: usize) -> Result<Option<T>, PipeError> {
    let Some((head, rest)) = buffer.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let length = length(*head, most)?;
    let Some(body) = rest.get(..length) else {
        return Ok(None);
    };
    let message = cbor::decode_strict(body)?;
    buffer.drain(..length.saturating_add(4));
    Ok(Some(message))
}

fn length(head: [u8; 4], most: usize) -> Result<usize, PipeError> {
    let found = usize::try_from(u32::from_be_bytes(head)).unwrap_or(usize::MAX);
    if found > most {
        return Err(PipeError::TooLarge { found, most });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_back_whole_and_in_pieces() {
        let first = Command::start(Start {
            options: SamplerOptions::default(),
            known: None,
            avoid: vec![3, 5],
        });
        let second = Command::word(Word::Quit);
        let mut bytes = Vec::new();
        put(&first, &mut bytes);
        put(&second, &mut bytes);
        let mut pipe = &bytes[..];
        assert_eq!(read::<Command>(&mut pipe).unwrap(), first);
        assert_eq!(read::<Command>(&mut pipe).unwrap(), second);
        assert!(matches!(read::<Command>(&mut pipe), Err(PipeError::Closed)));

        let mut arrived = Vec::new();
        let mut seen = Vec::new();
        for byte in bytes {
            arrived.push(byte);
            seen.extend(take::<Command>(&mut arrived).unwrap());
        }
        assert_eq!(seen, [first, second]);
        assert!(arrived.is_empty());
    }

    #[test]
    fn a_length_that_lies_and_bytes_that_are_no_message_end_the_conversation() {
        let mut long = u32::MAX.to_be_bytes().to_vec();
        assert!(matches!(
            take::<Command>(&mut long),
            Err(PipeError::TooLarge { .. })
        ));
        let mut garbage = b"\0\0\0\x04NVML".to_vec();
        assert!(matches!(
            take::<Command>(&mut garbage),
            Err(PipeError::Malformed(_))
        ));
        assert!(matches!(
            read::<Command>(&mut &b"\0\0\0\x09short"[..]),
            Err(PipeError::Io(_))
        ));
    }
}
