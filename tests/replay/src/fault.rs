//! The script of faults: which call answers with which error, and from when until when.
//!
//! Times count in seconds from the first initialisation of the library, or from zero of a virtual clock. A symbol
//! cannot vanish from a library that is loaded, so a missing one answers "function not found" instead.

use nvml_wrapper_sys::bindings as nvml;
use serde::Deserialize;

/// One fault of a scenario.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// When it begins, seconds after the play began.
    pub at_s: f64,
    /// The GPU it befalls; all of them if absent.
    pub gpu: Option<u32>,
    /// What happens.
    pub kind: FaultKind,
    /// The NVML function it is limited to; every function if absent.
    pub symbol: Option<String>,
    /// How long it lasts, in seconds; for ever if absent.
    pub for_s: Option<f64>,
}

/// The function that is missing where a fault of that kind names none.
pub(crate) const MISSED: &str = "nvmlDeviceGetFieldValues";

/// What can go wrong. A kind of two words may be written with an underscore, a space or a hyphen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The GPU has fallen off the bus: its calls answer `GPU_IS_LOST`.
    Lost,
    /// Calls on the GPU do not come back.
    Hang,
    /// The GPU was reset: its counters start from zero.
    Reset,
    /// The named function answers `FUNCTION_NOT_FOUND`.
    #[serde(alias = "missing symbol", alias = "missing-symbol")]
    MissingSymbol,
    /// The library and the kernel module do not match: everything answers `LIB_RM_VERSION_MISMATCH`.
    #[serde(alias = "version mismatch", alias = "version-mismatch")]
    VersionMismatch,
    /// Sizes and counts beyond the caller's arrays, strings without an end.
    #[serde(alias = "oversize answer", alias = "oversize-answer")]
    OversizeAnswer,
    /// The calls answer `NOT_SUPPORTED`.
    #[serde(alias = "not supported", alias = "not-supported")]
    NotSupported,
    /// Certificate and report claim sizes beyond their arrays.
    #[serde(alias = "evidence oversize", alias = "evidence-oversize")]
    EvidenceOversize,
    /// The calls for certificate and report do not come back.
    #[serde(alias = "evidence hang", alias = "evidence-hang")]
    EvidenceHang,
    /// The calls for certificate and report end the calling process.
    #[serde(alias = "evidence crash", alias = "evidence-crash")]
    EvidenceCrash,
    /// The calls for certificate and report answer `NO_PERMISSION`.
    #[serde(alias = "evidence refused", alias = "evidence-refused")]
    EvidenceRefused,
    /// The report answers another nonce than was asked with; its signature holds.
    #[serde(alias = "evidence stale", alias = "evidence-stale")]
    EvidenceStale,
}

impl FaultKind {
    /// Whether it befalls the calls for evidence alone.
    fn is_of_evidence(self) -> bool {
        matches!(
            self,
            Self::EvidenceOversize
                | Self::EvidenceHang
                | Self::EvidenceCrash
                | Self::EvidenceRefused
                | Self::EvidenceStale
        )
    }
}

/// What the script says of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is wrong with it.
    Answer,
    /// It fails with this `nvmlReturn_t`.
    Refuse(nvml::nvmlReturn_t),
    /// It does not come back, for as long as this verdict stands.
    Hang,
    /// It ends the process.
    Crash,
}

/// The calls for evidence.
const EVIDENCE: [&str; 2] = [
    "nvmlDeviceGetConfComputeGpuCertificate",
    "nvmlDeviceGetConfComputeGpuAttestationReport",
];

/// Calls that a real driver answers from the library's memory, so that a hanging device does not block them unless a
/// fault names them: they tell a program which device it must leave alone.
const REMEMBERED: [&str; 6] = [
    "nvmlDeviceGetIndex",
    "nvmlDeviceGetName",
    "nvmlDeviceGetUUID",
    "nvmlDeviceGetSerial",
    "nvmlDeviceGetMinorNumber",
    "nvmlDeviceGetPciInfo_v3",
];

