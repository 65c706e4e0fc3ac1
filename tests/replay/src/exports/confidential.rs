//! Confidential computing: off. No device here can sign anything, so reports and certificates are not supported, and
//! with the oversize fault they claim to be longer than the arrays they stand in.

use std::ffi::c_uint;

use nvml_wrapper_sys::bindings as nvml;

use super::identity::bytes;
use crate::pointer::{Out, struct_version};

/// A size beyond every array of these structs.
const OVERSIZE: c_uint = 0x7fff_ffff;

calls! { system:
    nvmlSystemGetConfComputeCapabilities(call, capabilities: Out<nvml::nvmlConfComputeSystemCaps_t>) {
        let capable = call.play().profile.gpm;
        capabilities.put(nvml::nvmlConfComputeSystemCaps_t {
            cpuCaps: nvml::NVML_CC_SYSTEM_CPU_CAPS_NONE,
            gpusCaps: u32::from(capable),
        })
    }

    nvmlSystemGetConfComputeState(call, state: Out<nvml::nvmlConfComputeSystemState_t>) {
        let _ = call;
        state.put(nvml::nvmlConfComputeSystemState_t {
            environment: nvml::NVML_CC_SYSTEM_ENVIRONMENT_UNAVAILABLE,
            ccFeature: nvml::NVML_CC_SYSTEM_FEATURE_DISABLED,
            devToolsMode: nvml::NVML_CC_SYSTEM_DEVTOOLS_MODE_OFF,
        })
    }

    nvmlSystemGetConfComputeSettings(call, settings: Out<nvml::nvmlSystemConfComputeSettings_t>) {
        let _ = call;
        let version = settings.cast::<c_uint>().get()?;
        if version != struct_version::<nvml::nvmlSystemConfComputeSettings_v1_t>(1) {
            return Err(nvml::nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
        }
        settings.put(nvml::nvmlSystemConfComputeSettings_v1_t {
            version,
            environment: nvml::NVML_CC_SYSTEM_ENVIRONMENT_UNAVAILABLE,
            ccFeature: nvml::NVML_CC_SYSTEM_FEATURE_DISABLED,
            devToolsMode: nvml::NVML_CC_SYSTEM_DEVTOOLS_MODE_OFF,
            multiGpuMode: nvml::NVML_CC_SYSTEM_MULTIGPU_NONE,
        })
    }

    nvmlSystemGetConfComputeGpusReadyState(call, accepting: Out<c_uint>) {
        let _ = call;
        accepting.put(nvml::NVML_CC_ACCEPTING_CLIENT_REQUESTS_FALSE)
    }
}

calls! { device:
    device_call nvmlDeviceGetConfComputeGpuAttestationReport(
        gpu, report: Out<nvml::nvmlConfComputeGpuAttestationReport_t>,
    ) {
        gpu.require(gpu.oversized())?;
        report.put(nvml::nvmlConfComputeGpuAttestationReport_t {
            isCecAttestationReportPresent: nvml::NVML_CC_CEC_ATTESTATION_REPORT_PRESENT,
            attestationReportSize: OVERSIZE,
            cecAttestationReportSize: OVERSIZE,
            nonce: report.get()?.nonce,
            attestationReport: [0xa5; 8192],
            cecAttestationReport: [0xa5; 4096],
        })
    }

    device_call nvmlDeviceGetConfComputeGpuCertificate(gpu, certificate: Out<nvml::nvmlConfComputeGpuCertificate_t>) {
        gpu.require(gpu.oversized())?;
        certificate.put(nvml::nvmlConfComputeGpuCertificate_t {
            certChainSize: OVERSIZE,
            attestationCertChainSize: OVERSIZE,
            certChain: [0xa5; 4096],
            attestationCertChain: [0xa5; 5120],
        })
    }

    device_call nvmlDeviceGetConfComputeMemSizeInfo(gpu, info: Out<nvml::nvmlConfComputeMemSizeInfo_t>) {
        info.put(nvml::nvmlConfComputeMemSizeInfo_t {
            protectedMemSizeKib: 0,
            unprotectedMemSizeKib: bytes(gpu.profile().memory_mib) >> 10,
        })
    }
}
