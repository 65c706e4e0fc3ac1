//! What devices sign: who they are (INV-05), and what counts of it at all.

use super::*;
use crate::appraisal::evidence::{
    AppraisedDevice, Check, CheckName, CheckOutcome, NodeEvidence, RoundStanding,
};
use crate::appraisal::fixture::{came_to, driver, no_answer};
use crate::appraisal::{ClockFacts, Grade, SightedProof};
use crate::id::NodeId;
use crate::report::{Attester, NoEvidence};
use crate::telemetry::ConfidentialCompute;
use crate::time::DAY_SECONDS;

/// The honest scene, in whose newest round of the first node the second device's answer is another.
pub(super) fn answered(edit: impl Fn(&mut AppraisedDevice)) -> Scene {
    let mut scene = Scene::honest();
    let newest = scene.labs[0].record.evidence.newest.as_mut().unwrap();
    edit(&mut newest.devices[1]);
    scene
}

pub(super) fn fails(name: CheckName, why: &str) -> Scene {
    answered(|d| came_to(d, name, CheckOutcome::Fail, why))
}

/// The honest scene, of whose newest round on the first node this is true too.
pub(super) fn round_with(edit: impl Fn(&mut crate::appraisal::evidence::AppraisedRound)) -> Scene {
    let mut scene = Scene::honest();
    edit(scene.labs[0].record.evidence.newest.as_mut().unwrap());
    scene
}

pub(super) fn hour_of(confidential: Option<ConfidentialCompute>) -> Scene {
    let mut scene = Scene::empty();
    scene.labs[0].run_with(12, &[gpu(1), gpu(2)], |c| {
        let mut driver = driver();
        driver.confidential_compute = confidential.clone();
        c.submods.host.host.driver = Some(driver);
    });
    scene.labs[1].run(12, &[gpu(3), gpu(4)]);
    scene
}

pub(super) fn flags(enabled: bool, developer_mode: bool, multi_gpu_mode: u8) -> Option<ConfidentialCompute> {
    Some(ConfidentialCompute {
        enabled,
        developer_mode,
        multi_gpu_mode,
    })
}

#[test]
fn inv_05_says_who_proved_what_how_lately_and_what_that_does_not_show() {
    let scene = Scene::honest();
    // The newest rounds were asked for 295 s before the last report ended, which was 10 s ago. Between the two rounds
    // lie 1,790 of 3,600 s.
    let finding = scene.expect(
        "INV-05",
        Outcome::Met,
        "each of 4 devices that report signed a fresh nonce with a key that its maker certified, the oldest 5 minutes ago, and the \
         rule set allows 3 days; the driver names 4 of them as their certificates do; 49.72 % of the time in which they answered \
         since 2026-11-20T00:00:00Z lies between two such rounds; a willing second host could have relayed the question",
    );
    assert_eq!(
        (finding.grade, finding.message_id.as_str()),
        (Grade::DeviceSigned, "INV-05.all-proved")
    );
    assert_eq!(
        finding.limit,
        Some(Quantity::at_most(3 * DAY_SECONDS, "seconds since the proof"))
    );
    assert_eq!(
        finding.measured,
        Some(Quantity::at_most(305, "seconds since the proof"))
    );
    for lab in &scene.labs {
        let newest = lab.record.evidence.newest.as_ref().unwrap();
        assert!(finding.evidence.contains(&newest.report));
        for device in &newest.devices {
            assert!(finding.evidence.contains(&device.evidence.unwrap()));
        }
    }
    let strict = scene.with("licensed_tpp", "proof_max_age = \"4 min\"\nlicensed_tpp");
    strict.expect(
        "INV-05",
        Outcome::CannotTell,
        "the newest good round of node n-1 is 5 minutes old, and the licence allows 4 minutes",
    );
}

