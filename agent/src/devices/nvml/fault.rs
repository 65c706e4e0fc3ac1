//! What a refusal of the driver means.
//!
//! Decides: whether a code says "this device does not offer it", "the device is gone", "the driver is gone", or that
//! something else went wrong. Does not establish why.

use nvml_wrapper::error::NvmlError;
use weighbridge::telemetry::{LossReason, Reading};

/// The result that an entry is asked with. A driver leaves an entry that it does not know as it was.
pub(super) const UNANSWERED: u32 = u32::MAX;

/// Why a call into the driver gave no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The device, the driver or the library does not offer it.
    #[error("not offered by this device or driver")]
    Unsupported,
    /// The device is lost (`NVML_ERROR_GPU_IS_LOST`).
    #[error("the device is lost")]
    DeviceLost,
    /// The process may not ask.
    #[error(
        "no permission: the agent's user needs access to the device files, often through the group `video`"
    )]
    NoPermission,
    /// The answer makes no sense.
    #[error("the answer is malformed")]
    Malformed,
    /// The driver as a whole cannot be used any more.
    #[error("the driver was unloaded or upgraded under the library: restart what uses it, or reboot")]
    DriverGone,
    /// Another refusal, by its number.
    #[error("the driver refused with error {0}")]
    Failed(u32),
}

/// What a call into the driver gives.
pub(super) type Answer<T> = Result<T, Fault>;

/// The reading that an answer makes.
pub(super) fn reading<T>(answer: Answer<T>) -> Reading<T> {
    match answer {
        Ok(value) => Reading::Value(value),
        Err(Fault::Unsupported) => Reading::Unsupported,
        Err(Fault::DeviceLost) => Reading::Lost(LossReason::DeviceLost),
        Err(Fault::NoPermission) => Reading::Lost(LossReason::NoPermission),
        Err(Fault::Malformed) => Reading::Lost(LossReason::Malformed),
        Err(Fault::DriverGone | Fault::Failed(_)) => Reading::Lost(LossReason::Failed),
    }
}

impl Fault {
    /// Turns an `nvmlReturn_t` into an answer.
    pub(super) fn check(code: u32) -> Answer<()> {
        match code {
            0 => Ok(()),
            // UNINITIALIZED, DRIVER_NOT_LOADED, LIB_RM_VERSION_MISMATCH.
            1 | 9 | 18 => Err(Self::DriverGone),
            // NOT_SUPPORTED, FUNCTION_NOT_FOUND, ARGUMENT_VERSION_MISMATCH (a driver older than the structure), DEPRECATED,
            // and an entry that the driver does not know.
            3 | 13 | 25 | 26 | UNANSWERED => Err(Self::Unsupported),
            4 => Err(Self::NoPermission),
            // INSUFFICIENT_SIZE: every buffer here is as large as the interface says.
            7 => Err(Self::Malformed),
            // GPU_IS_LOST, GPU_NOT_FOUND.
            15 | 28 => Err(Self::DeviceLost),
            other => Err(Self::Failed(other)),
        }
    }
}

impl From<NvmlError> for Fault {
    fn from(error: NvmlError) -> Self {
        match error {
            NvmlError::NotSupported
            | NvmlError::FunctionNotFound
            | NvmlError::FailedToLoadSymbol(_)
            | NvmlError::UnexpectedVariant(25 | 26) => Self::Unsupported,
            NvmlError::NoPermission => Self::NoPermission,
            NvmlError::GpuLost | NvmlError::UnexpectedVariant(28) => Self::DeviceLost,
            NvmlError::Uninitialized | NvmlError::DriverNotLoaded | NvmlError::LibRmVersionMismatch => {
                Self::DriverGone
            }
            NvmlError::InsufficientSize(_) | NvmlError::Utf8Error(_) | NvmlError::StringTooLong { .. } => {
                Self::Malformed
            }
            NvmlError::UnexpectedVariant(code) => Self::Failed(code),
            _ => Self::Failed(999),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_refusal_becomes_a_value() {
        assert_eq!(reading(Fault::check(0)), Reading::Value(()));
        for code in 1..=1_000 {
            assert_eq!(reading(Fault::check(code)).value(), None, "{code}");
        }
        assert_eq!(reading(Fault::check(3)), Reading::Unsupported);
        assert_eq!(reading(Fault::check(15)), Reading::Lost(LossReason::DeviceLost));
    }

    #[test]
    fn the_wrappers_errors_mean_what_the_codes_mean() {
        assert_eq!(Fault::from(NvmlError::UnexpectedVariant(25)), Fault::Unsupported);
        assert_eq!(Fault::from(NvmlError::GpuLost), Fault::DeviceLost);
        assert_eq!(Fault::from(NvmlError::LibRmVersionMismatch), Fault::DriverGone);
    }
}
