//! Filled by services, as devices need it.

use super::service::Service;
use super::{DRIVER, Desk, VBIOS, answer, time};
use std::sync::Arc;
use weighbridge::hardware::nvidia::known_to_responder;
use weighbridge::time::{DAY_SECONDS, UnixSeconds};
use weighbridge::x509::ocsp;
use weighbridge_testbed::device_pki::{Answer, Validity};
use weighbridge_testbed::process::Running;
use weighbridge_verifier::collateral::{Cache, Kind, Refreshed};

/// OCSPResponse { responseStatus unauthorized }: what a responder says of a certificate that it does not answer for.
const UNAUTHORIZED: &[u8] = &[0x30, 0x03, 0x0a, 0x01, 0x06];

fn path(id: &str) -> Vec<u8> {
    format!("/v1/rim/{id}").into_bytes()
}

/// The responder knows the device's certificates, and nobody else's.
fn give_replies(desk: &Desk, service: &Service, replies: &[Vec<u8>]) {
    let chain = desk.chain().content.unwrap();
    for ((certificate, issuer), reply) in known_to_responder(&chain).zip(replies) {
        service.give(&ocsp::request(certificate, issuer), reply);
    }
}

fn give_manifests(desk: &Desk, service: &Service) {
    service.give(&path(DRIVER), answer(DRIVER, &desk.driver_rim()).as_bytes());
    service.give(&path(VBIOS), answer(VBIOS, &desk.vbios_rim()).as_bytes());
}

async fn refresh(cache: &Cache, desk: &Desk, now: UnixSeconds) -> Refreshed {
    cache.refresh(&desk.wanted(), now).await
}

#[tokio::test]
async fn what_a_device_needs_is_fetched_once_kept_and_asked_for_again_when_due() {
    let (desk, rims, responder) = (Desk::new(), Service::start(), Service::start());
    give_manifests(&desk, &rims);
    give_replies(&desk, &responder, &desk.pki.replies(&desk.gpu, Answer::Good));
    let cache = desk.asking(&rims.url(), &responder.url());
    let morning = time("2026-11-01T06:00:00Z");
    let done = refresh(&cache, &desk, morning).await;
    assert_eq!((done.new.len(), done.confirmed), (5, 0), "{done:?}");
    // The responder does not know the manifests' signers, of which there are two that are not the root.
    assert_eq!(done.failed.len(), 2, "{done:?}");
    assert!(
        done.failed
            .iter()
            .all(|f| f.kind == Kind::Ocsp && f.why.contains("404")),
        "{done:?}"
    );
    assert_eq!((rims.asked().len(), responder.asked().len()), (2, 5));
    let held = cache.held_for(&desk.wanted(), morning);
    let appraisal = desk.appraise(&held, morning);
    assert!(
        appraisal.measurements.passed() && appraisal.rim.passed(),
        "{:?}",
        appraisal.why
    );
    let headers = responder.headers();
    assert!(
        headers
            .iter()
            .any(|h| h == "content-type: application/ocsp-request"),
        "{headers:?}"
    );

    // Nothing is due, and that the responder has none is remembered.
    let done = refresh(&cache, &desk, morning.plus(600)).await;
    assert_eq!(
        (done.new.len(), done.confirmed, done.failed.len(), done.waiting),
        (0, 0, 0, 2),
        "{done:?}"
    );
    assert!(rims.asked().is_empty() && responder.asked().is_empty());

    // Half of a day's validity is over; and after a day, on another start, the manifests are due.
    let afternoon = time("2026-11-01T12:00:00Z");
    let done = refresh(&cache, &desk, afternoon).await;
    assert_eq!(
        (done.confirmed, responder.asked().len(), rims.asked().len()),
        (3, 5, 0),
        "{done:?}"
    );
    drop(cache);
    let cache = desk.asking(&rims.url(), "");
    let done = refresh(&cache, &desk, morning.plus(DAY_SECONDS - 1)).await;
    assert_eq!((done, rims.asked().len()), (Refreshed::default(), 0));
    let done = refresh(&cache, &desk, morning.plus(DAY_SECONDS)).await;
    assert_eq!((done.confirmed, rims.asked().len()), (2, 2), "{done:?}");

    // The list says from where, and no more of the address than that.
    let (status, json) = desk.list();
    assert_eq!(status, 0, "{json:#}");
    let items = json["items"].as_array().unwrap();
    let driver = items.iter().find(|i| i["ids"][0] == DRIVER).unwrap();
    assert_eq!(driver["source"], rims.url().as_str(), "{driver:#}");
    assert_eq!(driver["confirmed"], "2026-11-02T06:00:00Z", "{driver:#}");
}

