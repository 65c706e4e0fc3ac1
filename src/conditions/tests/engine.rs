//! What holds for every condition.

use super::*;
use crate::accelerator::PAYLOAD_TYPE;
use crate::crypto::{Algorithm, Entropy, SecretKey, Signer, dsse};
use crate::rules::Limits;
use crate::time::DAY_SECONDS;
use crate::unit::Ppm;

/// Conditions that concern nothing at a site whose licence and rule set ask for no such thing.
const NOTHING_HERE: &[&str] = &[
    "TRN-03", //
    "INV-09", //
    "TRN-07", //
    "EVI-01", //
    "EVI-02", //
    "EVI-03", //
    "CAP-09", //
];
/// Conditions that statements decide, whatever reports say.
const ON_PAPER: &[&str] = &[
    "TEN-03", //
    "INV-07", //
    "INV-12", //
    "TEN-04", //
    "SEC-07", //
    "PHY-01", //
    "PHY-04", //
    "PER-01", //
    "SUP-01", //
    "SUP-02", //
    "REC-01", //
    "LOC-01", //
    "PHY-02", //
    "PHY-03", //
];
/// Conditions of which this version measures nothing: an assessor's word is all that there is.
const NOT_MEASURED: &[&str] = &[
    "LOC-02", //
    "LOC-03", //
    "SEC-03", //
];

/// Whether a finding says that its condition concerns nothing here.
fn concerns_nothing(finding: &Finding) -> bool {
    NOTHING_HERE.contains(&finding.condition.as_str()) || finding.message_id.ends_with(".profile-not-named")
}

#[test]
fn an_honest_site_meets_every_condition() {
    let findings = Scene::honest().attested().findings();
    let is_unsettled = |f: &Finding| f.message_id.ends_with(".unsettled");
    let unsettled = findings.iter().any(is_unsettled);
    for finding in findings {
        // What is open elsewhere keeps shipments from moving.
        if is_unsettled(&finding) || (unsettled && finding.condition == "REC-04") {
            assert_eq!(finding.outcome, Outcome::CannotTell);
            continue;
        }
        // An assessor is heard there, and the operator declares where the site lies.
        let none = !["EVI-02", "EVI-03"].contains(&finding.condition.as_str()) && concerns_nothing(&finding);
        let expected = if none {
            Outcome::NotApplicable
        } else {
            Outcome::Met
        };
        assert_eq!(
            finding.outcome, expected,
            "{}: {}",
            finding.condition, finding.sentence
        );
    }
}

#[test]
fn without_a_single_report_nothing_is_met() {
    for finding in Scene::empty().findings() {
        if finding.message_id.ends_with(".unsettled") {
            assert_eq!(finding.outcome, Outcome::CannotTell);
        } else if NOT_MEASURED.contains(&finding.condition.as_str()) {
            assert_eq!(finding.message_id, format!("{}.not-measured", finding.condition));
        } else if finding.condition == "PER-02" {
            assert_eq!(finding.message_id, "PER-02.enrolment-by-one");
        } else if concerns_nothing(&finding) {
            assert_eq!(finding.outcome, Outcome::NotApplicable, "{}", finding.condition);
        } else if ON_PAPER.contains(&finding.condition.as_str()) {
            assert_eq!(finding.message_id, format!("{}.no-statement", finding.condition));
        } else {
            assert_eq!(finding.outcome, Outcome::CannotTell, "{}", finding.condition);
            assert_eq!(finding.message_id, format!("{}.no-report", finding.condition));
        }
    }
}

#[test]
fn a_site_without_nodes_meets_nothing() {
    let mut scene = Scene::empty();
    scene.labs.clear();
    scene.statuses.clear();
    for finding in scene.findings() {
        assert!(
            finding.outcome == Outcome::CannotTell || concerns_nothing(&finding),
            "{}",
            finding.condition
        );
    }
}

#[test]
fn a_node_that_is_silent_or_was_never_heard_leaves_open_what_only_it_could_show() {
    let mut never = Scene::empty();
    never.labs[0].run(12, &[gpu(1), gpu(2)]);
    let mut silent = Scene::honest();
    silent.now = start().plus(2 * DAY_SECONDS);
    silent.labs[0].sleep(2 * 86_400 - 3_600 - 300);
    silent.labs[0].run(1, &[gpu(1), gpu(2)]);
    // Half the devices were covered; or all for an hour, and half of them for one report more, in two days.
    for (scene, coverage) in [(never, 500_000), (silent, 21_777)] {
        for id in [
            "INV-01", "INV-03", "INV-06", "INV-10", "INV-11", "CAP-01", "CAP-02", "SEC-06", "SEC-09",
            "CAP-08", "TRN-01", "TRN-02",
        ] {
            let finding = scene.expect(
                id,
                Outcome::CannotTell,
                "so that what is there cannot be told; as far as was seen, ",
            );
            assert_eq!(finding.coverage.unwrap().0, coverage, "{id}");
        }
    }
}

