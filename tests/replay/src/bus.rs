//! A tree like `/sys` in which the played GPUs stand on the PCI bus, with whatever else the scenario puts there.
//!
//! A program that compares NVML with the bus is given this tree as its root. Only what such a comparison reads is
//! written: ids, class and driver of each device.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::identity::identities;
use crate::scenario::Scenario;

const NVIDIA: u16 = 0x10de;
const ACCELERATOR: u32 = 0x03_02_00;
const BRIDGE: u32 = 0x06_80_00;

/// Buses of NVSwitches, and from where devices of [`crate::scenario::BusDevice`] are put; no GPU is on them.
const SWITCH_BUS: u8 = 0x05;
const FURTHER_BUS: u8 = 0x70;

/// Why the tree could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write `{}` of the PCI tree", path.display())]
pub struct BusError {
    /// The file or folder.
    path: PathBuf,
    /// What the system said.
    #[source]
    source: io::Error,
}

/// A device on the bus, as the tree shows it.
#[derive(Debug, Clone)]
struct Device<'a> {
    address: String,
    ids: [u16; 4],
    class: u32,
    driver: Option<&'a str>,
}

/// Writes `<dir>/bus/pci/devices/0000:XX:00.0/` for every device of the scenario: its GPUs and NVSwitches bound to
/// `nvidia`, then the devices of `[[bus]]`.
///
/// # Errors
/// When a file or folder cannot be written.
pub fn write_sysfs(scenario: &Scenario, dir: &Path) -> Result<(), BusError> {
    let profile = scenario.profile.profile();
    let gpus = identities(scenario).into_iter().map(|gpu| Device {
        address: format!("0000:{:02x}:00.0", gpu.bus),
        ids: [NVIDIA, profile.device_id, NVIDIA, profile.subsystem_id],
        class: ACCELERATOR,
        driver: Some("nvidia"),
    });
    let switches = (0..switch_count(scenario)).map(|index| Device {
        address: switch_address(index),
        ids: [NVIDIA, profile.nvswitches.1, NVIDIA, profile.nvswitches.1],
        class: BRIDGE,
        driver: Some("nvidia-nvswitch"),
    });
    let listed = scenario
        .bus
        .iter()
        .flat_map(|device| (0..device.count).map(move |_| device));
    let further = (FURTHER_BUS..).zip(listed).map(|(bus, device)| Device {
        // GPU buses are skipped by using another slot of the bus.
        address: format!("0000:{bus:02x}:01.0"),
        ids: [device.vendor, device.device, device.vendor, device.device],
        class: device.class,
        driver: device.driver.as_deref(),
    });
    for device in gpus.chain(switches).chain(further) {
        write_device(&device, &dir.join("bus/pci"))?;
    }
    // A machine without a network card of its own: the classes are there, and empty.
    let class = dir.join("class/net");
    fs::create_dir_all(&class).map_err(|source| BusError { path: class, source })
}

/// How many NVSwitches the machine has: those of the board, if it is populated.
pub(crate) fn switch_count(scenario: &Scenario) -> u16 {
    if scenario.gpus >= 8 {
        scenario.profile.profile().nvswitches.0
    } else {
        0
    }
}

/// The bus of an NVSwitch.
pub(crate) fn switch_bus(index: u16) -> u8 {
    SWITCH_BUS.saturating_add(u8::try_from(index).unwrap_or_default())
}

fn switch_address(index: u16) -> String {
    format!("0000:{:02x}:00.0", switch_bus(index))
}

fn write_device(device: &Device<'_>, bus: &Path) -> Result<(), BusError> {
    let folder = bus.join("devices").join(&device.address);
    create(&folder)?;
    let [vendor, id, subsystem_vendor, subsystem] = device.ids;
    for (name, value) in [
        ("vendor", format!("0x{vendor:04x}")),
        ("device", format!("0x{id:04x}")),
        ("subsystem_vendor", format!("0x{subsystem_vendor:04x}")),
        ("subsystem_device", format!("0x{subsystem:04x}")),
        ("class", format!("0x{:06x}", device.class)),
    ] {
        let path = folder.join(name);
        fs::write(&path, format!("{value}\n")).map_err(|source| BusError { path, source })?;
    }
    let Some(driver) = device.driver else {
        return Ok(());
    };
    create(&bus.join("drivers").join(driver))?;
    let path = folder.join("driver");
    match symlink(Path::new("../../drivers").join(driver), &path) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => Err(BusError { path, source }),
        _ => Ok(()),
    }
}

fn create(folder: &Path) -> Result<(), BusError> {
    fs::create_dir_all(folder).map_err(|source| BusError {
        path: folder.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_tree_shows_gpus_switches_and_what_does_not_belong() {
        let text = "profile = 'H100'\ngpus = 8\n[[bus]]\nvendor = 0x1002\ndevice = 0x74a1\ndriver = 'vfio-pci'\ncount = 2";
        let scenario = Scenario::parse(text, Path::new("."), "node").unwrap();
        let root = tempfile::tempdir().unwrap();
        write_sysfs(&scenario, root.path()).unwrap();
        write_sysfs(&scenario, root.path()).unwrap();
        let devices = root.path().join("bus/pci/devices");
        assert_eq!(fs::read_dir(&devices).unwrap().count(), 8 + 4 + 2);
        let driver = |address: &str| fs::read_link(devices.join(address).join("driver")).unwrap();
        assert_eq!(driver("0000:18:00.0"), Path::new("../../drivers/nvidia"));
        devices.join("0000:18:00.0/driver").canonicalize().unwrap();
        assert_eq!(driver("0000:70:01.0"), Path::new("../../drivers/vfio-pci"));
        let mut class = String::new();
        fs::File::open(devices.join("0000:18:00.0/class"))
            .unwrap()
            .read_to_string(&mut class)
            .unwrap();
        assert_eq!(class, "0x030200\n");
    }
}
