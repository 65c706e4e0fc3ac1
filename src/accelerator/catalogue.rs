//! The catalogue: one entry for each model, and how a device is matched to one.

use super::calibration::{Calibration, LeastYield};
use super::export::{
    DieArea, ECCN_3A090_2023, ExportClass, ExportLines, MilliDensity, Rates, performance_density,
};
use crate::crypto::sha256;
use crate::id::{Digest, PciId};
use crate::unit::Tpp;
use serde::{Deserialize, Serialize};

/// The entries that ship with this build.
const EMBEDDED: &str = include_str!("catalogue.csv");

/// The most entries that a catalogue may hold; there are fewer than a hundred data-centre parts.
const MAX_MODELS: usize = 4_096;

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
    /// PCI vendor and device identifiers.
    pub pci: Vec<(u16, u16)>,
    /// Where the PCI identifiers are from.
    pub pci_source: String,
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
    /// The clock at which its peak rates hold, in megahertz. On Hopper this is the tensor clock, below the SM boost.
    pub tensor_clock_mhz: Option<u32>,
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
    /// Total Processing Performance; `None` where its rates are not public.
    #[must_use]
    pub fn tpp(&self) -> Option<Tpp> {
        self.rates.tpp()
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

    /// Whether a licence calls it by this name: the catalogue's, with or without its maker, or one that its driver reports.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        let bare = name
            .strip_prefix(&self.vendor)
            .map_or(name, |rest| rest.trim_start());
        self.name.eq_ignore_ascii_case(bare) || self.is_named(name)
    }

    fn is_named(&self, name: &str) -> bool {
        self.driver_names.iter().any(|n| n.eq_ignore_ascii_case(name)) || self.name.eq_ignore_ascii_case(name)
    }
}

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

/// Why a catalogue could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogueError {
    /// It is not the CSV that it should be.
    #[error("the catalogue of accelerators is not the table that it should be")]
    Csv(#[from] csv::Error),
    /// A cell does not hold what its column says.
    #[error("`{model}` in the catalogue of accelerators has `{found}` for {column}")]
    Cell {
        /// The entry.
        model: String,
        /// The column.
        column: &'static str,
        /// What stood there, cut to 40 characters.
        found: String,
    },
    /// Its `tpp` column is not what its rates give.
    #[error(
        "`{model}` in the catalogue of accelerators states a TPP of {stated}, but its rates give {computed}"
    )]
    Tpp {
        /// The entry.
        model: String,
        /// The column.
        stated: u64,
        /// Rate times bit length.
        computed: u64,
    },
    /// More entries than there are models in the world.
    #[error("the catalogue of accelerators holds more than {MAX_MODELS} entries")]
    TooMany,
}

/// The models, and the digest of the bytes they were read from.
#[derive(Clone, Debug)]
pub struct Catalogue {
    models: Vec<Model>,
    digest: Digest,
}

impl Catalogue {
    /// The catalogue that ships with this build.
    ///
    /// # Errors
    /// [`CatalogueError`]; a test reads it, so this cannot happen in a build that passed its tests.
    pub fn embedded() -> Result<Self, CatalogueError> {
        Self::parse(EMBEDDED)
    }

    /// Reads a catalogue: CSV with a heading, comments after `#`.
    ///
    /// # Errors
    /// [`CatalogueError`]. The text is untrusted; the caller bounds its size.
    pub fn parse(text: &str) -> Result<Self, CatalogueError> {
        let mut reader = csv::ReaderBuilder::new()
            .comment(Some(b'#'))
            .from_reader(text.as_bytes());
        let mut models = Vec::new();
        for row in reader.deserialize::<Row>() {
            if models.len() >= MAX_MODELS {
                return Err(CatalogueError::TooMany);
            }
            models.push(row?.model()?);
        }
        Ok(Self {
            models,
            digest: sha256(text.as_bytes()),
        })
    }

