//! Cumulative counters and power, by one call per device.
//!
//! Decides: which NVLink fields a device answers, and that a counter which wraps is none. Answers are matched with
//! questions by position: ids were renumbered between drivers, and a library may answer with either number. Does not
//! establish that a counter never restarted; whoever takes differences must look for that.

use super::fault::{Answer, Fault};
use super::session::{FieldValue, Handle, Session, field, number};

/// Energy since the driver was loaded, in millijoules.
const ENERGY: u32 = 83;
/// Power now, in milliwatts.
const POWER_INSTANT: u32 = 186;
/// PCIe bytes; the header says that they may wrap, and then they are not used.
const PCIE_SENT: u32 = 197;
const PCIE_RECEIVED: u32 = 198;
/// NVLink data in KiB; with the scope of all links, up to Hopper.
const NVLINK_SENT_KIB: u32 = 138;
const NVLINK_RECEIVED_KIB: u32 = 139;
/// NVLink bytes of one link, from Blackwell on.
const NVLINK_SENT_LINK: u32 = 202;
const NVLINK_RECEIVED_LINK: u32 = 204;

/// The scope that stands for all links.
const ALL_LINKS: u32 = u32::MAX;
/// The most links of a device (`NVML_NVLINK_MAX_LINKS`).
pub(super) const MAX_LINKS: u32 = 18;

/// Questions that every device is asked stand before those about links.
const HEAD: [u32; 4] = [ENERGY, POWER_INSTANT, PCIE_SENT, PCIE_RECEIVED];

/// How a device tells of NVLink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Links {
    /// Two fields for all links, in KiB.
    Together,
    /// Two fields for each link, in bytes.
    Each,
    /// Not at all.
    Untold,
}

/// What one call gave.
#[derive(Debug)]
pub(super) struct Counters {
    pub(super) energy_mj: Answer<u64>,
    pub(super) power_mw: Answer<u64>,
    pub(super) pcie_sent: Answer<u64>,
    pub(super) pcie_received: Answer<u64>,
    pub(super) nvlink_sent: Answer<u64>,
    pub(super) nvlink_received: Answer<u64>,
}

/// The questions put to one device.
pub(super) struct Questions {
    asked: Vec<(u32, u32)>,
    answers: Vec<FieldValue>,
    links: Links,
    /// What the links that were found later had counted before, in bytes: sent, received.
    before: [u64; 2],
}

impl std::fmt::Debug for Questions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Questions")
            .field("asked", &self.asked)
            .field("links", &self.links)
            .finish_non_exhaustive()
    }
}

impl Questions {
    /// Finds out which questions the device answers.
    pub(super) fn find(session: &Session, device: Handle) -> Self {
        let mut together = Self::new(
            Links::Together,
            [(NVLINK_SENT_KIB, ALL_LINKS), (NVLINK_RECEIVED_KIB, ALL_LINKS)],
        );
        if together.ask(session, device).is_err() {
            return Self::new(Links::Untold, []);
        }
        if together.link_answers().all(|a| a.is_ok()) {
            return together;
        }
        let mut each = Self::new(
            Links::Each,
            (0..MAX_LINKS).flat_map(|link| [(NVLINK_SENT_LINK, link), (NVLINK_RECEIVED_LINK, link)]),
        );
        if each.ask(session, device).is_err() {
            return Self::new(Links::Untold, []);
        }
        // A link counts in both directions or in none.
        let (asked, answers): (Vec<_>, Vec<_>) = each
            .asked
            .chunks_exact(2)
            .zip(each.answers.chunks_exact(2))
            .skip(HEAD.len().div_euclid(2))
            .filter(|(_, answers)| answers.iter().all(|a| number(a).is_ok()))
            .map(|(asked, answers)| (asked.to_vec(), answers.to_vec()))
            .unzip();
        if asked.is_empty() {
            return Self::new(Links::Untold, []);
        }
        let mut found = Self::new(Links::Each, asked.concat());
        found.answers = each
            .answers
            .into_iter()
            .take(HEAD.len())
            .chain(answers.concat())
            .collect();
        found
    }

    /// Finds out again: a link may have come up since, and a refusal may have been of its moment. A question that was
    /// answered once goes on being put, so that what falls silent is seen to.
    pub(super) fn find_again(&mut self, session: &Session, device: Handle) {
        self.grow(Self::find(session, device));
    }

    /// Takes over what was found if it is more. The sum goes on from where it was: what a further link counted before is
    /// no traffic of the moment at which it was found.
    fn grow(&mut self, mut found: Self) {
        if found.asked.len() <= self.asked.len() {
            return;
        }
        if self.links == Links::Each {
            found.before = self.before;
            let news = found.asked.iter().zip(&found.answers).skip(HEAD.len());
            for ((question, answer), direction) in news.zip([0, 1].into_iter().cycle()) {
                if !self.asked.contains(question)
                    && let (Ok((bytes, _)), Some(before)) = (number(answer), found.before.get_mut(direction))
                {
                    *before = before.saturating_add(bytes);
                }
            }
        }
        *self = found;
    }

