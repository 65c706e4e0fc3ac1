//! Faults done to the real agent: to its devices, its driver, its sampler. It goes on, and its reports say what befell it.

use std::path::PathBuf;
use std::process::Command;
use weighbridge::report::{AcceleratorClaims, HostClaims, OpenedReport};
use weighbridge::telemetry::{DeviceState, GapReason};
use weighbridge::time::SECOND;
use weighbridge_agent::clock::{Clock, SystemClock};
use weighbridge_agent::spool::Spool;
use weighbridge_testbed::licence::Terms;
use weighbridge_testbed::process::{Agent, Verifier, must, said, wait_for};

/// A verifier, and one enrolled agent under a trial licence with short reports.
struct Watched {
    verifier: Verifier,
    agent: Agent,
    reports: Vec<OpenedReport>,
    dir: tempfile::TempDir,
}

impl Watched {
    /// An agent whose play begins when it runs, and goes on for a sampler that is started later.
    fn new(scenario: &str, prepare: impl FnOnce(&Agent)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut verifier = Verifier::init(dir.path());
        let begin = dir.path().join("begin");
        let agent = Agent::new(dir.path(), "node", &format!("start_file = {begin:?}\n{scenario}"));
        let played = nvidia_ml::Scenario::load(&agent.scenario).unwrap();
        let identities = nvidia_ml::identities(&played);
        let manifest: Vec<_> = identities.iter().map(|device| (device, "harbour-1")).collect();
        let terms = Terms {
            report_seconds: 2,
            ..Terms::at("harbour-1")
        };
        verifier.serve();
        verifier.load_licence(&terms.write(&manifest));
        agent.enrol(&verifier.token("harbour-1", &[]));
        prepare(&agent);
        std::fs::remove_file(begin).ok();
        let mut watched = Self {
            verifier,
            agent,
            reports: Vec::new(),
            dir,
        };
        watched.agent.run();
        watched
    }

    /// Waits until a report after the first `from` is as asked for; returns its place.
    fn report(&mut self, from: usize, what: &str, is: impl Fn(&OpenedReport) -> bool) -> usize {
        wait_for(&format!("a report with {what}"), || {
            self.read();
            let found = self
                .reports
                .iter()
                .skip(from)
                .position(&is)
                .map(|place| from + place);
            assert!(
                self.agent.process().alive(),
                "the agent ended:\n{}",
                self.agent.process().log()
            );
            found
        })
    }

    /// Reads what the running agent sealed since.
    fn read(&mut self) {
        self.agent.read_sealed(&mut self.reports);
    }

    /// The samplers that run now.
    fn samplers(&mut self) -> Vec<u32> {
        let parent = self.agent.process().pid();
        let stat = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
        let child = |pid: &u32| {
            // After the name, which may hold anything: state, parent.
            let text = stat(*pid)?;
            let mut rest = text.rsplit_once(") ")?.1.split(' ');
            (rest.next()? != "Z" && rest.next()?.parse() == Ok(parent)).then_some(*pid)
        };
        let all = std::fs::read_dir("/proc").unwrap();
        all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(|pid| child(&pid))
            .collect()
    }

    /// Stops the agent in order, and reads all that it sealed.
    fn stop(mut self) -> Vec<OpenedReport> {
        let status = self.agent.process().terminate();
        assert!(status.success(), "{status}:\n{}", self.agent.process().log());
        let (spool, _) = Spool::open(
            &self.agent.state.join("spool.redb"),
            1 << 30,
            &weighbridge::crypto::Entropy::system(),
        )
        .unwrap();
        while let Some((_, bundle, _)) = spool.report_at(None, self.reports.len() as u64 + 1).unwrap() {
            self.reports.push(OpenedReport::open(&bundle).unwrap());
        }
        assert_eq!(spool.fill().unwrap().refused, 0, "the verifier refused none");
        self.verifier.kill();
        drop(self.dir);
        // Sequence, digests and times follow each other, whatever befell the node.
        for pair in self.reports.windows(2) {
            let (before, after) = (&pair[0].claims.report, &pair[1].claims.report);
            assert_eq!(after.sequence, before.sequence + 1);
            assert_eq!(after.previous, Some(pair[0].digest()));
            assert_eq!(after.time.start, before.time.end);
        }
        self.reports
    }
}

