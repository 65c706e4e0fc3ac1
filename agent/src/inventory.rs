//! `inventory`: what stands on this node, as the agent sees it.
//!
//! Decides: how it is shown. The driver is asked once, through a sampler of its own, and let go of; nothing is sent
//! anywhere. Does not establish more than a report would: names and serials are what the driver said.

use crate::devices::Survey;
use crate::devices::host::{self, HostError};
use std::io::{self, Write};
use weighbridge::telemetry::{
    AcceleratorIdentity, BusDevice, DeviceState, HostDriver, Inventory, NvlinkLinks, Reading,
};
use weighbridge::unit::Grouped;

/// How a result is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    #[value(alias = "table")]
    Text,
    /// For machines.
    Json,
}

/// Why the inventory could not be shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InventoryError {
    /// The host's own facts.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The output.
    #[error("the inventory could not be written out")]
    Output(#[from] io::Error),
    /// JSON.
    #[error("the inventory could not be written as JSON")]
    Json(#[from] serde_json::Error),
}

#[derive(serde::Serialize)]
struct Document<'a> {
    host: Host<'a>,
    inventory: &'a Inventory,
    trouble: Option<&'a str>,
}

#[derive(serde::Serialize)]
struct Host<'a> {
    kernel: &'a str,
    cpus: u32,
    memory_mib: u64,
    clock: String,
}

/// Writes what was found on the node. True where everything could be asked.
///
/// # Errors
/// [`InventoryError`].
pub fn run(survey: Survey, format: Format, out: &mut dyn Write) -> Result<bool, InventoryError> {
    let facts = host::facts()?;
    let Survey {
        inventory, trouble, ..
    } = survey;
    let host = Host {
        kernel: &facts.kernel,
        cpus: facts.cpus,
        memory_mib: facts.memory_mib,
        clock: host::clock_source().to_string(),
    };
    match format {
        Format::Json => {
            let document = Document {
                host,
                inventory: &inventory,
                trouble: trouble.as_deref(),
            };
            serde_json::to_writer_pretty(&mut *out, &document)?;
            writeln!(out)?;
        }
        Format::Text => {
            writeln!(
                out,
                "host     kernel {} · {} processors · {} MiB memory · clock {}",
                host.kernel,
                host.cpus,
                Grouped(host.memory_mib.into()),
                host.clock
            )?;
            table(&inventory, out)?;
            if let Some(trouble) = &trouble {
                writeln!(out, "trouble  {trouble}")?;
            }
        }
    }
    Ok(trouble.is_none())
}

fn table(inventory: &Inventory, out: &mut dyn Write) -> io::Result<()> {
    match &inventory.driver {
        Some(driver) => writeln!(out, "driver   {}", driver_line(driver))?,
        None => writeln!(out, "driver   none in use")?,
    }
    for device in &inventory.devices {
        writeln!(out, "GPU {:<4} {}", device.index, device_line(device))?;
    }
    for row in &inventory.bus {
        writeln!(out, "bus      {}", bus_line(row))?;
    }
    for row in &inventory.switches {
        writeln!(out, "NVSwitch {} of {}, driver {}", row.count, row.id, row.driver)?;
    }
    if inventory.devices.is_empty() && inventory.bus.is_empty() {
        writeln!(out, "bus      no accelerator of any maker stands on the PCI bus")?;
    }
    Ok(())
}

fn driver_line(driver: &HostDriver) -> String {
    let mut line = format!(
        "{} · NVML {} · library {}, SHA-256 {}",
        driver.driver_version, driver.nvml_version, driver.library_origin, driver.library_digest
    );
    if let Some(cc) = &driver.confidential_compute
        && cc.enabled
    {
        line.push_str(" · confidential computing on");
        if cc.developer_mode {
            line.push_str(", in developer mode, which voids it");
        }
    }
    line
}

