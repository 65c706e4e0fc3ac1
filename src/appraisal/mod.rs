//! How sure each fact is, and what is kept of each node's reports.
//!
//! Decides: what a verified report adds to the facts about its node, device by device and day by day. Folding the same
//! reports in the same order gives the same bytes, so that anyone who holds the reports can make the facts again. Trusts
//! that a report is [`VerifiedReport`](crate::report::VerifiedReport): signed by the enrolled key. Does not establish
//! that its claims are true: almost all are `driver-reported` or `host-observed`, and [`Grade`] says which. No limit
//! stands here: what counts as too late, too far or too long is for the conditions, with the licence's numbers.

mod chain;
mod clock;
mod day;
mod device;
pub mod ear;
pub mod evidence;
mod aggregate;
mod node;
mod ordinary;
mod period;
mod tenant;
mod total;

pub use aggregate::Aggregate;
pub use chain::{ChainFacts, ChainFork, ChainGap, ChainHead, ChainOpening, OpeningKind};
pub use clock::{BootMark, ClockEvent, ClockFacts, ClockLog, ClockOddity};
pub use day::NodeDay;
pub use device::{DeviceFacts, IdentityChange, IdentityField, Span};
pub use node::{DAYS, LibraryFacts, Newest, NodeFacts, NodeRecord, Peak, RefusalCount, Stranger, day_of};
pub use period::{Period, PeriodError};
pub use tenant::{TenantSums, TenantTotal, TenantTotals};
pub use total::{DeviceSums, DeviceTotal, NodeRun};

use self::evidence::NodeEvidence;
use crate::id::{DeviceUuid, Digest, NodeId, PciId};
use crate::licence::{FormerDevice, Licence, Standing};
use crate::statement::Statement;
use crate::time::UnixSeconds;
use std::collections::BTreeMap;
use std::sync::Arc;

crate::code! {
    /// What a fact rests on, the surest first.
    pub enum Grade {
        /// The GPU, switch or TPM signed it.
        DeviceSigned = 0 => "device-signed",
        /// The driver said it.
        DriverReported = 1 => "driver-reported",
        /// The agent saw it on the host.
        HostObserved = 2 => "host-observed",
        /// It was computed from other facts.
        Derived = 3 => "derived",
        /// Someone declared it.
        Declared = 4 => "declared",
    }
}

/// What the verifier knows of a node beside its reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// The name under which people know it.
    pub name: String,
    /// When it was approved; absent while it is pending.
    pub approved: Option<UnixSeconds>,
    /// From when its key is revoked.
    pub revoked_from: Option<UnixSeconds>,
    /// When it was revoked: from then on its reports are refused.
    pub revoked_at: Option<UnixSeconds>,
    /// From when another node reports in its place: one that was enrolled as this one after a reimage or repair.
    pub succeeded_from: Option<UnixSeconds>,
    /// Whether enrolment proved that hardware holds its key (credential activation).
    pub key_certified: bool,
}

impl NodeStatus {
    /// Whether it is expected to report at this time.
    #[must_use]
    pub fn is_expected(&self, at: UnixSeconds) -> bool {
        self.is_active(at) && self.succeeded_from.is_none_or(|t| at < t)
    }

    /// Whether its reports count at this time.
    #[must_use]
    pub fn is_active(&self, at: UnixSeconds) -> bool {
        self.approved.is_some_and(|t| t <= at) && self.revoked_from.is_none_or(|t| at < t)
    }

    /// Whether its key was revoked by the time at which something was received: then it may be anyone's.
    #[must_use]
    pub fn is_doubtful(&self, received: UnixSeconds) -> bool {
        self.revoked_from.is_some_and(|from| received >= from)
    }
}

/// A node of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAtSite {
    /// What is known of it beside its reports.
    pub status: NodeStatus,
    /// What its reports say.
    pub record: NodeRecord,
}

/// A device that was seen at another site of the same verifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The node there.
    pub node: NodeId,
    /// What is known of it beside its reports.
    pub status: NodeStatus,
    /// Its clock.
    pub clock: ClockFacts,
    /// The site.
    pub site: String,
    /// The device.
    pub uuid: DeviceUuid,
    /// Its serial number.
    pub serial: Option<String>,
    /// When it was there.
    pub presence: Vec<Span>,
    /// The key that it proved there, in the node's newest good round.
    pub proof: Option<SightedProof>,
}

