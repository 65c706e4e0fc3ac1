//! Rounds of hardware evidence: the real agent has replayed devices sign, and its reports carry what they signed.

use nvidia_ml::profile::ProfileName;
use serde_json::Value;
use weighbridge::crypto::Entropy;
use weighbridge::hardware::binding::Binding;
use weighbridge::hardware::nvidia::{Collateral, DeviceChain, Presented, Report, Terms, appraise};
use weighbridge::report::{Answer, EvidenceClaims, NoEvidence, NvidiaEvidence, OpenedReport, RoundClaims};
use weighbridge::telemetry::DeviceState;
use weighbridge::time::SECOND;
use weighbridge::x509::Links;
use weighbridge_agent::clock::{Clock, SystemClock};
use weighbridge_agent::enrolment::Enrolment;
use weighbridge_agent::keys::NodeKey;
use weighbridge_agent::state::StateDir;
use weighbridge_testbed::device_pki::{DevicePki, HostSpec, Slot};
use weighbridge_testbed::licence;
use weighbridge_testbed::process::{Agent, Verifier, must, said, wait_for};

/// A verifier, and one agent that reports to it.
struct Asked {
    agent: Agent,
    pki: DevicePki,
    reports: Vec<OpenedReport>,
    _verifier: Verifier,
    dir: tempfile::TempDir,
}

impl Asked {
    /// An agent of so many GPUs that sign, with these faults.
    fn signing(gpus: u16, faults: &str) -> Self {
        Self::new(gpus, faults, true, 2)
    }

    fn new(gpus: u16, faults: &str, signs: bool, report_seconds: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemClock.wall_now();
        let pki = DevicePki::at(now);
        let evidence = if signs {
            let files = dir.path().join("devices");
            std::fs::create_dir(&files).unwrap();
            let spec = HostSpec::of(ProfileName::H100, now);
            pki.write_host(&files, &Slot::row(0, gpus), &spec).section()
        } else {
            String::new()
        };
        let scenario =
            format!("profile = \"H100\"\ngpus = {gpus}\ntrace = \"training\"\n{evidence}\n{faults}");
        let mut verifier = Verifier::init(dir.path());
        let terms = licence::Terms {
            report_seconds,
            ..licence::Terms::at("harbour-1")
        };
        verifier.load_licence(&terms.write(&[]));
        verifier.serve();
        let mut agent = Agent::new(dir.path(), "node", &scenario);
        agent.enrol(&verifier.token("harbour-1", &[]));
        agent.run();
        Self {
            agent,
            pki,
            reports: Vec::new(),
            _verifier: verifier,
            dir,
        }
    }

    /// Reads what the running agent sealed since.
    fn read(&mut self) {
        self.agent.read_sealed(&mut self.reports);
    }

    /// Waits for a report after the first `from` that carries a round; returns its place, and the round.
    fn round(&mut self, from: usize) -> (usize, RoundClaims) {
        let place = wait_for("a report with a round", || {
            self.read();
            let carries = |r: &OpenedReport| r.claims.report.round.is_some();
            self.reports.iter().skip(from).position(carries).map(|p| p + from)
        });
        (place, self.reports[place].claims.report.round.clone().unwrap())
    }

    /// Waits until the log says this so many times.
    fn log_says(&mut self, text: &str, times: usize) {
        wait_for(&format!("`{text}` in the log"), || {
            let log = self.agent.process().log();
            assert!(self.agent.process().alive(), "the agent ended:\n{log}");
            (log.matches(text).count() >= times).then_some(())
        });
    }

    /// The nonce that follows from a round's claims, from the verifier that the node enrolled with and from the node's key.
    fn nonce(&self, round: &RoundClaims) -> [u8; 32] {
        let state = StateDir::at(&self.agent.state);
        let enrolment = Enrolment::load(&state.enrolment()).unwrap().unwrap();
        let key = NodeKey::load(&state.key(), &Entropy::system()).unwrap().unwrap();
        let binding = Binding {
            verifier: enrolment.verifier,
            challenge: round.challenge,
            key: key.signer.public_key().id(),
            chain: round.chain,
            sequence: round.sequence,
            report: round.digest,
        };
        binding.nonce()
    }

