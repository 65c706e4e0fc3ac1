//! The agent in this process, on a replayed machine and a clock that is moved by hand: hours pass in seconds.
//!
//! Decides: nothing that the agent decides. NVML is loaded the way the agent loads it, from a file of the machine's own, since a copy of
//! the replay library plays one machine; the sampler, the meter, the chain and the spool are the agent's. Only the pipe between sampler
//! and reporter and the delivery are left out. Does not establish how the agent behaves in real time, or when a call hangs: a hanging
//! call hangs the test.
#![allow(
    unsafe_code,
    reason = "the replay library is set to a scenario and a time through its exports"
)]

use crate::chance::Chance;
use crate::process::replay_library;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use weighbridge::accelerator::Catalogue;
use weighbridge::crypto::Entropy;
use weighbridge::id::{BootId, Digest, NodeId, VerifierId};
use weighbridge::report::{ClockSource, Leaf, OpenedReport, VerifiedReport};
use weighbridge::telemetry::Frame;
use weighbridge::time::{BootNanos, SECOND, UnixSeconds};
use weighbridge_agent::clock::{Clock, VirtualClock};
use weighbridge_agent::devices::host::HostFacts;
use weighbridge_agent::devices::nvml::{NvmlOptions, NvmlSource};
use weighbridge_agent::keys::NodeKey;
use weighbridge_agent::sampler::{Bursts, InProcess, Looks};
use weighbridge_agent::service::{Identity, KeptLeaves, Now, Reporter};
use weighbridge_agent::spool::{Spool, Standing};

/// The wall clock of every replayed machine at its boot.
const WALL_AT_BOOT: UnixSeconds = UnixSeconds(1_790_000_000);

/// When the agent starts: not on a whole second, as no agent does, so that no tick stands where a report ends.
const START: BootNanos = BootNanos(SECOND / 4);

/// The bursts that an agent takes: a minute at 10 Hz in every ten.
pub const BURSTS: Bursts = Bursts {
    period: 600 * SECOND,
    length: 60 * SECOND,
    interval: SECOND / 10,
    seed: 1,
};

/// No bursts.
pub const NO_BURSTS: Bursts = Bursts { period: 0, ..BURSTS };

/// The looks at the clocks that an agent takes.
pub const LOOKS: Looks = Looks { parts: 8, seed: 1 };

/// A machine whose NVML library plays a scenario on a virtual clock.
#[derive(Debug)]
pub struct Machine {
    /// What the library plays.
    pub scenario: nvidia_ml::Scenario,
    /// Its files.
    pub dir: tempfile::TempDir,
    /// The library's own file.
    pub library: PathBuf,
    /// The machine's clock.
    pub clock: Arc<VirtualClock>,
    loaded: Arc<libloading::Library>,
}

impl Machine {
    /// A machine that plays `scenario` (TOML); its UUIDs and serial numbers follow from `name`.
    ///
    /// # Panics
    /// Where the replay library is not built or the scenario cannot be read.
    #[must_use]
    pub fn new(name: &str, scenario: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let library = dir.path().join("libnvidia-ml.so.1");
        std::fs::copy(replay_library(), &library).unwrap();
        let file = dir.path().join(format!("{name}.toml"));
        std::fs::write(&file, scenario).unwrap();
        let scenario = nvidia_ml::Scenario::load(&file).unwrap_or_else(|e| panic!("{name}: {e}"));
        nvidia_ml::write_sysfs(&scenario, &dir.path().join("sys")).unwrap();
        let clock = Arc::new(VirtualClock::new(WALL_AT_BOOT));
        clock.move_to(START);
        Self {
            scenario,
            loaded: load(&library, &file),
            library,
            dir,
            clock,
        }
    }

    /// Its devices, as the agent opens them.
    #[must_use]
    pub fn source(&self) -> NvmlSource {
        let options = NvmlOptions {
            library: Some(self.library.clone()),
            sysfs: self.dir.path().join("sys"),
            host_engine: None,
        };
        NvmlSource::new(options, self.clock.clone())
    }

    /// Its sampler.
    #[must_use]
    pub fn sampler(&self, bursts: Bursts) -> InProcess<NvmlSource> {
        self.sampler_looking(bursts, LOOKS)
    }

    /// Its sampler, with so many looks at the clocks.
    #[must_use]
    pub fn sampler_looking(&self, bursts: Bursts, looks: Looks) -> InProcess<NvmlSource> {
        InProcess::new(self.source(), self.clock.clone(), bursts, looks, self.hands())
    }

    /// Sets the time that the library plays at.
    fn hands(&self) -> impl Fn(BootNanos) + 'static {
        let loaded = self.loaded.clone();
        move |at| {
            // SAFETY: the function takes one number and keeps no pointer; the library stays loaded as long as this closure.
            unsafe {
                let set: libloading::Symbol<'_, unsafe extern "C" fn(u64)> =
                    loaded.get(b"weighbridge_replay_set_time_ns\0").unwrap();
                set(at.0);
            }
        }
    }
}

