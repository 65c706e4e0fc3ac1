//! `doctor`: what keeps the agent from its work on this host, and what would mend it.
//!
//! Decides: which checks are made of driver, devices and permissions; those of key and verifier are handed in by whoever
//! holds them. Every line that is not well says what to do. Does not establish that what is well stays so.

use crate::devices::Survey;
use crate::devices::host;
use crate::devices::pci::NVIDIA;
use crate::inventory::Format;
use crate::state::{self, named};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use weighbridge::accelerator::Catalogue;
use weighbridge::bounded;
use weighbridge::report::ClockSource;
use weighbridge::telemetry::{AcceleratorIdentity, BusDriver, Inventory, LibraryOrigin};

/// How a thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Well.
    Ok,
    /// It works, and could be better.
    Advice,
    /// It keeps the agent from its work.
    Wrong,
}

/// One line of the doctor's.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Check {
    /// What was looked at, in one word.
    pub subject: String,
    /// What was found and, where it is not well, what to do.
    pub finding: String,
    /// How it stands.
    pub health: Health,
}

impl Check {
    /// A line.
    #[must_use]
    pub fn new(subject: &str, health: Health, finding: impl Into<String>) -> Self {
        Self {
            subject: subject.to_owned(),
            finding: finding.into(),
            health,
        }
    }
}

