//! The fuzz targets on the inputs that are kept: messages and documents that are right, and what the fuzzer once found. So
//! every `cargo test` tries them again, without the fuzzer.

#[expect(
    unreachable_pub,
    reason = "the fuzzer calls these too, from a crate of its own"
)]
#[path = "../fuzz/targets.rs"]
mod targets;

use std::fs::{self, File};
use std::path::Path;
use weighbridge::bounded;

const LIMIT: usize = 1 << 20;

#[test]
fn every_target_survives_every_input_that_is_kept() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, target) in targets::TARGETS {
        let mut tried = 0;
        let folders = [
            tests.join("fuzz/corpus").join(name),
            tests.join("e2e/wire/golden"),
            tests.join("../docs/examples"),
            tests.join("../src/rules/data"),
        ];
        for folder in folders {
            // A target without a corpus has not found anything yet.
            for entry in fs::read_dir(&folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                let bytes = bounded::read(File::open(&path).unwrap(), LIMIT).unwrap();
                println!("{name}: {}", path.display());
                target(&bytes);
                tried += 1;
            }
        }
        assert!(
            tried > 0,
            "nothing was tried on `{name}`: the folders above have moved"
        );
    }
}

#[test]
fn every_target_is_both_fuzzed_and_replayed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/Cargo.toml");
    let manifest: toml::Table = bounded::read_text(File::open(path).unwrap(), LIMIT)
        .unwrap()
        .parse()
        .unwrap();
    let built = manifest["bin"]
        .as_array()
        .unwrap()
        .iter()
        .map(|bin| bin["name"].as_str().unwrap());
    assert!(
        built.eq(targets::TARGETS.iter().map(|(name, _)| *name)),
        "a target stands in tests/fuzz/Cargo.toml and, at the same place, in TARGETS of tests/fuzz/targets.rs"
    );
}
