//! Results and evidence in the forms of others: EAR, the claims of RFC 9711, and Veraison's document.

use super::{Desk, NONCE};
use crate::agent_json::explained;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use weighbridge_testbed::device_pki::{Answer, Chip, Said};

const STEPS: &str = "tag:weighbridge.example,2026:appraisal/1";

/// A device of which everything can be checked, with what it is checked against.
fn whole(desk: &Desk) -> Vec<&'static str> {
    let device = desk.pki.device(Chip::Gh100, 1);
    desk.put_device("gpu", &device, &Said::default());
    desk.put("driver.xml", desk.pki.rim("GH100", "580.65.06", 0..20).as_bytes());
    let vbios = desk.pki.rim("GH100", "96.00.9F.00.01", 20..40);
    desk.put("vbios.xml", vbios.as_bytes());
    for (i, reply) in desk.pki.replies(&device, Answer::Good).iter().enumerate() {
        desk.put(&format!("{i}.der"), reply);
    }
    vec!["--nonce", NONCE, "--rim", "driver.xml", "--rim", "vbios.xml"]
}

fn members(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

/// The members of two objects, one of them within the other.
fn both(outer: &Value, inner: &Value) -> BTreeSet<String> {
    members(outer).union(&members(inner)).cloned().collect()
}

#[test]
fn a_result_is_written_as_an_ear_for_either_profile() {
    let desk = Desk::new();
    let arguments = whole(&desk);
    let ear = |format: &str, more: &[&str]| {
        let (status, ear, error) = desk.gpu(&[&["--format", format], more].concat());
        assert!(ear.is_object(), "{error}");
        (status, ear)
    };
    let (status, written) = ear("ear", &arguments);
    assert_eq!(status, 0, "{written:#}");
    assert_eq!(written["eat_profile"], "tag:ietf.org,2026:rats/ear#03");
    let device = &written["submods"]["GPU-0"];
    // No reply spoke of a certificate, so nothing is said of the hardware, and nothing is affirmed as a whole.
    let vector = json!({"instance-identity": 2, "configuration": 0, "executables": 3, "hardware": 0});
    assert_eq!(device["ear_trustworthiness_vector"], vector);
    assert_eq!(device["ear_status"], "none");
    assert_eq!(device["eat_nonce"], "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc");
    assert_eq!(device[STEPS]["steps"]["revocation"], "not checked");
    assert_eq!(
        both(&written, device),
        explained("weighbridge-verifier evidence gpu --format ear")
    );

    let replies = ["--ocsp", "0.der", "--ocsp", "1.der", "--ocsp", "2.der"];
    let mut more = arguments.clone();
    more.extend(replies);
    let (status, written) = ear("ear-veraison", &more);
    assert_eq!(written["eat_profile"], "tag:github.com,2023:veraison/ear");
    // The manifests' signers were not spoken of, which is the exit status's matter: replies were given.
    assert_eq!(status, 1, "{written:#}");
    let device = &written["submods"]["GPU-0"];
    let vector = json!({"instance-identity": 2, "configuration": 0, "executables": 3, "hardware": 2});
    assert_eq!(device["ear.trustworthiness-vector"], vector);
    assert!(written["ear.verifier-id"]["build"].is_string());

    // What does not hold is printed too, and the exit status says so.
    let (status, written) = ear("ear", &["--nonce", &"08".repeat(32)]);
    let device = &written["submods"]["GPU-0"];
    assert_eq!(
        (status, device["ear_status"].as_str()),
        (1, Some("contraindicated"))
    );
    assert_eq!(device["ear_trustworthiness_vector"]["hardware"], 99);
    desk.put("gpu.bin", b"no report");
    let (status, written) = ear("ear", &[]);
    let device = &written["submods"]["GPU-0"];
    assert_eq!(
        (status, device["ear_status"].as_str()),
        (1, Some("contraindicated"))
    );
    assert_eq!(
        (&device["ueid"], &device["eat_nonce"]),
        (&Value::Null, &Value::Null)
    );
}

#[test]
fn a_device_is_described_in_the_claims_of_rfc_9711() {
    let desk = Desk::new();
    let arguments = whole(&desk);
    let (status, set, _) = desk.gpu(&[&["--format", "eat"], &arguments[..]].concat());
    assert_eq!(status, 0, "{set:#}");
    assert_eq!(
        members(&set),
        explained("weighbridge-verifier evidence gpu --format eat")
    );
    let (_, ours, _) = desk.gpu(&[]);
    let ueid = data_encoding::BASE64URL_NOPAD
        .decode(set["ueid"].as_str().unwrap().as_bytes())
        .unwrap();
    assert_eq!(ueid[0], 1);
    assert_eq!(
        data_encoding::HEXLOWER.encode(&ueid[1..]),
        ours["device_id"].as_str().unwrap()
    );
    assert_eq!(
        (&set["oemid"], &set["hwmodel"]),
        (&json!(5703), &json!("R0gxMDA"))
    );
    assert_eq!(
        set["measres"],
        json!([[
            "NVIDIA reference manifests",
            [["driver", "success"], ["VBIOS", "success"]]
        ]])
    );
}

#[test]
fn a_host_is_written_with_each_of_its_devices() {
    let desk = Desk::new();
    super::host::fill_host(&desk, "host");
    let (status, ear, _) = desk.run(&["host", "host", "--format", "ear"]);
    assert_eq!(status, 0, "{ear:#}");
    let names = members(&ear["submods"]);
    assert_eq!(names.len(), 13);
    assert!(
        ["GPU-7", "SWITCH-3", "HOST"].iter().all(|n| names.contains(*n)),
        "{names:?}"
    );
    let host = &ear["submods"]["HOST"];
    assert_eq!(
        host["ear_trustworthiness_vector"]["instance-identity"], 2,
        "{ear:#}"
    );
    assert_eq!(
        host["ear_status"], "none",
        "no device is affirmed without manifests and replies"
    );
    let (_, set, _) = desk.run(&["host", "host", "--format", "eat"]);
    assert_eq!(members(&set["submods"]).len(), 12);
    // Nothing of it names a file.
    let text = format!("{ear}{set}");
    assert!(!text.contains(".bin") && !text.contains("gpu0"), "{text}");

    std::fs::remove_file(desk.dir.path().join("host/gpu5.bin")).unwrap();
    let (status, ear, _) = desk.run(&["host", "host", "--format", "ear"]);
    let host = &ear["submods"]["HOST"];
    assert_eq!(
        (status, host["ear_status"].as_str()),
        (1, Some("contraindicated"))
    );
}

#[test]
fn what_veraison_takes_is_the_evidence_that_was_given() {
    let desk = Desk::new();
    super::host::fill_host(&desk, "host");
    let (status, document, error) = desk.run(&["host", "host", "--format", "ucs"]);
    assert_eq!(status, 0, "{error}");
    assert!(error.contains("switches are left out"), "{error}");
    assert_eq!(
        members(&document),
        explained("weighbridge-verifier evidence gpu --format ucs")
    );
    let base64 = |text: &Value| {
        data_encoding::BASE64
            .decode(text.as_str().unwrap().as_bytes())
            .unwrap()
    };
    assert_eq!(document["eat_profile"], "tag:github.com,2024:veraison/ratsd");
    assert_eq!(base64(&document["eat_nonce"]), [7; 32]);
    let collection: Value = serde_json::from_slice(&base64(&document["cmw"])).unwrap();
    assert_eq!(collection["__cmwc_t"], "tag:github.com,2025:veraison/ratsd/cmw");
    let record = collection["nv-gpu-evidence"].as_array().unwrap();
    assert_eq!(record[0], "application/vnd.veraison.nvidia-gpu-evidence+json");
    let list = data_encoding::BASE64URL_NOPAD
        .decode(record[1].as_str().unwrap().as_bytes())
        .unwrap();
    let list: Value = serde_json::from_slice(&list).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 8);
    for (i, item) in list.as_array().unwrap().iter().enumerate() {
        assert_eq!(
            (item["arch"].as_str(), item["nonce"].as_str()),
            (Some("HOPPER"), Some(NONCE))
        );
        let read = |end: &str| std::fs::read(desk.dir.path().join(format!("host/gpu{i}.{end}"))).unwrap();
        assert_eq!(base64(&item["evidence"]), read("bin"));
        let pem = |bytes: &[u8]| {
            String::from_utf8_lossy(bytes)
                .split_whitespace()
                .collect::<String>()
        };
        assert_eq!(pem(&base64(&item["certificate"])), pem(&read("chain.pem")));
    }

    // Read again it is the same evidence, of the same devices.
    let (_, before, _) = desk.run(&["host", "host"]);
    desk.put("again/evidence.json", document.to_string().as_bytes());
    let (status, after, _) = desk.run(&["host", "again"]);
    assert_eq!(status, 0, "{after:#}");
    for i in 0..8 {
        for member in ["device_id", "report", "signature", "chain", "driver"] {
            assert_eq!(
                before["devices"][i][member], after["devices"][i][member],
                "{i} {member}"
            );
        }
    }
}

