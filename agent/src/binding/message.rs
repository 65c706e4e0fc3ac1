//! What passes between the reporter and a collector: one question one way, what came of it the other.
//!
//! Decides: in which order a collector may speak, and how much it may say. Delimited as the sampler's messages are, see
//! [`crate::sampler::pipe`]. A driver's library runs in the collector and may have written anything anywhere: a message that is too
//! large, makes no sense or comes out of turn ends the conversation, and nothing of it is kept.

use crate::sampler::pipe::{self, PipeError};
use std::collections::BTreeSet;
use weighbridge::hardware::nvidia::MAX_REPORT;
use weighbridge::id::{DeviceUuid, Digest};
use weighbridge::report::{Answer, NoEvidence, NvidiaEvidence};

/// The largest message of a collector's: a report and a chain, each at its longest, and some bytes around them.
pub const MAX_TOLD: usize = MAX_REPORT + NvidiaEvidence::MAX_CHAIN + 1_024;

/// The longest sentence of a collector's that is kept, in bytes.
const MAX_TROUBLE: usize = 512;

weighbridge::record! {
    /// A device that is to be asked.
    pub struct Attestee {
        /// The driver's index.
        0 => index: u16,
        /// Its UUID: a device of another one at that index is not asked.
        1 => uuid: DeviceUuid,
    }
}

weighbridge::record! {
    /// The one message to a collector. The end of what it is sent is its end, after the call that it is in.
    pub struct Question {
        /// The NVML library; absent, the one that the system would load.
        0 => nvml: Option<String>,
        /// SHA-256 of the library that the sampler loaded: no other is loaded.
        1 => library: Digest,
        /// What every device signs.
        2 => nonce: [u8; 32],
        /// The devices, in the order in which they are asked.
        3 => devices: Vec<Attestee>,
    }
}

weighbridge::record! {
    /// One message of a collector's: exactly one of its fields is present.
    pub struct Told {
        /// The place in the question of the device that is asked next.
        0 => asking: Option<u16>,
        /// What that device signed.
        1 => evidence: Option<NvidiaEvidence>,
        /// Why it signed nothing.
        2 => none: Option<NoEvidence>,
        /// Why no device can be asked, in a sentence for the log.
        3 => trouble: Option<String>,
    }
}

impl Told {
    const NOTHING: Self = Self {
        asking: None,
        evidence: None,
        none: None,
        trouble: None,
    };

    /// The message before a device is asked.
    #[must_use]
    pub fn asking(place: u16) -> Self {
        Self {
            asking: Some(place),
            ..Self::NOTHING
        }
    }

    /// The message after it.
    #[must_use]
    pub fn answer(answer: Result<NvidiaEvidence, NoEvidence>) -> Self {
        let (evidence, none) = match answer {
            Ok(evidence) => (Some(evidence), None),
            Err(why) => (None, Some(why)),
        };
        Self {
            evidence,
            none,
            ..Self::NOTHING
        }
    }

    /// The message of a collector that cannot work.
    #[must_use]
    pub fn trouble(sentence: String) -> Self {
        Self {
            trouble: Some(sentence),
            ..Self::NOTHING
        }
    }
}

/// What a collector said, in its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It asks this device.
    Asking(u16),
    /// The device answered.
    Answered(u16, Answer),
    /// No device can be asked.
    Trouble(String),
}

/// Why a collector is not listened to any more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// What came is no message, or none of this size.
    #[error(transparent)]
    Pipe(#[from] PipeError),
    /// It is a message that has no place here.
    #[error("a message came out of turn through the collector's pipe")]
    OutOfTurn,
}

/// The reporter's side of the conversation: takes messages off the front of what arrived, each in its turn.
#[derive(Debug)]
pub struct Listener {
    arrived: Vec<u8>,
    /// Devices that are to be asked, and were not yet.
    left: BTreeSet<u16>,
    /// The device that is being asked.
    asked: Option<u16>,
}

impl Listener {
    /// A listener to a collector that was told to ask the devices at these places.
    pub fn new(places: impl IntoIterator<Item = u16>) -> Self {
        Self {
            arrived: Vec::new(),
            left: places.into_iter().collect(),
            asked: None,
        }
    }

