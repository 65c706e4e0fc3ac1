//! Reading one device.
//!
//! Decides: what a regular tick asks of a device, and what a burst does. Trusts the driver within bounds. Does not
//! establish that the values of one sample belong to one instant: they are read one after another, within microseconds.

use super::fault::{Answer, Fault, reading};
use super::fields::Questions;
use super::identity;
use super::jobs::JobLog;
use super::pipes::{BurstMeter, Extent, Meter, Metered, Request};
use super::rings::Rings;
use super::session::{Handle, Session};
use crate::clock::Clock;
use nvml_wrapper::enum_wrappers::device::{Clock as ClockDomain, TemperatureSensor};
use std::sync::Arc;
use weighbridge::telemetry::{Activity, DeviceSample, DeviceState, LossReason, Reading, TickKind};
use weighbridge::time::BootNanos;
use weighbridge::unit::Ppm;

/// What is held of the driver for one device.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) handle: Handle,
    questions: Questions,
    meter: Option<Meter>,
    /// Taken at the first burst.
    burst: Option<BurstMeter>,
    /// What tells of the time between two ticks where there is no meter.
    rings: Option<Rings>,
    /// Kept where accounting mode is on.
    jobs: Option<JobLog>,
    pub(super) extent: Extent,
}

impl Access {
    /// Finds out what the device answers, and takes what is needed to ask it.
    pub(super) fn open(
        session: &Session,
        handle: Handle,
        extent: Extent,
        with_meter: bool,
        now: impl Fn() -> BootNanos,
    ) -> Self {
        let meter = with_meter
            .then(|| Meter::open(session, handle, &extent, now).ok())
            .flatten();
        let rings = meter.is_none().then(|| Rings::open(session, handle));
        Self {
            handle,
            questions: Questions::find(session, handle),
            meter,
            burst: None,
            rings,
            jobs: JobLog::open(session, handle),
            extent,
        }
    }

    /// Finds out what the device answers by now.
    pub(super) fn survey(&mut self, session: &Session) {
        self.questions.find_again(session, self.handle);
        if self.jobs.is_none() {
            self.jobs = JobLog::open(session, self.handle);
        }
    }

    /// Reads the device once. An error means that it did not answer at all.
    pub(super) fn read(
        &mut self,
        session: &Session,
        kind: TickKind,
        request: &mut Request,
        clock: &Arc<dyn Clock>,
    ) -> Answer<DeviceSample> {
        let counters = self.questions.read(session, self.handle, kind)?;
        let device = session.device(self.handle);
        let power = counters.power_mw.or_else(|fault| match fault {
            // Drivers that do not know field 186 answer the older call.
            Fault::Unsupported => device.power_usage().map(u64::from).map_err(Fault::from),
            other => Err(other),
        });
        let mut sample = DeviceSample {
            energy_mj: reading(counters.energy_mj),
            power_mw: reading(power.and_then(narrow)),
            nvlink_tx_bytes: reading(counters.nvlink_sent),
            nvlink_rx_bytes: reading(counters.nvlink_received),
            pcie_tx_bytes: reading(counters.pcie_sent),
            pcie_rx_bytes: reading(counters.pcie_received),
            ..blank(0, DeviceState::Present, BootNanos(0), Fault::Unsupported)
        };
        if kind == TickKind::Burst {
            sample.activity = self.burst_activity(session, request, clock);
            return Ok(sample);
        }
        if let Some(meter) = &mut self.meter {
            let Metered {
                activity,
                pcie_rates: [sent_rate, received_rate],
                cycles,
                pcie_bytes: [sent, received],
            } = meter.read(session, self.handle, request, || clock.boot_now());
            (sample.activity, sample.cycles) = (activity, cycles);
            (sample.pcie_tx_rate, sample.pcie_rx_rate) = (sent_rate, received_rate);
            if sample.pcie_tx_bytes == Reading::Unsupported && sample.pcie_rx_bytes == Reading::Unsupported {
                (sample.pcie_tx_bytes, sample.pcie_rx_bytes) = (sent, received);
            }
        }
        let mut busy = None;
        if let Some(rings) = &mut self.rings {
            if let Some(power) = rings.power(session, self.handle) {
                sample.power_ring = Reading::Value(power);
            }
            busy = rings.busy(session, self.handle);
        }
        sample.jobs = self.jobs.as_mut().map(JobLog::take);
        sample.sm_clock_mhz = self.sm_clock(session);
        sample.memory_clock_mhz = reading(device.clock_info(ClockDomain::Memory).map_err(Fault::from));
        sample.utilisation = match busy {
            Some(busy) => {
                sample.busy_mean = Reading::Value(busy.mean);
                Reading::Value(busy.last)
            }
            None => reading(
                device
                    .utilization_rates()
                    .map(|u| Ppm::of(u64::from(u.gpu), 100))
                    .map_err(Fault::from),
            ),
        };
        sample.memory_used_mib = reading(
            device
                .memory_info()
                .map_err(Fault::from)
                .and_then(|m| narrow(m.used >> 20)),
        );
        sample.temperature_c = reading(
            device
                .temperature(TemperatureSensor::Gpu)
                .map_err(Fault::from)
                .and_then(narrow),
        );
        sample.clock_events = reading(session.clock_events(self.handle));
        Ok(sample)
    }

