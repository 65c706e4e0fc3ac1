use super::*;
use crate::appraisal::{DeviceSums, Grade, NodeDay, TenantSums, TenantTotal, TenantTotals};
use crate::id::TenantPseudonym;
use crate::statement::Role;
use crate::telemetry::Reading;
use crate::time::DAY_SECONDS;

/// The tenant of the templates, and another.
pub(super) const TENANT: TenantPseudonym = TenantPseudonym([0; 16]);
const OTHER: TenantPseudonym = TenantPseudonym([7; 16]);

/// What makes the template of a tenant attestation whole.
pub(super) const WHOLE: [(&str, &str); 5] = [
    ("# ultimate_parent", "ultimate_parent"),
    ("# [[claims.owners]]", "[[claims.owners]]"),
    ("# country = \"JP\"", "country = \"JP\""),
    ("# share = 0.6", "share = 0.6"),
    ("# listed = false", "listed = false"),
];

impl Scene {
    /// Lets all devices to one tenant, in all that was reported so far.
    pub(super) fn let_to(&mut self, tenant: TenantPseudonym) {
        for day in self.days_mut() {
            let_day(day, &[tenant], 1);
        }
    }

    pub(super) fn days_mut(&mut self) -> impl Iterator<Item = &mut NodeDay> {
        self.labs.iter_mut().flat_map(|lab| lab.record.days.values_mut())
    }

    /// Files an attestation of a tenant, whole but for these changes.
    fn know(&mut self, by: Digest, tenant: TenantPseudonym, changes: &[(&str, &str)]) -> Digest {
        let line = |t: TenantPseudonym| format!("tenant = \"{t}\"");
        let named = [(&*line(TENANT), &*line(tenant))];
        self.file("tenant-kyc", by, &[&WHOLE[..], &named[..], changes].concat())
    }
}

/// Attributes one part in so many of a node's day to each of some tenants, the devices' time shared out among them.
pub(super) fn let_day(day: &mut NodeDay, tenants: &[TenantPseudonym], part: u64) {
    let mut all = DeviceSums::default();
    for device in &mut day.devices {
        device.sums.attributed_busy_ms = device.sums.busy_ms / part;
        all.add(&device.sums);
    }
    let several = u64::try_from(tenants.len()).unwrap();
    let sums = TenantSums {
        attributed_ms: all.expected_ms / part / several,
        busy_ms: all.busy_ms / part / several,
        upper: all.upper,
        unconditional: all.unconditional,
        ..TenantSums::default()
    };
    let kept = tenants.iter().map(|tenant| TenantTotal {
        tenant: *tenant,
        sums,
    });
    day.tenants = Some(Box::new(TenantTotals {
        kept: kept.collect(),
        others: None,
    }));
}

/// The honest scene, let to one tenant, with the attestation of it changed, or left out.
fn let_out(changes: Option<&[(&str, &str)]>) -> Scene {
    let mut scene = Scene::honest();
    scene.let_to(TENANT);
    let operator = scene.hear(Role::Operator, "");
    if let Some(changes) = changes {
        scene.know(operator, TENANT, changes);
    }
    scene
}

fn waived(scene: Scene, condition: &str) -> Scene {
    let waiver = format!(
        "[[waivers]]\ncondition = \"{condition}\"\nuntil = 2026-12-31\nreason = \"a trial\"\n[[models]]"
    );
    scene.with("[[models]]", &waiver)
}

fn idle() -> AcceleratorClaims {
    let mut device = gpu(1);
    device.delivered.measured.busy_ms = Reading::Value(0);
    device
}

