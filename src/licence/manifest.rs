//! The manifest: which devices were supplied, and where they may stand.

use super::Licence;
use crate::id::{DeviceUuid, Digest};
use crate::telemetry::AcceleratorIdentity;
use crate::time::UnixSeconds;
use std::collections::BTreeSet;

/// A site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Its id.
    pub id: String,
    /// Its country (ISO 3166-1 alpha-2); absent where the licence names the site only by its id.
    pub country: Option<String>,
    /// Its address, for people.
    pub address: Option<String>,
}

/// A model, and how many of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LicensedModel {
    /// Its name in the catalogue of accelerators.
    pub catalogue_id: String,
    /// Most at one site.
    pub count: u64,
}

/// PCI vendor and device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciPair {
    /// Vendor.
    pub vendor: u16,
    /// Device.
    pub device: u16,
}

impl std::fmt::Display for PciPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04x}:{:04x}", self.vendor, self.device)
    }
}

/// One row of the manifest. At least one of `uuid` and `serial` is present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LicensedDevice {
    /// UUID, as the driver reports it.
    pub uuid: Option<DeviceUuid>,
    /// Serial number of the board.
    pub serial: Option<String>,
    /// PCI vendor and device.
    pub pci: Option<PciPair>,
    /// Its model's name in the catalogue.
    pub model: Option<String>,
    /// SHA-256 of the public key of its boot ROM, by which it proves who it is (INV-05).
    pub device_id: Option<Digest>,
    /// Its site; absent only where the licence names one site.
    pub site: Option<String>,
    /// From when it is expected to report; absent where from the licence's start.
    pub in_service: Option<UnixSeconds>,
}

/// A device that an older serial of a licence listed for a site, and that the newest serial lists nowhere (INV-09).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormerDevice {
    /// The licence's id.
    pub licence: String,
    /// The newest serial that listed it.
    pub serial: u64,
    /// The site.
    pub site: String,
    /// Its row there.
    pub row: LicensedDevice,
}

impl Licence {
    /// The devices that older serials of this licence listed and it lists nowhere, each as the newest of them listed it. A row that was written anew
    /// under another UUID or serial number is the same device.
    #[must_use]
    pub fn former<'a>(&self, older: impl IntoIterator<Item = &'a Self>) -> Vec<FormerDevice> {
        let mut older: Vec<&Self> = older
            .into_iter()
            .filter(|l| l.licence_id == self.licence_id && l.serial < self.serial)
            .collect();
        older.sort_by_key(|l| std::cmp::Reverse(l.serial));
        let mut uuids: BTreeSet<DeviceUuid> = self.devices.iter().filter_map(|d| d.uuid).collect();
        let mut serials: BTreeSet<&str> = self.devices.iter().filter_map(|d| d.serial.as_deref()).collect();
        let mut found = Vec::new();
        for licence in older {
            for row in &licence.devices {
                let serial = row.serial.as_deref();
                if row.uuid.is_some_and(|u| uuids.contains(&u)) || serial.is_some_and(|s| serials.contains(s))
                {
                    continue;
                }
                uuids.extend(row.uuid);
                serials.extend(serial);
                let only = licence.sites.first().map(|s| s.id.clone());
                found.extend(row.site.clone().or(only).map(|site| FormerDevice {
                    licence: licence.licence_id.clone(),
                    serial: licence.serial,
                    site,
                    row: row.clone(),
                }));
            }
        }
        found
    }
}

/// How a device stands to a row of the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowMatch {
    /// Every identifier that both have agrees.
    Same,
    /// The UUID or the serial agrees, and this other identifier does not.
    Differs(&'static str),
    /// Another device.
    Other,
}

impl LicensedDevice {
    /// Compares a device with this row.
    #[must_use]
    pub fn compare(&self, device: &AcceleratorIdentity) -> RowMatch {
        let uuid = self.uuid.map(|u| u == device.uuid);
        let serial = match (&self.serial, &device.serial) {
            (Some(a), Some(b)) => Some(a == b),
            _ => None,
        };
        let pci = self
            .pci
            .map(|p| p.vendor == device.pci.vendor && p.device == device.pci.device);
        match (uuid, serial, pci) {
            (Some(true), Some(false), _) => RowMatch::Differs("serial number"),
            (Some(false), Some(true), _) => RowMatch::Differs("UUID"),
            (Some(true), _, Some(false)) | (_, Some(true), Some(false)) => RowMatch::Differs("PCI id"),
            (Some(true), _, _) | (None, Some(true), _) => RowMatch::Same,
            _ => RowMatch::Other,
        }
    }

    /// The identifier by which a person finds it.
    #[must_use]
    pub fn label(&self) -> String {
        match (&self.uuid, &self.serial) {
            (Some(uuid), _) => uuid.nvml(),
            (None, Some(serial)) => format!("serial {serial}"),
            (None, None) => "a device without identifiers".to_owned(),
        }
    }
}
