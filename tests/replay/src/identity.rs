//! Who the played GPUs are: UUID, serial number, per-device identifier and place on the bus.
//!
//! All follow from the seed, the profile and the index, so that a scenario is the same machine each time it is played
//! and two scenarios are two machines. Nothing here is secret or unique beyond that.
#![expect(
    clippy::arithmetic_side_effects,
    reason = "remainders by constants and a wrapping mixer"
)]

use crate::profile::MIG_INSTANCES;
use crate::scenario::Scenario;

/// PCI bus numbers of the GPUs of a machine, by index; the first eight as on an eight-GPU board.
const BUSES: [u8; 16] = [
    0x18, 0x2a, 0x3a, 0x5d, 0x9a, 0xab, 0xba, 0xdb, 0x0f, 0x21, 0x43, 0x51, 0x6b, 0x84, 0xc3, 0xe4,
];

/// What tells one played GPU from another.
#[derive(Debug, Clone)]
pub struct Identity {
    /// `GPU-xxxxxxxx-...`, as NVML writes it.
    pub uuid: String,
    /// The UUIDs of its MIG instances, if it were cut.
    pub mig_uuids: Vec<String>,
    /// The board's serial number.
    pub serial: String,
    /// The per-device identifier.
    pub pdi: u64,
    /// PCI bus number; domain, device and function are 0.
    pub bus: u8,
    /// `00000000:18:00.0`, as NVML writes it.
    pub bus_id: String,
    /// The name that the driver reports.
    pub name: &'static str,
}

/// The GPUs of a scenario, in the order of their index.
#[must_use]
pub fn identities(scenario: &Scenario) -> Vec<Identity> {
    let profile = scenario.profile.profile();
    let prefix = scenario.serial_prefix.as_deref().unwrap_or("165");
    let seed = mix(
        scenario.seed.unwrap_or_default(),
        digest(prefix.as_bytes()),
        u32::from(profile.device_id),
    );
    (0_u32..)
        .zip(BUSES)
        .take(usize::try_from(scenario.gpus).unwrap_or_default())
        .map(|(index, bus)| Identity {
            uuid: format!("GPU-{}", uuid(seed, index)),
            mig_uuids: (0..MIG_INSTANCES)
                .map(|slice| format!("MIG-{}", uuid(seed, 0x100 * (slice + 1) + index)))
                .collect(),
            serial: format!("{prefix}{:010}", mix(seed, 0x5e41, index) % 10_000_000_000),
            pdi: mix(seed, 0x9d1, index),
            bus,
            bus_id: format!("00000000:{bus:02X}:00.0"),
            name: profile.name,
        })
        .collect()
}

fn uuid(seed: u64, index: u32) -> String {
    let high = mix(seed, 0x11d, index);
    let low = mix(seed, 0x22d, index);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

/// Three numbers made into one that looks random (the finaliser of SplitMix64).
#[must_use]
pub fn mix(seed: u64, salt: u64, index: u32) -> u64 {
    let mut state = seed ^ salt.rotate_left(24) ^ u64::from(index).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for _ in 0..2 {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        state ^= state >> 31;
    }
    state
}

/// FNV-1a of some bytes.
#[must_use]
pub fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    fn of(text: &str) -> Vec<Identity> {
        identities(&Scenario::parse(text, Path::new("."), "node").unwrap())
    }

    #[test]
    fn every_gpu_is_another_and_stays_itself() {
        let sixteen = of("profile = 'H100'\ngpus = 16");
        let uuids: BTreeSet<_> = sixteen.iter().map(|gpu| &gpu.uuid).collect();
        let serials: BTreeSet<_> = sixteen.iter().map(|gpu| &gpu.serial).collect();
        let buses: BTreeSet<_> = sixteen.iter().map(|gpu| gpu.bus).collect();
        assert_eq!((uuids.len(), serials.len(), buses.len()), (16, 16, 16));
        assert_eq!(sixteen[3].uuid, of("profile = 'H100'\ngpus = 4")[3].uuid);
        assert_eq!(sixteen[0].uuid.len(), 40);
        assert_eq!(sixteen[0].bus_id, "00000000:18:00.0");
    }

    #[test]
    fn seed_prefix_and_profile_each_make_another_machine() {
        let first = &of("profile = 'H100'")[0];
        for text in [
            "profile = 'H100'\nseed = 9",
            "profile = 'H100'\nserial_prefix = 'B2'",
            "profile = 'H200'",
        ] {
            let other = &of(text)[0];
            assert_ne!(first.uuid, other.uuid, "{text}");
            assert_ne!(first.serial, other.serial, "{text}");
        }
    }
}
