//! The parent's end: starts the sampler, listens, and abandons it when it hangs.
//!
//! Decides: that a sampler which says nothing for longer than a second and a call's deadline hangs or is dead, as does
//! one that gives the same answer for longer than any call may take, and how long to wait before the next try. A call
//! that hangs in the driver cannot be cancelled: its process is killed, and left behind if the kernel does not let it
//! die; a new one reads the other devices, but where too many are left behind none is started. Trusts nothing that
//! comes through the pipe beyond its shape. Does not establish why a call hung.

use super::avoided::Avoided;
use super::pipe::{self, Command, PipeError, SamplerOptions, Start, Word};
use crate::clock::Clock;
use crate::devices::HOST_ENGINE;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use weighbridge::telemetry::{Frame, Inventory, NoticeKind, TickKind};
use weighbridge::time::BootNanos;

/// How many events may wait for the reporter before the sampler is made to wait.
const EVENTS: usize = 64;

/// Waits between tries to start a sampler that died.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A sampler that ticked this often works; the next wait is short again.
const HEALTHY_TICKS: u32 = 60;

/// How long a sampler may take to let go of the driver before it is killed; longer than it takes by itself.
const LONGEST_GOODBYE: Duration = Duration::from_secs(15);

/// How long a killed process is waited for before it is left behind.
const LONGEST_DEATH: Duration = Duration::from_secs(2);

/// The most processes left behind in hung calls before no further one is started.
const MOST_ABANDONED: usize = 4;

/// How a sampler is started.
#[derive(Clone, Debug)]
pub struct SupervisorOptions {
    /// The agent's own binary, `/proc/self/exe` on a host.
    pub program: PathBuf,
    /// What makes it a sampler.
    pub arguments: Vec<OsString>,
    /// The whole environment of the child: nothing is inherited. See [`allowed_environment`].
    pub environment: Vec<(OsString, OsString)>,
    /// How it works.
    pub sampler: SamplerOptions,
}

impl SupervisorOptions {
    /// The running binary as a sampler.
    #[must_use]
    pub fn new(sampler: SamplerOptions, environment: Vec<(OsString, OsString)>) -> Self {
        Self {
            program: PathBuf::from("/proc/self/exe"),
            arguments: vec!["sampler".into()],
            environment,
            sampler,
        }
    }
}

/// A variable that must not reach the sampler.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the variable {name} cannot be passed to the sampler: it steers the dynamic linker")]
pub struct EnvironmentError {
    /// Its name.
    pub name: String,
}

/// Takes the variables of these names, where they are set, from this process for the sampler.
///
/// # Errors
/// [`EnvironmentError`] for a variable by which other code could be put in front of the driver's library.
pub fn allowed_environment(names: &[String]) -> Result<Vec<(OsString, OsString)>, EnvironmentError> {
    if let Some(name) = names
        .iter()
        .find(|n| n.starts_with("LD_") || n.starts_with("GLIBC_"))
    {
        return Err(EnvironmentError { name: name.clone() });
    }
    Ok(names
        .iter()
        .filter_map(|name| Some((name.into(), std::env::var_os(name)?)))
        .collect())
}

/// Takes every variable of this process for the sampler, but those by which other code could be put in front of the library.
#[must_use]
pub fn inherited_environment() -> Vec<(OsString, OsString)> {
    std::env::vars_os()
        .filter(|(name, _)| {
            let name = name.to_string_lossy();
            !(name.starts_with("LD_") || name.starts_with("GLIBC_"))
        })
        .collect()
}

/// What the reporter hears of the sampler.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every event is a frame, and one a second passes: a box would cost more than it saves"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SamplerEvent {
    /// What the sampler said: an inventory, a tick or a notice.
    Frame(Frame),
    /// The sampler ended by itself, could not be started, or said what no sampler says.
    Died {
        /// When.
        at: BootNanos,
        /// Why, for the operator's log.
        reason: String,
    },
    /// A call did not return; its process was abandoned.
    Hung {
        /// When the sampler was given up.
        at: BootNanos,
        /// The driver's index of the device, where it was in a call to one.
        index: Option<u16>,
        /// The position of that device in the last inventory, where it is in it.
        device: Option<u16>,
    },
    /// A call to DCGM's host engine did not return; its process was abandoned, and the next one leaves the engine alone for
    /// a while. No device hangs.
    HostEngineHung {
        /// When the sampler was given up.
        at: BootNanos,
    },
    /// A sampler was started in place of one that died or hung.
    Restarted {
        /// When.
        at: BootNanos,
    },
    /// The sampler let go of the driver on request, and ended; or none ran, and none is started.
    Released {
        /// When.
        at: BootNanos,
        /// Processes that were abandoned in a call and still hold the driver.
        left_behind: usize,
    },
    /// So many processes are left behind in calls that did not return that no sampler is started before one of them
    /// ends.
    Crowded {
        /// When.
        at: BootNanos,
        /// How many.
        left_behind: usize,
    },
    /// A sampler was started after a release.
    Resumed {
        /// When.
        at: BootNanos,
    },
}

