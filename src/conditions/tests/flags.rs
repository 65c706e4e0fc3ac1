use super::papers::{LICENCE_ID, READING};
use super::*;
use crate::rules::{Citation, Confidence, CountryList, RuleState, Validity};
use crate::statement::{FlagState, RedFlag, Role};
use crate::time::DAY_SECONDS;

pub(super) const PARTY: (&str, &str) = ("Harbour Compute Pte. Ltd.", "Consignee");

/// The honest scene with due diligence about the consignee, and the supplier's key.
fn looked_into(changes: &[(&str, &str)]) -> (Scene, Digest) {
    let mut scene = Scene::honest();
    let supplier = scene.hear_as("Consignee", Role::Supplier, "");
    scene.file(
        "due-diligence",
        supplier,
        &[&[PARTY, LICENCE_ID], changes].concat(),
    );
    (scene, supplier)
}

impl Scene {
    pub(super) fn flag(&self, flag: RedFlag) -> Flag {
        let flags = self.judgement().flags;
        assert_eq!(flags.len(), RedFlag::ALL.len());
        flags.into_iter().find(|f| f.flag == flag).unwrap()
    }

    #[track_caller]
    fn expect_flag(&self, flag: RedFlag, state: FlagStanding, says: &str) -> Flag {
        let found = self.flag(flag);
        assert_eq!(found.state, state, "{flag}: {}", found.sentence);
        assert!(found.sentence.contains(says), "{flag}: {}", found.sentence);
        assert!(found.message_id.starts_with(flag.text()));
        found
    }
}

/// Each flag that due diligence raises: what raises it, and in which words.
const RAISES: &[(RedFlag, &str, &str, &str)] = &[
    (
        RedFlag::Flg01,
        "bought_before = 128",
        "bought_before = 0",
        "it bought 0 before October 2022",
    ),
    (
        RedFlag::Flg02,
        "bought_since = 1024",
        "bought_since = 1281",
        "1281 since, and the rule set allows 10 times",
    ),
    (
        RedFlag::Flg04,
        "ultimate_parent = \"SG\"",
        "ultimate_parent = \"MO\"",
        "country group D:5 and Macau",
    ),
    (
        RedFlag::Flg04,
        "# ultimate_parent = \"SG\"",
        "# ultimate_parent = \"SG\"",
        "could not be found out",
    ),
    (
        RedFlag::Flg05,
        "\"data centre\"",
        "\"residential\"",
        "its address is residential",
    ),
    (
        RedFlag::Flg05,
        "\"data centre\"",
        "\"vague\"",
        "its address is vague",
    ),
    (
        RedFlag::Flg06,
        "\"established\"",
        "\"none\"",
        "its presence in public is: none",
    ),
    (
        RedFlag::Flg07,
        "contact_of_listed = false",
        "contact_of_listed = true",
        "those of a listed party too",
    ),
    (
        RedFlag::Flg08,
        "discloses_use = true",
        "discloses_use = false",
        "does not say where",
    ),
    (
        RedFlag::Flg09,
        "affirms_capacity = true",
        "affirms_capacity = false",
        "does not affirm",
    ),
    (
        RedFlag::Flg11,
        "\"fits\"",
        "\"doubtful\"",
        "fits its business: doubtful",
    ),
    (
        RedFlag::Flg12,
        "\"infrastructure provider\"",
        "\"freight forwarder\"",
        "freight forwarder, and the route is usual",
    ),
    (
        RedFlag::Flg12,
        "usual_route = true",
        "usual_route = false",
        "the route is odd",
    ),
    (
        RedFlag::Flg13,
        "trains_controlled_model = false",
        "trains_controlled_model = true",
        "would train a model",
    ),
];

#[test]
fn due_diligence_raises_flags_and_clears_them() {
    // The parent is optional, and stands in the draft as a comment.
    let parent = ("# ultimate_parent = \"SG\"", "ultimate_parent = \"SG\"");
    let (clear, _) = looked_into(&[parent]);
    for (flag, old, new, says) in RAISES {
        let changes = if *old == parent.0 {
            vec![]
        } else {
            vec![parent, (*old, *new)]
        };
        let (scene, _) = looked_into(&changes);
        let found = scene.expect_flag(*flag, FlagStanding::Raised, says);
        assert!(
            found.open && found.since == UnixSeconds::parse("2026-11-19T08:00:00Z").ok(),
            "{found:?}"
        );
        assert!(!found.evidence.is_empty());
        let before = clear.flag(*flag);
        assert_ne!(before.state, FlagStanding::Raised, "{flag}: {}", before.sentence);
        let none = Scene::honest().flag(*flag);
        assert_eq!(none.state, FlagStanding::CannotTell, "{flag}: {}", none.sentence);
        assert!(
            none.sentence
                .contains("no customer due diligence about site harbour-1 is on file")
        );
    }
}

