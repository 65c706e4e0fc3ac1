//! One model of accelerator: its figures, and what follows from them.

use super::calibration::Calibration;
use super::export::{
    DieArea, ECCN_3A090_2023, ExportClass, ExportLines, MilliDensity, Rates, performance_density,
};
use crate::id::PciId;
use crate::unit::Tpp;
use serde::{Deserialize, Serialize};

/// The most devices as which one card shows itself. No accelerator of a data centre has had more than four since 2014.
pub(super) const MAX_DEVICES_PER_CARD: u32 = 8;

/// How sure an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// Partly estimated.
    Low,
    /// From the press or from one source.
    Medium,
    /// From the maker's own documents.
    High,
}

/// One model of accelerator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Model {
    /// The maker.
    pub vendor: String,
    /// The name that this catalogue gives it.
    pub name: String,
    /// Names that its driver reports.
    pub driver_names: Vec<String>,
    /// Architecture.
    pub architecture: String,
    /// PCI vendor and device identifiers. A device with these is this model whatever its subsystem, unless that makes it a
    /// board of another.
    pub pci: Vec<(u16, u16)>,
    /// Boards that the maker itself lists for the model, by vendor, device and subsystem. They come before any match of
    /// vendor and device alone. A list is never whole: makers of servers give their boards numbers of their own.
    pub boards: Vec<PciId>,
    /// Where the PCI identifiers are from.
    pub pci_source: String,
    /// As how many devices one card shows itself to its driver and on the bus. A package of two dies behind one PCI function
    /// is one device (B200, GB300, Gaudi 3); one whose dies have a function each is two (MI250X, Ascend 910C). All figures of
    /// this entry are those of the whole card. Where it is not known it is 1, and each device counts as a card.
    pub devices_per_card: u32,
    /// Whether it is designed or marketed for data centres (Note 2 to 3A090).
    pub datacenter: bool,
    /// Dense peak rates.
    pub rates: Rates,
    /// Area of its logic dies.
    pub die_area: Option<DieArea>,
    /// How sure the area is.
    pub die_area_confidence: String,
    /// Memory sizes it is sold with, in gigabytes.
    pub memory_gb: Vec<u64>,
    /// Memory bandwidth, in gigabytes per second; the larger where it is sold with two.
    pub dram_bandwidth_gbs: Option<u64>,
    /// Streaming multiprocessors or compute units.
    pub sm_count: Option<u32>,
    /// FP32 lanes of an SM, which NVML counts as cores; `None` where nobody looked them up.
    pub cores_per_sm: Option<u32>,
    /// The clock at which its peak rates hold, in megahertz. On Hopper this is the tensor clock, below the SM boost.
    pub tensor_clock_mhz: Option<u32>,
    /// The highest SM clock that its driver reports, in megahertz; `None` where no source is sure.
    pub max_sm_clock_mhz: Option<u32>,
    /// Thermal design power, in watts; the larger where it is sold with two.
    pub tdp_w: Option<u32>,
    /// Its class as published sources have it, for people to compare.
    pub eccn_stated: String,
    /// What its counters are worth, as it was measured.
    pub calibration: Calibration,
    /// How sure the entry is.
    pub confidence: Confidence,
    /// What is odd about it.
    pub notes: String,
}

impl Model {
    /// Total Processing Performance of one card; `None` where its rates are not public.
    #[must_use]
    pub fn tpp(&self) -> Option<Tpp> {
        self.rates.tpp()
    }

    /// Total Processing Performance of one device as its driver lists it: the card's, or its part of the card's, rounded up.
    /// `None` where the rates are not public.
    #[must_use]
    pub fn device_tpp(&self) -> Option<Tpp> {
        Some(Tpp(self.per_device(self.tpp()?.0)))
    }

    /// The part of a card's figure that falls to one device, rounded up.
    #[must_use]
    pub fn per_device(&self, card: u64) -> u64 {
        card.div_ceil(u64::from(self.devices_per_card.max(1)))
    }

    /// The least number of cards that show themselves as so many devices. A part of a card is a card.
    #[must_use]
    pub fn cards(&self, devices: u64) -> u64 {
        devices.div_ceil(u64::from(self.devices_per_card.max(1)))
    }

    /// Performance density; `None` where a figure is missing.
    #[must_use]
    pub fn density(&self) -> Option<MilliDensity> {
        performance_density(self.tpp()?, self.die_area?)
    }

    /// Its class under `lines`.
    #[must_use]
    pub fn export_class(&self, lines: &ExportLines) -> ExportClass {
        lines.class(self.tpp(), self.density(), self.datacenter)
    }

    /// Its class under the lines in force since November 2023.
    #[must_use]
    pub fn export_class_now(&self) -> ExportClass {
        self.export_class(&ECCN_3A090_2023)
    }

    /// Bit-operations per clock and SM on the tensor pipes: the constant that every tensor format of a part shares
    /// (65,536 on Hopper). `None` where a figure is missing.
    #[must_use]
    pub fn bit_operations_per_clock(&self) -> Option<u64> {
        let per_second = u128::from(self.tpp()?.0).saturating_mul(1_000_000_000_000);
        let hertz = u128::from(self.tensor_clock_mhz?).saturating_mul(1_000_000);
        let clocks = hertz.saturating_mul(u128::from(self.sm_count?));
        u64::try_from(per_second.checked_div(clocks)?).ok()
    }

    /// FP32 lanes of a card, which NVML counts as cores; `None` where a figure is missing.
    #[must_use]
    pub fn cores(&self) -> Option<u64> {
        Some(u64::from(self.sm_count?).saturating_mul(self.cores_per_sm?.into()))
    }

    /// Whether a licence calls it by this name: the catalogue's, with or without its maker, or one that its driver reports.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        let bare = name
            .strip_prefix(&self.vendor)
            .map_or(name, |rest| rest.trim_start());
        self.name.eq_ignore_ascii_case(bare) || self.is_named(name)
    }

    pub(super) fn is_named(&self, name: &str) -> bool {
        self.driver_names.iter().any(|n| n.eq_ignore_ascii_case(name)) || self.name.eq_ignore_ascii_case(name)
    }
}
