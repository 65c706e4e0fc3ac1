//! NVIDIA's Python verifier over the same evidence: `tests/client/nvidia_verifier.py`, run as a child, in turns with ours.
//!
//! The evidence is a synthetic Hopper GPU's, and a real one's where `../shared/data` is at hand. Both sides must accept it whole. OCSP
//! is left out on both, and so is whatever fetches evidence and manifests.

use super::evidence::{Desk, chain};
use super::figure::{Figure, number};
use super::reference::{Reference, Round as Ours, each, median, median_ratio};
use super::{Bench, say};
use crate::device_pki::{Chip, DevicePki, Said};
use crate::process::binaries;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use weighbridge::bounded;
use weighbridge::hardware::nvidia::{DEVICE_ROOT, RIM_ROOT, Terms};
use weighbridge::time::UnixSeconds;
use weighbridge::x509::Links;

/// How many times more a call of NVIDIA's verifier costs than a report whose chain and manifests we know, at the least.
const MIN_STEADY: f64 = 40.0;
/// How many times more it costs than a report that we see for the first time, at the least.
const MIN_FIRST: f64 = 3.0;
/// Calls in one measurement of their side: some 300 ms.
const CALLS: u32 = 10;
/// Longest line of theirs, in bytes.
const MAX_LINE: u64 = 4096;
/// Largest file of real evidence, in bytes.
const MAX_FILE: usize = 1 << 20;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/client/nvidia_verifier.py");
/// Evidence of a real GPU, where it is at hand.
const REAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/nvidia-evidence");

const STEADY: (&str, &str) = (
    "evidence.python_steady",
    "NVIDIA's Python verifier for one report, as it comes, against ours for a report whose chain and manifests were verified \
     before; theirs verifies both each time that it is called",
);
const KEPT: (&str, &str) = (
    "evidence.python_kept",
    "its classes, called so that chain and manifests are verified once, its log off, against the same; it offers no such call",
);
const FIRST: (&str, &str) = (
    "evidence.python_first",
    "NVIDIA's Python verifier for one report, as it comes, against ours for report, chain and two manifests at first sight",
);

/// One GPU's evidence, and what it is held against.
struct Case {
    whose: &'static str,
    /// Behind the names of its figures.
    suffix: &'static str,
    report: Vec<u8>,
    chain: String,
    /// The roots of chain and manifests, in PEM.
    roots: [String; 2],
    driver: String,
    vbios: String,
    desk: Desk,
}

impl Case {
    fn real() -> Option<Self> {
        let dir = Path::new(REAL);
        if !dir.is_dir() {
            say("evidence: skipped: a real GPU's evidence is not at hand");
            return None;
        }
        let bytes =
            |name: &str| bounded::read(std::fs::File::open(dir.join(name)).unwrap(), MAX_FILE).unwrap();
        let text = |name: &str| String::from_utf8(bytes(name)).unwrap();
        let report = bytes("reports/hopper-spt-550.90.07-0.bin");
        Some(Self {
            whose: "a real Hopper GPU's",
            suffix: "_real",
            chain: text("reports/hopper-spt-550.90.07-0.chain.pem"),
            roots: [
                text("roots/nvidia_device_identity_ca.pem"),
                text("roots/nvidia_corim_signing_root_ca.pem"),
            ],
            driver: "550.90.07".to_owned(),
            vbios: "96.00.9F.00.01".to_owned(),
            desk: Desk {
                manifests: [
                    text("rims/NV_GPU_DRIVER_GH100_550.90.07.xml"),
                    text("rims/NV_GPU_VBIOS_1010_0200_882_96009F0001.xml"),
                ],
                rim_root: RIM_ROOT,
                terms: Terms {
                    // The signers of its manifests held then.
                    at: UnixSeconds::parse("2025-05-01").unwrap(),
                    // Behind the head of the request, which is part of the report.
                    nonce: Some(report[4..36].try_into().unwrap()),
                    root: DEVICE_ROOT,
                },
            },
            report,
        })
    }

    fn synthetic() -> Self {
        let pki = DevicePki::new();
        let (device, said) = (pki.device(Chip::Gh100, 0), Said::default());
        Self {
            whose: "a synthetic Hopper GPU's",
            suffix: "",
            report: device.report(&said),
            chain: device.chain,
            roots: [pki.root(), pki.rim_root()],
            driver: said.driver.unwrap(),
            vbios: said.vbios,
            desk: Desk::of(&pki),
        }
    }

    fn write(&self, dir: &Path) {
        let [driver, vbios] = &self.desk.manifests;
        let [root, rim_root] = &self.roots;
        for (name, bytes) in [
            ("report.bin", self.report.as_slice()),
            ("chain.pem", self.chain.as_bytes()),
            ("driver.xml", driver.as_bytes()),
            ("vbios.xml", vbios.as_bytes()),
            ("root.pem", root.as_bytes()),
            ("rim-root.pem", rim_root.as_bytes()),
        ] {
            std::fs::write(dir.join(name), bytes).unwrap();
        }
    }
}

/// What theirs spends on one report, in nanoseconds of CPU time.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Spent {
    call: f64,
    quiet: f64,
    kept: f64,
}

/// Their side, waiting to be asked.
struct Theirs {
    child: Child,
    ask: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    versions: BTreeMap<String, String>,
}