#[test]
fn due_diligence_about_another_customer_tells_nothing() {
    let mut scene = Scene::honest();
    let supplier = scene.hear(Role::Supplier, "");
    scene.file("due-diligence", supplier, &[LICENCE_ID]);
    scene.expect_flag(
        RedFlag::Flg05,
        FlagStanding::CannotTell,
        "no customer due diligence is about Consignee",
    );
}

#[test]
fn flg_02_counts_what_shipment_lists_tell_where_that_is_more() {
    let (mut scene, supplier) = looked_into(&[]);
    scene.expect_flag(
        RedFlag::Flg02,
        FlagStanding::NotRaised,
        "128 before October 2022 and 1024 since",
    );
    scene.file(
        "shipment-list",
        supplier,
        &[PARTY, LICENCE_ID, ("count = 8", "count = 2000")],
    );
    scene.expect_flag(RedFlag::Flg02, FlagStanding::Raised, "and 2000 since");
    // A part of it that is in store is one more list of the same shipment.
    let spare = [
        ("count = 8", "count = 100"),
        ("\"delivered\"", "\"spare\""),
        ("issued = 2026-11-19T08:00:00Z", "issued = 2026-11-19T09:00:00Z"),
    ];
    scene.file(
        "shipment-list",
        supplier,
        &[&[PARTY, LICENCE_ID][..], &spare].concat(),
    );
    scene.expect_flag(RedFlag::Flg02, FlagStanding::Raised, "and 2100 since");
    // Of before the controls began.
    let (mut early, supplier) = looked_into(&[]);
    let shipped = ("shipped = 2026-10-02", "shipped = 2022-10-02");
    early.file(
        "shipment-list",
        supplier,
        &[PARTY, LICENCE_ID, ("count = 8", "count = 2000"), shipped],
    );
    early.expect_flag(RedFlag::Flg02, FlagStanding::NotRaised, "1024 since");
}

#[test]
fn flg_03_asks_when_and_where_a_customer_was_incorporated() {
    let flag = |at: &str, place: &str, members: Option<&str>| {
        let (at, place) = (
            format!("incorporated = {at}"),
            format!("headquarters = \"{place}\""),
        );
        let changes = [
            ("incorporated = 2019-04-02", at.as_str()),
            ("headquarters = \"SG\"", place.as_str()),
        ];
        let (scene, _) = looked_into(&changes);
        let licence = Licence::parse(&scene.licence).unwrap();
        let mut rules = RuleSet::carried(&licence.ruleset_id).unwrap();
        rules.countries.retain(|l| l.list != "A:1");
        rules.countries.extend(members.map(|member| CountryList {
            list: "A:1".to_owned(),
            title: "country group A:1".to_owned(),
            citation: Citation {
                source: "a test".to_owned(),
                confidence: Confidence::High,
                state: RuleState::Enforced,
            },
            validity: Validity {
                from: start(),
                to: None,
            },
            members: vec![member.to_owned()],
        }));
        let catalogue = Catalogue::embedded().unwrap();
        let judged = judge(&licence, &rules, &catalogue, &scene.facts(), scene.now);
        judged
            .flags
            .into_iter()
            .find(|f| f.flag == RedFlag::Flg03)
            .unwrap()
            .state
    };
    assert_eq!(flag("2022-10-06", "HK", Some("JP")), FlagStanding::NotRaised);
    assert_eq!(flag("2022-10-07", "HK", Some("JP")), FlagStanding::Raised);
    assert_eq!(flag("2023-01-01", "SG", Some("JP")), FlagStanding::Raised);
    assert_eq!(flag("2023-01-01", "JP", Some("JP")), FlagStanding::NotRaised);
    assert_eq!(flag("2023-01-01", "JP", None), FlagStanding::CannotTell);
}