#[test]
fn inv_05_names_the_device_and_what_fails() {
    for (name, message) in [
        (CheckName::Signature, "signature-fails"),
        (CheckName::Chain, "chain-fails"),
        (CheckName::Nonce, "nonce-differs"),
        (CheckName::Fwid, "firmware-differs"),
        (CheckName::Distinct, "answered-twice"),
        (CheckName::Certificate, "certificate-revoked"),
    ] {
        let says = "(serial S2, NVIDIA H100 80GB HBM3) at n-1 did not prove its key in the round received \
                    2026-11-20T01:00:05Z: it is so";
        let finding = fails(name, "it is so").expect("INV-05", Outcome::NotMet, says);
        assert_eq!(finding.message_id, format!("INV-05.{message}"));
        assert_eq!(finding.subjects, [gpu(2).identity.uuid.nvml()]);
    }
    // Where no signature holds, no device speaks.
    let unsigned = answered(|d| {
        came_to(d, CheckName::Signature, CheckOutcome::Fail, "it is not signed");
        d.identity = None;
    });
    assert_eq!(unsigned.finding("INV-05").grade, Grade::DriverReported);
    // What failed once stays a finding, however old the round.
    let mut old = fails(CheckName::Nonce, "it answers another");
    old.labs.iter_mut().for_each(|lab| lab.sleep(5 * 86_400));
    old.hour(&[gpu(1), gpu(2)], &[gpu(3), gpu(4)]);
    old.now = old.labs[0].wall().plus(10);
    old.expect("INV-05", Outcome::NotMet, "it answers another");
}

#[test]
fn what_a_device_proved_on_one_node_tells_nothing_of_another_that_reports_it() {
    // Of the two sightings the one that the first node tells of was heard last.
    let twice = |answers: Vec<AppraisedDevice>| {
        let mut scene = Scene::honest();
        scene.labs[1].run(1, &[gpu(1), gpu(3), gpu(4)]);
        if !answers.is_empty() {
            scene.labs[1].prove(answers);
        }
        scene.labs[0].run(2, &[gpu(1), gpu(2)]);
        scene.now = scene.labs[0].wall().plus(10);
        scene
    };
    let silent = twice(Vec::new());
    let says = "1 GPU of node n-2 had no part in its round";
    for id in ["INV-05", "SEC-01"] {
        let found = silent.expect(id, Outcome::CannotTell, says);
        assert_eq!(found.subjects, [gpu(1).identity.uuid.nvml()], "{id}");
    }
    let found = silent.finding("INV-05");
    assert!(found.sentence.contains("4 of 4 devices"), "{}", found.sentence);
    let mut forged = answer(1);
    came_to(&mut forged, CheckName::Signature, CheckOutcome::Fail, "it is so");
    twice(vec![forged, answer(3), answer(4)]).expect(
        "INV-05",
        Outcome::NotMet,
        "at n-2 did not prove its key",
    );
    let mut altered = answer(1);
    came_to(
        &mut altered,
        CheckName::Measurements,
        CheckOutcome::Fail,
        "it differs",
    );
    altered.mismatches = vec![9];
    twice(vec![altered, answer(3), answer(4)]).expect("SEC-01", Outcome::NotMet, "at n-2 measures otherwise");
}

#[test]
fn a_device_that_is_left_out_of_the_next_round_takes_nothing_back() {
    let mismatch = |d: &mut AppraisedDevice| {
        came_to(d, CheckName::Measurements, CheckOutcome::Fail, "it differs");
        d.mismatches = vec![9];
    };
    let next = |mut scene: Scene, second: Option<AppraisedDevice>| {
        let newest = scene.labs[0].record.evidence.newest.clone().unwrap();
        scene.labs[0].record.evidence = NodeEvidence::default();
        scene.labs[0].take(newest);
        scene.labs[0].run(1, &[gpu(1), gpu(2)]);
        scene.labs[1].run(1, &[gpu(3), gpu(4)]);
        scene.now = scene.labs[0].wall().plus(10);
        scene.labs[0].prove(std::iter::once(answer(1)).chain(second).collect());
        scene
    };
    for silent in [
        None,
        Some(no_answer(2, NoEvidence::Lost)),
        Some(no_answer(2, NoEvidence::NotOffered)),
    ] {
        let scene = next(fails(CheckName::Nonce, "it answers another"), silent.clone());
        let finding = scene.expect("INV-05", Outcome::NotMet, "it answers another");
        assert_eq!(finding.message_id, "INV-05.nonce-differs");
        let scene = next(answered(mismatch), silent.clone());
        let finding = scene.expect("SEC-01", Outcome::NotMet, "at measurement 9");
        assert_eq!(finding.message_id, "SEC-01.measurements-differ");
        // It speaks for nothing any more.
        let finding = next(Scene::honest(), silent).finding("INV-05");
        assert_eq!(finding.outcome, Outcome::CannotTell);
    }
    let mended = next(answered(mismatch), Some(answer(2)));
    mended.expect("SEC-01", Outcome::Met, "");
    mended.expect("INV-05", Outcome::Met, "");
}

