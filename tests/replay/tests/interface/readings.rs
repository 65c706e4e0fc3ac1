//! Identity, counters, fields, GPM and MIG, and a recording against its own numbers.

use std::ffi::CString;
use std::fs;
use std::io::Read;
use std::path::Path;

use nvml_wrapper_sys::bindings as nvml;

use crate::replay::Replay;

const SECOND: u64 = 1_000_000_000;
const MISMATCH: u32 = nvml::nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
const UNSUPPORTED: u32 = nvml::nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED;

#[test]
fn gpus_are_listed_and_found_again() {
    let replay = Replay::play("profile = 'H100'\ngpus = 8\nserial_prefix = 'NODEA'");
    let mut count = 0;
    assert_eq!(call!(replay.lib, nvmlDeviceGetCount_v2(&raw mut count)), 0);
    assert_eq!(count, 8);
    for index in 0..8 {
        let device = replay.gpu(index);
        let uuid = replay.uuid(device).unwrap();
        let serial = replay
            .text(|lib, place, length| call!(lib, nvmlDeviceGetSerial(device, place, length)))
            .unwrap();
        assert!(serial.starts_with("NODEA"));
        // SAFETY: a struct of numbers and characters.
        let mut pci: nvml::nvmlPciInfo_t = unsafe { std::mem::zeroed() };
        assert_eq!(
            call!(replay.lib, nvmlDeviceGetPciInfo_v3(device, &raw mut pci)),
            0
        );
        assert_eq!((pci.pciDeviceId, pci.pciSubSystemId), (0x2330_10de, 0x16c1_10de));
        let (uuid, serial) = (CString::new(uuid).unwrap(), CString::new(serial).unwrap());
        let kernel = CString::new(format!("0000:{:02x}:00.0", pci.bus)).unwrap();
        let mut found = [std::ptr::null_mut(); 3];
        assert_eq!(
            call!(
                replay.lib,
                nvmlDeviceGetHandleByUUID(uuid.as_ptr(), &raw mut found[0])
            ),
            0
        );
        assert_eq!(
            call!(
                replay.lib,
                nvmlDeviceGetHandleBySerial(serial.as_ptr(), &raw mut found[1])
            ),
            0
        );
        assert_eq!(
            call!(
                replay.lib,
                nvmlDeviceGetHandleByPciBusId_v2(kernel.as_ptr(), &raw mut found[2])
            ),
            0
        );
        assert_eq!(found, [device; 3]);
    }
    let mut none = std::ptr::null_mut();
    assert_ne!(
        call!(replay.lib, nvmlDeviceGetHandleByIndex_v2(8, &raw mut none)),
        0
    );
    assert_eq!(
        replay.power(std::ptr::without_provenance_mut(0x1234)),
        Err(2),
        "a handle of nobody"
    );
}

#[test]
fn energy_is_the_integral_of_power_by_every_way_of_reading_it() {
    let replay = Replay::play("profile = 'H100'\ngpus = 2\ntrace = 'burn'\nsm_clock_mhz = 1755");
    let gpu = replay.gpu(0);
    let begin = replay.energy(gpu);
    replay.at(100.0);
    let joules = (replay.energy(gpu) - begin) / 1000;
    assert_eq!(joules, 68_950);
    assert_eq!(replay.power(gpu), Ok(689_500));
    assert_eq!(replay.field(gpu, 83, 0), Ok(replay.energy(gpu)));
    assert_eq!(replay.field(gpu, 191, 0), Ok(replay.energy(gpu)));
    assert_eq!(replay.field(gpu, 186, 0), Ok(689_500));
    assert_eq!(replay.field(gpu, 190, 0), Ok(700_000));
    let mut clock = 0;
    assert_eq!(
        call!(replay.lib, nvmlDeviceGetClockInfo(gpu, 1, &raw mut clock)),
        0
    );
    assert_eq!(clock, 1755);
}

#[test]
fn the_scope_of_a_field_decides_what_it_means() {
    let replay = Replay::play("profile = 'H100'\ngpus = 8\ntrace = 'training'");
    replay.at(60.0);
    let gpu = replay.gpu(3);
    let all = replay.field(gpu, 138, u32::MAX).unwrap();
    let one = replay.field(gpu, 138, 0).unwrap();
    assert!(all > 17 * one && all <= 18 * one + 18, "{one} of {all}");
    assert_eq!(replay.field(gpu, 138, 18), Err(2));
    assert_eq!(replay.field(gpu, 186, 1), Err(UNSUPPORTED), "no module");
    assert_eq!(
        replay.field(gpu, 202, 0),
        Err(UNSUPPORTED),
        "Blackwell's counters"
    );
    assert_eq!(replay.field(gpu, 9999, 0), Err(UNSUPPORTED));
    let blackwell = Replay::play("profile = 'B200'\ngpus = 8\ntrace = 'training'");
    let gpu = blackwell.gpu(0);
    assert_eq!(blackwell.field(gpu, 138, u32::MAX), Err(UNSUPPORTED));
    blackwell.field(gpu, 202, 17).unwrap();
    assert_eq!(blackwell.field(gpu, 202, u32::MAX), Err(2));
}

