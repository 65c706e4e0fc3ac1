use super::*;
use crate::hardware::Step;
use crate::hardware::nvidia::{
    Collateral, Compared, DeviceChain, Kind, Mismatch, Presented, Standing, Terms, appraise,
};
use crate::id::Digest;
use crate::x509::Links;

/// An appraisal in which everything was checked and holds.
fn good() -> Appraisal {
    let chain = Presented::read("chain", b"", |_| DeviceChain::parse(""));
    let terms = Terms {
        at: UnixSeconds(1_000),
        nonce: None,
        root: Digest([0; 32]),
    };
    let unread = appraise(b"", &chain, &Collateral::default(), &terms, &mut Links::default());
    let compared = |kind| Compared {
        kind,
        file: "a name".to_owned(),
        sha256: Digest([3; 32]),
        measurements: 20,
    };
    Appraisal {
        signature: Step::Pass,
        chain: Step::Pass,
        fwid: Step::Pass,
        nonce: Step::Pass,
        rim: Step::Pass,
        measurements: Step::Pass,
        revocation: Step::Pass,
        device_id: Some(Digest([7; 32])),
        answers: Some([9; 32]),
        standing: Standing::Good,
        product: Some("GH100".to_owned()),
        mode: Some("spt"),
        driver: Some("580.65.06".to_owned()),
        vbios: Some("96.00.9F.00.01".to_owned()),
        compared: vec![compared(Kind::Driver), compared(Kind::Vbios)],
        ..unread
    }
}

fn fail() -> Step {
    Step::Fail("so".to_owned())
}

fn open() -> Step {
    Step::NotChecked("so".to_owned())
}

fn judged(change: impl FnOnce(&mut Appraisal)) -> ([i8; 4], Tier) {
    let mut appraisal = good();
    change(&mut appraisal);
    let vector = Vector::of_device(&appraisal);
    (
        vector.claims().map(|(_, v)| v),
        vector.status_of_device(&appraisal),
    )
}

#[test]
fn each_step_becomes_the_claim_of_the_table() {
    use Tier::{Affirming, Contraindicated, None, Warning};
    let mismatch = |a: &mut Appraisal| {
        a.measurements = fail();
        a.mismatches = vec![Mismatch {
            index: 7,
            expected: Vec::new(),
            found: Option::None,
            source: Kind::Driver,
        }];
    };
    // Identity, configuration, executables, hardware.
    let rows = [
        ("all holds", judged(|_| {}), [2, 0, 3, 2], Affirming),
        (
            "signature",
            judged(|a| a.signature = fail()),
            [99; 4],
            Contraindicated,
        ),
        ("replay", judged(|a| a.nonce = fail()), [99; 4], Contraindicated),
        (
            "no nonce given",
            judged(|a| a.nonce = open()),
            [2, 0, 3, 2],
            Affirming,
        ),
        (
            "chain",
            judged(|a| a.chain = fail()),
            [97, 0, 0, 97],
            Contraindicated,
        ),
        (
            "no chain",
            judged(|a| (a.signature, a.chain) = (open(), open())),
            [0; 4],
            None,
        ),
        (
            "other firmware",
            judged(|a| a.fwid = fail()),
            [96, 0, 33, 2],
            Contraindicated,
        ),
        (
            "no firmware named",
            judged(|a| a.fwid = open()),
            [2, 0, 3, 2],
            Affirming,
        ),
        ("bad manifest", judged(|a| a.rim = fail()), [2, 0, 0, 2], None),
        (
            "no manifest",
            judged(|a| (a.rim, a.measurements) = (open(), open())),
            [2, 0, 0, 2],
            None,
        ),
        (
            "a part alone",
            judged(|a| a.compared.truncate(1)),
            [2, 0, 0, 2],
            None,
        ),
        (
            "conflict",
            judged(|a| a.measurements = fail()),
            [2, 0, 0, 2],
            None,
        ),
        ("mismatch", judged(mismatch), [2, 0, 33, 2], Warning),
        (
            "revoked",
            judged(|a| (a.revocation, a.standing) = (fail(), Standing::Revoked)),
            [96, 0, 0, 96],
            Contraindicated,
        ),
        (
            "unknown",
            judged(|a| (a.revocation, a.standing) = (fail(), Standing::Unknown)),
            [97, 0, 0, 97],
            Contraindicated,
        ),
        (
            "no replies",
            judged(|a| (a.revocation, a.standing) = (open(), Standing::Open)),
            [2, 0, 3, 0],
            None,
        ),
        (
            "a manifest's signer revoked",
            judged(|a| a.revocation = fail()),
            [2, 0, 0, 2],
            None,
        ),
        (
            "mode",
            judged(|a| a.mode = Some("unknown")),
            [2, 36, 3, 2],
            Warning,
        ),
    ];
    for (what, found, vector, status) in rows {
        assert_eq!(found, (vector, status), "{what}");
    }
}

