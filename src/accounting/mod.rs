//! Compute delivered, as bounds.
//!
//! Decides: between which bounds the compute of a window lies, and what each bound rests on. Trusts the catalogue for the peak of a
//! part, and the driver for activity and clocks. Does not establish that the driver told the truth: only the unconditional
//! upper bound holds against a driver that lies.

mod account;
#[cfg(test)]
mod account_tests;
pub mod consistency;
#[cfg(test)]
mod lost_tests;
mod observation;
mod operations;
mod peak;
mod pipes;

use crate::unit::{Interval, MicroTppHours};

pub use account::Account;
pub use observation::{Observation, ObservationKind};
pub use operations::{Contradiction, Precision, operations};
pub use peak::Peak;

crate::code! {
    /// What the lower bound and the point of a compute figure rest on.
    pub enum ComputeMethod {
        /// Per-pipe activity times the SM clock.
        PipeActivity = 0 => "pipe activity",
        /// Only the time in which a kernel was resident.
        BusyTime = 1 => "busy time",
        /// Only the energy counter.
        Energy = 2 => "energy",
        /// Nothing but the length of the report's time.
        ElapsedTime = 3 => "elapsed time",
    }
}

crate::code! {
    /// Which bound made the upper one what it is: the least of these.
    pub enum UpperBound {
        /// The peak rate over the time in which a kernel was resident; where that is not known, over all of it.
        Time = 0 => "time",
        /// The peak rate at the SM clocks that were read.
        Clock = 1 => "clock",
        /// The activity of the pipes at these clocks.
        Counter = 2 => "counter",
        /// The energy that was drawn, at the least that an operation takes.
        Energy = 3 => "energy",
        /// The power limit over the time, at the least that an operation takes.
        PowerCap = 4 => "power cap",
    }
}

crate::row! {
    /// The best estimate by pipe, in millionths of a TPP-hour: busy time × SM clock × what the pipe was seen to do in a clock
    /// ([`Calibration::typical`](crate::accelerator::Calibration)), where the part was measured; else what the data sheet says.
    ///
    /// It is no bound. [`Compute::counter`] takes the data sheet's rate and clock, and tensor pipes alone.
    pub struct PipeCompute {
        /// FP16, BF16, TF32, FP8 and narrower on the tensor pipe.
        #[serde(serialize_with = "tpp_hours")]
        hmma: MicroTppHours,
        /// Integers on the tensor pipe.
        #[serde(serialize_with = "tpp_hours")]
        imma: MicroTppHours,
        /// FP64 on the tensor pipe.
        #[serde(serialize_with = "tpp_hours")]
        dfma: MicroTppHours,
        /// FP64 vectors.
        #[serde(serialize_with = "tpp_hours")]
        fp64: MicroTppHours,
        /// FP32 vectors.
        #[serde(serialize_with = "tpp_hours")]
        fp32: MicroTppHours,
        /// FP16 vectors.
        #[serde(serialize_with = "tpp_hours")]
        fp16: MicroTppHours,
    }
}

impl PipeCompute {
    /// All tensor pipes together.
    #[must_use]
    pub fn on_tensor(&self) -> MicroTppHours {
        self.hmma.plus(self.imma).plus(self.dfma)
    }
}

crate::row! {
    /// Compute delivered, in millionths of a TPP-hour, as bounds.
    pub struct Compute {
        /// What the truth is not below. Zero where only utilisation or power exist.
        #[serde(serialize_with = "tpp_hours")]
        lower: MicroTppHours,
        /// What the counters say, between the bounds.
        #[serde(serialize_with = "tpp_hours")]
        counter: MicroTppHours,
        /// What the truth is not above, if the driver's inputs are true. Gaps count at the peak rate.
        #[serde(serialize_with = "tpp_hours")]
        upper: MicroTppHours,
        /// What the truth is not above whatever the driver says: the catalogue's peak for the whole of the time.
        #[serde(serialize_with = "tpp_hours")]
        upper_unconditional: MicroTppHours,
        /// What it rests on.
        method: ComputeMethod,
        /// Which bound the upper one is.
        bound: UpperBound,
    }
}

/// In TPP-hours, to the last digit.
pub(crate) fn tpp_hours<S: serde::Serializer>(micro: &MicroTppHours, s: S) -> Result<S::Ok, S::Error> {
    let (whole, rest) = (micro.0.div_euclid(1_000_000), micro.0.rem_euclid(1_000_000));
    s.collect_str(&format_args!("{whole}.{rest:06}"))
}

impl Compute {
    /// Linear sum, as limits require: each bound with its own kind. The method is the weaker of the two, the bound that of the larger.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            lower: self.lower.plus(other.lower),
            counter: self.counter.plus(other.counter),
            upper: self.upper.plus(other.upper),
            upper_unconditional: self.upper_unconditional.plus(other.upper_unconditional),
            method: self.method.max(other.method),
            bound: if other.upper > self.upper {
                other.bound
            } else {
                self.bound
            },
        }
    }

    /// The bounds that hold if the driver's inputs are true.
    #[must_use]
    pub fn interval(&self) -> Interval<MicroTppHours> {
        Interval::new(self.lower, self.upper)
    }
}
