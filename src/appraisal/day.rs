//! Sums of one node and one day (UTC). A report counts on the day in which it ends.

use crate::id::DeviceUuid;
use crate::report::AcceleratorClaims;
use crate::time::UnixSeconds;
use crate::unit::{MicroTppHours, Millijoules};

/// The most devices that one day holds for a node.
const DEVICES: usize = 256;

crate::row! {
    /// One device's day.
    pub struct DeviceDay {
        /// The device.
        uuid: DeviceUuid,
        /// Reports that name it.
        reports: u32,
        /// Time that these speak of, in milliseconds.
        expected_ms: u64,
        /// Time in it that samples cover, in milliseconds.
        covered_ms: u64,
        /// Energy, as far as it was read.
        energy: Millijoules,
        /// Time for which energy could not be read, in milliseconds.
        energy_unknown_ms: u64,
        /// Compute: not below.
        lower: MicroTppHours,
        /// Compute: what the counters say.
        counter: MicroTppHours,
        /// Compute: not above, if the driver tells the truth.
        upper: MicroTppHours,
        /// Compute: not above, whatever the driver tells.
        unconditional: MicroTppHours,
        /// Time for which compute could not be bounded, because the model was unknown to the node, in milliseconds.
        unbounded_ms: u64,
        /// Compute in training: not below.
        training_lower: MicroTppHours,
        /// Compute in training: not above, if the driver tells the truth.
        training_upper: MicroTppHours,
    }
}

crate::record! {
    /// One node's day.
    pub struct NodeDay {
        /// Days since 1970-01-01, UTC.
        0 => day: i64,
        /// Devices, in the order of their UUIDs.
        1 => devices: Vec<DeviceDay>,
        /// When the last of its reports came, by the verifier's clock.
        2 => received: Option<UnixSeconds>,
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
        }
    }

    /// Whether all its reports came before a key was revoked, if it was: what came later may be anyone's.
    #[must_use]
    pub fn came_before(&self, revoked_from: Option<UnixSeconds>) -> bool {
        revoked_from.is_none_or(|from| self.received.is_none_or(|t| t < from))
    }

    /// The sums of one device.
    #[must_use]
    pub fn device(&self, uuid: &DeviceUuid) -> Option<&DeviceDay> {
        let at = self.devices.binary_search_by(|d| d.uuid.cmp(uuid)).ok()?;
        self.devices.get(at)
    }

    pub(super) fn absorb(&mut self, claims: &AcceleratorClaims, length_ms: u64) {
        let uuid = claims.identity.uuid;
        let at = match self.devices.binary_search_by(|d| d.uuid.cmp(&uuid)) {
            Ok(at) => at,
            Err(_) if self.devices.len() >= DEVICES => return,
            Err(at) => {
                self.devices.insert(at, DeviceDay::new(uuid));
                at
            }
        };
        if let Some(day) = self.devices.get_mut(at) {
            day.absorb(claims, length_ms);
        }
    }
}

impl DeviceDay {
    fn new(uuid: DeviceUuid) -> Self {
        Self {
            uuid,
            reports: 0,
            expected_ms: 0,
            covered_ms: 0,
            energy: Millijoules(0),
            energy_unknown_ms: 0,
            lower: MicroTppHours(0),
            counter: MicroTppHours(0),
            upper: MicroTppHours(0),
            unconditional: MicroTppHours(0),
            unbounded_ms: 0,
            training_lower: MicroTppHours(0),
            training_upper: MicroTppHours(0),
        }
    }

    fn absorb(&mut self, claims: &AcceleratorClaims, length_ms: u64) {
        let delivered = &claims.delivered;
        self.reports = self.reports.saturating_add(1);
        self.expected_ms = self.expected_ms.saturating_add(length_ms);
        let covered = u64::from(delivered.covered_ms).min(length_ms);
        self.covered_ms = self.covered_ms.saturating_add(covered);
        match delivered.measured.energy_mj.value() {
            Some(energy) => self.energy = self.energy.plus(Millijoules(*energy)),
            None => self.energy_unknown_ms = self.energy_unknown_ms.saturating_add(length_ms),
        }
        let Some(compute) = &delivered.compute else {
            self.unbounded_ms = self.unbounded_ms.saturating_add(length_ms);
            return;
        };
        self.lower = self.lower.plus(compute.lower);
        self.counter = self.counter.plus(compute.counter);
        self.upper = self.upper.plus(compute.upper);
        self.unconditional = self.unconditional.plus(compute.upper_unconditional);
        match &delivered.training {
            Some(training) => {
                self.training_lower = self.training_lower.plus(training.lower);
                self.training_upper = self.training_upper.plus(training.upper);
            }
            // Unscored compute may all have been training.
            None => self.training_upper = self.training_upper.plus(compute.upper),
        }
    }
}
