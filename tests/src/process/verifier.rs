//! The verifier's binary in a directory of its own.

use super::{Running, free_port, must, program, said};
use crate::device_pki::Host;
use crate::outage::Outage;
use serde_json::Value;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

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
