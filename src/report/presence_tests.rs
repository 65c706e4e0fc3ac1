//! What the meter says of devices that come and go.

use super::synthetic::{Site, feed, identity, inventory, sample};
use crate::telemetry::{
    BusDevice, BusDriver, DeviceSample, DeviceState, GapReason, Inventory, Reading, TickKind,
};
use crate::time::{BootNanos, SECOND};
use crate::unit::Ppm;

/// The driver lists these devices, and VFIO holds so many of their kind.
fn with_guests(at: u64, devices: std::ops::Range<u16>, guests: u16) -> Inventory {
    Inventory {
        bus: vec![BusDevice {
            id: identity(0).pci,
            driver: BusDriver::Vfio,
            count: guests,
            reporting: 0,
            state: DeviceState::PassedThrough,
        }],
        ..inventory(BootNanos(at * SECOND), devices)
    }
}

fn states(site: &mut Site, at: u64) -> Vec<DeviceState> {
    let finished = site.finish(BootNanos(at * SECOND));
    finished.accelerators.iter().map(|c| c.state).collect()
}

#[test]
fn a_device_that_was_handed_to_a_guest_is_passed_through_and_not_lost() {
    let mut site = Site::new(2, 60);
    for t in 0..=30 {
        let read = |device| DeviceSample {
            power_mw: Reading::Value(400_000),
            utilisation: Reading::Value(Ppm::ONE),
            ..sample(device, t * SECOND)
        };
        let samples = (0..2).map(read).collect();
        feed(&mut site, BootNanos(t * SECOND), TickKind::Regular, samples);
    }
    // Unbound first, then bound to VFIO; a driver that is let go of and taken up again does not bring it back.
    site.meter.set_inventory(&with_guests(31, 0..1, 0));
    site.meter.set_inventory(&with_guests(32, 0..1, 1));
    site.meter.mark(None, DeviceState::Released);
    site.meter.mark(None, DeviceState::Present);
    let claims = site.finish(BootNanos(60 * SECOND)).accelerators;
    assert_eq!(claims[1].state, DeviceState::PassedThrough);
    assert_eq!(claims[1].delivered.gaps[0].reason, GapReason::Reconfigured);
    assert_eq!(claims[0].state, DeviceState::Present);
    // One guest does not explain that the other is gone too.
    site.meter.set_inventory(&with_guests(61, 0..0, 1));
    assert_eq!(
        states(&mut site, 70),
        [DeviceState::Lost, DeviceState::PassedThrough]
    );
    // The guest is gone and the device did not come back; then both do.
    site.meter.set_inventory(&with_guests(71, 0..0, 0));
    assert_eq!(states(&mut site, 75), [DeviceState::Lost, DeviceState::Lost]);
    site.meter.set_inventory(&with_guests(76, 0..2, 0));
    assert_eq!(
        states(&mut site, 80),
        [DeviceState::Present, DeviceState::Present]
    );
}

#[test]
fn a_power_limit_that_is_lowered_at_the_end_bounds_nothing_of_the_time_before() {
    // At 55 W, five above the least that idling takes, a sixth of the peak is out of reach.
    let low = |at: u64| {
        let mut now = inventory(BootNanos(at * SECOND), 0..1);
        now.devices[0].power_limit_mw = Reading::Value(55_000);
        now
    };
    let mut site = Site::new(1, 60);
    site.meter.set_inventory(&low(59));
    let mut upper = |at: u64| {
        let claims = site.finish(BootNanos(at * SECOND)).accelerators.remove(0);
        let compute = claims.delivered.compute.unwrap();
        (compute.upper, compute.upper_unconditional)
    };
    let (most, whole) = upper(60);
    assert_eq!(most, whole);
    let (most, whole) = upper(120);
    assert!(most.0 * 2 < whole.0, "{most:?}");
}
