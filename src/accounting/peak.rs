//! The peak that a device is held against, and what its counters are worth.

use crate::accelerator::{LeastYield, Match, Model};
use crate::telemetry::AcceleratorIdentity;
use crate::unit::{MicroTppHours, Millijoules, Ppm, Tpp};

/// The most that the FP64 tensor pipe delivers in a clock, of what the other formats deliver: a quarter on every part that has one
/// (256 × 64 of 65,536 on Hopper, 128 × 64 of 32,768 on the A100).
const DFMA_MOST: u64 = 250_000;

/// Share of the constant that FP32 vectors deliver in a clock where the driver does not say how many lanes there are: an eighth on
/// Volta to Hopper, less on later parts.
const VECTOR_MOST: u64 = 125_000;

/// Nanoseconds × TPP × both shares in one millionth of a TPP-hour.
const PER_MICRO_TPP_HOUR: u128 = 3_600_000 * WHOLE;

/// A whole share of activity times a whole share of clock, in parts per million each.
pub(super) const WHOLE: u128 = 1_000_000_000_000;

/// Attojoules in a millijoule.
const AJ_PER_MJ: u128 = 1_000_000_000_000_000;

/// Bit-operations in a millionth of a TPP-hour.
pub(super) const BITS_PER_MICRO: u128 = 3_600_000_000;

/// The peak of one device, with what bounds operations from its counters, its energy and its power limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peak {
    tpp: Tpp,
    /// The clock at which the peak holds, and above which the tensor pipes gain nothing.
    pub(super) tensor_clock_mhz: Option<u32>,
    reference_clock_mhz: Option<u32>,
    /// What the FP64 tensor pipe and FP32 vectors deliver at the reference clock, in millionths of the peak.
    pub(super) dfma: u64,
    pub(super) vector: u64,
    /// How far the highest SM clock lies above the tensor clock: these pipes gain by it. At least 1,000,000.
    pub(super) headroom: u64,
    pub(super) fp16_on_tensor: bool,
    pub(super) typical: Option<u64>,
    pub(super) least: Option<LeastYield>,
    pub(super) most: Option<u64>,
    idle_mw: Option<u64>,
    floor_aj: Option<u64>,
    limit_mw: Option<u64>,
}

impl Peak {
    /// The peak of a device that is a `model`, or its part of a card; `None` where the model's rates are not public. Where the
    /// catalogue has no clock for it, the lower bound falls back on the highest clock that the driver states.
    #[must_use]
    pub fn of(model: &Model, identity: &AcceleratorIdentity) -> Option<Self> {
        let (card, tpp) = (model.tpp()?, model.device_tpp()?);
        let dfma = model.rates.fp64_matrix.map_or(0, |giga| {
            u64::from(Ppm::of(giga.saturating_mul(64), card.0.saturating_mul(1_000)).0)
        });
        let reference_clock_mhz = identity.max_sm_clock_mhz.value().copied();
        let clock = model.tensor_clock_mhz.or(reference_clock_mhz);
        // Lanes × 2 operations × 32 bits × clock, against the peak.
        let vector = identity.cores.value().zip(clock).map(|(cores, mhz)| {
            let bits = u64::from(*cores).saturating_mul(64).saturating_mul(mhz.into());
            u64::from(Ppm::of(bits, tpp.0.saturating_mul(1_000_000)).0)
        });
        let headroom = reference_clock_mhz
            .zip(clock)
            .map_or(1_000_000, |(highest, mhz)| {
                let highest = u64::from(highest).saturating_mul(1_000_000);
                highest.div_ceil(u64::from(mhz.max(1))).max(1_000_000)
            });
        let calibration = &model.calibration;
        Some(Self {
            tpp,
            tensor_clock_mhz: model.tensor_clock_mhz,
            reference_clock_mhz,
            dfma: dfma.min(DFMA_MOST),
            vector: vector.unwrap_or(VECTOR_MOST),
            headroom,
            fp16_on_tensor: calibration.fp16_on_tensor,
            typical: calibration.typical.map(u64::from),
            least: calibration.least,
            most: calibration.most.map(u64::from),
            idle_mw: calibration
                .idle_least_w
                .and_then(|w| w.saturating_mul(1_000).checked_div(model.devices_per_card.into())),
            floor_aj: calibration.energy_floor_aj,
            limit_mw: identity.power_limit_mw.value().copied().map(u64::from),
        })
    }

