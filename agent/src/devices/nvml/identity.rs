//! Who a device is, and how it is divided.
//!
//! Decides: which of the driver's answers make an identity. Only the UUID and the PCI identifiers are demanded; a part
//! without a serial number is a device all the same. Trusts nothing beyond the bounds. Does not establish that the
//! driver speaks the truth: the grade is `driver-reported`.

use super::fault::{Answer, Fault, reading};
use super::fields::MAX_LINKS;
use super::pipes::{Extent, Instance, Part};
use super::session::{Handle, LINK_TO_GPU, LINK_TO_SWITCH, Session};
use crate::devices::pci::PciAddress;
use nvml_wrapper::enum_wrappers::device::Clock;
use std::collections::{BTreeMap, BTreeSet};
use weighbridge::id::{DeviceUuid, PciId};
use weighbridge::telemetry::{AcceleratorIdentity, Fabric, MigDevice, MigInstance, NvlinkLinks, Reading};
use weighbridge::unit::Ppm;

/// The most MIG devices of one parent that are looked at; the hardware makes at most seven.
const MAX_MIG: u32 = 16;

/// A device, identified.
#[derive(Debug)]
pub(super) struct Identified {
    pub(super) identity: AcceleratorIdentity,
    pub(super) address: PciAddress,
    pub(super) extent: Extent,
    pub(super) mig_devices: Vec<MigDevice>,
}

/// Identifies the device.
pub(super) fn identify(session: &Session, handle: Handle, index: u16) -> Answer<Identified> {
    let uuid = DeviceUuid::parse_nvml(&session.uuid(handle)?).map_err(|_| Fault::Malformed)?;
    let pci = session.pci(handle)?;
    let extent = extent(session, handle)?;
    let divided = matches!(extent, Some(Extent::Instances(_)));
    let mig_devices = if divided {
        mig_devices(session, handle, index)
    } else {
        Vec::new()
    };
    let device = session.device(handle);
    let identity = AcceleratorIdentity {
        index,
        uuid,
        serial: session.serial(handle).ok(),
        pci: pci_id(pci.pciDeviceId, pci.pciSubSystemId),
        name: session.name(handle).unwrap_or_default(),
        board_part: session.board_part(handle).ok(),
        vbios: session.vbios(handle).ok(),
        gsp_firmware: session.gsp_firmware(handle).ok(),
        memory_mib: reading(device.memory_info().map(|m| m.total >> 20).map_err(Fault::from)),
        cores: reading(device.num_cores().map_err(Fault::from)),
        max_sm_clock_mhz: reading(device.max_clock_info(Clock::SM).map_err(Fault::from)),
        power_limit_mw: reading(device.enforced_power_limit().map_err(Fault::from)),
        pdi: session.pdi(handle).ok(),
        module_id: session.module_id(handle).ok(),
        fabric: fabric(session, handle),
        nvlink_links: active_links(session, handle),
        mig: match &extent {
            Some(Extent::Instances(instances)) => Some(by_size(instances)),
            Some(Extent::Whole) => Some(Vec::new()),
            None => None,
        },
        ecc: session.ecc(handle).ok(),
        pipe_activity: session.gpm_supported(handle),
    };
    let byte = |value: u32| u8::try_from(value).map_err(|_| Fault::Malformed);
    Ok(Identified {
        identity,
        address: PciAddress {
            domain: pci.domain,
            bus: byte(pci.bus)?,
            device: byte(pci.device)?,
            function: 0,
        },
        extent: extent.unwrap_or(Extent::Whole),
        mig_devices,
    })
}

/// The MIG devices of a GPU, by their names, as far as the driver tells.
fn mig_devices(session: &Session, handle: Handle, index: u16) -> Vec<MigDevice> {
    let slices = session.mig_places(handle).unwrap_or(0);
    let whole = multiprocessors(session, handle);
    let named = |place| {
        let mig = session.mig_handle(handle, place).ok()?;
        let uuid = DeviceUuid::parse_nvml(&session.uuid(mig).ok()?).ok()?;
        let (_, of) = session.gpu_instance(mig).ok()?;
        let part = part_of(
            of.computeInstanceSliceCount,
            slices,
            of.multiprocessorCount,
            whole,
        );
        Some(MigDevice { uuid, index, part })
    };
    (0..slices.min(MAX_MIG)).filter_map(named).collect()
}