#[test]
fn flg_04_and_flg_14_look_at_what_the_customer_discloses_too() {
    let parent = ("# ultimate_parent = \"SG\"", "ultimate_parent = \"SG\"");
    let disclosed = |changes: &[(&str, &str)]| {
        let (mut scene, _) = looked_into(&[parent]);
        let owner = scene.hear_as("Consignee", Role::Operator, "");
        scene.file("ownership", owner, &[&[PARTY], changes].concat());
        scene
    };
    let clear = disclosed(&[]);
    clear.expect_flag(RedFlag::Flg04, FlagStanding::NotRaised, "");
    clear.expect_flag(RedFlag::Flg14, FlagStanding::NotRaised, "none is listed");
    let moved = [(
        "ultimate_parent_country = \"SG\"",
        "ultimate_parent_country = \"MO\"",
    )];
    disclosed(&moved).expect_flag(
        RedFlag::Flg04,
        FlagStanding::Raised,
        "by the ownership and control",
    );
    let listed = disclosed(&[("listed = false", "listed = true")]);
    listed.expect_flag(RedFlag::Flg14, FlagStanding::Raised, "1 of its owners");
    let partly = disclosed(&[("complete = true", "complete = false")]);
    partly.expect_flag(RedFlag::Flg14, FlagStanding::CannotTell, "not all of its owners");
    Scene::honest().expect_flag(
        RedFlag::Flg14,
        FlagStanding::CannotTell,
        "no ownership and control",
    );
}

#[test]
fn flg_07_takes_a_match_of_a_screening_with_owners_and_addresses() {
    let screened = |changes: &[(&str, &str)]| {
        let (mut scene, supplier) = looked_into(&[]);
        let parties = ("# parties = [\"Harbour", "parties = [\"Harbour");
        let role = ("role = \"operator\"", "role = \"supplier\"");
        scene.file(
            "screening",
            supplier,
            &[&[role, parties, PARTY], changes].concat(),
        );
        scene.flag(RedFlag::Flg07).state
    };
    assert_eq!(screened(&[]), FlagStanding::NotRaised);
    assert_eq!(
        screened(&[("result = \"clear\"", "result = \"match\"")]),
        FlagStanding::Raised
    );
    let possible = ("result = \"clear\"", "result = \"possible match\"");
    assert_eq!(screened(&[possible]), FlagStanding::Raised);
    assert_eq!(
        screened(&[possible, ("# resolution", "resolution")]),
        FlagStanding::NotRaised
    );
}

#[test]
fn flg_10_rests_on_what_assessors_found_of_security() {
    let attested = Scene::honest().attested();
    attested.expect_flag(RedFlag::Flg10, FlagStanding::NotRaised, "PHY-01 is met");
    Scene::honest().expect_flag(RedFlag::Flg10, FlagStanding::CannotTell, "PHY-01 is cannot tell");
    let mut wanting = attested;
    let assessor = wanting.hear(Role::Assessor, "");
    let changes = [
        ("condition = \"PHY-04\"", "condition = \"PHY-01\""),
        ("\"satisfied\"", "\"not satisfied\""),
    ];
    wanting.file("assessor-finding", assessor, &changes);
    let found = wanting.expect_flag(RedFlag::Flg10, FlagStanding::Raised, "PHY-01 is not met");
    assert!(found.since.is_some());
    // A waiver of the condition explains no flag.
    let waiver = "[[waivers]]\ncondition = \"PHY-01\"\nuntil = 2026-12-31\nreason = \"new fence\"\n[[site]]";
    wanting.with("[[site]]", waiver).expect_flag(
        RedFlag::Flg10,
        FlagStanding::CannotTell,
        "PHY-01 is waived",
    );
}

#[test]
fn flg_13_counts_the_operations_that_a_declaration_names() {
    let (mut scene, _) = looked_into(&[]);
    let operator = scene.hear(Role::Operator, "");
    let large = [
        ("operations = \"3e23\"", "operations = \"99e24\""),
        ("# base_operations = \"2e24\"", "base_operations = \"1e24\""),
    ];
    scene.file("training-declaration", operator, &large);
    scene.expect_flag(
        RedFlag::Flg13,
        FlagStanding::Raised,
        "a model takes 100,000,000,000,000,000,000,000,000 operations",
    );
}