    /// The peak of a device as it was found in the catalogue. Where its identifiers say one model and its name another, the larger peak
    /// holds from above, and nothing that was measured of a part bounds it: which part it is, is not known.
    #[must_use]
    pub fn found(found: &Match<'_>, identity: &AcceleratorIdentity) -> Option<Self> {
        let peak = Self::of(found.model()?, identity)?;
        Some(match found {
            Match::Disagree { .. } => Self {
                typical: None,
                least: None,
                most: None,
                floor_aj: None,
                ..peak
            },
            Match::Pci(_) | Match::Name(_) | Match::Unknown => peak,
        })
    }

    /// This peak for a time in which an earlier one held for a part: the higher power limit of the two, and none where one had none.
    #[must_use]
    pub(crate) fn as_wide_as(self, earlier: &Self) -> Self {
        Self {
            limit_mw: self.limit_mw.zip(earlier.limit_mw).map(|(a, b)| a.max(b)),
            ..self
        }
    }

    /// Total Processing Performance.
    #[must_use]
    pub fn tpp(&self) -> Tpp {
        self.tpp
    }

    /// The share of the tensor clock that `mhz` is, at most the whole; `None` where the catalogue has no such clock.
    pub(super) fn share_of_tensor_clock(&self, mhz: u32) -> Option<u64> {
        let whole = self.tensor_clock_mhz.filter(|clock| *clock > 0)?;
        Some(u64::from(Ppm::of(mhz.into(), whole.into()).0))
    }

    /// The same against the highest clock of the driver where the catalogue has none, and not capped: FP64 and vectors go on gaining
    /// above the tensor clock. Zero where no clock is known.
    pub(super) fn share_of_clock(&self, mhz: u32) -> u64 {
        let whole = self.tensor_clock_mhz.or(self.reference_clock_mhz);
        u64::from(mhz)
            .saturating_mul(1_000_000)
            .checked_div(u64::from(whole.unwrap_or(0)))
            .unwrap_or(0)
    }

    /// Compute at peak over `ns`, rounded up.
    #[must_use]
    pub fn over(&self, ns: u64) -> MicroTppHours {
        self.read_up(u128::from(ns).saturating_mul(WHOLE))
    }

    /// Nanoseconds × shares as compute, rounded down.
    pub(super) fn read_down(&self, shares: u128) -> MicroTppHours {
        let scaled = shares.saturating_mul(u128::from(self.tpp.0));
        MicroTppHours(scaled.checked_div(PER_MICRO_TPP_HOUR).unwrap_or(0))
    }

    /// The same, rounded up.
    pub(super) fn read_up(&self, shares: u128) -> MicroTppHours {
        let scaled = shares.saturating_mul(u128::from(self.tpp.0));
        MicroTppHours(scaled.div_ceil(PER_MICRO_TPP_HOUR))
    }

    /// The most that can be computed with `energy` in `ns`: what is left of it above idling, at the least that a bit-operation takes.
    /// `None` where the catalogue does not know these for the part.
    #[must_use]
    pub fn within_energy(&self, energy: Millijoules, ns: u64) -> Option<MicroTppHours> {
        let floor = u128::from(self.floor_aj?);
        let idle = u128::from(self.idle_mw?)
            .saturating_mul(u128::from(ns))
            .checked_div(1_000_000_000)?;
        let left = u128::from(energy.0).saturating_sub(idle);
        // One millijoule more: the counter is read in whole ones.
        let bits = left
            .saturating_add(1)
            .saturating_mul(AJ_PER_MJ)
            .checked_div(floor)?;
        Some(MicroTppHours(bits.div_ceil(BITS_PER_MICRO)))
    }

    /// The most that the power limit lets be computed in `ns`. Drivers let power rise a little above the limit for moments (759 W
    /// were read on parts limited to 700 W), so a tenth is added.
    #[must_use]
    pub(super) fn within_limit(&self, ns: u64) -> Option<MicroTppHours> {
        let limit = u128::from(self.limit_mw?).saturating_mul(11).div_ceil(10);
        let most = limit.saturating_mul(u128::from(ns)).div_ceil(1_000_000_000);
        self.within_energy(Millijoules(u64::try_from(most).unwrap_or(u64::MAX)), ns)
    }
}