    /// Where what arrives is put.
    pub fn arrived(&mut self) -> &mut Vec<u8> {
        &mut self.arrived
    }

    /// The device that is being asked.
    #[must_use]
    pub fn asked(&self) -> Option<u16> {
        self.asked
    }

    /// Whether every device has answered.
    #[must_use]
    pub fn done(&self) -> bool {
        self.left.is_empty() && self.asked.is_none()
    }

    /// The next message, if it is there in full.
    ///
    /// # Errors
    /// [`MessageError`]; what comes after it is not to be read.
    pub fn take(&mut self) -> Result<Option<Said>, MessageError> {
        let Some(told) = pipe::take_up_to::<Told>(&mut self.arrived, MAX_TOLD)? else {
            return Ok(None);
        };
        let said = match (told, self.asked) {
            (
                Told {
                    asking: Some(place),
                    evidence: None,
                    none: None,
                    trouble: None,
                },
                None,
            ) if self.left.remove(&place) => {
                self.asked = Some(place);
                Said::Asking(place)
            }
            (
                Told {
                    asking: None,
                    evidence: Some(evidence),
                    none: None,
                    trouble: None,
                },
                Some(place),
            ) => {
                self.asked = None;
                Said::Answered(place, bounded(&evidence))
            }
            (
                Told {
                    asking: None,
                    evidence: None,
                    none: Some(why),
                    trouble: None,
                },
                Some(place),
            ) => {
                self.asked = None;
                Said::Answered(place, Answer::None(why))
            }
            (
                Told {
                    asking: None,
                    evidence: None,
                    none: None,
                    trouble: Some(sentence),
                },
                None,
            ) => Said::Trouble(printable(&sentence)),
            _ => return Err(MessageError::OutOfTurn),
        };
        Ok(Some(said))
    }
}

/// Evidence within the bounds of the interface, for the collector's word for it is not enough.
fn bounded(evidence: &NvidiaEvidence) -> Answer {
    if evidence.report.0.len() > MAX_REPORT || evidence.chain.0.len() > NvidiaEvidence::MAX_CHAIN {
        return Answer::None(NoEvidence::Oversized);
    }
    Answer::Evidence(evidence.wrap())
}