#[test]
fn what_veraison_has_no_place_for_is_refused_in_one_line() {
    let desk = Desk::new();
    let switch = desk.pki.device(Chip::Ls10, 1);
    let peers = vec![desk.pki.device(Chip::Gh100, 1).pdi];
    let said = Said {
        driver: None,
        peers,
        ..Said::default()
    };
    desk.put_device("gpu", &switch, &said);
    for (report, why) in [
        (None, "is not of a Hopper or Blackwell GPU"),
        (Some(b"none"), "cannot be read"),
    ] {
        if let Some(bytes) = report {
            desk.put("gpu.bin", bytes);
        }
        let (status, _, error) = desk.gpu(&["--format", "ucs"]);
        assert_eq!((status, error.lines().count()), (2, 1), "{error}");
        assert!(error.contains(why), "{error}");
    }
    for number in [1, 2] {
        let said = Said {
            nonce: [number; 32],
            ..Said::default()
        };
        let device = desk.pki.device(Chip::Gh100, number.into());
        desk.put_device(&format!("host/gpu{number}"), &device, &said);
    }
    let (status, _, error) = desk.run(&["host", "host", "--format", "ucs"]);
    assert_eq!(status, 2, "{error}");
    assert!(error.contains("gpu2.bin answers another nonce"), "{error}");
}
