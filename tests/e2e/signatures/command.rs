//! What the command says of recordings, and of what is none.

use super::nodes::Made;
use std::io::Write as _;
use std::process::{Command, Output};
use weighbridge::workload::Features;

/// A directory with an index of one recording of this name and content, and what the command says of it.
pub(super) fn told(name: &str, content: &[u8], more: &[&str]) -> Output {
    told_of("hpc,m,f,w,1,none,NVIDIA A100,0", name, content, "family", more)
}

/// The same of a recording of which the index has these words, judged by a split.
fn told_of(words: &str, name: &str, content: &[u8], split: &str, more: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(name), content).unwrap();
    let index = format!("path,class,mechanism,family,workload,run,strategy,device,real\n{name},{words}\n");
    std::fs::write(dir.path().join("index.csv"), index).unwrap();
    Command::new(env!("CARGO_BIN_EXE_weighbridge-testbed"))
        .args(["evaluate", "--split", split, "--corpus"])
        .arg(dir.path())
        .args(more)
        .output()
        .unwrap()
}

#[test]
fn a_damaged_recording_is_one_line_and_nothing_is_judged() {
    let good = Made {
        rate: 10.0,
        seconds: 10.0,
        links: true,
    }
    .node(0, 0);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(good.as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    let damaged: [(&str, Vec<u8>, &str); 6] = [
        ("a.csv.gz", packed[..packed.len() / 2].to_vec(), "cannot be read"),
        ("a.csv.gz", b"timestamp,gpu\n1,0\n".to_vec(), "cannot be read"),
        ("a.csv", Vec::new(), "it is empty"),
        (
            "a.csv",
            b"time,watts\n1,2\n".to_vec(),
            "no columns `timestamp` and `gpu`",
        ),
        (
            "a.csv",
            b"timestamp,gpu,power_w\n1,0,2\n2,0\n".to_vec(),
            "line 3 has 2 cells",
        ),
        (
            "a.csv",
            b"timestamp,gpu,power_w\n1,-4,2\n".to_vec(),
            "line 2 has no time",
        ),
    ];
    for (name, content, word) in damaged {
        let output = told(name, &content, &[]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(word) && said.lines().count() == 1, "{said}");
        assert!(output.stdout.is_empty());
    }
    let missing = Command::new(env!("CARGO_BIN_EXE_weighbridge-testbed"))
        .args(["evaluate", "--split", "run", "--corpus", "/nowhere"])
        .output()
        .unwrap();
    assert_eq!(missing.status.code(), Some(2));
}

#[test]
fn a_program_finds_each_feature_of_a_recording_and_a_path_that_is_not_there_is_one_line() {
    let made = Made {
        rate: 10.0,
        seconds: 90.0,
        links: true,
    };
    let text = made.node(0, 2);
    let output = told("new.csv", text.as_bytes(), &["--features", "new.csv"]);
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stdout).unwrap();
    // Of eight devices two windows each, and beside the features two periods.
    assert_eq!(said.lines().count(), 8 * 2 * (Features::COUNT + 2), "{said}");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let mut lines = said.lines().map(words);
    assert!(lines.all(|w| w.len() == 6 && (w[5] == "-" || w[5].parse::<u32>().is_ok())));
    assert!(said.contains("GPU 1  window 1   rhythm_ms "), "{said}");
    // Without a burst the same of points of a second.
    let without = told(
        "new.csv",
        text.as_bytes(),
        &["--features", "new.csv", "--burst-at", "600"],
    );
    let without = String::from_utf8(without.stdout).unwrap();
    assert_eq!(without.lines().count(), said.lines().count());
    assert_ne!(without, said);
    let refused = [
        (vec!["--features", "old.csv"], "no path old.csv"),
        (vec!["--features", "new.csv", "--controls"], "cannot be used with"),
        (
            vec!["--features", "new.csv", "--explain", "new.csv"],
            "cannot be used with",
        ),
    ];
    for (more, word) in refused {
        let output = told("new.csv", text.as_bytes(), &more);
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(line.contains(word) && output.stdout.is_empty(), "{line}");
    }
}

#[test]
fn a_program_finds_each_device_and_simulated_figures_apart() {
    let made = Made {
        rate: 4.0,
        seconds: 20.0,
        links: false,
    };
    let output = told("new.csv", made.node(0, 8).as_bytes(), &["--format", "json"]);
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["split"], "family");
    assert_eq!((&said["of"], said["real"].is_null()), (&"simulated".into(), true));
    assert_eq!(said["simulated"]["devices"], 8);
    for key in [
        "accuracy",
        "abstention",
        "false_accusations_per_1000_gpu_days",
        "ci",
    ] {
        assert!(said.get(key).is_some(), "{key}");
    }
    let lines = said["recordings"].as_array().unwrap();
    assert_eq!(lines.len(), 8);
    for line in lines {
        assert_eq!(line["path"], "new.csv");
        assert!(line["gpu"].is_u64() && line["class"].is_string());
        assert!(line["level"].as_str().unwrap().starts_with('L'));
    }
}

#[test]
fn what_is_judged_by_the_tables_alone_or_counts_nowhere_is_said() {
    let made = Made {
        rate: 4.0,
        seconds: 20.0,
        links: false,
    };
    let text = made.node(0, 8);
    let said = |words: &str| -> serde_json::Value {
        let output = told_of(words, "new.csv", text.as_bytes(), "device", &["--format", "json"]);
        serde_json::from_slice(&output.stdout).unwrap()
    };
    // Every teacher is of this model of device.
    let alone = said("inference,m,f,w,1,none,NVIDIA H200,True");
    assert_eq!(
        (&alone["of"], alone["real"]["devices"].as_u64()),
        (&"real".into(), Some(8))
    );
    assert_eq!(alone["recordings"][0]["taught_by"], 0);
    let unknown = said("unheard,m,f,w,1,none,NVIDIA A100,FALSE");
    assert!(unknown["of"].is_null() && unknown["accuracy"].is_null());
    assert!(unknown["recordings"][0]["taught_by"].as_u64().unwrap() > 30);
    let refused = told_of(
        "hpc,m,f,w,1,none,NVIDIA A100,yes",
        "new.csv",
        text.as_bytes(),
        "run",
        &[],
    );
    let line = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{line}");
    assert!(
        line.contains("`real` is 1 or true") && line.lines().count() == 1,
        "{line}"
    );
}
