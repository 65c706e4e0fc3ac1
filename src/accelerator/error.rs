//! Why a catalogue is not gone by.

use super::version::CatalogueVersion;
use crate::crypto::dsse::DsseError;

/// The most entries that a catalogue may hold; there are fewer than a hundred data-centre parts.
pub(super) const MAX_MODELS: usize = 4_096;

/// The most bytes that a catalogue may have: `MAX_MODELS` entries of the length that they have today.
pub const MAX_CATALOGUE: usize = 1 << 20;

/// Why a catalogue could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogueError {
    /// It is larger than any honest one.
    #[error("it is larger than the {MAX_CATALOGUE} bytes that a catalogue of accelerators may have")]
    TooLarge,
    /// It is not text.
    #[error("it is not UTF-8 text")]
    Text,
    /// Its first line does not give its version.
    #[error("its first line must be like `# weighbridge-catalogue serial 1 of 2026-11-26`, and is `{found}`")]
    Version {
        /// What stood there, cut to 40 characters.
        found: String,
    },
    /// Its heading is not that of a catalogue.
    #[error("its heading is wrong: {what}")]
    Heading {
        /// How.
        what: String,
    },
    /// It is not the CSV that it should be.
    #[error("it is not the table that it should be")]
    Csv(#[from] csv::Error),
    /// A cell does not hold what its column says.
    #[error("its entry `{model}` has `{found}` for {column}")]
    Cell {
        /// The entry.
        model: String,
        /// The column.
        column: &'static str,
        /// What stood there, cut to 40 characters.
        found: String,
    },
    /// A cell that a program for tables would run as a formula, or with characters that cannot be seen.
    #[error("line {line} holds a cell that begins like a formula or has control characters: `{found}`")]
    Unsafe {
        /// The line.
        line: u64,
        /// What stood there, cut to 40 characters.
        found: String,
    },
    /// Its `tpp` column is not what its rates give.
    #[error("its entry `{model}` states a TPP of {stated}, but its rates give {computed}")]
    Tpp {
        /// The entry.
        model: String,
        /// The column.
        stated: u64,
        /// Rate times bit length.
        computed: u64,
    },
    /// Two entries that a device could not be told apart by.
    #[error("it has {what} twice")]
    Twice {
        /// What.
        what: String,
    },
    /// More entries than there are models in the world.
    #[error("it holds more than {MAX_MODELS} entries")]
    TooMany,
    /// No key that may sign it signed it.
    #[error("it is not signed by a key that is trusted to sign catalogues")]
    Untrusted(#[source] DsseError),
    /// A newer one is part of this build.
    #[error("it is {found}, which is older than {carried}, which this program carries")]
    Older {
        /// Its version.
        found: CatalogueVersion,
        /// That of the build.
        carried: CatalogueVersion,
    },
    /// The version of the build's own, with other content.
    #[error(
        "it says that it is {found}, which is what this program carries, and differs from it: a change needs a new serial"
    )]
    Ambiguous {
        /// Its version.
        found: CatalogueVersion,
    },
}
