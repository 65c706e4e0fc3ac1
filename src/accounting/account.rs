//! The running account of one device: exact integers until they are read.
//!
//! TPP-hours = (1 / 3.6e15) ∫ n · K · f(t) · a(t) dt, where n · K · f at the tensor clock is the part's TPP, so a share
//! `a` of tensor activity at the share `f / f_tensor` of that clock delivers that share of TPP. The account sums
//! nanoseconds × parts per million of activity × parts per million of clock in 128 bits, and multiplies with TPP and
//! divides once, when it is read: so accounts can be added in any order to the same total.
//!
//! - **lower**: per-pipe activity, the lower of the two clocks at its ends, times [`TILE_CAUTION`]. Zero where only
//!   utilisation or energy exist: neither bounds compute from below.
//! - **upper**: the least of peak × time and per-pipe activity × the higher clock × [`ISSUE_MARGIN`]; without per-pipe
//!   activity, peak × the time in which a kernel was resident; else peak × time. Gaps count at peak.
//! - **unconditional**: peak × the whole time, for the whole card, sliced (MIG) or not.
//!
//! What the energy counter could bound is left out: it needs the least energy per operation of each part, measured on
//! zeros, and no such measurement of a part in the catalogue is public for Hopper and later.

use super::{Compute, ComputeMethod, UpperBound};
use crate::accelerator::Model;
use crate::telemetry::{Activity, Reading, Step};
use crate::unit::{MicroTppHours, Ppm, Tpp};

/// Share of counted activity that is certain to be operations: tiles and waves that are only partly filled count as
/// busy. Raw counters overstate by 2 to 4 points on common shapes and more on odd ones (OFU, arXiv 2605.20799), so a
/// lower bound takes nine tenths unless kernel shapes are known.
pub const TILE_CAUTION: Ppm = Ppm(900_000);

/// Factor on counted activity that operations cannot exceed, in parts per million: activity reads 0.95 to 1.00 of the
/// ideal on large matrix products, so the truth is at most 1 / 0.95 of it.
pub const ISSUE_MARGIN: u64 = 1_052_632;

/// The most that the FP64 tensor pipe delivers, of what the other formats deliver in the same time: a quarter.
const DFMA_MOST: Ppm = Ppm(250_000);

/// The peak that a device is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peak {
    tpp: Tpp,
    tensor_clock_mhz: Option<u32>,
    reference_clock_mhz: Option<u32>,
    dfma: Ppm,
}

impl Peak {
    /// The peak of `model`; `None` where its rates are not public. Where the catalogue has no clock for the model, the
    /// lower bound falls back on the highest clock that the driver states.
    #[must_use]
    pub fn of(model: &Model, max_sm_clock_mhz: &Reading<u32>) -> Option<Self> {
        let tpp = model.tpp()?;
        let peak = u64::from(DFMA_MOST.0);
        let dfma = model.rates.fp64_matrix.map_or(0, |giga| {
            u64::from(Ppm::of(giga.saturating_mul(64), tpp.0.saturating_mul(1_000)).0)
        });
        Some(Self {
            tpp,
            tensor_clock_mhz: model.tensor_clock_mhz,
            reference_clock_mhz: max_sm_clock_mhz.value().copied(),
            dfma: Ppm(u32::try_from(dfma.min(peak)).unwrap_or(DFMA_MOST.0)),
        })
    }

    /// Total Processing Performance.
    #[must_use]
    pub fn tpp(&self) -> Tpp {
        self.tpp
    }

    /// The share of the tensor clock that `mhz` is, at most the whole; `None` where no clock is known.
    fn clock_share(&self, mhz: u32, of: Option<u32>) -> Option<u64> {
        let whole = of.filter(|clock| *clock > 0)?;
        Some(u64::from(Ppm::of(u64::from(mhz), u64::from(whole)).0))
    }

    /// Compute at peak over `ns`, rounded up.
    #[must_use]
    pub fn over(&self, ns: u64) -> MicroTppHours {
        self.read_up(u128::from(ns).saturating_mul(WHOLE))
    }

    fn read_down(&self, shares: u128) -> MicroTppHours {
        let scaled = shares.saturating_mul(u128::from(self.tpp.0));
        MicroTppHours(scaled.checked_div(PER_MICRO_TPP_HOUR).unwrap_or(0))
    }

    fn read_up(&self, shares: u128) -> MicroTppHours {
        let scaled = shares.saturating_mul(u128::from(self.tpp.0));
        MicroTppHours(scaled.div_ceil(PER_MICRO_TPP_HOUR))
    }
}

/// A whole share of activity times a whole share of clock, in parts per million each.
const WHOLE: u128 = 1_000_000_000_000;