#[test]
fn gpm_gives_means_between_two_samples() {
    let replay = Replay::play("profile = 'H100'\ntrace = 'training'\n");
    let gpu = replay.gpu(0);
    let one = replay.sample(gpu, None);
    replay.at(57.0);
    let two = replay.sample(gpu, None);
    let [sm, any, half, double, dram, rx, tx, cumulative] =
        replay.metrics(one, two, [2, 5, 7, 6, 10, 60, 61, 248]);
    let near = |value: Option<f64>, wanted: f64| (value.unwrap() - wanted).abs() < wanted * 0.05;
    assert!(
        near(sm, 82.0) && near(any, 51.0) && any == half && near(dram, 41.0),
        "{sm:?} {any:?} {dram:?}"
    );
    assert_eq!((double, cumulative), (Some(0.0), None));
    let counted = replay.field(gpu, 139, u32::MAX).unwrap();
    assert!(
        near(rx, 60e9 / 5.7 / 1_048_576.0) && tx > rx && counted > 0,
        "{rx:?} {tx:?}"
    );
    assert_eq!(call!(replay.lib, nvmlGpmSampleFree(one)), 0);
    assert_ne!(call!(replay.lib, nvmlGpmSampleFree(one)), 0, "freed twice");
    assert_eq!(call!(replay.lib, nvmlGpmSampleFree(two)), 0);
}

#[test]
fn an_older_gpu_supports_less() {
    let replay = Replay::play("profile = 'A100'\ntrace = 'burn'");
    let gpu = replay.gpu(0);
    let mut support = nvml::nvmlGpmSupport_t {
        version: 1,
        isSupportedDevice: 7,
    };
    assert_eq!(
        call!(replay.lib, nvmlGpmQueryDeviceSupport(gpu, &raw mut support)),
        0
    );
    assert_eq!(support.isSupportedDevice, 0);
    let mut sample = std::ptr::null_mut();
    assert_eq!(call!(replay.lib, nvmlGpmSampleAlloc(&raw mut sample)), 0);
    assert_eq!(call!(replay.lib, nvmlGpmSampleGet(gpu, sample)), UNSUPPORTED);
    assert_eq!(replay.field(gpu, 185, 0), Err(UNSUPPORTED));
    replay.field(gpu, 186, 0).unwrap();
    assert_eq!(
        Replay::play("profile = 'L40S'").field(gpu, 138, 0),
        Err(UNSUPPORTED),
        "no NVLink"
    );
}

#[test]
fn a_gpu_in_mig_mode_is_measured_by_its_instances() {
    let replay = Replay::play("profile = 'MIG'\ntrace = 'inference'");
    let gpu = replay.gpu(0);
    let mut utilisation = nvml::nvmlUtilization_t { gpu: 0, memory: 0 };
    assert_eq!(
        call!(
            replay.lib,
            nvmlDeviceGetUtilizationRates(gpu, &raw mut utilisation)
        ),
        UNSUPPORTED
    );
    assert_eq!(replay.field(gpu, 138, u32::MAX), Err(UNSUPPORTED));
    let mut names = std::collections::BTreeSet::new();
    for index in 0..7 {
        let mut instance = std::ptr::null_mut();
        assert_eq!(
            call!(
                replay.lib,
                nvmlDeviceGetMigDeviceHandleByIndex(gpu, index, &raw mut instance)
            ),
            0
        );
        let (mut id, mut parent) = (0, std::ptr::null_mut());
        assert_eq!(
            call!(replay.lib, nvmlDeviceGetGpuInstanceId(instance, &raw mut id)),
            0
        );
        assert_eq!(
            call!(
                replay.lib,
                nvmlDeviceGetDeviceHandleFromMigDeviceHandle(instance, &raw mut parent)
            ),
            0
        );
        assert_eq!(parent, gpu);
        assert_eq!(replay.power(instance), Err(UNSUPPORTED));
        assert!(names.insert(replay.uuid(instance).unwrap()));
        replay.at(f64::from(index));
        let one = replay.sample(gpu, Some(id));
        replay.at(f64::from(index) + 20.0);
        let two = replay.sample(gpu, Some(id));
        let [sm, nvlink] = replay.metrics(one, two, [2, 60]);
        assert!(sm.unwrap() > 1.0 && nvlink.is_none());
    }
    let mut none = std::ptr::null_mut();
    assert_eq!(
        call!(
            replay.lib,
            nvmlDeviceGetMigDeviceHandleByIndex(gpu, 7, &raw mut none)
        ),
        6
    );
}