    /// Activity over the last 200 ms of a burst, where such a stretch ends now. Of a device that MIG divides no burst tells.
    fn burst_activity(
        &mut self,
        session: &Session,
        request: &mut Request,
        clock: &Arc<dyn Clock>,
    ) -> Reading<Activity> {
        if self.meter.is_none() || self.extent != Extent::Whole {
            return Reading::Unsupported;
        }
        if self.burst.is_none() {
            self.burst = BurstMeter::open(session).ok();
        }
        self.burst.as_mut().map_or(Reading::Unsupported, |burst| {
            burst.read(session, self.handle, request, || clock.boot_now())
        })
    }

    /// The SM clock now, in megahertz.
    pub(super) fn sm_clock(&self, session: &Session) -> Reading<u32> {
        let device = session.device(self.handle);
        reading(device.clock_info(ClockDomain::SM).map_err(Fault::from))
    }

    /// Looks which processes have ended, where the driver keeps account of them.
    pub(super) fn look_at_jobs(&mut self, session: &Session) {
        if let Some(jobs) = &mut self.jobs {
            // What a refusal leaves out is found at the next look.
            jobs.look(session, self.handle).ok();
        }
    }

    /// Whether MIG divides the device otherwise than at the last survey.
    pub(super) fn redivided(&self, session: &Session) -> bool {
        identity::extent(session, self.handle)
            .is_ok_and(|now| now.is_some_and(|extent| extent != self.extent))
    }

    pub(super) fn close(self, session: &Session) {
        if let Some(meter) = self.meter {
            meter.close(session);
        }
        if let Some(burst) = self.burst {
            burst.close(session);
        }
    }
}

fn narrow<T, U: TryFrom<T>>(value: T) -> Answer<U> {
    U::try_from(value).map_err(|_| Fault::Malformed)
}

/// The sample of a device that is not called.
pub(super) fn unread(place: u16, state: DeviceState, at: BootNanos) -> DeviceSample {
    let fault = match state {
        DeviceState::Lost => Fault::DeviceLost,
        _ => Fault::DriverGone,
    };
    blank(place, state, at, fault)
}

/// A sample in which every reading is the refusal `fault`.
pub(super) fn blank(place: u16, state: DeviceState, at: BootNanos, fault: Fault) -> DeviceSample {
    fn none<T>(state: DeviceState, fault: Fault) -> Reading<T> {
        match state {
            DeviceState::Hung => Reading::Lost(LossReason::Hung),
            _ => reading(Err(fault)),
        }
    }
    DeviceSample {
        device: place,
        state,
        at,
        energy_mj: none(state, fault),
        power_mw: none(state, fault),
        sm_clock_mhz: none(state, fault),
        memory_clock_mhz: none(state, fault),
        utilisation: none(state, fault),
        memory_used_mib: none(state, fault),
        temperature_c: none(state, fault),
        clock_events: none(state, fault),
        nvlink_tx_bytes: none(state, fault),
        nvlink_rx_bytes: none(state, fault),
        pcie_tx_bytes: none(state, fault),
        pcie_rx_bytes: none(state, fault),
        activity: none(state, fault),
        pcie_tx_rate: none(state, fault),
        pcie_rx_rate: none(state, fault),
        cycles: none(state, fault),
        power_ring: none(state, fault),
        busy_mean: none(state, fault),
        jobs: None,
        by_host_engine: false,
        clock_looks: Reading::Unsupported,
    }
}
