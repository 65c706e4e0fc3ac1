//! Results of a remote attestation service: signed, whole, in time, and beside our own appraisal.

use super::{AT, Desk, NONCE};
use crate::agent_json::explained;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use weighbridge::time::UnixSeconds;
use weighbridge_testbed::device_pki::{Chip, Said, Service};

/// Two GPUs, the service's keys, and what it says of them.
fn desk() -> (Desk, Service, Value) {
    let desk = Desk::new();
    let service = Service::new(UnixSeconds::parse(AT).unwrap().0 - 60);
    let devices = [1, 2].map(|i| desk.pki.device(Chip::Gh100, i));
    for (i, device) in devices.iter().enumerate() {
        desk.put_device(&format!("gpu{i}"), device, &Said::default());
    }
    let claims = devices.each_ref().map(|d| service.claims(d, [7; 32]));
    let [first, second] = claims;
    let result = service.result([7; 32], &[("GPU-0", first), ("GPU-1", second)]);
    desk.put("keys.json", service.keys().to_string().as_bytes());
    desk.put("result.json", result.to_string().as_bytes());
    (desk, service, result)
}

fn nras(desk: &Desk, more: &[&str]) -> (i32, Value, String) {
    desk.run(&[&["nras", "result.json"], more].concat())
}

const REPORTS: [&str; 8] = [
    "--report",
    "gpu0.bin",
    "--chain",
    "gpu0.chain.pem",
    "--report",
    "gpu1.bin",
    "--chain",
    "gpu1.chain.pem",
];

fn outcomes(device: &Value) -> Vec<(&str, &str)> {
    let rows = device["compared"].as_array().unwrap().iter();
    rows.map(|r| (r["claim"].as_str().unwrap(), r["outcome"].as_str().unwrap()))
        .collect()
}

#[test]
fn a_signed_result_holds_and_without_keys_it_does_not() {
    let (desk, ..) = desk();
    let (status, json, error) = nras(&desk, &["--jwks", "keys.json", "--nonce", NONCE]);
    assert_eq!(status, 0, "{error}{json:#}");
    for step in ["digests", "signature", "time", "nonce", "verdict"] {
        assert_eq!(json[step], "pass", "{step}");
    }
    let members = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<BTreeSet<_>>()
    };
    let both: BTreeSet<_> = members(&json)
        .union(&members(&json["devices"][0]))
        .cloned()
        .collect();
    assert_eq!(
        both,
        explained("weighbridge-verifier evidence nras --format json")
    );
    // Without keys the service's word is anybody's.
    let (status, json, _) = nras(&desk, &[]);
    assert_eq!((status, json["signature"].as_str()), (1, Some("not checked")));
    assert_eq!(json["nonce"], "not checked");
    // Another's keys, under the same name.
    desk.put("others.json", Service::new(0).keys().to_string().as_bytes());
    let (status, json, _) = nras(&desk, &["--jwks", "others.json"]);
    assert_eq!((status, json["signature"].as_str()), (1, Some("fail")));
    assert!(
        json["why"]["signature"].as_str().unwrap().contains("GPU-0"),
        "{json:#}"
    );
    let (status, json, _) = nras(&desk, &["--jwks", "keys.json", "--nonce", &"08".repeat(32)]);
    assert_eq!((status, json["nonce"].as_str()), (1, Some("fail")));
}

#[test]
fn a_token_that_was_exchanged_left_out_or_is_old_is_found() {
    let (desk, service, result) = desk();
    let why = |result: &Value, step: &str| {
        desk.put("result.json", result.to_string().as_bytes());
        let (status, json, error) = nras(&desk, &["--jwks", "keys.json"]);
        assert_eq!(
            (status, json[step].as_str()),
            (1, Some("fail")),
            "{error}{json:#}"
        );
        json["why"][step].as_str().unwrap().to_owned()
    };
    let mut swapped = result.clone();
    swapped[1]["GPU-0"] = result[1]["GPU-1"].clone();
    assert!(why(&swapped, "digests").contains("`GPU-0` is not the one"));
    let mut fewer = result.clone();
    fewer[1].as_object_mut().unwrap().remove("GPU-1");
    assert!(why(&fewer, "digests").contains("`GPU-1` is missing"));
    let mut more = result.clone();
    more[1]["GPU-2"] = result[1]["GPU-1"].clone();
    assert!(why(&more, "digests").contains("does not speak of `GPU-2`"));
    // A result without a device says nothing that could hold.
    why(&service.result([7; 32], &[]), "digests");

    let device = desk.pki.device(Chip::Gh100, 1);
    let old = Service::new(service.at - 3_600);
    desk.put("keys.json", old.keys().to_string().as_bytes());
    let claims = old.claims(&device, [7; 32]);
    assert!(why(&old.result([7; 32], &[("GPU-0", claims)]), "time").contains("holds from"));
    let mixed = old.result([7; 32], &[("GPU-0", old.claims(&device, [8; 32]))]);
    assert!(why(&mixed, "nonce").contains("different nonces"));
}

