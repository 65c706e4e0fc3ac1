//! What devices run (SEC-01) and how they are used (SEC-02).

use super::evidence::{answered, fails, flags, hour_of, round_with};
use super::*;
use crate::appraisal::Grade;
use crate::appraisal::evidence::{AppraisedDevice, CheckName, CheckOutcome};
use crate::appraisal::fixture::came_to;
use crate::report::Attester;

#[test]
fn sec_01_holds_measurements_against_manifests() {
    let finding = Scene::honest().expect(
        "SEC-01",
        Outcome::Met,
        "each of 4 devices that report signed measurements that are what its maker published for driver 590.48.01 and VBIOS \
         96.00.9F.00.01, and no certificate was revoked",
    );
    assert_eq!(finding.grade, Grade::DeviceSigned);
    let differs = answered(|d| {
        came_to(
            d,
            CheckName::Measurements,
            CheckOutcome::Fail,
            "measurement 9, 12 is not …",
        );
        d.mismatches = vec![9, 12];
        d.collateral = vec![Digest([0xcc; 32])];
    });
    let finding = differs.expect(
        "SEC-01",
        Outcome::NotMet,
        "(serial S2, NVIDIA H100 80GB HBM3) at n-1 measures otherwise than its maker published, at measurements 9, 12; what differs \
         the measurements do not say",
    );
    assert_eq!(
        (finding.grade, finding.message_id.as_str()),
        (Grade::DeviceSigned, "SEC-01.measurements-differ")
    );
    assert!(finding.evidence.contains(&Digest([0xcc; 32])));
    assert_eq!(
        differs.finding("INV-05").outcome,
        Outcome::Met,
        "who it is stands all the same"
    );
    fails(CheckName::Revocation, "`x` is revoked").expect("SEC-01", Outcome::NotMet, "`x` is revoked");
    // What a device that proved nothing says of its firmware is nobody's word.
    let unproved = answered(|d| {
        came_to(d, CheckName::Measurements, CheckOutcome::Fail, "");
        came_to(d, CheckName::Nonce, CheckOutcome::Fail, "replayed");
        d.mismatches = vec![9];
    });
    unproved.expect(
        "SEC-01",
        Outcome::CannotTell,
        "1 device did not prove its key (INV-05)",
    );
}

#[test]
fn sec_01_names_a_device_that_measures_otherwise_than_its_peers_where_no_manifest_decides() {
    let scene = |whole: bool, odd: u8| {
        let mut scene = Scene::honest();
        for device in scene
            .labs
            .iter_mut()
            .flat_map(|l| &mut l.record.evidence.newest.as_mut().unwrap().devices)
        {
            device.whole = whole;
        }
        let newest = scene.labs[0].record.evidence.newest.as_mut().unwrap();
        newest.devices[1].measured = Some(Digest([odd; 32]));
        scene
    };
    let finding = scene(false, 1).expect(
        "SEC-01",
        Outcome::CannotTell,
        "(serial S2, NVIDIA H100 80GB HBM3) at n-1 measures otherwise than most of the 4 devices at the site with its chip, mode, \
         driver and VBIOS, which is a hint and no proof",
    );
    assert_eq!(finding.message_id, "SEC-01.unlike-peers");
    assert_eq!(finding.grade, Grade::DriverReported);
    // Where all agree, that no manifest was there stays open all the same; where manifests decide, they do.
    let agreed = scene(false, 0x4d).expect("SEC-01", Outcome::CannotTell, "could not be compared in full");
    assert_eq!(agreed.message_id, "SEC-01.not-compared");
    scene(true, 1).expect("SEC-01", Outcome::Met, "");
}

#[test]
fn sec_01_leaves_open_what_was_not_compared() {
    for name in [CheckName::Rim, CheckName::Measurements, CheckName::Revocation] {
        let open = answered(|d| came_to(d, name, CheckOutcome::NotChecked, "none is held"));
        let finding = open.expect(
            "SEC-01",
            Outcome::CannotTell,
            &format!("could not be compared in full: {name}: none is held"),
        );
        assert_eq!(finding.message_id, "SEC-01.not-compared");
    }
    answered(|d| d.whole = false).expect(
        "SEC-01",
        Outcome::CannotTell,
        "manifests for a part of it are missing",
    );
    // A manifest that is out of time is its maker's, and so is a pair that contradicts itself.
    fails(CheckName::Rim, "it ended").expect("SEC-01", Outcome::CannotTell, "rim: it ended");
    fails(CheckName::Measurements, "both demand 7").expect("SEC-01", Outcome::CannotTell, "both demand 7");
    let mut dark = hour_of(flags(false, false, 0));
    dark.labs[1].prove(vec![answer(3), answer(4)]);
    dark.expect(
        "SEC-01",
        Outcome::CannotTell,
        "confidential computing is off on 2 GPUs of node n-1, so that they sign nothing; of these only the driver tells versions: driver \
         590.48.01",
    );
}

#[test]
fn sec_01_judges_switches_that_signed() {
    let with = |edit: fn(&mut AppraisedDevice)| {
        round_with(move |round| {
            let mut switch = answer(0);
            (switch.attester, switch.device) = (Attester::Switch, None);
            edit(&mut switch);
            round.devices.push(switch);
        })
    };
    with(|_| {}).expect("SEC-01", Outcome::Met, "");
    with(|d| {
        came_to(d, CheckName::Measurements, CheckOutcome::Fail, "");
        d.mismatches = vec![3];
    })
    .expect(
        "SEC-01",
        Outcome::NotMet,
        "switch 0000000000000000 of node n-1 measures otherwise",
    );
    with(|d| came_to(d, CheckName::Rim, CheckOutcome::NotChecked, "none is held")).expect(
        "SEC-01",
        Outcome::CannotTell,
        "switch 0000000000000000 of node n-1 could not be compared",
    );
}

