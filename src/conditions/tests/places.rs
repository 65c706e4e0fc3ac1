//! What is known of a site itself: its place, its hosts, and who agreed to them.

use super::papers::FITTING;
use super::*;
use crate::appraisal::Grade;
use crate::statement::Role;
use crate::telemetry::{Fabric, NvlinkLinks, Reading};
use crate::time::DAY_SECONDS;

/// The honest scene with a statement of the operator on file, changed in these ways.
pub(super) fn told(kind: &str, changes: &[(&str, &str)]) -> Scene {
    let mut scene = Scene::honest();
    let operator = scene.hear(Role::Operator, "");
    scene.file(kind, operator, changes);
    scene
}

/// With a site declaration that fits the devices, but for what is changed in it.
pub(super) fn declared(changes: &[(&str, &str)]) -> Scene {
    told("site-declaration", &[FITTING, changes].concat())
}

/// Files what an assessor found of a condition.
pub(super) fn found(scene: &mut Scene, condition: &str, result: &str) {
    let assessor = scene.hear_as("One LLP", Role::Assessor, "");
    let about = format!("condition = \"{condition}\"");
    let result = format!("result = \"{result}\"");
    scene.file(
        "assessor-finding",
        assessor,
        &[
            ("Harbour Compute Pte. Ltd.", "One LLP"),
            ("condition = \"PHY-04\"", &about),
            ("result = \"satisfied\"", &result),
        ],
    );
}

pub(super) fn waived(scene: Scene, condition: &str) {
    let waiver = format!(
        "[[waivers]]\ncondition = \"{condition}\"\nuntil = 2026-12-31\nreason = \"a loan\"\n[[models]]"
    );
    scene
        .with("[[models]]", &waiver)
        .expect(condition, Outcome::Waived, "a loan");
}

#[test]
fn loc_01_asks_for_more_than_the_licence_s_own_word() {
    let alone = Scene::honest().expect(
        "LOC-01",
        Outcome::CannotTell,
        "nothing on file but the licence says so; a site declaration with the digest of a deed or lease",
    );
    assert_eq!(
        (alone.grade, alone.message_id.as_str()),
        (Grade::Declared, "LOC-01.no-statement")
    );
    let met = declared(&[]).expect(
        "LOC-01",
        Outcome::Met,
        "names the deed or lease (site leased); nothing has measured it",
    );
    assert_eq!(met.evidence.len(), 2, "the licence and the declaration");
    declared(&[("deed = ", "# deed = ")]).expect("LOC-01", Outcome::CannotTell, "names no deed or lease");
    // Whoever declares another country contradicts the licence.
    let other = declared(&[("country = \"SG\"", "country = \"MY\"")]);
    other.expect(
        "LOC-01",
        Outcome::NotMet,
        "places site harbour-1 in MY, and licence L-1 places it in SG",
    );
    waived(other, "LOC-01");
    declared(&[("country = \"SG\"", "country = \"MO\"")]).expect(
        "LOC-01",
        Outcome::NotMet,
        "in MO, which is in country group D:5",
    );
    // Someone who was there.
    for (kind, role) in [
        ("visit-log", Role::Assessor),
        ("security-attestation", Role::Assessor),
    ] {
        let mut seen = Scene::honest();
        let by = seen.hear(role, "");
        seen.file(kind, by, &[]);
        seen.expect("LOC-01", Outcome::Met, "someone was there");
        let mut long_ago = Scene::honest();
        let by = long_ago.hear(role, "");
        let then = ("issued = 2026-11-19", "issued = 2025-11-01");
        long_ago.file(kind, by, &[then]);
        long_ago.expect("LOC-01", Outcome::CannotTell, "may be 365 days old at most");
    }
    let mut elsewhere = Scene::honest();
    let by = elsewhere.hear(Role::Assessor, "");
    elsewhere.file(
        "security-attestation",
        by,
        &[("scope_includes_site = true", "scope_includes_site = false")],
    );
    elsewhere.expect("LOC-01", Outcome::CannotTell, "");
    let mut satisfied = Scene::honest();
    found(&mut satisfied, "LOC-01", "satisfied");
    satisfied.expect("LOC-01", Outcome::Met, "assessor's finding");
    let mut wanting = declared(&[]);
    found(&mut wanting, "LOC-01", "not satisfied");
    wanting.expect("LOC-01", Outcome::NotMet, "assessor's finding");
}

