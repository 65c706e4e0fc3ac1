//! What a round of hardware evidence comes to: device by device, and the host as its devices name each other.
//!
//! Decides: whether each answer of a round is by a genuine device, to exactly the nonce that this node, this chain and this challenge give, and what that
//! device says of its firmware and mode. Trusts the pinned roots of device and manifest chains. Does not establish that the device sits in
//! this host: a willing second host can relay the question, and topology, one identity per round and timing only make that dearer.

mod round;

pub use round::{HeldCollateral, RoundTerms, WantedCollateral, appraise_round, wanted_collateral};

use crate::hardware;
use crate::id::{BootId, DeviceUuid, Digest};
use crate::report::{Answer, Attester, NoEvidence, VerifiedReport};
use crate::time::UnixSeconds;
use std::collections::BTreeSet;

/// The longest reason that is kept, in characters.
const REASON: usize = 400;
/// The most rounds of a node that are kept in short, the newest: two months of daily ones.
const ROUNDS: usize = 64;
/// The most devices of which an earlier answer is kept; a report lists no more than 64.
const EARLIER: usize = 128;
/// Checks on which identity rests, the gravest first.
pub const IDENTITY: [CheckName; 6] = [
    CheckName::Signature,
    CheckName::Chain,
    CheckName::Nonce,
    CheckName::Fwid,
    CheckName::Distinct,
    CheckName::Certificate,
];

crate::code! {
    /// How a round stands to what its node was given and has sent.
    pub enum RoundStanding {
        /// Its challenge was given to this node and answered for the first time, and the frozen report is held.
        Good = 0 => "answers the challenge that this node was given",
        /// Its challenge was not given to this node lately.
        ChallengeUnknown = 1 => "answers a challenge that this node was not given lately",
        /// Another round has answered its challenge before.
        ChallengeUsed = 2 => "answers a challenge that another round has answered before",
        /// The report that it says it froze is not held at that place.
        PlaceUnknown = 3 => "froze a report that is not held of this node",
        /// Its times contradict each other, or those of the report that it froze or of the one that carries it.
        TimesWrong = 4 => "names times that contradict each other",
    }
}

crate::row! {
    /// How many devices gave no evidence, for one reason.
    pub struct NoneCount {
        /// Why.
        why: NoEvidence,
        /// How many.
        count: u16,
    }
}

crate::record! {
    /// The last round that a node's reports carried, as far as reports alone tell.
    pub struct LastRound {
        /// The report that carries it.
        0 => report: Digest,
        /// When that was received.
        1 => received: UnixSeconds,
        /// How it stands.
        2 => standing: RoundStanding,
        /// Devices that gave evidence, whatever that is worth.
        3 => signed: u16,
        /// Devices that gave none, by reason.
        4 => none: Vec<NoneCount>,
    }
}

impl LastRound {
    pub(super) fn of(report: &VerifiedReport, received: UnixSeconds, standing: RoundStanding) -> Self {
        let mut round = Self {
            report: report.digest(),
            received,
            standing,
            signed: 0,
            none: Vec::new(),
        };
        for claims in report.evidence() {
            let Answer::None(why) = &claims.answer else {
                round.signed = round.signed.saturating_add(1);
                continue;
            };
            match round.none.iter_mut().find(|n| n.why == *why) {
                Some(known) => known.count = known.count.saturating_add(1),
                None => round.none.push(NoneCount { why: *why, count: 1 }),
            }
        }
        round
    }
}

crate::code! {
    /// What was checked.
    pub enum CheckName {
        /// The report is signed by the key of the chain's first certificate.
        Signature = 0 => "signature",
        /// The chain leads to the pinned root.
        Chain = 1 => "chain",
        /// The firmware named in the chain is the one that the report names.
        Fwid = 2 => "fwid",
        /// The report answers this round's nonce.
        Nonce = 3 => "nonce",
        /// Manifests are authentic, in time, and for this device.
        Rim = 4 => "rim",
        /// Measurements are as the manifests demand.
        Measurements = 5 => "measurements",
        /// No certificate was revoked.
        Revocation = 6 => "revocation",
        /// The driver names the device as its certificate does.
        Pdi = 7 => "pdi",
        /// No device answered twice.
        Distinct = 8 => "distinct",
        /// All GPUs run one driver and are used in one mode.
        Alike = 9 => "alike",
        /// GPUs and switches name exactly each other.
        Topology = 10 => "topology",
        /// No certificate of the device's own is revoked, on hold or unknown; said only where replies tell.
        Certificate = 11 => "certificate",
    }
}

crate::code! {
    /// What a check came to.
    pub enum CheckOutcome {
        /// It holds.
        Pass = 0 => "pass",
        /// It does not hold.
        Fail = 1 => "fail",
        /// It was not checked.
        NotChecked = 2 => "not checked",
    }
}