#[test]
fn inv_05_names_a_switch_whose_answer_is_no_answer() {
    let scene = round_with(|round| {
        let mut switch = answer(9);
        (switch.attester, switch.device) = (Attester::Switch, None);
        came_to(
            &mut switch,
            CheckName::Nonce,
            CheckOutcome::Fail,
            "it answers another",
        );
        round.devices.push(switch);
    });
    let finding = scene.expect(
        "INV-05",
        Outcome::NotMet,
        "a switch of node n-1 did not prove its key in the round received 2026-11-20T01:00:05Z: it answers another",
    );
    assert_eq!(finding.message_id, "INV-05.nonce-differs");
}

#[test]
fn inv_05_finds_two_keys_for_one_device() {
    let mut scene = Scene::honest();
    let newest = scene.labs[0].record.evidence.newest.as_mut().unwrap();
    let mut second = answer(2);
    second.identity = Some(Digest([0xee; 32]));
    newest.devices.push(second);
    let finding = scene.expect("INV-05", Outcome::NotMet, "was presented with two keys");
    assert_eq!(finding.message_id, "INV-05.two-keys");
    // The worst of several answers counts, wherever it stands.
    let newest = scene.labs[0].record.evidence.newest.as_mut().unwrap();
    came_to(
        &mut newest.devices[2],
        CheckName::Nonce,
        CheckOutcome::Fail,
        "replayed",
    );
    scene.expect("INV-05", Outcome::NotMet, "replayed");
}

#[test]
fn inv_05_tells_one_key_in_two_hosts_from_a_device_that_moved() {
    let mut relayed = Scene::honest();
    let newest = relayed.labs[1].record.evidence.newest.as_mut().unwrap();
    newest.devices[0].identity = answer(1).identity;
    let finding = relayed.expect(
        "INV-05",
        Outcome::NotMet,
        "which answered for both, was seen on node n-1 as ",
    );
    assert!(
        finding.sentence.contains("one of them relayed the question"),
        "{}",
        finding.sentence
    );
    assert_eq!(finding.message_id, "INV-05.one-key-two-nodes");
    assert_eq!(finding.grade, Grade::DeviceSigned);
    let mut both = [gpu(1), gpu(3)].map(|g| g.identity.uuid.nvml());
    both.sort();
    assert_eq!(finding.subjects, both);

    // The same under a key that was revoked before leaves it open.
    relayed.statuses[1].revoked_from = Some(start());
    relayed.statuses[1].revoked_at = Some(relayed.now);
    relayed.expect("INV-05", Outcome::CannotTell, "may have been on node n-1 as ");

    // At another site the same key, under another name of the device.
    let mut elsewhere = Scene::honest();
    let round = elsewhere.labs[0].record.evidence.newest.clone().unwrap();
    let whole = elsewhere.labs[0].record.facts.devices[0].presence.clone();
    elsewhere.elsewhere.push(Sighting {
        node: NodeId([5; 17]),
        status: NodeStatus {
            name: "x-5".to_owned(),
            ..status(5)
        },
        clock: ClockFacts::default(),
        site: "harbour-9".to_owned(),
        uuid: gpu(9).identity.uuid,
        serial: None,
        presence: whole,
        proof: Some(SightedProof {
            key: answer(1).identity.unwrap(),
            report: Digest([5; 32]),
            received: round.received,
            covers_to: round.covers_to,
        }),
    });
    let finding = elsewhere.expect("INV-05", Outcome::NotMet, "node x-5 of site harbour-9");
    assert_eq!(finding.message_id, "INV-05.one-key-two-nodes");
    assert!(finding.evidence.contains(&Digest([5; 32])), "{finding:?}");
    elsewhere.elsewhere[0].proof = None;
    elsewhere.expect("INV-05", Outcome::Met, "each of 4 devices");

    let mut moved = Scene::empty();
    moved.labs[0].run(6, &[gpu(1), gpu(2)]);
    moved.labs[0].prove(vec![answer(1), answer(2)]);
    moved.labs[0].run(6, &[gpu(2)]);
    moved.labs[1].run(6, &[gpu(3), gpu(4)]);
    moved.labs[1].run(6, &[gpu(1), gpu(3), gpu(4)]);
    moved.labs[1].prove(vec![answer(1), answer(3), answer(4)]);
    let finding = moved.expect("INV-05", Outcome::Met, "each of 4 devices");
    assert!(
        !finding.sentence.contains("relayed the question, or"),
        "{}",
        finding.sentence
    );
}

