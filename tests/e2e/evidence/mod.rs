//! Device evidence as a supplier or assessor appraises it: the real program, files, and no network.
//!
//! The devices are synthetic, under roots of the testbed's own. Real evidence is tried in the library, where it is at hand.

mod certificates;
mod device_signed;
mod host;
mod manifests;
mod replayed;
mod rounds;
mod service;
mod standard;
mod told;

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use weighbridge_testbed::device_pki::{Answer, Chip, Device, DevicePki, Said};
use weighbridge_testbed::process::binary;

/// Within the validity of everything that is made here.
const AT: &str = "2026-11-01T12:00:00Z";

/// A directory of files, and the PKI that they are of.
struct Desk {
    dir: tempfile::TempDir,
    pki: DevicePki,
}

impl Desk {
    fn new() -> Self {
        let desk = Self {
            dir: tempfile::tempdir().unwrap(),
            pki: DevicePki::new(),
        };
        desk.put("root.pem", desk.pki.root().as_bytes());
        desk.put("rim-root.pem", desk.pki.rim_root().as_bytes());
        desk
    }

    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn put_device(&self, name: &str, device: &Device, said: &Said) {
        self.put(&format!("{name}.bin"), &device.report(said));
        self.put(&format!("{name}.chain.pem"), device.chain.as_bytes());
    }

    /// Runs `evidence` in the directory; its exit status, its JSON and its standard error.
    fn run(&self, arguments: &[&str]) -> (i32, Value, String) {
        let output = Command::new(binary("weighbridge-verifier"))
            .current_dir(self.dir.path())
            .arg("evidence")
            .args(arguments)
            .args(["--at", AT, "--root", "root.pem"])
            .args(if arguments.contains(&"--format") {
                &[][..]
            } else {
                &["--format", "json"]
            })
            .output()
            .unwrap();
        let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        let error = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), json, error)
    }

    /// Appraises `gpu.bin`.
    fn gpu(&self, more: &[&str]) -> (i32, Value, String) {
        let fixed = [
            "gpu",
            "gpu.bin",
            "--chain",
            "gpu.chain.pem",
            "--rim-root",
            "rim-root.pem",
        ];
        self.run(&[&fixed, more].concat())
    }
}

fn words(json: &Value) -> Vec<&str> {
    [
        "signature",
        "chain",
        "fwid",
        "nonce",
        "rim",
        "measurements",
        "revocation",
    ]
    .iter()
    .map(|k| json[k].as_str().unwrap())
    .collect()
}

const NONCE: &str = "0707070707070707070707070707070707070707070707070707070707070707";

#[test]
fn a_whole_path_of_evidence_passes_for_hopper_and_blackwell() {
    for (chip, product, arch) in [
        (Chip::Gh100, "GH100", "hopper"),
        (Chip::Gb100, "GB100", "blackwell"),
    ] {
        let desk = Desk::new();
        let device = desk.pki.device(chip, 1);
        desk.put_device("gpu", &device, &Said::default());
        desk.put("driver.xml", desk.pki.rim(product, "580.65.06", 0..20).as_bytes());
        desk.put(
            "vbios.xml",
            desk.pki.rim(product, "96.00.9F.00.01", 20..40).as_bytes(),
        );
        for (i, reply) in desk.pki.replies(&device, Answer::Good).iter().enumerate() {
            desk.put(&format!("{i}.der"), reply);
        }
        let replies = ["--ocsp", "0.der", "--ocsp", "1.der", "--ocsp", "2.der"];
        let (status, json, _) = desk.gpu(&[&["--nonce", NONCE], &replies[..]].concat());
        assert_eq!(status, 0, "{json:#}");
        assert_eq!(
            words(&json),
            [
                "pass",
                "pass",
                "pass",
                "pass",
                "not checked",
                "not checked",
                "pass"
            ]
        );
        assert_eq!(
            (json["arch"].as_str(), json["mode"].as_str()),
            (Some(arch), Some("spt"))
        );
        let manifests = [
            "--rim",
            "driver.xml",
            "--rim",
            "vbios.xml",
            "--require",
            "rim,measurements,fwid",
        ];
        let (status, json, _) = desk.gpu(&manifests);
        assert_eq!(
            (status, &words(&json)[4..6]),
            (0, &["pass", "pass"][..]),
            "{json:#}"
        );
        assert_eq!(json["compared"].as_array().unwrap().len(), 2);
        // A part of the device is not the device.
        let (status, ..) = desk.gpu(&["--rim", "driver.xml", "--require", "rim"]);
        assert_eq!(status, 1);
        let (status, json, _) = desk.gpu(&["--require", "revocation"]);
        assert_eq!((status, json["revocation"].as_str()), (1, Some("not checked")));
    }
}

