//! The real binaries, run as a person runs them: in a directory of their own, on loopback, and ended for good when dropped.

use crate::device_pki::Host;
use crate::outage::Outage;
use serde_json::Value;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long a program may take to say what it was started for. Generous: the machines that run this are slow and shared.
const PATIENCE: Duration = Duration::from_secs(60);

/// The directory of the binaries: where this program itself was built.
///
/// # Panics
/// Where the running program has no path.
#[must_use]
pub fn binaries() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let dir = own.parent().unwrap();
    if dir.ends_with("deps") {
        dir.parent().unwrap().to_path_buf()
    } else {
        dir.to_path_buf()
    }
}

/// One of the project's binaries.
///
/// # Panics
/// Where it is not built, saying how to build it.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let path = binaries().join(name);
    assert!(
        path.exists(),
        "{} is not built: run `cargo build --workspace` first",
        path.display()
    );
    path
}

/// A command of one of the project's binaries, free of what the caller's own environment sets for an agent or a verifier, a log or a proxy.
///
/// # Panics
/// Where it is not built, saying how to build it.
#[must_use]
pub fn program(name: &str) -> Command {
    let mut command = Command::new(binary(name));
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"WEIGHBRIDGE_") {
            command.env_remove(name);
        }
    }
    for name in ["RUST_LOG", "HTTPS_PROXY", "https_proxy"] {
        command.env_remove(name);
    }
    command
}

/// The replay library, built beside the binaries: the newer of the two, since each build writes only one of the places.
///
/// # Panics
/// Where it is not built, saying how to build it.
#[must_use]
pub fn replay_library() -> PathBuf {
    let built = |path: &PathBuf| std::fs::metadata(path).and_then(|m| m.modified()).ok();
    ["libnvidia_ml.so", "deps/libnvidia_ml.so"]
        .map(|place| binaries().join(place))
        .into_iter()
        .filter(|path| path.exists())
        .max_by_key(built)
        .expect("the replay library is not built: run `make replay` first")
}

/// A port on loopback that nobody uses now.
///
/// # Panics
/// Where loopback has none.
#[must_use]
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Runs a command to its end and demands success.
///
/// # Panics
/// Where it fails, with all it said.
pub fn must(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        output.status.success(),
        "{command:?} ended with {}:\n{}",
        output.status,
        said(&output)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// All that a command said.
#[must_use]
pub fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Waits until `done` gives something, asking a few times a second.
///
/// # Panics
/// Where it does not within a minute, naming `what`.
pub fn wait_for<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "waited {} s in vain for {what}",
            PATIENCE.as_secs()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A child that is killed when dropped, with what it has written so far.
#[derive(Debug)]
pub struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    log: PathBuf,
}

