//! Signers whom the checker silenced or accredits, and statements whose dates do not fit when they were filed.

use super::*;
use crate::licence::{Accreditation, RevokedKey};
use crate::statement::{Role, SecurityArea, Standard};

const ATTESTATION: &str = "security-attestation";
const ISSUER: &str = "Harbour Compute Pte. Ltd.";

/// A scene with an attestation of an assessor, whose key comes back.
fn attested(changes: &[(&str, &str)]) -> (Scene, Digest) {
    let mut scene = Scene::honest();
    let assessor = scene.hear(Role::Assessor, "");
    scene.file(ATTESTATION, assessor, changes);
    (scene, assessor)
}

fn accredited(key: Digest) -> Accreditation {
    Accreditation {
        number: "A-1234".to_owned(),
        holder: ISSUER.to_owned(),
        key,
        areas: vec![SecurityArea::Physical],
        standards: Vec::new(),
        sites: vec!["harbour-1".to_owned()],
        valid_from: start().plus(-86_400 * 30),
        valid_to: None,
        withdrawn: None,
    }
}

#[test]
fn a_revoked_key_is_silent_from_then_on_though_the_licence_names_it() {
    let (mut scene, key) = attested(&[]);
    scene.expect("PHY-01", Outcome::Met, "finds physical security satisfied");
    let revoke = |from: i64| {
        let revoked = RevokedKey {
            key,
            name: "Assessor LLP".to_owned(),
            from: start().plus(from),
            replaced_by: None,
        };
        vec![revoked]
    };
    // It was filed at the start.
    scene.standing.revoked = revoke(1);
    scene.expect("PHY-01", Outcome::Met, "finds physical security satisfied");
    scene.standing.revoked = revoke(0);
    let found = scene.expect(
        "PHY-01",
        Outcome::CannotTell,
        "the key of Assessor LLP was revoked by the checker from 2026-11-20T00:00:00Z on",
    );
    assert_eq!(found.message_id, "PHY-01.not-heard");
    assert_eq!(found.evidence.len(), 1);
    // What it signed does not replace what stood before, either.
    let bad = scene.file(ATTESTATION, key, &[("\"satisfied\"", "\"not satisfied\"")]);
    Arc::make_mut(&mut scene.statements[1]).filed = start().plus(-10);
    let old = format!("# supersedes = \"{}\"", "0".repeat(64));
    let replaces = [(old.as_str(), &*format!("supersedes = \"{bad}\""))];
    scene.file(ATTESTATION, key, &replaces);
    scene.expect("PHY-01", Outcome::NotMet, "not satisfied");
}

#[test]
fn where_the_checker_keeps_a_list_an_assessor_counts_as_far_as_it_says() {
    let (mut scene, key) = attested(&[]);
    let mut hears = |listed: Accreditation| {
        scene.standing.accreditations = vec![listed];
        scene.finding("PHY-01")
    };
    let good = accredited(key);
    let met = hears(good.clone());
    assert_eq!(met.outcome, Outcome::Met, "{}", met.sentence);
    let later = Some(start().plus(1));
    assert_eq!(
        hears(Accreditation {
            valid_to: later,
            ..good.clone()
        })
        .outcome,
        Outcome::Met,
        "it ended after the statement was filed"
    );
    for (listed, why) in [
        (
            Accreditation {
                number: "A-9".to_owned(),
                ..good.clone()
            },
            "names accreditation A-1234, which is not on the checker's list",
        ),
        (accredited(Digest([9; 32])), "belongs to another key"),
        (
            Accreditation {
                holder: "Renowned LLP".to_owned(),
                ..good.clone()
            },
            "is that of Renowned LLP",
        ),
        (
            Accreditation {
                sites: vec!["harbour-2".to_owned()],
                ..good.clone()
            },
            "covers site harbour-2 only",
        ),
        (
            Accreditation {
                areas: vec![SecurityArea::Cyber],
                ..good.clone()
            },
            "covers cyber only",
        ),
        (
            Accreditation {
                standards: vec![Standard::Iso27001],
                ..good.clone()
            },
            "covers physical against iso-27001 only",
        ),
        (
            Accreditation {
                valid_from: start(),
                ..good.clone()
            },
            "holds from 2026-11-20T00:00:00Z on, after it was issued",
        ),
        (
            Accreditation {
                valid_to: Some(start()),
                ..good.clone()
            },
            "ended on 2026-11-20T00:00:00Z, before it was on file",
        ),
        (
            Accreditation {
                withdrawn: Some(start().plus(-10)),
                ..good
            },
            "ended on 2026-11-19T23:59:50Z",
        ),
    ] {
        let found = hears(listed);
        assert_eq!(found.outcome, Outcome::CannotTell, "{}", found.sentence);
        assert_eq!(found.message_id, "PHY-01.not-heard");
        assert!(found.sentence.contains(why), "{why}: {}", found.sentence);
    }
}

