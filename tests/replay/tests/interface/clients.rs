//! The safe wrapper, NVIDIA's Python client, and the list of symbols that such programs look for.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::replay::{Replay, built};

#[test]
fn every_function_that_a_client_needs_is_exported() {
    // SAFETY: loading runs no code.
    let library = unsafe { libloading::Library::new(built()) }.unwrap();
    let mut missing = Vec::new();
    for name in include_str!("symbols.txt").split_whitespace() {
        // SAFETY: only looked up, never called.
        if unsafe { library.get::<unsafe extern "C" fn()>(name.as_bytes()) }.is_err() {
            missing.push(name);
        }
    }
    assert!(missing.is_empty(), "add these to src/exports: {missing:?}");
}

#[test]
fn the_safe_wrapper_accepts_it() {
    let replay = Replay::named("profile = 'H200'\ngpus = 8\ntrace = 'training'");
    let wrapper = nvml_wrapper::Nvml::builder()
        .lib_path(OsStr::new(&replay.library))
        .init()
        .unwrap();
    replay.at(20.0);
    assert_eq!(wrapper.device_count().unwrap(), 8);
    assert_eq!(wrapper.sys_driver_version().unwrap(), "590.48.01");
    let gpu = wrapper.device_by_index(0).unwrap();
    assert_eq!(gpu.name().unwrap(), "NVIDIA H200");
    assert_eq!(gpu.pci_info().unwrap().bus_id, "00000000:18:00.0");
    assert_eq!(
        gpu.architecture().unwrap(),
        nvml_wrapper::enums::device::DeviceArchitecture::Hopper
    );
    assert!(gpu.memory_info().unwrap().used > 100 << 30);
    assert_eq!(gpu.running_compute_processes().unwrap().len(), 1);
    assert!(
        !gpu.samples(nvml_wrapper::enum_wrappers::device::Sampling::Power, None)
            .unwrap()
            .is_empty()
    );
    assert!(gpu.is_ecc_enabled().unwrap().currently_enabled);
    let link = gpu.link_wrapper_for(0);
    assert!(link.is_active().unwrap());
    assert!(link.remote_pci_info().unwrap().bus_id.ends_with(":00.0"));
    let earlier = gpu.gpm_sample().unwrap();
    replay.at(30.0);
    let later = gpu.gpm_sample().unwrap();
    let ids = [nvml_wrapper::enums::gpm::GpmMetricId::AnyTensorUtil];
    let metrics = nvml_wrapper::gpm::gpm_metrics_get(&wrapper, &earlier, &later, &ids).unwrap();
    assert!(metrics[0].as_ref().unwrap().value > 30.0);
}

/// NVIDIA's own Python client, which finds library and scenario by its environment.
#[test]
fn nvidias_python_client_reads_every_gpu() {
    let replay = Replay::named("profile = 'H100'\ngpus = 8\ntrace = 'training'");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("client/read.py");
    // `make test` installs the client beside the build; a system may have it too.
    let ours = built().ancestors().nth(3).unwrap().join("python/bin/python3");
    let python = if ours.exists() {
        ours
    } else {
        PathBuf::from("python3")
    };
    let has_client = Command::new(&python).args(["-c", "import pynvml"]).output();
    if !has_client.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: python3 with nvidia-ml-py is not installed");
        return;
    }
    let output = Command::new(&python)
        .arg(script)
        .env("LD_LIBRARY_PATH", replay.folder.path())
        .env(
            "WEIGHBRIDGE_REPLAY_SCENARIO",
            replay.folder.path().join("scene.toml"),
        )
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{printed}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(printed.lines().count(), 9, "{printed}");
    for word in [
        "NVIDIA H100 80GB HBM3",
        "power_mw",
        "energy_mj",
        "00000000:18:00.0",
        "\"utilisation_pct\": 100",
    ] {
        assert!(printed.contains(word), "{word} is not in {printed}");
    }
}
