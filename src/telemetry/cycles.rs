//! From two readings of a device's cycle counters to the shares of the time between them.
//!
//! Decides: when a difference of counters speaks for a stretch: each part of the device counted in both, none went back, and
//! cycles passed. Trusts the driver's counters within one boot. Does not establish at which clock the cycles passed.

use super::{Activity, LossReason, PipeCycles, Reading};
use crate::time::BootNanos;
use crate::unit::Ppm;

/// A part of a device that is all of it, in parts per billion.
const WHOLE_PPB: u64 = 1_000_000_000;

/// The most that a pipe's cycles may exceed those that passed, in parts per million: the two are read one after the other.
const MOST_PPM: u128 = 1_100_000;

/// Follows the cycle counters of one device over covered time and gaps.
#[derive(Clone, Debug, Default)]
pub(super) struct Cycles {
    last: Option<(BootNanos, Vec<PipeCycles>)>,
    /// Covered time and gaps since then, in nanoseconds.
    covered_ns: u64,
    gap_ns: u64,
}

/// What a reading of the counters says of the time before it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// The activity over all time since the reading before: so much of it covered, so much of it gaps, in nanoseconds.
    Since(Box<Activity>, u64, u64),
    /// Nothing: there is no such counter, none before it, or it does not count.
    Nothing,
    /// Nothing now: the next reading speaks for this time too.
    Later(LossReason),
    /// Nothing: counters began anew.
    Reset,
}

impl Cycles {
    /// Takes the reading at the end of a stretch.
    pub(super) fn push(
        &mut self,
        at: BootNanos,
        covered_ns: u64,
        gap_ns: u64,
        now: &Reading<Vec<PipeCycles>>,
    ) -> Told {
        self.covered_ns = self.covered_ns.saturating_add(covered_ns);
        self.gap_ns = self.gap_ns.saturating_add(gap_ns);
        let now = match now {
            Reading::Value(now) => now,
            Reading::Lost(why) if self.last.is_some() => return Told::Later(*why),
            Reading::Lost(_) | Reading::Unsupported => {
                self.last = None;
                return Told::Nothing;
            }
        };
        let before = self.last.replace((at, now.clone()));
        let (covered_ns, gap_ns) = (self.covered_ns, self.gap_ns);
        (self.covered_ns, self.gap_ns) = (0, 0);
        let Some((since, before)) = before else {
            return Told::Nothing;
        };
        let interval_ns = at.since(since);
        match activity(&before, now, interval_ns) {
            Ok(activity) => Told::Since(Box::new(activity), covered_ns, gap_ns),
            Err(Unfit::Divided | Unfit::Still) => Told::Nothing,
            Err(Unfit::Back) => Told::Reset,
        }
    }
}

/// Why two readings have no difference.
#[derive(Debug, PartialEq, Eq)]
enum Unfit {
    /// The device was divided otherwise in between.
    Divided,
    /// No cycle passed.
    Still,
    /// A counter went back.
    Back,
}

/// The shares of each pipe between two readings: of each part by its own cycles, and of the device by its parts' sizes.
fn activity(before: &[PipeCycles], now: &[PipeCycles], interval_ns: u64) -> Result<Activity, Unfit> {
    let alike = |(a, b): (&PipeCycles, &PipeCycles)| (a.instance, a.part_ppb) == (b.instance, b.part_ppb);
    if before.len() != now.len() || now.is_empty() || !before.iter().zip(now).all(alike) {
        return Err(Unfit::Divided);
    }
    let pairs = || before.iter().zip(now);
    if pairs().any(|(a, b)| went_back(a, b)) {
        return Err(Unfit::Back);
    }
    if pairs().any(|(a, b)| a.elapsed == b.elapsed) {
        return Err(Unfit::Still);
    }
    let share = |get: fn(&PipeCycles) -> Reading<u64>| -> Reading<Ppm> {
        let mut sum = 0u64;
        for (a, b) in pairs() {
            let passed = u128::from(b.elapsed.saturating_sub(a.elapsed));
            let (then, now) = match (get(a), get(b)) {
                (Reading::Value(then), Reading::Value(now)) => (then, now),
                (Reading::Lost(why), _) | (_, Reading::Lost(why)) => return Reading::Lost(why),
                _ => return Reading::Unsupported,
            };
            let ppm = u128::from(now.saturating_sub(then))
                .saturating_mul(1_000_000)
                .checked_div(passed)
                .unwrap_or(u128::MAX);
            if ppm > MOST_PPM {
                return Reading::Lost(LossReason::Malformed);
            }
            let ppm = u64::try_from(ppm.min(1_000_000)).unwrap_or(0);
            sum = sum.saturating_add(ppm.saturating_mul(u64::from(b.part_ppb)));
        }
        Reading::Value(Ppm::of(sum, WHOLE_PPB.saturating_mul(1_000_000)))
    };
    Ok(Activity {
        interval_ns,
        sm: share(|c| c.sm),
        tensor_any: share(|c| c.tensor_any),
        dfma: share(|c| c.dfma),
        hmma: share(|c| c.hmma),
        imma: share(|c| c.imma),
        dram: Reading::Unsupported,
        fp64: share(|c| c.fp64),
        fp32: share(|c| c.fp32),
        fp16: share(|c| c.fp16),
        integer: share(|c| c.integer),
    })
}

