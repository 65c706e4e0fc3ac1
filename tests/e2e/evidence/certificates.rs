//! Certificates and OCSP replies that are genuine, and do not say what they are shown for.

use super::{Desk, words};
use weighbridge_testbed::device_pki::{Answer, Chip, Said, Validity};

#[test]
fn a_responder_of_the_manifests_authority_signs_no_manifest() {
    let desk = Desk::new();
    desk.put_device("gpu", &desk.pki.device(Chip::Gh100, 1), &Said::default());
    let manifest = desk.pki.rim_of_responder("GH100", "580.65.06", 0..20);
    desk.put("driver.xml", manifest.as_bytes());
    let (status, json, _) = desk.gpu(&["--rim", "driver.xml"]);
    assert_eq!(
        (status, &words(&json)[4..6]),
        (1, &["fail", "not checked"][..]),
        "{json:#}"
    );
}

#[test]
fn a_boot_rom_that_is_numbered_as_another_kind_of_device_names_none() {
    for (chip, other) in [(Chip::Gh100, Chip::Ls10), (Chip::Ls10, Chip::Gb100)] {
        let desk = Desk::new();
        desk.put(
            "odd.pem",
            desk.pki.device_numbered_as(chip, other).chain.as_bytes(),
        );
        let (status, json, _) = desk.run(&["chain", "odd.pem"]);
        assert_eq!((status, json["chain"].as_str()), (1, Some("fail")), "{json:#}");
        assert!(
            json["why"].as_str().unwrap().contains("serial number"),
            "{json:#}"
        );
        assert!(json["device_id"].is_null(), "{json:#}");
        desk.put(
            "own.pem",
            desk.pki.device_numbered_as(chip, chip).chain.as_bytes(),
        );
        assert_eq!(desk.run(&["chain", "own.pem"]).0, 0);
    }
}

#[test]
fn of_several_answers_in_one_reply_the_worst_counts() {
    let desk = Desk::new();
    let device = desk.pki.device(Chip::Gh100, 1);
    desk.put_device("gpu", &device, &Said::default());
    for (i, reply) in desk.pki.replies(&device, Answer::Good).iter().enumerate() {
        desk.put(&format!("{i}.der"), reply);
    }
    let day = Validity::november(1);
    let both = desk
        .pki
        .rom_reply(&device, &[(Answer::Good, day), (Answer::Revoked(6), day)]);
    desk.put("0.der", &both);
    let (status, json, _) = desk.gpu(&["--ocsp", "0.der", "--ocsp", "1.der", "--ocsp", "2.der"]);
    assert_eq!(
        (status, json["revocation"].as_str()),
        (1, Some("fail")),
        "{json:#}"
    );
}

#[test]
fn a_good_reply_of_the_day_does_not_undo_a_revocation_that_was_told_later() {
    let desk = Desk::new();
    let device = desk.pki.device(Chip::Gh100, 1);
    desk.put_device("gpu", &device, &Said::default());
    for (i, reply) in desk.pki.replies(&device, Answer::Good).iter().enumerate() {
        desk.put(&format!("{i}.der"), reply);
    }
    let replies = [
        "--ocsp",
        "0.der",
        "--ocsp",
        "1.der",
        "--ocsp",
        "2.der",
        "--ocsp",
        "later.der",
    ];
    // For the key's compromise, on the ninth, since October; and suspended on the ninth, which says nothing of the first.
    for (reason, expected) in [(1, (1, Some("fail"))), (6, (0, Some("pass")))] {
        desk.put(
            "later.der",
            &desk
                .pki
                .rom_reply(&device, &[(Answer::Revoked(reason), Validity::november(9))]),
        );
        let (status, json, _) = desk.gpu(&replies);
        assert_eq!((status, json["revocation"].as_str()), expected, "{json:#}");
    }
}

#[test]
fn a_name_in_a_certificate_writes_no_line_of_the_account() {
    let desk = Desk::new();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "x\npass  device");
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    desk.put("odd.pem", params.self_signed(&key).unwrap().pem().as_bytes());
    let (status, json, _) = desk.run(&["chain", "odd.pem"]);
    assert_eq!(status, 1);
    assert_eq!(
        json["certificates"][0].as_str(),
        Some("a certificate without a plain common name"),
        "{json:#}"
    );
}
