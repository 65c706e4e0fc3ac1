//! Cumulative counters and power, by one call per device.
//!
//! Decides: which fields a device answers, and that a counter which wraps is none. What a burst needs stands first, so that it
//! asks for no more: the energy counter takes a driver of 580 some three milliseconds, all else together ten microseconds.
//! Answers are matched with questions by position: ids were renumbered between drivers, and a library may answer with either
//! number. Does not establish that a counter never restarted; whoever takes differences must look for that.

use super::fault::{Answer, Fault};
use super::session::{FieldValue, Handle, Session, field, number};
use weighbridge::telemetry::TickKind;

/// Energy since the driver was loaded, in millijoules.
const ENERGY: u32 = 83;
/// Power now, in milliwatts.
const POWER_INSTANT: u32 = 186;
/// PCIe bytes; the header says that they may wrap, and where they do they are not asked: that takes 0.3 ms.
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

/// Questions before those about links.
const HEAD: usize = 1;

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

/// The questions put to one device: power, links, energy, and PCIe bytes where they do not wrap.
pub(super) struct Questions {
    asked: Vec<(u32, u32)>,
    answers: Vec<FieldValue>,
    links: Links,
    /// How many of the questions are about links.
    of_links: usize,
    /// Whether the last two are about PCIe.
    pcie: bool,
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
            &[(NVLINK_SENT_KIB, ALL_LINKS), (NVLINK_RECEIVED_KIB, ALL_LINKS)],
            true,
        );
        if together.ask(session, device, TickKind::Regular).is_err() {
            return Self::new(Links::Untold, &[], false);
        }
        let [sent, received] = together.pcie();
        let pcie = sent.is_ok() && received.is_ok();
        if together.link_answers().all(|a| a.is_ok()) {
            return together.without_pcie_unless(pcie);
        }
        let every_link: Vec<_> = (0..MAX_LINKS)
            .flat_map(|link| [(NVLINK_SENT_LINK, link), (NVLINK_RECEIVED_LINK, link)])
            .collect();
        let mut each = Self::new(Links::Each, &every_link, pcie);
        if each.ask(session, device, TickKind::Burst).is_err() {
            return Self::new(Links::Untold, &[], pcie);
        }
        // A link counts in both directions or in none.
        let answers = each.answers.get(HEAD..).unwrap_or_default();
        let (asked, answers): (Vec<_>, Vec<_>) = every_link
            .chunks_exact(2)
            .zip(answers.chunks_exact(2))
            .filter(|(_, answers)| answers.iter().all(|a| number(a).is_ok()))
            .map(|(asked, answers)| (asked.to_vec(), answers.to_vec()))
            .unzip();
        if asked.is_empty() {
            return Self::new(Links::Untold, &[], pcie);
        }
        let mut found = Self::new(Links::Each, &asked.concat(), pcie);
        found.answers = each
            .answers
            .into_iter()
            .take(HEAD)
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
        let pcie = self.pcie || found.pcie;
        if found.of_links <= self.of_links {
            if pcie && !self.pcie {
                let before = self.before;
                *self = Self {
                    before,
                    ..Self::new(self.links, self.link_questions(), pcie)
                };
            }
            return;
        }
        if self.links == Links::Each {
            found.before = self.before;
            let news = found
                .asked
                .iter()
                .zip(&found.answers)
                .skip(HEAD)
                .take(found.of_links);
            for ((question, answer), direction) in news.zip([0, 1].into_iter().cycle()) {
                if !self.asked.contains(question)
                    && let (Ok((bytes, _)), Some(before)) = (number(answer), found.before.get_mut(direction))
                {
                    *before = before.saturating_add(bytes);
                }
            }
        }
        *self = if found.pcie == pcie {
            found
        } else {
            Self {
                before: found.before,
                ..Self::new(found.links, found.link_questions(), pcie)
            }
        };
    }

    fn new(links: Links, of_links: &[(u32, u32)], pcie: bool) -> Self {
        let tail = [ENERGY, PCIE_SENT, PCIE_RECEIVED];
        let tail = tail.into_iter().take(if pcie { 3 } else { 1 });
        let asked: Vec<_> = std::iter::once((POWER_INSTANT, 0))
            .chain(of_links.iter().copied())
            .chain(tail.map(|id| (id, 0)))
            .collect();
        Self {
            answers: Vec::with_capacity(asked.len()),
            asked,
            links,
            of_links: of_links.len(),
            pcie,
            before: [0; 2],
        }
    }

    /// Leaves the questions about PCIe out, unless they are to be put.
    fn without_pcie_unless(mut self, pcie: bool) -> Self {
        if !pcie && self.pcie {
            self.pcie = false;
            let left = self.asked.len().saturating_sub(2);
            self.asked.truncate(left);
            self.answers.truncate(left);
        }
        self
    }

    /// Puts the questions of a tick.
    ///
    /// # Errors
    /// What the call as a whole answered; where it was answered, each counter has an answer of its own. What a burst does not
    /// ask is unsupported in it.
    pub(super) fn read(&mut self, session: &Session, device: Handle, kind: TickKind) -> Answer<Counters> {
        self.ask(session, device, kind)?;
        let [sent_before, received_before] = self.before;
        let [pcie_sent, pcie_received] = self.pcie();
        Ok(Counters {
            energy_mj: self.answer(HEAD.saturating_add(self.of_links)).map(|(v, _)| v),
            power_mw: self.answer(0).map(|(v, _)| v),
            nvlink_sent: self.link_sum(0).map(|sum| sum.saturating_sub(sent_before)),
            nvlink_received: self.link_sum(1).map(|sum| sum.saturating_sub(received_before)),
            pcie_sent,
            pcie_received,
        })
    }

    fn ask(&mut self, session: &Session, device: Handle, kind: TickKind) -> Answer<()> {
        let count = match kind {
            TickKind::Regular => self.asked.len(),
            TickKind::Burst => HEAD.saturating_add(self.of_links),
        };
        self.answers.clear();
        self.answers.extend(
            self.asked
                .iter()
                .take(count)
                .map(|(id, scope)| field(*id, *scope)),
        );
        session.fields(device, &mut self.answers)
    }

    /// The answer to the question at a place, if it was put.
    fn answer(&self, place: usize) -> Answer<(u64, bool)> {
        self.answers.get(place).map_or(Err(Fault::Unsupported), number)
    }

    /// PCIe bytes sent and received.
    fn pcie(&self) -> [Answer<u64>; 2] {
        let energy = HEAD.saturating_add(self.of_links);
        if !self.pcie {
            return [Err(Fault::Unsupported); 2];
        }
        [1, 2].map(|after| wide(self.answer(energy.saturating_add(after))))
    }

    fn link_questions(&self) -> &[(u32, u32)] {
        let questions = self.asked.get(HEAD..).unwrap_or_default();
        questions.get(..self.of_links).unwrap_or_default()
    }

    fn link_answers(&self) -> impl Iterator<Item = Answer<u64>> {
        self.answers
            .iter()
            .skip(HEAD)
            .take(self.of_links)
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
        let asked: Vec<_> = asked.collect();
        let mut questions = Questions::new(Links::Each, &asked, false);
        questions.answers = vec![field(POWER_INSTANT, 0)];
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
        assert_eq!(questions.of_links, 6);
    }

    #[test]
    fn pcie_bytes_that_are_found_not_to_wrap_are_asked_from_then_on() {
        let mut questions = of_links(&[(0, 100)]);
        let mut found = of_links(&[(0, 110)]);
        found = Questions::new(Links::Each, found.link_questions(), true);
        questions.grow(found);
        assert_eq!((questions.pcie, questions.asked.len()), (true, HEAD + 2 + 3));
        questions.grow(of_links(&[(0, 120), (1, 5)]));
        assert_eq!((questions.pcie, questions.of_links), (true, 4));
        assert_eq!(questions.before, [5, 5]);
    }

    #[test]
    fn a_counter_that_wraps_between_two_readings_is_not_offered() {
        assert_eq!(wide(Ok((4_000_000_000, true))), Err(Fault::Unsupported));
        assert_eq!(wide(Ok((5_000_000_000, false))), Ok(5_000_000_000));
        assert_eq!(wide(Err(Fault::DeviceLost)), Err(Fault::DeviceLost));
    }
}
