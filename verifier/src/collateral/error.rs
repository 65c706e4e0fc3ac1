//! Why the cache cannot be used, and why an item is not taken.

use super::LiveError;
use std::path::PathBuf;
use weighbridge::bounded::BoundedReadError;
use weighbridge::hardware::nvidia::RimError;
use weighbridge::x509::ocsp::OcspError;

/// Why the cache cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollateralError {
    /// It cannot be read.
    #[error("{path}, where manifests and OCSP replies are kept, cannot be read", path = path.display())]
    Read {
        /// Which part.
        path: PathBuf,
        /// Why not.
        #[source]
        source: BoundedReadError,
    },
    /// It cannot be written.
    #[error("{path}, where manifests and OCSP replies are kept, cannot be written", path = path.display())]
    Write {
        /// Which part.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A note cannot be encoded.
    #[error("what is known of an item could not be encoded")]
    Note(#[from] serde_json::Error),
    /// A source's address cannot be used.
    #[error(transparent)]
    Live(#[from] LiveError),
}

/// Why one item was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The manifest.
    #[error(transparent)]
    Rim(#[from] RimError),
    /// The name.
    #[error("it was given as {id}, and is the manifest of {product} {version}")]
    Id {
        /// The name under which it came.
        id: String,
        /// What it says that it is for.
        product: String,
        /// What version it says that it is of.
        version: String,
    },
    /// The reply.
    #[error(transparent)]
    Reply(#[from] OcspError),
    /// The reply says nothing.
    #[error("the reply speaks of no certificate")]
    Empty,
    /// There is no room.
    #[error(
        "{most} manifests are kept, which is the most: remove those that no device needs from the state directory, collateral/rim"
    )]
    Full {
        /// The most.
        most: usize,
    },
    /// It could not be kept.
    #[error(transparent)]
    Kept(#[from] CollateralError),
}