/// Nanoseconds × TPP × both shares in one millionth of a TPP-hour.
const PER_MICRO_TPP_HOUR: u128 = 3_600_000 * WHOLE;

/// The account of one device over some time. Shares are nanoseconds × parts per million × parts per million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    covered_ns: u64,
    /// Time that per-pipe activity speaks for.
    piped_ns: u64,
    lower: u128,
    counter: u128,
    upper: u128,
    /// Time with a utilisation, and the integral of it.
    busy_ns: u64,
    busy: u128,
}

impl Account {
    /// Adds a step. A gap adds nothing here; it counts at peak when the account is read.
    pub fn add(&mut self, step: &Step, peak: &Peak) {
        let ns = step.covered_ns();
        self.covered_ns = self.covered_ns.saturating_add(ns);
        if let Reading::Value(busy) = step.utilisation {
            self.busy_ns = self.busy_ns.saturating_add(ns);
            self.busy = self
                .busy
                .saturating_add(shares(ns, u64::from(busy.high.0), 1_000_000));
        }
        let Reading::Value(activity) = &step.activity else {
            return;
        };
        let Some(tensor) = Tensor::of(activity, peak.dfma) else {
            return;
        };
        let ns = step.activity_ns;
        self.piped_ns = self.piped_ns.saturating_add(ns);
        let clock = step.sm_clock_mhz.value();
        let reference = peak.tensor_clock_mhz.or(peak.reference_clock_mhz);
        let low = clock
            .and_then(|c| peak.clock_share(c.low, reference))
            .unwrap_or(0);
        let high = clock.and_then(|c| peak.clock_share(c.high, peak.tensor_clock_mhz));
        let mid = clock.map_or(0, |c| {
            let high = peak.clock_share(c.high, reference).unwrap_or(0);
            low.midpoint(high)
        });
        let most = tensor
            .upper
            .saturating_mul(ISSUE_MARGIN)
            .checked_div(1_000_000)
            .unwrap_or(0);
        self.lower = self.lower.saturating_add(shares(ns, tensor.lower, low));
        self.counter = self.counter.saturating_add(shares(ns, tensor.lower, mid));
        let upper = shares(ns, most.min(1_000_000), high.unwrap_or(1_000_000));
        self.upper = self.upper.saturating_add(upper);
    }

    /// The account of both times.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            covered_ns: self.covered_ns.saturating_add(other.covered_ns),
            piped_ns: self.piped_ns.saturating_add(other.piped_ns),
            lower: self.lower.saturating_add(other.lower),
            counter: self.counter.saturating_add(other.counter),
            upper: self.upper.saturating_add(other.upper),
            busy_ns: self.busy_ns.saturating_add(other.busy_ns),
            busy: self.busy.saturating_add(other.busy),
        }
    }

    /// Time covered by samples, in nanoseconds.
    #[must_use]
    pub fn covered_ns(&self) -> u64 {
        self.covered_ns
    }

    /// What it rests on: per-pipe activity or busy time where that speaks for at least half of the covered time.
    #[must_use]
    pub fn method(&self) -> ComputeMethod {
        let most = |ns: u64| ns > 0 && ns >= self.covered_ns.div_ceil(2);
        if most(self.piped_ns) {
            ComputeMethod::PipeActivity
        } else if most(self.busy_ns) {
            ComputeMethod::BusyTime
        } else {
            ComputeMethod::ElapsedTime
        }
    }

    /// The bounds, for a device with `peak` over `whole_ns`, of which this account covers a part.
    #[must_use]
    pub fn compute(&self, peak: &Peak, whole_ns: u64) -> Compute {
        let whole_ns = whole_ns.max(self.covered_ns);
        let gap_ns = whole_ns.saturating_sub(self.covered_ns);
        // Time without per-pipe activity is bounded by busy time only where no pipe was ever seen: utilisation is not
        // kept per pipe-less stretch, and peak is the safe side.
        let open = if self.piped_ns == 0 {
            let unseen = self.covered_ns.saturating_sub(self.busy_ns);
            self.busy.saturating_add(shares(unseen, 1_000_000, 1_000_000))
        } else {
            let unpiped = self.covered_ns.saturating_sub(self.piped_ns);
            shares(unpiped, 1_000_000, 1_000_000)
        };
        let gaps = shares(gap_ns, 1_000_000, 1_000_000);
        let upper_unconditional = peak.over(whole_ns);
        let upper = peak
            .read_up(self.upper.saturating_add(open).saturating_add(gaps))
            .min(upper_unconditional);
        let counter = peak.read_down(self.counter).min(upper);
        let cautious = self
            .lower
            .saturating_mul(u128::from(TILE_CAUTION.0))
            .checked_div(1_000_000);
        let lower = peak.read_down(cautious.unwrap_or(0)).min(counter);
        Compute {
            lower,
            counter,
            upper,
            upper_unconditional,
            method: self.method(),
            bound: UpperBound::Time,
        }
    }
}