/// Every way to hold back part of what an offender's node reported.
#[test]
fn withheld_evidence_never_turns_a_bad_result_into_a_good_one() {
    let reports = 6u64;
    for held_back in 1u64..(1 << (reports - 1)) {
        let mut scene = Scene::empty();
        scene.labs[1].run(6, &[gpu(3), gpu(4)]);
        for i in 0..reports {
            // The third report shows a device that is not licensed, which trained on an unmanaged neighbour's behalf.
            let mut devices = vec![gpu(1), gpu(2)];
            if i == 2 {
                devices.push(gpu(99));
            }
            let report = scene.labs[0].make(&devices, |c| {
                if i == 2 {
                    c.submods.host.host.bus[0].count = 4;
                    c.submods.host.host.bus[0].state = crate::telemetry::DeviceState::Unmanaged;
                }
            });
            let received = scene.labs[0].wall().plus(5);
            if held_back & (1 << i) == 0 {
                scene.labs[0].receive(&report, received);
            }
        }
        scene.now = start().plus(1_810);
        for id in ["INV-01", "INV-11", "CAP-01", "CAP-02"] {
            let finding = scene.finding(id);
            assert_ne!(
                finding.outcome,
                Outcome::Met,
                "{id} {held_back:b}: {}",
                finding.sentence
            );
        }
    }
}

#[test]
fn the_keys_of_a_finding_are_those_of_status_json() {
    let finding = Scene::honest().finding("TRN-04");
    let json = serde_json::to_value(&finding).unwrap();
    let mut keys: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
    keys.sort();
    assert_eq!(
        keys,
        [
            "condition",
            "coverage",
            "evidence",
            "evidence_left_out",
            "grade",
            "level",
            "limit",
            "measured",
            "message_id",
            "outcome",
            "sentence",
            "subjects",
            "subjects_left_out",
            "window"
        ]
    );
    assert_eq!(json["outcome"], "met");
    assert_eq!(json["grade"], "driver-reported");
    assert_eq!(json["limit"]["upper"], "50000.000");
    assert_eq!(json["coverage"], "1");
    assert_eq!(json["window"]["from"], "2026-11-20T00:00:00Z");
}

#[test]
fn what_needs_a_person_comes_first_and_the_order_of_nodes_does_not_matter() {
    let mut scene = Scene::empty();
    scene.hour(&[gpu(1), gpu(2), gpu(9)], &[gpu(3), gpu(4)]);
    let findings = scene.findings();
    assert_eq!(findings[0].condition, "CAP-01");
    let urgent: Vec<_> = findings.iter().map(Finding::needs_a_person).collect();
    assert!(urgent.is_sorted_by(|a, b| a >= b), "{urgent:?}");
    scene.labs.reverse();
    scene.statuses.reverse();
    assert_eq!(scene.findings(), findings);
}

#[test]
fn a_waiver_covers_a_condition_until_its_day_and_says_what_it_covers() {
    let waiver = "[[waivers]]\ncondition = \"INV-01\"\nuntil = 2026-11-21\nreason = \"a loan\"\n[[site]]";
    let mut scene = Scene::empty().with("[[site]]", waiver);
    scene.hour(&[gpu(1), gpu(2), gpu(9)], &[gpu(3), gpu(4)]);
    scene.expect(
        "INV-01",
        Outcome::Waived,
        "(not met); waived until just before 2026-11-22T00:00:00Z: a loan",
    );
    scene.now = start().plus(2 * DAY_SECONDS);
    assert_eq!(scene.finding("INV-01").outcome, Outcome::NotMet);
    // A waiver does not touch what holds.
    let honest = Scene::honest().with("[[site]]", waiver);
    assert_eq!(honest.finding("INV-01").outcome, Outcome::Met);
    // Nor does it outlast its licence.
    let mut lapsed = scene.with("valid_to = 2027-11-19", "valid_to = 2026-11-20T01:00:00Z");
    lapsed.now = start().plus(3_610);
    lapsed.expect("INV-01", Outcome::NotMet, "not on the manifest");
    let mut lapsed = honest.with("valid_to = 2027-11-19", "valid_to = 2026-11-20T01:00:00Z");
    lapsed.now = start().plus(3_610);
    lapsed.expect("INV-01", Outcome::CannotTell, "the licence ended before");
}

