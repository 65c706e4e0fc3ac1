//! When a node is asked for a round of hardware evidence that it did not plan.
//!
//! Decides: whether a challenge asks for one. The answer is a function of the challenge and the terms alone, so it needs no row, is the same after a restart, and is the
//! same however often it is asked. Challenges are pseudo-random under the verifier's secret: nobody else can tell in advance which ask.

use weighbridge::crypto::sha256;
use weighbridge::id::Challenge;
use weighbridge::time::DAY_SECONDS;

/// Separates these bytes from everything else that is hashed.
const CONTEXT: &[u8] = b"weighbridge/round-draw/v1\0";

/// Whether a challenge asks for a round, where each report draws one and so many rounds a day are wanted on average.
pub(super) fn is_drawn(challenge: &Challenge, report_seconds: u32, per_day: u32) -> bool {
    let [a, b, c, d, e, f, g, h, ..] = sha256(&[CONTEXT, &challenge.0].concat()).0;
    let drawn = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    // drawn / 2^64 < per_day * report_seconds / day, without a division.
    let share = u128::from(per_day).saturating_mul(u128::from(report_seconds));
    u128::from(drawn).saturating_mul(u128::from(DAY_SECONDS.unsigned_abs())) < share << 64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(report_seconds: u32, per_day: u32) -> usize {
        let challenge = |n: u32| Challenge(sha256(&n.to_be_bytes()).0);
        (0..100_000u32)
            .filter(|n| is_drawn(&challenge(*n), report_seconds, per_day))
            .count()
    }

    #[test]
    fn as_many_are_drawn_as_are_wanted() {
        // One of 288 reports of a day; 347 of 100,000 are expected, and six standard deviations are 112.
        let drawn = count(300, 1);
        assert!((235..460).contains(&drawn), "{drawn}");
        let drawn = count(60, 12);
        assert!((722..945).contains(&drawn), "{drawn}");
        assert_eq!(count(300, 0), 0);
        assert_eq!(count(300, 288), 100_000);
        assert_eq!(count(900, u32::MAX), 100_000);
    }

    #[test]
    fn a_challenge_asks_for_the_same_however_often_it_is_given() {
        let challenge = Challenge([7; 32]);
        assert_eq!(is_drawn(&challenge, 300, 144), is_drawn(&challenge, 300, 144));
    }
}