#[test]
fn a_struct_of_another_version_is_refused() {
    let replay = Replay::play("profile = 'H100'\ngpus = 8");
    let gpu = replay.gpu(0);
    let mut pdi = nvml::nvmlPdi_t { version: 1, value: 0 };
    assert_eq!(call!(replay.lib, nvmlDeviceGetPdi(gpu, &raw mut pdi)), MISMATCH);
    pdi.version = 16 | 1 << 24;
    assert_eq!(call!(replay.lib, nvmlDeviceGetPdi(gpu, &raw mut pdi)), 0);
    assert_ne!(pdi.value, 0);
    // SAFETY: structs of numbers.
    let mut fabric: nvml::nvmlGpuFabricInfoV_t = unsafe { std::mem::zeroed() };
    assert_eq!(
        call!(replay.lib, nvmlDeviceGetGpuFabricInfoV(gpu, &raw mut fabric)),
        MISMATCH
    );
    fabric.version = 36 | 2 << 24;
    fabric.healthSummary = 9;
    assert_eq!(
        call!(replay.lib, nvmlDeviceGetGpuFabricInfoV(gpu, &raw mut fabric)),
        0
    );
    assert_eq!(
        (fabric.state, fabric.healthSummary),
        (3, 9),
        "the older layout ends before the summary"
    );
    assert_eq!(replay.power(std::ptr::null_mut()), Err(2));
    assert_eq!(
        call!(replay.lib, nvmlDeviceGetPowerUsage(gpu, std::ptr::null_mut())),
        2
    );
}

#[test]
fn counters_go_on_when_the_library_is_initialised_again() {
    let replay = Replay::play("profile = 'H100'\ntrace = 'burn'");
    let before = replay.energy(replay.gpu(0));
    replay.at(10.0);
    assert_eq!(call!(replay.lib, nvmlShutdown()), 0);
    let mut count = 0;
    assert_eq!(
        call!(replay.lib, nvmlDeviceGetCount_v2(&raw mut count)),
        1,
        "not initialised"
    );
    assert_eq!(call!(replay.lib, nvmlShutdown()), 1);
    assert_eq!(call!(replay.lib, nvmlInit_v2()), 0);
    assert_eq!(replay.energy(replay.gpu(0)) - before, 6_895_000);
}

#[test]
fn a_later_process_joins_a_play_that_keeps_its_beginning() {
    let scenario = "profile = 'H100'\ntrace = 'burn'\nstart_file = 'begin'";
    let replay = Replay::play(scenario);
    let kept = replay.folder.path().join("begin");
    let mut text = String::new();
    fs::File::open(&kept).unwrap().read_to_string(&mut text).unwrap();
    assert!(
        text.trim().parse::<u64>().unwrap() > SECOND,
        "nanoseconds since boot"
    );
}

/// Energy through the interface against the recording's own counter.
#[test]
fn a_recording_is_served_as_it_was_measured() {
    let traces = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../shared/data/traces/h100-dcgm-10hz"
    ));
    let trace = traces.join("t2_telemetry.csv.gz");
    if !trace.exists() {
        eprintln!("skipped: the shared recordings are not here");
        return;
    }
    let replay = Replay::play(&format!(
        "profile = 'H100'\ngpus = 8\ntrace = '{}'",
        trace.display()
    ));
    let mut text = String::new();
    flate2::read::GzDecoder::new(fs::File::open(&trace).unwrap())
        .read_to_string(&mut text)
        .unwrap();
    let rows: Vec<(f64, u32, u64)> = text
        .lines()
        .skip(1)
        .map(|line| line.split(',').collect::<Vec<_>>())
        .map(|cells| {
            (
                cells[0].parse().unwrap(),
                cells[2].parse().unwrap(),
                cells[19].parse().unwrap(),
            )
        })
        .collect();
    for index in 0..8 {
        let gpu = replay.gpu(index);
        let own: Vec<_> = rows.iter().filter(|(_, gpu, _)| *gpu == index).collect();
        replay.at(0.0);
        let begin = replay.energy(gpu);
        for (at, _, counter) in own.iter().step_by(97) {
            replay.at(((at - own[0].0) * 1000.0).round() / 1000.0);
            let (played, recorded) = (replay.energy(gpu) - begin, counter - own[0].2);
            assert!(
                played.abs_diff(recorded) <= 2,
                "gpu {index}: {played} mJ played, {recorded} mJ recorded"
            );
        }
    }
}
