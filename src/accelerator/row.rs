//! One line of a catalogue's table, from text to figures.

use super::calibration::{Calibration, LeastYield};
use super::error::CatalogueError;
use super::export::{DieArea, Rates};
use super::model::{Confidence, MAX_DEVICES_PER_CARD, Model};
use crate::document::nearest;
use crate::id::PciId;
use serde::Deserialize;

/// The columns that a catalogue must have.
const REQUIRED: [&str; 24] = [
    "vendor",
    "model",
    "driver_reported_names",
    "architecture",
    "pci_device_ids",
    "pci_id_source",
    "datacenter_marketed",
    "fp64_matrix_tflops",
    "tf32_dense_tflops",
    "fp16_bf16_dense_tflops",
    "fp8_dense_tflops",
    "int8_dense_tops",
    "fp4_or_int4_dense_tops",
    "tpp",
    "die_area_mm2",
    "die_area_confidence",
    "memory_gb",
    "dram_bandwidth_gbs",
    "sm_or_cu_count",
    "spec_clock_mhz",
    "tdp_w",
    "eccn_current",
    "confidence",
    "notes",
];

/// The columns that it may have. One that is absent is empty in every line.
const OPTIONAL: [&str; 13] = [
    "pci_boards",
    "devices_per_card",
    "yield_typical_ppm",
    "yield_least_hmma_ppm",
    "yield_least_imma_ppm",
    "yield_least_dfma_ppm",
    "yield_most_ppm",
    "fp16_on_tensor",
    "idle_least_w",
    "energy_floor_aj",
    "calibration_source",
    "max_sm_clock_mhz",
    "cores_per_sm",
];

/// Checks the heading. A column that nobody knows may be a misspelt one, whose figures would silently not count.
///
/// # Errors
/// [`CatalogueError::Heading`].
pub(super) fn check_heading<'a>(
    heading: impl Iterator<Item = &'a str> + Clone,
) -> Result<(), CatalogueError> {
    let wrong = |what: String| Err(CatalogueError::Heading { what });
    let known = || REQUIRED.iter().chain(&OPTIONAL).copied();
    for column in heading.clone() {
        if !known().any(|k| k == column) {
            let shown = cut(column);
            return wrong(match nearest(column, known()) {
                Some(right) => format!("`{shown}` is no column of it: did you mean `{right}`?"),
                None => format!("`{shown}` is no column of it that this version knows"),
            });
        }
        if heading.clone().filter(|c| *c == column).count() > 1 {
            return wrong(format!("it has the column `{column}` twice"));
        }
    }
    match REQUIRED.iter().find(|r| !heading.clone().any(|c| c == **r)) {
        Some(missing) => wrong(format!("it has no column `{missing}`")),
        None => Ok(()),
    }
}

/// Whether a cell could be taken for a formula by the programs that people look at tables with, or holds what no one can see.
pub(super) fn is_unsafe(cell: &str) -> bool {
    cell.starts_with(['=', '+', '-', '@']) || cell.chars().any(char::is_control)
}

/// What stood there, cut to what a message can hold.
pub(super) fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(40).collect()
}

/// One line of the file, as text.
#[derive(Deserialize)]
pub(super) struct Row {
    vendor: String,
    model: String,
    driver_reported_names: String,
    architecture: String,
    pci_device_ids: String,
    #[serde(default)]
    pci_boards: String,
    pci_id_source: String,
    #[serde(default)]
    devices_per_card: String,
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
    #[serde(default)]
    max_sm_clock_mhz: String,
    #[serde(default)]
    cores_per_sm: String,
}

impl Row {
    pub(super) fn model(self) -> Result<Model, CatalogueError> {
        let cell = |column: &'static str, found: &str| CatalogueError::Cell {
            model: self.model.clone(),
            column,
            found: cut(found),
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
        // A clock of zero would make a bound of zero: what is not known is left empty.
        let clock = |column: &'static str, text: &str| match largest_u32(column, text)? {
            Some(0) => Err(cell(column, text)),
            found => Ok(found),
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
        let devices_per_card = match self.devices_per_card.as_str() {
            "" => 1,
            stated => stated
                .parse()
                .ok()
                .filter(|n| (1..=MAX_DEVICES_PER_CARD).contains(n))
                .ok_or_else(|| cell("devices_per_card", stated))?,
        };
        Ok(Model {
            driver_names: entries(&self.driver_reported_names).map(str::to_owned).collect(),
            pci: entries(&self.pci_device_ids)
                // A maker's number alone says of no device what it is.
                .filter(|t| four_digits(t).is_none())
                .map(|t| pci_pair(t).ok_or_else(|| cell("pci_device_ids", t)))
                .collect::<Result<_, _>>()?,
            boards: entries(&self.pci_boards)
                .map(|t| board(t).ok_or_else(|| cell("pci_boards", t)))
                .collect::<Result<_, _>>()?,
            devices_per_card,
            datacenter,
            rates,
            die_area: number("die_area_mm2", &self.die_area_mm2, 1)?.map(DieArea),
            memory_gb: list("memory_gb", &self.memory_gb)?,
            dram_bandwidth_gbs: list("dram_bandwidth_gbs", &self.dram_bandwidth_gbs)?
                .into_iter()
                .max(),
            sm_count: largest_u32("sm_or_cu_count", &self.sm_or_cu_count)?,
            tensor_clock_mhz: clock("spec_clock_mhz", &self.spec_clock_mhz)?,
            max_sm_clock_mhz: clock("max_sm_clock_mhz", &self.max_sm_clock_mhz)?,
            cores_per_sm: largest_u32("cores_per_sm", &self.cores_per_sm)?,
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
        if found.most == Some(0) {
            return Err(("yield_most_ppm", self.yield_most_ppm.clone()));
        }
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

/// The parts of a cell that holds several.
fn entries(cell: &str) -> impl Iterator<Item = &str> {
    cell.split(';').filter(|part| !part.is_empty())
}

/// `10de:2330`, with a remark in parentheses after it at most.
fn pci_pair(text: &str) -> Option<(u16, u16)> {
    let bare = match text.split_once('(') {
        Some((bare, remark)) if remark.ends_with(')') => bare,
        Some(_) => return None,
        None => text,
    };
    let (vendor, device) = bare.split_once(':')?;
    Some((four_digits(vendor)?, four_digits(device)?))
}

/// `10de:2335:10de:18bf`: vendor, device, subsystem vendor and subsystem.
fn board(text: &str) -> Option<PciId> {
    let mut parts = text.split(':').map(four_digits);
    let id = PciId {
        vendor: parts.next()??,
        device: parts.next()??,
        subsystem_vendor: parts.next()??,
        subsystem_device: parts.next()??,
    };
    parts.next().is_none().then_some(id)
}

/// Four hexadecimal digits, as every list of PCI identifiers writes them.
fn four_digits(text: &str) -> Option<u16> {
    let hex = text.len() == 4 && text.bytes().all(|b| b.is_ascii_hexdigit());
    u16::from_str_radix(text, 16).ok().filter(|_| hex)
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
