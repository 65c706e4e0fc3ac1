//! Activity per pipe between two moments, by GPU performance monitoring (GPM, Hopper and later).
//!
//! Decides: how pairs of samples become shares of an interval, and how the shares of MIG instances become those of the
//! device: each counts by its part of the device, and where that is not known there is no share; whether the driver has
//! counters since the last reboot, which most do not. Trusts the driver's percentages within their range, and that those of
//! an instance are of its own multiprocessors and memory. Does not establish how many operations a busy pipe did.
//!
//! NVLink metrics are not asked: they are answered with zero where no link is seen, which is no evidence of zero. Whose PCIe
//! bytes an instance's are is not documented, so under MIG they are not asked either.
//!
//! A burst has pairs of its own, so that it takes nothing from those of the regular ticks, and asks for three metrics.

use super::fault::{Answer, Fault, UNANSWERED, reading};
use super::session::{GpmSample, Handle, Metrics, Session, metrics};
use weighbridge::telemetry::{Activity, PipeCycles, Reading};
use weighbridge::time::BootNanos;
use weighbridge::unit::Ppm;

/// GPM metric ids in the order of the fields of [`Activity`].
const METRICS: [u32; 10] = [2, 5, 6, 7, 9, 10, 11, 12, 13, 4];

/// PCIe sent and received, in MiB per second.
const PCIE: [u32; 2] = [20, 21];

/// Cycles since the last reboot, in the order of the fields of [`PipeCycles`] from `elapsed` on.
const CYCLES: [u32; 10] = [248, 249, 250, 254, 252, 253, 258, 259, 260, 257];

/// PCIe bytes since the last reboot, sent and received.
const PCIE_BYTES: [u32; 2] = [255, 256];

const MIB: f64 = 1_048_576.0;

/// `NVML_ERROR_INVALID_ARGUMENT`: of one metric it says that the driver does not know it.
const UNKNOWN_METRIC: Fault = Fault::Failed(2);

/// The place of the share of memory bandwidth among them, which instances have by their memory; the others they have
/// by their multiprocessors.
const DRAM: usize = 5;

/// A device as a part of itself, in parts per billion.
const WHOLE: u64 = 1_000_000_000;

/// There is nothing to compare with yet (`NVML_ERROR_NOT_READY`).
const NOT_READY: Fault = Fault::Failed(27);

/// A pair spans more than this, in nanoseconds: the header asks for more than the 100 ms of the hardware's own refresh.
const SHORTEST_PAIR: u64 = 150_000_000;

/// What a burst asks for: SMs, any tensor pipe, DRAM.
const OF_BURST: [u32; 3] = [2, 5, 10];

/// A pair of a burst spans no more than this, in nanoseconds: a longer one reaches back over what no tick of the burst saw.
const LONGEST_BURST_PAIR: u64 = 500_000_000;

/// A GPU instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instance {
    pub(super) id: u32,
    /// Its compute slices.
    pub(super) slices: u32,
    /// How many compute instances it is cut into.
    pub(super) devices: u32,
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

/// What the metrics between two samples are.
struct Told {
    shares: [Answer<Ppm>; 10],
    pcie_rates: [Answer<u64>; 2],
    cycles: [Answer<u64>; 10],
    pcie_bytes: [Answer<u64>; 2],
}

impl Request {
    pub(super) fn new() -> Self {
        let mut request = metrics();
        request.version = 1;
        Self(request)
    }

    /// Asks for all that is wanted between two samples, in one call; each metric has an answer of its own.
    fn ask(
        &mut self,
        session: &Session,
        from: &GpmSample,
        to: &GpmSample,
        pcie: bool,
        counters: bool,
    ) -> Answer<Told> {
        let pcie_ids = PCIE.into_iter().take(if pcie { PCIE.len() } else { 0 });
        let cycles = CYCLES.into_iter().take(if counters { CYCLES.len() } else { 0 });
        let bytes = PCIE_BYTES
            .into_iter()
            .take(if counters && pcie { PCIE_BYTES.len() } else { 0 });
        let ids = METRICS.into_iter().chain(pcie_ids).chain(cycles).chain(bytes);
        let mut answers = self.put(session, from, to, ids)?;
        let mut next = |asked: bool| {
            let answer = asked.then(|| answers.next()).flatten();
            answer.unwrap_or(Err(Fault::Unsupported))
        };
        Ok(Told {
            shares: METRICS.map(|_| next(true).and_then(percent)),
            pcie_rates: PCIE.map(|_| next(pcie).and_then(|mib| whole(mib * MIB))),
            cycles: CYCLES.map(|_| next(counters).and_then(whole)),
            pcie_bytes: PCIE_BYTES.map(|_| next(counters && pcie).and_then(whole)),
        })
    }

