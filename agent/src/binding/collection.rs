//! The reporter's end: starts a collector, listens, and gives it up when a device does not answer.
//!
//! Decides: how long a device may take, and what is said of one that does not answer or in whose call the collector dies; the devices after it are
//! asked by another collector. A call that hangs in the driver cannot be cancelled: its process is killed, and left behind if the kernel does
//! not let it die; where too many are left behind none is started. Trusts nothing that comes through the pipe beyond its shape. Does not
//! establish why a device did not answer.

use super::message::{Attestee, Listener, MessageError, Question, Said};
use crate::clock::Clock;
use crate::sampler::SupervisorOptions;
use crate::sampler::pipe;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use weighbridge::id::Digest;
use weighbridge::report::{Answer, NoEvidence};
use weighbridge::time::BootNanos;

/// How long a device may take to sign: those in the field take a few seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the driver may take to open: without persistence mode it starts its devices then.
const OPENING: Duration = Duration::from_secs(60);

/// How long a round may take in all, whatever happens.
const LONGEST_ROUND: Duration = Duration::from_secs(600);

/// How long a collector may take to end by itself, after the call that it is in.
const LONGEST_GOODBYE: Duration = Duration::from_secs(5);

/// How long a killed process is waited for before it is left behind.
const LONGEST_DEATH: Duration = Duration::from_secs(2);

/// The most processes left behind in hung calls before no further one is started.
const MOST_ABANDONED: usize = 4;

/// How a collector is started.
#[derive(Clone, Debug)]
pub struct CollectorOptions {
    /// The agent's own binary, `/proc/self/exe` on a host.
    pub program: PathBuf,
    /// What makes it a collector.
    pub arguments: Vec<OsString>,
    /// The whole environment of the child, the same as the sampler's.
    pub environment: Vec<(OsString, OsString)>,
    /// The NVML library; `None` takes the one that the system would load.
    pub nvml: Option<String>,
    /// How long a device may take.
    pub patience: Duration,
}

impl CollectorOptions {
    /// A collector beside the sampler that is started so: the same binary, the same environment, the same library.
    #[must_use]
    pub fn beside(sampler: &SupervisorOptions) -> Self {
        Self {
            program: sampler.program.clone(),
            arguments: vec!["collector".into()],
            environment: sampler.environment.clone(),
            nvml: sampler.sampler.nvml.clone(),
            patience: PATIENCE,
        }
    }
}

/// What a collection gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collected {
    /// An answer for each device, in the order in which they were named.
    pub answers: Vec<Answer>,
    /// Boot time after the last of them.
    pub ended: BootNanos,
}

/// Collects evidence, one collection after another.
#[derive(Clone, Debug)]
pub struct Collection {
    options: CollectorOptions,
    clock: Arc<dyn Clock>,
    /// One for each process that may be left behind; each that is holds one until it ends.
    places: Arc<Semaphore>,
}

/// How a collector's life ended.
enum End {
    /// Every device answered.
    Done,
    /// The collection is to stop.
    Stopped,
    /// The collection takes too long.
    TooLong,
    /// The device that was asked, or the driver as a whole, does not answer.
    Hung(Option<u16>),
    /// The process ended, or said what no collector says; it may have been asking a device.
    Died(Option<u16>, String),
    /// No device can be asked, as the collector says.
    Trouble(String),
}

impl Collection {
    /// Nothing is started yet.
    #[must_use]
    pub fn new(options: CollectorOptions, clock: Arc<dyn Clock>) -> Self {
        Self {
            options,
            clock,
            places: Arc::new(Semaphore::new(MOST_ABANDONED)),
        }
    }

    /// How many processes are left behind in calls that did not return.
    #[must_use]
    pub fn left_behind(&self) -> usize {
        MOST_ABANDONED.saturating_sub(self.places.available_permits())
    }

