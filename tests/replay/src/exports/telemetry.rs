//! What changes: power, energy, utilisation, memory, clocks, temperature, errors.

use std::ffi::{c_int, c_uint, c_ulonglong};
use std::time::Duration;

use nvml_wrapper_sys::bindings as nvml;

use super::identity::{bytes, used_mib};
use crate::clock;
use crate::play::milliwatts;
use crate::pointer::{Answer, Out, struct_version};
use crate::profile::MIG_MEMORY_MIB;
use crate::session::Gpu;

/// The driver's rings of samples, how many and at which period: of power, and of what is utilised.
const POWER_RING: Ring = Ring {
    samples: 119,
    period_ns: 20_000_000,
};
const UTILISATION_RING: Ring = Ring {
    samples: 71,
    period_ns: 200_000_000,
};

/// A ring of samples that the driver takes by itself.
struct Ring {
    samples: u64,
    period_ns: u64,
}

/// How long the driver watches the PCIe link before it answers.
const PCIE_WATCH: Duration = Duration::from_millis(20);

/// Clock event bits that the driver can report at all: all but the display's.
const CLOCK_EVENTS: u64 = 0xff;

calls! { device:
    device_call nvmlDeviceGetPowerUsage(gpu, power: Out<c_uint>) {
        power.put(gpu.power_mw())
    }

    device_call nvmlDeviceGetEnforcedPowerLimit(gpu, limit: Out<c_uint>) {
        limit.put(gpu.profile().power_limit_w.saturating_mul(1000))
    }

    device_call nvmlDeviceGetPowerManagementLimit(gpu, limit: Out<c_uint>) {
        limit.put(gpu.profile().power_limit_w.saturating_mul(1000))
    }

    device_call nvmlDeviceGetPowerManagementDefaultLimit(gpu, limit: Out<c_uint>) {
        limit.put(gpu.profile().power_limit_w.saturating_mul(1000))
    }

    device_call nvmlDeviceGetPowerManagementLimitConstraints(gpu, least: Out<c_uint>, most: Out<c_uint>) {
        least.put(gpu.profile().power_min_w.saturating_mul(1000))?;
        most.put(gpu.profile().power_limit_w.saturating_mul(1000))
    }

    device_call nvmlDeviceGetTotalEnergyConsumption(gpu, energy: Out<c_ulonglong>) {
        energy.put(whole(gpu.counters().energy_mj))
    }

    device_call nvmlDeviceGetUtilizationRates(gpu, utilisation: Out<nvml::nvmlUtilization_t>) {
        gpu.require(!gpu.profile().mig_enabled)?;
        let level = gpu.level();
        utilisation.put(nvml::nvmlUtilization_t {
            gpu: u32::from(level.utilisation_pct),
            memory: u32::from(level.memory_utilisation_pct),
        })
    }

    any_device_call nvmlDeviceGetMemoryInfo(gpu, memory: Out<nvml::nvmlMemory_t>) {
        let (total, reserved, used) = memory_mib(gpu);
        // The older call counts what is reserved as used.
        let used = used.saturating_add(reserved);
        memory.put(nvml::nvmlMemory_t {
            total: bytes(total),
            free: bytes(total.saturating_sub(used)),
            used: bytes(used),
        })
    }

    any_device_call nvmlDeviceGetMemoryInfo_v2(gpu, memory: Out<nvml::nvmlMemory_v2_t>) {
        let version = memory.cast::<c_uint>().get()?;
        if version != struct_version::<nvml::nvmlMemory_v2_t>(2) {
            return Err(nvml::nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
        }
        let (total, reserved, used) = memory_mib(gpu);
        memory.put(nvml::nvmlMemory_v2_t {
            version,
            total: bytes(total),
            reserved: bytes(reserved),
            free: bytes(total.saturating_sub(reserved).saturating_sub(used)),
            used: bytes(used),
        })
    }

    device_call nvmlDeviceGetClockInfo(gpu, kind: nvml::nvmlClockType_t, clock: Out<c_uint>) {
        clock.put(clock_mhz(gpu, kind)?)
    }

    device_call nvmlDeviceGetClock(gpu, kind: nvml::nvmlClockType_t, id: nvml::nvmlClockId_t, clock: Out<c_uint>) {
        gpu.require(id == nvml::nvmlClockId_enum_NVML_CLOCK_ID_CURRENT)?;
        clock.put(clock_mhz(gpu, kind)?)
    }

    device_call nvmlDeviceGetMaxClockInfo(gpu, kind: nvml::nvmlClockType_t, clock: Out<c_uint>) {
        clock.put(match kind {
            nvml::nvmlClockType_enum_NVML_CLOCK_GRAPHICS | nvml::nvmlClockType_enum_NVML_CLOCK_SM => gpu.profile().sm_max_mhz,
            nvml::nvmlClockType_enum_NVML_CLOCK_MEM => gpu.profile().memory_mhz,
            nvml::nvmlClockType_enum_NVML_CLOCK_VIDEO => gpu.profile().video_mhz,
            _ => return Err(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT),
        })
    }

    device_call nvmlDeviceGetTemperature(gpu, sensor: nvml::nvmlTemperatureSensors_t, degrees: Out<c_uint>) {
        if sensor != nvml::nvmlTemperatureSensors_enum_NVML_TEMPERATURE_GPU {
            return Err(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT);
        }
        degrees.put(u32::from(gpu.level().temperature_c))
    }

    device_call nvmlDeviceGetTemperatureV(gpu, temperature: Out<nvml::nvmlTemperature_t>) {
        let asked = temperature.get()?;
        if asked.version != struct_version::<nvml::nvmlTemperature_v1_t>(1) {
            return Err(nvml::nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
        }
        temperature.put(nvml::nvmlTemperature_t { temperature: c_int::from(gpu.level().temperature_c), ..asked })
    }

    device_call nvmlDeviceGetPerformanceState(gpu, state: Out<nvml::nvmlPstates_t>) {
        let _ = gpu;
        state.put(nvml::nvmlPStates_enum_NVML_PSTATE_0)
    }

    device_call nvmlDeviceGetCurrentClocksThrottleReasons(gpu, reasons: Out<c_ulonglong>) {
        reasons.put(u64::from(gpu.level().clock_events))
    }

    device_call nvmlDeviceGetCurrentClocksEventReasons(gpu, reasons: Out<c_ulonglong>) {
        reasons.put(u64::from(gpu.level().clock_events))
    }

    device_call nvmlDeviceGetSupportedClocksEventReasons(gpu, reasons: Out<c_ulonglong>) {
        let _ = gpu;
        reasons.put(CLOCK_EVENTS)
    }

    device_call nvmlDeviceGetEccMode(gpu, current: Out<nvml::nvmlEnableState_t>, pending: Out<nvml::nvmlEnableState_t>) {
        let _ = gpu;
        current.put(nvml::nvmlEnableState_enum_NVML_FEATURE_ENABLED)?;
        pending.put(nvml::nvmlEnableState_enum_NVML_FEATURE_ENABLED)
    }

    device_call nvmlDeviceGetTotalEccErrors(
        gpu, _kind: nvml::nvmlMemoryErrorType_t, _counter: nvml::nvmlEccCounterType_t, count: Out<c_ulonglong>,
    ) {
        let _ = gpu;
        count.put(0)
    }

    device_call nvmlDeviceGetRemappedRows(
        gpu, correctable: Out<c_uint>, uncorrectable: Out<c_uint>, pending: Out<c_uint>, failed: Out<c_uint>,
    ) {
        let _ = gpu;
        [correctable, uncorrectable, pending, failed].into_iter().try_for_each(|place| place.put(0))
    }

    device_call nvmlDeviceGetPersistenceMode(gpu, mode: Out<nvml::nvmlEnableState_t>) {
        let _ = gpu;
        mode.put(nvml::nvmlEnableState_enum_NVML_FEATURE_ENABLED)
    }

    device_call nvmlDeviceGetCurrPcieLinkGeneration(gpu, generation: Out<c_uint>) {
        generation.put(gpu.profile().pcie_generation)
    }

    device_call nvmlDeviceGetMaxPcieLinkGeneration(gpu, generation: Out<c_uint>) {
        generation.put(gpu.profile().pcie_generation)
    }

    device_call nvmlDeviceGetCurrPcieLinkWidth(gpu, lanes: Out<c_uint>) {
        let _ = gpu;
        lanes.put(16)
    }

    device_call nvmlDeviceGetMaxPcieLinkWidth(gpu, lanes: Out<c_uint>) {
        let _ = gpu;
        lanes.put(16)
    }

    device_call nvmlDeviceGetPcieThroughput(gpu, direction: nvml::nvmlPcieUtilCounter_t, kilobytes: Out<c_uint>) {
        // The driver watches the link before it answers, and so does this.
        clock::pause(PCIE_WATCH);
        let seconds = PCIE_WATCH.as_secs_f64();
        let then = gpu.play().at(gpu.index, gpu.now.seconds).1;
        let passed = gpu.play().at(gpu.index, gpu.now.seconds + seconds).1.since(then);
        let bytes = match direction {
            nvml::nvmlPcieUtilCounter_enum_NVML_PCIE_UTIL_TX_BYTES => passed.pcie_tx,
            nvml::nvmlPcieUtilCounter_enum_NVML_PCIE_UTIL_RX_BYTES => passed.pcie_rx,
            _ => return Err(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT),
        };
        kilobytes.put(u32::try_from(whole(bytes / seconds / 1000.0)).unwrap_or(u32::MAX))
    }

    device_call nvmlDeviceGetSamples(
        gpu,
        kind: nvml::nvmlSamplingType_t,
        since_us: c_ulonglong,
        value_type: Out<nvml::nvmlValueType_t>,
        count: Out<c_uint>,
        samples: Out<nvml::nvmlSample_t>,
    ) {
        let ring = ring(kind)?;
        gpu.require(!(kind != nvml::nvmlSamplingType_enum_NVML_TOTAL_POWER_SAMPLES && gpu.profile().mig_enabled))?;
        value_type.put(nvml::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT)?;
        if samples.is_absent() {
            // More than any caller has use for, and than there is.
            let told = if gpu.oversized() { u64::from(u32::MAX) } else { ring.samples };
            return count.put(u32::try_from(told).unwrap_or_default());
        }
        let room = u64::from(count.get()?);
        let last = gpu.now.ns.checked_div(ring.period_ns).unwrap_or_default();
        let fresh = (last.saturating_sub(ring.samples.saturating_sub(1))..=last)
            .map(|period| period.saturating_mul(ring.period_ns))
            .filter(|ns| gpu.wall_us(*ns) > since_us)
            .take(usize::try_from(room).unwrap_or_default());
        let mut written = 0_u32;
        for (place, ns) in fresh.enumerate() {
            let value = sample(gpu, kind, Duration::from_nanos(ns).as_secs_f64());
            samples.nth(place).put(nvml::nvmlSample_t {
                timeStamp: gpu.wall_us(ns),
                sampleValue: nvml::nvmlValue_t { ullVal: u64::from(value) },
            })?;
            written = written.saturating_add(1);
        }
        if written == 0 {
            return Err(nvml::nvmlReturn_enum_NVML_ERROR_NOT_FOUND);
        }
        count.put(if gpu.oversized() { u32::MAX } else { written })
    }
}

/// The ring that holds samples of a kind. Clocks are "not found" and a module's power is no valid question, as drivers of 580
/// answer.
fn ring(kind: nvml::nvmlSamplingType_t) -> Answer<Ring> {
    match kind {
        nvml::nvmlSamplingType_enum_NVML_TOTAL_POWER_SAMPLES => Ok(POWER_RING),
        nvml::nvmlSamplingType_enum_NVML_GPU_UTILIZATION_SAMPLES
        | nvml::nvmlSamplingType_enum_NVML_MEMORY_UTILIZATION_SAMPLES
        | nvml::nvmlSamplingType_enum_NVML_ENC_UTILIZATION_SAMPLES
        | nvml::nvmlSamplingType_enum_NVML_DEC_UTILIZATION_SAMPLES
        | nvml::nvmlSamplingType_enum_NVML_JPG_UTILIZATION_SAMPLES
        | nvml::nvmlSamplingType_enum_NVML_OFA_UTILIZATION_SAMPLES => Ok(UTILISATION_RING),
        nvml::nvmlSamplingType_enum_NVML_PROCESSOR_CLK_SAMPLES
        | nvml::nvmlSamplingType_enum_NVML_MEMORY_CLK_SAMPLES => {
            Err(nvml::nvmlReturn_enum_NVML_ERROR_NOT_FOUND)
        }
        _ => Err(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT),
    }
}

/// What a ring holds for a moment.
fn sample(gpu: &Gpu, kind: nvml::nvmlSamplingType_t, seconds: f64) -> u32 {
    let level = gpu.play().at(gpu.index, seconds).0;
    match kind {
        nvml::nvmlSamplingType_enum_NVML_TOTAL_POWER_SAMPLES => milliwatts(level),
        nvml::nvmlSamplingType_enum_NVML_GPU_UTILIZATION_SAMPLES => u32::from(level.utilisation_pct),
        nvml::nvmlSamplingType_enum_NVML_MEMORY_UTILIZATION_SAMPLES => {
            u32::from(level.memory_utilisation_pct)
        }
        _ => 0,
    }
}

fn clock_mhz(gpu: &Gpu, kind: nvml::nvmlClockType_t) -> Answer<u32> {
    Ok(match kind {
        nvml::nvmlClockType_enum_NVML_CLOCK_GRAPHICS | nvml::nvmlClockType_enum_NVML_CLOCK_SM => {
            gpu.play().sm_clock_mhz(gpu.level(), gpu.now.seconds)
        }
        nvml::nvmlClockType_enum_NVML_CLOCK_MEM => gpu.play().memory_clock_mhz(gpu.level()),
        nvml::nvmlClockType_enum_NVML_CLOCK_VIDEO => gpu.profile().video_mhz,
        _ => return Err(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT),
    })
}

/// Memory of a GPU or of one of its instances: all, reserved, in use; MiB.
fn memory_mib(gpu: &Gpu) -> (u32, u32, u32) {
    let used = used_mib(gpu.profile(), gpu.level().memory_mib);
    match gpu.instance {
        Some(_) => (
            MIG_MEMORY_MIB,
            0,
            used.checked_div(gpu.play().mig_instances())
                .unwrap_or_default()
                .min(MIG_MEMORY_MIB),
        ),
        None => (gpu.profile().memory_mib, gpu.profile().reserved_mib, used),
    }
}

/// A counter as a whole number.
#[expect(
    clippy::as_conversions,
    reason = "a float saturates at the bounds of the integer, and a counter is not negative"
)]
pub(super) fn whole(counter: f64) -> u64 {
    counter as u64
}
