//! Random salts for the leaves and claims of reports.
//!
//! Decides: how one is drawn. Trusts the system's random bytes. Does not establish that nobody reads this process's memory.

use weighbridge::crypto::{Entropy, KeyError, hmac_sha256};
use weighbridge::id::Digest;

/// Random salts from one random seed (HMAC-SHA-256 in counter mode), so that drawing one cannot fail half way through a report.
pub(super) struct Salts {
    seed: [u8; 32],
    drawn: u64,
}

impl std::fmt::Debug for Salts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Salts({} drawn)", self.drawn)
    }
}

impl Salts {
    /// Salts from a seed of the system's.
    pub(super) fn new(entropy: &Entropy) -> Result<Self, KeyError> {
        Ok(Self {
            seed: entropy.draw()?,
            drawn: 0,
        })
    }

    /// The next one.
    pub(super) fn next(&mut self) -> [u8; 16] {
        self.drawn = self.drawn.saturating_add(1);
        let Digest(block) = hmac_sha256(&self.seed, &self.drawn.to_be_bytes());
        let mut salt = [0; 16];
        for (to, from) in salt.iter_mut().zip(block) {
            *to = from;
        }
        salt
    }
}
