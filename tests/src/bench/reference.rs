//! The reference operation: one bare P-256 verification by ring, of 2,048 bytes; for what devices sign, one of P-384.
//!
//! Every CPU figure is a multiple of it, measured in the same run, before and after the work it is held against. A time of 41 µs in
//! a requirement stands for one such verification.

use super::cpu;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED,
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, EcdsaVerificationAlgorithm,
    KeyPair, UnparsedPublicKey,
};
use std::hint::black_box;

/// What one verification takes on the machine on which the requirements were written, in microseconds.
pub(super) const NOMINAL_US: f64 = 41.0;
/// Verifications in one measurement: some 10 ms.
const BATCH: u32 = 250;

/// A signature to verify, again and again.
#[derive(Debug)]
pub(super) struct Reference {
    key: UnparsedPublicKey<Vec<u8>>,
    message: [u8; 2048],
    signature: Vec<u8>,
}

impl Default for Reference {
    fn default() -> Self {
        Self::of(&ECDSA_P256_SHA256_FIXED_SIGNING, &ECDSA_P256_SHA256_FIXED)
    }
}

impl Reference {
    /// One bare P-384 verification instead.
    pub(super) fn p384() -> Self {
        Self::of(&ECDSA_P384_SHA384_FIXED_SIGNING, &ECDSA_P384_SHA384_FIXED)
    }

    fn of(signing: &'static EcdsaSigningAlgorithm, checking: &'static EcdsaVerificationAlgorithm) -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(signing, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(signing, document.as_ref(), &random).unwrap();
        let mut message = [0u8; 2048];
        ring::rand::SecureRandom::fill(&random, &mut message).unwrap();
        Self {
            key: UnparsedPublicKey::new(checking, pair.public_key().as_ref().to_vec()),
            signature: pair.sign(&random, &message).unwrap().as_ref().to_vec(),
            message,
        }
    }

    /// CPU time of one verification now, in nanoseconds.
    pub(super) fn measure(&self) -> f64 {
        let begun = cpu::thread_ns();
        for _ in 0..BATCH {
            self.key
                .verify(black_box(&self.message), black_box(&self.signature))
                .unwrap();
        }
        (cpu::thread_ns() - begun) as f64 / f64::from(BATCH)
    }

    /// Does `work`, which returns a CPU time in nanoseconds, between two measurements; returns it in verifications.
    pub(super) fn hold(&self, work: impl FnOnce() -> f64) -> Round {
        let before = self.measure();
        let work_ns = work();
        Round {
            work_ns,
            reference_ns: f64::midpoint(before, self.measure()),
        }
    }
}

/// One piece of work, held against the reference operation beside it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    /// The work's CPU time, in nanoseconds.
    pub(super) work_ns: f64,
    /// The reference operation's CPU time, in nanoseconds.
    pub(super) reference_ns: f64,
}

impl Round {
    /// The work in verifications.
    pub(super) fn ratio(&self) -> f64 {
        self.work_ns / self.reference_ns
    }
}

/// CPU time of `operation`, run `times` over, for one run, in nanoseconds.
pub(super) fn each<T>(times: u32, mut operation: impl FnMut() -> T) -> f64 {
    let begun = cpu::thread_ns();
    for _ in 0..times {
        black_box(operation());
    }
    (cpu::thread_ns() - begun) as f64 / f64::from(times)
}

/// The median; of an even count the mean of the two in the middle.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2])
}

/// The median of rounds, in verifications.
pub(super) fn median_ratio(rounds: &[Round]) -> f64 {
    median(&rounds.iter().map(Round::ratio).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_stands_in_the_middle() {
        assert!((median(&[9.0, 1.0, 3.0]) - 3.0).abs() < 1e-9);
        assert!((median(&[9.0, 1.0, 3.0, 2.0]) - 2.5).abs() < 1e-9);
    }
}
