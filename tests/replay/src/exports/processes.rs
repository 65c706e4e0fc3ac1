//! Processes and accounting: a GPU whose memory is in use shows one process; accounting lists those of the scenario.

use std::ffi::{c_char, c_uint, c_ulonglong};
use std::time::Duration;

use nvml_wrapper_sys::bindings as nvml;

use super::identity::{bytes, used_mib};
use crate::pointer::{Answer, Out};
use crate::session::Gpu;

/// Memory above which some process must hold it, MiB.
const HELD_MIB: u32 = 1024;

/// The process on GPU `n` has this number plus `n`.
const FIRST_PID: u32 = 40_000;

/// The first process that accounting lists has this number, the others follow.
const FIRST_JOB: u32 = 50_000;

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
        mode.put(u32::from(!gpu.play().scenario.jobs.is_empty()))
    }

    device_call nvmlDeviceGetAccountingPids(gpu, count: Out<c_uint>, pids: Out<c_uint>) {
        let begun = |(_, (from, _)): &(u32, &(f64, f64))| *from <= gpu.now.seconds;
        let listed: Vec<_> = (FIRST_JOB..).zip(&gpu.play().scenario.jobs).filter(begun).collect();
        let room = count.get()?;
        let found = c_uint::try_from(listed.len()).unwrap_or(c_uint::MAX);
        count.put(found)?;
        if room < found || (found > 0 && pids.is_absent()) {
            return Err(nvml::nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE);
        }
        (0..).zip(listed).try_for_each(|(place, (pid, _))| pids.nth(place).put(pid))
    }

    device_call nvmlDeviceGetAccountingStats(gpu, pid: c_uint, stats: Out<nvml::nvmlAccountingStats_t>) {
        let job = pid.checked_sub(FIRST_JOB).and_then(|place| usize::try_from(place).ok());
        let job = job.and_then(|place| gpu.play().scenario.jobs.get(place));
        let Some((from, to)) = job.filter(|(from, _)| *from <= gpu.now.seconds) else {
            return Err(nvml::nvmlReturn_enum_NVML_ERROR_NOT_FOUND);
        };
        let runs = gpu.now.seconds < *to;
        let moment = |seconds: f64| Duration::from_secs_f64(seconds).as_nanos();
        let lived_ms = moment(to - from).checked_div(1_000_000).unwrap_or_default();
        stats.put(nvml::nvmlAccountingStats_t {
            gpuUtilization: 50,
            memoryUtilization: 10,
            maxMemoryUsage: 1 << 30,
            // Zero while it runs, as drivers have it.
            time: if runs { 0 } else { u64::try_from(lived_ms).unwrap_or(u64::MAX) },
            startTime: gpu.wall_us(u64::try_from(moment(*from)).unwrap_or_default()),
            isRunning: u32::from(runs),
            reserved: [0; 5],
        })
    }

    device_call nvmlDeviceGetAccountingBufferSize(gpu, size: Out<c_uint>) {
        let _ = gpu;
        size.put(4000)
    }
}
