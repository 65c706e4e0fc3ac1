use super::*;
use crate::statement::Role;
use crate::time::DAY_SECONDS;

const PARTY: (&str, &str) = ("Harbour Compute Pte. Ltd.", "Consignee");

/// The honest scene with one statement of a kind on file, given in a role.
fn told(kind: &str, role: Role, changes: &[(&str, &str)]) -> Scene {
    let mut scene = Scene::honest();
    let name = if changes.contains(&PARTY) {
        PARTY.1
    } else {
        PARTY.0
    };
    let key = scene.hear_as(name, role, "");
    scene.file(kind, key, changes);
    scene
}

#[test]
fn sup_01_asks_for_owners_whole_lately_and_none_of_them_barred() {
    let owners = |changes: &[(&str, &str)]| told("ownership", Role::Operator, &[&[PARTY], changes].concat());
    Scene::honest().expect(
        "SUP-01",
        Outcome::CannotTell,
        "no ownership and control about site harbour-1 is on file",
    );
    owners(&[]).expect("SUP-01", Outcome::Met, "names the owners of Consignee");
    // A parent that moved to Macau; Hong Kong and Macau are named apart from China in no list.
    let moved = [(
        "ultimate_parent_country = \"SG\"",
        "ultimate_parent_country = \"MO\"",
    )];
    let finding = owners(&moved).expect(
        "SUP-01",
        Outcome::NotMet,
        "its ultimate parent has its headquarters in MO",
    );
    assert_eq!(finding.evidence.len(), 1);
    owners(&[("listed = false", "listed = true")]).expect(
        "SUP-01",
        Outcome::NotMet,
        "of JP, with a share of 0.6, stands on a list",
    );
    owners(&[("complete = true", "complete = false")]).expect(
        "SUP-01",
        Outcome::CannotTell,
        "does not name all owners",
    );
    let old = owners(&[("issued = 2026-11-19", "issued = 2026-08-01")]);
    old.expect("SUP-01", Outcome::CannotTell, "and may be 90 days old at most");
    // What it admits counts however old it is.
    let admitted = owners(&[("issued = 2026-11-19", "issued = 2026-08-01"), moved[0]]);
    admitted.expect("SUP-01", Outcome::NotMet, "in MO");
    // What one party leaves out does not unsay what another admits.
    let mut two = owners(&[("listed = false", "listed = true")]);
    let holder = two.hear_as("Holder Ltd.", Role::Operator, "");
    let silent = [
        (
            "issuer = \"Harbour Compute Pte. Ltd.\"",
            "issuer = \"Holder Ltd.\"",
        ),
        ("party = \"Harbour Compute Pte. Ltd.\"", "party = \"Consignee\""),
        ("T08:00:00Z", "T09:00:00Z"),
    ];
    two.file("ownership", holder, &silent);
    two.expect("SUP-01", Outcome::NotMet, "stands on a list");
    told("ownership", Role::Operator, &[]).expect(
        "SUP-01",
        Outcome::CannotTell,
        "names Consignee as its party",
    );
}

#[test]
fn ten_04_asks_for_every_undertaking() {
    let certificate = |changes: &[(&str, &str)]| {
        told(
            "end-user-certificate",
            Role::Consignee,
            &[&[PARTY], changes].concat(),
        )
    };
    certificate(&[]).expect("TEN-04", Outcome::Met, "undertakes what is asked for");
    let military = [("no_military_use = true", "no_military_use = false")];
    certificate(&military).expect(
        "TEN-04",
        Outcome::NotMet,
        "does not undertake to serve no military",
    );
    certificate(&[("country = \"SG\"", "country = \"RU\"")]).expect(
        "TEN-04",
        Outcome::NotMet,
        "established in RU",
    );
    certificate(&[("valid_to = 2027-11-30", "valid_to = 2026-11-19")]).expect(
        "TEN-04",
        Outcome::CannotTell,
        "expired",
    );
}

