//! Synthetic devices under a meter, for tests.

use super::{ClosedWindow, Finished, Meter, MeterSettings};
use crate::accelerator::Catalogue;
use crate::accounting::consistency::Physics;
use crate::id::{DeviceUuid, Digest};
use crate::telemetry::{
    AcceleratorIdentity, Activity, BusSource, DeviceSample, HostDriver, Inventory, LibraryOrigin, Reading,
    Tick, TickKind, blank, h100,
};
use crate::time::{BootNanos, SECOND};
use crate::unit::Ppm;
use crate::workload::Model;

/// An H100, number `index`.
pub(super) fn identity(index: u16) -> AcceleratorIdentity {
    AcceleratorIdentity {
        index,
        uuid: DeviceUuid([u8::try_from(index).unwrap() + 1; 16]),
        ..h100()
    }
}

pub(super) fn inventory(at: BootNanos, devices: impl Iterator<Item = u16>) -> Inventory {
    Inventory {
        at,
        driver: Some(HostDriver {
            driver_version: "590.48.01".into(),
            nvml_version: "13.590".into(),
            cuda_version: None,
            library_digest: Digest([0; 32]),
            library_origin: LibraryOrigin::System,
            library_changed: false,
            confidential_compute: None,
        }),
        devices: devices.map(identity).collect(),
        bus: Vec::new(),
        bus_source: BusSource::System,
        switches: Vec::new(),
        mig_devices: None,
    }
}

/// A sample with nothing but a clock and its time.
pub(super) fn sample(device: u16, at_ns: u64) -> DeviceSample {
    DeviceSample {
        device,
        sm_clock_mhz: Reading::Value(1_830),
        ..blank(BootNanos(at_ns))
    }
}

/// A meter, and salts that count.
pub(super) struct Site {
    pub(super) meter: Meter,
    salt: u128,
}

impl Site {
    pub(super) fn new(gpus: u16, window_s: u64) -> Self {
        let settings = MeterSettings {
            nominal_ns: SECOND,
            window_ns: window_s * SECOND,
        };
        let meter = Meter::new(
            &inventory(BootNanos(0), 0..gpus),
            BootNanos(0),
            settings,
            Catalogue::embedded().unwrap(),
            Model::embedded().unwrap(),
            Physics::embedded().unwrap(),
        );
        Self { meter, salt: 0 }
    }

    pub(super) fn close(&mut self, end: BootNanos) -> Vec<ClosedWindow> {
        let salt = &mut self.salt;
        self.meter.close_window(end, &mut || {
            *salt += 1;
            salt.to_be_bytes()
        })
    }

    pub(super) fn finish(&mut self, end: BootNanos) -> Finished {
        let salt = &mut self.salt;
        self.meter.finish(end, &mut || {
            *salt += 1;
            salt.to_be_bytes()
        })
    }
}

/// Pushes a tick, and closes the window where it is due.
pub(super) fn feed(
    site: &mut Site,
    at: BootNanos,
    kind: TickKind,
    devices: Vec<DeviceSample>,
) -> Option<Vec<ClosedWindow>> {
    site.meter.push_tick(&Tick { at, kind, devices });
    (at >= site.meter.window_end()).then(|| site.close(at))
}

/// What a synthetic device does in second `t`: SM, tensor and DRAM in percent, watts, and bytes over NVLink each way.
pub(super) type Act = fn(device: u16, t: u64) -> (u32, u32, u32, u32, [u64; 2]);

/// A noise of its own for each device and second, 0 to 99.
fn noise(device: u16, t: u64) -> u32 {
    let x =
        (u64::from(device) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ t.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb);
    u32::try_from((x >> 40) % 100).unwrap()
}

/// Steps in common every five seconds, gradients over NVLink both ways at the end of each.
pub(super) fn trains(device: u16, t: u64) -> (u32, u32, u32, u32, [u64; 2]) {
    let exchange = t % 5 == 4;
    let watts = if exchange { 450 } else { 650 } + noise(0, t) / 4 + noise(device, t) / 20;
    let bytes = if exchange { 8_000_000_000 } else { 0 };
    (80, if exchange { 5 } else { 55 }, 35, watts, [bytes; 2])
}

/// Requests as they come, each device on its own.
pub(super) fn serves(device: u16, t: u64) -> (u32, u32, u32, u32, [u64; 2]) {
    let load = 20 + noise(device, t) / 4;
    (load, load / 8, load / 2, 200 + load, [0; 2])
}