    /// Has `devices` sign `nonce`, through the library with this digest. `None` where `stop` was called before all had answered. Once
    /// this returns no collector runs, but those that are left behind.
    pub async fn collect(
        &self,
        library: Digest,
        nonce: [u8; 32],
        devices: &[Attestee],
        stop: &CancellationToken,
    ) -> Option<Collected> {
        let mut answers = vec![None; devices.len()];
        let mut over = pin!(sleep(LONGEST_ROUND));
        loop {
            let left: Vec<u16> = (0u16..)
                .zip(&answers)
                .filter(|(_, answer)| answer.is_none())
                .map(|(place, _)| place)
                .collect();
            if left.is_empty() {
                break;
            }
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
                warn!("processes hang in calls to the driver, and none is started to collect evidence");
                fill(&mut answers, NoEvidence::Hung);
                break;
            };
            let named = |at: u16| {
                let device = devices.get(usize::from(at));
                device.map_or_else(String::new, |d| format!("GPU {}", d.index))
            };
            let mut life = Life {
                collection: self,
                question: Question {
                    nvml: self.options.nvml.clone(),
                    library,
                    nonce,
                    devices: left
                        .iter()
                        .filter_map(|at| devices.get(usize::from(*at)).cloned())
                        .collect(),
                },
                left: &left,
                answers: &mut answers,
            };
            match life.live(place, stop, over.as_mut()).await {
                End::Done => {}
                End::Stopped => return None,
                End::TooLong => {
                    warn!("the devices took too long to sign; those that did not are left out of this round");
                    fill(&mut answers, NoEvidence::Hung);
                }
                End::Hung(Some(at)) => {
                    warn!(
                        "{} did not sign in time; the process that asked it was given up",
                        named(at)
                    );
                    set(&mut answers, at, Answer::None(NoEvidence::Hung));
                }
                End::Hung(None) => {
                    warn!("the driver did not answer the process that collects evidence");
                    fill(&mut answers, NoEvidence::Hung);
                }
                End::Died(Some(at), why) => {
                    warn!("the process that asked {} for evidence died: {why}", named(at));
                    set(&mut answers, at, Answer::None(NoEvidence::Crashed));
                }
                End::Died(None, why) => {
                    warn!("the process that collects evidence died: {why}");
                    // Where it asked some before, the next may ask the others; one that asked none will fare no better again.
                    if left.iter().all(|at| is_open(&answers, *at)) {
                        fill(&mut answers, NoEvidence::Crashed);
                    }
                }
                End::Trouble(why) => {
                    warn!("no evidence could be collected: {why}");
                    fill(&mut answers, NoEvidence::Failed);
                }
            }
        }
        Some(Collected {
            answers: answers.into_iter().flatten().collect(),
            ended: self.clock.boot_now(),
        })
    }

    /// Kills a collector, and leaves it behind if it does not die.
    async fn abandon(&self, mut child: Child, place: OwnedSemaphorePermit) -> Option<ExitStatus> {
        // It fails only when the process has ended already.
        child.start_kill().ok();
        match timeout(LONGEST_DEATH, child.wait()).await {
            Ok(status) => status.ok(),
            Err(_) => {
                tokio::spawn(async move {
                    child.wait().await.ok();
                    drop(place);
                });
                None
            }
        }
    }
}

/// One collector, from its start to its end.
struct Life<'a> {
    collection: &'a Collection,
    question: Question,
    /// The places in the collection of the devices in the question.
    left: &'a [u16],
    answers: &'a mut [Option<Answer>],
}

