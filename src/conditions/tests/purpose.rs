use super::tenants::{TENANT, WHOLE, let_day};
use super::*;
use crate::appraisal::Grade;
use crate::appraisal::fixture::compute;
use crate::rules::{Citation, Confidence, CountryList, Validity};
use crate::statement::Role;
use crate::telemetry::Reading;
use crate::unit::{Operations, Ppm};
use crate::workload::{Level, LevelTimes};

/// So many hours in which one tenant held four devices that were busy for two thirds of the time. At least `least` parts in 1,320 at peak were
/// training and at most `most`, by runs that were at L3 for as many parts of the time; under a licence that asks for a declaration of two devices that
/// train for half an hour.
pub(super) fn trained_for(hours: u32, least: u128, most: u128) -> Scene {
    trained_at(hours, least, most, |levels| levels)
}

/// The same, where the reports tell other levels.
fn trained_at(
    hours: u32,
    least: u128,
    most: u128,
    told: fn(Option<LevelTimes>) -> Option<LevelTimes>,
) -> Scene {
    let mut scene = Scene::empty().with(
        "serial = 1\n",
        "serial = 1\ndeclared_group_devices = 2\ndeclared_group_after = \"30 min\"\n",
    );
    let devices = [1, 2, 3, 4].map(|n| {
        let mut device = gpu(n);
        device.delivered.compute = Some(compute(1_000, 1_010));
        device.delivered.training = Some(compute(least, most));
        device.delivered.measured.busy_ms = Reading::Value(200_000);
        device.delivered.workload.levels = told(Some(levels_of(200_000, least, most)));
        device
    });
    scene.hour_of(12 * hours, &devices);
    scene.now = start().plus(i64::from(hours) * 3_600 + 10);
    scene.let_to(TENANT);
    scene
}

fn trained(least: u128, most: u128) -> Scene {
    trained_for(1, least, most)
}

/// Levels of five minutes that were busy for so long, of which so many parts in 1,320 were training at least and at most: the rest is ruled out where
/// none can have been, and may be training otherwise.
pub(super) fn levels_of(busy_ms: u32, least: u128, most: u128) -> LevelTimes {
    let established_ms = u32::try_from(least * 300_000 / 1_320).unwrap().min(busy_ms);
    let rest = busy_ms - established_ms;
    LevelTimes {
        ruled_out_ms: if most == 0 { rest } else { 0 },
        candidate_ms: if most == 0 { 0 } else { rest },
        established_ms,
        ..LevelTimes::default()
    }
}

/// As agents reported that knew no runs.
fn untold(_: Option<LevelTimes>) -> Option<LevelTimes> {
    None
}

/// All of it may be training, and none is established.
fn possible(levels: Option<LevelTimes>) -> Option<LevelTimes> {
    levels.map(|l| LevelTimes {
        candidate_ms: l.established_ms + l.candidate_ms,
        established_ms: 0,
        ..l
    })
}

pub(super) fn declare(scene: &mut Scene, changes: &[(&str, &str)]) {
    let operator = scene.hear(Role::Operator, "");
    scene.file("training-declaration", operator, changes);
}

fn devices(declared: &str) -> (&str, &str) {
    ("devices_at_most = 256", declared)
}

fn waived(scene: Scene, condition: &str) -> Scene {
    let waiver = format!(
        "[[waivers]]\ncondition = \"{condition}\"\nuntil = 2026-12-31\nreason = \"a trial\"\n[[models]]"
    );
    scene.with("[[models]]", &waiver)
}

