//! The conditions against the catalogue in which they were published, where it is at hand.

use super::*;
use crate::rules::Profile;

/// What the published catalogue of conditions says of each, in its order: id, core, decided by, severity, profiles.
#[test]
fn the_conditions_are_those_that_were_published() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/facts/conditions.csv");
    let Some(text) = std::fs::File::open(path)
        .ok()
        .map(|f| crate::bounded::read_text(f, 1 << 20).unwrap())
    else {
        eprintln!("skipped: {path} is not here; the reference is held against the code all the same");
        return;
    };
    let mut reader = csv_rows(&text);
    assert_eq!(reader.next().unwrap()[..2], ["id", "core"]);
    for (condition, row) in REGISTRY.iter().zip(reader.by_ref()) {
        let letter = |b: &Basis| match b {
            Basis::Measured => 'M',
            Basis::Declared => 'D',
            Basis::Assessed => 'A',
        };
        let mut by: Vec<char> = condition.by.iter().map(letter).collect();
        let mut published: Vec<char> = row[4].chars().filter(|c| "MDA".contains(*c)).collect();
        by.sort_unstable();
        published.sort_unstable();
        assert_eq!((condition.id, &by), (row[0].as_str(), &published));
        assert_eq!(condition.stage == Stage::Core, row[1] == "y", "{}", condition.id);
        assert!(row[5].starts_with(condition.severity.text()), "{}", condition.id);
        // A condition of all that a profile sharpens belongs to all.
        let all = ["all", "optional"].iter().any(|w| row[6].starts_with(w));
        let named: Vec<&str> = Profile::ALL
            .iter()
            .map(|p| p.text())
            .filter(|p| !all && row[6].contains(p))
            .collect();
        let profiles: Vec<&str> = condition.profiles.iter().map(|p| p.text()).collect();
        let sorted = |mut v: Vec<&'static str>| {
            v.sort_unstable();
            v
        };
        assert_eq!(sorted(named), sorted(profiles), "{}", condition.id);
    }
    assert_eq!(reader.count(), 0, "a published condition is missing");
}

/// Rows of a CSV file with quoted fields.
fn csv_rows(text: &str) -> impl Iterator<Item = Vec<String>> {
    text.lines().map(|line| {
        let (mut row, mut quoted) = (vec![String::new()], false);
        for c in line.chars() {
            match c {
                '"' => quoted = !quoted,
                ',' if !quoted => row.push(String::new()),
                c => row.last_mut().unwrap().push(c),
            }
        }
        row
    })
}
