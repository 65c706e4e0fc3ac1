//! Which statements can settle conditions.

use crate::conditions::PUBLISHED;
use crate::statement::Kind;
use std::collections::BTreeSet;

#[test]
fn what_a_person_or_a_paper_decides_can_be_settled_by_a_statement() {
    // From the published catalogue: conditions that a declaration or an assessor decides, alone or with measurements.
    const DECIDED: &[&str] = &[
        "INV-02", "INV-04", "INV-05", "INV-07", "INV-09", "INV-10", "INV-12", "CAP-03", "LOC-01", "TRN-05",
        "TRN-06", "TRN-08", "TRN-09", "TEN-01", "TEN-02", "TEN-03", "TEN-04", "TEN-05", "TEN-07", "SEC-07",
        "SEC-08", "PHY-01", "PHY-02", "PHY-03", "PHY-04", "PER-01", "SUP-01", "SUP-02", "SUP-03", "EVI-03",
        "REC-01", "REC-03", "REC-04",
    ];
    let settled: BTreeSet<&str> = Kind::ALL.iter().flat_map(|k| k.settles).copied().collect();
    for condition in DECIDED {
        assert!(settled.contains(condition), "nothing settles {condition}");
    }
    // None of the areas that it speaks of is model weights.
    let attestation = Kind::named("security-attestation").unwrap();
    assert!(!attestation.settles.contains(&"SEC-08"));
    for condition in settled {
        assert!(PUBLISHED.contains(&condition), "{condition} is not published");
    }
}