fn device_line(device: &AcceleratorIdentity) -> String {
    let mut parts = vec![
        device.name.clone(),
        device.uuid.nvml(),
        match &device.serial {
            Some(serial) => format!("serial {serial}"),
            None => "no serial".to_owned(),
        },
        device.pci.to_string(),
        match device.memory_mib {
            Reading::Value(mib) => format!("{} MiB", Grouped(mib.into())),
            Reading::Unsupported | Reading::Lost(_) => "memory unknown".to_owned(),
        },
    ];
    if let Some(links) = &device.nvlink_links {
        parts.push(links_line(links));
    }
    if let Some(instances) = device.mig.as_ref().filter(|m| !m.is_empty()) {
        let sizes: Vec<_> = instances
            .iter()
            .map(|m| format!("{} of {} slices", m.count, m.slices))
            .collect();
        parts.push(format!("MIG {}", sizes.join(", ")));
    }
    parts.push(if device.pipe_activity {
        "per-pipe activity".to_owned()
    } else {
        "no per-pipe activity".to_owned()
    });
    parts.join(" · ")
}

/// Such as `18 NVLinks, 18 to switches, 4 devices at their other ends`.
fn links_line(links: &NvlinkLinks) -> String {
    let counts = [
        (links.to_gpus, "to GPUs"),
        (links.to_switches, "to switches"),
        (links.to_others, "elsewhere"),
    ];
    let all = counts
        .iter()
        .fold(0u8, |sum, (count, _)| sum.saturating_add(*count));
    let mut line = format!("{all} NVLinks");
    for (count, what) in counts.iter().filter(|(count, _)| *count > 0) {
        line.push_str(&format!(", {count} {what}"));
    }
    if let (Reading::Value(ends), true) = (&links.ends, all > 0) {
        line.push_str(&format!(", {ends} devices at their other ends"));
    }
    line
}

fn bus_line(row: &BusDevice) -> String {
    let silent = row.count.saturating_sub(row.reporting);
    let mut line = format!(
        "{} of {}, driver {}: {} report",
        row.count, row.id, row.driver, row.reporting
    );
    if silent > 0 && row.state != DeviceState::Present {
        line.push_str(&format!(", {silent} {}", row.state));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::devices::DeviceSource;
    use crate::devices::nvml::{NvmlOptions, NvmlSource};
    use std::sync::Arc;

    fn shown(format: Format) -> (bool, String) {
        let root = tempfile::tempdir().unwrap();
        crate::devices::pci::tests::place(
            root.path(),
            "0000:3d:00.0",
            [0x1002, 0x74a1, 0x1002, 0x74a1],
            0x120000,
            Some("amdgpu"),
        );
        let options = NvmlOptions {
            library: Some("/nonexistent/libnvidia-ml.so.1".into()),
            sysfs: root.path().to_owned(),
            host_engine: None,
        };
        let survey = NvmlSource::new(options, Arc::new(SystemClock)).survey(&mut |_| {});
        let mut out = Vec::new();
        let whole = run(survey, format, &mut out).unwrap();
        (whole, String::from_utf8(out).unwrap())
    }

    #[test]
    fn foreign_devices_and_a_missing_library_are_shown_to_people() {
        let (whole, text) = shown(Format::Text);
        assert!(!whole);
        assert!(
            text.contains("1 of 1002:74a1 (1002:74a1), driver vendor: 0 report, 1 unmanaged"),
            "{text}"
        );
        assert!(text.contains("trouble  the NVML library /nonexistent"), "{text}");
    }

    #[test]
    fn and_to_machines() {
        let (_, text) = shown(Format::Json);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["inventory"]["bus"][0]["id"]["device"], "74a1");
        assert_eq!(value["inventory"]["bus"][0]["count"], 1);
        assert_eq!(value["inventory"]["bus"][0]["state"], "unmanaged");
        assert!(value["trouble"].as_str().unwrap().contains("could not be read"));
    }
}