pub(super) fn rests(_: u16, _: u64) -> (u32, u32, u32, u32, [u64; 2]) {
    (0, 0, 0, 70, [0; 2])
}

/// Devices that each do their own thing, once a second, with counters that begin at an odd value.
pub(super) struct Players {
    acts: Vec<Act>,
    pub(super) energy: Vec<u64>,
    link: Vec<[u64; 2]>,
    bursts: bool,
}

impl Players {
    pub(super) fn new(acts: Vec<Act>) -> Self {
        Self {
            energy: vec![77_000; acts.len()],
            link: vec![[123; 2]; acts.len()],
            bursts: false,
            acts,
        }
    }

    /// The same, read ten times a second in the first minute of every ten.
    pub(super) fn in_bursts(self) -> Self {
        Self { bursts: true, ..self }
    }

    pub(super) fn at(&mut self, t: u64) -> Vec<DeviceSample> {
        let mut devices = Vec::new();
        for (i, act) in self.acts.iter().enumerate() {
            let device = u16::try_from(i).unwrap();
            let (sm, tensor, dram, watts, bytes) = act(device, t);
            self.energy[i] += u64::from(watts) * 1_000;
            for (sum, gained) in self.link[i].iter_mut().zip(bytes) {
                *sum += gained;
            }
            let share = |percent: u32| Reading::Value(Ppm(percent * 10_000));
            devices.push(DeviceSample {
                energy_mj: Reading::Value(self.energy[i]),
                power_mw: Reading::Value(watts * 1_000),
                utilisation: share(sm),
                nvlink_tx_bytes: Reading::Value(self.link[i][0]),
                nvlink_rx_bytes: Reading::Value(self.link[i][1]),
                memory_used_mib: Reading::Value(40_960),
                activity: Reading::Value(Activity {
                    interval_ns: SECOND,
                    sm: share(sm),
                    tensor_any: share(tensor),
                    dfma: share(0),
                    hmma: share(tensor),
                    imma: share(0),
                    dram: share(dram),
                    fp64: share(0),
                    fp32: share(0),
                    fp16: share(0),
                    integer: share(0),
                }),
                ..sample(device, t * SECOND)
            });
        }
        devices
    }

    /// Plays the seconds of a range, and gives the windows that were closed.
    pub(super) fn play(
        &mut self,
        site: &mut Site,
        seconds: std::ops::RangeInclusive<u64>,
    ) -> Vec<ClosedWindow> {
        let closed = seconds.filter_map(|t| self.tick(site, t, |sample| sample));
        closed.flatten().collect()
    }

    /// Plays one second, of which `changed` is what is shown.
    pub(super) fn tick(
        &mut self,
        site: &mut Site,
        t: u64,
        changed: impl Fn(DeviceSample) -> DeviceSample,
    ) -> Option<Vec<ClosedWindow>> {
        let before = self.link.clone();
        let devices: Vec<DeviceSample> = self.at(t).into_iter().map(changed).collect();
        if self.bursts && t % 600 < 60 {
            burst(site, t, &before, &devices);
        }
        feed(site, BootNanos(t * SECOND), TickKind::Regular, devices)
    }
}

/// The ticks of a burst in the second that ends with `devices`: links carry what they do evenly.
fn burst(site: &mut Site, t: u64, before: &[[u64; 2]], devices: &[DeviceSample]) {
    for tenth in 1..10 {
        let Some(at) = (t * SECOND).checked_sub(SECOND - tenth * SECOND / 10) else {
            return;
        };
        let counted = |now: &Reading<u64>, before: u64| now.map(|now| before + (now - before) * tenth / 10);
        let read = devices.iter().zip(before).map(|(d, [tx, rx])| DeviceSample {
            at: BootNanos(at),
            nvlink_tx_bytes: counted(&d.nvlink_tx_bytes, *tx),
            nvlink_rx_bytes: counted(&d.nvlink_rx_bytes, *rx),
            ..d.clone()
        });
        site.meter.push_tick(&Tick {
            at: BootNanos(at),
            kind: TickKind::Burst,
            devices: read.collect(),
        });
    }
}

pub(super) fn second(t: u64) -> BootNanos {
    BootNanos(t * SECOND)
}
