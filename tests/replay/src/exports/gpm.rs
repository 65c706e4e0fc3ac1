//! GPU performance monitoring: a sample holds integrals, and the metrics are means between two of them.
//!
//! Hopper and later only. What a trace calls tensor activity is served as metric 5 (any tensor), and where it does not tell
//! the pipes apart as 7 (half precision) too. Metrics that no driver knows are answered with zero up to 209, and refused one
//! by one beyond, as drivers of 580 do; so are the counters since the last reboot, unless the scenario has them.

use std::ffi::c_uint;
use std::sync::{Mutex, PoisonError};

use nvml_wrapper_sys::bindings as nvml;

use crate::pipes::Pipes;
use crate::pointer::{Answer, Out};
use crate::profile::{MIG_MULTIPROCESSORS, Profile};
use crate::session::{Gpu, instance_id, system_call};
use crate::trace::Totals;

/// The layout of GPM structs; plain 1, unlike that of others.
const VERSION: c_uint = 1;

/// The most samples that may be held at once.
const MOST_SAMPLES: usize = 4096;

/// The most metrics of one call: the newest header numbers them below 333.
const MOST_METRICS: c_uint = 333;

/// Where sample handles begin.
const FIRST_SAMPLE: usize = 0x5743_0000;

/// The share of multiprocessor activity that no trace records: resident warps.
const OCCUPANCY: f64 = 0.55;

/// The last metric that is answered although it means nothing.
const LAST_ANSWERED: c_uint = 209;

const MIB: f64 = 1_048_576.0;

/// What a sample holds once it was taken.
#[derive(Debug, Clone, Copy)]
struct Sample {
    gpu: u32,
    instance: Option<u32>,
    seconds: f64,
    totals: Totals,
    utilisation_pct: f64,
    profile: &'static Profile,
    busy: Pipes,
    counters: Option<Counters>,
}

/// What was counted since the last reboot.
#[derive(Debug, Clone, Copy)]
struct Counters {
    cycles: Pipes,
    pcie_tx: f64,
    pcie_rx: f64,
}

/// The samples that callers hold: allocated, and taken or not.
static SAMPLES: Mutex<Vec<Option<Option<Sample>>>> = Mutex::new(Vec::new());