#[test]
fn what_nobody_measures_is_open_until_an_assessor_says_so() {
    for (condition, says) in [
        ("LOC-02", "delays to 3 landmarks or more"),
        ("LOC-03", "no TPM's endorsement key"),
        ("SEC-03", "reads no TPM's quote"),
    ] {
        let open = Scene::honest().expect(condition, Outcome::CannotTell, says);
        assert_eq!(open.message_id, format!("{condition}.not-measured"));
        waived(Scene::honest(), condition);
        for (result, outcome) in [
            ("satisfied", Outcome::Met),
            ("not satisfied", Outcome::NotMet),
            ("cannot tell", Outcome::CannotTell),
        ] {
            let mut scene = Scene::honest();
            found(&mut scene, condition, result);
            let finding = scene.expect(condition, outcome, "assessor's finding");
            assert_eq!(finding.grade, Grade::Declared);
        }
    }
    let mut anew = Scene::honest();
    anew.statuses[0].succeeded_from = Some(start().plus(60));
    anew.expect("LOC-03", Outcome::CannotTell, "reports in place of node n-1");
}

#[test]
fn loc_04_belongs_to_a_profile_and_ages_by_its_own_limit() {
    Scene::honest().expect("LOC-04", Outcome::NotApplicable, "belongs to the profile");
    let asked = || Scene::honest().with("serial = 1\n", "serial = 1\nlocation_max_age = \"30 d\"\n");
    let open = asked().expect(
        "LOC-04",
        Outcome::CannotTell,
        "the licence allows 30 days between two checks",
    );
    assert_eq!(open.limit.unwrap().upper.as_deref(), Some("2592000"));
    waived(asked(), "LOC-04");
    let mut looked = asked();
    found(&mut looked, "LOC-04", "satisfied");
    looked.expect("LOC-04", Outcome::Met, "assessor's finding");
    looked.now = start().plus(31 * DAY_SECONDS);
    looked.expect("LOC-04", Outcome::CannotTell, "may be 30 days old at most");
    let unlimited = Scene::honest().with("serial = 1\n", "serial = 1\nprofiles = [\"chip-security-act\"]\n");
    unlimited.expect(
        "LOC-04",
        Outcome::CannotTell,
        "neither the licence nor its rule set sets",
    );
}

fn joined(n: u8, state: u8, cluster: u8, clique: u32) -> AcceleratorClaims {
    let mut claims = gpu(n);
    claims.identity.fabric = Some(Fabric {
        state,
        cluster: [cluster; 16],
        clique,
    });
    claims
}

fn linked(n: u8, to_gpus: u8, to_switches: u8) -> AcceleratorClaims {
    let mut claims = gpu(n);
    claims.identity.nvlink_links = Some(NvlinkLinks {
        to_gpus,
        to_switches,
        to_others: 0,
        ends: Reading::Value(1),
    });
    claims
}

#[test]
fn cap_09_counts_devices_of_one_fabric_over_all_nodes() {
    let of = |devices: [AcceleratorClaims; 4], most: u32| {
        let limit = format!("serial = 1\ndomain_devices_max = {most}\n");
        let mut scene = Scene::empty().with("serial = 1\n", &limit);
        scene.hour_of(12, &devices);
        scene
    };
    Scene::honest().expect("CAP-09", Outcome::NotApplicable, "`domain_devices_max`");
    // One cluster over two nodes.
    let rack = || [1, 2, 3, 4].map(|n| joined(n, 3, 7, 1));
    let over = of(rack(), 3);
    let finding = over.expect(
        "CAP-09",
        Outcome::NotMet,
        "4 devices are joined into one domain; the licence allows 3 devices",
    );
    assert_eq!(
        (finding.subjects.len(), finding.grade),
        (4, Grade::DriverReported)
    );
    assert_eq!(finding.measured.unwrap().lower.as_deref(), Some("4"));
    waived(over, "CAP-09");
    of(rack(), 4).expect("CAP-09", Outcome::Met, "no more than 4 devices");
    // Two cliques of it, and a clique of each host's own.
    of([1, 2, 3, 4].map(|n| joined(n, 3, 7, u32::from(n) % 2)), 2).expect("CAP-09", Outcome::Met, "");
    of([1, 2, 3, 4].map(|n| joined(n, 3, 0, 0)), 2).expect("CAP-09", Outcome::Met, "no more than 2 devices");
    of([1, 2, 3, 4].map(|n| joined(n, 3, 0, 0)), 1).expect("CAP-09", Outcome::NotMet, "");
    // Not told, or not joined yet.
    of([1, 2, 3, 4].map(gpu), 4).expect(
        "CAP-09",
        Outcome::CannotTell,
        "no driver tells which fabric 4 devices joined",
    );
    of([1, 2, 3, 4].map(|n| joined(n, 2, 7, 1)), 4).expect("CAP-09", Outcome::CannotTell, "no driver tells");
    of([1, 2, 3, 4].map(|n| linked(n, 0, 18)), 4).expect("CAP-09", Outcome::CannotTell, "no driver tells");
    // Bridges end within a host, and devices without links are joined to none.
    of([1, 2, 3, 4].map(|n| linked(n, 4, 0)), 2).expect("CAP-09", Outcome::Met, "");
    of([1, 2, 3, 4].map(|n| linked(n, 4, 0)), 1).expect(
        "CAP-09",
        Outcome::CannotTell,
        "2 linked devices of node n-1",
    );
    of([1, 2, 3, 4].map(|n| linked(n, 0, 0)), 1).expect("CAP-09", Outcome::Met, "no more than 1 device");
}

