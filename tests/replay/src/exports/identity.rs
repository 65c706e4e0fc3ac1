//! Which devices there are, and what never changes about them.

use std::ffi::{c_char, c_int, c_uint};

use nvml_wrapper_sys::bindings as nvml;

use crate::identity::Identity;
use crate::pointer::{Answer, Out, Text, fixed, struct_version};
use crate::profile::Profile;
use crate::session::System;

/// NVIDIA's PCI vendor id.
const NVIDIA: u32 = 0x10de;

/// More devices than any caller has room for.
const TOO_MANY: u32 = 100_000;

calls! { system:
    nvmlDeviceGetCount_v2(call, count: Out<c_uint>) {
        count.put(if call.oversized() { TOO_MANY } else { call.play().scenario.gpus })
    }

    nvmlDeviceGetHandleByIndex_v2(call, index: c_uint, device: Out<nvml::nvmlDevice_t>) {
        device.put(call.handle(index)?)
    }

    nvmlDeviceGetHandleByUUID(call, uuid: Text, device: Out<nvml::nvmlDevice_t>) {
        let uuid = uuid.get()?;
        device.put(find(call, |gpu| gpu.uuid == uuid)?)
    }

    nvmlDeviceGetHandleBySerial(call, serial: Text, device: Out<nvml::nvmlDevice_t>) {
        let serial = serial.get()?;
        device.put(find(call, |gpu| gpu.serial == serial)?)
    }

    nvmlDeviceGetHandleByPciBusId_v2(call, bus_id: Text, device: Out<nvml::nvmlDevice_t>) {
        // Domains are written with four digits by the kernel and with eight by NVML.
        let asked = bus_id.get()?.to_ascii_uppercase();
        let asked = asked.split_once(':').ok_or(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)?.1;
        device.put(find(call, |gpu| gpu.bus_id.split_once(':').is_some_and(|(_, place)| place == asked))?)
    }
}

fn find(call: &System, is_it: impl Fn(&Identity) -> bool) -> Answer<nvml::nvmlDevice_t> {
    let place = call
        .play()
        .identities
        .iter()
        .position(is_it)
        .ok_or(nvml::nvmlReturn_enum_NVML_ERROR_NOT_FOUND)?;
    call.handle(u32::try_from(place).unwrap_or_default())
}

