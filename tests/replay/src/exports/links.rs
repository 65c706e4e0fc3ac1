//! NVLink and the fabric: every link is up, and on an eight-GPU board its other end is an NVSwitch.

use std::ffi::{c_uint, c_ulonglong};

use nvml_wrapper_sys::bindings as nvml;

use crate::bus::{switch_bus, switch_count};
use crate::pointer::{Answer, Out, fixed, struct_version};
use crate::session::Gpu;

/// The board of a GPU is part of an NVSwitch system.
fn in_fabric(gpu: &Gpu) -> bool {
    gpu.profile().nvlinks > 0 && gpu.profile().gpm
}

fn check(gpu: &Gpu, link: c_uint) -> Answer {
    gpu.require(gpu.profile().nvlinks > 0 && !gpu.profile().mig_enabled)?;
    if link < gpu.profile().nvlinks {
        Ok(())
    } else {
        Err(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)
    }
}

calls! { device:
    device_call nvmlDeviceGetNvLinkState(gpu, link: c_uint, active: Out<nvml::nvmlEnableState_t>) {
        check(gpu, link)?;
        active.put(nvml::nvmlEnableState_enum_NVML_FEATURE_ENABLED)
    }

    device_call nvmlDeviceGetNvLinkVersion(gpu, link: c_uint, version: Out<c_uint>) {
        check(gpu, link)?;
        version.put(gpu.profile().nvlink_version)
    }

    device_call nvmlDeviceGetNvLinkErrorCounter(
        gpu, link: c_uint, _counter: nvml::nvmlNvLinkErrorCounter_t, count: Out<c_ulonglong>,
    ) {
        check(gpu, link)?;
        count.put(0)
    }

    device_call nvmlDeviceGetNvLinkRemoteDeviceType(gpu, link: c_uint, kind: Out<nvml::nvmlIntNvLinkDeviceType_t>) {
        check(gpu, link)?;
        let switched = switch_count(&gpu.play().scenario) > 0 || gpu.profile().platform_info;
        kind.put(if switched {
            nvml::nvmlIntNvLinkDeviceType_enum_NVML_NVLINK_DEVICE_TYPE_SWITCH
        } else {
            nvml::nvmlIntNvLinkDeviceType_enum_NVML_NVLINK_DEVICE_TYPE_GPU
        })
    }

    device_call nvmlDeviceGetNvLinkRemotePciInfo_v2(gpu, link: c_uint, info: Out<nvml::nvmlPciInfo_t>) {
        check(gpu, link)?;
        let switches = switch_count(&gpu.play().scenario);
        // Links go round the switches, or round the other GPUs where there are none.
        let (bus, device) = if switches > 0 {
            let turn = u16::try_from(link).unwrap_or_default().checked_rem(switches).unwrap_or_default();
            (switch_bus(turn), gpu.profile().nvswitches.1)
        } else {
            let others = gpu.play().identities.iter().enumerate().filter(|(place, _)| u32::try_from(*place) != Ok(gpu.index));
            let turn = usize::try_from(link.checked_rem(gpu.play().scenario.gpus.saturating_sub(1)).unwrap_or_default());
            let other = others.map(|(_, other)| other).nth(turn.unwrap_or_default());
            (other.ok_or(nvml::nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED)?.bus, gpu.profile().device_id)
        };
        let bus_id = format!("00000000:{bus:02X}:00.0");
        info.put(nvml::nvmlPciInfo_t {
            busIdLegacy: fixed(bus_id.get(4..).unwrap_or_default()),
            domain: 0,
            bus: u32::from(bus),
            device: 0,
            pciDeviceId: (u32::from(device) << 16) | 0x10de,
            pciSubSystemId: 0,
            busId: fixed(&bus_id),
        })
    }

    device_call nvmlDeviceGetGpuFabricInfo(gpu, info: Out<nvml::nvmlGpuFabricInfo_t>) {
        gpu.require(in_fabric(gpu))?;
        info.put(nvml::nvmlGpuFabricInfo_t {
            clusterUuid: [0; 16],
            status: nvml::nvmlReturn_enum_NVML_SUCCESS,
            cliqueId: 0,
            state: completed(),
        })
    }

    device_call nvmlDeviceGetGpuFabricInfoV(gpu, info: Out<nvml::nvmlGpuFabricInfoV_t>) {
        gpu.require(in_fabric(gpu))?;
        let version = info.cast::<c_uint>().get()?;
        // One machine by itself has no cluster: its UUID is all zero and its health is not watched.
        if version == struct_version::<nvml::nvmlGpuFabricInfo_v2_t>(2) {
            return info.cast().put(nvml::nvmlGpuFabricInfo_v2_t {
                version,
                clusterUuid: [0; 16],
                status: nvml::nvmlReturn_enum_NVML_SUCCESS,
                cliqueId: 0,
                state: completed(),
                healthMask: 0,
            });
        }
        if version != struct_version::<nvml::nvmlGpuFabricInfo_v3_t>(3) {
            return Err(nvml::nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
        }
        info.put(nvml::nvmlGpuFabricInfo_v3_t {
            version,
            clusterUuid: [0; 16],
            status: nvml::nvmlReturn_enum_NVML_SUCCESS,
            cliqueId: 0,
            state: completed(),
            healthMask: 0,
            healthSummary: 0,
        })
    }
}

fn completed() -> nvml::nvmlGpuFabricState_t {
    u8::try_from(nvml::NVML_GPU_FABRIC_STATE_COMPLETED).unwrap_or_default()
}