fn went_back(a: &PipeCycles, b: &PipeCycles) -> bool {
    let each = |c: &PipeCycles| {
        [
            c.sm,
            c.tensor_any,
            c.dfma,
            c.hmma,
            c.imma,
            c.fp64,
            c.fp32,
            c.fp16,
            c.integer,
        ]
    };
    b.elapsed < a.elapsed
        || each(a)
            .into_iter()
            .zip(each(b))
            .any(|(a, b)| matches!((a, b), (Reading::Value(a), Reading::Value(b)) if b < a))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::time::SECOND;

    /// A device of one part that has counted so much, its half-precision pipe for so many of the cycles.
    pub(crate) fn counted(elapsed: u64, hmma: u64) -> PipeCycles {
        let zero = Reading::Value(0);
        PipeCycles {
            instance: None,
            part_ppb: 1_000_000_000,
            elapsed,
            sm: Reading::Value(hmma),
            tensor_any: Reading::Value(hmma),
            dfma: zero,
            hmma: Reading::Value(hmma),
            imma: zero,
            fp64: zero,
            fp32: Reading::Unsupported,
            fp16: zero,
            integer: zero,
        }
    }

    fn part(instance: u32, part_ppb: u32, elapsed: u64, hmma: u64) -> PipeCycles {
        PipeCycles {
            instance: Some(instance),
            part_ppb,
            ..counted(elapsed, hmma)
        }
    }

    #[test]
    fn parts_count_by_their_size_whatever_number_of_cycles_each_counts() {
        let before = [part(1, 300_000_000, 10, 0), part(2, 600_000_000, 5_000, 100)];
        let now = [
            part(1, 300_000_000, 110, 50),
            part(2, 600_000_000, 15_000, 10_100),
        ];
        let told = activity(&before, &now, SECOND).unwrap();
        assert_eq!(told.hmma, Reading::Value(Ppm(150_000 + 600_000)));
        assert_eq!(told.imma, Reading::Value(Ppm(0)));
        assert_eq!(told.fp32, Reading::Unsupported);
        let other = [
            part(1, 300_000_000, 110, 50),
            part(3, 600_000_000, 15_000, 10_100),
        ];
        assert_eq!(activity(&before, &other, SECOND), Err(Unfit::Divided));
        assert_eq!(activity(&[], &[], SECOND), Err(Unfit::Divided));
    }

    #[test]
    fn what_goes_back_stands_still_or_exceeds_its_cycles_is_no_share() {
        let before = [counted(1_000, 500)];
        assert_eq!(activity(&before, &[counted(900, 500)], SECOND), Err(Unfit::Back));
        assert_eq!(
            activity(&before, &[counted(2_000, 400)], SECOND),
            Err(Unfit::Back)
        );
        assert_eq!(activity(&before, &before, SECOND), Err(Unfit::Still));
        let much = activity(&before, &[counted(2_000, 1_650)], SECOND).unwrap();
        assert_eq!(much.hmma, Reading::Lost(LossReason::Malformed));
        let hair = activity(&before, &[counted(2_000, 1_510)], SECOND).unwrap();
        assert_eq!(hair.hmma, Reading::Value(Ppm::ONE));
    }

    #[test]
    fn a_lost_reading_is_made_up_for_by_the_next() {
        let mut cycles = Cycles::default();
        let mut push = |second: u64, covered: u64, gap: u64, now: Reading<Vec<PipeCycles>>| {
            cycles.push(BootNanos(second * SECOND), covered * SECOND, gap * SECOND, &now)
        };
        let value = |elapsed, hmma| Reading::Value(vec![counted(elapsed, hmma)]);
        assert_eq!(push(0, 0, 0, value(100, 10)), Told::Nothing);
        let lost = Reading::Lost(LossReason::Failed);
        assert_eq!(push(1, 1, 0, lost), Told::Later(LossReason::Failed));
        const TWO: u64 = 2 * SECOND;
        const THIRTY: u64 = 30 * SECOND;
        let Told::Since(activity, TWO, THIRTY) = push(32, 1, 30, value(3_300, 1_610)) else {
            panic!("the difference speaks for all 32 seconds");
        };
        assert_eq!(activity.hmma, Reading::Value(Ppm(500_000)));
        assert_eq!(activity.interval_ns, 32 * SECOND);
        assert_eq!(push(33, 1, 0, value(10, 1)), Told::Reset);
        assert!(matches!(push(34, 1, 0, value(20, 2)), Told::Since(_, SECOND, 0)));
        assert_eq!(push(35, 1, 0, Reading::Unsupported), Told::Nothing);
    }
}
