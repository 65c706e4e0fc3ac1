//! The real binaries, run as a person runs them: in a directory of their own, on loopback, and ended for good when dropped.

mod agent;
mod verifier;

pub use agent::Agent;
pub use verifier::Verifier;

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
    newest(["libnvidia_ml.so", "deps/libnvidia_ml.so"])
        .expect("the replay library is not built: run `make replay` first")
}

/// The client library of a DCGM host engine that is none, likewise.
///
/// # Panics
/// Where it is not built, saying how to build it.
#[must_use]
pub fn host_engine_library() -> PathBuf {
    newest(["libdcgm.so", "deps/libdcgm.so"])
        .expect("the fake DCGM library is not built: run `make replay` first")
}

fn newest(places: [&str; 2]) -> Option<PathBuf> {
    let built = |path: &PathBuf| std::fs::metadata(path).and_then(|m| m.modified()).ok();
    places
        .map(|place| binaries().join(place))
        .into_iter()
        .filter(|path| path.exists())
        .max_by_key(built)
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
pub fn wait_for<T>(what: &str, done: impl FnMut() -> Option<T>) -> T {
    wait_within(PATIENCE, what, done)
}

/// The same, for what takes its own time: something that a program does once a minute, say.
///
/// # Panics
/// Where it does not within `patience`, naming `what`.
pub fn wait_within<T>(patience: Duration, what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(
            begun.elapsed() < patience,
            "waited {} s in vain for {what}",
            patience.as_secs()
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
