//! The library as a program meets it: loaded, its symbols called with the bindings and wrappers that programs use.
#![allow(unsafe_code, reason = "the functions of a C interface are called as such")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "a test, whose helpers stand outside its test functions"
)]

use std::ffi::{CStr, CString, OsStr, c_char, c_uint};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use nvml_wrapper_sys::bindings as nvml;
use nvml_wrapper_sys::bindings::{NvmlLib, nvmlDevice_t};

/// Calls a function of the library.
macro_rules! call {
    ($lib:expr, $name:ident($($arg:expr),*)) => {{
        // SAFETY: every pointer argument is to a local of the type that the binding states, or null to ask for a count.
        unsafe { $lib.$name($($arg),*) }
    }};
}

const SECOND: u64 = 1_000_000_000;
const MISMATCH: u32 = nvml::nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
const UNSUPPORTED: u32 = nvml::nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED;

/// The library that cargo built beside this test.
fn built() -> PathBuf {
    let library = std::env::current_exe()
        .unwrap()
        .parent()
        .unwrap()
        .join("libnvidia_ml.so");
    assert!(
        library.exists(),
        "{} is missing: build the package as a whole",
        library.display()
    );
    library
}

/// A copy of the library with a scenario of its own: each copy has its own state and its own time.
struct Replay {
    lib: NvmlLib,
    own: libloading::Library,
    library: PathBuf,
    folder: tempfile::TempDir,
}

impl Replay {
    fn named(scenario: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("libnvidia-ml.so.1");
        fs::copy(built(), &library).unwrap();
        let path = folder.path().join("scene.toml");
        fs::write(&path, scenario).unwrap();
        // SAFETY: the library is ours; loading it runs no code of its own.
        let (lib, own) = unsafe {
            (
                NvmlLib::new(&library).unwrap(),
                libloading::Library::new(&library).unwrap(),
            )
        };
        // SAFETY: the signature is that of the export.
        let choose =
            unsafe { own.get::<unsafe extern "C" fn(*const c_char) -> u32>(b"weighbridge_replay_scenario") };
        let text = CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: a string that ends with NUL and lives through the call.
        assert_eq!(unsafe { choose.unwrap()(text.as_ptr()) }, 0);
        let replay = Self {
            lib,
            own,
            library,
            folder,
        };
        replay.at(0.0);
        replay
    }

    fn play(scenario: &str) -> Self {
        let replay = Self::named(scenario);
        assert_eq!(call!(replay.lib, nvmlInit_v2()), 0);
        replay
    }

    /// Sets the virtual time.
    fn at(&self, seconds: f64) {
        // SAFETY: the signature is that of the export.
        let set = unsafe {
            self.own
                .get::<extern "C" fn(u64)>(b"weighbridge_replay_set_time_ns")
        };
        set.unwrap()(Duration::from_secs_f64(seconds).as_nanos().try_into().unwrap());
    }

    fn gpu(&self, index: c_uint) -> nvmlDevice_t {
        let mut device = std::ptr::null_mut();
        assert_eq!(
            call!(self.lib, nvmlDeviceGetHandleByIndex_v2(index, &raw mut device)),
            0
        );
        device
    }

    fn energy(&self, device: nvmlDevice_t) -> u64 {
        let mut energy = 0;
        assert_eq!(
            call!(
                self.lib,
                nvmlDeviceGetTotalEnergyConsumption(device, &raw mut energy)
            ),
            0
        );
        energy
    }

    fn power(&self, device: nvmlDevice_t) -> Result<u32, u32> {
        let mut power = 0;
        match call!(self.lib, nvmlDeviceGetPowerUsage(device, &raw mut power)) {
            0 => Ok(power),
            code => Err(code),
        }
    }

    fn field(&self, device: nvmlDevice_t, id: u32, scope: u32) -> Result<u64, u32> {
        let mut field = nvml::nvmlFieldValue_t {
            fieldId: id,
            scopeId: scope,
            timestamp: 0,
            latencyUsec: 0,
            valueType: 0,
            nvmlReturn: 999,
            value: nvml::nvmlValue_t { ullVal: 0 },
        };
        assert_eq!(
            call!(self.lib, nvmlDeviceGetFieldValues(device, 1, &raw mut field)),
            0
        );
        assert!(field.timestamp > 0);
        if field.nvmlReturn != 0 {
            return Err(field.nvmlReturn);
        }
        // SAFETY: every member of the union is a number of at most eight bytes, all of which were written.
        Ok(unsafe { field.value.ullVal })
    }

    fn text(&self, read: impl Fn(&NvmlLib, *mut c_char, u32) -> u32) -> Result<String, u32> {
        let mut buffer = [0 as c_char; 96];
        match read(&self.lib, buffer.as_mut_ptr(), 96) {
            // SAFETY: the buffer was zero and ends with one unless all of it was overwritten, which is checked.
            0 if buffer.contains(&0) => Ok(unsafe { CStr::from_ptr(buffer.as_ptr()) }
                .to_str()
                .unwrap()
                .to_owned()),
            0 => Err(0),
            code => Err(code),
        }
    }

    fn uuid(&self, device: nvmlDevice_t) -> Result<String, u32> {
        self.text(|lib, place, length| call!(lib, nvmlDeviceGetUUID(device, place, length)))
    }

    fn sample(&self, device: nvmlDevice_t, instance: Option<u32>) -> nvml::nvmlGpmSample_t {
        let mut sample = std::ptr::null_mut();
        assert_eq!(call!(self.lib, nvmlGpmSampleAlloc(&raw mut sample)), 0);
        assert_eq!(
            match instance {
                Some(instance) => call!(self.lib, nvmlGpmMigSampleGet(device, instance, sample)),
                None => call!(self.lib, nvmlGpmSampleGet(device, sample)),
            },
            0
        );
        sample
    }

