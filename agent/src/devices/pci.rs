//! Every accelerator on the PCI bus, of every vendor, and every NVSwitch, from sysfs.
//!
//! Decides: which functions are accelerators and which are switches between them, and which of them report. A driver
//! lists only what it holds; the bus also shows what no driver holds, what another vendor made, and what was handed to
//! a guest. Trusts the kernel's sysfs. Does not establish that nothing hides: a function removed from the bus, or a bus
//! that a hypervisor edits, is not seen.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use weighbridge::bounded;
use weighbridge::id::PciId;
use weighbridge::telemetry::{BusDevice, BusDriver, BusSwitch, DeviceState};

/// NVIDIA's vendor id.
pub const NVIDIA: u16 = 0x10de;

const AMD: u16 = 0x1002;
const INTEL: u16 = 0x8086;

/// The most functions that are looked at; a host has a few hundred.
const MAX_FUNCTIONS: usize = 16_384;

/// The place of a function on the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciAddress {
    /// Domain (segment).
    pub domain: u32,
    /// Bus.
    pub bus: u8,
    /// Device.
    pub device: u8,
    /// Function.
    pub function: u8,
}

impl PciAddress {
    /// Reads `0000:3b:00.0`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (domain, rest) = text.split_once(':')?;
        let (bus, rest) = rest.split_once(':')?;
        let (device, function) = rest.split_once('.')?;
        Some(Self {
            domain: u32::from_str_radix(domain, 16).ok()?,
            bus: u8::from_str_radix(bus, 16).ok()?,
            device: u8::from_str_radix(device, 16).ok()?,
            function: u8::from_str_radix(function, 16).ok()?,
        })
    }
}

/// An accelerator on the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusFunction {
    /// Where.
    pub address: PciAddress,
    /// What.
    pub id: PciId,
    /// What is bound to it.
    pub driver: BusDriver,
}

/// What of the bus is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bus {
    /// Accelerators, in the order of their addresses.
    pub accelerators: Vec<BusFunction>,
    /// NVSwitches, likewise.
    pub switches: Vec<BusFunction>,
}

/// The bus could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the PCI bus could not be listed from {path}; is sysfs mounted?")]
pub struct BusError {
    /// Where it was looked for.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// Lists the accelerators and switches under `sysfs` (`/sys` on a host).
///
/// Entries that make no sense are passed over: sysfs changes while it is read.
///
/// # Errors
/// [`BusError`] where the directory of devices cannot be listed. A host without a PCI bus has no such directory, and
/// an empty list.
pub fn scan(sysfs: &Path) -> Result<Bus, BusError> {
    let path = sysfs.join("bus/pci/devices");
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        // A kernel without PCI has `/sys/bus` and no `pci` in it; no `/sys/bus` means that sysfs itself is absent.
        Err(e) if e.kind() == io::ErrorKind::NotFound && sysfs.join("bus").is_dir() => {
            return Ok(Bus::default());
        }
        Err(source) => return Err(BusError { path, source }),
    };
    let mut found = Bus::default();
    for entry in entries.take(MAX_FUNCTIONS).flatten() {
        match function(&entry.path()) {
            Some((Kind::Accelerator, function)) => found.accelerators.push(function),
            Some((Kind::Switch, function)) => found.switches.push(function),
            None => {}
        }
    }
    found.accelerators.sort_by_key(|f| f.address);
    found.switches.sort_by_key(|f| f.address);
    Ok(found)
}

/// Groups functions of one kind and driver, as a report lists them.
///
/// `state` gives the state of a device that a driver telemetry knows at that address; `None` where none does.
#[must_use]
pub fn group(
    functions: &[BusFunction],
    state: impl Fn(&BusFunction) -> Option<DeviceState>,
) -> Vec<BusDevice> {
    let mut rows: BTreeMap<(PciId, BusDriver), BusDevice> = BTreeMap::new();
    for function in functions {
        let known = state(function);
        let row = rows
            .entry((function.id, function.driver))
            .or_insert_with(|| BusDevice {
                id: function.id,
                driver: function.driver,
                count: 0,
                reporting: 0,
                state: DeviceState::Present,
            });
        row.count = row.count.saturating_add(1);
        match known {
            Some(DeviceState::Present) => row.reporting = row.reporting.saturating_add(1),
            Some(other) => row.state = other,
            None if function.driver == BusDriver::Vfio => row.state = DeviceState::PassedThrough,
            None => row.state = DeviceState::Unmanaged,
        }
    }
    rows.into_values().collect()
}