enum Order {
    Release,
    Resume,
    Survey,
    Shutdown,
}

/// A sampler under supervision.
#[derive(Debug)]
pub struct Supervisor {
    orders: mpsc::Sender<Order>,
    task: JoinHandle<()>,
}

impl Supervisor {
    /// Starts a sampler. Its events come through the receiver; the sampler stops when that is dropped.
    ///
    /// Must be called within a tokio runtime.
    #[must_use]
    pub fn start(options: SupervisorOptions, clock: Arc<dyn Clock>) -> (Self, mpsc::Receiver<SamplerEvent>) {
        let (orders, heard) = mpsc::channel(8);
        let (events, receiver) = mpsc::channel(EVENTS);
        let task = tokio::spawn(Supervision::new(options, clock, events).run(heard));
        (Self { orders, task }, receiver)
    }

    /// Lets go of the driver: the sampler ends. [`SamplerEvent::Released`] follows.
    pub async fn release(&self) {
        self.tell(Order::Release).await;
    }

    /// Takes the driver up again after a release.
    pub async fn resume(&self) {
        self.tell(Order::Resume).await;
    }

    /// Surveys all devices now; an inventory follows.
    pub async fn survey(&self) {
        self.tell(Order::Survey).await;
    }

    /// Lets go of the driver and ends. The receiver must still be read, or be dropped, for this to return.
    pub async fn shutdown(self) {
        self.tell(Order::Shutdown).await;
        // The task ends by itself; a panic in it has been printed, and there is nothing to add.
        self.task.await.ok();
    }

    async fn tell(&self, order: Order) {
        // It fails only when the supervision has ended, and then the order is carried out already.
        self.orders.send(order).await.ok();
    }
}

/// How a sampler's life ended.
enum End {
    Died(String),
    Hung(Option<u16>),
    Released,
    Shutdown,
}

/// Nobody listens to the events any more.
struct Gone;

struct Supervision {
    options: SupervisorOptions,
    clock: Arc<dyn Clock>,
    events: mpsc::Sender<SamplerEvent>,
    known: Option<Inventory>,
    avoided: Avoided,
    /// One for each process that may be left behind; each that is holds one until it ends.
    places: Arc<Semaphore>,
    wait: Duration,
}