/// Loads a copy of the replay library and names its scenario.
fn load(library: &Path, scenario: &Path) -> Arc<libloading::Library> {
    let path = std::ffi::CString::new(scenario.to_str().unwrap()).unwrap();
    // SAFETY: the replay library runs no code when it is loaded; its function reads the path, which ends in a zero, and copies it.
    unsafe {
        let loaded = libloading::Library::new(library).unwrap_or_else(|e| panic!("{e}"));
        let name: libloading::Symbol<'_, unsafe extern "C" fn(*const std::ffi::c_char) -> u32> =
            loaded.get(b"weighbridge_replay_scenario\0").unwrap();
        assert_eq!(name(path.as_ptr()), 0, "the scenario is taken");
        Arc::new(loaded)
    }
}

/// A report as it was sealed, and what stays on the node of it.
#[derive(Debug)]
pub struct Sealed {
    /// The report, its signature checked.
    pub report: VerifiedReport,
    /// Bytes that leave the node.
    pub bytes: usize,
    /// The leaves under its roots, each checked against its root.
    pub leaves: Vec<Leaf>,
}

/// The agent on a machine.
#[derive(Debug)]
pub struct Played {
    /// The machine.
    pub machine: Machine,
    sampler: InProcess<NvmlSource>,
    reporter: Reporter,
    spool: Arc<Spool>,
    key: NodeKey,
    /// How many of a hundred ticks are lost on their way to the reporter.
    lost: Option<(u64, Chance)>,
}

impl Played {
    /// An agent that reports every 300 s.
    #[must_use]
    pub fn new(name: &str, scenario: &str, bursts: Bursts) -> Self {
        Self::reporting_every(name, scenario, bursts, 300)
    }

    /// An agent that reports every `seconds`.
    ///
    /// # Panics
    /// Where its files cannot be written.
    #[must_use]
    pub fn reporting_every(name: &str, scenario: &str, bursts: Bursts, seconds: u32) -> Self {
        let machine = Machine::new(name, scenario);
        let entropy = Entropy::system();
        let key = NodeKey::load_or_create(&machine.dir.path().join("node.key"), &entropy).unwrap();
        let (spool, _) = Spool::open(&machine.dir.path().join("spool.redb"), 1 << 30, &entropy).unwrap();
        let standing = Standing {
            report_seconds: seconds,
            trial: seconds < 60,
            ..Standing::default()
        };
        spool.remember(&standing).unwrap();
        let spool = Arc::new(spool);
        let identity = Identity {
            verifier: VerifierId([3; 32]),
            node: NodeId([1; 17]),
        };
        let facts = HostFacts {
            kernel: "6.12.0-amd64".to_owned(),
            cpus: 192,
            memory_mib: 2_064_000,
            boot_id: BootId([9; 16]),
            agent_digest: Digest([8; 32]),
        };
        let now = now(&machine.clock);
        let reporter = Reporter::new(
            spool.clone(),
            key.clone(),
            identity,
            facts,
            Catalogue::embedded().unwrap(),
            &entropy,
            now,
        )
        .unwrap();
        Self {
            sampler: machine.sampler(bursts),
            machine,
            reporter,
            spool,
            key,
            lost: None,
        }
    }

    /// Loses `percent` of the ticks from now on.
    #[must_use]
    pub fn losing(mut self, percent: u64, chance: Chance) -> Self {
        self.lost = Some((percent, chance));
        self
    }

    /// Plays until `second` of the machine's time.
    pub fn until(&mut self, second: u64) {
        while self.machine.clock.boot_now().0 < second * SECOND {
            self.step();
        }
    }

    /// Plays one frame, and gives it.
    ///
    /// # Panics
    /// Where a report cannot be sealed.
    pub fn step(&mut self) -> Frame {
        let frame = self.sampler.next_frame();
        let now = now(&self.machine.clock);
        let lost = self
            .lost
            .as_mut()
            .is_some_and(|(percent, chance)| frame.tick.is_some() && chance.within(0..100) < *percent);
        if !lost {
            self.reporter.frame(&frame, now).unwrap();
        }
        self.reporter.advance(now).unwrap();
        frame
    }

    /// Ends the report in the making, as a stop of the agent does.
    ///
    /// # Panics
    /// Where it cannot be sealed.
    pub fn finish(&mut self) {
        self.reporter.finish(now(&self.machine.clock)).unwrap();
    }

    /// Every report so far, the oldest first.
    ///
    /// # Panics
    /// Where one does not verify, or a leaf does not lie under its root.
    #[must_use]
    pub fn reports(&self) -> Vec<Sealed> {
        let mut all = Vec::new();
        let mut from = 0;
        while let Some(waiting) = self.spool.next_waiting(from).unwrap() {
            from = waiting.ordinal + 1;
            let (chain, sequence) = (waiting.link.chain, waiting.link.sequence);
            let (_, bundle, windows) = self.spool.report_at(Some(chain), sequence).unwrap().unwrap();
            let opened = OpenedReport::open(&bundle).unwrap();
            let shown = KeptLeaves::show(&windows, &opened, None).unwrap();
            all.push(Sealed {
                report: opened.verify(self.key.signer.public_key()).unwrap(),
                bytes: bundle.len(),
                leaves: shown.into_iter().map(|s| s.leaf).collect(),
            });
        }
        all
    }
}

fn now(clock: &VirtualClock) -> Now {
    Now {
        boot: clock.boot_now(),
        wall: clock.wall_now(),
        source: ClockSource::Synchronised,
    }
}