crate::row! {
    /// One check.
    pub struct Check {
        /// Which.
        name: CheckName,
        /// What it came to.
        outcome: CheckOutcome,
        /// Why it did not pass; empty where it did.
        why: String,
    }
}

impl Check {
    fn of(name: CheckName, step: &hardware::Step) -> Self {
        let outcome = match step {
            hardware::Step::Pass => CheckOutcome::Pass,
            hardware::Step::Fail(_) => CheckOutcome::Fail,
            hardware::Step::NotChecked(_) => CheckOutcome::NotChecked,
        };
        let why = step.why().unwrap_or_default().chars().take(REASON).collect();
        Self { name, outcome, why }
    }
}

crate::record! {
    /// One device's answer, appraised.
    pub struct AppraisedDevice {
        /// Who was asked.
        0 => attester: Attester,
        /// The accelerator, as the driver names it.
        1 => device: Option<DeviceUuid>,
        /// Why it signed nothing.
        2 => none: Option<NoEvidence>,
        /// SHA-256 of the device's report.
        3 => evidence: Option<Digest>,
        /// The device: SHA-256 of its boot ROM's key. Only where chain and signature hold.
        4 => identity: Option<Digest>,
        /// How switches and the driver name it, in hexadecimal.
        5 => pdi: Option<String>,
        /// Family of chips.
        6 => arch: Option<String>,
        /// How it is used.
        7 => mode: Option<String>,
        /// Driver version.
        8 => driver: Option<String>,
        /// VBIOS or BIOS version.
        9 => vbios: Option<String>,
        /// What was checked.
        10 => checks: Vec<Check>,
        /// Indices of measurements that differ, from 0.
        11 => mismatches: Vec<u8>,
        /// Whether manifests for all parts of the device were compared.
        12 => whole: bool,
        /// SHA-256 of every other file that was looked at.
        13 => collateral: Vec<Digest>,
        /// SHA-256 over the measurements that devices of its kind have in common. Only where chain and signature hold.
        14 => measured: Option<Digest>,
    }
}

impl AppraisedDevice {
    /// What a check came to; one that is not listed was not made.
    #[must_use]
    pub fn outcome(&self, name: CheckName) -> CheckOutcome {
        let check = self.checks.iter().find(|c| c.name == name);
        check.map_or(CheckOutcome::NotChecked, |c| c.outcome)
    }

    /// Why a check did not pass.
    #[must_use]
    pub fn why(&self, name: CheckName) -> &str {
        let check = self.checks.iter().find(|c| c.name == name);
        check.map_or("it was not made", |c| c.why.as_str())
    }

    /// Whether it tells anything of the device: it proves who that is, or shows that something is wrong.
    fn tells(&self) -> bool {
        self.is_proved()
            || IDENTITY
                .iter()
                .any(|name| self.outcome(*name) == CheckOutcome::Fail)
    }

    /// Whether the device proved who it is: it answered, and its maker does not say that its certificates no longer count.
    #[must_use]
    pub fn is_proved(&self) -> bool {
        self.answered() && self.outcome(CheckName::Certificate) != CheckOutcome::Fail
    }

    /// Whether the device answered: it signed this round's nonce with a key that its maker certified once, and did not answer twice.
    #[must_use]
    pub fn answered(&self) -> bool {
        let passed = |name| self.outcome(name) == CheckOutcome::Pass;
        let failed = |name| self.outcome(name) == CheckOutcome::Fail;
        passed(CheckName::Signature)
            && passed(CheckName::Chain)
            && passed(CheckName::Nonce)
            && !failed(CheckName::Fwid)
            && !failed(CheckName::Distinct)
    }
}

crate::record! {
    /// A round, appraised.
    pub struct AppraisedRound {
        /// The report that carries it.
        0 => report: Digest,
        /// When that was received.
        1 => received: UnixSeconds,
        /// How the round stands. Unless it is good, no answer was looked at.
        2 => standing: RoundStanding,
        /// The boot.
        3 => boot: BootId,
        /// Up to where it covers, by the node's clock, and not beyond `given`.
        4 => covers_to: UnixSeconds,
        /// When the last device had answered, by the node's clock, and not after the receipt.
        5 => ended: UnixSeconds,
        /// The time at which the appraisal holds: collateral must be in time then.
        6 => at: UnixSeconds,
        /// SHA-256 of the key of the root of device chains.
        7 => root: Digest,
        /// SHA-256 of the key of the root of manifests.
        8 => rim_root: Digest,
        /// The answers.
        9 => devices: Vec<AppraisedDevice>,
        /// What was checked of the host as a whole.
        10 => host: Vec<Check>,
        /// When the node was given the challenge, by the verifier's clock: no device signed before. Whatever a node says of its own clock, and however
        /// long it held the round back, no answer is younger.
        11 => given: UnixSeconds,
    }
}

