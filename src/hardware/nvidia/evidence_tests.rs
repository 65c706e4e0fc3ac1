//! Real evidence of real devices, where it is at hand. The synthetic twin of each claim stands in the testbed's own device PKI.

#[path = "host_tests.rs"]
mod host_tests;

use super::*;
use crate::crypto::sha256;
use crate::hardware::Step;
use crate::id::Digest;
use crate::time::UnixSeconds;
use crate::x509::ocsp::{OcspError, Reply, Status};
use crate::x509::{CertificateError, Links};
use serde_json::Value;
use std::path::{Path, PathBuf};

fn data() -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/nvidia-evidence");
    if !dir.is_dir() {
        eprintln!("skipped: {} is absent", dir.display());
        return None;
    }
    Some(dir)
}

fn read(path: &Path) -> Vec<u8> {
    crate::bounded::read(std::fs::File::open(path).unwrap(), 1 << 20).unwrap()
}

fn manifest(dir: &Path) -> Value {
    serde_json::from_slice(&read(&dir.join("manifest.json"))).unwrap()
}

fn chain(dir: &Path, id: &str) -> Presented<DeviceChain, CertificateError> {
    let path = dir.join(format!("reports/{id}.chain.pem"));
    Presented::read("chain", &read(&path), |b| {
        DeviceChain::parse(std::str::from_utf8(b).unwrap())
    })
}

/// A time at which nearly all the manifests' signers held.
fn then() -> UnixSeconds {
    UnixSeconds::parse("2025-05-01").unwrap()
}

fn terms(at: UnixSeconds) -> Terms {
    Terms {
        at,
        nonce: None,
        root: DEVICE_ROOT,
    }
}

fn rim(dir: &Path, file: &str) -> Presented<Rim, RimError> {
    let bytes = read(&dir.join("rims").join(file));
    Presented::read(file, &bytes, |b| Rim::verify(b, &RIM_ROOT, &mut Links::default()))
}

