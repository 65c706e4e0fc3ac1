//! The socket through which the running agent is asked: to let go of the driver, to take it up again, how it stands, what it sealed.
//!
//! Decides: who may ask, by the permissions of the state directory. Every request and answer is one message of strict CBOR, bounded.

use super::attribution::{Attributed, Attribution};
use crate::spool::Sent;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use weighbridge::bounded::{self, BoundedReadError};
use weighbridge::cbor::{self, Bytes, DecodeError};
use weighbridge::id::ChainId;

/// Largest request: the longest name of a tenant is 256 bytes.
const MAX_REQUEST: u64 = 1_024;
/// Requests that wait to be answered; further ones wait in the kernel's queue.
const MAX_WAITING: usize = 4;
/// Largest answer: a report of 64 devices with its windows and bursts.
const MAX_ANSWER: usize = 32 << 20;
/// How long an asker may take; letting go of a driver takes a few seconds.
const PATIENCE: Duration = Duration::from_secs(30);

weighbridge::code! {
    /// What may be asked.
    pub enum Ask {
        /// Let go of the driver.
        Release = 0 => "release",
        /// Take the driver up again.
        Resume = 1 => "resume",
        /// How the agent stands.
        Status = 2 => "status",
        /// The report sealed last.
        Latest = 3 => "latest",
        /// A report and its windows.
        Report = 4 => "report",
        /// Have a tenant hold a device.
        Attribute = 5 => "attribute",
        /// Have it hold the device no longer.
        EndAttribution = 6 => "end attribution",
        /// Who holds which device.
        Attributions = 7 => "attributions",
        /// What became of the reports in the spool, from an ordinal on.
        Sent = 8 => "sent",
    }
}

weighbridge::record! {
    /// A request.
    pub struct Request {
        /// What.
        0 => ask: Ask,
        /// Of which chain; absent, of the one written now.
        1 => chain: Option<ChainId>,
        /// Which number.
        2 => sequence: Option<u64>,
        /// Which device, whose, and from when to when.
        3 => attribution: Option<Attribution>,
    }
}

weighbridge::record! {
    /// An answer.
    #[derive(Default)]
    pub struct Answer {
        /// Why it could not be done.
        0 => error: Option<String>,
        /// A line for a person.
        1 => text: Option<String>,
        /// A sealed report.
        2 => bundle: Option<Bytes>,
        /// Its windows.
        3 => windows: Option<Bytes>,
        /// Who holds which device.
        4 => attributions: Option<Vec<Attributed>>,
        /// What became of the reports in the spool.
        5 => sent: Option<Vec<Sent>>,
        /// What the verifier answered to the report.
        6 => answered: Option<Bytes>,
    }
}

impl Request {
    /// A request without arguments.
    #[must_use]
    pub fn plain(ask: Ask) -> Self {
        Self {
            ask,
            chain: None,
            sequence: None,
            attribution: None,
        }
    }
}

impl Answer {
    /// A line.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            text: Some(text.into()),
            ..Self::default()
        }
    }

    /// A failure.
    #[must_use]
    pub fn error(why: impl Into<String>) -> Self {
        Self {
            error: Some(why.into()),
            ..Self::default()
        }
    }
}