#[test]
fn trn_05_asks_for_a_declaration_that_covers_what_a_tenant_may_have_trained_with() {
    trained(0, 0).expect(
        "TRN-05",
        Outcome::Met,
        "no tenant can have trained with so many devices",
    );
    let open = trained(0, 800).expect(
        "TRN-05",
        Outcome::CannotTell,
        "may have trained with up to 4 devices",
    );
    assert_eq!(
        (open.message_id.as_str(), open.subjects),
        ("TRN-05.undeclared", vec![TENANT.to_string()])
    );
    let mut met = trained(700, 800);
    let established = met.finding("TRN-05");
    assert_eq!(established.level, Some(Level::Established));
    let words = "the highest level is L3, on 4 devices";
    assert!(established.sentence.contains(words), "{}", established.sentence);
    declare(&mut met, &[devices("devices_at_most = 4")]);
    let met = met.expect(
        "TRN-05",
        Outcome::Met,
        "1 tenant that may have trained so declared",
    );
    assert_eq!(met.level, Some(Level::Authenticated));
    let words = "what 1 tenant surely trained is declared, which makes it L4";
    assert!(met.sentence.contains(words), "{}", met.sentence);
    assert!(
        met.sentence.contains("error was never measured"),
        "{}",
        met.sentence
    );
    for change in [
        ("valid_to = 2027-11-30", "valid_to = 2026-11-19"),
        ("tenant = \"0000", "tenant = \"7777"),
        ("to = 2026-11-30", "to = 2026-11-19"),
    ] {
        let mut scene = trained(700, 800);
        declare(&mut scene, &[change]);
        scene.expect(
            "TRN-05",
            Outcome::CannotTell,
            "no training declaration that holds speaks of that day",
        );
    }
    waived(trained(700, 800), "TRN-05").expect("TRN-05", Outcome::Waived, "a trial");
}

#[test]
fn trn_05_holds_what_surely_trained_at_one_time_against_what_was_declared() {
    let mut scene = trained_for(24, 700, 800);
    // That nothing is on file shows nothing, however sure the training is.
    scene.expect(
        "TRN-05",
        Outcome::CannotTell,
        "on 2026-11-20, surely with 3 devices at one time",
    );
    declare(&mut scene, &[devices("devices_at_most = 2")]);
    let more = scene.expect("TRN-05", Outcome::NotMet, "and is declared to train with 2");
    assert_eq!(
        (more.subjects, more.grade),
        (vec![TENANT.to_string()], Grade::Declared)
    );
    // Two models, each with its own.
    declare(
        &mut scene,
        &[devices("devices_at_most = 1"), ("2026-0001", "2026-0002")],
    );
    scene.expect(
        "TRN-05",
        Outcome::CannotTell,
        "may have trained with up to 4 devices on 2026-11-20, and is declared to train with 3",
    );
}

#[test]
fn trn_05_finds_no_more_sure_than_what_runs_establish() {
    for (told, level) in [
        (possible as fn(_) -> _, Some(Level::Candidate)),
        // An older agent called windows training one by one: that is not sure, however many there were.
        (untold, None),
    ] {
        let mut scene = trained_at(24, 700, 800, told);
        let open = scene.expect(
            "TRN-05",
            Outcome::CannotTell,
            "may have trained with up to 4 devices",
        );
        assert!(!open.sentence.contains("surely"), "{}", open.sentence);
        assert_eq!(open.level, level);
        declare(&mut scene, &[devices("devices_at_most = 2")]);
        let open = scene.expect("TRN-05", Outcome::CannotTell, "is declared to train with 2");
        assert_eq!(open.level, level, "nothing is vouched for");
    }
    // Where another held devices too, nobody knows whose run it was.
    let mut shared = trained_for(24, 700, 800);
    for day in shared.days_mut() {
        let_day(day, &[TENANT, crate::id::TenantPseudonym([7; 16])], 1);
    }
    let open = shared.expect(
        "TRN-05",
        Outcome::CannotTell,
        "may have trained with up to 4 devices",
    );
    assert_eq!(open.level, Some(Level::Candidate));
}

#[test]
fn trn_05_asks_no_declaration_of_time_that_is_ruled_out() {
    // Five of six busy minutes are ruled out; the rest, which may be training, takes less than two devices for half an hour.
    let mostly: fn(Option<LevelTimes>) -> Option<LevelTimes> = |_| {
        Some(LevelTimes {
            ruled_out_ms: 170_000,
            candidate_ms: 30_000,
            ..LevelTimes::default()
        })
    };
    trained_at(1, 0, 800, mostly).expect("TRN-05", Outcome::Met, "no tenant can have trained");
    trained_at(4, 0, 800, mostly).expect("TRN-05", Outcome::CannotTell, "may have trained with up to 4");
}

#[test]
fn trn_05_counts_a_device_of_which_two_nodes_tell_once() {
    let mut scene = trained_for(24, 700, 800);
    let first = scene.labs[0].record.days.clone();
    scene.labs[1].record.days = first;
    declare(&mut scene, &[devices("devices_at_most = 2")]);
    scene.expect(
        "TRN-05",
        Outcome::CannotTell,
        "may have trained with up to 4 devices on 2026-11-20, and is declared to train with 2",
    );
}

