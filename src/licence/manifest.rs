//! The manifest: which devices were supplied, and where they may stand.

use crate::id::{DeviceUuid, Digest};
use crate::telemetry::AcceleratorIdentity;
use crate::time::UnixSeconds;

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
