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
    // A synthetic load has the noise of sensors.
    let near = |found: u64, due: u64| assert!(found.abs_diff(due) < due / 50, "{found} of {due}");
    near(joules, 68_950);
    near(replay.power(gpu).unwrap().into(), 689_500);
    assert_eq!(replay.field(gpu, 83, 0), Ok(replay.energy(gpu)));
    assert_eq!(replay.field(gpu, 191, 0), Ok(replay.energy(gpu)));
    near(replay.field(gpu, 186, 0).unwrap(), 689_500);
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
    assert_eq!(
        replay.field(gpu, 9999, 0),
        Err(999),
        "left as it was: no driver knows it"
    );
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

/// Two seconds of a GPU that uses every pipe, then two of one that does not; the clocks change with it.
const EVERY_PIPE: &str = "\
# a recording of one GPU, at 1 Hz
timestamp,gpu,power_w,temp_c,mem_used_mib,gpu_util_pct,mem_util_pct,sm_active,tensor_active,dram_active,\
pcie_tx_bytes_s,pcie_rx_bytes_s,nvlink_tx_bytes_s,nvlink_rx_bytes_s,throttle_reasons,energy_mj,\
hmma_active,imma_active,dfma_active,fp64_active,fp32_active,fp16_active,integer_active,sm_clock_mhz,memory_clock_mhz
0,0,500,50,9000,100,40,0.9,0.6,0.3,1048576,2097152,0,0,4,1000,0.3,0.2,0.1,0.05,0.25,0.15,0.35,1500,2600
2,0,100,40,9000,0,0,0.1,0,0,0,0,0,0,1,1001000,0,0,0,0,0,0,,600,2500
# the rest is silence
4,0,100,40,9000,0,0,0,0,0,0,0,0,0,1,1201000,0,0,0,0,0,0,0,600,2500
";

fn every_pipe(more: &str) -> Replay {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipes.csv");
    fs::write(&path, EVERY_PIPE).unwrap();
    Replay::play(&format!("profile = 'H100'\ntrace = '{}'\n{more}", path.display()))
}

#[test]
fn a_recording_may_tell_of_every_pipe_and_of_the_clocks() {
    let replay = every_pipe("");
    let gpu = replay.gpu(0);
    let clock = |kind| {
        let mut mhz = 0;
        assert_eq!(
            call!(replay.lib, nvmlDeviceGetClockInfo(gpu, kind, &raw mut mhz)),
            0
        );
        mhz
    };
    assert_eq!((clock(1), clock(2)), (1500, 2600));
    let one = replay.sample(gpu, None);
    replay.at(2.0);
    assert_eq!((clock(1), clock(2)), (600, 2500));
    let two = replay.sample(gpu, None);
    let told = replay.metrics(one, two, [2, 5, 7, 9, 6, 11, 12, 13, 4, 20, 21]);
    let due = [90.0, 60.0, 30.0, 20.0, 10.0, 5.0, 25.0, 15.0, 35.0, 1.0, 2.0];
    for (told, due) in told.into_iter().zip(due) {
        assert!((told.unwrap() - due).abs() < 1e-6, "{told:?} of {due}");
    }
    replay.at(3.0);
    let three = replay.sample(gpu, None);
    let [integer] = replay.metrics(two, three, [4]);
    assert!(
        (integer.unwrap() - 35.0).abs() < 1e-6,
        "an empty cell keeps the value before"
    );
    let fixed = every_pipe("sm_clock_mhz = 1200");
    let mut mhz = 0;
    let gpu = fixed.gpu(0);
    assert_eq!(call!(fixed.lib, nvmlDeviceGetClockInfo(gpu, 1, &raw mut mhz)), 0);
    assert_eq!(mhz, 1200, "the scenario's clock wins");
}