#[tokio::test]
async fn a_manifest_that_is_issued_anew_is_kept_beside_the_old_one() {
    let (desk, rims) = (Desk::new(), Service::start());
    give_manifests(&desk, &rims);
    let cache = desk.asking(&rims.url(), "");
    let start = time("2026-11-01T06:00:00Z");
    assert_eq!(refresh(&cache, &desk, start).await.new.len(), 2);
    let generation = cache.generation();
    let anew = desk.pki.rim("GH100", "580.65.06", 0..19);
    rims.give(&path(DRIVER), answer(DRIVER, &anew).as_bytes());
    let later = start.plus(DAY_SECONDS);
    let done = refresh(&cache, &desk, later).await;
    assert_eq!((done.new.len(), done.confirmed), (1, 1), "{done:?}");
    assert_ne!(cache.generation(), generation);
    let held = cache.held_for(&desk.wanted(), later);
    let issues = held.rims.iter().filter(|r| r.note.ids == [DRIVER]);
    assert_eq!((held.rims.len(), issues.count()), (3, 2));
    // The old one was not confirmed, and its age says so.
    assert_eq!(held.oldest(later).0, Some(DAY_SECONDS));
    assert!(desk.appraise(&held, later).measurements.passed());
}

#[tokio::test]
async fn a_service_that_fails_leaves_what_is_held_in_use_and_its_age_is_told() {
    let (desk, rims, responder) = (Desk::new(), Service::start(), Service::start());
    give_manifests(&desk, &rims);
    give_replies(&desk, &responder, &desk.pki.replies(&desk.gpu, Answer::Good));
    let cache = desk.asking(&rims.url(), &responder.url());
    let start = time("2026-11-01T06:00:00Z");
    assert_eq!(refresh(&cache, &desk, start).await.new.len(), 5);
    rims.asked();
    responder.asked();
    for service in [&rims, &responder] {
        service.fail(Some("503 Service Unavailable"));
    }
    let later = start.plus(3 * DAY_SECONDS);
    let done = refresh(&cache, &desk, later).await;
    // One question found that the service is in trouble; the rest waits.
    assert_eq!((done.failed.len(), done.waiting), (2, 5), "{done:?}");
    assert_eq!((rims.asked().len(), responder.asked().len()), (1, 1));
    assert_eq!(refresh(&cache, &desk, later.plus(29)).await.waiting, 7);
    assert!(rims.asked().is_empty());
    let held = cache.held_for(&desk.wanted(), later);
    assert!(desk.appraise(&held, later).measurements.passed());
    assert_eq!(
        held.oldest(later),
        (Some(3 * DAY_SECONDS), Some(3 * DAY_SECONDS + 6 * 3_600))
    );
    let stale = cache.stale(&desk.wanted(), later);
    let driver = stale.iter().find(|s| s.what == DRIVER).unwrap();
    assert_eq!(driver.age, Some(3 * DAY_SECONDS));
    assert!(driver.why.contains("answers with status 503"), "{driver:?}");
    let signer = stale.iter().find(|s| s.what == "HCC RIM L4 Signer").unwrap();
    assert_eq!((signer.kind, signer.age), (Kind::Ocsp, None));

    // It comes back.
    for service in [&rims, &responder] {
        service.fail(None);
    }
    let done = refresh(&cache, &desk, later.plus(30)).await;
    assert_eq!(done.confirmed, 2, "{done:?}");
    let left = cache.stale(&desk.wanted(), later.plus(30));
    assert!(left.iter().all(|s| s.kind == Kind::Ocsp), "{left:?}");
}

#[tokio::test]
async fn a_service_that_cannot_be_reached_or_redirects_is_not_followed() {
    let (desk, rims) = (Desk::new(), Service::start());
    rims.fail(Some("302 Found"));
    let cache = desk.asking(&rims.url(), "http://127.0.0.1:9");
    let done = refresh(&cache, &desk, time("2026-11-01T06:00:00Z")).await;
    let why: Vec<_> = done.failed.iter().map(|f| f.why.as_str()).collect();
    assert_eq!(why.len(), 2, "{done:?}");
    assert!(why[0].contains("answers with status 302"), "{why:?}");
    assert!(
        why[1].starts_with("http://127.0.0.1:9 could not be reached"),
        "{why:?}"
    );
}

