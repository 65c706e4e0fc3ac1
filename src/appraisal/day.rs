//! Sums of one node and one day (UTC). A report counts on the day in which it ends.

use super::{DeviceSums, DeviceTotal, NodeRun, Span, TenantTotals};
use crate::id::DeviceUuid;
use crate::report::{AcceleratorClaims, TenantList};
use crate::time::UnixSeconds;

/// The most devices that are summed for a node.
pub(super) const DEVICES: usize = 256;

crate::record! {
    /// One node's day, or several of its days that nobody looks at one by one.
    pub struct NodeDay {
        /// Days since 1970-01-01, UTC; of several days the first.
        0 => day: i64,
        /// Devices, in the order of their UUIDs.
        1 => devices: Vec<DeviceTotal>,
        /// When the last of its reports came, by the verifier's clock.
        2 => received: Option<UnixSeconds>,
        /// How many days it stands for.
        3 => days: u32,
        /// Tenants; absent where none held a device, and where it stands for several days.
        4 => tenants: Option<Box<TenantTotals>>,
    }
}

impl NodeDay {
    /// An empty day.
    #[must_use]
    pub fn new(day: i64) -> Self {
        Self {
            day,
            devices: Vec::new(),
            received: None,
            days: 1,
            tenants: None,
        }
    }

    /// The days from one on that lie between two runs, as one.
    #[must_use]
    pub fn between(first: i64, days: u32, later: &NodeRun, earlier: Option<&NodeRun>) -> Self {
        Self {
            day: first,
            devices: later.after(earlier).collect(),
            received: None,
            days,
            tenants: None,
        }
    }

    /// Takes in a day that lies within these.
    pub fn join(&mut self, day: &Self) {
        for total in &day.devices {
            let _ = DeviceTotal::put(&mut self.devices, total);
        }
        self.received = self.received.max(day.received);
    }

    /// Whether all its reports came before a key was revoked, if it was: what came later may be anyone's.
    #[must_use]
    pub fn came_before(&self, revoked_from: Option<UnixSeconds>) -> bool {
        revoked_from.is_none_or(|from| self.received.is_none_or(|t| t < from))
    }

    /// The sums of one device.
    #[must_use]
    pub fn device(&self, uuid: &DeviceUuid) -> Option<&DeviceSums> {
        let at = self.devices.binary_search_by(|d| d.uuid.cmp(uuid)).ok()?;
        self.devices.get(at).map(|d| &d.sums)
    }

    pub(super) fn absorb(&mut self, claims: &AcceleratorClaims, span: &Span, length_ms: u64) {
        let total = DeviceTotal {
            uuid: claims.identity.uuid,
            since: span.from,
            until: span.to,
            sums: DeviceSums::of(claims, length_ms),
        };
        // For want of room it counts as unreported, which no upper bound is below.
        let _ = DeviceTotal::put(&mut self.devices, &total);
    }

    /// Takes in what a device did for the tenants of a report.
    pub(super) fn attribute(&mut self, listed: &TenantList, claims: &AcceleratorClaims, length_ms: u64) {
        if let Some(shares) = &claims.delivered.tenants {
            let tenants = self.tenants.get_or_insert_default();
            tenants.absorb(listed, shares, claims.delivered.compute.as_ref(), length_ms);
        }
    }
}
