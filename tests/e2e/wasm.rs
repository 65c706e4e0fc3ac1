//! The same bits on x86-64 and wasm32: recordings through the agent's meter here and in node, and all that comes out compared.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use weighbridge::telemetry::{Activity, BusSource, DeviceSample, Frame, Inventory, Reading, Tick, TickKind};
use weighbridge::time::{BootNanos, SECOND};
use weighbridge::unit::Ppm;
use weighbridge::workload::Instant;
use weighbridge_testbed::fixture;
use weighbridge_testbed::signatures::{Device, Recording, corpus, own, read};
use weighbridge_wasm::{packed, told};

/// Devices of a node.
const DEVICES: usize = 8;

/// Frames of a node of these devices, all begun at once, at one sample a second and with every burst that was recorded.
fn frames(devices: &[Device]) -> Vec<Frame> {
    let identities = fixture::accelerators(u16::try_from(devices.len()).unwrap(), 60);
    let inventory = Inventory {
        at: BootNanos(SECOND),
        driver: None,
        devices: identities.into_iter().map(|claims| claims.identity).collect(),
        bus: Vec::new(),
        bus_source: BusSource::System,
        switches: Vec::new(),
        mig_devices: None,
    };
    let mut ticks: Vec<Tick> = Vec::new();
    for (place, device) in devices.iter().enumerate() {
        let index = u16::try_from(place).unwrap();
        for (_, sample) in &device.samples {
            let sample = DeviceSample {
                device: index,
                ..sample.clone()
            };
            take(&mut ticks, TickKind::Regular, sample);
        }
        let mut moved = [0u64; 2];
        for (at_ms, instant) in &device.instants {
            for (sum, gained) in moved.iter_mut().zip([instant.tx_kib, instant.rx_kib]) {
                *sum += 1_024 * u64::from(gained.value().copied().unwrap_or(0));
            }
            let counter = |sum: u64, read: Reading<u32>| read.map(|_| sum);
            let sample = DeviceSample {
                device: index,
                at: BootNanos(SECOND + at_ms * 1_000_000),
                power_mw: instant.power_mw,
                nvlink_tx_bytes: counter(moved[0], instant.tx_kib),
                nvlink_rx_bytes: counter(moved[1], instant.rx_kib),
                activity: activity_at(instant),
                ..device.samples[0].1.clone()
            };
            take(&mut ticks, TickKind::Burst, sample);
        }
    }
    ticks.sort_by_key(|t| (t.at, t.kind));
    let mut frames = vec![Frame::from(inventory)];
    frames.extend(ticks.into_iter().map(Frame::from));
    frames
}

/// The activity of a tick of a burst.
fn activity_at(instant: &Instant) -> Reading<Activity> {
    let none = Reading::Unsupported;
    instant.sm_ppm.map(|sm| Activity {
        interval_ns: SECOND / 5,
        sm: Reading::Value(Ppm(sm)),
        tensor_any: instant.tensor_ppm.map(Ppm),
        dfma: none,
        hmma: none,
        imma: none,
        dram: instant.dram_ppm.map(Ppm),
        fp64: none,
        fp32: none,
        fp16: none,
        integer: none,
    })
}

/// Adds a sample to the tick of its time.
fn take(ticks: &mut Vec<Tick>, kind: TickKind, sample: DeviceSample) {
    match ticks.iter_mut().find(|t| t.at == sample.at && t.kind == kind) {
        Some(tick) => tick.devices.push(sample),
        None => ticks.push(Tick {
            at: sample.at,
            kind,
            devices: vec![sample],
        }),
    }
}

/// Why the library cannot be built and run as wasm32 here.
fn lacking() -> Option<&'static str> {
    let answers = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().ok()?;
    let library = Path::new(String::from_utf8(sysroot.stdout).ok()?.trim()).join("lib/rustlib");
    if !library.join("wasm32-unknown-unknown").is_dir() {
        Some("Rust's library for wasm32 is not installed")
    } else if !answers("clang") {
        Some("clang is not installed, which builds the cryptography for wasm32")
    } else if !answers("node") {
        Some("node is not installed, which runs it")
    } else {
        None
    }
}

/// The library as wasm32, built once; none where it cannot be.
fn module() -> Option<&'static Path> {
    static MODULE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let build = || {
        if let Some(why) = lacking() {
            println!("skipped: {why}; .ci/ensure-test-tools installs it");
            return None;
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        // Beside what is built for this machine: cargo holds a lock on that.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("wasm");
        let output = Command::new("cargo")
            .args(["build", "--locked", "--target", "wasm32-unknown-unknown"])
            .args(["-p", "weighbridge-wasm", "--target-dir"])
            .arg(&target)
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env("CARGO_INCREMENTAL", "0")
            .current_dir(root)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "the library does not build for wasm32:\n{said}"
        );
        Some(target.join("wasm32-unknown-unknown/debug/weighbridge_wasm.wasm"))
    };
    MODULE.get_or_init(build).as_deref()
}

/// What the library says of these frames in node.
fn in_node(module: &Path, frames: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let (given, out) = (dir.path().join("frames"), dir.path().join("out"));
    std::fs::File::create(&given).unwrap().write_all(frames).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("client/wasm.mjs");
    let output = Command::new("node")
        .args([&script, module, &given, &out])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "node ended with an error:\n{said}");
    std::fs::read_to_string(out).unwrap()
}

fn the_same(module: &Path, name: &str, devices: &[Device]) -> String {
    let bytes = packed(&frames(devices));
    let (here, there) = (told(&bytes), in_node(module, &bytes));
    for (number, (here, there)) in (1..).zip(here.lines().zip(there.lines())) {
        assert_eq!(here, there, "{name}: line {number} is another as wasm32");
    }
    assert_eq!(here.len(), there.len(), "{name}");
    here
}

/// The recordings of the project, each of one device.
fn recordings() -> Vec<Recording> {
    let index = corpus(&own()).unwrap();
    index.rows.iter().map(|(path, _)| read(path).unwrap()).collect()
}

#[test]
fn recordings_give_the_same_bits_here_and_as_wasm32() {
    let Some(module) = module() else { return };
    let devices: Vec<Device> = recordings().into_iter().flat_map(|r| r.devices).collect();
    assert!(devices.len() > 4 * DEVICES);
    // Eight of them side by side are a node, on which devices are compared with each other.
    let mut compared = 0;
    for (number, node) in devices.chunks(DEVICES).enumerate() {
        let told = the_same(module, &format!("recordings from {}", number * DEVICES), node);
        assert_eq!(told.matches("Verdict {").count(), node.len(), "{told}");
        assert!(told.contains("Explanation {"));
        compared += told.matches("synchrony: Some(").count();
    }
    assert!(compared > 0, "no device moved with others");
}

#[test]
fn devices_with_links_give_the_same_bits_here_and_as_wasm32() {
    let Some(module) = module() else { return };
    let trace = "../../shared/data/traces/h100-dcgm-10hz/t3_telemetry.csv.gz";
    let trace = Path::new(env!("CARGO_MANIFEST_DIR")).join(trace);
    if !trace.exists() {
        println!("skipped: {} is not here", trace.display());
        return;
    }
    let told = the_same(module, "t3", &read(&trace).unwrap().devices);
    assert!(told.contains("link_symmetry: Some(") && told.contains("Established"));
}

#[test]
fn frames_that_are_none_are_refused_alike() {
    let Some(module) = module() else { return };
    let bytes = [9, 0, 0, 0, 1];
    assert_eq!(in_node(module, &bytes), told(&bytes));
}