#[test]
fn silence_is_held_against_a_site_while_its_licence_holds_and_not_outside() {
    let absence = ["OPS-01", "OPS-02", "OPS-03", "INV-02"];
    let mut ended = Scene::honest().with("valid_to = 2027-11-19", "valid_to = 2026-11-20T01:00:00Z");
    ended.now = start().plus(60 * DAY_SECONDS);
    for id in absence {
        ended.expect(
            id,
            Outcome::CannotTell,
            "the licence ended before 2026-11-20T01:00:00Z",
        );
    }
    let mut early = Scene::honest().with("valid_from = 2026-11-20", "valid_from = 2026-12-20");
    early.now = start().plus(20 * DAY_SECONDS);
    for id in absence {
        early.expect(id, Outcome::CannotTell, "the licence holds only from");
    }
    // What was silent before the end stays a finding after it, and reports that come after the end do not fill it.
    let mut gone = Scene::honest().with("valid_to = 2027-11-19", "valid_to = 2026-12-31");
    gone.now = start().plus(50 * DAY_SECONDS);
    for id in absence {
        gone.expect(id, Outcome::NotMet, "");
    }
    gone.expect("OPS-03", Outcome::NotMet, "is 41 days");
    for lab in &mut gone.labs {
        lab.sleep(42 * 86_400);
    }
    for _ in 0..48 {
        gone.hour(&[gpu(1), gpu(2)], &[gpu(3), gpu(4)]);
    }
    gone.expect("OPS-02", Outcome::NotMet, "samples cover 0.00 %");
}

#[test]
fn every_finding_of_a_trial_says_so() {
    let scene = Scene::honest().with("serial = 1", "serial = 1\ntrial = true");
    for finding in scene.findings() {
        assert!(
            finding.sentence.ends_with("(trial licence)"),
            "{}",
            finding.sentence
        );
        assert!(finding.trial);
    }
    let mut short = Scene::empty();
    short.labs[0].run_with(12, &[gpu(1), gpu(2)], |c| c.report.trial = true);
    short.labs[1].run(12, &[gpu(3), gpu(4)]);
    short.expect("INV-11", Outcome::Met, "(rests on trial reports)");
}

#[test]
fn a_licence_that_does_not_hold_meets_nothing() {
    let mut early = Scene::honest().with("2026-11-20", "2026-12-01");
    early.now = start().plus(3_610);
    early.expect(
        "INV-11",
        Outcome::CannotTell,
        "the licence holds only from 2026-12-01T00:00:00Z",
    );
    let ended = Scene::honest().with("valid_to = 2027-11-19", "valid_to = 2026-11-20T00:30:00Z");
    ended.expect(
        "INV-01",
        Outcome::CannotTell,
        "the licence ended before 2026-11-20T00:30:00Z",
    );
    let elsewhere = Scene::honest().with("id = \"harbour-1\"", "id = \"harbour-2\"");
    elsewhere.expect("CAP-02", Outcome::CannotTell, "does not name site harbour-1");
}

#[test]
fn another_rule_set_than_the_licence_names_is_not_applied() {
    let scene = Scene::honest();
    let licence = Licence::parse(&scene.licence).unwrap();
    let catalogue = Catalogue::embedded().unwrap();
    let other = RuleSet::carried("contract-only").unwrap();
    let lost = RuleSet::absent(&licence.ruleset_id, "it was lost".to_owned());
    for (rules, why) in [
        (other, "not us-ear-enforced-2026-05"),
        (lost, "it was lost, so that"),
    ] {
        for finding in evaluate(&licence, &rules, &catalogue, &scene.facts(), scene.now) {
            assert_eq!(finding.outcome, Outcome::CannotTell, "{}", finding.condition);
            assert!(finding.sentence.contains(why), "{}", finding.sentence);
        }
    }
}

