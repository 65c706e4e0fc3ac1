//! The child process: owns the driver, writes frames, hears words.
//!
//! Decides: nothing about a hung call, which it cannot end; it only tells where it stands when asked. One thread owns
//! the driver, because calls into it serialise on one lock anyway; the other waits for words. Both sleep until there is
//! something to do. The process opens no socket but, where the operator names one, that of a DCGM host engine on this machine
//! (see [`crate::devices::dcgm`]). The end of the words is the end of the process, so it never outlives its parent by more than a call.

use super::pipe::{self, Command, PipeError, SamplerOptions, Start, Word};
use super::schedule::{Due, Schedule};
use super::watch::Watch;
use crate::clock::{Clock, SystemClock};
use crate::devices::links::LinkReader;
use crate::devices::nvml::NvmlSource;
use crate::devices::{Call, DeviceSource, HOST_ENGINE, system};
use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use weighbridge::telemetry::{Frame, Notice, NoticeKind};
use weighbridge::time::{BootNanos, SECOND};

/// How long the driver may take to be let go of before the process ends without: without persistence mode it stops its
/// devices then, which takes seconds.
const LONGEST_GOODBYE: Duration = Duration::from_secs(10);

/// From one look at the host's network links to the next.
const LINKS_EVERY: Duration = Duration::from_secs(1);

/// Environment variables by which the dynamic linker puts other code into a process.
const PRELOADING: [&str; 3] = ["LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT"];

/// Someone put other code in front of the driver's library.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} is set: the driver's library is not loaded with other code in front of it")]
pub struct Preloaded {
    /// The variable.
    pub name: &'static str,
}

/// Looks for variables by which the dynamic linker would put other code in front of the driver's library.
///
/// # Errors
/// [`Preloaded`] where one is set.
pub fn preloaded() -> Result<(), Preloaded> {
    let set = |name: &&str| std::env::var_os(name).is_some();
    match PRELOADING.into_iter().find(set) {
        Some(name) => Err(Preloaded { name }),
        None => Ok(()),
    }
}