#[test]
fn ten_01_asks_for_a_current_and_whole_attestation_of_each_tenant() {
    let met = let_out(Some(&[])).expect("TEN-01", Outcome::Met, "1 tenant held device time");
    assert_eq!((met.grade, met.evidence.len()), (Grade::Declared, 3));
    assert_eq!(met.window.unwrap().from, start());
    let none = let_out(None).expect("TEN-01", Outcome::CannotTell, "no tenant attestation about site");
    assert_eq!(none.message_id, "TEN-01.no-statement");
    assert_eq!(none.subjects, [TENANT.to_string()]);
    let expired = let_out(Some(&[("valid_to = 2027-11-30", "valid_to = 2026-11-19")]));
    expired.expect("TEN-01", Outcome::CannotTell, "expired on 2026-11-20T00:00:00Z");
    let old = let_out(Some(&[("verified = 2026-11-15", "verified = 2025-11-15")]));
    let old = old.expect("TEN-01", Outcome::CannotTell, "was last looked into 370 days ago");
    assert!(
        old.sentence.ends_with("the rule set allows 365 days"),
        "{}",
        old.sentence
    );
    assert_eq!(old.message_id, "TEN-01.not-attested");
    // Nobody looked into it after it was written down.
    let ahead = [
        ("verified = 2026-11-15", "verified = 2027-11-15"),
        ("issued = 2026-11-19", "issued = 2025-11-18"),
    ];
    let_out(Some(&ahead)).expect("TEN-01", Outcome::CannotTell, "was last looked into 366 days ago");
    let orphan = let_out(Some(&[(
        "ultimate_parent = \"JP\"",
        "# ultimate_parent = \"JP\"",
    )]));
    orphan.expect("TEN-01", Outcome::CannotTell, "its ultimate parent");
    waived(let_out(None), "TEN-01").expect("TEN-01", Outcome::Waived, "a trial");
}

#[test]
fn ten_01_names_whoever_is_not_attested_and_no_one_by_name() {
    let mut scene = let_out(Some(&[]));
    for day in scene.days_mut() {
        let_day(day, &[TENANT, OTHER], 1);
    }
    let open = scene.expect(
        "TEN-01",
        Outcome::CannotTell,
        "has no attestation that the licence hears",
    );
    assert_eq!(open.subjects, [OTHER.to_string()]);
    let measured = open.measured.unwrap();
    assert_eq!(
        (measured.lower.as_deref(), open.limit.unwrap().lower.as_deref()),
        (Some("1"), Some("2"))
    );
    for finding in let_out(Some(&[("headquarters = \"JP\"", "headquarters = \"MO\"")])).findings() {
        for secret in ["imaging", "Register"] {
            assert!(!finding.sentence.contains(secret), "{}", finding.sentence);
        }
    }
}

#[test]
fn without_attribution_nothing_is_told_of_tenants_where_devices_were_busy() {
    let mut scene = Scene::honest();
    let operator = scene.hear(Role::Operator, "");
    scene.know(operator, TENANT, &[]);
    for id in ["TEN-01", "TEN-02", "TEN-06", "TRN-05", "TRN-06"] {
        let open = scene.expect(id, Outcome::CannotTell, "`weighbridge-agent attribute`");
        assert_eq!(open.message_id, format!("{id}.unattributed"));
        assert!(
            open.sentence.contains("busy for 2 device-hours"),
            "{}",
            open.sentence
        );
    }
}

#[test]
fn an_idle_site_has_no_tenant_as_far_as_it_was_seen() {
    let mut scene = Scene::empty();
    let device = |n: u8| AcceleratorClaims {
        identity: gpu(n).identity,
        ..idle()
    };
    scene.hour(&[device(1), device(2)], &[device(3), device(4)]);
    for id in ["TEN-01", "TEN-02", "TEN-06", "TRN-05", "TRN-06"] {
        scene.expect(id, Outcome::NotApplicable, "no device was busy");
    }
    scene.now = start().plus(10 * 3_600);
    for id in ["TEN-01", "TEN-02", "TEN-06", "TRN-05", "TRN-06"] {
        let open = scene.expect(id, Outcome::CannotTell, "samples cover only 10.");
        assert_eq!(open.message_id, format!("{id}.not-observed"));
    }
    scene.now = start().plus(3 * DAY_SECONDS);
    scene.expect("TEN-01", Outcome::CannotTell, "has been silent for");
}

#[test]
fn whoever_is_not_told_of_one_by_one_keeps_a_condition_from_being_met() {
    let mut crowded = Scene::honest().attested();
    for day in crowded.days_mut() {
        day.tenants.as_mut().unwrap().others = Some(TenantSums::default());
    }
    let mut partly = Scene::honest().attested();
    for day in partly.days_mut() {
        let_day(day, &[TENANT], 2);
    }
    for id in ["TEN-01", "TEN-02", "TEN-03", "TRN-06"] {
        crowded.expect(id, Outcome::CannotTell, "more tenants than are kept one by one");
        partly.expect(
            id,
            Outcome::CannotTell,
            "only 50.00 % of busy device time is surely attributed",
        );
    }
}