#[test]
fn findings_rest_on_the_catalogue_that_the_licence_pins_or_tell_nothing() {
    let embedded = Catalogue::embedded().unwrap();
    let pinned = |pin: &str| Scene::honest().with("[[site]]", &format!("[catalogue]\n{pin}\n[[site]]"));
    let ours = pinned(&format!("digest = \"{}\"", embedded.digest()));
    ours.expect("CAP-01", Outcome::Met, "63,328 TPP");
    assert_eq!(
        ours.finding("CAP-01").catalogue,
        format!("catalogue {}, SHA-256 {}", embedded.version(), embedded.digest())
    );
    let other = pinned(&format!("digest = \"{}\"", Digest([7; 32])));
    for finding in other.findings() {
        assert_eq!(finding.outcome, Outcome::CannotTell, "{}", finding.condition);
        let says = format!("the licence pins the one with SHA-256 {}", Digest([7; 32]));
        assert!(finding.sentence.contains(&says), "{}", finding.sentence);
    }
    // What is found by other figures is no breach, and is kept for a person to read.
    let breach = other.with("licensed_tpp = 63_328", "licensed_tpp = 1");
    breach.expect(
        "CAP-01",
        Outcome::CannotTell,
        "by that catalogue, devices of class 3A090.a",
    );

    // By key and least serial: the carried one is signed by nobody.
    let key = SecretKey::generate(Algorithm::Ed25519, &Entropy::system()).unwrap();
    let text = include_str!("../../accelerator/catalogue.csv");
    let serial = embedded.version().serial;
    let newer = text.replacen(
        &format!("serial {serial} "),
        &format!("serial {} ", serial + 1),
        1,
    );
    let envelope = dsse::sign(PAYLOAD_TYPE, newer.as_bytes(), &[&key]).unwrap();
    let signed = Catalogue::open(&envelope, &[key.public_key().clone()]).unwrap();
    let judged = |catalogue: &Catalogue, least: u64| {
        let pin = format!("key = \"{}\"\nleast_serial = {least}", key.public_key().id());
        let scene = pinned(&pin);
        let licence = Licence::parse(&scene.licence).unwrap();
        let rules = RuleSet::carried(&licence.ruleset_id).unwrap();
        let found = evaluate(&licence, &rules, catalogue, &scene.facts(), scene.now);
        found
            .into_iter()
            .find(|f| f.condition == "CAP-01")
            .unwrap()
            .outcome
    };
    assert_eq!(judged(&signed, serial + 1), Outcome::Met);
    assert_eq!(judged(&signed, serial + 2), Outcome::CannotTell);
    assert_eq!(judged(&embedded, 1), Outcome::CannotTell);
}

#[test]
fn a_limit_that_nobody_sets_leaves_its_condition_open() {
    let bare = Scene::honest()
        .with("us-ear-enforced-2026-05", "contract-only")
        .with(
            "licensed_tpp = 63_328\ntpp_hours_max = 50_000\nreported_bounds_suffice = true\ntpp_hours_period = \"term\"\n",
            "",
        )
        .with("countries_allowed = [\"SG\"]\n", "");
    for id in ["TRN-01", "TRN-04", "CAP-01", "LOC-01"] {
        bare.expect(
            id,
            Outcome::CannotTell,
            "neither the licence nor its rule set sets",
        );
    }
    bare.expect("INV-10", Outcome::NotApplicable, "presumes no maker");
}

#[test]
fn each_condition_stands_once_in_its_family_and_its_limits_exist() {
    let mut ids: Vec<_> = REGISTRY.iter().map(|c| c.id).collect();
    assert_eq!(ids, PUBLISHED, "a waiver may name each");
    assert_eq!(REGISTRY.iter().filter(|c| c.stage == Stage::Core).count(), 37);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 71);
    for condition in REGISTRY {
        for limit in condition.limits {
            assert!(Limits::NAMES.contains(limit), "{}: {limit}", condition.id);
        }
    }
    let named = |limit: &&&str| REGISTRY.iter().any(|c| c.limits.contains(limit));
    let unnamed: Vec<_> = Limits::NAMES.iter().filter(|l| !named(l)).collect();
    assert_eq!(unnamed, [&"finding_window"], "every condition looks at it");
}

#[test]
fn the_reference_is_made_from_the_code() {
    let reference = include_str!("../../../docs/conditions.md");
    let is_row = |l: &&str| l.get(5..6) == Some("-") && l.starts_with("| ");
    let found: Vec<&str> = reference.lines().filter(is_row).collect();
    let made = catalogue_rows();
    assert!(
        found == made,
        "docs/conditions.md should hold these rows:\n{}",
        made.join("\n")
    );
}

#[test]
fn a_verdict_speaks_of_no_time_before_the_first_report() {
    let mut late = Scene::honest().with("valid_from = 2026-11-20", "valid_from = 2026-11-01");
    late.now = start().plus(3_610);
    for id in [
        "INV-01", "INV-03", "INV-06", "CAP-01", "CAP-02", "SEC-06", "SEC-09",
    ] {
        let finding = late.expect(
            id,
            Outcome::Met,
            "what was before 2026-11-20T00:00:00Z no report shows",
        );
        let window = finding.window.unwrap();
        assert_eq!((window.from, window.to), (start(), late.now), "{id}");
        assert_eq!(finding.coverage, Some(Ppm::ONE), "{id}");
    }
    // What must be covered all the time counts from the licence on.
    late.expect("OPS-02", Outcome::NotMet, "");
    let whole = Scene::honest().finding("INV-01");
    assert!(!whole.sentence.contains("no report shows"), "{}", whole.sentence);
}
