//! One device's result, for people and for machines.

use super::Setting;
use crate::command::{CommandError, Format};
use serde_json::{Value, json};
use std::io::Write;
use weighbridge::hardware::nvidia::Appraisal;

/// Shows the result.
pub(super) fn show(
    name: &str,
    appraisal: &Appraisal,
    good: bool,
    setting: &Setting,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    match setting.format {
        Format::Json => writeln!(out, "{:#}", machine(name, appraisal, good, setting)?)?,
        Format::Text => {
            person(name, appraisal, out)?;
            closing(good, setting, out)?;
        }
    }
    Ok(())
}

/// The result as JSON.
pub(super) fn machine(
    name: &str,
    appraisal: &Appraisal,
    good: bool,
    setting: &Setting,
) -> Result<Value, CommandError> {
    let mut value = serde_json::to_value(appraisal)?;
    if let Some(object) = value.as_object_mut() {
        object.insert("file".to_owned(), json!(name));
        object.insert("holds".to_owned(), json!(good));
        object.insert("root_from".to_owned(), json!(setting.root_from));
        object.insert("rim_root".to_owned(), json!(setting.rim_root));
        object.insert("rim_root_from".to_owned(), json!(setting.rim_root_from));
    }
    Ok(value)
}

/// The result in a few lines.
pub(super) fn person(name: &str, appraisal: &Appraisal, out: &mut dyn Write) -> Result<(), CommandError> {
    let said = |what: &str, value: Option<&str>| value.map(|v| format!("{what}{v}"));
    let about: Vec<String> = [
        said("", appraisal.arch.map(|a| a.text())),
        said("mode ", appraisal.mode),
        said("driver ", appraisal.driver.as_deref()),
        said("VBIOS or BIOS ", appraisal.vbios.as_deref()),
    ]
    .into_iter()
    .flatten()
    .collect();
    writeln!(out, "{name}: {}", about.join(", "))?;
    if let (Some(device), Some(pdi)) = (&appraisal.device_id, &appraisal.pdi) {
        writeln!(out, "device {device}, which switches and driver call {pdi}")?;
    }
    for (step, outcome) in appraisal.steps() {
        let why = outcome.why().unwrap_or_default();
        writeln!(
            out,
            "{}",
            format!(" {:<12} {step:<13} {why}", outcome.word()).trim_end()
        )?;
    }
    for compared in &appraisal.compared {
        writeln!(
            out,
            " compared with {}: {} measurements of the {}",
            compared.file,
            compared.measurements,
            compared.kind.text()
        )?;
    }
    for mismatch in &appraisal.mismatches {
        writeln!(
            out,
            " measurement {}: {} where the manifest of the {} demands {}",
            mismatch.index,
            mismatch.found.as_deref().unwrap_or("none"),
            mismatch.source.text(),
            mismatch.expected.join(" or ")
        )?;
    }
    if !appraisal.mismatches.is_empty() {
        writeln!(
            out,
            " A mismatch says that the device runs something else than this manifest describes: other firmware, or that of another issue of the \
             manifest, for NVIDIA issues some anew under the same name."
        )?;
    }
    if appraisal.compared.is_empty() && !appraisal.rim_ids.is_empty() {
        writeln!(
            out,
            " manifests for it are published as {}",
            appraisal.rim_ids.join(" and ")
        )?;
    } else if !appraisal.compared.is_empty() && !appraisal.compared_whole() {
        writeln!(
            out,
            " Only a part of the device was compared: driver and VBIOS have a manifest each."
        )?;
    }
    Ok(())
}

/// What it was held against, and what it comes to.
pub(super) fn closing(good: bool, setting: &Setting, out: &mut dyn Write) -> Result<(), CommandError> {
    writeln!(
        out,
        "at {}, root of devices {} ({}), root of manifests {} ({}): {}",
        setting.terms.at,
        setting.terms.root,
        setting.root_from,
        setting.rim_root,
        setting.rim_root_from,
        if good {
            "what had to be checked holds"
        } else {
            "something failed, or what had to be checked was not"
        }
    )?;
    writeln!(
        out,
        "What passed shows which device and firmware answered. Nothing here shows that telemetry is true, or in which host a device stands."
    )?;
    Ok(())
}
