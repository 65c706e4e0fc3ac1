//! A desk for statements: whom the licence hears, and what they said.

use super::tenants::{TENANT, WHOLE};
use super::*;
use crate::crypto::{Algorithm, Entropy, SecretKey, Signer};
use crate::statement::{Kind, Role, payload, template};
use data_encoding::BASE64;

impl Scene {
    /// Has the licence hear someone in this role, with more keys of its table in `terms`; returns the key's id.
    pub(super) fn hear(&mut self, role: Role, terms: &str) -> Digest {
        self.hear_as("Harbour Compute Pte. Ltd.", role, terms)
    }

    /// The same, of someone of this name.
    pub(super) fn hear_as(&mut self, name: &str, role: Role, terms: &str) -> Digest {
        let key = SecretKey::generate(Algorithm::Ed25519, &Entropy::system()).unwrap();
        let spki = BASE64.encode(key.public_key().spki());
        self.licence.push_str(&format!(
            "\n[[signers]]\nname = \"{name}\"\nrole = \"{role}\"\nkey = \"{spki}\"\n{terms}\n"
        ));
        key.public_key().id()
    }

    /// Files the template of a kind, changed by pairs of what stands there and what shall, as signed by a key. It was issued a day before the start
    /// and filed at the start, or when it was issued where that is later.
    pub(super) fn file(&mut self, kind: &str, by: Digest, changes: &[(&str, &str)]) -> Digest {
        let kind = Kind::named(kind).unwrap();
        let role = format!("role = \"{}\"", kind.roles[0]);
        let mut text = template(kind)
            .replace("role = \"operator\"", &role)
            .replace("# sites = ", "sites = ")
            .replace("issued = 2026-11-20T08:00:00Z", "issued = 2026-11-19T08:00:00Z");
        for (old, new) in changes {
            assert!(text.contains(old), "{old} is not in the draft:\n{text}");
            text = text.replace(old, new);
        }
        let (bytes, statement) =
            payload(&text).unwrap_or_else(|e| panic!("{e}: {:?}\n{text}", std::error::Error::source(&e)));
        let digest = crate::crypto::sha256(&bytes);
        let filed = start().max(statement.header.issued.0);
        self.statements.push(Arc::new(HeardStatement {
            statement,
            signers: vec![by],
            filed,
        }));
        digest
    }
}

impl Scene {
    /// The scene with everything on file that its conditions ask for.
    pub(super) fn attested(mut self) -> Self {
        const AREA: &str =
            "standard = \"nist-800-53\"\nopinion = \"satisfied\"\nscope_includes_site = true\n";
        let (assessor, operator) = (
            self.hear(Role::Assessor, ACCREDITED),
            self.hear(Role::Operator, ""),
        );
        let (agency, consignee) = (
            self.hear_as("Consignee", Role::Authority, ""),
            self.hear_as("Consignee", Role::Consignee, ""),
        );
        let last = "scope_includes_site = true\n";
        let areas = ["cyber", "personnel", "supply-chain"]
            .map(|a| format!("\n[[claims.areas]]\narea = \"{a}\"\n{AREA}"));
        self.file(
            ATTESTATION,
            assessor,
            &[(last, &format!("{last}{}", areas.concat()))],
        );
        self.file("independence", assessor, &[]);
        self.file(
            "assessor-finding",
            assessor,
            &[("condition = \"PHY-04\"", "condition = \"REC-01\"")],
        );
        self.file("record-keeping", operator, &[]);
        let party = ("Harbour Compute Pte. Ltd.", "Consignee");
        let owner = self.hear_as("Consignee", Role::Operator, "");
        self.file("ownership", owner, &[party]);
        self.file("end-user-certificate", consignee, &[party]);
        self.file("authorisation", agency, &[party]);
        self.let_to(TENANT);
        self.file("tenant-kyc", operator, &WHOLE);
        let screened = [("# tenants", "tenants"), ("# parties", "parties")];
        self.file("screening", owner, &[&[party][..], &screened[..]].concat());
        self.in_stock(assessor);
        self.file("site-declaration", operator, FITTING);
        self.file("power-reading", operator, READING);
        for condition in ["LOC-02", "LOC-03", "SEC-03", "PER-02", "PHY-03"] {
            let about = format!("condition = \"{condition}\"");
            let found = [("condition = \"PHY-04\"", about.as_str())];
            self.file("assessor-finding", assessor, &found);
        }
        let supplier = self.hear_as("Consignee", Role::Supplier, "");
        let parent = ("# ultimate_parent = ", "ultimate_parent = ");
        self.file("due-diligence", supplier, &[party, LICENCE_ID, parent]);
        self
    }
}

