//! Operations: what compute comes to, as an interval over the formats that a pipe may have run.
//!
//! Compute in TPP-hours needs no format, because on a given part the rate times the width is one constant. A count of
//! operations does: the same busy time is four times as many operations in FP8 as in TF32, and no counter tells them apart.
//! So operations are an interval, and a declared format narrows it.
//!
//! Decides: the interval, and whether a declared format contradicts the pipes or the energy. Does not establish the
//! format: power cannot, for measured energy is nearly the same for a bit-operation in BF16 and FP8 (docs/accounting.md).

use super::peak::{BITS_PER_MICRO, Peak};
use super::{Compute, PipeCompute};
use crate::accelerator::Model;
use crate::unit::{Interval, MicroTppHours, Millijoules, Operations};

crate::code! {
    /// The width and kind of numbers, as a declaration names it.
    pub enum Precision {
        /// FP64, on the tensor pipe or as vectors.
        Fp64 = 0 => "fp64",
        /// TF32, held in 32 bits.
        Tf32 = 1 => "tf32",
        /// BF16.
        Bf16 = 2 => "bf16",
        /// FP16.
        Fp16 = 3 => "fp16",
        /// FP8.
        Fp8 = 4 => "fp8",
        /// INT8.
        Int8 = 5 => "int8",
        /// FP4.
        Fp4 = 6 => "fp4",
    }
}

/// What is odd about a declared format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contradiction {
    /// The catalogue has no such format for the model.
    Model,
    /// Other pipes than the one that runs this format did more than it did.
    OtherPipe,
    /// The energy does not suffice for what the counters say.
    Energy,
}

impl Precision {
    /// Bit length of the inputs to the multiply.
    #[must_use]
    pub fn bits(self) -> u32 {
        match self {
            Self::Fp64 => 64,
            Self::Tf32 => 32,
            Self::Bf16 | Self::Fp16 => 16,
            Self::Fp8 | Self::Int8 => 8,
            Self::Fp4 => 4,
        }
    }

    /// Whether a model runs it. FP64 runs as vectors on every part.
    fn runs_on(self, model: &Model) -> bool {
        let rates = &model.rates;
        match self {
            Self::Fp64 => true,
            Self::Tf32 => rates.tf32.is_some(),
            Self::Bf16 | Self::Fp16 => rates.fp16.is_some(),
            Self::Fp8 => rates.fp8.is_some(),
            Self::Int8 => rates.int8.is_some(),
            Self::Fp4 => rates.fp4.is_some(),
        }
    }

    /// What the pipe that runs it did, and what all tensor pipes did.
    fn on(self, pipes: &PipeCompute) -> (MicroTppHours, MicroTppHours) {
        let all = pipes.on_tensor();
        match self {
            Self::Fp64 => (pipes.dfma, all),
            Self::Int8 => (pipes.imma, all),
            Self::Tf32 | Self::Bf16 | Self::Fp16 | Self::Fp8 | Self::Fp4 => (pipes.hmma, all),
        }
    }

    /// Whether the part, or the pipes or the energy of the same time, contradict that this format was run.
    #[must_use]
    pub fn contradicted(
        self,
        compute: &Compute,
        pipes: Option<&PipeCompute>,
        model: &Model,
        peak: &Peak,
        energy: Option<(Millijoules, u64)>,
    ) -> Option<Contradiction> {
        if !self.runs_on(model) {
            return Some(Contradiction::Model);
        }
        if let Some((own, all)) = pipes.map(|p| self.on(p))
            && own.plus(own) < all
        {
            return Some(Contradiction::OtherPipe);
        }
        let most = energy.and_then(|(energy, ns)| peak.within_energy(energy, ns));
        most.is_some_and(|most| compute.lower > most)
            .then_some(Contradiction::Energy)
    }
}