#[test]
fn inv_05_holds_a_key_against_the_manifest() {
    let keyed = |n: u8, key: [u8; 32]| {
        let serial = format!("serial = \"S{n}\"");
        Scene::honest().with(&serial, &format!("{serial}\ndevice_id = \"{}\"", Digest(key)))
    };
    let own = answer(2).identity.unwrap().0;
    keyed(2, own).expect("INV-05", Outcome::Met, "");
    let finding = keyed(2, [0xee; 32]).expect(
        "INV-05",
        Outcome::NotMet,
        &format!(
            "at n-1 proved the key {}, and the manifest names {}",
            Digest(own),
            Digest([0xee; 32])
        ),
    );
    assert_eq!(finding.message_id, "INV-05.other-device");
    keyed(4, own).expect(
        "INV-05",
        Outcome::NotMet,
        &format!("which the manifest names for {}", gpu(4).identity.uuid.nvml()),
    );
    // The manifest itself is another condition's.
    assert_eq!(keyed(2, [0xee; 32]).finding("INV-01").outcome, Outcome::Met);
}

#[test]
fn inv_05_says_why_a_platform_offers_nothing() {
    let off = || {
        let mut scene = hour_of(flags(false, false, 0));
        scene.labs[1].prove(vec![answer(3), answer(4)]);
        scene
    };
    let says = "confidential computing is off on 2 GPUs of node n-1, so that they sign nothing; their identity is driver-reported, \
                which an assessor's visit (INV-07) would raise; 2 of 4 devices that report signed a fresh nonce";
    // Whether the agent asked or not.
    let none = || [1, 2].map(|n| no_answer(n, NoEvidence::NotOffered)).to_vec();
    let mut asked = off();
    asked.labs[0].prove(none());
    // Where none signs, there is nothing to appraise.
    let mut unappraised = off();
    unappraised.labs[0].prove(none());
    unappraised.labs[0].record.evidence = NodeEvidence::default();
    for scene in [off(), asked, unappraised] {
        let finding = scene.expect("INV-05", Outcome::CannotTell, says);
        assert_eq!(
            (finding.grade, finding.message_id.as_str()),
            (Grade::DriverReported, "INV-05.not-offered")
        );
    }
    let mut on = Scene::honest();
    on.labs[0].prove(none());
    on.expect(
        "INV-05",
        Outcome::CannotTell,
        "the platform offers no evidence of 2 GPUs of node n-1",
    );
    on.labs[0].prove([1, 2].map(|n| no_answer(n, NoEvidence::Hung)).to_vec());
    on.expect(
        "INV-05",
        Outcome::CannotTell,
        "2 GPUs of node n-1 signed nothing: the driver did not answer",
    );
    on.labs[0].prove(vec![answer(1)]);
    on.expect(
        "INV-05",
        Outcome::CannotTell,
        "1 GPU of node n-1 had no part in its round received 2026-11-20T01:00:05Z",
    );
}