#[test]
fn trn_05_makes_no_second_device_of_what_one_trained_too_long() {
    let mut scene = trained_for(24, 700, 800);
    for day in scene.days_mut() {
        day.devices.iter_mut().for_each(|d| d.sums.established_ms = 0);
    }
    // Its reports tell of five days within one.
    for day in scene.labs[0].record.days.values_mut() {
        day.devices[0].sums.established_ms = 5 * 86_400_000;
    }
    declare(&mut scene, &[devices("devices_at_most = 1")]);
    scene.expect("TRN-05", Outcome::CannotTell, "is declared to train with 1");
}

#[test]
fn trn_05_leaves_alone_what_is_too_small_or_too_short() {
    let few = trained(700, 800).with("declared_group_devices = 2", "declared_group_devices = 5");
    few.expect("TRN-05", Outcome::Met, "no tenant can have trained");
    let short = trained(700, 800).with(
        "declared_group_after = \"30 min\"",
        "declared_group_after = \"3 h\"",
    );
    short.expect("TRN-05", Outcome::Met, "no tenant can have trained");
}

#[test]
fn trn_05_counts_what_nobody_answers_for() {
    let mut scene = trained(0, 800)
        .with("serial = 1\n", "serial = 1\nattribution_min = 0.5\n")
        .with(
            "declared_group_after = \"30 min\"",
            "declared_group_after = \"15 min\"",
        );
    declare(&mut scene, &[]);
    scene.expect("TRN-05", Outcome::Met, "");
    for day in scene.days_mut() {
        let_day(day, &[TENANT], 2);
    }
    scene.expect(
        "TRN-05",
        Outcome::CannotTell,
        "up to 4 devices were busy for 2 device-hours for nobody",
    );
}

/// Files an attestation of the tenant, whole but for these changes.
fn know(mut scene: Scene, changes: &[(&str, &str)]) -> Scene {
    let operator = scene.hear(Role::Operator, "");
    scene.file("tenant-kyc", operator, &[&WHOLE[..], changes].concat());
    scene
}

const MACAU: (&str, &str) = ("headquarters = \"JP\"", "headquarters = \"MO\"");

#[test]
fn trn_06_asks_who_stands_behind_whoever_may_have_trained() {
    know(trained(700, 800), &[]).expect("TRN-06", Outcome::Met, "by what is attested of them");
    let found = know(trained(700, 800), &[MACAU]).expect(
        "TRN-06",
        Outcome::NotMet,
        "in country group D:5 and Macau, and trained",
    );
    assert_eq!(found.subjects, [TENANT.to_string()]);
    assert_eq!(found.level, Some(Level::Established));
    for told in [possible as fn(_) -> _, untold] {
        let open = know(trained_at(1, 700, 800, told), &[MACAU]);
        open.expect("TRN-06", Outcome::CannotTell, "that it trained is not ruled out");
    }
    let open = know(trained(0, 800), &[MACAU]);
    open.expect("TRN-06", Outcome::CannotTell, "that it trained is not ruled out");
    trained(0, 800).expect(
        "TRN-06",
        Outcome::CannotTell,
        "has no attestation that the licence hears",
    );
    waived(trained(0, 800), "TRN-06").expect("TRN-06", Outcome::Waived, "a trial");
    // Who cannot have trained may be anyone, as far as the licence takes the drivers' word.
    let rest = know(trained(0, 0), &[MACAU]);
    rest.expect("TRN-06", Outcome::Met, "can have trained nothing");
    let rest = rest.with("reported_bounds_suffice = true\n", "");
    rest.expect("TRN-06", Outcome::CannotTell, "`reported_bounds_suffice`");
}

#[test]
fn trn_06_accuses_no_tenant_of_what_another_may_have_trained() {
    let mut scene = know(trained(700, 800), &[MACAU]);
    for day in scene.days_mut() {
        let_day(day, &[TENANT, crate::id::TenantPseudonym([7; 16])], 1);
    }
    scene.expect("TRN-06", Outcome::CannotTell, "that it trained is not ruled out");
}