    /// Demands that the report at `place` carries this device's own signature over `nonce`.
    fn signed(&mut self, place: usize, device: usize, nonce: [u8; 32]) {
        let evidence = whole(&answers(&self.reports[place])[device].answer);
        let chain = Presented::read("chain", &evidence.chain.0, |b| {
            DeviceChain::parse(std::str::from_utf8(b).unwrap())
        });
        let terms = Terms {
            at: SystemClock.wall_now(),
            nonce: Some(nonce),
            root: self.pki.root_id(),
        };
        let links = &mut Links::default();
        let appraisal = appraise(&evidence.report.0, &chain, &Collateral::default(), &terms, links);
        for step in [&appraisal.signature, &appraisal.chain, &appraisal.nonce] {
            assert!(step.passed(), "GPU {device}: {:?}", appraisal.why);
        }
        let pdi = appraisal.pdi.unwrap();
        let named = devices(&self.reports[place])[device].identity.pdi;
        assert_eq!(
            named.map(u64::to_be_bytes),
            Some(pdi.0),
            "the device that was meant"
        );
    }

    /// Ends the agent in order, and demands that no second of any device's was lost from the report at `from` on.
    fn unbroken(mut self, from: usize) {
        let status = self.agent.process().terminate();
        assert!(status.success(), "{status}:\n{}", self.agent.process().log());
        assert!(self.reports.len() > from + 2, "{} reports", self.reports.len());
        for report in &self.reports[from..] {
            assert_eq!(report.claims.submods.host.host.sampler_restarts, 0);
            for device in devices(report) {
                assert_eq!(device.state, DeviceState::Present);
                assert!(device.delivered.gaps.is_empty(), "{:?}", device.delivered.gaps);
            }
        }
        drop(self.dir);
    }
}

fn answers(report: &OpenedReport) -> Vec<&EvidenceClaims> {
    // They travel in the order of their digests; here in the order of the driver.
    let mut all: Vec<_> = report.evidence.iter().flatten().collect();
    let place = |e: &&EvidenceClaims| {
        devices(report)
            .iter()
            .position(|d| Some(d.identity.uuid) == e.device)
            .unwrap()
    };
    all.sort_by_key(place);
    all
}

fn devices(report: &OpenedReport) -> Vec<&weighbridge::report::AcceleratorClaims> {
    let mut all: Vec<_> = report.accelerators.iter().flatten().collect();
    all.sort_by_key(|d| d.identity.index);
    all
}

fn whole(answer: &Answer) -> NvidiaEvidence {
    match answer {
        Answer::Evidence(record) => NvidiaEvidence::open(record).unwrap().unwrap(),
        Answer::None(why) => panic!("no evidence: {}", why.text()),
    }
}

fn doctor(agent: &Agent) -> String {
    let output = agent.command().arg("doctor").output().unwrap();
    let said = said(&output);
    let line = said.lines().find(|l| l.starts_with(" evidence "));
    line.unwrap_or_else(|| panic!("doctor says nothing of evidence:\n{said}"))
        .to_owned()
}

#[test]
fn every_gpu_signs_a_nonce_bound_to_key_chain_and_challenge() {
    let mut node = Asked::signing(8, "");
    let (place, round) = node.round(0);
    // It froze a report that the verifier held by then, and says up to where that goes.
    let frozen = usize::try_from(round.sequence).unwrap() - 1;
    assert!(frozen < place, "{frozen} < {place}");
    let (report, carrier) = (&node.reports[frozen], &node.reports[place].claims.report);
    assert_eq!(
        (report.claims.report.chain, report.digest()),
        (round.chain, round.digest)
    );
    assert_eq!(report.claims.report.time.end, round.covers_to);
    assert!(round.covers_to <= carrier.time.start && round.covers_to <= round.begun);
    assert!(round.begun < round.ended && round.ended <= carrier.time.end);
    assert_eq!(answers(&node.reports[place]).len(), 8);
    let nonce = node.nonce(&round);
    for device in 0..8 {
        let evidence = whole(&answers(&node.reports[place])[device].answer);
        assert_eq!(Report::parse(&evidence.report.0).unwrap().nonce, nonce);
        node.signed(place, device, nonce);
    }

    let preview = must(node.agent.command().arg("preview"));
    let shown: Value = serde_json::from_str(&preview).unwrap();
    assert!(shown["evidence"].is_array(), "{preview}");
    assert_eq!(
        doctor(&node.agent)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" "),
        "evidence 8 of 8 GPUs sign, mode confidential computing ok"
    );
    // A day goes by before the next one.
    let later = wait_for("four more reports", || {
        node.read();
        (node.reports.len() > place + 4).then_some(node.reports.len())
    });
    let next = &node.reports[place + 1..later];
    assert!(next.iter().all(|r| r.claims.report.round.is_none()));
    node.unbroken(frozen);
}