calls! { device:
    any_device_call nvmlDeviceGetName(gpu, name: Out<c_char>, length: c_uint) {
        match gpu.instance {
            Some(_) => gpu.text(name, length, &format!("{} MIG 1g.10gb", gpu.profile().name)),
            None => gpu.text(name, length, gpu.profile().name),
        }
    }

    any_device_call nvmlDeviceGetUUID(gpu, uuid: Out<c_char>, length: c_uint) {
        let identity = gpu.identity()?;
        let own = match gpu.instance {
            Some(instance) => identity.mig_uuids.get(usize::try_from(instance).unwrap_or_default()),
            None => Some(&identity.uuid),
        };
        gpu.text(uuid, length, own.ok_or(nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)?)
    }

    device_call nvmlDeviceGetSerial(gpu, serial: Out<c_char>, length: c_uint) {
        gpu.text(serial, length, &gpu.identity()?.serial)
    }

    device_call nvmlDeviceGetPciInfo_v3(gpu, info: Out<nvml::nvmlPciInfo_t>) {
        let identity = gpu.identity()?;
        let mut answer = nvml::nvmlPciInfo_t {
            // The older field has room for four digits of the domain only.
            busIdLegacy: fixed(identity.bus_id.get(4..).unwrap_or_default()),
            domain: 0,
            bus: u32::from(identity.bus),
            device: 0,
            pciDeviceId: pci_id(gpu.profile().device_id),
            pciSubSystemId: pci_id(gpu.profile().subsystem_id),
            busId: fixed(&identity.bus_id),
        };
        if gpu.oversized() {
            answer.busIdLegacy = [c_char::from_ne_bytes([b'0']); 16];
            answer.busId = [c_char::from_ne_bytes([b'0']); 32];
        }
        info.put(answer)
    }

    device_call nvmlDeviceGetPciInfoExt(gpu, info: Out<nvml::nvmlPciInfoExt_t>) {
        let version = info.cast::<c_uint>().get()?;
        if version != struct_version::<nvml::nvmlPciInfoExt_v1_t>(1) {
            return Err(nvml::nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
        }
        let identity = gpu.identity()?;
        info.put(nvml::nvmlPciInfoExt_v1_t {
            version,
            domain: 0,
            bus: u32::from(identity.bus),
            device: 0,
            pciDeviceId: pci_id(gpu.profile().device_id),
            pciSubSystemId: pci_id(gpu.profile().subsystem_id),
            baseClass: 3,
            subClass: 2,
            busId: fixed(&identity.bus_id),
        })
    }

    device_call nvmlDeviceGetVbiosVersion(gpu, version: Out<c_char>, length: c_uint) {
        gpu.text(version, length, gpu.profile().vbios)
    }

    device_call nvmlDeviceGetBoardPartNumber(gpu, number: Out<c_char>, length: c_uint) {
        gpu.text(number, length, gpu.profile().board_part)
    }

    device_call nvmlDeviceGetInforomImageVersion(gpu, version: Out<c_char>, length: c_uint) {
        gpu.text(version, length, gpu.profile().inforom)
    }

    device_call nvmlDeviceGetGspFirmwareVersion(gpu, version: Out<c_char>) {
        // The caller states no length; NVML asks for 64 bytes.
        gpu.text(version, 64, gpu.play().driver_version())
    }

    device_call nvmlDeviceGetGspFirmwareMode(gpu, enabled: Out<c_uint>, default: Out<c_uint>) {
        let _ = gpu;
        enabled.put(1)?;
        default.put(1)
    }

    device_call nvmlDeviceGetBrand(gpu, brand: Out<nvml::nvmlBrandType_t>) {
        let _ = gpu;
        brand.put(nvml::nvmlBrandType_enum_NVML_BRAND_NVIDIA)
    }

    device_call nvmlDeviceGetArchitecture(gpu, architecture: Out<nvml::nvmlDeviceArchitecture_t>) {
        architecture.put(gpu.profile().architecture)
    }

    device_call nvmlDeviceGetBoardId(gpu, board: Out<c_uint>) {
        board.put(u32::from(gpu.identity()?.bus) << 8)
    }

    device_call nvmlDeviceGetMinorNumber(gpu, minor: Out<c_uint>) {
        minor.put(gpu.index)
    }

    any_device_call nvmlDeviceGetIndex(gpu, index: Out<c_uint>) {
        index.put(gpu.instance.unwrap_or(gpu.index))
    }

    device_call nvmlDeviceGetCudaComputeCapability(gpu, major: Out<c_int>, minor: Out<c_int>) {
        major.put(gpu.profile().compute_capability.0)?;
        minor.put(gpu.profile().compute_capability.1)
    }

    device_call nvmlDeviceGetNumGpuCores(gpu, cores: Out<c_uint>) {
        cores.put(gpu.profile().cores)
    }

    device_call nvmlDeviceGetMemoryBusWidth(gpu, bits: Out<c_uint>) {
        bits.put(gpu.profile().memory_bus_bits)
    }

    device_call nvmlDeviceGetModuleId(gpu, module: Out<c_uint>) {
        module.put(gpu.index.saturating_add(1))
    }

    device_call nvmlDeviceGetPdi(gpu, pdi: Out<nvml::nvmlPdi_t>) {
        let version = pdi.cast::<c_uint>().get()?;
        if version != struct_version::<nvml::nvmlPdi_v1_t>(1) {
            return Err(nvml::nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
        }
        pdi.put(nvml::nvmlPdi_v1_t { version, value: gpu.identity()?.pdi })
    }

    device_call nvmlDeviceGetPlatformInfo(gpu, info: Out<nvml::nvmlPlatformInfo_t>) {
        gpu.require(gpu.profile().platform_info)?;
        let version = info.cast::<c_uint>().get()?;
        let module = u8::try_from(gpu.index.saturating_add(1)).unwrap_or_default();
        let guid = gpu.identity()?.pdi.to_be_bytes();
        let mut ib_guid = [0; 16];
        ib_guid.iter_mut().skip(8).zip(guid).for_each(|(place, byte)| *place = byte);
        if version == struct_version::<nvml::nvmlPlatformInfo_v1_t>(1) {
            return info.cast().put(nvml::nvmlPlatformInfo_v1_t {
                version, ibGuid: ib_guid, rackGuid: [0; 16], chassisPhysicalSlotNumber: 1, computeSlotIndex: 0,
                nodeIndex: 0, peerType: 1, moduleId: module,
            });
        }
        if version != struct_version::<nvml::nvmlPlatformInfo_v2_t>(2) {
            return Err(nvml::nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
        }
        info.put(nvml::nvmlPlatformInfo_v2_t {
            version, ibGuid: ib_guid, chassisSerialNumber: *b"1820000000001\0\0\0", slotNumber: 1, trayIndex: 0,
            hostId: 1, peerType: 1, moduleId: module,
        })
    }

    device_call nvmlDeviceGetVirtualizationMode(gpu, mode: Out<nvml::nvmlGpuVirtualizationMode_t>) {
        let _ = gpu;
        mode.put(nvml::nvmlGpuVirtualizationMode_NVML_GPU_VIRTUALIZATION_MODE_NONE)
    }
}

/// A PCI id as NVML writes it: the device in the upper half, NVIDIA in the lower.
fn pci_id(device: u16) -> u32 {
    (u32::from(device) << 16) | NVIDIA
}

/// Bytes of some MiB.
pub(super) fn bytes(mib: u32) -> u64 {
    u64::from(mib) << 20
}

/// Memory in use, never more than there is.
pub(super) fn used_mib(profile: &Profile, mib: u32) -> u32 {
    mib.min(profile.memory_mib.saturating_sub(profile.reserved_mib))
}
