//! Filled from files.

use super::{DRIVER, Desk, answer, time};
use weighbridge_testbed::device_pki::{Answer, DevicePki, Validity};
use weighbridge_verifier::collateral::KeptRim;

#[test]
fn a_directory_fills_the_cache_and_a_gpu_is_appraised_from_it() {
    let desk = Desk::new();
    desk.put("in/vbios.xml", desk.vbios_rim().as_bytes());
    desk.put("in/driver.json", answer(DRIVER, &desk.driver_rim()).as_bytes());
    let mut replies = desk.pki.replies(&desk.gpu, Answer::Good);
    replies.extend(desk.pki.rim_replies(Validity::november(1)));
    for (i, reply) in replies.iter().enumerate() {
        desk.put(&format!("in/{i}.der"), reply);
    }
    desk.put("in/notes.txt", b"not looked at");
    desk.put("in/evidence.json", b"[{\"arch\": \"HOPPER\"}]");
    let (status, json) = desk.add("in");
    assert_eq!(status, 0, "{json:#}");
    let count = |json: &serde_json::Value, what: &str| json[what].as_u64().unwrap();
    assert_eq!((count(&json, "taken"), count(&json, "known")), (7, 0), "{json:#}");
    assert_eq!(json["ignored"], serde_json::json!(["evidence.json", "notes.txt"]));
    assert_eq!(json["rim_root_from"], "rim-root.pem");
    let (status, json) = desk.add("in");
    assert_eq!(
        (status, count(&json, "taken"), count(&json, "known")),
        (0, 0, 7),
        "{json:#}"
    );

    let (status, json) = desk.list();
    assert_eq!(status, 0, "{json:#}");
    let items = json["items"].as_array().unwrap();
    let driver = items.iter().find(|i| i["version"] == "580.65.06").unwrap();
    assert_eq!(
        (
            &driver["kind"],
            &driver["product"],
            &driver["source"],
            &driver["ids"][0]
        ),
        (
            &"rim".into(),
            &"GH100".into(),
            &"directory".into(),
            &DRIVER.into()
        ),
        "{driver:#}"
    );
    assert!(
        driver["age_s"].as_i64().unwrap() < 600 && driver["confirmed"].is_null(),
        "{driver:#}"
    );
    assert_eq!(items.iter().filter(|i| i["kind"] == "ocsp").count(), 5);

    let at = time("2026-11-01T12:00:00Z");
    let held = desk.cache().held_for(&desk.wanted(), at);
    assert_eq!((held.rims.len(), held.replies.len()), (2, 5));
    let appraisal = desk.appraise(&held, at);
    assert!(
        appraisal.measurements.passed() && appraisal.rim.passed(),
        "{:?}",
        appraisal.why
    );
    assert!(appraisal.revocation.passed(), "{:?}", appraisal.why);
}

#[test]
fn what_is_damaged_foreign_or_too_long_is_refused_and_named() {
    let desk = Desk::new();
    let good = desk.driver_rim();
    desk.put("in/good.xml", good.as_bytes());
    desk.put(
        "in/altered.xml",
        good.replace("Measurement_3", "Measurement_4x").as_bytes(),
    );
    desk.put(
        "in/foreign.xml",
        DevicePki::new().rim("GH100", "580.65.06", 0..20).as_bytes(),
    );
    desk.put("in/long.xml", &vec![b' '; (1 << 20) + 1]);
    desk.put(
        "in/other.json",
        answer("NV_GPU_CC_DRIVER_GB100_580.65.06", &good).as_bytes(),
    );
    desk.put("in/cut.der", &desk.pki.replies(&desk.gpu, Answer::Good)[0][..100]);
    let (status, json) = desk.add("in");
    assert_eq!(status, 1, "{json:#}");
    let why = |file: &str| {
        let files = json["files"].as_array().unwrap();
        let one = files.iter().find(|f| f["file"] == file).unwrap();
        assert_eq!(one["outcome"], "refused", "{one:#}");
        one["why"].as_str().unwrap().to_owned()
    };
    for (file, word) in [
        ("altered.xml", "the digest in the manifest's signature"),
        ("foreign.xml", "not with the pinned root"),
        ("long.xml", "larger than the 1048576 bytes"),
        ("other.json", "is the manifest of GH100 580.65.06"),
        ("cut.der", "not an OCSP reply"),
    ] {
        assert!(why(file).contains(word), "{file}: {}", why(file));
    }
    assert_eq!(json["taken"], 1);

    // A file that was damaged in the cache is not used, and is told; so is everything where the root is another.
    let held = desk.state().join("collateral/rim");
    let name = format!("{}.xml", weighbridge::crypto::sha256(good.as_bytes()));
    std::fs::write(held.join(&name), &good.as_bytes()[..5_000]).unwrap();
    let (status, json) = desk.list();
    assert_eq!(
        (status, json["items"].as_array().unwrap().len()),
        (1, 0),
        "{json:#}"
    );
    assert!(
        json["unusable"][0]["why"].as_str().unwrap().contains("damaged"),
        "{json:#}"
    );
    let (status, json) = desk.add("in/good.xml");
    assert_eq!((status, json["taken"].as_u64()), (0, Some(1)), "{json:#}");
    assert_eq!(desk.list().0, 0);
    desk.put("other-root.pem", DevicePki::new().rim_root().as_bytes());
    let (status, json) = desk.run(&["list"], "other-root.pem");
    assert_eq!(
        (status, json["rim_root_from"].as_str()),
        (1, Some("other-root.pem"))
    );
    assert!(
        json["unusable"][0]["why"]
            .as_str()
            .unwrap()
            .contains("pinned root"),
        "{json:#}"
    );
}