/// The share of peak that the tensor pipes were busy at, weighed by what each delivers.
struct Tensor {
    lower: u64,
    upper: u64,
}

impl Tensor {
    /// Half-precision and integer pipes at full weight, the FP64 pipe at `dfma`. Where the driver does not tell them
    /// apart, the lower bound takes all activity for FP64, and the upper one none of it.
    fn of(a: &Activity, dfma: Ppm) -> Option<Self> {
        let share = |r: &Reading<Ppm>| r.value().map(|p| u64::from(p.0.min(1_000_000)));
        let weighed = |ppm: u64, weight: Ppm| {
            ppm.saturating_mul(u64::from(weight.0))
                .checked_div(1_000_000)
                .unwrap_or(0)
        };
        match (share(&a.hmma), share(&a.imma), share(&a.tensor_any)) {
            (Some(hmma), Some(imma), any) => {
                let fp64 = share(&a.dfma);
                let named = hmma.saturating_add(imma);
                let lower = named
                    .saturating_add(weighed(fp64.unwrap_or(0), dfma))
                    .min(1_000_000);
                // Activity of any tensor pipe that no named pipe accounts for is taken at full weight.
                let accounted = named.saturating_add(fp64.unwrap_or(0));
                let unnamed = any.unwrap_or(0).saturating_sub(accounted);
                let upper = named
                    .saturating_add(weighed(fp64.unwrap_or(0), DFMA_MOST))
                    .saturating_add(unnamed);
                Some(Self {
                    lower,
                    upper: upper.min(1_000_000),
                })
            }
            (_, _, Some(any)) => Some(Self {
                lower: weighed(any, dfma),
                upper: any,
            }),
            _ => None,
        }
    }
}