#[test]
fn every_real_report_gets_the_verdict_that_is_expected_of_it() {
    let Some(dir) = data() else { return };
    let manifest = manifest(&dir);
    let mut links = Links::default();
    let mut seen = 0;
    for item in manifest["reports"].as_array().unwrap() {
        let id = item["id"].as_str().unwrap();
        let bytes = read(&dir.join(format!("reports/{id}.bin")));
        let report = Report::parse(&bytes).unwrap_or_else(|e| panic!("{id}: {e}"));
        assert_eq!(
            report.emit(),
            bytes,
            "{id}: read and written again it is the same"
        );
        assert_eq!(
            report.blocks.len(),
            usize::try_from(item["blocks"].as_u64().unwrap()).unwrap()
        );
        let mut kinds: Vec<u64> = report.opaque.kinds().map(u64::from).collect();
        kinds.sort_unstable();
        let expected: Vec<u64> = item["opaque_ids"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v.as_u64().unwrap())
            .collect();
        assert_eq!(kinds, expected, "{id}");
        if item["chain_len"].is_null() {
            continue;
        }
        let chain = chain(&dir, id);
        let collateral = Collateral::default();
        let result = appraise(&bytes, &chain, &collateral, &terms(then()), &mut links);
        let expected = &item["expected"];
        assert_eq!(
            result.signature.passed(),
            expected["signature"].as_bool().unwrap(),
            "{id}: {:?}",
            result.why
        );
        assert_eq!(
            result.chain.passed(),
            expected["chain_to_nvidia_root"].as_bool().unwrap(),
            "{id}: {:?}",
            result.why
        );
        match expected["fwid_match"].as_bool() {
            Some(fits) => assert_eq!(result.fwid.passed(), fits, "{id}: {:?}", result.why),
            None => assert_eq!(result.fwid.word(), "not checked"),
        }
        let text = |key: &str| item[key].as_str().filter(|t| !t.is_empty());
        assert_eq!(
            result.mode,
            Some(match text("mode").unwrap() {
                "sw" => "switch",
                m => m,
            }),
            "{id}"
        );
        assert_eq!(result.arch.unwrap().text(), text("arch").unwrap(), "{id}");
        assert_eq!(
            result.vbios.as_deref(),
            text("vbios").or(result.vbios.as_deref()),
            "{id}"
        );
        assert_eq!(result.driver.as_deref(), text("driver"), "{id}");
        let ids: Vec<_> = item["rim_ids"]
            .as_object()
            .unwrap()
            .values()
            .map(|v| v.as_str().unwrap().to_owned())
            .collect();
        for id in ids {
            assert!(
                result.rim_ids.contains(&id),
                "{id} is not among {:?}",
                result.rim_ids
            );
        }
        if let Some(compared) = expected["measurements"].as_object() {
            for (which, verdict) in compared {
                let prefix = which.split_once(':').unwrap().1.split(' ').next().unwrap();
                let file = manifest["rims"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .find(|r| r["sha256"].as_str().unwrap().starts_with(prefix));
                let Some(file) = file else { continue };
                let presented = rim(&dir, file["file"].as_str().unwrap());
                let collateral = Collateral {
                    rims: vec![&presented],
                    replies: Vec::new(),
                };
                let result = appraise(&bytes, &chain, &collateral, &terms(then()), &mut links);
                if which.contains("not authentic") {
                    assert_eq!(
                        (result.rim.word(), result.measurements.word()),
                        ("fail", "not checked"),
                        "{id} {which}"
                    );
                    continue;
                }
                let differing: Vec<_> = result.mismatches.iter().map(|m| m.index).collect();
                let verdict = verdict.as_str().unwrap();
                match verdict.strip_prefix("mismatch at ") {
                    None => assert_eq!(result.measurements, Step::Pass, "{id} {which}"),
                    Some(list) => assert_eq!(format!("{differing:?}"), list, "{id} {which}"),
                }
                seen += 1;
            }
        }
    }
    assert!(seen >= 10, "{seen} comparisons with manifests");
}

#[test]
fn every_real_manifest_is_authentic_or_refused_as_expected() {
    let Some(dir) = data() else { return };
    for item in manifest(&dir)["rims"].as_array().unwrap() {
        let file = item["file"].as_str().unwrap();
        let expected = &item["expected"];
        let bytes = read(&dir.join("rims").join(file));
        let result = Rim::verify(&bytes, &RIM_ROOT, &mut Links::default());
        let holds = |key: &str| expected[key].as_bool().unwrap();
        match result {
            Ok(rim) => {
                assert!(
                    holds("reference_digest") && holds("signature_value") && holds("chain_to_rim_root"),
                    "{file}"
                );
                assert_eq!(rim.product(), item["product"].as_str().unwrap());
                assert_eq!(rim.version(), item["version"].as_str().unwrap());
                assert_eq!(
                    rim.measurements().len() as u64,
                    item["active"].as_u64().unwrap(),
                    "{file}"
                );
                assert_eq!(rim.digest().to_string(), item["sha256"].as_str().unwrap());
            }
            Err(RimError::Digest) => assert!(!holds("reference_digest"), "{file}"),
            Err(RimError::Signature) => assert!(!holds("signature_value"), "{file}"),
            Err(other) => panic!("{file}: {other}"),
        }
        let wrong = crate::crypto::pem_decode(
            "CERTIFICATE",
            std::str::from_utf8(&read(&dir.join("roots/wrong_rim_root.crt"))).unwrap(),
        );
        let wrong = wrong.map_or(Digest([1; 32]), |der| {
            crate::x509::Certificate::parse(&der).map_or(Digest([1; 32]), |c| c.key().id())
        });
        assert!(
            Rim::verify(&bytes, &wrong, &mut Links::default()).is_err(),
            "{file}"
        );
    }
}

#[test]
fn revocation_is_read_from_real_replies_at_their_time_only() {
    let Some(dir) = data() else { return };
    let id = "hopper-spt-550.90.07-0";
    let bytes = read(&dir.join(format!("reports/{id}.bin")));
    let chain = chain(&dir, id);
    let mut names: Vec<_> = std::fs::read_dir(dir.join("ocsp"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    names.sort();
    let replies: Vec<_> = names
        .iter()
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            Presented::read(name, &read(path), Reply::parse)
        })
        .collect();
    assert_eq!(replies.len(), 7);
    let mut collateral = Collateral {
        rims: Vec::new(),
        replies: replies.iter().collect(),
    };
    let august = UnixSeconds::parse("2025-08-21T12:00:00Z").unwrap();
    let october = UnixSeconds::parse("2025-10-24T12:00:00Z").unwrap();
    let mut links = Links::default();
    let mut revocation = |collateral: &Collateral<'_>, at| {
        let result = appraise(&bytes, &chain, collateral, &terms(at), &mut links);
        (result.revocation.word(), result)
    };
    assert_eq!(revocation(&collateral, august).0, "pass");
    let (word, later) = revocation(&collateral, october);
    assert!(
        word == "fail" && later.why["revocation"].contains("not at 2025-10-24"),
        "{:?}",
        later.why
    );

    let files = [
        "NV_GPU_DRIVER_GH100_550.90.07.xml",
        "NV_GPU_VBIOS_1010_0200_882_96009F0001.xml",
    ];
    let manifests = files.map(|f| rim(&dir, f));
    collateral.rims = manifests.iter().collect();
    for manifest in &collateral.rims {
        for pair in manifest.content.as_ref().unwrap().signers().windows(2) {
            let [child, issuer] = pair else { unreachable!() };
            let statuses: Vec<_> = collateral
                .replies
                .iter()
                .map(|r| {
                    let reply = r.content.as_ref().unwrap();
                    reply.status(child, issuer, october, None, &mut Links::default())
                })
                .collect();
            assert!(
                statuses.contains(&Ok(Some(Status::Good))),
                "{}: {statuses:?}",
                child.common_name()
            );
            let with_nonce: Vec<_> = collateral
                .replies
                .iter()
                .map(|r| {
                    let reply = r.content.as_ref().unwrap();
                    reply.status(child, issuer, october, Some(&[7; 32]), &mut Links::default())
                })
                .collect();
            assert!(with_nonce.contains(&Err(OcspError::Nonce)), "{with_nonce:?}");
        }
    }
    let whole = revocation(&collateral, august).1;
    assert!(
        whole.compared_whole() && whole.measurements.passed() && whole.rim.passed(),
        "{:?}",
        whole.why
    );
    // The replies for the signers are of another day.
    assert_eq!(whole.revocation.word(), "fail");
    collateral.rims.clear();
    collateral.replies.retain(|r| !r.name.contains("_l3"));
    assert_eq!(revocation(&collateral, august).0, "not checked");
    collateral.replies.clear();
    assert_eq!(revocation(&collateral, august).0, "not checked");
}

