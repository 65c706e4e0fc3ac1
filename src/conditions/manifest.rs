//! The manifest of a licence, found by what devices say of themselves.

use crate::id::DeviceUuid;
use crate::licence::{Licence, LicensedDevice};
use crate::telemetry::AcceleratorIdentity;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Places of a manifest's rows by UUID and by serial number: a site may have ten thousand of them.
#[derive(Debug)]
pub(super) struct ManifestIndex {
    by_uuid: BTreeMap<DeviceUuid, usize>,
    by_serial: BTreeMap<String, usize>,
}

impl ManifestIndex {
    pub(super) fn of(licence: &Licence) -> Self {
        let rows = || licence.devices.iter().enumerate();
        Self {
            by_uuid: rows().filter_map(|(i, r)| Some((r.uuid?, i))).collect(),
            by_serial: rows().filter_map(|(i, r)| Some((r.serial.clone()?, i))).collect(),
        }
    }
}

/// A manifest and its index.
#[derive(Debug)]
pub(super) struct Manifest<'a> {
    devices: &'a [LicensedDevice],
    index: Arc<ManifestIndex>,
}

impl<'a> Manifest<'a> {
    pub(super) fn of(licence: &'a Licence) -> Self {
        Self::with_index(licence, Arc::new(ManifestIndex::of(licence)))
    }

    /// The same, where the index of the licence's manifest is at hand.
    pub(super) fn with_index(licence: &'a Licence, index: Arc<ManifestIndex>) -> Self {
        Self {
            devices: &licence.devices,
            index,
        }
    }

    /// Rows that name this UUID or this serial number, with their place.
    pub(super) fn candidates(
        &self,
        identity: &AcceleratorIdentity,
    ) -> impl Iterator<Item = (usize, &'a LicensedDevice)> {
        let by_uuid = self.index.by_uuid.get(&identity.uuid).copied();
        let by_serial = identity
            .serial
            .as_deref()
            .and_then(|s| self.index.by_serial.get(s).copied())
            .filter(|i| Some(*i) != by_uuid);
        let devices = self.devices;
        [by_uuid, by_serial]
            .into_iter()
            .flatten()
            .filter_map(move |i| Some((i, devices.get(i)?)))
    }
}