/// A site that fits four H100.
pub(super) const FITTING: &[(&str, &str)] = &[
    ("# deed", "deed"),
    ("rated_kw = 12000", "rated_kw = 5"),
    ("# cooling_kw = 11000", "cooling_kw = 5"),
];
/// A meter of the honest hour, in which four devices took 0.8 kWh: too little for whole kilowatt-hours to show that it was no less.
pub(super) const READING: &[(&str, &str)] = &[
    ("issued = 2026-11-19T08:00:00Z", "issued = 2026-11-20T01:00:00Z"),
    ("from = 2026-11-01", "from = 2026-11-20T00:00:00Z"),
    ("to = 2026-11-30", "to = 2026-11-20T01:00:00Z"),
    ("energy_kwh = 1204331", "energy_kwh = 1"),
    ("# error", "error"),
];
/// Has a statement bound to a licence name the scene's.
pub(super) const LICENCE_ID: (&str, &str) = ("licence = \"HX-2026-0042\"", "licence = \"L-1\"");

const ATTESTATION: &str = "security-attestation";
const ACCREDITED: &str = "accreditation = \"A-1234\"\nsites = [\"harbour-1\"]";

fn attested(changes: &[(&str, &str)]) -> Scene {
    let mut scene = Scene::honest();
    let assessor = scene.hear(Role::Assessor, ACCREDITED);
    scene.file(ATTESTATION, assessor, changes);
    scene
}

#[test]
fn phy_01_rests_on_an_assessor_whom_the_licence_hears() {
    let none = Scene::honest().expect(
        "PHY-01",
        Outcome::CannotTell,
        "no security attestation about site harbour-1 is on file",
    );
    assert_eq!(none.message_id, "PHY-01.no-statement");
    let met = attested(&[]).expect(
        "PHY-01",
        Outcome::Met,
        "finds physical security satisfied against nist-800-53",
    );
    assert_eq!(
        (met.evidence.len(), met.grade),
        (1, crate::appraisal::Grade::Declared)
    );
    let against = [("opinion = \"satisfied\"", "opinion = \"not satisfied\"")];
    attested(&against).expect("PHY-01", Outcome::NotMet, "not satisfied");
    let qualified = [
        ("opinion = \"satisfied\"", "opinion = \"qualified\""),
        ("# exceptions", "exceptions"),
    ];
    attested(&qualified).expect("PHY-01", Outcome::CannotTell, "a person must weigh: Two cameras");
    let elsewhere = [("scope_includes_site = true", "scope_includes_site = false")];
    attested(&elsewhere).expect(
        "PHY-01",
        Outcome::CannotTell,
        "a scope that does not include the site",
    );
    let waived = attested(&against).with(
        "[[models]]",
        "[[waivers]]\ncondition = \"PHY-01\"\nuntil = 2026-12-31\nreason = \"new fence\"\n[[models]]",
    );
    waived.expect("PHY-01", Outcome::Waived, "new fence");
}

#[test]
fn of_two_opinions_in_one_attestation_the_worse_counts() {
    const WORSE: &str = "\n[[claims.areas]]\narea = \"physical\"\nstandard = \"iso-27001\"\nopinion = \"not satisfied\"\nscope_includes_site = true\n";
    let last = "scope_includes_site = true\n";
    attested(&[(last, &format!("{last}{WORSE}"))]).expect("PHY-01", Outcome::NotMet, "against iso-27001");
}