#[test]
fn ten_02_holds_headquarters_parent_and_majority_owner_against_the_list() {
    let met = let_out(Some(&[])).expect("TEN-02", Outcome::Met, "of none do headquarters");
    assert_eq!(
        (met.grade, met.limit.unwrap().upper.as_deref()),
        (Grade::Declared, Some("0"))
    );
    let macau = ("ultimate_parent = \"JP\"", "ultimate_parent = \"MO\"");
    for (change, says) in [
        (
            ("headquarters = \"JP\"", "headquarters = \"HK\""),
            "has its headquarters in country group D:5",
        ),
        (macau, "has an ultimate parent with headquarters in"),
        (
            ("country = \"JP\"\n", "country = \"CN\"\n"),
            "has an owner of 50.00 % or more in",
        ),
    ] {
        let found = let_out(Some(&[change])).expect("TEN-02", Outcome::NotMet, says);
        assert_eq!(found.subjects, [TENANT.to_string()]);
    }
    let minor = [
        ("country = \"JP\"\n", "country = \"CN\"\n"),
        ("share = 0.6", "share = 0.4"),
    ];
    let_out(Some(&minor)).expect("TEN-02", Outcome::Met, "an owner of 50.00 % or more");
    let_out(Some(&minor))
        .with("serial = 1\n", "serial = 1\ncontrol_share_min = 0.4\n")
        .expect("TEN-02", Outcome::NotMet, "has an owner of 40.00 % or more in");
    // What it admits counts however old it is; what it denies does not.
    let old = ("verified = 2026-11-15", "verified = 2025-11-15");
    let_out(Some(&[old, macau])).expect("TEN-02", Outcome::NotMet, "ultimate parent");
    let_out(Some(&[old])).expect("TEN-02", Outcome::CannotTell, "was last looked into");
    let expired = ("valid_to = 2027-11-30", "valid_to = 2026-11-19");
    let_out(Some(&[expired, macau])).expect("TEN-02", Outcome::CannotTell, "expired on");
    waived(let_out(Some(&[macau])), "TEN-02").expect("TEN-02", Outcome::Waived, "a trial");
}

#[test]
fn ten_02_takes_an_authorisation_that_an_agency_or_the_supplier_confirms() {
    let licensed = |role: Role, tenants: &str| {
        let mut scene = let_out(Some(&[("headquarters = \"JP\"", "headquarters = \"MO\"")]));
        let key = scene.hear_as("Consignee", role, "");
        let by = format!("role = \"{role}\"");
        let changes = [
            ("Harbour Compute Pte. Ltd.", "Consignee"),
            ("role = \"authority\"", by.as_str()),
            ("# tenants = [\"00000000000000000000000000000000\"]", tenants),
        ];
        scene.file("authorisation", key, &changes);
        scene
    };
    let named = format!("tenants = [\"{TENANT}\"]");
    let met = licensed(Role::Authority, &named).expect("TEN-02", Outcome::Met, "without an authorisation");
    assert_eq!(met.evidence.len(), 4);
    licensed(Role::Supplier, &named).expect("TEN-02", Outcome::Met, "");
    // The holder's own word is none, nor is one that names no tenant, or another.
    licensed(Role::Operator, &named).expect("TEN-02", Outcome::NotMet, "no authorisation that an agency");
    licensed(Role::Authority, "").expect("TEN-02", Outcome::NotMet, "");
    licensed(Role::Authority, &named.replace('0', "7")).expect("TEN-02", Outcome::NotMet, "");
}

#[test]
fn of_two_attestations_the_newest_of_each_issuer_counts_and_of_these_the_worst() {
    let macau = ("headquarters = \"JP\"", "headquarters = \"MO\"");
    let mut scene = let_out(None);
    let one = scene.hear_as("One", Role::Operator, "");
    let two = scene.hear_as("Two", Role::Operator, "");
    let by = |name: &'static str| ("Harbour Compute Pte. Ltd.", name);
    scene.know(one, TENANT, &[by("One"), macau]);
    scene.know(two, TENANT, &[by("Two"), ("08:00:00Z", "09:00:00Z")]);
    scene.expect("TEN-02", Outcome::NotMet, "has its headquarters");
    scene.know(one, TENANT, &[by("One"), ("08:00:00Z", "10:00:00Z")]);
    scene.expect("TEN-02", Outcome::Met, "");
}