#[test]
fn inv_05_takes_no_round_that_is_old_bad_or_not_appraised() {
    let mut scene = Scene::honest();
    scene.labs.iter_mut().for_each(|lab| lab.sleep(5 * 86_400));
    scene.hour(&[gpu(1), gpu(2)], &[gpu(3), gpu(4)]);
    scene.labs[1].prove(vec![answer(3), answer(4)]);
    scene.now = scene.labs[0].wall().plus(10);
    let says = |scene: &Scene, says: &str, message: &str| {
        let finding = scene.expect("INV-05", Outcome::CannotTell, says);
        assert_eq!(finding.message_id, format!("INV-05.{message}"));
    };
    says(
        &scene,
        "the newest good round of node n-1 is 5 days old, and the rule set allows 3 days",
        "round-too-old",
    );
    for standing in RoundStanding::ALL.iter().filter(|s| **s != RoundStanding::Good) {
        let round = scene.labs[0].round(*standing, Vec::new());
        scene.labs[0].take(round);
        says(
            &scene,
            &format!("the round of node n-1 received 2026-11-25T02:00:05Z {standing}"),
            "round-not-good",
        );
    }
    scene.labs[0].record.facts.round.as_mut().unwrap().standing = RoundStanding::Good;
    says(&scene, "has not been appraised", "round-not-appraised");
    scene.labs[0].record.facts.round = None;
    scene.labs[0].record.evidence = NodeEvidence::default();
    says(
        &scene,
        "node n-1 has sent no round of hardware evidence",
        "no-round",
    );

    // A bad round beside a good one that is young enough changes nothing.
    let mut beside = Scene::honest();
    beside.labs[0].run(1, &[gpu(1), gpu(2)]);
    beside.labs[1].run(1, &[gpu(3), gpu(4)]);
    beside.now = beside.labs[0].wall().plus(10);
    let round = beside.labs[0].round(RoundStanding::ChallengeUsed, Vec::new());
    beside.labs[0].take(round);
    beside.expect("INV-05", Outcome::Met, "");
}

#[test]
fn inv_05_counts_a_proof_from_when_it_was_asked_for_whatever_the_node_says_of_its_clock() {
    let mut scene = Scene::honest();
    let said = scene.now;
    for lab in &mut scene.labs {
        lab.record.evidence.newest.as_mut().unwrap().given = said.plus(-4 * DAY_SECONDS);
        lab.record.evidence.newest.as_mut().unwrap().ended = said;
    }
    let finding = scene.expect(
        "INV-05",
        Outcome::CannotTell,
        "the newest good round of node n-1 is 4 days old, and the rule set allows 3 days",
    );
    assert_eq!(finding.message_id, "INV-05.round-too-old");
}

#[test]
fn inv_05_leaves_open_which_device_signed_where_names_differ() {
    let why = "the driver names the device 00, and its certificate 01";
    let scene = fails(CheckName::Pdi, why);
    let finding = scene.expect(
        "INV-05",
        Outcome::CannotTell,
        "how the two names are related is not confirmed",
    );
    assert!(finding.sentence.contains(why), "{}", finding.sentence);
    assert_eq!(finding.message_id, "INV-05.named-otherwise");
    // A driver that does not name it is no worse.
    answered(|d| came_to(d, CheckName::Pdi, CheckOutcome::NotChecked, "")).expect(
        "INV-05",
        Outcome::Met,
        "the driver names 3 of them",
    );
    let scene = answered(|d| d.arch = Some("blackwell".to_owned()));
    let finding = scene.expect(
        "INV-05",
        Outcome::CannotTell,
        "is of the family Hopper as its driver reports it, and a device of the family blackwell signed for it",
    );
    assert_eq!(finding.message_id, "INV-05.other-chip");
    let host = |outcome| {
        round_with(move |round| {
            round.host.push(Check {
                name: CheckName::Topology,
                outcome,
                why: "GPU 07 is missing".to_owned(),
            });
        })
    };
    host(CheckOutcome::Fail).expect("INV-05", Outcome::CannotTell, "GPU 07 is missing");
    host(CheckOutcome::NotChecked).expect("INV-05", Outcome::Met, "");
}

#[test]
fn a_root_that_the_operator_configured_is_named() {
    let root = |scene: &Scene, id: &str| {
        let finding = scene.finding(id);
        assert!(
            finding.sentence.contains(&format!(
                "configured one whose key has SHA-256 {}",
                Digest([3; 32])
            )),
            "{}",
            finding.sentence
        );
        finding
    };
    let devices = round_with(|r| r.root = Digest([3; 32]));
    assert_eq!(root(&devices, "INV-05").outcome, Outcome::Met);
    root(&devices, "SEC-01");
    root(
        &devices.with("licensed_tpp", "confidential_compute = \"on\"\nlicensed_tpp"),
        "SEC-02",
    );
    let manifests = round_with(|r| r.rim_root = Digest([3; 32]));
    root(&manifests, "SEC-01");
    assert!(!manifests.finding("INV-05").sentence.contains("SHA-256"));
}