impl Running {
    /// Starts `command`; its output lands in `log` and can be waited for.
    ///
    /// # Panics
    /// Where it cannot be started.
    #[must_use]
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let errors = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .unwrap();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let stdout = child.stdout.take().unwrap();
        let (send, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            lines,
            log: log.to_path_buf(),
        }
    }

    /// Waits for a line of standard output that holds `text`.
    ///
    /// # Panics
    /// Where it does not come.
    #[must_use]
    pub fn expect_line(&self, text: &str) -> String {
        let begun = Instant::now();
        loop {
            match self.lines.recv_timeout(PATIENCE.saturating_sub(begun.elapsed())) {
                Ok(line) if line.contains(text) => return line,
                Ok(_) => {}
                Err(_) => panic!("no line with `{text}` came; the log says:\n{}", self.log()),
            }
        }
    }

    /// What it wrote to standard error.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The processes that it started and that still run.
    #[must_use]
    pub fn children(&self) -> Vec<u32> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid()));
        tasks
            .into_iter()
            .flatten()
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok())
            .flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .filter_map(|pid| pid.parse().ok())
            .collect()
    }

    /// Ends it and the processes that it started at once (SIGKILL), as a power cut would.
    pub fn kill_with_children(&mut self) {
        let children = self.children();
        self.child.kill().ok();
        if !children.is_empty() {
            // One may have ended by itself meanwhile.
            Command::new("kill")
                .arg("-KILL")
                .args(children.iter().map(u32::to_string))
                .stderr(Stdio::null())
                .status()
                .ok();
        }
        self.child.wait().ok();
    }

    /// Ends it alone: SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// Asks it to end (SIGTERM), and waits for how it does.
    ///
    /// # Panics
    /// Where it does not end.
    pub fn terminate(&mut self) -> ExitStatus {
        must(Command::new("kill").args(["-TERM", &self.child.id().to_string()]));
        wait_for("the program to end", || self.child.try_wait().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A verifier in a directory of its own.
#[derive(Debug)]
pub struct Verifier {
    /// Its state.
    pub state: PathBuf,
    /// Where agents reach it.
    pub url: String,
    /// Where it listens.
    pub listen: String,
    /// Configuration beside the addresses.
    flags: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
    running: Option<Running>,
}

impl Verifier {
    /// Makes a new verifier under `dir`, not yet serving.
    ///
    /// # Panics
    /// Where `init` fails.
    #[must_use]
    pub fn init(dir: &Path) -> Self {
        let state = dir.join("verifier");
        let listen = format!("127.0.0.1:{}", free_port());
        let verifier = Self {
            url: format!("https://{listen}"),
            state,
            listen,
            flags: Vec::new(),
            environment: Vec::new(),
            running: None,
        };
        must(verifier.command().arg("init"));
        verifier
    }

    /// A command of this verifier, with its state and address.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = program("weighbridge-verifier");
        command
            .arg("--state-dir")
            .arg(&self.state)
            .args(["--listen", &self.listen, "--url", &self.url])
            .args(&self.flags);
        command
    }

    /// Lets it serve with a key of the configuration set, by its environment variable.
    pub fn set(&mut self, variable: &'static str, value: impl Into<OsString>) {
        self.environment.push((variable, value.into()));
    }

    /// What `node show` says of the hardware evidence of the node that was enrolled first.
    ///
    /// # Panics
    /// Where there is no node.
    #[must_use]
    pub fn hardware_evidence(&self) -> Value {
        let read = |arguments: &[&str]| -> Value {
            let text = must(self.command().args(arguments).args(["--format", "json"]));
            serde_json::from_str(&text).unwrap()
        };
        let list = read(&["node", "list"]);
        let id = list["nodes"][0]["node"].as_str().unwrap();
        read(&["node", "show", id])["hardware_evidence"].clone()
    }

    /// Has it take the synthetic devices of a host for genuine, from its next start on, and keep their manifests and OCSP replies.
    ///
    /// # Panics
    /// Where the collateral is not taken.
    pub fn trust_devices(&mut self, host: &Host) {
        let root = |name| host.dir.join(name).into_os_string();
        self.flags = vec![
            "--device-root".into(),
            root("root.pem"),
            "--rim-root".into(),
            root("rim-root.pem"),
        ];
        must(
            self.command()
                .args(["evidence", "collateral", "add"])
                .arg(host.collateral()),
        );
    }

    /// Lets it serve over a disk that forgets.
    pub fn put_over(&mut self, disk: &Outage) {
        self.environment = disk.environment();
    }

    /// Starts serving and waits until it listens.
    ///
    /// # Panics
    /// Where it does not.
    pub fn serve(&mut self) {
        self.start();
        let _line = self.process().expect_line("listening on");
    }

    /// Starts serving and waits for nothing.
    pub fn start(&mut self) {
        self.running = Some(Running::start(
            self.command().envs(self.environment.clone()).arg("serve"),
            &self.state.join("../verifier.log"),
        ));
    }

    /// The process.
    ///
    /// # Panics
    /// Where it is not serving.
    pub fn process(&mut self) -> &mut Running {
        self.running.as_mut().unwrap()
    }

    /// Kills it (SIGKILL).
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.kill();
        }
    }

    /// A new enrolment token for `site`, whose nodes are approved at once.
    ///
    /// # Panics
    /// Where none is given.
    #[must_use]
    pub fn token(&self, site: &str, more: &[&str]) -> String {
        let out = must(
            self.command()
                .args(["token", "new", "--site", site, "--approve"])
                .args(more),
        );
        out.split_whitespace()
            .find(|w| w.starts_with("wb1."))
            .expect("a token")
            .to_owned()
    }

    /// Signs `licence` with a new supplier's key, trusts that key and loads the licence.
    ///
    /// # Panics
    /// Where a step fails.
    pub fn load_licence(&self, licence: &str) {
        let dir = self.state.parent().unwrap();
        let digest = weighbridge::crypto::sha256(licence.as_bytes()).to_string();
        let (toml, key) = (
            dir.join(format!("licence-{}.toml", &digest[..8])),
            dir.join("supplier.key"),
        );
        std::fs::write(&toml, licence).unwrap();
        if !key.exists() {
            must(self.command().args(["key", "new"]).arg(&key));
            must(
                self.command()
                    .args(["key", "trust"])
                    .arg(dir.join("supplier.key.pub"))
                    .args(["--as", "supplier"]),
            );
        }
        must(
            self.command()
                .args(["licence", "sign"])
                .arg(&toml)
                .arg("--key")
                .arg(&key),
        );
        must(
            self.command()
                .args(["licence", "load"])
                .arg(toml.with_extension("toml.dsse")),
        );
    }

    /// The status as JSON. Its exit status says whether everything holds; both are results.
    ///
    /// # Panics
    /// Where it is not JSON.
    #[must_use]
    pub fn status(&self) -> Value {
        let output = self
            .command()
            .args(["status", "--format", "json"])
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}:\n{}", said(&output)))
    }

    /// The findings of one condition at the first site.
    #[must_use]
    pub fn findings(&self, condition: &str) -> Vec<Value> {
        let status = self.status();
        let all = status["sites"][0]["findings"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        all.into_iter().filter(|f| f["condition"] == condition).collect()
    }

    /// The outcome of a condition, and its sentence.
    ///
    /// # Panics
    /// Where there is not exactly one finding.
    #[must_use]
    pub fn finding(&self, condition: &str) -> (String, String) {
        let found = self.findings(condition);
        assert_eq!(found.len(), 1, "{condition}: {found:?} in {}", self.status());
        let text = |key: &str| found[0][key].as_str().unwrap_or_default().to_owned();
        (text("outcome"), text("sentence"))
    }
}

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
}