impl Supervision {
    fn new(options: SupervisorOptions, clock: Arc<dyn Clock>, events: mpsc::Sender<SamplerEvent>) -> Self {
        Self {
            options,
            clock,
            events,
            known: None,
            avoided: Avoided::default(),
            places: Arc::new(Semaphore::new(MOST_ABANDONED)),
            wait: SHORTEST_WAIT,
        }
    }

    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        // Nobody listening any more ends it as well.
        while let Ok(true) = self.next(&mut orders).await {}
    }

    /// Lives through one sampler, and through the wait after it; false where the supervision ends.
    async fn next(&mut self, orders: &mut mpsc::Receiver<Order>) -> Result<bool, Gone> {
        let mut end = match self.life(orders).await {
            Ok(end) => end,
            Err(error) => End::Died(format!("the sampler could not be started: {error}")),
        };
        loop {
            let at = self.clock.boot_now();
            let mut resumed_now = false;
            let wait = match end {
                End::Shutdown => return Ok(false),
                End::Released => {
                    let left_behind = self.left_behind();
                    self.tell(SamplerEvent::Released { at, left_behind }).await?;
                    if !resumed(orders).await {
                        return Ok(false);
                    }
                    resumed_now = true;
                    Duration::ZERO
                }
                End::Died(reason) => {
                    self.tell(SamplerEvent::Died { at, reason }).await?;
                    self.longer_wait()
                }
                End::Hung(Some(HOST_ENGINE)) => {
                    self.tell(SamplerEvent::HostEngineHung { at }).await?;
                    self.avoided.add(HOST_ENGINE);
                    Duration::ZERO
                }
                End::Hung(index) => {
                    let device = index.and_then(|i| self.position(i));
                    self.tell(SamplerEvent::Hung { at, index, device }).await?;
                    // Where one device hung the others are read on at once; anything else may happen again at once.
                    match index {
                        Some(index) => {
                            self.avoided.add(index);
                            Duration::ZERO
                        }
                        None => self.longer_wait(),
                    }
                }
            };
            if let Some(ordered) = self.pause(wait, orders).await? {
                end = ordered;
                continue;
            }
            let at = self.clock.boot_now();
            self.tell(if resumed_now {
                SamplerEvent::Resumed { at }
            } else {
                SamplerEvent::Restarted { at }
            })
            .await?;
            return Ok(true);
        }
    }

    /// The wait before the next try, longer from time to time.
    fn longer_wait(&mut self) -> Duration {
        let wait = self.wait;
        self.wait = wait.saturating_mul(2).min(LONGEST_WAIT);
        wait
    }

    /// Waits before the next sampler is started: for `wait`, which an order to look cuts short, and for as long as too
    /// many processes are left behind. Returns how it ended where an order says so; there is no sampler to obey it.
    async fn pause(
        &mut self,
        wait: Duration,
        orders: &mut mpsc::Receiver<Order>,
    ) -> Result<Option<End>, Gone> {
        if self.places.available_permits() == 0 {
            let at = self.clock.boot_now();
            let left_behind = self.left_behind();
            self.tell(SamplerEvent::Crowded { at, left_behind }).await?;
        }
        let mut waited = pin!(sleep(wait));
        let mut still = true;
        loop {
            tokio::select! {
                () = &mut waited, if still => still = false,
                _ = self.places.acquire(), if !still => return Ok(None),
                order = orders.recv() => match order {
                    Some(Order::Resume | Order::Survey) => still = false,
                    Some(Order::Release) => return Ok(Some(End::Released)),
                    Some(Order::Shutdown) | None => return Ok(Some(End::Shutdown)),
                },
            }
        }
    }

    /// How many processes are left behind in calls that did not return.
    fn left_behind(&self) -> usize {
        MOST_ABANDONED.saturating_sub(self.places.available_permits())
    }

    /// Starts one sampler and listens to it until it ends one way or another.
    async fn life(&mut self, orders: &mut mpsc::Receiver<Order>) -> Result<End, io::Error> {
        let mut child = tokio::process::Command::new(&self.options.program)
            .args(&self.options.arguments)
            .env_clear()
            .envs(self.options.environment.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        let (Some(words), Some(frames)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let mut talk = Talk {
            words: Some(words),
            frames,
            buffer: Vec::with_capacity(8 << 10),
        };
        let start = Start {
            options: self.options.sampler.clone(),
            known: self.known.clone(),
            avoid: self.avoided.now(),
        };
        talk.say(&Command::start(start)).await;
        let end = self.listen(&mut talk, orders).await;
        match end {
            End::Released | End::Shutdown => self.say_goodbye(child, talk).await,
            End::Hung(_) => {
                self.abandon(child).await;
            }
            End::Died(reason) => {
                let status = self.abandon(child).await;
                return Ok(End::Died(match status {
                    Some(status) => format!("{reason} ({status})"),
                    None => reason,
                }));
            }
        }
        Ok(end)
    }

    async fn listen(&mut self, talk: &mut Talk, orders: &mut mpsc::Receiver<Order>) -> End {
        let deadline = Duration::from_millis(u64::from(self.options.sampler.call_deadline_ms));
        let silence = deadline.saturating_add(Duration::from_secs(1));
        let opening = Duration::from_millis(u64::from(self.options.sampler.open_deadline_ms));
        let longest_stand = opening.max(deadline).saturating_add(silence);
        let mut stands = None;
        let mut stuck = pin!(sleep(longest_stand));
        let mut quiet = pin!(sleep(silence));
        let mut asked = false;
        let mut ticks = 0u32;
        loop {
            tokio::select! {
                // What was said is heard before silence is judged.
                biased;
                frame = talk.hear() => {
                    let frame = match frame {
                        Ok(frame) => frame,
                        Err(PipeError::Closed) => return End::Died("the sampler's process ended".to_owned()),
                        Err(error) => return End::Died(error.to_string()),
                    };
                    if frame.links.is_some() {
                        // Read beside the driver: its thread may hang all the same.
                        if self.tell(SamplerEvent::Frame(frame)).await.is_err() {
                            return End::Shutdown;
                        }
                        continue;
                    }
                    asked = false;
                    quiet.set(sleep(silence));
                    if let Some(notice) = &frame.notice
                        && notice.kind == NoticeKind::Calling
                    {
                        let age = Duration::from_nanos(self.clock.boot_now().since(notice.at));
                        if age >= deadline {
                            return End::Hung(notice.device);
                        }
                        let place = Some((notice.device, notice.text.clone()));
                        if place != stands {
                            stands = place;
                            stuck.set(sleep(longest_stand));
                        }
                        continue;
                    }
                    stuck.set(sleep(longest_stand));
                    if frame.tick.as_ref().is_some_and(|t| t.kind == TickKind::Regular) {
                        ticks = ticks.saturating_add(1);
                        if ticks == HEALTHY_TICKS {
                            self.wait = SHORTEST_WAIT;
                        }
                        // While a process still hangs in a call, none is made to the device that it hangs in.
                        let all_dead = self.left_behind() == 0;
                        for device in self.avoided.tick(all_dead) {
                            talk.say(&Command::readmit(device)).await;
                        }
                    }
                    if let Some(inventory) = &frame.inventory {
                        self.known = Some(inventory.clone());
                    }
                    if self.tell(SamplerEvent::Frame(frame)).await.is_err() {
                        return End::Shutdown;
                    }
                }
                order = orders.recv() => match order {
                    Some(Order::Release) => return End::Released,
                    Some(Order::Survey) => talk.say(&Command::word(Word::Survey)).await,
                    Some(Order::Resume) => {}
                    Some(Order::Shutdown) | None => return End::Shutdown,
                },
                // Whatever it says: what it does between two answers alike takes longer than any call may.
                () = &mut stuck => return End::Hung(stands.and_then(|(device, _)| device)),
                () = &mut quiet => {
                    if asked {
                        // Not even the thread that only listens answers: the process is stopped, or starved.
                        return End::Hung(None);
                    }
                    asked = true;
                    quiet.set(sleep(deadline));
                    talk.say(&Command::word(Word::WhereAreYou)).await;
                }
            }
        }
    }

    /// Tells the sampler to let go, and waits until it has.
    async fn say_goodbye(&self, mut child: Child, mut talk: Talk) {
        talk.say(&Command::word(Word::Quit)).await;
        talk.words = None;
        let gone = async {
            // What it still has to say is let pass, so that it is not kept by a full pipe.
            while talk.hear().await.is_ok() {}
            child.wait().await
        };
        if timeout(LONGEST_GOODBYE, gone).await.is_err() {
            self.abandon(child).await;
        }
    }

    /// Kills the sampler, and leaves it behind if it does not die.
    async fn abandon(&self, mut child: Child) -> Option<std::process::ExitStatus> {
        // It fails only when the process has ended already.
        child.start_kill().ok();
        match timeout(LONGEST_DEATH, child.wait()).await {
            Ok(status) => status.ok(),
            Err(_) => {
                // There is one: no sampler is started before a place is free, and each leaves at most itself behind.
                let place = self.places.clone().try_acquire_owned();
                tokio::spawn(async move {
                    child.wait().await.ok();
                    drop(place);
                });
                None
            }
        }
    }

    fn position(&self, index: u16) -> Option<u16> {
        let devices = &self.known.as_ref()?.devices;
        u16::try_from(devices.iter().position(|d| d.index == index)?).ok()
    }

    async fn tell(&self, event: SamplerEvent) -> Result<(), Gone> {
        self.events.send(event).await.map_err(|_| Gone)
    }
}

/// Waits until the driver shall be taken up again; false where that will not be.
async fn resumed(orders: &mut mpsc::Receiver<Order>) -> bool {
    loop {
        match orders.recv().await {
            Some(Order::Resume) => return true,
            Some(Order::Release | Order::Survey) => {}
            Some(Order::Shutdown) | None => return false,
        }
    }
}

/// Both ends of the conversation with one sampler.
struct Talk {
    words: Option<ChildStdin>,
    frames: ChildStdout,
    buffer: Vec<u8>,
}

impl Talk {
    /// The next frame. Nothing is lost when the wait for it is given up.
    async fn hear(&mut self) -> Result<Frame, PipeError> {
        loop {
            if let Some(frame) = pipe::take(&mut self.buffer)? {
                return Ok(frame);
            }
            self.buffer.reserve(8 << 10);
            if self.frames.read_buf(&mut self.buffer).await? == 0 {
                return Err(PipeError::Closed);
            }
        }
    }

    /// Says something. A sampler that does not hear any more is found out by its silence.
    async fn say(&mut self, command: &Command) {
        let mut bytes = Vec::with_capacity(256);
        pipe::put(command, &mut bytes);
        if let Some(words) = &mut self.words {
            let said = timeout(SHORTEST_WAIT, words.write_all(&bytes)).await;
            if !matches!(said, Ok(Ok(()))) {
                self.words = None;
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