#[test]
fn sec_01_knows_allowed_versions_signed_and_reported() {
    let listing = |scene: Scene, key: &str, version: &str| {
        scene.with("licensed_tpp", &format!("{key} = [\"{version}\"]\nlicensed_tpp"))
    };
    listing(Scene::honest(), "driver_versions", "590.48.01").expect("SEC-01", Outcome::Met, "");
    listing(Scene::honest(), "vbios_versions", "96.00.9f.00.01").expect("SEC-01", Outcome::Met, "");
    for (key, says) in [
        (
            "driver_versions",
            "runs driver 590.48.01, as it signed, which the licence does not list",
        ),
        (
            "vbios_versions",
            "runs VBIOS 96.00.9F.00.01, as it signed, which the licence does not list",
        ),
    ] {
        let finding = listing(Scene::honest(), key, "1.2.3").expect("SEC-01", Outcome::NotMet, says);
        assert_eq!(
            (finding.grade, finding.message_id.as_str()),
            (Grade::DeviceSigned, "SEC-01.version-not-allowed")
        );
    }
    listing(answered(|d| d.vbios = None), "vbios_versions", "96.00.9F.00.01").expect(
        "SEC-01",
        Outcome::CannotTell,
        "does not sign its version of VBIOS",
    );
    // Without evidence the driver's word is held against the site, and never for it.
    let mut dark = Scene::empty();
    let mut old = gpu(2);
    old.identity.vbios = Some("96.00.74.00.11".to_owned());
    dark.hour(&[gpu(1), old], &[gpu(3), gpu(4)]);
    listing(dark, "vbios_versions", "96.00.9F.00.01").expect(
        "SEC-01",
        Outcome::NotMet,
        "at n-1 runs VBIOS 96.00.74.00.11, as its driver reports",
    );
    let mut dark = Scene::empty();
    dark.hour(&[gpu(1), gpu(2)], &[gpu(3), gpu(4)]);
    let finding = listing(dark, "driver_versions", "1.2.3").expect(
        "SEC-01",
        Outcome::NotMet,
        "node n-1 runs driver 590.48.01, as its driver reports",
    );
    assert_eq!(finding.grade, Grade::DriverReported);
    let mut dark = Scene::empty();
    dark.hour(&[gpu(1), gpu(2)], &[gpu(3), gpu(4)]);
    listing(dark, "driver_versions", "590.48.01").expect("SEC-01", Outcome::CannotTell, "has sent no round");
}

#[test]
fn sec_02_believes_the_driver_of_developer_mode() {
    let finding = Scene::honest().expect(
        "SEC-02",
        Outcome::Met,
        "developer mode is off on 2 nodes, as drivers say",
    );
    assert_eq!(finding.grade, Grade::DriverReported);
    let on = hour_of(flags(true, true, 0));
    let finding = on.expect(
        "SEC-02",
        Outcome::NotMet,
        "developer mode is on on node n-1, as its driver says",
    );
    assert_eq!(
        (finding.grade, finding.message_id.as_str()),
        (Grade::DriverReported, "SEC-02.developer-mode")
    );
    hour_of(None).expect(
        "SEC-02",
        Outcome::CannotTell,
        "the driver of node n-1 says nothing of developer mode",
    );
}

#[test]
fn sec_02_compares_the_mode_with_the_licence() {
    let asks = |scene: Scene, term: &str| {
        scene.with(
            "licensed_tpp",
            &format!("confidential_compute = \"{term}\"\nlicensed_tpp"),
        )
    };
    asks(Scene::honest(), "on").expect(
        "SEC-02",
        Outcome::Met,
        "confidential computing is on, as 4 devices signed and the drivers say, and the licence asks for that",
    );
    let finding = asks(Scene::honest(), "off").expect(
        "SEC-02",
        Outcome::NotMet,
        "confidential computing is on on node n-1, as 2 devices signed, and the licence asks for off",
    );
    assert_eq!(
        (finding.grade, finding.message_id.as_str()),
        (Grade::DeviceSigned, "SEC-02.confidential-on")
    );
    // With protected PCIe the driver calls the feature off.
    asks(hour_of(flags(false, false, 1)), "on").expect("SEC-02", Outcome::Met, "as they say too");
    asks(hour_of(flags(false, false, 1)), "off").expect(
        "SEC-02",
        Outcome::NotMet,
        "on on node n-1, as its driver says",
    );
    let finding = asks(hour_of(flags(false, false, 0)), "on").expect(
        "SEC-02",
        Outcome::NotMet,
        "confidential computing is off on node n-1, as its driver says, and the licence asks for on",
    );
    assert_eq!(
        (finding.grade, finding.message_id.as_str()),
        (Grade::DriverReported, "SEC-02.confidential-off")
    );
    // What devices sign stands above what the driver says.
    let mut proved = hour_of(flags(false, false, 0));
    proved.labs[0].prove(vec![answer(1), answer(2)]);
    asks(proved, "on").expect("SEC-02", Outcome::Met, "as 2 devices signed");
    asks(hour_of(None), "on").expect(
        "SEC-02",
        Outcome::CannotTell,
        "says nothing of confidential computing",
    );
    // An unknown mode proves none.
    let mut unknown = hour_of(flags(false, false, 0));
    let other = |n| AppraisedDevice {
        mode: Some("unknown".to_owned()),
        ..answer(n)
    };
    unknown.labs[0].prove(vec![other(1), other(2)]);
    asks(unknown, "on").expect("SEC-02", Outcome::NotMet, "");
}
