//! Who a device is, and how it is divided.
//!
//! Decides: which of the driver's answers make an identity. Only the UUID and the PCI identifiers are demanded; a part
//! without a serial number is a device all the same. Trusts nothing beyond the bounds. Does not establish that the
//! driver speaks the truth: the grade is `driver-reported`.

use super::fault::{Answer, Fault, reading};
use super::fields::MAX_LINKS;
use super::pipes::{Extent, Instance};
use super::session::{Handle, Session};
use crate::devices::pci::PciAddress;
use nvml_wrapper::enum_wrappers::device::Clock;
use std::collections::BTreeMap;
use weighbridge::id::{DeviceUuid, PciId};
use weighbridge::telemetry::{AcceleratorIdentity, Fabric, MigInstance};

/// The most MIG devices of one parent that are looked at; the hardware makes at most seven.
const MAX_MIG: u32 = 16;

/// A device, identified.
#[derive(Debug)]
pub(super) struct Identified {
    pub(super) identity: AcceleratorIdentity,
    pub(super) address: PciAddress,
    pub(super) extent: Extent,
}

/// Identifies the device.
pub(super) fn identify(session: &Session, handle: Handle, index: u16) -> Answer<Identified> {
    let uuid = DeviceUuid::parse_nvml(&session.uuid(handle)?).map_err(|_| Fault::Malformed)?;
    let pci = session.pci(handle)?;
    let extent = extent(session, handle)?;
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
    })
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
    let mut found = BTreeMap::new();
    for place in 0..places {
        // Places are filled in no order, and an empty one is "not found".
        let Ok(mig) = session.mig_handle(handle, place) else {
            continue;
        };
        if let Ok((id, slices)) = session.gpu_instance(mig) {
            found.insert(id, slices);
        }
    }
    Ok(found.into_iter().collect())
}

fn by_size(instances: &[Instance]) -> Vec<MigInstance> {
    let mut sizes: BTreeMap<u8, u8> = BTreeMap::new();
    for (_, slices) in instances {
        let count = sizes.entry(u8::try_from(*slices).unwrap_or(u8::MAX)).or_default();
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

/// Active links; `None` where the device has no NVLink or does not tell.
fn active_links(session: &Session, handle: Handle) -> Option<u8> {
    let mut active = session.nvlink_active(handle, 0).map(u8::from).ok()?;
    for link in 1..MAX_LINKS {
        match session.nvlink_active(handle, link) {
            Ok(up) => active = active.saturating_add(u8::from(up)),
            Err(_) => break,
        }
    }
    Some(active)
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
        let told = by_size(&[(1, 3), (2, 3), (7, 1)]);
        let pairs: Vec<_> = told.iter().map(|m| (m.slices, m.count)).collect();
        assert_eq!(pairs, [(1, 1), (3, 2)]);
    }
}