    /// Asks for metrics between two samples, and gives the answers in the same order.
    fn put(
        &mut self,
        session: &Session,
        from: &GpmSample,
        to: &GpmSample,
        ids: impl Iterator<Item = u32>,
    ) -> Answer<impl Iterator<Item = Answer<f64>>> {
        let mut count = 0u32;
        for (metric, id) in self.0.metrics.iter_mut().zip(ids) {
            metric.metricId = id;
            metric.nvmlReturn = UNANSWERED;
            metric.value = f64::NAN;
            count = count.saturating_add(1);
        }
        self.0.numMetrics = count;
        session.gpm_metrics(from, to, &mut self.0)?;
        let asked = usize::try_from(count).unwrap_or(0);
        Ok(self.0.metrics.iter().take(asked).map(|metric| {
            Fault::check(metric.nvmlReturn)
                .map_err(|fault| match fault {
                    UNKNOWN_METRIC => Fault::Unsupported,
                    other => other,
                })
                .map(|()| metric.value)
        }))
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

/// Whether the driver has counters since the last reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counters {
    /// It was not asked yet: that needs two samples.
    Untried,
    Answered,
    Refused,
}

/// The pairs of one device.
#[derive(Debug)]
pub(super) struct Meter {
    pairs: Vec<Pair>,
    counters: Counters,
}

/// What a meter reads of a device.
#[derive(Debug)]
pub(super) struct Metered {
    pub(super) activity: Reading<Activity>,
    /// Bytes per second, sent and received.
    pub(super) pcie_rates: [Reading<u64>; 2],
    pub(super) cycles: Reading<Vec<PipeCycles>>,
    /// Bytes since the last reboot, sent and received.
    pub(super) pcie_bytes: [Reading<u64>; 2],
}

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
        let mut meter = Self {
            pairs: Vec::new(),
            counters: Counters::Untried,
        };
        for (instance, part) in parts {
            match pair(session, instance, part) {
                Ok(pair) => meter.pairs.push(pair),
                Err(fault) => {
                    meter.close(session);
                    return Err(fault);
                }
            }
        }
        for pair in &mut meter.pairs {
            if session.gpm_take(device, pair.instance, &mut pair.older).is_ok() {
                pair.older_at = Some(now());
            }
        }
        Ok(meter)
    }

    /// Activity since the last call, and the counters by now.
    pub(super) fn read(
        &mut self,
        session: &Session,
        device: Handle,
        request: &mut Request,
        now: impl Fn() -> BootNanos,
    ) -> Metered {
        if self.pairs.is_empty() {
            return self.nothing(Fault::Unsupported);
        }
        let whole = self.pairs.iter().all(|pair| pair.instance.is_none());
        let mut sums = [Ok(0u64); 10];
        let mut interval_ns = None;
        let mut cycles = Vec::with_capacity(self.pairs.len());
        let mut pcie = [[Err(Fault::Unsupported); 2]; 2];
        for place in 0..self.pairs.len() {
            let counters = self.counters != Counters::Refused;
            let Some(pair) = self.pairs.get_mut(place) else {
                break;
            };
            // The first tick may follow a survey at once; the second covers its time as well.
            if pair
                .older_at
                .is_some_and(|older| now().since(older) < SHORTEST_PAIR)
            {
                return self.nothing(NOT_READY);
            }
            let read = pair.advance(session, device, request, whole, counters, &now);
            let (length, told) = match read {
                Ok(read) => read,
                Err(fault) => {
                    // A driver may refuse all of a request for metrics that it does not know.
                    if self.counters == Counters::Untried
                        && !matches!(fault, NOT_READY | Fault::DeviceLost | Fault::DriverGone)
                    {
                        self.counters = Counters::Refused;
                    }
                    return self.nothing(fault);
                }
            };
            interval_ns.get_or_insert(length);
            let Part {
                multiprocessors,
                memory,
            } = pair.part;
            for (place, (sum, share)) in sums.iter_mut().zip(told.shares).enumerate() {
                let part = if place == DRAM { memory } else { multiprocessors };
                *sum = weighted(*sum, share, part);
            }
            pcie = [told.pcie_rates, told.pcie_bytes];
            match counted(pair, &told.cycles) {
                Some(counted) => cycles.push(counted),
                // Asked once: what is not answered then, or stands at zero, is not there.
                None if self.counters == Counters::Untried => self.counters = Counters::Refused,
                None => {}
            }
        }
        if self.counters == Counters::Untried {
            self.counters = Counters::Answered;
        }
        let [sm, any, dfma, hmma, imma, dram, fp64, fp32, fp16, integer] =
            sums.map(|sum| reading(sum.map(|s| Ppm::of(s, WHOLE.saturating_mul(u64::from(Ppm::ONE.0))))));
        let complete = cycles.len() == self.pairs.len();
        let [pcie_rates, pcie_bytes] = pcie.map(|both| both.map(reading));
        Metered {
            activity: Reading::Value(Activity {
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
            }),
            pcie_rates,
            cycles: match self.counters {
                Counters::Answered if complete => Reading::Value(cycles),
                Counters::Answered => reading(Err(Fault::Malformed)),
                Counters::Untried | Counters::Refused => Reading::Unsupported,
            },
            pcie_bytes,
        }
    }

    /// No reading, for one reason.
    fn nothing(&self, fault: Fault) -> Metered {
        Metered {
            activity: reading(Err(fault)),
            pcie_rates: [reading(Err(fault)), reading(Err(fault))],
            cycles: match self.counters {
                Counters::Answered => reading(Err(fault)),
                Counters::Untried | Counters::Refused => Reading::Unsupported,
            },
            pcie_bytes: [Reading::Unsupported, Reading::Unsupported],
        }
    }

    /// Gives the samples back.
    pub(super) fn close(self, session: &Session) {
        for pair in self.pairs {
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
        pcie: bool,
        counters: bool,
        now: impl Fn() -> BootNanos,
    ) -> Answer<(u64, Told)> {
        let since = self.older_at.take();
        session.gpm_take(device, self.instance, &mut self.newer)?;
        let at = now();
        let read = match since {
            Some(since) => request
                .ask(session, &self.older, &self.newer, pcie, counters)
                .map(|told| (at.since(since), told)),
            None => Err(NOT_READY),
        };
        std::mem::swap(&mut self.older, &mut self.newer);
        self.older_at = Some(at);
        read
    }
}

