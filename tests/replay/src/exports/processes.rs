//! Processes and accounting: a GPU whose memory is in use shows one process; accounting is off.

use std::ffi::{c_char, c_uint, c_ulonglong};

use nvml_wrapper_sys::bindings as nvml;

use super::identity::{bytes, used_mib};
use crate::pointer::{Answer, Out};
use crate::session::Gpu;

/// Memory above which some process must hold it, MiB.
const HELD_MIB: u32 = 1024;

/// The process on GPU `n` has this number plus `n`.
const FIRST_PID: u32 = 40_000;

/// What a process that belongs to no instance says of it.
const NO_INSTANCE: u32 = u32::MAX;

fn is_held(gpu: &Gpu) -> bool {
    gpu.level().memory_mib > HELD_MIB
}

/// Answers a list of none: a count of zero.
fn none(count: Out<c_uint>) -> Answer {
    count.put(0)
}

calls! { system:
    nvmlSystemGetProcessName(call, pid: c_uint, name: Out<c_char>, length: c_uint) {
        match pid.checked_sub(FIRST_PID) {
            Some(gpu) if gpu < call.play().scenario.gpus => call.text(name, length, "python3"),
            _ => Err(nvml::nvmlReturn_enum_NVML_ERROR_NOT_FOUND),
        }
    }
}

calls! { device:
    device_call nvmlDeviceGetComputeRunningProcesses_v3(
        gpu, count: Out<c_uint>, processes: Out<nvml::nvmlProcessInfo_t>,
    ) {
        if !is_held(gpu) {
            return none(count);
        }
        let room = count.get()?;
        count.put(1)?;
        if room < 1 || processes.is_absent() {
            return Err(nvml::nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE);
        }
        processes.put(nvml::nvmlProcessInfo_t {
            pid: FIRST_PID.saturating_add(gpu.index),
            usedGpuMemory: bytes(used_mib(gpu.profile(), gpu.level().memory_mib)),
            gpuInstanceId: NO_INSTANCE,
            computeInstanceId: NO_INSTANCE,
        })
    }

    device_call nvmlDeviceGetGraphicsRunningProcesses_v3(
        gpu, count: Out<c_uint>, _processes: Out<nvml::nvmlProcessInfo_t>,
    ) {
        let _ = gpu;
        none(count)
    }

    device_call nvmlDeviceGetMPSComputeRunningProcesses_v3(
        gpu, count: Out<c_uint>, _processes: Out<nvml::nvmlProcessInfo_t>,
    ) {
        let _ = gpu;
        none(count)
    }

    device_call nvmlDeviceGetProcessUtilization(
        gpu,
        samples: Out<nvml::nvmlProcessUtilizationSample_t>,
        count: Out<c_uint>,
        since_us: c_ulonglong,
    ) {
        gpu.require(!gpu.profile().mig_enabled)?;
        let now_us = gpu.wall_us(gpu.now.ns);
        if !is_held(gpu) || now_us <= since_us {
            // Normal when nothing ran.
            return Err(nvml::nvmlReturn_enum_NVML_ERROR_NOT_FOUND);
        }
        let room = count.get()?;
        count.put(1)?;
        if room < 1 || samples.is_absent() {
            return Err(nvml::nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE);
        }
        let level = gpu.level();
        samples.put(nvml::nvmlProcessUtilizationSample_t {
            pid: FIRST_PID.saturating_add(gpu.index),
            timeStamp: now_us,
            smUtil: u32::from(level.utilisation_pct),
            memUtil: u32::from(level.memory_utilisation_pct),
            encUtil: 0,
            decUtil: 0,
        })
    }

    device_call nvmlDeviceGetAccountingMode(gpu, mode: Out<nvml::nvmlEnableState_t>) {
        let _ = gpu;
        mode.put(nvml::nvmlEnableState_enum_NVML_FEATURE_DISABLED)
    }

    device_call nvmlDeviceGetAccountingPids(gpu, count: Out<c_uint>, _pids: Out<c_uint>) {
        let _ = gpu;
        none(count)
    }

    device_call nvmlDeviceGetAccountingStats(gpu, _pid: c_uint, _stats: Out<nvml::nvmlAccountingStats_t>) {
        let _ = gpu;
        Err(nvml::nvmlReturn_enum_NVML_ERROR_NOT_FOUND)
    }

    device_call nvmlDeviceGetAccountingBufferSize(gpu, size: Out<c_uint>) {
        let _ = gpu;
        size.put(4000)
    }
}