#[test]
fn cap_09_counts_what_stands_there_now_and_waits_for_silent_nodes() {
    let limited = || Scene::empty().with("serial = 1\n", "serial = 1\ndomain_devices_max = 2\n");
    // A board that took another's place is not one more.
    let mut repaired = limited();
    repaired.labs[0].run(6, &[joined(1, 3, 7, 1), joined(2, 3, 7, 1)]);
    repaired.labs[0].run(6, &[joined(1, 3, 7, 1), joined(9, 3, 7, 1)]);
    repaired.labs[1].run(12, &[joined(3, 3, 8, 1), joined(4, 3, 8, 1)]);
    repaired.expect("CAP-09", Outcome::Met, "");
    let mut never = limited();
    never.labs[0].run(12, &[joined(1, 3, 7, 1), joined(2, 3, 7, 1)]);
    never.expect("CAP-09", Outcome::CannotTell, "has never reported");
    limited().expect("CAP-09", Outcome::CannotTell, "no node of this site has reported");
}

#[test]
fn sec_05_takes_approved_builds_alone() {
    let met = Scene::honest().expect(
        "SEC-05",
        Outcome::Met,
        "the agents of 2 nodes are approved builds, as they say of themselves",
    );
    assert_eq!((met.grade, met.evidence.len()), (Grade::HostObserved, 2));
    let mut other = Scene::empty();
    other.labs[0].run_with(12, &[gpu(1), gpu(2)], |c| {
        c.submods.host.host.agent_digest = Digest([9; 32]);
        c.submods.host.host.agent_version = "0.9.0".to_owned();
    });
    other.labs[1].run(12, &[gpu(3), gpu(4)]);
    let finding = other.expect(
        "SEC-05",
        Outcome::NotMet,
        "node n-1 runs version 0.9.0 of the agent, SHA-256 0909",
    );
    assert_eq!(finding.subjects, [other.labs[0].node.to_string()]);
    waived(other, "SEC-05");
    let line = "approved_agents = [\"0101010101010101010101010101010101010101010101010101010101010101\"]\n";
    Scene::honest().with(line, "").expect(
        "SEC-05",
        Outcome::CannotTell,
        "which builds of the agent are approved",
    );
    let mut never = Scene::empty();
    never.labs[0].run(12, &[gpu(1), gpu(2)]);
    never.expect("SEC-05", Outcome::CannotTell, "node n-2 has never reported");
}

#[test]
fn ops_04_brackets_a_report_between_a_challenge_and_its_receipt() {
    let met = Scene::honest().expect(
        "OPS-04",
        Outcome::Met,
        "at most 5 minutes apart; the rule set allows 24 h",
    );
    assert_eq!(met.measured.unwrap().upper.as_deref(), Some("300"));
    // A report that was held back for two days.
    let mut held = Scene::honest();
    held.now = start().plus(3 * DAY_SECONDS);
    let given = start().plus(3_605);
    for lab in &mut held.labs {
        let newest = lab.record.facts.newest.as_mut().unwrap();
        (newest.given, newest.received) = (Some(given), given.plus(2 * DAY_SECONDS));
    }
    let finding = held.expect(
        "OPS-04",
        Outcome::NotMet,
        "made some time between 2026-11-20T01:00:05Z and 2026-11-22T01:00:05Z, which is 2 days",
    );
    assert_eq!(finding.subjects.len(), 2);
    waived(held, "OPS-04");
    let mut none = Scene::honest();
    none.labs[0].record.facts.newest.as_mut().unwrap().given = None;
    none.expect("OPS-04", Outcome::CannotTell, "of node n-1 answers no challenge");
    let mut never = Scene::empty();
    never.labs[0].run(12, &[gpu(1), gpu(2)]);
    never.expect("OPS-04", Outcome::CannotTell, "node n-2 has never reported");
}