/// Operations between the widest and the narrowest format that each pipe of `model` can run, or in the `declared` one.
///
/// The lower bound goes pipe by pipe where they were told apart: FP64 is sixty-four bits wide, whatever else a part can run, and what was
/// surely done by the integer pipe is eight. `None` where the model's rates are not public.
#[must_use]
pub fn operations(
    compute: &Compute,
    pipes: Option<&PipeCompute>,
    model: &Model,
    declared: Option<Precision>,
) -> Option<Interval<Operations>> {
    let formats = || model.rates.formats().map(|(bits, _)| bits);
    let (widest, narrowest) = (formats().max()?, formats().min()?);
    let count = |micro: u128, bits: u64| {
        let bits = u128::from(bits.max(1));
        micro
            .saturating_mul(BITS_PER_MICRO)
            .checked_div(bits)
            .unwrap_or(0)
    };
    if let Some(format) = declared {
        let bits = u64::from(format.bits());
        return Some(Interval::new(
            Operations(count(compute.lower.0, bits)),
            Operations(count(compute.upper.0, bits)),
        ));
    }
    let lower = match pipes {
        Some(pipes) if pipes.on_tensor().0 > 0 => {
            // What a pipe was estimated to have done is no less than its share of the lower bound. So the widest pipes take as much of it
            // as they may have had, and only what is left over is counted by fewer bits.
            let double = pipes.dfma.0.min(compute.lower.0);
            let left = compute.lower.0.saturating_sub(double);
            let halves = pipes.hmma.0.min(left);
            let integers = left.saturating_sub(halves);
            let widest_half = formats().filter(|b| *b <= 32).max().unwrap_or(widest);
            count(double, 64)
                .saturating_add(count(halves, widest_half))
                .saturating_add(count(integers, 8))
        }
        _ => count(compute.lower.0, widest),
    };
    Some(Interval::new(
        Operations(lower),
        Operations(count(compute.upper.0, narrowest)),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accelerator::Catalogue;
    use crate::accounting::{ComputeMethod, UpperBound};

    const HOUR: MicroTppHours = MicroTppHours(1_000_000);

    fn compute(lower: u128, counter: u128, upper: u128) -> Compute {
        Compute {
            lower: MicroTppHours(lower),
            counter: MicroTppHours(counter),
            upper: MicroTppHours(upper),
            upper_unconditional: MicroTppHours(upper),
            method: ComputeMethod::PipeActivity,
            bound: UpperBound::Counter,
        }
    }

    fn pipes(hmma: u128, imma: u128, dfma: u128) -> PipeCompute {
        let none = MicroTppHours(0);
        PipeCompute {
            hmma: MicroTppHours(hmma),
            imma: MicroTppHours(imma),
            dfma: MicroTppHours(dfma),
            fp64: none,
            fp32: none,
            fp16: none,
        }
    }

    #[test]
    fn a_tpp_hour_is_an_interval_of_operations_and_a_declared_format_a_point() {
        let catalogue = Catalogue::embedded().unwrap();
        let h100 = catalogue
            .models()
            .iter()
            .find(|m| m.name == "H100 SXM5 80GB")
            .unwrap();
        let one = compute(HOUR.0, HOUR.0, HOUR.0);
        let of = |pipes: Option<&PipeCompute>, declared| {
            let found = operations(&one, pipes, h100, declared).unwrap();
            (found.lower().0, found.upper().0)
        };
        let bits = 3_600_000_000_000_000u128;
        assert_eq!(of(None, None), (bits / 64, bits / 8));
        assert_eq!(of(Some(&pipes(HOUR.0, 0, 0)), None), (bits / 32, bits / 8));
        assert_eq!(of(Some(&pipes(0, HOUR.0, 0)), None), (bits / 8, bits / 8));
        assert_eq!(of(Some(&pipes(0, 0, HOUR.0)), None), (bits / 64, bits / 8));
        assert_eq!(of(None, Some(Precision::Bf16)), (bits / 16, bits / 16));
    }

    #[test]
    fn operations_on_several_pipes_are_no_fewer_than_the_lower_bound_says() {
        let catalogue = Catalogue::embedded().unwrap();
        let h100 = catalogue
            .models()
            .iter()
            .find(|m| m.name == "H100 SXM5 80GB")
            .unwrap();
        let least = h100.calibration.least.unwrap();
        let typical = u128::from(h100.calibration.typical.unwrap());
        // Half of the time TF32 and half of it INT8, each by the instructions that do the least.
        let busy = HOUR.0 / 2;
        let (halves, integers) = (
            busy * u128::from(least.hmma) / 1_000_000,
            busy * u128::from(least.imma) / 1_000_000,
        );
        let seen = pipes(busy * typical / 1_000_000, busy * typical / 1_000_000, 0);
        let told = compute(halves + integers, HOUR.0, HOUR.0);
        let found = operations(&told, Some(&seen), h100, None).unwrap();
        let issued = (halves / 32 + integers / 8) * BITS_PER_MICRO;
        assert!(
            found.lower().0 > 0 && found.lower().0 <= issued,
            "{found:?} for {issued}"
        );
    }

    #[test]
    fn a_declared_format_is_held_against_the_pipe_that_would_have_run_it_and_against_energy() {
        let catalogue = Catalogue::embedded().unwrap();
        let h200 = catalogue.models().iter().find(|m| m.name == "H200 SXM").unwrap();
        let peak = Peak::of(
            h200,
            &crate::accounting::account_tests::identity(crate::id::PciId::default()),
        )
        .unwrap();
        let done = compute(500_000, HOUR.0, HOUR.0);
        let on_halves = pipes(HOUR.0, 0, 0);
        let check = |format: Precision, mj: u64| {
            format.contradicted(
                &done,
                Some(&on_halves),
                h200,
                &peak,
                Some((Millijoules(mj), 1_000_000_000)),
            )
        };
        assert_eq!(check(Precision::Bf16, 700_000), None);
        assert_eq!(check(Precision::Fp8, 700_000), None);
        assert_eq!(check(Precision::Int8, 700_000), Some(Contradiction::OtherPipe));
        assert_eq!(check(Precision::Fp4, 700_000), Some(Contradiction::Model));
        // Half a TPP-hour is 1.8e15 bit-operations, 7.2 J at four femtojoules each, and idling takes 50 J in that second.
        assert_eq!(check(Precision::Bf16, 57_000), Some(Contradiction::Energy));
        assert_eq!(check(Precision::Bf16, 57_400), None);
    }
}