    /// SHA-256 of the catalogue's bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The models, in the order of the file.
    #[must_use]
    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// The model of a device: PCI identifiers first, then the name that its driver reports.
    #[must_use]
    pub fn find(&self, id: &PciId, name: &str) -> Match<'_> {
        let mut by_pci = self
            .models
            .iter()
            .filter(|m| m.pci.contains(&(id.vendor, id.device)));
        let first = by_pci.clone().next();
        // Some identifiers serve two models (MI250 and MI250X): there the name decides.
        if let Some(both) = by_pci.find(|m| m.is_named(name)) {
            return Match::Pci(both);
        }
        let by_name = self.models.iter().find(|m| m.is_named(name));
        match (first, by_name) {
            (Some(pci), Some(name)) => Match::Disagree { pci, name },
            (Some(pci), None) => Match::Pci(pci),
            (None, Some(name)) => Match::Name(name),
            (None, None) => Match::Unknown,
        }
    }
}

/// One line of the file, as text.
#[derive(Deserialize)]
struct Row {
    vendor: String,
    model: String,
    driver_reported_names: String,
    architecture: String,
    pci_device_ids: String,
    pci_id_source: String,
    datacenter_marketed: String,
    fp64_matrix_tflops: String,
    tf32_dense_tflops: String,
    fp16_bf16_dense_tflops: String,
    fp8_dense_tflops: String,
    int8_dense_tops: String,
    fp4_or_int4_dense_tops: String,
    tpp: String,
    die_area_mm2: String,
    die_area_confidence: String,
    memory_gb: String,
    dram_bandwidth_gbs: String,
    sm_or_cu_count: String,
    spec_clock_mhz: String,
    tdp_w: String,
    eccn_current: String,
    confidence: Confidence,
    notes: String,
    #[serde(default)]
    yield_typical_ppm: String,
    #[serde(default)]
    yield_least_hmma_ppm: String,
    #[serde(default)]
    yield_least_imma_ppm: String,
    #[serde(default)]
    yield_least_dfma_ppm: String,
    #[serde(default)]
    yield_most_ppm: String,
    #[serde(default)]
    fp16_on_tensor: String,
    #[serde(default)]
    idle_least_w: String,
    #[serde(default)]
    energy_floor_aj: String,
    #[serde(default)]
    calibration_source: String,
}

impl Row {
    fn model(self) -> Result<Model, CatalogueError> {
        let cell = |column: &'static str, found: &str| CatalogueError::Cell {
            model: self.model.clone(),
            column,
            found: found.chars().take(40).collect(),
        };
        let number = |column: &'static str, text: &str, decimals: u32| {
            fixed_point(text, decimals).map_err(|()| cell(column, text))
        };
        let list = |column: &'static str, text: &str| {
            text.split('/')
                .filter(|t| !t.is_empty())
                .map(|t| t.trim().parse::<u64>().map_err(|_| cell(column, text)))
                .collect::<Result<Vec<u64>, _>>()
        };
        let largest_u32 = |column: &'static str, text: &str| {
            list(column, text)?
                .into_iter()
                .max()
                .map(|n| u32::try_from(n).map_err(|_| cell(column, text)))
                .transpose()
        };
        let rates = Rates {
            fp64_matrix: number("fp64_matrix_tflops", &self.fp64_matrix_tflops, 3)?,
            tf32: number("tf32_dense_tflops", &self.tf32_dense_tflops, 3)?,
            fp16: number("fp16_bf16_dense_tflops", &self.fp16_bf16_dense_tflops, 3)?,
            fp8: number("fp8_dense_tflops", &self.fp8_dense_tflops, 3)?,
            int8: number("int8_dense_tops", &self.int8_dense_tops, 3)?,
            fp4: number("fp4_or_int4_dense_tops", &self.fp4_or_int4_dense_tops, 3)?,
        };
        let stated = number("tpp", &self.tpp, 0)?;
        if stated != rates.tpp().map(|t| t.0) {
            return Err(CatalogueError::Tpp {
                stated: stated.unwrap_or(0),
                computed: rates.tpp().map_or(0, |t| t.0),
                model: self.model,
            });
        }
        let calibration = self.calibration().map_err(|(column, text)| cell(column, &text))?;
        let datacenter = match self.datacenter_marketed.as_str() {
            "y" => true,
            "n" => false,
            other => return Err(cell("datacenter_marketed", other)),
        };
        Ok(Model {
            driver_names: self
                .driver_reported_names
                .split(';')
                .filter(|n| !n.is_empty())
                .map(str::to_owned)
                .collect(),
            pci: self
                .pci_device_ids
                .split(';')
                .filter(|t| t.contains(':'))
                .map(|t| pci_pair(t).ok_or_else(|| cell("pci_device_ids", t)))
                .collect::<Result<_, _>>()?,
            datacenter,
            rates,
            die_area: number("die_area_mm2", &self.die_area_mm2, 1)?.map(DieArea),
            memory_gb: list("memory_gb", &self.memory_gb)?,
            dram_bandwidth_gbs: list("dram_bandwidth_gbs", &self.dram_bandwidth_gbs)?
                .into_iter()
                .max(),
            sm_count: largest_u32("sm_or_cu_count", &self.sm_or_cu_count)?,
            tensor_clock_mhz: largest_u32("spec_clock_mhz", &self.spec_clock_mhz)?,
            tdp_w: largest_u32("tdp_w", &self.tdp_w)?,
            calibration,
            vendor: self.vendor,
            name: self.model,
            architecture: self.architecture,
            pci_source: self.pci_id_source,
            die_area_confidence: self.die_area_confidence,
            eccn_stated: self.eccn_current,
            confidence: self.confidence,
            notes: self.notes,
        })
    }
}