/// The finding of a condition under a rule set with a list of Tier 1.
#[track_caller]
fn judged(scene: &Scene, id: &str, outcome: Outcome, says: &str) -> Finding {
    let licence = Licence::parse(&scene.licence).unwrap();
    let mut rules = RuleSet::carried(&licence.ruleset_id).unwrap();
    rules.limits.fine_tuning_share_max = Some(Ppm(250_000));
    rules.limits.fine_tuning_ops_max = Some(Operations(25 * 10u128.pow(24)));
    rules.countries.push(CountryList {
        list: "tier-1".to_owned(),
        title: "Tier 1".to_owned(),
        citation: Citation {
            source: "Supp. 5 to 15 CFR part 740".to_owned(),
            confidence: Confidence::Medium,
            state: crate::rules::RuleState::InForceNotEnforced,
        },
        validity: Validity {
            from: start(),
            to: None,
        },
        members: vec!["NL".to_owned()],
    });
    let catalogue = Catalogue::embedded().unwrap();
    let findings = evaluate(&licence, &rules, &catalogue, &scene.facts(), scene.now);
    let found = findings.into_iter().find(|f| f.condition == id).unwrap();
    assert_eq!(found.outcome, outcome, "{id}: {}", found.sentence);
    assert!(found.sentence.contains(says), "{id}: {}", found.sentence);
    found
}

fn diffusion(scene: Scene) -> Scene {
    scene.with("serial = 1\n", "serial = 1\nprofiles = [\"ifr-2025\"]\n")
}

/// A declaration of fine-tuning with so many operations, of a model of which this is said.
fn tuned(operations: &str, base: &str) -> Scene {
    let mut scene = diffusion(trained(700, 800));
    let operations = format!("operations = \"{operations}\"");
    let changes = [
        ("operations = \"3e23\"", operations.as_str()),
        ("# base_operations = \"2e24\"", base),
    ];
    declare(&mut scene, &changes);
    scene
}

#[test]
fn trn_08_holds_fine_tuning_outside_tier_1_against_its_share() {
    let found = judged(
        &tuned("3e23", ""),
        "TRN-08",
        Outcome::Met,
        "neither what is declared as fine-tuning",
    );
    assert_eq!(
        found.limit.unwrap().upper.as_deref(),
        Some("25000000000000000000000000")
    );
    assert_eq!(
        found.measured.unwrap().upper.as_deref(),
        Some("300000000000000000000000")
    );
    // A quarter of what the model took, where that is more.
    judged(
        &tuned("3e25", "base_operations = \"2e26\""),
        "TRN-08",
        Outcome::Met,
        "",
    );
    let above = tuned("3e25", "base_operations = \"1e26\"");
    let above = judged(
        &above,
        "TRN-08",
        Outcome::NotMet,
        "is declared to add 3.00e25 operations, where 2.50e25 are allowed",
    );
    assert_eq!(above.subjects, [TENANT.to_string()]);
    judged(
        &tuned("3e25", ""),
        "TRN-08",
        Outcome::CannotTell,
        "to a model whose own are not told",
    );
    let home = tuned("3e23", "").with("country = \"SG\"", "country = \"NL\"");
    judged(
        &home,
        "TRN-08",
        Outcome::NotApplicable,
        "in NL, which is in Tier 1",
    );
    let nowhere = tuned("3e23", "")
        .with("[[site]]\nid = \"harbour-1\"\ncountry = \"SG\"\n", "")
        .with("serial = 1\n", "serial = 1\nsite_ids = [\"harbour-1\"]\n");
    judged(&nowhere, "TRN-08", Outcome::CannotTell, "no country is declared");
    // The carried rule set has no such list.
    let unlisted = tuned("3e23", "").expect("TRN-08", Outcome::CannotTell, "no list of Tier 1");
    assert_eq!(unlisted.message_id, "TRN-08.no-list");
    trained(0, 0).expect(
        "TRN-08",
        Outcome::NotApplicable,
        "belongs to the profile ifr-2025",
    );
    judged(
        &waived(tuned("3e25", ""), "TRN-08"),
        "TRN-08",
        Outcome::Waived,
        "a trial",
    );
}