#[test]
fn sup_02_takes_the_word_of_an_agency_or_the_supplier_and_no_holder_s() {
    let authorised =
        |role: Role, changes: &[(&str, &str)]| told("authorisation", role, &[&[PARTY], changes].concat());
    let agency = [("role = \"authority\"", "role = \"authority\"")];
    authorised(Role::Authority, &agency).expect(
        "SUP-02",
        Outcome::Met,
        "D1234567 (licence) covers Consignee",
    );
    let own = [("role = \"authority\"", "role = \"operator\"")];
    authorised(Role::Operator, &own).expect("SUP-02", Outcome::CannotTell, "the holder's own word");
    let few = [
        ("# [[claims.items]]", "[[claims.items]]"),
        ("# model = ", "model = "),
        ("# count = 1024", "count = 3"),
    ];
    authorised(Role::Authority, &few).expect(
        "SUP-02",
        Outcome::CannotTell,
        "4 x H100 SXM5 80GB, of which 3 are covered",
    );
    // Told of twice it covers no more.
    let mut twice = authorised(Role::Authority, &few);
    let supplier = twice.hear_as("Maker Inc.", Role::Supplier, "");
    let again = [
        ("role = \"authority\"", "role = \"supplier\""),
        (
            "issuer = \"Harbour Compute Pte. Ltd.\"",
            "issuer = \"Maker Inc.\"",
        ),
        PARTY,
    ];
    twice.file("authorisation", supplier, &[&again[..], &few[..]].concat());
    twice.expect("SUP-02", Outcome::CannotTell, "of which 3 are covered");
    let none = [
        ("kind = \"licence\"", "kind = \"not-needed\""),
        ("# terms", "terms"),
    ];
    authorised(Role::Authority, &none).expect("SUP-02", Outcome::Met, "no licence is needed");
}

/// A disclosure of Consignee that says when ownership changed, issued and put on file at some days of the licence.
fn disclosed(scene: &mut Scene, by: Digest, changed: &str, issued: &str, filed: i64) {
    let changed = format!("changed = {changed}");
    let issued = format!("issued = {issued}");
    scene.file(
        "ownership",
        by,
        &[
            ("Harbour Compute Pte. Ltd.", "Consignee"),
            ("# changed = 2024-02-01", &changed),
            ("issued = 2026-11-19", &issued),
        ],
    );
    Arc::make_mut(scene.statements.last_mut().unwrap()).filed = start().plus(filed * DAY_SECONDS);
}

#[test]
fn sup_01_asks_for_notice_of_a_change_in_time() {
    let scene = || {
        let mut scene = Scene::honest();
        scene.now = start().plus(60 * DAY_SECONDS);
        let by = scene.hear_as("Consignee", Role::Operator, "");
        (scene, by)
    };
    let told = |changed: &str, issued: &str, filed: i64| {
        let (mut scene, by) = scene();
        disclosed(&mut scene, by, changed, issued, filed);
        scene
    };
    told("2026-12-01", "2026-12-09", 20).expect("SUP-01", Outcome::Met, "names the owners");
    let late = told("2026-12-01", "2026-12-15", 26);
    late.expect(
        "SUP-01",
        Outcome::NotMet,
        "changed on 2026-12-01T00:00:00Z, and this was first disclosed on 2026-12-15T08:00:00Z; the rule set asks for notice within 10 days",
    );
    told("2026-12-01", "2026-12-09", 40).expect(
        "SUP-01",
        Outcome::CannotTell,
        "notice in time rests on its own date",
    );
    // Before the licence it was no matter of it.
    told("2024-02-01", "2026-12-15", 26).expect("SUP-01", Outcome::Met, "");
    // One that is renewed names the same change again, and the first of them counts, replaced or not.
    let (mut renewed, by) = scene();
    disclosed(&mut renewed, by, "2026-12-01", "2026-12-09", 20);
    let first = renewed.statements[0].statement.digest;
    disclosed(&mut renewed, by, "2026-12-01", "2027-01-10", 52);
    let mut last = (*renewed.statements[1]).clone();
    last.statement.header.supersedes = Some(first);
    renewed.statements[1] = Arc::new(last);
    renewed.expect("SUP-01", Outcome::Met, "names the owners");
    // What a stranger files is no notice.
    let (mut strange, by) = scene();
    disclosed(&mut strange, Digest([9; 32]), "2026-12-01", "2026-12-09", 20);
    disclosed(&mut strange, by, "2026-12-01", "2027-01-10", 52);
    strange.expect("SUP-01", Outcome::NotMet, "first disclosed on 2027-01-10");
}
