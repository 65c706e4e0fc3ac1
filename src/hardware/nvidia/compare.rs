//! A device's measurements held against what its maker published.
//!
//! Decides: which manifests are for a device, and which of its measurements are not as they demand. Trusts manifests whose signature was
//! checked. Does not establish what runs instead, where a measurement differs.

use super::appraise::{Appraisal, Collateral, Compared, Kind, Mismatch, Terms};
use super::chain::DeviceChain;
use super::rim::Rim;
use super::spdm::Report;
use crate::hardware::{Step, told};
use std::collections::BTreeMap;

/// The measurement of the first video decoder's firmware, which is not taken where that decoder is off.
const NVDEC0: u8 = 35;

/// The product that a manifest for this device names.
pub(super) fn product(report: &Report, device: Option<&DeviceChain>) -> Option<String> {
    match (device?.chip()?, report.opaque.chip()) {
        ("LS_10", _) => Some("LS10".to_owned()),
        // The chain names the family, the report the chip; it must be one of that family.
        ("GB20X", Some(chip)) => chip.starts_with("GB20").then(|| chip.to_owned()),
        (chip, Some(said)) => (chip == said).then(|| said.to_owned()),
        (chip, None) => Some(chip.to_owned()),
    }
}

/// The names under which NVIDIA publishes the manifests for what the report says of itself.
pub(super) fn rim_ids(report: &Report, chip: Option<&str>) -> Vec<String> {
    let said = &report.opaque;
    let (Some(chip), Some(vbios)) = (chip, said.vbios()) else {
        return Vec::new();
    };
    let undotted = vbios.replace('.', "").to_ascii_uppercase();
    if said.is_switch() {
        return vec![format!("NV_SWITCH_BIOS_5612_0002_890_{undotted}")];
    }
    let driver = said.driver().map(|driver| match chip {
        "GH100" => format!("NV_GPU_DRIVER_GH100_{driver}"),
        _ => format!("NV_GPU_CC_DRIVER_{chip}_{driver}"),
    });
    let vbios = said.board().map(|(project, sku, chip)| {
        format!(
            "NV_GPU_VBIOS_{}_{sku}_{chip}_{undotted}",
            project.to_ascii_uppercase()
        )
    });
    driver.into_iter().chain(vbios).collect()
}

/// Whether a manifest of this product and version may be published under a name. A service that is asked by one name may answer with a
/// manifest of another: authentic, and not for the device that was asked for.
#[must_use]
pub fn rim_id_fits(id: &str, product: &str, version: &str) -> bool {
    let ends = |text: &str| id.strip_suffix(text).is_some_and(|rest| rest.ends_with('_'));
    let undotted = version.replace('.', "").to_ascii_uppercase();
    let of_driver = [
        format!("NV_GPU_DRIVER_{product}_{version}"),
        format!("NV_GPU_CC_DRIVER_{product}_{version}"),
    ];
    match () {
        () if id.starts_with("NV_SWITCH_BIOS_") => product == "LS10" && ends(&undotted),
        // The name is that of a board; which chip stands on it, it does not say.
        () if id.starts_with("NV_GPU_VBIOS_") => product != "LS10" && ends(&undotted),
        () => of_driver.iter().any(|name| name == id),
    }
}

/// The manifests that are authentic and for this device, with their files; what is to be said of the others goes into the step.
pub(super) fn manifests<'a>(
    collateral: &Collateral<'a>,
    terms: &Terms,
    result: &mut Appraisal,
) -> Vec<(Kind, &'a str, &'a Rim)> {
    let (mut usable, mut wrong) = (Vec::new(), Vec::new());
    for presented in &collateral.rims {
        let name = &presented.name;
        let rim = match &presented.content {
            Ok(rim) => rim,
            Err(error) => {
                wrong.push(format!("{name}: {}", told(error)));
                continue;
            }
        };
        let Some(kind) = result.part_of(rim) else {
            let named =
                |text: &Option<String>| text.clone().unwrap_or_else(|| "that is not known".to_owned());
            wrong.push(if result.product.as_deref() == Some(rim.product()) {
                format!(
                    "{name} is for version {}; the device runs driver {} and VBIOS or BIOS {}",
                    rim.version(),
                    named(&result.driver),
                    named(&result.vbios)
                )
            } else {
                format!(
                    "{name} is for {}, and the device is {}",
                    rim.product(),
                    named(&result.product)
                )
            });
            continue;
        };
        if let Err(error) = rim.holds_at(terms.at) {
            wrong.push(format!("{name} is authentic, but {error}"));
        }
        usable.push((kind, name.as_str(), rim));
    }
    result.rim = match (collateral.rims.is_empty(), wrong.is_empty()) {
        (true, _) => Step::NotChecked("no reference manifest was presented".to_owned()),
        (_, true) => Step::Pass,
        _ => Step::Fail(wrong.join("; ")),
    };
    usable
}