impl Theirs {
    fn start(python: &Path, dir: &Path, case: &Case) -> Self {
        case.write(dir);
        let mut child = Command::new(python)
            .args(["-I", SCRIPT])
            .arg(dir)
            .arg(data_encoding::HEXLOWER.encode(&case.desk.terms.nonce.unwrap()))
            .args([&case.driver, &case.vbios.to_lowercase()])
            .arg(case.desk.terms.at.0.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let ask = child.stdin.take();
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        let versions = answer(&mut answers);
        Self {
            child,
            ask,
            answers,
            versions,
        }
    }

    fn measure(&mut self) -> Spent {
        writeln!(self.ask.as_mut().unwrap(), "{CALLS}").unwrap();
        answer(&mut self.answers)
    }

    fn versions(&self) -> String {
        let all: Vec<_> = self.versions.iter().map(|(k, v)| format!("{k} {v}")).collect();
        all.join(", ")
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        // It ends where its input ends.
        self.ask.take();
        self.child.wait().ok();
    }
}

fn answer<T: serde::de::DeserializeOwned>(answers: &mut impl BufRead) -> T {
    let mut line = String::new();
    answers.take(MAX_LINE).read_line(&mut line).unwrap();
    serde_json::from_str(&line)
        .unwrap_or_else(|e| panic!("{SCRIPT} broke off, and says above why: {e}: {line:?}"))
}

/// The Python that `make bench` installs theirs for, beside the build.
fn python() -> Option<PathBuf> {
    let python = binaries().parent()?.join("nvidia-verifier/bin/python3");
    let asked = Command::new(&python)
        .args([
            "-Ic",
            "import importlib.metadata as m; m.version('nv-local-gpu-verifier')",
        ])
        .output();
    asked.is_ok_and(|o| o.status.success()).then_some(python)
}

/// Measures both sides in turns.
pub(super) fn measure(bench: &Bench, reference: &Reference) -> Vec<Figure> {
    let Some(python) = python() else {
        let why = "nv-local-gpu-verifier is not installed; `make bench` installs it where it can";
        say(&format!("evidence: not measured: {why}"));
        let open = |(name, what): (&str, &str)| Figure::not_measured(name, what, "times", why);
        return vec![
            open(STEADY).at_least(MIN_STEADY),
            open(KEPT),
            open(FIRST).at_least(MIN_FIRST),
        ];
    };
    [Some(Case::synthetic()), Case::real()]
        .into_iter()
        .flatten()
        .flat_map(|case| compare(bench, reference, &python, &case))
        .collect()
}

fn compare(bench: &Bench, reference: &Reference, python: &Path, case: &Case) -> Vec<Figure> {
    say(&format!(
        "evidence: NVIDIA's Python verifier and ours over {} evidence",
        case.whose
    ));
    let dir = tempfile::tempdir().unwrap();
    let mut theirs = Theirs::start(python, dir.path(), case);
    let (mut links, known_chain) = (Links::default(), chain(&case.chain));
    let known_manifests = case.desk.manifests(&mut links);
    let mut known = || {
        case.desk
            .appraise(&case.report, &known_chain, &known_manifests, &mut links)
    };
    let first = || {
        let mut links = Links::default();
        let manifests = case.desk.manifests(&mut links);
        case.desk
            .appraise(&case.report, &chain(&case.chain), &manifests, &mut links)
    };
    let rounds: Vec<_> = (0..bench.rounds())
        .map(|_| {
            let (known, spent) = (reference.hold(|| each(100, &mut known)), theirs.measure());
            (known, reference.hold(|| each(20, first)), spent)
        })
        .collect();

    figures(case, &rounds, &theirs.versions())
}

/// The figures of one case, from rounds of ours for a report that is known, ours at first sight, and theirs.
fn figures(case: &Case, rounds: &[(Ours, Ours, Spent)], versions: &str) -> Vec<Figure> {
    let column = |of: fn(&(Ours, Ours, Spent)) -> f64| rounds.iter().map(of).collect::<Vec<_>>();
    let ratios = |(name, what): (&str, &str), of: fn(&(Ours, Ours, Spent)) -> f64| {
        Figure::of(&format!("{name}{}", case.suffix), what, "times", column(of))
            .beside("evidence", format!("{}, the same bytes for both", case.whose))
    };
    let ours = |which: fn(&(Ours, Ours, Spent)) -> Ours| {
        let rounds: Vec<_> = rounds.iter().map(which).collect();
        let micros = median(&rounds.iter().map(|r| r.work_ns / 1e3).collect::<Vec<_>>());
        let verifications = number(median_ratio(&rounds));
        format!("{} µs CPU, {verifications} P-384 verifications", number(micros))
    };
    let theirs =
        |of: fn(&(Ours, Ours, Spent)) -> f64| format!("{} ms CPU", number(median(&column(of)) / 1e6));
    let quiet = median(&column(|(known, _, spent)| spent.quiet / known.work_ns));
    vec![
        ratios(STEADY, |(known, _, spent)| spent.call / known.work_ns)
            .at_least(MIN_STEADY)
            .beside("ours", ours(|r| r.0))
            .beside("theirs", theirs(|r| r.2.call))
            .beside("theirs with its log off", theirs(|r| r.2.quiet))
            .beside("times, with its log off", number(quiet))
            .beside("versions", versions),
        ratios(KEPT, |(known, _, spent)| spent.kept / known.work_ns)
            .beside("ours", ours(|r| r.0))
            .beside("theirs", theirs(|r| r.2.kept)),
        ratios(FIRST, |(_, first, spent)| spent.call / first.work_ns)
            .at_least(MIN_FIRST)
            .beside("ours", ours(|r| r.1))
            .beside("theirs", theirs(|r| r.2.call)),
    ]
}