#[tokio::test]
async fn an_answer_that_is_damaged_foreign_old_or_too_long_is_not_kept() {
    let (desk, rims, responder) = (Desk::new(), Service::start(), Service::start());
    let other = super::DevicePki::new();
    let start = time("2026-11-01T06:00:00Z");
    for (body, why) in [
        (
            answer(DRIVER, &other.rim("GH100", "580.65.06", 0..20)),
            "not with the pinned root",
        ),
        (
            answer(DRIVER, &desk.pki.rim("GB100", "580.65.06", 0..20)),
            "is the manifest of GB100",
        ),
        (answer(VBIOS, &desk.driver_rim()), "names another manifest"),
        ("{".to_owned(), "is not JSON"),
        (" ".repeat(2 << 20), "is longer than"),
    ] {
        rims.give(&path(DRIVER), body.as_bytes());
        let done = refresh(&desk.asking(&rims.url(), ""), &desk, start).await;
        let said = &done.failed.iter().find(|f| f.what == DRIVER).unwrap().why;
        assert!(said.contains(why), "{why}: {said}");
        assert!(done.new.is_empty(), "{done:?}");
    }
    let good = desk.pki.replies(&desk.gpu, Answer::Good);
    let mut forged = good[0].clone();
    // The last byte is of the responder's certificate; the signature stands well before it.
    let at = forged.len() - good[0].len() / 2;
    forged[at] ^= 1;
    let foreign = other.rom_reply(&desk.gpu, &[(Answer::Good, Validity::november(1))]);
    let old = desk
        .pki
        .rom_reply(&desk.gpu, &[(Answer::Good, Validity::november(20))]);
    for (reply, why) in [
        (forged, ""),
        (foreign, "speaks of another certificate"),
        (good[1].clone(), "speaks of another certificate"),
        (old, "not at 2026-11-01T06:00:00Z"),
        (UNAUTHORIZED.to_vec(), "gave no answer (status 6)"),
        (vec![0; 65 << 10], "is longer than"),
    ] {
        give_replies(&desk, &responder, &[reply, good[1].clone(), good[2].clone()]);
        let state = tempfile::tempdir().unwrap();
        let cache = Cache::live(state.path(), desk.pki.rim_root_id(), "", &responder.url()).unwrap();
        let done = refresh(&cache, &desk, start).await;
        assert_eq!((done.new.len(), done.failed.len()), (2, 1), "{why}: {done:?}");
        assert!(done.failed[0].why.contains(why), "{why}: {done:?}");
    }
}

#[tokio::test]
async fn a_made_up_reply_among_files_pushes_out_nothing_that_the_responder_signed() {
    let (desk, responder) = (Desk::new(), Service::start());
    let good = desk.pki.replies(&desk.gpu, Answer::Good);
    give_replies(&desk, &responder, &good);
    // They say that they were made later, and that the device is good; nobody signed them.
    for day in 10..16u8 {
        let mut reply = desk
            .pki
            .rom_reply(&desk.gpu, &[(Answer::Good, Validity::november(day))]);
        let last = reply.len() - 1;
        reply[last] ^= 1;
        desk.put(&format!("in/{day}.der"), &reply);
    }
    assert_eq!(desk.add("in").0, 0);
    let cache = desk.asking("", &responder.url());
    let start = time("2026-11-01T06:00:00Z");
    let done = refresh(&cache, &desk, start).await;
    assert_eq!(done.new.len(), 3, "{done:?}");
    let held = cache.held_for(&desk.wanted(), start);
    let appraisal = desk.appraise(&held, start);
    assert!(appraisal.revocation.passed(), "{:?}", appraisal.why);
    drop(cache);
    assert_eq!(desk.add("in").0, 0);
    let held = desk.cache().held_for(&desk.wanted(), start);
    assert!(desk.appraise(&held, start).revocation.passed());
}

#[tokio::test]
async fn many_who_want_the_same_ask_once() {
    let (desk, rims, responder) = (Desk::new(), Service::start(), Service::start());
    give_manifests(&desk, &rims);
    give_replies(&desk, &responder, &desk.pki.replies(&desk.gpu, Answer::Good));
    let cache = Arc::new(desk.asking(&rims.url(), &responder.url()));
    let start = time("2026-11-01T06:00:00Z");
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (cache, wanted) = (Arc::clone(&cache), desk.wanted());
            tokio::spawn(async move { cache.refresh(&wanted, start).await })
        })
        .collect();
    let mut new = 0;
    for task in tasks {
        new += task.await.unwrap().new.len();
    }
    assert_eq!(new, 5);
    let mut asked = [rims.asked(), responder.asked()].concat();
    let all = asked.len();
    asked.sort();
    asked.dedup();
    assert_eq!((all, asked.len()), (7, 7));
}

#[test]
fn a_verifier_says_at_start_which_roots_are_not_nvidias_and_refuses_a_wrong_address() {
    let desk = Desk::new();
    let log = desk.dir.path().join("verifier.log");
    let serving = Running::start(
        desk.verifier.command().args([
            "--rim-root",
            &desk.path("rim-root.pem"),
            "--rim-url",
            "http://127.0.0.1:9",
            "serve",
        ]),
        &log,
    );
    let _line = serving.expect_line("listening on");
    let log = serving.log();
    let key = desk.pki.rim_root_id().to_string();
    assert!(
        log.contains("reference manifests are held against the root in rim-root.pem") && log.contains(&key),
        "{log}"
    );
    assert!(!log.contains("devices are held against"), "{log}");

    let mut command = desk.verifier.command();
    let output = command.args(["--rim-url", "rim.example", "serve"]).output();
    // The first still serves: what is wrong with the address is found before that.
    let errors = String::from_utf8(output.unwrap().stderr).unwrap();
    assert!(errors.contains("`rim_url` is not the address"), "{errors}");
}