#[test]
fn ten_02_accuses_nobody_of_time_that_may_be_another_s() {
    let macau = [("headquarters = \"JP\"", "headquarters = \"MO\"")];
    // One of a node's devices is another licence's: which of them the tenant held no report says.
    let mut shared = let_out(Some(&macau)).with(&device(2, "H100 SXM5 80GB"), "");
    shared = shared
        .with(&device(3, "H100 SXM5 80GB"), "")
        .with(&device(4, "H100 SXM5 80GB"), "");
    let beside = Scene::empty().licence.replace("\"L-1\"", "\"L-2\"");
    shared
        .beside
        .push(beside.replace(&device(1, "H100 SXM5 80GB"), ""));
    let open = shared.expect("TEN-02", Outcome::CannotTell, "of another licence or time only");
    assert_eq!(open.measured.unwrap().upper.as_deref(), Some("1"));
    // On a day that began before the licence it may have held them before it.
    let late = let_out(Some(&macau)).with("valid_from = 2026-11-20", "valid_from = 2026-11-20T00:30:00Z");
    late.expect("TEN-02", Outcome::CannotTell, "of another licence or time only");
    // What came after a node's key was revoked may be anyone's.
    let mut revoked = let_out(Some(&macau));
    for status in &mut revoked.statuses {
        status.revoked_from = Some(start());
    }
    assert_ne!(revoked.finding("TEN-02").outcome, Outcome::NotMet);
}

/// The scene with a screening record of the tenant and the consignee, changed.
fn screened(changes: &[(&str, &str)]) -> Scene {
    let mut scene = let_out(Some(&[]));
    let key = scene.hear_as("Consignee", Role::Operator, "");
    screen(&mut scene, key, changes);
    scene
}

fn screen(scene: &mut Scene, key: Digest, changes: &[(&str, &str)]) {
    let both = [
        ("Harbour Compute Pte. Ltd.", "Consignee"),
        ("# tenants", "tenants"),
        ("# parties", "parties"),
    ];
    scene.file("screening", key, &[&both[..], changes].concat());
}

#[test]
fn ten_03_asks_for_a_young_and_whole_record_of_tenants_and_consignee() {
    screened(&[]).expect("TEN-03", Outcome::Met, "the consignee and 1 tenant");
    let_out(Some(&[])).expect("TEN-03", Outcome::CannotTell, "no screening record about site");
    let clear = ("result = \"clear\"", "result = \"match\"");
    let found = screened(&[clear]).expect("TEN-03", Outcome::NotMet, "tells of a match");
    assert_eq!(found.subjects, [TENANT.to_string(), "Consignee".to_owned()]);
    let possible = ("result = \"clear\"", "result = \"possible match\"");
    screened(&[possible]).expect("TEN-03", Outcome::CannotTell, "not what it came to");
    screened(&[possible, ("# resolution", "resolution")]).expect("TEN-03", Outcome::Met, "");
    let old = screened(&[("list_date = 2026-11-19", "list_date = 2026-10-19")]);
    old.expect("TEN-03", Outcome::CannotTell, "a list that is 32 days old");
    let ahead = [
        ("list_date = 2026-11-19", "list_date = 2027-11-19"),
        ("issued = 2026-11-19", "issued = 2026-10-19"),
    ];
    screened(&ahead).expect("TEN-03", Outcome::CannotTell, "a list that is 31 days old");
    screened(&[("owners_screened = true", "owners_screened = false")]).expect(
        "TEN-03",
        Outcome::CannotTell,
        "without its owners and addresses",
    );
    screened(&[("tenants = [", "# tenants = [")]).expect(
        "TEN-03",
        Outcome::CannotTell,
        "is in no screening record",
    );
    let others = screened(&[("parties = [\"Consignee\"]", "parties = [\"Someone\"]")]);
    others.expect(
        "TEN-03",
        Outcome::CannotTell,
        "the consignee is in no screening record",
    );
    waived(screened(&[clear]), "TEN-03").expect("TEN-03", Outcome::Waived, "a trial");
}

