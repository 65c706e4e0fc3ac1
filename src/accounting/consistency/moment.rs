//! What one step of a device says, in the form in which the checks ask for it.

use crate::telemetry::{DeviceSample, Reading, Step};
use crate::unit::Ppm;

/// Shares of the pipes, in parts per million.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shares {
    pub(super) sm: u32,
    pub(super) tensor: Option<u32>,
    pub(super) hmma: Option<u32>,
    pub(super) imma: Option<u32>,
    pub(super) dfma: Option<u32>,
    pub(super) dram: Option<u32>,
    /// FP64, FP32, FP16 and integer together; `None` where the driver tells none of them.
    pub(super) vector: Option<u32>,
    /// Covered time that they speak for, in microseconds.
    pub(super) micros: u64,
}

/// A covered step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Length, in microseconds.
    pub(super) micros: u64,
    /// Energy gained over this step alone, in millijoules.
    pub(super) energy_mj: Option<u64>,
    /// Power at its end.
    pub(super) power_mw: Option<u32>,
    /// Mean power: of what the driver kept of the step, else the middle of both ends.
    pub(super) middle_mw: Option<u32>,
    /// Energy of the step in millijoules, from the power at its ends.
    pub(super) integral_mj: Option<u64>,
    /// Mean power in milliwatts, from the counter, or else from the power at its ends.
    pub(super) mean_mw: Option<u64>,
    pub(super) shares: Option<Shares>,
    pub(super) utilisation: Option<u32>,
    pub(super) clock_mhz: Option<u32>,
    /// The SM clock at its end, of the same instant as the events.
    pub(super) clock_now_mhz: Option<u32>,
    pub(super) temperature_c: Option<i32>,
    pub(super) events: Option<u64>,
    /// NVLink bytes of this step alone, sent and received.
    pub(super) link: Option<[u64; 2]>,
}

/// Which counters had a value at the sample before, so that what they gained belongs to one step.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Before {
    link: bool,
    seen: bool,
}

impl Before {
    /// The moment that a step is, unless it is not covered.
    pub(super) fn moment(&mut self, step: &Step, sample: &DeviceSample) -> Option<Moment> {
        let before = *self;
        *self = Self {
            link: step.nvlink.value().is_some(),
            seen: true,
        };
        let micros = step.covered_ns().checked_div(1_000).unwrap_or(0);
        if micros == 0 || !before.seen {
            return None;
        }
        let whole = step.resets == 0;
        let own = step.energy_ns > 0 && step.energy_ns == step.covered_ns();
        let energy_mj = step.energy_mj.value().copied().filter(|_| own);
        let middle_mw = step.power_mean_mw.value().copied();
        let integral_mj = middle_mw.map(|mw| {
            let product = u64::from(mw).saturating_mul(micros);
            product.checked_div(1_000_000).unwrap_or(0)
        });
        let counted = energy_mj.and_then(|mj| mj.saturating_mul(1_000_000).checked_div(micros));
        Some(Moment {
            micros,
            energy_mj,
            power_mw: sample.power_mw.value().copied(),
            middle_mw,
            integral_mj,
            mean_mw: counted.or_else(|| middle_mw.map(u64::from)),
            shares: shares(step),
            utilisation: step.utilisation.value().map(|e| e.low.0.midpoint(e.high.0)),
            clock_mhz: step.sm_clock_mhz.value().map(|e| e.high),
            clock_now_mhz: sample.sm_clock_mhz.value().copied(),
            temperature_c: sample.temperature_c.value().copied(),
            events: sample.clock_events.value().copied(),
            link: step
                .nvlink
                .value()
                .map(|t| [t.tx, t.rx])
                .filter(|_| whole && before.link),
        })
    }
}

impl Moment {
    /// Energy of the step in millijoules: from the counter, or else from the power at its ends.
    pub(super) fn drawn_mj(&self) -> Option<u64> {
        self.energy_mj.or(self.integral_mj)
    }
}

fn shares(step: &Step) -> Option<Shares> {
    let Reading::Value(a) = &step.activity else {
        return None;
    };
    let share = |r: &Reading<Ppm>| r.value().map(|p| p.0);
    let vectors = [&a.fp64, &a.fp32, &a.fp16, &a.integer].map(share);
    let vector = vectors.iter().any(Option::is_some).then(|| {
        vectors
            .iter()
            .flatten()
            .fold(0u32, |sum, v| sum.saturating_add(*v))
    });
    Some(Shares {
        sm: share(&a.sm)?,
        tensor: share(&a.tensor_any),
        hmma: share(&a.hmma),
        imma: share(&a.imma),
        dfma: share(&a.dfma),
        dram: share(&a.dram),
        vector,
        micros: step.activity_ns.checked_div(1_000).unwrap_or(0),
    })
}