/// Groups switches of one kind and driver, as a report lists them.
#[must_use]
pub fn group_switches(functions: &[BusFunction]) -> Vec<BusSwitch> {
    let mut rows: BTreeMap<(PciId, BusDriver), u16> = BTreeMap::new();
    for function in functions {
        let count = rows.entry((function.id, function.driver)).or_default();
        *count = count.saturating_add(1);
    }
    rows.into_iter()
        .map(|((id, driver), count)| BusSwitch { id, driver, count })
        .collect()
}

enum Kind {
    Accelerator,
    Switch,
}

fn function(path: &Path) -> Option<(Kind, BusFunction)> {
    let address = PciAddress::parse(path.file_name()?.to_str()?)?;
    let class = number(path, "class")?;
    let vendor = u16::try_from(number(path, "vendor")?).ok()?;
    let device = u16::try_from(number(path, "device")?).ok()?;
    // PCI Code and ID Assignment: 0680h is a bridge of another kind, and NVIDIA makes no other for servers.
    let kind = match (vendor, class >> 8) {
        (NVIDIA, 0x0680) => Kind::Switch,
        _ if is_accelerator(address, vendor, device, class) => Kind::Accelerator,
        _ => return None,
    };
    // A virtual function of SR-IOV is a share of a device that is listed already.
    if path.join("physfn").exists() {
        return None;
    }
    let part = |name| u16::try_from(number(path, name).unwrap_or(0)).unwrap_or(0);
    let function = BusFunction {
        address,
        id: PciId {
            vendor,
            device,
            subsystem_vendor: part("subsystem_vendor"),
            subsystem_device: part("subsystem_device"),
        },
        driver: driver(path, vendor),
    };
    Some((kind, function))
}

/// Reads a number such as `0x10de`.
fn number(path: &Path, name: &str) -> Option<u32> {
    let text = bounded::read_text(File::open(path.join(name)).ok()?, 64).ok()?;
    u32::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
}

/// Whether a function is an accelerator. Rather one too many than one too few: a licence's manifest and catalogue say
/// what counts, and a display adapter that is not on them does no harm in a list.
fn is_accelerator(address: PciAddress, vendor: u16, device: u16, class: u32) -> bool {
    match (vendor, class >> 8) {
        // AMD's and Intel's cards are display controllers of one kind or another, and so is the graphics within their
        // processors, which no licence is about. AMD's stands on a bus like any card's and is told by its number: cards
        // have had 6600h and above since 2012, processors 13xxh to 19xxh and 96xxh to 9fxxh, and the display adapters on old
        // server boards 5xxxh (the kernel's amdgpu and radeon, AMD_IS_APU). Unknown numbers are taken for cards.
        (AMD, 0x0300 | 0x0302 | 0x0380) => !matches!(device, 0..=0x65ff | 0x9600..=0x9fff),
        // Intel's is always device 2 on bus 0 (the datasheets of its processors); a card never is on the root bus of a host.
        (INTEL, 0x0300 | 0x0302 | 0x0380) => (address.domain, address.bus, address.device) != (0, 0, 2),
        // PCI Code and ID Assignment: base class 12h is a processing accelerator, 0302h a 3D controller.
        (_, 0x1200..=0x12ff | 0x0302) => true,
        // NVIDIA's data-centre parts are 0302h; with a display engine, and all workstation parts, 0300h.
        (NVIDIA, 0x0300 | 0x0380) => true,
        // Habana (Gaudi): every function is an accelerator.
        (0x1da3, _) => true,
        // AWS Neuron: Inferentia, Trainium, and their successors, under the class of system peripherals.
        (0x1d0f, _) => matches!(device, 0x7064 | 0x7164 | 0x7264 | 0x7364),
        // Google TPU, from v2 on, under various classes.
        (0x1ae0, _) => matches!(
            device,
            0x0027 | 0x0056 | 0x005e | 0x0062 | 0x0063 | 0x006f | 0x0076
        ),
        _ => false,
    }
}

