//! Rounds of evidence from a node to `node show`: a real verifier, synthetic devices, and a node that says whatever a test wants said.

mod switches;

use crate::collateral::answer;
use crate::collateral::service::Service;
use serde_json::Value;
use std::path::Path;
use weighbridge::cbor::Bytes;
use weighbridge::crypto::Signer;
use weighbridge::hardware::binding::Binding;
use weighbridge::hardware::nvidia::{DeviceChain, Rim, known_to_responder};
use weighbridge::id::{ChainId, Challenge, Digest, VerifierId};
use weighbridge::report::{Attester, EvidenceClaims, NoEvidence, NvidiaEvidence, RoundClaims};
use weighbridge::x509::ocsp::{self, Reply};
use weighbridge::x509::{Certificate, Links};
use weighbridge_testbed::device_pki::{self, Chip, Device, DevicePki, HostSpec, Said, Slot};
use weighbridge_testbed::fixture;
use weighbridge_testbed::licence::{self, now};
use weighbridge_testbed::node::SimulatedNode;
use weighbridge_testbed::process::{Verifier, must, wait_for};

use nvidia_ml::profile::ProfileName;

const GPUS: u16 = 2;

/// A verifier that believes a PKI of the testbed's own, and a node with devices of that PKI.
struct Lab {
    dir: tempfile::TempDir,
    pki: DevicePki,
    spec: HostSpec,
    devices: Vec<Device>,
    verifier: Verifier,
    node: SimulatedNode,
}

impl Lab {
    async fn new() -> Self {
        Self::with(|_, _| ()).await
    }

