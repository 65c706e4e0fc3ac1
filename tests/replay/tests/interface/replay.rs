//! A loaded copy of the library, and what tests do with it.

use std::ffi::{CStr, CString, c_char, c_uint};
use std::fs;
use std::path::PathBuf;
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

/// The library that cargo built beside this test.
pub(crate) fn built() -> PathBuf {
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
pub(crate) struct Replay {
    pub(crate) lib: NvmlLib,
    own: libloading::Library,
    pub(crate) library: PathBuf,
    pub(crate) folder: tempfile::TempDir,
}

impl Replay {
    pub(crate) fn named(scenario: &str) -> Self {
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

    pub(crate) fn play(scenario: &str) -> Self {
        let replay = Self::named(scenario);
        assert_eq!(call!(replay.lib, nvmlInit_v2()), 0);
        replay
    }

    /// Sets the virtual time.
    pub(crate) fn at(&self, seconds: f64) {
        // SAFETY: the signature is that of the export.
        let set = unsafe {
            self.own
                .get::<extern "C" fn(u64)>(b"weighbridge_replay_set_time_ns")
        };
        set.unwrap()(Duration::from_secs_f64(seconds).as_nanos().try_into().unwrap());
    }

    pub(crate) fn gpu(&self, index: c_uint) -> nvmlDevice_t {
        let mut device = std::ptr::null_mut();
        assert_eq!(
            call!(self.lib, nvmlDeviceGetHandleByIndex_v2(index, &raw mut device)),
            0
        );
        device
    }

    pub(crate) fn energy(&self, device: nvmlDevice_t) -> u64 {
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

    pub(crate) fn power(&self, device: nvmlDevice_t) -> Result<u32, u32> {
        let mut power = 0;
        match call!(self.lib, nvmlDeviceGetPowerUsage(device, &raw mut power)) {
            0 => Ok(power),
            code => Err(code),
        }
    }

    pub(crate) fn field(&self, device: nvmlDevice_t, id: u32, scope: u32) -> Result<u64, u32> {
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
        if field.nvmlReturn != 0 {
            return Err(field.nvmlReturn);
        }
        assert!(field.timestamp > 0);
        // SAFETY: every member of the union is a number of at most eight bytes, all of which were written.
        Ok(unsafe { field.value.ullVal })
    }

    /// The samples of a kind since `since_us`: when each was taken, in microseconds, and what it is.
    pub(crate) fn samples(
        &self,
        device: nvmlDevice_t,
        kind: u32,
        since_us: u64,
    ) -> Result<Vec<(u64, u32)>, u32> {
        let (mut value_type, mut count) = (99, 0);
        let asked = call!(
            self.lib,
            nvmlDeviceGetSamples(
                device,
                kind,
                since_us,
                &raw mut value_type,
                &raw mut count,
                std::ptr::null_mut()
            )
        );
        if asked != 0 {
            return Err(asked);
        }
        // SAFETY: a struct of numbers.
        let blank: nvml::nvmlSample_t = unsafe { std::mem::zeroed() };
        let mut samples = vec![blank; usize::try_from(count).unwrap()];
        let asked = call!(
            self.lib,
            nvmlDeviceGetSamples(
                device,
                kind,
                since_us,
                &raw mut value_type,
                &raw mut count,
                samples.as_mut_ptr()
            )
        );
        if asked != 0 {
            return Err(asked);
        }
        assert_eq!(value_type, nvml::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT);
        samples.truncate(usize::try_from(count).unwrap());
        // SAFETY: as the type says, the member that was written is the unsigned one.
        let told = samples
            .into_iter()
            .map(|s| (s.timeStamp, unsafe { s.sampleValue.uiVal }));
        Ok(told.collect())
    }

    pub(crate) fn text(&self, read: impl Fn(&NvmlLib, *mut c_char, u32) -> u32) -> Result<String, u32> {
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

    pub(crate) fn uuid(&self, device: nvmlDevice_t) -> Result<String, u32> {
        self.text(|lib, place, length| call!(lib, nvmlDeviceGetUUID(device, place, length)))
    }

    pub(crate) fn sample(&self, device: nvmlDevice_t, instance: Option<u32>) -> nvml::nvmlGpmSample_t {
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
    pub(crate) fn metrics<const N: usize>(
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