#[test]
fn evidence_under_a_revoked_key_speaks_neither_for_nor_against() {
    for scene in [Scene::honest(), fails(CheckName::Nonce, "replayed")] {
        let mut scene = scene;
        // The newest round came at 3,605 s, the last report of the other node then too.
        scene.statuses[0].revoked_from = Some(start().plus(3_605));
        let finding = scene.expect(
            "INV-05",
            Outcome::CannotTell,
            "came under a key that was revoked by then",
        );
        assert_eq!(finding.message_id, "INV-05.revoked-key");
        scene.expect(
            "SEC-01",
            Outcome::CannotTell,
            "came under a key that was revoked by then",
        );
    }
}

#[test]
fn inv_05_and_sec_01_need_devices_that_report() {
    let mut silent = Scene::honest();
    silent.now = start().plus(2 * DAY_SECONDS);
    let mut bare = Scene::empty();
    bare.labs.iter_mut().for_each(|lab| lab.run(12, &[]));
    for scene in [silent, bare] {
        for id in ["INV-05", "SEC-01"] {
            scene.expect(id, Outcome::CannotTell, "no device reports at present");
        }
    }
    let mut half = Scene::empty();
    half.labs[0].run(12, &[gpu(1), gpu(2)]);
    half.labs[0].prove(vec![answer(1), answer(2)]);
    for id in ["INV-05", "SEC-01", "SEC-02"] {
        half.expect(id, Outcome::CannotTell, "node n-2 has never reported");
    }
}

/// Checks whose absence is ordinary: old firmware is not named, nor does every driver name a device, that a device answered twice is
/// said only where it did, and whether its maker stands by its certificates where replies tell (without them SEC-01 is open). That they failed counts; that they were not made accuses nobody.
const ORDINARY: [CheckName; 4] = [
    CheckName::Fwid,
    CheckName::Pdi,
    CheckName::Distinct,
    CheckName::Certificate,
];
const CHECKS: [CheckName; 10] = [
    CheckName::Signature,
    CheckName::Chain,
    CheckName::Nonce,
    CheckName::Rim,
    CheckName::Measurements,
    CheckName::Revocation,
    CheckName::Fwid,
    CheckName::Pdi,
    CheckName::Distinct,
    CheckName::Certificate,
];

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Whatever a round comes to: a check that was not made, or an answer that was not given, improves nothing to `met`.
    #[test]
    fn what_was_not_checked_never_makes_a_finding_met(
        outcomes in proptest::collection::vec(0usize..3, 10),
        mismatches in proptest::collection::vec(0u8..64, 0..3),
        whole: bool,
        forgotten in 0usize..10,
    ) {
        let scene = |forget: Option<usize>| answered(|d| {
            for (i, (name, outcome)) in CHECKS.iter().zip(&outcomes).enumerate() {
                let outcome = if forget == Some(i) { CheckOutcome::NotChecked } else { CheckOutcome::ALL[*outcome] };
                came_to(d, *name, outcome, "why");
            }
            d.mismatches.clone_from(&mismatches);
            d.whole = whole;
        });
        let name = CHECKS[forgotten];
        let failed = CheckOutcome::ALL[outcomes[forgotten]] == CheckOutcome::Fail;
        let mut unanswered = scene(None);
        let newest = unanswered.labs[0].record.evidence.newest.as_mut().unwrap();
        newest.devices.insert(1, no_answer(2, NoEvidence::Hung));
        for id in ["INV-05", "SEC-01"] {
            let before = scene(None).finding(id).outcome;
            if !(failed && ORDINARY.contains(&name)) {
                let after = scene(Some(forgotten)).finding(id);
                proptest::prop_assert!(after.outcome != Outcome::Met || before == Outcome::Met, "{id} {name}: {}", after.sentence);
            }
            proptest::prop_assert_eq!(unanswered.finding(id).outcome, before, "{}", id);
        }
    }
}
