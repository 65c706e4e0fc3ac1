//! Written by one verifier, carried, and taken by another.

use super::{DRIVER, Desk, VBIOS, answer, time};
use serde_json::Value;
use tar::{Builder, EntryType, Header};
use weighbridge::crypto::sha256;
use weighbridge_testbed::device_pki::{Answer, DevicePki, Validity};

const ROOT: &str = "rim-root.pem";

/// A verifier that keeps all that its GPU needs.
fn full() -> Desk {
    let desk = Desk::new();
    desk.put("in/vbios.xml", desk.vbios_rim().as_bytes());
    desk.put("in/driver.json", answer(DRIVER, &desk.driver_rim()).as_bytes());
    let mut replies = desk.pki.replies(&desk.gpu, Answer::Good);
    replies.extend(desk.pki.rim_replies(Validity::november(1)));
    for (i, reply) in replies.iter().enumerate() {
        desk.put(&format!("in/{i}.der"), reply);
    }
    assert_eq!(desk.add("in").0, 0);
    desk
}

fn export(desk: &Desk, name: &str) -> (Vec<u8>, Value) {
    let (status, json) = desk.run(&["export", &desk.path(name)], ROOT);
    assert_eq!(status, 0, "{json:#}");
    (std::fs::read(desk.path(name)).unwrap(), json)
}

/// One entry of an archive, as anybody may write it.
fn put(archive: &mut Builder<Vec<u8>>, name: &str, of: EntryType, content: &[u8]) {
    let mut header = Header::new_ustar();
    // Not by `set_path`, which refuses what an attacker would write.
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(of);
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    archive.append(&header, content).unwrap();
}

fn counts(json: &Value) -> [u64; 4] {
    ["taken", "known", "refused", "ignored_entries"].map(|c| json[c].as_u64().unwrap())
}

fn whys(json: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let files = json["files"].as_array().unwrap().iter();
    files
        .filter(|f| f["outcome"] == "refused")
        .map(|f| (text(&f["entry"]), text(&f["why"])))
        .collect()
}

#[test]
fn what_one_verifier_exports_another_takes_and_a_gpu_is_appraised_with_it() {
    let desk = full();
    let (archive, json) = export(&desk, "carried.tar");
    assert_eq!(
        (
            &json["file"],
            json["rims"].as_u64(),
            json["replies"].as_u64(),
            json["bytes"].as_u64()
        ),
        (
            &"carried.tar".into(),
            Some(2),
            Some(5),
            Some(archive.len() as u64)
        ),
        "{json:#}"
    );
    assert_eq!(json["sha256"], sha256(&archive).to_string());
    // The same content gives the same bytes, and any program for tar reads them: sorted, and of no time and no user.
    assert_eq!(export(&desk, "again.tar").0, archive);
    let mut names = Vec::new();
    for entry in tar::Archive::new(archive.as_slice()).entries().unwrap() {
        let entry = entry.unwrap();
        let header = entry.header();
        let told = [header.mtime(), header.uid(), header.gid()].map(Result::unwrap);
        assert_eq!((told, header.mode().unwrap()), ([0; 3], 0o644));
        names.push(entry.path().unwrap().display().to_string());
    }
    assert!(names.is_sorted(), "{names:?}");
    assert_eq!(names.len(), 14, "{names:?}");

    // Named as it may be: what it is, its content says. Of another's state nothing is taken for the same.
    let mut other = Desk::new();
    other.put(ROOT, desk.pki.rim_root().as_bytes());
    other.put("stick/carried", &archive);
    let (status, json) = other.add("stick/carried");
    assert_eq!((status, counts(&json)), (0, [7, 0, 0, 0]), "{json:#}");
    let (status, json) = other.add("stick/carried");
    assert_eq!((status, counts(&json)), (0, [0, 7, 0, 0]), "{json:#}");
    let same = |desk: &Desk| -> Vec<Value> {
        let (status, json) = desk.list();
        assert_eq!(status, 0, "{json:#}");
        let mut items = json["items"].as_array().unwrap().clone();
        for item in &mut items {
            for own in ["source", "age_s"] {
                item.as_object_mut().unwrap().remove(own);
            }
        }
        items
    };
    assert_eq!(same(&desk), same(&other));
    let (_, json) = other.list();
    let items = json["items"].as_array().unwrap();
    assert!(items.iter().all(|i| i["source"] == "package"), "{json:#}");
    assert!(items.iter().any(|i| i["ids"][0] == DRIVER), "{json:#}");
    // And what came in a package is written as what came from anywhere, but for where it came from.
    assert_eq!(export(&other, "onward.tar").0.len(), archive.len());

    let at = time("2026-11-01T12:00:00Z");
    other.pki = desk.pki;
    other.gpu = desk.gpu;
    let held = other.cache().held_for(&other.wanted(), at);
    assert_eq!((held.rims.len(), held.replies.len()), (2, 5));
    let appraisal = other.appraise(&held, at);
    assert!(
        appraisal.measurements.passed() && appraisal.rim.passed() && appraisal.revocation.passed(),
        "{:?}",
        appraisal.why
    );
}