/// Why the sampler's process could not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChildError {
    /// Someone put other code in front of the driver's library.
    #[error(transparent)]
    Preloaded(#[from] Preloaded),
    /// Standard output could not be taken.
    #[error("the sampler's standard output could not be set up")]
    Output(#[source] io::Error),
    /// The first message was not the one that begins the work.
    #[error("the sampler was not told how to begin: it is started by `weighbridge-agent run`, not by hand")]
    NotStarted(#[source] Option<PipeError>),
    /// The thread could not be started.
    #[error("the sampler could not start a thread")]
    Thread(#[source] io::Error),
}

/// What the owner of the driver is told.
enum Order {
    Survey,
    Readmit(u16),
    Quit,
}

/// Runs the child process: frames go to standard output, commands come from standard input.
///
/// Returns when told to quit or when standard input ends, after the driver was let go of.
///
/// # Errors
/// [`ChildError`] where it cannot begin.
pub fn run() -> Result<(), ChildError> {
    system::ignore_stop_signals();
    preloaded()?;
    let output = system::take_stdout().map_err(ChildError::Output)?;
    serve(&mut io::stdin().lock(), output)
}

/// Works as the child between these two ends.
pub(super) fn serve(input: &mut impl Read, output: File) -> Result<(), ChildError> {
    let start = match pipe::read::<Command>(input) {
        Ok(Command {
            start: Some(start), ..
        }) => start,
        Ok(_) => return Err(ChildError::NotStarted(None)),
        Err(error) => return Err(ChildError::NotStarted(Some(error))),
    };

    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let output = Arc::new(Output::new(output));
    let place = Arc::new(Place::new(&start.options));
    let (orders, heard) = mpsc::channel();
    let (gone, ended) = mpsc::channel();
    let mut links = LinkReader::new(PathBuf::from(&start.options.sysfs));
    let owner = {
        let (clock, output, place) = (clock.clone(), output.clone(), place.clone());
        move || {
            // An error means that nobody reads any more; either way the driver was let go of.
            own(start, &heard, clock, &output, &place).ok();
            gone.send(()).ok();
        }
    };
    let look = {
        let (clock, output) = (clock.clone(), output.clone());
        move || watch_links(&mut links, clock.as_ref(), &output)
    };
    let spawn = |name: &str| thread::Builder::new().name(name.into());
    spawn("driver").spawn(owner).map_err(ChildError::Thread)?;
    spawn("links").spawn(look).map_err(ChildError::Thread)?;

    hear(input, &orders, clock.as_ref(), &output, &place);
    orders.send(Order::Quit).ok();
    // A call that hangs keeps the owner from hearing; the process then ends over it.
    ended.recv_timeout(LONGEST_GOODBYE).ok();
    Ok(())
}

/// Hears commands until told to quit, or until they end.
fn hear(input: &mut impl Read, orders: &Sender<Order>, clock: &dyn Clock, output: &Output, place: &Place) {
    loop {
        let order = match pipe::read::<Command>(input) {
            Ok(Command {
                readmit: Some(device),
                ..
            }) => Order::Readmit(device),
            Ok(Command {
                word: Some(Word::Survey),
                ..
            }) => Order::Survey,
            Ok(Command {
                word: Some(Word::WhereAreYou),
                ..
            }) => {
                if output.send(&place.told(clock.boot_now())).is_err() {
                    return;
                }
                continue;
            }
            Ok(_) | Err(_) => return,
        };
        if orders.send(order).is_err() {
            return;
        }
    }
}

/// Tells the counters of the host's network links, until nobody listens. A card may take its time to answer, or never do;
/// the devices are read meanwhile.
fn watch_links(links: &mut LinkReader, clock: &dyn Clock, output: &Output) {
    while output.send(&links.read(clock.boot_now()).into()).is_ok() {
        thread::sleep(LINKS_EVERY);
    }
}

/// Owns the driver: does what is due when it is due, and what it is told in between.
fn own(
    start: Start,
    heard: &Receiver<Order>,
    clock: Arc<dyn Clock>,
    output: &Output,
    place: &Place,
) -> io::Result<()> {
    let mut source = NvmlSource::new(start.options.devices(), clock.clone());
    if let Some(known) = &start.known {
        source.remember(known);
    }
    for device in start.avoid {
        source.avoid(device);
    }
    let options = start.options;
    let drawn = || RandomState::new().build_hasher().finish();
    let looks = options.looks(drawn());
    let schedule = Schedule::new(
        clock.boot_now(),
        options.bursts(drawn()),
        looks,
        u64::from(options.check_s).saturating_mul(SECOND),
        u64::from(options.survey_s).saturating_mul(SECOND),
    );
    let mut watch = Watch::new(source, clock.clone(), schedule, looks);
    let mut calling = |call| place.enter(call, clock.boot_now());
    let mut emit = |frame: Frame| output.send(&frame);

    watch.survey(true, &mut calling, &mut emit)?;
    let program = system::let_go_of_start();
    loop {
        let (at, due) = watch.next();
        let wait = Duration::from_nanos(at.since(clock.boot_now()));
        match heard.recv_timeout(wait) {
            Ok(Order::Survey) => watch.survey(true, &mut calling, &mut emit)?,
            Ok(Order::Readmit(device)) => {
                watch.readmit(device);
                watch.survey(true, &mut calling, &mut emit)?;
            }
            Ok(Order::Quit) | Err(RecvTimeoutError::Disconnected) => break,
            // The wait is counted in time that stands still in suspend, and may end a little early.
            Err(RecvTimeoutError::Timeout) if clock.boot_now() < at => {}
            Err(RecvTimeoutError::Timeout) => {
                watch.perform(due, &mut calling, &mut emit)?;
                // What is done seldom took more of the program than ticks do.
                if matches!(due, Due::Check | Due::Survey) {
                    program.let_go();
                }
            }
        }
    }
    watch.release();
    Ok(())
}

/// The end of the pipe on which frames go out, and the memory in which they are written.
struct Output(Mutex<(File, Vec<u8>)>);

impl Output {
    fn new(pipe: File) -> Self {
        Self(Mutex::new((pipe, Vec::with_capacity(8 << 10))))
    }

    fn send(&self, frame: &Frame) -> io::Result<()> {
        let mut both = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (pipe, buffer) = &mut *both;
        buffer.clear();
        pipe::put(frame, buffer);
        pipe.write_all(buffer)
    }
}

/// Where the owner of the driver stands: in which call, and since when. Written before every call, read when the
/// parent asks.
struct Place {
    call: AtomicU64,
    since: AtomicU64,
    open_deadline: u64,
    call_deadline: u64,
}

impl Place {
    const NONE: u64 = 0;
    const DRIVER: u64 = 1;
    const IDENTIFY: u64 = 1 << 16;
    const SAMPLE: u64 = 1 << 17;
    const HOST_ENGINE: u64 = 1 << 18;

    fn new(options: &SamplerOptions) -> Self {
        let nanos = |ms: u32| u64::from(ms).saturating_mul(1_000_000);
        Self {
            call: AtomicU64::new(Self::NONE),
            since: AtomicU64::new(0),
            open_deadline: nanos(options.open_deadline_ms),
            call_deadline: nanos(options.call_deadline_ms),
        }
    }

    fn enter(&self, call: Call, now: BootNanos) {
        let code = match call {
            Call::None => Self::NONE,
            Call::Driver => Self::DRIVER,
            Call::Identify(device) => Self::IDENTIFY | u64::from(device),
            Call::Sample(device) => Self::SAMPLE | u64::from(device),
            Call::HostEngine => Self::HOST_ENGINE | u64::from(HOST_ENGINE),
        };
        self.since.store(now.0, Ordering::Relaxed);
        self.call.store(code, Ordering::Release);
    }

    /// The answer to the parent: the time at which the call in progress began if it is overdue, else the present.
    fn told(&self, now: BootNanos) -> Frame {
        let code = self.call.load(Ordering::Acquire);
        let since = BootNanos(self.since.load(Ordering::Relaxed));
        let device = u16::try_from(code & 0xffff).ok();
        let (deadline, device, what) = match code {
            Self::NONE => (u64::MAX, None, "no call is in progress".to_owned()),
            Self::DRIVER => (
                self.open_deadline,
                None,
                "opening the driver, or looking at its library or the bus".to_owned(),
            ),
            c if c & Self::IDENTIFY != 0 => (
                self.open_deadline,
                device,
                format!("identifying GPU {}", c & 0xffff),
            ),
            c if c & Self::HOST_ENGINE != 0 => {
                (self.call_deadline, device, "asking DCGM's host engine".to_owned())
            }
            c => (self.call_deadline, device, format!("reading GPU {}", c & 0xffff)),
        };
        let overdue = now.since(since) >= deadline;
        Frame::from(Notice {
            at: if overdue { since } else { now },
            kind: NoticeKind::Calling,
            device,
            text: what,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(place: &Place, now: u64) -> (u64, Option<u16>) {
        let notice = place.told(BootNanos(now)).notice.unwrap();
        (notice.at.0, notice.device)
    }

    #[test]
    fn a_call_is_named_with_its_beginning_once_it_is_overdue() {
        let place = Place::new(&SamplerOptions::default());
        assert_eq!(told(&place, SECOND), (SECOND, None));
        place.enter(Call::Sample(3), BootNanos(SECOND));
        assert_eq!(told(&place, 2 * SECOND), (2 * SECOND, Some(3)));
        assert_eq!(told(&place, 3 * SECOND), (SECOND, Some(3)));
        place.enter(Call::Identify(4), BootNanos(SECOND));
        assert_eq!(told(&place, 3 * SECOND), (3 * SECOND, Some(4)));
        assert_eq!(told(&place, 61 * SECOND), (SECOND, Some(4)));
        place.enter(Call::HostEngine, BootNanos(SECOND));
        assert_eq!(told(&place, 3 * SECOND), (SECOND, Some(HOST_ENGINE)));
        place.enter(Call::None, BootNanos(SECOND));
        assert_eq!(told(&place, 99 * SECOND), (99 * SECOND, None));
    }

    #[test]
    fn commands_are_heard_until_they_end_or_make_no_sense() {
        let mut bytes = Vec::new();
        pipe::put(&Command::readmit(5), &mut bytes);
        pipe::put(&Command::word(Word::Survey), &mut bytes);
        pipe::put(&Command::word(Word::Quit), &mut bytes);
        pipe::put(&Command::readmit(6), &mut bytes);
        let (orders, heard) = mpsc::channel();
        let output = Output::new(File::options().write(true).open("/dev/null").unwrap());
        let place = Place::new(&SamplerOptions::default());
        hear(&mut &bytes[..], &orders, &SystemClock, &output, &place);
        drop(orders);
        let told: Vec<_> = heard.iter().collect();
        assert!(matches!(told[..], [Order::Readmit(5), Order::Survey]));
    }
}