    fn new(links: Links, of_links: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let asked: Vec<_> = HEAD.into_iter().map(|id| (id, 0)).chain(of_links).collect();
        Self {
            answers: Vec::with_capacity(asked.len()),
            asked,
            links,
            before: [0; 2],
        }
    }

    /// Puts the questions.
    ///
    /// # Errors
    /// What the call as a whole answered; where it was answered, each counter has an answer of its own.
    pub(super) fn read(&mut self, session: &Session, device: Handle) -> Answer<Counters> {
        self.ask(session, device)?;
        let [sent_before, received_before] = self.before;
        let at = |place: usize| self.answers.get(place).map_or(Err(Fault::Malformed), number);
        Ok(Counters {
            energy_mj: at(0).map(|(v, _)| v),
            power_mw: at(1).map(|(v, _)| v),
            nvlink_sent: self.link_sum(0).map(|sum| sum.saturating_sub(sent_before)),
            nvlink_received: self.link_sum(1).map(|sum| sum.saturating_sub(received_before)),
            pcie_sent: wide(at(2)),
            pcie_received: wide(at(3)),
        })
    }

    fn ask(&mut self, session: &Session, device: Handle) -> Answer<()> {
        self.answers.clear();
        self.answers
            .extend(self.asked.iter().map(|(id, scope)| field(*id, *scope)));
        session.fields(device, &mut self.answers)
    }

    fn link_answers(&self) -> impl Iterator<Item = Answer<u64>> {
        self.answers
            .iter()
            .skip(HEAD.len())
            .map(|a| number(a).map(|(v, _)| v))
    }

    /// The sum over the links in bytes: questions about sent (0) and received (1) alternate.
    fn link_sum(&self, direction: usize) -> Answer<u64> {
        let of_direction = || self.link_answers().skip(direction).step_by(2);
        match self.links {
            Links::Together => of_direction()
                .next()
                .unwrap_or(Err(Fault::Unsupported))
                .map(|kib| kib.saturating_mul(1024)),
            Links::Each => {
                of_direction().try_fold(0u64, |sum, answer| answer.map(|bytes| sum.saturating_add(bytes)))
            }
            Links::Untold => Err(Fault::Unsupported),
        }
    }
}

/// A counter of bytes that does not wrap. One of 32 bits does so several times between two readings, at the tens of GB/s of
/// a PCIe link, and what it shows then is no count of anything.
fn wide(answer: Answer<(u64, bool)>) -> Answer<u64> {
    match answer? {
        (_, true) => Err(Fault::Unsupported),
        (value, false) => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_links(counts: &[(u32, u64)]) -> Questions {
        let answered = |id, scope, bytes| {
            let mut answer = field(id, scope);
            answer.nvmlReturn = 0;
            // NVML_VALUE_TYPE_UNSIGNED_LONG_LONG.
            answer.valueType = 3;
            answer.value.ullVal = bytes;
            answer
        };
        let both = [NVLINK_SENT_LINK, NVLINK_RECEIVED_LINK];
        let asked = counts.iter().flat_map(|(link, _)| both.map(|id| (id, *link)));
        let mut questions = Questions::new(Links::Each, asked);
        questions.answers = HEAD.iter().map(|id| field(*id, 0)).collect();
        for (link, bytes) in counts {
            questions
                .answers
                .extend(both.map(|id| answered(id, *link, *bytes)));
        }
        questions
    }

    #[test]
    fn a_link_that_comes_up_later_counts_from_then_on_and_none_is_given_up() {
        let sent = |questions: &Questions| questions.link_sum(0).unwrap() - questions.before[0];
        let mut questions = of_links(&[(0, 100), (2, 50)]);
        questions.grow(of_links(&[(0, 110), (1, 9_000), (2, 60)]));
        assert_eq!(sent(&questions), 170, "9,000 bytes were sent before");
        questions.answers = of_links(&[(0, 110), (1, 9_005), (2, 60)]).answers;
        assert_eq!(sent(&questions), 175);
        questions.grow(of_links(&[(0, 120)]));
        assert_eq!(questions.asked.len(), HEAD.len() + 6);
    }

    #[test]
    fn a_counter_that_wraps_between_two_readings_is_not_offered() {
        assert_eq!(wide(Ok((4_000_000_000, true))), Err(Fault::Unsupported));
        assert_eq!(wide(Ok((5_000_000_000, false))), Ok(5_000_000_000));
        assert_eq!(wide(Err(Fault::DeviceLost)), Err(Fault::DeviceLost));
    }
}