#[test]
fn a_statement_that_expired_is_too_old_or_is_not_heard_settles_nothing() {
    let mut late = attested(&[("valid_to = 2027-11-30", "valid_to = 2026-11-19")]);
    late.expect("PHY-01", Outcome::CannotTell, "expired on 2026-11-20T00:00:00Z");
    late = attested(&[("issued = 2026-11-19", "issued = 2025-11-01")]);
    let old = late.expect(
        "PHY-01",
        Outcome::CannotTell,
        "is 383 days old, and may be 365 days old at most",
    );
    assert_eq!(old.limit.unwrap().upper.as_deref(), Some("365"));

    // A key that the licence does not name, another accreditation, another site, another role, another time.
    let mut stranger = Scene::honest();
    stranger.file(ATTESTATION, Digest([9; 32]), &[]);
    stranger.expect(
        "PHY-01",
        Outcome::CannotTell,
        "is signed by nobody whom the licence hears",
    );
    let other = attested(&[("accreditation = \"A-1234\"", "accreditation = \"A-9\"")]);
    other.expect("PHY-01", Outcome::CannotTell, "does not name A-1234");
    for (role, terms, says) in [
        (
            Role::Operator,
            "",
            "and the licence hears Harbour Compute Pte. Ltd. as operator",
        ),
        (
            Role::Assessor,
            "valid_from = 2026-11-20",
            "when the licence did not hear Harbour Compute Pte. Ltd.",
        ),
        (
            Role::Assessor,
            "sites = [\"harbour-2\"]",
            "whom the licence hears about harbour-2 only",
        ),
    ] {
        let mut scene = Scene::honest().with(
            "[[models]]",
            "[[site]]\nid = \"harbour-2\"\ncountry = \"SG\"\n[[models]]",
        );
        scene.licence = scene
            .licence
            .replace("[[device]]\n", "[[device]]\nsite = \"harbour-1\"\n");
        let key = scene.hear(role, terms);
        scene.file(ATTESTATION, key, &[]);
        let found = scene.expect("PHY-01", Outcome::CannotTell, says);
        assert_eq!(
            (found.message_id.as_str(), found.evidence.len()),
            ("PHY-01.not-heard", 1)
        );
    }
}

#[test]
fn a_statement_is_replaced_only_by_one_of_the_same_key() {
    let mut scene = Scene::honest();
    let (first, second) = (scene.hear(Role::Assessor, ""), scene.hear(Role::Assessor, ""));
    let against = ("opinion = \"satisfied\"", "opinion = \"not satisfied\"");
    let bad = scene.file(ATTESTATION, first, &[against]);
    let zeros = "0".repeat(64);
    let supersedes = format!("supersedes = \"{bad}\"");
    let old = format!("# supersedes = \"{zeros}\"");
    // Older than what it would replace, so that it does not win by its date.
    let replaces = [
        (old.as_str(), supersedes.as_str()),
        ("issued = 2026-11-19", "issued = 2026-11-18"),
    ];
    let mut silenced = scene.statements.clone();
    scene.file(ATTESTATION, second, &replaces);
    scene.expect("PHY-01", Outcome::NotMet, "not satisfied");
    std::mem::swap(&mut scene.statements, &mut silenced);
    scene.file(ATTESTATION, first, &replaces);
    scene.expect("PHY-01", Outcome::Met, "satisfied");
}

#[test]
fn a_statement_of_several_stands_while_one_of_them_stands_by_it() {
    let against = ("opinion = \"satisfied\"", "opinion = \"not satisfied\"");
    let old = format!("# supersedes = \"{}\"", "0".repeat(64));
    for (both_sign_first, outcome) in [(true, Outcome::NotMet), (false, Outcome::Met)] {
        // Whoever stands first in the licence makes no difference.
        for replaces_first in [true, false] {
            let mut scene = Scene::honest();
            let (a, b) = (scene.hear(Role::Assessor, ""), scene.hear(Role::Assessor, ""));
            let (by, other) = if replaces_first { (a, b) } else { (b, a) };
            let bad = scene.file(ATTESTATION, by, &[against]);
            let replaces = [
                (old.as_str(), &*format!("supersedes = \"{bad}\"")),
                ("issued = 2026-11-19", "issued = 2026-11-18"),
            ];
            scene.file(ATTESTATION, by, &replaces);
            let signed_by_both = if both_sign_first { 0 } else { 1 };
            Arc::make_mut(&mut scene.statements[signed_by_both]).signers = vec![by, other];
            scene.expect("PHY-01", outcome, "satisfied");
        }
    }
}

#[test]
fn what_will_replace_a_statement_does_not_before_it_begins() {
    let mut scene = Scene::honest();
    let assessor = scene.hear(Role::Assessor, "");
    let now = scene.file(ATTESTATION, assessor, &[]);
    let old = format!("# supersedes = \"{}\"", "0".repeat(64));
    let next = [
        (old.as_str(), &*format!("supersedes = \"{now}\"")),
        ("# valid_from = 2026-12-01", "valid_from = 2027-10-01"),
    ];
    scene.file(ATTESTATION, assessor, &next);
    scene.expect("PHY-01", Outcome::Met, "finds physical security satisfied");
}

