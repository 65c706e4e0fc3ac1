//! The catalogue of messages against the code that uses them, and against its reference.

use super::*;
use crate::conditions::{MESSAGES, meaning};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("tests") {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("message.rs") {
            out.push(path);
        }
    }
}

/// Names in quotation marks that stand first after these words, and all there are.
fn names(text: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    const AFTER: [&str; 7] = [
        "Verdict::met(",
        "Verdict::not_met(",
        "Verdict::cannot_tell(",
        "Verdict::not_applicable(",
        "message: ",
        ".message = ",
        "missing(",
    ];
    let name = |part: &str| {
        let (name, _) = part.trim_start().strip_prefix('"')?.split_once('"')?;
        let is_name = |c: char| c == '-' || c.is_ascii_lowercase() || c.is_ascii_digit();
        (!name.is_empty() && name.chars().all(is_name)).then(|| name.to_owned())
    };
    let said = AFTER
        .iter()
        .flat_map(|word| text.split(word).skip(1).filter_map(name))
        .collect();
    let quoted = text.split('"').map(str::to_owned).collect();
    (said, quoted)
}

#[test]
fn every_sentence_has_its_name_in_the_catalogue_and_no_name_is_left_over() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/conditions");
    let (mut files, mut said, mut quoted) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    sources(&root, &mut files);
    for file in files {
        let text = crate::bounded::read_text(std::fs::File::open(file).unwrap(), 1 << 20).unwrap();
        let (some, all) = names(&text);
        said.extend(some);
        quoted.extend(all);
    }
    assert!(said.len() > 200, "{}", said.len());
    let unknown: Vec<_> = said.iter().filter(|name| meaning(name).is_none()).collect();
    assert!(unknown.is_empty(), "not in the catalogue: {unknown:?}");
    let unused: Vec<_> = MESSAGES
        .iter()
        .filter(|(name, _)| !quoted.contains(*name))
        .collect();
    assert!(unused.is_empty(), "nothing says these: {unused:?}");
    assert!(MESSAGES.is_sorted());
}

#[test]
fn the_reference_of_messages_is_made_from_the_code() {
    let reference = include_str!("../../../docs/messages.md");
    let found: Vec<&str> = reference.lines().filter(|l| l.starts_with("| `")).collect();
    let made: Vec<String> = MESSAGES
        .iter()
        .map(|(name, says)| format!("| `{name}` | {says} |"))
        .collect();
    assert!(
        found == made,
        "docs/messages.md should hold these rows:\n{}",
        made.join("\n")
    );
}

#[test]
fn the_messages_of_a_site_are_all_in_the_catalogue() {
    for scene in [Scene::empty(), Scene::honest(), Scene::honest().attested()] {
        for finding in scene.findings() {
            assert!(meaning(&finding.message_id).is_some(), "{}", finding.message_id);
        }
    }
}
