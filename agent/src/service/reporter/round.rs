//! The reporter's part in a round of evidence: what it freezes, whom it asks, what they sign, and the answers until a report carries them.
//!
//! Decides: that a device in whose call a process hung is not called, and that what is frozen is of this boot. When a round is held is
//! [`crate::binding::rounds`]'s to say.

use super::Reporter;
use crate::binding::{Attestee, Frozen};
use crate::draft::HeldRound;
use crate::spool::SpoolError;
use weighbridge::hardware::binding::Binding;
use weighbridge::report::{
    Answer, Attester, ChainLink, EvidenceClaims, NoEvidence, OpenedReport, RoundClaims,
};
use weighbridge::telemetry::DeviceState;

impl Reporter {
    /// The devices that a round asks, each with the answer that is known without asking: one in whose call a process hung is not called, for
    /// the call would not return either.
    #[must_use]
    pub fn attestees(&self) -> Vec<(Attestee, Option<NoEvidence>)> {
        let hung: Vec<u16> = self
            .silent()
            .filter(|(_, state)| *state == DeviceState::Hung)
            .map(|(index, _)| index)
            .collect();
        let devices = self.inventory.devices.iter();
        devices
            .map(|device| {
                let attestee = Attestee {
                    index: device.index,
                    uuid: device.uuid,
                };
                (attestee, hung.contains(&device.index).then_some(NoEvidence::Hung))
            })
            .collect()
    }

    /// The report at the head of the chain, for a round to freeze; `None` where there is none yet, or none of this boot: what a round covers is
    /// told in boot time.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn freeze(&self) -> Result<Option<Frozen>, SpoolError> {
        let head = self.spool.head()?;
        let Some((entry, bundle)) = self.spool.latest()? else {
            return Ok(None);
        };
        let link = ChainLink {
            chain: entry.chain,
            sequence: entry.sequence,
            digest: entry.digest,
        };
        if (link.chain, link.sequence, Some(link.digest)) != (head.chain, head.sequence, head.digest) {
            return Ok(None);
        }
        let report = OpenedReport::open(&bundle)?.claims.report;
        Ok((report.boot == self.facts.boot_id).then_some(Frozen {
            link,
            covers_to: report.time.end,
        }))
    }

    /// What the devices of a round sign.
    #[must_use]
    pub fn nonce(&self, round: &RoundClaims) -> [u8; 32] {
        let binding = Binding {
            verifier: self.identity.verifier,
            challenge: round.challenge,
            key: self.key.signer.public_key().id(),
            chain: round.chain,
            sequence: round.sequence,
            report: round.digest,
        };
        binding.nonce()
    }

    /// Takes a round that was held: the next report that is begun to be sealed carries it, if it still stands in the chain that the round froze.
    pub fn hold(&mut self, claims: RoundClaims, answers: impl IntoIterator<Item = (Attestee, Answer)>) {
        let salts = &mut self.salts;
        let answers = answers.into_iter().map(|(attestee, answer)| EvidenceClaims {
            salt: salts.next(),
            attester: Attester::Gpu,
            device: Some(attestee.uuid),
            answer,
        });
        let answers = answers.collect();
        self.round = Some(HeldRound { claims, answers });
    }
}

#[cfg(test)]
#[path = "round_tests.rs"]
mod tests;
