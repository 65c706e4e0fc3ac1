//! Activity per pipe between two moments, by GPU performance monitoring (GPM, Hopper and later).
//!
//! Decides: how pairs of samples become shares of an interval, and how the shares of MIG instances become those of the
//! device: each counts by its part of the device, and where that is not known there is no share. Trusts the driver's
//! percentages within their range, and that those of an instance are of its own multiprocessors and memory. Does not
//! establish how many operations a busy pipe did.

use super::fault::{Answer, Fault, reading};
use super::session::{GpmSample, Handle, Metrics, Session, metrics};
use weighbridge::telemetry::{Activity, Reading};
use weighbridge::time::BootNanos;
use weighbridge::unit::Ppm;

/// GPM metric ids in the order of the fields of [`Activity`].
const METRICS: [u32; 10] = [2, 5, 6, 7, 9, 10, 11, 12, 13, 4];

/// The place of the share of memory bandwidth among them, which instances have by their memory; the others they have
/// by their multiprocessors.
const DRAM: usize = 5;

/// A device as a part of itself, in parts per billion.
const WHOLE: u64 = 1_000_000_000;

/// There is nothing to compare with yet (`NVML_ERROR_NOT_READY`).
const NOT_READY: Fault = Fault::Failed(27);

/// A pair spans more than this, in nanoseconds: the header asks for more than the 100 ms of the hardware's own refresh.
const SHORTEST_PAIR: u64 = 150_000_000;

/// A GPU instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instance {
    pub(super) id: u32,
    /// Its compute slices.
    pub(super) slices: u32,
    pub(super) part: Part,
}

/// Which part of a device something is, in parts per billion; `None` where that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) multiprocessors: Option<u64>,
    pub(super) memory: Option<u64>,
}

impl Part {
    const ALL: Self = Self {
        multiprocessors: Some(WHOLE),
        memory: Some(WHOLE),
    };

    /// `part` of `whole`; `None` where it is no part of it.
    pub(super) fn of(part: u64, whole: u64) -> Option<u64> {
        let scaled = u128::from(part).saturating_mul(u128::from(WHOLE));
        let of = u64::try_from(scaled.checked_div(u128::from(whole))?).ok()?;
        (of <= WHOLE).then_some(of)
    }
}

/// What of a device GPM looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of it.
    Whole,
    /// Its GPU instances, one by one, because MIG is on.
    Instances(Vec<Instance>),
}

/// The request for metrics: some kilobytes, made once and used for every device.
#[derive(Debug)]
pub(super) struct Request(Box<Metrics>);

impl Request {
    pub(super) fn new() -> Self {
        let mut request = metrics();
        request.version = 1;
        request.numMetrics = u32::try_from(METRICS.len()).unwrap_or(0);
        Self(request)
    }

    /// The shares between two samples, each with an answer of its own.
    fn shares(&mut self, session: &Session, from: &GpmSample, to: &GpmSample) -> Answer<[Answer<Ppm>; 10]> {
        for (metric, id) in self.0.metrics.iter_mut().zip(METRICS) {
            metric.metricId = id;
            metric.nvmlReturn = u32::MAX;
            metric.value = f64::NAN;
        }
        session.gpm_metrics(from, to, &mut self.0)?;
        let mut shares = [Err(Fault::Malformed); 10];
        for (share, metric) in shares.iter_mut().zip(&self.0.metrics) {
            *share = Fault::check(metric.nvmlReturn).and_then(|()| percent(metric.value));
        }
        Ok(shares)
    }
}

/// Two samples of one device or instance, the older of which may not be filled yet.
#[derive(Debug)]
struct Pair {
    instance: Option<u32>,
    part: Part,
    older: GpmSample,
    newer: GpmSample,
    older_at: Option<BootNanos>,
}

/// The pairs of one device.
#[derive(Debug)]
pub(super) struct Meter(Vec<Pair>);

impl Meter {
    /// Allocates the pairs, and fills the older sample of each.
    pub(super) fn open(
        session: &Session,
        device: Handle,
        extent: &Extent,
        now: impl Fn() -> BootNanos,
    ) -> Answer<Self> {
        let parts: Vec<(Option<u32>, Part)> = match extent {
            Extent::Whole => vec![(None, Part::ALL)],
            Extent::Instances(all) => all.iter().map(|i| (Some(i.id), i.part)).collect(),
        };
        let mut meter = Self(Vec::new());
        for (instance, part) in parts {
            match pair(session, instance, part) {
                Ok(pair) => meter.0.push(pair),
                Err(fault) => {
                    meter.close(session);
                    return Err(fault);
                }
            }
        }
        for pair in &mut meter.0 {
            if session.gpm_take(device, pair.instance, &mut pair.older).is_ok() {
                pair.older_at = Some(now());
            }
        }
        Ok(meter)
    }