#[test]
fn an_export_takes_no_files_place_and_leaves_out_what_cannot_be_used() {
    let desk = full();
    desk.put("mine.tar", b"mine");
    let refused = desk
        .verifier
        .command()
        .args(["evidence", "collateral", "export", &desk.path("mine.tar")])
        .args(["--rim-root", &desk.path(ROOT)])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("is not overwritten"), "{said}");
    assert_eq!(std::fs::read(desk.path("mine.tar")).unwrap(), b"mine");

    let held = desk.state().join("collateral/rim");
    let name = std::fs::read(desk.path("in/vbios.xml")).unwrap();
    let name = format!("{}.xml", sha256(&name));
    std::fs::write(held.join(&name), "cut").unwrap();
    let (status, json) = desk.run(&["export", &desk.path("part.tar")], ROOT);
    assert_eq!(
        (status, json["rims"].as_u64(), json["replies"].as_u64()),
        (1, Some(1), Some(5)),
        "{json:#}"
    );
    let why = json["unusable"][0].as_str().unwrap();
    assert!(why.contains(&name) && why.contains("damaged"), "{why}");
    let left: Vec<_> = std::fs::read_dir(desk.dir.path()).unwrap().collect();
    let unfinished = |e: &std::io::Result<std::fs::DirEntry>| {
        let name = e.as_ref().unwrap().file_name();
        name.to_string_lossy().ends_with(".tmp")
    };
    assert!(!left.iter().any(unfinished), "{left:?}");
}

#[test]
fn a_damaged_or_cut_archive_is_told_with_what_was_taken_before() {
    let desk = full();
    let (archive, _) = export(&desk, "carried.tar");
    let other = Desk::new();
    other.put(ROOT, desk.pki.rim_root().as_bytes());
    // Each entry has a header and an item or a note: this ends in the header of the third one's item.
    let third = archive
        .chunks(512)
        .enumerate()
        .filter(|(_, block)| block.starts_with(b"collateral/ocsp/") && block[81..84] == *b"der")
        .map(|(i, _)| i * 512)
        .nth(2)
        .unwrap();
    other.put("cut.tar", &archive[..third + 100]);
    let (status, json) = other.add("cut.tar");
    assert_eq!((status, counts(&json)), (1, [2, 0, 1, 0]), "{json:#}");
    let (entry, why) = &whys(&json)[0];
    assert_eq!(entry, "");
    assert!(
        why.contains(&format!("cut off after {} bytes", third + 100)) && why.contains("2 items were taken"),
        "{why}"
    );
    let mut damaged = archive.clone();
    damaged[third + 20] ^= 1;
    other.put("damaged.tar", &damaged);
    let (status, json) = other.add("damaged.tar");
    assert_eq!((status, counts(&json)), (1, [0, 2, 1, 0]), "{json:#}");
    assert!(
        whys(&json)[0].1.contains(&format!("damaged: at byte {third}")),
        "{json:#}"
    );
    // An item that was damaged costs itself alone.
    let mut damaged = archive;
    damaged[third + 512] ^= 1;
    other.put("damaged.tar", &damaged);
    let (status, json) = other.add("damaged.tar");
    assert_eq!((status, counts(&json)), (1, [4, 2, 1, 0]), "{json:#}");
    let (entry, why) = &whys(&json)[0];
    assert!(
        entry.starts_with("collateral/ocsp/") && why.contains("damaged or renamed"),
        "{entry}: {why}"
    );
}