    /// GPM metrics between two samples; none where a metric is not answered.
    fn metrics<const N: usize>(
        &self,
        one: nvml::nvmlGpmSample_t,
        two: nvml::nvmlGpmSample_t,
        ids: [u32; N],
    ) -> [Option<f64>; N] {
        // SAFETY: a struct of numbers and pointers, for which all zeros are valid.
        let mut request: Box<nvml::nvmlGpmMetricsGet_t> = Box::new(unsafe { std::mem::zeroed() });
        (request.version, request.numMetrics) = (1, u32::try_from(N).unwrap());
        (request.sample1, request.sample2) = (one, two);
        request
            .metrics
            .iter_mut()
            .zip(ids)
            .for_each(|(metric, id)| metric.metricId = id);
        assert_eq!(call!(self.lib, nvmlGpmMetricsGet(&raw mut *request)), 0);
        std::array::from_fn(|place| {
            let metric = request.metrics[place];
            (metric.nvmlReturn == 0).then_some(metric.value)
        })
    }
}

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
fn a_lost_gpu_is_lost_and_the_others_go_on() {
    let replay = Replay::play("profile = 'H100'\ngpus = 2\n[[fault]]\nat_s = 10\ngpu = 1\nkind = 'lost'");
    let (first, second) = (replay.gpu(0), replay.gpu(1));
    replay.power(second).unwrap();
    replay.at(10.0);
    assert_eq!(replay.power(second), Err(15));
    replay.power(first).unwrap();
    let mut none = std::ptr::null_mut();
    assert_eq!(
        call!(replay.lib, nvmlDeviceGetHandleByIndex_v2(1, &raw mut none)),
        15
    );
}

#[test]
fn a_hanging_gpu_does_not_answer_until_its_time_is_over() {
    let replay =
        Replay::play("profile = 'H100'\ngpus = 2\n[[fault]]\nat_s = 10\ngpu = 1\nkind = 'hang'\nfor_s = 30");
    let (first, second) = (replay.gpu(0).addr(), replay.gpu(1).addr());
    replay.at(10.0);
    std::thread::scope(|scope| {
        let (done, is_done) = mpsc::channel();
        let replay = &replay;
        scope.spawn(move || done.send(replay.power(std::ptr::without_provenance_mut(second))));
        assert!(
            replay.power(std::ptr::without_provenance_mut(first)).is_ok(),
            "the other GPU answers"
        );
        assert!(
            is_done.recv_timeout(Duration::from_millis(100)).is_err(),
            "it must hang"
        );
        assert!(
            replay.uuid(std::ptr::without_provenance_mut(second)).is_ok(),
            "it can still be told which it is"
        );
        replay.at(40.0);
        is_done.recv_timeout(Duration::from_secs(20)).unwrap().unwrap();
    });
}

#[test]
fn a_reset_begins_the_counters_from_zero() {
    let replay =
        Replay::play("profile = 'H100'\ntrace = 'burn'\n[[fault]]\nat_s = 50\ngpu = 0\nkind = 'reset'");
    let gpu = replay.gpu(0);
    replay.at(49.0);
    assert!(replay.energy(gpu) > 100_000_000);
    replay.at(51.0);
    assert_eq!(replay.energy(gpu), 689_500);
}

#[test]
fn what_is_missing_or_does_not_match_says_so() {
    let replay = Replay::play(
        "profile = 'H100'\n[[fault]]\nat_s = 0\nkind = 'missing_symbol'\nsymbol = 'nvmlDeviceGetPowerUsage'\n\
         [[fault]]\nat_s = 5\nkind = 'version_mismatch'",
    );
    let gpu = replay.gpu(0);
    assert_eq!(replay.power(gpu), Err(13));
    replay.uuid(gpu).unwrap();
    replay.at(5.0);
    assert_eq!(replay.uuid(gpu), Err(18));
    assert_eq!(call!(replay.lib, nvmlInit_v2()), 18);
    let early = Replay::named("profile = 'H100'\n[[fault]]\nat_s = 0\nkind = 'version_mismatch'");
    assert_eq!(call!(early.lib, nvmlInitWithFlags(0)), 18);
}

#[test]
fn an_oversize_answer_does_not_end_and_does_not_fit() {
    let replay = Replay::play("profile = 'H100'\n[[fault]]\nat_s = 1\nkind = 'oversize_answer'");
    let gpu = replay.gpu(0);
    replay.uuid(gpu).unwrap();
    replay.at(1.0);
    assert_eq!(replay.uuid(gpu), Err(0), "a string without its end");
    let mut count = 0;
    assert_eq!(call!(replay.lib, nvmlDeviceGetCount_v2(&raw mut count)), 0);
    assert!(count > 1000);
    // SAFETY: a struct of numbers.
    let mut certificate: nvml::nvmlConfComputeGpuCertificate_t = unsafe { std::mem::zeroed() };
    assert_eq!(
        call!(
            replay.lib,
            nvmlDeviceGetConfComputeGpuCertificate(gpu, &raw mut certificate)
        ),
        0
    );
    assert!(certificate.certChainSize > 0x1000);
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
fn a_scenario_that_cannot_be_played_fails_the_start() {
    let replay = Replay::named("profile = 'H100'\ntrace = 'trainning'");
    assert_eq!(call!(replay.lib, nvmlInit_v2()), 999);
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