/// Compares the measurements. Of several issues of one manifest the one that fits best counts, since each of them is authentic.
pub(super) fn compare(report: &Report, usable: &[(Kind, &str, &Rim)], result: &mut Appraisal) {
    let mut best: BTreeMap<Kind, (&str, &Rim, Vec<Mismatch>)> = BTreeMap::new();
    for (kind, file, rim) in usable {
        let found = mismatches(report, *kind, rim);
        match best.get(kind) {
            Some((_, _, least)) if least.len() <= found.len() => {}
            _ => {
                best.insert(*kind, (file, rim, found));
            }
        }
    }
    if best.is_empty() {
        let presented = if matches!(result.rim, Step::NotChecked(_)) {
            "presented"
        } else {
            "presented that is authentic and for this device"
        };
        result.measurements = Step::NotChecked(format!("no manifest was {presented}"));
        return;
    }
    let mut demanded: BTreeMap<u8, Kind> = BTreeMap::new();
    let mut conflicts = Vec::new();
    for (kind, (_, rim, _)) in &best {
        for index in rim.measurements().keys() {
            if demanded.insert(*index, *kind).is_some() {
                conflicts.push(index.to_string());
            }
        }
    }
    for (kind, (file, rim, found)) in best {
        result.compared.push(Compared {
            kind,
            file: file.to_owned(),
            sha256: rim.digest(),
            measurements: rim.measurements().len(),
        });
        result.mismatches.extend(found);
    }
    result.mismatches.sort_by_key(|m| m.index);
    result.measurements = if !conflicts.is_empty() {
        Step::Fail(format!(
            "the manifests of driver and VBIOS both demand measurement {}",
            conflicts.join(", ")
        ))
    } else if result.mismatches.is_empty() {
        Step::Pass
    } else {
        let differing: Vec<_> = result.mismatches.iter().map(|m| m.index.to_string()).collect();
        Step::Fail(format!(
            "measurement {} is not what the manifest demands",
            differing.join(", ")
        ))
    };
}

fn mismatches(report: &Report, kind: Kind, rim: &Rim) -> Vec<Mismatch> {
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
    rim.measurements()
        .iter()
        .filter(|(index, _)| !(**index == NVDEC0 && report.opaque.nvdec0_disabled()))
        .filter_map(|(index, alternatives)| {
            let found = report.measurement(*index).map(|b| b.value.as_slice());
            if found.is_some_and(|f| alternatives.iter().any(|a| a.as_slice() == f)) {
                return None;
            }
            Some(Mismatch {
                index: *index,
                expected: alternatives.iter().map(|a| hex(a)).collect(),
                found: found.map(hex),
                source: kind,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_fits_the_product_and_version_in_it_alone() {
        for (id, product, version, fits) in [
            ("NV_GPU_DRIVER_GH100_550.90.07", "GH100", "550.90.07", true),
            ("NV_GPU_DRIVER_GH100_550.90.07", "GH100", "550.90.08", false),
            ("NV_GPU_DRIVER_GH100_550.90.07", "GB100", "550.90.07", false),
            ("NV_GPU_CC_DRIVER_GB100_575.32", "GB100", "575.32", true),
            (
                "NV_GPU_VBIOS_1010_0200_882_96009F0001",
                "GH100",
                "96.00.9f.00.01",
                true,
            ),
            (
                "NV_GPU_VBIOS_1010_0200_882_96009F0001",
                "GH100",
                "96.00.9F.00.02",
                false,
            ),
            (
                "NV_GPU_VBIOS_1010_0200_882_96009F0001",
                "GH100",
                "9F.00.01",
                false,
            ),
            (
                "NV_SWITCH_BIOS_5612_0002_890_9610550001",
                "LS10",
                "96.10.55.00.01",
                true,
            ),
            (
                "NV_SWITCH_BIOS_5612_0002_890_9610550001",
                "GH100",
                "96.10.55.00.01",
                false,
            ),
            ("NV_NIC_FIRMWARE_CX7_28.39.4082", "CX7", "28.39.4082", false),
        ] {
            assert_eq!(
                rim_id_fits(id, product, version),
                fits,
                "{id} {product} {version}"
            );
        }
    }
}