#[test]
fn the_preview_of_a_report_with_a_round_shows_every_byte_of_it() {
    let mut node = Asked::new(1, "", true, 10);
    node.log_says("the round of evidence has ended", 1);
    let shown = wait_for("the report as a preview", || {
        let text = must(node.agent.command().arg("preview"));
        let shown: Value = serde_json::from_str(&text).unwrap();
        shown["token"]["report"]["round"].is_object().then_some(shown)
    });
    let said = &shown["token"]["report"]["round"];
    for member in ["challenge", "chain", "sequence", "digest", "covers_to_boot_ns"] {
        assert!(!said[member].is_null(), "{member} in {said}");
    }
    let answer = &shown["evidence"][0];
    assert_eq!(answer["attester"], "gpu");
    assert_eq!(answer["device"], shown["accelerators"][0]["identity"]["uuid"]);
    assert_eq!(answer["answer"]["evidence"]["type"], NvidiaEvidence::MEDIA_TYPE);
    let hex = answer["answer"]["evidence"]["value"].as_str().unwrap();
    assert!(hex.len() > 8_000 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
}

#[test]
fn with_confidential_computing_off_the_round_says_that_the_platform_offers_none() {
    let mut node = Asked::new(2, "", false, 2);
    let (place, _) = node.round(0);
    let none = Answer::None(NoEvidence::NotOffered);
    let all: Vec<_> = answers(&node.reports[place]).iter().map(|e| &e.answer).collect();
    assert_eq!(all, [&none, &none]);
    assert_eq!(
        doctor(&node.agent).trim(),
        "evidence    none: confidential computing is off, so identity stays driver-reported"
    );
    wait_for("three more reports", || {
        node.read();
        (node.reports.len() > place + 3).then_some(())
    });
    let next = &node.reports[place + 1..];
    assert!(next.iter().all(|r| r.claims.report.round.is_none()));
}

#[test]
fn a_gpu_that_hangs_crashes_or_lies_costs_its_own_answer_and_no_sample() {
    let faults: String = [
        (1, "evidence_hang"),
        (2, "evidence_oversize"),
        (3, "evidence_crash"),
        (4, "evidence_refused"),
    ]
    .map(|(gpu, kind)| format!("[[fault]]\nat_s = 0\ngpu = {gpu}\nkind = \"{kind}\"\n"))
    .concat();
    let mut node = Asked::signing(6, &faults);
    node.log_says("a round of evidence is held", 1);
    node.log_says("GPU 1 did not sign in time", 1);
    node.log_says("asked GPU 3 for evidence died", 1);
    let (place, round) = node.round(0);
    let nonce = node.nonce(&round);
    for device in [0, 5] {
        node.signed(place, device, nonce);
    }
    let none: Vec<_> = answers(&node.reports[place])[1..5]
        .iter()
        .map(|e| e.answer.clone())
        .collect();
    let expected = [
        NoEvidence::Hung,
        NoEvidence::Oversized,
        NoEvidence::Crashed,
        NoEvidence::NoPermission,
    ];
    assert_eq!(none, expected.map(Answer::None));
    assert!(round.ended.since(round.begun) >= 30 * SECOND);
    // Reports went on while the device was waited for.
    assert!(place > usize::try_from(round.sequence).unwrap() + 10, "{place}");
    wait_for("the verifier's receipt for it", || {
        node.read();
        (node.reports.len() > place + 2).then_some(())
    });
    node.unbroken(usize::try_from(round.sequence).unwrap());
}

#[test]
fn a_release_ends_the_collector_first_and_the_round_is_held_after_the_resumption() {
    let mut node = Asked::signing(2, "[[fault]]\nat_s = 0\ngpu = 1\nkind = \"evidence_hang\"\n");
    node.log_says("a round of evidence is held", 1);
    let said = must(node.agent.command().arg("release"));
    assert!(said.contains("let go of; "), "{said}");
    assert!(
        node.agent.process().children().is_empty(),
        "nothing holds the driver"
    );
    node.log_says("the round of evidence was given up", 1);
    must(node.agent.command().args(["release", "--resume"]));
    node.log_says("a round of evidence is held", 2);
    // Neither does it keep the agent from ending.
    let status = node.agent.process().terminate();
    assert!(status.success(), "{status}:\n{}", node.agent.process().log());
}