/// The pair of one whole device in bursts.
#[derive(Debug)]
pub(super) struct BurstMeter(Pair);

impl BurstMeter {
    /// Allocates the pair.
    pub(super) fn open(session: &Session) -> Answer<Self> {
        pair(session, None, Part::ALL).map(Self)
    }

    /// Activity since the last pair ended, if one ends now: every second tick at ten a second. What is not asked is unsupported.
    pub(super) fn read(
        &mut self,
        session: &Session,
        device: Handle,
        request: &mut Request,
        now: impl Fn() -> BootNanos,
    ) -> Reading<Activity> {
        let pair = &mut self.0;
        let since = pair.older_at.map(|older| now().since(older));
        if since.is_some_and(|ns| ns < SHORTEST_PAIR) {
            return Reading::Unsupported;
        }
        let older = pair
            .older_at
            .take()
            .filter(|_| since.is_some_and(|ns| ns <= LONGEST_BURST_PAIR));
        if let Err(fault) = session.gpm_take(device, None, &mut pair.newer) {
            return reading(Err(fault));
        }
        let at = now();
        let read = older.map(|older| {
            let mut answers = request.put(session, &pair.older, &pair.newer, OF_BURST.into_iter())?;
            let mut next = || reading(answers.next().unwrap_or(Err(Fault::Malformed)).and_then(percent));
            Ok((at.since(older), [next(), next(), next()]))
        });
        std::mem::swap(&mut pair.older, &mut pair.newer);
        pair.older_at = Some(at);
        match read {
            None => Reading::Unsupported,
            Some(Err(fault)) => reading(Err(fault)),
            Some(Ok((interval_ns, [sm, tensor_any, dram]))) => Reading::Value(Activity {
                interval_ns,
                sm,
                tensor_any,
                dfma: Reading::Unsupported,
                hmma: Reading::Unsupported,
                imma: Reading::Unsupported,
                dram,
                fp64: Reading::Unsupported,
                fp32: Reading::Unsupported,
                fp16: Reading::Unsupported,
                integer: Reading::Unsupported,
            }),
        }
    }

    /// Gives the samples back.
    pub(super) fn close(self, session: &Session) {
        session.gpm_free(self.0.older);
        session.gpm_free(self.0.newer);
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

/// What a part has counted; `None` where no cycle is told, or its size is not known.
fn counted(pair: &Pair, cycles: &[Answer<u64>; 10]) -> Option<PipeCycles> {
    let [elapsed, others @ ..] = cycles;
    let elapsed = (*elapsed).ok().filter(|cycles| *cycles > 0)?;
    let part_ppb = u32::try_from(pair.part.multiprocessors?).ok()?;
    let [sm, tensor_any, dfma, hmma, imma, fp64, fp32, fp16, integer] = others.map(reading);
    Some(PipeCycles {
        instance: pair.instance,
        part_ppb,
        elapsed,
        sm,
        tensor_any,
        dfma,
        hmma,
        imma,
        fp64,
        fp32,
        fp16,
        integer,
    })
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

/// A count as the driver gives it, in floating point: beyond 53 bits it is rounded, by less than a millionth of a millionth.
#[expect(
    clippy::as_conversions,
    reason = "the value was checked to be no less than zero and to fit"
)]
fn whole(value: f64) -> Answer<u64> {
    const MOST: f64 = 9e18;
    if !(0.0..=MOST).contains(&value) {
        return Err(Fault::Malformed);
    }
    Ok(value as u64)
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
    fn only_what_is_finite_and_not_negative_is_a_count() {
        assert_eq!((whole(0.0), whole(1e15)), (Ok(0), Ok(1_000_000_000_000_000)));
        for wrong in [f64::NAN, f64::INFINITY, -1.0, 1e19] {
            assert_eq!(whole(wrong), Err(Fault::Malformed));
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
