//! All devices of one host: who is missing, who is foreign, and what else lies in the directory.

use super::Desk;
use weighbridge_testbed::device_pki::{Chip, Device, Said};

/// Eight GPUs and four switches that name each other.
pub(super) fn fill_host(desk: &Desk, dir: &str) -> (Vec<Device>, Vec<Device>) {
    let gpus: Vec<_> = (0..8).map(|i| desk.pki.device(Chip::Gh100, i)).collect();
    let switches: Vec<_> = (0..4).map(|i| desk.pki.device(Chip::Ls10, i)).collect();
    for (i, gpu) in gpus.iter().enumerate() {
        let peers = (0..18).map(|link| switches[link % 4].pdi).collect();
        desk.put_device(
            &format!("{dir}/gpu{i}"),
            gpu,
            &Said {
                feature: 2,
                peers,
                ..Said::default()
            },
        );
    }
    for (i, switch) in switches.iter().enumerate() {
        let peers = gpus.iter().map(|g| g.pdi).collect();
        desk.put_device(
            &format!("{dir}/switch{i}"),
            switch,
            &Said {
                driver: None,
                peers,
                ..Said::default()
            },
        );
    }
    (gpus, switches)
}

#[test]
fn a_host_is_whole_or_its_missing_foreign_or_swapped_member_is_named() {
    let desk = Desk::new();
    let (gpus, switches) = fill_host(&desk, "host");
    let (status, json, _) = desk.run(&["host", "host"]);
    assert_eq!(
        (status, json["host"]["topology"].as_str()),
        (0, Some("pass")),
        "{json:#}"
    );
    assert_eq!(json["devices"].as_array().unwrap().len(), 12);

    let remove = |name: &str| {
        for end in ["bin", "chain.pem"] {
            std::fs::remove_file(desk.dir.path().join(format!("host/{name}.{end}"))).unwrap();
        }
    };
    remove("gpu5");
    let (status, json, _) = desk.run(&["host", "host"]);
    let why = json["why"]["topology"].as_str().unwrap().to_owned();
    assert_eq!(status, 1);
    assert!(why.contains(&format!("GPU {} is missing", gpus[5].pdi)), "{why}");

    fill_host(&desk, "host");
    let foreign = desk.pki.device(Chip::Ls10, 9);
    let peers = gpus.iter().map(|g| g.pdi).collect();
    desk.put_device(
        "host/switch2",
        &foreign,
        &Said {
            driver: None,
            peers,
            ..Said::default()
        },
    );
    let (status, json, _) = desk.run(&["host", "host"]);
    let why = json["why"]["topology"].as_str().unwrap().to_owned();
    assert_eq!(status, 1);
    assert!(
        why.contains(&format!("switch {} is missing", switches[2].pdi)),
        "{why}"
    );
    assert!(why.contains("switch2.bin is foreign"), "{why}");
}

#[test]
fn a_host_without_its_switches_is_not_checked_as_a_whole_and_may_be_required_to_be() {
    let desk = Desk::new();
    let (_, switches) = fill_host(&desk, "host");
    for i in 0..4 {
        std::fs::remove_file(desk.dir.path().join(format!("host/switch{i}.bin"))).unwrap();
    }
    let (status, json, _) = desk.run(&["host", "host"]);
    assert_eq!(
        (status, json["host"]["topology"].as_str()),
        (0, Some("not checked")),
        "{json:#}"
    );
    let why = json["why"]["topology"].as_str().unwrap();
    assert!(switches.iter().all(|s| why.contains(&s.pdi.to_string())), "{why}");
    let (status, ..) = desk.run(&["host", "host", "--require", "topology"]);
    assert_eq!(status, 1);
}

#[test]
fn a_manifest_is_used_for_the_devices_that_it_is_for() {
    let desk = Desk::new();
    desk.put_device("host/gpu", &desk.pki.device(Chip::Gh100, 1), &Said::default());
    // One driver serves several chips, and has a manifest for each.
    for (name, product, version) in [
        ("host/hopper.xml", "GH100", "580.65.06"),
        ("host/blackwell.xml", "GB100", "580.65.06"),
    ] {
        desk.put(name, desk.pki.rim(product, version, 0..20).as_bytes());
    }
    let vbios = desk.pki.rim("GH100", "96.00.9f.00.01", 20..40);
    desk.put("host/vbios.xml", vbios.as_bytes());
    let arguments = [
        "host",
        "host",
        "--rim-root",
        "rim-root.pem",
        "--require",
        "measurements",
    ];
    let (status, json, _) = desk.run(&arguments);
    assert_eq!(status, 0, "{json:#}");
    assert_eq!(json["ignored"], serde_json::json!(["blackwell.xml"]));
    assert_eq!(json["devices"][0]["compared"].as_array().unwrap().len(), 2);
}

#[test]
fn damaged_evidence_is_not_evidence_less() {
    let desk = Desk::new();
    desk.put_device("host/gpu", &desk.pki.device(Chip::Gh100, 1), &Said::default());
    desk.put("host/a\npass.txt", b"");
    desk.put("host/claims.json", b"[[\"JWT\", \"x\"], {\"GPU-0\": \"y\"}]");
    desk.put("host/settings.json", b"{\"evidences\": 0}");
    let (status, json, _) = desk.run(&["host", "host"]);
    assert_eq!(status, 0, "{json:#}");
    assert_eq!(
        json["ignored"],
        serde_json::json!(["a\u{fffd}pass.txt", "claims.json", "settings.json"])
    );
    for damaged in [
        &b"[{\"evidence\": \"*\", \"certificate\": \"\"}]"[..],
        b"{\"evidences\": [{\"evidence\": \"\"}]}",
        b"[{\"evidence\"",
    ] {
        desk.put("host/more.json", damaged);
        let (status, json, _) = desk.run(&["host", "host"]);
        assert_eq!(status, 1, "{json:#}");
        assert!(
            json["unusable"][0].as_str().unwrap().starts_with("more.json: "),
            "{json:#}"
        );
    }
}
