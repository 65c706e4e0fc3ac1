//! The main job, shown: nodes report, a verifier answers.
//!
//! Real binaries, real TLS, a real database in a directory that is removed at the end. Where the machine has NVIDIA GPUs of its own, they
//! are the node; otherwise two replayed nodes of eight H100 play: one at `harbour-1` that serves a model, and one at `harbour-2` that may train
//! more than it is allowed, which less than a minute establishes for nobody, and holds a device that is not on the manifest. The GPUs of the first sign for who they are, with keys of a synthetic maker whose root this verifier is
//! told to trust; those of the other cannot. Reports are short because the licence says `trial = true`, and everything says so.

use crate::device_pki::{DevicePki, Host, HostSpec, Slot};
use crate::licence::Terms;
use crate::process::{Agent, Verifier, wait_for};
use crate::stored;
use nvidia_ml::profile::ProfileName;
use nvidia_ml::{Identity, Scenario, identities};
use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use weighbridge_agent::clock::{Clock, SystemClock};

/// Length of a report in the demo, in seconds: long enough for the period of a training step to show.
const REPORT_SECONDS: u32 = 15;
/// Reports that each node delivers before the table is shown.
const REPORTS: u64 = 3;

/// What ends the demo before its time, or a look around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// SIGINT or SIGTERM.
    Signal,
    /// The Enter key.
    Enter,
}

/// Runs the demo. `keep` leaves everything running until Enter is pressed. Ended by a signal, it cleans up all the same: what it makes
/// holds keys.
///
/// # Panics
/// Where a step of the story cannot be done.
pub fn run(keep: bool) -> ExitCode {
    let (tell, end) = mpsc::channel();
    tell_of_signals(tell.clone());
    let dir = tempfile::Builder::new()
        .prefix("weighbridge-demo-")
        .tempdir()
        .unwrap();
    let own = Path::new("/dev/nvidiactl").exists();
    say(&format!(
        "Weighbridge demo in {} ({}).",
        dir.path().display(),
        if own {
            "this machine's own GPUs, and a replayed node of eight H100"
        } else {
            "no NVIDIA GPU here: two replayed nodes of eight H100"
        }
    ));
    let mut verifier = Verifier::init(dir.path());
    let mut nodes = Cast::all(dir.path(), own);

    say(
        "A supplier writes a licence for each site, lints it, signs it; the verifier's owner trusts the key and loads it.",
    );
    for node in &nodes {
        verifier.load_licence(&node.licence());
    }
    for host in nodes.iter().filter_map(|n| n.devices.as_ref()) {
        verifier.trust_devices(host);
        say(
            "It is given the root of the synthetic device keys of this demo, manifests of their firmware and OCSP replies.",
        );
    }
    verifier.serve();
    say(&format!(
        "The verifier listens on {} (SQLite in {}).",
        verifier.url,
        verifier.state.display()
    ));

    for node in &mut nodes {
        node.agent.enrol(&verifier.token(&node.site, &[]));
        node.agent.run();
        say(&format!(
            "{} enrolled with a one-time token and reports every {REPORT_SECONDS} s: {}.",
            node.site, node.plot
        ));
    }
    if watch(&verifier, nodes.len(), &end) == Some(End::Signal) {
        return interrupted(&mut nodes);
    }

    let output = verifier.command().arg("status").output().unwrap();
    println!(
        "\n$ weighbridge-verifier status\n{}",
        String::from_utf8_lossy(&output.stdout)
    );
    say(&format!(
        "Its exit status is {}: 1 says that something does not hold or cannot be told. A replayed NVML library is not the system's own, \
         and SEC-09 found it.",
        output.status.code().unwrap_or(-1)
    ));
    let verdict = judge(&verifier.status(), own);
    if keep {
        say("Look around while it runs, and press Enter to end:");
        println!(
            "  {} --state-dir {} status --why INV-01",
            crate::process::binary("weighbridge-verifier").display(),
            verifier.state.display()
        );
        std::thread::spawn(move || {
            std::io::stdin().read_line(&mut String::new()).ok();
            tell.send(End::Enter).ok();
        });
        if end.recv() == Ok(End::Signal) {
            return interrupted(&mut nodes);
        }
    } else {
        say(&format!(
            "The verifier was at {}; `make demo KEEP=1` leaves it running for a look around.",
            verifier.url
        ));
    }
    for node in &mut nodes {
        node.agent.stop();
    }
    match verdict {
        Ok(()) => {
            say("Done: every finding came out as the story has it; everything is cleaned up.");
            ExitCode::SUCCESS
        }
        Err(wrong) => {
            eprintln!("the demo did not come out as it should: {wrong}");
            ExitCode::FAILURE
        }
    }
}

/// Tells of SIGINT and SIGTERM from now on, in place of being killed by them.
fn tell_of_signals(tell: Sender<End>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let [mut interrupt, mut terminate] = {
        let _entered = runtime.enter();
        [SignalKind::interrupt(), SignalKind::terminate()].map(|kind| signal(kind).unwrap())
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        tell.send(End::Signal).ok();
    });
}

/// Ends the nodes in order; the verifier and the directory go with the story.
fn interrupted(nodes: &mut [Cast]) -> ExitCode {
    for node in nodes {
        node.agent.stop();
    }
    say("Interrupted; everything is cleaned up.");
    ExitCode::from(130)
}

/// A node of the story.
struct Cast {
    site: String,
    plot: &'static str,
    /// TPP-hours that may go into training in a day.
    training_per_day: u64,
    agent: Agent,
    licensed: Vec<Identity>,
    /// Its devices, where they sign for who they are.
    devices: Option<Host>,
}

