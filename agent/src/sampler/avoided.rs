//! Devices in whose calls a sampler hung.
//!
//! Decides: for how long such a device is left alone, and when it is trusted again. Time is counted in regular ticks,
//! that is in seconds in which a sampler worked. Does not establish that a device has recovered; the next call will.

use std::collections::BTreeMap;

/// Ticks until a device that hung is called again, and how far the wait grows if it hangs again.
const FIRST_WAIT: u32 = 30;
const LAST_WAIT: u32 = 600;

/// The devices, by their driver index.
#[derive(Debug, Default)]
pub(super) struct Avoided(BTreeMap<u16, Wait>);

#[derive(Clone, Copy, Debug)]
struct Wait {
    /// Its length, in ticks.
    length: u32,
    /// Ticks until the device is called again, or, once it is, until it is trusted again.
    left: u32,
    readmitted: bool,
}

impl Avoided {
    /// Notes that a call to the device hung.
    pub(super) fn add(&mut self, device: u16) {
        let length = self.0.get(&device).map_or(FIRST_WAIT, |before| {
            before.length.saturating_mul(2).min(LAST_WAIT)
        });
        let wait = Wait {
            length,
            left: length,
            readmitted: false,
        };
        self.0.insert(device, wait);
    }

    /// The devices that must not be called now.
    pub(super) fn now(&self) -> Vec<u16> {
        self.0
            .iter()
            .filter(|(_, wait)| !wait.readmitted)
            .map(|(device, _)| *device)
            .collect()
    }

    /// Counts one tick, and takes back the devices whose wait is over, if `may_readmit`.
    pub(super) fn tick(&mut self, may_readmit: bool) -> Vec<u16> {
        let mut due = Vec::new();
        self.0.retain(|device, wait| {
            wait.left = wait.left.saturating_sub(1);
            if wait.left > 0 {
                return true;
            }
            if wait.readmitted {
                return false;
            }
            if may_readmit {
                wait.readmitted = true;
                wait.left = LAST_WAIT;
                due.push(*device);
            }
            true
        });
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks_until_called(avoided: &mut Avoided) -> usize {
        (1..).find(|_| !avoided.tick(true).is_empty()).unwrap()
    }

    #[test]
    fn a_device_that_hangs_again_waits_longer_until_it_is_trusted_again() {
        let mut avoided = Avoided::default();
        avoided.add(3);
        assert_eq!(avoided.now(), [3]);
        assert_eq!(ticks_until_called(&mut avoided), 30);
        assert!(avoided.now().is_empty());
        avoided.add(3);
        assert_eq!(ticks_until_called(&mut avoided), 60);
        for _ in 0..LAST_WAIT {
            avoided.tick(true);
        }
        avoided.add(3);
        assert_eq!(ticks_until_called(&mut avoided), 30);
    }

    #[test]
    fn none_is_called_while_it_may_not_be() {
        let mut avoided = Avoided::default();
        avoided.add(3);
        for _ in 0..1_000 {
            assert!(avoided.tick(false).is_empty());
        }
        assert_eq!(avoided.tick(true), [3]);
    }
}