impl Life<'_> {
    async fn live(
        &mut self,
        place: OwnedSemaphorePermit,
        stop: &CancellationToken,
        over: Pin<&mut Sleep>,
    ) -> End {
        let (mut child, words, frames) = match self.start() {
            Ok(started) => started,
            Err(e) => return End::Died(None, format!("it could not be started: {e}")),
        };
        let (end, words) = self.listen(words, frames, stop, over).await;
        match end {
            End::Done | End::Stopped | End::Trouble(_) => {
                // The end of what it is sent is its word to go.
                drop(words);
                if timeout(LONGEST_GOODBYE, child.wait()).await.is_err() {
                    self.collection.abandon(child, place).await;
                }
                end
            }
            End::TooLong | End::Hung(_) => {
                self.collection.abandon(child, place).await;
                end
            }
            End::Died(at, why) => match self.collection.abandon(child, place).await {
                Some(status) => End::Died(at, format!("{why} ({status})")),
                None => End::Died(at, why),
            },
        }
    }

    fn start(&self) -> io::Result<(Child, ChildStdin, ChildStdout)> {
        let options = &self.collection.options;
        let mut child = tokio::process::Command::new(&options.program)
            .args(&options.arguments)
            .env_clear()
            .envs(options.environment.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(words), Some(frames)) => Ok((child, words, frames)),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Puts the question and listens until every device has answered, or something else ends it. Gives the end of the pipe back whose closing
    /// is the collector's word to go.
    async fn listen(
        &mut self,
        mut words: ChildStdin,
        mut frames: ChildStdout,
        stop: &CancellationToken,
        mut over: Pin<&mut Sleep>,
    ) -> (End, ChildStdin) {
        let mut bytes = Vec::with_capacity(512);
        pipe::put(&self.question, &mut bytes);
        let patience = self.collection.options.patience;
        let mut listener = Listener::new((0u16..).zip(self.left).map(|(at, _)| at));
        let mut late = pin!(sleep(OPENING.max(patience)));
        let mut said = 0;
        let end = loop {
            if listener.done() {
                break End::Done;
            }
            let asked = listener.asked().and_then(|at| self.place(at));
            listener.arrived().reserve(4 << 10);
            tokio::select! {
                // One that does not hear is found out by what it says, or by its silence.
                put = words.write(bytes.get(said..).unwrap_or_default()), if said < bytes.len() => {
                    said = put.map_or(bytes.len(), |some| said.saturating_add(some));
                },
                read = frames.read_buf(listener.arrived()) => match read {
                    Ok(0) => break End::Died(asked, "it ended".to_owned()),
                    Ok(_) => match self.hear(&mut listener) {
                        Ok(Heard::Nothing) => {}
                        Ok(Heard::Progress) => late.set(sleep(patience)),
                        Ok(Heard::Trouble(why)) => break End::Trouble(why),
                        Err(e) => {
                            let asked = listener.asked().and_then(|at| self.place(at));
                            break End::Died(asked, e.to_string());
                        }
                    },
                    Err(e) => break End::Died(asked, e.to_string()),
                },
                () = &mut late => break End::Hung(asked),
                () = &mut over => break End::TooLong,
                () = stop.cancelled() => break End::Stopped,
            }
        };
        (end, words)
    }

    /// Takes all messages that have arrived.
    fn hear(&mut self, listener: &mut Listener) -> Result<Heard, MessageError> {
        let mut heard = Heard::Nothing;
        while let Some(said) = listener.take()? {
            match said {
                Said::Asking(_) => {}
                Said::Answered(at, answer) => {
                    if let Some(at) = self.place(at) {
                        set(self.answers, at, answer);
                    }
                }
                Said::Trouble(why) => return Ok(Heard::Trouble(why)),
            }
            heard = Heard::Progress;
        }
        Ok(heard)
    }

    /// The place in the collection of the device at this place in the question.
    fn place(&self, at: u16) -> Option<u16> {
        self.left.get(usize::from(at)).copied()
    }
}

/// What a collector's messages say of its work.
enum Heard {
    Nothing,
    /// It asks another device, or one has answered.
    Progress,
    Trouble(String),
}

fn set(answers: &mut [Option<Answer>], at: u16, answer: Answer) {
    if let Some(open) = answers.get_mut(usize::from(at)) {
        *open = Some(answer);
    }
}

fn is_open(answers: &[Option<Answer>], at: u16) -> bool {
    answers.get(usize::from(at)).is_some_and(Option::is_none)
}

fn fill(answers: &mut [Option<Answer>], why: NoEvidence) {
    for open in answers.iter_mut().filter(|answer| answer.is_none()) {
        *open = Some(Answer::None(why));
    }
}

#[cfg(test)]
mod tests;
