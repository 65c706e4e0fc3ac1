//! Models of accelerators: who they are, what they can deliver at most, and their export class.
//!
//! Decides: which model of the catalogue a device is, its Total Processing Performance (TPP), performance density and
//! class under ECCN 3A090; how many devices one card shows itself as; which signed catalogue may take the place of the one that
//! a build carries. Trusts the catalogue's figures, each of which names its source and how sure it is, and the keys that it is
//! given. Does not establish that a device is what its PCI identifiers and name say: those are `driver-reported`. A class here
//! is arithmetic, not a ruling.
//!
//! Entry points: [`Catalogue::embedded`], [`Catalogue::parse`], [`Catalogue::open`], [`Catalogue::find`],
//! [`Catalogue::digest`], [`Rates::tpp`], [`performance_density`], [`ExportLines::class`].

mod calibration;
mod catalogue;
mod error;
mod export;
mod model;
mod row;
mod version;

pub use calibration::{Calibration, LeastYield};
pub use catalogue::{Catalogue, Match, PAYLOAD_TYPE};
pub use error::{CatalogueError, MAX_CATALOGUE};
pub use export::{
    DieArea, ECCN_3A090_2023, ExportClass, ExportLines, MilliDensity, Rates, performance_density,
};
pub use model::{Confidence, Model};
pub use version::CatalogueVersion;
