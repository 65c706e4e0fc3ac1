//! What is wrong with the devices now, in sentences for the operator.
//!
//! Decides: what is worth a state of its own: a driver or a device that does not answer, until it answers again. Trusts what the sampler and
//! its supervisor said. Does not establish why.

use std::collections::{BTreeMap, BTreeSet};
use weighbridge::telemetry::{DeviceState, Frame, NoticeKind};

/// What is known to be wrong, beside the states of the devices that the meter follows.
#[derive(Debug, Default)]
pub(super) struct Devices {
    /// The sampler itself.
    sampler: Option<&'static str>,
    /// No driver is in use.
    driverless: bool,
    /// Why the driver, or part of what it said, cannot be used.
    trouble: Option<String>,
    /// Devices that hung and that no inventory lists, by the driver's index.
    unlisted: BTreeSet<u16>,
}

impl Devices {
    /// Takes what a frame says.
    pub(super) fn hear(&mut self, frame: &Frame) {
        if let Some(inventory) = &frame.inventory {
            self.sampler = None;
            self.driverless = inventory.driver.is_none();
            for device in &inventory.devices {
                self.unlisted.remove(&device.index);
            }
        }
        if let Some(notice) = &frame.notice {
            match notice.kind {
                NoticeKind::DriverUnavailable => self.trouble = Some(notice.text.clone()),
                NoticeKind::Resumed => self.trouble = None,
                _ => {}
            }
        }
    }

    /// The sampler was given up or ended, and another is started: what it said of the driver says nothing any more.
    pub(super) fn restarted(&mut self, why: &'static str) {
        self.sampler = Some(why);
        self.trouble = None;
    }

    /// A call to a device did not return that no inventory lists.
    pub(super) fn hung(&mut self, index: u16) {
        self.unlisted.insert(index);
    }

    /// What is wrong now, each in a sentence, with the devices that are listed and do not answer.
    pub(super) fn wrong(&self, silent: impl Iterator<Item = (u16, DeviceState)>) -> Vec<String> {
        let driver = match &self.trouble {
            Some(trouble) => Some(trouble.as_str()),
            None if self.driverless => Some("no driver is in use: no device is measured"),
            None => None,
        };
        let unlisted = self.unlisted.iter().map(|index| (*index, DeviceState::Hung));
        let silent: BTreeMap<_, _> = silent.chain(unlisted).collect();
        let devices = silent.into_iter().map(|(index, state)| match state {
            DeviceState::Hung => format!("GPU {index} hangs: a call to it did not return"),
            state => format!("GPU {index} is {state}: it does not answer any more"),
        });
        let whole = self.sampler.into_iter().chain(driver).map(str::to_owned);
        whole.chain(devices).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weighbridge::telemetry::Notice;
    use weighbridge::time::BootNanos;

    fn said(kind: NoticeKind, text: &str) -> Frame {
        Frame::from(Notice {
            at: BootNanos(0),
            kind,
            device: None,
            text: text.to_owned(),
        })
    }

    #[test]
    fn what_does_not_answer_is_named_until_it_does() {
        let none = || std::iter::empty();
        let mut devices = Devices::default();
        assert!(devices.wrong(none()).is_empty());
        let silent = [(3, DeviceState::Lost), (1, DeviceState::Hung)];
        devices.hung(2);
        assert_eq!(
            devices.wrong(silent.into_iter()),
            [
                "GPU 1 hangs: a call to it did not return",
                "GPU 2 hangs: a call to it did not return",
                "GPU 3 is lost: it does not answer any more",
            ]
        );
        devices.unlisted.clear();
        let trouble = "the driver does not identify GPU 0";
        devices.hear(&said(NoticeKind::DriverUnavailable, trouble));
        assert_eq!(devices.wrong(none()), [trouble]);
        devices.hear(&said(NoticeKind::Resumed, "in use again"));
        assert!(devices.wrong(none()).is_empty());
        // The next sampler says by itself what is wrong.
        devices.hear(&said(NoticeKind::DriverUnavailable, trouble));
        devices.restarted("the sampler died");
        assert_eq!(devices.wrong(none()), ["the sampler died"]);
    }
}
