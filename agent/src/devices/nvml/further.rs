//! What a recording holds beyond samples: PCIe rates, occupancy, and how busy the memory is.
//!
//! Decides: that these have pairs of GPM samples of their own, so that a recorder takes nothing from the pairs behind a
//! sample's activity. Trusts the driver's rates within their range. Does not establish how many bytes a link carried: a
//! rate is the driver's mean over the pair. None of this enters a report.

use super::fault::{Answer, Fault};
use super::pipes::Extent;
use super::session::{GpmSample, Handle, Metrics, Session, metrics};
use super::{Driver, NvmlSource};
use weighbridge::time::BootNanos;
use weighbridge::unit::Ppm;

/// GPM metric ids: occupancy in percent, PCIe sent and received in MiB/s.
const METRICS: [u32; 3] = [3, 20, 21];

/// A pair spans more than this, in nanoseconds, as those of activity do.
const SHORTEST_PAIR: u64 = 150_000_000;

/// No PCIe link of today carries more, in MiB/s: 16 lanes of PCIe 7.0 stay below 250,000.
const FASTEST_LINK: f64 = 1_000_000.0;

/// What was read beyond a sample. What the driver did not give is absent, as is what a pair of GPM samples does not
/// span yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FurtherReading {
    /// Share of the driver's last period in which memory was read or written.
    pub memory_busy: Option<Ppm>,
    /// Share of the warps that the multiprocessors could hold.
    pub occupancy: Option<Ppm>,
    /// PCIe bytes per second sent by the device, mean over the pair.
    pub pcie_tx_bytes_s: Option<u64>,
    /// PCIe bytes per second received by the device.
    pub pcie_rx_bytes_s: Option<u64>,
}

/// The pairs of GPM samples behind further readings, one for each device of the source.
#[derive(Debug)]
pub struct Further {
    request: Box<Metrics>,
    pairs: Vec<Option<Pair>>,
}

#[derive(Debug)]
struct Pair {
    older: GpmSample,
    newer: GpmSample,
    older_at: Option<BootNanos>,
}

impl NvmlSource {
    /// Takes what is needed for further readings of the devices of the last survey. Give it back before the next one.
    #[must_use]
    pub fn further(&self) -> Further {
        let mut request = metrics();
        request.version = 1;
        request.numMetrics = u32::try_from(METRICS.len()).unwrap_or(0);
        let pairs = self.devices.iter().map(|device| {
            let session = &self.driver.as_ref()?.session;
            // Rates of the parts of a divided device are not rates of its link.
            let whole = device.access.as_ref()?.extent == Extent::Whole;
            (whole && device.identity.pipe_activity)
                .then(|| pair(session).ok())
                .flatten()
        });
        Further {
            request,
            pairs: pairs.collect(),
        }
    }

    /// Reads every device of the last survey once, in its order.
    pub fn read_further(&self, further: &mut Further) -> Vec<FurtherReading> {
        let Further { request, pairs } = further;
        self.devices
            .iter()
            .zip(pairs)
            .map(|(device, pair)| {
                let (Some(Driver { session, .. }), Some(access)) = (&self.driver, &device.access) else {
                    return FurtherReading::default();
                };
                let busy = session.device(access.handle).utilization_rates();
                let mut reading = FurtherReading {
                    memory_busy: busy.ok().map(|u| Ppm::of(u64::from(u.memory), 100)),
                    ..FurtherReading::default()
                };
                let rates = pair
                    .as_mut()
                    .and_then(|p| p.advance(session, access.handle, request, || self.clock.boot_now()));
                if let Some([occupancy, sent, received]) = rates {
                    reading.occupancy = scaled(occupancy, 100.0, 10_000.0)
                        .and_then(|p| u32::try_from(p).ok())
                        .map(Ppm);
                    reading.pcie_tx_bytes_s = scaled(sent, FASTEST_LINK, 1_048_576.0);
                    reading.pcie_rx_bytes_s = scaled(received, FASTEST_LINK, 1_048_576.0);
                }
                reading
            })
            .collect()
    }

    /// Gives back what [`further`](Self::further) took.
    pub fn return_further(&self, further: Further) {
        let Some(driver) = &self.driver else { return };
        for pair in further.pairs.into_iter().flatten() {
            driver.session.gpm_free(pair.older);
            driver.session.gpm_free(pair.newer);
        }
    }
}

impl Pair {
    /// The metrics since the older sample, if the pair spans enough.
    fn advance(
        &mut self,
        session: &Session,
        device: Handle,
        request: &mut Metrics,
        now: impl Fn() -> BootNanos,
    ) -> Option<[Option<f64>; 3]> {
        if self
            .older_at
            .is_some_and(|older| now().since(older) < SHORTEST_PAIR)
        {
            return None;
        }
        let since = self.older_at.take();
        session.gpm_take(device, None, &mut self.newer).ok()?;
        for (metric, id) in request.metrics.iter_mut().zip(METRICS) {
            metric.metricId = id;
            metric.nvmlReturn = u32::MAX;
            metric.value = f64::NAN;
        }
        let read = since.and_then(|_| session.gpm_metrics(&self.older, &self.newer, request).ok());
        std::mem::swap(&mut self.older, &mut self.newer);
        self.older_at = Some(now());
        read?;
        let mut values = [None; 3];
        for (value, metric) in values.iter_mut().zip(&request.metrics) {
            *value = Fault::check(metric.nvmlReturn).ok().map(|()| metric.value);
        }
        Some(values)
    }
}

fn pair(session: &Session) -> Answer<Pair> {
    let older = session.gpm_allocate()?;
    match session.gpm_allocate() {
        Ok(newer) => Ok(Pair {
            older,
            newer,
            older_at: None,
        }),
        Err(fault) => {
            session.gpm_free(older);
            Err(fault)
        }
    }
}

/// A value of the driver's between zero and `most`, times `scale`; anything else is none. Rounding puts a value a little
/// above its most at times.
#[expect(
    clippy::as_conversions,
    reason = "the value was checked to lie in a range whose product fits 64 bits, so its sign is known"
)]
fn scaled(value: Option<f64>, most: f64, scale: f64) -> Option<u64> {
    let value = value.filter(|v| (0.0..=most * 1.1).contains(v))?;
    Some((value.min(most) * scale).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_value_within_its_range_is_a_rate() {
        assert_eq!(scaled(Some(2.0), FASTEST_LINK, 1_048_576.0), Some(2 << 20));
        assert_eq!(scaled(Some(100.3), 100.0, 10_000.0), Some(1_000_000));
        for wrong in [f64::NAN, f64::INFINITY, -0.1, 1e30] {
            assert_eq!(scaled(Some(wrong), FASTEST_LINK, 1.0), None);
        }
        assert_eq!(scaled(None, FASTEST_LINK, 1.0), None);
    }
}