/// Every combination of steps: what failed or was not checked affirms nothing that rests on it, and no pass that is taken away affirms.
#[test]
fn nothing_unchecked_affirms_and_less_evidence_never_does() {
    let step = |n: usize| [Step::Pass, open(), fail()][n].clone();
    let standing = |n: usize| [Standing::Good, Standing::Open, Standing::Revoked][n];
    let made = |code: usize| {
        let digit = |at: u32| code / 3usize.pow(at) % 3;
        let mut a = good();
        a.signature = step(digit(0));
        a.chain = step(digit(1));
        a.fwid = step(digit(2));
        a.nonce = step(digit(3));
        a.rim = step(digit(4));
        a.measurements = step(digit(5));
        a.revocation = step(digit(6));
        a.standing = standing(digit(6));
        a
    };
    for code in 0..3usize.pow(7) {
        let appraisal = made(code);
        let vector = Vector::of_device(&appraisal);
        let status = vector.status_of_device(&appraisal);
        let passed = [
            &appraisal.signature,
            &appraisal.chain,
            &appraisal.rim,
            &appraisal.measurements,
            &appraisal.revocation,
        ];
        let failed = appraisal.steps().iter().any(|(_, s)| matches!(s, Step::Fail(_)));
        if status == Tier::Affirming {
            assert!(passed.iter().all(|s| s.passed()) && !failed, "{code}");
        }
        if !appraisal.signature.passed() || !appraisal.chain.passed() {
            assert!(vector.claims().iter().all(|(_, v)| *v == 0 || *v > 31), "{code}");
        }
        for at in 0..7 {
            if code / 3usize.pow(at) % 3 == 0 {
                let less = made(code + 3usize.pow(at));
                let without = Vector::of_device(&less).status_of_device(&less);
                assert!(
                    without != Tier::Affirming || status == Tier::Affirming,
                    "{code} without {at}"
                );
            }
        }
    }
}

#[test]
fn a_host_is_affirmed_only_where_it_is_whole_and_each_device_is() {
    let host = |topology: Step| Host {
        distinct: Step::Pass,
        one_nonce: Step::Pass,
        alike: Step::Pass,
        topology,
    };
    let status = |host: &Host, whole, devices: &[Tier]| {
        let vector = Vector::of_host(host, devices);
        (
            vector.instance_identity,
            vector.status_of_host(host, whole, devices),
        )
    };
    let all = [Tier::Affirming, Tier::Affirming];
    assert_eq!(status(&host(Step::Pass), true, &all), (2, Tier::Affirming));
    assert_eq!(status(&host(Step::Pass), false, &all), (2, Tier::None));
    assert_eq!(
        status(&host(Step::Pass), true, &[Tier::Affirming, Tier::None]),
        (2, Tier::None)
    );
    assert_eq!(
        status(&host(Step::Pass), true, &[Tier::Affirming, Tier::Warning]),
        (0, Tier::Warning)
    );
    assert_eq!(status(&host(open()), true, &all), (0, Tier::None));
    assert_eq!(status(&host(fail()), true, &all), (97, Tier::Contraindicated));
    let mixed = Host {
        alike: fail(),
        ..host(Step::Pass)
    };
    assert_eq!(status(&mixed, true, &all), (2, Tier::None));
    let replayed = Host {
        one_nonce: fail(),
        ..host(Step::Pass)
    };
    assert_eq!(status(&replayed, true, &all), (99, Tier::Contraindicated));
}

fn issue(profile: Profile) -> Issue<'static> {
    Issue {
        profile,
        at: UnixSeconds(2_000),
        developer: "a developer",
        build: "a build",
    }
}