#[test]
fn counters_since_the_last_reboot_are_the_integrals_of_pipes_and_clock() {
    let ids = [248, 249, 250, 252, 253, 254, 257, 258, 259, 260, 255, 256];
    let passed = |replay: &Replay, from: f64, to: f64| {
        let gpu = replay.gpu(0);
        replay.at(from);
        let one = replay.sample(gpu, None);
        replay.at(to);
        let two = replay.sample(gpu, None);
        replay.at(to + 1.0);
        let three = replay.sample(gpu, None);
        // Each is that of the later sample.
        let earlier = replay.metrics(one, two, ids);
        let later = replay.metrics(two, three, ids);
        earlier
            .into_iter()
            .zip(later)
            .map(|(a, b)| Some(b? - a?))
            .collect::<Vec<_>>()
    };
    let refused = every_pipe("");
    assert_eq!(passed(&refused, 0.0, 1.0), [None; 12], "as most drivers do");
    let played = passed(&every_pipe("gpm_counters = true"), 0.2, 1.0);
    let cycles = 132.0 * 1.5e9;
    let shares = [1.0, 0.9, 0.6, 0.3, 0.2, 0.1, 0.35, 0.05, 0.25, 0.15];
    let due = shares
        .map(|share| share * cycles)
        .into_iter()
        .chain([1_048_576.0, 2_097_152.0]);
    for (told, due) in played.iter().zip(due) {
        assert!((told.unwrap() - due).abs() <= due * 1e-6, "{played:?}");
    }
    // Across the change of clock, and from one round of the recording to the next.
    let played = passed(&every_pipe("gpm_counters = true"), 3.0, 3.5);
    let due = 132.0 * (0.5 * 0.6e9 + 0.5 * 1.5e9);
    assert!((played[0].unwrap() - due).abs() < due * 1e-6, "{played:?}");
    let series = "gpm_counters = true\nclock_series = [[0.0, 1000], [1.5, 500]]";
    let played = passed(&every_pipe(series), 0.5, 1.0);
    let due = 132.0 * 0.75e9;
    assert!((played[0].unwrap() - due).abs() < due * 1e-6, "{played:?}");
}

#[test]
fn metrics_that_nobody_knows_are_zero_or_refused_and_a_reset_begins_counters_anew() {
    let replay = every_pipe("gpm_counters = true\n[[fault]]\nat_s = 5.0\nkind = 'reset'");
    let gpu = replay.gpu(0);
    let one = replay.sample(gpu, None);
    replay.at(1.0);
    let two = replay.sample(gpu, None);
    assert_eq!(
        replay.metrics(one, two, [14, 22, 100, 209, 210, 247, 261, 332]),
        [Some(0.0), Some(0.0), Some(0.0), Some(0.0), None, None, None, None]
    );
    replay.at(6.0);
    let three = replay.sample(gpu, None);
    let [before] = replay.metrics(one, two, [248]);
    let [after] = replay.metrics(two, three, [248]);
    let due = 132.0 * 1.5e9;
    assert!(
        before.unwrap() > 1e13 && (after.unwrap() - due).abs() < due * 1e-6,
        "{after:?}"
    );
}

#[test]
fn the_driver_keeps_some_seconds_of_power_and_utilisation() {
    let replay = Replay::play("profile = 'A100'\ntrace = 'training'");
    let gpu = replay.gpu(0);
    replay.at(30.0);
    let power = replay.samples(gpu, 0, 0).unwrap();
    let busy = replay.samples(gpu, 1, 0).unwrap();
    for (samples, count, period) in [(&power, 119, 20_000), (&busy, 71, 200_000)] {
        assert_eq!(samples.len(), count);
        assert!(samples.windows(2).all(|w| w[1].0 - w[0].0 == period));
    }
    let (last, _) = *power.last().unwrap();
    assert_eq!(replay.samples(gpu, 0, last), Err(6), "nothing new");
    replay.at(31.0);
    assert_eq!(replay.samples(gpu, 0, last).unwrap().len(), 50);
    assert_eq!(
        [5, 6, 7].map(|kind| replay.samples(gpu, kind, 0).unwrap_err()),
        [6, 6, 2]
    );
    let mig = Replay::play("profile = 'MIG'");
    assert_eq!(mig.samples(mig.gpu(0), 1, 0), Err(UNSUPPORTED));
}

#[test]
fn pcie_bytes_are_counted_in_32_bits_unless_the_scenario_says_otherwise() {
    let read = |more: &str| {
        let replay = Replay::play(&format!("profile = 'L40S'\ntrace = 'training'\n{more}"));
        let gpu = replay.gpu(0);
        replay.at(100.0);
        replay.field(gpu, 197, 0).unwrap()
    };
    let (narrow, wide) = (read(""), read("wide_pcie_counters = true"));
    assert!(wide > u64::from(u32::MAX));
    assert_eq!(narrow, wide & u64::from(u32::MAX));
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
        assert!(sm.unwrap() > 1.0);
        assert_eq!(nvlink, Some(0.0), "answered, although no link is seen");
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
    assert!((replay.energy(replay.gpu(0)) - before).abs_diff(6_895_000) < 69_000);
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