/// What part of a GPU a MIG device can have of its compute at most: by its slices, of which a GPU has as many as it may be cut into MIG devices, or by
/// its multiprocessors, whichever is more. Slices have not equally many: three of the seven of an H100 have 60 of its 132.
fn part_of(slices: u32, of_slices: u32, multiprocessors: u32, of_multiprocessors: Option<u32>) -> Ppm {
    let by_slices = share(slices, of_slices);
    of_multiprocessors.map_or(by_slices, |whole| by_slices.max(share(multiprocessors, whole)))
}

/// A share, rounded up.
fn share(part: u32, whole: u32) -> Ppm {
    let ppm = u64::from(part)
        .saturating_mul(1_000_000)
        .div_ceil(u64::from(whole.max(1)));
    Ppm(u32::try_from(ppm).unwrap_or(u32::MAX)).min(Ppm::ONE)
}

/// How the device is divided by MIG; `None` where the part has no MIG.
pub(super) fn extent(session: &Session, handle: Handle) -> Answer<Option<Extent>> {
    match session.mig_mode(handle) {
        Ok(true) => instances(session, handle).map(|all| Some(Extent::Instances(all))),
        Ok(false) => Ok(Some(Extent::Whole)),
        Err(Fault::DeviceLost) => Err(Fault::DeviceLost),
        Err(Fault::DriverGone) => Err(Fault::DriverGone),
        Err(_) => Ok(None),
    }
}

/// GPU instances that hold a compute instance; one without can compute nothing, and GPM does not answer for it.
fn instances(session: &Session, handle: Handle) -> Answer<Vec<Instance>> {
    let places = session.mig_places(handle)?.min(MAX_MIG);
    let mut found: BTreeMap<u32, Compute> = BTreeMap::new();
    let mut all_told = true;
    for place in 0..places {
        // Places are filled in no order, and an empty one is "not found".
        let Ok(mig) = session.mig_handle(handle, place) else {
            continue;
        };
        let Ok((id, of)) = session.gpu_instance(mig) else {
            all_told = false;
            continue;
        };
        let sum = found.entry(id).or_default();
        sum.devices = sum.devices.saturating_add(1);
        sum.instance_slices = of.gpuInstanceSliceCount;
        sum.slices = sum.slices.saturating_add(of.computeInstanceSliceCount);
        sum.multiprocessors = sum.multiprocessors.saturating_add(of.multiprocessorCount);
        sum.memory_mib = of.memorySizeMB;
    }
    let whole = multiprocessors(session, handle).filter(|_| all_told);
    let memory_mib = session.device(handle).memory_info().ok().map(|m| m.total >> 20);
    Ok(found
        .into_iter()
        .map(|(id, sum)| Instance {
            id,
            slices: sum.instance_slices,
            devices: sum.devices,
            part: sum.part(whole, memory_mib.filter(|_| all_told)),
        })
        .collect())
}

/// What the compute instances of one GPU instance sum up to. Memory is the GPU instance's, shared by them.
#[derive(Default)]
struct Compute {
    devices: u32,
    instance_slices: u32,
    slices: u32,
    multiprocessors: u32,
    memory_mib: u64,
}

impl Compute {
    /// The GPU instance's part of the device. Shares are of all its multiprocessors, and those that no compute instance
    /// was given are not told of: then it is not known.
    fn part(&self, multiprocessors: Option<u32>, memory_mib: Option<u64>) -> Part {
        let full = self.slices == self.instance_slices && self.multiprocessors > 0;
        Part {
            multiprocessors: multiprocessors
                .filter(|_| full)
                .and_then(|whole| Part::of(u64::from(self.multiprocessors), u64::from(whole))),
            memory: memory_mib.and_then(|whole| Part::of(self.memory_mib, whole)),
        }
    }
}

/// The multiprocessors of the whole device. The driver tells its cores: 128 to a multiprocessor in every part that has
/// both MIG and GPM (CUDA C++ Programming Guide, compute capabilities 9.0, 10.x and 12.x).
fn multiprocessors(session: &Session, handle: Handle) -> Option<u32> {
    let device = session.device(handle);
    let capability = device.cuda_compute_capability().ok()?;
    if !matches!(capability.major, 9 | 10 | 12) {
        return None;
    }
    device.num_cores().ok()?.checked_div(128)
}

