//! How long to wait after a failure: doubling from one second to five minutes, with jitter, so that a thousand nodes do not
//! come back in the same instant.

use std::time::Duration;

const FIRST_MS: u64 = 1_000;
const LONGEST_MS: u64 = 300_000;

/// The waits after failures in a row.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Begins anew after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// The next wait; `random` spreads it between half of the step and all of it.
    pub fn next(&mut self, random: [u8; 4]) -> Duration {
        let step = FIRST_MS
            .saturating_mul(1 << self.failures.min(16))
            .min(LONGEST_MS);
        self.failures = self.failures.saturating_add(1);
        let half = step >> 1;
        let spread = half
            .saturating_mul(u32::from_be_bytes(random).into())
            .checked_shr(32)
            .unwrap_or(0);
        Duration::from_millis(half.saturating_add(spread))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_five_minutes_and_begin_anew() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next([0; 4]), Duration::from_millis(500));
        let second = backoff.next([0xff; 4]);
        assert!(second > Duration::from_millis(1_900) && second <= Duration::from_secs(2));
        for _ in 0..100 {
            assert!(backoff.next([0xff; 4]) <= Duration::from_secs(300));
        }
        assert_eq!(backoff.next([0; 4]), Duration::from_secs(150));
        backoff.reset();
        assert_eq!(backoff.next([0; 4]), Duration::from_millis(500));
    }
}
