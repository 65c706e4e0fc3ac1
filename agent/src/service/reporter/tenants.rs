//! The tenants of a report: who the meter is told holds which device.

use super::Reporter;
use tracing::warn;
use weighbridge::report::{Holding, TenantShares};
use weighbridge::time::BootNanos;

impl Reporter {
    /// Who holds which device from now on.
    pub fn set_holdings(&mut self, holdings: Vec<Holding>) {
        self.meter.set_holdings(holdings);
    }

    /// When the report in the making began: who held a device before is not asked any more.
    #[must_use]
    pub fn begun(&self) -> BootNanos {
        self.meter.start()
    }
}

/// Says that devices had more tenants than a report tells of.
pub(super) fn name_crowd(devices: usize) {
    if devices > 0 {
        warn!(
            devices,
            "more tenants held a device than a report tells of: what those beyond the first {} did in it is not attributed",
            TenantShares::MOST
        );
    }
}
