//! The house: arrows point one way, and the pure library stays pure.
//!
//! A failure here means that a file reaches for a room above or beside its own. Move the code, or change the design deliberately
//! and say so; do not widen the lists below to get past.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn text(path: &Path) -> String {
    String::from_utf8(weighbridge::bounded::read(std::fs::File::open(path).unwrap(), 1 << 20).unwrap())
        .unwrap()
}

/// Lines of code: comments, and the doc examples in them, may name anything.
fn code(path: &Path) -> String {
    text(path)
        .lines()
        .filter(|l| !l.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The modules of `src/lib.rs` in the order in which they stand there: each may use those before it.
fn order() -> Vec<String> {
    text(&root().join("src/lib.rs"))
        .lines()
        .filter_map(|l| l.strip_prefix("pub mod "))
        .map(|l| l.trim_end_matches(';').to_owned())
        .collect()
}

fn module_of(path: &Path) -> String {
    let relative = path.strip_prefix(root().join("src")).unwrap();
    let first = relative
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_str()
        .unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// Modules named after `crate::` in a piece of code.
fn used(code: &str) -> BTreeSet<String> {
    code.match_indices("crate::")
        .filter(|(at, _)| !code[..*at].ends_with('$'))
        .map(|(at, _)| {
            code[at + 7..]
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect::<String>()
        })
        .collect()
}

#[test]
fn modules_of_the_library_use_only_those_above_them() {
    let order = order();
    assert!(
        order.len() >= 10,
        "src/lib.rs should list the modules as `pub mod name;`"
    );
    let place: BTreeMap<_, _> = order.iter().enumerate().map(|(i, m)| (m.clone(), i)).collect();
    let mut wrong = Vec::new();
    for path in rust_files(&root().join("src")) {
        let module = module_of(&path);
        let Some(own) = place.get(&module) else { continue };
        for other in used(&code(&path)) {
            if place.get(&other).is_some_and(|at| at > own) {
                wrong.push(format!(
                    "{} uses crate::{other}, which stands below {module}",
                    path.display()
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "arrows point the wrong way:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_library_does_no_io_reads_no_clock_and_starts_no_thread() {
    const FORBIDDEN: [&str; 12] = [
        "std::fs",
        "std::net",
        "std::thread",
        "std::process",
        "std::env",
        "SystemTime",
        "Instant::now",
        "tokio",
        "async fn",
        "unsafe {",
        "println!",
        "static mut",
    ];
    let mut wrong = Vec::new();
    // Tests of the library may read recorded traces; those in files of their own are named for it.
    let tests = |p: &PathBuf| {
        p.file_stem()
            .is_some_and(|s| s.to_string_lossy().ends_with("tests"))
    };
    for path in rust_files(&root().join("src")).into_iter().filter(|p| !tests(p)) {
        let code = code(&path);
        let production = code.split("#[cfg(test)]").next().unwrap_or_default();
        for word in FORBIDDEN {
            if production.contains(word) {
                wrong.push(format!("{} names `{word}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "src/ must stay pure:\n{}", wrong.join("\n"));
}

#[test]
fn one_file_of_the_library_names_the_cryptographic_library() {
    let naming: Vec<_> = rust_files(&root().join("src"))
        .into_iter()
        .filter(|p| {
            code(p)
                .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
                .any(|word| word.starts_with("ring::"))
        })
        .map(|p| p.strip_prefix(root()).unwrap().display().to_string())
        .collect();
    assert_eq!(naming, ["src/crypto/primitive.rs"]);
}

#[test]
fn agent_and_verifier_do_not_know_each_other_and_neither_knows_the_testbed() {
    for (dir, strangers) in [
        ("agent", ["weighbridge-verifier", "weighbridge-testbed"]),
        ("verifier", ["weighbridge-agent", "weighbridge-testbed"]),
        (
            ".",
            ["weighbridge-agent.workspace", "weighbridge-verifier.workspace"],
        ),
    ] {
        let manifest = text(&root().join(dir).join("Cargo.toml"));
        for stranger in strangers {
            let depends = manifest
                .lines()
                .any(|l| l.trim_start().starts_with(stranger) && !l.contains("path"));
            assert!(!depends, "{dir}/Cargo.toml depends on {stranger}");
        }
    }
}

#[test]
fn unsafe_code_of_the_agent_lives_with_its_devices() {
    let wrong: Vec<_> = ["agent/src", "verifier/src"]
        .iter()
        .flat_map(|dir| rust_files(&root().join(dir)))
        .filter(|p| !p.starts_with(root().join("agent/src/devices")))
        .filter(|p| code(p).contains("unsafe {") || code(p).contains("unsafe extern"))
        .map(|p| p.display().to_string())
        .collect();
    assert!(
        wrong.is_empty(),
        "unsafe code outside agent/src/devices: {wrong:?}"
    );
}

#[test]
fn the_guard_itself_sees_an_arrow() {
    assert!(used("use crate::report::Envelope;\nlet x = crate::unit::Ppm(1);").contains("report"));
    assert!(!used("$crate::cbor::written(x)").contains("cbor"));
    let order = order();
    let at = |m: &str| order.iter().position(|o| o == m).unwrap();
    assert!(at("unit") < at("cbor") && at("cbor") < at("report") && at("report") < at("protocol"));
}