#[test]
fn only_a_plain_file_of_the_exact_name_is_taken_and_nothing_is_written_by_its_name() {
    let desk = Desk::new();
    let (rim, foreign) = (
        desk.driver_rim(),
        DevicePki::new().rim("GH100", "580.65.06", 0..20),
    );
    let (digest, other) = (sha256(rim.as_bytes()), sha256(foreign.as_bytes()));
    let (long, file) = (vec![b' '; (1 << 20) + 1], EntryType::Regular);
    let mut archive = Builder::new(Vec::new());
    let item = |digest: &dyn std::fmt::Display| format!("collateral/rim/{digest}.xml");
    // Of a larger package, of which only the items are looked at.
    put(
        &mut archive,
        "pax_global_header",
        EntryType::XGlobalHeader,
        b"52 comment=x\n",
    );
    put(&mut archive, "verdict.json", file, b"{}");
    put(&mut archive, "collateral/", EntryType::Directory, b"");
    for tricky in [
        format!("../{}", item(&digest)),
        format!("/{}", item(&digest)),
        format!("collateral/rim/../{digest}.xml"),
        "../../../../tmp/weighbridge-was-here".to_owned(),
        "collateral/new.tmp".to_owned(),
        "collateral/lock".to_owned(),
    ] {
        put(&mut archive, &tricky, file, rim.as_bytes());
    }
    // What has the place of an item, and is none.
    put(&mut archive, &item(&"driver"), file, rim.as_bytes());
    put(&mut archive, &item(&sha256(b"")), file, rim.as_bytes());
    put(&mut archive, &item(&sha256(&long)), file, &long);
    put(&mut archive, &item(&other), file, foreign.as_bytes());
    for of in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Char,
        EntryType::Fifo,
    ] {
        put(&mut archive, &item(&digest), of, b"");
    }
    // A note, which nobody signed: one name fits, and that a service confirmed it is not believed; nor is a time to come.
    let note = format!(
        "{{\"source\": \"http://cache.example\", \"fetched\": \"2026-01-01T00:00:00Z\", \
          \"confirmed\": \"2999-01-01T00:00:00Z\", \"ids\": [\"NV_GPU_CC_DRIVER_GB100_580.65.06\", \"{DRIVER}\"]}}"
    );
    put(
        &mut archive,
        &format!("collateral/rim/{digest}.json"),
        file,
        note.as_bytes(),
    );
    put(&mut archive, &item(&digest), file, rim.as_bytes());
    // A name has a length, and characters of its own. An age is believed that makes an item older.
    let vbios = desk.vbios_rim();
    let named = sha256(vbios.as_bytes());
    let long = format!("NV_GPU_VBIOS_{}_96009F0001", "9".repeat(200));
    let note = serde_json::json!({
        "source": "directory", "fetched": "2001-01-01T00:00:00Z", "confirmed": "2001-02-01T00:00:00Z", "ids": [long, "NV_GPU_VBIOS_\n_96009F0001", VBIOS],
    });
    put(&mut archive, &item(&named), file, vbios.as_bytes());
    put(
        &mut archive,
        &format!("collateral/rim/{named}.json"),
        file,
        note.to_string().as_bytes(),
    );
    desk.put("package.tar", &archive.into_inner().unwrap());
    let (status, json) = desk.add("package.tar");
    assert_eq!((status, counts(&json)), (1, [2, 0, 8, 9]), "{json:#}");
    let words = [
        "not the SHA-256 of its content",
        "damaged or renamed",
        "larger than the 1048576 bytes",
        "not with the pinned root",
        "no plain file",
        "no plain file",
        "no plain file",
        "no plain file",
    ];
    for ((entry, why), word) in whys(&json).iter().zip(words) {
        assert!(why.contains(word), "{entry}: {why}, and not {word}");
    }
    let (status, json) = desk.list();
    let items = json["items"].as_array().unwrap();
    assert_eq!((status, items.len()), (0, 2), "{json:#}");
    for (item, id) in items.iter().zip([DRIVER, VBIOS]) {
        let (ids, source) = (&item["ids"], &item["source"]);
        assert_eq!((ids, source), (&serde_json::json!([id]), &"package".into()));
        assert!(item["confirmed"].is_null(), "{json:#}");
    }
    assert!(
        (0..600).contains(&items[0]["age_s"].as_i64().unwrap()),
        "{json:#}"
    );
    assert_eq!(items[1]["fetched"], "2001-02-01T00:00:00Z", "{json:#}");
    let kept = std::fs::read_dir(desk.state().join("collateral/rim")).unwrap();
    assert_eq!(kept.count(), 4, "the items and their notes");

    // What is called an archive and is none is refused; found in a directory, by its name alone.
    desk.put("in/false.tar", rim.as_bytes());
    desk.put("in/old.zip", b"PK");
    let (status, json) = desk.add("in");
    assert_eq!((status, counts(&json)), (1, [0, 0, 1, 0]), "{json:#}");
    assert!(whys(&json)[0].1.contains("no tar archive"), "{json:#}");
}