#[test]
fn an_ear_has_the_members_of_its_profile_and_no_others() {
    let appraisal = good();
    let steps = json!({
        "steps": {
            "signature": "pass", "chain": "pass", "fwid": "pass", "nonce": "pass", "rim": "pass", "measurements": "pass", "revocation": "pass",
        },
        "at": 1_000,
        "report": base64url(&appraisal.report.0),
        "root": base64url(&[0; 32]),
        "manifests": [
            {"kind": "driver", "sha256": base64url(&[3; 32]), "measurements": 20},
            {"kind": "vbios", "sha256": base64url(&[3; 32]), "measurements": 20},
        ],
    });
    let nonce = "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk";
    let ueid = "AQcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH";
    let vector = json!({"instance-identity": 2, "configuration": 0, "executables": 3, "hardware": 2});
    let id = json!({"developer": "a developer", "build": "a build"});
    let devices = [("GPU-0".to_owned(), &appraisal)];
    assert_eq!(
        ear(&issue(Profile::Ietf), &devices, None),
        json!({
            "eat_profile": "tag:ietf.org,2026:rats/ear#03",
            "iat": 2_000,
            "ear_verifier_id": id,
            "submods": {"GPU-0": {
                "ear_status": "affirming",
                "ear_trustworthiness_vector": vector,
                "ear_appraisal_policy_ids": [POLICY],
                "eat_nonce": nonce,
                "ueid": ueid,
                STEPS: steps,
            }},
        })
    );
    let of_veraison = ear(&issue(Profile::Veraison), &devices, None);
    assert_eq!(of_veraison["eat_profile"], "tag:github.com,2023:veraison/ear");
    assert_eq!(of_veraison["ear.verifier-id"], id);
    let member = &of_veraison["submods"]["GPU-0"];
    assert_eq!(member["ear.status"], "affirming");
    assert_eq!(member["ear.trustworthiness-vector"], vector);
    assert_eq!(member["ear.appraisal-policy-id"], POLICY);
}

#[test]
fn only_what_a_device_signed_is_claimed_of_it() {
    let at = UnixSeconds(2_000);
    let mut appraisal = good();
    let set = claims(&appraisal, at);
    assert_eq!(set["eat_profile"], DEVICE_PROFILE);
    assert_eq!((&set["iat"], &set["oemid"]), (&json!(2_000), &json!(5703)));
    assert_eq!(set["hwmodel"], "R0gxMDA", "GH100 in base64url");
    let ueid = data_encoding::BASE64URL_NOPAD
        .decode(set["ueid"].as_str().unwrap().as_bytes())
        .unwrap();
    assert_eq!((ueid.len(), ueid[0]), (33, 1));
    assert_eq!(
        set["submods"],
        json!({
            "driver": {"swname": "driver", "swversion": ["580.65.06"]},
            "VBIOS": {"swname": "VBIOS", "swversion": ["96.00.9F.00.01"]},
        })
    );
    let measured = |a: &Appraisal| claims(a, at)["measres"][0][1].clone();
    assert_eq!(
        measured(&appraisal),
        json!([["driver", "success"], ["VBIOS", "success"]])
    );
    assert!(set.get("dbgstat").is_none() && set.get("hwversion").is_none());

    appraisal.compared.truncate(1);
    appraisal.measurements = fail();
    appraisal.mismatches = [(7, Some(String::new())), (9, None)]
        .into_iter()
        .map(|(index, found)| Mismatch {
            index,
            expected: Vec::new(),
            found,
            source: Kind::Driver,
        })
        .collect();
    assert_eq!(
        measured(&appraisal),
        json!([
            ["driver", "fail"],
            ["VBIOS", "not-run"],
            ["driver measurement 7", "fail"],
            ["driver measurement 9", "absent"],
        ])
    );

    let mut forged = good();
    forged.signature = fail();
    let set = claims(&forged, at);
    let members: Vec<_> = set.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["eat_profile", "iat", "measres", STEPS]);
    assert_eq!(
        measured(&forged),
        json!([["driver", "not-run"], ["VBIOS", "not-run"]])
    );
    let mut expired = good();
    expired.rim = fail();
    assert_eq!(
        measured(&expired),
        json!([["driver", "not-run"], ["VBIOS", "not-run"]])
    );
}