/// A sentence that may stand in a log, in one line.
fn printable(sentence: &str) -> String {
    sentence
        .chars()
        .take(MAX_TROUBLE)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use weighbridge::cbor::Bytes;

    fn evidence(report: usize, chain: usize) -> NvidiaEvidence {
        NvidiaEvidence {
            report: Bytes(vec![7; report]),
            chain: Bytes(vec![8; chain]),
        }
    }

    /// What a listener to places 0 and 1 hears of these messages.
    fn heard(messages: &[Told]) -> Vec<Result<Said, MessageError>> {
        let mut listener = Listener::new([0, 1]);
        for message in messages {
            pipe::put(message, listener.arrived());
        }
        let mut all = Vec::new();
        loop {
            match listener.take() {
                Ok(Some(said)) => all.push(Ok(said)),
                Ok(None) => return all,
                Err(error) => {
                    all.push(Err(error));
                    return all;
                }
            }
        }
    }

    #[test]
    fn devices_are_asked_and_answer_one_after_the_other() {
        let told = [
            Told::asking(0),
            Told::answer(Ok(evidence(MAX_REPORT, NvidiaEvidence::MAX_CHAIN))),
            Told::asking(1),
            Told::answer(Err(NoEvidence::NotOffered)),
        ];
        let mut bytes = Vec::new();
        told.iter().for_each(|message| pipe::put(message, &mut bytes));
        let mut listener = Listener::new([0, 1]);
        let mut said = Vec::new();
        for byte in bytes {
            assert!(!listener.done());
            listener.arrived().push(byte);
            said.extend(listener.take().unwrap());
        }
        assert!(listener.done());
        assert_eq!(said[0], Said::Asking(0));
        let Said::Answered(0, Answer::Evidence(record)) = &said[1] else {
            panic!("no evidence: {:?}", said[1]);
        };
        let whole = NvidiaEvidence::open(record).unwrap().unwrap();
        assert_eq!(whole, evidence(MAX_REPORT, NvidiaEvidence::MAX_CHAIN));
        assert_eq!(said[2], Said::Asking(1));
        assert_eq!(said[3], Said::Answered(1, Answer::None(NoEvidence::NotOffered)));
    }

    #[test]
    fn what_is_out_of_turn_ends_the_conversation() {
        let given = || Told::answer(Ok(evidence(9, 9)));
        for (told, before) in [
            (vec![given()], 0),
            (vec![Told::asking(2)], 0),
            (vec![Told::asking(0), Told::asking(1)], 1),
            (vec![Told::asking(0), given(), given()], 2),
            (vec![Told::asking(0), given(), Told::asking(0)], 2),
            (vec![Told::asking(0), Told::trouble("x".into())], 1),
            (vec![Told::NOTHING], 0),
            (
                vec![
                    Told::asking(0),
                    Told {
                        none: Some(NoEvidence::Failed),
                        ..given()
                    },
                ],
                1,
            ),
        ] {
            let all = heard(&told);
            assert_eq!(all.len(), before + 1, "{told:?}: {all:?}");
            assert!(
                matches!(all[before], Err(MessageError::OutOfTurn)),
                "{told:?}: {all:?}"
            );
        }
    }

    #[test]
    fn a_message_that_is_too_large_or_no_message_is_not_awaited() {
        for bytes in [
            &[0xff; 4][..],
            &u32::try_from(MAX_TOLD + 1).unwrap().to_be_bytes(),
            b"\0\0\0\x04NVML",
            b"\0\0\0\0",
        ] {
            let mut listener = Listener::new([0]);
            listener.arrived().extend(bytes);
            assert!(matches!(listener.take(), Err(MessageError::Pipe(_))), "{bytes:?}");
        }
        // One that is cut short is awaited; the deadline of its device is what ends that.
        let mut whole = Vec::new();
        pipe::put(&Told::asking(0), &mut whole);
        let mut listener = Listener::new([0]);
        listener.arrived().extend(&whole[..whole.len() - 1]);
        assert_eq!(listener.take().unwrap(), None);
        assert!(!listener.done());
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_no_device_answers_that_was_not_asked(
            noise: Vec<u8>,
            cut in 0usize..200,
            flip in 0usize..200,
        ) {
            let mut bytes = Vec::new();
            let told = [Told::asking(0), Told::answer(Ok(evidence(20, 20))), Told::asking(1)];
            told.iter().for_each(|message| pipe::put(message, &mut bytes));
            bytes.truncate(cut);
            if let Some(byte) = bytes.get_mut(flip) {
                *byte ^= 0x11;
            }
            bytes.extend(noise);
            let mut listener = Listener::new([0, 1]);
            listener.arrived().extend(bytes);
            let mut asked = Vec::new();
            while let Ok(Some(said)) = listener.take() {
                match said {
                    Said::Asking(place) => asked.push(place),
                    Said::Answered(place, _) => assert_eq!(asked.last(), Some(&place)),
                    Said::Trouble(_) => break,
                }
            }
            assert!(asked.len() <= 2 && asked.iter().all(|place| *place <= 1));
        }
    }

    #[test]
    fn evidence_beyond_the_interface_is_said_to_be_and_dropped() {
        for (report, chain) in [(MAX_REPORT + 1, 9), (9, NvidiaEvidence::MAX_CHAIN + 1)] {
            let all = heard(&[Told::asking(0), Told::answer(Ok(evidence(report, chain)))]);
            let Ok(Said::Answered(0, answer)) = &all[1] else {
                panic!("{all:?}");
            };
            assert_eq!(*answer, Answer::None(NoEvidence::Oversized));
        }
    }

    #[test]
    fn a_sentence_for_the_log_is_one_line_and_not_long() {
        let all = heard(&[Told::trouble(format!("a\nb{}", "x".repeat(2_000)))]);
        let Ok(Said::Trouble(said)) = &all[0] else {
            panic!("{all:?}");
        };
        assert!(said.starts_with("a?bx") && said.len() == MAX_TROUBLE, "{said}");
    }
}