/// A key that a device proved at another site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SightedProof {
    /// SHA-256 of its boot ROM's key.
    pub key: Digest,
    /// The report that carries the round.
    pub report: Digest,
    /// When that was received.
    pub received: UnixSeconds,
    /// Up to where the round covers, by the node's clock.
    pub covers_to: UnixSeconds,
}

impl SightedProof {
    /// What a device proved in a node's newest good round.
    #[must_use]
    pub fn of(evidence: &NodeEvidence, device: &DeviceUuid) -> Option<Self> {
        let (round, answer) = (evidence.newest.as_ref()?, evidence.device(device)?);
        Some(Self {
            key: answer.identity.filter(|_| answer.is_proved())?,
            report: round.report,
            received: round.received,
            covers_to: round.covers_to,
        })
    }
}

/// Everything that conditions may look at for one site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SiteFacts {
    /// The site's id.
    pub site: String,
    /// Its nodes, in any order.
    pub nodes: Vec<NodeAtSite>,
    /// Its devices, as far as they were seen at other sites.
    pub elsewhere: Vec<Sighting>,
    /// The licences that name it, in any order. Each answers for the devices on its own manifest.
    pub licences: Vec<Arc<Licence>>,
    /// Devices that older serials of these licences listed for it and the newest does not list, as far as the older ones are on file.
    pub former: Vec<FormerDevice>,
    /// Statements that concern it, in any order.
    pub statements: Vec<Arc<HeardStatement>>,
    /// How many issuers whom the verifier trusts signed each of these licences, by the licence's digest; one is counted once, whatever keys it has.
    pub issuers: BTreeMap<Digest, u32>,
    /// What is held of all sites together.
    pub estate: Estate,
    /// What the checker holds of those who signed the statements.
    pub standing: Arc<Standing>,
}

/// What one verifier holds of all sites, for what is judged across them. It may be little of what there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Estate {
    /// The nodes of all sites, site by site.
    pub sites: Arc<Vec<EstateSite>>,
    /// All licences that count.
    pub licences: Vec<Arc<Licence>>,
}

/// A site, as far as its devices are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EstateSite {
    /// The site's id.
    pub site: String,
    /// Its nodes.
    pub nodes: Vec<EstateNode>,
}

/// A node, as far as its devices are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EstateNode {
    /// What is known of it beside its reports.
    pub status: NodeStatus,
    /// The end of its newest report, and its digest; absent where it never reported.
    pub newest: Option<(UnixSeconds, Digest)>,
    /// When it last had something that is not among its devices: accelerators that no reporting driver held, reports whose copy is damaged, or, at
    /// any time, more than is kept.
    pub uncounted: Option<UnixSeconds>,
    /// Its devices.
    pub devices: Vec<EstateDevice>,
}

/// A device, as far as it is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EstateDevice {
    /// Which.
    pub uuid: DeviceUuid,
    /// By which the catalogue tells its model.
    pub pci: PciId,
    /// Likewise.
    pub name: String,
    /// When it was last heard of, by the node's clock or by the verifier's, whichever is later.
    pub heard: UnixSeconds,
}

impl EstateNode {
    /// What counts of a node's facts.
    #[must_use]
    pub fn of(status: NodeStatus, facts: &NodeFacts) -> Self {
        let unkept = facts.devices_unkept > 0 || facts.strangers_unkept > 0;
        let strangers = facts.strangers.iter().map(Stranger::last_heard).max();
        let devices = facts.devices.iter().filter_map(|d| {
            Some(EstateDevice {
                uuid: d.identity.uuid,
                pci: d.identity.pci,
                name: d.identity.name.clone(),
                heard: d.last_heard()?,
            })
        });
        Self {
            status,
            newest: facts.newest.as_ref().map(|n| (n.end, n.digest)),
            uncounted: unkept
                .then_some(UnixSeconds(i64::MAX))
                .max(facts.damaged)
                .max(strangers),
            devices: devices.collect(),
        }
    }
}

/// A statement on file, with the keys that signed it: those that some licence names, for no other says anything. Without any it is nobody's, and
/// a finding says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeardStatement {
    /// What it says.
    pub statement: Statement,
    /// Ids of the keys that signed it.
    pub signers: Vec<Digest>,
    /// When it was put on file, by the ledger: that it was said before then, its signer's word alone shows.
    pub filed: UnixSeconds,
}

impl HeardStatement {
    /// Whether it may concern a site: it names it, or names none but a licence.
    #[must_use]
    pub fn concerns(&self, site: &str) -> bool {
        self.statement.header.concerns(site)
    }
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
