//! The agent's binary in a directory of its own.

use super::{Running, must, program, replay_library};
use crate::outage::Outage;
use serde_json::Value;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use weighbridge::report::OpenedReport;
use weighbridge_agent::service::{Ask, Request, ask};

/// An agent in a directory of its own, on a replayed node.
#[derive(Debug)]
pub struct Agent {
    /// Its state.
    pub state: PathBuf,
    /// Its configuration.
    pub config: PathBuf,
    /// The scenario that its NVML library plays.
    pub scenario: PathBuf,
    /// The NVML library that it loads.
    pub library: PathBuf,
    dir: PathBuf,
    environment: Vec<(&'static str, OsString)>,
    running: Option<Running>,
}

impl Agent {
    /// An agent under `dir` whose NVML library plays `scenario` (TOML).
    ///
    /// # Panics
    /// Where its files cannot be written.
    #[must_use]
    pub fn new(dir: &Path, name: &str, scenario: &str) -> Self {
        let dir = dir.join(name);
        std::fs::create_dir_all(&dir).unwrap();
        // A library of its own, so that a test can swap it.
        let library = dir.join("libnvidia-ml.so.1");
        std::fs::copy(replay_library(), &library).unwrap();
        // The devices of a scenario follow from its file's name: two names are two machines.
        let path = dir.join(format!("{name}.toml"));
        std::fs::write(&path, scenario).unwrap();
        let sysfs = dir.join("sys");
        let parsed = nvidia_ml::Scenario::load(&path).unwrap_or_else(|e| panic!("{e}"));
        nvidia_ml::write_sysfs(&parsed, &sysfs).unwrap();
        let config = dir.join("weighbridge-agent.toml");
        let text = format!(
            "state_dir = {:?}\nnvml_path = {:?}\nsysfs_root = {:?}\nsampler_environment = [\"WEIGHBRIDGE_REPLAY_SCENARIO\"]\nallow_trial = true\n",
            dir.join("state"),
            library,
            sysfs
        );
        std::fs::write(&config, text).unwrap();
        Self {
            state: dir.join("state"),
            config,
            scenario: path,
            library,
            dir,
            environment: Vec::new(),
            running: None,
        }
    }

    /// An agent on the machine's own driver and devices.
    ///
    /// # Panics
    /// Where its files cannot be written.
    #[must_use]
    pub fn on_this_machine(dir: &Path, name: &str) -> Self {
        let dir = dir.join(name);
        std::fs::create_dir_all(&dir).unwrap();
        let config = dir.join("agent.toml");
        std::fs::write(
            &config,
            format!("state_dir = {:?}\nallow_trial = true\n", dir.join("state")),
        )
        .unwrap();
        let none = PathBuf::new();
        Self {
            state: dir.join("state"),
            config,
            scenario: none.clone(),
            library: none,
            dir,
            environment: Vec::new(),
            running: None,
        }
    }

    /// A command of this agent.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = program("weighbridge-agent");
        command
            .arg("--config")
            .arg(&self.config)
            .env("WEIGHBRIDGE_REPLAY_SCENARIO", &self.scenario);
        command
    }

    /// Enrols with a token.
    ///
    /// # Panics
    /// Where the verifier does not admit it.
    pub fn enrol(&self, token: &str) {
        must(self.command().args(["enrol", token]));
    }

    /// Lets it run over a disk that forgets.
    pub fn put_over(&mut self, disk: &Outage) {
        self.environment = disk.environment();
    }

    /// Starts `run`.
    pub fn run(&mut self) {
        self.running = Some(Running::start(
            self.command().envs(self.environment.clone()).arg("run"),
            &self.dir.join("agent.log"),
        ));
    }

    /// The process.
    ///
    /// # Panics
    /// Where it does not run.
    pub fn process(&mut self) -> &mut Running {
        self.running.as_mut().unwrap()
    }

    /// Kills it (SIGKILL).
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.kill();
        }
    }

    /// Ends it in order (SIGTERM).
    pub fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.terminate();
        }
    }

    /// Its devices, as `inventory --format json` lists them.
    ///
    /// # Panics
    /// Where it does not print JSON.
    #[must_use]
    pub fn inventory(&self) -> Value {
        let text = must(self.command().args(["inventory", "--format", "json"]));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    }

    /// Reads what the running agent has sealed since the last of `reports`, into these.
    ///
    /// # Panics
    /// Where it gives something that is no report.
    pub fn read_sealed(&self, reports: &mut Vec<OpenedReport>) {
        loop {
            let request = Request {
                ask: Ask::Report,
                chain: None,
                sequence: Some(reports.len() as u64 + 1),
                attribution: None,
            };
            // One that cannot be asked now is asked again.
            let answer = ask(&self.state.join("control.sock"), &request).ok();
            match answer.and_then(|a| a.bundle) {
                Some(bundle) => reports.push(OpenedReport::open(&bundle.0).unwrap()),
                None => return,
            }
        }
    }
}