#[test]
fn per_02_counts_who_signed_the_licence_and_hears_an_assessor_of_enrolments() {
    let mut one = Scene::honest();
    one.issuers = Some(1);
    let finding = one.expect(
        "PER-02",
        Outcome::NotMet,
        "is signed by 1 trusted issuer; two must sign it",
    );
    assert_eq!(finding.grade, Grade::Derived);
    // No word of anyone makes two of one.
    found(&mut one, "PER-02", "satisfied");
    one.expect("PER-02", Outcome::NotMet, "signed by 1 trusted issuer");
    waived(one, "PER-02");
    let mut unknown = Scene::honest();
    unknown.issuers = None;
    unknown.expect("PER-02", Outcome::CannotTell, "is not known here");
    let mut two = Scene::honest();
    two.expect(
        "PER-02",
        Outcome::CannotTell,
        "an enrolment is recorded as approved by one administrator",
    );
    found(&mut two, "PER-02", "satisfied");
    two.expect(
        "PER-02",
        Outcome::Met,
        "signed by two trusted issuers; of enrolments, assessor's finding",
    );
    let mut wanting = Scene::honest();
    found(&mut wanting, "PER-02", "not satisfied");
    wanting.expect("PER-02", Outcome::NotMet, "assessor's finding");
}

/// Files an approval of these nodes of the scene under these keys.
fn approve(scene: &mut Scene, keys: &[Digest], nodes: &[usize], changes: &[(&str, &str)]) -> Digest {
    let ids: Vec<String> = nodes
        .iter()
        .map(|n| format!("\"{}\"", scene.labs[*n].record.facts.node))
        .collect();
    let ids = ids.join(", ");
    let named = ("\"0100112233445566778899aabbccddeeff\"", ids.as_str());
    let digest = scene.file("enrolment-approval", keys[0], &[&[named], changes].concat());
    Arc::make_mut(scene.statements.last_mut().unwrap()).signers = keys.to_vec();
    digest
}

#[test]
fn per_02_is_met_where_two_keys_approved_every_node() {
    let scene = || {
        let mut scene = Scene::honest();
        let keys = [scene.hear(Role::Operator, ""), scene.hear(Role::Operator, "")];
        (scene, keys)
    };
    let (mut both, keys) = scene();
    approve(&mut both, &keys, &[0, 1], &[]);
    let met = both.expect(
        "PER-02",
        Outcome::Met,
        "two keys that the licence hears approved each of 2 nodes",
    );
    assert_eq!((met.grade, met.evidence.len()), (Grade::Declared, 2));
    // Two statements do as well as two signatures under one, and the supplier as well as the operator.
    let (mut apart, [first, _]) = scene();
    let supplier = apart.hear_as("Supplier", Role::Supplier, "");
    approve(&mut apart, &[first], &[0, 1], &[]);
    apart.expect(
        "PER-02",
        Outcome::CannotTell,
        "approved node n-1 by 1; node n-2 by 1",
    );
    let other = [
        ("Harbour Compute Pte. Ltd.", "Supplier"),
        ("role = \"operator\"", "role = \"supplier\""),
    ];
    approve(&mut apart, &[supplier], &[0, 1], &other);
    apart.expect("PER-02", Outcome::Met, "");
    // One key twice, a stranger's, and one node of two.
    let (mut twice, [first, _]) = scene();
    approve(&mut twice, &[first], &[0, 1], &[]);
    approve(
        &mut twice,
        &[first, Digest([9; 32])],
        &[0, 1],
        &[("2026-0001", "2026-0002")],
    );
    twice.expect("PER-02", Outcome::CannotTell, "node n-1 by 1");
    let (mut half, keys) = scene();
    approve(&mut half, &keys, &[0], &[]);
    half.expect("PER-02", Outcome::CannotTell, "approved node n-2 by 0");
    found(&mut half, "PER-02", "satisfied");
    half.expect("PER-02", Outcome::Met, "of enrolments, assessor's finding");
    // A node that is revoked may report no more, and needs nobody's approval.
    let (mut gone, keys) = scene();
    approve(&mut gone, &keys, &[0], &[]);
    gone.statuses[1].revoked_from = Some(start().plus(3_600));
    gone.expect("PER-02", Outcome::Met, "each of 1 node");
    // Who takes its word back no longer approves, nor does what has expired, nor mend what one issuer signed.
    let (mut taken, keys) = scene();
    let digest = approve(&mut taken, &keys, &[0, 1], &[]);
    let old = format!("# supersedes = \"{}\"", "0".repeat(64));
    let replaces = format!("supersedes = \"{digest}\"");
    approve(&mut taken, &keys[1..], &[0], &[(old.as_str(), replaces.as_str())]);
    taken.expect("PER-02", Outcome::CannotTell, "approved node n-2 by 1");
    let (mut expired, keys) = scene();
    approve(
        &mut expired,
        &keys,
        &[0, 1],
        &[("valid_to = 2027-11-30", "valid_to = 2026-11-19")],
    );
    expired.expect("PER-02", Outcome::CannotTell, "node n-1 by 0");
    both.issuers = Some(1);
    both.expect("PER-02", Outcome::NotMet, "signed by 1 trusted issuer");
}
