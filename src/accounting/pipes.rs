//! What activity of the pipes is worth, as shares of the peak at the reference clock.

use super::peak::Peak;
use crate::telemetry::{Activity, Reading};
use crate::unit::Ppm;

/// Shares in parts per million.
pub(super) struct Shares {
    /// Half-precision and integer tensor pipes.
    pub(super) tensor: u64,
    /// The FP64 tensor pipe, at its weight.
    pub(super) fp64_tensor: u64,
    /// The least that these two surely did; zero where nobody measured the part.
    pub(super) least: [u64; 2],
    /// All tensor pipes from above, before the yield.
    pub(super) upper: u64,
    /// Vectors, at their weight, from above.
    pub(super) vectors: u64,
    /// HMMA, IMMA, DFMA, FP64, FP32, FP16, each at its weight.
    pub(super) by_pipe: [u64; 6],
    /// Whether the pipes were not told apart.
    pub(super) merged: bool,
}

impl Shares {
    /// `None` where no tensor pipe is told of.
    ///
    /// Half-precision and integer pipes count whole, the FP64 pipe at its weight. Where the driver does not tell them apart, the
    /// figure takes all activity for FP64, and the upper bound none of it.
    pub(super) fn of(a: &Activity, peak: &Peak) -> Option<Self> {
        let share = |r: &Reading<Ppm>| r.value().map(|p| u64::from(p.0.min(1_000_000)));
        let weighed = |ppm: u64, weight: u64| ppm.saturating_mul(weight).checked_div(1_000_000).unwrap_or(0);
        let vector = |r: &Reading<Ppm>| weighed(share(r).unwrap_or(0), peak.vector);
        let (fp64, fp32, fp16) = (vector(&a.fp64), vector(&a.fp32), vector(&a.fp16));
        // From above, a pipe that is not told of was as busy as the multiprocessors that it lies in.
        let most = share(&a.sm).unwrap_or(1_000_000);
        let vector_most = |r: &Reading<Ppm>| weighed(share(r).unwrap_or(most), peak.vector);
        // FP16 vectors reach twice the rate of FP32 on the A100, of half the width; where they run on the tensor pipe they are in there.
        let apart = if peak.fp16_on_tensor {
            0
        } else {
            vector_most(&a.fp16).saturating_mul(2)
        };
        let free = |share: u64| share.saturating_mul(peak.headroom).div_ceil(1_000_000);
        // Integer multiply-adds reach half of the rate of FP32 on most parts, and all of it on some.
        let vectors = free(
            vector_most(&a.fp64)
                .saturating_add(vector_most(&a.fp32))
                .saturating_add(apart)
                .saturating_add(vector_most(&a.integer)),
        );
        match (share(&a.hmma), share(&a.imma), share(&a.tensor_any)) {
            (Some(counted), Some(imma), any) => {
                let on_tensor = if peak.fp16_on_tensor {
                    share(&a.fp16).unwrap_or(0)
                } else {
                    0
                };
                let hmma = counted.saturating_sub(on_tensor);
                let busy64 = share(&a.dfma).unwrap_or(0);
                let dfma = weighed(busy64, peak.dfma);
                // Activity of any tensor pipe that no named pipe accounts for is taken at full weight.
                let unnamed = any
                    .unwrap_or(0)
                    .saturating_sub(counted.saturating_add(imma).saturating_add(busy64));
                let dfma_most = match any {
                    Some(_) => dfma,
                    None => weighed(share(&a.dfma).unwrap_or(most), peak.dfma),
                };
                let upper = counted
                    .saturating_add(imma)
                    .saturating_add(free(dfma_most))
                    .saturating_add(unnamed);
                let least = peak.least.map_or([0; 2], |l| {
                    // Where FP16 vectors count on the tensor pipe and are not told of, all of it may have been theirs.
                    let apart = !peak.fp16_on_tensor || share(&a.fp16).is_some();
                    let least_hmma = u64::from(l.hmma).min(if apart { u64::MAX } else { peak.vector });
                    let named = weighed(hmma, least_hmma).saturating_add(weighed(imma, l.imma.into()));
                    [named.min(1_000_000), weighed(dfma, l.dfma.into())]
                });
                Some(Self {
                    least,
                    tensor: hmma.saturating_add(imma).min(1_000_000),
                    fp64_tensor: dfma,
                    upper: upper.min(1_000_000),
                    vectors,
                    by_pipe: [hmma, imma, dfma, fp64, fp32, fp16],
                    merged: false,
                })
            }
            (_, _, Some(any)) => Some(Self {
                tensor: 0,
                fp64_tensor: weighed(any, peak.dfma),
                least: peak.least.map_or([0; 2], |l| {
                    let least = l.hmma.min(l.imma).min(l.dfma);
                    [0, weighed(weighed(any, peak.dfma), least.into())]
                }),
                upper: any,
                vectors,
                by_pipe: [0; 6],
                merged: true,
            }),
            _ => None,
        }
    }
}