fn by_size(instances: &[Instance]) -> Vec<MigInstance> {
    let mut sizes: BTreeMap<u8, u8> = BTreeMap::new();
    for instance in instances {
        let slices = u8::try_from(instance.slices).unwrap_or(u8::MAX);
        let count = sizes.entry(slices).or_default();
        *count = count.saturating_add(1);
    }
    sizes
        .into_iter()
        .map(|(slices, count)| MigInstance { slices, count })
        .collect()
}

/// NVML holds device and vendor in one number, device on top.
fn pci_id(device: u32, subsystem: u32) -> PciId {
    let low = |n: u32| u16::try_from(n & 0xffff).unwrap_or(0);
    PciId {
        vendor: low(device),
        device: low(device >> 16),
        subsystem_vendor: low(subsystem),
        subsystem_device: low(subsystem >> 16),
    }
}

fn fabric(session: &Session, handle: Handle) -> Option<Fabric> {
    let info = session.fabric(handle).ok()?;
    Some(Fabric {
        state: info.state,
        cluster: info.clusterUuid,
        clique: info.cliqueId,
    })
}

/// Active links, by what they lead to; `None` where the device has no NVLink or does not tell.
fn active_links(session: &Session, handle: Handle) -> Option<NvlinkLinks> {
    let mut links = NvlinkLinks {
        to_gpus: 0,
        to_switches: 0,
        to_others: 0,
        ends: Reading::Value(0),
    };
    let mut places: Answer<BTreeSet<_>> = Ok(BTreeSet::new());
    for link in 0..MAX_LINKS {
        match session.nvlink_active(handle, link) {
            Ok(true) => {}
            Ok(false) => continue,
            Err(_) if link == 0 => return None,
            // The part has no more.
            Err(_) => break,
        }
        let of_kind = match session.nvlink_remote_type(handle, link) {
            Ok(LINK_TO_GPU) => &mut links.to_gpus,
            Ok(LINK_TO_SWITCH) => &mut links.to_switches,
            Ok(_) | Err(_) => &mut links.to_others,
        };
        *of_kind = of_kind.saturating_add(1);
        places = places.and_then(|mut seen| {
            seen.insert(session.nvlink_remote_place(handle, link)?);
            Ok(seen)
        });
    }
    links.ends = reading(places.map(|seen| u8::try_from(seen.len()).unwrap_or(u8::MAX)));
    Some(links)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packed_numbers_come_apart_as_the_bus_writes_them() {
        let id = pci_id(0x2330_10de, 0x16c1_10de);
        assert_eq!(id.to_string(), "10de:2330 (10de:16c1)");
    }

    #[test]
    fn instances_are_counted_by_size() {
        let told = by_size(&[(1, 3), (2, 3), (7, 1)].map(|(id, slices)| Instance {
            id,
            slices,
            devices: 1,
            part: Compute::default().part(None, None),
        }));
        let pairs: Vec<_> = told.iter().map(|m| (m.slices, m.count)).collect();
        assert_eq!(pairs, [(1, 1), (3, 2)]);
    }

    #[test]
    fn three_slices_with_more_than_their_multiprocessors_are_the_larger_part() {
        assert_eq!((share(3, 7), share(60, 132)), (Ppm(428_572), Ppm(454_546)));
        assert_eq!(part_of(3, 7, 60, Some(132)), Ppm(454_546));
        // One of seven slices has less than a seventh.
        assert_eq!(part_of(1, 7, 16, Some(132)), Ppm(142_858));
        assert_eq!(part_of(3, 7, 60, None), Ppm(428_572));
        assert_eq!(part_of(u32::MAX, 0, u32::MAX, Some(0)), Ppm::ONE);
    }

    #[test]
    fn an_instance_with_room_left_in_it_is_a_part_of_unknown_size() {
        let mut three = Compute {
            devices: 1,
            instance_slices: 3,
            slices: 3,
            multiprocessors: 60,
            memory_mib: 40_000,
        };
        let part = three.part(Some(132), Some(80_000));
        assert_eq!(part.multiprocessors, Some(454_545_454));
        assert_eq!(part.memory, Some(500_000_000));
        assert_eq!(three.part(None, None).multiprocessors, None);
        three.slices = 1;
        assert_eq!(three.part(Some(132), Some(80_000)).multiprocessors, None);
    }
}