calls! { device:
    device_call nvmlGpmQueryDeviceSupport(gpu, support: Out<nvml::nvmlGpmSupport_t>) {
        if support.get()?.version != VERSION {
            return Err(nvml::nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
        }
        support.put(nvml::nvmlGpmSupport_t { version: VERSION, isSupportedDevice: u32::from(gpu.profile().gpm) })
    }

    device_call nvmlGpmQueryIfStreamingEnabled(gpu, state: Out<c_uint>) {
        gpu.require(gpu.profile().gpm)?;
        state.put(0)
    }

    device_call nvmlGpmSampleGet(gpu, sample: nvml::nvmlGpmSample_t) {
        take(gpu, None, sample)
    }

    device_call nvmlGpmMigSampleGet(gpu, gpu_instance: c_uint, sample: nvml::nvmlGpmSample_t) {
        let instance = (0..gpu.play().mig_instances()).find(|instance| instance_id(*instance) == gpu_instance);
        take(gpu, Some(instance.ok_or(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)?), sample)
    }
}

calls! { system:
    nvmlGpmSampleAlloc(call, sample: Out<nvml::nvmlGpmSample_t>) {
        let _ = call;
        let mut samples = SAMPLES.lock().unwrap_or_else(PoisonError::into_inner);
        let place = samples.iter().position(Option::is_none).unwrap_or(samples.len());
        match samples.get_mut(place) {
            Some(free) => *free = Some(None),
            None if place < MOST_SAMPLES => samples.push(Some(None)),
            None => return Err(nvml::nvmlReturn_enum_NVML_ERROR_MEMORY),
        }
        sample.put(std::ptr::without_provenance_mut(FIRST_SAMPLE.saturating_add(place)))
    }

    nvmlGpmMetricsGet(call, request: Out<nvml::nvmlGpmMetricsGet_t>) {
        let _ = call;
        metrics(request)
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlGpmSampleFree(sample: nvml::nvmlGpmSample_t) -> nvml::nvmlReturn_t {
    // Works without initialisation too: a wrapper may drop its samples last. A script can only make it hang.
    system_call("nvmlGpmSampleFree", |_| Ok(())).ok();
    let mut samples = SAMPLES.lock().unwrap_or_else(PoisonError::into_inner);
    match place_of(sample)
        .ok()
        .and_then(|place| samples.get_mut(place))
        .and_then(Option::take)
    {
        Some(_) => nvml::nvmlReturn_enum_NVML_SUCCESS,
        None => nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT,
    }
}

fn place_of(sample: nvml::nvmlGpmSample_t) -> Answer<usize> {
    sample
        .addr()
        .checked_sub(FIRST_SAMPLE)
        .ok_or(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)
}

fn take(gpu: &Gpu, instance: Option<u32>, sample: nvml::nvmlGpmSample_t) -> Answer {
    gpu.require(gpu.profile().gpm)?;
    let (level, totals) = gpu.play().at(gpu.index, gpu.now.seconds);
    let profile = gpu.profile();
    let multiprocessors = match instance {
        Some(_) => MIG_MULTIPROCESSORS,
        None => profile.multiprocessors,
    };
    let counters = gpu.play().scenario.gpm_counters.then(|| {
        let bytes = gpu.counters();
        let cycles = gpu.play().cycles(gpu.index, gpu.now.seconds);
        Counters {
            cycles: cycles
                .thinned(active_share(profile, instance))
                .times(f64::from(multiprocessors)),
            pcie_tx: bytes.pcie_tx * pcie_share(instance),
            pcie_rx: bytes.pcie_rx * pcie_share(instance),
        }
    });
    let taken = Sample {
        gpu: gpu.index,
        instance,
        seconds: gpu.now.seconds,
        totals,
        utilisation_pct: f64::from(level.utilisation_pct),
        profile,
        busy: gpu.play().busy(gpu.index, gpu.now.seconds),
        counters,
    };
    let mut samples = SAMPLES.lock().unwrap_or_else(PoisonError::into_inner);
    match samples.get_mut(place_of(sample)?) {
        Some(Some(held)) => {
            *held = Some(taken);
            Ok(())
        }
        _ => Err(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT),
    }
}

/// What share of the multiprocessors can be active. The instances do not use all multiprocessors of the GPU; each does what
/// the trace says, of its own ones.
fn active_share(profile: &Profile, instance: Option<u32>) -> f64 {
    if profile.mig_enabled && instance.is_none() {
        f64::from(crate::profile::MIG_INSTANCES) * f64::from(MIG_MULTIPROCESSORS)
            / f64::from(profile.multiprocessors)
    } else {
        1.0
    }
}

/// What share of the PCIe traffic is a device's or an instance's.
fn pcie_share(instance: Option<u32>) -> f64 {
    match instance {
        Some(_) => 1.0 / f64::from(crate::profile::MIG_INSTANCES),
        None => 1.0,
    }
}

fn held(sample: nvml::nvmlGpmSample_t) -> Answer<Sample> {
    let samples = SAMPLES.lock().unwrap_or_else(PoisonError::into_inner);
    let invalid = nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT;
    samples
        .get(place_of(sample)?)
        .copied()
        .flatten()
        .flatten()
        .ok_or(invalid)
}

/// Fills the metrics of a request. Only its head and the entries it counts are touched: the array is longer in newer
/// headers.
fn metrics(request: Out<nvml::nvmlGpmMetricsGet_t>) -> Answer {
    use std::mem::offset_of;
    let invalid = nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT;
    let version: c_uint = request
        .field(offset_of!(nvml::nvmlGpmMetricsGet_t, version))
        .get()?;
    if version != VERSION {
        return Err(nvml::nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    }
    let count: c_uint = request
        .field(offset_of!(nvml::nvmlGpmMetricsGet_t, numMetrics))
        .get()?;
    let earlier = held(
        request
            .field(offset_of!(nvml::nvmlGpmMetricsGet_t, sample1))
            .get()?,
    )?;
    let later = held(
        request
            .field(offset_of!(nvml::nvmlGpmMetricsGet_t, sample2))
            .get()?,
    )?;
    let same = earlier.gpu == later.gpu && earlier.instance == later.instance;
    if count > MOST_METRICS || !same || later.seconds <= earlier.seconds {
        return Err(invalid);
    }
    let span = Span::between(&earlier, &later);
    let entries: Out<nvml::nvmlGpmMetric_t> = request.field(offset_of!(nvml::nvmlGpmMetricsGet_t, metrics));
    for place in (0..usize::try_from(count).unwrap_or_default()).map(|index| entries.nth(index)) {
        let id: c_uint = place.cast().get()?;
        let (code, value) = match span.metric(id) {
            Some(value) => (nvml::nvmlReturn_enum_NVML_SUCCESS, value),
            None => (nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT, 0.0),
        };
        let (name, unit) = match id {
            0..20 => (c"UTIL", c"%"),
            255 | 256 => (c"BYTES", c"bytes"),
            248..=260 => (c"CYCLES", c"cycles"),
            _ => (c"PER_SEC", c"MiB/s"),
        };
        place.put(nvml::nvmlGpmMetric_t {
            metricId: id,
            nvmlReturn: code,
            value,
            metricInfo: nvml::nvmlGpmMetric_t__bindgen_ty_1 {
                shortName: name.as_ptr().cast_mut(),
                longName: name.as_ptr().cast_mut(),
                unit: unit.as_ptr().cast_mut(),
            },
        })?;
    }
    Ok(())
}

/// Means between two samples, and the counters by the later one.
struct Span {
    seconds: f64,
    passed: Totals,
    busy: Pipes,
    counters: Option<Counters>,
    utilisation_pct: f64,
    /// What share of the PCIe traffic is this device's.
    pcie: f64,
    /// Links whose traffic is seen; none for a GPU in MIG mode.
    nvlinks: u32,
}

impl Span {
    fn between(earlier: &Sample, later: &Sample) -> Self {
        let profile = later.profile;
        Self {
            seconds: later.seconds - earlier.seconds,
            passed: later.totals.since(earlier.totals),
            busy: later
                .busy
                .since(earlier.busy)
                .thinned(active_share(profile, later.instance)),
            counters: later.counters,
            utilisation_pct: f64::midpoint(earlier.utilisation_pct, later.utilisation_pct),
            pcie: pcie_share(later.instance),
            nvlinks: if profile.mig_enabled { 0 } else { profile.nvlinks },
        }
    }

    /// The metric of that number, if it is answered.
    fn metric(&self, id: c_uint) -> Option<f64> {
        let busy = &self.busy;
        Some(match id {
            1 => self.utilisation_pct,
            2 => self.percent(busy.sm),
            3 => self.percent(busy.sm) * OCCUPANCY,
            4 => self.percent(busy.integer),
            5 => self.percent(busy.any),
            6 => self.percent(busy.dfma),
            7 => self.percent(busy.hmma),
            9 => self.percent(busy.imma),
            10 => self.percent(self.passed.dram_s),
            11 => self.percent(busy.fp64),
            12 => self.percent(busy.fp32),
            13 => self.percent(busy.fp16),
            20 => self.mib_per_s(self.passed.pcie_tx) * self.pcie,
            21 => self.mib_per_s(self.passed.pcie_rx) * self.pcie,
            60 if self.nvlinks > 0 => self.mib_per_s(self.passed.nvlink_rx),
            61 if self.nvlinks > 0 => self.mib_per_s(self.passed.nvlink_tx),
            62..=97 if id.saturating_sub(62) / 2 < self.nvlinks => {
                let bytes = if id.is_multiple_of(2) {
                    self.passed.nvlink_rx
                } else {
                    self.passed.nvlink_tx
                };
                self.mib_per_s(bytes) / f64::from(self.nvlinks)
            }
            0..=LAST_ANSWERED => 0.0,
            _ => self.counter(id)?,
        })
    }

    /// The counter of that number, if the scenario has them.
    fn counter(&self, id: c_uint) -> Option<f64> {
        let Counters {
            cycles,
            pcie_tx,
            pcie_rx,
        } = self.counters?;
        Some(match id {
            248 => cycles.elapsed,
            249 => cycles.sm,
            250 => cycles.any,
            // What the header calls double-precision matrix cycles beside those of fused multiply-add: no trace tells.
            251 => 0.0,
            252 => cycles.hmma,
            253 => cycles.imma,
            254 => cycles.dfma,
            255 => pcie_tx,
            256 => pcie_rx,
            257 => cycles.integer,
            258 => cycles.fp64,
            259 => cycles.fp32,
            260 => cycles.fp16,
            _ => return None,
        })
    }

    fn percent(&self, active_s: f64) -> f64 {
        (100.0 * active_s / self.seconds).clamp(0.0, 100.0)
    }

    fn mib_per_s(&self, bytes: f64) -> f64 {
        bytes / MIB / self.seconds
    }
}