    /// With what is done to the verifier before it serves; beside it, the directory of the host's files.
    async fn with(prepare: impl FnOnce(&mut Verifier, &Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut verifier = Verifier::init(dir.path());
        let pki = DevicePki::at(now());
        let spec = HostSpec::of(ProfileName::H100, now());
        let host = dir.path().join("host");
        std::fs::create_dir_all(&host).unwrap();
        let devices = pki.write_host(&host, &Slot::row(1, GPUS), &spec).devices;
        verifier.load_licence(&licence::for_site("harbour-1", &[]));
        verifier.set("WEIGHBRIDGE_VERIFIER_DEVICE_ROOT", host.join("root.pem"));
        verifier.set("WEIGHBRIDGE_VERIFIER_RIM_ROOT", host.join("rim-root.pem"));
        prepare(&mut verifier, &host);
        verifier.serve();
        let token = verifier.token("harbour-1", &[]);
        let mut node = SimulatedNode::enrol(&token, GPUS, now().plus(-3600)).await;
        node.report().await;
        Self {
            dir,
            pki,
            spec,
            devices,
            verifier,
            node,
        }
    }

    /// The round that the node's next report would carry.
    fn round(&self) -> RoundClaims {
        fixture::round(&self.node.next_place())
    }

    /// What its devices are to sign in a round.
    fn binding(&self, round: &RoundClaims) -> Binding {
        Binding {
            verifier: self.node.verifier,
            challenge: round.challenge,
            key: self.node.key.public_key().id(),
            chain: round.chain,
            sequence: round.sequence,
            report: round.digest,
        }
    }

    fn evidence(&self, device: &Device, nonce: [u8; 32]) -> NvidiaEvidence {
        let said = Said {
            nonce,
            driver: Some(self.spec.driver.clone()),
            vbios: self.spec.vbios.clone(),
            ..Said::default()
        };
        NvidiaEvidence {
            report: Bytes(device.report(&said)),
            chain: Bytes(device.chain.clone().into_bytes()),
        }
    }

    /// Evidence of these devices over a nonce, in the places of the node's GPUs.
    fn answers(&self, devices: &[&Device], nonce: [u8; 32]) -> Vec<NvidiaEvidence> {
        devices.iter().map(|d| self.evidence(d, nonce)).collect()
    }

    /// Delivers a report that carries a round with these answers; what `node show` says once the verifier has done with it.
    async fn carry(&mut self, round: RoundClaims, answers: &[NvidiaEvidence]) -> Value {
        self.carry_beside(round, answers, &[]).await
    }

    /// The same, with what is said to be the evidence of switches.
    async fn carry_beside(
        &mut self,
        round: RoundClaims,
        answers: &[NvidiaEvidence],
        switches: &[NvidiaEvidence],
    ) -> Value {
        let (mut claims, mut accelerators) = self.node.next_claims();
        for (claims, device) in accelerators.iter_mut().zip(&self.devices) {
            claims.identity.pdi = Some(u64::from_be_bytes(device.pdi.0));
        }
        claims.report.round = Some(round);
        let named = accelerators.iter().map(|a| a.identity.uuid);
        let mut evidence: Vec<_> = named
            .zip(0..)
            .map(|(uuid, i)| EvidenceClaims {
                device: Some(uuid),
                ..fixture::answer(i, answers.get(usize::from(i)))
            })
            .collect();
        assert!(evidence.iter().all(|e| e.attester == Attester::Gpu));
        evidence.extend((90..).zip(switches).map(|(i, switch)| EvidenceClaims {
            attester: Attester::Switch,
            device: None,
            ..fixture::answer(i, Some(switch))
        }));
        let (bytes, digest) =
            weighbridge::report::sign(claims, accelerators, evidence, &*self.node.key).unwrap();
        self.node.advance(digest);
        self.node.deliver(bytes).await.accepted();
        self.settled(digest, answers.is_empty())
    }

    /// An honest round of these devices.
    async fn honest(&mut self) -> Value {
        let round = self.round();
        let nonce = self.binding(&round).nonce();
        let devices: Vec<_> = self.devices.iter().collect();
        let answers = self.answers(&devices, nonce);
        self.carry(round, &answers).await
    }

    fn shown(&self) -> Value {
        let id = self.node.id.to_string();
        let text = must(
            self.verifier
                .command()
                .args(["node", "show", &id, "--format", "json"]),
        );
        serde_json::from_str::<Value>(&text).unwrap()["hardware_evidence"].clone()
    }

    fn words(&self) -> String {
        let id = self.node.id.to_string();
        must(self.verifier.command().args(["node", "show", &id]))
    }

    /// Waits until a round that stands good was appraised, unless it brought nothing.
    fn settled(&self, digest: Digest, empty: bool) -> Value {
        for _ in 0..300 {
            let shown = self.shown();
            assert_eq!(shown["last_round"]["report"], digest.to_string());
            let good = shown["last_round"]["standing"] == "answers the challenge that this node was given";
            if empty || !good || shown["appraised"]["report"] == digest.to_string() {
                return shown;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        panic!("the round was not appraised: {}", self.words());
    }
}

/// Hands a verifier the manifests and OCSP replies of a host.
fn give_collateral(verifier: &Verifier, host: &Path) {
    must(
        verifier
            .command()
            .args(["evidence", "collateral", "add"])
            .arg(host.join("collateral"))
            .arg("--rim-root")
            .arg(host.join("rim-root.pem")),
    );
}

/// Whether each device proved who it is.
fn proved(shown: &Value) -> Vec<bool> {
    let devices = shown["appraised"]["devices"].as_array().unwrap();
    devices.iter().map(|d| d["proved"].as_bool().unwrap()).collect()
}

/// Outcome and reason of a check of a device, or of the host.
fn check<'a>(of: &'a Value, name: &str) -> (&'a str, &'a str) {
    let checks = of["checks"].as_array().or_else(|| of.as_array()).unwrap();
    let found = checks.iter().find(|c| c["name"] == name);
    let found = found.unwrap_or_else(|| panic!("{name} was not checked: {of:#}"));
    (found["outcome"].as_str().unwrap(), found["why"].as_str().unwrap())
}

#[tokio::test]
async fn devices_that_answer_the_binding_prove_who_they_are_and_time_between_two_rounds_is_bracketed() {
    let mut lab = Lab::with(|verifier, host| give_collateral(verifier, host)).await;
    assert!(
        lab.words().contains("no report has carried hardware evidence"),
        "{}",
        lab.words()
    );
    let shown = lab.honest().await;
    assert_eq!(proved(&shown), [true, true], "{shown:#}");
    assert_eq!(shown["grade"], "device-signed");
    for device in shown["appraised"]["devices"].as_array().unwrap() {
        for name in [
            "signature",
            "chain",
            "fwid",
            "nonce",
            "rim",
            "measurements",
            "revocation",
            "pdi",
        ] {
            assert_eq!(check(device, name), ("pass", ""), "{name}: {device:#}");
        }
        assert_eq!(device["driver"], lab.spec.driver);
    }
    assert_eq!(
        check(&shown["appraised"]["host"], "distinct").0,
        "pass",
        "{shown:#}"
    );
    assert_eq!(shown["bracketed"], Value::Null);
    let words = lab.words();
    assert!(words.contains("2 of 2 devices"), "{words}");
    assert!(words.contains("not checked: topology, host"), "{words}");

    lab.node.report().await;
    let shown = lab.honest().await;
    assert_eq!(shown["bracketed"]["devices"], 2, "{shown:#}");
    assert_eq!(shown["rounds"], 2);
    assert!(lab.words().contains("for 2 of 2 devices"), "{}", lab.words());
}

#[tokio::test]
async fn what_was_not_held_is_not_checked_until_it_is_held() {
    let mut lab = Lab::new().await;
    let shown = lab.honest().await;
    assert_eq!(proved(&shown), [true, true], "{shown:#}");
    let device = &shown["appraised"]["devices"][0];
    assert_eq!(check(device, "rim").0, "not checked");
    assert_eq!(check(device, "revocation").0, "not checked");
    assert!(
        lab.words().contains("not checked: rim, all devices"),
        "{}",
        lab.words()
    );
    give_collateral(&lab.verifier, &lab.dir.path().join("host"));
    // One that runs takes up what was added within seconds; one that starts does so at once.
    lab.verifier.kill();
    lab.verifier.serve();
    let passes = || {
        let device = &lab.shown()["appraised"]["devices"][1];
        check(device, "rim").0 == "pass" && check(device, "revocation").0 == "pass"
    };
    let mut tries = 0..300;
    while !passes() {
        assert!(tries.next().is_some(), "{}", lab.words());
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(lab.shown()["rounds"], 1, "it is the same round");
}

impl Lab {
    /// Lets services give what lies among the host's files: each manifest under its name, and for each certificate the reply that speaks of it.
    fn publish(&self, rims: &Service, responder: &Service) {
        let (mut pairs, mut replies): (Vec<(Certificate, Certificate)>, Vec<_>) = (Vec::new(), Vec::new());
        let owned = |(c, issuer): (&Certificate, &Certificate)| (c.clone(), issuer.clone());
        for entry in self.dir.path().join("host/collateral").read_dir().unwrap() {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            if path.extension().is_some_and(|e| e == "der") {
                replies.push(bytes);
                continue;
            }
            let id = path.file_stem().unwrap().to_str().unwrap();
            let rim = Rim::verify(&bytes, &self.pki.rim_root_id(), &mut Links::default()).unwrap();
            pairs.extend(rim.revocable().map(owned));
            let text = answer(id, std::str::from_utf8(&bytes).unwrap());
            rims.give(format!("/v1/rim/{id}").as_bytes(), text.as_bytes());
        }
        for device in &self.devices {
            let chain = DeviceChain::parse(&device.chain).unwrap();
            pairs.extend(known_to_responder(&chain).map(owned));
        }
        for (certificate, issuer) in pairs {
            let of = |r: &&Vec<u8>| Reply::parse(r).unwrap().speaks_of(&certificate, &issuer);
            let reply = replies.iter().find(of).unwrap();
            responder.give(&ocsp::request(&certificate, &issuer), reply);
        }
    }
}

#[tokio::test]
async fn what_a_round_needs_is_asked_of_the_services_and_used_on_while_they_are_away() {
    let (rims, responder) = (Service::start(), Service::start());
    let mut lab = Lab::with(|verifier, _| {
        verifier.set("WEIGHBRIDGE_VERIFIER_RIM_URL", rims.url());
        verifier.set("WEIGHBRIDGE_VERIFIER_OCSP_URL", responder.url());
    })
    .await;
    lab.publish(&rims, &responder);
    let passes = |shown: &Value| {
        for device in shown["appraised"]["devices"].as_array().unwrap() {
            for name in ["rim", "measurements", "revocation"] {
                assert_eq!(check(device, name), ("pass", ""), "{name}: {device:#}");
            }
        }
    };
    passes(&lab.honest().await);
    // Of two manifests, of two boot ROMs, and of the authorities of both kinds.
    assert_eq!((rims.asked().len(), responder.asked().len()), (2, 6));
    for service in [&rims, &responder] {
        service.fail(Some("503 Service Unavailable"));
    }
    passes(&lab.honest().await);
    assert!(
        rims.asked().is_empty() && responder.asked().is_empty(),
        "nothing was due"
    );
}

#[tokio::test]
async fn evidence_for_anything_else_than_this_node_and_place_proves_nothing() {
    let mut lab = Lab::new().await;
    type Spoil = fn(&mut Binding);
    let cases: [(&str, Spoil); 6] = [
        ("another verifier", |b| b.verifier = VerifierId([9; 32])),
        ("another challenge", |b| b.challenge = Challenge([9; 32])),
        ("another node's key", |b| b.key = Digest([9; 32])),
        ("another chain", |b| b.chain = ChainId([9; 16])),
        ("another place", |b| b.sequence += 1),
        ("another report", |b| b.report = Digest([9; 32])),
    ];
    for (what, spoil) in cases {
        let round = lab.round();
        let mut binding = lab.binding(&round);
        spoil(&mut binding);
        let devices: Vec<_> = lab.devices.iter().collect();
        let answers = lab.answers(&devices, binding.nonce());
        let shown = lab.carry(round, &answers).await;
        assert_eq!(proved(&shown), [false, false], "{what}: {shown:#}");
        let device = &shown["appraised"]["devices"][0];
        assert_eq!(check(device, "signature").0, "pass", "{what}");
        assert_eq!(check(device, "nonce").0, "fail", "{what}");
        assert_eq!(shown["grade"], "driver-reported", "{what}");
    }
    let words = lab.words();
    assert!(words.contains("fail: nonce, all devices"), "{words}");
}

#[tokio::test]
async fn a_round_that_is_offered_again_or_answers_what_was_not_asked_is_refused_with_its_reason() {
    let mut lab = Lab::new().await;
    let round = lab.round();
    let devices: Vec<_> = lab.devices.iter().collect();
    let answers = lab.answers(&devices, lab.binding(&round).nonce());
    let good = lab.carry(round.clone(), &answers).await;
    assert_eq!(proved(&good), [true, true]);

    let again = lab.carry(round, &answers).await;
    let standing = "answers a challenge that another round has answered before";
    assert_eq!(again["last_round"]["standing"], standing);
    assert_eq!(again["appraised"], good["appraised"], "what it had proved stands");
    assert!(lab.words().contains(standing), "{}", lab.words());

    let token = lab.verifier.token("harbour-1", &[]);
    let mut other = SimulatedNode::enrol(&token, GPUS, now().plus(-3600)).await;
    other.report().await;
    let cases: [(&str, RoundClaims); 2] = [
        (
            "answers a challenge that this node was not given lately",
            RoundClaims {
                challenge: other.challenge.unwrap(),
                ..lab.round()
            },
        ),
        (
            "froze a report that is not held of this node",
            RoundClaims {
                digest: other.previous.unwrap(),
                ..lab.round()
            },
        ),
    ];
    for (standing, claims) in cases {
        // Each report moves the chain and the challenge on.
        let current = lab.round();
        let round = RoundClaims {
            challenge: if standing.contains("challenge") {
                claims.challenge
            } else {
                current.challenge
            },
            digest: if standing.contains("froze") {
                claims.digest
            } else {
                current.digest
            },
            ..current
        };
        let devices: Vec<_> = lab.devices.iter().collect();
        let answers = lab.answers(&devices, lab.binding(&round).nonce());
        let shown = lab.carry(round, &answers).await;
        assert_eq!(shown["last_round"]["standing"], standing);
        assert_eq!(shown["appraised"], good["appraised"]);
    }
}

#[tokio::test]
async fn a_root_that_only_looks_alike_proves_nothing() {
    let mut lab = Lab::new().await;
    let theirs = DevicePki::at(now());
    let host = lab.dir.path().join("theirs");
    std::fs::create_dir_all(&host).unwrap();
    let devices = theirs.write_host(&host, &Slot::row(1, GPUS), &lab.spec).devices;
    let round = lab.round();
    let [one, _] = lab.devices.as_slice() else {
        panic!()
    };
    let answers = lab.answers(&[one, &devices[1]], lab.binding(&round).nonce());
    let shown = lab.carry(round, &answers).await;
    assert_eq!(proved(&shown), [true, false], "{shown:#}");
    let alike = &shown["appraised"]["devices"][1];
    assert_eq!(check(alike, "chain").0, "fail");
    assert_eq!(alike["identity"], Value::Null);
    assert_eq!(shown["grade"], "driver-reported");
    let words = lab.words();
    assert!(words.contains("1 of 2 devices"), "{words}");
    assert!(
        words.contains("identity, firmware and mode of these are device-signed"),
        "{words}"
    );
}

#[tokio::test]
async fn a_device_that_answers_twice_or_for_another_is_found() {
    let mut lab = Lab::new().await;
    let round = lab.round();
    let [one, two] = [0, 1].map(|i: usize| lab.devices[i].clone());
    let twice = lab.answers(&[&one, &one], lab.binding(&round).nonce());
    let shown = lab.carry(round, &twice).await;
    assert_eq!(proved(&shown), [false, false], "{shown:#}");
    assert_eq!(check(&shown["appraised"]["devices"][0], "distinct").0, "fail");
    assert_eq!(check(&shown["appraised"]["host"], "distinct").0, "fail");

    let round = lab.round();
    let swapped = lab.answers(&[&two, &one], lab.binding(&round).nonce());
    let shown = lab.carry(round, &swapped).await;
    let device = &shown["appraised"]["devices"][0];
    let (outcome, why) = check(device, "pdi");
    assert_eq!(outcome, "fail", "{device:#}");
    assert!(why.contains("the driver names the device"), "{why}");
    assert!(lab.words().contains("fail: pdi"), "{}", lab.words());

    // A third device, genuine, of another host.
    let guest = lab.pki.device(Chip::Gh100, 77);
    let round = lab.round();
    let answers = lab.answers(&[&one, &guest], lab.binding(&round).nonce());
    let shown = lab.carry(round, &answers).await;
    assert_eq!(check(&shown["appraised"]["devices"][0], "pdi").0, "pass");
    assert_eq!(check(&shown["appraised"]["devices"][1], "pdi").0, "fail");
}

#[tokio::test]
async fn a_manifest_whose_signer_was_revoked_accuses_no_device_and_is_left_out_once_it_is_issued_anew() {
    let mut lab = Lab::new().await;
    let collateral = lab.dir.path().join("host/collateral");
    let revoked = [(device_pki::Answer::Revoked(1), lab.spec.valid)];
    let reply = lab.pki.rim_signer_reply(&revoked);
    std::fs::write(collateral.join("rim-signer.der"), reply).unwrap();
    lab.honest().await;
    // A verifier that runs takes up what was added.
    let comes_to = |lab: &Lab, says: &str| {
        give_collateral(&lab.verifier, &lab.dir.path().join("host"));
        wait_for(says, || {
            let shown = lab.shown();
            let (_, why) = check(&shown["appraised"]["devices"][0], "revocation");
            why.contains(says).then(|| shown.clone())
        })
    };
    let shown = comes_to(&lab, "is revoked since");
    assert_eq!(proved(&shown), [true, true], "{shown:#}");
    for device in shown["appraised"]["devices"].as_array().unwrap() {
        assert_eq!(check(device, "revocation").0, "not checked", "{device:#}");
    }

    let year: i32 = now().to_string()[..4].parse().unwrap();
    for (version, indices) in [(&lab.spec.driver, 0..21), (&lab.spec.vbios, 21..33)] {
        let text = lab.pki.rim_of_year(year, "GH100", version, indices);
        std::fs::write(collateral.join(format!("anew-{version}.xml")), text).unwrap();
    }
    let shown = comes_to(&lab, "no reply speaks of");
    for device in shown["appraised"]["devices"].as_array().unwrap() {
        assert_eq!(check(device, "measurements"), ("pass", ""));
        let (outcome, why) = check(device, "revocation");
        assert_eq!(outcome, "not checked", "{why}");
        assert!(!why.contains("revoked"), "{why}");
    }
}

#[tokio::test]
async fn a_node_that_offers_no_evidence_says_why_and_at_which_grade_it_stands() {
    let mut lab = Lab::new().await;
    let shown = lab.carry(lab.round(), &[]).await;
    assert_eq!(shown["grade"], "driver-reported");
    assert_eq!(shown["appraised"], Value::Null);
    let none = &shown["last_round"]["none"][0];
    assert_eq!(
        (&none["why"], &none["count"]),
        (&Value::from(NoEvidence::NotOffered.text()), &Value::from(GPUS))
    );
    let words = lab.words();
    assert!(words.contains("2 gave none: the platform offers none"), "{words}");
    assert!(words.contains("all are driver-reported"), "{words}");
}