#[test]
fn ten_03_counts_half_ownership_while_the_rule_holds() {
    let uncounted = ("half_ownership_counted = true", "half_ownership_counted = false");
    screened(&[uncounted]).expect(
        "TEN-03",
        Outcome::CannotTell,
        "without counting what listed parties own",
    );
    // The rule was suspended when that list was made.
    let before = ("list_date = 2026-11-19", "list_date = 2026-11-09");
    screened(&[uncounted, before]).expect("TEN-03", Outcome::Met, "");
    let mut owned = screened(&[]);
    let operator = owned.hear(Role::Operator, "");
    let listed = ("listed = false", "listed = true");
    owned.know(operator, TENANT, &[listed, ("08:00:00Z", "09:00:00Z")]);
    owned.expect(
        "TEN-03",
        Outcome::NotMet,
        "listed owners hold 50.00 % of it or more",
    );
    let owned = owned.with("serial = 1\n", "serial = 1\ncontrol_share_min = 0.7\n");
    owned.expect("TEN-03", Outcome::Met, "");
}

#[test]
fn a_clear_record_of_one_issuer_clears_no_match_of_another() {
    let mut scene = screened(&[("result = \"clear\"", "result = \"match\"")]);
    let other = scene.hear_as("Supplier", Role::Supplier, "");
    let later = [
        ("role = \"operator\"", "role = \"supplier\""),
        ("issuer = \"Consignee\"", "issuer = \"Supplier\""),
        ("08:00:00Z", "09:00:00Z"),
    ];
    screen(&mut scene, other, &later);
    scene.expect("TEN-03", Outcome::NotMet, "of Consignee tells of a match");
}

#[test]
fn ten_03_accuses_no_tenant_of_another_licence_s_devices() {
    let matched = |beside: bool| {
        let mut scene = let_out(Some(&[]));
        let key = scene.hear_as("Consignee", Role::Operator, "");
        let party = ("Harbour Compute Pte. Ltd.", "Consignee");
        let found = ("result = \"clear\"", "result = \"match\"");
        scene.file("screening", key, &[party, ("# tenants", "tenants"), found]);
        scene.file(
            "screening",
            key,
            &[party, ("# parties", "parties"), ("2026-0001", "2026-0002")],
        );
        if beside {
            for n in 2..=4 {
                scene = scene.with(&device(n, "H100 SXM5 80GB"), "");
            }
            let other = Scene::empty().licence.replace("\"L-1\"", "\"L-2\"");
            scene.beside.push(other.replace(&device(1, "H100 SXM5 80GB"), ""));
        }
        scene
    };
    matched(false).expect("TEN-03", Outcome::NotMet, "tells of a match");
    matched(true).expect("TEN-03", Outcome::CannotTell, "may lie under another licence");
}

#[test]
fn ten_03_does_not_know_who_was_to_be_screened_without_attribution() {
    let mut scene = Scene::honest();
    let key = scene.hear_as("Consignee", Role::Operator, "");
    screen(&mut scene, key, &[]);
    scene.expect("TEN-03", Outcome::CannotTell, "none of that time is attributed");
}

/// The scene under a licence that asks for access agreements, with one on file.
fn reached(changes: &[(&str, &str)]) -> Scene {
    let mut scene = let_out(Some(&[]));
    let key = scene.hear(Role::Operator, "");
    scene.file("access-agreement", key, changes);
    asks_for_access(scene)
}

fn asks_for_access(scene: Scene) -> Scene {
    scene.with(
        "serial = 1\n",
        "serial = 1\nprofiles = [\"remote-access\", \"iaas-kyc\"]\nremote_access_countries = [\"SG\", \"JP\"]\n",
    )
}

const LOGGED: [(&str, &str); 2] = [
    ("# sessions_elsewhere", "sessions_elsewhere"),
    ("# log_digest", "log_digest"),
];

