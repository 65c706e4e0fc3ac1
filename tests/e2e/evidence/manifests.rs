//! Manifests beside each other, manifests that demand nothing, and under which root they were read.

use super::{Desk, words};
use weighbridge_testbed::device_pki::{Answer, Chip, DevicePki, Said};

#[test]
fn two_issues_of_one_manifest_may_have_one_name() {
    let desk = Desk::new();
    desk.put_device("gpu", &desk.pki.device(Chip::Gh100, 1), &Said::default());
    desk.put(
        "old/vbios.xml",
        desk.pki.rim("GH100", "96.00.9F.00.01", 20..30).as_bytes(),
    );
    desk.put(
        "new/vbios.xml",
        desk.pki.rim("GH100", "96.00.9F.00.01", 20..40).as_bytes(),
    );
    let (status, json, _) = desk.gpu(&["--rim", "old/vbios.xml", "--rim", "new/vbios.xml"]);
    assert_eq!(status, 0, "{json:#}");
    let files: Vec<_> = json["collateral"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| (f["file"].as_str().unwrap(), f["sha256"].as_str().unwrap()))
        .collect();
    assert_eq!(
        files.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        ["gpu.chain.pem", "vbios.xml", "vbios.xml"]
    );
    assert_ne!(files[1].1, files[2].1);
    assert_eq!(json["compared"][0]["file"].as_str(), Some("vbios.xml"));
}

#[test]
fn a_manifest_that_demands_nothing_shows_nothing() {
    let desk = Desk::new();
    desk.put_device("gpu", &desk.pki.device(Chip::Gh100, 1), &Said::default());
    desk.put("driver.xml", desk.pki.rim("GH100", "580.65.06", 0..0).as_bytes());
    let (status, json, _) = desk.gpu(&["--rim", "driver.xml"]);
    assert_eq!(
        (status, &words(&json)[4..6]),
        (1, &["fail", "not checked"][..]),
        "{json:#}"
    );
}

#[test]
fn nobody_speaks_for_a_chain_that_does_not_hold() {
    let desk = Desk::new();
    let forger = DevicePki::new();
    let forged = forger.device(Chip::Gh100, 1);
    desk.put_device("gpu", &forged, &Said::default());
    for (i, reply) in forger.replies(&forged, Answer::Good).iter().enumerate() {
        desk.put(&format!("{i}.der"), reply);
    }
    let (status, json, _) = desk.gpu(&["--ocsp", "0.der", "--ocsp", "1.der", "--ocsp", "2.der"]);
    assert_eq!(
        (status, json["chain"].as_str(), json["revocation"].as_str()),
        (1, Some("fail"), Some("not checked")),
        "{json:#}"
    );
}

#[test]
fn a_root_that_takes_the_place_of_the_pinned_one_is_named() {
    let desk = Desk::new();
    desk.put_device("gpu", &desk.pki.device(Chip::Gh100, 1), &Said::default());
    let (_, json, _) = desk.gpu(&[]);
    assert_eq!(
        (json["root_from"].as_str(), json["rim_root_from"].as_str()),
        (Some("root.pem"), Some("rim-root.pem"))
    );
    desk.put("root.pem", desk.pki.rim_root().as_bytes());
    desk.put("driver.xml", desk.pki.rim("GH100", "580.65.06", 0..20).as_bytes());
    let (status, json, _) = desk.run(&["rim", "driver.xml"]);
    assert_eq!(
        (
            status,
            json["rim"].as_str(),
            json["signature"].as_str(),
            json["chain"].as_str(),
            json["root_from"].as_str()
        ),
        (0, Some("pass"), Some("pass"), Some("pass"), Some("root.pem")),
        "{json:#}"
    );
    desk.put("root.pem", desk.pki.root().as_bytes());
    let (status, json, _) = desk.run(&["rim", "driver.xml"]);
    assert_eq!(
        (status, json["signature"].as_str(), json["chain"].as_str()),
        (1, Some("pass"), Some("fail")),
        "{json:#}"
    );
}