#[test]
fn what_was_revoked_is_on_hold_or_unknown_is_told_apart() {
    for (answer, word) in [
        (Answer::Revoked(1), "revoked since"),
        (Answer::Revoked(6), "on hold since"),
        (Answer::Unknown, "does not know"),
    ] {
        let desk = Desk::new();
        let device = desk.pki.device(Chip::Gh100, 1);
        desk.put_device("gpu", &device, &Said::default());
        for (i, reply) in desk.pki.replies(&device, answer).iter().enumerate() {
            desk.put(&format!("{i}.der"), reply);
        }
        let (status, json, _) = desk.gpu(&["--ocsp", "0.der", "--ocsp", "1.der", "--ocsp", "2.der"]);
        assert_eq!(
            (status, json["revocation"].as_str()),
            (1, Some("fail")),
            "{json:#}"
        );
        assert!(
            json["why"]["revocation"].as_str().unwrap().contains(word),
            "{json:#}"
        );
    }
}

#[test]
fn other_firmware_another_product_and_another_version_are_told_apart() {
    let desk = Desk::new();
    let device = desk.pki.device(Chip::Gh100, 1);
    desk.put_device(
        "gpu",
        &device,
        &Said {
            altered: Some(7),
            ..Said::default()
        },
    );
    desk.put("driver.xml", desk.pki.rim("GH100", "580.65.06", 0..20).as_bytes());
    let (status, json, _) = desk.gpu(&["--rim", "driver.xml"]);
    assert_eq!((status, json["measurements"].as_str()), (1, Some("fail")));
    let mismatch = &json["mismatches"][0];
    assert_eq!(
        (mismatch["index"].as_u64(), mismatch["source"].as_str()),
        (Some(7), Some("driver")),
        "{json:#}"
    );

    desk.put("driver.xml", desk.pki.rim("GB100", "580.65.06", 0..20).as_bytes());
    let (status, json, _) = desk.gpu(&["--rim", "driver.xml"]);
    assert_eq!(
        (status, json["rim"].as_str(), json["measurements"].as_str()),
        (1, Some("fail"), Some("not checked"))
    );
    assert!(
        json["why"]["rim"]
            .as_str()
            .unwrap()
            .contains("is for GB100, and the device is GH100"),
        "{json:#}"
    );

    desk.put("driver.xml", desk.pki.rim("GH100", "570.1", 0..20).as_bytes());
    let (_, json, _) = desk.gpu(&["--rim", "driver.xml"]);
    assert!(
        json["why"]["rim"]
            .as_str()
            .unwrap()
            .contains("is for version 570.1"),
        "{json:#}"
    );

    // Both manifests demand measurement 19.
    desk.put(
        "driver.xml",
        desk.pki.rim("GH100", "580.65.06", 10..20).as_bytes(),
    );
    desk.put(
        "vbios.xml",
        desk.pki.rim("GH100", "96.00.9F.00.01", 19..30).as_bytes(),
    );
    let (status, json, _) = desk.gpu(&["--rim", "driver.xml", "--rim", "vbios.xml"]);
    assert_eq!(status, 1);
    assert!(
        json["why"]["measurements"]
            .as_str()
            .unwrap()
            .contains("both demand measurement 19"),
        "{json:#}"
    );

    let altered = desk
        .pki
        .rim("GH100", "580.65.06", 0..20)
        .replace("active=\"True\"", "active=\"False\"");
    desk.put("driver.xml", altered.as_bytes());
    let (_, json, _) = desk.gpu(&["--rim", "driver.xml"]);
    assert!(
        json["why"]["rim"]
            .as_str()
            .unwrap()
            .contains("the digest in the manifest's signature"),
        "{json:#}"
    );
}