impl AppraisedRound {
    fn brief(&self) -> RoundBrief {
        let devices = self.devices.iter().filter(|d| d.is_proved());
        let mut proved: Vec<_> = devices.filter_map(|d| d.device).collect();
        proved.sort_unstable();
        RoundBrief {
            report: self.report,
            given: self.given,
            received: self.received,
            boot: self.boot,
            covers_to: self.covers_to,
            ended: self.ended,
            proved,
        }
    }
}

crate::row! {
    /// A round in short.
    pub struct RoundBrief {
        /// The report that carries it.
        report: Digest,
        /// When its challenge was given.
        given: UnixSeconds,
        /// When that was received.
        received: UnixSeconds,
        /// The boot.
        boot: BootId,
        /// Up to where it covers, by the node's clock.
        covers_to: UnixSeconds,
        /// When the last device had answered, by the node's clock.
        ended: UnixSeconds,
        /// Devices that proved who they are, in the order of their UUIDs.
        proved: Vec<DeviceUuid>,
    }
}

crate::record! {
    /// What the rounds of one node come to.
    #[derive(Default)]
    pub struct NodeEvidence {
        /// The round that stands good and whose challenge was given last: one that was held back does not hide it.
        0 => newest: Option<AppraisedRound>,
        /// Rounds that stood good, that first whose challenge was given first.
        1 => rounds: Vec<RoundBrief>,
        /// What GPUs answered last of which no later round tells anything, in rounds before the newest, that first whose challenge was given first. Whoever leaves a
        /// device out of a round takes nothing back.
        2 => earlier: Vec<AppraisedRound>,
    }
}

impl NodeEvidence {
    /// Takes a round, or the same one appraised anew with more collateral. One that does not stand good changes nothing.
    pub fn take(&mut self, round: AppraisedRound) {
        if round.standing != RoundStanding::Good {
            return;
        }
        let brief = round.brief();
        match self.rounds.iter_mut().find(|b| b.report == brief.report) {
            Some(same) => *same = brief,
            None => {
                let at = self.rounds.partition_point(|b| b.given <= brief.given);
                self.rounds.insert(at, brief);
            }
        }
        let excess = self.rounds.len().saturating_sub(ROUNDS);
        drop(self.rounds.drain(..excess));
        let newest = self.newest.as_ref();
        let before = if newest.is_none_or(|n| n.given <= round.given || n.report == round.report) {
            let report = round.report;
            self.newest.replace(round).filter(|n| n.report != report)
        } else {
            Some(round)
        };
        if let Some(before) = before {
            let at = self.earlier.partition_point(|r| r.given <= before.given);
            self.earlier.insert(at, before);
        }
        self.keep_last_answers();
    }

    /// Keeps of earlier rounds what no later one answers.
    fn keep_last_answers(&mut self) {
        let told = |d: &AppraisedDevice| d.device.filter(|_| d.attester == Attester::Gpu && d.tells());
        let newest = self.newest.iter().flat_map(|n| &n.devices);
        let mut later: BTreeSet<DeviceUuid> = newest.filter_map(told).collect();
        let mut left = EARLIER;
        for round in self.earlier.iter_mut().rev() {
            let own: BTreeSet<DeviceUuid> = round.devices.iter().filter_map(told).collect();
            round
                .devices
                .retain(|d| told(d).is_some_and(|uuid| !later.contains(&uuid)));
            round.devices.truncate(left);
            left = left.saturating_sub(round.devices.len());
            later.extend(own);
        }
        self.earlier.retain(|r| !r.devices.is_empty());
    }

    /// The round's answer of a device.
    #[must_use]
    pub fn device(&self, uuid: &DeviceUuid) -> Option<&AppraisedDevice> {
        let devices = &self.newest.as_ref()?.devices;
        devices.iter().find(|d| d.device.as_ref() == Some(uuid))
    }

    /// Stretches of the node's clock that lie between two good rounds of one boot in both of which the device proved who it is: these are
    /// `bracketed`. Oldest first, each as its start and its end.
    #[must_use]
    pub fn bracketed(&self, device: &DeviceUuid) -> Vec<(UnixSeconds, UnixSeconds)> {
        let proved: Vec<_> = self.rounds.iter().filter(|r| r.proved.contains(device)).collect();
        let stretch = |pair: &[&RoundBrief]| match pair {
            [first, second] if first.boot == second.boot && first.ended < second.covers_to => {
                Some((first.ended, second.covers_to))
            }
            _ => None,
        };
        proved.windows(2).filter_map(stretch).collect()
    }
}

#[cfg(test)]
mod tests;
