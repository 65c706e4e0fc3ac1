//! Published results, where they are at hand. The synthetic twin, with tokens of a key of its own, stands in the testbed.

use super::*;
use crate::hardware::nvidia::{Collateral, DEVICE_ROOT, DeviceChain, Presented, Terms, appraise};
use crate::x509::Links;
use std::path::{Path, PathBuf};

fn data() -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/nvidia-evidence");
    if !dir.is_dir() {
        eprintln!("skipped: {} is absent", dir.display());
        return None;
    }
    Some(dir)
}

fn bytes(path: &Path) -> Vec<u8> {
    crate::bounded::read(std::fs::File::open(path).unwrap(), 1 << 20).unwrap()
}

#[test]
fn a_published_result_is_read_as_its_publisher_decoded_it() {
    let Some(dir) = data() else { return };
    for (file, decoded, device, serial, product) in [
        (
            "nras_hopperClaimsv3",
            Some("nras_hopperClaimsv3_decoded.json"),
            "GPU-0",
            "478176379286082186618948445787393647364802107249",
            "GH100",
        ),
        (
            "nras_switch",
            Some("nras_switch_decoded.json"),
            "SWITCH-0",
            "694931143880983876767046803400974855445978836716",
            "LS10",
        ),
        (
            "nras_v4_8gpu_eat_example.json",
            None,
            "GPU-0",
            "469625540032101286925165816344088050279536367439",
            "GH100",
        ),
    ] {
        let name = if decoded.is_some() {
            format!("{file}_detached_eat.json")
        } else {
            file.to_owned()
        };
        let json = bytes(&dir.join("results").join(name));
        let result = NrasResult::read(&json).unwrap();
        if let Some(decoded) = decoded {
            let decoded: Value = serde_json::from_slice(&bytes(&dir.join("results").join(decoded))).unwrap();
            let (_, jws) = &result.devices[device];
            assert_eq!(Value::Object(jws.claims().clone()), decoded[device], "{file}");
        }
        let issued = UnixSeconds(result.overall.claims()["iat"].as_i64().unwrap());
        let checked = result.check(None, None, issued);
        assert_eq!(checked.digests, Step::Pass, "{file}");
        assert_eq!(
            (checked.time, checked.verdict),
            (Step::Pass, Step::Pass),
            "{file}"
        );
        assert_eq!(checked.signature.word(), "not checked", "{file}");
        assert_eq!(checked.nonce.word(), "not checked", "{file}");
        let later = result.check(None, Some([9; 32]), issued.plus(3_600));
        assert_eq!(
            (later.time.word(), later.nonce.word()),
            ("fail", "fail"),
            "{file}"
        );
        let vouched = &result.devices()[0];
        assert!(
            vouched.steps().iter().all(|(_, s)| s.passed()),
            "{file}: {:?}",
            vouched.why
        );
        assert_eq!(vouched.product.as_deref(), Some(product), "{file}");
        let told = |decimal: &str| {
            let digits = decimal.chars().filter_map(|c| c.to_digit(10));
            digits.fold(0u32, |n, d| (n * 10 + d) % 65_521)
        };
        let hex = vouched.serial.as_deref().unwrap();
        let of_hex = hex
            .chars()
            .filter_map(|c| c.to_digit(16))
            .fold(0u32, |n, d| (n * 16 + d) % 65_521);
        assert_eq!(of_hex, told(serial), "{file}: the same number, modulo a prime");
    }
}

#[test]
fn a_published_result_agrees_with_our_own_appraisal_of_the_report() {
    let Some(dir) = data() else { return };
    for (file, id) in [
        ("nras_hopperClaimsv3_detached_eat.json", "hopper-spt-550.90.07-0"),
        ("nras_switch_detached_eat.json", "ls10-sw-96.10.55.00.01-0"),
    ] {
        let result = NrasResult::read(&bytes(&dir.join("results").join(file))).unwrap();
        let vouched = result.devices().remove(0);
        let report = bytes(&dir.join(format!("reports/{id}.bin")));
        let pem = bytes(&dir.join(format!("reports/{id}.chain.pem")));
        let chain = Presented::read("chain", &pem, |b| {
            DeviceChain::parse(std::str::from_utf8(b).unwrap())
        });
        let terms = Terms {
            at: UnixSeconds::parse("2025-06-11").unwrap(),
            nonce: vouched.eat_nonce.map(|n| n.0),
            root: DEVICE_ROOT,
        };
        let ours = appraise(
            &report,
            &chain,
            &Collateral::default(),
            &terms,
            &mut Links::default(),
        );
        let serial = chain.content.as_ref().unwrap().certificates()[0].serial();
        let rows = compare(&vouched, &ours, Some(serial));
        let outcome = |claim: &str| rows.iter().find(|r| r.claim == claim).unwrap().outcome;
        for claim in [
            "serial",
            "eat_nonce",
            "product",
            "vbios",
            "signature",
            "chain",
            "nonce",
        ] {
            assert_eq!(outcome(claim), Outcome::Agree, "{id} {claim}: {rows:#?}");
        }
        for claim in ["rim", "measurements", "revocation"] {
            assert_eq!(outcome(claim), Outcome::OpenHere, "{id} {claim}");
        }
        // The result of one device beside the report of another.
        let other = bytes(&dir.join("reports/hopper-spt-545.00-0.bin"));
        let ours = appraise(
            &other,
            &chain,
            &Collateral::default(),
            &terms,
            &mut Links::default(),
        );
        let rows = compare(&vouched, &ours, Some(serial));
        let signature = rows.iter().find(|r| r.claim == "signature").unwrap();
        assert_eq!(signature.outcome, Outcome::Differ, "{id}");
    }
}

#[test]
fn no_character_of_a_published_token_can_be_changed_unseen() {
    let Some(dir) = data() else { return };
    let json = bytes(&dir.join("results/nras_switch_detached_eat.json"));
    let text = String::from_utf8(json).unwrap();
    let (head, token) = text.rsplit_once("SWITCH-0\": \"").unwrap();
    for at in (0..token.find('"').unwrap()).step_by(7) {
        let mut altered = token.as_bytes().to_vec();
        altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
        let altered = String::from_utf8(altered).unwrap();
        let Ok(result) = NrasResult::read(format!("{head}SWITCH-0\": \"{altered}").as_bytes()) else {
            continue;
        };
        let checked = result.check(None, None, UnixSeconds(1_751_155_060));
        assert_eq!(checked.digests.word(), "fail", "character {at}");
    }
}