#[test]
fn no_byte_of_what_a_manifest_signs_can_be_changed() {
    let Some(dir) = data() else { return };
    let bytes = read(&dir.join("rims/NV_GPU_DRIVER_GH100_550.90.07.xml"));
    let mut links = Links::default();
    Rim::verify(&bytes, &RIM_ROOT, &mut links).unwrap();
    let key_info = bytes.windows(12).position(|w| w == b"<ds:KeyInfo>").unwrap();
    // Every place is reached by the fuzzer; here one in 29 keeps the test short.
    for at in (0..key_info).step_by(29) {
        let mut altered = bytes.clone();
        altered[at] ^= 0x02;
        assert!(Rim::verify(&altered, &RIM_ROOT, &mut links).is_err(), "byte {at}");
    }
}

#[test]
fn a_device_keeps_its_identity_through_a_change_of_firmware() {
    let Some(dir) = data() else { return };
    let identity = |id: &str| {
        let chain = chain(&dir, id).content.unwrap();
        let leaf = sha256(chain.certificates()[0].der());
        (
            chain.verify(&DEVICE_ROOT, then(), &mut Links::default()).unwrap(),
            leaf,
        )
    };
    let (before, leaf_before) = identity("hopper-spt-570.124.03-0");
    let (after, leaf_after) = identity("hopper-spt-580.159.03-0");
    assert_eq!(before, after);
    assert_ne!(leaf_before, leaf_after);
    assert_ne!(before, identity("hopper-spt-550.90.07-0").0);
}

#[test]
fn no_byte_of_a_real_report_can_be_changed() {
    let Some(dir) = data() else { return };
    let id = "hopper-spt-550.90.07-0";
    let bytes = read(&dir.join(format!("reports/{id}.bin")));
    let chain = chain(&dir, id);
    let mut links = Links::default();
    for at in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 0x01;
        let result = appraise(
            &altered,
            &chain,
            &Collateral::default(),
            &terms(then()),
            &mut links,
        );
        assert_eq!(result.signature.word(), "fail", "byte {at}");
    }
}

#[test]
fn chains_that_are_no_devices_are_refused() {
    let Some(dir) = data() else { return };
    let verdict = |file: &str| {
        let text = read(&dir.join("negative-chains").join(file));
        DeviceChain::parse(std::str::from_utf8(&text).unwrap())
            .map_err(|e| e.to_string())
            .and_then(|c| {
                c.verify(&DEVICE_ROOT, then(), &mut Links::default())
                    .map_err(|e| e.to_string())
            })
    };
    for good in ["hopper_cert_chain_case1.pem", "hopper_coco_certs1.pem"] {
        assert!(verdict(good).is_ok(), "{good}: {:?}", verdict(good));
    }
    for bad in [
        "hopper_cert_chain_case2.pem",
        "hopper_cert_chain_case4.pem",
        "blackwell_cert_chain_case2.pem",
        "gonvtrust_invalidCertChain.pem",
    ] {
        assert!(verdict(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_request_names_a_certificate_as_the_real_replies_to_one_do() {
    let Some(dir) = data() else { return };
    let chain = chain(&dir, "hopper-spt-550.90.07-0").content.unwrap();
    let replies =
        ["l2", "l3", "l4"].map(|l| read(&dir.join(format!("ocsp/test_gpu_certificate_{l}.ocsp.der"))));
    let mut asked = 0;
    for (certificate, issuer) in known_to_responder(&chain) {
        let request = crate::x509::ocsp::request(certificate, issuer);
        // Inside four sequences, of which each has a head of three bytes.
        let id = request.get(12..).unwrap();
        let named = |reply: &Vec<u8>| reply.windows(id.len()).any(|w| w == id);
        assert!(replies.iter().any(named), "{}", certificate.common_name());
        let names = crate::x509::ocsp::names(certificate, issuer);
        let claimed = |reply: &Vec<u8>| {
            Reply::parse(reply)
                .unwrap()
                .claims()
                .any(|c| names.contains(&c.name))
        };
        assert_eq!(
            replies.iter().filter(|r| claimed(r)).count(),
            1,
            "{}",
            certificate.common_name()
        );
        asked += 1;
    }
    assert_eq!(asked, 3);
}
