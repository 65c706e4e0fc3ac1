use super::*;

const BOOT: BootId = BootId([1; 16]);

fn uuid(n: u8) -> DeviceUuid {
    DeviceUuid([n; 16])
}

/// A device whose three decisive checks passed.
fn proved(n: u8) -> AppraisedDevice {
    let pass = |name| Check {
        name,
        outcome: CheckOutcome::Pass,
        why: String::new(),
    };
    AppraisedDevice {
        attester: Attester::Gpu,
        device: Some(uuid(n)),
        none: None,
        evidence: Some(Digest([n; 32])),
        identity: Some(Digest([n; 32])),
        pdi: None,
        arch: None,
        mode: None,
        driver: None,
        vbios: None,
        checks: [CheckName::Signature, CheckName::Chain, CheckName::Nonce]
            .map(pass)
            .into(),
        mismatches: Vec::new(),
        whole: false,
        collateral: Vec::new(),
        measured: None,
    }
}

/// A round that covers up to `at` and ended ten seconds later.
fn round(n: u8, at: i64, boot: BootId, devices: Vec<AppraisedDevice>) -> AppraisedRound {
    AppraisedRound {
        report: Digest([n; 32]),
        given: UnixSeconds(at),
        received: UnixSeconds(at + 300),
        standing: RoundStanding::Good,
        boot,
        covers_to: UnixSeconds(at),
        ended: UnixSeconds(at + 10),
        at: UnixSeconds(at + 300),
        root: Digest([0; 32]),
        rim_root: Digest([0; 32]),
        devices,
        host: Vec::new(),
    }
}

#[test]
fn time_between_two_good_rounds_of_one_boot_is_bracketed() {
    let mut evidence = NodeEvidence::default();
    evidence.take(round(1, 1_000, BOOT, vec![proved(1), proved(2)]));
    assert!(evidence.bracketed(&uuid(1)).is_empty());
    evidence.take(round(2, 5_000, BOOT, vec![proved(1)]));
    let stretch = (UnixSeconds(1_010), UnixSeconds(5_000));
    assert_eq!(evidence.bracketed(&uuid(1)), [stretch]);
    // The other did not answer the second round.
    assert!(evidence.bracketed(&uuid(2)).is_empty());
    evidence.take(round(3, 9_000, BootId([2; 16]), vec![proved(1)]));
    assert_eq!(evidence.bracketed(&uuid(1)), [stretch]);
}

#[test]
fn a_round_that_does_not_stand_good_changes_nothing() {
    let mut evidence = NodeEvidence::default();
    evidence.take(round(1, 1_000, BOOT, vec![proved(1)]));
    let before = evidence.clone();
    let mut replayed = round(2, 5_000, BOOT, vec![proved(1)]);
    replayed.standing = RoundStanding::ChallengeUsed;
    evidence.take(replayed);
    assert_eq!(evidence, before);
}

#[test]
fn a_round_that_was_held_back_does_not_hide_one_that_was_asked_for_after_it() {
    let mut evidence = NodeEvidence::default();
    let held_back = round(1, 1_000, BOOT, vec![proved(1)]);
    let newest = round(2, 5_000, BOOT, vec![proved(1)]);
    evidence.take(newest.clone());
    evidence.take(AppraisedRound {
        received: UnixSeconds(900_000),
        ended: UnixSeconds(900_000),
        ..held_back
    });
    assert_eq!(evidence.newest, Some(newest));
    assert_eq!(evidence.rounds[0].report, Digest([1; 32]));
}

#[test]
fn the_same_round_with_more_collateral_takes_its_own_place() {
    let mut evidence = NodeEvidence::default();
    evidence.take(round(1, 1_000, BOOT, vec![proved(1)]));
    evidence.take(round(2, 5_000, BOOT, vec![proved(1)]));
    let mut again = round(2, 5_000, BOOT, vec![proved(1)]);
    again.at = UnixSeconds(9_000);
    evidence.take(again.clone());
    assert_eq!(evidence.rounds.len(), 2);
    assert_eq!(evidence.newest.as_ref(), Some(&again));
    // An older one that is appraised anew does not become the newest.
    evidence.take(round(1, 1_000, BOOT, vec![proved(1)]));
    assert_eq!(evidence.newest, Some(again));
}

#[test]
fn nothing_unchecked_proves_a_device() {
    for name in [CheckName::Signature, CheckName::Chain, CheckName::Nonce] {
        let mut device = proved(1);
        device.checks.retain(|c| c.name != name);
        assert!(!device.is_proved(), "{name:?}");
    }
    for name in [CheckName::Fwid, CheckName::Distinct, CheckName::Certificate] {
        let mut device = proved(1);
        device.checks.push(Check {
            name,
            outcome: CheckOutcome::NotChecked,
            why: String::new(),
        });
        assert!(device.is_proved(), "{name:?}");
        device.checks.last_mut().unwrap().outcome = CheckOutcome::Fail;
        assert!(!device.is_proved(), "{name:?}");
    }
}

#[test]
fn what_a_device_answered_last_stands_until_it_answers_again() {
    let mut evidence = NodeEvidence::default();
    let mut wrong = proved(1);
    wrong.checks.push(Check {
        name: CheckName::Fwid,
        outcome: CheckOutcome::Fail,
        why: "other firmware".to_owned(),
    });
    let mut silent = proved(1);
    silent.checks.clear();
    evidence.take(round(1, 1_000, BOOT, vec![wrong.clone(), proved(2)]));
    for (n, devices) in [
        (2, vec![proved(2)]),
        (3, vec![proved(2), silent]),
        (4, vec![proved(3)]),
    ] {
        evidence.take(round(n, i64::from(n) * 1_000, BOOT, devices));
        let [first, ..] = evidence.earlier.as_slice() else {
            panic!("nothing is left of it after round {n}")
        };
        assert_eq!(first.devices, [wrong.clone()]);
    }
    assert_eq!(evidence.earlier[1].devices, [proved(2)]);
    // One that was held back comes before what was asked for later.
    let mut again = evidence.clone();
    again.take(round(9, 500, BOOT, vec![proved(1), proved(3)]));
    assert_eq!(again.earlier, evidence.earlier);
    evidence.take(round(5, 5_000, BOOT, vec![proved(1), proved(2)]));
    let left: Vec<_> = evidence.earlier.iter().flat_map(|r| &r.devices).collect();
    assert_eq!(left, [&proved(3)]);
}

#[test]
fn answers_of_more_devices_than_a_host_has_are_kept_within_a_bound() {
    let mut evidence = NodeEvidence::default();
    for n in 0..200 {
        evidence.take(round(n, i64::from(n) * 1_000, BOOT, vec![proved(n)]));
    }
    assert_eq!(evidence.earlier.len(), EARLIER);
    assert_eq!(evidence.earlier.last().unwrap().devices, [proved(198)]);
}

#[test]
fn rounds_are_kept_within_a_bound() {
    let mut evidence = NodeEvidence::default();
    for n in 0..200 {
        evidence.take(round(n, i64::from(n) * 1_000, BOOT, vec![proved(1)]));
    }
    assert_eq!(evidence.rounds.len(), ROUNDS);
    assert_eq!(evidence.newest.unwrap().report, Digest([199; 32]));
}