#[test]
fn flg_15_sees_a_fleet_that_falls_silent_soon_and_a_serial_that_changes() {
    Scene::honest().expect_flag(
        RedFlag::Flg15,
        FlagStanding::NotRaised,
        "the fleet did not fall silent",
    );
    Scene::empty().expect_flag(
        RedFlag::Flg15,
        FlagStanding::CannotTell,
        "no node of this site has reported",
    );
    let mut silent = Scene::honest();
    silent.now = start().plus(8 * DAY_SECONDS);
    let found = silent.expect_flag(RedFlag::Flg15, FlagStanding::Raised, "the fleet reported for ");
    assert!(found.since.unwrap() < silent.now.plus(-7 * DAY_SECONDS));
    let mut renamed = Scene::honest();
    let mut other = gpu(1);
    other.identity.serial = Some("S77".to_owned());
    renamed.labs[0].run(1, &[other, gpu(2)]);
    renamed.expect_flag(
        RedFlag::Flg15,
        FlagStanding::Raised,
        "had the serial number S1 until",
    );
    let mut twice = Scene::empty();
    twice.hour(&[gpu(1), gpu(2)], &[gpu(1), gpu(4)]);
    twice.expect_flag(RedFlag::Flg15, FlagStanding::Raised, "INV-03 is not met");
}

#[test]
fn a_flag_is_resolved_by_who_may_and_only_for_what_was_known_then() {
    let residential = ("\"data centre\"", "\"residential\"");
    let resolved = |state: &'static str, at: &'static str| {
        let (mut scene, supplier) = looked_into(&[residential]);
        let changes = [
            PARTY,
            LICENCE_ID,
            ("FLG-02", "FLG-05"),
            ("\"resolved\"", state),
            ("19T08:00:00Z", at),
        ];
        scene.file("flag-resolution", supplier, &changes);
        scene.expect_flag(RedFlag::Flg05, FlagStanding::Raised, "its address is residential")
    };
    let flag = resolved("\"resolved\"", "19T09:00:00Z");
    assert!(
        !flag.open
            && flag
                .sentence
                .contains("resolved by the resolution of a red flag 2026-0001 of Consignee")
    );
    assert_eq!(flag.resolution.as_ref().unwrap().state, FlagState::Resolved);
    assert!(flag.evidence.contains(&flag.resolution.unwrap().statement));
    assert!(resolved("\"stands\"", "19T09:00:00Z").open);
    assert!(resolved("\"escalated\"", "19T09:00:00Z").open);
    let early = resolved("\"resolved\"", "19T07:00:00Z");
    assert!(
        early.open && early.sentence.contains("older than what speaks for the flag"),
        "{}",
        early.sentence
    );
    // Where another says that it stands, it does.
    let (mut scene, supplier) = looked_into(&[residential]);
    let assessor = scene.hear(Role::Assessor, "");
    let about = [LICENCE_ID, ("FLG-02", "FLG-05"), ("19T08:00:00Z", "19T09:00:00Z")];
    scene.file("flag-resolution", supplier, &[&about[..], &[PARTY]].concat());
    let stands = [
        ("\"resolved\"", "\"stands\""),
        ("role = \"supplier\"", "role = \"assessor\""),
    ];
    scene.file("flag-resolution", assessor, &[&about[..], &stands].concat());
    assert!(scene.flag(RedFlag::Flg05).open);
}

/// Whether a flag is open once a supplier resolved it at a time.
fn is_open_after(scene: &mut Scene, flag: RedFlag, at: &str) -> bool {
    let supplier = scene.hear_as("Consignee", Role::Supplier, "");
    let (about, at) = (flag.to_string(), format!("issued = {at}"));
    let changes = [
        PARTY,
        LICENCE_ID,
        ("FLG-02", about.as_str()),
        ("issued = 2026-11-19T08:00:00Z", at.as_str()),
    ];
    scene.file("flag-resolution", supplier, &changes);
    let found = scene.expect_flag(flag, FlagStanding::Raised, "");
    assert_eq!(
        found.open,
        found.sentence.contains("older than what speaks for the flag"),
        "{}",
        found.sentence
    );
    found.open
}