impl Fault {
    /// Whether it stands at `now_s`.
    fn stands(&self, now_s: f64) -> bool {
        now_s >= self.at_s && self.for_s.is_none_or(|length| now_s < self.at_s + length)
    }

    /// Whether it concerns a call of `symbol` on `gpu`; a call on no GPU is concerned by faults of all GPUs only.
    fn concerns(&self, symbol: &str, gpu: Option<u32>) -> bool {
        self.symbol.as_deref().is_none_or(|named| named == symbol)
            && self.gpu.is_none_or(|index| gpu == Some(index))
            && (!self.kind.is_of_evidence() || EVIDENCE.contains(&symbol))
    }
}

/// What happens to a call that is not about a device.
#[must_use]
pub fn system_verdict(faults: &[Fault], symbol: &str, now_s: f64) -> Verdict {
    for fault in faults
        .iter()
        .filter(|fault| fault.stands(now_s) && fault.concerns(symbol, None))
    {
        let named = fault.symbol.is_some();
        match fault.kind {
            FaultKind::VersionMismatch => {
                return Verdict::Refuse(nvml::nvmlReturn_enum_NVML_ERROR_LIB_RM_VERSION_MISMATCH);
            }
            FaultKind::MissingSymbol => {
                return Verdict::Refuse(nvml::nvmlReturn_enum_NVML_ERROR_FUNCTION_NOT_FOUND);
            }
            FaultKind::NotSupported if named => {
                return Verdict::Refuse(nvml::nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED);
            }
            FaultKind::Hang if named => return Verdict::Hang,
            _ => {}
        }
    }
    Verdict::Answer
}

/// What happens to a call on the GPU of index `gpu`.
#[must_use]
pub fn device_verdict(faults: &[Fault], symbol: &str, gpu: u32, now_s: f64) -> Verdict {
    for fault in faults
        .iter()
        .filter(|fault| fault.stands(now_s) && fault.concerns(symbol, Some(gpu)))
    {
        let refused = match fault.kind {
            FaultKind::Lost => nvml::nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST,
            FaultKind::NotSupported => nvml::nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED,
            FaultKind::MissingSymbol => nvml::nvmlReturn_enum_NVML_ERROR_FUNCTION_NOT_FOUND,
            FaultKind::VersionMismatch => nvml::nvmlReturn_enum_NVML_ERROR_LIB_RM_VERSION_MISMATCH,
            FaultKind::Hang if fault.symbol.is_some() || !REMEMBERED.contains(&symbol) => {
                return Verdict::Hang;
            }
            FaultKind::EvidenceHang => return Verdict::Hang,
            FaultKind::EvidenceCrash => return Verdict::Crash,
            FaultKind::EvidenceRefused => nvml::nvmlReturn_enum_NVML_ERROR_NO_PERMISSION,
            FaultKind::Hang
            | FaultKind::Reset
            | FaultKind::OversizeAnswer
            | FaultKind::EvidenceOversize
            | FaultKind::EvidenceStale => continue,
        };
        return Verdict::Refuse(refused);
    }
    Verdict::Answer
}

/// Whether a handle to the GPU is refused: a lost GPU gives none, a hanging one still does.
#[must_use]
pub fn handle_verdict(faults: &[Fault], symbol: &str, gpu: u32, now_s: f64) -> Verdict {
    match device_verdict(faults, symbol, gpu, now_s) {
        Verdict::Refuse(nvml::nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST) => {
            Verdict::Refuse(nvml::nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST)
        }
        _ => Verdict::Answer,
    }
}

/// Whether a call answers more than its caller has room for.
#[must_use]
pub fn oversized(faults: &[Fault], symbol: &str, gpu: Option<u32>, now_s: f64) -> bool {
    faults.iter().any(|fault| {
        matches!(
            fault.kind,
            FaultKind::OversizeAnswer | FaultKind::EvidenceOversize
        ) && fault.stands(now_s)
            && fault.concerns(symbol, gpu)
    })
}

