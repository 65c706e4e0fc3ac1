//! The catalogue: one entry for each model, how a device is matched to one, and signed catalogues that take the place of the
//! one that a build carries.

use super::error::{CatalogueError, MAX_CATALOGUE, MAX_MODELS};
use super::model::Model;
use super::row::{Row, check_heading, cut, is_unsafe};
use super::version::CatalogueVersion;
use crate::crypto::dsse;
use crate::crypto::{PublicKey, sha256};
use crate::id::{Digest, PciId};
use std::collections::BTreeSet;

/// The entries that ship with this build.
const EMBEDDED: &str = include_str!("catalogue.csv");

/// The DSSE payload type of a catalogue.
pub const PAYLOAD_TYPE: &str = "application/vnd.weighbridge.catalogue+csv";

/// What the catalogue says of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match<'a> {
    /// Its PCI identifiers are those of this model, and its name does not speak against it.
    Pci(&'a Model),
    /// Only its name is known.
    Name(&'a Model),
    /// Its PCI identifiers say one model, its name another.
    Disagree {
        /// By its PCI identifiers.
        pci: &'a Model,
        /// By its name.
        name: &'a Model,
    },
    /// The catalogue does not know it.
    Unknown,
}

impl<'a> Match<'a> {
    /// The model to compute with: where PCI identifiers and name disagree, the one with the larger TPP, so that an
    /// upper bound holds either way.
    #[must_use]
    pub fn model(&self) -> Option<&'a Model> {
        match *self {
            Self::Pci(model) | Self::Name(model) => Some(model),
            Self::Disagree { pci, name } => Some(if name.tpp() > pci.tpp() { name } else { pci }),
            Self::Unknown => None,
        }
    }
}

/// The models, and the digest of the bytes they were read from.
#[derive(Clone, Debug)]
pub struct Catalogue {
    models: Vec<Model>,
    version: CatalogueVersion,
    digest: Digest,
    signers: Vec<Digest>,
}

impl Catalogue {
    /// The catalogue that ships with this build.
    ///
    /// # Errors
    /// [`CatalogueError`]; a test reads it, so this cannot happen in a build that passed its tests.
    pub fn embedded() -> Result<Self, CatalogueError> {
        Self::parse(EMBEDDED)
    }

    /// Reads a catalogue: a line with its version, then CSV with a heading, with comments after `#`.
    ///
    /// # Errors
    /// [`CatalogueError`]. The text is untrusted.
    pub fn parse(text: &str) -> Result<Self, CatalogueError> {
        if text.len() > MAX_CATALOGUE {
            return Err(CatalogueError::TooLarge);
        }
        let first = text.lines().next().unwrap_or_default();
        let version = CatalogueVersion::parse_line(first)
            .ok_or_else(|| CatalogueError::Version { found: cut(first) })?;
        let mut reader = csv::ReaderBuilder::new()
            .comment(Some(b'#'))
            .from_reader(text.as_bytes());
        let heading = reader.headers()?.clone();
        check_heading(heading.iter())?;
        let mut models: Vec<Model> = Vec::new();
        for record in reader.records() {
            let record = record?;
            if models.len() >= MAX_MODELS {
                return Err(CatalogueError::TooMany);
            }
            if let Some(cell) = record.iter().find(|c| is_unsafe(c)) {
                return Err(CatalogueError::Unsafe {
                    line: record.position().map_or(0, csv::Position::line),
                    found: cut(cell),
                });
            }
            models.push(record.deserialize::<Row>(Some(&heading))?.model()?);
        }
        each_once(&models)?;
        Ok(Self {
            models,
            version,
            digest: sha256(text.as_bytes()),
            signers: Vec::new(),
        })
    }

    /// Opens a signed catalogue, which takes the place of the one that ships with this build: one of `keys` must have signed
    /// exactly its bytes, and it must not be older than that one.
    ///
    /// # Errors
    /// [`CatalogueError`]. The envelope is untrusted; the keys must come from whoever answers for this program.
    pub fn open(envelope: &str, keys: &[PublicKey]) -> Result<Self, CatalogueError> {
        let verified = dsse::verify(envelope, PAYLOAD_TYPE, keys).map_err(CatalogueError::Untrusted)?;
        let text = std::str::from_utf8(verified.payload()).map_err(|_| CatalogueError::Text)?;
        let found = Self {
            signers: verified.signers().to_vec(),
            ..Self::parse(text)?
        };
        let carried = Self::embedded()?;
        if found.version.serial < carried.version.serial {
            return Err(CatalogueError::Older {
                found: found.version,
                carried: carried.version,
            });
        }
        if found.version.serial == carried.version.serial && found.digest != carried.digest {
            return Err(CatalogueError::Ambiguous { found: found.version });
        }
        Ok(found)
    }

    /// SHA-256 of the catalogue's bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> CatalogueVersion {
        self.version
    }

    /// The identities of the trusted keys that signed it. None signed the one that ships with this build: it is as good as the
    /// build.
    #[must_use]
    pub fn signers(&self) -> &[Digest] {
        &self.signers
    }

    /// What it is called in a sentence: its version and its digest.
    #[must_use]
    pub fn label(&self) -> String {
        format!("catalogue {}, SHA-256 {}", self.version, self.digest)
    }

    /// The models, in the order of the file.
    #[must_use]
    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// The model of a device: by its board (vendor, device and subsystem) where a maker lists it, else by vendor and device, and
    /// only then by the name that its driver reports.
    ///
    /// Where vendor and device serve two models (MI250 and MI250X), the name decides; where it does not, it is the one with the
    /// larger TPP, so that an upper bound holds either way.
    #[must_use]
    pub fn find(&self, id: &PciId, name: &str) -> Match<'_> {
        let boards: Vec<&Model> = self.models.iter().filter(|m| m.boards.contains(id)).collect();
        let by_pci = if boards.is_empty() {
            let pair = (id.vendor, id.device);
            self.models.iter().filter(|m| m.pci.contains(&pair)).collect()
        } else {
            boards
        };
        if let Some(both) = by_pci.iter().find(|m| m.is_named(name)) {
            return Match::Pci(both);
        }
        let largest = by_pci
            .into_iter()
            .reduce(|a, b| if b.tpp() > a.tpp() { b } else { a });
        let by_name = self.models.iter().find(|m| m.is_named(name));
        match (largest, by_name) {
            (Some(pci), Some(name)) => Match::Disagree { pci, name },
            (Some(pci), None) => Match::Pci(pci),
            (None, Some(name)) => Match::Name(name),
            (None, None) => Match::Unknown,
        }
    }
}

/// That no two entries share a name or a board.
fn each_once(models: &[Model]) -> Result<(), CatalogueError> {
    let (mut names, mut boards) = (BTreeSet::new(), BTreeSet::new());
    for model in models {
        if !names.insert((&model.vendor, &model.name)) {
            return Err(CatalogueError::Twice {
                what: format!("the entry `{}`", cut(&model.name)),
            });
        }
        if let Some(board) = model.boards.iter().find(|b| !boards.insert(**b)) {
            return Err(CatalogueError::Twice {
                what: format!("the board {board}"),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "catalogue_tests.rs"]
mod tests;
