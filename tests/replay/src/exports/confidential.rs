//! Confidential computing: off, unless the scenario has `[evidence]`. Where it is off, reports and certificates are not
//! supported; with the oversize faults they claim to be longer than the arrays they stand in.

use std::ffi::c_uint;

use nvml_wrapper_sys::bindings as nvml;

use super::identity::bytes;
use crate::evidence::Mode;
use crate::pointer::{Answer, Out, struct_version};
use crate::session::System;

/// A size beyond every array of these structs.
const OVERSIZE: c_uint = 0x7fff_ffff;

calls! { system:
    nvmlSystemGetConfComputeCapabilities(call, capabilities: Out<nvml::nvmlConfComputeSystemCaps_t>) {
        let capable = call.play().profile.confidential;
        capabilities.put(nvml::nvmlConfComputeSystemCaps_t {
            cpuCaps: match mode(call) {
                Some(Mode::Cc | Mode::DevTools) => nvml::NVML_CC_SYSTEM_CPU_CAPS_AMD_SEV_SNP,
                Some(Mode::Ppcie) | None => nvml::NVML_CC_SYSTEM_CPU_CAPS_NONE,
            },
            gpusCaps: u32::from(capable),
        })
    }

    nvmlSystemGetConfComputeState(call, state: Out<nvml::nvmlConfComputeSystemState_t>) {
        let shown = shown(mode(call));
        state.put(nvml::nvmlConfComputeSystemState_t {
            environment: shown.environment,
            ccFeature: shown.feature,
            devToolsMode: shown.tools,
        })
    }

    nvmlSystemGetConfComputeSettings(call, settings: Out<nvml::nvmlSystemConfComputeSettings_t>) {
        let version = settings.cast::<c_uint>().get()?;
        if version != struct_version::<nvml::nvmlSystemConfComputeSettings_v1_t>(1) {
            return Err(nvml::nvmlReturn_enum_NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
        }
        let shown = shown(mode(call));
        settings.put(nvml::nvmlSystemConfComputeSettings_v1_t {
            version,
            environment: shown.environment,
            ccFeature: shown.feature,
            devToolsMode: shown.tools,
            multiGpuMode: shown.together,
        })
    }

    nvmlSystemGetConfComputeGpusReadyState(call, accepting: Out<c_uint>) {
        accepting.put(match mode(call) {
            Some(_) => nvml::NVML_CC_ACCEPTING_CLIENT_REQUESTS_TRUE,
            None => nvml::NVML_CC_ACCEPTING_CLIENT_REQUESTS_FALSE,
        })
    }
}

fn mode(call: &System) -> Option<Mode> {
    call.play().evidence.as_ref().map(|evidence| evidence.mode)
}

/// What the driver says of a mode.
struct Shown {
    environment: c_uint,
    feature: c_uint,
    tools: c_uint,
    together: c_uint,
}

/// As the open kernel modules answer it: developers' tools make the environment one of simulation, and with protected
/// PCIe the feature itself is not told as on.
fn shown(mode: Option<Mode>) -> Shown {
    Shown {
        environment: match mode {
            Some(Mode::Cc | Mode::Ppcie) => nvml::NVML_CC_SYSTEM_ENVIRONMENT_PROD,
            Some(Mode::DevTools) => nvml::NVML_CC_SYSTEM_ENVIRONMENT_SIM,
            None => nvml::NVML_CC_SYSTEM_ENVIRONMENT_UNAVAILABLE,
        },
        feature: match mode {
            Some(Mode::Cc | Mode::DevTools) => nvml::NVML_CC_SYSTEM_FEATURE_ENABLED,
            Some(Mode::Ppcie) | None => nvml::NVML_CC_SYSTEM_FEATURE_DISABLED,
        },
        tools: match mode {
            Some(Mode::DevTools) => nvml::NVML_CC_SYSTEM_DEVTOOLS_MODE_ON,
            _ => nvml::NVML_CC_SYSTEM_DEVTOOLS_MODE_OFF,
        },
        together: match mode {
            Some(Mode::Ppcie) => nvml::NVML_CC_SYSTEM_MULTIGPU_PROTECTED_PCIE,
            _ => nvml::NVML_CC_SYSTEM_MULTIGPU_NONE,
        },
    }
}

calls! { device:
    device_call nvmlDeviceGetConfComputeGpuAttestationReport(
        gpu, report: Out<nvml::nvmlConfComputeGpuAttestationReport_t>,
    ) {
        if gpu.oversized() {
            return report.put(nvml::nvmlConfComputeGpuAttestationReport_t {
                isCecAttestationReportPresent: nvml::NVML_CC_CEC_ATTESTATION_REPORT_PRESENT,
                attestationReportSize: OVERSIZE,
                cecAttestationReportSize: OVERSIZE,
                nonce: report.get()?.nonce,
                attestationReport: [0xa5; 8192],
                cecAttestationReport: [0xa5; 4096],
            });
        }
        let attester = gpu.attester()?;
        let nonce = report.get()?.nonce;
        let signed = if gpu.stale() {
            attester.stale().to_vec()
        } else {
            attester.answer(&nonce).map_err(|_| nvml::nvmlReturn_enum_NVML_ERROR_UNKNOWN)?
        };
        let (attestation_report, size) = filled(&signed)?;
        report.put(nvml::nvmlConfComputeGpuAttestationReport_t {
            isCecAttestationReportPresent: nvml::NVML_CC_CEC_ATTESTATION_REPORT_NOT_PRESENT,
            attestationReportSize: size,
            cecAttestationReportSize: 0,
            nonce,
            attestationReport: attestation_report,
            cecAttestationReport: [0; 4096],
        })
    }

    device_call nvmlDeviceGetConfComputeGpuCertificate(gpu, certificate: Out<nvml::nvmlConfComputeGpuCertificate_t>) {
        if gpu.oversized() {
            return certificate.put(nvml::nvmlConfComputeGpuCertificate_t {
                certChainSize: OVERSIZE,
                attestationCertChainSize: OVERSIZE,
                certChain: [0xa5; 4096],
                attestationCertChain: [0xa5; 5120],
            });
        }
        let (chain, size) = filled(gpu.attester()?.chain())?;
        // The other array holds the chain of another use, which no verifier reads.
        certificate.put(nvml::nvmlConfComputeGpuCertificate_t {
            certChainSize: 0,
            attestationCertChainSize: size,
            certChain: [0; 4096],
            attestationCertChain: chain,
        })
    }

    device_call nvmlDeviceGetConfComputeMemSizeInfo(gpu, info: Out<nvml::nvmlConfComputeMemSizeInfo_t>) {
        let whole = bytes(gpu.profile().memory_mib) >> 10;
        let (guarded, open) = if gpu.play().evidence.is_some() { (whole, 0) } else { (0, whole) };
        info.put(nvml::nvmlConfComputeMemSizeInfo_t {
            protectedMemSizeKib: guarded,
            unprotectedMemSizeKib: open,
        })
    }
}

/// The bytes at the beginning of an array that is otherwise zero, and how many they are.
fn filled<const N: usize>(bytes: &[u8]) -> Answer<([u8; N], c_uint)> {
    let short = nvml::nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE;
    let mut array = [0; N];
    array.get_mut(..bytes.len()).ok_or(short)?.copy_from_slice(bytes);
    Ok((array, c_uint::try_from(bytes.len()).map_err(|_| short)?))
}