/// Whether a call for a report is answered with one that was made before.
#[must_use]
pub fn stale(faults: &[Fault], symbol: &str, gpu: u32, now_s: f64) -> bool {
    faults.iter().any(|fault| {
        fault.kind == FaultKind::EvidenceStale && fault.stands(now_s) && fault.concerns(symbol, Some(gpu))
    })
}

/// When the counters of `gpu` last began from zero, if they did.
#[must_use]
pub fn last_reset(faults: &[Fault], gpu: u32, now_s: f64) -> Option<f64> {
    faults
        .iter()
        .filter(|fault| {
            fault.kind == FaultKind::Reset
                && fault.at_s <= now_s
                && fault.gpu.is_none_or(|index| index == gpu)
        })
        .map(|fault| fault.at_s)
        .max_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(kind: FaultKind, gpu: Option<u32>, symbol: Option<&str>, for_s: Option<f64>) -> Fault {
        Fault {
            at_s: 10.0,
            gpu,
            kind,
            symbol: symbol.map(Into::into),
            for_s,
        }
    }

    #[test]
    fn a_lost_gpu_is_lost_alone_and_for_its_time() {
        let faults = [fault(FaultKind::Lost, Some(1), None, Some(5.0))];
        let lost = Verdict::Refuse(nvml::nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST);
        assert_eq!(device_verdict(&faults, "x", 1, 9.9), Verdict::Answer);
        assert_eq!(device_verdict(&faults, "x", 1, 10.0), lost);
        assert_eq!(device_verdict(&faults, "x", 0, 10.0), Verdict::Answer);
        assert_eq!(device_verdict(&faults, "x", 1, 15.0), Verdict::Answer);
        assert_eq!(system_verdict(&faults, "nvmlInit_v2", 12.0), Verdict::Answer);
        assert_eq!(handle_verdict(&faults, "x", 1, 12.0), lost);
    }

    #[test]
    fn a_hanging_gpu_can_still_be_told_from_the_others() {
        let faults = [fault(FaultKind::Hang, Some(0), None, None)];
        assert_eq!(
            device_verdict(&faults, "nvmlDeviceGetPowerUsage", 0, 11.0),
            Verdict::Hang
        );
        assert_eq!(
            device_verdict(&faults, "nvmlDeviceGetUUID", 0, 11.0),
            Verdict::Answer
        );
        assert_eq!(
            handle_verdict(&faults, "nvmlDeviceGetHandleByIndex_v2", 0, 11.0),
            Verdict::Answer
        );
        let named = [fault(FaultKind::Hang, Some(0), Some("nvmlDeviceGetUUID"), None)];
        assert_eq!(
            device_verdict(&named, "nvmlDeviceGetUUID", 0, 11.0),
            Verdict::Hang
        );
    }

    #[test]
    fn only_the_named_symbol_is_missing() {
        let faults = [fault(
            FaultKind::MissingSymbol,
            None,
            Some("nvmlDeviceGetPdi"),
            None,
        )];
        let missing = Verdict::Refuse(nvml::nvmlReturn_enum_NVML_ERROR_FUNCTION_NOT_FOUND);
        assert_eq!(device_verdict(&faults, "nvmlDeviceGetPdi", 3, 11.0), missing);
        assert_eq!(
            device_verdict(&faults, "nvmlDeviceGetName", 3, 11.0),
            Verdict::Answer
        );
    }

    #[test]
    fn counters_begin_at_the_last_reset() {
        let mut later = fault(FaultKind::Reset, Some(2), None, None);
        later.at_s = 20.0;
        let faults = [later, fault(FaultKind::Reset, None, None, None)];
        assert_eq!(last_reset(&faults, 2, 5.0), None);
        assert_eq!(last_reset(&faults, 2, 15.0), Some(10.0));
        assert_eq!(last_reset(&faults, 2, 25.0), Some(20.0));
        assert_eq!(last_reset(&faults, 0, 25.0), Some(10.0));
    }
}