#[test]
fn ten_05_asks_for_agreements_and_logs_without_sessions_from_elsewhere() {
    Scene::honest().expect("TEN-05", Outcome::NotApplicable, "belongs to the profile");
    let met = reached(&LOGGED).expect("TEN-05", Outcome::Met, "no session came from elsewhere");
    assert_eq!(met.grade, Grade::Declared);
    reached(&[]).expect(
        "TEN-05",
        Outcome::CannotTell,
        "how many sessions came from elsewhere",
    );
    reached(&LOGGED[..1]).expect("TEN-05", Outcome::CannotTell, "names no log of the gateway");
    let elsewhere = ("sessions_elsewhere = 0", "sessions_elsewhere = 3");
    let found = reached(&[&LOGGED[..], &[elsewhere]].concat());
    let found = found.expect("TEN-05", Outcome::NotMet, "3 sessions from other countries");
    assert_eq!(found.measured.unwrap().lower.as_deref(), Some("3"));
    let beyond = ("[\"SG\", \"JP\"]", "[\"SG\", \"US\"]");
    reached(&[&LOGGED[..], &[beyond]].concat()).expect("TEN-05", Outcome::NotMet, "be reached from US");
    let others = ("# tenants = [\"0000", "tenants = [\"7777");
    reached(&[&LOGGED[..], &[others]].concat()).expect(
        "TEN-05",
        Outcome::CannotTell,
        "no agreement is for tenant 0000",
    );
    // An agreement for some tenants is not one for whoever held the rest.
    let own = [&LOGGED[..], &[("# tenants = [", "tenants = [")]].concat();
    reached(&own).expect("TEN-05", Outcome::Met, "");
    let mut partly = reached(&own);
    for day in partly.days_mut() {
        let_day(day, &[TENANT], 2);
    }
    partly.expect(
        "TEN-05",
        Outcome::CannotTell,
        "each agreement is for some tenants, and only 50.00 % of busy device time",
    );
    let mut nobody = reached(&own);
    for day in nobody.days_mut() {
        day.tenants = None;
        day.devices.iter_mut().for_each(|d| d.sums.attributed_busy_ms = 0);
    }
    nobody.expect("TEN-05", Outcome::CannotTell, "who held devices is not known");
    let model = ("reaches = \"remote\"", "reaches = \"model\"");
    reached(&[model]).expect("TEN-05", Outcome::CannotTell, "is about devices");
    asks_for_access(Scene::honest()).expect("TEN-05", Outcome::CannotTell, "no access agreement about site");
    let open = reached(&LOGGED).with("remote_access_countries = [\"SG\", \"JP\"]\n", "");
    open.expect("TEN-05", Outcome::CannotTell, "`remote_access_countries`");
    waived(reached(&[]), "TEN-05").expect("TEN-05", Outcome::Waived, "a trial");
}

#[test]
fn ten_06_holds_the_attributed_share_of_busy_time_against_the_least() {
    let mut scene = let_out(None);
    let met = scene.expect(
        "TEN-06",
        Outcome::Met,
        "100.00 % to 100.00 % of busy device time is attributed to 1 tenant",
    );
    assert_eq!(met.limit.unwrap().lower.as_deref(), Some("0.99"));
    for day in scene.days_mut() {
        let_day(day, &[TENANT], 2);
    }
    let half = scene.expect("TEN-06", Outcome::NotMet, "50.00 % to 50.00 %");
    assert_eq!(half.measured.unwrap().upper.as_deref(), Some("0.5"));
    // What could not be read may have been anyone's.
    for day in scene.days_mut() {
        let_day(day, &[TENANT], 1);
        day.devices[0].sums.busy_unknown_ms = 1_000_000;
    }
    scene.expect("TEN-06", Outcome::CannotTell, "could not be read");
    waived(scene, "TEN-06").expect("TEN-06", Outcome::Waived, "a trial");
}

#[test]
fn ten_07_asks_that_whoever_sells_on_is_bound() {
    reached(&[]).expect("TEN-07", Outcome::Met, "bind whoever sells on");
    let loose = ("flow_down = true", "flow_down = false");
    reached(&[loose]).expect("TEN-07", Outcome::CannotTell, "does not say that nobody does");
    let reseller = ("reaches = \"remote\"", "reaches = \"reseller\"");
    reached(&[loose, reseller]).expect("TEN-07", Outcome::NotMet, "lets a reseller sell on");
    asks_for_access(Scene::honest()).expect("TEN-07", Outcome::CannotTell, "no access agreement about site");
    Scene::honest().expect("TEN-07", Outcome::NotApplicable, "iaas-kyc");
    waived(reached(&[loose]), "TEN-07").expect("TEN-07", Outcome::Waived, "a trial");
}