fn devices(report: &OpenedReport) -> Vec<&AcceleratorClaims> {
    report.accelerators.iter().flatten().collect()
}

fn host(report: &OpenedReport) -> &HostClaims {
    &report.claims.submods.host.host
}

fn has_gap(device: &AcceleratorClaims, reason: GapReason) -> bool {
    device.delivered.gaps.iter().any(|gap| gap.reason == reason)
}

/// Whether most of the report is covered for every device of `of`.
fn covered(report: &OpenedReport, of: &[usize]) -> bool {
    let length = report
        .claims
        .report
        .time
        .end
        .since(report.claims.report.time.start)
        / 1_000_000;
    let all = devices(report);
    of.iter().all(|place| {
        all.get(*place).is_some_and(|d| {
            d.state == DeviceState::Present && u64::from(d.delivered.covered_ms) * 4 >= length * 3
        })
    })
}

#[test]
fn a_device_that_is_lost_hangs_or_starts_anew_leaves_the_others_alone() {
    let mut node = Watched::new(
        "profile = \"H100\"\ngpus = 4\ntrace = \"training\"\n\
         [[fault]]\nat_s = 6\ngpu = 1\nkind = \"lost\"\n\
         [[fault]]\nat_s = 8\ngpu = 3\nkind = \"reset\"\n\
         [[fault]]\nat_s = 12\ngpu = 2\nkind = \"hang\"\n",
        |_| {},
    );
    let whole = node.report(0, "all four", |r| covered(r, &[0, 1, 2, 3]));
    let lost = node.report(whole, "the second lost", |r| {
        devices(r)[1].state == DeviceState::Lost && has_gap(devices(r)[1], GapReason::DeviceLost)
    });
    node.report(lost, "the first read on", |r| covered(r, &[0]));
    let before = node.samplers();
    let hung = node.report(lost, "the third hung", |r| {
        devices(r)[2].state == DeviceState::Hung && has_gap(devices(r)[2], GapReason::DriverHung)
    });
    let resumed = node.report(hung, "the others read on", |r| covered(r, &[0, 3]));
    let after = node.samplers();
    assert!(
        !after.is_empty() && before != after,
        "another process: {before:?}, {after:?}"
    );
    assert!(
        node.agent.process().log().contains("gpu=2"),
        "{}",
        node.agent.process().log()
    );
    assert_eq!(
        devices(&node.reports[resumed])[2].state,
        DeviceState::Hung,
        "it is left alone"
    );
    assert_eq!(devices(&node.reports[resumed])[1].state, DeviceState::Lost);
    let doctor = said(&node.agent.command().arg("doctor").output().unwrap());
    for silent in ["degraded: GPU 1 is lost", "GPU 2 hangs"] {
        assert!(
            doctor.contains(silent),
            "doctor does not say `{silent}`:\n{doctor}"
        );
    }

    let reports = node.stop();
    let restarts: u32 = reports.iter().map(|r| host(r).sampler_restarts).sum();
    assert_eq!(restarts, 1);
    let mut resets = [0; 4];
    for report in &reports[whole..] {
        let (all, time) = (devices(report), &report.claims.report.time);
        assert_eq!(all.len(), 4, "none is forgotten");
        // A stretch that began before the report counts whole where it ends.
        let most = (time.end.since(time.start) / 1_000_000 + 10_000) * 770;
        for (device, resets) in all.iter().zip(&mut resets) {
            *resets += device.delivered.measured.counter_resets;
            let energy = device.delivered.measured.energy_mj.value().copied().unwrap_or(0);
            assert!(energy <= most, "{energy} mJ of at most {most}");
        }
    }
    // Energy, and both directions of both links.
    assert!(
        resets[3] >= 1,
        "the counters that began anew are counted: {resets:?}"
    );
    assert_eq!(resets[..3], [0; 3]);
}

