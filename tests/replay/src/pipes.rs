//! For how long each pipe was busy, and how many cycles of the SM clock that makes.
//!
//! It decides which pipe a trace's activity belongs to where the trace does not say: the tensor pipes' is that of half
//! precision, and a part of the multiprocessors' is the integer pipe's. What a recording tells of a pipe is taken as it is.

/// Columns of a recording that tell of one pipe, in the order of [`Told`].
pub(crate) const COLUMNS: [&str; PIPES] = [
    "hmma_active",
    "imma_active",
    "dfma_active",
    "fp64_active",
    "fp32_active",
    "fp16_active",
    "integer_active",
];

/// How many pipes a recording may tell of.
pub(crate) const PIPES: usize = 7;

/// Seconds for which each pipe of [`COLUMNS`] was busy; none where the recording has no such column.
pub(crate) type Told = [Option<f64>; PIPES];

/// The share of multiprocessor activity that is the integer pipe's, where no recording says otherwise.
const INTEGER: f64 = 0.12;

/// One number for each thing that is busy or counts: seconds of it, or cycles.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pipes {
    /// Time itself.
    pub elapsed: f64,
    /// Multiprocessors with a warp.
    pub sm: f64,
    /// Any tensor pipe.
    pub any: f64,
    /// The tensor pipe of half precision and narrower.
    pub hmma: f64,
    /// The tensor pipe of integers.
    pub imma: f64,
    /// The tensor pipe of double precision.
    pub dfma: f64,
    /// Double precision, not tensor.
    pub fp64: f64,
    /// Single precision.
    pub fp32: f64,
    /// Half precision, not tensor.
    pub fp16: f64,
    /// Integers.
    pub integer: f64,
}

impl Pipes {
    /// Seconds of each: `elapsed` seconds of which multiprocessors were busy for `sm` and tensor pipes for `tensor`.
    pub(crate) fn busy(elapsed: f64, sm: f64, tensor: f64, told: Told, fp64_share: f64) -> Self {
        let [hmma, imma, dfma, fp64, fp32, fp16, integer] = told;
        Self {
            elapsed,
            sm,
            any: tensor,
            hmma: hmma.unwrap_or(tensor),
            imma: imma.unwrap_or(0.0),
            dfma: dfma.unwrap_or(0.0),
            fp64: fp64.unwrap_or(sm * fp64_share),
            fp32: fp32.unwrap_or(0.0),
            fp16: fp16.unwrap_or(0.0),
            integer: integer.unwrap_or(sm * INTEGER),
        }
    }

    /// Joins two field by field.
    pub(crate) fn join(self, other: Self, rule: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            elapsed: rule(self.elapsed, other.elapsed),
            sm: rule(self.sm, other.sm),
            any: rule(self.any, other.any),
            hmma: rule(self.hmma, other.hmma),
            imma: rule(self.imma, other.imma),
            dfma: rule(self.dfma, other.dfma),
            fp64: rule(self.fp64, other.fp64),
            fp32: rule(self.fp32, other.fp32),
            fp16: rule(self.fp16, other.fp16),
            integer: rule(self.integer, other.integer),
        }
    }

    /// What came since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        self.join(earlier, |now, then| now - then)
    }

    /// The sum of both.
    pub(crate) fn plus(self, other: Self) -> Self {
        self.join(other, |one, two| one + two)
    }

    /// Each of them `factor` times.
    pub(crate) fn times(self, factor: f64) -> Self {
        self.join(self, |one, _| one * factor)
    }

    /// What is busy `share` times as much in the same time.
    pub(crate) fn thinned(self, share: f64) -> Self {
        Self {
            elapsed: self.elapsed,
            ..self.times(share)
        }
    }
}
