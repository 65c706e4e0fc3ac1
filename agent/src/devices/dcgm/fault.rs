//! Why a host engine does not answer.
//!
//! Decides: the sentence that an operator reads. Does not establish whose fault it is.

use crate::devices::library::LibraryError;
use std::path::PathBuf;
use weighbridge::telemetry::LibraryOrigin;

/// Why an engine does not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum EngineFault {
    #[error(transparent)]
    Library(#[from] LibraryError),
    #[error(
        "the DCGM library {path} is {origin}, and beside the system's own driver library none but the system's own is loaded"
    )]
    Beside { path: PathBuf, origin: LibraryOrigin },
    #[error("the DCGM library could not be loaded: {0}")]
    NotLoaded(String),
    #[error("the DCGM library and the host engine are of versions that do not go together")]
    OtherVersion,
    #[error("nothing answers there")]
    NoConnection,
    #[error("{call} was refused with error {code}")]
    Refused { call: &'static str, code: i32 },
    #[error("the answer is malformed")]
    Malformed,
}