#[test]
fn a_result_is_held_against_our_own_appraisal() {
    let (desk, service, _) = desk();
    let mut arguments = vec![
        "--jwks",
        "keys.json",
        "--nonce",
        NONCE,
        "--rim-root",
        "rim-root.pem",
    ];
    arguments.extend(REPORTS);
    let (status, json, error) = nras(&desk, &arguments);
    assert_eq!(status, 0, "{error}{json:#}");
    for device in json["devices"].as_array().unwrap() {
        let found = outcomes(device);
        for claim in [
            "serial",
            "eat_nonce",
            "product",
            "driver",
            "vbios",
            "signature",
            "chain",
            "fwid",
            "nonce",
        ] {
            assert!(found.contains(&(claim, "agree")), "{claim}: {device:#}");
        }
        for claim in ["rim", "measurements", "revocation"] {
            assert!(
                found.contains(&(claim, "not checked by us")),
                "{claim}: {device:#}"
            );
        }
    }
    let device = desk.pki.device(Chip::Gh100, 1);
    desk.put_device("gpu0", &device, &Said::default());
    let judged = |change: &dyn Fn(&mut serde_json::Map<String, Value>)| {
        let mut claims = service.claims(&device, [7; 32]);
        change(&mut claims);
        let result = service.result([7; 32], &[("GPU-0", claims)]);
        desk.put("result.json", result.to_string().as_bytes());
        let (status, json, error) = nras(&desk, &[&arguments[..6], &REPORTS[..4]].concat());
        assert!(json.is_object(), "{error}");
        (status, json)
    };
    // One claims another driver than the device signed.
    let (status, json) = judged(&|c| {
        c.insert("x-nvidia-gpu-driver-version".to_owned(), json!("999.1"));
    });
    assert_eq!(status, 1);
    let row = &json["devices"][0]["compared"][3];
    assert_eq!(
        *row,
        json!({"claim": "driver", "outcome": "differ", "nras": "999.1", "ours": "580.65.06"})
    );
    // One failed there, and was not checked here: it fails.
    let (status, json) = judged(&|c| {
        c.insert("measres".to_owned(), json!("fail"));
    });
    assert_eq!(
        (status, json["devices"][0]["measurements"].as_str()),
        (1, Some("fail"))
    );
    // What the service does not say is not checked, and is not `agree`.
    let (status, json) = judged(&|c| {
        c.remove("x-nvidia-gpu-attestation-report-signature-verified");
    });
    assert_eq!(status, 1, "{json:#}");
    assert!(outcomes(&json["devices"][0]).contains(&("signature", "not checked by NRAS")));
    let (status, json) = judged(&|c| {
        c.remove("x-nvidia-gpu-attestation-report-cert-chain-fwid-match");
    });
    assert_eq!(status, 0, "{json:#}");
    assert!(outcomes(&json["devices"][0]).contains(&("fwid", "not checked by NRAS")));
    // A report of which it does not speak.
    let (status, json) = judged(&|c| {
        c.insert("ueid".to_owned(), json!("7"));
    });
    assert_eq!((status, &json["strangers"]), (1, &json!(["gpu0.bin"])));
}

#[test]
fn what_is_no_result_is_refused_in_one_line() {
    let (desk, service, result) = desk();
    let mut old = service.result([7; 32], &[]);
    old[0][1] = json!("eyJhbGciOiJFUzM4NCJ9.e30.AA");
    for (text, why) in [
        ("{}".to_owned(), "not a result as NRAS writes it"),
        (json!([["JWS", result[0][1]], {}]).to_string(), "not called `JWT`"),
        (json!([["JWT", "a.b"], {}]).to_string(), "the overall token"),
        (old.to_string(), "version `none`"),
        (
            json!([result[0], {"a\u{1b}": "x"}]).to_string(),
            "the name of a device",
        ),
        (
            json!([result[0], {"GPU-0": "x"}]).to_string(),
            "the token of `GPU-0`",
        ),
        ("[".repeat(10_000), "not a result as NRAS writes it"),
    ] {
        desk.put("result.json", text.as_bytes());
        let (status, _, error) = nras(&desk, &[]);
        assert_eq!((status, error.lines().count()), (2, 1), "{error}");
        assert!(error.contains(why), "{error}");
    }
    desk.put("result.json", result.to_string().as_bytes());
    let (status, _, error) = nras(&desk, &["--jwks", "result.json"]);
    assert_eq!(status, 2);
    assert!(error.contains("no set of keys"), "{error}");
    let (status, _, error) = nras(&desk, &["--report", "gpu0.bin"]);
    assert_eq!(status, 2);
    assert!(error.contains("each report needs its --chain"), "{error}");
}