impl Cast {
    /// The node within its licence, on the machine's own GPUs where it has any, and the one that is not.
    fn all(dir: &Path, own: bool) -> Vec<Self> {
        let mut nodes = Self::replayed(dir, own);
        if own {
            nodes.insert(0, Self::own(dir));
        }
        nodes
    }

    fn replayed(dir: &Path, own: bool) -> Vec<Self> {
        let story = [
            (
                "harbour-1",
                "it serves a model, within its licence, and its GPUs sign for who they are",
                "inference",
                8,
                100_000,
                true,
            ),
            (
                "harbour-2",
                "it trains, and one of its eight GPUs is not on the manifest",
                "training",
                7,
                50,
                false,
            ),
        ];
        story
            .into_iter()
            .filter(|(site, ..)| !own || *site != "harbour-1")
            .map(|(site, plot, trace, licensed, training_per_day, sign)| {
                let devices = sign.then(|| signing(&dir.join(format!("{site}-devices"))));
                let evidence = devices.as_ref().map_or_else(String::new, Host::section);
                let text = format!(
                    "profile = \"H100\"\ngpus = 8\ntrace = \"{trace}\"\nsm_clock_mhz = 1755\nstart_file = \"start\"\n{evidence}"
                );
                let agent = Agent::new(dir, site, &text);
                let scenario = Scenario::load(&agent.scenario).unwrap_or_else(|e| panic!("{e}"));
                let licensed = identities(&scenario).into_iter().take(licensed).collect();
                Self { site: site.to_owned(), plot, training_per_day, agent, licensed, devices }
            })
            .collect()
    }

    /// This machine's own GPUs, through its own driver.
    fn own(dir: &Path) -> Self {
        let agent = Agent::on_this_machine(dir, "this-machine");
        Self {
            site: "harbour-1".to_owned(),
            plot: "this machine's own GPUs",
            training_per_day: 100_000,
            agent,
            licensed: Vec::new(),
            devices: None,
        }
    }

    /// The licence of its site: every device that is licensed, and no more.
    fn licence(&self) -> String {
        let terms = Terms {
            report_seconds: REPORT_SECONDS,
            training_per_day: Some(self.training_per_day),
            ..Terms::at(&self.site)
        };
        let rows: Vec<_> = self.licensed.iter().map(|d| (d, self.site.as_str())).collect();
        let mut text = terms.write(&rows);
        // The machine's own GPUs are licensed as they are found.
        if self.licensed.is_empty() {
            for uuid in uuids(&self.agent.inventory()) {
                text.push_str(&format!(
                    "\n[[device]]\nuuid = \"{uuid}\"\nsite = \"{}\"\n",
                    self.site
                ));
            }
        }
        text
    }
}

/// The files of eight synthetic GPUs that sign, of a maker that exists for this run alone.
fn signing(dir: &Path) -> Host {
    std::fs::create_dir(dir).unwrap();
    let now = SystemClock.wall_now();
    let spec = HostSpec::of(ProfileName::H100, now);
    DevicePki::at(now).write_host(dir, &Slot::row(1, 8), &spec)
}

/// All UUIDs of GPUs in an inventory, wherever they stand.
fn uuids(inventory: &Value) -> Vec<String> {
    match inventory {
        Value::String(s) if s.starts_with("GPU-") => vec![s.clone()],
        Value::Array(items) => items.iter().flat_map(uuids).collect(),
        Value::Object(members) => members.values().flat_map(uuids).collect(),
        _ => Vec::new(),
    }
}

/// Shows progress until each node has delivered its reports, or something ends the demo.
fn watch(verifier: &Verifier, nodes: usize, end: &Receiver<End>) -> Option<End> {
    let begun = Instant::now();
    let mut shown = 0;
    wait_for("the nodes' reports", || {
        let counts = stored::counts(&verifier.state);
        let total: u64 = counts.iter().sum();
        if total > shown {
            shown = total;
            let reports = if total == 1 { "report" } else { "reports" };
            say(&format!(
                "{:>3} s  {total} {reports} received, verified, recorded and receipted.",
                begun.elapsed().as_secs()
            ));
        }
        let ended = end.recv_timeout(Duration::from_millis(400)).ok();
        (ended.is_some() || (counts.len() == nodes && counts.iter().all(|c| *c >= REPORTS))).then_some(ended)
    })
}

/// Whether the findings are those of the story.
fn judge(status: &Value, own: bool) -> Result<(), String> {
    let expected = [
        ("harbour-1", "INV-01", "met"),
        ("harbour-1", "INV-05", "met"),
        ("harbour-1", "OPS-01", "met"),
        ("harbour-1", "SEC-01", "met"),
        ("harbour-1", "SEC-06", "met"),
        ("harbour-1", "SEC-09", "not met"),
        ("harbour-1", "TRN-04", "met"),
        ("harbour-2", "INV-01", "not met"),
        ("harbour-2", "INV-05", "cannot tell"),
        ("harbour-2", "TRN-04", "cannot tell"),
        ("harbour-2", "SEC-09", "not met"),
    ];
    let sites = status["sites"].as_array().cloned().unwrap_or_default();
    // What the machine's own GPUs and driver are is not for a story to say.
    for (site, condition, outcome) in expected
        .into_iter()
        .filter(|(site, ..)| !own || *site != "harbour-1")
    {
        let found: Vec<_> = sites
            .iter()
            .filter(|s| s["site"] == site)
            .flat_map(|s| s["findings"].as_array().cloned().unwrap_or_default())
            .filter(|f| f["condition"] == condition)
            .collect();
        if !found.iter().any(|f| f["outcome"] == outcome) {
            return Err(format!(
                "{condition} at {site} should be `{outcome}`; found {found:?}"
            ));
        }
    }
    Ok(())
}

fn say(text: &str) {
    println!("{text}");
    std::io::stdout().flush().ok();
}