#[test]
fn a_flag_that_rests_on_a_condition_is_as_old_as_what_breaks_it() {
    let at = |text: &str| UnixSeconds::parse(text).ok();
    // A device on two nodes for an hour, and again later.
    let mut twice = Scene::empty();
    twice.hour(&[gpu(1), gpu(2)], &[gpu(1), gpu(4)]);
    twice.now = start().plus(2 * 3_600);
    assert_eq!(twice.flag(RedFlag::Flg15).since, Some(start()));
    assert!(is_open_after(&mut twice, RedFlag::Flg15, "2026-11-19T09:00:00Z"));
    assert!(!is_open_after(&mut twice, RedFlag::Flg15, "2026-11-20T01:30:00Z"));
    twice.labs.iter_mut().for_each(|lab| lab.sleep(3_600));
    twice.hour(&[gpu(1), gpu(2)], &[gpu(1), gpu(4)]);
    twice.now = start().plus(4 * 3_600);
    assert!(twice.flag(RedFlag::Flg15).open, "it was so again");

    // A meter that read less is known once it was told, and not when it began to count.
    let mut deficit = power::drawing();
    let operator = deficit.hear(Role::Operator, "");
    let less = ("energy_kwh = 1", "energy_kwh = 15");
    deficit.file("power-reading", operator, &[READING, &[less]].concat());
    assert_eq!(
        deficit.flag(RedFlag::Flg15).since,
        at("2026-11-20T01:00:00Z"),
        "{}",
        deficit.flag(RedFlag::Flg15).sentence
    );
    assert!(is_open_after(
        &mut deficit,
        RedFlag::Flg15,
        "2026-11-20T00:30:00Z"
    ));
    assert!(!is_open_after(
        &mut deficit,
        RedFlag::Flg15,
        "2026-11-20T01:00:05Z"
    ));

    // A group that surely trained with more than was declared, under a licence that holds for longer.
    let mut group =
        purpose::trained_for(24, 700, 800).with("valid_from = 2026-11-20", "valid_from = 2026-10-01");
    purpose::declare(&mut group, &[("devices_at_most = 256", "devices_at_most = 2")]);
    let found = group.expect_flag(RedFlag::Flg13, FlagStanding::Raised, "TRN-05 is not met");
    assert_eq!(found.since, Some(start()));
    assert!(is_open_after(&mut group, RedFlag::Flg13, "2026-11-19T09:00:00Z"));
    assert!(!is_open_after(&mut group, RedFlag::Flg13, "2026-11-21T00:00:05Z"));

    // What an assessor found is as old as the finding, and the next one is not what was resolved.
    let mut wanting = Scene::honest().attested();
    let assessor = wanting.hear(Role::Assessor, "");
    let about = [
        ("condition = \"PHY-04\"", "condition = \"PHY-01\""),
        ("\"satisfied\"", "\"not satisfied\""),
    ];
    wanting.file("assessor-finding", assessor, &about);
    assert_eq!(wanting.flag(RedFlag::Flg10).since, at("2026-11-19T08:00:00Z"));
    assert!(!is_open_after(
        &mut wanting,
        RedFlag::Flg10,
        "2026-11-19T09:00:00Z"
    ));
    let later = [("issued = 2026-11-19T08:00:00Z", "issued = 2026-11-19T10:00:00Z")];
    wanting.file("assessor-finding", assessor, &[&about[..], &later].concat());
    assert!(wanting.flag(RedFlag::Flg10).open);
}

#[test]
fn to_write_the_same_anew_makes_a_flag_no_younger() {
    let residential = ("\"data centre\"", "\"residential\"");
    let early = ("issued = 2026-11-19", "issued = 2026-09-01");
    let (mut scene, supplier) = looked_into(&[residential, early]);
    let first = scene.statements[0].statement.digest;
    let old = format!("# supersedes = \"{}\"", "0".repeat(64));
    let replaces = format!("supersedes = \"{first}\"");
    scene.file(
        "due-diligence",
        supplier,
        &[PARTY, LICENCE_ID, residential, (old.as_str(), replaces.as_str())],
    );
    let since = scene.flag(RedFlag::Flg05).since.unwrap();
    assert_eq!(since, UnixSeconds::parse("2026-09-01T08:00:00Z").unwrap());
}

#[test]
fn flags_are_a_list_with_what_is_raised_first_and_pass_no_site() {
    let parent = ("# ultimate_parent = \"SG\"", "ultimate_parent = \"SG\"");
    let (scene, _) = looked_into(&[parent, ("\"data centre\"", "\"vague\"")]);
    let judged = scene.judgement();
    let states: Vec<_> = judged.flags.iter().map(|f| f.state).collect();
    assert!(states.is_sorted(), "{states:?}");
    assert_eq!(judged.flags[0].flag, RedFlag::Flg05);
    let json = serde_json::to_value(&judged.flags[0]).unwrap();
    assert_eq!(
        (&json["flag"], &json["state"], &json["open"]),
        (&"FLG-05".into(), &"raised".into(), &true.into())
    );
    // The findings are those of `evaluate`.
    assert_eq!(judged.findings, scene.findings());
}