/// Why the doctor could not be heard.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DoctorError {
    /// The output.
    #[error("the checks could not be written out")]
    Output(#[from] io::Error),
    /// JSON.
    #[error("the checks could not be written as JSON")]
    Json(#[from] serde_json::Error),
}

/// Checks the node and what was found on it, and writes the lines together with `further` ones. True where nothing is
/// wrong.
///
/// # Errors
/// [`DoctorError`].
pub fn run(
    survey: &Survey,
    further: Vec<Check>,
    format: Format,
    out: &mut dyn Write,
) -> Result<bool, DoctorError> {
    let inventory = &survey.inventory;
    let mut checks = vec![
        driver(
            inventory,
            survey.trouble.as_deref(),
            kernel_module(Path::new("/proc")).as_deref(),
        ),
        devices(inventory),
    ];
    checks.extend(foreign(inventory));
    checks.extend(pipes(inventory, survey.host_engine.as_ref()));
    checks.push(clock_check());
    checks.extend(permissions(Path::new("/dev")));
    checks.extend(preloaded(Path::new("/etc/ld.so.preload")));
    checks.extend(further);
    write(&checks, format, out)?;
    Ok(checks.iter().all(|c| c.health != Health::Wrong))
}

fn write(checks: &[Check], format: Format, out: &mut dyn Write) -> Result<(), DoctorError> {
    if format == Format::Json {
        serde_json::to_writer_pretty(&mut *out, checks)?;
        writeln!(out)?;
        return Ok(());
    }
    for check in checks {
        let Check {
            subject,
            finding,
            health,
        } = check;
        match health {
            Health::Ok => writeln!(out, " {subject:<11} {finding:<60} ok")?,
            Health::Advice | Health::Wrong => writeln!(out, " {subject:<11} {finding}")?,
        }
    }
    Ok(())
}

fn driver(inventory: &Inventory, trouble: Option<&str>, module: Option<&str>) -> Check {
    const SUBJECT: &str = "driver";
    if let Some(trouble) = trouble {
        return Check::new(SUBJECT, Health::Wrong, trouble);
    }
    let Some(driver) = &inventory.driver else {
        return Check::new(
            SUBJECT,
            Health::Advice,
            "no NVIDIA driver, and no NVIDIA device that needs one",
        );
    };
    let version = &driver.driver_version;
    if driver.library_origin != LibraryOrigin::System {
        let text = format!(
            "{version}, through a library that is not the system's own ({}): every report says so",
            driver.library_origin
        );
        return Check::new(SUBJECT, Health::Advice, text);
    }
    match module {
        Some(module) if module == version => {
            Check::new(SUBJECT, Health::Ok, format!("{version}, library matches"))
        }
        Some(module) => {
            let text = format!(
                "the library is of {version}, the kernel module of {module}: reboot, or reload the module"
            );
            Check::new(SUBJECT, Health::Wrong, text)
        }
        None => {
            let text = format!("{version}; /proc/driver/nvidia does not tell the kernel module's version");
            Check::new(SUBJECT, Health::Advice, text)
        }
    }
}

/// The version in `/proc/driver/nvidia/version`: the first word that is made of digits and points.
fn kernel_module(proc: &Path) -> Option<String> {
    let file = File::open(proc.join("driver/nvidia/version")).ok()?;
    let text = bounded::read_text(file, 4096).ok()?;
    text.split_whitespace()
        .find(|word| word.contains('.') && word.chars().all(|c| c.is_ascii_digit() || c == '.'))
        .map(str::to_owned)
}

fn devices(inventory: &Inventory) -> Check {
    let ours = || inventory.bus.iter().filter(|row| row.id.vendor == NVIDIA);
    let total = |count: fn(&weighbridge::telemetry::BusDevice) -> u16, guests: bool| -> u32 {
        ours()
            .filter(|row| guests || row.driver != BusDriver::Vfio)
            .map(|row| u32::from(count(row)))
            .sum()
    };
    let on_bus = total(|row| row.count, false);
    let answer = total(|row| row.reporting, false);
    let for_guests = total(|row| row.count, true).saturating_sub(on_bus);
    let listed = inventory.devices.len();
    if listed == 0 && inventory.bus.is_empty() {
        let text = "no accelerator of any maker on the bus: nothing here is for the agent to measure; if this host has \
                    some, let its /sys be seen, and look for them with `lspci`";
        return Check::new("GPUs", Health::Wrong, text);
    }
    let mut text = format!("{on_bus} on the bus, {answer} answer");
    if for_guests > 0 {
        text.push_str(&format!(", {for_guests} more are handed to guests"));
    }
    if on_bus == 0 && listed > 0 {
        text =
            format!("{listed} answer, none stands on the bus: is this a container without the host's /sys?");
        return Check::new("GPUs", Health::Advice, text);
    }
    if answer < on_bus {
        let states: Vec<_> = ours()
            .filter(|row| row.reporting < row.count)
            .map(|row| row.state.text())
            .collect();
        text.push_str(&format!(
            "; the rest: {}. `dmesg | grep -i nvrm` often says why",
            states.join(", ")
        ));
        return Check::new("GPUs", Health::Wrong, text);
    }
    Check::new("GPUs", Health::Ok, text)
}

fn foreign(inventory: &Inventory) -> Option<Check> {
    let kinds: Vec<_> = inventory
        .bus
        .iter()
        .filter(|row| row.id.vendor != NVIDIA)
        .map(|row| format!("{} of {}", row.count, row.id))
        .collect();
    (!kinds.is_empty()).then(|| {
        let text = format!("{}: listed in every report, not measured", kinds.join(", "));
        Check::new("others", Health::Advice, text)
    })
}

/// Whether devices tell of their pipes. What bounds compute where they do not is said with the architecture, for it is what
/// decides.
fn pipes(inventory: &Inventory, host_engine: Option<&(String, bool)>) -> Option<Check> {
    const SUBJECT: &str = "pipes";
    let all = inventory.devices.len();
    let tells = host_engine.is_some_and(|(_, tells)| *tells);
    // The host engine is not asked about what MIG divides.
    let by_engine =
        |d: &&AcceleratorIdentity| tells && !d.pipe_activity && d.mig.as_ref().is_none_or(Vec::is_empty);
    let from_engine = inventory.devices.iter().filter(by_engine).count();
    let without: Vec<_> = inventory
        .devices
        .iter()
        .filter(|d| !d.pipe_activity && !by_engine(d))
        .collect();
    if all == 0 {
        return None;
    }
    if without.is_empty() {
        let by_gpm = "per-pipe activity available (GPM)";
        let text = match host_engine {
            Some((said, _)) if from_engine == all => said.clone(),
            Some((said, _)) if from_engine > 0 => format!("{by_gpm}; of {from_engine} GPUs {said}"),
            _ => by_gpm.to_owned(),
        };
        return Some(Check::new(SUBJECT, Health::Ok, text));
    }
    let catalogue = Catalogue::embedded().ok();
    let names: BTreeSet<_> = without
        .iter()
        .filter_map(|d| {
            Some(
                catalogue
                    .as_ref()?
                    .find(&d.pci, &d.name)
                    .model()?
                    .architecture
                    .clone(),
            )
        })
        .collect();
    let these = match names.len() {
        0 => String::new(),
        _ => format!(" ({})", names.into_iter().collect::<Vec<_>>().join(", ")),
    };
    let bounded = "compute is bounded by busy time, clocks and energy";
    let mut text = if without.len() == all {
        format!("no pipe activity on this architecture{these}: {bounded}")
    } else {
        let some = without.len();
        format!("no pipe activity on the architecture of {some} of {all} GPUs{these}: their {bounded}")
    };
    if let Some((said, _)) = host_engine {
        text.push_str("; ");
        text.push_str(said);
    }
    Some(Check::new(SUBJECT, Health::Advice, text))
}

fn clock_check() -> Check {
    match host::clock_source() {
        ClockSource::Synchronised => Check::new("clock", Health::Ok, "the kernel's clock is disciplined"),
        ClockSource::Unsynchronised => {
            let text = "the kernel's clock is not disciplined: run chrony or systemd-timesyncd, or reports will be found out of time";
            Check::new("clock", Health::Advice, text)
        }
    }
}

/// Libraries that the dynamic linker puts into every process, the sampler's too: no environment is needed for that.
fn preloaded(list: &Path) -> Option<Check> {
    let text = bounded::read_text(File::open(list).ok()?, 64 << 10).ok()?;
    let names: Vec<_> = text.split_whitespace().take(4).collect();
    (!names.is_empty()).then(|| {
        let text = format!(
            "{} puts {} into every process, in front of the driver's library",
            list.display(),
            names.join(", ")
        );
        Check::new("linker", Health::Advice, text)
    })
}

/// The driver's device files that this user cannot open.
fn permissions(dev: &Path) -> Vec<Check> {
    let Ok(entries) = fs::read_dir(dev) else {
        return Vec::new();
    };
    let mut names: Vec<_> = entries
        .take(16_384)
        .filter_map(|e| e.ok()?.file_name().into_string().ok())
        .filter(|name| is_device_file(name))
        .collect();
    names.sort();
    names.iter().filter_map(|name| refused(&dev.join(name))).collect()
}

/// `nvidiactl`, and `nvidia` with a number.
fn is_device_file(name: &str) -> bool {
    name.strip_prefix("nvidia")
        .is_some_and(|rest| rest == "ctl" || (!rest.is_empty() && rest.chars().all(|c| c.is_ascii_digit())))
}

fn refused(path: &Path) -> Option<Check> {
    let meta = fs::metadata(path).ok()?;
    if !meta.file_type().is_char_device() {
        return None;
    }
    let error = File::options().read(true).write(true).open(path).err()?;
    if error.kind() != io::ErrorKind::PermissionDenied {
        let text = format!("{} cannot be opened: {error}", path.display());
        return Some(Check::new("permission", Health::Wrong, text));
    }
    let user = state::user()
        .and_then(|number| named(Path::new("/etc/passwd"), number))
        .unwrap_or_else(|| "this user".to_owned());
    let shown = path.display();
    let text = match named(Path::new("/etc/group"), meta.gid()).filter(|group| group != "root") {
        Some(group) => {
            format!("{shown} cannot be opened by user {user}: `usermod -aG {group} {user}`, then restart")
        }
        None => {
            format!("{shown} cannot be opened by user {user}: give its group to the agent by a udev rule")
        }
    };
    Some(Check::new("permission", Health::Wrong, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use weighbridge::id::{Digest, PciId};
    use weighbridge::telemetry::{BusDevice, DeviceState, HostDriver};
    use weighbridge::time::BootNanos;

    fn inventory(origin: LibraryOrigin, reporting: u16) -> Inventory {
        Inventory {
            at: BootNanos(0),
            driver: Some(HostDriver {
                driver_version: "580.95.05".into(),
                nvml_version: "13.580.95.05".into(),
                cuda_version: None,
                library_digest: Digest([0; 32]),
                library_origin: origin,
                library_changed: false,
                confidential_compute: None,
            }),
            devices: Vec::new(),
            bus: vec![BusDevice {
                id: PciId {
                    vendor: NVIDIA,
                    ..PciId::default()
                },
                driver: BusDriver::Vendor,
                count: 8,
                reporting,
                state: DeviceState::Lost,
            }],
            bus_source: weighbridge::telemetry::BusSource::System,
            switches: Vec::new(),
            mig_devices: None,
        }
    }

    #[test]
    fn a_driver_that_does_not_match_its_module_is_wrong_and_says_what_to_do() {
        let whole = inventory(LibraryOrigin::System, 8);
        assert_eq!(driver(&whole, None, Some("580.95.05")).health, Health::Ok);
        let stale = driver(&whole, None, Some("575.1.1"));
        assert_eq!(stale.health, Health::Wrong);
        assert!(stale.finding.contains("reboot"));
        let other = driver(&inventory(LibraryOrigin::Configured, 8), None, None);
        assert_eq!(other.health, Health::Advice);
        assert!(other.finding.contains("not the system's own"));
    }

    #[test]
    fn devices_that_do_not_answer_are_wrong_with_their_state() {
        assert_eq!(
            devices(&inventory(LibraryOrigin::System, 8)),
            Check::new("GPUs", Health::Ok, "8 on the bus, 8 answer")
        );
        let check = devices(&inventory(LibraryOrigin::System, 7));
        assert_eq!(check.health, Health::Wrong);
        assert!(check.finding.contains("7 answer; the rest: lost"));
        let mut none = inventory(LibraryOrigin::System, 0);
        none.bus.clear();
        assert_eq!(devices(&none).health, Health::Wrong);
    }

    #[test]
    fn devices_that_do_not_tell_of_their_pipes_are_named_by_their_architecture() {
        use weighbridge::telemetry::Reading;
        let device = |index, name: &str, device, pipe_activity| AcceleratorIdentity {
            index,
            uuid: weighbridge::id::DeviceUuid::parse_nvml("GPU-00112233-4455-6677-8899-aabbccddeeff")
                .unwrap(),
            serial: None,
            pci: PciId {
                vendor: NVIDIA,
                device,
                ..PciId::default()
            },
            name: name.to_owned(),
            board_part: None,
            vbios: None,
            gsp_firmware: None,
            memory_mib: Reading::Unsupported,
            cores: Reading::Unsupported,
            max_sm_clock_mhz: Reading::Unsupported,
            power_limit_mw: Reading::Unsupported,
            pdi: None,
            module_id: None,
            fabric: None,
            nvlink_links: None,
            mig: None,
            ecc: None,
            pipe_activity,
        };
        let mut node = inventory(LibraryOrigin::System, 8);
        assert_eq!(pipes(&node, None), None);
        let old = device(0, "NVIDIA A100-SXM4-80GB", 0x20b2, false);
        node.devices = vec![old.clone(), old];
        assert_eq!(
            pipes(&node, None).unwrap().finding,
            "no pipe activity on this architecture (Ampere): compute is bounded by busy time, clocks and energy"
        );
        let engine = "per-pipe activity from DCGM (host engine at unix:///run/dcgm/sock)".to_owned();
        let told = Some(Check::new("pipes", Health::Ok, engine.clone()));
        assert_eq!(pipes(&node, Some(&(engine, true))), told);
        let away = pipes(&node, Some(&("nothing answers there".to_owned(), false))).unwrap();
        assert_eq!(away.health, Health::Advice);
        assert!(
            away.finding.ends_with("; nothing answers there"),
            "{}",
            away.finding
        );
        node.devices
            .push(device(2, "NVIDIA H100 80GB HBM3", 0x2330, true));
        let some = pipes(&node, None).unwrap();
        assert!(some.finding.contains("2 of 3 GPUs (Ampere)"), "{}", some.finding);
        node.devices = vec![device(0, "a board that nobody knows", 1, false)];
        let unknown = pipes(&node, None).unwrap();
        assert!(
            unknown.finding.contains("this architecture: compute"),
            "{}",
            unknown.finding
        );
    }

    #[test]
    fn the_kernel_modules_version_is_found_in_either_form_of_its_line() {
        for line in [
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue Sep 23 10:11:16 UTC 2025\n",
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\n",
        ] {
            let proc = tempfile::tempdir().unwrap();
            fs::create_dir_all(proc.path().join("driver/nvidia")).unwrap();
            fs::write(proc.path().join("driver/nvidia/version"), line).unwrap();
            assert_eq!(kernel_module(proc.path()).as_deref(), Some("580.95.05"));
        }
    }

    #[test]
    fn only_the_drivers_device_files_are_tried() {
        for (name, tried) in [
            ("nvidia0", true),
            ("nvidia15", true),
            ("nvidiactl", true),
            ("nvidia", false),
            ("nvidia-uvm", false),
            ("nvme0", false),
        ] {
            assert_eq!(is_device_file(name), tried, "{name}");
        }
    }

    #[test]
    fn what_the_linker_puts_into_every_process_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("ld.so.preload");
        assert_eq!(preloaded(&list), None);
        fs::write(&list, "/opt/shim.so\n").unwrap();
        assert!(preloaded(&list).unwrap().finding.contains("/opt/shim.so"));
    }

    #[test]
    fn lines_are_written_for_people_with_what_is_well_at_the_end() {
        let checks = [
            Check::new("pipes", Health::Ok, "per-pipe activity available (GPM)"),
            Check::new("clock", Health::Advice, "set it"),
        ];
        let mut out = Vec::new();
        write(&checks, Format::Text, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.lines().next().unwrap().ends_with(" ok"));
        assert!(text.ends_with("set it\n"));
    }
}