impl Row {
    /// The columns of calibration, or the one that is wrong and what it holds.
    fn calibration(&self) -> Result<Calibration, (&'static str, String)> {
        let number = |column: &'static str, text: &str, most: u64| match fixed_point(text, 0) {
            Ok(None) => Ok(None),
            Ok(Some(value)) if value <= most => Ok(Some(value)),
            _ => Err((column, text.to_owned())),
        };
        let share = |column, text: &str| {
            let found = number(column, text, Calibration::MOST_YIELD.into())?;
            Ok(found.and_then(|n| u32::try_from(n).ok()))
        };
        let least = [
            share("yield_least_hmma_ppm", &self.yield_least_hmma_ppm)?,
            share("yield_least_imma_ppm", &self.yield_least_imma_ppm)?,
            share("yield_least_dfma_ppm", &self.yield_least_dfma_ppm)?,
        ];
        let found = Calibration {
            typical: share("yield_typical_ppm", &self.yield_typical_ppm)?,
            least: match least {
                [Some(hmma), Some(imma), Some(dfma)] => Some(LeastYield { hmma, imma, dfma }),
                [None, None, None] => None,
                _ => return Err(("yield_least_hmma_ppm", self.yield_least_hmma_ppm.clone())),
            },
            most: share("yield_most_ppm", &self.yield_most_ppm)?,
            fp16_on_tensor: match self.fp16_on_tensor.as_str() {
                "y" => true,
                "" | "n" => false,
                other => return Err(("fp16_on_tensor", other.to_owned())),
            },
            idle_least_w: number("idle_least_w", &self.idle_least_w, 10_000)?,
            energy_floor_aj: number("energy_floor_aj", &self.energy_floor_aj, 1_000_000_000)?
                .filter(|n| *n > 0),
            source: self.calibration_source.clone(),
        };
        // A typical yield outside its own bounds, or bounds the wrong way round, would invert an interval.
        let most = found.most.unwrap_or(Calibration::MOST_YIELD);
        let largest = found.least.map_or(0, |l| l.hmma.max(l.imma));
        let ordered = largest <= most
            && found.least.is_none_or(|l| l.dfma <= most)
            && found.typical.is_none_or(|t| (largest..=most).contains(&t));
        if ordered {
            Ok(found)
        } else {
            Err(("yield_typical_ppm", self.yield_typical_ppm.clone()))
        }
    }
}

/// `10de:2330`, with a remark in parentheses after it at most.
fn pci_pair(text: &str) -> Option<(u16, u16)> {
    let bare = text.split('(').next()?;
    let (vendor, device) = bare.split_once(':')?;
    Some((
        u16::from_str_radix(vendor, 16).ok()?,
        u16::from_str_radix(device, 16).ok()?,
    ))
}