#[test]
fn trn_08_takes_all_that_a_tenant_can_have_computed_for_fine_tuning() {
    // 96 TPP-hours over FP8 are 4e16 operations and more.
    let small =
        diffusion(trained(0, 800)).with("serial = 1\n", "serial = 1\nfine_tuning_ops_max = \"1e18\"\n");
    let open = judged(
        &small,
        "TRN-08",
        Outcome::CannotTell,
        "a declaration of its fine-tuning",
    );
    assert_eq!(open.message_id, "TRN-08.not-within");
}

/// The scene of a licence that asks about weights, with a custody record.
fn kept(changes: &[(&str, &str)]) -> Scene {
    let mut scene = diffusion(Scene::honest());
    let operator = scene.hear(Role::Operator, "");
    scene.file("weight-custody", operator, changes);
    scene
}

const CONTROLLED: (&str, &str) = ("controlled = false", "controlled = true");

#[test]
fn weights_are_kept_by_an_assessor_s_word_and_against_it_by_their_keeper_s() {
    let mine = |changes: &[(&str, &str)]| kept(&[&[CONTROLLED], changes].concat());
    for id in ["TRN-09", "SEC-08"] {
        Scene::honest().expect(id, Outcome::NotApplicable, "belongs to the profile ifr-2025");
        let none = diffusion(Scene::honest()).expect(id, Outcome::CannotTell, "no custody of model weights");
        assert_eq!(none.message_id, format!("{id}.no-statement"));
        let mut examined = diffusion(Scene::honest());
        let assessor = examined.hear(Role::Assessor, "");
        examined.file("security-attestation", assessor, &[]);
        examined.expect(id, Outcome::CannotTell, "no custody of model weights");
        mine(&[]).expect(id, Outcome::CannotTell, "an assessor's finding would settle it");
        let shared = ("dedicated = true", "dedicated = false");
        let found = mine(&[shared]).expect(id, Outcome::NotMet, "serve others too");
        assert_eq!(
            (found.subjects, found.evidence.len()),
            (vec!["harbour-1".to_owned()], 1)
        );
        kept(&[shared]).expect(id, Outcome::CannotTell, "");
        waived(mine(&[shared]), id).expect(id, Outcome::Waived, "a trial");
        let about = format!("condition = \"{id}\"");
        let about = [("condition = \"PHY-04\"", about.as_str())];
        let mut seen = mine(&[]);
        let assessor = seen.hear(Role::Assessor, "");
        seen.file("assessor-finding", assessor, &about);
        seen.expect(id, Outcome::Met, "assessor's finding");
        seen.file(
            "assessor-finding",
            assessor,
            &[
                about[0],
                ("08:00:00Z", "09:00:00Z"),
                ("\"satisfied\"", "\"not satisfied\""),
            ],
        );
        seen.expect(id, Outcome::NotMet, "assessor's finding");
        // What a keeper admits no assessor takes back.
        let mut admitted = mine(&[shared]);
        let assessor = admitted.hear(Role::Assessor, "");
        admitted.file("assessor-finding", assessor, &about);
        admitted.expect(id, Outcome::NotMet, "serve others too");
    }
    mine(&[("rate_limited = true", "rate_limited = false")]).expect(
        "SEC-08",
        Outcome::NotMet,
        "is not limited in rate",
    );
}

#[test]
fn a_licence_that_limits_the_age_of_assessments_asks_nothing_about_weights() {
    let aged = Scene::honest().with("serial = 1\n", "serial = 1\nassessment_max_age = \"365 d\"\n");
    aged.expect(
        "SEC-08",
        Outcome::NotApplicable,
        "belongs to the profile ifr-2025",
    );
}

#[test]
fn trn_09_follows_weights_into_barred_countries() {
    let sent = |number: &str| {
        let mut scene = kept(&[
            CONTROLLED,
            ("# transferred_to = \"NL\"", "transferred_to = \"MO\""),
            ("# authorisation", "authorisation"),
        ]);
        let agency = scene.hear(Role::Authority, "");
        scene.file("authorisation", agency, &[("D1234567", number)]);
        scene
    };
    sent("D7").expect(
        "TRN-09",
        Outcome::NotMet,
        "they went to a country of country group D:5",
    );
    sent("D1234567").expect(
        "TRN-09",
        Outcome::CannotTell,
        "an assessor's finding would settle it",
    );
}