#[test]
fn a_driver_that_goes_a_sampler_that_is_killed_and_a_release_are_states_with_names() {
    let mut node = Watched::new(
        "profile = \"H100\"\ngpus = 2\ntrace = \"training\"\n[[fault]]\nat_s = 6\nfor_s = 5\nkind = \"version_mismatch\"\n",
        |_| {},
    );
    let whole = node.report(0, "both devices", |r| covered(r, &[0, 1]));
    let gone = node.report(whole, "no driver", |r| {
        devices(r)
            .iter()
            .all(|d| d.state == DeviceState::DriverUnavailable && has_gap(d, GapReason::DriverUnavailable))
    });
    assert_eq!(devices(&node.reports[gone]).len(), 2, "they stay in the report");
    // The report and the log's line of the same moment are written side by side.
    wait_for("a line of the log that names what befell the driver", || {
        let log = node.agent.process().log();
        (log.contains("driver unavailable") && log.contains("version mismatch")).then_some(())
    });
    let back = node.report(gone, "the driver back", |r| covered(r, &[0, 1]));
    assert!(
        node.reports[..=back]
            .iter()
            .all(|r| host(r).sampler_restarts == 0)
    );

    let [sampler] = node.samplers()[..] else {
        panic!("one sampler runs");
    };
    must(Command::new("kill").args(["-KILL", &sampler.to_string()]));
    let killed = node.report(back, "a sampler started anew", |r| host(r).sampler_restarts == 1);
    let again = node.report(killed, "both devices after it", |r| covered(r, &[0, 1]));
    assert!(node.reports[back..=again].iter().all(|r| {
        devices(r).len() == 2
            && devices(r)
                .iter()
                .all(|d| d.delivered.measured.counter_resets == 0)
    }));
    assert!(
        node.reports[back..=again]
            .iter()
            .any(|r| devices(r).iter().all(|d| !d.delivered.gaps.is_empty())),
        "the time without a sampler is a gap"
    );
    assert!(!node.samplers().contains(&sampler));

    let said = must(node.agent.command().arg("release"));
    assert!(said.contains("let go"), "{said}");
    assert!(node.samplers().is_empty(), "nothing holds the driver");
    let released = node.report(again, "the driver let go of", |r| {
        host(r).released
            && devices(r)
                .iter()
                .all(|d| d.state == DeviceState::Released && has_gap(d, GapReason::Released))
    });
    must(node.agent.command().args(["release", "--resume"]));
    let resumed = node.report(released, "the driver taken up again", |r| {
        !host(r).released && covered(r, &[0, 1])
    });
    node.report(resumed, "one more", |r| covered(r, &[0, 1]));

    let told = SystemClock.boot_now();
    let reports = node.stop();
    let last = reports.last().unwrap();
    // A report of less than a second would say nothing.
    let unsaid = told.since(last.claims.report.time.end);
    assert!(unsaid < SECOND, "the stop seals what there is, but {unsaid} ns");
    assert_eq!(devices(last).len(), 2);
}

/// A library of NVML's name that has a start, an end and a count, which is zero.
const EMPTY: &str = "
int nvmlInit_v2(void) { return 0; }
int nvmlInitWithFlags(unsigned flags) { return (void)flags, 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 0; return 0; }
";

#[test]
fn a_driver_that_lists_no_gpu_while_they_stand_on_the_bus_is_a_failure() {
    let mut node = Watched::new("profile = \"H100\"\ngpus = 2\ntrace = \"training\"\n", |agent| {
        let source: PathBuf = agent.library.with_extension("c");
        std::fs::write(&source, EMPTY).unwrap();
        must(
            Command::new("cc")
                .args(["-shared", "-fPIC", "-o"])
                .arg(&agent.library)
                .arg(&source),
        );
    });
    node.report(0, "two devices on the bus that nobody reports", |r| {
        let bus = &host(r).bus;
        host(r).driver.is_none()
            && devices(r).is_empty()
            && bus.len() == 1
            && (bus[0].count, bus[0].reporting, bus[0].state) == (2, 0, DeviceState::DriverUnavailable)
    });
    let log = node.agent.process().log();
    assert!(log.contains("lists no GPU"), "{log}");
    let output = node.agent.command().arg("inventory").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("lists no GPU"), "{}", said(&output));
    let (outcome, sentence) = wait_for("a finding about the bus", || {
        let found = node.verifier.findings("INV-11");
        let text = |key: &str| found.first()?[key].as_str().map(str::to_owned);
        let (outcome, sentence) = (text("outcome")?, text("sentence")?);
        sentence
            .contains("driver unavailable")
            .then_some((outcome, sentence))
    });
    // The host alone knows of them, so that it cannot be told; that they all report is never said.
    assert_eq!(outcome, "cannot tell", "{sentence}");
    node.stop();
}