/// A decimal number as an integer of `decimals` places; empty is `None`.
fn fixed_point(text: &str, decimals: u32) -> Result<Option<u64>, ()> {
    if text.is_empty() {
        return Ok(None);
    }
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let places = u32::try_from(part.len()).map_err(drop)?;
    let missing = decimals.checked_sub(places).ok_or(())?;
    let digits = format!("{whole}{part}");
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(());
    }
    let value: u64 = digits.parse().map_err(drop)?;
    let scale = 10u64.checked_pow(missing).ok_or(())?;
    value.checked_mul(scale).map(Some).ok_or(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nvidia(device: u16) -> PciId {
        PciId {
            vendor: 0x10de,
            device,
            ..PciId::default()
        }
    }

    #[test]
    fn the_embedded_catalogue_reads_and_its_classes_follow_from_its_figures() {
        let catalogue = Catalogue::embedded().unwrap();
        assert!(catalogue.models().len() > 60);
        for m in catalogue.models() {
            let stated = &m.eccn_stated;
            match m.export_class_now() {
                ExportClass::A => assert!(stated.starts_with("3A090.a"), "{}: {stated}", m.name),
                ExportClass::B => assert!(stated.starts_with("3A090.b"), "{}: {stated}", m.name),
                ExportClass::Neither => assert!(stated.starts_with("not 3A090"), "{}: {stated}", m.name),
                ExportClass::Undetermined => assert!(stated.starts_with("unknown"), "{}: {stated}", m.name),
            }
        }
    }

    #[test]
    fn the_constant_of_hopper_is_65536_bit_operations_per_clock() {
        let catalogue = Catalogue::embedded().unwrap();
        for (device, constant) in [(0x20b2, 32_768u64), (0x2330, 65_536), (0x2335, 65_536)] {
            let model = catalogue.find(&nvidia(device), "").model().unwrap();
            let found = model.bit_operations_per_clock().unwrap();
            assert!(
                found.abs_diff(constant) * 1_000 < constant * 2,
                "{}: {found}",
                model.name
            );
        }
        let h100 = catalogue.find(&nvidia(0x2330), "").model().unwrap();
        assert_eq!(
            (h100.tpp(), h100.tensor_clock_mhz),
            (Some(Tpp(15_832)), Some(1_830))
        );
        assert_eq!(h100.rates.narrowest_bits(), Some(8));
    }

    #[test]
    fn pci_identifiers_come_first_and_a_disagreement_is_its_own_outcome() {
        let c = Catalogue::embedded().unwrap();
        let named = |m: Match<'_>| m.model().map(|m| m.name.clone());
        assert!(matches!(
            c.find(&nvidia(0x2330), "NVIDIA H100 80GB HBM3"),
            Match::Pci(_)
        ));
        // A name that the catalogue has never heard does not speak against the identifiers.
        assert!(matches!(
            c.find(&nvidia(0x2330), "NVIDIA Something"),
            Match::Pci(_)
        ));
        assert!(matches!(c.find(&nvidia(0xffff), "NVIDIA H200"), Match::Name(_)));
        let swapped = c.find(&nvidia(0x2329), "NVIDIA H200");
        assert!(matches!(swapped, Match::Disagree { .. }));
        assert_eq!(named(swapped).as_deref(), Some("H200 SXM"));
        assert_eq!(c.find(&nvidia(0xffff), "NVIDIA Something"), Match::Unknown);
        let amd = PciId {
            vendor: 0x1002,
            device: 0x740c,
            ..PciId::default()
        };
        assert_eq!(
            named(c.find(&amd, "AMD Instinct MI250X")).as_deref(),
            Some("Instinct MI250X")
        );
        assert_eq!(
            named(c.find(&amd, "AMD Instinct MI250")).as_deref(),
            Some("Instinct MI250")
        );
    }

    #[test]
    fn an_entry_whose_tpp_is_not_its_own_is_refused_by_name() {
        let forged = EMBEDDED.replace(",15832,814,", ",15000,814,");
        let error = Catalogue::parse(&forged).unwrap_err().to_string();
        assert!(
            error.contains("H100 SXM5 80GB") && error.contains("15000"),
            "{error}"
        );
        assert!(Catalogue::parse("vendor,model\nx").is_err());
    }
}