/// Why the running agent could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// None runs.
    #[error("no agent runs on this state directory")]
    NotRunning,
    /// It said nothing in time.
    #[error(
        "the running agent did not answer within {} s; its log says what it waits for, and what was asked may still be done",
        PATIENCE.as_secs()
    )]
    Silent,
    /// The socket failed.
    #[error("the running agent could not be asked")]
    Io(#[source] std::io::Error),
    /// The answer could not be read.
    #[error("the running agent's answer could not be read")]
    Read(#[source] BoundedReadError),
    /// The answer is malformed.
    #[error("the running agent's answer is malformed; is it of another version?")]
    Malformed(#[from] DecodeError),
    /// It could not be done.
    #[error("{0}")]
    Refused(String),
}

impl From<std::io::Error> for ControlError {
    fn from(error: std::io::Error) -> Self {
        // A socket whose time is up says the first on Linux (socket(7), `SO_RCVTIMEO`).
        match error.kind() {
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => Self::Silent,
            _ => Self::Io(error),
        }
    }
}

impl From<BoundedReadError> for ControlError {
    fn from(error: BoundedReadError) -> Self {
        match error {
            BoundedReadError::Io(error) => error.into(),
            other => Self::Read(other),
        }
    }
}

/// Asks the agent that listens at `path`.
///
/// # Errors
/// [`ControlError`]; `NotRunning` where nobody listens.
pub fn ask(path: &Path, request: &Request) -> Result<Answer, ControlError> {
    use std::io::ErrorKind::{ConnectionRefused, NotFound};
    let mut stream = BlockingStream::connect(path).map_err(|e| match e.kind() {
        NotFound | ConnectionRefused => ControlError::NotRunning,
        _ => ControlError::Io(e),
    })?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&cbor::encode(request))?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let bytes = bounded::read(Read::by_ref(&mut stream), MAX_ANSWER)?;
    let answer: Answer = cbor::decode_strict(&bytes)?;
    match answer.error {
        Some(why) => Err(ControlError::Refused(why)),
        None => Ok(answer),
    }
}

/// The listening end. A task of its own takes requests, so that whoever waits for the next one may stop waiting at any time without
/// losing one that is half read.
#[derive(Debug)]
pub struct Control {
    asked: mpsc::Receiver<Asked>,
    listening: tokio::task::JoinHandle<()>,
}

impl Control {
    /// Listens at `path`, for this user alone. A socket left by a run that was killed is replaced; the spool's lock keeps two agents apart.
    ///
    /// # Errors
    /// The system's.
    pub fn bind(path: &Path) -> std::io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o600))?;
        let (send, asked) = mpsc::channel(MAX_WAITING);
        let listening = tokio::spawn(listen(listener, send));
        Ok(Self { asked, listening })
    }

    /// Waits for the next request that can be read.
    pub async fn next(&mut self) -> Asked {
        match self.asked.recv().await {
            Some(asked) => asked,
            // The listener ends only with its receiver, which is here.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn listen(listener: UnixListener, send: mpsc::Sender<Asked>) {
    while !send.is_closed() {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: the askers wait in the kernel's queue.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        // An asker that says nothing is let go of, and so is one that talks nonsense.
        if let Ok(Some(asked)) = tokio::time::timeout(Duration::from_secs(2), read(stream)).await
            && send.send(asked).await.is_err()
        {
            return;
        }
    }
}

/// A request, and where its answer goes.
#[derive(Debug)]
pub struct Asked {
    /// What is asked.
    pub request: Request,
    stream: UnixStream,
}

impl Asked {
    /// Answers, without waiting for an asker that does not read.
    pub fn answer(mut self, answer: &Answer) {
        let bytes = cbor::encode(answer);
        tokio::spawn(async move {
            // The asker went away: there is nobody to tell.
            tokio::time::timeout(PATIENCE, self.stream.write_all(&bytes))
                .await
                .ok();
        });
    }
}

async fn read(mut stream: UnixStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    (&mut stream)
        .take(MAX_REQUEST)
        .read_to_end(&mut bytes)
        .await
        .ok()?;
    let request = cbor::decode_strict(&bytes).ok()?;
    Some(Asked { request, stream })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_does_not_answer_in_time_is_told_in_a_sentence() {
        let (mut asker, _silent) = BlockingStream::pair().unwrap();
        asker.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let error = ControlError::from(bounded::read(&mut asker, MAX_ANSWER).unwrap_err());
        let told = crate::sentence::Sentence(&error).to_string();
        assert!(
            told.starts_with("the running agent did not answer within 30 s") && !told.contains("os error")
        );
    }

    #[tokio::test]
    async fn a_request_gets_its_answer_and_nonsense_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        assert!(matches!(
            ask(&path, &Request::plain(Ask::Status)),
            Err(ControlError::NotRunning)
        ));
        std::fs::write(&path, "left behind").unwrap();
        let mut control = Control::bind(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let asking = std::thread::spawn(move || {
            let mut noise = BlockingStream::connect(&path).unwrap();
            noise.write_all(b"noise").unwrap();
            drop(noise);
            ask(&path, &Request::plain(Ask::Status)).unwrap()
        });
        let asked = control.next().await;
        assert_eq!(asked.request.ask, Ask::Status);
        asked.answer(&Answer::text("reporting"));
        while !asking.is_finished() {
            tokio::task::yield_now().await;
        }
        assert_eq!(asking.join().unwrap(), Answer::text("reporting"));
    }
}