/// Nanoseconds times two shares in parts per million.
fn shares(ns: u64, activity: u64, clock: u64) -> u128 {
    u128::from(ns)
        .saturating_mul(u128::from(activity))
        .saturating_mul(u128::from(clock))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accelerator::Catalogue;
    use crate::id::PciId;
    use crate::telemetry::{DeviceSample, Track, blank};
    use crate::time::{BootNanos, SECOND};
    use proptest::prelude::*;

    fn peak(device: u16) -> Peak {
        let id = PciId {
            vendor: 0x10de,
            device,
            ..PciId::default()
        };
        let catalogue = Catalogue::embedded().unwrap();
        Peak::of(catalogue.find(&id, "").model().unwrap(), &Reading::Value(1_980)).unwrap()
    }

    fn activity(hmma: u32, imma: u32, dfma: u32) -> Activity {
        let value = |ppm| Reading::Value(Ppm(ppm));
        Activity {
            interval_ns: SECOND,
            sm: value(900_000),
            tensor_any: value((hmma + imma + dfma).min(1_000_000)),
            dfma: value(dfma),
            hmma: value(hmma),
            imma: value(imma),
            dram: value(0),
            fp64: value(0),
            fp32: value(0),
            fp16: value(0),
            integer: value(0),
        }
    }

    fn sample(second: u64, clock: u32, activity: Reading<Activity>) -> DeviceSample {
        DeviceSample {
            sm_clock_mhz: Reading::Value(clock),
            utilisation: Reading::Value(Ppm(950_000)),
            activity,
            ..blank(BootNanos(second * SECOND))
        }
    }

    fn account(peak: &Peak, samples: &[DeviceSample]) -> Account {
        let (mut track, mut account) = (Track::new(SECOND), Account::default());
        for step in samples.iter().filter_map(|s| track.push(s)) {
            account.add(&step, peak);
        }
        account
    }

    #[test]
    fn an_hour_at_peak_is_the_tpp_of_the_part_and_the_boost_clock_adds_nothing() {
        let peak = peak(0x2330);
        for clock in [1_830, 1_980] {
            let samples: Vec<_> = (0..=3_600)
                .map(|t| sample(t, clock, Reading::Value(activity(1_000_000, 0, 0))))
                .collect();
            let compute = account(&peak, &samples).compute(&peak, 3_600 * SECOND);
            assert_eq!(compute.counter, MicroTppHours(15_832_000_000));
            assert_eq!(compute.lower, MicroTppHours(14_248_800_000));
            assert_eq!(compute.upper, compute.upper_unconditional);
        }
    }

    #[test]
    fn the_fp64_pipe_counts_a_quarter_and_less_where_the_maker_cut_it() {
        let hour = |device| {
            let peak = peak(device);
            let samples: Vec<_> = (0..=3_600)
                .map(|t| sample(t, 1_830, Reading::Value(activity(0, 0, 1_000_000))))
                .collect();
            account(&peak, &samples).compute(&peak, 3_600 * SECOND).counter
        };
        assert_eq!(hour(0x2330), MicroTppHours(3_958_000_000));
        // H800: one tera-operation of FP64, 64 TPP; a share in parts per million rounds.
        let h800 = hour(0x2324).0;
        assert!((63_900_000..=64_000_000).contains(&h800), "{h800}");
    }

    #[test]
    fn tensor_activity_that_is_not_told_apart_bounds_from_below_as_fp64() {
        let peak = peak(0x2330);
        let any = Activity {
            hmma: Reading::Unsupported,
            imma: Reading::Unsupported,
            dfma: Reading::Unsupported,
            ..activity(400_000, 0, 0)
        };
        let samples: Vec<_> = (0..=3_600)
            .map(|t| sample(t, 1_830, Reading::Value(any.clone())))
            .collect();
        let compute = account(&peak, &samples).compute(&peak, 3_600 * SECOND);
        assert_eq!(compute.counter, MicroTppHours(1_583_200_000));
        assert!(compute.upper > MicroTppHours(6_332_800_000));
    }

    proptest! {
        /// What a device really did lies between the bounds: whatever samples are lost, however the clock moved between
        /// them, and however activity reads within its error.
        #[test]
        fn the_truth_lies_between_the_bounds(
            seconds in prop::collection::vec(
                (0u32..=500_000, 0u32..=300_000, 0u32..=200_000, 345u32..=1_980, 0u32..=1_000, any::<bool>()),
                2..60,
            ),
            lost in prop::collection::vec(any::<bool>(), 60),
            offset in 0u64..1_000,
        ) {
            let peak = peak(0x2330);
            let mut truth = 0u128;
            let mut samples = Vec::new();
            let mut before = None;
            for (t, (hmma, imma, dfma, clock, error, reads)) in seconds.iter().enumerate() {
                // The clock ran somewhere between its values at both ends; the very first second is not sampled.
                if let Some(earlier) = before {
                    let f = u64::from((*clock).min(earlier)) + offset * u64::from(clock.abs_diff(earlier)) / 1_000;
                    let share = u64::from(*hmma) + u64::from(*imma) + u64::from(*dfma) / 4;
                    let delivered = share.min(1_000_000) * f.min(1_830) / 1_830;
                    // Between nine tenths of what is counted, and a twentieth more, at most the peak.
                    let factor = 900 + u64::from(*error) * 152 / 1_000;
                    let delivered = (delivered * factor / 1_000).min(f.min(1_830) * 1_000_000 / 1_830);
                    truth += u128::from(delivered) * 15_832_000_000 / 3_600 / 1_000_000;
                }
                before = Some(*clock);
                if t == 0 || !lost[t] {
                    let reading = if *reads {
                        Reading::Value(activity(*hmma, *imma, *dfma))
                    } else {
                        Reading::Lost(crate::telemetry::LossReason::Failed)
                    };
                    samples.push(sample(u64::try_from(t).unwrap(), *clock, reading));
                }
            }
            let whole = u64::try_from(seconds.len() - 1).unwrap() * SECOND;
            let compute = account(&peak, &samples).compute(&peak, whole);
            let slack = 2 * u128::from(whole / SECOND);
            prop_assert!(compute.lower.0 <= truth + slack, "{compute:?} against {truth}");
            prop_assert!(truth <= compute.upper.0 + slack, "{compute:?} against {truth}");
            prop_assert!(compute.lower <= compute.counter && compute.counter <= compute.upper);
            prop_assert!(compute.upper <= compute.upper_unconditional);
        }

        #[test]
        fn accounts_add_up_to_the_same_in_any_order(
            parts in prop::collection::vec((0u32..=1_000_000, 300u32..2_000), 2..30),
            turn in 0usize..30,
        ) {
            let peak = peak(0x2330);
            let mut track = Track::new(SECOND);
            let mut accounts: Vec<Account> = parts.iter().enumerate().filter_map(|(t, (share, clock))| {
                let s = sample(u64::try_from(t).unwrap(), *clock, Reading::Value(activity(*share, 0, 0)));
                let mut account = Account::default();
                account.add(&track.push(&s)?, &peak);
                Some(account)
            }).collect();
            let total = |accounts: &[Account]| {
                accounts.iter().fold(Account::default(), |sum, a| sum.plus(*a)).compute(&peak, 60 * SECOND)
            };
            let before = total(&accounts);
            let turn = turn % accounts.len();
            accounts.rotate_left(turn);
            prop_assert_eq!(before, total(&accounts));
        }
    }
}