fn driver(path: &Path, vendor: u16) -> BusDriver {
    let Ok(link) = fs::read_link(path.join("driver")) else {
        return BusDriver::None;
    };
    let Some(name) = link.file_name().and_then(|n| n.to_str()) else {
        return BusDriver::Other;
    };
    if name.contains("vfio") {
        return BusDriver::Vfio;
    }
    let vendors: &[&str] = match vendor {
        NVIDIA => &["nvidia", "nvidia-nvswitch"],
        AMD => &["amdgpu"],
        INTEL => &["xe", "i915", "intel_vpu"],
        0x1da3 => &["habanalabs"],
        0x1d0f => &["neuron"],
        0x1ae0 => &["google_tpu", "tpu", "accel"],
        0x19e5 => &["devdrv_device_driver", "drv_pcie_host", "ascend"],
        _ => &[],
    };
    if vendors.contains(&name) {
        BusDriver::Vendor
    } else {
        BusDriver::Other
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A bus made of files, as the kernel lays it out.
    pub(crate) fn place(root: &Path, address: &str, ids: [u16; 4], class: u32, driver: Option<&str>) {
        let dir = root.join("bus/pci/devices").join(address);
        fs::create_dir_all(&dir).unwrap();
        for (name, value) in ["vendor", "device", "subsystem_vendor", "subsystem_device"]
            .iter()
            .zip(ids)
        {
            fs::write(dir.join(name), format!("{value:#06x}\n")).unwrap();
        }
        fs::write(dir.join("class"), format!("{class:#08x}\n")).unwrap();
        if let Some(driver) = driver {
            std::os::unix::fs::symlink(Path::new("../../drivers").join(driver), dir.join("driver")).unwrap();
        }
    }

    const H100: [u16; 4] = [0x10de, 0x2330, 0x10de, 0x16c1];

    #[test]
    fn accelerators_of_every_vendor_are_seen_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let bus = [
            ("0000:1b:00.0", H100, 0x030200, Some("nvidia")),
            ("0000:3d:00.0", [0x1002, 0x74a1, 0, 0], 0x120000, Some("amdgpu")),
            (
                "0000:4e:00.0",
                [0x1da3, 0x1020, 0, 0],
                0x120000,
                Some("habanalabs"),
            ),
            ("0000:5a:00.0", [0x19e5, 0xd802, 0, 0], 0x120000, None),
            ("0000:5b:00.0", [0x1d0f, 0x7364, 0, 0], 0x088000, Some("neuron")),
            ("0000:5c:00.0", [0x1ae0, 0x0063, 0, 0], 0x088000, None),
            ("0000:5d:00.0", [0x8086, 0x0bd5, 0, 0], 0x038000, Some("xe")),
            (
                "0000:5e:00.0",
                [0x1e52, 0x401e, 0, 0],
                0x120000,
                Some("tenstorrent"),
            ),
            ("0000:02:00.0", [0x1a03, 0x2000, 0, 0], 0x030000, Some("ast")),
            ("0000:03:00.0", [0x8086, 0x1533, 0, 0], 0x020000, Some("igb")),
            (
                "0000:05:00.0",
                [0x10de, 0x22a3, 0, 0],
                0x068000,
                Some("nvidia-nvswitch"),
            ),
            (
                "0000:06:00.0",
                [0x10de, 0x22a3, 0, 0],
                0x068000,
                Some("nvidia-nvswitch"),
            ),
            ("0000:07:00.0", [0x8086, 0x22a3, 0, 0], 0x068000, None),
        ];
        for (address, ids, class, driver) in bus {
            place(root.path(), address, ids, class, driver);
        }
        let found = scan(root.path()).unwrap();
        let switches: Vec<_> = group_switches(&found.switches)
            .iter()
            .map(|row| (row.id.vendor, row.id.device, row.driver, row.count))
            .collect();
        assert_eq!(switches, [(0x10de, 0x22a3, BusDriver::Vendor, 2)]);
        assert_eq!(
            found
                .accelerators
                .iter()
                .map(|f| (f.id.vendor, f.driver))
                .collect::<Vec<_>>(),
            [
                (0x10de, BusDriver::Vendor),
                (0x1002, BusDriver::Vendor),
                (0x1da3, BusDriver::Vendor),
                (0x19e5, BusDriver::None),
                (0x1d0f, BusDriver::Vendor),
                (0x1ae0, BusDriver::None),
                (0x8086, BusDriver::Vendor),
                (0x1e52, BusDriver::Other),
            ]
        );
    }

    #[test]
    fn a_card_that_drives_a_display_is_seen_and_the_graphics_of_a_processor_is_not() {
        let root = tempfile::tempdir().unwrap();
        let cards = [
            // Radeon PRO W7900 and Instinct MI210; Arc A770 and Flex 170.
            ("0000:03:00.0", [0x1002, 0x7448, 0, 0], 0x030000),
            ("0000:04:00.0", [0x1002, 0x740f, 0, 0], 0x038000),
            ("0000:05:00.0", [0x8086, 0x56a0, 0, 0], 0x030000),
            ("0000:06:00.0", [0x8086, 0x56c0, 0, 0], 0x038000),
        ];
        let within = [
            // Of two Ryzen and of a Xeon E without a display; a display adapter on a server's board.
            ("0000:07:00.0", [0x1002, 0x164e, 0, 0], 0x030000),
            ("0000:08:00.0", [0x1002, 0x15bf, 0, 0], 0x038000),
            ("0000:00:02.0", [0x8086, 0x4c9a, 0, 0], 0x038000),
            ("0000:09:00.0", [0x1002, 0x515e, 0, 0], 0x030000),
        ];
        for (address, ids, class) in cards.into_iter().chain(within) {
            place(root.path(), address, ids, class, None);
        }
        let found = scan(root.path()).unwrap().accelerators;
        let devices: Vec<_> = found.iter().map(|f| f.id.device).collect();
        assert_eq!(devices, cards.map(|(_, ids, _)| ids[1]));
    }

    #[test]
    fn rows_count_what_reports_and_name_the_state_of_what_does_not() {
        let root = tempfile::tempdir().unwrap();
        for n in 0..4 {
            place(
                root.path(),
                &format!("0000:{n:02x}:00.0"),
                H100,
                0x030200,
                Some("nvidia"),
            );
        }
        place(root.path(), "0000:09:00.0", H100, 0x030200, Some("vfio-pci"));
        let rows = group(&scan(root.path()).unwrap().accelerators, |f| {
            match f.address.bus {
                0..=2 => Some(DeviceState::Present),
                3 => Some(DeviceState::Lost),
                _ => None,
            }
        });
        let told: Vec<_> = rows
            .iter()
            .map(|r| (r.driver, r.count, r.reporting, r.state))
            .collect();
        assert_eq!(
            told,
            [
                (BusDriver::Vendor, 4, 3, DeviceState::Lost),
                (BusDriver::Vfio, 1, 0, DeviceState::PassedThrough),
            ]
        );
    }

    #[test]
    fn nonsense_in_sysfs_is_passed_over_and_its_absence_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        place(root.path(), "not-an-address", H100, 0x030200, None);
        place(root.path(), "0000:01:00.0", H100, 0x030200, None);
        let broken = root.path().join("bus/pci/devices/0000:02:00.0");
        fs::create_dir_all(&broken).unwrap();
        fs::write(broken.join("class"), "\u{0}\u{1}").unwrap();
        let virtual_function = root.path().join("bus/pci/devices/0000:03:00.0");
        place(root.path(), "0000:03:00.0", H100, 0x030200, None);
        std::os::unix::fs::symlink("../0000:01:00.0", virtual_function.join("physfn")).unwrap();
        assert_eq!(scan(root.path()).unwrap().accelerators.len(), 1);
        assert!(scan(&root.path().join("absent")).is_err());
        let no_pci = tempfile::tempdir().unwrap();
        fs::create_dir(no_pci.path().join("bus")).unwrap();
        assert_eq!(scan(no_pci.path()).unwrap(), Bus::default());
    }
}