#[test]
fn of_an_attestation_only_the_areas_count_for_which_its_assessor_is_accredited() {
    const CYBER: &str = "\n[[claims.areas]]\narea = \"cyber\"\nstandard = \"nist-800-53\"\nopinion = \"satisfied\"\nscope_includes_site = true\n";
    let last = "scope_includes_site = true\n";
    let (mut scene, key) = attested(&[(last, &format!("{last}{CYBER}"))]);
    scene.standing.accreditations = vec![accredited(key)];
    scene.expect("PHY-01", Outcome::Met, "finds physical security satisfied");
    scene.expect(
        "SEC-07",
        Outcome::CannotTell,
        "speaks of more than its issuer is accredited for: on the checker's list, A-1234 covers physical only",
    );
    // A finding about one condition is of that condition's area; what has none, every accreditation covers.
    let about = |id: &str| ("condition = \"PHY-04\"", format!("condition = \"{id}\""));
    for (id, heard) in [("PHY-01", true), ("PER-01", false), ("REC-01", true)] {
        let (mut scene, key) = (Scene::honest(), Digest([0; 32]));
        let assessor = scene.hear(Role::Assessor, "");
        assert_ne!(key, assessor);
        let (from, to) = about(id);
        scene.file("assessor-finding", assessor, &[(from, &to)]);
        scene.standing.accreditations = vec![accredited(assessor)];
        let wanted = if heard { Outcome::Met } else { Outcome::CannotTell };
        assert_eq!(
            scene.finding(id).outcome,
            wanted,
            "{id}: {}",
            scene.finding(id).sentence
        );
    }
}

#[test]
fn an_accreditation_binds_assessors_alone() {
    let mut scene = Scene::honest().attested();
    let before = scene.finding("TEN-04");
    scene.standing.accreditations = vec![accredited(Digest([9; 32]))];
    assert_eq!(scene.finding("TEN-04"), before);
    scene.expect("PHY-01", Outcome::CannotTell, "belongs to another key");
}

#[test]
fn a_statement_cannot_be_dated_after_it_was_filed() {
    let dated = |issued: &str| {
        let (mut scene, _) = attested(&[("issued = 2026-11-19T08:00:00Z", issued)]);
        Arc::make_mut(&mut scene.statements[0]).filed = start();
        scene
    };
    dated("issued = 2026-11-20T00:02:00Z").expect(
        "PHY-01",
        Outcome::CannotTell,
        "is dated in the future: issued on 2026-11-20T00:02:00Z, 2 minutes after it was filed",
    );
    dated("issued = 2026-11-20T00:00:59Z").expect(
        "PHY-01",
        Outcome::Met,
        "finds physical security satisfied",
    );
}

#[test]
fn what_is_filed_once_its_signer_is_heard_no_longer_may_have_been_dated_back() {
    let mut scene = Scene::honest();
    let assessor = scene.hear(Role::Assessor, "valid_to = 2026-11-19T12:00:00Z");
    scene.file(ATTESTATION, assessor, &[]);
    scene.expect(
        "PHY-01",
        Outcome::CannotTell,
        "had to be on file before 2026-11-19T12:00:00Z",
    );
    Arc::make_mut(&mut scene.statements[0]).filed = start().plus(-86_400 / 2 - 1);
    scene.expect("PHY-01", Outcome::Met, "finds physical security satisfied");
}

#[test]
fn of_two_words_of_one_date_the_one_filed_last_is_the_newer() {
    let about = ("condition = \"PHY-04\"", "condition = \"PHY-01\"");
    let wanting = ("\"satisfied\"", "\"not satisfied\"");
    for (first, second, outcome) in [(10, 20, Outcome::NotMet), (20, 10, Outcome::Met)] {
        let mut scene = Scene::honest();
        let assessor = scene.hear(Role::Assessor, "");
        scene.file("assessor-finding", assessor, &[about]);
        scene.file("assessor-finding", assessor, &[about, wanting]);
        for (i, after) in [first, second].into_iter().enumerate() {
            Arc::make_mut(&mut scene.statements[i]).filed = start().plus(after);
        }
        scene.expect("PHY-01", outcome, "");
    }
}

#[test]
fn what_nobody_signed_whom_a_licence_names_says_nothing_and_is_named() {
    let mut scene = Scene::honest();
    scene.file(ATTESTATION, Digest([9; 32]), &[]);
    Arc::make_mut(&mut scene.statements[0]).signers.clear();
    let found = scene.expect(
        "PHY-01",
        Outcome::CannotTell,
        "is signed by nobody whom the licence hears",
    );
    assert_eq!(found.message_id, "PHY-01.not-heard");
}