    /// Activity since the last call.
    pub(super) fn read(
        &mut self,
        session: &Session,
        device: Handle,
        request: &mut Request,
        now: impl Fn() -> BootNanos,
    ) -> Reading<Activity> {
        if self.0.is_empty() {
            return Reading::Unsupported;
        }
        let mut sums = [Ok(0u64); 10];
        let mut interval_ns = None;
        for pair in &mut self.0 {
            // The first tick may follow a survey at once; the second covers its time as well.
            if pair
                .older_at
                .is_some_and(|older| now().since(older) < SHORTEST_PAIR)
            {
                return reading(Err(NOT_READY));
            }
            let read = pair.advance(session, device, request, &now);
            let (length, shares) = match read {
                Ok(read) => read,
                Err(fault) => return reading(Err(fault)),
            };
            interval_ns.get_or_insert(length);
            for (place, (sum, share)) in sums.iter_mut().zip(shares).enumerate() {
                let Part {
                    multiprocessors,
                    memory,
                } = pair.part;
                let part = if place == DRAM { memory } else { multiprocessors };
                *sum = weighted(*sum, share, part);
            }
        }
        let [sm, any, dfma, hmma, imma, dram, fp64, fp32, fp16, integer] =
            sums.map(|sum| reading(sum.map(|s| Ppm::of(s, WHOLE.saturating_mul(u64::from(Ppm::ONE.0))))));
        Reading::Value(Activity {
            interval_ns: interval_ns.unwrap_or(0),
            sm,
            tensor_any: any,
            dfma,
            hmma,
            imma,
            dram,
            fp64,
            fp32,
            fp16,
            integer,
        })
    }

    /// Gives the samples back.
    pub(super) fn close(self, session: &Session) {
        for pair in self.0 {
            session.gpm_free(pair.older);
            session.gpm_free(pair.newer);
        }
    }
}

impl Pair {
    /// Takes the newer sample, compares, and makes it the older one.
    fn advance(
        &mut self,
        session: &Session,
        device: Handle,
        request: &mut Request,
        now: impl Fn() -> BootNanos,
    ) -> Answer<(u64, [Answer<Ppm>; 10])> {
        let since = self.older_at.take();
        session.gpm_take(device, self.instance, &mut self.newer)?;
        let at = now();
        let read = match since {
            Some(since) => request
                .shares(session, &self.older, &self.newer)
                .map(|shares| (at.since(since), shares)),
            None => Err(NOT_READY),
        };
        std::mem::swap(&mut self.older, &mut self.newer);
        self.older_at = Some(at);
        read
    }
}

fn pair(session: &Session, instance: Option<u32>, part: Part) -> Answer<Pair> {
    let older = session.gpm_allocate()?;
    match session.gpm_allocate() {
        Ok(newer) => Ok(Pair {
            instance,
            part,
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

/// Adds the share of one part, by its size. A part whose share or size is not known makes the sum unknown.
fn weighted(sum: Answer<u64>, share: Answer<Ppm>, part: Option<u64>) -> Answer<u64> {
    let part = part.ok_or(Fault::Unsupported)?;
    Ok(sum?.saturating_add(u64::from(share?.0).saturating_mul(part)))
}

/// A percentage as the driver gives it. Rounding puts it a little above a hundred at times; far above is no share.
#[expect(
    clippy::as_conversions,
    reason = "the value was checked to lie between 0 and 110, so the product fits and its sign is known"
)]
fn percent(value: f64) -> Answer<Ppm> {
    if !(0.0..=110.0).contains(&value) {
        return Err(Fault::Malformed);
    }
    Ok(Ppm(((value.min(100.0)) * 10_000.0).round() as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_percentage_is_a_share() {
        assert_eq!(percent(0.0), Ok(Ppm(0)));
        assert_eq!(percent(58.25), Ok(Ppm(582_500)));
        assert_eq!(percent(100.4), Ok(Ppm::ONE));
        for wrong in [f64::NAN, f64::INFINITY, -0.1, 1e30] {
            assert_eq!(percent(wrong), Err(Fault::Malformed));
        }
    }

    #[test]
    fn parts_count_by_their_size_and_an_unknown_part_makes_the_whole_unknown() {
        let (three, four) = (Part::of(60, 132), Part::of(64, 132));
        let one = weighted(Ok(0), Ok(Ppm::ONE), three);
        let both = weighted(one, Ok(Ppm(500_000)), four).unwrap();
        let whole = WHOLE * u64::from(Ppm::ONE.0);
        assert_eq!(Ppm::of(both, whole), Ppm::of(92, 132));
        assert_eq!(
            weighted(one, Err(Fault::Unsupported), four),
            Err(Fault::Unsupported)
        );
        assert_eq!(weighted(one, Ok(Ppm(0)), None), Err(Fault::Unsupported));
        assert_eq!((Part::of(133, 132), Part::of(1, 0)), (None, None));
    }
}
