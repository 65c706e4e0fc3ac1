//! Multi-instance GPUs: the MIG profile is cut into seven instances with one compute instance each.

use std::ffi::c_uint;

use nvml_wrapper_sys::bindings as nvml;

use crate::pointer::Out;
use crate::profile::{MIG_INSTANCES, MIG_MEMORY_MIB, MIG_MULTIPROCESSORS};
use crate::session::{handle_of, instance_id};

calls! { device:
    device_call nvmlDeviceGetMigMode(gpu, current: Out<c_uint>, pending: Out<c_uint>) {
        gpu.require(gpu.profile().mig_capable)?;
        current.put(u32::from(gpu.profile().mig_enabled))?;
        pending.put(u32::from(gpu.profile().mig_enabled))
    }

    device_call nvmlDeviceGetMaxMigDeviceCount(gpu, count: Out<c_uint>) {
        count.put(if gpu.profile().mig_capable { MIG_INSTANCES } else { 0 })
    }

    device_call nvmlDeviceGetMigDeviceHandleByIndex(gpu, index: c_uint, device: Out<nvml::nvmlDevice_t>) {
        gpu.require(gpu.profile().mig_enabled)?;
        if index >= gpu.play().mig_instances() {
            return Err(nvml::nvmlReturn_enum_NVML_ERROR_NOT_FOUND);
        }
        device.put(handle_of(gpu.index, Some(index)))
    }

    any_device_call nvmlDeviceGetDeviceHandleFromMigDeviceHandle(gpu, device: Out<nvml::nvmlDevice_t>) {
        gpu.instance.ok_or(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)?;
        device.put(handle_of(gpu.index, None))
    }

    any_device_call nvmlDeviceIsMigDeviceHandle(gpu, is_instance: Out<c_uint>) {
        is_instance.put(u32::from(gpu.instance.is_some()))
    }

    any_device_call nvmlDeviceGetGpuInstanceId(gpu, id: Out<c_uint>) {
        let instance = gpu.instance.ok_or(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)?;
        id.put(instance_id(instance))
    }

    any_device_call nvmlDeviceGetComputeInstanceId(gpu, id: Out<c_uint>) {
        gpu.instance.ok_or(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)?;
        id.put(0)
    }

    any_device_call nvmlDeviceGetAttributes_v2(gpu, attributes: Out<nvml::nvmlDeviceAttributes_t>) {
        gpu.require(gpu.instance.is_some())?;
        attributes.put(nvml::nvmlDeviceAttributes_t {
            multiprocessorCount: MIG_MULTIPROCESSORS,
            sharedCopyEngineCount: 1,
            sharedDecoderCount: 1,
            sharedEncoderCount: 0,
            sharedJpegCount: 1,
            sharedOfaCount: 0,
            gpuInstanceSliceCount: 1,
            computeInstanceSliceCount: 1,
            memorySizeMB: u64::from(MIG_MEMORY_MIB),
        })
    }
}