#[test]
fn to_sign_an_old_examination_anew_makes_it_no_younger() {
    let past = [
        ("from = 2026-11-01", "from = 2024-10-01"),
        ("to = 2026-11-30", "to = 2024-10-31"),
    ];
    attested(&past).expect("PHY-01", Outcome::CannotTell, "may be 365 days old at most");
    let mut scene = Scene::honest();
    let assessor = scene.hear(Role::Assessor, "");
    let about = ("condition = \"PHY-04\"", "condition = \"PHY-01\"");
    let issued = ("issued = 2026-11-19", "issued = 2024-11-19");
    scene.file("assessor-finding", assessor, &[about, issued]);
    scene.expect("PHY-01", Outcome::CannotTell, "assessor's finding 2026-0001");
    scene.expect("PHY-01", Outcome::CannotTell, "may be 365 days old at most");
}

#[test]
fn sec_07_asks_for_a_standard_that_counts() {
    let cyber = ("area = \"physical\"", "area = \"cyber\"");
    attested(&[]).expect("SEC-07", Outcome::CannotTell, "speaks of cyber security");
    attested(&[cyber]).expect("SEC-07", Outcome::Met, "against nist-800-53");
    let iso = [cyber, ("standard = \"nist-800-53\"", "standard = \"iso-27001\"")];
    attested(&iso).expect(
        "SEC-07",
        Outcome::CannotTell,
        "`iso-27001`, which the licence does not name",
    );
    let named = "[[evidence_required]]\ntype = \"iso-27001\"\n[[models]]";
    attested(&iso)
        .with("[[models]]", named)
        .expect("SEC-07", Outcome::Met, "against iso-27001");
    attested(&[cyber]).with("[[models]]", named).expect(
        "SEC-07",
        Outcome::CannotTell,
        "the licence asks for iso-27001",
    );
}

#[test]
fn an_assessor_who_found_the_condition_wanting_outweighs_an_attestation() {
    let mut scene = Scene::honest();
    let assessor = scene.hear(Role::Assessor, "");
    let about = ("condition = \"PHY-04\"", "condition = \"PHY-01\"");
    scene.file("assessor-finding", assessor, &[about]);
    scene.expect("PHY-01", Outcome::Met, "Custody records");
    scene.file(ATTESTATION, assessor, &[]);
    scene.expect("PHY-01", Outcome::Met, "finds physical security satisfied");
    scene.file(
        "assessor-finding",
        assessor,
        &[
            about,
            ("\"satisfied\"", "\"not satisfied\""),
            ("08:00:00Z", "09:00:00Z"),
        ],
    );
    scene.expect("PHY-01", Outcome::NotMet, "assessor's finding");
}

#[test]
fn a_second_opinion_outweighs_no_first() {
    let mut scene = Scene::honest();
    let (first, second) = (
        scene.hear_as("One LLP", Role::Assessor, ""),
        scene.hear_as("Other LLP", Role::Assessor, ""),
    );
    let about = ("condition = \"PHY-04\"", "condition = \"PHY-01\"");
    let wanting = ("\"satisfied\"", "\"not satisfied\"");
    let (one, other) = (
        ("Harbour Compute Pte. Ltd.", "One LLP"),
        ("Harbour Compute Pte. Ltd.", "Other LLP"),
    );
    let at = |time| ("08:00:00Z", time);
    scene.file("assessor-finding", first, &[about, wanting, one]);
    scene.file("assessor-finding", second, &[about, other, at("09:00:00Z")]);
    scene.expect("PHY-01", Outcome::NotMet, "of One LLP");
    // Who found it wanting may find it mended.
    scene.file("assessor-finding", first, &[about, one, at("10:00:00Z")]);
    scene.expect("PHY-01", Outcome::Met, "");
}

#[test]
fn nobody_speaks_in_another_s_name() {
    let borrowed = [("Harbour Compute Pte. Ltd.", "Renowned Assessors LLP")];
    let found = attested(&borrowed).expect(
        "PHY-01",
        Outcome::CannotTell,
        "given in the name of Renowned Assessors LLP",
    );
    assert_eq!(found.message_id, "PHY-01.not-heard");
}