#[test]
fn a_replay_and_a_root_that_only_looks_right_are_refused() {
    let desk = Desk::new();
    let device = desk.pki.device(Chip::Gh100, 1);
    desk.put_device(
        "gpu",
        &device,
        &Said {
            nonce: [8; 32],
            ..Said::default()
        },
    );
    let (status, json, _) = desk.gpu(&["--nonce", NONCE]);
    assert_eq!((status, json["nonce"].as_str()), (1, Some("fail")), "{json:#}");
    // The same names, made by someone else.
    let forged = DevicePki::new().device(Chip::Gh100, 1);
    desk.put_device("gpu", &forged, &Said::default());
    let (status, json, _) = desk.gpu(&[]);
    assert_eq!(
        (status, &words(&json)[..2]),
        (1, &["pass", "fail"][..]),
        "{json:#}"
    );
    assert!(
        json["why"]["chain"]
            .as_str()
            .unwrap()
            .contains("not with the pinned root"),
        "{json:#}"
    );
    assert_eq!(json["device_id"], Value::Null);
    // The report of one device with the chain of another.
    desk.put("gpu.chain.pem", desk.pki.device(Chip::Gh100, 2).chain.as_bytes());
    let (status, json, _) = desk.gpu(&[]);
    assert_eq!(
        (status, &words(&json)[..2]),
        (1, &["fail", "pass"][..]),
        "{json:#}"
    );
}

#[test]
fn no_byte_of_a_synthetic_report_can_be_changed() {
    use weighbridge::hardware::nvidia::{Collateral, DeviceChain, Presented, Terms, appraise};
    use weighbridge::time::UnixSeconds;
    use weighbridge::x509::Links;
    let pki = DevicePki::new();
    let device = pki.device(Chip::Gb100, 3);
    let report = device.report(&Said::default());
    let chain = Presented::read("chain", device.chain.as_bytes(), |b| {
        DeviceChain::parse(std::str::from_utf8(b).unwrap())
    });
    let terms = Terms {
        at: UnixSeconds::parse(AT).unwrap(),
        nonce: None,
        root: pki.root_id(),
    };
    let mut links = Links::default();
    let mut signature = |bytes: &[u8]| {
        appraise(bytes, &chain, &Collateral::default(), &terms, &mut links)
            .signature
            .word()
    };
    assert_eq!(signature(&report), "pass");
    for at in 0..report.len() {
        let mut altered = report.clone();
        altered[at] ^= 0x10;
        assert_eq!(signature(&altered), "fail", "byte {at}");
    }
    for length in [0, 36, 44, 1000, report.len() - 1] {
        assert_eq!(signature(&report[..length]), "fail", "{length} bytes");
    }
}

#[test]
fn exit_status_2_is_for_files_and_arguments_only() {
    let desk = Desk::new();
    let device = desk.pki.device(Chip::Gh100, 1);
    desk.put_device("gpu", &device, &Said::default());
    desk.put("bad.bin", b"no report");
    let (status, json, _) = desk.run(&["gpu", "bad.bin", "--chain", "gpu.chain.pem"]);
    assert_eq!(
        (status, json["signature"].as_str()),
        (1, Some("fail")),
        "{json:#}"
    );
    desk.put("long.bin", &[0; 9000]);
    for (arguments, what) in [
        (
            &["gpu", "gone.bin", "--chain", "gpu.chain.pem"][..],
            "gone.bin cannot be read",
        ),
        (
            &["gpu", "long.bin", "--chain", "gpu.chain.pem"],
            "larger than the 8192 bytes",
        ),
        (
            &["gpu", "gpu.bin", "--chain", "gpu.chain.pem", "--nonce", "12"],
            "--nonce",
        ),
        (
            &["gpu", "gpu.bin", "--chain", "gpu.chain.pem", "--require", "luck"],
            "luck",
        ),
        (&["host", "nowhere"], "nowhere cannot be read"),
        (&["host", "."], "gpu"),
    ] {
        let (status, _, error) = desk.run(arguments);
        if arguments == ["host", "."] {
            // A directory with one whole report, and one report without a chain.
            assert_eq!(status, 2, "{error}");
            continue;
        }
        assert_eq!((status, error.lines().count()), (2, 1), "{error}");
        assert!(error.contains(what), "{error}");
    }
    assert!(Path::new(&desk.dir.path().join("gpu.bin")).exists());
}