#[test]
fn what_is_added_while_a_cache_is_open_is_seen_and_changes_its_generation() {
    let desk = Desk::new();
    let cache = desk.cache();
    let (before, at) = (cache.generation(), time("2026-11-01T12:00:00Z"));
    cache.reread().unwrap();
    assert_eq!(cache.generation(), before);
    // Two issues under one name stand side by side.
    desk.put("a.xml", desk.driver_rim().as_bytes());
    desk.put("b.xml", desk.pki.rim("GH100", "580.65.06", 0..19).as_bytes());
    for file in ["a.xml", "b.xml"] {
        assert_eq!(desk.add(file).0, 0);
    }
    cache.reread().unwrap();
    assert_ne!(cache.generation(), before);
    assert_eq!(cache.held_for(&desk.wanted(), at).rims.len(), 2);
    // A switch's BIOS, or another driver, is nobody's business here.
    desk.put("c.xml", desk.pki.rim("GH100", "580.65.07", 0..19).as_bytes());
    assert_eq!(desk.add("c.xml").0, 0);
    cache.reread().unwrap();
    assert_eq!(cache.held_for(&desk.wanted(), at).rims.len(), 2);
    std::fs::remove_dir_all(desk.state().join("collateral/rim")).unwrap();
    std::fs::create_dir(desk.state().join("collateral/rim")).unwrap();
    cache.reread().unwrap();
    assert!(cache.held_for(&desk.wanted(), at).rims.is_empty());
}

#[test]
fn of_many_replies_the_newest_that_holds_is_shown_and_a_revocation_stays() {
    let desk = Desk::new();
    let revoked = desk
        .pki
        .rom_reply(&desk.gpu, &[(Answer::Revoked(1), Validity::november(2))]);
    desk.put("in/00.der", &revoked);
    for day in 3..13u8 {
        let reply = desk
            .pki
            .rom_reply(&desk.gpu, &[(Answer::Good, Validity::november(day))]);
        desk.put(&format!("in/{day:02}.der"), &reply);
    }
    let (status, json) = desk.add("in");
    assert_eq!((status, json["taken"].as_u64()), (0, Some(11)), "{json:#}");
    // Four of the good ones, and the revocation, though it is the oldest.
    let (_, json) = desk.list();
    assert_eq!(json["items"].as_array().unwrap().len(), 5, "{json:#}");
    let (status, json) = desk.add("in");
    let counts = ["taken", "known", "superseded"].map(|c| json[c].as_u64());
    assert_eq!((status, counts), (0, [Some(0), Some(5), Some(6)]), "{json:#}");
    let cache = desk.cache();
    let shown = |at: &str| -> Vec<weighbridge::id::Digest> {
        let held = cache.held_for(&desk.wanted(), time(at));
        held.replies.iter().map(|r| r.presented.digest).collect()
    };
    let of_day = |day: &str| {
        let bytes = std::fs::read(desk.path(&format!("in/{day}.der"))).unwrap();
        weighbridge::crypto::sha256(&bytes)
    };
    for (at, day) in [("2026-11-10T12:00:00Z", "10"), ("2026-11-30T12:00:00Z", "12")] {
        let mut expected = vec![of_day(day), of_day("00")];
        expected.sort();
        assert_eq!(shown(at), expected, "{at}");
    }
    let at = time("2026-11-10T12:00:00Z");
    let held = cache.held_for(&desk.wanted(), at);
    let appraisal = desk.appraise(&held, at);
    assert!(
        appraisal.why["revocation"].contains("revoked since"),
        "{:?}",
        appraisal.why
    );
    assert_eq!(held.oldest(at).1, Some(at.since(time("2026-11-02T00:00:00Z"))));
}

#[test]
fn an_issue_whose_signer_expired_does_not_stand_in_the_way_of_a_new_one() {
    let desk = Desk::new();
    let old = desk.pki.rim_of_year(2025, "GH100", "580.65.06", 0..19);
    desk.put("old.xml", old.as_bytes());
    desk.put("vbios.xml", desk.vbios_rim().as_bytes());
    for file in ["old.xml", "vbios.xml"] {
        assert_eq!(desk.add(file).0, 0);
    }
    let at = time("2026-11-01T12:00:00Z");
    let appraisal = desk.appraise(&desk.cache().held_for(&desk.wanted(), at), at);
    assert!(
        appraisal.why["rim"].contains("is authentic, but"),
        "{:?}",
        appraisal.why
    );
    desk.put("new.xml", desk.driver_rim().as_bytes());
    assert_eq!(desk.add("new.xml").0, 0);
    let cache = desk.cache();
    let appraisal = desk.appraise(&cache.held_for(&desk.wanted(), at), at);
    assert!(
        appraisal.rim.passed() && appraisal.measurements.passed(),
        "{:?}",
        appraisal.why
    );
    // At its own time it is the one.
    let then = time("2025-06-01T12:00:00Z");
    let held = cache.held_for(&desk.wanted(), then);
    let old = weighbridge::crypto::sha256(old.as_bytes());
    let driver = |r: &&KeptRim| r.rim().unwrap().version() == "580.65.06";
    let shown: Vec<_> = held
        .rims
        .iter()
        .filter(driver)
        .map(|r| r.presented.digest)
        .collect();
    assert_eq!(shown, [old]);
    let (status, json) = desk.list();
    let late = json["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|i| i["sha256"] == old.to_string().as_str());
    assert_eq!(
        (status, &late.unwrap()["in_time"]),
        (0, &false.into()),
        "{json:#}"
    );
}
